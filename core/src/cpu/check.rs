//! Looking through the elements of a view for one that a checked run refuses.

use super::call::View;
use super::work::{Stop, Work};
use crate::dispatch;
use crate::dtype::{DType, bf16, f16};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Elements that a task looks at.
const TASK: usize = 32 << 10;

/// An element of any dtype; exact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Of an integer dtype, or `bool`.
    Integer(i128),
    /// Of a floating-point dtype.
    Float(f64),
}

impl Number {
    /// Whether it is NaN.
    pub fn is_nan(self) -> bool {
        matches!(self, Number::Float(value) if value.is_nan())
    }

    /// Whether an integer dtype holds it once what follows the point is cut off; true for other dtypes.
    pub fn fits(self, dtype: DType) -> bool {
        let Number::Float(value) = self else { return true };
        if !dtype.is_integer() {
            return true;
        }
        let bits = 8 * dtype.size() as i32 - i32::from(dtype.is_signed());
        // Both bounds are powers of two, which f64 holds.
        let above = (2f64).powi(bits);
        let whole = value.trunc();
        whole < above && whole >= if dtype.is_signed() { -above } else { 0.0 }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Integer(value) => write!(f, "{value}"),
            Number::Float(value) if value.is_finite() && value.abs() >= 1e16 => write!(f, "{value:e}"),
            Number::Float(value) => write!(f, "{value}"),
        }
    }
}

trait Read: Copy {
    fn read(self) -> Number;
}

macro_rules! read {
    ($($T:ty => $variant:ident($convert:expr)),* $(,)?) => {
        $(impl Read for $T {
            fn read(self) -> Number {
                Number::$variant($convert(self))
            }
        })*
    };
}

read! {
    u8 => Integer(i128::from), i8 => Integer(i128::from), u16 => Integer(i128::from), i16 => Integer(i128::from),
    u32 => Integer(i128::from), i32 => Integer(i128::from), u64 => Integer(i128::from), i64 => Integer(i128::from),
    f16 => Float(f16::to_f64), bf16 => Float(bf16::to_f64), f32 => Float(f64::from), f64 => Float(f64::from),
}

/// Where the element of that row-major number lies in the memory of a view, counted in elements.
fn offset(view: View, number: usize) -> usize {
    let layout = view.layout();
    let (mut rest, mut offset) = (number, layout.offset as isize);
    for (&size, &stride) in layout.sizes.iter().zip(&layout.strides).rev() {
        offset += (rest % size) as isize * stride;
        rest /= size;
    }
    offset as usize
}

/// The element of that row-major number.
pub fn element(view: View, number: usize) -> Number {
    dispatch!(view.dtype(), T => view.elements::<T>()[offset(view, number)].read())
}

/// The row-major number of the first element that `refuses` (given the element and its number) says yes to.
///
/// # Errors
/// The reason to stop. A call after [`Stop::Paused`] goes on: what was looked at was not refused.
pub fn find(
    work: &mut Work,
    view: View,
    refuses: impl Fn(Number, usize) -> bool + Sync,
) -> Result<Option<usize>, Stop> {
    let count = view.layout().elements();
    let dense = view.layout().is_dense();
    let found = AtomicUsize::new(usize::MAX);
    let ended = dispatch!(view.dtype(), T => {
        let elements = view.elements::<T>();
        work.parallel(count.div_ceil(TASK), |task| {
            let mut numbers = task * TASK..count.min((task + 1) * TASK);
            let at = |number: usize| if dense { view.layout().offset + number } else { offset(view, number) };
            if let Some(number) = numbers.find(|&number| refuses(elements[at(number)].read(), number)) {
                found.fetch_min(number, Ordering::Relaxed);
            }
        })
    });
    // Tasks start in order and end once started, so the least number found is the first that there is.
    match found.into_inner() {
        usize::MAX => ended.map(|()| None),
        number => Ok(Some(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::call::Layout;
    use crate::cpu::memory::as_bytes;
    use crate::cpu::work::{Cursor, Watch};

    #[test]
    fn the_first_of_a_strided_view_is_found_whatever_the_pauses() {
        let (rows, columns) = (300, 700);
        let mut data = vec![0f32; rows * columns];
        // Transposed, the element of row 299 comes before that of row 1 in a later column.
        data[299 * columns + 600] = f32::NAN;
        data[columns + 601] = f32::NAN;
        let layout = Layout {
            dtype: DType::F32,
            sizes: smallvec::smallvec![columns, rows],
            strides: smallvec::smallvec![1, columns as isize],
            offset: 0,
        };
        let bytes = as_bytes(&data);
        // SAFETY: the data lives and is not written; the layout permutes its axes.
        let view = unsafe { View::new(bytes.as_ptr(), bytes.len(), &layout) };
        let (watch, mut cursor, mut pauses) = (Watch { pause: 0.0, ..Watch::default() }, Cursor::default(), 0);
        let found = loop {
            match find(&mut Work::new(&watch, &mut cursor), view, |number, _| number.is_nan()) {
                Ok(found) => break found,
                Err(stop) => assert_eq!(stop, Stop::Paused),
            }
            pauses += 1;
        };
        assert_eq!((found, pauses > 1), (Some(600 * rows + 299), true));
        assert!(element(view, 600 * rows + 299).is_nan());
    }

    #[test]
    fn what_a_cast_keeps_fits() {
        let cases = [
            (255.9, DType::U8, true),
            (256.0, DType::U8, false),
            (-0.9, DType::U8, true),
            (-1.0, DType::U8, false),
            (-128.5, DType::I8, true),
            (-129.0, DType::I8, false),
            (9.2e18, DType::I64, true),
            (9_223_372_036_854_775_808.0, DType::I64, false),
            (-9_223_372_036_854_775_808.0, DType::I64, true),
            (1.8e19, DType::U64, true),
            (f64::INFINITY, DType::U64, false),
            (f64::NAN, DType::I32, false),
            (f64::NAN, DType::Bool, true),
            (1e300, DType::F16, true),
        ];
        for (value, dtype, fits) in cases {
            assert_eq!(Number::Float(value).fits(dtype), fits, "{value} {dtype}");
        }
        assert!(Number::Integer(300).fits(DType::U8), "integers wrap, as documented");
    }
}
