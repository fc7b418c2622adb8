//! Pooling: the greatest element or the mean of each window of channels-last images.

use super::conv::{PADDING, PADDING_HIGH, PADDING_LOW, SHAPE, Windows, pad_axes, related, spatial_rank, window_sizes};
use crate::attrs::{AttrDef, AttrType, Attrs};
use crate::cpu::call::{Call, Layout, List};
use crate::cpu::copy::generate;
use crate::cpu::gemm::{Storage, accumulator_workspace, take, take_workspace, with_accumulator};
use crate::cpu::pool::{self as kernels, PoolGeometry, Real};
use crate::cpu::work::{Stop, Work};
use crate::dispatch;
use crate::dtype::{DType, DTypes, Element, bf16, f16};
use crate::error::{Error, Result};
use crate::graph::Value;
use crate::infer::Infer;
use crate::op::{Backward, InputDef, Kernel, Meaning, OpDef, Sample, Spec, Vjp};
use crate::shape::{Dim, Shape};

const WINDOW: AttrDef = AttrDef {
    name: "window",
    kind: AttrType::Ints,
    default: None,
    doc: "The size of the window along each spatial axis.",
};
const STRIDES: AttrDef = AttrDef {
    name: "strides",
    kind: AttrType::Ints,
    default: Some("null"),
    doc: "Steps between windows along each spatial axis; those of the window if left out.",
};
const COUNT_PADDING: AttrDef = AttrDef {
    name: "count_padding",
    kind: AttrType::Bool,
    default: Some("false"),
    doc: "Whether padding counts as zeros in the mean; else the mean is over what lies in the image.",
};

/// The shape of the output of pooling an image.
///
/// # Errors
/// `shape`: no image, or one smaller than a window; `argument`: an attr that does not fit.
fn pooled(infer: &mut Infer, x: &Shape) -> Result<Shape> {
    let attrs = infer.attrs;
    let spatial = spatial_rank("x", x)?;
    let sizes = window_sizes(attrs, spatial)?;
    let windows = Windows::new(attrs, spatial, &sizes)?;
    let mut dims = vec![x[0].clone()];
    for (axis, &size) in sizes.iter().enumerate() {
        let (low, high) = windows.padding(axis);
        if low.max(high) >= size {
            let text = format!("padding of {} leaves windows of {size} that see nothing of the image", low.max(high));
            return Err(Error::argument(text).with_argument(if low >= size { "padding_low" } else { "padding_high" }));
        }
        dims.push(windows.count(infer, axis, &x[axis + 1], &Dim::constant(size))?);
    }
    dims.push(x[spatial + 1].clone());
    Shape::new(dims)
}

fn infer_pool(infer: &mut Infer) -> Result<Vec<Spec>> {
    let x = infer.input(0)?;
    Ok(vec![Spec::new(x.dtype, pooled(infer, &x.shape)?)])
}

fn fit(infer: &mut Infer, output: &Shape, cotangent: &Shape) -> Result<()> {
    infer.unify_shapes(output, cotangent).map(|_| ()).map_err(|_| {
        let text = format!("the cotangent has shape {cotangent}, the pool's output {output}");
        Error::shape(text).with_argument("cotangent")
    })
}

fn infer_scatter(infer: &mut Infer) -> Result<Vec<Spec>> {
    let (x, cotangent) = (infer.input(0)?, infer.input(1)?);
    let output = pooled(infer, &x.shape)?;
    fit(infer, &output, &cotangent.shape)?;
    Ok(vec![x.clone()])
}

fn infer_gather(infer: &mut Infer) -> Result<Vec<Spec>> {
    let (x, y) = (infer.input(0)?, infer.input(1)?);
    let output = pooled(infer, &x.shape)?;
    infer.unify_shapes(&x.shape, &y.shape)?;
    Ok(vec![Spec::new(x.dtype, output)])
}

