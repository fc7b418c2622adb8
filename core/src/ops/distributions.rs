//! Random numbers of other distributions, made of the words and uniform numbers of `random`, by JAX's formulas.

use super::movement::{defaulted, required};
use super::nn::widen;
use super::random::{BITS, FLOAT_DTYPE, KEY, SHAPE, between, check_key, fraction, infer_float, key, stretched};
use crate::attrs::{AttrDef, AttrType, AttrValue, Attrs};
use crate::cpu::call::Call;
use crate::cpu::random;
use crate::cpu::work::Stop;
use crate::dtype::{DType, DTypes};
use crate::error::{Error, Result};
use crate::graph::Value;
use crate::infer::Infer;
use crate::op::{InputDef, Kernel, Lowering, Meaning, OpDef, Sample, Spec, Vjp, normalize_axis};
use crate::shape::{Dim, Shape};

/// The attr `shape` where it may be left out.
const OWN_SHAPE: AttrDef = defaulted("shape", AttrType::Dims, "null", "The shape of the output; null is that of p.");

fn shape_or(attrs: &Attrs, own: Shape) -> Result<Shape> {
    match attrs.optional_dims("shape") {
        Some(dims) => Shape::new(dims).map_err(|error| error.with_argument("shape")),
        None => Ok(own),
    }
}

fn infer_bernoulli(infer: &mut Infer) -> Result<Vec<Spec>> {
    check_key(infer, 0)?;
    let p = &infer.input(1)?.shape;
    let shape = shape_or(infer.attrs, p.clone())?;
    if !infer.broadcast(p, &shape).is_ok_and(|both| both == shape) {
        return Err(Error::shape(format!("p has shape {p}, which does not broadcast to {shape}")).with_argument("p"));
    }
    Ok(vec![Spec::new(DType::Bool, shape)])
}

fn lower_bernoulli(l: &mut Lowering) -> Result<Vec<Value>> {
    let shape = shape_or(l.attrs, l.shape(1))?;
    let p = widen(l.graph, l.inputs[1])?;
    let dtype = l.graph.spec(p).dtype;
    let draws = fraction(l.graph, l.inputs[0], &shape, dtype)?;
    Ok(vec![l.graph.less(draws, p)?])
}

/// The least integer of a dtype and the one after its greatest.
fn range(dtype: DType) -> (i128, i128) {
    match dtype {
        DType::I32 => (i32::MIN.into(), 1 << 31),
        DType::U32 => (0, 1 << 32),
        DType::U64 => (0, 1 << 64),
        _ => (i64::MIN.into(), 1 << 63),
    }
}

fn infer_randint(infer: &mut Infer) -> Result<Vec<Spec>> {
    check_key(infer, 0)?;
    let (low, high, dtype) = (infer.attrs.dim("low")?, infer.attrs.dim("high")?, infer.attrs.dtype("dtype")?);
    if !matches!(dtype, DType::I32 | DType::I64 | DType::U32 | DType::U64) {
        let text = format!("dtype is {dtype}; it can be int32, int64, uint32, uint64");
        return Err(Error::dtype(text).with_argument("dtype"));
    }
    let (least, end) = range(dtype);
    for (name, bound, end) in [("low", &low, end - 1), ("high", &high, end)] {
        if let Some(value) = bound.as_constant().filter(|&value| !(least..=end).contains(&value.into())) {
            return Err(Error::argument(format!("{name} is {value}, out of range for {dtype}")).with_argument(name));
        }
    }
    if let (Some(from), Some(to)) = (low.as_constant(), high.as_constant())
        && from >= to
    {
        return Err(Error::argument(format!("high is {to}, which is not above low, {from}")).with_argument("high"));
    }
    Ok(vec![Spec::new(dtype, super::movement::shape_attr(infer.attrs)?)])
}

/// The least integer that `randint` gives, and how many there are. Bounds that were symbols are cut to the dtype; where
/// high is not above low, low comes out.
pub(crate) fn low_and_span(attrs: &Attrs, dtype: DType) -> (i128, u64) {
    let (least, end) = range(dtype);
    let bound = |name| attrs.dim(name).ok().and_then(|dim| dim.as_constant()).map_or(0, i128::from);
    let low = bound("low").clamp(least, end - 1);
    (low, (bound("high").clamp(least, end) - low).max(1) as u64)
}

