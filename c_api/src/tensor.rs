//! Tensors.

use crate::error::guard;
use crate::limits::limits_or_none;
use crate::text::{array, null, place, text};
use crate::{cdl_error, cdl_limits};
use caudal::cpu::block::{Block, Description};
use caudal::meter::Charge;
use caudal::{DType, Error, Result, Tensor, gpu};
use std::ffi::{c_char, c_void};
use std::mem::offset_of;
use std::ptr::NonNull;

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
    /// 0 is the CPU, `1 + n` the device `gpu:n`.
    pub device: i32,
}

// A handle is a holder of the core's block, which begins with a description of the same fields.
const _: () = {
    assert!(size_of::<cdl_tensor>() == size_of::<Description>());
    assert!(offset_of!(cdl_tensor, data) == offset_of!(Description, data));
    assert!(offset_of!(cdl_tensor, dims) == offset_of!(Description, dims));
    assert!(offset_of!(cdl_tensor, rank) == offset_of!(Description, rank));
    assert!(offset_of!(cdl_tensor, bytes) == offset_of!(Description, bytes));
    assert!(offset_of!(cdl_tensor, dtype) == offset_of!(Description, dtype));
    assert!(offset_of!(cdl_tensor, device) == offset_of!(Description, device));
    assert!(size_of::<Option<Tensor>>() == size_of::<*const cdl_tensor>());
};

/// Gives a tensor to the caller. Handles of one tensor may be the same pointer; each is freed.
pub fn give_tensor(tensor: Tensor) -> *mut cdl_tensor {
    tensor.into_block().into_raw().cast()
}

/// The tensor of a handle.
///
/// # Safety
/// `tensor` is null or a live handle.
pub unsafe fn tensor(what: &str, tensor: *const cdl_tensor) -> Result<Tensor> {
    // SAFETY: the caller's word.
    let tensors = unsafe { optional_tensors(what, &tensor, 1) }?;
    tensors[0].clone().ok_or_else(|| null(what))
}

/// The tensors of an array of handles, NULL for one that was left out.
///
/// # Safety
/// The handles are live and as [`array`] says, both for `'a`.
pub unsafe fn optional_tensors<'a>(
    what: &str,
    pointer: *const *const cdl_tensor,
    len: usize,
) -> Result<&'a [Option<Tensor>]> {
    // SAFETY: a handle is a tensor's only field, and NULL its absence.
    unsafe { array(what, pointer.cast::<Option<Tensor>>(), len) }
}

/// The tensors of an array of handles.
///
/// # Safety
/// As [`optional_tensors`].
pub unsafe fn tensors<'a>(what: &str, pointer: *const *const cdl_tensor, len: usize) -> Result<&'a [Tensor]> {
    // SAFETY: the caller's word.
    if unsafe { optional_tensors(what, pointer, len) }?.contains(&None) {
        return Err(null(what));
    }
    // SAFETY: the caller's word; none of them is NULL.
    unsafe { array(what, pointer.cast::<Tensor>(), len) }
}

/// Checks that there is room for the results of a call.
///
/// # Errors
/// `argument`: there is not.
pub fn check_room(results: usize, outputs: *mut *mut cdl_tensor, capacity: usize) -> Result<()> {
    if results <= capacity && (results == 0 || !outputs.is_null()) {
        return Ok(());
    }
    Err(Error::argument(format!("outputs has room for {capacity} tensors, there are {results}")))
}

/// Writes result tensors to the caller's array.
///
/// # Safety
/// `outputs` is writable for `capacity` pointers.
pub unsafe fn give_tensors(results: Vec<Tensor>, outputs: *mut *mut cdl_tensor, capacity: usize) -> Result<()> {
    check_room(results.len(), outputs, capacity)?;
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

/// The tensor on a device, by the name that the options of a session take. To the CPU it waits for the device that has it.
/// Where it is there already it is another handle of the same tensor.
///
/// # Safety
/// `tensor` is a live handle, `device` is readable text, `limits` is NULL or live, `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_tensor_to(
    tensor: *const cdl_tensor,
    device: *const c_char,
    device_len: usize,
    limits: *const cdl_limits,
    out: *mut *mut cdl_tensor,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (tensor, out) = unsafe { (self::tensor("tensor", tensor)?, place("out", out)?) };
        let device = unsafe { text("device", device, device_len) }?;
        let limits = unsafe { limits_or_none(limits) }.cloned().unwrap_or_default();
        let moved = match gpu::named(device)? {
            None => tensor.to_host(&limits.watch())?,
            Some(device) => tensor.to_device(&device, Charge::to(limits.budget()), &limits.watch())?,
        };
        out.write(give_tensor(moved));
        Ok(())
    })
}

/// The elements for writing; NULL if others hold the tensor or it is not in host memory.
///
/// # Safety
/// `tensor` is null or a live handle that nobody else uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_tensor_data_mut(tensor: *mut cdl_tensor) -> *mut c_void {
    let mut handle = tensor;
    // SAFETY: the caller's word; a handle is a tensor's only field, and NULL its absence.
    let tensor = unsafe { (&raw mut handle).cast::<Option<Tensor>>().as_mut() };
    let bytes = tensor.and_then(Option::as_mut).and_then(Tensor::bytes_mut);
    bytes.map_or(std::ptr::null_mut(), |bytes| bytes.as_mut_ptr().cast())
}

/// Frees a handle; null is fine. The elements live on while others hold them.
///
/// # Safety
/// `tensor` came from this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_tensor_free(tensor: *mut cdl_tensor) {
    if let Some(description) = NonNull::new(tensor.cast::<Description>()) {
        // SAFETY: made by `give_tensor`.
        drop(unsafe { Block::from_raw(description) });
    }
}
