//! Tensors without elements: every reduction over every set of axes, eager, plain and optimised.

use caudal::graph::op;
use caudal::run::Limits;
use caudal::run::eager::{EagerOp, evaluate};
use caudal::{AttrValue, DType, Graph, Tensor, grad};

fn shapes() -> impl Iterator<Item = Vec<usize>> {
    (0..8usize).map(|bits| (0..3).map(|axis| if bits >> axis & 1 == 1 { 0 } else { axis + 2 }).collect())
}

fn subsets() -> impl Iterator<Item = Vec<i64>> {
    (0..8i64).map(|bits| (0..3).filter(|axis| bits >> axis & 1 == 1).collect())
}

#[test]
fn reductions_of_no_elements_give_their_neutral_element() {
    for (name, dtype, neutral) in [("sum", DType::F64, 0.0), ("prod", DType::F64, 1.0), ("mean", DType::F64, f64::NAN)]
    {
        for shape in shapes().filter(|shape| shape.contains(&0)) {
            for axes in subsets() {
                let x = Tensor::zeros(dtype, &shape, None).unwrap();
                let attrs = [("axis", AttrValue::Ints(axes.clone()))];
                let eager = EagerOp::new(op(name, &attrs).unwrap()).call(&[Some(x.clone())], &Limits::none()).unwrap();
                let mut graph = Graph::new();
                let input = graph.input("x", x.spec()).unwrap();
                let output = graph.op(name, &attrs, &[input]).unwrap();
                let loss = graph.reduce(
                    "sum",
                    output,
                    &(0..graph.spec(output).shape.rank() as i64).collect::<Vec<_>>(),
                    false,
                );
                let loss = loss.unwrap();
                let gradient = grad::grad(&mut graph, loss, &[input]).unwrap()[0];
                graph.set_outputs(vec![output, gradient]).unwrap();
                let traced = evaluate(&graph, vec![x], &Limits::none()).unwrap();
                let sizes: Vec<_> =
                    (0..3).filter(|axis| !axes.contains(&(*axis as i64))).map(|axis| shape[axis]).collect();
                assert_eq!(
                    (eager[0].sizes(), traced[1].sizes()),
                    (&sizes[..], &shape[..]),
                    "{name} {shape:?} {axes:?}"
                );
                assert_eq!(eager[0], traced[0], "{name} {shape:?} {axes:?}");
                let right = |value: &f64| *value == neutral || (value.is_nan() && neutral.is_nan());
                assert!(eager[0].elements::<f64>().unwrap().iter().all(right), "{name} {shape:?} {axes:?}");
            }
        }
    }
}

#[test]
fn a_softmax_of_no_elements_is_empty_and_their_logsumexp_is_minus_infinity() {
    for (name, expected) in [("softmax", vec![]), ("log_softmax", vec![]), ("logsumexp", vec![f64::NEG_INFINITY; 3])] {
        let x = Tensor::zeros(DType::F64, &[3, 0], None).unwrap();
        let attrs = if name == "logsumexp" { ("axis", AttrValue::Ints(vec![1])) } else { ("axis", AttrValue::Int(1)) };
        let eager = EagerOp::new(op(name, &[attrs]).unwrap()).call(&[Some(x)], &Limits::none()).unwrap();
        assert_eq!(eager[0].elements::<f64>().unwrap(), expected, "{name}");
    }
}
