//! The CPU engine: kernels and what they run on. A kernel is a plain function on slices; its inputs are checked before.

pub mod block;
pub mod call;
pub mod check;
pub mod cluster;
pub(crate) mod conv;
pub mod copy;
pub mod engine;
pub mod epilogue;
pub(crate) mod fork;
pub(crate) mod gemm;
pub mod index;
pub mod maths;
pub mod memory;
pub(crate) mod pool;
pub mod random;
pub mod recurrence;
pub mod reduce;
pub mod scan;
pub mod simd;
pub mod single;
pub mod sort;
pub mod tape;
pub mod threads;
pub mod work;
