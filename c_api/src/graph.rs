//! Graphs: what programs are built in.

use crate::error::guard;
use crate::limits::limits_or_none;
use crate::spec::OwnedSpec;
use crate::tensor::{give_tensors, tensor, tensors};
use crate::text::{array, borrow, borrow_mut, give_bytes, names, options, place, text};
use crate::{cdl_bytes, cdl_error, cdl_limits, cdl_op, cdl_spec, cdl_tensor};
use caudal::graph::Notes;
use caudal::json::Json;
use caudal::run::eager::evaluate;
use caudal::{Builder, Error, FunctionId, Location, Result, Role, Spec, Value};
use std::collections::HashMap;
use std::ffi::c_char;
use std::sync::{Arc, Mutex, PoisonError};

/// State that gradients train.
pub const CDL_PARAMETER: i32 = 1;
/// State of an optimizer.
pub const CDL_OPTIMIZER: i32 = 2;
/// State gathered while running.
pub const CDL_STATISTIC: i32 = 3;
/// A random key.
pub const CDL_RANDOM: i32 = 4;
/// Any other state.
pub const CDL_OTHER: i32 = 5;

/// A graph under construction: inputs, state, ops, functions. A value is a number; those of one node are consecutive.
#[derive(Default)]
pub struct cdl_graph {
    /// What builds it.
    pub builder: Builder,
    specs: Mutex<HashMap<u32, Box<OwnedSpec>>>,
}

fn values(ids: &[u32]) -> Vec<Value> {
    ids.iter().copied().map(Value).collect()
}

/// Makes an empty graph.
///
/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_graph_new(out: *mut *mut cdl_graph) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word.
        unsafe { place("out", out) }?.write(Box::into_raw(Box::default()));
        Ok(())
    })
}

/// Frees a graph; null is fine. Programs made of it stay.
///
/// # Safety
/// `graph` came from this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_graph_free(graph: *mut cdl_graph) {
    if !graph.is_null() {
        // SAFETY: made by `cdl_graph_new`.
        drop(unsafe { Box::from_raw(graph) });
    }
}

/// Adds an input. The spec is text such as `float32[batch, 28, 28, 1]`.
///
/// # Safety
/// `graph` is a live handle that nobody else uses, texts are readable, `value` is writable. So for all functions here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_graph_input(
    graph: *mut cdl_graph,
    name: *const c_char,
    name_len: usize,
    spec: *const c_char,
    spec_len: usize,
    value: *mut u32,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (graph, value) = unsafe { (borrow_mut("graph", graph)?, place("value", value)?) };
        let (name, spec) = unsafe { (text("name", name, name_len)?, text("spec", spec, spec_len)?) };
        value.write(graph.builder.input(name, Spec::parse(spec)?)?.0);
        Ok(())
    })
}

/// Adds state with its first value; `role` is one of `CDL_PARAMETER` ...
///
/// # Safety
/// As [`cdl_graph_input`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_graph_state(
    graph: *mut cdl_graph,
    name: *const c_char,
    name_len: usize,
    role: i32,
    initial: *const cdl_tensor,
    value: *mut u32,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (graph, value) = unsafe { (borrow_mut("graph", graph)?, place("value", value)?) };
        let (name, initial) = unsafe { (text("name", name, name_len)?, tensor("initial", initial)?) };
        let role = Role::from_number(role);
        let role = role.ok_or_else(|| Error::argument("there is no such role").with_argument("role"))?;
        value.write(graph.builder.state(name, role, initial)?.0);
        Ok(())
    })
}

/// Adds a constant.
///
/// # Safety
/// As [`cdl_graph_input`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_graph_constant(
    graph: *mut cdl_graph,
    tensor: *const cdl_tensor,
    value: *mut u32,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (graph, value) = unsafe { (borrow_mut("graph", graph)?, place("value", value)?) };
        let tensor = unsafe { self::tensor("tensor", tensor) }?;
        value.write(graph.builder.constant(tensor)?.0);
        Ok(())
    })
}

/// Sets the user's line of the nodes that follow; NULL or line 0 is none.
///
/// # Safety
/// As [`cdl_graph_input`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_graph_location(
    graph: *mut cdl_graph,
    file: *const c_char,
    file_len: usize,
    line: u32,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let graph = unsafe { borrow_mut("graph", graph) }?;
        let file = if file.is_null() { "" } else { unsafe { text("file", file, file_len) }? };
        let known = line > 0 && !file.is_empty();
        graph.builder.graph.set_location(known.then(|| Location { file: file.into(), line }));
        Ok(())
    })
}

