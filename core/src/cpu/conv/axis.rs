//! One spatial axis of a convolution or a pooling window.

use std::ops::Range;

/// Output o sees, through tap t, the input `o * stride + t * dilation - pad`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    pub input: usize,
    pub output: usize,
    pub taps: usize,
    pub stride: usize,
    pub pad: isize,
    pub dilation: usize,
}

impl Axis {
    /// The axes of a geometry's arrays.
    pub fn all(
        input: [usize; 3],
        output: [usize; 3],
        taps: [usize; 3],
        stride: [usize; 3],
        pad: [isize; 3],
        dilation: [usize; 3],
    ) -> [Axis; 3] {
        std::array::from_fn(|i| Axis {
            input: input[i],
            output: output[i],
            taps: taps[i],
            stride: stride[i],
            pad: pad[i],
            dilation: dilation[i],
        })
    }

    #[inline(always)]
    fn first(&self, output: usize) -> isize {
        (output * self.stride) as isize - self.pad
    }

    /// The taps through which an output sees inputs.
    #[inline(always)]
    pub fn reach(&self, output: usize) -> Range<usize> {
        let first = self.first(output);
        if self.dilation == 1 {
            let end = (self.input as isize - first).clamp(0, self.taps as isize) as usize;
            return ((-first).max(0) as usize).min(end)..end;
        }
        let end = ((self.input as isize - first).max(0) as usize).div_ceil(self.dilation).min(self.taps);
        ((-first).max(0) as usize).div_ceil(self.dilation).min(end)..end
    }

    /// What an output sees through a tap in its [`Axis::reach`].
    #[inline(always)]
    pub fn input_at(&self, output: usize, tap: usize) -> usize {
        (self.first(output) + (tap * self.dilation) as isize) as usize
    }

    /// The output that sees an input through a tap, if one does.
    #[inline(always)]
    pub fn output_at(&self, input: usize, tap: usize) -> Option<usize> {
        let at = usize::try_from(input as isize + self.pad - (tap * self.dilation) as isize).ok()?;
        let output = if self.stride == 1 { at } else { at / self.stride };
        (output < self.output && output * self.stride == at).then_some(output)
    }
}

/// Image, depth and height of a line of a tensor [batch, sizes.., channels].
#[inline(always)]
pub fn place(line: usize, sizes: [usize; 3]) -> [usize; 3] {
    [line / sizes[1] / sizes[0], line / sizes[1] % sizes[0], line % sizes[1]]
}

/// How many lines of a tensor make a task of about a million steps, at `cost` for an element of the line's axis.
pub fn lines_of_task(across: usize, cost: usize) -> usize {
    ((1 << 20) / across.saturating_mul(cost).max(1)).max(1)
}
