//! Reductions. A workgroup makes the results of some columns, each by several lanes, whose partial results it joins in
//! its memory. A result of many elements is made in stages: each has a share of them become one partial result.

use super::fold::Fold;
use super::lanes::{Partial, Team};
use crate::cpu::call::Layout;
use crate::dtype::DType;
use crate::gpu::command::Access;
use crate::gpu::device::Adapter;
use crate::gpu::kernel::{Launch, Printer, Recipe, Refusal, Request, Slot};
use crate::gpu::wgsl::{INVOCATIONS, Source, cover};
use crate::ops::reduced_axes;

pub const PRINTERS: &[(&str, Printer)] = &[
    ("sum", |request| reduced(request, Fold::sum)),
    ("prod", |request| reduced(request, Fold::product)),
    ("max", |request| reduced(request, |dtype| Ok(Fold::extreme(dtype, false)))),
    ("min", |request| reduced(request, |dtype| Ok(Fold::extreme(dtype, true)))),
    ("any", |request| reduced(request, |dtype| Ok(Fold::predicate(dtype, "0u", "(a | b)")))),
    ("all", |request| reduced(request, |dtype| Ok(Fold::predicate(dtype, "1u", "(a & b)")))),
    ("argmax", |request| reduced(request, |dtype| Ok(Fold::search(dtype, false)))),
    ("argmin", |request| reduced(request, |dtype| Ok(Fold::search(dtype, true)))),
];

/// Elements that a lane reads before another one helps it.
const FEW: usize = 8;

/// Elements that a lane reads before the result is made in stages, where there is room for more workgroups.
const MANY: usize = 16;

/// The most that a lane reads.
const MOST: usize = 4096;

/// Workgroups that keep a device busy.
const BUSY: usize = 1024;

/// Results beside each other that a workgroup makes, so that its lanes read neighbours.
const COLUMNS: u32 = 32;

fn reduced(request: &Request, fold: fn(DType) -> Result<Fold, Refusal>) -> Result<Recipe, Refusal> {
    reduce(request, &fold(request.input(0)?.dtype)?)
}

/// A layout of some of the axes of another one.
pub fn along(layout: &Layout, offset: usize, takes: impl Fn(usize) -> bool) -> Layout {
    let axes = || (0..layout.sizes.len()).filter(|&axis| takes(axis));
    let sizes = axes().map(|axis| layout.sizes[axis]).collect();
    Layout { dtype: layout.dtype, sizes, strides: axes().map(|axis| layout.strides[axis]).collect(), offset }
}

/// Whether a lane's neighbour reads the next element of the same result, rather than one of the next result.
fn runs_along(reduced: &Layout, kept: &Layout) -> bool {
    let step = |layout: &Layout| {
        let axes = layout.sizes.iter().zip(&layout.strides).filter(|(size, _)| **size > 1);
        axes.map(|(_, stride)| stride.unsigned_abs()).filter(|&stride| stride != 0).min().unwrap_or(usize::MAX)
    };
    step(reduced) <= step(kept)
}

fn reduce(request: &Request, fold: &Fold) -> Result<Recipe, Refusal> {
    let (x, output) = (request.input(0)?, request.output(0)?);
    let axes = reduced_axes(request.attrs, x.sizes.len());
    let kept = along(x, x.offset, |axis| !axes.contains(&axis));
    let reduced = along(x, 0, |axis| axes.contains(&axis));
    let mut recipe = Recipe::default();
    let mut stage = Stage::new(Slot::Input(0), kept, reduced, x.dtype);
    loop {
        if stage.outputs.max(stage.length) > i32::MAX as usize {
            return Err(Refusal(format!("{} elements are more than 31 bits count", stage.outputs.max(stage.length))));
        }
        if stage.parts == 1 {
            recipe.launches.push(stage.launch(fold, Slot::Output(0), output.dtype, request.adapter)?);
            return Ok(recipe);
        }
        let work = recipe.work((stage.outputs * stage.parts * fold.bytes()) as u64);
        recipe.launches.push(stage.launch(fold, work, output.dtype, request.adapter)?);
        let dense = Layout::dense(output.dtype, &[stage.outputs, stage.parts]);
        let (kept, reduced) = (along(&dense, 0, |axis| axis == 0), along(&dense, 0, |axis| axis == 1));
        stage = Stage::new(work, kept, reduced, x.dtype);
    }
}

