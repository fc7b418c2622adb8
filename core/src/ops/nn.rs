//! What layers of neural networks are made of. `float16` and `bfloat16` are computed in `float32` and rounded at the end.

use crate::attrs::{AttrDef, AttrType, Attrs};
use crate::dtype::DTypes;
use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::infer::{Infer, elementwise, like_first};
use crate::op::{Backward, InputDef, Lowering, Meaning, OpDef, Sample, Spec, Vjp, normalize_axes, normalize_axis, one};
use crate::scalar::Binary;
use crate::shape::Shape;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

const X: InputDef = InputDef::of("x");
const SCALE: InputDef = InputDef::of("scale");
const OFFSET: InputDef = InputDef::of("offset");

const LAST_AXIS: AttrDef =
    AttrDef { name: "axis", kind: AttrType::Int, default: Some("-1"), doc: "The axis along which values compete." };
const EPSILON: AttrDef = AttrDef {
    name: "epsilon",
    kind: AttrType::Float,
    default: Some("1e-5"),
    doc: "What is added to the variance before its root.",
};

/// The value in the dtype that its elements are computed in.
pub(super) fn widen(graph: &mut Graph, x: Value) -> Result<Value> {
    let dtype = graph.spec(x).dtype.compute();
    graph.cast(x, dtype)
}

/// The greatest along `axes`, which stay with size 1, as a constant to gradients; 0 of no elements.
pub(super) fn peak(graph: &mut Graph, x: Value, axes: &[i64]) -> Result<Value> {
    let shape = graph.spec(x).shape.clone();
    let reduced = normalize_axes(Some(axes), shape.rank())?;
    if reduced.iter().any(|&axis| shape[axis].as_constant() == Some(0)) {
        let kept =
            shape.iter().enumerate().map(|(axis, dim)| if reduced.contains(&axis) { one() } else { dim.clone() });
        let dtype = graph.spec(x).dtype;
        return graph.full(dtype, &Shape::new(kept.collect())?, 0.0);
    }
    let most = graph.reduce("max", x, axes, true)?;
    graph.stop_gradient(most)
}

fn infer_along_axis(infer: &mut Infer) -> Result<Vec<Spec>> {
    let x = infer.input(0)?;
    normalize_axis(infer.attrs.int("axis")?, x.shape.rank())?;
    Ok(vec![x.clone()])
}

fn lower_gelu(lowering: &mut Lowering) -> Result<Vec<Value>> {
    let (dtype, approximate) = (lowering.dtype(0), lowering.attrs.bool("approximate")?);
    let g = &mut *lowering.graph;
    let x = widen(g, lowering.inputs[0])?;
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
    let output = g.mul(halved, gate)?;
    Ok(vec![g.cast(output, dtype)?])
}

fn lower_softmax(lowering: &mut Lowering) -> Result<Vec<Value>> {
    let (dtype, axis) = (lowering.dtype(0), lowering.attrs.int("axis")?);
    let g = &mut *lowering.graph;
    let x = widen(g, lowering.inputs[0])?;
    let most = peak(g, x, &[axis])?;
    let shifted = g.sub(x, most)?;
    let exponential = g.exp(shifted)?;
    let total = g.reduce("sum", exponential, &[axis], true)?;
    let output = g.div(exponential, total)?;
    Ok(vec![g.cast(output, dtype)?])
}

/// y (cotangent - sum(cotangent y)).
fn softmax_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (axis, output, cotangent) = (b.attrs.int("axis")?, b.outputs[0], b.cotangent()?);
    let g = &mut *b.graph;
    let dtype = g.spec(output).dtype;
    let (y, cotangent) = (widen(g, output)?, widen(g, cotangent)?);
    let weighted = g.mul(cotangent, y)?;
    let common = g.reduce("sum", weighted, &[axis], true)?;
    let rest = g.sub(cotangent, common)?;
    let result = g.mul(y, rest)?;
    Ok(vec![Some(g.cast(result, dtype)?)])
}

