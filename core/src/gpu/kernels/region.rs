//! A cluster with reductions as several kernels: its element-wise parts and its reductions one after the other, through
//! workspaces.

use super::elementwise;
use crate::cpu::call::{Layout, List};
use crate::gpu::kernel::{Recipe, Refusal, Request, Slot};
use crate::graph::{Graph, Node, Value};
use crate::meter::Meter;
use crate::op::{Kernel, Meaning};
use crate::passes::fuse_elementwise;
use crate::plan::cluster_expression;
use crate::plan::instance::known_attrs;
use crate::scalar::{Expression, Register};
use crate::shape::Bindings;
use std::collections::HashMap;

/// Prints what the region holds, where the symbols have these sizes.
pub fn print(region: &Graph, sizes: &Bindings, request: &Request) -> Result<Recipe, Refusal> {
    let region = fuse_elementwise(region, &Meter::default())?;
    let mut printer = Printer { region: &region, sizes, request, recipe: Recipe::default(), places: HashMap::new() };
    for (index, input) in region.inputs().iter().enumerate() {
        printer.places.insert(input.value, (Slot::Input(index), request.input(index)?.clone()));
    }
    region.nodes().iter().try_for_each(|node| printer.node(node))?;
    printer.outputs()?;
    Ok(printer.recipe)
}

struct Printer<'a> {
    region: &'a Graph,
    sizes: &'a Bindings,
    request: &'a Request<'a>,
    recipe: Recipe,
    /// Where each value is; scalar constants are nowhere.
    places: HashMap<Value, (Slot, Layout)>,
}

impl Printer<'_> {
    fn node(&mut self, node: &Node) -> Result<(), Refusal> {
        if node.op.def.name == "constant" {
            return Ok(());
        }
        let attrs = known_attrs(&node.op.attrs, self.sizes)?;
        if let Meaning::Kernel(Kernel { view: Some(view), .. }) = &node.op.def.meaning {
            let (slot, from) = self.place(node.inputs[0])?.clone();
            let layout = view(&attrs, &from, &self.evaluated(node.first)?);
            self.places.insert(node.first, (slot, layout));
            return Ok(());
        }
        let operands: Vec<Value> =
            node.inputs.iter().copied().filter(|value| self.places.contains_key(value)).collect();
        let made: Vec<_> = node.outputs().collect();
        for &value in &made {
            let layout = Layout::of(self.region.spec(value).dtype, self.evaluated(value)?);
            let slot = match self.region.outputs().iter().position(|output| *output == value) {
                Some(index) => Slot::Output(index),
                None => self.recipe.work(layout.bytes() as u64),
            };
            self.places.insert(value, (slot, layout));
        }
        let inputs: Vec<_> = operands.iter().map(|value| Some(&self.places[value].1)).collect();
        let outputs: Vec<_> = made.iter().map(|value| &self.places[value].1).collect();
        let adapter = self.request.adapter;
        let request = Request { attrs: &attrs, inputs: &inputs, outputs: &outputs, adapter, finish: None };
        let part = match (&node.op.def.meaning, &node.regions[..]) {
            (Meaning::Cluster, [region]) => {
                let cluster = cluster_expression(region)?;
                elementwise::print(&cluster.expression, &cluster.outputs, &request)?
            }
            (Meaning::Scalar(_), _) => {
                let (expression, result) = self.expression(node)?;
                elementwise::print(&expression, &[result], &request)?
            }
            _ => super::print(&node.op, &request)?,
        };
        self.add(part, &operands, &made);
        Ok(())
    }

    /// The expression of one element-wise op, scalar constants in it.
    fn expression(&self, node: &Node) -> Result<(Expression, Register), Refusal> {
        let mut expression = Expression::new();
        let (mut registers, mut count) = (Vec::new(), 0);
        for &value in &node.inputs {
            registers.push(match self.region.producer(value).filter(|_| !self.places.contains_key(&value)) {
                Some(constant) => expression.tensor_constant(&constant.op.attrs.tensor("value")?),
                None => {
                    count += 1;
                    expression.input(count - 1, self.region.spec(value).dtype)
                }
            });
        }
        let Meaning::Scalar(meaning) = &node.op.def.meaning else { return Err(Refusal("not element-wise".into())) };
        let result = meaning(&mut expression, &node.op.attrs, &registers);
        Ok((expression, result))
    }

    /// Adds the recipe of a node, whose slots become the cluster's.
    fn add(&mut self, part: Recipe, operands: &[Value], made: &[Value]) {
        let first = self.recipe.workspaces.len();
        self.recipe.workspaces.extend(part.workspaces);
        for mut launch in part.launches {
            for slot in &mut launch.slots {
                *slot = match *slot {
                    Slot::Input(index) => self.places[&operands[index]].0,
                    Slot::Output(index) => self.places[&made[index]].0,
                    Slot::Work(index) => Slot::Work(first + index),
                };
            }
            self.recipe.launches.push(launch);
        }
    }

    /// Copies what the cluster gives and is a view, or given twice, to where it goes.
    fn outputs(&mut self) -> Result<(), Refusal> {
        for (index, value) in self.region.outputs().to_vec().into_iter().enumerate() {
            let (slot, layout) = self.place(value)?.clone();
            if slot != Slot::Output(index) || !layout.is_dense() {
                let mut copy = super::copy(&[Some(&layout)], self.request.adapter)?;
                for launch in &mut copy.launches {
                    launch.slots.iter_mut().for_each(|own| {
                        *own = if *own == Slot::Input(0) { slot } else { Slot::Output(index) };
                    });
                }
                self.recipe.launches.extend(copy.launches);
            }
        }
        Ok(())
    }

    fn place(&self, value: Value) -> Result<&(Slot, Layout), Refusal> {
        self.places.get(&value).ok_or_else(|| Refusal("a cluster reads a value that it has not computed".into()))
    }

    fn evaluated(&self, value: Value) -> Result<List<usize>, Refusal> {
        Ok(self.region.spec(value).shape.evaluate_list(&|name| self.sizes.get(name))?)
    }
}