/// One launch: elements become results, or partial results that the next stage joins.
struct Stage {
    from: Slot,
    dtype: DType,
    /// Where the elements of each result begin, and where they are from there.
    kept: Layout,
    reduced: Layout,
    outputs: usize,
    length: usize,
    /// Whether neighbouring lanes read elements of one result.
    runs_along: bool,
    /// Lanes that make one result.
    lanes: u32,
    /// Shares that the elements of a result are cut into.
    parts: usize,
}

impl Stage {
    fn new(from: Slot, kept: Layout, reduced: Layout, dtype: DType) -> Stage {
        let (outputs, length) = (kept.elements(), reduced.elements());
        let runs_along = runs_along(&reduced, &kept);
        let columns = if runs_along { 1 } else { COLUMNS.min(outputs.next_power_of_two() as u32) };
        let lanes = length.div_ceil(FEW).next_power_of_two().clamp(1, (INVOCATIONS / columns) as usize) as u32;
        let each = length.div_ceil(lanes as usize);
        let groups = outputs.div_ceil((INVOCATIONS / lanes) as usize);
        let parts = (each / MANY).min(BUSY / groups.max(1)).max(each.div_ceil(MOST)).max(1);
        let parts = length.div_ceil(length.div_ceil(parts).max(1)).max(1);
        Stage { from, dtype, kept, reduced, outputs, length, runs_along, lanes, parts }
    }

    /// Prints it. Results go to the output, partial ones to a workspace.
    fn launch(&self, fold: &Fold, to: Slot, dtype: DType, adapter: &Adapter) -> Result<Launch, Refusal> {
        let mut source = Source::new([INVOCATIONS, 1, 1]);
        let (is_first, is_last) = (self.from == Slot::Input(0), to == Slot::Output(0));
        let x = match is_first {
            true if fold.reads_bits => source.read_bits(self.from, self.dtype),
            true => source.read(self.from, self.dtype)?,
            false => source.raw(self.from, Access::Read, fold.array()),
        };
        let y = match is_last {
            true if fold.reads_bits => source.write_bits(to, dtype),
            true => source.write(to, dtype)?,
            false => source.raw(to, Access::Write, fold.array()),
        };
        fold.declare(&mut source, is_first, is_last);
        self.print(&mut source, fold, adapter, |offset, number| match is_first {
            true => (fold.element)(&x.load(offset), number),
            false => format!("{}[{offset}]", x.name),
        });
        let parts = source.size(self.parts as i64);
        source.line(match is_last {
            true => y.store("output", &(fold.result)("total")),
            false => format!("{}[(output * {parts}) + part] = total;", y.name),
        });
        source.line("}");
        let blocks = self.outputs.div_ceil((INVOCATIONS / self.lanes) as usize);
        Ok(source.launch(cover((blocks * self.parts) as u64, 1)))
    }

    /// Prints what leaves `total` of the part `part` of the result `output` in those lanes that write it: a block stays
    /// open.
    fn print(&self, source: &mut Source, fold: &Fold, adapter: &Adapter, element: impl Fn(&str, &str) -> String) {
        let (lanes, columns) = (self.lanes, INVOCATIONS / self.lanes);
        let (column, place, step) = match self.runs_along {
            true => (format!("lane / {lanes}u"), format!("lane % {lanes}u"), 1),
            false => (format!("lane % {columns}u"), format!("lane / {columns}u"), columns),
        };
        let (outputs, length) = (source.size(self.outputs as i64), source.size(self.length as i64));
        let parts = source.size(self.parts as i64);
        let blocks = source.size(self.outputs.div_ceil(columns as usize) as i64);
        let share = source.size(self.length.div_ceil(self.parts) as i64);
        source.line("let block = (group.y * groups.x) + group.x;");
        source.line(format!("let part = block / {blocks};"));
        source.line(format!("let output = ((block % {blocks}) * {columns}u) + ({column});"));
        source.line(format!("let place = {place};"));
        source.line(format!("let is_inside = (output < {outputs}) && (part < {parts});"));
        source.line(format!("var total = {};", fold.start));
        source.line("if (is_inside) {");
        let start = source.offset(&self.kept, "output");
        source.line(format!("let end = min({length}, (part + 1u) * {share});"));
        source.line(format!("for (var number = (part * {share}) + place; number < end; number += {lanes}u) {{"));
        let offset = source.offset(&self.reduced, "number");
        source.line(format!("total = join(total, {});", element(&format!("{start} + {offset}"), "number")));
        source.line("}");
        source.line("}");
        let join: &dyn Fn(&mut Source, &str, &str) -> String = &|_, a, b| format!("join({a}, {b})");
        Team::new(lanes, step, adapter).join(source, &[Partial { variable: "total", ty: fold.ty, join }]);
        source.line("if (is_inside && (place == 0u)) {");
    }
}

