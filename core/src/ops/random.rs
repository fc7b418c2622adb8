//! Random numbers: Threefry-2x32 words of a key, and what is made of them. Equal arguments give equal numbers.

use super::movement::{defaulted, required, shape_attr};
use crate::attrs::{AttrDef, AttrType, AttrValue};
use crate::cpu::call::Call;
use crate::cpu::random;
use crate::cpu::work::Stop;
use crate::dtype::{DType, DTypes};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Value};
use crate::infer::Infer;
use crate::op::{Backward, InputDef, Kernel, Lowering, Meaning, OpDef, Sample, Spec, Vjp};
use crate::shape::{Dim, Shape};
use crate::tensor::Tensor;

pub(super) const KEY: InputDef = InputDef::in_set("key", DTypes::KEY);
pub(super) const SHAPE: AttrDef = required("shape", AttrType::Dims, "The shape of the output.");
pub(super) const FLOAT_DTYPE: AttrDef =
    defaulted("dtype", AttrType::DType, "\"float32\"", "The dtype of the output, a floating-point type.");
pub(super) const BITS: Vjp = Vjp::NotDifferentiable("random bits do not depend on numbers");

/// The largest `float32` below 0 that is above -1: where `normal` draws from begins.
const ABOVE_MINUS_ONE: f64 = -0.999_999_940_395_355_2;
/// The same in `float64`.
const ABOVE_MINUS_ONE_64: f64 = -0.999_999_999_999_999_9;

/// Checks that the input of that index is a key.
pub(super) fn check_key(infer: &Infer, index: usize) -> Result<()> {
    let shape = &infer.input(index)?.shape;
    match shape[..] == [Dim::constant(2)] {
        true => Ok(()),
        false => Err(Error::shape(format!("key has shape {shape}, not [2]")).with_argument("key")),
    }
}

/// Whether a node makes random words, which a cluster makes of each element's number as it needs them: to it they are
/// element-wise, but for their key, which is made outside.
pub fn is_random_bits(node: &Node) -> bool {
    node.op.def.name == "random_bits"
}

/// The words of the first input.
pub(super) fn key(call: &Call) -> [u32; 2] {
    match call.input(0).elements::<u32>() {
        &[first, second] => [first, second],
        _ => unreachable!("infer has checked that a key has two words"),
    }
}

fn infer_random_bits(infer: &mut Infer) -> Result<Vec<Spec>> {
    check_key(infer, 0)?;
    let dtype = infer.attrs.dtype("dtype")?;
    if !matches!(dtype, DType::U32 | DType::U64) {
        return Err(Error::dtype(format!("dtype is {dtype}; it can be uint32, uint64")).with_argument("dtype"));
    }
    Ok(vec![Spec::new(dtype, shape_attr(infer.attrs)?)])
}

fn run_random_bits(call: &mut Call) -> Result<(), Stop> {
    let key = key(call);
    let output = &mut call.outputs[0];
    match output.dtype() {
        DType::U32 => random::bits::<u32>(&mut call.work, key, output.elements()),
        _ => random::bits::<u64>(&mut call.work, key, output.elements()),
    }
}

fn infer_random_split(infer: &mut Infer) -> Result<Vec<Spec>> {
    check_key(infer, 0)?;
    let count = infer.attrs.int("count")?;
    if count < 0 {
        return Err(Error::argument(format!("count is {count}, which is negative")).with_argument("count"));
    }
    Ok(vec![Spec::new(DType::U32, Shape::of(&[count, 2]))])
}

fn run_random_split(call: &mut Call) -> Result<(), Stop> {
    let key = key(call);
    random::split(&mut call.work, key, call.outputs[0].elements())
}

fn infer_fold_in(infer: &mut Infer) -> Result<Vec<Spec>> {
    check_key(infer, 0)?;
    let data = &infer.input(1)?.shape;
    match data.rank() {
        0 => Ok(vec![infer.input(0)?.clone()]),
        _ => Err(Error::shape(format!("data has shape {data}, not []")).with_argument("data")),
    }
}

fn run_fold_in(call: &mut Call) -> Result<(), Stop> {
    let (key, data) = (key(call), call.input(1));
    let number = match data.dtype() {
        DType::U32 => data.elements::<u32>().first().copied(),
        DType::I32 => data.elements::<i32>().first().map(|&number| number as u32),
        DType::U64 => data.elements::<u64>().first().map(|&number| number as u32),
        _ => data.elements::<i64>().first().map(|&number| number as u32),
    };
    let words = random::threefry(key, number.unwrap_or(0).into());
    call.outputs[0].elements::<u32>().copy_from_slice(&words);
    call.work.check()
}

