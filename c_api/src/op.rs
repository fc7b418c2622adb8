//! Ops: a name with its attrs.

use crate::error::guard;
use crate::limits::limits_or_none;
use crate::tensor::{check_room, give_tensor, optional_tensors};
use crate::text::{borrow, options, place, text};
use crate::{cdl_error, cdl_limits, cdl_tensor};
use caudal::cpu::call::List;
use caudal::run::eager::EagerOp;
use caudal::{Attrs, Op, Tensor, ops};
use std::ffi::c_char;

/// An op with its attrs; made once, used often, from any thread.
pub struct cdl_op(pub EagerOp);

/// Makes an op. `attrs` is a JSON object; empty or NULL takes the defaults.
///
/// # Safety
/// `name` and `attrs` are readable text, `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_op_new(
    name: *const c_char,
    name_len: usize,
    attrs: *const c_char,
    attrs_len: usize,
    out: *mut *mut cdl_op,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word.
        let out = unsafe { place("out", out) }?;
        // SAFETY: the caller's word.
        let def = ops::find(unsafe { text("name", name, name_len) }?)?;
        let known: Vec<_> = def.attrs.iter().map(|attr| attr.name).collect();
        // SAFETY: the caller's word.
        let attrs = unsafe { options("attrs", attrs, attrs_len, &known) }.map_err(|error| error.with_op(def.name))?;
        let op = Op { def, attrs: Attrs::from_json(def, &attrs)? };
        out.write(Box::into_raw(Box::new(cdl_op(EagerOp::new(op)))));
        Ok(())
    })
}

/// Frees an op; null is fine. Graphs it was applied in keep what they need.
///
/// # Safety
/// `op` came from this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_op_free(op: *mut cdl_op) {
    if !op.is_null() {
        // SAFETY: made by `cdl_op_new`.
        drop(unsafe { Box::from_raw(op) });
    }
}

/// Runs an op on tensors at once. A NULL in `inputs` is an optional input left out. `n_outputs` is set to their number.
///
/// # Safety
/// `op`, `inputs` and `limits` are live handles, `outputs` is writable for `capacity` pointers, `n_outputs` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_eager(
    op: *const cdl_op,
    inputs: *const *const cdl_tensor,
    n: usize,
    limits: *const cdl_limits,
    outputs: *mut *mut cdl_tensor,
    capacity: usize,
    n_outputs: *mut usize,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, here and below.
        let op = unsafe { borrow("op", op) }?;
        let inputs = unsafe { optional_tensors("inputs", inputs, n) }?;
        let limits = unsafe { limits_or_none(limits) };
        let count = unsafe { place("n_outputs", n_outputs) }?;
        let mut results = List::<Tensor>::new();
        op.0.call_with(inputs, limits, |output| results.push(output))?;
        let made = results.len();
        check_room(made, outputs, capacity)?;
        for (index, result) in results.into_iter().enumerate() {
            unsafe { outputs.add(index).write(give_tensor(result)) };
        }
        count.write(made);
        Ok(())
    })
}
