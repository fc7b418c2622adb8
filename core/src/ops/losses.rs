//! Losses: what training makes small, for each example. `float16` and `bfloat16` are computed in `float32`.
//!
//! A loss over the last axis has one number for each example, the mean of which is taken by `mean`.

use super::activations::log_tail;
use super::index::along_last;
use super::movement::defaulted;
use super::nn::{peak, widen};
use crate::attrs::{AttrDef, AttrType, Attrs};
use crate::dtype::{DType, DTypes};
use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::infer::Infer;
use crate::op::{Backward, Check, InputDef, Lowering, Meaning, OpDef, Sample, Spec, Vjp};
use crate::shape::Shape;

/// The dims but the last, which is that of `what`.
fn examples(infer: &Infer, what: &str) -> Result<Shape> {
    let (spec, name) = (infer.input(0)?, infer.def.inputs[0].name);
    match spec.shape.split_last() {
        Some((_, examples)) => Shape::new(examples.to_vec()),
        None => {
            Err(Error::shape(format!("{name} is a scalar; its last axis is that of the {what}")).with_argument(name))
        }
    }
}

/// The second input, which has this shape.
fn require(infer: &mut Infer, shape: &Shape) -> Result<Shape> {
    let (first, second) = (infer.input(0)?, infer.input(1)?);
    infer.unify_shapes(shape, &second.shape).map_err(|_| {
        let (of, name) = (infer.def.inputs[0].name, infer.def.inputs[1].name);
        let text = format!("{of} has shape {}, so {name} takes {shape}, not {}", first.shape, second.shape);
        Error::shape(text).with_argument(name)
    })
}

fn smoothing(attrs: &Attrs) -> Result<f64> {
    match attrs.float("label_smoothing")? {
        value if (0.0..=1.0).contains(&value) => Ok(value),
        value => {
            let text = format!("label_smoothing is {value}; it is in [0, 1]");
            Err(Error::argument(text).with_argument("label_smoothing"))
        }
    }
}

fn infer_cross_entropy(infer: &mut Infer) -> Result<Vec<Spec>> {
    let (logits, labels) = (infer.input(0)?, infer.input(1)?);
    smoothing(infer.attrs)?;
    let examples = examples(infer, "classes")?;
    if labels.dtype.is_float() {
        require(infer, &logits.shape)?;
        return Ok(vec![Spec::new(logits.dtype, examples)]);
    }
    Ok(vec![Spec::new(logits.dtype, require(infer, &examples)?)])
}

/// log(sum(e^(x - max))) - (x[label] - max): as exact as -log_softmax, which is not kept.
fn lower_cross_entropy(lowering: &mut Lowering) -> Result<Vec<Value>> {
    let (dtype, labels, smoothing) = (lowering.dtype(0), lowering.inputs[1], smoothing(lowering.attrs)?);
    let g = &mut *lowering.graph;
    let x = widen(g, lowering.inputs[0])?;
    let most = peak(g, x, &[-1])?;
    let shifted = g.sub(x, most)?;
    let exponential = g.exp(shifted)?;
    let total = g.reduce("sum", exponential, &[-1], false)?;
    let log = g.log(total)?;
    let mut loss = if g.spec(labels).dtype.is_float() {
        let labels = g.cast(labels, g.spec(x).dtype)?;
        weighted(g, shifted, log, labels)?
    } else {
        let picked = g.op("pick", &[], &[x, labels])?;
        let examples = g.spec(log).shape.clone();
        let most = g.reshape(most, &examples)?;
        let picked = g.sub(picked, most)?;
        g.sub(log, picked)?
    };
    if smoothing != 0.0 {
        let (kept, even) = (g.scalar_like(loss, 1.0 - smoothing)?, g.scalar_like(loss, smoothing)?);
        let mean = g.reduce("mean", shifted, &[-1], false)?;
        let uniform = g.sub(log, mean)?;
        let (kept, even) = (g.mul(kept, loss)?, g.mul(even, uniform)?);
        loss = g.add(kept, even)?;
    }
    Ok(vec![g.cast(loss, dtype)?])
}

