//! Elements by index.

use super::places::Places;
use crate::gpu::kernel::{Printer, Recipe, Refusal, Request, Slot};
use crate::gpu::wgsl::{INVOCATIONS, Source};
use crate::tensor::scalar_word;

pub const PRINTERS: &[(&str, Printer)] = &[
    ("gather", |request| gather(request, &Places::of_tuples(request.attrs, request.input(0)?, request.input(1)?)?)),
    ("take", |request| gather(request, &Places::along_axis(request.attrs, request.input(0)?, request.input(1)?)?)),
    ("pick", |request| gather(request, &Places::of_rows(request.input(0)?, request.input(1)?)?)),
    ("unpick", unpick),
];

/// For each tuple the elements of the place that it names, or the attr `fill`.
fn gather(request: &Request, places: &Places) -> Result<Recipe, Refusal> {
    let output = request.output(0)?;
    let missing = if output.dtype.is_float() { f64::NAN } else { 0.0 };
    let fill = scalar_word(output.dtype, request.attrs.optional_float("fill").unwrap_or(missing));
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let x = source.read_bits(Slot::Input(0), output.dtype);
    places.declare(&mut source, Slot::Input(1))?;
    let y = source.write_bits(Slot::Output(0), output.dtype);
    let (index, groups) = source.for_each(output.elements())?;
    let (inner, count) = (source.size(places.inner as i64), source.size(places.count as i64));
    let size = source.size(places.places() as i64);
    let fill = match output.dtype.size() {
        8 => format!("vec2<u32>({}, {})", source.param(fill as u32), source.param((fill >> 32) as u32)),
        _ => source.param(fill as u32),
    };
    source.line(format!("let row = {index} / {inner};"));
    source.line(format!(
        "let place = place_of({});",
        if places.is_shared { format!("row % {count}") } else { "row".into() }
    ));
    source.line("if (place == NOWHERE) {");
    source.line(y.store(&index, &fill));
    source.line("} else {");
    let from = format!("((((row / {count}) * {size}) + place) * {inner}) + ({index} % {inner})");
    source.line(y.store(&index, &x.load(&from)));
    source.line("}");
    Ok(Recipe::of(source.launch(groups)))
}

/// The adjoint of `pick`: each element looks whether it is the one of its row.
fn unpick(request: &Request) -> Result<Recipe, Refusal> {
    let output = request.output(0)?;
    let places = Places::of_rows(output, request.input(1)?)?;
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let x = source.read_bits(Slot::Input(0), output.dtype);
    places.declare(&mut source, Slot::Input(1))?;
    let y = source.write_bits(Slot::Output(0), output.dtype);
    let (index, groups) = source.for_each(output.elements())?;
    let depth = source.size(places.places() as i64);
    let zero = if output.dtype.size() == 8 { "vec2<u32>(0u, 0u)" } else { "0u" };
    source.line(format!("let row = {index} / {depth};"));
    source.line(format!("let value = select({zero}, {}, place_of(row) == ({index} % {depth}));", x.load("row")));
    source.line(y.store(&index, "value"));
    Ok(Recipe::of(source.launch(groups)))
}

#[cfg(all(test, feature = "gpu"))]
mod tests {
    use crate::dtype::DType;
    use crate::gpu::testing::{Draw, check, check_samples};
    use crate::tensor::Tensor;

    const EXTREMES: [i64; 9] = [i64::MIN, i64::MAX, 1 << 32, -(1 << 32), (1 << 32) + 1, -4, 3, -3, 2];

    #[test]
    fn samples_are_gathered_as_on_the_cpu() {
        check_samples(&["gather", "take", "pick", "unpick"], 0.0, false);
    }

    #[test]
    fn indices_outside_give_the_fill() {
        let indices = Some(Tensor::from_slice(DType::I64, &[9], &EXTREMES).unwrap());
        let tuples = Some(Tensor::from_slice(DType::I64, &[9, 1], &EXTREMES).unwrap());
        let mut draw = Draw::new(8);
        for dtype in [DType::F64, DType::F16, DType::I64, DType::U8, DType::Bool] {
            let x = Some(draw.tensor(dtype, &[3, 4], (1.0, 9.0)));
            check("take", r#"{"fill": 2.0}"#, &[x.clone(), indices.clone()], 0.0, false);
            check("gather", "{}", &[x.clone(), tuples.clone()], 0.0, false);
            let rows = Some(draw.tensor(dtype, &[9, 3], (1.0, 9.0)));
            check("pick", "{}", &[rows, indices.clone()], 0.0, false);
            let values = Some(draw.tensor(dtype, &[9], (1.0, 9.0)));
            check("unpick", r#"{"depth": 3}"#, &[values, indices.clone()], 0.0, false);
            let none = Some(draw.tensor(dtype, &[0, 2], (1.0, 9.0)));
            check("take", "{}", &[none, indices.clone()], 0.0, false);
        }
    }
}
