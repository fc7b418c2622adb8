//! The driver on whatever Vulkan finds: llvmpipe where there is no GPU.

use super::*;
use crate::attrs::AttrValue;
use crate::cpu::memory::{as_bytes, cast_slice};
use crate::dtype::DType;
use crate::error::Code;
use crate::graph::{Graph, op};
use crate::json::{self, Json};
use crate::meter::Meter;
use crate::op::Spec;
use crate::passes;
use crate::run::function::{Executable, Setting};
use crate::shape::{Bindings, Shape};
use crate::tensor::Tensor;

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

/// The lists of commands that the driver in JavaScript executes, too.
const CASES: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/gpu/commands.json"));

fn number(json: &Json) -> u64 {
    json.as_u64().unwrap()
}

fn part(json: &Json) -> Part {
    Part { buffer: number(&json[0]) as u32, offset: number(&json[1]), bytes: number(&json[2]) }
}

fn list<T>(json: &Json, entry: impl Fn(&Json) -> T) -> Vec<T> {
    json.as_array().unwrap().iter().map(entry).collect()
}

fn command(json: &Json) -> Command {
    let id = |index: usize| number(&json[index]) as u32;
    match json[0].as_str().unwrap() {
        "create" => Command::Create(id(1), number(&json[2])),
        "destroy" => Command::Destroy(id(1)),
        "upload" => {
            let words = list(&json[3], |word| number(word) as u32);
            Command::Upload(id(1), number(&json[2]), as_bytes(&words).to_vec())
        }
        "pipeline" => {
            let access = |name: &Json| match name.as_str().unwrap() {
                "read" => Access::Read,
                "write" => Access::Write,
                _ => Access::Uniform,
            };
            let (bindings, text) = (list(&json[2], access), json[3].as_str().unwrap().into());
            Command::Pipeline(id(1), Shader { text, bindings })
        }
        "release" => Command::Release(id(1)),
        "dispatch" => {
            let groups = list(&json[2], |count| number(count) as u32);
            Command::Dispatch(id(1), list(&json[3], part), groups.try_into().unwrap())
        }
        "copy" => Command::Copy(part(&json[1]), id(2), number(&json[3])),
        "clear" => Command::Clear(part(&json[1])),
        other => panic!("{other}"),
    }
}

#[test]
fn lists_of_commands_do_what_they_do_in_javascript() {
    let cases = json::parse(CASES).unwrap();
    for case in cases.as_array().unwrap() {
        let (name, watch) = (case["name"].as_str().unwrap(), Watch::default());
        let driver = Wgpu::new(&found()[0]).unwrap();
        let outcome = driver.execute(list(&case["commands"], command), &watch);
        match case.get("error") {
            Some(error) => {
                let given = outcome.expect_err(name);
                assert_eq!(given.code(), Code::Internal, "{name}");
                assert!(given.to_string().contains(error.as_str().unwrap()), "{name}: {given}");
            }
            None => {
                let read = outcome.and_then(|_| driver.read(&list(&case["read"], part), &watch));
                let read = read.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(cast_slice::<u32>(read.bytes()), list(&case["words"], |word| number(word) as u32), "{name}");
            }
        }
    }
}

/// A driver that cannot wait, as that of a page: what is read is there the second time.
struct Hesitant {
    driver: Wgpu,
    asked: Mutex<Vec<Vec<Part>>>,
    is_settled: Mutex<bool>,
}

impl Driver for Hesitant {
    fn execute(&self, commands: Vec<Command>, watch: &Watch) -> Result<()> {
        self.driver.execute(commands, watch)
    }

    fn read(&self, parts: &[Part], watch: &Watch) -> Result<Buffer> {
        let mut asked = self.asked.lock().unwrap();
        match asked.iter().position(|other| other == parts) {
            Some(index) => {
                asked.remove(index);
                self.driver.read(parts, watch)
            }
            None => {
                asked.push(parts.to_vec());
                Err(Error::pending("not yet"))
            }
        }
    }

    fn settle(&self, _: &Watch) -> Result<()> {
        let mut is_settled = self.is_settled.lock().unwrap();
        if std::mem::replace(&mut *is_settled, true) { Ok(()) } else { Err(Error::pending("not yet")) }
    }

    fn lost(&self) -> Option<String> {
        None
    }
}

