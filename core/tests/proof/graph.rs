//! From a recipe to a graph and its inputs.

use super::catalogue::{Case, Catalogue, Wanted, fits};
use super::coverage::Coverage;
use super::recipe::{Focus, Recipe, Step};
use super::regions::Kind;
use crate::support::Generator;
use caudal::shape::Bindings;
use caudal::{DType, Dim, Graph, Op, Shape, Spec, Tensor, Value};

const SYMBOLS: [&str; 3] = ["n", "m", "k"];

/// How deep regions nest.
pub const DEPTH: usize = 3;

/// What kind of program is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Anything.
    Any,
    /// Smooth functions in float64, within the ranges of the samples.
    Smooth,
    /// With axes that are long enough to be cut into tasks.
    Large,
}

/// A graph being made, and the values that further steps may use.
pub struct Scope {
    pub graph: Graph,
    pub pool: Vec<Value>,
    /// The kinds of the regions around it, the outermost first.
    pub around: Vec<Kind>,
}

/// What steps are left of a recipe.
pub type Steps<'a> = std::iter::Copied<std::slice::Iter<'a, Step>>;

/// Makes programs.
pub struct Maker<'a> {
    pub catalogue: &'a Catalogue,
    pub mode: Mode,
    pub generator: Generator,
    /// What the symbols stand for.
    pub sizes: Bindings,
    /// The inputs of the outermost graph.
    pub inputs: Vec<Tensor>,
    pub coverage: Coverage,
}

/// A graph and inputs for it.
pub struct Program {
    pub graph: Graph,
    pub inputs: Vec<Tensor>,
    pub sizes: Bindings,
}

