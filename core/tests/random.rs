//! The random stream: the vectors that JAX gives too, keys of functions that draw, and gradients that keep masks.

mod support;

use caudal::graph::{Builder, Notes, op};
use caudal::json::Json;
use caudal::run::{Limits, Session};
use caudal::{AttrValue, DType, Graph, Program, Role, Tensor, Value, grad};
use std::sync::Arc;
use support::{Generator, apply, numbers, spec};

/// Key (7, 42): random_bits of shape (2, 5), and the key split into 3; from JAX 0.10.2, threefry_partitionable.
const BITS: [u32; 10] = [
    1608166506, 2351936236, 3787152164, 3901638075, 3217246524, 1051207585, 153241657, 2976582311, 2065459382,
    1426247038,
];
const SPLIT: [[u32; 2]; 3] = [[2384124607, 3519051477], [4044586155, 2101136967], [2168514899, 1627107959]];

fn key(words: [u32; 2]) -> Tensor {
    Tensor::from_slice(DType::U32, &[2], &words).unwrap()
}

/// Runs an op on the key (7, 42), by a graph, plain and optimised.
fn on_key(name: &str, attrs: &str) -> Tensor {
    let mut graph = Graph::new();
    let input = graph.input("key", spec("uint32[2]")).unwrap();
    let output = apply(&mut graph, name, attrs, &[input]);
    graph.set_outputs(vec![output]).unwrap();
    support::run(&graph, &[key([7, 42])]).remove(0)
}

fn words(tensor: &Tensor) -> Vec<u32> {
    tensor.elements::<u32>().unwrap().to_vec()
}

/// `fold_in(key, index)`.
fn folded(key: &Tensor, index: u32) -> Tensor {
    let index = Tensor::from_slice(DType::U32, &[], &[index]).unwrap();
    caudal::cpu::single::compute(&op("fold_in", &[]).unwrap(), &[Some(key.clone()), Some(index)]).unwrap().remove(0)
}

/// The rows of `random_split(key, 2)`.
fn halves(key: &Tensor) -> [Tensor; 2] {
    let split = op("random_split", &[]).unwrap();
    let both = words(&caudal::cpu::single::compute(&split, &[Some(key.clone())]).unwrap()[0]);
    [self::key([both[0], both[1]]), self::key([both[2], both[3]])]
}

