//! Ops that take parts of tensors, or put tensors together.

use super::movement::{defaulted, moving, required, shape_attr};
use crate::attrs::{AttrDef, AttrType, AttrValue, Attrs};
use crate::cpu::call::{Call, Layout, List, dense_strides};
use crate::cpu::copy;
use crate::cpu::work::Stop;
use crate::dispatch_width;
use crate::dtype::{DType, DTypes};
use crate::error::{Error, Result};
use crate::graph::Value;
use crate::infer::Infer;
use crate::op::{
    Backward, InputDef, Kernel, Lowering, Meaning, OpDef, Sample, Spec, Vjp, normalize_axes, normalize_axis,
};
use crate::shape::{Dim, Shape};
use smallvec::smallvec;

const X: &[InputDef] = &[InputDef::of("x")];

/// In `slice`: from the first or to the last element, whatever the size and the sign of the step.
const END: i64 = i64::MAX;
const BEFORE: i64 = i64::MIN;

fn infer_concat(infer: &mut Infer) -> Result<Vec<Spec>> {
    let first = infer.input(0)?;
    let axis = normalize_axis(infer.attrs.int("axis")?, first.shape.rank())?;
    let mut dims = first.shape.to_vec();
    for spec in infer.inputs.iter().flatten().skip(1) {
        let (whole, shape) = (&first.shape, &spec.shape);
        if shape.rank() != whole.rank() {
            return Err(Error::shape(format!("shapes {whole} and {shape} differ in rank")).with_argument("values"));
        }
        for other in 0..dims.len() {
            dims[other] = if other == axis {
                dims[axis].add(&shape[axis])?
            } else {
                infer.unify(&dims[other], &shape[other]).map_err(|_| {
                    Error::shape(format!("shapes {whole} and {shape} differ at axis {other}, not only at axis {axis}"))
                        .with_argument("values")
                })?
            };
        }
    }
    Ok(vec![Spec::new(first.dtype, Shape::new(dims)?)])
}

fn run_concat(call: &mut Call) -> Result<(), Stop> {
    let sizes = call.outputs[0].sizes();
    let strides = dense_strides(sizes);
    let axis = call.attrs.int("axis").and_then(|axis| normalize_axis(axis, sizes.len())).unwrap_or(0);
    let mut offset = 0;
    for view in call.inputs.iter().flatten() {
        let to = Layout { dtype: view.dtype(), sizes: view.sizes().into(), strides: strides.clone(), offset };
        dispatch_width!(view.dtype(), T => {
            let output = call.outputs[0].elements::<T>();
            copy::place(&mut call.work, view.layout(), view.elements::<T>(), output, Some(&to))?;
        });
        offset += view.sizes()[axis] * strides[axis] as usize;
    }
    Ok(())
}

fn concat_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let cotangent = b.cotangent()?;
    let whole = b.output_shape(0);
    let axis = normalize_axis(b.attrs.int("axis")?, whole.rank())?;
    let mut offset = Dim::constant(0);
    let mut results = Vec::new();
    for index in 0..b.inputs.len() {
        let next = offset.add(&b.shape(index)[axis])?;
        let part = if b.wanted[index] { Some(section(b, cotangent, axis, &offset, &next)?) } else { None };
        results.push(part);
        offset = next;
    }
    Ok(results)
}

/// The elements from `start` to before `stop` of one axis.
fn section(b: &mut Backward, x: Value, axis: usize, start: &Dim, stop: &Dim) -> Result<Value> {
    let rank = b.graph.spec(x).shape.rank();
    let along = |at: &Dim, other: i64| (0..rank).map(|a| if a == axis { at.clone() } else { other.into() }).collect();
    let (starts, stops) = (AttrValue::Dims(along(start, 0)), AttrValue::Dims(along(stop, END)));
    b.graph.op("slice", &[("start", starts), ("stop", stops)], &[x])
}

