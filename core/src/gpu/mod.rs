//! The GPU: what a device is told to do, and who tells it.
//!
//! A step becomes WGSL text and a list of [`command`]s, which is plain data. A [`device::Device`] keeps the buffers and
//! pipelines of one GPU and gathers commands; a driver executes them: `driver` on wgpu natively.

pub mod command;
pub mod device;
#[cfg(feature = "gpu")]
pub mod driver;
