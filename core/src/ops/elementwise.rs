//! Element-wise ops: each is an expression over its inputs' elements, which broadcast as in NumPy.

use crate::attrs::{AttrDef, AttrType, Attrs};
use crate::dtype::{DType, DTypes};
use crate::error::{Error, Result};
use crate::graph::Value;
use crate::infer::{Infer, elementwise, predicate};
use crate::op::{Backward, InputDef, Meaning, OpDef, Sample, Spec, Vjp};
use crate::scalar::{Binary, Comparison, Expression, Register, Unary};

const X: &[InputDef] = &[InputDef::of("x")];
const XY: &[InputDef] = &[InputDef::of("x"), InputDef::of("y")];

const ONE: &[Sample] = &[
    Sample { inputs: &["T[2, 3]"], attrs: "{}" },
    Sample { inputs: &["T[]"], attrs: "{}" },
    Sample { inputs: &["T[0, 3]"], attrs: "{}" },
    Sample { inputs: &["T[1003]"], attrs: "{}" },
];
const POSITIVE: &[Sample] =
    &[Sample { inputs: &["T[2, 3] in 0.1..4"], attrs: "{}" }, Sample { inputs: &["T[1003] in 0.1..4"], attrs: "{}" }];
const WITHIN_ONE: &[Sample] = &[Sample { inputs: &["T[2, 3] in -0.9..0.9"], attrs: "{}" }];
const TWO: &[Sample] = &[
    Sample { inputs: &["T[2, 3]", "T[2, 3]"], attrs: "{}" },
    Sample { inputs: &["T[2, 3]", "T[3]"], attrs: "{}" },
    Sample { inputs: &["T[4, 1, 3]", "T[2, 1]"], attrs: "{}" },
    Sample { inputs: &["T[]", "T[3]"], attrs: "{}" },
    Sample { inputs: &["T[0, 3]", "T[3]"], attrs: "{}" },
    Sample { inputs: &["T[17, 65]", "T[65]"], attrs: "{}" },
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

const STEPWISE: Vjp = Vjp::NotDifferentiable("its output is bool or integer");

/// The cotangent of a one-input op: that of the output times `factor`.
fn times(b: &mut Backward, factor: Value) -> Result<Vec<Option<Value>>> {
    let cotangent = b.cotangent()?;
    Ok(vec![Some(b.graph.mul(cotangent, factor)?)])
}

/// Sums the cotangents of two broadcast inputs to the inputs' shapes.
fn pair(b: &mut Backward, x: Value, y: Value) -> Result<Vec<Option<Value>>> {
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

/// d/dx of x^y is y x^(y-1), of which 0 for y = 0 is taken; d/dy is x^y log x, 0 where x is 0 and y is not below.
fn power(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (x, y, output, cotangent) = (b.inputs[0], b.inputs[1], b.outputs[0], b.cotangent()?);
    let g = &mut *b.graph;
    let (zero, one) = (g.scalar_like(x, 0.0)?, g.scalar_like(x, 1.0)?);
    let to_x = {
        let less = g.sub(y, one)?;
        let slope = g.pow(x, less)?;
        let slope = g.mul(y, slope)?;
        let flat = g.equal(y, zero)?;
        let slope = g.select(flat, zero, slope)?;
        g.mul(cotangent, slope)?
    };
    let to_y = {
        let at_zero = g.equal(x, zero)?;
        let base = g.select(at_zero, one, x)?;
        let log = g.log(base)?;
        let slope = g.mul(output, log)?;
        g.mul(cotangent, slope)?
    };
    pair(b, to_x, to_y)
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

/// A factor that is `scale * exp(sign * power^2)`, the slope of erf and, inverted, of erfinv.
fn gaussian(b: &mut Backward, power: Value, scale: f64, sign: f64) -> Result<Vec<Option<Value>>> {
    let g = &mut *b.graph;
    let square = g.mul(power, power)?;
    let sign = g.scalar_like(power, sign)?;
    let exponent = g.mul(square, sign)?;
    let bell = g.exp(exponent)?;
    let scale = g.scalar_like(power, scale)?;
    let factor = g.mul(bell, scale)?;
    times(b, factor)
}

const TWO_OVER_ROOT_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI;

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
    unary!("exp", Exp, FLOAT, ONE, Vjp::Rule(|b| times(b, b.outputs[0])), "Exponential: e^x, within 2 ulp."),
    unary!(
        "expm1",
        Expm1,
        FLOAT,
        ONE,
        Vjp::Rule(|b| {
            let one = b.graph.scalar_like(b.outputs[0], 1.0)?;
            let factor = b.graph.add(b.outputs[0], one)?;
            times(b, factor)
        }),
        "Exponential minus one: e^x - 1, exact near 0, within 2 ulp."
    ),
    unary!(
        "log",
        Log,
        FLOAT,
        POSITIVE,
        Vjp::Rule(|b| {
            let cotangent = b.cotangent()?;
            Ok(vec![Some(b.graph.div(cotangent, b.inputs[0])?)])
        }),
        "Natural logarithm, within 2 ulp. -inf at 0, NaN below."
    ),
    unary!(
        "log1p",
        Log1p,
        FLOAT,
        POSITIVE,
        Vjp::Rule(|b| {
            let (x, cotangent) = (b.inputs[0], b.cotangent()?);
            let one = b.graph.scalar_like(x, 1.0)?;
            let sum = b.graph.add(x, one)?;
            Ok(vec![Some(b.graph.div(cotangent, sum)?)])
        }),
        "Logarithm of 1 + x, exact near 0, within 2 ulp. -inf at -1, NaN below."
    ),
    unary!(
        "sqrt",
        Sqrt,
        FLOAT,
        POSITIVE,
        Vjp::Rule(|b| {
            let half = b.graph.scalar_like(b.inputs[0], 0.5)?;
            let factor = b.graph.div(half, b.outputs[0])?;
            times(b, factor)
        }),
        "Square root, correctly rounded. NaN below 0."
    ),
    unary!(
        "rsqrt",
        Rsqrt,
        FLOAT,
        POSITIVE,
        Vjp::Rule(|b| {
            let half = b.graph.scalar_like(b.inputs[0], -0.5)?;
            let factor = b.graph.mul(half, b.outputs[0])?;
            let factor = b.graph.div(factor, b.inputs[0])?;
            times(b, factor)
        }),
        "One over the square root: 1 / sqrt(x), both correctly rounded. inf at 0, NaN below."
    ),
    unary!(
        "tanh",
        Tanh,
        FLOAT,
        ONE,
        Vjp::Rule(|b| {
            let y = b.outputs[0];
            let one = b.graph.scalar_like(y, 1.0)?;
            let square = b.graph.mul(y, y)?;
            let factor = b.graph.sub(one, square)?;
            times(b, factor)
        }),
        "Hyperbolic tangent, within 2 ulp."
    ),
    unary!(
        "sigmoid",
        Sigmoid,
        FLOAT,
        ONE,
        Vjp::Rule(|b| {
            let y = b.outputs[0];
            let one = b.graph.scalar_like(y, 1.0)?;
            let rest = b.graph.sub(one, y)?;
            let factor = b.graph.mul(y, rest)?;
            times(b, factor)
        }),
        "Logistic function: 1 / (1 + e^-x), within 2 ulp."
    ),
    unary!(
        "erf",
        Erf,
        FLOAT,
        ONE,
        Vjp::Rule(|b| gaussian(b, b.inputs[0], TWO_OVER_ROOT_PI, -1.0)),
        "Error function: 2/sqrt(pi) times the integral of e^(-t^2) from 0 to x, within 2 ulp."
    ),
    unary!(
        "erfinv",
        ErfInv,
        FLOAT,
        WITHIN_ONE,
        Vjp::Rule(|b| gaussian(b, b.outputs[0], 1.0 / TWO_OVER_ROOT_PI, 1.0)),
        "Inverse of the error function on [-1, 1]; NaN outside, infinite at the ends."
    ),
    unary!(
        "sin",
        Sin,
        FLOAT,
        ONE,
        Vjp::Rule(|b| {
            let factor = b.graph.op("cos", &[], &[b.inputs[0]])?;
            times(b, factor)
        }),
        "Sine of x in radians, within 2 ulp. NaN for infinities."
    ),
    unary!(
        "cos",
        Cos,
        FLOAT,
        ONE,
        Vjp::Rule(|b| {
            let sin = b.graph.op("sin", &[], &[b.inputs[0]])?;
            let factor = b.graph.neg(sin)?;
            times(b, factor)
        }),
        "Cosine of x in radians, within 2 ulp. NaN for infinities."
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
    binary!(
        "pow",
        Pow,
        FLOAT,
        &[
            Sample { inputs: &["T[2, 3] in 0.1..3", "T[2, 3]"], attrs: "{}" },
            Sample { inputs: &["T[3, 1] in 0.1..3", "T[2]"], attrs: "{}" },
        ],
        Vjp::Rule(power),
        "Power: x^y, within 2 ulp, with the special cases of IEEE 754 `pow`."
    ),
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
        inputs: X,
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
