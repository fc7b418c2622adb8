//! The quick way in from CPython: its calling convention in place of cffi's.
//!
//! cffi lets other Python threads run in each call, and a call of a microsecond then waits for the interpreter's lock
//! for as long as another thread keeps it. These functions keep the lock while they are short, and let go of it when
//! they are not. Nothing is linked with Python: the binding hands in the addresses of the few functions of the stable
//! ABI that stand in [`Python`].
//!
//! In a function's doc `handle` is a capsule that owns a tensor or op, `pointer` an integer.

use crate::error::guard;
use crate::limits::limits_or_none;
use crate::op::cdl_op_free;
use crate::session::{PIECE_SECONDS, cdl_call, cdl_call_free, cdl_function};
use crate::tensor::{cdl_tensor_free, give_tensor, optional_tensors, tensors};
use crate::text::borrow;
use crate::{cdl_limits, cdl_op, cdl_tensor};
use caudal::cpu::call::List;
use caudal::run::eager::EagerOp;
use caudal::{Result, Tensor};
use std::ffi::{CStr, c_char, c_int, c_longlong, c_void};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

type Object = *mut c_void;
type Destructor = unsafe extern "C" fn(Object);
type Function = unsafe extern "C" fn(Object, *const Object, isize) -> Object;

/// What is called of CPython, in the order in which the binding gives the addresses.
#[repr(C)]
#[derive(Clone, Copy)]
struct Python {
    capsule_new: unsafe extern "C" fn(*mut c_void, *const c_char, Option<Destructor>) -> Object,
    capsule_pointer: unsafe extern "C" fn(Object, *const c_char) -> *mut c_void,
    capsule_is_valid: unsafe extern "C" fn(Object, *const c_char) -> c_int,
    integer: unsafe extern "C" fn(c_longlong) -> Object,
    address: unsafe extern "C" fn(Object) -> *mut c_void,
    tuple_new: unsafe extern "C" fn(isize) -> Object,
    tuple_set: unsafe extern "C" fn(Object, isize, Object) -> c_int,
    release: unsafe extern "C" fn() -> *mut c_void,
    acquire: unsafe extern "C" fn(*mut c_void),
    new_reference: unsafe extern "C" fn(Object) -> Object,
    none: Object,
}

/// CPython's PyMethodDef.
#[repr(C)]
struct Method {
    name: *const c_char,
    function: Option<Function>,
    flags: c_int,
    doc: *const c_char,
}

// SAFETY: names and functions are constants.
unsafe impl Sync for Method {}
// SAFETY: functions, and an object that lives for ever.
unsafe impl Send for Python {}
// SAFETY: as above.
unsafe impl Sync for Python {}

const METH_FASTCALL: c_int = 0x80;
const TENSOR: &CStr = c"cdl_tensor";
const OP: &CStr = c"cdl_op";
const CALL: &CStr = c"cdl_call";

/// How long a function runs before other Python threads may: about what taking the lock again costs.
const BRIEF_SECONDS: f64 = 30e-6;
/// Up to how many elements, as the product over an eager call's inputs, it is short.
const BRIEF_ELEMENTS: usize = 1 << 16;

static PYTHON: OnceLock<Python> = OnceLock::new();

static METHODS: [Method; 10] = [
    method(c"own_tensor", own_tensor),
    method(c"own_op", own_op),
    method(c"tensor", tensor_pointer),
    method(c"op", op_pointer),
    method(c"dtype", dtype),
    method(c"shape", shape),
    method(c"eager", eager),
    method(c"run", run),
    method(c"resume", resume),
    method(c"cancel", cancel),
];

const fn method(name: &'static CStr, function: Function) -> Method {
    Method { name: name.as_ptr(), function: Some(function), flags: METH_FASTCALL, doc: null() }
}

/// For the Python package alone: an array of CPython's PyMethodDef, `*n` of them, that call this library without cffi;
/// NULL if an argument is. `functions` are the addresses of functions of CPython, as c_api/src/python.rs lists them, and
/// of None.
///
/// # Safety
/// `functions` is readable for 12 pointers to what that list says, `n` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_python_methods(functions: *const c_void, n: *mut usize) -> *const c_void {
    if functions.is_null() || n.is_null() {
        return null();
    }
    // SAFETY: the caller's word; the array has the layout of `Python`.
    PYTHON.get_or_init(|| unsafe { functions.cast::<Python>().read() });
    // SAFETY: the caller's word.
    unsafe { n.write(METHODS.len()) };
    METHODS.as_ptr().cast()
}

/// CPython, which gave its functions before any of these can be called.
fn python() -> &'static Python {
    PYTHON.get().expect("the methods come from `cdl_python_methods`")
}

/// What a capsule of that name holds; null with a Python exception set if it is no such capsule.
unsafe fn held<T>(capsule: Object, name: &CStr) -> *mut T {
    // SAFETY: an object that the caller of the method holds; the interpreter is locked in every method.
    unsafe { (python().capsule_pointer)(capsule, name.as_ptr()) }.cast()
}

