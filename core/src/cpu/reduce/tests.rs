use super::*;
use crate::cpu::memory::as_bytes;
use crate::cpu::simd::{Isa, set_isa};
use crate::cpu::threads::{set_num_threads, settings};
use crate::cpu::work::{Cursor, Watch};
use crate::dtype::{Element, f16};
use std::marker::PhantomData;

/// A layout, and the axes to reduce.
type Case = (Layout, &'static [usize]);

fn layout(dtype: DType, sizes: &[usize], strides: &[isize]) -> Layout {
    Layout { dtype, sizes: sizes.into(), strides: strides.into(), offset: 0 }
}

fn cases(dtype: DType) -> Vec<Case> {
    let dense = |sizes: &[usize]| Layout::dense(dtype, sizes);
    vec![
        (dense(&[]), &[]),
        (dense(&[5]), &[0]),
        (dense(&[0, 3]), &[0]),
        (dense(&[3, 0]), &[0]),
        (dense(&[2, 0, 4]), &[1, 2]),
        (dense(&[100_003]), &[0]),
        (dense(&[300, 37]), &[1]),
        (dense(&[3000, 70]), &[0]),
        (dense(&[3000, 3]), &[0]),
        (dense(&[7, 1, 30]), &[1]),
        (dense(&[4, 14, 14, 32]), &[0, 1, 2]),
        (dense(&[4, 5, 20, 30]), &[0, 2, 3]),
        (dense(&[40, 5, 2, 3]), &[0, 2]),
        (dense(&[40, 5, 20, 3]), &[1, 3]),
        (layout(dtype, &[50, 60], &[1, 50]), &[1]),
        (layout(dtype, &[50, 60], &[1, 50]), &[0]),
        (layout(dtype, &[6, 7, 8], &[2, 24, 3]), &[1]),
        (layout(dtype, &[2000, 6], &[0, 1]), &[0]),
    ]
}

/// The elements of each result, in order.
fn gather<T: Copy>((layout, axes): &Case, data: &[T]) -> Vec<Vec<T>> {
    let places = |start: Vec<isize>, reduced: bool| {
        let wanted = (0..layout.sizes.len()).filter(|axis| axes.contains(axis) == reduced);
        wanted.fold(start, |places, axis| {
            let along = (0..layout.sizes[axis] as isize).map(|i| i * layout.strides[axis]);
            places.iter().flat_map(|place| along.clone().map(move |step| place + step)).collect()
        })
    };
    let starts = places(vec![0], false);
    starts.into_iter().map(|start| places(vec![start], true).iter().map(|&at| data[at as usize]).collect()).collect()
}

/// The documented order, element by element.
fn ordered<F: Fold>(elements: &[F::Input]) -> F::Output {
    let join = |elements: &[F::Partial]| {
        let mut partials = vec![F::START; 16];
        elements.iter().enumerate().for_each(|(r, &x)| partials[r % 16] = F::join(partials[r % 16], x));
        while partials.len() > 1 {
            let half = partials.split_off(partials.len() / 2);
            partials.iter_mut().zip(half).for_each(|(low, high)| *low = F::join(*low, high));
        }
        partials[0]
    };
    let loaded: Vec<_> = elements.iter().map(|&element| F::load(element)).collect();
    let chunks: Vec<_> = loaded.chunks(1024).map(join).collect();
    F::store(if chunks.len() == 1 { chunks[0] } else { join(&chunks) })
}

/// A kernel's bytes for a case.
fn run<O: Element + Default>(
    case: &Case,
    data: &[u8],
    dtype: DType,
    bytes: u64,
    kernel: impl Fn(&mut Work, View, &mut Target, &mut [u8]) -> Result<(), Stop>,
) -> Vec<u8> {
    let (input, axes) = case;
    let sizes: Vec<_> = (0..input.sizes.len()).filter(|axis| !axes.contains(axis)).map(|a| input.sizes[a]).collect();
    let target_layout = Layout::dense(dtype, &sizes);
    let mut output = vec![O::default(); target_layout.elements()];
    let mut workspace = vec![0u64; bytes.div_ceil(8) as usize];
    // SAFETY: the vectors hold what the layouts name, and live until the end.
    let (view, mut target, workspace) = unsafe {
        (
            View::new(data.as_ptr(), data.len(), input),
            Target::new(output.as_mut_ptr().cast(), &target_layout),
            std::slice::from_raw_parts_mut(workspace.as_mut_ptr().cast::<u8>(), bytes as usize),
        )
    };
    let (watch, mut cursor) = (Watch { pause: 0.0, ..Watch::default() }, Cursor::default());
    while kernel(&mut Work::new(&watch, &mut cursor), view, &mut target, workspace).is_err() {}
    as_bytes(&output).to_vec()
}

fn check<F: Fold>(fold: F, dtype: DType, output: DType, data: &[F::Input]) {
    for case in cases(dtype) {
        let expected: Vec<_> = gather(&case, data).iter().map(|elements| ordered::<F>(elements)).collect();
        for (threads, isa) in [(1, Isa::Base), (2, Isa::Avx2), (7, Isa::Avx512)] {
            set_num_threads(threads);
            set_isa(isa);
            let bytes = workspace(&case.0, case.1, size_of::<F::Partial>());
            let result = run::<F::Output>(&case, as_bytes(data), output, bytes, |work, view, target, space| {
                reduce(fold, work, view, case.1, target, space)
            });
            assert_eq!(result, as_bytes(&expected), "{case:?} with {threads} threads, {isa:?}");
        }
    }
}

fn numbers(count: usize) -> impl Iterator<Item = u32> {
    (0..count as u32).map(|i| i.wrapping_mul(2_654_435_761).rotate_left(13) ^ i)
}

const MOST: usize = 210_000;

#[test]
fn results_follow_the_documented_order_whatever_threads_and_vectors() {
    let _settings = settings();
    let floats: Vec<f32> = numbers(MOST).map(|x| x as f32 / 1e9 - 2.0).collect();
    check(Sum(PhantomData), DType::F32, DType::F32, &floats);
    check(Max(PhantomData), DType::F32, DType::F32, &floats);
    let near_one: Vec<f64> = numbers(MOST).map(|x| 1.0 + (f64::from(x) / 1e11 - 0.02)).collect();
    check(Product(PhantomData), DType::F64, DType::F64, &near_one);
    let halves: Vec<f16> = floats.iter().map(|&x| f16::from_f32(x)).collect();
    check(Sum(PhantomData), DType::F16, DType::F16, &halves);
    check(Min(PhantomData), DType::F16, DType::F16, &halves);
    let small: Vec<i8> = numbers(MOST).map(|x| x as i8).collect();
    check(Sum(PhantomData), DType::I8, DType::I8, &small);
    check(Min(PhantomData), DType::I8, DType::I8, &small);
    check(Any(PhantomData), DType::I8, DType::Bool, &small);
    check(All(PhantomData), DType::I8, DType::Bool, &small);
    set_num_threads(0);
}

#[test]
fn first_of_the_best_is_found_with_any_number_of_threads() {
    let _settings = settings();
    let mut floats: Vec<f32> = numbers(MOST).map(|x| (x % 50) as f32).collect();
    floats.iter_mut().skip(1000).step_by(30_011).for_each(|x| *x = f32::NAN);
    for case in cases(DType::F32).into_iter().filter(|(layout, _)| layout.elements() != 0) {
        for (greatest, sign) in [(true, 1.0), (false, -1.0)] {
            let best = |elements: &Vec<f32>| {
                let key = |x: f32| if x.is_nan() { f32::INFINITY } else { x * sign };
                let best = elements.iter().fold(f32::NEG_INFINITY, |best, &x| best.max(key(x)));
                elements.iter().position(|&x| key(x) == best).unwrap() as i64
            };
            let expected: Vec<_> = gather(&case, &floats).iter().map(best).collect();
            for threads in [1, 2, 7] {
                set_num_threads(threads);
                let bytes = workspace(&case.0, case.1, 8);
                let result =
                    run::<i64>(
                        &case,
                        as_bytes(&floats),
                        DType::I64,
                        bytes,
                        |work, view, target, space| match greatest {
                            true => search(ArgMax::<f32>(PhantomData), work, view, case.1, target, space),
                            false => search(ArgMin::<f32>(PhantomData), work, view, case.1, target, space),
                        },
                    );
                assert_eq!(result, as_bytes(&expected), "{case:?} with {threads} threads");
            }
        }
    }
    set_num_threads(0);
}

#[test]
fn greatest_and_least_pass_nan_on() {
    let mut floats = vec![1.0f32; 3000];
    floats[1700] = f32::NAN;
    let case = (Layout::dense(DType::F32, &[3000]), &[0usize][..]);
    let bytes = workspace(&case.0, case.1, 4);
    for greatest in [true, false] {
        let result =
            run::<f32>(&(case.0.clone(), &[0]), as_bytes(&floats), DType::F32, bytes, |work, view, target, space| {
                match greatest {
                    true => reduce(Max::<f32>(PhantomData), work, view, &[0], target, space),
                    false => reduce(Min::<f32>(PhantomData), work, view, &[0], target, space),
                }
            });
        assert!(f32::from_ne_bytes(result.try_into().unwrap()).is_nan());
    }
}
