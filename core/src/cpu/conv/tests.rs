use super::super::simd::{Isa, isa, set_isa};
use super::super::threads::{set_num_threads, settings};
use super::super::work::{Cursor, Watch};
use super::*;

fn geometry(batch: usize, [in_channels, out_channels, groups]: [usize; 3], axes: &[[isize; 6]]) -> ConvGeometry {
    let mut geometry = ConvGeometry {
        batch,
        input: [1; 3],
        output: [1; 3],
        kernel: [1; 3],
        strides: [1; 3],
        pad_low: [0; 3],
        dilation: [1; 3],
        groups,
        in_channels,
        out_channels,
    };
    for (i, [input, kernel, stride, dilation, pad_low, pad_high]) in axes.iter().copied().enumerate() {
        let axis = 3 - axes.len() + i;
        geometry.input[axis] = input as usize;
        geometry.kernel[axis] = kernel as usize;
        geometry.strides[axis] = stride as usize;
        geometry.dilation[axis] = dilation as usize;
        geometry.pad_low[axis] = pad_low;
        let free = input + pad_low + pad_high - (kernel - 1) * dilation - 1;
        geometry.output[axis] = if free < 0 { 0 } else { (free / stride + 1) as usize };
    }
    geometry
}

/// Batch; channels in, out, groups; for each axis: input, kernel, stride, dilation, padding before and after.
fn geometries() -> Vec<ConvGeometry> {
    let plain = [
        geometry(2, [3, 5, 1], &[[7, 3, 1, 1, 0, 0]]),
        geometry(2, [3, 5, 1], &[[9, 3, 1, 1, 1, 1], [11, 3, 1, 1, 1, 1]]),
        geometry(1, [1, 7, 1], &[[13, 5, 1, 1, 2, 2], [17, 3, 1, 1, 1, 1]]),
        geometry(3, [1, 4, 1], &[[9, 3, 2, 1, 1, 1], [12, 3, 2, 2, 2, 1]]),
        geometry(2, [16, 20, 1], &[[14, 3, 1, 1, 1, 1], [14, 3, 1, 1, 1, 1]]),
        geometry(2, [4, 6, 2], &[[10, 3, 2, 1, 1, 1], [9, 2, 3, 1, 0, 1]]),
        geometry(2, [12, 8, 4], &[[6, 3, 1, 2, 2, 2], [8, 3, 1, 3, 3, 3]]),
        geometry(2, [3, 2, 1], &[[5, 2, 1, 1, 0, 1], [6, 3, 2, 1, 1, 0], [7, 3, 3, 2, 2, 2]]),
        geometry(1, [5, 3, 1], &[[12, 3, 1, 1, -2, -1], [9, 2, 2, 1, -1, 3]]),
        geometry(2, [4, 4, 1], &[[8, 1, 2, 1, 0, 0], [8, 1, 2, 1, 0, 0]]),
        geometry(1, [2, 3, 1], &[[7, 3, 4, 2, 3, 5], [9, 4, 6, 3, 2, 4]]),
        geometry(1, [2, 3, 1], &[[4, 3, 1, 1, 6, 7]]),
        geometry(9, [30, 40, 1], &[[12, 3, 1, 1, 1, 1], [12, 3, 1, 1, 1, 1]]),
        geometry(2, [300, 3, 1], &[[5, 2, 1, 1, 1, 0]]),
    ];
    let depthwise = [
        geometry(2, [5, 5, 5], &[[9, 3, 1, 1, 1, 1], [8, 3, 1, 1, 1, 1]]),
        geometry(2, [70, 70, 70], &[[9, 3, 2, 1, 1, 1], [8, 3, 2, 2, 1, 2]]),
        geometry(2, [3, 6, 3], &[[6, 2, 1, 1, 0, 0], [5, 2, 3, 1, -1, 2], [8, 3, 1, 2, 1, 3]]),
    ];
    let empty = [
        geometry(0, [2, 3, 1], &[[5, 3, 1, 1, 1, 1]]),
        geometry(2, [0, 3, 1], &[[5, 3, 1, 1, 1, 1]]),
        geometry(2, [2, 0, 1], &[[5, 3, 1, 1, 1, 1]]),
        geometry(2, [2, 3, 1], &[[0, 3, 1, 1, 1, 2]]),
        geometry(2, [2, 3, 1], &[[2, 3, 1, 1, 0, 0]]),
        geometry(2, [2, 3, 1], &[[5, 3, 1, 1, 1, 1], [0, 1, 2, 1, 0, 0]]),
        geometry(2, [3, 3, 3], &[[0, 3, 1, 1, 1, 2]]),
        geometry(0, [3, 3, 3], &[[4, 3, 1, 1, 1, 2]]),
        geometry(2, [3, 0, 3], &[[4, 3, 1, 1, 1, 2]]),
    ];
    plain.into_iter().chain(depthwise).chain(empty).collect()
}