/// Where a slice of an axis of known size starts, how many elements it has, and its step: Python's rules.
fn interval(size: usize, start: i64, stop: i64, step: i64) -> (i64, usize, i64) {
    let size = i128::from(size as u64);
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let bound = |at: i64| {
        let at = i128::from(at);
        (if at < 0 { at + size } else { at }).clamp(low, high)
    };
    let (start, stop, step) = (bound(start), bound(stop), i128::from(step));
    let span = if step > 0 { stop - start } else { start - stop };
    let count = if span > 0 { (span - 1) / step.abs() + 1 } else { 0 };
    (start as i64, count as usize, step as i64)
}

/// [`interval`] for a dim: the number of elements.
///
/// # Errors
/// `argument`: start or stop has a symbol and may be negative.
fn sliced_dim(dim: &Dim, start: &Dim, stop: &Dim, step: i64) -> Result<Dim> {
    if let (Some(size), Some(start), Some(stop)) = (dim.as_constant(), start.as_constant(), stop.as_constant()) {
        let (_, count, _) = interval(usize::try_from(size).unwrap_or(0), start, stop, step);
        return Ok(Dim::constant(count as i64));
    }
    let low = Dim::constant(if step > 0 { 0 } else { -1 });
    let high = dim.add(&low)?;
    let bound = |name: &str, at: &Dim| match (at.as_constant(), at.lower_bound()) {
        (Some(END), _) => Ok(high.clone()),
        (Some(BEFORE), _) => Ok(low.clone()),
        (Some(at), _) if at < 0 => dim.add(&Dim::constant(at))?.max(&low),
        (_, Some(0..)) => at.min(&high),
        _ => Err(Error::argument(format!("{name} {at} may be negative; write max({at}, 0)")).with_argument(name)),
    };
    let (start, stop) = (bound("start", start)?, bound("stop", stop)?);
    let span = if step > 0 { stop.sub(&start)? } else { start.sub(&stop)? };
    let step = i64::try_from(step.unsigned_abs()).unwrap_or(i64::MAX);
    span.add(&Dim::constant(step - 1))?.floordiv(&Dim::constant(step))?.max(&Dim::constant(0))
}

/// The attrs start, stop and step of a slice, one each for `rank` axes.
struct Bounds {
    start: List<Dim>,
    stop: List<Dim>,
    step: List<i64>,
}

impl Bounds {
    /// # Errors
    /// `argument`: not `rank` many; a step of 0.
    fn new(attrs: &Attrs, rank: usize) -> Result<Bounds> {
        let step = attrs.int_list("step").map_or_else(|| smallvec![1; rank], List::from_slice);
        let whole =
            |up: i64, down: i64| step.iter().map(|&step| Dim::constant(if step < 0 { down } else { up })).collect();
        let start = attrs.dim_list("start").map_or_else(|| whole(0, END), List::from);
        let stop = attrs.dim_list("stop").map_or_else(|| whole(END, BEFORE), List::from);
        for (name, len) in [("start", start.len()), ("stop", stop.len()), ("step", step.len())] {
            if len != rank {
                let text = format!("{name} has {len} entries for rank {rank}");
                return Err(Error::argument(text).with_argument(name));
            }
        }
        if step.contains(&0) {
            return Err(Error::argument("a step of 0 goes nowhere").with_argument("step"));
        }
        Ok(Bounds { start, stop, step })
    }

    /// The dims of a slice of `shape`.
    fn sliced(&self, shape: &Shape) -> Result<Shape> {
        let sliced = |axis: usize| sliced_dim(&shape[axis], &self.start[axis], &self.stop[axis], self.step[axis]);
        Shape::new((0..shape.rank()).map(sliced).collect::<Result<_>>()?)
    }

    /// The slice as a view of `x`.
    fn view(&self, x: &Layout) -> Layout {
        let mut view = x.clone();
        for axis in 0..x.sizes.len() {
            let known = |dim: &Dim| dim.as_constant().unwrap_or(0);
            let (start, stop) = (known(&self.start[axis]), known(&self.stop[axis]));
            let (start, count, step) = interval(x.sizes[axis], start, stop, self.step[axis]);
            view.sizes[axis] = count;
            if count > 0 {
                view.offset = view.offset.wrapping_add_signed(start as isize * x.strides[axis]);
            }
            view.strides[axis] = if count > 1 { x.strides[axis].wrapping_mul(step as isize) } else { x.strides[axis] };
        }
        view
    }
}

