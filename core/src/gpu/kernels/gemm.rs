//! Sums of products, which dot_general and the convolutions are: `out[batch, m, n]` is the sum over `outer` and `inner`
//! of `x(batch, m, outer, inner) * y(batch, n, outer, inner)`, where each operand says how its elements are found.
//!
//! On a GPU a workgroup keeps tiles of both operands in memory that it shares. A software device has no faster memory
//! than its caches, and waits at barriers: there each invocation has a block of the output in registers and loads what
//! it needs. Either way a long sum is cut into pieces that a second launch adds up, for two reasons: so that there is
//! work for all of the device, and since llvmpipe stops an invocation after 65,535 iterations.

use super::super::device::Adapter;
use super::super::kernel::{Launch, Recipe, Refusal, Request, Slot};
use super::super::wgsl::{INVOCATIONS, Source, compute_type, cover};
use super::epilogue::Finish;
use super::operand::{Along, Loaded, Operand, Side, plus};
use crate::dtype::DType;

/// The most iterations of an invocation.
const ITERATIONS: usize = 16_384;
/// The fewest iterations that are worth a piece of a sum.
const PIECE: usize = 64;
/// The most bytes of pieces' results where a sum is cut for speed alone.
const PIECES_BYTES: u64 = 64 << 20;
/// Places in the sum that a tile holds.
const DEPTH: usize = 16;
/// Invocations of a workgroup where each has a block of its own: few, so that small products have several.
const BLOCK_INVOCATIONS: u32 = 32;

/// A batch of products.
pub struct Product<'a> {
    /// Of the operands and the output.
    pub dtype: DType,
    /// How many products.
    pub batch: usize,
    /// Rows of the output, columns of the output.
    pub sizes: [usize; 2],
    /// Over how much is summed in an outer loop, if there is one.
    pub outer: Option<usize>,
    /// Over how much is summed in the inner loop.
    pub inner: usize,
    /// The rows' operand and the columns'.
    pub operands: [&'a dyn Operand; 2],
    /// The distances of neighbours in the output along the batch and along its rows; columns are next to each other.
    pub strides: [usize; 2],
}

/// Who computes what.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Plan {
    /// Each invocation has a block of so many rows and columns.
    Blocks([usize; 2]),
    /// Each workgroup has a tile of so many rows and columns, each invocation a block of it.
    Tiles(usize),
}

/// What becomes of sums.
#[derive(Clone, Copy)]
enum Sums<'a> {
    /// They are stored as a dtype.
    Stored(Slot, DType),
    /// They are handed to what follows the product.
    Finished(&'a Finish),
}

impl Sums<'_> {
    /// Whether they become elements of less than 4 bytes that are stored by words.
    fn have_words(&self) -> bool {
        matches!(self, Sums::Finished(finish) if finish.together() > 1)
    }

    /// Adds the function `finish` of an index, the number of sums that are there, and one of them or a vector of four.
    ///
    /// # Errors
    /// A dtype that is not computed with.
    fn declare(&self, source: &mut Source, ty: &str, is_quad: bool) -> Result<(), Refusal> {
        let (output, dtype) = match self {
            Sums::Finished(finish) => return finish.declare(source, ty, is_quad),
            Sums::Stored(slot, dtype) => (*slot, *dtype),
        };
        let output = source.write(output, dtype)?;
        if !is_quad {
            let store = output.store("i", "sum");
            source.declare(&format!("fn finish(i: u32, count: i32, sum: {ty}) {{ {store} }}"));
            return Ok(());
        }
        let stores = ["x", "y", "z", "w"].iter().enumerate().map(|(place, component)| {
            let store = output.store(&plus("i", place), &format!("sums.{component}"));
            format!("    if (count > {place}) {{ {store} }}\n")
        });
        let stores: String = stores.collect();
        source.declare(&format!("fn finish(i: u32, count: i32, sums: vec4<{ty}>) {{\n{stores}}}"));
        Ok(())
    }
}

/// How a sum is cut: the length of a piece and the number of pieces along the outer and the inner loop.
struct Cut {
    lengths: [usize; 2],
    counts: [usize; 2],
}

impl Cut {
    fn pieces(&self) -> usize {
        self.counts[0] * self.counts[1]
    }
}

