//! Optimizers: each makes of a parameter, its gradient and its slots the new parameter and the new slots.
//!
//! Their inputs are `parameter`, `gradient`, `learning_rate`, `step`, then the slots, as `Builder::optimize` asks.
//! `float16` and `bfloat16` are computed in `float32`.

use crate::attrs::{AttrDef, AttrType, Attrs};
use crate::dtype::{DType, DTypes};
use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::infer::Infer;
use crate::op::{InputDef, Lowering, Meaning, OpDef, Sample, Spec, Vjp};

const PARAMETER: InputDef = InputDef::of("parameter");
const GRADIENT: InputDef = InputDef::of("gradient");
const LEARNING_RATE: InputDef = InputDef::in_set("learning_rate", DTypes::FLOAT);
const STEP: InputDef = InputDef::in_set("step", DTypes::of(&[DType::I64]));

const VELOCITY: InputDef = InputDef::of("velocity");
const AVERAGE: InputDef = InputDef::of("average_gradient");
const CHANGE: InputDef = InputDef::of("change");

const fn number(name: &'static str, default: &'static str, doc: &'static str) -> AttrDef {
    AttrDef { name, kind: AttrType::Float, default: Some(default), doc }
}

const MOMENTUM: AttrDef = number("momentum", "0.9", "How much of the velocity stays from step to step.");
const NESTEROV: AttrDef = AttrDef {
    name: "nesterov",
    kind: AttrType::Bool,
    default: Some("false"),
    doc: "Whether the parameter moves on by where the velocity will take it: Nesterov's form.",
};
const RHO: AttrDef = number("rho", "0.9", "How much of the averages stays from step to step.");
const CARRIED: AttrDef = number("momentum", "0.9", "How much of the change stays from step to step.");
const BETA_1: AttrDef = number("beta_1", "0.9", "How much of the first moment stays from step to step.");
const BETA_2: AttrDef = number("beta_2", "0.999", "How much of the second moment stays from step to step.");
const EPSILON: AttrDef = number("epsilon", "1e-7", "What is added to the root of the second moment.");
const INSIDE: AttrDef = number("epsilon", "1e-7", "What is added under the root.");
const START: AttrDef = number("initial_accumulator_value", "0.1", "What the sum of squares begins with.");
const WEIGHT_DECAY: AttrDef =
    number("weight_decay", "0.004", "What part of the parameter, times the learning rate, each step takes off.");

/// Checks that an attr lies in 0 <= value < end.
fn require_below(attrs: &Attrs, name: &str, end: f64) -> Result<()> {
    match attrs.optional_float(name) {
        Some(value) if !(0.0..end).contains(&value) => {
            let range = if end.is_finite() { format!("from 0 to below {end}") } else { "0 or more".to_string() };
            Err(Error::argument(format!("{name} is {value}; it takes {range}")).with_argument(name))
        }
        _ => Ok(()),
    }
}

/// The parameter's spec for it and each slot, which have one shape; the rate and the step are scalars.
fn infer_optimizer(infer: &mut Infer) -> Result<Vec<Spec>> {
    for name in ["momentum", "rho", "beta_1", "beta_2"] {
        require_below(infer.attrs, name, 1.0)?;
    }
    for name in ["epsilon", "initial_accumulator_value", "weight_decay"] {
        require_below(infer.attrs, name, f64::INFINITY)?;
    }
    infer.shape_of_rank(2, 0)?;
    infer.shape_of_rank(3, 0)?;
    let parameter = infer.input(0)?;
    for index in std::iter::once(1).chain(4..infer.def.inputs.len()) {
        let other = infer.input(index)?;
        infer.unify_shapes(&parameter.shape, &other.shape).map_err(|_| {
            let name = infer.def.inputs[index].name;
            let text = format!("{name} has shape {}, the parameter {}", other.shape, parameter.shape);
            Error::shape(text).with_argument(name)
        })?;
    }
    Ok(vec![parameter.clone(); infer.def.outputs.len()])
}

/// The inputs in the dtype that is computed in: parameter, gradient, rate, then the slots.
fn operands<const N: usize>(lowering: &mut Lowering) -> Result<[Value; N]> {
    let dtype = lowering.dtype(0).compute();
    let mut operands = [Value::ABSENT; N];
    let values = lowering.inputs[..3].iter().chain(&lowering.inputs[4..]);
    for (operand, &value) in operands.iter_mut().zip(values) {
        *operand = lowering.graph.cast(value, dtype)?;
    }
    Ok(operands)
}