#[test]
fn bits_and_keys_are_those_of_jax() {
    assert_eq!(words(&on_key("random_bits", r#"{"shape": [2, 5]}"#)), BITS);
    assert_eq!(words(&on_key("random_bits", r#"{"shape": [10]}"#)), BITS);
    assert_eq!(words(&on_key("random_split", r#"{"count": 3}"#)), SPLIT.as_flattened());
    for (index, row) in SPLIT.iter().enumerate() {
        assert_eq!(words(&folded(&key([7, 42]), index as u32)), row);
    }
}

#[test]
fn floats_are_made_of_the_bits() {
    let uniform = on_key("uniform", r#"{"shape": [2, 5]}"#);
    let expected = BITS.map(|word| f32::from_bits(word >> 9 | 0x3f80_0000) - 1.0);
    assert_eq!(uniform.elements::<f32>().unwrap(), expected);
    let normal = numbers(&on_key("normal", r#"{"shape": [10]}"#));
    let erfinv = op("erfinv", &[]).unwrap();
    for (normal, uniform) in normal.iter().zip(expected) {
        // (-1, 1) from [0, 1) takes a rounding of 2^-24, which erfinv stretches by its slope.
        let symmetric = Tensor::scalar(DType::F64, 2.0 * f64::from(uniform) - 1.0).unwrap();
        let erfinv = numbers(&caudal::cpu::single::compute(&erfinv, &[Some(symmetric)]).unwrap()[0])[0];
        let (expected, slope) = (2f64.sqrt() * erfinv, (erfinv * erfinv).exp());
        assert!((normal - expected).abs() < 3e-7 * (1.0 + slope), "{normal} {expected}");
    }
}

#[test]
fn integers_bools_and_classes_are_those_of_jax() {
    // randint, bernoulli and categorical of JAX 0.10.2.
    let rows: [(&str, &[f64]); 3] = [
        (
            r#"{"shape": [10], "low": -7, "high": 60000, "dtype": "int32"}"#,
            &[43426., 27592., 30950., 8798., 42617., 1875., 49077., 41565., 35524., 30679.],
        ),
        (
            r#"{"shape": [2, 3], "high": 4000000000}"#,
            &[3153040016., 3437534208., 80755403., 2237579412., 810893995., 675981310.],
        ),
        (
            r#"{"shape": [4], "high": 4294967296, "dtype": "uint32"}"#,
            &[2858679688., 298292404., 1129186578., 2989304188.],
        ),
    ];
    for (attrs, expected) in rows {
        assert_eq!(numbers(&on_key("randint", attrs)), expected, "{attrs}");
    }
    let rows: [(&str, &str, &[f32], [f64; 10]); 2] = [
        ("bernoulli", r#"{"shape": [10]}"#, &[0.3], [0., 0., 0., 0., 0., 1., 1., 0., 0., 0.]),
        (
            "categorical",
            r#"{"shape": [10]}"#,
            &[0.0, 2f32.ln(), 3f32.ln(), 4f32.ln()],
            [3., 3., 3., 3., 1., 2., 2., 0., 2., 0.],
        ),
    ];
    for (name, attrs, given, expected) in rows {
        let mut graph = Graph::new();
        let key_value = graph.input("key", spec("uint32[2]")).unwrap();
        let x = graph.constant(Tensor::from_slice(DType::F32, &[given.len()], given).unwrap()).unwrap();
        let output = apply(&mut graph, name, attrs, &[key_value, x]);
        graph.set_outputs(vec![output]).unwrap();
        assert_eq!(numbers(&support::run(&graph, &[key([7, 42])])[0]), expected, "{name}");
    }
}

#[test]
fn floats_are_near_those_of_jax() {
    // JAX 0.10.2, whose logarithms and erfinv are rounded otherwise.
    let rows = [
        (
            "truncated_normal",
            r#"{"shape": [6], "low": -1.0}"#,
            [-0.08743729, 0.27130020, 1.17730606, 1.29467392, 0.74492937, -0.36110914],
        ),
        ("exponential", r#"{"shape": [6]}"#, [0.46909273, 0.79319465, 2.13508129, 2.39055109, 1.38259518, 0.28071076]),
        ("gumbel", r#"{"shape": [6]}"#, [0.01780836, 0.50715721, 2.07282591, 2.34291172, 1.24161184, -0.34181848]),
    ];
    for (name, attrs, expected) in rows {
        for (got, expected) in numbers(&on_key(name, attrs)).iter().zip(expected) {
            assert!((got - expected).abs() < 1e-6, "{name}: {got}, not {expected}");
        }
    }
}

#[test]
fn bounds_of_integers_may_be_dims() {
    let mut graph = Graph::new();
    graph.input("x", spec("float32[n]")).unwrap();
    // A constant key: the draw still depends on n.
    let key_value = graph.constant(key([7, 42])).unwrap();
    let attrs = r#"{"shape": [1000], "low": "n-3", "high": "n", "dtype": "int32"}"#;
    let output = apply(&mut graph, "randint", attrs, &[key_value]);
    graph.set_outputs(vec![output]).unwrap();
    for size in [5usize, 3] {
        let drawn = numbers(&support::run(&graph, &[Tensor::zeros(DType::F32, &[size], None).unwrap()])[0]);
        let expected: Vec<_> = (size as i32 - 3..size as i32).map(f64::from).collect();
        assert!(drawn.iter().all(|number| expected.contains(number)), "{size}");
        assert!(expected.iter().all(|number| drawn.contains(number)), "{size}");
    }
}

#[test]
fn samples_have_the_moments_of_their_distribution() {
    let moments = |tensor: &Tensor| {
        let values = numbers(tensor);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (mean, values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / values.len() as f64)
    };
    let rows = [
        ("uniform", "{}", 0.5, 1.0 / 12.0),
        ("uniform", r#"{"low": -3.0, "high": 1.0}"#, -1.0, 16.0 / 12.0),
        ("normal", "{}", 0.0, 1.0),
        // Variances of the normal distribution between -1 and 2, and of the others: NIST's handbook.
        ("truncated_normal", r#"{"low": -1.0}"#, 0.2296, 0.5249),
        ("exponential", "{}", 1.0, 1.0),
        ("gumbel", "{}", 0.5772, 1.6449),
    ];
    for (name, attrs, mean, variance) in rows {
        for dtype in ["float32", "float64"] {
            let rest = attrs.trim_matches(['{', '}']);
            let comma = if rest.is_empty() { "" } else { ", " };
            let attrs = format!(r#"{{"shape": [100000], "dtype": "{dtype}"{comma}{rest}}}"#);
            let (m, v) = moments(&on_key(name, &attrs));
            assert!((m - mean).abs() < 0.02 && (v - variance).abs() < 0.02, "{name} {attrs}: {m} {v}");
        }
    }
}

#[test]
fn the_gradient_of_dropout_has_the_mask_of_its_value() {
    for (dtype, rate) in [("float32", 0.5), ("float64", 0.2), ("bfloat16", 0.5)] {
        let mut graph = Graph::new();
        let x = graph.input("x", spec(&format!("{dtype}[n, 301]"))).unwrap();
        let key_value = graph.input("key", spec("uint32[2]")).unwrap();
        let y = apply(&mut graph, "dropout", &format!(r#"{{"rate": {rate}}}"#), &[x, key_value]);
        let loss = apply(&mut graph, "sum", "{}", &[y]);
        let gradient = grad::grad(&mut graph, loss, &[x]).unwrap()[0];
        graph.set_outputs(vec![y, gradient]).unwrap();
        let input = Generator(3).tensor(&spec(&format!("{dtype}[40, 301]")), 1.0, 2.0);
        let outputs = support::run(&graph, &[input, key([7, 42])]);
        let (y, gradient) = (numbers(&outputs[0]), numbers(&outputs[1]));
        assert!(y.iter().zip(&gradient).all(|(y, g)| (*y == 0.0) == (*g == 0.0)), "{dtype}");
        let kept = gradient.iter().filter(|g| **g != 0.0).count() as f64 / gradient.len() as f64;
        assert!((kept - (1.0 - rate)).abs() < 0.02, "{kept}");
        assert!(gradient.iter().all(|g| *g == 0.0 || (g - 1.0 / (1.0 - rate)).abs() < 1e-2), "{dtype}");
        let other =
            support::run(&graph, &[Generator(3).tensor(&spec(&format!("{dtype}[40, 301]")), 1.0, 2.0), key([7, 43])]);
        assert_ne!(outputs[1], other[1]);
    }
}

/// Functions `all`, `second` and `none`, of three draws, one and no draw.
fn drawing() -> Session {
    let mut builder = Builder::new();
    let draws: Vec<_> = (0..3).map(|_| builder.draw().unwrap()).collect();
    let named = |values: &[Value]| values.iter().enumerate().map(|(i, &value)| (format!("key_{i}"), value)).collect();
    builder.function("all", named(&draws), Notes::default()).unwrap();
    builder.function("second", named(&draws[1..2]), Notes::default()).unwrap();
    let one = builder.graph.scalar(DType::F32, 1.0).unwrap();
    builder.function("none", named(&[one]), Notes::default()).unwrap();
    Session::new(Arc::new(Program::new(&[&builder], Json::Null).unwrap()), Limits::none())
}

#[test]
fn a_function_that_draws_commits_its_key_once() {
    let session = drawing();
    for name in ["all", "second"] {
        let function = session.program().function(name).unwrap();
        assert_eq!(
            (&function.reads[..], &function.writes[..]),
            (&["random/key".into()][..], &["random/key".into()][..])
        );
    }
    let none = session.program().function("none").unwrap();
    assert!(none.reads.is_empty() && none.writes.is_empty());
    session.set_state(&[("random/key", key([7, 42]))]).unwrap();
    let mut state = key([7, 42]);
    for name in ["all", "second", "none", "all"] {
        let outputs = session.run(name, &[]).unwrap();
        let [next, own] = halves(&state);
        match name {
            "all" => assert_eq!(outputs, [folded(&own, 0), folded(&own, 1), folded(&own, 2)]),
            "second" => assert_eq!(outputs, [folded(&own, 1)]),
            _ => {}
        }
        state = if name == "none" { state } else { next };
        assert_eq!(session.state("random/key").unwrap(), state, "after {name}");
    }
}

#[test]
fn gradients_draw_and_apply_does_not() {
    let mut builder = Builder::new();
    let initial = Tensor::from_slice(DType::F32, &[64], &[1f32; 64]).unwrap();
    let w = builder.state("w", Role::Parameter, initial).unwrap();
    let key_value = builder.draw().unwrap();
    let g = &mut builder.graph;
    let dropped = g.op("dropout", &[("rate", AttrValue::Float(0.5))], &[w, key_value]).unwrap();
    let square = g.mul(dropped, dropped).unwrap();
    let loss = apply(g, "sum", "{}", &[square]);
    let gradients = grad::grad(g, loss, &[w]).unwrap();
    let step = builder.function("train_step", vec![("loss".into(), loss)], Notes::default()).unwrap();
    let rate = Tensor::scalar(DType::F32, 0.1).unwrap();
    builder.optimize(step, "optimizer", &op("sgd", &[]).unwrap(), rate, &gradients, &[w]).unwrap();
    let program = Arc::new(Program::new(&[&builder], Json::Null).unwrap());
    let apply = program.function("apply").unwrap();
    assert!(!apply.reads.iter().chain(&apply.writes).any(|name| name == "random/key"));

    let (whole, halved) = (Session::new(program.clone(), Limits::none()), Session::new(program, Limits::none()));
    let mut state = halved.state("random/key").unwrap();
    for _ in 0..3 {
        let loss = whole.run("train_step", &[]).unwrap();
        let outputs = halved.run("gradients", &[]).unwrap();
        state = halves(&state)[0].clone();
        assert_eq!(halved.state("random/key").unwrap(), state);
        halved.run("apply", &outputs[1..]).unwrap();
        assert_eq!(halved.state("random/key").unwrap(), state);
        assert_eq!(loss[0], outputs[0]);
        for name in ["w", "random/key", "optimizer/step"] {
            assert_eq!(whole.state(name).unwrap(), halved.state(name).unwrap(), "{name}");
        }
    }
}
