//! Errors that the caller owns, and the guard that every function runs in.

use crate::text::c_string;
use caudal::{Error, Result};
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

/// The version of the header: lines are only added to it. `cdl_abi_version() >= CDL_ABI` must hold.
pub const CDL_ABI: u32 = 1;
/// As a length: the text ends with a NUL.
pub const CDL_NUL: usize = usize::MAX;

/// A value that an argument or attr cannot take.
pub const CDL_ARGUMENT: i32 = 1;
/// A dtype that does not fit.
pub const CDL_DTYPE: i32 = 2;
/// A shape that does not fit.
pub const CDL_SHAPE: i32 = 3;
/// An index outside its range.
pub const CDL_INDEX: i32 = 4;
/// A name that nothing has.
pub const CDL_NAME: i32 = 5;
/// A handle that was closed.
pub const CDL_CLOSED: i32 = 6;
/// A file or text that is not what it says.
pub const CDL_FORMAT: i32 = 7;
/// A file that needs a newer caudal.
pub const CDL_NEWER: i32 = 8;
/// The operating system refused a file operation.
pub const CDL_IO: i32 = 9;
/// The memory limit, or no memory at all.
pub const CDL_MEMORY: i32 = 10;
/// The time limit.
pub const CDL_DEADLINE: i32 = 11;
/// The caller cancelled.
pub const CDL_CANCELLED: i32 = 12;
/// A device that is missing or failed.
pub const CDL_DEVICE: i32 = 13;
/// Not supported here.
pub const CDL_UNSUPPORTED: i32 = 14;
/// A mistake in caudal. Treat a code you do not know as this one.
pub const CDL_INTERNAL: i32 = 15;
/// A value is awaited from a device: make the same call again later. Only in WASM, where nothing can wait.
pub const CDL_PENDING: i32 = 16;

/// An error. Free with `cdl_error_free`.
#[repr(C)]
pub struct cdl_error {
    /// One of the codes above.
    pub code: i32,
    /// The line in `file`, from 1; 0 if there is none.
    pub line: u32,
    /// The whole message: `op: what is wrong (file:line)`.
    pub message: *const c_char,
    /// The op (or function) that refused, or NULL.
    pub op: *const c_char,
    /// The input or attr that does not fit, or NULL.
    pub argument: *const c_char,
    /// The user's file, or NULL.
    pub file: *const c_char,
}

#[repr(C)]
struct OwnedError {
    public: cdl_error,
    message: CString,
    op: Option<CString>,
    argument: Option<CString>,
    file: Option<CString>,
}

fn give(error: &Error) -> *mut cdl_error {
    let location = error.location();
    let mut owned = Box::new(OwnedError {
        public: cdl_error {
            code: error.code() as i32,
            line: location.map_or(0, |location| location.line),
            message: ptr::null(),
            op: ptr::null(),
            argument: ptr::null(),
            file: ptr::null(),
        },
        message: c_string(&error.to_string()),
        op: error.op().map(c_string),
        argument: error.argument_name().map(c_string),
        file: location.map(|location| c_string(&location.file)),
    });
    let pointer = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
    owned.public.message = owned.message.as_ptr();
    owned.public.op = pointer(&owned.op);
    owned.public.argument = pointer(&owned.argument);
    owned.public.file = pointer(&owned.file);
    Box::into_raw(owned).cast()
}

/// Tells the host what a panic says: in WASM it cannot be caught, and the instance is of no use after it.
#[cfg(target_family = "wasm")]
fn report_panics() {
    #[link(wasm_import_module = "caudal")]
    unsafe extern "C" {
        #[link_name = "panic"]
        fn host_panic(message: *const u8, len: usize);
    }
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let message = info.to_string();
            // SAFETY: the host reads the message before it returns.
            unsafe { host_panic(message.as_ptr(), message.len()) };
        }));
    });
}

/// Runs the body of an exported function: an error becomes a `cdl_error`, and so does a panic, which is a mistake here.
pub fn guard(body: impl FnOnce() -> Result<()>) -> *mut cdl_error {
    #[cfg(target_family = "wasm")]
    report_panics();
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => ptr::null_mut(),
        Ok(Err(error)) => give(&error),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?");
            give(&Error::internal(format!("a mistake in caudal: {text}")))
        }
    }
}

/// Frees an error; null is fine.
///
/// # Safety
/// `error` came from this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_error_free(error: *mut cdl_error) {
    if !error.is_null() {
        // SAFETY: made by `give`, whose first field it points to.
        drop(unsafe { Box::from_raw(error.cast::<OwnedError>()) });
    }
}
