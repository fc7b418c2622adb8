//! Files to begin from: one for each sample of each op, and programs with regions, state, an optimizer, symbols.

use caudal::graph::{Builder, Notes, text};
use caudal::json::{self, Json};
use caudal::meter::Charge;
use caudal::{Attrs, DType, Function, Graph, Op, OpDef, Program, Spec, Value, ops, save};
use std::path::Path;
use std::sync::Arc;

const GRAPHS: [&str; 6] = [
    r#"graph(%0 x: float32[n, 3], %1 limit: float32[]) {
      %2 = while_loop(%0, %1) {"carried":1,"max_steps":9} [graph(%0 x: float32[n, 3], %1 limit: float32[]) {
        %2 = sum(%0) : float32[]
        %3 = less(%2, %1) : bool[]
        return %3
      }, graph(%0 x: float32[n, 3], %1 limit: float32[]) {
        %2 = add(%0, %1) : float32[n, 3]
        return %2
      }] : float32[n, 3]
      return %2
    }"#,
    r#"graph(%0 x: float32[]) {
      %1 = while_loop(%0) {"carried":1} [graph(%0 x: float32[]) {
        %1 = equal(%0, %0) : bool[]
        return %1
      }, graph(%0 x: float32[]) {
        %1 = neg(%0) : float32[]
        return %1
      }] : float32[]
      return %1
    }"#,
    r#"graph(%0 h: float32[2], %1 xs: float32[t, 2], %2 w: float32[2, 2]) {
      %3, %4 = scan(%0, %1, %2) {"carried":1,"length":"t","sliced":1} [graph(%0 h: float32[2], %1 x: float32[2], %2 w: float32[2, 2]) {
        %3 = matmul(%0, %2) : float32[2]
        %4 = add(%3, %1) : float32[2]
        %5 = tanh(%4) : float32[2]
        return %5, %3
      }] : float32[2], float32[t, 2]
      return %3, %4
    }"#,
    r#"graph(%0 p: bool[], %1 x: int32[m, 4], %2 y: int32[k, 4]) {
      %3 = cond(%0, %1) [graph(%0 x: int32[m, 4]) {
        %1 = call(%0) [graph(%0 x: int32[m, 4]) {
          %1 = neg(%0) : int32[m, 4]
          return %1
        }] : int32[m, 4]
        return %1
      }, graph(%0 x: int32[m, 4]) {
        %1 = abs(%0) : int32[m, 4]
        return %1
      }] : int32[m, 4]
      %4 = add(%3, %2) : int32[m, 4]
      %5 = concat(%4, %1) : int32[2*m, 4]
      %6 = reshape(%5) {"shape":["8*m"]} : int32[8*m]
      require m == k : add
      return %5, %6
    }"#,
    r#"graph(%0 x: float32[b, 8, 8, 2], %1 kernel: float32[3, 3, 2, 4]) {
      %2 = conv(%0, %1) {"padding":"same"} : float32[b, 8, 8, 4]
      %3 = max_pool(%2) {"window":[2,2]} : float32[b, 4, 4, 4]
      %4 = reshape(%3) {"shape":["b",64]} : float32[b, 64]
      %5 = softmax(%4) : float32[b, 64]
      %6 = argmax(%5) {"axis":1} : int64[b]
      return %5, %6
    }"#,
    r#"graph(%0 x: float32[n, 6]) {
      %1 = constant() {"value":{"data":[1],"dtype":"float32","shape":[]}} : float32[]
      %2 = broadcast_to(%1) {"shape":[64,128]} : float32[64, 128]
      %3 = sum(%2) {"axis":[0]} : float32[128]
      %4 = transpose(%0) {"axes":[1,0]} : float32[6, n]
      %5 = reshape(%4) {"shape":[3,"2*n"]} : float32[3, 2*n]
      %6 = mul(%5, %5) : float32[3, 2*n]
      %7 = sum(%6) {"axis":[1]} : float32[3]
      return %3, %6, %7
    }"#,
];

/// A program whose only function takes and gives all that its graph does.
pub fn program(graph: Graph) -> Program {
    let inputs = graph.inputs().iter().map(|input| input.name.to_string()).collect();
    let outputs = (0..graph.outputs().len()).map(|index| format!("y{index}")).collect();
    let function = Function {
        name: "f".into(),
        doc: String::new(),
        structure: Json::Null,
        inputs,
        outputs,
        reads: Vec::new(),
        writes: Vec::new(),
        graph: Arc::new(graph),
    };
    Program { functions: vec![function], state: Vec::new(), metadata: Json::Null, held: Charge::default() }
}

fn sample_graph(def: &'static OpDef, inputs: &[&str], attrs: &str, dtype: DType) -> Graph {
    let attrs = json::parse(attrs).unwrap();
    let op = Op { def, attrs: Attrs::from_json(def, attrs.as_object().unwrap()).unwrap() };
    let mut graph = Graph::new();
    let operand = |(index, input): (usize, &&str)| match input.split(" in ").next() {
        Some("-") | None => Value::ABSENT,
        Some(spec) => {
            graph.input(&format!("x{index}"), Spec::parse(&spec.replace('T', dtype.name())).unwrap()).unwrap()
        }
    };
    let operands: Vec<_> = inputs.iter().enumerate().map(operand).collect();
    let outputs = graph.apply(&op, Vec::new(), &operands).unwrap_or_else(|error| panic!("{error}"));
    graph.set_outputs(outputs).unwrap();
    graph
}

/// The file that the first release wrote.
pub fn fixture() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/0.1.0.caudal");
    std::fs::read(path).unwrap()
}

/// The bytes of every file, each with a name for messages.
pub fn files() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for def in ops::all() {
        for (index, sample) in def.samples.iter().enumerate() {
            let dtypes: Vec<_> = def.dtypes.iter().collect();
            let graph = sample_graph(def, sample.inputs, sample.attrs, dtypes[index % dtypes.len()]);
            files.push((format!("{} {index}", def.name), save::write(&program(graph)).unwrap()));
        }
    }
    let fixture = fixture();
    // As many as the samples of an op or two, so that regions, state and optimizers get their share.
    for copy in 0..12 {
        files.push((format!("fixture {copy}"), fixture.clone()));
        for (index, graph) in GRAPHS.iter().enumerate() {
            let graph = text::parse(graph).unwrap_or_else(|error| panic!("{error}\n{graph}"));
            files.push((format!("graph {index} {copy}"), save::write(&program(graph)).unwrap()));
        }
    }
    files.push(("draws".into(), draws()));
    files
}

fn draws() -> Vec<u8> {
    let mut builder = Builder::new();
    let key = builder.draw().unwrap();
    let attrs = [("shape", caudal::AttrValue::Dims(vec![3.into(), 5.into()]))];
    let value = builder.graph.op("uniform", &attrs, &[key]).unwrap();
    builder.function("f", vec![("y".into(), value)], Notes::default()).unwrap();
    save::write(&Program::new(&[&builder], Json::Null).unwrap()).unwrap()
}
