//! What the region of a cluster with reductions computes, phase by phase; both back ends run it so.
//!
//! Such a cluster has one full shape and one set of axes. Its nodes are element-wise ops of the full shape, random bits of
//! it whose key is made outside, reductions of values of the full shape over all of these axes, element-wise ops of the shape that these give (with the reduced axes
//! 1, or without them), and the moves between these three shapes. So every value of its own is either over the full
//! shape or has one element for each *row*: for each place of the axes that are not reduced.
//!
//! A phase goes through the full shape once: it computes element-wise values and folds some of them; then it computes
//! what follows for each row. A value over the full shape needs none of the reductions of its own phase and later ones,
//! so that it can be computed in its phase and, over again, in any later one.

use super::random::is_random_bits;
use super::reduce::{folded_axes, is_fold, with_ones};
use crate::cpu::call::List;
use crate::graph::{Graph, Node, Value};
use crate::op::Meaning;
use crate::shape::{Dim, Shape};
use std::collections::HashMap;

/// What a value of a cluster's own has an element for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Each place of the full shape.
    Full,
    /// Each row.
    Row,
}

/// In which shape an op of a cluster reads its operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// The full shape.
    Full,
    /// The full shape with the reduced axes 1.
    Kept,
    /// The full shape without the reduced axes.
    Dropped,
}

/// The level of each value that the nodes of a cluster make.
pub type Levels = HashMap<Value, Level>;

/// What the reductions of a cluster have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reduced {
    /// The full shape.
    pub full: Shape,
    /// The axes that are reduced, sorted: the first ones, or the last ones.
    pub axes: List<usize>,
    /// The full shape with these axes 1.
    pub kept: Shape,
    /// The full shape without these axes.
    pub dropped: Shape,
}

/// Why nodes make no cluster.
pub type Unfit = &'static str;

const OTHER_REDUCTION: Unfit = "a reduction of another shape or over other axes";
const OTHER_SHAPE: Unfit = "another shape";
const NOT_FUSED: Unfit = "an op with a kernel of its own";

impl Reduced {
    /// That of a reduction, if a cluster can have it.
    pub fn of(graph: &Graph, node: &Node) -> Option<Reduced> {
        let &[x] = &node.inputs[..] else { return None };
        let full = &graph.spec(x).shape;
        Reduced::over(full, folded_axes(&node.op, full.rank())?)
    }

    /// That of sorted axes of a shape.
    pub fn over(full: &Shape, axes: List<usize>) -> Option<Reduced> {
        let (rank, count) = (full.rank(), axes.len());
        let first = axes.iter().copied().eq(0..count);
        let last = axes.iter().copied().eq(rank.checked_sub(count)?..rank);
        let kept = with_ones(full, &axes);
        let dropped: Shape = (0..rank).filter(|axis| !axes.contains(axis)).map(|axis| full[axis].clone()).collect();
        let fits = (first || last) && kept != *full;
        fits.then(|| Reduced { full: full.clone(), axes, kept, dropped })
    }

    /// Whether the axes are the first ones and not all of them.
    pub fn leads(&self) -> bool {
        self.axes[0] == 0 && self.axes.len() < self.full.rank()
    }

    /// Which shape of a cluster this is.
    pub fn form(&self, shape: &[Dim]) -> Form {
        match shape {
            shape if *shape == self.full[..] => Form::Full,
            shape if *shape == self.kept[..] => Form::Kept,
            _ => Form::Dropped,
        }
    }

    fn is_row(&self, shape: &[Dim]) -> bool {
        *shape == self.kept[..] || *shape == self.dropped[..]
    }

    /// Whether a value with an element for each row broadcasts to the full shape so that each row gets its own.
    fn spreads(&self, shape: &[Dim]) -> bool {
        *shape == self.kept[..] || *shape == self.dropped[..] && self.axes.iter().copied().eq(0..self.axes.len())
    }
}

/// What the reductions among the nodes have in common, and the level of each value that the nodes make; `None` if
/// there is no reduction. Nodes come in topological order; scalar constants are passed over.
///
/// # Errors
/// Why the nodes are not those of one cluster with reductions.
pub fn levels<'a>(
    graph: &Graph,
    nodes: impl Iterator<Item = &'a Node> + Clone,
) -> Result<Option<(Reduced, Levels)>, Unfit> {
    let Some(first) = nodes.clone().find(|node| is_fold(&node.op)) else { return Ok(None) };
    let reduced = Reduced::of(graph, first).ok_or("a reduction over axes in between")?;
    let mut levels = Levels::new();
    for node in nodes.filter(|node| !is_scalar_constant(graph, node)) {
        let level = level(graph, node, &reduced, &levels)?;
        levels.insert(node.first, level);
    }
    Ok(Some((reduced, levels)))
}

