//! Scans: each element with those before it along an axis.

use super::movement::defaulted;
use crate::attrs::{AttrDef, AttrType, AttrValue, Attrs};
use crate::cpu::call::{Call, Layout};
use crate::cpu::recurrence::{Extent, recurrence};
use crate::cpu::reduce::{Product, Sum, partial_size};
use crate::cpu::scan;
use crate::cpu::work::Stop;
use crate::dispatch;
use crate::dtype::{DType, DTypes};
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::infer::Infer;
use crate::op::{Backward, InputDef, Kernel, Meaning, OpDef, Sample, Spec, Vjp, normalize_axis};
use crate::shape::Dim;
use std::marker::PhantomData;

const X: &[InputDef] = &[InputDef::of("x")];
const AXIS: AttrDef = defaulted("axis", AttrType::Int, "-1", "The axis that is gone along.");
const REVERSE: AttrDef = defaulted("reverse", AttrType::Bool, "false", "Whether it begins at the end of the axis.");
const SAMPLES: &[Sample] = &[
    Sample { inputs: &["T[2, 5]"], attrs: "{}" },
    Sample { inputs: &["T[4, 3]"], attrs: r#"{"axis": 0}"# },
    Sample { inputs: &["T[2, 3, 2]"], attrs: r#"{"axis": 1, "reverse": true}"# },
    Sample { inputs: &["T[2, 0]"], attrs: "{}" },
];

fn infer_scan(infer: &mut Infer) -> Result<Vec<Spec>> {
    let x = infer.input(0)?;
    normalize_axis(infer.attrs.int("axis")?, x.shape.rank())?;
    Ok(vec![x.clone()])
}

/// The axes around the attr `axis`.
fn extent(attrs: &Attrs, sizes: &[usize]) -> Extent {
    let axis = attrs.int("axis").and_then(|axis| normalize_axis(axis, sizes.len())).unwrap_or(0);
    Extent::new(sizes, axis)
}

fn reverse(attrs: &Attrs) -> bool {
    attrs.optional_bool("reverse").unwrap_or(false)
}

macro_rules! running {
    ($fold:ident) => {
        Meaning::Kernel(Kernel { workspace: scan_workspace, ..Kernel::dense(|call| {
            let x = call.input(0);
            let extent = extent(call.attrs, x.sizes());
            dispatch!(x.dtype(), T => {
                let (fold, reverse) = ($fold::<T>(PhantomData), reverse(call.attrs));
                let operands = (x.elements::<T>(), call.outputs[0].elements::<T>());
                scan::scan(fold, &mut call.work, extent, reverse, operands, call.workspace)
            })
        }) })
    };
}

fn scan_workspace(attrs: &Attrs, inputs: &[Layout], _: &[Layout]) -> u64 {
    let [x] = inputs else { return 0 };
    scan::workspace(extent(attrs, &x.sizes), partial_size(x.dtype))
}

/// The sum of the cotangents from each element on.
fn cumsum_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (axis, back) = (b.attrs.value("axis").clone(), AttrValue::Bool(!b.attrs.bool("reverse")?));
    let cotangent = b.cotangent()?;
    Ok(vec![Some(b.graph.op("cumsum", &[("axis", axis), ("reverse", back)], &[cotangent])?)])
}

/// With c the cotangents: the product of the elements before each, times s[t] = c[t] + x[t+1] s[t+1], which is the sum
/// of the later cotangents times the products between. It is right where elements are 0 too.
fn cumprod_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (shape, reverse, cotangent) = (b.shape(0), b.attrs.bool("reverse")?, b.cotangent()?);
    let axis = normalize_axis(b.attrs.int("axis")?, shape.rank())?;
    let dtype = b.graph.spec(cotangent).dtype;
    let x = b.graph.cast(b.inputs[0], dtype.compute())?;
    let cotangent = b.graph.cast(cotangent, dtype.compute())?;
    let before = products_before(b.graph, x, axis, reverse)?;
    let next = previous(b.graph, x, axis, !reverse)?;
    let after = recur(b.graph, next, cotangent, axis, !reverse)?;
    let result = b.graph.mul(before, after)?;
    Ok(vec![Some(b.graph.cast(result, dtype)?)])
}

/// The products of the elements before each along an axis, or after it if `reverse`; 1 for the first.
pub(super) fn products_before(graph: &mut Graph, x: Value, axis: usize, reverse: bool) -> Result<Value> {
    let spec = graph.spec(x).clone();
    let attrs = [("shape", AttrValue::Dims(vec![spec.shape[axis].clone()])), ("dtype", AttrValue::DType(DType::I64))];
    let index = graph.op("iota", &attrs, &[])?;
    let zero = graph.scalar(DType::I64, 0.0)?;
    let first = graph.equal(index, zero)?;
    let first = if reverse { graph.op("flip", &[], &[first])? } else { first };
    let start = graph.cast(first, spec.dtype)?;
    let along = (axis..spec.shape.rank()).map(|other| if other == axis { spec.shape[axis].clone() } else { 1.into() });
    let start = graph.reshape(start, &along.collect::<Vec<_>>())?;
    let start = graph.broadcast_to(start, &spec.shape)?;
    let factors = previous(graph, x, axis, reverse)?;
    recur(graph, factors, start, axis, reverse)
}

fn recur(graph: &mut Graph, a: Value, b: Value, axis: usize, reverse: bool) -> Result<Value> {
    let attrs = [("axis", AttrValue::Int(axis as i64)), ("reverse", AttrValue::Bool(reverse))];
    graph.op("recurrence", &attrs, &[a, b])
}

