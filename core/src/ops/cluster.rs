//! What passes make of other ops. These are no part of the surface, but stand in graphs' text.

use super::epilogue::{self, product};
use super::movement::defaulted;
use super::phases::{Reduced, is_scalar_constant, levels};
use super::random::is_random_bits;
use crate::attrs::{AttrDef, AttrType};
use crate::cpu::copy;
use crate::cpu::tape::weight;
use crate::dtype::DTypes;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node};
use crate::infer::{Infer, like_first};
use crate::op::{InputDef, Kernel, Meaning, OpDef, Spec, Vjp, normalize_axes};
use crate::scalar::{Expression, Instruction};

/// The most work of a cluster, in simple ops. Results make room when they have been read, so even long clusters stay in the
/// L1 cache; what grows is the time that a device takes to compile the shader, faster than the work does.
pub const MAX_WORK: usize = 512;

/// The most nodes, with a constant for each operand.
const MAX_NODES: usize = 4 * MAX_WORK;

const INTERNAL: Vjp = Vjp::NotDifferentiable("passes make it after gradients are taken");

const SHAPE: AttrDef =
    defaulted("shape", AttrType::Dims, "null", "With reductions: the shape that they and what they reduce go over.");
const AXIS: AttrDef = defaulted("axis", AttrType::Ints, "null", "With reductions: the axes that all of them reduce.");

/// The work of an element-wise node, or of random bits, for an element, in simple ops; 0 of other nodes.
pub fn elementwise_work(graph: &Graph, node: &Node) -> usize {
    if is_random_bits(node) {
        return weight(&Instruction::Random(0));
    }
    let Meaning::Scalar(meaning) = &node.op.def.meaning else { return 0 };
    let mut expression = Expression::new();
    let dtypes = node.inputs.iter().map(|&value| graph.spec(value).dtype).enumerate();
    let operands: Vec<_> = dtypes.map(|(index, dtype)| expression.input(index as u16, dtype)).collect();
    meaning(&mut expression, &node.op.attrs, &operands);
    expression.steps()[operands.len()..].iter().map(|step| weight(&step.instruction)).sum()
}

/// What a node adds to the work of its cluster, of which there is no more than [`MAX_WORK`].
pub fn work(graph: &Graph, node: &Node) -> usize {
    match is_scalar_constant(graph, node) {
        true => 0,
        false => elementwise_work(graph, node).max(1),
    }
}

/// The region holds scalar constants and element-wise ops and random bits of one shape, or what [`super::phases`] or
/// [`super::epilogue`] say, on the operands; the pass `fuse` makes no other, and the engine relies on it.
fn infer_fused(infer: &mut Infer) -> Result<Vec<Spec>> {
    let [region] = infer.regions else { return Err(Error::internal("fused has one region")) };
    let operands = (0..infer.inputs.len()).map(|index| infer.input(index)).collect::<Result<Vec<_>>>()?;
    let inputs: Vec<_> = region.inputs().iter().map(|input| region.spec(input.value)).collect();
    if inputs != operands {
        return Err(Error::argument("the region takes other specs than those of the operands"));
    }
    if region.nodes().len() > MAX_NODES || inputs.len() > 3 * MAX_NODES {
        return Err(Error::argument(format!("the region has more than {MAX_NODES} nodes or their operands")));
    }
    let unfit = |reason| Error::argument(format!("the region is not fused: it holds {reason}"));
    if let Some(product) = product(region, region.nodes().iter()) {
        epilogue::check(region, product, region.nodes().iter()).map_err(unfit)?;
        check_product(infer, region, product)?;
    } else {
        match levels(region, region.nodes().iter()).map_err(unfit)? {
            None => check_elementwise(infer, region)?,
            Some((reduced, _)) => check_reduced(infer, &reduced)?,
        }
    }
    for &value in region.outputs() {
        if region.producer(value).is_none_or(|node| is_scalar_constant(region, node)) {
            return Err(Error::argument(format!("the region gives {value}, which no op of it computes")));
        }
    }
    Ok(region.outputs().iter().map(|&value| region.spec(value).clone()).collect())
}

/// Checks that there is memory for a region's product.
fn check_product(infer: &Infer, region: &Graph, product: &Node) -> Result<()> {
    check_no_axes(infer)?;
    let dtype = region.spec(product.first).dtype;
    match region.outputs().iter().any(|&value| region.spec(value).dtype == dtype) {
        true => Ok(()),
        false => Err(Error::argument(format!("the region has a product of {dtype}, but no result is {dtype}"))),
    }
}

/// Checks that nothing is said about reductions.
fn check_no_axes(infer: &Infer) -> Result<()> {
    match infer.attrs.dim_list("shape").is_some() || infer.attrs.int_list("axis").is_some() {
        true => Err(Error::argument("it has a shape and axes, but the region has no reduction")),
        false => Ok(()),
    }
}

/// Checks that a region without reductions holds element-wise ops, or random bits of keys from outside, of one shape.
fn check_elementwise(infer: &Infer, region: &Graph) -> Result<()> {
    check_no_axes(infer)?;
    let mut shape = None;
    for node in region.nodes().iter().filter(|node| !is_scalar_constant(region, node)) {
        let spec = region.spec(node.first);
        let is_elementwise = match node.op.def.meaning {
            Meaning::Scalar(_) => true,
            _ => is_random_bits(node) && region.producer(node.inputs[0]).is_none(),
        };
        if !is_elementwise || *shape.get_or_insert(&spec.shape) != &spec.shape {
            return Err(Error::argument(format!("the region holds {}, which is not fused", node.op.def.name)));
        }
    }
    Ok(())
}

