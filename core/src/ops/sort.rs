//! Sorting.

use super::gather::put_along_axis;
use super::movement::{defaulted, required};
use crate::attrs::{AttrDef, AttrType, Attrs};
use crate::cpu::call::{Call, Layout};
use crate::cpu::recurrence::Extent;
use crate::cpu::sort::{Order, Plan, sort};
use crate::cpu::work::Stop;
use crate::dispatch_width;
use crate::dtype::{DType, DTypes};
use crate::error::{Error, Result};
use crate::graph::Value;
use crate::infer::Infer;
use crate::op::{Backward, InputDef, Kernel, Meaning, OpDef, Sample, Spec, Vjp, normalize_axis};
use crate::shape::Shape;

const X: &[InputDef] = &[InputDef::of("x")];
const AXIS: AttrDef = defaulted("axis", AttrType::Int, "-1", "The axis along which elements are sorted.");
const DESCENDING: AttrDef =
    defaulted("descending", AttrType::Bool, "false", "Whether the greatest element comes first.");
const SAMPLES: &[Sample] = &[
    Sample { inputs: &["T[2, 7]"], attrs: "{}" },
    Sample { inputs: &["T[40, 3]"], attrs: r#"{"axis": 0, "descending": true}"# },
    Sample { inputs: &["T[2, 5, 2]"], attrs: r#"{"axis": 1}"# },
    Sample { inputs: &["T[2, 0]"], attrs: "{}" },
];

fn axis(attrs: &Attrs, rank: usize) -> usize {
    attrs.int("axis").and_then(|axis| normalize_axis(axis, rank)).unwrap_or(0)
}

fn infer_sort(infer: &mut Infer) -> Result<Vec<Spec>> {
    let x = infer.input(0)?;
    normalize_axis(infer.attrs.int("axis")?, x.shape.rank())?;
    Ok(vec![x.clone()])
}

fn infer_argsort(infer: &mut Infer) -> Result<Vec<Spec>> {
    let sorted = infer_sort(infer)?;
    Ok(sorted.into_iter().map(|spec| Spec::new(DType::I64, spec.shape)).collect())
}

fn infer_top_k(infer: &mut Infer) -> Result<Vec<Spec>> {
    let x = infer.input(0)?;
    let axis = normalize_axis(infer.attrs.int("axis")?, x.shape.rank())?;
    let (k, size) = (infer.attrs.dim("k")?, &x.shape[axis]);
    if k.upper_bound().is_some_and(|k| k < 0) {
        return Err(Error::argument(format!("k is {k}, which is negative")).with_argument("k"));
    }
    infer.unify(&k, &k.min(size)?).map_err(|_| {
        Error::shape(format!("k is {k}, x {} has {size} elements along axis {axis}", x.shape)).with_argument("k")
    })?;
    let dims = x.shape.iter().enumerate().map(|(other, dim)| if other == axis { k.clone() } else { dim.clone() });
    let shape = Shape::new(dims.collect())?;
    Ok(vec![Spec::new(x.dtype, shape.clone()), Spec::new(DType::I64, shape)])
}

/// The sort of an input along the attr `axis`, of which the output keeps as many elements as it has.
fn plan(attrs: &Attrs, x: &[usize], output: &[usize], numbered: bool) -> Plan {
    let axis = axis(attrs, x.len());
    let extent = Extent::new(x, axis);
    Plan { extent, keep: output[axis].min(extent.steps), numbered }
}

fn descending(attrs: &Attrs) -> bool {
    attrs.optional_bool("descending").or(attrs.optional_bool("largest")).unwrap_or(false)
}

/// Sorts the first input; the outputs are values, indices, or both.
fn run(call: &mut Call, valued: bool, numbered: bool) -> Result<(), Stop> {
    let x = call.input(0);
    let plan = plan(call.attrs, x.sizes(), call.outputs[0].sizes(), numbered);
    let order = Order::new(x.dtype(), descending(call.attrs));
    let (values, indices) = call.outputs.split_at_mut(usize::from(valued));
    dispatch_width!(x.dtype(), T => {
        let values = values.first_mut().map(|target| target.elements::<T>());
        let indices = indices.first_mut().map(|target| target.elements::<i64>());
        sort(&mut call.work, (plan, order), x.elements::<T>(), values, indices, call.workspace)
    })
}

fn workspace(attrs: &Attrs, inputs: &[Layout], outputs: &[Layout], numbered: bool) -> u64 {
    let ([x], [output, ..]) = (inputs, outputs) else { return 0 };
    plan(attrs, &x.sizes, &output.sizes, numbered).workspace(x.dtype.size())
}

/// The cotangent goes to where the elements were.
fn sort_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (x, shape, cotangent) = (b.inputs[0], b.shape(0), b.cotangent()?);
    let axis = normalize_axis(b.attrs.int("axis")?, shape.rank())?;
    let attrs = ["axis", "descending"].map(|name| (name, b.attrs.value(name).clone()));
    let indices = b.graph.op("argsort", &attrs, &[x])?;
    Ok(vec![Some(put_along_axis(b.graph, &shape, axis, indices, cotangent)?)])
}

fn top_k_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (shape, cotangent, indices) = (b.shape(0), b.cotangent()?, b.outputs[1]);
    let axis = normalize_axis(b.attrs.int("axis")?, shape.rank())?;
    Ok(vec![Some(put_along_axis(b.graph, &shape, axis, indices, cotangent)?)])
}

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "sort",
        version: 1,
        doc: "Elements in increasing order along an axis. Equal ones keep their order, also 0 and -0. NaN is greater \
            than any number: it comes last, or first if descending. The gradient goes to where the elements were.",
        dtypes: DTypes::ALL,
        inputs: X,
        outputs: &["output"],
        attrs: &[AXIS, DESCENDING],
        regions: &[],
        infer: infer_sort,
        meaning: Meaning::Kernel(Kernel {
            workspace: |attrs, inputs, outputs| workspace(attrs, inputs, outputs, false),
            ..Kernel::dense(|call| run(call, true, false))
        }),
        vjp: Vjp::Rule(sort_vjp),
        samples: SAMPLES,
    },
    OpDef {
        name: "argsort",
        version: 1,
        doc: "Indices (int64) that sort x along an axis: taking them along it gives what sort gives. Equal elements \
            keep their order, also 0 and -0. NaN is greater than any number: it comes last, or first if descending.",
        dtypes: DTypes::ALL,
        inputs: X,
        outputs: &["output"],
        attrs: &[AXIS, DESCENDING],
        regions: &[],
        infer: infer_argsort,
        meaning: Meaning::Kernel(Kernel {
            workspace: |attrs, inputs, outputs| workspace(attrs, inputs, outputs, true),
            ..Kernel::dense(|call| run(call, false, true))
        }),
        vjp: Vjp::NotDifferentiable("its output is an integer"),
        samples: SAMPLES,
    },
    OpDef {
        name: "top_k",
        version: 1,
        doc: "The k greatest (or least) elements along an axis, the most extreme first, and their indices (int64). \
            Of equal ones the first comes first. NaN is greater than any number. The gradient of the values goes to \
            where they were.",
        dtypes: DTypes::ALL,
        inputs: X,
        outputs: &["values", "indices"],
        attrs: &[
            required("k", AttrType::Dim, "How many elements, at most as many as there are."),
            defaulted("axis", AttrType::Int, "-1", "The axis along which elements compete."),
            defaulted("largest", AttrType::Bool, "true", "Whether it is the greatest or the least."),
        ],
        regions: &[],
        infer: infer_top_k,
        meaning: Meaning::Kernel(Kernel {
            workspace: |attrs, inputs, outputs| workspace(attrs, inputs, outputs, true),
            ..Kernel::dense(|call| run(call, true, true))
        }),
        vjp: Vjp::Rule(top_k_vjp),
        samples: &[
            Sample { inputs: &["T[2, 7]"], attrs: r#"{"k": 3}"# },
            Sample { inputs: &["T[40, 3]"], attrs: r#"{"k": 5, "axis": 0, "largest": false}"# },
            Sample { inputs: &["T[2, 3]"], attrs: r#"{"k": 3}"# },
            Sample { inputs: &["T[3]"], attrs: r#"{"k": 0}"# },
        ],
    },
];

#[cfg(test)]
mod tests {
    use crate::ops::testing::check;

    #[test]
    fn sorted_shapes_are_inferred_and_refused() {
        check(
            "argsort",
            &[
                ("{}", &["float32[n, 3]"], "int64[n, 3]"),
                ("{}", &["float32[]"], "argsort: axis -1 is out of range for rank 0"),
            ],
        );
        check(
            "top_k",
            &[
                (r#"{"k": 2}"#, &["float32[n, 3]"], "float32[n, 2], int64[n, 2]"),
                (r#"{"k": "n", "axis": 0}"#, &["float32[n+m, 3]"], "float32[n, 3], int64[n, 3]"),
                (r#"{"k": 2, "axis": 0}"#, &["bool[n]"], "bool[2], int64[2] where 2 == min(n, 2)"),
                (r#"{"k": 4}"#, &["float32[n, 3]"], "top_k: k is 4, x [n, 3] has 3 elements along axis 1"),
                (r#"{"k": -1}"#, &["float32[n, 3]"], "top_k: k is -1, which is negative"),
            ],
        );
    }
}
