//! One op on tensors, at once: what eager calls and constant folding do.

use super::call::{Call, Layout, List, Target, View};
use super::memory::{Budget, Buffer};
use super::tape::Tape;
use super::work::{Cursor, Stop, Watch, Work};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::graph::infer;
use crate::meter::Meter;
use crate::op::{Kernel, Meaning, Op, Spec};
use crate::scalar::{Expression, Register};
use crate::tensor::{Tensor, byte_count};
use std::sync::Arc;

/// The tape of one element-wise op on inputs of these dtypes.
pub fn tape(op: &Op, inputs: &[DType]) -> Tape {
    let (expression, result) = expression(op, inputs);
    Tape::new(&expression, inputs, &[result])
}

/// The expression of one element-wise op on inputs of these dtypes, and its result.
pub fn expression(op: &Op, inputs: &[DType]) -> (Expression, Register) {
    let mut expression = Expression::new();
    let operands: Vec<_> =
        inputs.iter().enumerate().map(|(index, &dtype)| expression.input(index as u16, dtype)).collect();
    let result = match &op.def.meaning {
        Meaning::Scalar(meaning) => meaning(&mut expression, &op.attrs, &operands),
        _ => unreachable!("only element-wise ops have a tape"),
    };
    (expression, result)
}

/// The outputs of an element-wise op or a kernel, on inputs that `check_inputs` has passed.
///
/// # Errors
/// What the op's inference refuses; `memory`: no memory.
pub fn compute(op: &Op, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>> {
    compute_within(op, inputs, &Meter::default())
}

/// As [`compute`], charged to a meter and stopped by it.
///
/// # Errors
/// As [`compute`]; what the meter refuses.
pub fn compute_within(op: &Op, inputs: &[Option<Tensor>], meter: &Meter) -> Result<Vec<Tensor>> {
    let mut outputs = Vec::new();
    let prepared = Prepared::new(op, inputs)?;
    prepared.run(op, inputs, meter.budget(), meter.watch(), |output| outputs.push(output))?;
    Ok(outputs)
}

/// The specs of an op's outputs on these tensors.
///
/// # Errors
/// What the op's inference refuses.
pub fn output_specs(op: &Op, inputs: &[Option<Tensor>]) -> Result<Vec<Spec>> {
    let specs: Vec<_> = inputs.iter().map(|input| input.as_ref().map(Tensor::spec)).collect();
    let specs: Vec<_> = specs.iter().map(Option::as_ref).collect();
    let (outputs, constraints) = infer(op, &specs, &[]).map_err(|error| error.with_op(op.def.name))?;
    match constraints.iter().find(|constraint| !constraint.holds(&|_| None).unwrap_or(false)) {
        Some(constraint) => Err(Error::shape(format!("{constraint} does not hold")).with_op(op.def.name)),
        None => Ok(outputs),
    }
}

/// The layouts of tensors; `None` where one was left out.
pub fn layouts(inputs: &[Option<Tensor>]) -> Vec<Option<Layout>> {
    let layout = |input: &Option<Tensor>| input.as_ref().map(|input| Layout::dense(input.dtype(), input.sizes()));
    inputs.iter().map(layout).collect()
}

/// Whether these are tensors of the layouts.
pub fn fits(layouts: &[Option<Layout>], inputs: &[Option<Tensor>]) -> bool {
    let fits = |(layout, input): (&Option<Layout>, &Option<Tensor>)| match (layout, input) {
        (Some(layout), Some(input)) => layout.dtype == input.dtype() && layout.sizes[..] == *input.sizes(),
        (layout, input) => layout.is_none() && input.is_none(),
    };
    layouts.len() == inputs.len() && layouts.iter().zip(inputs).all(fits)
}

enum Program {
    Tape(Tape),
    /// A kernel and the bytes of its workspace.
    Kernel(Kernel, usize),
}

/// An element-wise op or a kernel, ready for inputs of certain dtypes and sizes: a call allocates its outputs and, if it
/// needs one, its workspace.
pub struct Prepared {
    inputs: Vec<Option<Layout>>,
    outputs: Vec<Layout>,
    program: Program,
}

impl Prepared {
    /// For inputs that `check_inputs` has passed.
    ///
    /// # Errors
    /// What the op's inference refuses.
    pub fn new(op: &Op, inputs: &[Option<Tensor>]) -> Result<Prepared> {
        let layout = |spec: &Spec| match spec.shape.sizes() {
            Some(sizes) => Ok(Layout::dense(spec.dtype, &sizes)),
            None => Err(Error::argument(format!("the size of {spec} is not known; a dim of an attr is a symbol"))),
        };
        let outputs = output_specs(op, inputs)?.iter().map(layout).collect::<Result<Vec<_>>>()?;
        let inputs = layouts(inputs);
        for layout in &outputs {
            byte_count(layout.dtype, &layout.sizes)?;
        }
        let program = match &op.def.meaning {
            Meaning::Scalar(_) => {
                let dtypes: Vec<_> = inputs.iter().flatten().map(|input| input.dtype).collect();
                Program::Tape(tape(op, &dtypes))
            }
            Meaning::Kernel(kernel) => {
                let present: Vec<_> = inputs.iter().flatten().cloned().collect();
                let bytes = (kernel.workspace)(&op.attrs, &present, &outputs);
                let bytes = usize::try_from(bytes);
                Program::Kernel(*kernel, bytes.map_err(|_| Error::memory("no memory holds the workspace"))?)
            }
            _ => return Err(Error::internal(format!("{} is not one step", op.def.name))),
        };
        Ok(Prepared { inputs, outputs, program })
    }

    /// Whether it is for such inputs.
    pub fn fits(&self, inputs: &[Option<Tensor>]) -> bool {
        fits(&self.inputs, inputs)
    }

    /// Runs it on inputs that it is for; hands each output to `each`, in order.
    ///
    /// # Errors
    /// `memory`, or the reason to stop.
    pub fn run(
        &self,
        op: &Op,
        inputs: &[Option<Tensor>],
        budget: Option<&Arc<Budget>>,
        watch: &Watch,
        each: impl FnMut(Tensor),
    ) -> Result<()> {
        // SAFETY: kernels write every element of their outputs; those of a run that stops early are dropped.
        let result = |layout: &Layout| unsafe { Tensor::unwritten(layout.dtype, &layout.sizes, budget) };
        let mut outputs = self.outputs.iter().map(result).collect::<Result<List<_>>>()?;
        let mut targets = List::<Target>::new();
        for (output, layout) in outputs.iter_mut().zip(&self.outputs) {
            let bytes = output.bytes_mut().ok_or_else(|| Error::internal("a new tensor is shared"))?;
            // SAFETY: the tensor is new, so these bytes are only written through this target.
            targets.push(unsafe { Target::new(bytes.as_mut_ptr(), layout) });
        }
        let views =
            inputs.iter().zip(&self.inputs).map(|(input, layout)| Some(view(input.as_ref()?, layout.as_ref()?)));
        let mut cursor = Cursor::default();
        let mut work = Work::new(watch, &mut cursor);
        let ended = match &self.program {
            Program::Tape(tape) => tape.run(&views.flatten().collect::<List<_>>(), &mut targets, &mut work),
            Program::Kernel(kernel, bytes) => {
                let mut workspace = Buffer::zeroed(*bytes, budget)?;
                let workspace = workspace.bytes_mut().ok_or_else(|| Error::internal("a new buffer is foreign"))?;
                let inputs = &views.collect::<List<_>>()[..];
                // SAFETY: targets of a shorter life, which nothing reads after the call.
                let outputs = unsafe { std::mem::transmute::<&mut [Target<'_>], &mut [Target<'_>]>(&mut targets) };
                (kernel.run)(&mut Call { attrs: &op.attrs, inputs, outputs, workspace, work, finish: None })
            }
        };
        ended.map_err(stopped)?;
        outputs.into_iter().for_each(each);
        Ok(())
    }
}

/// A view of a whole tensor.
fn view<'a>(tensor: &'a Tensor, layout: &'a Layout) -> View<'a> {
    // SAFETY: the tensor's bytes do not change while it is borrowed, and are exactly those of its dense layout.
    unsafe { View::new(tensor.bytes().as_ptr(), tensor.bytes().len(), layout) }
}

/// The error for work that had to stop.
pub fn stopped(stop: Stop) -> Error {
    match stop {
        Stop::Cancelled => Error::cancelled("the call was cancelled"),
        Stop::Deadline => Error::deadline("the call took longer than its limit in seconds"),
        Stop::OutOfMemory => Error::memory("a kernel found no memory"),
        Stop::Paused => Error::internal("a run paused that was to go on to its end"),
    }
}
