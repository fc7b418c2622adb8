//! What all targets do with a program: plan and run it within small limits.
#![allow(dead_code, reason = "each target uses its part")]

use caudal::run::{Limits, Session};
use caudal::shape::Bindings;
use caudal::{Code, Error, Program, Result, Tensor, info, tensor};
use std::sync::Arc;

pub fn limits() -> Limits {
    caudal::cpu::threads::set_num_threads(1);
    Limits::new(64 << 20, 0.2)
}

/// Nothing that comes in is a mistake in caudal.
pub fn blameless(error: &Error) {
    assert!(error.code() != Code::Internal, "{error}");
}

/// Calls each function once, with zeros, every symbol being `size`.
pub fn run(program: Program, limits: &Limits, size: i64) {
    let program = Arc::new(program);
    let session = Session::new(program.clone(), limits.clone());
    for index in 0..program.functions.len() {
        if let Err(error) = call(&session, index, size) {
            blameless(&error);
        }
    }
}

fn call(session: &Session, index: usize, size: i64) -> Result<()> {
    let function = &session.program().functions[index];
    let mut sizes = Bindings::new();
    info::symbols(function).iter().for_each(|symbol| sizes.set(&symbol.as_str().into(), size));
    session.memory(index, &sizes)?;
    let mut inputs = Vec::new();
    while let Some(spec) = function.input_spec(inputs.len()) {
        let dims = spec.shape.evaluate(&|name| sizes.get(name))?;
        if tensor::byte_count(spec.dtype, &dims)? > 1 << 16 {
            return Ok(());
        }
        inputs.push(Tensor::zeros(spec.dtype, &dims, Some(session.limits().budget()))?);
    }
    let mut call = session.start(index, &inputs, None)?;
    while !call.advance(f64::INFINITY)? {}
    call.finish().map(drop)
}
