//! Gradients of random smooth programs against differences of the programs themselves.

use super::catalogue::Catalogue;
use super::graph::{Maker, Mode};
use super::properties::{Outcome, report, same};
use super::recipe::Recipe;
use crate::support::{self, Generator};
use caudal::meter::Meter;
use caudal::run::function::Executable;
use caudal::{DType, Graph, Result, Spec, Tensor, Value, grad, passes};
use std::sync::Arc;

const STEP: f64 = 1e-5;
const TOLERANCE: f64 = 2e-5;

/// Compares in two random directions over all inputs together. Where differences over a step and over half of it
/// disagree, the program is not smooth at that point, and differences say nothing about its gradient.
pub fn check(catalogue: &Catalogue, recipe: &Recipe) -> Outcome {
    let (program, mut coverage) = Maker::new(catalogue, Mode::Smooth, recipe.seed).program(recipe);
    let (mut graph, inputs) = (program.graph, program.inputs);
    let mut generator = Generator(recipe.seed ^ 0x5eed);
    let by: Vec<_> = (0..inputs.len()).filter(|&index| inputs[index].dtype() == DType::F64).collect();
    let wrt: Vec<_> = by.iter().map(|&index| graph.inputs()[index].value).collect();
    if wrt.is_empty() {
        return Ok(coverage);
    }
    let forward = graph.clone();
    let loss = weigh(&mut graph, &mut generator).unwrap();
    let fail = |what: String| report(&what, &forward, &inputs);
    let gradients = grad::grad(&mut graph, loss, &wrt).map_err(|error| fail(format!("grad: {error}")))?;
    let run = |outputs: &[Value], pipeline| {
        let mut graph = graph.clone();
        graph.set_outputs(outputs.to_vec())?;
        let executable = Arc::new(Executable::new(&graph, pipeline, &Meter::default())?);
        Result::Ok(move |inputs: &[Tensor]| support::execute(&executable, &graph, inputs))
    };
    let error = |error: caudal::Error| fail(error.to_string());
    let plain = run(&gradients, passes::PLAIN).and_then(|run| run(&inputs)).map_err(error)?;
    let optimized = run(&gradients, passes::OPTIMIZED).and_then(|run| run(&inputs)).map_err(error)?;
    same("of the gradient, plain,", &plain, "optimised", &optimized).map_err(fail)?;
    let losses = run(&[loss], passes::PLAIN).map_err(error)?;
    let at = |directions: &[Vec<f64>], step: f64| -> Result<f64> {
        let mut inputs = inputs.clone();
        for (&index, direction) in by.iter().zip(directions) {
            let numbers = support::numbers(&inputs[index]);
            let moved: Vec<_> = numbers.iter().zip(direction).map(|(x, d)| x + step * d).collect();
            inputs[index] = support::tensor(DType::F64, inputs[index].sizes(), &moved);
        }
        Ok(support::numbers(&losses(&inputs)?[0])[0])
    };
    for _ in 0..2 {
        let directions: Vec<Vec<f64>> =
            by.iter().map(|&index| generator.numbers(inputs[index].len()).iter().map(|d| d - 0.5).collect()).collect();
        let difference = |step: f64| Ok((at(&directions, step)? - at(&directions, -step)?) / (2.0 * step));
        let (whole, half) = (difference(STEP).map_err(error)?, difference(STEP / 2.0).map_err(error)?);
        let scale = 1.0 + whole.abs() + at(&directions, 0.0).map_err(error)?.abs();
        // NaN and infinity are nowhere near anything.
        let is_near = |a: f64, b: f64, tolerance: f64| (a - b).abs() <= tolerance * scale;
        if !is_near(whole, half, TOLERANCE / 4.0) {
            coverage.count("rough direction".into());
            continue;
        }
        let slope: f64 = plain.iter().zip(&directions).map(|(gradient, d)| dot(&support::numbers(gradient), d)).sum();
        if !is_near(slope, whole, TOLERANCE) {
            return Err(fail(format!("the gradient gives a slope of {slope}, differences {whole} and {half}")));
        }
        coverage.count("smooth direction".into());
    }
    Ok(coverage)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The sum over the elements of all outputs of weight * (value + value^2 / 2).
fn weigh(graph: &mut Graph, generator: &mut Generator) -> Result<Value> {
    let mut loss = graph.scalar(DType::F64, 0.0)?;
    for value in graph.outputs().to_vec() {
        let spec = graph.spec(value).clone();
        if spec.dtype != DType::F64 {
            continue;
        }
        let weight = match spec.shape.is_constant() {
            true => graph.constant(generator.tensor(&Spec::new(DType::F64, spec.shape.clone()), -0.5, 0.5))?,
            false => graph.scalar(DType::F64, generator.number() - 0.5)?,
        };
        let half = graph.scalar(DType::F64, 0.5)?;
        let square = graph.mul(value, value)?;
        let square = graph.mul(square, half)?;
        let both = graph.add(value, square)?;
        let term = graph.mul(both, weight)?;
        let sum = graph.op("sum", &[], &[term])?;
        loss = graph.add(loss, sum)?;
    }
    Ok(loss)
}
