//! What random programs are made of: each op in each of its dtypes, with inputs as its samples have them.

use super::recipe::Focus;
use super::regions::Kind;
use crate::support;
use caudal::graph::{check_inputs, infer};
use caudal::op::{Accepts, Sample, Vjp};
use caudal::shape::Bindings;
use caudal::{DType, Dim, Op, OpDef, Shape, Spec, ops};
use std::collections::BTreeSet;

/// A sample that is larger than this is left to `samples.rs`.
const MOST_ELEMENTS: usize = 600;

/// An input of a case: its spec, and the range that the sample draws from.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub spec: Spec,
    pub range: Option<(f64, f64)>,
}

/// A sample of an op in one dtype.
#[derive(Debug)]
pub struct Case {
    pub op: Op,
    pub dtype: DType,
    pub inputs: Vec<Option<Wanted>>,
    /// The sizes that a symbol can stand for: inference takes it in their place.
    pub symbolic: Vec<usize>,
}

impl Case {
    fn new(def: &'static OpDef, sample: &Sample, dtype: DType) -> Option<Case> {
        let inputs = sample.inputs.iter().enumerate();
        let inputs = inputs.map(|(index, text)| wanted(def, index, text, dtype)).collect();
        let op = support::op(def.name, sample.attrs).unwrap_or_else(|error| panic!("{}: {error}", def.name));
        let mut case = Case { op, dtype, inputs, symbolic: Vec::new() };
        if case.elements() > MOST_ELEMENTS || !fits(&case.op, &case.inputs, &Bindings::new()) {
            return None;
        }
        let symbol = Dim::symbol("n").unwrap();
        let works = |size: usize| {
            let mut sizes = Bindings::new();
            sizes.set(&"n".into(), size as i64);
            fits(&case.op, &case.with_size(size, &symbol), &sizes)
        };
        case.symbolic = case.sizes().into_iter().filter(|&size| works(size)).collect();
        Some(case)
    }

    fn elements(&self) -> usize {
        let count = |wanted: &Wanted| wanted.spec.shape.sizes().map_or(0, |sizes| sizes.iter().product());
        self.inputs.iter().flatten().map(count).max().unwrap_or(0)
    }

