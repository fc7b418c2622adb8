//! Graphs: values with specs, made by nodes in topological order.
//!
//! A [`Graph`] is closed: everything it uses is one of its inputs or made in it. A node's regions are such graphs too;
//! what they take from outside are operands of the node. Regions are shared (`Arc`) and never change; their nesting
//! is bounded by [`MAX_DEPTH`], so passes may walk them recursively.

mod assemble;
mod build;
mod builder;
mod cost;
pub mod json;
mod rewrite;
pub mod text;
mod verify;

pub use assemble::MAX_NODES;
pub use builder::{Builder, FunctionId, Notes, Role, check_name, check_path};
pub use rewrite::Rewrite;

use crate::attrs::{AttrValue, Attrs};
use crate::dtype::DType;
use crate::error::{Error, Location, Result};
use crate::infer::Infer;
use crate::meter::{Charge, Meter};
use crate::op::{Accepts, Arity, Op, OpDef, Spec};
use crate::ops;
use crate::shape::{Constraint, Dim};
use crate::tensor::Tensor;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// How deep regions may nest.
pub const MAX_DEPTH: usize = 32;

/// A value of one graph: an index into its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub u32);

impl Value {
    /// Stands for an optional input that was left out.
    pub const ABSENT: Value = Value(u32::MAX);

    /// The position in the graph's table of values.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Value::ABSENT { f.write_str("-") } else { write!(f, "%{}", self.0) }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The graph's input of that index.
    Input(u32),
    /// The node of that index.
    Node(u32),
}

/// A use of an op.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The op and its attrs.
    pub op: Op,
    /// Its operands; [`Value::ABSENT`] where an optional one was left out.
    pub inputs: Vec<Value>,
    /// Its regions, in the order of the record.
    pub regions: Vec<Arc<Graph>>,
    /// Its first output; the others follow.
    pub first: Value,
    /// How many outputs it has.
    pub count: usize,
    /// The user's line.
    pub location: Option<Location>,
}

impl Node {
    /// Its outputs.
    pub fn outputs(&self) -> impl Iterator<Item = Value> + use<> {
        (self.first.0..self.first.0 + self.count as u32).map(Value)
    }

    /// Its operands that are there.
    pub fn operands(&self) -> impl Iterator<Item = Value> {
        self.inputs.iter().copied().filter(|value| *value != Value::ABSENT)
    }
}

/// An input of a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Its name; unique in the graph.
    pub name: Arc<str>,
    /// Its value.
    pub value: Value,
}

/// Two dims that must be equal when sizes are known, and who asked for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Requirement {
    /// One side.
    pub left: Dim,
    /// The other side.
    pub right: Dim,
    /// The op whose inputs asked for it.
    pub op: Arc<str>,
    /// The user's line.
    pub location: Option<Location>,
}

#[derive(Debug, Clone, PartialEq)]
struct ValueInfo {
    spec: Spec,
    source: Source,
}

/// Inputs, nodes in topological order, outputs.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    inputs: Vec<Input>,
    /// The names of the inputs.
    names: HashSet<Arc<str>>,
    nodes: Vec<Node>,
    values: Vec<ValueInfo>,
    outputs: Vec<Value>,
    requirements: Vec<Requirement>,
    /// Both sides of each requirement.
    required: HashSet<(Dim, Dim)>,
    location: Option<Location>,
    depth: usize,
    /// What watches its growth; gone when it is finished.
    meter: Meter,
    /// What it takes, if it grew under a meter.
    held: Charge,
}

impl PartialEq for Graph {
    /// The line that following nodes would carry does not count.
    fn eq(&self, other: &Graph) -> bool {
        self.equals(other, &mut HashSet::new())
    }
}

