//! Scalar expressions in WGSL, instruction by instruction. Constants are params, so that expressions which differ in
//! them alone are one shader, and no compiler computes with them.

use super::{Source, compute_type};
use crate::dtype::DType;
use crate::gpu::kernel::Refusal;
use crate::scalar::{Binary, Comparison, Expression, Instruction, Register, Step, Unary};
use std::collections::{BTreeMap, BTreeSet};

/// The values of registers, by the text that names them.
pub type Values = BTreeMap<Register, String>;

impl Source {
    /// Adds what computes `results` of an expression, and their names to `values`, which holds those of its inputs.
    ///
    /// # Errors
    /// Those of [`compute_type`].
    pub fn evaluate(
        &mut self,
        expression: &Expression,
        results: &[Register],
        values: &mut Values,
    ) -> Result<(), Refusal> {
        let needed = expression.needed(results, |register| values.contains_key(&register));
        let read: BTreeSet<_> = expression.steps().iter().flat_map(|step| step.instruction.operands()).collect();
        for register in needed {
            if !values.contains_key(&register) {
                let step = expression.steps()[register as usize];
                compute_type(step.dtype)?;
                let operands: Vec<_> = step.instruction.operands().map(|operand| values[&operand].as_str()).collect();
                let text = self.instruction(&step, &operands)?;
                let text = self.rounded(&step, text, read.contains(&register));
                values.insert(register, self.value("v", text));
            }
        }
        Ok(())
    }

    /// The text of an instruction on its operands, not yet rounded.
    fn instruction(&mut self, step: &Step, x: &[&str]) -> Result<String, Refusal> {
        Ok(match step.instruction {
            Instruction::Input(index) | Instruction::Random(index) => {
                return Err(Refusal(format!("the input {index} of an expression is missing")));
            }
            Instruction::Constant(bits) => self.constant(step.dtype, bits),
            Instruction::Unary(op, _) => self.unary(op, step.dtype, x[0]),
            Instruction::Binary(op, ..) => self.binary(op, step.dtype, x[0], x[1]),
            Instruction::Compare(op, dtype, ..) => self.comparison(op, dtype, x[0], x[1]),
            Instruction::Select(..) => format!("select({}, {}, {})", x[2], x[1], x[0]),
            Instruction::Cast(dtype, _) => self.cast(dtype, step.dtype, x[0]),
            Instruction::Bitcast(dtype, _) => self.bitcast(dtype, step.dtype, x[0]),
        })
    }

    fn call(&mut self, function: &str, arguments: &[&str]) -> String {
        self.import(function);
        format!("{function}({})", arguments.join(", "))
    }

    fn constant(&mut self, dtype: DType, bits: u64) -> String {
        let low = self.param(bits as u32);
        match compute_type(dtype) {
            Ok("f32") => format!("bitcast<f32>({low})"),
            Ok("i32") => format!("bitcast<i32>({low})"),
            Ok("bool") => format!("({low} != 0u)"),
            Ok("u32") => low,
            _ => {
                let high = self.param((bits >> 32) as u32);
                format!("vec2<u32>({low}, {high})")
            }
        }
    }

    fn unary(&mut self, op: Unary, dtype: DType, x: &str) -> String {
        let suffix = suffix(dtype);
        match (op, suffix) {
            (Unary::Neg, "f32") => format!("-{x}"),
            (Unary::Neg, "i64" | "u64") => self.call("neg_u64", &[x]),
            (Unary::Neg, _) => format!("{suffix}(0) - {x}"),
            (Unary::Abs, "u32" | "u64") => x.into(),
            (Unary::Abs, "i64") => self.call("abs_i64", &[x]),
            (Unary::Abs, _) => format!("abs({x})"),
            (Unary::Not, "bool") => format!("!{x}"),
            (Unary::Not, _) => format!("~{x}"),
            (Unary::Sqrt, _) => format!("sqrt({x})"),
            (Unary::Rsqrt, _) => format!("1.0 / sqrt({x})"),
            (Unary::Round, _) => format!("round({x})"),
            (Unary::Floor, _) => format!("floor({x})"),
            (Unary::Ceil, _) => format!("ceil({x})"),
            (Unary::Trunc, _) => format!("trunc({x})"),
            _ => self.call(&format!("{}_f32", format!("{op:?}").to_lowercase()), &[x]),
        }
    }

