//! One op on tensors, at once: what eager calls and constant folding do.

use super::call::{Call, Layout, Target, View};
use super::memory::{Budget, Buffer};
use super::tape::Tape;
use super::work::{Cursor, Stop, Watch, Work};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::graph::infer;
use crate::meter::Meter;
use crate::op::{Kernel, Meaning, Op, Spec};
use crate::scalar::Expression;
use crate::tensor::Tensor;
use std::sync::Arc;

/// The tape of one element-wise op on inputs of these dtypes.
pub fn tape(op: &Op, inputs: &[DType]) -> Tape {
    let mut expression = Expression::new();
    let operands: Vec<_> =
        inputs.iter().enumerate().map(|(index, &dtype)| expression.input(index as u16, dtype)).collect();
    let result = match &op.def.meaning {
        Meaning::Scalar(meaning) => meaning(&mut expression, &op.attrs, &operands),
        _ => unreachable!("only element-wise ops have a tape"),
    };
    Tape::new(&expression, inputs, &[result])
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
    let specs = output_specs(op, inputs)?;
    let (budget, watch) = (meter.budget(), meter.watch());
    match &op.def.meaning {
        Meaning::Scalar(_) => {
            let inputs: Vec<_> = inputs.iter().flatten().collect();
            let dtypes: Vec<_> = inputs.iter().map(|input| input.dtype()).collect();
            run_tape(&tape(op, &dtypes), &inputs, &specs[0], budget, watch).map(|output| vec![output])
        }
        Meaning::Kernel(kernel) => run_kernel(kernel, op, inputs, &specs, budget, watch),
        _ => Err(Error::internal(format!("{} is not one step", op.def.name))),
    }
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

fn sizes(spec: &Spec) -> Result<Vec<usize>> {
    spec.shape
        .sizes()
        .ok_or_else(|| Error::argument(format!("the size of {spec} is not known; a dim of an attr is a symbol")))
}

/// A view of a whole tensor.
fn view<'a>(tensor: &'a Tensor, layout: &'a Layout) -> View<'a> {
    // SAFETY: the tensor's bytes do not change while it is borrowed, and are exactly those of its dense layout.
    unsafe { View::new(tensor.bytes().as_ptr(), tensor.bytes().len(), layout) }
}

/// Runs a tape on tensors; one output of the given spec.
///
/// # Errors
/// `memory`, or the reason to stop.
pub fn run_tape(
    tape: &Tape,
    inputs: &[&Tensor],
    spec: &Spec,
    budget: Option<&Arc<Budget>>,
    watch: &Watch,
) -> Result<Tensor> {
    let mut output = Tensor::zeros(spec.dtype, &sizes(spec)?, budget)?;
    let layouts: Vec<_> = inputs.iter().map(|input| Layout::dense(input.dtype(), input.sizes())).collect();
    let views: Vec<_> = inputs.iter().zip(&layouts).map(|(input, layout)| view(input, layout)).collect();
    let layout = Layout::dense(spec.dtype, output.sizes());
    let bytes = output.bytes_mut().ok_or_else(|| Error::internal("a new tensor is shared"))?;
    // SAFETY: the tensor is new, so these bytes are only written through this target.
    let target = unsafe { Target::new(bytes.as_mut_ptr(), &layout) };
    tape.run(&views, &mut [target], &mut Work::new(watch, &mut Cursor::default())).map_err(stopped)?;
    Ok(output)
}

/// Runs a kernel on tensors.
///
/// # Errors
/// `memory`, or the reason to stop.
pub fn run_kernel(
    kernel: &Kernel,
    op: &Op,
    inputs: &[Option<Tensor>],
    specs: &[Spec],
    budget: Option<&Arc<Budget>>,
    watch: &Watch,
) -> Result<Vec<Tensor>> {
    let outputs = specs.iter().map(|spec| Tensor::zeros(spec.dtype, &sizes(spec)?, budget));
    let mut outputs = outputs.collect::<Result<Vec<_>>>()?;
    let layouts: Vec<_> =
        inputs.iter().map(|input| input.as_ref().map(|input| Layout::dense(input.dtype(), input.sizes()))).collect();
    let output_layouts: Vec<_> = outputs.iter().map(|output| Layout::dense(output.dtype(), output.sizes())).collect();
    let present: Vec<_> = layouts.iter().flatten().cloned().collect();
    let bytes = (kernel.workspace)(&op.attrs, &present, &output_layouts);
    let bytes = usize::try_from(bytes).map_err(|_| Error::memory(format!("no memory holds {bytes} bytes")))?;
    let mut workspace = Buffer::zeroed(bytes, budget)?;
    let views: Vec<_> =
        inputs.iter().zip(&layouts).map(|(input, layout)| Some(view(input.as_ref()?, layout.as_ref()?))).collect();
    let mut targets = Vec::new();
    for (output, layout) in outputs.iter_mut().zip(&output_layouts) {
        let bytes = output.bytes_mut().ok_or_else(|| Error::internal("a new tensor is shared"))?;
        // SAFETY: the tensor is new, so these bytes are only written through this target.
        targets.push(unsafe { Target::new(bytes.as_mut_ptr(), layout) });
    }
    let mut cursor = Cursor::default();
    let workspace = workspace.bytes_mut().ok_or_else(|| Error::internal("a new buffer is foreign"))?;
    let work = Work::new(watch, &mut cursor);
    let ended = (kernel.run)(&mut Call { attrs: &op.attrs, inputs: &views, outputs: &mut targets, workspace, work });
    ended.map_err(stopped).map(|()| outputs)
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
