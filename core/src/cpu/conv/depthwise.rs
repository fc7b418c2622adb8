//! Convolutions with one input channel to a group: loops over channels, multiplied and added with two roundings, so their
//! bits are the same on every machine.

use std::ops::Range;

use super::ConvGeometry;
use super::axis::{lines_of_task, place};
use crate::cpu::gemm::{Shared, Storage, take, take_workspace};
use crate::cpu::simd::simd;
use crate::cpu::work::{Stop, Work};

/// Most chunks of the kernel gradient's sum.
const CHUNKS: usize = 64;

/// Adds a[c / a_each] * b[c] to sums[c].
#[inline(always)]
fn add_products<S: Storage>(sums: &mut [S::Compute], a: &[S], a_each: usize, b: &[S]) {
    if a_each == 1 {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum = *sum + a.load() * b.load();
        }
    } else {
        for (c, (sum, b)) in sums.iter_mut().zip(b).enumerate() {
            *sum = *sum + a[c / a_each].load() * b.load();
        }
    }
}

/// Adds to sums[c] the products a * b of the group's outputs c * each .. (c + 1) * each.
#[inline(always)]
fn add_groups<S: Storage>(sums: &mut [S::Compute], a: &[S], b: &[S], each: usize) {
    if each == 1 {
        return add_products(sums, a, 1, b);
    }
    for (c, sum) in sums.iter_mut().enumerate() {
        for i in c * each..(c + 1) * each {
            *sum = *sum + a[i].load() * b[i].load();
        }
    }
}

simd! {
    /// One line of y.
    fn conv_line<S: Storage>(geometry: &ConvGeometry, line: usize, x: &[S], kernel: &[S], y: &mut [S::Compute]) {
        let (inputs, outputs, each) = (geometry.in_channels, geometry.out_channels, geometry.group_outputs());
        let axes = geometry.axes();
        let [image, d, h] = place(line, geometry.output);
        for (w, to) in y.chunks_exact_mut(outputs).enumerate() {
            to.fill(S::Compute::default());
                for tap_d in axes[0].reach(d) {
                    for tap_h in axes[1].reach(h) {
                        let plane = image * axes[0].input + axes[0].input_at(d, tap_d);
                        let start = (plane * axes[1].input + axes[1].input_at(h, tap_h)) * axes[2].input;
                        let tap = (tap_d * axes[1].taps + tap_h) * axes[2].taps;
                        for tap_w in axes[2].reach(w) {
                            let from = &x[(start + axes[2].input_at(w, tap_w)) * inputs..][..inputs];
                            let factors = &kernel[(tap + tap_w) * outputs..][..outputs];
                            add_products(to, from, each, factors);
                        }
                    }
                }
        }
    }
}

/// y from x and the kernel; the slices are checked.
pub fn conv<S: Storage>(
    work: &mut Work,
    geometry: &ConvGeometry,
    x: &[S],
    kernel: &[S],
    y: &mut [S::Compute],
) -> Result<(), Stop> {
    let cost = geometry.taps().saturating_mul(geometry.out_channels);
    for_lines(work, geometry.output[2], geometry.out_channels, cost, y, |line, to| {
        conv_line(geometry, line, x, kernel, to);
    })
}

/// Runs `body(line, elements)` for each line of a tensor [.., across, channels].
fn for_lines<T: Send + Sync>(
    work: &mut Work,
    across: usize,
    channels: usize,
    cost: usize,
    tensor: &mut [T],
    body: impl Fn(usize, &mut [T]) + Sync,
) -> Result<(), Stop> {
    let size = across * channels;
    let count = tensor.len().checked_div(size).unwrap_or(0);
    let step = lines_of_task(across, cost);
    let tensor = Shared(tensor.as_mut_ptr());
    work.parallel(count.div_ceil(step), |task| {
        for line in task * step..count.min((task + 1) * step) {
            // SAFETY: each line belongs to one task.
            body(line, unsafe { std::slice::from_raw_parts_mut(tensor.at(line * size), size) });
        }
    })
}

