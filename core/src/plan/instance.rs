//! A plan at real sizes: layouts, offsets, bytes; on a device, slots and kernels.

mod on_device;

pub use on_device::Placement;

use super::arena::{Arena, aligned};
use super::{Action, Block, Place, Plan};
use crate::attrs::{AttrValue, Attrs};
use crate::cpu::call::{Layout, List};
use crate::cpu::engine::Address;
use crate::error::{Error, Result};
use crate::gpu::device::Device;
use crate::gpu::kernel::{ReadyLaunch, Refusal};
use crate::graph::Value;
use crate::meter::{Charge, Meter};
use crate::op::{Control, Meaning};
use crate::shape::{Bindings, Dim};
use crate::tensor::byte_count;
use std::sync::Arc;

/// A part of a block's memory: of bytes in a row, or on a device of slots, which are buffers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// Bytes from the start of the block's memory; on a device, slots.
    pub offset: usize,
    /// How many bytes.
    pub bytes: usize,
}

/// A block at real sizes.
pub struct BlockInstance {
    /// The layout of each value.
    pub layouts: Vec<Layout>,
    /// The attrs of what each step runs, its dims known; `None` for steps without a node.
    pub attrs: Vec<Option<Attrs>>,
    /// Where each buffer lies.
    pub buffers: Vec<Part>,
    /// The workspace of each step.
    pub workspaces: Vec<Part>,
    /// For each step that is a loop, where its own memory has, behind that of its regions, each carried value, each once
    /// more, and the condition's result. Empty for other steps.
    pub loops: Vec<Vec<usize>>,
    /// Bytes of memory the block needs.
    pub bytes: usize,
    /// On a device, the bytes of each slot.
    pub slots: Vec<u64>,
    /// On a device, how it runs each step.
    pub kernels: Vec<Kernel>,
}

impl BlockInstance {
    /// The attrs of a step that runs a kernel.
    ///
    /// # Errors
    /// `internal`: it has none.
    pub fn attrs(&self, step: usize) -> Result<&Attrs> {
        self.attrs[step].as_ref().ok_or_else(|| Error::internal("a kernel without attrs"))
    }
}

/// How a device runs a step.
pub enum Kernel {
    /// By these launches.
    Launches(Vec<ReadyLaunch>),
    /// Not at all, for this reason; the CPU does.
    Host(Refusal),
    /// It is control flow, which launches nothing itself.
    Control,
}

/// A plan at real sizes.
pub struct Instance {
    /// The blocks of the plan.
    pub blocks: Vec<BlockInstance>,
    /// The layouts of the function's outputs.
    pub outputs: Vec<Layout>,
    /// The device that runs it; none is the CPU.
    device: Option<Arc<Device>>,
    /// What the instance takes.
    held: Charge,
}

/// A bound of what an instance, and each run of it, takes for a value and for each of its axes.
const VALUE: usize = size_of::<Layout>() + size_of::<Part>() + 192;
const AXIS: usize = size_of::<usize>() + size_of::<isize>();
/// The same for a step: its attrs with known dims, its workspace, when its buffers begin and end.
const STEP: usize = size_of::<Option<Attrs>>() + 3 * size_of::<Part>() + size_of::<[usize; 8]>();

impl Instance {
    /// Works out a plan for known dims, on a device or, without one, on the CPU.
    ///
    /// # Errors
    /// `shape`: dims that must be equal are not; `memory`: more than memory can be; what a kernel's attrs refuse;
    /// what the meter refuses; `device`: it is lost.
    pub fn new(plan: &Plan, sizes: &Bindings, device: Option<&Arc<Device>>, meter: &Meter) -> Result<Instance> {
        let blocks = Vec::with_capacity(plan.blocks.len());
        let device = device.cloned();
        let mut instance = Instance { blocks, outputs: Vec::new(), device, held: meter.charge(0)? };
        for block in &plan.blocks {
            instance.held.add(cost(block))?;
            let block = instance.block(block, sizes, meter)?;
            instance.blocks.push(block);
        }
        let layouts = instance.blocks.last().map_or(&[][..], |block| &block.layouts);
        let output = |value: &Value| Layout::dense(layouts[value.index()].dtype, &layouts[value.index()].sizes);
        instance.outputs = plan.graph().outputs().iter().map(output).collect();
        Ok(instance)
    }

    /// Bytes that a run needs beside its inputs and outputs.
    pub fn bytes(&self) -> usize {
        self.blocks.last().map_or(0, |block| block.bytes)
    }

    /// The bytes of each slot that a run needs on a device.
    pub fn slots(&self) -> &[u64] {
        self.blocks.last().map_or(&[], |block| &block.slots)
    }

