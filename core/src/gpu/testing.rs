//! What the tests of kernels share: an op on a device beside the same op on the CPU.

use super::device::{Adapter, Device, DeviceBuffer};
use super::driver::open;
use super::kernel::{ReadyLaunch, Recipe, Refusal, Request, Slot};
use super::kernels;
use crate::attrs::Attrs;
use crate::cpu::call::Layout;
use crate::cpu::memory::cast_slice;
use crate::cpu::single::{compute, layouts, output_specs};
use crate::cpu::work::Watch;
use crate::dtype::{DType, bf16, f16};
use crate::error::Error;
use crate::graph::infer;
use crate::json;
use crate::op::{Kernel, Meaning, Op, Spec};
use crate::ops;
use crate::shape::{Dim, Shape};
use crate::tensor::Tensor;
use std::sync::Arc;

#[path = "../../tests/support/shaders.rs"]
mod shaders;

/// The first device.
pub fn device() -> Arc<Device> {
    let device = open(0).expect("a Vulkan driver, such as Debian's mesa-vulkan-drivers");
    shaders::keep(&device);
    device
}

/// An op with attrs given as JSON.
pub fn op(name: &str, attrs: &str) -> Op {
    let def = ops::find(name).unwrap();
    let attrs = json::parse(attrs).unwrap();
    Op { def, attrs: Attrs::from_json(def, attrs.as_object().unwrap()).unwrap() }
}

/// Runs an op on the device, whose inputs lie dense.
///
/// # Errors
/// Why it has no recipe, or what the device refuses.
pub fn run(op: &Op, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, Error> {
    let views = layouts(inputs);
    run_on(op, inputs, &views.iter().map(Option::as_ref).collect::<Vec<_>>(), device().adapter())
}

/// Runs an op on views of inputs, printed for an adapter, on the device.
///
/// # Errors
/// As [`run`].
pub fn run_on(
    op: &Op,
    inputs: &[Option<Tensor>],
    views: &[Option<&Layout>],
    adapter: &Adapter,
) -> Result<Vec<Tensor>, Error> {
    let spec = |view: &&Layout| {
        Spec::new(view.dtype, Shape::new(view.sizes.iter().map(|&size| Dim::constant(size as i64)).collect()).unwrap())
    };
    let specs: Vec<_> = views.iter().map(|view| view.as_ref().map(spec)).collect();
    let (specs, _) = infer(op, &specs.iter().map(Option::as_ref).collect::<Vec<_>>(), &[])?;
    let outputs: Vec<_> = specs.iter().map(|spec| Layout::dense(spec.dtype, &spec.shape.sizes().unwrap())).collect();
    let request = Request {
        attrs: &op.attrs,
        inputs: views,
        outputs: &outputs.iter().collect::<Vec<_>>(),
        adapter,
        finish: None,
    };
    launch(&kernels::print(op, &request).map_err(|refusal| Error::unsupported(refusal.0))?, inputs, &outputs)
}

/// Runs what `print` prints on the device; the bytes of an input are the memory that its layout is within.
///
/// # Errors
/// As [`run`].
pub fn execute(
    attrs: &Attrs,
    inputs: &[Option<Tensor>],
    views: &[Option<Layout>],
    outputs: &[Layout],
    print: impl FnOnce(&Request) -> Result<Recipe, Refusal>,
) -> Result<Vec<Tensor>, Error> {
    let device = device();
    let (views, layouts): (Vec<_>, Vec<_>) = (views.iter().map(Option::as_ref).collect(), outputs.iter().collect());
    let request = Request { attrs, inputs: &views, outputs: &layouts, adapter: device.adapter(), finish: None };
    launch(&print(&request).map_err(|refusal| Error::unsupported(refusal.0))?, inputs, outputs)
}

/// Launches a recipe on the device.
fn launch(recipe: &Recipe, inputs: &[Option<Tensor>], outputs: &[Layout]) -> Result<Vec<Tensor>, Error> {
    let device = device();
    let buffer = |bytes: usize| device.buffer(bytes as u64);
    let watch = Watch::default();
    let mut given = Vec::new();
    for input in inputs {
        let buffer = buffer(input.as_ref().map_or(0, |input| input.bytes().len()))?;
        if let Some(input) = input {
            device.upload(buffer.whole(), input.bytes(), &watch)?;
        }
        given.push(buffer);
    }
    let made = outputs.iter().map(|layout| buffer(layout.bytes())).collect::<Result<Vec<_>, _>>()?;
    let work = recipe.workspaces.iter().map(|&bytes| device.buffer(bytes)).collect::<Result<Vec<_>, _>>()?;
    for launch in &recipe.launches {
        let part = |slot| {
            Ok(match slot {
                Slot::Input(index) => given[index].whole(),
                Slot::Output(index) => made[index].whole(),
                Slot::Work(index) => work[index].whole(),
            })
        };
        ReadyLaunch::new(&device, launch)?.launch(&device, part, &watch)?;
    }
    let tensor = |(buffer, layout): (&DeviceBuffer, &Layout)| {
        Tensor::from_bytes(layout.dtype, &layout.sizes, &device.read(buffer.whole(), layout.bytes(), &watch)?, None)
    };
    made.iter().zip(outputs).map(tensor).collect()
}

/// The elements as numbers.
pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    macro_rules! each {
        ($type:ty, $number:expr) => {
            cast_slice::<$type>(tensor.bytes()).iter().map($number).collect()
        };
    }
    match tensor.dtype() {
        DType::Bool | DType::U8 => each!(u8, |&x| x.into()),
        DType::I8 => each!(i8, |&x| x.into()),
        DType::I16 => each!(i16, |&x| x.into()),
        DType::I32 => each!(i32, |&x| x.into()),
        DType::I64 => each!(i64, |&x| x as f64),
        DType::U16 => each!(u16, |&x| x.into()),
        DType::U32 => each!(u32, |&x| x.into()),
        DType::U64 => each!(u64, |&x| x as f64),
        DType::F16 => each!(f16, |&x| x.to_f64()),
        DType::BF16 => each!(bf16, |&x| x.to_f64()),
        DType::F32 => each!(f32, |&x| x.into()),
        DType::F64 => each!(f64, |&x| x),
    }
}