simd! {
    /// One line of dx.
    fn input_line<S: Storage>(geometry: &ConvGeometry, line: usize, dy: &[S], kernel: &[S], dx: &mut [S::Compute]) {
        let (inputs, outputs, each) = (geometry.in_channels, geometry.out_channels, geometry.group_outputs());
        let axes = geometry.axes();
        let [image, d, h] = place(line, geometry.input);
        for (w, to) in dx.chunks_exact_mut(inputs).enumerate() {
            to.fill(S::Compute::default());
                for tap_d in 0..axes[0].taps {
                    let Some(d) = axes[0].output_at(d, tap_d) else { continue };
                    for tap_h in 0..axes[1].taps {
                        let Some(h) = axes[1].output_at(h, tap_h) else { continue };
                        let start = ((image * axes[0].output + d) * axes[1].output + h) * axes[2].output;
                        let tap = (tap_d * axes[1].taps + tap_h) * axes[2].taps;
                        for tap_w in 0..axes[2].taps {
                            let Some(w) = axes[2].output_at(w, tap_w) else { continue };
                            let from = &dy[(start + w) * outputs..][..outputs];
                            add_groups(to, from, &kernel[(tap + tap_w) * outputs..][..outputs], each);
                        }
                    }
                }
        }
    }
}

/// dx from dy and the kernel; the slices are checked.
pub fn input_gradient<S: Storage>(
    work: &mut Work,
    geometry: &ConvGeometry,
    dy: &[S],
    kernel: &[S],
    dx: &mut [S::Compute],
) -> Result<(), Stop> {
    let cost = geometry.taps().saturating_mul(geometry.out_channels);
    for_lines(work, geometry.input[2], geometry.in_channels, cost, dx, |line, to| {
        input_line(geometry, line, dy, kernel, to);
    })
}

/// Lines of y that a chunk of the kernel gradient's sum has, and the number of chunks (at least 1).
fn chunks(geometry: &ConvGeometry) -> (usize, usize) {
    let count = super::product(&[geometry.batch, geometry.output[0], geometry.output[1]]);
    let cost = geometry.taps().saturating_mul(geometry.out_channels);
    let step = lines_of_task(geometry.output[2], cost).max(count.div_ceil(CHUNKS));
    (step, count.div_ceil(step).max(1))
}

/// Bytes of workspace that [`kernel_gradient`] needs.
pub fn kernel_gradient_workspace<S: Storage>(geometry: &ConvGeometry) -> u64 {
    take_workspace::<S::Compute>((chunks(geometry).1 as u64).saturating_mul(geometry.kernel_len() as u64))
}

simd! {
    /// Adds what these lines of y contribute to dk.
    fn kernel_lines<S: Storage>(geometry: &ConvGeometry, lines: Range<usize>, x: &[S], dy: &[S], dk: &mut [S::Compute]) {
        let (inputs, outputs, each) = (geometry.in_channels, geometry.out_channels, geometry.group_outputs());
        let axes = geometry.axes();
        for line in lines {
            let [image, d, h] = place(line, geometry.output);
            for tap_d in axes[0].reach(d) {
                for tap_h in axes[1].reach(h) {
                    let plane = image * axes[0].input + axes[0].input_at(d, tap_d);
                    let start = (plane * axes[1].input + axes[1].input_at(h, tap_h)) * axes[2].input;
                    let tap = (tap_d * axes[1].taps + tap_h) * axes[2].taps;
                    for w in 0..axes[2].output {
                        let from = &dy[(line * axes[2].output + w) * outputs..][..outputs];
                        for tap_w in axes[2].reach(w) {
                            let seen = &x[(start + axes[2].input_at(w, tap_w)) * inputs..][..inputs];
                            add_products(&mut dk[(tap + tap_w) * outputs..][..outputs], seen, each, from);
                        }
                    }
                }
            }
        }
    }
}

/// dk from x and dy; the slices are checked.
pub fn kernel_gradient<S: Storage>(
    work: &mut Work,
    geometry: &ConvGeometry,
    x: &[S],
    dy: &[S],
    dk: &mut [S::Compute],
    workspace: &mut [u8],
) -> Result<(), Stop> {
    if dk.is_empty() {
        return Ok(());
    }
    let count = geometry.batch * geometry.output[0] * geometry.output[1];
    let (size, (step, chunks)) = (dk.len(), chunks(geometry));
    let (partial, _) = take::<S::Compute>(workspace, chunks * size)?;
    let shared = Shared(partial.as_mut_ptr());
    work.parallel(chunks, |task| {
        // SAFETY: each chunk belongs to one task.
        let sums = unsafe { std::slice::from_raw_parts_mut(shared.at(task * size), size) };
        sums.fill(S::Compute::default());
        kernel_lines(geometry, task * step..count.min((task + 1) * step), x, dy, sums);
    })?;
    super::add_chunks(work, partial, dk, chunks, geometry.out_channels, geometry.out_channels)
}
