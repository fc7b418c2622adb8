//! Stable sorting along an axis, or of its first elements alone: runs are sorted, then merged in passes.
//!
//! Elements become keys: unsigned integers in their order, inverted if that is descending. NaN is the greatest element.
//! A merge is cut by finding, for a place in its result, how many elements of each side come before it, so one long
//! axis is shared among tasks too.

use super::call::Shared;
use super::memory::cast_slice_mut;
use super::recurrence::Extent;
use super::work::{Stop, Work};
use crate::dtype::{DType, Element};
use std::hint::select_unpredictable;

/// Elements that are sorted by one task; from [`SHORT`] by an even number of doublings.
const RUN: usize = 1024;
/// Elements that are sorted by insertion.
const SHORT: usize = 16;
/// How many times longer a run is than what is wanted of it, if that is selected without sorting the run.
const FEW: usize = 16;
/// Elements that a task moves, about.
const TASK: usize = 32 << 10;

/// The bits of an element, as an unsigned integer of its width.
pub trait Key: Element + Ord {
    /// 1 in the place of the sign. As a key of a float it is 0, and the key before it is -0.
    const SIGN: Self;
    /// The key of the bits of an element.
    fn encode(self, order: Order) -> Self;
    /// The bits of the element that has this key.
    fn decode(self, order: Order) -> Self;
    /// The key before, at 0 the last.
    fn before(self) -> Self;
}

/// How bits are compared.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    kind: Kind,
    descending: bool,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Unsigned,
    Signed,
    /// With the bits of infinity.
    Float(u64),
}

impl Order {
    /// The order of a dtype's elements.
    pub fn new(dtype: DType, descending: bool) -> Order {
        let kind = match dtype {
            DType::F16 => Kind::Float(0x7c00),
            DType::BF16 => Kind::Float(0x7f80),
            DType::F32 => Kind::Float(0x7f80_0000),
            DType::F64 => Kind::Float(0x7ff0_0000_0000_0000),
            dtype if dtype.is_signed() => Kind::Signed,
            _ => Kind::Unsigned,
        };
        Order { kind, descending }
    }
}

macro_rules! keys {
    ($($type:ty),*) => { $(impl Key for $type {
        const SIGN: $type = 1 << (<$type>::BITS - 1);
        #[inline(always)]
        fn encode(self, order: Order) -> $type {
            let key = match order.kind {
                Kind::Unsigned => self,
                Kind::Signed => self ^ Self::SIGN,
                Kind::Float(infinity) if self & !Self::SIGN > infinity as $type => <$type>::MAX,
                Kind::Float(_) if self & Self::SIGN != 0 => !self,
                Kind::Float(_) => self | Self::SIGN,
            };
            if order.descending { !key } else { key }
        }
        #[inline(always)]
        fn decode(self, order: Order) -> $type {
            let key = if order.descending { !self } else { self };
            match order.kind {
                Kind::Unsigned => key,
                Kind::Signed => key ^ Self::SIGN,
                // The quiet NaN without a payload.
                Kind::Float(infinity) if key == <$type>::MAX => {
                    let infinity = infinity as $type;
                    infinity | (infinity & infinity.wrapping_neg()) >> 1
                }
                Kind::Float(_) if key & Self::SIGN == 0 => !key,
                Kind::Float(_) => key & !Self::SIGN,
            }
        }
        #[inline(always)]
        fn before(self) -> $type {
            self.wrapping_sub(1)
        }
    })* };
}

keys!(u8, u16, u32, u64);

/// Whether a key must come before another. The two zeros of floats, whose keys differ by one in either direction, are
/// equal.
#[inline(always)]
fn less<K: Key, const FLOAT: bool>(left: K, right: K) -> bool {
    left < right && !(FLOAT && right == K::SIGN && left == K::SIGN.before())
}

/// Keys in order, and where each was; without numbers if they are not asked for.
#[derive(Clone, Copy)]
struct Run<'a, K> {
    keys: &'a [K],
    numbers: &'a [i64],
}

