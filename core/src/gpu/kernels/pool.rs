//! Pooling: an invocation for each element of the output, which looks through a window.

use crate::cpu::call::Layout;
use crate::cpu::pool::PoolGeometry;
use crate::dtype::DType;
use crate::gpu::kernel::{Launch, Printer, Recipe, Refusal, Request, Slot};
use crate::gpu::wgsl::{Binding, INVOCATIONS, Source, compute_type};
use crate::ops::pool::geometry;

pub const PRINTERS: &[(&str, Printer)] = &[
    ("max_pool", max_pool),
    ("max_pool_gather", max_pool_gather),
    ("max_pool_scatter", max_pool_scatter),
    ("avg_pool", avg_pool),
    ("avg_pool_grad", avg_pool_grad),
];

/// The most elements of a window: llvmpipe stops an invocation after 65,535 iterations.
const LARGEST: usize = 16_384;
/// The greatest size of an axis: with it, positions stay within 31 bits.
const LONGEST: usize = 1 << 30;

/// A pooling of certain sizes.
struct Pooling {
    geometry: PoolGeometry,
    /// The first of the geometry's axes that is one; those before fill it up.
    first: usize,
    counts_padding: bool,
}

/// Sizes in a shader, by axis.
struct Sizes {
    image: Vec<String>,
    grid: Vec<String>,
    pad: Vec<String>,
    channels: String,
}

/// An element of an image or a grid in a shader.
struct Element {
    image: String,
    at: Vec<String>,
    channel: String,
}

impl Pooling {
    fn new(request: &Request, image: &Layout, pooled: &Layout) -> Result<Pooling, Refusal> {
        let geometry = geometry(request.attrs, &image.sizes, &pooled.sizes);
        let geometry = geometry.ok_or_else(|| Refusal("the sizes do not fit".into()))?;
        let elements = geometry.window.iter().fold(1, |n: usize, size| n.saturating_mul(*size));
        if elements > LARGEST {
            return Err(Refusal(format!("a window has {elements} elements; {LARGEST} are the most")));
        }
        if geometry.input.iter().chain(&geometry.output).any(|&size| size > LONGEST) {
            return Err(Refusal(format!("an axis has more than {LONGEST} elements")));
        }
        let counts_padding = request.attrs.optional_bool("count_padding").unwrap_or(false);
        Ok(Pooling { geometry, first: 5 - image.sizes.len(), counts_padding })
    }

    fn sizes(&self, source: &mut Source) -> Sizes {
        let geometry = &self.geometry;
        let mut each = |sizes: [usize; 3]| sizes[self.first..].iter().map(|&size| source.size(size as i64)).collect();
        let (image, grid) = (each(geometry.input), each(geometry.output));
        let pad = geometry.pad_low[self.first..].iter().map(|&pad| source.size(pad as i64)).collect();
        Sizes { image, grid, pad, channels: source.size(geometry.channels as i64) }
    }

    /// Cuts an index into what it counts.
    fn element(source: &mut Source, index: &str, sizes: &[String], channels: &str) -> Element {
        let channel = source.value("channel", format!("{index} % {channels}"));
        let mut rest = format!("({index} / {channels})");
        let mut at = Vec::new();
        for size in sizes.iter().rev() {
            at.insert(0, source.value("at", format!("{rest} % {size}")));
            rest = source.value("rest", format!("{rest} / {size}"));
        }
        Element { image: rest, at, channel }
    }

    fn index(element: &Element, at: &[String], sizes: &[String], channels: &str) -> String {
        let pixels = at.iter().zip(sizes);
        let pixel = pixels.fold(element.image.clone(), |pixel, (at, size)| format!("((({pixel}) * {size}) + {at})"));
        format!("({pixel} * {channels}) + {}", element.channel)
    }

    /// The bounds of the window of a place of the grid along an axis: signed.
    fn bounds(&self, source: &mut Source, sizes: &Sizes, axis: usize, at: &str) -> [String; 2] {
        let (window, stride) = (self.geometry.window[self.first + axis], self.geometry.strides[self.first + axis]);
        let origin = source.value("origin", format!("i32({at} * {stride}u) - i32({})", sizes.pad[axis]));
        let begin = source.value("begin", format!("max({origin}, 0)"));
        let end = source.value("end", format!("min({origin} + {window}, i32({}))", sizes.image[axis]));
        [begin, end]
    }

    /// The bounds of the window of a place of the grid.
    fn window(&self, source: &mut Source, sizes: &Sizes, at: &[String]) -> Vec<[String; 2]> {
        at.iter().enumerate().map(|(axis, at)| self.bounds(source, sizes, axis, at)).collect()
    }

