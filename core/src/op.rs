//! What an op is: one record that holds everything about it.
//!
//! The record is plain data and function pointers. The builder, autodiff, the engines, every language's wrappers, the
//! reference and the tests all read it; nothing about an op stands anywhere else.

use crate::attrs::{AttrDef, Attrs};
use crate::cpu::call::{Call, Layout, List};
use crate::cpu::check::Number;
use crate::cpu::work::Stop;
use crate::dtype::{DType, DTypes};
use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::infer::Infer;
use crate::scalar::{Expression, Register};
use crate::shape::{Dim, Shape};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A dtype and a shape: what is known of a value before it is computed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Spec {
    /// The dtype of every element.
    pub dtype: DType,
    /// The dims, some of which may be symbols.
    pub shape: Shape,
}

impl Spec {
    /// A spec of these.
    pub fn new(dtype: DType, shape: Shape) -> Spec {
        Spec { dtype, shape }
    }

    /// Parses text such as `float32[batch, 28, 28, 1]`; `float32[]` is a scalar.
    ///
    /// # Errors
    /// `argument`: not a spec; `dtype`: no such dtype.
    pub fn parse(text: &str) -> Result<Spec> {
        let text = text.trim();
        match text.find('[') {
            Some(start) => Ok(Spec::new(DType::parse(&text[..start])?, Shape::parse(&text[start..])?)),
            None => Err(Error::argument(format!("{text:?} is not a spec such as float32[batch, 784]"))),
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}

/// How many values an input takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// Exactly one.
    One,
    /// One or none.
    Optional,
    /// Any number from this on; the last input only.
    Variadic(usize),
}

/// Which dtypes an input takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// Those of the op's set; all such inputs are promoted to one dtype.
    T,
    /// Those of this set, whatever the other inputs have.
    Set(DTypes),
}

/// An input in an op's record.
#[derive(Debug)]
pub struct InputDef {
    /// Its name.
    pub name: &'static str,
    /// How many values it takes.
    pub arity: Arity,
    /// Which dtypes it takes.
    pub accepts: Accepts,
    /// Which of its values a checked run refuses.
    pub check: Check,
}

/// Which values of an input a checked run refuses; other runs give for them what the op's doc says.
#[derive(Debug, Clone, Copy)]
pub enum Check {
    /// None.
    None,
    /// Indices outside the bounds that the function gives for the op's attrs and the sizes of its inputs: one bound for
    /// all, or one for each place along the input's last axis.
    Index(fn(&Attrs, &[&[usize]]) -> Vec<Bound>),
    /// 0, if the input is an integer: what is divided by.
    NotZero,
    /// Floating-point numbers that the dtype of the output, if that is an integer, does not hold when what follows the
    /// point is cut off.
    Held,
}

/// The indices that an axis takes: `low..high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The axis that they count along.
    pub axis: usize,
    /// Its size.
    pub size: usize,
    /// The least.
    pub low: i64,
    /// One more than the greatest.
    pub high: i64,
}

impl Bound {
    /// From the front or the end: in [-size, size).
    pub fn of_axis(axis: usize, size: usize) -> Bound {
        Bound { axis, size, low: -(size as i64), high: size as i64 }
    }

    /// Whether a number is within.
    pub fn holds(self, number: Number) -> bool {
        matches!(number, Number::Integer(index) if (self.low.into()..self.high.into()).contains(&index))
    }
}

impl InputDef {
    /// One value of the op's dtype.
    pub const fn of(name: &'static str) -> InputDef {
        InputDef { name, arity: Arity::One, accepts: Accepts::T, check: Check::None }
    }

    /// One value of a dtype in `set`.
    pub const fn in_set(name: &'static str, set: DTypes) -> InputDef {
        InputDef { name, arity: Arity::One, accepts: Accepts::Set(set), check: Check::None }
    }

    /// The same input, which may be left out.
    pub const fn optional(self) -> InputDef {
        InputDef { arity: Arity::Optional, ..self }
    }

