//! The functions of calculus: exponentials, logarithms, powers, roots, angles. All are element-wise.

use super::elementwise::{ONE, X, XY, binary, pair, times, unary};
use crate::dtype::DTypes;
use crate::error::Result;
use crate::graph::Value;
use crate::infer::elementwise;
use crate::op::{Backward, InputDef, Meaning, OpDef, Sample, Vjp};
use crate::scalar::{Binary, Unary};

const POSITIVE: &[Sample] =
    &[Sample { inputs: &["T[2, 3] in 0.1..4"], attrs: "{}" }, Sample { inputs: &["T[1003] in 0.1..4"], attrs: "{}" }];
const WITHIN_ONE: &[Sample] = &[
    Sample { inputs: &["T[2, 3] in -0.9..0.9"], attrs: "{}" },
    Sample { inputs: &["T[1003] in -0.8..0.8"], attrs: "{}" },
];
const STEEP: &[Sample] =
    &[Sample { inputs: &["T[2, 3] in -1.2..1.2"], attrs: "{}" }, Sample { inputs: &["T[1003] in 2..4"], attrs: "{}" }];
/// Away from (0, 0).
const APART: &[Sample] = &[
    Sample { inputs: &["T[2, 3] in 0.3..2", "T[3]"], attrs: "{}" },
    Sample { inputs: &["T[4, 1, 3]", "T[2, 1] in -2..-0.3"], attrs: "{}" },
    Sample { inputs: &["T[17, 65] in -2..-0.3", "T[]"], attrs: "{}" },
];

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

/// 1 / sqrt(1 - x^2), the slope of asin.
fn arc_slope(b: &mut Backward) -> Result<Value> {
    let (g, x) = (&mut *b.graph, b.inputs[0]);
    let one = g.scalar_like(x, 1.0)?;
    let (less, more) = (g.sub(one, x)?, g.add(one, x)?);
    let square = g.mul(less, more)?;
    g.op("rsqrt", &[], &[square])
}

/// That of a logarithm to another base, whose slope is `scale` / x.
fn log_slope(b: &mut Backward, scale: f64) -> Result<Vec<Option<Value>>> {
    let cotangent = b.cotangent()?;
    let scale = b.graph.scalar_like(cotangent, scale)?;
    let scaled = b.graph.mul(cotangent, scale)?;
    Ok(vec![Some(b.graph.div(scaled, b.inputs[0])?)])
}

/// x / d and y / d for a length d, 0 for both where it is 0.
fn ratios(b: &mut Backward, x: Value, y: Value, length: Value) -> Result<(Value, Value)> {
    let g = &mut *b.graph;
    let (zero, one) = (g.scalar_like(length, 0.0)?, g.scalar_like(length, 1.0)?);
    let is_zero = g.equal(length, zero)?;
    let divisor = g.select(is_zero, one, length)?;
    Ok((g.div(x, divisor)?, g.div(y, divisor)?))
}

/// Of a length: d/dx is x / length.
fn hypotenuse(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (x, y, output, cotangent) = (b.inputs[0], b.inputs[1], b.outputs[0], b.cotangent()?);
    let (of_x, of_y) = ratios(b, x, y, output)?;
    let (to_x, to_y) = (b.graph.mul(cotangent, of_x)?, b.graph.mul(cotangent, of_y)?);
    pair(b, to_x, to_y)
}

/// Of an angle: d/dy is x / length^2 and d/dx is -y / length^2, divided twice by the length, which overflows later.
fn direction(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (y, x, cotangent) = (b.inputs[0], b.inputs[1], b.cotangent()?);
    let length = b.graph.op("hypot", &[], &[x, y])?;
    let (of_x, of_y) = ratios(b, x, y, length)?;
    let (of_x, of_y) = ratios(b, of_x, of_y, length)?;
    let back = b.graph.neg(cotangent)?;
    let (to_y, to_x) = (b.graph.mul(cotangent, of_x)?, b.graph.mul(back, of_y)?);
    pair(b, to_y, to_x)
}

