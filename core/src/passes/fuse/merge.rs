//! Reductions with the element-wise nodes before and after them, and products with those behind them => units, which are
//! fused as a whole.
//!
//! Units begin as single nodes and are joined along edges, as long as one of the two has a reduction or a product, the
//! nodes are those of one cluster (see [`crate::ops::phases`] and [`crate::ops::epilogue`]) and no path leaves the joined
//! unit and comes back. For that the units stand in a topological order: only what stands between two units can lie on a
//! path from one to the other. When they are joined, what the first one leads to is moved behind them, and the rest
//! between stays before.

use super::{edges, is_elementwise, users};
use crate::error::Result;
use crate::graph::{Graph, Node, Source, Value};
use crate::meter::Meter;
use crate::ops::epilogue::{self, is_product, product};
use crate::ops::phases::{Level, Reduced, is_move, levels};
use crate::ops::{MAX_WORK, work};
use std::collections::{HashMap, HashSet};

/// Units that stand further apart are not joined, so that the pass takes time in proportion to the graph.
const REACH: usize = 1024;
/// How often all edges are looked at.
const ROUNDS: usize = 4;
/// No unit.
const GONE: usize = usize::MAX;

/// Nodes that become one step, in topological order.
pub struct Units {
    /// The unit of each node.
    pub of: Vec<usize>,
    /// The nodes of each unit in topological order.
    pub members: Vec<Vec<usize>>,
    /// The work of each node in a cluster.
    works: Vec<usize>,
}

impl Units {
    /// The work of a unit in a cluster.
    pub fn work(&self, unit: usize) -> usize {
        self.members[unit].iter().map(|&node| self.works[node]).sum()
    }
}

fn works(graph: &Graph) -> Vec<usize> {
    graph.nodes().iter().map(|node| work(graph, node)).collect()
}

/// Units of one node each.
pub fn single(graph: &Graph) -> Units {
    let nodes = 0..graph.nodes().len();
    Units { of: nodes.clone().collect(), members: nodes.map(|node| vec![node]).collect(), works: works(graph) }
}

/// The units of a graph.
///
/// # Errors
/// What the meter refuses.
pub fn units(graph: &Graph, meter: &Meter) -> Result<Units> {
    let works = works(graph);
    let mut merger = Merger::new(graph, &works);
    merger.gradients_of_scale_and_shift();
    for core in [Core::Reduction, Core::Product] {
        if merger.cores.contains(&Some(core)) {
            for _ in 0..ROUNDS {
                if !merger.round(core, meter)? {
                    break;
                }
            }
        }
    }
    merger.drop_moves();
    let mut units = Units { of: vec![0; graph.nodes().len()], members: Vec::new(), works };
    for &unit in merger.order.iter().filter(|unit| **unit != GONE) {
        let mut add = |members: Vec<usize>| {
            members.iter().for_each(|&node| units.of[node] = units.members.len());
            units.members.push(members);
        };
        add(std::mem::take(&mut merger.members[unit]));
        // What was dropped from the unit's end needs only the unit.
        std::mem::take(&mut merger.dropped[unit]).into_iter().for_each(|node| add(vec![node]));
    }
    Ok(units)
}

/// What a unit is made around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Core {
    Reduction,
    Product,
}

fn core(graph: &Graph, node: &Node) -> Option<Core> {
    match Reduced::of(graph, node) {
        Some(_) => Some(Core::Reduction),
        None => is_product(graph, node).then_some(Core::Product),
    }
}

struct Merger<'a> {
    graph: &'a Graph,
    /// The consumers of each node.
    users: Vec<Vec<usize>>,
    /// The unit of each node.
    of: Vec<usize>,
    /// The nodes of each unit, sorted; empty for those that were joined to another.
    members: Vec<Vec<usize>>,
    /// The work of each unit.
    works: Vec<usize>,
    /// Nodes that are units of their own, to stand behind this one.
    dropped: Vec<Vec<usize>>,
    /// What each unit is made around, if it is.
    cores: Vec<Option<Core>>,
    /// Whether the graph gives what a node gives.
    is_output: Vec<bool>,
    /// Where each unit stands.
    position: Vec<usize>,
    /// The units in topological order, with gaps.
    order: Vec<usize>,
}