    /// What the sum of a window is divided by.
    fn divisor(&self, bounds: &[[String; 2]]) -> String {
        if self.counts_padding {
            return format!("{}.0", self.geometry.window.iter().product::<usize>());
        }
        let counts: Vec<_> = bounds.iter().map(|[begin, end]| format!("max({end} - {begin}, 0)")).collect();
        format!("f32(max({}, 1))", counts.join(" * "))
    }

    /// Begins loops over the pixels within bounds; gives the index of the element's channel there.
    fn begin_window(source: &mut Source, sizes: &Sizes, element: &Element, bounds: &[[String; 2]]) -> String {
        let names: Vec<_> = bounds.iter().map(|_| source.name("p")).collect();
        for (name, [begin, end]) in names.iter().zip(bounds) {
            source.line(format!("for (var {name} = {begin}; {name} < {end}; {name}++) {{"));
        }
        let at: Vec<_> = names.iter().map(|name| format!("u32({name})")).collect();
        source.value("pixel", Self::index(element, &at, &sizes.image, &sizes.channels))
    }

    /// Begins loops over the windows that see a pixel, in order; gives the places in the grid.
    fn begin_windows(&self, source: &mut Source, sizes: &Sizes, element: &Element) -> Vec<String> {
        let mut names = Vec::new();
        let mut bounds = Vec::new();
        for (axis, at) in element.at.iter().enumerate() {
            let (window, stride) = (self.geometry.window[self.first + axis], self.geometry.strides[self.first + axis]);
            let place = source.value("place", format!("i32({at} + {})", sizes.pad[axis]));
            // The first window that ends beyond the place, the first that begins beyond it.
            let first = format!("u32(max(({place} - {window}) + {stride}, 0)) / {stride}u");
            let first = source.value("first", first);
            let end = format!("min((u32(max({place} + {stride}, 0)) / {stride}u), {})", sizes.grid[axis]);
            bounds.push((first, source.value("end", end)));
            names.push(source.name("o"));
        }
        for (name, (begin, end)) in names.iter().zip(&bounds) {
            source.line(format!("for (var {name} = {begin}; {name} < {end}; {name}++) {{"));
        }
        names
    }

    /// For each element of the image: what `add` adds to `sum` for each window that sees it, from the index in the grid
    /// and the place there.
    fn spread(
        &self,
        mut source: Source,
        add: impl Fn(&mut Source, &str, (&Sizes, &[String])) -> String,
        dtype: DType,
    ) -> Result<Launch, Refusal> {
        let to = source.write(Slot::Output(0), dtype)?;
        let geometry = &self.geometry;
        let count = geometry.batch * geometry.input.iter().product::<usize>() * geometry.channels;
        let (index, groups) = source.for_each(count)?;
        let sizes = self.sizes(&mut source);
        let element = Self::element(&mut source, &index, &sizes.image, &sizes.channels);
        source.line("var sum = 0.0;");
        let at = self.begin_windows(&mut source, &sizes, &element);
        let window = source.value("window", Self::index(&element, &at, &sizes.grid, &sizes.channels));
        let line = add(&mut source, &window, (&sizes, &at));
        source.line(line);
        self.end_loops(&mut source);
        source.line(to.store(&index, "sum"));
        Ok(source.launch(groups))
    }

    fn end_loops(&self, source: &mut Source) {
        (self.first..3).for_each(|_| source.line("}"));
    }

    /// Begins a body that runs for each of `count` elements of the grid, and adds what finds the first of the greatest in
    /// its window: `best`, and where it lies, `place`, which is `NOWHERE` if the window sees nothing.
    fn search(
        &self,
        source: &mut Source,
        x: &Binding,
        count: usize,
        dtype: DType,
    ) -> Result<(String, [u32; 3]), Refusal> {
        let (index, groups) = source.for_each(count)?;
        let sizes = self.sizes(source);
        let element = Pooling::element(source, &index, &sizes.grid, &sizes.channels);
        source.declare("const NOWHERE = 0xffffffffu;");
        source.declare(exceeds(dtype));
        source.line(format!("var best = {}();", compute_type(dtype)?));
        source.line("var place = NOWHERE;");
        let bounds = self.window(source, &sizes, &element.at);
        let pixel = Self::begin_window(source, &sizes, &element, &bounds);
        let value = source.value("value", x.load(&pixel));
        source.line(format!("if ((place == NOWHERE) || exceeds({value}, best)) {{"));
        source.line(format!("best = {value};"));
        source.line(format!("place = {pixel};"));
        source.line("}");
        self.end_loops(source);
        Ok((index, groups))
    }
}

