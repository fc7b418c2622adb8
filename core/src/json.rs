//! JSON of attrs and program files: parsed strictly (no key twice, bounded depth), written canonically.

use crate::error::{Error, Result};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

pub use serde_json::{Map, Value as Json};

/// Integers beyond this are written as strings: JavaScript reads JSON numbers as `f64`.
const EXACT: u64 = 1 << 53;

/// Parses JSON text. Depth is bounded (128) by serde_json.
///
/// # Errors
/// `format`: not JSON, or an object that has a key twice.
pub fn parse(text: &str) -> Result<Json> {
    serde_json::from_str::<Strict>(text).map(|strict| strict.0).map_err(|error| Error::format(format!("JSON: {error}")))
}

/// Writes with sorted keys and no white space.
pub fn write(json: &Json) -> String {
    json.to_string()
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

/// A [`Json`] whose objects have no key twice.
struct Strict(Json);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Strict, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
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

    fn visit_str<E>(self, value: &str) -> std::result::Result<Json, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> std::result::Result<Json, A::Error> {
        let mut object = Map::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if object.contains_key(&key) {
                return Err(de::Error::custom(format!("the key {key:?} stands twice in one object")));
            }
            object.insert(key, value);
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
