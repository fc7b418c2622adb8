//! Convolutions and their gradients: sums of products whose operands find their elements in images.

use super::gemm::Product;
use super::operand::{Along, Matrix, Operand, Place, Reader, Valid};
use crate::cpu::call::Layout;
use crate::cpu::conv::ConvGeometry;
use crate::dtype::DType;
use crate::gpu::kernel::{Printer, Recipe, Refusal, Request, Slot};
use crate::gpu::wgsl::Source;
use crate::ops::conv::{Role, geometry_for};

pub const PRINTERS: &[(&str, Printer)] =
    &[("conv", conv), ("conv_input_grad", conv_input_grad), ("conv_kernel_grad", conv_kernel_grad)];

/// The greatest size of an axis: with it, positions stay within 31 bits.
const LONGEST: usize = 1 << 30;

/// A convolution of certain sizes.
struct Convolution {
    geometry: ConvGeometry,
    dtype: DType,
    /// The first of the geometry's axes that is one; those before fill it up.
    first: usize,
}

impl Convolution {
    fn new(request: &Request, role: Role) -> Result<Convolution, Refusal> {
        let (a, b, output) = (request.input(0)?, request.input(1)?, request.output(0)?);
        let geometry = geometry_for(request.attrs, role, &a.sizes, &b.sizes, &output.sizes);
        let geometry = geometry.ok_or_else(|| Refusal("the sizes do not fit".into()))?;
        if geometry.input.iter().chain(&geometry.output).any(|&size| size > LONGEST) {
            return Err(Refusal(format!("an axis has more than {LONGEST} elements")));
        }
        Ok(Convolution { geometry, dtype: output.dtype, first: 5 - output.sizes.len() })
    }

    fn taps(&self) -> usize {
        self.geometry.kernel.iter().product()
    }

    /// Channels of a group: of the image, of the convolved image.
    fn group(&self) -> [usize; 2] {
        let geometry = &self.geometry;
        [geometry.in_channels / geometry.groups, geometry.out_channels / geometry.groups]
    }

    /// Where the parts of groups begin that are so many channels apart.
    fn groups(&self, channels: usize) -> Layout {
        let (sizes, strides) = ([self.geometry.groups][..].into(), [channels as isize][..].into());
        Layout { dtype: self.dtype, sizes, strides, offset: 0 }
    }

    fn recipe(&self, request: &Request, product: &Product) -> Result<Recipe, Refusal> {
        let mut recipe = Recipe::default();
        product.print(request, &mut recipe)?;
        Ok(recipe)
    }

    /// The image or the convolved image, as the pixels of the other one see it through the taps of the outer loop; the
    /// inner loop counts its channels.
    fn seen(&self, slot: usize, is_transposed: bool) -> Seen {
        let (geometry, [inputs, outputs]) = (self.geometry, self.group());
        let (grid, image, channels, inner) = match is_transposed {
            false => (geometry.output, geometry.input, geometry.in_channels, inputs),
            true => (geometry.input, geometry.output, geometry.out_channels, outputs),
        };
        Seen { slot: Slot::Input(slot), geometry, first: self.first, is_transposed, grid, image, channels, inner }
    }
}

/// Pixels of y are rows, channels columns; the sum is over taps and the channels of x.
fn conv(request: &Request) -> Result<Recipe, Refusal> {
    let convolution = Convolution::new(request, Role::Convolved)?;
    let (geometry, [inputs, outputs]) = (convolution.geometry, convolution.group());
    let all = geometry.out_channels;
    let kernel = Matrix {
        slot: Slot::Input(1),
        batch: convolution.groups(outputs),
        free: (outputs, 1),
        inner: (inputs, all as isize),
        outer: Some((inputs * all) as isize),
    };
    let product = Product {
        dtype: convolution.dtype,
        batch: geometry.groups,
        sizes: [geometry.batch * geometry.output.iter().product::<usize>(), outputs],
        outer: Some(convolution.taps()),
        inner: inputs,
        operands: [&convolution.seen(0, false), &kernel],
        strides: [outputs, all],
    };
    convolution.recipe(request, &product)
}

/// Pixels of x are rows, channels columns; the sum is over taps and the channels of y.
fn conv_input_grad(request: &Request) -> Result<Recipe, Refusal> {
    let convolution = Convolution::new(request, Role::Image)?;
    let (geometry, [inputs, outputs]) = (convolution.geometry, convolution.group());
    let all = geometry.out_channels;
    let kernel = Matrix {
        slot: Slot::Input(1),
        batch: convolution.groups(outputs),
        free: (inputs, all as isize),
        inner: (outputs, 1),
        outer: Some((inputs * all) as isize),
    };
    let product = Product {
        dtype: convolution.dtype,
        batch: geometry.groups,
        sizes: [geometry.batch * geometry.input.iter().product::<usize>(), inputs],
        outer: Some(convolution.taps()),
        inner: outputs,
        operands: [&convolution.seen(0, true), &kernel],
        strides: [inputs, geometry.in_channels],
    };
    convolution.recipe(request, &product)
}

