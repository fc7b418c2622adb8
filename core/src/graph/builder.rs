//! Building programs: one graph that several functions take their parts from, with state, updates and draws.

use super::{Graph, Value};
use crate::attrs::AttrValue;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::op::{Op, Spec};
use crate::program::{Function, State};
use crate::tensor::Tensor;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What a piece of state is for. The numbers are part of the C API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Role {
    /// Trained by gradients.
    Parameter = 1,
    /// An optimiser's own.
    Optimizer = 2,
    /// Gathered while running, such as batch_norm's moving averages.
    Statistic = 3,
    /// A random key.
    Random = 4,
    /// Anything else.
    Other = 5,
}

impl Role {
    /// Every role, in the order of their numbers.
    pub const ALL: [Role; 5] = [Role::Parameter, Role::Optimizer, Role::Statistic, Role::Random, Role::Other];

    /// Its name in program files.
    pub fn name(self) -> &'static str {
        ["parameter", "optimizer", "statistic", "random", "other"][self as usize - 1]
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }

    /// The role of that number in the C API.
    pub fn from_number(number: i32) -> Option<Role> {
        Role::ALL.into_iter().find(|role| *role as i32 == number)
    }
}

/// The state that holds a program's random key.
pub const RANDOM_KEY: &str = "random/key";

/// A function being built: an index into the builder's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionId(pub u32);

/// What a function says of itself beside its graph.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    /// Its documentation.
    pub doc: String,
    /// The names of its inputs in order; left out, those that it needs in the order they were made.
    pub inputs: Option<Vec<String>>,
    /// How a binding puts the outputs together again; caudal keeps it and does not read it.
    pub structure: Json,
}

struct BuilderState {
    state: State,
    value: Value,
}

struct Draft {
    name: String,
    notes: Notes,
    inputs: Option<Vec<(String, Value)>>,
    outputs: Vec<(String, Value)>,
    /// State (by index) and its new value.
    updates: Vec<(usize, Value)>,
    /// Parameters (by index) and their gradients, where the function trains.
    training: Vec<(usize, Value)>,
}

/// The draws from the program's generator: the key is split once, each draw folds its number in.
struct Draws {
    state: usize,
    next: Value,
    key: Value,
    count: u32,
}

/// A graph under construction, its state, and the functions that take their parts from it.
#[derive(Default)]
pub struct Builder {
    /// The graph; ops are applied to it directly.
    pub graph: Graph,
    states: Vec<BuilderState>,
    /// Where the state of each name, and of each value, stands.
    names: HashMap<String, usize>,
    values: HashMap<Value, usize>,
    functions: Vec<Draft>,
    draws: Option<Draws>,
    /// Of optimizers by name: what their learning rate is multiplied by.
    schedules: Vec<(String, Op)>,
}

impl Builder {
    /// An empty builder.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Adds an input.
    ///
    /// # Errors
    /// `argument`: the name is not `[A-Za-z_][A-Za-z0-9_]*`, or is taken.
    pub fn input(&mut self, name: &str, spec: Spec) -> Result<Value> {
        check_name("input", name)?;
        self.graph.input(name, spec)
    }

    /// Adds state with its first value.
    ///
    /// # Errors
    /// `argument`: the name is empty, has an empty part between `/`, or is taken.
    pub fn state(&mut self, name: &str, role: Role, initial: Tensor) -> Result<Value> {
        check_path("state", name)?;
        if self.names.contains_key(name) {
            return Err(Error::argument(format!("two states are named {name:?}")).with_argument("name"));
        }
        let spec = initial.spec();
        // The "/" keeps state apart from inputs, whose names have none.
        let value = self.graph.input(&format!("/{name}"), spec)?;
        self.names.insert(name.into(), self.states.len());
        self.values.insert(value, self.states.len());
        self.states.push(BuilderState { state: State { name: name.into(), role, value: initial }, value });
        Ok(value)
    }

