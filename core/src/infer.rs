//! What an op's `infer` sees, and the inference that many ops share.

use crate::attrs::Attrs;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::op::{OpDef, Spec};
use crate::shape::{Constraint, Dim, Shape, broadcast, unify};
use std::sync::Arc;

/// The inputs of one use of an op; collects the constraints that only real sizes can decide.
pub struct Infer<'a> {
    /// The op.
    pub def: &'static OpDef,
    /// Its attrs.
    pub attrs: &'a Attrs,
    /// The specs of its inputs; `None` where one was left out.
    pub inputs: &'a [Option<&'a Spec>],
    /// Its regions.
    pub regions: &'a [Arc<Graph>],
    /// Pairs of dims that must be equal once sizes are known.
    pub constraints: Vec<Constraint>,
}

impl<'a> Infer<'a> {
    /// The spec of a required input.
    pub fn input(&self, index: usize) -> Result<&'a Spec> {
        self.optional(index).ok_or_else(|| {
            let name = self.def.input(index).map_or("?", |input| input.name);
            Error::argument(format!("the input {name} is required")).with_argument(name)
        })
    }

    /// The spec of an input, unless it was left out.
    pub fn optional(&self, index: usize) -> Option<&'a Spec> {
        self.inputs.get(index).copied().flatten()
    }

    /// The dims of a required input, which must be `rank` many.
    pub fn shape_of_rank(&self, index: usize, rank: usize) -> Result<&'a Shape> {
        let shape = &self.input(index)?.shape;
        if shape.rank() == rank {
            return Ok(shape);
        }
        let name = self.def.input(index).map_or("?", |input| input.name);
        Err(Error::shape(format!("{name} has shape {shape}, not rank {rank}")).with_argument(name))
    }

    /// The NumPy broadcast of two shapes.
    pub fn broadcast(&mut self, a: &Shape, b: &Shape) -> Result<Shape> {
        broadcast(a, b, &mut self.constraints)
    }

    /// Two dims that must be the same.
    pub fn unify(&mut self, a: &Dim, b: &Dim) -> Result<Dim> {
        unify(a, b, &mut self.constraints)
    }

    /// A dim that must not be less than another.
    pub fn at_least(&mut self, dim: &Dim, least: &Dim) -> Result<()> {
        let both = dim.min(least)?;
        self.unify(&both, least).map(|_| ()).map_err(|_| Error::shape(format!("{dim} is less than {least}")))
    }

    /// Two shapes that must be the same.
    pub fn unify_shapes(&mut self, a: &Shape, b: &Shape) -> Result<Shape> {
        if a.rank() != b.rank() {
            return Err(Error::shape(format!("shapes {a} and {b} differ in rank")));
        }
        let dims = a.iter().zip(b.iter()).map(|(a, b)| self.unify(a, b)).collect::<Result<Vec<_>>>();
        dims.and_then(Shape::new).map_err(|_| Error::shape(format!("shapes {a} and {b} differ")))
    }

    /// The broadcast of all inputs that are there.
    pub fn broadcast_all(&mut self) -> Result<Shape> {
        let inputs = self.inputs;
        let mut shape = Shape::of(&[]);
        for spec in inputs.iter().flatten() {
            shape = self.broadcast(&shape, &spec.shape)?;
        }
        Ok(shape)
    }
}

/// Broadcasts the inputs; the dtype is the first input's.
pub fn elementwise(infer: &mut Infer) -> Result<Vec<Spec>> {
    let shape = infer.broadcast_all()?;
    Ok(vec![Spec::new(infer.input(0)?.dtype, shape)])
}

/// Broadcasts the inputs; the dtype is `bool`.
pub fn predicate(infer: &mut Infer) -> Result<Vec<Spec>> {
    let shape = infer.broadcast_all()?;
    Ok(vec![Spec::new(crate::dtype::DType::Bool, shape)])
}

/// The spec of the first input.
pub fn like_first(infer: &mut Infer) -> Result<Vec<Spec>> {
    Ok(vec![infer.input(0)?.clone()])
}
