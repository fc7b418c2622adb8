//! Every instruction of every dtype against a plain evaluator of one element, and layouts, memory and machines against
//! each other.

mod evaluate;

use super::*;
use crate::cpu::call::{Layout, dense_strides};
use crate::cpu::memory::{as_bytes, cast_slice};
use crate::cpu::random::threefry;
use crate::cpu::simd::{Isa, isa, set_isa};
use crate::cpu::threads::{set_num_threads, settings};
use crate::cpu::work::{Cursor, Watch};
use crate::dtype::{bf16, f16};
use crate::scalar::{Binary, Comparison, Instruction, Step, Unary};
use Binary::*;
use DType::*;
use Unary::*;
use evaluate::*;

const COUNT: usize = 3001;

struct Random(u64);

impl Random {
    fn one_in(&mut self, count: u64) -> bool {
        self.next().is_multiple_of(count)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) ^ self.0 << 29
    }
}

/// Bytes of that dtype: special values, small ones, and any bits.
fn data(dtype: DType, count: usize, seed: u64) -> Vec<u64> {
    let mut random = Random(seed);
    let specials =
        [0.0, -0.0, 1.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.5, 1e30, -1e10, 3e-6, 65519.0, 255.5];
    let mut words = vec![0u64; (count * dtype.size()).div_ceil(8)];
    for i in 0..count {
        let (kind, any) = (random.next() % 4, random.next());
        let special = specials[any as usize % specials.len()];
        let small = (any % 2000) as f64 / 100.0 - 10.0;
        let float = if kind == 0 { special } else { small };
        let (low, high) = range(if dtype.is_float() { I64 } else { dtype });
        let integer = match kind {
            0 => [0, 1, -1, low, high, low + 1, 7, 31, 64][any as usize % 9],
            1 => i128::from(any % 70) - 5,
            _ => i128::from(any),
        };
        let bits = match dtype {
            _ if dtype.is_float() && kind == 1 => any,
            F16 => f16::from_f64(float).to_bits().into(),
            BF16 => bf16::from_f64(float).to_bits().into(),
            F32 => (float as f32).to_bits().into(),
            F64 => float.to_bits(),
            _ => wrap(integer, dtype).integer() as u64,
        };
        let (word, within) = (i * dtype.size() / 8, i * dtype.size() % 8);
        words[word] |= (bits & (u64::MAX >> (64 - evaluate::bits(dtype)))) << (8 * within);
    }
    words
}

fn run(tape: &Tape, inputs: &[(&[u64], Layout)], sizes: &[usize]) -> Vec<Vec<u64>> {
    let views: Vec<_> = inputs
        .iter()
        // SAFETY: the layouts of these tests stay within the words.
        .map(|(words, layout)| unsafe { View::new(words.as_ptr().cast(), size_of_val(*words), layout) })
        .collect();
    let layouts: Vec<_> = tape.outputs.iter().map(|output| Layout::dense(output.dtype, sizes)).collect();
    let mut results: Vec<_> = layouts.iter().map(|layout| vec![0x55u64; layout.bytes().div_ceil(8)]).collect();
    let mut targets: Vec<_> = results
        .iter_mut()
        .zip(&layouts)
        // SAFETY: as long as the layout says, and only reached through the target.
        .map(|(words, layout)| unsafe { Target::new(words.as_mut_ptr().cast(), layout) })
        .collect();
    tape.run(&views, &mut targets, &mut Work::new(&Watch::default(), &mut Cursor::default())).unwrap();
    results
}

/// Runs on dense inputs of one axis and compares each element with `expected`.
fn check(
    expression: &Expression,
    output: Register,
    inputs: &[DType],
    what: &str,
    expected: impl Fn(&[Scalar]) -> Scalar,
) {
    let tape = Tape::new(expression, inputs, &[output]);
    let words: Vec<_> = inputs.iter().enumerate().map(|(i, dtype)| data(*dtype, COUNT, 7 + i as u64)).collect();
    let views: Vec<_> = words.iter().zip(inputs).map(|(w, d)| (&w[..], Layout::dense(*d, &[COUNT]))).collect();
    let result = run(&tape, &views, &[COUNT]);
    let dtype = expression.dtype(output);
    for i in 0..COUNT {
        let operands: Vec<_> = words.iter().zip(inputs).map(|(w, d)| read(prefix(w, *d), *d, i)).collect();
        let (found, expected) = (read(prefix(&result[0], dtype), dtype, i), expected(&operands));
        assert!(found.is(expected), "{what} of {operands:?} is {expected:?}, not {found:?}");
    }
}

