//! Graphs in a program file: one table, canonical JSON.
//!
//! ```text
//! {"files": ["model.py"], "ops": {"add": 1}, "table": [{
//!   "inputs": [["x", "float32[n]", 0]],
//!   "nodes": [{"op": "add", "inputs": [0, 0], "outputs": ["float32[n]"], "location": [0, 12]}],
//!   "outputs": [1],
//!   "requirements": [{"left": "n", "right": 3, "op": "add", "location": [0, 12]}]
//! }]}
//! ```
//! - `inputs`: name, spec, value. The outputs of nodes are the next values in order.
//! - A node also has `attrs` (those that are not their defaults) and `regions` (earlier entries of the table, so there
//!   are no cycles and a region that is used twice stands once). An operand that was left out is `null`.
//! - `location` is the index of a file and a line.
//! - A tensor attr beyond 64 bytes, or one that JSON would bend, is `{"constant": N}`.
//! - `ops` says which version of an op a name means. Where that is not the newest known to the writer, the name ends
//!   with it: `add.v1`.

use super::assemble::{Assembler, Draft, MAX_NODES, Region, attrs_from_json, op_key};
use super::{Graph, MAX_DEPTH, Node, Requirement, Value};
use crate::attrs::{AttrDef, AttrValue, dim_from_json, dim_to_json, value_from_json, value_to_json};
use crate::dtype::DType;
use crate::error::{Code, Error, Location, Result};
use crate::json::{Json, Map};
use crate::meter::Meter;
use crate::op::{Op, OpDef, Spec};
use crate::ops;
use crate::shape::Dim;
use crate::tensor::Tensor;
use std::collections::HashMap;
use std::sync::Arc;

/// Tensors of more bytes are kept outside the JSON.
const MAX_INLINE: usize = 64;

/// Graphs as JSON, and what the JSON refers to.
pub struct Table {
    /// The graphs; see the module's documentation.
    pub json: Json,
    /// Where each root stands in the table.
    pub roots: Vec<usize>,
    /// The tensors that `{"constant": N}` means, each once.
    pub constants: Vec<Tensor>,
}

/// Graphs, and all regions below them, as JSON. Equal graphs become one entry, so that the result does not depend on
/// what shares memory.
///
/// # Errors
/// `argument`: regions that nest too deep, or more than [`MAX_NODES`] nodes.
pub fn to_json(roots: &[Arc<Graph>]) -> Result<Table> {
    let mut writer = Writer::default();
    let roots = roots.iter().map(|root| writer.graph(root, 0).map(|entry| entry.index)).collect::<Result<_>>()?;
    let mut json = Map::new();
    json.insert("files".into(), writer.files.names.iter().map(|file| Json::from(&**file)).collect());
    json.insert("ops".into(), Json::Object(writer.ops));
    json.insert("table".into(), Json::Array(writer.entries));
    Ok(Table { json: Json::Object(json), roots, constants: writer.constants })
}

#[derive(Clone, Copy)]
struct Written {
    index: usize,
    size: u64,
    depth: usize,
}

#[derive(Default)]
struct Files {
    names: Vec<Arc<str>>,
    indices: HashMap<Arc<str>, usize>,
}

#[derive(Default)]
struct Writer<'a> {
    files: Files,
    ops: Map<String, Json>,
    entries: Vec<Json>,
    by_pointer: HashMap<*const Graph, Written>,
    by_text: HashMap<String, Written>,
    constants: Vec<Tensor>,
    constant_indices: HashMap<(DType, &'a [usize], &'a [u8]), usize>,
}

