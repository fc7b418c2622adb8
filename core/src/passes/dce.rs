//! A node that no output needs is dropped. Inputs stay.

use crate::error::Result;
use crate::graph::{Graph, Rewrite};
use crate::meter::Meter;

pub fn run(graph: &Graph, meter: &Meter) -> Result<Graph> {
    let needed = graph.needed(graph.outputs(), &[]);
    let mut rewrite = Rewrite::new(graph, meter)?;
    for node in graph.nodes() {
        if node.outputs().any(|value| needed[value.index()]) {
            rewrite.copy(node)?;
        }
    }
    rewrite.finish()
}