fn lower_log_softmax(lowering: &mut Lowering) -> Result<Vec<Value>> {
    let (dtype, axis) = (lowering.dtype(0), lowering.attrs.int("axis")?);
    let g = &mut *lowering.graph;
    let x = widen(g, lowering.inputs[0])?;
    let most = peak(g, x, &[axis])?;
    let shifted = g.sub(x, most)?;
    let exponential = g.exp(shifted)?;
    let total = g.reduce("sum", exponential, &[axis], true)?;
    let log = g.log(total)?;
    let output = g.sub(shifted, log)?;
    Ok(vec![g.cast(output, dtype)?])
}

/// The axes of the attr and the shape without them (or with 1 in their place).
fn reduced(attrs: &Attrs, shape: &Shape) -> Result<(Vec<i64>, Shape)> {
    let axes = normalize_axes(attrs.optional_ints("axis").as_deref(), shape.rank())?;
    let keep = attrs.bool("keepdims")?;
    let dims = shape.iter().enumerate().filter_map(|(axis, dim)| match (axes.contains(&axis), keep) {
        (false, _) => Some(dim.clone()),
        (true, true) => Some(one()),
        (true, false) => None,
    });
    let dims = dims.collect();
    Ok((axes.into_iter().map(|axis| axis as i64).collect(), Shape::new(dims)?))
}

fn infer_logsumexp(infer: &mut Infer) -> Result<Vec<Spec>> {
    let x = infer.input(0)?;
    Ok(vec![Spec::new(x.dtype, reduced(infer.attrs, &x.shape)?.1)])
}

/// The greatest is subtracted where it is finite; else the infinity comes through exp and log by itself.
fn lower_logsumexp(lowering: &mut Lowering) -> Result<Vec<Value>> {
    let (dtype, (axes, shape)) = (lowering.dtype(0), reduced(lowering.attrs, &lowering.shape(0))?);
    let g = &mut *lowering.graph;
    let x = widen(g, lowering.inputs[0])?;
    let most = peak(g, x, &axes)?;
    let (infinity, zero) = (g.scalar_like(x, f64::INFINITY)?, g.scalar_like(x, 0.0)?);
    let magnitude = g.abs(most)?;
    let finite = g.less(magnitude, infinity)?;
    let most = g.select(finite, most, zero)?;
    let shifted = g.sub(x, most)?;
    let exponential = g.exp(shifted)?;
    let total = g.reduce("sum", exponential, &axes, true)?;
    let log = g.log(total)?;
    let output = g.add(log, most)?;
    let output = g.reshape(output, &shape)?;
    Ok(vec![g.cast(output, dtype)?])
}

/// x less its mean over `axes`, that mean, and the variance about it; the axes stay with size 1 if `keepdims`.
fn moments(g: &mut Graph, x: Value, axes: &[i64], keepdims: bool) -> Result<(Value, Value, Value)> {
    let mean = g.reduce("mean", x, axes, keepdims)?;
    let centered = g.sub(x, mean)?;
    let square = g.mul(centered, centered)?;
    let variance = g.reduce("mean", square, axes, keepdims)?;
    Ok((centered, mean, variance))
}

/// 1 / sqrt(variance + epsilon).
fn inverse_deviation(g: &mut Graph, variance: Value, epsilon: f64) -> Result<Value> {
    let epsilon = g.scalar_like(variance, epsilon)?;
    let sum = g.add(variance, epsilon)?;
    g.rsqrt(sum)
}

fn epsilon(attrs: &Attrs) -> Result<f64> {
    match attrs.float("epsilon")? {
        value if value >= 0.0 => Ok(value),
        value => Err(Error::argument(format!("epsilon is {value}; it takes 0 or more")).with_argument("epsilon")),
    }
}

/// Checks that an input, if it is there, has exactly this shape.
fn require_shape(infer: &mut Infer, index: usize, shape: &Shape, whose: &str) -> Result<()> {
    let Some(spec) = infer.optional(index) else { return Ok(()) };
    infer.unify_shapes(shape, &spec.shape).map(|_| ()).map_err(|_| {
        let name = infer.def.input(index).map_or("?", |input| input.name);
        Error::shape(format!("{name} has shape {}, not {shape}, {whose}", spec.shape)).with_argument(name)
    })
}

