//! The container: a safetensors file. Eight bytes of length, a JSON header, the tensors one after the other.
//!
//! The format: <https://github.com/huggingface/safetensors#format>.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::graph::json::within;
use crate::json::{self, Json, Map};
use crate::meter::{Charge, Meter};
use crate::shape::MAX_RANK;
use crate::tensor::byte_count;
use std::ops::Range;

/// The longest header; safetensors' own limit.
pub const MAX_HEADER: u64 = 100_000_000;
/// The key of the header that holds no tensor.
pub const METADATA: &str = "__metadata__";
/// What the data of a file that caudal writes is aligned to.
const ALIGNMENT: usize = 64;
/// The bytes before the header.
pub const PREFIX: usize = 8;

const NAMES: [(DType, &str); 13] = [
    (DType::Bool, "BOOL"),
    (DType::I8, "I8"),
    (DType::I16, "I16"),
    (DType::I32, "I32"),
    (DType::I64, "I64"),
    (DType::U8, "U8"),
    (DType::U16, "U16"),
    (DType::U32, "U32"),
    (DType::U64, "U64"),
    (DType::F16, "F16"),
    (DType::BF16, "BF16"),
    (DType::F32, "F32"),
    (DType::F64, "F64"),
];

/// The dtype's name in safetensors.
fn name_of(dtype: DType) -> &'static str {
    NAMES[dtype as usize - 1].1
}

/// A tensor to be written.
pub struct Entry<'a> {
    /// Its name.
    pub name: String,
    /// Its dtype.
    pub dtype: DType,
    /// Its sizes.
    pub sizes: Vec<usize>,
    /// Its elements.
    pub bytes: &'a [u8],
}

/// The prefix and header of a file with these tensors, and the tensors in the order in which their data follows: by
/// falling width, so that each is aligned without holes, then by name. The data begins at a multiple of 64 bytes.
///
/// # Errors
/// `argument`: the header would pass [`MAX_HEADER`].
pub fn header(entries: &mut [Entry], metadata: Map<String, Json>) -> Result<Vec<u8>> {
    entries.sort_by(|a, b| b.dtype.size().cmp(&a.dtype.size()).then_with(|| a.name.cmp(&b.name)));
    let mut object = Map::new();
    object.insert(METADATA.into(), Json::Object(metadata));
    let mut start = 0u64;
    for entry in &*entries {
        let end = start + entry.bytes.len() as u64;
        let mut tensor = Map::new();
        tensor.insert("data_offsets".into(), vec![start, end].into());
        tensor.insert("dtype".into(), name_of(entry.dtype).into());
        tensor.insert("shape".into(), entry.sizes.iter().map(|&size| Json::from(size as u64)).collect());
        object.insert(entry.name.clone(), Json::Object(tensor));
        start = end;
    }
    let mut text = json::write(&Json::Object(object)).into_bytes();
    text.resize((PREFIX + text.len()).next_multiple_of(ALIGNMENT) - PREFIX, b' ');
    let length = text.len() as u64;
    if length > MAX_HEADER {
        return Err(Error::argument(format!("the file's header takes {length} bytes, more than {MAX_HEADER}")));
    }
    text.splice(0..0, length.to_le_bytes());
    Ok(text)
}

/// A tensor of a file.
#[derive(Debug)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Its dtype.
    pub dtype: DType,
    /// Its sizes.
    pub sizes: Vec<usize>,
    /// Where its bytes are in the file.
    pub range: Range<u64>,
}

/// What a header says.
#[derive(Debug)]
pub struct Container {
    /// The tensors, by name.
    pub tensors: Vec<Slot>,
    /// The texts of `__metadata__`.
    pub metadata: Map<String, Json>,
    /// How long the file has to be.
    pub length: u64,
    /// What all this takes, and some more.
    pub held: Charge,
}

/// The length of the header, from the first bytes of a file of `length` bytes.
///
/// # Errors
/// `format`: too short, or a length that no header has. Whether the file holds the whole header is not checked.
pub fn header_length(prefix: &[u8], length: u64) -> Result<u64> {
    let Some(prefix) = prefix.first_chunk::<PREFIX>() else {
        return Err(Error::format(format!("it has {length} bytes")));
    };
    match u64::from_le_bytes(*prefix) {
        header @ 2..=MAX_HEADER => Ok(header),
        // Text, such as a web page that came in place of the file.
        _ if prefix.iter().all(|byte| (b' '..=b'~').contains(byte)) => {
            Err(Error::format(format!("it begins with {:?}", String::from_utf8_lossy(prefix))))
        }
        header => Err(Error::format(format!("its header would take {header} bytes"))),
    }
}

