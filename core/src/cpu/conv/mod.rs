//! Convolutions of channels-last images with one to three spatial axes, and their two gradients: matrix products whose
//! packing reads the image, so nothing is unrolled in memory. With one input channel to a group (depthwise) they are
//! loops of their own.

mod axis;
mod depthwise;
mod images;

pub use axis::{Axis, lines_of_task, place};

use super::gemm::{
    Finish, Float, Product, Shared, Source, Storage, Strided, Target, accumulator_workspace, finish_all,
    product_workspace, take, take_workspace, with_accumulator,
};
use super::simd::simd;
use super::work::{Stop, Work};
use images::{Columns, FlippedKernel, Rows, Window};

/// Sizes of a convolution. Fewer than three spatial axes are preceded by axes of size 1 (stride 1, padding 0, dilation 1).
///
/// The image x is [batch, input.., in_channels], the kernel [kernel.., in_channels / groups, out_channels], the result y
/// [batch, output.., out_channels], with
/// `y[b, o, c] = sum over t, i of x[b, o * strides + t * dilation - pad_low, i] * kernel[t, i, c]`, where x is 0 outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvGeometry {
    pub batch: usize,
    pub input: [usize; 3],
    pub output: [usize; 3],
    pub kernel: [usize; 3],
    /// At least 1.
    pub strides: [usize; 3],
    /// Zeros before each axis; negative: elements left out.
    pub pad_low: [isize; 3],
    /// Distance between the kernel's taps in the image; at least 1.
    pub dilation: [usize; 3],
    /// At least 1; divides both numbers of channels.
    pub groups: usize,
    pub in_channels: usize,
    pub out_channels: usize,
}

/// The product, or the largest number: sizes that overflow belong to tensors that cannot exist.
fn product(sizes: &[usize]) -> usize {
    sizes.iter().fold(1, |total, size| total.saturating_mul(*size))
}

impl ConvGeometry {
    fn taps(&self) -> usize {
        product(&self.kernel)
    }

    fn group_inputs(&self) -> usize {
        self.in_channels / self.groups
    }

    fn group_outputs(&self) -> usize {
        self.out_channels / self.groups
    }

    fn input_len(&self) -> usize {
        product(&[self.batch, product(&self.input), self.in_channels])
    }

    fn output_len(&self) -> usize {
        product(&[self.batch, product(&self.output), self.out_channels])
    }

    fn kernel_len(&self) -> usize {
        product(&[self.taps(), self.group_inputs(), self.out_channels])
    }

    /// Pixels of y, of all images.
    fn pixels(&self) -> usize {
        product(&[self.batch, product(&self.output)])
    }

    fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.in_channels == self.groups
    }

    fn axes(&self) -> [Axis; 3] {
        Axis::all(self.input, self.output, self.kernel, self.strides, self.pad_low, self.dilation)
    }

    /// How the pixels of y see x.
    fn window(&self) -> Window {
        Window {
            image: self.input,
            grid: self.output,
            stride: self.strides.map(|stride| stride as isize),
            pad: self.pad_low,
            dilation: self.dilation.map(|dilation| dilation as isize),
            taps: self.kernel,
        }
    }

    fn check(&self, x: usize, kernel: usize, y: usize) {
        assert_eq!((x, kernel, y), (self.input_len(), self.kernel_len(), self.output_len()), "sizes of a convolution");
    }
}

/// The product of pixels and a kernel; with one channel the transposed one, which has whole vectors of pixels.
///
/// # Safety
/// That of [`Product::new`].
unsafe fn multiply<'a, T: Float>(
    groups: usize,
    pixels: usize,
    channels: usize,
    k: usize,
    image: &'a dyn Source<T>,
    kernel: &'a dyn Source<T>,
    target: Target<T>,
) -> Product<'a, T> {
    // SAFETY: the caller's.
    unsafe {
        if groups == 1 && channels == 1 {
            let target = Target { row: pixels, ..target };
            return Product::new(1, 1, pixels, k, kernel, image, target);
        }
        Product::new(groups, pixels, channels, k, image, kernel, target)
    }
}

