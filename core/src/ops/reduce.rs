//! Reductions: many elements become one.

use super::movement::defaulted;
use super::scan::products_before;
use crate::attrs::{AttrDef, AttrType, AttrValue, Attrs};
use crate::cpu::call::{Call, Layout, List};
use crate::cpu::reduce;
use crate::cpu::work::Stop;
use crate::dispatch;
use crate::dtype::{DType, DTypes};
use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::infer::Infer;
use crate::op::{
    Backward, InputDef, Kernel, Lowering, Meaning, Op, OpDef, Sample, Spec, Vjp, normalize_axes, normalize_axis, one,
};
use crate::shape::{Dim, Shape};
use std::marker::PhantomData;

const X: &[InputDef] = &[InputDef::of("x")];
const AXIS: AttrDef = defaulted("axis", AttrType::Ints, "null", "The axes that are reduced; null is all of them.");
const ONE_AXIS: AttrDef =
    defaulted("axis", AttrType::Int, "null", "The axis that is searched; null is all of x in row-major order.");
const KEEPDIMS: AttrDef =
    defaulted("keepdims", AttrType::Bool, "false", "Whether reduced axes stay, with size 1, or are left out.");
const CORRECTION: AttrDef = defaulted(
    "correction",
    AttrType::Float,
    "0.0",
    "Taken from the number of elements: 0 for a population's, 1 for a sample's variance.",
);
const NOT_NUMBERS: Vjp = Vjp::NotDifferentiable("its output is bool or integer");