impl Graph {
    /// Whether two graphs are equal. `known` are pairs of regions that are: shared ones, which may be nested so that a
    /// walk over all their uses takes long, are compared once.
    fn equals(&self, other: &Graph, known: &mut HashSet<[*const Graph; 2]>) -> bool {
        let mut same_region = |(a, b): (&Arc<Graph>, &Arc<Graph>)| {
            let pair = [Arc::as_ptr(a), Arc::as_ptr(b)];
            let equal = Arc::ptr_eq(a, b) || known.contains(&pair) || a.equals(b, known);
            if equal {
                known.insert(pair);
            }
            equal
        };
        let mut same_node = |(a, b): (&Node, &Node)| {
            a.op == b.op
                && (&a.inputs, a.first, a.count, &a.location) == (&b.inputs, b.first, b.count, &b.location)
                && a.regions.len() == b.regions.len()
                && a.regions.iter().zip(&b.regions).all(&mut same_region)
        };
        self.inputs == other.inputs
            && self.values == other.values
            && self.outputs == other.outputs
            && self.requirements == other.requirements
            && self.nodes.len() == other.nodes.len()
            && self.nodes.iter().zip(&other.nodes).all(&mut same_node)
    }
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// An empty graph whose growth is charged to a meter and stopped by it.
    ///
    /// # Errors
    /// What the meter refuses.
    pub fn metered(meter: &Meter) -> Result<Graph> {
        meter.check()?;
        Ok(Graph { meter: meter.clone(), held: meter.charge(0)?, ..Graph::default() })
    }

    /// A copy that is charged to a meter.
    ///
    /// # Errors
    /// What the meter refuses; nothing is copied then.
    pub fn copied(&self, meter: &Meter) -> Result<Graph> {
        meter.check()?;
        let held = meter.charge(self.cost())?;
        Ok(Graph {
            inputs: self.inputs.clone(),
            names: self.names.clone(),
            nodes: self.nodes.clone(),
            values: self.values.clone(),
            outputs: self.outputs.clone(),
            requirements: self.requirements.clone(),
            required: self.required.clone(),
            location: self.location.clone(),
            depth: self.depth,
            meter: Meter::default(),
            held,
        })
    }

    /// A bound of the bytes that it takes without its regions.
    fn cost(&self) -> u64 {
        let nodes: u64 = self.nodes.iter().map(cost::node).sum();
        let inputs: u64 = self.inputs.iter().map(|input| cost::input(&input.name)).sum();
        let values: u64 = self.values.iter().map(|info| cost::value(&info.spec)).sum();
        nodes + inputs + values + self.requirements.iter().map(cost::requirement).sum::<u64>()
    }

    /// Ends the growth under a meter: what it takes is charged on, deadlines no longer hold.
    ///
    /// # Errors
    /// `memory`: it takes more than the budget has.
    pub fn settle(&mut self) -> Result<()> {
        self.meter = Meter::default();
        self.held.add(0)
    }

    /// Its inputs in order.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Its nodes in topological order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Its outputs.
    pub fn outputs(&self) -> &[Value] {
        &self.outputs
    }

    /// The equalities between dims that are checked when sizes are known.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// How many values it has.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    /// Whether `value` is a value of this graph.
    pub fn contains(&self, value: Value) -> bool {
        value.index() < self.values.len()
    }

    /// The spec of a value.
    ///
    /// # Panics
    /// If the value is not of this graph; check with [`Graph::contains`] what comes from outside.
    pub fn spec(&self, value: Value) -> &Spec {
        &self.values[value.index()].spec
    }

    /// Where a value comes from. Panics as [`Graph::spec`].
    pub fn source(&self, value: Value) -> Source {
        self.values[value.index()].source
    }

    /// The node that makes a value, if one does. Panics as [`Graph::spec`].
    pub fn producer(&self, value: Value) -> Option<&Node> {
        match self.source(value) {
            Source::Node(index) => self.nodes.get(index as usize),
            Source::Input(_) => None,
        }
    }

    /// The tensors among the attrs of its nodes and of its regions' nodes; those of a shared region once.
    pub fn tensors(&self) -> Vec<&Tensor> {
        let (mut found, mut seen, mut left) = (Vec::new(), HashSet::new(), vec![self]);
        while let Some(graph) = left.pop() {
            for node in &graph.nodes {
                found.extend(node.op.attrs.changed().filter_map(|(_, value)| match value {
                    AttrValue::Tensor(tensor) => Some(tensor),
                    _ => None,
                }));
                let new = node.regions.iter().filter(|region| seen.insert(Arc::as_ptr(region)));
                left.extend(new.map(|region| &**region));
            }
        }
        found
    }

    /// How deep its regions nest: 0 without regions.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The user's line that following nodes carry.
    pub fn set_location(&mut self, location: Option<Location>) {
        self.location = location;
    }

    /// The user's line that following nodes carry.
    pub fn location(&self) -> Option<&Location> {
        self.location.as_ref()
    }