/// Bytes of workspace that [`multiply`] needs.
fn multiply_workspace<T: Float>(groups: usize, pixels: usize, channels: usize, k: usize) -> u64 {
    if groups == 1 && channels == 1 {
        return product_workspace::<T>(1, 1, pixels, k);
    }
    product_workspace::<T>(groups, pixels, channels, k)
}

/// Bytes of workspace that [`conv`] needs.
pub fn conv_workspace<S: Storage>(geometry: &ConvGeometry) -> u64 {
    let sums = accumulator_workspace::<S>(geometry.output_len() as u64);
    if geometry.is_depthwise() {
        return sums;
    }
    let (m, n, k) = (geometry.pixels(), geometry.group_outputs(), product(&[geometry.taps(), geometry.group_inputs()]));
    sums.saturating_add(multiply_workspace::<S::Compute>(geometry.groups, m, n, k))
}

/// y from x and the kernel; `finish` sees each element of it when it is final.
///
/// # Errors
/// What stopped the work; [`Stop::OutOfMemory`] if the workspace is smaller than [`conv_workspace`] says.
///
/// # Panics
/// If a slice has not the geometry's size.
pub fn conv<S: Storage>(
    work: &mut Work,
    geometry: &ConvGeometry,
    x: &[S],
    kernel: &[S],
    y: &mut [S],
    workspace: &mut [u8],
    finish: Option<Finish>,
) -> Result<(), Stop> {
    geometry.check(x.len(), kernel.len(), y.len());
    let (early, late) = if S::PLAIN && !geometry.is_depthwise() { (finish, None) } else { (None, finish) };
    with_accumulator(work, y, workspace, |work, y, workspace| {
        if geometry.is_depthwise() {
            return depthwise::conv(work, geometry, x, kernel, y);
        }
        let (n, outputs) = (geometry.group_outputs(), geometry.out_channels);
        let image = Rows::new(x, geometry.window(), geometry.in_channels, geometry.group_inputs());
        let (shape, batch) = ([geometry.groups], [n as isize]);
        let (first, depth) = (kernel.as_ptr(), outputs as isize);
        let kernel = Strided { first, lane: 1, depth, shape: &shape, batch: &batch };
        let target = Target { first: y.as_mut_ptr(), row: outputs, batch: n };
        let k = geometry.taps() * geometry.group_inputs();
        // SAFETY: the slices have the geometry's sizes.
        let product = unsafe { multiply(geometry.groups, geometry.pixels(), n, k, &image, &kernel, target) };
        product.then(early).run(work, workspace)
    })?;
    finish_all(work, late, y)
}

/// Pixels of x along one axis that the same taps reach: those at `first + stride * q`.
#[derive(Debug, Clone, Copy, Default)]
struct Residue {
    first: usize,
    /// How many there are.
    count: usize,
    /// The taps are `tap + tap_step * j` for j below `taps`.
    tap: usize,
    tap_step: usize,
    taps: usize,
    /// The pixel with q sees, through the last of them, the pixel `q - pad` of y; each tap before, `dilation` more.
    pad: isize,
    dilation: usize,
}

impl Residue {
    fn new(geometry: &ConvGeometry, axis: usize, first: usize) -> Residue {
        let (stride, dilation) = (geometry.strides[axis], geometry.dilation[axis]);
        let kernel = geometry.kernel[axis];
        let shifted = first as isize + geometry.pad_low[axis];
        let reaches = |tap: usize| (shifted - (tap * dilation) as isize) % stride as isize == 0;
        let tap_step = stride / greatest_divisor(stride, dilation);
        let tap = (0..kernel.min(tap_step)).find(|tap| reaches(*tap));
        let count = geometry.input[axis].saturating_sub(first).div_ceil(stride);
        let Some(tap) = tap else {
            return Residue { first, count, tap_step, dilation: 1, ..Residue::default() };
        };
        let taps = (kernel - tap).div_ceil(tap_step);
        let base = (shifted - (tap * dilation) as isize) / stride as isize;
        let apart = dilation * tap_step / stride;
        let pad = (apart * (taps - 1)) as isize - base;
        Residue { first, count, tap, tap_step, taps, pad, dilation: apart }
    }
}

