//! Why clusters end where they do, of a graph that went through the pass.

use super::is_elementwise;
use crate::graph::{Graph, Node, Source};
use crate::op::Meaning;
use crate::ops::epilogue::{is_product, product};
use crate::ops::phases::{Reduced, is_move};
use crate::ops::{MAX_WORK, is_fold, work};
use crate::shape::Shape;

/// For each node that is a cluster or could be in one: the first node that reads what it gives from outside, and why
/// that is not in the cluster. `None` for other nodes, and where only moves and the graph's outputs read it.
pub fn ends(graph: &Graph) -> Vec<Option<String>> {
    let mut users: Vec<Option<&Node>> = vec![None; graph.nodes().len()];
    for user in graph.nodes().iter().filter(|node| !is_move(node)) {
        for value in user.operands() {
            if let Source::Node(producer) = graph.source(value) {
                users[producer as usize].get_or_insert(user);
            }
        }
    }
    let end = |(node, user): (&Node, Option<&Node>)| {
        let (own, user) = (Content::of(graph, node)?, user?);
        Some(format!("ends at {}: {}", user.first, reason(graph, &own, user)))
    };
    graph.nodes().iter().zip(users).map(end).collect()
}

/// What a node contributes to a cluster.
struct Content {
    /// The shape that most of it has: that of the element-wise nodes, or the full shape.
    shape: Shape,
    reduced: Option<Reduced>,
    /// The name of its product, if it has one.
    product: Option<&'static str>,
    work: usize,
}

impl Content {
    fn of(graph: &Graph, node: &Node) -> Option<Content> {
        if matches!(node.op.def.meaning, Meaning::Cluster) {
            let region = &node.regions[0];
            let nodes = region.nodes();
            let reduced = nodes.iter().find_map(|node| Reduced::of(region, node));
            let shape = match &reduced {
                Some(reduced) => reduced.full.clone(),
                None => graph.spec(node.first).shape.clone(),
            };
            let work = nodes.iter().map(|node| work(region, node)).sum();
            let product = product(region, region.nodes().iter()).map(|product| product.op.def.name);
            return Some(Content { shape, reduced, product, work });
        }
        let reduced = Reduced::of(graph, node);
        let shape = match &reduced {
            Some(reduced) => reduced.full.clone(),
            None if is_elementwise(node) || is_product(graph, node) => graph.spec(node.first).shape.clone(),
            None => return None,
        };
        let product = is_product(graph, node).then_some(node.op.def.name);
        Some(Content { shape, reduced, product, work: work(graph, node) })
    }

    /// Whether a value of that shape can be computed in a cluster of this content.
    fn has(&self, shape: &Shape) -> bool {
        let rows = self.reduced.as_ref().is_some_and(|reduced| reduced.kept == *shape || reduced.dropped == *shape);
        self.shape == *shape || rows
    }
}

fn reason(graph: &Graph, own: &Content, user: &Node) -> String {
    let Some(other) = Content::of(graph, user) else {
        return match is_fold(&user.op) {
            true => "a reduction over axes in between".into(),
            false => format!("{} is not fused", user.op.def.name),
        };
    };
    let [first, second] = [&own.reduced, &other.reduced];
    if let Some(name) = other.product {
        return format!("{name} begins its cluster");
    }
    match (first, second) {
        (_, Some(_)) if own.product.is_some() => "no reduction follows a product in its cluster".into(),
        (Some(a), Some(b)) if a != b => "a reduction over other axes or of another shape".into(),
        (None, Some(_)) if !other.has(&own.shape) => "another shape".into(),
        (_, None) if !own.has(&other.shape) => "another shape".into(),
        _ if own.work + other.work > MAX_WORK => format!("more work than {MAX_WORK} simple ops"),
        _ => "between them are other steps, or nothing is gained".into(),
    }
}
