//! The memory of a run, and one step on it.
//!
//! A run's memory is a list of blocks, which it owns: shared tensors, which are only read, and buffers of its own, which
//! steps write. An [`Address`] names a place in it. Everything unsafe about running a plan is here: a plan never lets a
//! step write what another operand of that step reads, but for an element-wise result that takes over the memory of a
//! dense operand (see [`super::tape`]).

use super::call::{Call, Layout, Target, View};
use super::cluster::Cluster;
use super::copy;
use super::epilogue::Epilogue;
use super::memory::{Buffer, push};
use super::tape::Tape;
use super::work::{Stop, Work};
use crate::attrs::Attrs;
use crate::error::{Error, Result};
use crate::op::Kernel;
use crate::shape::Dim;
use crate::tensor::Tensor;

/// A place in a run's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The index of the block.
    pub block: usize,
    /// Bytes from its start.
    pub offset: usize,
}

impl Address {
    /// The place `bytes` further on.
    pub fn after(self, bytes: usize) -> Address {
        Address { offset: self.offset.saturating_add(bytes), ..self }
    }
}

/// A block of memory: where it is, and whether steps may write it.
struct MemoryBlock {
    data: *const u8,
    len: usize,
    own: bool,
}

/// The blocks of memory of a run: first those that stay from run to run, then those of one run.
#[derive(Default)]
pub struct Memories {
    blocks: Vec<MemoryBlock>,
    /// What keeps the blocks alive.
    tensors: Vec<Tensor>,
    /// How many blocks and tensors stay when a run ends.
    constants: usize,
    arena: Option<Buffer>,
}

// SAFETY: the pointers are into memory that the fields beside them own.
unsafe impl Send for Memories {}
// SAFETY: as above; writing needs `&mut`.
unsafe impl Sync for Memories {}

impl Memories {
    /// Memory that holds these tensors at the addresses 0, 1, ... in every run.
    ///
    /// # Errors
    /// `memory`: the system has no more.
    pub fn new(constants: &[Tensor]) -> Result<Memories> {
        let mut memories = Memories { constants: constants.len(), ..Memories::default() };
        for constant in constants {
            memories.share(constant.clone())?;
        }
        Ok(memories)
    }

    /// Adds a tensor, to be read.
    ///
    /// # Errors
    /// `memory`: the system has no more.
    pub fn share(&mut self, tensor: Tensor) -> Result<Address> {
        let (data, len) = (tensor.bytes().as_ptr(), tensor.bytes().len());
        push(&mut self.tensors, tensor)?;
        self.add(MemoryBlock { data, len, own: false })
    }

    /// Adds a tensor that nobody else holds, to be written.
    ///
    /// # Errors
    /// `memory`: the system has no more; `internal`: somebody else holds it.
    pub fn own(&mut self, mut tensor: Tensor) -> Result<Address> {
        let Some(bytes) = tensor.bytes_mut() else { return Err(Error::internal("a result has another holder")) };
        let (data, len) = (bytes.as_mut_ptr().cast_const(), bytes.len());
        push(&mut self.tensors, tensor)?;
        self.add(MemoryBlock { data, len, own: true })
    }

    /// Adds the memory that steps share. There is one.
    ///
    /// # Errors
    /// `memory`: the system has no more.
    pub fn work_in(&mut self, arena: Buffer) -> Result<Address> {
        let (data, len) = (arena.pointer(), arena.len());
        self.arena = Some(arena);
        self.add(MemoryBlock { data, len, own: true })
    }

    fn add(&mut self, block: MemoryBlock) -> Result<Address> {
        push(&mut self.blocks, block)?;
        Ok(Address { block: self.blocks.len() - 1, offset: 0 })
    }

