//! Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC'11).
//! A word depends on the key and its own number alone, so any split of the work gives the same words.

use super::call::Shared;
use super::simd::simd;
use super::work::{Stop, Work};
use std::mem::MaybeUninit;

/// Words that a task makes.
const TASK: usize = 32 << 10;

/// The two words that `key` makes of the counter `high * 2^32 + low`.
#[inline(always)]
fn cipher(key: [u32; 2], high: u32, low: u32) -> [u32; 2] {
    let keys = [key[0], key[1], key[0] ^ key[1] ^ 0x1bd1_1bda];
    let (mut a, mut b) = (high.wrapping_add(keys[0]), low.wrapping_add(keys[1]));
    // Written out, so that a loop over counters has no inner loop and becomes vector instructions.
    macro_rules! rounds {
        ($($group:literal: $($rotation:literal),*;)*) => { $(
            $(
                a = a.wrapping_add(b);
                b = b.rotate_left($rotation) ^ a;
            )*
            a = a.wrapping_add(keys[$group % 3]);
            b = b.wrapping_add(keys[($group + 1) % 3].wrapping_add($group));
        )* };
    }
    rounds! {
        1: 13, 15, 26, 6;
        2: 17, 29, 16, 24;
        3: 13, 15, 26, 6;
        4: 17, 29, 16, 24;
        5: 13, 15, 26, 6;
    }
    [a, b]
}

/// The two words that `key` makes of a 64-bit counter.
pub fn threefry(key: [u32; 2], counter: u64) -> [u32; 2] {
    cipher(key, (counter >> 32) as u32, counter as u32)
}

/// What the two words of a counter become.
pub trait Word: crate::dtype::Element {
    /// That word.
    fn of(a: u32, b: u32) -> Self;
}

impl Word for u32 {
    #[inline(always)]
    fn of(a: u32, b: u32) -> u32 {
        a ^ b
    }
}

impl Word for u64 {
    #[inline(always)]
    fn of(a: u32, b: u32) -> u64 {
        u64::from(a) << 32 | u64::from(b)
    }
}

simd! {
    /// The words of the counters from `high * 2^32 + low` on, whose upper halves are all `high`.
    fn fill<T: Word>(key: [u32; 2], high: u32, low: u32, output: &mut [MaybeUninit<T>]) {
        for (index, output) in output.iter_mut().enumerate() {
            let [a, b] = cipher(key, high, low.wrapping_add(index as u32));
            output.write(T::of(a, b));
        }
    }
}

/// The words of the counters from `start` on.
pub fn words<T: Word>(key: [u32; 2], start: u64, output: &mut [MaybeUninit<T>]) {
    let (high, low) = ((start >> 32) as u32, start as u32);
    let same = ((1u64 << 32) - u64::from(low)).min(output.len() as u64);
    let (same, next) = output.split_at_mut(same as usize);
    fill(key, high, low, same);
    if !next.is_empty() {
        fill(key, high.wrapping_add(1), 0, next);
    }
}

/// Random words: that of counter i in element i.
pub fn bits<T: Word>(work: &mut Work, key: [u32; 2], output: &mut [T]) -> Result<(), Stop> {
    let len = output.len();
    let output = Shared::new(output);
    work.parallel(len.div_ceil(TASK), |task| {
        let start = task * TASK;
        // SAFETY: every task has its own range, and what is written to it are words.
        let output = unsafe { &mut *(std::ptr::from_mut(output.range(start, start + TASK)) as *mut [MaybeUninit<T>]) };
        words(key, start as u64, output);
    })
}

/// Keys: the two words of counter i in row i.
pub fn split(work: &mut Work, key: [u32; 2], output: &mut [u32]) -> Result<(), Stop> {
    super::copy::generate(work, output, |number| threefry(key, (number / 2) as u64)[number % 2])
}

/// A double word, `high * 2^BITS + low`, modulo a number above 0.
pub trait Modulo: Word {
    /// What is left of it.
    fn modulo(high: Self, low: Self, span: u64) -> u64;
}

impl Modulo for u32 {
    #[inline(always)]
    fn modulo(high: u32, low: u32, span: u64) -> u64 {
        (u64::from(high) << 32 | u64::from(low)) % span
    }
}

