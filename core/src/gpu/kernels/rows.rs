//! A cluster with reductions as one kernel. Some lanes of a workgroup have a row: phase by phase they go over it, compute
//! what the phase folds from the inputs, over again where an earlier phase has done so, and join their partial results in
//! the workgroup's memory; then each computes what follows for the row.
//!
//! Where the reduced axes are the first ones, rows are columns: neighbouring lanes have neighbouring ones.

mod shader;

use super::elementwise::broadcast;
use super::reduce::along;
use crate::cpu::call::{Layout, List};
use crate::dtype::DType;
use crate::gpu::device::Adapter;
use crate::gpu::kernel::{Recipe, Refusal, Request};
use crate::gpu::wgsl::INVOCATIONS;
use crate::graph::{Graph, Node, Value};
use crate::op::Meaning;
use crate::ops::phases::{Form, Level, Phases, Reduced};
use crate::ops::{is_fold, is_random_bits};
use crate::plan::key_input;
use crate::scalar::{Binary, Expression, Register};
use crate::shape::Bindings;
use std::collections::HashMap;

/// The longest row that one lane goes over; on the CPU, where barriers cost more than the lanes gain.
const SHORT: usize = 32;
const SHORT_IN_SOFTWARE: usize = 1024;

/// The most lanes that a row has there: a vector of them.
const LANES_IN_SOFTWARE: u32 = 8;

/// Elements of longer ones that a lane goes over before another one helps it.
const FEW: usize = 8;

/// Rows longer than that are reduced in stages where they are few.
const LONG: usize = 16 << 10;

/// So many are not few.
const MANY: usize = 32;

/// The most that a lane goes over in all phases.
const MOST: usize = 16 << 10;

/// Columns beside each other that a workgroup has at least.
const COLUMNS: u32 = 32;

/// The most reductions of a phase: their partial results take no more than 16 KiB.
const FOLDS: usize = 8;

/// Prints a region with reductions, where the symbols have these sizes.
///
/// # Errors
/// It is not one kernel: more buffers than a shader may have, or rows so long that more should go over each; `float64`.
pub fn print(region: &Graph, sizes: &Bindings, request: &Request) -> Result<Recipe, Refusal> {
    let phases = Phases::new(region).map_err(|reason| Refusal(reason.into()))?;
    let phases = phases.ok_or_else(|| Refusal("a cluster without reductions".into()))?;
    let rows = Rows::new(&phases, sizes, request.adapter)?;
    if rows.count == 0 {
        return Ok(Recipe::default());
    }
    let mut body = Body::new(region, &phases.reduced, rows, request);
    region.nodes().iter().try_for_each(|node| body.add(node))?;
    let outputs = region.outputs().iter().map(|value| body.output(*value, &phases)).collect::<Result<Vec<_>, _>>()?;
    Ok(Recipe::of(shader::launch(&body, &phases, &outputs)?))
}

/// The rows of a cluster, and the lanes that have them.
struct Rows {
    /// The full shape.
    full: List<usize>,
    /// Its axes that are reduced.
    axes: List<usize>,
    /// How many rows there are.
    count: usize,
    /// How many elements each has.
    length: usize,
    /// Whether neighbouring elements are of neighbouring rows.
    are_columns: bool,
    /// The lanes that have a row.
    lanes: u32,
}

impl Rows {
    fn new(phases: &Phases, sizes: &Bindings, adapter: &Adapter) -> Result<Rows, Refusal> {
        let reduced = &phases.reduced;
        let full = reduced.full.evaluate_list(&|name| sizes.get(name))?;
        let size = |is_reduced: bool| {
            let axes = (0..full.len()).filter(|axis| reduced.axes.contains(axis) == is_reduced);
            axes.map(|axis| full[axis]).product::<usize>()
        };
        let (count, length, are_columns) = (size(false), size(true), reduced.leads());
        let (short, most) = match adapter.is_software {
            true => (SHORT_IN_SOFTWARE, LANES_IN_SOFTWARE),
            false if are_columns => (SHORT, INVOCATIONS / COLUMNS.min(count.max(1).next_power_of_two() as u32)),
            false => (SHORT, INVOCATIONS),
        };
        let helped = length.div_ceil(FEW).next_power_of_two().min(most as usize) as u32;
        let lanes = if length > short { helped } else { 1 };
        if count.saturating_mul(length) > i32::MAX as usize {
            return Err(Refusal(format!("{count} rows of {length} are more than 31 bits count")));
        }
        let each = length.div_ceil(lanes as usize) * phases.list.len();
        if count > 0 && (length == 0 || length > LONG && count < MANY || each > MOST) {
            return Err(Refusal(format!("{count} rows of {length} are not reduced by a workgroup each")));
        }
        Ok(Rows { full, axes: reduced.axes.clone(), count, length, are_columns, lanes })
    }

    /// Rows that a workgroup has.
    fn in_group(&self) -> u32 {
        INVOCATIONS / self.lanes
    }

    /// The sizes of a shape, and how an operand lies that is broadcast to it.
    fn spread(&self, layout: &Layout, form: Form) -> Result<Spread, Refusal> {
        let is_reduced = |axis: usize| self.axes.contains(&axis);
        let sizes: List<usize> = match form {
            Form::Full => self.full.clone(),
            Form::Kept => (0..self.full.len()).map(|axis| if is_reduced(axis) { 1 } else { self.full[axis] }).collect(),
            Form::Dropped => {
                (0..self.full.len()).filter(|&axis| !is_reduced(axis)).map(|axis| self.full[axis]).collect()
            }
        };
        let layout = broadcast(layout, &sizes)?;
        Ok(match form {
            Form::Dropped => Spread { starts: layout, elements: None },
            _ => {
                let elements = along(&layout, 0, is_reduced);
                let varies =
                    elements.sizes.iter().zip(&elements.strides).any(|(size, stride)| *size > 1 && *stride != 0);
                let starts = along(&layout, layout.offset, |axis| !is_reduced(axis));
                Spread { starts, elements: Some(elements).filter(|_| varies) }
            }
        })
    }
}

