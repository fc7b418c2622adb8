//! Control flow: ops with regions. Regions are closed; what they use from outside are operands of the node.

use crate::attrs::{AttrDef, AttrType, AttrValue, Attrs};
use crate::dtype::{DType, DTypes};
use crate::error::{Error, Result};
use crate::grad::{region_vjp, zeros};
use crate::graph::{Graph, Value, op};
use crate::infer::Infer;
use crate::op::{Backward, Control, InputDef, Meaning, Op, OpDef, Spec, Vjp};
use crate::shape::{Dim, Shape};
use std::sync::Arc;

const OPERANDS: InputDef = InputDef::in_set("operands", DTypes::ALL).variadic(0);

const CARRIED: AttrDef = AttrDef {
    name: "carried",
    kind: AttrType::Int,
    default: None,
    doc: "How many of the first operands are carried from step to step.",
};

fn output_specs(region: &Graph) -> Vec<Spec> {
    region.outputs().iter().map(|&value| region.spec(value).clone()).collect()
}

/// Checks that a region takes exactly these specs.
fn check_region(name: &str, region: &Graph, operands: &[Spec]) -> Result<()> {
    let inputs = region.inputs();
    if inputs.len() != operands.len() {
        let (takes, given) = (inputs.len(), operands.len());
        return Err(Error::argument(format!("the region {name} takes {takes} values, {given} are passed")));
    }
    for (index, (input, operand)) in inputs.iter().zip(operands).enumerate() {
        let spec = region.spec(input.value);
        if spec != operand {
            return Err(Error::shape(format!("the region {name} takes {spec} as value {index}, {operand} is passed")));
        }
    }
    Ok(())
}

/// Checks that carried values keep their specs.
fn check_carried(before: &[Spec], after: &[Spec]) -> Result<()> {
    match before.iter().zip(after).position(|(before, after)| before != after) {
        None => Ok(()),
        Some(index) => {
            let (before, after) = (&before[index], &after[index]);
            Err(Error::shape(format!("the carried value {index} is {before} before a step and {after} after it")))
        }
    }
}

fn operands(infer: &Infer, first: usize) -> Result<Vec<Spec>> {
    (first..infer.inputs.len()).map(|index| infer.input(index).cloned()).collect()
}

/// An attr that counts operands, within how many there are.
fn count(attrs: &Attrs, name: &str, most: usize) -> Result<usize> {
    let given = attrs.int(name)?;
    let fits = usize::try_from(given).ok().filter(|&count| count <= most);
    fits.ok_or_else(|| Error::argument(format!("{name} is {given}, there are {most} operands")).with_argument(name))
}

fn infer_cond(infer: &mut Infer) -> Result<Vec<Spec>> {
    infer.shape_of_rank(0, 0)?;
    let operands = operands(infer, 1)?;
    let [then, otherwise] = infer.regions else { return Err(Error::internal("cond has two regions")) };
    check_region("then", then, &operands)?;
    check_region("else", otherwise, &operands)?;
    let (yes, no) = (output_specs(then), output_specs(otherwise));
    if yes != no {
        let text = |specs: &[Spec]| specs.iter().map(Spec::to_string).collect::<Vec<_>>().join(", ");
        return Err(Error::shape(format!("then gives ({}), else gives ({})", text(&yes), text(&no))));
    }
    Ok(yes)
}

fn infer_while(infer: &mut Infer) -> Result<Vec<Spec>> {
    let operands = operands(infer, 0)?;
    let carried = count(infer.attrs, "carried", operands.len())?;
    if infer.attrs.optional_int("max_steps").is_some_and(|steps| steps < 0) {
        return Err(Error::argument("max_steps is negative").with_argument("max_steps"));
    }
    let [condition, body] = infer.regions else { return Err(Error::internal("while_loop has two regions")) };
    check_region("condition", condition, &operands)?;
    check_region("body", body, &operands)?;
    match &output_specs(condition)[..] {
        [spec] if spec.dtype == DType::Bool && spec.shape.rank() == 0 => {}
        _ => return Err(Error::shape("the region condition must give one bool scalar")),
    }
    let outputs = output_specs(body);
    if outputs.len() != carried {
        return Err(Error::argument(format!("the region body gives {} values, {carried} are carried", outputs.len())));
    }
    check_carried(&operands[..carried], &outputs)?;
    Ok(outputs)
}

