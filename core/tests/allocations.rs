//! After the first runs a run allocates what it returns, and nothing else: each tensor once, on any number of threads.
//!
//! One test, since others beside it would be counted too.

#[path = "support/counting.rs"]
mod counting;
mod support;

use caudal::Tensor;
use caudal::cpu::threads::set_num_threads;
use caudal::run::eager::EagerOp;
use support::models::{Case, cases, tensor};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// Room for outputs that needs no heap.
type Outputs = [Option<Tensor>; 4];

fn run(case: &Case) -> Outputs {
    let mut outputs = Outputs::default();
    let function = case.session.function(case.function).unwrap();
    let mut call = case.session.start(function, &case.inputs, None).unwrap();
    while !call.advance(f64::INFINITY).unwrap() {}
    call.finish_with(|index, output| outputs[index] = Some(output)).unwrap();
    outputs
}

fn functions() {
    for threads in [1, 2, 3] {
        set_num_threads(threads);
        for case in cases() {
            (0..3).for_each(|_| drop(run(&case)));
            for _ in 0..3 {
                let (outputs, allocations, _) = counting::counted(|| run(&case));
                let returned = outputs.iter().flatten().count();
                let what = format!("{} {} on {threads} threads", case.name, case.function);
                assert_eq!(allocations, returned, "{what}: allocations, and tensors returned");
            }
        }
    }
    set_num_threads(0);
}

fn eager() {
    let (x, y) = (tensor(&[8, 8]), tensor(&[8]));
    let cases: &[(&str, &str, &[&Tensor])] = &[
        ("add", "{}", &[&x, &y]),
        ("exp", "{}", &[&x]),
        ("sum", r#"{"axis": [0]}"#, &[&x]),
        ("transpose", "{}", &[&x]),
        ("softmax", "{}", &[&x]),
    ];
    for (name, attrs, inputs) in cases {
        let op = EagerOp::new(support::op(name, attrs).unwrap());
        let inputs: Vec<_> = inputs.iter().map(|&input| Some(input.clone())).collect();
        let call = || {
            let mut result = None;
            op.call_with(&inputs, None, |output| result = Some(output)).unwrap();
            result
        };
        call();
        assert_eq!(counting::counted(call).1, 1, "{name} {attrs}: allocations, and tensors returned");
    }
}

#[test]
fn a_warm_run_allocates_each_tensor_that_it_returns_and_nothing_else() {
    functions();
    eager();
}
