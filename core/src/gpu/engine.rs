//! The memory of a run on a device, and one step on it.
//!
//! As on the CPU a run's memory is a list of blocks, and an [`Address`] names a place in it; here a block is a buffer.

use super::command::{Command, Part};
use super::device::{Device, DeviceBuffer, words};
use super::kernel::{ReadyLaunch, Slot};
use super::kernels;
use crate::cpu::engine::{self, Address, Operand, Operands, Program};
use crate::cpu::memory::{Buffer, push};
use crate::cpu::single::stopped;
use crate::cpu::work::{Cursor, Watch, Work};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::meter::Charge;
use crate::tensor::Tensor;
use std::sync::Arc;

/// A buffer of a run, and how many bytes of it are a value's or a slot's.
#[derive(Clone, Copy)]
struct Block {
    part: Part,
    bytes: u64,
}

/// The blocks of memory of a run: first those that stay from run to run, then those of one run.
pub struct Memories {
    device: Arc<Device>,
    blocks: Vec<Block>,
    /// What keeps blocks alive.
    tensors: Vec<Tensor>,
    /// How many blocks and tensors stay when a run ends.
    constants: usize,
    slots: Vec<DeviceBuffer>,
    /// What the slots take.
    held: Charge,
}

impl Memories {
    /// Memory that holds these tensors at the addresses 0, 1, ... in every run.
    ///
    /// # Errors
    /// As [`Memories::share`].
    pub fn new(device: &Arc<Device>, constants: &[Tensor]) -> Result<Memories> {
        let mut memories = Memories {
            device: device.clone(),
            blocks: Vec::new(),
            tensors: Vec::new(),
            constants: constants.len(),
            slots: Vec::new(),
            held: Charge::default(),
        };
        for constant in constants {
            memories.share(constant.clone(), &Watch::default())?;
        }
        Ok(memories)
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Adds a tensor, to be read; one that is not on the device is copied there.
    ///
    /// # Errors
    /// `memory`, `device`.
    pub fn share(&mut self, tensor: Tensor, watch: &Watch) -> Result<Address> {
        let tensor = tensor.to_device(&self.device, Charge::default(), watch)?;
        self.add_tensor(tensor)
    }

    /// Adds a tensor of the device that nobody else holds, to be written.
    ///
    /// # Errors
    /// `internal`: somebody else holds it, or it is not there.
    pub fn own(&mut self, tensor: Tensor) -> Result<Address> {
        match tensor.device() {
            Some(device) if Arc::ptr_eq(device, &self.device) && tensor.is_sole() => self.add_tensor(tensor),
            _ => Err(Error::internal("a result has another holder, or is on another device")),
        }
    }

    fn add_tensor(&mut self, tensor: Tensor) -> Result<Address> {
        let part = tensor.part().ok_or_else(|| Error::internal("a tensor of a device is not on it"))?;
        let bytes = tensor.description().bytes as u64;
        push(&mut self.tensors, tensor)?;
        self.add(Block { part, bytes })
    }

    /// Adds the buffers that steps work in, a block each, charged to `held`; the address of the first.
    ///
    /// # Errors
    /// `memory`: the device has no more, or none of so many bytes.
    pub fn work_in(&mut self, slots: &[u64], mut held: Charge) -> Result<Address> {
        held.add(slots.iter().sum())?;
        self.held = held;
        let base = Address { block: self.blocks.len(), offset: 0 };
        for &bytes in slots {
            let buffer = self.device.buffer(bytes)?;
            self.add(Block { part: buffer.whole(), bytes })?;
            push(&mut self.slots, buffer)?;
        }
        Ok(base)
    }

    fn add(&mut self, block: Block) -> Result<Address> {
        push(&mut self.blocks, block)?;
        Ok(Address { block: self.blocks.len() - 1, offset: 0 })
    }

    /// The tensors of this run, in the order in which they were added.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors[self.constants..]
    }

    /// Lets go of what belongs to one run; hands its tensors to `each`.
    pub fn clear(&mut self, mut each: impl FnMut(usize, Tensor)) {
        self.blocks.truncate(self.constants);
        self.tensors.drain(self.constants..).enumerate().for_each(|(index, tensor)| each(index, tensor));
        self.slots.clear();
        self.held = Charge::default();
    }

    fn block(&self, index: usize) -> Result<Block> {
        self.blocks.get(index).copied().ok_or_else(|| Error::internal("a step uses memory that is not there"))
    }

