//! Every op, in every dtype, on every sample of its record: all ways to run it agree to the bit, text and files keep
//! it, narrow floats follow wide ones, gradients follow finite differences. The record alone drives this.

mod support;

use caudal::cpu::threads::set_num_threads;
use caudal::graph::{Builder, Notes, text};
use caudal::json::Json;
use caudal::meter::Meter;
use caudal::op::{Control, Meaning, OpDef, Vjp};
use caudal::run::eager::{EagerOp, evaluate};
use caudal::run::function::{Executable, Setting};
use caudal::run::{Limits, Session};
use caudal::{Code, DType, Graph, Program, Tensor, Value, grad, ops, passes, save};
use std::collections::BTreeSet;
use std::sync::Arc;
use support::cases::{Case, difference, draw, for_samples, weigh};
use support::{Generator, execute, numbers, run_through, tensor};

/// An op without samples, and why.
fn reason_without_samples(def: &OpDef) -> Option<&'static str> {
    match def.meaning {
        Meaning::Control(Control::Cond | Control::WhileLoop | Control::Scan | Control::Call) => {
            Some("samples have no regions; see control.rs")
        }
        Meaning::Cluster => Some("made by the pass fuse; see passes.rs"),
        _ => None,
    }
}

#[test]
fn every_op_has_samples_or_a_reason() {
    for def in ops::all() {
        let reason = reason_without_samples(def);
        assert_eq!(def.samples.is_empty(), reason.is_some(), "{}: {reason:?}", def.name);
        assert!(!def.doc.is_empty(), "{}", def.name);
        if let Vjp::NotDifferentiable(reason) = def.vjp {
            assert!(!reason.is_empty(), "{}", def.name);
        }
    }
}

#[test]
fn eager_plain_and_optimised_agree_to_the_bit() {
    let (mut count, mut refused, mut ran) = (0, 0, BTreeSet::new());
    for_samples(|def, sample, dtype| {
        let case = Case::new(def, sample, dtype);
        let (graph, eager) = (case.graph(), case.eager());
        for (output, tensor) in graph.outputs().iter().zip(&eager) {
            assert_eq!(*graph.spec(*output), tensor.spec(), "{}", case.what);
        }
        let plain =
            evaluate(&graph, case.present(), &Limits::none()).unwrap_or_else(|error| panic!("{}: {error}", case.what));
        let optimized = run_through(&graph, passes::OPTIMIZED, &case.present());
        let optimized = optimized.unwrap_or_else(|error| panic!("{}: {error}", case.what));
        assert_eq!(eager, plain, "eager and plain: {}", case.what);
        assert_eq!(plain, optimized, "plain and optimised: {}", case.what);
        let checked = Arc::new(
            Executable::with(&graph, &[], &Setting { checked: true, ..Setting::default() }, &Meter::default())
                .unwrap_or_else(|error| panic!("{}: {error}", case.what)),
        );
        match execute(&checked, &graph, &case.present()) {
            Ok(checked) => assert_eq!(plain, checked, "plain and checked: {}", case.what),
            Err(error) => {
                assert!(matches!(error.code(), Code::Index | Code::Argument), "{}: {error}", case.what);
                refused += 1;
            }
        }
        count += 1;
        ran.insert(def.name);
    });
    println!("{} ops, {count} of (op, dtype, sample), {refused} of them refused when checked", ran.len());
    assert!(refused > 0 && refused < count / 10, "{refused} of {count} are refused when checked");
    let missing: Vec<_> =
        ops::all().filter(|def| reason_without_samples(def).is_none() && !ran.contains(def.name)).collect();
    assert!(missing.is_empty(), "not run: {missing:?}");
}

