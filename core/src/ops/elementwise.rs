//! Element-wise ops: each is an expression over its inputs' elements, which broadcast as in NumPy.

use crate::attrs::{AttrDef, AttrType, Attrs};
use crate::dtype::{DType, DTypes};
use crate::error::{Error, Result};
use crate::graph::Value;
use crate::infer::{Infer, elementwise, predicate};
use crate::op::{Backward, Check, InputDef, Meaning, OpDef, Sample, Spec, Vjp};
use crate::scalar::{Binary, Comparison, Expression, Register, Unary};

pub(super) const X: &[InputDef] = &[InputDef::of("x")];
pub(super) const XY: &[InputDef] = &[InputDef::of("x"), InputDef::of("y")];
const DIVISION: &[InputDef] = &[InputDef::of("x"), InputDef::of("y").checked(Check::NotZero)];

pub(super) const ONE: &[Sample] = &[
    Sample { inputs: &["T[2, 3]"], attrs: "{}" },
    Sample { inputs: &["T[]"], attrs: "{}" },
    Sample { inputs: &["T[0, 3]"], attrs: "{}" },
    Sample { inputs: &["T[1003]"], attrs: "{}" },
];
const TWO: &[Sample] = &[
    Sample { inputs: &["T[2, 3]", "T[2, 3]"], attrs: "{}" },
    Sample { inputs: &["T[2, 3]", "T[3]"], attrs: "{}" },
    Sample { inputs: &["T[4, 1, 3]", "T[2, 1]"], attrs: "{}" },
    Sample { inputs: &["T[]", "T[3]"], attrs: "{}" },
    Sample { inputs: &["T[0, 3]", "T[3]"], attrs: "{}" },
    Sample { inputs: &["T[17, 65]", "T[65]"], attrs: "{}" },
];

/// What is divided with a remainder: integers by 0 too.
const DIVIDED: &[Sample] = &[
    Sample { inputs: &["T[2, 3]", "T[2, 3]"], attrs: "{}" },
    Sample { inputs: &["T[4, 1, 3]", "T[2, 1]"], attrs: "{}" },
    Sample { inputs: &["T[17, 65]", "T[65] in 1..4"], attrs: "{}" },
];

macro_rules! unary {
    ($name:literal, $op:ident, $dtypes:ident, $samples:expr, $vjp:expr, $doc:literal) => {
        OpDef {
            name: $name,
            version: 1,
            doc: $doc,
            dtypes: DTypes::$dtypes,
            inputs: X,
            outputs: &["output"],
            attrs: &[],
            regions: &[],
            infer: elementwise,
            meaning: Meaning::Scalar(|e, _, x| e.unary(Unary::$op, x[0])),
            vjp: $vjp,
            samples: $samples,
        }
    };
}

macro_rules! binary {
    ($name:literal, $op:ident, $dtypes:ident, $samples:expr, $vjp:expr, $doc:literal) => {
        OpDef {
            name: $name,
            version: 1,
            doc: $doc,
            dtypes: DTypes::$dtypes,
            inputs: XY,
            outputs: &["output"],
            attrs: &[],
            regions: &[],
            infer: elementwise,
            meaning: Meaning::Scalar(|e, _, x| e.binary(Binary::$op, x[0], x[1])),
            vjp: $vjp,
            samples: $samples,
        }
    };
}

pub(super) use {binary, unary};

macro_rules! comparison {
    ($name:literal, $dtypes:ident, $expression:expr, $doc:literal) => {
        OpDef {
            name: $name,
            version: 1,
            doc: $doc,
            dtypes: DTypes::$dtypes,
            inputs: XY,
            outputs: &["output"],
            attrs: &[],
            regions: &[],
            infer: predicate,
            meaning: Meaning::Scalar($expression),
            vjp: STEPWISE,
            samples: TWO,
        }
    };
}

