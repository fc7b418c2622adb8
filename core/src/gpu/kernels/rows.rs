//! A cluster with reductions as one kernel. Some lanes of a workgroup have a row: phase by phase they go over it, compute
//! what the phase folds from the inputs, over again where an earlier phase has done so, and join their partial results in
//! the workgroup's memory; then each computes what follows for the row.
//!
//! Where the reduced axes are the first ones, rows are columns: neighbouring lanes have neighbouring ones.

use super::elementwise::broadcast;
use super::reduce::along;
use crate::cpu::call::{Layout, List};
use crate::dtype::DType;
use crate::gpu::kernel::{Launch, Recipe, Refusal, Request, Slot};
use crate::gpu::wgsl::{Binding, INVOCATIONS, Source, Values, compute_type, cover, storage_buffers};
use crate::graph::{Graph, Node, Value};
use crate::op::Meaning;
use crate::ops::is_fold;
use crate::ops::phases::{Level, Phase, Phases, Reduced};
use crate::scalar::{Binary, Expression, Register};
use crate::shape::{Bindings, Shape};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The longest row that one lane goes over.
const SHORT: usize = 32;

/// Elements of longer ones that a lane goes over before another one helps it.
const FEW: usize = 8;

/// Rows longer than that are reduced in stages where they are few.
const LONG: usize = 16 << 10;

/// So many are not few.
const MANY: usize = 32;

/// The most that a lane goes over in all phases.
const MOST: usize = 16 << 10;

/// Columns beside each other that a workgroup has at least.
const COLUMNS: u32 = 32;

/// The most reductions of a phase: their partial results take no more than 16 KiB.
const FOLDS: usize = 8;

/// Prints a region with reductions, where the symbols have these sizes.
///
/// # Errors
/// It is not one kernel: more buffers than a shader may have, or rows so long that more should go over each; `float64`.
pub fn print(region: &Graph, sizes: &Bindings, request: &Request) -> Result<Recipe, Refusal> {
    let phases = Phases::new(region).map_err(|reason| Refusal(reason.into()))?;
    let phases = phases.ok_or_else(|| Refusal("a cluster without reductions".into()))?;
    let rows = Rows::new(&phases, sizes)?;
    if rows.count == 0 {
        return Ok(Recipe::default());
    }
    let mut body = Body::new(region, &phases.reduced, rows, request);
    region.nodes().iter().try_for_each(|node| body.add(node))?;
    let outputs = region.outputs().iter().map(|value| body.output(*value, &phases)).collect::<Result<Vec<_>, _>>()?;
    Ok(Recipe::of(body.launch(&phases, &outputs)?))
}

/// The rows of a cluster, and the lanes that have them.
struct Rows {
    /// The full shape.
    full: List<usize>,
    /// Its axes that are reduced.
    axes: List<usize>,
    /// How many rows there are.
    count: usize,
    /// How many elements each has.
    length: usize,
    /// Whether neighbouring elements are of neighbouring rows.
    are_columns: bool,
    /// The lanes that have a row.
    lanes: u32,
}

impl Rows {
    fn new(phases: &Phases, sizes: &Bindings) -> Result<Rows, Refusal> {
        let reduced = &phases.reduced;
        let full = reduced.full.evaluate_list(&|name| sizes.get(name))?;
        let size = |is_reduced: bool| {
            let axes = (0..full.len()).filter(|axis| reduced.axes.contains(axis) == is_reduced);
            axes.map(|axis| full[axis]).product::<usize>()
        };
        let (count, length, are_columns) = (size(false), size(true), reduced.leads());
        let most_lanes =
            if are_columns { INVOCATIONS / COLUMNS.min(count.next_power_of_two() as u32) } else { INVOCATIONS };
        let lanes = match length {
            0..=SHORT => 1,
            _ => length.div_ceil(FEW).next_power_of_two().min(most_lanes as usize) as u32,
        };
        if count.saturating_mul(length) > i32::MAX as usize {
            return Err(Refusal(format!("{count} rows of {length} are more than 31 bits count")));
        }
        let each = length.div_ceil(lanes as usize) * phases.list.len();
        if count > 0 && (length == 0 || length > LONG && count < MANY || each > MOST) {
            return Err(Refusal(format!("{count} rows of {length} are not reduced by a workgroup each")));
        }
        Ok(Rows { full, axes: reduced.axes.clone(), count, length, are_columns, lanes })
    }