fn run_randint(call: &mut Call) -> Result<(), Stop> {
    let (key, output) = (key(call), &mut call.outputs[0]);
    let (low, span) = low_and_span(call.attrs, output.dtype());
    let work = &mut call.work;
    match output.dtype() {
        DType::I32 => {
            random::integers::<u32, i32>(work, key, span, output.elements(), |n| (low + i128::from(n)) as i32)
        }
        DType::U32 => {
            random::integers::<u32, u32>(work, key, span, output.elements(), |n| (low + i128::from(n)) as u32)
        }
        DType::U64 => {
            random::integers::<u64, u64>(work, key, span, output.elements(), |n| (low + i128::from(n)) as u64)
        }
        _ => random::integers::<u64, i64>(work, key, span, output.elements(), |n| (low + i128::from(n)) as i64),
    }
}

fn infer_truncated_normal(infer: &mut Infer) -> Result<Vec<Spec>> {
    let (low, high) = (infer.attrs.float("low")?, infer.attrs.float("high")?);
    for (name, bound) in [("low", low), ("high", high)] {
        if !bound.is_finite() {
            return Err(Error::argument(format!("{name} is {bound}, which is not finite")).with_argument(name));
        }
    }
    if low >= high {
        return Err(Error::argument(format!("high is {high}, which is not above low, {low}")).with_argument("high"));
    }
    infer_float(infer)
}

/// The numbers next to two bounds, between them, in `float32` or `float64`.
fn inside(dtype: DType, low: f64, high: f64) -> (f64, f64) {
    match dtype {
        DType::F64 => (low.next_up(), high.next_down()),
        _ => ((low as f32).next_up().into(), (high as f32).next_down().into()),
    }
}

fn lower_truncated_normal(l: &mut Lowering) -> Result<Vec<Value>> {
    let (shape, dtype) = (l.attrs.dims("shape")?, l.attrs.dtype("dtype")?);
    let (low, high) = (l.attrs.float("low")?, l.attrs.float("high")?);
    let fraction = fraction(l.graph, l.inputs[0], &shape, dtype.compute())?;
    let g = &mut *l.graph;
    let root = g.scalar_like(fraction, std::f64::consts::SQRT_2)?;
    let mut share = |bound: f64| {
        let bound = g.scalar_like(fraction, bound)?;
        let bound = g.div(bound, root)?;
        g.erf(bound)
    };
    let (from, to) = (share(low)?, share(high)?);
    let numbers = stretched(g, fraction, from, to)?;
    let quantiles = g.op("erfinv", &[], &[numbers])?;
    let numbers = g.mul(root, quantiles)?;
    let (least, most) = inside(dtype.compute(), low, high);
    let (least, most) = (g.scalar_like(numbers, least)?, g.scalar_like(numbers, most)?);
    let numbers = g.maximum(numbers, least)?;
    let numbers = g.minimum(numbers, most)?;
    Ok(vec![g.cast(numbers, dtype)?])
}

fn lower_exponential(l: &mut Lowering) -> Result<Vec<Value>> {
    let (shape, dtype) = (l.attrs.dims("shape")?, l.attrs.dtype("dtype")?);
    let draws = fraction(l.graph, l.inputs[0], &shape, dtype.compute())?;
    let g = &mut *l.graph;
    let draws = g.neg(draws)?;
    let logs = g.op("log1p", &[], &[draws])?;
    let numbers = g.neg(logs)?;
    Ok(vec![g.cast(numbers, dtype)?])
}

fn lower_gumbel(l: &mut Lowering) -> Result<Vec<Value>> {
    let (shape, dtype) = (l.attrs.dims("shape")?, l.attrs.dtype("dtype")?);
    let least = if dtype == DType::F64 { f64::MIN_POSITIVE } else { f32::MIN_POSITIVE.into() };
    let draws = between(l.graph, l.inputs[0], &shape, dtype.compute(), (least, 1.0))?;
    let g = &mut *l.graph;
    let logs = g.log(draws)?;
    let logs = g.neg(logs)?;
    let logs = g.log(logs)?;
    let numbers = g.neg(logs)?;
    Ok(vec![g.cast(numbers, dtype)?])
}

/// The axis of the classes, and the dims of what is drawn: those that the attr `shape` puts in front, and the others.
fn drawn(attrs: &Attrs, logits: &Shape) -> Result<(usize, Vec<Dim>, Vec<Dim>)> {
    let axis = normalize_axis(attrs.int("axis")?, logits.rank())?;
    let mut batch = logits.to_vec();
    batch.remove(axis);
    let shape = shape_or(attrs, Shape::new(batch.clone())?)?;
    let front = shape.rank().checked_sub(batch.len());
    match front.filter(|&front| shape[front..] == batch[..]) {
        Some(front) => Ok((axis, shape[..front].to_vec(), batch)),
        None => {
            let text =
                format!("shape is {shape}; it ends in {}, the shape of logits but axis {axis}", Shape::new(batch)?);
            Err(Error::argument(text).with_argument("shape"))
        }
    }
}