/// An op that rounds floats to integers and leaves integers as they are.
macro_rules! rounding {
    ($name:literal, $op:ident, $doc:literal) => {
        OpDef {
            name: $name,
            version: 1,
            doc: $doc,
            dtypes: DTypes::NUMERIC,
            inputs: X,
            outputs: &["output"],
            attrs: &[],
            regions: &[],
            infer: elementwise,
            meaning: Meaning::Scalar(|e, _, x| if e.dtype(x[0]).is_float() { e.unary(Unary::$op, x[0]) } else { x[0] }),
            vjp: FLAT,
            samples: ONE,
        }
    };
}

/// An op that says of each element whether it is of some kind.
macro_rules! test {
    ($name:literal, $expression:expr, $doc:literal) => {
        OpDef {
            name: $name,
            version: 1,
            doc: $doc,
            dtypes: DTypes::ALL,
            inputs: X,
            outputs: &["output"],
            attrs: &[],
            regions: &[],
            infer: predicate,
            meaning: Meaning::Scalar($expression),
            vjp: STEPWISE,
            samples: ONE,
        }
    };
}

const FLAT: Vjp = Vjp::NotDifferentiable("it is flat between its steps, so its gradient is 0");
const STEPWISE: Vjp = Vjp::NotDifferentiable("its output is bool or integer");

/// The cotangent of a one-input op: that of the output times `factor`.
pub(super) fn times(b: &mut Backward, factor: Value) -> Result<Vec<Option<Value>>> {
    let cotangent = b.cotangent()?;
    Ok(vec![Some(b.graph.mul(cotangent, factor)?)])
}

/// Sums the cotangents of two broadcast inputs to the inputs' shapes.
pub(super) fn pair(b: &mut Backward, x: Value, y: Value) -> Result<Vec<Option<Value>>> {
    let (x_shape, y_shape) = (b.shape(0), b.shape(1));
    let x = if b.wanted[0] { Some(b.graph.unbroadcast(x, &x_shape)?) } else { None };
    let y = if b.wanted[1] { Some(b.graph.unbroadcast(y, &y_shape)?) } else { None };
    Ok(vec![x, y])
}

fn cast_expression(e: &mut Expression, attrs: &Attrs, x: &[Register]) -> Register {
    let dtype = attrs.optional_dtype("dtype").unwrap_or(DType::F32);
    e.cast(dtype, x[0])
}

fn bitcast_expression(e: &mut Expression, attrs: &Attrs, x: &[Register]) -> Register {
    let dtype = attrs.optional_dtype("dtype").unwrap_or(DType::F32);
    e.bitcast(dtype, x[0])
}

/// 1 for what is above 0, -1 below; else a sum with 0, which is 0 for -0 and NaN for NaN.
fn sign_expression(e: &mut Expression, _: &Attrs, x: &[Register]) -> Register {
    let (x, dtype) = (x[0], e.dtype(x[0]));
    let (zero, one, minus) = (e.constant(dtype, 0.0), e.constant(dtype, 1.0), e.constant(dtype, -1.0));
    let (below, above) = (e.compare(Comparison::Less, x, zero), e.compare(Comparison::Less, zero, x));
    let other = e.binary(Binary::Add, x, zero);
    let other = e.select(below, minus, other);
    e.select(above, one, other)
}

/// Compares the magnitudes of floats with infinity; `otherwise` compares others with themselves.
fn against_infinity(e: &mut Expression, x: Register, op: Comparison, otherwise: Comparison) -> Register {
    let dtype = e.dtype(x);
    if !dtype.is_float() {
        return e.compare(otherwise, x, x);
    }
    let (magnitude, infinity) = (e.unary(Unary::Abs, x), e.constant(dtype, f64::INFINITY));
    e.compare(op, magnitude, infinity)
}

fn infer_cast(infer: &mut Infer) -> Result<Vec<Spec>> {
    Ok(vec![Spec::new(infer.attrs.dtype("dtype")?, infer.input(0)?.shape.clone())])
}

