//! Symbolic sizes: planned once, run at many; equal to the same graph built at constant sizes.

mod support;

use caudal::graph::{Builder, Notes};
use caudal::json::Json;
use caudal::meter::Meter;
use caudal::run::function::Executable;
use caudal::run::{Limits, Session};
use caudal::{DType, Graph, Location, Program, Tensor, Value, grad, passes};
use std::sync::Arc;
use support::{Generator, apply, execute, spec};

/// A convolutional net: logits, loss, the gradients of its parameters and of the images.
fn network(batch: &str, height: &str, width: &str) -> Graph {
    let mut graph = Graph::new();
    let inputs = [
        format!("float32[{batch}, {height}, {width}, 2]"),
        format!("int32[{batch}]"),
        "float32[3, 3, 2, 6]".into(),
        "float32[2, 3, 6, 8]".into(),
        "float32[8, 5]".into(),
        "float32[5]".into(),
    ];
    let values: Vec<_> =
        inputs.iter().enumerate().map(|(index, text)| graph.input(&format!("x{index}"), spec(text)).unwrap()).collect();
    let [images, labels, first, second, dense, bias] = values[..] else { panic!("six inputs") };
    let g = &mut graph;
    let x = apply(g, "conv", r#"{"padding": "same"}"#, &[images, first]);
    let x = apply(g, "relu", "{}", &[x]);
    let x = apply(g, "max_pool", r#"{"window": [2, 2]}"#, &[x]);
    let x = apply(g, "conv", r#"{"strides": [1, 2]}"#, &[x, second]);
    let x = apply(g, "gelu", "{}", &[x]);
    let x = apply(g, "mean", r#"{"axis": [1, 2]}"#, &[x]);
    let x = g.matmul(x, dense).unwrap();
    let logits = g.add(x, bias).unwrap();
    let losses = apply(g, "softmax_cross_entropy", "{}", &[logits, labels]);
    let loss = apply(g, "mean", "{}", &[losses]);
    let gradients = grad::grad(g, loss, &[images, first, second, dense, bias]).unwrap();
    let outputs = [logits, loss].into_iter().chain(gradients).collect();
    graph.set_outputs(outputs).unwrap();
    graph
}

fn network_inputs(batch: usize, height: usize, width: usize) -> Vec<Tensor> {
    let mut generator = Generator(23);
    let mut draw = |text: &str, low: f64, high: f64| generator.tensor(&spec(text), low, high);
    vec![
        draw(&format!("float32[{batch}, {height}, {width}, 2]"), -1.0, 1.0),
        draw(&format!("int32[{batch}]"), 0.0, 5.0),
        draw("float32[3, 3, 2, 6]", -0.5, 0.5),
        draw("float32[2, 3, 6, 8]", -0.5, 0.5),
        draw("float32[8, 5]", -0.5, 0.5),
        draw("float32[5]", -0.5, 0.5),
    ]
}

#[test]
fn a_net_planned_once_equals_nets_of_constant_sizes_to_the_bit() {
    let symbolic = network("batch", "height", "width");
    let required: Vec<_> =
        symbolic.requirements().iter().map(|it| format!("{} == {}: {}", it.left, it.right, it.op)).collect();
    let windows = [
        "min(height, 2) == 2: max_pool",
        "min(width, 2) == 2: max_pool",
        "min(floordiv(height, 2), 2) == 2: conv",
        "min(floordiv(width, 2), 3) == 3: conv",
    ];
    assert_eq!(required, windows, "the net asks for room for its windows, and nothing else");
    for pipeline in [passes::OPTIMIZED, passes::PLAIN] {
        let executable = Arc::new(Executable::new(&symbolic, pipeline, &Meter::default()).unwrap());
        let sizes = [(3, 9, 8), (1, 28, 28), (64, 6, 7), (3, 9, 8), (2, 31, 6), (7, 4, 65), (5, 17, 33), (0, 9, 8)];
        for (batch, height, width) in sizes {
            let inputs = network_inputs(batch, height, width);
            let constant = network(&batch.to_string(), &height.to_string(), &width.to_string());
            let expected = support::run(&constant, &inputs);
            let outputs = execute(&executable, &symbolic, &inputs).unwrap();
            assert_eq!(outputs, expected, "[{batch}, {height}, {width}]");
            assert_eq!(outputs[2].sizes(), [batch, height, width, 2]);
        }
    }
}

#[test]
fn more_sizes_than_are_kept_still_run() {
    let symbolic = network("batch", "height", "width");
    let executable = Arc::new(Executable::new(&symbolic, passes::OPTIMIZED, &Meter::default()).unwrap());
    let once: Vec<_> =
        (4..30).map(|n| execute(&executable, &symbolic, &network_inputs(1, n, n + 2)).unwrap()).collect();
    let again = (4..30).map(|n| execute(&executable, &symbolic, &network_inputs(1, n, n + 2)).unwrap());
    assert!(once.into_iter().eq(again));
}

#[test]
fn reshape_finds_symbolic_sizes() {
    let rows = [
        ("float32[b, h, w, 3]", "[-1, 3]", "float32[b*h*w, 3]"),
        ("float32[b, h, w, 3]", r#"["b", -1]"#, "float32[b, 3*h*w]"),
        ("float32[2*n, 6]", r#"[-1, 4]"#, "float32[3*n, 4]"),
        ("float32[n, m]", r#"["m", -1]"#, "float32[m, n]"),
    ];
    for (input, shape, expected) in rows {
        let mut graph = Graph::new();
        let x = graph.input("x", spec(input)).unwrap();
        let y = apply(&mut graph, "reshape", &format!(r#"{{"shape": {shape}}}"#), &[x]);
        assert_eq!(*graph.spec(y), spec(expected), "{input} to {shape}");
        let square = graph.mul(y, y).unwrap();
        let loss = apply(&mut graph, "sum", "{}", &[square]);
        let gradient = grad::grad(&mut graph, loss, &[x]).unwrap()[0];
        graph.set_outputs(vec![y, gradient]).unwrap();
        let sizes: Vec<usize> = graph.spec(x).shape.evaluate(&|name| Some(name.len() as i64 + 3)).unwrap();
        let text = format!("float32{sizes:?}");
        let tensor = Generator(1).tensor(&spec(&text), -1.0, 1.0);
        let outputs = support::run(&graph, std::slice::from_ref(&tensor));
        assert_eq!(outputs[0].bytes(), tensor.bytes());
        let double: Vec<_> = support::numbers(&tensor).iter().map(|x| 2.0 * x).collect();
        assert_eq!(support::numbers(&outputs[1]), double);
    }
}

fn session(build: impl FnOnce(&mut Builder) -> Value) -> Session {
    let mut builder = Builder::new();
    let output = build(&mut builder);
    builder.function("f", vec![("output".into(), output)], Notes::default()).unwrap();
    Session::new(Arc::new(Program::new(&[&builder], Json::Null).unwrap()), Limits::none())
}

fn floats(sizes: &[usize]) -> Tensor {
    Tensor::zeros(DType::F32, sizes, None).unwrap()
}

fn message(session: &Session, inputs: &[Tensor]) -> String {
    session.run("f", inputs).expect_err("these sizes do not fit").to_string()
}

#[test]
fn wrong_sizes_are_errors_that_name_the_dim() {
    let session = session(|builder| {
        let x = builder.input("x", spec("float32[batch, height, 4]")).unwrap();
        let y = builder.input("y", spec("float32[batch, 2*height]")).unwrap();
        let sum = builder.graph.reduce("sum", x, &[1, 2], true).unwrap();
        let sum = apply(&mut builder.graph, "reshape", r#"{"shape": ["batch", 1]}"#, &[sum]);
        builder.graph.add(sum, y).unwrap()
    });
    assert_eq!(session.run("f", &[floats(&[3, 5, 4]), floats(&[3, 10])]).unwrap()[0].sizes(), [3, 10]);
    let rows: [(&[usize], &[usize], &str); 4] = [
        (
            &[3, 5, 4],
            &[2, 10],
            "f: y is float32[2, 10], expected float32[batch, 2*height]: axis 0 is 2, expected batch = 3",
        ),
        (
            &[3, 5, 4],
            &[3, 9],
            "f: y is float32[3, 9], expected float32[batch, 2*height]: axis 1 is 9, expected 2*height = 10",
        ),
        (&[3, 5, 7], &[3, 10], "f: x is float32[3, 5, 7], expected float32[batch, height, 4]: axis 2 is 7, expected 4"),
        (&[5, 4], &[5, 8], "f: x is float32[5, 4], expected float32[batch, height, 4]; add a leading dimension"),
    ];
    for (x, y, expected) in rows {
        assert_eq!(message(&session, &[floats(x), floats(y)]), expected);
    }
}

#[test]
fn requirements_are_checked_with_their_op_and_line() {
    let session = session(|builder| {
        let x = builder.input("x", spec("float32[n]")).unwrap();
        let y = builder.input("y", spec("float32[m]")).unwrap();
        builder.graph.set_location(Some(Location { file: "model.py".into(), line: 12 }));
        let sum = builder.graph.add(x, y).unwrap();
        builder.graph.set_location(None);
        sum
    });
    assert_eq!(session.run("f", &[floats(&[3]), floats(&[3])]).unwrap()[0].sizes(), [3]);
    assert_eq!(message(&session, &[floats(&[3]), floats(&[4])]), "add: n = 3 and m = 4 must be equal (model.py:12)");
}

#[test]
fn a_window_that_does_not_fit_is_an_error_with_its_op_and_line() {
    let session = session(|builder| {
        let x = builder.input("x", spec("float32[batch, height, 4, 1]")).unwrap();
        let kernel = builder.input("kernel", spec("float32[3, 3, 1, 1]")).unwrap();
        builder.graph.set_location(Some(Location { file: "model.py".into(), line: 7 }));
        apply(&mut builder.graph, "conv", "{}", &[x, kernel])
    });
    let kernel = floats(&[3, 3, 1, 1]);
    assert_eq!(session.run("f", &[floats(&[2, 3, 4, 1]), kernel.clone()]).unwrap()[0].sizes(), [2, 1, 2, 1]);
    assert_eq!(
        message(&session, &[floats(&[2, 1, 4, 1]), kernel]),
        "conv: height = 1, it must be at least 3 (model.py:7)"
    );
}

/// Known and unknown sizes are refused alike, whatever the strides and the padding make of the count of windows.
#[test]
fn windows_are_refused_for_the_same_sizes_known_or_not() {
    let rows = [
        ("max_pool", r#"{"window": [3], "strides": [2]}"#, 3),
        ("avg_pool", r#"{"window": [4], "strides": [4], "padding_low": [1], "padding_high": [1]}"#, 2),
        ("max_pool", r#"{"window": [1]}"#, 1),
        ("max_pool", r#"{"window": [3], "strides": [2], "padding": "same"}"#, 0),
    ];
    for (name, attrs, least) in rows {
        let pooled = session(|builder| {
            let x = builder.input("x", spec("float32[batch, n, 2]")).unwrap();
            apply(&mut builder.graph, name, attrs, &[x])
        });
        for n in 0..6 {
            let known = caudal::run::eager::EagerOp::new(support::op(name, attrs).unwrap());
            let known = known.call(&[Some(floats(&[2, n, 2]))], &caudal::run::Limits::none());
            let unknown = pooled.run("f", &[floats(&[2, n, 2])]);
            assert_eq!(
                (known.is_ok(), unknown.is_ok()),
                (n >= least, n >= least),
                "{name} {attrs} of {n}: {unknown:?}"
            );
            assert_eq!(known.ok(), unknown.ok(), "{name} {attrs} of {n}");
        }
    }
    let dilated = session(|builder| {
        let x = builder.input("x", spec("float32[batch, n, 1]")).unwrap();
        let kernel = builder.input("kernel", spec("float32[k, 1, 1]")).unwrap();
        apply(&mut builder.graph, "conv", r#"{"dilation": [2], "padding_low": [1]}"#, &[x, kernel])
    });
    assert_eq!(
        message(&dilated, &[floats(&[2, 3, 1]), floats(&[3, 1, 1])]),
        "conv: n+1 = 4, it must be at least 2*k-1 = 5"
    );
}
