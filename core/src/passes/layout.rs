//! An operand that is a strided view, of a step that cannot read strides => `dense` of it; likewise an output. Views
//! are made by ops whose kernel has a `view`; a reshape of something dense is dense.

use crate::error::Result;
use crate::graph::{Graph, Node, Rewrite, Value};
use crate::meter::Meter;
use crate::op::Meaning;
use crate::ops::epilogue::product;

pub fn run(graph: &Graph, meter: &Meter) -> Result<Graph> {
    let mut rewrite = Rewrite::new(graph, meter)?;
    let mut strided = vec![false; graph.value_count()];
    for node in graph.nodes() {
        for operand in node.operands().filter(|&operand| !reads_strides(node, operand)) {
            make_dense(&mut rewrite, operand, &mut strided)?;
        }
        for value in node.outputs() {
            let view = is_view(node) && node.op.def.name != "reshape";
            strided[value.index()] = planted!(
                "passes/layout: a view of a view is taken for dense",
                view,
                view && !node.operands().any(|operand| strided[operand.index()])
            );
        }
        rewrite.copy(node)?;
    }
    for &output in graph.outputs() {
        make_dense(&mut rewrite, output, &mut strided)?;
    }
    rewrite.finish()
}

/// From here on the value is its dense copy, for those that could read strides too.
fn make_dense(rewrite: &mut Rewrite, value: Value, strided: &mut [bool]) -> Result<()> {
    if std::mem::take(&mut strided[value.index()]) {
        let copy = rewrite.target.op("dense", &[], &[rewrite.get(value)])?;
        rewrite.set(value, copy);
    }
    Ok(())
}

fn is_view(node: &Node) -> bool {
    matches!(&node.op.def.meaning, Meaning::Kernel(kernel) if kernel.view.is_some())
}

/// Whether a node can read an operand of its own that is strided.
fn reads_strides(node: &Node, operand: Value) -> bool {
    match &node.op.def.meaning {
        Meaning::Scalar(_) => true,
        Meaning::Cluster => {
            // A product reads what it can alone, what follows it anything.
            let region = &node.regions[0];
            let inner = |value: Value| {
                let position = region.inputs().iter().position(|input| input.value == value);
                position.and_then(|index| node.inputs.get(index).copied())
            };
            product(region, region.nodes().iter()).is_none_or(|product| {
                product.operands().filter(|&own| inner(own) == Some(operand)).all(|own| reads_strides(product, own))
            })
        }
        Meaning::Kernel(kernel) => kernel.takes_strides || (kernel.view.is_some() && node.op.def.name != "reshape"),
        Meaning::Lower(_) | Meaning::Control(_) => false,
    }
}
