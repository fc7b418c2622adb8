//! Files that mean harm: whatever stands in one, opening, planning and running it within limits gives a result or an
//! error, takes no more memory than the limits say, and ends.

mod allocator;
mod attacks;
mod file;
mod large;
mod limits;
mod mutate;
mod random;
mod seeds;

use caudal::cpu::threads::set_num_threads;
use caudal::run::{Limits, Session};
use caudal::shape::Bindings;
use caudal::{Code, Function, Result, Tensor, info, save};
use random::Random;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const MEMORY: u64 = 64 << 20;
const SECONDS: f64 = 0.2;
/// What may be allocated beyond what the budget has counted: messages, small tables, what the test itself holds.
const OVERHEAD: u64 = 1 << 20;
/// Cases of a seed that is always the same, and as many of one that is new each time.
const CASES: u64 = 10_000;
const THREADS: usize = 2;
/// Longer than any case takes on a slow machine with much else to do.
const HANG: Duration = Duration::from_secs(60);

/// What became of a file.
#[derive(Debug, Default)]
struct Outcome {
    opened: bool,
    ran: usize,
    /// The most bytes that the budget has counted.
    counted: u64,
}

/// Opens, plans and runs a file. Gives what is wrong with caudal, not with the file.
fn try_file(bytes: &[u8], random: &mut Random) -> Result<Outcome, String> {
    let limits = Limits::new(MEMORY, SECONDS);
    let mut outcome = Outcome::default();
    let program = match save::read(bytes, Some(&limits)) {
        Ok(program) => Arc::new(program),
        Err(error) => {
            outcome.counted = limits.budget().peak();
            return blameless(error).map(|()| outcome);
        }
    };
    outcome.opened = true;
    let session = Session::new(program.clone(), limits.clone());
    for (index, function) in program.functions.iter().enumerate() {
        match run(&session, index, function, random) {
            Ok(()) => outcome.ran += 1,
            Err(error) => blameless(error)?,
        }
    }
    outcome.counted = limits.budget().peak();
    Ok(outcome)
}

fn blameless(error: caudal::Error) -> Result<(), String> {
    if error.code() == Code::Internal { Err(format!("an internal error: {error}")) } else { Ok(()) }
}

fn run(session: &Session, index: usize, function: &Function, random: &mut Random) -> Result<()> {
    let mut sizes = Bindings::new();
    for symbol in info::symbols(function) {
        sizes.set(&symbol.as_str().into(), random.pick(&[0, 1, 2, 3, 5, 8]));
    }
    session.memory(index, &sizes)?;
    let mut inputs = Vec::new();
    for input in 0..function.inputs.len() {
        let spec = function.input_spec(input).unwrap();
        let dims = spec.shape.evaluate(&|name| sizes.get(name))?;
        inputs.push(tensor(spec.dtype, &dims, session.limits(), random)?);
    }
    for _ in 0..2 {
        let mut call = session.start(index, &inputs, None)?;
        while !call.advance(f64::INFINITY)? {}
        call.finish()?;
    }
    Ok(())
}

fn tensor(dtype: caudal::DType, sizes: &[usize], limits: &Limits, random: &mut Random) -> Result<Tensor> {
    const MOST: usize = 1 << 18;
    let bytes = caudal::tensor::byte_count(dtype, sizes)?;
    if bytes > MOST {
        return Err(caudal::Error::memory("the test makes no such input"));
    }
    let kind = random.below(3);
    let bytes: Vec<u8> = (0..bytes).map(|_| if kind == 0 { 0 } else { random.next() as u8 >> kind }).collect();
    Tensor::from_bytes(dtype, sizes, &bytes, Some(limits.budget()))
}

/// The case that each thread works on, for whoever waits for it.
struct Watched {
    case: AtomicU64,
    since: Mutex<Instant>,
}

#[derive(Default)]
struct Totals {
    cases: AtomicUsize,
    opened: AtomicUsize,
    ran: AtomicUsize,
    highest: AtomicU64,
}

