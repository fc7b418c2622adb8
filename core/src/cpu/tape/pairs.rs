//! Two instructions in one loop: what the first gives stays in a vector register. Most of the time of simple instructions
//! goes by on the way to the cache and back.

use super::loops::{Add, Loop, Map2, Max, Mul, Operand, Sub, part};
use crate::cpu::simd::simd;
use crate::dtype::DType;
use crate::scalar::{Binary, Expression, Instruction, Register};
use smallvec::SmallVec;

/// A second instruction, which the loop of a pair computes with the first.
#[derive(Debug, Clone, Copy)]
struct Pair {
    run: Loop,
    first: Register,
    /// The other operand of the second.
    other: Register,
}

/// The instructions of an expression that share a loop.
pub struct Pairs(Vec<Option<Pair>>);

impl Pairs {
    /// Pairs instructions that `outputs` need, from the front: the first of a pair is read by the second alone.
    pub fn new(expression: &Expression, outputs: &[Register]) -> Pairs {
        let steps = expression.steps();
        let mut readers = vec![0usize; steps.len()];
        outputs.iter().for_each(|&register| readers[register as usize] += 1);
        for (position, step) in steps.iter().enumerate().rev() {
            if readers[position] > 0 {
                step.instruction.operands().for_each(|register| readers[register as usize] += 1);
            }
        }
        let mut pairs: Vec<Option<Pair>> = vec![None; steps.len()];
        for (position, step) in steps.iter().enumerate() {
            let Instruction::Binary(op, x, y) = step.instruction else { continue };
            let pair = |first: Register, other: Register, is_left: bool| {
                let Instruction::Binary(before, ..) = steps[first as usize].instruction else { return None };
                let is_alone = readers[first as usize] == 1 && pairs[first as usize].is_none();
                let run = is_alone.then(|| find(before, op, is_left, step.dtype)).flatten()?;
                Some(Pair { run, first, other })
            };
            pairs[position] = pair(x, y, true).or_else(|| pair(y, x, false));
        }
        Pairs(pairs)
    }

    /// The loop of the pair whose second instruction it is.
    pub fn run(&self, position: usize) -> Option<Loop> {
        self.0[position].map(|pair| pair.run)
    }

    /// What the loop of an instruction reads: for the second of a pair, the operands of the first and its own other one.
    pub fn operands(&self, expression: &Expression, position: usize) -> SmallVec<[Register; 3]> {
        let of = |position: usize| expression.steps()[position].instruction.operands();
        match self.0[position] {
            Some(pair) => of(pair.first as usize).chain([pair.other]).collect(),
            None => of(position).collect(),
        }
    }
}

/// A function of three values.
trait Map3<X>: Copy + Default {
    fn apply(self, x: X, y: X, z: X) -> X;
}

/// G(F(x, y), z).
#[derive(Clone, Copy, Default)]
struct Left<F, G>(F, G);

impl<X, F: Map2<X, X>, G: Map2<X, X>> Map3<X> for Left<F, G> {
    #[inline(always)]
    fn apply(self, x: X, y: X, z: X) -> X {
        self.1.apply(self.0.apply(x, y), z)
    }
}

/// G(z, F(x, y)).
#[derive(Clone, Copy, Default)]
struct Right<F, G>(F, G);

impl<X, F: Map2<X, X>, G: Map2<X, X>> Map3<X> for Right<F, G> {
    #[inline(always)]
    fn apply(self, x: X, y: X, z: X) -> X {
        self.1.apply(z, self.0.apply(x, y))
    }
}

simd! {
    fn map3<X: Copy, F: Map3<X>>(out: &mut [X], x: &[X], y: &[X], z: &[X], f: F) {
        let block = out.len().min(x.len()).min(y.len()).min(z.len()).max(1);
        for (i, out) in out.chunks_mut(block).enumerate() {
            let (start, len) = (i * block, out.len());
            let (x, y, z) = (part(x, start, len), part(y, start, len), part(z, start, len));
            for (((out, x), y), z) in out.iter_mut().zip(x).zip(y).zip(z) {
                *out = f.apply(*x, *y, *z);
            }
        }
    }
}

unsafe fn run3<X: Copy, F: Map3<X>>(out: *mut u8, operands: [Operand; 3], count: usize) {
    let [x, y, z] = operands;
    // SAFETY: the promise of `Loop`.
    unsafe {
        let out = std::slice::from_raw_parts_mut(out.cast(), count);
        map3(out, x.slice(count), y.slice(count), z.slice(count), F::default());
    }
}

/// The loop of `first` and of `second`, whose left or right operand it is. `None`: they have none, and run one by one.
fn find(first: Binary, second: Binary, is_left: bool, dtype: DType) -> Option<Loop> {
    match (dtype, first) {
        (DType::F32, Binary::Add) => find_second::<Add>(second, is_left),
        (DType::F32, Binary::Sub) => find_second::<Sub>(second, is_left),
        (DType::F32, Binary::Mul) => find_second::<Mul>(second, is_left),
        _ => None,
    }
}

fn find_second<F: Map2<f32, f32>>(second: Binary, is_left: bool) -> Option<Loop> {
    match (second, is_left) {
        (Binary::Add, _) => Some(run3::<f32, Left<F, Add>>),
        (Binary::Mul, _) => Some(run3::<f32, Left<F, Mul>>),
        (Binary::Sub, true) => Some(run3::<f32, Left<F, Sub>>),
        (Binary::Sub, false) => Some(run3::<f32, Right<F, Sub>>),
        (Binary::Max, true) => Some(run3::<f32, Left<F, Max>>),
        (Binary::Max, false) => Some(run3::<f32, Right<F, Max>>),
        _ => None,
    }
}
