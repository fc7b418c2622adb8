//! Element-wise ops on the device beside the CPU's.

use super::*;
use crate::cpu::call::{Target, View};
use crate::cpu::single::compute;
use crate::cpu::tape::Tape;
use crate::cpu::work::{Cursor, Watch, Work};
use crate::dtype::{DTypes, f16};
use crate::gpu::device::Adapter;
use crate::gpu::testing::{Draw, assert_close, check, check_unless_double, device, execute, op, run};
use crate::op::Meaning;
use crate::ops;
use crate::scalar::{Binary, Comparison};
use crate::tensor::Tensor;

/// All of them in `float32`, the first one in other dtypes; what is left out is among the integers below.
#[test]
fn samples_of_all_element_wise_ops() {
    let mut draw = Draw::new(2);
    for def in ops::all().filter(|def| matches!(def.meaning, Meaning::Scalar(_))) {
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::I64, DType::Bool] {
            let count = if dtype == DType::F32 || def.dtypes == DTypes::BOOL { def.samples.len() } else { 1 };
            for sample in def.samples.iter().take(count).filter(|_| def.dtypes.contains(dtype)) {
                check_unless_double(def.name, sample.attrs, &draw.inputs(sample.inputs, dtype), 4.0, false);
            }
        }
    }
}

/// Numbers that look random, the same in every run.
fn scatter(i: u64) -> u64 {
    let mixed = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^ (mixed >> 27)
}

/// The largest error of the device's `float32` in units of the last place, and where, given what the CPU computes in
/// `float64`. Results in the range of subnormal numbers may be 0.
fn worst(name: &str, inputs: &[Vec<f32>]) -> (f64, Vec<f32>) {
    let sizes = [inputs[0].len()];
    let given: Vec<_> = inputs.iter().map(|x| Some(Tensor::from_slice(DType::F32, &sizes, x).unwrap())).collect();
    let wide = |x: &Vec<f32>| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    let exact: Vec<_> =
        inputs.iter().map(|x| Some(Tensor::from_slice(DType::F64, &sizes, &wide(x)).unwrap())).collect();
    let given = run(&op(name, "{}"), &given).unwrap().remove(0);
    let exact = compute(&op(name, "{}"), &exact).unwrap().remove(0);
    let mut worst = (0.0, Vec::new());
    for (i, (&given, &exact)) in
        given.elements::<f32>().unwrap().iter().zip(exact.elements::<f64>().unwrap()).enumerate()
    {
        let rounded = exact as f32;
        let unit = f64::from(2f32.powi(((rounded.to_bits() >> 23) & 0xff) as i32 - 150));
        let distance = (f64::from(given) - exact).abs();
        let is_same = given.is_nan() && rounded.is_nan() || given.is_infinite() && given == rounded;
        let error = if is_same || distance < 2.4e-38 { 0.0 } else { distance / unit };
        let error = if error.is_nan() { f64::INFINITY } else { error };
        if error > worst.0 {
            worst = (error, inputs.iter().map(|x| x[i]).chain([given, rounded]).collect());
        }
    }
    worst
}