impl Product<'_> {
    fn elements(&self) -> usize {
        self.batch * self.sizes[0] * self.sizes[1]
    }

    fn plan(&self, adapter: &Adapter) -> Plan {
        if self.dtype.size() == 8 {
            return Plan::Blocks([1, 1]);
        }
        let [m, n] = self.sizes;
        let has_memory = adapter.workgroup_bytes as usize >= 2 * 128 * DEPTH * 4;
        if !adapter.is_software && has_memory && m.min(n) >= 16 && m.max(n) >= 32 && self.inner >= 8 {
            let large = self.batch * (m / 128) * (n / 128);
            return Plan::Tiles(if large >= 128 { 128 } else { 64 });
        }
        Plan::Blocks(self.sizes.map(|size| match size {
            0..4 => 1,
            4..16 => 4,
            _ => 8,
        }))
    }

    /// Places in the sum that an iteration of an invocation with a block deals with.
    fn depth(&self) -> usize {
        if self.inner.is_multiple_of(4) && self.dtype.size() < 8 { 4 } else { 1 }
    }

    /// `invocations` compute the output.
    fn cut(&self, adapter: &Adapter, invocations: usize, depth: usize) -> Cut {
        let outer = self.outer.unwrap_or(1);
        let pass = self.inner.div_ceil(depth).max(1);
        let iterations = outer.saturating_mul(pass);
        let wanted = if adapter.is_software { 512 } else { 32_768usize };
        let room = (PIECES_BYTES / 4).min(adapter.binding_bytes / 8) as usize / self.elements().max(1);
        let pieces = wanted.div_ceil(invocations.max(1)).min(iterations / PIECE).min(room);
        let pieces = pieces.max(iterations.div_ceil(ITERATIONS)).max(1);
        let length = outer.div_ceil(pieces).min((ITERATIONS / pass).max(1)).max(1);
        let along_inner = pieces.div_ceil(outer.max(1)).max(pass.div_ceil(ITERATIONS));
        let inner_length = pass.div_ceil(along_inner).saturating_mul(depth).next_multiple_of(DEPTH);
        Cut {
            lengths: [length, inner_length],
            counts: [outer.div_ceil(length).max(1), self.inner.div_ceil(inner_length).max(1)],
        }
    }

    /// The launches; workspaces are added to a recipe that may hold some.
    ///
    /// # Errors
    /// A dtype that is not computed with, or sizes beyond what the device addresses; what follows wants words that no
    /// invocation has whole.
    pub fn print(&self, request: &Request, recipe: &mut Recipe) -> Result<(), Refusal> {
        let adapter = request.adapter;
        let sums = match request.finish {
            Some(finish) => Sums::Finished(finish),
            None => Sums::Stored(Slot::Output(0), self.dtype),
        };
        let plan = self.plan(adapter);
        let [rows, columns] = match plan {
            Plan::Blocks(block) => block,
            Plan::Tiles(size) => [size, size],
        };
        let lines = [self.sizes[1], self.strides[1], if self.batch > 1 { self.strides[0] } else { 0 }];
        if sums.have_words() && (columns < 4 || lines.iter().any(|size| !size.is_multiple_of(4))) {
            return Err(Refusal("what follows a product stores words that no invocation has whole".into()));
        }
        let blocks = self.batch * self.sizes[0].div_ceil(rows) * self.sizes[1].div_ceil(columns);
        let (invocations, depth) = match plan {
            Plan::Blocks(_) => (blocks, self.depth()),
            Plan::Tiles(size) => (blocks * 2 * size, 1),
        };
        let cut = self.cut(adapter, invocations, depth);
        if cut.pieces() == 1 {
            recipe.launches.push(self.launch(plan, &cut, sums, adapter)?);
            return Ok(());
        }
        let sum = match compute_type(self.dtype)? {
            "f32" => DType::F32,
            "i32" => DType::I32,
            "u32" => DType::U32,
            _ => self.dtype,
        };
        let bytes = (self.elements() as u64).saturating_mul((cut.pieces() * sum.size()) as u64);
        if bytes > adapter.binding_bytes || cut.pieces() > ITERATIONS {
            return Err(Refusal(format!("a sum over {:?} x {} products is too long", self.outer, self.inner)));
        }
        let work = recipe.work(bytes);
        recipe.launches.push(self.launch(plan, &cut, Sums::Stored(work, sum), adapter)?);
        recipe.launches.push(self.add_up(cut.pieces(), work, sum, sums)?);
        Ok(())
    }

    fn launch(&self, plan: Plan, cut: &Cut, sums: Sums, adapter: &Adapter) -> Result<Launch, Refusal> {
        match plan {
            Plan::Blocks(block) => Printing::new(self, [BLOCK_INVOCATIONS, 1, 1], block, sums, adapter)?.blocks(cut),
            Plan::Tiles(size) => {
                Printing::new(self, [2 * size as u32, 1, 1], [8, size / 16], sums, adapter)?.tiles(size, cut)
            }
        }
    }

    /// Adds up what pieces of the sums gave.
    fn add_up(&self, pieces: usize, work: Slot, dtype: DType, sums: Sums) -> Result<Launch, Refusal> {
        let mut source = Source::new([INVOCATIONS, 1, 1]);
        let piece = source.read(work, dtype)?;
        let ty = compute_type(dtype)?;
        let is_quad = sums.have_words();
        sums.declare(&mut source, ty, is_quad)?;
        let (mut index, groups) = source.for_each(self.elements() / if is_quad { 4 } else { 1 })?;
        let (pieces, elements) = (source.size(pieces as i64), source.size(self.elements() as i64));
        if is_quad {
            index = source.value("first", format!("{index} * 4u"));
        }
        let ty = if is_quad { format!("vec4<{ty}>") } else { ty.into() };
        source.line(format!("var sum = {ty}();"));
        source.line(format!("for (var piece = 0u; piece < {pieces}; piece++) {{"));
        let load = |place| piece.load(&format!("{} + (piece * {elements})", plus(&index, place)));
        let element = if is_quad { format!("{ty}({})", [0, 1, 2, 3].map(load).join(", ")) } else { load(0) };
        if dtype.size() == 8 {
            source.import("add_u64");
            source.line(format!("sum = add_u64(sum, {element});"));
        } else {
            source.line(format!("sum += {element};"));
        }
        source.line("}");
        source.line(format!("finish({index}, {}, sum);", if is_quad { 4 } else { 1 }));
        Ok(source.launch(groups))
    }
}

