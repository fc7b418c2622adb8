//! Activations: functions of single elements that stand between layers. `float16` and `bfloat16` are computed in
//! `float32` and rounded at the end.
//!
//! Where a function bends its gradient is that of the lower side, as for `relu`: 0 at 0 and at the ends of a flat part.

use super::movement::defaulted;
use super::nn::widen;
use crate::attrs::{AttrDef, AttrType, AttrValue};
use crate::dtype::DTypes;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::infer::{elementwise, like_first};
use crate::op::{Backward, InputDef, Lowering, Meaning, OpDef, Sample, Vjp};
use crate::scalar::Binary;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

const X: &[InputDef] = &[InputDef::of("x")];

/// The constants of `selu`, with which means of 0 and variances of 1 stay so from layer to layer.
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

/// A function of x in the dtype that is computed in, rounded at the end.
fn computed(l: &mut Lowering, function: impl FnOnce(&mut Graph, Value) -> Result<Value>) -> Result<Vec<Value>> {
    let dtype = l.dtype(0);
    let x = widen(l.graph, l.inputs[0])?;
    let output = function(l.graph, x)?;
    Ok(vec![l.graph.cast(output, dtype)?])
}

/// x between two bounds, which x reaches or exceeds without a gradient; NaN stays.
fn clamp(g: &mut Graph, x: Value, low: f64, high: f64) -> Result<Value> {
    let (low, high) = (g.scalar_like(x, low)?, g.scalar_like(x, high)?);
    let (below, above) = (g.less_equal(x, low)?, g.less_equal(high, x)?);
    let raised = g.select(below, low, x)?;
    g.select(above, high, raised)
}

/// (x + 3) / 6 between 0 and 1.
fn hard_gate(g: &mut Graph, x: Value) -> Result<Value> {
    let (three, six) = (g.scalar_like(x, 3.0)?, g.scalar_like(x, 6.0)?);
    let moved = g.add(x, three)?;
    let gate = clamp(g, moved, 0.0, 6.0)?;
    g.div(gate, six)
}

/// log(1 + e^-|x|).
pub(super) fn log_tail(g: &mut Graph, x: Value) -> Result<Value> {
    let size = g.abs(x)?;
    let below = g.neg(size)?;
    let small = g.exp(below)?;
    g.op("log1p", &[], &[small])
}

/// The cotangent times a slope.
fn sloped(b: &mut Backward, slope: Value) -> Result<Vec<Option<Value>>> {
    let cotangent = b.cotangent()?;
    Ok(vec![Some(b.graph.mul(cotangent, slope)?)])
}

fn lower_leaky_relu(l: &mut Lowering) -> Result<Vec<Value>> {
    let slope = l.attrs.float("negative_slope")?;
    computed(l, |g, x| {
        let (zero, slope) = (g.scalar_like(x, 0.0)?, g.scalar_like(x, slope)?);
        let positive = g.less(zero, x)?;
        let sloped = g.mul(slope, x)?;
        g.select(positive, x, sloped)
    })
}

/// The exponential sees 0 in place of what is above 0, so that it never overflows.
fn lower_elu(l: &mut Lowering) -> Result<Vec<Value>> {
    let alpha = l.attrs.float("alpha")?;
    computed(l, |g, x| {
        let (zero, alpha) = (g.scalar_like(x, 0.0)?, g.scalar_like(x, alpha)?);
        let positive = g.less(zero, x)?;
        let below = g.select(positive, zero, x)?;
        let bent = g.op("expm1", &[], &[below])?;
        let bent = g.mul(alpha, bent)?;
        g.select(positive, x, bent)
    })
}

fn lower_selu(l: &mut Lowering) -> Result<Vec<Value>> {
    computed(l, |g, x| {
        let bent = g.op("elu", &[("alpha", AttrValue::Float(SELU_ALPHA))], &[x])?;
        let scale = g.scalar_like(x, SELU_SCALE)?;
        g.mul(scale, bent)
    })
}

fn lower_silu(l: &mut Lowering) -> Result<Vec<Value>> {
    computed(l, |g, x| {
        let gate = g.sigmoid(x)?;
        g.mul(x, gate)
    })
}

fn lower_mish(l: &mut Lowering) -> Result<Vec<Value>> {
    computed(l, |g, x| {
        let gate = g.op("softplus", &[], &[x])?;
        let gate = g.tanh(gate)?;
        g.mul(x, gate)
    })
}

