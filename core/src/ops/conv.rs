//! Convolutions of channels-last images, their gradients, and the windows that they and pooling slide.

use crate::attrs::{AttrDef, AttrType, AttrValue, Attrs};
use crate::cpu::call::{Call, Layout, List};
use crate::cpu::conv as kernels;
use crate::cpu::conv::ConvGeometry;
use crate::dtype::DTypes;
use crate::error::{Error, Result};
use crate::graph::Value;
use crate::infer::Infer;
use crate::op::{Backward, InputDef, Kernel, Meaning, OpDef, Sample, Spec, Vjp};
use crate::shape::{Dim, Shape};
use smallvec::smallvec;

/// The greatest stride, dilation or padding: with it, positions in an image stay within 32 bits.
const LIMIT: i64 = 1 << 20;
/// The greatest extent of a window with its dilation.
const LONGEST: i64 = 1 << 30;

pub(super) const STRIDES: AttrDef = AttrDef {
    name: "strides",
    kind: AttrType::Ints,
    default: Some("null"),
    doc: "Steps between windows along each spatial axis; 1 if left out.",
};
pub(super) const PADDING: AttrDef = AttrDef {
    name: "padding",
    kind: AttrType::Text,
    default: Some("\"valid\""),
    doc: "valid: windows lie within the image, which padding_low and padding_high extend. same: the output has \
        ceil(size / stride) windows; what is missing is padded, the odd one at the end.",
};
pub(super) const PADDING_LOW: AttrDef = AttrDef {
    name: "padding_low",
    kind: AttrType::Ints,
    default: Some("null"),
    doc: "What is padded before each spatial axis; 0 if left out.",
};
pub(super) const PADDING_HIGH: AttrDef = AttrDef {
    name: "padding_high",
    kind: AttrType::Ints,
    default: Some("null"),
    doc: "What is padded after each spatial axis; 0 if left out.",
};
const DILATION: AttrDef = AttrDef {
    name: "dilation",
    kind: AttrType::Ints,
    default: Some("null"),
    doc: "Distances between the kernel's taps along each spatial axis; 1 if left out.",
};
const GROUPS: AttrDef = AttrDef {
    name: "groups",
    kind: AttrType::Int,
    default: Some("1"),
    doc: "Into how many parts the channels are cut: each part of the outputs sees the same part of the inputs.",
};
pub(super) const SHAPE: AttrDef =
    AttrDef { name: "shape", kind: AttrType::Dims, default: None, doc: "The shape of the output." };

/// How windows slide over the spatial axes of an image.
pub(super) struct Windows {
    strides: List<i64>,
    dilation: List<i64>,
    low: List<i64>,
    high: List<i64>,
    same: bool,
}

/// The attr of that name for each of `count` spatial axes; one value is that of all.
///
/// # Errors
/// `argument`: another number of values, or one that is out of range.
fn for_each_axis(attrs: &Attrs, name: &str, count: usize, least: i64) -> Result<Option<List<i64>>> {
    let Some(values) = attrs.int_list(name) else { return Ok(None) };
    let mut values = List::from_slice(values);
    if let [value] = values[..] {
        values.resize(count, value);
    }
    if values.len() != count {
        let given = values.len();
        return Err(Error::argument(format!("{name} is {values:?}: {given} values for {count} spatial axes"))
            .with_argument(name));
    }
    match values.iter().find(|value| !(least..=LIMIT).contains(*value)) {
        Some(value) => {
            Err(Error::argument(format!("{name} has {value}; it can be {least} to {LIMIT}")).with_argument(name))
        }
        None => Ok(Some(values)),
    }
}

/// The sizes of a window from the attr `window`.
///
/// # Errors
/// As [`Windows::new`].
pub(super) fn window_sizes(attrs: &Attrs, count: usize) -> Result<List<i64>> {
    let missing = || Error::argument("the attr window is required").with_argument("window");
    for_each_axis(attrs, "window", count, 1)?.ok_or_else(missing)
}

