use super::super::simd::{Isa, isa, set_isa};
use super::super::threads::{set_num_threads, settings};
use super::super::work::{Cursor, Stop, Watch, Work};
use super::*;

/// Pseudo-random values with few bits, so that sums in f64 are exact.
fn numbers(count: usize, seed: u32) -> impl Iterator<Item = f64> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    (0..count).map(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from((state >> 20) as i32 - 2048) / 512.0
    })
}

/// Whether A and B are stored transposed.
type Transposed = (bool, bool);

struct Case {
    batch: Vec<usize>,
    m: usize,
    n: usize,
    k: usize,
    transposed: Transposed,
}

fn cases() -> Vec<Case> {
    let shapes = [
        (vec![], 1, 1, 1),
        (vec![], 8, 48, 256),
        (vec![], 9, 49, 257),
        (vec![], 7, 47, 255),
        (vec![], 33, 100, 40),
        (vec![], 40, 10, 300),
        (vec![], 1, 130, 70),
        (vec![], 3, 200, 150),
        (vec![], 130, 1, 70),
        (vec![], 129, 2, 33),
        (vec![], 64, 150, 260),
        (vec![], 20, 2000, 60),
        (vec![3], 5, 6, 7),
        (vec![2, 3], 17, 33, 9),
        (vec![70], 10, 20, 15),
        (vec![2], 90, 160, 150),
        (vec![], 0, 3, 3),
        (vec![], 3, 0, 3),
        (vec![], 3, 4, 0),
        (vec![2], 20, 40, 0),
        (vec![], 200, 1, 0),
        (vec![0], 3, 4, 5),
    ];
    let layouts = [(false, false), (true, false), (false, true), (true, true)];
    let every = shapes.into_iter().flat_map(|shape| layouts.map(|transposed| (shape.clone(), transposed)));
    every.map(|((batch, m, n, k), transposed)| Case { batch, m, n, k, transposed }).collect()
}

/// Strides of a dense batch of `rows` x `columns`: batch, row, column.
fn strides(batch: &[usize], rows: usize, columns: usize, transposed: bool) -> (Vec<isize>, isize, isize) {
    let mut step = (rows * columns) as isize;
    let mut axes = vec![0; batch.len()];
    for (stride, size) in axes.iter_mut().zip(batch).rev() {
        *stride = step;
        step *= *size as isize;
    }
    if transposed { (axes, 1, rows as isize) } else { (axes, columns as isize, 1) }
}

fn try_multiply<T: Operand + Default>(
    case: &Case,
    a: &[T],
    b: &[T],
    watch: &Watch,
    c: &mut [T],
) -> Result<usize, Stop> {
    let Case { batch, m, n, k, transposed } = case;
    let sizes = Sizes { batch, m: *m, n: *n, k: *k };
    let (a_batch, row, column) = strides(batch, *m, *k, transposed.0);
    let a = Matrix { data: a, offset: 0, row, column, batch: &a_batch };
    let (b_batch, row, column) = strides(batch, *k, *n, transposed.1);
    let b = Matrix { data: b, offset: 0, row, column, batch: &b_batch };
    let mut workspace = vec![0xff; gemm_workspace::<T>(&sizes) as usize];
    let mut cursor = Cursor::default();
    for call in 1.. {
        match gemm(&mut Work::new(watch, &mut cursor), &sizes, a, b, c, &mut workspace, None) {
            Err(Stop::Paused) => {}
            result => return result.map(|()| call),
        }
    }
    unreachable!()
}

fn multiply<T: Operand + Default>(case: &Case, a: &[T], b: &[T]) -> Vec<T> {
    let mut c = vec![T::default(); case.batch.iter().product::<usize>() * case.m * case.n];
    try_multiply(case, a, b, &Watch::default(), &mut c).unwrap();
    c
}

fn operands(case: &Case) -> (Vec<f64>, Vec<f64>) {
    let count: usize = case.batch.iter().product();
    (numbers(count * case.m * case.k, 1).collect(), numbers(count * case.k * case.n, 2).collect())
}

