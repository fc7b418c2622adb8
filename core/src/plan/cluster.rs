//! From the region of a cluster with reductions to what the CPU runs: which values are stored, where, and the tapes.
//!
//! A value over the full shape that a later phase needs is computed over again, unless it is stored as an output or
//! computing it costs much more than reading it: then it is kept, in the memory of an output that is written later if
//! there is one.

use super::key_input;
use crate::cpu::cluster::{Cluster, Fold, Part, Phase, Slot, Source};
use crate::cpu::tape::Tape;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Value};
use crate::op::Meaning;
use crate::ops::phases::{Form, Level, Phases};
use crate::ops::{elementwise_work, is_random_bits, reduction_loops};
use crate::scalar::{Expression, Register};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The work for an element, in simple instructions, above which a value is kept for later phases.
const KEPT_ABOVE: usize = 8;

/// Compiles a region that has reductions.
///
/// # Errors
/// `internal`: the region is no cluster.
pub fn compile(region: &Graph, phases: &Phases) -> Result<Cluster> {
    let mut compiler = Compiler {
        region,
        phases,
        inputs: region.inputs().iter().enumerate().map(|(index, input)| (input.value, index)).collect(),
        slots: Vec::new(),
        homes: HashMap::new(),
        stores: BTreeMap::new(),
    };
    compiler.place_outputs();
    compiler.place_rows();
    compiler.keep()?;
    let leads = phases.reduced.leads();
    let before = compiler.rows(None)?;
    let parts = (0..phases.list.len()).map(|phase| compiler.phase(phase, leads)).collect::<Result<_>>()?;
    Ok(Cluster { leads, axes: phases.reduced.axes.len(), before, phases: parts, slots: compiler.slots })
}

/// Values and the slots that they are stored in.
type Stores = Vec<(Value, usize)>;

struct Compiler<'a> {
    region: &'a Graph,
    phases: &'a Phases,
    /// The index of each input of the region.
    inputs: HashMap<Value, usize>,
    slots: Vec<Slot>,
    /// The slot that holds a value once it is stored; values by their [`Compiler::root`].
    homes: HashMap<Value, usize>,
    /// What is stored where, by level and phase; what reductions give is not here.
    stores: BTreeMap<(bool, Option<usize>), Stores>,
}

