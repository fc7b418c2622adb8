//! Ops that read and write elements by index. An index in [-n, n) is normalised; outside that range reads give NaN (0
//! for integers, false for `bool`) and writes are dropped.

use super::movement::{defaulted, required};
use crate::attrs::{AttrDef, AttrType, AttrValue, Attrs};
use crate::cpu::call::Call;
use crate::cpu::copy;
use crate::cpu::index::{self, Indices, Join, Targets};
use crate::cpu::memory::{as_bytes, cast_slice};
use crate::cpu::recurrence::Extent;
use crate::cpu::work::Stop;
use crate::dtype::{DTypes, Element};
use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::infer::Infer;
use crate::op::{
    Backward, Bound, Check, InputDef, Kernel, Lowering, Meaning, OpDef, Sample, Spec, Vjp, normalize_axis,
};
use crate::shape::{Dim, Shape};
use crate::tensor::scalar_word;
use crate::{dispatch, dispatch_width};

/// Indices along the axis of the first input that the attr `axis` says, or the first.
pub(super) const INDICES: InputDef = InputDef::in_set("indices", DTypes::INDEX).checked(Check::Index(along_axis));
/// Indices along the last axis of the first input.
const PICKS: InputDef = InputDef::in_set("indices", DTypes::INDEX).checked(Check::Index(along_last));
/// Indices along an axis that the attr `depth` gives the size of, after those of the first input.
const PLACES: InputDef = InputDef::in_set("indices", DTypes::INDEX).checked(Check::Index(along_depth));
const AXIS: AttrDef = defaulted("axis", AttrType::Int, "0", "The axis of x that the indices count along.");
pub(super) const FILL: AttrDef = defaulted(
    "fill",
    AttrType::Float,
    "null",
    "What an index outside of x gives; null is NaN, 0 for integers, false for `bool`.",
);

fn along_axis(attrs: &Attrs, inputs: &[&[usize]]) -> Vec<Bound> {
    let axis = attrs.int("axis").and_then(|axis| normalize_axis(axis, inputs[0].len())).unwrap_or(0);
    inputs[0].get(axis).map(|&size| Bound::of_axis(axis, size)).into_iter().collect()
}

/// Of x [..., n]: the bound of its last axis. Also for labels that count along the last axis of logits.
pub(super) fn along_last(_: &Attrs, inputs: &[&[usize]]) -> Vec<Bound> {
    inputs[0].iter().enumerate().next_back().map(|(axis, &size)| Bound::of_axis(axis, size)).into_iter().collect()
}

fn along_depth(attrs: &Attrs, inputs: &[&[usize]]) -> Vec<Bound> {
    let depth = attrs.dim("depth").ok().and_then(|depth| usize::try_from(depth.as_constant()?).ok());
    depth.map(|size| Bound::of_axis(inputs[0].len(), size)).into_iter().collect()
}

/// The shape that `take` gives, and `scatter_add` wants of its updates.
fn taken(infer: &Infer) -> Result<Shape> {
    let (x, indices) = (&infer.input(0)?.shape, &infer.input(1)?.shape);
    let axis = normalize_axis(infer.attrs.int("axis")?, x.rank())?;
    Shape::new(x[..axis].iter().chain(indices.iter()).chain(&x[axis + 1..]).cloned().collect())
}

fn infer_take(infer: &mut Infer) -> Result<Vec<Spec>> {
    Ok(vec![Spec::new(infer.input(0)?.dtype, taken(infer)?)])
}

/// The axes around the attr `axis` of the first input.
fn extent(call: &Call) -> Extent {
    let sizes = call.input(0).sizes();
    let axis = call.attrs.int("axis").and_then(|axis| normalize_axis(axis, sizes.len())).unwrap_or(0);
    Extent::new(sizes, axis)
}

/// The attr `fill` as an element.
pub(super) fn fill<T: Element>(call: &Call) -> T {
    let dtype = call.input(0).dtype();
    let missing = if dtype.is_float() { f64::NAN } else { 0.0 };
    let word = scalar_word(dtype, call.attrs.optional_float("fill").unwrap_or(missing));
    cast_slice(as_bytes(&[word]))[0]
}

fn run_take(call: &mut Call) -> Result<(), Stop> {
    let (x, indices, extent) = (call.input(0), Indices::new(call.input(1)), extent(call));
    dispatch_width!(x.dtype(), T => {
        let missing = fill::<T>(call);
        let output = call.outputs[0].elements::<T>();
        let (Extent { outer, steps, inner }, count) = (extent, indices.len());
        index::gather(&mut call.work, (outer.saturating_mul(count), inner), x.elements::<T>(), missing, output, |row| {
            indices.get(row % count, steps).map(|index| row / count * steps + index)
        })
    })
}

