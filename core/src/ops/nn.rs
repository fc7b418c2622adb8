//! What layers of neural networks are made of. `float16` and `bfloat16` are computed in `float32` and rounded at the end.

use super::index::INDICES;
use crate::attrs::{AttrDef, AttrType, AttrValue, Attrs};
use crate::dtype::{DType, DTypes};
use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::infer::Infer;
use crate::op::{Backward, InputDef, Lowering, Meaning, OpDef, Sample, Spec, Vjp, normalize_axes, normalize_axis, one};
use crate::shape::{Dim, Shape};

const X: InputDef = InputDef::of("x");
const LAST_AXIS: AttrDef =
    AttrDef { name: "axis", kind: AttrType::Int, default: Some("-1"), doc: "The axis along which values compete." };

/// The value in the dtype that its elements are computed in.
pub(super) fn widen(graph: &mut Graph, x: Value) -> Result<Value> {
    let dtype = graph.spec(x).dtype.compute();
    graph.cast(x, dtype)
}

/// The greatest along `axes`, which stay with size 1, as a constant to gradients; 0 of no elements.
pub(super) fn peak(graph: &mut Graph, x: Value, axes: &[i64]) -> Result<Value> {
    let shape = graph.spec(x).shape.clone();
    let reduced = normalize_axes(Some(axes), shape.rank())?;
    if reduced.iter().any(|&axis| shape[axis].as_constant() == Some(0)) {
        let kept =
            shape.iter().enumerate().map(|(axis, dim)| if reduced.contains(&axis) { one() } else { dim.clone() });
        let dtype = graph.spec(x).dtype;
        return graph.full(dtype, &Shape::new(kept.collect())?, 0.0);
    }
    let most = graph.reduce("max", x, axes, true)?;
    graph.stop_gradient(most)
}

fn infer_along_axis(infer: &mut Infer) -> Result<Vec<Spec>> {
    let x = infer.input(0)?;
    normalize_axis(infer.attrs.int("axis")?, x.shape.rank())?;
    Ok(vec![x.clone()])
}

fn lower_softmax(lowering: &mut Lowering) -> Result<Vec<Value>> {
    let (dtype, axis) = (lowering.dtype(0), lowering.attrs.int("axis")?);
    let g = &mut *lowering.graph;
    let x = widen(g, lowering.inputs[0])?;
    let most = peak(g, x, &[axis])?;
    let shifted = g.sub(x, most)?;
    let exponential = g.exp(shifted)?;
    let total = g.reduce("sum", exponential, &[axis], true)?;
    let output = g.div(exponential, total)?;
    Ok(vec![g.cast(output, dtype)?])
}

/// y (cotangent - sum(cotangent y)).
fn softmax_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (axis, output, cotangent) = (b.attrs.int("axis")?, b.outputs[0], b.cotangent()?);
    let g = &mut *b.graph;
    let dtype = g.spec(output).dtype;
    let (y, cotangent) = (widen(g, output)?, widen(g, cotangent)?);
    let weighted = g.mul(cotangent, y)?;
    let common = g.reduce("sum", weighted, &[axis], true)?;
    let rest = g.sub(cotangent, common)?;
    let result = g.mul(y, rest)?;
    Ok(vec![Some(g.cast(result, dtype)?)])
}

fn lower_log_softmax(lowering: &mut Lowering) -> Result<Vec<Value>> {
    let (dtype, axis) = (lowering.dtype(0), lowering.attrs.int("axis")?);
    let g = &mut *lowering.graph;
    let x = widen(g, lowering.inputs[0])?;
    let most = peak(g, x, &[axis])?;
    let shifted = g.sub(x, most)?;
    let exponential = g.exp(shifted)?;
    let total = g.reduce("sum", exponential, &[axis], true)?;
    let log = g.log(total)?;
    let output = g.sub(shifted, log)?;
    Ok(vec![g.cast(output, dtype)?])
}