unsafe fn own<T>(pointer: *mut T, name: &'static CStr, destructor: Destructor) -> Object {
    // SAFETY: the name lives for ever, as a capsule wants it.
    unsafe { (python().capsule_new)(pointer.cast(), name.as_ptr(), Some(destructor)) }
}

unsafe extern "C" fn drop_tensor(capsule: Object) {
    // SAFETY: made by `own` with a tensor.
    unsafe { cdl_tensor_free(held(capsule, TENSOR)) };
}

unsafe extern "C" fn drop_op(capsule: Object) {
    // SAFETY: made by `own` with an op.
    unsafe { cdl_op_free(held(capsule, OP)) };
}

unsafe extern "C" fn drop_call(capsule: Object) {
    // SAFETY: made by `own` with a call.
    unsafe { cdl_call_free(held(capsule, CALL)) };
}

fn give(tensor: Tensor) -> Object {
    // SAFETY: the capsule takes the handle over.
    unsafe { own(give_tensor(tensor), TENSOR, drop_tensor) }
}

/// A tuple of new objects.
fn tuple(entries: impl ExactSizeIterator<Item = Object>) -> Object {
    // SAFETY: the interpreter is locked; each entry is set once, and the tuple takes it over.
    unsafe {
        let tuple = (python().tuple_new)(entries.len() as isize);
        if !tuple.is_null() {
            for (index, entry) in entries.enumerate() {
                (python().tuple_set)(tuple, index as isize, entry);
            }
        }
        tuple
    }
}

fn integer(value: i64) -> Object {
    // SAFETY: the interpreter is locked.
    unsafe { (python().integer)(value) }
}

/// Runs the body of a method: its object, or the address of the error, which the binding raises.
fn answer(body: impl FnOnce() -> Result<Object>) -> Object {
    let mut object = null_mut();
    let error = guard(|| {
        object = body()?;
        Ok(())
    });
    if error.is_null() { object } else { integer(error as i64) }
}

/// Lets other Python threads run during `work`.
fn released<T>(work: impl FnOnce() -> T) -> T {
    /// Takes the lock again also where `work` panics.
    struct Released(*mut c_void);
    impl Drop for Released {
        fn drop(&mut self) {
            // SAFETY: what `release` gave, on the same thread.
            unsafe { (python().acquire)(self.0) };
        }
    }
    // SAFETY: the interpreter is locked in every method.
    let _guard = Released(unsafe { (python().release)() });
    work()
}

/// The arguments of a method.
///
/// # Safety
/// What the interpreter gave a method.
unsafe fn slice<'a>(arguments: *const Object, count: isize) -> &'a [Object] {
    // SAFETY: the caller's word.
    unsafe { std::slice::from_raw_parts(arguments, count as usize) }
}

/// `own_tensor(pointer)`: a handle that owns the tensor.
unsafe extern "C" fn own_tensor(_: Object, arguments: *const Object, _: isize) -> Object {
    // SAFETY: the binding gives a tensor that it owns.
    unsafe { own((python().address)(arguments.read()), TENSOR, drop_tensor) }
}

/// `own_op(pointer)`: a handle that owns the op.
unsafe extern "C" fn own_op(_: Object, arguments: *const Object, _: isize) -> Object {
    // SAFETY: the binding gives an op that it owns.
    unsafe { own((python().address)(arguments.read()), OP, drop_op) }
}

/// `tensor(handle)`: a pointer to what the handle owns.
unsafe extern "C" fn tensor_pointer(_: Object, arguments: *const Object, _: isize) -> Object {
    // SAFETY: the binding gives one argument.
    let pointer: *mut cdl_tensor = unsafe { held(arguments.read(), TENSOR) };
    if pointer.is_null() { null_mut() } else { integer(pointer as i64) }
}

/// `op(handle)`: a pointer to what the handle owns.
unsafe extern "C" fn op_pointer(_: Object, arguments: *const Object, _: isize) -> Object {
    // SAFETY: the binding gives one argument.
    let pointer: *mut cdl_op = unsafe { held(arguments.read(), OP) };
    if pointer.is_null() { null_mut() } else { integer(pointer as i64) }
}

/// `dtype(handle)`: the number of a tensor's dtype.
unsafe extern "C" fn dtype(_: Object, arguments: *const Object, _: isize) -> Object {
    // SAFETY: the binding gives one argument; a handle's pointer is live.
    match unsafe { held::<cdl_tensor>(arguments.read(), TENSOR).as_ref() } {
        Some(tensor) => integer(i64::from(tensor.dtype)),
        None => null_mut(),
    }
}

/// `shape(handle)`: the sizes of a tensor, as a tuple.
unsafe extern "C" fn shape(_: Object, arguments: *const Object, _: isize) -> Object {
    // SAFETY: the binding gives one argument; a handle's pointer is live.
    let Some(tensor) = (unsafe { held::<cdl_tensor>(arguments.read(), TENSOR).as_ref() }) else { return null_mut() };
    tuple((0..tensor.rank).map(|axis| {
        // SAFETY: `dims` holds `rank` sizes.
        integer(unsafe { tensor.dims.add(axis).read() })
    }))
}

