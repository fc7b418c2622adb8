//! Passes: graph to graph, one file each. This file is the pipeline.

mod cse;
mod dce;
mod decompose;
mod enclose;
mod fold;
mod fuse;
mod layout;
mod simplify;

pub use fuse::elementwise_alone as fuse_elementwise;

use crate::error::Result;
use crate::graph::{Graph, Rewrite, text};
use crate::meter::Meter;
use crate::op::Meaning;
use std::collections::HashMap;
use std::sync::Arc;

/// A pass: its name, and what it makes of a graph. It leaves regions as they are; [`run`] applies it to them first.
pub type Pass = (&'static str, fn(&Graph, &Meter) -> Result<Graph>);

/// What a function goes through before it is planned.
pub const OPTIMIZED: &[Pass] = &[
    ("decompose", decompose::run),
    ("simplify", simplify::run),
    ("fold", fold::run),
    ("cse", cse::run),
    ("simplify", simplify::run),
    ("dce", dce::run),
    ("fuse", fuse::run),
    ("layout", layout::run),
];

/// What is needed to run at all: for graphs that run once, and to compare with.
pub const PLAIN: &[Pass] = &[("decompose", decompose::run), ("layout", layout::run)];

/// For checked runs: every node is a step of its own, a composite with what it lowers to inside.
pub const CHECKED: &[Pass] = &[("enclose", enclose::run), ("layout", layout::run)];

/// The pass of that name.
pub fn named(name: &str) -> Option<Pass> {
    OPTIMIZED.iter().copied().find(|(other, _)| *other == name)
}

/// The text of a graph that went through passes, which says of each cluster where it ends and why.
pub fn explain(graph: &Graph) -> String {
    text::annotated(graph, &fuse::ends)
}

/// A bound of the bytes that the tables of a pass take for each node and value.
const TABLES: u64 = 160;

/// Runs passes in order; `observe` sees each pass's name and what it made.
///
/// # Errors
/// What an op refuses that a pass applies; what the meter refuses.
pub fn run(
    graph: &Arc<Graph>,
    passes: &[Pass],
    meter: &Meter,
    observe: &mut dyn FnMut(&str, &Graph),
) -> Result<Arc<Graph>> {
    let mut graph = graph.clone();
    for &(name, pass) in passes {
        graph = apply(&graph, pass, meter, &mut HashMap::new())?;
        observe(name, &graph);
    }
    Ok(graph)
}

/// Applies a pass to the regions, then to the graph. Shared regions stay shared.
fn apply(
    graph: &Arc<Graph>,
    pass: fn(&Graph, &Meter) -> Result<Graph>,
    meter: &Meter,
    done: &mut HashMap<*const Graph, Arc<Graph>>,
) -> Result<Arc<Graph>> {
    if let Some(result) = done.get(&Arc::as_ptr(graph)) {
        return Ok(result.clone());
    }
    let mut inner: Option<Graph> = None;
    if graph.nodes().iter().any(|node| !node.regions.is_empty()) {
        let mut rewrite = Rewrite::new(graph, meter)?;
        for node in graph.nodes() {
            // A cluster is a leaf: what fuse made stays as it is.
            if node.regions.is_empty() || matches!(node.op.def.meaning, Meaning::Cluster) {
                rewrite.copy(node)?;
            } else {
                let regions = node.regions.iter().map(|region| apply(region, pass, meter, done));
                let regions = regions.collect::<Result<Vec<_>>>()?;
                rewrite.copy_with(node, regions)?;
            }
        }
        inner = Some(rewrite.finish()?);
    }
    let source = inner.as_ref().unwrap_or(graph);
    let _tables = meter.charge(TABLES * (source.nodes().len() + source.value_count()) as u64)?;
    let result = Arc::new(pass(source, meter)?);
    done.insert(Arc::as_ptr(graph), result.clone());
    Ok(result)
}
