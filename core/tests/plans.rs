//! What plans promise of any graph: the same bits as without optimisation, and memory that nobody overwrites too soon.

mod support;

use caudal::meter::Meter;
use caudal::op::Meaning;
use caudal::passes;
use caudal::plan::instance::{Instance, Part};
use caudal::plan::{Action, Place, Plan};
use caudal::shape::Bindings;
use caudal::{DType, Graph, Node, Shape, Tensor, Value};
use std::sync::Arc;
use support::{Generator, spec};

/// Something of x, computed in another dtype.
fn through_dtype(graph: &mut Graph, x: Value, dtype: DType) -> Value {
    let other = graph.cast(x, dtype).unwrap();
    let changed = match dtype {
        DType::Bool => graph.logical_not(other),
        _ => graph.mul(other, other),
    };
    graph.cast(changed.unwrap(), DType::F32).unwrap()
}

/// A graph of `count` random element-wise ops, reductions, broadcasts and views over [m, n].
fn random_graph(seed: u64, count: usize) -> Graph {
    let mut generator = Generator(seed);
    let mut pick = move |below: usize| (generator.number() * below as f64) as usize;
    let mut graph = Graph::new();
    let full = Shape::parse("[m, n]").unwrap();
    let mut values: Vec<Value> =
        (0..3).map(|index| graph.input(&format!("x{index}"), spec("float32[m, n]")).unwrap()).collect();
    values.push(graph.input("row", spec("float32[n]")).unwrap());
    for _ in 0..count {
        let choose = |pick: &mut dyn FnMut(usize) -> usize| values[values.len() - 1 - pick(values.len().min(12))];
        let (x, y) = (choose(&mut pick), choose(&mut pick));
        let is_full = graph.spec(x).shape == full;
        let made = match pick(15) {
            0 | 1 => graph.add(x, y),
            2 => graph.mul(x, y),
            3 => graph.maximum(x, y),
            4 => graph.tanh(x),
            5 => graph.neg(x),
            6 => graph.sigmoid(x),
            7 if is_full => graph.reduce("mean", x, &[1], true),
            8 if is_full => graph.reduce("max", x, &[0], false),
            9 if is_full => {
                let turned = graph.transpose(x, &[1, 0]).unwrap();
                let changed = graph.tanh(turned).unwrap();
                graph.transpose(changed, &[1, 0])
            }
            10 if is_full => {
                let flat = graph.op("reshape", &[("shape", caudal::AttrValue::Dims(vec![(-1).into()]))], &[x]).unwrap();
                let changed = graph.sigmoid(flat).unwrap();
                graph.reshape(changed, &full)
            }
            11 | 12 => Ok(through_dtype(&mut graph, x, DType::ALL[pick(DType::ALL.len())])),
            13 => {
                let less = graph.less(x, y).unwrap();
                graph.select(less, y, x)
            }
            _ => graph.broadcast_to(x, &full),
        };
        values.push(made.unwrap());
    }
    let outputs = (0..3).map(|_| values[values.len() - 1 - pick(values.len().min(count / 2))]).collect();
    graph.set_outputs(outputs).unwrap();
    graph
}

fn random_inputs(m: usize, n: usize) -> Vec<Tensor> {
    let mut generator = Generator(17);
    let mut draw = |sizes: &[usize]| {
        let elements: Vec<_> = generator.numbers(sizes.iter().product()).iter().map(|x| 4.0 * x - 2.0).collect();
        support::tensor(DType::F32, sizes, &elements)
    };
    vec![draw(&[m, n]), draw(&[m, n]), draw(&[m, n]), draw(&[n])]
}

#[test]
fn optimised_random_graphs_equal_plain_ones_to_the_bit() {
    let mut clusters = 0;
    for seed in 0..150 {
        let graph = random_graph(seed, 10 + seed as usize);
        let made = passes::run(&Arc::new(graph.clone()), passes::OPTIMIZED, &Meter::default(), &mut |name, made| {
            made.verify().unwrap_or_else(|error| panic!("seed {seed}, after {name}: {error}"));
        });
        let is_cluster = |node: &&Node| matches!(node.op.def.meaning, Meaning::Cluster);
        clusters += made.unwrap().nodes().iter().filter(is_cluster).count();
        support::run(&graph, &random_inputs(5, 7));
        support::run(&graph, &random_inputs(37, 61));
        if seed % 10 == 0 {
            support::run(&graph, &random_inputs(301, 211));
        }
    }
    assert!(clusters > 500, "{clusters}");
}

