//! Sessions: a program loaded on a device, with its own live state.

use super::Limits;
use super::function::{BoundFunction, Call, Setting};
use super::gate::Gate;
use super::variable::{self, Cells, Variable, check_spec, write_within};
use crate::cpu::fork::section;
use crate::cpu::memory::push;
use crate::cpu::work::Watch;
use crate::error::{Error, Result};
use crate::gpu::device::Device;
use crate::graph::Role;
use crate::info;
use crate::meter::Charge;
use crate::plan::instance::Placement;
use crate::program::{Function, Program, State};
use crate::shape::Bindings;
use crate::tensor::{Tensor, all_to_host};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

struct Entry {
    name: String,
    role: Role,
    variable: RwLock<Arc<Variable>>,
}

impl Entry {
    fn variable(&self) -> Arc<Variable> {
        let _section = section();
        self.variable.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The variables of each function. A program's functions name only state that it has.
fn cells(functions: &[Arc<BoundFunction>], state: &[Entry]) -> Vec<Arc<Cells>> {
    let entries: HashMap<&str, &Entry> = state.iter().map(|entry| (entry.name.as_str(), entry)).collect();
    let variables = |names: &[String]| {
        names.iter().filter_map(|name| entries.get(name.as_str()).map(|entry| entry.variable())).collect()
    };
    let cells = |bound: &Arc<BoundFunction>| {
        Arc::new(Cells::new(variables(&bound.function.reads), variables(&bound.function.writes)))
    };
    functions.iter().map(cells).collect()
}

/// A program with live state. Calls may come from many threads: those that write state run one after the other, the
/// others beside them, each on one version of the state.
pub struct Session {
    program: Arc<Program>,
    functions: Vec<Arc<BoundFunction>>,
    state: Vec<Entry>,
    /// The variables of each function, as they are bound now.
    cells: RwLock<Vec<Arc<Cells>>>,
    limits: Limits,
    setting: Setting,
    gate: Gate,
}

impl Session {
    /// A session of a program; its state starts as the program's, shared until it is written.
    pub fn new(program: Arc<Program>, limits: Limits) -> Session {
        let values = program.state.iter().map(|state| state.value.clone()).collect();
        Session::with(program, limits, Setting::default(), values)
    }

    /// As [`Session::new`], but for indices outside of an axis, integers divided by 0, numbers that an integer dtype
    /// does not hold, and NaN that an op makes of operands without: a call that meets one is an error with the user's
    /// line. Such calls are slower, and nothing is fused.
    pub fn checked(program: Arc<Program>, limits: Limits) -> Session {
        let values = program.state.iter().map(|state| state.value.clone()).collect();
        Session::with(program, limits, Setting { checked: true, ..Setting::default() }, values)
    }

    /// As [`Session::new`] on a device, where its state is from then on; `strict` makes a step that the CPU would have to
    /// run an error.
    ///
    /// # Errors
    /// `memory`: the state is more than the device holds; `device`: it is lost.
    pub fn on(program: Arc<Program>, limits: Limits, device: &Arc<Device>, strict: bool) -> Result<Session> {
        let upload = |state: &State| {
            let moved = state.value.to_device(device, Charge::to(limits.budget()), &limits.watch());
            moved.map_err(|error| error.with_argument(&state.name))
        };
        let values = program.state.iter().map(upload).collect::<Result<_>>()?;
        let setting = Setting { device: Some(device.clone()), checked: false, strict };
        Ok(Session::with(program, limits, setting, values))
    }

    fn with(program: Arc<Program>, limits: Limits, setting: Setting, values: Vec<Tensor>) -> Session {
        let bound = |function: &Function| Arc::new(BoundFunction::new(function.clone(), setting.clone()));
        let functions = program.functions.iter().map(bound);
        let entry = |(state, value): (&State, Tensor)| Entry {
            name: state.name.clone(),
            role: state.role,
            variable: RwLock::new(Arc::new(Variable::new(value))),
        };
        let state: Vec<_> = program.state.iter().zip(values).map(entry).collect();
        let functions: Vec<_> = functions.collect();
        let cells = RwLock::new(cells(&functions, &state));
        Session { program, functions, state, cells, limits, setting, gate: Gate::default() }
    }

    /// The program it was made of.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// The limits it was opened with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Lets no further call begin, waits for those that run, and lets go of the state. May be called again.
    pub fn close(&self) {
        self.close_within(&Watch::default());
    }

    /// As [`Session::close`], but waits only as long as `watch` lets it; whether all have ended.
    pub fn close_within(&self, watch: &Watch) -> bool {
        let is_closed = self.gate.close(watch);
        if is_closed {
            let _section = section();
            self.cells.write().unwrap_or_else(PoisonError::into_inner).clear();
            for (entry, state) in self.state.iter().zip(&self.program.state) {
                let first = Arc::new(Variable::new(state.value.clone()));
                *entry.variable.write().unwrap_or_else(PoisonError::into_inner) = first;
            }
            self.trim();
        }
        is_closed
    }

    /// Frees the buffers of its device that nobody holds.
    fn trim(&self) {
        if let Some(device) = &self.setting.device {
            // A device that is lost has none.
            let _ = device.trim();
        }
    }

    /// The index of a function.
    ///
    /// # Errors
    /// `name`: there is no such function.
    pub fn function(&self, name: &str) -> Result<usize> {
        let found = self.functions.iter().position(|bound| bound.function.name == name);
        found.ok_or_else(|| self.program.no_function(name))
    }

    /// The function of that index.
    pub fn bound(&self, index: usize) -> Option<&Arc<BoundFunction>> {
        self.functions.get(index)
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        self.state.iter().find(|entry| entry.name == name).ok_or_else(|| self.program.no_state(name))
    }

    fn variable(&self, name: &str) -> Result<Arc<Variable>> {
        self.entry(name).map(Entry::variable)
    }

    /// Begins a call of the function of that index; what `limits` leave open is limited by the session's.
    ///
    /// # Errors
    /// `closed`; else those of [`BoundFunction::start`].
    pub fn start(&self, function: usize, inputs: &[Tensor], limits: Option<&Limits>) -> Result<Call> {
        let _section = section();
        let pass = self.gate.enter()?;
        let bound = self.functions.get(function).ok_or_else(|| Error::argument("no such function"))?;
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner)[function].clone();
        match limits {
            None => bound.start(inputs, &cells, &self.limits, pass),
            Some(limits) => bound.start(inputs, &cells, &limits.within(&self.limits), pass),
        }
    }

    /// Calls the function of that name, to its end.
    ///
    /// # Errors
    /// `name`; else those of [`Session::start`] and [`Call::advance`].
    pub fn run(&self, function: &str, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let mut call = self.start(self.function(function)?, inputs, None)?;
        while !call.advance(f64::INFINITY)? {}
        call.finish()
    }

    /// Bytes that a call of a function takes at most with these dims, beside its inputs and the state as it is: those of
    /// its outputs, of new values of state and of its work.
    ///
    /// # Errors
    /// `name`; `argument`: a dim that is missing.
    pub fn memory(&self, function: usize, sizes: &Bindings) -> Result<u64> {
        let bound = self.functions.get(function).ok_or_else(|| Error::argument("no such function"))?;
        let meter = self.limits.meter();
        bound.executable(&meter)?.memory(sizes, &meter)
    }

    /// The value of state.
    ///
    /// # Errors
    /// `name`: there is no such state; `closed`.
    pub fn state(&self, name: &str) -> Result<Tensor> {
        let _pass = self.gate.enter()?;
        Ok(self.variable(name)?.get())
    }

    /// Sets state, all or none.
    ///
    /// # Errors
    /// `name`, `dtype`, `shape`: one does not fit; nothing is changed. `closed`.
    pub fn set_state(&self, changes: &[(&str, Tensor)]) -> Result<()> {
        self.set_state_within(changes, &Watch::default()).map(|_| ())
    }

    /// As [`Session::set_state`], for as long as `watch` lets it wait for runs that write; whether the state was set.
    ///
    /// # Errors
    /// Those of [`Session::set_state`]; `cancelled`, `deadline`: while it waited.
    pub fn set_state_within(&self, changes: &[(&str, Tensor)], watch: &Watch) -> Result<bool> {
        let _pass = self.gate.enter()?;
        let (mut variables, mut values) = (Vec::new(), Vec::new());
        for (name, value) in changes {
            let variable = self.variable(name)?;
            check_spec(name, &variable.get(), value).map_err(|error| error.with_argument(name))?;
            push(&mut values, value.clone())?;
            if planted!("run: state is set before all of it is checked", false, true) {
                variable.set(value.clone())?;
            }
            push(&mut variables, variable)?;
        }
        let values = self.placed(values, watch)?;
        let cells = Cells::writing(variables)?;
        let Some(_writers) = write_within(&cells, watch)? else { return Ok(false) };
        variable::commit(cells.writes.iter().zip(values));
        Ok(true)
    }

    /// Tensors where the session's state is.
    fn placed(&self, values: Vec<Tensor>, watch: &Watch) -> Result<Vec<Tensor>> {
        let Some(device) = &self.setting.device else { return all_to_host(values, watch) };
        let upload = |value: &Tensor| value.to_device(device, Charge::to(self.limits.budget()), watch);
        values.iter().map(upload).collect()
    }

    /// The device that it runs on; none is the CPU.
    pub fn device(&self) -> Option<&Arc<Device>> {
        self.setting.device.as_ref()
    }

    /// Where each step of a function runs, and why: at the sizes of its last call, else with 8 for every symbol.
    ///
    /// # Errors
    /// Those of [`BoundFunction::executable`].
    pub fn placement(&self, function: usize) -> Result<Vec<Placement>> {
        let bound = self.functions.get(function).ok_or_else(|| Error::argument("no such function"))?;
        let meter = self.limits.meter();
        bound.executable(&meter)?.placement(&info::symbols(&bound.function), &meter)
    }

    /// The text of the graph that a function runs, which says of each cluster where it ends and why.
    ///
    /// # Errors
    /// Those of [`BoundFunction::executable`].
    pub fn explain(&self, function: usize) -> Result<String> {
        let bound = self.functions.get(function).ok_or_else(|| Error::argument("no such function"))?;
        Ok(bound.executable(&self.limits.meter())?.explain())
    }

    /// Makes state of this session be a cell that others may share.
    ///
    /// # Errors
    /// `name`; `dtype`, `shape`: the cell does not fit; `closed`.
    pub fn bind(&self, name: &str, variable: Arc<Variable>) -> Result<()> {
        let _pass = self.gate.enter()?;
        let entry = self.entry(name)?;
        let _section = section();
        let mut bound = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        {
            let mut place = entry.variable.write().unwrap_or_else(PoisonError::into_inner);
            check_spec(name, &place.get(), &variable.get()).map_err(|error| error.with_argument(name))?;
            *place = variable;
        }
        *bound = cells(&self.functions, &self.state);
        Ok(())
    }

    /// The program with the state of this moment. Nothing is copied, but from a device.
    ///
    /// # Errors
    /// `closed`; `device`: it is lost.
    pub fn snapshot(&self) -> Result<Program> {
        let _pass = self.gate.enter()?;
        let variables: Vec<_> = self.state.iter().map(Entry::variable).collect();
        let mut values = Vec::with_capacity(variables.len());
        variable::read(&variables, |value| {
            values.push(value);
            Ok(())
        })?;
        let values = all_to_host(values, &self.limits.watch())?;
        let state = self.state.iter().zip(values);
        let state = state.map(|(entry, value)| State { name: entry.name.clone(), role: entry.role, value }).collect();
        Ok(Program {
            functions: self.program.functions.clone(),
            state,
            metadata: self.program.metadata.clone(),
            held: self.program.held.clone(),
        })
    }

    /// Takes the state of a program, by name: all of it if `strict`, else what both have.
    ///
    /// # Errors
    /// `name`: strict, and a name that only one of them has; `dtype`, `shape`: state that does not fit. Nothing is
    /// changed then.
    pub fn restore(&self, from: &Program, strict: bool) -> Result<()> {
        self.restore_within(from, strict, &Watch::default()).map(|_| ())
    }

    /// As [`Session::restore`], for as long as `watch` lets it wait for runs that write; whether the state was taken.
    ///
    /// # Errors
    /// Those of [`Session::restore`]; `cancelled`, `deadline`: while it waited.
    pub fn restore_within(&self, from: &Program, strict: bool, watch: &Watch) -> Result<bool> {
        if strict {
            let missing = self.state.iter().find(|entry| from.state.iter().all(|state| state.name != entry.name));
            if let Some(entry) = missing {
                return Err(Error::name(format!("the program has no state {:?}", entry.name)));
            }
            let surplus = from.state.iter().find(|state| self.state.iter().all(|entry| entry.name != state.name));
            if let Some(state) = surplus {
                return Err(Error::name(format!("the session has no state {:?}", state.name)));
            }
        }
        let shared = from.state.iter().filter(|state| self.state.iter().any(|entry| entry.name == state.name));
        let changes: Vec<_> = shared.map(|state| (state.name.as_str(), state.value.clone())).collect();
        self.set_state_within(&changes, watch)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.cells.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        self.state.clear();
        self.functions.clear();
        self.trim();
    }
}
