//! Expressions over scalars: what an element-wise op computes for one element.
//!
//! The CPU tape, constant folding and the WGSL printer all derive from these few instructions. Every
//! instruction rounds to its dtype, so that fused and unfused give the same bits: `float16` and `bfloat16` compute in
//! `float32` and round, 8- and 16-bit integers compute in 32 bits and wrap.

use crate::dtype::{DType, to_bf16, to_f16};
use crate::tensor::Tensor;

/// An instruction with one operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Unary {
    Neg,
    Abs,
    Sqrt,
    Rsqrt,
    Exp,
    Expm1,
    Log,
    Log1p,
    Tanh,
    Sigmoid,
    Erf,
    ErfInv,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Asinh,
    Acosh,
    Atanh,
    Log2,
    Log10,
    Exp2,
    Cbrt,
    /// To the nearest integer, of two the even one; this and the next three for floats alone.
    Round,
    Floor,
    Ceil,
    Trunc,
    /// Bitwise for integers, logical for `bool`.
    Not,
}

/// An instruction with two operands of one dtype.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Binary {
    Add,
    Sub,
    Mul,
    /// True division; for integers truncating, x/0 is 0.
    Div,
    /// Of the division rounded down, so with the sign of the divisor; for integers x % 0 is 0.
    Remainder,
    /// Division rounded down; for integers x/0 is 0.
    FloorDivide,
    Pow,
    /// The angle of the point (second, first).
    Atan2,
    Hypot,
    /// NaN if either is NaN.
    Max,
    /// NaN if either is NaN.
    Min,
    And,
    Or,
    Xor,
    /// 0 for shifts by the width or more, or negative ones.
    ShiftLeft,
    /// Arithmetic for signed types. By the width or more, or by a negative distance: 0, or -1 for negative operands.
    ShiftRight,
}

/// A comparison; its result is `bool`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
}

/// The result of an instruction, or an input.
pub type Register = u16;

/// One instruction; `dtype` of its [`Step`] is that of the result.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Instruction {
    /// The element of an input.
    Input(u16),
    /// The word that the key, an input, makes of the element's row-major number: `random_bits` of `uint32` or `uint64`.
    Random(u16),
    /// A constant: the bits of the dtype's compute type (`f32`/`f64` bits, or the integer), zero-extended.
    Constant(u64),
    Unary(Unary, Register),
    Binary(Binary, Register, Register),
    /// Compares registers of the dtype given here.
    Compare(Comparison, DType, Register, Register),
    /// condition (`bool`), value if true, value if false.
    Select(Register, Register, Register),
    /// From the dtype given here: NaN to 0, saturating, `bool` by != 0.
    Cast(DType, Register),
    /// The same bits, from the dtype of the same width given here.
    Bitcast(DType, Register),
}

impl Instruction {
    /// The registers that it reads.
    pub fn operands(&self) -> impl Iterator<Item = Register> + use<> {
        let list = match *self {
            Instruction::Input(_) | Instruction::Random(_) | Instruction::Constant(_) => [None; 3],
            Instruction::Unary(_, x) | Instruction::Cast(_, x) | Instruction::Bitcast(_, x) => [Some(x), None, None],
            Instruction::Binary(_, x, y) | Instruction::Compare(_, _, x, y) => [Some(x), Some(y), None],
            Instruction::Select(x, y, z) => [Some(x), Some(y), Some(z)],
        };
        list.into_iter().flatten()
    }
}

/// An instruction and the dtype of its result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// What it does.
    pub instruction: Instruction,
    /// The dtype that its result is rounded to.
    pub dtype: DType,
}

/// A sequence of instructions; the register of each is its position.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expression {
    steps: Vec<Step>,
}

impl Expression {
    /// An empty expression.
    pub fn new() -> Expression {
        Expression::default()
    }

    /// The instructions in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The dtype of a register.
    pub fn dtype(&self, register: Register) -> DType {
        self.steps[register as usize].dtype
    }

    /// The element of the `index`-th input.
    pub fn input(&mut self, index: u16, dtype: DType) -> Register {
        self.push(Instruction::Input(index), dtype)
    }