fn prefix(words: &[u64], dtype: DType) -> &[u8] {
    let bytes = as_bytes(words);
    &bytes[..bytes.len() / dtype.size() * dtype.size()]
}

const UNARY: [Unary; 32] = [
    Neg, Abs, Sqrt, Rsqrt, Exp, Expm1, Log, Log1p, Tanh, Sigmoid, Erf, ErfInv, Sin, Cos, Tan, Asin, Acos, Atan, Sinh,
    Cosh, Asinh, Acosh, Atanh, Log2, Log10, Exp2, Cbrt, Round, Floor, Ceil, Trunc, Not,
];
const BINARY: [Binary; 16] =
    [Add, Sub, Mul, Div, Remainder, FloorDivide, Pow, Atan2, Hypot, Max, Min, And, Or, Xor, ShiftLeft, ShiftRight];

fn unary_allows(op: Unary, dtype: DType) -> bool {
    match op {
        Neg | Abs => dtype != Bool,
        Not => !dtype.is_float(),
        _ => dtype.is_float(),
    }
}

fn binary_allows(op: Binary, dtype: DType) -> bool {
    match op {
        Add | Sub | Mul | Max | Min => true,
        Div | Remainder | FloorDivide | Pow => dtype != Bool,
        Atan2 | Hypot => dtype.is_float(),
        And | Or | Xor => !dtype.is_float(),
        ShiftLeft | ShiftRight => dtype.is_integer(),
    }
}

#[test]
fn instructions_give_what_one_element_gives() {
    let _settings = settings();
    for dtype in DType::ALL {
        for op in UNARY.into_iter().filter(|op| unary_allows(*op, dtype)) {
            let mut e = Expression::new();
            let x = e.input(0, dtype);
            let y = e.unary(op, x);
            check(&e, y, &[dtype], &format!("{op:?} {dtype}"), |x| unary(op, x[0], dtype));
        }
        for op in BINARY.into_iter().filter(|op| binary_allows(*op, dtype)) {
            let mut e = Expression::new();
            let (x, y) = (e.input(0, dtype), e.input(1, dtype));
            let z = e.binary(op, x, y);
            if op == Pow && dtype.is_integer() {
                let seven = e.constant(dtype, 7.0);
                let y = e.binary(And, y, seven);
                let z = e.binary(op, x, y);
                check(&e, z, &[dtype; 2], &format!("{op:?} {dtype}"), |x| {
                    binary(op, x[0], Integer(x[1].integer() & 7), dtype)
                });
                continue;
            }
            check(&e, z, &[dtype; 2], &format!("{op:?} {dtype}"), |x| binary(op, x[0], x[1], dtype));
        }
        for op in [Comparison::Equal, Comparison::NotEqual, Comparison::Less, Comparison::LessEqual] {
            let mut e = Expression::new();
            let (x, y) = (e.input(0, dtype), e.input(1, dtype));
            let z = e.compare(op, x, y);
            check(&e, z, &[dtype; 2], &format!("{op:?} {dtype}"), |x| compare(op, x[0], x[1]));
        }
        let mut e = Expression::new();
        let (c, x, y) = (e.input(0, Bool), e.input(1, dtype), e.input(2, dtype));
        let z = e.select(c, x, y);
        check(&e, z, &[Bool, dtype, dtype], "select", |x| if x[0].integer() != 0 { x[1] } else { x[2] });
    }
}

