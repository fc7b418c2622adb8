//! Writes the fixture of a release: a file that later releases must load and go on training from.
//!
//!     cargo run -p caudal --example fixture -- tests/fixtures/0.1.0.caudal
//!
//! The program holds its own batch (function `batch`, as constants), trains a perceptron with dropout, a loop, a branch
//! and Adam, and says in its metadata which losses its next steps have.

use caudal::graph::{Builder, Notes, op};
use caudal::json::{Json, from_float};
use caudal::run::{Limits, Session};
use caudal::{AttrValue, DType, Dim, Graph, Program, Result, Role, Spec, Tensor, Value, grad, save};
use std::sync::Arc;

const STEPS: usize = 5;

/// Numbers that look random and are the same everywhere.
fn numbers(sizes: &[usize], seed: usize) -> Result<Tensor> {
    let count = sizes.iter().product();
    let number = |index: usize| ((index + seed) as u32).wrapping_mul(2_654_435_761) >> 8;
    let elements: Vec<f32> = (0..count).map(|index| number(index) as f32 / (1 << 24) as f32 - 0.5).collect();
    Tensor::from_slice(DType::F32, sizes, &elements)
}

/// Three rounds of x -> tanh(x + bias), by a scan.
fn rounds(g: &mut Graph, x: Value, bias: Value) -> Result<Value> {
    let mut body = Graph::new();
    let carry = body.input("carry", g.spec(x).clone())?;
    let shift = body.input("bias", g.spec(bias).clone())?;
    let sum = body.add(carry, shift)?;
    let next = body.tanh(sum)?;
    body.set_outputs(vec![next])?;
    let attrs = [("carried", AttrValue::Int(1)), ("length", AttrValue::Dim(Dim::constant(3)))];
    Ok(g.apply(&op("scan", &attrs)?, vec![Arc::new(body)], &[x, bias])?[0])
}

/// The loss, or its double where it is above 10.
fn doubled_if_large(g: &mut Graph, loss: Value) -> Result<Value> {
    let branch = |factor: f64| -> Result<Arc<Graph>> {
        let mut region = Graph::new();
        let x = region.input("x", Spec::parse("float32[]")?)?;
        let factor = region.scalar(DType::F32, factor)?;
        let product = region.mul(x, factor)?;
        region.set_outputs(vec![product])?;
        Ok(Arc::new(region))
    };
    let ten = g.scalar(DType::F32, 10.0)?;
    let large = g.less(ten, loss)?;
    Ok(g.apply(&op("cond", &[])?, vec![branch(2.0)?, branch(1.0)?], &[large, loss])?[0])
}

fn build() -> Result<Program> {
    let mut builder = Builder::new();
    let x = builder.input("x", Spec::parse("float32[batch, 6]")?)?;
    let y = builder.input("y", Spec::parse("int32[batch]")?)?;
    let kernel = builder.state("hidden/kernel", Role::Parameter, numbers(&[6, 16], 1)?)?;
    let bias = builder.state("hidden/bias", Role::Parameter, numbers(&[16], 2)?)?;
    let out = builder.state("output/kernel", Role::Parameter, numbers(&[16, 3], 3)?)?;
    let key = builder.draw()?;
    let g = &mut builder.graph;
    let hidden = g.matmul(x, kernel)?;
    let hidden = rounds(g, hidden, bias)?;
    let hidden = g.op("dropout", &[("rate", AttrValue::Float(0.1))], &[hidden, key])?;
    let logits = g.matmul(hidden, out)?;
    let losses = g.op("softmax_cross_entropy", &[], &[logits, y])?;
    let loss = g.op("mean", &[], &[losses])?;
    let loss = doubled_if_large(g, loss)?;
    let parameters = [kernel, bias, out];
    let gradients = grad::grad(g, loss, &parameters)?;
    let pixels = g.constant(numbers(&[32, 6], 4)?)?;
    let labels: Vec<i32> = (0..32).map(|index| index % 3).collect();
    let labels = g.constant(Tensor::from_slice(DType::I32, &[32], &labels)?)?;
    builder.function("batch", vec![("x".into(), pixels), ("y".into(), labels)], Notes::default())?;
    let notes = Notes { doc: "One step of Adam.".into(), ..Notes::default() };
    let step = builder.function("train_step", vec![("loss".into(), loss)], notes)?;
    let rate = Tensor::scalar(DType::F32, 0.01)?;
    builder.optimize(step, "optimizer", &op("adam", &[])?, rate, &gradients, &parameters)?;
    Program::new(&[&builder], Json::Null)
}

fn losses(program: &Program) -> Result<Json> {
    let session = Session::new(Arc::new(program.clone()), Limits::none());
    let batch = session.run("batch", &[])?;
    let loss = |_| Ok(from_float(f64::from(session.run("train_step", &batch)?[0].elements::<f32>()?[0])));
    (0..STEPS).map(loss).collect()
}

fn main() -> Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "fixture.caudal".into());
    let mut program = build()?;
    program.metadata = losses(&program)?;
    save::save(&program, path)
}
