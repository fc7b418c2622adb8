//! Slices of tensors by tuples of indices: read, or written.

use super::index::{FILL, INDICES, fill};
use super::movement::defaulted;
use crate::attrs::{AttrDef, AttrType, AttrValue, Attrs};
use crate::cpu::call::Call;
use crate::cpu::copy;
use crate::cpu::index::{self, Join, Targets, Tuples};
use crate::cpu::work::Stop;
use crate::dtype::{DType, DTypes};
use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::infer::Infer;
use crate::op::{
    Backward, Bound, Check, InputDef, Kernel, Lowering, Meaning, OpDef, Sample, Spec, Vjp, normalize_axis,
};
use crate::shape::{Dim, Shape, broadcast};
use crate::{dispatch, dispatch_width};
use std::cmp::Ordering;

const BATCH_DIMS: AttrDef = defaulted(
    "batch_dims",
    AttrType::Int,
    "0",
    "How many leading axes x and the indices share: each of their places has its own indices.",
);

/// Tuples of indices: one for each axis of x after those that both share.
const TUPLES: InputDef = InputDef::in_set("indices", DTypes::INDEX).checked(Check::Index(along_tuple));

fn along_tuple(attrs: &Attrs, inputs: &[&[usize]]) -> Vec<Bound> {
    let (batch, tuple) = (batch_dims(attrs), inputs[1].last().copied().unwrap_or(0));
    let axes = inputs[0].iter().enumerate().skip(batch).take(tuple);
    axes.map(|(axis, &size)| Bound::of_axis(axis, size)).collect()
}

/// The attr `batch_dims`.
fn batch_dims(attrs: &Attrs) -> usize {
    attrs.int("batch_dims").ok().and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
}

/// How many leading axes x and indices share, and how many axes of x after those a tuple of indices is for.
fn split(infer: &Infer) -> Result<(usize, usize)> {
    let (x, indices) = (&infer.input(0)?.shape, &infer.input(1)?.shape);
    let count = infer.attrs.int("batch_dims")?;
    let Some((tuple, _)) = indices.split_last() else {
        return Err(Error::shape("indices is a scalar; its last axis holds an index for each axis of x")
            .with_argument("indices"));
    };
    let fits = |batch: &usize| *batch <= x.rank() && *batch < indices.rank();
    let batch = usize::try_from(count).ok().filter(fits).ok_or_else(|| {
        let text = format!("batch_dims is {count}; x has shape {}, indices have {indices}", x);
        Error::argument(text).with_argument("batch_dims")
    })?;
    match tuple.as_constant().and_then(|tuple| usize::try_from(tuple).ok()) {
        Some(tuple) if tuple <= x.rank() - batch => Ok((batch, tuple)),
        _ => Err(Error::shape(format!(
            "indices have shape {indices}: the last dim is an index for each of the first axes of x {x} after \
            {batch} batch dims, so it is an integer of at most {}",
            x.rank() - batch
        ))
        .with_argument("indices")),
    }
}

/// The shape that `gather` gives, and `scatter` wants of its updates.
fn gathered(infer: &mut Infer) -> Result<Shape> {
    let (batch, tuple) = split(infer)?;
    let (x, indices) = (&infer.input(0)?.shape, &infer.input(1)?.shape);
    let mut dims = Vec::new();
    for axis in 0..batch {
        dims.push(infer.unify(&x[axis], &indices[axis]).map_err(|_| {
            let text = format!("indices have shape {indices}, x has {x}: they differ at batch axis {axis}");
            Error::shape(text).with_argument("indices")
        })?);
    }
    dims.extend(indices[batch..indices.rank() - 1].iter().cloned());
    dims.extend(x[batch + tuple..].iter().cloned());
    Shape::new(dims)
}

fn infer_gather(infer: &mut Infer) -> Result<Vec<Spec>> {
    let shape = gathered(infer)?;
    Ok(vec![Spec::new(infer.input(0)?.dtype, shape)])
}

/// How the places of a call's first input are counted.
struct Places<'a> {
    tuples: Tuples<'a>,
    /// The product of the batch axes.
    groups: usize,
    /// Tuples of each.
    count: usize,
    /// Places that a tuple may name.
    places: usize,
    /// Elements of each place.
    inner: usize,
}

