//! Every op on every sample of its record, in every dtype: what tests that the record drives share.

use super::{Generator, numbers, tensor};
use caudal::op::{OpDef, Sample};
use caudal::run::Limits;
use caudal::run::eager::EagerOp;
use caudal::{DType, Graph, Op, Spec, Tensor, Value, ops};

/// An op on drawn inputs.
pub struct Case {
    pub what: String,
    pub op: Op,
    pub inputs: Vec<Option<Tensor>>,
}

impl Case {
    pub fn new(def: &'static OpDef, sample: &Sample, dtype: DType) -> Case {
        let mut generator = Generator(7);
        let inputs = sample.inputs.iter().map(|input| draw(&mut generator, input, dtype)).collect();
        let what = format!("{} {} of {:?} in {dtype}", def.name, sample.attrs, sample.inputs);
        let op = super::op(def.name, sample.attrs).unwrap_or_else(|error| panic!("{what}: {error}"));
        Case { what, op, inputs }
    }

    /// The same with the inputs that have the case's dtype converted to another.
    pub fn cast(&self, sample: &Sample, dtype: DType) -> Case {
        let inputs = self.inputs.iter().zip(sample.inputs);
        let inputs = inputs.map(|(input, text)| match input {
            Some(input) if text.starts_with('T') => Some(tensor(dtype, input.sizes(), &numbers(input))),
            other => other.clone(),
        });
        Case { what: format!("{} against {dtype}", self.what), op: self.op.clone(), inputs: inputs.collect() }
    }

    pub fn present(&self) -> Vec<Tensor> {
        self.inputs.iter().flatten().cloned().collect()
    }

    /// Applies the op in a graph; gives its inputs and outputs.
    pub fn trace(&self, graph: &mut Graph) -> (Vec<Value>, Vec<Value>) {
        let mut operands = Vec::new();
        for (index, input) in self.inputs.iter().enumerate() {
            operands.push(match input {
                Some(input) => graph.input(&format!("x{index}"), input.spec()).unwrap(),
                None => Value::ABSENT,
            });
        }
        let outputs =
            graph.apply(&self.op, Vec::new(), &operands).unwrap_or_else(|error| panic!("{}: {error}", self.what));
        (operands.into_iter().filter(|value| *value != Value::ABSENT).collect(), outputs)
    }

    pub fn graph(&self) -> Graph {
        let mut graph = Graph::new();
        let (_, outputs) = self.trace(&mut graph);
        graph.set_outputs(outputs).unwrap();
        graph
    }

    pub fn eager(&self) -> Vec<Tensor> {
        let outputs = EagerOp::new(self.op.clone()).call(&self.inputs, &Limits::none());
        outputs.unwrap_or_else(|error| panic!("{}: {error}", self.what))
    }
}

/// An input of a sample: `T[2, 3] in 0..1`, or `-` for one that is left out. Integers of a range are below its end.
pub fn draw(generator: &mut Generator, input: &str, dtype: DType) -> Option<Tensor> {
    if input == "-" {
        return None;
    }
    let (spec, range) = input.split_once(" in ").map_or((input, None), |(spec, range)| (spec, Some(range)));
    let spec = super::spec(&spec.replace('T', dtype.name()));
    let (low, high) = match range.map(|range| range.split_once("..").expect("a range has two ends")) {
        Some((low, high)) => (low.parse().expect("a number"), high.parse().expect("a number")),
        None if spec.dtype.is_float() => (-2.0, 2.0),
        None if spec.dtype.is_signed() => (-5.0, 6.0),
        None => (0.0, 6.0),
    };
    Some(generator.tensor(&spec, low, high))
}

/// Calls `test` with each sample of each op in each dtype of the op; once where no input depends on it.
pub fn for_samples(mut test: impl FnMut(&'static OpDef, &'static Sample, DType)) {
    for def in ops::all() {
        for sample in def.samples {
            let depends = sample.inputs.iter().any(|input| input.starts_with('T'));
            let dtypes = def.dtypes.iter().take(if depends { usize::MAX } else { 1 });
            dtypes.for_each(|dtype| test(def, sample, dtype));
        }
    }
}

/// The first element where `narrow` is further from `wide` than `tolerance` allows.
pub fn difference(narrow: &Tensor, wide: &Tensor, tolerance: f64) -> Option<String> {
    let (narrow, wide) = (numbers(narrow), numbers(wide));
    let scale = wide.iter().filter(|value| value.is_finite()).fold(1f64, |scale, value| scale.max(value.abs()));
    let far = |(a, b): (f64, f64)| !(a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * scale);
    let index = narrow.iter().zip(&wide).position(|(a, b)| far((*a, *b)))?;
    Some(format!("[{index}] is {}, not {}", narrow[index], wide[index]))
}

/// The sum over all float values, as numbers of `dtype`, of weight * (value + value^2 / 2), so that linear ops have second derivatives too.
pub fn weigh(graph: &mut Graph, values: &[Value], dtype: DType, generator: &mut Generator) -> Value {
    let mut loss = graph.scalar(dtype, 0.0).unwrap();
    for &value in values {
        let spec = graph.spec(value).clone();
        if !spec.dtype.is_float() {
            continue;
        }
        let weight = generator.tensor(&Spec::new(dtype, spec.shape.clone()), -0.5, 0.5);
        let weight = graph.constant(weight).unwrap();
        let value = graph.cast(value, dtype).unwrap();
        let half = graph.scalar(dtype, 0.5).unwrap();
        let square = graph.mul(value, value).unwrap();
        let square = graph.mul(square, half).unwrap();
        let term = graph.add(value, square).unwrap();
        let term = graph.mul(term, weight).unwrap();
        let sum = graph.op("sum", &[], &[term]).unwrap();
        loss = graph.add(loss, sum).unwrap();
    }
    loss
}
