//! Control flow: values and gradients, against the same computed step by step.

use caudal::graph::{op, text};
use caudal::meter::Meter;
use caudal::run::Limits;
use caudal::run::eager::evaluate;
use caudal::run::function::Executable;
use caudal::shape::Bindings;
use caudal::{AttrValue, DType, Dim, Graph, Result, Spec, Tensor, Value, grad, passes};
use std::sync::Arc;

fn spec(text: &str) -> Spec {
    Spec::parse(text).unwrap()
}

fn scalar(value: f64) -> Tensor {
    Tensor::scalar(DType::F64, value).unwrap()
}

fn float(tensor: &Tensor) -> f64 {
    tensor.elements::<f64>().unwrap()[0]
}

/// Runs a graph optimised and plain, checks that both agree to the bit and that text keeps it, gives the outputs.
fn run(graph: &Graph, inputs: &[Tensor]) -> Vec<Tensor> {
    assert_eq!(text::parse(&text::print(graph)).as_ref(), Ok(graph));
    let plain = evaluate(graph, inputs.to_vec(), &Limits::none()).unwrap();
    let executable = Arc::new(Executable::new(graph, passes::OPTIMIZED, &Meter::default()).unwrap());
    let limits = Limits::none();
    let mut run = executable.start(inputs.to_vec(), &Bindings::new(), limits.budget(), |_| None).unwrap();
    run.advance(&limits.watch()).unwrap();
    let optimized = run.finish().unwrap();
    assert_eq!(plain, optimized);
    plain
}

/// A region over scalars.
fn region(inputs: usize, body: impl Fn(&mut Graph, &[Value]) -> Result<Vec<Value>>) -> Arc<Graph> {
    let mut graph = Graph::new();
    let values: Vec<_> =
        (0..inputs).map(|index| graph.input(&format!("x{index}"), spec("float64[]")).unwrap()).collect();
    let outputs = body(&mut graph, &values).unwrap();
    graph.set_outputs(outputs).unwrap();
    Arc::new(graph)
}

/// Numerical derivative of the first output by input `index`.
fn slope(graph: &Graph, inputs: &[Tensor], index: usize) -> f64 {
    let at = |step: f64| {
        let mut moved = inputs.to_vec();
        moved[index] = scalar(float(&inputs[index]) + step);
        float(&run(graph, &moved)[0])
    };
    let step = 1e-5;
    (at(step) - at(-step)) / (2.0 * step)
}

/// Checks first and second derivatives of the first output by each input against finite differences.
fn check_gradients(graph: &Graph, inputs: &[Tensor]) {
    let values: Vec<_> = graph.inputs().iter().map(|input| input.value).collect();
    let mut first = graph.clone();
    let loss = first.outputs()[0];
    let gradients = grad::grad(&mut first, loss, &values).unwrap();
    first.set_outputs(gradients.clone()).unwrap();
    let exact = run(&first, inputs);
    for (index, exact) in exact.iter().enumerate() {
        let expected = slope(graph, inputs, index);
        assert!(
            (float(exact) - expected).abs() < 1e-5 * (1.0 + expected.abs()),
            "{index}: {exact:?} {} {expected}",
            float(exact)
        );
    }
    for (index, &gradient) in gradients.iter().enumerate() {
        let mut second = first.clone();
        let by = grad::grad(&mut second, gradient, &values).unwrap();
        second.set_outputs(by).unwrap();
        first.set_outputs(vec![gradient]).unwrap();
        for (other, exact) in run(&second, inputs).iter().enumerate() {
            let expected = slope(&first, inputs, other);
            let difference = (float(exact) - expected).abs();
            assert!(difference < 1e-4 * (1.0 + expected.abs()), "d2/d{index}d{other}: {} {expected}", float(exact));
        }
    }
}

#[test]
fn cond_takes_the_branch_and_its_gradient() {
    for (x, expected) in [(2.0, 8.0), (-2.0, 4.0)] {
        let mut graph = Graph::new();
        let input = graph.input("x", spec("float64[]")).unwrap();
        let zero = graph.scalar(DType::F64, 0.0).unwrap();
        let positive = graph.less(zero, input).unwrap();
        let cube = region(1, |g, x| {
            let square = g.mul(x[0], x[0])?;
            Ok(vec![g.mul(square, x[0])?])
        });
        let square = region(1, |g, x| Ok(vec![g.mul(x[0], x[0])?]));
        let outputs = graph.apply(&op("cond", &[]).unwrap(), vec![cube, square], &[positive, input]).unwrap();
        graph.set_outputs(outputs).unwrap();
        assert_eq!(float(&run(&graph, &[scalar(x)])[0]), expected);
        check_gradients(&graph, &[scalar(x)]);
    }
}

fn power_loop(max_steps: Option<i64>) -> Graph {
    // (x, total) with a captured factor y: while total < 100: total = total * y + x
    let mut graph = Graph::new();
    let x = graph.input("x", spec("float64[]")).unwrap();
    let y = graph.input("y", spec("float64[]")).unwrap();
    let condition = region(2, |g, v| {
        let limit = g.scalar(DType::F64, 100.0)?;
        Ok(vec![g.less(v[0], limit)?])
    });
    let body = region(2, |g, v| {
        let product = g.mul(v[0], v[1])?;
        let sine = g.op("sin", &[], &[v[0]])?;
        Ok(vec![g.add(product, sine)?])
    });
    let steps = max_steps.map_or(AttrValue::None, AttrValue::Int);
    let attrs = [("carried", AttrValue::Int(1)), ("max_steps", steps)];
    let outputs = graph.apply(&op("while_loop", &attrs).unwrap(), vec![condition, body], &[x, y]).unwrap();
    graph.set_outputs(outputs).unwrap();
    graph
}