fn greatest_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}

/// The combinations of residues along the three axes that hold pixels.
fn residues(geometry: &ConvGeometry) -> impl Iterator<Item = [Residue; 3]> {
    let sizes: [usize; 3] = std::array::from_fn(|axis| geometry.strides[axis].min(geometry.input[axis]));
    (0..product(&sizes)).map(move |index| {
        let firsts = [index / sizes[2] / sizes[1], index / sizes[2] % sizes[1], index % sizes[2]];
        std::array::from_fn(|axis| Residue::new(geometry, axis, firsts[axis]))
    })
}

/// Whether dx is the target of one product, not put together from several.
fn is_direct(geometry: &ConvGeometry) -> bool {
    geometry.strides == [1, 1, 1]
}

/// Bytes of workspace that [`conv_input_gradient`] needs.
pub fn conv_input_gradient_workspace<S: Storage>(geometry: &ConvGeometry) -> u64 {
    let sums = accumulator_workspace::<S>(geometry.input_len() as u64);
    if geometry.is_depthwise() {
        return sums;
    }
    let one = |residue: [Residue; 3]| {
        let pixels = product(&[geometry.batch, product(&residue.map(|axis| axis.count))]);
        let k = product(&[product(&residue.map(|axis| axis.taps)), geometry.group_outputs()]);
        let packed = multiply_workspace::<S::Compute>(geometry.groups, pixels, geometry.group_inputs(), k);
        let part = if is_direct(geometry) { 0 } else { (pixels as u64).saturating_mul(geometry.in_channels as u64) };
        packed.saturating_add(take_workspace::<S::Compute>(part))
    };
    sums.saturating_add(residues(geometry).map(one).max().unwrap_or(0))
}

/// dx, the gradient with respect to x, from dy (that with respect to y) and the kernel; `finish` sees each element of it
/// when it is final.
///
/// # Errors
/// What stopped the work; [`Stop::OutOfMemory`] if the workspace is smaller than [`conv_input_gradient_workspace`]
/// says.
///
/// # Panics
/// If a slice has not the geometry's size.
pub fn conv_input_gradient<S: Storage>(
    work: &mut Work,
    geometry: &ConvGeometry,
    dy: &[S],
    kernel: &[S],
    dx: &mut [S],
    workspace: &mut [u8],
    finish: Option<Finish>,
) -> Result<(), Stop> {
    geometry.check(dx.len(), kernel.len(), dy.len());
    let is_early = S::PLAIN && !geometry.is_depthwise() && is_direct(geometry);
    let (early, late) = if is_early { (finish, None) } else { (None, finish) };
    with_accumulator(work, dx, workspace, |work, dx, workspace| {
        if geometry.is_depthwise() {
            return depthwise::input_gradient(work, geometry, dy, kernel, dx);
        }
        // Every combination of residues takes the same phases, so a paused call finds its way back.
        residues(geometry)
            .try_for_each(|axes| residue_gradient(work, geometry, [dy, kernel], dx, workspace, axes, early))
    })?;
    finish_all(work, late, dx)
}

