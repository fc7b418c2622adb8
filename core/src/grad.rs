//! Reverse-mode differentiation: graph to graph, so gradients differentiate again. Names no op.

use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Value};
use crate::op::{Backward, Lowering, Meaning, Op, Spec, Vjp};
use crate::shape::Shape;

/// Adds to the graph the gradients of a scalar `loss` with respect to values.
///
/// # Errors
/// `shape`: the loss is not a scalar; `dtype`: the loss or a `wrt` is not floating-point; `unsupported`: an op on the
/// way has no gradient, such as a `while_loop` without `max_steps`.
pub fn grad(graph: &mut Graph, loss: Value, wrt: &[Value]) -> Result<Vec<Value>> {
    loss.check(graph)?;
    let spec = graph.spec(loss).clone();
    if spec.shape.rank() != 0 {
        return Err(
            Error::shape(format!("the loss is {spec}, not a scalar; reduce it, for example by mean")).with_op("grad")
        );
    }
    require_float(&spec, "the loss")?;
    let one = graph.scalar_like(loss, 1.0)?;
    vjp(graph, &[(loss, one)], wrt)
}

/// Adds to the graph the cotangents of `wrt`, given those of some outputs. A value that the outputs do not depend on
/// gets zeros.
///
/// # Errors
/// As [`grad`]; `shape`: a cotangent does not fit its output.
pub fn vjp(graph: &mut Graph, outputs: &[(Value, Value)], wrt: &[Value]) -> Result<Vec<Value>> {
    for &value in wrt {
        value.check(graph)?;
        require_float(&graph.spec(value).clone(), "the value to differentiate by")?;
    }
    let location = graph.location().cloned();
    let mut reverse = Reverse { cotangents: vec![None; graph.value_count()], active: vec![false; graph.value_count()] };
    wrt.iter().for_each(|value| reverse.active[value.index()] = true);
    let end = graph.nodes().len();
    reverse.activate(graph, 0..end);
    for &(output, cotangent) in outputs {
        reverse.accumulate(graph, output, cotangent)?;
    }
    reverse.propagate(graph, 0..end)?;
    graph.set_location(location);
    wrt.iter()
        .map(|&value| match reverse.cotangents[value.index()] {
            Some(cotangent) => Ok(cotangent),
            None => graph.full_like(value, 0.0),
        })
        .collect()
}

fn require_float(spec: &Spec, what: &str) -> Result<()> {
    if spec.dtype.is_float() {
        return Ok(());
    }
    Err(Error::dtype(format!("{what} is {spec}; only floating-point values have gradients")).with_op("grad"))
}

/// The region that computes the cotangents of a region's `wanted` inputs. Its inputs are the region's and then the
/// cotangents of the outputs that have one.
///
/// # Errors
/// As [`grad`].
pub fn region_vjp(region: &Graph, wanted: &[bool], has_cotangent: &[bool]) -> Result<Graph> {
    let mut graph = Graph::new();
    let mut arguments = Vec::new();
    for (index, input) in region.inputs().iter().enumerate() {
        arguments.push(graph.input(&format!("primal_{index}"), region.spec(input.value).clone())?);
    }
    let outputs = graph.inline(region, &arguments)?;
    let mut seeds = Vec::new();
    for (index, &output) in outputs.iter().enumerate() {
        if has_cotangent[index] {
            let spec = graph.spec(output).clone();
            seeds.push((output, graph.input(&format!("cotangent_{index}"), spec)?));
        }
    }
    let wrt: Vec<_> = arguments.iter().zip(wanted).filter(|(_, wanted)| **wanted).map(|(value, _)| *value).collect();
    let cotangents = vjp(&mut graph, &seeds, &wrt)?;
    graph.set_outputs(cotangents)?;
    Ok(graph)
}

struct Reverse {
    cotangents: Vec<Option<Value>>,
    /// Whether a value depends on one that is differentiated by.
    active: Vec<bool>,
}

impl Reverse {
    /// Marks what depends on active values, over a range of nodes.
    fn activate(&mut self, graph: &Graph, nodes: std::ops::Range<usize>) {
        self.grow(graph);
        for node in &graph.nodes()[nodes] {
            let passes = !matches!(node.op.def.vjp, Vjp::NotDifferentiable(_));
            if passes && node.operands().any(|value| self.active[value.index()]) {
                for value in node.outputs() {
                    self.active[value.index()] = graph.spec(value).dtype.is_float();
                }
            }
        }
    }

