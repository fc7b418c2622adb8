//! Program files. A `.caudal` file is a safetensors file.
//!
//! - State is its tensors, under their own names; constants of the graphs are `caudal.constant.N`.
//! - `caudal.graph` is a `uint8` tensor, the bytes of canonical JSON: functions, graphs, roles (`program.rs`,
//!   `graph/json.rs`).
//! - `__metadata__["caudal"]` is JSON text: the file's `format`, the least format that a `reader` has to know, and the
//!   `digest` (SHA-256) of the bytes of `caudal.graph`.
//!
//! A safetensors file without `caudal.graph` is a program with state, all of it parameters, and no functions. Nothing
//! that a file says is believed: reading checks it all, and charges what it allocates to the caller's budget. The
//! same program gives the same bytes.

#[cfg(not(target_arch = "wasm32"))]
mod file;
#[cfg(not(target_arch = "wasm32"))]
mod map;
mod program;
mod safetensors;
#[cfg(test)]
mod tests;

#[cfg(not(target_arch = "wasm32"))]
pub use file::{open, open_mapped, save};

use crate::cpu::memory::Buffer;
use crate::dtype::DType;
use crate::error::{Code, Error, Result};
use crate::graph::Role;
use crate::graph::json::Fields;
use crate::json::{self, Json, Map};
use crate::meter::Meter;
use crate::program::{Program, State};
use crate::run::Limits;
use crate::tensor::{Tensor, check_watched};
use safetensors::{Container, Entry, PREFIX, Slot};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// The format that this caudal writes, and the newest that it knows.
pub const FORMAT: u64 = 1;
/// The least format that a reader of what this caudal writes has to know.
const READER: u64 = 1;

/// What messages call bytes that are no file.
const DATA: &str = "the data";
const GRAPH: &str = "caudal.graph";
const CONSTANT: &str = "caudal.constant.";

const _: () =
    assert!(cfg!(target_endian = "little"), "tensors are stored as they lie in memory, which is little-endian");

/// The bytes of a file, in pieces that lie where they are.
struct Image {
    header: Vec<u8>,
    parts: Vec<Part>,
}

enum Part {
    Tensor(Tensor),
    Text(String),
}

impl Part {
    fn bytes(&self) -> &[u8] {
        match self {
            Part::Tensor(tensor) => tensor.bytes(),
            Part::Text(text) => text.as_bytes(),
        }
    }
}

impl Image {
    /// # Errors
    /// `argument`: a program that could not be read back; `io`: a part of it lies in a mapped file that has changed.
    fn of(program: &Program) -> Result<Image> {
        let tensors = program.functions.iter().flat_map(|function| function.graph.tensors());
        let tensors = program.state.iter().map(|state| &state.value).chain(tensors);
        check_watched(tensors)?;
        let (text, constants) = program::to_json(program)?;
        let digest = digest(text.as_bytes());
        let state = program.state.iter().map(|state| (state.name.clone(), state.value.clone()));
        let constants = constants.into_iter().enumerate().map(|(n, value)| (format!("{CONSTANT}{n}"), value));
        let parts: Vec<_> = state.chain(constants).map(|(name, value)| (name, Part::Tensor(value))).collect();
        let mut parts: BTreeMap<String, Part> = parts.into_iter().collect();
        parts.insert(GRAPH.into(), Part::Text(text));
        let mut entries: Vec<_> = parts.iter().map(|(name, part)| entry(name, part)).collect();
        let about = Json::Object(Map::from_iter([
            ("digest".to_string(), digest.into()),
            ("format".to_string(), FORMAT.into()),
            ("reader".to_string(), READER.into()),
        ]));
        let metadata = Map::from_iter([("caudal".to_string(), json::write(&about).into())]);
        let header = safetensors::header(&mut entries, metadata)?;
        let names: Vec<_> = entries.into_iter().map(|entry| entry.name).collect();
        let parts = names.iter().filter_map(|name| parts.remove(name)).collect();
        Ok(Image { header, parts })
    }

    /// The file's bytes, one piece after the other.
    fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&self.header[..]).chain(self.parts.iter().map(Part::bytes))
    }
}

fn entry<'a>(name: &str, part: &'a Part) -> Entry<'a> {
    let (dtype, sizes) = match part {
        Part::Tensor(tensor) => (tensor.dtype(), tensor.sizes().to_vec()),
        Part::Text(text) => (DType::U8, vec![text.len()]),
    };
    Entry { name: name.to_string(), dtype, sizes, bytes: part.bytes() }
}

