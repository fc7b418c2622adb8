//! The GPU: what a device is told to do, and who tells it.
//!
//! A step becomes a [`kernel::Recipe`], printed by one of the [`kernels`] in [`wgsl`], and that a list of [`command`]s,
//! which is plain data. A [`device::Device`] keeps the buffers and pipelines of one GPU and gathers commands; a driver
//! executes them: `driver` on wgpu natively.

pub mod command;
pub mod device;
#[cfg(feature = "gpu")]
pub mod driver;
pub mod kernel;
pub mod kernels;
#[cfg(all(test, feature = "gpu"))]
mod testing;
pub mod wgsl;
