//! Programs with state: what functions return and commit, run after run, against the reference.

use super::catalogue::{Catalogue, Wanted};
use super::graph::{Maker, Mode, Scope};
use super::interpret::Interpreter;
use super::properties::{Outcome, numbers, report, same, through_file};
use super::recipe::Recipe;
use caudal::graph::{Builder, Notes, Role};
use caudal::json::Json;
use caudal::run::{Limits, Session};
use caudal::shape::Bindings;
use caudal::{AttrValue, DType, Function, FunctionId, Graph, Program, Shape, Spec, Tensor, Value};
use std::sync::Arc;

/// The ways that state is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// A computed value.
    Computed,
    /// Its own old value.
    Itself,
    /// Two states change places.
    Swap,
    /// One computed value for two states.
    Shared,
    /// One state takes another's old value, which is written too.
    Handed,
    /// A value that is also an output.
    Returned,
    /// A transposed view of state.
    View,
    /// An input as it is.
    Input,
}

impl Write {
    pub const ALL: &[Write] = &[
        Write::Computed,
        Write::Itself,
        Write::Swap,
        Write::Shared,
        Write::Handed,
        Write::Returned,
        Write::View,
        Write::Input,
    ];
}

/// The ways that one value is several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alias {
    /// One value is two outputs.
    Twice,
    /// The old value of state that is written is an output.
    Old,
    /// State is read by another function after it was written.
    ReadLater,
    /// What a run gave is held while later runs write.
    Held,
}

impl Alias {
    pub const ALL: &[Alias] = &[Alias::Twice, Alias::Old, Alias::ReadLater, Alias::Held];
}

const NAMES: [&str; 4] = ["a", "b", "square", "count"];

/// The four states: two of one spec, one that transposes onto itself, a scalar.
fn specs(seed: u64) -> [Spec; 4] {
    let dtype = DType::ALL[seed as usize % DType::ALL.len()];
    let spec = |dtype, sizes: &[i64]| Spec::new(dtype, Shape::of(sizes));
    let first = spec(dtype, &[(seed >> 8) as i64 % 4, 3]);
    [first.clone(), first, spec(dtype, &[3, 3]), spec(DType::I64, &[])]
}

/// Makes function `f` write state in the way `first` and one more.
pub fn check(catalogue: &Catalogue, recipe: &Recipe, first: usize) -> Outcome {
    let mut maker = Maker::new(catalogue, Mode::Any, recipe.seed);
    let mut builder = Builder::new();
    let mut states = Vec::new();
    for (name, spec) in NAMES.iter().zip(&specs(recipe.seed)) {
        let initial = maker.generator.tensor(spec, -2.0, 3.0);
        states.push(builder.state(name, Role::Other, initial).unwrap());
    }
    let graph = std::mem::take(&mut builder.graph);
    let mut scope = Scope { graph, pool: states.clone(), around: Vec::new() };
    maker.fill(&mut scope, recipe);
    let mut outputs = maker.outputs(&scope, &recipe.ends);
    let second = usize::from(recipe.ends[3]) % Write::ALL.len();
    let mut updates = Vec::new();
    for (kind, choice) in [(first, recipe.ends[4]), (second, recipe.ends[5])] {
        let write = Write::ALL[kind % Write::ALL.len()];
        updates.extend(written(&mut maker, &mut scope, write, &states, choice, &mut outputs));
        maker.coverage.count(format!("write {write:?}"));
    }
    alias(&mut maker, &updates, &states, &mut outputs, recipe.ends[6]);
    maker.bind_symbols(&mut scope);
    builder.graph = scope.graph;
    let program = assemble(&mut builder, outputs, &updates, &states, maker.inputs.len());
    maker.coverage.count(format!("alias {:?}", Alias::ReadLater));
    maker.coverage.count(format!("alias {:?}", Alias::Held));
    let function = program.function("f").expect("the program has f").clone();
    let reference = Reference { program: &program, inputs: &maker.inputs, sizes: &maker.sizes };
    let text = |what: String| {
        let state = function.reads.iter().filter_map(|name| program.state.iter().find(|state| state.name == *name));
        let all: Vec<_> = maker.inputs.iter().cloned().chain(state.map(|state| state.value.clone())).collect();
        report(&format!("{what}\nwrites {:?}", function.writes), &function.graph, &all)
    };
    reference.follow().map_err(text)?;
    Ok(maker.coverage)
}

/// What is written in that way: (state, value).
fn written(
    maker: &mut Maker,
    scope: &mut Scope,
    write: Write,
    states: &[Value],
    choice: u16,
    outputs: &mut Vec<Value>,
) -> Vec<(usize, Value)> {
    let spec = scope.graph.spec(states[0]).clone();
    let mut computed = |scope: &mut Scope, spec: &Spec| {
        let value = scope.pool[scope.pool.len() - 1 - usize::from(choice / 4) % scope.pool.len()];
        maker.adapt(scope, value, spec)
    };
    match write {
        Write::Computed => {
            let state = usize::from(choice) % states.len();
            let spec = scope.graph.spec(states[state]).clone();
            vec![(state, computed(scope, &spec))]
        }
        Write::Itself => vec![(usize::from(choice) % states.len(), states[usize::from(choice) % states.len()])],
        Write::Swap => vec![(0, states[1]), (1, states[0])],
        Write::Shared => {
            let value = computed(scope, &spec);
            vec![(0, value), (1, value)]
        }
        Write::Handed => vec![(0, computed(scope, &spec)), (1, states[0])],
        Write::Returned => {
            let value = computed(scope, &spec);
            outputs.push(value);
            vec![(0, value)]
        }
        Write::View => {
            let axes = [("axes", AttrValue::Ints(vec![1, 0]))];
            vec![(2, scope.graph.op("transpose", &axes, &[states[2]]).unwrap())]
        }
        Write::Input => {
            let wanted = Wanted { spec, range: None };
            vec![(0, maker.operand(scope, &wanted, 0))]
        }
    }
}