impl<'a> Merger<'a> {
    fn new(graph: &'a Graph, works: &[usize]) -> Merger<'a> {
        let count = graph.nodes().len();
        let mut is_output = vec![false; count];
        for &value in graph.outputs() {
            if let Source::Node(producer) = graph.source(value) {
                is_output[producer as usize] = true;
            }
        }
        Merger {
            graph,
            users: users(graph),
            of: (0..count).collect(),
            members: (0..count).map(|node| vec![node]).collect(),
            works: works.to_vec(),
            dropped: vec![Vec::new(); count],
            cores: graph.nodes().iter().map(|node| core(graph, node)).collect(),
            is_output,
            position: (0..count).collect(),
            order: (0..count).collect(),
        }
    }

    /// Joins `sum(g)` and `sum(g * y)`, the gradients of a shift and of a scale, with the product between them: it would
    /// be part of what makes `y`, and be stored in its place.
    fn gradients_of_scale_and_shift(&mut self) {
        let graph = self.graph;
        let reduced = |node: usize| Reduced::of(graph, &graph.nodes()[node]);
        let mut readers: HashMap<Value, Vec<usize>> = HashMap::new();
        for (index, node) in graph.nodes().iter().enumerate().filter(|(index, _)| reduced(*index).is_some()) {
            readers.entry(node.inputs[0]).or_default().push(index);
        }
        for (product, node) in graph.nodes().iter().enumerate().filter(|(_, node)| is_elementwise(node)) {
            let &[reader] = &self.users[product][..] else { continue };
            let Some(own) = reduced(reader).filter(|_| !self.is_output[product]) else { continue };
            // Only the first few that read the same, so that the pass takes time in proportion to the graph.
            let mut beside =
                node.inputs.iter().filter_map(|value| readers.get(value)).flat_map(|all| all.iter().take(8)).copied();
            if let Some(other) = beside.find(|&other| reduced(other).as_ref() == Some(&own))
                && self.join(self.of[product], self.of[reader], false)
            {
                self.join(self.of[other], self.of[reader], true);
            }
        }
    }

    /// Looks at all edges of units around `core` in both directions, then at reductions that read the same; whether
    /// anything was joined.
    fn round(&mut self, core: Core, meter: &Meter) -> Result<bool> {
        let edges: Vec<_> = edges(self.graph).collect();
        let mut joined = false;
        for &(consumer, producer) in edges.iter().chain(edges.iter().rev()) {
            let (first, second) = (self.of[producer], self.of[consumer]);
            let is_at = self.cores[first] == Some(core) || self.cores[second] == Some(core);
            joined |= is_at && self.join(first, second, false);
        }
        meter.check()?;
        if core == Core::Product {
            return Ok(joined);
        }
        for producer in 0..self.users.len() {
            for pair in 1..self.users[producer].len() {
                let (a, b) = (self.of[self.users[producer][pair - 1]], self.of[self.users[producer][pair]]);
                joined |= [a, b].iter().all(|&unit| self.cores[unit] == Some(core)) && self.join(a, b, true);
            }
        }
        Ok(joined)
    }

    /// Joins two units if they can be one; `apart` if there need not be an edge between them.
    fn join(&mut self, a: usize, b: usize, apart: bool) -> bool {
        if a == b || self.works[a] + self.works[b] > MAX_WORK {
            return false;
        }
        let (first, second) = if self.position[a] < self.position[b] { (a, b) } else { (b, a) };
        self.fit(first, second, apart) && self.make_adjacent(first, second)
    }

    /// Whether the nodes are those of one cluster, and it is of use to join them.
    fn fit(&self, first: usize, second: usize, apart: bool) -> bool {
        let graph = self.graph;
        let mut nodes: Vec<_> = self.members[first].iter().chain(&self.members[second]).copied().collect();
        nodes.sort_unstable();
        if [first, second].iter().any(|&unit| self.cores[unit] == Some(Core::Product)) {
            return self.follow(&nodes);
        }
        let fits = |&node: &usize| {
            let node = &graph.nodes()[node];
            is_elementwise(node) || is_move(node) || Reduced::of(graph, node).is_some()
        };
        if !nodes.iter().all(fits) {
            return false;
        }
        match levels(graph, nodes.iter().map(|&node| &graph.nodes()[node])) {
            // What is computed for each row before a reduction saves no pass over memory, but a step if nothing else
            // reads it.
            Ok(Some((_, levels))) => {
                let before = &graph.nodes()[self.members[first][0]];
                let is_inside = |node: &usize| nodes.binary_search(node).is_ok();
                let stays = |&node: &usize| !self.is_output[node] && self.users[node].iter().all(is_inside);
                apart
                    || self.cores[first].is_some()
                    || levels.get(&before.first) == Some(&Level::Full)
                    || self.members[first].iter().all(stays)
            }
            _ => false,
        }
    }

    /// Whether nodes, sorted, are one product and what follows it, and there is memory for its result: that of a result of the
    /// unit.
    fn follow(&self, nodes: &[usize]) -> bool {
        let graph = self.graph;
        let inside = || nodes.iter().map(|&node| &graph.nodes()[node]);
        if !inside().all(|node| is_elementwise(node) || is_product(graph, node)) {
            return false;
        }
        let Some(product) = product(graph, inside()) else { return false };
        let dtype = graph.spec(product.first).dtype;
        let is_inside = |node: &usize| nodes.binary_search(node).is_ok();
        let escapes = |node: usize| self.is_output[node] || !self.users[node].iter().all(is_inside);
        let has_memory = |&node: &usize| graph.spec(graph.nodes()[node].first).dtype == dtype && escapes(node);
        nodes.iter().any(has_memory) && epilogue::check(graph, product, inside()).is_ok()
    }

    /// Joins `second` to `first` unless a path through others leads from one to the other.
    fn make_adjacent(&mut self, first: usize, second: usize) -> bool {
        let (low, high) = (self.position[first], self.position[second]);
        if high - low > REACH {
            return false;
        }
        let mut after = HashSet::new();
        let mut left = vec![first];
        while let Some(unit) = left.pop() {
            for &node in &self.members[unit] {
                for &user in &self.users[node] {
                    let next = self.of[user];
                    if next == second && unit != first {
                        return false;
                    }
                    if next != first && self.position[next] < high && after.insert(next) {
                        left.push(next);
                    }
                }
            }
        }
        let between: Vec<_> = self.order[low + 1..high].iter().copied().filter(|unit| *unit != GONE).collect();
        let (after, before): (Vec<_>, Vec<_>) = between.into_iter().partition(|unit| after.contains(unit));
        self.order[low..=high].fill(GONE);
        for (offset, unit) in before.into_iter().chain([first]).chain(after).enumerate() {
            self.order[low + offset] = unit;
            self.position[unit] = low + offset;
        }
        let moved = std::mem::take(&mut self.members[second]);
        moved.iter().for_each(|&node| self.of[node] = first);
        self.members[first].extend(moved);
        self.members[first].sort_unstable();
        self.works[first] += std::mem::take(&mut self.works[second]);
        self.cores[first] = self.cores[first].or(self.cores[second]);
        true
    }

    /// Takes those nodes out of their units that only move what no node of the unit reads: outside they cost nothing.
    fn drop_moves(&mut self) {
        for unit in 0..self.members.len() {
            if self.members[unit].len() < 2 {
                continue;
            }
            let mut dropped = Vec::new();
            for &node in self.members[unit].iter().rev() {
                let is_read = self.users[node].iter().any(|&user| self.of[user] == unit && !dropped.contains(&user));
                if is_move(&self.graph.nodes()[node]) && !is_read {
                    dropped.push(node);
                }
            }
            self.members[unit].retain(|node| !dropped.contains(node));
            dropped.reverse();
            self.dropped[unit] = dropped;
        }
    }
}
