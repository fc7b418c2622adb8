//! Stable sorting along an axis, as in `cpu::sort`: elements become keys, blocks of them are sorted by one workgroup each,
//! and merged in passes. To merge, an element looks how many of the other run come before it: no lane waits for another,
//! and equal elements keep their order.

use super::fold::array;
use super::keys::Keys;
use super::places::extent;
use crate::cpu::recurrence::Extent;
use crate::dtype::DType;
use crate::gpu::command::Access;
use crate::gpu::kernel::{Launch, Printer, Recipe, Refusal, Request, Slot};
use crate::gpu::wgsl::{Binding, INVOCATIONS, Source, cover};

pub const PRINTERS: &[(&str, Printer)] = &[
    ("sort", |request| sort(request, Some(0), None)),
    ("argsort", |request| sort(request, None, Some(0))),
    ("top_k", |request| sort(request, Some(0), Some(1))),
];

fn sort(request: &Request, values: Option<usize>, indices: Option<usize>) -> Result<Recipe, Refusal> {
    let (x, output) = (request.input(0)?, request.output(0)?);
    let extent = extent(request.attrs, &x.sizes)?;
    let kept = super::places::extent(request.attrs, &output.sizes)?.steps;
    let flag = |name| request.attrs.optional_bool(name);
    let is_inverted = flag("descending").or(flag("largest")).unwrap_or(false);
    let keys = Keys { dtype: x.dtype, is_inverted, is_nan_greatest: !is_inverted, joins_zeros: false };
    let rows = extent.outer.saturating_mul(extent.inner);
    let sorting = Sorting { keys, rows, length: extent.steps, is_numbered: indices.is_some() };
    let from = Place::Axis { values: Some(Slot::Input(0)), indices: None, extent };
    let extent = Extent { steps: kept, ..extent };
    let slot = |index: Option<usize>| index.map(Slot::Output);
    let mut recipe = Recipe::default();
    sorting.print(&mut recipe, from, Some(Place::Axis { values: slot(values), indices: slot(indices), extent }))?;
    Ok(recipe)
}

/// Where elements are read from, or go.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Elements and their numbers along an axis, of which no more than its steps are written.
    Axis { values: Option<Slot>, indices: Option<Slot>, extent: Extent },
    /// Rows of keys and of their numbers in workspaces.
    Rows { keys: Slot, numbers: Option<Slot> },
}

/// Rows to be sorted.
struct Sorting {
    keys: Keys,
    rows: usize,
    length: usize,
    /// Whether the number that each element had is asked for.
    is_numbered: bool,
}

/// Sorts rows of `u32` in a workspace; gives workspaces of them in order and of the numbers that they had.
pub fn sort_words(recipe: &mut Recipe, words: Slot, rows: usize, length: usize) -> Result<(Slot, Slot), Refusal> {
    let keys = Keys { dtype: DType::U32, is_inverted: false, is_nan_greatest: true, joins_zeros: false };
    let sorting = Sorting { keys, rows, length, is_numbered: true };
    match sorting.print(recipe, Place::Rows { keys: words, numbers: None }, None)? {
        Place::Rows { keys, numbers: Some(numbers) } => Ok((keys, numbers)),
        _ => Err(Refusal("sorted words have numbers".into())),
    }
}

impl Sorting {
    /// Adds the launches that sort what is at `from`; gives where it is then: `to`, or workspaces.
    fn print(&self, recipe: &mut Recipe, from: Place, to: Option<Place>) -> Result<Place, Refusal> {
        if self.rows.saturating_mul(self.length) > i32::MAX as usize {
            return Err(Refusal(format!("{} rows of {} elements are more than 31 bits count", self.rows, self.length)));
        }
        let passes = self.length.div_ceil(INVOCATIONS as usize).max(1).next_power_of_two().ilog2();
        let mut rows = Vec::new();
        for _ in 0..(passes + u32::from(to.is_none())).min(2) {
            let count = (self.rows * self.length) as u64;
            let keys = recipe.work(count * if self.keys.ty() == "u32" { 4 } else { 8 });
            rows.push(Place::Rows { keys, numbers: self.is_numbered.then(|| recipe.work(4 * count)) });
        }
        let target = |pass: u32| match to {
            Some(to) if pass == passes => to,
            _ => rows[pass as usize % 2],
        };
        recipe.launches.push(self.block(from, target(0))?);
        for pass in 1..=passes {
            recipe.launches.push(self.merge(INVOCATIONS << (pass - 1), target(pass - 1), target(pass))?);
        }
        Ok(target(passes))
    }

