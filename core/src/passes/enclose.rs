//! `softmax(x)` => the same node with what it lowers to as its region, every composite: it runs as one step.

use super::decompose;
use crate::error::Result;
use crate::grad::lower;
use crate::graph::{Graph, Node, Rewrite, Value};
use crate::meter::Meter;
use crate::op::Meaning;
use std::sync::Arc;

pub fn run(graph: &Graph, meter: &Meter) -> Result<Graph> {
    let mut rewrite = Rewrite::new(graph, meter)?;
    for node in graph.nodes() {
        match node.op.def.meaning {
            Meaning::Lower(_) if node.regions.is_empty() => {
                let region = region(graph, node, meter)
                    .map_err(|error| error.with_op(node.op.def.name).with_location(node.location.as_ref()))?;
                rewrite.copy_with(node, vec![Arc::new(region)])?;
            }
            _ => drop(rewrite.copy(node)?),
        }
    }
    rewrite.finish()
}

/// What a composite lowers to, on the operands that are there.
fn region(graph: &Graph, node: &Node, meter: &Meter) -> Result<Graph> {
    let mut region = Graph::new();
    region.set_location(node.location.clone());
    let mut operands = Vec::with_capacity(node.inputs.len());
    for (index, &value) in node.inputs.iter().enumerate() {
        operands.push(match value {
            Value::ABSENT => Value::ABSENT,
            value => region.input(&format!("input_{index}"), graph.spec(value).clone())?,
        });
    }
    let outputs = lower(&mut region, &node.op, &operands)?;
    region.set_outputs(outputs)?;
    decompose::run(&region, meter)
}
