//! What is known about the values of a dim: bounds, and whether two dims are equal or differ.

use super::dim::{Atom, Call, Dim, Form, Function, Term, dim_order};
use super::simplify::gcd;
use crate::error::Result;

/// Stands for "no bound": far outside 64 bits, also after a division by a 64-bit number.
const UNBOUNDED: i128 = 1 << 126;

/// Contains all values of a dim. `low` is -UNBOUNDED or fits in an `i64`, `high` is UNBOUNDED or fits.
#[derive(Clone, Copy)]
struct Interval {
    low: i128,
    high: i128,
}

const ALL: Interval = Interval { low: -UNBOUNDED, high: UNBOUNDED };

impl Interval {
    /// Widens what does not fit in 64 bits.
    fn new(low: i128, high: i128) -> Interval {
        let (min, max) = (i128::from(i64::MIN), i128::from(i64::MAX));
        Interval {
            low: if low < min { -UNBOUNDED } else { low.min(max) },
            high: if high > max { UNBOUNDED } else { high.max(min) },
        }
    }

    fn add(self, other: Interval) -> Interval {
        Interval::new(self.low.saturating_add(other.low), self.high.saturating_add(other.high))
    }

    fn mul(self, other: Interval) -> Interval {
        self.over_corners(other, i128::saturating_mul)
    }

    fn over_corners(self, other: Interval, function: impl Fn(i128, i128) -> i128) -> Interval {
        let corners = [(self.low, other.low), (self.low, other.high), (self.high, other.low), (self.high, other.high)]
            .map(|(a, b)| function(a, b));
        let low = corners.iter().copied().fold(i128::MAX, i128::min);
        Interval::new(low, corners.iter().copied().fold(i128::MIN, i128::max))
    }

    /// For divisors that are 0 or more; a division by 0 has no value, so the divisor is at least 1.
    fn floordiv(self, other: Interval) -> Interval {
        if other.low < 0 || other.high < 1 {
            return ALL;
        }
        let divisor = Interval { low: other.low.max(1), high: other.high };
        self.over_corners(divisor, i128::div_euclid)
    }

    fn modulo(self, other: Interval) -> Interval {
        if other.low < 0 || other.high < 1 {
            return ALL;
        }
        let high = if self.low >= 0 { self.high.min(other.high - 1) } else { other.high - 1 };
        Interval::new(0, high)
    }
}

fn interval(dim: &Dim) -> Interval {
    match &dim.0 {
        Form::Constant(value) => Interval { low: (*value).into(), high: (*value).into() },
        Form::Sum(sum) => {
            let terms = sum.terms.iter().map(|term| {
                let coefficient = Interval { low: term.coefficient.into(), high: term.coefficient.into() };
                term.factors.iter().map(atom_interval).fold(coefficient, Interval::mul)
            });
            terms.fold(Interval { low: 0, high: 0 }, Interval::add)
        }
    }
}

fn atom_interval(atom: &Atom) -> Interval {
    let call = match atom {
        Atom::Symbol(_) => {
            return Interval { low: 0, high: UNBOUNDED };
        }
        Atom::Call(call) => call,
    };
    let arguments = call.arguments.iter().map(interval);
    let combined = arguments.reduce(|a, b| match call.function {
        Function::FloorDiv => a.floordiv(b),
        Function::Mod => a.modulo(b),
        Function::Min => Interval { low: a.low.min(b.low), high: a.high.min(b.high) },
        Function::Max => Interval { low: a.low.max(b.low), high: a.high.max(b.high) },
    });
    combined.unwrap_or(ALL)
}

/// How many rewritten dims one question may look at: it bounds the time that hostile dims take.
const EFFORT: u32 = 8;

/// See [`Dim::lower_bound`].
pub(super) fn lower(dim: &Dim) -> Option<i64> {
    let mut effort = EFFORT;
    lower_within(dim, &mut effort).and_then(|bound| i64::try_from(bound).ok())
}

/// See [`Dim::upper_bound`].
pub(super) fn upper(dim: &Dim) -> Option<i64> {
    match &dim.0 {
        Form::Constant(value) => Some(*value),
        Form::Sum(_) => lower(&dim.scale(-1).ok()?)?.checked_neg(),
    }
}

/// The interval's bound, or a better one that follows where a call is replaced by something linear:
/// intervals alone cannot see that `n-floordiv(n, 2)` or `n-min(n, 3)` is never negative.
fn lower_within(dim: &Dim, effort: &mut u32) -> Option<i128> {
    let low = interval(dim).low;
    let mut best = (low != -UNBOUNDED).then_some(low);
    for term in dim.terms() {
        if let Some(call) = term.sole_call() {
            best = best.max(relaxed(dim, term, call, effort));
        }
    }
    best
}

