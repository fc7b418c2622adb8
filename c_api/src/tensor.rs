//! Tensors.

use crate::cdl_error;
use crate::error::guard;
use crate::text::{array, borrow, place};
use caudal::{DType, Error, Result, Tensor};
use std::ffi::c_void;

/// dtype `bool`: one byte, 0 or 1.
pub const CDL_BOOL: i32 = 1;
/// dtype `int8`.
pub const CDL_I8: i32 = 2;
/// dtype `int16`.
pub const CDL_I16: i32 = 3;
/// dtype `int32`.
pub const CDL_I32: i32 = 4;
/// dtype `int64`.
pub const CDL_I64: i32 = 5;
/// dtype `uint8`.
pub const CDL_U8: i32 = 6;
/// dtype `uint16`.
pub const CDL_U16: i32 = 7;
/// dtype `uint32`.
pub const CDL_U32: i32 = 8;
/// dtype `uint64`.
pub const CDL_U64: i32 = 9;
/// dtype `float16`.
pub const CDL_F16: i32 = 10;
/// dtype `bfloat16`.
pub const CDL_BF16: i32 = 11;
/// dtype `float32`.
pub const CDL_F32: i32 = 12;
/// dtype `float64`.
pub const CDL_F64: i32 = 13;

/// A tensor: dense, row-major; it never changes once others hold it. Free with `cdl_tensor_free`.
#[repr(C)]
pub struct cdl_tensor {
    /// The elements; NULL if they are not in host memory.
    pub data: *const c_void,
    /// The sizes.
    pub dims: *const i64,
    /// How many sizes there are.
    pub rank: usize,
    /// How many bytes the elements take.
    pub bytes: usize,
    /// One of the dtypes above.
    pub dtype: i32,
    /// 0 is the CPU.
    pub device: i32,
}

#[repr(C)]
struct OwnedTensor {
    public: cdl_tensor,
    dims: Box<[i64]>,
    tensor: Tensor,
}

/// Gives a tensor to the caller.
pub fn give_tensor(tensor: Tensor) -> *mut cdl_tensor {
    let dims: Box<[i64]> = tensor.sizes().iter().map(|&size| size as i64).collect();
    let public = cdl_tensor {
        data: tensor.bytes().as_ptr().cast(),
        dims: dims.as_ptr(),
        rank: dims.len(),
        bytes: tensor.bytes().len(),
        dtype: tensor.dtype() as i32,
        device: 0,
    };
    Box::into_raw(Box::new(OwnedTensor { public, dims, tensor })).cast()
}

/// The tensor of a handle.
///
/// # Safety
/// `tensor` is null or a live handle.
pub unsafe fn tensor(what: &str, tensor: *const cdl_tensor) -> Result<Tensor> {
    // SAFETY: the caller's word; every handle is an `OwnedTensor`.
    unsafe { borrow(what, tensor.cast::<OwnedTensor>()) }.map(|owned| owned.tensor.clone())
}

/// The tensor of a handle that is known to be one.
///
/// # Safety
/// `tensor` is a live handle.
pub unsafe fn live(tensor: *const cdl_tensor) -> Tensor {
    // SAFETY: the caller's word; every handle is an `OwnedTensor`.
    unsafe { (*tensor.cast::<OwnedTensor>()).tensor.clone() }
}

/// The tensors of an array of handles.
///
/// # Safety
/// As [`tensor`] and [`array`].
pub unsafe fn tensors(what: &str, pointer: *const *const cdl_tensor, len: usize) -> Result<Vec<Tensor>> {
    // SAFETY: the caller's word.
    let handles = unsafe { array(what, pointer, len) }?;
    // SAFETY: as above.
    handles.iter().map(|&handle| unsafe { tensor(what, handle) }).collect()
}

/// Writes result tensors to the caller's array.
///
/// # Safety
/// `outputs` is writable for `capacity` pointers.
pub unsafe fn give_tensors(results: Vec<Tensor>, outputs: *mut *mut cdl_tensor, capacity: usize) -> Result<()> {
    if results.len() > capacity || (outputs.is_null() && !results.is_empty()) {
        let count = results.len();
        return Err(Error::argument(format!("outputs has room for {capacity} tensors, there are {count}")));
    }
    for (index, result) in results.into_iter().enumerate() {
        // SAFETY: within the capacity.
        unsafe { outputs.add(index).write(give_tensor(result)) };
    }
    Ok(())
}

/// Sizes that came in as `dims`.
///
/// # Errors
/// `shape`: a negative one.
pub fn sizes(dims: &[i64]) -> Result<Vec<usize>> {
    let size = |&dim: &i64| usize::try_from(dim).map_err(|_| Error::shape(format!("the dim {dim} is not a size")));
    dims.iter().map(size).collect()
}

/// The dtype of that number.
///
/// # Errors
/// `dtype`: there is none.
pub fn dtype(number: i32) -> Result<DType> {
    DType::from_number(number).ok_or_else(|| Error::dtype(format!("there is no dtype {number}")))
}

/// Makes a tensor by copying `bytes` bytes; `data` NULL makes zeros.
///
/// # Safety
/// `dims` is readable for `rank` values, `data` for `bytes` bytes, `out` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_tensor_new(
    dtype: i32,
    dims: *const i64,
    rank: usize,
    data: *const c_void,
    bytes: usize,
    out: *mut *mut cdl_tensor,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word.
        let out = unsafe { place("out", out) }?;
        // SAFETY: the caller's word.
        let sizes = sizes(unsafe { array("dims", dims, rank) }?)?;
        let dtype = self::dtype(dtype)?;
        let tensor = if data.is_null() {
            Tensor::zeros(dtype, &sizes, None)?
        } else {
            // SAFETY: the caller's word.
            Tensor::from_bytes(dtype, &sizes, unsafe { array("data", data.cast::<u8>(), bytes) }?, None)?
        };
        out.write(give_tensor(tensor));
        Ok(())
    })
}

/// The elements for writing; NULL if others hold the tensor or it is not in host memory.
///
/// # Safety
/// `tensor` is null or a live handle that nobody else uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_tensor_data_mut(tensor: *mut cdl_tensor) -> *mut c_void {
    // SAFETY: the caller's word.
    let owned = unsafe { tensor.cast::<OwnedTensor>().as_mut() };
    let bytes = owned.and_then(|owned| owned.tensor.bytes_mut());
    bytes.map_or(std::ptr::null_mut(), |bytes| bytes.as_mut_ptr().cast())
}

/// Frees a handle; null is fine. The elements live on while others hold them.
///
/// # Safety
/// `tensor` came from this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_tensor_free(tensor: *mut cdl_tensor) {
    if !tensor.is_null() {
        // SAFETY: made by `give_tensor`, whose first field it points to.
        let owned = unsafe { Box::from_raw(tensor.cast::<OwnedTensor>()) };
        drop(owned.dims);
    }
}
