//! A function made ready to run: passes and plan once, sizes in a small cache, and calls that run it.

use super::Limits;
use super::executor::{Execution, Progress};
use super::gate;
use super::memories::Memories;
use super::variable::{self, Cells, Writers};
use crate::cpu::fork::section;
use crate::cpu::memory::{Budget, push};
use crate::cpu::single::stopped;
use crate::cpu::work::{Watch, now};
use crate::error::{Error, Result};
use crate::gpu::device::Device;
use crate::graph::{Graph, Value};
use crate::meter::{Charge, Meter};
use crate::passes::{self, Pass};
use crate::plan::Plan;
use crate::plan::instance::{Instance, Placement};
use crate::shape::{Bindings, Shape};
use crate::tensor::{Tensor, all_to_host, check_watched};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// How many sets of sizes are kept.
const KEPT_SIZES: usize = 16;

/// How many executions that have ended are kept for the next runs: for so many at once.
const KEPT_EXECUTIONS: usize = 64;

/// Where an output of a function comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    /// It is the input of that index: the tensor itself is handed on.
    Input(usize),
    /// It is the output of that index of the plan.
    Computed(usize),
}

/// Where functions run, and how.
#[derive(Clone, Default)]
pub struct Setting {
    /// The device; none is the CPU.
    pub device: Option<Arc<Device>>,
    /// Whether runs refuse what kernels hide; see [`super::checked`].
    pub checked: bool,
    /// Whether a step that the device does not run is an error; else the CPU runs it.
    pub strict: bool,
}

/// A graph made ready to run.
pub struct Executable {
    outputs: Vec<Output>,
    /// For each output of the plan, the last output of the function that it is.
    computed: Vec<usize>,
    plan: Arc<Plan>,
    setting: Setting,
    /// The plan's constants, where it runs.
    constants: Vec<Tensor>,
    /// Sizes used lately, the latest last.
    sizes: Mutex<Vec<(Bindings, Arc<Instance>)>>,
    preparation: Mutex<Preparation>,
    /// Those of runs that have ended.
    idle: Mutex<Vec<Desk>>,
}

/// What making a function ready took: what its first calls wait for beside their own work.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Preparation {
    /// The time of passes and plan, and of each new set of sizes: on a device, that of printing and compiling shaders.
    pub seconds: f64,
    /// How many sets of sizes it was made ready for.
    pub sizes: u64,
    /// How many shaders were compiled for it; what another function of the device has compiled is not compiled again.
    pub pipelines: u64,
}

