//! Mutations: of a file's bytes, of the JSON of its graphs, and of its graphs themselves, whose specs are inferred
//! anew so that they open and reach passes, plans and kernels.

use crate::file::File;
use crate::random::Random;
use crate::seeds;
use caudal::json::{self, Json, Map};
use caudal::{AttrValue, Attrs, DType, Dim, Graph, Node, Op, Shape, Spec, Value, ops, save};
use std::sync::Arc;

const NUMBERS: [i64; 16] =
    [0, 1, 2, 3, 4, 7, -1, -2, 64, 255, 65_536, 1 << 31, (1 << 31) - 1, 1 << 32, i64::MAX, i64::MIN];
const DIMS: [&str; 16] = [
    "n",
    "m",
    "0",
    "1",
    "2",
    "3",
    "8",
    "1000",
    "2*n+1",
    "n*m",
    "floordiv(n, 2)",
    "mod(n, 3)",
    "max(n, m)",
    "n-1",
    "4294967296",
    "9223372036854775807",
];

/// A changed copy of a file. It may be the same, or no file any more.
pub fn mutate(file: &[u8], random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0..4 => rebuilt(file, random),
        4..8 => json_changed(file, random),
        8 => graph_bytes_changed(file, random),
        _ => bytes_changed(file.to_vec(), random),
    }
}

