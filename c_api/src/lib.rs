//! The C API of caudal. `include/caudal.h` is generated from these files; its rules stand at its top.

#![allow(non_camel_case_types, reason = "the names are those of the C header")]
#![deny(unsafe_op_in_unsafe_fn)]
#![warn(missing_docs)]

#[cfg(not(target_family = "wasm"))]
mod dlpack;
mod error;
mod gpu;
mod graph;
mod info;
mod limits;
mod op;
mod program;
#[cfg(not(target_family = "wasm"))]
mod python;
mod session;
mod spec;
mod tensor;
mod text;
mod variable;

pub use error::*;
pub use gpu::*;
pub use graph::*;
pub use limits::cdl_limits;
pub use op::cdl_op;
pub use program::*;
#[cfg(not(target_family = "wasm"))]
pub use python::cdl_python_methods;
pub use session::*;
pub use spec::cdl_spec;
pub use tensor::*;
pub use text::cdl_bytes;
pub use variable::cdl_variable;