#[test]
fn functions_keep_their_error_over_all_magnitudes() {
    let mut inputs: Vec<f32> = (0..=u32::MAX).step_by(262_147).map(f32::from_bits).collect();
    inputs.extend((0..4000).map(|i| (i as f32 - 2000.0) * 0.0101));
    inputs.extend((0..2000).map(|i| (i as f32 - 1000.0) * 0.001));
    inputs.extend((1..=140).map(|i| i as f32 * std::f32::consts::FRAC_PI_4));
    inputs.extend((-10..=10).map(|i| 10f32.powi(i)));
    inputs.extend((-4..=4).flat_map(|i| [f32::from_bits((1f32.to_bits() as i32 + i) as u32); 2]));
    inputs.extend(special().elements::<f32>().unwrap());
    let table = [
        ("exp", 2.0),
        ("expm1", 2.0),
        ("log", 2.0),
        ("log1p", 2.0),
        ("tanh", 2.0),
        ("sigmoid", 2.0),
        ("erf", 2.0),
        ("erfinv", 2.0),
        ("sin", 2.0),
        ("cos", 2.0),
        ("tan", 1.0),
        ("asin", 1.0),
        ("acos", 1.0),
        ("atan", 1.0),
        ("sinh", 1.0),
        ("cosh", 1.0),
        ("asinh", 1.0),
        ("acosh", 1.5),
        ("atanh", 1.5),
        ("log2", 1.0),
        ("log10", 1.0),
        ("exp2", 1.0),
        ("cbrt", 1.0),
    ];
    let mut failed = Vec::new();
    for (name, limit) in table {
        let (error, at) = worst(name, &[inputs.clone()]);
        println!("{name}: {error:.3} ulp at {at:?}");
        if error > limit {
            failed.push((name, error, at));
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn functions_of_two_keep_their_error() {
    let special = special();
    let special = special.elements::<f32>().unwrap();
    let pairs = |any: bool| {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for i in 0..20_000u64 {
            let bits = scatter(i);
            let (a, b) = (f32::from_bits(bits as u32), f32::from_bits((bits >> 32) as u32));
            let (near, other) = ((bits % 4001) as f32 / 8.0 - 250.0, (bits >> 40) as f32 / 1e6 - 8.0);
            let (a, b) = match i % 4 {
                0 => (a, b),
                1 => (near, other),
                2 if any => (near, (i % 41) as f32 - 20.0),
                2 => (near.abs() * 1e-3, other * 8.0),
                _ => (a, a * other),
            };
            if a.abs().min(b.abs()) > 1e-30 {
                x.push(a);
                y.push(b);
            }
        }
        for &a in special {
            x.extend(vec![a; special.len()]);
            y.extend(special);
        }
        [x, y]
    };
    let mut failed = Vec::new();
    for (name, limit) in [("pow", 2.0), ("atan2", 1.5), ("hypot", 1.0)] {
        let (error, at) = worst(name, &pairs(name != "pow"));
        println!("{name}: {error:.3} ulp at {at:?}");
        if error > limit {
            failed.push((name, error, at));
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
    let [x, y] = pairs(true).map(|x| Some(Tensor::from_slice(DType::F32, &[x.len()], &x).unwrap()));
    check("remainder", "{}", &[x.clone(), y.clone()], 0.0, false);
    check("floor_divide", "{}", &[x, y], 0.0, false);
}

/// Integers at which something ends.
fn edges(dtype: DType) -> Tensor {
    let width = 8 * dtype.size() as u32;
    let (least, greatest) = if dtype.is_signed() {
        (-(1i128 << (width - 1)), (1i128 << (width - 1)) - 1)
    } else {
        (0, (1i128 << width) - 1)
    };
    let mut numbers = vec![0, 1, 2, 3, 5, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65, 100, 127, 128, 255, 256, 1000, 32767];
    numbers.extend([1 << 16, 1 << 24, (1 << 24) + 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 32) + 1]);
    numbers.extend([0x1234_5678_9abc, (1 << 40) + 1, (1 << 53) + 1, 0x7fff_ffbf_ffff_ffff, 0x8000_0080_0000_0001]);
    numbers.extend([1i128 << 63, (1 << 62) + (1 << 38), (1 << 62) + 3 * (1 << 38), (1 << 62) + (1 << 38) + 1]);
    numbers.extend(numbers.clone().into_iter().map(|number| -number));
    numbers.extend([least, least + 1, greatest, greatest - 1]);
    numbers.retain(|number| (least..=greatest).contains(number));
    let bytes: Vec<_> = numbers.iter().flat_map(|number| number.to_le_bytes()[..dtype.size()].to_vec()).collect();
    Tensor::from_bytes(dtype, &[numbers.len()], &bytes, None).unwrap()
}

const INTEGERS: [DType; 8] =
    [DType::I8, DType::I16, DType::I32, DType::I64, DType::U8, DType::U16, DType::U32, DType::U64];

#[test]
fn integers_at_their_edges() {
    let binary = ["add", "sub", "mul", "floor_divide", "remainder", "maximum", "minimum", "equal", "not_equal", "less"];
    let more = [
        "less_equal",
        "greater",
        "bitwise_and",
        "bitwise_left_shift",
        "bitwise_right_shift",
        "bitwise_xor",
        "bitwise_or",
    ];
    for dtype in INTEGERS {
        let x = edges(dtype);
        let column = x.reshaped(&[x.len(), 1]).unwrap();
        for name in binary.iter().chain(&more) {
            check(name, "{}", &[Some(column.clone()), Some(x.clone())], 0.0, false);
        }
        for name in ["neg", "abs", "sign", "bitwise_invert", "square", "relu"] {
            check(name, "{}", &[Some(x.clone())], 0.0, false);
        }
    }
}

/// Floats at which something ends.
fn special() -> Tensor {
    let ends = [0.0, 0.5, 1.0, 1.5, 2.5, 126.5, 127.0, 128.0, 255.5, 256.0, 32767.5, 65504.0, 65520.0, 2147483520.0];
    let more = [2147483648.0, 4294967040.0, 4294967296.0, 9.2233715e18, 9.223372e18, 1.8446743e19, 1.8446744e19];
    let last = [1e30, f32::MAX, f32::INFINITY, f32::NAN, 0.1, 1.0009766, 1.001, 3.3333333, 16777215.0, 5e12];
    let all: Vec<_> = ends.iter().chain(&more).chain(&last).flat_map(|&x| [x, -x]).collect();
    Tensor::from_slice(DType::F32, &[all.len()], &all).unwrap()
}

#[test]
fn casts_saturate_wrap_and_round() {
    let floats = [DType::F16, DType::BF16, DType::F32];
    let dtypes = || INTEGERS.into_iter().chain(floats).chain([DType::Bool]);
    for from in dtypes() {
        let x = match from {
            DType::Bool => Tensor::from_bytes(DType::Bool, &[3], &[1, 0, 1], None).unwrap(),
            DType::F32 => special(),
            _ if from.is_float() => {
                let cast = op("cast", &format!(r#"{{"dtype": "{from}"}}"#));
                compute(&cast, &[Some(special())]).unwrap().remove(0)
            }
            _ => edges(from),
        };
        for to in dtypes() {
            check("cast", &format!(r#"{{"dtype": "{to}"}}"#), &[Some(x.clone())], 0.0, false);
        }
    }
}

#[test]
fn every_float16_is_read_and_rounded_to_as_on_the_cpu() {
    let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let tensor = Some(Tensor::from_slice(DType::F16, &[all.len()], &all).unwrap());
    check("cast", r#"{"dtype": "float32"}"#, &[tensor], 0.0, false);
    // Each one, the middle between it and the next one away from 0, and what is on both sides of that; 65536 is the one
    // after the largest.
    let around = |x: &f16| {
        let next = if x.to_bits() & 0x7fff == 0x7bff {
            65536f32.copysign(x.to_f32())
        } else {
            f16::from_bits(x.to_bits() + 1).to_f32()
        };
        let middle = (x.to_f32() + next) / 2.0;
        [x.to_f32(), f32::from_bits(middle.to_bits() - 1), middle, f32::from_bits(middle.to_bits() + 1)]
    };
    let mut wide: Vec<f32> = all.iter().filter(|x| x.is_finite()).flat_map(around).collect();
    wide.extend([
        f32::NAN,
        -f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN,
        65536.0,
        1e5,
        1e-8,
        -1e-30,
    ]);
    let tensor = Some(Tensor::from_slice(DType::F32, &[wide.len()], &wide).unwrap());
    check("cast", r#"{"dtype": "float16"}"#, &[tensor], 0.0, false);
}

#[test]
fn comparisons_and_selections_of_floats_that_are_special() {
    let x = special();
    let column = x.reshaped(&[x.len(), 1]).unwrap();
    for name in ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "maximum", "minimum"] {
        check(name, "{}", &[Some(column.clone()), Some(x.clone())], 0.0, false);
    }
    for name in ["is_nan", "is_inf", "is_finite", "sign", "relu", "abs", "neg", "floor", "ceil", "round", "trunc"] {
        check(name, "{}", &[Some(x.clone())], 0.0, false);
    }
}

/// Compares `outputs` of an expression on inputs of these layouts with the CPU's.
fn check_expression(
    expression: &Expression,
    outputs: &[Register],
    inputs: &[Tensor],
    layouts: &[Layout],
    sizes: &[usize],
    units: f64,
) -> usize {
    let mut launches = 0;
    let made: Vec<_> = outputs.iter().map(|&output| Layout::dense(expression.dtype(output), sizes)).collect();
    let given: Vec<_> = inputs.iter().cloned().map(Some).collect();
    let views: Vec<_> = layouts.iter().cloned().map(Some).collect();
    let results = execute(&op("fused", "{}").attrs, &given, &views, &made, |request| {
        // The least that WebGPU promises.
        let adapter = Adapter { storage_buffers: 8, ..request.adapter.clone() };
        let recipe = print(expression, outputs, &Request { adapter: &adapter, ..*request })?;
        launches = recipe.launches.len();
        assert!(recipe.launches.iter().all(|launch| launch.slots.len() <= 8));
        Ok(recipe)
    });
    let dtypes: Vec<_> = layouts.iter().map(|layout| layout.dtype).collect();
    let tape = Tape::new(expression, &dtypes, outputs);
    let mut expected: Vec<_> = made.iter().map(|made| Tensor::zeros(made.dtype, sizes, None).unwrap()).collect();
    let views: Vec<_> = inputs
        .iter()
        .zip(layouts)
        // SAFETY: the tensor outlives the view, and holds all that the layout addresses.
        .map(|(input, layout)| unsafe { View::new(input.bytes().as_ptr(), input.bytes().len(), layout) })
        .collect();
    let mut targets: Vec<_> = expected
        .iter_mut()
        .zip(&made)
        // SAFETY: the tensor is new, and of this layout.
        .map(|(tensor, layout)| unsafe { Target::new(tensor.bytes_mut().unwrap().as_mut_ptr(), layout) })
        .collect();
    let (watch, mut cursor) = (Watch::default(), Cursor::default());
    assert!(tape.run(&views, &mut targets, &mut Work::new(&watch, &mut cursor)).is_ok());
    drop(targets);
    for (given, expected) in results.unwrap().iter().zip(&expected) {
        assert_close("cluster", given, expected, units, false);
    }
    launches
}

#[test]
fn clusters_read_strides_and_store_elements_of_any_width() {
    let mut draw = Draw::new(3);
    let memory = draw.tensor(DType::F32, &[200], (-9.0, 9.0));
    let halves = draw.tensor(DType::F16, &[200], (-9.0, 9.0));
    let layout = |dtype, sizes: &[usize], strides: &[isize], offset| Layout {
        dtype,
        sizes: sizes.into(),
        strides: strides.into(),
        offset,
    };
    // Transposed, backwards, broadcast, a scalar.
    let layouts = [
        layout(DType::F32, &[5, 3, 7], &[7, 50, 1], 11),
        layout(DType::F16, &[5, 3, 7], &[-7, 40, 2], 60),
        layout(DType::F32, &[3, 1], &[1, 0], 5),
        layout(DType::F16, &[], &[], 9),
        layout(DType::F32, &[5, 3, 7], &[7, 50, 1], 11),
    ];
    let inputs = [memory.clone(), halves.clone(), memory.clone(), halves, memory];
    let mut e = Expression::new();
    let x: Vec<_> = layouts.iter().zip(0..).map(|(layout, index)| e.input(index, layout.dtype)).collect();
    let sum = e.binary(Binary::Add, x[0], x[2]);
    let sum = e.binary(Binary::Mul, sum, x[4]);
    let half = e.binary(Binary::Mul, x[1], x[3]);
    let wide = e.cast(DType::F32, half);
    let less = e.compare(Comparison::Less, wide, sum);
    let long = e.cast(DType::I64, sum);
    let (byte, short) = (e.cast(DType::I8, half), e.cast(DType::U16, sum));
    let chosen = e.select(less, wide, sum);
    let all = [sum, half, less, long, byte, short, chosen, x[1]];
    for outputs in [&all[..2], &all[2..3], &all[3..4], &all[4..7], &all[7..], &all[..]] {
        check_expression(&e, outputs, &inputs, &layouts, &[5, 3, 7], 0.0);
    }
}

#[test]
fn random_words_are_those_of_the_elements_numbers() {
    let words = [0xdead_beef_u32, 7, 42, 0xffff_fff0, 3];
    let memory = Tensor::from_slice(DType::U32, &[5], &words).unwrap();
    let key = |stride: isize, offset| Layout {
        dtype: DType::U32,
        sizes: [2][..].into(),
        strides: [stride][..].into(),
        offset,
    };
    // The first one is an operand too, which only broadcasts to the first of these shapes.
    let layouts = [key(1, 0), key(-3, 4)];
    let inputs = [memory.clone(), memory];
    for (sizes, broadcasts) in [(&[301, 2][..], true), (&[1003], false), (&[], false), (&[0, 2], true)] {
        let mut e = Expression::new();
        let (narrow, wide, other) = (e.random(0, DType::U32), e.random(1, DType::U64), e.random(1, DType::U32));
        let own = if broadcasts { e.input(0, DType::U32) } else { other };
        let mixed = e.binary(Binary::Xor, narrow, own);
        let less = e.compare(Comparison::Less, mixed, other);
        let all = [narrow, mixed, wide, other, less];
        for outputs in [&all[..1], &all[1..2], &all[2..3], &all[4..], &all[..]] {
            assert_eq!(check_expression(&e, outputs, &inputs, &layouts, sizes, 0.0), usize::from(!sizes.contains(&0)));
        }
    }
}

#[test]
fn compilers_do_not_rewrite_what_a_cluster_computes() {
    let tensor = |x: &[f32]| Tensor::from_slice(DType::F32, &[x.len()], x).unwrap();
    let x = tensor(&[1.0, 3.0, 1e-3, 2e38, f32::INFINITY, -2.5e38]);
    let y = tensor(&[1e7, 7e8, 123.0, 3e38, 1.0, -3e38]);
    let mut e = Expression::new();
    let (a, b, scale) = (e.input(0, DType::F32), e.input(1, DType::F32), e.constant(DType::F32, 0.25));
    let (less, more) = (e.binary(Binary::Mul, a, scale), e.binary(Binary::Mul, b, scale));
    let scaled = e.binary(Binary::Add, less, more);
    let sum = e.binary(Binary::Add, a, b);
    let back = e.binary(Binary::Sub, sum, b);
    let lost = e.binary(Binary::Sub, back, a);
    let none = e.binary(Binary::Sub, a, a);
    let layouts = [Layout::dense(DType::F32, &[6]), Layout::dense(DType::F32, &[6])];
    check_expression(&e, &[scaled, back, lost, none], &[x, y], &layouts, &[6], 0.0);
}

#[test]
fn clusters_of_many_buffers_are_split() {
    let mut draw = Draw::new(4);
    let sizes = [6, 11];
    let mut e = Expression::new();
    let inputs: Vec<_> = (0..30).map(|_| draw.tensor(DType::F32, &sizes, (-2.0, 2.0))).collect();
    let layouts: Vec<_> = inputs.iter().map(|input| Layout::dense(input.dtype(), input.sizes())).collect();
    let x: Vec<_> = (0..30).map(|index| e.input(index, DType::F32)).collect();
    let sums: Vec<_> = x.chunks(3).map(|x| e.binary(Binary::Add, x[0], x[2])).collect();
    let sum = x.iter().skip(1).fold(x[0], |sum, &x| e.binary(Binary::Add, sum, x));
    // Twice, so that a part that another one needs as well is read.
    let square = x.iter().rev().fold(sum, |sum, &x| e.binary(Binary::Mul, sum, x));
    assert_eq!(check_expression(&e, &[sum], &inputs, &layouts, &sizes, 0.0), 5);
    check_expression(&e, &[square, sum], &inputs, &layouts, &sizes, 0.0);
    assert_eq!(check_expression(&e, &sums[..7], &inputs, &layouts, &sizes, 0.0), 4);
    check_expression(&e, &[x[3], sums[0]], &inputs, &layouts, &sizes, 0.0);
}

#[test]
fn an_invocation_stores_a_whole_word_of_bools() {
    let mut e = Expression::new();
    let (x, y) = (e.input(0, DType::F16), e.input(1, DType::F16));
    let half = e.constant(DType::F16, 0.5);
    let product = e.binary(Binary::Mul, x, half);
    let less = e.compare(Comparison::Less, product, y);
    let layouts = [Layout::dense(DType::F16, &[3, 5]), Layout::dense(DType::F16, &[3, 1])];
    let output = Layout::dense(DType::Bool, &[3, 5]);
    let inputs = [Some(&layouts[0]), Some(&layouts[1])];
    let op = op("fused", "{}");
    let device = device();
    let request =
        Request { attrs: &op.attrs, inputs: &inputs, outputs: &[&output], adapter: device.adapter(), finish: None };
    let recipe = print(&e, &[less], &request).unwrap();
    let text = &recipe.launches[0].shader.text;
    assert_eq!(
        &text[text.find("    let i = ").unwrap()..],
        "    let i = id.y * (groups.x * 256u) + id.x;
    if (i >= params[0].x) { return; }
    var word_1 = 0u;
    for (var part = 0u; part < 4u; part += 1u) {
        let element_2 = (i * 4u) + part;
        if (element_2 >= params[0].y) { break; }
        let x_3 = load0(element_2);
        var offset_4 = params[0].z;
        var rest_5 = element_2;
        rest_5 /= params[0].w;
        offset_4 += rest_5 * params[1].x;
        let x_6 = load1(offset_4);
        let v_7 = bitcast<f32>(params[1].y);
        let v_8 = round_to_f16(x_3 * v_7);
        let v_9 = less_f32(v_8, x_6);
        word_1 |= select(0u, 1u, v_9) << ((element_2 & 3u) * 8u);
        if ((element_2 & 3u) == 3u || element_2 + 1u == params[0].y) {
            b2[element_2 >> 2u] = word_1;
            word_1 = 0u;
        }
    }
}
"
    );
}