/// What a run works with, kept for the next one.
struct Desk {
    sizes: Bindings,
    execution: Execution,
    /// The outputs, between the end of the run and when they are handed on.
    results: Vec<Tensor>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Executable {
    /// Runs the passes over a graph and plans it for the CPU; what that takes is charged to a meter.
    ///
    /// # Errors
    /// What passes, plan and meter refuse.
    pub fn new(graph: &Graph, passes: &[Pass], meter: &Meter) -> Result<Executable> {
        Executable::with(graph, passes, &Setting::default(), meter)
    }

    /// As [`Executable::new`] in a setting; a checked one has passes of its own.
    ///
    /// # Errors
    /// As [`Executable::new`]; `memory`, `device`: constants do not come to the device.
    pub fn with(graph: &Graph, passes: &[Pass], setting: &Setting, meter: &Meter) -> Result<Executable> {
        let begun = now();
        let setting = setting.clone();
        let passes = if setting.checked { passes::CHECKED } else { passes };
        let inputs: HashMap<Value, usize> =
            graph.inputs().iter().enumerate().map(|(index, input)| (input.value, index)).collect();
        let mut positions = HashMap::new();
        let (mut values, mut computed) = (Vec::new(), Vec::new());
        let mut outputs = Vec::with_capacity(graph.outputs().len());
        for (index, value) in graph.outputs().iter().enumerate() {
            if let Some(&input) = inputs.get(value) {
                outputs.push(Output::Input(input));
                continue;
            }
            let position = *positions.entry(*value).or_insert_with(|| {
                values.push(*value);
                computed.push(index);
                values.len() - 1
            });
            computed[position] = index;
            outputs.push(Output::Computed(position));
        }
        let mut graph = graph.copied(meter)?;
        graph.set_outputs(values)?;
        let graph = passes::run(&Arc::new(graph), passes, meter, &mut |_, _| {})?;
        let shares = !setting.checked && setting.device.is_none();
        let plan = Arc::new(Plan::with(&graph, shares, meter)?);
        let constants = match &setting.device {
            None => plan.constants.clone(),
            Some(device) => {
                let upload = |constant: &Tensor| constant.to_device(device, Charge::default(), meter.watch());
                plan.constants.iter().map(upload).collect::<Result<_>>()?
            }
        };
        let (sizes, idle) = (Mutex::default(), Mutex::default());
        let preparation = Mutex::new(Preparation { seconds: now() - begun, ..Preparation::default() });
        Ok(Executable { outputs, computed, plan, setting, constants, sizes, preparation, idle })
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
        let pipelines = || self.setting.device.as_ref().map_or(0, |device| device.work().pipelines);
        let (begun, before) = (now(), pipelines());
        let instance = Arc::new(Instance::new(&self.plan, sizes, self.setting.device.as_ref(), meter)?);
        {
            let mut preparation = lock(&self.preparation);
            preparation.seconds += now() - begun;
            preparation.sizes += 1;
            preparation.pipelines += pipelines() - before;
        }
        if self.setting.strict {
            instance.check_strict(&self.plan)?;
        }
        let mut kept = lock(&self.sizes);
        if kept.len() == KEPT_SIZES {
            kept.remove(0);
        }
        kept.push((sizes.clone(), instance.clone()));
        Ok(instance)
    }

    /// Bytes that a run at these sizes takes: the plan's own and the outputs'.
    ///
    /// # Errors
    /// Those of [`Instance::new`].
    pub fn memory(&self, sizes: &Bindings, meter: &Meter) -> Result<u64> {
        Ok(needed(&*self.instance(sizes, meter)?))
    }

    /// Where each step runs, and why: at the sizes of the last run, else with 8 for every symbol.
    ///
    /// # Errors
    /// Those of [`Instance::new`].
    pub fn placement(&self, symbols: &[String], meter: &Meter) -> Result<Vec<Placement>> {
        let latest = lock(&self.sizes).last().map(|(_, instance)| instance.clone());
        let instance = match latest {
            Some(instance) => instance,
            None => {
                let mut sizes = Bindings::new();
                symbols.iter().for_each(|symbol| sizes.set(&symbol.as_str().into(), 8));
                self.instance(&sizes, meter)?
            }
        };
        Ok(instance.placement(&self.plan))
    }

    /// What making it ready took so far.
    pub fn preparation(&self) -> Preparation {
        let _section = section();
        *lock(&self.preparation)
    }

    /// The text of the graph that it runs, which says of each cluster where it ends and why.
    pub fn explain(&self) -> String {
        passes::explain(self.plan.graph())
    }

    /// A run that has not begun: it waits for its inputs.
    ///
    /// # Errors
    /// `memory`: the system has no more.
    fn prepare(self: &Arc<Self>) -> Result<Run> {
        let _section = section();
        let idle = lock(&self.idle).pop();
        let desk = match idle {
            Some(desk) => desk,
            None => {
                let memories = Memories::new(&self.constants, self.setting.device.as_ref())?;
                let execution = Execution::new(self.plan.clone(), memories, self.setting.checked);
                Desk { sizes: Bindings::new(), execution, results: Vec::new() }
            }
        };
        Ok(Run { executable: self.clone(), budget: None, desk: Some(desk) })
    }

    /// Begins a run. `spare(i)` may give a tensor, which nobody else holds, for the output of that index of the graph.
    ///
    /// # Errors
    /// Those of [`Instance::new`]; `memory`: over the budget; `io`: an input or constant lies in a mapped file that has
    /// changed.
    pub fn start(
        self: &Arc<Self>,
        inputs: Vec<Tensor>,
        sizes: &Bindings,
        budget: &Arc<Budget>,
        spare: impl Fn(usize) -> Option<Tensor>,
    ) -> Result<Run> {
        let mut run = self.prepare()?;
        run.desk()?.sizes.clone_from(sizes);
        for input in inputs {
            run.desk()?.execution.add_input(input, &Watch::default())?;
        }
        run.begin(budget, spare)?;
        Ok(run)
    }

    /// A whole run, of a graph without symbols; hands each output to `each`, in order.
    ///
    /// # Errors
    /// Those of [`Executable::start`] and [`Run::advance`].
    pub fn run<'a>(
        self: &Arc<Self>,
        inputs: impl Iterator<Item = &'a Tensor>,
        budget: &Arc<Budget>,
        watch: &Watch,
        each: impl FnMut(Tensor),
    ) -> Result<()> {
        let mut run = self.prepare()?;
        for input in inputs {
            run.desk()?.execution.add_input(input.clone(), watch)?;
        }
        run.begin(budget, |_| None)?;
        if !run.advance(watch)? {
            return Err(Error::pending("a value is awaited from a device; a function of a session waits for it"));
        }
        run.complete()?.drain(..).for_each(each);
        Ok(())
    }
}