    /// The different sizes in the inputs.
    pub fn sizes(&self) -> Vec<usize> {
        let sizes = self.inputs.iter().flatten().filter_map(|wanted| wanted.spec.shape.sizes());
        sizes.flatten().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The inputs with another dim wherever they have this size.
    pub fn with_size(&self, size: usize, dim: &Dim) -> Vec<Option<Wanted>> {
        let replace = |wanted: &Wanted| {
            let dims = wanted.spec.shape.iter();
            let dims = dims.map(|old| if old.as_constant() == Some(size as i64) { dim.clone() } else { old.clone() });
            let shape = Shape::new(dims.collect()).unwrap();
            Wanted { spec: Spec::new(wanted.spec.dtype, shape), range: wanted.range }
        };
        self.inputs.iter().map(|wanted| wanted.as_ref().map(replace)).collect()
    }

    /// Whether gradients go through it in `float64`, and every float that it gives is one.
    fn is_smooth(&self) -> bool {
        let specs: Vec<_> = self.inputs.iter().map(|wanted| wanted.as_ref().map(|wanted| &wanted.spec)).collect();
        let wide = |spec: &Spec| !spec.dtype.is_float() || spec.dtype == DType::F64;
        let (outputs, _) = infer(&self.op, &specs, &[]).unwrap();
        !matches!(self.op.def.vjp, Vjp::NotDifferentiable(_))
            && self.dtype == DType::F64
            && specs.iter().flatten().any(|spec| spec.dtype == DType::F64)
            && outputs.iter().all(wide)
            && outputs.iter().any(|spec| spec.dtype == DType::F64)
    }
}

/// An input of a sample, `T[2, 3] in 0..1`; one that takes the op's dtype has that dtype whatever the sample says.
fn wanted(def: &OpDef, index: usize, text: &str, dtype: DType) -> Option<Wanted> {
    if text == "-" {
        return None;
    }
    let (spec, range) = text.split_once(" in ").map_or((text, None), |(spec, range)| (spec, Some(range)));
    let mut spec = support::spec(&spec.replace('T', dtype.name()));
    if def.input(index).is_some_and(|input| input.accepts == Accepts::T) {
        spec.dtype = dtype;
    }
    let range = range.map(|range| range.split_once("..").expect("a range has two ends"));
    let range = range.map(|(low, high)| (low.parse().expect("a number"), high.parse().expect("a number")));
    Some(Wanted { spec, range })
}

/// Whether the op takes these inputs at these sizes, and gives nothing large.
pub fn fits(op: &Op, inputs: &[Option<Wanted>], sizes: &Bindings) -> bool {
    let specs: Vec<_> = inputs.iter().map(|wanted| wanted.as_ref().map(|wanted| &wanted.spec)).collect();
    let env = |name: &str| sizes.get(name);
    let small = |spec: &Spec| {
        let sizes = spec.shape.evaluate(&env);
        sizes.is_ok_and(|sizes| sizes.iter().try_fold(1usize, |all, &size| all.checked_mul(size)) <= Some(1 << 20))
    };
    if !check_inputs(op.def, &specs).is_ok_and(|casts| casts.is_empty()) {
        return false;
    }
    let known = op.attrs.map_dims(|dim| dim.evaluate(&env).map(Dim::constant));
    match (infer(op, &specs, &[]), known) {
        (Ok((outputs, constraints)), Ok(_)) => {
            outputs.iter().all(small) && constraints.iter().all(|constraint| constraint.holds(&env).unwrap_or(false))
        }
        _ => false,
    }
}

/// All cases.
pub struct Catalogue {
    pub cases: Vec<Case>,
    /// The positions of the cases of each op in each dtype.
    pairs: Vec<Vec<usize>>,
    /// The positions of the cases that gradient programs use.
    pub smooth: Vec<usize>,
}

impl Catalogue {
    pub fn new() -> Catalogue {
        let mut cases = Vec::new();
        for def in ops::all() {
            let takes_any = def.inputs.iter().any(|input| input.accepts == Accepts::T);
            for dtype in def.dtypes.iter().take(if takes_any { usize::MAX } else { 1 }) {
                cases.extend(def.samples.iter().filter_map(|sample| Case::new(def, sample, dtype)));
            }
        }
        let smooth = (0..cases.len()).filter(|&index| cases[index].is_smooth()).collect();
        let mut pairs: Vec<Vec<usize>> = Vec::new();
        for (index, case) in cases.iter().enumerate() {
            match pairs.last_mut() {
                Some(pair) if cases[pair[0]].op.def == case.op.def && cases[pair[0]].dtype == case.dtype => {
                    pair.push(index)
                }
                _ => pairs.push(vec![index]),
            }
        }
        Catalogue { cases, pairs, smooth }
    }

    /// What the program of a number begins with: one in five with a region, the others with one op in one dtype after
    /// the other, without a symbolic dim and with one in turn.
    pub fn focus(&self, number: usize) -> Focus {
        let round = number / 5;
        if number.is_multiple_of(5) {
            let kinds = Kind::ALL.len();
            return Focus::Region {
                kind: round % kinds,
                inner: round / kinds % kinds,
                symbolic: round.is_multiple_of(3),
            };
        }
        let turn = number - round - 1;
        self.case_focus(turn, turn / self.pairs.len() % 2 == 1)
    }

    /// One op in one dtype after the other; each time they come round it is another sample.
    pub fn case_focus(&self, turn: usize, symbolic: bool) -> Focus {
        // A prime, so that all are visited, each far from the one before.
        let pair = &self.pairs[turn * 7919 % self.pairs.len()];
        let able: Vec<_> =
            pair.iter().copied().filter(|&index| !symbolic || !self.cases[index].symbolic.is_empty()).collect();
        let samples = if able.is_empty() { pair } else { &able };
        Focus::Case { index: samples[turn / self.pairs.len() / 2 % samples.len()], symbolic }
    }

    /// The same for programs with gradients; one in four begins with a region.
    pub fn smooth_focus(&self, number: usize) -> Focus {
        if !number.is_multiple_of(4) {
            return Focus::Case { index: self.smooth[number % self.smooth.len()], symbolic: number.is_multiple_of(5) };
        }
        let smooth = |number: usize| {
            let kind = Kind::SMOOTH[number % Kind::SMOOTH.len()];
            Kind::ALL.iter().position(|other| *other == kind).expect("a smooth kind is a kind")
        };
        Focus::Region { kind: smooth(number / 4), inner: smooth(number / 16), symbolic: number.is_multiple_of(3) }
    }
}
