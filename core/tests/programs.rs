//! Random programs: every way to run one gives the same bits, files and text keep it, gradients follow differences.
//! See `proof/search.rs` for how to run more of them, or one again. Each op is also held against answers that caudal did
//! not compute.

mod proof;
mod support;

use proof::catalogue::Catalogue;
use proof::recipe::Focus;
use proof::search::{SHRINKING, Search, programs};
use proof::{coverage, gradient, properties, specials, state, vectors};

/// Coverage is asked of so many programs.
const ENOUGH: usize = 10_000;

#[test]
fn eager_plain_optimised_and_saved_agree_to_the_bit() {
    let catalogue = Catalogue::new();
    let search = Search {
        name: "eager_plain_optimised_and_saved_agree_to_the_bit",
        focus: &|number| catalogue.focus(number),
        check: &|recipe, _| properties::agree(&catalogue, recipe),
        shrinking: SHRINKING,
    };
    let met = search.run(programs() * 6 / 10);
    if programs() >= ENOUGH {
        met.require("ops in each dtype", &coverage::ops_by_dtype(&catalogue));
        met.require("ops with symbolic dims", &coverage::symbolic_ops(&catalogue));
        met.require("regions, alone and nested", &coverage::regions());
    }
}

#[test]
fn state_follows_the_reference() {
    let catalogue = Catalogue::new();
    let search = Search {
        name: "state_follows_the_reference",
        focus: &|_| Focus::Any,
        check: &|recipe, number| state::check(&catalogue, recipe, number),
        shrinking: SHRINKING,
    };
    let met = search.run(programs() * 2 / 10);
    if programs() >= ENOUGH {
        met.require("state writes and aliases", &coverage::writes());
    }
}

#[test]
fn gradients_follow_differences() {
    let catalogue = Catalogue::new();
    let search = Search {
        name: "gradients_follow_differences",
        focus: &|number| catalogue.smooth_focus(number),
        check: &|recipe, _| gradient::check(&catalogue, recipe),
        shrinking: SHRINKING,
    };
    let met = search.run(programs() * 2 / 10);
    if programs() >= ENOUGH {
        met.require("ops with gradients", &coverage::smooth_ops(&catalogue));
        met.require("regions with gradients", &coverage::smooth_regions());
    }
    let (smooth, rough) = (met.of("smooth direction"), met.of("rough direction"));
    println!("{smooth} directions compared, {rough} where the program is not smooth");
    assert!(rough * 4 <= smooth, "too many programs are not smooth to say anything");
}

#[test]
fn one_and_three_threads_agree_to_the_bit() {
    let catalogue = Catalogue::new();
    let search = Search {
        name: "one_and_three_threads_agree_to_the_bit",
        focus: &|number| catalogue.case_focus(number, false),
        check: &|recipe, _| properties::threads_agree(&catalogue, recipe),
        shrinking: SHRINKING,
    };
    search.run(programs() / 50);
}

#[test]
fn every_vector_of_numpy_is_met() {
    let (count, wrong) = vectors::check();
    println!("{count} cases");
    assert!(count > 500, "{count} cases");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn values_that_need_care_are_as_defined() {
    let wrong = specials::check();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