/// Bytes that a run takes: the plan's own and the outputs'.
fn needed(instance: &Instance) -> u64 {
    (instance.bytes() as u64).saturating_add(instance.output_bytes())
}

/// A run of an executable.
pub struct Run {
    executable: Arc<Executable>,
    /// Set once it has begun.
    budget: Option<Arc<Budget>>,
    /// Taken back when it is dropped.
    desk: Option<Desk>,
}

impl Run {
    fn desk(&mut self) -> Result<&mut Desk> {
        self.desk.as_mut().ok_or_else(|| Error::internal("the run has ended"))
    }

    /// Takes the memory that it needs and begins. As [`Executable::start`].
    fn begin(&mut self, budget: &Arc<Budget>, spare: impl Fn(usize) -> Option<Tensor>) -> Result<()> {
        let _section = section();
        let Run { executable, budget: charged, desk } = self;
        let Some(Desk { sizes, execution, .. }) = desk else { return Err(Error::internal("the run has ended")) };
        check_watched(execution.tensors().iter().chain(&executable.plan.constants))?;
        let instance = executable.instance(sizes, &Meter::new(budget, Watch::default()))?;
        let (needed, limit) = (needed(&instance), budget.limit());
        if limit != 0 && needed > limit {
            return Err(Error::memory(format!("a call needs {needed} bytes, the limit is {limit}")));
        }
        *charged = Some(budget.clone());
        execution.add_memory(&instance, budget)?;
        for (layout, &output) in instance.outputs.iter().zip(&executable.computed) {
            let fits = |tensor: &Tensor| tensor.dtype() == layout.dtype && tensor.sizes() == &layout.sizes[..];
            let output = match (spare(output).filter(fits), &executable.setting.device) {
                (Some(tensor), device) if tensor.is_on(device.as_ref()) => tensor,
                // SAFETY: a run that comes to its end has written every element of its outputs; they are read after that.
                (_, None) => unsafe { Tensor::unwritten(layout.dtype, &layout.sizes, Some(budget))? },
                (_, Some(device)) => Tensor::on_device(layout.dtype, &layout.sizes, device, Charge::to(budget))?,
            };
            execution.add_output(output)?;
        }
        execution.begin(instance)
    }

    /// Goes on; whether it has come to its end.
    ///
    /// # Errors
    /// `cancelled`, `deadline`, `memory`.
    pub fn advance(&mut self, watch: &Watch) -> Result<bool> {
        Ok(self.desk()?.execution.advance(watch)? == Progress::Done)
    }

    /// The outputs of a run that has come to its end.
    ///
    /// # Errors
    /// `internal`: it has not begun; `memory`: the system has no more.
    pub fn finish(mut self) -> Result<Vec<Tensor>> {
        self.complete().map(std::mem::take)
    }

    /// The outputs of a run that has come to its end; all else that it held is let go.
    fn complete(&mut self) -> Result<&mut Vec<Tensor>> {
        let executable = self.executable.clone();
        let Desk { execution, results, .. } = self.desk()?;
        let tensors = execution.tensors();
        let inputs = executable.plan.graph().inputs().len();
        if tensors.len() != inputs + executable.computed.len() {
            return Err(Error::internal("the run has not begun"));
        }
        for output in &executable.outputs {
            let position = match *output {
                Output::Input(index) => index,
                Output::Computed(index) => inputs + index,
            };
            push(results, tensors[position].clone())?;
        }
        self.end(|_, _| ());
        Ok(&mut self.desk()?.results)
    }

