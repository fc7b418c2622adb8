//! Ops that make or move elements without computing with them.

use crate::attrs::{AttrDef, AttrType, Attrs};
use crate::cpu::call::{Call, Layout, List};
use crate::cpu::copy;
use crate::cpu::memory::cast_slice;
use crate::cpu::work::Stop;
use crate::dispatch;
use crate::dtype::{DType, DTypes, Element, bf16, f16, to_bf16, to_f16};
use crate::error::{Error, Result};
use crate::graph::Value;
use crate::infer::Infer;
use crate::op::{Backward, InputDef, Kernel, Meaning, OpDef, Sample, Spec, Vjp, normalize_axis};
use crate::shape::{Dim, Shape, broadcast};

const X: &[InputDef] = &[InputDef::of("x")];
const CONSTANT: Vjp = Vjp::NotDifferentiable("its output does not depend on its input's elements");

/// A kernel that copies what `view` names; the plan may use the view itself.
pub(super) const fn moving(
    run: fn(&mut Call) -> Result<(), Stop>,
    view: fn(&Attrs, &Layout, &[usize]) -> Layout,
) -> Kernel {
    Kernel { takes_strides: true, view: Some(view), ..Kernel::dense(run) }
}

pub(super) const fn required(name: &'static str, kind: AttrType, doc: &'static str) -> AttrDef {
    AttrDef { name, kind, default: None, doc }
}

pub(super) const fn defaulted(name: &'static str, kind: AttrType, default: &'static str, doc: &'static str) -> AttrDef {
    AttrDef { name, kind, default: Some(default), doc }
}

/// The attr `shape`, whose dims must not be negative.
pub(super) fn shape_attr(attrs: &Attrs) -> Result<Shape> {
    Shape::new(attrs.dims("shape")?).map_err(|error| error.with_argument("shape"))
}

fn run_constant(call: &mut Call) -> Result<(), Stop> {
    let Some(value) = call.attrs.optional_tensor("value") else {
        unreachable!("infer has checked that there is a value");
    };
    let layout = Layout::dense(value.dtype(), value.sizes());
    dispatch!(value.dtype(), T => {
        let output = call.outputs[0].elements::<T>();
        copy::strided(&mut call.work, &layout, cast_slice::<T>(value.bytes()), output)
    })
}

fn infer_iota(infer: &mut Infer) -> Result<Vec<Spec>> {
    let shape = shape_attr(infer.attrs)?;
    let dtype = infer.attrs.dtype("dtype")?;
    normalize_axis(infer.attrs.int("axis")?, shape.rank())?;
    if dtype == DType::Bool {
        return Err(Error::dtype("dtype is bool; it can be an integer or a float").with_argument("dtype"));
    }
    Ok(vec![Spec::new(dtype, shape)])
}

/// A number as an element: integers wrap, floats round.
trait Counted: Element {
    fn count(index: u64) -> Self;
}

macro_rules! counted {
    ($($type:ty: $from:expr;)*) => { $(impl Counted for $type {
        fn count(index: u64) -> $type {
            $from(index)
        }
    })* };
}

counted! {
    u8: |index| index as u8;
    i8: |index| index as i8;
    i16: |index| index as i16;
    i32: |index| index as i32;
    i64: |index| index as i64;
    u16: |index| index as u16;
    u32: |index| index as u32;
    u64: |index| index;
    f16: |index| to_f16(index as f64);
    bf16: |index| to_bf16(index as f64);
    f32: |index| index as f32;
    f64: |index| index as f64;
}

fn run_iota(call: &mut Call) -> Result<(), Stop> {
    let sizes = call.outputs[0].sizes();
    let axis = call.attrs.int("axis").and_then(|axis| normalize_axis(axis, sizes.len())).unwrap_or(0);
    let axis = planted!("kernel: iota along another axis", axis, sizes.len() - 1 - axis);
    let (size, inner) = (sizes[axis].max(1), sizes[axis + 1..].iter().product::<usize>().max(1));
    dispatch!(call.outputs[0].dtype(), T => {
        let output = call.outputs[0].elements::<T>();
        copy::generate(&mut call.work, output, |number| T::count((number / inner % size) as u64))
    })
}

fn infer_dim(infer: &mut Infer) -> Result<Vec<Spec>> {
    normalize_axis(infer.attrs.int("axis")?, infer.input(0)?.shape.rank())?;
    Ok(vec![Spec::new(DType::I64, Shape::of(&[]))])
}

fn run_dim(call: &mut Call) -> Result<(), Stop> {
    let sizes = call.input(0).sizes();
    let axis = call.attrs.int("axis").and_then(|axis| normalize_axis(axis, sizes.len())).unwrap_or(0);
    let layout = Layout::dense(DType::I64, &[]);
    let size = sizes[axis] as i64;
    copy::strided(&mut call.work, &layout, &[size], call.outputs[0].elements::<i64>())
}

