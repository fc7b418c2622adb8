//! Files with very much of one thing: they open, plan and run in time, or are refused by their limits, and all that
//! they take is counted. What grew with the square of it would not end.

use crate::file::container;
use crate::{OVERHEAD, allocator};
use caudal::run::{Limits, Session};
use caudal::{DType, Tensor, save};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::Arc;

/// Many times what a large model has.
const MANY: usize = 8_000;
/// No deadline that a slow machine would meet by chance.
const SECONDS: f64 = 60.0;

/// Joins what `item` writes for each number, with commas.
fn list(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(",")
}

fn graph(inputs: &str, nodes: &str, outputs: &str) -> String {
    format!("{{\"inputs\":[{inputs}],\"nodes\":[{nodes}],\"outputs\":[{outputs}]}}")
}

fn function(name: &str, graph: usize, inputs: &str, outputs: &str, reads: &str, writes: &str) -> String {
    format!(
        "{{\"doc\":\"\",\"graph\":{graph},\"inputs\":[{inputs}],\"name\":\"{name}\",\"outputs\":[{outputs}],\
         \"reads\":[{reads}],\"structure\":null,\"writes\":[{writes}]}}"
    )
}

/// A file with these graphs and functions, and `count` float32 scalars as the state `s0`, `s1`, ...
fn file(ops: &str, table: &str, functions: &str, count: usize) -> Vec<u8> {
    let state = list(count, |n| format!("[\"s{n}\",\"parameter\",\"float32[]\"]"));
    let text = format!(
        "{{\"functions\":[{functions}],\"graphs\":{{\"files\":[],\"ops\":{{{ops}}},\"table\":[{table}]}},\
         \"metadata\":null,\"state\":[{state}]}}"
    );
    let mut digest = String::new();
    Sha256::digest(text.as_bytes()).iter().for_each(|byte| write!(digest, "{byte:02x}").unwrap());
    let about = format!("{{\\\"digest\\\":\\\"sha256:{digest}\\\",\\\"format\\\":1,\\\"reader\\\":1}}");
    let at = 4 * count;
    let tensors: String = (0..count)
        .map(|n| format!("\"s{n}\":{{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[{},{}]}},", 4 * n, 4 * n + 4))
        .collect();
    let header = format!(
        "{{{tensors}\"caudal.graph\":{{\"dtype\":\"U8\",\"shape\":[{}],\"data_offsets\":[{at},{}]}},\
         \"__metadata__\":{{\"caudal\":\"{about}\"}}}}",
        text.len(),
        at + text.len()
    );
    container(&header, [&vec![0; at][..], text.as_bytes()].into_iter())
}

/// A file whose function `f` is this graph on `inputs` inputs.
fn one(ops: &str, graph: &str, inputs: usize, outputs: usize) -> Vec<u8> {
    let names = |prefix: &str, count| list(count, |n| format!("\"{prefix}{n}\""));
    file(ops, graph, &function("f", 0, &names("x", inputs), &names("y", outputs), "", ""), 0)
}

fn node(op: &str, inputs: &str, output: &str, more: &str) -> String {
    format!("{{\"inputs\":[{inputs}],\"op\":\"{op}\",\"outputs\":[\"{output}\"]{more}}}")
}

fn scalars(count: usize) -> String {
    list(count, |n| format!("[\"x{n}\",\"float32[]\",{n}]"))
}

