//! Slices that start where an input says. Their sizes are attrs or shapes, so every shape is known without it.

use super::movement::required;
use crate::attrs::{AttrType, AttrValue, Attrs};
use crate::cpu::call::{Call, Layout, View};
use crate::cpu::copy;
use crate::cpu::work::Stop;
use crate::dispatch_width;
use crate::dtype::{DType, DTypes};
use crate::error::{Error, Result};
use crate::graph::Value;
use crate::infer::Infer;
use crate::op::{Backward, Bound, Check, InputDef, Kernel, Meaning, OpDef, Sample, Spec, Vjp};
use crate::shape::Shape;

const START: InputDef = InputDef::in_set("start", DTypes::INDEX);

/// From where a part of x does not go beyond it.
fn bounds(x: &[usize], part: impl Iterator<Item = usize>) -> Vec<Bound> {
    let axes = x.iter().zip(part).enumerate();
    axes.map(|(axis, (&size, part))| Bound { high: (size - part.min(size)) as i64 + 1, ..Bound::of_axis(axis, size) })
        .collect()
}

fn of_sizes(attrs: &Attrs, inputs: &[&[usize]]) -> Vec<Bound> {
    let sizes = attrs.dims("sizes").unwrap_or_default();
    bounds(inputs[0], sizes.iter().map(|size| size.as_constant().map_or(0, |size| size as usize)))
}

fn of_update(_: &Attrs, inputs: &[&[usize]]) -> Vec<Bound> {
    bounds(inputs[0], inputs[1].iter().copied())
}

/// Checks the shape of `start`, and that a slice of these sizes fits into x.
fn check(infer: &mut Infer, start: usize, sizes: &Shape, name: &'static str) -> Result<()> {
    let (x, start) = (&infer.input(0)?.shape, &infer.input(start)?.shape);
    if start.rank() != 1 || start[0].as_constant() != Some(x.rank() as i64) {
        let text = format!("start has shape {start}; with x {x} it needs [{}]", x.rank());
        return Err(Error::shape(text).with_argument("start"));
    }
    let refused = || Error::shape(format!("{name} {sizes} does not fit into x {x}")).with_argument(name);
    if sizes.rank() != x.rank() {
        return Err(refused());
    }
    for (size, dim) in sizes.iter().zip(x.iter()) {
        infer.unify(size, &size.min(dim)?).map_err(|_| refused())?;
    }
    Ok(())
}

fn infer_slice(infer: &mut Infer) -> Result<Vec<Spec>> {
    let sizes = Shape::new(infer.attrs.dims("sizes")?).map_err(|error| error.with_argument("sizes"))?;
    check(infer, 1, &sizes, "sizes")?;
    Ok(vec![Spec::new(infer.input(0)?.dtype, sizes)])
}

fn infer_update(infer: &mut Infer) -> Result<Vec<Spec>> {
    let update = &infer.input(1)?.shape;
    check(infer, 2, update, "update")?;
    Ok(vec![infer.input(0)?.clone()])
}

/// The layout of the slice of `whole` that begins at `start`: an index in [-n, n) is normalised, and what would go
/// beyond either end is moved to it.
fn window(whole: &Layout, start: View, sizes: &[usize]) -> Layout {
    let mut window = Layout { sizes: sizes.into(), ..whole.clone() };
    for (axis, (&size, &part)) in whole.sizes.iter().zip(sizes).enumerate() {
        let at = start.layout().offset.wrapping_add_signed(axis as isize * start.layout().strides[0]);
        let index = match start.dtype() {
            DType::I32 => i64::from(start.elements::<i32>()[at]),
            _ => start.elements::<i64>()[at],
        };
        let index = if index < 0 { index.saturating_add(size as i64) } else { index };
        let first = index.clamp(0, size.saturating_sub(part) as i64);
        window.offset = window.offset.wrapping_add_signed(first as isize * whole.strides[axis]);
    }
    window
}

fn run_slice(call: &mut Call) -> Result<(), Stop> {
    let x = call.input(0);
    let window = window(x.layout(), call.input(1), call.outputs[0].sizes());
    dispatch_width!(x.dtype(), T => {
        copy::strided(&mut call.work, &window, x.elements::<T>(), call.outputs[0].elements::<T>())
    })
}

fn run_update(call: &mut Call) -> Result<(), Stop> {
    let (x, update) = (call.input(0), call.input(1));
    copy::copy(x, &mut call.outputs[0], &mut call.work)?;
    let to = window(&Layout::dense(x.dtype(), x.sizes()), call.input(2), update.sizes());
    dispatch_width!(x.dtype(), T => {
        let output = call.outputs[0].elements::<T>();
        copy::place(&mut call.work, update.layout(), update.elements::<T>(), output, Some(&to))
    })
}

