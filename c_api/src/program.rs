//! Programs: functions, state and metadata. They never change.

use crate::error::guard;
use crate::graph::cdl_graph;
use crate::limits::limits_or_none;
use crate::tensor::{give_tensor, tensor};
use crate::text::{array, borrow, give_bytes, names, place, text};
use crate::{cdl_bytes, cdl_error, cdl_limits, cdl_tensor};
use caudal::json::{self, Json};
use caudal::run::Limits;
use caudal::{Error, Program, Result, info, save};
use std::ffi::{c_char, c_void};
use std::sync::Arc;

/// What a program holds, as JSON.
pub const CDL_JSON: i32 = 1;
/// What a program holds, as text for people.
pub const CDL_TEXT: i32 = 2;
/// The graphs of a program's functions, as text.
pub const CDL_GRAPHS: i32 = 3;

/// Functions, state and metadata.
pub struct cdl_program {
    /// The program.
    pub program: Arc<Program>,
    /// Those it was opened with.
    limits: Limits,
}

/// Gives a program to the caller.
pub fn give_program(program: Program) -> *mut cdl_program {
    give_limited(program, Limits::none())
}

fn give_limited(program: Program, limits: Limits) -> *mut cdl_program {
    Box::into_raw(Box::new(cdl_program { program: Arc::new(program), limits }))
}

/// Joins graphs to a program: all their functions and the state that these use. `metadata` is any JSON, up to 1 MiB.
///
/// # Safety
/// `graphs` is readable for `n` live handles, `metadata` is readable text, `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_program_new(
    graphs: *const *const cdl_graph,
    n: usize,
    metadata: *const c_char,
    metadata_len: usize,
    out: *mut *mut cdl_program,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let out = unsafe { place("out", out) }?;
        let handles = unsafe { array("graphs", graphs, n) }?;
        let graphs = handles.iter().map(|&graph| Ok(&unsafe { borrow("graphs", graph) }?.builder));
        let graphs = graphs.collect::<Result<Vec<_>>>()?;
        let metadata = if metadata.is_null() { "" } else { unsafe { text("metadata", metadata, metadata_len) }? };
        let metadata = if metadata.is_empty() { Json::Null } else { json::parse(metadata)? };
        out.write(give_program(Program::new(&graphs, metadata)?));
        Ok(())
    })
}

/// Opens a file. Any safetensors file opens; one without graphs has state and no functions. `options` is a JSON object:
/// `map` (false). Where it is true the file is not read: state and constants are the file's own pages, and training
/// never writes them. That is for files that nobody changes, other than by renaming a new one over them. A run, eager
/// call or save that finds the file's length or time of change to be another is the error `CDL_IO`; a change after that
/// look, or while `data` of a tensor is read, shows through, and on Unix reading what was cut off is `SIGBUS`.
///
/// # Safety
/// `path` and `options` are readable text, `limits` is NULL or live, `out` is writable.
#[cfg(not(target_family = "wasm"))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_program_open(
    path: *const c_char,
    path_len: usize,
    options: *const c_char,
    options_len: usize,
    limits: *const cdl_limits,
    out: *mut *mut cdl_program,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (out, path) = unsafe { (place("out", out)?, text("path", path, path_len)?) };
        let options = unsafe { crate::text::options("options", options, options_len, &["map"]) }?;
        let limits = unsafe { limits_or_none(limits) }.cloned().unwrap_or_default();
        let program = match options.get("map").map_or(Some(false), Json::as_bool) {
            Some(true) => save::open_mapped(path, Some(&limits)),
            Some(false) => save::open(path, Some(&limits)),
            None => Err(Error::argument("options: map is neither true nor false").with_argument("options")),
        };
        out.write(give_limited(program?, limits));
        Ok(())
    })
}

/// Reads a program from the bytes of a file.
///
/// # Safety
/// `data` is readable for `len` bytes, `limits` is NULL or live, `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_program_read(
    data: *const c_void,
    len: usize,
    limits: *const cdl_limits,
    out: *mut *mut cdl_program,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (out, data) = unsafe { (place("out", out)?, array("data", data.cast::<u8>(), len)?) };
        let limits = unsafe { limits_or_none(limits) }.cloned().unwrap_or_default();
        out.write(give_limited(save::read(data, Some(&limits))?, limits));
        Ok(())
    })
}

