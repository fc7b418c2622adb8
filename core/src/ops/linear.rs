//! Products: sums of products over axes that two tensors share.

use crate::attrs::{AttrDef, AttrType, AttrValue, Attrs};
use crate::cpu::call::{Call, Layout, List, dense_strides};
use crate::cpu::copy;
use crate::cpu::gemm::{Matrix, Operand, Sizes, gemm, gemm_workspace};
use crate::cpu::memory::cast_slice_mut;
use crate::cpu::work::{Stop, Work};
use crate::dispatch;
use crate::dtype::{DTypes, Element};
use crate::error::{Error, Result};
use crate::graph::Value;
use crate::infer::Infer;
use crate::op::{Backward, InputDef, Kernel, Lowering, Meaning, OpDef, Sample, Spec, Vjp, normalize_axis};
use crate::shape::{Dim, Shape, broadcast};
use smallvec::smallvec;

const XY: &[InputDef] = &[InputDef::of("x"), InputDef::of("y")];

const fn axes(name: &'static str, doc: &'static str) -> AttrDef {
    AttrDef { name, kind: AttrType::Ints, default: Some("[]"), doc }
}

/// The axes of one operand of dot_general by what they are for.
struct Axes {
    batch: List<usize>,
    contract: List<usize>,
    /// The rest, in increasing order.
    free: List<usize>,
}

impl Axes {
    /// Those of the operand whose attrs begin with `operand`.
    ///
    /// # Errors
    /// `argument`: an axis is out of range, or stands twice.
    fn new(attrs: &Attrs, operand: &str, rank: usize) -> Result<Axes> {
        let (batch, contract) = if operand == "x" { ("x_batch", "x_contract") } else { ("y_batch", "y_contract") };
        let mut used: List<bool> = smallvec![false; rank];
        let mut list = |name: &str| {
            let axes = attrs.int_list(name).unwrap_or(&[]);
            let index = |&axis: &i64| {
                let refuse = |text: String| Error::argument(text).with_argument(name);
                let index = normalize_axis(axis, rank)
                    .map_err(|_| refuse(format!("{name} has axis {axis}, {operand} has rank {rank}")))?;
                if std::mem::replace(&mut used[index], true) {
                    return Err(refuse(format!("axis {index} of {operand} stands twice in {batch} and {contract}")));
                }
                Ok(index)
            };
            axes.iter().map(index).collect::<Result<List<_>>>()
        };
        let (batch, contract) = (list(batch)?, list(contract)?);
        let free = (0..rank).filter(|&axis| !used[axis]).collect();
        Ok(Axes { batch, contract, free })
    }
}

fn infer_dot_general(infer: &mut Infer) -> Result<Vec<Spec>> {
    let (x, y) = (infer.input(0)?, infer.input(1)?);
    let x_axes = Axes::new(infer.attrs, "x", x.shape.rank())?;
    let y_axes = Axes::new(infer.attrs, "y", y.shape.rank())?;
    let mut dims = Vec::new();
    for (kind, of_x, of_y) in
        [("batch", &x_axes.batch, &y_axes.batch), ("contract", &x_axes.contract, &y_axes.contract)]
    {
        if of_x.len() != of_y.len() {
            let (of_x, of_y) = (of_x.len(), of_y.len());
            return Err(Error::argument(format!("x_{kind} has {of_x} axes, y_{kind} has {of_y}")));
        }
        for (&of_x, &of_y) in of_x.iter().zip(of_y) {
            let dim = infer.unify(&x.shape[of_x], &y.shape[of_y]).map_err(|_| {
                Error::shape(format!("shapes {} and {} differ at {kind} axes {of_x} and {of_y}", x.shape, y.shape))
            })?;
            if kind == "batch" {
                dims.push(dim);
            }
        }
    }
    dims.extend(x_axes.free.iter().map(|&axis| x.shape[axis].clone()));
    dims.extend(y_axes.free.iter().map(|&axis| y.shape[axis].clone()));
    Ok(vec![Spec::new(x.dtype, Shape::new(dims)?)])
}

fn positions(range: std::ops::Range<usize>) -> AttrValue {
    AttrValue::Ints(range.map(|axis| axis as i64).collect())
}