/// The element before each along an axis (after it if `reverse`), 0 for the first.
fn previous(graph: &mut Graph, x: Value, axis: usize, reverse: bool) -> Result<Value> {
    let shape = graph.spec(x).shape.clone();
    let along = |at: i64| AttrValue::Ints((0..shape.rank()).map(|other| if other == axis { at } else { 0 }).collect());
    let (low, high) = if reverse { (0, 1) } else { (1, 0) };
    let padded = graph.op("pad", &[("low", along(low)), ("high", along(high))], &[x])?;
    let start: Vec<Dim> = (0..shape.rank()).map(|other| Dim::constant(if other == axis { high } else { 0 })).collect();
    let stop = start.iter().zip(shape.iter()).map(|(start, dim)| start.add(dim)).collect::<Result<Vec<_>>>()?;
    graph.op("slice", &[("start", AttrValue::Dims(start)), ("stop", AttrValue::Dims(stop))], &[padded])
}

fn infer_recurrence(infer: &mut Infer) -> Result<Vec<Spec>> {
    let (a, b) = (infer.input(0)?, infer.input(1)?);
    let shape = infer.unify_shapes(&a.shape, &b.shape)?;
    normalize_axis(infer.attrs.int("axis")?, shape.rank())?;
    Ok(vec![Spec::new(b.dtype, shape)])
}

fn run_recurrence(call: &mut Call) -> Result<(), Stop> {
    let (a, b) = (call.input(0), call.input(1));
    let (extent, reverse) = (extent(call.attrs, b.sizes()), reverse(call.attrs));
    dispatch!(b.dtype(), T => {
        let operands = (a.elements::<T>(), b.elements::<T>());
        recurrence(&mut call.work, extent, reverse, operands, call.outputs[0].elements::<T>())
    })
}

/// With s the cotangents run backwards, s[t] = c[t] + a[t+1] s[t+1]: b gets s, and a gets s[t] y[t-1].
fn recurrence_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let cotangent = b.cotangent()?;
    let axis = normalize_axis(b.attrs.int("axis")?, b.shape(0).rank())?;
    let reverse = b.attrs.bool("reverse")?;
    let next = previous(b.graph, b.inputs[0], axis, !reverse)?;
    let to_b = recur(b.graph, next, cotangent, axis, !reverse)?;
    let to_a = if b.wanted[0] {
        let before = previous(b.graph, b.outputs[0], axis, reverse)?;
        Some(b.graph.mul(to_b, before)?)
    } else {
        None
    };
    Ok(vec![to_a, Some(to_b)])
}

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "cumsum",
        version: 1,
        doc: "Cumulative sum along an axis: each element plus those before it, in order. Integers wrap, `float16` and \
            `bfloat16` are summed in `float32`.",
        dtypes: DTypes::NUMERIC,
        inputs: X,
        outputs: &["output"],
        attrs: &[AXIS, REVERSE],
        regions: &[],
        infer: infer_scan,
        meaning: running!(Sum),
        vjp: Vjp::Rule(cumsum_vjp),
        samples: SAMPLES,
    },
    OpDef {
        name: "cumprod",
        version: 1,
        doc: "Cumulative product along an axis: each element times those before it, in order. Integers wrap, `float16` \
            and `bfloat16` are multiplied in `float32`. The gradient is right where elements are 0, to any order.",
        dtypes: DTypes::NUMERIC,
        inputs: X,
        outputs: &["output"],
        attrs: &[AXIS, REVERSE],
        regions: &[],
        infer: infer_scan,
        meaning: running!(Product),
        vjp: Vjp::Rule(cumprod_vjp),
        samples: SAMPLES,
    },
    OpDef {
        name: "recurrence",
        version: 1,
        doc: "Linear recurrence along an axis: y[t] = a[t] * y[t-1] + b[t], y[0] = b[0], in order and in the dtype of \
            the inputs, every operation rounded.",
        dtypes: DTypes::NUMERIC,
        inputs: &[InputDef::of("a"), InputDef::of("b")],
        outputs: &["output"],
        attrs: &[
            defaulted("axis", AttrType::Int, "-1", "The axis along which t counts."),
            defaulted("reverse", AttrType::Bool, "false", "Whether t counts from the end."),
        ],
        regions: &[],
        infer: infer_recurrence,
        meaning: Meaning::Kernel(Kernel::dense(run_recurrence)),
        vjp: Vjp::Rule(recurrence_vjp),
        samples: &[
            Sample { inputs: &["T[2, 5]", "T[2, 5]"], attrs: "{}" },
            Sample { inputs: &["T[4, 3]", "T[4, 3]"], attrs: r#"{"axis": 0, "reverse": true}"# },
            Sample { inputs: &["T[2, 1]", "T[2, 1]"], attrs: "{}" },
        ],
    },
];

#[cfg(test)]
mod tests {
    use crate::ops::testing::check;

    #[test]
    fn scans_keep_shapes() {
        check(
            "cumsum",
            &[
                ("{}", &["int8[n, 3]"], "int8[n, 3]"),
                (r#"{"axis": 2}"#, &["float32[n, 3]"], "cumsum: axis 2 is out of range for rank 2"),
                ("{}", &["float32[]"], "cumsum: axis -1 is out of range for rank 0"),
            ],
        );
        check("recurrence", &[("{}", &["float32[2]", "float32[3]"], "recurrence: shapes [2] and [3] differ")]);
    }
}
