//! Limits hold in every stage: reading, passes, plans, sizes, runs.

use crate::{OVERHEAD, allocator, seeds};
use caudal::run::{Limits, Session};
use caudal::shape::Bindings;
use caudal::{Code, Result, Tensor, save};
use std::sync::Arc;

/// Opens the fixture, whose functions have regions, state, draws and an optimizer, and makes two steps.
fn train(bytes: &[u8], limits: &Limits) -> Result<Vec<Tensor>> {
    let session = Session::new(Arc::new(save::read(bytes, Some(limits))?), limits.clone());
    let batch = session.run("batch", &[])?;
    session.run("train_step", &batch)?;
    session.run("train_step", &batch)
}

#[test]
fn any_limit_of_memory_is_kept_and_all_is_given_back() {
    let fixture = seeds::fixture();
    let free = Limits::none();
    let expected = train(&fixture, &free).unwrap();
    let peak = free.budget().peak();
    assert!(peak > 10 * fixture.len() as u64, "reading, passes and plans are counted: {peak}");
    let (mut refused, mut ran) = (0, 0);
    for part in 1..=60 {
        let limit = peak * part / 50;
        let limits = Limits::new(limit, 0.0);
        let (result, allocated) = allocator::peak(|| train(&fixture, &limits));
        assert!(allocated <= limit + OVERHEAD, "{allocated} bytes were allocated under a limit of {limit}");
        match result {
            Ok(outputs) => {
                assert_eq!(outputs, expected);
                ran += 1;
            }
            Err(error) => {
                assert_eq!(error.code(), Code::Memory, "{error}");
                refused += 1;
            }
        }
        // What ended runs keep for the next ones goes with the limits.
        assert!(limits.budget().used() <= limit);
    }
    assert!(refused >= 10 && ran >= 10, "{refused} refused, {ran} ran");
}

#[test]
fn every_stage_can_be_cancelled() {
    let fixture = seeds::fixture();
    let cancelled = Limits::none();
    cancelled.cancel();
    let error = save::read(&fixture, Some(&cancelled)).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.code()), ("the data: the call was cancelled", Code::Cancelled));
    let program = Arc::new(save::read(&fixture, None).unwrap());
    let session = Session::new(program, cancelled);
    let step = session.function("train_step").unwrap();
    let mut sizes = Bindings::new();
    sizes.set(&"batch".into(), 32);
    let error = session.memory(step, &sizes).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.code()), ("train_step: the call was cancelled", Code::Cancelled));
    let error = session.run("batch", &[]).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.code()), ("batch: the call was cancelled", Code::Cancelled));
}