/// Each with its name, its file and what it takes.
fn files() -> Vec<(&'static str, Vec<u8>, Vec<Tensor>)> {
    let scalar = || Tensor::scalar(DType::F32, 0.5).unwrap();
    let vector = |size: usize| Tensor::zeros(DType::F32, &[size], None).unwrap();
    let unary = |op: &str, more: &str| {
        let nodes = list(MANY, |n| node(op, &n.to_string(), "float32[2]", more));
        one(&format!("\"{op}\":1"), &graph("[\"x0\",\"float32[2]\",0]", &nodes, &MANY.to_string()), 1, 1)
    };
    let views = list(MANY, |n| match n % 2 {
        0 => node("flip", &n.to_string(), "float32[2]", ",\"attrs\":{\"axis\":[0]}"),
        _ => node("softmax", &n.to_string(), "float32[2]", ""),
    });
    let slices = list(MANY, |n| {
        let size = MANY - n;
        node(
            "slice",
            &n.to_string(),
            &format!("float32[{size}]"),
            &format!(",\"attrs\":{{\"start\":[1],\"stop\":[{}]}}", size + 1),
        )
    });
    let sums = list(MANY, |n| node("sum", &(n + 1).to_string(), "float32[]", ""));
    let symbols = list(MANY, |n| format!("[\"x{n}\",\"float32[n{n}]\",{n}]"));
    let chained = list(MANY, |n| match n + 1 {
        MANY => format!("[\"x{n}\",\"float32[n{n}]\",{n}]"),
        next => format!("[\"x{n}\",\"float32[n{n}+n{next}]\",{n}]"),
    });
    let equal = list(MANY, |n| format!("[\"x{n}\",\"float32[2, n{n}]\",{n}]"));
    let all = list(MANY, |n| n.to_string());
    let joined = node("concat", &all, &format!("float32[{}, n0]", 2 * MANY), ",\"attrs\":{\"axis\":0}");
    let state = list(MANY, |n| format!("\"s{n}\""));
    let calls = list(MANY, |n| node("call", &n.to_string(), "float32[]", ",\"regions\":[0]"));
    vec![
        ("a chain", unary("exp", ""), vec![vector(2)]),
        ("softmaxes", unary("softmax", ""), vec![vector(2)]),
        (
            "views and what reads them",
            one("\"flip\":1,\"softmax\":1", &graph("[\"x0\",\"float32[2]\",0]", &views, &MANY.to_string()), 1, 1),
            vec![vector(2)],
        ),
        (
            "a chain of views, each read",
            one(
                "\"slice\":1,\"sum\":1",
                &graph(
                    &format!("[\"x0\",\"float32[{}]\",0]", MANY + 1),
                    &format!("{slices},{sums}"),
                    &(2 * MANY).to_string(),
                ),
                1,
                1,
            ),
            vec![vector(MANY + 1)],
        ),
        ("inputs that are outputs", one("", &graph(&scalars(MANY), "", &all), MANY, MANY), vec![scalar(); MANY]),
        ("symbols", one("", &graph(&symbols, "", "0"), MANY, 1), vec![vector(1); MANY]),
        (
            "dims that follow from each other",
            one("", &graph(&chained, "", "0"), MANY, 1),
            (0..MANY).map(|n| vector(if n + 1 == MANY { 1 } else { 2 })).collect(),
        ),
        (
            "equal dims",
            one("\"concat\":1", &graph(&equal, &joined, &MANY.to_string()), MANY, 1),
            vec![Tensor::zeros(DType::F32, &[2, 1], None).unwrap(); MANY],
        ),
        (
            "state",
            file("", &graph(&scalars(MANY), "", &all), &function("f", 0, "", "", &state, &state), MANY),
            Vec::new(),
        ),
        (
            "functions",
            file(
                "",
                &graph(&scalars(1), "", "0"),
                &list(MANY, |n| {
                    function(&if n == 0 { "f".into() } else { format!("f{n}") }, 0, "\"x0\"", "\"y0\"", "", "")
                }),
                0,
            ),
            vec![scalar()],
        ),
        (
            "calls of one region",
            file(
                "\"call\":1,\"neg\":1",
                &format!(
                    "{},{}",
                    graph(&scalars(1), &node("neg", "0", "float32[]", ""), "1"),
                    graph(&scalars(1), &calls, &MANY.to_string())
                ),
                &function("f", 1, "\"x0\"", "\"y0\"", "", ""),
                0,
            ),
            vec![scalar()],
        ),
    ]
}

fn call(bytes: &[u8], inputs: &[Tensor], limits: &Limits) -> caudal::Result<()> {
    let program = save::read(bytes, Some(limits))?;
    let session = Session::new(Arc::new(program), limits.clone());
    session.run("f", inputs)?;
    session.run("f", inputs).map(drop)
}

#[test]
fn very_much_of_anything_ends_in_time_and_is_counted() {
    for (name, bytes, inputs) in files() {
        let (limits, start) = (Limits::new(0, SECONDS), std::time::Instant::now());
        let (result, peak) = allocator::peak(|| call(&bytes, &inputs, &limits));
        result.unwrap_or_else(|error| panic!("{name}: {error}"));
        let counted = limits.budget().peak();
        println!("{name}, {:?}: a file of {} bytes, {peak} allocated, {counted} counted", start.elapsed(), bytes.len());
        assert!(peak <= counted + OVERHEAD, "{name}: {peak} bytes were allocated, the budget has counted {counted}");
        assert!(counted < 2_000_000_000, "{name}: {counted} bytes were counted");
    }
}