/// Reads a header, which begins after the first [`PREFIX`] bytes of the file. The tensors it describes lie one after
/// the other without holes and overlaps.
///
/// # Errors
/// `format`: it is not such a header; `unsupported`: a dtype that caudal lacks; what the meter refuses.
pub fn parse(header: &[u8], meter: &Meter) -> Result<Container> {
    let text = std::str::from_utf8(header).map_err(|_| Error::format("its header is not UTF-8"))?;
    if !text.starts_with('{') {
        return Err(Error::format("its header does not begin with `{`"));
    }
    let (json, held) = json::parse_metered(text, meter).map_err(|error| within("its header", error))?;
    let Json::Object(mut object) = json else { return Err(Error::format("its header is not an object")) };
    let metadata = match object.remove(METADATA) {
        None => Map::new(),
        Some(Json::Object(metadata)) if metadata.values().all(Json::is_string) => metadata,
        Some(_) => return Err(Error::format(format!("its {METADATA} is not an object of texts"))),
    };
    let base = PREFIX as u64 + header.len() as u64;
    let tensors = object.into_iter().map(|(name, json)| slot(name, &json, base)).collect::<Result<Vec<_>>>()?;
    let length = check_order(&tensors, base)?;
    Ok(Container { tensors, metadata, length, held })
}

fn slot(name: String, json: &Json, base: u64) -> Result<Slot> {
    let wrong = |text: String| Error::format(format!("tensor {name:?}: {text}"));
    let Some(object) = json.as_object() else { return Err(wrong("its description is not an object".into())) };
    let (dtype, shape, offsets) = match (object.get("dtype"), object.get("shape"), object.get("data_offsets")) {
        (Some(Json::String(dtype)), Some(Json::Array(shape)), Some(Json::Array(offsets))) if object.len() == 3 => {
            (dtype, shape, offsets)
        }
        _ => return Err(wrong("it is described by dtype, shape and data_offsets, nothing else".into())),
    };
    let dtype = match NAMES.iter().find(|(_, name)| name == dtype) {
        Some((dtype, _)) => *dtype,
        None => return Err(Error::unsupported(format!("tensor {name:?} has the dtype {dtype:?}"))),
    };
    let sizes: Option<Vec<u64>> = shape.iter().map(Json::as_u64).collect();
    let sizes = sizes.ok_or_else(|| wrong("its shape is not a list of sizes".into()))?;
    if sizes.len() > MAX_RANK {
        return Err(wrong(format!("its shape has {} dims, more than {MAX_RANK}", sizes.len())));
    }
    let sizes = addressable(&sizes, isize::MAX as u64).map_err(wrong)?;
    let bounds = || match offsets.as_slice() {
        [start, end] => Some((start.as_u64()?, end.as_u64()?)).filter(|(start, end)| start <= end),
        _ => None,
    };
    let (start, end) = bounds().ok_or_else(|| wrong("its data_offsets are not a range".into()))?;
    let bytes = byte_count(dtype, &sizes).map_err(|error| wrong(error.text().into()))? as u64;
    if bytes != end - start {
        let given = end - start;
        return Err(wrong(format!("{dtype} of shape {sizes:?} takes {bytes} bytes, its data_offsets span {given}")));
    }
    let range = match (base.checked_add(start), base.checked_add(end)) {
        (Some(start), Some(end)) => start..end,
        _ => return Err(wrong("its data_offsets are too large".into())),
    };
    Ok(Slot { name, dtype, sizes, range })
}

/// Sizes as this machine counts them, which addresses `most` bytes; else why not.
fn addressable(sizes: &[u64], most: u64) -> Result<Vec<usize>, String> {
    let size = |&size: &u64| match usize::try_from(size) {
        Ok(fits) if size <= most => Ok(fits),
        _ => Err(format!("its size {size} is larger than memory can be")),
    };
    sizes.iter().map(size).collect()
}

/// Checks that each tensor begins where the one before it ends; gives the end of the last.
fn check_order(tensors: &[Slot], base: u64) -> Result<u64> {
    let mut order: Vec<&Slot> = tensors.iter().collect();
    order.sort_by_key(|slot| (slot.range.start, slot.range.end));
    let mut end = base;
    for slot in order {
        let Range { start, end: next } = slot.range;
        if start != end {
            let (name, problem) =
                (&slot.name, if start < end { "overlaps the one before it" } else { "follows a hole" });
            return Err(Error::format(format!("tensor {name:?} {problem}")));
        }
        end = next;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::addressable;

    #[test]
    fn sizes_beyond_32_bits_are_refused_where_addresses_have_32() {
        let most = i32::MAX as u64;
        assert_eq!(addressable(&[3, most], most), Ok(vec![3, most as usize]));
        for size in [most + 1, 1 << 32, (1 << 32) + 3, u64::MAX] {
            let message = format!("its size {size} is larger than memory can be");
            assert_eq!(addressable(&[3, size], most), Err(message));
        }
    }
}
