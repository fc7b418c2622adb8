//! Element-wise nodes of one shape that feed each other, reductions with what is before and after them, and products with
//! what follows them => one `fused` node, whose region holds them. Random bits count as element-wise; their key is never
//! made in their cluster.
//!
//! Reductions come first, then products: see [`merge`] for the units that they make. Every other node is a unit of its
//! own.
//!
//! Then every unit gets a stage such that along each edge the stage grows, except between two element-wise nodes of the
//! same shape, where it may stay the same. Clusters are the connected parts of one stage, so no path leaves a cluster
//! and comes back. Element-wise nodes are then moved to the last stage that their users allow, which brings a producer
//! to its consumer (an optimiser's update to where the gradient is known).
//!
//! Last, what is cheap to compute from values that are stored is computed again in the clusters that read it, and not
//! stored itself: see [`recompute`].

mod ends;
mod merge;
mod recompute;

use crate::attrs::AttrValue;
use crate::error::Result;
use crate::graph::{Graph, Node, Rewrite, Source, Value, op};
use crate::meter::Meter;
use crate::op::{Meaning, Op};
use crate::ops::phases::Reduced;
use crate::ops::{MAX_WORK, is_random_bits};
use crate::tensor::Tensor;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

pub use ends::ends;
use merge::Units;
use recompute::Recomputed;

pub fn run(graph: &Graph, meter: &Meter) -> Result<Graph> {
    fuse(graph, merge::units(graph, meter)?, recompute::find, meter)
}

/// As [`run`], but neither reductions nor products become part of a cluster.
pub fn elementwise_alone(graph: &Graph, meter: &Meter) -> Result<Graph> {
    fuse(graph, merge::single(graph), |_, _| Recomputed::new(), meter)
}

fn fuse(
    graph: &Graph,
    units: Units,
    recompute: fn(&Graph, &mut Clusters) -> Recomputed,
    meter: &Meter,
) -> Result<Graph> {
    let edges = unit_edges(graph, &units);
    let stage = stages(graph, &units, &edges);
    let mut clusters = Clusters::find(graph, &units, &edges, &stage);
    let recomputed = recompute(graph, &mut clusters);
    let mut order: Vec<_> = (0..units.members.len()).collect();
    order.sort_by_key(|&unit| (stage[unit], unit));
    let mut rewrite = Rewrite::new(graph, meter)?;
    for unit in order {
        let members = &clusters.members[clusters.of[unit]];
        if members.last() == units.members[unit].last() {
            clusters.write(&mut rewrite, members, &recomputed, meter)?;
        }
    }
    rewrite.finish()
}

fn is_elementwise(node: &Node) -> bool {
    matches!(node.op.def.meaning, Meaning::Scalar(_)) || is_random_bits(node)
}

struct Clusters {
    /// The cluster of each unit.
    of: Vec<usize>,
    /// The cluster of each node.
    of_node: Vec<usize>,
    /// The nodes of each cluster in topological order.
    members: Vec<Vec<usize>>,
    /// For each value, whether another cluster or the graph's outputs use it.
    escapes: Vec<bool>,
}

impl Clusters {
    fn find(graph: &Graph, units: &Units, edges: &[(usize, usize)], stage: &[usize]) -> Clusters {
        let count = units.members.len();
        let mut root: Vec<_> = (0..count).collect();
        for &(consumer, producer) in edges {
            if stage[consumer] == stage[producer] && together(graph, units, consumer, producer) {
                let (a, b) = (top(&mut root, consumer), top(&mut root, producer));
                root[b] = a;
            }
        }
        // A part that is too large is cut in topological order, so that its pieces feed each other one way only.
        let mut open: BTreeMap<usize, usize> = BTreeMap::new();
        let (mut of, mut members, mut works) = (vec![0; count], Vec::<Vec<usize>>::new(), Vec::new());
        for (unit, own) in of.iter_mut().enumerate() {
            let part = top(&mut root, unit);
            let more = units.work(unit);
            let cluster = match open.get(&part) {
                Some(&cluster) if works[cluster] + more <= MAX_WORK => cluster,
                _ => {
                    members.push(Vec::new());
                    works.push(0);
                    members.len() - 1
                }
            };
            open.insert(part, cluster);
            works[cluster] += more;
            members[cluster].extend(&units.members[unit]);
            *own = cluster;
        }
        let mut escapes = vec![false; graph.value_count()];
        for (index, node) in graph.nodes().iter().enumerate() {
            for value in node.operands() {
                if let Source::Node(producer) = graph.source(value) {
                    escapes[value.index()] |= of[units.of[producer as usize]] != of[units.of[index]];
                }
            }
        }
        graph.outputs().iter().for_each(|value| escapes[value.index()] = true);
        let of_node = units.of.iter().map(|&unit| of[unit]).collect();
        Clusters { of, of_node, members, escapes }
    }

