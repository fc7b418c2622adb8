//! Sessions, their functions, and calls.

use crate::error::guard;
use crate::limits::limits_or_none;
use crate::program::{cdl_program, give_program};
use crate::spec::OwnedSpec;
use crate::tensor::{give_tensor, tensors};
use crate::text::{borrow, borrow_mut, c_string, give_bytes, names, options, place, text};
use crate::{cdl_bytes, cdl_error, cdl_limits, cdl_spec, cdl_tensor, cdl_variable};
use caudal::cpu::work::Watch;
use caudal::json::{self, Json, Map};
use caudal::run::{Call, Limits, Session};
use caudal::shape::Bindings;
use caudal::{Error, Result, Tensor, gpu, info};
use std::ffi::{CString, c_char};
use std::sync::Arc;

/// The inputs of a function.
pub const CDL_INPUT: i32 = 1;
/// The outputs of a function.
pub const CDL_OUTPUT: i32 = 2;

/// How long a piece of a call takes where the caller goes on with it itself.
pub(crate) const PIECE_SECONDS: f64 = if cfg!(target_family = "wasm") { 0.008 } else { 0.025 };

/// A program with live state. A run sees one version of the state, whole; runs that write it are serialised, the others
/// go beside them. All functions may be called from many threads.
pub struct cdl_session {
    session: Arc<Session>,
    functions: Vec<cdl_function>,
}

/// A function of a session; it lives as long as that.
pub struct cdl_function {
    session: Arc<Session>,
    index: usize,
    inputs: Vec<(CString, OwnedSpec)>,
    outputs: Vec<(CString, OwnedSpec)>,
}

/// A call that has not come to its end.
pub struct cdl_call {
    call: Option<Call>,
    session: Arc<Session>,
    function: usize,
    outputs: usize,
}

impl cdl_session {
    /// Gives a session to the caller.
    pub fn give(session: Session) -> *mut cdl_session {
        let session = Arc::new(session);
        let functions = session.program().functions.iter().enumerate();
        let functions = functions.map(|(index, function)| {
            let side = |names: &[String], spec: &dyn Fn(usize) -> Option<caudal::Spec>| {
                let entries = names.iter().enumerate();
                entries.filter_map(|(index, name)| Some((c_string(name), OwnedSpec::new(&spec(index)?)))).collect()
            };
            cdl_function {
                session: session.clone(),
                index,
                inputs: side(&function.inputs, &|index| function.input_spec(index).cloned()),
                outputs: side(&function.outputs, &|index| function.output_spec(index).cloned()),
            }
        });
        let functions = functions.collect();
        Box::into_raw(Box::new(cdl_session { session, functions }))
    }
}

impl cdl_function {
    /// Begins a call.
    ///
    /// # Errors
    /// Inputs that do not fit; `closed`.
    pub fn start(&self, inputs: &[Tensor], limits: Option<&Limits>) -> Result<cdl_call> {
        let call = self.session.start(self.index, inputs, limits)?;
        let (session, function, outputs) = (self.session.clone(), self.index, self.outputs.len());
        Ok(cdl_call { call: Some(call), session, function, outputs })
    }

    /// Whether it is planned: the first call does that, which takes a while.
    #[cfg(not(target_family = "wasm"))]
    pub fn is_planned(&self) -> bool {
        self.session.bound(self.index).is_some_and(|bound| bound.is_planned())
    }

    fn name(&self) -> &str {
        &self.session.program().functions[self.index].name
    }
}

impl cdl_call {
    /// Goes on for about so many seconds; whether the call has come to its end. It hands each output with its index to
    /// `each` then.
    ///
    /// # Errors
    /// `closed`: it had before. Whatever the run refuses.
    pub fn advance(&mut self, seconds: f64, each: impl FnMut(usize, Tensor)) -> Result<bool> {
        let ended = || Error::closed("the call has come to its end");
        if !self.call.as_mut().ok_or_else(ended)?.advance(seconds)? {
            return Ok(false);
        }
        self.call.take().ok_or_else(ended)?.finish_with(each)?;
        Ok(true)
    }