fn infer_bitcast(infer: &mut Infer) -> Result<Vec<Spec>> {
    let (from, to) = (infer.input(0)?.dtype, infer.attrs.dtype("dtype")?);
    if from.size() != to.size() || from == DType::Bool || to == DType::Bool {
        return Err(Error::dtype(format!("{from} has not the bits of {to}")).with_argument("dtype"));
    }
    infer_cast(infer)
}

fn infer_where(infer: &mut Infer) -> Result<Vec<Spec>> {
    let shape = infer.broadcast_all()?;
    Ok(vec![Spec::new(infer.input(1)?.dtype, shape)])
}

/// Of a maximum or minimum: the cotangent goes to the input that was taken, half to each where they are equal.
fn taken(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (x, y, output, cotangent) = (b.inputs[0], b.inputs[1], b.outputs[0], b.cotangent()?);
    let mut share = |taken: Value, other: Value| {
        let half = b.graph.scalar_like(output, 0.5)?;
        let one = b.graph.scalar_like(output, 1.0)?;
        let zero = b.graph.scalar_like(output, 0.0)?;
        let is_taken = b.graph.equal(taken, output)?;
        let is_other = b.graph.equal(other, output)?;
        let share = b.graph.select(is_other, half, one)?;
        let share = planted!("grad: maximum without a mask", b.graph.select(is_taken, share, zero)?, share);
        b.graph.mul(cotangent, share)
    };
    let (to_x, to_y) = (share(x, y)?, share(y, x)?);
    pair(b, to_x, to_y)
}

/// Of x - floor(x / y) y: 1, and -floor(x / y).
fn rest(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (x, y, cotangent) = (b.inputs[0], b.inputs[1], b.cotangent()?);
    let quotient = b.graph.op("floor_divide", &[], &[x, y])?;
    let back = b.graph.neg(cotangent)?;
    let to_y = b.graph.mul(back, quotient)?;
    pair(b, cotangent, to_y)
}

fn quotient(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (y, output, cotangent) = (b.inputs[1], b.outputs[0], b.cotangent()?);
    let to_x = b.graph.div(cotangent, y)?;
    let to_y = b.graph.mul(to_x, output)?;
    let to_y = b.graph.neg(to_y)?;
    pair(b, to_x, to_y)
}

fn product(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (x, y, cotangent) = (b.inputs[0], b.inputs[1], b.cotangent()?);
    let to_x = b.graph.mul(cotangent, y)?;
    let to_y = b.graph.mul(cotangent, x)?;
    pair(b, to_x, to_y)
}

fn selected(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (condition, cotangent) = (b.inputs[0], b.cotangent()?);
    let zero = b.graph.scalar_like(cotangent, 0.0)?;
    let yes = b.graph.select(condition, cotangent, zero)?;
    let no = b.graph.select(condition, zero, cotangent)?;
    let (yes_shape, no_shape) = (b.shape(1), b.shape(2));
    Ok(vec![None, Some(b.graph.unbroadcast(yes, &yes_shape)?), Some(b.graph.unbroadcast(no, &no_shape)?)])
}

