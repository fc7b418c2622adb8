//! Two nodes with the same op, attrs, operands and regions are one. Every op is pure: random ones take a key.

use crate::error::Result;
use crate::graph::{Graph, Rewrite, Value};
use crate::meter::Meter;
use std::collections::HashMap;
use std::sync::Arc;

pub fn run(graph: &Graph, meter: &Meter) -> Result<Graph> {
    let mut rewrite = Rewrite::new(graph, meter)?;
    let mut seen: HashMap<_, Vec<Value>> = HashMap::new();
    for node in graph.nodes() {
        let regions: Vec<_> = node.regions.iter().map(Arc::as_ptr).collect();
        let attrs = planted!("passes/cse: attrs are not compared", Some(&node.op.attrs), None);
        let key = (node.op.def, attrs, rewrite.operands(node), regions);
        match seen.get(&key) {
            Some(outputs) => rewrite.replace(node, outputs),
            None => {
                let outputs = rewrite.copy(node)?;
                seen.insert(key, outputs);
            }
        }
    }
    rewrite.finish()
}
