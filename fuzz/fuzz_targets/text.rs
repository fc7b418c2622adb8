//! The text of graphs: what parses prints to a text that parses to the same, keeps the rules, and runs.

#![no_main]

mod run;

use caudal::graph::text;
use caudal::json::Json;
use caudal::meter::Charge;
use caudal::{Function, Program};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let graph = match text::parse(text) {
        Ok(graph) => graph,
        Err(error) => return run::blameless(&error),
    };
    graph.verify().expect("what parses keeps the rules");
    assert_eq!(text::parse(&text::print(&graph)).expect("what is printed parses"), graph);
    let function = Function {
        name: "f".into(),
        doc: String::new(),
        structure: Json::Null,
        inputs: (0..graph.inputs().len()).map(|index| format!("x{index}")).collect(),
        outputs: (0..graph.outputs().len()).map(|index| format!("y{index}")).collect(),
        reads: Vec::new(),
        writes: Vec::new(),
        graph: Arc::new(graph),
    };
    let program =
        Program { functions: vec![function], state: Vec::new(), metadata: Json::Null, held: Charge::default() };
    run::run(program, &run::limits(), data.len() as i64 % 5);
});
