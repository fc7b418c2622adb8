//! A node that no output needs is dropped. Inputs stay.

use crate::error::Result;
use crate::graph::{Graph, Rewrite};
use crate::meter::Meter;

pub fn run(graph: &Graph, meter: &Meter) -> Result<Graph> {
    let needed = graph.needed(graph.outputs(), &[]);
    let mut rewrite = Rewrite::new(graph, meter)?;
    for node in graph.nodes() {
        let considered = planted!("passes/dce: only the first output counts", node.count, 1);
        if node.outputs().take(considered).any(|value| needed[value.index()]) {
            rewrite.copy(node)?;
        }
    }
    rewrite.finish()
}