    /// Rows that a workgroup has.
    fn in_group(&self) -> u32 {
        INVOCATIONS / self.lanes
    }

    /// The sizes of a shape, and how an operand lies that is broadcast to it.
    fn spread(&self, layout: &Layout, form: Form) -> Result<Spread, Refusal> {
        let is_reduced = |axis: usize| self.axes.contains(&axis);
        let sizes: List<usize> = match form {
            Form::Full => self.full.clone(),
            Form::Kept => (0..self.full.len()).map(|axis| if is_reduced(axis) { 1 } else { self.full[axis] }).collect(),
            Form::Dropped => {
                (0..self.full.len()).filter(|&axis| !is_reduced(axis)).map(|axis| self.full[axis]).collect()
            }
        };
        let layout = broadcast(layout, &sizes)?;
        Ok(match form {
            Form::Dropped => Spread { starts: layout, elements: None },
            _ => {
                let elements = along(&layout, 0, is_reduced);
                let varies =
                    elements.sizes.iter().zip(&elements.strides).any(|(size, stride)| *size > 1 && *stride != 0);
                let starts = along(&layout, layout.offset, |axis| !is_reduced(axis));
                Spread { starts, elements: Some(elements).filter(|_| varies) }
            }
        })
    }
}

/// In which shape an operand is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Full,
    /// With the reduced axes 1.
    Kept,
    /// Without the reduced axes.
    Dropped,
}

impl Form {
    fn of(shape: &Shape, reduced: &Reduced) -> Form {
        match shape {
            shape if *shape == reduced.full => Form::Full,
            shape if *shape == reduced.kept => Form::Kept,
            _ => Form::Dropped,
        }
    }
}

/// How an operand lies.
#[derive(Clone, PartialEq)]
struct Spread {
    /// Where each row begins.
    starts: Layout,
    /// Where its elements are from there; `None` if it has the same one at each place.
    elements: Option<Layout>,
}

/// An operand in a form.
struct Read {
    input: usize,
    form: Form,
    spread: Spread,
    register: Register,
}

/// A reduction: how it joins elements, and the registers of an element, of its start and of its result.
#[derive(Clone, Copy)]
struct Fold {
    join: Binary,
    dtype: DType,
    element: Register,
    start: Register,
    result: Register,
}

/// An output: its register, and the phase in which it is stored if it has an element for each place.
struct Output {
    register: Register,
    phase: Option<usize>,
    dtype: DType,
}

/// What a cluster computes: one expression, whose inputs are operands and the results of reductions.
struct Body<'a> {
    region: &'a Graph,
    reduced: &'a Reduced,
    rows: Rows,
    request: &'a Request<'a>,
    expression: Expression,
    registers: HashMap<Value, Register>,
    reads: Vec<Read>,
    folds: HashMap<Value, Fold>,
    inputs: u16,
}