fn lower_softplus(l: &mut Lowering) -> Result<Vec<Value>> {
    computed(l, |g, x| {
        let (zero, tail) = (g.scalar_like(x, 0.0)?, log_tail(g, x)?);
        let above = g.maximum(x, zero)?;
        g.add(above, tail)
    })
}

fn lower_log_sigmoid(l: &mut Lowering) -> Result<Vec<Value>> {
    computed(l, |g, x| {
        let (zero, tail) = (g.scalar_like(x, 0.0)?, log_tail(g, x)?);
        let below = g.minimum(x, zero)?;
        g.sub(below, tail)
    })
}

fn lower_softsign(l: &mut Lowering) -> Result<Vec<Value>> {
    computed(l, |g, x| {
        let (one, size) = (g.scalar_like(x, 1.0)?, g.abs(x)?);
        let sum = g.add(one, size)?;
        g.div(x, sum)
    })
}

fn lower_hard_silu(l: &mut Lowering) -> Result<Vec<Value>> {
    computed(l, |g, x| {
        let gate = hard_gate(g, x)?;
        g.mul(x, gate)
    })
}

fn lower_gelu(l: &mut Lowering) -> Result<Vec<Value>> {
    let approximate = l.attrs.bool("approximate")?;
    computed(l, |g, x| {
        let (half, one) = (g.scalar_like(x, 0.5)?, g.scalar_like(x, 1.0)?);
        let bend = if approximate {
            let (cubic, slope) = (g.scalar_like(x, 0.044715)?, g.scalar_like(x, FRAC_2_SQRT_PI * FRAC_1_SQRT_2)?);
            let cube = g.mul(x, x)?;
            let cube = g.mul(cube, x)?;
            let cube = g.mul(cubic, cube)?;
            let inner = g.add(x, cube)?;
            let inner = g.mul(slope, inner)?;
            g.tanh(inner)?
        } else {
            let scale = g.scalar_like(x, FRAC_1_SQRT_2)?;
            let inner = g.mul(x, scale)?;
            g.erf(inner)?
        };
        let gate = g.add(one, bend)?;
        let halved = g.mul(half, x)?;
        g.mul(halved, gate)
    })
}

const ANY: &[Sample] = &[
    Sample { inputs: &["T[2, 3]"], attrs: "{}" },
    Sample { inputs: &["T[]"], attrs: "{}" },
    Sample { inputs: &["T[0, 3]"], attrs: "{}" },
    Sample { inputs: &["T[1003]"], attrs: "{}" },
];
/// Of functions that bend, or have a tail, farther away.
const WIDE: &[Sample] = &[
    Sample { inputs: &["T[2, 3] in -9..9"], attrs: "{}" },
    Sample { inputs: &["T[]"], attrs: "{}" },
    Sample { inputs: &["T[0, 3]"], attrs: "{}" },
    Sample { inputs: &["T[1003] in -9..9"], attrs: "{}" },
];

