//! What random programs have met, and what they must have met.

use super::catalogue::Catalogue;
use super::regions::Kind;
use super::state::{Alias, Write};
use caudal::ops;
use std::collections::BTreeMap;

/// How often each thing was met.
#[derive(Debug, Default, Clone)]
pub struct Coverage(BTreeMap<String, usize>);

impl Coverage {
    pub fn count(&mut self, what: String) {
        *self.0.entry(what).or_default() += 1;
    }

    pub fn merge(&mut self, other: Coverage) {
        other.0.into_iter().for_each(|(what, count)| *self.0.entry(what).or_default() += count);
    }

    pub fn of(&self, what: &str) -> usize {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Prints how much of each group was met, and how rarely; fails if anything was not.
    pub fn require(&self, title: &str, expected: &[String]) {
        let missing: Vec<_> = expected.iter().filter(|what| self.of(what) == 0).collect();
        let least = expected.iter().min_by_key(|what| self.of(what));
        let least = least.map_or(String::new(), |what| format!("; least often {what}: {}", self.of(what)));
        println!("{title}: {} of {}{least}", expected.len() - missing.len(), expected.len());
        assert!(missing.is_empty(), "{title} without: {missing:?}");
    }
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    names.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

/// Every op in each of its dtypes.
pub fn ops_by_dtype(catalogue: &Catalogue) -> Vec<String> {
    let names = catalogue.cases.iter().map(|case| format!("op {} {}", case.op.def.name, case.dtype));
    let met = sorted(names);
    for def in ops::all().filter(|def| def.regions.is_empty()) {
        assert!(
            met.iter().any(|name| name.starts_with(&format!("op {} ", def.name))),
            "no sample of {} fits",
            def.name
        );
    }
    met
}

/// Every op that takes a symbolic dim.
pub fn symbolic_ops(catalogue: &Catalogue) -> Vec<String> {
    let cases = catalogue.cases.iter().filter(|case| !case.symbolic.is_empty());
    sorted(cases.map(|case| format!("symbolic {}", case.op.def.name)))
}

/// Every op that gradients go through.
pub fn smooth_ops(catalogue: &Catalogue) -> Vec<String> {
    sorted(catalogue.smooth.iter().map(|&index| format!("gradient {}", catalogue.cases[index].op.def.name)))
}

/// Every kind of region alone, in each other kind, and with symbolic dims.
pub fn regions() -> Vec<String> {
    let nested = Kind::ALL.iter().flat_map(|kind| Kind::ALL.iter().map(move |outer| format!("{kind:?} in {outer:?}")));
    let alone = Kind::ALL.iter().flat_map(|kind| [format!("{kind:?}"), format!("{kind:?} with a symbol")]);
    alone.chain(nested).collect()
}

/// Every kind of region that gradients go through.
pub fn smooth_regions() -> Vec<String> {
    Kind::SMOOTH.iter().map(|kind| format!("gradient {kind:?}")).collect()
}

/// Every way that state is written and values are shared.
pub fn writes() -> Vec<String> {
    let writes = Write::ALL.iter().map(|write| format!("write {write:?}"));
    writes.chain(Alias::ALL.iter().map(|alias| format!("alias {alias:?}"))).collect()
}