/// Taps and channels of x are rows, channels of y columns; the sum is over the lines of y and their pixels.
fn conv_kernel_grad(request: &Request) -> Result<Recipe, Refusal> {
    let convolution = Convolution::new(request, Role::Kernel)?;
    let (geometry, [inputs, outputs]) = (convolution.geometry, convolution.group());
    let (all, [depth, height, width]) = (geometry.out_channels, geometry.output);
    let y = Matrix {
        slot: Slot::Input(1),
        batch: convolution.groups(outputs),
        free: (outputs, 1),
        inner: (width, all as isize),
        outer: Some((width * all) as isize),
    };
    let product = Product {
        dtype: convolution.dtype,
        batch: geometry.groups,
        sizes: [convolution.taps() * inputs, outputs],
        outer: Some(geometry.batch * depth * height),
        inner: width,
        operands: [&Lines { geometry, first: convolution.first, inputs }, &y],
        strides: [outputs, all],
    };
    convolution.recipe(request, &product)
}

/// An image that the pixels of a grid see through taps.
struct Seen {
    slot: Slot,
    geometry: ConvGeometry,
    first: usize,
    is_transposed: bool,
    grid: [usize; 3],
    image: [usize; 3],
    /// Of the image, and of one group.
    channels: usize,
    inner: usize,
}

/// The sizes of three axes as params; of those that fill up, nothing.
fn sizes(source: &mut Source, first: usize, values: [usize; 3]) -> [String; 3] {
    std::array::from_fn(|axis| if axis < first { String::new() } else { source.size(values[axis] as i64) })
}

/// Cuts an index into coordinates, the last axis' first; adds the rest, and gives their names after it. `limits` are
/// the expressions of sizes.
fn cut(
    source: &mut Source,
    index: &str,
    axes: std::ops::Range<usize>,
    limits: &[String; 3],
    name: &str,
) -> Vec<String> {
    let mut names = vec![String::new(); axes.len()];
    let mut rest = index.to_string();
    for axis in axes.clone().rev() {
        names[axis - axes.start] = source.value(name, format!("{rest} % {}", limits[axis]));
        rest = source.value("rest", format!("{rest} / {}", limits[axis]));
    }
    names.insert(0, rest);
    names
}

/// An index of a pixel from its coordinates; the first is the image's or plane's.
fn join(first: &str, positions: &[String], limits: &[String]) -> String {
    let pixels = positions.iter().zip(limits);
    pixels.fold(first.to_string(), |pixel, (position, limit)| format!("((({pixel}) * {limit}) + {position})"))
}

fn literals(values: [usize; 3]) -> [String; 3] {
    values.map(|value| format!("{value}u"))
}

/// A factor that is 1 is left out.
fn times(value: &str, factor: usize) -> String {
    if factor == 1 { value.into() } else { format!("({value} * {factor}u)") }
}

impl Operand for Seen {
    fn slot(&self) -> Slot {
        self.slot
    }

    fn quads(&self) -> Option<Along> {
        (self.inner.is_multiple_of(4) && self.channels.is_multiple_of(4)).then_some(Along::Sum)
    }

    fn reader(&self, source: &mut Source, has_batch: bool) -> Box<dyn Reader> {
        let channel = has_batch.then(|| format!("(batch * {})", source.size(self.inner as i64)));
        let pad = std::array::from_fn(|axis| match axis < self.first {
            true => String::new(),
            false => source.size(self.geometry.pad_low[axis] as i64),
        });
        Box::new(SeenReader {
            geometry: self.geometry,
            first: self.first,
            is_transposed: self.is_transposed,
            grid: sizes(source, self.first, self.grid),
            image: sizes(source, self.first, self.image),
            pad,
            channels: source.size(self.channels as i64),
            channel,
        })
    }
}

struct SeenReader {
    geometry: ConvGeometry,
    first: usize,
    is_transposed: bool,
    grid: [String; 3],
    image: [String; 3],
    pad: [String; 3],
    channels: String,
    /// The first channel of the group.
    channel: Option<String>,
}