#[test]
fn a_run_goes_on_where_a_value_was_awaited() {
    let adapter = &found()[0];
    let driver =
        Hesitant { driver: Wgpu::new(adapter).unwrap(), asked: Mutex::default(), is_settled: Mutex::default() };
    let device = Device::new(0, described(adapter), Box::new(driver));
    let spec = || Spec::new(DType::I32, Shape::of(&[]));
    let region = |names: &[&str], calls: &[(&str, [usize; 2])]| {
        let mut graph = Graph::new();
        let mut values: Vec<_> = names.iter().map(|name| graph.input(name, spec()).unwrap()).collect();
        for (name, inputs) in calls {
            let inputs = inputs.map(|index| values[index]);
            values.push(graph.apply(&op(name, &[]).unwrap(), Vec::new(), &inputs).unwrap()[0]);
        }
        let last = values.pop().unwrap();
        graph.set_outputs(vec![last]).unwrap();
        Arc::new(graph)
    };
    // While x < limit: x is x + y. Then, if x < y, the sum of them, else their product. Each flag is awaited.
    let names = ["x", "limit", "y"];
    let mut graph = Graph::new();
    let [x, limit, y] = names.map(|name| graph.input(name, spec()).unwrap());
    let regions = vec![region(&names, &[("less", [0, 1])]), region(&names, &[("add", [0, 2])])];
    let attrs = [("carried", AttrValue::Int(1)), ("max_steps", AttrValue::None)];
    let x = graph.apply(&op("while_loop", &attrs).unwrap(), regions, &[x, limit, y]).unwrap()[0];
    let is_less = graph.apply(&op("less", &[]).unwrap(), Vec::new(), &[x, y]).unwrap()[0];
    let branches = ["add", "mul"].map(|name| region(&["x", "y"], &[(name, [0, 1])])).to_vec();
    let outputs = graph.apply(&op("cond", &[]).unwrap(), branches, &[is_less, x, y]).unwrap();
    graph.set_outputs(outputs).unwrap();
    let setting = Setting { device: Some(device), ..Setting::default() };
    let executable = Arc::new(Executable::with(&graph, passes::PLAIN, &setting, &Meter::default()).unwrap());
    for ([x, limit, y], pauses, expected) in [([1, 50, 20], 5, 61 * 20), ([7, 7, 9], 2, 16)] {
        let inputs = [x, limit, y].map(|number| Tensor::scalar(DType::I32, f64::from(number)).unwrap());
        let mut run = executable.start(inputs.to_vec(), &Bindings::new(), &Arc::default(), |_| None).unwrap();
        let mut paused = 0;
        while !run.advance(&Watch::default()).unwrap() {
            paused += 1;
        }
        // A flag for each round and the one that ends them, one for the branch.
        assert_eq!(paused, pauses);
        let output = run.finish().unwrap().remove(0);
        assert_eq!(output.to_host(&Watch::default()).unwrap_err().code(), Code::Pending);
        assert_eq!(output.to_host(&Watch::default()).unwrap().elements::<i32>().unwrap(), [expected]);
    }
}

#[test]
fn commands_run_in_order() {
    let device = device();
    let pipeline = device.pipeline(&shader(DOUBLE)).unwrap();
    let (x, y) = (device.buffer(4000).unwrap(), device.buffer(4000).unwrap());
    let double = |from: Part, to: Part| {
        device.push(Command::Dispatch(*pipeline, vec![from, to], [16, 1, 1]), &Watch::default()).unwrap()
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
                        .push(Command::Dispatch(*pipeline, vec![x.whole(), y.whole()], [2, 1, 1]), &Watch::default())
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

/// Takes a while.
const SLOW: &str = "
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var sum = x[0];
    for (var i = 0u; i < 60000u; i++) { sum = sum * 1664525u + 1013904223u; }
    y[id.x % 64u] = sum;
}";

#[test]
fn a_device_that_ends_nothing_is_lost_and_let_go_of_without_a_wait() {
    let adapter = &found()[0];
    let mut driver = Wgpu::new(adapter).unwrap();
    driver.patience = 0.02;
    let device = Device::new(0, described(adapter), Box::new(driver));
    let pipeline = device.pipeline(&shader(SLOW)).unwrap();
    let (x, y) = (device.buffer(256).unwrap(), device.buffer(256).unwrap());
    for _ in 0..8 {
        device.push(Command::Dispatch(*pipeline, vec![x.whole(), y.whole()], [200, 1, 1]), &Watch::default()).unwrap();
    }
    let error = device.read(y.whole(), 256, &Watch::default()).unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Device, "the device came to the end of nothing for 0.02 seconds"));
    assert!(!device.is_usable());
}

#[test]
fn a_call_past_its_deadline_loses_the_device_and_the_next_one_is_new() {
    // Its own device: others go on with theirs.
    let device = Wgpu::open(0, &found()[0]).unwrap();
    let pipeline = device.pipeline(&shader(SLOW)).unwrap();
    let (x, y) = (device.buffer(256).unwrap(), device.buffer(256).unwrap());
    for _ in 0..4 {
        device.push(Command::Dispatch(*pipeline, vec![x.whole(), y.whole()], [200, 1, 1]), &Watch::default()).unwrap();
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