    /// Adds an input.
    ///
    /// # Errors
    /// `argument`: an input has that name.
    pub fn input(&mut self, name: &str, spec: Spec) -> Result<Value> {
        let name: Arc<str> = name.into();
        if !self.names.insert(name.clone()) {
            return Err(Error::argument(format!("two inputs are named {name:?}")).with_argument("name"));
        }
        self.meter.check()?;
        self.held.add(cost::input(&name))?;
        let value = self.new_value(spec, Source::Input(self.inputs.len() as u32))?;
        self.inputs.push(Input { name, value });
        Ok(value)
    }

    /// Sets the outputs.
    ///
    /// # Errors
    /// `argument`: a value that is not of this graph.
    pub fn set_outputs(&mut self, outputs: Vec<Value>) -> Result<()> {
        outputs.iter().try_for_each(|&value| self.check(value))?;
        self.outputs = outputs;
        Ok(())
    }

    /// Requires two dims to be equal at run time; of two requirements of the same the first one stays.
    pub fn require(&mut self, requirement: Requirement) {
        if self.required.insert((requirement.left.clone(), requirement.right.clone())) {
            self.held.add_held(cost::requirement(&requirement));
            self.requirements.push(requirement);
        }
    }

    /// Sets the requirements in place of those that it has.
    fn set_requirements(&mut self, requirements: Vec<Requirement>) {
        let sides = |requirement: &Requirement| (requirement.left.clone(), requirement.right.clone());
        requirements.iter().for_each(|requirement| self.held.add_held(cost::requirement(requirement)));
        self.required = requirements.iter().map(sides).collect();
        self.requirements = requirements;
    }

    /// Applies an op: casts inputs to their common dtype, infers the outputs' specs, adds the node.
    ///
    /// # Errors
    /// Whatever the op refuses, with the op's name and the current location.
    pub fn apply(&mut self, op: &Op, regions: Vec<Arc<Graph>>, inputs: &[Value]) -> Result<Vec<Value>> {
        let location = self.location.clone();
        self.try_apply(op, regions, inputs).map_err(|error| error.with_op(op.def.name).with_location(location.as_ref()))
    }

    fn try_apply(&mut self, op: &Op, regions: Vec<Arc<Graph>>, inputs: &[Value]) -> Result<Vec<Value>> {
        for &value in inputs.iter().filter(|value| **value != Value::ABSENT) {
            self.check(value)?;
        }
        let specs: Vec<_> = inputs.iter().map(|&value| self.optional_spec(value)).collect();
        let casts = check_inputs(op.def, &specs)?;
        let mut inputs = inputs.to_vec();
        for (index, dtype) in casts {
            inputs[index] = self.cast(inputs[index], dtype)?;
        }
        if regions.iter().any(|region| region.depth() + 1 > MAX_DEPTH) {
            return Err(Error::argument(format!("regions nest deeper than {MAX_DEPTH}")));
        }
        let specs: Vec<_> = inputs.iter().map(|&value| self.optional_spec(value)).collect();
        let (outputs, constraints) = infer(op, &specs, &regions)?;
        for Constraint { left, right } in constraints {
            let (op, location) = (op.def.name.into(), self.location.clone());
            self.require(Requirement { left, right, op, location });
        }
        let location = self.location.clone();
        self.push(Node { op: op.clone(), inputs, regions, first: Value(0), count: outputs.len(), location }, outputs)
    }

    /// Adds a node whose outputs' specs are known; `first` and `count` are set here.
    ///
    /// # Errors
    /// `argument`: more than 2^31 values.
    pub fn push(&mut self, mut node: Node, specs: Vec<Spec>) -> Result<Vec<Value>> {
        self.meter.check()?;
        self.held.add(cost::node(&node))?;
        let source = Source::Node(self.nodes.len() as u32);
        let outputs = specs.into_iter().map(|spec| self.new_value(spec, source)).collect::<Result<Vec<_>>>()?;
        node.first = outputs.first().copied().unwrap_or(Value(self.values.len() as u32));
        node.count = outputs.len();
        self.depth = node.regions.iter().map(|region| region.depth + 1).fold(self.depth, usize::max);
        self.nodes.push(node);
        Ok(outputs)
    }

    /// The spec of a value; `None` if it was left out.
    pub(crate) fn optional_spec(&self, value: Value) -> Option<&Spec> {
        self.values.get(value.index()).map(|info| &info.spec)
    }