fn infer_categorical(infer: &mut Infer) -> Result<Vec<Spec>> {
    check_key(infer, 0)?;
    let logits = &infer.input(1)?.shape;
    let (axis, front, batch) = drawn(infer.attrs, logits)?;
    if logits[axis].as_constant() == Some(0) {
        let text = format!("logits {logits} has no classes along axis {axis}");
        return Err(Error::shape(text).with_argument("logits"));
    }
    Ok(vec![Spec::new(DType::I64, Shape::new([front, batch].concat())?)])
}

fn lower_categorical(l: &mut Lowering) -> Result<Vec<Value>> {
    let logits = l.shape(1);
    let (axis, front, _) = drawn(l.attrs, &logits)?;
    let shape: Vec<_> = front.iter().chain(logits.iter()).cloned().collect();
    let x = widen(l.graph, l.inputs[1])?;
    let attrs = [("shape", AttrValue::Dims(shape)), ("dtype", AttrValue::DType(l.graph.spec(x).dtype))];
    let noise = l.graph.op("gumbel", &attrs, &[l.inputs[0]])?;
    let sum = l.graph.add(noise, x)?;
    let axis = (front.len() + axis) as i64;
    Ok(vec![l.graph.op("argmax", &[("axis", AttrValue::Int(axis))], &[sum])?])
}

fn infer_permutation(infer: &mut Infer) -> Result<Vec<Spec>> {
    check_key(infer, 0)?;
    let shape = Shape::new(vec![infer.attrs.dim("size")?]).map_err(|error| error.with_argument("size"))?;
    Ok(vec![Spec::new(DType::I64, shape)])
}

/// Words of 64 bits, so that two are equal with a probability of size^2 / 2^65 alone.
fn lower_permutation(l: &mut Lowering) -> Result<Vec<Value>> {
    let shape = AttrValue::Dims(vec![l.attrs.dim("size")?]);
    let attrs = [("shape", shape), ("dtype", AttrValue::DType(DType::U64))];
    let words = l.graph.op("random_bits", &attrs, &[l.inputs[0]])?;
    Ok(vec![l.graph.op("argsort", &[], &[words])?])
}

