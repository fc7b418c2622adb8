//! Plans: the order of steps, and where each value lies. Made once from the symbolic graph; see [`instance`] for sizes.

mod arena;
mod cluster;
mod epilogue;
pub mod instance;

use crate::attrs::Attrs;
use crate::cpu::cluster::Cluster;
use crate::cpu::epilogue::Epilogue;
use crate::cpu::tape::Tape;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Value};
use crate::meter::{Charge, Meter};
use crate::op::{Control, Kernel, Meaning};
use crate::ops::epilogue::{is_product, product};
use crate::ops::is_random_bits;
use crate::ops::phases::Phases;
use crate::scalar::{Expression, Register};
use crate::tensor::Tensor;
use std::collections::HashMap;
use std::sync::Arc;

/// Where a value lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the block's input of that index.
    Input(usize),
    /// In the plan's constant of that index.
    Constant(usize),
    /// In the block's output of that index.
    Output(usize),
    /// In the block's buffer of that index.
    Buffer(usize),
    /// In the memory of another value, under another layout.
    View(Value),
}

/// What a step does.
pub enum Action {
    /// Runs an element-wise cluster.
    Tape(Tape),
    /// Runs a cluster with reductions.
    Cluster(Box<Cluster>),
    /// Runs a product and what follows it.
    Epilogue(Box<Epilogue>),
    /// Runs a kernel.
    Kernel(Kernel),
    /// Copies the input to the block's output of that index.
    CopyOut(usize),
    /// Runs blocks, one for each region.
    Control(Control, Vec<usize>),
}

/// A step of a block.
pub struct Step {
    /// The node it comes from; for the user's line and the attrs.
    pub node: Option<usize>,
    /// What it does.
    pub action: Action,
    /// Its operands.
    pub inputs: Vec<Option<Value>>,
    /// Its results.
    pub outputs: Vec<Value>,
}

/// Memory that lives for some steps of a block.
#[derive(Debug, Clone, Copy)]
pub struct Buffer {
    /// The value whose size it has.
    pub value: Value,
    /// The step that writes it first.
    pub first: usize,
    /// The last step that uses it.
    pub last: usize,
}

/// The plan of one graph: of a function, or of a region.
pub struct Block {
    /// The graph after passes.
    pub graph: Arc<Graph>,
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// Where each value lies.
    pub places: Vec<Place>,
    /// The memory that it needs for itself.
    pub buffers: Vec<Buffer>,
    /// For each value the one whose memory it lies in: itself, but for views.
    roots: Vec<Value>,
    /// Those of them that are used, in the order in which they begin to be.
    pub begin: Vec<usize>,
    /// The same in the order in which they end.
    pub end: Vec<usize>,
}

impl Block {
    /// The value whose memory `value` lies in.
    pub fn root(&self, value: Value) -> Value {
        self.roots[value.index()]
    }

    /// The user's line of a step.
    pub fn node(&self, step: usize) -> Option<&Node> {
        self.steps.get(step)?.node.and_then(|index| self.graph.nodes().get(index))
    }

    /// The attrs of what a step runs: those of its node, or of the product in the node's region.
    fn attrs(&self, step: usize) -> Option<&Attrs> {
        let node = self.node(step)?;
        let product = match (&self.steps[step].action, &node.regions[..]) {
            (Action::Epilogue(_), [region]) => product(region, region.nodes().iter()),
            _ => None,
        };
        Some(&product.unwrap_or(node).op.attrs)
    }
}

/// The plan of a function.
pub struct Plan {
    /// The blocks; the regions of a block come before it, the function's own is the last.
    pub blocks: Vec<Block>,
    /// The constants of all blocks.
    pub constants: Vec<Tensor>,
    /// What the plan takes.
    held: Charge,
}

impl Plan {
    /// Plans a graph that has gone through [`crate::passes`].
    ///
    /// # Errors
    /// `internal`: a node is left that no step can run; what the meter refuses.
    pub fn new(graph: &Arc<Graph>, meter: &Meter) -> Result<Plan> {
        Plan::with(graph, true, meter)
    }