    /// The tensors of this run, in the order in which they were added.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors[self.constants..]
    }

    /// Lets go of what belongs to one run: hands its tensors to `each`, gives the memory that steps shared.
    pub fn clear(&mut self, mut each: impl FnMut(usize, Tensor)) -> Option<Buffer> {
        self.blocks.truncate(self.constants);
        self.tensors.drain(self.constants..).enumerate().for_each(|(index, tensor)| each(index, tensor));
        self.arena.take()
    }

    fn readable(&self, address: Address, bytes: usize) -> Result<*const u8> {
        let block = self.blocks.get(address.block);
        let block = block.ok_or_else(|| Error::internal("a step reads memory that is not there"))?;
        check_range(address, bytes, block.len)?;
        Ok(block.data.wrapping_add(address.offset))
    }

    fn writable(&self, address: Address, bytes: usize) -> Result<*mut u8> {
        let block = self.blocks.get(address.block).filter(|block| block.own);
        let block = block.ok_or_else(|| Error::internal("a step writes memory that is not the run's own"))?;
        check_range(address, bytes, block.len)?;
        Ok(block.data.cast_mut().wrapping_add(address.offset))
    }

    /// What a step reads. It stays valid while `self` does and no other step runs.
    fn view<'a>(&self, operand: Operand<'a>) -> Result<View<'a>> {
        let data = self.readable(operand.address, operand.bytes)?;
        // SAFETY: the memory is owned here and valid; a plan has no step write what it reads.
        Ok(unsafe { View::new(data, operand.bytes, operand.layout) })
    }

    /// What a step writes. As [`Memories::view`].
    fn target<'a>(&self, operand: Operand<'a>) -> Result<Target<'a>> {
        let data = self.writable(operand.address, operand.layout.bytes())?;
        // SAFETY: owned here, valid, and no other operand of the step; see the module's doc.
        Ok(unsafe { Target::new(data, operand.layout) })
    }

    /// What a step works in.
    fn workspace(&mut self, address: Address, bytes: usize) -> Result<&mut [u8]> {
        let data = self.writable(address, bytes)?;
        // SAFETY: owned here and valid; the plan gives a step's workspace to nothing else while the step runs.
        Ok(unsafe { std::slice::from_raw_parts_mut(data, bytes) })
    }

    /// Copies bytes from one place to another that does not overlap it.
    ///
    /// # Errors
    /// `internal`: a place that is not in the memory.
    pub fn copy(&mut self, from: Address, to: Address, bytes: usize) -> Result<()> {
        if from == to || bytes == 0 {
            return Ok(());
        }
        let (from, to) = (self.readable(from, bytes)?, self.writable(to, bytes)?);
        // SAFETY: both are valid for `bytes` bytes; `copy` allows them to overlap.
        unsafe { std::ptr::copy(from, to, bytes) };
        Ok(())
    }

    /// A byte.
    ///
    /// # Errors
    /// `internal`: a place that is not in the memory.
    pub fn byte(&self, address: Address) -> Result<u8> {
        let pointer = self.readable(address, 1)?;
        // SAFETY: valid for one byte; no step runs, so nothing writes it.
        Ok(unsafe { *pointer })
    }
}

fn check_range(address: Address, bytes: usize, len: usize) -> Result<()> {
    match address.offset.checked_add(bytes) {
        Some(end) if end <= len => Ok(()),
        _ => Err(Error::internal(format!("a step uses {bytes} bytes at {} of {len}", address.offset))),
    }
}

/// An operand of a step: where its memory starts, how much there is, and how the elements lie in it.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    /// Where the memory of the value (or of what it is a view of) starts.
    pub address: Address,
    /// How many bytes there are.
    pub bytes: usize,
    /// The layout.
    pub layout: &'a Layout,
}

/// What a step runs.
pub enum Program<'a> {
    /// A cluster of element-wise ops.
    Tape(&'a Tape),
    /// A cluster with reductions, with its full shape and workspace (address, bytes).
    Cluster(&'a Cluster, &'a [Dim], Address, usize),
    /// A product with what follows it, its attrs and workspace (address, bytes).
    Epilogue(&'a Epilogue, &'a Attrs, Address, usize),
    /// A kernel, with its attrs and workspace (address, bytes).
    Kernel(&'a Kernel, &'a Attrs, Address, usize),
    /// A copy of the only operand.
    Copy,
}

/// Lists of a step's operands, kept from step to step so that running one allocates nothing. They are empty between
/// steps, since what they hold lives only as long as one.
#[derive(Default)]
pub struct Operands {
    inputs: Vec<Option<View<'static>>>,
    present: Vec<View<'static>>,
    outputs: Vec<Target<'static>>,
}

