//! The executor: a plan's steps, one after the other, as a state machine that can stop between and inside steps.
//!
//! Where it stands is a stack of frames, one for each block that has begun; there is no recursion.

use super::checked::{Ended, Stage, Subject};
use crate::cpu::engine::{self, Address, Memories, Operand, Program};
use crate::cpu::memory::Buffer;
use crate::cpu::single::stopped;
use crate::cpu::work::{Cursor, Stop, Watch, Work};
use crate::error::{Error, Result};
use crate::graph::{Node, Value};
use crate::op::{Control, Meaning};
use crate::plan::instance::{BlockInstance, Instance};
use crate::plan::{Action, Block, Place, Plan, Step};
use crate::tensor::Tensor;
use std::sync::Arc;

/// Whether a run has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Every step is done.
    Done,
    /// The pause time passed; the run can go on.
    Paused,
}

/// Where a loop stands; kept in the frame that runs the loop's step.
struct Loop {
    iteration: usize,
    length: usize,
    /// Whether the condition runs, not the body.
    in_condition: bool,
    /// Where the carried values are now.
    carried: Vec<Address>,
}

/// A block that has begun.
struct Frame {
    block: usize,
    step: usize,
    /// Where the block's memory starts.
    base: Address,
    inputs: Vec<Address>,
    outputs: Vec<Address>,
    /// The loop that the current step runs.
    running: Option<Loop>,
}

/// A run of a plan.
pub struct Execution {
    plan: Arc<Plan>,
    instance: Arc<Instance>,
    memories: Memories,
    /// The address of the first constant; the others follow.
    constants: usize,
    arena: Address,
    outputs: Vec<Address>,
    frames: Vec<Frame>,
    cursor: Cursor,
    checked: bool,
    /// Where the run stands in the current step.
    stage: Stage,
}

impl Execution {
    /// A run on these inputs, with memory for the plan and for each output.
    pub fn new(
        plan: Arc<Plan>,
        instance: Arc<Instance>,
        inputs: Vec<Tensor>,
        arena: Buffer,
        outputs: Vec<Buffer>,
    ) -> Execution {
        let mut memories = Memories::default();
        for constant in &plan.constants {
            memories.share(constant.clone());
        }
        let inputs = inputs.into_iter().map(|input| memories.share(input)).collect();
        let arena = memories.own(arena);
        let outputs: Vec<_> = outputs.into_iter().map(|output| memories.own(output)).collect();
        let frame =
            Frame { block: plan.entry(), step: 0, base: arena, inputs, outputs: outputs.clone(), running: None };
        Execution {
            plan,
            instance,
            memories,
            constants: 0,
            arena,
            outputs,
            frames: vec![frame],
            cursor: Cursor::default(),
            checked: false,
            stage: Stage::Run,
        }
    }

    /// Whether operands and results are looked at; to be said before the run begins.
    pub fn set_checked(&mut self, checked: bool) {
        self.checked = checked;
        self.begin_step();
    }

    /// Goes on until the end, or until the watch says to stop.
    ///
    /// # Errors
    /// `cancelled`, `deadline`: as the watch says. The run cannot go on then.
    pub fn advance(&mut self, watch: &Watch) -> Result<Progress> {
        let mut first = true;
        while let Some(frame) = self.frames.last() {
            let plan = self.plan.clone();
            let block = &plan.blocks[frame.block];
            let Some(step) = block.steps.get(frame.step) else {
                self.frames.pop();
                self.returned()?;
                continue;
            };
            match watch.look(!first) {
                Some(Stop::Paused) => return Ok(Progress::Paused),
                Some(stop) => return Err(stopped(stop)),
                None => first = false,
            }
            let outcome = match (&step.action, self.stage) {
                (Action::Control(control, blocks), Stage::Run) => {
                    let entered = self.enter(*control, blocks);
                    entered.map_err(|error| self.place(error))?;
                    continue;
                }
                (_, Stage::Run) => self.run(block, step, watch)?,
                _ => self.check(block, step, watch).map_err(|error| self.place(error))?,
            };
            match outcome {
                Ok(()) => self.end_stage(),
                Err(Stop::Paused) => return Ok(Progress::Paused),
                // That the step ran just then says nothing about its op.
                Err(stop @ (Stop::Cancelled | Stop::Deadline)) => return Err(stopped(stop)),
                Err(stop) => return Err(self.place(stopped(stop))),
            }
        }
        Ok(Progress::Done)
    }

