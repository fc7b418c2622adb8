//! What a program holds and what a session did, for people and for bindings.

use crate::error::Result;
use crate::gpu;
use crate::graph::Graph;
use crate::graph::text;
use crate::json::{self, Json, Map};
use crate::op::Spec;
use crate::passes;
use crate::plan::instance::Placement;
use crate::program::{Function, Program};
use crate::run::function::{Executable, Preparation};
use crate::run::{Limits, Session};
use crate::shape::Bindings;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

/// The symbols in the specs of a function's inputs, in the order in which they appear.
pub fn symbols(function: &Function) -> Vec<String> {
    let mut symbols: Vec<String> = Vec::new();
    let mut known = HashSet::new();
    let mut index = 0;
    while let Some(spec) = function.input_spec(index) {
        for dim in spec.shape.iter() {
            dim.symbols(&mut |symbol: &str| {
                if known.insert(symbol.to_string()) {
                    symbols.push(symbol.to_string());
                }
            });
        }
        index += 1;
    }
    symbols
}

type Counts = BTreeMap<&'static str, u64>;

/// How often each op stands in a graph and its regions. What shared regions hold is counted at each use and looked at
/// once.
fn op_counts<'a>(graph: &'a Arc<Graph>, done: &'a mut HashMap<*const Graph, Counts>) -> &'a Counts {
    let pointer = Arc::as_ptr(graph);
    if !done.contains_key(&pointer) {
        let mut counts = Counts::new();
        for node in graph.nodes() {
            *counts.entry(node.op.def.name).or_default() += 1;
            for region in &node.regions {
                for (name, count) in op_counts(region, done) {
                    let entry = counts.entry(name).or_default();
                    *entry = entry.saturating_add(*count);
                }
            }
        }
        done.insert(pointer, counts);
    }
    &done[&pointer]
}

/// Bytes that a call needs when every symbol is 1.
fn least_memory(function: &Function, limits: &Limits) -> Result<u64> {
    let mut sizes = Bindings::new();
    symbols(function).iter().for_each(|symbol| sizes.set(&symbol.as_str().into(), 1));
    let meter = limits.meter();
    Executable::new(&function.graph, passes::OPTIMIZED, &meter)?.memory(&sizes, &meter)
}

fn object(entries: impl IntoIterator<Item = (&'static str, Json)>) -> Json {
    let mut object = Map::new();
    // To collect them would sort each number of entries with a function of its own.
    for (key, value) in entries {
        object.insert(key.to_string(), value);
    }
    Json::Object(object)
}

fn named_specs<'a>(names: &[String], spec: impl Fn(usize) -> Option<&'a Spec>) -> Json {
    let entry = |(index, name): (usize, &String)| {
        let spec = spec(index).map(Spec::to_string).unwrap_or_default();
        object([("name", name.as_str().into()), ("spec", spec.into())])
    };
    names.iter().enumerate().map(entry).collect()
}

fn function_json(function: &Function, done: &mut HashMap<*const Graph, Counts>) -> Json {
    let counts = op_counts(&function.graph, done);
    let ops: Map<String, Json> =
        counts.iter().map(|(name, count)| (name.to_string(), json::from_unsigned(*count))).collect();
    object([
        ("name", function.name.as_str().into()),
        ("doc", function.doc.as_str().into()),
        ("inputs", named_specs(&function.inputs, |index| function.input_spec(index))),
        ("outputs", named_specs(&function.outputs, |index| function.output_spec(index))),
        ("reads", function.reads.clone().into()),
        ("writes", function.writes.clone().into()),
        ("structure", function.structure.clone()),
        ("symbols", symbols(function).into()),
        ("ops", Json::Object(ops)),
    ])
}

/// What a program holds: `functions`, `state`, `metadata`.
pub fn json(program: &Program) -> Json {
    let state = program.state.iter().map(|state| {
        object([
            ("name", state.name.as_str().into()),
            ("role", state.role.name().into()),
            ("spec", state.value.spec().to_string().into()),
            ("bytes", json::from_unsigned(state.value.bytes().len() as u64)),
        ])
    });
    let mut done = HashMap::new();
    object([
        ("functions", program.functions.iter().map(|function| function_json(function, &mut done)).collect()),
        ("state", state.collect()),
        ("metadata", program.metadata.clone()),
    ])
}

/// Bytes in the unit that people read.
fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

/// What a program holds, for people. Planning its functions, which says how much memory they take, is limited.
pub fn text(program: &Program, limits: &Limits) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write_text(program, limits, &mut out);
    out
}

fn write_text(program: &Program, limits: &Limits, out: &mut String) -> std::fmt::Result {
    let mut done = HashMap::new();
    for function in &program.functions {
        let side = |names: &[String], spec: &dyn Fn(usize) -> Option<Spec>| {
            let entry = |(index, name): (usize, &String)| match spec(index) {
                Some(spec) => format!("{name}: {spec}"),
                None => name.clone(),
            };
            names.iter().enumerate().map(entry).collect::<Vec<_>>().join(", ")
        };
        let inputs = side(&function.inputs, &|index| function.input_spec(index).cloned());
        let outputs = side(&function.outputs, &|index| function.output_spec(index).cloned());
        writeln!(out, "{}({inputs}) -> ({outputs})", function.name)?;
        for line in function.doc.lines() {
            writeln!(out, "    {line}")?;
        }
        let ops: Vec<_> =
            op_counts(&function.graph, &mut done).iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(out, "    ops: {}", ops.join(", "))?;
        if !function.writes.is_empty() {
            writeln!(out, "    writes: {}", function.writes.join(", "))?;
        }
        let sizes: Vec<_> = symbols(function).iter().map(|symbol| format!("{symbol} = 1")).collect();
        let at = if sizes.is_empty() { String::new() } else { format!(" at {}", sizes.join(", ")) };
        match least_memory(function, limits) {
            Ok(memory) => writeln!(out, "    memory of a call{at}: {}", bytes(memory))?,
            Err(error) => writeln!(out, "    memory of a call{at}: {error}")?,
        }
    }
    let total: u64 = program.state.iter().map(|state| state.value.bytes().len() as u64).sum();
    writeln!(out, "state: {} tensors, {}", program.state.len(), bytes(total))?;
    for state in &program.state {
        let size = bytes(state.value.bytes().len() as u64);
        writeln!(out, "    {}: {} ({}, {size})", state.name, state.value.spec(), state.role.name())?;
    }
    if !program.metadata.is_null() {
        writeln!(out, "metadata: {}", json::write(&program.metadata))?;
    }
    Ok(())
}

