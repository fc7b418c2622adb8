//! What the families' tests share.

use crate::attrs::Attrs;
use crate::dtype::DType;
use crate::error::Result;
use crate::grad::{grad, lower};
use crate::graph::{Graph, Requirement, Value};
use crate::json;
use crate::op::{Meaning, Op, Spec, Vjp};

/// Applies an op to inputs of these specs (`-` is left out).
///
/// # Errors
/// What the op refuses.
pub fn apply(graph: &mut Graph, name: &str, attrs: &str, inputs: &[&str]) -> Result<Vec<Value>> {
    let def = super::find(name)?;
    let attrs = json::parse(attrs)?;
    let attrs = Attrs::from_json(def, attrs.as_object().expect("attrs are an object"))?;
    let mut values = Vec::new();
    for spec in inputs {
        let name = format!("x{}", graph.inputs().len());
        values.push(if *spec == "-" { Value::ABSENT } else { graph.input(&name, Spec::parse(spec)?)? });
    }
    graph.apply(&Op { def, attrs }, Vec::new(), &values)
}

/// What inference says: the outputs' specs and, after `where`, the relations left to be checked; or the error.
pub fn infer(name: &str, attrs: &str, inputs: &[&str]) -> String {
    let mut graph = Graph::new();
    let outputs = match apply(&mut graph, name, attrs, inputs) {
        Ok(outputs) => outputs,
        Err(error) => return error.to_string(),
    };
    let join = |texts: Vec<String>| texts.join(", ");
    let specs = join(outputs.iter().map(|&value| graph.spec(value).to_string()).collect());
    let requirements = graph.requirements();
    if requirements.is_empty() {
        return specs;
    }
    let text = |Requirement { left, right, .. }: &Requirement| match left.as_min_with(right) {
        Some(dim) => format!("{dim} >= {right}"),
        None => format!("{left} == {right}"),
    };
    specs + " where " + &join(requirements.iter().map(text).collect())
}

/// Checks what inference says, for rows of (attrs, inputs, answer).
pub fn check(name: &str, rows: &[(&str, &[&str], &str)]) {
    for (attrs, inputs, expected) in rows {
        assert_eq!(infer(name, attrs, inputs), *expected, "{name} {attrs} of {inputs:?}");
    }
}

/// The inputs of a sample for a dtype, without the ranges they are drawn from.
fn sample_inputs(inputs: &[&str], dtype: DType) -> Vec<String> {
    let spec = |input: &&str| input.split(" in ").next().unwrap_or_default().replace('T', dtype.name());
    inputs.iter().map(spec).collect()
}

/// Calls `test` with each sample of each op in each of its dtypes, applied in a graph of its own.
fn for_samples(mut test: impl FnMut(&mut Graph, &str)) {
    for def in super::all() {
        for sample in def.samples {
            for dtype in def.dtypes.iter() {
                let inputs = sample_inputs(sample.inputs, dtype);
                let inputs: Vec<_> = inputs.iter().map(String::as_str).collect();
                let what = format!("{} {} of {inputs:?}", def.name, sample.attrs);
                let mut graph = Graph::new();
                apply(&mut graph, def.name, sample.attrs, &inputs).unwrap_or_else(|error| panic!("{what}: {error}"));
                test(&mut graph, &what);
            }
        }
    }
}

#[test]
fn composites_lower_to_what_infer_says() {
    for_samples(|graph, what| {
        let node = graph.nodes()[graph.nodes().len() - 1].clone();
        if !matches!(node.op.def.meaning, Meaning::Lower(_)) {
            return;
        }
        let lowered = lower(graph, &node.op, &node.inputs).unwrap_or_else(|error| panic!("{what}: {error}"));
        let specs = |values: &[Value]| values.iter().map(|&value| graph.spec(value).clone()).collect::<Vec<_>>();
        assert_eq!(specs(&lowered), specs(&node.outputs().collect::<Vec<_>>()), "{what}");
        assert!(graph.requirements().is_empty(), "{what}");
    });
}

/// The gradients of the sum of squares of some values.
fn gradients(graph: &mut Graph, values: &[Value], wrt: &[Value]) -> Result<Vec<Value>> {
    let mut loss = graph.scalar(DType::F32, 0.0)?;
    for &value in values {
        let square = graph.mul(value, value)?;
        let all: Vec<_> = (0..graph.spec(square).shape.rank() as i64).collect();
        let sum = graph.reduce("sum", square, &all, false)?;
        let sum = graph.cast(sum, DType::F32)?;
        loss = graph.add(loss, sum)?;
    }
    grad(graph, loss, wrt)
}