fn rounded(lowering: &mut Lowering, outputs: &[Value]) -> Result<Vec<Value>> {
    let dtype = lowering.dtype(0);
    outputs.iter().map(|&value| lowering.graph.cast(value, dtype)).collect()
}

fn lower_sgd(lowering: &mut Lowering) -> Result<Vec<Value>> {
    let [parameter, gradient, rate] = operands(lowering)?;
    let change = lowering.graph.mul(gradient, rate)?;
    let parameter = lowering.graph.sub(parameter, change)?;
    rounded(lowering, &[parameter])
}

fn lower_momentum(lowering: &mut Lowering) -> Result<Vec<Value>> {
    let [parameter, gradient, rate, velocity] = operands(lowering)?;
    let (momentum, nesterov) = (lowering.attrs.float("momentum")?, lowering.attrs.bool("nesterov")?);
    let g = &mut *lowering.graph;
    let momentum = g.scalar_like(velocity, momentum)?;
    let kept = g.mul(velocity, momentum)?;
    let change = g.mul(gradient, rate)?;
    let velocity = g.sub(kept, change)?;
    let step = if nesterov {
        let ahead = g.mul(velocity, momentum)?;
        g.sub(ahead, change)?
    } else {
        velocity
    };
    let parameter = g.add(parameter, step)?;
    rounded(lowering, &[parameter, velocity])
}

/// The slots are the velocity (the average of squares), then the average gradient if it is centered, then the change
/// if there is a momentum: as many as `N` less parameter, gradient and rate.
fn lower_rmsprop<const N: usize>(lowering: &mut Lowering, centered: bool) -> Result<Vec<Value>> {
    let operands = operands::<N>(lowering)?;
    let (parameter, gradient, rate, velocity) = (operands[0], operands[1], operands[2], operands[3]);
    let (rho, epsilon) = (lowering.attrs.float("rho")?, lowering.attrs.float("epsilon")?);
    let momentum = lowering.attrs.optional_float("momentum");
    let g = &mut *lowering.graph;
    let square = g.mul(gradient, gradient)?;
    let velocity = blend(g, velocity, square, rho)?;
    let (mut slots, mut spread) = (vec![velocity], velocity);
    if centered {
        let average = blend(g, operands[4], gradient, rho)?;
        let square = g.mul(average, average)?;
        spread = g.sub(velocity, square)?;
        slots.push(average);
    }
    let epsilon = g.scalar_like(spread, epsilon)?;
    let spread = g.add(spread, epsilon)?;
    let deviation = g.sqrt(spread)?;
    let change = g.mul(gradient, rate)?;
    let mut change = g.div(change, deviation)?;
    if let Some(momentum) = momentum {
        let momentum = g.scalar_like(change, momentum)?;
        let kept = g.mul(operands[N - 1], momentum)?;
        change = g.add(kept, change)?;
        slots.push(change);
    }
    let parameter = g.sub(parameter, change)?;
    slots.insert(0, parameter);
    rounded(lowering, &slots)
}

fn lower_adagrad(lowering: &mut Lowering) -> Result<Vec<Value>> {
    let [parameter, gradient, rate, accumulator] = operands(lowering)?;
    let (start, epsilon) = (lowering.attrs.float("initial_accumulator_value")?, lowering.attrs.float("epsilon")?);
    let g = &mut *lowering.graph;
    let square = g.mul(gradient, gradient)?;
    let accumulator = g.add(accumulator, square)?;
    let start = g.scalar_like(accumulator, start + epsilon)?;
    let sum = g.add(accumulator, start)?;
    let deviation = g.sqrt(sum)?;
    let change = g.mul(gradient, rate)?;
    let change = g.div(change, deviation)?;
    let parameter = g.sub(parameter, change)?;
    rounded(lowering, &[parameter, accumulator])
}

/// 1 - beta^t.
fn bias(g: &mut Graph, beta: f64, t: Value) -> Result<Value> {
    let (one, beta) = (g.scalar_like(t, 1.0)?, g.scalar_like(t, beta)?);
    let power = g.pow(beta, t)?;
    g.sub(one, power)
}

/// average + (value - average) * (1 - beta).
fn blend(g: &mut Graph, average: Value, value: Value, beta: f64) -> Result<Value> {
    let share = g.scalar_like(average, 1.0 - beta)?;
    let difference = g.sub(value, average)?;
    let change = g.mul(difference, share)?;
    g.add(average, change)
}

