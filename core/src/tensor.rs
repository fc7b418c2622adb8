//! Tensors: dense row-major data that never changes once it is shared.

use crate::cpu::block::{Block, Description};
use crate::cpu::memory::{Budget, Buffer, Watched, as_bytes, cast_slice};
use crate::cpu::work::Watch;
use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::gpu::command::Part;
use crate::gpu::device::{Device, DeviceBuffer, words};
use crate::meter::Charge;
use crate::op::Spec;
use crate::shape::Shape;
use std::fmt;
use std::sync::Arc;

/// A dtype, sizes, and `product(sizes)` elements in row-major order. Clones are holders of the same memory.
#[derive(Clone)]
#[repr(transparent)]
pub struct Tensor(Block);

/// The bytes that a dense tensor of these sizes takes.
///
/// # Errors
/// `memory`: more than this machine can address, a size of 0 counted as 1.
pub fn byte_count(dtype: DType, sizes: &[usize]) -> Result<usize> {
    // No more than `isize::MAX`, so it fits.
    byte_count_within(dtype, sizes, isize::MAX as u64).map(|bytes| bytes as usize)
}

/// As [`byte_count`] on a machine that addresses `most` bytes.
fn byte_count_within(dtype: DType, sizes: &[usize], most: u64) -> Result<u64> {
    // A zero makes the tensor empty, but the others must not be too large either: kernels multiply some of them.
    let spread = sizes.iter().try_fold(dtype.size() as u64, |all, &size| all.checked_mul(size.max(1) as u64));
    let bytes = spread.filter(|&bytes| bytes <= most);
    let bytes = bytes
        .ok_or_else(|| Error::memory(format!("a {dtype} tensor of shape {sizes:?} is larger than memory can be")))?;
    Ok(if sizes.contains(&0) { 0 } else { bytes })
}

/// An element of any dtype from a number, rounded and saturated as `cast` does: the first bytes of a word.
pub(crate) fn scalar_word(dtype: DType, value: f64) -> u64 {
    fn word<T: Element>(element: T) -> u64 {
        let (mut word, bytes) = ([0u8; 8], [element]);
        let bytes = as_bytes(&bytes);
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_ne_bytes(word)
    }
    use DType::*;
    match dtype {
        Bool => word((value != 0.0) as u8),
        I8 => word(value as i8),
        I16 => word(value as i16),
        I32 => word(value as i32),
        I64 => word(value as i64),
        U8 => word(value as u8),
        U16 => word(value as u16),
        U32 => word(value as u32),
        U64 => word(value as u64),
        F16 => word(crate::dtype::to_f16(value)),
        BF16 => word(crate::dtype::to_bf16(value)),
        F32 => word(value as f32),
        F64 => word(value),
    }
}

impl Tensor {
    /// A tensor of zeros.
    ///
    /// # Errors
    /// `memory`: over the budget, or too large.
    pub fn zeros(dtype: DType, sizes: &[usize], budget: Option<&Arc<Budget>>) -> Result<Tensor> {
        Block::zeroed(dtype, sizes, byte_count(dtype, sizes)?, budget).map(Tensor)
    }

    /// A tensor for results: nothing says what its elements are.
    ///
    /// # Errors
    /// As [`Tensor::zeros`].
    ///
    /// # Safety
    /// Every byte is written before it is read.
    pub unsafe fn unwritten(dtype: DType, sizes: &[usize], budget: Option<&Arc<Budget>>) -> Result<Tensor> {
        let bytes = byte_count(dtype, sizes)?;
        // SAFETY: the caller's promise.
        unsafe { Block::unwritten(dtype, sizes, bytes, budget) }.map(Tensor)
    }