/// A key, and the spec that the attrs shape and dtype say.
pub(super) fn infer_float(infer: &mut Infer) -> Result<Vec<Spec>> {
    check_key(infer, 0)?;
    let dtype = infer.attrs.dtype("dtype")?;
    if !dtype.is_float() {
        let text = format!("dtype is {dtype}; it can be {}", DTypes::FLOAT);
        return Err(Error::dtype(text).with_argument("dtype"));
    }
    Ok(vec![Spec::new(dtype, shape_attr(infer.attrs)?)])
}

fn infer_uniform(infer: &mut Infer) -> Result<Vec<Spec>> {
    for name in ["low", "high"] {
        let bound = infer.attrs.float(name)?;
        if !bound.is_finite() {
            return Err(Error::argument(format!("{name} is {bound}, which is not finite")).with_argument(name));
        }
    }
    infer_float(infer)
}

/// Numbers in [0, 1) of `float32` or `float64`: the high bits of a word as the fraction of a number in [1, 2), less 1.
pub(super) fn fraction(graph: &mut Graph, key: Value, shape: &[Dim], dtype: DType) -> Result<Value> {
    let (word, shift, one) = match dtype {
        DType::F64 => (DType::U64, Tensor::from_slice(DType::U64, &[], &[12u64]), 1f64.to_bits()),
        _ => (DType::U32, Tensor::from_slice(DType::U32, &[], &[9u32]), u64::from(1f32.to_bits())),
    };
    let exponent = match word {
        DType::U64 => Tensor::from_slice(word, &[], &[one]),
        _ => Tensor::from_slice(word, &[], &[one as u32]),
    };
    let attrs = [("shape", AttrValue::Dims(shape.to_vec())), ("dtype", AttrValue::DType(word))];
    let bits = graph.op("random_bits", &attrs, &[key])?;
    let (shift, exponent) = (graph.constant(shift?)?, graph.constant(exponent?)?);
    let bits = graph.op("bitwise_right_shift", &[], &[bits, shift])?;
    let bits = graph.op("bitwise_or", &[], &[bits, exponent])?;
    let number = graph.op("bitcast", &[("dtype", AttrValue::DType(dtype))], &[bits])?;
    let one = graph.scalar(dtype, 1.0)?;
    graph.sub(number, one)
}

/// Numbers in [low, high), computed in `float32` or `float64`.
pub(super) fn between(g: &mut Graph, key: Value, shape: &[Dim], dtype: DType, bounds: (f64, f64)) -> Result<Value> {
    let fraction = fraction(g, key, shape, dtype)?;
    if bounds == (0.0, 1.0) {
        return Ok(fraction);
    }
    let (low, high) = (g.scalar(dtype, bounds.0)?, g.scalar(dtype, bounds.1)?);
    stretched(g, fraction, low, high)
}

/// Numbers in [0, 1) moved to [low, high).
pub(super) fn stretched(g: &mut Graph, fraction: Value, low: Value, high: Value) -> Result<Value> {
    let width = g.sub(high, low)?;
    let scaled = g.mul(fraction, width)?;
    let moved = g.add(scaled, low)?;
    g.maximum(moved, low)
}

fn lower_uniform(l: &mut Lowering) -> Result<Vec<Value>> {
    let (shape, dtype) = (l.attrs.dims("shape")?, l.attrs.dtype("dtype")?);
    let bounds = (l.attrs.float("low")?, l.attrs.float("high")?);
    let numbers = between(l.graph, l.inputs[0], &shape, dtype.compute(), bounds)?;
    Ok(vec![l.graph.cast(numbers, dtype)?])
}

fn lower_normal(l: &mut Lowering) -> Result<Vec<Value>> {
    let (shape, dtype) = (l.attrs.dims("shape")?, l.attrs.dtype("dtype")?);
    let low = if dtype == DType::F64 { ABOVE_MINUS_ONE_64 } else { ABOVE_MINUS_ONE };
    let numbers = between(l.graph, l.inputs[0], &shape, dtype.compute(), (low, 1.0))?;
    let quantiles = l.graph.op("erfinv", &[], &[numbers])?;
    let root = l.graph.scalar_like(quantiles, std::f64::consts::SQRT_2)?;
    let numbers = l.graph.mul(root, quantiles)?;
    Ok(vec![l.graph.cast(numbers, dtype)?])
}

