//! The GPU of a WASM host: it opens the device itself, and tells of it here.

use crate::cdl_error;
use crate::error::guard;
use crate::text::{options, text};
use caudal::Result;
use std::ffi::c_char;

/// Tells of a device that the host has opened: it is `gpu:0` from now on. `facts` is a JSON object with all of `number`
/// (by which the host knows it), `adapter` (its name), `backend`, `software`, `f16`, `subgroups` and the limits of
/// WebGPU: `binding_bytes`, `buffer_bytes`, `storage_buffers`, `invocations`, `workgroup_bytes`, `groups`, `alignment`.
/// Commands come to the host by its import `caudal.gpu`. Only in WASM; a native library finds devices itself.
///
/// # Safety
/// `facts` is readable text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_gpu_open(facts: *const c_char, facts_len: usize) -> *mut cdl_error {
    guard(|| {
        const FACTS: [&str; 13] = [
            "number",
            "adapter",
            "backend",
            "software",
            "f16",
            "subgroups",
            "binding_bytes",
            "buffer_bytes",
            "storage_buffers",
            "invocations",
            "workgroup_bytes",
            "groups",
            "alignment",
        ];
        // SAFETY: the caller's word.
        open(&unsafe { options("facts", facts, facts_len, &FACTS) }?)
    })
}

/// Tells what became of the device of that number: with `CDL_DEVICE` it is lost, with another code commands that it was
/// given failed so, which is the error of the next call that uses it. Only in WASM.
///
/// # Safety
/// `reason` is readable text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_gpu_report(
    number: u32,
    code: i32,
    reason: *const c_char,
    reason_len: usize,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word.
        report(number, code, unsafe { text("reason", reason, reason_len) }?)
    })
}

#[cfg(target_family = "wasm")]
fn open(facts: &caudal::json::Map<String, caudal::json::Json>) -> Result<()> {
    use caudal::gpu::{device::Adapter, host};
    use caudal::{Error, json};
    let missing = |name: &str| Error::argument(format!("facts: {name} is missing, or of another type"));
    let text = |name: &str| facts.get(name).and_then(json::Json::as_str).map(String::from).ok_or_else(|| missing(name));
    let flag = |name: &str| facts.get(name).and_then(json::Json::as_bool).ok_or_else(|| missing(name));
    let bytes = |name: &str| facts.get(name).and_then(json::to_unsigned).ok_or_else(|| missing(name));
    let count = |name: &str| bytes(name).map(|count| count.min(u32::MAX.into()) as u32);
    let adapter = Adapter {
        name: text("adapter")?,
        backend: text("backend")?,
        is_software: flag("software")?,
        binding_bytes: bytes("binding_bytes")?,
        buffer_bytes: bytes("buffer_bytes")?,
        storage_buffers: count("storage_buffers")?,
        invocations: count("invocations")?,
        workgroup_bytes: count("workgroup_bytes")?,
        groups: count("groups")?,
        alignment: count("alignment")?,
        has_f16: flag("f16")?,
        has_subgroups: flag("subgroups")?,
    };
    host::add(count("number")?, adapter);
    Ok(())
}

#[cfg(target_family = "wasm")]
fn report(number: u32, code: i32, reason: &str) -> Result<()> {
    use caudal::gpu::host;
    match code {
        crate::CDL_DEVICE => host::lose(number, reason),
        crate::CDL_MEMORY => host::fail(number, caudal::Code::Memory, reason),
        _ => host::fail(number, caudal::Code::Internal, reason),
    }
    Ok(())
}

#[cfg(not(target_family = "wasm"))]
const NATIVE: &str = "only a WASM host opens devices itself";

#[cfg(not(target_family = "wasm"))]
fn open(_: &caudal::json::Map<String, caudal::json::Json>) -> Result<()> {
    Err(caudal::Error::unsupported(NATIVE))
}

#[cfg(not(target_family = "wasm"))]
fn report(_: u32, _: i32, _: &str) -> Result<()> {
    Err(caudal::Error::unsupported(NATIVE))
}