impl Reader for SeenReader {
    /// The image, and where its window begins along each axis.
    fn find(&self, source: &mut Source, index: &str) -> Vec<String> {
        let mut names = cut(source, index, self.first..3, &self.grid, "pixel");
        for (name, axis) in names[1..].iter_mut().zip(self.first..) {
            let (pad, stride) = (&self.pad[axis], self.geometry.strides[axis]);
            *name = match self.is_transposed {
                false => source.value("origin", format!("{} - {pad}", times(name, stride))),
                true => source.value("origin", format!("{name} + {pad}")),
            };
        }
        names
    }

    fn places(&self, source: &mut Source, found: &[Vec<String>]) -> Vec<Place> {
        let taps = cut(source, "outer", self.first..3, &literals(self.geometry.kernel), "tap");
        let mut place = |found: &Vec<String>| {
            let (mut positions, mut conditions) = (Vec::new(), Vec::new());
            for ((axis, origin), tap) in (self.first..3).zip(&found[1..]).zip(&taps[1..]) {
                let (tap, limit) = (times(tap, self.geometry.dilation[axis]), &self.image[axis]);
                let stride = self.geometry.strides[axis];
                let sign = if self.is_transposed { "-" } else { "+" };
                let mut position = source.value("position", format!("{origin} {sign} {tap}"));
                if self.is_transposed && stride > 1 {
                    conditions.push(format!("(({position} % {stride}u) == 0u)"));
                    position = source.value("position", format!("{position} / {stride}u"));
                }
                conditions.push(format!("({position} < {limit})"));
                positions.push(position);
            }
            let pixel = join(&found[0], &positions, &self.image[self.first..]);
            let channel = self.channel.iter().fold(String::new(), |_, channel| format!(" + {channel}"));
            let offset = source.value("at", format!("({pixel} * {}){channel}", self.channels));
            let valid = Valid::If(source.value("valid", conditions.join(" & ")));
            Place { offset, step: None, valid }
        };
        found.iter().map(&mut place).collect()
    }
}

/// The image of a kernel's gradient: its rows are taps and channels, lines of the convolved image are the outer loop.
struct Lines {
    geometry: ConvGeometry,
    first: usize,
    /// Channels of a group.
    inputs: usize,
}

impl Operand for Lines {
    fn slot(&self) -> Slot {
        Slot::Input(0)
    }

    fn quads(&self) -> Option<Along> {
        self.inputs.is_multiple_of(4).then_some(Along::Free)
    }

    fn reader(&self, source: &mut Source, has_batch: bool) -> Box<dyn Reader> {
        let inputs = source.size(self.inputs as i64);
        let pad = std::array::from_fn(|axis| match axis < self.first {
            true => String::new(),
            false => source.size(self.geometry.pad_low[axis] as i64),
        });
        Box::new(LinesReader {
            geometry: self.geometry,
            first: self.first,
            grid: sizes(source, self.first, self.geometry.output),
            image: sizes(source, self.first, self.geometry.input),
            pad,
            channels: source.size(self.geometry.in_channels as i64),
            channel: has_batch.then(|| format!("(batch * {inputs})")),
            inputs,
        })
    }
}

struct LinesReader {
    geometry: ConvGeometry,
    first: usize,
    grid: [String; 3],
    image: [String; 3],
    pad: [String; 3],
    channels: String,
    channel: Option<String>,
    inputs: String,
}

impl Reader for LinesReader {
    /// The channel, and how far the tap lies from a window's origin along each axis.
    fn find(&self, source: &mut Source, index: &str) -> Vec<String> {
        let channel = self.channel.iter().fold(String::new(), |_, channel| format!(" + {channel}"));
        let channel = source.value("channel", format!("({index} % {}){channel}", self.inputs));
        let tap = source.value("tap", format!("{index} / {}", self.inputs));
        let mut names = cut(source, &tap, self.first..3, &literals(self.geometry.kernel), "tap");
        for (name, axis) in names[1..].iter_mut().zip(self.first..) {
            let tap = times(name, self.geometry.dilation[axis]);
            *name = source.value("shift", format!("{tap} - {}", self.pad[axis]));
        }
        names[0] = channel;
        names
    }