    /// The random word of the element, of the key that is the `index`-th input.
    pub fn random(&mut self, index: u16, dtype: DType) -> Register {
        self.push(Instruction::Random(index), dtype)
    }

    /// A constant, rounded to `dtype`.
    pub fn constant(&mut self, dtype: DType, value: f64) -> Register {
        let bits = match dtype {
            DType::F64 => value.to_bits(),
            DType::F32 => u64::from((value as f32).to_bits()),
            DType::F16 => u64::from(f32::from(to_f16(value)).to_bits()),
            DType::BF16 => u64::from(f32::from(to_bf16(value)).to_bits()),
            DType::I64 => value as i64 as u64,
            DType::U64 => value as u64,
            DType::Bool => u64::from(value != 0.0),
            _ if dtype.is_signed() => u64::from(value as i32 as u32),
            _ => u64::from(value as u32),
        };
        self.push(Instruction::Constant(bits), dtype)
    }

    /// A constant by the bits of its compute type.
    pub fn constant_bits(&mut self, dtype: DType, bits: u64) -> Register {
        self.push(Instruction::Constant(bits), dtype)
    }

    /// A constant of a scalar tensor's dtype and value.
    pub fn tensor_constant(&mut self, tensor: &Tensor) -> Register {
        let element = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |bits, &byte| bits << 8 | u64::from(byte));
        let bits = element(tensor.bytes());
        let bits = match tensor.dtype() {
            DType::F16 => u64::from(f32::from(half::f16::from_bits(bits as u16)).to_bits()),
            DType::BF16 => u64::from(f32::from(half::bf16::from_bits(bits as u16)).to_bits()),
            DType::I8 => u64::from(bits as u8 as i8 as i32 as u32),
            DType::I16 => u64::from(bits as u16 as i16 as i32 as u32),
            _ => bits,
        };
        self.constant_bits(tensor.dtype(), bits)
    }

    /// An instruction with one operand; the result has its dtype.
    pub fn unary(&mut self, op: Unary, x: Register) -> Register {
        self.push(Instruction::Unary(op, x), self.dtype(x))
    }

    /// An instruction with two operands of one dtype; the result has it too.
    pub fn binary(&mut self, op: Binary, x: Register, y: Register) -> Register {
        self.push(Instruction::Binary(op, x, y), self.dtype(x))
    }

    /// A comparison of two operands of one dtype.
    pub fn compare(&mut self, op: Comparison, x: Register, y: Register) -> Register {
        self.push(Instruction::Compare(op, self.dtype(x), x, y), DType::Bool)
    }

    /// `yes` where `condition`, else `no`.
    pub fn select(&mut self, condition: Register, yes: Register, no: Register) -> Register {
        self.push(Instruction::Select(condition, yes, no), self.dtype(yes))
    }

    /// Converts to `dtype`: to integers it truncates, saturates, and NaN is 0.
    pub fn cast(&mut self, dtype: DType, x: Register) -> Register {
        let from = self.dtype(x);
        if from == dtype { x } else { self.push(Instruction::Cast(from, x), dtype) }
    }

    /// The same bits as another dtype of the same width.
    pub fn bitcast(&mut self, dtype: DType, x: Register) -> Register {
        self.push(Instruction::Bitcast(self.dtype(x), x), dtype)
    }

    /// The registers that `results` need, in order; what those `known` need is not counted.
    pub fn needed(&self, results: &[Register], known: impl Fn(Register) -> bool) -> Vec<Register> {
        let mut is_needed = vec![false; self.steps.len()];
        results.iter().for_each(|&register| is_needed[register as usize] = true);
        for (position, step) in self.steps.iter().enumerate().rev() {
            if is_needed[position] && !known(position as Register) {
                step.instruction.operands().for_each(|register| is_needed[register as usize] = true);
            }
        }
        (0..self.steps.len() as Register).filter(|&register| is_needed[register as usize]).collect()
    }

    fn push(&mut self, instruction: Instruction, dtype: DType) -> Register {
        self.steps.push(Step { instruction, dtype });
        (self.steps.len() - 1) as Register
    }
}