/// Checks that the attrs are what the region's reductions have in common.
fn check_reduced(infer: &Infer, reduced: &Reduced) -> Result<()> {
    let shape = infer.attrs.dim_list("shape").unwrap_or(&[]);
    let axes = infer.attrs.int_list("axis").and_then(|axes| normalize_axes(Some(axes), shape.len()).ok());
    if *shape == reduced.full[..] && axes.as_ref() == Some(&reduced.axes) {
        return Ok(());
    }
    let (full, axes) = (&reduced.full, &reduced.axes);
    Err(Error::argument(format!("the region reduces axes {axes:?} of {full}, which its attrs do not say")))
}

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "fused",
        version: 1,
        doc: "A cluster: element-wise ops and random bits, with reductions of what they give or behind a product, that run \
            as one step. The region holds them.",
        dtypes: DTypes::ALL,
        inputs: &[InputDef::in_set("operands", DTypes::ALL).variadic(0)],
        outputs: &[],
        attrs: &[SHAPE, AXIS],
        regions: &["body"],
        infer: infer_fused,
        meaning: Meaning::Cluster,
        vjp: INTERNAL,
        samples: &[],
    },
    OpDef {
        name: "dense",
        version: 1,
        doc: "x copied to row-major order, for a step that cannot read strides.",
        dtypes: DTypes::ALL,
        inputs: &[InputDef::of("x")],
        outputs: &["output"],
        attrs: &[],
        regions: &[],
        infer: like_first,
        meaning: Meaning::Kernel(Kernel { takes_strides: true, ..Kernel::dense(copy::run) }),
        vjp: INTERNAL,
        samples: &[],
    },
];

#[cfg(test)]
mod tests {
    use crate::graph::text::parse;

    #[test]
    fn a_cluster_of_anything_else_is_refused() {
        let fused = |operands: &str, region: &str, spec: &str| {
            let head = "graph(%0 x: float32[2], %1 y: float32[3]) {\n%2 = fused";
            format!("{head}({operands}) [graph({region}] : {spec}\nreturn %2\n}}")
        };
        let exp = "%0 a: float32[2]) { %1 = exp(%0) : float32[2] return %1 }";
        assert!(parse(&fused("%0", exp, "float32[2]")).is_ok());
        let sum = "%0 a: float32[2]) { %1 = sum(%0) : float32[] return %1 }";
        let turned = "%0 a: float32[2]) { %1 = transpose(%0) : float32[2] return %1 }";
        let two =
            "%0 a: float32[2], %1 b: float32[3]) { %2 = exp(%0) : float32[2] %3 = exp(%1) : float32[3] return %2, %3 }";
        let itself = "%0 a: float32[2]) { return %0 }";
        let table = [
            (fused("%1", exp, "float32[2]"), "the region takes other specs than those of the operands"),
            (fused("%0, %0", exp, "float32[2]"), "the region takes other specs than those of the operands"),
            (fused("%0", sum, "float32[]"), "the region reduces axes [0] of [2], which its attrs do not say"),
            (fused("%0", turned, "float32[2]"), "the region holds transpose, which is not fused"),
            (fused("%0, %1", two, "float32[2], float32[3]"), "the region holds exp, which is not fused"),
            (fused("%0", itself, "float32[2]"), "the region gives %0, which no op of it computes"),
        ];
        for (text, message) in table {
            let error = parse(&text.replace("%2 = fused(%0, %1)", "%2, %3 = fused(%0, %1)")).unwrap_err().to_string();
            assert_eq!(error, format!("line 2, column 1: fused: {message}"));
        }
    }

    #[test]
    fn random_bits_are_fused_where_they_have_the_shape_and_a_key_from_outside() {
        let fused = |attrs: &str, region: &str, spec: &str| {
            let region = format!("graph(%0 key: uint32[2]) {{ {region} return %2 }}");
            let text = format!("graph(%0 key: uint32[2]) {{ %1 = fused(%0){attrs} [{region}] : {spec} return %1 }}");
            parse(&text).map(|_| ()).map_err(|error| error.to_string().split_once("fused: ").unwrap().1.to_string())
        };
        let bits = r#"%1 = random_bits(%0) {"shape":[3]} : uint32[3]"#;
        let total = r#"%2 = sum(%1) {"axis":[0],"keepdims":true} : uint32[1]"#;
        assert_eq!(fused("", &format!("{bits} %2 = bitwise_invert(%1) : uint32[3]"), "uint32[3]"), Ok(()));
        let attrs = r#" {"shape":[3],"axis":[0]}"#;
        assert_eq!(fused(attrs, &format!("{bits} {total}"), "uint32[1]"), Ok(()));

        let refused = |attrs: &str, region: &str, spec: &str| fused(attrs, region, spec).unwrap_err();
        let own = r#"%1 = bitwise_invert(%0) : uint32[2] %2 = random_bits(%1) {"shape":[2]} : uint32[2]"#;
        let message = "the region holds random_bits, which is not fused";
        assert_eq!(refused("", own, "uint32[2]"), message);
        let other = r#"%1 = random_bits(%0) {"shape":[3]} : uint32[3] %2 = bitwise_invert(%0) : uint32[2]"#;
        assert_eq!(refused("", other, "uint32[2]"), "the region holds bitwise_invert, which is not fused");
        let message = "the region is not fused: it holds an op with a kernel of its own";
        let attrs = r#" {"shape":[2],"axis":[0]}"#;
        let sum = r#"%3 = sum(%2) {"axis":[0],"keepdims":true} : uint32[1]"#;
        assert_eq!(refused(attrs, &format!("{own} {sum}"), "uint32[2]"), message);
        let row =
            r#"%1 = sum(%0) {"axis":[0],"keepdims":true} : uint32[1] %2 = random_bits(%0) {"shape":[1]} : uint32[1]"#;
        assert_eq!(refused(attrs, row, "uint32[1]"), message);
    }
}
