//! Pooling of channels-last images with one to three spatial axes: maxima, their gradients, averages and theirs.

use half::{bf16, f16};

use super::conv::{Axis, lines_of_task, place};
use super::gemm::Shared;
use super::simd::simd;
use super::work::{Stop, Work};

/// Sizes of a pooling. Fewer than three spatial axes are preceded by axes of size 1 (window 1, stride 1, padding 0,
/// dilation 1). The image x is [batch, input.., channels], the result y [batch, output.., channels]; y's pixel o has the
/// window of x's pixels `o * strides + t * dilation - pad_low`, those outside x left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolGeometry {
    pub batch: usize,
    pub channels: usize,
    pub input: [usize; 3],
    pub output: [usize; 3],
    pub window: [usize; 3],
    /// At least 1.
    pub strides: [usize; 3],
    /// Pixels of padding before each axis; may be negative.
    pub pad_low: [isize; 3],
    /// At least 1.
    pub dilation: [usize; 3],
}

impl PoolGeometry {
    fn axes(&self) -> [Axis; 3] {
        Axis::all(self.input, self.output, self.window, self.strides, self.pad_low, self.dilation)
    }

    fn cost(&self) -> usize {
        self.window.iter().fold(self.channels, |cost, taps| cost.saturating_mul(*taps))
    }

    fn check(&self, x: usize, y: usize) {
        let size = |sizes: [usize; 3]| {
            sizes.iter().fold(self.batch.saturating_mul(self.channels), |n, i| n.saturating_mul(*i))
        };
        assert_eq!((x, y), (size(self.input), size(self.output)), "sizes of a pooling");
    }

    /// Whether windows share pixels.
    fn overlaps(&self) -> bool {
        self.axes()
            .iter()
            .any(|axis| axis.taps > 0 && (axis.taps - 1) * axis.dilation >= axis.stride && axis.output > 1)
    }
}

/// A type that has maxima.
pub trait Ordered: Copy + Send + Sync + 'static {
    /// The maximum of nothing.
    const LOWEST: Self;
    /// Whether it takes the place of an earlier maximum: if it is greater, or the first NaN.
    fn exceeds(self, best: Self) -> bool;
}

macro_rules! ordered_integers {
    ($($T:ty),*) => {
        $(impl Ordered for $T {
            const LOWEST: $T = <$T>::MIN;

            #[inline(always)]
            fn exceeds(self, best: $T) -> bool {
                self > best
            }
        })*
    };
}

ordered_integers!(i8, i16, i32, i64, u8, u16, u32, u64);

macro_rules! ordered_floats {
    ($($T:ty),*) => {
        $(impl Ordered for $T {
            const LOWEST: $T = <$T>::NEG_INFINITY;

            #[inline(always)]
            fn exceeds(self, best: $T) -> bool {
                // Without short circuits, which would keep the loops from becoming vectors.
                (self > best) | ((self != self) & (best == best))
            }
        })*
    };
}

ordered_floats!(f16, bf16, f32, f64);

/// A type that is pooled with arithmetic: f32 or f64. Other floats are converted by the caller.
pub trait Real: Ordered + Default + std::ops::Add<Output = Self> + std::ops::Div<Output = Self> {
    /// A number of pixels.
    fn of(count: usize) -> Self;
}

macro_rules! reals {
    ($($T:ty),*) => {
        $(impl Real for $T {
            #[inline(always)]
            fn of(count: usize) -> $T {
                count as $T
            }
        })*
    };
}

reals!(f32, f64);

/// Calls `each(tap, pixel)` for the pixels of x in the window of a pixel of y, in row-major order; `pixel` counts all
/// pixels of x.
#[inline(always)]
fn for_window(axes: &[Axis; 3], image: usize, [d, h, w]: [usize; 3], mut each: impl FnMut(usize, usize)) {
    for tap_d in axes[0].reach(d) {
        for tap_h in axes[1].reach(h) {
            let plane = image * axes[0].input + axes[0].input_at(d, tap_d);
            let start = (plane * axes[1].input + axes[1].input_at(h, tap_h)) * axes[2].input;
            let tap = (tap_d * axes[1].taps + tap_h) * axes[2].taps;
            for tap_w in axes[2].reach(w) {
                each(tap + tap_w, start + axes[2].input_at(w, tap_w));
            }
        }
    }
}