/// A lower bound of `dim` by bounding its `term`, which is a multiple of `call`.
fn relaxed(dim: &Dim, term: &Term, call: &Call, effort: &mut u32) -> Option<i128> {
    let [first, second, ..] = call.arguments.as_slice() else {
        return None;
    };
    let positive = term.coefficient > 0;
    let mut with = |replacement: &Dim, scale: i64| -> Option<i128> {
        *effort = effort.checked_sub(1)?;
        let changed = replace(dim, term, replacement, scale).ok()?;
        lower_within(&changed, effort)
    };
    match (call.function, second.as_constant()) {
        // floordiv(x, c) lies between (x-c+1)/c and x/c.
        (Function::FloorDiv, Some(divisor)) => {
            let edge = if positive { first.sub(&Dim::constant(divisor.checked_sub(1)?)).ok()? } else { first.clone() };
            let bound = with(&edge, divisor)?;
            Some(-(-bound).div_euclid(divisor.into()))
        }
        (Function::Mod, Some(_)) if !positive && interval(first).low >= 0 => with(first, 1),
        (Function::Max, _) if positive => call.arguments.iter().filter_map(|argument| with(argument, 1)).max(),
        (Function::Min, _) if !positive => call.arguments.iter().filter_map(|argument| with(argument, 1)).max(),
        // The call is one of its arguments: what holds for each of them holds.
        (Function::Max | Function::Min, _) => {
            let bounds: Option<Vec<i128>> = call.arguments.iter().map(|argument| with(argument, 1)).collect();
            bounds?.into_iter().min()
        }
        _ => None,
    }
}

/// `scale * (dim - term) + term.coefficient * replacement`.
fn replace(dim: &Dim, term: &Term, replacement: &Dim, scale: i64) -> Result<Dim> {
    let rest = dim.terms().iter().filter(|other| *other != term).cloned().collect();
    Dim::from_terms(rest)?.scale(scale)?.add(&replacement.scale(term.coefficient)?)
}

/// Whether the difference of two dims is 0: by its bounds, or after its divisions became remainders.
pub(super) fn always_zero(a: &Dim, b: &Dim) -> bool {
    let Ok(difference) = a.sub(b) else { return false };
    match difference.as_constant() {
        Some(value) => value == 0,
        None if lower(&difference) == Some(0) && upper(&difference) == Some(0) => true,
        None => remainders(&difference).is_ok_and(|dim| dim.as_constant() == Some(0)),
    }
}

/// A positive multiple of `dim` with `floordiv(x, c)` replaced by `(x-mod(x, c))/c`, and one of the two remainders
/// in mod(x, c) = c-1-mod(-x-1, c) replaced by the other: so `floordiv(n, 2)+floordiv(n+1, 2)` is seen to be `n`.
fn remainders(dim: &Dim) -> Result<Dim> {
    let mut changed = dim.clone();
    for _ in 0..EFFORT {
        let rewrite = changed.terms().iter().find_map(|term| {
            let call = term.sole_call()?;
            let [x, divisor] = call.arguments.as_slice() else { return None };
            let divisor = divisor.as_constant()?;
            match call.function {
                Function::FloorDiv => {
                    let remainder = x.modulo(&Dim::constant(divisor)).and_then(|remainder| x.sub(&remainder));
                    Some((term.clone(), remainder, divisor))
                }
                Function::Mod => mirrored(x, divisor).map(|dim| (term.clone(), Ok(dim), 1)),
                Function::Min | Function::Max => None,
            }
        });
        let Some((term, replacement, scale)) = rewrite else { break };
        changed = replace(&changed, &term, &replacement?, scale)?;
    }
    Ok(changed)
}

/// `c-1-mod(-x-1, c)` in place of `mod(x, c)`, if its remainder comes first in the order of dims.
fn mirrored(x: &Dim, divisor: i64) -> Option<Dim> {
    let divisor = Dim::constant(divisor);
    let remainder = x.modulo(&divisor).ok()?;
    let mirror = Dim::constant(-1).sub(x).and_then(|flipped| flipped.modulo(&divisor)).ok()?;
    if dim_order(&mirror, &remainder).is_ge() {
        return None;
    }
    divisor.sub(&Dim::constant(1)).and_then(|last| last.sub(&mirror)).ok()
}

/// Whether the difference of two dims is never 0: by its bounds, or because its coefficients have a divisor that its
/// constant lacks.
pub(super) fn never_zero(a: &Dim, b: &Dim) -> bool {
    let Ok(difference) = a.sub(b) else { return false };
    if let Some(value) = difference.as_constant() {
        return value != 0;
    }
    let (constants, products): (Vec<&Term>, _) = difference.terms().iter().partition(|term| term.factors.is_empty());
    let divisor = products.iter().fold(0, |divisor, term| gcd(divisor, term.coefficient.unsigned_abs()));
    let indivisible = constants.iter().any(|term| term.coefficient.unsigned_abs() % divisor.max(1) != 0);
    indivisible || lower(&difference) > Some(0) || upper(&difference).is_some_and(|bound| bound < 0)
}