/// The pixels of dx with these residues: a convolution of dy, without strides, by their taps in reverse.
fn residue_gradient<S: Storage>(
    work: &mut Work,
    geometry: &ConvGeometry,
    [dy, kernel]: [&[S]; 2],
    dx: &mut [S::Compute],
    workspace: &mut [u8],
    axes: [Residue; 3],
    finish: Option<Finish>,
) -> Result<(), Stop> {
    let (inputs, n) = (geometry.in_channels, geometry.group_inputs());
    let grid = axes.map(|axis| axis.count);
    let window = Window {
        image: geometry.output,
        grid,
        stride: [1; 3],
        pad: axes.map(|axis| axis.pad),
        dilation: axes.map(|axis| axis.dilation as isize),
        taps: axes.map(|axis| axis.taps),
    };
    let image = Rows::new(dy, window, geometry.out_channels, geometry.group_outputs());
    let kernel = FlippedKernel {
        data: kernel,
        size: geometry.kernel,
        tap: axes.map(|axis| axis.tap),
        step: axes.map(|axis| axis.tap_step),
        taps: window.taps,
        inputs: n,
        outputs: geometry.out_channels,
        group: geometry.group_outputs(),
    };
    let (m, k) = (geometry.batch * product(&grid), product(&window.taps) * geometry.group_outputs());
    let (part, workspace) = take::<S::Compute>(workspace, if is_direct(geometry) { 0 } else { m * inputs })?;
    let first = if is_direct(geometry) { dx.as_mut_ptr() } else { part.as_mut_ptr() };
    let target = Target { first, row: inputs, batch: n };
    // SAFETY: the slices have the geometry's sizes, and the part that of the residue's pixels.
    let product = unsafe { multiply(geometry.groups, m, n, k, &image, &kernel, target) };
    product.then(finish).run(work, workspace)?;
    if is_direct(geometry) { Ok(()) } else { spread(work, geometry, part, dx, axes) }
}

/// Puts the pixels of one combination of residues in their places in dx.
fn spread<T: Copy + Send + Sync>(
    work: &mut Work,
    geometry: &ConvGeometry,
    part: &[T],
    dx: &mut [T],
    axes: [Residue; 3],
) -> Result<(), Stop> {
    let (channels, [depth, height, width]) = (geometry.in_channels, axes.map(|axis| axis.count));
    let lines = geometry.batch * depth * height;
    let each = ((1 << 16) / product(&[width, channels]).max(1)).max(1);
    let dx = Shared(dx.as_mut_ptr());
    work.parallel(lines.div_ceil(each), |task| {
        for line in task * each..lines.min((task + 1) * each) {
            let (image, d, h) = (line / height / depth, line / height % depth, line % height);
            let d = axes[0].first + d * geometry.strides[0];
            let h = axes[1].first + h * geometry.strides[1];
            let start = ((image * geometry.input[0] + d) * geometry.input[1] + h) * geometry.input[2];
            for w in 0..width {
                let from = &part[(line * width + w) * channels..][..channels];
                let to = (start + axes[2].first + w * geometry.strides[2]) * channels;
                // SAFETY: each pixel of dx has one residue and one line, so no other task writes it.
                unsafe { std::slice::from_raw_parts_mut(dx.at(to), channels) }.copy_from_slice(from);
            }
        }
    })
}

/// Operations of a chunk of [`conv_kernel_gradient`]'s long sum, and the most elements that all chunks' results have.
const CHUNK: usize = 1 << 24;
const PARTIAL: usize = 1 << 23;

/// The pixels of a chunk, at least 1.
fn chunk(geometry: &ConvGeometry, size: usize) -> usize {
    let pixels = geometry.pixels().max(1);
    let one = product(&[size, geometry.groups]).max(1);
    let most = (PARTIAL / one).max(1);
    let least = (CHUNK / size.saturating_mul(2).max(1)).next_multiple_of(super::gemm::DEPTH).max(super::gemm::DEPTH);
    let chunk = pixels.div_ceil(most).max(least);
    pixels.div_ceil(pixels.div_ceil(chunk))
}

/// Bytes of workspace that [`conv_kernel_gradient`] needs.
pub fn conv_kernel_gradient_workspace<S: Storage>(geometry: &ConvGeometry) -> u64 {
    let sums = accumulator_workspace::<S>(geometry.kernel_len() as u64);
    if geometry.is_depthwise() {
        return sums.saturating_add(depthwise::kernel_gradient_workspace::<S>(geometry));
    }
    let (m, n) = (product(&[geometry.taps(), geometry.group_inputs()]), geometry.group_outputs());
    let chunk = chunk(geometry, product(&[m, n]));
    let chunks = geometry.pixels().div_ceil(chunk);
    let packed = product_workspace::<S::Compute>(product(&[geometry.groups, chunks.max(1)]), m, n, chunk);
    let partial = if chunks > 1 { (chunks as u64).saturating_mul(geometry.kernel_len() as u64) } else { 0 };
    sums.saturating_add(packed).saturating_add(take_workspace::<S::Compute>(partial))
}