/// Runs `body(line, elements)` for each line of a tensor [.., across, channels].
fn for_lines<T: Send + Sync>(
    work: &mut Work,
    geometry: &PoolGeometry,
    across: usize,
    tensor: &mut [T],
    body: impl Fn(usize, &mut [T]) + Sync,
) -> Result<(), Stop> {
    let size = across * geometry.channels;
    let count = tensor.len().checked_div(size).unwrap_or(0);
    let step = lines_of_task(across, geometry.cost());
    let tensor = Shared(tensor.as_mut_ptr());
    work.parallel(count.div_ceil(step), |task| {
        for line in task * step..count.min((task + 1) * step) {
            // SAFETY: each line belongs to one task.
            body(line, unsafe { std::slice::from_raw_parts_mut(tensor.at(line * size), size) });
        }
    })
}

simd! {
    fn max_line<T: Ordered>(geometry: &PoolGeometry, line: usize, x: &[T], y: &mut [T]) {
        let (axes, channels) = (geometry.axes(), geometry.channels);
        let [image, d, h] = place(line, geometry.output);
        for (w, to) in y.chunks_exact_mut(channels).enumerate() {
            to.fill(T::LOWEST);
            for_window(&axes, image, [d, h, w], |_, pixel| {
                for (best, x) in to.iter_mut().zip(&x[pixel * channels..]) {
                    *best = if x.exceeds(*best) { *x } else { *best };
                }
            });
        }
    }
}

/// y, the maximum of each window of x; NaN if it holds one. A window without pixels gives negative infinity, or the
/// least integer.
///
/// # Errors
/// What stopped the work.
///
/// # Panics
/// If a slice has not the geometry's size; so do all functions here.
pub fn max_pool<T: Ordered>(work: &mut Work, geometry: &PoolGeometry, x: &[T], y: &mut [T]) -> Result<(), Stop> {
    geometry.check(x.len(), y.len());
    for_lines(work, geometry, geometry.output[2], y, |line, to| max_line(geometry, line, x, to))
}

/// Channels whose maxima are looked for at once.
const CHANNELS: usize = 64;

/// The tap of the first maximum in the window of a pixel of y, for up to [`CHANNELS`] channels from `first` on; the number
/// of taps where the window is empty.
#[inline(always)]
fn first_maxima<T: Ordered>(
    geometry: &PoolGeometry,
    axes: &[Axis; 3],
    image: usize,
    at: [usize; 3],
    x: &[T],
    first: usize,
) -> [u32; CHANNELS] {
    let mut best = [T::LOWEST; CHANNELS];
    let mut taps = [u32::MAX; CHANNELS];
    for_window(axes, image, at, |tap, pixel| {
        let row = &x[pixel * geometry.channels..][..geometry.channels][first..];
        for ((best, found), x) in best.iter_mut().zip(&mut taps).zip(row) {
            // The first pixel is a maximum even if it is negative infinity.
            let better = x.exceeds(*best) | (*found == u32::MAX);
            *best = if better { *x } else { *best };
            *found = if better { tap as u32 } else { *found };
        }
    });
    taps
}

simd! {
    /// Adds a line of dy to dx, for the channels from `first` to `last`.
    fn scatter_line<T: Real>(
        geometry: &PoolGeometry, line: usize, first: usize, last: usize, x: &[T], dy: &[T], dx: Shared<T>
    ) {
        let (axes, channels) = (geometry.axes(), geometry.channels);
        let [image, d, h] = place(line, geometry.output);
        for w in 0..axes[2].output {
            for first in (first..last).step_by(CHANNELS) {
                let taps = first_maxima(geometry, &axes, image, [d, h, w], x, first);
                let count = CHANNELS.min(last - first);
                let from = &dy[(line * axes[2].output + w) * channels + first..][..count];
                for_window(&axes, image, [d, h, w], |tap, pixel| {
                    // SAFETY: the task that runs this has these channels of the windows' pixels for itself.
                    let to = unsafe { std::slice::from_raw_parts_mut(dx.at(pixel * channels + first), count) };
                    for ((to, from), found) in to.iter_mut().zip(from).zip(&taps) {
                        *to = if *found == tap as u32 { *to + *from } else { *to };
                    }
                });
            }
        }
    }
}

