//! Programs on a device beside the CPU.
#![cfg(feature = "gpu")]

#[path = "support/shaders.rs"]
mod shaders;
mod support;

use caudal::cpu::work::Watch;
use caudal::gpu::device::Device;
use caudal::gpu::driver::open;
use caudal::graph::op;
use caudal::meter::Meter;
use caudal::op::Vjp;
use caudal::plan::instance::Placement;
use caudal::run::eager::evaluate;
use caudal::run::function::{Executable, Setting};
use caudal::run::{Limits, Session};
use caudal::shape::{Dim, Shape};
use caudal::tensor::all_to_host;
use caudal::{AttrValue, DType, Graph, Spec, Tensor, Value, grad, passes};
use std::collections::BTreeSet;
use std::sync::Arc;
use support::cases::{Case, difference, for_samples, weigh};
use support::{Generator, apply, execute, models, numbers};

/// The first device.
fn device() -> Arc<Device> {
    let device = open(0).unwrap();
    shaders::keep(&device);
    device
}

fn on_device(session: &Session) -> Session {
    Session::on(session.program().clone(), Limits::none(), &device(), false).unwrap()
}

fn assert_close(what: &str, given: &Tensor, expected: &Tensor) {
    let given = given.to_host(&Watch::default()).unwrap();
    assert_eq!(given.spec(), expected.spec(), "{what}");
    let (given, expected) = (numbers(&given), numbers(expected));
    let largest = expected.iter().fold(1.0, |a: f64, b| a.max(b.abs()));
    for (index, (given, expected)) in given.iter().zip(&expected).enumerate() {
        let near = (given - expected).abs() <= 2e-4 * largest;
        assert!(near || given == expected, "{what}: element {index} is {given}, the CPU's is {expected}");
    }
}

#[test]
fn programs_train_and_predict_as_on_the_cpu() {
    for case in models::cases() {
        let device = on_device(&case.session);
        for step in 0..3 {
            let what = format!("{}, {} {step}", case.name, case.function);
            let expected = case.session.run(case.function, &case.inputs).unwrap();
            let given = device.run(case.function, &case.inputs).unwrap_or_else(|error| panic!("{what}: {error}"));
            for (given, expected) in given.iter().zip(&expected) {
                assert!(given.device().is_some(), "{what}");
                assert_close(&what, given, expected);
            }
        }
        let (given, expected) = (device.snapshot().unwrap(), case.session.snapshot().unwrap());
        for (given, expected) in given.state.iter().zip(&expected.state) {
            assert_close(&format!("{}, {}", case.name, given.name), &given.value, &expected.value);
        }
        let function = device.function(case.function).unwrap();
        for place in device.placement(function).unwrap() {
            if place.device == "cpu" {
                eprintln!("{}: {} runs on the CPU: {:?}", case.name, place.op, place.why);
            }
        }
    }
}

#[test]
fn tensors_go_there_and_back() {
    let device = device();
    for dtype in [DType::Bool, DType::I8, DType::F16, DType::F32, DType::I64, DType::F64] {
        for sizes in [&[][..], &[3], &[2, 0], &[5, 7]] {
            let tensor = support::tensor(dtype, sizes, &[1.0; 35][..sizes.iter().product()]);
            let there = tensor.to_device(&device, Default::default(), &Watch::default()).unwrap();
            assert_eq!((there.device().is_some(), there.sizes(), there.bytes().len()), (true, sizes, 0));
            assert_eq!(there.to_host(&Watch::default()).unwrap(), tensor);
        }
    }
}