/// The graphs of a program's functions, as text.
pub fn graphs(program: &Program) -> String {
    let function = |function: &Function| format!("# {}\n{}", function.name, text::print(&function.graph));
    program.functions.iter().map(function).collect::<Vec<_>>().join("\n")
}

/// What a session did: `device`, `placement` (the device of each function), `memory`, `preparation` (for each function
/// that was made ready, `seconds`, `sizes` and `pipelines`), `notes`.
pub fn report(session: &Session) -> Json {
    let device = device_name(session);
    let names = session.program().functions.iter().map(|function| function.name.clone());
    let placement: Map<String, Json> = names.map(|name| (name, device.as_str().into())).collect();
    let budget = session.limits().budget();
    let memory = object([
        ("limit", json::from_unsigned(budget.limit())),
        ("used", json::from_unsigned(budget.used())),
        ("peak", json::from_unsigned(budget.peak())),
    ]);
    let mut preparation = Map::new();
    for (index, function) in session.program().functions.iter().enumerate() {
        let Some(prepared) = session.bound(index).and_then(|bound| bound.preparation()) else { continue };
        let Preparation { seconds, sizes, pipelines } = prepared;
        let entry = object([
            ("seconds", seconds.into()),
            ("sizes", json::from_unsigned(sizes)),
            ("pipelines", json::from_unsigned(pipelines)),
        ]);
        preparation.insert(function.name.clone(), entry);
    }
    object([
        ("device", device.as_str().into()),
        ("placement", Json::Object(placement)),
        ("memory", memory),
        ("preparation", Json::Object(preparation)),
        ("notes", Json::Array(Vec::new())),
    ])
}

fn device_name(session: &Session) -> String {
    session.device().map_or_else(|| "cpu".into(), |device| format!("gpu:{}", device.index()))
}

/// Where the functions of a session run, by name: `cpu`, or on a device a list of steps, each with its op, the device
/// that runs it, why if that is another one, and the user's line.
///
/// # Errors
/// Those of [`Session::placement`].
pub fn placement(session: &Session) -> Result<Json> {
    let mut functions = Map::new();
    for (index, function) in session.program().functions.iter().enumerate() {
        let placed = match session.device() {
            None => "cpu".into(),
            Some(_) => Json::Array(session.placement(index)?.iter().map(placed).collect()),
        };
        functions.insert(function.name.clone(), placed);
    }
    Ok(Json::Object(functions))
}

fn placed(step: &Placement) -> Json {
    let mut entry: Map<String, Json> = Map::new();
    entry.insert("op".into(), step.op.into());
    entry.insert("device".into(), step.device.as_str().into());
    if let Some(why) = &step.why {
        entry.insert("why".into(), why.as_str().into());
    }
    if let Some(location) = &step.location {
        entry.insert("file".into(), location.file.as_ref().into());
        entry.insert("line".into(), json::from_unsigned(location.line.into()));
    }
    Json::Object(entry)
}

/// The devices of this machine: for each its `name`, and of a GPU what its driver says, the bytes of its buffers,
/// and what it was asked for.
pub fn devices() -> Json {
    let mut devices = vec![object([("name", "cpu".into())])];
    for (index, adapter) in gpu::adapters().iter().enumerate() {
        let (usage, work) = gpu::opened(index).map(|device| (device.usage(), device.work())).unwrap_or_default();
        let memory = object([
            ("used", json::from_unsigned(usage.used)),
            ("pooled", json::from_unsigned(usage.pooled)),
            ("peak", json::from_unsigned(usage.peak)),
        ]);
        let work = object([
            ("dispatches", json::from_unsigned(work.dispatches)),
            ("pipelines", json::from_unsigned(work.pipelines)),
            ("bytes", json::from_unsigned(work.bytes)),
        ]);
        devices.push(object([
            ("name", format!("gpu:{index}").as_str().into()),
            ("adapter", adapter.name.as_str().into()),
            ("backend", adapter.backend.as_str().into()),
            ("software", adapter.is_software.into()),
            ("binding_bytes", json::from_unsigned(adapter.binding_bytes)),
            ("buffer_bytes", json::from_unsigned(adapter.buffer_bytes)),
            ("storage_buffers", json::from_unsigned(adapter.storage_buffers.into())),
            ("invocations", json::from_unsigned(adapter.invocations.into())),
            ("workgroup_bytes", json::from_unsigned(adapter.workgroup_bytes.into())),
            ("f16", adapter.has_f16.into()),
            ("subgroups", adapter.has_subgroups.into()),
            ("memory", memory),
            ("work", work),
        ]));
    }
    Json::Array(devices)
}