/// `eager(op, *inputs)`: the output, or a tuple where there are several. An input is a handle, or None if it is left
/// out.
unsafe extern "C" fn eager(_: Object, arguments: *const Object, count: isize) -> Object {
    // SAFETY: the interpreter's word.
    let arguments = unsafe { slice(arguments, count) };
    let Some((&op, inputs)) = arguments.split_first() else { return null_mut() };
    // SAFETY: a handle's pointer is live while the caller holds it.
    let Some(op) = (unsafe { held::<cdl_op>(op, OP).as_ref() }) else { return null_mut() };
    let none = python().none;
    let mut handles = List::<*const cdl_tensor>::new();
    for &input in inputs {
        // SAFETY: as for the op.
        let handle: *const cdl_tensor = if input == none { null() } else { unsafe { held(input, TENSOR) } };
        if handle.is_null() && input != none {
            return null_mut();
        }
        handles.push(handle);
    }
    answer(|| {
        // SAFETY: as for the op.
        let inputs = unsafe { optional_tensors("inputs", handles.as_ptr(), handles.len()) }?;
        let mut outputs = List::<Tensor>::new();
        let mut call = || op.0.call_with(inputs, None, |output| outputs.push(output));
        if is_brief(&op.0, inputs) { call() } else { released(call) }?;
        Ok(match outputs.len() {
            1 => give(outputs.remove(0)),
            _ => tuple(outputs.into_iter().map(give)),
        })
    })
}

/// Whether an eager call takes a few microseconds: what it reads is small, and no attr makes it large.
fn is_brief(op: &EagerOp, inputs: &[Option<Tensor>]) -> bool {
    let elements = inputs.iter().flatten().try_fold(1usize, |product, input| product.checked_mul(input.len().max(1)));
    op.op().def.attrs.is_empty() && elements.is_some_and(|elements| elements <= BRIEF_ELEMENTS)
}

/// `run(function, limits, *inputs)`: the outputs of a function of a session as a tuple; or, where it is not done in
/// [`BRIEF_SECONDS`], the call, to go on with by `resume`. `function` and `limits` are pointers; limits 0 are those of
/// the session.
unsafe extern "C" fn run(_: Object, arguments: *const Object, count: isize) -> Object {
    // SAFETY: the interpreter's word.
    let arguments = unsafe { slice(arguments, count) };
    let [function, limits, inputs @ ..] = arguments else { return null_mut() };
    // SAFETY: the binding gives pointers to what it holds.
    let (function, limits) = unsafe { ((python().address)(*function), (python().address)(*limits)) };
    let mut handles = List::<*const cdl_tensor>::new();
    for &input in inputs {
        // SAFETY: a handle's pointer is live while the caller holds it.
        let handle: *const cdl_tensor = unsafe { held(input, TENSOR) };
        if handle.is_null() {
            return null_mut();
        }
        handles.push(handle);
    }
    answer(|| {
        // SAFETY: as above.
        let function = unsafe { borrow("function", function.cast::<cdl_function>()) }?;
        // SAFETY: as above.
        let limits = unsafe { limits_or_none(limits.cast::<cdl_limits>()) };
        // SAFETY: as above.
        let inputs = unsafe { tensors("inputs", handles.as_ptr(), handles.len()) }?;
        let start = || function.start(inputs, limits);
        let mut call = if function.is_planned() { start() } else { released(start) }?;
        let mut outputs = List::<Tensor>::new();
        Ok(match call.advance(BRIEF_SECONDS, |_, output| outputs.push(output))? {
            true => tuple(outputs.into_iter().map(give)),
            // SAFETY: the capsule takes the call over.
            false => unsafe { own(Box::into_raw(Box::new(call)), CALL, drop_call) },
        })
    })
}

/// `resume(call)`: as `run`, for a call that it began.
unsafe extern "C" fn resume(_: Object, arguments: *const Object, _: isize) -> Object {
    // SAFETY: the binding gives one argument.
    let handle = unsafe { arguments.read() };
    // SAFETY: one thread alone has the call.
    let Some(call) = (unsafe { held::<cdl_call>(handle, CALL).as_mut() }) else { return null_mut() };
    answer(|| {
        let mut outputs = List::<Tensor>::new();
        Ok(match released(|| call.advance(PIECE_SECONDS, |_, output| outputs.push(output)))? {
            true => tuple(outputs.into_iter().map(give)),
            // SAFETY: the caller holds the handle.
            false => unsafe { (python().new_reference)(handle) },
        })
    })
}

/// `cancel(result)`: ends what `run` or `resume` gave, if that is a call; the state is as it was before.
unsafe extern "C" fn cancel(_: Object, arguments: *const Object, _: isize) -> Object {
    // SAFETY: the binding gives one argument, and one thread alone has the call.
    unsafe {
        let handle = arguments.read();
        if (python().capsule_is_valid)(handle, CALL.as_ptr()) != 0
            && let Some(call) = held::<cdl_call>(handle, CALL).as_mut()
        {
            call.cancel();
        }
        (python().new_reference)(python().none)
    }
}
