//! What must hold of every graph.

use super::catalogue::Catalogue;
use super::coverage::Coverage;
use super::graph::{Maker, Mode, Program};
use super::interpret::Interpreter;
use super::recipe::Recipe;
use crate::support;
use caudal::cpu::threads::set_num_threads;
use caudal::graph::text;
use caudal::json::Json;
use caudal::op::Meaning;
use caudal::run::{Limits, Session};
use caudal::{Function, Graph, Tensor, passes, save};
use std::sync::{Arc, Mutex, PoisonError};

/// What came of a check: what the program met, or what is wrong with it.
pub type Outcome = Result<Coverage, String>;

/// The ways to run a graph: eager calls, composites lowered, planned as it is, and from a file, optimised.
pub fn agree(catalogue: &Catalogue, recipe: &Recipe) -> Outcome {
    let (program, coverage) = Maker::new(catalogue, Mode::Any, recipe.seed).program(recipe);
    check(&program)
        .map_err(|what| smallest(&program).unwrap_or_else(|| report(&what, &program.graph, &program.inputs)))?;
    Ok(coverage)
}

/// What is wrong with the part of a program that gives one output, if something is.
fn smallest(program: &Program) -> Option<String> {
    let Program { graph, inputs, sizes } = program;
    graph.outputs().iter().find_map(|&output| {
        let needed = graph.needed(&[output], &[]);
        // Without values, an input is kept for the symbols that it binds.
        let all = graph.inputs().iter().zip(inputs);
        let kept = all.filter(|(input, _)| needed[input.value.index()] || !graph.spec(input.value).shape.is_constant());
        let kept: Vec<_> = kept.collect();
        let named: Vec<_> = kept.iter().map(|(input, _)| (&*input.name, input.value)).collect();
        let graph = graph.extract(&named, &[output]).ok()?;
        let inputs = kept.iter().map(|(_, tensor)| (*tensor).clone()).collect();
        let part = Program { graph, inputs, sizes: sizes.clone() };
        check(&part).err().map(|what| report(&what, &part.graph, &part.inputs))
    })
}

fn check(program: &Program) -> Result<(), String> {
    let Program { graph, inputs, sizes } = program;
    graph.verify().map_err(|error| format!("it does not verify: {error}"))?;
    keeps_text(graph)?;
    let eager = Interpreter { sizes, lowered: false }.run(graph, inputs).map_err(|error| format!("eager: {error}"))?;
    if has_composites(graph) {
        let lowered = Interpreter { sizes, lowered: true }.run(graph, inputs);
        same("eager", &eager, "with composites lowered", &lowered.map_err(|error| format!("lowered: {error}"))?)?;
    }
    let plain = support::run_through(graph, passes::PLAIN, inputs).map_err(|error| format!("plain: {error}"))?;
    same("eager", &eager, "plain", &plain)?;
    let session = from_file(graph)?;
    let optimized = session.run("f", inputs).map_err(|error| format!("optimised: {error}"))?;
    same("eager", &eager, "optimised", &optimized)
}

/// Axes that are cut into tasks: one thread and three give the same.
pub fn threads_agree(catalogue: &Catalogue, recipe: &Recipe) -> Outcome {
    let (program, coverage) = Maker::new(catalogue, Mode::Large, recipe.seed).program(recipe);
    let Program { graph, inputs, .. } = &program;
    // The number of threads is the whole process'.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let run = |threads: usize| {
        set_num_threads(threads);
        let outputs = support::run_through(graph, passes::OPTIMIZED, inputs);
        set_num_threads(0);
        outputs.map_err(|error| report(&error.to_string(), graph, inputs))
    };
    same("one thread", &run(1)?, "three threads", &run(3)?).map_err(|what| report(&what, graph, inputs))?;
    Ok(coverage)
}

fn has_composites(graph: &Graph) -> bool {
    let composite = |node: &caudal::Node| {
        matches!(node.op.def.meaning, Meaning::Lower(_)) || node.regions.iter().any(|region| has_composites(region))
    };
    graph.nodes().iter().any(composite)
}

/// Prints, parses and prints again.
pub fn keeps_text(graph: &Graph) -> Result<(), String> {
    let printed = text::print(graph);
    let parsed = text::parse(&printed).map_err(|error| format!("its text does not parse: {error}"))?;
    if parsed != *graph || text::print(&parsed) != printed {
        return Err("its text gives another graph".into());
    }
    Ok(())
}

/// A session of a program that has only this graph, as function `f`, from the bytes of its file.
fn from_file(graph: &Graph) -> Result<Session, String> {
    let function = Function {
        name: "f".into(),
        doc: String::new(),
        structure: Json::Null,
        inputs: graph.inputs().iter().map(|input| input.name.to_string()).collect(),
        outputs: (0..graph.outputs().len()).map(|index| format!("y{index}")).collect(),
        reads: Vec::new(),
        writes: Vec::new(),
        graph: Arc::new(graph.clone()),
    };
    let held = Default::default();
    let program = caudal::Program { functions: vec![function], state: Vec::new(), metadata: Json::Null, held };
    Ok(Session::new(Arc::new(through_file(&program)?), Limits::none()))
}

/// The program that the bytes of a program's file hold.
pub fn through_file(program: &caudal::Program) -> Result<caudal::Program, String> {
    let file = save::write(program).map_err(|error| format!("it is not written: {error}"))?;
    let read = save::read(&file, None).map_err(|error| format!("its file is not read: {error}"))?;
    if read != *program {
        return Err("its file holds another program".into());
    }
    match save::write(&read) {
        Ok(again) if again == file => Ok(read),
        _ => Err("its file, read, is written as another".into()),
    }
}

/// Fails where two runs do not give the same bits.
pub fn same(one: &str, expected: &[Tensor], other: &str, given: &[Tensor]) -> Result<(), String> {
    let Some(index) = (0..expected.len().max(given.len())).find(|&index| expected.get(index) != given.get(index))
    else {
        return Ok(());
    };
    let text = |tensors: &[Tensor]| tensors.get(index).map_or("nothing".into(), numbers);
    Err(format!("output {index} {one} is {}, {other} {}", text(expected), text(given)))
}

/// A tensor as text, cut where it is long.
pub fn numbers(tensor: &Tensor) -> String {
    let mut numbers = support::numbers(tensor);
    let rest = if numbers.len() > 24 { ", ..." } else { "" };
    numbers.truncate(24);
    let numbers: Vec<_> = numbers.iter().map(f64::to_string).collect();
    format!("{}{:?} [{}{rest}]", tensor.dtype(), tensor.sizes(), numbers.join(", "))
}

/// What is wrong, the graph as text, and its inputs.
pub fn report(what: &str, graph: &Graph, inputs: &[Tensor]) -> String {
    let named = graph.inputs().iter().zip(inputs);
    let inputs: String = named.map(|(input, tensor)| format!("{} = {}\n", input.name, numbers(tensor))).collect();
    format!("{what}\n{}{inputs}", text::print(graph))
}