impl<'a> Places<'a> {
    fn new(call: &Call<'a>) -> Places<'a> {
        let (sizes, indices) = (call.input(0).sizes(), call.input(1));
        let batch = batch_dims(call.attrs);
        let (leading, tuple) = indices.sizes().split_at(indices.sizes().len() - 1);
        let (named, inner) = sizes[batch..].split_at(tuple[0]);
        // Beside an axis without elements the others may have any size.
        let product = |sizes: &[usize]| sizes.iter().fold(1, |product: usize, &size| product.saturating_mul(size));
        Places {
            tuples: Tuples::new(indices, named),
            groups: product(&sizes[..batch]),
            count: product(&leading[batch..]),
            places: product(named),
            inner: product(inner),
        }
    }
}

fn run_gather(call: &mut Call) -> Result<(), Stop> {
    let (x, at) = (call.input(0), Places::new(call));
    dispatch_width!(x.dtype(), T => {
        let missing = fill::<T>(call);
        let output = call.outputs[0].elements::<T>();
        let rows = (at.groups.saturating_mul(at.count), at.inner);
        index::gather(&mut call.work, rows, x.elements::<T>(), missing, output, |row| {
            at.tuples.get(row).map(|place| row / at.count * at.places + place)
        })
    })
}

/// Applies `gather` with zeros for what is outside.
fn gather_or_zero(b: &mut Backward, x: Value) -> Result<Value> {
    let attrs = [("batch_dims", b.attrs.value("batch_dims").clone()), ("fill", AttrValue::Float(0.0))];
    b.graph.op("gather", &attrs, &[x, b.inputs[1]])
}

/// Applies `scatter` at the indices of a rule's op.
fn scattered(b: &mut Backward, x: Value, updates: Value, mode: &str) -> Result<Value> {
    let attrs = [("batch_dims", b.attrs.value("batch_dims").clone()), ("mode", AttrValue::Text(mode.into()))];
    b.graph.op("scatter", &attrs, &[x, b.inputs[1], updates])
}

fn gather_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (cotangent, shape) = (b.cotangent()?, b.shape(0));
    let zeros = b.graph.full(b.graph.spec(cotangent).dtype, &shape, 0.0)?;
    Ok(vec![Some(scattered(b, zeros, cotangent, "add")?), None])
}

/// How `scatter` joins an update to what is there.
fn join(attrs: &Attrs) -> Result<Join> {
    let mode = attrs.text("mode")?;
    match &*mode {
        "set" => Ok(Join::Set),
        "add" => Ok(Join::Add),
        "max" => Ok(Join::Max),
        "min" => Ok(Join::Min),
        _ => Err(Error::argument(format!("mode is {mode:?}; it can be set, add, max or min")).with_argument("mode")),
    }
}

fn infer_scatter(infer: &mut Infer) -> Result<Vec<Spec>> {
    join(infer.attrs)?;
    let (x, wanted) = (infer.input(0)?, gathered(infer)?);
    let (updates, indices) = (&infer.input(2)?.shape, &infer.input(1)?.shape);
    infer.unify_shapes(updates, &wanted).map_err(|_| {
        let text = format!("updates have shape {updates}; with x {} and indices {indices} they need {wanted}", x.shape);
        Error::shape(text).with_argument("updates")
    })?;
    Ok(vec![x.clone()])
}

fn run_scatter(call: &mut Call) -> Result<(), Stop> {
    let (x, updates, at) = (call.input(0), call.input(2), Places::new(call));
    copy::copy(x, &mut call.outputs[0], &mut call.work)?;
    let join = match join(call.attrs) {
        // The sum of two bools is whether either is true.
        Ok(Join::Add) if x.dtype() == DType::Bool => Join::Max,
        Ok(join) => join,
        Err(_) => unreachable!("infer has checked the mode"),
    };
    let targets = Targets { groups: at.groups, count: at.count, places: at.places, inner: at.inner };
    dispatch!(x.dtype(), T => {
        let output = call.outputs[0].elements::<T>();
        let place = |group: usize, number: usize| at.tuples.get(group * at.count + number);
        index::scatter(&mut call.work, join, targets, place, updates.elements::<T>(), output)
    })
}

