//! Schedules of the learning rate: each makes of the number of steps made so far the factor, a `float32`, that the
//! learning rate is multiplied by; and the norm that gradients are clipped by.
//!
//! A schedule that a training step applies to the step in its state is part of its graph: whoever runs the graph on,
//! in whatever language, goes on with the same rates. The state of the learning rate stays the rate to begin with.

use super::movement::{defaulted, required};
use super::nn::widen;
use crate::attrs::{AttrDef, AttrType, Attrs};
use crate::dtype::{DType, DTypes};
use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::infer::Infer;
use crate::op::{InputDef, Lowering, Meaning, OpDef, Sample, Spec, Vjp};
use crate::shape::Shape;
use std::f64::consts::FRAC_PI_2;

const STEP: InputDef = InputDef::in_set("step", DTypes::of(&[DType::I64]));
const WARMUP: AttrDef = defaulted(
    "warmup_steps",
    AttrType::Int,
    "0",
    "For how many steps the factor first rises from 0 to 1, in a straight line; the rest begins after them.",
);
const DECAY_STEPS: AttrDef = required("decay_steps", AttrType::Int, "How many steps the decay takes, above 0.");

/// The step as a scalar; the attrs in range.
fn infer_schedule(infer: &mut Infer) -> Result<Vec<Spec>> {
    infer.shape_of_rank(0, 0)?;
    for (name, least) in [("warmup_steps", 0), ("decay_steps", 1)] {
        if let Some(value) = infer.attrs.optional_int(name).filter(|&value| value < least) {
            return Err(Error::argument(format!("{name} is {value}; it takes {least} or more")).with_argument(name));
        }
    }
    for (name, end) in [("alpha", 1.0), ("decay_rate", f64::INFINITY)] {
        if let Some(value) = infer.attrs.optional_float(name).filter(|value| !(0.0..=end).contains(value)) {
            let range = if end.is_finite() { "from 0 to 1" } else { "0 or more" };
            return Err(Error::argument(format!("{name} is {value}; it takes {range}")).with_argument(name));
        }
    }
    Ok(vec![Spec::new(DType::F32, Shape::of(&[]))])
}

/// A number of steps as an i64 scalar.
fn steps(g: &mut Graph, count: i64) -> Result<Value> {
    g.constant(crate::Tensor::from_slice(DType::I64, &[], &[count])?)
}

/// step / count, at least 0 and at most 1.
fn progress(g: &mut Graph, step: Value, count: i64) -> Result<Value> {
    let (zero, end) = (steps(g, 0)?, steps(g, count)?);
    let step = g.maximum(step, zero)?;
    let step = g.minimum(step, end)?;
    ratio(g, step, count)
}

fn ratio(g: &mut Graph, step: Value, count: i64) -> Result<Value> {
    let (step, count) = (g.cast(step, DType::F32)?, g.scalar(DType::F32, count as f64)?);
    g.div(step, count)
}

/// What `after` makes of the steps after the warm-up; during that its own factor.
fn warmed(l: &mut Lowering, after: impl FnOnce(&mut Graph, &Attrs, Value) -> Result<Value>) -> Result<Vec<Value>> {
    let (step, count) = (l.inputs[0], l.attrs.int("warmup_steps")?);
    if count == 0 {
        return Ok(vec![after(l.graph, l.attrs, step)?]);
    }
    let g = &mut *l.graph;
    let end = steps(g, count)?;
    let later = g.sub(step, end)?;
    let factor = after(g, l.attrs, later)?;
    let rising = progress(g, step, count)?;
    let first = g.less(step, end)?;
    Ok(vec![g.select(first, rising, factor)?])
}

/// (1 + cos(pi t)) / 2 as sin(pi (1 - t) / 2)^2, which is exact near its end, too.
fn cosine(g: &mut Graph, attrs: &Attrs, step: Value) -> Result<Value> {
    let (alpha, count) = (attrs.float("alpha")?, attrs.int("decay_steps")?);
    let end = steps(g, count)?;
    let left = g.sub(end, step)?;
    let left = progress(g, left, count)?;
    let quarter = g.scalar(DType::F32, FRAC_PI_2)?;
    let angle = g.mul(quarter, left)?;
    let sine = g.op("sin", &[], &[angle])?;
    let share = g.mul(sine, sine)?;
    let (alpha, height) = (g.scalar(DType::F32, alpha)?, g.scalar(DType::F32, 1.0 - alpha)?);
    let share = g.mul(height, share)?;
    g.add(alpha, share)
}

fn exponential(g: &mut Graph, attrs: &Attrs, step: Value) -> Result<Value> {
    let zero = steps(g, 0)?;
    let step = g.maximum(step, zero)?;
    let mut power = ratio(g, step, attrs.int("decay_steps")?)?;
    if attrs.bool("staircase")? {
        let whole = g.cast(power, DType::I64)?;
        power = g.cast(whole, DType::F32)?;
    }
    let rate = g.scalar(DType::F32, attrs.float("decay_rate")?)?;
    g.pow(rate, power)
}

fn infer_global_norm(infer: &mut Infer) -> Result<Vec<Spec>> {
    Ok(vec![Spec::new(infer.input(0)?.dtype.compute(), Shape::of(&[]))])
}