    /// A tensor over a buffer that holds exactly its elements.
    ///
    /// # Errors
    /// `argument`: the buffer has another length, or is not aligned to its elements; `memory`: the system has no more.
    pub fn from_buffer(dtype: DType, sizes: &[usize], buffer: Arc<Buffer>) -> Result<Tensor> {
        let bytes = byte_count(dtype, sizes)?;
        if bytes != buffer.len() {
            let len = buffer.len();
            return Err(Error::argument(format!("{dtype} of shape {sizes:?} takes {bytes} bytes, {len} were given")));
        }
        if bytes != 0 && buffer.pointer().align_offset(dtype.size()) != 0 {
            return Err(Error::argument(format!("the data is not aligned to {} bytes", dtype.size())));
        }
        Block::of_buffer(dtype, sizes, buffer).map(Tensor)
    }

    /// A copy of raw bytes in native order.
    ///
    /// # Errors
    /// `argument`: another number of bytes than the shape takes. `memory`: as [`Tensor::zeros`].
    pub fn from_bytes(dtype: DType, sizes: &[usize], bytes: &[u8], budget: Option<&Arc<Budget>>) -> Result<Tensor> {
        let expected = byte_count(dtype, sizes)?;
        if bytes.len() != expected {
            let len = bytes.len();
            return Err(Error::argument(format!(
                "{dtype} of shape {sizes:?} takes {expected} bytes, {len} were given"
            )));
        }
        // SAFETY: all of it is copied from `bytes`, as nobody else holds it yet.
        let mut block = unsafe { Block::unwritten(dtype, sizes, expected, budget) }?;
        if let Some(target) = block.bytes_mut() {
            target.copy_from_slice(bytes);
            if dtype == DType::Bool {
                target.iter_mut().for_each(|byte| *byte = (*byte != 0) as u8);
            }
        }
        Ok(Tensor(block))
    }

    /// A copy of elements.
    ///
    /// # Errors
    /// `dtype`: `T` does not store that dtype. Others as [`Tensor::from_bytes`].
    pub fn from_slice<T: Element>(dtype: DType, sizes: &[usize], elements: &[T]) -> Result<Tensor> {
        if !T::DTYPES.contains(dtype) {
            return Err(Error::dtype(format!("elements of {} are not {dtype}", T::DTYPES)));
        }
        Tensor::from_bytes(dtype, sizes, as_bytes(elements), None)
    }

    /// A scalar of any dtype from a number, rounded and saturated as `cast` does.
    ///
    /// # Errors
    /// `memory`: the system has none.
    pub fn scalar(dtype: DType, value: f64) -> Result<Tensor> {
        let word = [scalar_word(dtype, value)];
        Tensor::from_bytes(dtype, &[], &as_bytes(&word)[..dtype.size()], None)
    }

    /// Its dtype.
    pub fn dtype(&self) -> DType {
        self.0.dtype()
    }

    /// Its sizes; empty for a scalar.
    pub fn sizes(&self) -> &[usize] {
        self.0.sizes()
    }