/// The kernel's gradient dk, from x and dy. Its sum over all pixels is cut into chunks by the geometry; the chunks' sums
/// are added in their order. `finish` sees each element of it when it is final.
///
/// # Errors
/// What stopped the work; [`Stop::OutOfMemory`] if the workspace is smaller than [`conv_kernel_gradient_workspace`]
/// says.
///
/// # Panics
/// If a slice has not the geometry's size.
pub fn conv_kernel_gradient<S: Storage>(
    work: &mut Work,
    geometry: &ConvGeometry,
    x: &[S],
    dy: &[S],
    dk: &mut [S],
    workspace: &mut [u8],
    finish: Option<Finish>,
) -> Result<(), Stop> {
    geometry.check(x.len(), dk.len(), dy.len());
    with_accumulator(work, dk, workspace, |work, dk, workspace| {
        if geometry.is_depthwise() {
            return depthwise::kernel_gradient(work, geometry, x, dy, dk, workspace);
        }
        let (outputs, pixels) = (geometry.out_channels, geometry.pixels());
        let (m, n) = (geometry.taps() * geometry.group_inputs(), geometry.group_outputs());
        let image = Columns::new(x, geometry.window(), geometry.in_channels, geometry.group_inputs());
        let (shape, batch) = ([geometry.groups], [n as isize]);
        let dy = Strided { first: dy.as_ptr(), lane: 1, depth: outputs as isize, shape: &shape, batch: &batch };
        let chunk = chunk(geometry, m * n);
        let chunks = pixels.div_ceil(chunk);
        let (partial, workspace) = take::<S::Compute>(workspace, if chunks > 1 { chunks * dk.len() } else { 0 })?;
        let target = if chunks > 1 {
            Target { first: partial.as_mut_ptr(), row: n, batch: m * n }
        } else {
            Target { first: dk.as_mut_ptr(), row: outputs, batch: n }
        };
        // SAFETY: the slices have the geometry's sizes.
        let product = unsafe { Product::new(geometry.groups, m, n, pixels, &image, &dy, target) };
        if chunks > 1 {
            product.chunked(chunk).run(work, workspace)?;
            add_chunks(work, partial, dk, chunks, n, outputs)
        } else {
            product.run(work, workspace)
        }
    })?;
    finish_all(work, finish, dk)
}

/// Sums the chunks' results [groups, chunks, rows, n] into `sum` [rows, groups * n = outputs].
fn add_chunks<T: Copy + Send + Sync + std::ops::Add<Output = T>>(
    work: &mut Work,
    partial: &[T],
    sum: &mut [T],
    chunks: usize,
    n: usize,
    outputs: usize,
) -> Result<(), Stop> {
    let (rows, groups) = (sum.len() / outputs.max(1), outputs / n.max(1));
    let each = ((1 << 18) / product(&[outputs, chunks]).max(1)).max(1);
    let sum = Shared(sum.as_mut_ptr());
    work.parallel(rows.div_ceil(each), |task| {
        for row in task * each..rows.min((task + 1) * each) {
            for group in 0..groups {
                // SAFETY: each row belongs to one task.
                let to = unsafe { std::slice::from_raw_parts_mut(sum.at(row * outputs + group * n), n) };
                let from = |chunk: usize| &partial[((group * chunks + chunk) * rows + row) * n..][..n];
                to.copy_from_slice(from(0));
                (1..chunks).for_each(|chunk| add(to, from(chunk)));
            }
        }
    })
}

simd! {
    fn add<T: AddCopy>(to: &mut [T], from: &[T]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = *to + *from;
        }
    }
}

/// What [`add`] needs of a type.
trait AddCopy: Copy + std::ops::Add<Output = Self> {}

impl<T: Copy + std::ops::Add<Output = T>> AddCopy for T {}

#[cfg(test)]
mod tests;
