//! A perceptron, built by hand, trained through sessions; and what state promises.

use caudal::cpu::work::Watch;
use caudal::graph::{Builder, Notes, op};
use caudal::json::Json;
use caudal::run::{Limits, Session};
use caudal::{AttrValue, DType, FunctionId, Program, Role, Spec, Tensor, Value};
use std::sync::Arc;

fn tensor(sizes: &[usize], value: impl Fn(usize) -> f32) -> Tensor {
    let elements: Vec<f32> = (0..sizes.iter().product()).map(value).collect();
    Tensor::from_slice(DType::F32, sizes, &elements).unwrap()
}

fn noise(index: usize) -> f32 {
    ((index as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32 - 0.5
}

/// The loss of a perceptron with one hidden layer and dropout, and its parameters.
fn perceptron(builder: &mut Builder) -> (Value, Vec<Value>) {
    let x = builder.input("x", Spec::parse("float32[batch, 6]").unwrap()).unwrap();
    let y = builder.input("y", Spec::parse("int32[batch]").unwrap()).unwrap();
    let mut state = |name: &str, sizes: &[usize]| {
        builder.state(name, Role::Parameter, tensor(sizes, |index| noise(index + sizes.len()))).unwrap()
    };
    let parameters = vec![state("w1", &[6, 16]), state("b1", &[16]), state("w2", &[16, 3]), state("b2", &[3])];
    let key = builder.draw().unwrap();
    let g = &mut builder.graph;
    let hidden = g.matmul(x, parameters[0]).unwrap();
    let hidden = g.add(hidden, parameters[1]).unwrap();
    let hidden = g.tanh(hidden).unwrap();
    let hidden = g.op("dropout", &[("rate", AttrValue::Float(0.1))], &[hidden, key]).unwrap();
    let logits = g.matmul(hidden, parameters[2]).unwrap();
    let logits = g.add(logits, parameters[3]).unwrap();
    let losses = g.op("softmax_cross_entropy", &[], &[logits, y]).unwrap();
    (g.op("mean", &[], &[losses]).unwrap(), parameters)
}

fn train_step(builder: &mut Builder) -> FunctionId {
    let (loss, parameters) = perceptron(builder);
    let gradients = caudal::grad::grad(&mut builder.graph, loss, &parameters).unwrap();
    let notes = Notes { inputs: Some(vec!["x".into(), "y".into()]), ..Notes::default() };
    let step = builder.function("train_step", vec![("loss".into(), loss)], notes).unwrap();
    let rate = Tensor::scalar(DType::F32, 0.02).unwrap();
    builder.optimize(step, "optimizer", &op("adam", &[]).unwrap(), rate, &gradients, &parameters).unwrap();
    step
}

fn batch() -> [Tensor; 2] {
    let labels: Vec<i32> = (0..32).map(|index| index % 3).collect();
    let x = tensor(&[32, 6], |index| noise(index) + if index % 6 == (index / 6) % 3 { 1.0 } else { 0.0 });
    [x, Tensor::from_slice(DType::I32, &[32], &labels).unwrap()]
}

fn program() -> Program {
    let mut builder = Builder::new();
    train_step(&mut builder);
    Program::new(&[&builder], Json::Null).unwrap()
}

fn loss(session: &Session) -> f32 {
    session.run("train_step", &batch()).unwrap()[0].elements::<f32>().unwrap()[0]
}

#[test]
fn training_lowers_the_loss_and_commits_its_state() {
    let session = Session::new(Arc::new(program()), Limits::none());
    let first = loss(&session);
    for _ in 0..200 {
        loss(&session);
    }
    let last = loss(&session);
    assert!(first > 0.9 && last < 0.2, "{first} {last}");
    assert_eq!(session.state("optimizer/step").unwrap().elements::<i64>().unwrap(), [202]);
    assert_ne!(session.state("random/key").unwrap().elements::<u32>().unwrap(), [0, 0]);
}

#[test]
fn gradients_then_apply_equals_train_step_to_the_bit() {
    let program = Arc::new(program());
    let names: Vec<_> = program.functions.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(names, ["train_step", "gradients", "apply"]);
    let (whole, halves) = (Session::new(program.clone(), Limits::none()), Session::new(program, Limits::none()));
    for _ in 0..3 {
        let loss = whole.run("train_step", &batch()).unwrap();
        let outputs = halves.run("gradients", &batch()).unwrap();
        halves.run("apply", &outputs[1..]).unwrap();
        assert_eq!(loss[0], outputs[0]);
        for state in ["w1", "b2", "optimizer/m/w1", "optimizer/v/b1", "optimizer/step", "random/key"] {
            assert_eq!(whole.state(state).unwrap(), halves.state(state).unwrap(), "{state}");
        }
    }
}

/// An attr by name.
type Attr = (&'static str, AttrValue);

/// A parameter of one number, trained by `optimizer` with a gradient that is its input.
fn trained(optimizer: &str, attrs: &[Attr], schedule: Option<(&str, &[Attr])>) -> Builder {
    let mut builder = Builder::new();
    let gradient = builder.input("gradient", Spec::parse("float32[]").unwrap()).unwrap();
    let w = builder.state("w", Role::Parameter, tensor(&[], |_| 1.0)).unwrap();
    let loss = builder.graph.mul(w, gradient).unwrap();
    let gradients = caudal::grad::grad(&mut builder.graph, loss, &[w]).unwrap();
    let step = builder.function("train_step", vec![("loss".into(), loss)], Notes::default()).unwrap();
    if let Some((name, attrs)) = schedule {
        builder.schedule("optimizer", &op(name, attrs).unwrap()).unwrap();
    }
    let rate = Tensor::scalar(DType::F32, 0.5).unwrap();
    builder.optimize(step, "optimizer", &op(optimizer, attrs).unwrap(), rate, &gradients, &[w]).unwrap();
    builder
}

#[test]
fn every_optimizer_trains_and_its_file_goes_on_to_the_bit() {
    let momentum = ("momentum", AttrValue::Float(0.5));
    let rows: &[(&str, &[Attr], &[&str])] = &[
        ("sgd", &[], &[]),
        ("sgd_momentum", &[("nesterov", AttrValue::Bool(true))], &["velocity"]),
        ("rmsprop", &[], &["velocity"]),
        ("rmsprop_momentum", std::slice::from_ref(&momentum), &["velocity", "change"]),
        ("rmsprop_centered", &[], &["velocity", "average_gradient"]),
        ("rmsprop_centered_momentum", &[], &["velocity", "average_gradient", "change"]),
        ("adagrad", &[], &["accumulator"]),
        ("adam", &[], &["m", "v"]),
        ("adamw", &[], &["m", "v"]),
    ];
    for (name, attrs, slots) in rows {
        let program = Program::new(&[&trained(name, attrs, None)], Json::Null).unwrap();
        let session = Session::new(Arc::new(program), Limits::none());
        let run = |session: &Session, count: i32| {
            for step in 0..count {
                session.run("train_step", &[tensor(&[], |_| 0.25 + step as f32)]).unwrap();
            }
        };
        run(&session, 3);
        let file = caudal::save::write(&session.snapshot().unwrap()).unwrap();
        let again = Session::new(Arc::new(caudal::save::read(&file, None).unwrap()), Limits::none());
        run(&session, 4);
        run(&again, 4);
        let w = session.state("w").unwrap();
        assert!(floats(&w)[0] < 1.0, "{name}");
        assert_eq!(again.state("w").unwrap(), w, "{name}");
        for slot in *slots {
            let slot = format!("optimizer/{slot}/w");
            let value = session.state(&slot).unwrap();
            assert_ne!(floats(&value), [0.0], "{name} {slot}");
            assert_eq!(again.state(&slot).unwrap(), value, "{name} {slot}");
        }
    }
}

#[test]
fn a_schedule_is_part_of_the_step_and_the_rate_before_it_is_state() {
    let attrs = [("decay_steps", AttrValue::Int(4)), ("decay_rate", AttrValue::Float(0.5))];
    let whole = [&attrs[..], &[("staircase", AttrValue::Bool(true)), ("warmup_steps", AttrValue::Int(2))]].concat();
    let program = Program::new(&[&trained("sgd", &[], Some(("exponential_schedule", &whole)))], Json::Null).unwrap();
    let session = Session::new(Arc::new(program), Limits::none());
    let mut w = 1.0;
    for (step, factor) in [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5].into_iter().enumerate() {
        if step == 5 {
            session.set_state(&[("optimizer/learning_rate", Tensor::scalar(DType::F32, 0.25).unwrap())]).unwrap();
        }
        let rate = if step < 5 { 0.5 } else { 0.25 };
        // By the cut functions, too: `apply` takes the step from the state.
        let gradient = tensor(&[], |_| 0.125);
        match step % 2 {
            0 => drop(session.run("train_step", &[gradient]).unwrap()),
            _ => drop(session.run("apply", &[gradient]).unwrap()),
        }
        w -= rate * factor * 0.125;
        assert_eq!(floats(&session.state("w").unwrap()), [w], "step {step}");
        assert_eq!(floats(&session.state("optimizer/learning_rate").unwrap()), [rate], "step {step}");
    }
    let error = Builder::new().schedule("optimizer", &op("sgd", &[]).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "sgd is not a schedule");
}

#[test]
fn a_tensor_held_over_steps_does_not_change() {
    let session = Session::new(Arc::new(program()), Limits::none());
    let held = session.state("w1").unwrap();
    let copy = Tensor::from_bytes(held.dtype(), held.sizes(), held.bytes(), None).unwrap();
    let snapshot = session.snapshot().unwrap();
    for _ in 0..3 {
        loss(&session);
    }
    assert_eq!(held, copy);
    assert_ne!(session.state("w1").unwrap(), copy);
    session.restore(&snapshot, true).unwrap();
    assert_eq!(session.state("w1").unwrap(), copy);
}

#[test]
fn snapshots_restart_training_to_the_bit() {
    let session = Session::new(Arc::new(program()), Limits::none());
    (0..5).for_each(|_| assert!(loss(&session) > 0.0));
    let snapshot = Arc::new(session.snapshot().unwrap());
    let again = Session::new(snapshot, Limits::none());
    for _ in 0..5 {
        assert_eq!(loss(&session).to_bits(), loss(&again).to_bits());
    }
}

/// A function that updates state `a` and `b` by what `new` makes of them.
fn two_states(new: impl Fn(&mut Builder, Value, Value) -> (Value, Value)) -> Session {
    let mut builder = Builder::new();
    let a = builder.state("a", Role::Other, tensor(&[3], |index| index as f32)).unwrap();
    let b = builder.state("b", Role::Other, tensor(&[3], |index| 10.0 + index as f32)).unwrap();
    let (new_a, new_b) = new(&mut builder, a, b);
    let step = builder.function("step", vec![("output".into(), new_a)], Notes::default()).unwrap();
    builder.update(step, a, new_a).unwrap();
    builder.update(step, b, new_b).unwrap();
    Session::new(Arc::new(Program::new(&[&builder], Json::Null).unwrap()), Limits::none())
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.elements::<f32>().unwrap().to_vec()
}

#[test]
fn swapped_state_is_swapped_and_an_output_may_be_the_new_state() {
    let session = two_states(|_, a, b| (b, a));
    let output = session.run("step", &[]).unwrap();
    assert_eq!(floats(&output[0]), [10.0, 11.0, 12.0]);
    assert_eq!(floats(&session.state("a").unwrap()), [10.0, 11.0, 12.0]);
    assert_eq!(floats(&session.state("b").unwrap()), [0.0, 1.0, 2.0]);

    let session = two_states(|builder, a, b| (builder.graph.add(a, b).unwrap(), b));
    let first = session.run("step", &[]).unwrap();
    let second = session.run("step", &[]).unwrap();
    assert_eq!(floats(&first[0]), [10.0, 12.0, 14.0]);
    assert_eq!(floats(&second[0]), [20.0, 23.0, 26.0]);
    assert_eq!(second[0], session.state("a").unwrap());
}

#[test]
fn predictions_beside_training_see_one_version_of_the_state() {
    // b is always a + 10 at a commit: a reader that saw half a commit would find another difference.
    let mut builder = Builder::new();
    let a = builder.state("a", Role::Other, tensor(&[1000], |_| 0.0)).unwrap();
    let b = builder.state("b", Role::Other, tensor(&[1000], |_| 10.0)).unwrap();
    let one = builder.graph.scalar(DType::F32, 1.0).unwrap();
    let (next_a, next_b) = (builder.graph.add(a, one).unwrap(), builder.graph.add(b, one).unwrap());
    let difference = builder.graph.sub(b, a).unwrap();
    let step = builder.function("step", vec![], Notes::default()).unwrap();
    builder.update(step, a, next_a).unwrap();
    builder.update(step, b, next_b).unwrap();
    builder.function("predict", vec![("output".into(), difference)], Notes::default()).unwrap();
    let session = Session::new(Arc::new(Program::new(&[&builder], Json::Null).unwrap()), Limits::none());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let output = session.run("predict", &[]).unwrap();
                    assert!(floats(&output[0]).iter().all(|&value| value == 10.0));
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| (0..200).for_each(|_| drop(session.run("step", &[]).unwrap())));
        }
    });
    assert_eq!(floats(&session.state("a").unwrap())[0], 400.0);
}