    /// Its dtype and shape.
    pub fn spec(&self) -> Spec {
        let sizes: Vec<i64> = self.sizes().iter().map(|&size| size as i64).collect();
        Spec::new(self.dtype(), Shape::of(&sizes))
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.0.len() / self.dtype().size()
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The device that its elements are on; none if it is the CPU.
    pub fn device(&self) -> Option<&Arc<Device>> {
        self.0.device_buffer().map(DeviceBuffer::device)
    }

    /// Whether its elements are on that device, or, if there is none, on the CPU.
    pub fn is_on(&self, device: Option<&Arc<Device>>) -> bool {
        self.device().map(Arc::as_ptr) == device.map(Arc::as_ptr)
    }

    /// The part of a device's buffer that its elements are in.
    pub fn part(&self) -> Option<Part> {
        self.0.device_buffer().map(DeviceBuffer::whole)
    }

    /// The same elements on a device.
    ///
    /// # Errors
    /// `memory`: the device has no more, or does not hold a tensor of so many bytes; `device`: it is lost.
    pub fn to_device(&self, device: &Arc<Device>, charge: Charge, watch: &Watch) -> Result<Tensor> {
        match self.device() {
            Some(own) if Arc::ptr_eq(own, device) => Ok(self.clone()),
            Some(_) => self.to_host(watch)?.to_device(device, charge, watch),
            None => {
                let made = Tensor::on_device(self.dtype(), self.sizes(), device, charge)?;
                let part = made.part().ok_or_else(|| Error::internal("a tensor of a device is not on it"))?;
                device.upload(part, self.bytes(), watch)?;
                Ok(made)
            }
        }
    }

    /// A tensor on a device; what it holds is not defined.
    ///
    /// # Errors
    /// As [`Tensor::to_device`].
    pub fn on_device(dtype: DType, sizes: &[usize], device: &Arc<Device>, mut charge: Charge) -> Result<Tensor> {
        let bytes = byte_count(dtype, sizes)?;
        charge.add(bytes as u64)?;
        Block::of_device(dtype, sizes, bytes, device.buffer(bytes as u64)?, charge).map(Tensor)
    }

    /// The same elements on the CPU; waits for the device that has them.
    ///
    /// # Errors
    /// `device`: it is lost; `memory`, `deadline`, `cancelled`.
    pub fn to_host(&self, watch: &Watch) -> Result<Tensor> {
        let (Some(device), Some(part)) = (self.device(), self.part()) else { return Ok(self.clone()) };
        let read = Arc::new(device.read_all(&[Part { bytes: words(self.0.len()), ..part }], watch)?);
        self.found_in(&read, 0)
    }

    /// A tensor like this one whose elements lie at an offset in a buffer; where they are not aligned there, a copy.
    fn found_in(&self, whole: &Arc<Buffer>, start: usize) -> Result<Tensor> {
        let own = Buffer::slice_of(whole, start..start + self.0.len())?;
        match own.pointer().align_offset(self.dtype().size()) {
            0 => Tensor::from_buffer(self.dtype(), self.sizes(), Arc::new(own)),
            _ => Tensor::from_bytes(self.dtype(), self.sizes(), own.bytes(), None),
        }
    }

    /// Its elements as bytes in native order; none if they are on a device.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Its elements.
    ///
    /// # Errors
    /// `dtype`: `T` does not store this dtype.
    pub fn elements<T: Element>(&self) -> Result<&[T]> {
        if !T::DTYPES.contains(self.dtype()) {
            return Err(Error::dtype(format!("a {} tensor was read as {}", self.dtype(), T::DTYPES)));
        }
        if self.device().is_some() {
            return Err(Error::device("the elements are on a device; copy the tensor to the CPU"));
        }
        Ok(cast_slice(self.bytes()))
    }

    /// Its bytes for writing, while nobody else holds them and they are caudal's own.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        self.0.bytes_mut()
    }

    /// Whether nobody else holds its memory and that is caudal's own, so that it may be written.
    pub fn is_sole(&self) -> bool {
        self.0.is_sole()
    }

    /// Whether its elements lie in memory that may be lost, such as a mapped file.
    pub fn is_watched(&self) -> bool {
        self.0.watched_owner().is_some()
    }

    /// What other languages read; it lives as long as the tensor has holders.
    pub fn description(&self) -> &Description {
        self.0.description()
    }

    /// The memory, which describes itself; it counts as a holder until it is a tensor again.
    pub fn into_block(self) -> Block {
        self.0
    }

    /// The tensor of a block.
    pub fn from_block(block: Block) -> Tensor {
        Tensor(block)
    }

    /// The same elements under other sizes.
    ///
    /// # Errors
    /// `argument`: another number of elements; `memory`: the system has no more.
    pub fn reshaped(&self, sizes: &[usize]) -> Result<Tensor> {
        let (dtype, bytes) = (self.dtype(), byte_count(self.dtype(), sizes)?);
        if bytes != self.0.len() {
            let len = self.0.len();
            return Err(Error::argument(format!("{dtype} of shape {sizes:?} takes {bytes} bytes, {len} were given")));
        }
        self.0.resized(sizes).map(Tensor)
    }
}