fn naive(case: &Case, a: &[f64], b: &[f64]) -> Vec<f64> {
    let Case { batch, m, n, k, transposed } = case;
    let mut c = Vec::new();
    for z in 0..batch.iter().product() {
        for i in 0..*m {
            for j in 0..*n {
                let left = |d: usize| if transposed.0 { d * m + i } else { i * k + d };
                let right = |d: usize| if transposed.1 { j * k + d } else { d * n + j };
                c.push((0..*k).map(|d| a[z * m * k + left(d)] * b[z * k * n + right(d)]).sum());
            }
        }
    }
    c
}

fn compare<T: Operand + Default>(from: fn(f64) -> T, to: fn(T) -> f64, relative: f64) {
    for case in cases() {
        let (a, b) = operands(&case);
        let narrow = |values: &[f64]| values.iter().map(|value| from(*value)).collect::<Vec<T>>();
        let wide = |values: &[T]| values.iter().map(|value| to(*value)).collect::<Vec<f64>>();
        let (a, b) = (narrow(&a), narrow(&b));
        let wanted = naive(&case, &wide(&a), &wide(&b));
        let got = wide(&multiply(&case, &a, &b));
        let scale = wanted.iter().fold(1.0f64, |most, value| most.max(value.abs()));
        for (i, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
            let error = (got - wanted).abs() / scale;
            let Case { batch, m, n, k, transposed } = &case;
            assert!(error <= relative, "{batch:?} {m} {n} {k} {transposed:?} at {i}: {got}, not {wanted}");
        }
    }
}

#[test]
fn products_are_right_in_every_float_dtype_and_instruction_set() {
    let _settings = settings();
    for set in [Isa::Base, Isa::Avx2, Isa::Avx512] {
        set_isa(set);
        compare(|x| x as f32, f64::from, 1e-5);
        compare(|x| x, |x| x, 1e-13);
        compare(half::f16::from_f64, half::f16::to_f64, 1e-3);
        compare(half::bf16::from_f64, half::bf16::to_f64, 8e-3);
    }
}

