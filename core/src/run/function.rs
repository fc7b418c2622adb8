//! A function made ready to run: passes and plan once, sizes in a small cache, and calls that run it.

use super::Limits;
use super::executor::{Execution, Progress};
use super::gate;
use super::variable::{self, Variable, Writers};
use crate::cpu::fork::section;
use crate::cpu::memory::{Budget, Buffer, check_watched};
use crate::cpu::single::stopped;
use crate::cpu::work::{Watch, now};
use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::meter::Meter;
use crate::passes::{self, Pass};
use crate::plan::Plan;
use crate::plan::instance::Instance;
use crate::shape::{Bindings, Shape};
use crate::tensor::{Tensor, byte_count};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many sets of sizes are kept.
const KEPT_SIZES: usize = 16;

/// Where an output of a function comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    /// It is the input of that index: the tensor itself is handed on.
    Input(usize),
    /// It is the output of that index of the plan.
    Computed(usize),
}

/// A graph made ready to run.
pub struct Executable {
    outputs: Vec<Output>,
    plan: Arc<Plan>,
    /// Whether its runs are checked.
    checked: bool,
    /// Sizes used lately, the latest last.
    sizes: Mutex<Vec<(Bindings, Arc<Instance>)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Executable {
    /// Runs the passes over a graph and plans it; what that takes is charged to a meter.
    ///
    /// # Errors
    /// What passes, plan and meter refuse.
    pub fn new(graph: &Graph, passes: &[Pass], meter: &Meter) -> Result<Executable> {
        Executable::with(graph, passes, false, meter)
    }

    /// An executable whose runs refuse what kernels hide; see [`super::checked`].
    ///
    /// # Errors
    /// As [`Executable::new`].
    pub fn checked(graph: &Graph, meter: &Meter) -> Result<Executable> {
        Executable::with(graph, passes::CHECKED, true, meter)
    }

    fn with(graph: &Graph, passes: &[Pass], checked: bool, meter: &Meter) -> Result<Executable> {
        let mut computed: Vec<Value> = Vec::new();
        let mut outputs = Vec::new();
        for &value in graph.outputs() {
            let input = graph.inputs().iter().position(|input| input.value == value);
            outputs.push(match (input, computed.iter().position(|other| *other == value)) {
                (Some(input), _) => Output::Input(input),
                (None, Some(index)) => Output::Computed(index),
                (None, None) => {
                    computed.push(value);
                    Output::Computed(computed.len() - 1)
                }
            });
        }
        let mut graph = graph.copied(meter)?;
        graph.set_outputs(computed)?;
        let graph = passes::run(&Arc::new(graph), passes, meter, &mut |_, _| {})?;
        let plan = Arc::new(Plan::with(&graph, !checked, meter)?);
        Ok(Executable { outputs, plan, checked, sizes: Mutex::default() })
    }

    /// The plan at real sizes, from the cache if it is there.
    ///
    /// # Errors
    /// Those of [`Instance::new`].
    pub fn instance(&self, sizes: &Bindings, meter: &Meter) -> Result<Arc<Instance>> {
        let _section = section();
        {
            let mut kept = lock(&self.sizes);
            if let Some(index) = kept.iter().position(|(other, _)| other == sizes) {
                let found = kept.remove(index);
                let instance = found.1.clone();
                kept.push(found);
                return Ok(instance);
            }
        }
        let instance = Arc::new(Instance::new(&self.plan, sizes, meter)?);
        let mut kept = lock(&self.sizes);
        if kept.len() == KEPT_SIZES {
            kept.remove(0);
        }
        kept.push((sizes.clone(), instance.clone()));
        Ok(instance)
    }

    /// The sizes of each computed output.
    fn output_bytes(&self, sizes: &Bindings) -> Result<Vec<(crate::dtype::DType, Vec<usize>, usize)>> {
        let graph = self.plan.graph();
        let output = |&value: &Value| {
            let spec = graph.spec(value);
            let dims = spec.shape.evaluate(&|name| sizes.get(name))?;
            let bytes = byte_count(spec.dtype, &dims)?;
            Ok((spec.dtype, dims, bytes))
        };
        graph.outputs().iter().map(output).collect()
    }

    /// Bytes that a run at these sizes takes: the plan's own and the outputs'.
    ///
    /// # Errors
    /// Those of [`Instance::new`].
    pub fn memory(&self, sizes: &Bindings, meter: &Meter) -> Result<u64> {
        let own = self.instance(sizes, meter)?.bytes() as u64;
        Ok(self.output_bytes(sizes)?.iter().fold(own, |sum, (_, _, bytes)| sum.saturating_add(*bytes as u64)))
    }

    /// Begins a run. `spare(i)` may give memory for the output of that index of the graph.
    ///
    /// # Errors
    /// Those of [`Instance::new`]; `memory`: over the budget; `io`: an input or constant lies in a mapped file that has
    /// changed.
    pub fn start(
        self: &Arc<Self>,
        inputs: Vec<Tensor>,
        sizes: &Bindings,
        budget: &Arc<Budget>,
        spare: impl Fn(usize, usize) -> Option<Buffer>,
    ) -> Result<Run> {
        let _section = section();
        check_watched(inputs.iter().chain(&self.plan.constants).map(Tensor::buffer))?;
        let instance = self.instance(sizes, &Meter::new(budget, Watch::default()))?;
        let results = self.output_bytes(sizes)?;
        let needed = self.memory(sizes, &Meter::default())?;
        if budget.limit() != 0 && needed > budget.limit() {
            let limit = budget.limit();
            return Err(Error::memory(format!("a call needs {needed} bytes, the limit is {limit}")));
        }
        let arena = budget.take(instance.bytes())?;
        let mut buffers = Vec::with_capacity(results.len());
        for (computed, (_, _, bytes)) in results.iter().enumerate() {
            let output = self.outputs.iter().rposition(|output| *output == Output::Computed(computed));
            buffers.push(match output.and_then(|output| spare(output, *bytes)) {
                Some(buffer) => buffer,
                None => Buffer::zeroed(*bytes, Some(budget))?,
            });
        }
        let mut execution = Execution::new(self.plan.clone(), instance, inputs.clone(), arena, buffers);
        execution.set_checked(self.checked);
        Ok(Run { executable: self.clone(), budget: budget.clone(), inputs, results, execution })
    }
}

/// A run of an executable.
pub struct Run {
    executable: Arc<Executable>,
    budget: Arc<Budget>,
    inputs: Vec<Tensor>,
    results: Vec<(crate::dtype::DType, Vec<usize>, usize)>,
    execution: Execution,
}

impl Run {
    /// Goes on; whether it has come to its end.
    ///
    /// # Errors
    /// `cancelled`, `deadline`.
    pub fn advance(&mut self, watch: &Watch) -> Result<bool> {
        Ok(self.execution.advance(watch)? == Progress::Done)
    }