#[test]
fn two_instructions_give_what_one_element_gives() {
    let _settings = settings();
    let simple = [Add, Sub, Mul, Div, Max, Min];
    let cases = simple.into_iter().flat_map(|first| simple.map(|second| (first, second)));
    for (dtype, (first, second)) in [F16, F32, F64].into_iter().flat_map(|dtype| cases.clone().map(move |c| (dtype, c)))
    {
        for (is_left, other) in [(true, "y"), (false, "y"), (true, "2"), (false, "2"), (true, "x"), (false, "x")] {
            let mut e = Expression::new();
            let (x, y, two) = (e.input(0, dtype), e.input(1, dtype), e.constant(dtype, 2.0));
            let inner = e.binary(first, x, if other == "x" { two } else { y });
            let z = match other {
                "x" => x,
                "y" => y,
                _ => two,
            };
            let output = if is_left { e.binary(second, inner, z) } else { e.binary(second, z, inner) };
            check(&e, output, &[dtype; 2], &format!("{second:?} {is_left} {other} of {first:?} {dtype}"), |values| {
                let inner = binary(first, values[0], if other == "x" { Float(2.0) } else { values[1] }, dtype);
                let z = match other {
                    "x" => values[0],
                    "y" => values[1],
                    _ => Float(2.0),
                };
                if is_left { binary(second, inner, z, dtype) } else { binary(second, z, inner, dtype) }
            });
        }
    }
}

#[test]
fn simple_instructions_share_loops_where_nothing_else_reads_the_first() {
    let loops = |read_twice: bool| {
        let mut e = Expression::new();
        let (x, y) = (e.input(0, F32), e.input(1, F32));
        let sum = e.binary(Add, x, y);
        let product = e.binary(Mul, sum, if read_twice { sum } else { x });
        let difference = e.binary(Sub, y, product);
        let output = e.binary(Max, difference, y);
        Tape::new(&e, &[F32, F32], &[output]).code.len()
    };
    // The sum and the product, the difference and the maximum; or the sum, the product and the difference, the maximum.
    assert_eq!((loops(false), loops(true)), (2, 3));
}

#[test]
fn integer_powers_of_negative_exponents_are_whole_parts() {
    for (x, y, expected) in [(2, -1, 0), (1, -3, 1), (-1, -3, -1), (-1, -4, 1), (0, -1, 0), (0, 0, 1), (-2, 3, -8)] {
        let mut e = Expression::new();
        let (x, y) = (e.constant(I32, f64::from(x)), e.constant(I32, f64::from(y)));
        let z = e.binary(Pow, x, y);
        let result = run(&Tape::new(&e, &[], &[z]), &[], &[1]);
        assert!(read(prefix(&result[0], I32), I32, 0).is(Integer(expected)));
    }
}

#[test]
fn casts_saturate_from_floats_and_wrap_from_integers() {
    let _settings = settings();
    for from in DType::ALL {
        for to in DType::ALL {
            let mut e = Expression::new();
            let x = e.input(0, from);
            let y = e.cast(to, x);
            check(&e, y, &[from], &format!("cast {from} to {to}"), |x| cast(from, to, x[0]));
        }
    }
}

#[test]
fn bitcasts_keep_the_bits() {
    let pairs = DType::ALL.into_iter().flat_map(|from| DType::ALL.map(|to| (from, to)));
    for (from, to) in pairs.filter(|(from, to)| from.size() == to.size() && *from != Bool && *to != Bool) {
        let mut e = Expression::new();
        let x = e.input(0, from);
        let y = e.bitcast(to, x);
        let words = data(from, COUNT, 3);
        let result = run(&Tape::new(&e, &[from], &[y]), &[(&words, Layout::dense(from, &[COUNT]))], &[COUNT]);
        for i in 0..COUNT {
            let (x, expected) = (read(prefix(&words, from), from, i), read(prefix(&words, to), to, i));
            let is_nan = [x, expected].iter().any(|x| matches!(x, Float(x) if x.is_nan()));
            let found = read(prefix(&result[0], to), to, i);
            assert!(found.is(expected) || is_nan, "{from} {x:?} as {to} is {expected:?}, not {found:?}");
        }
    }
}

