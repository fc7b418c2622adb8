mod support;
use caudal::meter::Meter;
use caudal::passes;
use caudal::{Graph, Value};
use std::sync::Arc;
use support::{apply, spec};

fn dump(name: &str, inputs: &[&str], attrs: &str, op: &str, backward: bool) {
    let mut graph = Graph::new();
    let values: Vec<Value> =
        inputs.iter().enumerate().map(|(i, s)| graph.input(&format!("x{i}"), spec(s)).unwrap()).collect();
    let output = apply(&mut graph, op, attrs, &values);
    let mut outs = vec![output];
    if backward {
        let loss = apply(&mut graph, "mean", "{}", &[output]);
        let wrt: Vec<_> = values.iter().copied().filter(|v| graph.spec(*v).dtype.is_float()).collect();
        outs = vec![loss];
        outs.extend(caudal::grad::grad(&mut graph, loss, &wrt).unwrap());
    }
    graph.set_outputs(outs).unwrap();
    let made = passes::run(&Arc::new(graph), passes::OPTIMIZED, &Meter::default(), &mut |_, _| {}).unwrap();
    println!("### {name} {backward}\n{}", caudal::graph::text::print(&made));
}

#[test]
fn dump_all() {
    for backward in [false, true] {
        dump("softmax", &["float32[b, n]"], "{}", "softmax", backward);
        dump("layer_norm", &["float32[b, n]", "float32[n]", "float32[n]"], "{}", "layer_norm", backward);
        dump("layer_norm512", &["float32[b, 512]", "float32[512]", "float32[512]"], "{}", "layer_norm", backward);
        dump("xent", &["float32[b, 10]", "int32[b]"], "{}", "softmax_cross_entropy", backward);
        dump("xent soft", &["float32[b, 10]", "float32[b,10]"], "{}", "softmax_cross_entropy", backward);
        dump("gelu", &["float32[b, n]"], "{}", "gelu", backward);
    }
}
