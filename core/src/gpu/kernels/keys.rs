//! Elements as unsigned integers in their order, as `cpu::sort` has them: comparing floats would lose NaN, which
//! drivers may take for anything, and denormals.

use crate::dtype::DType;
use crate::gpu::wgsl::Source;

/// How elements, seen as bits, become keys: `u32`, or `vec2<u32>` (low word first) for those of 8 bytes.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    /// The dtype of the elements.
    pub dtype: DType,
    /// Whether a greater element has a lower key.
    pub is_inverted: bool,
    /// Whether the key of NaN is the greatest, else the least.
    pub is_nan_greatest: bool,
    /// Whether -0 has the key of 0; the element of that key is 0.
    pub joins_zeros: bool,
}

impl Keys {
    /// The WGSL type of a key.
    pub fn ty(self) -> &'static str {
        if self.dtype.size() == 8 { "vec2<u32>" } else { "u32" }
    }

    /// The key that a word, or the pair of them, makes.
    fn literal(self, key: u64) -> String {
        match self.dtype.size() {
            8 => format!("vec2<u32>({:#x}u, {:#x}u)", key as u32, key >> 32),
            _ => format!("{:#x}u", (key >> 32) as u32),
        }
    }

    /// How far the bits of an element are moved so that its sign is the highest bit of a word.
    fn shift(self) -> u32 {
        match self.dtype.size() {
            size if size < 4 && (self.dtype.is_float() || self.dtype.is_signed()) => 32 - 8 * size as u32,
            _ => 0,
        }
    }

    /// The bits of infinity, from the highest bit of 64.
    fn infinity(self) -> u64 {
        match self.dtype {
            DType::F16 => 0x7c00 << 48,
            DType::BF16 | DType::F32 => 0x7f80 << 48,
            _ => 0x7ff0 << 48,
        }
    }

    /// The key of the element that no other is before in the order of keys, NaN left aside.
    pub fn least(self) -> String {
        self.literal(if self.dtype.is_float() { !(self.infinity() | 1 << 63) } else { 0 })
    }

    /// Declares `key_of`, from the bits of an element.
    pub fn declare_key(self, source: &mut Source) {
        let (ty, shift) = (self.ty(), self.shift());
        let (is_wide, is_float) = (self.dtype.size() == 8, self.dtype.is_float());
        let infinity = (self.infinity() >> 32) as u32;
        let mut text = format!("fn key_of(bits: {ty}) -> {ty} {{\n");
        let moved = if shift == 0 { "bits".into() } else { format!("bits << {shift}u") };
        text += &format!("    var x = {moved};\n");
        let high = if is_wide { "x.y" } else { "x" };
        if is_float {
            let size = format!("({high} & 0x7fffffffu)");
            let is_nan = match is_wide {
                true => format!("({size} > {infinity:#x}u) || (({size} == {infinity:#x}u) && (x.x != 0u))"),
                false => format!("{size} > {infinity:#x}u"),
            };
            let nan = self.literal(if self.is_nan_greatest { u64::MAX } else { 0 });
            text += &format!("    if ({is_nan}) {{ return {nan}; }}\n");
        }
        if is_float && self.joins_zeros {
            let rest = if is_wide { " && (x.x == 0u)" } else { "" };
            text += &format!("    if (({high} == 0x80000000u){rest}) {{ {high} = 0u; }}\n");
        }
        let is_signed = self.dtype.is_signed() && !is_float;
        if is_float {
            text += &format!("    if ({high} >= 0x80000000u) {{ x = ~x; }} else {{ {high} |= 0x80000000u; }}\n");
        } else if is_signed {
            text += &format!("    {high} ^= 0x80000000u;\n");
        }
        text += if self.is_inverted { "    return ~x;\n}" } else { "    return x;\n}" };
        source.declare(&text);
    }

    /// Declares `element_of`, the bits of the element that has a key.
    pub fn declare_element(self, source: &mut Source) {
        let (ty, shift) = (self.ty(), self.shift());
        let (is_wide, is_float) = (self.dtype.size() == 8, self.dtype.is_float());
        let high = if is_wide { "x.y" } else { "x" };
        let mut text = format!("fn element_of(key: {ty}) -> {ty} {{\n    var x = key;\n");
        if self.is_inverted {
            text += "    x = ~x;\n";
        }
        if is_float {
            // The quiet NaN without a payload.
            let infinity = self.infinity();
            let nan = infinity | (infinity & infinity.wrapping_neg()) >> 1;
            let nan = if is_wide { self.literal(nan) } else { format!("{:#x}u", nan >> 32 >> shift) };
            let key = self.literal(if self.is_nan_greatest { u64::MAX } else { 0 });
            let is_nan = if is_wide { format!("all(key == {key})") } else { format!("key == {key}") };
            text += &format!("    if ({is_nan}) {{ return {nan}; }}\n");
            text += &format!("    if ({high} < 0x80000000u) {{ x = ~x; }} else {{ {high} &= 0x7fffffffu; }}\n");
        } else if self.dtype.is_signed() {
            text += &format!("    {high} ^= 0x80000000u;\n");
        }
        text += &if shift == 0 { "    return x;\n}".to_string() } else { format!("    return x >> {shift}u;\n}}") };
        source.declare(&text);
    }
}
