//! [`Bindings`]: the values of symbols, found by comparing the shapes of arguments with their specs.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use super::dim::{Atom, Dim, Term};
use super::{Shape, sizes_text};

/// The values of symbols. There are few, so that a list is faster than a map; where there are many it has an index.
#[derive(Debug, Clone, Default)]
pub struct Bindings {
    values: SmallVec<[(Arc<str>, i64); 4]>,
    /// Where each symbol stands, once there are more than [`FEW`].
    index: HashMap<Arc<str>, usize>,
}

const FEW: usize = 32;

impl PartialEq for Bindings {
    fn eq(&self, other: &Bindings) -> bool {
        self.values == other.values
    }
}

impl Eq for Bindings {}

/// How an argument's shape does not fit its spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The axis that does not fit; none when the number of axes does not.
    pub axis: Option<usize>,
    /// What the spec asks for: `28`, `n = 32`, `2*n+1` (no `n` fits); the spec's shape when there is no axis.
    pub expected: String,
    /// The size, or the whole shape when there is no axis.
    pub actual: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.axis {
            Some(axis) => write!(f, "axis {axis} is {}, expected {}", self.actual, self.expected),
            None => write!(f, "the shape is {}, expected {}", self.actual, self.expected),
        }
    }
}

/// What became of a dim that is compared with a size.
enum Outcome {
    Fits,
    Differs(String),
    /// Symbols without a value are left.
    Open,
}

impl Bindings {
    /// No symbol has a value.
    pub fn new() -> Bindings {
        Bindings::default()
    }

    /// The value of the symbol `name`.
    pub fn get(&self, name: &str) -> Option<i64> {
        self.position(name).map(|index| self.values[index].1)
    }

    fn position(&self, name: &str) -> Option<usize> {
        match self.values.len() {
            ..=FEW => self.values.iter().position(|(known, _)| **known == *name),
            _ => self.index.get(name).copied(),
        }
    }

    fn push(&mut self, name: Arc<str>, value: i64) {
        self.values.push((name, value));
        if self.values.len() > FEW {
            for (position, (name, _)) in self.values.iter().enumerate().skip(self.index.len()) {
                self.index.insert(name.clone(), position);
            }
        }
    }

    /// Gives a symbol a value, in place of an earlier one.
    pub fn set(&mut self, name: &Arc<str>, value: i64) {
        match self.position(name) {
            Some(position) => self.values[position].1 = value,
            None => self.push(name.clone(), value),
        }
    }

    /// Forgets all values and keeps the memory.
    pub fn clear(&mut self) {
        self.values.clear();
        self.index.clear();
    }