    fn name(&self) -> &str {
        &self.session.program().functions[self.function].name
    }

    /// Ends the call; the state is as it was before.
    #[cfg(not(target_family = "wasm"))]
    pub fn cancel(&mut self) {
        self.call = None;
    }
}

/// Makes a session of a program. `options` is a JSON object: `device` (`cpu`, `gpu:0`, ...
/// or `auto`: a GPU of hardware, else the CPU), `strict`, `debug`. On a device the state is there; what it does not run,
/// the CPU does, unless `strict` is true: then that is the error `CDL_UNSUPPORTED`. The limits hold for every call that
/// brings none of its own. With `debug` true a call is slower, and it is an error with the user's
/// line (`CDL_INDEX`, else `CDL_ARGUMENT`) where an index is outside of its axis, an integer is divided by 0, a number is
/// cast to an integer dtype that does not hold it, or an op makes NaN of operands without.
///
/// # Safety
/// `program` is a live handle, `options` is readable text, `limits` is NULL or live, `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_program_session(
    program: *const cdl_program,
    options: *const c_char,
    options_len: usize,
    limits: *const cdl_limits,
    out: *mut *mut cdl_session,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (program, out) = unsafe { (borrow("program", program)?, place("out", out)?) };
        let options = unsafe { self::options("options", options, options_len, &["device", "strict", "debug"]) }?;
        let limits = unsafe { limits_or_none(limits) }.cloned().unwrap_or_default();
        let flag = |name: &str| match options.get(name).map_or(Some(false), Json::as_bool) {
            Some(flag) => Ok(flag),
            None => Err(Error::argument(format!("options: {name} is neither true nor false"))),
        };
        let (strict, debug, program) = (flag("strict")?, flag("debug")?, program.program.clone());
        let device = options.get("device").map_or(Some("cpu"), Json::as_str);
        let device = gpu::named(device.ok_or_else(|| Error::argument("options: device is not text"))?)?;
        let session = match (device, debug) {
            (None, true) => Session::checked(program, limits),
            (None, false) => Session::new(program, limits),
            (Some(_), true) => return Err(Error::unsupported("debug is for the CPU").with_argument("debug")),
            (Some(device), false) => Session::on(program, limits, &device, strict)?,
        };
        out.write(cdl_session::give(session));
        Ok(())
    })
}

/// The function of that name.
///
/// # Safety
/// `session` is a live handle, `name` is readable text, `function` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_session_function(
    session: *const cdl_session,
    name: *const c_char,
    name_len: usize,
    function: *mut *const cdl_function,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (session, out) = unsafe { (borrow("session", session)?, place("function", function)?) };
        let index = session.session.function(unsafe { text("name", name, name_len) }?)?;
        out.write(&session.functions[index]);
        Ok(())
    })
}

/// The value of state now.
///
/// # Safety
/// `session` is a live handle, `name` is readable text, `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_session_state(
    session: *const cdl_session,
    name: *const c_char,
    name_len: usize,
    out: *mut *mut cdl_tensor,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (session, out) = unsafe { (borrow("session", session)?, place("out", out)?) };
        out.write(give_tensor(session.session.state(unsafe { text("name", name, name_len) }?)?));
        Ok(())
    })
}

/// Sets state, all or none; waits for runs that write it.
///
/// # Safety
/// `session` is a live handle, `names` and `tensors` are readable for `n` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_session_set_state(
    session: *const cdl_session,
    names: *const *const c_char,
    tensors: *const *const cdl_tensor,
    n: usize,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let session = unsafe { borrow("session", session) }?;
        let names = unsafe { self::names("names", names, n) }?;
        let tensors = unsafe { self::tensors("tensors", tensors, n) }?;
        let changes: Vec<_> = names.into_iter().zip(tensors.iter().cloned()).collect();
        session.session.set_state(&changes)
    })
}

