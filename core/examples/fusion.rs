//! What fusion saves: bytes moved between steps and milliseconds, with and without the pass `fuse`, as one JSON object a
//! line. `benchmarks/fusion.py` runs it beside other frameworks. Arguments: cases (all), `--threads N`, `--seconds S`.

use caudal::cpu::threads::set_num_threads;
use caudal::json;
use caudal::meter::Meter;
use caudal::passes::{self, Pass};
use caudal::plan::Plan;
use caudal::plan::instance::Instance;
use caudal::run::Limits;
use caudal::run::function::Executable;
use caudal::shape::Bindings;
use caudal::{Attrs, DType, Graph, Op, Result, Spec, Tensor, Value, grad, ops};
use std::sync::Arc;
use std::time::Instant;

/// A graph of one or several ops: its inputs, its op with attrs and what follows it, whether the gradients by its float inputs are asked for.
struct Case {
    name: &'static str,
    inputs: &'static [&'static str],
    op: &'static str,
    attrs: &'static str,
}

const CASES: &[Case] = &[
    Case { name: "chain", inputs: &["float32[1024, 1024]", "float32[1024]"], op: "", attrs: "{}" },
    Case { name: "softmax", inputs: &["float32[4096, 1000]"], op: "softmax", attrs: "{}" },
    Case { name: "log_softmax", inputs: &["float32[4096, 1000]"], op: "log_softmax", attrs: "{}" },
    Case {
        name: "layer_norm",
        inputs: &["float32[4096, 768]", "float32[768]", "float32[768]"],
        op: "layer_norm",
        attrs: "{}",
    },
    Case { name: "rms_norm", inputs: &["float32[4096, 768]", "float32[768]"], op: "rms_norm", attrs: "{}" },
    Case {
        name: "softmax_cross_entropy",
        inputs: &["float32[4096, 1000]", "int32[4096]"],
        op: "softmax_cross_entropy",
        attrs: "{}",
    },
    Case {
        name: "batch_norm",
        inputs: &["float32[32, 32, 32, 64]", "float32[64]", "float32[64]"],
        op: "batch_norm_training",
        attrs: "{}",
    },
    Case { name: "dropout", inputs: &["float32[4096, 1024]", "uint32[2]"], op: "dropout", attrs: r#"{"rate": 0.3}"# },
    Case {
        name: "adam",
        inputs: &[
            "float32[1024, 1024]",
            "float32[1024, 1024]",
            "float32[]",
            "int64[]",
            "float32[1024, 1024]",
            "float32[1024, 1024]",
        ],
        op: "adam",
        attrs: "{}",
    },
    Case {
        name: "dense",
        inputs: &["float32[1024, 256]", "float32[256, 1024]", "float32[1024]"],
        op: "matmul",
        attrs: "{}",
    },
    Case {
        name: "convolution",
        inputs: &["float32[32, 28, 28, 16]", "float32[3, 3, 16, 32]", "float32[32]"],
        op: "conv",
        attrs: r#"{"padding": "same"}"#,
    },
];

fn op(name: &str, attrs: &str) -> Result<Op> {
    let (def, attrs) = (ops::find(name)?, json::parse(attrs)?);
    Ok(Op { def, attrs: Attrs::from_json(def, attrs.as_object().expect("attrs are an object"))? })
}

/// Twelve element-wise ops in a row.
fn chain(graph: &mut Graph, x: Value, y: Value) -> Result<Value> {
    let mut value = x;
    for _ in 0..3 {
        let sum = graph.add(value, y)?;
        let scaled = graph.mul(sum, x)?;
        let most = graph.maximum(scaled, y)?;
        value = graph.sub(most, x)?;
    }
    Ok(value)
}

impl Case {
    /// Forward: the op's first output (all of adam's). Backward: the gradients of its product with a last input.
    fn graph(&self, backward: bool) -> Result<Graph> {
        let mut graph = Graph::new();
        let mut values = Vec::new();
        for (index, text) in self.inputs.iter().enumerate() {
            values.push(graph.input(&format!("x{index}"), Spec::parse(text)?)?);
        }
        let outputs = match self.op {
            "" => vec![chain(&mut graph, values[0], values[1])?],
            name @ ("matmul" | "conv") => {
                let product = graph.apply(&op(name, self.attrs)?, Vec::new(), &values[..2])?[0];
                let sum = graph.add(product, values[2])?;
                vec![graph.op("relu", &[], &[sum])?]
            }
            name => graph.apply(&op(name, self.attrs)?, Vec::new(), &values)?,
        };
        if !backward {
            graph.set_outputs(if self.op == "adam" { outputs } else { outputs[..1].to_vec() })?;
            return Ok(graph);
        }
        let weights = graph.input("weights", graph.spec(outputs[0]).clone())?;
        let weighted = graph.mul(outputs[0], weights)?;
        let loss = graph.op("sum", &[], &[weighted])?;
        let wanted: Vec<_> = values.iter().copied().filter(|value| graph.spec(*value).dtype.is_float()).collect();
        let gradients = grad::grad(&mut graph, loss, &wanted)?;
        graph.set_outputs(gradients)?;
        Ok(graph)
    }
}

/// Bytes that the steps of a plan read and write: each element of an operand that lies somewhere else.
fn bytes_moved(graph: &Graph, passes: &[Pass]) -> Result<(usize, usize)> {
    let graph = passes::run(&Arc::new(graph.clone()), passes, &Meter::default(), &mut |_, _| {})?;
    let plan = Plan::new(&graph, &Meter::default())?;
    let instance = Instance::new(&plan, &Bindings::new(), None, &Meter::default())?;
    let (mut bytes, mut steps) = (0, 0);
    for (block, sizes) in plan.blocks.iter().zip(&instance.blocks) {
        steps += block.steps.len();
        for step in &block.steps {
            for value in step.inputs.iter().flatten().chain(&step.outputs) {
                let layout = &sizes.layouts[value.index()];
                let apart = layout.sizes.iter().zip(&layout.strides).filter(|(_, stride)| **stride != 0);
                bytes += apart.map(|(size, _)| size).product::<usize>() * layout.dtype.size();
            }
        }
    }
    Ok((bytes, steps))
}

fn inputs(graph: &Graph) -> Result<Vec<Tensor>> {
    let mut state = 1u64;
    let mut number = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    let mut draw = |spec: &Spec| {
        let sizes = spec.shape.sizes().expect("known sizes");
        let count = sizes.iter().product();
        match spec.dtype {
            DType::F32 => Tensor::from_slice(DType::F32, &sizes, &(0..count).map(|_| number()).collect::<Vec<_>>()),
            DType::U32 => Tensor::from_slice(DType::U32, &sizes, &vec![7u32; count]),
            DType::I64 => Tensor::from_slice(DType::I64, &sizes, &vec![3i64; count]),
            _ => Tensor::from_slice(spec.dtype, &sizes, &(0..count as i32).map(|i| i % 1000).collect::<Vec<_>>()),
        }
    };
    graph.inputs().iter().map(|input| draw(graph.spec(input.value))).collect()
}

/// The fastest and the middle of the times of runs, in milliseconds.
fn time(graph: &Graph, passes: &[Pass], inputs: &[Tensor], seconds: f64) -> Result<(f64, f64)> {
    let executable = Arc::new(Executable::new(graph, passes, &Meter::default())?);
    let limits = Limits::none();
    let (mut times, start) = (Vec::new(), Instant::now());
    while times.len() < 5 || start.elapsed().as_secs_f64() < seconds {
        let begin = Instant::now();
        let mut run = executable.start(inputs.to_vec(), &Bindings::new(), limits.budget(), |_| None)?;
        while !run.advance(&limits.watch())? {}
        drop(run.finish()?);
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok((times[0], times[times.len() / 2]))
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let setting = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)?.parse::<f64>().ok()
    };
    set_num_threads(setting("--threads").unwrap_or(2.0) as usize);
    let seconds = setting("--seconds").unwrap_or(1.0);
    let apart: Vec<Pass> = passes::OPTIMIZED.iter().copied().filter(|(name, _)| *name != "fuse").collect();
    for case in CASES {
        let named = arguments.iter().any(|argument| CASES.iter().any(|case| case.name == argument));
        if named && !arguments.iter().any(|argument| argument == case.name) {
            continue;
        }
        for backward in [false, true] {
            if backward && case.op == "adam" {
                continue;
            }
            let graph = case.graph(backward)?;
            let inputs = inputs(&graph)?;
            if arguments.iter().any(|argument| argument == "--graph") {
                let made = passes::run(&Arc::new(graph.clone()), passes::OPTIMIZED, &Meter::default(), &mut |_, _| {})?;
                println!("{}", caudal::graph::text::print(&made));
            }
            let (bytes_before, steps_before) = bytes_moved(&graph, &apart)?;
            let (bytes, steps) = bytes_moved(&graph, passes::OPTIMIZED)?;
            let before = time(&graph, &apart, &inputs, seconds)?;
            let after = time(&graph, passes::OPTIMIZED, &inputs, seconds)?;
            println!(
                r#"{{"case": "{}", "backward": {backward}, "steps": [{steps_before}, {steps}], "megabytes": [{:.1}, {:.1}], "fastest_ms": [{:.3}, {:.3}], "middle_ms": [{:.3}, {:.3}]}}"#,
                case.name,
                bytes_before as f64 / 1e6,
                bytes as f64 / 1e6,
                before.0,
                after.0,
                before.1,
                after.1
            );
        }
    }
    Ok(())
}