fn bytes_changed(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    for _ in 0..1 + random.below(4) {
        if bytes.is_empty() {
            return bytes;
        }
        // Most of what matters stands in front.
        let reach = if random.one_in(2) { bytes.len() } else { bytes.len().min(400) };
        let at = random.below(reach);
        match random.below(5) {
            0 => bytes[at] = random.next() as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => drop(bytes.drain(at..(at + 1 + random.below(8)).min(bytes.len()))),
            3 => bytes.insert(at, random.pick(b"0123456789-\"[]{},:ntf")),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

fn graph_bytes_changed(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut file = File::parse(bytes);
    let mut text = file.graph().as_bytes().to_vec();
    for _ in 0..1 + random.below(2) {
        let at = random.below(text.len());
        match random.below(3) {
            0 => text[at] = random.pick(b"0123456789-\"[]{},:ntf*+ "),
            1 => text.insert(at, random.pick(b"0123456789-")),
            _ => drop(text.remove(at)),
        }
    }
    // The digest is of text; what is none is for `bytes_changed`.
    if std::str::from_utf8(&text).is_err() {
        return bytes.to_vec();
    }
    file.set_graph(text);
    file.write()
}

fn count(json: &Json) -> usize {
    1 + match json {
        Json::Array(items) => items.iter().map(count).sum(),
        Json::Object(object) => object.values().map(count).sum(),
        _ => 0,
    }
}

/// The value of that number in the order of the text.
fn nth<'a>(json: &'a mut Json, number: &mut usize) -> Option<&'a mut Json> {
    if *number == 0 {
        return Some(json);
    }
    *number -= 1;
    match json {
        Json::Array(items) => items.iter_mut().find_map(|item| nth(item, number)),
        Json::Object(object) => object.values_mut().find_map(|item| nth(item, number)),
        _ => None,
    }
}

fn json_changed(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut file = File::parse(bytes);
    let mut json = json::parse(file.graph()).unwrap();
    for _ in 0..1 + random.below(3) {
        let (mut donor, mut target) = (random.below(count(&json)), random.below(count(&json)));
        let donor = nth(&mut json, &mut donor).cloned().unwrap_or(Json::Null);
        if let Some(target) = nth(&mut json, &mut target) {
            change(target, donor, random);
        }
    }
    // Names of ops are looked up in a table, where each new one has to stand.
    if random.one_in(2)
        && let Some(table) = json.pointer_mut("/graphs/ops").and_then(Json::as_object_mut)
    {
        table.extend(ops::all().map(|def| (def.name.to_string(), def.version.into())));
    }
    file.set_graph(json.to_string().into_bytes());
    if random.one_in(8) {
        let index = random.below(file.tensors.len());
        match random.below(3) {
            0 => file.tensors[index].0.push('x'),
            1 if file.tensors.len() > 1 && file.tensors[index].0 != "caudal.graph" => drop(file.tensors.remove(index)),
            _ => file.tensors[index].1["dtype"] = random.pick(&["F32", "I64", "BOOL", "U8", "F16"]).into(),
        }
    }
    file.write()
}

fn change(json: &mut Json, donor: Json, random: &mut Random) {
    if random.one_in(8) {
        *json = donor;
        return;
    }
    match json {
        Json::Number(number) => {
            let near = number.as_i64().unwrap_or(0);
            let value =
                if random.one_in(2) { near.wrapping_add(random.pick(&[1, -1, 2, -2])) } else { random.pick(&NUMBERS) };
            *json = json::from_integer(value);
        }
        Json::String(text) => *json = changed_text(text, random).into(),
        Json::Bool(value) => *json = (!*value).into(),
        Json::Null => *json = json::from_integer(random.pick(&NUMBERS)),
        Json::Array(items) => {
            let (a, b) = (random.below(items.len() + 1), random.below(items.len() + 1));
            match random.below(4) {
                0 if a < items.len() => drop(items.remove(a)),
                1 if a < items.len() => items.insert(b, items[a].clone()),
                2 if a < items.len() && b < items.len() => items.swap(a, b),
                _ => items.insert(a, donor),
            }
        }
        Json::Object(object) => {
            let keys: Vec<_> = object.keys().cloned().collect();
            if keys.is_empty() || random.one_in(6) {
                object.insert("n".into(), donor);
                return;
            }
            let key = random.pick(&keys);
            match random.below(3) {
                0 => drop(object.remove(&key)),
                1 => drop(object.insert(key, donor)),
                _ => {
                    let value = object.remove(&key).unwrap_or(Json::Null);
                    object.insert(random.pick(&["op", "attrs", "inputs", "value", "axis", "shape", "n"]).into(), value);
                }
            }
        }
    }
}

fn changed_text(text: &str, random: &mut Random) -> String {
    if let Ok(spec) = Spec::parse(text) {
        return changed_spec(&spec, random).to_string();
    }
    match random.below(4) {
        0 => random.pick(&ops::all().map(|def| def.name).collect::<Vec<_>>()).to_string(),
        1 => random.pick(&DIMS).to_string(),
        2 => random.pick(&NUMBERS).to_string(),
        _ => format!("{text}{text}"),
    }
}

fn dim(random: &mut Random) -> Dim {
    // Small sizes are those that can run.
    let few = if random.one_in(4) { DIMS.len() } else { DIMS.len() - 2 };
    Dim::parse(random.pick(&DIMS[..few])).unwrap()
}

fn changed_spec(spec: &Spec, random: &mut Random) -> Spec {
    let mut dims = spec.shape.to_vec();
    let at = random.below(dims.len() + 1);
    let dtypes: Vec<DType> = DType::ALL.to_vec();
    // Empty, however large: what multiplies sizes must not overflow.
    if random.one_in(6) {
        let sizes: Vec<i64> = dims.iter().map(|_| random.pick(&[0, 1, 1 << 40, 1 << 62])).collect();
        return Spec::new(spec.dtype, Shape::of(&sizes));
    }
    match random.below(5) {
        0 => return Spec::new(random.pick(&dtypes), spec.shape.clone()),
        1 if at < dims.len() => drop(dims.remove(at)),
        2 => dims.insert(at, dim(random)),
        _ if at < dims.len() => dims[at] = dim(random),
        _ => dims.insert(at, dim(random)),
    }
    Shape::new(dims).map_or_else(|_| spec.clone(), |shape| Spec::new(spec.dtype, shape))
}

/// The file's first functions, built anew with changes; as they are if they cannot be.
fn rebuilt(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let program = save::read(bytes, None).unwrap();
    let function = random.pick(&program.functions);
    let graph = rebuild(&function.graph, random);
    save::write(&seeds::program(graph)).unwrap_or_else(|_| bytes.to_vec())
}

fn rebuild(source: &Graph, random: &mut Random) -> Graph {
    let mut graph = Graph::new();
    let mut map = vec![Value::ABSENT; source.value_count()];
    for (index, input) in source.inputs().iter().enumerate() {
        let spec = source.spec(input.value);
        let spec = if random.one_in(4) { changed_spec(spec, random) } else { spec.clone() };
        map[input.value.index()] = graph.input(&format!("x{index}"), spec).unwrap();
    }
    for node in source.nodes() {
        let times = if random.one_in(16) { random.below(3) } else { 1 };
        for _ in 0..times {
            let made = apply(&mut graph, node, &map, random);
            node.outputs().zip(made).for_each(|(value, copy)| map[value.index()] = copy);
        }
    }
    let made: Vec<_> = (0..graph.value_count() as u32).map(Value).collect();
    let outputs = source.outputs().iter().map(|value| match map[value.index()] {
        Value::ABSENT if made.is_empty() => None,
        Value::ABSENT => Some(random.pick(&made)),
        value => Some(value),
    });
    let outputs = outputs.flatten().collect();
    graph.set_outputs(outputs).unwrap();
    graph
}

/// Applies a node, changed or not, as often as it takes to fit; nothing if it never does.
fn apply(graph: &mut Graph, node: &Node, map: &[Value], random: &mut Random) -> Vec<Value> {
    const ATTEMPTS: usize = 4;
    for attempt in 0..ATTEMPTS {
        let mut inputs: Vec<_> = node.inputs.iter().map(|value| map.get(value.index()).copied()).collect();
        let mut op = node.op.clone();
        let mut regions = node.regions.clone();
        if attempt > 0 || random.one_in(3) {
            match random.below(6) {
                0 if !inputs.is_empty() && graph.value_count() > 0 => {
                    let at = random.below(inputs.len());
                    inputs[at] = Some(Value(random.below(graph.value_count()) as u32));
                }
                1 if !regions.is_empty() => {
                    let at = random.below(regions.len());
                    regions[at] = Arc::new(rebuild(&regions[at], random));
                }
                2 => op = other_op(&op, random),
                _ => op = changed_op(&op, random),
            }
        }
        let inputs: Vec<_> = inputs.into_iter().map(|value| value.unwrap_or(Value::ABSENT)).collect();
        if let Ok(outputs) = graph.apply(&op, regions, &inputs) {
            return outputs;
        }
    }
    Vec::new()
}

/// Another op that takes as many inputs, with what attrs it shares.
fn other_op(op: &Op, random: &mut Random) -> Op {
    let fits = |other: &&'static caudal::OpDef| {
        other.inputs.len() == op.def.inputs.len() && other.regions.len() == op.def.regions.len()
    };
    let def = random.pick(&ops::all().filter(fits).collect::<Vec<_>>());
    let attrs: Map<String, Json> =
        op.attrs.to_json().into_iter().filter(|(name, _)| def.attrs.iter().any(|attr| attr.name == name)).collect();
    Attrs::from_json(def, &attrs).map_or_else(|_| op.clone(), |attrs| Op { def, attrs })
}