    /// Adds a constant. One whose elements are all the same is kept as one element and broadcast, so that zeros take no
    /// room in a file.
    ///
    /// # Errors
    /// `memory`: the system has none.
    pub fn constant(&mut self, tensor: Tensor) -> Result<Value> {
        let width = tensor.dtype().size();
        let mut elements = tensor.bytes().chunks_exact(width);
        match elements.next() {
            Some(first) if tensor.len() > 1 && elements.all(|element| element == first) => {
                let scalar = self.graph.constant(Tensor::from_bytes(tensor.dtype(), &[], first, None)?)?;
                self.graph.broadcast_to(scalar, &tensor.spec().shape)
            }
            _ => self.graph.constant(tensor),
        }
    }

    /// A fresh random key (`uint32[2]`) from the program's generator, the state `random/key`. A function that uses
    /// any such key splits the generator's key once and commits the new one with its other state.
    ///
    /// # Errors
    /// `argument`: `random/key` is state of another spec.
    pub fn draw(&mut self) -> Result<Value> {
        if self.draws.is_none() {
            let state = match self.names.get(RANDOM_KEY) {
                Some(&state) => state,
                None => {
                    self.state(RANDOM_KEY, Role::Random, Tensor::from_slice(DType::U32, &[2], &[0u32, 0])?)?;
                    self.states.len() - 1
                }
            };
            let value = self.states[state].value;
            let both = self.graph.op("random_split", &[("count", AttrValue::Int(2))], &[value])?;
            let next = self.row(both, 0)?;
            let key = self.row(both, 1)?;
            self.draws = Some(Draws { state, next, key, count: 0 });
        }
        let Some(draws) = &mut self.draws else { return Err(Error::internal("no draws")) };
        let (key, index) = (draws.key, draws.count);
        draws.count += 1;
        let index = self.graph.constant(Tensor::from_slice(DType::U32, &[], &[index])?)?;
        self.graph.op("fold_in", &[], &[key, index])
    }

    fn row(&mut self, keys: Value, row: i64) -> Result<Value> {
        let ints = |values: &[i64]| AttrValue::Dims(values.iter().map(|&value| value.into()).collect());
        let row = self.graph.op("slice", &[("start", ints(&[row, 0])), ("stop", ints(&[row + 1, 2]))], &[keys])?;
        self.graph.reshape(row, &[2.into()])
    }

    /// Makes a function of some of the graph's values.
    ///
    /// # Errors
    /// `argument`: a name that is malformed or taken, a value that is not of the graph, an input nobody made.
    pub fn function(&mut self, name: &str, outputs: Vec<(String, Value)>, notes: Notes) -> Result<FunctionId> {
        check_name("function", name)?;
        let mut seen = HashSet::new();
        for (output, value) in &outputs {
            check_path("output", output)?;
            value.check(&self.graph)?;
            if !seen.insert(output) {
                return Err(Error::argument(format!("two outputs of {name} are named {output:?}")));
            }
        }
        let inputs = match &notes.inputs {
            Some(names) => Some(names.iter().map(|name| self.named_input(name)).collect::<Result<Vec<_>>>()?),
            None => None,
        };
        self.add(Draft { name: name.into(), notes, inputs, outputs, updates: Vec::new(), training: Vec::new() })
    }

    fn named_input(&self, name: &str) -> Result<(String, Value)> {
        let found = self.graph.inputs().iter().find(|input| &*input.name == name);
        let input = found.ok_or_else(|| Error::name(format!("no input is named {name:?}")))?;
        Ok((name.into(), input.value))
    }

    fn add(&mut self, draft: Draft) -> Result<FunctionId> {
        if self.functions.iter().any(|other| other.name == draft.name) {
            return Err(Error::argument(format!("two functions are named {:?}", draft.name)).with_argument("name"));
        }
        self.functions.push(draft);
        Ok(FunctionId(self.functions.len() as u32 - 1))
    }

    /// Makes a function write a new value to state when it has run; a later update of the same state replaces it.
    ///
    /// # Errors
    /// `argument`: not a function, not state, not a value; `shape` or `dtype`: the value does not fit the state.
    pub fn update(&mut self, function: FunctionId, state: Value, value: Value) -> Result<()> {
        let index = self.state_index(state)?;
        value.check(&self.graph)?;
        let (old, new) = (self.graph.spec(state), self.graph.spec(value));
        let name = &self.states[index].state.name;
        if old.dtype != new.dtype {
            return Err(Error::dtype(format!("state {name} is {old}, its new value is {new}")));
        }
        if old.shape != new.shape {
            return Err(Error::shape(format!("state {name} is {old}, its new value is {new}")));
        }
        let draft = self.draft(function)?;
        draft.updates.retain(|(other, _)| *other != index);
        draft.updates.push((index, value));
        Ok(())
    }