    /// As [`Plan::new`]; unless `shares`, a step leaves its operands as they are.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn with(graph: &Arc<Graph>, shares: bool, meter: &Meter) -> Result<Plan> {
        let plan = Plan { blocks: Vec::new(), constants: Vec::new(), held: meter.charge(0)? };
        let mut planner = Planner { plan, meter, done: HashMap::new(), shares };
        planner.block(graph)?;
        Ok(planner.plan)
    }

    /// The function's own block.
    pub fn entry(&self) -> usize {
        self.blocks.len() - 1
    }

    /// The function's graph after passes.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.blocks[self.entry()].graph
    }
}

/// A bound of what a plan takes for each value, step and operand, lists that have grown to twice their need included.
const VALUE: usize = size_of::<Place>()
    + size_of::<Value>()
    + 2 * size_of::<Buffer>()
    + 2 * size_of::<Tensor>()
    + size_of::<[usize; 4]>();
const STEP: usize = 2 * size_of::<Step>() + 64;
const OPERAND: usize = 2 * size_of::<Option<Value>>();

struct Planner<'a> {
    plan: Plan,
    meter: &'a Meter,
    done: HashMap<*const Graph, usize>,
    /// Whether results may take the memory of operands.
    shares: bool,
}

impl Planner<'_> {
    /// Plans a graph once; gives the index of its block.
    fn block(&mut self, graph: &Arc<Graph>) -> Result<usize> {
        if let Some(&index) = self.done.get(&Arc::as_ptr(graph)) {
            return Ok(index);
        }
        self.plan.held.add((VALUE * graph.value_count() + size_of::<Block>()) as u64)?;
        let mut block = Block {
            graph: graph.clone(),
            steps: Vec::new(),
            places: vec![Place::Input(0); graph.value_count()],
            buffers: Vec::new(),
            roots: (0..graph.value_count() as u32).map(Value).collect(),
            begin: Vec::new(),
            end: Vec::new(),
        };
        for (index, input) in graph.inputs().iter().enumerate() {
            block.places[input.value.index()] = Place::Input(index);
        }
        for (index, node) in graph.nodes().iter().enumerate() {
            self.node(&mut block, index, node)?;
        }
        place_outputs(&mut block);
        set_lifetimes(&mut block);
        if self.shares {
            share_memory(&mut block);
        }
        order_buffers(&mut block);
        self.plan.blocks.push(block);
        self.done.insert(Arc::as_ptr(graph), self.plan.blocks.len() - 1);
        Ok(self.plan.blocks.len() - 1)
    }

    fn node(&mut self, block: &mut Block, index: usize, node: &Node) -> Result<()> {
        self.meter.check()?;
        self.plan.held.add((STEP + OPERAND * (node.inputs.len() + node.count)) as u64)?;
        if node.op.def.name == "constant" {
            block.places[node.first.index()] = Place::Constant(self.plan.constants.len());
            self.plan.constants.push(node.op.attrs.tensor("value")?);
            return Ok(());
        }
        let action = match &node.op.def.meaning {
            Meaning::Kernel(kernel) if kernel.view.is_some() => {
                block.places[node.first.index()] = Place::View(node.inputs[0]);
                block.roots[node.first.index()] = block.root(node.inputs[0]);
                return Ok(());
            }
            Meaning::Kernel(kernel) => Action::Kernel(*kernel),
            Meaning::Scalar(_) => Action::Tape(scalar_tape(&block.graph, node)),
            Meaning::Cluster => cluster(&node.regions[0])?,
            Meaning::Control(control) => {
                let blocks = node.regions.iter().map(|region| self.block(region)).collect::<Result<_>>()?;
                Action::Control(*control, blocks)
            }
            // Its region is what it lowers to: see the pass `enclose`.
            Meaning::Lower(_) if node.regions.len() == 1 => {
                Action::Control(Control::Call, vec![self.block(&node.regions[0])?])
            }
            Meaning::Lower(_) => return Err(Error::internal(format!("{} was not decomposed", node.op.def.name))),
        };
        match &action {
            Action::Tape(tape) => self.plan.held.add(tape.bytes() as u64)?,
            Action::Cluster(cluster) => self.plan.held.add(cluster.bytes() as u64)?,
            Action::Epilogue(epilogue) => self.plan.held.add(epilogue.bytes() as u64)?,
            _ => {}
        }
        for value in node.outputs() {
            block.places[value.index()] = Place::Buffer(block.buffers.len());
            block.buffers.push(Buffer { value, first: block.steps.len(), last: block.steps.len() });
        }
        let inputs = node.inputs.iter().map(|&value| Some(value).filter(|value| *value != Value::ABSENT)).collect();
        block.steps.push(Step { node: Some(index), action, inputs, outputs: node.outputs().collect() });
        Ok(())
    }
}

