//! Shapes: [`Dim`] (integers and symbolic arithmetic), [`Shape`], broadcasting, and the values of symbols at run time.

mod bindings;
mod bounds;
mod dim;
mod parse;
mod simplify;

use std::fmt;
use std::ops::Deref;

use crate::cpu::call::List;
use crate::error::{Error, Result};

pub use bindings::{Bindings, Mismatch};
pub use dim::{Dim, MAX_DEPTH, MAX_SYMBOL, MAX_TERMS};
pub use parse::MAX_TEXT;

/// The most dims that [`Shape::parse`] and [`Shape::new`] take.
pub const MAX_RANK: usize = 32;

/// The dims of a tensor, outermost first. It displays as `[batch, 28, 28, 1]`.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<Dim>);

impl Shape {
    /// The shape of `dims`.
    ///
    /// # Errors
    /// `shape` when a dim is negative whatever its symbols are, or there are more than [`MAX_RANK`].
    pub fn new(dims: Vec<Dim>) -> Result<Shape> {
        if dims.len() > MAX_RANK {
            return Err(Error::shape(format!("a shape has {} dims, more than {MAX_RANK}", dims.len())));
        }
        match dims.iter().find(|dim| dim.upper_bound().is_some_and(|bound| bound < 0)) {
            Some(dim) => Err(Error::shape(format!("the shape {} has the negative dim {dim}", Shape(dims.clone())))),
            None => Ok(Shape(dims)),
        }
    }

    /// The shape of known sizes, which the caller has checked.
    pub fn of(sizes: &[i64]) -> Shape {
        Shape(sizes.iter().copied().map(Dim::constant).collect())
    }

    /// Reads the text form, `[batch, 2*n+1, 3]`.
    ///
    /// # Errors
    /// `argument` for other text; those of [`Dim::parse`] and [`Shape::new`].
    pub fn parse(text: &str) -> Result<Shape> {
        parse::shape(text)
    }

    /// The number of dims.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The dims themselves.
    pub fn into_dims(self) -> Vec<Dim> {
        self.0
    }

    /// Whether no dim has a symbol.
    pub fn is_constant(&self) -> bool {
        self.0.iter().all(|dim| !dim.is_symbolic())
    }

    /// The sizes of a shape without symbols; none also for a size that is negative or that this machine cannot hold.
    pub fn sizes(&self) -> Option<Vec<usize>> {
        self.0.iter().map(|dim| usize::try_from(dim.as_constant()?).ok()).collect()
    }

    /// The number of elements: the product of the dims, 1 for a scalar. Errors as for [`Dim::mul`].
    pub fn elements(&self) -> Result<Dim> {
        if self.0.iter().any(|dim| dim.as_constant() == Some(0)) {
            return Ok(Dim::constant(0));
        }
        self.0.iter().try_fold(Dim::constant(1), |product, dim| product.mul(dim))
    }

    /// The shape with symbols replaced, as [`Dim::substitute`] does.
    pub fn substitute(&self, replacement: &dyn Fn(&str) -> Option<Dim>) -> Result<Shape> {
        Ok(Shape(self.0.iter().map(|dim| dim.substitute(replacement)).collect::<Result<_>>()?))
    }

    /// The sizes where `env` gives the values of the symbols.
    ///
    /// # Errors
    /// Those of [`Dim::evaluate`]; `shape` for a size that is negative, `memory` for one that this machine cannot
    /// address.
    pub fn evaluate(&self, env: &dyn Fn(&str) -> Option<i64>) -> Result<Vec<usize>> {
        self.evaluate_list(env).map(List::into_vec)
    }

    /// As [`Shape::evaluate`], without heap for up to 8 dims.
    ///
    /// # Errors
    /// As [`Shape::evaluate`].
    pub fn evaluate_list(&self, env: &dyn Fn(&str) -> Option<i64>) -> Result<List<usize>> {
        let size = |dim: &Dim| {
            let value = dim.evaluate(env)?;
            usize::try_from(value).map_err(|_| match value {
                ..0 => Error::shape(format!("the dim {dim} of the shape {self} is {value}")),
                _ => Error::memory(format!("the size {value} of the shape {self} is larger than memory can be")),
            })
        };
        self.0.iter().map(size).collect()
    }
}

