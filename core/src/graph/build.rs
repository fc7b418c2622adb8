//! Shorthand for gradient rules, lowerings and passes: apply one op, get its output.

use super::{Graph, Value, op};
use crate::attrs::AttrValue;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::{Dim, Shape};
use crate::tensor::Tensor;

macro_rules! ops_with_one_output {
    ($($name:ident($($input:ident),*);)*) => {
        $(#[doc = concat!("Applies the op `", stringify!($name), "`.")]
        pub fn $name(&mut self, $($input: Value),*) -> Result<Value> {
            self.op(stringify!($name), &[], &[$($input),*])
        })*
    };
}

impl Graph {
    /// Applies the op of that name and gives its only (or first) output.
    ///
    /// # Errors
    /// As [`Graph::apply`].
    pub fn op(&mut self, name: &str, attrs: &[(&str, AttrValue)], inputs: &[Value]) -> Result<Value> {
        let outputs = self.apply(&op(name, attrs)?, Vec::new(), inputs)?;
        outputs.first().copied().ok_or_else(|| Error::internal(format!("{name} has no output")))
    }

    ops_with_one_output! {
        add(x, y);
        sub(x, y);
        mul(x, y);
        div(x, y);
        pow(x, y);
        maximum(x, y);
        minimum(x, y);
        neg(x);
        abs(x);
        exp(x);
        log(x);
        sqrt(x);
        rsqrt(x);
        tanh(x);
        sigmoid(x);
        erf(x);
        equal(x, y);
        not_equal(x, y);
        less(x, y);
        less_equal(x, y);
        logical_and(x, y);
        logical_not(x);
        stop_gradient(x);
        matmul(x, y);
    }

    /// Applies the op `where`.
    pub fn select(&mut self, condition: Value, yes: Value, no: Value) -> Result<Value> {
        self.op("where", &[], &[condition, yes, no])
    }

    /// Applies `cast`, unless the value has that dtype already.
    pub fn cast(&mut self, x: Value, dtype: DType) -> Result<Value> {
        if self.spec(x).dtype == dtype { Ok(x) } else { self.op("cast", &[("dtype", AttrValue::DType(dtype))], &[x]) }
    }

    /// A constant.
    pub fn constant(&mut self, tensor: Tensor) -> Result<Value> {
        self.op("constant", &[("value", AttrValue::Tensor(tensor))], &[])
    }

    /// A scalar constant.
    pub fn scalar(&mut self, dtype: DType, value: f64) -> Result<Value> {
        self.constant(Tensor::scalar(dtype, value)?)
    }

    /// A scalar constant of the dtype of `like`.
    pub fn scalar_like(&mut self, like: Value, value: f64) -> Result<Value> {
        self.scalar(self.spec(like).dtype, value)
    }

    /// A tensor whose elements are all `value`.
    pub fn full(&mut self, dtype: DType, shape: &Shape, value: f64) -> Result<Value> {
        let scalar = self.scalar(dtype, value)?;
        self.broadcast_to(scalar, shape)
    }

    /// A tensor of the spec of `like` whose elements are all `value`.
    pub fn full_like(&mut self, like: Value, value: f64) -> Result<Value> {
        let spec = self.spec(like).clone();
        self.full(spec.dtype, &spec.shape, value)
    }

    /// Applies `broadcast_to`, unless the value has that shape already.
    pub fn broadcast_to(&mut self, x: Value, shape: &Shape) -> Result<Value> {
        if self.spec(x).shape == *shape {
            return Ok(x);
        }
        self.op("broadcast_to", &[("shape", AttrValue::Dims(shape.to_vec()))], &[x])
    }

    /// Applies `reshape`, unless the value has that shape already.
    pub fn reshape(&mut self, x: Value, shape: &[Dim]) -> Result<Value> {
        if self.spec(x).shape[..] == *shape {
            return Ok(x);
        }
        self.op("reshape", &[("shape", AttrValue::Dims(shape.to_vec()))], &[x])
    }

    /// Applies `transpose`: output axis i is input axis `axes[i]`.
    pub fn transpose(&mut self, x: Value, axes: &[i64]) -> Result<Value> {
        self.op("transpose", &[("axes", AttrValue::Ints(axes.to_vec()))], &[x])
    }

    /// Applies `sum`, `max`, ... over `axes`.
    pub fn reduce(&mut self, name: &str, x: Value, axes: &[i64], keepdims: bool) -> Result<Value> {
        let attrs = [("axis", AttrValue::Ints(axes.to_vec())), ("keepdims", AttrValue::Bool(keepdims))];
        self.op(name, &attrs, &[x])
    }

    /// Sums a cotangent over the axes that broadcasting added or stretched, so that it has `shape` again.
    pub fn unbroadcast(&mut self, x: Value, shape: &Shape) -> Result<Value> {
        let from = self.spec(x).shape.clone();
        if from == *shape {
            return Ok(x);
        }
        let added = from.rank() - shape.rank();
        let stretched = |axis: usize| {
            axis < added || (shape[axis - added].as_constant() == Some(1) && from[axis] != shape[axis - added])
        };
        let axes: Vec<i64> = (0..from.rank()).filter(|&axis| stretched(axis)).map(|axis| axis as i64).collect();
        let sum = if axes.is_empty() {
            x
        } else {
            self.reduce(planted!("grad: the mean over broadcast axes", "sum", "mean"), x, &axes, true)?
        };
        self.reshape(sum, shape)
    }
}
