//! The memory of tensors: what describes one, its sizes and its elements in one allocation, which its holders count.

use super::memory::{ALIGNMENT, Budget, Buffer, Chunk, LARGE, Watched};
use crate::dtype::DType;
use crate::error::Result;
use crate::gpu::device::DeviceBuffer;
use crate::meter::Charge;
use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

/// What every language reads of a tensor without a call. It never changes while a block lives.
#[repr(C)]
pub struct Description {
    /// The elements; null while they are on a device.
    pub data: *const u8,
    /// The sizes.
    pub dims: *const i64,
    /// How many sizes.
    pub rank: usize,
    /// How many bytes the elements take.
    pub bytes: usize,
    /// The dtype's number.
    pub dtype: i32,
    /// 0 is the CPU, `1 + n` the device `gpu:n`.
    pub device: i32,
}

/// Whose memory the elements are in.
enum Memory {
    /// The block's own; its bytes count in the budget.
    Own(Option<Arc<Budget>>),
    /// A buffer's, all of it.
    Buffer(Arc<Buffer>),
    /// Another block's.
    Block(Block),
    /// A device's; its bytes count in a budget.
    Device(DeviceBuffer, #[allow(dead_code, reason = "held for its drop")] Charge),
}

impl Memory {
    fn device_number(&self) -> i32 {
        match self {
            Memory::Device(buffer, _) => 1 + buffer.device().index() as i32,
            Memory::Block(other) => other.description().device,
            Memory::Own(_) | Memory::Buffer(_) => 0,
        }
    }
}

/// The start of a block; the sizes as `i64` follow, then the sizes as `usize`, then the block's own elements. Aligned for
/// the sizes, also where addresses have 32 bits.
#[repr(C, align(8))]
struct Header {
    description: Description,
    holders: AtomicUsize,
    sizes: *const usize,
    /// Of the whole allocation.
    layout: Layout,
    dtype: DType,
    memory: Memory,
}

/// What allocators align to anyway; asking for more makes them slow.
const BASE: usize = 16;

const _: () = assert!(size_of::<Header>().is_multiple_of(align_of::<i64>()) && BASE >= align_of::<Header>());

/// A counted reference to a dtype, sizes, and as many elements. The elements only change while there is one holder.
#[repr(transparent)]
pub struct Block(NonNull<Header>);

// SAFETY: shared access only reads, writing needs the only holder; the count is atomic.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// `bytes` zero bytes, which are the elements of `sizes`, charged to `budget`.
    ///
    /// # Errors
    /// `memory`: over the budget, or the system has no more.
    pub fn zeroed(dtype: DType, sizes: &[usize], bytes: usize, budget: Option<&Arc<Budget>>) -> Result<Block> {
        let chunk = Chunk::new(layout(sizes.len(), bytes), true, bytes, budget)?;
        Ok(Block::describe(chunk, dtype, sizes, bytes, Memory::Own(budget.cloned()), None))
    }

    /// As [`Block::zeroed`], but nothing says what the bytes are. They may be those of a tensor that has ended: fresh pages
    /// cost several times what an element-wise op does.
    ///
    /// # Errors
    /// As [`Block::zeroed`].
    ///
    /// # Safety
    /// Every byte is written before it is read.
    pub unsafe fn unwritten(
        dtype: DType,
        sizes: &[usize],
        bytes: usize,
        budget: Option<&Arc<Budget>>,
    ) -> Result<Block> {
        let budget = budget.or_else(|| (bytes >= LARGE).then(Budget::of_nobody));
        let layout = layout(sizes.len(), bytes);
        let kept = budget.and_then(|budget| budget.kept(layout?, bytes as u64));
        let chunk = kept.map_or_else(|| Chunk::new(layout, false, bytes, budget), Ok)?;
        let block = Block::describe(chunk, dtype, sizes, bytes, Memory::Own(budget.cloned()), None);
        // What is read all the same shows in tests; the pages of larger ones stay the system's until they are needed.
        if cfg!(debug_assertions) && bytes < LARGE {
            // SAFETY: the block's own bytes, which nobody else holds.
            unsafe { block.description().data.cast_mut().write_bytes(0xA5, bytes) };
        }
        Ok(block)
    }

    /// The elements of a buffer, which is exactly as long.
    ///
    /// # Errors
    /// `memory`: the system has no more.
    pub fn of_buffer(dtype: DType, sizes: &[usize], buffer: Arc<Buffer>) -> Result<Block> {
        let data = buffer.pointer();
        Block::elsewhere(dtype, sizes, buffer.len(), Memory::Buffer(buffer), data)
    }

