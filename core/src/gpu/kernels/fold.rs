//! How elements become one, or join what is there: the functions of a shader, and the types that they compute in.

use super::keys::Keys;
use crate::dtype::DType;
use crate::gpu::kernel::Refusal;
use crate::gpu::wgsl::{Source, compute_type};

/// A way to join elements.
pub struct Fold {
    /// The WGSL type of a partial result.
    pub ty: &'static str,
    /// The partial result of no elements.
    pub start: String,
    /// The join of two, `a` and `b`; `a` comes first.
    join: String,
    /// Whether elements are loaded as bits.
    pub reads_bits: bool,
    /// The partial result that an element becomes: given what it loads as, and its number.
    pub element: fn(&str, &str) -> String,
    /// What is stored of a partial result.
    pub result: fn(&str) -> String,
    /// The keys that partial results are made of.
    keys: Option<Keys>,
    /// Whether results are the elements of keys.
    gives_elements: bool,
}

impl Fold {
    /// The sum; integers wrap.
    pub fn sum(dtype: DType) -> Result<Fold, Refusal> {
        Fold::arithmetic(dtype, 0, "add_u64(a, b)", "(a + b)")
    }

    /// The product; integers wrap.
    pub fn product(dtype: DType) -> Result<Fold, Refusal> {
        Fold::arithmetic(dtype, 1, "mul_u64(a, b)", "(a * b)")
    }

    fn arithmetic(dtype: DType, start: u32, wide: &str, join: &str) -> Result<Fold, Refusal> {
        let ty = compute_type(dtype)?;
        let is_wide = ty == "vec2<u32>";
        Ok(Fold {
            start: if is_wide { format!("vec2<u32>({start}u, 0u)") } else { format!("{ty}({start})") },
            join: if is_wide { wide.into() } else { join.into() },
            reads_bits: false,
            ..Fold::bits(ty)
        })
    }

    /// The sum of elements that is rounded to the dtype each time.
    pub fn rounded_sum(dtype: DType) -> Result<Fold, Refusal> {
        let sum = Fold::sum(dtype)?;
        let join = match dtype {
            DType::F16 => format!("f16_of_bits(bits_of_f16({}))", sum.join),
            DType::BF16 => format!("bitcast<f32>(bits_of_bf16({}) << 16u)", sum.join),
            _ => sum.join,
        };
        Ok(Fold { join, ..sum })
    }

    /// The last one, whatever it is.
    pub fn last(dtype: DType) -> Fold {
        Fold::bits(if dtype.size() == 8 { "vec2<u32>" } else { "u32" })
    }

    fn bits(ty: &'static str) -> Fold {
        let element = |element: &str, _: &str| element.into();
        let result = |partial: &str| partial.into();
        Fold {
            ty,
            start: format!("{ty}()"),
            join: "b".into(),
            reads_bits: true,
            element,
            result,
            keys: None,
            gives_elements: false,
        }
    }

    /// The greatest, or the least; NaN wins.
    pub fn extreme(dtype: DType, is_least: bool) -> Fold {
        let keys = Keys { dtype, is_inverted: is_least, is_nan_greatest: true, joins_zeros: false };
        let ty = keys.ty();
        Fold {
            start: keys.least(),
            join: if ty == "u32" { "max(a, b)" } else { "select(a, b, less_u64(a, b))" }.into(),
            element: |element, _| format!("key_of({element})"),
            result: |partial| format!("element_of({partial})"),
            keys: Some(keys),
            gives_elements: true,
            ..Fold::bits(ty)
        }
    }

    /// Joins whether elements are not 0, as 0 or 1. NaN is not.
    pub fn predicate(dtype: DType, start: &str, join: &str) -> Fold {
        // Without the sign of a float. As bits, since drivers may take denormals for 0.
        let element: fn(&str, &str) -> String = match dtype {
            DType::F32 => |x, _| format!("select(0u, 1u, ({x} << 1u) != 0u)"),
            DType::F16 | DType::BF16 => |x, _| format!("select(0u, 1u, ({x} << 17u) != 0u)"),
            DType::F64 => |x, _| format!("select(0u, 1u, any(({x} << vec2<u32>(0u, 1u)) != vec2<u32>(0u, 0u)))"),
            DType::I64 | DType::U64 => |x, _| format!("select(0u, 1u, any({x} != vec2<u32>(0u, 0u)))"),
            _ => |x, _| format!("select(0u, 1u, {x} != 0u)"),
        };
        Fold { start: start.into(), join: join.into(), element, ..Fold::bits("u32") }
    }

    /// The place of the first of the greatest or least, NaN before all: partial results are a key and its number.
    pub fn search(dtype: DType, is_least: bool) -> Fold {
        let keys = Keys { dtype, is_inverted: is_least, is_nan_greatest: true, joins_zeros: true };
        match keys.ty() {
            "u32" => Fold {
                start: "vec2<u32>(0u, 0xffffffffu)".into(),
                join: "select(a, b, (a.x < b.x) || ((a.x == b.x) && (b.y < a.y)))".into(),
                element: |element, number| format!("vec2<u32>(key_of({element}), {number})"),
                result: |partial| format!("vec2<u32>(select({partial}.y, 0u, {partial}.y == 0xffffffffu), 0u)"),
                keys: Some(keys),
                ..Fold::bits("vec2<u32>")
            },
            _ => Fold {
                start: "vec4<u32>(0u, 0u, 0xffffffffu, 0u)".into(),
                join: "select(a, b, less_u64(a.xy, b.xy) || (all(a.xy == b.xy) && (b.z < a.z)))".into(),
                element: |element, number| format!("vec4<u32>(key_of({element}), {number}, 0u)"),
                result: |partial| format!("vec2<u32>(select({partial}.z, 0u, {partial}.z == 0xffffffffu), 0u)"),
                keys: Some(keys),
                ..Fold::bits("vec4<u32>")
            },
        }
    }

    /// Declares `join`, what elements need if they are loaded, and what results need if they are stored.
    pub fn declare(&self, source: &mut Source, loads: bool, stores: bool) {
        if let Some(keys) = self.keys {
            if loads {
                keys.declare_key(source);
            }
            if stores && self.gives_elements {
                keys.declare_element(source);
            }
        }
        self.declare_join(source, "join");
    }

    /// Declares the join of two partial results.
    pub fn declare_join(&self, source: &mut Source, name: &str) {
        for function in ["add_u64", "mul_u64", "less_u64", "f16_of_bits", "bits_of_f16", "bits_of_bf16"] {
            if self.join.contains(function) {
                source.import(function);
            }
        }
        let ty = self.ty;
        source.declare(&format!("fn {name}(a: {ty}, b: {ty}) -> {ty} {{ return {}; }}", self.join));
    }

    /// The WGSL type of an array of partial results.
    pub fn array(&self) -> &'static str {
        array(self.ty)
    }

    /// Bytes of a partial result.
    pub fn bytes(&self) -> usize {
        match self.ty {
            "vec4<u32>" => 16,
            "vec2<u32>" => 8,
            _ => 4,
        }
    }
}

/// The WGSL type of an array of one of these types.
pub fn array(ty: &str) -> &'static str {
    match ty {
        "f32" => "array<f32>",
        "i32" => "array<i32>",
        "vec2<u32>" => "array<vec2<u32>>",
        "vec4<u32>" => "array<vec4<u32>>",
        _ => "array<u32>",
    }
}