impl<'a> Body<'a> {
    fn new(region: &'a Graph, reduced: &'a Reduced, rows: Rows, request: &'a Request<'a>) -> Body<'a> {
        Body {
            region,
            reduced,
            rows,
            request,
            expression: Expression::new(),
            registers: HashMap::new(),
            reads: Vec::new(),
            folds: HashMap::new(),
            inputs: 0,
        }
    }

    fn input(&mut self, dtype: DType) -> Register {
        self.inputs += 1;
        self.expression.input(self.inputs - 1, dtype)
    }

    /// Adds what a node computes.
    fn add(&mut self, node: &Node) -> Result<(), Refusal> {
        let spec = self.region.spec(node.first);
        let register = match &node.op.def.meaning {
            Meaning::Scalar(meaning) => {
                let form = Form::of(&spec.shape, self.reduced);
                let operands = node.inputs.iter().map(|&value| self.operand(value, form));
                let operands = operands.collect::<Result<Vec<_>, _>>()?;
                meaning(&mut self.expression, &node.op.attrs, &operands)
            }
            _ if is_fold(&node.op) => {
                let element = self.operand(node.inputs[0], Form::Full)?;
                let fold = self.fold(node.op.def.name, element);
                self.folds.insert(node.first, fold);
                fold.result
            }
            _ if node.op.def.name == "constant" => self.expression.tensor_constant(&node.op.attrs.tensor("value")?),
            // What moves gives a row's element at each of its places, or in another of the shapes that rows have.
            _ => self.operand(node.inputs[0], Form::Full)?,
        };
        self.registers.insert(node.first, register);
        Ok(())
    }

    fn operand(&mut self, value: Value, form: Form) -> Result<Register, Refusal> {
        let Some(input) = self.region.inputs().iter().position(|input| input.value == value) else {
            let register = self.registers.get(&value).copied();
            return register.ok_or_else(|| Refusal("a cluster reads a value that it has not computed".into()));
        };
        if let Some(read) = self.reads.iter().find(|read| read.input == input && read.form == form) {
            return Ok(read.register);
        }
        let layout = self.request.input(input)?;
        let (spread, register) = (self.rows.spread(layout, form)?, self.input(layout.dtype));
        self.reads.push(Read { input, form, spread, register });
        Ok(register)
    }

    fn fold(&mut self, name: &str, element: Register) -> Fold {
        let expression = &mut self.expression;
        let is_bool = expression.dtype(element) == DType::Bool;
        let (join, start, element) = match name {
            "sum" => (Binary::Add, 0.0, element),
            "prod" => (Binary::Mul, 1.0, element),
            "max" => (Binary::Max, if is_bool { 0.0 } else { f64::NEG_INFINITY }, element),
            "min" => (Binary::Min, f64::INFINITY, element),
            "any" => (Binary::Or, 0.0, expression.cast(DType::Bool, element)),
            _ => (Binary::And, 1.0, expression.cast(DType::Bool, element)),
        };
        let dtype = expression.dtype(element);
        let start = expression.constant(dtype, start);
        Fold { join, dtype, element, start, result: self.input(dtype) }
    }

    fn output(&self, value: Value, phases: &Phases) -> Result<Output, Refusal> {
        let missing = || Refusal("a cluster gives a value that it has not computed".into());
        let register = self.registers.get(&value).copied().ok_or_else(missing)?;
        let (level, phase) = phases.places.get(&value).copied().ok_or_else(missing)?;
        let phase = phase.filter(|_| level == Level::Full);
        Ok(Output { register, phase, dtype: self.region.spec(value).dtype })
    }

    fn launch(&self, phases: &Phases, outputs: &[Output]) -> Result<Launch, Refusal> {
        let mut source = Source::new([INVOCATIONS, 1, 1]);
        let inputs: BTreeSet<_> = self.reads.iter().map(|read| read.input).collect();
        let limit = storage_buffers(self.request.adapter);
        if inputs.len() + outputs.len() > limit {
            return Err(Refusal(format!("a cluster has more than {limit} operands and results")));
        }
        let mut bound = BTreeMap::new();
        for index in inputs {
            bound.insert(index, source.read(Slot::Input(index), self.request.input(index)?.dtype)?);
        }
        let mut stores = Vec::new();
        for (index, output) in outputs.iter().enumerate() {
            stores.push((output, source.write(Slot::Output(index), output.dtype)?));
        }
        let groups = self.begin(&mut source);
        let mut printer =
            Printer { body: self, source, bound, starts: Vec::new(), values: Values::new(), arrays: BTreeSet::new() };
        printer.rows(&phases.before)?;
        for (number, phase) in phases.list.iter().enumerate() {
            let own: Vec<_> = stores.iter().filter(|(output, _)| output.phase == Some(number)).collect();
            printer.phase(phase, &own, number > 0)?;
        }
        printer.end(stores.iter().filter(|(output, _)| output.phase.is_none()));
        Ok(printer.source.launch(groups))
    }

    /// Begins the shader: its lanes have the row `row` and of its elements those from `place` on, to `end`. Lanes that
    /// have none, which is not `is_inside`, see the last one, but have no elements.
    fn begin(&self, source: &mut Source) -> [u32; 3] {
        let (rows, lanes, in_group) = (&self.rows, self.rows.lanes, self.rows.in_group());
        let (number, place) = match rows.are_columns {
            _ if lanes == 1 => ("lane".into(), "0u".into()),
            true => (format!("lane % {in_group}u"), format!("lane / {in_group}u")),
            false => (format!("lane / {lanes}u"), format!("lane % {lanes}u")),
        };
        let (last, length) = (source.size(rows.count as i64 - 1), source.size(rows.length as i64));
        source.line(format!("let number = (((group.y * groups.x) + group.x) * {in_group}u) + ({number});"));
        source.line(format!("let is_inside = number <= {last};"));
        source.line(format!("let row = min(number, {last});"));
        source.line(format!("let place = {place};"));
        source.line(format!("let end = select(0u, {length}, is_inside);"));
        cover(rows.count as u64, in_group)
    }
}