/// The family.
pub static OPS: &[OpDef] = &[
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
    unary!(
        "tan",
        Tan,
        FLOAT,
        STEEP,
        Vjp::Rule(|b| {
            let one = b.graph.scalar_like(b.outputs[0], 1.0)?;
            let square = b.graph.mul(b.outputs[0], b.outputs[0])?;
            let factor = b.graph.add(square, one)?;
            times(b, factor)
        }),
        "Tangent of x in radians, within 1 ulp. NaN for infinities."
    ),
    unary!(
        "asin",
        Asin,
        FLOAT,
        WITHIN_ONE,
        Vjp::Rule(|b| {
            let slope = arc_slope(b)?;
            times(b, slope)
        }),
        "Arcsine in [-pi/2, pi/2], within 1 ulp. NaN outside of [-1, 1]; its gradient is infinite at the ends."
    ),
    unary!(
        "acos",
        Acos,
        FLOAT,
        WITHIN_ONE,
        Vjp::Rule(|b| {
            let slope = arc_slope(b)?;
            let slope = b.graph.neg(slope)?;
            times(b, slope)
        }),
        "Arccosine in [0, pi], within 1 ulp. NaN outside of [-1, 1]; its gradient is infinite at the ends."
    ),
    unary!(
        "atan",
        Atan,
        FLOAT,
        ONE,
        Vjp::Rule(|b| {
            let x = b.inputs[0];
            let one = b.graph.scalar_like(x, 1.0)?;
            let square = b.graph.mul(x, x)?;
            let sum = b.graph.add(square, one)?;
            let cotangent = b.cotangent()?;
            Ok(vec![Some(b.graph.div(cotangent, sum)?)])
        }),
        "Arctangent in [-pi/2, pi/2], within 1 ulp."
    ),
    unary!(
        "sinh",
        Sinh,
        FLOAT,
        ONE,
        Vjp::Rule(|b| {
            let factor = b.graph.op("cosh", &[], &[b.inputs[0]])?;
            times(b, factor)
        }),
        "Hyperbolic sine, within 1 ulp."
    ),
    unary!(
        "cosh",
        Cosh,
        FLOAT,
        ONE,
        Vjp::Rule(|b| {
            let factor = b.graph.op("sinh", &[], &[b.inputs[0]])?;
            times(b, factor)
        }),
        "Hyperbolic cosine, within 1 ulp."
    ),
    unary!(
        "asinh",
        Asinh,
        FLOAT,
        ONE,
        Vjp::Rule(|b| {
            let one = b.graph.scalar_like(b.inputs[0], 1.0)?;
            let hypotenuse = b.graph.op("hypot", &[], &[b.inputs[0], one])?;
            let cotangent = b.cotangent()?;
            Ok(vec![Some(b.graph.div(cotangent, hypotenuse)?)])
        }),
        "Inverse of sinh, within 1 ulp."
    ),
    unary!(
        "acosh",
        Acosh,
        FLOAT,
        &[Sample { inputs: &["T[2, 3] in 1.2..4"], attrs: "{}" }],
        Vjp::Rule(|b| {
            let x = b.inputs[0];
            let one = b.graph.scalar_like(x, 1.0)?;
            let (less, more) = (b.graph.sub(x, one)?, b.graph.add(x, one)?);
            let (less, more) = (b.graph.op("rsqrt", &[], &[less])?, b.graph.op("rsqrt", &[], &[more])?);
            let factor = b.graph.mul(less, more)?;
            times(b, factor)
        }),
        "Inverse of cosh, not below 0, within 1.5 ulp. NaN below 1; its gradient is infinite at 1."
    ),
    unary!(
        "atanh",
        Atanh,
        FLOAT,
        WITHIN_ONE,
        Vjp::Rule(|b| {
            let x = b.inputs[0];
            let one = b.graph.scalar_like(x, 1.0)?;
            let (less, more) = (b.graph.sub(one, x)?, b.graph.add(one, x)?);
            let product = b.graph.mul(less, more)?;
            let cotangent = b.cotangent()?;
            Ok(vec![Some(b.graph.div(cotangent, product)?)])
        }),
        "Inverse of tanh, within 1.5 ulp. NaN outside of [-1, 1], infinite at the ends."
    ),
    unary!(
        "log2",
        Log2,
        FLOAT,
        POSITIVE,
        Vjp::Rule(|b| log_slope(b, std::f64::consts::LOG2_E)),
        "Logarithm to base 2, within 1 ulp, exact for powers of 2. -inf at 0, NaN below."
    ),
    unary!(
        "log10",
        Log10,
        FLOAT,
        POSITIVE,
        Vjp::Rule(|b| log_slope(b, std::f64::consts::LOG10_E)),
        "Logarithm to base 10, within 1 ulp, exact for powers of 10. -inf at 0, NaN below."
    ),
    unary!(
        "exp2",
        Exp2,
        FLOAT,
        ONE,
        Vjp::Rule(|b| {
            let log = b.graph.scalar_like(b.outputs[0], std::f64::consts::LN_2)?;
            let factor = b.graph.mul(b.outputs[0], log)?;
            times(b, factor)
        }),
        "Two to the power of x, within 1 ulp, exact for integers."
    ),
    unary!(
        "cbrt",
        Cbrt,
        FLOAT,
        &[
            Sample { inputs: &["T[2, 3] in 0.3..4"], attrs: "{}" },
            Sample { inputs: &["T[1003] in -4..-0.3"], attrs: "{}" }
        ],
        Vjp::Rule(|b| {
            let y = b.outputs[0];
            let three = b.graph.scalar_like(y, 3.0)?;
            let square = b.graph.mul(y, y)?;
            let square = b.graph.mul(square, three)?;
            let cotangent = b.cotangent()?;
            Ok(vec![Some(b.graph.div(cotangent, square)?)])
        }),
        "Real cube root, within 1 ulp, exact for cubes. Its gradient at 0 is infinite."
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
        "hypot",
        Hypot,
        FLOAT,
        APART,
        Vjp::Rule(hypotenuse),
        "Length of the vector (x, y): sqrt(x^2 + y^2) without overflow on the way, within 1 ulp. Infinite if either \
        is, even beside NaN. Its gradients at (0, 0) are 0."
    ),
    OpDef {
        name: "atan2",
        version: 1,
        doc: "Angle of the point (x, y) in [-pi, pi], within 1.5 ulp, with the signs of zeros and infinities as in C. \
            Its gradients at (0, 0) are 0, where JAX has NaN.",
        dtypes: DTypes::FLOAT,
        inputs: &[InputDef::of("y"), InputDef::of("x")],
        outputs: &["output"],
        attrs: &[],
        regions: &[],
        infer: elementwise,
        meaning: Meaning::Scalar(|e, _, x| e.binary(Binary::Atan2, x[0], x[1])),
        vjp: Vjp::Rule(direction),
        samples: APART,
    },
];
