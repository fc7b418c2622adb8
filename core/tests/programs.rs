//! Random programs: every way to run one gives the same bits, files and text keep it, gradients follow differences.
//! See `proof/search.rs` for how to run more of them, or one again.

mod proof;
mod support;

use proof::catalogue::Catalogue;
use proof::recipe::Focus;
use proof::regions::Kind;
use proof::search::{Search, programs};
use proof::{coverage, gradient, properties, state};

/// Coverage is asked of so many programs.
const ENOUGH: usize = 10_000;

/// One program in five begins with a region, the others with one case after the other.
fn focus(catalogue: &Catalogue, number: usize) -> Focus {
    let round = number / 5;
    if number % 5 == 0 {
        let kinds = Kind::ALL.len();
        return Focus::Region { kind: round % kinds, inner: round / kinds % kinds, symbolic: round % 3 == 0 };
    }
    let case = number - round - 1;
    // A step that has no common factor with the number of cases visits them all, far from each other.
    let index = case * 7919 % catalogue.cases.len();
    Focus::Case { index, symbolic: case / catalogue.cases.len() % 2 == 1 || number % 7 == 0 }
}

#[test]
fn eager_plain_optimised_and_saved_agree_to_the_bit() {
    let catalogue = Catalogue::new();
    let search = Search {
        name: "eager_plain_optimised_and_saved_agree_to_the_bit",
        focus: &|number| focus(&catalogue, number),
        check: &|recipe, _| properties::agree(&catalogue, recipe),
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
    };
    let met = search.run(programs() * 2 / 10);
    if programs() >= ENOUGH {
        met.require("state writes and aliases", &coverage::writes());
    }
}

#[test]
fn gradients_follow_differences() {
    let catalogue = Catalogue::new();
    let focus = |number: usize| match number % 4 {
        0 => {
            let kind = Kind::SMOOTH[number / 4 % Kind::SMOOTH.len()];
            let index = |kind: Kind| Kind::ALL.iter().position(|other| *other == kind).expect("a kind");
            let inner = index(Kind::SMOOTH[number / 16 % Kind::SMOOTH.len()]);
            Focus::Region { kind: index(kind), inner, symbolic: number % 3 == 0 }
        }
        _ => Focus::Case { index: catalogue.smooth[number % catalogue.smooth.len()], symbolic: number % 5 == 0 },
    };
    let search = Search {
        name: "gradients_follow_differences",
        focus: &focus,
        check: &|recipe, _| gradient::check(&catalogue, recipe),
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
        focus: &|number| Focus::Case { index: number * 7919 % catalogue.cases.len(), symbolic: false },
        check: &|recipe, _| properties::threads_agree(&catalogue, recipe),
    };
    search.run(programs() / 50);
}
