//! The graphs, functions and roles of a program as the JSON in `caudal.graph`.
//!
//! `{"functions": [...], "graphs": see graph::json, "metadata": ..., "state": [[name, role, spec], ...]}`. A function is
//! its fields, its graph an index into the table.

use crate::error::{Error, Result};
use crate::graph::json::{self as graphs, Fields, shown, within};
use crate::graph::{Graph, Role, check_name, check_path};
use crate::json::{self, Json, Map};
use crate::meter::{Charge, Meter};
use crate::op::Spec;
use crate::program::{Function, MAX_METADATA, Program, State};
use crate::shape::{Dim, Shape};
use crate::tensor::Tensor;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// How deep metadata and structures may nest, so that the file's JSON stays within what is read.
const MAX_JSON_DEPTH: usize = 64;

/// Names that begin with this are caudal's own.
pub const OWN: &str = "caudal.";

/// The JSON text of a program, and its constants in order.
///
/// # Errors
/// `argument`: a program that could not be read back.
pub fn to_json(program: &Program) -> Result<(String, Vec<Tensor>)> {
    check_program(program).map_err(|error| Error::argument(error.text()))?;
    let roots: Vec<_> = program.functions.iter().map(|function| function.graph.clone()).collect();
    let graphs::Table { json: table, roots, constants } = graphs::to_json(&roots)?;
    let functions = program.functions.iter().zip(roots).map(|(function, graph)| function_to_json(function, graph));
    let state = program.state.iter().map(|state| {
        Json::from(vec![
            Json::from(state.name.as_str()),
            state.role.name().into(),
            spec_of(&state.value).to_string().into(),
        ])
    });
    let mut object = Map::new();
    object.insert("functions".into(), functions.collect());
    object.insert("graphs".into(), table);
    object.insert("metadata".into(), program.metadata.clone());
    object.insert("state".into(), state.collect());
    Ok((json::write(&Json::Object(object)), constants))
}

fn function_to_json(function: &Function, graph: usize) -> Json {
    let texts = |texts: &[String]| -> Json { texts.iter().map(|text| Json::from(text.as_str())).collect() };
    let mut object = Map::new();
    object.insert("name".into(), function.name.as_str().into());
    object.insert("doc".into(), function.doc.as_str().into());
    object.insert("structure".into(), function.structure.clone());
    object.insert("inputs".into(), texts(&function.inputs));
    object.insert("outputs".into(), texts(&function.outputs));
    object.insert("reads".into(), texts(&function.reads));
    object.insert("writes".into(), texts(&function.writes));
    object.insert("graph".into(), graph.into());
    Json::Object(object)
}

fn spec_of(tensor: &Tensor) -> Spec {
    let dims = tensor.sizes().iter().map(|&size| Dim::constant(i64::try_from(size).unwrap_or(i64::MAX)));
    Spec::new(tensor.dtype(), dims.collect::<Shape>())
}

/// A program from its JSON text and the tensors of its file. Tensors that the text does not name become state of the
/// role other. `strict` as in [`graphs::from_json`].
///
/// # Errors
/// `newer`, `unsupported`: ops that this caudal lacks; `format`: anything that does not fit; what the meter refuses.
pub fn from_json(
    text: &str,
    mut tensors: BTreeMap<String, Tensor>,
    constants: &[Tensor],
    strict: bool,
    meter: &Meter,
) -> Result<Program> {
    let (json, _tree) = json::parse_metered(text, meter)?;
    let fields = Fields::of(&json, "caudal.graph", &["functions", "graphs", "metadata", "state"], strict)?;
    let mut held = meter.charge(0)?;
    let mut state = Vec::new();
    for json in fields.array("state")? {
        let entry = read_state(json, &mut tensors)?;
        held.add(state_cost(&entry.name))?;
        state.push(entry);
    }
    for (name, value) in tensors {
        held.add(state_cost(&name))?;
        state.push(State { name, role: Role::Other, value });
    }
    let table = graphs::from_json(fields.get("graphs")?, constants, strict, meter)?;
    let mut functions = Vec::new();
    for json in fields.array("functions")? {
        meter.check()?;
        functions.push(read_function(json, &table, strict, &mut held)?);
    }
    let metadata = fields.get("metadata")?;
    held.add(json::cost(metadata))?;
    let program = Program { functions, state, metadata: metadata.clone(), held };
    // The tables of names that checking makes take less than the names in the tree did.
    check_program(&program)?;
    Ok(program)
}

/// What state takes beside its bytes: its entry, its tensor, and its variable in a session.
pub fn state_cost(name: &str) -> u64 {
    1024 + 2 * name.len() as u64
}

fn read_state(json: &Json, tensors: &mut BTreeMap<String, Tensor>) -> Result<State> {
    let parts = json.as_array().map(Vec::as_slice);
    let Some([Json::String(name), Json::String(role), Json::String(spec)]) = parts else {
        return Err(Error::format(format!("a state is name, role, spec, not {}", shown(json))));
    };
    let role = Role::parse(role).ok_or_else(|| Error::format(format!("state {name:?} has the role {role:?}")))?;
    let value = tensors.remove(name).ok_or_else(|| Error::format(format!("the state {name:?} has no tensor")))?;
    let (written, found) = (Spec::parse(spec)?, spec_of(&value));
    if written != found {
        return Err(Error::format(format!("the state {name:?} is {written}, its tensor is {found}")));
    }
    Ok(State { name: name.clone(), role, value })
}

