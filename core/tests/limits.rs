//! Limits: a deadline and a cancel stop what takes long, soon. The bound is generous, for machines that do much else.

mod support;

use caudal::cpu::work::now;
use caudal::graph::text;
use caudal::meter::Meter;
use caudal::run::Limits;
use caudal::run::function::Executable;
use caudal::shape::Bindings;
use caudal::{Code, DType, Tensor, passes};
use std::sync::Arc;
use std::time::Duration;

/// Seconds into a run at which it is stopped.
const AFTER: f64 = 0.1;
/// Seconds after which a stop has come too late.
const SOON: f64 = 1.0;

fn floats(sizes: &[usize]) -> Tensor {
    Tensor::zeros(DType::F32, sizes, None).unwrap()
}

/// Graphs that take seconds at the least, with their inputs.
fn heavy() -> Vec<(&'static str, Vec<Tensor>)> {
    vec![
        (
            "graph(%0 x: float32[4096, 4096]) { %1 = matmul(%0, %0) : float32[4096, 4096] return %1 }",
            vec![floats(&[4096, 4096])],
        ),
        (
            r#"graph(%0 x: float32[64, 224, 224, 32], %1 k: float32[7, 7, 32, 64]) {
                %2 = conv(%0, %1) : float32[64, 218, 218, 64]
                return %2
            }"#,
            vec![floats(&[64, 224, 224, 32]), floats(&[7, 7, 32, 64])],
        ),
        (
            r#"graph(%0 x: float32[65536]) {
                %1 = broadcast_to(%0) {"shape":[4194304, 65536]} : float32[4194304, 65536]
                %2 = sum(%1) {"axis":[0]} : float32[65536]
                return %2
            }"#,
            vec![floats(&[65536])],
        ),
        (
            r#"graph(%0 k: uint32[2]) {
                %1 = random_bits(%0) {"dtype":"uint64","shape":[1000000000]} : uint64[1000000000]
                return %1
            }"#,
            vec![Tensor::zeros(DType::U32, &[2], None).unwrap()],
        ),
        (
            r#"graph(%0 x: float32[]) {
                %1 = scan(%0) {"carried":1,"length":1000000000,"sliced":0} [graph(%0 x: float32[]) {
                    %1 = exp(%0) : float32[]
                    return %1
                }] : float32[]
                return %1
            }"#,
            vec![floats(&[])],
        ),
        (
            r#"graph(%0 x: float32[]) {
                %1 = while_loop(%0) {"carried":1} [graph(%0 x: float32[]) {
                    %1 = equal(%0, %0) : bool[]
                    return %1
                }, graph(%0 x: float32[]) {
                    %1 = neg(%0) : float32[]
                    return %1
                }] : float32[]
                return %1
            }"#,
            vec![floats(&[])],
        ),
    ]
}

#[test]
fn a_deadline_and_a_cancel_stop_every_kind_of_work_soon() {
    for (body, inputs) in heavy() {
        let graph = text::parse(body).unwrap_or_else(|error| panic!("{error}\n{body}"));
        let executable = Arc::new(Executable::new(&graph, passes::OPTIMIZED, &Meter::default()).unwrap());
        for code in [Code::Deadline, Code::Cancelled] {
            let limits = Limits::new(0, if code == Code::Deadline { AFTER } else { 0.0 });
            let canceller = limits.clone();
            let start = now();
            let thread = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs_f64(AFTER));
                if code == Code::Cancelled {
                    canceller.cancel();
                }
            });
            let mut run = executable.start(inputs.clone(), &Bindings::new(), limits.budget(), |_| None).unwrap();
            let error = run.advance(&limits.watch()).unwrap_err();
            drop(run);
            let took = now() - start;
            assert_eq!(error.code(), code, "{body}");
            assert!((AFTER * 0.9..AFTER + SOON).contains(&took), "stopped after {took} s\n{body}");
            thread.join().unwrap();
        }
    }
}
