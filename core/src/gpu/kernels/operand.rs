//! The operands of sums of products: how they find their elements, and how these are loaded.

use super::super::command::Access;
use super::super::kernel::{Refusal, Slot};
use super::super::wgsl::{Binding, Source, compute_type};
use crate::cpu::call::Layout;
use crate::dtype::DType;

/// Along what four elements lie next to each other, at a multiple of four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along {
    /// The inner loop of the sum.
    Sum,
    /// The free index: the rows of x, the columns of y.
    Free,
}

/// An operand: an element belongs to a free index and to a place in the sum.
pub trait Operand {
    /// The memory that it lies in.
    fn slot(&self) -> Slot;
    /// Along what elements can be loaded by four.
    fn quads(&self) -> Option<Along>;
    /// Makes its sizes known to a shader. `batch` is a variable of it if there are several products.
    fn reader(&self, source: &mut Source, has_batch: bool) -> Box<dyn Reader>;
}

/// An operand in a shader.
pub trait Reader {
    /// Adds what is known of a free index before the loops.
    fn find(&self, source: &mut Source, index: &str) -> Vec<String>;
    /// Adds what is known within the outer loop, whose variable is `outer`; gives the place of each.
    fn places(&self, source: &mut Source, found: &[Vec<String>]) -> Vec<Place>;
}

/// Where the elements of a free index lie within a pass of the outer loop.
pub struct Place {
    /// The element at 0 of the inner loop.
    pub offset: String,
    /// The distance of those of the inner loop, if it is not 1.
    pub step: Option<String>,
    /// Which of them are there; others are zeros.
    pub valid: Valid,
}

/// Which elements of a pass are there.
pub enum Valid {
    /// All.
    All,
    /// All or none.
    If(String),
    /// Those at `inner` for which `inner * step + start`, as a `u32`, is below `limit`.
    Below { step: String, start: String, limit: String },
}

impl Valid {
    /// As one `bool` without branches: those of `&&` keep SwiftShader busy for minutes.
    fn condition(&self, inner: &str) -> Option<String> {
        match self {
            Valid::All => None,
            Valid::If(flag) => Some(flag.clone()),
            Valid::Below { step, start, limit } => Some(format!("((({inner}) * {step}) + {start}) < {limit}")),
        }
    }
}

/// An index beyond another.
pub fn plus(index: &str, by: usize) -> String {
    if by == 0 { index.into() } else { format!("({index} + {by}u)") }
}

const COMPONENTS: [&str; 4] = ["x", "y", "z", "w"];

/// Elements in variables.
pub enum Loaded {
    /// By place in the sum, then by free index.
    Scalars(Vec<Vec<String>>),
    /// By free index: vectors of four places.
    Sum(Vec<String>),
    /// By place, then by free index: vectors of four of these.
    Free(Vec<Vec<String>>),
}

impl Loaded {
    /// One element.
    pub fn scalar(&self, free: usize, place: usize) -> String {
        match self {
            Loaded::Scalars(names) => names[place][free].clone(),
            Loaded::Sum(names) => format!("{}.{}", names[free], COMPONENTS[place]),
            Loaded::Free(names) => format!("{}.{}", names[place][free / 4], COMPONENTS[free % 4]),
        }
    }

    /// Four free indices at one place.
    pub fn vector(&self, quad: usize, place: usize, ty: &str) -> String {
        match self {
            Loaded::Free(names) => names[place][quad].clone(),
            _ => {
                let scalars: Vec<_> = (0..4).map(|free| self.scalar(4 * quad + free, place)).collect();
                format!("vec4<{ty}>({})", scalars.join(", "))
            }
        }
    }
}

/// An operand that a shader is bound to.
pub struct Side {
    reader: Option<Box<dyn Reader>>,
    along: Option<Along>,
    binding: Binding,
    ty: &'static str,
    found: Vec<Vec<String>>,
}