fn infer_slice(infer: &mut Infer) -> Result<Vec<Spec>> {
    let x = infer.input(0)?;
    let bounds = Bounds::new(infer.attrs, x.shape.rank())?;
    Ok(vec![Spec::new(x.dtype, bounds.sliced(&x.shape)?)])
}

pub(crate) fn view_slice(attrs: &Attrs, x: &Layout, _: &[usize]) -> Layout {
    match Bounds::new(attrs, x.sizes.len()) {
        Ok(bounds) => bounds.view(x),
        Err(_) => unreachable!("infer has checked start, stop and step"),
    }
}

/// The attrs of a slice, for its adjoint and back.
fn bounds_attrs(attrs: &Attrs) -> Vec<(&'static str, AttrValue)> {
    ["start", "stop", "step"].into_iter().map(|name| (name, attrs.value(name).clone())).collect()
}

fn slice_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let mut attrs = bounds_attrs(b.attrs);
    attrs.push(("shape", AttrValue::Dims(b.shape(0).into_dims())));
    let cotangent = b.cotangent()?;
    Ok(vec![Some(b.graph.op("unslice", &attrs, &[cotangent])?)])
}

fn infer_unslice(infer: &mut Infer) -> Result<Vec<Spec>> {
    let x = infer.input(0)?;
    let shape = shape_attr(infer.attrs)?;
    let sliced = Bounds::new(infer.attrs, shape.rank())?.sliced(&shape)?;
    infer.unify_shapes(&x.shape, &sliced).map_err(|_| {
        Error::shape(format!("x has shape {}, the slice of {shape} has {sliced}", x.shape)).with_argument("x")
    })?;
    Ok(vec![Spec::new(x.dtype, shape)])
}

fn run_unslice(call: &mut Call) -> Result<(), Stop> {
    let x = call.input(0);
    let to = view_slice(call.attrs, &Layout::dense(x.dtype(), call.outputs[0].sizes()), &[]);
    dispatch_width!(x.dtype(), T => {
        let output = call.outputs[0].elements::<T>();
        if planted!("kernel: memory is taken for zeros", true, false) {
            copy::fill(&mut call.work, output, 0)?;
        }
        copy::place(&mut call.work, x.layout(), x.elements::<T>(), output, Some(&to))
    })
}

fn unslice_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (attrs, cotangent) = (bounds_attrs(b.attrs), b.cotangent()?);
    Ok(vec![Some(b.graph.op("slice", &attrs, &[cotangent])?)])
}

fn infer_pad(infer: &mut Infer) -> Result<Vec<Spec>> {
    let x = infer.input(0)?;
    if let Some(value) = infer.optional(1).filter(|value| value.shape.rank() != 0) {
        return Err(Error::shape(format!("value has shape {}, not []", value.shape)).with_argument("value"));
    }
    let mut dims = x.shape.to_vec();
    for name in ["low", "high"] {
        let widths = infer.attrs.ints(name)?;
        if widths.len() != dims.len() {
            let text = format!("{name} has {} entries for rank {}", widths.len(), dims.len());
            return Err(Error::argument(text).with_argument(name));
        }
        for (dim, &width) in dims.iter_mut().zip(&widths) {
            if width < 0 {
                return Err(Error::argument(format!("{name} is {widths:?}; crop with slice")).with_argument(name));
            }
            *dim = dim.add(&Dim::constant(width))?;
        }
    }
    Ok(vec![Spec::new(x.dtype, Shape::new(dims)?)])
}

/// Where the elements of x are in what `pad` makes of it.
pub(crate) fn view_pad(attrs: &Attrs, whole: &Layout, x: &[usize]) -> Layout {
    let low = attrs.int_list("low").unwrap_or(&[]);
    let offset = low.iter().zip(&whole.strides).map(|(&low, &stride)| low as usize * stride as usize).sum();
    Layout { sizes: x.into(), offset, ..whole.clone() }
}

