//! The driver on whatever Vulkan finds: llvmpipe where there is no GPU.

use super::*;
use crate::cpu::memory::{as_bytes, cast_slice};
use crate::cpu::work::now;
use crate::error::Code;

const DOUBLE: &str = "
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < arrayLength(&x)) { y[id.x] = 2u * x[id.x]; }
}";

fn device() -> Arc<Device> {
    open(0).expect("a Vulkan driver, such as Debian's mesa-vulkan-drivers")
}

fn shader(text: &str) -> Shader {
    Shader { text: text.into(), bindings: vec![Access::Read, Access::Write] }
}

#[test]
fn commands_run_in_order() {
    let device = device();
    let pipeline = device.pipeline(&shader(DOUBLE)).unwrap();
    let (x, y) = (device.buffer(4000).unwrap(), device.buffer(4000).unwrap());
    let double = |from: Part, to: Part| {
        device.push(Command::Dispatch(pipeline, vec![from, to], [16, 1, 1]), &Watch::default()).unwrap()
    };
    let numbers: Vec<u32> = (0..1000).collect();
    device.upload(x.whole(), as_bytes(&numbers), &Watch::default()).unwrap();
    // An upload is seen by what comes after it alone, a dispatch sees all that came before it.
    double(x.whole(), y.whole());
    device.upload(x.whole(), as_bytes(&[1u32; 1000]), &Watch::default()).unwrap();
    for _ in 0..4 {
        double(y.whole(), x.whole());
        device.push(Command::Copy(x.whole(), y.whole().buffer, 0), &Watch::default()).unwrap();
    }
    device.push(Command::Clear(Part { offset: 4, bytes: 4, ..y.whole() }), &Watch::default()).unwrap();
    let read = device.read(y.whole(), 4000, &Watch::default()).unwrap();
    let expected: Vec<u32> = numbers.iter().map(|&number| if number == 1 { 0 } else { 32 * number }).collect();
    assert_eq!(cast_slice::<u32>(&read), expected);
    device.upload(x.whole(), as_bytes(&numbers), &Watch::default()).unwrap();
    double(x.whole(), y.whole());
    let read = device.read(y.whole(), 4000, &Watch::default()).unwrap();
    assert!(cast_slice::<u32>(&read).iter().zip(&numbers).all(|(read, number)| *read == 2 * number));
}

#[test]
fn four_threads_use_one_device() {
    let device = device();
    std::thread::scope(|scope| {
        for seed in 0..4u32 {
            let device = &device;
            scope.spawn(move || {
                for round in 0..20u32 {
                    let pipeline = device.pipeline(&shader(DOUBLE)).unwrap();
                    let (x, y) = (device.buffer(400).unwrap(), device.buffer(400).unwrap());
                    device.upload(x.whole(), as_bytes(&[seed + 7 * round; 100]), &Watch::default()).unwrap();
                    device
                        .push(Command::Dispatch(pipeline, vec![x.whole(), y.whole()], [2, 1, 1]), &Watch::default())
                        .unwrap();
                    let read = device.read(y.whole(), 400, &Watch::default()).unwrap();
                    assert_eq!(cast_slice::<u32>(&read), [2 * (seed + 7 * round); 100]);
                }
            });
        }
    });
}

#[test]
fn a_wrong_shader_is_an_error_with_its_line() {
    let error = device().pipeline(&shader("@compute @workgroup_size(1) fn main() { let x = y; }")).unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    assert!(error.to_string().contains("no definition in scope for identifier: `y`"), "{error}");
    assert!(device().is_usable());
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let error = open(99).err().unwrap();
    assert_eq!((error.code(), error.argument_name()), (Code::Device, Some("device")));
    assert!(error.to_string().contains("there is no device gpu:99: there is gpu:0"), "{error}");
}

#[test]
fn a_call_past_its_deadline_loses_the_device_and_the_next_one_is_new() {
    // Its own device: others go on with theirs.
    let device = Wgpu::open(0, &found()[0]).unwrap();
    let text = "
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var sum = x[0];
    for (var i = 0u; i < 60000u; i++) { sum = sum * 1664525u + 1013904223u; }
    y[id.x % 64u] = sum;
}";
    let pipeline = device.pipeline(&shader(text)).unwrap();
    let (x, y) = (device.buffer(256).unwrap(), device.buffer(256).unwrap());
    for _ in 0..4 {
        device.push(Command::Dispatch(pipeline, vec![x.whole(), y.whole()], [200, 1, 1]), &Watch::default()).unwrap();
        device.flush(&Watch::default()).unwrap();
    }
    let watch = Watch { deadline: now() + 0.02, ..Watch::default() };
    let error = device.read(y.whole(), 256, &watch).unwrap_err();
    assert_eq!(error.code(), Code::Deadline);
    assert!(!device.is_usable());
    let error = device.flush(&Watch::default()).unwrap_err();
    assert_eq!(error.code(), Code::Device);
    assert!(error.to_string().ends_with("is lost: a call was given up while it ran; open a new session"), "{error}");
}
