//! Running folds along an axis, and linear recurrences: a lane goes along a sequence, or along one of its segments.

use super::fold::Fold;
use super::places::extent;
use crate::cpu::recurrence::Extent;
use crate::dtype::DType;
use crate::gpu::command::Access;
use crate::gpu::kernel::{Launch, Printer, Recipe, Refusal, Request, Slot};
use crate::gpu::wgsl::{INVOCATIONS, Source};

pub const PRINTERS: &[(&str, Printer)] = &[
    ("cumsum", |request| running(request, &Fold::sum(request.input(0)?.dtype)?)),
    ("cumprod", |request| running(request, &Fold::product(request.input(0)?.dtype)?)),
    ("recurrence", recurrence),
];

/// Steps of a sequence that is not cut.
const WHOLE: usize = 512;

/// The least steps of a segment, and the most segments.
const SEGMENT: usize = 128;
const SEGMENTS: usize = 4096;

/// The most steps of a lane.
const MOST: usize = 16_384;

/// Sequences that are enough to keep a device busy.
const BUSY: usize = 1 << 14;

/// Prints the start of a body that runs for each segment of each sequence: `start`, where the sequence begins, `first`
/// and `end`, the segment's steps, and the function `at(start, step)`. Gives the workgroups.
fn along(source: &mut Source, extent: Extent, is_reversed: bool, segment: usize) -> Result<[u32; 3], Refusal> {
    let Extent { outer, steps, inner } = extent;
    let count = steps.div_ceil(segment).max(1);
    let (index, groups) = source.for_each(outer.saturating_mul(inner).saturating_mul(count))?;
    let (steps, inner) = (source.size(steps as i64), source.size(inner as i64));
    let (count, segment) = (source.size(count as i64), source.size(segment as i64));
    // Neighbouring lanes have neighbouring sequences.
    source.line(format!("let outer = {index} / ({inner} * {count});"));
    source.line(format!("let number = ({index} / {inner}) % {count};"));
    source.line(format!("let column = {index} % {inner};"));
    source.line(format!("let sequence = (outer * {inner}) + column;"));
    source.line(format!("let start = (outer * {steps} * {inner}) + column;"));
    source.line(format!("let first = number * {segment};"));
    source.line(format!("let end = min({steps}, first + {segment});"));
    let step = if is_reversed { format!("(({steps} - 1u) - step)") } else { "step".into() };
    source.declare(&format!("fn at(start: u32, step: u32) -> u32 {{ return start + ({step} * {inner}); }}"));
    Ok(groups)
}

fn running(request: &Request, fold: &Fold) -> Result<Recipe, Refusal> {
    let x = request.input(0)?;
    let extent = extent(request.attrs, &x.sizes)?;
    let is_reversed = request.attrs.bool("reverse")?;
    let Extent { outer, steps, inner } = extent;
    let sequences = outer.saturating_mul(inner);
    let segment = match steps <= WHOLE || (steps <= MOST && sequences >= BUSY) {
        true => steps.max(1),
        false => SEGMENT.max(steps.div_ceil(SEGMENTS)),
    };
    if segment > MOST {
        return Err(Refusal(format!("{steps} steps are too many")));
    }
    let mut recipe = Recipe::default();
    let count = steps.div_ceil(segment).max(1);
    let mut before = None;
    if count > 1 {
        let work = recipe.work((sequences * count * fold.bytes()) as u64);
        before = Some(work);
        recipe.launches.push(totals(x.dtype, fold, extent, is_reversed, segment, work)?);
        recipe.launches.push(befores(fold, sequences, count, work)?);
    }
    recipe.launches.push(results(x.dtype, fold, extent, is_reversed, segment, before)?);
    Ok(recipe)
}

/// The total of each segment.
fn totals(
    dtype: DType,
    fold: &Fold,
    extent: Extent,
    is_reversed: bool,
    segment: usize,
    work: Slot,
) -> Result<Launch, Refusal> {
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let x = source.read(Slot::Input(0), dtype)?;
    let y = source.raw(work, Access::Write, fold.array());
    fold.declare(&mut source, true, false);
    let groups = along(&mut source, extent, is_reversed, segment)?;
    let count = source.size(extent.steps.div_ceil(segment) as i64);
    source.line(format!("var total = {};", fold.start));
    source.line("for (var step = first; step < end; step += 1u) {");
    source.line(format!("total = join(total, {});", x.load("at(start, step)")));
    source.line("}");
    source.line(format!("{}[(sequence * {count}) + number] = total;", y.name));
    Ok(source.launch(groups))
}

/// What is before each segment, in place of its total.
fn befores(fold: &Fold, sequences: usize, count: usize, work: Slot) -> Result<Launch, Refusal> {
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let totals = source.raw(work, Access::Write, fold.array()).name;
    fold.declare(&mut source, false, false);
    let (index, groups) = source.for_each(sequences)?;
    let count = source.size(count as i64);
    source.line(format!("var before = {};", fold.start));
    source.line(format!("for (var number = 0u; number < {count}; number += 1u) {{"));
    source.line(format!("let total = {totals}[({index} * {count}) + number];"));
    source.line(format!("{totals}[({index} * {count}) + number] = before;"));
    source.line("before = join(before, total);");
    source.line("}");
    Ok(source.launch(groups))
}