    fn draft(&mut self, function: FunctionId) -> Result<&mut Draft> {
        let missing = || Error::argument(format!("there is no function {}", function.0));
        self.functions.get_mut(function.0 as usize).ok_or_else(missing)
    }

    fn state_index(&self, value: Value) -> Result<usize> {
        self.values.get(&value).copied().ok_or_else(|| Error::argument(format!("{value} is not state of this graph")))
    }

    /// Gives the optimiser of that name a schedule: [`Builder::optimize`] then multiplies its learning rate by what the
    /// schedule's op makes of its step. Its state, and so what a caller may change, stays the rate before that.
    ///
    /// # Errors
    /// `argument`: not a schedule's op.
    pub fn schedule(&mut self, name: &str, schedule: &Op) -> Result<()> {
        let def = schedule.def;
        if !matches!((def.inputs, def.outputs), ([input], ["factor"]) if input.name == "step") {
            return Err(Error::argument(format!("{} is not a schedule", def.name)).with_argument("schedule"));
        }
        self.schedules.retain(|(other, _)| other != name);
        self.schedules.push((name.to_string(), schedule.clone()));
        Ok(())
    }

    /// The learning rate of an optimiser's step, from its state.
    fn scheduled(&mut self, name: &str, rate: Value, step: Value) -> Result<Value> {
        let Some((_, schedule)) = self.schedules.iter().find(|(other, _)| other == name) else { return Ok(rate) };
        let factor = self.graph.apply(schedule, Vec::new(), &[step])?[0];
        let factor = self.graph.cast(factor, self.graph.spec(rate).dtype)?;
        self.graph.mul(rate, factor)
    }

    /// Makes a function train: applies an optimiser's op to each parameter and its gradient.
    ///
    /// The op's inputs are `parameter`, `gradient`, `learning_rate`, `step`, then its slots; its outputs are the new
    /// parameter and the new slots. State is made as `NAME/learning_rate`, `NAME/step`, `NAME/SLOT/PARAMETER` where
    /// it is not there yet. See [`Builder::training`] for the functions that come with it.
    ///
    /// # Errors
    /// `argument`: not an optimiser's op, lists of different lengths; else as [`Builder::update`].
    pub fn optimize(
        &mut self,
        function: FunctionId,
        name: &str,
        optimizer: &Op,
        learning_rate: Tensor,
        gradients: &[Value],
        parameters: &[Value],
    ) -> Result<()> {
        let inputs = optimizer.def.inputs;
        let names: Vec<_> = inputs.iter().map(|input| input.name).collect();
        let ["parameter", "gradient", "learning_rate", "step", slots @ ..] = &names[..] else {
            return Err(Error::argument(format!("{} is not an optimizer", optimizer.def.name)));
        };
        self.training(function, parameters, gradients)?;
        let rate = self.own_state(&format!("{name}/learning_rate"), learning_rate)?;
        let step = self.own_state(&format!("{name}/step"), Tensor::scalar(DType::I64, 0.0)?)?;
        let rate = self.scheduled(name, rate, step)?;
        for (&parameter, &gradient) in parameters.iter().zip(gradients) {
            let initial = self.states[self.state_index(parameter)?].state.clone();
            let mut operands = vec![parameter, gradient, rate, step];
            for slot in slots {
                let zeros = Tensor::zeros(initial.value.dtype(), initial.value.sizes(), None)?;
                operands.push(self.own_state(&format!("{name}/{slot}/{}", initial.name), zeros)?);
            }
            let outputs = self.graph.apply(optimizer, Vec::new(), &operands)?;
            let written = std::iter::once(parameter).chain(operands[4..].iter().copied());
            for (state, value) in written.zip(outputs) {
                self.update(function, state, value)?;
            }
        }
        let one = self.graph.scalar(DType::I64, 1.0)?;
        let next = self.graph.add(step, one)?;
        self.update(function, step, next)
    }