/// Whether a node is a constant that becomes part of the clusters that use it.
pub fn is_scalar_constant(graph: &Graph, node: &Node) -> bool {
    node.op.def.name == "constant" && graph.spec(node.first).shape.rank() == 0
}

fn level(graph: &Graph, node: &Node, reduced: &Reduced, levels: &Levels) -> Result<Level, Unfit> {
    let shape = &graph.spec(node.first).shape;
    let of = |value: &Value| (levels.get(value).copied(), &graph.spec(*value).shape);
    if matches!(node.op.def.meaning, Meaning::Scalar(_)) {
        let is_full = *shape == reduced.full;
        if !is_full && !reduced.is_row(shape) {
            return Err(OTHER_SHAPE);
        }
        let fits = |(level, own): (Option<Level>, &Shape)| match level {
            None => true,
            Some(Level::Full) => is_full,
            Some(Level::Row) if is_full => reduced.spreads(own),
            Some(Level::Row) => own == shape,
        };
        let level = if is_full { Level::Full } else { Level::Row };
        return if node.inputs.iter().map(of).all(fits) { Ok(level) } else { Err(OTHER_SHAPE) };
    }
    if is_fold(&node.op) {
        let is_own = Reduced::of(graph, node).as_ref() == Some(reduced);
        let fits = is_own && node.inputs.iter().map(of).all(|(level, _)| level != Some(Level::Row));
        return if fits { Ok(Level::Row) } else { Err(OTHER_REDUCTION) };
    }
    if is_random_bits(node) {
        let fits = *shape == reduced.full && !levels.contains_key(&node.inputs[0]);
        return if fits { Ok(Level::Full) } else { Err(NOT_FUSED) };
    }
    let moved = node.inputs.first().map(of);
    match (node.op.def.name, moved) {
        ("reshape", Some((Some(Level::Row), _))) if reduced.is_row(shape) => Ok(Level::Row),
        ("broadcast_to", Some((Some(Level::Row), own))) if *shape == reduced.full && reduced.spreads(own) => {
            Ok(Level::Full)
        }
        _ => Err(NOT_FUSED),
    }
}

/// Whether a node only moves what it reads: to stand in a cluster it needs one that reads it.
pub fn is_move(node: &Node) -> bool {
    matches!(node.op.def.name, "reshape" | "broadcast_to")
}

/// A pass over the full shape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Phase {
    /// The nodes over the full shape that can be computed from this phase on.
    pub full: Vec<usize>,
    /// The reductions at its end.
    pub folds: Vec<usize>,
    /// The nodes with an element for each row that follow them.
    pub rows: Vec<usize>,
}

/// The phases of a region; nodes by their index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phases {
    /// What its reductions have in common.
    pub reduced: Reduced,
    /// The nodes with an element for each row that need no reduction.
    pub before: Vec<usize>,
    /// The passes in order; no reduction ends the last one if something over the full shape is left to compute.
    pub list: Vec<Phase>,
    /// For each value that a node makes, constants apart, its level and phase: the first in which it can be computed, or
    /// at whose end; of what is in `before` it is `None`.
    pub places: HashMap<Value, (Level, Option<usize>)>,
}

impl Phases {
    /// The phases of a region; `None` if it has no reductions.
    ///
    /// # Errors
    /// As [`levels`].
    pub fn new(region: &Graph) -> Result<Option<Phases>, Unfit> {
        let Some((reduced, levels)) = levels(region, region.nodes().iter())? else { return Ok(None) };
        let mut phases = Phases { reduced, before: Vec::new(), list: Vec::new(), places: HashMap::new() };
        for (index, node) in region.nodes().iter().enumerate() {
            let Some(&level) = levels.get(&node.first) else { continue };
            let folds = is_fold(&node.op);
            let needs = |value: &Value| match phases.places.get(value) {
                Some((Level::Full, phase)) => *phase,
                // What follows a reduction is there in the next phase.
                Some((Level::Row, Some(phase))) if level == Level::Full => Some(phase + 1),
                Some((Level::Row, phase)) => *phase,
                None => None,
            };
            let phase = node.inputs.iter().filter_map(needs).max();
            let phase = if level == Level::Full || folds { Some(phase.unwrap_or(0)) } else { phase };
            phases.places.insert(node.first, (level, phase));
            let Some(phase) = phase else {
                phases.before.push(index);
                continue;
            };
            if phases.list.len() <= phase {
                phases.list.resize(phase + 1, Phase::default());
            }
            let entry = &mut phases.list[phase];
            match level {
                Level::Full => entry.full.push(index),
                Level::Row if folds => entry.folds.push(index),
                Level::Row => entry.rows.push(index),
            }
        }
        Ok(Some(phases))
    }
}