    /// The place of a block's part whose memory begins at `base`.
    pub fn place(&self, base: Address, offset: usize) -> Address {
        match self.device {
            Some(_) => Address { block: base.block.saturating_add(offset), ..base },
            None => base.after(offset),
        }
    }

    /// Bytes that the outputs of a run take.
    pub fn output_bytes(&self) -> u64 {
        self.outputs.iter().fold(0, |sum, layout| sum.saturating_add(layout.bytes() as u64))
    }

    fn block(&self, block: &Block, sizes: &Bindings, meter: &Meter) -> Result<BlockInstance> {
        let env = |name: &str| sizes.get(name);
        check_requirements(block, sizes)?;
        let mut layouts = Vec::with_capacity(block.places.len());
        let mut views = block.graph.nodes().iter();
        for index in 0..block.places.len() {
            meter.check()?;
            let value = Value(index as u32);
            let spec = block.graph.spec(value);
            let place = |error: Error| match block.graph.producer(value) {
                Some(node) => error.with_op(node.op.def.name).with_location(node.location.as_ref()),
                None => error,
            };
            let dims = spec.shape.evaluate_list(&env).map_err(place)?;
            byte_count(spec.dtype, &dims).map_err(place)?;
            layouts.push(match block.places[index] {
                Place::View(source) => {
                    let node = views.find(|node| node.first == value);
                    let node = node.ok_or_else(|| Error::internal("a view without a node"))?;
                    let attrs = known_attrs(&node.op.attrs, sizes)?;
                    match &node.op.def.meaning {
                        Meaning::Kernel(kernel) => match kernel.view {
                            Some(view) => view(&attrs, &layouts[source.index()], &dims),
                            None => return Err(Error::internal("a view of a kernel that has none")),
                        },
                        _ => return Err(Error::internal("a view that is not a kernel")),
                    }
                }
                _ => Layout::of(spec.dtype, dims),
            });
        }
        let mut attrs = Vec::with_capacity(block.steps.len());
        for step in 0..block.steps.len() {
            attrs.push(block.attrs(step).map(|attrs| known_attrs(attrs, sizes)).transpose()?);
        }
        let steps = block.steps.len();
        let mut made = BlockInstance {
            layouts,
            attrs,
            buffers: vec![Part::default(); block.buffers.len()],
            workspaces: Vec::with_capacity(steps),
            loops: vec![Vec::new(); steps],
            bytes: 0,
            slots: Vec::new(),
            kernels: Vec::new(),
        };
        match &self.device {
            None => self.lay(block, &mut made)?,
            Some(device) => self.lay_on(device, block, &mut made, sizes, meter)?,
        }
        Ok(made)
    }

    /// Lays buffers and workspaces into the block's memory, step by step.
    fn lay(&self, block: &Block, made: &mut BlockInstance) -> Result<()> {
        let mut arena = Arena::default();
        let (mut begin, mut end) = (block.begin.iter().peekable(), block.end.iter().peekable());
        for index in 0..block.steps.len() {
            while let Some(&buffer) = begin.next_if(|&&buffer| block.buffers[buffer].first == index) {
                let bytes = made.layouts[block.buffers[buffer].value.index()].bytes();
                let bytes = planted!(
                    "plan: a buffer of symbolic size is a line short",
                    bytes,
                    match block.graph.spec(block.buffers[buffer].value).shape.is_constant() {
                        true => bytes,
                        false => bytes.saturating_sub(64),
                    }
                );
                made.buffers[buffer] = Part { offset: arena.take(bytes as u64)? as usize, bytes };
            }
            let bytes = self.workspace(block, index, made)?;
            let offset = arena.take(bytes)?;
            made.workspaces.push(Part { offset: offset as usize, bytes: bytes as usize });
            arena.give(offset, bytes);
            while let Some(&buffer) = end.next_if(|&&buffer| block.buffers[buffer].last == index) {
                let part = made.buffers[buffer];
                arena.give(part.offset as u64, part.bytes as u64);
            }
        }
        made.bytes = arena.bytes as usize;
        Ok(())
    }