/// A graph on the device: its outputs, and its steps.
fn run_steps(what: &str, graph: &Graph, inputs: &[Tensor]) -> (Vec<Tensor>, Vec<Placement>) {
    let setting = Setting { device: Some(device()), ..Setting::default() };
    let executable = Executable::with(graph, passes::OPTIMIZED, &setting, &Meter::default()).unwrap();
    let executable = Arc::new(executable);
    let outputs = execute(&executable, graph, inputs).unwrap_or_else(|error| panic!("{what}: {error}"));
    let outputs = all_to_host(outputs, &Watch::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
    (outputs, executable.placement(&[], &Meter::default()).unwrap())
}

/// A graph on the device: its outputs, and the steps that the CPU ran.
fn run_there(what: &str, graph: &Graph, inputs: &[Tensor]) -> (Vec<Tensor>, Vec<String>) {
    let (outputs, placement) = run_steps(what, graph, inputs);
    let host = placement.into_iter().filter(|step| step.device == "cpu");
    (outputs, host.map(|step| format!("{}: {}", step.op, step.why.unwrap_or_default())).collect())
}

/// How far a device may be from the CPU, of the largest element.
fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2e-3,
        DType::BF16 => 1.6e-2,
        _ => 4e-6,
    }
}

/// Checks one graph; adds what is wrong, and why the CPU ran a step.
fn compare(what: &str, graph: &Graph, inputs: &[Tensor], failures: &mut Vec<String>, host: &mut BTreeSet<String>) {
    let expected = evaluate(graph, inputs.to_vec(), &Limits::none()).unwrap();
    let (given, there) = run_there(what, graph, inputs);
    host.extend(there);
    for (output, (given, expected)) in given.iter().zip(&expected).enumerate() {
        assert_eq!(given.spec(), expected.spec(), "{what}");
        let tolerance = tolerance(expected.dtype());
        let far = match expected.dtype().is_float() {
            true => difference(given, expected, tolerance),
            false => (given != expected).then(|| format!("is {:?}, not {:?}", numbers(given), numbers(expected))),
        };
        failures.extend(far.map(|text| format!("{what}: output {output} {text}")));
    }
}

/// See [`support::seeds`] for more graphs.
#[test]
fn fused_kernels_give_what_the_ops_give_one_by_one_on_the_cpu() {
    for seed in support::seeds(24) {
        let (graph, inputs) = support::whole::graph(seed);
        let expected = support::run_through(&graph, passes::PLAIN, &inputs).unwrap();
        let (given, host) = run_there(&format!("graph {seed}"), &graph, &inputs);
        assert!(host.is_empty(), "graph {seed}: the CPU ran {host:?}");
        for (index, (given, expected)) in given.iter().zip(&expected).enumerate() {
            assert_eq!(given.spec(), expected.spec(), "graph {seed}");
            let wrong = numbers(given) != numbers(expected);
            assert!(!wrong, "graph {seed}: output {index} of\n{}", caudal::graph::text::print(&graph));
        }
    }
}

/// Which of the samples are run: all with CAUDAL_GPU=all, else one in so many, others with each dtype.
fn stride() -> usize {
    if std::env::var("CAUDAL_GPU").is_ok_and(|value| value == "all") { 1 } else { 5 }
}

