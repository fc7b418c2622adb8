//! What the wrappers of every language read of the op records.

use caudal::dtype::{DType, DTypes};
use caudal::op::{Accepts, InputDef, Meaning, OpDef};
use caudal::ops;

/// The ops that have a function of their own: control flow takes functions, and clusters are made by a pass.
pub fn wrapped() -> impl Iterator<Item = &'static OpDef> {
    ops::all().filter(|def| !matches!(def.meaning, Meaning::Control(_) | Meaning::Cluster))
}

/// A doc, which its record breaks into lines, as one.
pub fn text(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The dtype that numbers and lists take as this input, where it is not that of the other inputs; "own" is the one that
/// is usual for them, where the input means different things by dtype.
pub fn number_dtype(input: &InputDef) -> Option<&'static str> {
    let usual = [DType::I64, DType::F32, DType::Bool, DType::U32];
    match input.accepts {
        Accepts::T => None,
        Accepts::Set(set) if set == DTypes::ALL => None,
        Accepts::Set(set) => {
            let mut found = usual.into_iter().filter(|dtype| set.contains(*dtype));
            let several = set.contains(DType::F32) && (set.contains(DType::I64) || set.contains(DType::Bool));
            if several { Some("own") } else { found.next().map(DType::name) }
        }
    }
}