#[test]
fn text_and_files_keep_every_op() {
    for_samples(|def, sample, dtype| {
        let case = Case::new(def, sample, dtype);
        let graph = case.graph();
        let parsed = text::parse(&text::print(&graph)).unwrap_or_else(|error| panic!("{}: {error}", case.what));
        assert_eq!(parsed, graph, "{}", case.what);

        let mut builder = Builder::new();
        let (_, outputs) = case.trace(&mut builder.graph);
        let outputs = outputs.into_iter().enumerate().map(|(index, value)| (format!("y{index}"), value)).collect();
        builder.function("f", outputs, Notes::default()).unwrap();
        let program = Program::new(&[&builder], Json::Null).unwrap();
        let file = save::write(&program).unwrap();
        let read = save::read(&file, None).unwrap_or_else(|error| panic!("{}: {error}", case.what));
        assert_eq!(read.functions[0].graph, program.functions[0].graph, "{}", case.what);
        assert_eq!(save::write(&read).unwrap(), file, "{}", case.what);
        let session = Session::new(Arc::new(read), Limits::none());
        assert_eq!(session.run("f", &case.present()).unwrap(), case.eager(), "{}", case.what);
    });
}

#[test]
fn an_attr_of_minus_zero_is_kept_where_the_default_is_zero() {
    let op = support::op("uniform", r#"{"shape": [3], "low": -0.0}"#).unwrap();
    assert_eq!(caudal::json::write(&Json::Object(op.attrs.to_json())), r#"{"low":-0.0,"shape":[3]}"#);
    let plain = support::op("uniform", r#"{"shape": [3], "low": 0.0}"#).unwrap();
    assert_eq!(caudal::json::write(&Json::Object(plain.attrs.to_json())), r#"{"shape":[3]}"#);
    assert_ne!(op, plain);
}

#[test]
fn shifts_by_the_width_or_backwards_leave_the_sign() {
    for dtype in caudal::DTypes::INTEGER.iter() {
        let (signed, width) = (dtype.is_signed(), 8 * dtype.size() as i128);
        let within = |value: i128| {
            let value = value & ((1 << width) - 1);
            if signed && value >> (width - 1) == 1 { value - (1 << width) } else { value }
        };
        let mut distances = vec![0, 1, width - 1, width, width + 1, 100];
        distances.extend(signed.then_some(-1));
        for x in [77, if signed { -77 } else { 78 }] {
            let right = |&y: &i128| if (0..width).contains(&y) { x >> y } else { -i128::from(x < 0) };
            let left = |&y: &i128| if (0..width).contains(&y) { within(x << y) } else { 0 };
            let rows: [(&str, Vec<i128>); 2] = [
                ("bitwise_right_shift", distances.iter().map(right).collect()),
                ("bitwise_left_shift", distances.iter().map(left).collect()),
            ];
            for (name, expected) in rows {
                let floats = |values: &[i128]| values.iter().map(|&value| value as f64).collect::<Vec<_>>();
                let y = tensor(dtype, &[distances.len()], &floats(&distances));
                let operands = [Some(Tensor::scalar(dtype, x as f64).unwrap()), Some(y)];
                let outputs = EagerOp::new(support::op(name, "{}").unwrap()).call(&operands, &Limits::none()).unwrap();
                assert_eq!(numbers(&outputs[0]), floats(&expected), "{name} of {x} in {dtype}");
            }
        }
    }
}

/// Ops that draw other numbers in `float64`.
const DRAWN: &[&str] = &["bernoulli", "categorical"];

#[test]
fn narrow_floats_are_near_float64() {
    let (mut count, mut failures) = (0, Vec::new());
    for_samples(|def, sample, dtype| {
        let tolerance = match dtype {
            DType::F32 => 2e-6,
            DType::F16 => 2e-3,
            DType::BF16 => 1.6e-2,
            _ => return,
        };
        if DRAWN.contains(&def.name)
            || !def.dtypes.contains(DType::F64)
            || !sample.inputs.iter().any(|input| input.starts_with('T'))
        {
            return;
        }
        let narrow = Case::new(def, sample, dtype);
        let wide = narrow.cast(sample, DType::F64);
        for (output, (a, b)) in narrow.eager().iter().zip(&wide.eager()).enumerate() {
            let difference = difference(a, b, tolerance);
            failures.extend(difference.map(|text| format!("{}: output {output} {text}", narrow.what)));
            count += 1;
        }
    });
    println!("{count} outputs compared");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Compares gradients of a loss with central differences of it: in random directions and by single elements.
struct Differences<'a> {
    what: &'a str,
    inputs: Vec<Tensor>,
    step: f64,
    tolerance: f64,
    count: usize,
    failures: Vec<String>,
}

impl Differences<'_> {
    fn loss(&self, graph: &Graph, input: usize, direction: &[f64], step: f64) -> f64 {
        let mut inputs = self.inputs.clone();
        let moved: Vec<_> = numbers(&inputs[input]).iter().zip(direction).map(|(x, d)| x + step * d).collect();
        inputs[input] = tensor(DType::F64, self.inputs[input].sizes(), &moved);
        numbers(&evaluate(graph, inputs, &Limits::none()).unwrap()[0])[0]
    }

    /// `by` are the inputs that `gradients` are with respect to.
    fn check(&mut self, order: usize, graph: &Graph, loss: Value, by: &[usize], gradients: &[Value]) {
        let mut only_loss = graph.clone();
        only_loss.set_outputs(vec![loss]).unwrap();
        let mut only_gradients = graph.clone();
        only_gradients.set_outputs(gradients.to_vec()).unwrap();
        let gradients = evaluate(&only_gradients, self.inputs.clone(), &Limits::none()).unwrap();
        let optimized = run_through(&only_gradients, passes::OPTIMIZED, &self.inputs).unwrap();
        assert_eq!(gradients, optimized, "{}: gradients of order {order}, plain and optimised", self.what);
        let mut generator = Generator(11);
        for (gradient, &input) in gradients.iter().zip(by) {
            let gradient = numbers(gradient);
            let count = gradient.len();
            let mut directions: Vec<Vec<f64>> =
                (0..2).map(|_| generator.numbers(count).iter().map(|number| number - 0.5).collect()).collect();
            let single = |index: usize| (0..count).map(|other| f64::from(other == index)).collect();
            directions.extend((0..count).step_by(1 + count / 6).map(single));
            for direction in directions.iter().filter(|_| count > 0) {
                let step = self.step;
                let (up, down) =
                    (self.loss(&only_loss, input, direction, step), self.loss(&only_loss, input, direction, -step));
                let expected = (up - down) / (2.0 * step);
                let exact: f64 = gradient.iter().zip(direction).map(|(g, d)| g * d).sum();
                self.count += 1;
                let is_near = (exact - expected).abs() <= self.tolerance * (1.0 + expected.abs());
                if !is_near {
                    let at = direction.iter().position(|&d| d == 1.0);
                    self.failures
                        .push(format!("{} order {order}, input {input} {at:?}: {exact}, not {expected}", self.what));
                }
            }
        }
    }
}

#[test]
fn first_and_second_gradients_follow_finite_differences() {
    let (mut count, mut failures, mut checked) = (0, Vec::new(), BTreeSet::new());
    for_samples(|def, sample, dtype| {
        if dtype != DType::F64 || matches!(def.vjp, Vjp::NotDifferentiable(_)) {
            return;
        }
        let case = Case::new(def, sample, dtype);
        let mut graph = Graph::new();
        let (operands, outputs) = case.trace(&mut graph);
        let by: Vec<_> = (0..operands.len()).filter(|&index| graph.spec(operands[index]).dtype == DType::F64).collect();
        let float = |value: &Value| graph.spec(*value).dtype.is_float();
        if by.is_empty() || !outputs.iter().any(float) {
            return;
        }
        // Rounding to float32 in between drowns small steps.
        let narrow = outputs.iter().any(|value| float(value) && graph.spec(*value).dtype != DType::F64);
        let (step, tolerance) = if narrow { (1e-2, 1e-3) } else { (1e-5, 2e-6) };
        let mut differences =
            Differences { what: &case.what, inputs: case.present(), step, tolerance, count: 0, failures: Vec::new() };
        let wrt: Vec<_> = by.iter().map(|&index| operands[index]).collect();
        let mut generator = Generator(13);
        let mut values = outputs;
        for order in 1..=2 {
            let loss = weigh(&mut graph, &values, DType::F64, &mut generator);
            values = grad::grad(&mut graph, loss, &wrt).unwrap_or_else(|error| panic!("{}: {error}", case.what));
            differences.check(order, &graph, loss, &by, &values);
        }
        count += differences.count;
        failures.extend(differences.failures);
        checked.insert(def.name);
    });
    println!("{} ops, {count} derivatives", checked.len());
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
    let differentiable = |def: &&OpDef| {
        !matches!(def.vjp, Vjp::NotDifferentiable(_))
            && def.dtypes.contains(DType::F64)
            && def.samples.iter().any(|sample| sample.inputs.iter().any(|input| input.starts_with('T')))
    };
    let missing: Vec<_> = ops::all().filter(differentiable).filter(|def| !checked.contains(def.name)).collect();
    assert!(missing.is_empty(), "not differentiated: {missing:?}");
}

/// Cases that are large enough to be cut into tasks: op, attrs, inputs.
const LARGE: &[(&str, &str, &[&str])] = &[
    ("add", "{}", &["float32[700, 301]", "float32[301]"]),
    ("exp", "{}", &["float64[90001]"]),
    ("gelu", "{}", &["float16[200, 301]"]),
    ("sum", "{}", &["float32[300017]"]),
    ("sum", r#"{"axis": [0]}"#, &["float32[3001, 97]"]),
    ("mean", r#"{"axis": [0, 2]}"#, &["float32[31, 64, 101]"]),
    ("max", r#"{"axis": [1]}"#, &["float32[501, 303]"]),
    ("argmax", r#"{"axis": 1}"#, &["float32[501, 303]"]),
    ("softmax", "{}", &["float32[501, 303]"]),
    ("layer_norm", "{}", &["float32[401, 256]", "float32[256]", "float32[256]"]),
    ("batch_norm_training", "{}", &["float32[32, 14, 14, 16]", "float32[16]", "float32[16]"]),
    ("matmul", "{}", &["float32[201, 307]", "float32[307, 190]"]),
    ("matmul", "{}", &["float64[5, 64, 96]", "float64[5, 96, 70]"]),
    ("conv", r#"{"padding": "same"}"#, &["float32[8, 28, 28, 16]", "float32[3, 3, 16, 24]"]),
    ("conv", r#"{"groups": 16, "padding": "same"}"#, &["float32[8, 28, 28, 16]", "float32[3, 3, 1, 16]"]),
    ("max_pool", r#"{"window": [2, 2]}"#, &["float32[16, 28, 28, 16]"]),
    ("avg_pool", r#"{"window": [3, 3], "strides": [2, 2], "padding": "same"}"#, &["float32[16, 28, 28, 16]"]),
    ("take", "{}", &["float32[1000, 64]", "int64[3000]"]),
    ("scatter_add", "{}", &["float32[100, 64]", "int64[5000]", "float32[5000, 64]"]),
    ("transpose", r#"{"axes": [1, 0]}"#, &["float32[513, 700]"]),
    ("concat", r#"{"axis": 1}"#, &["float32[513, 70]", "float32[513, 300]"]),
    ("recurrence", "{}", &["float32[300, 501]", "float32[300, 501]"]),
    ("cumsum", "{}", &["float32[100003]"]),
    ("cumprod", r#"{"axis": 0}"#, &["float32[300, 501] in 0.9..1.1"]),
    ("sort", "{}", &["float32[150001]"]),
    ("argsort", r#"{"axis": 0, "descending": true}"#, &["int32[3001, 20]"]),
    ("top_k", r#"{"k": 40}"#, &["float32[3, 50001]"]),
    ("gather", "{}", &["float32[100, 64]", "int64[3000, 1]"]),
    ("scatter", r#"{"mode": "add"}"#, &["float32[100]", "int64[70000, 1]", "float32[70000]"]),
    ("scatter", r#"{"batch_dims": 1}"#, &["float32[700, 10]", "int64[700, 100, 1]", "float32[700, 100]"]),
    ("take_along_axis", r#"{"axis": 0}"#, &["float32[301, 200]", "int64[302, 200]"]),
    ("roll", r#"{"shift": [3, 200], "axis": [0, 1]}"#, &["float32[301, 302]"]),
    ("einsum", r#"{"equation": "bij,bjk->kbi"}"#, &["float32[5, 64, 96]", "float32[5, 96, 70]"]),
    ("dropout", r#"{"rate": 0.5}"#, &["float32[400, 301]", "uint32[2]"]),
    ("normal", r#"{"shape": [200, 301]}"#, &["uint32[2]"]),
    ("softmax_cross_entropy", "{}", &["float32[1000, 100]", "int32[1000]"]),
    ("randint", r#"{"shape": [200, 301], "high": 5000000000}"#, &["uint32[2]"]),
    ("permutation", r#"{"size": 70001}"#, &["uint32[2]"]),
    ("categorical", r#"{"shape": [70, 20]}"#, &["uint32[2]", "float32[20, 100]"]),
    ("group_norm", r#"{"groups": 4}"#, &["float32[8, 14, 14, 16]"]),
    ("attention", r#"{"causal": true}"#, &["float32[2, 70, 4, 16]", "float32[2, 70, 2, 16]", "float32[2, 70, 2, 16]"]),
    ("global_norm", "{}", &["float32[300017]", "float32[301, 200]"]),
];

/// A step of a small convolutional net with dropout: the loss and all gradients.
fn network_step() -> (Graph, Vec<Tensor>) {
    let inputs = [
        ("images", "float32[32, 28, 28, 1]"),
        ("kernel_1", "float32[3, 3, 1, 16]"),
        ("kernel_2", "float32[3, 3, 16, 32]"),
        ("dense", "float32[1568, 10]"),
        ("bias", "float32[10]"),
        ("labels", "int32[32]"),
        ("key", "uint32[2]"),
    ];
    let (mut graph, mut generator) = (Graph::new(), Generator(3));
    let mut draw = |text: &str| {
        let spec = support::spec(text);
        let bound = if spec.dtype.is_float() { 0.3 } else { 9.0 };
        generator.tensor(&spec, if spec.dtype.is_float() { -bound } else { 0.0 }, bound)
    };
    let tensors = inputs.iter().map(|(_, spec)| draw(spec)).collect();
    let values: Vec<_> = inputs.iter().map(|(name, spec)| graph.input(name, support::spec(spec)).unwrap()).collect();
    let g = &mut graph;
    let [mut x, first, second, dense, bias, labels, key] = values[..] else { panic!("seven inputs") };
    for kernel in [first, second] {
        x = support::apply(g, "conv", r#"{"padding": "same"}"#, &[x, kernel]);
        x = support::apply(g, "relu", "{}", &[x]);
        x = support::apply(g, "max_pool", r#"{"window": [2, 2]}"#, &[x]);
    }
    x = support::apply(g, "dropout", r#"{"rate": 0.25}"#, &[x, key]);
    x = support::apply(g, "reshape", r#"{"shape": [32, -1]}"#, &[x]);
    x = g.matmul(x, dense).unwrap();
    x = g.add(x, bias).unwrap();
    let losses = support::apply(g, "softmax_cross_entropy", "{}", &[x, labels]);
    let loss = support::apply(g, "mean", "{}", &[losses]);
    let mut outputs = grad::grad(g, loss, &[first, second, dense, bias]).unwrap();
    outputs.push(loss);
    graph.set_outputs(outputs).unwrap();
    (graph, tensors)
}

#[test]
fn one_two_and_seven_threads_give_the_same_bits() {
    let (network, inputs) = network_step();
    let answers = |threads: usize| {
        set_num_threads(threads);
        let mut answers = vec![("a step of a net".to_string(), support::run(&network, &inputs))];
        for_samples(|def, sample, dtype| {
            let case = Case::new(def, sample, dtype);
            answers.push((case.what.clone(), case.eager()));
        });
        for (name, attrs, inputs) in LARGE {
            let mut generator = Generator(5);
            let inputs: Vec<_> = inputs.iter().map(|input| draw(&mut generator, input, DType::F32)).collect();
            let outputs = EagerOp::new(support::op(name, attrs).unwrap()).call(&inputs, &Limits::none()).unwrap();
            answers.push((format!("{name} {attrs}"), outputs));
        }
        answers
    };
    let one = answers(1);
    for threads in [2, 7] {
        for ((what, one), (_, many)) in one.iter().zip(answers(threads)) {
            assert_eq!(*one, many, "{what} with {threads} threads");
        }
    }
    set_num_threads(0);
}
