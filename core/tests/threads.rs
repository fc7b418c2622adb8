//! Everything that may be used from many threads, at once: what a race would break, and ThreadSanitizer would see.

use caudal::cpu::threads::set_num_threads;
use caudal::graph::{Builder, Notes, op};
use caudal::json::Json;
use caudal::run::eager::EagerOp;
use caudal::run::{Limits, Session, Variable};
use caudal::{Code, DType, Program, Role, Spec, Tensor, save};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::scope;

/// Large enough for the pool's threads.
const WIDTH: usize = 40_000;
const CALLS: usize = 30;

fn filled(value: f32) -> Tensor {
    Tensor::from_slice(DType::F32, &[WIDTH], &vec![value; WIDTH]).unwrap()
}

fn floats(tensor: &Tensor) -> &[f32] {
    tensor.elements().unwrap()
}

/// All elements are this one.
fn only(tensor: &Tensor) -> f32 {
    let elements = floats(tensor);
    assert!(elements.iter().all(|element| *element == elements[0]), "a tensor of two versions");
    elements[0]
}

/// `step(by)` adds to `a` and to `b`, which is 1 ahead; `both()` gives them, times 1.
fn program() -> Program {
    let mut builder = Builder::new();
    let by = builder.input("by", Spec::parse("float32[]").unwrap()).unwrap();
    let a = builder.state("a", Role::Other, filled(0.0)).unwrap();
    let b = builder.state("b", Role::Other, filled(1.0)).unwrap();
    let one = builder.constant(filled(1.0)).unwrap();
    let (next_a, next_b) = (builder.graph.add(a, by).unwrap(), builder.graph.add(b, by).unwrap());
    let (seen_a, seen_b) = (builder.graph.mul(a, one).unwrap(), builder.graph.mul(b, one).unwrap());
    let notes = || Notes { inputs: Some(vec!["by".into()]), ..Notes::default() };
    let step = builder.function("step", vec![], notes()).unwrap();
    builder.update(step, a, next_a).unwrap();
    builder.update(step, b, next_b).unwrap();
    let outputs = vec![("a".into(), seen_a), ("b".into(), seen_b)];
    builder.function("both", outputs, Notes { inputs: Some(vec![]), ..Notes::default() }).unwrap();
    Program::new(&[&builder], Json::Null).unwrap()
}

fn by(value: f64) -> [Tensor; 1] {
    [Tensor::scalar(DType::F32, value).unwrap()]
}

#[test]
fn runs_reads_writes_snapshots_and_files_beside_each_other() {
    set_num_threads(3);
    let session = Session::new(Arc::new(program()), Limits::none());
    let stop = AtomicBool::new(false);
    let on = |work: &dyn Fn()| {
        while !stop.load(Ordering::Relaxed) {
            work();
        }
    };
    scope(|threads| {
        threads.spawn(|| {
            on(&|| {
                let both = session.run("both", &[]).unwrap();
                assert_eq!(only(&both[1]), only(&both[0]) + 1.0);
            });
        });
        threads.spawn(|| {
            on(&|| {
                let snapshot = session.snapshot().unwrap();
                let read = save::read(&save::write(&snapshot).unwrap(), None).unwrap();
                assert_eq!(only(&read.state[1].value), only(&read.state[0].value) + 1.0);
            });
        });
        threads.spawn(|| {
            on(&|| {
                let value = only(&session.state("a").unwrap()) + 1000.0;
                session.set_state(&[("a", filled(value)), ("b", filled(value + 1.0))]).unwrap();
            });
        });
        let steps =
            [0, 1].map(|_| threads.spawn(|| (0..CALLS).for_each(|_| drop(session.run("step", &by(1.0)).unwrap()))));
        for step in steps {
            step.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(only(&session.state("b").unwrap()), only(&session.state("a").unwrap()) + 1.0);
}

#[test]
fn sessions_that_share_cells_lose_no_step() {
    set_num_threads(3);
    let program = Arc::new(program());
    let cells = [Arc::new(Variable::new(filled(0.0))), Arc::new(Variable::new(filled(1.0)))];
    scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                let session = Session::new(program.clone(), Limits::none());
                session.bind("a", cells[0].clone()).unwrap();
                session.bind("b", cells[1].clone()).unwrap();
                for _ in 0..CALLS {
                    session.run("step", &by(1.0)).unwrap();
                    let both = session.run("both", &[]).unwrap();
                    assert_eq!(only(&both[1]), only(&both[0]) + 1.0);
                }
            });
        }
    });
    assert_eq!(only(&cells[0].get()), (3 * CALLS) as f32);
}

#[test]
fn eager_ops_are_shared() {
    set_num_threads(3);
    let [add, softmax] = ["add", "softmax"].map(|name| EagerOp::new(op(name, &[]).unwrap()));
    let (x, limits) = (filled(0.5), Limits::none());
    scope(|threads| {
        for number in 0..4 {
            let (add, softmax, x, limits) = (&add, &softmax, &x, &limits);
            threads.spawn(move || {
                for call in 0..CALLS {
                    let y = filled((number * CALLS + call) as f32);
                    let sum = add.call(&[Some(x.clone()), Some(y.clone())], limits).unwrap();
                    assert_eq!(only(&sum[0]), only(&y) + 0.5);
                    let even = softmax.call(&[Some(sum[0].clone())], limits).unwrap();
                    assert!((only(&even[0]) * WIDTH as f32 - 1.0).abs() < 1e-3);
                }
            });
        }
    });
}

#[test]
fn closing_waits_for_calls_and_cancelling_ends_them() {
    set_num_threads(3);
    let program = Arc::new(program());
    for _ in 0..CALLS / 3 {
        let limits = Limits::none();
        let session = Session::new(program.clone(), Limits::none());
        let finished = AtomicUsize::new(0);
        scope(|threads| {
            for _ in 0..3 {
                threads.spawn(|| {
                    loop {
                        let step = session.function("step").unwrap();
                        let run = session.start(step, &by(1.0), Some(&limits)).and_then(|mut call| {
                            while !call.advance(f64::INFINITY)? {}
                            call.finish()
                        });
                        match run {
                            Ok(_) => finished.fetch_add(1, Ordering::Relaxed),
                            Err(error) if error.code() == Code::Cancelled => continue,
                            Err(error) => break assert_eq!(error.code(), Code::Closed),
                        };
                    }
                });
            }
            while finished.load(Ordering::Relaxed) < 3 {
                std::thread::yield_now();
            }
            limits.cancel();
            session.close();
        });
        let last = session.start(0, &by(1.0), None).map(drop).unwrap_err();
        assert_eq!(last.to_string(), "the session is closed");
    }
}

#[test]
fn the_number_of_threads_may_change_while_others_run() {
    let session = Session::new(Arc::new(program()), Limits::none());
    let stop = AtomicBool::new(false);
    scope(|threads| {
        threads.spawn(|| {
            for count in (1..5).cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                set_num_threads(count);
                std::thread::yield_now();
            }
        });
        for _ in 0..CALLS {
            session.run("step", &by(2.0)).unwrap();
            only(&session.run("both", &[]).unwrap()[0]);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(only(&session.state("a").unwrap()), (2 * CALLS) as f32);
    set_num_threads(0);
}