/// As `cdl_session_set_state`, but waits for about `seconds` at most (infinity: without end). `*done` is 1 when the state
/// is set; while it is 0 nothing is, and the call may be made again.
///
/// # Safety
/// As `cdl_session_set_state`; `done` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_session_set_state_within(
    session: *const cdl_session,
    names: *const *const c_char,
    tensors: *const *const cdl_tensor,
    n: usize,
    seconds: f64,
    done: *mut i32,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (session, done) = unsafe { (borrow("session", session)?, place("done", done)?) };
        let names = unsafe { self::names("names", names, n) }?;
        let tensors = unsafe { self::tensors("tensors", tensors, n) }?;
        let changes: Vec<_> = names.into_iter().zip(tensors.iter().cloned()).collect();
        done.write(session.session.set_state_within(&changes, &Watch::piece(seconds))?.into());
        Ok(())
    })
}

/// Makes state of this session be a cell that others may share.
///
/// # Safety
/// `session` and `variable` are live handles, `name` is readable text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_session_bind(
    session: *const cdl_session,
    name: *const c_char,
    name_len: usize,
    variable: *const cdl_variable,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (session, variable) = unsafe { (borrow("session", session)?, borrow("variable", variable)?) };
        session.session.bind(unsafe { text("name", name, name_len) }?, variable.0.clone())
    })
}

/// The program with the state of this moment; nothing is copied.
///
/// # Safety
/// `session` is a live handle, `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_session_snapshot(
    session: *const cdl_session,
    out: *mut *mut cdl_program,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (session, out) = unsafe { (borrow("session", session)?, place("out", out)?) };
        out.write(give_program(session.session.snapshot()?));
        Ok(())
    })
}

/// Takes the state of a program by name; with `strict` not 0 both must have the same names.
///
/// # Safety
/// `session` and `from` are live handles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_session_restore(
    session: *const cdl_session,
    from: *const cdl_program,
    strict: i32,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (session, from) = unsafe { (borrow("session", session)?, borrow("from", from)?) };
        session.session.restore(&from.program, strict != 0)
    })
}

/// As `cdl_session_restore`, but waits for about `seconds` at most (infinity: without end) for runs that write. `*done`
/// is 1 when the state is taken; while it is 0 nothing is, and the call may be made again.
///
/// # Safety
/// As `cdl_session_restore`; `done` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_session_restore_within(
    session: *const cdl_session,
    from: *const cdl_program,
    strict: i32,
    seconds: f64,
    done: *mut i32,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (session, from) = unsafe { (borrow("session", session)?, borrow("from", from)?) };
        let done = unsafe { place("done", done) }?;
        done.write(session.session.restore_within(&from.program, strict != 0, &Watch::piece(seconds))?.into());
        Ok(())
    })
}

/// Where the functions of a session run, as JSON by name: `"cpu"`, or on a device a list of steps, each with its `op`, the
/// `device` that runs it, `why` if that is another one, and the user's `file` and `line`. Steps depend on the sizes: they
/// are those of the last call, or of 8 for every symbol.
///
/// # Safety
/// `session` is a live handle, `json` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_session_placement(
    session: *const cdl_session,
    json: *mut *mut cdl_bytes,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (session, out) = unsafe { (borrow("session", session)?, place("json", json)?) };
        out.write(give_bytes(json::write(&info::placement(&session.session)?).into_bytes()));
        Ok(())
    })
}

/// What the session did, as JSON: `device`, `placement`, `memory`, `preparation`, `notes`. `preparation` says of each
/// function that was made ready, which its first calls wait for, how many `seconds` that took, for how many `sizes`, and
/// how many `pipelines` were compiled on a GPU.
///
/// # Safety
/// `session` is a live handle, `json` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_session_report(session: *const cdl_session, json: *mut *mut cdl_bytes) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (session, out) = unsafe { (borrow("session", session)?, place("json", json)?) };
        out.write(give_bytes(json::write(&info::report(&session.session)).into_bytes()));
        Ok(())
    })
}