fn alias(maker: &mut Maker, updates: &[(usize, Value)], states: &[Value], outputs: &mut Vec<Value>, choice: u16) {
    if choice % 2 == 1 {
        outputs.push(states[updates[0].0]);
        maker.coverage.count(format!("alias {:?}", Alias::Old));
    }
    if choice / 2 % 2 == 1 {
        outputs.push(outputs[usize::from(choice) % outputs.len()]);
        maker.coverage.count(format!("alias {:?}", Alias::Twice));
    }
}

/// The program: `f`, and `g`, which returns all state and a sum.
fn assemble(
    builder: &mut Builder,
    outputs: Vec<Value>,
    updates: &[(usize, Value)],
    states: &[Value],
    inputs: usize,
) -> Program {
    let named = |values: Vec<Value>| values.into_iter().enumerate().map(|(index, value)| (format!("y{index}"), value));
    let notes = Notes { inputs: Some((0..inputs).map(|index| format!("x{index}")).collect()), ..Notes::default() };
    let f: FunctionId = builder.function("f", named(outputs).collect(), notes).unwrap();
    for &(state, value) in updates {
        builder.update(f, states[state], value).unwrap();
    }
    let mut read = states.to_vec();
    let twice = builder.graph.add(states[3], states[3]).unwrap();
    read.push(twice);
    builder.function("g", named(read).collect(), Notes::default()).unwrap();
    Program::new(&[builder], Json::Null).unwrap()
}

/// A program's answers by the interpreter.
struct Reference<'a> {
    program: &'a Program,
    inputs: &'a [Tensor],
    sizes: &'a Bindings,
}

impl Reference<'_> {
    /// Runs `f` and `g` in turn, from a file, and from a snapshot in between.
    fn follow(&self) -> Result<(), String> {
        let f = self.program.function("f").expect("the program has f");
        let mut session = Session::new(Arc::new(through_file(self.program)?), Limits::none());
        let mut state: Vec<_> = NAMES.iter().map(|name| self.initial(name)).collect();
        let mut held: Vec<(Tensor, Vec<u8>)> = Vec::new();
        for round in 0..3 {
            self.refused_leaves(&session, &state)?;
            let expected = self.step(f, &mut state)?;
            let outputs = session.run("f", self.inputs).map_err(|error| format!("round {round}: {error}"))?;
            same("of the reference", &expected, &format!("in round {round}"), &outputs)?;
            let later = session.run("g", &[]).map_err(|error| format!("g: {error}"))?;
            same("of the reference, read by g,", &state, &format!("after round {round}"), &later[..state.len()])?;
            // What the first round gave stays with us, what the second gave is let go.
            if round != 1 {
                held.extend(outputs.iter().chain(&later).map(|tensor| (tensor.clone(), tensor.bytes().to_vec())));
            }
            if round == 1 {
                let snapshot = session.snapshot().map_err(|error| error.to_string())?;
                session = Session::new(Arc::new(through_file(&snapshot)?), Limits::none());
            }
            if let Some((tensor, _)) = held.iter().find(|(tensor, bytes)| tensor.bytes() != bytes) {
                return Err(format!("a tensor that was handed out became {} in round {round}", numbers(tensor)));
            }
        }
        Ok(())
    }

    fn initial(&self, name: &str) -> Tensor {
        self.program.state.iter().find(|state| state.name == name).expect("the program has its state").value.clone()
    }

    /// One run of a function; the state becomes what it writes.
    fn step(&self, function: &Function, state: &mut [Tensor]) -> Result<Vec<Tensor>, String> {
        let position = |name: &String| NAMES.iter().position(|other| other == name).expect("a state has a name");
        let reads = function.reads.iter().map(|name| state[position(name)].clone());
        let inputs: Vec<_> = self.inputs.iter().cloned().chain(reads).collect();
        let graph: &Graph = &function.graph;
        let outputs = Interpreter { sizes: self.sizes, lowered: false }.run(graph, &inputs);
        let mut outputs = outputs.map_err(|error| format!("reference: {error}"))?;
        let new = outputs.split_off(function.outputs.len());
        function.writes.iter().zip(new).for_each(|(name, value)| state[position(name)] = value);
        Ok(outputs)
    }

    /// What fails leaves the state: a call that is cancelled or has no memory, a value of another spec.
    fn refused_leaves(&self, session: &Session, state: &[Tensor]) -> Result<(), String> {
        let other = Tensor::zeros(DType::I64, &[], None).map_err(|error| error.to_string())?;
        let square = Tensor::zeros(state[2].dtype(), &[3, 3], None).map_err(|error| error.to_string())?;
        if session.set_state(&[("count", other.clone()), ("square", square), ("a", other)]).is_ok() {
            return Err("state a took a scalar".into());
        }
        let index = session.function("f").map_err(|error| error.to_string())?;
        let cancelled = Limits::none();
        cancelled.cancel();
        for limits in [cancelled, Limits::new(1, 0.0)] {
            let mut failed = false;
            if let Ok(mut call) = session.start(index, self.inputs, Some(&limits)) {
                failed = call.advance(f64::INFINITY).is_err();
            }
            let now = session.run("g", &[]).map_err(|error| format!("g: {error}"))?;
            if failed {
                same("before a run that failed", state, "after it", &now[..state.len()])?;
            }
        }
        Ok(())
    }
}
