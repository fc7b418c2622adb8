//! The executor: a plan's steps, one after the other, as a state machine that can stop between and inside steps.
//!
//! Where it stands is a stack of frames, one for each block that has begun; there is no recursion. An execution is used
//! for one run after the other: its lists keep their memory, so that a run allocates nothing once they have grown.

use super::checked::{Ended, Stage, Subject};
use super::memories::Memories;
use crate::attrs::Attrs;
use crate::cpu::engine::{self, Address, Operand, Operands, Program};
use crate::cpu::memory::{Budget, Buffer, push};
use crate::cpu::single::stopped;
use crate::cpu::work::{Cursor, Stop, Watch, Work};
use crate::error::{Code, Error, Result};
use crate::graph::{Node, Value};
use crate::op::{Control, Meaning};
use crate::plan::instance::{BlockInstance, Instance, Kernel};
use crate::plan::{Action, Block, Place, Plan, Step};
use crate::tensor::Tensor;
use std::sync::Arc;

/// Whether a run has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Every step is done.
    Done,
    /// The pause time passed, or a value is awaited from a device; the run can go on.
    Paused,
}

/// Where a loop stands; kept in the frame that runs the loop's step.
#[derive(Clone, Copy)]
struct Loop {
    iteration: usize,
    length: usize,
    /// Whether the condition runs, not the body.
    in_condition: bool,
    /// Where the addresses of the carried values begin; they are where those values are now.
    first: usize,
    /// How many values are carried.
    carried: usize,
}

/// A block that has begun. Its addresses are those of its inputs, then those of its outputs.
struct Frame {
    block: usize,
    step: usize,
    /// Where the block's memory starts.
    base: Address,
    /// Where its addresses begin.
    first: usize,
    /// How many of them are its inputs'.
    inputs: usize,
    /// The loop that the current step runs.
    running: Option<Loop>,
}

/// What a run is of.
#[derive(Clone, Copy)]
struct Of<'a> {
    plan: &'a Plan,
    instance: &'a Instance,
}

/// Runs of a plan, one after the other.
pub struct Execution {
    plan: Arc<Plan>,
    /// The plan at the sizes of the run; none between runs.
    instance: Option<Arc<Instance>>,
    memories: Memories,
    /// Where the plan's memory is.
    base: Address,
    frames: Vec<Frame>,
    /// The addresses of all frames and loops, each after those of the one that it lies in.
    addresses: Vec<Address>,
    operands: Operands,
    cursor: Cursor,
    checked: bool,
    /// Where the run stands in the current step.
    stage: Stage,
}

impl Execution {
    /// For runs of this plan in memory that holds its constants; with `checked` they look at operands and results.
    pub fn new(plan: Arc<Plan>, memories: Memories, checked: bool) -> Execution {
        Execution {
            plan,
            instance: None,
            memories,
            base: Address { block: 0, offset: 0 },
            frames: Vec::new(),
            addresses: Vec::new(),
            operands: Operands::default(),
            cursor: Cursor::default(),
            checked,
            stage: Stage::Run,
        }
    }

    /// Adds an input of the run that is to begin; one that is elsewhere is brought to where it runs.
    ///
    /// # Errors
    /// `memory`: no more is there; `device`; `deadline`, `cancelled`: while it was brought.
    pub fn add_input(&mut self, tensor: Tensor, watch: &Watch) -> Result<()> {
        let address = self.memories.share(tensor, watch)?;
        push(&mut self.addresses, address)
    }

    /// Adds an output, which nobody else holds; after the inputs.
    ///
    /// # Errors
    /// `memory`: the system has no more.
    pub fn add_output(&mut self, tensor: Tensor) -> Result<()> {
        let address = self.memories.own(tensor)?;
        push(&mut self.addresses, address)
    }

    /// Adds memory of the plan's size.
    ///
    /// # Errors
    /// `memory`: the system has no more.
    pub fn add_memory(&mut self, instance: &Instance, budget: &Arc<Budget>) -> Result<()> {
        self.base = self.memories.work_in(instance, budget)?;
        Ok(())
    }

