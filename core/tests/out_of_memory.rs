//! Memory that runs out at any allocation of a call is an error of that call: nothing leaks, the state is as before, and
//! the session goes on. What the plan says a run needs is what it takes.
//!
//! One test, since others beside it would be counted too.

#[path = "support/counting.rs"]
mod counting;
mod support;

use caudal::cpu::threads::set_num_threads;
use caudal::run::eager::EagerOp;
use caudal::shape::Bindings;
use caudal::{Code, Result, Tensor};
use counting::{counted, live, refused};
use support::models::{COUNT, Case, case, cases, tensor};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

type Outputs = [Option<Tensor>; 4];

fn run(case: &Case, function: usize) -> Result<Outputs> {
    let mut outputs = Outputs::default();
    let mut call = case.session.start(function, &case.inputs, None)?;
    while !call.advance(f64::INFINITY)? {}
    call.finish_with(|index, output| outputs[index] = Some(output))?;
    Ok(outputs)
}

/// Copies of all state.
fn state(case: &Case) -> Vec<Vec<u8>> {
    let names = case.session.program().state.iter().map(|state| &state.name);
    names.map(|name| case.session.state(name).unwrap().bytes().to_vec()).collect()
}

/// The dims of a case's run.
fn sizes(case: &Case) -> Bindings {
    let mut sizes = Bindings::new();
    let program = case.session.program();
    let function = &program.functions[case.session.function(case.function).unwrap()];
    for (index, input) in case.inputs.iter().enumerate() {
        sizes.bind(&function.input_spec(index).unwrap().shape, input.sizes()).unwrap();
    }
    sizes
}

/// Refuses one allocation of `body` after the other, until it makes fewer; gives how many it made. After each refusal
/// `same` is asked.
fn refuse_each<T>(what: &str, mut body: impl FnMut() -> Result<T>, mut same: impl FnMut()) -> usize {
    for number in 1.. {
        let held = live();
        let (result, reached) = refused(number, &mut body);
        if !reached {
            drop(result.unwrap_or_else(|error| panic!("{what}: {error}")));
            return number - 1;
        }
        match result {
            Ok(_) => panic!("{what}: allocation {number} was refused, and nobody noticed"),
            Err(error) => assert_eq!(error.code(), Code::Memory, "{what}: {error}"),
        }
        assert_eq!(live(), held, "{what}: bytes held after allocation {number} was refused");
        same();
    }
    unreachable!("a body makes finitely many allocations")
}

fn warm_runs() {
    for case in cases() {
        let function = case.session.function(case.function).unwrap();
        let what = format!("{} {}", case.name, case.function);
        (0..3).for_each(|_| drop(run(&case, function).unwrap()));
        let before = state(&case);
        let returned = case.session.program().functions[function].outputs.len();
        let made = refuse_each(&what, || run(&case, function), || assert!(state(&case) == before, "{what}: state"));
        assert_eq!(made, returned, "{what}");
        // Not what a run before it left.
        let (next, again) = (run(&case, function).unwrap(), run(&case, function).unwrap());
        if case.session.program().functions[function].writes.is_empty() {
            assert!(next == again, "{what}");
        }
    }
}

/// A first run, of a function that is planned: every list that it keeps for later runs is made in it.
fn first_runs() {
    for index in 0..COUNT {
        let mut made = 0;
        for number in 1.. {
            let case = case(index);
            let function = case.session.function(case.function).unwrap();
            let what = format!("the first {} {}", case.name, case.function);
            case.session.memory(function, &sizes(&case)).unwrap();
            let before = state(&case);
            let (result, reached) = refused(number, || run(&case, function));
            if !reached {
                assert!(result.is_ok(), "{what}");
                break;
            }
            made = number;
            match result {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.code(), Code::Memory, "{what}: {error}");
                    assert!(state(&case) == before, "{what}: state");
                    run(&case, function).unwrap();
                }
            }
        }
        assert!(made > 5, "a first run allocates");
    }
}

fn state_that_is_set() {
    let case = case(1);
    let (name, before) = ("first/kernel", case.session.state("first/kernel").unwrap());
    let value = tensor(&[300, 200]);
    let same = || assert!(case.session.state(name).unwrap() == before);
    let made = refuse_each("set_state", || case.session.set_state(&[(name, value.clone())]), same);
    assert!(made > 0);
}

fn eager() {
    let x = tensor(&[64, 64]);
    for (name, count) in [("exp", 1), ("matmul", 2), ("softmax", 1), ("sum", 1)] {
        let op = EagerOp::new(support::op(name, "{}").unwrap());
        let inputs = vec![Some(x.clone()); count];
        let call = || {
            let mut result = None;
            op.call_with(&inputs, None, |output| result = Some(output))?;
            Ok(result)
        };
        call().unwrap();
        assert!(refuse_each(name, call, || ()) > 0, "{name}");
    }
}

/// What `memory` says of a run is what it holds at most, beside what stays for the next one.
fn plans_tell_the_peak() {
    for threads in [1, 3] {
        set_num_threads(threads);
        // The pool's threads start in a run, and stay.
        let first = case(0);
        run(&first, first.session.function(first.function).unwrap()).unwrap();
        for case in cases() {
            let function = case.session.function(case.function).unwrap();
            let planned = case.session.memory(function, &sizes(&case)).unwrap() as usize;
            // The plan itself, which is made by now.
            let held = case.session.limits().budget().used() as usize;
            let (outputs, _, peak) = counted(|| run(&case, function).unwrap());
            let charged = case.session.limits().budget().peak() as usize - held;
            drop(outputs);
            let what = format!("{} {} on {threads} threads", case.name, case.function);
            for (measure, bytes) in [("allocator", peak), ("budget", charged)] {
                let off = bytes.abs_diff(planned);
                // The lists of a run, whatever its size, are a few KiB.
                assert!(off <= planned / 20 + 2048, "{what}: planned {planned} bytes, {bytes} by the {measure}");
            }
            println!("{what}: planned {planned}, measured {peak}, charged {charged}");
        }
    }
    set_num_threads(1);
}

#[test]
fn memory_that_runs_out_is_an_error_and_the_peak_is_known_before() {
    set_num_threads(1);
    warm_runs();
    first_runs();
    state_that_is_set();
    eager();
    plans_tell_the_peak();
}