#[test]
fn half_conversions_are_those_of_the_half_crate() {
    let mut e = Expression::new();
    let x = e.input(0, F32);
    let outputs = [e.cast(F16, x), e.cast(BF16, x)];
    let mut random = Random(5);
    let words: Vec<u64> = (0..200_000).map(|_| random.next()).collect();
    let count = 2 * words.len();
    let tape = Tape::new(&e, &[F32], &outputs);
    let result = run(&tape, &[(&words, Layout::dense(F32, &[count]))], &[count]);
    for (i, x) in cast_slice::<f32>(as_bytes(&words)).iter().enumerate() {
        let found = [read(as_bytes(&result[0]), F16, i), read(as_bytes(&result[1]), BF16, i)];
        let expected = [f16::from_f32(*x).to_f64(), bf16::from_f32(*x).to_f64()];
        assert!(found[0].is(Float(expected[0])) && found[1].is(Float(expected[1])), "{x:e}: {found:?} {expected:?}");
    }
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let words: Vec<u64> = all.chunks(4).map(|c| (0..4).fold(0, |w, i| w | u64::from(c[i]) << (16 * i))).collect();
    for dtype in [F16, BF16] {
        let mut e = Expression::new();
        let x = e.input(0, dtype);
        let y = e.cast(F32, x);
        let tape = Tape::new(&e, &[dtype], &[y]);
        let result = run(&tape, &[(&words, Layout::dense(dtype, &[65536]))], &[65536]);
        for i in 0..65536 {
            assert!(read(as_bytes(&result[0]), F32, i).is(read(as_bytes(&words), dtype, i)), "{dtype} {i:x}");
        }
    }
}

/// The offset of an output's element in an input that broadcasts to it.
fn offset(layout: &Layout, sizes: &[usize], mut index: usize) -> usize {
    let mut at = layout.offset as isize;
    for (axis, size) in sizes.iter().enumerate().rev() {
        let position = (index % size) as isize;
        index /= size;
        if let Some(own) = (axis + layout.sizes.len()).checked_sub(sizes.len())
            && layout.sizes[own] == *size
        {
            at += position * layout.strides[own];
        }
    }
    at as usize
}

/// A random layout of `sizes`: broadcast, permuted, cut out of something larger, or turned around.
fn random_layout(random: &mut Random, dtype: DType, sizes: &[usize]) -> Layout {
    let cut = (random.next() as usize) % (sizes.len() + 1);
    let broadcast = random.one_in(3);
    let cut = if random.one_in(3) { cut } else { 0 };
    let mut own: Vec<usize> = sizes[cut..].to_vec();
    for size in &mut own {
        if broadcast && random.one_in(2) {
            *size = 1;
        }
    }
    let mut order: Vec<usize> = (0..own.len()).collect();
    if random.one_in(2) {
        for i in (1..order.len()).rev() {
            order.swap(i, random.next() as usize % (i + 1));
        }
    }
    let slack = if random.one_in(2) { 0 } else { 2 };
    let memory: Vec<usize> = order.iter().map(|axis| own[*axis] + slack).collect();
    let dense = dense_strides(&memory);
    let mut layout = Layout { dtype, sizes: own.as_slice().into(), strides: vec![0; own.len()].into(), offset: 0 };
    for (axis, stride) in order.iter().zip(dense) {
        let (size, start) = (own[*axis], slack / 2);
        let turned = size > 0 && random.one_in(4);
        layout.offset += (if turned { start + size - 1 } else { start }) * stride as usize;
        layout.strides[*axis] = if turned { -stride } else { stride };
        if size > 0 && random.one_in(8) {
            layout.strides[*axis] = 0;
        }
    }
    layout
}

#[test]
fn any_layout_that_broadcasts_is_read() {
    let _settings = settings();
    let mut random = Random(11);
    let shapes: [&[usize]; 15] = [
        &[],
        &[1],
        &[5],
        &[0, 3],
        &[7, 0],
        &[2, 3],
        &[1, 4, 1],
        &[17, 65],
        &[3, 5, 7],
        &[2, 3, 4, 5],
        &[40, 30, 3],
        &[3, 1100],
        &[1100, 3],
        &[300, 8],
        &[9, 1, 8, 130],
    ];
    for round in 0..40 {
        for sizes in shapes {
            let dtype = DType::ALL[(random.next() % 13) as usize];
            let layouts = [0; 3].map(|_| random_layout(&mut random, dtype, sizes));
            let words = [1, 2, 3].map(|seed| data(dtype, 60_000, seed));
            let mut e = Expression::new();
            let x = [0, 1, 2].map(|i| e.input(i, dtype));
            let low = e.binary(Min, x[0], x[1]);
            let y = e.binary(Max, low, x[2]);
            let inputs: Vec<_> = words.iter().zip(&layouts).map(|(w, l)| (&w[..], l.clone())).collect();
            let result = run(&Tape::new(&e, &[dtype; 3], &[y]), &inputs, sizes);
            for i in 0..sizes.iter().product() {
                let x = [0, 1, 2].map(|k| read(prefix(&words[k], dtype), dtype, offset(&layouts[k], sizes, i)));
                let expected = binary(Max, binary(Min, x[0], x[1], dtype), x[2], dtype);
                let found = read(prefix(&result[0], dtype), dtype, i);
                assert!(found.is(expected), "round {round}, {sizes:?}, {layouts:?}, element {i} of {dtype}");
            }
        }
    }
}

