//! Eager calls: one op on tensors, at once.

use super::Limits;
use super::function::Executable;
use crate::cpu::fork::section;
use crate::cpu::memory::check_watched;
use crate::cpu::single::{self, output_specs, run_kernel, run_tape};
use crate::cpu::tape::Tape;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::graph::{Graph, Value, check_inputs, op};
use crate::meter::Meter;
use crate::op::{Meaning, Op, Spec};
use crate::passes;
use crate::shape::Bindings;
use crate::tensor::Tensor;
use std::sync::{Arc, Mutex, PoisonError};

/// How many dtypes or specs of inputs an op keeps something for.
const KEPT: usize = 8;

/// The specs of an op's inputs; `None` where one was left out.
type Specs = Vec<Option<Spec>>;

/// An op that is called eagerly; keeps what the calls share.
pub struct EagerOp {
    op: Op,
    tapes: Mutex<Vec<(Vec<DType>, Arc<Tape>)>>,
    composites: Mutex<Vec<(Specs, Arc<Executable>)>>,
}

impl EagerOp {
    /// An op to call.
    pub fn new(op: Op) -> EagerOp {
        EagerOp { op, tapes: Mutex::default(), composites: Mutex::default() }
    }

    /// The op.
    pub fn op(&self) -> &Op {
        &self.op
    }

    /// Runs the op.
    ///
    /// # Errors
    /// What the op refuses, with its name; `memory`, `deadline`, `cancelled`; `unsupported`: it has regions; `io`: an
    /// input lies in a mapped file that has changed.
    pub fn call(&self, inputs: &[Option<Tensor>], limits: &Limits) -> Result<Vec<Tensor>> {
        self.try_call(inputs, limits).map_err(|error| error.with_op(self.op.def.name))
    }

    fn try_call(&self, inputs: &[Option<Tensor>], limits: &Limits) -> Result<Vec<Tensor>> {
        check_watched(inputs.iter().flatten().map(Tensor::buffer))?;
        let specs: Vec<_> = inputs.iter().map(|input| input.as_ref().map(Tensor::spec)).collect();
        let casts = check_inputs(self.op.def, &specs.iter().map(Option::as_ref).collect::<Vec<_>>())?;
        if casts.is_empty() {
            return self.run(inputs, limits);
        }
        let mut inputs = inputs.to_vec();
        for (index, dtype) in casts {
            let cast = op("cast", &[("dtype", crate::attrs::AttrValue::DType(dtype))])?;
            inputs[index] = single::compute(&cast, &[inputs[index].clone()])?.pop();
        }
        self.run(&inputs, limits)
    }

    fn run(&self, inputs: &[Option<Tensor>], limits: &Limits) -> Result<Vec<Tensor>> {
        let budget = Some(limits.budget());
        match &self.op.def.meaning {
            Meaning::Scalar(_) => {
                let outputs = output_specs(&self.op, inputs)?;
                let inputs: Vec<_> = inputs.iter().flatten().collect();
                let tape = self.tape(&inputs);
                run_tape(&tape, &inputs, &outputs[0], budget, &limits.watch()).map(|output| vec![output])
            }
            Meaning::Kernel(kernel) => {
                let outputs = output_specs(&self.op, inputs)?;
                run_kernel(kernel, &self.op, inputs, &outputs, budget, &limits.watch())
            }
            // The user called the composite, not the op inside that refuses.
            Meaning::Lower(_) => {
                self.run_composite(inputs, limits).map_err(|error| Error::new(error.code(), error.text()))
            }
            Meaning::Control(_) | Meaning::Cluster => Err(Error::unsupported("it has regions; apply it in a graph")),
        }
    }

    fn tape(&self, inputs: &[&Tensor]) -> Arc<Tape> {
        let _section = section();
        let mut tapes = self.tapes.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |dtypes: &[DType]| dtypes.iter().copied().eq(inputs.iter().map(|input| input.dtype()));
        if let Some((_, tape)) = tapes.iter().find(|(dtypes, _)| fits(dtypes)) {
            return tape.clone();
        }
        let dtypes: Vec<_> = inputs.iter().map(|input| input.dtype()).collect();
        let tape = Arc::new(single::tape(&self.op, &dtypes));
        if tapes.len() == KEPT {
            tapes.remove(0);
        }
        tapes.push((dtypes, tape.clone()));
        tape
    }

    fn run_composite(&self, inputs: &[Option<Tensor>], limits: &Limits) -> Result<Vec<Tensor>> {
        let specs: Vec<_> = inputs.iter().map(|input| input.as_ref().map(Tensor::spec)).collect();
        let executable = self.composite(specs)?;
        let present = inputs.iter().flatten().cloned().collect();
        let mut run = executable.start(present, &Bindings::new(), limits.budget(), |_, _| None)?;
        run.advance(&limits.watch())?;
        run.finish()
    }

    /// The executable of a composite on inputs of these specs.
    fn composite(&self, specs: Specs) -> Result<Arc<Executable>> {
        let _section = section();
        let mut composites = self.composites.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, executable)) = composites.iter().find(|(other, _)| *other == specs) {
            return Ok(executable.clone());
        }
        let mut graph = Graph::new();
        let mut operands = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            operands.push(match spec {
                Some(spec) => graph.input(&format!("input_{index}"), spec.clone())?,
                None => Value::ABSENT,
            });
        }
        let outputs = graph.apply(&self.op, Vec::new(), &operands)?;
        graph.set_outputs(outputs)?;
        let executable = Arc::new(Executable::new(&graph, passes::OPTIMIZED, &Meter::default())?);
        if composites.len() == KEPT {
            composites.remove(0);
        }
        composites.push((specs, executable.clone()));
        Ok(executable)
    }
}

/// Computes values of a graph at once: what eager gradients run on. The graph's inputs are exactly `inputs`.
///
/// # Errors
/// As [`EagerOp::call`].
pub fn evaluate(graph: &Graph, inputs: Vec<Tensor>, limits: &Limits) -> Result<Vec<Tensor>> {
    let executable = Arc::new(Executable::new(graph, passes::PLAIN, &limits.meter())?);
    let mut run = executable.start(inputs, &Bindings::new(), limits.budget(), |_, _| None)?;
    run.advance(&limits.watch())?;
    run.finish()
}
