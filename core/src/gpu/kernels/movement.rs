//! Kernels that move elements and compute nothing: they see bits, so one shader serves all dtypes of a width.

use super::places::extent;
use crate::cpu::call::{Layout, dense_strides};
use crate::cpu::recurrence::Extent;
use crate::dtype::DType;
use crate::gpu::command::Access;
use crate::gpu::kernel::{Launch, Printer, Recipe, Refusal, Request, Slot};
use crate::gpu::wgsl::{INVOCATIONS, Source, compute_type};
use crate::op::{View, normalize_axis};
use crate::ops::{padded, sliced};

pub const PRINTERS: &[(&str, Printer)] =
    &[("dense", dense), ("concat", concat), ("unslice", unslice), ("pad", pad), ("iota", iota), ("dim", dim)];

/// The elements of a view in row-major order.
pub fn dense(request: &Request) -> Result<Recipe, Refusal> {
    place(0, request.input(0)?, request.output(0)?).map(Recipe::of)
}

/// A copy for an op that only moves, where the plan has not made it a view.
pub fn copied(view: View, request: &Request) -> Result<Recipe, Refusal> {
    let (x, to) = (request.input(0)?, request.output(0)?);
    place(0, &view(request.attrs, x, &to.sizes), to).map(Recipe::of)
}

fn concat(request: &Request) -> Result<Recipe, Refusal> {
    let whole = request.output(0)?;
    let strides = dense_strides(&whole.sizes);
    let axis = normalize_axis(request.attrs.int("axis")?, whole.sizes.len())?;
    let (mut recipe, mut offset) = (Recipe::default(), 0);
    for index in 0..request.inputs.len() {
        let x = request.input(index)?;
        let to = Layout { dtype: x.dtype, sizes: x.sizes.clone(), strides: strides.clone(), offset };
        recipe.launches.push(place(index, x, &to)?);
        offset += x.sizes[axis] * strides[axis] as usize;
    }
    Ok(recipe)
}

fn unslice(request: &Request) -> Result<Recipe, Refusal> {
    let (x, whole) = (request.input(0)?, request.output(0)?);
    let launches = vec![fill(whole, None)?, place(0, x, &sliced(request.attrs, whole, &[]))?];
    Ok(Recipe { launches, workspaces: Vec::new() })
}

fn pad(request: &Request) -> Result<Recipe, Refusal> {
    let (x, whole) = (request.input(0)?, request.output(0)?);
    let value = request.inputs.get(1).copied().flatten().map(|value| (1, value));
    let launches = vec![fill(whole, value)?, place(0, x, &padded(request.attrs, whole, &x.sizes))?];
    Ok(Recipe { launches, workspaces: Vec::new() })
}

fn iota(request: &Request) -> Result<Recipe, Refusal> {
    let output = request.output(0)?;
    let Extent { steps, inner, .. } = extent(request.attrs, &output.sizes)?;
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let y = source.write(Slot::Output(0), output.dtype)?;
    let (index, groups) = source.for_each(output.elements())?;
    let (steps, inner) = (source.size(steps as i64), source.size(inner as i64));
    let number = format!("(({index} / {inner}) % {steps})");
    let number = match compute_type(output.dtype)? {
        "vec2<u32>" => format!("vec2<u32>({number}, 0u)"),
        ty => format!("{ty}({number})"),
    };
    source.line(y.store(&index, &number));
    Ok(Recipe::of(source.launch(groups)))
}

fn dim(request: &Request) -> Result<Recipe, Refusal> {
    let (sizes, to) = (&request.input(0)?.sizes, request.output(0)?);
    let size = sizes[normalize_axis(request.attrs.int("axis")?, sizes.len())?] as u64;
    let mut source = Source::new([1, 1, 1]);
    let y = source.write(Slot::Output(0), to.dtype)?;
    let (low, high) = (source.param(size as u32), source.param((size >> 32) as u32));
    source.line(y.store("0u", &format!("vec2<u32>({low}, {high})")));
    Ok(Recipe::of(source.launch([1, 1, 1])))
}

/// Moves the elements `from` of the input of that index to the places `to` of the output.
pub fn place(input: usize, from: &Layout, to: &Layout) -> Result<Launch, Refusal> {
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let x = source.read_bits(Slot::Input(input), from.dtype);
    let y = source.write_bits(Slot::Output(0), to.dtype);
    let (index, groups) = source.for_each(from.elements())?;
    let (from, to) = (source.offset(from, &index), source.offset(to, &index));
    source.line(y.store(&to, &x.load(&from)));
    Ok(source.launch(groups))
}

