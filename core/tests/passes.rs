//! What each pass makes of a graph, as text before and after; and what passes promise of any graph.

mod support;

use caudal::graph::text;
use caudal::meter::Meter;
use caudal::op::{Meaning, Op};
use caudal::passes::{self, Pass};
use caudal::{DType, Graph, Node, grad};
use std::sync::Arc;
use support::{Generator, apply, spec};

struct Snapshot {
    pass: &'static str,
    what: &'static str,
    before: &'static str,
    after: &'static str,
}

const SNAPSHOTS: &[Snapshot] = &[
    Snapshot {
        pass: "decompose",
        what: "a composite becomes what it lowers to, with the user's line",
        before: r#"
graph(%0 x: float32[batch, 10]) {
  %1 = softmax(%0) : float32[batch, 10] @ "model.py":7
  return %1
}
"#,
        after: r#"
graph(%0 x: float32[batch, 10]) {
  %1 = max(%0) {"axis":[-1],"keepdims":true} : float32[batch, 1] @ "model.py":7
  %2 = stop_gradient(%1) : float32[batch, 1] @ "model.py":7
  %3 = sub(%0, %2) : float32[batch, 10] @ "model.py":7
  %4 = exp(%3) : float32[batch, 10] @ "model.py":7
  %5 = sum(%4) {"axis":[-1],"keepdims":true} : float32[batch, 1] @ "model.py":7
  %6 = div(%4, %5) : float32[batch, 10] @ "model.py":7
  return %6
}
"#,
    },
    Snapshot {
        pass: "decompose",
        what: "composites in regions are lowered too",
        before: r#"
graph(%0 c: bool[], %1 x: float32[n]) {
  %2 = cond(%0, %1) [graph(%0 x: float32[n]) {
    %1 = softmax(%0) : float32[n]
    return %1
  }, graph(%0 x: float32[n]) {
    return %0
  }] : float32[n]
  return %2
}
"#,
        after: r#"
graph(%0 c: bool[], %1 x: float32[n]) {
  %2 = cond(%0, %1) [graph(%0 x: float32[n]) {
    %1 = max(%0) {"axis":[-1],"keepdims":true} : float32[1]
    %2 = stop_gradient(%1) : float32[1]
    %3 = sub(%0, %2) : float32[n]
    %4 = exp(%3) : float32[n]
    %5 = sum(%4) {"axis":[-1],"keepdims":true} : float32[1]
    %6 = div(%4, %5) : float32[n]
    return %6
  }, graph(%0 x: float32[n]) {
    return %0
  }] : float32[n]
  return %2
}
"#,
    },
    Snapshot {
        pass: "simplify",
        what: "what changes nothing is its operand",
        before: r#"
graph(%0 x: float32[n, 4]) {
  %1 = stop_gradient(%0) : float32[n, 4]
  %2 = cast(%1) {"dtype":"float32"} : float32[n, 4]
  %3 = broadcast_to(%2) {"shape":["n",4]} : float32[n, 4]
  %4 = reshape(%3) {"shape":["n",4]} : float32[n, 4]
  %5 = neg(%4) : float32[n, 4]
  %6 = neg(%5) : float32[n, 4]
  %7 = transpose(%6) : float32[4, n]
  %8 = transpose(%7) {"axes":[1,0]} : float32[n, 4]
  return %8
}
"#,
        after: r#"
graph(%0 x: float32[n, 4]) {
  %1 = neg(%0) : float32[n, 4]
  %2 = transpose(%0) : float32[4, n]
  return %0
}
"#,
    },
    Snapshot {
        pass: "simplify",
        what: "of two reshapes or transposes one is left",
        before: r#"
graph(%0 x: float32[n, 4, 6]) {
  %1 = reshape(%0) {"shape":["n",24]} : float32[n, 24]
  %2 = reshape(%1) {"shape":["n",3,8]} : float32[n, 3, 8]
  %3 = transpose(%2) {"axes":[2,0,1]} : float32[8, n, 3]
  %4 = transpose(%3) {"axes":[0,2,1]} : float32[8, 3, n]
  return %4
}
"#,
        after: r#"
graph(%0 x: float32[n, 4, 6]) {
  %1 = reshape(%0) {"shape":["n",24]} : float32[n, 24]
  %2 = reshape(%0) {"shape":["n",3,8]} : float32[n, 3, 8]
  %3 = transpose(%2) {"axes":[2,0,1]} : float32[8, n, 3]
  %4 = transpose(%2) {"axes":[2,1,0]} : float32[8, 3, n]
  return %4
}
"#,
    },
    Snapshot {
        pass: "simplify",
        what: "a dim that is known is a constant, a symbol stays",
        before: r#"
graph(%0 x: float32[n, 4]) {
  %1 = dim(%0) {"axis":-1} : int64[]
  %2 = dim(%0) {"axis":0} : int64[]
  return %1, %2
}
"#,
        after: r#"
graph(%0 x: float32[n, 4]) {
  %1 = constant() {"value":{"data":[4],"dtype":"int64","shape":[]}} : int64[]
  %2 = dim(%0) {"axis":0} : int64[]
  return %1, %2
}
"#,
    },
    Snapshot {
        pass: "simplify",
        what: "x * 1, 1 * x, x / 1 and x - 0 are x",
        before: r#"
graph(%0 x: float32[n]) {
  %1 = constant() {"value":{"data":[1],"dtype":"float32","shape":[]}} : float32[]
  %2 = constant() {"value":{"data":[0],"dtype":"float32","shape":[]}} : float32[]
  %3 = broadcast_to(%1) {"shape":["n"]} : float32[n]
  %4 = mul(%0, %1) : float32[n]
  %5 = mul(%3, %4) : float32[n]
  %6 = div(%5, %1) : float32[n]
  %7 = sub(%6, %2) : float32[n]
  return %7
}
"#,
        after: r#"
graph(%0 x: float32[n]) {
  %1 = constant() {"value":{"data":[1.0],"dtype":"float32","shape":[]}} : float32[]
  %2 = constant() {"value":{"data":[0.0],"dtype":"float32","shape":[]}} : float32[]
  %3 = broadcast_to(%1) {"shape":["n"]} : float32[n]
  return %0
}
"#,
    },
    Snapshot {
        pass: "simplify",
        what: "x + 0, x - (-0), x * 0 and 1 / x are not x: -0, NaN; nor is [] * [1]",
        before: r#"
graph(%0 x: float32[n], %1 y: float32[]) {
  %2 = constant() {"value":{"data":[0],"dtype":"float32","shape":[]}} : float32[]
  %3 = constant() {"value":{"data":[-0.0],"dtype":"float32","shape":[]}} : float32[]
  %4 = constant() {"value":{"data":[1],"dtype":"float32","shape":[1]}} : float32[1]
  %5 = add(%0, %2) : float32[n]
  %6 = sub(%0, %3) : float32[n]
  %7 = mul(%0, %2) : float32[n]
  %8 = div(%4, %0) : float32[n]
  %9 = mul(%1, %4) : float32[1]
  return %5, %6, %7, %8, %9
}
"#,
        after: r#"
graph(%0 x: float32[n], %1 y: float32[]) {
  %2 = constant() {"value":{"data":[0.0],"dtype":"float32","shape":[]}} : float32[]
  %3 = constant() {"value":{"data":[-0.0],"dtype":"float32","shape":[]}} : float32[]
  %4 = constant() {"value":{"data":[1.0],"dtype":"float32","shape":[1]}} : float32[1]
  %5 = add(%0, %2) : float32[n]
  %6 = sub(%0, %3) : float32[n]
  %7 = mul(%0, %2) : float32[n]
  %8 = div(%4, %0) : float32[n]
  %9 = mul(%1, %4) : float32[1]
  return %5, %6, %7, %8, %9
}
"#,
    },
    Snapshot {
        pass: "simplify",
        what: "an operand need not be broadcast before an element-wise op, if another has the shape",
        before: r#"
graph(%0 x: float32[n, 4], %1 y: float32[4]) {
  %2 = broadcast_to(%1) {"shape":["n",4]} : float32[n, 4]
  %3 = add(%0, %2) : float32[n, 4]
  %4 = mul(%2, %2) : float32[n, 4]
  return %3, %4
}
"#,
        after: r#"
graph(%0 x: float32[n, 4], %1 y: float32[4]) {
  %2 = broadcast_to(%1) {"shape":["n",4]} : float32[n, 4]
  %3 = add(%0, %1) : float32[n, 4]
  %4 = mul(%2, %2) : float32[n, 4]
  return %3, %4
}
"#,
    },
    Snapshot {
        pass: "simplify",
        what: "unpick becomes element-wise, an index below 0 counts from the end",
        before: r#"
graph(%0 x: float32[n], %1 i: int64[n]) {
  %2 = unpick(%0, %1) {"depth":5} : float32[n, 5]
  return %2
}
"#,
        after: r#"
graph(%0 x: float32[n], %1 i: int64[n]) {
  %2 = iota() {"shape":[5]} : int64[5]
  %3 = dim(%2) {"axis":0} : int64[]
  %4 = reshape(%1) {"shape":["n",1]} : int64[n, 1]
  %5 = constant() {"value":{"data":[0],"dtype":"int64","shape":[]}} : int64[]
  %6 = less(%4, %5) : bool[n, 1]
  %7 = add(%4, %3) : int64[n, 1]
  %8 = where(%6, %7, %4) : int64[n, 1]
  %9 = equal(%8, %2) : bool[n, 5]
  %10 = reshape(%0) {"shape":["n",1]} : float32[n, 1]
  %11 = constant() {"value":{"data":[0.0],"dtype":"float32","shape":[]}} : float32[]
  %12 = where(%9, %10, %11) : float32[n, 5]
  return %12
}
"#,
    },
    Snapshot {
        pass: "fold",
        what: "nodes on constants are constants, shared ones once each",
        before: r#"
graph(%0 x: float32[n]) {
  %1 = constant() {"value":{"data":[1,2],"dtype":"float32","shape":[2]}} : float32[2]
  %2 = add(%1, %1) : float32[2]
  %3 = sum(%2) {"axis":[0]} : float32[]
  %4 = mul(%0, %3) : float32[n]
  return %4, %2
}
"#,
        after: r#"
graph(%0 x: float32[n]) {
  %1 = constant() {"value":{"data":[1.0,2.0],"dtype":"float32","shape":[2]}} : float32[2]
  %2 = constant() {"value":{"data":[2.0,4.0],"dtype":"float32","shape":[2]}} : float32[2]
  %3 = constant() {"value":{"data":[6.0],"dtype":"float32","shape":[]}} : float32[]
  %4 = mul(%0, %3) : float32[n]
  return %4, %2
}
"#,
    },
    Snapshot {
        pass: "fold",
        what: "a symbolic size is not known",
        before: r#"
graph(%0 x: float32[n]) {
  %1 = constant() {"value":{"data":[2],"dtype":"float32","shape":[]}} : float32[]
  %2 = broadcast_to(%1) {"shape":["n"]} : float32[n]
  %3 = mul(%2, %2) : float32[n]
  return %3
}
"#,
        after: r#"
graph(%0 x: float32[n]) {
  %1 = constant() {"value":{"data":[2.0],"dtype":"float32","shape":[]}} : float32[]
  %2 = broadcast_to(%1) {"shape":["n"]} : float32[n]
  %3 = mul(%2, %2) : float32[n]
  return %3
}
"#,
    },
    Snapshot {
        pass: "cse",
        what: "equal nodes are one, transitively; draws of one key are equal",
        before: r#"
graph(%0 x: float32[n], %1 key: uint32[2]) {
  %2 = exp(%0) : float32[n]
  %3 = exp(%0) : float32[n]
  %4 = neg(%2) : float32[n]
  %5 = neg(%3) : float32[n]
  %6 = dropout(%4, %1) {"rate":0.5} : float32[n]
  %7 = dropout(%5, %1) {"rate":0.5} : float32[n]
  %8 = add(%6, %7) : float32[n]
  return %8
}
"#,
        after: r#"
graph(%0 x: float32[n], %1 key: uint32[2]) {
  %2 = exp(%0) : float32[n]
  %3 = neg(%2) : float32[n]
  %4 = dropout(%3, %1) {"rate":0.5} : float32[n]
  %5 = add(%4, %4) : float32[n]
  return %5
}
"#,
    },
    Snapshot {
        pass: "cse",
        what: "other attrs, other operands or another order are another node; -0 is not 0",
        before: r#"
graph(%0 x: float32[n], %1 y: float32[n], %2 i: int32[m]) {
  %3 = take(%0, %2) {"fill":0.0} : float32[m]
  %4 = take(%0, %2) {"fill":-0.0} : float32[m]
  %5 = sub(%0, %1) : float32[n]
  %6 = sub(%1, %0) : float32[n]
  return %3, %4, %5, %6
}
"#,
        after: r#"
graph(%0 x: float32[n], %1 y: float32[n], %2 i: int32[m]) {
  %3 = take(%0, %2) {"fill":0.0} : float32[m]
  %4 = take(%0, %2) {"fill":-0.0} : float32[m]
  %5 = sub(%0, %1) : float32[n]
  %6 = sub(%1, %0) : float32[n]
  return %3, %4, %5, %6
}
"#,
    },
    Snapshot {
        pass: "dce",
        what: "what no output needs is dropped; inputs stay",
        before: r#"
graph(%0 x: float32[n], %1 y: float32[n]) {
  %2 = exp(%0) : float32[n]
  %3 = log(%2) : float32[n]
  %4 = neg(%2) : float32[n]
  return %4
}
"#,
        after: r#"
graph(%0 x: float32[n], %1 y: float32[n]) {
  %2 = exp(%0) : float32[n]
  %3 = neg(%2) : float32[n]
  return %3
}
"#,
    },
    Snapshot {
        pass: "fuse",
        what: "a chain is one step; scalar constants go inside, what others use comes out",
        before: r#"
graph(%0 x: float32[batch, n], %1 b: float32[n]) {
  %2 = constant() {"value":{"data":[0.5],"dtype":"float32","shape":[]}} : float32[]
  %3 = add(%0, %1) : float32[batch, n]
  %4 = tanh(%3) : float32[batch, n]
  %5 = mul(%4, %2) : float32[batch, n]
  %6 = transpose(%5) : float32[n, batch]
  return %4, %6
}
"#,
        after: r#"
graph(%0 x: float32[batch, n], %1 b: float32[n]) {
  %2 = constant() {"value":{"data":[0.5],"dtype":"float32","shape":[]}} : float32[]
  %3, %4 = fused(%0, %1) [graph(%0 value_0: float32[batch, n], %1 value_1: float32[n]) {
    %2 = add(%0, %1) : float32[batch, n]
    %3 = tanh(%2) : float32[batch, n]
    %4 = constant() {"value":{"data":[0.5],"dtype":"float32","shape":[]}} : float32[]
    %5 = mul(%3, %4) : float32[batch, n]
    return %3, %5
  }] : float32[batch, n], float32[batch, n]
  %5 = transpose(%4) : float32[n, batch]
  return %3, %5
}
"#,
    },
    Snapshot {
        pass: "fuse",
        what: "no cycle: what goes around through a product is two steps",
        before: r#"
graph(%0 x: float32[m, m]) {
  %1 = exp(%0) : float32[m, m]
  %2 = neg(%1) : float32[m, m]
  %3 = matmul(%1, %0) : float32[m, m]
  %4 = div(%1, %3) : float32[m, m]
  %5 = add(%4, %2) : float32[m, m]
  return %5
}
"#,
        after: r#"
graph(%0 x: float32[m, m]) {
  %1 = exp(%0) : float32[m, m]
  %2 = matmul(%1, %0) : float32[m, m]
  %3 = fused(%1, %2) [graph(%0 value_0: float32[m, m], %2 value_1: float32[m, m]) {
    %1 = neg(%0) : float32[m, m]
    %3 = div(%0, %2) : float32[m, m]
    %4 = add(%3, %1) : float32[m, m]
    return %4
  }] : float32[m, m]
  return %3
}
"#,
    },
    Snapshot {
        pass: "fuse",
        what: "a reduction, what it reduces and what follows it are one step; moves that lead out stay outside",
        before: r#"
graph(%0 x: float32[m, n], %1 y: float32[m]) {
  %2 = max(%0) {"axis":[1]} : float32[m]
  %3 = reshape(%2) {"shape":["m",1]} : float32[m, 1]
  %4 = sub(%0, %3) : float32[m, n]
  %5 = exp(%4) : float32[m, n]
  %6 = sum(%5) {"axis":[1],"keepdims":true} : float32[m, 1]
  %7 = div(%5, %6) : float32[m, n]
  %8 = add(%2, %1) : float32[m]
  %9 = reshape(%8) {"shape":["m",1]} : float32[m, 1]
  return %7, %9
}
"#,
        after: r#"
graph(%0 x: float32[m, n], %1 y: float32[m]) {
  %2, %3 = fused(%0, %1) {"axis":[1],"shape":["m","n"]} [graph(%0 value_0: float32[m, n], %7 value_1: float32[m]) {
    %1 = max(%0) {"axis":[1]} : float32[m]
    %2 = reshape(%1) {"shape":["m",1]} : float32[m, 1]
    %3 = sub(%0, %2) : float32[m, n]
    %4 = exp(%3) : float32[m, n]
    %5 = sum(%4) {"axis":[1],"keepdims":true} : float32[m, 1]
    %6 = div(%4, %5) : float32[m, n]
    %8 = add(%1, %7) : float32[m]
    return %6, %8
  }] : float32[m, n], float32[m]
  %4 = reshape(%3) {"shape":["m",1]} : float32[m, 1]
  return %2, %4
}
"#,
    },
    Snapshot {
        pass: "fuse",
        what: "no cycle through a reduction that is fused either",
        before: r#"
graph(%0 x: float32[m, m]) {
  %1 = sum(%0) {"axis":[1],"keepdims":true} : float32[m, 1]
  %2 = mul(%0, %1) : float32[m, m]
  %3 = matmul(%2, %0) : float32[m, m]
  %4 = add(%3, %1) : float32[m, m]
  %5 = sum(%4) {"axis":[1],"keepdims":true} : float32[m, 1]
  %6 = add(%1, %5) : float32[m, 1]
  return %6
}
"#,
        after: r#"
graph(%0 x: float32[m, m]) {
  %1, %2 = fused(%0) {"axis":[1],"shape":["m","m"]} [graph(%0 value_0: float32[m, m]) {
    %1 = sum(%0) {"axis":[1],"keepdims":true} : float32[m, 1]
    %2 = mul(%0, %1) : float32[m, m]
    return %1, %2
  }] : float32[m, 1], float32[m, m]
  %3 = matmul(%2, %0) : float32[m, m]
  %4 = fused(%3, %1) {"axis":[1],"shape":["m","m"]} [graph(%0 value_0: float32[m, m], %1 value_1: float32[m, 1]) {
    %2 = add(%0, %1) : float32[m, m]
    %3 = sum(%2) {"axis":[1],"keepdims":true} : float32[m, 1]
    %4 = add(%1, %3) : float32[m, 1]
    return %4
  }] : float32[m, 1]
  return %4
}
"#,
    },
    Snapshot {
        pass: "fuse",
        what: "reductions over other axes end a cluster; those that read the same share a pass",
        before: r#"
graph(%0 x: float32[m, n], %1 y: float32[m, n]) {
  %2 = mul(%0, %1) : float32[m, n]
  %3 = sum(%2) {"axis":[1]} : float32[m]
  %4 = sum(%0) {"axis":[0]} : float32[n]
  %5 = sum(%2) {"axis":[0]} : float32[n]
  %6 = mul(%5, %4) : float32[n]
  return %3, %6
}
"#,
        after: r#"
graph(%0 x: float32[m, n], %1 y: float32[m, n]) {
  %2, %3 = fused(%0, %1) {"axis":[1],"shape":["m","n"]} [graph(%0 value_0: float32[m, n], %1 value_1: float32[m, n]) {
    %2 = mul(%0, %1) : float32[m, n]
    %3 = sum(%2) {"axis":[1]} : float32[m]
    return %2, %3
  }] : float32[m, n], float32[m]
  %4 = fused(%0, %2) {"axis":[0],"shape":["m","n"]} [graph(%0 value_0: float32[m, n], %2 value_1: float32[m, n]) {
    %1 = sum(%0) {"axis":[0]} : float32[n]
    %3 = sum(%2) {"axis":[0]} : float32[n]
    %4 = mul(%3, %1) : float32[n]
    return %4
  }] : float32[n]
  return %3, %4
}
"#,
    },
    Snapshot {
        pass: "fuse",
        what: "one node alone stays; other shapes are other steps",
        before: r#"
graph(%0 x: float32[m, n], %1 y: float32[n]) {
  %2 = exp(%1) : float32[n]
  %3 = mul(%0, %2) : float32[m, n]
  return %3
}
"#,
        after: r#"
graph(%0 x: float32[m, n], %1 y: float32[n]) {
  %2 = exp(%1) : float32[n]
  %3 = mul(%0, %2) : float32[m, n]
  return %3
}
"#,
    },
    Snapshot {
        pass: "fuse",
        what: "an update moves to where its gradient is known",
        before: r#"
graph(%0 x: float32[b, n], %1 g: float32[b, m], %2 w: float32[n, m], %3 v: float32[n, m], %4 rate: float32[]) {
  %5 = mul(%3, %4) : float32[n, m]
  %6 = dot_general(%0, %1) {"x_contract":[0],"y_contract":[0]} : float32[n, m]
  %7 = sub(%5, %6) : float32[n, m]
  %8 = add(%2, %7) : float32[n, m]
  return %7, %8
}
"#,
        after: r#"
graph(%0 x: float32[b, n], %1 g: float32[b, m], %2 w: float32[n, m], %3 v: float32[n, m], %4 rate: float32[]) {
  %5, %6 = fused(%3, %4, %0, %1, %2) [graph(%0 value_0: float32[n, m], %1 value_1: float32[], %3 value_2: float32[b, n], %4 value_3: float32[b, m], %7 value_4: float32[n, m]) {
    %2 = mul(%0, %1) : float32[n, m]
    %5 = dot_general(%3, %4) {"x_contract":[0],"y_contract":[0]} : float32[n, m]
    %6 = sub(%2, %5) : float32[n, m]
    %8 = add(%7, %6) : float32[n, m]
    return %6, %8
  }] : float32[n, m], float32[n, m]
  return %5, %6
}
"#,
    },
    Snapshot {
        pass: "layout",
        what: "views are made dense for steps that cannot read strides, once, and for outputs",
        before: r#"
graph(%0 x: float32[m, n], %1 y: float32[m, n]) {
  %2 = transpose(%0) : float32[n, m]
  %3 = exp(%2) : float32[n, m]
  %4 = reshape(%2) {"shape":["m*n"]} : float32[m*n]
  %5 = matmul(%2, %1) : float32[n, n]
  %6 = transpose(%1) : float32[n, m]
  return %3, %4, %5, %6
}
"#,
        after: r#"
graph(%0 x: float32[m, n], %1 y: float32[m, n]) {
  %2 = transpose(%0) : float32[n, m]
  %3 = exp(%2) : float32[n, m]
  %4 = dense(%2) : float32[n, m]
  %5 = reshape(%4) {"shape":["m*n"]} : float32[m*n]
  %6 = matmul(%4, %1) : float32[n, n]
  %7 = transpose(%1) : float32[n, m]
  %8 = dense(%7) : float32[n, m]
  return %3, %5, %6, %8
}
"#,
    },
];

