//! Functions in WGSL that shaders share: what is imported, with what it needs.

use crate::dtype::DType;
use std::collections::BTreeSet;

/// A function: its name, what it calls, its text.
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The functions that it calls.
    pub calls: &'static [&'static str],
    /// Its text.
    pub text: &'static str,
}

/// The functions that a shader has.
#[derive(Debug, Default)]
pub struct Library {
    names: BTreeSet<&'static str>,
}

/// All functions; each comes after those that it calls.
const FUNCTIONS: &[&[Function]] = &[CONVERSIONS, WIDE, INDICES];

/// Between elements as they are stored and as they are computed in.
const CONVERSIONS: &[Function] = &[
    Function {
        name: "bits_of_bf16",
        calls: &[],
        text: "fn bits_of_bf16(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) { return (bits >> 16u) | 0x40u; }
    return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}",
    },
    Function {
        name: "bits_of_f16",
        calls: &[],
        text: "fn bits_of_f16(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let sign = (bits >> 16u) & 0x8000u;
    let rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u) { return sign | 0x7e00u; }
    if (rest >= 0x477ff000u) { return sign | 0x7c00u; }
    if (rest >= 0x38800000u) {
        let moved = rest - 0x38000000u;
        return sign | ((moved + 0xfffu + ((moved >> 13u) & 1u)) >> 13u);
    }
    if (rest < 0x33000000u) { return sign; }
    let shift = 126u - (rest >> 23u);
    let mantissa = (rest & 0x7fffffu) | 0x800000u;
    let half = 1u << (shift - 1u);
    let kept = mantissa >> shift;
    let lost = mantissa & ((1u << shift) - 1u);
    let up = select(0u, 1u, lost > half || (lost == half && (kept & 1u) == 1u));
    return sign | (kept + up);
}",
    },
    Function {
        name: "f16_of_bits",
        calls: &[],
        text: "fn f16_of_bits(bits: u32) -> f32 {
    let sign = (bits & 0x8000u) << 16u;
    let rest = bits & 0x7fffu;
    if (rest >= 0x7c00u) { return bitcast<f32>(sign | 0x7f800000u | ((rest & 0x3ffu) << 13u)); }
    if (rest >= 0x400u) { return bitcast<f32>(sign | ((rest << 13u) + 0x38000000u)); }
    let small = f32(rest) * 5.9604644775390625e-8;
    return bitcast<f32>(sign | bitcast<u32>(small));
}",
    },
];

/// Arithmetic on integers of 64 bits, low word first; both words wrap, so signs do not matter.
const WIDE: &[Function] = &[
    Function {
        name: "add_64",
        calls: &[],
        text: "fn add_64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = a.x + b.x;
    return vec2<u32>(low, a.y + b.y + select(0u, 1u, low < a.x));
}",
    },
    Function {
        name: "mul_64",
        calls: &[],
        text: "fn mul_64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = (a.x & 0xffffu) * (b.x & 0xffffu);
    let middle = ((a.x >> 16u) * (b.x & 0xffffu)) + (low >> 16u);
    let other = ((a.x & 0xffffu) * (b.x >> 16u)) + (middle & 0xffffu);
    let high = ((a.x >> 16u) * (b.x >> 16u)) + (middle >> 16u) + (other >> 16u);
    return vec2<u32>((other << 16u) | (low & 0xffffu), high + (a.x * b.y) + (a.y * b.x));
}",
    },
    Function {
        name: "less_u64",
        calls: &[],
        text: "fn less_u64(a: vec2<u32>, b: vec2<u32>) -> bool {
    return (a.y < b.y) || ((a.y == b.y) && (a.x < b.x));
}",
    },
];

/// Indices, which are normalised in [-n, n).
const INDICES: &[Function] = &[
    Function {
        name: "nearest_i32",
        calls: &[],
        text: "fn nearest_i32(x: vec2<u32>) -> i32 {
    let low = bitcast<i32>(x.x);
    let high = bitcast<i32>(x.y);
    return select((high >> 31u) ^ 0x7fffffff, low, high == (low >> 31u));
}",
    },
    Function {
        name: "position",
        calls: &[],
        text: "fn position(index: i32, size: u32) -> u32 {
    let at = bitcast<u32>(index) + select(0u, size, index < 0);
    return select(0xffffffffu, at, at < size);
}",
    },
];

impl Library {
    /// Adds a function and those that it calls. A name that is not there is the printer's own.
    pub fn import(&mut self, name: &str) {
        let found = FUNCTIONS.iter().copied().flatten().find(|function| function.name == name);
        if let Some(function) = found.filter(|function| self.names.insert(function.name)) {
            function.calls.iter().for_each(|name| self.import(name));
        }
    }

    /// The text of the functions, each after those that it calls.
    pub fn text(&self) -> String {
        let functions = FUNCTIONS.iter().copied().flatten().filter(|function| self.names.contains(function.name));
        functions.map(|function| format!("{}\n", function.text)).collect()
    }

    /// The low bits of a word that a value of less than 32 bits is stored as.
    pub fn to_bits(&mut self, dtype: DType, value: &str) -> String {
        match dtype {
            DType::F16 => self.call("bits_of_f16", value),
            DType::BF16 => self.call("bits_of_bf16", value),
            DType::Bool => format!("select(0u, 1u, {value})"),
            DType::I8 | DType::I16 => format!("bitcast<u32>({value})"),
            _ => value.into(),
        }
    }

    /// The value that the low bits of a word store; those above are 0.
    pub fn of_bits(&mut self, dtype: DType, bits: &str) -> String {
        match dtype {
            DType::F16 => self.call("f16_of_bits", bits),
            DType::BF16 => format!("bitcast<f32>({bits} << 16u)"),
            DType::Bool => format!("({bits} != 0u)"),
            DType::I8 => format!("(bitcast<i32>({bits} << 24u) >> 24u)"),
            DType::I16 => format!("(bitcast<i32>({bits} << 16u) >> 16u)"),
            _ => bits.into(),
        }
    }

    fn call(&mut self, function: &str, argument: &str) -> String {
        self.import(function);
        format!("{function}({argument})")
    }
}