// SAFETY: they are empty whenever another thread can reach them.
unsafe impl Send for Operands {}
// SAFETY: as above.
unsafe impl Sync for Operands {}

impl Operands {
    fn clear(&mut self) {
        self.inputs.clear();
        self.present.clear();
        self.outputs.clear();
    }

    /// Adds an input.
    ///
    /// # Safety
    /// The view is gone before what it borrows.
    unsafe fn input(&mut self, view: Option<View>) -> Result<()> {
        // SAFETY: the caller's promise.
        let view = unsafe { std::mem::transmute::<Option<View<'_>>, Option<View<'static>>>(view) };
        push(&mut self.inputs, view)?;
        view.map_or(Ok(()), |view| push(&mut self.present, view))
    }

    /// Adds an output.
    ///
    /// # Safety
    /// As [`Operands::input`].
    unsafe fn output(&mut self, target: Target) -> Result<()> {
        // SAFETY: the caller's promise.
        push(&mut self.outputs, unsafe { std::mem::transmute::<Target<'_>, Target<'static>>(target) })
    }
}

/// What a look at the operands and results of a step gives; `look` sees them as they are now.
///
/// # Errors
/// `internal`: an address is wrong.
pub fn look<R>(
    memories: &Memories,
    inputs: &[Option<Operand>],
    outputs: &[Operand],
    look: impl FnOnce(&[Option<View>], &[View]) -> R,
) -> Result<R> {
    let views = inputs.iter().map(|operand| operand.map(|operand| memories.view(operand)).transpose());
    let results = outputs.iter().map(|&operand| memories.view(operand));
    Ok(look(&views.collect::<Result<Vec<_>>>()?, &results.collect::<Result<Vec<_>>>()?))
}

/// Runs one step.
///
/// # Errors
/// `Ok(Err(stop))`: it had to stop; `Err`: an address is wrong; `memory`: the system has no more.
pub fn run<'a>(
    program: Program,
    memories: &mut Memories,
    operands: &mut Operands,
    inputs: impl Iterator<Item = Option<Operand<'a>>>,
    outputs: impl Iterator<Item = Operand<'a>>,
    work: Work,
) -> Result<Result<(), Stop>> {
    // A step that panicked left what it had.
    operands.clear();
    for operand in inputs {
        let view = operand.map(|operand| memories.view(operand)).transpose()?;
        // SAFETY: the lists are cleared before this function ends, and before they are read again.
        unsafe { operands.input(view) }?;
    }
    for operand in outputs {
        let target = memories.target(operand)?;
        // SAFETY: as above.
        unsafe { operands.output(target) }?;
    }
    let outcome = step(program, memories, operands, work);
    operands.clear();
    outcome
}

fn step(
    program: Program,
    memories: &mut Memories,
    operands: &mut Operands,
    mut work: Work,
) -> Result<Result<(), Stop>> {
    let Operands { inputs, present, outputs } = operands;
    // SAFETY: lists of a shorter life; they are cleared before anything reads what a kernel may have put there.
    let outputs = unsafe { std::mem::transmute::<&mut [Target<'static>], &mut [Target<'_>]>(outputs) };
    Ok(match program {
        Program::Tape(tape) => tape.run(present, outputs, &mut work),
        Program::Cluster(cluster, shape, workspace, bytes) => {
            let workspace = memories.workspace(workspace, bytes)?;
            cluster.run(shape, present, outputs, workspace, &mut work)
        }
        Program::Epilogue(epilogue, attrs, workspace, bytes) => {
            epilogue.run(attrs, present, outputs, memories.workspace(workspace, bytes)?, work)
        }
        Program::Kernel(kernel, attrs, workspace, bytes) => {
            let workspace = memories.workspace(workspace, bytes)?;
            (kernel.run)(&mut Call { attrs, inputs, outputs, workspace, work, finish: None })
        }
        Program::Copy => match (inputs.first(), outputs.first_mut()) {
            (Some(Some(source)), Some(target)) => copy::copy(*source, target, &mut work),
            _ => Ok(()),
        },
    })
}
