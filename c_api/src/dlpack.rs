//! DLPack: tensors to and from other libraries without a copy. Layouts as in dlpack.h 1.0 (and its unversioned form).

use crate::error::guard;
use crate::tensor::{give_tensor, sizes, tensor};
use crate::text::{array, place};
use crate::{cdl_error, cdl_tensor};
use caudal::cpu::call::{Layout, List, dense_strides};
use caudal::{Buffer, DType, Error, Result, Tensor};
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

/// `DLDevice`: type 1 is the CPU.
#[repr(C)]
struct Device {
    kind: i32,
    id: i32,
}

/// `DLDataType`.
#[repr(C)]
#[derive(Clone, Copy)]
struct DataType {
    code: u8,
    bits: u8,
    lanes: u16,
}

/// `DLTensor`. `strides` may be null for row-major.
#[repr(C)]
struct DlTensor {
    data: *mut c_void,
    device: Device,
    ndim: i32,
    dtype: DataType,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// `DLManagedTensor`.
#[repr(C)]
struct Managed {
    tensor: DlTensor,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Managed)>,
}

/// `DLManagedTensorVersioned`.
#[repr(C)]
struct Versioned {
    major: u32,
    minor: u32,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Versioned)>,
    flags: u64,
    tensor: DlTensor,
}

const CPU: i32 = 1;
const READ_ONLY: u64 = 1;
// The codes `kDLInt`, `kDLUInt`, `kDLFloat`, `kDLBfloat`, `kDLBool`.
const INT: u8 = 0;
const UINT: u8 = 1;
const FLOAT: u8 = 2;
const BFLOAT: u8 = 4;
const BOOL: u8 = 6;

fn data_type(dtype: DType) -> DataType {
    let code = match dtype {
        DType::Bool => BOOL,
        DType::BF16 => BFLOAT,
        _ if dtype.is_float() => FLOAT,
        _ if dtype.is_signed() => INT,
        _ => UINT,
    };
    DataType { code, bits: dtype.size() as u8 * 8, lanes: 1 }
}

/// The dtype of a `DLDataType`.
fn dtype_of(data_type: DataType) -> Result<DType> {
    let known = DType::ALL.into_iter().find(|&dtype| {
        let own = self::data_type(dtype);
        (own.code, own.bits, own.lanes) == (data_type.code, data_type.bits, data_type.lanes)
    });
    let DataType { code, bits, lanes } = data_type;
    known.ok_or_else(|| Error::dtype(format!("no dtype is DLPack's code {code}, {bits} bits, {lanes} lanes")))
}

/// Someone else's tensor, given back to them when dropped.
enum Foreign {
    Managed(*mut Managed),
    Versioned(*mut Versioned),
}

// SAFETY: DLPack's deleters may be called from any thread.
unsafe impl Send for Foreign {}
// SAFETY: nothing but the drop uses the pointer.
unsafe impl Sync for Foreign {}

impl Drop for Foreign {
    fn drop(&mut self) {
        // SAFETY: the pointers are alive until their deleter is called, which is here, once.
        unsafe {
            match *self {
                Foreign::Managed(managed) => {
                    if let Some(deleter) = (*managed).deleter {
                        deleter(managed);
                    }
                }
                Foreign::Versioned(versioned) => {
                    if let Some(deleter) = (*versioned).deleter {
                        deleter(versioned);
                    }
                }
            }
        }
    }
}

/// Takes a DLPack tensor (`DLManagedTensor`, or `DLManagedTensorVersioned` if `versioned` is not 0). On success it owns
/// `managed`, in every other case the caller still does. Row-major data on the CPU is not copied.
///
/// # Safety
/// `managed` points to a live DLPack tensor of that kind, whose data does not change while it is held; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_tensor_from_dlpack(
    managed: *mut c_void,
    versioned: i32,
    out: *mut *mut cdl_tensor,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let out = unsafe { place("out", out) }?;
        if managed.is_null() {
            return Err(Error::argument("managed is NULL"));
        }
        let (view, owner) = if versioned != 0 {
            let versioned: *mut Versioned = managed.cast();
            let major = unsafe { (*versioned).major };
            if major != 1 {
                return Err(Error::unsupported(format!("DLPack version {major} is not 1")));
            }
            (unsafe { &raw const (*versioned).tensor }, Foreign::Versioned(versioned))
        } else {
            let managed: *mut Managed = managed.cast();
            (unsafe { &raw const (*managed).tensor }, Foreign::Managed(managed))
        };
        // The caller keeps what is refused: its deleter must not run then.
        let owner = std::mem::ManuallyDrop::new(owner);
        let tensor = unsafe { import(&*view, || std::mem::ManuallyDrop::into_inner(owner)) }?;
        out.write(give_tensor(tensor));
        Ok(())
    })
}