/// Applies an op. Each region is a graph with exactly one function and no state; it is copied. `0xffffffff` in `inputs`
/// is an optional input left out. The outputs are `*first`, `*first + 1`, ...
///
/// # Safety
/// As [`cdl_graph_input`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_graph_apply(
    graph: *mut cdl_graph,
    op: *const cdl_op,
    regions: *const *const cdl_graph,
    n_regions: usize,
    inputs: *const u32,
    n: usize,
    first: *mut u32,
    n_outputs: *mut usize,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (graph, op) = unsafe { (borrow_mut("graph", graph)?, borrow("op", op)?) };
        let (first, count) = unsafe { (place("first", first)?, place("n_outputs", n_outputs)?) };
        let inputs = values(unsafe { array("inputs", inputs, n) }?);
        let regions = unsafe { array("regions", regions, n_regions) }?;
        let region = |&region: &*const cdl_graph| -> Result<_> {
            let region = unsafe { borrow("regions", region) }?;
            region.builder.region().map(Arc::new)
        };
        let regions = regions.iter().map(region).collect::<Result<Vec<_>>>()?;
        let outputs = graph.builder.graph.apply(op.0.op(), regions, &inputs)?;
        first.write(outputs.first().map_or(Value::ABSENT.0, |value| value.0));
        count.write(outputs.len());
        Ok(())
    })
}

/// Adds the gradients of a scalar `loss`: `grads[i]` is that by `wrt[i]`.
///
/// # Safety
/// As [`cdl_graph_input`]; `grads` is writable for `n` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_graph_grad(
    graph: *mut cdl_graph,
    loss: u32,
    wrt: *const u32,
    n: usize,
    grads: *mut u32,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let graph = unsafe { borrow_mut("graph", graph) }?;
        let wrt = values(unsafe { array("wrt", wrt, n) }?);
        if grads.is_null() && n > 0 {
            return Err(Error::argument("grads is NULL"));
        }
        let gradients = caudal::grad::grad(&mut graph.builder.graph, Value(loss), &wrt)?;
        for (index, gradient) in gradients.iter().enumerate() {
            // SAFETY: one for each of `wrt`.
            unsafe { grads.add(index).write(gradient.0) };
        }
        Ok(())
    })
}

/// A fresh random key, `uint32[2]`, from the program's generator: the state `random/key`, made if it is not there. A
/// function that uses one commits the generator's next key.
///
/// # Safety
/// As [`cdl_graph_input`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_graph_draw(graph: *mut cdl_graph, key: *mut u32) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (graph, key) = unsafe { (borrow_mut("graph", graph)?, place("key", key)?) };
        key.write(graph.builder.draw()?.0);
        Ok(())
    })
}

/// The spec of a value; it lives as long as the graph.
///
/// # Safety
/// As [`cdl_graph_input`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_graph_spec(
    graph: *const cdl_graph,
    value: u32,
    spec: *mut *const cdl_spec,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (graph, out) = unsafe { (borrow("graph", graph)?, place("spec", spec)?) };
        let value = Value(value).check(&graph.builder.graph)?;
        let mut specs = graph.specs.lock().unwrap_or_else(PoisonError::into_inner);
        let spec = specs.entry(value.0).or_insert_with(|| Box::new(OwnedSpec::new(graph.builder.graph.spec(value))));
        out.write(spec.public());
        Ok(())
    })
}

/// Makes a function of some values. `notes` is a JSON object: `doc`, `inputs` (names in order; left out, those it
/// needs), `structure` (kept for the binding).
///
/// # Safety
/// As [`cdl_graph_input`]; `names` and `outputs` are readable for `n` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_graph_function(
    graph: *mut cdl_graph,
    name: *const c_char,
    name_len: usize,
    names: *const *const c_char,
    outputs: *const u32,
    n: usize,
    notes: *const c_char,
    notes_len: usize,
    function: *mut u32,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (graph, out) = unsafe { (borrow_mut("graph", graph)?, place("function", function)?) };
        let name = unsafe { text("name", name, name_len) }?;
        let (names, outputs) = unsafe { (self::names("names", names, n)?, array("outputs", outputs, n)?) };
        let notes = unsafe { options("notes", notes, notes_len, &["doc", "inputs", "structure"]) }?;
        let inputs = match notes.get("inputs") {
            None | Some(Json::Null) => None,
            Some(inputs) => Some(string_list(inputs)?),
        };
        let notes = Notes {
            doc: notes.get("doc").and_then(Json::as_str).unwrap_or_default().to_string(),
            inputs,
            structure: notes.get("structure").cloned().unwrap_or_default(),
        };
        let outputs = names.into_iter().map(str::to_string).zip(values(outputs)).collect();
        out.write(graph.builder.function(name, outputs, notes)?.0);
        Ok(())
    })
}

fn string_list(json: &Json) -> Result<Vec<String>> {
    let names = json.as_array().and_then(|items| items.iter().map(|item| item.as_str().map(str::to_string)).collect());
    names.ok_or_else(|| Error::argument("notes: inputs is not a list of names"))
}

