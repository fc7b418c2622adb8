//! Tensors arranged anew, by other ops.

use super::movement::{defaulted, required};
use crate::attrs::{AttrType, AttrValue};
use crate::dtype::DTypes;
use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::infer::Infer;
use crate::op::{InputDef, Lowering, Meaning, OpDef, Sample, Spec, Vjp, normalize_axes, normalize_axis};
use crate::shape::{Dim, Shape};

const X: &[InputDef] = &[InputDef::of("x")];

/// `shape` with a dim inserted before the axis of that number.
fn inserted(shape: &Shape, axis: usize, dim: Dim) -> Vec<Dim> {
    let (before, after) = shape.split_at(axis);
    before.iter().cloned().chain([dim]).chain(after.iter().cloned()).collect()
}

fn infer_stack(infer: &mut Infer) -> Result<Vec<Spec>> {
    let first = infer.input(0)?;
    let mut shape = first.shape.clone();
    for spec in infer.inputs.iter().flatten().skip(1) {
        shape = infer.unify_shapes(&shape, &spec.shape).map_err(|error| error.with_argument("values"))?;
    }
    let axis = normalize_axis(infer.attrs.int("axis")?, shape.rank() + 1)?;
    let dims = inserted(&shape, axis, Dim::constant(infer.inputs.len() as i64));
    Ok(vec![Spec::new(first.dtype, Shape::new(dims)?)])
}

fn lower_stack(l: &mut Lowering) -> Result<Vec<Value>> {
    let axis = normalize_axis(l.attrs.int("axis")?, l.shape(0).rank() + 1)?;
    let mut rows = Vec::new();
    for (index, &value) in l.inputs.iter().enumerate() {
        let shape = inserted(&l.shape(index), axis, Dim::constant(1));
        rows.push(l.graph.reshape(value, &shape)?);
    }
    Ok(vec![l.graph.op("concat", &[("axis", AttrValue::Int(axis as i64))], &rows)?])
}

/// A dim that is not known to be negative.
fn count(dim: Dim, name: &'static str) -> Result<Dim> {
    match dim.upper_bound() {
        Some(..0) => Err(Error::argument(format!("{name} has {dim}, which is negative")).with_argument(name)),
        _ => Ok(dim),
    }
}

/// The dims of x and the attr `repetitions`, both with ones in front to be equally many.
fn tiles(shape: &Shape, repetitions: Vec<Dim>) -> Result<(Vec<Dim>, Vec<Dim>)> {
    let rank = shape.rank().max(repetitions.len());
    let ones = |len: usize| (len..rank).map(|_| Dim::constant(1));
    let dims = ones(shape.rank()).chain(shape.iter().cloned()).collect();
    let counts = repetitions.iter().map(|dim| count(dim.clone(), "repetitions")).collect::<Result<Vec<_>>>()?;
    Ok((dims, ones(counts.len()).chain(counts.iter().cloned()).collect()))
}

fn infer_tile(infer: &mut Infer) -> Result<Vec<Spec>> {
    let x = infer.input(0)?;
    let (dims, counts) = tiles(&x.shape, infer.attrs.dims("repetitions")?)?;
    let dims = dims.iter().zip(&counts).map(|(dim, count)| dim.mul(count)).collect::<Result<Vec<_>>>()?;
    Ok(vec![Spec::new(x.dtype, Shape::new(dims)?)])
}

/// An axis is added before each one that is repeated, broadcast, and joined with it.
fn lower_tile(l: &mut Lowering) -> Result<Vec<Value>> {
    let (dims, counts) = tiles(&l.shape(0), l.attrs.dims("repetitions")?)?;
    let (mut apart, mut spread, mut joined) = (Vec::new(), Vec::new(), Vec::new());
    for (dim, count) in dims.into_iter().zip(counts) {
        if count.as_constant() != Some(1) {
            apart.push(Dim::constant(1));
            spread.push(count.clone());
        }
        joined.push(dim.mul(&count)?);
        apart.push(dim.clone());
        spread.push(dim);
    }
    Ok(vec![repeated(l.graph, l.inputs[0], [apart, spread, joined])?])
}

fn repeated(graph: &mut Graph, x: Value, [apart, spread, joined]: [Vec<Dim>; 3]) -> Result<Value> {
    let x = graph.reshape(x, &apart)?;
    let x = graph.broadcast_to(x, &Shape::new(spread)?)?;
    graph.reshape(x, &joined)
}

/// The shape of x in which an axis is repeated, and that axis: the attr `axis`, or that of x flattened.
fn repeated_axis(shape: &Shape, axis: Option<i64>) -> Result<(Shape, usize)> {
    match axis {
        Some(axis) => Ok((shape.clone(), normalize_axis(axis, shape.rank())?)),
        None => Ok((Shape::new(vec![shape.elements()?])?, 0)),
    }
}

