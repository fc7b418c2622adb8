//! Tensors: dense row-major data that never changes once it is shared.

use crate::cpu::block::{Block, Description};
use crate::cpu::memory::{Budget, Buffer, as_bytes, cast_slice};
use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::op::Spec;
use crate::shape::Shape;
use std::fmt;
use std::sync::Arc;

/// A dtype, sizes, and `product(sizes)` elements in row-major order. Clones are holders of the same memory.
#[derive(Clone)]
#[repr(transparent)]
pub struct Tensor(Block);

/// The bytes that a dense tensor of these sizes takes.
///
/// # Errors
/// `memory`: more than this machine can address.
pub fn byte_count(dtype: DType, sizes: &[usize]) -> Result<usize> {
    let too_many = || Error::memory(format!("a {dtype} tensor of shape {sizes:?} is larger than memory can be"));
    // A zero makes the tensor empty, however large the other sizes are.
    if sizes.contains(&0) {
        return Ok(0);
    }
    let elements = sizes.iter().try_fold(1u64, |all, &size| all.checked_mul(size as u64));
    let bytes = elements.and_then(|all| all.checked_mul(dtype.size() as u64)).ok_or_else(too_many)?;
    usize::try_from(bytes).ok().filter(|&bytes| isize::try_from(bytes).is_ok()).ok_or_else(too_many)
}

/// An element of any dtype from a number, rounded and saturated as `cast` does: the first bytes of a word.
pub(crate) fn scalar_word(dtype: DType, value: f64) -> u64 {
    fn word<T: Element>(element: T) -> u64 {
        let (mut word, bytes) = ([0u8; 8], [element]);
        let bytes = as_bytes(&bytes);
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_ne_bytes(word)
    }
    use DType::*;
    match dtype {
        Bool => word((value != 0.0) as u8),
        I8 => word(value as i8),
        I16 => word(value as i16),
        I32 => word(value as i32),
        I64 => word(value as i64),
        U8 => word(value as u8),
        U16 => word(value as u16),
        U32 => word(value as u32),
        U64 => word(value as u64),
        F16 => word(crate::dtype::to_f16(value)),
        BF16 => word(crate::dtype::to_bf16(value)),
        F32 => word(value as f32),
        F64 => word(value),
    }
}

impl Tensor {
    /// A tensor of zeros.
    ///
    /// # Errors
    /// `memory`: over the budget, or too large.
    pub fn zeros(dtype: DType, sizes: &[usize], budget: Option<&Arc<Budget>>) -> Result<Tensor> {
        Block::zeroed(dtype, sizes, byte_count(dtype, sizes)?, budget).map(Tensor)
    }

    /// A tensor over a buffer that holds exactly its elements.
    ///
    /// # Errors
    /// `argument`: the buffer has another length, or is not aligned to its elements; `memory`: the system has no more.
    pub fn from_buffer(dtype: DType, sizes: &[usize], buffer: Arc<Buffer>) -> Result<Tensor> {
        let bytes = byte_count(dtype, sizes)?;
        if bytes != buffer.len() {
            let len = buffer.len();
            return Err(Error::argument(format!("{dtype} of shape {sizes:?} takes {bytes} bytes, {len} were given")));
        }
        if bytes != 0 && buffer.pointer().align_offset(dtype.size()) != 0 {
            return Err(Error::argument(format!("the data is not aligned to {} bytes", dtype.size())));
        }
        Block::of_buffer(dtype, sizes, buffer).map(Tensor)
    }

    /// A copy of raw bytes in native order.
    ///
    /// # Errors
    /// `argument`: another number of bytes than the shape takes. `memory`: as [`Tensor::zeros`].
    pub fn from_bytes(dtype: DType, sizes: &[usize], bytes: &[u8], budget: Option<&Arc<Budget>>) -> Result<Tensor> {
        let expected = byte_count(dtype, sizes)?;
        if bytes.len() != expected {
            let len = bytes.len();
            return Err(Error::argument(format!(
                "{dtype} of shape {sizes:?} takes {expected} bytes, {len} were given"
            )));
        }
        let mut block = Block::zeroed(dtype, sizes, expected, budget)?;
        if let Some(target) = block.bytes_mut() {
            target.copy_from_slice(bytes);
            if dtype == DType::Bool {
                target.iter_mut().for_each(|byte| *byte = (*byte != 0) as u8);
            }
        }
        Ok(Tensor(block))
    }