    /// Lets go of inputs, outputs and memory. `each` gets the outputs that no other holds, with their index.
    fn end(&mut self, mut each: impl FnMut(usize, Tensor)) {
        let _section = section();
        let Run { executable, desk, .. } = self;
        let inputs = executable.plan.graph().inputs().len();
        let mut output = |index: usize, tensor: Tensor| {
            if let Some(&output) = index.checked_sub(inputs).and_then(|index| executable.computed.get(index)) {
                each(output, tensor);
            }
        };
        let arena = desk.as_mut().and_then(|desk| desk.execution.end(&mut output));
        if let (Some(arena), Some(budget)) = (arena, &self.budget) {
            budget.keep(arena);
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _section = section();
        self.end(|_, _| ());
        let Some(mut desk) = self.desk.take() else { return };
        desk.sizes.clear();
        desk.results.clear();
        let mut idle = lock(&self.executable.idle);
        if idle.len() < KEPT_EXECUTIONS && idle.try_reserve(1).is_ok() {
            idle.push(desk);
        }
    }
}

/// A function of a program, planned at its first call.
pub struct BoundFunction {
    /// The function.
    pub function: crate::program::Function,
    setting: Setting,
    executable: OnceLock<Arc<Executable>>,
    making: Mutex<()>,
}

/// A call of a function. It first waits for the right to write what it writes; from then on it holds that, and one
/// version of the state that it reads.
pub struct Call {
    bound: Arc<BoundFunction>,
    run: Run,
    stage: Stage,
    watch: Watch,
    budget: Arc<Budget>,
    cells: Arc<Cells>,
    _pass: gate::Pass,
}

enum Stage {
    Waiting,
    Running(#[allow(dead_code, reason = "held until the call ends")] Option<Writers<Arc<Cells>>>),
    Ended,
}

impl BoundFunction {
    /// A function, not yet planned.
    pub fn new(function: crate::program::Function, setting: Setting) -> BoundFunction {
        BoundFunction { function, setting, executable: OnceLock::new(), making: Mutex::default() }
    }

    /// Whether the executable is made.
    pub fn is_planned(&self) -> bool {
        self.executable.get().is_some()
    }

    /// What making it ready took so far, if that was begun.
    pub fn preparation(&self) -> Option<Preparation> {
        self.executable.get().map(|executable| executable.preparation())
    }

    /// The executable; made at the first call.
    ///
    /// # Errors
    /// Those of [`Executable::new`].
    pub fn executable(&self, meter: &Meter) -> Result<&Arc<Executable>> {
        if let Some(executable) = self.executable.get() {
            return Ok(executable);
        }
        let _section = section();
        let _making = lock(&self.making);
        if let Some(executable) = self.executable.get() {
            return Ok(executable);
        }
        // Passes look into constants.
        check_watched(self.function.graph.tensors()).map_err(|error| error.with_op(&self.function.name))?;
        let graph = &self.function.graph;
        let made = Executable::with(graph, passes::OPTIMIZED, &self.setting, meter);
        let made = Arc::new(made.map_err(|error| error.with_op(&self.function.name))?);
        Ok(self.executable.get_or_init(|| made))
    }

    /// Checks inputs against the signature, and finds the dims.
    ///
    /// # Errors
    /// `argument`: another number of inputs; `dtype`, `shape`: one that does not fit.
    pub fn bind(&self, inputs: &[Tensor], sizes: &mut Bindings) -> Result<()> {
        let function = &self.function;
        if inputs.len() != function.inputs.len() {
            let (takes, given) = (function.inputs.len(), inputs.len());
            let names = function.inputs.join(", ");
            let error = Error::argument(format!("{given} inputs were given, it takes {takes}: {names}"));
            return Err(error.with_op(&function.name));
        }
        let specs = || (0..inputs.len()).filter_map(|index| function.input_spec(index));
        if specs().count() != inputs.len() {
            return Err(Error::internal("an input without a spec"));
        }
        for (index, (input, spec)) in inputs.iter().zip(specs()).enumerate() {
            if spec.dtype != input.dtype() {
                let (name, given) = (&function.inputs[index], input.spec());
                let error = Error::dtype(format!("{name} is {given}, expected {spec}; cast it to {}", spec.dtype));
                return Err(error.with_op(&function.name).with_argument(name));
            }
        }
        sizes.clear();
        let pairs = specs().zip(inputs).map(|(spec, input)| (&spec.shape, input.sizes()));
        sizes.bind_all(pairs).map_err(|(index, mismatch)| {
            let (name, given) = (&function.inputs[index], inputs[index].spec());
            let Some(spec) = function.input_spec(index) else { return Error::internal("an input without a spec") };
            let hint = hint(&spec.shape, inputs[index].sizes());
            let detail = if mismatch.axis.is_some() { format!(": {mismatch}") } else { String::new() };
            let error = Error::shape(format!("{name} is {given}, expected {spec}{detail}{hint}"));
            error.with_op(&function.name).with_argument(name)
        })
    }

