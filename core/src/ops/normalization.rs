//! Normalization: values made to have a mean of 0, a variance of 1, or a mean square of 1. `float16` and `bfloat16` are
//! computed in `float32` and rounded at the end.

use super::nn::widen;
use crate::attrs::{AttrDef, AttrType, Attrs};
use crate::dtype::DTypes;
use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::infer::{Infer, like_first};
use crate::op::{InputDef, Lowering, Meaning, OpDef, Sample, Spec, Vjp, normalize_axes, one};
use crate::shape::{Dim, Shape};

const X: InputDef = InputDef::of("x");
const SCALE: InputDef = InputDef::of("scale");
const OFFSET: InputDef = InputDef::of("offset");

const NORMALIZED: AttrDef =
    AttrDef { name: "axis", kind: AttrType::Ints, default: Some("[-1]"), doc: "The axes over which x is normalized." };
const EPSILON: AttrDef = AttrDef {
    name: "epsilon",
    kind: AttrType::Float,
    default: Some("1e-5"),
    doc: "What is added to the variance before its root.",
};

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

/// The axes of the attr, sorted, and the dims with which scale and offset broadcast with x.
fn normalized(attrs: &Attrs, shape: &Shape) -> Result<(Vec<i64>, Vec<Dim>)> {
    let axes = normalize_axes(Some(&attrs.ints("axis")?), shape.rank())?;
    let along = |axis: usize| if axes.contains(&axis) { shape[axis].clone() } else { one() };
    let dims = (axes[0]..shape.rank()).map(along).collect();
    Ok((axes.iter().map(|&axis| axis as i64).collect(), dims))
}

fn lower_layer_norm(lowering: &mut Lowering) -> Result<Vec<Value>> {
    let (dtype, shape, epsilon) = (lowering.dtype(0), lowering.shape(0), epsilon(lowering.attrs)?);
    let (axes, dims) = normalized(lowering.attrs, &shape)?;
    let (scale, offset) = (lowering.optional(1), lowering.optional(2));
    let g = &mut *lowering.graph;
    let x = widen(g, lowering.inputs[0])?;
    let (centered, _, variance) = moments(g, x, &axes, true)?;
    let factor = inverse_deviation(g, variance, epsilon)?;
    let output = g.mul(centered, factor)?;
    let output = affine(g, output, (scale, offset), &dims)?;
    Ok(vec![g.cast(output, dtype)?])
}

/// x * scale + offset, each of which is reshaped to `dims` and may be left out.
fn affine(g: &mut Graph, mut x: Value, parts: (Option<Value>, Option<Value>), dims: &[Dim]) -> Result<Value> {
    if let Some(scale) = parts.0 {
        let scale = g.reshape(scale, dims)?;
        let scale = widen(g, scale)?;
        x = g.mul(x, scale)?;
    }
    if let Some(offset) = parts.1 {
        let offset = g.reshape(offset, dims)?;
        let offset = widen(g, offset)?;
        x = g.add(x, offset)?;
    }
    Ok(x)
}

fn lower_rms_norm(lowering: &mut Lowering) -> Result<Vec<Value>> {
    let (dtype, shape, epsilon) = (lowering.dtype(0), lowering.shape(0), epsilon(lowering.attrs)?);
    let (axes, dims) = normalized(lowering.attrs, &shape)?;
    let scale = lowering.optional(1);
    let g = &mut *lowering.graph;
    let x = widen(g, lowering.inputs[0])?;
    let square = g.mul(x, x)?;
    let square = g.reduce("mean", square, &axes, true)?;
    let factor = inverse_deviation(g, square, epsilon)?;
    let output = g.mul(x, factor)?;
    let output = affine(g, output, (scale, None), &dims)?;
    Ok(vec![g.cast(output, dtype)?])
}

/// The number of groups, and the channels in each.
fn groups(attrs: &Attrs, x: &Shape) -> Result<(i64, i64)> {
    let groups = attrs.int("groups")?;
    let channels = match x.last() {
        Some(last) if x.rank() >= 2 => last,
        _ => return Err(Error::shape(format!("x has shape {x}; it takes at least 2 dims")).with_argument("x")),
    };
    let Some(count) = channels.as_constant() else {
        let text = format!("x has shape {x}; its last dim, the channels, must be a number");
        return Err(Error::shape(text).with_argument("x"));
    };
    if groups < 1 || count % groups != 0 {
        let text = format!("groups is {groups}, which does not divide the {count} channels");
        return Err(Error::argument(text).with_argument("groups"));
    }
    Ok((groups, count / groups))
}

fn infer_group_norm(infer: &mut Infer) -> Result<Vec<Spec>> {
    groups(infer.attrs, &infer.input(0)?.shape)?;
    let shape = channels(infer, 2)?;
    for index in [1, 2] {
        require_shape(infer, index, &shape, "the last dim of x")?;
    }
    like_first(infer)
}