    /// The text of an instruction on two values of a dtype, not yet rounded.
    pub fn binary(&mut self, op: Binary, dtype: DType, x: &str, y: &str) -> String {
        let suffix = suffix(dtype);
        let (is_wide, is_bool) = (matches!(suffix, "i64" | "u64"), suffix == "bool");
        let name = match op {
            Binary::Add | Binary::Max if is_bool => return format!("{x} || {y}"),
            Binary::Mul | Binary::Min if is_bool => return format!("{x} && {y}"),
            Binary::Sub | Binary::Xor if is_bool => return format!("{x} != {y}"),
            Binary::Add if !is_wide => return format!("{x} + {y}"),
            Binary::Sub if suffix == "f32" && x == y => return format!("{x} - {}", self.call("opaque", &[y])),
            Binary::Sub if !is_wide => return format!("{x} - {y}"),
            Binary::Mul if !is_wide => return format!("{x} * {y}"),
            Binary::Div if suffix == "f32" => return format!("{x} / {y}"),
            Binary::Max if matches!(suffix, "i32" | "u32") => return format!("max({x}, {y})"),
            Binary::Min if matches!(suffix, "i32" | "u32") => return format!("min({x}, {y})"),
            Binary::And => return format!("{x} & {y}"),
            Binary::Or => return format!("{x} | {y}"),
            Binary::Xor => return format!("{x} ^ {y}"),
            Binary::ShiftRight if !is_wide => {
                let width = format!("{}u", 8 * dtype.size());
                return self.call(&format!("shift_right_{suffix}"), &[x, y, &width]);
            }
            Binary::Add => "add",
            Binary::Sub => "sub",
            Binary::Mul => "mul",
            Binary::Div => "divide",
            Binary::Remainder => "remainder",
            // Of what has no sign, rounding down is truncation.
            Binary::FloorDivide if matches!(suffix, "u32" | "u64") => "divide",
            Binary::FloorDivide => "floor_divide",
            Binary::Pow => "pow",
            Binary::Atan2 => "atan2",
            Binary::Hypot => "hypot",
            Binary::Max => "max",
            Binary::Min => "min",
            Binary::ShiftLeft => "shift_left",
            Binary::ShiftRight => "shift_right",
        };
        // The bits of these do not depend on the sign of the type.
        let is_signless = is_wide && matches!(name, "add" | "sub" | "mul" | "shift_left");
        self.call(&format!("{name}_{}", if is_signless { "u64" } else { suffix }), &[x, y])
    }

    fn comparison(&mut self, op: Comparison, dtype: DType, x: &str, y: &str) -> String {
        let suffix = suffix(dtype);
        match (op, suffix) {
            (Comparison::NotEqual, "f32") if x == y => self.call("is_nan", &[x]),
            (Comparison::Equal, "f32") => self.call("equal_f32", &[x, y]),
            (Comparison::NotEqual, "f32") => self.call("not_equal_f32", &[x, y]),
            (Comparison::Less, "f32") => self.call("less_f32", &[x, y]),
            (Comparison::LessEqual, "f32") => self.call("less_equal_f32", &[x, y]),
            (Comparison::Less, "bool") => format!("!{x} && {y}"),
            (Comparison::LessEqual, "bool") => format!("!{x} || {y}"),
            (Comparison::Equal, "i64" | "u64") => format!("all({x} == {y})"),
            (Comparison::NotEqual, "i64" | "u64") => format!("any({x} != {y})"),
            (Comparison::Less, "i64" | "u64") => self.call(&format!("less_{suffix}"), &[x, y]),
            (Comparison::LessEqual, "i64" | "u64") => format!("!{}", self.call(&format!("less_{suffix}"), &[y, x])),
            (Comparison::Equal, _) => format!("{x} == {y}"),
            (Comparison::NotEqual, _) => format!("{x} != {y}"),
            (Comparison::Less, _) => format!("{x} < {y}"),
            (Comparison::LessEqual, _) => format!("{x} <= {y}"),
        }
    }