impl Windows {
    /// Those that the attrs say for `count` spatial axes, by `strides` where the attr is left out.
    ///
    /// # Errors
    /// `argument`: a list of another length, a value out of range, padding of another name or of both kinds.
    pub(super) fn new(attrs: &Attrs, count: usize, strides: &[i64]) -> Result<Windows> {
        let same = match &*attrs.text("padding")? {
            "valid" => false,
            "same" => true,
            other => {
                let text = format!("padding is {other:?}; it can be \"valid\" or \"same\"");
                return Err(Error::argument(text).with_argument("padding"));
            }
        };
        let low = for_each_axis(attrs, "padding_low", count, 0)?;
        let high = for_each_axis(attrs, "padding_high", count, 0)?;
        if same && (low.is_some() || high.is_some()) {
            let text = "padding is \"same\", which leaves nothing for padding_low and padding_high to say";
            return Err(Error::argument(text).with_argument("padding"));
        }
        Ok(Windows {
            strides: for_each_axis(attrs, "strides", count, 1)?.unwrap_or_else(|| strides.into()),
            dilation: for_each_axis(attrs, "dilation", count, 1)?.unwrap_or_else(|| smallvec![1; count]),
            low: low.unwrap_or_else(|| smallvec![0; count]),
            high: high.unwrap_or_else(|| smallvec![0; count]),
            same,
        })
    }

    /// What is padded along an axis, unless it is left to "same".
    pub(super) fn padding(&self, axis: usize) -> (i64, i64) {
        (self.low[axis], self.high[axis])
    }

    /// How many windows there are along a spatial axis: by Dim, so that a symbol stays one. Whether an image of unknown
    /// size has room for a window is checked when sizes are known.
    ///
    /// # Errors
    /// `shape`: the window is longer than the padded image, or empty.
    pub(super) fn count(&self, infer: &mut Infer, axis: usize, size: &Dim, window: &Dim) -> Result<Dim> {
        let constant = Dim::constant;
        let (stride, dilation) = (self.strides[axis], self.dilation[axis]);
        let extent = window.sub(&constant(1))?.mul(&constant(dilation))?.add(&constant(1))?;
        if window.upper_bound().is_some_and(|most| most < 1) {
            return Err(Error::shape(format!(
                "spatial axis {axis} of the window has size {window}; it takes 1 or more"
            )));
        }
        if extent.lower_bound().is_some_and(|extent| extent > LONGEST) {
            let text = format!("spatial axis {axis} of the window spans {extent} elements; {LONGEST} are the most");
            return Err(Error::shape(text));
        }
        if self.same {
            return size.add(&constant(stride - 1))?.floordiv(&constant(stride));
        }
        let padded = size.add(&constant(self.low[axis]))?.add(&constant(self.high[axis]))?;
        let rest = padded.sub(&extent)?;
        if rest.upper_bound().is_some_and(|rest| rest < 0) {
            return Err(Error::shape(format!(
                "spatial axis {axis} has {padded} elements with padding, fewer than the {extent} that the window spans"
            )));
        }
        infer.at_least(&padded, &extent)?;
        rest.floordiv(&constant(stride))?.add(&constant(1))
    }

    /// What is padded before a spatial axis of a known size with a known count of windows.
    pub(super) fn pad_low(&self, axis: usize, size: usize, window: usize, count: usize) -> isize {
        if !self.same {
            return self.low[axis] as isize;
        }
        let extent = (window as i64 - 1).saturating_mul(self.dilation[axis]).saturating_add(1);
        let reach = (count as i64 - 1).saturating_mul(self.strides[axis]).saturating_add(extent);
        (reach.saturating_sub(size as i64).max(0) / 2) as isize
    }

    /// Strides and dilation as the kernels take them: after leading axes of size 1.
    pub(super) fn steps(&self) -> ([usize; 3], [usize; 3]) {
        let sizes = |values: &[i64]| pad_axes(&values.iter().map(|&value| value as usize).collect::<List<_>>(), 1);
        (sizes(&self.strides), sizes(&self.dilation))
    }
}

/// One to three spatial values after as many of `fill` as make three.
pub(super) fn pad_axes<T: Copy>(values: &[T], fill: T) -> [T; 3] {
    let mut padded = [fill; 3];
    let first = 3usize.saturating_sub(values.len());
    padded[first..].iter_mut().zip(values).for_each(|(to, &value)| *to = value);
    padded
}

/// The number of spatial axes of an image [batch, spatial..., channels].
///
/// # Errors
/// `shape`: it has none, or more than three.
pub(super) fn spatial_rank(name: &str, image: &Shape) -> Result<usize> {
    match image.rank() {
        rank @ 3..=5 => Ok(rank - 2),
        rank => {
            let text =
                format!("{name} has shape {image} of rank {rank}; it can be [batch, 1 to 3 spatial dims, channels]");
            Err(Error::shape(text).with_argument(name))
        }
    }
}

