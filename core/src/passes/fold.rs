//! A node whose operands and attrs are constants => a constant, if that takes at most 64 KiB.

use crate::cpu::single;
use crate::error::{Code, Result};
use crate::graph::{Graph, Node, Rewrite, Value};
use crate::meter::Meter;
use crate::op::Meaning;
use crate::tensor::{Tensor, byte_count};
use std::collections::HashMap;

/// Larger constants would make the program larger than the code that computes them.
const MAX_BYTES: usize = 64 << 10;

pub fn run(graph: &Graph, meter: &Meter) -> Result<Graph> {
    let mut rewrite = Rewrite::new(graph, meter)?;
    let mut known: HashMap<Value, Tensor> = HashMap::new();
    for node in graph.nodes() {
        let Some(outputs) = evaluate(graph, node, &known, meter)? else {
            rewrite.copy(node)?;
            continue;
        };
        for (value, tensor) in node.outputs().zip(outputs) {
            rewrite.target.set_location(node.location.clone());
            let constant = rewrite.target.constant(tensor.clone())?;
            rewrite.set(value, constant);
            known.insert(value, tensor);
        }
    }
    rewrite.finish()
}

/// The outputs of a node whose operands and attrs are known; `None` if they are not, or are large.
fn evaluate(graph: &Graph, node: &Node, known: &HashMap<Value, Tensor>, meter: &Meter) -> Result<Option<Vec<Tensor>>> {
    if !matches!(node.op.def.meaning, Meaning::Scalar(_) | Meaning::Kernel(_)) || node.op.attrs.is_symbolic() {
        return Ok(None);
    }
    for value in node.outputs() {
        let spec = graph.spec(value);
        let small = |sizes: Vec<usize>| byte_count(spec.dtype, &sizes).is_ok_and(|bytes| bytes <= MAX_BYTES);
        if !spec.shape.sizes().is_some_and(small) {
            return Ok(None);
        }
    }
    let operands: Option<Vec<_>> = node
        .inputs
        .iter()
        .map(
            |value| {
                if *value == Value::ABSENT { Some(None) } else { known.get(value).map(|tensor| Some(tensor.clone())) }
            },
        )
        .collect();
    match operands {
        Some(operands) => {
            let operands = planted!("passes/fold: operands in reverse", operands, operands.into_iter().rev().collect());
            match single::compute_within(&node.op, &operands, meter) {
                // Where memory is short the run may still have enough.
                Err(error) if error.code() == Code::Memory => Ok(None),
                outputs => outputs.map(Some),
            }
        }
        None => Ok(None),
    }
}