    /// The outputs' and the plan's memory, when the run is done.
    pub fn into_memory(mut self) -> (Vec<Buffer>, Option<Buffer>) {
        let outputs = self.outputs.iter().filter_map(|output| self.memories.take(output.block)).collect();
        (outputs, self.memories.take(self.arena.block))
    }

    /// Names the op of the current step and its line; of a composite's steps, the composite.
    fn place(&self, error: Error) -> Error {
        let composite = |node: &&Node| matches!(node.op.def.meaning, Meaning::Lower(_));
        let nodes = || self.frames.iter().filter_map(|frame| self.plan.blocks[frame.block].node(frame.step));
        match (nodes().find(composite), nodes().next_back()) {
            // Its argument is one of the op inside.
            (Some(node), _) if nodes().count() > 1 && !nodes().next_back().as_ref().is_some_and(composite) => {
                let error = Error::new(error.code(), error.text());
                error.with_op(node.op.def.name).with_location(node.location.as_ref())
            }
            (_, Some(node)) => error.with_op(node.op.def.name).with_location(node.location.as_ref()),
            _ => error,
        }
    }

    /// Goes to the step's next stage, or to the next step.
    fn end_stage(&mut self) {
        self.cursor = Cursor::default();
        match (self.checked, self.stage) {
            (true, Stage::Operands) => self.stage = Stage::Run,
            (true, Stage::Run) => self.stage = Stage::Results,
            _ => {
                if let Some(frame) = self.frames.last_mut() {
                    frame.step += 1;
                }
                self.begin_step();
            }
        }
    }

    fn begin_step(&mut self) {
        self.stage = if self.checked { Stage::Operands } else { Stage::Run };
    }

    /// Looks at the operands or the results of a step.
    fn check(&mut self, block: &Block, step: &Step, watch: &Watch) -> Result<Result<(), Stop>> {
        let frame = self.top()?;
        let sizes = self.sizes(frame);
        let (Some(node), Some(attrs)) = (block.node(frame.step), sizes.attrs[frame.step].as_ref()) else {
            return Ok(Ok(()));
        };
        let operand = |value: Value| Operand {
            address: self.address(frame, value),
            bytes: sizes.layouts[block.root(value).index()].bytes(),
            layout: &sizes.layouts[value.index()],
        };
        let inputs: Vec<_> = step.inputs.iter().map(|value| value.map(operand)).collect();
        let outputs: Vec<_> = step.outputs.iter().map(|&value| operand(value)).collect();
        let outer = self.frames.iter().rev().skip(1).filter_map(|frame| self.plan.blocks[frame.block].node(frame.step));
        let inner = outer.into_iter().any(|node| matches!(node.op.def.meaning, Meaning::Lower(_)));
        let (stage, mut cursor) = (self.stage, self.cursor.clone());
        let ended = engine::look(&self.memories, &inputs, &outputs, |inputs, outputs| {
            Subject { def: node.op.def, attrs, inputs, outputs, inner }.check(stage, watch, &mut cursor)
        })?;
        self.cursor = cursor;
        match ended {
            Ok(()) => Ok(Ok(())),
            Err(Ended::Stopped(stop)) => Ok(Err(stop)),
            Err(Ended::Refused(error)) => Err(error),
        }
    }

    fn top(&self) -> Result<&Frame> {
        self.frames.last().ok_or_else(|| Error::internal("the run has ended"))
    }

    fn top_mut(&mut self) -> Result<&mut Frame> {
        self.frames.last_mut().ok_or_else(|| Error::internal("the run has ended"))
    }

    /// Where the memory of a value of the top frame's block starts.
    fn address(&self, frame: &Frame, value: Value) -> Address {
        let block = &self.plan.blocks[frame.block];
        match block.places[block.root(value).index()] {
            Place::Input(index) => frame.inputs[index],
            Place::Output(index) => frame.outputs[index],
            Place::Constant(index) => Address { block: self.constants + index, offset: 0 },
            Place::Buffer(index) => frame.base.after(self.sizes(frame).buffers[index].offset),
            Place::View(_) => unreachable!("a root is not a view"),
        }
    }

    fn sizes(&self, frame: &Frame) -> &BlockInstance {
        &self.instance.blocks[frame.block]
    }

