//! The reference: a graph run node by node, each op by itself, control flow spelled out.

use caudal::cpu::single;
use caudal::op::{Control, Meaning};
use caudal::run::Limits;
use caudal::run::eager::EagerOp;
use caudal::shape::Bindings;
use caudal::{Dim, Graph, Node, Op, Result, Tensor, Value, grad};

/// Runs graphs; `lowered`: each composite as the ops that it lowers to, rather than by an eager call.
pub struct Interpreter<'a> {
    pub sizes: &'a Bindings,
    pub lowered: bool,
}

impl Interpreter<'_> {
    pub fn run(&self, graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let mut values: Vec<Option<Tensor>> = vec![None; graph.value_count()];
        for (input, tensor) in graph.inputs().iter().zip(inputs) {
            values[input.value.index()] = Some(tensor.clone());
        }
        for node in graph.nodes() {
            let operands: Vec<_> =
                node.inputs.iter().map(|value| values.get(value.index()).cloned().flatten()).collect();
            let outputs = self.node(node, &operands)?;
            assert_eq!(outputs.len(), node.count, "{}", node.op.def.name);
            for (value, output) in node.outputs().zip(outputs) {
                let sizes = graph.spec(value).shape.evaluate(&|name| self.sizes.get(name))?;
                assert_eq!(
                    (output.dtype(), output.sizes()),
                    (graph.spec(value).dtype, &sizes[..]),
                    "{}",
                    node.op.def.name
                );
                values[value.index()] = Some(output);
            }
        }
        let value = |value: &Value| values[value.index()].clone().expect("a value is made before it is used");
        Ok(graph.outputs().iter().map(value).collect())
    }

    fn node(&self, node: &Node, operands: &[Option<Tensor>]) -> Result<Vec<Tensor>> {
        let attrs = node.op.attrs.map_dims(|dim| dim.evaluate(&|name| self.sizes.get(name)).map(Dim::constant))?;
        let op = Op { def: node.op.def, attrs };
        match op.def.meaning {
            Meaning::Control(control) => {
                let operands: Vec<_> = operands.iter().flatten().cloned().collect();
                self.control(control, &op, node, &operands)
            }
            Meaning::Lower(_) if self.lowered => self.lower(&op, operands),
            Meaning::Scalar(_) | Meaning::Kernel(_) if self.lowered => single::compute(&op, operands),
            _ => EagerOp::new(op).call(operands, &Limits::none()),
        }
    }

    fn lower(&self, op: &Op, operands: &[Option<Tensor>]) -> Result<Vec<Tensor>> {
        let mut graph = Graph::new();
        let mut values = Vec::new();
        for (index, operand) in operands.iter().enumerate() {
            values.push(match operand {
                Some(tensor) => graph.input(&format!("x{index}"), tensor.spec())?,
                None => Value::ABSENT,
            });
        }
        let outputs = grad::lower(&mut graph, op, &values)?;
        graph.set_outputs(outputs)?;
        self.run(&graph, &operands.iter().flatten().cloned().collect::<Vec<_>>())
    }

    fn control(&self, control: Control, op: &Op, node: &Node, operands: &[Tensor]) -> Result<Vec<Tensor>> {
        let is_true = |tensor: &Tensor| tensor.bytes() == [1];
        match control {
            Control::Call => self.run(&node.regions[0], operands),
            Control::Cond => self.run(&node.regions[usize::from(!is_true(&operands[0]))], &operands[1..]),
            Control::WhileLoop => {
                let most = op.attrs.optional_int("max_steps").unwrap_or(i64::MAX);
                let mut values = operands.to_vec();
                let mut steps = 0;
                while steps < most && is_true(&self.run(&node.regions[0], &values)?[0]) {
                    let next = self.run(&node.regions[1], &values)?;
                    next.into_iter().enumerate().for_each(|(index, value)| values[index] = value);
                    steps += 1;
                }
                values.truncate(op.attrs.int("carried")? as usize);
                Ok(values)
            }
            Control::Scan => self.scan(op, &node.regions[0], operands),
        }
    }

    fn scan(&self, op: &Op, body: &Graph, operands: &[Tensor]) -> Result<Vec<Tensor>> {
        let (carried, sliced) = (op.attrs.int("carried")? as usize, op.attrs.int("sliced")? as usize);
        let length = op.attrs.dim("length")?.as_constant().expect("a known length") as usize;
        let mut values = operands[..carried].to_vec();
        let stacked = &body.outputs()[carried..];
        let mut parts = vec![vec![Vec::new(); length]; stacked.len()];
        for step in 0..length {
            let at = if op.attrs.bool("reverse")? { length - 1 - step } else { step };
            let slices = operands[carried..carried + sliced].iter().map(|tensor| slice(tensor, at));
            let inputs: Vec<_> =
                values.iter().cloned().chain(slices).chain(operands[carried + sliced..].iter().cloned()).collect();
            let mut outputs = self.run(body, &inputs)?;
            for (part, output) in parts.iter_mut().zip(outputs.split_off(carried)) {
                part[at] = output.bytes().to_vec();
            }
            values = outputs;
        }
        for (value, part) in stacked.iter().zip(parts) {
            let spec = body.spec(*value);
            let mut sizes = spec.shape.evaluate(&|name| self.sizes.get(name))?;
            sizes.insert(0, length);
            values.push(Tensor::from_bytes(spec.dtype, &sizes, &part.concat(), None)?);
        }
        Ok(values)
    }
}

/// A slice of a tensor along its first axis.
fn slice(tensor: &Tensor, at: usize) -> Tensor {
    let sizes = &tensor.sizes()[1..];
    let bytes = tensor.dtype().size() * sizes.iter().product::<usize>();
    Tensor::from_bytes(tensor.dtype(), sizes, &tensor.bytes()[at * bytes..(at + 1) * bytes], None).unwrap()
}
