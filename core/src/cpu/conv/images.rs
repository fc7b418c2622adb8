//! The operands of a convolution's products, read from the image while they are packed.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::cpu::gemm::{DEPTH, Source, Storage, copy_lanes, interleave};

/// How the pixels of a grid see an image: tap t of pixel p is at `p * stride - pad + t * dilation` along each axis.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub image: [usize; 3],
    pub grid: [usize; 3],
    pub stride: [isize; 3],
    pub pad: [isize; 3],
    pub dilation: [isize; 3],
    pub taps: [usize; 3],
}

/// Where a pixel of the grid sees tap 0.
#[derive(Debug, Clone, Copy, Default)]
struct Origin {
    image: usize,
    at: [isize; 3],
}

impl Window {
    fn origin(&self, pixel: usize) -> Origin {
        let [depth, height, width] = self.grid;
        let (line, w) = (pixel / width, pixel % width);
        let (plane, h) = (line / height, line % height);
        let pixel = [plane % depth, h, w];
        let at = std::array::from_fn(|axis| pixel[axis] as isize * self.stride[axis] - self.pad[axis]);
        Origin { image: plane / depth, at }
    }

    /// The origins of these pixels.
    fn origins(&self, pixels: Range<usize>, origins: &mut [Origin; LANES]) {
        let mut left = 0;
        for (pixel, i) in pixels.zip(0..LANES) {
            if left == 0 {
                origins[i] = self.origin(pixel);
                left = self.grid[2] - pixel % self.grid[2];
            } else {
                origins[i] = origins[i - 1];
                origins[i].at[2] += self.stride[2];
            }
            left -= 1;
        }
    }

    /// The number of the image's line that a tap sees, if it lies within the image.
    fn line(&self, origin: Origin, d: usize, h: usize) -> Option<usize> {
        let d = origin.at[0] + d as isize * self.dilation[0];
        let h = origin.at[1] + h as isize * self.dilation[1];
        let inside = (0..self.image[0] as isize).contains(&d) && (0..self.image[1] as isize).contains(&h);
        inside.then(|| (origin.image * self.image[0] + d as usize) * self.image[1] + h as usize)
    }
}

/// More zeros than a panel is deep, for lanes that see nothing of the image.
static ZEROS: [u64; DEPTH] = [0; DEPTH];

/// Most rows that are packed at once.
const LANES: usize = 8;

/// Pixels of the grid by (tap, channel of the group): what the kernel is applied to.
pub struct Rows<'a, S> {
    data: &'a [S],
    window: Window,
    channels: usize,
    group: usize,
    /// Elements that lie beside each other in the image as they do along the depth.
    segment: usize,
    /// Taps that a segment spans.
    span: usize,
}