fn integers(axes: &[usize]) -> AttrValue {
    AttrValue::Ints(axes.iter().map(|&axis| axis as i64).collect())
}

/// Moves the axes of a cotangent, which now are `order` (axes of the operand), to their places.
fn restore(b: &mut Backward, cotangent: Value, order: &[usize]) -> Result<Value> {
    if order.is_sorted() {
        return Ok(cotangent);
    }
    let mut axes = vec![0; order.len()];
    order.iter().enumerate().for_each(|(position, &axis)| axes[axis] = position as i64);
    b.graph.transpose(cotangent, &axes)
}

/// For each axis in the sorted `contract` axes of one operand, the axis of the other that it is paired with.
fn partners(contract: &[usize], partner: &[usize]) -> Vec<usize> {
    let mut pairs: Vec<_> = contract.iter().zip(partner).collect();
    pairs.sort_unstable();
    pairs.into_iter().map(|(_, &partner)| partner).collect()
}

/// The cotangent [batch, x free, y free] is contracted with y's free axes for x, with x's free axes for y.
fn dot_general_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let cotangent = b.cotangent()?;
    let (x, y) = (b.inputs[0], b.inputs[1]);
    let x_axes = Axes::new(b.attrs, "x", b.shape(0).rank())?;
    let y_axes = Axes::new(b.attrs, "y", b.shape(1).rank())?;
    let batch = x_axes.batch.len();
    let middle = batch + x_axes.free.len();
    let to_x = if b.wanted[0] {
        let attrs = [
            ("x_batch", positions(0..batch)),
            ("y_batch", integers(&y_axes.batch)),
            ("x_contract", positions(middle..middle + y_axes.free.len())),
            ("y_contract", integers(&y_axes.free)),
        ];
        let result = b.graph.op("dot_general", &attrs, &[cotangent, y])?;
        let order = [&x_axes.batch[..], &x_axes.free, &partners(&y_axes.contract, &x_axes.contract)].concat();
        Some(restore(b, result, &order)?)
    } else {
        None
    };
    let to_y = if b.wanted[1] {
        let attrs = [
            ("x_batch", integers(&x_axes.batch)),
            ("y_batch", positions(0..batch)),
            ("x_contract", integers(&x_axes.free)),
            ("y_contract", positions(batch..middle)),
        ];
        let result = b.graph.op("dot_general", &attrs, &[x, cotangent])?;
        let order = [&y_axes.batch[..], &partners(&x_axes.contract, &y_axes.contract), &y_axes.free].concat();
        Some(restore(b, result, &order)?)
    } else {
        None
    };
    Ok(vec![to_x, to_y])
}

/// One operand as a batch of matrices.
pub(crate) struct Matrices {
    /// The operand with its axes in the order in which they are read.
    pub layout: Layout,
    /// Whether its axes do not make matrices, so that it is copied into the workspace in that order first.
    pub copied: bool,
    pub offset: usize,
    pub batch: List<isize>,
    pub row: isize,
    pub column: isize,
}

/// The stride of several axes as one, if their elements are evenly spaced.
fn collapse(layout: &Layout, axes: std::ops::Range<usize>) -> Option<isize> {
    let mut stride = None;
    let mut next = 0isize;
    for axis in axes.rev().filter(|&axis| layout.sizes[axis] != 1) {
        match stride {
            None => stride = Some(layout.strides[axis]),
            Some(_) if layout.strides[axis] != next => return None,
            Some(_) => {}
        }
        next = layout.strides[axis].checked_mul(layout.sizes[axis] as isize)?;
    }
    Some(stride.unwrap_or(0))
}