fn infer_repeat(infer: &mut Infer) -> Result<Vec<Spec>> {
    let x = infer.input(0)?;
    let (shape, axis) = repeated_axis(&x.shape, infer.attrs.optional_int("axis"))?;
    let mut dims = shape.into_dims();
    dims[axis] = dims[axis].mul(&count(infer.attrs.dim("repeats")?, "repeats")?)?;
    Ok(vec![Spec::new(x.dtype, Shape::new(dims)?)])
}

fn lower_repeat(l: &mut Lowering) -> Result<Vec<Value>> {
    let repeats = l.attrs.dim("repeats")?;
    let (shape, axis) = repeated_axis(&l.shape(0), l.attrs.optional_int("axis"))?;
    let (apart, spread) = (inserted(&shape, axis + 1, Dim::constant(1)), inserted(&shape, axis + 1, repeats.clone()));
    let mut joined = shape.into_dims();
    joined[axis] = joined[axis].mul(&repeats)?;
    Ok(vec![repeated(l.graph, l.inputs[0], [apart, spread, joined])?])
}

/// The attrs of `roll`: how far each axis is rolled.
fn shifts(shift: &[i64], axis: Option<&[i64]>, rank: usize) -> Result<Vec<(usize, i64)>> {
    let Some(axis) = axis else {
        return match shift {
            [shift] => Ok(vec![(0, *shift)]),
            _ => {
                Err(Error::argument(format!("shift is {shift:?}; without an axis it is one number"))
                    .with_argument("shift"))
            }
        };
    };
    if shift.len() != axis.len() && shift.len() != 1 {
        let text = format!("shift has {} entries, axis has {}", shift.len(), axis.len());
        return Err(Error::argument(text).with_argument("shift"));
    }
    normalize_axes(Some(axis), rank)?;
    let shift = |place: usize| if shift.len() == 1 { shift[0] } else { shift[place] };
    axis.iter().enumerate().map(|(place, &axis)| Ok((normalize_axis(axis, rank)?, shift(place)))).collect()
}

fn infer_roll(infer: &mut Infer) -> Result<Vec<Spec>> {
    let x = infer.input(0)?;
    shifts(&infer.attrs.ints("shift")?, infer.attrs.optional_ints("axis").as_deref(), x.shape.rank())?;
    Ok(vec![x.clone()])
}

fn lower_roll(l: &mut Lowering) -> Result<Vec<Value>> {
    let (shape, axes) = (l.shape(0), l.attrs.optional_ints("axis"));
    let mut x = l.inputs[0];
    if axes.is_none() {
        x = l.graph.reshape(x, &[shape.elements()?])?;
    }
    for (axis, shift) in shifts(&l.attrs.ints("shift")?, axes.as_deref(), shape.rank())? {
        x = rolled(l.graph, x, axis, shift)?;
    }
    Ok(vec![l.graph.reshape(x, &shape)?])
}

