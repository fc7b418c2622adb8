//! Random graphs: the bytes choose ops, operands, attrs and dims; what can be built is saved, read, planned and run.

#![no_main]

mod run;

use caudal::graph::{Builder, Notes};
use caudal::json::Json;
use caudal::{AttrType, AttrValue, Attrs, DType, Dim, Op, OpDef, Program, Shape, Spec, Value, ops, save};
use libfuzzer_sys::fuzz_target;

const INTS: [i64; 12] = [0, 1, 2, 3, 4, -1, -2, 7, 64, 1 << 31, i64::MAX, i64::MIN];
const DIMS: [&str; 10] = ["n", "m", "0", "1", "2", "3", "2*n+1", "floordiv(n, 2)", "max(n, m)", "1000000000"];

/// Choices taken from bytes; zeros when they are used up.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn below(&mut self, bound: usize) -> usize {
        match self.0.split_first() {
            Some((&byte, rest)) => {
                self.0 = rest;
                byte as usize % bound
            }
            None => 0,
        }
    }

    fn int(&mut self) -> i64 {
        INTS[self.below(INTS.len())]
    }

    fn dim(&mut self) -> Dim {
        Dim::parse(DIMS[self.below(DIMS.len())]).expect("a dim")
    }

    fn dims(&mut self) -> Vec<Dim> {
        let rank = self.below(5);
        (0..rank).map(|_| self.dim()).collect()
    }

    fn attr(&mut self, kind: AttrType) -> AttrValue {
        match kind {
            AttrType::Bool => AttrValue::Bool(self.below(2) == 0),
            AttrType::Int => AttrValue::Int(self.int()),
            AttrType::Float => AttrValue::Float([0.5, 0.0, -1.0, f64::NAN, 1e300][self.below(5)]),
            AttrType::Text => AttrValue::Text(["same", "valid", "x"][self.below(3)].into()),
            AttrType::DType => AttrValue::DType(DType::ALL[self.below(DType::ALL.len())]),
            AttrType::Dim => AttrValue::Dim(self.dim()),
            AttrType::Ints => {
                let count = self.below(5);
                AttrValue::Ints((0..count).map(|_| self.int()).collect())
            }
            AttrType::Dims => AttrValue::Dims(self.dims()),
            AttrType::Tensor => AttrValue::None,
        }
    }

    fn op(&mut self, defs: &[&'static OpDef]) -> Option<Op> {
        let def = defs[self.below(defs.len())];
        let mut given = Vec::new();
        for attr in def.attrs {
            if attr.default.is_none() || self.below(3) == 0 {
                given.push((attr.name, self.attr(attr.kind)));
            }
        }
        Attrs::new(def, &given).ok().map(|attrs| Op { def, attrs })
    }
}

fuzz_target!(|data: &[u8]| {
    let defs: Vec<_> = ops::all().filter(|def| def.regions.is_empty()).collect();
    let mut choices = Choices(data);
    let mut builder = Builder::new();
    for index in 0..1 + choices.below(3) {
        let dtype = DType::ALL[choices.below(DType::ALL.len())];
        let Ok(shape) = Shape::new(choices.dims()) else { return };
        builder.input(&format!("x{index}"), Spec::new(dtype, shape)).expect("an input");
    }
    while !choices.0.is_empty() && builder.graph.nodes().len() < 32 {
        let Some(op) = choices.op(&defs) else { continue };
        let count = op.def.inputs.len().min(6);
        let values = builder.graph.value_count();
        let inputs: Vec<_> = (0..count).map(|_| Value(choices.below(values) as u32)).collect();
        if let Err(error) = builder.graph.apply(&op, Vec::new(), &inputs) {
            run::blameless(&error);
        }
    }
    builder.graph.verify().expect("what was built keeps the rules");
    let last = builder.graph.value_count() as u32;
    let outputs = (last.saturating_sub(3)..last).map(|value| (format!("y{value}"), Value(value))).collect();
    builder.function("f", outputs, Notes::default()).expect("a function");
    let program = Program::new(&[&builder], Json::Null).expect("a program");
    let limits = run::limits();
    let read = save::read(&save::write(&program).expect("a file"), None).expect("what was written can be read");
    assert_eq!(read, program);
    run::run(program, &limits, data.len() as i64 % 5);
});