/// The axes of the attr and the shape without them (or with 1 in their place).
fn reduced(attrs: &Attrs, shape: &Shape) -> Result<(Vec<i64>, Shape)> {
    let axes = normalize_axes(attrs.optional_ints("axis").as_deref(), shape.rank())?;
    let keep = attrs.bool("keepdims")?;
    let dims = shape.iter().enumerate().filter_map(|(axis, dim)| match (axes.contains(&axis), keep) {
        (false, _) => Some(dim.clone()),
        (true, true) => Some(one()),
        (true, false) => None,
    });
    let dims = dims.collect();
    Ok((axes.into_iter().map(|axis| axis as i64).collect(), Shape::new(dims)?))
}

fn infer_logsumexp(infer: &mut Infer) -> Result<Vec<Spec>> {
    let x = infer.input(0)?;
    Ok(vec![Spec::new(x.dtype, reduced(infer.attrs, &x.shape)?.1)])
}

/// The greatest is subtracted where it is finite; else the infinity comes through exp and log by itself.
fn lower_logsumexp(lowering: &mut Lowering) -> Result<Vec<Value>> {
    let (dtype, (axes, shape)) = (lowering.dtype(0), reduced(lowering.attrs, &lowering.shape(0))?);
    let g = &mut *lowering.graph;
    let x = widen(g, lowering.inputs[0])?;
    let most = peak(g, x, &axes)?;
    let (infinity, zero) = (g.scalar_like(x, f64::INFINITY)?, g.scalar_like(x, 0.0)?);
    let magnitude = g.abs(most)?;
    let finite = g.less(magnitude, infinity)?;
    let most = g.select(finite, most, zero)?;
    let shifted = g.sub(x, most)?;
    let exponential = g.exp(shifted)?;
    let total = g.reduce("sum", exponential, &axes, true)?;
    let log = g.log(total)?;
    let output = g.add(log, most)?;
    let output = g.reshape(output, &shape)?;
    Ok(vec![g.cast(output, dtype)?])
}

fn infer_embedding(infer: &mut Infer) -> Result<Vec<Spec>> {
    let (table, indices) = (infer.input(0)?, infer.input(1)?);
    let Some((_, features)) = table.shape.split_first() else {
        return Err(Error::shape("table is a scalar; its first axis is that of the rows").with_argument("table"));
    };
    let shape = indices.shape.iter().chain(features).cloned().collect();
    Ok(vec![Spec::new(table.dtype, Shape::new(shape)?)])
}

/// The sizes of an attention: its inputs are [batch, length, heads, depth] and [batch, source, shared, depth].
struct Heads {
    batch: Dim,
    length: Dim,
    source: Dim,
    heads: Dim,
    /// The heads of key and value.
    shared: Dim,
    /// How many heads of the query each of those serves.
    each: Dim,
}

impl Heads {
    fn new(query: &Shape, key: &Shape) -> Heads {
        let (heads, shared) = (query[2].clone(), key[2].clone());
        let each = match (heads.as_constant(), shared.as_constant()) {
            (Some(heads), Some(shared)) if shared > 0 => Dim::constant(heads / shared),
            _ => one(),
        };
        Heads { batch: query[0].clone(), length: query[1].clone(), source: key[1].clone(), heads, shared, each }
    }

    /// The shape of the logits, and of what masks broadcast to.
    fn logits(&self) -> [Dim; 4] {
        [&self.batch, &self.heads, &self.length, &self.source].map(Dim::clone)
    }
}

/// The attr `scale`, or 1 / sqrt(depth).
fn attention_scale(attrs: &Attrs, query: &Shape) -> Result<f64> {
    match (attrs.optional_float("scale"), query[3].as_constant()) {
        (Some(scale), _) => Ok(scale),
        (None, Some(depth)) => Ok(1.0 / (depth as f64).sqrt()),
        (None, None) => {
            let text = format!("query has shape {query}; give a scale, or a depth (the last dim) that is a number");
            Err(Error::argument(text).with_argument("scale"))
        }
    }
}

