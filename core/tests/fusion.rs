//! Random graphs of element-wise ops, random bits, reductions over all kinds of axes, matrix products, moves, and the
//! composites that are made of them, forward and backward: fused they give the bits that they give op by op.
//!
//! `CAUDAL_GRAPHS` says how many (300), `CAUDAL_GRAPH` the first one, without the other it alone:
//! `CAUDAL_GRAPHS=10000 cargo test --release -p caudal --test fusion`.

mod support;

use caudal::cpu::threads::set_num_threads;
use caudal::cpu::work::Watch;
use caudal::graph::text;
use caudal::meter::Meter;
use caudal::ops::epilogue::is_product;
use caudal::passes;
use caudal::run::Limits;
use caudal::run::function::Executable;
use caudal::shape::Bindings;
use caudal::{AttrValue, DType, Dim, Graph, Shape, Spec, Tensor, Value};
use std::sync::Arc;
use support::{Generator, spec};

/// Draws a graph and the sizes of its dims.
struct Draw {
    generator: Generator,
    graph: Graph,
    values: Vec<Value>,
    /// Matrices from the last axis of the full shape to a short one, and back.
    matrices: Vec<Value>,
    /// Keys: an input, and the same one read backwards.
    keys: Vec<Value>,
    /// The shape that most values have.
    full: Shape,
}

const UNARY: &[&str] = &["neg", "abs", "exp", "tanh", "sigmoid", "relu", "sqrt", "erf", "log1p", "square"];
const BINARY: &[&str] = &["add", "sub", "mul", "div", "maximum", "minimum", "add", "mul"];
const FOLDS: &[&str] = &["sum", "max", "min", "mean", "sum", "prod", "var"];
const NORMAL: &[&str] = &["softmax", "log_softmax", "layer_norm", "rms_norm", "batch_norm_training"];