fn infer_avg_grad(infer: &mut Infer) -> Result<Vec<Spec>> {
    let cotangent = infer.input(0)?;
    let shape = Shape::new(infer.attrs.dims("shape")?)?;
    let output = pooled(infer, &shape)?;
    fit(infer, &output, &cotangent.shape)?;
    Ok(vec![Spec::new(cotangent.dtype, shape)])
}

/// The geometry of pooling an image of real sizes; `None` for what infer has not seen.
pub(crate) fn geometry(attrs: &Attrs, x: &[usize], output: &[usize]) -> Option<PoolGeometry> {
    let spatial = x.len().checked_sub(2)?;
    let sizes = window_sizes(attrs, spatial).ok()?;
    let windows = Windows::new(attrs, spatial, &sizes).ok()?;
    let sizes: List<_> = sizes.into_iter().map(|size| size as usize).collect();
    let (input, counts) = (x.get(1..=spatial)?, output.get(1..=spatial)?);
    let low = (0..spatial).map(|axis| windows.pad_low(axis, input[axis], sizes[axis], counts[axis]));
    Some(PoolGeometry {
        batch: x[0],
        input: pad_axes(input, 1),
        output: pad_axes(counts, 1),
        window: pad_axes(&sizes, 1),
        strides: windows.steps().0,
        pad_low: pad_axes(&low.collect::<List<_>>(), 0),
        dilation: [1; 3],
        channels: x[spatial + 1],
    })
}

/// The geometry of a call.
fn geometry_of(call: &Call, task: Task) -> PoolGeometry {
    let (input, output) = (call.input(0).sizes(), call.outputs[0].sizes());
    let (image, pooled) = if task == Task::AverageGradient { (output, input) } else { (input, output) };
    let pooled = if task == Task::Scatter { call.input(1).sizes() } else { pooled };
    match geometry(call.attrs, image, pooled) {
        Some(geometry) => geometry,
        None => unreachable!("infer has checked the attrs"),
    }
}

/// What is computed with arithmetic, in `float32` or `float64`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Task {
    Scatter,
    Gather,
    Average,
    AverageGradient,
}

impl Task {
    fn inputs(self) -> usize {
        if matches!(self, Task::Scatter | Task::Gather) { 2 } else { 1 }
    }

    /// `b` is empty where there is one input.
    fn compute<T: Real>(
        self,
        work: &mut Work,
        geometry: &PoolGeometry,
        count_padding: bool,
        [a, b]: [&[T]; 2],
        output: &mut [T],
    ) -> Result<(), Stop> {
        match self {
            Task::Scatter => kernels::max_pool_scatter(work, geometry, a, b, output),
            Task::Gather => kernels::max_pool_gather(work, geometry, a, b, output),
            Task::Average => kernels::avg_pool(work, geometry, count_padding, a, output),
            Task::AverageGradient => kernels::avg_pool_gradient(work, geometry, count_padding, a, output),
        }
    }

    fn run(self, call: &mut Call) -> Result<(), Stop> {
        let geometry = geometry_of(call, self);
        let count_padding = call.attrs.optional_bool("count_padding").unwrap_or(false);
        match call.outputs[0].dtype() {
            DType::F16 => self.widened::<f16>(call, &geometry, count_padding),
            DType::BF16 => self.widened::<bf16>(call, &geometry, count_padding),
            DType::F32 => self.direct::<f32>(call, &geometry, count_padding),
            _ => self.direct::<f64>(call, &geometry, count_padding),
        }
    }

    fn direct<T: Real + Element>(
        self,
        call: &mut Call,
        geometry: &PoolGeometry,
        count_padding: bool,
    ) -> Result<(), Stop> {
        let second = call.optional(1).map_or(&[][..], |view| view.elements::<T>());
        let inputs = [call.input(0).elements::<T>(), second];
        self.compute(&mut call.work, geometry, count_padding, inputs, call.outputs[0].elements::<T>())
    }