/// Fills the output with the only element of an input, or with zeros.
pub fn fill(whole: &Layout, value: Option<(usize, &Layout)>) -> Result<Launch, Refusal> {
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let size = whole.dtype.size();
    // Whole words: a buffer ends with one.
    let y = source.raw(Slot::Output(0), Access::Write, if size == 8 { "array<vec2<u32>>" } else { "array<u32>" });
    let value = value.map(|(input, layout)| (source.read_bits(Slot::Input(input), layout.dtype), layout));
    let (index, groups) = source.for_each(whole.bytes().div_ceil(size.max(4)))?;
    let value = match value {
        Some((value, layout)) => {
            let at = source.offset(layout, "0u");
            value.load(&at)
        }
        None if size == 8 => "vec2<u32>(0u, 0u)".into(),
        None => "0u".into(),
    };
    let repeated = match size {
        1 => format!("({value} * 0x01010101u)"),
        2 => format!("({value} * 0x00010001u)"),
        _ => value,
    };
    source.line(format!("{}[{index}] = {repeated};", y.name));
    Ok(source.launch(groups))
}

/// Copies bytes from an offset in `Input(0)` to one in `Output(0)`.
///
/// # Errors
/// More than 32 bits count.
pub fn copy_bytes(from: u64, to: u64, bytes: usize) -> Result<Launch, Refusal> {
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let x = source.read_bits(Slot::Input(0), DType::U8);
    let y = source.write_bits(Slot::Output(0), DType::U8);
    let (index, groups) = source.for_each(bytes)?;
    let [from, to] = [from, to].map(|offset| source.size(offset as i64));
    source.line(y.store(&format!("{to} + {index}"), &x.load(&format!("{from} + {index}"))));
    Ok(source.launch(groups))
}

#[cfg(all(test, feature = "gpu"))]
mod tests {
    use crate::dtype::DType;
    use crate::gpu::testing::{Draw, check, check_samples, check_strided};

    const WIDTHS: [DType; 6] = [DType::Bool, DType::I8, DType::BF16, DType::F32, DType::I64, DType::F64];

    #[test]
    fn dense_of_every_width() {
        let mut draw = Draw::new(1);
        for dtype in WIDTHS {
            for sizes in [&[][..], &[7], &[3, 5], &[0, 4], &[300, 11]] {
                check("dense", "{}", &[Some(draw.tensor(dtype, sizes, (0.0, 1.0)))], 0.0, false);
            }
        }
    }

    #[test]
    fn samples_move_as_on_the_cpu() {
        check_samples(&["reshape", "transpose", "broadcast_to", "slice"], 0.0, false);
        check_samples(&["concat", "unslice", "pad", "iota", "dim"], 0.0, false);
    }

    #[test]
    fn views_of_every_width_are_moved() {
        let mut draw = Draw::new(2);
        for dtype in WIDTHS {
            let x = draw.tensor(dtype, &[5, 6, 3], (0.0, 9.0));
            let y = draw.tensor(dtype, &[5, 2, 3], (0.0, 9.0));
            check("concat", r#"{"axis": 1}"#, &[Some(x.clone()), Some(y.clone()), Some(x.clone())], 0.0, false);
            let value = Some(draw.tensor(dtype, &[], (0.0, 9.0)));
            check("pad", r#"{"low": [1, 0, 2], "high": [0, 3, 1]}"#, &[Some(x.clone()), value], 0.0, false);
            let view = ("slice", r#"{"start": [4, 1, 0], "stop": [0, 6, 3], "step": [-2, 3, 2]}"#);
            check_strided("dense", "{}", &x, view, 0.0);
            check_strided("unslice", r#"{"shape": [4, 2, 5], "step": [2, -1, 3]}"#, &x, view, 0.0);
            check_strided("pad", r#"{"low": [1, 1, 1], "high": [1, 1, 1]}"#, &x, view, 0.0);
            check_strided("concat", r#"{"axis": 0}"#, &x, ("transpose", r#"{"axes": [1, 2, 0]}"#), 0.0);
        }
    }

    #[test]
    fn more_workgroups_than_an_axis_has_are_moved() {
        let x = Draw::new(3).tensor(DType::U8, &[1], (0.0, 9.0));
        check("broadcast_to", r#"{"shape": [16800001]}"#, &[Some(x)], 0.0, false);
    }
}