    /// The same input, any number of times.
    pub const fn variadic(self, least: usize) -> InputDef {
        InputDef { arity: Arity::Variadic(least), ..self }
    }

    /// The same input, some of whose values a checked run refuses.
    pub const fn checked(self, check: Check) -> InputDef {
        InputDef { check, ..self }
    }
}

/// A case that the tests run, for each dtype of the op.
#[derive(Debug)]
pub struct Sample {
    /// Specs of the inputs; `T` is the dtype under test. `T[2, 3] in 0..1` draws from a range, `-` is left out.
    pub inputs: &'static [&'static str],
    /// The attrs as JSON.
    pub attrs: &'static str,
}

/// The layout of an op's output over the memory of its first input: given the attrs, the input's layout and the
/// output's sizes.
pub type View = fn(&Attrs, &Layout, &[usize]) -> Layout;

/// A kernel of the CPU engine, written out.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    /// Computes the outputs. Inputs are checked; see `cpu::work` for what pausing asks of it.
    pub run: fn(&mut Call) -> Result<(), Stop>,
    /// Bytes it needs beside its outputs, given the sizes of inputs and outputs.
    pub workspace: fn(&Attrs, inputs: &[Layout], outputs: &[Layout]) -> u64,
    /// Whether it reads inputs that are strided; others are made dense for it.
    pub takes_strides: bool,
    /// For ops that only move: the output as a strided view of the first input.
    pub view: Option<View>,
}

impl Kernel {
    /// A kernel on dense inputs that needs no workspace.
    pub const fn dense(run: fn(&mut Call) -> Result<(), Stop>) -> Kernel {
        Kernel { run, workspace: |_, _, _| 0, takes_strides: false, view: None }
    }
}

/// The ops with regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Runs one of two regions.
    Cond,
    /// Runs a region while another says so.
    WhileLoop,
    /// Runs a region once for each slice of its inputs.
    Scan,
    /// Runs a region.
    Call,
}

/// What an op computes.
pub enum Meaning {
    /// Element-wise, by an expression over its inputs' elements.
    Scalar(fn(&mut Expression, &Attrs, &[Register]) -> Register),
    /// A composite: other ops.
    Lower(fn(&mut Lowering) -> Result<Vec<Value>>),
    /// A kernel.
    Kernel(Kernel),
    /// Regions, run by the executor.
    Control(Control),
    /// A region of element-wise ops that runs as one step; made by the pass `fuse`.
    Cluster,
}

/// The gradient of an op.
pub enum Vjp {
    /// A rule: cotangents of the outputs to cotangents of the inputs (`None`: zero, or not asked for).
    Rule(fn(&mut Backward) -> Result<Vec<Option<Value>>>),
    /// That of what the composite lowers to.
    Lowered,
    /// There is none, for this reason; cotangents end here.
    NotDifferentiable(&'static str),
}

/// An op: its name, what it takes, what it means, how it differentiates, how it is tested.
pub struct OpDef {
    /// Its name, snake_case.
    pub name: &'static str,
    /// Its version; what a (name, version) means never changes.
    pub version: u32,
    /// What it does: shapes, dtypes, edge cases, the source of a formula. The first line is a summary.
    pub doc: &'static str,
    /// The dtypes that `T` ranges over.
    pub dtypes: DTypes,
    /// Its inputs in order.
    pub inputs: &'static [InputDef],
    /// The names of its outputs; empty for control flow, whose outputs are its regions'.
    pub outputs: &'static [&'static str],
    /// Its attrs.
    pub attrs: &'static [AttrDef],
    /// The names of its regions.
    pub regions: &'static [&'static str],
    /// The specs of its outputs; refuses what does not fit.
    pub infer: fn(&mut Infer) -> Result<Vec<Spec>>,
    /// What it computes.
    pub meaning: Meaning,
    /// Its gradient.
    pub vjp: Vjp,
    /// Cases that the tests run.
    pub samples: &'static [Sample],
}

impl OpDef {
    /// The input that the `index`-th operand belongs to.
    pub fn input(&self, index: usize) -> Option<&'static InputDef> {
        match self.inputs.last() {
            Some(last) if matches!(last.arity, Arity::Variadic(_)) && index >= self.inputs.len() => Some(last),
            _ => self.inputs.get(index),
        }
    }
}