/// Follows the steps of a plan over the memory of each block: what a step reads must still be there.
fn check_memory(graph: &Graph, sizes: &Bindings) -> usize {
    let graph = passes::run(&Arc::new(graph.clone()), passes::OPTIMIZED, &Meter::default(), &mut |_, _| {}).unwrap();
    let plan = Plan::new(&graph, &Meter::default()).unwrap();
    let instance = Instance::new(&plan, sizes, None, &Meter::default()).unwrap();
    let mut in_place = 0;
    for (block, real) in plan.blocks.iter().zip(&instance.blocks) {
        let meet = |a: Part, b: Part| a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
        let part = |value: Value| match block.places[block.root(value).index()] {
            Place::Buffer(buffer) => Some((block.root(value), real.buffers[buffer])),
            _ => None,
        };
        let mut alive: Vec<(Value, Part)> = Vec::new();
        for (index, step) in block.steps.iter().enumerate() {
            let reads: Vec<_> = step.inputs.iter().flatten().filter_map(|&value| part(value)).collect();
            let writes: Vec<_> = step.outputs.iter().filter_map(|&value| part(value)).collect();
            for read in &reads {
                assert!(alive.contains(read), "step {index} reads {} after it was overwritten", read.0);
            }
            for (position, write) in writes.iter().enumerate() {
                assert!(write.1.offset + write.1.bytes <= real.bytes);
                assert!(writes[..position].iter().all(|other| !meet(other.1, write.1)), "step {index} writes twice");
                let over: Vec<_> = reads.iter().filter(|read| meet(read.1, write.1)).collect();
                let is_tape = matches!(step.action, Action::Tape(_) | Action::Cluster(_));
                assert!(over.is_empty() || is_tape && over.iter().all(|read| read.1 == write.1), "step {index}");
                in_place += over.len();
            }
            let workspace = real.workspaces[index];
            for (value, used) in reads.iter().chain(&writes) {
                assert!(workspace.bytes == 0 || !meet(workspace, *used), "step {index} works over {value}");
            }
            let changed: Vec<_> =
                writes.iter().map(|write| write.1).chain((workspace.bytes > 0).then_some(workspace)).collect();
            alive.retain(|(_, used)| !changed.iter().any(|part| meet(*part, *used)));
            alive.extend(writes);
        }
    }
    in_place
}

#[test]
fn no_step_overwrites_what_a_later_one_reads() {
    let mut sizes = Bindings::new();
    sizes.set(&"m".into(), 37);
    sizes.set(&"n".into(), 61);
    let in_place: usize = (0..150).map(|seed| check_memory(&random_graph(seed, 10 + seed as usize), &sizes)).sum();
    assert!(in_place > 100, "{in_place}");
}

#[test]
fn an_operand_that_is_used_later_is_not_written_in_place() {
    for (reads_later, expected) in [(false, 1), (true, 0)] {
        let mut graph = Graph::new();
        let x = graph.input("x", spec("float32[64, 64]")).unwrap();
        let a = support::apply(&mut graph, "sort", "{}", &[x]);
        let b = graph.tanh(a).unwrap();
        let c = graph.matmul(b, if reads_later { a } else { b }).unwrap();
        graph.set_outputs(vec![c]).unwrap();
        assert_eq!(check_memory(&graph, &Bindings::new()), expected, "{reads_later}");
        support::run(&graph, &[Generator(2).tensor(&spec("float32[64, 64]"), -0.1, 0.1)]);
    }
}

#[test]
fn an_operand_that_is_read_turned_too_is_not_written_in_place() {
    let mut graph = Graph::new();
    let x = graph.input("x", spec("float32[300, 300]")).unwrap();
    let a = graph.matmul(x, x).unwrap();
    let turned = graph.transpose(a, &[1, 0]).unwrap();
    let b = graph.sub(a, turned).unwrap();
    let c = graph.matmul(b, x).unwrap();
    graph.set_outputs(vec![c]).unwrap();
    assert_eq!(check_memory(&graph, &Bindings::new()), 0);
    support::run(&graph, &[Generator(2).tensor(&spec("float32[300, 300]"), -0.1, 0.1)]);
}