fn scatter_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let cotangent = b.cotangent()?;
    match join(b.attrs)? {
        Join::Add => {
            let to_updates = if b.wanted[2] { Some(gather_or_zero(b, cotangent)?) } else { None };
            Ok(vec![Some(cotangent), None, to_updates])
        }
        Join::Set => {
            let to_x = if b.wanted[0] {
                let zeros = b.graph.full_like(b.inputs[2], 0.0)?;
                Some(scattered(b, cotangent, zeros, "set")?)
            } else {
                None
            };
            let to_updates = if b.wanted[2] { Some(to_last_updates(b, cotangent)?) } else { None };
            Ok(vec![to_x, None, to_updates])
        }
        Join::Max | Join::Min => extremes_vjp(b, cotangent),
    }
}

/// The cotangent of each update that no later one has overwritten: numbers that are set in place of the updates are
/// still there.
fn to_last_updates(b: &mut Backward, cotangent: Value) -> Result<Value> {
    let (x, indices) = (b.shape(0), b.graph.spec(b.inputs[1]).shape.clone());
    let batch = batch_dims(b.attrs);
    let tuple = indices.last().and_then(Dim::as_constant).and_then(|tuple| usize::try_from(tuple).ok());
    let tuple = tuple.ok_or_else(|| Error::internal("a tuple of indices without a length"))?;
    let leading = Shape::new(indices[..indices.rank() - 1].to_vec())?;
    let own = Shape::new(leading[batch..].to_vec())?;
    let attrs = [("shape", AttrValue::Dims(vec![own.elements()?])), ("dtype", AttrValue::DType(DType::I64))];
    let numbers = b.graph.op("iota", &attrs, &[])?;
    let numbers = b.graph.reshape(numbers, &own)?;
    let numbers = b.graph.broadcast_to(numbers, &leading)?;
    let nobody = b.graph.full(DType::I64, &Shape::new(x[..batch + tuple].to_vec())?, -1.0)?;
    let winners = scattered(b, nobody, numbers, "set")?;
    let winners = gather_or_zero(b, winners)?;
    let wins = b.graph.equal(winners, numbers)?;
    let part = gather_or_zero(b, cotangent)?;
    let part_shape = b.graph.spec(part).shape.clone();
    let column = leading.iter().cloned().chain((leading.rank()..part_shape.rank()).map(|_| Dim::constant(1)));
    let wins = b.graph.reshape(wins, &column.collect::<Vec<_>>())?;
    let zero = b.graph.scalar_like(part, 0.0)?;
    b.graph.select(wins, part, zero)
}

/// Of x and the updates of an element those that are equal to the result share its cotangent equally.
fn extremes_vjp(b: &mut Backward, cotangent: Value) -> Result<Vec<Option<Value>>> {
    let (x, updates, output) = (b.inputs[0], b.inputs[2], b.outputs[0]);
    let dtype = b.graph.spec(x).dtype;
    let kept = b.graph.equal(x, output)?;
    let result = gather_or_zero(b, output)?;
    let taken = b.graph.equal(updates, result)?;
    let counts = b.graph.cast(kept, dtype.compute())?;
    let more = b.graph.cast(taken, dtype.compute())?;
    let counts = scattered(b, counts, more, "add")?;
    // Nothing is equal to NaN.
    let one = b.graph.scalar_like(counts, 1.0)?;
    let counts = b.graph.maximum(counts, one)?;
    let wide = b.graph.cast(cotangent, dtype.compute())?;
    let share = b.graph.div(wide, counts)?;
    let share = b.graph.cast(share, dtype)?;
    let zero = b.graph.scalar_like(share, 0.0)?;
    let to_x = b.graph.select(kept, share, zero)?;
    let shares = gather_or_zero(b, share)?;
    let to_updates = b.graph.select(taken, shares, zero)?;
    Ok(vec![Some(to_x), None, Some(to_updates)])
}

/// The order of axes in which `axis` is the last, and the order that undoes it; None if it is.
fn to_last(axis: usize, rank: usize) -> Option<(Vec<i64>, Vec<i64>)> {
    if axis + 1 == rank {
        return None;
    }
    let order = (0..rank).filter(|&other| other != axis).chain([axis]).map(|axis| axis as i64).collect();
    let back = (0..rank as i64).map(|place| match place.cmp(&(axis as i64)) {
        Ordering::Less => place,
        Ordering::Equal => rank as i64 - 1,
        Ordering::Greater => place - 1,
    });
    Some((order, back.collect()))
}