impl<'a, K: Key> Run<'a, K> {
    fn part(self, start: usize, end: usize) -> Run<'a, K> {
        let numbers = if self.numbers.is_empty() { &[] } else { &self.numbers[start..end] };
        Run { keys: &self.keys[start..end], numbers }
    }
}

/// The same for writing.
struct Target<'a, K> {
    keys: &'a mut [K],
    numbers: &'a mut [i64],
}

impl<K: Key> Target<'_, K> {
    fn part(&mut self, start: usize, end: usize) -> Target<'_, K> {
        let numbers = if self.numbers.is_empty() { &mut [] } else { &mut self.numbers[start..end] };
        Target { keys: &mut self.keys[start..end], numbers }
    }

    fn read(&self) -> Run<'_, K> {
        Run { keys: self.keys, numbers: self.numbers }
    }

    fn copy(&mut self, run: Run<K>) {
        self.keys.copy_from_slice(run.keys);
        self.numbers.copy_from_slice(run.numbers);
    }

    /// The merge of two runs, of which the left comes first among equals.
    #[inline(always)]
    fn merge<const FLOAT: bool>(&mut self, left: Run<K>, right: Run<K>) {
        let (mut i, mut j) = (0, 0);
        while i < left.keys.len() && j < right.keys.len() {
            // Both are read, so that choosing one needs no branch, which nobody could predict.
            let (of_left, of_right) = (left.keys[i], right.keys[j]);
            let takes_right = less::<K, FLOAT>(of_right, of_left);
            self.keys[i + j] = select_unpredictable(takes_right, of_right, of_left);
            if !self.numbers.is_empty() {
                let (of_left, of_right) = (left.numbers[i], right.numbers[j]);
                self.numbers[i + j] = select_unpredictable(takes_right, of_right, of_left);
            }
            i += usize::from(!takes_right);
            j += usize::from(takes_right);
        }
        let (left, right) = (left.part(i, left.keys.len()), right.part(j, right.keys.len()));
        let (middle, end) = (i + j + left.keys.len(), self.keys.len());
        self.part(i + j, middle).copy(left);
        self.part(middle, end).copy(right);
    }

    /// Moves an element to its place among those before it, which are sorted.
    #[inline(always)]
    fn settle<const FLOAT: bool>(&mut self, mut place: usize) {
        let key = self.keys[place];
        let number = self.numbers.get(place).copied();
        while place > 0 && less::<K, FLOAT>(key, self.keys[place - 1]) {
            self.keys[place] = self.keys[place - 1];
            if number.is_some() {
                self.numbers[place] = self.numbers[place - 1];
            }
            place -= 1;
        }
        self.keys[place] = key;
        if let Some(number) = number {
            self.numbers[place] = number;
        }
    }

    fn insertion_sort<const FLOAT: bool>(&mut self) {
        (1..self.keys.len()).for_each(|place| self.settle::<FLOAT>(place));
    }

    /// Makes the first `keep` elements, at least one, those that come first, sorted; others are lost.
    fn select<const FLOAT: bool>(&mut self, keep: usize) {
        self.part(0, keep).insertion_sort::<FLOAT>();
        for next in keep..self.keys.len() {
            if less::<K, FLOAT>(self.keys[next], self.keys[keep - 1]) {
                self.keys[keep - 1] = self.keys[next];
                if !self.numbers.is_empty() {
                    self.numbers[keep - 1] = self.numbers[next];
                }
                self.settle::<FLOAT>(keep - 1);
            }
        }
    }

    /// Sorts at most [`RUN`] elements, with as much memory beside them.
    fn sort<const FLOAT: bool>(&mut self, mut other: Target<K>) {
        let len = self.keys.len();
        for start in (0..len).step_by(SHORT) {
            self.part(start, len.min(start + SHORT)).insertion_sort::<FLOAT>();
        }
        let mut width = SHORT;
        while width < len {
            merge_pairs::<K, FLOAT>(self.read(), &mut other, width);
            merge_pairs::<K, FLOAT>(other.read(), self, 2 * width);
            width *= 4;
        }
    }
}