fn infer_layer_norm(infer: &mut Infer) -> Result<Vec<Spec>> {
    let x = infer.input(0)?;
    epsilon(infer.attrs)?;
    let axes = normalize_axes(Some(&infer.attrs.ints("axis")?), x.shape.rank())?;
    if axes.is_empty() {
        return Err(Error::argument("axis is []; there is nothing to normalize over").with_argument("axis"));
    }
    let shape: Shape = axes.iter().map(|&axis| x.shape[axis].clone()).collect();
    for index in [1, 2] {
        require_shape(infer, index, &shape, "that of x along the normalized axes")?;
    }
    Ok(vec![x.clone()])
}

fn lower_layer_norm(lowering: &mut Lowering) -> Result<Vec<Value>> {
    let (dtype, shape, epsilon) = (lowering.dtype(0), lowering.shape(0), epsilon(lowering.attrs)?);
    let axes = normalize_axes(Some(&lowering.attrs.ints("axis")?), shape.rank())?;
    let (scale, offset) = (lowering.optional(1), lowering.optional(2));
    let g = &mut *lowering.graph;
    let along = |axis: usize| if axes.contains(&axis) { shape[axis].clone() } else { one() };
    let dims: Vec<_> = (axes[0]..shape.rank()).map(along).collect();
    let list: Vec<_> = axes.iter().map(|&axis| axis as i64).collect();
    let x = widen(g, lowering.inputs[0])?;
    let (centered, _, variance) = moments(g, x, &list, true)?;
    let factor = inverse_deviation(g, variance, epsilon)?;
    let mut output = g.mul(centered, factor)?;
    if let Some(scale) = scale {
        let scale = g.reshape(scale, &dims)?;
        let scale = widen(g, scale)?;
        output = g.mul(output, scale)?;
    }
    if let Some(offset) = offset {
        let offset = g.reshape(offset, &dims)?;
        let offset = widen(g, offset)?;
        output = g.add(output, offset)?;
    }
    Ok(vec![g.cast(output, dtype)?])
}

/// The shape [channels] of what batch norm's inputs after x have.
fn channels(infer: &mut Infer, least_rank: usize) -> Result<Shape> {
    let x = &infer.input(0)?.shape;
    epsilon(infer.attrs)?;
    match x.last() {
        Some(last) if x.rank() >= least_rank => Shape::new(vec![last.clone()]),
        _ => Err(Error::shape(format!("x has shape {x}; it takes at least {least_rank} dims")).with_argument("x")),
    }
}

fn infer_batch_norm(infer: &mut Infer) -> Result<Vec<Spec>> {
    let shape = channels(infer, 1)?;
    for index in 1..5 {
        require_shape(infer, index, &shape, "the last dim of x")?;
    }
    like_first(infer)
}

fn infer_batch_norm_training(infer: &mut Infer) -> Result<Vec<Spec>> {
    let shape = channels(infer, 2)?;
    for index in 1..3 {
        require_shape(infer, index, &shape, "the last dim of x")?;
    }
    let x = infer.input(0)?;
    let statistic = Spec::new(x.dtype, shape);
    Ok(vec![x.clone(), statistic.clone(), statistic])
}

/// centered * scale / sqrt(variance + epsilon) + offset, all but `centered` along the last axis.
fn normalize(lowering: &mut Lowering, centered: Value, variance: Value) -> Result<Value> {
    let (dtype, epsilon) = (lowering.dtype(0), epsilon(lowering.attrs)?);
    let g = &mut *lowering.graph;
    let (scale, offset) = (widen(g, lowering.inputs[1])?, widen(g, lowering.inputs[2])?);
    let factor = inverse_deviation(g, variance, epsilon)?;
    let factor = g.mul(factor, scale)?;
    let output = g.mul(centered, factor)?;
    let output = g.add(output, offset)?;
    g.cast(output, dtype)
}