    /// Begins the run on what was added.
    ///
    /// # Errors
    /// `memory`: the system has no more; `internal`: not all was added.
    pub fn begin(&mut self, instance: Arc<Instance>) -> Result<()> {
        let (inputs, outputs) = (self.plan.graph().inputs().len(), self.plan.graph().outputs().len());
        if self.addresses.len() != inputs + outputs {
            return Err(Error::internal("a run with other inputs than its plan"));
        }
        self.instance = Some(instance);
        self.begin_step();
        let (block, base) = (self.plan.entry(), self.base);
        push(&mut self.frames, Frame { block, step: 0, base, first: 0, inputs, running: None })
    }

    /// The inputs and outputs, as they were added.
    pub fn tensors(&self) -> &[Tensor] {
        self.memories.tensors()
    }

    /// Ends the run, wherever it is: hands the inputs and outputs, as they were added, to `each`; gives the plan's memory.
    pub fn end(&mut self, each: impl FnMut(usize, Tensor)) -> Option<Buffer> {
        self.instance = None;
        self.frames.clear();
        self.addresses.clear();
        self.memories.clear(each)
    }

    /// Goes on until the end, until the watch says to stop, or until a value is awaited that a step depends on.
    ///
    /// # Errors
    /// `cancelled`, `deadline`: as the watch says; `memory`. The run cannot go on then.
    pub fn advance(&mut self, watch: &Watch) -> Result<Progress> {
        match self.go_on(watch) {
            // Whatever reads does so before it changes anything, so going on repeats it.
            Err(error) if error.code() == Code::Pending => Ok(Progress::Paused),
            outcome => outcome,
        }
    }

    fn go_on(&mut self, watch: &Watch) -> Result<Progress> {
        let (plan, instance) = (self.plan.clone(), self.instance.clone());
        let instance = instance.ok_or_else(|| Error::internal("the run has not begun"))?;
        let of = Of { plan: &plan, instance: &instance };
        let mut first = true;
        while let Some(frame) = self.frames.last() {
            let block = &plan.blocks[frame.block];
            let Some(step) = block.steps.get(frame.step) else {
                self.addresses.truncate(frame.first);
                self.frames.pop();
                self.returned(of, watch)?;
                continue;
            };
            match watch.look(!first) {
                Some(Stop::Paused) => return Ok(Progress::Paused),
                Some(stop) => return Err(stopped(stop)),
                None => first = false,
            }
            let outcome = match (&step.action, self.stage) {
                (Action::Control(control, blocks), Stage::Run) => {
                    let entered = match frame.running {
                        None => self.enter(of, *control, blocks, watch),
                        Some(_) => self.decide(of, watch),
                    };
                    entered.map_err(|error| self.place(error))?;
                    continue;
                }
                (_, Stage::Run) => self.run(of, block, step, watch)?,
                _ => self.check(of, block, step, watch).map_err(|error| self.place(error))?,
            };
            match outcome {
                Ok(()) => self.end_stage(),
                Err(Stop::Paused) => return Ok(Progress::Paused),
                // That the step ran just then says nothing about its op.
                Err(stop @ (Stop::Cancelled | Stop::Deadline)) => return Err(stopped(stop)),
                Err(stop) => return Err(self.place(stopped(stop))),
            }
        }
        self.memories.settle(watch)?;
        Ok(Progress::Done)
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
        self.cursor = Cursor::default();
        self.stage = if self.checked { Stage::Operands } else { Stage::Run };
    }

