//! The printers of kernels, by op. An op without one runs on the CPU.

mod conv;
pub mod elementwise;
mod gemm;
mod movement;
mod operand;
mod pool;
mod product;

use super::kernel::{Printer, Recipe, Refusal, Request};
use crate::cpu::single;
use crate::op::{Meaning, Op};

/// The printers of each file.
const PRINTERS: &[&[(&str, Printer)]] = &[conv::PRINTERS, movement::PRINTERS, pool::PRINTERS, product::PRINTERS];

/// The recipe of an op that is one step, but for clusters.
///
/// # Errors
/// Why it runs on the CPU.
pub fn print(op: &Op, request: &Request) -> Result<Recipe, Refusal> {
    let name = op.def.name;
    match &op.def.meaning {
        Meaning::Scalar(_) => {
            let dtypes: Vec<_> = request.inputs.iter().flatten().map(|input| input.dtype).collect();
            let (expression, result) = single::expression(op, &dtypes);
            elementwise::print(&expression, &[result], request)
        }
        Meaning::Kernel(_) => match PRINTERS.iter().copied().flatten().find(|(other, _)| *other == name) {
            Some((_, printer)) => printer(request),
            None => Err(Refusal(format!("{name} has no GPU kernel"))),
        },
        _ => Err(Refusal(format!("{name} is not one kernel"))),
    }
}
