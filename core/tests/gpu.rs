//! Programs on a device beside the CPU.
#![cfg(feature = "gpu")]

mod support;

use caudal::cpu::work::Watch;
use caudal::gpu::driver::open;
use caudal::run::{Limits, Session};
use caudal::{DType, Tensor};
use support::models;
use support::numbers;

fn on_device(session: &Session) -> Session {
    Session::on(session.program().clone(), Limits::none(), &open(0).unwrap(), false).unwrap()
}

fn assert_close(what: &str, given: &Tensor, expected: &Tensor) {
    let given = given.to_host(&Watch::default()).unwrap();
    assert_eq!(given.spec(), expected.spec(), "{what}");
    let (given, expected) = (numbers(&given), numbers(expected));
    let largest = expected.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    for (index, (given, expected)) in given.iter().zip(&expected).enumerate() {
        let near = (given - expected).abs() <= 2e-5 * largest.max(1.0);
        assert!(near || given == expected, "{what}: element {index} is {given}, the CPU's is {expected}");
    }
}

#[test]
fn programs_train_and_predict_as_on_the_cpu() {
    for case in models::cases() {
        let device = on_device(&case.session);
        for step in 0..3 {
            let what = format!("{}, {} {step}", case.name, case.function);
            let expected = case.session.run(case.function, &case.inputs).unwrap();
            let given = device.run(case.function, &case.inputs).unwrap_or_else(|error| panic!("{what}: {error}"));
            for (given, expected) in given.iter().zip(&expected) {
                assert!(given.device().is_some(), "{what}");
                assert_close(&what, given, expected);
            }
        }
        let (given, expected) = (device.snapshot().unwrap(), case.session.snapshot().unwrap());
        for (given, expected) in given.state.iter().zip(&expected.state) {
            assert_close(&format!("{}, {}", case.name, given.name), &given.value, &expected.value);
        }
        let function = device.function(case.function).unwrap();
        for place in device.placement(function).unwrap() {
            if place.device == "cpu" {
                eprintln!("{}: {} runs on the CPU: {:?}", case.name, place.op, place.why);
            }
        }
    }
}

#[test]
fn tensors_go_there_and_back() {
    let device = open(0).unwrap();
    for dtype in [DType::Bool, DType::I8, DType::F16, DType::F32, DType::I64, DType::F64] {
        for sizes in [&[][..], &[3], &[2, 0], &[5, 7]] {
            let tensor = support::tensor(dtype, sizes, &[1.0; 35][..sizes.iter().product()]);
            let there = tensor.to_device(&device, Default::default(), &Watch::default()).unwrap();
            assert_eq!((there.device().is_some(), there.sizes(), there.bytes().len()), (true, sizes, 0));
            assert_eq!(there.to_host(&Watch::default()).unwrap(), tensor);
        }
    }
}
