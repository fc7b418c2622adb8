//! Variables: cells of state that sessions may share.

use crate::error::guard;
use crate::tensor::{give_tensor, tensor};
use crate::text::{borrow, place, text};
use crate::{cdl_error, cdl_tensor};
use caudal::cpu::work::Watch;
use caudal::gpu;
use caudal::run::Variable;
use std::ffi::c_char;
use std::sync::Arc;

/// A cell of state.
pub struct cdl_variable(pub Arc<Variable>);

/// Makes a cell with its first value.
///
/// # Safety
/// `initial` is a live handle, `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_variable_new(initial: *const cdl_tensor, out: *mut *mut cdl_variable) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word.
        let out = unsafe { place("out", out) }?;
        // SAFETY: the caller's word.
        let initial = unsafe { tensor("initial", initial) }?;
        out.write(Box::into_raw(Box::new(cdl_variable(Arc::new(Variable::new(initial))))));
        Ok(())
    })
}

/// The value now.
///
/// # Safety
/// `variable` is a live handle, `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_variable_get(variable: *const cdl_variable, out: *mut *mut cdl_tensor) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word.
        let out = unsafe { place("out", out) }?;
        // SAFETY: the caller's word.
        out.write(give_tensor(unsafe { borrow("variable", variable) }?.0.get()));
        Ok(())
    })
}

/// Sets the value, which has the spec of the one before; waits for runs that write it.
///
/// # Safety
/// `variable` and `value` are live handles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_variable_set(variable: *const cdl_variable, value: *const cdl_tensor) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word.
        let value = unsafe { tensor("value", value) }?;
        // SAFETY: the caller's word.
        unsafe { borrow("variable", variable) }?.0.set(value)
    })
}

/// As `cdl_variable_set`, but waits for about `seconds` at most (infinity: without end). `*done` is 1 when the value is
/// set; while it is 0 it is not, and the call may be made again.
///
/// # Safety
/// As `cdl_variable_set`; `done` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_variable_set_within(
    variable: *const cdl_variable,
    value: *const cdl_tensor,
    seconds: f64,
    done: *mut i32,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (variable, done) = unsafe { (borrow("variable", variable)?, place("done", done)?) };
        let value = unsafe { tensor("value", value) }?;
        done.write(variable.0.set_within(value, &Watch::piece(seconds))?.into());
        Ok(())
    })
}

/// Moves the value to a device, by the name that the options of a session take, after the runs that write it; waits for
/// those for about `seconds` at most (infinity: without end). `*done` is 1 when it is there; while it is 0 it is where it
/// was, and the call may be made again.
///
/// # Safety
/// `variable` is a live handle, `device` is readable text, `done` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_variable_to_within(
    variable: *const cdl_variable,
    device: *const c_char,
    device_len: usize,
    seconds: f64,
    done: *mut i32,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (variable, done) = unsafe { (borrow("variable", variable)?, place("done", done)?) };
        let device = gpu::named(unsafe { text("device", device, device_len) }?)?;
        done.write(variable.0.move_within(device.as_ref(), &Watch::piece(seconds))?.into());
        Ok(())
    })
}

/// Frees a handle; null is fine. Sessions that the cell is bound to keep it.
///
/// # Safety
/// `variable` came from this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_variable_free(variable: *mut cdl_variable) {
    if !variable.is_null() {
        // SAFETY: made by `cdl_variable_new`.
        drop(unsafe { Box::from_raw(variable) });
    }
}