    /// The outputs of a run that has come to its end.
    ///
    /// # Errors
    /// `internal`: it has not.
    pub fn finish(self) -> Result<Vec<Tensor>> {
        let _section = section();
        let (buffers, arena) = self.execution.into_memory();
        if let Some(arena) = arena {
            self.budget.keep(arena);
        }
        if buffers.len() != self.results.len() {
            return Err(Error::internal("a run lost an output"));
        }
        let computed = self.results.iter().zip(buffers);
        let computed = computed.map(|((dtype, sizes, _), buffer)| Tensor::from_buffer(*dtype, sizes, Arc::new(buffer)));
        let computed = computed.collect::<Result<Vec<_>>>()?;
        let output = |output: &Output| match *output {
            Output::Input(index) => self.inputs[index].clone(),
            Output::Computed(index) => computed[index].clone(),
        };
        Ok(self.executable.outputs.iter().map(output).collect())
    }
}

/// A function of a program, bound to the variables that are its state.
pub struct BoundFunction {
    /// The function.
    pub function: crate::program::Function,
    checked: bool,
    executable: Mutex<Option<Arc<Executable>>>,
}

/// A call of a function. It first waits for the right to write what it writes; from then on it holds that, and one
/// version of the state that it reads.
pub struct Call {
    function: String,
    stage: Stage,
    watch: Watch,
    reads: Vec<Arc<Variable>>,
    writes: Vec<Arc<Variable>>,
    outputs: usize,
    _pass: gate::Pass,
}

enum Stage {
    Waiting(Waiting),
    Running(Run, Option<Writers>),
}

/// What a call that has not begun needs.
struct Waiting {
    executable: Arc<Executable>,
    inputs: Vec<Tensor>,
    sizes: Bindings,
    budget: Arc<Budget>,
}

impl BoundFunction {
    /// A function, not yet planned; whether its runs are checked.
    pub fn new(function: crate::program::Function, checked: bool) -> BoundFunction {
        BoundFunction { function, checked, executable: Mutex::new(None) }
    }

    /// The executable; made at the first call.
    ///
    /// # Errors
    /// Those of [`Executable::new`].
    pub fn executable(&self, meter: &Meter) -> Result<Arc<Executable>> {
        let _section = section();
        let mut executable = lock(&self.executable);
        if let Some(executable) = &*executable {
            return Ok(executable.clone());
        }
        // Passes look into constants.
        check_watched(self.function.graph.tensors().into_iter().map(Tensor::buffer))
            .map_err(|error| error.with_op(&self.function.name))?;
        let graph = &self.function.graph;
        let made = match self.checked {
            true => Executable::checked(graph, meter),
            false => Executable::new(graph, passes::OPTIMIZED, meter),
        };
        let made = Arc::new(made.map_err(|error| error.with_op(&self.function.name))?);
        *executable = Some(made.clone());
        Ok(made)
    }