/// Waits for running calls; later ones get `CDL_CLOSED`. Twice is fine.
///
/// # Safety
/// `session` is a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_session_close(session: *const cdl_session) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word.
        unsafe { borrow("session", session) }?.session.close();
        Ok(())
    })
}

/// As `cdl_session_close`, but waits for about `seconds` at most (infinity: without end). `*done` is 1 when no call runs
/// any more; if it is 0 later calls get `CDL_CLOSED` all the same, and one may wait again.
///
/// # Safety
/// `session` is a live handle, `done` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_session_close_within(
    session: *const cdl_session,
    seconds: f64,
    done: *mut i32,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word.
        let (session, done) = unsafe { (borrow("session", session)?, place("done", done)?) };
        done.write(session.session.close_within(&Watch::piece(seconds)).into());
        Ok(())
    })
}

/// Frees a session; null is fine. Its functions are gone with it; calls that were begun go on.
///
/// # Safety
/// `session` came from this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_session_free(session: *mut cdl_session) {
    if !session.is_null() {
        // SAFETY: made by `cdl_session::give`.
        let session = unsafe { Box::from_raw(session) };
        let device = session.session.device().cloned();
        drop(session);
        // Of no effect on a device that is lost.
        let _ = device.map(|device| device.trim());
    }
}

/// The spec of an input (`CDL_INPUT`) or output (`CDL_OUTPUT`) and its name; NULL past the last. Both live as long as
/// the session. `name` may be NULL.
///
/// # Safety
/// `function` is NULL or live, `name` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_function_spec(
    function: *const cdl_function,
    side: i32,
    index: usize,
    name: *mut *const c_char,
) -> *const cdl_spec {
    // SAFETY: the caller's word.
    let entry = unsafe { function.as_ref() }.and_then(|function| match side {
        CDL_INPUT => function.inputs.get(index),
        CDL_OUTPUT => function.outputs.get(index),
        _ => None,
    });
    let Some((text, spec)) = entry else { return std::ptr::null() };
    if !name.is_null() {
        // SAFETY: the caller's word.
        unsafe { name.write(text.as_ptr()) };
    }
    spec.public()
}

/// What a call with these dims (`{"batch": 32}`) needs, as JSON: `memory`, in bytes, beside its inputs and the state.
///
/// # Safety
/// `function` is a live handle, `dims` is readable text, `json` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_function_plan(
    function: *const cdl_function,
    dims: *const c_char,
    dims_len: usize,
    json: *mut *mut cdl_bytes,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (function, out) = unsafe { (borrow("function", function)?, place("json", json)?) };
        let signature = &function.session.program().functions[function.index];
        let symbols = info::symbols(signature);
        let known: Vec<_> = symbols.iter().map(String::as_str).collect();
        let dims = unsafe { options("dims", dims, dims_len, &known) }?;
        let memory = function.session.memory(function.index, &bindings(&symbols, &dims)?)?;
        let answer: Map<String, Json> = [("memory".to_string(), json::from_unsigned(memory))].into_iter().collect();
        out.write(give_bytes(json::write(&Json::Object(answer)).into_bytes()));
        Ok(())
    })
}

/// The graph that a call runs, as text: after the passes, a fused cluster as one node. A comment after a cluster, or after
/// a node that could be in one, says at which node it ends, and why: `# ends at %5: dot_general begins its cluster`.
/// Constants of more than 8 elements stand there without them.
///
/// # Safety
/// `function` is a live handle, `text` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_function_explain(
    function: *const cdl_function,
    text: *mut *mut cdl_bytes,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (function, out) = unsafe { (borrow("function", function)?, place("text", text)?) };
        out.write(give_bytes(function.session.explain(function.index)?.into_bytes()));
        Ok(())
    })
}