fn run_pad(call: &mut Call) -> Result<(), Stop> {
    let (x, value) = (call.input(0), call.optional(1));
    let to = view_pad(call.attrs, &Layout::dense(x.dtype(), call.outputs[0].sizes()), x.sizes());
    dispatch_width!(x.dtype(), T => {
        let given = value.and_then(|value| value.elements::<T>().get(value.layout().offset).copied());
        let value = given.unwrap_or_default();
        let output = call.outputs[0].elements::<T>();
        copy::fill(&mut call.work, output, value)?;
        copy::place(&mut call.work, x.layout(), x.elements::<T>(), output, Some(&to))
    })
}

fn pad_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (cotangent, shape) = (b.cotangent()?, b.shape(0));
    let low = b.attrs.ints("low")?;
    let to_x = if b.wanted[0] {
        let start: Vec<Dim> = low.iter().map(|&low| Dim::constant(low)).collect();
        let stop = start.iter().zip(shape.iter()).map(|(low, dim)| low.add(dim)).collect::<Result<Vec<_>>>()?;
        Some(b.graph.op(
            "slice",
            &[("start", AttrValue::Dims(start)), ("stop", AttrValue::Dims(stop))],
            &[cotangent],
        )?)
    } else {
        None
    };
    let to_value = if b.wanted.get(1) == Some(&true) {
        let inside = b.graph.full(DType::Bool, &shape, 0.0)?;
        let outside = b.graph.scalar(DType::Bool, 1.0)?;
        let attrs = ["low", "high"].map(|name| (name, b.attrs.value(name).clone()));
        let outside = b.graph.op("pad", &attrs, &[inside, outside])?;
        let zero = b.graph.scalar_like(cotangent, 0.0)?;
        let parts = b.graph.select(outside, cotangent, zero)?;
        Some(b.graph.op("sum", &[], &[parts])?)
    } else {
        None
    };
    Ok(vec![to_x, to_value])
}

fn infer_flip(infer: &mut Infer) -> Result<Vec<Spec>> {
    let x = infer.input(0)?;
    normalize_axes(infer.attrs.int_list("axis"), x.shape.rank())?;
    Ok(vec![x.clone()])
}

fn lower_flip(l: &mut Lowering) -> Result<Vec<Value>> {
    let shape = l.shape(0);
    let axes = normalize_axes(l.attrs.int_list("axis"), shape.rank())?;
    let step = (0..shape.rank()).map(|axis| if axes.contains(&axis) { -1 } else { 1 }).collect();
    let flipped = l.graph.op("slice", &[("step", AttrValue::Ints(step))], l.inputs)?;
    Ok(vec![l.graph.reshape(flipped, &shape)?])
}

