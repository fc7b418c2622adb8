//! What a step becomes: a recipe of launches, printed at real sizes.

use super::command::{Command, Part, Shader};
use super::device::{Adapter, Device, DeviceBuffer, Pipeline};
use super::kernels::epilogue::Finish;
use crate::attrs::Attrs;
use crate::cpu::call::Layout;
use crate::cpu::memory::as_bytes;
use crate::cpu::work::Watch;
use crate::error::Result;
use std::fmt;
use std::sync::Arc;

/// A step, as a printer sees it. Inputs are dense unless the op's CPU kernel takes strides; outputs are dense.
pub struct Request<'a> {
    /// The attrs of its op; every dim is a number.
    pub attrs: &'a Attrs,
    /// The layouts of its inputs; `None` where one was left out.
    pub inputs: &'a [Option<&'a Layout>],
    /// The layouts of its outputs.
    pub outputs: &'a [&'a Layout],
    /// What the device can do.
    pub adapter: &'a Adapter,
    /// What follows a product in its kernel, which then stores none of its own results; no other op gets it.
    pub finish: Option<&'a Finish>,
}

impl Request<'_> {
    /// An input that is there.
    ///
    /// # Errors
    /// It was left out.
    pub fn input(&self, index: usize) -> Result<&Layout, Refusal> {
        self.inputs.get(index).copied().flatten().ok_or_else(|| Refusal(format!("the input {index} is not there")))
    }

    /// An output.
    ///
    /// # Errors
    /// There is none.
    pub fn output(&self, index: usize) -> Result<&Layout, Refusal> {
        self.outputs.get(index).copied().ok_or_else(|| Refusal(format!("there is no output {index}")))
    }
}

/// Why a step does not run on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Refusal {
    fn from(error: E) -> Refusal {
        Refusal(error.to_string())
    }
}

/// Makes the recipe of a step.
pub type Printer = fn(&Request) -> Result<Recipe, Refusal>;

/// What a binding of a launch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// The memory of the step's input of that index, from the start of the root that it may be a view of.
    Input(usize),
    /// The step's output of that index.
    Output(usize),
    /// The recipe's workspace of that index.
    Work(usize),
}

/// One dispatch.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// What runs; its last binding is the uniform buffer of `params` if there are any.
    pub shader: Shader,
    /// What is bound to it, in order.
    pub slots: Vec<Slot>,
    /// The sizes that the shader looks up.
    pub params: Vec<u32>,
    /// How many workgroups along each axis; none is launched if one is 0.
    pub groups: [u32; 3],
}

/// The launches of a step, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recipe {
    /// What is launched.
    pub launches: Vec<Launch>,
    /// Bytes of each workspace.
    pub workspaces: Vec<u64>,
}

impl Recipe {
    /// A recipe of one launch.
    pub fn of(launch: Launch) -> Recipe {
        Recipe { launches: vec![launch], workspaces: Vec::new() }
    }

    /// Adds a workspace of so many bytes.
    pub fn work(&mut self, bytes: u64) -> Slot {
        self.workspaces.push(bytes);
        Slot::Work(self.workspaces.len() - 1)
    }
}

/// A launch that waits for its buffers alone: compiled, its params on the device.
pub struct ReadyLaunch {
    pipeline: Pipeline,
    slots: Vec<Slot>,
    params: Option<DeviceBuffer>,
    groups: [u32; 3],
}

impl ReadyLaunch {
    /// Compiles a launch, and uploads its params.
    ///
    /// # Errors
    /// Those of [`Device::pipeline`] and [`Device::upload`].
    pub fn new(device: &Arc<Device>, launch: &Launch) -> Result<ReadyLaunch> {
        let pipeline = device.pipeline(&launch.shader)?;
        let params = match launch.params.is_empty() {
            true => None,
            false => {
                let bytes = as_bytes(&launch.params);
                // A uniform array is one of vec4.
                let buffer = device.buffer(bytes.len().next_multiple_of(16) as u64)?;
                device.upload(buffer.whole(), bytes, &Watch::default())?;
                Some(buffer)
            }
        };
        Ok(ReadyLaunch { pipeline, slots: launch.slots.clone(), params, groups: launch.groups })
    }

    /// Launches it on the parts that `part` gives for its slots.
    ///
    /// # Errors
    /// Those of `part` and of [`Device::push`].
    pub fn launch(&self, device: &Device, part: impl Fn(Slot) -> Result<Part>, watch: &Watch) -> Result<()> {
        if self.groups.contains(&0) {
            return Ok(());
        }
        let mut parts = self.slots.iter().map(|&slot| part(slot)).collect::<Result<Vec<_>>>()?;
        parts.extend(self.params.as_ref().map(DeviceBuffer::whole));
        device.push(Command::Dispatch(*self.pipeline, parts, self.groups), watch)
    }
}
