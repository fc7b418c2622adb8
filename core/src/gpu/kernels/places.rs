//! Where indices point: an index in [-n, n) is normalised, any other points nowhere.

use crate::attrs::Attrs;
use crate::cpu::call::Layout;
use crate::cpu::recurrence::Extent;
use crate::dtype::DType;
use crate::gpu::kernel::{Refusal, Slot};
use crate::gpu::wgsl::{Binding, Source};
use crate::op::normalize_axis;

/// The expression of an index as an `i32`; what is beyond becomes the nearest, which is outside of any axis too.
pub fn index(source: &mut Source, indices: &Binding, dtype: DType, at: &str) -> String {
    match dtype {
        DType::I64 => {
            source.import("nearest_i32");
            format!("nearest_i32({})", indices.load(at))
        }
        _ => indices.load(at),
    }
}

/// A size that an index may count to.
pub fn counted(size: usize) -> Result<usize, Refusal> {
    match i32::try_from(size) {
        Ok(_) => Ok(size),
        Err(_) => Err(Refusal(format!("an axis of {size} elements is more than 31 bits count"))),
    }
}

/// Places that tuples of indices name: of a tensor [groups, places, inner], by [groups, count] tuples.
pub struct Places {
    /// How many groups.
    pub groups: usize,
    /// Tuples of each.
    pub count: usize,
    /// The sizes of the axes that a tuple has an index for.
    pub named: Vec<usize>,
    /// Elements of a place.
    pub inner: usize,
    /// Whether the same tuples are for all groups.
    pub is_shared: bool,
    /// The dtype of the indices.
    pub dtype: DType,
}

fn product(sizes: &[usize]) -> usize {
    sizes.iter().product()
}

/// The axes around the attr `axis`, or the first.
pub fn extent(attrs: &Attrs, sizes: &[usize]) -> Result<Extent, Refusal> {
    Ok(Extent::new(sizes, normalize_axis(attrs.int("axis")?, sizes.len())?))
}

impl Places {
    /// Those of `gather` and `scatter`.
    pub fn of_tuples(attrs: &Attrs, x: &Layout, indices: &Layout) -> Result<Places, Refusal> {
        let batch = attrs.int("batch_dims")? as usize;
        let (tuple, leading) = indices.sizes.split_last().ok_or_else(|| Refusal("indices are a scalar".into()))?;
        let (named, inner) = x.sizes[batch..].split_at(*tuple);
        Ok(Places {
            groups: product(&x.sizes[..batch]),
            count: product(&leading[batch..]),
            named: named.to_vec(),
            inner: product(inner),
            is_shared: false,
            dtype: indices.dtype,
        })
    }

    /// Those of `take` and `scatter_add`.
    pub fn along_axis(attrs: &Attrs, x: &Layout, indices: &Layout) -> Result<Places, Refusal> {
        let Extent { outer, steps, inner } = extent(attrs, &x.sizes)?;
        let count = indices.elements();
        Ok(Places { groups: outer, count, named: vec![steps], inner, is_shared: true, dtype: indices.dtype })
    }

    /// Those of `pick`.
    pub fn of_rows(x: &Layout, indices: &Layout) -> Result<Places, Refusal> {
        let depth = *x.sizes.last().ok_or_else(|| Refusal("x is a scalar".into()))?;
        let groups = indices.elements();
        Ok(Places { groups, count: 1, named: vec![depth], inner: 1, is_shared: false, dtype: indices.dtype })
    }

    /// How many places a group has.
    pub fn places(&self) -> usize {
        product(&self.named)
    }

    /// Declares `place_of(row)`, the place that the tuple of that number names, or `NOWHERE`.
    pub fn declare(&self, source: &mut Source, slot: Slot) -> Result<(), Refusal> {
        let indices = source.read(slot, self.dtype)?;
        source.import("position");
        source.declare("const NOWHERE = 0xffffffffu;");
        let mut text = String::from("fn place_of(row: u32) -> u32 {\n    var place = 0u;\n");
        counted(self.places())?;
        for (axis, &size) in self.named.iter().enumerate() {
            let at = format!("(row * {}u) + {axis}u", self.named.len());
            let (index, size) = (index(source, &indices, self.dtype, &at), source.size(counted(size)? as i64));
            text += &format!("    let at_{axis} = position({index}, {size});\n");
            text += &format!("    if (at_{axis} == NOWHERE) {{ return NOWHERE; }}\n");
            text += &format!("    place = (place * {size}) + at_{axis};\n");
        }
        source.declare(&(text + "    return place;\n}"));
        Ok(())
    }
}