fn infer_scan(infer: &mut Infer) -> Result<Vec<Spec>> {
    let mut operands = operands(infer, 0)?;
    let carried = count(infer.attrs, "carried", operands.len())?;
    let sliced = count(infer.attrs, "sliced", operands.len() - carried)?;
    let length = infer.attrs.dim("length")?;
    if length.as_constant().is_some_and(|length| length < 0) {
        return Err(Error::argument(format!("length is {length}")).with_argument("length"));
    }
    for (index, operand) in operands.iter_mut().enumerate().skip(carried).take(sliced) {
        let Some((first, rest)) = operand.shape.split_first() else {
            return Err(Error::shape(format!("operand {index} is a scalar, it has no slices")));
        };
        infer.unify(first, &length)?;
        operand.shape = Shape::new(rest.to_vec())?;
    }
    let [body] = infer.regions else { return Err(Error::internal("scan has one region")) };
    check_region("body", body, &operands)?;
    let mut outputs = output_specs(body);
    if outputs.len() < carried {
        return Err(Error::argument(format!("the region body gives {} values, {carried} are carried", outputs.len())));
    }
    check_carried(&operands[..carried], &outputs[..carried])?;
    for output in &mut outputs[carried..] {
        output.shape = Shape::new(std::iter::once(length.clone()).chain(output.shape.iter().cloned()).collect())?;
    }
    Ok(outputs)
}

fn infer_call(infer: &mut Infer) -> Result<Vec<Spec>> {
    let operands = operands(infer, 0)?;
    let [body] = infer.regions else { return Err(Error::internal("call has one region")) };
    check_region("body", body, &operands)?;
    Ok(output_specs(body))
}

/// An op of this family by name, with attrs.
fn control(name: &str, attrs: &[(&str, AttrValue)]) -> Result<Op> {
    op(name, attrs)
}

fn present(cotangents: &[Option<Value>]) -> (Vec<bool>, Vec<Value>) {
    (cotangents.iter().map(Option::is_some).collect(), cotangents.iter().flatten().copied().collect())
}

/// Puts results for the wanted inputs in their places.
fn spread(wanted: &[bool], results: impl IntoIterator<Item = Value>) -> Vec<Option<Value>> {
    let mut results = results.into_iter();
    wanted.iter().map(|&wanted| if wanted { results.next() } else { None }).collect()
}

/// The gradient of cond is a cond over the gradients of its regions.
fn cond_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let wanted = &b.wanted[1..];
    let (has, cotangents) = present(b.cotangents);
    let regions: Result<Vec<_>> =
        b.regions.iter().map(|region| region_vjp(region, wanted, &has).map(Arc::new)).collect();
    let operands = [b.inputs, &cotangents[..]].concat();
    let results = b.graph.apply(&control("cond", &[])?, regions?, &operands)?;
    Ok([vec![None], spread(wanted, results)].concat())
}

fn call_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let (has, cotangents) = present(b.cotangents);
    let region = Arc::new(region_vjp(&b.regions[0], b.wanted, &has)?);
    let operands = [b.inputs, &cotangents[..]].concat();
    let results = b.graph.apply(&control("call", &[])?, vec![region], &operands)?;
    Ok(spread(b.wanted, results))
}