    /// Sorts each block of a row in a workgroup's memory; short rows share a workgroup.
    fn block(&self, from: Place, to: Place) -> Result<Launch, Refusal> {
        let mut source = Source::new([INVOCATIONS, 1, 1]);
        let size = self.length.next_power_of_two().clamp(1, INVOCATIONS as usize);
        let blocks = self.length.div_ceil(size).max(1);
        let (read, write) = (self.reader(&mut source, from), self.writer(&mut source, to)?);
        let ty = self.keys.ty();
        source.declare(&format!("var<workgroup> keys: array<{ty}, {INVOCATIONS}>;"));
        if self.is_numbered {
            source.declare(&format!("var<workgroup> numbers: array<u32, {INVOCATIONS}>;"));
        }
        self.declare_order(&mut source);
        let (rows, length) = (source.size(self.rows as i64), source.size(self.length as i64));
        let per_row = source.size(blocks as i64);
        source.line(format!(
            "let block = (((group.y * groups.x) + group.x) * {}u) + (lane / {size}u);",
            INVOCATIONS as usize / size
        ));
        source.line(format!("let row = block / {per_row};"));
        source.line(format!("let start = (block % {per_row}) * {size}u;"));
        source.line(format!("let count = select(0u, min({size}u, {length} - start), row < {rows});"));
        source.line(format!("let at = lane % {size}u;"));
        source.line("let base = lane - at;");
        source.line("if (at < count) {");
        let (key, number) = read.load("row", "start + at");
        source.line(format!("keys[lane] = {key};"));
        if self.is_numbered {
            source.line(format!("numbers[lane] = {number};"));
        }
        source.line("}");
        source.line(format!("for (var width = 1u; width < {size}u; width *= 2u) {{"));
        source.line("workgroupBarrier();");
        source.line("let own = keys[lane];");
        if self.is_numbered {
            source.line("let number = numbers[lane];");
        }
        self.rank(&mut source, "count", |at| format!("keys[base + {at}]"));
        source.line("workgroupBarrier();");
        source.line("if (at < count) {");
        source.line("keys[base + place] = own;");
        if self.is_numbered {
            source.line("numbers[base + place] = number;");
        }
        source.line("}");
        source.line("}");
        source.line("workgroupBarrier();");
        source.line("if (at < count) {");
        write.store(&mut source, "row", "start + at", ("keys[lane]", "numbers[lane]"));
        source.line("}");
        Ok(source.launch(cover((self.rows * blocks).div_ceil(INVOCATIONS as usize / size) as u64, 1)))
    }

    /// Merges each two neighbouring runs of `width` elements.
    fn merge(&self, width: u32, from: Place, to: Place) -> Result<Launch, Refusal> {
        let mut source = Source::new([INVOCATIONS, 1, 1]);
        let (read, write) = (self.reader(&mut source, from), self.writer(&mut source, to)?);
        self.declare_order(&mut source);
        let (index, groups) = source.for_each(self.rows * self.length)?;
        let (length, width) = (source.size(self.length as i64), source.param(width));
        source.line(format!("let width = {width};"));
        source.line(format!("let row = {index} / {length};"));
        source.line(format!("let at = {index} % {length};"));
        let (own, number) = read.load("row", "at");
        source.line(format!("let own = {own};"));
        self.rank(&mut source, &length, |at| read.key("row", at));
        write.store(&mut source, "row", "place", ("own", &number));
        Ok(source.launch(groups))
    }