impl<'a, S: Storage> Rows<'a, S> {
    /// `data` is [batch, window.image.., channels]; a group has `group` of the channels.
    pub fn new(data: &'a [S], window: Window, channels: usize, group: usize) -> Rows<'a, S> {
        let span = if window.dilation[2] == 1 && group == channels { window.taps[2] } else { 1 };
        Rows { data, window, channels, group, segment: span * group, span }
    }

    /// The first element that a pixel sees, if it sees the image through every tap.
    fn whole(&self, batch: usize, origin: Origin) -> Option<usize> {
        let window = &self.window;
        let inside = |axis: usize| {
            let last = origin.at[axis] + (window.taps[axis] as isize - 1) * window.dilation[axis];
            origin.at[axis] >= 0 && last < window.image[axis] as isize
        };
        let [d, h, w] = origin.at.map(|at| at as usize);
        let [depth, height, width] = window.image;
        let pixel = || ((origin.image * depth + d) * height + h) * width + w;
        (inside(0) && inside(1) && inside(2)).then(|| pixel() * self.channels + batch * self.group)
    }

    /// Elements from the first that a pixel sees to those of a segment.
    fn skip(&self, segment: usize) -> usize {
        let [_, height, width] = self.window.image;
        let steps = self.window.taps[2] / self.span;
        let (line, w) = (segment / steps, segment % steps);
        let [d, h, w] = [line / self.window.taps[1], line % self.window.taps[1], w];
        let [step_d, step_h, step_w] = self.window.dilation.map(|dilation| dilation as usize);
        ((d * step_d * height + h * step_h) * width + w * step_w) * self.channels
    }

    /// A part of a segment of one lane: in the image if all of it is, else put together in `buffer`.
    fn part(
        &self,
        batch: usize,
        origin: Origin,
        segment: usize,
        part: Range<usize>,
        buffer: &mut [S; DEPTH],
    ) -> *const S {
        let zeros = ZEROS.as_ptr().cast::<S>();
        let steps = self.window.taps[2] / self.span;
        let (tap, line) = (segment % steps, segment / steps);
        let height = self.window.taps[1];
        let Some(line) = self.window.line(origin, line / height, line % height) else { return zeros };
        let w = origin.at[2] + tap as isize * self.window.dilation[2];
        let width = self.window.image[2] as isize;
        let inside = (-w).clamp(0, self.span as isize) as usize..(width - w).clamp(0, self.span as isize) as usize;
        let inside = (inside.start * self.group).max(part.start)..(inside.end * self.group).min(part.end);
        if inside.is_empty() {
            return zeros;
        }
        let start = (line as isize * width + w) * self.channels as isize + (batch * self.group) as isize;
        let at = |element: usize| (start + element as isize) as usize;
        if inside == part {
            return self.data[at(part.start)..at(part.end)].as_ptr();
        }
        // SAFETY: all bits 0 is the number 0 of every storage type.
        unsafe { buffer.as_mut_ptr().write_bytes(0, part.len()) };
        buffer[inside.start - part.start..inside.end - part.start]
            .copy_from_slice(&self.data[at(inside.start)..at(inside.end)]);
        buffer.as_ptr()
    }

    /// One channel, stride 1: lanes of one line of the grid lie beside each other.
    ///
    /// # Safety
    /// That of [`Source::pack`].
    unsafe fn pack_single(&self, lanes: Range<usize>, depth: Range<usize>, panel: *mut S::Compute, width: usize) {
        let ([_, height, across], dilation) = (self.window.taps, self.window.dilation[2] as usize);
        let mut buffer = MaybeUninit::<[S; DEPTH]>::uninit();
        // SAFETY: storage types have no invalid bits; what is read was written before.
        let buffer = unsafe { &mut *buffer.as_mut_ptr() };
        let mut lane = lanes.start;
        while lane < lanes.end {
            let run = (self.window.grid[2] - lane % self.window.grid[2]).min(lanes.end - lane);
            let origin = self.window.origin(lane);
            let mut tap = depth.start;
            while tap < depth.end {
                let (line, first) = (tap / across, tap % across);
                let count = (across - first).min(depth.end - tap).min(1 + (DEPTH - run) / dilation);
                let line = self.window.line(origin, line / height, line % height);
                let w = origin.at[2] + (first * dilation) as isize;
                let from = line_part(self.data, self.window.image[2], line, w, (count - 1) * dilation + run, buffer);
                for i in 0..count {
                    // SAFETY: the panel is the caller's; the part is long enough.
                    unsafe {
                        let to = panel.add((tap + i - depth.start) * width + (lane - lanes.start));
                        load_run(from.add(i * dilation), run, to);
                    }
                }
                tap += count;
            }
            lane += run;
        }
    }
}

/// Elements `w .. w + length` of a line of a single channel, 0 outside: in the image if all of them are, else put together
/// in `buffer`. `length` is at most [`DEPTH`].
fn line_part<S: Storage>(
    data: &[S],
    across: usize,
    line: Option<usize>,
    w: isize,
    length: usize,
    buffer: &mut [S; DEPTH],
) -> *const S {
    let zeros = ZEROS.as_ptr().cast::<S>();
    let Some(line) = line else { return zeros };
    let line = &data[line * across..][..across];
    if w >= 0 && w as usize + length <= across {
        return line[w as usize..].as_ptr();
    }
    let (low, high) = (w.max(0) as usize, (w + length as isize).clamp(0, across as isize) as usize);
    if low >= high {
        return zeros;
    }
    let skip = (low as isize - w) as usize;
    // SAFETY: all bits 0 is the number 0 of every storage type.
    unsafe { buffer.as_mut_ptr().write_bytes(0, length) };
    buffer[skip..skip + high - low].copy_from_slice(&line[low..high]);
    buffer.as_ptr()
}

/// Loads `run` elements that lie beside each other.
///
/// # Safety
/// They can be read and written.
#[inline(always)]
unsafe fn load_run<S: Storage>(from: *const S, run: usize, to: *mut S::Compute) {
    #[inline(always)]
    unsafe fn fixed<S: Storage, const N: usize>(from: *const S, to: *mut S::Compute) {
        // SAFETY: the caller's.
        unsafe { to.cast::<[S::Compute; N]>().write(from.cast::<[S; N]>().read().map(S::load)) }
    }
    let mut done = 0;
    // SAFETY: the caller's.
    unsafe {
        while run - done >= 8 {
            fixed::<S, 8>(from.add(done), to.add(done));
            done += 8;
        }
        if run - done >= 4 {
            fixed::<S, 4>(from.add(done), to.add(done));
            done += 4;
        }
        while done < run {
            fixed::<S, 1>(from.add(done), to.add(done));
            done += 1;
        }
    }
}

impl<S: Storage> Source<S::Compute> for Rows<'_, S> {
    unsafe fn pack(
        &self,
        batch: usize,
        lanes: Range<usize>,
        depth: Range<usize>,
        panel: *mut S::Compute,
        width: usize,
    ) {
        if self.channels == 1 && self.window.stride[2] == 1 {
            // SAFETY: the caller's.
            return unsafe { self.pack_single(lanes, depth, panel, width) };
        }
        let lanes_start = lanes.start;
        for first in lanes.clone().step_by(LANES) {
            let lanes = first..lanes.end.min(first + LANES);
            // SAFETY: the caller's.
            unsafe { self.pack_lanes(batch, lanes, depth.clone(), panel.add(first - lanes_start), width) };
        }
    }
}

