//! From an expression to a tape: which instructions are needed, where their results lie, and which loops run.

use super::loops::{self, BLOCK, Loop};
use super::pairs::Pairs;
use super::{Code, Input, Output, Place, Tape, convert};
use crate::dtype::DType;
use crate::scalar::{Binary, Expression, Instruction, Register, Unary};

/// Bytes of tiles that stay in the fastest cache together.
const TILES_BYTES: usize = 24 << 10;

/// Work, counted in elements times instructions, that is worth handing to another thread.
const TASK_WORK: usize = 1 << 18;

/// What an output is read by after the last instruction.
const END: usize = usize::MAX;

/// A tape in the making.
struct Compiler<'a> {
    expression: &'a Expression,
    pairs: Pairs,
    /// See [`last_uses`].
    last: Vec<Option<usize>>,
    /// Where the result of a register lies, once it has one.
    places: Vec<Option<u32>>,
    /// Places of results that nothing reads any more.
    free: Vec<u32>,
    /// The weights of all instructions.
    work: usize,
    tape: Tape,
}

/// See [`Tape::new`].
pub fn compile(expression: &Expression, inputs: &[DType], outputs: &[Register]) -> Tape {
    compile_seen(expression, inputs, outputs, 0, true)
}

/// See [`Tape::seen`].
pub fn compile_seen(expression: &Expression, inputs: &[DType], outputs: &[Register], seen: usize, whole: bool) -> Tape {
    let steps = expression.steps();
    let pairs = Pairs::new(expression, outputs);
    let mut compiler = Compiler {
        expression,
        last: last_uses(expression, &pairs, outputs),
        pairs,
        places: vec![None; steps.len()],
        free: Vec::new(),
        work: 0,
        tape: Tape { dtypes: inputs.to_vec(), seen, ..Tape::default() },
    };
    for step in 0..steps.len() {
        if compiler.last[step].is_some() {
            compiler.step(step);
        }
    }
    for (index, &register) in outputs.iter().enumerate() {
        compiler.output(register, index >= seen || whole);
    }
    compiler.finish()
}

/// The last step that reads each register, [`END`] for outputs; `None` for those that no loop gives: no output needs
/// them, or they are the first of a pair.
fn last_uses(expression: &Expression, pairs: &Pairs, outputs: &[Register]) -> Vec<Option<usize>> {
    let mut last = vec![None; expression.steps().len()];
    for &register in outputs {
        last[register as usize] = Some(END);
    }
    for position in (0..expression.steps().len()).rev() {
        if last[position].is_some() {
            for register in pairs.operands(expression, position) {
                last[register as usize].get_or_insert(position);
            }
        }
    }
    last
}

/// How long an instruction takes, in those of the simplest.
pub fn weight(instruction: &Instruction) -> usize {
    match instruction {
        Instruction::Unary(Unary::Neg | Unary::Abs | Unary::Not, _) => 1,
        Instruction::Unary(Unary::Round | Unary::Floor | Unary::Ceil | Unary::Trunc, _) => 2,
        Instruction::Unary(Unary::Sqrt | Unary::Rsqrt, _) | Instruction::Binary(Binary::Div, ..) => 4,
        Instruction::Binary(Binary::Remainder | Binary::FloorDivide | Binary::Hypot, ..) => 12,
        Instruction::Binary(Binary::Pow | Binary::Atan2, ..) => 32,
        Instruction::Unary(..) => 12,
        Instruction::Random(_) => 40,
        _ => 1,
    }
}