#[test]
fn products_of_integers_wrap() {
    for case in cases() {
        let (a, b) = operands(&case);
        let integers = |values: &[f64]| values.iter().map(|x| (*x * 512.0).trunc()).collect::<Vec<_>>();
        let (a, b) = (integers(&a), integers(&b));
        let wanted = naive(&case, &a, &b);
        macro_rules! check {
            ($($T:ty),*) => {$({
                let narrow = |values: &[f64]| values.iter().map(|x| *x as i64 as $T).collect::<Vec<_>>();
                assert_eq!(multiply(&case, &narrow(&a), &narrow(&b)), narrow(&wanted));
            })*};
        }
        check!(i8, i16, i32, i64, u8, u16, u32, u64);
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn single(case: &Case) -> (Vec<f32>, Vec<f32>) {
    let (a, b) = operands(case);
    // Thirds have no exact representation, so that another order of operations shows.
    let narrow = |values: &[f64]| values.iter().map(|x| (*x / 3.0) as f32).collect();
    (narrow(&a), narrow(&b))
}

#[test]
fn bits_depend_on_neither_threads_nor_pauses_nor_the_width_of_vectors() {
    let _settings = settings();
    let (mut most_calls, best) = (0, isa());
    for case in cases() {
        let (a, b) = single(&case);
        set_isa(Isa::Avx512);
        set_num_threads(1);
        let wanted = bits(&multiply(&case, &a, &b));
        for threads in [2, 7] {
            set_num_threads(threads);
            assert_eq!(bits(&multiply(&case, &a, &b)), wanted);
        }
        if isa() >= Isa::Avx2 {
            set_isa(Isa::Avx2);
            assert_eq!(bits(&multiply(&case, &a, &b)), wanted);
        }
        set_isa(best);
        let mut c = vec![f32::NAN; wanted.len()];
        let watch = Watch { pause: 0.0, ..Watch::default() };
        most_calls = most_calls.max(try_multiply(&case, &a, &b, &watch, &mut c).unwrap());
        assert_eq!(bits(&c), wanted);
    }
    assert!(most_calls > 5, "{most_calls}");
    set_num_threads(0);
}

#[test]
fn elements_are_one_chain_of_multiply_adds() {
    let _settings = settings();
    for case in cases().into_iter().filter(|case| case.transposed == (false, false) && case.batch.is_empty()) {
        let (a, b) = single(&case);
        let fused = isa() >= Isa::Avx2 || cfg!(target_arch = "aarch64");
        let chain = |i: usize, j: usize| {
            (0..case.k).fold(0.0f32, |sum, d| {
                let (left, right) = (a[i * case.k + d], b[d * case.n + j]);
                if fused { left.mul_add(right, sum) } else { sum + left * right }
            })
        };
        let wanted: Vec<f32> = (0..case.m * case.n).map(|at| chain(at / case.n, at % case.n)).collect();
        assert_eq!(bits(&multiply(&case, &a, &b)), bits(&wanted));
    }
}

#[test]
fn operands_may_be_broadcast_reversed_and_strided() {
    // A is one matrix for all of the batch, reversed along its rows; B takes every second column.
    let a: Vec<i32> = (0..6).collect();
    let b: Vec<i32> = (0..24).collect();
    let sizes = Sizes { batch: &[2], m: 2, n: 2, k: 3 };
    let a_int = Matrix { data: &a, offset: 3, row: -3, column: 1, batch: &[0] };
    let b_int = Matrix { data: &b, offset: 1, row: 4, column: 2, batch: &[12] };
    let wanted = [68, 92, 23, 29, 212, 236, 59, 65];
    let (watch, mut c) = (Watch::default(), [0; 8]);
    gemm(&mut Work::new(&watch, &mut Cursor::default()), &sizes, a_int, b_int, &mut c, &mut [], None).unwrap();
    assert_eq!(c, wanted);
    let a: Vec<f32> = a.iter().map(|x| *x as f32).collect();
    let b: Vec<f32> = b.iter().map(|x| *x as f32).collect();
    let a_float = Matrix { data: &a, offset: 3, row: -3, column: 1, batch: &[0] };
    let b_float = Matrix { data: &b, offset: 1, row: 4, column: 2, batch: &[12] };
    let mut workspace = vec![0; gemm_workspace::<f32>(&sizes) as usize];
    let mut c = [0.0; 8];
    gemm(&mut Work::new(&watch, &mut Cursor::default()), &sizes, a_float, b_float, &mut c, &mut workspace, None)
        .unwrap();
    assert_eq!(c, wanted.map(|x| x as f32));
}

#[test]
fn small_workspace_is_an_error() {
    let case = Case { batch: vec![], m: 20, n: 20, k: 20, transposed: (false, false) };
    let (a, b) = single(&case);
    let sizes = Sizes { batch: &[], m: 20, n: 20, k: 20 };
    let a = Matrix { data: &a, offset: 0, row: 20, column: 1, batch: &[] };
    let b = Matrix { data: &b, offset: 0, row: 20, column: 1, batch: &[] };
    let (watch, mut c) = (Watch::default(), [0.0; 400]);
    let result = gemm(&mut Work::new(&watch, &mut Cursor::default()), &sizes, a, b, &mut c, &mut [], None);
    assert_eq!(result, Err(Stop::OutOfMemory));
}

#[test]
fn half_precision_loads_every_value_exactly() {
    for bits in 0..=u16::MAX {
        let value = half::f16::from_bits(bits);
        let (got, wanted) = (value.load(), value.to_f32());
        assert!(got.to_bits() == wanted.to_bits() || got.is_nan() && wanted.is_nan(), "{bits:#x}");
    }
}