fn read_function(json: &Json, table: &[Arc<Graph>], strict: bool, held: &mut Charge) -> Result<Function> {
    const KEYS: [&str; 8] = ["doc", "graph", "inputs", "name", "outputs", "reads", "structure", "writes"];
    let fields = Fields::of(json, "a function", &KEYS, strict)?;
    // A session keeps names and specs of its own.
    held.add(2 * json::cost(json) + 1024)?;
    let graph = fields.get("graph")?;
    let found = graph.as_u64().and_then(|index| table.get(usize::try_from(index).ok()?));
    let found = found.ok_or_else(|| Error::format(format!("graph {} is not in the table", shown(graph))));
    let name = fields.text("name")?.to_string();
    Ok(Function {
        graph: found.map_err(|error| within(&format!("function {name:?}"), error))?.clone(),
        name,
        doc: fields.text("doc")?.to_string(),
        structure: fields.get("structure")?.clone(),
        inputs: fields.texts("inputs")?,
        outputs: fields.texts("outputs")?,
        reads: fields.texts("reads")?,
        writes: fields.texts("writes")?,
    })
}

/// What every program in a file keeps: names, and signatures that fit graphs and state.
fn check_program(program: &Program) -> Result<()> {
    if json::length(&program.metadata) > MAX_METADATA {
        return Err(Error::format(format!("metadata takes more than {MAX_METADATA} bytes")));
    }
    check_depth("metadata", &program.metadata)?;
    let mut state = HashMap::new();
    for entry in &program.state {
        check_state_name(&entry.name)?;
        if state.insert(entry.name.as_str(), spec_of(&entry.value)).is_some() {
            return Err(Error::format(format!("two states are named {:?}", entry.name)));
        }
    }
    let mut names = HashSet::new();
    for function in &program.functions {
        check_name("function", &function.name)?;
        if !names.insert(function.name.as_str()) {
            return Err(Error::format(format!("two functions are named {:?}", function.name)));
        }
        check_function(function, &state).map_err(|error| within(&format!("function {:?}", function.name), error))?;
    }
    Ok(())
}

/// Checks that state may have this name in a file.
pub fn check_state_name(name: &str) -> Result<()> {
    if name.starts_with(OWN) || name == super::safetensors::METADATA {
        return Err(Error::format(format!("state cannot be named {name:?}, which has a meaning of its own in files")));
    }
    check_path("state", name)
}

fn check_depth(what: &str, json: &Json) -> Result<()> {
    fn within(json: &Json, depth: usize) -> bool {
        match json {
            Json::Array(items) => depth > 0 && items.iter().all(|item| within(item, depth - 1)),
            Json::Object(object) => depth > 0 && object.values().all(|item| within(item, depth - 1)),
            _ => true,
        }
    }
    if within(json, MAX_JSON_DEPTH) {
        return Ok(());
    }
    Err(Error::format(format!("{what} nests deeper than {MAX_JSON_DEPTH}")))
}

fn check_function(function: &Function, state: &HashMap<&str, Spec>) -> Result<()> {
    check_depth("structure", &function.structure)?;
    check_names("input", &function.inputs)?;
    check_names("output", &function.outputs)?;
    check_names("read", &function.reads)?;
    check_names("write", &function.writes)?;
    let graph = &function.graph;
    let inputs: Vec<_> = graph.inputs().iter().map(|input| graph.spec(input.value)).collect();
    let outputs: Vec<_> = graph.outputs().iter().map(|value| graph.spec(*value)).collect();
    check_signature("input", &function.inputs, &function.reads, &inputs, state)?;
    check_signature("output", &function.outputs, &function.writes, &outputs, state)
}

fn check_names(what: &str, names: &[String]) -> Result<()> {
    let mut seen = HashSet::new();
    for name in names {
        check_path(what, name)?;
        if !seen.insert(name.as_str()) {
            return Err(Error::format(format!("two {what}s are named {name:?}")));
        }
    }
    Ok(())
}

/// Checks that a graph's inputs (or outputs) are `own` and then the state named `shared`.
fn check_signature(
    what: &str,
    own: &[String],
    shared: &[String],
    specs: &[&Spec],
    state: &HashMap<&str, Spec>,
) -> Result<()> {
    if own.len() + shared.len() != specs.len() {
        let (own, shared, has) = (own.len(), shared.len(), specs.len());
        return Err(Error::format(format!("it has {own} {what}s and {shared} of state, its graph has {has}")));
    }
    for (name, spec) in shared.iter().zip(&specs[own.len()..]) {
        match state.get(name.as_str()) {
            None => return Err(Error::format(format!("there is no state {name:?}"))),
            Some(found) if found != *spec => {
                return Err(Error::format(format!("the state {name:?} is {found}, its graph says {spec}")));
            }
            Some(_) => {}
        }
    }
    Ok(())
}
