//! Values that each cluster that reads them computes again, in place of one that stores them: what a few simple
//! element-wise ops make of one stored value of the same shape, which is no wider, and of smaller ones. So a normalised
//! activation is not kept for its gradient, which has what was normalised, the mean and the deviation.

use super::{Clusters, is_elementwise, scalar_constant, users};
use crate::graph::{Graph, Node, Source, Value};
use crate::op::Meaning;
use crate::ops::phases::{Reduced, is_move};
use crate::ops::{MAX_WORK, work};
use crate::shape::Shape;
use std::collections::{BTreeSet, HashMap, HashSet};

/// The work for an element, in simple ops, that all readers of a value together may do in place of storing it.
const MOST_WORK: usize = 8;

/// For each value that is computed again, the nodes that do so, in topological order.
pub type Recomputed = HashMap<Value, Vec<usize>>;

/// Finds such values, which then escape from no cluster; what they are computed from does.
pub fn find(graph: &Graph, clusters: &mut Clusters) -> Recomputed {
    let mut search = Search::new(graph, clusters);
    for node in 0..graph.nodes().len() {
        search.look_at(node);
    }
    search.found
}

/// Nodes that make a value, and what they make it from.
struct Chain {
    nodes: BTreeSet<usize>,
    leaves: HashSet<Value>,
    work: usize,
}

/// A cluster of element-wise nodes and reductions.
struct Host {
    work: usize,
    /// The shape that its reductions go over, if it has some.
    full: Option<Shape>,
}

impl Host {
    fn of(graph: &Graph, members: &[usize]) -> Option<Host> {
        let mut host = Host { work: 0, full: None };
        for node in members.iter().map(|&index| &graph.nodes()[index]) {
            let reduced = Reduced::of(graph, node);
            if reduced.is_none() && !is_elementwise(node) && !is_move(node) {
                return None;
            }
            host.full = reduced.map(|reduced| reduced.full).or(host.full);
            host.work += work(graph, node);
        }
        Some(host)
    }
}

struct Search<'a> {
    graph: &'a Graph,
    clusters: &'a mut Clusters,
    /// The consumers of each node.
    users: Vec<Vec<usize>>,
    is_output: Vec<bool>,
    /// What each cluster is, if values may be computed again in it.
    hosts: Vec<Option<Host>>,
    found: Recomputed,
    /// Values that others are computed again from.
    leaves: HashSet<Value>,
}

impl<'a> Search<'a> {
    fn new(graph: &'a Graph, clusters: &'a mut Clusters) -> Search<'a> {
        let mut is_output = vec![false; graph.value_count()];
        graph.outputs().iter().for_each(|value| is_output[value.index()] = true);
        let hosts = clusters.members.iter().map(|members| Host::of(graph, members)).collect();
        Search { graph, clusters, users: users(graph), is_output, hosts, found: HashMap::new(), leaves: HashSet::new() }
    }

    /// Has the readers of what a node gives compute it again, if they can.
    fn look_at(&mut self, index: usize) {
        let (value, own) = (self.graph.nodes()[index].first, self.clusters.of_node[index]);
        if !is_simple(&self.graph.nodes()[index]) || !self.clusters.escapes[value.index()] {
            return;
        }
        if self.is_output[value.index()] || self.leaves.contains(&value) || self.hosts[own].is_none() {
            return;
        }
        let Some(chain) = self.chain(value, own) else { return };
        let elsewhere = self.users[index].iter().map(|&reader| self.clusters.of_node[reader]);
        let elsewhere: BTreeSet<_> = elsewhere.filter(|&cluster| cluster != own).collect();
        if chain.work * elsewhere.len() > MOST_WORK || !elsewhere.iter().all(|&c| self.fits(&chain, index, c)) {
            return;
        }
        for &cluster in &elsewhere {
            self.hosts[cluster].iter_mut().for_each(|host| host.work += chain.work);
        }
        self.clusters.escapes[value.index()] = false;
        for &leaf in &chain.leaves {
            self.clusters.escapes[leaf.index()] |= matches!(self.graph.source(leaf), Source::Node(_));
        }
        self.leaves.extend(chain.leaves);
        self.found.insert(value, chain.nodes.into_iter().collect());
    }

    /// The nodes of a cluster that make a value of at most one of its shape, which is stored and takes no more memory.
    fn chain(&self, value: Value, cluster: usize) -> Option<Chain> {
        let shape = &self.graph.spec(value).shape;
        let mut chain = Chain { nodes: BTreeSet::new(), leaves: HashSet::new(), work: 0 };
        let (mut left, mut large) = (vec![value], None);
        while let Some(next) = left.pop() {
            let producer = match self.graph.source(next) {
                Source::Node(producer) if self.clusters.of_node[producer as usize] == cluster => {
                    Some(producer as usize)
                }
                _ => None,
            };
            let is_large = self.graph.spec(next).shape == *shape;
            let is_stored = producer.is_none() || self.clusters.escapes[next.index()];
            let is_wider = self.graph.spec(next).dtype.size() > self.graph.spec(value).dtype.size();
            match producer.map(|producer| (producer, &self.graph.nodes()[producer])) {
                Some((index, node)) if is_large && is_simple(node) && (next == value || !is_stored) => {
                    if chain.nodes.insert(index) {
                        chain.work += work(self.graph, node);
                        left.extend(node.operands());
                    }
                }
                _ if scalar_constant(self.graph, next).is_some() => {}
                _ => {
                    if is_large && (!is_stored || is_wider || *large.get_or_insert(next) != next)
                        || self.found.contains_key(&next)
                    {
                        return None;
                    }
                    chain.leaves.insert(next);
                }
            }
            if chain.work > MOST_WORK || chain.nodes.len() > MOST_WORK {
                return None;
            }
        }
        Some(chain)
    }

    /// Whether the nodes of a chain, the last of which is `index`, can be part of a cluster that reads what it gives: as
    /// others over its shape, which read only what is made outside.
    fn fits(&self, chain: &Chain, index: usize, cluster: usize) -> bool {
        let graph = self.graph;
        let shape = &graph.spec(graph.nodes()[index].first).shape;
        let reads_all = |reader: &Node| match Reduced::of(graph, reader) {
            Some(reduced) => reduced.full == *shape,
            None => is_simple(reader) && graph.spec(reader.first).shape == *shape,
        };
        let mut readers = self.users[index].iter().filter(|&&reader| self.clusters.of_node[reader] == cluster);
        self.hosts[cluster].as_ref().is_some_and(|host| {
            host.work + chain.work <= MAX_WORK
                && host.full.as_ref().is_none_or(|full| full == shape)
                && readers.all(|&reader| reads_all(&graph.nodes()[reader]))
        })
    }
}

/// Whether a node is an element-wise op, not random bits.
fn is_simple(node: &Node) -> bool {
    matches!(node.op.def.meaning, Meaning::Scalar(_))
}