/// dx, the gradient of [`max_pool`]: each window's dy is added at its first maximum, in row-major order.
///
/// # Errors
/// What stopped the work.
pub fn max_pool_scatter<T: Real>(
    work: &mut Work,
    geometry: &PoolGeometry,
    x: &[T],
    dy: &[T],
    dx: &mut [T],
) -> Result<(), Stop> {
    geometry.check(x.len(), dy.len());
    assert_eq!(dx.len(), x.len(), "dx has the size of x");
    for_lines(work, geometry, geometry.input[2], dx, |_, to| to.fill(T::default()))?;
    let lines_of_image = geometry.output[0].saturating_mul(geometry.output[1]);
    let across = geometry.output[2];
    let dx = Shared(dx.as_mut_ptr());
    let channels = geometry.channels;
    if dy.is_empty() {
        return Ok(());
    }
    if !geometry.overlaps() {
        let (count, step) = (geometry.batch * lines_of_image, lines_of_task(across, geometry.cost()));
        return work.parallel(count.div_ceil(step), |task| {
            for line in task * step..count.min((task + 1) * step) {
                scatter_line(geometry, line, 0, channels, x, dy, dx);
            }
        });
    }
    // Windows of one image and channel add to the same pixels, so they belong to one task.
    let image_cost = lines_of_image.saturating_mul(across).saturating_mul(geometry.cost() / channels);
    let wide = ((1 << 20) / image_cost.max(1)).next_multiple_of(CHANNELS).clamp(CHANNELS, channels.max(CHANNELS));
    let blocks = channels.div_ceil(wide);
    work.parallel(geometry.batch * blocks, |task| {
        let (image, first) = (task / blocks, task % blocks * wide);
        for line in image * lines_of_image..(image + 1) * lines_of_image {
            scatter_line(geometry, line, first, channels.min(first + wide), x, dy, dx);
        }
    })
}

simd! {
    fn gather_line<T: Real>(geometry: &PoolGeometry, line: usize, x: &[T], t: &[T], u: &mut [T]) {
        let (axes, channels) = (geometry.axes(), geometry.channels);
        let [image, d, h] = place(line, geometry.output);
        for (w, to) in u.chunks_exact_mut(channels).enumerate() {
            for (block, to) in to.chunks_mut(CHANNELS).enumerate() {
                let first = block * CHANNELS;
                let taps = first_maxima(geometry, &axes, image, [d, h, w], x, first);
                to.fill(T::default());
                for_window(&axes, image, [d, h, w], |tap, pixel| {
                    let row = &t[pixel * channels + first..];
                    for ((to, from), found) in to.iter_mut().zip(row).zip(&taps) {
                        *to = if *found == tap as u32 { *from } else { *to };
                    }
                });
            }
        }
    }
}

/// u = t (shaped like x) at each window's first maximum of x, 0 for a window without pixels: the transpose of
/// [`max_pool_scatter`].
///
/// # Errors
/// What stopped the work.
pub fn max_pool_gather<T: Real>(
    work: &mut Work,
    geometry: &PoolGeometry,
    x: &[T],
    t: &[T],
    u: &mut [T],
) -> Result<(), Stop> {
    geometry.check(x.len(), u.len());
    assert_eq!(t.len(), x.len(), "t has the size of x");
    for_lines(work, geometry, geometry.output[2], u, |line, to| gather_line(geometry, line, x, t, to))
}

/// What a window's sum is divided by.
#[inline(always)]
fn divisor(axes: &[Axis; 3], at: [usize; 3], count_include_pad: bool) -> usize {
    (0..3).map(|i| if count_include_pad { axes[i].taps } else { axes[i].reach(at[i]).len() }).product()
}

