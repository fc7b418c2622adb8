//! Steps with regions.

use super::catalogue::Wanted;
use super::graph::{Maker, Mode, Scope, Steps};
use super::recipe::Step;
use caudal::graph::op;
use caudal::{AttrValue, DType, Dim, Graph, Shape, Spec, Value};
use std::sync::Arc;

/// The kinds of regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Cond,
    While,
    BoundedWhile,
    Scan,
    Call,
}

impl Kind {
    pub const ALL: &[Kind] = &[Kind::Cond, Kind::While, Kind::BoundedWhile, Kind::Scan, Kind::Call];
    /// Those with a gradient.
    pub const SMOOTH: &[Kind] = &[Kind::Cond, Kind::BoundedWhile, Kind::Scan, Kind::Call];
}

fn any(spec: &Spec) -> Wanted {
    Wanted { spec: spec.clone(), range: None }
}

fn scalar(dtype: DType) -> Spec {
    Spec::new(dtype, Shape::of(&[]))
}

impl Maker<'_> {
    /// A step of that kind, with one of the kind `inner` in it, or whatever steps say.
    pub fn region(&mut self, scope: &mut Scope, kind: Kind, inner: Option<Kind>, step: &Step, steps: &mut Steps) {
        if scope.pool.is_empty() {
            let shape = Shape::of(&[i64::from(step.tweak % 4), 2]);
            let value = self.fresh(scope, &Spec::new(DType::F64, shape), None);
            scope.pool.push(value);
        }
        let count = 1 + step.tweak as usize % 3;
        // Captures: any values, possibly one twice; the latest first.
        let pick =
            |index: usize| scope.pool[scope.pool.len() - 1 - usize::from(step.operands[index]) % scope.pool.len()];
        let operands: Vec<_> = (0..count).map(pick).collect();
        let symbolic = operands.iter().any(|&value| !scope.graph.spec(value).shape.is_constant());
        let body = Body { kind, inner, step: *step, operands };
        let outputs = match kind {
            Kind::Cond => self.cond(scope, body, steps),
            Kind::Call => self.call(scope, body, steps),
            Kind::While | Kind::BoundedWhile => self.while_loop(scope, body, steps),
            Kind::Scan => self.scan(scope, body, steps),
        };
        scope.pool.extend(outputs);
        match scope.around.last() {
            Some(outer) => self.coverage.count(format!("{kind:?} in {outer:?}")),
            None => self.coverage.count(format!("{kind:?}")),
        }
        if symbolic {
            self.coverage.count(format!("{kind:?} with a symbol"));
        }
        if self.mode == Mode::Smooth {
            self.coverage.count(format!("gradient {kind:?}"));
        }
    }

    /// A region with inputs of these specs, and one or two steps in it.
    fn inside(&mut self, scope: &Scope, body: &Body, specs: &[Spec], steps: &mut Steps) -> Scope {
        let around = scope.around.iter().copied().chain([body.kind]).collect();
        let mut inside = Scope { graph: Graph::new(), pool: Vec::new(), around };
        for (index, spec) in specs.iter().enumerate() {
            let value = inside.graph.input(&format!("a{index}"), spec.clone()).unwrap();
            inside.pool.push(value);
        }
        if let Some(kind) = body.inner {
            let step = steps.next().unwrap_or(body.step);
            self.region(&mut inside, kind, None, &step, steps);
        }
        for _ in 0..body.step.tweak / 4 % 3 {
            self.step(&mut inside, steps);
        }
        inside
    }

    /// Values of these specs from what is in a region, the latest first.
    fn fitted(&mut self, scope: &mut Scope, specs: &[Spec], choices: &[u16]) -> Vec<Value> {
        let mut values = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            // Never a new value: what a region gives depends on what it takes.
            let choice = choices[index % choices.len()];
            let same = scope.pool.iter().rev().copied().filter(|&value| scope.graph.spec(value) == spec);
            let same: Vec<_> = same.collect();
            values.push(match same.get(usize::from(choice / 4) % same.len().max(1)) {
                Some(&value) if choice % 4 != 1 => value,
                _ => {
                    let value = scope.pool[usize::from(choice / 4) % scope.pool.len()];
                    self.adapt(scope, value, spec)
                }
            });
        }
        values
    }

    fn close(&mut self, mut scope: Scope, outputs: Vec<Value>) -> Arc<Graph> {
        scope.graph.set_outputs(outputs).unwrap();
        Arc::new(scope.graph)
    }

    fn specs(scope: &Scope, values: &[Value]) -> Vec<Spec> {
        values.iter().map(|&value| scope.graph.spec(value).clone()).collect()
    }

    fn cond(&mut self, scope: &mut Scope, body: Body, steps: &mut Steps) -> Vec<Value> {
        let predicate = self.operand(scope, &any(&scalar(DType::Bool)), body.step.operands[3]);
        let specs = Self::specs(scope, &body.operands);
        let mut then = self.inside(scope, &body, &specs, steps);
        let mut yes = self.outputs(&then, &body.ends());
        yes.truncate(3);
        let results = Self::specs(&then, &yes);
        then.graph.set_outputs(yes).unwrap();
        let mut otherwise = self.inside(scope, &Body { inner: None, ..body.clone() }, &specs, steps);
        let no = self.fitted(&mut otherwise, &results, &body.step.operands);
        let regions = vec![Arc::new(then.graph), self.close(otherwise, no)];
        let operands = [&[predicate][..], &body.operands].concat();
        apply(scope, "cond", &[], regions, &operands)
    }

    fn call(&mut self, scope: &mut Scope, body: Body, steps: &mut Steps) -> Vec<Value> {
        let specs = Self::specs(scope, &body.operands);
        let inside = self.inside(scope, &body, &specs, steps);
        let outputs = self.outputs(&inside, &body.ends());
        let region = self.close(inside, outputs);
        apply(scope, "call", &[], vec![region], &body.operands)
    }

    /// Carries a counter, which ends the loop, and some of the operands.
    fn while_loop(&mut self, scope: &mut Scope, body: Body, steps: &mut Steps) -> Vec<Value> {
        let tweak = body.step.tweak / 16;
        let carried = 1 + tweak as usize % (body.operands.len() + 1);
        let zero = scope.graph.scalar(DType::I32, 0.0).unwrap();
        let operands = [&[zero][..], &body.operands].concat();
        let specs = Self::specs(scope, &operands);
        let mut condition = Scope { graph: Graph::new(), pool: Vec::new(), around: scope.around.clone() };
        condition.around.push(body.kind);
        for (index, spec) in specs.iter().enumerate() {
            let value = condition.graph.input(&format!("a{index}"), spec.clone()).unwrap();
            condition.pool.push(value);
        }
        let limit = condition.graph.scalar(DType::I32, f64::from(tweak / 4 % 5)).unwrap();
        let counter = condition.pool[0];
        let mut holds = condition.graph.less(counter, limit).unwrap();
        if self.mode != Mode::Smooth && tweak % 2 == 1 {
            let also = self.fitted(&mut condition, &[scalar(DType::Bool)], &body.step.operands[4..])[0];
            holds = condition.graph.logical_and(holds, also).unwrap();
        }
        let condition = self.close(condition, vec![holds]);
        let mut inside = self.inside(scope, &body, &specs, steps);
        let one = inside.graph.scalar(DType::I32, 1.0).unwrap();
        let counter = inside.pool[0];
        let next = inside.graph.add(counter, one).unwrap();
        let others = self.fitted(&mut inside, &specs[1..carried], &body.step.operands);
        let outputs = [&[next][..], &others].concat();
        let region = self.close(inside, outputs);
        let mut attrs = vec![("carried", AttrValue::Int(carried as i64))];
        if body.kind == Kind::BoundedWhile {
            attrs.push(("max_steps", AttrValue::Int(i64::from(tweak / 32 % 5))));
        }
        apply(scope, "while_loop", &attrs, vec![condition, region], &operands)
    }

    /// Goes over the first axis of one operand, if one has axes; carries some, captures the others.
    fn scan(&mut self, scope: &mut Scope, body: Body, steps: &mut Steps) -> Vec<Value> {
        let tweak = body.step.tweak / 16;
        let rank = |value: &Value| scope.graph.spec(*value).shape.rank();
        let (sliced, rest): (Vec<_>, Vec<_>) = body.operands.iter().copied().partition(|value| rank(value) > 0);
        let length = match sliced.first() {
            Some(&first) => scope.graph.spec(first).shape[0].clone(),
            None => Dim::constant(i64::from(tweak % 4)),
        };
        let same = |value: &Value| scope.graph.spec(*value).shape[0] == length;
        let (sliced, others): (Vec<_>, Vec<_>) = sliced.into_iter().partition(same);
        let mut plain = [rest, others].concat();
        // A carried value there always is, so that steps depend on those before.
        let carry = usize::from(plain.is_empty()) + tweak as usize / 4 % (plain.len() + 1);
        if plain.is_empty() {
            plain.push(self.operand(scope, &any(&scalar(DType::F64)), body.step.operands[4]));
        }
        let operands = [&plain[..carry], &sliced, &plain[carry..]].concat();
        let mut specs = Self::specs(scope, &operands);
        for spec in &mut specs[carry..carry + sliced.len()] {
            spec.shape = Shape::new(spec.shape[1..].to_vec()).unwrap();
        }
        let mut inside = self.inside(scope, &body, &specs, steps);
        let mut outputs = self.fitted(&mut inside, &specs[..carry], &body.step.operands);
        let mut stacked = self.outputs(&inside, &body.ends());
        stacked.truncate(2);
        outputs.extend(stacked);
        let region = self.close(inside, outputs);
        let attrs = [
            ("carried", AttrValue::Int(carry as i64)),
            ("sliced", AttrValue::Int(sliced.len() as i64)),
            ("length", AttrValue::Dim(length)),
            ("reverse", AttrValue::Bool(tweak / 64 % 2 == 1)),
        ];
        apply(scope, "scan", &attrs, vec![region], &operands)
    }
}

#[derive(Clone)]
struct Body {
    kind: Kind,
    inner: Option<Kind>,
    step: Step,
    operands: Vec<Value>,
}

impl Body {
    fn ends(&self) -> [u16; 8] {
        let mut ends = [0; 8];
        ends[..6].copy_from_slice(&self.step.operands);
        ends
    }
}

fn apply(
    scope: &mut Scope,
    name: &str,
    attrs: &[(&str, AttrValue)],
    regions: Vec<Arc<Graph>>,
    operands: &[Value],
) -> Vec<Value> {
    let op = op(name, attrs).unwrap();
    scope.graph.apply(&op, regions, operands).unwrap_or_else(|error| panic!("{name} of a fitting region: {error}"))
}
