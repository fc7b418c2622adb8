//! [`Dim`]: the size of an axis, an integer or arithmetic over symbols, in a canonical form.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::{bounds, parse, simplify};
use crate::error::{Error, Result};

/// The most terms and nodes of one dim, those of nested arguments included.
pub const MAX_TERMS: usize = 64;
/// The deepest nesting of `floordiv`, `mod`, `min` and `max` in one dim.
pub const MAX_DEPTH: usize = 32;
/// The longest name of a symbol, in bytes.
pub const MAX_SYMBOL: usize = 64;

/// An integer, or an integer expression over symbols (`batch`, `2*n+1`, `floordiv(n+1, 2)`).
///
/// A symbol stands for a size that is known later and is 0 or more; the simplifications rely on that.
/// A dim is a sum of integer coefficients times products of atoms, an atom being a symbol or a `floordiv`, `mod`,
/// `min` or `max` of dims. Terms, factors and arguments are sorted and merged, so `==` compares the canonical
/// forms: equal dims have equal values, and dims that differ may still have equal values. See
/// [`Dim::equals_provably`] and [`Dim::differs_provably`].
///
/// Clones are cheap, constants allocate nothing. [`fmt::Display`] and [`Dim::parse`] are each other's inverse.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Dim(pub(super) Form);

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Form {
    Constant(i64),
    /// Holds at least one atom.
    Sum(Arc<Sum>),
}

#[derive(PartialEq, Eq, Hash)]
pub(super) struct Sum {
    /// Sorted by [`product_order`], coefficients not zero.
    pub(super) terms: Vec<Term>,
    size: usize,
    depth: usize,
}

/// A coefficient times the product of `factors`, which are sorted; no factors make the constant term.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Term {
    pub(super) coefficient: i64,
    pub(super) factors: Vec<Atom>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Atom {
    Symbol(Arc<str>),
    Call(Arc<Call>),
}

#[derive(PartialEq, Eq, Hash)]
pub(super) struct Call {
    pub(super) function: Function,
    pub(super) arguments: Vec<Dim>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Function {
    FloorDiv,
    Mod,
    Min,
    Max,
}

impl Function {
    pub(super) const ALL: [Function; 4] = [Function::FloorDiv, Function::Mod, Function::Min, Function::Max];

    pub(super) fn name(self) -> &'static str {
        match self {
            Function::FloorDiv => "floordiv",
            Function::Mod => "mod",
            Function::Min => "min",
            Function::Max => "max",
        }
    }
}

pub(super) fn overflow() -> Error {
    Error::shape("a dim does not fit in 64 bits")
}

/// Graded lexicographic order of products, the highest degree first, the constant last.
/// It is compatible with multiplication, which polynomial division needs.
pub(super) fn product_order(a: &[Atom], b: &[Atom]) -> Ordering {
    let first_difference = || a.iter().zip(b).map(|(x, y)| atom_order(x, y)).find(|order| order.is_ne());
    b.len().cmp(&a.len()).then_with(|| first_difference().unwrap_or(Ordering::Equal))
}

pub(super) fn atom_order(a: &Atom, b: &Atom) -> Ordering {
    match (a, b) {
        (Atom::Symbol(a), Atom::Symbol(b)) => a.cmp(b),
        (Atom::Symbol(_), Atom::Call(_)) => Ordering::Less,
        (Atom::Call(_), Atom::Symbol(_)) => Ordering::Greater,
        (Atom::Call(a), Atom::Call(b)) => {
            let arguments = || a.arguments.iter().zip(&b.arguments).map(|(x, y)| dim_order(x, y));
            (a.function.cmp(&b.function))
                .then_with(|| a.arguments.len().cmp(&b.arguments.len()))
                .then_with(|| arguments().find(|order| order.is_ne()).unwrap_or(Ordering::Equal))
        }
    }
}

/// The order of arguments in the canonical form (constants last); it says nothing about the dims' values.
pub(super) fn dim_order(a: &Dim, b: &Dim) -> Ordering {
    match (&a.0, &b.0) {
        (Form::Constant(a), Form::Constant(b)) => a.cmp(b),
        (Form::Constant(_), Form::Sum(_)) => Ordering::Greater,
        (Form::Sum(_), Form::Constant(_)) => Ordering::Less,
        (Form::Sum(a), Form::Sum(b)) => {
            let terms = || {
                a.terms
                    .iter()
                    .zip(&b.terms)
                    .map(|(x, y)| product_order(&x.factors, &y.factors).then_with(|| x.coefficient.cmp(&y.coefficient)))
            };
            (terms().find(|order| order.is_ne()).unwrap_or(Ordering::Equal))
                .then_with(|| a.terms.len().cmp(&b.terms.len()))
        }
    }
}