fn through(graph: &Graph, names: &[&str]) -> Graph {
    let passes: Vec<Pass> = names.iter().map(|name| passes::named(name).expect("a pass")).collect();
    let result = passes::run(&Arc::new(graph.clone()), &passes, &Meter::default(), &mut |_, _| {}).unwrap();
    result.verify().unwrap_or_else(|error| panic!("after {names:?}: {error}\n{}", text::print(&result)));
    Arc::unwrap_or_clone(result)
}

#[test]
fn passes_make_what_their_snapshots_show() {
    for Snapshot { pass, what, before, after } in SNAPSHOTS {
        let graph = text::parse(before).unwrap_or_else(|error| panic!("{pass}, {what}: {error}"));
        let made = text::print(&through(&graph, &[pass]));
        assert_eq!(made.trim(), after.trim(), "{pass}: {what}; it made\n{made}");
    }
}

#[test]
fn every_pass_has_a_snapshot_and_runs_in_its_order() {
    let graph = Arc::new(text::parse("graph(%0 x: float32[n]) { return %0 }").unwrap());
    let mut seen = Vec::new();
    passes::run(&graph, passes::OPTIMIZED, &Meter::default(), &mut |name, _| seen.push(name.to_string())).unwrap();
    assert_eq!(seen, ["decompose", "simplify", "fold", "cse", "simplify", "dce", "fuse", "layout"]);
    for name in seen {
        assert!(SNAPSHOTS.iter().any(|snapshot| snapshot.pass == name), "{name}");
    }
    assert!(passes::named("none").is_none());
}