    /// By way of copies of the inputs and the output in `float32`.
    fn widened<S>(self, call: &mut Call, geometry: &PoolGeometry, count_padding: bool) -> Result<(), Stop>
    where
        S: Element + Storage<Compute = f32>,
    {
        let second = call.optional(1).map_or(&[][..], |view| view.elements::<S>());
        let inputs = [call.input(0).elements::<S>(), second];
        let work = &mut call.work;
        let (a, rest) = take::<f32>(call.workspace, inputs[0].len())?;
        let (b, rest) = take::<f32>(rest, inputs[1].len())?;
        generate(work, a, |index| inputs[0][index].load())?;
        generate(work, b, |index| inputs[1][index].load())?;
        with_accumulator(work, call.outputs[0].elements::<S>(), rest, |work, output, _| {
            self.compute(work, geometry, count_padding, [a, b], output)
        })
    }

    fn workspace(self, inputs: &[Layout], outputs: &[Layout]) -> u64 {
        let [output] = outputs else { return 0 };
        let copies = |count: u64| {
            let inputs = inputs.iter().take(self.inputs()).map(|input| take_workspace::<f32>(input.elements() as u64));
            inputs.fold(count, u64::saturating_add)
        };
        match output.dtype {
            DType::F16 => copies(accumulator_workspace::<f16>(output.elements() as u64)),
            DType::BF16 => copies(accumulator_workspace::<bf16>(output.elements() as u64)),
            _ => 0,
        }
    }
}

fn run_max_pool(call: &mut Call) -> Result<(), Stop> {
    let x = call.input(0);
    let Some(geometry) = geometry(call.attrs, x.sizes(), call.outputs[0].sizes()) else {
        unreachable!("infer has checked the attrs");
    };
    dispatch!(x.dtype(), T => {
        kernels::max_pool(&mut call.work, &geometry, x.elements::<T>(), call.outputs[0].elements::<T>())
    })
}

macro_rules! kernel {
    ($task:expr) => {
        Meaning::Kernel(Kernel {
            run: |call| $task.run(call),
            workspace: |_, inputs, outputs| $task.workspace(inputs, outputs),
            takes_strides: false,
            view: None,
        })
    };
}

/// The cotangent of one input, by an op of this family on that input and the output's cotangent.
fn linear(b: &mut Backward, index: usize, name: &str) -> Result<Vec<Option<Value>>> {
    let (x, cotangent) = (b.inputs[0], b.cotangent()?);
    let mut results = vec![None; b.inputs.len()];
    results[index] = Some(related(b, name, None, &[x, cotangent])?);
    Ok(results)
}

fn average_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (shape, cotangent) = (b.shape(0), b.cotangent()?);
    Ok(vec![Some(related(b, "avg_pool_grad", Some(shape), &[cotangent])?)])
}

fn average_grad_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let cotangent = b.cotangent()?;
    Ok(vec![Some(related(b, "avg_pool", None, &[cotangent])?)])
}