/// A loop of at most n steps is a scan over n steps, each of which does nothing once the condition is false; its
/// stack of carried values is what the gradient keeps.
fn while_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let Some(steps) = b.attrs.optional_int("max_steps") else {
        return Err(Error::unsupported("a loop without max_steps has no gradient; give it max_steps"));
    };
    let carried = b.attrs.int("carried")?;
    let body = Arc::new(guarded_step(&b.regions[0], &b.regions[1], carried as usize)?);
    let attrs = scan_attrs(carried, 0, &Dim::constant(steps), false);
    let attrs = control("scan", &attrs)?.attrs;
    let outputs = b.outputs;
    let mut scan = Backward {
        graph: &mut *b.graph,
        attrs: &attrs,
        regions: &[body],
        inputs: b.inputs,
        outputs,
        cotangents: b.cotangents,
        wanted: b.wanted,
    };
    scan_vjp(&mut scan)
}

/// One step of a loop as a region: the body where the condition holds, else the carried values as they are.
fn guarded_step(condition: &Graph, body: &Arc<Graph>, carried: usize) -> Result<Graph> {
    let mut keep = Graph::new();
    let mut step = Graph::new();
    let (mut kept, mut operands) = (Vec::new(), Vec::new());
    for (index, input) in body.inputs().iter().enumerate() {
        let spec = body.spec(input.value);
        kept.push(keep.input(&format!("value_{index}"), spec.clone())?);
        operands.push(step.input(&format!("value_{index}"), spec.clone())?);
    }
    kept.truncate(carried);
    keep.set_outputs(kept)?;
    let holds = step.inline(condition, &operands)?[0];
    let operands = [&[holds], &operands[..]].concat();
    let keep = planted!("grad: a loop's step after its condition is false", Arc::new(keep), body.clone());
    let outputs = step.apply(&control("cond", &[])?, vec![body.clone(), keep], &operands)?;
    step.set_outputs(outputs)?;
    Ok(step)
}

fn scan_attrs(carried: i64, sliced: i64, length: &Dim, reverse: bool) -> [(&'static str, AttrValue); 4] {
    [
        ("carried", AttrValue::Int(carried)),
        ("sliced", AttrValue::Int(sliced)),
        ("length", AttrValue::Dim(length.clone())),
        ("reverse", AttrValue::Bool(reverse)),
    ]
}

/// The parts of a scan's operands and of its gradient.
struct ScanGradient<'a> {
    body: &'a Arc<Graph>,
    carried: usize,
    sliced: usize,
    length: Dim,
    reverse: bool,
    /// Which inputs of the body get a cotangent: all floating-point carried values, else those wanted.
    wanted: Vec<bool>,
    /// Which outputs of the body have a cotangent: all floating-point carried values, else those given.
    has: Vec<bool>,
}

/// The gradient of a scan is a scan the other way round. Its steps need the carried values that the forward steps
/// saw, which a second forward scan stacks; each step computes the body again rather than keep what is in it.
fn scan_vjp(b: &mut Backward) -> Result<Vec<Option<Value>>> {
    let body = &b.regions[0];
    let (carried, sliced) = (b.attrs.int("carried")? as usize, b.attrs.int("sliced")? as usize);
    let is_float = |value: Value| body.spec(value).dtype.is_float();
    let wanted = body.inputs().iter().enumerate();
    let wanted = wanted.map(|(index, input)| if index < carried { is_float(input.value) } else { b.wanted[index] });
    let has = body.outputs().iter().enumerate();
    let has =
        has.map(|(index, &output)| if index < carried { is_float(output) } else { b.cotangents[index].is_some() });
    let (wanted, has) = (wanted.collect(), has.collect());
    let (length, reverse) = (b.attrs.dim("length")?, b.attrs.bool("reverse")?);
    let gradient = ScanGradient { body, carried, sliced, length, reverse, wanted, has };
    let stacked = gradient.stack_carried(b)?;
    let step = Arc::new(gradient.backward_step()?);

    // Operands: cotangents of carried values, sums for captures | stacked carried values, slices, cotangents of
    // outputs | captures.
    let mut operands = gradient.initial(b)?;
    let first_slice = operands.len();
    operands.extend(&stacked);
    operands.extend(&b.inputs[carried..carried + sliced]);
    operands.extend(b.cotangents[carried..].iter().flatten());
    let captures = operands.len();
    operands.extend(&b.inputs[carried + sliced..]);
    let reverse = planted!("grad: scan goes forward again", !gradient.reverse, gradient.reverse);
    let attrs = scan_attrs(first_slice as i64, (captures - first_slice) as i64, &gradient.length, reverse);
    let results = b.graph.apply(&control("scan", &attrs)?, vec![step], &operands)?;
    Ok(gradient.places(b.wanted, &results))
}

