//! The ops, one file per family; each op stands complete in one place.

mod activations;
mod arrange;
mod cluster;
mod control;
pub(crate) mod conv;
mod distributions;
mod dynamic;
mod einsum;
mod elementwise;
pub mod epilogue;
mod functions;
mod gather;
mod index;
pub(crate) mod linear;
mod losses;
mod movement;
mod nn;
mod normalization;
mod optimizers;
mod parts;
pub mod phases;
pub(crate) mod pool;
mod random;
mod reduce;
mod scan;
mod schedules;
mod sort;
#[cfg(test)]
mod testing;

pub use cluster::{MAX_WORK, elementwise_work, work};
pub(crate) use distributions::low_and_span as integer_range;
pub use index::unpick_elementwise;
pub(crate) use parts::{view_pad as padded, view_slice as sliced};
pub use random::is_random_bits;
pub(crate) use reduce::known_axes as reduced_axes;
pub use reduce::{is_fold, loops as reduction_loops};

use crate::error::{Error, Result};
use crate::op::OpDef;
use std::collections::HashMap;
use std::sync::OnceLock;

/// The families in the order of the op reference: title, ops.
pub static FAMILIES: &[(&str, &[OpDef])] = &[
    ("Element-wise", elementwise::OPS),
    ("Functions", functions::OPS),
    ("Moving elements", movement::OPS),
    ("Parts of tensors", parts::OPS),
    ("Arranging", arrange::OPS),
    ("Reductions", reduce::OPS),
    ("Scans", scan::OPS),
    ("Sorting", sort::OPS),
    ("Products", linear::OPS),
    ("Products by formula", einsum::OPS),
    ("Convolution", conv::OPS),
    ("Pooling", pool::OPS),
    ("Indexing", index::OPS),
    ("Gathering and scattering", gather::OPS),
    ("Parts by index", dynamic::OPS),
    ("Random numbers", random::OPS),
    ("Distributions", distributions::OPS),
    ("Activations", activations::OPS),
    ("Neural networks", nn::OPS),
    ("Normalization", normalization::OPS),
    ("Losses", losses::OPS),
    ("Optimizers", optimizers::OPS),
    ("Learning rate schedules", schedules::OPS),
    ("Control flow", control::OPS),
];

/// Every op, in the order of the families.
pub fn all() -> impl Iterator<Item = &'static OpDef> {
    FAMILIES.iter().flat_map(|(_, ops)| ops.iter())
}

/// The newest version of the op of that name.
///
/// # Errors
/// `name`: there is none.
pub fn find(name: &str) -> Result<&'static OpDef> {
    static NEWEST: OnceLock<HashMap<&str, &OpDef>> = OnceLock::new();
    let newest = NEWEST.get_or_init(|| {
        let mut newest: HashMap<&str, &OpDef> = HashMap::new();
        for def in all().chain(cluster::OPS) {
            let entry = newest.entry(def.name).or_insert(def);
            if entry.version < def.version {
                *entry = def;
            }
        }
        newest
    });
    newest.get(name).copied().ok_or_else(|| Error::name(format!("there is no op {name:?}")).with_argument("name"))
}

/// Whether an op is part of the surface: programs and files may use it. Others are what passes make.
pub fn is_public(def: &OpDef) -> bool {
    cluster::OPS.iter().all(|other| other != def)
}

/// The op of that name and version.
pub fn find_version(name: &str, version: u32) -> Option<&'static OpDef> {
    all().chain(cluster::OPS).find(|def| def.name == name && def.version == version)
}