    fn run(&mut self, block: &Block, step: &Step, watch: &Watch) -> Result<Result<(), Stop>> {
        let instance = self.instance.clone();
        let frame = self.top()?;
        let sizes = &instance.blocks[frame.block];
        let operand = |value: Value| Operand {
            address: self.address(frame, value),
            bytes: sizes.layouts[block.root(value).index()].bytes(),
            layout: &sizes.layouts[value.index()],
        };
        let inputs: Vec<_> = step.inputs.iter().map(|value| value.map(operand)).collect();
        let mut outputs: Vec<_> = step.outputs.iter().map(|&value| operand(value)).collect();
        let program = match &step.action {
            Action::Tape(tape) => Program::Tape(tape),
            Action::Kernel(kernel) => {
                let part = sizes.workspaces[frame.step];
                let attrs = sizes.attrs[frame.step].as_ref();
                let attrs = attrs.ok_or_else(|| Error::internal("a kernel without attrs"))?;
                Program::Kernel(kernel, attrs, frame.base.after(part.offset), part.bytes)
            }
            Action::CopyOut(index) => {
                let source = inputs[0].ok_or_else(|| Error::internal("a copy of nothing"))?;
                outputs.push(Operand { address: frame.outputs[*index], ..source });
                Program::Copy
            }
            Action::Control(..) => return Err(Error::internal("control flow is not one step")),
        };
        let work = Work::new(watch, &mut self.cursor);
        engine::run(program, &mut self.memories, &inputs, &outputs, work)
    }

    /// Begins a step of control flow.
    fn enter(&mut self, control: Control, blocks: &[usize]) -> Result<()> {
        let (operands, outputs) = self.operands()?;
        match control {
            Control::Call => self.push(blocks[0], operands, outputs),
            Control::Cond => {
                let branch = if self.memories.byte(operands[0])? != 0 { blocks[0] } else { blocks[1] };
                self.push(branch, operands[1..].to_vec(), outputs)
            }
            Control::WhileLoop | Control::Scan => {
                let attrs = self.attrs()?;
                let carried = attrs.int("carried")? as usize;
                let length = match control {
                    Control::Scan => attrs.dim("length")?.as_constant(),
                    _ => attrs.optional_int("max_steps"),
                };
                let length = length.map_or(usize::MAX, |length| length.max(0) as usize);
                let carried = operands[..carried].to_vec();
                self.top_mut()?.running = Some(Loop { iteration: 0, length, in_condition: false, carried });
                self.iterate()
            }
        }
    }

    /// The addresses of the operands and results of the current step.
    fn operands(&self) -> Result<(Vec<Address>, Vec<Address>)> {
        let frame = self.top()?;
        let step = &self.plan.blocks[frame.block].steps[frame.step];
        let operands = step.inputs.iter().flatten().map(|&value| self.address(frame, value)).collect();
        Ok((operands, step.outputs.iter().map(|&value| self.address(frame, value)).collect()))
    }

    fn attrs(&self) -> Result<&crate::attrs::Attrs> {
        let frame = self.top()?;
        self.sizes(frame).attrs[frame.step].as_ref().ok_or_else(|| Error::internal("control flow without attrs"))
    }

    /// Begins a region in the workspace of the current step.
    fn push(&mut self, block: usize, inputs: Vec<Address>, outputs: Vec<Address>) -> Result<()> {
        let frame = self.top()?;
        let base = frame.base.after(self.sizes(frame).workspaces[frame.step].offset);
        self.frames.push(Frame { block, step: 0, base, inputs, outputs, running: None });
        self.cursor = Cursor::default();
        self.begin_step();
        Ok(())
    }

    /// Goes on in the frame whose region has ended.
    fn returned(&mut self) -> Result<()> {
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        self.stage = Stage::Run;
        match &mut frame.running {
            None => {
                self.end_stage();
                Ok(())
            }
            Some(running) if running.in_condition => {
                let flag = self.carried_memory()?.1;
                if self.memories.byte(flag)? != 0 { self.body() } else { self.leave() }
            }
            Some(_) => {
                let next = self.next_carried()?;
                let running = self.top_mut()?.running.as_mut();
                let running = running.ok_or_else(|| Error::internal("no loop runs"))?;
                running.carried = next;
                running.iteration += 1;
                self.iterate()
            }
        }
    }

    fn running(&self) -> Result<&Loop> {
        self.top()?.running.as_ref().ok_or_else(|| Error::internal("no loop runs"))
    }

    fn control(&self) -> Result<(Control, &[usize])> {
        let frame = self.top()?;
        match &self.plan.blocks[frame.block].steps[frame.step].action {
            Action::Control(control, blocks) => Ok((*control, blocks)),
            _ => Err(Error::internal("the step is no loop")),
        }
    }