simd! {
    fn average_line<T: Real>(geometry: &PoolGeometry, line: usize, count_include_pad: bool, x: &[T], y: &mut [T]) {
        let (axes, channels) = (geometry.axes(), geometry.channels);
        let [image, d, h] = place(line, geometry.output);
        for (w, to) in y.chunks_exact_mut(channels).enumerate() {
            to.fill(T::default());
            for_window(&axes, image, [d, h, w], |_, pixel| {
                for (sum, x) in to.iter_mut().zip(&x[pixel * channels..]) {
                    *sum = *sum + *x;
                }
            });
            let count = T::of(divisor(&axes, [d, h, w], count_include_pad).max(1));
            to.iter_mut().for_each(|sum| *sum = *sum / count);
        }
    }
}

/// y, the average of each window of x: its sum, in row-major order, divided by the number of its pixels, or with
/// `count_include_pad` by the window's size. A window without pixels gives 0.
///
/// # Errors
/// What stopped the work.
pub fn avg_pool<T: Real>(
    work: &mut Work,
    geometry: &PoolGeometry,
    count_include_pad: bool,
    x: &[T],
    y: &mut [T],
) -> Result<(), Stop> {
    geometry.check(x.len(), y.len());
    for_lines(work, geometry, geometry.output[2], y, |line, to| {
        average_line(geometry, line, count_include_pad, x, to);
    })
}

simd! {
    fn average_gradient_line<T: Real>(
        geometry: &PoolGeometry, line: usize, count_include_pad: bool, dy: &[T], dx: &mut [T]
    ) {
        let (axes, channels) = (geometry.axes(), geometry.channels);
        let [image, d, h] = place(line, geometry.input);
        for (w, to) in dx.chunks_exact_mut(channels).enumerate() {
            to.fill(T::default());
            for tap_d in 0..axes[0].taps {
                let Some(d) = axes[0].output_at(d, tap_d) else { continue };
                for tap_h in 0..axes[1].taps {
                    let Some(h) = axes[1].output_at(h, tap_h) else { continue };
                    for tap_w in 0..axes[2].taps {
                        let Some(w) = axes[2].output_at(w, tap_w) else { continue };
                        let count = T::of(divisor(&axes, [d, h, w], count_include_pad));
                        let pixel = ((image * axes[0].output + d) * axes[1].output + h) * axes[2].output + w;
                        for (sum, dy) in to.iter_mut().zip(&dy[pixel * channels..]) {
                            *sum = *sum + *dy / count;
                        }
                    }
                }
            }
        }
    }
}

/// dx, the gradient of [`avg_pool`].
///
/// # Errors
/// What stopped the work.
pub fn avg_pool_gradient<T: Real>(
    work: &mut Work,
    geometry: &PoolGeometry,
    count_include_pad: bool,
    dy: &[T],
    dx: &mut [T],
) -> Result<(), Stop> {
    geometry.check(dx.len(), dy.len());
    for_lines(work, geometry, geometry.input[2], dx, |line, to| {
        average_gradient_line(geometry, line, count_include_pad, dy, to);
    })
}

#[cfg(test)]
mod tests {
    use super::super::simd::{Isa, isa, set_isa};
    use super::super::threads::{set_num_threads, settings};
    use super::super::work::{Cursor, Watch};
    use super::*;

    /// Batch, channels; for each axis: input, window, stride, dilation, padding before and after.
    fn geometry(batch: usize, channels: usize, axes: &[[isize; 6]]) -> PoolGeometry {
        let ones = [1; 3];
        let (strides, dilation) = (ones, ones);
        let mut geometry = PoolGeometry {
            batch,
            channels,
            input: ones,
            output: ones,
            window: ones,
            strides,
            pad_low: [0; 3],
            dilation,
        };
        for (i, [input, window, stride, dilation, pad_low, pad_high]) in axes.iter().copied().enumerate() {
            let axis = 3 - axes.len() + i;
            geometry.input[axis] = input as usize;
            geometry.window[axis] = window as usize;
            geometry.strides[axis] = stride as usize;
            geometry.dilation[axis] = dilation as usize;
            geometry.pad_low[axis] = pad_low;
            let free = input + pad_low + pad_high - (window - 1) * dilation - 1;
            geometry.output[axis] = if free < 0 { 0 } else { (free / stride + 1) as usize };
        }
        geometry
    }

