//! What passes make of other ops. These are no part of the surface, but stand in graphs' text.

use crate::cpu::copy;
use crate::dtype::DTypes;
use crate::error::{Error, Result};
use crate::infer::{Infer, like_first};
use crate::op::{Accepts, Arity, InputDef, Kernel, Meaning, OpDef, Spec, Vjp};

/// The most nodes of a cluster, its scalar constants not counted: its operands and results stay in the L1 cache.
pub const MAX_NODES: usize = 48;

/// With a constant for each operand.
const MAX_CLUSTER: usize = 4 * MAX_NODES;

const INTERNAL: Vjp = Vjp::NotDifferentiable("passes make it after gradients are taken");

/// The region holds element-wise ops of one shape and scalar constants, on the operands; the pass `fuse` makes no other,
/// and the engine relies on it.
fn infer_fused(infer: &mut Infer) -> Result<Vec<Spec>> {
    let [region] = infer.regions else { return Err(Error::internal("fused has one region")) };
    let operands = (0..infer.inputs.len()).map(|index| infer.input(index)).collect::<Result<Vec<_>>>()?;
    let inputs: Vec<_> = region.inputs().iter().map(|input| region.spec(input.value)).collect();
    if inputs != operands {
        return Err(Error::argument("the region takes other specs than those of the operands"));
    }
    if region.nodes().len() > MAX_CLUSTER || inputs.len() > 3 * MAX_CLUSTER {
        return Err(Error::argument(format!("the region has more than {MAX_CLUSTER} nodes or their operands")));
    }
    let mut shape = None;
    for node in region.nodes() {
        let spec = region.spec(node.first);
        match node.op.def.meaning {
            Meaning::Scalar(_) if *shape.get_or_insert(&spec.shape) == &spec.shape => {}
            _ if node.op.def.name == "constant" && spec.shape.rank() == 0 => {}
            _ => return Err(Error::argument(format!("the region holds {}, which is not fused", node.op.def.name))),
        }
    }
    for &value in region.outputs() {
        if !region.producer(value).is_some_and(|node| matches!(node.op.def.meaning, Meaning::Scalar(_))) {
            return Err(Error::argument(format!("the region gives {value}, which no element-wise op makes")));
        }
    }
    Ok(region.outputs().iter().map(|&value| region.spec(value).clone()).collect())
}

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "fused",
        version: 1,
        doc: "A cluster: element-wise ops that run as one step. The region holds them.",
        dtypes: DTypes::ALL,
        inputs: &[InputDef { name: "operands", arity: Arity::Variadic(0), accepts: Accepts::Set(DTypes::ALL) }],
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