impl<S: Storage> Rows<'_, S> {
    /// [`Source::pack`] for eight lanes at most.
    ///
    /// # Safety
    /// That of [`Source::pack`].
    unsafe fn pack_lanes(
        &self,
        batch: usize,
        lanes: Range<usize>,
        depth: Range<usize>,
        panel: *mut S::Compute,
        width: usize,
    ) {
        let count = lanes.len();
        let window = &self.window;
        let mut origins = [Origin::default(); LANES];
        window.origins(lanes, &mut origins);
        let whole = origins.map(|origin| self.whole(batch, origin));
        let mut buffers = MaybeUninit::<[[S; DEPTH]; LANES]>::uninit();
        let mut rows = [std::ptr::null(); LANES];
        let mut at = depth.start;
        while at < depth.end {
            let (segment, start) = (at / self.segment, at % self.segment);
            let length = (self.segment - start).min(depth.end - at).min(DEPTH);
            let skip = self.skip(segment) + start;
            for lane in 0..count {
                if let Some(first) = whole[lane] {
                    rows[lane] = self.data[first + skip..first + skip + length].as_ptr();
                    continue;
                }
                // SAFETY: what is read of a buffer was written before; storage types have no invalid bits.
                let buffer = unsafe { &mut (&mut *buffers.as_mut_ptr())[lane] };
                rows[lane] = self.part(batch, origins[lane], segment, start..start + length, buffer);
            }
            // SAFETY: the panel is the caller's; every row has `length` elements.
            unsafe { interleave(&rows[..count], length, panel.add((at - depth.start) * width), width) };
            at += length;
        }
    }
}

/// (Tap, channel of the group) by pixels of the grid: the transpose of [`Rows`].
pub struct Columns<'a, S> {
    data: &'a [S],
    window: Window,
    channels: usize,
    group: usize,
}