    fn geometries() -> Vec<PoolGeometry> {
        vec![
            geometry(2, 3, &[[8, 2, 2, 1, 0, 0], [9, 2, 2, 1, 0, 1]]),
            geometry(2, 70, &[[9, 3, 2, 1, 1, 1], [7, 3, 2, 1, 1, 1]]),
            geometry(1, 130, &[[6, 3, 1, 1, 1, 1], [5, 2, 1, 1, 0, 0]]),
            geometry(3, 5, &[[20, 3, 2, 2, 2, 3]]),
            geometry(2, 4, &[[5, 2, 1, 1, 0, 1], [4, 2, 3, 1, 1, 1], [6, 3, 2, 1, -1, 2]]),
            geometry(2, 4, &[[3, 2, 2, 1, 5, 6]]),
            geometry(40, 64, &[[14, 2, 2, 1, 0, 0], [14, 3, 2, 1, 1, 1]]),
            geometry(0, 4, &[[5, 2, 2, 1, 0, 0]]),
            geometry(2, 0, &[[5, 2, 2, 1, 0, 0]]),
            geometry(2, 3, &[[0, 2, 2, 1, 1, 1]]),
            geometry(2, 3, &[[1, 2, 2, 1, 0, 0]]),
        ]
    }

    fn sizes(geometry: &PoolGeometry) -> (usize, usize) {
        let size = |sizes: [usize; 3]| geometry.batch * geometry.channels * sizes.iter().product::<usize>();
        (size(geometry.input), size(geometry.output))
    }