/// How an operand lies.
#[derive(Clone, PartialEq)]
struct Spread {
    /// Where each row begins.
    starts: Layout,
    /// Where its elements are from there; `None` if it has the same one at each place.
    elements: Option<Layout>,
}

/// An operand in a form.
struct Read {
    input: usize,
    form: Form,
    spread: Spread,
    register: Register,
}

/// Random words over the full shape: the operand that is their key, and their register.
struct Words {
    key: usize,
    dtype: DType,
    register: Register,
}

/// A reduction: how it joins elements, and the registers of an element, of its start and of its result.
#[derive(Clone, Copy)]
struct Fold {
    join: Binary,
    dtype: DType,
    element: Register,
    start: Register,
    result: Register,
}

/// An output: its register, and the phase in which it is stored if it has an element for each place.
struct Output {
    register: Register,
    phase: Option<usize>,
    dtype: DType,
}

/// What a cluster computes: one expression, whose inputs are operands and the results of reductions.
struct Body<'a> {
    region: &'a Graph,
    reduced: &'a Reduced,
    rows: Rows,
    request: &'a Request<'a>,
    expression: Expression,
    registers: HashMap<Value, Register>,
    reads: Vec<Read>,
    words: Vec<Words>,
    folds: HashMap<Value, Fold>,
    inputs: u16,
}

impl<'a> Body<'a> {
    fn new(region: &'a Graph, reduced: &'a Reduced, rows: Rows, request: &'a Request<'a>) -> Body<'a> {
        Body {
            region,
            reduced,
            rows,
            request,
            expression: Expression::new(),
            registers: HashMap::new(),
            reads: Vec::new(),
            words: Vec::new(),
            folds: HashMap::new(),
            inputs: 0,
        }
    }

    fn input(&mut self, dtype: DType) -> Register {
        self.inputs += 1;
        self.expression.input(self.inputs - 1, dtype)
    }

    /// Adds what a node computes.
    fn add(&mut self, node: &Node) -> Result<(), Refusal> {
        let spec = self.region.spec(node.first);
        let register = match &node.op.def.meaning {
            Meaning::Scalar(meaning) => {
                let form = self.reduced.form(&spec.shape);
                let operands = node.inputs.iter().map(|&value| self.operand(value, form));
                let operands = operands.collect::<Result<Vec<_>, _>>()?;
                meaning(&mut self.expression, &node.op.attrs, &operands)
            }
            _ if is_fold(&node.op) => {
                let element = self.operand(node.inputs[0], Form::Full)?;
                let fold = self.fold(node.op.def.name, element);
                self.folds.insert(node.first, fold);
                fold.result
            }
            _ if is_random_bits(node) => {
                let (key, dtype) = (key_input(self.region, node)?, spec.dtype);
                let register = self.input(dtype);
                self.words.push(Words { key, dtype, register });
                register
            }
            _ if node.op.def.name == "constant" => self.expression.tensor_constant(&node.op.attrs.tensor("value")?),
            // What moves gives a row's element at each of its places, or in another of the shapes that rows have.
            _ => self.operand(node.inputs[0], Form::Full)?,
        };
        self.registers.insert(node.first, register);
        Ok(())
    }

    fn operand(&mut self, value: Value, form: Form) -> Result<Register, Refusal> {
        let Some(input) = self.region.inputs().iter().position(|input| input.value == value) else {
            let register = self.registers.get(&value).copied();
            return register.ok_or_else(|| Refusal("a cluster reads a value that it has not computed".into()));
        };
        if let Some(read) = self.reads.iter().find(|read| read.input == input && read.form == form) {
            return Ok(read.register);
        }
        let layout = self.request.input(input)?;
        let (spread, register) = (self.rows.spread(layout, form)?, self.input(layout.dtype));
        self.reads.push(Read { input, form, spread, register });
        Ok(register)
    }

    fn fold(&mut self, name: &str, element: Register) -> Fold {
        let expression = &mut self.expression;
        let is_bool = expression.dtype(element) == DType::Bool;
        let (join, start, element) = match name {
            "sum" => (Binary::Add, 0.0, element),
            "prod" => (Binary::Mul, 1.0, element),
            "max" => (Binary::Max, if is_bool { 0.0 } else { f64::NEG_INFINITY }, element),
            "min" => (Binary::Min, f64::INFINITY, element),
            "any" => (Binary::Or, 0.0, expression.cast(DType::Bool, element)),
            _ => (Binary::And, 1.0, expression.cast(DType::Bool, element)),
        };
        let dtype = expression.dtype(element);
        let start = expression.constant(dtype, start);
        Fold { join, dtype, element, start, result: self.input(dtype) }
    }

    fn output(&self, value: Value, phases: &Phases) -> Result<Output, Refusal> {
        let missing = || Refusal("a cluster gives a value that it has not computed".into());
        let register = self.registers.get(&value).copied().ok_or_else(missing)?;
        let (level, phase) = phases.places.get(&value).copied().ok_or_else(missing)?;
        let phase = phase.filter(|_| level == Level::Full);
        Ok(Output { register, phase, dtype: self.region.spec(value).dtype })
    }
}

#[cfg(all(test, feature = "gpu"))]
mod tests;