fn infer_reshape(infer: &mut Infer) -> Result<Vec<Spec>> {
    let x = infer.input(0)?;
    let mut shape = infer.attrs.dims("shape")?;
    let rest = |dim: &Dim| dim.as_constant() == Some(-1);
    let text = Shape::from(shape.clone());
    let mut open = (0..shape.len()).filter(|&axis| rest(&shape[axis]));
    let position = open.next();
    if open.next().is_some() {
        return Err(Error::argument(format!("the shape {text} has more than one -1")).with_argument("shape"));
    }
    let given = Shape::new(shape.iter().filter(|dim| !rest(dim)).cloned().collect());
    let given = given.map_err(|error| error.with_argument("shape"))?.elements()?;
    let elements = x.shape.elements()?;
    let refused = || Error::shape(format!("x {} has {elements} elements, which the shape {text} has not", x.shape));
    match position {
        Some(_) if given.as_constant() == Some(0) => {
            return Err(Error::shape(format!("the -1 in the shape {text} could be anything beside a 0")));
        }
        Some(position) => {
            shape[position] = match elements.divide_exact(&given) {
                Some(quotient) => quotient,
                None => {
                    let quotient = elements.floordiv(&given)?;
                    infer.unify(&elements, &quotient.mul(&given)?).map_err(|_| refused())?;
                    quotient
                }
            };
        }
        None => drop(infer.unify(&elements, &given).map_err(|_| refused())?),
    }
    Ok(vec![Spec::new(x.dtype, Shape::new(shape)?)])
}

/// Of a dense layout: the same elements under other sizes.
fn view_reshape(_: &Attrs, x: &Layout, output: &[usize]) -> Layout {
    Layout { offset: x.offset, ..Layout::dense(x.dtype, output) }
}

fn transpose_axes(attrs: &Attrs, rank: usize) -> Result<List<usize>> {
    let Some(axes) = attrs.int_list("axes") else { return Ok((0..rank).rev().collect()) };
    let indices: Result<List<_>> = axes.iter().map(|&axis| normalize_axis(axis, rank)).collect();
    let indices = indices.map_err(|error| error.with_argument("axes"))?;
    let mut sorted = indices.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        return Err(
            Error::argument(format!("axes {axes:?} do not name each of {rank} axes once")).with_argument("axes")
        );
    }
    Ok(indices)
}

fn infer_transpose(infer: &mut Infer) -> Result<Vec<Spec>> {
    let x = infer.input(0)?;
    let axes = transpose_axes(infer.attrs, x.shape.rank())?;
    Ok(vec![Spec::new(x.dtype, axes.iter().map(|&axis| x.shape[axis].clone()).collect())])
}

fn view_transpose(attrs: &Attrs, x: &Layout, _: &[usize]) -> Layout {
    let axes = transpose_axes(attrs, x.sizes.len()).unwrap_or_default();
    let sizes = axes.iter().map(|&axis| x.sizes[axis]).collect();
    Layout { sizes, strides: axes.iter().map(|&axis| x.strides[axis]).collect(), ..x.clone() }
}

fn transpose_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let axes = transpose_axes(b.attrs, b.shape(0).rank())?;
    let mut inverse = vec![0; axes.len()];
    axes.iter().enumerate().for_each(|(position, &axis)| inverse[axis] = position as i64);
    let cotangent = b.cotangent()?;
    let back = planted!(
        "grad: transpose goes the same way back",
        inverse,
        axes.iter().map(|&axis| axis as i64).collect::<Vec<_>>()
    );
    Ok(vec![Some(b.graph.transpose(cotangent, &back)?)])
}

fn infer_broadcast_to(infer: &mut Infer) -> Result<Vec<Spec>> {
    let x = infer.input(0)?;
    let shape = shape_attr(infer.attrs)?;
    let refused = || Error::shape(format!("x {} cannot be broadcast to {shape}", x.shape));
    let both = broadcast(&x.shape, &shape, &mut infer.constraints).map_err(|_| refused())?;
    let stretched = |(both, target): (&Dim, &Dim)| target.as_constant() == Some(1) && *both != *target;
    if both.rank() != shape.rank() || both.iter().zip(shape.iter()).any(stretched) {
        return Err(refused());
    }
    Ok(vec![Spec::new(x.dtype, shape)])
}

