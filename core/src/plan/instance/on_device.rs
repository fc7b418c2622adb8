//! A block at real sizes on a device: its slots, which are buffers there, and the kernels of its steps.
//!
//! A launch must not bind one buffer both to read and to write, so values that live at the same time have a buffer each.

use super::{BlockInstance, Instance, Kernel, Part};
use crate::error::{Error, Location, Result};
use crate::gpu::device::Device;
use crate::gpu::kernel::{ReadyLaunch, Recipe, Refusal, Request};
use crate::gpu::kernels;
use crate::meter::Meter;
use crate::op::Control;
use crate::plan::{Action, Block, Plan};
use crate::shape::Bindings;
use std::sync::Arc;

/// Buffers that values take one after the other.
#[derive(Default)]
struct Slots {
    bytes: Vec<u64>,
    free: Vec<usize>,
}

impl Slots {
    /// The slot that fits best; one that is a little too small is made larger.
    fn take(&mut self, bytes: u64) -> usize {
        let waste = |&(_, &slot): &(usize, &usize)| self.bytes[slot].abs_diff(bytes);
        let near = self.free.iter().enumerate().min_by_key(waste);
        let near = near.filter(|&(_, &slot)| self.bytes[slot].abs_diff(bytes) <= self.bytes[slot].max(bytes) / 2);
        match near.map(|(position, _)| position) {
            Some(position) => {
                let slot = self.free.swap_remove(position);
                self.bytes[slot] = self.bytes[slot].max(bytes);
                slot
            }
            None => {
                self.bytes.push(bytes);
                self.bytes.len() - 1
            }
        }
    }
}

/// Slots for two that never work at the same time.
fn share(slots: &mut Vec<u64>, other: &[u64]) {
    slots.resize(slots.len().max(other.len()), 0);
    slots.iter_mut().zip(other).for_each(|(bytes, other)| *bytes = (*bytes).max(*other));
}

impl Instance {
    /// Gives buffers and workspaces their slots, step by step, and prints and compiles the kernels.
    pub(super) fn lay_on(
        &self,
        device: &Arc<Device>,
        block: &Block,
        made: &mut BlockInstance,
        sizes: &Bindings,
        meter: &Meter,
    ) -> Result<()> {
        let (mut slots, mut scratch) = (Slots::default(), Vec::new());
        let (mut begin, mut end) = (block.begin.iter().peekable(), block.end.iter().peekable());
        for index in 0..block.steps.len() {
            meter.check()?;
            while let Some(&buffer) = begin.next_if(|&&buffer| block.buffers[buffer].first == index) {
                let bytes = made.layouts[block.buffers[buffer].value.index()].bytes();
                made.buffers[buffer] = Part { offset: slots.take(bytes as u64), bytes };
            }
            let (kernel, own) = match &block.steps[index].action {
                Action::Control(control, blocks) => {
                    (Kernel::Control, self.control_slots(block, index, *control, blocks, made)?)
                }
                _ => match print(device, block, index, made, sizes) {
                    Ok(recipe) => {
                        let launches = recipe.launches.iter().map(|launch| ReadyLaunch::new(device, launch));
                        (Kernel::Launches(launches.collect::<Result<_>>()?), recipe.workspaces)
                    }
                    Err(refusal) => (Kernel::Host(refusal), Vec::new()),
                },
            };
            made.kernels.push(kernel);
            made.workspaces.push(Part { offset: 0, bytes: own.len() });
            share(&mut scratch, &own);
            while let Some(&buffer) = end.next_if(|&&buffer| block.buffers[buffer].last == index) {
                slots.free.push(made.buffers[buffer].offset);
            }
        }
        // One step runs at a time, so all have the same slots behind those of the buffers.
        made.workspaces.iter_mut().for_each(|workspace| workspace.offset = slots.bytes.len());
        made.slots = slots.bytes;
        made.slots.extend(scratch);
        made.bytes = usize::try_from(made.slots.iter().sum::<u64>()).unwrap_or(usize::MAX);
        Ok(())
    }