impl<'a> Writer<'a> {
    /// Writes a graph after its regions, unless the table has it.
    fn graph(&mut self, graph: &'a Arc<Graph>, above: usize) -> Result<Written> {
        if let Some(&written) = self.by_pointer.get(&Arc::as_ptr(graph)) {
            return Ok(written);
        }
        if above > MAX_DEPTH {
            return Err(Error::argument(format!("regions nest deeper than {MAX_DEPTH}")));
        }
        let (mut size, mut depth) = (graph.nodes().len() as u64, 0);
        let mut nodes = Vec::with_capacity(graph.nodes().len());
        for node in graph.nodes() {
            let mut regions = Vec::new();
            for region in &node.regions {
                let written = self.graph(region, above + 1)?;
                size = size.saturating_add(written.size);
                depth = depth.max(written.depth + 1);
                regions.push(written.index.into());
            }
            nodes.push(self.node(graph, node, regions));
        }
        // An entry that was written at a lesser depth may stand too deep here.
        if size > MAX_NODES || above + depth > MAX_DEPTH {
            let text = format!("a graph has more than {MAX_NODES} nodes or regions deeper than {MAX_DEPTH}");
            return Err(Error::argument(text));
        }
        let requirements = graph.requirements().iter().map(|required| self.requirement(required)).collect();
        let entry = entry(graph, nodes, requirements);
        let (text, next) = (entry.to_string(), self.entries.len());
        let written = *self.by_text.entry(text).or_insert(Written { index: next, size, depth });
        if written.index == next {
            self.entries.push(entry);
        }
        self.by_pointer.insert(Arc::as_ptr(graph), written);
        Ok(written)
    }

    fn node(&mut self, graph: &Graph, node: &'a Node, regions: Vec<Json>) -> Json {
        let mut object = Map::new();
        let key = op_key(node.op.def);
        object.insert("op".into(), key.as_str().into());
        self.ops.entry(key).or_insert(node.op.def.version.into());
        let operand = |value: &Value| if *value == Value::ABSENT { Json::Null } else { value.0.into() };
        object.insert("inputs".into(), node.inputs.iter().map(operand).collect());
        object
            .insert("outputs".into(), node.outputs().map(|value| Json::from(graph.spec(value).to_string())).collect());
        let mut attrs = Map::new();
        for (attr, value) in node.op.attrs.changed() {
            attrs.insert(attr.name.into(), self.attr(attr, value));
        }
        if !attrs.is_empty() {
            object.insert("attrs".into(), Json::Object(attrs));
        }
        if !regions.is_empty() {
            object.insert("regions".into(), Json::Array(regions));
        }
        self.location(&mut object, node.location.as_ref());
        Json::Object(object)
    }

    fn attr(&mut self, attr: &AttrDef, value: &'a AttrValue) -> Json {
        let AttrValue::Tensor(tensor) = value else { return value_to_json(value) };
        if tensor.bytes().len() <= MAX_INLINE {
            let json = value_to_json(value);
            if value_from_json(attr, &json, &Meter::default()).as_ref() == Ok(value) {
                return json;
            }
        }
        let key = (tensor.dtype(), tensor.sizes(), tensor.bytes());
        let index = *self.constant_indices.entry(key).or_insert(self.constants.len());
        if index == self.constants.len() {
            self.constants.push(tensor.clone());
        }
        let mut object = Map::new();
        object.insert("constant".into(), index.into());
        Json::Object(object)
    }

    fn requirement(&mut self, required: &Requirement) -> Json {
        let mut object = Map::new();
        object.insert("left".into(), dim_to_json(&required.left));
        object.insert("right".into(), dim_to_json(&required.right));
        object.insert("op".into(), (&*required.op).into());
        self.location(&mut object, required.location.as_ref());
        Json::Object(object)
    }

    fn location(&mut self, object: &mut Map<String, Json>, location: Option<&Location>) {
        let Some(Location { file, line }) = location else { return };
        let next = self.files.names.len();
        let index = *self.files.indices.entry(file.clone()).or_insert(next);
        if index == next {
            self.files.names.push(file.clone());
        }
        object.insert("location".into(), vec![Json::from(index), Json::from(*line)].into());
    }
}

