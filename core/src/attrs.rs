//! Attrs: the typed parameters of an op, and their canonical JSON.

use crate::cpu::memory::{as_bytes, cast_slice};
use crate::dispatch;
use crate::dtype::{DType, bf16, f16, to_bf16, to_f16};
use crate::error::{Error, Result};
use crate::json::{self, Json, Map};
use crate::meter::Meter;
use crate::op::OpDef;
use crate::shape::Dim;
use crate::tensor::{Tensor, byte_count};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The type of an attr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttrType {
    /// `true` or `false`.
    Bool,
    /// A 64-bit signed integer.
    Int,
    /// A 64-bit float.
    Float,
    /// Text.
    Text,
    /// A dtype's name.
    DType,
    /// A dim: an integer or text such as `2*n+1`.
    Dim,
    /// A list of integers; in JSON a lone integer is a list of one.
    Ints,
    /// A list of dims.
    Dims,
    /// A tensor.
    Tensor,
}

impl fmt::Display for AttrType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AttrType::Bool => "true or false",
            AttrType::Int => "an integer",
            AttrType::Float => "a number",
            AttrType::Text => "text",
            AttrType::DType => "a dtype's name",
            AttrType::Dim => "a size",
            AttrType::Ints => "integers",
            AttrType::Dims => "sizes",
            AttrType::Tensor => "a tensor",
        })
    }
}

/// The value of an attr. `None` is an attr that was left out and has no default.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each is the value of the AttrType of its name")]
pub enum AttrValue {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    DType(DType),
    Dim(Dim),
    Ints(Vec<i64>),
    Dims(Vec<Dim>),
    Tensor(Tensor),
}