/// Puts the two zeros among sorted keys of floats into the order in which they were.
fn restore_zeros<K: Key>(sorted: &mut [K], before: impl Iterator<Item = K>) {
    let (minus, zero) = (K::SIGN.before(), K::SIGN);
    let [start, middle] = [minus, zero].map(|bound| sorted.partition_point(|key| *key < bound));
    let end = sorted.partition_point(|key| *key <= zero);
    if start < middle && middle < end {
        let zeros = before.filter(|key| *key == minus || *key == zero);
        sorted[start..end].iter_mut().zip(zeros).for_each(|(key, zero)| *key = zero);
    }
}

/// Merges neighbouring runs of `width`.
fn merge_pairs<K: Key, const FLOAT: bool>(from: Run<K>, to: &mut Target<K>, width: usize) {
    let len = from.keys.len();
    for start in (0..len).step_by(2 * width) {
        let (middle, end) = (len.min(start + width), len.min(start + 2 * width));
        to.part(start, end).merge::<FLOAT>(from.part(start, middle), from.part(middle, end));
    }
}

/// How many of the first `count` elements of a merge are those of its left side.
fn from_left<K: Key, const FLOAT: bool>(left: &[K], right: &[K], count: usize) -> usize {
    let (mut low, mut high) = (count.saturating_sub(right.len()), count.min(left.len()));
    while low < high {
        let middle = (low + high) / 2;
        if less::<K, FLOAT>(right[count - middle - 1], left[middle]) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// What is sorted: of each sequence along the middle axis the first `keep` elements are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The input's axes.
    pub extent: Extent,
    /// How many elements of each sequence are wanted, at most all.
    pub keep: usize,
    /// Whether it is wanted where they were.
    pub numbered: bool,
}

impl Plan {
    fn rows(&self) -> usize {
        self.extent.outer.saturating_mul(self.extent.inner)
    }

    /// The bytes of one array of keys, in whole cache lines.
    fn key_bytes(&self, width: usize) -> u64 {
        let elements = (self.rows() as u64).saturating_mul(self.extent.steps as u64);
        elements.saturating_mul(width as u64).checked_next_multiple_of(64).unwrap_or(u64::MAX)
    }

    fn number_bytes(&self) -> u64 {
        if self.numbered { self.key_bytes(size_of::<i64>()) } else { 0 }
    }

    /// Bytes of workspace for keys of `width` bytes.
    pub fn workspace(&self, width: usize) -> u64 {
        self.key_bytes(width).saturating_add(self.number_bytes()).saturating_mul(2)
    }
}

/// Keys and numbers of all sequences, one after the other.
#[derive(Clone, Copy)]
struct Rows<'a, K> {
    keys: Shared<'a, K>,
    numbers: Shared<'a, i64>,
}

impl<'a, K: Key> Rows<'a, K> {
    /// A part of both.
    ///
    /// # Safety
    /// As [`Shared::range`].
    unsafe fn range(&self, start: usize, end: usize) -> Target<'a, K> {
        // SAFETY: the caller's promise.
        unsafe { Target { keys: self.keys.range(start, end), numbers: self.numbers.range(start, end) } }
    }
}

/// A sort in its workspace.
struct Sort<'a, K> {
    plan: Plan,
    order: Order,
    rows: [Rows<'a, K>; 2],
}

