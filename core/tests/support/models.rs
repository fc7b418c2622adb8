//! Programs that tests of runs share: small networks that train, and every kind of control flow.

use super::spec;
use caudal::graph::{Builder, Notes, op};
use caudal::json::Json;
use caudal::run::{Limits, Session};
use caudal::{AttrValue, DType, Dim, Graph, Program, Result, Role, Tensor, Value};
use std::sync::Arc;

/// A function of a session, and inputs for it.
pub struct Case {
    pub name: &'static str,
    pub session: Session,
    pub function: &'static str,
    pub inputs: Vec<Tensor>,
}

pub fn tensor(sizes: &[usize]) -> Tensor {
    let number = |index: usize| ((index as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32 - 0.5;
    let elements: Vec<f32> = (0..sizes.iter().product()).map(number).collect();
    Tensor::from_slice(DType::F32, sizes, &elements).unwrap()
}

fn labels(count: usize) -> Tensor {
    let labels: Vec<i32> = (0..count as i32).map(|index| index % 10).collect();
    Tensor::from_slice(DType::I32, &[count], &labels).unwrap()
}

fn session(builder: &Builder) -> Session {
    Session::new(Arc::new(Program::new(&[builder], Json::Null).unwrap()), Limits::none())
}

fn weights(builder: &mut Builder, name: &str, sizes: &[usize]) -> Value {
    builder.state(name, Role::Parameter, tensor(sizes)).unwrap()
}

/// `predict(x)` gives the softmax of the logits; `train_step(x, y)` makes a step of Adam, with dropout in the features.
fn classifier(x: &str, features: impl Fn(&mut Builder, Value) -> (Value, Vec<Value>), width: usize) -> Session {
    let mut builder = Builder::new();
    let b = &mut builder;
    let (x, y) = (b.input("x", spec(x)).unwrap(), b.input("y", spec("int32[batch]")).unwrap());
    let (features, mut parameters) = features(b, x);
    let layer = [weights(b, "last/kernel", &[width, 10]), weights(b, "last/bias", &[10])];
    parameters.extend(layer);
    let logits = |graph: &mut Graph, features: Value| {
        let product = graph.matmul(features, layer[0])?;
        graph.add(product, layer[1])
    };
    let predicted = logits(&mut b.graph, features).unwrap();
    let output = b.graph.op("softmax", &[], &[predicted]).unwrap();
    let key = b.draw().unwrap();
    let dropped = b.graph.op("dropout", &[("rate", AttrValue::Float(0.3))], &[features, key]).unwrap();
    let logits = logits(&mut b.graph, dropped).unwrap();
    let losses = b.graph.op("softmax_cross_entropy", &[], &[logits, y]).unwrap();
    let loss = b.graph.op("mean", &[], &[losses]).unwrap();
    let gradients = caudal::grad::grad(&mut b.graph, loss, &parameters).unwrap();
    let notes = |names: &[&str]| {
        let names = names.iter().map(|name| name.to_string()).collect();
        Notes { inputs: Some(names), ..Notes::default() }
    };
    b.function("predict", vec![("output".into(), output)], notes(&["x"])).unwrap();
    let step = b.function("train_step", vec![("loss".into(), loss)], notes(&["x", "y"])).unwrap();
    let rate = Tensor::scalar(DType::F32, 1e-3).unwrap();
    b.optimize(step, "optimizer", &op("adam", &[]).unwrap(), rate, &gradients, &parameters).unwrap();
    session(&builder)
}

/// One hidden layer.
fn perceptron() -> Session {
    let hidden = |b: &mut Builder, x: Value| {
        let parameters = vec![weights(b, "first/kernel", &[300, 200]), weights(b, "first/bias", &[200])];
        let product = b.graph.matmul(x, parameters[0]).unwrap();
        let sum = b.graph.add(product, parameters[1]).unwrap();
        (b.graph.op("relu", &[], &[sum]).unwrap(), parameters)
    };
    classifier("float32[batch, 300]", hidden, 200)
}

/// A convolution, a pool.
fn convolutional() -> Session {
    let features = |b: &mut Builder, x: Value| {
        let parameters = vec![weights(b, "conv/kernel", &[3, 3, 1, 16]), weights(b, "conv/bias", &[16])];
        let same = ("padding", AttrValue::Text("same".into()));
        let image = b.graph.op("conv", &[same], &[x, parameters[0]]).unwrap();
        let image = b.graph.add(image, parameters[1]).unwrap();
        let image = b.graph.op("relu", &[], &[image]).unwrap();
        let image = b.graph.op("max_pool", &[("window", AttrValue::Ints(vec![2, 2]))], &[image]).unwrap();
        let flat = [Dim::constant(-1), Dim::constant(14 * 14 * 16)].to_vec();
        (b.graph.op("reshape", &[("shape", AttrValue::Dims(flat))], &[image]).unwrap(), parameters)
    };
    classifier("float32[batch, 28, 28, 1]", features, 14 * 14 * 16)
}

/// A region over matrices of one size and a last input of another spec.
fn region(specs: &[&str], body: impl Fn(&mut Graph, &[Value]) -> Result<Vec<Value>>) -> Arc<Graph> {
    let mut graph = Graph::new();
    let inputs = specs.iter().enumerate().map(|(index, text)| graph.input(&format!("x{index}"), spec(text)).unwrap());
    let inputs: Vec<_> = inputs.collect();
    let outputs = body(&mut graph, &inputs).unwrap();
    graph.set_outputs(outputs).unwrap();
    Arc::new(graph)
}

const MATRIX: &str = "float32[60, 60]";

fn apply(
    graph: &mut Graph,
    name: &str,
    attrs: &[(&str, AttrValue)],
    regions: Vec<Arc<Graph>>,
    inputs: &[Value],
) -> Value {
    graph.apply(&op(name, attrs).unwrap(), regions, inputs).unwrap()[0]
}

/// Each kind of control flow by its name, over matrices; `x` is [60, 60], `steps` the slices of a scan.
fn control(name: &str, graph: &mut Graph, x: Value, slices: Value) -> Value {
    let step = |graph: &mut Graph, x: Value, y: Value| {
        let product = graph.matmul(x, y)?;
        graph.tanh(product)
    };
    let int = AttrValue::Int;
    match name {
        "while_loop" => {
            let condition = region(&[MATRIX, "int32[]"], |g, x| {
                let most = g.scalar(DType::I32, 5.0)?;
                Ok(vec![g.op("less", &[], &[x[1], most])?])
            });
            let body = region(&[MATRIX, "int32[]"], |g, x| {
                let one = g.scalar(DType::I32, 1.0)?;
                Ok(vec![step(g, x[0], x[0])?, g.add(x[1], one)?])
            });
            let zero = graph.scalar(DType::I32, 0.0).unwrap();
            let attrs = [("carried", int(2)), ("max_steps", int(8))];
            apply(graph, name, &attrs, vec![condition, body], &[x, zero])
        }
        "scan" => {
            let body = region(&[MATRIX, MATRIX], |g, x| Ok(vec![step(g, x[0], x[1])?]));
            let attrs = [("carried", int(1)), ("sliced", int(1)), ("length", AttrValue::Dim(Dim::constant(4)))];
            apply(graph, name, &attrs, vec![body], &[x, slices])
        }
        "cond" => {
            let (total, zero) = (graph.op("sum", &[], &[x]).unwrap(), graph.scalar(DType::F32, 0.0).unwrap());
            let positive = graph.op("less", &[], &[zero, total]).unwrap();
            let branches = [true, false].map(|double| {
                region(&[MATRIX], |g, x| Ok(vec![if double { g.add(x[0], x[0])? } else { step(g, x[0], x[0])? }]))
            });
            apply(graph, name, &[], branches.to_vec(), &[positive, x])
        }
        _ => apply(graph, "call", &[], vec![region(&[MATRIX], |g, x| Ok(vec![step(g, x[0], x[0])?]))], &[x]),
    }
}

/// `run(x, slices)` gives a loss over control flow and its gradient.
fn flow(name: &str) -> Session {
    let mut builder = Builder::new();
    let x = builder.input("x", spec(MATRIX)).unwrap();
    let slices = builder.input("slices", spec("float32[4, 60, 60]")).unwrap();
    let result = control(name, &mut builder.graph, x, slices);
    let loss = builder.graph.op("sum", &[], &[result]).unwrap();
    let gradient = caudal::grad::grad(&mut builder.graph, loss, &[x]).unwrap()[0];
    let inputs = Some(vec!["x".into(), "slices".into()]);
    let outputs = vec![("loss".into(), loss), ("gradient".into(), gradient)];
    builder.function("run", outputs, Notes { inputs, ..Notes::default() }).unwrap();
    session(&builder)
}

/// `run()` draws numbers of every kind from the session's generator.
fn draws() -> Session {
    let mut builder = Builder::new();
    let shape = || ("shape", AttrValue::Dims(vec![Dim::constant(300), Dim::constant(200)]));
    let mut outputs = Vec::new();
    for name in ["uniform", "normal"] {
        let key = builder.draw().unwrap();
        let drawn = builder.graph.op(name, &[shape()], &[key]).unwrap();
        outputs.push((name.to_string(), drawn));
    }
    builder.function("run", outputs, Notes::default()).unwrap();
    session(&builder)
}

/// How many cases there are.
pub const COUNT: usize = 9;

/// A program with a function of it, by its number.
pub fn case(number: usize) -> Case {
    let flow_of = |name: &'static str| (name, flow(name), "run", vec![tensor(&[60, 60]), tensor(&[4, 60, 60])]);
    let (rows, images) = (|| tensor(&[64, 300]), || tensor(&[32, 28, 28, 1]));
    let (name, session, function, inputs) = match number {
        0 => ("perceptron", perceptron(), "predict", vec![rows()]),
        1 => ("perceptron", perceptron(), "train_step", vec![rows(), labels(64)]),
        2 => ("convolutional", convolutional(), "predict", vec![images()]),
        3 => ("convolutional", convolutional(), "train_step", vec![images(), labels(32)]),
        4 => ("draws", draws(), "run", vec![]),
        _ => flow_of(["while_loop", "scan", "cond", "call"][number - 5]),
    };
    Case { name, session, function, inputs }
}

/// All cases.
pub fn cases() -> impl Iterator<Item = Case> {
    (0..COUNT).map(case)
}
