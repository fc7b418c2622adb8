//! From the region of a cluster that begins with a product to what the CPU runs.

use super::cluster_tape;
use crate::cpu::epilogue::Epilogue;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node};
use crate::op::Meaning;

/// Compiles a region that has a product.
///
/// # Errors
/// `internal`: the region is no such cluster.
pub fn compile(region: &Graph, product: &Node) -> Result<Epilogue> {
    let Meaning::Kernel(kernel) = product.op.def.meaning else {
        return Err(Error::internal("a product that is no kernel"));
    };
    let index = |operand| region.inputs().iter().position(|input| input.value == operand);
    let operands = product.operands().map(index).collect::<Option<Vec<_>>>();
    let operands = operands.ok_or_else(|| Error::internal("a product of what its cluster computes"))?;
    let dtype = region.spec(product.first).dtype;
    let fits = |value: &_| region.spec(*value).dtype == dtype;
    let outputs = region.outputs();
    // Where it is an output itself, nothing is written over it.
    let target = outputs.iter().position(|value| *value == product.first).or_else(|| outputs.iter().position(fits));
    let target = target.ok_or_else(|| Error::internal("a cluster without memory for its product"))?;
    Ok(Epilogue { kernel, operands, tape: cluster_tape(region)?, target })
}
