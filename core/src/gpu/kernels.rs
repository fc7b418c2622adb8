//! The printers of kernels, by op. An op without one runs on the CPU.

mod conv;
mod dynamic;
pub mod elementwise;
pub mod epilogue;
mod fold;
mod gather;
mod gemm;
mod keys;
mod lanes;
mod movement;
mod operand;
mod places;
mod pool;
mod product;
mod random;
mod reduce;
mod region;
mod rows;
mod running;
mod scatter;
mod sort;

pub use movement::copy_bytes;

use super::device::Adapter;
use super::kernel::{Printer, Recipe, Refusal, Request};
use crate::cpu::call::Layout;
use crate::cpu::single;
use crate::graph::{Node, op};
use crate::op::{Kernel, Meaning, Op};
use crate::ops::epilogue::product;
use crate::ops::is_fold;
use crate::plan::cluster_expression;
use crate::shape::Bindings;

/// The printers of each file.
const PRINTERS: &[&[(&str, Printer)]] = &[
    conv::PRINTERS,
    dynamic::PRINTERS,
    gather::PRINTERS,
    movement::PRINTERS,
    pool::PRINTERS,
    product::PRINTERS,
    random::PRINTERS,
    reduce::PRINTERS,
    running::PRINTERS,
    scatter::PRINTERS,
    sort::PRINTERS,
];

/// The recipe of a node that is one step, where the symbols have these sizes.
///
/// # Errors
/// Why it runs on the CPU.
pub fn print_node(node: &Node, sizes: &Bindings, request: &Request) -> Result<Recipe, Refusal> {
    match (&node.op.def.meaning, &node.regions[..]) {
        (Meaning::Cluster, [region]) if region.nodes().iter().any(|node| is_fold(&node.op)) => {
            rows::print(region, sizes, request).or_else(|_| region::print(region, sizes, request))
        }
        (Meaning::Cluster, [region]) => match product(region, region.nodes().iter()) {
            Some(product) => {
                epilogue::print(region, product, request).or_else(|_| region::print(region, sizes, request))
            }
            None => {
                let cluster = cluster_expression(region)?;
                elementwise::print(&cluster.expression, &cluster.outputs, request)
            }
        },
        _ => print(&node.op, request),
    }
}

/// A copy of the only input, which may be strided, to where a dense one goes.
///
/// # Errors
/// As [`print`].
pub fn copy(inputs: &[Option<&Layout>], adapter: &Adapter) -> Result<Recipe, Refusal> {
    let Some(Some(from)) = inputs.first() else { return Err(Refusal("a copy of nothing".into())) };
    let to = Layout::dense(from.dtype, &from.sizes);
    let op = op("dense", &[])?;
    movement::dense(&Request { attrs: &op.attrs, inputs, outputs: &[&to], adapter, finish: None })
}

/// The recipe of an op that is one step, but for clusters.
///
/// # Errors
/// Why it runs on the CPU.
pub fn print(op: &Op, request: &Request) -> Result<Recipe, Refusal> {
    let name = op.def.name;
    match &op.def.meaning {
        Meaning::Scalar(_) => {
            let dtypes: Vec<_> = request.inputs.iter().flatten().map(|input| input.dtype).collect();
            let (expression, result) = single::expression(op, &dtypes);
            elementwise::print(&expression, &[result], request)
        }
        Meaning::Kernel(Kernel { view: Some(view), .. }) => movement::copied(*view, request),
        Meaning::Kernel(_) => match PRINTERS.iter().copied().flatten().find(|(other, _)| *other == name) {
            Some((_, printer)) => printer(request),
            None => Err(Refusal(format!("{name} has no GPU kernel"))),
        },
        _ => Err(Refusal(format!("{name} is not one kernel"))),
    }
}
