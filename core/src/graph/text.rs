//! Graphs as text: what people read, and what tests of passes compare.
//!
//! ```text
//! graph(%0 x: float32[batch, 784], %1 /dense/kernel: float32[784, 10]) {
//!   %2 = matmul(%0, %1) : float32[batch, 10] @ "model.py":12
//!   %3 = sum(%2) {"axis":[1]} : float32[batch]
//!   require batch == n : add @ "model.py":12
//!   return %3
//! }
//! ```
//! A node is `outputs = op(operands) {attrs} [regions] : specs @ "file":line`. An operand that was left out is `-`; a
//! node without outputs begins `_ =`. Attrs are canonical JSON, only those that are not their defaults. An op that is not
//! the newest version is `name.v1`. Names that are not plain words are JSON strings. White space is free; a `#` and what
//! follows it in its line is a comment.

use super::assemble::{Assembler, Draft, Region, attrs_from_json, op_key};
use super::{Graph, MAX_DEPTH, Node, Requirement, Value};
use crate::attrs::{AttrDef, AttrValue, value_from_json, value_to_json};
use crate::dtype::DType;
use crate::error::{Error, Location, Result};
use crate::json::{self, Json, Map};
use crate::meter::Meter;
use crate::op::{Meaning, Op, OpDef, Spec};
use crate::ops;
use crate::shape::Dim;
use crate::tensor::Tensor;
use std::fmt::{self, Write};
use std::sync::Arc;

/// What is said of each node of a graph, in their order; nothing of those past the end.
type Notes<'a> = &'a dyn Fn(&Graph) -> Vec<Option<String>>;

/// How a graph is written.
#[derive(Clone, Copy)]
struct Style<'a> {
    notes: Notes<'a>,
    /// Tensors of more elements are said to have so many, instead of all of them.
    elements: usize,
}

/// The text of a graph; [`parse`] reads the same graph from it.
pub fn print(graph: &Graph) -> String {
    written(graph, Style { notes: &|_| Vec::new(), elements: usize::MAX })
}

/// The text of a graph to be read by people: with a comment after each node of which `notes` say something, and without
/// the elements of large constants.
pub fn annotated(graph: &Graph, notes: Notes) -> String {
    written(graph, Style { notes, elements: 8 })
}

fn written(graph: &Graph, style: Style) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_graph(&mut text, graph, 0, style);
    text.push('\n');
    text
}

fn write_graph(out: &mut String, graph: &Graph, indent: usize, style: Style) -> fmt::Result {
    out.push_str("graph(");
    for (index, input) in graph.inputs().iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        write!(out, "{separator}{} {}: {}", input.value, Name(&input.name), graph.spec(input.value))?;
    }
    out.push_str(") {\n");
    let said = (style.notes)(graph);
    for (index, node) in graph.nodes().iter().enumerate() {
        write_node(out, graph, node, indent + 1, style)?;
        if let Some(Some(text)) = said.get(index) {
            write!(out, "  # {text}")?;
        }
        out.push('\n');
    }
    for Requirement { left, right, op, location } in graph.requirements() {
        write!(out, "{:1$}require {left} == {right} : {2}", "", 2 * (indent + 1), Name(op))?;
        write_location(out, location.as_ref())?;
        out.push('\n');
    }
    write!(out, "{:1$}return", "", 2 * (indent + 1))?;
    write_list(out, graph.outputs().iter(), " ")?;
    write!(out, "\n{:1$}}}", "", 2 * indent)
}

/// `before`, then the items with commas between; nothing if there is none.
fn write_list<T: fmt::Display>(out: &mut String, items: impl Iterator<Item = T>, before: &str) -> fmt::Result {
    for (index, item) in items.enumerate() {
        write!(out, "{}{item}", if index == 0 { before } else { ", " })?;
    }
    Ok(())
}