fn entry(graph: &Graph, nodes: Vec<Json>, requirements: Vec<Json>) -> Json {
    let input = |input: &super::Input| {
        let spec = graph.spec(input.value).to_string();
        Json::from(vec![Json::from(&*input.name), spec.into(), input.value.0.into()])
    };
    let mut object = Map::new();
    object.insert("inputs".into(), graph.inputs().iter().map(input).collect());
    object.insert("nodes".into(), nodes.into());
    object.insert("outputs".into(), graph.outputs().iter().map(|value| Json::from(value.0)).collect());
    if !requirements.is_empty() {
        object.insert("requirements".into(), requirements.into());
    }
    Json::Object(object)
}

/// Reads what [`to_json`] wrote: every graph of the table. Everything is checked, every node is inferred again.
/// `strict`: whether a key that is not known is an error, which it is unless a newer caudal wrote the file.
///
/// # Errors
/// `newer`, `unsupported`: ops that this caudal does not have, all of them; what the meter refuses; `format`: anything
/// else.
pub fn from_json(json: &Json, constants: &[Tensor], strict: bool, meter: &Meter) -> Result<Vec<Arc<Graph>>> {
    let fields = Fields::of(json, "the graphs", &["files", "ops", "table"], strict)?;
    let files = fields.array("files")?.iter().map(|file| match file.as_str() {
        Some(file) => Ok(file.into()),
        None => Err(Error::format(format!("files: {} is not a name", shown(file)))),
    });
    let files = files.collect::<Result<_>>()?;
    let mut reader =
        Reader { files, ops: ops_of(fields.object("ops")?)?, constants, strict, meter, table: Vec::new(), nodes: 0 };
    for (index, graph) in fields.array("table")?.iter().enumerate() {
        let region = reader.graph(graph).map_err(|error| within(&format!("graph {index}"), error))?;
        reader.table.push(region);
    }
    Ok(reader.table.into_iter().map(|region| region.graph).collect())
}

/// The ops of a file by the names its nodes use.
fn ops_of(table: &Map<String, Json>) -> Result<HashMap<&str, &'static OpDef>> {
    let (mut found, mut missing, mut newer) = (HashMap::new(), Vec::new(), false);
    for (key, version) in table {
        let version = version.as_u64().and_then(|version| u32::try_from(version).ok());
        let version = version.ok_or_else(|| Error::format(format!("ops: {key} has no version")))?;
        let name = key.strip_suffix(&format!(".v{version}")).unwrap_or(key);
        match (ops::find_version(name, version).filter(|def| ops::is_public(def)), ops::find(name)) {
            (Some(def), _) => {
                found.insert(key.as_str(), def);
            }
            (None, Ok(newest)) if ops::is_public(newest) => {
                newer |= version > newest.version;
                missing.push(format!("{name} v{version} (this caudal has v{})", newest.version));
            }
            (None, _) => missing.push(shown_name(name)),
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    let code = if newer { Code::Newer } else { Code::Unsupported };
    Err(Error::new(code, format!("it uses ops that this caudal does not have: {}", missing.join(", "))))
}

/// A name from a file, for messages.
fn shown_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.len() <= 64 && !name.is_empty() && name.chars().all(plain) { name.into() } else { shown(&name.into()) }
}

struct Reader<'a> {
    files: Vec<Arc<str>>,
    ops: HashMap<&'a str, &'static OpDef>,
    constants: &'a [Tensor],
    strict: bool,
    meter: &'a Meter,
    table: Vec<Region>,
    nodes: u64,
}