    /// Declares whether a key must come before another. The two zeros of floats, whose keys are neighbours, are equal.
    fn declare_order(&self, source: &mut Source) {
        let ty = self.keys.ty();
        let less = match ty {
            "u32" => "(a < b)",
            _ => "less_u64(a, b)",
        };
        let is_zeros = match (self.keys.dtype.is_float(), ty) {
            (false, _) => "",
            (true, "u32") => " && !((a == 0x7fffffffu) && (b == 0x80000000u))",
            (true, _) => " && !(all(a == vec2<u32>(0xffffffffu, 0x7fffffffu)) && all(b == vec2<u32>(0u, 0x80000000u)))",
        };
        if ty != "u32" {
            source.import("less_u64");
        }
        source.declare(&format!("fn is_before(a: {ty}, b: {ty}) -> bool {{ return {less}{is_zeros}; }}"));
    }

    /// Prints `place`, where `own`, the key at `at`, is when its run of `width` keys is merged with the neighbour's:
    /// in the left run it comes before its equals of the other.
    fn rank(&self, source: &mut Source, count: &str, key: impl Fn(&str) -> String) {
        source.line("let run = at / width;");
        source.line("let is_right = (run & 1u) == 1u;");
        source.line("let first = (run ^ 1u) * width;");
        source.line(format!("var low = min(first, {count});"));
        source.line(format!("var high = min(first + width, {count});"));
        source.line("let begin = low;");
        source.line("while (low < high) {");
        source.line("let middle = (low + high) / 2u;");
        source.line(format!("let other = {};", key("middle")));
        source.line("let is_after = (is_right && !is_before(own, other)) || (!is_right && is_before(other, own));");
        source.line("if (is_after) { low = middle + 1u; } else { high = middle; }");
        source.line("}");
        source.line("let place = (at - ((run & 1u) * width)) + (low - begin);");
    }

    fn reader(&self, source: &mut Source, from: Place) -> Reader {
        match from {
            Place::Axis { values, extent, .. } => {
                self.keys.declare_key(source);
                let x = source.read_bits(values.unwrap_or(Slot::Input(0)), self.keys.dtype);
                Reader::Axis { x, steps: source.size(extent.steps as i64), inner: source.size(extent.inner as i64) }
            }
            Place::Rows { keys, numbers } => {
                let keys = source.raw(keys, Access::Read, array(self.keys.ty()));
                let numbers = numbers.map(|numbers| source.raw(numbers, Access::Read, "array<u32>"));
                Reader::Rows { keys, numbers, length: source.size(self.length as i64) }
            }
        }
    }

    fn writer(&self, source: &mut Source, to: Place) -> Result<Writer, Refusal> {
        Ok(match to {
            Place::Axis { values, indices, extent } => {
                if values.is_some() {
                    self.keys.declare_element(source);
                }
                let values = values.map(|slot| source.write_bits(slot, self.keys.dtype));
                let indices = indices.map(|slot| source.write_bits(slot, DType::I64));
                Writer::Axis {
                    values,
                    indices,
                    steps: source.size(extent.steps as i64),
                    inner: source.size(extent.inner as i64),
                }
            }
            Place::Rows { keys, numbers } => {
                let keys = source.raw(keys, Access::Write, array(self.keys.ty()));
                let numbers = numbers.map(|numbers| source.raw(numbers, Access::Write, "array<u32>"));
                Writer::Rows { keys, numbers, length: source.size(self.length as i64) }
            }
        })
    }
}

/// How a shader reads from a [`Place`].
enum Reader {
    Axis { x: Binding, steps: String, inner: String },
    Rows { keys: Binding, numbers: Option<Binding>, length: String },
}