    fn cast(&mut self, from: DType, to: DType, x: &str) -> String {
        match (suffix(from), suffix(to)) {
            ("f32", "bool") => format!("(bitcast<u32>({x}) & 0x7fffffffu) != 0u"),
            ("i64" | "u64", "bool") => format!("({x}.x | {x}.y) != 0u"),
            (from, "bool") => format!("{x} != {from}(0)"),
            ("bool", "i64" | "u64") => format!("vec2<u32>(u32({x}), 0u)"),
            ("bool", to) => format!("{to}({x})"),
            ("f32", "i32") if to.size() < 4 => {
                let high = (1i32 << (8 * to.size() - 1)) - 1;
                format!("clamp({}, -{high} - 1, {high})", self.call("i32_of_f32", &[x]))
            }
            ("f32", "u32") if to.size() < 4 => {
                format!("min({}, {}u)", self.call("u32_of_f32", &[x]), (1u32 << (8 * to.size())) - 1)
            }
            ("f32", "f32") => x.into(),
            ("f32", to) => self.call(&format!("{to}_of_f32"), &[x]),
            ("i32", "f32") => format!("f32({x})"),
            (from, "f32") => self.call(&format!("f32_of_{from}"), &[x]),
            ("i32", "i64" | "u64") => format!("vec2<u32>(bitcast<u32>({x}), bitcast<u32>({x} >> 31u))"),
            ("u32", "i64" | "u64") => format!("vec2<u32>({x}, 0u)"),
            ("i64" | "u64", "i32") => format!("bitcast<i32>({x}.x)"),
            ("i64" | "u64", "u32") => format!("{x}.x"),
            ("i64" | "u64", _) => x.into(),
            (_, to) => format!("bitcast<{to}>({x})"),
        }
    }

    fn bitcast(&mut self, from: DType, to: DType, x: &str) -> String {
        match to.size() {
            8 => x.into(),
            4 => format!("bitcast<{}>({x})", suffix(to)),
            _ => {
                let bits = self.bits(from, x);
                self.library.of_bits(to, &bits)
            }
        }
    }

    /// A result rounded to the dtype of its step, unless it is of that dtype as it is. Compilers may not rewrite sums and
    /// products that other steps read: `(x + y) - y` is to lose digits, and `x s + y s` to overflow no earlier.
    fn rounded(&mut self, step: &Step, text: String, is_read: bool) -> String {
        let is_exact = match step.instruction {
            Instruction::Input(_) | Instruction::Random(_) | Instruction::Constant(_) => true,
            Instruction::Bitcast(..) => true,
            Instruction::Compare(..) | Instruction::Select(..) => true,
            Instruction::Unary(Unary::Neg | Unary::Abs, _) => step.dtype.is_float(),
            Instruction::Binary(Binary::Max | Binary::Min | Binary::And | Binary::Or | Binary::Xor, ..) => true,
            Instruction::Cast(from, _) => from.is_float() && step.dtype.is_integer(),
            _ => false,
        };
        match step.dtype {
            _ if is_exact => text,
            DType::F32 if is_read && is_arithmetic(&step.instruction) => self.call("opaque", &[&text]),
            dtype => self.round(dtype, text),
        }
    }

    /// What was computed, as a value of a dtype.
    pub fn round(&mut self, dtype: DType, text: String) -> String {
        match dtype {
            DType::F16 => self.call("round_to_f16", &[&text]),
            DType::BF16 => self.call("round_to_bf16", &[&text]),
            DType::I8 => format!("(({text}) << 24u) >> 24u"),
            DType::I16 => format!("(({text}) << 16u) >> 16u"),
            DType::U8 => format!("({text}) & 0xffu"),
            DType::U16 => format!("({text}) & 0xffffu"),
            _ => text,
        }
    }
}

fn is_arithmetic(instruction: &Instruction) -> bool {
    matches!(instruction, Instruction::Binary(Binary::Add | Binary::Sub | Binary::Mul | Binary::Div, ..))
}

/// What a dtype is computed in, as functions of the library are named.
fn suffix(dtype: DType) -> &'static str {
    match dtype {
        DType::I64 => "i64",
        DType::U64 => "u64",
        _ => compute_type(dtype).unwrap_or(""),
    }
}