    /// A copy of elements.
    ///
    /// # Errors
    /// `dtype`: `T` does not store that dtype. Others as [`Tensor::from_bytes`].
    pub fn from_slice<T: Element>(dtype: DType, sizes: &[usize], elements: &[T]) -> Result<Tensor> {
        if !T::DTYPES.contains(dtype) {
            return Err(Error::dtype(format!("elements of {} are not {dtype}", T::DTYPES)));
        }
        Tensor::from_bytes(dtype, sizes, as_bytes(elements), None)
    }

    /// A scalar of any dtype from a number, rounded and saturated as `cast` does.
    ///
    /// # Errors
    /// `memory`: the system has none.
    pub fn scalar(dtype: DType, value: f64) -> Result<Tensor> {
        let word = [scalar_word(dtype, value)];
        Tensor::from_bytes(dtype, &[], &as_bytes(&word)[..dtype.size()], None)
    }

    /// Its dtype.
    pub fn dtype(&self) -> DType {
        self.0.dtype()
    }

    /// Its sizes; empty for a scalar.
    pub fn sizes(&self) -> &[usize] {
        self.0.sizes()
    }

    /// Its dtype and shape.
    pub fn spec(&self) -> Spec {
        let sizes: Vec<i64> = self.sizes().iter().map(|&size| size as i64).collect();
        Spec::new(self.dtype(), Shape::of(&sizes))
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.0.len() / self.dtype().size()
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its elements as bytes in native order.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Its elements.
    ///
    /// # Errors
    /// `dtype`: `T` does not store this dtype.
    pub fn elements<T: Element>(&self) -> Result<&[T]> {
        if !T::DTYPES.contains(self.dtype()) {
            return Err(Error::dtype(format!("a {} tensor was read as {}", self.dtype(), T::DTYPES)));
        }
        Ok(cast_slice(self.bytes()))
    }

    /// Its bytes for writing, while nobody else holds them and they are caudal's own.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        self.0.bytes_mut()
    }

    /// Whether nobody else holds its memory and that is caudal's own, so that it may be written.
    pub fn is_sole(&self) -> bool {
        self.0.is_sole()
    }

    /// What other languages read; it lives as long as the tensor has holders.
    pub fn description(&self) -> &Description {
        self.0.description()
    }

    /// The memory, which describes itself; it counts as a holder until it is a tensor again.
    pub fn into_block(self) -> Block {
        self.0
    }

    /// The tensor of a block.
    pub fn from_block(block: Block) -> Tensor {
        Tensor(block)
    }

    /// The same elements under other sizes.
    ///
    /// # Errors
    /// `argument`: another number of elements; `memory`: the system has no more.
    pub fn reshaped(&self, sizes: &[usize]) -> Result<Tensor> {
        let (dtype, bytes) = (self.dtype(), byte_count(self.dtype(), sizes)?);
        if bytes != self.0.len() {
            let len = self.0.len();
            return Err(Error::argument(format!("{dtype} of shape {sizes:?} takes {bytes} bytes, {len} were given")));
        }
        self.0.resized(sizes).map(Tensor)
    }
}

impl PartialEq for Tensor {
    /// Equal to the bit: NaN equals the same NaN, 0 differs from -0.
    fn eq(&self, other: &Tensor) -> bool {
        let same_memory = std::ptr::eq(self.bytes(), other.bytes());
        self.dtype() == other.dtype() && self.sizes() == other.sizes() && (same_memory || self.bytes() == other.bytes())
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {:?})", self.dtype(), self.sizes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_no_memory_holds_are_an_error() {
        let error = Tensor::zeros(DType::F32, &[usize::MAX, 2], None).unwrap_err();
        assert!(error.to_string().ends_with("is larger than memory can be"), "{error}");
        assert_eq!(Tensor::zeros(DType::F32, &[usize::MAX, 0], None).unwrap().len(), 0);
    }

    #[test]
    fn budget_refuses_and_is_given_back() {
        let budget = Arc::new(Budget::new(100));
        let held = Tensor::zeros(DType::F32, &[20], Some(&budget)).unwrap();
        let error = Tensor::zeros(DType::F32, &[20], Some(&budget)).unwrap_err();
        assert_eq!(error.to_string(), "80 bytes more than the 80 in use pass the limit of 100 bytes");
        drop(held);
        assert_eq!((budget.used(), budget.peak()), (0, 80));
    }

    #[test]
    fn writing_needs_a_sole_holder() {
        let mut tensor = Tensor::scalar(DType::F32, 1.5).unwrap();
        assert!(tensor.bytes_mut().is_some());
        let _other = tensor.clone();
        assert!(tensor.bytes_mut().is_none());
    }
}
