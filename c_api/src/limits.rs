//! Limits of calls.

use crate::cdl_error;
use crate::error::guard;
use crate::text::place;
use caudal::Error;
use caudal::run::Limits;

/// What calls may spend.
pub struct cdl_limits(pub Limits);

/// Makes limits: at most `memory` bytes at once in all calls under them, `seconds` from the start of each; 0 is none.
///
/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_limits_new(memory: usize, seconds: f64, out: *mut *mut cdl_limits) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word.
        let out = unsafe { place("out", out) }?;
        if seconds.is_nan() || seconds < 0.0 {
            return Err(Error::argument(format!("seconds is {seconds}")).with_argument("seconds"));
        }
        out.write(Box::into_raw(Box::new(cdl_limits(Limits::new(memory as u64, seconds)))));
        Ok(())
    })
}

/// Ends every call under these limits, running or later, with `CDL_CANCELLED`. From any thread; null is fine.
///
/// # Safety
/// `limits` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_limits_cancel(limits: *const cdl_limits) {
    // SAFETY: the caller's word.
    if let Some(limits) = unsafe { limits.as_ref() } {
        limits.0.cancel();
    }
}

/// Frees limits; null is fine. Calls under them go on.
///
/// # Safety
/// `limits` came from this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_limits_free(limits: *mut cdl_limits) {
    if !limits.is_null() {
        // SAFETY: made by `cdl_limits_new`.
        drop(unsafe { Box::from_raw(limits) });
    }
}

/// The limits of a call; NULL is none.
///
/// # Safety
/// `limits` is null or live for `'a`.
pub unsafe fn limits_or_none<'a>(limits: *const cdl_limits) -> Option<&'a Limits> {
    // SAFETY: the caller's word.
    unsafe { limits.as_ref() }.map(|limits| &limits.0)
}