/// The shape of the output of a convolution of `x` by `kernel`.
///
/// # Errors
/// `shape`: they do not fit, or leave no output; `argument`: an attr that does not fit.
fn output_shape(infer: &mut Infer, x: &Shape, kernel: &Shape) -> Result<Shape> {
    let spatial = spatial_rank("x", x)?;
    if kernel.rank() != x.rank() {
        let text = format!(
            "x has shape {x}, the kernel {kernel}; it can be [{spatial} spatial dims, inputs / groups, outputs]"
        );
        return Err(Error::shape(text).with_argument("kernel"));
    }
    let windows = Windows::new(infer.attrs, spatial, &[1; 3][..spatial])?;
    let groups = infer.attrs.int("groups")?;
    if !(1..=LIMIT).contains(&groups) {
        return Err(Error::argument(format!("groups is {groups}; it can be 1 to {LIMIT}")).with_argument("groups"));
    }
    let (inputs, outputs) = (&x[spatial + 1], &kernel[spatial + 1]);
    let seen = kernel[spatial].mul(&Dim::constant(groups))?;
    infer.unify(inputs, &seen).map_err(|_| {
        let each = &kernel[spatial];
        Error::shape(format!("x has {inputs} channels, the kernel takes {seen}: {each} in each of {groups} groups"))
    })?;
    if groups > 1 {
        let whole = outputs.floordiv(&Dim::constant(groups))?.mul(&Dim::constant(groups))?;
        infer
            .unify(outputs, &whole)
            .map_err(|_| Error::shape(format!("the kernel's {outputs} outputs cannot be cut into {groups} groups")))?;
    }
    let mut dims = vec![x[0].clone()];
    for axis in 0..spatial {
        dims.push(windows.count(infer, axis, &x[axis + 1], &kernel[axis])?);
    }
    dims.push(outputs.clone());
    Shape::new(dims)
}

fn infer_conv(infer: &mut Infer) -> Result<Vec<Spec>> {
    let (x, kernel) = (infer.input(0)?, infer.input(1)?);
    let shape = output_shape(infer, &x.shape, &kernel.shape)?;
    Ok(vec![Spec::new(x.dtype, shape)])
}

/// Checks that a cotangent has the shape of a convolution's output.
fn fit(infer: &mut Infer, output: &Shape, cotangent: &Shape) -> Result<()> {
    infer.unify_shapes(output, cotangent).map(|_| ()).map_err(|_| {
        let text = format!("the cotangent has shape {cotangent}, the convolution's output {output}");
        Error::shape(text).with_argument("cotangent")
    })
}

fn infer_input_grad(infer: &mut Infer) -> Result<Vec<Spec>> {
    let (cotangent, kernel) = (infer.input(0)?, infer.input(1)?);
    let shape = Shape::new(infer.attrs.dims("shape")?)?;
    let output = output_shape(infer, &shape, &kernel.shape)?;
    fit(infer, &output, &cotangent.shape)?;
    Ok(vec![Spec::new(cotangent.dtype, shape)])
}

fn infer_kernel_grad(infer: &mut Infer) -> Result<Vec<Spec>> {
    let (x, cotangent) = (infer.input(0)?, infer.input(1)?);
    let shape = Shape::new(infer.attrs.dims("shape")?)?;
    let output = output_shape(infer, &x.shape, &shape)?;
    fit(infer, &output, &cotangent.shape)?;
    Ok(vec![Spec::new(x.dtype, shape)])
}

/// The geometry of a convolution of real sizes; `None` for what infer has not seen.
fn geometry(attrs: &Attrs, x: &[usize], kernel: &[usize], output: &[usize]) -> Option<ConvGeometry> {
    let spatial = x.len().checked_sub(2)?;
    let windows = Windows::new(attrs, spatial, [1; 3].get(..spatial)?).ok()?;
    let (strides, dilation) = windows.steps();
    let (input, counts, window) = (x.get(1..=spatial)?, output.get(1..=spatial)?, kernel.get(..spatial)?);
    let low = (0..spatial).map(|axis| windows.pad_low(axis, input[axis], window[axis], counts[axis]));
    Some(ConvGeometry {
        batch: x[0],
        input: pad_axes(input, 1),
        output: pad_axes(counts, 1),
        kernel: pad_axes(window, 1),
        strides,
        pad_low: pad_axes(&low.collect::<List<_>>(), 0),
        dilation,
        groups: attrs.optional_int("groups")?.try_into().ok()?,
        in_channels: x[spatial + 1],
        out_channels: *kernel.get(spatial + 1)?,
    })
}