    /// Looks at the operands or the results of a step.
    fn check(&mut self, of: Of, block: &Block, step: &Step, watch: &Watch) -> Result<Result<(), Stop>> {
        let frame = self.top()?;
        let sizes = frame.sizes(of);
        let (Some(node), Some(attrs)) = (block.node(frame.step), sizes.attrs[frame.step].as_ref()) else {
            return Ok(Ok(()));
        };
        let operand = |value: Value| Operand {
            address: frame.address(of, &self.addresses, value),
            bytes: sizes.layouts[block.root(value).index()].bytes(),
            layout: &sizes.layouts[value.index()],
        };
        let inputs: Vec<_> = step.inputs.iter().map(|value| value.map(operand)).collect();
        let outputs: Vec<_> = step.outputs.iter().map(|&value| operand(value)).collect();
        let outer = self.frames.iter().rev().skip(1).filter_map(|frame| of.plan.blocks[frame.block].node(frame.step));
        let inner = outer.into_iter().any(|node| matches!(node.op.def.meaning, Meaning::Lower(_)));
        let (stage, mut cursor) = (self.stage, self.cursor.clone());
        let ended = engine::look(self.memories.host()?, &inputs, &outputs, |inputs, outputs| {
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

    fn run(&mut self, of: Of, block: &Block, step: &Step, watch: &Watch) -> Result<Result<(), Stop>> {
        let frame = self.frames.last().ok_or_else(|| Error::internal("the run has ended"))?;
        let sizes = &of.instance.blocks[frame.block];
        let addresses = &self.addresses[..];
        let operand = |value: Value| Operand {
            address: frame.address(of, addresses, value),
            bytes: sizes.layouts[block.root(value).index()].bytes(),
            layout: &sizes.layouts[value.index()],
        };
        let inputs = step.inputs.iter().map(|value| value.map(operand));
        let (program, copied) = match &step.action {
            Action::Tape(tape) => (Program::Tape(tape), None),
            Action::Cluster(cluster) => {
                let part = sizes.workspaces[frame.step];
                let shape = sizes.attrs[frame.step].as_ref().and_then(|attrs| attrs.dim_list("shape"));
                let shape = shape.ok_or_else(|| Error::internal("a cluster without a shape"))?;
                (Program::Cluster(cluster, shape, frame.workspace(of), part.bytes), None)
            }
            Action::Epilogue(epilogue) => {
                let part = sizes.workspaces[frame.step];
                (Program::Epilogue(epilogue, sizes.attrs(frame.step)?, frame.workspace(of), part.bytes), None)
            }
            Action::Kernel(kernel) => {
                let part = sizes.workspaces[frame.step];
                (Program::Kernel(kernel, sizes.attrs(frame.step)?, frame.workspace(of), part.bytes), None)
            }
            Action::CopyOut(index) => {
                let source = step.inputs.first().copied().flatten().map(operand);
                let source = source.ok_or_else(|| Error::internal("a copy of nothing"))?;
                (Program::Copy, Some(Operand { address: addresses[frame.first + frame.inputs + index], ..source }))
            }
            Action::Control(..) => return Err(Error::internal("control flow is not one step")),
        };
        let outputs = step.outputs.iter().map(|&value| operand(value)).chain(copied);
        match &mut self.memories {
            Memories::Host(memories) => {
                let work = Work::new(watch, &mut self.cursor);
                engine::run(program, memories, &mut self.operands, inputs, outputs, work)
            }
            Memories::Device(memories) => {
                let (inputs, outputs): (Vec<_>, Vec<_>) = (inputs.collect(), outputs.collect());
                match &sizes.kernels[frame.step] {
                    Kernel::Launches(launches) => {
                        memories.launch(launches, &inputs, &outputs, frame.workspace(of), watch)
                    }
                    _ => memories.run_on_host(program, &inputs, &outputs, watch),
                }
                .map(Ok)
            }
        }
    }

    /// Begins a step of control flow.
    fn enter(&mut self, of: Of, control: Control, blocks: &[usize], watch: &Watch) -> Result<()> {
        let first = self.addresses.len();
        match control {
            Control::Call => {
                self.push_operands(of, 0)?;
                self.push_region(of, blocks[0], first, 0)
            }
            Control::Cond => {
                let frame = self.top()?;
                let condition = frame.step(of).inputs.first().copied().flatten();
                let condition = condition.ok_or_else(|| Error::internal("a branch without a condition"))?;
                let condition = frame.address(of, &self.addresses, condition);
                let branch = if self.memories.byte(condition, watch)? != 0 { blocks[0] } else { blocks[1] };
                self.push_operands(of, 1)?;
                self.push_region(of, branch, first, 0)
            }
            Control::WhileLoop | Control::Scan => {
                let attrs = self.top()?.attrs(of)?;
                let carried = attrs.int("carried")? as usize;
                let length = match control {
                    Control::Scan => attrs.dim("length")?.as_constant(),
                    _ => attrs.optional_int("max_steps"),
                };
                let length = length.map_or(usize::MAX, |length| length.max(0) as usize);
                self.push_operands(of, 0)?;
                self.addresses.truncate(first + carried);
                let running = Loop { iteration: 0, length, in_condition: false, first, carried };
                self.top_mut()?.running = Some(running);
                self.iterate(of, watch)
            }
        }
    }

    /// Adds the addresses of the current step's operands from that one on.
    fn push_operands(&mut self, of: Of, from: usize) -> Result<()> {
        let frame = self.frames.last().ok_or_else(|| Error::internal("the run has ended"))?;
        for &operand in frame.step(of).inputs.iter().flatten().skip(from) {
            let address = frame.address(of, &self.addresses, operand);
            push(&mut self.addresses, address)?;
        }
        Ok(())
    }

    /// Begins a region in the workspace of the current step. Its inputs' addresses have been added; its outputs are those
    /// of the step from `results` on.
    fn push_region(&mut self, of: Of, block: usize, first: usize, results: usize) -> Result<()> {
        let inputs = self.addresses.len() - first;
        let frame = self.frames.last().ok_or_else(|| Error::internal("the run has ended"))?;
        for &result in &frame.step(of).outputs[results..] {
            let address = frame.address(of, &self.addresses, result);
            push(&mut self.addresses, address)?;
        }
        self.push_frame(of, block, first, inputs)
    }

    /// Begins a region in the workspace of the current step. All of its addresses have been added.
    fn push_frame(&mut self, of: Of, block: usize, first: usize, inputs: usize) -> Result<()> {
        let base = self.top()?.workspace(of);
        self.begin_step();
        push(&mut self.frames, Frame { block, step: 0, base, first, inputs, running: None })
    }

    /// Goes on in the frame whose region has ended.
    fn returned(&mut self, of: Of, watch: &Watch) -> Result<()> {
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        self.stage = Stage::Run;
        match &mut frame.running {
            None => {
                self.end_stage();
                Ok(())
            }
            // The flag is looked at where the run can stop; see `decide`.
            Some(running) if running.in_condition => Ok(()),
            Some(_) => {
                let running = self.running()?;
                for index in 0..running.carried {
                    self.addresses[running.first + index] = self.top()?.next_carried(of, index)?;
                }
                self.top_mut()?.running = Some(Loop { iteration: running.iteration + 1, ..running });
                self.iterate(of, watch)
            }
        }
    }

    /// Runs the body of the loop whose condition has ended, or ends the loop.
    fn decide(&mut self, of: Of, watch: &Watch) -> Result<()> {
        let flag = self.top()?.flag(of);
        if self.memories.byte(flag, watch)? != 0 { self.body(of) } else { self.leave(of, watch) }
    }

    fn running(&self) -> Result<Loop> {
        self.top()?.running.ok_or_else(|| Error::internal("no loop runs"))
    }

    /// Adds the addresses of the values that a loop carries.
    fn push_carried(&mut self, running: Loop) -> Result<()> {
        for index in running.first..running.first + running.carried {
            let address = self.addresses[index];
            push(&mut self.addresses, address)?;
        }
        Ok(())
    }

    /// Begins the next step of a loop, or ends it.
    fn iterate(&mut self, of: Of, watch: &Watch) -> Result<()> {
        let running = self.running()?;
        if running.iteration >= running.length {
            return self.leave(of, watch);
        }
        let (control, blocks) = self.top()?.control(of)?;
        if control == Control::Scan {
            return self.body(of);
        }
        let (first, flag) = (self.addresses.len(), self.top()?.flag(of));
        self.push_carried(running)?;
        self.push_operands(of, running.carried)?;
        let inputs = self.addresses.len() - first;
        push(&mut self.addresses, flag)?;
        self.top_mut()?.running = Some(Loop { in_condition: true, ..running });
        self.push_frame(of, blocks[0], first, inputs)
    }

    /// Runs the body of a loop once.
    fn body(&mut self, of: Of) -> Result<()> {
        let (control, blocks) = self.top()?.control(of)?;
        let (body, running) = (blocks[blocks.len() - 1], self.running()?);
        let (first, carried) = (self.addresses.len(), running.carried);
        self.push_carried(running)?;
        self.push_operands(of, carried)?;
        let inputs = self.addresses.len() - first;
        for index in 0..carried {
            let address = self.top()?.next_carried(of, index)?;
            push(&mut self.addresses, address)?;
        }
        if control == Control::Scan {
            let slice = self.slice_index(of)?;
            let sliced = self.top()?.attrs(of)?.int("sliced")? as usize;
            let (graph, sizes) = (&of.plan.blocks[body].graph, &of.instance.blocks[body]);
            for index in carried..carried + sliced {
                let bytes = sizes.layouts[graph.inputs()[index].value.index()].bytes();
                let address = &mut self.addresses[first + index];
                *address = address.after(slice * bytes);
            }
            let frame = self.frames.last().ok_or_else(|| Error::internal("the run has ended"))?;
            for (&result, output) in frame.step(of).outputs.iter().zip(graph.outputs()).skip(carried) {
                let bytes = sizes.layouts[output.index()].bytes();
                let address = frame.address(of, &self.addresses, result).after(slice * bytes);
                push(&mut self.addresses, address)?;
            }
        }
        self.top_mut()?.running = Some(Loop { in_condition: false, ..running });
        self.push_frame(of, body, first, inputs)
    }

    fn slice_index(&self, of: Of) -> Result<usize> {
        let running = self.running()?;
        let reverse = self.top()?.attrs(of)?.bool("reverse")?;
        Ok(if reverse { running.length - 1 - running.iteration } else { running.iteration })
    }

    /// Ends a loop: the carried values are its results.
    fn leave(&mut self, of: Of, watch: &Watch) -> Result<()> {
        let running = self.running()?;
        for index in 0..running.carried {
            let frame = self.frames.last().ok_or_else(|| Error::internal("the run has ended"))?;
            let bytes = frame.carried_bytes(of, index)?;
            let to = frame.address(of, &self.addresses, frame.step(of).outputs[index]);
            self.memories.copy(self.addresses[running.first + index], to, bytes, watch)?;
        }
        self.addresses.truncate(running.first);
        self.top_mut()?.running = None;
        self.end_stage();
        Ok(())
    }
}

impl Frame {
    fn sizes<'a>(&self, of: Of<'a>) -> &'a BlockInstance {
        &of.instance.blocks[self.block]
    }

    fn step<'a>(&self, of: Of<'a>) -> &'a Step {
        &of.plan.blocks[self.block].steps[self.step]
    }

    /// Where the memory of a value of the block starts.
    fn address(&self, of: Of, addresses: &[Address], value: Value) -> Address {
        let block = &of.plan.blocks[self.block];
        match block.places[block.root(value).index()] {
            Place::Input(index) => addresses[self.first + index],
            Place::Output(index) => addresses[self.first + self.inputs + index],
            Place::Constant(index) => Address { block: index, offset: 0 },
            Place::Buffer(index) => of.instance.place(self.base, self.sizes(of).buffers[index].offset),
            Place::View(_) => unreachable!("a root is not a view"),
        }
    }

    fn attrs<'a>(&self, of: Of<'a>) -> Result<&'a Attrs> {
        let attrs = self.sizes(of).attrs[self.step].as_ref();
        attrs.ok_or_else(|| Error::internal("control flow without attrs"))
    }

    fn control<'a>(&self, of: Of<'a>) -> Result<(Control, &'a [usize])> {
        match &self.step(of).action {
            Action::Control(control, blocks) => Ok((*control, blocks)),
            _ => Err(Error::internal("the step is no loop")),
        }
    }

    /// Where the memory of the current step starts.
    fn workspace(&self, of: Of) -> Address {
        of.instance.place(self.base, self.sizes(of).workspaces[self.step].offset)
    }

    /// Bytes of a value that the current loop carries.
    fn carried_bytes(&self, of: Of, index: usize) -> Result<usize> {
        let (_, blocks) = self.control(of)?;
        let body = blocks[blocks.len() - 1];
        let value = of.plan.blocks[body].graph.inputs()[index].value;
        Ok(of.instance.blocks[body].layouts[value.index()].bytes())
    }

    /// Where a value lies in the current loop's own memory; see [`BlockInstance::loops`].
    fn in_loop(&self, of: Of, index: usize) -> Address {
        of.instance.place(self.workspace(of), self.sizes(of).loops[self.step][index])
    }

    /// Where the body writes a carried value: never where it reads it.
    fn next_carried(&self, of: Of, index: usize) -> Result<Address> {
        let running = self.running.ok_or_else(|| Error::internal("no loop runs"))?;
        let turn = planted!("run: a loop writes what it reads", running.iteration % 2, 0);
        Ok(self.in_loop(of, if turn == 0 { index } else { running.carried + index }))
    }

    /// Where the condition of the current loop is.
    fn flag(&self, of: Of) -> Address {
        self.in_loop(of, 2 * self.running.map_or(0, |running| running.carried))
    }
}