/// A shader in the making.
struct Printer<'a> {
    body: &'a Body<'a>,
    source: Source,
    /// The bindings of operands.
    bound: BTreeMap<usize, Binding>,
    /// Where the row begins in each of these layouts.
    starts: Vec<(Layout, String)>,
    /// What is known for the row.
    values: Values,
    /// The arrays in the workgroup's memory.
    arrays: BTreeSet<String>,
}

impl Printer<'_> {
    /// Prints what needs no reduction: where rows begin, what is read for each, and these nodes.
    fn rows(&mut self, before: &[usize]) -> Result<(), Refusal> {
        for read in &self.body.reads {
            let start = self.start(&read.spread.starts);
            if read.spread.elements.is_none() {
                let value = self.source.value("x", self.bound[&read.input].load(&start));
                self.values.insert(read.register, value);
            }
        }
        self.compute(before)
    }

    /// Prints nodes that have an element for each row.
    fn compute(&mut self, nodes: &[usize]) -> Result<(), Refusal> {
        let body = self.body;
        let results: Vec<_> = nodes.iter().map(|&node| body.registers[&body.region.nodes()[node].first]).collect();
        self.source.evaluate(&body.expression, &results, &mut self.values)
    }

    /// Where the row begins in a layout.
    fn start(&mut self, layout: &Layout) -> String {
        let same = |(other, _): &&(Layout, String)| other.strides == layout.strides && other.offset == layout.offset;
        if let Some((_, start)) = self.starts.iter().find(same) {
            return start.clone();
        }
        let start = self.source.offset(layout, "row");
        self.starts.push((layout.clone(), start.clone()));
        start
    }

    fn phase(&mut self, phase: &Phase, stores: &[&(&Output, Binding)], again: bool) -> Result<(), Refusal> {
        let body = self.body;
        let folds: Vec<_> = phase.folds.iter().map(|&fold| body.folds[&body.region.nodes()[fold].first]).collect();
        if folds.len() > FOLDS {
            return Err(Refusal(format!("more than {FOLDS} reductions at a time")));
        }
        let starts: Vec<_> = folds.iter().map(|fold| fold.start).collect();
        self.source.evaluate(&body.expression, &starts, &mut self.values)?;
        let mut totals = Vec::new();
        for fold in &folds {
            let total = self.source.name("total");
            self.source.line(format!("var {total} = {};", self.values[&fold.start]));
            totals.push(total);
        }
        self.go_over(&folds, &totals, stores)?;
        if body.rows.lanes > 1 && !folds.is_empty() {
            self.join(&folds, &totals, again)?;
        }
        for (fold, total) in folds.iter().zip(&totals) {
            let result = self.source.round(fold.dtype, total.clone());
            let result = self.source.value("v", result);
            self.values.insert(fold.result, result);
        }
        self.compute(&phase.rows)
    }

    /// Prints the loop over a lane's elements of the row.
    fn go_over(&mut self, folds: &[Fold], totals: &[String], stores: &[&(&Output, Binding)]) -> Result<(), Refusal> {
        let (body, lanes) = (self.body, self.body.rows.lanes);
        let targets = stores.iter().map(|(output, _)| {
            let spread = body.rows.spread(&Layout::dense(output.dtype, &body.rows.full), Form::Full)?;
            let start = self.start(&spread.starts);
            Ok((spread, start))
        });
        let targets = targets.collect::<Result<Vec<_>, Refusal>>()?;
        let elements = folds.iter().map(|fold| fold.element);
        let results: Vec<_> = elements.chain(stores.iter().map(|(output, _)| output.register)).collect();
        let needed = body.expression.needed(&results, |register| self.values.contains_key(&register));
        self.source.line(format!("for (var at = place; at < end; at += {lanes}u) {{"));
        let (mut values, mut places) = (self.values.clone(), Vec::new());
        for read in body.reads.iter().filter(|read| needed.contains(&read.register) && read.spread.elements.is_some()) {
            let start = self.start(&read.spread.starts);
            let index = self.place(&start, &read.spread, &mut places);
            values.insert(read.register, self.source.value("x", self.bound[&read.input].load(&index)));
        }
        self.source.evaluate(&body.expression, &results, &mut values)?;
        for (fold, total) in folds.iter().zip(totals) {
            let joined = self.source.binary(fold.join, fold.dtype, total, &values[&fold.element]);
            self.source.line(format!("{total} = {joined};"));
        }
        for ((output, binding), (spread, start)) in stores.iter().zip(&targets) {
            let index = self.place(start, spread, &mut places);
            self.source.line(binding.store(&index, &values[&output.register]));
        }
        self.source.line("}");
        Ok(())
    }

    /// The index of the element `at` of a row that begins at `start`; `known` says where it is from there in other layouts.
    fn place(&mut self, start: &str, spread: &Spread, known: &mut Vec<(List<isize>, String)>) -> String {
        let Some(elements) = &spread.elements else { return start.into() };
        let offset = match known.iter().find(|(strides, _)| *strides == elements.strides) {
            Some((_, offset)) => offset.clone(),
            None => {
                let offset = self.source.offset(elements, "at");
                known.push((elements.strides.clone(), offset.clone()));
                offset
            }
        };
        format!("{start} + {offset}")
    }

    /// Prints what makes each lane's total that of its row.
    fn join(&mut self, folds: &[Fold], totals: &[String], again: bool) -> Result<(), Refusal> {
        let rows = &self.body.rows;
        let (other, first) = match (rows.are_columns, rows.in_group()) {
            (true, in_group) => (format!("(step * {in_group}u)"), format!("lane % {in_group}u")),
            (false, _) => ("step".into(), "lane - place".into()),
        };
        let mut arrays = Vec::new();
        for (index, fold) in folds.iter().enumerate() {
            let ty = compute_type(fold.dtype)?;
            let name = format!("totals_{}_{index}", ty.replace(['<', '>'], ""));
            if self.arrays.insert(name.clone()) {
                self.source.declare(&format!("var<workgroup> {name}: array<{ty}, {INVOCATIONS}>;"));
            }
            arrays.push(name);
        }
        if again {
            self.source.line("workgroupBarrier();");
        }
        for (array, total) in arrays.iter().zip(totals) {
            self.source.line(format!("{array}[lane] = {total};"));
        }
        self.source.line(format!("for (var step = {}u; step > 0u; step /= 2u) {{", rows.lanes / 2));
        self.source.line("workgroupBarrier();");
        self.source.line("if (place < step) {");
        for (array, fold) in arrays.iter().zip(folds) {
            let (own, others) = (format!("{array}[lane]"), format!("{array}[lane + {other}]"));
            let joined = self.source.binary(fold.join, fold.dtype, &own, &others);
            self.source.line(format!("{own} = {joined};"));
        }
        self.source.line("}");
        self.source.line("}");
        self.source.line("workgroupBarrier();");
        for (array, total) in arrays.iter().zip(totals) {
            self.source.line(format!("{total} = {array}[{first}];"));
        }
        Ok(())
    }

    /// Prints the stores of what has an element for each row.
    fn end<'b>(&mut self, stores: impl Iterator<Item = &'b (&'b Output, Binding)>) {
        let lines: Vec<_> =
            stores.map(|(output, binding)| binding.store("row", &self.values[&output.register])).collect();
        if !lines.is_empty() {
            self.source.line("if (is_inside && (place == 0u)) {");
            lines.iter().for_each(|line| self.source.line(line));
            self.source.line("}");
        }
    }
}