fn lower_adam(lowering: &mut Lowering) -> Result<Vec<Value>> {
    let [mut parameter, gradient, rate, m, v] = operands(lowering)?;
    let (beta_1, beta_2) = (lowering.attrs.float("beta_1")?, lowering.attrs.float("beta_2")?);
    let (epsilon, decay) = (lowering.attrs.float("epsilon")?, lowering.attrs.optional_float("weight_decay"));
    let (g, step) = (&mut *lowering.graph, lowering.inputs[3]);
    if let Some(decay) = decay {
        let decay = g.scalar_like(rate, decay)?;
        let share = g.mul(rate, decay)?;
        let change = g.mul(parameter, share)?;
        parameter = g.sub(parameter, change)?;
    }
    let step = g.cast(step, g.spec(rate).dtype)?;
    let one = g.scalar_like(rate, 1.0)?;
    let t = g.add(step, one)?;
    let (bias_1, bias_2) = (bias(g, beta_1, t)?, bias(g, beta_2, t)?);
    let root = g.sqrt(bias_2)?;
    let alpha = g.mul(rate, root)?;
    let alpha = g.div(alpha, bias_1)?;
    let m = blend(g, m, gradient, beta_1)?;
    let square = g.mul(gradient, gradient)?;
    let v = blend(g, v, square, beta_2)?;
    let epsilon = g.scalar_like(v, epsilon)?;
    let deviation = g.sqrt(v)?;
    let deviation = g.add(deviation, epsilon)?;
    let change = g.mul(m, alpha)?;
    let change = g.div(change, deviation)?;
    let parameter = g.sub(parameter, change)?;
    rounded(lowering, &[parameter, m, v])
}

