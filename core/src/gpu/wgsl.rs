//! A shader under construction: bindings with typed access, params, and a body.
//!
//! Elements are stored as on the CPU. They are loaded as what is computed in: `f32` for floats, `i32` and `u32` for
//! integers of up to 32 bits, `bool`, and `vec2<u32>` (low word first) for those of 64 bits. Kernels that only move
//! elements load their bits: `u32`, or `vec2<u32>` for 8 bytes.

mod library;
mod scalar;

use super::command::{Access, Shader};
use super::kernel::{Launch, Refusal, Slot};
use crate::cpu::call::Layout;
use crate::dtype::DType;
use std::fmt::Write;

pub use scalar::Values;

/// The most workgroups along an axis that every device has.
const GROUPS: u64 = 65_535;

/// The first line of a shader that knows subgroups.
pub const ENABLE_SUBGROUPS: &str = "enable subgroups;\n";

/// The invocations of a workgroup in a shader that has no reason for another number.
pub const INVOCATIONS: u32 = 256;

/// The WGSL type that elements of a dtype are computed in.
///
/// # Errors
/// `float64`, which no GPU interface offers.
pub fn compute_type(dtype: DType) -> Result<&'static str, Refusal> {
    Ok(match dtype {
        DType::F32 | DType::F16 | DType::BF16 => "f32",
        DType::I8 | DType::I16 | DType::I32 => "i32",
        DType::U8 | DType::U16 | DType::U32 => "u32",
        DType::Bool => "bool",
        DType::I64 | DType::U64 => "vec2<u32>",
        DType::F64 => return Err(Refusal("float64 is not offered on a GPU".into())),
    })
}

/// How the elements of a binding are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Elements {
    /// As numbers of a dtype.
    Values(DType),
    /// As bits, so many bytes each.
    Bits(usize),
    /// By words of so many elements, which the printer stores by the name of the binding.
    Words,
    /// By the printer itself, declared as the text says.
    Raw(&'static str),
}

/// A storage binding of a shader.
#[derive(Debug, Clone)]
pub struct Binding {
    /// Its variable, an array.
    pub name: String,
    index: usize,
}

impl Binding {
    /// The expression that loads the element of that index, a `u32`.
    pub fn load(&self, index: &str) -> String {
        format!("load{}({index})", self.index)
    }

    /// The statement that stores a value at that index. Elements of less than 4 bytes are stored by atomics, each by one
    /// invocation.
    pub fn store(&self, index: &str, value: &str) -> String {
        format!("store{}({index}, {value});", self.index)
    }
}

/// A shader under construction.
pub struct Source {
    workgroup: [u32; 3],
    bindings: Vec<(Slot, Access, Elements)>,
    params: Vec<u32>,
    library: library::Library,
    declarations: String,
    body: String,
    depth: usize,
    names: usize,
    has_subgroups: bool,
    has_f16: bool,
}

impl Source {
    /// A shader whose workgroups have that many invocations along each axis.
    pub fn new(workgroup: [u32; 3]) -> Source {
        Source {
            workgroup,
            bindings: Vec::new(),
            params: Vec::new(),
            library: library::Library::default(),
            declarations: String::new(),
            body: String::new(),
            depth: 1,
            names: 0,
            has_subgroups: false,
            has_f16: false,
        }
    }

    fn bind(&mut self, slot: Slot, access: Access, elements: Elements) -> Binding {
        self.bindings.push((slot, access, elements));
        let index = self.bindings.len() - 1;
        Binding { name: format!("b{index}"), index }
    }

    /// A binding that numbers are read from.
    ///
    /// # Errors
    /// Those of [`compute_type`].
    pub fn read(&mut self, slot: Slot, dtype: DType) -> Result<Binding, Refusal> {
        compute_type(dtype)?;
        Ok(self.bind(slot, Access::Read, Elements::Values(dtype)))
    }