fn take_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (cotangent, shape, indices) = (b.cotangent()?, b.shape(0), b.inputs[1]);
    let zeros = b.graph.full(b.graph.spec(cotangent).dtype, &shape, 0.0)?;
    let axis = ("axis", b.attrs.value("axis").clone());
    Ok(vec![Some(b.graph.op("scatter_add", &[axis], &[zeros, indices, cotangent])?), None])
}

fn infer_scatter_add(infer: &mut Infer) -> Result<Vec<Spec>> {
    let x = infer.input(0)?;
    let (wanted, updates) = (taken(infer)?, &infer.input(2)?.shape);
    infer.unify_shapes(updates, &wanted).map_err(|_| {
        Error::shape(format!("updates have shape {updates}; with x {} they need {wanted}", x.shape))
            .with_argument("updates")
    })?;
    Ok(vec![x.clone()])
}

fn run_scatter_add(call: &mut Call) -> Result<(), Stop> {
    let (x, indices, updates, extent) = (call.input(0), Indices::new(call.input(1)), call.input(2), extent(call));
    copy::copy(x, &mut call.outputs[0], &mut call.work)?;
    let Extent { outer: groups, steps: places, inner } = extent;
    let targets = Targets { groups, count: indices.len(), places, inner };
    dispatch!(x.dtype(), T => {
        let output = call.outputs[0].elements::<T>();
        let place = |_: usize, number: usize| indices.get(number, places);
        index::scatter(&mut call.work, Join::Add, targets, place, updates.elements::<T>(), output)
    })
}

fn scatter_add_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (cotangent, indices) = (b.cotangent()?, b.inputs[1]);
    let attrs = [("axis", b.attrs.value("axis").clone()), ("fill", AttrValue::Float(0.0))];
    let to_updates = if b.wanted[2] { Some(b.graph.op("take", &attrs, &[cotangent, indices])?) } else { None };
    Ok(vec![Some(cotangent), None, to_updates])
}

fn infer_pick(infer: &mut Infer) -> Result<Vec<Spec>> {
    let (x, indices) = (infer.input(0)?, &infer.input(1)?.shape);
    let Some((_, leading)) = x.shape.split_last() else {
        return Err(Error::shape("x is a scalar, it has no last axis").with_argument("x"));
    };
    let shape = infer.unify_shapes(&Shape::new(leading.to_vec())?, indices).map_err(|_| {
        Error::shape(format!("indices have shape {indices}; with x {} they need all its dims but the last", x.shape))
            .with_argument("indices")
    })?;
    Ok(vec![Spec::new(x.dtype, shape)])
}

fn run_pick(call: &mut Call) -> Result<(), Stop> {
    let (x, indices) = (call.input(0), Indices::new(call.input(1)));
    let depth = x.sizes().last().copied().unwrap_or(0);
    dispatch_width!(x.dtype(), T => {
        let missing = fill::<T>(call);
        let output = call.outputs[0].elements::<T>();
        index::pick(&mut call.work, depth, x.elements::<T>(), indices, missing, output)
    })
}

fn pick_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (cotangent, indices) = (b.cotangent()?, b.inputs[1]);
    let depth = b.shape(0).last().cloned().ok_or_else(|| Error::internal("pick of a scalar"))?;
    Ok(vec![Some(b.graph.op("unpick", &[("depth", AttrValue::Dim(depth))], &[cotangent, indices])?), None])
}

/// The attr `depth`, which must not be negative.
fn depth(infer: &Infer) -> Result<Dim> {
    let depth = infer.attrs.dim("depth")?;
    match depth.upper_bound() {
        Some(..0) => Err(Error::argument(format!("depth is {depth}, which is negative")).with_argument("depth")),
        _ => Ok(depth),
    }
}

fn infer_unpick(infer: &mut Infer) -> Result<Vec<Spec>> {
    let (x, indices) = (infer.input(0)?, &infer.input(1)?.shape);
    let shape = infer.unify_shapes(&x.shape, indices).map_err(|_| {
        Error::shape(format!("indices have shape {indices}, x has {}", x.shape)).with_argument("indices")
    })?;
    let dims = shape.iter().cloned().chain([depth(infer)?]).collect();
    Ok(vec![Spec::new(x.dtype, Shape::new(dims)?)])
}

fn run_unpick(call: &mut Call) -> Result<(), Stop> {
    let (x, indices) = (call.input(0), Indices::new(call.input(1)));
    let depth = call.outputs[0].sizes().last().copied().unwrap_or(0);
    dispatch_width!(x.dtype(), T => {
        let output = call.outputs[0].elements::<T>();
        index::unpick(&mut call.work, depth, x.elements::<T>(), indices, output)
    })
}

