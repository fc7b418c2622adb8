//! Clusters that begin with a product: a matrix product or a convolution, and element-wise ops (and random bits) of its
//! shape behind it, which see each part of its result while that is at hand.

use super::phases::{Unfit, is_scalar_constant};
use super::random::is_random_bits;
use crate::dtype::DType;
use crate::graph::{Graph, Node};
use crate::op::Meaning;

/// Whether a node is a product that element-wise ops can follow in one step: its sums are of the dtype that it gives.
pub fn is_product(graph: &Graph, node: &Node) -> bool {
    matches!(node.op.def.name, "dot_general" | "conv" | "conv_input_grad" | "conv_kernel_grad")
        && matches!(graph.spec(node.first).dtype, DType::F32 | DType::F64)
        // A scalar may be a constant, which becomes part of clusters.
        && node.operands().all(|operand| graph.spec(operand).shape.rank() > 0)
}

/// The product among the nodes of a cluster, if there is one.
pub fn product<'a>(graph: &Graph, mut nodes: impl Iterator<Item = &'a Node>) -> Option<&'a Node> {
    nodes.find(|node| is_product(graph, node))
}

/// Checks that all nodes but the product are element-wise and of its shape, and that it needs none of them. Nodes come in
/// topological order; scalar constants are passed over.
///
/// # Errors
/// Why the nodes are not those of one cluster.
pub fn check<'a>(graph: &Graph, product: &Node, nodes: impl Iterator<Item = &'a Node> + Clone) -> Result<(), Unfit> {
    let shape = &graph.spec(product.first).shape;
    for node in nodes.clone().filter(|node| node.first != product.first && !is_scalar_constant(graph, node)) {
        let is_random = is_random_bits(node);
        if !is_random && !matches!(node.op.def.meaning, Meaning::Scalar(_)) {
            return Err("an op beside its product that is not element-wise");
        }
        if graph.spec(node.first).shape != *shape {
            return Err("an op of another shape than its product");
        }
        if is_random && nodes.clone().any(|other| node.operands().any(|key| key == other.first)) {
            return Err("random bits of a key that it computes itself");
        }
        if product.operands().any(|operand| operand == node.first) {
            return Err("a product of what it computes itself");
        }
    }
    Ok(())
}