/// A tensor over a DLPack tensor's data, or a copy if that is strided.
///
/// # Safety
/// `view` describes live data.
unsafe fn import(view: &DlTensor, owner: impl FnOnce() -> Foreign) -> Result<Tensor> {
    if view.device.kind != CPU {
        return Err(Error::device(format!("the data is on DLPack's device {}, not on the CPU", view.device.kind)));
    }
    let rank = usize::try_from(view.ndim).map_err(|_| Error::shape(format!("the rank is {}", view.ndim)))?;
    let dtype = dtype_of(view.dtype)?;
    // SAFETY: `ndim` sizes by DLPack's rules.
    let sizes = sizes(unsafe { array("shape", view.shape, rank) }?)?;
    let bytes = caudal::tensor::byte_count(dtype, &sizes)?;
    if view.data.is_null() && bytes > 0 {
        return Err(Error::argument("the tensor's data is NULL"));
    }
    let start = view.data.cast::<u8>().wrapping_add(view.byte_offset as usize);
    let strides: List<isize> = match view.strides.is_null() {
        true => dense_strides(&sizes),
        // SAFETY: `ndim` strides by DLPack's rules.
        false => unsafe { array("strides", view.strides, rank) }?.iter().map(|&stride| stride as isize).collect(),
    };
    let layout = Layout { dtype, sizes: List::from_slice(&sizes), strides, offset: 0 };
    let Some(data) = NonNull::new(start).filter(|_| bytes > 0) else {
        drop(owner());
        return Tensor::zeros(dtype, &sizes, None);
    };
    let aligned = data.as_ptr().align_offset(dtype.size()) == 0;
    // A bool of another library may be any byte.
    if layout.is_dense() && aligned && dtype != DType::Bool {
        // SAFETY: dense data of that many bytes, kept alive by its owner.
        let buffer = unsafe { Buffer::foreign(data, bytes, Box::new(owner())) };
        return Tensor::from_buffer(dtype, &sizes, Arc::new(buffer));
    }
    // SAFETY: as above, element by element.
    let copy = unsafe { gather(data.as_ptr(), dtype.size(), &layout.sizes, &layout.strides, bytes) }?;
    let tensor = Tensor::from_bytes(dtype, &sizes, &copy, None)?;
    drop(owner());
    Ok(tensor)
}

/// The elements of strided data in row-major order.
///
/// # Safety
/// Every element is readable.
unsafe fn gather(data: *const u8, width: usize, sizes: &[usize], strides: &[isize], bytes: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    out.try_reserve_exact(bytes).map_err(|_| Error::memory(format!("the system has no {bytes} bytes of memory")))?;
    let mut index = vec![0usize; sizes.len()];
    for _ in 0..bytes / width {
        let offset: isize = index.iter().zip(strides).map(|(&index, &stride)| index as isize * stride).sum();
        // SAFETY: the caller's word.
        out.extend_from_slice(unsafe { std::slice::from_raw_parts(data.offset(offset * width as isize), width) });
        for axis in (0..sizes.len()).rev() {
            index[axis] += 1;
            if index[axis] < sizes[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Ok(out)
}

/// What an exported tensor keeps alive.
struct Exported {
    _tensor: Tensor,
    shape: Vec<i64>,
    strides: Vec<i64>,
}

fn dl_tensor(tensor: &Tensor, exported: &mut Exported) -> DlTensor {
    DlTensor {
        data: tensor.bytes().as_ptr().cast_mut().cast(),
        device: Device { kind: CPU, id: 0 },
        ndim: exported.shape.len() as i32,
        dtype: data_type(tensor.dtype()),
        shape: exported.shape.as_mut_ptr(),
        strides: exported.strides.as_mut_ptr(),
        byte_offset: 0,
    }
}

unsafe extern "C" fn free_managed(managed: *mut Managed) {
    // SAFETY: made by `cdl_tensor_to_dlpack`, and DLPack calls this once.
    unsafe { drop(Box::from_raw((*managed).context.cast::<Exported>())) };
    // SAFETY: as above.
    unsafe { drop(Box::from_raw(managed)) };
}

unsafe extern "C" fn free_versioned(versioned: *mut Versioned) {
    // SAFETY: made by `cdl_tensor_to_dlpack`, and DLPack calls this once.
    unsafe { drop(Box::from_raw((*versioned).context.cast::<Exported>())) };
    // SAFETY: as above.
    unsafe { drop(Box::from_raw(versioned)) };
}

/// Makes a DLPack tensor (`DLManagedTensorVersioned`, marked read-only, if `versioned` is not 0) over the same data. The
/// consumer calls its deleter.
///
/// # Safety
/// `tensor` is a live handle, `managed` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_tensor_to_dlpack(
    tensor: *const cdl_tensor,
    versioned: i32,
    managed: *mut *mut c_void,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let out = unsafe { place("managed", managed) }?;
        let tensor = unsafe { self::tensor("tensor", tensor) }?;
        let shape: Vec<i64> = tensor.sizes().iter().map(|&size| size as i64).collect();
        let strides = dense_strides(tensor.sizes()).iter().map(|&stride| stride as i64).collect();
        let mut exported = Box::new(Exported { _tensor: tensor.clone(), shape, strides });
        let view = dl_tensor(&tensor, &mut exported);
        let context = Box::into_raw(exported).cast();
        out.write(if versioned != 0 {
            let deleter = Some(free_versioned as unsafe extern "C" fn(*mut Versioned));
            let (major, minor) = (1, 0);
            Box::into_raw(Box::new(Versioned { major, minor, context, deleter, flags: READ_ONLY, tensor: view })).cast()
        } else {
            let deleter = Some(free_managed as unsafe extern "C" fn(*mut Managed));
            Box::into_raw(Box::new(Managed { tensor: view, context, deleter })).cast()
        });
        Ok(())
    })
}
