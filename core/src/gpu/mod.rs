//! The GPU: what a device is told to do, and who tells it.
//!
//! A step becomes a [`kernel::Recipe`], printed by one of the [`kernels`] in [`wgsl`], and that a list of [`command`]s,
//! which is plain data. A [`device::Device`] keeps the buffers and pipelines of one GPU and gathers commands; a driver
//! executes them: `driver` on wgpu natively, `host` in WASM, which hands them to the host's WebGPU.

pub mod command;
pub mod device;
#[cfg(feature = "gpu")]
pub mod driver;
pub mod engine;
#[cfg(target_family = "wasm")]
pub mod host;
pub mod kernel;
pub mod kernels;
#[cfg(all(test, feature = "gpu"))]
mod testing;
pub mod wgsl;

use crate::error::{Error, Result};
use device::{Adapter, Device};
use std::sync::Arc;

#[cfg(feature = "gpu")]
use driver as system;
#[cfg(target_family = "wasm")]
use host as system;

/// A build without a driver.
#[cfg(not(any(feature = "gpu", target_family = "wasm")))]
mod system {
    use super::*;

    pub fn adapters() -> Vec<Adapter> {
        Vec::new()
    }

    pub fn open(index: usize) -> Result<Arc<Device>> {
        let error = Error::device(format!("there is no device gpu:{index}: this build has no GPU driver"));
        Err(error.with_argument("device"))
    }

    pub fn opened(_: usize) -> Option<Arc<Device>> {
        None
    }
}

/// The adapters of this machine, `gpu:0`, `gpu:1`, ...; those of hardware first. None in a build without a driver.
pub fn adapters() -> Vec<Adapter> {
    system::adapters()
}

/// The device `gpu:index`; all who ask get the same one, until it is lost.
///
/// # Errors
/// `device`: there is none, or it does not open.
pub fn open(index: usize) -> Result<Arc<Device>> {
    system::open(index)
}

/// The device that is open as `gpu:index`.
pub fn opened(index: usize) -> Option<Arc<Device>> {
    system::opened(index)
}

/// The device of a name: `cpu` is none, `gpu:0`, or `auto`: a GPU of hardware, else the CPU.
///
/// # Errors
/// `device`: there is no such device, or it does not open.
pub fn named(name: &str) -> Result<Option<Arc<Device>>> {
    match name {
        "cpu" => Ok(None),
        "auto" => match adapters().iter().position(|adapter| !adapter.is_software) {
            Some(index) => open(index).map(Some),
            None => Ok(None),
        },
        _ => match name.strip_prefix("gpu:").and_then(|index| index.parse().ok()) {
            Some(index) => open(index).map(Some),
            None => {
                let error = Error::device(format!("there is no device {name:?}; a device is cpu, gpu:0, ... or auto"));
                Err(error.with_argument("device"))
            }
        },
    }
}