impl fmt::Debug for OpDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpDef({} v{})", self.name, self.version)
    }
}

impl PartialEq for OpDef {
    fn eq(&self, other: &OpDef) -> bool {
        (self.name, self.version) == (other.name, other.version)
    }
}

impl Eq for OpDef {}

impl Hash for OpDef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.name, self.version).hash(state);
    }
}

/// An op with its attrs: made once, used often.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Op {
    /// The record.
    pub def: &'static OpDef,
    /// The attrs.
    pub attrs: Attrs,
}

/// What a composite lowers in: it applies other ops to the graph.
pub struct Lowering<'a> {
    /// The graph that the ops go to.
    pub graph: &'a mut Graph,
    /// The composite's attrs.
    pub attrs: &'a Attrs,
    /// The composite's inputs; [`Value::ABSENT`] where one was left out.
    pub inputs: &'a [Value],
}

impl Lowering<'_> {
    /// The input of that index, unless it was left out.
    pub fn optional(&self, index: usize) -> Option<Value> {
        self.inputs.get(index).copied().filter(|value| *value != Value::ABSENT)
    }

    /// The dims of an input.
    pub fn shape(&self, index: usize) -> Shape {
        self.graph.spec(self.inputs[index]).shape.clone()
    }

    /// The dtype of an input.
    pub fn dtype(&self, index: usize) -> DType {
        self.graph.spec(self.inputs[index]).dtype
    }
}

/// What a gradient rule works in: it applies ops to the graph that holds the forward nodes.
pub struct Backward<'a> {
    /// The graph.
    pub graph: &'a mut Graph,
    /// The forward op's attrs.
    pub attrs: &'a Attrs,
    /// The forward op's regions.
    pub regions: &'a [Arc<Graph>],
    /// The forward op's inputs; [`Value::ABSENT`] where one was left out.
    pub inputs: &'a [Value],
    /// The forward op's outputs.
    pub outputs: &'a [Value],
    /// The outputs' cotangents; `None` is zero. At least one is there.
    pub cotangents: &'a [Option<Value>],
    /// Whether the cotangent of each input is asked for.
    pub wanted: &'a [bool],
}

impl Backward<'_> {
    /// The cotangent of the only output.
    pub fn cotangent(&self) -> Result<Value> {
        self.cotangents
            .first()
            .copied()
            .flatten()
            .ok_or_else(|| Error::internal("a vjp was called without a cotangent"))
    }

    /// The dims of an input.
    pub fn shape(&self, index: usize) -> Shape {
        self.graph.spec(self.inputs[index]).shape.clone()
    }

    /// The dims of an output.
    pub fn output_shape(&self, index: usize) -> Shape {
        self.graph.spec(self.outputs[index]).shape.clone()
    }
}

/// An axis in [-rank, rank) as an index.
///
/// # Errors
/// `argument`: outside that range.
pub fn normalize_axis(axis: i64, rank: usize) -> Result<usize> {
    let index = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    match index {
        Some(index) if (0..rank as i64).contains(&index) => Ok(index as usize),
        _ => Err(Error::argument(format!("axis {axis} is out of range for rank {rank}")).with_argument("axis")),
    }
}

/// Axes in [-rank, rank), sorted; `None` is all of them.
///
/// # Errors
/// `argument`: one is out of range, or stands twice.
pub fn normalize_axes(axes: Option<&[i64]>, rank: usize) -> Result<List<usize>> {
    let Some(axes) = axes else { return Ok((0..rank).collect()) };
    let mut indices = axes.iter().map(|&axis| normalize_axis(axis, rank)).collect::<Result<List<_>>>()?;
    indices.sort_unstable();
    match indices.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::argument(format!("axis {} stands twice in {axes:?}", pair[0])).with_argument("axis")),
        None => Ok(indices),
    }
}

/// A dim of one.
pub fn one() -> Dim {
    Dim::constant(1)
}