/// An optimizer's op: everything else they have in common.
const fn optimizer(
    name: &'static str,
    doc: &'static str,
    (inputs, outputs): (&'static [InputDef], &'static [&'static str]),
    attrs: &'static [AttrDef],
    lower: fn(&mut Lowering) -> Result<Vec<Value>>,
    samples: &'static [Sample],
) -> OpDef {
    OpDef {
        name,
        version: 1,
        doc,
        dtypes: DTypes::FLOAT,
        inputs,
        outputs,
        attrs,
        regions: &[],
        infer: infer_optimizer,
        meaning: Meaning::Lower(lower),
        vjp: Vjp::Lowered,
        samples,
    }
}

const ADAM_SLOTS: (&[InputDef], &[&str]) =
    (&[PARAMETER, GRADIENT, LEARNING_RATE, STEP, InputDef::of("m"), InputDef::of("v")], &["parameter", "m", "v"]);

const ADAM_SAMPLES: &[Sample] = &[
    Sample {
        inputs: &["T[2, 3]", "T[2, 3]", "float32[] in 0.01..0.1", "int64[] in 0..5", "T[2, 3]", "T[2, 3] in 0.1..1"],
        attrs: "{}",
    },
    Sample {
        inputs: &["T[3]", "T[3]", "float32[] in 0.01..0.1", "int64[] in 0..1000", "T[3]", "T[3] in 0.1..1"],
        attrs: r#"{"beta_1": 0.5, "beta_2": 0.9, "epsilon": 0.01}"#,
    },
];

/// The family.
pub static OPS: &[OpDef] = &[
    optimizer(
        "sgd",
        "A step of gradient descent: parameter - learning_rate * gradient.\n\
            The step is not used; every optimizer takes it.",
        (&[PARAMETER, GRADIENT, LEARNING_RATE, STEP], &["parameter"]),
        &[],
        lower_sgd,
        &[Sample { inputs: &["T[2, 3]", "T[2, 3]", "float32[] in 0.01..0.1", "int64[] in 0..5"], attrs: "{}" }],
    ),
    optimizer(
        "sgd_momentum",
        "A step of gradient descent with momentum, as in Keras.\n\
            velocity = momentum * velocity - learning_rate * gradient, parameter = parameter + velocity; with `nesterov` \
            parameter = parameter + momentum * velocity - learning_rate * gradient. The step is not used; every optimizer \
            takes it.",
        (&[PARAMETER, GRADIENT, LEARNING_RATE, STEP, VELOCITY], &["parameter", "velocity"]),
        &[MOMENTUM, NESTEROV],
        lower_momentum,
        &[
            Sample {
                inputs: &["T[2, 3]", "T[2, 3]", "float32[] in 0.01..0.1", "int64[] in 0..5", "T[2, 3]"],
                attrs: "{}",
            },
            Sample {
                inputs: &["T[3]", "T[3]", "float32[] in 0.01..0.1", "int64[] in 0..5", "T[3]"],
                attrs: r#"{"momentum": 0.0}"#,
            },
            Sample {
                inputs: &["T[3]", "T[3]", "float32[] in 0.01..0.1", "int64[] in 0..5", "T[3]"],
                attrs: r#"{"nesterov": true}"#,
            },
        ],
    ),
    optimizer(
        "rmsprop",
        "A step of RMSprop, as in Keras. Tieleman and Hinton 2012.\n\
            velocity = velocity + (gradient^2 - velocity) (1 - rho), parameter = parameter - learning_rate * gradient / \
            sqrt(velocity + epsilon). The step is not used; every optimizer takes it.",
        (&[PARAMETER, GRADIENT, LEARNING_RATE, STEP, VELOCITY], &["parameter", "velocity"]),
        &[RHO, INSIDE],
        |l| lower_rmsprop::<4>(l, false),
        &[
            Sample {
                inputs: &["T[2, 3]", "T[2, 3]", "float32[] in 0.01..0.1", "int64[] in 0..5", "T[2, 3] in 0.1..1"],
                attrs: "{}",
            },
            Sample {
                inputs: &["T[3]", "T[3]", "float32[] in 0.01..0.1", "int64[] in 0..5", "T[3] in 0.1..1"],
                attrs: r#"{"rho": 0.5, "epsilon": 0.01}"#,
            },
        ],
    ),
    optimizer(
        "rmsprop_momentum",
        "A step of RMSprop with momentum, as in Keras.\n\
            velocity is that of rmsprop, change = momentum * change + learning_rate * gradient / sqrt(velocity + epsilon), \
            parameter = parameter - change.",
        (&[PARAMETER, GRADIENT, LEARNING_RATE, STEP, VELOCITY, CHANGE], &["parameter", "velocity", "change"]),
        &[RHO, INSIDE, CARRIED],
        |l| lower_rmsprop::<5>(l, false),
        &[Sample {
            inputs: &["T[3]", "T[3]", "float32[] in 0.01..0.1", "int64[] in 0..5", "T[3] in 0.1..1", "T[3]"],
            attrs: r#"{"momentum": 0.5}"#,
        }],
    ),
    optimizer(
        "rmsprop_centered",
        "A step of centered RMSprop, as in Keras: the squares are those about the average gradient.\n\
            velocity is that of rmsprop, average = average + (gradient - average) (1 - rho), parameter = parameter - \
            learning_rate * gradient / sqrt(velocity - average^2 + epsilon).",
        (
            &[PARAMETER, GRADIENT, LEARNING_RATE, STEP, VELOCITY, AVERAGE],
            &["parameter", "velocity", "average_gradient"],
        ),
        &[RHO, INSIDE],
        |l| lower_rmsprop::<5>(l, true),
        &[Sample {
            inputs: &["T[3]", "T[3]", "float32[] in 0.01..0.1", "int64[] in 0..5", "T[3] in 1..2", "T[3] in -0.5..0.5"],
            attrs: "{}",
        }],
    ),
    optimizer(
        "rmsprop_centered_momentum",
        "A step of centered RMSprop with momentum, as in Keras: rmsprop_centered, whose change goes through that of \
            rmsprop_momentum.",
        (
            &[PARAMETER, GRADIENT, LEARNING_RATE, STEP, VELOCITY, AVERAGE, CHANGE],
            &["parameter", "velocity", "average_gradient", "change"],
        ),
        &[RHO, INSIDE, CARRIED],
        |l| lower_rmsprop::<6>(l, true),
        &[Sample {
            inputs: &[
                "T[3]",
                "T[3]",
                "float32[] in 0.01..0.1",
                "int64[] in 0..5",
                "T[3] in 1..2",
                "T[3] in -0.5..0.5",
                "T[3]",
            ],
            attrs: r#"{"momentum": 0.5, "epsilon": 0.01}"#,
        }],
    ),
    optimizer(
        "adagrad",
        "A step of Adagrad, as in Keras. Duchi, Hazan and Singer 2011.\n\
            accumulator = accumulator + gradient^2, parameter = parameter - learning_rate * gradient / sqrt(accumulator + \
            initial_accumulator_value + epsilon): the slot, which begins with 0, holds the sum of squares without the \
            initial value that Keras' begins with. The step is not used; every optimizer takes it.",
        (&[PARAMETER, GRADIENT, LEARNING_RATE, STEP, InputDef::of("accumulator")], &["parameter", "accumulator"]),
        &[START, INSIDE],
        lower_adagrad,
        &[
            Sample {
                inputs: &["T[2, 3]", "T[2, 3]", "float32[] in 0.01..0.1", "int64[] in 0..5", "T[2, 3] in 0..3"],
                attrs: "{}",
            },
            Sample {
                inputs: &["T[3]", "T[3]", "float32[] in 0.01..0.1", "int64[] in 0..5", "T[3] in 0.1..1"],
                attrs: r#"{"initial_accumulator_value": 0.0, "epsilon": 0.01}"#,
            },
        ],
    ),
    optimizer(
        "adam",
        "A step of Adam, as in Keras. Kingma and Ba 2014, the form with one rate in section 2.\n\
            With t = step + 1: m = m + (gradient - m) (1 - beta_1), v = v + (gradient^2 - v) (1 - beta_2), alpha = \
            learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t), parameter = parameter - alpha m / (sqrt(v) + epsilon).",
        ADAM_SLOTS,
        &[BETA_1, BETA_2, EPSILON],
        lower_adam,
        ADAM_SAMPLES,
    ),
    optimizer(
        "adamw",
        "A step of Adam with decoupled weight decay, as in Keras. Loshchilov and Hutter 2017.\n\
            The parameter first loses weight_decay * learning_rate of itself; the rest is adam.",
        ADAM_SLOTS,
        &[BETA_1, BETA_2, EPSILON, WEIGHT_DECAY],
        lower_adam,
        ADAM_SAMPLES,
    ),
];

#[cfg(test)]
mod tests {
    use super::super::testing::check;

    #[test]
    fn outputs_are_the_parameter_and_the_slots() {
        let p = "float32[3, 4]";
        check(
            "sgd",
            &[
                ("{}", &[p, p, "float32[]", "int64[]"], p),
                ("{}", &[p, "float32[4]", "float32[]", "int64[]"], "sgd: gradient has shape [4], the parameter [3, 4]"),
                ("{}", &[p, p, "float32[1]", "int64[]"], "sgd: learning_rate has shape [1], not rank 0"),
                ("{}", &[p, p, "float32[]", "int32[]"], "sgd: step is int32; it can be int64"),
            ],
        );
        check(
            "sgd_momentum",
            &[
                ("{}", &["float16[3]", "float16[3]", "float32[]", "int64[]", "float16[3]"], "float16[3], float16[3]"),
                (
                    r#"{"momentum": 1.0}"#,
                    &[p, p, "float32[]", "int64[]", p],
                    "sgd_momentum: momentum is 1; it takes from 0 to below 1",
                ),
            ],
        );
        check(
            "rmsprop_centered_momentum",
            &[
                (
                    "{}",
                    &[p, p, "float32[]", "int64[]", p, p, p],
                    "float32[3, 4], float32[3, 4], float32[3, 4], float32[3, 4]",
                ),
                (
                    r#"{"rho": 1.5}"#,
                    &[p, p, "float32[]", "int64[]", p, p, p],
                    "rmsprop_centered_momentum: rho is 1.5; it takes from 0 to below 1",
                ),
            ],
        );
        check(
            "adagrad",
            &[(
                r#"{"initial_accumulator_value": -1.0}"#,
                &[p, p, "float32[]", "int64[]", p],
                "adagrad: initial_accumulator_value is -1; it takes 0 or more",
            )],
        );
        check(
            "adamw",
            &[
                ("{}", &[p, p, "float32[]", "int64[]", p, p], "float32[3, 4], float32[3, 4], float32[3, 4]"),
                (
                    "{}",
                    &[p, p, "float32[]", "int64[]", p, "float32[3]"],
                    "adamw: v has shape [3], the parameter [3, 4]",
                ),
                (
                    r#"{"weight_decay": -0.5}"#,
                    &[p, p, "float32[]", "int64[]", p, p],
                    "adamw: weight_decay is -0.5; it takes 0 or more",
                ),
            ],
        );
    }
}