impl Matrices {
    /// `rows` and `columns` are the axes that become those of the matrices.
    fn new(layout: &Layout, batch: &[usize], rows: &[usize], columns: &[usize]) -> Matrices {
        let order = || [batch, rows, columns].into_iter().flatten();
        let layout = Layout {
            dtype: layout.dtype,
            sizes: order().map(|&axis| layout.sizes[axis]).collect(),
            strides: order().map(|&axis| layout.strides[axis]).collect(),
            offset: layout.offset,
        };
        let (first, second) = (batch.len(), batch.len() + rows.len());
        let strides = |layout: &Layout| {
            let rank = layout.sizes.len();
            Some((collapse(layout, first..second)?, collapse(layout, second..rank)?))
        };
        let direct = if layout.sizes.contains(&0) { Some((0, 0)) } else { strides(&layout) };
        if let Some((row, column)) = direct {
            let (offset, batch) = (layout.offset, layout.strides[..first].into());
            return Matrices { layout, copied: false, offset, batch, row, column };
        }
        let dense = Layout { strides: dense_strides(&layout.sizes), offset: 0, ..layout.clone() };
        let (row, column) = strides(&dense).unwrap_or((0, 0));
        Matrices { layout, copied: true, offset: 0, batch: dense.strides[..first].into(), row, column }
    }

    /// Bytes of workspace that a copy takes, in whole cache lines.
    fn bytes(&self) -> usize {
        if self.copied { self.layout.bytes().next_multiple_of(64) } else { 0 }
    }

    /// The elements to read: the operand's, or those of a copy of it.
    fn prepare<'a, T: Element>(&self, work: &mut Work, data: &'a [T], copied: &'a mut [u8]) -> Result<&'a [T], Stop> {
        if !self.copied {
            return Ok(data);
        }
        let copied = &mut cast_slice_mut::<T>(copied)[..self.layout.elements()];
        copy::strided(work, &self.layout, data, copied)?;
        Ok(copied)
    }

    fn matrix<'a, T>(&'a self, data: &'a [T]) -> Matrix<'a, T> {
        Matrix { data, offset: self.offset, row: self.row, column: self.column, batch: &self.batch }
    }
}

/// A dot_general as a batch of matrix products.
pub(crate) struct Products {
    pub batch: List<usize>,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub x: Matrices,
    pub y: Matrices,
}

impl Products {
    /// None for attrs that infer has not seen.
    pub fn new(attrs: &Attrs, x: &Layout, y: &Layout) -> Option<Products> {
        let x_axes = Axes::new(attrs, "x", x.sizes.len()).ok()?;
        let y_axes = Axes::new(attrs, "y", y.sizes.len()).ok()?;
        let size = |layout: &Layout, axes: &[usize]| axes.iter().map(|&axis| layout.sizes[axis]).product();
        Some(Products {
            batch: x_axes.batch.iter().map(|&axis| x.sizes[axis]).collect(),
            m: size(x, &x_axes.free),
            n: size(y, &y_axes.free),
            k: size(x, &x_axes.contract),
            x: Matrices::new(x, &x_axes.batch, &x_axes.free, &x_axes.contract),
            y: Matrices::new(y, &y_axes.batch, &y_axes.contract, &y_axes.free),
        })
    }

    fn sizes(&self) -> Sizes<'_> {
        Sizes { batch: &self.batch, m: self.m, n: self.n, k: self.k }
    }

    fn run<T: Element + Operand>(&self, call: &mut Call) -> Result<(), Stop> {
        let (x, y) = (call.input(0).elements::<T>(), call.input(1).elements::<T>());
        let copies = self.x.bytes() + self.y.bytes();
        let (copies, rest) = call.workspace.split_at_mut_checked(copies).ok_or(Stop::OutOfMemory)?;
        let (x_copy, y_copy) = copies.split_at_mut(self.x.bytes());
        let x = self.x.prepare(&mut call.work, x, x_copy)?;
        let y = self.y.prepare(&mut call.work, y, y_copy)?;
        let output = call.outputs[0].elements::<T>();
        gemm(&mut call.work, &self.sizes(), self.x.matrix(x), self.y.matrix(y), output, rest, call.finish)
    }
}

fn run_dot_general(call: &mut Call) -> Result<(), Stop> {
    let (x, y) = (call.input(0).layout(), call.input(1).layout());
    let Some(products) = Products::new(call.attrs, x, y) else {
        unreachable!("infer has checked the axes");
    };
    dispatch!(x.dtype, T => products.run::<T>(call))
}