fn bindings(symbols: &[String], dims: &Map<String, Json>) -> Result<Bindings> {
    let mut bindings = Bindings::new();
    for symbol in symbols {
        let given = dims.get(symbol);
        let size = given.and_then(json::to_integer).filter(|size| *size >= 0).ok_or_else(|| match given {
            Some(given) => Error::argument(format!("the dim {symbol} is {given}, which is not a size")),
            None => Error::argument(format!("give the dim {symbol}, as in {{\"{symbol}\": 32}}")),
        })?;
        bindings.set(&symbol.as_str().into(), size);
    }
    Ok(bindings)
}

/// Calls a function. With `rest` NULL it runs to the end. Else it may stop after 25 ms (8 in WASM): `*rest` is then the
/// call, to go on with `cdl_call_resume`, and no output is written; if it came to its end `*rest` is NULL.
///
/// # Safety
/// `function` is a live handle, `inputs` is readable for `n` live handles, `limits` is NULL or
/// live, `outputs` is writable for `n_outputs` pointers, `rest` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_function_run(
    function: *const cdl_function,
    inputs: *const *const cdl_tensor,
    n: usize,
    limits: *const cdl_limits,
    outputs: *mut *mut cdl_tensor,
    n_outputs: usize,
    rest: *mut *mut cdl_call,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let function = unsafe { borrow("function", function) }?;
        let inputs = unsafe { tensors("inputs", inputs, n) }?;
        let limits = unsafe { limits_or_none(limits) };
        check_outputs(function.name(), function.outputs.len(), outputs, n_outputs)?;
        let mut call = function.start(inputs, limits)?;
        // SAFETY: there is room for all outputs.
        let mut each = |index, output| unsafe { outputs.add(index).write(give_tensor(output)) };
        let done = call.advance(if rest.is_null() { f64::INFINITY } else { PIECE_SECONDS }, &mut each)?;
        if rest.is_null() && !done {
            return Err(Error::pending("a value is awaited from the device; call with rest").with_argument("rest"));
        }
        let unfinished = if done { std::ptr::null_mut() } else { Box::into_raw(Box::new(call)) };
        if !rest.is_null() {
            // SAFETY: the caller's word.
            unsafe { rest.write(unfinished) };
        }
        Ok(())
    })
}

/// Looks before a run that would commit state whether its outputs have a place.
fn check_outputs(function: &str, count: usize, outputs: *mut *mut cdl_tensor, n_outputs: usize) -> Result<()> {
    let error = match n_outputs == count {
        true if count == 0 || !outputs.is_null() => return Ok(()),
        true => Error::argument("outputs is NULL"),
        false => Error::argument(format!("it has {count} outputs, there is room for {n_outputs}")),
    };
    Err(error.with_op(function).with_argument("outputs"))
}

/// Goes on with a call for about `seconds` (infinity: to the end). `*done` is 1 when it has come to its end and its
/// outputs are written.
///
/// # Safety
/// `call` is a live handle that nobody else uses, `outputs` is writable for `n_outputs` pointers, `done` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_call_resume(
    call: *mut cdl_call,
    seconds: f64,
    outputs: *mut *mut cdl_tensor,
    n_outputs: usize,
    done: *mut i32,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (call, done) = unsafe { (borrow_mut("call", call)?, place("done", done)?) };
        check_outputs(call.name(), call.outputs, outputs, n_outputs)?;
        // SAFETY: there is room for all outputs.
        let ended = call.advance(seconds, |index, output| unsafe { outputs.add(index).write(give_tensor(output)) })?;
        done.write(i32::from(ended));
        Ok(())
    })
}

/// Frees a call; null is fine. One that has not come to its end is cancelled: the state is as it was before.
///
/// # Safety
/// `call` came from this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_call_free(call: *mut cdl_call) {
    if !call.is_null() {
        // SAFETY: made by `cdl_function_run`.
        drop(unsafe { Box::from_raw(call) });
    }
}