fn infer_attention(infer: &mut Infer) -> Result<Vec<Spec>> {
    let (query, key) = (infer.shape_of_rank(0, 4)?, infer.shape_of_rank(1, 4)?);
    let value = infer.shape_of_rank(2, 4)?;
    attention_scale(infer.attrs, query)?;
    let differ = |name: &'static str, shape: &Shape, of: &str, other: &Shape, what: &str| {
        let text = format!("{name} has shape {shape}, {of} {other}: they differ in {what}");
        Error::shape(text).with_argument(name)
    };
    for (axis, what) in [(0, "batch"), (3, "depth")] {
        infer.unify(&query[axis], &key[axis]).map_err(|_| differ("key", key, "query", query, what))?;
    }
    for (axis, what) in [(0, "batch"), (1, "length"), (2, "heads")] {
        infer.unify(&key[axis], &value[axis]).map_err(|_| differ("value", value, "key", key, what))?;
    }
    match (query[2].as_constant(), key[2].as_constant()) {
        (Some(heads), Some(shared)) if shared > 0 && heads % shared == 0 => {}
        (Some(heads), Some(shared)) => {
            let text = format!("the {shared} heads of key do not divide the {heads} heads of query");
            return Err(Error::shape(text).with_argument("key"));
        }
        _ => {
            infer.unify(&query[2], &key[2]).map_err(|_| differ("key", key, "query", query, "heads"))?;
        }
    }
    if let Some(mask) = infer.optional(3) {
        let whole = Shape::new(Heads::new(query, key).logits().to_vec())?;
        let fits = infer.broadcast(&mask.shape, &whole).is_ok_and(|shape| shape == whole);
        if !fits {
            let text = format!("mask has shape {}, which does not broadcast to {whole}", mask.shape);
            return Err(Error::shape(text).with_argument("mask"));
        }
    }
    let [batch, length, heads] = [0, 1, 2].map(|axis| query[axis].clone());
    Ok(vec![Spec::new(infer.input(0)?.dtype, Shape::new(vec![batch, length, heads, value[3].clone()])?)])
}

/// Where the key's place is not after the query's: `bool[length, source]`.
fn not_after(g: &mut Graph, heads: &Heads) -> Result<Value> {
    let mut places = |shape: [Dim; 2], axis: i64| {
        g.op("iota", &[("shape", AttrValue::Dims(shape.to_vec())), ("axis", AttrValue::Int(axis))], &[])
    };
    let (rows, columns) = (places([heads.length.clone(), one()], 0)?, places([one(), heads.source.clone()], 1)?);
    g.less_equal(columns, rows)
}

/// The logits with a mask added, where it is a float, and where they count.
fn masked(g: &mut Graph, logits: Value, mask: Value) -> Result<(Value, Value)> {
    if g.spec(mask).dtype == DType::Bool {
        return Ok((logits, mask));
    }
    let mask = g.cast(mask, g.spec(logits).dtype)?;
    let never = g.scalar_like(mask, f64::NEG_INFINITY)?;
    let allowed = g.not_equal(mask, never)?;
    Ok((g.add(logits, mask)?, allowed))
}