fn unpick_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (cotangent, indices) = (b.cotangent()?, b.inputs[1]);
    Ok(vec![Some(b.graph.op("pick", &[("fill", AttrValue::Float(0.0))], &[cotangent, indices])?), None])
}

fn infer_one_hot(infer: &mut Infer) -> Result<Vec<Spec>> {
    let indices = &infer.input(0)?.shape;
    let dims = indices.iter().cloned().chain([depth(infer)?]).collect();
    Ok(vec![Spec::new(infer.attrs.dtype("dtype")?, Shape::new(dims)?)])
}

fn lower_one_hot(l: &mut Lowering) -> Result<Vec<Value>> {
    let (dtype, depth) = (l.attrs.dtype("dtype")?, l.attrs.dim("depth")?);
    let hot = hot(l.graph, l.inputs[0], depth)?;
    Ok(vec![l.graph.cast(hot, dtype)?])
}

/// Whether each place of a last axis of that size is the one of the index.
fn hot(graph: &mut Graph, indices: Value, depth: Dim) -> Result<Value> {
    let Spec { dtype, shape } = graph.spec(indices).clone();
    let attrs = [("shape", AttrValue::Dims(vec![depth])), ("dtype", AttrValue::DType(dtype))];
    let positions = graph.op("iota", &attrs, &[])?;
    let depth = graph.op("dim", &[("axis", AttrValue::Int(0))], &[positions])?;
    let depth = graph.cast(depth, dtype)?;
    let indices = column(graph, indices, &shape)?;
    let zero = graph.scalar(dtype, 0.0)?;
    let negative = graph.less(indices, zero)?;
    let from_end = graph.add(indices, depth)?;
    let indices = graph.select(negative, from_end, indices)?;
    graph.equal(indices, positions)
}

/// A value of that shape with a last axis of 1.
fn column(graph: &mut Graph, value: Value, shape: &Shape) -> Result<Value> {
    let column: Vec<Dim> = shape.iter().cloned().chain([crate::op::one()]).collect();
    graph.reshape(value, &column)
}

