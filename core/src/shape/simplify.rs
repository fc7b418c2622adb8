//! The rules that keep `floordiv`, `mod`, `min`, `max` and exact division of dims canonical.
//!
//! A call becomes an atom only where no rule applies to its arguments, so building a canonical dim again from its
//! text gives the same dim. All rules hold for every value of the symbols that the original has a value for.

use std::sync::Arc;

use super::dim::{Atom, Call, Dim, Form, Function, Term, apply, atom_order, dim_order};
use crate::error::{Error, Result};

/// The greatest common divisor; that of 0 and x is x.
pub(super) fn gcd(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// `function` of canonical arguments: two for `floordiv` and `mod`, two or more for `min` and `max`.
pub(super) fn call(function: Function, arguments: &[Dim]) -> Result<Dim> {
    match (function, arguments) {
        (Function::FloorDiv, [a, b]) => floordiv(a, b),
        (Function::Mod, [a, b]) => modulo(a, b),
        (Function::Min | Function::Max, [_, _, ..]) => extremum(function, arguments),
        (Function::FloorDiv | Function::Mod, _) => {
            Err(Error::argument(format!("{} takes 2 dims, not {}", function.name(), arguments.len())))
        }
        _ => Err(Error::argument(format!("{} takes 2 dims or more, not {}", function.name(), arguments.len()))),
    }
}

fn atom(function: Function, arguments: Vec<Dim>) -> Result<Dim> {
    Dim::from_atom(Atom::Call(Arc::new(Call { function, arguments })))
}

fn division_by_zero(function: Function, a: &Dim) -> Error {
    Error::shape(format!("{}({a}, 0) divides by zero", function.name()))
}

/// See [`Dim::floordiv`].
pub(super) fn floordiv(a: &Dim, b: &Dim) -> Result<Dim> {
    match b.as_constant() {
        Some(0) => Err(division_by_zero(Function::FloorDiv, a)),
        Some(divisor) if divisor < 0 => floordiv(&a.scale(-1)?, &b.scale(-1)?),
        Some(divisor) => floordiv_constant(a, divisor),
        None if b.lower_bound() >= Some(1) => match a.divide_exact(b) {
            Some(quotient) => Ok(quotient),
            None if lies_below(a, b) => Ok(Dim::constant(0)),
            None => atom(Function::FloorDiv, vec![a.clone(), b.clone()]),
        },
        None => atom(Function::FloorDiv, vec![a.clone(), b.clone()]),
    }
}

/// Whether 0 <= a < b always.
fn lies_below(a: &Dim, b: &Dim) -> bool {
    a.lower_bound() >= Some(0) && b.sub(a).is_ok_and(|rest| rest.lower_bound() >= Some(1))
}

/// `floordiv(a, divisor)` for a divisor of 1 or more:
/// - multiples of the divisor move out: `floordiv(2*n+3, 2)` is `n+1+floordiv(1, 2)`;
/// - the first coefficient is made positive: floor(-x/c) = -floor((x+c-1)/c);
/// - a common divisor of coefficients and divisor goes: floor((g*x+k)/(g*c)) = floor((x+floor(k/g))/c);
/// - a division inside joins: floor((floor(x/p)+r)/c) = floor((x+p*r)/(p*c)).
fn floordiv_constant(a: &Dim, divisor: i64) -> Result<Dim> {
    let Form::Sum(sum) = &a.0 else {
        return Ok(Dim::constant(apply(Function::FloorDiv, a.as_constant().unwrap_or(0), divisor)?));
    };
    if divisor == 1 {
        return Ok(a.clone());
    }
    if let (Some(low), Some(high)) = (a.lower_bound(), a.upper_bound())
        && low.div_euclid(divisor) == high.div_euclid(divisor)
    {
        return Ok(Dim::constant(low.div_euclid(divisor)));
    }
    let (quotient, rest): (Vec<Term>, Vec<Term>) = (sum.terms.iter())
        .map(|term| {
            let (whole, rest) = match term.factors.is_empty() {
                true => (term.coefficient.div_euclid(divisor), term.coefficient.rem_euclid(divisor)),
                false => (term.coefficient / divisor, term.coefficient % divisor),
            };
            (Term { coefficient: whole, ..term.clone() }, Term { coefficient: rest, ..term.clone() })
        })
        .unzip();
    if quotient.iter().any(|term| term.coefficient != 0) {
        return Dim::from_terms(quotient)?.add(&floordiv_constant(&Dim::from_terms(rest)?, divisor)?);
    }
    if sum.terms.first().is_some_and(|term| term.coefficient < 0) {
        let flipped = a.scale(-1)?.add(&Dim::constant(divisor - 1))?;
        return floordiv_constant(&flipped, divisor)?.scale(-1);
    }
    let common = common_divisor(&sum.terms, divisor);
    if common > 1 {
        return floordiv_constant(&divide_coefficients(&sum.terms, common)?, divisor / common);
    }
    if let Some((joined, product)) = join_division(a, divisor) {
        return floordiv_constant(&joined, product);
    }
    atom(Function::FloorDiv, vec![a.clone(), Dim::constant(divisor)])
}

/// The greatest common divisor of `divisor` and the coefficients of all terms but the constant.
fn common_divisor(terms: &[Term], divisor: i64) -> i64 {
    let products = terms.iter().filter(|term| !term.factors.is_empty());
    let common = products.fold(divisor.unsigned_abs(), |common, term| gcd(common, term.coefficient.unsigned_abs()));
    // It divides `divisor`, so it fits.
    i64::try_from(common).unwrap_or(1)
}

/// The terms divided by `common`, rounding the constant down; the other coefficients are multiples of it.
fn divide_coefficients(terms: &[Term], common: i64) -> Result<Dim> {
    let divided = terms.iter().map(|term| Term { coefficient: term.coefficient.div_euclid(common), ..term.clone() });
    Dim::from_terms(divided.collect())
}

/// For the sum `floordiv(x, p) + r`: `x + p*r` and `p*divisor`. None where no term or more than one is such a division.
fn join_division(sum: &Dim, divisor: i64) -> Option<(Dim, i64)> {
    let inner = |term: &Term| -> Option<(Dim, i64)> {
        let call = term.sole_call().filter(|call| call.function == Function::FloorDiv && term.coefficient == 1)?;
        match call.arguments.as_slice() {
            [x, p] => Some((x.clone(), p.as_constant()?)),
            _ => None,
        }
    };
    let mut divisions = sum.terms().iter().filter_map(|term| Some((term, inner(term)?)));
    let (term, (x, p)) = divisions.next()?;
    if divisions.next().is_some() {
        return None;
    }
    let rest = sum.terms().iter().filter(|other| *other != term).cloned().collect();
    let joined = Dim::from_terms(rest).and_then(|rest| rest.scale(p)).and_then(|rest| x.add(&rest)).ok()?;
    Some((joined, p.checked_mul(divisor)?))
}

/// See [`Dim::modulo`].
pub(super) fn modulo(a: &Dim, b: &Dim) -> Result<Dim> {
    match b.as_constant() {
        Some(0) => Err(division_by_zero(Function::Mod, a)),
        Some(divisor) if divisor < 0 => modulo(&a.scale(-1)?, &b.scale(-1)?)?.scale(-1),
        Some(divisor) => modulo_constant(a, divisor),
        None if b.lower_bound() >= Some(1) => {
            if a.divide_exact(b).is_some() {
                Ok(Dim::constant(0))
            } else if lies_below(a, b) {
                Ok(a.clone())
            } else {
                atom(Function::Mod, vec![a.clone(), b.clone()])
            }
        }
        None => atom(Function::Mod, vec![a.clone(), b.clone()]),
    }
}

/// `mod(a, divisor)` for a divisor of 1 or more:
/// - coefficients are reduced to 0 .. divisor;
/// - `mod(x, d)` inside, times k, becomes `k*x` where k*d is a multiple of the divisor;
/// - a common divisor moves out: mod(g*x+k, g*c) = g*mod(x+floor(k/g), c) + mod(k, g).
fn modulo_constant(a: &Dim, divisor: i64) -> Result<Dim> {
    let Form::Sum(sum) = &a.0 else {
        return Ok(Dim::constant(a.as_constant().unwrap_or(0).rem_euclid(divisor)));
    };
    if lies_below(a, &Dim::constant(divisor)) {
        return Ok(a.clone());
    }
    let reduced =
        sum.terms.iter().map(|term| Term { coefficient: term.coefficient.rem_euclid(divisor), ..term.clone() });
    let reduced = Dim::from_terms(reduced.collect())?;
    if reduced != *a {
        return modulo_constant(&reduced, divisor);
    }
    if let Some(plain) = unwrap_modulo(a, divisor) {
        return modulo_constant(&plain, divisor);
    }
    let common = common_divisor(&sum.terms, divisor);
    if common > 1 {
        let constant = sum.terms.last().filter(|term| term.factors.is_empty()).map_or(0, |term| term.coefficient);
        let inner = modulo_constant(&divide_coefficients(&sum.terms, common)?, divisor / common)?;
        return inner.scale(common)?.add(&Dim::constant(constant.rem_euclid(common)));
    }
    atom(Function::Mod, vec![a.clone(), Dim::constant(divisor)])
}

/// The sum with its first `k*mod(x, d)`, k*d a multiple of `divisor`, replaced by `k*x`.
fn unwrap_modulo(sum: &Dim, divisor: i64) -> Option<Dim> {
    let inner = |term: &Term| -> Option<Dim> {
        let call = term.sole_call().filter(|call| call.function == Function::Mod)?;
        let [x, d] = call.arguments.as_slice() else { return None };
        let multiple = i128::from(term.coefficient) * i128::from(d.as_constant()?);
        (multiple % i128::from(divisor) == 0).then(|| x.scale(term.coefficient).ok())?
    };
    let (term, plain) = sum.terms().iter().find_map(|term| Some((term, inner(term)?)))?;
    let rest = sum.terms().iter().filter(|other| *other != term).cloned().collect();
    Dim::from_terms(rest).and_then(|rest| rest.add(&plain)).ok()
}

/// The least or greatest of `arguments`: nested calls of the same function are flattened, arguments that another one
/// always reaches are dropped, the others sorted.
pub(super) fn extremum(function: Function, arguments: &[Dim]) -> Result<Dim> {
    let mut flat: Vec<Dim> = Vec::with_capacity(arguments.len());
    for argument in arguments {
        match argument.terms() {
            [term] if term.coefficient == 1 => match term.sole_call().filter(|call| call.function == function) {
                Some(call) => flat.extend_from_slice(&call.arguments),
                None => flat.push(argument.clone()),
            },
            _ => flat.push(argument.clone()),
        }
    }
    flat.sort_by(dim_order);
    flat.dedup();
    if flat.iter().map(Dim::size).sum::<usize>() > super::MAX_TERMS {
        return Err(Error::shape(format!("a dim has more than {} terms", super::MAX_TERMS)));
    }
    let never_less = |a: &Dim, b: &Dim| a.sub(b).is_ok_and(|difference| difference.lower_bound() >= Some(0));
    let reaches = |a: &Dim, b: &Dim| match function {
        Function::Max => never_less(a, b),
        _ => never_less(b, a),
    };
    let mut index = 0;
    while index < flat.len() {
        let argument = &flat[index];
        if flat.iter().enumerate().any(|(other, dim)| other != index && reaches(dim, argument)) {
            flat.remove(index);
        } else {
            index += 1;
        }
    }
    match flat.as_slice() {
        [only] => Ok(only.clone()),
        _ => atom(function, flat),
    }
}

/// See [`Dim::divide_exact`]: long division in the order of terms.
pub(super) fn divide_exact(a: &Dim, b: &Dim) -> Option<Dim> {
    if b.as_constant() == Some(0) {
        return None;
    }
    let divisor = b.to_terms();
    let (leading, mut rest) = (divisor.first()?, a.clone());
    let mut quotient = Dim::constant(0);
    for _ in 0..=super::MAX_TERMS {
        if rest.as_constant() == Some(0) {
            return Some(quotient);
        }
        let step = Dim::from_terms(vec![divide_term(rest.to_terms().first()?, leading)?]).ok()?;
        rest = rest.sub(&step.mul(b).ok()?).ok()?;
        quotient = quotient.add(&step).ok()?;
    }
    None
}

fn divide_term(a: &Term, b: &Term) -> Option<Term> {
    if a.coefficient.checked_rem(b.coefficient)? != 0 {
        return None;
    }
    let mut factors = a.factors.clone();
    for factor in &b.factors {
        let position = factors.binary_search_by(|other| atom_order(other, factor)).ok()?;
        factors.remove(position);
    }
    Some(Term { coefficient: a.coefficient.checked_div(b.coefficient)?, factors })
}
