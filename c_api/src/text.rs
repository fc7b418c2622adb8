//! Text and bytes that cross the boundary, and pointers that may be null.

use caudal::{Error, Result};
use std::ffi::{CStr, CString, c_char, c_void};

/// Bytes that the library made; a NUL follows them that `len` does not count. Free with `cdl_bytes_free`.
#[repr(C)]
pub struct cdl_bytes {
    /// The bytes.
    pub data: *const c_void,
    /// How many.
    pub len: usize,
}

#[repr(C)]
struct OwnedBytes {
    public: cdl_bytes,
    owned: Vec<u8>,
}

/// Gives bytes to the caller.
pub fn give_bytes(mut bytes: Vec<u8>) -> *mut cdl_bytes {
    let len = bytes.len();
    bytes.push(0);
    let data = bytes.as_ptr().cast();
    Box::into_raw(Box::new(OwnedBytes { public: cdl_bytes { data, len }, owned: bytes })).cast()
}

/// Frees bytes; null is fine.
///
/// # Safety
/// `bytes` came from this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_bytes_free(bytes: *mut cdl_bytes) {
    if !bytes.is_null() {
        // SAFETY: made by `give_bytes`, whose first field it points to.
        let owned = unsafe { Box::from_raw(bytes.cast::<OwnedBytes>()) };
        drop(owned.owned);
    }
}

/// Text from outside: `len` bytes, or up to a NUL if `len` is `CDL_NUL`. Null with length 0 is empty.
///
/// # Safety
/// `data` is readable for as many bytes for `'a`.
pub unsafe fn text<'a>(what: &str, data: *const c_char, len: usize) -> Result<&'a str> {
    if data.is_null() {
        return if len == 0 { Ok("") } else { Err(null(what)) };
    }
    let bytes = if len == usize::MAX {
        // SAFETY: NUL-terminated by the caller's word.
        unsafe { CStr::from_ptr(data) }.to_bytes()
    } else if len > isize::MAX as usize {
        return Err(Error::argument(format!("{what} has the length {len}")));
    } else {
        // SAFETY: readable for `len` bytes by the caller's word.
        unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) }
    };
    std::str::from_utf8(bytes).map_err(|_| Error::argument(format!("{what} is not UTF-8")))
}

/// JSON text from outside that must be an object; empty text is an empty object. Other keys than `known` are an error.
///
/// # Safety
/// As [`text`].
pub unsafe fn options(
    what: &str,
    data: *const c_char,
    len: usize,
    known: &[&str],
) -> Result<caudal::json::Map<String, caudal::json::Json>> {
    // SAFETY: the caller's word.
    let text = unsafe { text(what, data, if data.is_null() { 0 } else { len }) }?;
    if text.is_empty() {
        return Ok(Default::default());
    }
    match caudal::json::parse(text)? {
        caudal::json::Json::Object(object) => match object.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(object),
            Some(key) if known.is_empty() => Err(Error::argument(format!("{what} has no {key:?}; none are known"))),
            Some(key) => Err(Error::argument(format!("{what} has no {key:?}; there are: {}", known.join(", ")))),
        },
        _ => Err(Error::argument(format!("{what} is not a JSON object"))),
    }
}

/// The error for an argument that is missing.
pub fn null(what: &str) -> Error {
    Error::argument(format!("{what} is NULL")).with_argument(what)
}

/// A borrowed handle.
///
/// # Safety
/// `pointer` is null or valid for `'a`.
pub unsafe fn borrow<'a, T>(what: &str, pointer: *const T) -> Result<&'a T> {
    // SAFETY: the caller's word.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(what))
}

/// A borrowed handle that is changed.
///
/// # Safety
/// `pointer` is null or valid for `'a`, and nobody else uses it meanwhile.
pub unsafe fn borrow_mut<'a, T>(what: &str, pointer: *mut T) -> Result<&'a mut T> {
    // SAFETY: the caller's word.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(what))
}

/// An array of `len` elements; null is fine if there are none.
///
/// # Safety
/// `pointer` is readable for `len` elements for `'a`.
pub unsafe fn array<'a, T>(what: &str, pointer: *const T, len: usize) -> Result<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(null(what));
    }
    if len > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(Error::argument(format!("{what} has the length {len}")).with_argument(what));
    }
    // SAFETY: the caller's word.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// An array of `len` NUL-terminated names.
///
/// # Safety
/// As [`array`] and [`text`].
pub unsafe fn names<'a>(what: &str, pointer: *const *const c_char, len: usize) -> Result<Vec<&'a str>> {
    // SAFETY: the caller's word.
    let pointers = unsafe { array(what, pointer, len) }?;
    // SAFETY: as above.
    pointers.iter().map(|&name| unsafe { text(what, name, usize::MAX) }).collect()
}

/// Checks that a place for a result was given.
///
/// # Safety
/// `pointer` is null or writable.
pub unsafe fn place<'a, T>(what: &str, pointer: *mut T) -> Result<&'a mut std::mem::MaybeUninit<T>> {
    // SAFETY: the caller's word; `MaybeUninit` makes no claim of what it holds.
    unsafe { pointer.cast::<std::mem::MaybeUninit<T>>().as_mut() }.ok_or_else(|| null(what))
}

/// NUL-terminated text; a NUL inside is replaced, which no checked name has.
pub fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}