const X: InputDef = InputDef::of("x");
const COTANGENT: InputDef = InputDef::of("cotangent");

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "max_pool",
        version: 1,
        doc: "The greatest element of each window of images x [batch, spatial..., channels]; NaN if there is one.\n\
            There are one to three spatial axes. Padding is never the greatest. The gradient goes to the first of \
            equal ones, in row-major order. A window that is longer than the padded image is refused.",
        dtypes: DTypes::NUMERIC,
        inputs: &[X],
        outputs: &["output"],
        attrs: &[WINDOW, STRIDES, PADDING, PADDING_LOW, PADDING_HIGH],
        regions: &[],
        infer: infer_pool,
        meaning: Meaning::Kernel(Kernel::dense(run_max_pool)),
        vjp: Vjp::Rule(|b| linear(b, 0, "max_pool_scatter")),
        samples: &[
            Sample { inputs: &["T[2, 4, 6, 3]"], attrs: r#"{"window": [2, 2]}"# },
            Sample { inputs: &["T[1, 5, 4, 2]"], attrs: r#"{"window": [3, 2], "strides": [2, 1], "padding": "same"}"# },
            Sample {
                inputs: &["T[2, 5, 1]"],
                attrs: r#"{"window": [3], "strides": [1], "padding_low": [2], "padding_high": [1]}"#,
            },
            Sample { inputs: &["T[1, 3, 4, 4, 2]"], attrs: r#"{"window": [2, 2, 3], "strides": [1, 2, 1]}"# },
            Sample { inputs: &["T[0, 4, 1]"], attrs: r#"{"window": [2]}"# },
        ],
    },
    OpDef {
        name: "max_pool_scatter",
        version: 1,
        doc: "The gradient of max_pool: the cotangent of each window added at the window's greatest element of x.\n\
            It is the first of equal ones. The output has the shape of x, the attrs are those of the max_pool.",
        dtypes: DTypes::FLOAT,
        inputs: &[X, COTANGENT],
        outputs: &["output"],
        attrs: &[WINDOW, STRIDES, PADDING, PADDING_LOW, PADDING_HIGH],
        regions: &[],
        infer: infer_scatter,
        meaning: kernel!(Task::Scatter),
        vjp: Vjp::Rule(|b| linear(b, 1, "max_pool_gather")),
        samples: &[
            Sample { inputs: &["T[2, 4, 6, 3]", "T[2, 2, 3, 3]"], attrs: r#"{"window": [2, 2]}"# },
            Sample {
                inputs: &["T[1, 5, 2]", "T[1, 5, 2]"],
                attrs: r#"{"window": [3], "strides": [1], "padding": "same"}"#,
            },
        ],
    },
    OpDef {
        name: "max_pool_gather",
        version: 1,
        doc: "The elements of y at the place of each window's greatest element of x.\n\
            It is the first of equal ones; a window that sees nothing gives 0. x and y have one shape, the attrs are \
            those of the max_pool: this is the gradient of max_pool_scatter.",
        dtypes: DTypes::FLOAT,
        inputs: &[X, InputDef::of("y")],
        outputs: &["output"],
        attrs: &[WINDOW, STRIDES, PADDING, PADDING_LOW, PADDING_HIGH],
        regions: &[],
        infer: infer_gather,
        meaning: kernel!(Task::Gather),
        vjp: Vjp::Rule(|b| linear(b, 1, "max_pool_scatter")),
        samples: &[
            Sample { inputs: &["T[2, 4, 6, 3]", "T[2, 4, 6, 3]"], attrs: r#"{"window": [2, 2]}"# },
            Sample {
                inputs: &["T[1, 5, 2]", "T[1, 5, 2]"],
                attrs: r#"{"window": [3], "strides": [2], "padding": "same"}"#,
            },
        ],
    },
    OpDef {
        name: "avg_pool",
        version: 1,
        doc: "The mean of each window of images x [batch, spatial..., channels].\n\
            There are one to three spatial axes. `float16` and `bfloat16` are computed in `float32`. A window that is \
            longer than the padded image is refused; one that sees nothing gives 0.",
        dtypes: DTypes::FLOAT,
        inputs: &[X],
        outputs: &["output"],
        attrs: &[WINDOW, STRIDES, PADDING, PADDING_LOW, PADDING_HIGH, COUNT_PADDING],
        regions: &[],
        infer: infer_pool,
        meaning: kernel!(Task::Average),
        vjp: Vjp::Rule(average_vjp),
        samples: &[
            Sample { inputs: &["T[2, 4, 6, 3]"], attrs: r#"{"window": [2, 2]}"# },
            Sample { inputs: &["T[1, 5, 4, 2]"], attrs: r#"{"window": [3, 2], "strides": [2, 1], "padding": "same"}"# },
            Sample {
                inputs: &["T[2, 5, 1]"],
                attrs: r#"{"window": [3], "strides": [1], "padding_low": [2], "padding_high": [1], "count_padding": true}"#,
            },
            Sample { inputs: &["T[1, 3, 4, 4, 2]"], attrs: r#"{"window": [2, 2, 3], "strides": [1, 2, 1]}"# },
        ],
    },
    OpDef {
        name: "avg_pool_grad",
        version: 1,
        doc: "The gradient of avg_pool: the cotangent of each window spread evenly over it.\n\
            `shape` is that of the image, the other attrs are those of the avg_pool.",
        dtypes: DTypes::FLOAT,
        inputs: &[COTANGENT],
        outputs: &["output"],
        attrs: &[SHAPE, WINDOW, STRIDES, PADDING, PADDING_LOW, PADDING_HIGH, COUNT_PADDING],
        regions: &[],
        infer: infer_avg_grad,
        meaning: kernel!(Task::AverageGradient),
        vjp: Vjp::Rule(average_grad_vjp),
        samples: &[
            Sample { inputs: &["T[2, 2, 3, 3]"], attrs: r#"{"shape": [2, 4, 6, 3], "window": [2, 2]}"# },
            Sample {
                inputs: &["T[1, 5, 2]"],
                attrs: r#"{"shape": [1, 5, 2], "window": [3], "strides": [1], "padding": "same"}"#,
            },
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::super::testing::check;

    #[test]
    fn windows_slide_over_symbolic_images() {
        for name in ["max_pool", "avg_pool"] {
            check(
                name,
                &[
                    (
                        r#"{"window": [2, 2]}"#,
                        &["float32[b, h, 28, 3]"],
                        "float32[b, floordiv(h, 2), 14, 3] where h >= 2",
                    ),
                    (
                        r#"{"window": [3], "strides": [1], "padding": "same"}"#,
                        &["float32[b, h, 3]"],
                        "float32[b, h, 3]",
                    ),
                    (
                        r#"{"window": [3], "strides": [2], "padding_low": [1], "padding_high": [1]}"#,
                        &["bfloat16[b, 8, 3]"],
                        "bfloat16[b, 4, 3]",
                    ),
                ],
            );
        }
    }

    #[test]
    fn impossible_pools_say_why() {
        check(
            "max_pool",
            &[
                ("{}", &["float32[b, 8, 3]"], "max_pool: the attr window is required"),
                (
                    r#"{"window": [2, 2, 2]}"#,
                    &["float32[b, 8, 8, 3]"],
                    "max_pool: window is [2, 2, 2]: 3 values for 2 spatial axes",
                ),
                (r#"{"window": [0]}"#, &["float32[b, 8, 3]"], "max_pool: window has 0; it can be 1 to 1048576"),
                (
                    r#"{"window": [9]}"#,
                    &["float32[b, 8, 3]"],
                    "max_pool: spatial axis 0 has 8 elements with padding, fewer than the 9 that the window spans",
                ),
                (
                    r#"{"window": [2], "padding_low": [2]}"#,
                    &["float32[b, 8, 3]"],
                    "max_pool: padding of 2 leaves windows of 2 that see nothing of the image",
                ),
                (
                    r#"{"window": [2]}"#,
                    &["float32[b, 8]"],
                    "max_pool: x has shape [b, 8] of rank 2; it can be [batch, 1 to 3 spatial dims, channels]",
                ),
            ],
        );
    }

    #[test]
    fn gradients_have_the_shape_of_the_image() {
        check(
            "max_pool_scatter",
            &[
                (
                    r#"{"window": [2]}"#,
                    &["float32[b, h, 3]", "float32[b, floordiv(h, 2), 3]"],
                    "float32[b, h, 3] where h >= 2",
                ),
                (
                    r#"{"window": [2]}"#,
                    &["float32[b, 8, 3]", "float32[b, 5, 3]"],
                    "max_pool_scatter: the cotangent has shape [b, 5, 3], the pool's output [b, 4, 3]",
                ),
            ],
        );
        check(
            "max_pool_gather",
            &[
                (r#"{"window": [2]}"#, &["float32[b, 8, 3]", "float32[b, 8, 3]"], "float32[b, 4, 3]"),
                (
                    r#"{"window": [2]}"#,
                    &["float32[b, 8, 3]", "float32[b, 7, 3]"],
                    "max_pool_gather: shapes [b, 8, 3] and [b, 7, 3] differ",
                ),
            ],
        );
        check(
            "avg_pool_grad",
            &[(r#"{"window": [2], "shape": ["b", 8, 3]}"#, &["float32[b, 4, 3]"], "float32[b, 8, 3]")],
        );
    }
}