#[test]
fn ops_give_what_the_cpu_gives() {
    let (mut count, mut failures, mut host) = (0, Vec::new(), BTreeSet::new());
    for_samples(|def, sample, dtype| {
        count += 1;
        if dtype == DType::F64 || count % stride() != 0 {
            return;
        }
        let case = Case::new(def, sample, dtype);
        compare(&case.what, &case.graph(), &case.present(), &mut failures, &mut host);
    });
    host.retain(|why| !why.contains("float64"));
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
    assert!(host.is_empty(), "the CPU ran:\n{}", host.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn gradients_are_what_the_cpu_gives() {
    let (mut count, mut failures, mut host) = (0, Vec::new(), BTreeSet::new());
    for_samples(|def, sample, dtype| {
        if dtype != DType::F32 || matches!(def.vjp, Vjp::NotDifferentiable(_)) {
            return;
        }
        count += 1;
        let case = Case::new(def, sample, dtype);
        let mut graph = Graph::new();
        let (operands, outputs) = case.trace(&mut graph);
        let float = |graph: &Graph, value: &Value| graph.spec(*value).dtype.is_float();
        let wrt: Vec<_> = operands.into_iter().filter(|value| float(&graph, value)).collect();
        if wrt.is_empty() || !outputs.iter().any(|value| float(&graph, value)) || count % stride() != 0 {
            return;
        }
        let loss = weigh(&mut graph, &outputs, DType::F32, &mut Generator(13));
        let gradients = grad::grad(&mut graph, loss, &wrt).unwrap();
        graph.set_outputs(gradients).unwrap();
        compare(&case.what, &graph, &case.present(), &mut failures, &mut host);
    });
    host.retain(|why| !why.contains("float64"));
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
    assert!(host.is_empty(), "the CPU ran:\n{}", host.into_iter().collect::<Vec<_>>().join("\n"));
}

/// What is reduced along rows, with what is before and after.
fn along_rows(name: &str, graph: &mut Graph, x: Value) -> Vec<Value> {
    let spec = graph.spec(x).clone();
    let sizes = spec.shape.sizes().unwrap();
    let (rows, length) = (sizes[0], *sizes.last().unwrap());
    let row = |graph: &mut Graph, seed: u64| {
        let spec = support::spec(&format!("{}[{length}]", spec.dtype));
        graph.constant(Generator(seed).tensor(&spec, 0.5, 1.5)).unwrap()
    };
    let keep = r#"{"axis": [-1], "keepdims": true}"#;
    match name {
        "layer_norm" => {
            let (scale, offset) = (row(graph, 3), row(graph, 5));
            vec![apply(graph, name, "{}", &[x, scale, offset])]
        }
        "rms_norm" => {
            let scale = row(graph, 3);
            vec![apply(graph, name, "{}", &[x, scale])]
        }
        "softmax_cross_entropy" => {
            let labels = (0..rows).map(|row| (row % length.max(1)) as f64).collect::<Vec<_>>();
            let labels = graph.constant(support::tensor(DType::I32, &[rows], &labels)).unwrap();
            vec![apply(graph, name, "{}", &[x, labels])]
        }
        "standardize" => {
            let (most, least) = (apply(graph, "max", keep, &[x]), apply(graph, "min", keep, &[x]));
            let (range, from) = (graph.sub(most, least).unwrap(), graph.sub(x, least).unwrap());
            let one = graph.scalar(spec.dtype, 1.0).unwrap();
            let range = graph.add(range, one).unwrap();
            let share = apply(graph, "div", "{}", &[from, range]);
            let share = apply(graph, "tanh", "{}", &[share]);
            let total = apply(graph, "sum", r#"{"axis": [-1]}"#, &[share]);
            vec![share, total, most]
        }
        "count" => {
            let square = graph.mul(x, x).unwrap();
            let (most, sum) = (apply(graph, "max", keep, &[square]), apply(graph, "sum", keep, &[square]));
            let (least, product) = (apply(graph, "min", keep, &[square]), apply(graph, "prod", keep, &[square]));
            let is_most = apply(graph, "equal", "{}", &[square, most]);
            let is_lower = apply(graph, "less", "{}", &[square, sum]);
            let (any, all) = (apply(graph, "any", keep, &[is_most]), apply(graph, "all", keep, &[is_lower]));
            let nonzero = apply(graph, "any", keep, &[square]);
            let rest = graph.sub(square, sum).unwrap();
            vec![rest, least, product, any, all, nonzero]
        }
        "columns" => {
            let first = r#"{"axis": [0], "keepdims": true}"#;
            let mean = apply(graph, "mean", first, &[x]);
            let centered = graph.sub(x, mean).unwrap();
            let square = graph.mul(centered, centered).unwrap();
            let variance = apply(graph, "mean", first, &[square]);
            let scale = apply(graph, "rsqrt", "{}", &[variance]);
            let (normal, shift) = (graph.mul(centered, scale).unwrap(), row(graph, 7));
            vec![graph.add(normal, shift).unwrap(), mean]
        }
        "dropout" | "dropout_columns" => {
            // A key that no pass knows.
            let finite = apply(graph, "is_finite", "{}", &[x]);
            let number = apply(graph, "any", "{}", &[finite]);
            let number = graph.cast(number, DType::U32).unwrap();
            let key = graph.constant(Tensor::from_slice(DType::U32, &[2], &[7u32, 42]).unwrap()).unwrap();
            let key = apply(graph, "fold_in", "{}", &[key, number]);
            let (axis, other) = if name == "dropout" { (-1, 0) } else { (0, -1) };
            let share = apply(graph, "softmax", &format!(r#"{{"axis": {axis}}}"#), &[x]);
            let dropped = apply(graph, "dropout", r#"{"rate": 0.3}"#, &[share, key]);
            let total = apply(graph, "sum", &format!(r#"{{"axis": [{axis}]}}"#), &[dropped]);
            let across = apply(graph, "sum", &format!(r#"{{"axis": [{other}]}}"#), &[dropped]);
            vec![dropped, total, across]
        }
        _ => vec![apply(graph, name, "{}", &[x])],
    }
}

/// Checks the values, and for floats the gradients, along rows of a tensor; how many kernels clusters are.
fn check_rows(name: &str, x: &Tensor, failures: &mut Vec<String>) -> Vec<usize> {
    let what = format!("{name} of {:?} {:?}", x.dtype(), x.sizes());
    let mut graph = Graph::new();
    let input = graph.input("x", x.spec()).unwrap();
    let outputs = along_rows(name, &mut graph, input);
    graph.set_outputs(outputs.clone()).unwrap();
    let mut launches = Vec::new();
    let mut check = |what: &str, graph: &Graph| {
        let expected = evaluate(graph, vec![x.clone()], &Limits::none()).unwrap();
        let (given, steps) = run_steps(what, graph, std::slice::from_ref(x));
        launches.extend(steps.iter().filter(|step| step.op == "fused").map(|step| step.launches));
        for (output, (given, expected)) in given.iter().zip(&expected).enumerate() {
            let tolerance = if expected.dtype().is_float() { tolerance(expected.dtype()) } else { 0.0 };
            let far = difference(given, expected, tolerance);
            failures.extend(far.map(|text| format!("{what}: output {output} {text}")));
        }
        assert!(steps.iter().all(|step| step.device != "cpu"), "{what}: {steps:?}");
        assert!(steps.iter().all(|step| step.op != "random_bits"), "{what}: {steps:?}");
    };
    check(&what, &graph);
    if x.dtype().is_float() {
        let loss = weigh(&mut graph, &outputs, DType::F32, &mut Generator(13));
        let gradients = grad::grad(&mut graph, loss, &[input]).unwrap();
        graph.set_outputs(gradients).unwrap();
        check(&format!("the gradient of {what}"), &graph);
    }
    launches
}

const ALONG_ROWS: [&str; 6] =
    ["softmax", "log_softmax", "layer_norm", "rms_norm", "softmax_cross_entropy", "standardize"];

#[test]
fn clusters_reduce_along_rows_of_any_length() {
    let mut failures = Vec::new();
    let sizes: &[&[usize]] =
        &[&[1, 1], &[5000, 3], &[1, 10], &[70, 33], &[2, 3, 256], &[9, 1000], &[1, 20_000], &[0, 5], &[65, 1]];
    for name in ALONG_ROWS {
        for &sizes in sizes.iter().filter(|sizes| name != "softmax_cross_entropy" || sizes.len() == 2) {
            let spec = format!("float32[{}]", sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(", "));
            let x = Generator(17).tensor(&support::spec(&spec), -4.0, 4.0);
            let launches = check_rows(name, &x, &mut failures);
            // That gradient has more operands than some devices allow.
            let is_one = sizes.last() < Some(&10_000) && name != "standardize";
            assert!(!is_one || launches.iter().all(|&count| count <= 1), "{name} {sizes:?}: {launches:?}");
        }
        for dtype in [DType::F16, DType::BF16] {
            for length in [3, 33] {
                let x = Generator(19).tensor(&support::spec(&format!("{dtype}[7, {length}]")), -2.0, 2.0);
                check_rows(name, &x, &mut failures);
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn clusters_make_random_bits() {
    let mut failures = Vec::new();
    for name in ["dropout", "dropout_columns"] {
        for sizes in ["1, 1", "70, 33", "9, 1000", "2, 5000", "1, 20000", "1100, 3", "0, 5"] {
            let x = Generator(31).tensor(&support::spec(&format!("float32[{sizes}]")), -4.0, 4.0);
            check_rows(name, &x, &mut failures);
        }
        let x = Generator(31).tensor(&support::spec("float16[7, 33]"), -2.0, 2.0);
        check_rows(name, &x, &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn clusters_reduce_every_dtype_and_columns() {
    let mut failures = Vec::new();
    for dtype in [DType::I8, DType::U8, DType::I32, DType::U32, DType::I64, DType::F32, DType::F16] {
        for length in [3, 70, 300] {
            let x = Generator(23).tensor(&support::spec(&format!("{dtype}[9, {length}]")), 0.0, 3.0);
            if !dtype.is_float() || length == 3 {
                check_rows("count", &x, &mut failures);
            }
        }
    }
    for sizes in ["1, 4", "3, 70", "40, 5", "700, 33", "300, 1", "20000, 2"] {
        let x = Generator(29).tensor(&support::spec(&format!("float32[{sizes}]")), -4.0, 4.0);
        check_rows("columns", &x, &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn clusters_give_what_the_cpu_gives_of_nan_and_infinity() {
    let (nan, inf, mut failures) = (f32::NAN, f32::INFINITY, Vec::new());
    for name in ALONG_ROWS {
        for length in [3, 40] {
            let mut elements = Generator(31).numbers(6 * length).into_iter().map(|x| x as f32).collect::<Vec<_>>();
            for (row, special) in [nan, inf, -inf, -nan].into_iter().enumerate() {
                elements[row * length + 1] = special;
            }
            elements[4 * length..5 * length].fill(-inf);
            let x = Tensor::from_slice(DType::F32, &[6, length], &elements).unwrap();
            check_rows(name, &x, &mut failures);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Slices of rows that no binding begins at: two are read and two are written in each step, forward and backward.
#[test]
fn loops_over_rows_of_any_width() {
    let int = AttrValue::Int;
    let (mut failures, mut host) = (Vec::new(), BTreeSet::new());
    for (dtype, width) in [(DType::F32, 3), (DType::U8, 1), (DType::I8, 3), (DType::I16, 5), (DType::F32, 64)] {
        for reverse in [false, true] {
            let length = 300;
            let rows = Spec::new(dtype, Shape::of(&[length, width]));
            let row = Spec::new(dtype, Shape::of(&[width]));
            let mut body = Graph::new();
            let [carry, a, b] = ["carry", "a", "b"].map(|name| body.input(name, row.clone()).unwrap());
            let either = body.op("maximum", &[], &[a, b]).unwrap();
            let both = body.op("minimum", &[], &[a, carry]).unwrap();
            let next = body.op("maximum", &[], &[both, b]).unwrap();
            body.set_outputs(vec![next, either, both]).unwrap();
            let mut graph = Graph::new();
            let carry = graph.input("carry", row).unwrap();
            let [a, b] = ["a", "b"].map(|name| graph.input(name, rows.clone()).unwrap());
            let length = AttrValue::Dim(Dim::constant(length));
            let attrs =
                [("carried", int(1)), ("sliced", int(2)), ("length", length), ("reverse", AttrValue::Bool(reverse))];
            let scan = op("scan", &attrs).unwrap();
            let outputs = graph.apply(&scan, vec![Arc::new(body)], &[carry, a, b]).unwrap();
            graph.set_outputs(outputs).unwrap();
            let mut generator = Generator(5);
            let specs: Vec<_> = graph.inputs().iter().map(|input| graph.spec(input.value).clone()).collect();
            let inputs: Vec<_> = specs.iter().map(|spec| generator.tensor(spec, 0.0, 9.0)).collect();
            let what = format!("rows of {width} {dtype}, reverse: {reverse}");
            compare(&what, &graph, &inputs, &mut failures, &mut host);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(host.is_empty(), "the CPU ran:\n{}", host.into_iter().collect::<Vec<_>>().join("\n"));
}