/// An expression with many registers, constants, casts and several outputs, on one f32 and one i16 input.
fn long_expression() -> (Expression, Vec<Register>) {
    let mut e = Expression::new();
    let (x, n) = (e.input(0, F32), e.input(1, I16));
    let mut kept = Vec::new();
    for i in 0..40 {
        let c = e.constant(F32, f64::from(i) * 0.37 - 3.0);
        let y = e.binary(Mul, x, c);
        kept.push(if i % 3 == 0 { e.unary(Exp, y) } else { e.unary(Tanh, y) });
    }
    let sum = kept.iter().copied().reduce(|a, b| e.binary(Add, a, b)).unwrap();
    let half = e.cast(F16, sum);
    let shifted = e.binary(Mul, n, n);
    let less = e.compare(Comparison::Less, x, sum);
    let chosen = e.select(less, sum, x);
    let unused = e.unary(Neg, chosen);
    let _ = e.binary(Add, unused, sum);
    (e, vec![chosen, half, shifted, less, x, x, sum])
}

#[test]
fn threads_and_instruction_sets_do_not_change_a_bit() {
    let _settings = settings();
    let (e, outputs) = long_expression();
    let tape = Tape::new(&e, &[F32, I16], &outputs);
    let count = 50_021;
    let mut random = Random(2);
    let x: Vec<f32> = (0..count + 1).map(|_| (random.next() % 4001) as f32 / 1000.0 - 2.0).collect();
    let x: Vec<u64> = x.chunks(2).map(|c| u64::from(c[0].to_bits()) | u64::from(c[1].to_bits()) << 32).collect();
    let n = data(I16, count, 9);
    let inputs = [(&x[..], Layout::dense(F32, &[count])), (&n[..], Layout::dense(I16, &[count]))];
    let best = isa();
    let mut first: Option<Vec<Vec<u64>>> = None;
    for isa in [Isa::Base, Isa::Avx2, Isa::Avx512] {
        set_isa(isa);
        for threads in [1, 2, 7] {
            set_num_threads(threads);
            let result = run(&tape, &inputs, &[count]);
            assert!(*first.get_or_insert_with(|| result.clone()) == result, "{isa:?}, {threads} threads");
        }
    }
    set_isa(best);
    set_num_threads(0);
}

#[test]
fn instructions_have_the_same_bits_in_every_instruction_set() {
    let _settings = settings();
    let best = isa();
    for set in [Isa::Base, Isa::Avx2] {
        for dtype in [F32, F64, F16, I32, I8, U64, Bool] {
            let words = [1, 2].map(|seed| data(dtype, COUNT, seed));
            let mut e = Expression::new();
            let (x, y) = (e.input(0, dtype), e.input(1, dtype));
            let mut outputs: Vec<_> =
                UNARY.into_iter().filter(|op| unary_allows(*op, dtype)).map(|op| e.unary(op, x)).collect();
            for op in BINARY.into_iter().filter(|op| binary_allows(*op, dtype)) {
                outputs.push(e.binary(op, x, y));
            }
            outputs.extend(DType::ALL.map(|to| e.cast(to, x)));
            let tape = Tape::new(&e, &[dtype; 2], &outputs);
            let inputs: Vec<_> = words.iter().map(|w| (&w[..], Layout::dense(dtype, &[COUNT]))).collect();
            set_isa(set);
            let base = run(&tape, &inputs, &[COUNT]);
            set_isa(best);
            let fast = run(&tape, &inputs, &[COUNT]);
            for (k, register) in outputs.iter().enumerate() {
                let dtype = e.dtype(*register);
                for i in 0..COUNT {
                    let (a, b) = (read(prefix(&base[k], dtype), dtype, i), read(prefix(&fast[k], dtype), dtype, i));
                    assert!(a.is(b), "{set:?} {:?} {dtype}: {a:?} {b:?}", e.steps()[*register as usize]);
                }
            }
        }
    }
}