fn numbers(count: usize, seed: u32) -> Vec<f64> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(99);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from((state >> 22) as i32 - 512) / 256.0
    };
    (0..count).map(next).collect()
}

/// Calls `each(x, kernel, y)` with the indices of everything that is multiplied.
fn for_each_product(geometry: &ConvGeometry, mut each: impl FnMut(usize, usize, usize)) {
    let g = geometry;
    let pixels = |sizes: [usize; 3]| {
        (0..sizes[0]).flat_map(move |d| (0..sizes[1]).flat_map(move |h| (0..sizes[2]).map(move |w| [d, h, w])))
    };
    for image in 0..g.batch {
        for (to, o) in pixels(g.output).enumerate() {
            for (tap, t) in pixels(g.kernel).enumerate() {
                let at: [isize; 3] = std::array::from_fn(|axis| {
                    (o[axis] * g.strides[axis] + t[axis] * g.dilation[axis]) as isize - g.pad_low[axis]
                });
                if (0..3).any(|axis| at[axis] < 0 || at[axis] >= g.input[axis] as isize) {
                    continue;
                }
                let from = (at[0] as usize * g.input[1] + at[1] as usize) * g.input[2] + at[2] as usize;
                for out in 0..g.out_channels {
                    let group = out / g.group_outputs();
                    for i in 0..g.group_inputs() {
                        let x = (image * product(&g.input) + from) * g.in_channels + group * g.group_inputs() + i;
                        let kernel = (tap * g.group_inputs() + i) * g.out_channels + out;
                        each(x, kernel, (image * product(&g.output) + to) * g.out_channels + out);
                    }
                }
            }
        }
    }
}

/// One of the three functions, with its output's and its workspace's size.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Output,
    Input,
    Kernel,
}

const PARTS: [Part; 3] = [Part::Output, Part::Input, Part::Kernel];

/// x, kernel and dy in f64.
fn operands(geometry: &ConvGeometry) -> [Vec<f64>; 3] {
    let sizes = [geometry.input_len(), geometry.kernel_len(), geometry.output_len()];
    std::array::from_fn(|i| numbers(sizes[i], i as u32))
}

fn run<S: Storage + Default>(
    part: Part,
    geometry: &ConvGeometry,
    operands: &[Vec<S>; 3],
    watch: &Watch,
) -> (Vec<S>, usize) {
    let [x, kernel, dy] = operands;
    let (size, workspace) = match part {
        Part::Output => (dy.len(), conv_workspace::<S>(geometry)),
        Part::Input => (x.len(), conv_input_gradient_workspace::<S>(geometry)),
        Part::Kernel => (kernel.len(), conv_kernel_gradient_workspace::<S>(geometry)),
    };
    let mut result = vec![S::store(numbers(1, 3).iter().fold(S::Compute::default(), |x, _| x)); size];
    let mut workspace = vec![0xff; workspace as usize];
    let mut cursor = Cursor::default();
    for call in 1.. {
        let work = &mut Work::new(watch, &mut cursor);
        let result_now = match part {
            Part::Output => conv(work, geometry, x, kernel, &mut result, &mut workspace, None),
            Part::Input => conv_input_gradient(work, geometry, dy, kernel, &mut result, &mut workspace, None),
            Part::Kernel => conv_kernel_gradient(work, geometry, x, dy, &mut result, &mut workspace, None),
        };
        match result_now {
            Ok(()) => return (result, call),
            Err(stop) => assert_eq!(stop, Stop::Paused),
        }
    }
    unreachable!()
}