/// The last `shift` elements of an axis before the others.
fn rolled(graph: &mut Graph, x: Value, axis: usize, shift: i64) -> Result<Value> {
    let shape = graph.spec(x).shape.clone();
    let size = &shape[axis];
    let moved = Dim::constant(shift).modulo(&size.max(&Dim::constant(1))?)?;
    let cut = size.sub(&moved)?.max(&Dim::constant(0))?;
    let part = |graph: &mut Graph, start: Dim, stop: Dim| {
        let along = |at: &Dim, other: i64| {
            AttrValue::Dims((0..shape.rank()).map(|a| if a == axis { at.clone() } else { other.into() }).collect())
        };
        graph.op("slice", &[("start", along(&start, 0)), ("stop", along(&stop, i64::MAX))], &[x])
    };
    let last = part(graph, cut.clone(), size.clone())?;
    let first = part(graph, Dim::constant(0), cut)?;
    let joined = graph.op("concat", &[("axis", AttrValue::Int(axis as i64))], &[last, first])?;
    graph.reshape(joined, &shape)
}

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "stack",
        version: 1,
        doc: "Values of one shape joined along a new axis.",
        dtypes: DTypes::ALL,
        inputs: &[InputDef::of("values").variadic(1)],
        outputs: &["output"],
        attrs: &[defaulted("axis", AttrType::Int, "0", "The new axis.")],
        regions: &[],
        infer: infer_stack,
        meaning: Meaning::Lower(lower_stack),
        vjp: Vjp::Lowered,
        samples: &[
            Sample { inputs: &["T[2, 3]", "T[2, 3]"], attrs: "{}" },
            Sample { inputs: &["T[2]", "T[2]", "T[2]"], attrs: r#"{"axis": -1}"# },
            Sample { inputs: &["T[]"], attrs: "{}" },
        ],
    },
    OpDef {
        name: "tile",
        version: 1,
        doc: "x repeated as a whole along axes, as NumPy's tile; of x and the repetitions, the one that has fewer axes \
            gets ones in front.",
        dtypes: DTypes::ALL,
        inputs: X,
        outputs: &["output"],
        attrs: &[required("repetitions", AttrType::Dims, "How often x is repeated along each axis.")],
        regions: &[],
        infer: infer_tile,
        meaning: Meaning::Lower(lower_tile),
        vjp: Vjp::Lowered,
        samples: &[
            Sample { inputs: &["T[2, 3]"], attrs: r#"{"repetitions": [2, 1]}"# },
            Sample { inputs: &["T[3]"], attrs: r#"{"repetitions": [2, 2]}"# },
            Sample { inputs: &["T[2, 1, 2]"], attrs: r#"{"repetitions": [3]}"# },
            Sample { inputs: &["T[2]"], attrs: r#"{"repetitions": [0]}"# },
            Sample { inputs: &["T[]"], attrs: r#"{"repetitions": []}"# },
        ],
    },
    OpDef {
        name: "repeat",
        version: 1,
        doc: "Each element of x repeated along an axis.",
        dtypes: DTypes::ALL,
        inputs: X,
        outputs: &["output"],
        attrs: &[
            required("repeats", AttrType::Dim, "How often each element is repeated."),
            defaulted("axis", AttrType::Int, "null", "The axis; null is that of x flattened."),
        ],
        regions: &[],
        infer: infer_repeat,
        meaning: Meaning::Lower(lower_repeat),
        vjp: Vjp::Lowered,
        samples: &[
            Sample { inputs: &["T[2, 3]"], attrs: r#"{"repeats": 2}"# },
            Sample { inputs: &["T[2, 3]"], attrs: r#"{"repeats": 3, "axis": 0}"# },
            Sample { inputs: &["T[2, 3]"], attrs: r#"{"repeats": 0, "axis": -1}"# },
            Sample { inputs: &["T[]"], attrs: r#"{"repeats": 2}"# },
        ],
    },
    OpDef {
        name: "roll",
        version: 1,
        doc: "x with its elements moved along axes, those that leave it at one end coming in at the other.",
        dtypes: DTypes::ALL,
        inputs: X,
        outputs: &["output"],
        attrs: &[
            required(
                "shift",
                AttrType::Ints,
                "How far elements move along each axis, towards its end if positive; one for all axes.",
            ),
            defaulted("axis", AttrType::Ints, "null", "The axes; null is that of x flattened, whose shape is kept."),
        ],
        regions: &[],
        infer: infer_roll,
        meaning: Meaning::Lower(lower_roll),
        vjp: Vjp::Lowered,
        samples: &[
            Sample { inputs: &["T[2, 3]"], attrs: r#"{"shift": [4]}"# },
            Sample { inputs: &["T[4, 3]"], attrs: r#"{"shift": [-1, 2], "axis": [0, 1]}"# },
            Sample { inputs: &["T[5]"], attrs: r#"{"shift": [-7], "axis": [-1]}"# },
            Sample { inputs: &["T[0, 2]"], attrs: r#"{"shift": [1], "axis": [0, 1]}"# },
        ],
    },
];

#[cfg(test)]
mod tests {
    use crate::ops::testing::check;

    #[test]
    fn arranged_shapes_are_inferred_and_refused() {
        check(
            "stack",
            &[
                (r#"{"axis": -1}"#, &["float32[n, 3]", "float32[n, 3]"], "float32[n, 3, 2]"),
                ("{}", &["int8[n]", "int16[m]"], "int16[2, n] where n == m"),
                ("{}", &["int8[2]", "int8[3]"], "stack: shapes [2] and [3] differ"),
                (r#"{"axis": 2}"#, &["int8[2]"], "stack: axis 2 is out of range for rank 2"),
            ],
        );
        check(
            "tile",
            &[
                (r#"{"repetitions": ["k", 2]}"#, &["float32[n]"], "float32[k, 2*n]"),
                (r#"{"repetitions": ["k"]}"#, &["float32[2, n]"], "float32[2, k*n]"),
                (r#"{"repetitions": [-1]}"#, &["float32[2]"], "tile: repetitions has -1, which is negative"),
            ],
        );
        check(
            "repeat",
            &[
                (r#"{"repeats": 3, "axis": 1}"#, &["float32[n, m]"], "float32[n, 3*m]"),
                (r#"{"repeats": 2}"#, &["float32[n, 3]"], "float32[6*n]"),
                (r#"{"repeats": -2}"#, &["float32[n, 3]"], "repeat: repeats has -2, which is negative"),
            ],
        );
        check(
            "roll",
            &[
                (r#"{"shift": 1}"#, &["float32[n, m]"], "float32[n, m]"),
                (r#"{"shift": [1, 2]}"#, &["float32[3]"], "roll: shift is [1, 2]; without an axis it is one number"),
                (
                    r#"{"shift": [1, 2, 3], "axis": [0, 1]}"#,
                    &["float32[3, 3]"],
                    "roll: shift has 3 entries, axis has 2",
                ),
            ],
        );
    }
}