fn write_node(out: &mut String, graph: &Graph, node: &Node, indent: usize, style: Style) -> fmt::Result {
    write!(out, "{:1$}", "", 2 * indent)?;
    if node.count == 0 {
        out.push('_');
    }
    write_list(out, node.outputs(), "")?;
    write!(out, " = {}(", op_key(node.op.def))?;
    write_list(out, node.inputs.iter(), "")?;
    out.push(')');
    let written = |(attr, value): (&AttrDef, &AttrValue)| {
        let json = match value {
            AttrValue::Tensor(tensor) if tensor.len() > style.elements => elided(tensor),
            value => attr_to_json(attr, value),
        };
        (attr.name.to_string(), json)
    };
    let attrs: Map<String, Json> = node.op.attrs.changed().map(written).collect();
    if !attrs.is_empty() {
        write!(out, " {}", json::write(&Json::Object(attrs)))?;
    }
    // What a cluster holds is one step with it.
    let notes: Notes = if matches!(node.op.def.meaning, Meaning::Cluster) { &|_| Vec::new() } else { style.notes };
    let inner = Style { notes, ..style };
    for (index, region) in node.regions.iter().enumerate() {
        out.push_str(if index == 0 { " [" } else { ", " });
        write_graph(out, region, indent, inner)?;
    }
    if !node.regions.is_empty() {
        out.push(']');
    }
    write_list(out, node.outputs().map(|value| graph.spec(value)), " : ")?;
    write_location(out, node.location.as_ref())
}

fn write_location(out: &mut String, location: Option<&Location>) -> fmt::Result {
    match location {
        Some(Location { file, line }) => write!(out, " @ {}:{line}", Json::from(&**file)),
        None => Ok(()),
    }
}

/// A tensor without its elements.
fn elided(tensor: &Tensor) -> Json {
    let mut object = Map::new();
    object.insert("data".into(), format!("{} elements", tensor.len()).into());
    object.insert("dtype".into(), tensor.dtype().name().into());
    object.insert("shape".into(), tensor.sizes().to_vec().into());
    Json::Object(object)
}

/// A tensor whose elements JSON would bend (a NaN with a payload) is its bytes in hexadecimal.
fn attr_to_json(attr: &AttrDef, value: &AttrValue) -> Json {
    let json = value_to_json(value);
    match value {
        AttrValue::Tensor(tensor) if value_from_json(attr, &json, &Meter::default()).as_ref() != Ok(value) => {
            let mut bytes = String::with_capacity(2 * tensor.bytes().len());
            tensor.bytes().iter().for_each(|byte| {
                let _ = write!(bytes, "{byte:02x}");
            });
            let mut object = Map::new();
            object.insert("bytes".into(), bytes.into());
            object.insert("dtype".into(), json["dtype"].clone());
            object.insert("shape".into(), json["shape"].clone());
            Json::Object(object)
        }
        _ => json,
    }
}

fn tensor_from_bytes(json: &Json) -> Result<Option<Tensor>> {
    let (Some(digits), Some(dtype), Some(shape)) =
        (json["bytes"].as_str(), json["dtype"].as_str(), json["shape"].as_array())
    else {
        return Ok(None);
    };
    let sizes: Option<Vec<usize>> = shape.iter().map(|size| json::to_unsigned(size)?.try_into().ok()).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(pair).collect();
    match (sizes, bytes) {
        (Some(sizes), Some(bytes)) => Tensor::from_bytes(DType::parse(dtype)?, &sizes, &bytes, None).map(Some),
        _ => Ok(None),
    }
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_./".contains(&byte)
}

/// A name as it stands in the text: itself if it is a plain word, else a JSON string.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_empty() && self.0.bytes().all(is_word_byte) {
            return f.write_str(self.0);
        }
        write!(f, "{}", Json::from(self.0))
    }
}

/// Reads the text of a graph. Every node is inferred again and must have the specs that stand in the text; what
/// inference requires of dims is required even if the text leaves it out.
///
/// # Errors
/// `format`, with line and column: anything else.
pub fn parse(text: &str) -> Result<Graph> {
    let mut reader = Reader { text, position: 0 };
    let region = reader.graph(0)?;
    if reader.peek().is_some() {
        return Err(reader.unexpected("the end"));
    }
    Ok(Arc::unwrap_or_clone(region.graph))
}

