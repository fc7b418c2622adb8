//! Checked runs: what they refuse, with the whole message, and that they change nothing else.

mod support;

use caudal::graph::{Builder, Notes, text};
use caudal::json::Json;
use caudal::meter::Meter;
use caudal::program::Program;
use caudal::run::function::{Executable, Setting};
use caudal::run::{Limits, Session};
use caudal::{Code, DType, Graph, Result, Tensor, ops, passes};
use std::sync::Arc;
use support::{execute, run_through, tensor};

/// Runs a graph that is given as text, checked.
fn checked(body: &str, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let graph = text::parse(body).unwrap_or_else(|error| panic!("{error}\n{body}"));
    execute(
        &Arc::new(
            Executable::with(&graph, &[], &Setting { checked: true, ..Setting::default() }, &Meter::default()).unwrap(),
        ),
        &graph,
        inputs,
    )
}

fn integers(sizes: &[usize], elements: &[f64]) -> Tensor {
    tensor(DType::I64, sizes, elements)
}

fn floats(sizes: &[usize], elements: &[f64]) -> Tensor {
    tensor(DType::F32, sizes, elements)
}

#[test]
fn what_kernels_hide_is_refused_with_the_values_and_the_line() {
    let row = || floats(&[5], &[1.0, 2.0, 3.0, 4.0, 5.0]);
    let matrix = || floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let cases: Vec<(&str, Vec<Tensor>, Code, &str)> = vec![
        (
            r#"graph(%0 x: float32[n], %1 i: int64[m]) {
                %2 = take(%0, %1) : float32[m] @ "model.py":12
                return %2
            }"#,
            vec![row(), integers(&[4], &[0.0, -5.0, 7.0, 9.0])],
            Code::Index,
            "take: index 7 at [2] is out of bounds for axis 0 of size 5 (model.py:12)",
        ),
        (
            r#"graph(%0 x: float32[2, 3], %1 i: int64[]) {
                %2 = take(%0, %1) {"axis":-1} : float32[2] @ "model.py":3
                return %2
            }"#,
            vec![matrix(), integers(&[], &[-4.0])],
            Code::Index,
            "take: index -4 is out of bounds for axis 1 of size 3 (model.py:3)",
        ),
        (
            r#"graph(%0 x: float32[5], %1 i: int64[2], %2 u: float32[2]) {
                %3 = scatter_add(%0, %1, %2) : float32[5]
                return %3
            }"#,
            vec![row(), integers(&[2], &[4.0, 5.0]), floats(&[2], &[1.0, 1.0])],
            Code::Index,
            "scatter_add: index 5 at [1] is out of bounds for axis 0 of size 5",
        ),
        (
            "graph(%0 x: float32[2, 3], %1 i: int64[2]) { %2 = pick(%0, %1) : float32[2] return %2 }",
            vec![matrix(), integers(&[2], &[3.0, 0.0])],
            Code::Index,
            "pick: index 3 at [0] is out of bounds for axis 1 of size 3",
        ),
        (
            r#"graph(%0 x: float32[2], %1 i: int64[2]) { %2 = unpick(%0, %1) {"depth":4} : float32[2, 4] return %2 }"#,
            vec![floats(&[2], &[1.0, 2.0]), integers(&[2], &[-4.0, 4.0])],
            Code::Index,
            "unpick: index 4 at [1] is out of bounds for axis 1 of size 4",
        ),
        (
            r#"graph(%0 i: int64[2, 2]) { %1 = one_hot(%0) {"depth":3} : float32[2, 2, 3] @ "a.py":1 return %1 }"#,
            vec![integers(&[2, 2], &[0.0, 1.0, 2.0, 3.0])],
            Code::Index,
            "one_hot: index 3 at [1, 1] is out of bounds for axis 2 of size 3 (a.py:1)",
        ),
        (
            r#"graph(%0 x: float32[2, 3], %1 y: int64[2]) {
                %2 = softmax_cross_entropy(%0, %1) : float32[2] @ "a.py":2
                return %2
            }"#,
            vec![matrix(), integers(&[2], &[0.0, 10.0])],
            Code::Index,
            "softmax_cross_entropy: label 10 at [1] is out of bounds for axis 1 of size 3 (a.py:2)",
        ),
        (
            r#"graph(%0 x: float32[3]) { %1 = cast(%0) {"dtype":"uint8"} : uint8[3] @ "a.py":4 return %1 }"#,
            vec![floats(&[3], &[255.5, -0.5, 256.0])],
            Code::Argument,
            "cast: x is 256 at [2], which uint8 does not hold (a.py:4)",
        ),
        (
            r#"graph(%0 x: float32[]) { %1 = cast(%0) {"dtype":"int64"} : int64[] return %1 }"#,
            vec![floats(&[], &[f64::NAN])],
            Code::Argument,
            "cast: x is NaN, which int64 does not hold",
        ),
        (
            r#"graph(%0 x: float32[2, 1], %1 y: float32[3]) {
                %2 = div(%0, %1) : float32[2, 3] @ "a.py":5
                return %2
            }"#,
            vec![floats(&[2, 1], &[1.0, 0.0]), floats(&[3], &[1.0, 2.0, 0.0])],
            Code::Argument,
            "div: output is NaN at [1, 2] where x is 0 and y is 0; no input holds NaN (a.py:5)",
        ),
        (
            r#"graph(%0 x: float32[2, 1], %1 y: float32[1, 2]) {
                %2 = matmul(%0, %1) : float32[2, 2] @ "a.py":6
                %3 = exp(%2) : float32[2, 2] @ "a.py":7
                return %3
            }"#,
            vec![floats(&[2, 1], &[1.0, 0.0]), floats(&[1, 2], &[1.0, f64::INFINITY])],
            Code::Argument,
            "matmul: output is NaN at [1, 1]; no input holds NaN (a.py:6)",
        ),
        (
            r#"graph(%0 x: float32[3]) { %1 = log_softmax(%0) : float32[3] @ "a.py":8 return %1 }"#,
            vec![floats(&[3], &[1.0, f64::INFINITY, f64::INFINITY])],
            Code::Argument,
            "log_softmax: output is NaN at [0]; no input holds NaN (a.py:8)",
        ),
    ];
    for (body, inputs, code, message) in cases {
        let error = checked(body, &inputs).unwrap_err();
        assert_eq!((error.code(), error.to_string().as_str()), (code, message));
        assert!(error.argument_name().is_some(), "{message}");
        let graph = text::parse(body).unwrap();
        run_through(&graph, passes::PLAIN, &inputs).unwrap();
    }
}

