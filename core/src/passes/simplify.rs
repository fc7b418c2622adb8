//! Rewrites that give the same bits with less work. Each rule's line says what becomes what, and when.

use crate::attrs::{AttrValue, Attrs};
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Graph, Input, Node, Rewrite, Source, Value, op};
use crate::meter::Meter;
use crate::op::Meaning;
use crate::ops::unpick_elementwise;
use crate::tensor::Tensor;

pub fn run(graph: &Graph, meter: &Meter) -> Result<Graph> {
    let mut rewrite = Rewrite::new(graph, meter)?;
    for node in graph.nodes() {
        rewrite.target.set_location(node.location.clone());
        let operands = rewrite.operands(node);
        match replacement(&mut rewrite.target, node, &operands)? {
            Some(value) if rewrite.target.spec(value) == graph.spec(node.first) => rewrite.replace(node, &[value]),
            _ => drop(rewrite.copy(node)?),
        }
    }
    rewrite.finish()
}

/// What a node with one output becomes, if a rule fits.
fn replacement(graph: &mut Graph, node: &Node, operands: &[Value]) -> Result<Option<Value>> {
    let attrs = &node.op.attrs;
    match (node.op.def.name, operands) {
        // stop_gradient(x) => x
        ("stop_gradient", &[x]) => Ok(Some(x)),
        // cast(x) => x, broadcast_to(x) => x, reshape(x) => x: if nothing changes (checked against the spec by run)
        ("cast" | "broadcast_to" | "reshape", &[x])
            if graph.spec(x).dtype == dtype_after(attrs, graph, x) && unchanged(graph, node, x) =>
        {
            Ok(Some(x))
        }
        // dim(x) => a constant, if the dim is known, or the dim of an input that is the same: x need not be there for it
        ("dim", &[x]) => known_dim(graph, attrs, x),
        // reshape(reshape(x)) => reshape(x)
        ("reshape", &[x]) => inner(graph, x, "reshape", |graph, source| graph.apply(&node.op, Vec::new(), &[source])),
        // transpose(transpose(x)) => transpose(x), or x
        ("transpose", &[x]) => transposed_twice(graph, attrs, x),
        // unpick(x, i) => select(i == iota, x, 0): it has no step of its own then, but is part of what reads it
        ("unpick", &[x, indices]) => unpick_elementwise(graph, attrs, x, indices).map(Some),
        // neg(neg(x)) => x
        ("neg", &[x]) => Ok(producer(graph, x, "neg").map(|node| node.inputs[0])),
        // x * 1 => x, x / 1 => x, x - 0 => x: right to the bit, also for -0 and NaN
        ("mul", &[x, y]) if is_constant(graph, y, 1.0) => Ok(Some(x)),
        ("mul", &[x, y]) if is_constant(graph, x, 1.0) => Ok(Some(y)),
        ("div", &[x, y]) if is_constant(graph, y, 1.0) => Ok(Some(x)),
        ("sub", &[x, y]) if is_constant(graph, y, 0.0) => Ok(Some(x)),
        _ => unbroadcast_operands(graph, node, operands),
    }
}

fn dtype_after(attrs: &Attrs, graph: &Graph, x: Value) -> DType {
    attrs.optional_dtype("dtype").unwrap_or(graph.spec(x).dtype)
}

fn unchanged(graph: &Graph, node: &Node, x: Value) -> bool {
    match node.op.attrs.optional_dims("shape") {
        Some(shape) => graph.spec(x).shape[..] == shape[..],
        None => true,
    }
}

fn known_dim(graph: &mut Graph, attrs: &Attrs, x: Value) -> Result<Option<Value>> {
    let shape = &graph.spec(x).shape;
    let axis = crate::op::normalize_axis(attrs.int("axis")?, shape.rank())?;
    if let Some(size) = shape[axis].as_constant() {
        return graph.constant(Tensor::from_slice(DType::I64, &[], &[size])?).map(Some);
    }
    let (dim, is_input) = (shape[axis].clone(), matches!(graph.source(x), Source::Input(_)));
    let place = |input: &Input| Some((input.value, graph.spec(input.value).shape.iter().position(|own| *own == dim)?));
    let Some((value, axis)) = graph.inputs().iter().filter(|_| !is_input).find_map(place) else { return Ok(None) };
    graph.op("dim", &[("axis", AttrValue::Int(axis as i64))], &[value]).map(Some)
}