impl<'a, S: Storage> Columns<'a, S> {
    /// `data` is [batch, window.image.., channels]; a group has `group` of the channels.
    pub fn new(data: &'a [S], window: Window, channels: usize, group: usize) -> Columns<'a, S> {
        Columns { data, window, channels, group }
    }

    /// One channel, stride 1: pixels of one line of the grid lie beside each other.
    ///
    /// # Safety
    /// That of [`Source::pack`], for [`LANES`] lanes and a depth of [`DEPTH`] at most.
    unsafe fn pack_single(&self, lanes: Range<usize>, depth: Range<usize>, panel: *mut S::Compute, width: usize) {
        let ([_, height, across], count) = (self.window.taps, lanes.len());
        let mut buffers = MaybeUninit::<[[S; DEPTH]; LANES]>::uninit();
        let mut rows = [std::ptr::null(); LANES];
        let mut pixel = depth.start;
        while pixel < depth.end {
            let length = (self.window.grid[2] - pixel % self.window.grid[2]).min(depth.end - pixel);
            let origin = self.window.origin(pixel);
            for (i, tap) in lanes.clone().enumerate() {
                // SAFETY: storage types have no invalid bits; what is read was written before.
                let buffer = unsafe { &mut (&mut *buffers.as_mut_ptr())[i] };
                let line = self.window.line(origin, tap / across / height, tap / across % height);
                let w = origin.at[2] + (tap % across) as isize * self.window.dilation[2];
                rows[i] = line_part(self.data, self.window.image[2], line, w, length, buffer);
            }
            // SAFETY: the panel is the caller's; every row has `length` elements.
            unsafe { interleave(&rows[..count], length, panel.add((pixel - depth.start) * width), width) };
            pixel += length;
        }
    }

    /// `lanes` channels from `channel` on of one tap, for the pixels of `depth`.
    ///
    /// # Safety
    /// That of [`Source::pack`].
    unsafe fn pack_run(
        &self,
        (tap, channel, lanes): (usize, usize, usize),
        depth: Range<usize>,
        panel: *mut S::Compute,
        width: usize,
    ) {
        let window = &self.window;
        let [_, height, across] = window.taps;
        let (tap_d, tap_h, tap_w) = (tap / across / height, tap / across % height, tap % across);
        let shift = tap_w as isize * window.dilation[2] - window.pad[2];
        let stride = window.stride[2];
        // Pixels of a line whose tap lies in the image.
        let low = (-shift).max(0) as usize;
        let low = low.div_ceil(stride as usize);
        let high = (window.image[2] as isize - shift).max(0) as usize;
        let high = high.div_ceil(stride as usize);
        let mut pixel = depth.start;
        while pixel < depth.end {
            let first = pixel % window.grid[2];
            let last = window.grid[2].min(first + depth.end - pixel);
            let to = panel.wrapping_add((pixel - depth.start) * width);
            let line = window.line(window.origin(pixel), tap_d, tap_h);
            let (start, end) =
                if line.is_some() { (low.clamp(first, last), high.clamp(first, last)) } else { (last, last) };
            let end = end.max(start);
            // SAFETY: the panel is the caller's, and `start..end` lies within the image's line.
            unsafe {
                clear(to, start - first, lanes, width);
                clear(to.add((end - first) * width), last - end, lanes, width);
                if let Some(line) = line
                    && start < end
                {
                    let w = (start as isize * stride + shift) as usize;
                    let from = (line * window.image[2] + w) * self.channels + channel;
                    let from = self.data.as_ptr().add(from);
                    let step = stride * self.channels as isize;
                    copy_lanes(from, step, lanes, end - start, to.add((start - first) * width), width);
                }
            }
            pixel += last - first;
        }
    }
}

/// Zeros in `lanes` of each of `depth` steps of a panel.
///
/// # Safety
/// They can be written.
unsafe fn clear<T: Default>(panel: *mut T, depth: usize, lanes: usize, width: usize) {
    for d in 0..depth {
        for l in 0..lanes {
            // SAFETY: the caller's.
            unsafe { panel.add(d * width + l).write(T::default()) }
        }
    }
}

impl<S: Storage> Source<S::Compute> for Columns<'_, S> {
    unsafe fn pack(
        &self,
        batch: usize,
        lanes: Range<usize>,
        depth: Range<usize>,
        panel: *mut S::Compute,
        width: usize,
    ) {
        if self.channels == 1 && self.window.stride[2] == 1 && lanes.len() <= LANES && depth.len() <= DEPTH {
            // SAFETY: the caller's.
            return unsafe { self.pack_single(lanes, depth, panel, width) };
        }
        let mut lane = lanes.start;
        while lane < lanes.end {
            let (tap, channel) = (lane / self.group, lane % self.group);
            let run = (self.group - channel).min(lanes.end - lane);
            let channel = batch * self.group + channel;
            // SAFETY: the caller's.
            unsafe { self.pack_run((tap, channel, run), depth.clone(), panel.add(lane - lanes.start), width) };
            lane += run;
        }
    }
}

/// The kernel as dx needs it: input channels by (tap, output channel of the group), some taps in reverse.
pub struct FlippedKernel<'a, S> {
    pub data: &'a [S],
    /// Taps of the kernel.
    pub size: [usize; 3],
    /// The taps are `tap + step * j` for j below `taps`, the last first.
    pub tap: [usize; 3],
    pub step: [usize; 3],
    pub taps: [usize; 3],
    /// Input channels of a group.
    pub inputs: usize,
    /// Output channels, of all groups and of one.
    pub outputs: usize,
    pub group: usize,
}

impl<S: Storage> Source<S::Compute> for FlippedKernel<'_, S> {
    unsafe fn pack(
        &self,
        batch: usize,
        lanes: Range<usize>,
        depth: Range<usize>,
        panel: *mut S::Compute,
        width: usize,
    ) {
        let mut rows = [std::ptr::null(); 48];
        let mut at = depth.start;
        while at < depth.end {
            let (index, start) = (at / self.group, at % self.group);
            let length = (self.group - start).min(depth.end - at);
            let [_, height, across] = self.taps;
            let index = [index / across / height, index / across % height, index % across];
            let tap = (0..3).fold(0, |tap, axis| {
                tap * self.size[axis] + self.tap[axis] + self.step[axis] * (self.taps[axis] - 1 - index[axis])
            });
            for (row, lane) in rows.iter_mut().zip(lanes.clone()) {
                let first = (tap * self.inputs + lane) * self.outputs + batch * self.group + start;
                *row = self.data[first..first + length].as_ptr();
            }
            // SAFETY: the panel is the caller's; every row has `length` elements.
            unsafe { interleave(&rows[..lanes.len()], length, panel.add((at - depth.start) * width), width) };
            at += length;
        }
    }
}