/// Logits that do not count are the least finite number, so that a row of them alone has finite probabilities, which
/// are made 0 afterwards.
fn lower_attention(l: &mut Lowering) -> Result<Vec<Value>> {
    let (dtype, query, key) = (l.dtype(0), l.shape(0), l.shape(1));
    let (scale, causal, mask) = (attention_scale(l.attrs, &query)?, l.attrs.bool("causal")?, l.optional(3));
    let heads = Heads::new(&query, &key);
    let Heads { batch, length, source, shared, each, .. } = &heads;
    let grouped = |last: &Dim| [batch, length, shared, each, last].map(Dim::clone);
    let g = &mut *l.graph;
    let [q, k, v] = [0, 1, 2].map(|index| l.inputs[index]);
    let (q, k, v) = (widen(g, q)?, widen(g, k)?, widen(g, v)?);
    let q = g.reshape(q, &grouped(&query[3]))?;
    let q = g.transpose(q, &[0, 2, 3, 1, 4])?;
    let logits = product(g, (q, [0, 1], 4), (k, [0, 2], 3))?;
    let mut logits = g.reshape(logits, &heads.logits())?;
    let factor = g.scalar_like(logits, scale)?;
    logits = g.mul(logits, factor)?;
    let mut allowed = if causal { Some(not_after(g, &heads)?) } else { None };
    if let Some(mask) = mask {
        let (sum, counts) = masked(g, logits, mask)?;
        logits = sum;
        allowed = Some(match allowed {
            Some(allowed) => g.logical_and(allowed, counts)?,
            None => counts,
        });
    }
    if let Some(allowed) = allowed {
        let least = if g.spec(logits).dtype == DType::F64 { f64::MIN } else { f64::from(f32::MIN) };
        let least = g.scalar_like(logits, least)?;
        logits = g.select(allowed, logits, least)?;
    }
    let mut shares = g.op("softmax", &[], &[logits])?;
    if let (Some(allowed), Some(_)) = (allowed, mask) {
        let zero = g.scalar_like(shares, 0.0)?;
        shares = g.select(allowed, shares, zero)?;
    }
    let shares = g.reshape(shares, &[batch, shared, each, length, source].map(Dim::clone))?;
    let output = product(g, (shares, [0, 1], 4), (v, [0, 2], 1))?;
    let output = g.transpose(output, &[0, 3, 1, 2, 4])?;
    let last = l.graph.spec(v).shape[3].clone();
    let output = l.graph.reshape(output, &[batch, length, &heads.heads, &last].map(Dim::clone))?;
    Ok(vec![l.graph.cast(output, dtype)?])
}

/// Products of two values, each with its two batch axes and the axis that is summed over.
fn product(g: &mut Graph, x: (Value, [i64; 2], i64), y: (Value, [i64; 2], i64)) -> Result<Value> {
    let attrs = [
        ("x_batch", AttrValue::Ints(x.1.to_vec())),
        ("y_batch", AttrValue::Ints(y.1.to_vec())),
        ("x_contract", AttrValue::Ints(vec![x.2])),
        ("y_contract", AttrValue::Ints(vec![y.2])),
    ];
    g.op("dot_general", &attrs, &[x.0, y.0])
}