impl Atom {
    fn size(&self) -> usize {
        match self {
            Atom::Symbol(_) => 1,
            Atom::Call(call) => 1 + call.arguments.iter().map(Dim::size).sum::<usize>(),
        }
    }

    fn depth(&self) -> usize {
        match self {
            Atom::Symbol(_) => 0,
            Atom::Call(call) => 1 + call.arguments.iter().map(Dim::depth).max().unwrap_or(0),
        }
    }
}

impl Term {
    pub(super) fn constant(value: i64) -> Term {
        Term { coefficient: value, factors: Vec::new() }
    }

    /// The call that is the term's only factor.
    pub(super) fn sole_call(&self) -> Option<&Call> {
        match self.factors.as_slice() {
            [Atom::Call(call)] => Some(call),
            _ => None,
        }
    }

    fn times(&self, other: &Term) -> Result<Term> {
        let coefficient = self.coefficient.checked_mul(other.coefficient).ok_or_else(overflow)?;
        let mut factors = Vec::with_capacity(self.factors.len() + other.factors.len());
        factors.extend_from_slice(&self.factors);
        factors.extend_from_slice(&other.factors);
        factors.sort_by(atom_order);
        Ok(Term { coefficient, factors })
    }
}

impl Dim {
    /// The integer `value`.
    pub fn constant(value: i64) -> Dim {
        Dim(Form::Constant(value))
    }

    /// The symbol `name`.
    ///
    /// # Errors
    /// `argument` for a name that is not of the form `[A-Za-z_][A-Za-z0-9_]*`, is longer than [`MAX_SYMBOL`] bytes,
    /// or is the name of a function (`floordiv`, `mod`, `min`, `max`).
    pub fn symbol(name: &str) -> Result<Dim> {
        let head = |c: u8| c.is_ascii_alphabetic() || c == b'_';
        let bytes = name.as_bytes();
        if bytes.len() > MAX_SYMBOL {
            return Err(Error::argument(format!("a dim's name has {} bytes, more than {MAX_SYMBOL}", bytes.len())));
        }
        let well_formed =
            bytes.first().is_some_and(|&c| head(c)) && bytes.iter().all(|&c| head(c) || c.is_ascii_digit());
        if !well_formed {
            return Err(Error::argument(format!(
                "{name:?} cannot name a dim: letters, digits and _, not beginning with a digit"
            )));
        }
        if Function::ALL.iter().any(|function| function.name() == name) {
            return Err(Error::argument(format!("{name:?} cannot name a dim: it is a function of dims")));
        }
        Dim::from_atom(Atom::Symbol(name.into()))
    }

    /// Reads the text form: sums, differences and products of integers, symbols, parentheses and
    /// `floordiv(a, b)`, `mod(a, b)`, `min(a, b, ...)`, `max(a, b, ...)`. Spaces are free.
    ///
    /// # Errors
    /// `argument` for other text, for text longer than [`MAX_TEXT`](super::MAX_TEXT) bytes and nesting deeper than
    /// [`MAX_DEPTH`]; and the errors of the arithmetic.
    pub fn parse(text: &str) -> Result<Dim> {
        parse::dim(text)
    }

    /// The value of a dim without symbols.
    pub fn as_constant(&self) -> Option<i64> {
        match self.0 {
            Form::Constant(value) => Some(value),
            Form::Sum(_) => None,
        }
    }

    /// Of `min(dim, other)` the dim.
    pub fn as_min_with(&self, other: &Dim) -> Option<Dim> {
        let [Term { coefficient: 1, factors }] = self.terms() else { return None };
        let [Atom::Call(call)] = factors.as_slice() else { return None };
        match (call.function, call.arguments.as_slice()) {
            (Function::Min, [a, b]) if b == other => Some(a.clone()),
            (Function::Min, [a, b]) if a == other => Some(b.clone()),
            _ => None,
        }
    }

