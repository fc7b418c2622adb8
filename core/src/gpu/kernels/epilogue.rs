//! A product with what follows it: the kernel that makes the sums hands each to the ops behind it.

use super::elementwise::{Inputs, Output, broadcast};
use crate::cpu::call::Layout;
use crate::gpu::kernel::{Recipe, Refusal, Request, Slot};
use crate::gpu::wgsl::{Source, Values};
use crate::graph::{Graph, Node};
use crate::plan::cluster_expression;
use crate::scalar::{Expression, Instruction, Register};

/// What follows a product.
pub struct Finish {
    expression: Expression,
    /// The sums.
    product: Register,
    /// What is read beside them: registers, where they lie, and how, broadcast to the product's sizes.
    elements: Vec<(Register, Slot, Layout)>,
    /// The same of random words: how their keys lie.
    words: Vec<(Register, Slot, Layout)>,
    /// What is stored, and where.
    outputs: Vec<(Register, Slot)>,
    /// How many elements the product has.
    count: usize,
}

/// Prints a cluster with a product, whose attrs are the request's.
///
/// # Errors
/// It is no one kernel: `super::region` prints several.
pub fn print(region: &Graph, product: &Node, request: &Request) -> Result<Recipe, Refusal> {
    let no_input = || Refusal("a product of what its cluster computes".into());
    let index = |operand| region.inputs().iter().position(|input| input.value == operand).ok_or_else(no_input);
    let operands = product.operands().map(index).collect::<Result<Vec<_>, _>>()?;
    let inputs = operands.iter().map(|&index| Ok(Some(request.input(index)?))).collect::<Result<Vec<_>, Refusal>>()?;
    let output = Layout::dense(region.spec(product.first).dtype, &request.output(0)?.sizes);
    let finish = Finish::new(region, request, operands.len())?;
    let own = Request {
        attrs: request.attrs,
        inputs: &inputs,
        outputs: &[&output],
        adapter: request.adapter,
        finish: Some(&finish),
    };
    let mut recipe = super::print(&product.op, &own)?;
    let limit = request.adapter.storage_buffers as usize;
    for launch in &mut recipe.launches {
        if launch.slots.len() > limit {
            return Err(Refusal(format!("a product and what follows it have more than {limit} operands and results")));
        }
        for slot in &mut launch.slots {
            *slot = match *slot {
                Slot::Input(index) => {
                    Slot::Input(operands.get(index).copied().unwrap_or_else(|| index - operands.len()))
                }
                slot => slot,
            };
        }
    }
    Ok(recipe)
}

impl Finish {
    /// What a region computes after its product, which has `operands` inputs: the slots of others come behind those.
    fn new(region: &Graph, request: &Request, operands: usize) -> Result<Finish, Refusal> {
        let cluster = cluster_expression(region)?;
        let sizes = &request.output(0)?.sizes;
        let (mut elements, mut words, mut product) = (Vec::new(), Vec::new(), None);
        let slot = |index: u16| Slot::Input(operands + usize::from(index));
        for register in cluster.expression.needed(&cluster.outputs, |_| false) {
            match cluster.expression.steps()[register as usize].instruction {
                Instruction::Input(index) if usize::from(index) == region.inputs().len() => product = Some(register),
                Instruction::Input(index) => {
                    elements.push((register, slot(index), broadcast(request.input(index.into())?, sizes)?));
                }
                Instruction::Random(index) => words.push((register, slot(index), request.input(index.into())?.clone())),
                _ => {}
            }
        }
        let product = product.ok_or_else(|| Refusal("a cluster that does not use its product".into()))?;
        let outputs = cluster.outputs.iter().enumerate().map(|(index, &register)| (register, Slot::Output(index)));
        let (outputs, count) = (outputs.collect(), sizes.iter().product());
        Ok(Finish { expression: cluster.expression, product, elements, words, outputs, count })
    }

    /// How many elements that follow each other one invocation must have: those of a word, where results have less than
    /// 4 bytes.
    pub fn together(&self) -> usize {
        self.outputs.iter().map(|(register, _)| 4 / self.expression.dtype(*register).size().min(4)).max().unwrap_or(1)
    }

    /// Adds the function `finish` of an index and as many of the sums from there on: one, or the four of a vector, of which
    /// `count` are there.
    ///
    /// # Errors
    /// `float64`.
    pub fn declare(&self, source: &mut Source, ty: &str, is_quad: bool) -> Result<(), Refusal> {
        let mut inputs = Inputs::default();
        for (register, slot, layout) in &self.elements {
            inputs.add(source.read(*slot, layout.dtype)?, layout.clone(), vec![*register]);
        }
        for (register, slot, layout) in &self.words {
            inputs.add_key(source.read(*slot, layout.dtype)?, layout, vec![*register]);
        }
        let mut outputs = Vec::new();
        for &(register, slot) in &self.outputs {
            outputs.push(Output::new(source, register, &self.expression, slot)?);
        }
        let values = if is_quad { format!("vec4<{ty}>") } else { ty.to_string() };
        source.function(&format!("fn finish(first: u32, count: i32, sums: {values})"), |source| {
            let count = source.size(self.count as i64);
            inputs.begin(source);
            outputs.iter_mut().for_each(|output| output.begin(source));
            let (index, sum) = if is_quad {
                source.line("for (var part = 0u; part < 4u; part += 1u) {");
                source.line("if (i32(part) >= count) { break; }");
                (source.value("element", "first + part"), source.value("sum", "sums[part]"))
            } else {
                ("first".into(), "sums".into())
            };
            let mut values = Values::from([(self.product, sum)]);
            inputs.load(source, &self.expression, &index, &mut values);
            let registers: Vec<_> = self.outputs.iter().map(|(register, _)| *register).collect();
            source.evaluate(&self.expression, &registers, &mut values)?;
            outputs.iter().for_each(|output| output.store(source, &index, &count, &values[&output.register]));
            if is_quad {
                source.line("}");
            }
            Ok(())
        })
    }
}