/// Zeros of a shape, with values added at indices along an axis: the adjoint of `take_along_axis`.
pub(super) fn put_along_axis(
    graph: &mut Graph,
    shape: &Shape,
    axis: usize,
    indices: Value,
    values: Value,
) -> Result<Value> {
    let orders = to_last(axis, shape.rank());
    let moved = |graph: &mut Graph, value: Value| match &orders {
        Some((order, _)) => graph.transpose(value, order),
        None => Ok(value),
    };
    let (indices, values) = (moved(graph, indices)?, moved(graph, values)?);
    let mut dims: Vec<Dim> =
        shape.iter().enumerate().filter(|(other, _)| *other != axis).map(|(_, d)| d.clone()).collect();
    dims.push(shape[axis].clone());
    let zeros = graph.full(graph.spec(values).dtype, &Shape::new(dims)?, 0.0)?;
    let indices = as_tuples(graph, indices)?;
    let attrs = [("batch_dims", AttrValue::Int(shape.rank() as i64 - 1)), ("mode", AttrValue::Text("add".into()))];
    let output = graph.op("scatter", &attrs, &[zeros, indices, values])?;
    match &orders {
        Some((_, back)) => graph.transpose(output, back),
        None => Ok(output),
    }
}

/// Indices as tuples of one.
fn as_tuples(graph: &mut Graph, indices: Value) -> Result<Value> {
    let dims: Vec<Dim> = graph.spec(indices).shape.iter().cloned().chain([Dim::constant(1)]).collect();
    graph.reshape(indices, &dims)
}

/// The shapes of x and of the indices of `take_along_axis`, their axes but one broadcast.
fn along_axis(infer: &mut Infer) -> Result<(usize, Shape, Shape)> {
    let (x, indices) = (&infer.input(0)?.shape, &infer.input(1)?.shape);
    if x.rank() != indices.rank() {
        let text = format!("indices have shape {indices}, x has {x}: they differ in rank");
        return Err(Error::shape(text).with_argument("indices"));
    }
    let axis = normalize_axis(infer.attrs.int("axis")?, x.rank())?;
    aligned(x, indices, axis, |a, b| infer.broadcast(a, b)).map(|(x, indices)| (axis, x, indices)).map_err(|_| {
        let text = format!("indices {indices} and x {x} cannot be broadcast together beside axis {axis}");
        Error::shape(text).with_argument("indices")
    })
}

fn aligned(
    x: &Shape,
    indices: &Shape,
    axis: usize,
    mut broadcast: impl FnMut(&Shape, &Shape) -> Result<Shape>,
) -> Result<(Shape, Shape)> {
    let with = |shape: &Shape, size: &Dim| -> Result<Shape> {
        Shape::new(shape.iter().enumerate().map(|(at, dim)| if at == axis { size } else { dim }).cloned().collect())
    };
    let one = Dim::constant(1);
    let both = broadcast(&with(x, &one)?, &with(indices, &one)?)?;
    Ok((with(&both, &x[axis])?, with(&both, &indices[axis])?))
}

fn infer_take_along_axis(infer: &mut Infer) -> Result<Vec<Spec>> {
    let (_, _, shape) = along_axis(infer)?;
    Ok(vec![Spec::new(infer.input(0)?.dtype, shape)])
}

fn lower_take_along_axis(l: &mut Lowering) -> Result<Vec<Value>> {
    let (x, indices) = (l.shape(0), l.shape(1));
    let axis = normalize_axis(l.attrs.int("axis")?, x.rank())?;
    let (x, indices) = aligned(&x, &indices, axis, |a, b| broadcast(a, b, &mut Vec::new()))?;
    let graph = &mut *l.graph;
    let mut values = [graph.broadcast_to(l.inputs[0], &x)?, graph.broadcast_to(l.inputs[1], &indices)?];
    let orders = to_last(axis, x.rank());
    if let Some((order, _)) = &orders {
        values = [graph.transpose(values[0], order)?, graph.transpose(values[1], order)?];
    }
    let tuples = as_tuples(graph, values[1])?;
    let attrs = [("batch_dims", AttrValue::Int(x.rank() as i64 - 1)), ("fill", l.attrs.value("fill").clone())];
    let output = graph.op("gather", &attrs, &[values[0], tuples])?;
    Ok(vec![match &orders {
        Some((_, back)) => graph.transpose(output, back)?,
        None => output,
    }])
}