    /// A binding that numbers are written to.
    ///
    /// # Errors
    /// Those of [`compute_type`].
    pub fn write(&mut self, slot: Slot, dtype: DType) -> Result<Binding, Refusal> {
        compute_type(dtype)?;
        Ok(self.bind(slot, Access::Write, Elements::Values(dtype)))
    }

    /// A binding that elements of any dtype are read from as bits: `u32`, or `vec2<u32>` for 8 bytes.
    pub fn read_bits(&mut self, slot: Slot, dtype: DType) -> Binding {
        self.bind(slot, Access::Read, Elements::Bits(dtype.size()))
    }

    /// A binding that elements of any dtype are written to as bits.
    pub fn write_bits(&mut self, slot: Slot, dtype: DType) -> Binding {
        self.bind(slot, Access::Write, Elements::Bits(dtype.size()))
    }

    /// A binding of whole words, 4 bytes each, that the printer makes of the [`bits`](Source::bits) of elements.
    pub fn write_words(&mut self, slot: Slot) -> Binding {
        self.bind(slot, Access::Write, Elements::Words)
    }

    /// The bits that a value of a dtype of less than 4 bytes is stored as; those above are 0.
    pub fn bits(&mut self, dtype: DType, value: &str) -> String {
        let bits = self.library.bits_of(dtype, value);
        if dtype == DType::Bool { bits } else { format!("({bits} & {:#x}u)", (1u32 << (8 * dtype.size())) - 1) }
    }

    /// A binding of a type that the printer names, such as `array<atomic<u32>>`, and uses by its name.
    pub fn raw(&mut self, slot: Slot, access: Access, ty: &'static str) -> Binding {
        self.bind(slot, access, Elements::Raw(ty))
    }

    /// A number that is looked up, so that another one makes no new shader; gives the expression, a `u32`.
    pub fn param(&mut self, value: u32) -> String {
        let index = self.params.len();
        self.params.push(value);
        format!("params[{}].{}", index / 4, ["x", "y", "z", "w"][index % 4])
    }

    /// A size or a stride as a param; strides below 0 wrap, as do sums with them.
    pub fn size(&mut self, value: impl TryInto<i64>) -> String {
        self.param(value.try_into().unwrap_or(0) as u32)
    }

    /// Makes `subgroup`, the number of an invocation's subgroup in its workgroup, `subgroup_size` and `subgroup_lane`
    /// known. `lane` is then counted along subgroups, so that those of one are next to each other, which no device
    /// promises of `local_invocation_index`. A workgroup must be a multiple of all sizes that subgroups have.
    pub fn use_subgroups(&mut self) {
        self.has_subgroups = true;
    }

    /// Makes the type `f16` known.
    pub fn use_f16(&mut self) {
        self.has_f16 = true;
    }

    /// Makes a function of the library known.
    pub fn import(&mut self, function: &str) {
        self.library.import(function);
    }

    /// Adds a declaration outside of `main`, such as memory of the workgroup.
    pub fn declare(&mut self, text: &str) {
        self.declarations.push_str(text);
        self.declarations.push('\n');
    }

    /// Adds a function, whose body `print` adds line by line.
    ///
    /// # Errors
    /// Those of `print`.
    pub fn function(
        &mut self,
        head: &str,
        print: impl FnOnce(&mut Source) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let (body, depth) = (std::mem::take(&mut self.body), std::mem::replace(&mut self.depth, 1));
        let printed = print(self);
        let own = std::mem::replace(&mut self.body, body);
        self.depth = depth;
        self.declare(&format!("{head} {{\n{own}}}"));
        printed
    }

    /// Adds a line to the body; those after one that ends with `{` are indented until one that begins with `}`.
    pub fn line(&mut self, text: impl AsRef<str>) {
        let text = text.as_ref();
        if text.starts_with('}') {
            self.depth -= 1;
        }
        let _ = writeln!(self.body, "{:1$}{text}", "", 4 * self.depth);
        if text.ends_with('{') {
            self.depth += 1;
        }
    }