/// An activation's record: everything else they have in common.
const fn activation(
    name: &'static str,
    doc: &'static str,
    attrs: &'static [AttrDef],
    lower: fn(&mut Lowering) -> Result<Vec<Value>>,
    vjp: Vjp,
    samples: &'static [Sample],
) -> OpDef {
    OpDef {
        name,
        version: 1,
        doc,
        dtypes: DTypes::FLOAT,
        inputs: X,
        outputs: &["output"],
        attrs,
        regions: &[],
        infer: like_first,
        meaning: Meaning::Lower(lower),
        vjp,
        samples,
    }
}

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "relu",
        version: 1,
        doc: "Rectified linear unit: the greater of x and 0; NaN stays NaN. Its gradient at 0 is 0.",
        dtypes: DTypes::NUMERIC,
        inputs: X,
        outputs: &["output"],
        attrs: &[],
        regions: &[],
        infer: elementwise,
        meaning: Meaning::Scalar(|e, _, x| {
            let zero = e.constant(e.dtype(x[0]), 0.0);
            e.binary(Binary::Max, x[0], zero)
        }),
        vjp: Vjp::Rule(|b| {
            // The output is above 0 where x is, and what follows needs it anyway: x is not kept for this.
            let (output, cotangent) = (b.outputs[0], b.cotangent()?);
            let zero = b.graph.scalar_like(output, 0.0)?;
            let positive = b.graph.less(zero, output)?;
            Ok(vec![Some(b.graph.select(positive, cotangent, zero)?)])
        }),
        samples: ANY,
    },
    activation(
        "relu6",
        "Rectified linear unit up to 6: x between 0 and 6. Its gradient at 0 and at 6 is 0.",
        &[],
        |l| computed(l, |g, x| clamp(g, x, 0.0, 6.0)),
        Vjp::Lowered,
        WIDE,
    ),
    activation(
        "leaky_relu",
        "Rectified linear unit with a leak: x where it is above 0, else negative_slope * x. Its gradient at 0 is \
            negative_slope.",
        &[defaulted("negative_slope", AttrType::Float, "0.2", "The slope below 0.")],
        lower_leaky_relu,
        Vjp::Lowered,
        &[
            Sample { inputs: &["T[2, 3]"], attrs: "{}" },
            Sample { inputs: &["T[]"], attrs: "{}" },
            Sample { inputs: &["T[1003]"], attrs: r#"{"negative_slope": 0.01}"# },
        ],
    ),
    activation(
        "elu",
        "Exponential linear unit: x where it is above 0, else alpha (e^x - 1). Clevert, Unterthiner and Hochreiter \
            2015. Its gradient at 0 is alpha.",
        &[defaulted("alpha", AttrType::Float, "1.0", "What it falls to, negated.")],
        lower_elu,
        Vjp::Lowered,
        &[
            Sample { inputs: &["T[2, 3]"], attrs: "{}" },
            Sample { inputs: &["T[]"], attrs: "{}" },
            Sample { inputs: &["T[1003] in -9..9"], attrs: r#"{"alpha": 0.5}"# },
        ],
    ),
    activation(
        "selu",
        "Scaled exponential linear unit: 1.0507009873554805 elu(x) with alpha 1.6732632423543772. Klambauer, \
            Unterthiner, Mayr and Hochreiter 2017.",
        &[],
        lower_selu,
        Vjp::Lowered,
        WIDE,
    ),
    activation(
        "gelu",
        "Gaussian error linear unit: x (1 + erf(x / sqrt(2))) / 2.\n\
            With `approximate` it is x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2. Hendrycks and Gimpel 2016.",
        &[defaulted("approximate", AttrType::Bool, "false", "Whether to take the form with tanh.")],
        lower_gelu,
        Vjp::Lowered,
        &[
            Sample { inputs: &["T[2, 3]"], attrs: "{}" },
            Sample { inputs: &["T[1003]"], attrs: "{}" },
            Sample { inputs: &["T[2, 3]"], attrs: r#"{"approximate": true}"# },
        ],
    ),
    activation(
        "silu",
        "Sigmoid linear unit, also called swish: x sigmoid(x). NaN at -inf, where it is -inf * 0.",
        &[],
        lower_silu,
        Vjp::Lowered,
        WIDE,
    ),
    activation("mish", "Mish: x tanh(softplus(x)). Misra 2019. NaN at -inf.", &[], lower_mish, Vjp::Lowered, WIDE),
    activation(
        "softplus",
        "Softplus: log(1 + e^x), for any x. Computed as max(x, 0) + log1p(e^-|x|), which neither overflows nor loses \
            small results. Its gradient is sigmoid(x).",
        &[],
        lower_softplus,
        Vjp::Rule(|b| {
            let slope = b.graph.sigmoid(b.inputs[0])?;
            sloped(b, slope)
        }),
        WIDE,
    ),
    activation(
        "log_sigmoid",
        "Logarithm of sigmoid: -softplus(-x), for any x. Computed as min(x, 0) - log1p(e^-|x|). Its gradient is \
            sigmoid(-x).",
        &[],
        lower_log_sigmoid,
        Vjp::Rule(|b| {
            let negative = b.graph.neg(b.inputs[0])?;
            let slope = b.graph.sigmoid(negative)?;
            sloped(b, slope)
        }),
        WIDE,
    ),
    activation("softsign", "Softsign: x / (1 + |x|). NaN at infinities.", &[], lower_softsign, Vjp::Lowered, ANY),
    activation(
        "hard_sigmoid",
        "A sigmoid of straight lines: (x + 3) / 6 between 0 and 1. Its gradient at -3 and at 3 is 0.",
        &[],
        |l| computed(l, hard_gate),
        Vjp::Lowered,
        WIDE,
    ),
    activation(
        "hard_silu",
        "A silu of straight lines and a parabola, also called hard swish: x hard_sigmoid(x). Howard et al. 2019. NaN at \
            -inf.",
        &[],
        lower_hard_silu,
        Vjp::Lowered,
        WIDE,
    ),
    activation(
        "hard_tanh",
        "A tanh of straight lines: x between -1 and 1. Its gradient at -1 and at 1 is 0.",
        &[],
        |l| computed(l, |g, x| clamp(g, x, -1.0, 1.0)),
        Vjp::Lowered,
        WIDE,
    ),
];