impl Side {
    /// Binds an operand. One without elements has no memory for a vector of them. Where shaders know `f16` they convert
    /// vectors of it themselves: that is exact, but for subnormal numbers, which some devices take for 0.
    ///
    /// # Errors
    /// A dtype that is not computed with.
    pub fn new(
        source: &mut Source,
        operand: &dyn Operand,
        dtype: DType,
        is_empty: bool,
        has_f16: bool,
    ) -> Result<Side, Refusal> {
        let (ty, slot) = (compute_type(dtype)?, operand.slot());
        let vector = match dtype {
            DType::F32 => Some("array<vec4<f32>>"),
            DType::I32 => Some("array<vec4<i32>>"),
            DType::U32 => Some("array<vec4<u32>>"),
            DType::F16 if has_f16 => Some("array<vec4<f16>>"),
            DType::F16 | DType::BF16 => Some("array<vec2<u32>>"),
            _ => None,
        };
        let along = operand.quads().filter(|_| vector.is_some() && !is_empty);
        let (Some(_), Some(vector)) = (along, vector) else {
            let binding = source.read(slot, dtype)?;
            return Ok(Side { reader: None, along: None, binding, ty, found: Vec::new() });
        };
        let binding = source.raw(slot, Access::Read, vector);
        let name = &binding.name;
        let of_words = |element: fn(&str) -> String| {
            let [x, y] = ["x", "y"].map(element);
            format!("let words = {name}[i >> 2u]; return vec4<f32>({x}, {y});")
        };
        let quad = match dtype {
            DType::BF16 => {
                of_words(|word| format!("bitcast<f32>(words.{word} << 16u), bitcast<f32>(words.{word} & 0xffff0000u)"))
            }
            DType::F16 if has_f16 => {
                source.use_f16();
                format!("return vec4<f32>({name}[i >> 2u]);")
            }
            DType::F16 => {
                source.import("f16_of_bits");
                of_words(|word| format!("f16_of_bits(words.{word} & 0xffffu), f16_of_bits(words.{word} >> 16u)"))
            }
            _ => format!("return {name}[i >> 2u];"),
        };
        source.declare(&format!("fn quad_{name}(i: u32) -> vec4<{ty}> {{ {quad} }}"));
        Ok(Side { reader: None, along, binding, ty, found: Vec::new() })
    }

    /// Along what elements are loaded by four.
    pub fn along(&self) -> Option<Along> {
        self.along
    }

    /// Adds what is known before the loops of `count` free indices from `first` on; those of `limit` and more stand for
    /// others, and are not stored.
    pub fn find(
        &mut self,
        source: &mut Source,
        reader: &dyn Operand,
        first: &str,
        count: usize,
        limit: usize,
        has_batch: bool,
    ) {
        let reader = reader.reader(source, has_batch);
        let width = if self.along == Some(Along::Free) { 4 } else { 1 };
        let last = source.size(limit.saturating_sub(width) as i64);
        let index = |index: usize| match count {
            1 => first.to_string(),
            _ => format!("min({}, {last})", plus(first, index * width)),
        };
        self.found = (0..count.div_ceil(width)).map(|i| reader.find(source, &index(i))).collect();
        self.reader = Some(reader);
    }

    /// Adds what is known within the outer loop.
    pub fn places(&self, source: &mut Source) -> Vec<Place> {
        self.reader.as_ref().map_or_else(Vec::new, |reader| reader.places(source, &self.found))
    }

