//! The library itself: version, threads, memory for hosts.

use crate::error::{CDL_ABI, guard};
use crate::text::{give_bytes, place};
use crate::{cdl_bytes, cdl_error};
use caudal::cpu::memory::ALIGNMENT;
use caudal::cpu::threads;
use caudal::json::{self, Json, Map};
use caudal::{Error, info, ops};
use std::alloc::{Layout, alloc, dealloc};
use std::ffi::c_void;

/// The version of the ABI that the library has; `CDL_ABI` of the header must not be above it.
#[unsafe(no_mangle)]
pub extern "C" fn cdl_abi_version() -> u32 {
    CDL_ABI
}

/// The library as JSON: `version`, `threads`, `ops`.
///
/// # Safety
/// `json` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_info(json: *mut *mut cdl_bytes) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word.
        let out = unsafe { place("json", json) }?;
        let mut facts: Map<String, Json> = Map::new();
        facts.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        facts.insert("threads".into(), json::from_unsigned(threads::num_threads() as u64));
        facts.insert("ops".into(), ops::all().map(|def| def.name).collect());
        out.write(give_bytes(json::write(&Json::Object(facts)).into_bytes()));
        Ok(())
    })
}

/// The devices of this machine as a JSON list: each has a `name`, as the options of a session take it; a GPU also the
/// name of its `adapter`, the `backend` of its driver, whether it is `software`, its limits, the bytes of its buffers in
/// `memory` (`used`, `pooled`, `peak`), and in `work` what it was asked for since it was opened: `dispatches`,
/// `pipelines` that were compiled, and the `bytes` that dispatches bind, uploads write and copies move.
///
/// # Safety
/// `json` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_devices(json: *mut *mut cdl_bytes) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word.
        let out = unsafe { place("json", json) }?;
        out.write(give_bytes(json::write(&info::devices()).into_bytes()));
        Ok(())
    })
}

/// Sets how many threads runs use, the caller's among them. Results do not depend on it.
#[unsafe(no_mangle)]
pub extern "C" fn cdl_set_threads(count: u32) -> *mut cdl_error {
    guard(|| {
        if count == 0 {
            return Err(Error::argument("there is at least one thread").with_argument("count"));
        }
        threads::set_num_threads(count as usize);
        Ok(())
    })
}

/// Memory aligned to 64 bytes, where a WASM host lays its arguments; NULL if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn cdl_alloc(size: usize) -> *mut c_void {
    match Layout::from_size_align(size.max(1), ALIGNMENT) {
        // SAFETY: the size is not 0.
        Ok(layout) => unsafe { alloc(layout) }.cast(),
        Err(_) => std::ptr::null_mut(),
    }
}

/// Gives memory of `cdl_alloc` back, with its size; null is fine.
///
/// # Safety
/// `memory` came from `cdl_alloc(size)` and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_dealloc(memory: *mut c_void, size: usize) {
    if let (false, Ok(layout)) = (memory.is_null(), Layout::from_size_align(size.max(1), ALIGNMENT)) {
        // SAFETY: the caller's word; the layout is that of `cdl_alloc`.
        unsafe { dealloc(memory.cast(), layout) };
    }
}