    /// The name of a dim that is one symbol and nothing else.
    pub fn as_symbol(&self) -> Option<&Arc<str>> {
        match self.terms() {
            [Term { coefficient: 1, factors }] => match factors.as_slice() {
                [Atom::Symbol(name)] => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether a symbol occurs.
    pub fn is_symbolic(&self) -> bool {
        self.as_constant().is_none()
    }

    /// `self + other`.
    ///
    /// # Errors
    /// `shape` when a constant or coefficient leaves 64 bits, or the result is larger than [`MAX_TERMS`] or
    /// [`MAX_DEPTH`]; the same for all arithmetic.
    pub fn add(&self, other: &Dim) -> Result<Dim> {
        if let (Form::Constant(a), Form::Constant(b)) = (&self.0, &other.0) {
            let sum = a.checked_add(*b).ok_or_else(|| Error::shape(format!("{a} + {b} does not fit in 64 bits")))?;
            return Ok(Dim::constant(sum));
        }
        let mut terms = self.to_terms();
        terms.extend(other.to_terms());
        Dim::from_terms(terms)
    }

    /// `self - other`. Errors as for [`Dim::add`].
    pub fn sub(&self, other: &Dim) -> Result<Dim> {
        if let (Form::Constant(a), Form::Constant(b)) = (&self.0, &other.0) {
            let difference = a.checked_sub(*b);
            let difference = difference.ok_or_else(|| Error::shape(format!("{a} - {b} does not fit in 64 bits")))?;
            return Ok(Dim::constant(difference));
        }
        self.add(&other.scale(-1)?)
    }

    /// `self * other`. Errors as for [`Dim::add`].
    pub fn mul(&self, other: &Dim) -> Result<Dim> {
        match (&self.0, &other.0) {
            (Form::Constant(a), Form::Constant(b)) => {
                let product = a.checked_mul(*b);
                product.map(Dim::constant).ok_or_else(|| Error::shape(format!("{a} * {b} does not fit in 64 bits")))
            }
            (Form::Constant(scale), Form::Sum(_)) => other.scale(*scale),
            (Form::Sum(_), Form::Constant(scale)) => self.scale(*scale),
            (Form::Sum(a), Form::Sum(b)) => {
                let pairs = a.terms.iter().flat_map(|x| b.terms.iter().map(move |y| x.times(y)));
                Dim::from_terms(pairs.collect::<Result<_>>()?)
            }
        }
    }

    /// The largest integer not above `self / other`.
    ///
    /// # Errors
    /// `shape` when `other` is the constant 0; and those of [`Dim::add`].
    pub fn floordiv(&self, other: &Dim) -> Result<Dim> {
        simplify::floordiv(self, other)
    }

    /// `self - other * floordiv(self, other)`: it has the sign of `other`. Errors as for [`Dim::floordiv`].
    pub fn modulo(&self, other: &Dim) -> Result<Dim> {
        simplify::modulo(self, other)
    }

    /// The smaller of the two. Errors as for [`Dim::add`].
    pub fn min(&self, other: &Dim) -> Result<Dim> {
        simplify::extremum(Function::Min, &[self.clone(), other.clone()])
    }

    /// The larger of the two. Errors as for [`Dim::add`].
    pub fn max(&self, other: &Dim) -> Result<Dim> {
        simplify::extremum(Function::Max, &[self.clone(), other.clone()])
    }

    /// The dim `q` with `self == q * other`, if polynomial division finds one. It holds wherever `other` is not 0:
    /// the caller answers for a size of 0 (`reshape(-1)` of `[n, m]` to `[n, -1]` is `m`, whatever `n` is).
    pub fn divide_exact(&self, other: &Dim) -> Option<Dim> {
        simplify::divide_exact(self, other)
    }

    /// Whether the two have the same value for all values of the symbols; `false` when that cannot be told.
    pub fn equals_provably(&self, other: &Dim) -> bool {
        self == other || bounds::always_zero(self, other)
    }

    /// Whether the two differ for all values of the symbols; `false` when that cannot be told.
    pub fn differs_provably(&self, other: &Dim) -> bool {
        bounds::never_zero(self, other)
    }

    /// A value that the dim never falls below, if one is known.
    pub fn lower_bound(&self) -> Option<i64> {
        bounds::lower(self)
    }

    /// A value that the dim never exceeds, if one is known.
    pub fn upper_bound(&self) -> Option<i64> {
        bounds::upper(self)
    }

    /// Calls `visit` with every occurrence of a symbol, in the order of the text.
    pub fn symbols(&self, visit: &mut impl FnMut(&str)) {
        self.visit_symbols(&mut |name| visit(name));
    }

    fn visit_symbols(&self, visit: &mut dyn FnMut(&str)) {
        for factor in self.terms().iter().flat_map(|term| &term.factors) {
            match factor {
                Atom::Symbol(name) => visit(name),
                Atom::Call(call) => call.arguments.iter().for_each(|argument| argument.visit_symbols(visit)),
            }
        }
    }

    /// The dim with every symbol that `replacement` knows replaced, all at once. Errors as for [`Dim::floordiv`].
    pub fn substitute(&self, replacement: &dyn Fn(&str) -> Option<Dim>) -> Result<Dim> {
        let Form::Sum(sum) = &self.0 else {
            return Ok(self.clone());
        };
        let mut result = Dim::constant(0);
        for term in &sum.terms {
            let mut product = Dim::constant(term.coefficient);
            for factor in &term.factors {
                let value = match factor {
                    Atom::Symbol(name) => match replacement(name) {
                        Some(dim) => dim,
                        None => Dim::from_atom(factor.clone())?,
                    },
                    Atom::Call(call) => {
                        let arguments = call.arguments.iter().map(|argument| argument.substitute(replacement));
                        simplify::call(call.function, &arguments.collect::<Result<Vec<_>>>()?)?
                    }
                };
                product = product.mul(&value)?;
            }
            result = result.add(&product)?;
        }
        Ok(result)
    }

    /// The value where `env` gives the values of the symbols.
    ///
    /// # Errors
    /// `shape`, naming the symbol, when `env` lacks one or gives a negative value; on division by 0; when a value
    /// leaves 64 bits.
    pub fn evaluate(&self, env: &dyn Fn(&str) -> Option<i64>) -> Result<i64> {
        let sum = match &self.0 {
            Form::Constant(value) => return Ok(*value),
            Form::Sum(sum) => sum,
        };
        let too_big = || Error::shape(format!("the value of {self} does not fit in 64 bits"));
        let mut total: i128 = 0;
        for term in &sum.terms {
            let mut product = Some(i128::from(term.coefficient));
            let mut zero = false;
            for factor in &term.factors {
                let value = self.evaluate_atom(factor, env)?;
                zero |= value == 0;
                product = product.and_then(|product| product.checked_mul(value.into()));
            }
            if !zero {
                total = product.and_then(|product| total.checked_add(product)).ok_or_else(too_big)?;
            }
        }
        i64::try_from(total).map_err(|_| too_big())
    }

    fn evaluate_atom(&self, atom: &Atom, env: &dyn Fn(&str) -> Option<i64>) -> Result<i64> {
        let call = match atom {
            Atom::Symbol(name) => {
                return match env(name) {
                    Some(value) if value >= 0 => Ok(value),
                    Some(value) => Err(Error::shape(format!("the dim {name} is {value}, a size is 0 or more"))),
                    None if self.as_symbol().is_some() => Err(Error::shape(format!("the dim {name} has no value"))),
                    None => Err(Error::shape(format!("the dim {self} needs {name}, which has no value"))),
                };
            }
            Atom::Call(call) => call,
        };
        let mut arguments = call.arguments.iter().map(|argument| argument.evaluate(env));
        // A call has two arguments or more.
        let first = arguments.next().unwrap_or(Ok(0))?;
        arguments.try_fold(first, |a, b| apply(call.function, a, b?)).map_err(|error| match error.text() {
            ZERO_DIVISION => Error::shape(format!("the dim {self} divides by zero")),
            _ => error,
        })
    }

    pub(super) fn terms(&self) -> &[Term] {
        match &self.0 {
            Form::Constant(_) => &[],
            Form::Sum(sum) => &sum.terms,
        }
    }

    pub(super) fn to_terms(&self) -> Vec<Term> {
        match &self.0 {
            Form::Constant(value) => vec![Term::constant(*value)],
            Form::Sum(sum) => sum.terms.clone(),
        }
    }

    pub(super) fn size(&self) -> usize {
        match &self.0 {
            Form::Constant(_) => 1,
            Form::Sum(sum) => sum.size,
        }
    }

    /// A bound of the bytes that a symbolic dim takes beside itself; 0 for a constant.
    pub fn bytes(&self) -> usize {
        const BLOCK: usize = 32;
        match &self.0 {
            Form::Constant(_) => 0,
            Form::Sum(sum) => {
                let part = size_of::<Term>() + 2 * size_of::<Atom>() + size_of::<Call>() + size_of::<Sum>() + 3 * BLOCK;
                sum.size * (part + MAX_SYMBOL)
            }
        }
    }

    fn depth(&self) -> usize {
        match &self.0 {
            Form::Constant(_) => 0,
            Form::Sum(sum) => sum.depth,
        }
    }

    pub(super) fn scale(&self, scale: i64) -> Result<Dim> {
        let scaled = self.to_terms().into_iter().map(|term| {
            let coefficient = term.coefficient.checked_mul(scale).ok_or_else(overflow)?;
            Ok(Term { coefficient, ..term })
        });
        Dim::from_terms(scaled.collect::<Result<_>>()?)
    }

    pub(super) fn from_atom(atom: Atom) -> Result<Dim> {
        Dim::from_terms(vec![Term { coefficient: 1, factors: vec![atom] }])
    }

    /// The canonical dim of a sum of terms whose factors are sorted.
    pub(super) fn from_terms(mut terms: Vec<Term>) -> Result<Dim> {
        terms.sort_by(|a, b| product_order(&a.factors, &b.factors));
        let mut merged: Vec<Term> = Vec::with_capacity(terms.len());
        for term in terms {
            match merged.last_mut() {
                Some(last) if last.factors == term.factors => {
                    last.coefficient = last.coefficient.checked_add(term.coefficient).ok_or_else(overflow)?;
                }
                _ => merged.push(term),
            }
        }
        merged.retain(|term| term.coefficient != 0);
        match merged.as_slice() {
            [] => return Ok(Dim::constant(0)),
            [term] if term.factors.is_empty() => return Ok(Dim::constant(term.coefficient)),
            _ => {}
        }
        let size = merged.iter().map(|term| term.factors.iter().map(Atom::size).sum::<usize>().max(1)).sum();
        let depth = merged.iter().flat_map(|term| &term.factors).map(Atom::depth).max().unwrap_or(0);
        if size > MAX_TERMS {
            return Err(Error::shape(format!("a dim has more than {MAX_TERMS} terms")));
        }
        if depth > MAX_DEPTH {
            return Err(Error::shape(format!("a dim is nested deeper than {MAX_DEPTH}")));
        }
        Ok(Dim(Form::Sum(Arc::new(Sum { terms: merged, size, depth }))))
    }
}

const ZERO_DIVISION: &str = "division by zero";

/// The value of `function` on two integers.
///
/// # Errors
/// `shape` for a division by zero, or a quotient that leaves 64 bits.
pub(super) fn apply(function: Function, a: i64, b: i64) -> Result<i64> {
    match function {
        Function::Min => Ok(a.min(b)),
        Function::Max => Ok(a.max(b)),
        Function::FloorDiv | Function::Mod if b == 0 => Err(Error::shape(ZERO_DIVISION)),
        Function::FloorDiv => {
            let quotient = a.checked_div(b).ok_or_else(overflow)?;
            Ok(if a.wrapping_rem(b) != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient })
        }
        Function::Mod => {
            let rest = a.wrapping_rem(b);
            Ok(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
        }
    }
}

impl From<i64> for Dim {
    fn from(value: i64) -> Dim {
        Dim::constant(value)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = match &self.0 {
            Form::Constant(value) => return write!(f, "{value}"),
            Form::Sum(sum) => sum,
        };
        for (index, term) in sum.terms.iter().enumerate() {
            match (term.coefficient < 0, index) {
                (true, _) => f.write_str("-")?,
                (false, 0) => {}
                (false, _) => f.write_str("+")?,
            }
            let magnitude = term.coefficient.unsigned_abs();
            let mut separator = "";
            if magnitude != 1 || term.factors.is_empty() {
                write!(f, "{magnitude}")?;
                separator = "*";
            }
            for factor in &term.factors {
                write!(f, "{separator}{factor}")?;
                separator = "*";
            }
        }
        Ok(())
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = match self {
            Atom::Symbol(name) => return f.write_str(name),
            Atom::Call(call) => call,
        };
        write!(f, "{}(", call.function.name())?;
        for (index, argument) in call.arguments.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{argument}")?;
        }
        f.write_str(")")
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