impl<'a, K: Key> Sort<'a, K> {
    fn new(plan: Plan, order: Order, workspace: &'a mut [u8]) -> Option<Sort<'a, K>> {
        let elements = plan.rows() * plan.extent.steps;
        let key_bytes = usize::try_from(plan.key_bytes(size_of::<K>())).ok()?;
        let number_bytes = usize::try_from(plan.number_bytes()).ok()?;
        let (first, rest) = workspace.split_at_mut_checked(key_bytes)?;
        let (second, rest) = rest.split_at_mut_checked(key_bytes)?;
        let (third, fourth) = rest.split_at_mut_checked(number_bytes)?;
        let numbers = if plan.numbered { elements } else { 0 };
        let rows = |keys: &'a mut [u8], places: &'a mut [u8]| {
            let (keys, places) = (cast_slice_mut::<K>(keys), cast_slice_mut::<i64>(places));
            let (keys, places) = (keys.get_mut(..elements)?, places.get_mut(..numbers)?);
            Some(Rows { keys: Shared::new(keys), numbers: Shared::new(places) })
        };
        Some(Sort { plan, order, rows: [rows(first, third)?, rows(second, fourth)?] })
    }

    /// Where the elements of a sequence begin, in a tensor with `steps` of them.
    fn place(&self, row: usize, steps: usize) -> usize {
        let inner = self.plan.extent.inner;
        row / inner * steps * inner + row % inner
    }

    /// Makes sorted runs of [`RUN`] elements.
    fn runs<const FLOAT: bool>(&self, work: &mut Work, x: &[K]) -> Result<(), Stop> {
        let Plan { extent: Extent { steps, inner, .. }, keep, .. } = self.plan;
        let runs = steps.div_ceil(RUN);
        let units = self.plan.rows() * runs;
        let per_task = (TASK / 4 / steps.clamp(1, RUN)).max(1);
        work.parallel(units.div_ceil(per_task), |task| {
            for unit in task * per_task..units.min((task + 1) * per_task) {
                let (row, first) = (unit / runs, unit % runs * RUN);
                let last = steps.min(first + RUN);
                let start = self.place(row, steps);
                // SAFETY: every unit has its own part of its row.
                let [mut run, other] =
                    self.rows.map(|rows| unsafe { rows.range(row * steps + first, row * steps + last) });
                for (key, number) in run.keys.iter_mut().zip(first..) {
                    *key = x[start + number * inner].encode(self.order);
                }
                run.numbers.iter_mut().zip(first as i64..).for_each(|(place, number)| *place = number);
                if keep * FEW <= last - first {
                    run.select::<FLOAT>(keep);
                } else if self.plan.numbered {
                    run.sort::<FLOAT>(other);
                } else {
                    // Equal keys are the same, but for those of the two zeros.
                    run.keys.sort_unstable();
                    let keys = (first..last).map(|number| x[start + number * inner].encode(self.order));
                    if FLOAT {
                        restore_zeros(run.keys, keys);
                    }
                }
            }
        })
    }

    /// Merges pairs of sorted runs of `width`, of which no more than is wanted is there.
    fn merge<const FLOAT: bool>(&self, work: &mut Work, from: usize, width: usize) -> Result<(), Stop> {
        let Plan { extent: Extent { steps, .. }, keep, .. } = self.plan;
        let (from, to) = (self.rows[from], self.rows[1 - from]);
        let pairs = steps.div_ceil(2 * width);
        let length = keep.min(2 * width);
        let cuts = length.div_ceil(TASK);
        let units = self.plan.rows() * pairs * cuts;
        let per_task = (TASK / length.clamp(1, TASK)).max(1);
        work.parallel(units.div_ceil(per_task), |task| {
            for unit in task * per_task..units.min((task + 1) * per_task) {
                let (row, pair, cut) = (unit / cuts / pairs, unit / cuts % pairs, unit % cuts);
                let start = pair * 2 * width;
                let middle = steps.min(start + width);
                let end = steps.min(start + 2 * width);
                let place = row * steps + start;
                let kept = |length: usize| length.min(keep);
                // SAFETY: no task of this phase writes to what is read here.
                let (left, right) = unsafe {
                    let right = row * steps + middle;
                    (from.range(place, place + kept(middle - start)), from.range(right, right + kept(end - middle)))
                };
                let (left, right) = (left.read(), right.read());
                let (first, last) = (cut * TASK, kept(end - start).min((cut + 1) * TASK));
                if first >= last {
                    continue;
                }
                let before = from_left::<K, FLOAT>(left.keys, right.keys, first);
                let after = from_left::<K, FLOAT>(left.keys, right.keys, last);
                // SAFETY: every unit has its own part of its pair's place.
                let mut to = unsafe { to.range(place + first, place + last) };
                to.merge::<FLOAT>(left.part(before, after), right.part(first - before, last - after));
            }
        })
    }

    /// Writes what is wanted.
    fn store(
        &self,
        work: &mut Work,
        from: usize,
        values: Option<&mut [K]>,
        indices: Option<&mut [i64]>,
    ) -> Result<(), Stop> {
        let Plan { extent: Extent { steps, inner, .. }, keep, .. } = self.plan;
        let from = self.rows[from];
        let (values, indices) = (Shared::new(values.unwrap_or_default()), Shared::new(indices.unwrap_or_default()));
        let cuts = keep.div_ceil(TASK);
        let units = self.plan.rows() * cuts;
        let per_task = (TASK / keep.clamp(1, TASK)).max(1);
        work.parallel(units.div_ceil(per_task), |task| {
            for unit in task * per_task..units.min((task + 1) * per_task) {
                let (row, first) = (unit / cuts, unit % cuts * TASK);
                let last = keep.min(first + TASK);
                let start = self.place(row, keep);
                // SAFETY: no task of this phase writes to it.
                let run = unsafe { from.range(row * steps + first, row * steps + last) };
                for (key, number) in run.keys.iter().zip(first..) {
                    let place = start + number * inner;
                    // SAFETY: every element has its own place.
                    let value = unsafe { values.range(place, place + 1) };
                    value.iter_mut().for_each(|value| *value = key.decode(self.order));
                }
                for (index, number) in run.numbers.iter().zip(first..) {
                    let place = start + number * inner;
                    // SAFETY: as above.
                    unsafe { indices.range(place, place + 1) }.fill(*index);
                }
            }
        })
    }

    fn run<const FLOAT: bool>(&self, work: &mut Work, x: &[K]) -> Result<usize, Stop> {
        self.runs::<FLOAT>(work, x)?;
        let (mut width, mut at) = (RUN, 0);
        while width < self.plan.extent.steps {
            self.merge::<FLOAT>(work, at, width)?;
            (width, at) = (2 * width, 1 - at);
        }
        Ok(at)
    }
}

/// Writes the first `keep` elements of each sequence along the middle axis in their order, equal ones in the order in
/// which they were, and where they were.
pub fn sort<K: Key>(
    work: &mut Work,
    (plan, order): (Plan, Order),
    x: &[K],
    values: Option<&mut [K]>,
    indices: Option<&mut [i64]>,
    workspace: &mut [u8],
) -> Result<(), Stop> {
    if x.is_empty() || plan.keep == 0 {
        return Ok(());
    }
    let sort = Sort::new(plan, order, workspace).ok_or(Stop::OutOfMemory)?;
    let at = match order.kind {
        Kind::Float(_) => sort.run::<true>(work, x)?,
        _ => sort.run::<false>(work, x)?,
    };
    sort.store(work, at, values, indices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::memory::Buffer;
    use crate::cpu::threads::{set_num_threads, settings};
    use crate::cpu::work::{Cursor, Watch};
    use std::cmp::Ordering;

    /// Sorts with 1, 2 and 7 threads, pausing wherever it can; the values and indices are equal.
    fn run(extent: Extent, keep: usize, descending: bool, x: &[f32]) -> (Vec<f32>, Vec<i64>) {
        let bits: Vec<u32> = x.iter().map(|x| x.to_bits()).collect();
        let outputs = [1, 2, 7].map(|threads| {
            set_num_threads(threads);
            let len = extent.outer * extent.inner * keep;
            let (mut values, mut indices) = (vec![0u32; len], vec![0i64; len]);
            for numbered in [true, false] {
                let plan = Plan { extent, keep, numbered };
                let mut workspace = Buffer::zeroed(plan.workspace(4) as usize, None).unwrap();
                let workspace = workspace.bytes_mut().unwrap();
                let order = Order::new(DType::F32, descending);
                let before = values.clone();
                let (watch, mut cursor) = (Watch { pause: 0.0, ..Watch::default() }, Cursor::default());
                loop {
                    let mut work = Work::new(&watch, &mut cursor);
                    let indices = numbered.then_some(&mut indices[..]);
                    if sort(&mut work, (plan, order), &bits, Some(&mut values), indices, workspace).is_ok() {
                        break;
                    }
                }
                assert!(numbered || before == values, "the values are the same with indices and without");
            }
            (values.iter().map(|&bits| f32::from_bits(bits)).collect::<Vec<_>>(), indices)
        });
        set_num_threads(0);
        let same = |one: &(Vec<f32>, Vec<i64>), other: &(Vec<f32>, Vec<i64>)| {
            one.1 == other.1 && one.0.iter().map(|x| x.to_bits()).eq(other.0.iter().map(|x| x.to_bits()))
        };
        assert!(same(&outputs[0], &outputs[1]) && same(&outputs[0], &outputs[2]));
        outputs[0].clone()
    }

    fn compare(left: f32, right: f32) -> Ordering {
        left.partial_cmp(&right).unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
    }

    #[test]
    fn sequences_are_sorted_stably_with_any_number_of_threads() {
        let _settings = settings();
        let special = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0];
        for (outer, steps, inner) in [(3, 5, 1), (2, 7, 3), (1, 100_003, 1), (2, 3000, 2), (40, 17, 1), (2, 1, 1)] {
            for keep in [steps, 1, steps / 2, steps.min(40)] {
                for descending in [false, true] {
                    let x: Vec<f32> = (0..outer * steps * inner)
                        .map(|i| special.get(i * 7919 % 101).copied().unwrap_or((i * 7919 % 251) as f32 - 99.0))
                        .collect();
                    let extent = Extent { outer, steps, inner };
                    let (values, indices) = run(extent, keep, descending, &x);
                    for row in 0..outer * inner {
                        let at = |t: usize, steps: usize| (row / inner * steps + t) * inner + row % inner;
                        let mut order: Vec<usize> = (0..steps).collect();
                        let key = |t: &usize| x[at(*t, steps)];
                        order.sort_by(|a, b| {
                            let order = compare(key(a), key(b));
                            if descending { order.reverse() } else { order }
                        });
                        for (t, wanted) in order.into_iter().take(keep).enumerate() {
                            let place = at(t, keep);
                            assert_eq!(indices[place], wanted as i64, "{extent:?}, first {keep}");
                            let (value, wanted) = (values[place], x[at(wanted, steps)]);
                            assert!(value.to_bits() == wanted.to_bits() || value.is_nan() && wanted.is_nan());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn keys_are_in_the_order_of_elements_and_give_them_back() {
        for descending in [false, true] {
            let order = |dtype| Order::new(dtype, descending);
            for bits in 0..=u16::MAX {
                for dtype in [DType::I16, DType::U16, DType::F16, DType::BF16] {
                    let back = bits.encode(order(dtype)).decode(order(dtype));
                    let nan = match dtype {
                        DType::F16 => half::f16::from_bits(bits).is_nan() && half::f16::from_bits(back).is_nan(),
                        DType::BF16 => half::bf16::from_bits(bits).is_nan() && half::bf16::from_bits(back).is_nan(),
                        _ => false,
                    };
                    assert!(back == bits || nan, "{bits:#x} in {dtype}");
                }
            }
            let sorted = |keys: Vec<u16>| if descending { keys.iter().rev().is_sorted() } else { keys.is_sorted() };
            assert!(sorted((i16::MIN..=i16::MAX).map(|x| (x as u16).encode(order(DType::I16))).collect()));
            let floats = [f64::NEG_INFINITY, -2.5, -1e-7, -0.0, 0.0, 1e-7, 1.0, 65504.0, f64::INFINITY, f64::NAN];
            let keys = |dtype, bits: fn(f64) -> u16| floats.map(|x| bits(x).encode(order(dtype))).to_vec();
            assert!(sorted(keys(DType::F16, |x| half::f16::from_f64(x).to_bits())));
            assert!(sorted(keys(DType::BF16, |x| half::bf16::from_f64(x).to_bits())));
        }
    }
}