    fn new_value(&mut self, spec: Spec, source: Source) -> Result<Value> {
        if self.values.len() >= i32::MAX as usize {
            return Err(Error::argument("a graph has at most 2^31 values"));
        }
        self.held.add(cost::value(&spec))?;
        self.values.push(ValueInfo { spec, source });
        Ok(Value(self.values.len() as u32 - 1))
    }

    fn check(&self, value: Value) -> Result<()> {
        if self.contains(value) {
            return Ok(());
        }
        let count = self.values.len();
        Err(Error::argument(format!("{value} is not a value of this graph, which has {count}")))
    }
}

/// Checks number and dtypes of an op's inputs; gives the casts that promotion asks for.
///
/// # Errors
/// `argument`: too few or too many inputs; `dtype`: one that the op does not take, or no common dtype.
pub fn check_inputs(def: &OpDef, specs: &[Option<&Spec>]) -> Result<Vec<(usize, DType)>> {
    check_count(def, specs)?;
    let mut common: Option<DType> = None;
    for (index, spec) in specs.iter().enumerate() {
        let (Some(spec), Some(input)) = (spec, def.input(index)) else { continue };
        let set = match input.accepts {
            Accepts::T => def.dtypes,
            Accepts::Set(set) => set,
        };
        if !set.contains(spec.dtype) {
            let (name, dtype) = (input.name, spec.dtype);
            return Err(Error::dtype(format!("{name} is {dtype}; it can be {set}")).with_argument(name));
        }
        if input.accepts == Accepts::T {
            let so_far = common.unwrap_or(spec.dtype);
            common = Some(so_far.promote(spec.dtype).ok_or_else(|| {
                let (dtype, name) = (spec.dtype, input.name);
                Error::dtype(format!("{so_far} and {dtype} have no common dtype; cast one of them")).with_argument(name)
            })?);
        }
    }
    let needs_cast = |index: usize, spec: &Spec| match (def.input(index), common) {
        (Some(input), Some(common)) if input.accepts == Accepts::T && spec.dtype != common => Some((index, common)),
        _ => None,
    };
    Ok(specs.iter().enumerate().filter_map(|(index, spec)| needs_cast(index, (*spec)?)).collect())
}

fn check_count(def: &OpDef, specs: &[Option<&Spec>]) -> Result<()> {
    let given = specs.len();
    let variadic = def.inputs.last().is_some_and(|input| matches!(input.arity, Arity::Variadic(_)));
    if given > def.inputs.len() && !variadic {
        let most = def.inputs.len();
        return Err(Error::argument(format!("{given} inputs were given, it takes {most}")));
    }
    for (index, input) in def.inputs.iter().enumerate() {
        let (name, left_out) = (input.name, |index: &usize| specs.get(*index).is_none_or(Option::is_none));
        match input.arity {
            Arity::One if left_out(&index) => {
                return Err(Error::argument(format!("the input {name} is missing")).with_argument(name));
            }
            Arity::Variadic(least) if given < index + least => {
                return Err(Error::argument(format!("{name} takes at least {least} values")).with_argument(name));
            }
            Arity::Variadic(_) => {
                if let Some(missing) = (index..given).find(left_out) {
                    let text = format!("value {} of {name} is missing", missing - index);
                    return Err(Error::argument(text).with_argument(name));
                }
            }
            Arity::One | Arity::Optional => {}
        }
    }
    Ok(())
}

/// Runs an op's inference on inputs that [`check_inputs`] has passed (casts applied).
///
/// # Errors
/// Whatever the op refuses.
pub fn infer(op: &Op, specs: &[Option<&Spec>], regions: &[Arc<Graph>]) -> Result<(Vec<Spec>, Vec<Constraint>)> {
    if regions.len() != op.def.regions.len() {
        let (given, takes) = (regions.len(), op.def.regions.len());
        return Err(Error::argument(format!("{given} regions were given, it takes {takes}")));
    }
    let mut context = Infer { def: op.def, attrs: &op.attrs, inputs: specs, regions, constraints: Vec::new() };
    let outputs = (op.def.infer)(&mut context)?;
    Ok((outputs, context.constraints))
}

/// The op of that name with these attrs, in its newest version.
///
/// # Errors
/// `name`: there is no such op; else those of [`Attrs::new`].
pub fn op(name: &str, attrs: &[(&str, crate::attrs::AttrValue)]) -> Result<Op> {
    let def = ops::find(name)?;
    Ok(Op { def, attrs: Attrs::new(def, attrs)? })
}
