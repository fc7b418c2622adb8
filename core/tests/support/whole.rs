//! Random graphs of whole numbers from -8 to 8, which every float holds exactly: whatever is fused, and in whatever order
//! sums are taken, they give the same.

use super::{Generator, apply, spec, tensor};
use caudal::{AttrValue, DType, Dim, Graph, Shape, Spec, Tensor, Value};

/// A graph in the making, and its inputs.
pub struct Draw {
    generator: Generator,
    graph: Graph,
    inputs: Vec<Tensor>,
    values: Vec<Value>,
    full: Vec<i64>,
    key: Value,
    /// Matrices from the last axis of the full shape to a short one, and back.
    matrices: [Value; 2],
}

/// The graph of a seed, and inputs for it.
pub fn graph(seed: u64) -> (Graph, Vec<Tensor>) {
    let mut draw = Draw::new(seed);
    for _ in 0..4 + draw.below(16) {
        let value = draw.step();
        let value = draw.bounded(value);
        draw.values.push(value);
    }
    let mut outputs: Vec<_> = (0..2).map(|_| draw.value()).collect();
    outputs.push(draw.values[draw.values.len() - 1]);
    draw.graph.set_outputs(outputs).unwrap();
    (draw.graph, draw.inputs)
}

impl Draw {
    fn new(seed: u64) -> Draw {
        let mut generator = Generator(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 7);
        generator.numbers(3);
        let mut pick = |list: &[i64]| list[(generator.number() * list.len() as f64) as usize];
        let (rows, length) = (pick(&[1, 2, 5, 16, 33, 70]), pick(&[1, 2, 3, 8, 10, 31, 64, 257, 1025]));
        let full = match pick(&[0, 0, 0, 1, 2]) {
            0 => vec![rows, length],
            1 => vec![rows, 3, length],
            _ => vec![length, rows],
        };
        let mut graph = Graph::new();
        let mut inputs = Vec::new();
        let mut values = Vec::new();
        let mut input = |generator: &mut Generator, dtype, sizes: &[i64]| {
            let sizes: Vec<_> = sizes.iter().map(|&size| size as usize).collect();
            let numbers = generator.numbers(sizes.iter().product());
            let whole: Vec<_> = numbers.iter().map(|number| (number * 17.0).floor() - 8.0).collect();
            inputs.push(tensor(dtype, &sizes, &whole));
            graph.input(&format!("x{}", inputs.len()), inputs[inputs.len() - 1].spec()).unwrap()
        };
        let (last, half) = (full[full.len() - 1], [DType::F16, DType::BF16, DType::F32][seed as usize % 3]);
        values.push(input(&mut generator, DType::F32, &full));
        values.push(input(&mut generator, half, &full));
        values.push(input(&mut generator, DType::F32, &[last]));
        values.push(input(&mut generator, half, &[&full[..full.len() - 1], &[1]].concat()));
        let matrices = [[last, 4], [4, last]].map(|sizes| input(&mut generator, DType::F32, &sizes));
        inputs.push(tensor(DType::U32, &[2], &[7.0, seed as f64 % 1e9]));
        let key = graph.input("key", spec("uint32[2]")).unwrap();
        Draw { generator, graph, inputs, values, full, key, matrices }
    }

    fn below(&mut self, count: usize) -> usize {
        (self.generator.number() * count as f64) as usize
    }

    fn value(&mut self) -> Value {
        let index = self.below(self.values.len().min(8));
        self.values[self.values.len() - 1 - index]
    }

    fn spec(&self, value: Value) -> &Spec {
        self.graph.spec(value)
    }

    fn unary(&mut self, name: &str, x: Value) -> Value {
        apply(&mut self.graph, name, "{}", &[x])
    }

    fn binary(&mut self, name: &str, x: Value, y: Value) -> Value {
        apply(&mut self.graph, name, "{}", &[x, y])
    }

    /// Within -8 to 8, as a float.
    fn bounded(&mut self, x: Value) -> Value {
        let x = if self.spec(x).dtype.is_float() { x } else { self.graph.cast(x, DType::F32).unwrap() };
        let dtype = self.spec(x).dtype;
        let bounds = [-8.0, 8.0].map(|bound| self.graph.constant(tensor(dtype, &[], &[bound])).unwrap());
        let x = self.binary("maximum", x, bounds[0]);
        self.binary("minimum", x, bounds[1])
    }

    /// A value that broadcasts to the shape of `x`, or to whose shape `x` does.
    fn beside(&mut self, x: Value) -> Value {
        let fits = |from: &Shape, to: &Shape| {
            let mut pairs = from.iter().rev().zip(to.iter().rev());
            from.rank() <= to.rank() && pairs.all(|(a, b)| a == b || a.as_constant() == Some(1))
        };
        let drawn: Vec<_> = (0..6).map(|_| self.value()).collect();
        let shape = |value: Value| &self.graph.spec(value).shape;
        let found = drawn.into_iter().find(|&y| fits(shape(y), shape(x)) || fits(shape(x), shape(y)));
        found.unwrap_or(x)
    }

    fn step(&mut self) -> Value {
        let x = self.value();
        let shape = self.spec(x).shape.clone();
        match self.below(12) {
            0 | 1 => {
                let name = ["neg", "abs", "relu", "sign"][self.below(4)];
                self.unary(name, x)
            }
            2..5 => {
                let y = self.beside(x);
                let name = ["add", "sub", "mul", "maximum", "minimum"][self.below(5)];
                self.binary(name, x, y)
            }
            5..7 if shape.rank() > 0 => self.fold(x, shape.rank()),
            7 => {
                let y = self.beside(x);
                let less = self.binary("less", x, y);
                if self.below(2) == 0 { less } else { self.graph.select(less, y, x).unwrap() }
            }
            8 => {
                let dtype = [DType::F16, DType::BF16, DType::I32, DType::I8, DType::I64, DType::Bool][self.below(6)];
                self.graph.cast(x, dtype).unwrap()
            }
            9 => {
                let attrs = [("shape", AttrValue::Dims(shape.to_vec()))];
                let words = self.graph.op("random_bits", &attrs, &[self.key]).unwrap();
                let mask = self.graph.constant(tensor(DType::U32, &[], &[7.0])).unwrap();
                let few = self.binary("bitwise_and", words, mask);
                let few = self.graph.cast(few, DType::F32).unwrap();
                self.binary("sub", few, x)
            }
            10 | 11 if shape.rank() > 1 && shape[shape.rank() - 1] == Dim::constant(self.full[self.full.len() - 1]) => {
                let x = self.graph.cast(x, DType::F32).unwrap();
                let [there, back] = self.matrices;
                let short = self.binary("matmul", x, there);
                let short = self.bounded(short);
                self.binary("matmul", short, back)
            }
            _ => self.unary("neg", x),
        }
    }

    fn fold(&mut self, x: Value, rank: usize) -> Value {
        let count = 1 + self.below(rank);
        let axes = match self.below(6) {
            0..4 => rank - count..rank,
            _ => 0..count,
        };
        let name = ["sum", "max", "min", "sum"][self.below(4)];
        let axes = AttrValue::Ints(axes.map(|axis| axis as i64).collect());
        let keepdims = AttrValue::Bool(self.below(2) == 0);
        self.graph.op(name, &[("axis", axes), ("keepdims", keepdims)], &[x]).unwrap()
    }
}