fn lower_global_norm(l: &mut Lowering) -> Result<Vec<Value>> {
    let mut sum = None;
    for &value in l.inputs {
        let x = widen(l.graph, value)?;
        let square = l.graph.mul(x, x)?;
        let part = l.graph.op("sum", &[], &[square])?;
        sum = Some(match sum {
            Some(sum) => l.graph.add(sum, part)?,
            None => part,
        });
    }
    let sum = sum.ok_or_else(|| Error::internal("a global_norm of nothing"))?;
    Ok(vec![l.graph.sqrt(sum)?])
}

const fn schedule(
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
        dtypes: DTypes::of(&[DType::I64]),
        inputs: &[STEP],
        outputs: &["factor"],
        attrs,
        regions: &[],
        infer: infer_schedule,
        meaning: Meaning::Lower(lower),
        vjp: Vjp::NotDifferentiable("its input is a number of steps"),
        samples,
    }
}

/// The family.
pub static OPS: &[OpDef] = &[
    schedule(
        "constant_schedule",
        "A factor of 1, after a warm-up: step / warmup_steps before them.",
        &[WARMUP],
        |l| warmed(l, |g, _, _| g.scalar(DType::F32, 1.0)),
        &[
            Sample { inputs: &["int64[] in 0..10"], attrs: r#"{"warmup_steps": 10}"# },
            Sample { inputs: &["int64[] in 0..10"], attrs: "{}" },
            Sample { inputs: &["int64[] in 11..99"], attrs: r#"{"warmup_steps": 10}"# },
        ],
    ),
    schedule(
        "cosine_schedule",
        "A factor that falls from 1 to alpha along half a cosine: alpha + (1 - alpha) (1 + cos(pi t)) / 2.\n\
            t is the step (less warmup_steps) by decay_steps, at most 1; as in Keras. Loshchilov and Hutter 2016.",
        &[
            DECAY_STEPS,
            defaulted("alpha", AttrType::Float, "0.0", "The factor that it ends with, from 0 to 1."),
            WARMUP,
        ],
        |l| warmed(l, cosine),
        &[
            Sample { inputs: &["int64[] in 0..100"], attrs: r#"{"decay_steps": 100}"# },
            Sample {
                inputs: &["int64[] in 10..99"],
                attrs: r#"{"decay_steps": 100, "alpha": 0.1, "warmup_steps": 10}"#,
            },
            Sample { inputs: &["int64[] in 0..9"], attrs: r#"{"decay_steps": 100, "warmup_steps": 10}"# },
            Sample { inputs: &["int64[] in 100..900"], attrs: r#"{"decay_steps": 100, "alpha": 0.1}"# },
        ],
    ),
    schedule(
        "exponential_schedule",
        "A factor that falls by decay_rate in every decay_steps: decay_rate^(step / decay_steps), as in Keras.\n\
            The step is that after the warm-up.",
        &[
            DECAY_STEPS,
            required("decay_rate", AttrType::Float, "The factor after decay_steps, 0 or more."),
            defaulted(
                "staircase",
                AttrType::Bool,
                "false",
                "Whether it falls after every decay_steps alone, and not in between.",
            ),
            WARMUP,
        ],
        |l| warmed(l, exponential),
        &[
            Sample { inputs: &["int64[] in 0..1000"], attrs: r#"{"decay_steps": 100, "decay_rate": 0.9}"# },
            Sample {
                inputs: &["int64[] in 0..1000"],
                attrs: r#"{"decay_steps": 7, "decay_rate": 0.9, "staircase": true, "warmup_steps": 5}"#,
            },
        ],
    ),
    OpDef {
        name: "global_norm",
        version: 1,
        doc: "Euclidean norm of all elements of some values: the root of the sum of their squares, a scalar.\n\
            The values may differ in shape. `float16` and `bfloat16` are computed, and given, in `float32`.",
        dtypes: DTypes::FLOAT,
        inputs: &[InputDef::of("values").variadic(1)],
        outputs: &["norm"],
        attrs: &[],
        regions: &[],
        infer: infer_global_norm,
        meaning: Meaning::Lower(lower_global_norm),
        vjp: Vjp::Lowered,
        samples: &[
            Sample { inputs: &["T[2, 3]", "T[4]", "T[]"], attrs: "{}" },
            Sample { inputs: &["T[1003]"], attrs: "{}" },
            Sample { inputs: &["T[3]", "T[0, 2]"], attrs: "{}" },
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::super::testing::check;

    #[test]
    fn steps_are_scalars_and_attrs_in_range() {
        check(
            "cosine_schedule",
            &[
                (r#"{"decay_steps": 10}"#, &["int64[]"], "float32[]"),
                (r#"{"decay_steps": 10}"#, &["int64[1]"], "cosine_schedule: step has shape [1], not rank 0"),
                (r#"{"decay_steps": 0}"#, &["int64[]"], "cosine_schedule: decay_steps is 0; it takes 1 or more"),
                (
                    r#"{"decay_steps": 9, "alpha": 1.5}"#,
                    &["int64[]"],
                    "cosine_schedule: alpha is 1.5; it takes from 0 to 1",
                ),
                (
                    r#"{"decay_steps": 9, "warmup_steps": -1}"#,
                    &["int64[]"],
                    "cosine_schedule: warmup_steps is -1; it takes 0 or more",
                ),
            ],
        );
        check(
            "exponential_schedule",
            &[(
                r#"{"decay_steps": 9, "decay_rate": "nan"}"#,
                &["int64[]"],
                "exponential_schedule: decay_rate is NaN; it takes 0 or more",
            )],
        );
        check("global_norm", &[("{}", &["float16[n, 3]", "float16[]"], "float32[]")]);
    }
}