fn count(graph: &Graph, name: &str) -> usize {
    graph.nodes().iter().filter(|node| node.op.def.name == name).count()
}

#[test]
fn folding_makes_no_constant_over_64_kib() {
    for (size, folded) in [(8192, true), (8193, false)] {
        let mut graph = Graph::new();
        let iota = apply(&mut graph, "iota", &format!(r#"{{"shape": [{size}]}}"#), &[]);
        let double = graph.add(iota, iota).unwrap();
        let sum = apply(&mut graph, "sum", "{}", &[double]);
        graph.set_outputs(vec![double, sum]).unwrap();
        let made = through(&graph, &["fold", "dce"]);
        assert_eq!((count(&made, "add") == 0, count(&made, "sum") == 0), (folded, folded), "{size}");
        let bytes = made.nodes().iter().filter_map(|node| node.op.attrs.optional_tensor("value"));
        assert!(bytes.map(|tensor| tensor.bytes().len()).all(|bytes| bytes <= 64 << 10));
        support::run(&graph, &[]);
    }
}

/// The sizes of the clusters of a graph, constants not counted.
fn clusters(graph: &Graph) -> Vec<usize> {
    let fused = graph.nodes().iter().filter(|node| matches!(node.op.def.meaning, Meaning::Cluster));
    fused.map(|node| node.regions[0].nodes().len() - count(&node.regions[0], "constant")).collect()
}

#[test]
fn a_cluster_has_the_work_of_512_simple_ops() {
    let chain = |op: &str, count: usize| {
        let mut graph = Graph::new();
        let x = graph.input("x", spec("float32[n]")).unwrap();
        let mut value = x;
        for _ in 0..count {
            let one = apply(&mut graph, op, "{}", &[value]);
            value = graph.add(one, x).unwrap();
        }
        graph.set_outputs(vec![value]).unwrap();
        support::run(&graph, &[Generator(1).tensor(&spec("float32[300]"), -2.0, 2.0)]);
        clusters(&through(&graph, &["fuse"]))
    };
    assert_eq!(chain("neg", 256), [512]);
    assert_eq!(chain("neg", 257), [512, 2]);
    // A sine counts as 12, so that a device compiles the shader soon.
    assert_eq!(chain("sin", 65), [78, 52]);
}

#[test]
fn a_long_chain_is_one_cluster_with_the_reduction_in_it() {
    let mut graph = Graph::new();
    let x = graph.input("x", spec("float32[n, 40]")).unwrap();
    let mut value = x;
    for _ in 0..250 {
        let negated = apply(&mut graph, "neg", "{}", &[value]);
        value = graph.add(negated, x).unwrap();
    }
    let total = apply(&mut graph, "sum", r#"{"axis": [1], "keepdims": true}"#, &[value]);
    let product = graph.mul(value, total).unwrap();
    graph.set_outputs(vec![product]).unwrap();
    assert_eq!(clusters(&through(&graph, &["fuse"])), [502]);
    support::run(&graph, &[Generator(1).tensor(&spec("float32[6, 40]"), -2.0, 2.0)]);
}

/// The names of a graph's steps, for each cluster what it holds, constants not counted; after all passes.
fn steps(graph: &Graph) -> Vec<String> {
    let made = passes::run(&Arc::new(graph.clone()), passes::OPTIMIZED, &Meter::default(), &mut |_, _| {}).unwrap();
    let names = |graph: &Graph| {
        let nodes = graph.nodes().iter().filter(|node| node.op.def.name != "constant");
        nodes.map(|node| (node.op.def.name, node.regions.clone())).collect::<Vec<_>>()
    };
    let inner = |region: &Arc<Graph>| names(region).iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ");
    let step = |(name, regions): &(&str, Vec<Arc<Graph>>)| regions.first().map_or(name.to_string(), inner);
    names(&made).iter().map(step).collect()
}

#[test]
fn random_bits_are_part_of_the_cluster_that_reads_them() {
    let mut graph = Graph::new();
    let x = graph.input("x", spec("float32[m, n]")).unwrap();
    let key = graph.input("key", spec("uint32[2]")).unwrap();
    let y = apply(&mut graph, "dropout", r#"{"rate": 0.5}"#, &[x, key]);
    graph.set_outputs(vec![y]).unwrap();
    let words = "random_bits bitwise_right_shift bitwise_or bitcast sub less";
    assert_eq!(steps(&graph), [format!("{words} div where")]);

    // The choice, a byte for an element, goes from the cluster of the value to that of the gradient.
    let w = graph.input("w", spec("float32[n, 3]")).unwrap();
    let product = graph.matmul(y, w).unwrap();
    let power = graph.op("exp", &[], &[product]).unwrap();
    let loss = apply(&mut graph, "sum", "{}", &[power]);
    let gradients = grad::grad(&mut graph, loss, &[x, w]).unwrap();
    graph.set_outputs([&[loss], &gradients[..]].concat()).unwrap();
    let found = steps(&graph);
    let clusters: Vec<_> = found.iter().filter(|step| step.contains(' ')).map(String::as_str).collect();
    assert_eq!(clusters, [&format!("{words} div where"), "exp sum", "dot_general div where"], "{found:?}");

    // Words that something else reads come out of the cluster; a node by itself stays one.
    let mut graph = Graph::new();
    let key = graph.input("key", spec("uint32[2]")).unwrap();
    let words = apply(&mut graph, "random_bits", r#"{"shape": ["n", 3]}"#, &[key]);
    let turned = apply(&mut graph, "transpose", "{}", &[words]);
    graph.set_outputs(vec![turned]).unwrap();
    assert_eq!(steps(&graph)[..1], ["random_bits"]);
    let float = graph.cast(words, caudal::DType::F32).unwrap();
    graph.set_outputs(vec![turned, float]).unwrap();
    assert_eq!(steps(&graph)[..1], ["random_bits cast"]);
    let total = apply(&mut graph, "sum", r#"{"axis": [1]}"#, &[float]);
    graph.set_outputs(vec![turned, total]).unwrap();
    assert_eq!(steps(&graph)[..1], ["random_bits cast sum"]);
    // Nothing else has their shape.
    let row = graph.input("row", spec("float32[m, n, 3]")).unwrap();
    let sum = graph.add(row, float).unwrap();
    let wide = apply(&mut graph, "cast", r#"{"dtype": "float64"}"#, &[sum]);
    graph.set_outputs(vec![wide]).unwrap();
    assert_eq!(steps(&graph), ["random_bits cast", "add cast"]);
}

#[test]
fn normalisations_and_losses_are_few_clusters_in_both_directions() {
    const SCALED: &[&str] = &["float32[6, 5]", "float32[5]", "float32[5]"];
    // The steps that go over all elements; others have one for each row or column.
    let table = [
        ("softmax", &SCALED[..1], 1, 1),
        ("log_softmax", &SCALED[..1], 1, 1),
        ("layer_norm", SCALED, 1, 2),
        ("rms_norm", &SCALED[..2], 1, 2),
        ("batch_norm_training", SCALED, 1, 1),
        ("softmax_cross_entropy", &["float32[6, 7]", "int32[6]"], 2, 1),
        ("sigmoid_cross_entropy", &["float32[6, 5]", "float32[6, 5]"], 1, 2),
    ];
    for (name, inputs, forward, backward) in table {
        let mut graph = Graph::new();
        let values: Vec<_> =
            inputs.iter().enumerate().map(|(i, text)| graph.input(&format!("x{i}"), spec(text)).unwrap()).collect();
        let outputs = graph.apply(&support::op(name, "{}").unwrap(), Vec::new(), &values).unwrap();
        graph.set_outputs(outputs[..1].to_vec()).unwrap();
        let over_elements = |graph: &Graph| {
            let made =
                passes::run(&Arc::new(graph.clone()), passes::OPTIMIZED, &Meter::default(), &mut |_, _| {}).unwrap();
            let is_full = |value| {
                let shape = &made.spec(value).shape;
                shape.rank() == 2 && shape.iter().all(|dim| dim.as_constant() != Some(1))
            };
            let full = made.nodes().iter().filter(|node| node.operands().chain(node.outputs()).any(is_full)).count();
            (full, text::print(&made))
        };
        let (count, made) = over_elements(&graph);
        assert_eq!(count, forward, "{name}: {made}");
        let weights = graph.input("weights", graph.spec(outputs[0]).clone()).unwrap();
        let weighted = graph.mul(outputs[0], weights).unwrap();
        let loss = apply(&mut graph, "sum", "{}", &[weighted]);
        let wanted: Vec<_> = values.iter().copied().filter(|value| graph.spec(*value).dtype.is_float()).collect();
        let gradients = grad::grad(&mut graph, loss, &wanted).unwrap();
        graph.set_outputs(gradients).unwrap();
        let (count, made) = over_elements(&graph);
        assert_eq!(count, backward, "{name}: {made}");
    }
}

#[test]
fn what_is_computed_for_each_row_joins_the_cluster_that_alone_reads_it() {
    let steps = |is_output: bool| {
        let mut graph = Graph::new();
        let [x, row] = ["float32[6, 5]", "float32[6, 1]"].map(|text| graph.input(text, spec(text)).unwrap());
        let root = apply(&mut graph, "sqrt", "{}", &[row]);
        let scaled = graph.mul(x, root).unwrap();
        let sum = apply(&mut graph, "sum", r#"{"axis": [1]}"#, &[scaled]);
        graph.set_outputs(if is_output { vec![sum, root] } else { vec![sum] }).unwrap();
        let made = passes::run(&Arc::new(graph), passes::OPTIMIZED, &Meter::default(), &mut |_, _| {}).unwrap();
        made.nodes().len()
    };
    assert_eq!((steps(false), steps(true)), (1, 2));
}

#[test]
fn what_is_cheap_to_compute_from_stored_values_is_computed_again_where_it_is_read() {
    // What is centred along rows is read along columns, in the cluster of a scale's and a shift's gradient.
    let clusters = |op: &str, attrs: &str, dtype: &str, is_output: bool| {
        let mut graph = Graph::new();
        let x = graph.input("x", spec("float32[6, 5]")).unwrap();
        let y = graph.input("y", spec(&format!("{dtype}[6, 5]"))).unwrap();
        let mean = apply(&mut graph, "mean", r#"{"axis": [1], "keepdims": true}"#, &[x]);
        let centred = graph.sub(x, mean).unwrap();
        let centred = apply(&mut graph, op, attrs, &[centred]);
        let squared = graph.mul(centred, centred).unwrap();
        let rows = apply(&mut graph, "sum", r#"{"axis": [1]}"#, &[squared]);
        let product = graph.mul(centred, y).unwrap();
        let [scale, shift] = [product, y].map(|value| apply(&mut graph, "sum", r#"{"axis": [0]}"#, &[value]));
        let outputs = [rows, scale, shift, centred];
        graph.set_outputs(outputs[..3 + usize::from(is_output)].to_vec()).unwrap();
        let made = passes::run(&Arc::new(graph), passes::OPTIMIZED, &Meter::default(), &mut |_, _| {}).unwrap();
        let specs = |node: &Node| node.outputs().map(|value| made.spec(value).to_string()).collect::<Vec<_>>();
        made.nodes().iter().filter(|node| node.op.def.name == "fused").map(specs).collect::<Vec<_>>()
    };
    let (row, column, full) = ("float32[6]", "float32[5]", "float32[6, 5]");
    assert_eq!(clusters("neg", "{}", "float32", false), [vec!["float32[6, 1]", row], vec![column, column]]);
    // It is stored where the graph gives it, where it takes long, or where what it is computed from is wider.
    assert_eq!(clusters("neg", "{}", "float32", true), [vec![full, row], vec![column, column]]);
    assert_eq!(clusters("tanh", "{}", "float32", false), [vec![full, row], vec![column, column]]);
    let (row, column, full) = ("float16[6]", "float16[5]", "float16[6, 5]");
    let narrow = clusters("cast", r#"{"dtype": "float16"}"#, "float16", false);
    assert_eq!(narrow, [vec![full, row], vec![column, column]]);
}

#[test]
fn an_optimizer_is_one_cluster_with_the_product_that_is_its_gradient() {
    let mut graph = Graph::new();
    let inputs = ["float32[b, 8]", "float32[8, 4]", "float32[]", "int64[]", "float32[8, 4]", "float32[8, 4]"];
    let values: Vec<_> =
        inputs.iter().enumerate().map(|(i, text)| graph.input(&format!("x{i}"), spec(text)).unwrap()).collect();
    let [x, w, rate, step, m, v] = values[..] else { panic!("six inputs") };
    let y = graph.matmul(x, w).unwrap();
    let square = graph.mul(y, y).unwrap();
    let loss = apply(&mut graph, "mean", "{}", &[square]);
    let decay = graph.mul(w, w).unwrap();
    let decay = apply(&mut graph, "sum", "{}", &[decay]);
    let loss = graph.add(loss, decay).unwrap();
    let gradients = grad::grad(&mut graph, loss, &[w]).unwrap();
    let adam: Op = support::op("adam", "{}").unwrap();
    let outputs = graph.apply(&adam, Vec::new(), &[w, gradients[0], rate, step, m, v]).unwrap();
    graph.set_outputs(outputs).unwrap();
    let made = passes::run(&Arc::new(graph), passes::OPTIMIZED, &Meter::default(), &mut |_, _| {}).unwrap();
    let updates: Vec<_> = made.outputs().iter().map(|&value| made.producer(value).expect("a node")).collect();
    assert!(updates.iter().all(|node| std::ptr::eq(*node, updates[0])), "{}", text::print(&made));
    let inside = &updates[0].regions[0];
    assert_eq!(count(inside, "dot_general"), 1, "{}", text::print(&made));
}

#[test]
fn a_graph_of_many_constants_inputs_and_requirements_takes_time_in_proportion() {
    let mut graph = Graph::new();
    let mut sum = graph.input("x", spec("float32[]")).unwrap();
    let count = 20_000;
    for index in 0..count {
        let left = graph.input(&format!("left_{index}"), spec(&format!("float32[a{index}]"))).unwrap();
        let right = graph.input(&format!("right_{index}"), spec(&format!("float32[b{index}]"))).unwrap();
        graph.add(left, right).unwrap();
        let constant = graph.scalar(DType::F32, f64::from(index)).unwrap();
        sum = graph.add(sum, constant).unwrap();
    }
    graph.set_outputs(vec![sum]).unwrap();
    assert_eq!((graph.inputs().len(), graph.requirements().len()), (2 * count as usize + 1, count as usize));
    let made = passes::run(&Arc::new(graph), passes::OPTIMIZED, &Meter::default(), &mut |_, _| {}).unwrap();
    assert_eq!(clusters(&made).iter().sum::<usize>(), count as usize);
}

#[test]
fn the_text_says_where_clusters_end_and_why() {
    let before = "graph(%0 x: float32[m, n], %1 w: float32[n, n]) {
  %2 = exp(%0) : float32[m, n]
  %3 = sum(%2) {\"axis\":[1],\"keepdims\":true} : float32[m, 1]
  %4 = div(%2, %3) : float32[m, n]
  %5 = sum(%4) {\"axis\":[0]} : float32[n]
  %6 = neg(%5) : float32[n]
  %7 = exp(%1) : float32[n, n]
  %8 = add(%7, %6) : float32[n, n]
  %9 = tanh(%8) : float32[n, n]
  %10 = dot_general(%4, %9) {\"x_contract\":[1],\"y_contract\":[0]} : float32[m, n]
  %11 = exp(%10) : float32[m, n]
  %12 = sum(%11) {\"axis\":[1]} : float32[m]
  return %12
}";
    let made = through(&text::parse(before).unwrap(), &["fuse"]);
    let explained = passes::explain(&made);
    assert_eq!(text::parse(&explained).as_ref(), Ok(&made));
    let notes: Vec<_> = explained.lines().filter_map(|line| line.split_once("  # ")).map(|(_, note)| note).collect();
    let expected = [
        "ends at %3: a reduction over other axes or of another shape",
        "ends at %4: another shape",
        "ends at %5: dot_general begins its cluster",
        "ends at %6: no reduction follows a product in its cluster",
    ];
    assert_eq!(notes, expected, "{explained}");
}