/// Writes results straight into the block's outputs where that is their only home; else a last step copies them.
fn place_outputs(block: &mut Block) {
    let outputs = block.graph.outputs().to_vec();
    for (index, &output) in outputs.iter().enumerate() {
        let root = block.root(output);
        match block.places[root.index()] {
            Place::Buffer(_) => block.places[root.index()] = Place::Output(index),
            _ => block.steps.push(Step {
                node: None,
                action: Action::CopyOut(index),
                inputs: vec![Some(output)],
                outputs: Vec::new(),
            }),
        }
    }
}

fn set_lifetimes(block: &mut Block) {
    for (index, step) in block.steps.iter().enumerate() {
        for &operand in step.inputs.iter().flatten() {
            let root = block.roots[operand.index()];
            if let Place::Buffer(buffer) = block.places[root.index()] {
                block.buffers[buffer].last =
                    planted!("plan: a lifetime is one step short", index, block.buffers[buffer].last.max(index - 1));
            }
        }
    }
}

/// Lets the result of a cluster take the memory of an operand that ends there.
fn share_memory(block: &mut Block) {
    for index in 0..block.steps.len() {
        if !matches!(block.steps[index].action, Action::Tape(_) | Action::Cluster(_)) {
            continue;
        }
        let operands: Vec<Value> = block.steps[index].inputs.iter().flatten().copied().collect();
        let roots: Vec<Value> = operands.iter().map(|&value| block.root(value)).collect();
        let mut taken = vec![false; operands.len()];
        for (number, output) in block.steps[index].outputs.clone().into_iter().enumerate() {
            let Place::Buffer(own) = block.places[output.index()] else { continue };
            let fits = |position: usize| match block.places[roots[position].index()] {
                Place::Buffer(buffer) if buffer != own && !taken[position] => {
                    let (from, to) = (block.graph.spec(operands[position]), block.graph.spec(output));
                    let ends = planted!(
                        "plan: a result takes the memory of a live operand",
                        block.buffers[buffer].last == index && block.buffers[buffer].first < index,
                        block.buffers[buffer].last >= index && block.buffers[buffer].first < index
                    );
                    let once = roots.iter().filter(|root| **root == roots[position]).count() == 1;
                    let may = match &block.steps[index].action {
                        Action::Cluster(cluster) => cluster.may_share(position, number),
                        _ => true,
                    };
                    // A value that is its own root is dense.
                    ends && once
                        && may
                        && operands[position] == roots[position]
                        && from.shape == to.shape
                        && from.dtype.size() == to.dtype.size()
                }
                _ => false,
            };
            if let Some(position) = (0..operands.len()).find(|&position| fits(position)) {
                taken[position] = true;
                let Place::Buffer(buffer) = block.places[roots[position].index()] else { continue };
                block.places[output.index()] = Place::Buffer(buffer);
                block.buffers[buffer].last = block.buffers[own].last;
                // The output's own memory is not used: an empty lifetime takes none.
                block.buffers[own].last = 0;
                block.buffers[own].first = usize::MAX;
            }
        }
    }
}