fn power_loop_by_hand(mut x: f64, y: f64, most: usize) -> f64 {
    for _ in 0..most {
        if x >= 100.0 {
            break;
        }
        x = x * y + x.sin();
    }
    x
}

#[test]
fn while_loop_stops_by_its_condition_or_after_max_steps() {
    for (x, y, most) in
        [(1.0, 3.0, None), (1.0, 3.0, Some(2)), (200.0, 3.0, None), (1.0, 3.0, Some(0)), (1.0, 3.0, Some(50))]
    {
        let value = float(&run(&power_loop(most), &[scalar(x), scalar(y)])[0]);
        let expected = power_loop_by_hand(x, y, most.map_or(usize::MAX, |most| most as usize));
        assert!((value - expected).abs() < 1e-9 * expected.abs(), "{value} {expected}");
    }
}

#[test]
fn while_loop_with_max_steps_has_gradients_of_any_order() {
    check_gradients(&power_loop(Some(8)), &[scalar(1.0), scalar(2.5)]);
    check_gradients(&power_loop(Some(2)), &[scalar(1.0), scalar(2.5)]);
}

#[test]
fn gradient_of_while_loop_without_max_steps_is_an_error() {
    let mut graph = power_loop(None);
    let (loss, x) = (graph.outputs()[0], graph.inputs()[0].value);
    let error = grad::grad(&mut graph, loss, &[x]).unwrap_err();
    assert_eq!(error.to_string(), "while_loop: a loop without max_steps has no gradient; give it max_steps");
}

/// carry = carry * c + x_i, output carry^2; the result is the last carry plus the sum of the outputs.
fn scan_graph(reverse: bool) -> Graph {
    let mut graph = Graph::new();
    let start = graph.input("start", spec("float64[]")).unwrap();
    let factor = graph.input("factor", spec("float64[]")).unwrap();
    let step = graph.input("step", spec("float64[]")).unwrap();
    let ramp = graph.constant(Tensor::from_slice(DType::F64, &[4], &[1.0f64, 2.0, -1.0, 0.5]).unwrap()).unwrap();
    let slices = graph.mul(ramp, step).unwrap();
    let body = region(3, |g, v| {
        let product = g.mul(v[0], v[2])?;
        let carry = g.add(product, v[1])?;
        Ok(vec![carry, g.mul(carry, carry)?])
    });
    let attrs = [
        ("carried", AttrValue::Int(1)),
        ("sliced", AttrValue::Int(1)),
        ("length", AttrValue::Dim(Dim::constant(4))),
        ("reverse", AttrValue::Bool(reverse)),
    ];
    let outputs = graph.apply(&op("scan", &attrs).unwrap(), vec![body], &[start, slices, factor]).unwrap();
    let sum = graph.reduce("sum", outputs[1], &[0], false).unwrap();
    let total = graph.add(sum, outputs[0]).unwrap();
    graph.set_outputs(vec![total, outputs[1]]).unwrap();
    graph
}

#[test]
fn scan_stacks_and_differentiates_in_both_directions() {
    for reverse in [false, true] {
        let (start, factor, step) = (0.5, 1.5, 0.8);
        let mut slices = [1.0 * step, 2.0 * step, -step, 0.5 * step];
        if reverse {
            slices.reverse();
        }
        let (mut carry, mut total, mut stack) = (start, 0.0, Vec::new());
        for slice in slices {
            carry = carry * factor + slice;
            stack.push(carry * carry);
            total += carry * carry;
        }
        if reverse {
            stack.reverse();
        }
        let inputs = [scalar(start), scalar(factor), scalar(step)];
        let outputs = run(&scan_graph(reverse), &inputs);
        assert!((float(&outputs[0]) - (total + carry)).abs() < 1e-12);
        for (got, expected) in outputs[1].elements::<f64>().unwrap().iter().zip(&stack) {
            assert!((got - expected).abs() < 1e-12);
        }
        check_gradients(&scan_graph(reverse), &inputs);
    }
}

#[test]
fn call_runs_its_region() {
    let mut graph = Graph::new();
    let x = graph.input("x", spec("float64[]")).unwrap();
    let body = region(1, |g, v| {
        let square = g.mul(v[0], v[0])?;
        Ok(vec![g.exp(square)?])
    });
    let once = graph.apply(&op("call", &[]).unwrap(), vec![body.clone()], &[x]).unwrap();
    let twice = graph.apply(&op("call", &[]).unwrap(), vec![body], &once).unwrap();
    graph.set_outputs(twice).unwrap();
    let expected = (0.3f64 * 0.3).exp().powi(2).exp();
    assert!((float(&run(&graph, &[scalar(0.3)])[0]) - expected).abs() < 1e-12);
    check_gradients(&graph, &[scalar(0.3)]);
}

#[test]
fn a_loop_whose_body_swaps_its_values_keeps_them_apart() {
    let mut graph = Graph::new();
    let a = graph.input("a", spec("float64[]")).unwrap();
    let b = graph.input("b", spec("float64[]")).unwrap();
    let body = region(2, |_, v| Ok(vec![v[1], v[0]]));
    for length in [0, 1, 2, 3] {
        let mut graph = graph.clone();
        let attrs = [("carried", AttrValue::Int(2)), ("length", AttrValue::Dim(Dim::constant(length)))];
        let outputs = graph.apply(&op("scan", &attrs).unwrap(), vec![body.clone()], &[a, b]).unwrap();
        graph.set_outputs(outputs).unwrap();
        let outputs = run(&graph, &[scalar(1.0), scalar(2.0)]);
        let expected = if length % 2 == 0 { (1.0, 2.0) } else { (2.0, 1.0) };
        assert_eq!((float(&outputs[0]), float(&outputs[1])), expected, "after {length} steps");
    }
}