fn changed_op(op: &Op, random: &mut Random) -> Op {
    if op.def.attrs.is_empty() {
        return op.clone();
    }
    let at = random.below(op.def.attrs.len());
    let mut values: Vec<(&str, AttrValue)> = op.attrs.iter().map(|(name, value)| (name, value.clone())).collect();
    values[at].1 = match &values[at].1 {
        AttrValue::Bool(value) => AttrValue::Bool(!value),
        AttrValue::Int(_) => AttrValue::Int(random.pick(&NUMBERS)),
        AttrValue::Float(_) => AttrValue::Float(random.pick(&[0.0, -1.0, 1e300, f64::NAN, f64::INFINITY, 0.5])),
        AttrValue::DType(_) => AttrValue::DType(random.pick(&DType::ALL)),
        AttrValue::Dim(_) => AttrValue::Dim(dim(random)),
        AttrValue::Ints(values) => {
            let mut values = values.clone();
            change_list(&mut values, random, |random| random.pick(&NUMBERS));
            AttrValue::Ints(values)
        }
        AttrValue::Dims(values) => {
            let mut values = values.clone();
            change_list(&mut values, random, |random| match random.one_in(2) {
                true => dim(random),
                false => Dim::constant(random.pick(&NUMBERS)),
            });
            AttrValue::Dims(values)
        }
        AttrValue::None => random.pick(&[
            AttrValue::Int(1),
            AttrValue::Ints(vec![0]),
            AttrValue::Ints(vec![1, 2]),
            AttrValue::Dims(vec![2.into(), 2.into()]),
            AttrValue::Float(0.5),
        ]),
        other => other.clone(),
    };
    Attrs::new(op.def, &values).map_or_else(|_| op.clone(), |attrs| Op { def: op.def, attrs })
}

fn change_list<T: Clone>(values: &mut Vec<T>, random: &mut Random, item: impl Fn(&mut Random) -> T) {
    let at = random.below(values.len() + 1);
    match random.below(4) {
        0 if at < values.len() => drop(values.remove(at)),
        1 => values.insert(at, item(random)),
        _ if at < values.len() => values[at] = item(random),
        _ => values.push(item(random)),
    }
}