/// Makes a function write new values to state when it has run.
///
/// # Safety
/// As [`cdl_graph_input`]; `states` and `values` are readable for `n` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_graph_update(
    graph: *mut cdl_graph,
    function: u32,
    states: *const u32,
    values: *const u32,
    n: usize,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let graph = unsafe { borrow_mut("graph", graph) }?;
        let (states, values) = unsafe { (array("states", states, n)?, array("values", values, n)?) };
        for (&state, &value) in states.iter().zip(values) {
            graph.builder.update(FunctionId(function), Value(state), Value(value))?;
        }
        Ok(())
    })
}

/// Makes a function train: applies an optimizer's op to each parameter, makes its state (`NAME/learning_rate`,
/// `NAME/step`, `NAME/SLOT/PARAMETER`) and the updates, and does what `cdl_graph_training` does.
///
/// # Safety
/// As [`cdl_graph_input`]; `grads` and `parameters` are readable for `n` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_graph_optimize(
    graph: *mut cdl_graph,
    function: u32,
    name: *const c_char,
    name_len: usize,
    optimizer: *const cdl_op,
    learning_rate: *const cdl_tensor,
    grads: *const u32,
    parameters: *const u32,
    n: usize,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (graph, optimizer) = unsafe { (borrow_mut("graph", graph)?, borrow("optimizer", optimizer)?) };
        let (name, rate) = unsafe { (text("name", name, name_len)?, tensor("learning_rate", learning_rate)?) };
        let gradients = values(unsafe { array("grads", grads, n) }?);
        let parameters = values(unsafe { array("parameters", parameters, n) }?);
        let function = FunctionId(function);
        graph.builder.optimize(function, name, optimizer.0.op(), rate, &gradients, &parameters)
    })
}

/// Gives the optimizer NAME a schedule, an op such as `cosine_schedule`: the learning rate of later calls of
/// `cdl_graph_optimize` with that name is its state times what the op makes of the step.
///
/// # Safety
/// As [`cdl_graph_input`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_graph_schedule(
    graph: *mut cdl_graph,
    name: *const c_char,
    name_len: usize,
    schedule: *const cdl_op,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (graph, schedule) = unsafe { (borrow_mut("graph", graph)?, borrow("schedule", schedule)?) };
        let name = unsafe { text("name", name, name_len) }?;
        graph.builder.schedule(name, schedule.0.op())
    })
}

/// Says that a function trains these parameters by these gradients: the program then also gets `gradients` (its inputs
/// and outputs, and an output `gradient/PARAMETER` each) and `apply` (takes those).
///
/// # Safety
/// As [`cdl_graph_input`]; `grads` and `parameters` are readable for `n` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_graph_training(
    graph: *mut cdl_graph,
    function: u32,
    grads: *const u32,
    parameters: *const u32,
    n: usize,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let graph = unsafe { borrow_mut("graph", graph) }?;
        let gradients = values(unsafe { array("grads", grads, n) }?);
        let parameters = values(unsafe { array("parameters", parameters, n) }?);
        graph.builder.training(FunctionId(function), &parameters, &gradients)
    })
}

/// Computes values of the graph at once from others whose tensors are given: what eager gradients run on.
///
/// # Safety
/// As [`cdl_graph_input`]; arrays are readable, `outputs` is writable for `n_wanted` pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_graph_eval(
    graph: *const cdl_graph,
    given: *const u32,
    tensors: *const *const cdl_tensor,
    n: usize,
    wanted: *const u32,
    n_wanted: usize,
    limits: *const cdl_limits,
    outputs: *mut *mut cdl_tensor,
) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let graph = unsafe { borrow("graph", graph) }?;
        let given = values(unsafe { array("given", given, n) }?);
        let wanted = values(unsafe { array("wanted", wanted, n_wanted) }?);
        let tensors = unsafe { self::tensors("tensors", tensors, n) }?;
        let limits = unsafe { limits_or_none(limits) }.cloned().unwrap_or_default();
        for (&value, tensor) in given.iter().zip(tensors) {
            let spec = graph.builder.graph.spec(value.check(&graph.builder.graph)?);
            if *spec != tensor.spec() {
                return Err(Error::argument(format!("the value {value} is {spec}, {} was given", tensor.spec())));
            }
        }
        for &value in &wanted {
            value.check(&graph.builder.graph)?;
        }
        let part = graph.builder.part(&given, &wanted)?;
        let results = evaluate(&part, tensors.to_vec(), &limits)?;
        unsafe { give_tensors(results, outputs, n_wanted) }
    })
}

/// The graph as text.
///
/// # Safety
/// As [`cdl_graph_input`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdl_graph_text(graph: *const cdl_graph, out: *mut *mut cdl_bytes) -> *mut cdl_error {
    guard(|| {
        // SAFETY: the caller's word, for the whole body.
        let (graph, out) = unsafe { (borrow("graph", graph)?, place("text", out)?) };
        out.write(give_bytes(caudal::graph::text::print(&graph.builder.graph).into_bytes()));
        Ok(())
    })
}
