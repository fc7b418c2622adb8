//! Rows and columns that lanes share in every way. More about clusters is in the tests of programs.

use super::*;
use crate::attrs::AttrValue;
use crate::gpu::testing::{Draw, adapters, assert_close, execute, with_and_without_subgroups};
use crate::meter::Meter;
use crate::passes;
use crate::run::{Limits, eager::evaluate};
use crate::tensor::Tensor;
use std::sync::Arc;

/// The exponentials along an axis divided by their sum, as one kernel beside the CPU's, with the shaders of both kinds
/// of device.
fn check(x: &Tensor, axis: i64) {
    let mut graph = Graph::new();
    let input = graph.input("x", x.spec()).unwrap();
    let attrs = [("axis", AttrValue::Ints(vec![axis])), ("keepdims", AttrValue::Bool(true))];
    let most = graph.op("max", &attrs, &[input]).unwrap();
    let below = graph.sub(input, most).unwrap();
    let power = graph.op("exp", &[], &[below]).unwrap();
    let total = graph.op("sum", &attrs, &[power]).unwrap();
    let share = graph.op("div", &[], &[power, total]).unwrap();
    graph.set_outputs(vec![share]).unwrap();
    let expected = evaluate(&graph, vec![x.clone()], &Limits::none()).unwrap().remove(0);
    let fused = passes::run(&Arc::new(graph), passes::OPTIMIZED, &Meter::default(), &mut |_, _| {}).unwrap();
    let [node] = fused.nodes() else { panic!("more than one node in {}", crate::graph::text::print(&fused)) };
    let layout = Layout::dense(x.dtype(), x.sizes());
    for adapter in adapters().into_iter().flat_map(with_and_without_subgroups) {
        let print = |request: &Request| {
            let recipe = print(&node.regions[0], &Bindings::new(), &Request { adapter: &adapter, ..*request })?;
            assert_eq!(recipe.launches.len(), 1);
            Ok(recipe)
        };
        let (views, outputs) = ([Some(layout.clone())], [layout.clone()]);
        let given = execute(&node.op.attrs, &[Some(x.clone())], &views, &outputs, print).unwrap();
        let what = format!("{} {:?} along {axis} as on {adapter:?}", x.dtype(), x.sizes());
        assert_close(&what, &given[0], &expected, 16.0, true);
    }
}

#[test]
fn rows_and_columns_are_shared_by_lanes_in_every_way() {
    let mut draw = Draw::new(3);
    for sizes in [[300, 2], [3, 33], [70, 100], [5, 1500], [1, 5000], [1100, 40]] {
        for dtype in [DType::F32, DType::F16] {
            let x = draw.tensor(dtype, &sizes, (-4.0, 4.0));
            (0..2).filter(|&axis| sizes[axis as usize] > 1).for_each(|axis| check(&x, axis));
        }
    }
}