#[test]
fn wrong_inputs_are_named() {
    let session = Session::new(Arc::new(program()), Limits::none());
    let [x, y] = batch();
    let cases = [
        (vec![x.clone()], "train_step: 1 inputs were given, it takes 2: x, y"),
        (vec![y.clone(), y.clone()], "train_step: x is int32[32], expected float32[batch, 6]; cast it to float32"),
        (
            vec![tensor(&[6], noise), y.clone()],
            "train_step: x is float32[6], expected float32[batch, 6]; add a leading dimension",
        ),
        (
            vec![tensor(&[31, 6], noise), y],
            "train_step: y is int32[32], expected int32[batch]: axis 0 is 32, expected batch = 31",
        ),
    ];
    for (inputs, message) in cases {
        assert_eq!(session.run("train_step", &inputs).unwrap_err().to_string(), message);
    }
    assert_eq!(
        session.run("predict", &[]).unwrap_err().to_string(),
        "no function is named \"predict\"; there are: train_step, gradients, apply"
    );
    session.close();
    session.close();
    assert_eq!(session.run("train_step", &[]).unwrap_err().to_string(), "the session is closed");
}

#[test]
fn a_call_that_waits_to_write_can_be_put_aside_and_given_up() {
    let session = two_states(|builder, a, b| (builder.graph.add(a, b).unwrap(), b));
    let step = session.function("step").unwrap();
    let mut first = session.start(step, &[], None).unwrap();
    assert!(first.advance(f64::INFINITY).unwrap());
    let mut second = session.start(step, &[], None).unwrap();
    assert!(!second.advance(0.01).unwrap());
    let mut third = session.start(step, &[], None).unwrap();
    assert!(!third.advance(0.01).unwrap());
    drop(third);
    let a = session.state("a").unwrap();
    assert!(!session.set_state_within(&[("a", a)], &Watch::piece(0.01)).unwrap());
    assert!(!session.restore_within(session.program(), true, &Watch::piece(0.01)).unwrap());
    first.finish().unwrap();
    assert!(second.advance(0.01).unwrap());
    second.finish().unwrap();
    assert_eq!(floats(&session.state("a").unwrap()), [20.0, 23.0, 26.0]);
    let fourth = session.start(step, &[], None).unwrap();
    assert!(!session.close_within(&Watch::piece(0.01)));
    drop(fourth);
    assert!(session.close_within(&Watch::piece(0.01)));
    assert_eq!(session.state("a").unwrap_err().to_string(), "the session is closed");
}