impl Compiler<'_> {
    fn step(&mut self, position: usize) {
        let operands = self.pairs.operands(self.expression, position);
        let place = match self.pairs.run(position) {
            Some(run) => {
                // What the two weigh alone.
                self.work += 2;
                self.compute(position, run, &operands, None)
            }
            None => self.instruction(position),
        };
        self.places[position] = Some(place);
        for register in operands {
            self.release(position, register);
        }
    }

    /// Adds the loops of an instruction; the place of what they give.
    fn instruction(&mut self, position: usize) -> u32 {
        let step = self.expression.steps()[position];
        let dtype = step.dtype;
        self.work += weight(&step.instruction);
        match step.instruction {
            Instruction::Input(index) => self.input(index, dtype, false),
            Instruction::Random(index) => self.input(index, dtype, true),
            Instruction::Constant(bits) => self.constant(bits, dtype),
            Instruction::Unary(op, x) => {
                let exact = matches!(op, Unary::Not) && dtype == DType::Bool;
                let rounding = if exact { None } else { convert::round(dtype) };
                self.compute(position, loops::unary(op, dtype), &[x], rounding)
            }
            Instruction::Binary(op, x, y) => {
                use Binary::*;
                let exact = matches!(op, Max | Min | And | Or | Xor | ShiftRight);
                let rounding = if exact { None } else { convert::round(dtype) };
                self.compute(position, loops::binary(op, dtype), &[x, y], rounding)
            }
            Instruction::Compare(op, operands, x, y) => {
                self.compute(position, loops::comparison(op, operands), &[x, y], None)
            }
            Instruction::Select(condition, yes, no) => {
                self.compute(position, loops::select(dtype), &[condition, yes, no], None)
            }
            Instruction::Cast(from, x) => {
                self.compute(position, convert::cast(from, dtype), &[x], convert::cast_rounding(from, dtype))
            }
            Instruction::Bitcast(from, x) => self.bitcast(position, from, x),
        }
    }

    /// The place of an input's elements, or of the words of that dtype that it makes as a key.
    fn input(&mut self, index: u16, dtype: DType, random: bool) -> u32 {
        let stored = if random { DType::U32 } else { dtype };
        assert_eq!(self.tape.dtypes.get(index as usize), Some(&stored), "the dtype of input {index}");
        let (index, width) = (index as usize, dtype.size());
        let is_same = |input: &&Input| (input.index, input.random, input.width) == (index, random, width);
        if let Some(known) = self.tape.inputs.iter().find(is_same) {
            return known.place;
        }
        let widen = (dtype != dtype.compute()).then(|| convert::widen(dtype));
        let place = self.place(Place { width: dtype.compute().size(), offset: 0, constant: false });
        self.tape.inputs.push(Input { index, place, width, widen, random });
        place
    }

    fn constant(&mut self, bits: u64, dtype: DType) -> u32 {
        let width = dtype.compute().size();
        let offset = self.tape.constants.len() * size_of::<u64>();
        let words = BLOCK * width / size_of::<u64>();
        let word = match width {
            1 => bits & 0xff,
            4 => bits & 0xffff_ffff,
            _ => bits,
        };
        let repeated = (0..8 / width).fold(0, |all, i| all | word << (8 * width * i));
        self.tape.constants.extend(std::iter::repeat_n(repeated, words));
        self.place(Place { width, offset, constant: true })
    }

    /// Runs a loop into a place of its own, then rounds there.
    fn compute(&mut self, position: usize, run: Loop, operands: &[Register], rounding: Option<Loop>) -> u32 {
        let mut places = [0; 3];
        for (place, register) in places.iter_mut().zip(operands) {
            *place = self.found(*register);
        }
        let width = self.expression.steps()[position].dtype.compute().size();
        let out = self.temporary(width, self.last[position] == Some(END));
        self.code(run, out, places);
        if let Some(rounding) = rounding {
            self.work += 2;
            self.code(rounding, out, [out; 3]);
        }
        out
    }

    /// Through the bits as they are stored, unless those are the bits that are computed with.
    fn bitcast(&mut self, position: usize, from: DType, x: Register) -> u32 {
        let dtype = self.expression.steps()[position].dtype;
        let x = self.found(x);
        let is_output = self.last[position] == Some(END);
        if dtype.size() >= 4 {
            let out = self.temporary(dtype.size(), is_output);
            self.code(convert::copy(dtype.size()), out, [x; 3]);
            return out;
        }
        let stored = self.temporary(from.size(), false);
        let out = self.temporary(dtype.compute().size(), is_output);
        self.code(convert::narrow(from), stored, [x; 3]);
        self.code(convert::widen(dtype), out, [stored; 3]);
        self.free.push(stored);
        out
    }

    /// Results lie in memory of their own; inputs, constants and what another output holds are copied, unless they are
    /// only looked at.
    fn output(&mut self, register: Register, owned: bool) {
        let dtype = self.expression.dtype(register);
        let mut place = self.found(register);
        let width = dtype.compute().size();
        let taken = self.tape.outputs.iter().skip(self.tape.seen).any(|output| output.place == place);
        let is_input = self.tape.inputs.iter().any(|input| input.place == place);
        if owned && (taken || is_input || self.tape.places[place as usize].constant) {
            let out = self.temporary(width, true);
            self.code(convert::copy(width), out, [place; 3]);
            place = out;
        }
        let narrow = (dtype != dtype.compute()).then(|| convert::narrow(dtype));
        self.tape.outputs.push(Output { place, dtype, narrow });
    }

    fn found(&self, register: Register) -> u32 {
        match self.places[register as usize] {
            Some(place) => place,
            None => unreachable!("a step reads only those before it"),
        }
    }

    fn code(&mut self, run: Loop, out: u32, operands: [u32; 3]) {
        self.tape.code.push(Code { run, out, operands });
    }

    fn place(&mut self, place: Place) -> u32 {
        self.tape.places.push(place);
        (self.tape.places.len() - 1) as u32
    }

    /// A place for a result; one for an output is never shared, as it may lie in the output's memory.
    fn temporary(&mut self, width: usize, is_output: bool) -> u32 {
        let reusable = self.free.iter().position(|place| self.tape.places[*place as usize].width == width);
        match reusable {
            Some(found) if !is_output => self.free.swap_remove(found),
            _ => self.place(Place { width, offset: 0, constant: false }),
        }
    }

    fn release(&mut self, position: usize, register: Register) {
        let place = self.found(register);
        let is_temporary = !matches!(
            self.expression.steps()[register as usize].instruction,
            Instruction::Input(_) | Instruction::Random(_) | Instruction::Constant(_)
        );
        if self.last[register as usize] == Some(position) && is_temporary && !self.free.contains(&place) {
            self.free.push(place);
        }
    }

    /// Chooses the tile's length and lays the tiles out.
    fn finish(mut self) -> Tape {
        let tape = &mut self.tape;
        let bytes: usize = tape.places.iter().filter(|place| !place.constant).map(|place| place.width).sum();
        tape.tile = (TILES_BYTES / bytes.max(1) / BLOCK * BLOCK).clamp(2 * BLOCK, 8 * BLOCK);
        let work = self.work + tape.outputs.len();
        tape.task = (TASK_WORK / work.max(1)).div_ceil(tape.tile).max(1) * tape.tile;
        // Narrow types are gathered here before they are widened.
        let mut offset = tape.tile * 2;
        for place in tape.places.iter_mut().filter(|place| !place.constant) {
            place.offset = offset;
            offset += place.width * tape.tile;
        }
        tape.scratch = offset;
        self.tape
    }
}
