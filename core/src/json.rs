//! JSON of attrs and program files: parsed strictly (no key twice, bounded depth), written canonically.

use crate::error::{Error, Result};
use crate::meter::{Charge, Meter};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::cell::RefCell;
use std::fmt;

pub use serde_json::{Map, Value as Json};

/// Integers beyond this are written as strings: JavaScript reads JSON numbers as `f64`.
const EXACT: u64 = 1 << 53;

/// Parses JSON text. Depth is bounded (128) by serde_json.
///
/// # Errors
/// `format`: not JSON, or an object that has a key twice.
pub fn parse(text: &str) -> Result<Json> {
    parse_metered(text, &Meter::default()).map(|(json, _)| json)
}

/// As [`parse`]; what the tree takes, which may be many times the text, counts while it is made and in the charge.
///
/// # Errors
/// As [`parse`]; `memory`, `deadline`, `cancelled`: as the meter says.
pub fn parse_metered(text: &str, meter: &Meter) -> Result<(Json, Charge)> {
    let state = RefCell::new(Parsing { charge: meter.charge(0)?, longest: 0, values: 0, refused: None });
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let parsed = Strict { meter, state: &state }.deserialize(&mut deserializer);
    let parsed = parsed.and_then(|json| deserializer.end().map(|()| json));
    let Parsing { charge, refused, .. } = state.into_inner();
    match (parsed, refused) {
        (_, Some(error)) => Err(error),
        (Ok(json), None) => Ok((json, charge)),
        (Err(error), None) => Err(Error::format(format!("JSON: {error}"))),
    }
}

/// Writes with sorted keys and no white space.
pub fn write(json: &Json) -> String {
    json.to_string()
}

/// How many bytes [`write`] gives.
pub fn length(json: &Json) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    // Counting does not fail.
    let _ = serde_json::to_writer(&mut counter, json);
    counter.0
}

/// A bound of the bytes that a copy of a tree takes.
pub fn cost(json: &Json) -> u64 {
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
        Json::String(text) => (text.len() + BLOCK) as u64,
        Json::Array(items) => {
            items.iter().map(|item| size_of::<Json>() as u64 + cost(item)).sum::<u64>() + BLOCK as u64
        }
        Json::Object(object) if object.is_empty() => 0,
        Json::Object(object) => {
            let entries = object.iter().map(|(key, value)| (key.len() + BLOCK + LATER_ENTRY) as u64 + cost(value));
            entries.sum::<u64>() + FIRST_ENTRY as u64
        }
    }
}

/// A float: a number, or the strings `nan`, `inf`, `-inf`.
pub fn from_float(value: f64) -> Json {
    match serde_json::Number::from_f64(value) {
        Some(number) => Json::Number(number),
        None if value.is_nan() => "nan".into(),
        None if value > 0.0 => "inf".into(),
        None => "-inf".into(),
    }
}

/// The inverse of [`from_float`]; integers are taken too.
pub fn to_float(json: &Json) -> Option<f64> {
    match json {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => match text.as_str() {
            "nan" => Some(f64::NAN),
            "inf" => Some(f64::INFINITY),
            "-inf" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// An integer: a number, or a string beyond 2^53.
pub fn from_integer(value: i64) -> Json {
    if value.unsigned_abs() <= EXACT { value.into() } else { value.to_string().into() }
}

/// An unsigned integer: a number, or a string beyond 2^53.
pub fn from_unsigned(value: u64) -> Json {
    if value <= EXACT { value.into() } else { value.to_string().into() }
}

/// The inverse of [`from_integer`].
pub fn to_integer(json: &Json) -> Option<i64> {
    match json {
        Json::Number(number) => number.as_i64(),
        Json::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// The inverse of [`from_unsigned`].
pub fn to_unsigned(json: &Json) -> Option<u64> {
    match json {
        Json::Number(number) => number.as_u64(),
        Json::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// What a text that is being parsed has taken so far.
struct Parsing {
    charge: Charge,
    /// The longest string; the parser keeps a buffer of its size.
    longest: usize,
    values: u32,
    /// Why the meter stopped it.
    refused: Option<Error>,
}

/// Makes a [`Json`] whose objects have no key twice.
#[derive(Clone, Copy)]
struct Strict<'a> {
    meter: &'a Meter,
    state: &'a RefCell<Parsing>,
}

/// What the allocator adds to each block, at most.
const BLOCK: usize = 16;
/// An object's first node; the later entries share nodes that are at least half full.
const FIRST_ENTRY: usize = 11 * ENTRY + 64;
const LATER_ENTRY: usize = 2 * ENTRY + 32;
const ENTRY: usize = size_of::<String>() + size_of::<Json>();
/// Values between two looks at the clock.
const LOOK: u32 = 256;

impl Strict<'_> {
    fn charge<E: de::Error>(self, bytes: usize) -> std::result::Result<(), E> {
        let mut state = self.state.borrow_mut();
        state.values = state.values.wrapping_add(1);
        let look = if state.values.is_multiple_of(LOOK) { self.meter.check() } else { Ok(()) };
        look.and_then(|()| state.charge.add(bytes as u64)).map_err(|error| {
            state.refused = Some(error);
            E::custom("refused")
        })
    }

    fn charge_text<E: de::Error>(self, text: &str) -> std::result::Result<(), E> {
        let longer = text.len().saturating_sub(self.state.borrow().longest);
        self.charge(text.len() + BLOCK + 2 * longer)?;
        self.state.borrow_mut().longest += longer;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> std::result::Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Json, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Json, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Json, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Json, E> {
        Ok(from_float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> std::result::Result<Json, E> {
        self.charge_text(value)?;
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            if array.len() == array.capacity() {
                let more = array.capacity().max(4);
                self.charge(more * size_of::<Json>() + BLOCK)?;
                array.reserve_exact(more);
            } else {
                self.charge(0)?;
            }
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> std::result::Result<Json, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.charge_text(&key)?;
            self.charge(if object.is_empty() { FIRST_ENTRY } else { LATER_ENTRY })?;
            if object.contains_key(&key) {
                return Err(de::Error::custom(format!("the key {key:?} stands twice in one object")));
            }
            object.insert(key, entries.next_value_seed(self)?);
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_stands_twice_is_refused() {
        let error = parse(r#"{"a": {"b": 1, "b": 2}}"#).unwrap_err();
        assert!(error.to_string().contains("the key \"b\" stands twice in one object"), "{error}");
    }

    #[test]
    fn numbers_that_javascript_would_bend_are_strings() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.1, f64::MIN_POSITIVE, 5e-324] {
            let text = write(&from_float(value));
            let back = to_float(&parse(&text).unwrap()).unwrap();
            assert!(back.to_bits() == value.to_bits() || (back.is_nan() && value.is_nan()), "{text}");
        }
        for value in [0, i64::MIN, i64::MAX, (1 << 53) + 1] {
            assert_eq!(to_integer(&parse(&write(&from_integer(value))).unwrap()), Some(value));
        }
        assert_eq!(write(&from_integer(i64::MAX)), "\"9223372036854775807\"");
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
