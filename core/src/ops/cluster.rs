//! What passes make of other ops. These are no part of the surface, but stand in graphs' text.

use crate::cpu::copy;
use crate::dtype::DTypes;
use crate::error::{Error, Result};
use crate::infer::{Infer, like_first};
use crate::op::{InputDef, Kernel, Meaning, OpDef, Spec, Vjp};

const INTERNAL: Vjp = Vjp::NotDifferentiable("passes make it after gradients are taken");

fn infer_fused(infer: &mut Infer) -> Result<Vec<Spec>> {
    let [region] = infer.regions else { return Err(Error::internal("fused has one region")) };
    Ok(region.outputs().iter().map(|&value| region.spec(value).clone()).collect())
}

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "fused",
        version: 1,
        doc: "A cluster: element-wise ops that run as one step. The region holds them.",
        dtypes: DTypes::ALL,
        inputs: &[InputDef::in_set("operands", DTypes::ALL).variadic(0)],
        outputs: &[],
        attrs: &[],
        regions: &["body"],
        infer: infer_fused,
        meaning: Meaning::Cluster,
        vjp: INTERNAL,
        samples: &[],
    },
    OpDef {
        name: "dense",
        version: 1,
        doc: "x copied to row-major order, for a step that cannot read strides.",
        dtypes: DTypes::ALL,
        inputs: &[InputDef::of("x")],
        outputs: &["output"],
        attrs: &[],
        regions: &[],
        infer: like_first,
        meaning: Meaning::Kernel(Kernel { takes_strides: true, ..Kernel::dense(copy::run) }),
        vjp: INTERNAL,
        samples: &[],
    },
];