    /// A name that nothing else has.
    pub fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}_{}", self.names)
    }

    /// Adds `let` of a new name; gives the name.
    pub fn value(&mut self, prefix: &str, expression: impl AsRef<str>) -> String {
        let name = self.name(prefix);
        self.line(format!("let {name} = {};", expression.as_ref()));
        name
    }

    /// Begins a body that runs once for each of `count` indices; gives the index and the workgroups to launch. The
    /// workgroup must be `[INVOCATIONS, 1, 1]`.
    ///
    /// # Errors
    /// More than a `u32` counts.
    pub fn for_each(&mut self, count: usize) -> Result<(String, [u32; 3]), Refusal> {
        let limit =
            u32::try_from(count).map_err(|_| Refusal(format!("{count} elements are more than 32 bits count")))?;
        let limit = self.param(limit);
        self.line(format!("let i = id.y * (groups.x * {}u) + id.x;", self.workgroup[0]));
        self.line(format!("if (i >= {limit}) {{ return; }}"));
        Ok(("i".into(), cover(count as u64, self.workgroup[0])))
    }

    /// Adds what computes where the element of a row-major index lies in a layout; gives its name. The layout's sizes
    /// and strides are params.
    pub fn offset(&mut self, layout: &Layout, index: &str) -> String {
        if layout.is_dense() && layout.offset == 0 {
            return index.into();
        }
        let axes = merged(layout);
        let start = self.size(layout.offset as i64);
        let (offset, rest) = (self.name("offset"), self.name("rest"));
        self.line(format!("var {offset} = {start};"));
        if axes.iter().all(|(_, stride)| *stride == 0) {
            return offset;
        }
        self.line(format!("var {rest} = {index};"));
        for (position, &(size, stride)) in axes.iter().enumerate().rev() {
            let (is_first, stride_text) =
                (position == 0, if stride == 0 { None } else { Some(self.size(stride as i64)) });
            let size = if is_first { String::new() } else { self.size(size as i64) };
            let coordinate = if is_first { rest.clone() } else { format!("({rest} % {size})") };
            if let Some(stride) = stride_text {
                self.line(format!("{offset} += {coordinate} * {stride};"));
            }
            if !is_first {
                self.line(format!("{rest} /= {size};"));
            }
        }
        offset
    }

    /// The launch of the shader in so many workgroups.
    pub fn launch(mut self, groups: [u32; 3]) -> Launch {
        if self.library.has("zero") {
            let zero = self.param(0);
            self.body.insert_str(0, &format!("    zero = {zero};\n"));
        }
        let mut text = if self.has_subgroups { ENABLE_SUBGROUPS.to_string() } else { String::new() };
        if self.has_f16 {
            text.push_str("enable f16;\n");
        }
        for (index, (_, access, elements)) in self.bindings.iter().enumerate() {
            let ty = elements.array(*access == Access::Write);
            let access = if *access == Access::Read { "read" } else { "read_write" };
            let _ = writeln!(text, "@group(0) @binding({index}) var<storage, {access}> b{index}: {ty};");
        }
        let mut bindings: Vec<_> = self.bindings.iter().map(|(_, access, _)| *access).collect();
        if !self.params.is_empty() {
            let (index, length) = (bindings.len(), self.params.len().div_ceil(4));
            let _ = writeln!(text, "@group(0) @binding({index}) var<uniform> params: array<vec4<u32>, {length}>;");
            bindings.push(Access::Uniform);
        }
        let mut library = self.library;
        let mut accessors = String::new();
        for (index, (_, access, elements)) in self.bindings.iter().enumerate() {
            accessors.push_str(&elements.accessor(index, *access == Access::Write, &mut library));
        }
        text.push_str(&self.declarations);
        text.push_str(&library.text());
        text.push_str(&accessors);
        let [x, y, z] = self.workgroup;
        let _ = writeln!(text, "@compute @workgroup_size({x}, {y}, {z})");
        text.push_str(
            "fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,\n",
        );
        text.push_str("    @builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>,\n");
        text.push_str(match self.has_subgroups {
            true => {
                "    @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_size) subgroup_size: u32,\n    \
                 @builtin(subgroup_invocation_id) subgroup_lane: u32) {\n    \
                 let lane = (subgroup * subgroup_size) + subgroup_lane;\n"
            }
            false => "    @builtin(local_invocation_index) lane: u32) {\n",
        });
        text.push_str(&self.body);
        text.push_str("}\n");
        let slots = self.bindings.iter().map(|(slot, ..)| *slot).collect();
        Launch { shader: Shader { text: text.into(), bindings }, slots, params: self.params, groups }
    }
}