    fn part(&self, address: Address, bytes: usize) -> Result<Part> {
        let whole = self.block(address.block)?.part;
        if bytes == 0 {
            return Ok(whole);
        }
        let (offset, bytes) = (address.offset as u64, words(bytes));
        // The last element of a slice may end within a word.
        match offset.checked_add(bytes) {
            Some(end) if end <= whole.bytes + 3 => Ok(Part { offset, bytes, ..whole }),
            _ => Err(Error::internal(format!("a step uses {bytes} bytes at {offset} of {}", whole.bytes))),
        }
    }

    /// Copies bytes from one place to another in another buffer.
    ///
    /// # Errors
    /// `internal`: a place that is not in the memory; `device`.
    pub fn copy(&mut self, from: Address, to: Address, bytes: usize, watch: &Watch) -> Result<()> {
        if from == to || bytes == 0 {
            return Ok(());
        }
        let (source, target) = (self.part(from, bytes)?, self.part(to, bytes)?);
        copy_bytes(&self.device, source, target, bytes, watch)
    }

    /// A byte; waits for the device.
    ///
    /// # Errors
    /// `internal`: a place that is not in the memory; `device`, `deadline`, `cancelled`.
    pub fn byte(&self, address: Address, watch: &Watch) -> Result<u8> {
        let inside = address.offset % 4;
        let part = self.part(Address { offset: address.offset - inside, ..address }, 4)?;
        let word = self.device.read(part, 4, watch)?;
        word.get(inside).copied().ok_or_else(|| Error::internal("the device gave no word"))
    }

    /// Launches a step.
    ///
    /// # Errors
    /// `device`, `memory`, `internal`; `deadline`, `cancelled`.
    pub fn launch(
        &self,
        launches: &[ReadyLaunch],
        inputs: &[Option<Operand>],
        outputs: &[Operand],
        workspace: Address,
        watch: &Watch,
    ) -> Result<()> {
        // What does not begin where a binding can begin takes another buffer for the step, and so does a result that ends
        // within a word which is not its own: kernels store whole words.
        let (mut held, mut aside) = (Vec::new(), Vec::new());
        let mut bind = |operand: &Operand, is_read: bool| -> Result<Part> {
            let part = self.part(operand.address, operand.bytes)?;
            let begins = part.offset.is_multiple_of(self.device.adapter().alignment.into());
            let has_words =
                operand.bytes.is_multiple_of(4) || operand.bytes as u64 == self.block(operand.address.block)?.bytes;
            if begins && (is_read || has_words) {
                return Ok(part);
            }
            let buffer = self.device.buffer(part.bytes)?;
            let whole = buffer.whole();
            // Back in the pool it would be given to the next operand.
            held.push(buffer);
            if is_read {
                copy_bytes(&self.device, part, whole, operand.bytes, watch)?;
            } else {
                aside.push((whole, part, operand.bytes));
            }
            Ok(whole)
        };
        let bound_inputs = inputs.iter().map(|operand| operand.as_ref().map(|operand| bind(operand, true)).transpose());
        let bound_inputs = bound_inputs.collect::<Result<Vec<_>>>()?;
        let bound_outputs = outputs.iter().map(|operand| bind(operand, false)).collect::<Result<Vec<_>>>()?;
        let missing = || Error::internal("a launch uses an operand that is not there");
        let part = |slot| match slot {
            Slot::Input(index) => bound_inputs.get(index).copied().flatten().ok_or_else(missing),
            Slot::Output(index) => bound_outputs.get(index).copied().ok_or_else(missing),
            Slot::Work(index) => self.block(workspace.block.saturating_add(index)).map(|block| block.part),
        };
        launches.iter().try_for_each(|launch| launch.launch(&self.device, part, watch))?;
        aside.into_iter().try_for_each(|(from, to, bytes)| copy_bytes(&self.device, from, to, bytes, watch))
    }