#[test]
fn memory_of_ended_runs_makes_room_for_other_functions() {
    let mut builder = Builder::new();
    let x = builder.input("x", Spec::parse("float32[n, n]").unwrap()).unwrap();
    for name in ["one", "two"] {
        let square = builder.graph.matmul(x, x).unwrap();
        let sum = builder.graph.reduce("sum", square, &[0, 1], false).unwrap();
        builder.function(name, vec![("output".into(), sum)], Notes::default()).unwrap();
    }
    let program = Arc::new(Program::new(&[&builder], Json::Null).unwrap());
    let x = tensor(&[300, 300], noise);
    let free = Session::new(program.clone(), Limits::none());
    free.run("one", std::slice::from_ref(&x)).unwrap();
    let limits = Limits::new(free.limits().budget().peak() * 5 / 4, 0.0);
    let session = Session::new(program, limits.clone());
    for name in ["one", "two", "one", "two"] {
        session.run(name, std::slice::from_ref(&x)).unwrap();
    }
    // A call's own limits do not lift those of the session.
    let large = tensor(&[600, 600], noise);
    let timed = Limits::new(0, 60.0);
    let error = session.start(0, &[large], Some(&timed)).unwrap().advance(f64::INFINITY).unwrap_err();
    assert_eq!(error.code(), caudal::Code::Memory);
}

#[test]
fn a_failed_step_leaves_the_state() {
    let limits = Limits::none();
    let session = Session::new(Arc::new(program()), limits.clone());
    loss(&session);
    let before = session.snapshot().unwrap();
    limits.cancel();
    assert_eq!(session.run("train_step", &batch()).unwrap_err().to_string(), "train_step: the call was cancelled");
    let after = session.snapshot().unwrap();
    assert_eq!(before.state, after.state);
}