    /// Checks inputs against the signature, and finds the dims.
    ///
    /// # Errors
    /// `argument`: another number of inputs; `dtype`, `shape`: one that does not fit.
    pub fn bind(&self, inputs: &[Tensor]) -> Result<Bindings> {
        let function = &self.function;
        if inputs.len() != function.inputs.len() {
            let (takes, given) = (function.inputs.len(), inputs.len());
            let names = function.inputs.join(", ");
            let error = Error::argument(format!("{given} inputs were given, it takes {takes}: {names}"));
            return Err(error.with_op(&function.name));
        }
        let mut sizes = Bindings::new();
        let mut specs = Vec::with_capacity(inputs.len());
        for (index, input) in inputs.iter().enumerate() {
            let spec = function.input_spec(index).ok_or_else(|| Error::internal("an input without a spec"))?;
            if spec.dtype != input.dtype() {
                let (name, given) = (&function.inputs[index], input.spec());
                let error = Error::dtype(format!("{name} is {given}, expected {spec}; cast it to {}", spec.dtype));
                return Err(error.with_op(&function.name).with_argument(name));
            }
            specs.push((&spec.shape, input.sizes()));
        }
        match sizes.bind_all(specs.iter().map(|(shape, sizes)| (*shape, *sizes))) {
            Ok(()) => Ok(sizes),
            Err((index, mismatch)) => {
                let (name, given) = (&function.inputs[index], inputs[index].spec());
                let spec = function.input_spec(index).ok_or_else(|| Error::internal("an input without a spec"))?;
                let hint = hint(&spec.shape, inputs[index].sizes());
                let detail = if mismatch.axis.is_some() { format!(": {mismatch}") } else { String::new() };
                let error = Error::shape(format!("{name} is {given}, expected {spec}{detail}{hint}"));
                Err(error.with_op(&function.name).with_argument(name))
            }
        }
    }

    /// Begins a call: checks its inputs. It waits and runs in [`Call::advance`].
    ///
    /// # Errors
    /// Those of [`BoundFunction::bind`] and [`BoundFunction::executable`].
    pub fn start(
        &self,
        inputs: &[Tensor],
        reads: Vec<Arc<Variable>>,
        writes: Vec<Arc<Variable>>,
        limits: &Limits,
        pass: gate::Pass,
    ) -> Result<Call> {
        let watch = limits.watch();
        let (sizes, executable) = (self.bind(inputs)?, self.executable(&Meter::new(limits.budget(), watch.clone()))?);
        let waiting = Waiting { executable, inputs: inputs.to_vec(), sizes, budget: limits.budget().clone() };
        let (function, outputs) = (self.function.name.clone(), self.function.outputs.len());
        Ok(Call { function, stage: Stage::Waiting(waiting), watch, reads, writes, outputs, _pass: pass })
    }
}

/// What to do about a shape that lacks the batch.
fn hint(spec: &Shape, sizes: &[usize]) -> &'static str {
    let rest = spec.split_first().map(|(_, rest)| Shape::new(rest.to_vec()));
    match rest {
        Some(Ok(rest)) if Bindings::new().bind(&rest, sizes).is_ok() => "; add a leading dimension",
        _ => "",
    }
}

impl Call {
    /// Goes on for about `seconds`; whether it has come to its end.
    ///
    /// # Errors
    /// Those of [`Executable::start`]; `cancelled`, `deadline`. The state is as it was before the call.
    pub fn advance(&mut self, seconds: f64) -> Result<bool> {
        let pause = if seconds.is_finite() { now() + seconds } else { f64::INFINITY };
        let watch = Watch { pause, ..self.watch.clone() };
        self.try_advance(&watch).map_err(|error| error.with_op(&self.function))
    }

    fn try_advance(&mut self, watch: &Watch) -> Result<bool> {
        if let Stage::Waiting(waiting) = &self.stage {
            // Also where nothing is to be computed.
            if let Some(stop) = watch.look(false) {
                return Err(stopped(stop));
            }
            let writers = match self.writes.is_empty() {
                true => None,
                false => match variable::write_within(self.reads.iter().chain(&self.writes).cloned().collect(), watch)?
                {
                    Some(writers) => Some(writers),
                    None => return Ok(false),
                },
            };
            let _section = section();
            let state = variable::read(self.reads.iter());
            let inputs = waiting.inputs.iter().cloned().chain(state).collect();
            let spare =
                |output: usize, bytes: usize| self.writes.get(output.checked_sub(self.outputs)?)?.take_spare(bytes);
            let run = waiting.executable.start(inputs, &waiting.sizes, &waiting.budget, spare)?;
            self.stage = Stage::Running(run, writers);
        }
        match &mut self.stage {
            Stage::Running(run, _) => run.advance(watch),
            Stage::Waiting(_) => Ok(false),
        }
    }

    /// Commits the state of a call that has come to its end; gives its outputs.
    ///
    /// # Errors
    /// `internal`: it has not.
    pub fn finish(self) -> Result<Vec<Tensor>> {
        let Stage::Running(run, _writers) = self.stage else {
            return Err(Error::internal("the call has not begun"));
        };
        let _section = section();
        let mut outputs = run.finish()?;
        let state = outputs.split_off(self.outputs);
        variable::commit(self.writes.into_iter().zip(state));
        Ok(outputs)
    }
}