/// What unpick gives, by element-wise ops alone.
pub fn unpick_elementwise(graph: &mut Graph, attrs: &Attrs, x: Value, indices: Value) -> Result<Value> {
    let hot = hot(graph, indices, attrs.dim("depth")?)?;
    let Spec { dtype, shape } = graph.spec(x).clone();
    let (x, zero) = (column(graph, x, &shape)?, graph.scalar(dtype, 0.0)?);
    graph.select(hot, x, zero)
}

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "take",
        version: 1,
        doc: "Elements of x at indices along an axis, as NumPy's take: the axis is replaced by those of the indices. \
            An index in [-n, n) is normalised, any other gives `fill`.",
        dtypes: DTypes::ALL,
        inputs: &[InputDef::of("x"), INDICES],
        outputs: &["output"],
        attrs: &[AXIS, FILL],
        regions: &[],
        infer: infer_take,
        meaning: Meaning::Kernel(Kernel::dense(run_take)),
        vjp: Vjp::Rule(take_vjp),
        samples: &[
            Sample { inputs: &["T[5, 3]", "int64[4] in -5..4"], attrs: "{}" },
            Sample { inputs: &["T[2, 4, 3]", "int32[2, 2] in -4..3"], attrs: r#"{"axis": 1}"# },
            Sample { inputs: &["T[2, 4]", "int64[] in 0..3"], attrs: r#"{"axis": -1}"# },
            Sample { inputs: &["T[3]", "int32[6] in -6..6"], attrs: r#"{"fill": 0.0}"# },
        ],
    },
    OpDef {
        name: "scatter_add",
        version: 1,
        doc: "x plus updates at indices along an axis, the adjoint of take: updates have the shape that taking at the \
            indices gives. Updates of one element are added in the order of the indices, each sum rounded to the \
            dtype. An index in [-n, n) is normalised; updates of any other are dropped.",
        dtypes: DTypes::NUMERIC,
        inputs: &[InputDef::of("x"), INDICES, InputDef::of("updates")],
        outputs: &["output"],
        attrs: &[AXIS],
        regions: &[],
        infer: infer_scatter_add,
        meaning: Meaning::Kernel(Kernel::dense(run_scatter_add)),
        vjp: Vjp::Rule(scatter_add_vjp),
        samples: &[
            Sample { inputs: &["T[5, 3]", "int64[4] in -5..4", "T[4, 3]"], attrs: "{}" },
            Sample { inputs: &["T[2, 4, 3]", "int32[2, 3] in -6..6", "T[2, 2, 3, 3]"], attrs: r#"{"axis": 1}"# },
            Sample { inputs: &["T[3]", "int64[] in 0..2", "T[]"], attrs: r#"{"axis": -1}"# },
        ],
    },
    OpDef {
        name: "pick",
        version: 1,
        doc: "One element of each row: of x [..., n] at indices [...] along the last axis, as [...]. An index in [-n, \
            n) is normalised, any other gives `fill`.",
        dtypes: DTypes::ALL,
        inputs: &[InputDef::of("x"), PICKS],
        outputs: &["output"],
        attrs: &[FILL],
        regions: &[],
        infer: infer_pick,
        meaning: Meaning::Kernel(Kernel::dense(run_pick)),
        vjp: Vjp::Rule(pick_vjp),
        samples: &[
            Sample { inputs: &["T[4, 3]", "int64[4] in -3..2"], attrs: "{}" },
            Sample { inputs: &["T[2, 2, 5]", "int32[2, 2] in 0..4"], attrs: "{}" },
            Sample { inputs: &["T[6, 2]", "int32[6] in -4..4"], attrs: r#"{"fill": 0.0}"# },
        ],
    },
    OpDef {
        name: "unpick",
        version: 1,
        doc: "The adjoint of pick: zeros [..., depth], but for the element of each row that pick takes, which is x \
            [...]. An index in [-depth, depth) is normalised; x at any other is dropped.",
        dtypes: DTypes::ALL,
        inputs: &[InputDef::of("x"), PLACES],
        outputs: &["output"],
        attrs: &[required("depth", AttrType::Dim, "The size of the last axis of the output.")],
        regions: &[],
        infer: infer_unpick,
        meaning: Meaning::Kernel(Kernel::dense(run_unpick)),
        vjp: Vjp::Rule(unpick_vjp),
        samples: &[
            Sample { inputs: &["T[4]", "int64[4] in -3..2"], attrs: r#"{"depth": 3}"# },
            Sample { inputs: &["T[2, 3]", "int32[2, 3] in -6..6"], attrs: r#"{"depth": 4}"# },
        ],
    },
    OpDef {
        name: "one_hot",
        version: 1,
        doc: "Indices [...] as rows [..., depth] of zeros with a one at the index. An index in [-depth, depth) is \
            normalised; the row of any other is all zeros.",
        dtypes: DTypes::INDEX,
        inputs: &[InputDef::of("indices").checked(Check::Index(along_depth))],
        outputs: &["output"],
        attrs: &[
            required("depth", AttrType::Dim, "The size of the last axis."),
            defaulted("dtype", AttrType::DType, "\"float32\"", "The dtype of the output."),
        ],
        regions: &[],
        infer: infer_one_hot,
        meaning: Meaning::Lower(lower_one_hot),
        vjp: Vjp::NotDifferentiable("its input is an integer"),
        samples: &[
            Sample { inputs: &["T[4] in -3..4"], attrs: r#"{"depth": 3}"# },
            Sample { inputs: &["T[2, 2] in 0..3"], attrs: r#"{"depth": 4, "dtype": "bool"}"# },
        ],
    },
];

#[cfg(test)]
mod tests {
    use crate::ops::testing::check;

    #[test]
    fn shapes_are_inferred_and_refused() {
        check(
            "take",
            &[
                (r#"{"axis": 1}"#, &["float32[2, n, 3]", "int64[m, 4]"], "float32[2, m, 4, 3]"),
                ("{}", &["float32[5]", "int32[]"], "float32[]"),
                ("{}", &["float32[]", "int32[]"], "take: axis 0 is out of range for rank 0"),
                ("{}", &["float32[5]", "uint8[2]"], "take: indices is uint8; it can be int32, int64"),
            ],
        );
        check(
            "scatter_add",
            &[
                ("{}", &["float32[5, 3]", "int64[n]", "float32[n, 3]"], "float32[5, 3]"),
                (
                    "{}",
                    &["float32[5, 3]", "int64[4]", "float32[3, 3]"],
                    "scatter_add: updates have shape [3, 3]; with x [5, 3] they need [4, 3]",
                ),
            ],
        );
        check(
            "pick",
            &[
                ("{}", &["float32[n, 10]", "int64[n]"], "float32[n]"),
                (
                    "{}",
                    &["float32[4, 10]", "int64[3]"],
                    "pick: indices have shape [3]; with x [4, 10] they need all its dims but the last",
                ),
                ("{}", &["float32[]", "int64[]"], "pick: x is a scalar, it has no last axis"),
            ],
        );
        check("unpick", &[(r#"{"depth": "m"}"#, &["float32[n]", "int64[n]"], "float32[n, m]")]);
        check(
            "one_hot",
            &[
                (r#"{"depth": 10}"#, &["int32[n]"], "float32[n, 10]"),
                (r#"{"depth": -1}"#, &["int32[n]"], "one_hot: depth is -1, which is negative"),
            ],
        );
    }
}