/// sum(labels (log - shifted)) over the classes. A class of weight 0 counts nothing, also where its logit is -inf.
fn weighted(g: &mut Graph, shifted: Value, log: Value, labels: Value) -> Result<Value> {
    let (zero, never) = (g.scalar_like(shifted, 0.0)?, g.scalar_like(shifted, f64::NEG_INFINITY)?);
    let (absent, impossible) = (g.equal(labels, zero)?, g.equal(shifted, never)?);
    let apart = g.logical_and(absent, impossible)?;
    let column = g.spec(log).shape.iter().cloned().chain([crate::op::one()]).collect::<Vec<_>>();
    let log = g.reshape(log, &column)?;
    let losses = g.sub(log, shifted)?;
    let losses = g.select(apart, zero, losses)?;
    let losses = g.mul(labels, losses)?;
    g.reduce("sum", losses, &[-1], false)
}

fn infer_same(infer: &mut Infer) -> Result<Vec<Spec>> {
    let first = infer.input(0)?;
    Ok(vec![Spec::new(first.dtype, require(infer, &first.shape)?)])
}

/// max(x, 0) - x label + log(1 + e^-|x|).
fn lower_sigmoid_cross_entropy(l: &mut Lowering) -> Result<Vec<Value>> {
    let dtype = l.dtype(0);
    let g = &mut *l.graph;
    let (x, label) = (widen(g, l.inputs[0])?, widen(g, l.inputs[1])?);
    let (zero, tail) = (g.scalar_like(x, 0.0)?, log_tail(g, x)?);
    let (above, right) = (g.maximum(x, zero)?, g.mul(x, label)?);
    let rest = g.sub(above, right)?;
    let loss = g.add(rest, tail)?;
    Ok(vec![g.cast(loss, dtype)?])
}

fn sigmoid_cross_entropy_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (logits, labels, cotangent) = (b.inputs[0], b.inputs[1], b.cotangent()?);
    let g = &mut *b.graph;
    let dtype = g.spec(logits).dtype;
    let (x, label, cotangent) = (widen(g, logits)?, widen(g, labels)?, widen(g, cotangent)?);
    let probability = g.sigmoid(x)?;
    let slope = g.sub(probability, label)?;
    let to_logits = g.mul(cotangent, slope)?;
    let to_labels = g.mul(cotangent, x)?;
    let to_labels = g.neg(to_labels)?;
    Ok(vec![Some(g.cast(to_logits, dtype)?), Some(g.cast(to_labels, dtype)?)])
}

fn infer_mean(infer: &mut Infer) -> Result<Vec<Spec>> {
    let first = infer.input(0)?;
    let examples = examples(infer, "features")?;
    require(infer, &first.shape)?;
    if let Some(delta) = infer.attrs.optional_float("delta").filter(|delta| delta.is_nan() || *delta <= 0.0) {
        return Err(Error::argument(format!("delta is {delta}; it is above 0")).with_argument("delta"));
    }
    Ok(vec![Spec::new(first.dtype, examples)])
}

/// The mean over the last axis of a function of the differences.
fn mean_of(l: &mut Lowering, loss: impl FnOnce(&mut Graph, Value) -> Result<Value>) -> Result<Vec<Value>> {
    let dtype = l.dtype(0);
    let (prediction, target) = (widen(l.graph, l.inputs[0])?, widen(l.graph, l.inputs[1])?);
    let difference = l.graph.sub(prediction, target)?;
    let losses = loss(l.graph, difference)?;
    let mean = l.graph.reduce("mean", losses, &[-1], false)?;
    Ok(vec![l.graph.cast(mean, dtype)?])
}

fn lower_huber(l: &mut Lowering) -> Result<Vec<Value>> {
    let delta = l.attrs.float("delta")?;
    mean_of(l, |g, difference| {
        let (delta, half, size) =
            (g.scalar_like(difference, delta)?, g.scalar_like(difference, 0.5)?, g.abs(difference)?);
        let near = g.less_equal(size, delta)?;
        let square = g.mul(difference, difference)?;
        let square = g.mul(half, square)?;
        let bent = g.mul(half, delta)?;
        let bent = g.sub(size, bent)?;
        let line = g.mul(delta, bent)?;
        g.select(near, square, line)
    })
}

const PREDICTION: InputDef = InputDef::of("predictions");
const TARGET: InputDef = InputDef::of("targets");

const PAIRS: &[Sample] = &[
    Sample { inputs: &["T[4, 3]", "T[4, 3]"], attrs: "{}" },
    Sample { inputs: &["T[5]", "T[5]"], attrs: "{}" },
    Sample { inputs: &["T[2, 3, 10] in -20..20", "T[2, 3, 10]"], attrs: "{}" },
    Sample { inputs: &["T[0, 3]", "T[0, 3]"], attrs: "{}" },
];

