//! Graphs that come from outside, as text or in a file: nothing they say is believed. Every node is inferred again and
//! compared with the specs that stand beside it, and what inference requires of dims is required whatever they say.

use super::{Graph, MAX_DEPTH, Node, Requirement, Value, check_inputs, infer};
use crate::attrs::{AttrType, AttrValue, Attrs, value_from_json};
use crate::error::{Error, Location, Result};
use crate::json::{Json, Map};
use crate::meter::Meter;
use crate::op::{Op, OpDef, Spec};
use crate::ops;
use crate::shape::Constraint;
use crate::tensor::Tensor;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// The most nodes of a graph that comes from outside; a region's nodes count at each use of it, so that whatever
/// walks the regions ends in time.
pub const MAX_NODES: u64 = 1 << 22;

/// A finished graph, with what bounds a walk through its regions.
#[derive(Debug, Clone)]
pub(super) struct Region {
    pub graph: Arc<Graph>,
    /// Its nodes and, at each use, those of its regions.
    pub size: u64,
    /// How deep its regions nest.
    pub depth: usize,
}

/// A node as its source describes it.
pub(super) struct Draft<'a> {
    pub op: Op,
    pub inputs: Vec<Value>,
    pub regions: &'a [Region],
    pub outputs: &'a [Spec],
    pub location: Option<Location>,
}

/// A graph under construction.
pub(super) struct Assembler {
    graph: Graph,
    /// Inputs whose value is not reached yet.
    waiting: VecDeque<(Arc<str>, Value, Spec)>,
    names: HashSet<Arc<str>>,
    inferred: Vec<Requirement>,
    size: u64,
    depth: usize,
}

impl Assembler {
    /// An empty graph, whose parts are charged to a meter.
    pub fn new(meter: &Meter) -> Result<Assembler> {
        let graph = Graph::metered(meter)?;
        let (waiting, names, inferred) = Default::default();
        Ok(Assembler { graph, waiting, names, inferred, size: 0, depth: 0 })
    }

    /// Says that the graph's next input is `value`. Inputs are announced before the first node.
    pub fn input(&mut self, name: &str, value: Value, spec: Spec) -> Result<()> {
        let name: Arc<str> = name.into();
        if !self.names.insert(name.clone()) {
            return Err(Error::format(format!("two inputs are named {name:?}")));
        }
        self.waiting.push_back((name, value, spec));
        Ok(())
    }

    /// The value that the next node's first output is.
    pub fn next(&mut self) -> Result<Value> {
        while self.waiting.front().is_some_and(|(_, value, _)| value.index() == self.graph.values.len()) {
            let Some((name, _, spec)) = self.waiting.pop_front() else { break };
            self.graph.input(&name, spec)?;
        }
        Ok(Value(self.graph.values.len() as u32))
    }

    /// Adds a node.
    ///
    /// # Errors
    /// `format`, with the op and its line: it does not fit its inputs, or inference gives other specs.
    pub fn node(&mut self, draft: Draft) -> Result<()> {
        let (name, location) = (draft.op.def.name, draft.location.clone());
        self.add(draft).map_err(|error| error.with_op(name).with_location(location.as_ref()))
    }

    fn add(&mut self, draft: Draft) -> Result<()> {
        let first = self.next()?;
        let Draft { op, inputs, regions, outputs, location } = draft;
        if let Some(value) = inputs.iter().find(|value| **value != Value::ABSENT && **value >= first) {
            return Err(Error::format(format!("{value} is used before it is made")));
        }
        self.count(regions)?;
        let specs: Vec<_> = inputs.iter().map(|&value| self.graph.optional_spec(value)).collect();
        if !check_inputs(op.def, &specs)?.is_empty() {
            return Err(Error::format("its inputs differ in dtype"));
        }
        let regions: Vec<_> = regions.iter().map(|region| region.graph.clone()).collect();
        let (inferred, constraints) = infer(&op, &specs, &regions)?;
        compare(first, outputs, &inferred)?;
        for Constraint { left, right } in constraints {
            let (op, location) = (op.def.name.into(), location.clone());
            self.inferred.push(Requirement { left, right, op, location });
        }
        let count = inferred.len();
        self.graph.push(Node { op, inputs, regions, first, count, location }, inferred)?;
        Ok(())
    }

    fn count(&mut self, regions: &[Region]) -> Result<()> {
        self.size += 1;
        for region in regions {
            self.size = self.size.saturating_add(region.size);
            self.depth = self.depth.max(region.depth + 1);
        }
        if self.size > MAX_NODES {
            return Err(Error::format(format!(
                "the graph has more than {MAX_NODES} nodes, those of its regions included"
            )));
        }
        if self.depth > MAX_DEPTH {
            return Err(Error::format(format!("regions nest deeper than {MAX_DEPTH}")));
        }
        Ok(())
    }

    /// Ends the graph. What inference requires beyond `requirements` is added to them.
    ///
    /// # Errors
    /// `format`: an output that no node makes, an input that is not the next value where it should be.
    pub fn finish(mut self, outputs: Vec<Value>, requirements: Vec<Requirement>) -> Result<Region> {
        let end = self.next()?;
        if let Some((name, value, _)) = self.waiting.front() {
            return Err(Error::format(format!("the input {name:?} is {value}, which is not the next value")));
        }
        if let Some(value) = outputs.iter().find(|value| **value >= end) {
            return Err(Error::format(format!("the output {value} is not a value of the graph")));
        }
        self.graph.outputs = outputs;
        self.graph.set_requirements(requirements);
        for required in self.inferred {
            self.graph.require(required);
        }
        self.graph.settle()?;
        Ok(Region { graph: Arc::new(self.graph), size: self.size, depth: self.depth })
    }
}

fn compare(first: Value, given: &[Spec], inferred: &[Spec]) -> Result<()> {
    if given.len() != inferred.len() {
        let (given, inferred) = (given.len(), inferred.len());
        return Err(Error::format(format!("it has {given} outputs, inference gives {inferred}")));
    }
    for (index, (given, inferred)) in given.iter().zip(inferred).enumerate() {
        if given != inferred {
            let value = Value(first.0 + index as u32);
            return Err(Error::format(format!("{value} is {given}, inference gives {inferred}")));
        }
    }
    Ok(())
}

/// The name of an op where text or a file uses it: with its version unless that is the newest.
pub(super) fn op_key(def: &OpDef) -> String {
    match ops::find(def.name) {
        Ok(newest) if newest.version == def.version => def.name.to_string(),
        _ => format!("{}.v{}", def.name, def.version),
    }
}

/// Attrs from JSON in which `tensor` knows further forms of a tensor.
pub(super) fn attrs_from_json(
    def: &'static OpDef,
    object: &Map<String, Json>,
    meter: &Meter,
    tensor: &dyn Fn(&Json) -> Result<Option<Tensor>>,
) -> Result<Attrs> {
    let mut given = Vec::new();
    for (name, json) in object {
        let value = match def.attrs.iter().find(|attr| attr.name == name) {
            Some(attr) if attr.kind == AttrType::Tensor => match tensor(json)? {
                Some(tensor) => AttrValue::Tensor(tensor),
                None => value_from_json(attr, json, meter)?,
            },
            Some(attr) => value_from_json(attr, json, meter)?,
            // `Attrs::new` refuses the name and lists those that there are.
            None => AttrValue::None,
        };
        given.push((name.as_str(), value));
    }
    Attrs::new(def, &given)
}