impl Compiler<'_> {
    fn node(&self, value: Value) -> Option<&Node> {
        self.region.producer(value)
    }

    fn is_fold(&self, value: Value) -> bool {
        self.node(value).is_some_and(|node| reduction_loops(&node.op, self.region.spec(value).dtype).is_some())
    }

    /// The value that has the same elements in the same order: of what is moved among the shapes of rows, what it is
    /// moved from.
    fn root(&self, value: Value) -> Value {
        match self.node(value) {
            Some(node) if node.op.def.name == "reshape" => self.root(node.inputs[0]),
            _ => value,
        }
    }

    fn place(&self, value: Value) -> Option<(Level, Option<usize>)> {
        self.phases.places.get(&value).copied()
    }

    fn add_slot(&mut self, value: Value, full: bool, output: Option<usize>) -> usize {
        self.slots.push(Slot { full, width: self.region.spec(value).dtype.size(), output });
        self.slots.len() - 1
    }

    /// Gives each output of the region a slot, and says when it is stored.
    fn place_outputs(&mut self) {
        for (index, &output) in self.region.outputs().iter().enumerate() {
            let value = self.root(output);
            let Some((level, phase)) = self.place(value) else { continue };
            let slot = self.add_slot(value, level == Level::Full, Some(index));
            let is_first = !self.homes.contains_key(&value);
            self.homes.entry(value).or_insert(slot);
            if !(is_first && self.is_fold(value)) {
                self.stores.entry((level == Level::Full, phase)).or_default().push((value, slot));
            }
        }
    }

    /// Gives a slot to each value with an element for each row that another part reads.
    fn place_rows(&mut self) {
        for node in self.region.nodes() {
            let Some((own_level, own_phase)) = self.place(node.first) else { continue };
            for operand in node.operands() {
                let value = self.root(operand);
                let Some((Level::Row, phase)) = self.place(value) else { continue };
                let elsewhere = own_level == Level::Full || own_phase != phase || self.is_fold(value);
                if elsewhere && !self.homes.contains_key(&value) {
                    let slot = self.add_slot(value, false, None);
                    self.homes.insert(value, slot);
                    if !self.is_fold(value) {
                        self.stores.entry((false, phase)).or_default().push((value, slot));
                    }
                }
            }
        }
        // A reduction that nothing reads is computed all the same.
        let folds = self.phases.list.iter().flat_map(|phase| phase.folds.iter().copied()).collect::<Vec<_>>();
        for fold in folds {
            let value = self.region.nodes()[fold].first;
            if !self.homes.contains_key(&value) {
                let slot = self.add_slot(value, false, None);
                self.homes.insert(value, slot);
            }
        }
    }

    /// The work for an element of a value over the full shape, from what is read.
    fn work(&self, value: Value, known: &mut HashMap<Value, usize>) -> Result<usize> {
        if let Some(&work) = known.get(&value) {
            return Ok(work);
        }
        let work = match (self.place(value), self.node(value)) {
            (Some((Level::Full, _)), Some(node)) => {
                let mut work = elementwise_work(self.region, node);
                for operand in node.operands() {
                    work += self.work(operand, known)?;
                }
                work
            }
            _ => 0,
        };
        known.insert(value, work);
        Ok(work)
    }

    /// Finds the values over the full shape that are kept for later phases, and where.
    fn keep(&mut self) -> Result<()> {
        let mut known = HashMap::new();
        // For each kept value the last phase that reads it.
        let mut kept: BTreeMap<Value, usize> = BTreeMap::new();
        for number in (0..self.phases.list.len()).rev() {
            let mut left = self.wanted(number);
            left.extend(kept.keys().filter(|value| self.place(**value) == Some((Level::Full, Some(number)))));
            let mut seen = HashSet::new();
            while let Some(value) = left.pop() {
                let Some((Level::Full, Some(phase))) = self.place(value) else { continue };
                if !seen.insert(value) {
                    continue;
                }
                let is_dear = self.homes.contains_key(&value) || self.work(value, &mut known)? > KEPT_ABOVE;
                if phase < number && is_dear {
                    kept.entry(value).or_insert(number);
                } else {
                    left.extend(self.node(value).into_iter().flat_map(Node::operands));
                }
            }
        }
        let mut lent: HashSet<usize> = HashSet::new();
        for (value, last) in kept {
            if self.homes.contains_key(&value) {
                continue;
            }
            let width = self.region.spec(value).dtype.size();
            let later = self.stores.iter().filter(|((full, phase), _)| *full && *phase >= Some(last));
            let found = later.flat_map(|(_, stores)| stores).map(|&(_, slot)| slot).find(|slot| {
                self.slots[*slot].width == width && self.slots[*slot].output.is_some() && !lent.contains(slot)
            });
            let output = found.and_then(|slot| self.slots[slot].output);
            lent.extend(found);
            let slot = self.add_slot(value, true, output);
            self.homes.insert(value, slot);
            let Some((_, phase)) = self.place(value) else { continue };
            self.stores.entry((true, phase)).or_default().push((value, slot));
        }
        Ok(())
    }

    /// The values over the full shape that a phase folds and stores.
    fn wanted(&self, phase: usize) -> Vec<Value> {
        let folds = self.phases.list[phase].folds.iter().map(|&fold| self.region.nodes()[fold].inputs[0]);
        let stores = self.stores.get(&(true, Some(phase))).into_iter().flatten().map(|&(value, _)| value);
        folds.chain(stores).collect()
    }

    fn phase(&self, number: usize, whole: bool) -> Result<Phase> {
        let nodes = self.phases.list[number].folds.iter().map(|&index| &self.region.nodes()[index]);
        let fold = |node: &Node| {
            let loops = reduction_loops(&node.op, self.region.spec(node.inputs[0]).dtype);
            let loops = loops.ok_or_else(|| Error::internal("a cluster folds with an op that is no fold"))?;
            Ok(Fold { loops, slot: self.homes[&node.first] })
        };
        let folds = nodes.map(fold).collect::<Result<Vec<_>>>()?;
        let mut part = PartBuilder::new(self, Some(number), true);
        for value in self.wanted(number) {
            let register = part.register(value)?;
            part.outputs.push(register);
        }
        let stores = self.stores.get(&(true, Some(number))).into_iter().flatten();
        let full = part.finish(stores.map(|&(_, slot)| slot).collect(), folds.len(), whole);
        Ok(Phase { full, folds, rows: self.rows(Some(number))? })
    }

    /// What is computed for each row at the end of a phase, or before all.
    fn rows(&self, phase: Option<usize>) -> Result<Part> {
        let mut part = PartBuilder::new(self, phase, false);
        let stores = self.stores.get(&(false, phase)).map_or(&[][..], |stores| stores);
        for &(value, _) in stores {
            let register = part.register(value)?;
            part.outputs.push(register);
        }
        Ok(part.finish(stores.iter().map(|&(_, slot)| slot).collect(), 0, false))
    }
}