/// Checks the owners of all tensors whose memory may be lost; one after another that has the same owner costs nothing.
///
/// # Errors
/// Those of [`Watched::check`].
pub fn check_watched<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<()> {
    let mut last: Option<&Arc<dyn Watched>> = None;
    for tensor in tensors {
        if let Some(owner) = tensor.0.watched_owner()
            && !last.is_some_and(|last| Arc::ptr_eq(last, owner))
        {
            owner.check()?;
            last = Some(owner);
        }
    }
    Ok(())
}

/// The same tensors on the CPU; those of one device are waited for once.
///
/// # Errors
/// Those of [`Tensor::to_host`].
pub fn all_to_host(mut tensors: Vec<Tensor>, watch: &Watch) -> Result<Vec<Tensor>> {
    while let Some(device) = tensors.iter().find_map(Tensor::device).cloned() {
        let is_there = |tensor: &Tensor| tensor.device().is_some_and(|other| Arc::ptr_eq(other, &device));
        let part = |tensor: &Tensor| tensor.part().map(|part| Part { bytes: words(tensor.0.len()), ..part });
        let parts: Vec<_> = tensors.iter().filter(|tensor| is_there(tensor)).filter_map(part).collect();
        let (read, mut start) = (Arc::new(device.read_all(&parts, watch)?), 0);
        for tensor in tensors.iter_mut().filter(|tensor| is_there(tensor)) {
            let found = tensor.found_in(&read, start)?;
            start += words(tensor.0.len()) as usize;
            *tensor = found;
        }
    }
    Ok(tensors)
}

impl PartialEq for Tensor {
    /// Equal to the bit: NaN equals the same NaN, 0 differs from -0. On a device, whether they are the same memory.
    fn eq(&self, other: &Tensor) -> bool {
        let same_memory = std::ptr::eq(self.bytes(), other.bytes());
        if self.device().is_some() || other.device().is_some() {
            return self.part() == other.part() && self.description().device == other.description().device;
        }
        self.dtype() == other.dtype() && self.sizes() == other.sizes() && (same_memory || self.bytes() == other.bytes())
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {:?})", self.dtype(), self.sizes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_no_memory_holds_are_an_error() {
        for sizes in [[usize::MAX, 2], [usize::MAX, 0], [0, 1 << 62]] {
            let error = Tensor::zeros(DType::F32, &sizes, None).unwrap_err().to_string();
            assert_eq!(error, format!("a float32 tensor of shape {sizes:?} is larger than memory can be"));
        }
        assert_eq!(Tensor::zeros(DType::F32, &[1 << 40, 0], None).unwrap().len(), 0);
    }

    #[test]
    fn sizes_do_not_wrap_where_addresses_have_32_bits() {
        let most = i32::MAX as u64;
        for sizes in [&[1 << 29][..], &[1 << 15, 1 << 15], &[65_536, 65_536], &[1 << 16, 1 << 16, 2]] {
            let error = byte_count_within(DType::F32, sizes, most).unwrap_err().to_string();
            assert_eq!(error, format!("a float32 tensor of shape {sizes:?} is larger than memory can be"));
        }
        assert_eq!(byte_count_within(DType::F32, &[(1 << 29) - 1], most), Ok((1 << 31) - 4));
        assert_eq!(byte_count_within(DType::U8, &[1 << 20, 0, 1 << 10], most), Ok(0));
    }

    #[test]
    fn budget_refuses_and_is_given_back() {
        let budget = Arc::new(Budget::new(100));
        let held = Tensor::zeros(DType::F32, &[20], Some(&budget)).unwrap();
        let error = Tensor::zeros(DType::F32, &[20], Some(&budget)).unwrap_err();
        assert_eq!(error.to_string(), "80 bytes more than the 80 in use pass the limit of 100 bytes");
        drop(held);
        assert_eq!((budget.used(), budget.peak()), (0, 80));
    }

    #[test]
    fn writing_needs_a_sole_holder() {
        let mut tensor = Tensor::scalar(DType::F32, 1.5).unwrap();
        assert!(tensor.bytes_mut().is_some());
        let _other = tensor.clone();
        assert!(tensor.bytes_mut().is_none());
    }
}
