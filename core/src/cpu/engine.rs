//! The memory of a run, and one step on it.
//!
//! A run's memory is a list of blocks, which it owns: shared tensors, which are only read, and buffers of its own, which
//! steps write. An [`Address`] names a place in it. Everything unsafe about running a plan is here: a plan never lets a
//! step write what another operand of that step reads, but for an element-wise result that takes over the memory of a
//! dense operand (see [`super::tape`]).

use super::call::{Call, Layout, Target, View};
use super::copy;
use super::memory::Buffer;
use super::tape::Tape;
use super::work::{Stop, Work};
use crate::attrs::Attrs;
use crate::error::{Error, Result};
use crate::op::Kernel;
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

enum MemoryBlock {
    Shared(Tensor),
    Own(Buffer),
    Taken,
}

/// The blocks of memory of a run.
#[derive(Default)]
pub struct Memories {
    blocks: Vec<MemoryBlock>,
}

impl Memories {
    /// Adds a tensor, to be read.
    pub fn share(&mut self, tensor: Tensor) -> Address {
        self.blocks.push(MemoryBlock::Shared(tensor));
        Address { block: self.blocks.len() - 1, offset: 0 }
    }

    /// Adds a buffer, to be written.
    pub fn own(&mut self, buffer: Buffer) -> Address {
        self.blocks.push(MemoryBlock::Own(buffer));
        Address { block: self.blocks.len() - 1, offset: 0 }
    }

    /// Takes a buffer back.
    pub fn take(&mut self, block: usize) -> Option<Buffer> {
        match std::mem::replace(self.blocks.get_mut(block)?, MemoryBlock::Taken) {
            MemoryBlock::Own(buffer) => Some(buffer),
            other => {
                self.blocks[block] = other;
                None
            }
        }
    }

    fn readable(&self, address: Address, bytes: usize) -> Result<*const u8> {
        let (pointer, len) = match self.blocks.get(address.block) {
            Some(MemoryBlock::Shared(tensor)) => (tensor.bytes().as_ptr(), tensor.bytes().len()),
            Some(MemoryBlock::Own(buffer)) => (buffer.pointer(), buffer.len()),
            _ => return Err(Error::internal("a step reads memory that is not there")),
        };
        check_range(address, bytes, len)?;
        Ok(pointer.wrapping_add(address.offset))
    }

    fn writable(&self, address: Address, bytes: usize) -> Result<*mut u8> {
        let Some(MemoryBlock::Own(buffer)) = self.blocks.get(address.block) else {
            return Err(Error::internal("a step writes memory that is not the run's own"));
        };
        check_range(address, bytes, buffer.len())?;
        Ok(buffer.pointer().cast_mut().wrapping_add(address.offset))
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
    /// A cluster.
    Tape(&'a Tape),
    /// A kernel, with its attrs and workspace (address, bytes).
    Kernel(&'a Kernel, &'a Attrs, Address, usize),
    /// A copy of the only operand.
    Copy,
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
/// `Ok(Err(stop))`: it had to stop; `Err`: an address is wrong.
pub fn run(
    program: Program,
    memories: &mut Memories,
    inputs: &[Option<Operand>],
    outputs: &[Operand],
    mut work: Work,
) -> Result<Result<(), Stop>> {
    let views = inputs.iter().map(|operand| operand.map(|operand| memories.view(operand)).transpose());
    let views = views.collect::<Result<Vec<_>>>()?;
    let targets = outputs.iter().map(|&operand| memories.target(operand));
    let mut targets = targets.collect::<Result<Vec<_>>>()?;
    Ok(match program {
        Program::Tape(tape) => {
            let views: Vec<_> = views.into_iter().flatten().collect();
            tape.run(&views, &mut targets, &mut work)
        }
        Program::Kernel(kernel, attrs, workspace, bytes) => {
            let data = memories.writable(workspace, bytes)?;
            // SAFETY: the plan gives a step's workspace to nothing else while the step runs.
            let workspace = unsafe { std::slice::from_raw_parts_mut(data, bytes) };
            (kernel.run)(&mut Call { attrs, inputs: &views, outputs: &mut targets, workspace, work })
        }
        Program::Copy => match (views.first(), targets.first_mut()) {
            (Some(Some(source)), Some(target)) => copy::copy(*source, target, &mut work),
            _ => Ok(()),
        },
    })
}