fn dot_general_workspace(attrs: &Attrs, inputs: &[Layout], _: &[Layout]) -> u64 {
    let [x, y] = inputs else { return 0 };
    let Some(products) = Products::new(attrs, x, y) else { return 0 };
    let packed = dispatch!(x.dtype, T => gemm_workspace::<T>(&products.sizes()));
    packed.saturating_add((products.x.bytes() + products.y.bytes()) as u64)
}

/// An operand of rank 1 is a row on the left and a column on the right, whose axis the output lacks.
fn infer_matmul(infer: &mut Infer) -> Result<Vec<Spec>> {
    let (x, y) = (&infer.input(0)?.shape, &infer.input(1)?.shape);
    for (name, shape) in [("x", x), ("y", y)] {
        if shape.rank() == 0 {
            return Err(Error::shape(format!("{name} is a scalar; multiply by mul")).with_argument(name));
        }
    }
    let (x_batch, x_matrix) = x.split_at(x.rank().saturating_sub(2));
    let (y_batch, y_matrix) = y.split_at(y.rank().saturating_sub(2));
    let (columns, rows) = (&x_matrix[x_matrix.len() - 1], &y_matrix[0]);
    infer.unify(columns, rows).map_err(|_| {
        let which = if y_matrix.len() == 2 { "the last but one" } else { "the" };
        Error::shape(format!("x {x} times y {y}: the last dim of x is {columns}, {which} dim of y is {rows}"))
    })?;
    let (x_batch, y_batch) = (Shape::new(x_batch.to_vec())?, Shape::new(y_batch.to_vec())?);
    let batch = infer.broadcast(&x_batch, &y_batch).map_err(|_| {
        Error::shape(format!(
            "x {x} times y {y}: the leading dims {x_batch} and {y_batch} cannot be broadcast together"
        ))
    })?;
    let (free_of_x, free_of_y) = (&x_matrix[..x_matrix.len() - 1], &y_matrix[1..]);
    let dims = batch.iter().chain(free_of_x).chain(free_of_y).cloned().collect();
    Ok(vec![Spec::new(infer.input(0)?.dtype, Shape::new(dims)?)])
}