/// What the output of an op of this family is; its inputs are the other two of image, kernel and convolved image.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    Convolved,
    Image,
    Kernel,
}

/// The geometry of an op of this family, from the sizes of its inputs and its output.
pub(crate) fn geometry_for(
    attrs: &Attrs,
    role: Role,
    a: &[usize],
    b: &[usize],
    result: &[usize],
) -> Option<ConvGeometry> {
    match role {
        Role::Convolved => geometry(attrs, a, b, result),
        Role::Image => geometry(attrs, result, b, a),
        Role::Kernel => geometry(attrs, a, result, b),
    }
}

/// Runs the body with `$T` bound to a floating-point type.
macro_rules! dispatch_float {
    ($dtype:expr, $T:ident => $body:expr) => {{
        use $crate::dtype::DType;
        match $dtype {
            DType::F16 => {
                type $T = $crate::dtype::f16;
                $body
            }
            DType::BF16 => {
                type $T = $crate::dtype::bf16;
                $body
            }
            DType::F32 => {
                type $T = f32;
                $body
            }
            DType::F64 => {
                type $T = f64;
                $body
            }
            _ => unreachable!("the op takes floating-point dtypes"),
        }
    }};
}

/// The kernel of an op of this family: its output has that role, `$run` computes it.
macro_rules! kernel {
    ($role:expr, $run:ident, $workspace:ident) => {
        Kernel {
            run: |call: &mut Call| {
                let (a, b) = (call.input(0), call.input(1));
                let Some(geometry) = geometry_for(call.attrs, $role, a.sizes(), b.sizes(), call.outputs[0].sizes()) else {
                    unreachable!("infer has checked the attrs");
                };
                dispatch_float!(a.dtype(), T => {
                    let (a, b, output) = (a.elements::<T>(), b.elements::<T>(), call.outputs[0].elements::<T>());
                    kernels::$run(&mut call.work, &geometry, a, b, output, call.workspace, call.finish)
                })
            },
            workspace: |attrs: &Attrs, inputs: &[Layout], outputs: &[Layout]| {
                let ([a, b], [output]) = (inputs, outputs) else { return 0 };
                match geometry_for(attrs, $role, &a.sizes, &b.sizes, &output.sizes) {
                    Some(geometry) => dispatch_float!(a.dtype, T => kernels::$workspace::<T>(&geometry)),
                    None => 0,
                }
            },
            takes_strides: false,
            view: None,
        }
    };
}

/// Applies an op of this family with this one's attrs; `shape` is that of the output of a gradient.
pub(super) fn related(b: &mut Backward, name: &str, shape: Option<Shape>, inputs: &[Value]) -> Result<Value> {
    let kept = b.attrs.iter().filter(|(name, _)| *name != "shape");
    let mut attrs: Vec<_> = kept.map(|(name, value)| (name, value.clone())).collect();
    if let Some(shape) = shape {
        attrs.push(("shape", AttrValue::Dims(shape.into_dims())));
    }
    b.graph.op(name, &attrs, inputs)
}

/// The convolution is bilinear, so the cotangents of each of the three ops come from the other two. For each input:
/// which op gives its cotangent, from the other input and the output's cotangent, and whether it takes the latter first.
fn bilinear(b: &mut Backward, names: [&str; 2], cotangent_first: [bool; 2]) -> Result<Vec<Option<Value>>> {
    let cotangent = b.cotangent()?;
    let mut results = vec![None, None];
    for index in 0..2 {
        if b.wanted[index] {
            let other = b.inputs[1 - index];
            let operands = if cotangent_first[index] { [cotangent, other] } else { [other, cotangent] };
            let shape = (names[index] != "conv").then(|| b.shape(index));
            results[index] = Some(related(b, names[index], shape, &operands)?);
        }
    }
    Ok(results)
}