fn view_broadcast_to(_: &Attrs, x: &Layout, output: &[usize]) -> Layout {
    let added = output.len() - x.sizes.len();
    let stride = |axis: usize| match axis.checked_sub(added) {
        Some(axis) if x.sizes[axis] != 1 => x.strides[axis],
        _ => 0,
    };
    Layout { sizes: output.into(), strides: (0..output.len()).map(stride).collect(), ..x.clone() }
}

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "constant",
        version: 1,
        doc: "A tensor that is part of the graph.",
        dtypes: DTypes::ALL,
        inputs: &[],
        outputs: &["output"],
        attrs: &[required("value", AttrType::Tensor, "The tensor.")],
        regions: &[],
        infer: |infer| Ok(vec![infer.attrs.tensor("value")?.spec()]),
        meaning: Meaning::Kernel(Kernel::dense(run_constant)),
        vjp: Vjp::NotDifferentiable("it has no input"),
        samples: &[
            Sample { inputs: &[], attrs: r#"{"value": {"dtype": "float32", "shape": [2], "data": [1.5, -2]}}"# },
            Sample { inputs: &[], attrs: r#"{"value": {"dtype": "bool", "shape": [], "data": [1]}}"# },
        ],
    },
    OpDef {
        name: "iota",
        version: 1,
        doc: "Indices along an axis: the element at [i0, i1, ...] is the index along `axis`. Integers wrap, floats \
            round.",
        dtypes: DTypes::NUMERIC,
        inputs: &[],
        outputs: &["output"],
        attrs: &[
            required("shape", AttrType::Dims, "The shape of the output."),
            defaulted("axis", AttrType::Int, "0", "The axis whose indices are counted."),
            defaulted("dtype", AttrType::DType, "\"int64\"", "The dtype of the output, an integer or a float."),
        ],
        regions: &[],
        infer: infer_iota,
        meaning: Meaning::Kernel(Kernel::dense(run_iota)),
        vjp: Vjp::NotDifferentiable("it has no input"),
        samples: &[
            Sample { inputs: &[], attrs: r#"{"shape": [4]}"# },
            Sample { inputs: &[], attrs: r#"{"shape": [2, 3, 2], "axis": 1, "dtype": "float32"}"# },
            Sample { inputs: &[], attrs: r#"{"shape": [2, 300], "axis": -1, "dtype": "uint8"}"# },
            Sample { inputs: &[], attrs: r#"{"shape": [0, 3], "axis": 1, "dtype": "int32"}"# },
        ],
    },
    OpDef {
        name: "dim",
        version: 1,
        doc: "The size of an axis of x, as a scalar of dtype int64.",
        dtypes: DTypes::ALL,
        inputs: X,
        outputs: &["output"],
        attrs: &[required("axis", AttrType::Int, "The axis.")],
        regions: &[],
        infer: infer_dim,
        meaning: Meaning::Kernel(Kernel { takes_strides: true, ..Kernel::dense(run_dim) }),
        vjp: CONSTANT,
        samples: &[
            Sample { inputs: &["T[2, 3]"], attrs: r#"{"axis": 1}"# },
            Sample { inputs: &["T[2, 0]"], attrs: r#"{"axis": -1}"# },
        ],
    },
    OpDef {
        name: "reshape",
        version: 1,
        doc: "The same elements in row-major order under another shape, which has as many. One dim may be -1: what is \
            left. Over symbols the quotient is found where there is one, else it is checked when sizes are known.",
        dtypes: DTypes::ALL,
        inputs: X,
        outputs: &["output"],
        attrs: &[required("shape", AttrType::Dims, "The new shape; at most one dim is -1.")],
        regions: &[],
        infer: infer_reshape,
        meaning: Meaning::Kernel(Kernel { view: Some(view_reshape), ..Kernel::dense(copy::run) }),
        vjp: Vjp::Rule(|b| {
            let (shape, cotangent) = (b.shape(0), b.cotangent()?);
            Ok(vec![Some(b.graph.reshape(cotangent, &shape)?)])
        }),
        samples: &[
            Sample { inputs: &["T[2, 6]"], attrs: r#"{"shape": [3, -1]}"# },
            Sample { inputs: &["T[2, 3]"], attrs: r#"{"shape": [6]}"# },
            Sample { inputs: &["T[1, 1]"], attrs: r#"{"shape": []}"# },
            Sample { inputs: &["T[0, 3]"], attrs: r#"{"shape": [-1, 5]}"# },
        ],
    },
    OpDef {
        name: "transpose",
        version: 1,
        doc: "Permutes axes: axis i of the output is axis axes[i] of x.",
        dtypes: DTypes::ALL,
        inputs: X,
        outputs: &["output"],
        attrs: &[defaulted("axes", AttrType::Ints, "null", "Each axis of x once; null reverses them.")],
        regions: &[],
        infer: infer_transpose,
        meaning: Meaning::Kernel(moving(|call| copy::through(call, view_transpose), view_transpose)),
        vjp: Vjp::Rule(transpose_vjp),
        samples: &[
            Sample { inputs: &["T[2, 3]"], attrs: "{}" },
            Sample { inputs: &["T[2, 3, 4]"], attrs: r#"{"axes": [2, 0, 1]}"# },
            Sample { inputs: &["T[3, 2, 2, 2]"], attrs: r#"{"axes": [0, -1, 1, 2]}"# },
            Sample { inputs: &["T[]"], attrs: "{}" },
            Sample { inputs: &["T[0, 3]"], attrs: r#"{"axes": [1, 0]}"# },
        ],
    },
    OpDef {
        name: "broadcast_to",
        version: 1,
        doc: "x repeated to a shape by NumPy's rules: x's dims, aligned at the last, are equal to the shape's or 1.",
        dtypes: DTypes::ALL,
        inputs: X,
        outputs: &["output"],
        attrs: &[required("shape", AttrType::Dims, "The shape of the output.")],
        regions: &[],
        infer: infer_broadcast_to,
        meaning: Meaning::Kernel(moving(|call| copy::through(call, view_broadcast_to), view_broadcast_to)),
        vjp: Vjp::Rule(|b| {
            let (shape, cotangent) = (b.shape(0), b.cotangent()?);
            Ok(vec![Some(b.graph.unbroadcast(cotangent, &shape)?)])
        }),
        samples: &[
            Sample { inputs: &["T[3]"], attrs: r#"{"shape": [2, 3]}"# },
            Sample { inputs: &["T[2, 1]"], attrs: r#"{"shape": [4, 2, 3]}"# },
            Sample { inputs: &["T[]"], attrs: r#"{"shape": [5]}"# },
            Sample { inputs: &["T[1, 3]"], attrs: r#"{"shape": [0, 3]}"# },
        ],
    },
];

#[cfg(test)]
mod tests {
    use crate::ops::testing::check;

    #[test]
    fn reshape_finds_what_is_left() {
        check(
            "reshape",
            &[
                (r#"{"shape": [3, -1]}"#, &["float32[2, 6]"], "float32[3, 4]"),
                (r#"{"shape": ["n", -1]}"#, &["float32[n, 2, 3]"], "float32[n, 6]"),
                (r#"{"shape": [-1, 12]}"#, &["float32[n, 2, 6]"], "float32[n, 12]"),
                (r#"{"shape": [-1, 2]}"#, &["int8[n]"], "int8[floordiv(n, 2), 2] where n == 2*floordiv(n, 2)"),
                (r#"{"shape": ["n", 2]}"#, &["int8[m, 2]"], "int8[n, 2] where 2*m == 2*n"),
                (r#"{"shape": [-1, 5]}"#, &["bool[0, 3]"], "bool[0, 5]"),
                (
                    r#"{"shape": [4, -1]}"#,
                    &["float32[2, 3]"],
                    "reshape: x [2, 3] has 6 elements, which the shape [4, -1] has not",
                ),
                (
                    r#"{"shape": [4]}"#,
                    &["float32[2, 3]"],
                    "reshape: x [2, 3] has 6 elements, which the shape [4] has not",
                ),
                (r#"{"shape": [-1, -1]}"#, &["float32[4]"], "reshape: the shape [-1, -1] has more than one -1"),
                (
                    r#"{"shape": [-1, 0]}"#,
                    &["float32[0]"],
                    "reshape: the -1 in the shape [-1, 0] could be anything beside a 0",
                ),
                (r#"{"shape": [-2]}"#, &["float32[2]"], "reshape: the shape [-2] has the negative dim -2"),
            ],
        );
    }

    #[test]
    fn shapes_are_inferred_and_refused() {
        check(
            "transpose",
            &[
                ("{}", &["float32[a, 2, b]"], "float32[b, 2, a]"),
                (r#"{"axes": [1, -3, 2]}"#, &["float32[a, 2, b]"], "float32[2, a, b]"),
                (r#"{"axes": [0, 0]}"#, &["float32[2, 3]"], "transpose: axes [0, 0] do not name each of 2 axes once"),
                (r#"{"axes": [0, 2]}"#, &["float32[2, 3]"], "transpose: axis 2 is out of range for rank 2"),
            ],
        );
        check(
            "broadcast_to",
            &[
                (r#"{"shape": [2, "n", 3]}"#, &["float32[n, 1]"], "float32[2, n, 3]"),
                (r#"{"shape": ["m"]}"#, &["float32[n]"], "float32[m] where n == m"),
                (r#"{"shape": [1]}"#, &["float32[3]"], "broadcast_to: x [3] cannot be broadcast to [1]"),
                (r#"{"shape": [3]}"#, &["float32[1, 3]"], "broadcast_to: x [1, 3] cannot be broadcast to [3]"),
            ],
        );
        check(
            "iota",
            &[(r#"{"shape": ["n"], "dtype": "bool"}"#, &[], "iota: dtype is bool; it can be an integer or a float")],
        );
        check("dim", &[(r#"{"axis": 1}"#, &["float32[2, n]"], "int64[]")]);
    }
}