/// One dot_general: without a batch where y is a vector or a matrix, or x a vector; else both operands broadcast.
fn lower_matmul(lowering: &mut Lowering) -> Result<Vec<Value>> {
    let (x_shape, y_shape) = (lowering.shape(0), lowering.shape(1));
    let (x_rank, y_rank) = (x_shape.rank(), y_shape.rank());
    let (mut x, mut y) = (lowering.inputs[0], lowering.inputs[1]);
    let graph = &mut *lowering.graph;
    let batch = if x_rank == 1 || y_rank <= 2 { 0 } else { x_rank.max(y_rank) - 2 };
    if batch > 0 {
        let (x_outer, y_outer) =
            (Shape::new(x_shape[..x_rank - 2].to_vec())?, Shape::new(y_shape[..y_rank - 2].to_vec())?);
        let outer = broadcast(&x_outer, &y_outer, &mut Vec::new())?;
        let whole = |matrix: &[Dim]| Shape::new(outer.iter().chain(matrix).cloned().collect());
        x = graph.broadcast_to(x, &whole(&x_shape[x_rank - 2..])?)?;
        y = graph.broadcast_to(y, &whole(&y_shape[y_rank - 2..])?)?;
    }
    let (x_rank, y_rank) = (graph.spec(x).shape.rank(), graph.spec(y).shape.rank());
    let attrs = [
        ("x_batch", positions(0..batch)),
        ("y_batch", positions(0..batch)),
        ("x_contract", positions(x_rank - 1..x_rank)),
        ("y_contract", integers(&[y_rank.saturating_sub(2)])),
    ];
    Ok(vec![graph.op("dot_general", &attrs, &[x, y])?])
}

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "matmul",
        version: 1,
        doc: "Matrix product as in the array API: [..., m, k] times [..., k, n] is [..., m, n], leading dims broadcast.\n\
            A vector on the left is a row, on the right a column, whose axis the output lacks; two vectors give a \
            scalar. Scalars are refused. Floats sum over k in increasing order, `float16` and `bfloat16` in `float32`; \
            where the machine fuses multiply and add the sums are rounded once per step. Integers wrap.",
        dtypes: DTypes::NUMERIC,
        inputs: XY,
        outputs: &["output"],
        attrs: &[],
        regions: &[],
        infer: infer_matmul,
        meaning: Meaning::Lower(lower_matmul),
        vjp: Vjp::Lowered,
        samples: &[
            Sample { inputs: &["T[2, 3]", "T[3, 4]"], attrs: "{}" },
            Sample { inputs: &["T[3]", "T[3]"], attrs: "{}" },
            Sample { inputs: &["T[3]", "T[3, 2]"], attrs: "{}" },
            Sample { inputs: &["T[2, 3]", "T[3]"], attrs: "{}" },
            Sample { inputs: &["T[4, 2, 3]", "T[3, 2]"], attrs: "{}" },
            Sample { inputs: &["T[3]", "T[2, 3, 2]"], attrs: "{}" },
            Sample { inputs: &["T[2, 3]", "T[2, 3, 2]"], attrs: "{}" },
            Sample { inputs: &["T[2, 1, 2, 3]", "T[3, 3, 2]"], attrs: "{}" },
            Sample { inputs: &["T[2, 0]", "T[0, 3]"], attrs: "{}" },
            Sample { inputs: &["T[0, 3]", "T[3, 2]"], attrs: "{}" },
            Sample { inputs: &["T[33, 70]", "T[70, 19]"], attrs: "{}" },
        ],
    },
    OpDef {
        name: "dot_general",
        version: 1,
        doc: "Sum of products over pairs of axes, as in XLA: the output is [batch..., free of x..., free of y...].\n\
            The i-th axis of x_batch goes with the i-th of y_batch, that of x_contract with that of y_contract; batch \
            axes are kept, contracted ones summed over, the others are free and keep their order. Sums are those of \
            matmul.",
        dtypes: DTypes::NUMERIC,
        inputs: XY,
        outputs: &["output"],
        attrs: &[
            axes("x_batch", "Axes of x that go with those of y_batch."),
            axes("y_batch", "Axes of y that go with those of x_batch."),
            axes("x_contract", "Axes of x that are summed over with those of y_contract."),
            axes("y_contract", "Axes of y that are summed over with those of x_contract."),
        ],
        regions: &[],
        infer: infer_dot_general,
        meaning: Meaning::Kernel(Kernel {
            run: run_dot_general,
            workspace: dot_general_workspace,
            takes_strides: true,
            view: None,
        }),
        vjp: Vjp::Rule(dot_general_vjp),
        samples: &[
            Sample { inputs: &["T[2, 3]", "T[4, 3]"], attrs: r#"{"x_contract": [1], "y_contract": [1]}"# },
            Sample { inputs: &["T[3, 2]", "T[3, 4]"], attrs: r#"{"x_contract": [0], "y_contract": [0]}"# },
            Sample { inputs: &["T[2]", "T[3]"], attrs: "{}" },
            Sample {
                inputs: &["T[2, 4, 3]", "T[3, 2, 5]"],
                attrs: r#"{"x_batch": [0], "y_batch": [1], "x_contract": [2], "y_contract": [0]}"#,
            },
            Sample { inputs: &["T[2, 3, 4]", "T[4, 2, 5]"], attrs: r#"{"x_contract": [0, 2], "y_contract": [1, 0]}"# },
            Sample {
                inputs: &["T[3, 2, 4]", "T[2, 2, 3]"],
                attrs: r#"{"x_batch": [-2], "y_batch": [1], "x_contract": [0], "y_contract": [2]}"#,
            },
            Sample { inputs: &["T[2, 3]", "T[2, 3]"], attrs: r#"{"x_batch": [0, 1], "y_batch": [0, 1]}"# },
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::*;
    use crate::dtype::DType;

    #[test]
    fn matmul_follows_the_array_api() {
        check(
            "matmul",
            &[
                ("{}", &["float32[n, 3]", "float32[3, 4]"], "float32[n, 4]"),
                ("{}", &["int8[3]", "int16[3]"], "int16[]"),
                ("{}", &["float32[3]", "float32[b, 3, 2]"], "float32[b, 2]"),
                ("{}", &["float32[b, t, 3]", "float32[3]"], "float32[b, t]"),
                ("{}", &["float32[b, 1, n, 3]", "float32[h, 3, 2]"], "float32[b, h, n, 2]"),
                ("{}", &["float32[n, k]", "float32[3, 4]"], "float32[n, 4] where k == 3"),
                ("{}", &["float32[]", "float32[3]"], "matmul: x is a scalar; multiply by mul"),
                (
                    "{}",
                    &["float32[2, 3]", "float32[4, 3]"],
                    "matmul: x [2, 3] times y [4, 3]: the last dim of x is 3, the last but one dim of y is 4",
                ),
                (
                    "{}",
                    &["float32[2, 3]", "float32[4]"],
                    "matmul: x [2, 3] times y [4]: the last dim of x is 3, the dim of y is 4",
                ),
                (
                    "{}",
                    &["float32[2, 5, 3]", "float32[4, 3, 6]"],
                    "matmul: x [2, 5, 3] times y [4, 3, 6]: the leading dims [2] and [4] cannot be broadcast together",
                ),
                (
                    "{}",
                    &["bool[2, 3]", "bool[3]"],
                    "matmul: x is bool; it can be int8, int16, int32, int64, uint8, uint16, uint32, uint64, float16, \
                bfloat16, float32, float64",
                ),
            ],
        );
    }

    #[test]
    fn dot_general_keeps_batch_then_free_axes() {
        check(
            "dot_general",
            &[
                (
                    r#"{"x_batch": [0], "y_batch": [1], "x_contract": [-1], "y_contract": [0]}"#,
                    &["float32[b, n, 3]", "float32[3, b, m]"],
                    "float32[b, n, m]",
                ),
                ("{}", &["float32[2]", "float32[n]"], "float32[2, n]"),
                (
                    r#"{"x_contract": [0], "y_contract": []}"#,
                    &["float32[2]", "float32[2]"],
                    "dot_general: x_contract has 1 axes, y_contract has 0",
                ),
                (
                    r#"{"x_contract": [1], "y_contract": [0]}"#,
                    &["float32[2]", "float32[2]"],
                    "dot_general: x_contract has axis 1, x has rank 1",
                ),
                (
                    r#"{"x_batch": [0], "y_batch": [0], "x_contract": [-2], "y_contract": [1]}"#,
                    &["float32[2, 2]", "float32[2, 2]"],
                    "dot_general: axis 0 of x stands twice in x_batch and x_contract",
                ),
                (
                    r#"{"x_contract": [1], "y_contract": [1]}"#,
                    &["float32[2, 3]", "float32[2, 4]"],
                    "dot_general: shapes [2, 3] and [2, 4] differ at contract axes 1 and 1",
                ),
            ],
        );
    }

    #[test]
    fn strided_operands_are_matrices_where_axes_collapse() {
        let layout = |sizes: &[usize], strides: &[isize]| Layout {
            dtype: DType::F32,
            sizes: sizes.into(),
            strides: strides.into(),
            offset: 5,
        };
        let transposed = Matrices::new(&layout(&[4, 2, 3], &[1, 12, 4]), &[], &[0], &[1, 2]);
        assert_eq!((transposed.copied, transposed.row, transposed.column, transposed.offset), (false, 1, 4, 5));
        let repeated = Matrices::new(&layout(&[7, 2, 3], &[0, 3, 1]), &[0], &[1], &[2]);
        assert_eq!((repeated.copied, repeated.row, repeated.column, &repeated.batch[..]), (false, 3, 1, &[0][..]));
        let scattered = Matrices::new(&layout(&[2, 3, 4], &[12, 4, 1]), &[], &[1], &[2, 0]);
        assert_eq!((scattered.copied, scattered.row, scattered.column, scattered.offset), (true, 8, 1, 0));
        assert_eq!((&scattered.layout.strides[..], scattered.bytes()), (&[4, 1, 12][..], 128));
        let empty = Matrices::new(&layout(&[2, 0, 4], &[0, 4, 1]), &[], &[1], &[2, 0]);
        assert!(!empty.copied);
    }
}