fn lower_batch_norm(lowering: &mut Lowering) -> Result<Vec<Value>> {
    let x = widen(lowering.graph, lowering.inputs[0])?;
    let mean = widen(lowering.graph, lowering.inputs[3])?;
    let variance = widen(lowering.graph, lowering.inputs[4])?;
    let centered = lowering.graph.sub(x, mean)?;
    Ok(vec![normalize(lowering, centered, variance)?])
}

fn lower_batch_norm_training(lowering: &mut Lowering) -> Result<Vec<Value>> {
    let (dtype, rank) = (lowering.dtype(0), lowering.shape(0).rank());
    let axes: Vec<_> = (0..rank as i64 - 1).collect();
    let x = widen(lowering.graph, lowering.inputs[0])?;
    let (centered, mean, variance) = moments(lowering.graph, x, &axes, false)?;
    let output = normalize(lowering, centered, variance)?;
    Ok(vec![output, lowering.graph.cast(mean, dtype)?, lowering.graph.cast(variance, dtype)?])
}

const ALONG: &[Sample] = &[
    Sample { inputs: &["T[2, 3]"], attrs: "{}" },
    Sample { inputs: &["T[2, 3, 4]"], attrs: r#"{"axis": 1}"# },
    Sample { inputs: &["T[3, 100] in -50..50"], attrs: "{}" },
    Sample { inputs: &["T[0, 3]"], attrs: "{}" },
];
const ANY: &[Sample] = &[
    Sample { inputs: &["T[2, 3]"], attrs: "{}" },
    Sample { inputs: &["T[]"], attrs: "{}" },
    Sample { inputs: &["T[1003]"], attrs: "{}" },
];

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "relu",
        version: 1,
        doc: "Rectified linear unit: the greater of x and 0; NaN stays NaN. Its gradient at 0 is 0.",
        dtypes: DTypes::NUMERIC,
        inputs: &[X],
        outputs: &["output"],
        attrs: &[],
        regions: &[],
        infer: elementwise,
        meaning: Meaning::Scalar(|e, _, x| {
            let zero = e.constant(e.dtype(x[0]), 0.0);
            e.binary(Binary::Max, x[0], zero)
        }),
        vjp: Vjp::Rule(|b| {
            let (x, cotangent) = (b.inputs[0], b.cotangent()?);
            let zero = b.graph.scalar_like(x, 0.0)?;
            let positive = b.graph.less(zero, x)?;
            Ok(vec![Some(b.graph.select(positive, cotangent, zero)?)])
        }),
        samples: ANY,
    },
    OpDef {
        name: "gelu",
        version: 1,
        doc: "Gaussian error linear unit: x (1 + erf(x / sqrt(2))) / 2.\n\
            With `approximate` it is x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2. Hendrycks and Gimpel 2016.",
        dtypes: DTypes::FLOAT,
        inputs: &[X],
        outputs: &["output"],
        attrs: &[AttrDef {
            name: "approximate",
            kind: AttrType::Bool,
            default: Some("false"),
            doc: "Whether to take the form with tanh.",
        }],
        regions: &[],
        infer: like_first,
        meaning: Meaning::Lower(lower_gelu),
        vjp: Vjp::Lowered,
        samples: &[
            Sample { inputs: &["T[2, 3]"], attrs: "{}" },
            Sample { inputs: &["T[1003]"], attrs: "{}" },
            Sample { inputs: &["T[2, 3]"], attrs: r#"{"approximate": true}"# },
        ],
    },
    OpDef {
        name: "softmax",
        version: 1,
        doc: "Probabilities: e^x / sum(e^x) along an axis, for any finite x.\n\
            The greatest is subtracted first. Along values that are all -inf, or of which one is inf, it is NaN.",
        dtypes: DTypes::FLOAT,
        inputs: &[X],
        outputs: &["output"],
        attrs: &[LAST_AXIS],
        regions: &[],
        infer: infer_along_axis,
        meaning: Meaning::Lower(lower_softmax),
        vjp: Vjp::Rule(softmax_vjp),
        samples: ALONG,
    },
    OpDef {
        name: "log_softmax",
        version: 1,
        doc: "Logarithm of softmax: x - log(sum(e^x)) along an axis, for any finite x.\n\
            The greatest is subtracted first. Along values that are all -inf, or of which one is inf, it is NaN.",
        dtypes: DTypes::FLOAT,
        inputs: &[X],
        outputs: &["output"],
        attrs: &[LAST_AXIS],
        regions: &[],
        infer: infer_along_axis,
        meaning: Meaning::Lower(lower_log_softmax),
        vjp: Vjp::Lowered,
        samples: ALONG,
    },
    OpDef {
        name: "logsumexp",
        version: 1,
        doc: "Logarithm of a sum of exponentials: log(sum(e^x)) over axes.\n\
            The greatest is subtracted first where it is finite. Over values that are all -inf it is -inf, with one inf \
            it is inf.",
        dtypes: DTypes::FLOAT,
        inputs: &[X],
        outputs: &["output"],
        attrs: &[
            AttrDef { name: "axis", kind: AttrType::Ints, default: Some("null"), doc: "The axes; all if left out." },
            AttrDef {
                name: "keepdims",
                kind: AttrType::Bool,
                default: Some("false"),
                doc: "Whether the axes stay, with size 1.",
            },
        ],
        regions: &[],
        infer: infer_logsumexp,
        meaning: Meaning::Lower(lower_logsumexp),
        vjp: Vjp::Lowered,
        samples: &[
            Sample { inputs: &["T[2, 3]"], attrs: "{}" },
            Sample { inputs: &["T[2, 3, 4]"], attrs: r#"{"axis": [0, -1]}"# },
            Sample { inputs: &["T[3, 100] in -50..50"], attrs: r#"{"axis": [1], "keepdims": true}"# },
        ],
    },
    OpDef {
        name: "layer_norm",
        version: 1,
        doc: "Layer normalization: (x - mean) / sqrt(variance + epsilon), times scale plus offset.\n\
            Mean and variance (the mean square of x - mean) are those over the axes, for each place along the others. \
            scale and offset have the shape of x along these axes. Ba, Kiros and Hinton 2016.",
        dtypes: DTypes::FLOAT,
        inputs: &[X, SCALE.optional(), OFFSET.optional()],
        outputs: &["output"],
        attrs: &[
            AttrDef {
                name: "axis",
                kind: AttrType::Ints,
                default: Some("[-1]"),
                doc: "The axes over which x is normalized.",
            },
            EPSILON,
        ],
        regions: &[],
        infer: infer_layer_norm,
        meaning: Meaning::Lower(lower_layer_norm),
        vjp: Vjp::Lowered,
        samples: &[
            Sample { inputs: &["T[2, 5]"], attrs: "{}" },
            Sample { inputs: &["T[2, 3, 5]", "T[5]", "T[5]"], attrs: "{}" },
            Sample { inputs: &["T[2, 5]", "-", "T[5]"], attrs: r#"{"epsilon": 0.1}"# },
            Sample { inputs: &["T[2, 3, 4]", "T[3, 4]", "T[3, 4]"], attrs: r#"{"axis": [1, 2]}"# },
            Sample { inputs: &["T[2, 3, 4]", "T[2, 4]", "-"], attrs: r#"{"axis": [-1, 0]}"# },
        ],
    },
    OpDef {
        name: "batch_norm",
        version: 1,
        doc: "Batch normalization with given statistics: (x - mean) / sqrt(variance + epsilon) times scale plus offset.\n\
            All inputs but x have the shape [channels], the last dim of x. Ioffe and Szegedy 2015.",
        dtypes: DTypes::FLOAT,
        inputs: &[X, SCALE, OFFSET, InputDef::of("mean"), InputDef::of("variance")],
        outputs: &["output"],
        attrs: &[EPSILON],
        regions: &[],
        infer: infer_batch_norm,
        meaning: Meaning::Lower(lower_batch_norm),
        vjp: Vjp::Lowered,
        samples: &[
            Sample { inputs: &["T[2, 3]", "T[3]", "T[3]", "T[3]", "T[3] in 0.5..2"], attrs: "{}" },
            Sample {
                inputs: &["T[2, 4, 4, 3]", "T[3]", "T[3]", "T[3]", "T[3] in 0.5..2"],
                attrs: r#"{"epsilon": 0.001}"#,
            },
        ],
    },
    OpDef {
        name: "batch_norm_training",
        version: 1,
        doc: "Batch normalization with the statistics of x, which it gives too.\n\
            Mean and variance (the mean square of x - mean) are those over all axes but the last; the output is that of \
            batch_norm with them. Ioffe and Szegedy 2015.",
        dtypes: DTypes::FLOAT,
        inputs: &[X, SCALE, OFFSET],
        outputs: &["output", "mean", "variance"],
        attrs: &[EPSILON],
        regions: &[],
        infer: infer_batch_norm_training,
        meaning: Meaning::Lower(lower_batch_norm_training),
        vjp: Vjp::Lowered,
        samples: &[
            Sample { inputs: &["T[5, 3]", "T[3]", "T[3]"], attrs: "{}" },
            Sample { inputs: &["T[2, 4, 3, 2]", "T[2]", "T[2]"], attrs: r#"{"epsilon": 0.001}"# },
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::super::testing::check;

    #[test]
    fn axes_and_shapes_are_checked() {
        check(
            "softmax",
            &[
                (r#"{"axis": -2}"#, &["float16[n, 3]"], "float16[n, 3]"),
                (r#"{"axis": 2}"#, &["float32[n, 3]"], "softmax: axis 2 is out of range for rank 2"),
                ("{}", &["float32[]"], "softmax: axis -1 is out of range for rank 0"),
            ],
        );
        check(
            "logsumexp",
            &[
                ("{}", &["float32[n, 3]"], "float32[]"),
                (r#"{"axis": [0], "keepdims": true}"#, &["float32[n, 3]"], "float32[1, 3]"),
                (r#"{"axis": [0, -2]}"#, &["float32[n, 3]"], "logsumexp: axis 0 stands twice in [0, -2]"),
            ],
        );
        check(
            "layer_norm",
            &[
                ("{}", &["float32[n, 3]", "float32[3]", "float32[c]"], "float32[n, 3] where 3 == c"),
                (r#"{"axis": [-1, 0]}"#, &["float32[4, n, 3]", "-", "float32[4, 3]"], "float32[4, n, 3]"),
                (
                    "{}",
                    &["float32[n, 3]", "float32[4]"],
                    "layer_norm: scale has shape [4], not [3], that of x along the normalized axes",
                ),
                (r#"{"axis": []}"#, &["float32[n, 3]"], "layer_norm: axis is []; there is nothing to normalize over"),
                (r#"{"epsilon": -1.0}"#, &["float32[n, 3]"], "layer_norm: epsilon is -1; it takes 0 or more"),
            ],
        );
    }

    #[test]
    fn batch_norm_normalizes_channels() {
        let channels = ["float32[b, h, 3]", "float32[3]", "float32[3]", "float32[3]", "float32[3]"];
        check(
            "batch_norm",
            &[
                ("{}", &channels, "float32[b, h, 3]"),
                (
                    "{}",
                    &["float32[b, 3]", "float32[3]", "float32[3]", "float32[2]", "float32[3]"],
                    "batch_norm: mean has shape [2], not [3], the last dim of x",
                ),
            ],
        );
        check(
            "batch_norm_training",
            &[
                ("{}", &channels[..3], "float32[b, h, 3], float32[3], float32[3]"),
                (
                    "{}",
                    &["float32[3]", "float32[3]", "float32[3]"],
                    "batch_norm_training: x has shape [3]; it takes at least 2 dims",
                ),
            ],
        );
    }
}