    /// All symbols with their values, in the order in which they were bound.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.values.iter().map(|(name, value)| (&**name, *value))
    }

    /// Compares `actual` with `spec` and binds the symbols of `spec`: first dims that are a lone symbol, then the
    /// others, solving for a symbol that stands in one linear term (`2*n+1`).
    ///
    /// # Errors
    /// A `Mismatch` when a size differs from its dim, or a dim holds symbols that nothing gives a value. What was
    /// bound before it was found stays.
    pub fn bind(&mut self, spec: &Shape, actual: &[usize]) -> Result<(), Mismatch> {
        self.bind_all(std::iter::once((spec, actual))).map_err(|(_, mismatch)| mismatch)
    }

    /// [`Bindings::bind`] for several specs that share symbols, whichever of them gives a symbol its value.
    ///
    /// # Errors
    /// The position of the first spec that does not fit, and how it does not.
    pub fn bind_all<'a, I>(&mut self, arguments: I) -> Result<(), (usize, Mismatch)>
    where
        I: Iterator<Item = (&'a Shape, &'a [usize])> + Clone,
    {
        for (position, (spec, actual)) in arguments.clone().enumerate() {
            self.bind_symbols(spec, actual).map_err(|mismatch| (position, mismatch))?;
        }
        let (known, mut open) = (self.values.len(), false);
        for (position, (spec, actual)) in arguments.clone().enumerate() {
            open |= self.compare_others(spec, actual).map_err(|mismatch| (position, mismatch))?.is_some();
        }
        if open { self.bind_open(arguments, known) } else { Ok(()) }
    }

    /// Decides the dims that are open. Each is looked at once more whenever one of its symbols, of which those after the
    /// first `known` are new, has got a value.
    fn bind_open<'a, I>(&mut self, arguments: I, known: usize) -> Result<(), (usize, Mismatch)>
    where
        I: Iterator<Item = (&'a Shape, &'a [usize])>,
    {
        let (mut open, mut waiting) = (Vec::new(), HashMap::<String, Vec<usize>>::new());
        for (position, (spec, actual)) in arguments.enumerate() {
            for (axis, (dim, &size)) in spec.iter().zip(actual).enumerate().filter(|(_, (dim, _))| dim.is_symbolic()) {
                dim.symbols(&mut |name| waiting.entry(name.into()).or_default().push(open.len()));
                open.push((position, axis, dim, size));
            }
        }
        let mut next = known;
        while let Some((name, _)) = self.values.get(next) {
            for index in waiting.remove(&**name).unwrap_or_default() {
                let (position, axis, dim, size) = open[index];
                if let Outcome::Differs(expected) = self.compare(dim, size) {
                    return Err((position, Mismatch { axis: Some(axis), expected, actual: size.to_string() }));
                }
            }
            next += 1;
        }
        let undecided = |dim: &Dim| {
            let mut unknown = false;
            dim.symbols(&mut |name| unknown |= self.get(name).is_none());
            unknown
        };
        match open.iter().find(|(_, _, dim, _)| undecided(dim)) {
            None => Ok(()),
            Some(&(position, axis, dim, size)) => {
                let (expected, actual) = (dim.to_string(), size.to_string());
                Err((position, Mismatch { axis: Some(axis), expected, actual }))
            }
        }
    }

    fn bind_symbols(&mut self, spec: &Shape, actual: &[usize]) -> Result<(), Mismatch> {
        if spec.len() != actual.len() {
            return Err(Mismatch { axis: None, expected: spec.to_string(), actual: sizes_text(actual) });
        }
        for (axis, (dim, &size)) in spec.iter().zip(actual).enumerate() {
            let Some(name) = dim.as_symbol() else { continue };
            let differs = |expected| Mismatch { axis: Some(axis), expected, actual: size.to_string() };
            let Ok(value) = i64::try_from(size) else {
                return Err(differs(name.to_string()));
            };
            match self.get(name) {
                Some(bound) if bound == value => {}
                Some(bound) => return Err(differs(format!("{name} = {bound}"))),
                None => self.push(name.clone(), value),
            }
        }
        Ok(())
    }

    /// Compares the dims that are no lone symbol; gives the first that could not be decided.
    fn compare_others(&mut self, spec: &Shape, actual: &[usize]) -> Result<Option<Mismatch>, Mismatch> {
        let mut open = None;
        for (axis, (dim, &size)) in spec.iter().zip(actual).enumerate() {
            if dim.as_symbol().is_some() {
                continue;
            }
            let mismatch = |expected| Mismatch { axis: Some(axis), expected, actual: size.to_string() };
            match self.compare(dim, size) {
                Outcome::Fits => {}
                Outcome::Differs(expected) => return Err(mismatch(expected)),
                Outcome::Open if open.is_none() => open = Some(mismatch(dim.to_string())),
                Outcome::Open => {}
            }
        }
        Ok(open)
    }

    fn compare(&mut self, dim: &Dim, size: usize) -> Outcome {
        let Ok(size) = i64::try_from(size) else {
            return Outcome::Differs(dim.to_string());
        };
        if let Some(value) = dim.as_constant() {
            return if value == size { Outcome::Fits } else { Outcome::Differs(value.to_string()) };
        }
        let mut unknown = false;
        dim.symbols(&mut |name| unknown |= self.get(name).is_none());
        if unknown {
            return self.solve(dim, size);
        }
        match dim.evaluate(&|name| self.get(name)) {
            Ok(value) if value == size => Outcome::Fits,
            Ok(value) => Outcome::Differs(format!("{dim} = {value}")),
            Err(_) => Outcome::Differs(dim.to_string()),
        }
    }

    /// Binds the only unknown symbol of `dim`, where it stands in one term and there alone or among known factors.
    fn solve(&mut self, dim: &Dim, size: i64) -> Outcome {
        let mut unknown: Option<(&Arc<str>, i128)> = None;
        let mut rest = i128::from(size);
        for term in dim.terms() {
            match self.term(term) {
                Some((Some(name), scale)) if unknown.is_none() => unknown = Some((name, scale)),
                Some((None, value)) => match rest.checked_sub(value) {
                    Some(difference) => rest = difference,
                    None => return Outcome::Differs(dim.to_string()),
                },
                _ => return Outcome::Open,
            }
        }
        let Some((name, scale)) = unknown.filter(|(_, scale)| *scale != 0) else {
            return Outcome::Open;
        };
        match (rest.checked_rem(scale), rest.checked_div(scale).map(i64::try_from)) {
            (Some(0), Some(Ok(value))) if value >= 0 => {
                self.push(name.clone(), value);
                Outcome::Fits
            }
            _ => Outcome::Differs(dim.to_string()),
        }
    }

    /// The term's unknown symbol, if it has one, and the product of all else; none when more is unknown.
    fn term<'a>(&self, term: &'a Term) -> Option<(Option<&'a Arc<str>>, i128)> {
        let mut unknown = None;
        let mut product = i128::from(term.coefficient);
        for factor in &term.factors {
            let value = match factor {
                Atom::Symbol(name) => match self.get(name) {
                    Some(value) => value,
                    None if unknown.is_none() => {
                        unknown = Some(name);
                        continue;
                    }
                    None => return None,
                },
                Atom::Call(_) => Dim::from_atom(factor.clone()).ok()?.evaluate(&|name| self.get(name)).ok()?,
            };
            product = product.checked_mul(value.into())?;
        }
        Some((unknown, product))
    }
}