    /// Runs a step on the CPU, between copies from the device and back.
    ///
    /// # Errors
    /// `device`, `memory`; `deadline`, `cancelled`.
    pub fn run_on_host(
        &self,
        program: Program,
        inputs: &[Option<Operand>],
        outputs: &[Operand],
        watch: &Watch,
    ) -> Result<()> {
        let mut host = engine::Memories::new(&[])?;
        let brought = self.bring(&mut host, inputs, watch)?;
        let mut made = Vec::new();
        for operand in outputs {
            let layout = operand.layout;
            let address = host.own(Tensor::zeros(layout.dtype, &layout.sizes, None)?)?;
            made.push(Operand { address, ..*operand });
        }
        let results = outputs.iter().zip(&made).map(|(to, from)| (to, from.address.block)).collect::<Vec<_>>();
        let present = || inputs.iter().flatten().map(|operand| operand.layout.clone()).collect::<Vec<_>>();
        let targets = || outputs.iter().map(|operand| operand.layout.clone()).collect::<Vec<_>>();
        let program = match program {
            Program::Kernel(kernel, attrs, ..) => {
                let bytes = (kernel.workspace)(attrs, &present(), &targets());
                let (workspace, bytes) = work_on(&mut host, bytes)?;
                Program::Kernel(kernel, attrs, workspace, bytes)
            }
            Program::Epilogue(epilogue, attrs, ..) => {
                let (workspace, bytes) = work_on(&mut host, epilogue.workspace(attrs, &present(), &targets()))?;
                Program::Epilogue(epilogue, attrs, workspace, bytes)
            }
            Program::Cluster(cluster, shape, ..) => {
                let (workspace, bytes) = work_on(&mut host, cluster.workspace(shape))?;
                Program::Cluster(cluster, shape, workspace, bytes)
            }
            program => program,
        };
        let (mut cursor, mut operands) = (Cursor::default(), Operands::default());
        // A pause would bring everything over once more.
        let watch_through = Watch { pause: f64::INFINITY, ..watch.clone() };
        let work = Work::new(&watch_through, &mut cursor);
        let (given, taken) = (brought.into_iter(), made.iter().copied());
        engine::run(program, &mut host, &mut operands, given, taken, work)?.map_err(stopped)?;
        for (to, block) in results {
            let bytes = host.tensors().get(block).map(Tensor::bytes).unwrap_or_default();
            let part = self.part(to.address, bytes.len())?;
            let staged = self.device.buffer(part.bytes)?;
            self.device.upload(staged.whole(), bytes, watch)?;
            copy_bytes(&self.device, staged.whole(), part, bytes.len(), watch)?;
        }
        Ok(())
    }

    /// The operands with their memory on the CPU. All are waited for at once.
    fn bring<'a>(
        &self,
        host: &mut engine::Memories,
        inputs: &[Option<Operand<'a>>],
        watch: &Watch,
    ) -> Result<Vec<Option<Operand<'a>>>> {
        let mut parts = Vec::new();
        for operand in inputs.iter().flatten().filter(|operand| operand.bytes != 0) {
            let inside = operand.address.offset % 4;
            let start = Address { offset: operand.address.offset - inside, ..operand.address };
            push(&mut parts, self.part(start, operand.bytes + inside)?)?;
        }
        let (read, mut start) = (self.device.read_all(&parts, watch)?, 0);
        let mut brought = Vec::new();
        for operand in inputs {
            let Some(operand) = operand else {
                push(&mut brought, None)?;
                continue;
            };
            let (inside, bytes) = (operand.address.offset % 4, operand.bytes);
            let own = read.bytes().get(start + inside..start + inside + bytes).unwrap_or_default();
            let address = host.share(Tensor::from_bytes(DType::U8, &[own.len()], own, None)?)?;
            push(&mut brought, Some(Operand { address, ..*operand }))?;
            start += if bytes == 0 { 0 } else { words(bytes + inside) as usize };
        }
        Ok(brought)
    }
}

/// Adds a workspace on the CPU; where it is, and its bytes.
fn work_on(host: &mut engine::Memories, bytes: u64) -> Result<(Address, usize)> {
    let bytes = usize::try_from(bytes).map_err(|_| Error::memory("no memory holds the workspace"))?;
    Ok((host.work_in(Buffer::zeroed(bytes, None)?)?, bytes))
}

/// Copies bytes that may begin and end within a word, which the copy command cannot, to another buffer.
fn copy_bytes(device: &Arc<Device>, from: Part, to: Part, bytes: usize, watch: &Watch) -> Result<()> {
    if [from.offset, to.offset, bytes as u64].iter().all(|count| count.is_multiple_of(4)) {
        return match bytes {
            0 => Ok(()),
            _ => device.push(Command::Copy(Part { bytes: bytes as u64, ..from }, to.buffer, to.offset), watch),
        };
    }
    let launch = kernels::copy_bytes(from.offset, to.offset, bytes).map_err(|refusal| Error::internal(refusal.0))?;
    let until = |part: Part| Part { offset: 0, bytes: (part.offset + bytes as u64).next_multiple_of(4), ..part };
    let part = |slot| Ok(if slot == Slot::Input(0) { until(from) } else { until(to) });
    ReadyLaunch::new(device, &launch)?.launch(device, part, watch)
}