    fn grow(&mut self, graph: &Graph) {
        self.cotangents.resize(graph.value_count(), None);
        self.active.resize(graph.value_count(), false);
    }

    fn accumulate(&mut self, graph: &mut Graph, value: Value, cotangent: Value) -> Result<()> {
        let (spec, given) = (graph.spec(value).clone(), graph.spec(cotangent).clone());
        let same_rank = spec.shape.rank() == given.shape.rank();
        let cotangent = match (same_rank, spec.shape == given.shape) {
            (_, true) => cotangent,
            // Equal, though not provably: reshape records what must hold.
            (true, false) => graph.reshape(cotangent, &spec.shape)?,
            (false, false) => {
                return Err(Error::shape(format!("the cotangent of a {spec} is {given}")).with_op("grad"));
            }
        };
        let sum = match self.cotangents[value.index()] {
            Some(before) => {
                planted!("grad: a second cotangent replaces the first", graph.add(before, cotangent)?, {
                    let _ = before;
                    cotangent
                })
            }
            None => cotangent,
        };
        self.grow(graph);
        self.cotangents[value.index()] = Some(sum);
        Ok(())
    }

    /// Sends cotangents backwards through a range of nodes.
    fn propagate(&mut self, graph: &mut Graph, nodes: std::ops::Range<usize>) -> Result<()> {
        for index in nodes.rev() {
            let node = &graph.nodes()[index];
            let reached =
                node.outputs().any(|value| self.active[value.index()] && self.cotangents[value.index()].is_some());
            if !reached {
                continue;
            }
            let node = node.clone();
            graph.set_location(node.location.clone());
            let through = self.through(graph, &node);
            through.map_err(|error| error.with_op(node.op.def.name).with_location(node.location.as_ref()))?;
        }
        Ok(())
    }

    fn through(&mut self, graph: &mut Graph, node: &Node) -> Result<()> {
        match node.op.def.vjp {
            Vjp::NotDifferentiable(_) => Ok(()),
            Vjp::Lowered => self.through_lowering(graph, node),
            Vjp::Rule(rule) => {
                let outputs: Vec<_> = node.outputs().collect();
                let cotangents: Vec<_> = outputs.iter().map(|value| self.cotangents[value.index()]).collect();
                let wanted: Vec<_> =
                    node.inputs.iter().map(|&value| value != Value::ABSENT && self.active[value.index()]).collect();
                let mut backward = Backward {
                    graph,
                    attrs: &node.op.attrs,
                    regions: &node.regions,
                    inputs: &node.inputs,
                    outputs: &outputs,
                    cotangents: &cotangents,
                    wanted: &wanted,
                };
                let results = rule(&mut backward)?;
                self.grow(graph);
                for (index, cotangent) in results.into_iter().enumerate() {
                    if let (Some(cotangent), true) = (cotangent, wanted.get(index) == Some(&true)) {
                        self.accumulate(graph, node.inputs[index], cotangent)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Lowers a composite beside itself and goes through that; where the composite is lowered too, common
    /// subexpressions make one of the two.
    fn through_lowering(&mut self, graph: &mut Graph, node: &Node) -> Result<()> {
        let start = graph.nodes().len();
        let outputs = lower(graph, &node.op, &node.inputs)?;
        let end = graph.nodes().len();
        self.activate(graph, start..end);
        for (output, lowered) in node.outputs().zip(outputs) {
            if let Some(cotangent) = self.cotangents[output.index()]
                && self.active[lowered.index()]
            {
                self.accumulate(graph, lowered, cotangent)?;
            }
        }
        self.propagate(graph, start..end)
    }
}

/// Applies what a composite lowers to; gives its outputs.
///
/// # Errors
/// What an op of the lowering refuses; `internal`: the op is no composite.
pub fn lower(graph: &mut Graph, op: &Op, inputs: &[Value]) -> Result<Vec<Value>> {
    match op.def.meaning {
        Meaning::Lower(lower) => lower(&mut Lowering { graph, attrs: &op.attrs, inputs }),
        _ => Err(Error::internal(format!("{} does not lower", op.def.name))),
    }
}

/// Zeros of a spec with the dims `shape` in front.
pub fn zeros(graph: &mut Graph, spec: &Spec, shape: &Shape) -> Result<Value> {
    let dims = shape.iter().chain(spec.shape.iter()).cloned().collect::<Vec<_>>();
    graph.full(spec.dtype, &Shape::new(dims)?, 0.0)
}