    /// The elements that a device's buffer holds.
    ///
    /// # Errors
    /// `memory`: the system has no more.
    pub fn of_device(
        dtype: DType,
        sizes: &[usize],
        bytes: usize,
        buffer: DeviceBuffer,
        charge: Charge,
    ) -> Result<Block> {
        Block::elsewhere(dtype, sizes, bytes, Memory::Device(buffer, charge), std::ptr::null())
    }

    /// The elements as a buffer, which keeps the block, and what was charged for it, as long as it lives.
    pub fn into_buffer(self, held: Charge) -> Buffer {
        let (data, len) = (NonNull::from(self.bytes()).cast(), self.len());
        // SAFETY: the block lives as long as the buffer's owner, and is written by nobody while that holds it.
        unsafe { Buffer::foreign(data, len, Box::new((self, held))) }
    }

    /// The same elements under other sizes, which have as many.
    ///
    /// # Errors
    /// `memory`: the system has no more.
    pub fn resized(&self, sizes: &[usize]) -> Result<Block> {
        let data = self.header().description.data;
        Block::elsewhere(self.dtype(), sizes, self.len(), Memory::Block(self.clone()), data)
    }

    /// A block whose elements are at `data`, in memory that is not its own.
    fn elsewhere(dtype: DType, sizes: &[usize], bytes: usize, memory: Memory, data: *const u8) -> Result<Block> {
        let chunk = Chunk::new(layout(sizes.len(), 0), false, 0, None)?;
        Ok(Block::describe(chunk, dtype, sizes, bytes, memory, Some(data)))
    }

    /// Makes a block of a chunk, for so many sizes and, unless the elements are at `data`, so many bytes.
    fn describe(
        chunk: Chunk,
        dtype: DType,
        sizes: &[usize],
        bytes: usize,
        memory: Memory,
        data: Option<*const u8>,
    ) -> Block {
        let (start, layout) = (chunk.start, chunk.layout);
        std::mem::forget(chunk);
        // SAFETY: the parts lie one after the other as `layout` has it: the header at an address that is aligned for it, the
        // sizes behind it (it is a multiple of their alignment), the elements on a cache line after those.
        unsafe {
            let dims: *mut i64 = start.add(size_of::<Header>()).cast().as_ptr();
            let own_sizes: *mut usize = dims.add(sizes.len()).cast();
            for (axis, &size) in sizes.iter().enumerate() {
                dims.add(axis).write(size as i64);
                own_sizes.add(axis).write(size);
            }
            let after: *const u8 = own_sizes.add(sizes.len()).cast();
            let data = data.unwrap_or_else(|| after.add(after.align_offset(ALIGNMENT)));
            let (rank, dtype_number, device) = (sizes.len(), dtype as i32, memory.device_number());
            let description = Description { data, dims, rank, bytes, dtype: dtype_number, device };
            let holders = AtomicUsize::new(1);
            start.cast().write(Header { description, holders, sizes: own_sizes, layout, dtype, memory });
        }
        Block(start.cast())
    }

    fn header(&self) -> &Header {
        // SAFETY: a block lives as long as it has holders, and only its last one changes the header, to end it.
        unsafe { self.0.as_ref() }
    }

    /// What other languages read; it lives as long as the block.
    pub fn description(&self) -> &Description {
        &self.header().description
    }

    /// The dtype of the elements.
    pub fn dtype(&self) -> DType {
        self.header().dtype
    }

    /// The sizes.
    pub fn sizes(&self) -> &[usize] {
        let header = self.header();
        // SAFETY: written in `allocate`, as many as there are dims.
        unsafe { std::slice::from_raw_parts(header.sizes, header.description.rank) }
    }