    fn own_state(&mut self, name: &str, initial: Tensor) -> Result<Value> {
        match self.names.get(name) {
            Some(&state) => Ok(self.states[state].value),
            None => self.state(name, Role::Optimizer, initial),
        }
    }

    /// Says that a function trains these parameters by these gradients, so that the program also gets the functions
    /// `gradients` (its inputs and outputs, and an output `gradient/PARAMETER` each; it commits what neither depends
    /// on the gradients nor is the optimizer's) and `apply` (takes those gradients and commits the rest). For a function that is not named
    /// `train_step` they are `NAME_gradients` and `NAME_apply`. If the rest needs more than the gradients and state,
    /// the function cannot be cut and they are left out.
    ///
    /// # Errors
    /// `argument`: lists of different lengths, a parameter that is not state, a value that is not of the graph.
    pub fn training(&mut self, function: FunctionId, parameters: &[Value], gradients: &[Value]) -> Result<()> {
        if parameters.len() != gradients.len() {
            let (p, g) = (parameters.len(), gradients.len());
            return Err(Error::argument(format!("{p} parameters and {g} gradients")));
        }
        let mut training = Vec::new();
        for (&parameter, &gradient) in parameters.iter().zip(gradients) {
            training.push((self.state_index(parameter)?, gradient.check(&self.graph)?));
        }
        self.draft(function)?.training.extend(training);
        Ok(())
    }

    /// The graph of the only function, as a region: all inputs, its outputs.
    ///
    /// # Errors
    /// `argument`: not exactly one function, or one that has state.
    pub fn region(&self) -> Result<Graph> {
        let [draft] = &self.functions[..] else {
            return Err(Error::argument(format!("a region has exactly one function, not {}", self.functions.len())));
        };
        if !self.states.is_empty() {
            let name = &self.states[0].state.name;
            return Err(Error::argument(format!("a region has no state of its own; pass {name} as an operand")));
        }
        let inputs: Vec<_> = self.graph.inputs().iter().map(|input| (&*input.name, input.value)).collect();
        self.graph.extract(&inputs, &draft.outputs.iter().map(|(_, value)| *value).collect::<Vec<_>>())
    }

    /// The state with its first values.
    pub fn states(&self) -> impl Iterator<Item = &State> {
        self.states.iter().map(|entry| &entry.state)
    }

    /// The finished functions.
    ///
    /// # Errors
    /// `argument`: a function needs an input that its notes leave out.
    pub fn functions(&self) -> Result<Vec<Function>> {
        let mut functions = Vec::new();
        for draft in &self.functions {
            functions.push(self.finish(draft)?);
            functions.extend(self.cut(draft)?);
        }
        Ok(functions)
    }

    /// `gradients` and `apply` of a function that trains; nothing if it cannot be cut.
    fn cut(&self, draft: &Draft) -> Result<Vec<Function>> {
        if draft.training.is_empty() {
            return Ok(Vec::new());
        }
        let prefix = if draft.name == "train_step" { String::new() } else { format!("{}_", draft.name) };
        let after = self.graph.dependents(draft.training.iter().map(|(_, gradient)| *gradient));
        let is_late =
            |(state, value): &(usize, Value)| after[value.index()] || self.states[*state].state.role == Role::Optimizer;
        let (late, early): (Vec<_>, Vec<_>) = draft.updates.iter().partition(|update| is_late(update));
        let named =
            |&(state, gradient): &(usize, Value)| (format!("gradient/{}", self.states[state].state.name), gradient);
        let gradients: Vec<_> = draft.training.iter().map(named).collect();
        let apply = Draft {
            name: format!("{prefix}apply"),
            notes: Notes { doc: format!("Applies the gradients of {}.", draft.name), ..Notes::default() },
            inputs: Some(gradients.clone()),
            outputs: Vec::new(),
            updates: late,
            training: Vec::new(),
        };
        let Ok(apply) = self.finish(&apply) else { return Ok(Vec::new()) };
        let notes = Notes { doc: format!("The gradients of {}, not applied.", draft.name), ..draft.notes.clone() };
        let gradients = Draft {
            name: format!("{prefix}gradients"),
            notes: Notes { structure: Json::Null, ..notes },
            inputs: draft.inputs.clone(),
            outputs: draft.outputs.iter().cloned().chain(gradients).collect(),
            updates: early,
            training: Vec::new(),
        };
        Ok(vec![self.finish(&gradients)?, apply])
    }

