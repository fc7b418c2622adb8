//! The text of the shader: what a lane does for its row, phase by phase.

use super::super::lanes::{Partial, Team};
use super::super::random;
use super::{Body, FOLDS, Fold, Form, Output, Rows, Spread};
use crate::cpu::call::{Layout, List};
use crate::dtype::DType;
use crate::gpu::kernel::{Launch, Refusal, Slot};
use crate::gpu::wgsl::{Binding, INVOCATIONS, Source, Values, compute_type, cover};
use crate::ops::phases::{Phase, Phases};
use std::collections::{BTreeMap, BTreeSet};

/// The launch of a body.
///
/// # Errors
/// It has more operands and results than a shader may; `float64`.
pub fn launch(body: &Body, phases: &Phases, outputs: &[Output]) -> Result<Launch, Refusal> {
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let keys = body.words.iter().map(|words| words.key);
    let inputs: BTreeSet<_> = body.reads.iter().map(|read| read.input).chain(keys).collect();
    let limit = body.request.adapter.storage_buffers as usize;
    if inputs.len() + outputs.len() > limit {
        return Err(Refusal(format!("a cluster has more than {limit} operands and results")));
    }
    let mut bound = BTreeMap::new();
    for index in inputs {
        bound.insert(index, source.read(Slot::Input(index), body.request.input(index)?.dtype)?);
    }
    let mut stores = Vec::new();
    for (index, output) in outputs.iter().enumerate() {
        stores.push((output, source.write(Slot::Output(index), output.dtype)?));
    }
    let groups = begin(&body.rows, &mut source);
    let (starts, values, keys) = (Vec::new(), Values::new(), BTreeMap::new());
    let apart = if body.rows.are_columns { body.rows.in_group() } else { 1 };
    let team = Team::new(body.rows.lanes, apart, body.request.adapter);
    let mut printer = Printer { body, source, bound, starts, values, keys, team };
    printer.rows(&phases.before)?;
    for (number, phase) in phases.list.iter().enumerate() {
        let own: Vec<_> = stores.iter().filter(|(output, _)| output.phase == Some(number)).collect();
        printer.phase(phase, &own)?;
    }
    printer.end(stores.iter().filter(|(output, _)| output.phase.is_none()));
    Ok(printer.source.launch(groups))
}

/// Begins the shader: its lanes have the row `row` and of its elements those from `place` on, to `end`. Lanes that
/// have none, which is not `is_inside`, see the last one, but have no elements.
fn begin(rows: &Rows, source: &mut Source) -> [u32; 3] {
    let (lanes, in_group) = (rows.lanes, rows.in_group());
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
    /// The keys of random words.
    keys: BTreeMap<usize, String>,
    /// The lanes that have a row.
    team: Team,
}

impl Printer<'_> {
    /// Prints what needs no reduction: where rows begin, what is read for each, keys, and these nodes.
    fn rows(&mut self, before: &[usize]) -> Result<(), Refusal> {
        for read in &self.body.reads {
            let start = self.start(&read.spread.starts);
            if read.spread.elements.is_none() {
                let value = self.source.value("x", self.bound[&read.input].load(&start));
                self.values.insert(read.register, value);
            }
        }
        for words in &self.body.words {
            if !self.keys.contains_key(&words.key) {
                let layout = self.body.request.input(words.key)?;
                let key = random::load_key(&mut self.source, &self.bound[&words.key], layout);
                self.keys.insert(words.key, key);
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

    fn phase(&mut self, phase: &Phase, stores: &[&(&Output, Binding)]) -> Result<(), Refusal> {
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
        self.join(&folds, &totals)?;
        for (fold, total) in folds.iter().zip(&totals) {
            let result = self.source.round(fold.dtype, total.clone());
            let result = self.source.value("v", result);
            self.values.insert(fold.result, result);
        }
        self.compute(&phase.rows)
    }

    /// Prints what makes each lane's totals those of its row.
    fn join(&mut self, folds: &[Fold], totals: &[String]) -> Result<(), Refusal> {
        let joins: Vec<_> = folds.iter().map(|fold| join(*fold)).collect();
        let partials = folds
            .iter()
            .zip(totals)
            .zip(&joins)
            .map(|((fold, variable), join)| Ok(Partial { variable, ty: compute_type(fold.dtype)?, join }));
        self.team.join(&mut self.source, &partials.collect::<Result<Vec<_>, Refusal>>()?);
        Ok(())
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
        // Random words are made of the numbers that dense elements have.
        let dense = body.rows.spread(&Layout::dense(DType::U32, &body.rows.full), Form::Full)?;
        let first = if body.words.is_empty() { String::new() } else { self.start(&dense.starts) };
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
        for words in body.words.iter().filter(|words| needed.contains(&words.register)) {
            let index = self.place(&first, &dense, &mut places);
            let word = random::word(&mut self.source, &self.keys[&words.key], &index, words.dtype);
            values.insert(words.register, self.source.value("x", word));
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

/// The text of the join of two partial results.
fn join(fold: Fold) -> impl Fn(&mut Source, &str, &str) -> String {
    move |source, x, y| source.binary(fold.join, fold.dtype, x, y)
}