#[test]
fn steps_of_regions_are_looked_at_in_the_iteration_that_they_fail_in() {
    let body = r#"graph(%0 x: float32[3], %1 indices: int64[4], %2 yes: bool[]) {
      %3, %4 = scan(%0, %1, %2) {"carried":1,"length":4,"sliced":1} [
        graph(%0 x: float32[3], %1 i: int64[], %2 yes: bool[]) {
          %3 = cond(%2, %0, %1) [graph(%0 x: float32[3], %1 i: int64[]) {
            %2 = take(%0, %1) : float32[] @ "loop.py":7
            return %2
          }, graph(%0 x: float32[3], %1 i: int64[]) {
            %2 = sum(%0) : float32[]
            return %2
          }] : float32[]
          return %0, %3
        }] : float32[3], float32[4]
      return %4
    }"#;
    let x = floats(&[3], &[1.0, 2.0, 3.0]);
    let yes = tensor(DType::Bool, &[], &[1.0]);
    let run = |indices: &[f64]| checked(body, &[x.clone(), integers(&[4], indices), yes.clone()]);
    let sums = run(&[0.0, 2.0, -1.0, -3.0]).unwrap();
    assert_eq!(sums[0].elements::<f32>().unwrap(), [1.0, 3.0, 3.0, 1.0]);
    let error = run(&[0.0, 2.0, 3.0, 9.0]).unwrap_err();
    assert_eq!(error.to_string(), "take: index 3 is out of bounds for axis 0 of size 3 (loop.py:7)");
}

#[test]
fn nan_and_infinities_that_come_in_pass_through() {
    let body = r#"graph(%0 x: float32[3]) {
        %1 = constant() {"value":{"data":["inf"],"dtype":"float32","shape":[]}} : float32[]
        %2 = mul(%0, %1) : float32[3]
        %3 = exp(%2) : float32[3]
        return %3
    }"#;
    let run = |elements: &[f64]| checked(body, &[floats(&[3], elements)]);
    assert_eq!(run(&[1.0, -1.0, 2.0]).unwrap()[0].elements::<f32>().unwrap(), [f32::INFINITY, 0.0, f32::INFINITY]);
    assert!(run(&[f64::NAN, 1.0, 1.0]).unwrap()[0].elements::<f32>().unwrap()[0].is_nan());
    let error = run(&[1.0, 0.0, 1.0]).unwrap_err();
    assert_eq!(error.to_string(), "mul: output is NaN at [1] where x is 0 and y is inf; no input holds NaN");
}