    /// Begins a call: checks its inputs. It waits and runs in [`Call::advance`].
    ///
    /// # Errors
    /// Those of [`BoundFunction::bind`] and [`BoundFunction::executable`]; `memory`: the system has no more.
    pub fn start(
        self: &Arc<Self>,
        inputs: &[Tensor],
        cells: &Arc<Cells>,
        limits: &Limits,
        pass: gate::Pass,
    ) -> Result<Call> {
        let watch = limits.watch();
        let run = self.prepare(inputs, &Meter::new(limits.budget(), watch.clone()))?;
        let (cells, budget) = (cells.clone(), limits.budget().clone());
        Ok(Call { bound: self.clone(), run, stage: Stage::Waiting, watch, budget, cells, _pass: pass })
    }

    /// A run that has these inputs and waits for its state.
    fn prepare(&self, inputs: &[Tensor], meter: &Meter) -> Result<Run> {
        // What does not fit is told before a function is planned, which may take long.
        if self.executable.get().is_none() {
            self.bind(inputs, &mut Bindings::new())?;
        }
        let mut run = self.executable(meter)?.prepare()?;
        let desk = run.desk()?;
        self.bind(inputs, &mut desk.sizes)?;
        let fetches = self.setting.device.is_none() && inputs.iter().any(|input| input.device().is_some());
        let inputs = match fetches {
            true => &all_to_host(inputs.to_vec(), meter.watch())?,
            false => inputs,
        };
        for input in inputs {
            desk.execution.add_input(input.clone(), meter.watch())?;
        }
        Ok(run)
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
        self.watch.pause = if seconds.is_finite() { now() + seconds } else { f64::INFINITY };
        self.try_advance().map_err(|error| error.with_op(&self.bound.function.name))
    }

    fn try_advance(&mut self) -> Result<bool> {
        if let Stage::Waiting = self.stage {
            // Also where nothing is to be computed.
            if let Some(stop) = self.watch.look(false) {
                return Err(stopped(stop));
            }
            let writers = match self.cells.writes.is_empty() {
                true => None,
                false => match variable::write_within(self.cells.clone(), &self.watch)? {
                    Some(writers) => Some(writers),
                    None => return Ok(false),
                },
            };
            let _section = section();
            let execution = &mut self.run.desk()?.execution;
            let watch = &self.watch;
            variable::read(&self.cells.reads, |value| execution.add_input(value, watch))?;
            let (outputs, cells) = (self.bound.function.outputs.len(), &self.cells);
            let spare = |output: usize| cells.writes.get(output.checked_sub(outputs)?)?.take_spare();
            self.run.begin(&self.budget, spare)?;
            self.stage = Stage::Running(writers);
        }
        self.run.advance(&self.watch)
    }

    /// Commits the state of a call that has come to its end; gives its outputs.
    ///
    /// # Errors
    /// `internal`: it has not; `memory`: the system has no more, the state is as before.
    pub fn finish(self) -> Result<Vec<Tensor>> {
        let (mut outputs, count) = (Vec::new(), self.bound.function.outputs.len());
        outputs.try_reserve_exact(count).map_err(|_| Error::memory("the system has no more memory"))?;
        self.finish_with(|_, output| outputs.push(output))?;
        Ok(outputs)
    }

    /// As [`Call::finish`]: hands each output with its index to `each`.
    ///
    /// # Errors
    /// As [`Call::finish`].
    pub fn finish_with(mut self, mut each: impl FnMut(usize, Tensor)) -> Result<()> {
        let Stage::Running(_) = self.stage else { return Err(Error::internal("the call has not begun")) };
        let _section = section();
        let results = self.run.complete()?;
        variable::commit(self.cells.writes.iter().zip(results.drain(self.bound.function.outputs.len()..)));
        results.drain(..).enumerate().for_each(|(index, output)| each(index, output));
        self.stage = Stage::Ended;
        Ok(())
    }
}

impl Drop for Call {
    /// The memory of state that a call did not come to write is for the next one.
    fn drop(&mut self) {
        let Call { run, stage, cells, bound, .. } = self;
        if !matches!(stage, Stage::Ended) {
            run.end(|output, tensor| {
                let variable =
                    output.checked_sub(bound.function.outputs.len()).and_then(|index| cells.writes.get(index));
                if let Some(variable) = variable {
                    variable.give_spare(tensor);
                }
            });
        }
    }
}