/// A part in the making.
struct PartBuilder<'a> {
    compiler: &'a Compiler<'a>,
    phase: Option<usize>,
    full: bool,
    expression: Expression,
    sources: Vec<Source>,
    dtypes: Vec<DType>,
    read: HashMap<Source, Register>,
    registers: HashMap<Value, Register>,
    outputs: Vec<Register>,
}

impl<'a> PartBuilder<'a> {
    fn new(compiler: &'a Compiler<'a>, phase: Option<usize>, full: bool) -> PartBuilder<'a> {
        PartBuilder {
            compiler,
            phase,
            full,
            expression: Expression::new(),
            sources: Vec::new(),
            dtypes: Vec::new(),
            read: HashMap::new(),
            registers: HashMap::new(),
            outputs: Vec::new(),
        }
    }

    fn read(&mut self, source: Source, dtype: DType) -> Register {
        if let Some(&register) = self.read.get(&source) {
            return register;
        }
        let register = self.expression.input(self.sources.len() as u16, dtype);
        self.sources.push(source);
        self.dtypes.push(dtype);
        self.read.insert(source, register);
        register
    }

    /// The register of a value that the part computes or reads.
    fn register(&mut self, value: Value) -> Result<Register> {
        let region = self.compiler.region;
        // An input that is folded as it is.
        if let Some(&index) = self.compiler.inputs.get(&value) {
            return Ok(self.read(Source::Input(index, Form::Full), region.spec(value).dtype));
        }
        let value = self.compiler.root(value);
        if let Some(&register) = self.registers.get(&value) {
            return Ok(register);
        }
        let missing = || Error::internal("a cluster reads what nothing makes");
        let node = self.compiler.node(value).ok_or_else(missing)?;
        let register = match self.compiler.place(value) {
            None => self.expression.tensor_constant(&node.op.attrs.tensor("value")?),
            Some(place) if self.is_stored(value, place) => {
                let slot = self.compiler.homes.get(&value).ok_or_else(missing)?;
                self.read(Source::Slot(*slot), region.spec(value).dtype)
            }
            Some(_) => self.compute(node)?,
        };
        self.registers.insert(value, register);
        Ok(register)
    }

    /// Whether an earlier part has stored a value.
    fn is_stored(&self, value: Value, (level, phase): (Level, Option<usize>)) -> bool {
        let is_earlier = match (self.full, level) {
            (true, Level::Full) | (false, Level::Row) => phase < self.phase,
            (true, Level::Row) => true,
            (false, Level::Full) => false,
        };
        let is_fold = self.compiler.is_fold(value);
        self.compiler.homes.contains_key(&value) && (is_earlier || is_fold)
    }

    fn compute(&mut self, node: &Node) -> Result<Register> {
        let (region, reduced) = (self.compiler.region, &self.compiler.phases.reduced);
        if is_random_bits(node) {
            return self.random(node);
        }
        let Meaning::Scalar(meaning) = &node.op.def.meaning else {
            // A row's element, at each of its places.
            return self.register(node.inputs[0]);
        };
        let form = reduced.form(&region.spec(node.first).shape);
        let mut operands = Vec::with_capacity(node.inputs.len());
        for &operand in &node.inputs {
            operands.push(match self.compiler.inputs.get(&operand) {
                Some(&index) => self.read(Source::Input(index, form), region.spec(operand).dtype),
                None => self.register(operand)?,
            });
        }
        Ok(meaning(&mut self.expression, &node.op.attrs, &operands))
    }

    fn random(&mut self, node: &Node) -> Result<Register> {
        let region = self.compiler.region;
        let register = self.expression.random(self.sources.len() as u16, region.spec(node.first).dtype);
        self.sources.push(Source::Random(key_input(region, node)?));
        self.dtypes.push(region.spec(node.inputs[0]).dtype);
        Ok(register)
    }

    fn finish(self, stores: Vec<usize>, seen: usize, whole: bool) -> Part {
        let tape = Tape::seen(&self.expression, &self.dtypes, &self.outputs, seen, whole);
        Part { tape, sources: self.sources, stores }
    }
}