fn producer<'a>(graph: &'a Graph, value: Value, name: &str) -> Option<&'a Node> {
    graph.producer(value).filter(|node| node.op.def.name == name)
}

fn inner(
    graph: &mut Graph,
    value: Value,
    name: &str,
    apply: impl Fn(&mut Graph, Value) -> Result<Vec<Value>>,
) -> Result<Option<Value>> {
    match producer(graph, value, name).map(|node| node.inputs[0]) {
        Some(source) => Ok(apply(graph, source)?.first().copied()),
        None => Ok(None),
    }
}

fn transposed_twice(graph: &mut Graph, attrs: &Attrs, x: Value) -> Result<Option<Value>> {
    let Some(first) = producer(graph, x, "transpose") else { return Ok(None) };
    let (source, rank) = (first.inputs[0], graph.spec(x).shape.rank());
    let axes = |attrs: &Attrs| -> Result<Vec<usize>> {
        match attrs.optional_ints("axes") {
            Some(axes) => axes.iter().map(|&axis| crate::op::normalize_axis(axis, rank)).collect(),
            None => Ok((0..rank).rev().collect()),
        }
    };
    let (inner, outer) = (axes(&first.op.attrs)?, axes(attrs)?);
    let both: Vec<i64> = outer.iter().map(|&axis| inner[axis] as i64).collect();
    if both.iter().enumerate().all(|(axis, &from)| axis as i64 == from) {
        return Ok(Some(source));
    }
    let transpose = op("transpose", &[("axes", AttrValue::Ints(both))])?;
    Ok(graph.apply(&transpose, Vec::new(), &[source])?.first().copied())
}

/// Whether a value is a constant (possibly broadcast) whose elements are all `expected`, which -0 is not if it is 0.
fn is_constant(graph: &Graph, value: Value, expected: f64) -> bool {
    let Some(node) = graph.producer(value) else { return false };
    match (node.op.def.name, node.op.attrs.optional_tensor("value")) {
        ("broadcast_to", _) => is_constant(graph, node.inputs[0], expected),
        ("constant", Some(tensor)) if tensor.len() == 1 => Tensor::scalar(tensor.dtype(), expected)
            .and_then(|scalar| scalar.reshaped(tensor.sizes()))
            .is_ok_and(|scalar| planted!("passes/simplify: every scalar constant is one", scalar == tensor, true)),
        _ => false,
    }
}

/// add(x, broadcast_to(y)) => add(x, y), for every element-wise op, if the shape stays the same without it.
fn unbroadcast_operands(graph: &mut Graph, node: &Node, operands: &[Value]) -> Result<Option<Value>> {
    if !matches!(node.op.def.meaning, Meaning::Scalar(_)) || operands.len() < 2 {
        return Ok(None);
    }
    let shape = |graph: &Graph, value: Value| graph.spec(value).shape.clone();
    let full = operands.iter().find(|&&value| producer(graph, value, "broadcast_to").is_none());
    let target = operands.iter().map(|&value| shape(graph, value)).max_by_key(|shape| shape.rank());
    let (Some(&full), Some(target)) = (full, target) else { return Ok(None) };
    if shape(graph, full) != target || !operands.iter().all(|&value| shape(graph, value).rank() <= target.rank()) {
        return Ok(None);
    }
    let bare = |value: Value| {
        producer(graph, value, "broadcast_to")
            .filter(|node| node.op.attrs.optional_dims("shape").is_some_and(|dims| dims[..] == target[..]))
            .map_or(value, |node| node.inputs[0])
    };
    let bare: Vec<_> = operands.iter().map(|&value| bare(value)).collect();
    if bare == operands {
        return Ok(None);
    }
    Ok(graph.apply(&node.op, Vec::new(), &bare)?.first().copied())
}