/// A loss of predictions and targets: everything else they have in common.
const fn distance(
    name: &'static str,
    doc: &'static str,
    attrs: &'static [AttrDef],
    lower: fn(&mut Lowering) -> Result<Vec<Value>>,
    samples: &'static [Sample],
) -> OpDef {
    OpDef {
        name,
        version: 1,
        doc,
        dtypes: DTypes::FLOAT,
        inputs: &[PREDICTION, TARGET],
        outputs: &["loss"],
        attrs,
        regions: &[],
        infer: infer_mean,
        meaning: Meaning::Lower(lower),
        vjp: Vjp::Lowered,
        samples,
    }
}

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "softmax_cross_entropy",
        version: 1,
        doc: "Cross entropy of softmax(logits) and labels: -log_softmax(logits)[label], for each example.\n\
            logits are [..., classes]. Integer labels [...] are the numbers of the right classes; a label outside \
            [-classes, classes) gives NaN. Floating-point labels [..., classes], one-hot or any weights, give \
            -sum(labels * log_softmax(logits)), where a class of weight 0 counts nothing even if its logit is -inf. \
            `float16` and `bfloat16` are computed in `float32`.",
        dtypes: DTypes::FLOAT,
        inputs: &[
            InputDef::of("logits"),
            InputDef::in_set(
                "labels",
                DTypes::of(&[DType::I32, DType::I64, DType::F16, DType::BF16, DType::F32, DType::F64]),
            )
            .checked(Check::Index(along_last)),
        ],
        outputs: &["loss"],
        attrs: &[defaulted(
            "label_smoothing",
            AttrType::Float,
            "0.0",
            "The share of each label that is spread over all classes alike, in [0, 1], as in Keras.",
        )],
        regions: &[],
        infer: infer_cross_entropy,
        meaning: Meaning::Lower(lower_cross_entropy),
        vjp: Vjp::Lowered,
        samples: &[
            Sample { inputs: &["T[4, 3]", "int32[4] in 0..3"], attrs: "{}" },
            Sample { inputs: &["T[2, 3, 10] in -20..20", "int64[2, 3] in 0..10"], attrs: "{}" },
            Sample { inputs: &["T[5]", "int32[] in 0..5"], attrs: "{}" },
            Sample { inputs: &["T[0, 3]", "int32[0] in 0..3"], attrs: "{}" },
            Sample { inputs: &["T[4, 3]", "int32[4] in 0..3"], attrs: r#"{"label_smoothing": 0.1}"# },
            Sample { inputs: &["T[4, 3]", "T[4, 3] in 0..1"], attrs: "{}" },
            Sample {
                inputs: &["T[2, 3, 10] in -20..20", "float32[2, 3, 10] in 0..1"],
                attrs: r#"{"label_smoothing": 0.1}"#,
            },
        ],
    },
    OpDef {
        name: "sigmoid_cross_entropy",
        version: 1,
        doc: "Cross entropy of sigmoid(logits) and labels: -label log(sigmoid(x)) - (1 - label) log(1 - sigmoid(x)).\n\
            One loss for each logit, by itself; labels, in [0, 1], have the shape of logits. Computed as max(x, 0) - x \
            label + log1p(e^-|x|), for any finite x. `float16` and `bfloat16` are computed in `float32`.",
        dtypes: DTypes::FLOAT,
        inputs: &[InputDef::of("logits"), InputDef::of("labels")],
        outputs: &["loss"],
        attrs: &[],
        regions: &[],
        infer: infer_same,
        meaning: Meaning::Lower(lower_sigmoid_cross_entropy),
        vjp: Vjp::Rule(sigmoid_cross_entropy_vjp),
        samples: &[
            Sample { inputs: &["T[4, 3]", "T[4, 3] in 0..1"], attrs: "{}" },
            Sample { inputs: &["T[1003] in -20..20", "T[1003] in 0..1"], attrs: "{}" },
            Sample { inputs: &["T[]", "T[] in 0..1"], attrs: "{}" },
            Sample { inputs: &["T[0, 3]", "T[0, 3]"], attrs: "{}" },
        ],
    },
    distance(
        "mean_squared_error",
        "Mean squared error: mean((predictions - targets)^2) over the last axis, for each example. Both have one shape.",
        &[],
        |l| mean_of(l, |g, difference| g.mul(difference, difference)),
        PAIRS,
    ),
    distance(
        "mean_absolute_error",
        "Mean absolute error: mean(|predictions - targets|) over the last axis, for each example. Both have one shape. \
            The gradient of a difference of 0 is 0.",
        &[],
        |l| mean_of(l, |g, difference| g.abs(difference)),
        PAIRS,
    ),
    distance(
        "huber",
        "Huber loss: the mean over the last axis of d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), with d = \
            predictions - targets; for each example. Both have one shape. Huber 1964.",
        &[defaulted("delta", AttrType::Float, "1.0", "Where the parabola becomes straight lines, above 0.")],
        lower_huber,
        &[
            Sample { inputs: &["T[4, 3]", "T[4, 3]"], attrs: "{}" },
            Sample { inputs: &["T[5]", "T[5]"], attrs: r#"{"delta": 0.3}"# },
            Sample { inputs: &["T[2, 3, 10] in -20..20", "T[2, 3, 10]"], attrs: r#"{"delta": 2.5}"# },
            Sample { inputs: &["T[0, 3]", "T[0, 3]"], attrs: "{}" },
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::super::testing::check;

    #[test]
    fn labels_have_the_shape_of_the_examples() {
        check(
            "softmax_cross_entropy",
            &[
                ("{}", &["float32[batch, 10]", "int32[batch]"], "float32[batch]"),
                ("{}", &["float32[batch, 10]", "int64[n]"], "float32[batch] where batch == n"),
                ("{}", &["float32[10]", "int32[]"], "float32[]"),
                (
                    "{}",
                    &["float32[]", "int32[]"],
                    "softmax_cross_entropy: logits is a scalar; its last axis is that of the classes",
                ),
                (
                    "{}",
                    &["float32[batch, 10]", "int32[batch, 1]"],
                    "softmax_cross_entropy: logits has shape [batch, 10], so labels takes [batch], not [batch, 1]",
                ),
                (
                    "{}",
                    &["float32[batch, 10]", "uint8[batch]"],
                    "softmax_cross_entropy: labels is uint8; it can be int32, int64, float16, bfloat16, float32, float64",
                ),
            ],
        );
    }

    #[test]
    fn float_labels_have_the_shape_of_the_logits() {
        check(
            "softmax_cross_entropy",
            &[
                ("{}", &["float32[batch, 10]", "float32[batch, 10]"], "float32[batch]"),
                ("{}", &["float16[batch, 10]", "float32[batch, n]"], "float16[batch] where 10 == n"),
                (
                    "{}",
                    &["float32[batch, 10]", "float32[batch]"],
                    "softmax_cross_entropy: logits has shape [batch, 10], so labels takes [batch, 10], not [batch]",
                ),
                (
                    r#"{"label_smoothing": 1.5}"#,
                    &["float32[batch, 10]", "int32[batch]"],
                    "softmax_cross_entropy: label_smoothing is 1.5; it is in [0, 1]",
                ),
            ],
        );
        check(
            "sigmoid_cross_entropy",
            &[
                ("{}", &["float32[batch, 10]", "float32[batch, 10]"], "float32[batch, 10]"),
                (
                    "{}",
                    &["float32[batch, 1]", "float32[batch]"],
                    "sigmoid_cross_entropy: logits has shape [batch, 1], so labels takes [batch, 1], not [batch]",
                ),
            ],
        );
    }

    #[test]
    fn distances_are_means_over_the_last_axis() {
        for name in ["mean_squared_error", "mean_absolute_error", "huber"] {
            check(name, &[("{}", &["float32[batch, 3]", "float32[batch, 3]"], "float32[batch]")]);
        }
        check(
            "huber",
            &[
                (
                    "{}",
                    &["float32[]", "float32[]"],
                    "huber: predictions is a scalar; its last axis is that of the features",
                ),
                (
                    "{}",
                    &["float32[batch, 1]", "float32[batch]"],
                    "huber: predictions has shape [batch, 1], so targets takes [batch, 1], not [batch]",
                ),
                (r#"{"delta": 0.0}"#, &["float32[3]", "float32[3]"], "huber: delta is 0; it is above 0"),
            ],
        );
    }
}