fn slice_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (cotangent, start) = (b.cotangent()?, b.inputs[1]);
    let zeros = b.graph.full_like(b.inputs[0], 0.0)?;
    Ok(vec![Some(b.graph.op("dynamic_update_slice", &[], &[zeros, cotangent, start])?), None])
}

fn update_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (cotangent, update, start) = (b.cotangent()?, b.inputs[1], b.inputs[2]);
    let to_x = if b.wanted[0] {
        let zeros = b.graph.full_like(update, 0.0)?;
        Some(b.graph.op("dynamic_update_slice", &[], &[cotangent, zeros, start])?)
    } else {
        None
    };
    let sizes = ("sizes", AttrValue::Dims(b.shape(1).into_dims()));
    let to_update = if b.wanted[1] { Some(b.graph.op("dynamic_slice", &[sizes], &[cotangent, start])?) } else { None };
    Ok(vec![to_x, to_update, None])
}

const STRIDED: Kernel = Kernel { takes_strides: true, ..Kernel::dense(run_slice) };

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "dynamic_slice",
        version: 1,
        doc: "The part of x of some sizes that begins at `start`, an index along each axis, as in XLA. A start in \
            [-n, 0) counts from the end, and one from which the part would go beyond x is moved so that it does not.",
        dtypes: DTypes::ALL,
        inputs: &[InputDef::of("x"), START.checked(Check::Index(of_sizes))],
        outputs: &["output"],
        attrs: &[required("sizes", AttrType::Dims, "The shape of the output.")],
        regions: &[],
        infer: infer_slice,
        meaning: Meaning::Kernel(STRIDED),
        vjp: Vjp::Rule(slice_vjp),
        samples: &[
            Sample { inputs: &["T[5, 4]", "int64[2] in -6..6"], attrs: r#"{"sizes": [2, 3]}"# },
            Sample { inputs: &["T[7]", "int32[1] in 0..9"], attrs: r#"{"sizes": [7]}"# },
            Sample { inputs: &["T[3, 2]", "int64[2] in 0..3"], attrs: r#"{"sizes": [0, 1]}"# },
            Sample { inputs: &["T[]", "int64[0]"], attrs: r#"{"sizes": []}"# },
        ],
    },
    OpDef {
        name: "dynamic_update_slice",
        version: 1,
        doc: "x with a part of it replaced by `update`: the one that dynamic_slice gives for the same start and the \
            sizes of the update.",
        dtypes: DTypes::ALL,
        inputs: &[InputDef::of("x"), InputDef::of("update"), START.checked(Check::Index(of_update))],
        outputs: &["output"],
        attrs: &[],
        regions: &[],
        infer: infer_update,
        meaning: Meaning::Kernel(Kernel { run: run_update, ..STRIDED }),
        vjp: Vjp::Rule(update_vjp),
        samples: &[
            Sample { inputs: &["T[5, 4]", "T[2, 3]", "int64[2] in -6..6"], attrs: "{}" },
            Sample { inputs: &["T[7]", "T[7]", "int32[1] in 0..9"], attrs: "{}" },
            Sample { inputs: &["T[3, 2]", "T[0, 1]", "int64[2] in 0..3"], attrs: "{}" },
            Sample { inputs: &["T[]", "T[]", "int64[0]"], attrs: "{}" },
        ],
    },
];

#[cfg(test)]
mod tests {
    use crate::ops::testing::check;

    #[test]
    fn windows_fit_into_what_they_are_of() {
        check(
            "dynamic_slice",
            &[
                (r#"{"sizes": ["n", 2]}"#, &["float32[n+1, 3]", "int64[2]"], "float32[n, 2]"),
                (r#"{"sizes": [2]}"#, &["float32[n]", "int32[1]"], "float32[2] where 2 == min(n, 2)"),
                (r#"{"sizes": [4]}"#, &["float32[3]", "int32[1]"], "dynamic_slice: sizes [4] does not fit into x [3]"),
                (
                    r#"{"sizes": [1, 1]}"#,
                    &["float32[3]", "int32[1]"],
                    "dynamic_slice: sizes [1, 1] does not fit into x [3]",
                ),
                (
                    r#"{"sizes": [1, 1]}"#,
                    &["float32[3, 3]", "int32[3]"],
                    "dynamic_slice: start has shape [3]; with x [3, 3] it needs [2]",
                ),
            ],
        );
        check(
            "dynamic_update_slice",
            &[
                ("{}", &["float32[n, 3]", "float32[n, 1]", "int64[2]"], "float32[n, 3]"),
                (
                    "{}",
                    &["float32[3]", "float32[4]", "int64[1]"],
                    "dynamic_update_slice: update [4] does not fit into x [3]",
                ),
            ],
        );
    }
}