impl<'a> Reader<'a> {
    fn graph(&mut self, json: &'a Json) -> Result<Region> {
        let fields = Fields::of(json, "it", &["inputs", "nodes", "outputs", "requirements"], self.strict)?;
        let mut assembler = Assembler::new(self.meter)?;
        for input in fields.array("inputs")? {
            let parts = input.as_array().map(Vec::as_slice);
            let Some([Json::String(name), Json::String(spec), value]) = parts else {
                return Err(Error::format(format!("an input is name, spec, value, not {}", shown(input))));
            };
            let spec = Spec::parse(spec).map_err(|error| within(&format!("input {name:?}"), error))?;
            assembler.input(name, self.value(value)?, spec)?;
        }
        let nodes = fields.array("nodes")?;
        self.nodes += nodes.len() as u64;
        if self.nodes > MAX_NODES {
            return Err(Error::format(format!("the file has more than {MAX_NODES} nodes")));
        }
        for (index, node) in nodes.iter().enumerate() {
            self.node(node, &mut assembler).map_err(|error| within(&format!("node {index}"), error))?;
        }
        let outputs = fields.array("outputs")?.iter().map(|value| self.value(value)).collect::<Result<_>>()?;
        let requirements = fields.optional("requirements").map_or(Ok(&[][..]), |json| array(json, "requirements"))?;
        let requirements = requirements.iter().map(|json| self.requirement(json)).collect::<Result<_>>()?;
        assembler.finish(outputs, requirements)
    }

    fn node(&self, json: &'a Json, assembler: &mut Assembler) -> Result<()> {
        let fields = Fields::of(json, "it", &["attrs", "inputs", "location", "op", "outputs", "regions"], self.strict)?;
        let key = fields.text("op")?;
        let def =
            *self.ops.get(key).ok_or_else(|| Error::format(format!("the op {key:?} is not in the table of ops")))?;
        let empty = Map::new();
        let attrs = fields.optional("attrs").map_or(Ok(&empty), |json| object(json, "attrs"))?;
        let attrs = attrs_from_json(def, attrs, self.meter, &|json| self.constant(json))?;
        let operand = |json: &Json| if json.is_null() { Ok(Value::ABSENT) } else { self.value(json) };
        let inputs = fields.array("inputs")?.iter().map(operand).collect::<Result<_>>()?;
        let regions = fields.optional("regions").map_or(Ok(&[][..]), |json| array(json, "regions"))?;
        let regions = regions.iter().map(|json| self.region(json)).collect::<Result<Vec<_>>>()?;
        let spec = |json: &Json| match json.as_str() {
            Some(text) => Spec::parse(text),
            None => Err(Error::format(format!("{} is not a spec", shown(json)))),
        };
        let outputs = fields.array("outputs")?.iter().map(spec).collect::<Result<Vec<_>>>()?;
        let location = self.location(&fields)?;
        let op = Op { def, attrs };
        assembler.node(Draft { op, inputs, regions: &regions, outputs: &outputs, location })
    }

    fn value(&self, json: &Json) -> Result<Value> {
        match json.as_u64() {
            Some(value) if value < i32::MAX as u64 => Ok(Value(value as u32)),
            _ => Err(Error::format(format!("{} is not a value", shown(json)))),
        }
    }

    fn region(&self, json: &Json) -> Result<Region> {
        let region = json.as_u64().and_then(|index| self.table.get(usize::try_from(index).ok()?));
        region.cloned().ok_or_else(|| Error::format(format!("the region {} is not an earlier graph", shown(json))))
    }

    fn constant(&self, json: &Json) -> Result<Option<Tensor>> {
        let Some(index) = json.as_object().filter(|object| object.len() == 1).and_then(|object| object.get("constant"))
        else {
            return Ok(None);
        };
        let constant = index.as_u64().and_then(|index| self.constants.get(usize::try_from(index).ok()?));
        constant.cloned().map(Some).ok_or_else(|| Error::format(format!("the constant {} is missing", shown(index))))
    }

    fn requirement(&self, json: &Json) -> Result<Requirement> {
        let fields = Fields::of(json, "a requirement", &["left", "location", "op", "right"], self.strict)?;
        Ok(Requirement {
            left: dim(&fields, "left")?,
            right: dim(&fields, "right")?,
            op: fields.text("op")?.into(),
            location: self.location(&fields)?,
        })
    }

    fn location(&self, fields: &Fields) -> Result<Option<Location>> {
        let Some(json) = fields.optional("location") else { return Ok(None) };
        let read = || {
            let [file, line] = json.as_array()?.as_slice() else { return None };
            let file = self.files.get(usize::try_from(file.as_u64()?).ok()?)?.clone();
            Some(Location { file, line: line.as_u64()?.try_into().ok()? })
        };
        read().map(Some).ok_or_else(|| Error::format(format!("{} is not a location", shown(json))))
    }
}

