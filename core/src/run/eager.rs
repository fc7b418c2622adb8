//! Eager calls: one op on tensors, at once.

use super::Limits;
use super::function::{Executable, Setting};
use crate::cpu::call::Layout;
use crate::cpu::fork::section;
use crate::cpu::memory::Budget;
use crate::cpu::single::{self, Prepared};
use crate::cpu::work::Watch;
use crate::error::{Error, Result};
use crate::gpu::device::Device;
use crate::graph::{Graph, Value, check_inputs, op};
use crate::meter::Meter;
use crate::op::{Meaning, Op};
use crate::passes;
use crate::shape::Bindings;
use crate::tensor::{Tensor, check_watched};
use std::sync::{Arc, PoisonError, RwLock};

/// How many dtypes and sizes of inputs an op keeps something for.
const KEPT: usize = 8;

/// An op that is called eagerly; keeps what the calls share.
pub struct EagerOp {
    op: Op,
    /// For inputs of the dtypes and sizes of late, the latest last.
    ready: RwLock<Vec<Arc<Ready>>>,
    /// Whose memory runs of composites use under limits that bring none.
    budget: Arc<Budget>,
}

/// An op for inputs of certain dtypes and sizes.
enum Ready {
    /// One step.
    Step(Prepared),
    /// A composite, or any op on a device; its inputs, `None` where one was left out.
    Composite(Vec<Option<Layout>>, Option<Arc<Device>>, Arc<Executable>),
}

impl Ready {
    fn fits(&self, inputs: &[Option<Tensor>]) -> bool {
        match self {
            Ready::Step(prepared) => device_of(inputs).is_none() && prepared.fits(inputs),
            Ready::Composite(layouts, device, _) => {
                device_of(inputs).map(Arc::as_ptr) == device.as_ref().map(Arc::as_ptr) && single::fits(layouts, inputs)
            }
        }
    }
}

/// Where a call runs: where its first input is that is on a device, else on the CPU.
fn device_of(inputs: &[Option<Tensor>]) -> Option<&Arc<Device>> {
    inputs.iter().flatten().find_map(Tensor::device)
}

impl EagerOp {
    /// An op to call.
    pub fn new(op: Op) -> EagerOp {
        EagerOp { op, ready: RwLock::default(), budget: Arc::default() }
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
        let mut outputs = Vec::new();
        self.call_with(inputs, Some(limits), |output| outputs.push(output))?;
        Ok(outputs)
    }

    /// As [`EagerOp::call`], without limits where there are none: hands each output to `each`, in order.
    ///
    /// # Errors
    /// As [`EagerOp::call`].
    pub fn call_with(
        &self,
        inputs: &[Option<Tensor>],
        limits: Option<&Limits>,
        each: impl FnMut(Tensor),
    ) -> Result<()> {
        self.try_call(inputs, limits, each).map_err(|error| error.with_op(self.op.def.name))
    }

    fn try_call(&self, inputs: &[Option<Tensor>], limits: Option<&Limits>, each: impl FnMut(Tensor)) -> Result<()> {
        check_watched(inputs.iter().flatten())?;
        if let Some(ready) = self.known(inputs) {
            return self.run(&ready, inputs, limits, each);
        }
        let specs: Vec<_> = inputs.iter().map(|input| input.as_ref().map(Tensor::spec)).collect();
        let casts = check_inputs(self.op.def, &specs.iter().map(Option::as_ref).collect::<Vec<_>>())?;
        // On a device the graph that is made of the call has the casts.
        if casts.is_empty() || device_of(inputs).is_some() {
            let ready = self.prepare(inputs)?;
            return self.run(&ready, inputs, limits, each);
        }
        let mut inputs = inputs.to_vec();
        for (index, dtype) in casts {
            let cast = op("cast", &[("dtype", crate::attrs::AttrValue::DType(dtype))])?;
            inputs[index] = single::compute(&cast, &[inputs[index].clone()])?.pop();
        }
        let ready = self.known(&inputs).map_or_else(|| self.prepare(&inputs), Ok)?;
        self.run(&ready, &inputs, limits, each)
    }

    /// What an earlier call on such inputs has prepared.
    fn known(&self, inputs: &[Option<Tensor>]) -> Option<Arc<Ready>> {
        let _section = section();
        let ready = self.ready.read().unwrap_or_else(PoisonError::into_inner);
        ready.iter().rev().find(|ready| ready.fits(inputs)).cloned()
    }

    fn prepare(&self, inputs: &[Option<Tensor>]) -> Result<Arc<Ready>> {
        let ready = Arc::new(match &self.op.def.meaning {
            Meaning::Control(_) | Meaning::Cluster => {
                return Err(Error::unsupported("it has regions; apply it in a graph"));
            }
            Meaning::Scalar(_) | Meaning::Kernel(_) if device_of(inputs).is_none() => {
                Ready::Step(Prepared::new(&self.op, inputs)?)
            }
            _ => {
                let device = device_of(inputs).cloned();
                Ready::Composite(single::layouts(inputs), device.clone(), self.composite(inputs, device)?)
            }
        });
        let _section = section();
        let mut kept = self.ready.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        if kept.try_reserve(1).is_ok() {
            kept.push(ready.clone());
        }
        Ok(ready)
    }

    fn run(
        &self,
        ready: &Ready,
        inputs: &[Option<Tensor>],
        limits: Option<&Limits>,
        mut each: impl FnMut(Tensor),
    ) -> Result<()> {
        let watch = limits.map_or_else(Watch::default, Limits::watch);
        let budget = limits.map(Limits::budget);
        match ready {
            Ready::Step(prepared) => prepared.run(&self.op, inputs, budget, &watch, each),
            Ready::Composite(_, _, executable) => {
                let budget = budget.unwrap_or(&self.budget);
                let present = inputs.iter().flatten();
                let run = executable.run(present, budget, &watch, &mut each);
                // The user called the composite, not the op inside that refuses.
                run.map_err(|error| Error::new(error.code(), error.text()))
            }
        }
    }

    /// The executable of the op on such inputs.
    fn composite(&self, inputs: &[Option<Tensor>], device: Option<Arc<Device>>) -> Result<Arc<Executable>> {
        let setting = Setting { device, ..Setting::default() };
        let made = || {
            let mut graph = Graph::new();
            let mut operands = Vec::new();
            for (index, input) in inputs.iter().enumerate() {
                operands.push(match input {
                    Some(tensor) => graph.input(&format!("input_{index}"), tensor.spec())?,
                    None => Value::ABSENT,
                });
            }
            let outputs = graph.apply(&self.op, Vec::new(), &operands)?;
            graph.set_outputs(outputs)?;
            Executable::with(&graph, passes::OPTIMIZED, &setting, &Meter::default())
        };
        made().map(Arc::new).map_err(|error| Error::new(error.code(), error.text()))
    }
}

/// Computes values of a graph at once: what eager gradients run on. The graph's inputs are exactly `inputs`.
///
/// # Errors
/// As [`EagerOp::call`].
pub fn evaluate(graph: &Graph, inputs: Vec<Tensor>, limits: &Limits) -> Result<Vec<Tensor>> {
    let setting = Setting { device: inputs.iter().find_map(Tensor::device).cloned(), ..Setting::default() };
    let executable = Arc::new(Executable::with(graph, passes::PLAIN, &setting, &limits.meter())?);
    let mut run = executable.start(inputs, &Bindings::new(), limits.budget(), |_| None)?;
    match run.advance(&limits.watch())? {
        true => run.finish(),
        false => Err(Error::pending("a value is awaited from a device; a function of a session waits for it")),
    }
}