fn digest(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The bytes of a program's file.
///
/// # Errors
/// `argument`: a program that could not be read back (names, signatures that do not fit, regions too deep);
/// `memory`: the system has none.
pub fn write(program: &Program) -> Result<Vec<u8>> {
    let image = Image::of(program)?;
    let length = image.chunks().map(<[u8]>::len).sum();
    let mut bytes = Vec::new();
    let refused = |_| Error::memory(format!("the system has no {length} bytes of memory"));
    bytes.try_reserve_exact(length).map_err(refused)?;
    image.chunks().for_each(|chunk| bytes.extend_from_slice(chunk));
    Ok(bytes)
}

/// The program in the bytes of a file. They are copied once; state and constants are parts of that copy, which counts
/// in the budget as long as one of them lives.
///
/// # Errors
/// `format`: it is no such file; `newer`: it needs a newer caudal; `unsupported`: ops or dtypes that this one lacks;
/// `memory`, `deadline`, `cancelled`: as the limits say, or the system has too little.
pub fn read(bytes: &[u8], limits: Option<&Limits>) -> Result<Program> {
    let meter = meter_of(limits);
    // Looked at before it is copied: most of what is no such file ends here.
    let container = container(bytes, bytes.len() as u64, DATA, &meter)?;
    let mut buffer = Buffer::zeroed(bytes.len(), meter.budget())?;
    match buffer.bytes_mut() {
        Some(target) => target.copy_from_slice(bytes),
        None => return Err(Error::internal("a new buffer is not writable")),
    }
    program_of(&Arc::new(buffer), container, &meter).map_err(|error| about(DATA, error))
}

/// As [`read`], of the bytes that are the elements of a `uint8` tensor. They are not copied: state and constants are
/// parts of the tensor, whose bytes count in the budget as long as one of them lives.
///
/// # Errors
/// As [`read`]; `dtype`: a tensor of another dtype.
pub fn read_tensor(file: Tensor, limits: Option<&Limits>) -> Result<Program> {
    if file.dtype() != DType::U8 {
        let text = format!("a file is bytes, a tensor of uint8, not of {}", file.dtype());
        return Err(Error::dtype(text).with_argument("file"));
    }
    if file.is_watched() {
        return read(file.bytes(), limits);
    }
    let meter = meter_of(limits);
    let container = container(file.bytes(), file.bytes().len() as u64, DATA, &meter)?;
    let held = meter.charge(file.bytes().len() as u64)?;
    let whole = file.into_block().into_buffer(held);
    program_of(&Arc::new(whole), container, &meter).map_err(|error| about(DATA, error))
}

/// What reading within these limits is charged to and watched by.
fn meter_of(limits: Option<&Limits>) -> Meter {
    limits.map_or_else(Meter::default, Limits::meter)
}

/// The error with the file's name in front.
fn about(subject: &str, error: Error) -> Error {
    match error.code() {
        Code::Io | Code::Internal => error,
        Code::Newer if error.text().starts_with("needs") => Error::newer(format!("{subject} {error}")),
        code @ (Code::Newer | Code::Unsupported | Code::Memory | Code::Deadline | Code::Cancelled) => {
            Error::new(code, format!("{subject}: {error}"))
        }
        _ => Error::format(format!("{subject} is not a caudal file: {error}")),
    }
}

fn cut_short(subject: &str, length: u64, of: u64) -> Error {
    Error::format(format!("{subject} is cut short: {length} bytes of {of}"))
}

/// The header in the first bytes of a file of `length` bytes; it fits the length. Enough bytes are those that
/// [`safetensors::header_length`] asks for.
fn container(bytes: &[u8], length: u64, subject: &str, meter: &Meter) -> Result<Container> {
    let header = safetensors::header_length(bytes, length).map_err(|error| about(subject, error))?;
    let base = PREFIX as u64 + header;
    let header = usize::try_from(base).ok().and_then(|base| bytes.get(PREFIX..base));
    let Some(header) = header else { return Err(cut_short(subject, length, base)) };
    let container = safetensors::parse(header, meter).map_err(|error| about(subject, error))?;
    if container.length > length {
        return Err(cut_short(subject, length, container.length));
    }
    if container.length < length {
        let surplus = length - container.length;
        return Err(about(subject, Error::format(format!("{surplus} bytes follow its last tensor"))));
    }
    Ok(container)
}

/// What the metadata says of the file; `None` if another program wrote it.
fn about_file(container: &Container, meter: &Meter) -> Result<Option<(bool, String)>> {
    let Some(Json::String(text)) = container.metadata.get("caudal") else { return Ok(None) };
    let (json, _held) = json::parse_metered(text, meter)?;
    let open = Fields::of(&json, "its caudal metadata", &[], false)?;
    let number = |key: &str| {
        let number = open.get(key)?.as_u64();
        number.ok_or_else(|| Error::format(format!("its caudal metadata has a {key} that is no number")))
    };
    let (format, reader) = (number("format")?, number("reader")?);
    if reader > FORMAT {
        return Err(Error::newer(format!("needs caudal format {reader}; this is {FORMAT}")));
    }
    let strict = format <= FORMAT;
    let fields = Fields::of(&json, "its caudal metadata", &["digest", "format", "reader"], strict)?;
    Ok(Some((strict, fields.text("digest")?.to_string())))
}

fn program_of(whole: &Arc<Buffer>, container: Container, meter: &Meter) -> Result<Program> {
    let about = about_file(&container, meter)?;
    let (mut state, mut constants, mut graph) = (BTreeMap::new(), BTreeMap::new(), None);
    for slot in container.tensors {
        if slot.name == GRAPH {
            let mapped = tensor(whole, &slot, meter)?;
            // What is parsed is not left in memory that may change under the parser.
            let own = !mapped.is_watched();
            let copy =
                |mapped: &Tensor| Tensor::from_bytes(mapped.dtype(), mapped.sizes(), mapped.bytes(), meter.budget());
            graph = Some(if own { mapped } else { copy(&mapped)? });
        } else if let Some(number) = slot.name.strip_prefix(CONSTANT) {
            constants.insert(constant_number(number)?, tensor(whole, &slot, meter)?);
        } else if !slot.name.starts_with(program::OWN) {
            let value = tensor(whole, &slot, meter)?;
            state.insert(slot.name, value);
        } else if about.as_ref().is_none_or(|(strict, _)| *strict) {
            return Err(Error::format(format!("tensor {:?}: caudal has no such tensor", slot.name)));
        }
    }
    drop(container.held);
    match (about, graph) {
        (Some((strict, digest)), Some(graph)) => {
            let expected = 0..constants.len() as u64;
            if !constants.keys().copied().eq(expected) {
                return Err(Error::format("its constants are not numbered from 0 on"));
            }
            let constants: Vec<_> = constants.into_values().collect();
            read_graph(&graph, &digest, state, &constants, strict, meter)
        }
        (None, None) if constants.is_empty() => weights(state, meter),
        (Some(_), None) => Err(Error::format(format!("it has no tensor {GRAPH}"))),
        (None, _) => Err(Error::format("it has tensors of caudal and no caudal metadata")),
    }
}

fn read_graph(
    graph: &Tensor,
    expected: &str,
    state: BTreeMap<String, Tensor>,
    constants: &[Tensor],
    strict: bool,
    meter: &Meter,
) -> Result<Program> {
    if graph.dtype() != DType::U8 || graph.sizes().len() != 1 {
        return Err(Error::format(format!("{GRAPH} is not a list of bytes")));
    }
    let found = digest(graph.bytes());
    if found != expected {
        return Err(Error::format(format!("{GRAPH} is damaged: its digest is {found}, the file says {expected:?}")));
    }
    let text = std::str::from_utf8(graph.bytes()).map_err(|_| Error::format(format!("{GRAPH} is not UTF-8")))?;
    program::from_json(text, state, constants, strict, meter)
}

fn weights(tensors: BTreeMap<String, Tensor>, meter: &Meter) -> Result<Program> {
    tensors.keys().try_for_each(|name| program::check_state_name(name))?;
    let mut held = meter.charge(0)?;
    tensors.keys().try_for_each(|name| held.add(program::state_cost(name)))?;
    let state = tensors.into_iter().map(|(name, value)| State { name, role: Role::Parameter, value });
    Ok(Program { functions: Vec::new(), state: state.collect(), metadata: Json::Null, held })
}

fn constant_number(text: &str) -> Result<u64> {
    let number = text.parse::<u64>().ok().filter(|number| number.to_string() == text);
    number.ok_or_else(|| Error::format(format!("tensor {CONSTANT}{text} has no number")))
}

/// A tensor that is a part of the buffer; a copy where it lies unaligned, which safetensors allows.
fn tensor(whole: &Arc<Buffer>, slot: &Slot, meter: &Meter) -> Result<Tensor> {
    meter.check()?;
    let range = match (usize::try_from(slot.range.start), usize::try_from(slot.range.end)) {
        (Ok(start), Ok(end)) => start..end,
        _ => return Err(Error::internal("a tensor lies beyond its file")),
    };
    let part = Buffer::slice_of(whole, range)?;
    if slot.dtype == DType::Bool && part.bytes().iter().any(|byte| *byte > 1) {
        return Err(Error::format(format!("tensor {:?}: a bool is neither 0 nor 1", slot.name)));
    }
    if !part.is_empty() && part.pointer().align_offset(slot.dtype.size()) != 0 {
        return Tensor::from_bytes(slot.dtype, &slot.sizes, part.bytes(), meter.budget());
    }
    Tensor::from_buffer(slot.dtype, &slot.sizes, Arc::new(part))
}