/// The workgroups of `size` invocations that cover `count` of them, in two dimensions where one has not enough.
pub fn cover(count: u64, size: u32) -> [u32; 3] {
    let groups = count.div_ceil(u64::from(size));
    let rows = groups.div_ceil(GROUPS);
    [groups.div_ceil(rows.max(1)) as u32, rows as u32, 1]
}

/// The axes of a layout, (size, stride), neighbours joined where one stride leads through both; none of size 1.
fn merged(layout: &Layout) -> Vec<(usize, isize)> {
    let mut axes: Vec<(usize, isize)> = Vec::new();
    for (&size, &stride) in layout.sizes.iter().zip(&layout.strides).filter(|(size, _)| **size != 1) {
        match axes.last_mut() {
            Some((last, step)) if *step == stride.saturating_mul(size as isize) => {
                *last *= size;
                *step = stride;
            }
            _ => axes.push((size, stride)),
        }
    }
    axes
}

impl Elements {
    /// The type of the array.
    fn array(self, is_written: bool) -> &'static str {
        let bytes = match self {
            Elements::Raw(ty) => return ty,
            Elements::Words => return "array<u32>",
            Elements::Values(DType::F32) => return "array<f32>",
            Elements::Values(DType::I32) => return "array<i32>",
            Elements::Values(dtype) => dtype.size(),
            Elements::Bits(bytes) => bytes,
        };
        match bytes {
            8 => "array<vec2<u32>>",
            4 => "array<u32>",
            _ if is_written => "array<atomic<u32>>",
            _ => "array<u32>",
        }
    }

    /// The function that loads or stores an element.
    fn accessor(self, index: usize, is_written: bool, library: &mut library::Library) -> String {
        let (bytes, ty) = match self {
            Elements::Raw(_) | Elements::Words => return String::new(),
            Elements::Values(dtype) => (dtype.size(), compute_type(dtype).unwrap_or("u32")),
            Elements::Bits(bytes) => (bytes, if bytes == 8 { "vec2<u32>" } else { "u32" }),
        };
        if bytes >= 4 {
            return match is_written {
                false => format!("fn load{index}(i: u32) -> {ty} {{ return b{index}[i]; }}\n"),
                true => format!("fn store{index}(i: u32, value: {ty}) {{ b{index}[i] = value; }}\n"),
            };
        }
        // So many elements are in a word, as a power of two; each has so many bits.
        let (power, bits) = if bytes == 1 { (2, 8) } else { (1, 16) };
        let (mask, low) = ((1u32 << bits) - 1, (1u32 << power) - 1);
        if is_written {
            let value = match self {
                Elements::Values(dtype) => library.bits_of(dtype, "value"),
                _ => "value".into(),
            };
            return format!(
                "fn store{index}(i: u32, value: {ty}) {{\n    let shift = (i & {low}u) * {bits}u;\n    \
                 let element = {value} & {mask:#x}u;\n    atomicAnd(&b{index}[i >> {power}u], ~({mask:#x}u << shift));\n    \
                 atomicOr(&b{index}[i >> {power}u], element << shift);\n}}\n"
            );
        }
        let element = format!("((b{index}[i >> {power}u] >> ((i & {low}u) * {bits}u)) & {mask:#x}u)");
        let value = match self {
            Elements::Values(dtype) => library.of_bits(dtype, &element),
            _ => element,
        };
        format!("fn load{index}(i: u32) -> {ty} {{ return {value}; }}\n")
    }
}