#[test]
fn gradients_have_the_specs_of_inputs_and_differentiate_again() {
    for_samples(|graph, what| {
        let node = graph.nodes()[graph.nodes().len() - 1].clone();
        let float = |graph: &Graph, value: &Value| graph.spec(*value).dtype.is_float();
        let outputs: Vec<_> = node.outputs().filter(|value| float(graph, value)).collect();
        let inputs: Vec<_> = node.operands().filter(|value| float(graph, value)).collect();
        if matches!(node.op.def.vjp, Vjp::NotDifferentiable(_)) || outputs.is_empty() || inputs.is_empty() {
            return;
        }
        let mut values = outputs;
        for order in 1..=2 {
            values =
                gradients(graph, &values, &inputs).unwrap_or_else(|error| panic!("{what}, order {order}: {error}"));
            for (gradient, input) in values.iter().zip(&inputs) {
                assert_eq!(graph.spec(*gradient), graph.spec(*input), "{what}, order {order}");
            }
        }
        graph.verify().unwrap_or_else(|error| panic!("{what}: {error}"));
    });
}

#[test]
fn gradients_keep_symbolic_dims() {
    let rows: &[(&str, &str, &[&str])] = &[
        ("matmul", "{}", &["float32[b, t, k]", "float32[k, 5]"]),
        ("matmul", "{}", &["float32[b, h, t, 8]", "float32[b, h, 8, t]"]),
        ("conv", "{}", &["float32[b, h, w, 1]", "float32[3, 3, 1, 8]"]),
        ("conv", r#"{"padding": "same", "strides": [2, 3]}"#, &["float32[b, h, w, 1]", "float32[3, 3, 1, 8]"]),
        ("max_pool", r#"{"window": [2, 2]}"#, &["float32[b, h, w, 3]"]),
        ("avg_pool", r#"{"window": [3], "strides": [2], "padding": "same"}"#, &["float32[b, n, 3]"]),
        ("layer_norm", r#"{"axis": [1, 2]}"#, &["float32[b, n, 3]", "float32[n, 3]", "float32[n, 3]"]),
        ("batch_norm_training", "{}", &["float32[b, h, w, 3]", "float32[3]", "float32[3]"]),
        ("softmax_cross_entropy", "{}", &["float32[b, 10]", "int32[b]"]),
        ("softmax_cross_entropy", "{}", &["float32[b, n]", "float32[b, n]"]),
        ("huber", "{}", &["float32[b, n]", "float32[b, n]"]),
        ("rms_norm", "{}", &["float32[b, n, 3]", "float32[3]"]),
        ("group_norm", r#"{"groups": 2}"#, &["float32[b, h, w, 6]", "float32[6]", "float32[6]"]),
        ("embedding", "{}", &["float32[rows, 8]", "int32[b, t]"]),
        (
            "attention",
            r#"{"causal": true}"#,
            &["float32[b, t, 4, 8]", "float32[b, s, 2, 8]", "float32[b, s, 2, 5]", "float32[t, s]"],
        ),
        ("cumprod", r#"{"axis": 0}"#, &["float32[n, m]"]),
        ("sort", r#"{"axis": 0}"#, &["float32[n, m]"]),
        ("top_k", r#"{"k": 3}"#, &["float32[n, m+3]"]),
        ("take_along_axis", r#"{"axis": 0}"#, &["float32[n, m]", "int64[k, m]"]),
        ("scatter", r#"{"mode": "max"}"#, &["float32[n, m]", "int64[k, 1]", "float32[k, m]"]),
        ("scatter", r#"{"batch_dims": 1}"#, &["float32[b, n, m]", "int64[b, k, 1]", "float32[b, k, m]"]),
        ("dynamic_update_slice", "{}", &["float32[n, m+1]", "float32[n, 1]", "int64[2]"]),
        ("einsum", r#"{"equation": "...ij,jk,ii->...k"}"#, &["float32[b, n, m]", "float32[m, 4]", "float32[n, n]"]),
        ("norm", r#"{"axis": [0]}"#, &["float32[n, m]"]),
        ("repeat", r#"{"repeats": "k", "axis": 1}"#, &["float32[n, m]"]),
    ];
    for &(name, attrs, inputs) in rows {
        let mut graph = Graph::new();
        let outputs = apply(&mut graph, name, attrs, inputs).unwrap();
        let inputs: Vec<_> = graph.inputs().iter().map(|input| input.value).collect();
        let inputs: Vec<_> = inputs.into_iter().filter(|&value| graph.spec(value).dtype.is_float()).collect();
        let required = graph.requirements().to_vec();
        let cotangents =
            gradients(&mut graph, &outputs, &inputs).unwrap_or_else(|error| panic!("{name} {attrs}: {error}"));
        for (cotangent, input) in cotangents.iter().zip(&inputs) {
            assert_eq!(graph.spec(*cotangent), graph.spec(*input), "{name} {attrs}");
        }
        assert_eq!(graph.requirements(), required, "{name} {attrs}");
    }
}
