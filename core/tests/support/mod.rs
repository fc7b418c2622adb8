//! What the core's tests share: drawn tensors, and the ways to run a graph.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod cases;
pub mod models;
#[cfg(feature = "gpu")]
pub mod whole;

use caudal::meter::Meter;
use caudal::passes::{self, Pass};
use caudal::run::Limits;
use caudal::run::function::Executable;
use caudal::shape::Bindings;
use caudal::{Attrs, DType, Graph, Op, Result, Spec, Tensor, Value, json, ops};
use std::ops::Range;
use std::sync::Arc;

/// The seeds of random graphs: from the environment's `CAUDAL_GRAPH` on (0) as many as `CAUDAL_GRAPHS` says, else that one
/// alone, or `usual`.
pub fn seeds(usual: u64) -> Range<u64> {
    let setting = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (first, count) = (setting("CAUDAL_GRAPH"), setting("CAUDAL_GRAPHS"));
    let start = first.unwrap_or(0);
    start..start + count.unwrap_or(if first.is_some() { 1 } else { usual })
}

pub fn spec(text: &str) -> Spec {
    Spec::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The op of that name, with attrs as JSON.
pub fn op(name: &str, attrs: &str) -> Result<Op> {
    let def = ops::find(name)?;
    let attrs = json::parse(attrs)?;
    Ok(Op { def, attrs: Attrs::from_json(def, attrs.as_object().expect("attrs are an object"))? })
}

/// Applies an op with one output, attrs as JSON.
pub fn apply(graph: &mut Graph, name: &str, attrs: &str, inputs: &[Value]) -> Value {
    let op = op(name, attrs).unwrap_or_else(|error| panic!("{name} {attrs}: {error}"));
    graph.apply(&op, Vec::new(), inputs).unwrap_or_else(|error| panic!("{attrs}: {error}"))[0]
}

/// Numbers in [0, 1), the same each time: a linear congruential generator (Knuth's MMIX).
pub struct Generator(pub u64);

impl Generator {
    pub fn number(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn numbers(&mut self, count: usize) -> Vec<f64> {
        (0..count).map(|_| self.number()).collect()
    }

    /// A tensor with elements in [low, high), whole numbers for integers, anything for `bool`.
    pub fn tensor(&mut self, spec: &Spec, low: f64, high: f64) -> Tensor {
        let sizes = spec.shape.sizes().expect("a drawn tensor has known sizes");
        let element = |number: f64| match spec.dtype {
            DType::Bool => f64::from(number < 0.5),
            dtype if dtype.is_float() => low + (high - low) * number,
            _ => (low + (high - low) * number).floor(),
        };
        let elements: Vec<_> = self.numbers(sizes.iter().product()).into_iter().map(element).collect();
        tensor(spec.dtype, &sizes, &elements)
    }
}

/// A tensor of numbers, each converted as `cast` does.
pub fn tensor(dtype: DType, sizes: &[usize], elements: &[f64]) -> Tensor {
    let scalars = elements.iter().map(|&element| Tensor::scalar(dtype, element).unwrap());
    let bytes: Vec<u8> = scalars.flat_map(|scalar| scalar.bytes().to_vec()).collect();
    Tensor::from_bytes(dtype, sizes, &bytes, None).unwrap()
}

/// The elements of a tensor as numbers.
pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    let cast = op("cast", r#"{"dtype": "float64"}"#).unwrap();
    let wide = caudal::cpu::single::compute(&cast, &[Some(tensor.clone())]).unwrap();
    wide[0].elements::<f64>().unwrap().to_vec()
}

/// Whether two tensors are equal to the bit, except for which NaN a NaN is.
pub fn same(x: &Tensor, y: &Tensor) -> bool {
    let is_same = |(x, y): (f64, f64)| x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan());
    let are_floats = x.dtype().is_float() && x.spec() == y.spec();
    x == y || (are_floats && numbers(x).into_iter().zip(numbers(y)).all(is_same))
}

/// An executable, run on inputs whose dims are bound from their sizes.
pub fn execute(executable: &Arc<Executable>, graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let mut sizes = Bindings::new();
    for (input, tensor) in graph.inputs().iter().zip(inputs) {
        sizes.bind(&graph.spec(input.value).shape, tensor.sizes()).expect("the inputs fit the graph");
    }
    let limits = Limits::none();
    let mut run = executable.start(inputs.to_vec(), &sizes, limits.budget(), |_| None)?;
    run.advance(&limits.watch())?;
    run.finish()
}

/// Runs a graph through these passes.
pub fn run_through(graph: &Graph, passes: &[Pass], inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    execute(&Arc::new(Executable::new(graph, passes, &Meter::default())?), graph, inputs)
}

/// Runs a graph plain and optimised, checks that both agree to the bit, gives the outputs.
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Vec<Tensor> {
    let plain = run_through(graph, passes::PLAIN, inputs).unwrap_or_else(|error| panic!("{error}"));
    let optimized = run_through(graph, passes::OPTIMIZED, inputs).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(plain, optimized, "plain and optimised differ in\n{}", caudal::graph::text::print(graph));
    plain
}