fn infer_dropout(infer: &mut Infer) -> Result<Vec<Spec>> {
    check_key(infer, 1)?;
    let rate = infer.attrs.float("rate")?;
    if !(0.0..1.0).contains(&rate) {
        return Err(Error::argument(format!("rate is {rate}; it is in [0, 1)")).with_argument("rate"));
    }
    Ok(vec![infer.input(0)?.clone()])
}

fn lower_dropout(l: &mut Lowering) -> Result<Vec<Value>> {
    let (x, key, shape, kept) = (l.inputs[0], l.inputs[1], l.shape(0), 1.0 - l.attrs.float("rate")?);
    let draws = fraction(l.graph, key, &shape, DType::F32)?;
    let kept_draws = l.graph.scalar(DType::F32, kept)?;
    let keep = l.graph.less(draws, kept_draws)?;
    let scale = l.graph.scalar_like(x, kept)?;
    let scaled = l.graph.div(x, scale)?;
    let zero = l.graph.scalar_like(x, 0.0)?;
    Ok(vec![l.graph.select(keep, scaled, zero)?])
}

/// The same elements are dropped, so the mask is made again from the key and need not be kept.
fn dropout_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (cotangent, key) = (b.cotangent()?, b.inputs[1]);
    let rate = ("rate", b.attrs.value("rate").clone());
    Ok(vec![Some(b.graph.op("dropout", &[rate], &[cotangent, key])?), None])
}

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "random_bits",
        version: 1,
        doc: "Random words of a key: with (a, b) the two words that Threefry-2x32 (20 rounds) makes of the element's \
            row-major number as a 64-bit counter, a xor b for uint32 and a * 2^32 + b for uint64. As in JAX.",
        dtypes: DTypes::KEY,
        inputs: &[KEY],
        outputs: &["output"],
        attrs: &[
            SHAPE,
            defaulted("dtype", AttrType::DType, "\"uint32\"", "The dtype of the output: uint32 or uint64."),
        ],
        regions: &[],
        infer: infer_random_bits,
        meaning: Meaning::Kernel(Kernel::dense(run_random_bits)),
        vjp: BITS,
        samples: &[
            Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [2, 5]}"# },
            Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [], "dtype": "uint64"}"# },
            Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [0, 3]}"# },
        ],
    },
    OpDef {
        name: "random_split",
        version: 1,
        doc: "Independent keys from one: row i of the output [count, 2] is Threefry-2x32 of i. As in JAX.",
        dtypes: DTypes::KEY,
        inputs: &[KEY],
        outputs: &["output"],
        attrs: &[defaulted("count", AttrType::Int, "2", "How many keys.")],
        regions: &[],
        infer: infer_random_split,
        meaning: Meaning::Kernel(Kernel::dense(run_random_split)),
        vjp: BITS,
        samples: &[
            Sample { inputs: &["uint32[2]"], attrs: "{}" },
            Sample { inputs: &["uint32[2]"], attrs: r#"{"count": 3}"# },
        ],
    },
    OpDef {
        name: "fold_in",
        version: 1,
        doc: "A key from a key and a number, a scalar whose low 32 bits count: Threefry-2x32 of it, so that \
            fold_in(key, i) is row i of random_split. As in JAX.",
        dtypes: DTypes::KEY,
        inputs: &[KEY, InputDef::in_set("data", DTypes::of(&[DType::I32, DType::I64, DType::U32, DType::U64]))],
        outputs: &["output"],
        attrs: &[],
        regions: &[],
        infer: infer_fold_in,
        meaning: Meaning::Kernel(Kernel::dense(run_fold_in)),
        vjp: BITS,
        samples: &[
            Sample { inputs: &["uint32[2]", "uint32[]"], attrs: "{}" },
            Sample { inputs: &["uint32[2]", "int64[] in 0..9"], attrs: "{}" },
        ],
    },
    OpDef {
        name: "uniform",
        version: 1,
        doc: "Random numbers evenly spread over [low, high). In `float32` the 23 high bits of each word of random_bits \
            are the fraction of a number in [1, 2), from which 1 is taken; in `float64` the 52 high bits of uint64 \
            words. They are multiplied by high - low, and low is added; where that rounds up, high can come out. \
            `float16` and `bfloat16` are rounded from `float32`.",
        dtypes: DTypes::KEY,
        inputs: &[KEY],
        outputs: &["output"],
        attrs: &[
            SHAPE,
            FLOAT_DTYPE,
            defaulted("low", AttrType::Float, "0.0", "The least number."),
            defaulted("high", AttrType::Float, "1.0", "The number that all are below."),
        ],
        regions: &[],
        infer: infer_uniform,
        meaning: Meaning::Lower(lower_uniform),
        vjp: BITS,
        samples: &[
            Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [2, 5]}"# },
            Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [7], "low": -2.0, "high": 3.0}"# },
            Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [7], "dtype": "float64"}"# },
            Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [7], "dtype": "bfloat16"}"# },
        ],
    },
    OpDef {
        name: "normal",
        version: 1,
        doc: "Random numbers of the standard normal distribution: sqrt(2) * erfinv(u) with u uniform in (-1, 1). \
            `float16` and `bfloat16` are rounded from `float32`.",
        dtypes: DTypes::KEY,
        inputs: &[KEY],
        outputs: &["output"],
        attrs: &[SHAPE, FLOAT_DTYPE],
        regions: &[],
        infer: infer_float,
        meaning: Meaning::Lower(lower_normal),
        vjp: BITS,
        samples: &[
            Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [2, 5]}"# },
            Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [7], "dtype": "float64"}"# },
            Sample { inputs: &["uint32[2]"], attrs: r#"{"shape": [7], "dtype": "float16"}"# },
        ],
    },
    OpDef {
        name: "dropout",
        version: 1,
        doc: "x / (1 - rate) where a number that is uniform in [0, 1) (in `float32`, of the key and x's shape) is \
            below 1 - rate, else 0. The gradient makes the same choice from the key again.",
        dtypes: DTypes::FLOAT,
        inputs: &[InputDef::of("x"), KEY],
        outputs: &["output"],
        attrs: &[required("rate", AttrType::Float, "The share of elements that become 0, in [0, 1).")],
        regions: &[],
        infer: infer_dropout,
        meaning: Meaning::Lower(lower_dropout),
        vjp: Vjp::Rule(dropout_vjp),
        samples: &[
            Sample { inputs: &["T[4, 5]", "uint32[2]"], attrs: r#"{"rate": 0.5}"# },
            Sample { inputs: &["T[7]", "uint32[2]"], attrs: r#"{"rate": 0.0}"# },
        ],
    },
];

#[cfg(test)]
mod tests {
    use crate::ops::testing::check;

    #[test]
    fn keys_and_bounds_are_checked() {
        check(
            "random_bits",
            &[
                (r#"{"shape": ["n", 2]}"#, &["uint32[2]"], "uint32[n, 2]"),
                (r#"{"shape": [2]}"#, &["uint32[3]"], "random_bits: key has shape [3], not [2]"),
                (r#"{"shape": [2]}"#, &["int32[2]"], "random_bits: key is int32; it can be uint32"),
                (
                    r#"{"shape": [2], "dtype": "int8"}"#,
                    &["uint32[2]"],
                    "random_bits: dtype is int8; it can be uint32, uint64",
                ),
                (r#"{"shape": [-2]}"#, &["uint32[2]"], "random_bits: the shape [-2] has the negative dim -2"),
            ],
        );
        check("random_split", &[(r#"{"count": -1}"#, &["uint32[2]"], "random_split: count is -1, which is negative")]);
        check("fold_in", &[("{}", &["uint32[2]", "int64[1]"], "fold_in: data has shape [1], not []")]);
        check(
            "uniform",
            &[
                (r#"{"shape": [2], "dtype": "float16"}"#, &["uint32[2]"], "float16[2]"),
                (r#"{"shape": [2], "low": "nan"}"#, &["uint32[2]"], "uniform: low is NaN, which is not finite"),
                (
                    r#"{"shape": [2], "dtype": "int8"}"#,
                    &["uint32[2]"],
                    "uniform: dtype is int8; it can be float16, bfloat16, float32, float64",
                ),
            ],
        );
        check("dropout", &[(r#"{"rate": 1.0}"#, &["float32[n]", "uint32[2]"], "dropout: rate is 1; it is in [0, 1)")]);
    }
}