impl Deref for Shape {
    type Target = [Dim];

    fn deref(&self) -> &[Dim] {
        &self.0
    }
}

impl From<Vec<Dim>> for Shape {
    /// Without the checks of [`Shape::new`].
    fn from(dims: Vec<Dim>) -> Shape {
        Shape(dims)
    }
}

impl FromIterator<Dim> for Shape {
    /// Without the checks of [`Shape::new`].
    fn from_iter<I: IntoIterator<Item = Dim>>(dims: I) -> Shape {
        Shape(dims.into_iter().collect())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_list(f, &self.0)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn write_list<T: fmt::Display>(f: &mut dyn fmt::Write, items: &[T]) -> fmt::Result {
    f.write_str("[")?;
    for (index, item) in items.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        write!(f, "{separator}{item}")?;
    }
    f.write_str("]")
}

fn sizes_text(sizes: &[usize]) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_list(&mut text, sizes);
    text
}

/// `left == right` must hold when the sizes are known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Constraint {
    /// One side.
    pub left: Dim,
    /// The other side.
    pub right: Dim,
}

impl Constraint {
    /// Whether it holds where `env` gives the values of the symbols. Errors as for [`Dim::evaluate`].
    pub fn holds(&self, env: &dyn Fn(&str) -> Option<i64>) -> Result<bool> {
        Ok(self.left.evaluate(env)? == self.right.evaluate(env)?)
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} == {}", self.left, self.right)
    }
}

/// The dim that both must be; none when they differ provably. What cannot be decided becomes a constraint, and the
/// constant one, or else the left one, is the result.
fn merge(a: &Dim, b: &Dim, constraints: &mut Vec<Constraint>) -> Option<Dim> {
    if a.equals_provably(b) {
        return Some(a.clone());
    }
    if a.differs_provably(b) {
        return None;
    }
    let constraint = Constraint { left: a.clone(), right: b.clone() };
    // Those of the last few inputs: an op of very many would take a time that grows with their square.
    if !constraints.iter().rev().take(MAX_RANK).any(|other| *other == constraint) {
        constraints.push(constraint);
    }
    Some(if b.is_symbolic() { a.clone() } else { b.clone() })
}

/// The dim of two axes that must have the same size; what cannot be decided is added to `constraints`, and the
/// constant one of the two, or else `a`, is the result.
///
/// # Errors
/// `shape` when the two differ whatever their symbols are.
pub fn unify(a: &Dim, b: &Dim, constraints: &mut Vec<Constraint>) -> Result<Dim> {
    merge(a, b, constraints).ok_or_else(|| Error::shape(format!("the dims {a} and {b} differ")))
}

/// The shape of an element-wise operation, by NumPy's rules: shapes are aligned at their last dims; dims must be
/// equal, or one of them the literal 1. What cannot be decided is added to `constraints` as an equality: a symbol
/// that happens to be 1 at run time does not broadcast.
///
/// # Errors
/// `shape` when two dims differ whatever their symbols are, and neither is 1.
pub fn broadcast(a: &Shape, b: &Shape, constraints: &mut Vec<Constraint>) -> Result<Shape> {
    let rank = a.rank().max(b.rank());
    let dim =
        |shape: &Shape, axis: usize| (axis + shape.rank()).checked_sub(rank).and_then(|axis| shape.get(axis).cloned());
    let one = Dim::constant(1);
    let mut dims = Vec::with_capacity(rank);
    for axis in 0..rank {
        let (left, right) = (dim(a, axis).unwrap_or_else(|| one.clone()), dim(b, axis).unwrap_or_else(|| one.clone()));
        let merged = if left == one {
            Some(right)
        } else if right == one {
            Some(left)
        } else {
            merge(&left, &right, constraints)
        };
        let refused = || Error::shape(format!("shapes {a} and {b} cannot be broadcast together"));
        dims.push(merged.ok_or_else(refused)?);
    }
    Ok(Shape(dims))
}

#[cfg(test)]
mod tests;