const FLOATS: &[Sample] = &[
    Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [2, 5]}"# },
    Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [7], "dtype": "float64"}"# },
    Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [7], "dtype": "bfloat16"}"# },
    Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [0, 3]}"# },
];

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "bernoulli",
        version: 1,
        doc: "Random bools that are true with probability p: uniform < p. Below 0 and NaN is never, 1 and more always.\n\
            p broadcasts to the shape. The uniform numbers are of p's dtype (`float32` for `float16` and `bfloat16`), as \
            in JAX.",
        dtypes: DTypes::FLOAT,
        inputs: &[KEY, InputDef::of("p")],
        outputs: &["output"],
        attrs: &[OWN_SHAPE],
        regions: &[],
        infer: infer_bernoulli,
        meaning: Meaning::Lower(lower_bernoulli),
        vjp: Vjp::NotDifferentiable("its output is bool"),
        samples: &[
            Sample { inputs: &["uint32[2]", "T[2, 5] in 0..1"], attrs: "{}" },
            Sample { inputs: &["uint32[2]", "T[] in 0..1"], attrs: r#"{"shape": [3, 7]}"# },
            Sample { inputs: &["uint32[2]", "T[3, 1] in -1..2"], attrs: r#"{"shape": [2, 3, 4]}"# },
        ],
    },
    OpDef {
        name: "randint",
        version: 1,
        doc: "Random integers evenly spread over [low, high).\n\
            With h and l the words (random_bits, of the dtype's width W) that the two keys of random_split(key) give, an \
            integer is low + (h 2^W + l) mod (high - low): no integer is likelier than another by more than a part in \
            2^W. Equal to JAX where high - low is a power of two or up to 2^(W / 2); beyond, JAX is less even. Bounds with \
            a symbol are cut to the dtype, and give low where high is not above it.",
        dtypes: DTypes::KEY,
        inputs: &[KEY],
        outputs: &["output"],
        attrs: &[
            SHAPE,
            defaulted("low", AttrType::Dim, "0", "The least integer."),
            required("high", AttrType::Dim, "The integer that all are below."),
            defaulted(
                "dtype",
                AttrType::DType,
                "\"int64\"",
                "The dtype of the output: int32, int64, uint32 or uint64.",
            ),
        ],
        regions: &[],
        infer: infer_randint,
        meaning: Meaning::Kernel(Kernel::dense(run_randint)),
        vjp: BITS,
        samples: &[
            Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [2, 5], "high": 10}"# },
            Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [103], "low": -7, "high": 60000, "dtype": "int32"}"# },
            Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [7], "high": 4294967296, "dtype": "uint32"}"# },
            Sample {
                inputs: &["uint32[2]"],
                attrs: r#"{"shape": [7], "low": -9223372036854775808, "high": 9223372036854775807}"#,
            },
            Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [0], "high": 1, "dtype": "uint64"}"# },
        ],
    },
    OpDef {
        name: "permutation",
        version: 1,
        doc: "The integers (int64) from 0 to before size in random order, each order as likely: argsort of uint64 \
            random_bits. Not the order of JAX, which sorts 32 bits more than once.",
        dtypes: DTypes::KEY,
        inputs: &[KEY],
        outputs: &["output"],
        attrs: &[required("size", AttrType::Dim, "How many integers.")],
        regions: &[],
        infer: infer_permutation,
        meaning: Meaning::Lower(lower_permutation),
        vjp: BITS,
        samples: &[
            Sample { inputs: &["uint32[2]"], attrs: r#"{"size": 10}"# },
            Sample { inputs: &["uint32[2]"], attrs: r#"{"size": 1003}"# },
            Sample { inputs: &["uint32[2]"], attrs: r#"{"size": 0}"# },
        ],
    },
    OpDef {
        name: "truncated_normal",
        version: 1,
        doc: "Random numbers of the standard normal distribution between two bounds: sqrt(2) erfinv(u).\n\
            u is uniform in [erf(low / sqrt(2)), erf(high / sqrt(2))), and the result is cut to the numbers between low \
            and high, as in JAX. Far from 0, where erf is flat, few numbers come out: keep the bounds within about 4 in \
            `float32`. `float16` and `bfloat16` are rounded from `float32`, maybe to a bound.",
        dtypes: DTypes::KEY,
        inputs: &[KEY],
        outputs: &["output"],
        attrs: &[
            SHAPE,
            FLOAT_DTYPE,
            defaulted("low", AttrType::Float, "-2.0", "The bound below, in standard deviations."),
            defaulted("high", AttrType::Float, "2.0", "The bound above, in standard deviations."),
        ],
        regions: &[],
        infer: infer_truncated_normal,
        meaning: Meaning::Lower(lower_truncated_normal),
        vjp: BITS,
        samples: &[
            Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [2, 5]}"# },
            Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [7], "low": -0.5, "high": 3.0}"# },
            Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [7], "dtype": "float64"}"# },
            Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [7], "dtype": "float16"}"# },
        ],
    },
    OpDef {
        name: "exponential",
        version: 1,
        doc: "Random numbers of the exponential distribution with mean 1: -log(1 - u), u uniform in [0, 1). As in JAX. \
            `float16` and `bfloat16` are rounded from `float32`.",
        dtypes: DTypes::KEY,
        inputs: &[KEY],
        outputs: &["output"],
        attrs: &[SHAPE, FLOAT_DTYPE],
        regions: &[],
        infer: infer_float,
        meaning: Meaning::Lower(lower_exponential),
        vjp: BITS,
        samples: FLOATS,
    },
    OpDef {
        name: "gumbel",
        version: 1,
        doc: "Random numbers of the standard Gumbel distribution: -log(-log(u)), u uniform in [t, 1) with t the least \
            normal number. As in JAX. `float16` and `bfloat16` are rounded from `float32`.",
        dtypes: DTypes::KEY,
        inputs: &[KEY],
        outputs: &["output"],
        attrs: &[SHAPE, FLOAT_DTYPE],
        regions: &[],
        infer: infer_float,
        meaning: Meaning::Lower(lower_gumbel),
        vjp: BITS,
        samples: FLOATS,
    },
    OpDef {
        name: "categorical",
        version: 1,
        doc: "Random classes (int64), each with the probability softmax(logits): argmax(logits + gumbel).\n\
            Logits need not be normalized, and -inf is never drawn beside a finite one. The Gumbel numbers are of the \
            logits' dtype (`float32` for `float16` and `bfloat16`), as in JAX.",
        dtypes: DTypes::FLOAT,
        inputs: &[KEY, InputDef::of("logits")],
        outputs: &["output"],
        attrs: &[
            defaulted("axis", AttrType::Int, "-1", "The axis of the classes."),
            defaulted(
                "shape",
                AttrType::Dims,
                "null",
                "The shape of the output, which ends in that of logits without the axis; null is that alone. Each place \
                    in front of it is a draw of its own.",
            ),
        ],
        regions: &[],
        infer: infer_categorical,
        meaning: Meaning::Lower(lower_categorical),
        vjp: Vjp::NotDifferentiable("its output is integer"),
        samples: &[
            Sample { inputs: &["uint32[2]", "T[4, 3]"], attrs: "{}" },
            Sample { inputs: &["uint32[2]", "T[3, 4]"], attrs: r#"{"axis": 0, "shape": [5, 4]}"# },
            Sample { inputs: &["uint32[2]", "T[6]"], attrs: r#"{"shape": [20]}"# },
            Sample { inputs: &["uint32[2]", "T[0, 6]"], attrs: "{}" },
        ],
    },
];

#[cfg(test)]
mod tests {
    use crate::ops::testing::check;

    #[test]
    fn probabilities_and_logits_fit_the_shape() {
        check(
            "bernoulli",
            &[
                ("{}", &["uint32[2]", "float16[n, 3]"], "bool[n, 3]"),
                (r#"{"shape": ["n", 2]}"#, &["uint32[2]", "float32[]"], "bool[n, 2]"),
                (
                    r#"{"shape": [4, 2]}"#,
                    &["uint32[2]", "float32[3]"],
                    "bernoulli: p has shape [3], which does not broadcast to [4, 2]",
                ),
                (
                    r#"{"shape": [1]}"#,
                    &["uint32[2]", "float32[3]"],
                    "bernoulli: p has shape [3], which does not broadcast to [1]",
                ),
            ],
        );
        check(
            "categorical",
            &[
                ("{}", &["uint32[2]", "float32[n, 3]"], "int64[n]"),
                (r#"{"axis": 0, "shape": [7, 3]}"#, &["uint32[2]", "float32[n, 3]"], "int64[7, 3]"),
                (
                    r#"{"shape": [7]}"#,
                    &["uint32[2]", "float32[n, 3]"],
                    "categorical: shape is [7]; it ends in [n], the shape of logits but axis 1",
                ),
                ("{}", &["uint32[2]", "float32[]"], "categorical: axis -1 is out of range for rank 0"),
                ("{}", &["uint32[2]", "float32[2, 0]"], "categorical: logits [2, 0] has no classes along axis 1"),
            ],
        );
    }

    #[test]
    fn bounds_are_in_order_and_in_range() {
        check(
            "randint",
            &[
                (r#"{"shape": [2], "high": "n"}"#, &["uint32[2]"], "int64[2]"),
                (r#"{"shape": [2], "high": 0}"#, &["uint32[2]"], "randint: high is 0, which is not above low, 0"),
                (
                    r#"{"shape": [2], "low": -1, "high": 3, "dtype": "uint32"}"#,
                    &["uint32[2]"],
                    "randint: low is -1, out of range for uint32",
                ),
                (
                    r#"{"shape": [2], "high": 2147483649, "dtype": "int32"}"#,
                    &["uint32[2]"],
                    "randint: high is 2147483649, out of range for int32",
                ),
                (
                    r#"{"shape": [2], "high": 3, "dtype": "int8"}"#,
                    &["uint32[2]"],
                    "randint: dtype is int8; it can be int32, int64, uint32, uint64",
                ),
            ],
        );
        check(
            "permutation",
            &[
                (r#"{"size": "n"}"#, &["uint32[2]"], "int64[n]"),
                (r#"{"size": -1}"#, &["uint32[2]"], "permutation: the shape [-1] has the negative dim -1"),
            ],
        );
        check(
            "truncated_normal",
            &[
                (r#"{"shape": ["n"], "dtype": "float16"}"#, &["uint32[2]"], "float16[n]"),
                (
                    r#"{"shape": [2], "low": 2.0}"#,
                    &["uint32[2]"],
                    "truncated_normal: high is 2, which is not above low, 2",
                ),
                (
                    r#"{"shape": [2], "high": "inf"}"#,
                    &["uint32[2]"],
                    "truncated_normal: high is inf, which is not finite",
                ),
            ],
        );
    }
}
