//! The tests find mistakes: each bug of `src/planted.rs` is found by the checks that the other tests make.
//!
//! Run by `cargo test -p caudal --features planted --test planted`. Each bug is chosen in a process of its own, which
//! runs the checks until one fails.

mod proof;
mod support;

use caudal::planted::BUGS;
use proof::catalogue::Catalogue;
use proof::recipe::{Focus, Recipe};
use proof::search::Search;
use proof::{gradient, properties, specials, state, vectors};
use std::collections::VecDeque;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Rounds of programs of each kind: many times what the bug that hides best needs.
const ROUNDS: u64 = 6;

#[test]
fn the_checks_pass_unless_a_bug_is_chosen() {
    let wrong: Vec<_> = specials::check().into_iter().chain(vectors::check().1).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let catalogue = Catalogue::new();
    for round in 1..=ROUNDS {
        let search = |name, count, focus: &(dyn Fn(usize) -> Focus + Sync), check: &Check| {
            Search { name, focus, check, shrinking: Duration::ZERO }.seeded(round, count);
        };
        let case = |number: usize| catalogue.case_focus(number, false);
        search("graphs", 200, &|number| catalogue.focus(number), &|recipe, _| properties::agree(&catalogue, recipe));
        search("state", 50, &|_| Focus::Any, &|recipe, number| state::check(&catalogue, recipe, number));
        search("gradients", 120, &|number| catalogue.smooth_focus(number), &|recipe, _| {
            gradient::check(&catalogue, recipe)
        });
        search("threads", 40, &case, &|recipe, _| properties::threads_agree(&catalogue, recipe));
    }
}

type Check<'a> = dyn Fn(&Recipe, usize) -> properties::Outcome + Sync + 'a;

#[test]
fn every_planted_bug_is_found() {
    if std::env::var_os("CAUDAL_PLANTED").is_some() {
        return;
    }
    assert!(BUGS.len() >= 20, "{} bugs are planted", BUGS.len());
    let queue = Mutex::new(BUGS.iter().copied().collect::<VecDeque<_>>());
    let missed = Mutex::new(Vec::new());
    let lock = |queue: &Mutex<VecDeque<&'static str>>| queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(bug) = lock(&queue) {
                    if let Err(reason) = find(bug) {
                        missed.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{bug}: {reason}"));
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(missed.is_empty(), "not found:\n{}", missed.join("\n"));
}

/// Runs the checks with that bug; prints what they say.
fn find(bug: &str) -> Result<(), String> {
    let start = Instant::now();
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let child = Command::new(this)
        .args(["--exact", "the_checks_pass_unless_a_bug_is_chosen", "--nocapture"])
        .env("CAUDAL_PLANTED", bug)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&child.stderr);
    if child.status.success() {
        return Err("every check passes".into());
    }
    // The line after that of the panic's place.
    let said = text.lines().skip_while(|line| !line.contains("panicked at")).nth(1).unwrap_or("the process ended");
    println!("{bug}: {:.1} s: {}", start.elapsed().as_secs_f64(), said.chars().take(160).collect::<String>());
    Ok(())
}