fn results(
    dtype: DType,
    fold: &Fold,
    extent: Extent,
    is_reversed: bool,
    segment: usize,
    before: Option<Slot>,
) -> Result<Launch, Refusal> {
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let x = source.read(Slot::Input(0), dtype)?;
    let y = source.write(Slot::Output(0), dtype)?;
    let before = before.map(|work| source.raw(work, Access::Read, fold.array()).name);
    fold.declare(&mut source, true, false);
    let groups = along(&mut source, extent, is_reversed, segment)?;
    let start = match before {
        None => fold.start.clone(),
        Some(before) => {
            let count = source.size(extent.steps.div_ceil(segment) as i64);
            format!("{before}[(sequence * {count}) + number]")
        }
    };
    source.line(format!("var total = {start};"));
    source.line("for (var step = first; step < end; step += 1u) {");
    source.line(format!("total = join(total, {});", x.load("at(start, step)")));
    source.line(y.store("at(start, step)", "total"));
    source.line("}");
    Ok(source.launch(groups))
}

/// Each launch goes on from what the one before left in a workspace: sequences are not cut, since every operation is
/// rounded to the dtype.
fn recurrence(request: &Request) -> Result<Recipe, Refusal> {
    let b = request.input(1)?;
    let extent = extent(request.attrs, &b.sizes)?;
    let (sum, product) = (Fold::rounded_sum(b.dtype)?, Fold::product(b.dtype)?);
    let mut recipe = Recipe::default();
    let work = recipe.work((extent.outer.saturating_mul(extent.inner) * sum.bytes()) as u64);
    for first in (0..extent.steps).step_by(MOST) {
        let mut source = Source::new([INVOCATIONS, 1, 1]);
        let (a, x) = (source.read(Slot::Input(0), b.dtype)?, source.read(Slot::Input(1), b.dtype)?);
        let y = source.write(Slot::Output(0), b.dtype)?;
        let carry = source.raw(work, Access::Write, sum.array()).name;
        sum.declare_join(&mut source, "join");
        product.declare_join(&mut source, "times");
        let groups = along(&mut source, extent, request.attrs.bool("reverse")?, extent.steps.max(1))?;
        let from = source.size(first as i64);
        let until = source.size((first + MOST).min(extent.steps) as i64);
        source.line(format!("var y = {};", sum.start));
        source.line(format!("if ({from} > 0u) {{ y = {carry}[sequence]; }}"));
        source.line(format!("for (var step = {from}; step < {until}; step += 1u) {{"));
        source.line("let place = at(start, step);");
        source.line(format!("let moved = times({}, y);", a.load("place")));
        source.line(format!("let added = {};", x.load("place")));
        source.line("if (step == 0u) { y = added; } else { y = join(moved, added); }");
        source.line(y.store("place", "y"));
        source.line("}");
        source.line(format!("{carry}[sequence] = y;"));
        recipe.launches.push(source.launch(groups));
    }
    Ok(recipe)
}

#[cfg(all(test, feature = "gpu"))]
mod tests {
    use crate::dtype::DType;
    use crate::gpu::testing::{Draw, check, check_samples};

    #[test]
    fn samples_run_as_on_the_cpu() {
        check_samples(&["cumsum", "cumprod", "recurrence"], 4.0, true);
    }

    #[test]
    fn long_sequences_are_cut() {
        let mut draw = Draw::new(13);
        for (sizes, axis) in [(&[600_000][..], 0), (&[3, 2000], 1), (&[2000, 3], 0), (&[2, 700, 2], 1)] {
            for attrs in [format!(r#"{{"axis": {axis}}}"#), format!(r#"{{"axis": {axis}, "reverse": true}}"#)] {
                check("cumsum", &attrs, &[Some(draw.tensor(DType::F32, sizes, (-1.0, 1.0)))], 512.0, true);
                check("cumprod", &attrs, &[Some(draw.tensor(DType::F32, sizes, (0.98, 1.02)))], 512.0, true);
                check("cumsum", &attrs, &[Some(draw.tensor(DType::I64, sizes, (-9e15, 9e15)))], 0.0, false);
                check("cumprod", &attrs, &[Some(draw.tensor(DType::U64, sizes, (1.0, 9e15)))], 0.0, false);
            }
        }
        let mut pair =
            |dtype, sizes: &[usize]| [(-0.9, 0.9), (-2.0, 2.0)].map(|range| Some(draw.tensor(dtype, sizes, range)));
        check("recurrence", "{}", &pair(DType::F32, &[2, 40_000]), 16.0, true);
        check("recurrence", r#"{"axis": 0, "reverse": true}"#, &pair(DType::F16, &[300, 4]), 4.0, true);
        check("recurrence", "{}", &pair(DType::I64, &[3, 17_000]), 0.0, false);
    }
}