const ALONG: &[Sample] = &[
    Sample { inputs: &["T[2, 3]"], attrs: "{}" },
    Sample { inputs: &["T[2, 3, 4]"], attrs: r#"{"axis": 1}"# },
    Sample { inputs: &["T[3, 100] in -50..50"], attrs: "{}" },
    Sample { inputs: &["T[0, 3]"], attrs: "{}" },
];

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "softmax",
        version: 1,
        doc: "Probabilities: e^x / sum(e^x) along an axis, for any finite x.\n\
            The greatest is subtracted first. Along values that are all -inf, or of which one is inf, it is NaN.",
        dtypes: DTypes::FLOAT,
        inputs: &[X],
        outputs: &["output"],
        attrs: &[LAST_AXIS],
        regions: &[],
        infer: infer_along_axis,
        meaning: Meaning::Lower(lower_softmax),
        vjp: Vjp::Rule(softmax_vjp),
        samples: ALONG,
    },
    OpDef {
        name: "log_softmax",
        version: 1,
        doc: "Logarithm of softmax: x - log(sum(e^x)) along an axis, for any finite x.\n\
            The greatest is subtracted first. Along values that are all -inf, or of which one is inf, it is NaN.",
        dtypes: DTypes::FLOAT,
        inputs: &[X],
        outputs: &["output"],
        attrs: &[LAST_AXIS],
        regions: &[],
        infer: infer_along_axis,
        meaning: Meaning::Lower(lower_log_softmax),
        vjp: Vjp::Lowered,
        samples: ALONG,
    },
    OpDef {
        name: "logsumexp",
        version: 1,
        doc: "Logarithm of a sum of exponentials: log(sum(e^x)) over axes.\n\
            The greatest is subtracted first where it is finite. Over values that are all -inf it is -inf, with one inf \
            it is inf.",
        dtypes: DTypes::FLOAT,
        inputs: &[X],
        outputs: &["output"],
        attrs: &[
            AttrDef { name: "axis", kind: AttrType::Ints, default: Some("null"), doc: "The axes; all if left out." },
            AttrDef {
                name: "keepdims",
                kind: AttrType::Bool,
                default: Some("false"),
                doc: "Whether the axes stay, with size 1.",
            },
        ],
        regions: &[],
        infer: infer_logsumexp,
        meaning: Meaning::Lower(lower_logsumexp),
        vjp: Vjp::Lowered,
        samples: &[
            Sample { inputs: &["T[2, 3]"], attrs: "{}" },
            Sample { inputs: &["T[2, 3, 4]"], attrs: r#"{"axis": [0, -1]}"# },
            Sample { inputs: &["T[3, 100] in -50..50"], attrs: r#"{"axis": [1], "keepdims": true}"# },
        ],
    },
    OpDef {
        name: "embedding",
        version: 1,
        doc: "Rows of a table: table[indices].\n\
            table is [rows, features...], the output [indices..., features...]. A negative index counts from the end; one \
            outside of [-rows, rows) gives NaN. The gradient is that of take: dense, the cotangents of a row added up.",
        dtypes: DTypes::FLOAT,
        inputs: &[InputDef::of("table"), INDICES],
        outputs: &["output"],
        attrs: &[],
        regions: &[],
        infer: infer_embedding,
        meaning: Meaning::Lower(|l| Ok(vec![l.graph.op("take", &[], l.inputs)?])),
        vjp: Vjp::Lowered,
        samples: &[
            Sample { inputs: &["T[5, 3]", "int32[2, 4] in 0..4"], attrs: "{}" },
            Sample { inputs: &["T[5, 2, 3]", "int64[] in -5..4"], attrs: "{}" },
            Sample { inputs: &["T[5]", "int64[7] in -5..4"], attrs: "{}" },
            Sample { inputs: &["T[5, 3]", "int64[0] in 0..4"], attrs: "{}" },
        ],
    },
    OpDef {
        name: "attention",
        version: 1,
        doc: "Scaled dot product attention: softmax(scale * query key^T) value, for each example and head.\n\
            query is [batch, length, heads, depth], key [batch, source, heads, depth], value [batch, source, heads, \
            features], as in Keras and JAX; the output is [batch, length, heads, features]. key and value may have fewer \
            heads, which divide those of the query: then each serves as many neighbouring ones. mask broadcasts to \
            [batch, heads, length, source]: a bool says where the softmax looks, a float is added to the logits, and \
            -inf in it is as false. A place that may look nowhere by the mask gets 0. `float16` and `bfloat16` are \
            computed in `float32`. Vaswani et al. 2017; Ainslie et al. 2023 for fewer heads.",
        dtypes: DTypes::FLOAT,
        inputs: &[
            InputDef::of("query"),
            InputDef::of("key"),
            InputDef::of("value"),
            InputDef::in_set("mask", DTypes::of(&[DType::Bool, DType::F16, DType::BF16, DType::F32, DType::F64]))
                .optional(),
        ],
        outputs: &["output"],
        attrs: &[
            AttrDef {
                name: "causal",
                kind: AttrType::Bool,
                default: Some("false"),
                doc: "Whether place i of the query looks at places 0 to i of the source alone.",
            },
            AttrDef {
                name: "scale",
                kind: AttrType::Float,
                default: Some("null"),
                doc: "What the logits are multiplied by; null is 1 / sqrt(depth).",
            },
        ],
        regions: &[],
        infer: infer_attention,
        meaning: Meaning::Lower(lower_attention),
        vjp: Vjp::Lowered,
        samples: &[
            Sample { inputs: &["T[2, 3, 2, 4]", "T[2, 5, 2, 4]", "T[2, 5, 2, 3]", "-"], attrs: "{}" },
            Sample { inputs: &["T[1, 4, 2, 3]", "T[1, 4, 2, 3]", "T[1, 4, 2, 3]", "-"], attrs: r#"{"causal": true}"# },
            Sample {
                inputs: &["T[2, 3, 4, 3]", "T[2, 5, 2, 3]", "T[2, 5, 2, 3]", "bool[2, 1, 3, 5]"],
                attrs: r#"{"scale": 0.5}"#,
            },
            Sample {
                inputs: &["T[2, 3, 2, 3]", "T[2, 5, 1, 3]", "T[2, 5, 1, 3]", "T[3, 5]"],
                attrs: r#"{"causal": true}"#,
            },
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::super::testing::check;

    #[test]
    fn axes_and_shapes_are_checked() {
        check(
            "softmax",
            &[
                (r#"{"axis": -2}"#, &["float16[n, 3]"], "float16[n, 3]"),
                (r#"{"axis": 2}"#, &["float32[n, 3]"], "softmax: axis 2 is out of range for rank 2"),
                ("{}", &["float32[]"], "softmax: axis -1 is out of range for rank 0"),
            ],
        );
        check(
            "logsumexp",
            &[
                ("{}", &["float32[n, 3]"], "float32[]"),
                (r#"{"axis": [0], "keepdims": true}"#, &["float32[n, 3]"], "float32[1, 3]"),
                (r#"{"axis": [0, -2]}"#, &["float32[n, 3]"], "logsumexp: axis 0 stands twice in [0, -2]"),
            ],
        );
    }
    #[test]
    fn rows_of_a_table_keep_its_features() {
        check(
            "embedding",
            &[
                ("{}", &["float16[rows, 8]", "int32[b, t]"], "float16[b, t, 8]"),
                ("{}", &["float32[]", "int32[b]"], "embedding: table is a scalar; its first axis is that of the rows"),
                ("{}", &["float32[5, 2]", "float32[b]"], "embedding: indices is float32; it can be int32, int64"),
            ],
        );
    }

    #[test]
    fn heads_of_key_divide_those_of_query() {
        let (q, k) = ("float32[b, t, 6, 8]", "float32[b, s, 2, 8]");
        check(
            "attention",
            &[
                ("{}", &[q, k, "float32[b, s, 2, 5]"], "float32[b, t, 6, 5]"),
                ("{}", &[q, k, k, "bool[t, s]"], "float32[b, t, 6, 8]"),
                (
                    "{}",
                    &[q, "float32[b, s, 4, 8]", "float32[b, s, 4, 8]"],
                    "attention: the 4 heads of key do not divide the 6 heads of query",
                ),
                (
                    "{}",
                    &[q, "float32[b, s, 2, 7]", k],
                    "attention: key has shape [b, s, 2, 7], query [b, t, 6, 8]: they differ in depth",
                ),
                (
                    "{}",
                    &[q, k, "float32[b, s, 1, 8]"],
                    "attention: value has shape [b, s, 1, 8], key [b, s, 2, 8]: they differ in heads",
                ),
                (
                    "{}",
                    &[q, k, k, "bool[b, 2, t, s]"],
                    "attention: mask has shape [b, 2, t, s], which does not broadcast to [b, 6, t, s]",
                ),
                (
                    "{}",
                    &[q, k, k, "int32[t, s]"],
                    "attention: mask is int32; it can be bool, float16, bfloat16, float32, float64",
                ),
                ("{}", &["float32[t, 6, 8]", k, k], "attention: query has shape [t, 6, 8], not rank 4"),
                (
                    "{}",
                    &["float32[b, t, 6, d]", "float32[b, s, 2, d]", k],
                    "attention: query has shape [b, t, 6, d]; give a scale, or a depth (the last dim) that is a number",
                ),
            ],
        );
    }
}
