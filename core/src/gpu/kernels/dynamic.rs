//! Slices that start where an input says.

use super::movement::place;
use super::places::{counted, index};
use crate::cpu::call::Layout;
use crate::gpu::kernel::{Printer, Recipe, Refusal, Request, Slot};
use crate::gpu::wgsl::{INVOCATIONS, Source};

pub const PRINTERS: &[(&str, Printer)] = &[("dynamic_slice", slice), ("dynamic_update_slice", update)];

/// Prints where the part of `whole` of some sizes lies that begins at the input `start`: gives where its first element
/// is, and the layout of the others from there. An index in [-n, n) is normalised, and what would go beyond either end
/// is moved to it.
fn window(
    source: &mut Source,
    whole: &Layout,
    sizes: &[usize],
    start: usize,
    layout: &Layout,
) -> Result<(String, Layout), Refusal> {
    let starts = source.read(Slot::Input(start), layout.dtype)?;
    let first = source.name("first");
    let offset = source.size(whole.offset as i64);
    source.line(format!("var {first} = {offset};"));
    for (axis, (&size, &part)) in whole.sizes.iter().zip(sizes).enumerate() {
        let at = source.offset(layout, &format!("{axis}u"));
        let at = index(source, &starts, layout.dtype, &at);
        let at = source.value("at", at);
        let (limit, stride) = (size.saturating_sub(part) as i64, whole.strides[axis] as i64);
        let (size, limit, stride) = (source.size(counted(size)? as i64), source.size(limit), source.size(stride));
        let from_front = format!("select({at}, {at} + i32({size}), {at} < 0)");
        source.line(format!("{first} += u32(clamp({from_front}, 0, i32({limit}))) * {stride};"));
    }
    let rest = Layout { dtype: whole.dtype, sizes: sizes.into(), strides: whole.strides.clone(), offset: 0 };
    Ok((first, rest))
}

fn slice(request: &Request) -> Result<Recipe, Refusal> {
    let (whole, start, output) = (request.input(0)?, request.input(1)?, request.output(0)?);
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let x = source.read_bits(Slot::Input(0), whole.dtype);
    let y = source.write_bits(Slot::Output(0), output.dtype);
    let (index, groups) = source.for_each(output.elements())?;
    let (first, rest) = window(&mut source, whole, &output.sizes, 1, start)?;
    let offset = source.offset(&rest, &index);
    source.line(y.store(&index, &x.load(&format!("{first} + {offset}"))));
    Ok(Recipe::of(source.launch(groups)))
}

fn update(request: &Request) -> Result<Recipe, Refusal> {
    let (update, start, whole) = (request.input(1)?, request.input(2)?, request.output(0)?);
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let x = source.read_bits(Slot::Input(1), update.dtype);
    let y = source.write_bits(Slot::Output(0), whole.dtype);
    let (index, groups) = source.for_each(update.elements())?;
    let (first, rest) = window(&mut source, whole, &update.sizes, 2, start)?;
    let (from, to) = (source.offset(update, &index), source.offset(&rest, &index));
    source.line(y.store(&format!("{first} + {to}"), &x.load(&from)));
    let launches = vec![place(0, request.input(0)?, whole)?, source.launch(groups)];
    Ok(Recipe { launches, workspaces: Vec::new() })
}

#[cfg(all(test, feature = "gpu"))]
mod tests {
    use crate::dtype::DType;
    use crate::gpu::testing::{Draw, check, check_samples};
    use crate::tensor::Tensor;

    #[test]
    fn windows_are_moved_to_the_ends_as_on_the_cpu() {
        check_samples(&["dynamic_slice", "dynamic_update_slice"], 0.0, false);
        let mut draw = Draw::new(9);
        for starts in [[i64::MIN, i64::MAX], [1 << 32, -(1 << 32)], [-2, 1], [-9, 9], [2, -1]] {
            let start = Some(Tensor::from_slice(DType::I64, &[2], &starts).unwrap());
            for dtype in [DType::F64, DType::I16] {
                let x = Some(draw.tensor(dtype, &[5, 4], (-9.0, 9.0)));
                check("dynamic_slice", r#"{"sizes": [2, 3]}"#, &[x.clone(), start.clone()], 0.0, false);
                let part = Some(draw.tensor(dtype, &[2, 3], (-9.0, 9.0)));
                check("dynamic_update_slice", "{}", &[x, part, start.clone()], 0.0, false);
            }
        }
    }
}