    /// How many bytes the elements take.
    pub fn len(&self) -> usize {
        self.header().description.bytes
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer of a device that the elements are in, if they are on one.
    pub fn device_buffer(&self) -> Option<&DeviceBuffer> {
        match &self.header().memory {
            Memory::Device(buffer, _) => Some(buffer),
            Memory::Block(other) => other.device_buffer(),
            Memory::Own(_) | Memory::Buffer(_) => None,
        }
    }

    /// The elements; nothing if they are on a device.
    pub fn bytes(&self) -> &[u8] {
        let description = self.description();
        if description.data.is_null() {
            return &[];
        }
        // SAFETY: valid for as many bytes while the block lives; see `Memory`.
        unsafe { std::slice::from_raw_parts(description.data, description.bytes) }
    }

    /// The elements for writing: none while others hold the block, or where they are someone else's memory.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        if !self.is_sole() || self.device_buffer().is_some() {
            return None;
        }
        let description = self.description();
        // SAFETY: the block's own memory, and `&mut self` is its only holder.
        Some(unsafe { std::slice::from_raw_parts_mut(description.data.cast_mut(), description.bytes) })
    }

    /// Whether nobody else holds the block, and the elements are its own.
    pub fn is_sole(&self) -> bool {
        let header = self.header();
        matches!(header.memory, Memory::Own(_) | Memory::Device(..)) && header.holders.load(Ordering::Acquire) == 1
    }

    /// Whoever owns the elements, where they may be lost.
    pub fn watched_owner(&self) -> Option<&Arc<dyn Watched>> {
        let mut block = self;
        while let Memory::Block(other) = &block.header().memory {
            block = other;
        }
        match &block.header().memory {
            Memory::Buffer(buffer) => buffer.watched_owner(),
            Memory::Own(_) | Memory::Block(_) | Memory::Device(..) => None,
        }
    }

    /// The block as a pointer that counts as a holder, for [`Block::from_raw`].
    pub fn into_raw(self) -> *mut Description {
        let pointer = self.0.as_ptr().cast();
        std::mem::forget(self);
        pointer
    }

    /// The holder that [`Block::into_raw`] made a pointer.
    ///
    /// # Safety
    /// The pointer came from there, and is not used again.
    pub unsafe fn from_raw(pointer: NonNull<Description>) -> Block {
        Block(pointer.cast())
    }
}

/// The layout of a block with so many sizes and bytes of its own; none if it is larger than memory can be.
fn layout(sizes: usize, bytes: usize) -> Option<Layout> {
    let described = size_of::<Header>() + sizes * (size_of::<i64>() + size_of::<usize>()) + ALIGNMENT;
    Layout::from_size_align(described.checked_add(bytes)?, BASE).ok()
}

impl Clone for Block {
    fn clone(&self) -> Block {
        let before = self.header().holders.fetch_add(1, Ordering::Relaxed);
        // As in Arc: so many holders can only be a leak in a loop, and a count that wraps would free what is held.
        if before > isize::MAX as usize {
            std::process::abort();
        }
        Block(self.0)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.header().holders.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        // SAFETY: this was the last holder, so nobody else reaches the block; it was allocated with this layout.
        unsafe {
            let Header { description, layout, memory, .. } = self.0.as_ptr().read();
            let chunk = Chunk { start: self.0.cast(), layout, charged: description.bytes as u64 };
            if let Memory::Own(Some(budget)) = memory {
                budget.recycle(chunk);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::memory::MOST_KEPT;

    #[test]
    fn elements_lie_on_cache_lines_and_live_until_the_last_holder_is_gone() {
        let budget = Arc::new(Budget::new(0));
        for sizes in [&[][..], &[3], &[2, 0], &[1, 2, 3, 4, 5, 1, 2, 1, 2, 1]] {
            let bytes = sizes.iter().product::<usize>() * 4;
            let mut block = Block::zeroed(DType::F32, sizes, bytes, Some(&budget)).unwrap();
            assert_eq!(block.description().data.align_offset(ALIGNMENT), 0);
            assert_eq!((block.sizes(), block.len(), block.description().rank), (sizes, bytes, sizes.len()));
            block.bytes_mut().unwrap().fill(7);
            let other = block.resized(&[bytes / 4]).unwrap();
            assert!(block.bytes_mut().is_none() && !other.is_sole());
            drop(block);
            assert_eq!((other.bytes(), budget.used()), (&vec![7; bytes][..], bytes as u64));
            drop(other);
            assert_eq!(budget.used(), 0);
        }
    }

    #[test]
    fn memory_of_large_tensors_is_kept_within_bounds_and_makes_room() {
        let bytes = LARGE;
        let budget = Arc::new(Budget::new(66 * bytes as u64));
        // SAFETY: nothing reads it.
        let unwritten = |sizes: &[usize]| unsafe {
            let bytes = sizes.iter().product();
            Block::unwritten(DType::U8, sizes, bytes, Some(&budget)).unwrap()
        };
        let first = unwritten(&[bytes]);
        let place = first.description().data;
        drop(first);
        assert_eq!(budget.used(), bytes as u64);
        let again = unwritten(&[bytes]);
        assert_eq!((again.description().data, budget.used()), (place, bytes as u64));
        // Another shape, and zeros, are new.
        assert_ne!(unwritten(&[bytes / 2, 2]).description().data, place);
        drop(again);
        assert!(
            Block::zeroed(DType::U8, &[bytes], bytes, Some(&budget)).unwrap().bytes().iter().all(|byte| *byte == 0)
        );
        assert_eq!(budget.used(), 3 * bytes as u64);
        let many: Vec<_> = (0..65).map(|_| unwritten(&[bytes])).collect();
        drop(many);
        assert_eq!(budget.used(), MOST_KEPT);
        drop(unwritten(&[bytes, 65]));
        assert_eq!(budget.used(), 0);
    }
}