/// Whether the device's answer is the CPU's: to the bit for integers and `bool`, within `units` of the dtype's precision
/// for floats, of the element or of the largest one where `of_largest`.
pub fn assert_close(what: &str, given: &Tensor, expected: &Tensor, units: f64, of_largest: bool) {
    assert_eq!(given.spec(), expected.spec(), "{what}");
    let (given_numbers, expected_numbers) = (numbers(given), numbers(expected));
    let unit = match expected.dtype() {
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        DType::F32 => 2f64.powi(-23),
        _ => {
            assert_eq!(given.bytes(), expected.bytes(), "{what}: {given_numbers:?} for {expected_numbers:?}");
            return;
        }
    };
    let largest = expected_numbers.iter().copied().filter(|x| x.is_finite()).fold(0.0, |a: f64, b| a.max(b.abs()));
    for (index, (given, expected)) in given_numbers.iter().zip(&expected_numbers).enumerate() {
        // Some drivers take denormals for 0.
        let allowed = units * unit * if of_largest { largest } else { expected.abs() } + 1.2e-38;
        let fits = given == expected || given.is_nan() && expected.is_nan() || (given - expected).abs() <= allowed;
        assert!(fits, "{what}: element {index} is {given}, the CPU's is {expected}");
    }
}

/// Numbers without a pattern.
pub struct Draw(u64);

impl Draw {
    /// A sequence for a seed.
    pub fn new(seed: u64) -> Draw {
        Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next one in 0..1.
    pub fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A tensor of numbers in `low..high`, integers cut.
    pub fn tensor(&mut self, dtype: DType, sizes: &[usize], (low, high): (f64, f64)) -> Tensor {
        let mut bytes = Vec::new();
        for _ in 0..sizes.iter().product::<usize>() {
            let number = low + (high - low) * self.next();
            let number = if dtype == DType::Bool { f64::from(number > 0.5) } else { number };
            bytes.extend_from_slice(Tensor::scalar(dtype, number).unwrap().bytes());
        }
        Tensor::from_bytes(dtype, sizes, &bytes, None).unwrap()
    }

    /// A tensor of whole numbers from -2 to 2.
    pub fn whole(&mut self, dtype: DType, sizes: &[usize]) -> Tensor {
        let mut bytes = Vec::new();
        for _ in 0..sizes.iter().product::<usize>() {
            bytes.extend_from_slice(Tensor::scalar(dtype, (self.next() * 5.0).floor() - 2.0).unwrap().bytes());
        }
        Tensor::from_bytes(dtype, sizes, &bytes, None).unwrap()
    }

    /// The inputs of a sample: `T[2, 3] in 0..1` for a dtype.
    pub fn inputs(&mut self, inputs: &[&str], dtype: DType) -> Vec<Option<Tensor>> {
        let input = |text: &&str| {
            let (spec, range) = match text.split_once(" in ") {
                Some((spec, range)) => {
                    (spec, range.split_once("..").map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap())))
                }
                None => (*text, None),
            };
            if spec == "-" {
                return None;
            }
            let spec = Spec::parse(&spec.replace('T', dtype.name())).unwrap();
            let own = match spec.dtype {
                DType::Bool => (0.0, 1.0),
                dtype if dtype.is_float() => (-2.0, 2.0),
                dtype if dtype.is_signed() => (-9.0, 9.0),
                _ => (0.0, 9.0),
            };
            Some(self.tensor(spec.dtype, &spec.shape.sizes().unwrap(), range.unwrap_or(own)))
        };
        inputs.iter().map(input).collect()
    }
}