#[cfg(all(test, feature = "gpu"))]
mod tests {
    use crate::dtype::DType;
    use crate::gpu::testing::{
        Draw, check, check_on, check_samples, check_strided, device, with_and_without_subgroups,
    };
    use crate::tensor::Tensor;

    const ALL: [&str; 8] = ["sum", "prod", "max", "min", "any", "all", "argmax", "argmin"];

    #[test]
    fn samples_are_reduced_as_on_the_cpu() {
        check_samples(&ALL[..2], 4.0, true);
        check_samples(&ALL[2..], 0.0, false);
    }

    #[test]
    fn every_shape_of_workgroups_reduces() {
        let mut draw = Draw::new(5);
        let cases: &[(&[usize], &str)] = &[
            (&[70_000, 3], "[1]"),
            (&[3, 70_000], "[1]"),
            (&[3, 70_000], "[0]"),
            (&[20_000, 2], "[0]"),
            (&[1_000_000], "[0]"),
            (&[40, 9, 300], "[0, 2]"),
            (&[200, 30, 40], "[1]"),
            (&[5, 0, 3], "[1]"),
            (&[0, 5], "[1]"),
        ];
        for adapter in with_and_without_subgroups(device().adapter().clone()) {
            for &(sizes, axes) in cases {
                let attrs = format!(r#"{{"axis": {axes}}}"#);
                let mut same = |name: &str, attrs: &str, dtype: DType, range: (f64, f64), units: f64| {
                    let x = Some(draw.tensor(dtype, sizes, range));
                    check_on(&adapter, name, attrs, &[x], units, true);
                };
                same("sum", &attrs, DType::F32, (-1.0, 1.0), 64.0);
                same("all", &attrs, DType::U8, (0.0, 9000.0), 0.0);
                same("sum", &attrs, DType::I64, (-9e15, 9e15), 0.0);
                if sizes.contains(&0) {
                    continue;
                }
                same("min", &attrs, DType::F32, (-1.0, 1.0), 0.0);
                if let Ok(axis) = axes.trim_matches(['[', ']']).parse::<usize>() {
                    let attrs = format!(r#"{{"axis": {axis}}}"#);
                    same("argmax", &attrs, DType::F32, (-1.0, 1.0), 0.0);
                    same("argmin", &attrs, DType::I64, (-50.0, 50.0), 0.0);
                }
            }
        }
    }

    #[test]
    fn nan_infinity_and_ties_are_those_of_the_cpu() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let x: Vec<f32> = [0.0, -0.0, 1.0, inf, -inf, nan, -nan, 1e-40, -1e-40, 3.0, 3.0, -7.5]
            .iter()
            .enumerate()
            .flat_map(|(i, &x)| [1.0, x, x, -2.0, if i % 3 == 0 { inf } else { 3.0 }, -x])
            .collect();
        let x = Tensor::from_slice(DType::F32, &[12, 6], &x).unwrap();
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let cast = |x: &Tensor| {
                let op = crate::gpu::testing::op("cast", &format!(r#"{{"dtype": "{dtype}"}}"#));
                crate::cpu::single::compute(&op, &[Some(x.clone())]).unwrap().remove(0)
            };
            for name in ALL {
                let one = name.starts_with("arg");
                for attrs in ["{}", if one { r#"{"axis": 1}"# } else { r#"{"axis": [1]}"# }] {
                    check(name, attrs, &[Some(cast(&x))], 4.0, false);
                }
            }
        }
        let x = Draw::new(6).tensor(DType::F64, &[40, 30], (-1.0, 1.0));
        for name in &ALL[2..] {
            check(name, "{}", &[Some(x.clone())], 0.0, false);
        }
    }

    #[test]
    fn strided_views_are_reduced_where_they_lie() {
        let x = Draw::new(7).tensor(DType::I32, &[20, 30, 5], (-90.0, 90.0));
        let views = [
            ("transpose", r#"{"axes": [2, 0, 1]}"#),
            ("slice", r#"{"start": [18, 1, 0], "stop": [1, 30, 5], "step": [-3, 2, 1]}"#),
            ("broadcast_to", r#"{"shape": [3, 20, 30, 5]}"#),
        ];
        for view in views {
            for attrs in ["{}", r#"{"axis": [0]}"#, r#"{"axis": [1, -1]}"#] {
                check_strided("sum", attrs, &x, view, 0.0);
            }
            check_strided("argmin", r#"{"axis": 1}"#, &x, view, 0.0);
            check_strided("argmax", "{}", &x, view, 0.0);
        }
    }
}