/// Reads a program from the bytes of a file that are the elements of a uint8 tensor. They are not copied: state and
/// constants are parts of it, so nobody writes the tensor any more.
///
/// # Safety
/// `file` is a live handle, `limits` is NULL or live, `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_program_read_tensor(
    file: *const cdl_tensor,
    limits: *const cdl_limits,
    out: *mut *mut cdl_program,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (out, file) = unsafe { (place("out", out)?, tensor("file", file)?) };
        let limits = unsafe { limits_or_none(limits) }.cloned().unwrap_or_default();
        out.write(give_limited(save::read_tensor(file, Some(&limits))?, limits));
        Ok(())
    })
}

/// Saves a program: the file is the old one or the whole new one.
///
/// # Safety
/// `program` is a live handle, `path` is readable text.
#[cfg(not(target_family = "wasm"))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_program_save(
    program: *const cdl_program,
    path: *const c_char,
    path_len: usize,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (program, path) = unsafe { (borrow("program", program)?, text("path", path, path_len)?) };
        save::save(&program.program, path)
    })
}

/// The bytes of the file that `cdl_program_save` would write.
///
/// # Safety
/// `program` is a live handle, `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_program_write(program: *const cdl_program, out: *mut *mut cdl_bytes) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (program, out) = unsafe { (borrow("program", program)?, place("out", out)?) };
        out.write(give_bytes(save::write(&program.program)?));
        Ok(())
    })
}

/// The program without the source lines of its nodes.
///
/// # Safety
/// `program` is a live handle, `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_program_without_lines(
    program: *const cdl_program,
    out: *mut *mut cdl_program,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (program, out) = unsafe { (borrow("program", program)?, place("out", out)?) };
        out.write(give_program(program.program.without_lines()));
        Ok(())
    })
}

/// What a program holds: `format` is `CDL_JSON`, `CDL_TEXT` or `CDL_GRAPHS`.
///
/// # Safety
/// `program` is a live handle, `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_program_info(
    program: *const cdl_program,
    format: i32,
    out: *mut *mut cdl_bytes,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (program, out) = unsafe { (borrow("program", program)?, place("out", out)?) };
        let text = match format {
            CDL_JSON => json::write(&info::json(&program.program)),
            CDL_TEXT => info::text(&program.program, &program.limits),
            CDL_GRAPHS => info::graphs(&program.program),
            _ => return Err(Error::argument(format!("there is no format {format}")).with_argument("format")),
        };
        out.write(give_bytes(text.into_bytes()));
        Ok(())
    })
}

/// The program with only these functions and the state that they use.
///
/// # Safety
/// `program` is a live handle, `functions` is readable for `n` names, `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_program_select(
    program: *const cdl_program,
    functions: *const *const c_char,
    n: usize,
    out: *mut *mut cdl_program,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (program, out) = unsafe { (borrow("program", program)?, place("out", out)?) };
        out.write(give_program(program.program.select(&unsafe { names("functions", functions, n) }?)?));
        Ok(())
    })
}

/// The value of state in a program.
///
/// # Safety
/// `program` is a live handle, `name` is readable text, `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_program_state(
    program: *const cdl_program,
    name: *const c_char,
    name_len: usize,
    out: *mut *mut cdl_tensor,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (program, out) = unsafe { (borrow("program", program)?, place("out", out)?) };
        let name = unsafe { text("name", name, name_len) }?;
        let state = program.program.state.iter().find(|state| state.name == name);
        let state = state.ok_or_else(|| program.program.no_state(name))?;
        out.write(give_tensor(state.value.clone()));
        Ok(())
    })
}

/// Frees a program; null is fine. Sessions made of it stay.
///
/// # Safety
/// `program` came from this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_program_free(program: *mut cdl_program) {
    if !program.is_null() {
        // SAFETY: made by `give_program`.
        drop(unsafe { Box::from_raw(program) });
    }
}