    fn workspace(&self, block: &Block, step: usize, made: &mut BlockInstance) -> Result<u64> {
        let layout = |value: &Value| made.layouts[value.index()].clone();
        let inputs = || block.steps[step].inputs.iter().flatten().map(layout).collect::<List<_>>();
        let outputs = || block.steps[step].outputs.iter().map(layout).collect::<List<_>>();
        match &block.steps[step].action {
            Action::Tape(_) | Action::CopyOut(_) => Ok(0),
            Action::Cluster(cluster) => {
                let shape = made.attrs[step].as_ref().and_then(|attrs| attrs.dim_list("shape"));
                Ok(cluster.workspace(shape.ok_or_else(|| Error::internal("a cluster without a shape"))?))
            }
            Action::Epilogue(epilogue) => Ok(epilogue.workspace(made.attrs(step)?, &inputs(), &outputs())),
            Action::Kernel(kernel) => Ok((kernel.workspace)(made.attrs(step)?, &inputs(), &outputs())),
            Action::Control(control, blocks) => {
                let (offsets, bytes) = self.loop_memory(block, step, *control, blocks, made)?;
                made.loops[step] = offsets;
                Ok(bytes)
            }
        }
    }

    /// The memory of a control step: its regions' (one runs at a time), then its parts. Where those lie, and the bytes of
    /// all.
    fn loop_memory(
        &self,
        block: &Block,
        step: usize,
        control: Control,
        blocks: &[usize],
        made: &BlockInstance,
    ) -> Result<(Vec<usize>, u64)> {
        let mut bytes = self.region_bytes(blocks)?;
        let mut offsets = Vec::new();
        for part in self.loop_parts(block, step, control, made)? {
            let too_large = || Error::memory("a loop is larger than memory can be");
            offsets.push(usize::try_from(bytes).map_err(|_| too_large())?);
            bytes = bytes.checked_add(aligned(part)?).ok_or_else(too_large)?;
        }
        Ok((offsets, bytes))
    }

    /// The bytes of what a loop has for itself: two sets of carried values, then the condition's result.
    fn loop_parts(&self, block: &Block, step: usize, control: Control, made: &BlockInstance) -> Result<Vec<u64>> {
        if !matches!(control, Control::WhileLoop | Control::Scan) {
            return Ok(Vec::new());
        }
        let attrs = made.attrs[step].as_ref().ok_or_else(|| Error::internal("a loop without a node"))?;
        let outputs = block.steps[step].outputs.get(..attrs.int("carried")? as usize);
        let outputs = outputs.ok_or_else(|| Error::internal("a loop carries what it does not give"))?;
        let part = |value: &Value| made.layouts[value.index()].bytes() as u64;
        let condition = (control == Control::WhileLoop).then_some(1);
        Ok(outputs.iter().chain(outputs).map(part).chain(condition).collect())
    }

    /// Bytes of the memory that the regions of a step share, aligned.
    fn region_bytes(&self, blocks: &[usize]) -> Result<u64> {
        aligned(blocks.iter().map(|&block| self.blocks[block].bytes as u64).max().unwrap_or(0))
    }
}

fn cost(block: &Block) -> u64 {
    let axes: usize = (0..block.places.len()).map(|index| block.graph.spec(Value(index as u32)).shape.rank()).sum();
    let attrs = |step: usize| block.node(step).map_or(0, |node| node.op.def.attrs.len() * size_of::<AttrValue>());
    let steps: usize = (0..block.steps.len()).map(|step| STEP + attrs(step)).sum();
    (VALUE * block.places.len() + AXIS * axes + steps) as u64
}

/// Checks the dims that must be equal, and names them if they are not.
fn check_requirements(block: &Block, sizes: &Bindings) -> Result<()> {
    let env = |name: &str| sizes.get(name);
    for requirement in block.graph.requirements() {
        let (Ok(left), Ok(right)) = (requirement.left.evaluate(&env), requirement.right.evaluate(&env)) else {
            continue;
        };
        if left != right {
            let (a, b) = (&requirement.left, &requirement.right);
            // min(a, b) == b says that a is b or more: see `Infer::at_least`.
            let text = match a.as_min_with(b) {
                Some(a) => format!("{}, it must be at least {}", valued(&a, &env)?, valued(b, &env)?),
                None => format!("{} and {} must be equal", valued(a, &env)?, valued(b, &env)?),
            };
            return Err(Error::shape(text).with_op(&requirement.op).with_location(requirement.location.as_ref()));
        }
    }
    Ok(())
}

/// A dim and its value.
fn valued(dim: &Dim, env: &dyn Fn(&str) -> Option<i64>) -> Result<String> {
    let value = dim.evaluate(env)?;
    Ok(if dim.is_symbolic() { format!("{dim} = {value}") } else { value.to_string() })
}

/// Attrs whose dims are numbers.
///
/// # Errors
/// A symbol has no size.
pub fn known_attrs(attrs: &Attrs, sizes: &Bindings) -> Result<Attrs> {
    attrs.map_dims(|dim| match dim.as_constant() {
        Some(_) => Ok(dim.clone()),
        None => dim.evaluate(&|name| sizes.get(name)).map(Dim::constant),
    })
}