impl Draw {
    fn new(seed: u64) -> Draw {
        let mut generator = Generator(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
        generator.numbers(3);
        let full = ["[m, n]", "[m, n]", "[b, m, n]", "[n]", "[m, 3, n]", "[m, 1]", "[b, 1, n]"];
        let full = Shape::parse(full[(generator.number() * full.len() as f64) as usize]).unwrap();
        let (values, matrices, keys) = (Vec::new(), Vec::new(), Vec::new());
        Draw { generator, graph: Graph::new(), values, matrices, keys, full }
    }

    fn below(&mut self, count: usize) -> usize {
        (self.generator.number() * count as f64) as usize
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        let index = self.below(list.len());
        list[index]
    }

    fn shape(&self, value: Value) -> Shape {
        self.graph.spec(value).shape.clone()
    }

    fn value(&mut self) -> Value {
        let index = self.below(self.values.len().min(9));
        self.values[self.values.len() - 1 - index]
    }

    /// A value that broadcasts to the shape of `x`, or to whose shape `x` does.
    fn beside(&mut self, x: Value) -> Value {
        let fits = |from: &Shape, to: &Shape| {
            let mut pairs = from.iter().rev().zip(to.iter().rev());
            from.rank() <= to.rank() && pairs.all(|(a, b)| a == b || a.as_constant() == Some(1))
        };
        let shape = self.shape(x);
        let drawn = (0..6).map(|_| self.value()).collect::<Vec<_>>();
        let found = drawn.into_iter().find(|&y| fits(&self.shape(y), &shape) || fits(&shape, &self.shape(y)));
        found.unwrap_or(x)
    }

    fn inputs(&mut self) {
        let (full, rank) = (self.full.clone(), self.full.rank());
        let dtype = self.one_of(&[DType::F32, DType::F32, DType::F32, DType::F64, DType::F16, DType::BF16]);
        let mut add = |shape: Shape| {
            let name = format!("x{}", self.values.len());
            self.values.push(self.graph.input(&name, Spec::new(dtype, shape)).unwrap());
        };
        add(full.clone());
        add(full[rank - 1..].iter().cloned().collect());
        add(full.iter().enumerate().map(|(axis, dim)| if axis + 1 == rank { 1.into() } else { dim.clone() }).collect());
        add(full.clone());
        let (last, few) = (full[rank - 1].clone(), Dim::constant(3));
        for (name, dims) in [("there", [last.clone(), few.clone()]), ("back", [few, last])] {
            let spec = Spec::new(dtype, dims.into_iter().collect());
            self.matrices.push(self.graph.input(name, spec).unwrap());
        }
        let key = self.graph.input("key", spec("uint32[2]")).unwrap();
        let flipped = support::apply(&mut self.graph, "slice", r#"{"step": [-1]}"#, &[key]);
        self.keys = vec![key, flipped];
    }

    fn axes(&mut self, rank: usize) -> Vec<i64> {
        let count = 1 + self.below(rank);
        match self.below(8) {
            0..4 => (rank - count..rank).map(|axis| axis as i64).collect(),
            4 | 5 => (0..count as i64).collect(),
            6 => (0..rank as i64).collect(),
            _ => (0..rank as i64).filter(|_| self.generator.number() < 0.5).collect(),
        }
    }

    /// Applies an op drawn, if what was drawn for it fits.
    fn step(&mut self) {
        let x = self.value();
        let shape = self.shape(x);
        let is_float = self.graph.spec(x).dtype.is_float();
        let made = match self.below(20) {
            0..3 if is_float => {
                let name = self.one_of(UNARY);
                self.graph.op(name, &[], &[x])
            }
            3..7 => {
                let (y, name) = (self.beside(x), self.one_of(BINARY));
                self.graph.op(name, &[], &[x, y])
            }
            7..10 if shape.rank() > 0 && is_float => {
                let (name, axes, keepdims) = (self.one_of(FOLDS), self.axes(shape.rank()), self.below(2) == 0);
                let attrs = [("axis", AttrValue::Ints(axes)), ("keepdims", AttrValue::Bool(keepdims))];
                self.graph.op(name, &attrs, &[x])
            }
            10 => {
                // The ones of a shape go, or one comes.
                let dims: Vec<Dim> = match shape.iter().any(|dim| dim.as_constant() == Some(1)) {
                    true => shape.iter().filter(|dim| dim.as_constant() != Some(1)).cloned().collect(),
                    false => shape.iter().cloned().chain([1.into()]).collect(),
                };
                self.graph.reshape(x, &dims)
            }
            11 => {
                let full = self.full.clone();
                let fits = shape.rank() <= full.rank()
                    && shape.iter().rev().zip(full.iter().rev()).all(|(a, b)| a == b || a.as_constant() == Some(1));
                if fits { self.graph.broadcast_to(x, &full) } else { Ok(x) }
            }
            12 if shape.rank() > 1 && is_float => self.normalization(x, &shape),
            13 => {
                let y = self.beside(x);
                let Ok(less) = self.graph.less(x, y) else { return };
                match self.below(3) {
                    0 => self.graph.op("any", &[("axis", AttrValue::Ints(vec![-1]))], &[less]).or(Ok(less)),
                    1 => self.graph.cast(less, DType::F32),
                    _ => self.graph.select(less, y, x),
                }
            }
            14 => {
                let dtype = self.one_of(&[DType::F32, DType::F16, DType::I32, DType::U8, DType::F64, DType::Bool]);
                let other = self.graph.cast(x, dtype).unwrap();
                let axes = AttrValue::Ints(vec![-1]);
                match (shape.rank(), dtype) {
                    (0, _) | (_, DType::Bool) => self.graph.cast(other, DType::F32),
                    _ => self.graph.op("sum", &[("axis", axes), ("keepdims", AttrValue::Bool(true))], &[other]),
                }
            }
            15 | 16 => self.products(x, &shape),
            17 | 18 => self.random(x, &shape),
            _ if is_float => self.graph.op("tanh", &[], &[x]),
            _ => self.graph.cast(x, DType::F32),
        };
        match made {
            Ok(value) if value != x => self.values.push(value),
            _ => {}
        }
    }

    /// A matrix product to a short axis, something of its shape, and a product back.
    fn products(&mut self, x: Value, shape: &Shape) -> caudal::Result<Value> {
        let [there, back] = self.matrices[..] else { return Ok(x) };
        if shape.rank() < 2 || shape[shape.rank() - 1] != self.full[self.full.rank() - 1] {
            return Ok(x);
        }
        let mut short = self.graph.matmul(x, there)?;
        for _ in 0..self.below(4) {
            short = match self.below(4) {
                0 => self.graph.op("relu", &[], &[short])?,
                1 => self
                    .graph
                    .op("mean", &[("axis", AttrValue::Ints(vec![-1])), ("keepdims", AttrValue::Bool(true))], &[short])
                    .and_then(|mean| self.graph.sub(short, mean))?,
                2 => self.graph.mul(short, short)?,
                _ => self.graph.op("sigmoid", &[], &[short])?,
            };
        }
        if self.below(4) == 0 {
            self.values.push(short);
        }
        self.graph.matmul(short, back)
    }

    /// Random numbers of the shape of `x`, or a part of its elements.
    fn random(&mut self, x: Value, shape: &Shape) -> caudal::Result<Value> {
        let keys = self.keys.clone();
        let (key, of_shape) = (self.one_of(&keys), ("shape", AttrValue::Dims(shape.to_vec())));
        let (dtype, kind) = (self.graph.spec(x).dtype, self.below(4));
        match kind {
            0 | 1 if dtype.is_float() => self.graph.op("dropout", &[("rate", AttrValue::Float(0.4))], &[x, key]),
            0 => self.graph.op("random_bits", &[of_shape], &[key]),
            1 => self.graph.op("normal", &[of_shape, ("dtype", AttrValue::DType(DType::F32))], &[key]),
            2 => {
                let uniform = self.graph.op("uniform", &[of_shape, ("dtype", AttrValue::DType(DType::F64))], &[key])?;
                self.graph.cast(uniform, dtype)
            }
            _ => {
                let bits =
                    self.graph.op("random_bits", &[of_shape, ("dtype", AttrValue::DType(DType::U64))], &[key])?;
                self.graph.cast(bits, DType::F32)
            }
        }
    }

    fn normalization(&mut self, x: Value, shape: &Shape) -> caudal::Result<Value> {
        let name = self.one_of(NORMAL);
        if name != "batch_norm_training" {
            return self.graph.op(name, &[], &[x]);
        }
        let last = Spec::new(self.graph.spec(x).dtype, shape[shape.rank() - 1..].iter().cloned().collect());
        let found = self.values.iter().copied().find(|value| *self.graph.spec(*value) == last);
        match found {
            Some(scale) => {
                let op = caudal::graph::op(name, &[])?;
                Ok(self.graph.apply(&op, Vec::new(), &[x, scale, scale])?[0])
            }
            None => Ok(x),
        }
    }

    /// Outputs: some of the last values, and for half of the graphs a gradient.
    fn finish(mut self) -> Graph {
        let mut outputs: Vec<Value> = (0..3).map(|_| self.value()).collect();
        let last = *self.values.last().unwrap();
        outputs.push(last);
        if self.below(2) == 0 && self.graph.spec(last).dtype.is_float() {
            let loss = self.graph.op("mean", &[], &[last]).unwrap();
            let wanted: Vec<Value> = self.values[..3].to_vec();
            let before = self.graph.clone();
            match caudal::grad::grad(&mut self.graph, loss, &wanted) {
                Ok(gradients) => outputs.extend(gradients),
                Err(_) => self.graph = before,
            }
            outputs.push(loss);
        }
        self.graph.set_outputs(outputs).unwrap();
        self.graph
    }
}

fn random_graph(seed: u64) -> Graph {
    let mut draw = Draw::new(seed);
    draw.inputs();
    for _ in 0..4 + draw.below(24) {
        draw.step();
    }
    draw.finish()
}

/// Sizes of m, n and b: rows short and long, few and many; now and then none.
fn random_sizes(seed: u64) -> [usize; 3] {
    let mut generator = Generator(seed ^ 0x5bd1_e995);
    generator.numbers(3);
    let mut pick = |list: &[usize]| list[(generator.number() * list.len() as f64) as usize];
    match pick(&[0, 1, 2, 3, 4, 5, 6, 7]) {
        0 => [pick(&[1, 2, 3]), pick(&[1024, 1025, 2100, 20_000]), 1],
        1 => [pick(&[1030, 2049, 5000]), pick(&[1, 2, 3, 10]), 2],
        2 => [pick(&[70, 130]), pick(&[70, 130, 300]), pick(&[1, 3])],
        3 => [pick(&[0, 1, 2]), pick(&[0, 1, 5]), pick(&[0, 1])],
        _ => [pick(&[1, 2, 5, 16, 17, 33]), pick(&[1, 3, 10, 16, 31, 64, 257]), pick(&[1, 2, 4])],
    }
}

fn random_inputs(graph: &Graph, seed: u64, [m, n, b]: [usize; 3]) -> Vec<Tensor> {
    let mut generator = Generator(seed ^ 0x1234_5678);
    generator.numbers(3);
    let draw = |input: &caudal::graph::Input| {
        let Spec { dtype, shape } = graph.spec(input.value);
        if *dtype == DType::U32 {
            let words = [(); 2].map(|()| (generator.number() * 4_294_967_296.0) as u32);
            return Tensor::from_slice(DType::U32, &[2], &words).unwrap();
        }
        let env = |name: &str| match name {
            "m" => Some(m as i64),
            "n" => Some(n as i64),
            _ => Some(b as i64),
        };
        let sizes = shape.evaluate(&env).unwrap();
        let spec = Spec::new(*dtype, sizes.iter().map(|&size| Dim::constant(size as i64)).collect());
        let mut tensor = generator.tensor(&spec, -2.0, 2.0);
        // Special values in one of eight tensors.
        if generator.number() < 0.125 && tensor.len() > 1 {
            let mut numbers = support::numbers(&tensor);
            let count = numbers.len();
            for special in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0] {
                numbers[(generator.number() * count as f64) as usize] = special;
            }
            tensor = support::tensor(*dtype, &sizes, &numbers);
        }
        tensor
    };
    graph.inputs().iter().map(draw).collect()
}

/// Runs a graph in pieces as short as they can be.
fn in_pieces(executable: &Arc<Executable>, graph: &Graph, inputs: &[Tensor]) -> Vec<Tensor> {
    let mut sizes = Bindings::new();
    for (input, tensor) in graph.inputs().iter().zip(inputs) {
        sizes.bind(&graph.spec(input.value).shape, tensor.sizes()).unwrap();
    }
    let mut run = executable.start(inputs.to_vec(), &sizes, Limits::none().budget(), |_| None).unwrap();
    while !run.advance(&Watch { pause: 0.0, ..Watch::default() }).unwrap() {}
    run.finish().unwrap()
}

#[test]
fn fused_graphs_give_the_bits_that_their_ops_give_one_by_one() {
    let seeds = support::seeds(300);
    let (mut fused, mut followed, mut random, many) = (0, 0, 0, seeds.end - seeds.start >= 300);
    for seed in seeds {
        let graph = random_graph(seed);
        let inputs = random_inputs(&graph, seed, random_sizes(seed));
        let plain = support::run_through(&graph, passes::PLAIN, &inputs);
        let plain = plain.unwrap_or_else(|error| panic!("graph {seed}: {error}\n{}", text::print(&graph)));
        let made = passes::run(&Arc::new(graph.clone()), passes::OPTIMIZED, &Meter::default(), &mut |_, _| {});
        let made = made.unwrap_or_else(|error| panic!("graph {seed}: {error}\n{}", text::print(&graph)));
        made.verify().unwrap_or_else(|error| panic!("graph {seed}: {error}\n{}", text::print(&made)));
        let reduces = |node: &&caudal::Node| node.op.attrs.dim_list("shape").is_some() && node.op.def.name == "fused";
        fused += made.nodes().iter().filter(reduces).count();
        followed += made.nodes().iter().filter(|node| has_product(node)).count();
        let regions = made.nodes().iter().flat_map(|node| &node.regions);
        random += regions.flat_map(|region| region.nodes()).filter(|node| node.op.def.name == "random_bits").count();
        let executable = Arc::new(Executable::new(&graph, passes::OPTIMIZED, &Meter::default()).unwrap());
        let whole = support::execute(&executable, &graph, &inputs).unwrap();
        let pieces = in_pieces(&executable, &graph, &inputs);
        for (how, given) in [("whole", whole), ("in pieces", pieces)] {
            let wrong = (0..plain.len()).find(|&index| !support::same(&plain[index], &given[index]));
            assert!(wrong.is_none(), "graph {seed}, {how}: output {wrong:?}\n{}", text::print(&made));
        }
    }
    assert!(fused > 300 || !many, "only {fused} clusters have reductions");
    assert!(followed > 50 || !many, "only {followed} clusters have products");
    assert!(random > 150 || !many, "only {random} random bits are in clusters");
}

/// Whether a node is a cluster with a product.
fn has_product(node: &caudal::Node) -> bool {
    let holds = |region: &Graph| region.nodes().iter().any(|inner| is_product(region, inner));
    node.op.def.name == "fused" && holds(&node.regions[0])
}

#[test]
fn products_of_every_kind_are_followed_by_the_ops_behind_them() {
    // The sizes of x and of the kernel or the other matrix, and the attrs of a convolution.
    let table: [(&[i64], &[i64], &str); 16] = [
        (&[70, 40], &[40, 50], ""),
        (&[1, 40], &[40, 500], ""),
        (&[600, 300], &[300, 700], ""),
        (&[2000, 3], &[3, 1], ""),
        (&[5, 0], &[0, 7], ""),
        (&[0, 4], &[4, 3], ""),
        (&[3, 2, 700], &[700, 20], ""),
        (&[40, 3, 17], &[40, 17, 9], ""),
        (&[2, 12, 12, 16], &[3, 3, 16, 32], r#"{"padding": "same"}"#),
        (&[2, 40, 40, 1], &[5, 5, 1, 8], "{}"),
        (&[2, 9, 11, 3], &[3, 2, 3, 5], r#"{"padding": "same", "strides": [2, 3]}"#),
        (&[2, 30, 30, 4], &[3, 3, 4, 1], "{}"),
        (&[2, 6, 6, 8], &[3, 3, 4, 12], r#"{"groups": 2, "padding": "same"}"#),
        (&[2, 6, 6, 6], &[3, 3, 1, 6], r#"{"groups": 6, "padding": "same"}"#),
        (&[2, 13, 4], &[3, 4, 8], r#"{"dilation": [4]}"#),
        (&[2, 6, 6, 4], &[3, 3, 4, 0], "{}"),
    ];
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        for (x_sizes, y_sizes, attrs) in table {
            let mut graph = Graph::new();
            let x = graph.input("x", Spec::new(dtype, Shape::of(x_sizes))).unwrap();
            let y = graph.input("y", Spec::new(dtype, Shape::of(y_sizes))).unwrap();
            let bias = graph.input("bias", Spec::new(dtype, Shape::of(&y_sizes[y_sizes.len() - 1..]))).unwrap();
            // The operands are results too, of which gradients go through both.
            let (from, by) = (graph.op("sin", &[], &[x]).unwrap(), graph.op("cos", &[], &[y]).unwrap());
            let product = match attrs {
                "" => graph.matmul(from, by).unwrap(),
                _ => graph.apply(&support::op("conv", attrs).unwrap(), Vec::new(), &[from, by]).unwrap()[0],
            };
            let sum = graph.add(product, bias).unwrap();
            let output = graph.op("relu", &[], &[sum]).unwrap();
            let key = graph.input("key", spec("uint32[2]")).unwrap();
            let output = graph.op("dropout", &[("rate", AttrValue::Float(0.3))], &[output, key]).unwrap();
            let twice = graph.mul(product, output).unwrap();
            let loss = graph.op("sum", &[], &[twice]).unwrap();
            let gradients = caudal::grad::grad(&mut graph, loss, &[x, y]).unwrap();
            graph.set_outputs([vec![output], gradients].concat()).unwrap();
            let mut generator = Generator(7);
            let inputs: Vec<_> =
                graph.inputs().iter().map(|i| generator.tensor(graph.spec(i.value), -1.0, 1.0)).collect();
            let plain = support::run_through(&graph, passes::PLAIN, &inputs).unwrap();
            let made = passes::run(&Arc::new(graph.clone()), passes::OPTIMIZED, &Meter::default(), &mut |_, _| {});
            let executable = Arc::new(Executable::new(&graph, passes::OPTIMIZED, &Meter::default()).unwrap());
            let made = made.unwrap().nodes().iter().filter(|node| has_product(node)).count();
            assert_eq!(made, if dtype == DType::BF16 { 0 } else { 3 }, "{x_sizes:?} {y_sizes:?} {attrs}");
            for threads in [1, 2, 7] {
                set_num_threads(threads);
                let whole = support::execute(&executable, &graph, &inputs).unwrap();
                let pieces = in_pieces(&executable, &graph, &inputs);
                assert!(
                    plain == whole && plain == pieces,
                    "{dtype} {x_sizes:?} {y_sizes:?} {attrs}, {threads} threads"
                );
            }
            set_num_threads(0);
        }
    }
}

#[test]
fn random_bits_in_a_cluster_are_those_of_their_numbers() {
    let mut graph = Graph::new();
    let x = graph.input("x", spec("float32[n, m]")).unwrap();
    let key = graph.input("key", spec("uint32[2]")).unwrap();
    let x = graph.transpose(x, &[1, 0]).unwrap();
    let attrs = |dtype| {
        let shape = AttrValue::Dims(Shape::parse("[m, n]").unwrap().to_vec());
        [("shape", shape), ("dtype", AttrValue::DType(dtype))]
    };
    let narrow = graph.op("random_bits", &attrs(DType::U32), &[key]).unwrap();
    let wide = graph.op("random_bits", &attrs(DType::U64), &[key]).unwrap();
    let dropped = graph.op("dropout", &[("rate", AttrValue::Float(0.5))], &[x, key]).unwrap();
    let low = graph.cast(narrow, DType::F32).unwrap();
    let sum = graph.add(low, dropped).unwrap();
    let high = graph.cast(wide, DType::F32).unwrap();
    let sum = graph.add(sum, high).unwrap();
    graph.set_outputs(vec![sum, narrow, dropped]).unwrap();
    let made = passes::run(&Arc::new(graph.clone()), passes::OPTIMIZED, &Meter::default(), &mut |_, _| {}).unwrap();
    let names: Vec<_> = made.nodes().iter().map(|node| node.op.def.name).filter(|name| *name != "constant").collect();
    assert_eq!(names, ["transpose", "fused"], "{}", text::print(&made));
    let executable = Arc::new(Executable::new(&graph, passes::OPTIMIZED, &Meter::default()).unwrap());
    for sizes in [[0, 3], [1, 1], [1, 127], [2, 64], [3, 43], [1, 1023], [4, 256], [5, 205], [300, 301]] {
        let inputs = random_inputs(&graph, 5, [sizes[0], sizes[1], 1]);
        let plain = support::run_through(&graph, passes::PLAIN, &inputs).unwrap();
        for threads in [1, 2, 7] {
            set_num_threads(threads);
            assert!(plain == support::execute(&executable, &graph, &inputs).unwrap(), "{sizes:?}, {threads} threads");
        }
        assert!(plain == in_pieces(&executable, &graph, &inputs), "{sizes:?}, in pieces");
    }
    set_num_threads(0);
}

/// Words of the shape of their key, which is an operand beside them too, and whose memory a result could take.
#[test]
fn a_key_is_made_before_the_cluster_that_reads_it() {
    for reduces in [false, true] {
        let mut graph = Graph::new();
        let x = graph.input("x", spec("uint32[2]")).unwrap();
        let key = graph.op("bitwise_invert", &[], &[x]).unwrap();
        let words = graph.op("random_bits", &[("shape", AttrValue::Dims(vec![2.into()]))], &[key]).unwrap();
        let mut value = graph.op("bitwise_xor", &[], &[words, key]).unwrap();
        if reduces {
            let most = graph.reduce("max", value, &[0], true).unwrap();
            let words = graph.sub(words, most).unwrap();
            let most = graph.reduce("max", words, &[0], true).unwrap();
            value = graph.add(words, most).unwrap();
        }
        let value = graph.op("random_bits", &[("shape", AttrValue::Dims(vec![3.into()]))], &[value]).unwrap();
        graph.set_outputs(vec![value]).unwrap();
        let made = passes::run(&Arc::new(graph.clone()), passes::OPTIMIZED, &Meter::default(), &mut |_, _| {}).unwrap();
        let names: Vec<_> = made.nodes().iter().map(|node| node.op.def.name).collect();
        assert_eq!(names, ["bitwise_invert", "fused", "random_bits"], "{}", text::print(&made));
        let inputs = random_inputs(&graph, 7, [1, 1, 1]);
        let plain = support::run_through(&graph, passes::PLAIN, &inputs).unwrap();
        let executable = Arc::new(Executable::new(&graph, passes::OPTIMIZED, &Meter::default()).unwrap());
        assert_eq!(plain, support::execute(&executable, &graph, &inputs).unwrap());
        assert_eq!(plain, in_pieces(&executable, &graph, &inputs));
    }
}

/// A cluster of one shape: what it holds, and the sizes of m and n.
#[test]
fn rows_and_columns_of_every_length_are_reduced_alike_by_any_number_of_threads() {
    let lengths = [1, 15, 16, 17, 255, 256, 257, 1023, 1024, 1025, 1040, 2048, 5000, 40_000];
    for (axis, leads) in [(1, false), (0, true)] {
        let mut graph = Graph::new();
        let x = graph.input("x", spec("float32[m, n]")).unwrap();
        let most = graph.reduce("max", x, &[axis], true).unwrap();
        let shifted = graph.sub(x, most).unwrap();
        let exp = graph.exp(shifted).unwrap();
        let total = graph.reduce("sum", exp, &[axis], true).unwrap();
        let output = graph.div(exp, total).unwrap();
        graph.set_outputs(vec![output, total]).unwrap();
        for length in lengths {
            for rows in [1, 2, 40, 700] {
                if length * rows > 100_000 {
                    continue;
                }
                let sizes = if leads { [length, rows] } else { [rows, length] };
                let x =
                    Generator(length as u64).tensor(&spec(&format!("float32[{}, {}]", sizes[0], sizes[1])), -3.0, 3.0);
                let plain = support::run_through(&graph, passes::PLAIN, std::slice::from_ref(&x)).unwrap();
                for threads in [1, 2, 3] {
                    set_num_threads(threads);
                    let fused = support::run_through(&graph, passes::OPTIMIZED, std::slice::from_ref(&x)).unwrap();
                    assert!(plain == fused, "axis {axis} of {sizes:?} with {threads} threads");
                }
            }
        }
    }
    set_num_threads(0);
}