/// A product on its way to a shader.
struct Printing<'a> {
    product: &'a Product<'a>,
    source: Source,
    sides: [Side; 2],
    /// The rows and columns of an invocation.
    block: [usize; 2],
    ty: &'static str,
}

impl<'a> Printing<'a> {
    fn new(
        product: &'a Product<'a>,
        workgroup: [u32; 3],
        block: [usize; 2],
        sums: Sums,
        adapter: &Adapter,
    ) -> Result<Printing<'a>, Refusal> {
        let mut source = Source::new(workgroup);
        let [x, y] = product.operands;
        let is_empty = product.inner == 0 || product.outer == Some(0);
        let mut side = |operand| Side::new(&mut source, operand, product.dtype, is_empty, adapter.has_f16);
        let sides = [side(x)?, side(y)?];
        let ty = compute_type(product.dtype)?;
        sums.declare(&mut source, ty, block[1] >= 4)?;
        Ok(Printing { product, source, sides, block, ty })
    }

    /// Parts of a row that an invocation has: vectors of four, or one number.
    fn parts(&self) -> usize {
        self.block[1].div_ceil(4)
    }

    /// Declares `row`, `column`, `batch` and the bounds of the piece, from `rest`, which counts blocks of those sizes.
    fn coordinates(&mut self, [rows, columns]: [usize; 2], cut: &Cut) -> Bounds {
        let [m, n] = self.product.sizes;
        let source = &mut self.source;
        let take = |source: &mut Source, name: &str, count: usize, scale: usize| {
            let count = source.size(count as i64);
            let scale = if scale == 1 { String::new() } else { format!(" * {scale}u") };
            source.line(format!("let {name} = (rest % {count}){scale};"));
            source.line(format!("rest /= {count};"));
        };
        take(source, "column", n.div_ceil(columns), columns);
        take(source, "row", m.div_ceil(rows), rows);
        let is_cut = cut.pieces() > 1;
        match (self.product.batch > 1, is_cut) {
            (true, true) => take(source, "batch", self.product.batch, 1),
            (true, false) => source.line("let batch = rest;"),
            (false, _) => {}
        }
        let whole = |source: &mut Source, size: usize| ("0u".to_string(), source.size(size as i64));
        let outer = self.product.outer.unwrap_or(1);
        if !is_cut {
            let outer = if self.product.outer.is_some() { Some(whole(source, outer)) } else { None };
            return Bounds { outer, inner: whole(source, self.product.inner) };
        }
        source.line("let piece = rest;");
        let bounds = |source: &mut Source, name: &str, place: &str, length: usize, size: usize| {
            let (length, size) = (source.size(length as i64), source.size(size as i64));
            let begin = source.value(name, format!("{place} * {length}"));
            let end = source.value("end", format!("min({begin} + {length}, {size})"));
            (begin, end)
        };
        let [outer_length, inner_length] = cut.lengths;
        let (of_outer, of_inner) = match cut.counts {
            [_, 1] => ("piece".to_string(), None),
            [_, count] => {
                let count = source.size(count as i64);
                (format!("(piece / {count})"), Some(format!("(piece % {count})")))
            }
        };
        let outer = self.product.outer.map(|size| bounds(source, "outer", &of_outer, outer_length, size));
        let inner = match of_inner {
            Some(place) => bounds(source, "inner", &place, inner_length, self.product.inner),
            None => whole(source, self.product.inner),
        };
        Bounds { outer, inner }
    }

    fn declare_sums(&mut self) {
        let ty = if self.block[1] >= 4 { format!("vec4<{}>", self.ty) } else { self.ty.to_string() };
        for row in 0..self.block[0] {
            for part in 0..self.parts() {
                self.source.line(format!("var sum_{row}_{part} = {ty}();"));
            }
        }
    }

    fn begin_outer(&mut self, bounds: &Bounds) {
        if let Some((begin, end)) = &bounds.outer {
            self.source.line(format!("for (var outer = {begin}; outer < {end}; outer++) {{"));
        }
    }

    fn end_outer(&mut self, bounds: &Bounds) {
        if bounds.outer.is_some() {
            self.source.line("}");
        }
    }

    /// Adds the products of `depth` places in the sum.
    fn multiply(&mut self, x: &Loaded, y: &Loaded, depth: usize) {
        if self.product.dtype.size() == 8 {
            self.source.import("add_u64");
            self.source.import("mul_u64");
            for place in 0..depth {
                let (x, y) = (x.scalar(0, place), y.scalar(0, place));
                self.source.line(format!("sum_0_0 = add_u64(sum_0_0, mul_u64({x}, {y}));"));
            }
            return;
        }
        let factors = |source: &mut Source, part: usize| -> Vec<String> {
            let factor = |place: usize| match self.block[1] {
                1 => y.scalar(0, place),
                _ => y.vector(part, place, self.ty),
            };
            let factors: Vec<_> = (0..depth).map(factor).collect();
            factors.into_iter().map(|f| if f.contains('(') { source.value("y", f) } else { f }).collect()
        };
        for part in 0..self.parts() {
            let factors = factors(&mut self.source, part);
            for row in 0..self.block[0] {
                let products = factors.iter().enumerate().map(|(place, y)| format!("({} * {y})", x.scalar(row, place)));
                let sum = products.reduce(|sum, product| format!("{sum} + {product}")).unwrap_or_default();
                self.source.line(format!("sum_{row}_{part} += {sum};"));
            }
        }
    }

    /// Stores the block at a row and a column.
    fn store(&mut self, cut: &Cut, row: &str, column: &str) {
        let [m, n] = self.product.sizes;
        let [batch, stride] = self.product.strides;
        let source = &mut self.source;
        let (rows, stride) = (source.size(m as i64), source.size(stride as i64));
        let mut at = format!("({row} * {stride}) + {column}");
        if self.product.batch > 1 {
            at = format!("{at} + (batch * {})", source.size(batch as i64));
        }
        if cut.pieces() > 1 {
            at = format!("{at} + (piece * {})", source.size(self.product.elements() as i64));
        }
        let at = source.value("at", at);
        let count = source.size(n as i64);
        let count = source.value("count", format!("i32({count}) - i32({column})"));
        for below in 0..self.block[0] {
            let start = if below == 0 { at.clone() } else { format!("{at} + ({below}u * {stride})") };
            source.line(format!("if ({} < {rows}) {{", plus(row, below)));
            for part in 0..self.block[1].div_ceil(4) {
                source.line(match 4 * part {
                    0 => format!("finish({start}, {count}, sum_{below}_0);"),
                    right => format!("finish({start} + {right}u, {count} - {right}, sum_{below}_{part});"),
                });
            }
            source.line("}");
        }
    }

    /// A block for each invocation.
    fn blocks(mut self, cut: &Cut) -> Result<Launch, Refusal> {
        let [m, n] = self.product.sizes;
        let count = self.product.batch * m.div_ceil(self.block[0]) * n.div_ceil(self.block[1]) * cut.pieces();
        let (index, groups) = self.source.for_each(count)?;
        self.source.line(format!("var rest = {index};"));
        let bounds = self.coordinates(self.block, cut);
        let depth = self.product.depth();
        let ([x, y], [x_side, y_side]) = (self.product.operands, &mut self.sides);
        x_side.find(&mut self.source, x, "row", self.block[0], m, self.product.batch > 1);
        y_side.find(&mut self.source, y, "column", self.block[1], n, self.product.batch > 1);
        self.declare_sums();
        self.begin_outer(&bounds);
        let [x_side, y_side] = &self.sides;
        let places = [x_side.places(&mut self.source), y_side.places(&mut self.source)];
        let (begin, end) = &bounds.inner;
        self.source.line(format!("for (var inner = {begin}; inner < {end}; inner += {depth}u) {{"));
        let x = x_side.load(&mut self.source, &places[0], depth, "inner", None);
        let y = y_side.load(&mut self.source, &places[1], depth, "inner", None);
        self.multiply(&x, &y, depth);
        self.source.line("}");
        self.end_outer(&bounds);
        self.store(cut, "row", "column");
        Ok(self.source.launch(groups))
    }

    /// A tile for each workgroup. Half of its invocations load a tile of x, the others one of y, each a block of four
    /// by four, which they store by places in the sum: so all of it moves in vectors.
    fn tiles(mut self, size: usize, cut: &Cut) -> Result<Launch, Refusal> {
        let [m, n] = self.product.sizes;
        let count = self.product.batch * m.div_ceil(size) * n.div_ceil(size) * cut.pieces();
        let limit = u32::try_from(count).map_err(|_| Refusal(format!("{count} tiles are more than 32 bits count")))?;
        let (ty, quads) = (self.ty, size / 4);
        for name in ["x", "y"] {
            self.source.declare(&format!("var<workgroup> tile_{name}: array<vec4<{ty}>, {}>;", quads * DEPTH));
        }
        let limit = self.source.param(limit);
        self.source.line("var rest = (group.y * groups.x) + group.x;");
        self.source.line(format!("if (rest >= {limit}) {{ return; }}"));
        let bounds = self.coordinates([size, size], cut);
        self.source.line(format!("let mine = lane % {size}u;"));
        let has_batch = self.product.batch > 1;
        let mut lanes = Vec::new();
        let operands = self.product.operands.into_iter().zip([("row", m), ("column", n)]);
        for (side, (operand, (name, limit))) in self.sides.iter_mut().zip(operands) {
            // Neighbours load what lies next to each other.
            let [free, sum] = match side.along() {
                Some(Along::Free) => [format!("(mine % {quads}u)"), format!("(mine / {quads}u)")],
                _ => ["(mine / 4u)".to_string(), "(mine % 4u)".to_string()],
            };
            let first = self.source.value(name, format!("{name} + ({free} * 4u)"));
            side.find(&mut self.source, operand, &first, 4, limit, has_batch);
            lanes.push((free, sum));
        }
        self.declare_sums();
        let across = size / self.block[1];
        let (down, across) = (format!("(lane / {across}u)"), format!("(lane % {across}u)"));
        let row = self.source.value("row", format!("row + ({down} * {}u)", self.block[0]));
        let column = self.source.value("column", format!("column + ({across} * {}u)", self.block[1]));
        self.begin_outer(&bounds);
        let (begin, end) = &bounds.inner;
        self.source.line(format!("for (var inner = {begin}; inner < {end}; inner += {DEPTH}u) {{"));
        for (index, (name, (free, sum))) in ["x", "y"].iter().zip(&lanes).enumerate() {
            self.source.line(if index == 0 { format!("if (lane < {size}u) {{") } else { "} else {".into() });
            let first = self.source.value("inner", format!("inner + ({sum} * 4u)"));
            let places = self.sides[index].places(&mut self.source);
            let loaded = self.sides[index].load(&mut self.source, &places, 4, &first, Some(end));
            for place in 0..4 {
                let value = loaded.vector(0, place, ty);
                self.source.line(format!(
                    "tile_{name}[({} * {quads}u) + {free}] = {value};",
                    plus(&format!("({sum} * 4u)"), place)
                ));
            }
        }
        self.source.line("}");
        self.source.line("workgroupBarrier();");
        self.source.line(format!("for (var place = 0u; place < {DEPTH}u; place++) {{"));
        let vectors = |source: &mut Source, name: &str, count: usize, which: &str| {
            let each =
                |part| source.value(name, format!("tile_{name}[(place * {quads}u) + ({which} * {count}u) + {part}u]"));
            Loaded::Free(vec![(0..count).map(each).collect()])
        };
        let x = vectors(&mut self.source, "x", self.block[0] / 4, &down);
        let y = vectors(&mut self.source, "y", self.block[1] / 4, &across);
        self.multiply(&x, &y, 1);
        self.source.line("}");
        self.source.line("workgroupBarrier();");
        self.source.line("}");
        self.end_outer(&bounds);
        self.store(cut, &row, &column);
        Ok(self.source.launch(cover(count as u64, 1)))
    }
}

/// Where a piece of a sum begins and ends.
struct Bounds {
    outer: Option<(String, String)>,
    inner: (String, String),
}