    /// What a cluster computes for these outputs, in topological order: what it computes again, then of its members those
    /// that are needed; others were for what another cluster computes again.
    fn nodes(&self, graph: &Graph, members: &[usize], recomputed: &Recomputed, outputs: &[Value]) -> Vec<usize> {
        let read = members.iter().flat_map(|&index| graph.nodes()[index].operands());
        let again: BTreeSet<_> = read.filter_map(|value| recomputed.get(&value)).flatten().copied().collect();
        let again = again.into_iter().filter(|node| self.of_node[*node] != self.of_node[members[0]]);
        let mut nodes: Vec<_> = again.chain(members.iter().copied()).collect();
        let mut needed: HashSet<_> = outputs.iter().copied().collect();
        nodes.reverse();
        nodes.retain(|&index| {
            let node = &graph.nodes()[index];
            let is_needed = node.outputs().any(|value| needed.contains(&value));
            needed.extend(node.operands().filter(|_| is_needed));
            is_needed
        });
        nodes.reverse();
        nodes
    }

    /// Puts the nodes of a cluster into a region, and applies `fused` with it; copies a node that is alone.
    fn write(&self, rewrite: &mut Rewrite, members: &[usize], recomputed: &Recomputed, meter: &Meter) -> Result<()> {
        let graph = rewrite.source;
        let outputs = members.iter().flat_map(|&index| graph.nodes()[index].outputs());
        let outputs: Vec<_> = outputs.filter(|value| self.escapes[value.index()]).collect();
        let nodes = self.nodes(graph, members, recomputed, &outputs);
        match nodes[..] {
            [] => return Ok(()),
            [node] => return rewrite.copy(&graph.nodes()[node]).map(drop),
            _ => {}
        }
        let mut region = Graph::metered(meter)?;
        let mut copies: HashMap<Value, Value> = HashMap::new();
        let mut operands = Vec::new();
        for &index in &nodes {
            let node = &graph.nodes()[index];
            for operand in node.operands() {
                // Nodes come in topological order: what has no copy yet is made outside.
                if copies.contains_key(&operand) {
                    continue;
                }
                let copy = match scalar_constant(graph, operand) {
                    Some(constant) => region.constant(constant)?,
                    None => {
                        operands.push(rewrite.get(operand));
                        region.input(&format!("value_{}", operands.len() - 1), graph.spec(operand).clone())?
                    }
                };
                copies.insert(operand, copy);
            }
            let inputs = node.inputs.iter().map(|value| copies.get(value).copied().unwrap_or(Value::ABSENT)).collect();
            let specs = node.outputs().map(|value| graph.spec(value).clone()).collect();
            let made = region.push(Node { inputs, ..node.clone() }, specs)?;
            copies.extend(node.outputs().zip(made));
        }
        region.set_outputs(outputs.iter().map(|value| copies[value]).collect())?;
        region.settle()?;
        rewrite.target.set_location(graph.nodes()[members[0]].location.clone());
        let fused = rewrite.target.apply(&fused_op(graph, &nodes)?, vec![Arc::new(region)], &operands)?;
        let fused = planted!("passes/fuse: results in reverse", fused, fused.into_iter().rev().collect::<Vec<_>>());
        outputs.iter().zip(fused).for_each(|(&value, copy)| rewrite.set(value, copy));
        Ok(())
    }
}