struct Reader<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or("")
    }

    /// The next byte that is neither white space nor in a comment.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        let mut in_comment = false;
        while let Some(&byte) = bytes.get(self.position) {
            in_comment = byte == b'#' || in_comment && byte != b'\n';
            if !in_comment && !byte.is_ascii_whitespace() {
                break;
            }
            self.position += 1;
        }
        bytes.get(self.position).copied()
    }

    fn take(&mut self, token: &str) -> bool {
        self.peek();
        let found = self.rest().starts_with(token);
        self.position += if found { token.len() } else { 0 };
        found
    }

    fn expect(&mut self, token: &str) -> Result<()> {
        if self.take(token) { Ok(()) } else { Err(self.unexpected(&format!("`{token}`"))) }
    }

    fn error_at(&self, position: usize, message: impl fmt::Display) -> Error {
        let before = self.text.get(..position).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Error::format(format!("line {line}, column {column}: {message}"))
    }

    fn unexpected(&mut self, wanted: &str) -> Error {
        const SHOWN: usize = 20;
        self.peek();
        let found: String = self.rest().chars().take_while(|c| *c != '\n').take(SHOWN).collect();
        let found = if found.is_empty() { "the end".to_string() } else { format!("{found:?}") };
        self.error_at(self.position, format!("{wanted} is expected, not {found}"))
    }

    /// What `read` makes of the text from here up to the first of `ends`.
    fn until<T>(&mut self, ends: &str, wanted: &str, read: impl Fn(&str) -> Result<T>) -> Result<T> {
        self.peek();
        let Some(length) = self.rest().find(ends) else { return Err(self.unexpected(wanted)) };
        let start = self.position;
        self.position += length;
        read(self.text[start..start + length].trim_end()).map_err(|error| self.error_at(start, error))
    }

    fn word(&mut self, wanted: &str) -> Result<&'a str> {
        self.peek();
        let rest = self.rest();
        let length = rest.bytes().take_while(|byte| is_word_byte(*byte)).count();
        if length == 0 {
            return Err(self.unexpected(wanted));
        }
        self.position += length;
        Ok(&rest[..length])
    }

    fn name(&mut self, wanted: &str) -> Result<String> {
        if self.peek() == Some(b'"') { self.string() } else { self.word(wanted).map(str::to_string) }
    }

    fn string(&mut self) -> Result<String> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a string"));
        }
        match self.json()? {
            Json::String(text) => Ok(text),
            _ => Err(self.unexpected("a string")),
        }
    }

    /// A JSON string or object: from its first byte to the one that closes it.
    fn json(&mut self) -> Result<Json> {
        let start = self.position;
        let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
        for (index, byte) in self.rest().bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'{' if !quoted => depth += 1,
                b'}' if !quoted => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && !quoted {
                self.position += index + 1;
                return json::parse(&self.text[start..self.position]).map_err(|error| self.error_at(start, error));
            }
        }
        Err(self.error_at(start, "JSON that does not end"))
    }

    fn number(&mut self, wanted: &str) -> Result<u32> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let number = self.rest()[..digits].parse();
        let Ok(number) = number else { return Err(self.unexpected(wanted)) };
        self.position += digits;
        Ok(number)
    }

    fn value(&mut self) -> Result<Value> {
        const WANTED: &str = "a value such as %0";
        if !self.take("%") {
            return Err(self.unexpected(WANTED));
        }
        match self.number(WANTED)? {
            number if number < i32::MAX as u32 => Ok(Value(number)),
            number => Err(self.error_at(self.position, format!("%{number} is beyond 2^31 values"))),
        }
    }

    fn operand(&mut self) -> Result<Value> {
        if self.take("-") { Ok(Value::ABSENT) } else { self.value() }
    }

    fn spec(&mut self) -> Result<Spec> {
        let spec = self.until("]", "a spec such as float32[2, 3]", |text| Spec::parse(&format!("{text}]")))?;
        self.position += 1;
        Ok(spec)
    }

    /// Items with commas between, up to `end`, which is taken; or none.
    fn list<T>(&mut self, end: &str, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        if self.take(end) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.take(end) {
                return Ok(items);
            }
            if !self.take(",") {
                return Err(self.unexpected(&format!("`,` or `{end}`")));
            }
        }
    }

    fn location(&mut self) -> Result<Option<Location>> {
        if !self.take("@") {
            return Ok(None);
        }
        self.peek();
        let file = self.string()?.into();
        self.expect(":")?;
        Ok(Some(Location { file, line: self.number("a line number")? }))
    }

    fn graph(&mut self, depth: usize) -> Result<Region> {
        self.peek();
        let start = self.position;
        if depth > MAX_DEPTH {
            return Err(self.error_at(start, format!("regions nest deeper than {MAX_DEPTH}")));
        }
        let mut assembler = Assembler::new(&Meter::default())?;
        self.expect("graph")?;
        self.expect("(")?;
        self.list(")", |reader| {
            reader.peek();
            let start = reader.position;
            let value = reader.value()?;
            reader.peek();
            let name = reader.name("a name")?;
            reader.expect(":")?;
            let spec = reader.spec()?;
            assembler.input(&name, value, spec).map_err(|error| reader.error_at(start, error))
        })?;
        self.expect("{")?;
        while matches!(self.peek(), Some(b'%' | b'_')) {
            self.node(&mut assembler, depth)?;
        }
        let mut requirements = Vec::new();
        while self.take("require ") {
            requirements.push(self.requirement()?);
        }
        self.expect("return")?;
        let outputs = self.list("}", Self::value)?;
        assembler.finish(outputs, requirements).map_err(|error| self.error_at(start, error))
    }

    fn node(&mut self, assembler: &mut Assembler, depth: usize) -> Result<()> {
        let start = self.position;
        let written = if self.take("_") {
            self.expect("=")?;
            Vec::new()
        } else {
            self.list("=", Self::value)?
        };
        let def = self.op()?;
        self.expect("(")?;
        let inputs = self.list(")", Self::operand)?;
        let attrs_start = self.position;
        let attrs = if self.peek() == Some(b'{') { self.json()? } else { Json::Object(Map::new()) };
        let attrs = attrs.as_object().map(|object| attrs_from_json(def, object, &Meter::default(), &tensor_from_bytes));
        let Some(attrs) = attrs else { return Err(self.unexpected("attrs")) };
        let attrs = attrs.map_err(|error| self.error_at(attrs_start, error))?;
        let regions = if self.take("[") { self.list("]", |reader| reader.graph(depth + 1))? } else { Vec::new() };
        let outputs = self.specs()?;
        let location = self.location()?;
        let first = assembler.next().map_err(|error| self.error_at(start, error))?;
        let expected = (first.0..).take(written.len()).map(Value);
        if !written.iter().copied().eq(expected) {
            return Err(self.error_at(start, format!("the next value is {first}")));
        }
        let regions = &regions;
        let draft = Draft { op: Op { def, attrs }, inputs, regions, outputs: &outputs, location };
        if written.len() != outputs.len() {
            let (values, specs) = (written.len(), outputs.len());
            return Err(self.error_at(start, format!("{values} values with {specs} specs")));
        }
        assembler.node(draft).map_err(|error| self.error_at(start, error))
    }

    fn op(&mut self) -> Result<&'static OpDef> {
        self.peek();
        let start = self.position;
        let key = self.word("the name of an op")?;
        let found = match key.split_once(".v") {
            None => ops::find(key).map_err(|error| self.error_at(start, error))?,
            Some((name, version)) => {
                let found = version.parse().ok().and_then(|version| ops::find_version(name, version));
                found.ok_or_else(|| self.error_at(start, format!("there is no op {key:?}")))?
            }
        };
        Ok(found)
    }

    fn specs(&mut self) -> Result<Vec<Spec>> {
        let mut specs = Vec::new();
        if self.take(":") {
            specs.push(self.spec()?);
            while self.take(",") {
                specs.push(self.spec()?);
            }
        }
        Ok(specs)
    }

    fn requirement(&mut self) -> Result<Requirement> {
        let left = self.until("==", "`==`", Dim::parse)?;
        self.expect("==")?;
        let right = self.until(":", "`:`", Dim::parse)?;
        self.expect(":")?;
        self.peek();
        let op = self.name("the name of an op")?.into();
        Ok(Requirement { left, right, op, location: self.location()? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::op;
    use super::*;
    use crate::error::Code;

    const LOOP: &str = r#"graph(%0 x: float32[n, 2*m+1], %1 /dense/kernel: float32[m, 3], %2 "a b": float32[], %3 steps: int64[]) {
  %4 = cast(%2) {"dtype":"float64"} : float64[] @ "my model.py":7
  %5 = add(%0, %2) : float32[n, 2*m+1]
  %6, %7 = while_loop(%2, %3) {"carried":2,"max_steps":10} [graph(%0 a: float32[], %1 i: int64[]) {
    %2 = constant() {"value":{"data":["9223372036854775807"],"dtype":"int64","shape":[]}} : int64[]
    %3 = less(%1, %2) : bool[]
    return %3
  }, graph(%0 a: float32[], %1 i: int64[]) {
    %2 = call(%0) [graph(%0 y: float32[]) {
      %1 = mul(%0, %0) : float32[]
      return %1
    }] : float32[]
    return %2, %1
  }] : float32[], int64[] @ "loop.py":1
  return %5, %6, %4, %4
}
"#;

    #[test]
    fn canonical_text_reads_and_prints_the_same() {
        let texts = [
            LOOP,
            "graph() {\n  return\n}\n",
            "graph(%0 x: bool[0, min(n, 3)]) {\n  return %0, %0\n}\n",
            "graph(%1 late: float32[]) {\n  %0 = constant() {\"value\":{\"data\":[\"nan\",-0.0,\"-inf\"],\"dtype\":\"float32\",\"shape\":[3]}} : float32[3]\n  %2 = add(%0, %1) : float32[3]\n  return %2\n}\n",
            "graph(%0 x: float32[a], %1 y: float32[b]) {\n  %2 = add(%0, %1) : float32[a] @ \"model.py\":3\n  require a == b : add @ \"model.py\":3\n  return %2\n}\n",
            "graph(%0 c: bool[]) {\n  _ = cond(%0) [graph() {\n    return\n  }, graph() {\n    return\n  }]\n  return\n}\n",
            "graph() {\n  %0 = constant() {\"value\":{\"bytes\":\"0100c07f\",\"dtype\":\"float32\",\"shape\":[]}} : float32[]\n  return %0\n}\n",
        ];
        for text in texts {
            let graph = parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(print(&graph), text);
            assert_eq!(parse(&print(&graph)), Ok(graph));
        }
    }

    #[test]
    fn comments_are_passed_over() {
        let graph = parse(LOOP).unwrap();
        let note = |node: &Node| Some(format!("{} # here", node.op.def.name));
        let text = annotated(&graph, &|graph| graph.nodes().iter().map(note).collect());
        assert!(text.contains("} : float64[] @ \"my model.py\":7  # cast # here\n"), "{text}");
        assert_eq!(parse(&text), Ok(graph));
        assert_eq!(parse("# first\ngraph() { # %0\n return } # last").unwrap(), parse("graph() { return }").unwrap());
    }

    #[test]
    fn a_built_graph_survives_text() {
        let mut graph = Graph::new();
        let x = graph.input("x", Spec::parse("float32[n, 3]").unwrap()).unwrap();
        let y = graph.input("y", Spec::parse("float64[m, 1]").unwrap()).unwrap();
        graph.set_location(Some(Location { file: "model.py".into(), line: 12 }));
        let sum = graph.apply(&op("add", &[]).unwrap(), Vec::new(), &[x, y]).unwrap()[0];
        let payload = Tensor::from_slice(DType::F32, &[2], &[f32::from_bits(0xffc0_1234), f32::NAN]).unwrap();
        let nan = graph.constant(payload).unwrap();
        graph.set_outputs(vec![sum, nan]).unwrap();
        let text = print(&graph);
        assert_eq!(parse(&text), Ok(graph), "{text}");
        assert!(text.contains("\n  require n == m : add @ \"model.py\":12\n"), "{text}");
    }

    #[test]
    fn a_requirement_that_is_left_out_is_required_all_the_same() {
        let text = "graph(%0 x: float32[a], %1 y: float32[b]) { %2 = add(%0, %1) : float32[a] return %2 }";
        assert_eq!(parse(text).unwrap().requirements().len(), 1);
    }

    #[test]
    fn what_is_wrong_is_named_with_line_and_column() {
        let unary = |line: &str| format!("graph(%0 x: float32[2]) {{\n  {line}\n}}");
        let table = [
            (String::new(), "line 1, column 1: `graph` is expected, not the end"),
            (
                unary("%1 = exp(%0) : float32[3] return"),
                "line 2, column 3: exp: %1 is float32[3], inference gives float32[2]",
            ),
            (unary("%1 = exp(%1) : float32[2] return"), "line 2, column 3: exp: %1 is used before it is made"),
            (unary("%2 = exp(%0) : float32[2] return"), "line 2, column 3: the next value is %1"),
            (unary("%1 = exp(%0) return"), "line 2, column 3: 1 values with 0 specs"),
            (unary("%1 = exp(%0, %0) : float32[2] return"), "line 2, column 3: exp: 2 inputs were given, it takes 1"),
            (unary("%1 = expo(%0) : float32[2] return"), "line 2, column 8: there is no op \"expo\""),
            (unary("%1 = exp.v9(%0) : float32[2] return"), "line 2, column 8: there is no op \"exp.v9\""),
            (unary("return %7"), "line 1, column 1: the output %7 is not a value of the graph"),
            (
                unary("%1 = exp(%0) {\"a\":1} : float32[2] return"),
                "line 2, column 15: exp: there is no attr a; it has none",
            ),
            (
                unary("%4294967295 = exp(%0) : float32[2] return"),
                "line 2, column 14: %4294967295 is beyond 2^31 values",
            ),
            (unary("return %0,"), "line 3, column 1: a value such as %0 is expected, not \"}\""),
            (
                "graph(%0 x: float33[]) { return }".into(),
                "line 1, column 13: no dtype is named \"float33\"; there are bool,",
            ),
            ("graph(%0 x: int8[], %1 x: int8[]) { return }".into(), "line 1, column 21: two inputs are named \"x\""),
            (
                "graph(%3 x: int8[]) { return }".into(),
                "line 1, column 1: the input \"x\" is %3, which is not the next value",
            ),
            ("graph(%0 \"x: int8[]".into(), "line 1, column 10: JSON that does not end"),
            ("graph() {\n\n return } é".into(), "line 3, column 11: the end is expected, not \"é\""),
        ];
        for (text, message) in table {
            let error = parse(&text).unwrap_err();
            assert!(error.to_string().starts_with(message), "{error}\n{text}");
            assert_eq!(error.code(), Code::Format, "{error}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| {
            let head = "graph(%0 x: int8[]) {\n%1 = call(%0) [".repeat(depth);
            format!("{head}graph(%0 x: int8[]) {{ return %0 }}{}", "] : int8[]\nreturn %1 }".repeat(depth))
        };
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        for depth in [MAX_DEPTH + 1, 100_000] {
            let error = parse(&nested(depth)).unwrap_err().to_string();
            assert!(error.ends_with("regions nest deeper than 32"), "{error}");
        }
    }

    #[test]
    fn no_prefix_and_no_changed_byte_panics() {
        for end in 0..LOOP.len() {
            let _ = parse(&LOOP[..end]);
        }
        let mut state = 1u64;
        for _ in 0..3000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let mut bytes = LOOP.as_bytes().to_vec();
            let index = (state >> 33) as usize % bytes.len();
            bytes[index] = (state >> 20) as u8 & 0x7f;
            let _ = parse(std::str::from_utf8(&bytes).unwrap());
        }
    }
}