#[cfg(all(test, feature = "gpu"))]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::gpu::testing::{Draw, adapters, assert_close, execute, op};
    use crate::graph::Value;
    use crate::meter::Meter;
    use crate::passes;
    use crate::run::{Limits, eager::evaluate};
    use crate::tensor::Tensor;
    use std::sync::Arc;

    /// A product, a bias, relu, and what `more` makes of product and relu as further results, in one kernel (and one that
    /// adds up pieces) beside the CPU's.
    fn check(name: &str, attrs: &str, sizes: [&[usize]; 2], more: fn(&mut Graph, [Value; 3]) -> Vec<Value>) {
        let mut draw = Draw::new(9);
        let channels = sizes[1][sizes[1].len() - 1];
        // Sums of small whole numbers are exact in any order.
        let mut tensors = [sizes[0], sizes[1], &[channels]].map(|sizes| draw.whole(DType::F32, sizes)).to_vec();
        tensors.push(Tensor::from_slice(DType::U32, &[2], &[3u32, 4]).unwrap());
        let mut graph = Graph::new();
        let mut input = |index: usize| graph.input(&format!("x{index}"), tensors[index].spec()).unwrap();
        let [x, y, bias, key] = [0, 1, 2, 3].map(&mut input);
        let product = graph.apply(&op(name, attrs), Vec::new(), &[x, y]).unwrap()[0];
        let sum = graph.add(product, bias).unwrap();
        let relu = graph.op("relu", &[], &[sum]).unwrap();
        let mut outputs = vec![relu];
        outputs.extend(more(&mut graph, [product, relu, key]));
        graph.set_outputs(outputs).unwrap();
        let expected = evaluate(&graph, tensors.clone(), &Limits::none()).unwrap();
        let fused = passes::run(&Arc::new(graph), passes::OPTIMIZED, &Meter::default(), &mut |_, _| {}).unwrap();
        let node = fused.nodes().iter().find(|node| node.op.def.name != "constant").unwrap();
        // In the order in which the cluster takes and gives them.
        let taken = |value| tensors[fused.inputs().iter().position(|input| input.value == value).unwrap()].clone();
        let given = |value| expected[fused.outputs().iter().position(|output| *output == value).unwrap()].clone();
        let inputs: Vec<_> = node.operands().map(taken).collect();
        let expected: Vec<_> = node.outputs().map(given).collect();
        let region = &node.regions[0];
        let product = crate::ops::epilogue::product(region, region.nodes().iter()).unwrap();
        let dense = |tensor: &Tensor| Layout::dense(tensor.dtype(), tensor.sizes());
        let views: Vec<_> = inputs.iter().map(|input| Some(dense(input))).collect();
        let made: Vec<_> = expected.iter().map(dense).collect();
        let inputs: Vec<_> = inputs.into_iter().map(Some).collect();
        for adapter in adapters() {
            let print = |request: &Request| {
                let recipe = print(region, product, &Request { adapter: &adapter, ..*request })?;
                assert!(recipe.launches.len() <= 2);
                Ok(recipe)
            };
            let results = execute(&product.op.attrs, &inputs, &views, &made, print).unwrap();
            for (result, expected) in results.iter().zip(&expected) {
                let what = format!("{name} {attrs} {sizes:?}, software: {}", adapter.is_software);
                assert_close(&what, result, expected, 0.0, true);
            }
        }
    }

    const MATMUL: &str = r#"{"x_contract": [1], "y_contract": [0]}"#;

    #[test]
    fn products_hand_their_sums_on() {
        let none = |_: &mut Graph, _: [Value; 3]| Vec::new();
        for sizes in
            [[[70, 33], [33, 66]], [[1, 64], [64, 33]], [[130, 12], [12, 36]], [[65, 64], [64, 1]], [[2, 0], [0, 8]]]
        {
            check("dot_general", MATMUL, sizes.each_ref().map(|sizes| &sizes[..]), none);
        }
        // A sum that is cut into pieces.
        check("dot_general", MATMUL, [&[9, 40_001], &[40_001, 16]], none);
        check("conv", r#"{"padding": "same"}"#, [&[2, 12, 12, 16], &[3, 3, 16, 32]], none);
        check("conv", r#"{"strides": [2, 3]}"#, [&[2, 9, 11, 3], &[3, 2, 3, 5]], none);
        check("conv", r#"{"groups": 2}"#, [&[2, 6, 6, 8], &[3, 3, 4, 12]], none);
    }

    #[test]
    fn results_may_be_the_product_itself_and_elements_within_words() {
        let more = |graph: &mut Graph, [product, relu, key]: [Value; 3]| {
            let mask = graph.less(relu, product).unwrap();
            let dropped = graph.op("dropout", &[("rate", crate::AttrValue::Float(0.5))], &[relu, key]).unwrap();
            vec![product, mask, graph.cast(dropped, DType::BF16).unwrap()]
        };
        for sizes in [[[70, 33], [33, 64]], [[1, 64], [64, 36]], [[3, 5], [5, 4]]] {
            check("dot_general", MATMUL, sizes.each_ref().map(|sizes| &sizes[..]), more);
        }
        check("dot_general", MATMUL, [&[9, 40_001], &[40_001, 16]], more);
        check("conv", r#"{"padding": "same"}"#, [&[2, 12, 12, 16], &[3, 3, 16, 32]], more);
    }
}