fn naive(part: Part, geometry: &ConvGeometry, [x, kernel, dy]: &[Vec<f64>; 3]) -> Vec<f64> {
    let size = match part {
        Part::Output => dy.len(),
        Part::Input => x.len(),
        Part::Kernel => kernel.len(),
    };
    let mut result = vec![0.0; size];
    for_each_product(geometry, |i, k, o| match part {
        Part::Output => result[o] += x[i] * kernel[k],
        Part::Input => result[i] += dy[o] * kernel[k],
        Part::Kernel => result[k] += x[i] * dy[o],
    });
    result
}

fn compare<S: Storage + Default>(from: fn(f64) -> S, to: fn(S) -> f64, relative: f64) {
    for geometry in geometries() {
        let operands = operands(&geometry).map(|values| values.into_iter().map(from).collect::<Vec<S>>());
        let wide: [Vec<f64>; 3] = std::array::from_fn(|i| operands[i].iter().map(|value| to(*value)).collect());
        for part in PARTS {
            let wanted = naive(part, &geometry, &wide);
            let (got, _) = run(part, &geometry, &operands, &Watch::default());
            let scale = wanted.iter().fold(1.0f64, |most, value| most.max(value.abs()));
            for (i, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
                let got = to(*got);
                assert!((got - wanted).abs() <= relative * scale, "{part:?} {geometry:?} at {i}: {got}, not {wanted}");
            }
        }
    }
}

#[test]
fn convolutions_and_gradients_are_right_in_every_dtype_and_instruction_set() {
    let _settings = settings();
    let best = isa();
    for set in [Isa::Base, Isa::Avx2, Isa::Avx512] {
        set_isa(set);
        compare(|x| x as f32, f64::from, 1e-5);
        compare(|x| x, |x| x, 1e-13);
        compare(half::f16::from_f64, half::f16::to_f64, 1e-3);
        compare(half::bf16::from_f64, half::bf16::to_f64, 8e-3);
    }
    set_isa(best);
}

#[test]
fn bits_depend_on_neither_threads_nor_pauses_nor_the_width_of_vectors() {
    let _settings = settings();
    let (best, mut most_calls) = (isa(), 0);
    let large = geometry(40, [32, 64, 1], &[[14, 3, 1, 1, 1, 1], [14, 3, 2, 1, 1, 1]]);
    for geometry in geometries().into_iter().chain([large]) {
        let operands = operands(&geometry).map(|values| values.iter().map(|x| (x / 3.0) as f32).collect::<Vec<_>>());
        let bits = |part, watch: &Watch| {
            let (values, calls) = run(part, &geometry, &operands, watch);
            (values.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), calls)
        };
        for part in PARTS {
            set_num_threads(1);
            let (wanted, _) = bits(part, &Watch::default());
            for threads in [2, 7] {
                set_num_threads(threads);
                assert_eq!(bits(part, &Watch::default()).0, wanted, "{part:?} {geometry:?}");
            }
            if best >= Isa::Avx2 {
                set_isa(Isa::Avx2);
                assert_eq!(bits(part, &Watch::default()).0, wanted, "{part:?} {geometry:?}");
                set_isa(best);
            }
            let (paused, calls) = bits(part, &Watch { pause: 0.0, ..Watch::default() });
            assert_eq!(paused, wanted, "{part:?} {geometry:?}");
            most_calls = most_calls.max(calls);
        }
    }
    assert!(most_calls > 5, "{most_calls}");
    set_num_threads(0);
}
