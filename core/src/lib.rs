//! caudal: numerical computing and deep learning on dataflow graphs.
//!
//! The core: tensors, graphs and their ops, autodiff, passes, plans, the CPU engine, sessions and program files. It
//! knows no binding and no network; the C API and, through it, every language stand on the items below.

#![deny(unsafe_op_in_unsafe_fn)]
#![warn(missing_docs)]

#[macro_use]
pub mod planted;

pub mod attrs;
pub mod cpu;
pub mod dtype;
pub mod error;
pub mod gpu;
pub mod grad;
pub mod graph;
pub mod infer;
pub mod info;
pub mod json;
pub mod meter;
pub mod op;
pub mod ops;
pub mod passes;
pub mod plan;
pub mod program;
pub mod run;
pub mod save;
pub mod scalar;
pub mod shape;
pub mod tensor;

pub use attrs::{AttrType, AttrValue, Attrs};
pub use cpu::memory::{Budget, Buffer};
pub use dtype::{DType, DTypes};
pub use error::{Code, Error, Location, Result};
pub use graph::{Builder, FunctionId, Graph, Node, Role, Value};
pub use op::{Op, OpDef, Spec};
pub use program::{Function, Program, State};
pub use shape::{Dim, Shape};
pub use tensor::Tensor;