    fn finish(&self, draft: &Draft) -> Result<Function> {
        let given: Vec<_> = draft.inputs.iter().flatten().map(|(_, value)| *value).collect();
        let mut updates = draft.updates.clone();
        let roots = |updates: &[(usize, Value)]| -> Vec<Value> {
            draft.outputs.iter().map(|(_, value)| *value).chain(updates.iter().map(|(_, value)| *value)).collect()
        };
        let mut needed = self.graph.needed(&roots(&updates), &given);
        if let Some(draws) = &self.draws {
            let writes_key = updates.iter().any(|(state, _)| *state == draws.state);
            if needed[draws.key.index()] && !writes_key {
                updates.push((draws.state, draws.next));
                needed = self.graph.needed(&roots(&updates), &given);
            }
        }
        updates.sort_by_key(|(state, _)| *state);
        let reads: Vec<_> = self.states.iter().filter(|entry| needed[entry.value.index()]).collect();
        let is_state = |value: Value| self.values.contains_key(&value);
        let inputs = match &draft.inputs {
            Some(inputs) => inputs.clone(),
            None => {
                let own = self.graph.inputs().iter().filter(|input| !is_state(input.value));
                own.filter(|input| needed[input.value.index()])
                    .map(|input| (input.name.to_string(), input.value))
                    .collect()
            }
        };
        let slashed: Vec<_> = reads.iter().map(|entry| (format!("/{}", entry.state.name), entry.value)).collect();
        let all: Vec<_> = inputs.iter().chain(&slashed).map(|(name, value)| (name.as_str(), *value)).collect();
        let graph = self.graph.extract(&all, &roots(&updates));
        let graph =
            graph.map_err(|error| Error::new(error.code(), format!("function {}: {}", draft.name, error.text())))?;
        Ok(Function {
            name: draft.name.clone(),
            doc: draft.notes.doc.clone(),
            structure: draft.notes.structure.clone(),
            inputs: inputs.into_iter().map(|(name, _)| name).collect(),
            outputs: draft.outputs.iter().map(|(name, _)| name.clone()).collect(),
            reads: reads.iter().map(|entry| entry.state.name.clone()).collect(),
            writes: updates.iter().map(|(state, _)| self.states[*state].state.name.clone()).collect(),
            graph: Arc::new(graph),
        })
    }

    /// Computes values of the graph that do not need its inputs and state beyond those given; see `run::evaluate`.
    pub fn part(&self, given: &[Value], wanted: &[Value]) -> Result<Graph> {
        let names: Vec<_> = (0..given.len()).map(|index| format!("given_{index}")).collect();
        let inputs: Vec<_> = names.iter().map(String::as_str).zip(given.iter().copied()).collect();
        self.graph.extract(&inputs, wanted)
    }
}

impl Graph {
    /// For each value, whether it is one of `roots` or is computed from one.
    fn dependents(&self, roots: impl Iterator<Item = Value>) -> Vec<bool> {
        let mut dependent = vec![false; self.value_count()];
        roots.for_each(|value| dependent[value.index()] = true);
        for node in self.nodes() {
            if node.operands().any(|value| dependent[value.index()]) {
                node.outputs().for_each(|value| dependent[value.index()] = true);
            }
        }
        dependent
    }
}

/// Checks the name of a function or input.
///
/// # Errors
/// `argument`: it is not `[A-Za-z_][A-Za-z0-9_]*`.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    if name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit()) {
        return Ok(());
    }
    Err(Error::argument(format!("{what} name {name:?} is not [A-Za-z_][A-Za-z0-9_]*")).with_argument("name"))
}

/// Checks the name of state or an output: parts joined by `/`, none empty, no control characters.
///
/// # Errors
/// `argument`: it is not.
pub fn check_path(what: &str, name: &str) -> Result<()> {
    if !name.is_empty() && name.split('/').all(|part| !part.is_empty()) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::argument(format!("{what} name {name:?} has an empty part or a control character")).with_argument("name"))
}
