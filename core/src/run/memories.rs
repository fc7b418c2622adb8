//! The memory of a run, where it runs: on the CPU or on a device.

use crate::cpu::engine::{self, Address};
use crate::cpu::memory::{Budget, Buffer};
use crate::cpu::work::Watch;
use crate::error::{Error, Result};
use crate::gpu::device::Device;
use crate::gpu::engine as device;
use crate::meter::Charge;
use crate::plan::instance::Instance;
use crate::tensor::Tensor;
use std::sync::Arc;

/// The memory of a run.
pub enum Memories {
    /// Of this machine.
    Host(engine::Memories),
    /// Of a device.
    Device(device::Memories),
}

impl Memories {
    /// Memory that holds these tensors at the addresses 0, 1, ... in every run.
    ///
    /// # Errors
    /// `memory`, `device`.
    pub fn new(constants: &[Tensor], on: Option<&Arc<Device>>) -> Result<Memories> {
        match on {
            None => engine::Memories::new(constants).map(Memories::Host),
            Some(on) => device::Memories::new(on, constants).map(Memories::Device),
        }
    }

    /// Adds a tensor, to be read; one that is elsewhere is copied.
    ///
    /// # Errors
    /// `memory`, `device`; `deadline`, `cancelled`.
    pub fn share(&mut self, tensor: Tensor, watch: &Watch) -> Result<Address> {
        match self {
            Memories::Host(memories) => memories.share(tensor.to_host(watch)?),
            Memories::Device(memories) => memories.share(tensor, watch),
        }
    }

    /// Adds a tensor that nobody else holds, to be written.
    ///
    /// # Errors
    /// `memory`; `internal`: somebody else holds it.
    pub fn own(&mut self, tensor: Tensor) -> Result<Address> {
        match self {
            Memories::Host(memories) => memories.own(tensor),
            Memories::Device(memories) => memories.own(tensor),
        }
    }

    /// Adds the memory that the steps of an instance share; gives where it begins.
    ///
    /// # Errors
    /// `memory`.
    pub fn work_in(&mut self, instance: &Instance, budget: &Arc<Budget>) -> Result<Address> {
        match self {
            Memories::Host(memories) => memories.work_in(budget.take(instance.bytes())?),
            Memories::Device(memories) => memories.work_in(instance.slots(), Charge::to(budget)),
        }
    }

    /// The tensors of this run, in the order in which they were added.
    pub fn tensors(&self) -> &[Tensor] {
        match self {
            Memories::Host(memories) => memories.tensors(),
            Memories::Device(memories) => memories.tensors(),
        }
    }

    /// Lets go of what belongs to one run: hands its tensors to `each`, gives the memory that steps shared on the CPU.
    pub fn clear(&mut self, each: impl FnMut(usize, Tensor)) -> Option<Buffer> {
        match self {
            Memories::Host(memories) => memories.clear(each),
            Memories::Device(memories) => {
                memories.clear(each);
                None
            }
        }
    }

    /// Copies bytes from one place to another that does not overlap it.
    ///
    /// # Errors
    /// `internal`: a place that is not in the memory; `device`.
    pub fn copy(&mut self, from: Address, to: Address, bytes: usize, watch: &Watch) -> Result<()> {
        match self {
            Memories::Host(memories) => memories.copy(from, to, bytes),
            Memories::Device(memories) => memories.copy(from, to, bytes, watch),
        }
    }

    /// A byte; on a device all steps so far are waited for.
    ///
    /// # Errors
    /// `internal`: a place that is not in the memory; `device`, `deadline`, `cancelled`.
    pub fn byte(&self, address: Address, watch: &Watch) -> Result<u8> {
        match self {
            Memories::Host(memories) => memories.byte(address),
            Memories::Device(memories) => memories.byte(address, watch),
        }
    }

    /// Whether the device takes all that this run told it.
    ///
    /// # Errors
    /// `pending`: it is not known yet; `memory`, `internal`: it does not.
    pub fn settle(&self, watch: &Watch) -> Result<()> {
        match self {
            Memories::Host(_) => Ok(()),
            Memories::Device(memories) => memories.device().settle(watch),
        }
    }

    /// The memory, if it is of this machine.
    ///
    /// # Errors
    /// `unsupported`: it is not.
    pub fn host(&self) -> Result<&engine::Memories> {
        match self {
            Memories::Host(memories) => Ok(memories),
            Memories::Device(_) => Err(Error::unsupported("operands on a device are not looked at")),
        }
    }
}
