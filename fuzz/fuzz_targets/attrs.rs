//! Attrs, dims and specs: the first byte is an op, the rest the JSON of its attrs; what parses survives its own text.

#![no_main]

mod run;

use caudal::{Attrs, Dim, Spec, json, ops};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&op, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    if let Ok(dim) = Dim::parse(text) {
        assert_eq!(Dim::parse(&dim.to_string()).expect("a dim's text parses"), dim);
        let (low, high) = (dim.lower_bound(), dim.upper_bound());
        if let Ok(value) = dim.evaluate(&|_| Some(i64::from(op))) {
            assert!(low.is_none_or(|low| low <= value) && high.is_none_or(|high| value <= high), "{dim}: {value}");
        }
    }
    if let Ok(spec) = Spec::parse(text) {
        assert_eq!(Spec::parse(&spec.to_string()).expect("a spec's text parses"), spec);
    }
    let Ok(json) = json::parse(text) else { return };
    let Some(object) = json.as_object() else { return };
    let defs: Vec<_> = ops::all().collect();
    let def = defs[op as usize % defs.len()];
    match Attrs::from_json(def, object) {
        Ok(attrs) => assert_eq!(Attrs::from_json(def, &attrs.to_json()).expect("attrs' own JSON is read"), attrs),
        Err(error) => run::blameless(&error),
    }
});