#[test]
fn outputs_may_lie_in_the_memory_of_dense_inputs() {
    let _settings = settings();
    for count in [1, 8, 1000, 70_001] {
        let mut e = Expression::new();
        let (x, y) = (e.input(0, F32), e.input(1, F32));
        let sum = e.binary(Add, x, y);
        let bits = e.bitcast(I32, sum);
        let tape = Tape::new(&e, &[F32, F32], &[y, sum, bits]);
        let layouts = [F32, F32, I32].map(|dtype| Layout::dense(dtype, &[count]));
        let mut x: Vec<f32> = (0..count).map(|i| i as f32).collect();
        let mut y: Vec<f32> = (0..count).map(|i| 0.5 - i as f32 * 3.0).collect();
        let mut third = vec![0i32; count];
        let (before_x, before_y) = (x.clone(), y.clone());
        let [x_data, y_data, z_data]: [*mut u8; 3] =
            [x.as_mut_ptr().cast(), y.as_mut_ptr().cast(), third.as_mut_ptr().cast()];
        // SAFETY: two outputs lie in the memory of the inputs, as `run` allows.
        unsafe {
            let views = [View::new(x_data, 4 * count, &layouts[0]), View::new(y_data, 4 * count, &layouts[1])];
            let mut targets =
                [(x_data, 0), (y_data, 1), (z_data, 2)].map(|(data, layout)| Target::new(data, &layouts[layout]));
            tape.run(&views, &mut targets, &mut Work::new(&Watch::default(), &mut Cursor::default())).unwrap();
        }
        for i in 0..count {
            let sum = before_x[i] + before_y[i];
            assert_eq!((x[i], y[i], third[i]), (before_y[i], sum, sum.to_bits() as i32));
        }
    }
}

#[test]
fn what_no_output_needs_is_not_compiled_and_results_share_tiles() {
    let (e, outputs) = long_expression();
    let needed = Tape::new(&e, &[F32, I16], &outputs);
    let is_unused = |step: &Step| matches!(step.instruction, Instruction::Unary(Neg, _));
    assert!(e.steps().iter().any(is_unused));
    let mut chain = Expression::new();
    let x = chain.input(0, F32);
    let last = (0..100).fold(x, |x, _| chain.unary(Neg, x));
    let tape = Tape::new(&chain, &[F32], &[last]);
    assert_eq!((tape.code.len(), tape.places.len()), (100, 4), "an input, two that alternate, and the output");
    let one = Tape::new(&e, &[F32, I16], &[e.steps().len() as Register - 1]);
    assert!(needed.code.len() > 80 && one.code.len() > 80);
    assert_eq!(Tape::new(&chain, &[F32], &[x]).code.len(), 1, "a copy");
}

#[test]
fn many_inputs_and_outputs_are_read_and_written() {
    let _settings = settings();
    let mut e = Expression::new();
    let inputs: Vec<_> = (0..40).map(|i| e.input(i, U8)).collect();
    let outputs: Vec<_> = inputs.windows(2).map(|pair| e.binary(Add, pair[0], pair[1])).collect();
    let tape = Tape::new(&e, &[U8; 40], &outputs);
    let sizes = [6, 50, 4];
    let layout = Layout { dtype: U8, sizes: sizes[..].into(), strides: vec![1, 24, 6].into(), offset: 0 };
    let words: Vec<_> = (0..40).map(|seed| data(U8, 1200, seed)).collect();
    let views: Vec<_> = words.iter().map(|words| (&words[..], layout.clone())).collect();
    let results = run(&tape, &views, &sizes);
    for (k, result) in results.iter().enumerate() {
        for i in 0..1200 {
            let [x, y] = [k, k + 1].map(|k| read(as_bytes(&words[k]), U8, offset(&layout, &sizes, i)));
            assert!(read(as_bytes(result), U8, i).is(binary(Add, x, y, U8)));
        }
    }
}