    /// Few different values, so that maxima are tied; some NaN and infinities.
    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(7);
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match state >> 20 {
                0..40 => f32::NAN,
                40..200 => f32::NEG_INFINITY,
                other => (other % 7) as f32 / 3.0 - 1.0,
            }
        };
        (0..count).map(next).collect()
    }

    /// The elements of x in each window, in row-major order, window by window.
    fn windows(geometry: &PoolGeometry) -> Vec<Vec<usize>> {
        let g = geometry;
        let grid =
            |s: [usize; 3]| (0..s[0]).flat_map(move |d| (0..s[1]).flat_map(move |h| (0..s[2]).map(move |w| [d, h, w])));
        let mut result = Vec::new();
        for image in 0..g.batch {
            for o in grid(g.output) {
                for channel in 0..g.channels {
                    let mut window = Vec::new();
                    for t in grid(g.window) {
                        let at: [isize; 3] = std::array::from_fn(|i| {
                            (o[i] * g.strides[i] + t[i] * g.dilation[i]) as isize - g.pad_low[i]
                        });
                        if (0..3).all(|i| (0..g.input[i] as isize).contains(&at[i])) {
                            let at = at.map(|i| i as usize);
                            let pixel = ((image * g.input[0] + at[0]) * g.input[1] + at[1]) * g.input[2] + at[2];
                            window.push(pixel * g.channels + channel);
                        }
                    }
                    result.push(window);
                }
            }
        }
        result
    }

    fn first_maximum(window: &[usize], x: &[f32]) -> Option<usize> {
        let nan = window.iter().copied().find(|i| x[*i].is_nan());
        let most = window.iter().map(|i| x[*i]).fold(f32::NEG_INFINITY, f32::max);
        nan.or_else(|| window.iter().copied().find(|i| x[*i] == most))
    }

    fn same(got: &[f32], wanted: &[f32], what: &str, geometry: &PoolGeometry) {
        assert_eq!(got.len(), wanted.len());
        for (i, (got, wanted)) in got.iter().zip(wanted).enumerate() {
            let equal = got.to_bits() == wanted.to_bits() || got.is_nan() && wanted.is_nan();
            assert!(equal, "{what} {geometry:?} at {i}: {got}, not {wanted}");
        }
    }

    /// Runs a kernel to its end through as many pauses as there can be.
    fn paused(mut kernel: impl FnMut(&mut Work) -> Result<(), Stop>) {
        let watch = Watch { pause: 0.0, ..Watch::default() };
        let mut cursor = Cursor::default();
        while let Err(stop) = kernel(&mut Work::new(&watch, &mut cursor)) {
            assert_eq!(stop, Stop::Paused);
        }
    }

    #[test]
    fn poolings_are_those_of_their_windows_to_the_bit() {
        let _settings = settings();
        let best = isa();
        for (set, threads) in [(Isa::Base, 1), (Isa::Avx2, 2), (Isa::Avx512, 7)] {
            set_isa(set);
            set_num_threads(threads);
            for geometry in geometries() {
                let g = &geometry;
                let (inputs, outputs) = sizes(g);
                let (x, t, dy) = (numbers(inputs, 1), numbers(inputs, 2), numbers(outputs, 3));
                let windows = windows(g);
                let firsts: Vec<_> = windows.iter().map(|window| first_maximum(window, &x)).collect();

                let mut y = vec![9.0; outputs];
                paused(|work| max_pool(work, g, &x, &mut y));
                let wanted: Vec<_> = firsts.iter().map(|first| first.map_or(f32::NEG_INFINITY, |i| x[i])).collect();
                same(&y, &wanted, "max_pool", g);

                paused(|work| max_pool_gather(work, g, &x, &t, &mut y));
                let wanted: Vec<_> = firsts.iter().map(|first| first.map_or(0.0, |i| t[i])).collect();
                same(&y, &wanted, "max_pool_gather", g);

                let mut dx = vec![9.0; inputs];
                paused(|work| max_pool_scatter(work, g, &x, &dy, &mut dx));
                let mut wanted = vec![0.0; inputs];
                firsts.iter().zip(&dy).for_each(|(first, dy)| first.iter().for_each(|i| wanted[*i] += dy));
                same(&dx, &wanted, "max_pool_scatter", g);

                for include in [false, true] {
                    let size = g.window.iter().product::<usize>();
                    let count = |window: &[usize]| if include { size } else { window.len() } as f32;
                    paused(|work| avg_pool(work, g, include, &x, &mut y));
                    let mean =
                        |window: &Vec<usize>| window.iter().fold(0.0, |sum, i| sum + x[*i]) / count(window).max(1.0);
                    same(&y, &windows.iter().map(mean).collect::<Vec<_>>(), "avg_pool", g);

                    paused(|work| avg_pool_gradient(work, g, include, &dy, &mut dx));
                    let mut wanted = vec![0.0f64; inputs];
                    for (window, dy) in windows.iter().zip(&dy) {
                        window.iter().for_each(|i| wanted[*i] += f64::from(dy / count(window)));
                    }
                    for (got, wanted) in dx.iter().zip(wanted) {
                        let near = (f64::from(*got) - wanted).abs() < 1e-5 || *got as f64 == wanted;
                        assert!(
                            near || got.is_nan() && wanted.is_nan(),
                            "avg_pool_gradient {g:?}: {got}, not {wanted}"
                        );
                    }
                }
            }
        }
        set_isa(best);
        set_num_threads(0);
    }

    #[test]
    fn maxima_exist_in_every_dtype() {
        let g = &geometry(1, 1, &[[4, 2, 2, 1, 0, 2]]);
        macro_rules! check {
            ($($T:ty: $from:expr),*) => {$({
                let from = $from;
                let mut y = [from(0); 3];
                let x = [from(3), from(5), from(9), from(2)];
                max_pool(&mut Work::new(&Watch::default(), &mut Cursor::default()), g, &x, &mut y).unwrap();
                assert_eq!(y, [from(5), from(9), <$T>::LOWEST]);
            })*};
        }
        check!(i8: |x| x as i8, i16: |x| x as i16, i32: |x| x, i64: |x| x as i64);
        check!(u8: |x| x as u8, u16: |x| x as u16, u32: |x| x as u32, u64: |x| x as u64);
        check!(f32: |x| x as f32, f64: |x| x as f64);
        check!(f16: |x| f16::from_f64(x as f64), bf16: |x| bf16::from_f64(x as f64));
    }
}
