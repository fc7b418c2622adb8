//! Losses: what training makes small, for each example.

use super::index::along_last;
use super::nn::{peak, widen};
use crate::dtype::DTypes;
use crate::error::{Error, Result};
use crate::graph::Value;
use crate::infer::Infer;
use crate::op::{Check, InputDef, Lowering, Meaning, OpDef, Sample, Spec, Vjp};
use crate::shape::Shape;

fn infer_cross_entropy(infer: &mut Infer) -> Result<Vec<Spec>> {
    let (logits, labels) = (infer.input(0)?, infer.input(1)?);
    let Some((_, examples)) = logits.shape.split_last() else {
        return Err(Error::shape("logits is a scalar; its last axis is that of the classes").with_argument("logits"));
    };
    let examples = Shape::new(examples.to_vec())?;
    let shape = infer.unify_shapes(&examples, &labels.shape).map_err(|_| {
        let text = format!("logits has shape {}, so labels takes {examples}, not {}", logits.shape, labels.shape);
        Error::shape(text).with_argument("labels")
    })?;
    Ok(vec![Spec::new(logits.dtype, shape)])
}

/// log(sum(e^(x - max))) - (x[label] - max): as exact as -log_softmax, which is not kept.
fn lower_cross_entropy(lowering: &mut Lowering) -> Result<Vec<Value>> {
    let (dtype, labels) = (lowering.dtype(0), lowering.inputs[1]);
    let g = &mut *lowering.graph;
    let x = widen(g, lowering.inputs[0])?;
    let most = peak(g, x, &[-1])?;
    let shifted = g.sub(x, most)?;
    let exponential = g.exp(shifted)?;
    let total = g.reduce("sum", exponential, &[-1], false)?;
    let log = g.log(total)?;
    let picked = g.op("pick", &[], &[x, labels])?;
    let examples = g.spec(log).shape.clone();
    let most = g.reshape(most, &examples)?;
    let picked = g.sub(picked, most)?;
    let loss = g.sub(log, picked)?;
    Ok(vec![g.cast(loss, dtype)?])
}

/// The family.
pub static OPS: &[OpDef] = &[OpDef {
    name: "softmax_cross_entropy",
    version: 1,
    doc: "Cross entropy of softmax(logits) and labels: -log_softmax(logits)[label], for each example.\n\
        logits are [..., classes], labels are the numbers of the right classes [...]; a label outside \
        [-classes, classes) gives NaN. `float16` and `bfloat16` are computed in `float32`.",
    dtypes: DTypes::FLOAT,
    inputs: &[InputDef::of("logits"), InputDef::in_set("labels", DTypes::INDEX).checked(Check::Index(along_last))],
    outputs: &["loss"],
    attrs: &[],
    regions: &[],
    infer: infer_cross_entropy,
    meaning: Meaning::Lower(lower_cross_entropy),
    vjp: Vjp::Lowered,
    samples: &[
        Sample { inputs: &["T[4, 3]", "int32[4] in 0..3"], attrs: "{}" },
        Sample { inputs: &["T[2, 3, 10] in -20..20", "int64[2, 3] in 0..10"], attrs: "{}" },
        Sample { inputs: &["T[5]", "int32[] in 0..5"], attrs: "{}" },
        Sample { inputs: &["T[0, 3]", "int32[0] in 0..3"], attrs: "{}" },
    ],
}];

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
                    &["float32[batch, 10]", "float32[batch, 10]"],
                    "softmax_cross_entropy: labels is float32; it can be int32, int64",
                ),
            ],
        );
    }
}