const GATHERED: &[Sample] = &[
    Sample { inputs: &["T[5, 3]", "int64[4, 1] in -5..4"], attrs: "{}" },
    Sample { inputs: &["T[3, 4, 2]", "int32[2, 3, 2] in -3..2"], attrs: "{}" },
    Sample { inputs: &["T[2, 4, 3]", "int64[2, 5, 1] in -4..3"], attrs: r#"{"batch_dims": 1}"# },
    Sample { inputs: &["T[2, 3, 4]", "int64[2, 3, 2, 1] in 0..3"], attrs: r#"{"batch_dims": 2}"# },
    Sample { inputs: &["T[2, 3]", "int64[2] in 0..1"], attrs: "{}" },
    Sample { inputs: &["T[3]", "int64[6, 1] in -6..6"], attrs: r#"{"fill": 0.0}"# },
    Sample { inputs: &["T[2, 3]", "int32[2, 0]"], attrs: "{}" },
];

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "gather",
        version: 1,
        doc: "Slices of x at tuples of indices: x [batch..., d1, ..., dk, rest...] at indices [batch..., n..., k] is \
            [batch..., n..., rest...].\n\
            The last axis of the indices holds an index for each of the first k axes of x after the batch axes. An \
            index in [-d, d) is normalised; a tuple with any other gives `fill`.",
        dtypes: DTypes::ALL,
        inputs: &[InputDef::of("x"), TUPLES],
        outputs: &["output"],
        attrs: &[BATCH_DIMS, FILL],
        regions: &[],
        infer: infer_gather,
        meaning: Meaning::Kernel(Kernel::dense(run_gather)),
        vjp: Vjp::Rule(gather_vjp),
        samples: GATHERED,
    },
    OpDef {
        name: "scatter",
        version: 1,
        doc: "x with updates at tuples of indices, which are those of gather; updates have the shape that gathering \
            gives.\n\
            By `mode` an update takes the place of what is there (`set`), is added to it (`add`; each sum is rounded \
            to the dtype, that of bools is whether either is true), or is taken if it is greater (`max`) or less \
            (`min`); NaN is taken. Updates of one place are applied in row-major order, so the last is set. An index \
            in [-d, d) is normalised; updates of tuples with any other are dropped. The gradient of `set` goes to the \
            last update, that of `max` and `min` is shared equally by all that are equal to the result, x among them.",
        dtypes: DTypes::ALL,
        inputs: &[InputDef::of("x"), TUPLES, InputDef::of("updates")],
        outputs: &["output"],
        attrs: &[defaulted("mode", AttrType::Text, "\"set\"", "`set`, `add`, `max` or `min`."), BATCH_DIMS],
        regions: &[],
        infer: infer_scatter,
        meaning: Meaning::Kernel(Kernel::dense(run_scatter)),
        vjp: Vjp::Rule(scatter_vjp),
        samples: &[
            Sample { inputs: &["T[5, 3]", "int64[7, 1] in -6..5", "T[7, 3]"], attrs: "{}" },
            Sample { inputs: &["T[3, 4, 2]", "int32[2, 3, 2] in -4..3", "T[2, 3, 2]"], attrs: r#"{"mode": "add"}"# },
            Sample {
                inputs: &["T[2, 4, 3]", "int64[2, 5, 1] in -4..3", "T[2, 5, 3]"],
                attrs: r#"{"mode": "max", "batch_dims": 1}"#,
            },
            Sample { inputs: &["T[4]", "int64[9, 1] in -6..5", "T[9]"], attrs: r#"{"mode": "min"}"# },
            Sample {
                inputs: &["T[2, 3]", "int64[2, 4, 1] in -3..2", "T[2, 4]"],
                attrs: r#"{"mode": "set", "batch_dims": 1}"#,
            },
            Sample { inputs: &["T[2, 3]", "int64[2] in 0..1", "T[]"], attrs: r#"{"mode": "add"}"# },
            Sample { inputs: &["T[2, 3]", "int32[2, 0]", "T[2, 2, 3]"], attrs: "{}" },
        ],
    },
    OpDef {
        name: "take_along_axis",
        version: 1,
        doc: "Elements of x at indices of the same rank, each along an axis, as NumPy's take_along_axis: the other \
            axes are broadcast. An index in [-n, n) is normalised, any other gives `fill`.",
        dtypes: DTypes::ALL,
        inputs: &[InputDef::of("x"), INDICES],
        outputs: &["output"],
        attrs: &[defaulted("axis", AttrType::Int, "-1", "The axis of x that the indices count along."), FILL],
        regions: &[],
        infer: infer_take_along_axis,
        meaning: Meaning::Lower(lower_take_along_axis),
        vjp: Vjp::Lowered,
        samples: &[
            Sample { inputs: &["T[2, 5]", "int64[2, 3] in -5..4"], attrs: "{}" },
            Sample { inputs: &["T[4, 1, 3]", "int32[2, 2, 1] in -4..3"], attrs: r#"{"axis": 0}"# },
            Sample { inputs: &["T[2, 3, 2]", "int64[2, 4, 2] in -4..4"], attrs: r#"{"axis": 1, "fill": 0.0}"# },
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::to_last;
    use crate::ops::testing::check;

    #[test]
    fn orders_of_axes_undo_each_other() {
        for rank in 1..6 {
            for axis in 0..rank {
                let Some((order, back)) = to_last(axis, rank) else {
                    assert_eq!(axis, rank - 1);
                    continue;
                };
                assert_eq!(order[rank - 1], axis as i64);
                assert!((0..rank).all(|place| order[back[place] as usize] == place as i64), "{axis} of {rank}");
            }
        }
    }

    #[test]
    fn shapes_are_inferred_and_refused() {
        check(
            "gather",
            &[
                ("{}", &["float32[n, m, 3]", "int64[k, 2]"], "float32[k, 3]"),
                (r#"{"batch_dims": 1}"#, &["float32[b, m, 3]", "int32[b, 4, 5, 1]"], "float32[b, 4, 5, 3]"),
                (
                    "{}",
                    &["float32[n]", "int64[]"],
                    "gather: indices is a scalar; its last axis holds an index for each axis of x",
                ),
                (
                    "{}",
                    &["float32[n]", "int64[4, 2]"],
                    "gather: indices have shape [4, 2]: the last dim is an index for each of the first axes of x [n] \
                    after 0 batch dims, so it is an integer of at most 1",
                ),
                (
                    r#"{"batch_dims": 1}"#,
                    &["float32[2, 3]", "int64[4, 1]"],
                    "gather: indices have shape [4, 1], x has [2, 3]: they differ at batch axis 0",
                ),
                (
                    r#"{"batch_dims": 2}"#,
                    &["float32[2, 3]", "int64[4, 1]"],
                    "gather: batch_dims is 2; x has shape [2, 3], indices have [4, 1]",
                ),
            ],
        );
        check(
            "scatter",
            &[
                (r#"{"mode": "add"}"#, &["float32[n, 3]", "int64[k, 1]", "float32[k, 3]"], "float32[n, 3]"),
                (
                    "{}",
                    &["float32[5, 3]", "int64[4, 1]", "float32[4]"],
                    "scatter: updates have shape [4]; with x [5, 3] and indices [4, 1] they need [4, 3]",
                ),
                (
                    r#"{"mode": "mul"}"#,
                    &["float32[5]", "int64[4, 1]", "float32[4]"],
                    "scatter: mode is \"mul\"; it can be set, add, max or min",
                ),
            ],
        );
        check(
            "take_along_axis",
            &[
                ("{}", &["float32[n, 5]", "int64[n, 3]"], "float32[n, 3]"),
                (r#"{"axis": 0}"#, &["float32[5, 1]", "int64[k, m]"], "float32[k, m]"),
                (
                    "{}",
                    &["float32[2, 5]", "int64[3, 3]"],
                    "take_along_axis: indices [3, 3] and x [2, 5] cannot be broadcast together beside axis 1",
                ),
                (
                    "{}",
                    &["float32[5]", "int64[3, 3]"],
                    "take_along_axis: indices have shape [3, 3], x has [5]: they differ in rank",
                ),
            ],
        );
    }
}
