//! `softmax(x)` => the ops it lowers to: every composite, until none is left.

use crate::error::{Error, Result};
use crate::grad::lower;
use crate::graph::{Graph, Node, Rewrite};
use crate::meter::Meter;
use crate::op::Meaning;

/// How deep composites may lower to composites.
const MAX_ROUNDS: usize = 16;

fn is_composite(node: &Node) -> bool {
    matches!(node.op.def.meaning, Meaning::Lower(_))
}

pub fn run(graph: &Graph, meter: &Meter) -> Result<Graph> {
    let mut graph = graph.copied(meter)?;
    for _ in 0..MAX_ROUNDS {
        if !graph.nodes().iter().any(is_composite) {
            return Ok(graph);
        }
        graph = round(&graph, meter)?;
    }
    Err(Error::internal(format!("composites lower to composites more than {MAX_ROUNDS} times")))
}

fn round(graph: &Graph, meter: &Meter) -> Result<Graph> {
    let mut rewrite = Rewrite::new(graph, meter)?;
    for node in graph.nodes() {
        if is_composite(node) {
            rewrite.target.set_location(node.location.clone());
            let operands = rewrite.operands(node);
            let outputs = lower(&mut rewrite.target, &node.op, &operands)
                .map_err(|error| error.with_op(node.op.def.name).with_location(node.location.as_ref()))?;
            let outputs =
                planted!("passes/decompose: outputs in reverse", outputs, outputs.into_iter().rev().collect());
            rewrite.replace(node, &outputs);
        } else {
            rewrite.copy(node)?;
        }
    }
    rewrite.finish()
}