/// Compares every sample of these ops with the CPU, in every dtype but `float64`.
pub fn check_samples(names: &[&str], units: f64, of_largest: bool) {
    let mut draw = Draw::new(7);
    for name in names {
        let def = ops::find(name).unwrap();
        assert!(!def.samples.is_empty(), "{name} has no sample");
        for sample in def.samples {
            for dtype in def.dtypes.iter().filter(|dtype| *dtype != DType::F64) {
                check_unless_double(name, sample.attrs, &draw.inputs(sample.inputs, dtype), units, of_largest);
            }
        }
    }
}

/// As [`check`], but nothing for a call that has or makes `float64`.
pub fn check_unless_double(name: &str, attrs: &str, inputs: &[Option<Tensor>], units: f64, of_largest: bool) {
    let made = output_specs(&op(name, attrs), inputs).unwrap();
    let mut dtypes = inputs.iter().flatten().map(Tensor::dtype).chain(made.iter().map(|spec| spec.dtype));
    if dtypes.all(|dtype| dtype != DType::F64) {
        check(name, attrs, inputs, units, of_largest);
    }
}

/// Compares one call with the CPU.
pub fn check(name: &str, attrs: &str, inputs: &[Option<Tensor>], units: f64, of_largest: bool) {
    check_on(device().adapter(), name, attrs, inputs, units, of_largest);
}

/// As [`check`], printed for an adapter.
pub fn check_on(adapter: &Adapter, name: &str, attrs: &str, inputs: &[Option<Tensor>], units: f64, of_largest: bool) {
    let what = format!("{name} {attrs} of {inputs:?} as on {adapter:?}");
    let op = op(name, attrs);
    let expected = compute(&op, inputs).unwrap_or_else(|error| panic!("{what}: {error}"));
    let views = layouts(inputs);
    let given = run_on(&op, inputs, &views.iter().map(Option::as_ref).collect::<Vec<_>>(), adapter);
    let given = given.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(given.len(), expected.len(), "{what}");
    for (given, expected) in given.iter().zip(&expected) {
        assert_close(&what, given, expected, units, of_largest);
    }
}

/// Compares an op of a view of `x`, which the device reads where it lies, with the CPU.
pub fn check_strided(name: &str, attrs: &str, x: &Tensor, (view, view_attrs): (&str, &str), units: f64) {
    let what = format!("{name} {attrs} of {view} {view_attrs}");
    let (op, moved) = (op(name, attrs), self::op(view, view_attrs));
    let Meaning::Kernel(Kernel { view: Some(view), .. }) = moved.def.meaning else { panic!("{view} is no view") };
    let dense_view = compute(&moved, &[Some(x.clone())]).unwrap();
    let expected = compute(&op, &dense_view.iter().cloned().map(Some).collect::<Vec<_>>()).unwrap();
    let layout = view(&moved.attrs, &Layout::dense(x.dtype(), x.sizes()), dense_view[0].sizes());
    let given = run_on(&op, &[Some(x.clone())], &[Some(&layout)], device().adapter());
    let given = given.unwrap_or_else(|error| panic!("{what}: {error}"));
    given.iter().zip(&expected).for_each(|(given, expected)| assert_close(&what, given, expected, units, true));
}

/// The device as it is, and as if it were one on which workgroups have fast memory of their own.
pub fn adapters() -> [Adapter; 2] {
    let adapter = device().adapter().clone();
    [Adapter { is_software: false, ..adapter.clone() }, adapter]
}

/// The adapter as it is, and as if shaders knew no subgroups.
pub fn with_and_without_subgroups(adapter: Adapter) -> Vec<Adapter> {
    let plain = Adapter { has_subgroups: false, ..adapter.clone() };
    if plain == adapter { vec![plain] } else { vec![adapter, plain] }
}

/// As [`check`] of the largest element, with the shaders of both kinds of device.
pub fn check_as_any(name: &str, attrs: &str, inputs: &[Option<Tensor>], units: f64) {
    adapters().iter().for_each(|adapter| check_on(adapter, name, attrs, inputs, units, true));
}