#[test]
fn no_mutated_file_crashes_hangs_or_passes_its_limits() {
    set_num_threads(1);
    let fresh = match std::env::var("CAUDAL_SEED") {
        Ok(seed) => seed.parse::<u64>().expect("CAUDAL_SEED is a number"),
        Err(_) => RandomState::new().build_hasher().finish() >> 32,
    };
    let cases = std::env::var("CAUDAL_MUTATIONS").map_or(CASES, |cases| cases.parse::<u64>().expect("a number") / 2);
    println!("CAUDAL_SEED={fresh}");
    let seeds = seeds::files();
    let (next, totals) = (AtomicU64::new(0), Totals::default());
    let watched: Vec<_> =
        (0..THREADS).map(|_| Watched { case: AtomicU64::new(0), since: Mutex::new(Instant::now()) }).collect();
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for watched in &watched {
            scope.spawn(|| {
                loop {
                    let case = next.fetch_add(1, Ordering::Relaxed);
                    if case >= 2 * cases || failures.lock().unwrap().len() >= 20 {
                        break;
                    }
                    let seed = if case % 2 == 0 { 1 } else { fresh };
                    watched.case.store(case, Ordering::Relaxed);
                    *watched.since.lock().unwrap() = Instant::now();
                    let mut random = Random::new(seed, case / 2);
                    let (name, file) = &seeds[random.below(seeds.len())];
                    let mutated = mutate::mutate(file, &mut random);
                    if let Err(problem) = examine(&mutated, &mut random, &totals) {
                        let path = kept(&mutated, seed, case / 2);
                        let text =
                            format!("seed {seed}, case {}, from {name}: {problem}\n    {}", case / 2, path.display());
                        eprintln!("{text}");
                        failures.lock().unwrap().push(text);
                    }
                }
                *watched.since.lock().unwrap() = Instant::now() + Duration::from_secs(1 << 30);
            });
        }
        scope.spawn(|| {
            while next.load(Ordering::Relaxed) < 2 * cases + THREADS as u64 {
                std::thread::sleep(Duration::from_millis(200));
                for watched in &watched {
                    if watched.since.lock().unwrap().elapsed() > HANG {
                        let case = watched.case.load(Ordering::Relaxed);
                        eprintln!("case {} of seed {} hangs", case / 2, if case % 2 == 0 { 1 } else { fresh });
                        std::process::abort();
                    }
                }
                if failures.lock().unwrap().len() >= 20 {
                    break;
                }
            }
        });
    });
    let Totals { cases, opened, ran, highest } = totals;
    println!("{cases:?} files, {opened:?} opened, {ran:?} functions ran, at most {highest:?} bytes beyond the budget");
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "CAUDAL_SEED={fresh}\n{}", failures.join("\n"));
    // Mutations that all fail at the door would prove nothing.
    let (opened, ran, cases) = (opened.into_inner(), ran.into_inner(), cases.into_inner());
    assert!(opened * 4 > cases && ran * 8 > cases, "{opened} of {cases} opened, {ran} functions ran");
}

fn examine(bytes: &[u8], random: &mut Random, totals: &Totals) -> Result<(), String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| allocator::peak(|| try_file(bytes, random))));
    let (outcome, peak) = match outcome {
        Ok((outcome, peak)) => (outcome?, peak),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
            return Err(format!("a panic: {}", text.unwrap_or_default()));
        }
    };
    totals.cases.fetch_add(1, Ordering::Relaxed);
    totals.opened.fetch_add(usize::from(outcome.opened), Ordering::Relaxed);
    totals.ran.fetch_add(outcome.ran, Ordering::Relaxed);
    totals.highest.fetch_max(peak.saturating_sub(outcome.counted), Ordering::Relaxed);
    if peak > outcome.counted + OVERHEAD {
        return Err(format!("{peak} bytes were allocated, the budget has counted {}", outcome.counted));
    }
    Ok(())
}

/// Where a file that should not be forgotten is kept.
fn kept(bytes: &[u8], seed: u64, case: u64) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("mutations");
    let path = folder.join(format!("{seed}-{case}.caudal"));
    std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, bytes)).unwrap();
    path
}