impl<'a> Maker<'a> {
    pub fn new(catalogue: &'a Catalogue, mode: Mode, seed: u64) -> Maker<'a> {
        let (sizes, coverage) = (Bindings::new(), Coverage::default());
        Maker { catalogue, mode, generator: Generator(seed), sizes, inputs: Vec::new(), coverage }
    }

    /// The graph of a recipe; its outputs are chosen among the values that nothing uses, and some others.
    pub fn program(mut self, recipe: &Recipe) -> (Program, Coverage) {
        let mut scope = Scope { graph: Graph::new(), pool: Vec::new(), around: Vec::new() };
        self.fill(&mut scope, recipe);
        let outputs = self.outputs(&scope, &recipe.ends);
        self.bind_symbols(&mut scope);
        scope.graph.set_outputs(outputs).unwrap();
        (Program { graph: scope.graph, inputs: self.inputs, sizes: self.sizes }, self.coverage)
    }

    /// All steps of a recipe.
    pub fn fill(&mut self, scope: &mut Scope, recipe: &Recipe) {
        let mut steps = recipe.steps.iter().copied();
        match recipe.focus {
            Focus::Any => {}
            Focus::Case { index, symbolic } => {
                let step = steps.clone().next().unwrap_or(Step { what: 0, operands: [0; 6], tweak: 0 });
                self.apply(scope, &self.catalogue.cases[index], &step, symbolic);
            }
            Focus::Region { kind, inner, symbolic } => {
                if symbolic {
                    self.size_of(SYMBOLS[0], 4);
                    let shape = Shape::new(vec![Dim::symbol(SYMBOLS[0]).unwrap()]).unwrap();
                    let value = self.fresh(scope, &Spec::new(DType::F64, shape), None);
                    scope.pool.push(value);
                }
                if let Some(step) = steps.next() {
                    self.region(scope, Kind::ALL[kind], Some(Kind::ALL[inner]), &step, &mut steps);
                }
            }
        }
        while steps.len() > 0 {
            self.step(scope, &mut steps);
        }
    }

    /// One step: mostly an op.
    pub fn step(&mut self, scope: &mut Scope, steps: &mut Steps) {
        let Some(step) = steps.next() else { return };
        let kinds = if self.mode == Mode::Smooth { Kind::SMOOTH } else { Kind::ALL };
        if step.what % 8 == 7 && scope.around.len() < DEPTH {
            self.region(scope, kinds[step.what as usize / 8 % kinds.len()], None, &step, steps);
            return;
        }
        let choice = step.what as usize / 8;
        let case = match self.mode {
            Mode::Smooth => &self.catalogue.cases[self.catalogue.smooth[choice % self.catalogue.smooth.len()]],
            _ => &self.catalogue.cases[choice % self.catalogue.cases.len()],
        };
        self.apply(scope, case, &step, step.tweak % 4 == 3);
    }

    /// Applies an op to operands of its sample's specs, or of ones with another size or a symbol in its place.
    fn apply(&mut self, scope: &mut Scope, case: &Case, step: &Step, symbolic: bool) {
        let name = case.op.def.name;
        let mut inputs = case.inputs.clone();
        let sizes = if symbolic { case.symbolic.clone() } else { case.sizes() };
        if let Some(&size) = sizes.get(step.tweak as usize / 64 % sizes.len().max(1)) {
            let dim = match symbolic {
                true => {
                    let symbol = SYMBOLS[step.tweak as usize / 16 % SYMBOLS.len()];
                    self.size_of(symbol, (step.tweak / 1024) as i64 % 8);
                    Some(Dim::symbol(symbol).unwrap())
                }
                false if self.mode == Mode::Large => Some(Dim::constant(100 + i64::from(step.tweak / 1024 % 301))),
                false if step.tweak % 4 == 2 => Some(Dim::constant(i64::from(step.tweak / 1024 % 8))),
                false => None,
            };
            // Indices that the sample keeps in range stay there; the mean of nothing is not smooth.
            let large_enough = |dim: &Dim| {
                let new = dim.evaluate(&|name| self.sizes.get(name)).unwrap_or(0);
                let index = |wanted: &Wanted| wanted.range.is_some() && !wanted.spec.dtype.is_float();
                let least = if case.inputs.iter().flatten().any(index) { size as i64 } else { 1 };
                self.mode != Mode::Smooth || new >= least
            };
            let other = dim.as_ref().filter(|dim| large_enough(dim)).map(|dim| case.with_size(size, dim));
            let other = other.filter(|other| self.takes(case, other));
            if let (Some(dim), Some(other)) = (dim, other) {
                inputs = other;
                if dim.is_symbolic() {
                    self.coverage.count(format!("symbolic {name}"));
                }
            }
        }
        let operands = inputs.iter().enumerate().map(|(index, wanted)| match wanted {
            Some(wanted) => self.operand(scope, wanted, step.operands[index.min(5)].rotate_left(index as u32 / 6)),
            None => Value::ABSENT,
        });
        let operands: Vec<_> = operands.collect();
        let outputs = scope.graph.apply(&case.op, Vec::new(), &operands);
        scope.pool.extend(outputs.unwrap_or_else(|error| panic!("inference took the specs, and then: {error}")));
        self.coverage.count(format!("op {name} {}", case.dtype));
        if self.mode == Mode::Smooth {
            self.coverage.count(format!("gradient {name}"));
        }
    }

    fn takes(&self, case: &Case, inputs: &[Option<Wanted>]) -> bool {
        let most = if self.mode == Mode::Large { 200_000 } else { 2_000 };
        let env = |name: &str| self.sizes.get(name);
        let known = |wanted: &Wanted| {
            let sizes: Vec<_> = self.known(&wanted.spec).into_iter().map(|size| size as i64).collect();
            Wanted { spec: Spec::new(wanted.spec.dtype, Shape::of(&sizes)), range: wanted.range }
        };
        let elements = |wanted: &Wanted| self.known(&wanted.spec).iter().product::<usize>();
        if !fits(&case.op, inputs, &self.sizes) || inputs.iter().flatten().any(|wanted| elements(wanted) > most) {
            return false;
        }
        // Some sizes are refused where they are known (the largest element of none), which a symbol cannot be.
        let attrs = case.op.attrs.map_dims(|dim| dim.evaluate(&env).map(Dim::constant));
        let op = Op { def: case.op.def, attrs: attrs.unwrap_or_else(|error| panic!("{error}")) };
        let inputs: Vec<_> = inputs.iter().map(|wanted| wanted.as_ref().map(known)).collect();
        fits(&op, &inputs, &self.sizes)
    }

    /// What a symbol stands for: the first wish counts.
    fn size_of(&mut self, symbol: &str, wish: i64) {
        if self.sizes.get(symbol).is_none() {
            self.sizes.set(&symbol.into(), wish);
        }
    }

    /// The sizes of a spec.
    pub fn known(&self, spec: &Spec) -> Vec<usize> {
        spec.shape.evaluate(&|name| self.sizes.get(name)).unwrap_or_else(|error| panic!("{spec}: {error}"))
    }

    /// An input of its own for each symbol, so that all are known.
    pub fn bind_symbols(&mut self, scope: &mut Scope) {
        for symbol in SYMBOLS {
            if self.sizes.get(symbol).is_some() {
                let shape = Shape::new(vec![Dim::symbol(symbol).unwrap()]).unwrap();
                self.fresh(scope, &Spec::new(DType::Bool, shape), None);
            }
        }
    }

    /// A value of this spec: one that is there, one made from another, or a new one.
    pub fn operand(&mut self, scope: &mut Scope, wanted: &Wanted, choice: u16) -> Value {
        let (spec, number) = (&wanted.spec, usize::from(choice / 4));
        // Rounding to a narrow float on the way drowns small steps.
        let narrow = self.mode == Mode::Smooth && spec.dtype.is_float() && spec.dtype != DType::F64;
        let choice = if narrow { 0 } else { choice };
        let same: Vec<_> = scope.pool.iter().copied().filter(|&value| scope.graph.spec(value) == spec).collect();
        let value = match choice % 4 {
            0 => None,
            1 if !scope.pool.is_empty() => {
                let value = scope.pool[number % scope.pool.len()];
                Some(self.adapt(scope, value, spec))
            }
            _ => same.get(number % same.len().max(1)).copied(),
        };
        match (value, self.mode, wanted.range) {
            (None, ..) => {
                let value = self.fresh(scope, spec, wanted.range);
                scope.pool.push(value);
                value
            }
            (Some(value), Mode::Smooth, range) if spec.dtype.is_float() => {
                let (low, high) = range.unwrap_or((-2.0, 2.0));
                squash(&mut scope.graph, value, low, high)
            }
            // What an index or a key may be stands in the sample's range.
            (Some(_), Mode::Smooth, Some(_)) => self.fresh(scope, spec, wanted.range),
            (Some(value), ..) => value,
        }
    }

    /// A new input, or in a region a constant.
    pub fn fresh(&mut self, scope: &mut Scope, spec: &Spec, range: Option<(f64, f64)>) -> Value {
        let (low, high) = range.unwrap_or(match spec.dtype {
            dtype if dtype.is_float() => (-2.0, 2.0),
            dtype if dtype.is_signed() => (-5.0, 6.0),
            _ => (0.0, 6.0),
        });
        let sizes: Vec<_> = self.known(spec).into_iter().map(|size| size as i64).collect();
        let inside = !scope.around.is_empty();
        let shape = if inside && !spec.shape.is_constant() { Shape::of(&[]) } else { Shape::of(&sizes) };
        let tensor = self.generator.tensor(&Spec::new(spec.dtype, shape), low, high);
        if inside {
            let constant = scope.graph.constant(tensor).unwrap();
            return scope.graph.broadcast_to(constant, &spec.shape).unwrap();
        }
        self.inputs.push(tensor);
        scope.graph.input(&format!("x{}", self.inputs.len() - 1), spec.clone()).unwrap()
    }

    /// Some value as one of another spec: cast, reshaped, or its sum added to something of that shape.
    pub fn adapt(&mut self, scope: &mut Scope, value: Value, spec: &Spec) -> Value {
        let from = scope.graph.spec(value).clone();
        let equal = matches!((from.shape.elements(), spec.shape.elements()), (Ok(a), Ok(b)) if a.equals_provably(&b));
        if from.shape == spec.shape || equal {
            let shaped = scope.graph.reshape(value, &spec.shape).unwrap();
            return scope.graph.cast(shaped, spec.dtype).unwrap();
        }
        let wide = scope.graph.cast(value, DType::F64).unwrap();
        let sum = scope.graph.op("sum", &[], &[wide]).unwrap();
        let sum = if self.mode == Mode::Smooth { squash(&mut scope.graph, sum, -1.0, 1.0) } else { sum };
        let other = self.fresh(scope, &Spec::new(DType::F64, spec.shape.clone()), None);
        let both = scope.graph.add(other, sum).unwrap();
        scope.graph.cast(both, spec.dtype).unwrap()
    }

    /// The outputs of a graph: most values that nothing uses, and sometimes one twice or an input as it is.
    pub fn outputs(&mut self, scope: &Scope, ends: &[u16; 8]) -> Vec<Value> {
        let graph = &scope.graph;
        let mut used = vec![false; graph.value_count()];
        graph.nodes().iter().flat_map(|node| node.operands()).for_each(|value| used[value.index()] = true);
        let produced = scope.pool.iter().copied().filter(|&value| graph.producer(value).is_some());
        let unused = produced.filter(|&value| !used[value.index()]);
        // One in four is dead code.
        let keep = |index: usize| usize::from(ends[0]) >> (2 * (index % 8)) & 3 != 3;
        let mut outputs: Vec<_> =
            unused.enumerate().filter(|(index, _)| keep(*index)).map(|(_, value)| value).collect();
        if let Some(&value) = scope.pool.get(usize::from(ends[1]) % scope.pool.len().max(1)) {
            if outputs.is_empty() || ends[2] % 4 == 1 {
                outputs.push(value);
            }
            if ends[2] % 8 == 2 {
                outputs.push(outputs[0]);
            }
        }
        outputs
    }
}

/// `low + (high - low) * sigmoid(value)`: smooth, and within the range.
fn squash(graph: &mut Graph, value: Value, low: f64, high: f64) -> Value {
    let unit = graph.sigmoid(value).unwrap();
    let (low, width) = (graph.scalar_like(value, low).unwrap(), graph.scalar_like(value, high - low).unwrap());
    let scaled = graph.mul(unit, width).unwrap();
    graph.add(scaled, low).unwrap()
}