/// Lists the buffers that are some value's own and are used, by their lifetimes.
fn order_buffers(block: &mut Block) {
    let is_used = |index: &usize| {
        let buffer = block.buffers[*index];
        block.places[block.root(buffer.value).index()] == Place::Buffer(*index) && buffer.first < block.steps.len()
    };
    let mut used: Vec<usize> = (0..block.buffers.len()).filter(is_used).collect();
    used.sort_by_key(|&index| block.buffers[index].first);
    block.begin = used.clone();
    used.sort_by_key(|&index| (block.buffers[index].last, index));
    block.end = used;
}

/// The tape of one element-wise op.
fn scalar_tape(graph: &Graph, node: &Node) -> Tape {
    let dtypes: Vec<_> = node.inputs.iter().map(|&value| graph.spec(value).dtype).collect();
    crate::cpu::single::tape(&node.op, &dtypes)
}

/// What a cluster becomes.
fn cluster(region: &Graph) -> Result<Action> {
    if let Some(product) = product(region, region.nodes().iter()) {
        return Ok(Action::Epilogue(Box::new(epilogue::compile(region, product)?)));
    }
    Ok(match Phases::new(region).map_err(Error::internal)? {
        Some(phases) => Action::Cluster(Box::new(cluster::compile(region, &phases)?)),
        None => Action::Tape(cluster_tape(region)?),
    })
}

/// What a cluster computes.
pub struct ClusterExpression {
    /// The expression.
    pub expression: Expression,
    /// The dtypes of its inputs; a product in the region is one more.
    pub inputs: Vec<DType>,
    /// Its results.
    pub outputs: Vec<Register>,
}

/// The tape of a cluster.
fn cluster_tape(region: &Graph) -> Result<Tape> {
    let cluster = cluster_expression(region)?;
    Ok(Tape::new(&cluster.expression, &cluster.inputs, &cluster.outputs))
}

/// The expression of a cluster's region.
///
/// # Errors
/// `internal`: the region holds a constant without a value, or makes a key.
pub fn cluster_expression(region: &Graph) -> Result<ClusterExpression> {
    let mut expression = Expression::new();
    let mut registers: Vec<Register> = vec![0; region.value_count()];
    let mut dtypes = Vec::new();
    for (index, input) in region.inputs().iter().enumerate() {
        let dtype = region.spec(input.value).dtype;
        dtypes.push(dtype);
        registers[input.value.index()] = expression.input(index as u16, dtype);
    }
    for node in region.nodes() {
        let operands: Vec<_> = node.inputs.iter().map(|value| registers[value.index()]).collect();
        registers[node.first.index()] = match &node.op.def.meaning {
            Meaning::Scalar(meaning) => meaning(&mut expression, &node.op.attrs, &operands),
            _ if is_product(region, node) => {
                dtypes.push(region.spec(node.first).dtype);
                expression.input(dtypes.len() as u16 - 1, dtypes[dtypes.len() - 1])
            }
            _ if is_random_bits(node) => {
                expression.random(key_input(region, node)? as u16, region.spec(node.first).dtype)
            }
            _ => expression.tensor_constant(&node.op.attrs.tensor("value")?),
        };
    }
    let outputs = region.outputs().iter().map(|value| registers[value.index()]).collect();
    Ok(ClusterExpression { expression, inputs: dtypes, outputs })
}

/// The input of a cluster's region that is the key of a node's random bits.
///
/// # Errors
/// `internal`: the key is no input.
pub fn key_input(region: &Graph, node: &Node) -> Result<usize> {
    let found = region.inputs().iter().position(|input| input.value == node.inputs[0]);
    found.ok_or_else(|| Error::internal("a cluster makes a key"))
}