const START: AttrDef = defaulted(
    "start",
    AttrType::Dims,
    "null",
    "The first index along each axis; a negative integer counts from the end. null is from the first element on \
        (from the last, where the step is negative).",
);
const STOP: AttrDef = defaulted(
    "stop",
    AttrType::Dims,
    "null",
    "The index along each axis before which it ends; a negative integer counts from the end, 2^63-1 is the end and \
        -2^63 before the first element. null is to the last element (to the first, where the step is negative).",
);
const STEP: AttrDef =
    defaulted("step", AttrType::Ints, "null", "The step along each axis, not 0; null is 1 everywhere.");

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "concat",
        version: 1,
        doc: "Values joined along an axis; their other dims are equal.",
        dtypes: DTypes::ALL,
        inputs: &[InputDef::of("values").variadic(1)],
        outputs: &["output"],
        attrs: &[defaulted("axis", AttrType::Int, "0", "The axis along which they are joined.")],
        regions: &[],
        infer: infer_concat,
        meaning: Meaning::Kernel(Kernel { takes_strides: true, ..Kernel::dense(run_concat) }),
        vjp: Vjp::Rule(concat_vjp),
        samples: &[
            Sample { inputs: &["T[2, 3]", "T[1, 3]"], attrs: "{}" },
            Sample { inputs: &["T[2, 1]", "T[2, 3]", "T[2, 0]"], attrs: r#"{"axis": -1}"# },
            Sample { inputs: &["T[4]"], attrs: "{}" },
        ],
    },
    OpDef {
        name: "slice",
        version: 1,
        doc: "Elements from start to before stop in steps along each axis, by Python's rules for slices: negative \
            integers count from the end, what lies outside is cut off. A start or stop with a symbol must not be \
            negative.",
        dtypes: DTypes::ALL,
        inputs: X,
        outputs: &["output"],
        attrs: &[START, STOP, STEP],
        regions: &[],
        infer: infer_slice,
        meaning: Meaning::Kernel(moving(|call| copy::through(call, view_slice), view_slice)),
        vjp: Vjp::Rule(slice_vjp),
        samples: &[
            Sample { inputs: &["T[5, 4]"], attrs: r#"{"start": [1, 0], "stop": [4, 3]}"# },
            Sample { inputs: &["T[7]"], attrs: r#"{"start": [-6], "stop": [-1], "step": [2]}"# },
            Sample { inputs: &["T[7, 2]"], attrs: r#"{"start": [5, 0], "stop": [0, 2], "step": [-2, 1]}"# },
            Sample { inputs: &["T[3]"], attrs: r#"{"step": [-1]}"# },
            Sample { inputs: &["T[4]"], attrs: r#"{"start": [2], "stop": [100]}"# },
            Sample { inputs: &["T[4]"], attrs: r#"{"start": [3], "stop": [1]}"# },
        ],
    },
    OpDef {
        name: "unslice",
        version: 1,
        doc: "The adjoint of slice: zeros of a shape, but for those elements that a slice with the same start, stop \
            and step takes, which are x.",
        dtypes: DTypes::ALL,
        inputs: X,
        outputs: &["output"],
        attrs: &[required("shape", AttrType::Dims, "The shape of the output."), START, STOP, STEP],
        regions: &[],
        infer: infer_unslice,
        meaning: Meaning::Kernel(Kernel { takes_strides: true, ..Kernel::dense(run_unslice) }),
        vjp: Vjp::Rule(unslice_vjp),
        samples: &[
            Sample { inputs: &["T[3, 2]"], attrs: r#"{"shape": [5, 4], "start": [1, 0], "stop": [4, 2]}"# },
            Sample { inputs: &["T[2]"], attrs: r#"{"shape": [6], "start": [5], "stop": [1], "step": [-2]}"# },
        ],
    },
    OpDef {
        name: "pad",
        version: 1,
        doc: "x with elements added before and after it along each axis; all have one value.",
        dtypes: DTypes::ALL,
        inputs: &[InputDef::of("x"), InputDef::of("value").optional()],
        outputs: &["output"],
        attrs: &[
            required("low", AttrType::Ints, "How many elements come before x along each axis, not negative."),
            required("high", AttrType::Ints, "How many come after it, not negative."),
        ],
        regions: &[],
        infer: infer_pad,
        meaning: Meaning::Kernel(Kernel { takes_strides: true, ..Kernel::dense(run_pad) }),
        vjp: Vjp::Rule(pad_vjp),
        samples: &[
            Sample { inputs: &["T[2, 3]", "T[]"], attrs: r#"{"low": [1, 0], "high": [0, 2]}"# },
            Sample { inputs: &["T[3]", "-"], attrs: r#"{"low": [2], "high": [1]}"# },
            Sample { inputs: &["T[0]"], attrs: r#"{"low": [1], "high": [1]}"# },
        ],
    },
    OpDef {
        name: "flip",
        version: 1,
        doc: "x with the order of its elements reversed along axes.",
        dtypes: DTypes::ALL,
        inputs: X,
        outputs: &["output"],
        attrs: &[defaulted("axis", AttrType::Ints, "null", "The axes; null is all of them.")],
        regions: &[],
        infer: infer_flip,
        meaning: Meaning::Lower(lower_flip),
        vjp: Vjp::Lowered,
        samples: &[
            Sample { inputs: &["T[2, 3]"], attrs: "{}" },
            Sample { inputs: &["T[2, 3]"], attrs: r#"{"axis": [-1]}"# },
        ],
    },
];

#[cfg(test)]
mod tests {
    use crate::ops::testing::check;

    use super::interval;

    #[test]
    fn intervals_follow_python() {
        let expected = |size: i64, start: i64, stop: i64, step: i64| {
            let last = if step > 0 { size } else { size - 1 };
            let clip = |at: i64| (if at < 0 { at + size } else { at }).clamp(if step > 0 { 0 } else { -1 }, last);
            let (mut at, stop, mut indices) = (clip(start), clip(stop), Vec::new());
            while (step > 0 && at < stop) || (step < 0 && at > stop) {
                indices.push(at);
                at += step;
            }
            indices
        };
        for size in 0..6i64 {
            for (start, stop) in (-8..8).flat_map(|start| (-8..8).map(move |stop| (start, stop))) {
                for step in [-7, -2, -1, 1, 2, 3, 7] {
                    let (first, count, step) = interval(size as usize, start, stop, step);
                    let indices: Vec<_> = (0..count as i64).map(|i| first + i * step).collect();
                    assert_eq!(indices, expected(size, start, stop, step), "{size}: {start}, {stop}, {step}");
                }
            }
        }
        assert_eq!(interval(5, i64::MAX, i64::MIN, -1), (4, 5, -1));
        assert_eq!(interval(5, 0, i64::MAX, i64::MAX), (0, 1, i64::MAX));
        assert_eq!(interval(5, 4, i64::MIN, i64::MIN), (4, 1, i64::MIN));
    }

    #[test]
    fn slices_of_symbolic_dims_are_dims() {
        check(
            "slice",
            &[
                ("{}", &["float32[n, 3]"], "float32[n, 3]"),
                (r#"{"step": [-1, 2]}"#, &["float32[n, 3]"], "float32[n, 2]"),
                (r#"{"step": [2]}"#, &["float32[n]"], "float32[floordiv(n+1, 2)]"),
                (r#"{"start": [1], "stop": [4]}"#, &["float32[n+4]"], "float32[3]"),
                (r#"{"start": [0], "stop": [-1]}"#, &["float32[n+1]"], "float32[n]"),
                (r#"{"start": ["n"], "stop": ["n+m"]}"#, &["float32[n+m]"], "float32[m]"),
                (r#"{"start": [-3], "stop": [100]}"#, &["float32[5]"], "float32[3]"),
                (
                    r#"{"start": ["n-3"], "stop": ["n"]}"#,
                    &["float32[n]"],
                    "slice: start n-3 may be negative; write max(n-3, 0)",
                ),
                (r#"{"start": [0, 0]}"#, &["float32[5]"], "slice: start has 2 entries for rank 1"),
                (r#"{"step": [0]}"#, &["float32[5]"], "slice: a step of 0 goes nowhere"),
            ],
        );
        check(
            "unslice",
            &[
                (r#"{"shape": ["n"], "step": [-1]}"#, &["float32[n]"], "float32[n]"),
                (r#"{"shape": [4]}"#, &["float32[3]"], "unslice: x has shape [3], the slice of [4] has [4]"),
            ],
        );
    }

    #[test]
    fn joined_and_padded_dims_add_up() {
        check(
            "concat",
            &[
                (r#"{"axis": -1}"#, &["float32[2, n]", "float32[2, m]", "float32[2, 1]"], "float32[2, m+n+1]"),
                ("{}", &["int8[2, 3]", "int16[1, 3]"], "int16[3, 3]"),
                ("{}", &["int8[2, n]", "int8[1, m]"], "int8[3, n] where n == m"),
                (
                    "{}",
                    &["int8[2, 3]", "int8[2, 4]"],
                    "concat: shapes [2, 3] and [2, 4] differ at axis 1, not only at axis 0",
                ),
                ("{}", &["int8[2, 3]", "int8[2]"], "concat: shapes [2, 3] and [2] differ in rank"),
                ("{}", &[], "concat: values takes at least 1 values"),
            ],
        );
        check(
            "pad",
            &[
                (r#"{"low": [1, 0], "high": [0, 2]}"#, &["float32[n, 3]"], "float32[n+1, 5]"),
                (r#"{"low": [-1], "high": [0]}"#, &["float32[3]"], "pad: low is [-1]; crop with slice"),
                (r#"{"low": [1], "high": [0, 1]}"#, &["float32[3]"], "pad: high has 2 entries for rank 1"),
                (r#"{"low": [1], "high": [0]}"#, &["float32[3]", "float32[1]"], "pad: value has shape [1], not []"),
            ],
        );
    }
}