#[test]
fn paused_run_goes_on_where_it_was() {
    let _settings = settings();
    let mut e = Expression::new();
    let (x, one) = (e.input(0, F32), e.constant(F32, 1.0));
    let y = e.binary(Add, x, one);
    let tape = Tape::new(&e, &[F32], &[y]);
    let count = 4 * tape.task + 5;
    let layout = Layout::dense(F32, &[count]);
    let mut x = vec![2.0f32; count];
    let data: *mut u8 = x.as_mut_ptr().cast();
    let watch = Watch { pause: 0.0, ..Watch::default() };
    let mut cursor = Cursor::default();
    let mut calls = 0;
    loop {
        calls += 1;
        // SAFETY: in place, as `run` allows.
        let (view, target) = unsafe { (View::new(data, 4 * count, &layout), Target::new(data, &layout)) };
        match tape.run(&[view], &mut [target], &mut Work::new(&watch, &mut cursor)) {
            Ok(()) => break,
            Err(stop) => assert_eq!(stop, Stop::Paused),
        }
    }
    assert!(calls > 1);
    assert!(x.iter().all(|x| *x == 3.0));
}

#[test]
fn random_words_are_those_of_the_elements_numbers() {
    let _settings = settings();
    let mut e = Expression::new();
    // The first input is a key and, broadcast, an operand; the second key lies backwards.
    let (own, x) = (e.input(0, U32), e.input(2, I8));
    let (narrow, wide, other) = (e.random(0, U32), e.random(0, U64), e.random(1, U32));
    let mixed = e.binary(Xor, narrow, other);
    let mixed = e.binary(Add, mixed, own);
    let long = e.cast(I64, x);
    let signed = e.cast(I64, wide);
    let least = e.binary(Min, signed, long);
    let tape = Tape::new(&e, &[U32, U32, I8], &[narrow, mixed, wide, least, other]);
    let keys = [0x0000_002a_dead_beef_u64, 0xffff_fff0];
    let key = |number: usize, flipped: bool| {
        let [low, high] = [keys[number] as u32, (keys[number] >> 32) as u32];
        if flipped { [high, low] } else { [low, high] }
    };
    let layouts = [
        Layout::dense(U32, &[2]),
        Layout { dtype: U32, sizes: [2][..].into(), strides: [-1][..].into(), offset: 1 },
        Layout { dtype: I8, sizes: [1, 2][..].into(), strides: [0, 3][..].into(), offset: 1 },
    ];
    let numbers = data(I8, 5, 3);
    let inputs =
        [(&keys[..1], layouts[0].clone()), (&keys[1..], layouts[1].clone()), (&numbers[..], layouts[2].clone())];
    for rows in [0, 1, tape.tile / 2 - 1, tape.tile / 2, tape.tile / 2 + 1, tape.task + 3] {
        for threads in [1, 2, 7] {
            set_num_threads(threads);
            let result = run(&tape, &inputs, &[rows, 2]);
            for i in 0..2 * rows {
                let [[a, b], [c, d]] = [threefry(key(0, false), i as u64), threefry(key(1, true), i as u64)];
                let wide = u64::from(a) << 32 | u64::from(b);
                let x = read(as_bytes(&numbers), I8, 1 + 3 * (i % 2)).integer();
                let least = i128::from(wide as i64).min(x);
                let mixed = (a ^ b ^ c ^ d).wrapping_add(key(0, false)[i % 2]);
                let at = |output: usize, dtype| read(prefix(&result[output], dtype), dtype, i).integer();
                let found = [at(0, U32), at(1, U32), at(2, U64), at(3, I64), at(4, U32)];
                let expected = [(a ^ b).into(), mixed.into(), wide.into(), least, (c ^ d).into()];
                assert_eq!(found, expected, "element {i} of {rows} rows with {threads} threads");
            }
        }
    }
    set_num_threads(0);
}