fn dim(fields: &Fields, key: &str) -> Result<Dim> {
    let json = fields.get(key)?;
    dim_from_json(json)?.ok_or_else(|| Error::format(format!("{key} is {}, not a dim", shown(json))))
}

/// The error with a place before it; what is no matter of the format keeps its code.
pub(crate) fn within(place: &str, error: Error) -> Error {
    let code = match error.code() {
        code @ (Code::Newer | Code::Unsupported | Code::Memory | Code::Deadline | Code::Cancelled) => code,
        _ => Code::Format,
    };
    Error::new(code, format!("{place}: {error}"))
}

/// The beginning of JSON, for messages.
pub(crate) fn shown(json: &Json) -> String {
    const SHOWN: usize = 60;
    match json {
        Json::Array(_) => "a list".into(),
        Json::Object(_) => "an object".into(),
        Json::String(text) if text.len() > SHOWN => format!("{:?}...", text.chars().take(SHOWN).collect::<String>()),
        other => other.to_string(),
    }
}

fn array<'a>(json: &'a Json, what: &str) -> Result<&'a [Json]> {
    json.as_array().map(Vec::as_slice).ok_or_else(|| Error::format(format!("{what} is {}, not a list", shown(json))))
}

fn object<'a>(json: &'a Json, what: &str) -> Result<&'a Map<String, Json>> {
    json.as_object().ok_or_else(|| Error::format(format!("{what} is {}, not an object", shown(json))))
}

/// A JSON object whose keys are known.
pub(crate) struct Fields<'a> {
    what: &'a str,
    map: &'a Map<String, Json>,
}