fn lower_group_norm(lowering: &mut Lowering) -> Result<Vec<Value>> {
    let (dtype, shape, epsilon) = (lowering.dtype(0), lowering.shape(0), epsilon(lowering.attrs)?);
    let (count, size) = groups(lowering.attrs, &shape)?;
    let (scale, offset) = (lowering.optional(1), lowering.optional(2));
    let g = &mut *lowering.graph;
    let (outer, channels) = (&shape[..shape.rank() - 1], [shape[shape.rank() - 1].clone()]);
    let dims: Vec<_> = outer.iter().cloned().chain([count.into(), size.into()]).collect();
    let axes: Vec<_> = (1..outer.len() as i64).chain([outer.len() as i64 + 1]).collect();
    let x = widen(g, lowering.inputs[0])?;
    let x = g.reshape(x, &dims)?;
    let (centered, _, variance) = moments(g, x, &axes, true)?;
    let factor = inverse_deviation(g, variance, epsilon)?;
    let output = g.mul(centered, factor)?;
    let output = g.reshape(output, &shape)?;
    let output = affine(g, output, (scale, offset), &channels)?;
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

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "layer_norm",
        version: 1,
        doc: "Layer normalization: (x - mean) / sqrt(variance + epsilon), times scale plus offset.\n\
            Mean and variance (the mean square of x - mean) are those over the axes, for each place along the others. \
            scale and offset have the shape of x along these axes. Ba, Kiros and Hinton 2016.",
        dtypes: DTypes::FLOAT,
        inputs: &[X, SCALE.optional(), OFFSET.optional()],
        outputs: &["output"],
        attrs: &[NORMALIZED, EPSILON],
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
        name: "rms_norm",
        version: 1,
        doc: "Root mean square normalization: x / sqrt(mean(x^2) + epsilon), times scale.\n\
            The mean is that over the axes, for each place along the others; scale has the shape of x along these axes. \
            Zhang and Sennrich 2019.",
        dtypes: DTypes::FLOAT,
        inputs: &[X, SCALE.optional()],
        outputs: &["output"],
        attrs: &[
            NORMALIZED,
            AttrDef {
                name: "epsilon",
                kind: AttrType::Float,
                default: Some("1e-6"),
                doc: "What is added to the mean square before its root.",
            },
        ],
        regions: &[],
        infer: infer_layer_norm,
        meaning: Meaning::Lower(lower_rms_norm),
        vjp: Vjp::Lowered,
        samples: &[
            Sample { inputs: &["T[2, 5]"], attrs: "{}" },
            Sample { inputs: &["T[2, 3, 5]", "T[5]"], attrs: r#"{"epsilon": 0.1}"# },
            Sample { inputs: &["T[2, 3, 4]", "T[2, 4]"], attrs: r#"{"axis": [-1, 0]}"# },
        ],
    },
    OpDef {
        name: "group_norm",
        version: 1,
        doc: "Group normalization: (x - mean) / sqrt(variance + epsilon), times scale plus offset.\n\
            x is [batch, ..., channels]. Mean and variance are those over a group of neighbouring channels and all axes \
            between the first and the last, for each example. scale and offset are [channels]. One group is layer \
            normalization, as many as channels instance normalization. Wu and He 2018.",
        dtypes: DTypes::FLOAT,
        inputs: &[X, SCALE.optional(), OFFSET.optional()],
        outputs: &["output"],
        attrs: &[
            AttrDef {
                name: "groups",
                kind: AttrType::Int,
                default: None,
                doc: "How many groups the channels make, each of as many.",
            },
            EPSILON,
        ],
        regions: &[],
        infer: infer_group_norm,
        meaning: Meaning::Lower(lower_group_norm),
        vjp: Vjp::Lowered,
        samples: &[
            Sample { inputs: &["T[2, 3, 3, 4]"], attrs: r#"{"groups": 2}"# },
            Sample { inputs: &["T[2, 5, 6]", "T[6]", "T[6]"], attrs: r#"{"groups": 3, "epsilon": 0.1}"# },
            Sample { inputs: &["T[2, 6]", "-", "T[6]"], attrs: r#"{"groups": 1}"# },
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
    fn shapes_are_those_along_the_axes() {
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
    fn groups_divide_the_channels() {
        check(
            "group_norm",
            &[
                (r#"{"groups": 2}"#, &["float32[b, h, w, 6]", "float32[6]", "float32[6]"], "float32[b, h, w, 6]"),
                (
                    r#"{"groups": 4}"#,
                    &["float32[b, 6]"],
                    "group_norm: groups is 4, which does not divide the 6 channels",
                ),
                (
                    r#"{"groups": 0}"#,
                    &["float32[b, 6]"],
                    "group_norm: groups is 0, which does not divide the 6 channels",
                ),
                (
                    r#"{"groups": 2}"#,
                    &["float32[b, c]"],
                    "group_norm: x has shape [b, c]; its last dim, the channels, must be a number",
                ),
                (r#"{"groups": 2}"#, &["float32[6]"], "group_norm: x has shape [6]; it takes at least 2 dims"),
                (
                    r#"{"groups": 2}"#,
                    &["float32[b, 6]", "float32[3]"],
                    "group_norm: scale has shape [3], not [6], the last dim of x",
                ),
            ],
        );
        check(
            "rms_norm",
            &[
                (r#"{"axis": [-1, 0]}"#, &["float32[4, n, 3]", "float32[4, 3]"], "float32[4, n, 3]"),
                (
                    "{}",
                    &["float32[n, 3]", "float32[4]"],
                    "rms_norm: scale has shape [4], not [3], that of x along the normalized axes",
                ),
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
