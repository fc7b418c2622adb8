//! Copying a graph while changing it: what passes, extraction and inlining share.

use super::{Graph, Input, Node, Value};
use crate::error::{Error, Result};
use crate::meter::Meter;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A graph being copied node by node into another.
pub struct Rewrite<'a> {
    /// The graph that is read.
    pub source: &'a Graph,
    /// The graph that is written.
    pub target: Graph,
    map: Vec<Value>,
}

impl<'a> Rewrite<'a> {
    /// Starts a copy that is charged to a meter: the inputs are copied, no node is.
    ///
    /// # Errors
    /// What the meter refuses.
    pub fn new(source: &'a Graph, meter: &Meter) -> Result<Rewrite<'a>> {
        let mut rewrite = Rewrite::onto(source, Graph::metered(meter)?);
        for Input { name, value } in &source.inputs {
            let copy = rewrite.target.input(name, source.spec(*value).clone())?;
            rewrite.set(*value, copy);
        }
        Ok(rewrite)
    }

    /// Starts a copy into an empty graph; the caller sets what the source's inputs become.
    pub fn empty(source: &'a Graph) -> Rewrite<'a> {
        Rewrite { source, target: Graph::new(), map: vec![Value::ABSENT; source.value_count()] }
    }

    /// Continues a copy into a graph that has nodes already.
    pub fn onto(source: &'a Graph, target: Graph) -> Rewrite<'a> {
        Rewrite { source, target, map: vec![Value::ABSENT; source.value_count()] }
    }

    /// What a value of the source became; [`Value::ABSENT`] if it has not been copied.
    pub fn get(&self, value: Value) -> Value {
        self.map.get(value.index()).copied().unwrap_or(Value::ABSENT)
    }

    /// Says what a value of the source became.
    pub fn set(&mut self, value: Value, copy: Value) {
        self.map[value.index()] = copy;
    }

    /// The operands of a node, as they are in the target.
    pub fn operands(&self, node: &Node) -> Vec<Value> {
        node.inputs.iter().map(|&value| self.get(value)).collect()
    }

    /// Copies a node as it is, with the specs it has.
    pub fn copy(&mut self, node: &Node) -> Result<Vec<Value>> {
        let specs = node.outputs().map(|value| self.source.spec(value).clone()).collect();
        let copy = Node { inputs: self.operands(node), ..node.clone() };
        let outputs = self.target.push(copy, specs)?;
        self.replace(node, &outputs);
        Ok(outputs)
    }

    /// Copies a node with other regions, specs as they are.
    pub fn copy_with(&mut self, node: &Node, regions: Vec<Arc<Graph>>) -> Result<Vec<Value>> {
        self.copy(&Node { regions, ..node.clone() })
    }

    /// Applies a node anew on its operands in the target: specs are inferred again.
    pub fn reapply(&mut self, node: &Node) -> Result<Vec<Value>> {
        self.target.set_location(node.location.clone());
        let outputs = self.target.apply(&node.op, node.regions.clone(), &self.operands(node))?;
        self.replace(node, &outputs);
        Ok(outputs)
    }

    /// Says that a node's outputs became these.
    pub fn replace(&mut self, node: &Node, outputs: &[Value]) {
        for (value, &copy) in node.outputs().zip(outputs) {
            self.set(value, copy);
        }
    }

    /// Ends the copy: the outputs are those of the source; so are the requirements, before those of new nodes.
    pub fn finish(mut self) -> Result<Graph> {
        let outputs = self.source.outputs.iter().map(|&value| self.get(value)).collect();
        let made = std::mem::take(&mut self.target.requirements);
        self.target.set_requirements(self.source.requirements.clone());
        made.into_iter().for_each(|requirement| self.target.require(requirement));
        self.target.set_outputs(outputs)?;
        self.target.settle()?;
        Ok(self.target)
    }
}

impl Graph {
    /// For each value, whether `outputs` need it, seeing `given` values as known.
    pub fn needed(&self, outputs: &[Value], given: &[Value]) -> Vec<bool> {
        let mut needed = vec![false; self.value_count()];
        let mut known = vec![false; self.value_count()];
        given.iter().for_each(|value| known[value.index()] = true);
        outputs.iter().for_each(|value| needed[value.index()] = true);
        for node in self.nodes.iter().rev() {
            if node.outputs().any(|value| needed[value.index()] && !known[value.index()]) {
                node.operands().for_each(|value| needed[value.index()] = true);
            }
        }
        needed
    }

    /// The part of the graph that computes `outputs`, with `inputs` (any values, named) as its inputs.
    ///
    /// # Errors
    /// `argument`: an output needs an input of this graph that is not among `inputs`.
    pub fn extract(&self, inputs: &[(&str, Value)], outputs: &[Value]) -> Result<Graph> {
        let given: Vec<_> = inputs.iter().map(|(_, value)| *value).collect();
        let needed = self.needed(outputs, &given);
        let mut rewrite = Rewrite::empty(self);
        for &(name, value) in inputs {
            let copy = rewrite.target.input(name, self.spec(value).clone())?;
            rewrite.set(value, copy);
        }
        let known: HashSet<_> = given.iter().collect();
        if let Some(missing) =
            self.inputs.iter().find(|input| needed[input.value.index()] && !known.contains(&input.value))
        {
            return Err(Error::argument(format!("the outputs need the input {:?}", &*missing.name)));
        }
        for node in &self.nodes {
            let wanted = |value: Value| needed[value.index()] && rewrite.get(value) == Value::ABSENT;
            if node.outputs().any(wanted) {
                let before: Vec<_> = node.outputs().map(|value| rewrite.get(value)).collect();
                rewrite.copy(node)?;
                let kept = node.outputs().zip(before).filter(|(_, copy)| *copy != Value::ABSENT);
                kept.for_each(|(value, copy)| rewrite.set(value, copy));
            }
        }
        let outputs = outputs.iter().map(|&value| rewrite.get(value)).collect();
        let mut graph = rewrite.target;
        graph.set_requirements(self.requirements.clone());
        graph.set_outputs(outputs)?;
        Ok(graph)
    }

    /// Copies another graph's nodes into this one, on `arguments` in place of its inputs; gives its outputs.
    ///
    /// # Errors
    /// `argument`: another number of arguments; else what an op refuses.
    pub fn inline(&mut self, other: &Graph, arguments: &[Value]) -> Result<Vec<Value>> {
        if arguments.len() != other.inputs.len() {
            let (given, takes) = (arguments.len(), other.inputs.len());
            return Err(Error::argument(format!("{given} arguments for a graph with {takes} inputs")));
        }
        let location = self.location.clone();
        let mut rewrite = Rewrite::onto(other, std::mem::take(self));
        for (input, &argument) in other.inputs.iter().zip(arguments) {
            rewrite.set(input.value, argument);
        }
        let result = other.nodes.iter().try_for_each(|node| rewrite.reapply(node).map(|_| ()));
        let outputs = other.outputs.iter().map(|&value| rewrite.get(value)).collect();
        *self = rewrite.target;
        self.location = location;
        other.requirements.iter().for_each(|requirement| self.require(requirement.clone()));
        result.map(|()| outputs)
    }

    /// The graph without the user's lines, in its regions too; shared ones stay shared.
    pub fn without_lines(&self) -> Graph {
        self.lines_removed(&mut HashMap::new())
    }

    fn lines_removed(&self, done: &mut HashMap<*const Graph, Arc<Graph>>) -> Graph {
        let mut graph = self.clone();
        graph.location = None;
        graph.requirements.iter_mut().for_each(|requirement| requirement.location = None);
        for node in &mut graph.nodes {
            node.location = None;
            for region in &mut node.regions {
                let pointer = Arc::as_ptr(region);
                let bare = match done.get(&pointer) {
                    Some(bare) => bare.clone(),
                    None => Arc::new(region.lines_removed(done)),
                };
                done.insert(pointer, bare.clone());
                *region = bare;
            }
        }
        graph
    }
}