    /// Begins the next step of a loop, or ends it.
    fn iterate(&mut self) -> Result<()> {
        let running = self.running()?;
        if running.iteration >= running.length {
            return self.leave();
        }
        let (control, blocks) = self.control()?;
        if control == Control::Scan {
            return self.body();
        }
        let condition = blocks[0];
        let (operands, _) = self.operands()?;
        let carried = self.running()?.carried.clone();
        let inputs = carried.iter().chain(&operands[carried.len()..]).copied().collect();
        let flag = self.carried_memory()?.1;
        if let Some(running) = &mut self.top_mut()?.running {
            running.in_condition = true;
        }
        self.push(condition, inputs, vec![flag])
    }

    /// Runs the body of a loop once.
    fn body(&mut self) -> Result<()> {
        let (control, blocks) = self.control()?;
        let body = blocks[blocks.len() - 1];
        let (operands, results) = self.operands()?;
        let running = self.running()?;
        let carried = running.carried.len();
        let mut inputs = running.carried.clone();
        let mut outputs = self.next_carried()?;
        if control == Control::Scan {
            let sliced = self.attrs()?.int("sliced")? as usize;
            let slice = self.slice_index()?;
            for (operand, bytes) in operands[carried..].iter().zip(self.input_bytes(body, carried..carried + sliced)) {
                inputs.push(operand.after(slice * bytes));
            }
            inputs.extend(&operands[carried + sliced..]);
            for (result, bytes) in results[carried..].iter().zip(self.output_bytes(body, carried)) {
                outputs.push(result.after(slice * bytes));
            }
        } else {
            inputs.extend(&operands[carried..]);
        }
        if let Some(running) = &mut self.top_mut()?.running {
            running.in_condition = false;
        }
        self.push(body, inputs, outputs)
    }

    fn slice_index(&self) -> Result<usize> {
        let running = self.running()?;
        let reverse = self.attrs()?.bool("reverse")?;
        Ok(if reverse { running.length - 1 - running.iteration } else { running.iteration })
    }

    fn input_bytes(&self, block: usize, inputs: std::ops::Range<usize>) -> Vec<usize> {
        let (graph, sizes) = (&self.plan.blocks[block].graph, &self.instance.blocks[block]);
        graph.inputs()[inputs].iter().map(|input| sizes.layouts[input.value.index()].bytes()).collect()
    }

    fn output_bytes(&self, block: usize, first: usize) -> Vec<usize> {
        let (graph, sizes) = (&self.plan.blocks[block].graph, &self.instance.blocks[block]);
        graph.outputs()[first..].iter().map(|value| sizes.layouts[value.index()].bytes()).collect()
    }

    /// The two sets of memory for carried values, and that of the condition.
    fn carried_memory(&self) -> Result<([Vec<Address>; 2], Address)> {
        let (_, blocks) = self.control()?;
        let body = blocks[blocks.len() - 1];
        let frame = self.top()?;
        let workspace = frame.base.after(self.sizes(frame).workspaces[frame.step].offset);
        let mut next = workspace.after(self.instance.region_bytes(blocks)? as usize);
        let carried = self.running()?.carried.len();
        let bytes = self.input_bytes(body, 0..carried);
        let mut set = || {
            let mut set = Vec::with_capacity(carried);
            for &bytes in &bytes {
                set.push(next);
                next = next.after(bytes.next_multiple_of(crate::cpu::memory::ALIGNMENT));
            }
            set
        };
        Ok(([set(), set()], next))
    }

    /// Where the body writes the carried values: never where it reads them.
    fn next_carried(&self) -> Result<Vec<Address>> {
        let ([even, odd], _) = self.carried_memory()?;
        let turn = planted!("run: a loop writes what it reads", self.running()?.iteration % 2, 0);
        Ok(if turn == 0 { even } else { odd })
    }

    /// Ends a loop: the carried values are its results.
    fn leave(&mut self) -> Result<()> {
        let (_, blocks) = self.control()?;
        let body = blocks[blocks.len() - 1];
        let (_, results) = self.operands()?;
        let carried = self.running()?.carried.clone();
        let bytes = self.input_bytes(body, 0..carried.len());
        for ((&from, &to), bytes) in carried.iter().zip(&results).zip(bytes) {
            self.memories.copy(from, to, bytes)?;
        }
        self.top_mut()?.running = None;
        self.end_stage();
        Ok(())
    }
}