const SAMPLES: &[Sample] = &[
    Sample { inputs: &["T[2, 3]"], attrs: "{}" },
    Sample { inputs: &["T[2, 3, 4]"], attrs: r#"{"axis": [0, -1], "keepdims": true}"# },
    Sample { inputs: &["T[2, 3, 4]"], attrs: r#"{"axis": [1]}"# },
    Sample { inputs: &["T[3, 5]"], attrs: r#"{"axis": [-1]}"# },
    Sample { inputs: &["T[33, 5]"], attrs: r#"{"axis": [0]}"# },
    Sample { inputs: &["T[3, 2]"], attrs: r#"{"axis": []}"# },
    Sample { inputs: &["T[]"], attrs: "{}" },
];
const VARIANCES: &[Sample] = &[
    Sample { inputs: &["T[2, 3]"], attrs: "{}" },
    Sample { inputs: &["T[4, 3, 2]"], attrs: r#"{"axis": [0, 2], "correction": 1.0, "keepdims": true}"# },
    Sample { inputs: &["T[3, 5]"], attrs: r#"{"axis": [-1], "correction": 0.5}"# },
];
const SEARCHES: &[Sample] = &[
    Sample { inputs: &["T[2, 3]"], attrs: "{}" },
    Sample { inputs: &["T[2, 3, 4]"], attrs: r#"{"axis": 1}"# },
    Sample { inputs: &["T[3, 40]"], attrs: r#"{"axis": -1, "keepdims": true}"# },
];

/// The axes to reduce, sorted: `axis` as a list, as an integer, or all.
fn axes(attrs: &Attrs, rank: usize) -> Result<List<usize>> {
    match attrs.optional_int("axis") {
        Some(axis) => Ok(List::from_slice(&[normalize_axis(axis, rank)?])),
        None => normalize_axes(attrs.int_list("axis"), rank),
    }
}

/// As [`axes`], for kernels, whose attrs infer has checked.
pub(crate) fn known_axes(attrs: &Attrs, rank: usize) -> List<usize> {
    axes(attrs, rank).unwrap_or_default()
}

/// `shape` with the reduced axes 1.
pub fn with_ones(shape: &Shape, axes: &[usize]) -> Shape {
    shape.iter().enumerate().map(|(axis, dim)| if axes.contains(&axis) { one() } else { dim.clone() }).collect()
}

/// The spec of a reduction whose output has this dtype.
fn reduced(infer: &Infer, dtype: DType) -> Result<Vec<Spec>> {
    let shape = &infer.input(0)?.shape;
    let axes = axes(infer.attrs, shape.rank())?;
    let shape = match infer.attrs.bool("keepdims")? {
        true => with_ones(shape, &axes),
        false => (0..shape.rank()).filter(|axis| !axes.contains(axis)).map(|axis| shape[axis].clone()).collect(),
    };
    Ok(vec![Spec::new(dtype, shape)])
}

fn infer_same(infer: &mut Infer) -> Result<Vec<Spec>> {
    let dtype = infer.input(0)?.dtype;
    reduced(infer, dtype)
}

fn infer_bool(infer: &mut Infer) -> Result<Vec<Spec>> {
    reduced(infer, DType::Bool)
}

/// Refuses to look for the greatest or least of no elements.
fn check_not_empty(infer: &Infer) -> Result<()> {
    let shape = &infer.input(0)?.shape;
    match axes(infer.attrs, shape.rank())?.into_iter().find(|&axis| shape[axis].as_constant() == Some(0)) {
        Some(axis) => Err(Error::shape(format!("x {shape} has no elements along axis {axis}")).with_argument("x")),
        None => Ok(()),
    }
}

fn infer_extremum(infer: &mut Infer) -> Result<Vec<Spec>> {
    check_not_empty(infer)?;
    infer_same(infer)
}

fn infer_search(infer: &mut Infer) -> Result<Vec<Spec>> {
    check_not_empty(infer)?;
    reduced(infer, DType::I64)
}

macro_rules! folding {
    ($fold:ident, $dispatch:ident) => {
        |call| {
            let input = call.input(0);
            let axes = known_axes(call.attrs, input.sizes().len());
            let (work, output) = (&mut call.work, &mut call.outputs[0]);
            $dispatch!(input.dtype(), T => {
                reduce::reduce(reduce::$fold::<T>(PhantomData), work, input, &axes, output, call.workspace)
            })
        }
    };
}

macro_rules! searching {
    ($search:ident) => {
        |call| {
            let input = call.input(0);
            let axes = known_axes(call.attrs, input.sizes().len());
            let (work, output) = (&mut call.work, &mut call.outputs[0]);
            dispatch!(input.dtype(), T => {
                reduce::search(reduce::$search::<T>(PhantomData), work, input, &axes, output, call.workspace)
            })
        }
    };
}

/// [`dispatch`] for what does not tell signed integers from unsigned ones.
macro_rules! dispatch_wrapping {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::F16 => {
                type $T = crate::dtype::f16;
                $body
            }
            DType::BF16 => {
                type $T = crate::dtype::bf16;
                $body
            }
            DType::F32 => {
                type $T = f32;
                $body
            }
            DType::F64 => {
                type $T = f64;
                $body
            }
            dtype => crate::dispatch_width!(dtype, $T => $body),
        }
    };
}

/// [`dispatch_wrapping`] for what only tells 0 from other values.
macro_rules! dispatch_zero {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::BF16 => dispatch_wrapping!(DType::F16, $T => $body),
            dtype => dispatch_wrapping!(dtype, $T => $body),
        }
    };
}

/// The loops of an op that folds elements of `dtype` in the order of [`reduce`]; `None` for other ops.
pub fn loops(op: &Op, dtype: DType) -> Option<&'static reduce::Loops> {
    macro_rules! of {
        ($fold:ident, $dispatch:ident) => {
            Some($dispatch!(dtype, T => reduce::loops(reduce::$fold::<T>(PhantomData))))
        };
    }
    match op.def.name {
        "sum" => of!(Sum, dispatch_wrapping),
        "prod" => of!(Product, dispatch_wrapping),
        "max" => of!(Max, dispatch),
        "min" => of!(Min, dispatch),
        "any" => of!(Any, dispatch_zero),
        "all" => of!(All, dispatch_zero),
        _ => None,
    }
}

/// Whether an op folds elements in that order.
pub fn is_fold(op: &Op) -> bool {
    matches!(op.def.name, "sum" | "prod" | "max" | "min" | "any" | "all")
}

/// The axes that such an op folds, sorted.
pub fn folded_axes(op: &Op, rank: usize) -> Option<List<usize>> {
    axes(&op.attrs, rank).ok().filter(|_| is_fold(op))
}

/// A reduction's kernel; `partial` is the size of its partial results of a dtype.
const fn kernel(run: fn(&mut Call) -> Result<(), Stop>, workspace: fn(&Attrs, &[Layout], &[Layout]) -> u64) -> Meaning {
    Meaning::Kernel(Kernel { workspace, takes_strides: true, ..Kernel::dense(run) })
}

/// The workspace of a reduction with partial results of `size` bytes.
fn workspace(attrs: &Attrs, inputs: &[Layout], size: fn(DType) -> usize) -> u64 {
    let [input] = inputs else { return 0 };
    reduce::workspace(input, &known_axes(attrs, input.sizes.len()), size(input.dtype))
}

fn number_workspace(attrs: &Attrs, inputs: &[Layout], _: &[Layout]) -> u64 {
    workspace(attrs, inputs, reduce::partial_size)
}

fn bool_workspace(attrs: &Attrs, inputs: &[Layout], _: &[Layout]) -> u64 {
    workspace(attrs, inputs, |_| 1)
}

fn search_workspace(attrs: &Attrs, inputs: &[Layout], _: &[Layout]) -> u64 {
    workspace(attrs, inputs, |_| size_of::<i64>())
}

/// The shape of a rule's input, its reduced axes, and a value of the output's shape with the reduced axes 1.
fn spread(b: &mut Backward, value: Value) -> Result<(Shape, Vec<usize>, Value)> {
    let shape = b.shape(0);
    let axes = axes(b.attrs, shape.rank())?;
    let value = b.graph.reshape(value, &with_ones(&shape, &axes))?;
    Ok((shape, axes.to_vec(), value))
}

fn sum_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let cotangent = b.cotangent()?;
    let (shape, _, cotangent) = spread(b, cotangent)?;
    Ok(vec![Some(b.graph.broadcast_to(cotangent, &shape)?)])
}

/// Elements that are equal to the result share the cotangent equally.
fn extremum_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (x, output, cotangent) = (b.inputs[0], b.outputs[0], b.cotangent()?);
    let (_, _, output) = spread(b, output)?;
    let (_, axes, cotangent) = spread(b, cotangent)?;
    let axes = indices(&axes);
    let (dtype, wide) = (b.graph.spec(x).dtype, b.graph.spec(x).dtype.compute());
    let taken = b.graph.equal(x, output)?;
    let taken = b.graph.cast(taken, wide)?;
    let count = b.graph.reduce("sum", taken, &axes, true)?;
    let cotangent = b.graph.cast(cotangent, wide)?;
    let share = b.graph.div(cotangent, count)?;
    let share = b.graph.mul(share, taken)?;
    Ok(vec![Some(b.graph.cast(share, dtype)?)])
}

/// Each element gets the product of the others, which is right where some are 0 too: products of those before it
/// times products of those after it.
fn prod_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let cotangent = b.cotangent()?;
    let shape = b.shape(0);
    let axes = axes(b.attrs, shape.rank())?;
    let kept: Vec<usize> = (0..shape.rank()).filter(|axis| !axes.contains(axis)).collect();
    let order: Vec<usize> = kept.iter().chain(&axes).copied().collect();
    let dims = |axes: &[usize]| -> Vec<Dim> { axes.iter().map(|&axis| shape[axis].clone()).collect() };
    let length = Shape::new(dims(&axes))?.elements()?;
    let rows = |last: Dim| -> Vec<Dim> { dims(&kept).into_iter().chain([last]).collect() };
    let moved = b.graph.transpose(b.inputs[0], &order.iter().map(|&axis| axis as i64).collect::<Vec<_>>())?;
    let x = b.graph.reshape(moved, &rows(length.clone()))?;
    let last = kept.len();
    let before = products_before(b.graph, x, last, false)?;
    let after = products_before(b.graph, x, last, true)?;
    let others = b.graph.mul(before, after)?;
    let cotangent = b.graph.reshape(cotangent, &rows(one()))?;
    let result = b.graph.mul(cotangent, others)?;
    let result = b.graph.reshape(result, &dims(&order))?;
    let mut inverse = vec![0; order.len()];
    order.iter().enumerate().for_each(|(position, &axis)| inverse[axis] = position as i64);
    Ok(vec![Some(b.graph.transpose(result, &inverse)?)])
}

/// The number of elements of x over `axes`, as a scalar of `dtype`.
fn count(graph: &mut Graph, x: Value, axes: &[usize], dtype: DType) -> Result<Value> {
    let shape = graph.spec(x).shape.clone();
    let known: Shape = axes.iter().map(|&axis| &shape[axis]).filter(|dim| !dim.is_symbolic()).cloned().collect();
    let known = known.elements()?.as_constant().unwrap_or(0);
    let mut count = graph.scalar(dtype, known as f64)?;
    for &axis in axes.iter().filter(|axis| shape[**axis].is_symbolic()) {
        let size = graph.op("dim", &[("axis", AttrValue::Int(axis as i64))], &[x])?;
        let size = graph.cast(size, dtype)?;
        count = graph.mul(count, size)?;
    }
    Ok(count)
}

fn lower_mean(l: &mut Lowering) -> Result<Vec<Value>> {
    let (shape, dtype) = (l.shape(0), l.dtype(0));
    let axes = axes(l.attrs, shape.rank())?;
    let x = l.graph.cast(l.inputs[0], dtype.compute())?;
    let mean = average(l.graph, x, &axes, l.attrs.bool("keepdims")?)?;
    Ok(vec![l.graph.cast(mean, dtype)?])
}

fn average(graph: &mut Graph, x: Value, axes: &[usize], keepdims: bool) -> Result<Value> {
    let sum = graph.reduce("sum", x, &indices(axes), keepdims)?;
    let count = count(graph, x, axes, graph.spec(x).dtype)?;
    graph.div(sum, count)
}

fn lower_var(l: &mut Lowering) -> Result<Vec<Value>> {
    let (var, dtype) = (variance(l)?, l.dtype(0));
    Ok(vec![l.graph.cast(var, dtype)?])
}

/// The variance in the dtype that is computed in.
fn variance(l: &mut Lowering) -> Result<Value> {
    let (shape, dtype) = (l.shape(0), l.dtype(0));
    let axes = axes(l.attrs, shape.rank())?;
    let graph = &mut *l.graph;
    let x = graph.cast(l.inputs[0], dtype.compute())?;
    let mean = average(graph, x, &axes, true)?;
    let difference = graph.sub(x, mean)?;
    let square = graph.mul(difference, difference)?;
    let sum = graph.reduce("sum", square, &indices(&axes), l.attrs.bool("keepdims")?)?;
    let count = count(graph, x, &axes, dtype.compute())?;
    let correction = graph.scalar_like(count, l.attrs.float("correction")?)?;
    let (rest, zero) = (graph.sub(count, correction)?, graph.scalar_like(count, 0.0)?);
    let rest = graph.maximum(rest, zero)?;
    graph.div(sum, rest)
}

fn indices(axes: &[usize]) -> Vec<i64> {
    axes.iter().map(|&axis| axis as i64).collect()
}

/// The root of what is not negative, whose gradient at 0 is 0.
fn root(graph: &mut Graph, x: Value) -> Result<Value> {
    let (zero, one) = (graph.scalar_like(x, 0.0)?, graph.scalar_like(x, 1.0)?);
    let positive = graph.less(zero, x)?;
    let safe = graph.select(positive, x, one)?;
    let root = graph.sqrt(safe)?;
    // 0 or NaN.
    let rest = graph.stop_gradient(x)?;
    graph.select(positive, root, rest)
}

fn lower_std(l: &mut Lowering) -> Result<Vec<Value>> {
    let (var, dtype) = (variance(l)?, l.dtype(0));
    let root = root(l.graph, var)?;
    Ok(vec![l.graph.cast(root, dtype)?])
}

fn infer_norm(infer: &mut Infer) -> Result<Vec<Spec>> {
    match infer.attrs.float("ord")? {
        1.0 | 2.0 => infer_same(infer),
        f64::INFINITY => infer_extremum(infer),
        ord => Err(Error::argument(format!("ord is {ord}; it can be 1, 2 or inf")).with_argument("ord")),
    }
}

fn lower_norm(l: &mut Lowering) -> Result<Vec<Value>> {
    let (dtype, ord, keepdims) = (l.dtype(0), l.attrs.float("ord")?, l.attrs.bool("keepdims")?);
    let axes = indices(&axes(l.attrs, l.shape(0).rank())?);
    let graph = &mut *l.graph;
    let x = graph.cast(l.inputs[0], dtype.compute())?;
    let norm = if ord == 2.0 {
        let square = graph.mul(x, x)?;
        let sum = graph.reduce("sum", square, &axes, keepdims)?;
        root(graph, sum)?
    } else {
        let size = graph.abs(x)?;
        graph.reduce(if ord == 1.0 { "sum" } else { "max" }, size, &axes, keepdims)?
    };
    Ok(vec![graph.cast(norm, dtype)?])
}

fn lower_count_nonzero(l: &mut Lowering) -> Result<Vec<Value>> {
    let axes = indices(&axes(l.attrs, l.shape(0).rank())?);
    let graph = &mut *l.graph;
    let zero = graph.scalar_like(l.inputs[0], 0.0)?;
    let counted = graph.not_equal(l.inputs[0], zero)?;
    let counted = graph.cast(counted, DType::I64)?;
    Ok(vec![graph.reduce("sum", counted, &axes, l.attrs.bool("keepdims")?)?])
}

macro_rules! reduction {
    ($name:literal, $dtypes:ident, $infer:expr, $meaning:expr, $vjp:expr, $axis:expr, $samples:expr, $doc:literal) => {
        OpDef {
            name: $name,
            version: 1,
            doc: $doc,
            dtypes: DTypes::$dtypes,
            inputs: X,
            outputs: &["output"],
            attrs: &[$axis, KEEPDIMS],
            regions: &[],
            infer: $infer,
            meaning: $meaning,
            vjp: $vjp,
            samples: $samples,
        }
    };
}

const SUM: Meaning = kernel(folding!(Sum, dispatch_wrapping), number_workspace);
const PROD: Meaning = kernel(folding!(Product, dispatch_wrapping), number_workspace);
const MAX: Meaning = kernel(folding!(Max, dispatch), number_workspace);
const MIN: Meaning = kernel(folding!(Min, dispatch), number_workspace);
const ANY: Meaning = kernel(folding!(Any, dispatch_zero), bool_workspace);
const ALL: Meaning = kernel(folding!(All, dispatch_zero), bool_workspace);
const ARGMAX: Meaning = kernel(searching!(ArgMax), search_workspace);
const ARGMIN: Meaning = kernel(searching!(ArgMin), search_workspace);

/// The family.
pub static OPS: &[OpDef] = &[
    reduction!(
        "sum",
        NUMERIC,
        infer_same,
        SUM,
        Vjp::Rule(sum_vjp),
        AXIS,
        SAMPLES,
        "Sum over axes, in x's dtype; 0 of no elements. Integers wrap, `float16` and `bfloat16` are summed in \
         `float32`.\nThe order of the additions is fixed: element r joins partial sum r % 16 of its chunk of 1024, \
         partial sums join by halving, and chunks as elements do."
    ),
    reduction!(
        "prod",
        NUMERIC,
        infer_same,
        PROD,
        Vjp::Rule(prod_vjp),
        AXIS,
        SAMPLES,
        "Product over axes, in x's dtype; 1 of no elements. Integers wrap; the order is that of sum. The gradient is \
         right where elements are 0, to any order."
    ),
    reduction!(
        "max",
        NUMERIC,
        infer_extremum,
        MAX,
        Vjp::Rule(extremum_vjp),
        AXIS,
        SAMPLES,
        "The greatest over axes; NaN if any is. Elements that are equal to it share its gradient equally. No elements \
         are refused; where that is seen only at run time, they give minus infinity or the least integer."
    ),
    reduction!(
        "min",
        NUMERIC,
        infer_extremum,
        MIN,
        Vjp::Rule(extremum_vjp),
        AXIS,
        SAMPLES,
        "The least over axes; NaN if any is. Elements that are equal to it share its gradient equally. No elements are \
         refused; where that is seen only at run time, they give infinity or the greatest integer."
    ),
    reduction!(
        "mean",
        FLOAT,
        infer_same,
        Meaning::Lower(lower_mean),
        Vjp::Lowered,
        AXIS,
        SAMPLES,
        "Mean over axes: the sum divided by the number of elements; NaN of none. `float16` and `bfloat16` are \
         computed in `float32`."
    ),
    OpDef {
        name: "var",
        version: 1,
        doc: "Variance over axes: the sum of squared differences from the mean, divided by the number of elements less \
            `correction` (0 if that is negative). `float16` and `bfloat16` are computed in `float32`.",
        dtypes: DTypes::FLOAT,
        inputs: X,
        outputs: &["output"],
        attrs: &[AXIS, CORRECTION, KEEPDIMS],
        regions: &[],
        infer: infer_same,
        meaning: Meaning::Lower(lower_var),
        vjp: Vjp::Lowered,
        samples: VARIANCES,
    },
    OpDef {
        name: "std",
        version: 1,
        doc: "Standard deviation over axes: the root of var, rounded once. Its gradient is 0 where it is 0.",
        dtypes: DTypes::FLOAT,
        inputs: X,
        outputs: &["output"],
        attrs: &[AXIS, CORRECTION, KEEPDIMS],
        regions: &[],
        infer: infer_same,
        meaning: Meaning::Lower(lower_std),
        vjp: Vjp::Lowered,
        samples: VARIANCES,
    },
    OpDef {
        name: "norm",
        version: 1,
        doc: "Norm of the vector of all elements over axes: the sum of their sizes (`ord` 1), the root of the sum of \
            their squares (2; of a matrix it is Frobenius'), or the greatest size (inf). `float16` and `bfloat16` are \
            computed in `float32`. Its gradient is 0 where it is 0.",
        dtypes: DTypes::FLOAT,
        inputs: X,
        outputs: &["output"],
        attrs: &[AXIS, defaulted("ord", AttrType::Float, "2.0", "1, 2 or inf."), KEEPDIMS],
        regions: &[],
        infer: infer_norm,
        meaning: Meaning::Lower(lower_norm),
        vjp: Vjp::Lowered,
        samples: &[
            Sample { inputs: &["T[2, 3]"], attrs: "{}" },
            Sample { inputs: &["T[4, 3, 2]"], attrs: r#"{"axis": [0, 2], "keepdims": true}"# },
            Sample { inputs: &["T[3, 5]"], attrs: r#"{"axis": [-1], "ord": 1.0}"# },
            Sample { inputs: &["T[3, 5]"], attrs: r#"{"axis": [0], "ord": "inf"}"# },
        ],
    },
    OpDef {
        name: "count_nonzero",
        version: 1,
        doc: "How many elements over axes are not 0, or true (int64). NaN is not 0.",
        dtypes: DTypes::ALL,
        inputs: X,
        outputs: &["output"],
        attrs: &[AXIS, KEEPDIMS],
        regions: &[],
        infer: |infer| reduced(infer, DType::I64),
        meaning: Meaning::Lower(lower_count_nonzero),
        vjp: NOT_NUMBERS,
        samples: &[
            Sample { inputs: &["T[2, 30]"], attrs: "{}" },
            Sample { inputs: &["T[4, 3, 2]"], attrs: r#"{"axis": [0, 2], "keepdims": true}"# },
            Sample { inputs: &["T[0, 3]"], attrs: r#"{"axis": [0]}"# },
        ],
    },
    reduction!(
        "any",
        ALL,
        infer_bool,
        ANY,
        NOT_NUMBERS,
        AXIS,
        SAMPLES,
        "Whether any element over axes is true, or not 0; false of no elements. NaN is not 0."
    ),
    reduction!(
        "all",
        ALL,
        infer_bool,
        ALL,
        NOT_NUMBERS,
        AXIS,
        SAMPLES,
        "Whether all elements over axes are true, or not 0; true of no elements. NaN is not 0."
    ),
    reduction!(
        "argmax",
        NUMERIC,
        infer_search,
        ARGMAX,
        NOT_NUMBERS,
        ONE_AXIS,
        SEARCHES,
        "The index (int64) of the greatest element along an axis, the first of equals; NaN counts as the greatest. No \
         elements are refused; where that is seen only at run time, they give 0."
    ),
    reduction!(
        "argmin",
        NUMERIC,
        infer_search,
        ARGMIN,
        NOT_NUMBERS,
        ONE_AXIS,
        SEARCHES,
        "The index (int64) of the least element along an axis, the first of equals; NaN counts as the least. No \
         elements are refused; where that is seen only at run time, they give 0."
    ),
];

#[cfg(test)]
mod tests {
    use crate::ops::testing::check;

    #[test]
    fn reduced_axes_go_or_become_one() {
        check(
            "sum",
            &[
                ("{}", &["float32[n, 3]"], "float32[]"),
                (r#"{"axis": [-1]}"#, &["uint8[n, 3]"], "uint8[n]"),
                (r#"{"axis": [0, 2], "keepdims": true}"#, &["float32[n, 3, 4]"], "float32[1, 3, 1]"),
                (r#"{"axis": []}"#, &["float32[n, 3]"], "float32[n, 3]"),
                (r#"{"axis": [0, -2]}"#, &["float32[n, 3]"], "sum: axis 0 stands twice in [0, -2]"),
                (r#"{"axis": [2]}"#, &["float32[n, 3]"], "sum: axis 2 is out of range for rank 2"),
                (
                    "{}",
                    &["bool[3]"],
                    "sum: x is bool; it can be int8, int16, int32, int64, uint8, uint16, uint32, uint64, float16, \
                     bfloat16, float32, float64",
                ),
            ],
        );
        check("any", &[(r#"{"axis": [0]}"#, &["float32[n, 3]"], "bool[3]")]);
        check(
            "argmax",
            &[
                ("{}", &["float32[n, 3]"], "int64[]"),
                (r#"{"axis": 0, "keepdims": true}"#, &["float32[n, 3]"], "int64[1, 3]"),
                (r#"{"axis": 1}"#, &["float32[n, 0]"], "argmax: x [n, 0] has no elements along axis 1"),
            ],
        );
        check(
            "norm",
            &[
                (r#"{"axis": [0]}"#, &["float32[n, 3]"], "float32[3]"),
                (r#"{"ord": 3.0}"#, &["float32[n]"], "norm: ord is 3; it can be 1, 2 or inf"),
                (r#"{"ord": "inf"}"#, &["float32[0]"], "norm: x [0] has no elements along axis 0"),
            ],
        );
        check("max", &[("{}", &["float32[0]"], "max: x [0] has no elements along axis 0")]);
    }
}