    fn places(&self, source: &mut Source, found: &[Vec<String>]) -> Vec<Place> {
        let lines = cut(source, "outer", self.first..2, &self.grid, "line");
        let (limit, stride) = (&self.image[2], self.geometry.strides[2]);
        let step = source.value("step", times(&self.channels, stride));
        let mut place = |found: &Vec<String>| {
            let (mut positions, mut conditions) = (Vec::new(), Vec::new());
            for ((axis, line), shift) in (self.first..2).zip(&lines[1..]).zip(&found[1..]) {
                let line = times(line, self.geometry.strides[axis]);
                let position = source.value("position", format!("{line} + {shift}"));
                conditions.push(format!("({position} < {})", self.image[axis]));
                positions.push(position);
            }
            let shift = &found[found.len() - 1];
            positions.push(shift.clone());
            let pixel = join(&lines[0], &positions, &self.image[self.first..]);
            let offset = source.value("at", format!("({pixel} * {}) + {}", self.channels, found[0]));
            let start = match conditions.is_empty() {
                true => shift.clone(),
                // No pixel lies there.
                false => source.value("start", format!("select(0x80000000u, {shift}, {})", conditions.join(" & "))),
            };
            Place {
                offset,
                step: Some(step.clone()),
                valid: Valid::Below { step: format!("{stride}u"), start, limit: limit.clone() },
            }
        };
        found.iter().map(&mut place).collect()
    }
}

#[cfg(all(test, feature = "gpu"))]
mod tests {
    use crate::dtype::DType;
    use crate::gpu::testing::{Draw, check_as_any, check_samples, op};

    #[test]
    fn every_sample() {
        check_samples(&["conv", "conv_input_grad", "conv_kernel_grad"], 8.0, true);
    }

    /// Compares a convolution of random numbers and both of its gradients with the CPU's.
    fn check_all(x: &[usize], kernel: &[usize], attrs: &str, dtype: DType) {
        let mut draw = Draw::new(11);
        // Sums of small whole numbers are exact in any order.
        let mut tensor = |sizes: &[usize]| Some(draw.whole(dtype, sizes));
        let inputs = [tensor(x), tensor(kernel)];
        let output = crate::cpu::single::compute(&op("conv", attrs), &inputs).unwrap();
        let cotangent = tensor(output[0].sizes());
        let with_shape = |shape: &[usize]| {
            let attrs = attrs.strip_prefix('{').unwrap();
            let separator = if attrs == "}" { "" } else { ", " };
            format!("{{\"shape\": {shape:?}{separator}{attrs}")
        };
        check_as_any("conv", attrs, &inputs, 0.0);
        let [image, kernel_tensor] = inputs;
        check_as_any("conv_input_grad", &with_shape(x), &[cotangent.clone(), kernel_tensor], 0.0);
        check_as_any("conv_kernel_grad", &with_shape(kernel), &[image, cotangent], 0.0);
    }

    #[test]
    fn images_of_every_rank_and_their_edges() {
        let table: [(&[usize], &[usize], &str); 13] = [
            (&[3, 9, 8, 4], &[3, 3, 4, 8], "{}"),
            (&[2, 12, 12, 16], &[3, 3, 16, 32], r#"{"padding": "same"}"#),
            (&[2, 9, 11, 3], &[3, 2, 3, 5], r#"{"padding": "same", "strides": [2, 3]}"#),
            // Steps over pixels that no window sees.
            (&[1, 11, 3, 4], &[2, 1, 4, 4], r#"{"strides": [4, 2]}"#),
            (&[2, 13, 4], &[3, 4, 8], r#"{"dilation": [4], "padding": "same"}"#),
            // More padding than image.
            (&[2, 3, 4, 2], &[3, 3, 2, 3], r#"{"padding_low": [7, 5], "padding_high": [4, 9], "strides": [2, 1]}"#),
            (&[2, 4, 5, 6, 4], &[2, 3, 2, 4, 4], r#"{"strides": [1, 2, 2], "padding": "same"}"#),
            (&[2, 6, 6, 8], &[3, 3, 4, 12], r#"{"groups": 2, "padding": "same", "strides": [2, 1]}"#),
            (&[2, 6, 6, 6], &[3, 3, 1, 6], r#"{"groups": 6, "padding": "same"}"#),
            (&[2, 6, 3], &[1, 3, 7], "{}"),
            (&[2, 1, 1, 8], &[1, 1, 8, 0], "{}"),
            (&[2, 5, 5, 0], &[3, 3, 0, 4], "{}"),
            (&[2, 0, 4], &[3, 4, 4], r#"{"padding": "same"}"#),
        ];
        for (x, kernel, attrs) in table {
            check_all(x, kernel, attrs, DType::F32);
        }
        check_all(&[2, 4, 4, 4], &[2, 2, 4, 8], "{}", DType::BF16);
    }

    #[test]
    fn long_sums_are_cut() {
        check_all(&[40, 30, 30, 1], &[3, 3, 1, 4], "{}", DType::F32);
        check_all(&[1, 20_010, 1], &[20_001, 1, 1], "{}", DType::F32);
        check_all(&[1, 2, 70_001], &[2, 70_001, 1], "{}", DType::F32);
    }
}