impl ScanGradient<'_> {
    fn captures(&self) -> std::ops::Range<usize> {
        self.carried + self.sliced..self.body.inputs().len()
    }

    fn wanted_in(&self, range: std::ops::Range<usize>) -> impl Iterator<Item = usize> {
        range.filter(|&index| self.wanted[index])
    }

    fn input_spec(&self, index: usize) -> Spec {
        self.body.spec(self.body.inputs()[index].value).clone()
    }

    /// The forward scan again, with the carried values of each step as its outputs.
    fn stack_carried(&self, b: &mut Backward) -> Result<Vec<Value>> {
        let mut region = Graph::new();
        let mut arguments = Vec::new();
        for index in 0..self.body.inputs().len() {
            arguments.push(region.input(&format!("value_{index}"), self.input_spec(index))?);
        }
        let mut outputs = region.inline(self.body, &arguments)?;
        outputs.truncate(self.carried);
        outputs.extend(&arguments[..self.carried]);
        region.set_outputs(outputs)?;
        let attrs = scan_attrs(self.carried as i64, self.sliced as i64, &self.length, self.reverse);
        let results = b.graph.apply(&control("scan", &attrs)?, vec![Arc::new(region)], b.inputs)?;
        Ok(results[self.carried..].to_vec())
    }

    /// The carried values that the backward scan starts with.
    fn initial(&self, b: &mut Backward) -> Result<Vec<Value>> {
        let mut initial = Vec::new();
        for index in self.wanted_in(0..self.carried) {
            initial.push(match b.cotangents[index] {
                Some(cotangent) => cotangent,
                None => zeros(b.graph, &self.input_spec(index), &Shape::of(&[]))?,
            });
        }
        for index in self.wanted_in(self.captures()) {
            initial.push(zeros(b.graph, &self.input_spec(index), &Shape::of(&[]))?);
        }
        Ok(initial)
    }

    /// The body of the backward scan; its inputs are laid out as the operands in [`scan_vjp`].
    fn backward_step(&self) -> Result<Graph> {
        let vjp = region_vjp(self.body, &self.wanted, &self.has)?;
        let mut step = Graph::new();
        let input = |step: &mut Graph, spec: Spec| step.input(&format!("value_{}", step.inputs().len()), spec);
        let mut cotangents = Vec::new();
        for index in self.wanted_in(0..self.carried) {
            cotangents.push(input(&mut step, self.input_spec(index))?);
        }
        let mut sums = Vec::new();
        for index in self.wanted_in(self.captures()) {
            sums.push(input(&mut step, self.input_spec(index))?);
        }
        let mut primals = Vec::new();
        for index in 0..self.carried + self.sliced {
            primals.push(input(&mut step, self.input_spec(index))?);
        }
        for (&output, _) in self.body.outputs().iter().zip(&self.has).skip(self.carried).filter(|(_, has)| **has) {
            cotangents.push(input(&mut step, self.body.spec(output).clone())?);
        }
        for index in self.captures() {
            primals.push(input(&mut step, self.input_spec(index))?);
        }
        let results = step.inline(&vjp, &[&primals[..], &cotangents[..]].concat())?;
        let carried = self.wanted_in(0..self.carried).count();
        let sliced = self.wanted_in(self.carried..self.carried + self.sliced).count();
        let mut outputs = results[..carried].to_vec();
        for (&sum, &more) in sums.iter().zip(&results[carried + sliced..]) {
            outputs.push(step.add(sum, more)?);
        }
        outputs.extend(&results[carried..carried + sliced]);
        step.set_outputs(outputs)?;
        Ok(step)
    }

    /// The results of the backward scan (carried, captures, slices) in the places of the inputs.
    fn places(&self, wanted: &[bool], results: &[Value]) -> Vec<Option<Value>> {
        let mut places = vec![None; wanted.len()];
        let order = self.wanted_in(0..self.carried).chain(self.wanted_in(self.captures()));
        let order: Vec<_> = order.chain(self.wanted_in(self.carried..self.carried + self.sliced)).collect();
        for (&result, index) in results.iter().zip(order) {
            places[index] = Some(result).filter(|_| wanted[index]);
        }
        places
    }
}