impl Modulo for u64 {
    #[inline(always)]
    fn modulo(high: u64, low: u64, span: u64) -> u64 {
        match span {
            // 2^64 mod span: what follows stays below 2^64, and needs no division of 128 bits.
            ..=0xffff_ffff => {
                let factor = (u64::MAX % span + 1) % span;
                ((high % span) * factor + low % span) % span
            }
            _ => ((u128::from(high) << 64 | u128::from(low)) % u128::from(span)) as u64,
        }
    }
}

/// What `integer` makes of numbers below `span`, each by the words that two keys of `key` make of its place.
pub fn integers<W: Modulo, T: crate::dtype::Element>(
    work: &mut Work,
    key: [u32; 2],
    span: u64,
    output: &mut [T],
    integer: impl Fn(u64) -> T + Sync,
) -> Result<(), Stop> {
    let (first, second) = (threefry(key, 0), threefry(key, 1));
    let word = |key, number: usize| {
        let [a, b] = threefry(key, number as u64);
        W::of(a, b)
    };
    super::copy::generate(work, output, |number| integer(W::modulo(word(first, number), word(second, number), span)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::threads::{set_num_threads, settings};
    use crate::cpu::work::{Cursor, Watch};

    const KEY: [u32; 2] = [7, 42];

    fn run<T: Word>(len: usize, kernel: impl Fn(&mut Work, &mut [T]) -> Result<(), Stop>) -> Vec<T> {
        let mut output = vec![T::default(); len];
        let (watch, mut cursor) = (Watch { pause: 0.0, ..Watch::default() }, Cursor::default());
        while kernel(&mut Work::new(&watch, &mut cursor), &mut output).is_err() {}
        output
    }

    #[test]
    fn words_and_keys_are_those_of_jax() {
        let words = [
            1608166506, 2351936236, 3787152164, 3901638075, 3217246524, 1051207585, 153241657, 2976582311, 2065459382,
            1426247038,
        ];
        assert_eq!(run::<u32>(10, |work, output| bits(work, KEY, output)), words);
        let keys = [2384124607, 3519051477, 4044586155, 2101136967, 2168514899, 1627107959];
        assert_eq!(run::<u32>(6, |work, output| split(work, KEY, output)), keys);
        assert_eq!(threefry(KEY, 2), [2168514899, 1627107959]);
    }

    #[test]
    fn every_word_depends_on_its_number_alone_with_any_number_of_threads() {
        let _settings = settings();
        for threads in [1, 2, 7] {
            set_num_threads(threads);
            let narrow = run::<u32>(100_003, |work, output| bits(work, KEY, output));
            let wide = run::<u64>(100_003, |work, output| bits(work, KEY, output));
            for number in [0, 1, 15, 16, 17, 32_767, 32_768, 70_001, 100_002] {
                let [a, b] = threefry(KEY, number as u64);
                assert_eq!((narrow[number], wide[number]), (a ^ b, u64::from(a) << 32 | u64::from(b)));
            }
        }
        set_num_threads(0);
    }

    #[test]
    fn a_double_word_is_divided_whole() {
        let words = [0, 1, 5, 0x8000_0000, 0xffff_fffe, 0xffff_ffff, 0xdead_beef_1234_5678, u64::MAX];
        for span in [1, 2, 3, 10, 65_536, 65_537, 0x7fff_ffff, 0xffff_ffff, 1 << 32, (1 << 32) + 1, u64::MAX] {
            for (high, low) in words.iter().flat_map(|&high| words.map(|low| (high, low))) {
                let exact = (u128::from(high) << 64 | u128::from(low)) % u128::from(span);
                assert_eq!(u128::from(u64::modulo(high, low, span)), exact, "{high} {low} % {span}");
                let (high, low) = (high as u32, low as u32);
                let exact = (u64::from(high) << 32 | u64::from(low)) % span;
                assert_eq!(u32::modulo(high, low, span), exact, "{high} {low} % {span}");
            }
        }
    }

    #[test]
    fn counters_have_64_bits() {
        for start in [5, (3 << 32) + 5, (4 << 32) - 17, (4 << 32) - 40, (4 << 32) - 1, 4 << 32, u64::MAX - 39] {
            let mut output = [MaybeUninit::new(0u32); 40];
            words(KEY, start, &mut output);
            for (i, word) in output.iter().enumerate() {
                let [a, b] = threefry(KEY, start + i as u64);
                // SAFETY: it began as 0.
                assert_eq!(unsafe { word.assume_init() }, a ^ b, "{start} + {i}");
            }
        }
        assert_ne!(threefry(KEY, 5), threefry(KEY, (3 << 32) + 5));
    }
}