impl PartialEq for AttrValue {
    /// Floats are equal to the bit, as in tensors, but that any NaN equals any: JSON has one.
    fn eq(&self, other: &AttrValue) -> bool {
        use AttrValue::*;
        match (self, other) {
            (None, None) => true,
            (Bool(a), Bool(b)) => a == b,
            (Int(a), Int(b)) => a == b,
            (Float(a), Float(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
            (Text(a), Text(b)) => a == b,
            (DType(a), DType(b)) => a == b,
            (Dim(a), Dim(b)) => a == b,
            (Ints(a), Ints(b)) => a == b,
            (Dims(a), Dims(b)) => a == b,
            (Tensor(a), Tensor(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for AttrValue {}

impl Hash for AttrValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        use AttrValue::*;
        std::mem::discriminant(self).hash(state);
        match self {
            None => {}
            Bool(value) => value.hash(state),
            Int(value) => value.hash(state),
            Float(value) => (if value.is_nan() { f64::NAN } else { *value }).to_bits().hash(state),
            Text(value) => value.hash(state),
            DType(value) => value.hash(state),
            Dim(value) => value.hash(state),
            Ints(values) => values.hash(state),
            Dims(values) => values.hash(state),
            Tensor(value) => (value.dtype(), value.sizes(), value.bytes()).hash(state),
        }
    }
}

/// An attr in an op's record.
#[derive(Debug, Clone, Copy)]
pub struct AttrDef {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: AttrType,
    /// Its default as JSON; `null` is "left out"; `None` means it is required.
    pub default: Option<&'static str>,
    /// What it means.
    pub doc: &'static str,
}

/// All attrs of one use of an op, in the order of its record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attrs {
    def: &'static OpDef,
    values: Arc<[AttrValue]>,
}

macro_rules! getters {
    ($($(#[$doc:meta])* $get:ident, $optional:ident: $variant:ident -> $type:ty;)*) => {
        $($(#[$doc])*
        pub fn $get(&self, name: &str) -> Result<$type> {
            self.$optional(name).ok_or_else(|| self.missing(name))
        }

        /// The same, or `None` where it was left out.
        pub fn $optional(&self, name: &str) -> Option<$type> {
            match self.value(name) {
                AttrValue::$variant(value) => Some(value.to_owned()),
                _ => None,
            }
        })*
    };
}

impl Attrs {
    /// Attrs for `def`: those given, and defaults for the rest.
    ///
    /// # Errors
    /// `argument`: a name the op does not have, a value of another type, a required attr that is missing.
    pub fn new(def: &'static OpDef, given: &[(&str, AttrValue)]) -> Result<Attrs> {
        if let Some((name, _)) = given.iter().find(|(name, _)| def.attrs.iter().all(|attr| attr.name != *name)) {
            return Err(unknown(def, name));
        }
        let values =
            def.attrs.iter().map(|attr| match given.iter().find(|(name, _)| *name == attr.name) {
                Some((_, value)) if fits(attr, value) => Ok(value.clone()),
                Some((_, value)) => Err(Error::argument(format!("{} takes {}, not {value:?}", attr.name, attr.kind))
                    .with_argument(attr.name)),
                None => default_of(attr),
            });
        let values = values.collect::<Result<Vec<_>>>().map_err(|error| error.with_op(def.name))?;
        Ok(Attrs { def, values: values.into() })
    }

    /// Attrs for `def` from a JSON object.
    ///
    /// # Errors
    /// As [`Attrs::new`]; `format`: not an object.
    pub fn from_json(def: &'static OpDef, object: &Map<String, Json>) -> Result<Attrs> {
        if let Some(name) = object.keys().find(|name| def.attrs.iter().all(|attr| attr.name != name.as_str())) {
            return Err(unknown(def, name));
        }
        let values = def.attrs.iter().map(|attr| match object.get(attr.name) {
            Some(json) => value_from_json(attr, json, &Meter::default()),
            None => default_of(attr),
        });
        let values = values.collect::<Result<Vec<_>>>().map_err(|error| error.with_op(def.name))?;
        Ok(Attrs { def, values: values.into() })
    }

    /// The attrs that differ from their defaults.
    pub fn changed(&self) -> impl Iterator<Item = (&'static AttrDef, &AttrValue)> {
        let entries = self.def.attrs.iter().zip(self.values.iter());
        entries.filter(|(attr, value)| default_of(attr).ok().as_ref() != Some(*value))
    }

    /// The attrs that differ from their defaults, as a JSON object.
    pub fn to_json(&self) -> Map<String, Json> {
        self.changed().map(|(attr, value)| (attr.name.to_string(), value_to_json(value))).collect()
    }

    /// Every value with its name, in the order of the record.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &AttrValue)> {
        self.def.attrs.iter().map(|attr| attr.name).zip(self.values.iter())
    }

    /// The same attrs with every dim replaced by what `dim` makes of it.
    ///
    /// # Errors
    /// Those of `dim`.
    pub fn map_dims(&self, mut dim: impl FnMut(&Dim) -> Result<Dim>) -> Result<Attrs> {
        let mut changed = |value: &AttrValue| match value {
            AttrValue::Dim(value) => Ok(AttrValue::Dim(dim(value)?)),
            AttrValue::Dims(values) => Ok(AttrValue::Dims(values.iter().map(&mut dim).collect::<Result<_>>()?)),
            other => Ok(other.clone()),
        };
        if !self.values.iter().any(|value| matches!(value, AttrValue::Dim(_) | AttrValue::Dims(_))) {
            return Ok(self.clone());
        }
        let values = self.values.iter().map(&mut changed).collect::<Result<Vec<_>>>()?;
        Ok(Attrs { def: self.def, values: values.into() })
    }

    /// Whether a dim among them has a symbol.
    pub fn is_symbolic(&self) -> bool {
        self.values.iter().any(|value| match value {
            AttrValue::Dim(dim) => dim.is_symbolic(),
            AttrValue::Dims(dims) => dims.iter().any(Dim::is_symbolic),
            _ => false,
        })
    }

    /// The attr of that name; `None` where it was left out.
    pub fn value(&self, name: &str) -> &AttrValue {
        let index = self.def.attrs.iter().position(|attr| attr.name == name);
        index.and_then(|index| self.values.get(index)).unwrap_or(&AttrValue::None)
    }

    getters! {
        /// The attr of that name, which must have been given or have a default.
        bool, optional_bool: Bool -> bool;
        /// As [`Attrs::bool`].
        int, optional_int: Int -> i64;
        /// As [`Attrs::bool`].
        float, optional_float: Float -> f64;
        /// As [`Attrs::bool`].
        text, optional_text: Text -> Arc<str>;
        /// As [`Attrs::bool`].
        dtype, optional_dtype: DType -> DType;
        /// As [`Attrs::bool`].
        dim, optional_dim: Dim -> Dim;
        /// As [`Attrs::bool`].
        ints, optional_ints: Ints -> Vec<i64>;
        /// As [`Attrs::bool`].
        dims, optional_dims: Dims -> Vec<Dim>;
        /// As [`Attrs::bool`].
        tensor, optional_tensor: Tensor -> Tensor;
    }

    /// The integers of the attr of that name, unless it was left out or holds none. As [`Attrs::ints`], borrowed.
    pub fn int_list(&self, name: &str) -> Option<&[i64]> {
        match self.value(name) {
            AttrValue::Ints(values) => Some(values),
            _ => None,
        }
    }

    /// The dims of the attr of that name, unless it was left out or holds none. As [`Attrs::dims`], borrowed.
    pub fn dim_list(&self, name: &str) -> Option<&[Dim]> {
        match self.value(name) {
            AttrValue::Dims(values) => Some(values),
            _ => None,
        }
    }

    /// A list of dims that are all known by now, as integers.
    ///
    /// # Errors
    /// `internal`: one is still symbolic.
    pub fn sizes(&self, name: &str) -> Result<Vec<i64>> {
        let known = |dim: &Dim| dim.as_constant().ok_or_else(|| Error::internal(format!("{name} holds the dim {dim}")));
        self.dims(name)?.iter().map(known).collect()
    }

    fn missing(&self, name: &str) -> Error {
        Error::argument(format!("the attr {name} is required")).with_op(self.def.name).with_argument(name)
    }
}

fn unknown(def: &OpDef, name: &str) -> Error {
    let known: Vec<_> = def.attrs.iter().map(|attr| attr.name).collect();
    let has = if known.is_empty() { "it has none".to_string() } else { format!("it has {}", known.join(", ")) };
    Error::argument(format!("there is no attr {name}; {has}")).with_op(def.name).with_argument(name)
}

fn fits(attr: &AttrDef, value: &AttrValue) -> bool {
    matches!(
        (attr.kind, value),
        (AttrType::Bool, AttrValue::Bool(_))
            | (AttrType::Int, AttrValue::Int(_))
            | (AttrType::Float, AttrValue::Float(_))
            | (AttrType::Text, AttrValue::Text(_))
            | (AttrType::DType, AttrValue::DType(_))
            | (AttrType::Dim, AttrValue::Dim(_))
            | (AttrType::Ints, AttrValue::Ints(_))
            | (AttrType::Dims, AttrValue::Dims(_))
            | (AttrType::Tensor, AttrValue::Tensor(_))
    ) || (*value == AttrValue::None && attr.default == Some("null"))
}

fn default_of(attr: &AttrDef) -> Result<AttrValue> {
    match attr.default {
        Some(text) => value_from_json(attr, &json::parse(text)?, &Meter::default()),
        None => Err(Error::argument(format!("the attr {} is required", attr.name)).with_argument(attr.name)),
    }
}

/// `meter`: what a tensor is charged to.
pub(crate) fn value_from_json(attr: &AttrDef, json: &Json, meter: &Meter) -> Result<AttrValue> {
    let array = || json.as_array().map(|items| items.iter());
    let value = match attr.kind {
        _ if json.is_null() && attr.default == Some("null") => Some(AttrValue::None),
        AttrType::Bool => json.as_bool().map(AttrValue::Bool),
        AttrType::Int => json::to_integer(json).map(AttrValue::Int),
        AttrType::Float => json::to_float(json).map(AttrValue::Float),
        AttrType::Text => json.as_str().map(|text| AttrValue::Text(text.into())),
        AttrType::DType => json.as_str().map(DType::parse).transpose()?.map(AttrValue::DType),
        AttrType::Dim => dim_from_json(json)?.map(AttrValue::Dim),
        AttrType::Ints => match json::to_integer(json) {
            Some(value) => Some(AttrValue::Ints(vec![value])),
            None => array().and_then(|items| items.map(json::to_integer).collect()).map(AttrValue::Ints),
        },
        AttrType::Dims => match array() {
            Some(items) => items.map(dim_from_json).collect::<Result<Option<_>>>()?.map(AttrValue::Dims),
            None => None,
        },
        AttrType::Tensor => tensor_from_json(json, meter)?.map(AttrValue::Tensor),
    };
    value.ok_or_else(|| {
        Error::argument(format!("{} takes {}, not {json}", attr.name, attr.kind)).with_argument(attr.name)
    })
}

pub(crate) fn value_to_json(value: &AttrValue) -> Json {
    match value {
        AttrValue::None => Json::Null,
        AttrValue::Bool(value) => (*value).into(),
        AttrValue::Int(value) => json::from_integer(*value),
        AttrValue::Float(value) => json::from_float(*value),
        AttrValue::Text(value) => value.as_ref().into(),
        AttrValue::DType(value) => value.name().into(),
        AttrValue::Dim(value) => dim_to_json(value),
        AttrValue::Ints(values) => values.iter().map(|&value| json::from_integer(value)).collect(),
        AttrValue::Dims(values) => values.iter().map(dim_to_json).collect(),
        AttrValue::Tensor(value) => tensor_to_json(value),
    }
}

/// A dim as JSON: an integer, or its text.
pub fn dim_to_json(dim: &Dim) -> Json {
    match dim.as_constant() {
        Some(value) => json::from_integer(value),
        None => dim.to_string().into(),
    }
}

/// The inverse of [`dim_to_json`]; `None` if it is neither.
///
/// # Errors
/// Those of [`Dim::parse`].
pub fn dim_from_json(json: &Json) -> Result<Option<Dim>> {
    match json {
        Json::String(text) => Dim::parse(text).map(Some),
        _ => Ok(json::to_integer(json).map(Dim::constant)),
    }
}

fn tensor_to_json(tensor: &Tensor) -> Json {
    let mut object = Map::new();
    object.insert("dtype".into(), tensor.dtype().name().into());
    object.insert("shape".into(), tensor.sizes().iter().map(|&size| json::from_unsigned(size as u64)).collect());
    let data = dispatch!(tensor.dtype(), T => {
        cast_slice::<T>(tensor.bytes()).iter().map(|element| element.to_json()).collect()
    });
    object.insert("data".into(), data);
    Json::Object(object)
}

fn tensor_from_json(json: &Json, meter: &Meter) -> Result<Option<Tensor>> {
    let (Some(dtype), Some(shape), Some(data)) =
        (json["dtype"].as_str(), json["shape"].as_array(), json["data"].as_array())
    else {
        return Ok(None);
    };
    let dtype = DType::parse(dtype)?;
    let sizes: Option<Vec<usize>> = shape.iter().map(|size| json::to_unsigned(size)?.try_into().ok()).collect();
    let Some(sizes) = sizes else { return Ok(None) };
    if data.len() != byte_count(dtype, &sizes)? / dtype.size() {
        return Err(Error::format(format!("a {dtype} tensor of shape {sizes:?} with {} elements", data.len())));
    }
    dispatch!(dtype, T => {
        let elements: Option<Vec<T>> = data.iter().map(T::from_json).collect();
        elements.map(|elements| Tensor::from_bytes(dtype, &sizes, as_bytes(&elements), meter.budget())).transpose()
    })
}

/// An element of a tensor in JSON.
trait JsonElement: Sized {
    fn to_json(self) -> Json;
    fn from_json(json: &Json) -> Option<Self>;
}

macro_rules! json_elements {
    ($($type:ty: $to:expr, $from:expr;)*) => {
        $(impl JsonElement for $type {
            fn to_json(self) -> Json {
                $to(self)
            }
            fn from_json(json: &Json) -> Option<$type> {
                $from(json)
            }
        })*
    };
}

fn narrow<T: TryFrom<i64>>(json: &Json) -> Option<T> {
    json::to_integer(json)?.try_into().ok()
}

json_elements! {
    u8: |value| json::from_integer(i64::from(value)), narrow;
    i8: |value| json::from_integer(i64::from(value)), narrow;
    i16: |value| json::from_integer(i64::from(value)), narrow;
    i32: |value| json::from_integer(i64::from(value)), narrow;
    i64: json::from_integer, narrow;
    u16: |value| json::from_integer(i64::from(value)), narrow;
    u32: |value| json::from_integer(i64::from(value)), narrow;
    u64: json::from_unsigned, json::to_unsigned;
    f16: |value| json::from_float(f64::from(value)), |json| json::to_float(json).map(to_f16);
    bf16: |value| json::from_float(f64::from(value)), |json| json::to_float(json).map(to_bf16);
    f32: |value| json::from_float(f64::from(value)), |json| json::to_float(json).map(|value| value as f32);
    f64: json::from_float, json::to_float;
}