    /// Loads `depth` places of the sum from `inner` on; those from `end` on are zeros.
    pub fn load(&self, source: &mut Source, places: &[Place], depth: usize, inner: &str, end: Option<&str>) -> Loaded {
        let load = |source: &mut Source, place: &Place, index: usize| {
            let inner = plus(inner, index);
            let offset = match &place.step {
                None => format!("{} + {inner}", place.offset),
                Some(step) => format!("{} + ({inner} * {step})", place.offset),
            };
            let (element, ty) = match self.along {
                Some(_) => (format!("quad_{}({offset})", self.binding.name), format!("vec4<{}>", self.ty)),
                None => (self.binding.load(&offset), self.ty.to_string()),
            };
            let end = end.map(|end| format!("({inner} < {end})"));
            let condition = match (place.valid.condition(&inner), end) {
                (Some(valid), Some(end)) => Some(format!("({valid}) & {end}")),
                (one, other) => one.or(other),
            };
            let element = match condition {
                Some(condition) => format!("select({ty}(), {element}, {condition})"),
                None => element,
            };
            source.value(&self.binding.name, element)
        };
        if self.along == Some(Along::Sum) {
            return Loaded::Sum(places.iter().map(|place| load(source, place, 0)).collect());
        }
        let all = (0..depth).map(|index| places.iter().map(|place| load(source, place, index)).collect()).collect();
        if self.along == Some(Along::Free) { Loaded::Free(all) } else { Loaded::Scalars(all) }
    }
}

/// An operand whose elements lie evenly: those of a matrix, or of a matrix for each pass of the outer loop.
pub struct Matrix {
    /// The memory.
    pub slot: Slot,
    /// Where the matrices of the batch begin: its sizes are those of the batch.
    pub batch: Layout,
    /// The number of free indices, and the distance of neighbours.
    pub free: (usize, isize),
    /// The length of the inner loop, and the distance of neighbours.
    pub inner: (usize, isize),
    /// The distance of neighbours along the outer loop, if there is one.
    pub outer: Option<isize>,
}

impl Operand for Matrix {
    fn slot(&self) -> Slot {
        self.slot
    }

    fn quads(&self) -> Option<Along> {
        let fits = |size: usize, stride: isize| size == 1 || stride % 4 == 0;
        let batch = self.batch.sizes.iter().zip(&self.batch.strides).all(|(&size, &stride)| fits(size, stride));
        if !batch || !self.batch.offset.is_multiple_of(4) || self.outer.is_some_and(|stride| stride % 4 != 0) {
            return None;
        }
        let lies = |(size, stride): (usize, isize), (other, across): (usize, isize)| {
            stride == 1 && size.is_multiple_of(4) && fits(other, across)
        };
        match (lies(self.inner, self.free), lies(self.free, self.inner)) {
            (true, _) => Some(Along::Sum),
            (_, true) => Some(Along::Free),
            _ => None,
        }
    }

    fn reader(&self, source: &mut Source, has_batch: bool) -> Box<dyn Reader> {
        let begin = match (has_batch, self.batch.offset) {
            (true, _) => Some(source.offset(&self.batch, "batch")),
            (false, 0) => None,
            (false, offset) => Some(source.size(offset as i64)),
        };
        let mut stride = |stride: isize| source.size(stride as i64);
        let inner = if self.inner.1 == 1 { None } else { Some(stride(self.inner.1)) };
        let free = if self.free.1 == 1 { None } else { Some(stride(self.free.1)) };
        Box::new(MatrixReader { begin, free, inner, outer: self.outer.map(stride) })
    }
}

struct MatrixReader {
    begin: Option<String>,
    free: Option<String>,
    inner: Option<String>,
    outer: Option<String>,
}

impl Reader for MatrixReader {
    fn find(&self, source: &mut Source, index: &str) -> Vec<String> {
        let place = match &self.free {
            Some(stride) => format!("({index} * {stride})"),
            None => index.to_string(),
        };
        let place = self.begin.iter().fold(place, |place, begin| format!("{begin} + {place}"));
        vec![source.value("at", place)]
    }

    fn places(&self, source: &mut Source, found: &[Vec<String>]) -> Vec<Place> {
        let place = |found: &Vec<String>| {
            let offset = match &self.outer {
                Some(stride) => source.value("at", format!("{} + (outer * {stride})", found[0])),
                None => found[0].clone(),
            };
            Place { offset, step: self.inner.clone(), valid: Valid::All }
        };
        found.iter().map(place).collect()
    }
}