/// The root of a node's part; shortens the way there.
fn top(root: &mut [usize], mut index: usize) -> usize {
    while root[index] != index {
        root[index] = root[root[index]];
        index = root[index];
    }
    index
}

/// The tensor of a scalar constant, which becomes part of each cluster that uses it.
fn scalar_constant(graph: &Graph, value: Value) -> Option<Tensor> {
    let node = graph.producer(value).filter(|node| node.op.def.name == "constant")?;
    node.op.attrs.optional_tensor("value").filter(|tensor| tensor.sizes().is_empty())
}

/// The edges between nodes: (consumer, producer).
fn edges(graph: &Graph) -> impl Iterator<Item = (usize, usize)> {
    graph.nodes().iter().enumerate().flat_map(move |(index, node)| {
        let producer = move |value: Value| match graph.source(value) {
            Source::Node(producer) => Some((index, producer as usize)),
            Source::Input(_) => None,
        };
        node.operands().filter_map(producer)
    })
}

/// The consumers of each node.
fn users(graph: &Graph) -> Vec<Vec<usize>> {
    let mut users = vec![Vec::new(); graph.nodes().len()];
    for (consumer, producer) in edges(graph) {
        if users[producer].last() != Some(&consumer) {
            users[producer].push(consumer);
        }
    }
    users
}

/// The op of a cluster of these nodes.
fn fused_op(graph: &Graph, members: &[usize]) -> Result<Op> {
    let reduced = members.iter().find_map(|&index| Reduced::of(graph, &graph.nodes()[index]));
    let Some(reduced) = reduced else { return op("fused", &[]) };
    let axes = reduced.axes.iter().map(|&axis| axis as i64).collect();
    let shape = AttrValue::Dims(reduced.full.into_dims());
    op("fused", &[("shape", shape), ("axis", AttrValue::Ints(axes))])
}

/// The edges between units, sorted by consumer: (consumer, producer).
fn unit_edges(graph: &Graph, units: &Units) -> Vec<(usize, usize)> {
    let between = edges(graph).map(|(consumer, producer)| (units.of[consumer], units.of[producer]));
    let mut edges: Vec<_> = between.filter(|(consumer, producer)| consumer != producer).collect();
    edges.sort_by_key(|&(consumer, _)| consumer);
    edges
}

/// The node of a unit that is one element-wise node.
fn elementwise<'a>(graph: &'a Graph, units: &Units, unit: usize) -> Option<&'a Node> {
    match units.members[unit][..] {
        [node] => Some(&graph.nodes()[node]).filter(|node| is_elementwise(node)),
        _ => None,
    }
}

/// Whether two units may be in one cluster: both element-wise nodes, of one shape. What random bits read is their key.
fn together(graph: &Graph, units: &Units, consumer: usize, producer: usize) -> bool {
    match (elementwise(graph, units, consumer), elementwise(graph, units, producer)) {
        (Some(a), Some(b)) => !is_random_bits(a) && graph.spec(a.first).shape == graph.spec(b.first).shape,
        _ => false,
    }
}

fn stages(graph: &Graph, units: &Units, edges: &[(usize, usize)]) -> Vec<usize> {
    let count = units.members.len();
    let step = |consumer: usize, producer: usize| usize::from(!together(graph, units, consumer, producer));
    let mut stage = vec![0usize; count];
    for &(consumer, producer) in edges {
        stage[consumer] = stage[consumer].max(stage[producer] + step(consumer, producer));
    }
    let mut latest = vec![usize::MAX; count];
    for &(consumer, producer) in edges.iter().rev() {
        // Edges are sorted by consumer, so the consumer's own stage is final when it is seen from behind.
        if latest[consumer] != usize::MAX && elementwise(graph, units, consumer).is_some() {
            stage[consumer] = stage[consumer].max(latest[consumer]);
        }
        latest[producer] = latest[producer].min(stage[consumer] - step(consumer, producer));
    }
    for unit in 0..count {
        if latest[unit] != usize::MAX && elementwise(graph, units, unit).is_some() {
            stage[unit] = stage[unit].max(latest[unit]);
        }
    }
    stage
}
