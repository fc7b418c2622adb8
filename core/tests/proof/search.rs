//! Goes through programs by number, in two threads; what fails shrinks and is printed.
//!
//! - `CAUDAL_PROGRAMS`: how many programs in all (10000).
//! - `CAUDAL_SEED`: the only seed; left out, a fixed one and for a fifth of the programs a fresh one.
//! - `CAUDAL_PROGRAM`: only the program of that number.

use super::coverage::Coverage;
use super::properties::Outcome;
use super::recipe::{Focus, Recipe, recipes};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const FIXED_SEED: u64 = 1;
const THREADS: usize = 2;
/// How long simpler programs are tried where one is to be read.
pub const SHRINKING: Duration = Duration::from_secs(20);

/// A number from the environment.
pub fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// How many programs there are in all.
pub fn programs() -> usize {
    setting("CAUDAL_PROGRAMS").unwrap_or(10_000) as usize
}

/// A property of programs, and the first step of the program of each number.
pub struct Search<'a> {
    pub name: &'a str,
    pub focus: &'a (dyn Fn(usize) -> Focus + Sync),
    pub check: &'a (dyn Fn(&Recipe, usize) -> Outcome + Sync),
    /// How long simpler programs are tried for one that fails.
    pub shrinking: Duration,
}

impl Search<'_> {
    /// Goes through that many programs of a fixed seed and a fresh one.
    ///
    /// # Panics
    /// If one fails: with its text, its inputs and how to run it again.
    pub fn run(&self, count: usize) -> Coverage {
        if let Some(seed) = setting("CAUDAL_SEED") {
            return self.seeded(seed, count);
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let fresh = since.map_or(2, |since| since.as_nanos() as u64);
        println!("{}: {count} programs; a fifth has the fresh seed CAUDAL_SEED={fresh}", self.name);
        let mut coverage = self.seeded(FIXED_SEED, count - count / 5);
        coverage.merge(self.seeded(fresh, count / 5));
        coverage
    }

    /// Goes through the programs of one seed.
    pub fn seeded(&self, seed: u64, count: usize) -> Coverage {
        let only = setting("CAUDAL_PROGRAM").map(|number| number as usize);
        let (found, failure) = (AtomicBool::new(false), Mutex::new(None));
        let mut coverage = Coverage::default();
        std::thread::scope(|scope| {
            let search = |first: usize| {
                let mut coverage = Coverage::default();
                for number in (first..count).step_by(THREADS).filter(|number| only.is_none_or(|only| only == *number)) {
                    if found.load(Ordering::Relaxed) {
                        break;
                    }
                    match self.program(seed, number) {
                        Ok(met) => coverage.merge(met),
                        Err(text) => {
                            found.store(true, Ordering::Relaxed);
                            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
                        }
                    }
                }
                coverage
            };
            let threads: Vec<_> = (0..THREADS).map(|first| scope.spawn(move || search(first))).collect();
            threads.into_iter().for_each(|thread| coverage.merge(thread.join().expect("a search does not panic")));
        });
        if let Some(text) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            panic!("{text}");
        }
        coverage
    }

    /// Checks one program; what is wrong is said of the simplest program that is wrong too.
    fn program(&self, seed: u64, number: usize) -> Outcome {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&(number as u64).to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let strategy =
            recipes((self.focus)(number), seed.wrapping_add(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut tree = strategy.new_tree(&mut runner).map_err(|reason| reason.to_string())?;
        let mut text = match self.check(&tree.current(), number) {
            Ok(coverage) => return Ok(coverage),
            Err(text) => text,
        };
        let start = Instant::now();
        while start.elapsed() < self.shrinking {
            // A simpler program that is right was simplified too far.
            let more = match self.check(&tree.current(), number) {
                Ok(_) => tree.complicate(),
                Err(simpler) => {
                    text = simpler;
                    tree.simplify()
                }
            };
            if !more {
                break;
            }
        }
        let name = self.name;
        Err(format!(
            "{name}: {text}\nagain: CAUDAL_SEED={seed} CAUDAL_PROGRAM={number} cargo test -p caudal --test programs {name}"
        ))
    }

    /// The check, a panic being what is wrong.
    fn check(&self, recipe: &Recipe, number: usize) -> Outcome {
        silence();
        QUIET.set(true);
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.check)(recipe, number)));
        QUIET.set(false);
        outcome.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Err(format!("a panic: {}\n{recipe:?}", text.unwrap_or_default()))
        })
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Keeps panics that are caught here out of the output.
fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
}