impl<'a> Fields<'a> {
    /// `what` names the object in messages.
    ///
    /// # Errors
    /// `format`: not an object, or, if `strict`, one with a key beyond `known`.
    pub fn of(json: &'a Json, what: &'a str, known: &[&str], strict: bool) -> Result<Fields<'a>> {
        let map = object(json, what)?;
        match map.keys().find(|key| strict && !known.contains(&key.as_str())) {
            Some(key) => Err(Error::format(format!("{what} has the key {key:?}; known are {}", known.join(", ")))),
            None => Ok(Fields { what, map }),
        }
    }

    /// The value of a key that may be missing.
    pub fn optional(&self, key: &str) -> Option<&'a Json> {
        self.map.get(key)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Result<&'a Json> {
        self.optional(key).ok_or_else(|| Error::format(format!("{} has no {key}", self.what)))
    }

    /// The text of a key.
    pub fn text(&self, key: &str) -> Result<&'a str> {
        let json = self.get(key)?;
        json.as_str().ok_or_else(|| Error::format(format!("{key} is {}, not text", shown(json))))
    }

    /// The list of a key.
    pub fn array(&self, key: &str) -> Result<&'a [Json]> {
        array(self.get(key)?, key)
    }

    /// The list of texts of a key.
    pub fn texts(&self, key: &str) -> Result<Vec<String>> {
        let text = |json: &Json| match json.as_str() {
            Some(text) => Ok(text.to_string()),
            None => Err(Error::format(format!("{key} holds {}, not text", shown(json)))),
        };
        self.array(key)?.iter().map(text).collect()
    }

    /// The object of a key.
    pub fn object(&self, key: &str) -> Result<&'a Map<String, Json>> {
        object(self.get(key)?, key)
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::{parse, print};
    use super::*;
    use crate::json;

    /// Two loops that share a body, a constant that is too large to stand inline, twice, and a symbolic shape.
    const SHARED: &str = r#"graph(%0 x: float32[n, 3], %1 y: float32[m, 3]) {
  %2 = call(%0) [graph(%0 a: float32[n, 3]) {
    %1 = constant() {"value":{"data":[0,1,2,3,4,5,6,7,"9007199254740993"],"dtype":"int64","shape":[9]}} : int64[9]
    %2 = neg(%0) : float32[n, 3]
    return %2
  }] : float32[n, 3] @ "a.py":1
  %3 = call(%0) [graph(%0 a: float32[n, 3]) {
    %1 = constant() {"value":{"data":[0,1,2,3,4,5,6,7,"9007199254740993"],"dtype":"int64","shape":[9]}} : int64[9]
    %2 = neg(%0) : float32[n, 3]
    return %2
  }] : float32[n, 3] @ "b.py":2
  %4 = add(%3, %1) : float32[n, 3]
  %5 = constant() {"value":{"data":["nan"],"dtype":"float32","shape":[]}} : float32[]
  %6 = constant() {"value":{"bytes":"0100c07f","dtype":"float32","shape":[]}} : float32[]
  require n == m : add @ "b.py":3
  return %2, %4
}
"#;

    fn shared() -> Arc<Graph> {
        Arc::new(parse(SHARED).unwrap())
    }

    #[test]
    fn graphs_survive_and_equal_regions_stand_once() {
        let graph = shared();
        let table = to_json(&[graph.clone(), graph.clone()]).unwrap();
        assert_eq!((&table.roots[..], table.constants.len()), (&[1, 1][..], 2));
        let text = json::write(&table.json);
        let read = from_json(&json::parse(&text).unwrap(), &table.constants, true, &Meter::default()).unwrap();
        assert_eq!((read.len(), print(&read[1])), (2, SHARED.to_string()));
        assert_eq!(read[1], graph);
        let regions: Vec<_> = read[1].nodes().iter().flat_map(|node| &node.regions).collect();
        assert!(Arc::ptr_eq(regions[0], regions[1]));
        let again = to_json(&read[1..]).unwrap();
        assert_eq!(json::write(&again.json), text);
    }

    #[test]
    fn without_lines_no_file_is_named() {
        let table = to_json(&[Arc::new(shared().without_lines())]).unwrap();
        let text = json::write(&table.json);
        assert!(text.starts_with("{\"files\":[],"), "{text}");
        assert!(!text.contains("location"), "{text}");
    }

    #[test]
    fn the_json_is_canonical() {
        let graph = "graph(%0 x: float32[n]) {\n  %1 = add(%0, %0) : float32[n] @ \"m.py\":12\n  return %1\n}";
        let table = to_json(&[Arc::new(parse(graph).unwrap())]).unwrap();
        assert_eq!(
            json::write(&table.json),
            "{\"files\":[\"m.py\"],\"ops\":{\"add\":1},\"table\":[{\"inputs\":[[\"x\",\"float32[n]\",0]],\"nodes\":\
             [{\"inputs\":[0,0],\"location\":[0,12],\"op\":\"add\",\"outputs\":[\"float32[n]\"]}],\"outputs\":[1]}]}"
        );
    }

    /// A file of graphs with these ops and this table.
    fn read(ops: &str, table: &str) -> Result<Vec<Arc<Graph>>> {
        let text = format!("{{\"files\":[\"m.py\"],\"ops\":{ops},\"table\":{table}}}");
        from_json(&json::parse(&text).unwrap(), &[], true, &Meter::default())
    }

    #[test]
    fn what_is_wrong_is_named() {
        let node =
            |node: &str| format!("[{{\"inputs\":[[\"x\",\"float32[2]\",0]],\"nodes\":[{node}],\"outputs\":[0]}}]");
        let table = [
            (node("7"), "graph 0: node 0: it is 7, not an object"),
            (
                node("{\"op\":\"exp\",\"inputs\":[0],\"outputs\":[\"float32[3]\"]}"),
                "graph 0: node 0: exp: %1 is float32[3], inference gives float32[2]",
            ),
            (
                node("{\"op\":\"exp\",\"inputs\":[1],\"outputs\":[\"float32[2]\"]}"),
                "graph 0: node 0: exp: %1 is used before it is made",
            ),
            (
                node("{\"op\":\"exp\",\"inputs\":[null],\"outputs\":[\"float32[2]\"]}"),
                "graph 0: node 0: exp: the input x is missing",
            ),
            (node("{\"op\":\"exp\",\"inputs\":[-1],\"outputs\":[]}"), "graph 0: node 0: -1 is not a value"),
            (
                node("{\"op\":\"tanh\",\"inputs\":[0],\"outputs\":[]}"),
                "graph 0: node 0: the op \"tanh\" is not in the table of ops",
            ),
            (
                node("{\"op\":\"exp\",\"inputs\":[0],\"outputs\":[],\"code\":1}"),
                "graph 0: node 0: it has the key \"code\"; known are attrs, inputs, location, op, outputs, regions",
            ),
            (
                node("{\"op\":\"exp\",\"inputs\":[0],\"outputs\":[],\"location\":[1,1]}"),
                "graph 0: node 0: a list is not a location",
            ),
            (
                node("{\"op\":\"call\",\"inputs\":[0],\"outputs\":[],\"regions\":[0]}"),
                "graph 0: node 0: the region 0 is not an earlier graph",
            ),
            (
                node("{\"op\":\"constant\",\"inputs\":[],\"outputs\":[],\"attrs\":{\"value\":{\"constant\":0}}}"),
                "graph 0: node 0: the constant 0 is missing",
            ),
            ("[{\"inputs\":[],\"nodes\":[]}]".into(), "graph 0: it has no outputs"),
            (
                "[{\"inputs\":[],\"nodes\":[],\"outputs\":[0]}]".into(),
                "graph 0: the output %0 is not a value of the graph",
            ),
            ("3".into(), "table is 3, not a list"),
        ];
        for (table, message) in table {
            let error = read("{\"exp\":1,\"call\":1,\"constant\":1}", &table).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.code()), (message, Code::Format));
        }
    }

    #[test]
    fn all_unknown_ops_are_listed() {
        let error = read("{\"exp\":7,\"frobnicate\":1,\"add\":1,\"warp\":2}", "[]").unwrap_err();
        let message = "it uses ops that this caudal does not have: exp v7 (this caudal has v1), frobnicate, warp";
        assert_eq!((error.to_string().as_str(), error.code()), (message, Code::Newer));
        assert_eq!(read("{\"warp\":2}", "[]").unwrap_err().code(), Code::Unsupported);
    }

    /// Each entry calls the one before it twice: 2^40 nodes in 41 graphs, were they copied out.
    #[test]
    fn shared_regions_that_would_grow_without_bound_are_refused() {
        let leaf = "{\"inputs\":[[\"x\",\"int8[]\",0]],\"nodes\":[],\"outputs\":[0]}".to_string();
        let call = |region: usize, input: usize| {
            format!("{{\"op\":\"call\",\"inputs\":[{input}],\"outputs\":[\"int8[]\"],\"regions\":[{region}]}}")
        };
        let level = |region: usize| {
            let nodes = format!("{},{}", call(region, 0), call(region, 1));
            format!("{{\"inputs\":[[\"x\",\"int8[]\",0]],\"nodes\":[{nodes}],\"outputs\":[2]}}")
        };
        let table = |levels: usize| {
            let entries: Vec<_> = std::iter::once(leaf.clone()).chain((0..levels).map(level)).collect();
            format!("[{}]", entries.join(","))
        };
        assert!(read("{\"call\":1}", &table(12)).is_ok());
        // Compared, verified and printed without lines region by region, not use by use.
        let (one, other) = (read("{\"call\":1}", &table(20)).unwrap(), read("{\"call\":1}", &table(20)).unwrap());
        let bare = one[20].without_lines();
        assert!(one[20] == other[20] && bare == *one[20] && bare.verify().is_ok());
        let error = read("{\"call\":1}", &table(30)).unwrap_err().to_string();
        assert!(error.ends_with("the graph has more than 4194304 nodes, those of its regions included"), "{error}");
    }
}