const X: InputDef = InputDef::of("x");
const KERNEL: InputDef = InputDef::of("kernel");
const COTANGENT: InputDef = InputDef::of("cotangent");

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "conv",
        version: 1,
        doc: "Convolution of images x [batch, spatial..., inputs] by kernel [spatial..., inputs / groups, outputs].\n\
            There are one to three spatial axes. Output pixel o of channel c is the sum over taps t and inputs i of \
            x[o * strides + t * dilation - padding, i] * kernel[t, i, c], where x is 0 outside (a correlation: the \
            kernel is not flipped). With groups = inputs it is depthwise: output c sees input \
            c / (outputs / inputs). Sums of `float16` and `bfloat16` are `float32`. A window that is longer than the \
            padded image is refused.",
        dtypes: DTypes::FLOAT,
        inputs: &[X, KERNEL],
        outputs: &["output"],
        attrs: &[STRIDES, PADDING, PADDING_LOW, PADDING_HIGH, DILATION, GROUPS],
        regions: &[],
        infer: infer_conv,
        meaning: Meaning::Kernel(kernel!(Role::Convolved, conv, conv_workspace)),
        vjp: Vjp::Rule(|b| bilinear(b, ["conv_input_grad", "conv_kernel_grad"], [true, false])),
        samples: &[
            Sample { inputs: &["T[2, 5, 5, 3]", "T[3, 3, 3, 4]"], attrs: "{}" },
            Sample { inputs: &["T[1, 6, 5, 2]", "T[3, 2, 2, 3]"], attrs: r#"{"padding": "same", "strides": [2, 1]}"# },
            Sample { inputs: &["T[2, 7, 3]", "T[3, 3, 2]"], attrs: r#"{"padding": "same", "dilation": [2]}"# },
            Sample { inputs: &["T[1, 4, 4, 4]", "T[2, 2, 2, 6]"], attrs: r#"{"groups": 2}"# },
            Sample { inputs: &["T[1, 5, 5, 3]", "T[3, 3, 1, 6]"], attrs: r#"{"groups": 3, "padding": "same"}"# },
            Sample {
                inputs: &["T[1, 4, 5, 2]", "T[2, 3, 2, 2]"],
                attrs: r#"{"strides": [3, 2], "padding_low": [1, 0], "padding_high": [0, 2]}"#,
            },
            Sample { inputs: &["T[1, 3, 4, 3, 2]", "T[2, 2, 2, 2, 2]"], attrs: r#"{"strides": [1, 2, 1]}"# },
            Sample { inputs: &["T[0, 4, 4, 2]", "T[2, 2, 2, 3]"], attrs: "{}" },
        ],
    },
    OpDef {
        name: "conv_input_grad",
        version: 1,
        doc: "The gradient of conv with respect to x, from the cotangent of its output and the kernel; a transposed \
            convolution.\n\
            `shape` is that of x, the other attrs are those of the conv.",
        dtypes: DTypes::FLOAT,
        inputs: &[COTANGENT, KERNEL],
        outputs: &["output"],
        attrs: &[SHAPE, STRIDES, PADDING, PADDING_LOW, PADDING_HIGH, DILATION, GROUPS],
        regions: &[],
        infer: infer_input_grad,
        meaning: Meaning::Kernel(kernel!(Role::Image, conv_input_gradient, conv_input_gradient_workspace)),
        vjp: Vjp::Rule(|b| bilinear(b, ["conv", "conv_kernel_grad"], [true, true])),
        samples: &[
            Sample { inputs: &["T[2, 3, 3, 4]", "T[3, 3, 3, 4]"], attrs: r#"{"shape": [2, 5, 5, 3]}"# },
            Sample {
                inputs: &["T[1, 3, 5, 3]", "T[3, 2, 2, 3]"],
                attrs: r#"{"shape": [1, 6, 5, 2], "padding": "same", "strides": [2, 1]}"#,
            },
            Sample {
                inputs: &["T[1, 5, 5, 6]", "T[3, 3, 1, 6]"],
                attrs: r#"{"shape": [1, 5, 5, 3], "groups": 3, "padding": "same"}"#,
            },
            Sample { inputs: &["T[1, 2, 3]", "T[2, 2, 3]"], attrs: r#"{"shape": [1, 7, 2], "strides": [4]}"# },
        ],
    },
    OpDef {
        name: "conv_kernel_grad",
        version: 1,
        doc: "The gradient of conv with respect to its kernel, from x and the cotangent of its output.\n\
            `shape` is that of the kernel, the other attrs are those of the conv.",
        dtypes: DTypes::FLOAT,
        inputs: &[X, COTANGENT],
        outputs: &["output"],
        attrs: &[SHAPE, STRIDES, PADDING, PADDING_LOW, PADDING_HIGH, DILATION, GROUPS],
        regions: &[],
        infer: infer_kernel_grad,
        meaning: Meaning::Kernel(kernel!(Role::Kernel, conv_kernel_gradient, conv_kernel_gradient_workspace)),
        vjp: Vjp::Rule(|b| bilinear(b, ["conv_input_grad", "conv"], [false, false])),
        samples: &[
            Sample { inputs: &["T[2, 5, 5, 3]", "T[2, 3, 3, 4]"], attrs: r#"{"shape": [3, 3, 3, 4]}"# },
            Sample {
                inputs: &["T[1, 6, 5, 2]", "T[1, 3, 5, 3]"],
                attrs: r#"{"shape": [3, 2, 2, 3], "padding": "same", "strides": [2, 1]}"#,
            },
            Sample { inputs: &["T[1, 4, 4, 4]", "T[1, 3, 3, 6]"], attrs: r#"{"shape": [2, 2, 2, 6], "groups": 2}"# },
            Sample { inputs: &["T[0, 4, 4, 2]", "T[0, 3, 3, 3]"], attrs: r#"{"shape": [2, 2, 2, 3]}"# },
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::*;

    #[test]
    fn output_dims_stay_symbolic() {
        check(
            "conv",
            &[
                ("{}", &["float32[b, 28, 28, 1]", "float32[3, 3, 1, 8]"], "float32[b, 26, 26, 8]"),
                ("{}", &["float32[b, h, w, 1]", "float32[3, 3, 1, 8]"], "float32[b, h-2, w-2, 8] where h >= 3, w >= 3"),
                (r#"{"padding": "same"}"#, &["float32[b, h, 1]", "float32[4, 1, 8]"], "float32[b, h, 8]"),
                (
                    r#"{"padding": "same", "strides": [2, 3]}"#,
                    &["float32[b, h, 9, 1]", "float32[3, 3, 1, 8]"],
                    "float32[b, floordiv(h+1, 2), 3, 8]",
                ),
                (
                    r#"{"strides": [2], "dilation": [3], "padding_low": [1], "padding_high": [2]}"#,
                    &["float32[b, n, 2]", "float32[3, 2, 8]"],
                    "float32[b, floordiv(n, 2)-1, 8] where n+3 >= 7",
                ),
                (
                    r#"{"groups": 2}"#,
                    &["float32[b, n, c]", "float32[3, 2, 8]"],
                    "float32[b, n-2, 8] where c == 4, n >= 3",
                ),
                (
                    r#"{"groups": 2}"#,
                    &["float32[b, n, 4]", "float32[1, 2, f]"],
                    "float32[b, n, f] where f == 2*floordiv(f, 2), n >= 1",
                ),
                ("{}", &["float32[0, 2, 3, 4, 5]", "float32[2, 2, 2, 5, 6]"], "float32[0, 1, 2, 3, 6]"),
            ],
        );
    }

    #[test]
    fn impossible_convolutions_say_why() {
        check(
            "conv",
            &[
                (
                    "{}",
                    &["float32[3, 4]", "float32[3, 4]"],
                    "conv: x has shape [3, 4] of rank 2; it can be [batch, 1 to 3 spatial dims, channels]",
                ),
                (
                    "{}",
                    &["float32[1, 5, 5, 3]", "float32[3, 3, 4]"],
                    "conv: x has shape [1, 5, 5, 3], the kernel [3, 3, 4]; it can be [2 spatial dims, inputs / groups, outputs]",
                ),
                (
                    "{}",
                    &["float32[1, 5, 2, 3]", "float32[3, 3, 3, 4]"],
                    "conv: spatial axis 1 has 2 elements with padding, fewer than the 3 that the window spans",
                ),
                (
                    r#"{"dilation": [3]}"#,
                    &["float32[1, 5, 3]", "float32[3, 3, 4]"],
                    "conv: spatial axis 0 has 5 elements with padding, fewer than the 7 that the window spans",
                ),
                (
                    "{}",
                    &["float32[1, 5, 3]", "float32[0, 3, 4]"],
                    "conv: spatial axis 0 of the window has size 0; it takes 1 or more",
                ),
                (
                    "{}",
                    &["float32[1, 5, 3]", "float32[3, 2, 4]"],
                    "conv: x has 3 channels, the kernel takes 2: 2 in each of 1 groups",
                ),
                (
                    r#"{"groups": 3}"#,
                    &["float32[1, 5, 3]", "float32[3, 1, 4]"],
                    "conv: the kernel's 4 outputs cannot be cut into 3 groups",
                ),
                (
                    r#"{"groups": 0}"#,
                    &["float32[1, 5, 3]", "float32[3, 1, 4]"],
                    "conv: groups is 0; it can be 1 to 1048576",
                ),
                (
                    r#"{"strides": [0]}"#,
                    &["float32[1, 5, 3]", "float32[3, 3, 4]"],
                    "conv: strides has 0; it can be 1 to 1048576",
                ),
                (
                    r#"{"strides": [1, 1]}"#,
                    &["float32[1, 5, 3]", "float32[3, 3, 4]"],
                    "conv: strides is [1, 1]: 2 values for 1 spatial axes",
                ),
                (
                    r#"{"padding_low": [-1]}"#,
                    &["float32[1, 5, 3]", "float32[3, 3, 4]"],
                    "conv: padding_low has -1; it can be 0 to 1048576",
                ),
                (
                    r#"{"padding": "full"}"#,
                    &["float32[1, 5, 3]", "float32[3, 3, 4]"],
                    "conv: padding is \"full\"; it can be \"valid\" or \"same\"",
                ),
                (
                    r#"{"padding": "same", "padding_low": [1]}"#,
                    &["float32[1, 5, 3]", "float32[3, 3, 4]"],
                    "conv: padding is \"same\", which leaves nothing for padding_low and padding_high to say",
                ),
                (
                    r#"{"padding": "same", "dilation": [1048576]}"#,
                    &["float32[1, 5, 3]", "float32[2000, 3, 4]"],
                    "conv: spatial axis 0 of the window spans 2096103425 elements; 1073741824 are the most",
                ),
            ],
        );
    }

    #[test]
    fn gradients_have_the_shape_of_their_attr() {
        check(
            "conv_input_grad",
            &[
                (r#"{"shape": ["b", 5, 3]}"#, &["float32[b, 3, 4]", "float32[3, 3, 4]"], "float32[b, 5, 3]"),
                (
                    r#"{"shape": ["b", "n", 3], "strides": [2]}"#,
                    &["float32[b, m, 4]", "float32[3, 3, 4]"],
                    "float32[b, n, 3] where n >= 3, floordiv(n+1, 2)-1 == m",
                ),
                (
                    r#"{"shape": [2, 5, 3]}"#,
                    &["float32[2, 4, 4]", "float32[3, 3, 4]"],
                    "conv_input_grad: the cotangent has shape [2, 4, 4], the convolution's output [2, 3, 4]",
                ),
            ],
        );
        check(
            "conv_kernel_grad",
            &[
                (
                    r#"{"shape": [3, 3, 4]}"#,
                    &["float32[b, n, 3]", "float32[b, n-2, 4]"],
                    "float32[3, 3, 4] where n >= 3",
                ),
                (
                    r#"{"shape": [3, 3, 4]}"#,
                    &["float32[2, 5, 3]", "float32[2, 3]"],
                    "conv_kernel_grad: the cotangent has shape [2, 3], the convolution's output [2, 3, 4]",
                ),
            ],
        );
    }

    #[test]
    fn same_pads_the_odd_element_at_the_end() {
        let table: [(usize, usize, usize, i64, isize); 6] =
            [(5, 3, 1, 1, 1), (5, 2, 1, 1, 0), (6, 3, 2, 1, 0), (7, 3, 2, 1, 1), (4, 1, 3, 1, 0), (8, 3, 1, 2, 2)];
        for (size, window, stride, dilation, low) in table {
            let attrs = [
                ("padding", AttrValue::Text("same".into())),
                ("strides", AttrValue::Ints(vec![stride as i64])),
                ("dilation", AttrValue::Ints(vec![dilation])),
            ];
            let attrs = crate::graph::op("conv", &attrs).unwrap().attrs;
            let output = [2, size.div_ceil(stride), 4];
            let geometry = geometry(&attrs, &[2, size, 3], &[window, 3, 4], &output).unwrap();
            assert_eq!(geometry.pad_low, [0, 0, low], "{size} by {window}, stride {stride}, dilation {dilation}");
            assert_eq!((geometry.input, geometry.kernel), ([1, 1, size], [1, 1, window]));
        }
    }
}