/// Whether an element takes the place of an earlier maximum: if it is greater, or the first NaN.
fn exceeds(dtype: DType) -> &'static str {
    match dtype {
        DType::I64 => {
            "fn exceeds(x: vec2<u32>, best: vec2<u32>) -> bool {
    return (bitcast<i32>(x.y) > bitcast<i32>(best.y)) || ((x.y == best.y) && (x.x > best.x));
}"
        }
        DType::U64 => {
            "fn exceeds(x: vec2<u32>, best: vec2<u32>) -> bool {
    return (x.y > best.y) || ((x.y == best.y) && (x.x > best.x));
}"
        }
        dtype if dtype.is_float() => {
            "fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }
fn exceeds(x: f32, best: f32) -> bool {
    if (is_nan(best)) { return false; }
    return is_nan(x) || (x > best);
}"
        }
        dtype if dtype.is_signed() => "fn exceeds(x: i32, best: i32) -> bool { return x > best; }",
        _ => "fn exceeds(x: u32, best: u32) -> bool { return x > best; }",
    }
}

/// The least number, which is the maximum of nothing.
fn least(dtype: DType) -> &'static str {
    match dtype {
        DType::I8 => "-128i",
        DType::I16 => "-32768i",
        DType::I32 => "i32(-2147483647 - 1)",
        DType::I64 => "vec2<u32>(0u, 0x80000000u)",
        DType::U64 => "vec2<u32>()",
        dtype if dtype.is_float() => "bitcast<f32>(infinity)",
        _ => "0u",
    }
}

fn max_pool(request: &Request) -> Result<Recipe, Refusal> {
    let (x, y) = (request.input(0)?, request.output(0)?);
    let pooling = Pooling::new(request, x, y)?;
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let (from, to) = (source.read(Slot::Input(0), x.dtype)?, source.write(Slot::Output(0), x.dtype)?);
    let (index, groups) = pooling.search(&mut source, &from, y.elements(), x.dtype)?;
    if x.dtype.is_float() {
        source.line("let infinity = 0xff800000u;");
    }
    source.line(to.store(&index, &format!("select(best, {}, place == NOWHERE)", least(x.dtype))));
    Ok(Recipe::of(source.launch(groups)))
}

fn max_pool_gather(request: &Request) -> Result<Recipe, Refusal> {
    let (x, u) = (request.input(0)?, request.output(0)?);
    let pooling = Pooling::new(request, x, u)?;
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let (x_binding, y) = (source.read(Slot::Input(0), x.dtype)?, source.read(Slot::Input(1), x.dtype)?);
    let to = source.write(Slot::Output(0), x.dtype)?;
    let (index, groups) = pooling.search(&mut source, &x_binding, u.elements(), x.dtype)?;
    source.line("var result = 0.0;");
    source.line(format!("if (place != NOWHERE) {{ result = {}; }}", y.load("place")));
    source.line(to.store(&index, "result"));
    Ok(Recipe::of(source.launch(groups)))
}

/// Finds the places of the maxima first; then each pixel adds the cotangents of the windows whose maximum it is.
fn max_pool_scatter(request: &Request) -> Result<Recipe, Refusal> {
    let (x, cotangent) = (request.input(0)?, request.input(1)?);
    let pooling = Pooling::new(request, x, cotangent)?;
    let mut recipe = Recipe::default();
    let places = recipe.work(4 * cotangent.elements() as u64);

    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let (from, to) = (source.read(Slot::Input(0), x.dtype)?, source.write(places, DType::U32)?);
    let (index, groups) = pooling.search(&mut source, &from, cotangent.elements(), x.dtype)?;
    source.line(to.store(&index, "place"));
    recipe.launches.push(source.launch(groups));

    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let (places, from) = (source.read(places, DType::U32)?, source.read(Slot::Input(1), x.dtype)?);
    recipe.launches.push(pooling.spread(
        source,
        |_, window, _| format!("if ({} == i) {{ sum += {}; }}", places.load(window), from.load(window)),
        x.dtype,
    )?);
    Ok(recipe)
}

