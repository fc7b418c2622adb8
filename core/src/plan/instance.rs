//! A plan at real sizes: layouts, offsets, bytes.

use super::arena::{Arena, aligned};
use super::{Action, Block, Place, Plan};
use crate::attrs::{AttrValue, Attrs};
use crate::cpu::call::Layout;
use crate::error::{Error, Result};
use crate::graph::Value;
use crate::meter::{Charge, Meter};
use crate::op::{Control, Meaning};
use crate::shape::{Bindings, Dim};
use crate::tensor::byte_count;

/// A part of a block's memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// Bytes from the start of the block's memory.
    pub offset: usize,
    /// How many bytes.
    pub bytes: usize,
}

/// A block at real sizes.
pub struct BlockInstance {
    /// The layout of each value.
    pub layouts: Vec<Layout>,
    /// The attrs of each step's node, its dims known; `None` for steps without a node.
    pub attrs: Vec<Option<Attrs>>,
    /// Where each buffer lies.
    pub buffers: Vec<Part>,
    /// The workspace of each step.
    pub workspaces: Vec<Part>,
    /// Bytes of memory the block needs.
    pub bytes: usize,
}

/// A plan at real sizes.
pub struct Instance {
    /// The blocks of the plan.
    pub blocks: Vec<BlockInstance>,
    /// What the instance takes.
    held: Charge,
}

/// A bound of what an instance, and each run of it, takes for a value and for each of its axes.
const VALUE: usize = size_of::<Layout>() + size_of::<Part>() + 192;
const AXIS: usize = size_of::<usize>() + size_of::<isize>();
/// The same for a step: its attrs with known dims, its workspace, when its buffers begin and end.
const STEP: usize = size_of::<Option<Attrs>>() + 3 * size_of::<Part>() + size_of::<[usize; 8]>();

impl Instance {
    /// Works out a plan for known dims.
    ///
    /// # Errors
    /// `shape`: dims that must be equal are not; `memory`: more than memory can be; what a kernel's attrs refuse;
    /// what the meter refuses.
    pub fn new(plan: &Plan, sizes: &Bindings, meter: &Meter) -> Result<Instance> {
        let mut instance = Instance { blocks: Vec::new(), held: meter.charge(0)? };
        for block in &plan.blocks {
            instance.held.add(cost(block))?;
            let block = instance.block(block, sizes, meter)?;
            instance.blocks.push(block);
        }
        Ok(instance)
    }

    /// Bytes that a run needs beside its inputs and outputs.
    pub fn bytes(&self) -> usize {
        self.blocks.last().map_or(0, |block| block.bytes)
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
            let dims = spec.shape.evaluate(&env).map_err(place)?;
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
                _ => Layout::dense(spec.dtype, &dims),
            });
        }
        let mut attrs = Vec::with_capacity(block.steps.len());
        for step in 0..block.steps.len() {
            attrs.push(block.node(step).map(|node| known_attrs(&node.op.attrs, sizes)).transpose()?);
        }
        let mut made = BlockInstance { layouts, attrs, buffers: Vec::new(), workspaces: Vec::new(), bytes: 0 };
        self.lay(block, &mut made)?;
        Ok(made)
    }

    /// Lays buffers and workspaces into the block's memory, step by step.
    fn lay(&self, block: &Block, made: &mut BlockInstance) -> Result<()> {
        let mut starts = vec![Vec::new(); block.steps.len()];
        let mut ends = vec![Vec::new(); block.steps.len()];
        for (index, buffer) in block.buffers.iter().enumerate() {
            let own = block.places[block.root(buffer.value).index()] == Place::Buffer(index);
            if own && buffer.first < block.steps.len() {
                starts[buffer.first].push(index);
                ends[buffer.last].push(index);
            }
        }
        made.buffers = vec![Part::default(); block.buffers.len()];
        let mut arena = Arena::default();
        for (index, _) in block.steps.iter().enumerate() {
            for &buffer in &starts[index] {
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
            for &buffer in &ends[index] {
                let part = made.buffers[buffer];
                arena.give(part.offset as u64, part.bytes as u64);
            }
        }
        made.bytes = arena.bytes as usize;
        Ok(())
    }

    fn workspace(&self, block: &Block, step: usize, made: &BlockInstance) -> Result<u64> {
        let layout = |value: Value| made.layouts[value.index()].clone();
        match &block.steps[step].action {
            Action::Tape(_) | Action::CopyOut(_) => Ok(0),
            Action::Kernel(kernel) => {
                let inputs: Vec<_> = block.steps[step].inputs.iter().flatten().map(|&value| layout(value)).collect();
                let outputs: Vec<_> = block.steps[step].outputs.iter().map(|&value| layout(value)).collect();
                let attrs = made.attrs[step].as_ref().ok_or_else(|| Error::internal("a kernel without a node"))?;
                Ok((kernel.workspace)(attrs, &inputs, &outputs))
            }
            Action::Control(control, blocks) => self.loop_memory(block, step, *control, blocks, made),
        }
    }

    /// The memory of a control step: its regions' (one runs at a time), then two sets of carried values, then the
    /// condition.
    fn loop_memory(
        &self,
        block: &Block,
        step: usize,
        control: Control,
        blocks: &[usize],
        made: &BlockInstance,
    ) -> Result<u64> {
        let mut bytes = self.region_bytes(blocks)?;
        for part in self.carried_parts(block, step, control, made)? {
            bytes = bytes
                .checked_add(2 * aligned(part)?)
                .ok_or_else(|| Error::memory("a loop is larger than memory can be"))?;
        }
        Ok(bytes + if control == Control::WhileLoop { aligned(1)? } else { 0 })
    }

    /// Bytes of the memory that the regions of a step share, aligned.
    pub fn region_bytes(&self, blocks: &[usize]) -> Result<u64> {
        aligned(blocks.iter().map(|&block| self.blocks[block].bytes as u64).max().unwrap_or(0))
    }

    /// Bytes of each value that a loop carries.
    fn carried_parts(&self, block: &Block, step: usize, control: Control, made: &BlockInstance) -> Result<Vec<u64>> {
        if !matches!(control, Control::WhileLoop | Control::Scan) {
            return Ok(Vec::new());
        }
        let attrs = made.attrs[step].as_ref().ok_or_else(|| Error::internal("a loop without a node"))?;
        let carried = attrs.int("carried")? as usize;
        let outputs = block.steps[step].outputs.iter().take(carried);
        Ok(outputs.map(|value| made.layouts[value.index()].bytes() as u64).collect())
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

fn known_attrs(attrs: &Attrs, sizes: &Bindings) -> Result<Attrs> {
    attrs.map_dims(|dim| match dim.as_constant() {
        Some(_) => Ok(dim.clone()),
        None => dim.evaluate(&|name| sizes.get(name)).map(Dim::constant),
    })
}