/// The family.
pub static OPS: &[OpDef] = &[
    unary!(
        "neg",
        Neg,
        NUMERIC,
        ONE,
        Vjp::Rule(|b| {
            let cotangent = b.cotangent()?;
            Ok(vec![Some(b.graph.neg(cotangent)?)])
        }),
        "Negative: -x. Unsigned integers wrap."
    ),
    unary!(
        "abs",
        Abs,
        NUMERIC,
        ONE,
        Vjp::Rule(|b| {
            let (x, cotangent) = (b.inputs[0], b.cotangent()?);
            let zero = b.graph.scalar_like(x, 0.0)?;
            let negative = b.graph.less(x, zero)?;
            let back = b.graph.neg(cotangent)?;
            let signed = b.graph.select(negative, back, cotangent)?;
            let flat = b.graph.equal(x, zero)?;
            Ok(vec![Some(b.graph.select(flat, zero, signed)?)])
        }),
        "Absolute value: |x|. Its gradient at 0 is 0."
    ),
    OpDef {
        name: "sign",
        version: 1,
        doc: "Sign: 1 above 0, -1 below, 0 for either zero, NaN for NaN.",
        dtypes: DTypes::NUMERIC,
        inputs: X,
        outputs: &["output"],
        attrs: &[],
        regions: &[],
        infer: elementwise,
        meaning: Meaning::Scalar(sign_expression),
        vjp: FLAT,
        samples: ONE,
    },
    OpDef {
        name: "reciprocal",
        version: 1,
        doc: "One over x: 1 / x.",
        dtypes: DTypes::FLOAT,
        inputs: X,
        outputs: &["output"],
        attrs: &[],
        regions: &[],
        infer: elementwise,
        meaning: Meaning::Scalar(|e, _, x| {
            let one = e.constant(e.dtype(x[0]), 1.0);
            e.binary(Binary::Div, one, x[0])
        }),
        vjp: Vjp::Rule(|b| {
            let square = b.graph.mul(b.outputs[0], b.outputs[0])?;
            let factor = b.graph.neg(square)?;
            times(b, factor)
        }),
        samples: &[
            Sample { inputs: &["T[2, 3] in 0.5..3"], attrs: "{}" },
            Sample { inputs: &["T[1003] in -3..-0.5"], attrs: "{}" },
        ],
    },
    rounding!("floor", Floor, "The greatest integer not above x, in x's dtype; integers stay."),
    rounding!("ceil", Ceil, "The least integer not below x, in x's dtype; integers stay."),
    rounding!("round", Round, "The nearest integer, of two the even one, in x's dtype; integers stay."),
    rounding!("trunc", Trunc, "The nearest integer not further from 0 than x, in x's dtype; integers stay."),
    test!("is_nan", |e, _, x| e.compare(Comparison::NotEqual, x[0], x[0]), "Whether x is NaN; only floats can be."),
    test!(
        "is_inf",
        |e, _, x| against_infinity(e, x[0], Comparison::Equal, Comparison::NotEqual),
        "Whether x is infinite, with either sign; only floats can be."
    ),
    test!(
        "is_finite",
        |e, _, x| against_infinity(e, x[0], Comparison::Less, Comparison::Equal),
        "Whether x is neither infinite nor NaN; all but floats are."
    ),
    unary!("logical_not", Not, BOOL, ONE, STEPWISE, "Logical not."),
    unary!("bitwise_invert", Not, BITS, ONE, STEPWISE, "Every bit inverted; logical not for `bool`."),
    binary!(
        "add",
        Add,
        NUMERIC,
        TWO,
        Vjp::Rule(|b| {
            let cotangent = b.cotangent()?;
            pair(b, cotangent, cotangent)
        }),
        "Sum: x + y. Integers wrap."
    ),
    binary!(
        "sub",
        Sub,
        NUMERIC,
        TWO,
        Vjp::Rule(|b| {
            let cotangent = b.cotangent()?;
            let negative = b.graph.neg(cotangent)?;
            pair(b, cotangent, negative)
        }),
        "Difference: x - y. Integers wrap."
    ),
    binary!("mul", Mul, NUMERIC, TWO, Vjp::Rule(product), "Product: x * y. Integers wrap."),
    binary!(
        "div",
        Div,
        FLOAT,
        &[
            Sample { inputs: &["T[2, 3]", "T[2, 3] in 0.5..3"], attrs: "{}" },
            Sample { inputs: &["T[2, 3]", "T[3] in -3..-0.5"], attrs: "{}" },
        ],
        Vjp::Rule(quotient),
        "Quotient: x / y."
    ),
    OpDef {
        inputs: DIVISION,
        ..binary!(
            "floor_divide",
            FloorDivide,
            NUMERIC,
            DIVIDED,
            FLAT,
            "Quotient rounded down: floor(x / y) of the exact quotient. Of floats x / 0 is infinite or NaN; of integers it \
        is 0, and the least integer by -1 wraps."
        )
    },
    OpDef {
        inputs: DIVISION,
        ..binary!(
            "remainder",
            Remainder,
            NUMERIC,
            DIVIDED,
            Vjp::Rule(rest),
            "Remainder of `floor_divide`, as Python's %: x - floor(x / y) y with the sign of y, rounded once. Of floats it \
        is NaN for y = 0 or infinite x; of integers x % 0 is 0. Its gradients are 1 and -floor(x / y)."
        )
    },
    binary!(
        "maximum",
        Max,
        NUMERIC,
        TWO,
        Vjp::Rule(taken),
        "The greater of x and y; NaN if either is. Where they are equal each gets half the gradient."
    ),
    binary!(
        "minimum",
        Min,
        NUMERIC,
        TWO,
        Vjp::Rule(taken),
        "The lesser of x and y; NaN if either is. Where they are equal each gets half the gradient."
    ),
    binary!("logical_and", And, BOOL, TWO, STEPWISE, "Logical and."),
    binary!("logical_or", Or, BOOL, TWO, STEPWISE, "Logical or."),
    binary!("logical_xor", Xor, BOOL, TWO, STEPWISE, "Logical exclusive or."),
    binary!("bitwise_and", And, BITS, TWO, STEPWISE, "And of every bit; logical for `bool`."),
    binary!("bitwise_or", Or, BITS, TWO, STEPWISE, "Or of every bit; logical for `bool`."),
    binary!("bitwise_xor", Xor, BITS, TWO, STEPWISE, "Exclusive or of every bit; logical for `bool`."),
    binary!(
        "bitwise_left_shift",
        ShiftLeft,
        INTEGER,
        &[Sample { inputs: &["T[2, 3]", "T[3] in 0..7"], attrs: "{}" }],
        STEPWISE,
        "x shifted left by y bits; 0 if y is negative or at least the width."
    ),
    binary!(
        "bitwise_right_shift",
        ShiftRight,
        INTEGER,
        &[Sample { inputs: &["T[2, 3]", "T[3] in 0..7"], attrs: "{}" }],
        STEPWISE,
        "x shifted right by y bits, keeping the sign; where y is negative or at least the width, 0, or -1 \
        for a negative x."
    ),
    comparison!(
        "equal",
        ALL,
        |e, _, x| e.compare(Comparison::Equal, x[0], x[1]),
        "Whether x == y; NaN equals nothing."
    ),
    comparison!(
        "not_equal",
        ALL,
        |e, _, x| e.compare(Comparison::NotEqual, x[0], x[1]),
        "Whether x != y; true for NaN."
    ),
    comparison!("less", NUMERIC, |e, _, x| e.compare(Comparison::Less, x[0], x[1]), "Whether x < y; false for NaN."),
    comparison!(
        "less_equal",
        NUMERIC,
        |e, _, x| e.compare(Comparison::LessEqual, x[0], x[1]),
        "Whether x <= y; false for NaN."
    ),
    comparison!("greater", NUMERIC, |e, _, x| e.compare(Comparison::Less, x[1], x[0]), "Whether x > y; false for NaN."),
    comparison!(
        "greater_equal",
        NUMERIC,
        |e, _, x| e.compare(Comparison::LessEqual, x[1], x[0]),
        "Whether x >= y; false for NaN."
    ),
    OpDef {
        name: "where",
        version: 1,
        doc: "x where the condition is true, else y. All three broadcast.",
        dtypes: DTypes::ALL,
        inputs: &[InputDef::in_set("condition", DTypes::BOOL), InputDef::of("x"), InputDef::of("y")],
        outputs: &["output"],
        attrs: &[],
        regions: &[],
        infer: infer_where,
        meaning: Meaning::Scalar(|e, _, x| e.select(x[0], x[1], x[2])),
        vjp: Vjp::Rule(selected),
        samples: &[
            Sample { inputs: &["bool[2, 3]", "T[2, 3]", "T[2, 3]"], attrs: "{}" },
            Sample { inputs: &["bool[3]", "T[2, 1]", "T[]"], attrs: "{}" },
        ],
    },
    OpDef {
        name: "cast",
        version: 1,
        doc: "Converts to another dtype. Floats round to nearest even; to integers they truncate and saturate, and NaN \
            is 0; integers wrap to narrower integers; anything but 0 is true.",
        dtypes: DTypes::ALL,
        inputs: &[InputDef::of("x").checked(Check::Held)],
        outputs: &["output"],
        attrs: &[AttrDef { name: "dtype", kind: AttrType::DType, default: None, doc: "The dtype of the output." }],
        regions: &[],
        infer: infer_cast,
        meaning: Meaning::Scalar(cast_expression),
        vjp: Vjp::Rule(|b| {
            let (dtype, cotangent) = (b.graph.spec(b.inputs[0]).dtype, b.cotangent()?);
            Ok(vec![Some(b.graph.cast(cotangent, dtype)?)])
        }),
        samples: &[
            Sample { inputs: &["T[2, 3]"], attrs: r#"{"dtype": "float32"}"# },
            Sample { inputs: &["T[2, 3]"], attrs: r#"{"dtype": "int32"}"# },
            Sample { inputs: &["T[2, 3]"], attrs: r#"{"dtype": "bool"}"# },
            Sample { inputs: &["T[2, 3]"], attrs: r#"{"dtype": "float64"}"# },
            Sample { inputs: &["T[2, 3]"], attrs: r#"{"dtype": "uint8"}"# },
        ],
    },
    OpDef {
        name: "bitcast",
        version: 1,
        doc: "The same bits as another dtype of the same width.",
        dtypes: DTypes::NUMERIC,
        inputs: X,
        outputs: &["output"],
        attrs: &[AttrDef { name: "dtype", kind: AttrType::DType, default: None, doc: "The dtype of the output." }],
        regions: &[],
        infer: infer_bitcast,
        meaning: Meaning::Scalar(bitcast_expression),
        vjp: Vjp::NotDifferentiable("bits are not numbers"),
        samples: &[
            Sample { inputs: &["float32[2, 3]"], attrs: r#"{"dtype": "int32"}"# },
            Sample { inputs: &["float16[5]"], attrs: r#"{"dtype": "uint16"}"# },
            Sample { inputs: &["int64[2, 0]"], attrs: r#"{"dtype": "float64"}"# },
            Sample { inputs: &["int8[]"], attrs: r#"{"dtype": "uint8"}"# },
        ],
    },
    OpDef {
        name: "square",
        version: 1,
        doc: "Square: x * x. Integers wrap.",
        dtypes: DTypes::NUMERIC,
        inputs: X,
        outputs: &["output"],
        attrs: &[],
        regions: &[],
        infer: elementwise,
        meaning: Meaning::Scalar(|e, _, x| e.binary(Binary::Mul, x[0], x[0])),
        vjp: Vjp::Rule(|b| {
            let twice = b.graph.add(b.inputs[0], b.inputs[0])?;
            times(b, twice)
        }),
        samples: ONE,
    },
    OpDef {
        name: "stop_gradient",
        version: 1,
        doc: "x itself; gradients do not pass.",
        dtypes: DTypes::ALL,
        inputs: X,
        outputs: &["output"],
        attrs: &[],
        regions: &[],
        infer: elementwise,
        meaning: Meaning::Scalar(|_, _, x| x[0]),
        vjp: Vjp::NotDifferentiable("it is there to stop gradients"),
        samples: ONE,
    },
];