fn avg_pool(request: &Request) -> Result<Recipe, Refusal> {
    let (x, y) = (request.input(0)?, request.output(0)?);
    let pooling = Pooling::new(request, x, y)?;
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let (from, to) = (source.read(Slot::Input(0), x.dtype)?, source.write(Slot::Output(0), x.dtype)?);
    let (index, groups) = source.for_each(y.elements())?;
    let sizes = pooling.sizes(&mut source);
    let element = Pooling::element(&mut source, &index, &sizes.grid, &sizes.channels);
    source.line("var sum = 0.0;");
    let bounds = pooling.window(&mut source, &sizes, &element.at);
    let pixel = Pooling::begin_window(&mut source, &sizes, &element, &bounds);
    source.line(format!("sum += {};", from.load(&pixel)));
    pooling.end_loops(&mut source);
    source.line(to.store(&index, &format!("sum / {}", pooling.divisor(&bounds))));
    Ok(Recipe::of(source.launch(groups)))
}

fn avg_pool_grad(request: &Request) -> Result<Recipe, Refusal> {
    let (cotangent, x) = (request.input(0)?, request.output(0)?);
    let pooling = Pooling::new(request, x, cotangent)?;
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let from = source.read(Slot::Input(0), x.dtype)?;
    let launch = pooling.spread(
        source,
        |source, window, (sizes, at)| {
            let bounds = pooling.window(source, sizes, at);
            format!("sum += {} / {};", from.load(window), pooling.divisor(&bounds))
        },
        x.dtype,
    )?;
    Ok(Recipe::of(launch))
}

#[cfg(all(test, feature = "gpu"))]
mod tests {
    use crate::dtype::DType;
    use crate::gpu::testing::{Draw, check, check_samples};
    use crate::tensor::Tensor;

    #[test]
    fn every_sample() {
        check_samples(&["max_pool", "max_pool_gather", "max_pool_scatter", "avg_pool", "avg_pool_grad"], 4.0, true);
    }

    /// Few different numbers, so that there are ties, with NaN and infinities.
    fn numbers(draw: &mut Draw, sizes: &[usize]) -> Tensor {
        let number = |draw: &mut Draw| match (draw.next() * 20.0) as u32 {
            0 => f32::NAN,
            1..4 => f32::NEG_INFINITY,
            4 => f32::INFINITY,
            other => (other % 4) as f32 - 1.5,
        };
        let bytes: Vec<u8> = (0..sizes.iter().product()).flat_map(|_: usize| number(draw).to_le_bytes()).collect();
        Tensor::from_bytes(DType::F32, sizes, &bytes, None).unwrap()
    }

    #[test]
    fn maxima_of_ties_and_windows_that_overlap() {
        let mut draw = Draw::new(2);
        let table: [(&[usize], &[usize], &str); 6] = [
            (&[2, 9, 8, 3], &[2, 4, 4, 3], r#"{"window": [3, 2], "strides": [2, 2]}"#),
            (&[2, 9, 8, 3], &[2, 9, 8, 3], r#"{"window": [3, 4], "strides": [1], "padding": "same"}"#),
            (&[1, 11, 2], &[1, 3, 2], r#"{"window": [2], "strides": [4]}"#),
            (&[1, 7, 2], &[1, 5, 2], r#"{"window": [4], "strides": [2], "padding_low": [3], "padding_high": [2]}"#),
            (&[2, 4, 5, 6, 2], &[2, 2, 2, 3, 2], r#"{"window": [2, 3, 2], "strides": [2, 2, 2]}"#),
            (&[0, 4, 2], &[0, 2, 2], r#"{"window": [2]}"#),
        ];
        for (image, pooled, attrs) in table {
            let x = Some(numbers(&mut draw, image));
            check("max_pool", attrs, std::slice::from_ref(&x), 0.0, false);
            let y = Some(draw.tensor(DType::F32, image, (-1.0, 1.0)));
            check("max_pool_gather", attrs, &[x.clone(), y.clone()], 0.0, false);
            let cotangent = Some(draw.tensor(DType::F32, pooled, (-1.0, 1.0)));
            check("max_pool_scatter", attrs, &[x, cotangent.clone()], 4.0, true);
            check("avg_pool", attrs, &[y], 4.0, true);
            let with_shape = format!("{{\"shape\": {image:?}, {}", &attrs[1..]);
            check("avg_pool_grad", &with_shape, &[cotangent], 4.0, true);
        }
    }

    #[test]
    fn wide_integers_are_compared_whole() {
        let numbers = [-1i64, i64::MIN, i64::MAX, 1 << 32, (1 << 32) + 1, -(1 << 33), 5, 0];
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        for dtype in [DType::I64, DType::U64] {
            let x = Tensor::from_bytes(dtype, &[1, 8, 1], &bytes, None).unwrap();
            check("max_pool", r#"{"window": [2], "strides": [1]}"#, &[Some(x)], 0.0, false);
        }
    }
}