#[test]
fn a_step_that_is_refused_leaves_the_state_and_the_session_goes_on() {
    let mut builder = Builder::new();
    let i = builder.input("i", support::spec("int64[m]")).unwrap();
    let w = builder.state("w", caudal::graph::Role::Parameter, floats(&[3], &[1.0, 2.0, 3.0])).unwrap();
    let one = builder.graph.scalar(DType::F32, 1.0).unwrap();
    let next = builder.graph.add(w, one).unwrap();
    let taken = builder.graph.op("take", &[], &[next, i]).unwrap();
    let step = builder.function("step", vec![("y".into(), taken)], Notes::default()).unwrap();
    builder.update(step, w, next).unwrap();
    let program = Arc::new(Program::new(&[&builder], Json::Null).unwrap());
    let session = Session::checked(program.clone(), Limits::none());
    let good = integers(&[2], &[0.0, 2.0]);
    for (count, indices) in [(0.0, [0.0, 3.0]), (0.0, [-4.0, 0.0])] {
        let error = session.run("step", &[integers(&[2], &indices)]).unwrap_err();
        assert_eq!((error.code(), error.argument_name()), (Code::Index, Some("indices")));
        assert_eq!(session.state("w").unwrap(), floats(&[3], &[1.0 + count, 2.0 + count, 3.0 + count]));
    }
    assert_eq!(session.run("step", std::slice::from_ref(&good)).unwrap(), [floats(&[2], &[2.0, 4.0])]);
    assert_eq!(session.state("w").unwrap(), floats(&[3], &[2.0, 3.0, 4.0]));
    // A session that is not checked gives what the op's doc says.
    let plain = Session::new(program, Limits::none());
    let taken = plain.run("step", &[integers(&[2], &[0.0, 3.0])]).unwrap();
    assert!(taken[0].elements::<f32>().unwrap()[1].is_nan());
}

/// Every op whose record names an input `indices` says what they may be.
#[test]
fn indices_are_checked() {
    let unchecked: Vec<_> = ops::all()
        .flat_map(|def| def.inputs.iter().map(move |input| (def.name, input)))
        .filter(|(_, input)| input.name == "indices" && matches!(input.check, caudal::op::Check::None))
        .map(|(name, _)| name)
        .collect();
    assert!(unchecked.is_empty(), "give the input .checked(Check::Index(..)): {unchecked:?}");
}

#[test]
fn pauses_change_nothing() {
    let graph: Graph = text::parse(
        "graph(%0 x: float32[n], %1 i: int64[m]) { %2 = take(%0, %1) : float32[m] %3 = softmax(%2) : float32[m] return %3 }",
    )
    .unwrap();
    let count = 200_000_i32;
    let x = floats(&[5], &[1.0, 2.0, 3.0, 4.0, 5.0]);
    let of = |last: f64| {
        let mut indices: Vec<f64> = (0..count).map(|index| f64::from(index % 10) - 5.0).collect();
        indices[count as usize - 1] = last;
        [x.clone(), integers(&[count as usize], &indices)]
    };
    let executable = Arc::new(
        Executable::with(&graph, &[], &Setting { checked: true, ..Setting::default() }, &Meter::default()).unwrap(),
    );
    let mut sizes = caudal::shape::Bindings::new();
    sizes.set(&"n".into(), 5);
    sizes.set(&"m".into(), i64::from(count));
    let limits = Limits::none();
    let in_pieces = |inputs: [Tensor; 2]| {
        let mut run = executable.start(inputs.to_vec(), &sizes, limits.budget(), |_| None)?;
        let mut pieces = 1;
        while !run.advance(&caudal::cpu::work::Watch { pause: 0.0, ..limits.watch() })? {
            pieces += 1;
        }
        assert!(pieces > 10);
        run.finish()
    };
    assert_eq!(in_pieces(of(4.0)), execute(&executable, &graph, &of(4.0)));
    let error = in_pieces(of(5.0)).unwrap_err();
    assert_eq!(error.to_string(), "take: index 5 at [199999] is out of bounds for axis 0 of size 5");
}