impl Reader {
    /// The key at a place of a row.
    fn key(&self, row: &str, at: &str) -> String {
        match self {
            Reader::Axis { x, steps, inner } => {
                let place = format!("(((({row} / {inner}) * {steps}) + {at}) * {inner}) + ({row} % {inner})");
                format!("key_of({})", x.load(&place))
            }
            Reader::Rows { keys, length, .. } => format!("{}[({row} * {length}) + {at}]", keys.name),
        }
    }

    /// The key, and the number that it had.
    fn load(&self, row: &str, at: &str) -> (String, String) {
        let number = match self {
            Reader::Rows { numbers: Some(numbers), length, .. } => {
                format!("{}[({row} * {length}) + {at}]", numbers.name)
            }
            _ => at.into(),
        };
        (self.key(row, at), number)
    }
}

/// How a shader writes to a [`Place`].
enum Writer {
    Axis { values: Option<Binding>, indices: Option<Binding>, steps: String, inner: String },
    Rows { keys: Binding, numbers: Option<Binding>, length: String },
}

impl Writer {
    /// Prints the store of a key and its number at a place of a row.
    fn store(&self, source: &mut Source, row: &str, at: &str, (key, number): (&str, &str)) {
        match self {
            Writer::Axis { values, indices, steps, inner } => {
                source.line(format!("if (({at}) < {steps}) {{"));
                source
                    .line(format!("let to = (((({row} / {inner}) * {steps}) + {at}) * {inner}) + ({row} % {inner});"));
                if let Some(values) = values {
                    source.line(values.store("to", &format!("element_of({key})")));
                }
                if let Some(indices) = indices {
                    source.line(indices.store("to", &format!("vec2<u32>({number}, 0u)")));
                }
                source.line("}");
            }
            Writer::Rows { keys, numbers, length } => {
                source.line(format!("{}[({row} * {length}) + {at}] = {key};", keys.name));
                if let Some(numbers) = numbers {
                    source.line(format!("{}[({row} * {length}) + {at}] = {number};", numbers.name));
                }
            }
        }
    }
}

#[cfg(all(test, feature = "gpu"))]
mod tests {
    use crate::dtype::DType;
    use crate::gpu::testing::{Draw, check, check_samples};
    use crate::tensor::Tensor;
    use std::slice::from_ref;

    #[test]
    fn samples_are_sorted_as_on_the_cpu() {
        check_samples(&["sort", "argsort", "top_k"], 0.0, false);
    }

    #[test]
    fn long_rows_are_merged_and_equals_keep_their_order() {
        let mut draw = Draw::new(10);
        for (sizes, axis) in [(&[2000][..], 0), (&[700, 3], 0), (&[2, 257], 1), (&[300, 3], 1), (&[3, 256, 2], 1)] {
            for dtype in [DType::F32, DType::I8, DType::F64, DType::I64] {
                let x = Some(draw.tensor(dtype, sizes, (-40.0, 40.0)));
                for rest in ["", r#", "descending": true"#] {
                    check("argsort", &format!(r#"{{"axis": {axis}{rest}}}"#), from_ref(&x), 0.0, false);
                }
                check("sort", &format!(r#"{{"axis": {axis}}}"#), from_ref(&x), 0.0, false);
            }
        }
        let x = Some(draw.tensor(DType::BF16, &[5, 3000], (-40.0, 40.0)));
        check("top_k", r#"{"k": 7}"#, &[x], 0.0, false);
    }

    #[test]
    fn nan_and_zeros_have_the_order_of_the_cpu() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let x: Vec<f32> = [0.0, nan, -0.0, inf, -inf, 0.0, -nan, 1e-40, -1e-40, -0.0].repeat(40);
        let x = Some(Tensor::from_slice(DType::F32, &[400], &x).unwrap());
        for attrs in ["{}", r#"{"descending": true}"#] {
            check("argsort", attrs, from_ref(&x), 0.0, false);
            check("sort", attrs, from_ref(&x), 0.0, false);
        }
    }
}