    /// The slots of a control step, as the parts of [`Instance::loop_memory`] come.
    fn control_slots(
        &self,
        block: &Block,
        step: usize,
        control: Control,
        blocks: &[usize],
        made: &mut BlockInstance,
    ) -> Result<Vec<u64>> {
        let mut slots = Vec::new();
        blocks.iter().for_each(|&region| share(&mut slots, &self.blocks[region].slots));
        for bytes in self.loop_parts(block, step, control, made)? {
            made.loops[step].push(slots.len());
            slots.push(bytes);
        }
        Ok(slots)
    }
}

/// Where a step runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Its op; `copy` for a step that no node stands for.
    pub op: &'static str,
    /// The user's line.
    pub location: Option<Location>,
    /// The device, such as `gpu:0`, or `cpu`.
    pub device: String,
    /// Why it is not on the session's device; how control flow goes there.
    pub why: Option<String>,
    /// How many kernels a device launches for it.
    pub launches: usize,
}

impl Instance {
    /// Where each step runs, and why.
    pub fn placement(&self, plan: &Plan) -> Vec<Placement> {
        let place = |block: &Block, index: usize, kernel: Option<&Kernel>| {
            let node = block.node(index);
            let device = self.device.as_ref().map_or("cpu".into(), |device| format!("gpu:{}", device.index()));
            let (device, why) = match kernel {
                Some(Kernel::Host(refusal)) => ("cpu".into(), Some(refusal.to_string())),
                Some(Kernel::Control) => match &block.steps[index].action {
                    Action::Control(Control::Cond | Control::WhileLoop, _) => {
                        (device, Some("its condition is read back before it goes on".into()))
                    }
                    _ => (device, None),
                },
                Some(Kernel::Launches(_)) | None => (device, None),
            };
            let location = node.and_then(|node| node.location.clone());
            let launches = if let Some(Kernel::Launches(launches)) = kernel { launches.len() } else { 0 };
            Placement { op: node.map_or("copy", |node| node.op.def.name), location, device, why, launches }
        };
        let blocks = plan.blocks.iter().zip(&self.blocks);
        let steps = blocks.flat_map(|(block, made)| {
            (0..block.steps.len()).map(move |index| place(block, index, made.kernels.get(index)))
        });
        steps.collect()
    }

    /// Whether the device runs every step.
    ///
    /// # Errors
    /// `unsupported`: it does not; the first such step, and why.
    pub fn check_strict(&self, plan: &Plan) -> Result<()> {
        for (block, made) in plan.blocks.iter().zip(&self.blocks) {
            for (index, kernel) in made.kernels.iter().enumerate() {
                if let Kernel::Host(refusal) = kernel {
                    let error = Error::unsupported(format!("the device does not run it: {refusal}"));
                    return Err(match block.node(index) {
                        Some(node) => error.with_op(node.op.def.name).with_location(node.location.as_ref()),
                        None => error,
                    });
                }
            }
        }
        Ok(())
    }
}

/// The recipe of a step.
fn print(
    device: &Device,
    block: &Block,
    index: usize,
    made: &BlockInstance,
    sizes: &Bindings,
) -> Result<Recipe, Refusal> {
    let step = &block.steps[index];
    let inputs: Vec<_> = step.inputs.iter().map(|value| value.map(|value| &made.layouts[value.index()])).collect();
    let outputs: Vec<_> = step.outputs.iter().map(|value| &made.layouts[value.index()]).collect();
    let adapter = device.adapter();
    let recipe = match (&step.action, block.node(index), &made.attrs[index]) {
        (Action::CopyOut(_), ..) => kernels::copy(&inputs, adapter)?,
        (_, Some(node), Some(attrs)) => kernels::print_node(
            node,
            sizes,
            &Request { attrs, inputs: &inputs, outputs: &outputs, adapter, finish: None },
        )?,
        _ => return Err(Error::internal("a step without a node").into()),
    };
    let most = recipe.launches.iter().map(|launch| launch.slots.len()).max().unwrap_or(0);
    match adapter.storage_buffers as usize {
        limit if most > limit => Err(Refusal(format!("it needs {most} storage buffers, the device binds {limit}"))),
        _ => Ok(recipe),
    }
}
