//! Programs on a device beside the CPU.
#![cfg(feature = "gpu")]

mod support;

use caudal::cpu::work::Watch;
use caudal::gpu::driver::open;
use caudal::meter::Meter;
use caudal::op::Vjp;
use caudal::run::eager::evaluate;
use caudal::run::function::{Executable, Setting};
use caudal::run::{Limits, Session};
use caudal::tensor::all_to_host;
use caudal::{DType, Graph, Tensor, Value, grad, passes};
use std::collections::BTreeSet;
use std::sync::Arc;
use support::cases::{Case, difference, for_samples, weigh};
use support::{Generator, execute, models, numbers};

fn on_device(session: &Session) -> Session {
    Session::on(session.program().clone(), Limits::none(), &open(0).unwrap(), false).unwrap()
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
    let device = open(0).unwrap();
    for dtype in [DType::Bool, DType::I8, DType::F16, DType::F32, DType::I64, DType::F64] {
        for sizes in [&[][..], &[3], &[2, 0], &[5, 7]] {
            let tensor = support::tensor(dtype, sizes, &[1.0; 35][..sizes.iter().product()]);
            let there = tensor.to_device(&device, Default::default(), &Watch::default()).unwrap();
            assert_eq!((there.device().is_some(), there.sizes(), there.bytes().len()), (true, sizes, 0));
            assert_eq!(there.to_host(&Watch::default()).unwrap(), tensor);
        }
    }
}

/// A graph on the device: its outputs, and the steps that the CPU ran.
fn run_there(what: &str, graph: &Graph, inputs: &[Tensor]) -> (Vec<Tensor>, Vec<String>) {
    let setting = Setting { device: Some(open(0).unwrap()), ..Setting::default() };
    let executable = Executable::with(graph, passes::OPTIMIZED, &setting, &Meter::default()).unwrap();
    let executable = Arc::new(executable);
    let outputs = execute(&executable, graph, inputs).unwrap_or_else(|error| panic!("{what}: {error}"));
    let outputs = all_to_host(outputs, &Watch::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let placement = executable.placement(&[], &Meter::default()).unwrap();
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