/// The family.
pub static OPS: &[OpDef] = &[
    OpDef {
        name: "cond",
        version: 1,
        doc: "Runs the region `then` if the predicate is true, else the region `else`, on the operands. Both give \
            values of the same specs.",
        dtypes: DTypes::ALL,
        inputs: &[InputDef::in_set("predicate", DTypes::BOOL), OPERANDS],
        outputs: &[],
        attrs: &[],
        regions: &["then", "else"],
        infer: infer_cond,
        meaning: Meaning::Control(Control::Cond),
        vjp: Vjp::Rule(cond_vjp),
        samples: &[],
    },
    OpDef {
        name: "while_loop",
        version: 1,
        doc: "Runs the region `body` as long as the region `condition` gives true. Both take all operands; `body` gives \
            the carried ones anew, the others stay as they are. With `max_steps` it stops after so many steps, and has \
            a gradient, which keeps the carried values of each step.",
        dtypes: DTypes::ALL,
        inputs: &[OPERANDS],
        outputs: &[],
        attrs: &[
            CARRIED,
            AttrDef {
                name: "max_steps",
                kind: AttrType::Int,
                default: Some("null"),
                doc: "The most steps it makes; left out, there is no bound and no gradient.",
            },
        ],
        regions: &["condition", "body"],
        infer: infer_while,
        meaning: Meaning::Control(Control::WhileLoop),
        vjp: Vjp::Rule(while_vjp),
        samples: &[],
    },
    OpDef {
        name: "scan",
        version: 1,
        doc: "Runs the region `body` once for each slice along the first axis of the sliced operands. `body` takes the \
            carried operands, one slice of each sliced one and the remaining operands; it gives the carried ones anew \
            and values that are stacked along a new first axis. The outputs are the last carried values and the stacks.",
        dtypes: DTypes::ALL,
        inputs: &[OPERANDS],
        outputs: &[],
        attrs: &[
            CARRIED,
            AttrDef {
                name: "sliced",
                kind: AttrType::Int,
                default: Some("0"),
                doc: "How many of the operands after the carried ones are sliced.",
            },
            AttrDef { name: "length", kind: AttrType::Dim, default: None, doc: "How many slices: steps it makes." },
            AttrDef {
                name: "reverse",
                kind: AttrType::Bool,
                default: Some("false"),
                doc: "Whether it goes from the last slice to the first.",
            },
        ],
        regions: &["body"],
        infer: infer_scan,
        meaning: Meaning::Control(Control::Scan),
        vjp: Vjp::Rule(scan_vjp),
        samples: &[],
    },
    OpDef {
        name: "call",
        version: 1,
        doc: "Runs its region on the operands.",
        dtypes: DTypes::ALL,
        inputs: &[OPERANDS],
        outputs: &[],
        attrs: &[],
        regions: &["body"],
        infer: infer_call,
        meaning: Meaning::Control(Control::Call),
        vjp: Vjp::Rule(call_vjp),
        samples: &[],
    },
];
