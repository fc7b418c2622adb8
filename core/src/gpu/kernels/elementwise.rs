//! Element-wise ops and clusters of them: kernels of one pass, printed from the scalar expression. Where outputs have
//! elements of less than 4 bytes, an invocation computes those of a whole word.

use super::random;
use crate::cpu::call::{Layout, List};
use crate::dtype::DType;
use crate::gpu::kernel::{Recipe, Refusal, Request, Slot};
use crate::gpu::wgsl::{Binding, INVOCATIONS, Source, Values};
use crate::scalar::{Expression, Instruction, Register};
use std::collections::BTreeMap;

/// Computes `outputs` of an expression, whose inputs are the request's and, but for keys, broadcast to the shape of its
/// outputs.
///
/// # Errors
/// `float64`; more elements than 32 bits count.
pub fn print(expression: &Expression, outputs: &[Register], request: &Request) -> Result<Recipe, Refusal> {
    let sizes = &request.output(0)?.sizes;
    let mut printer = Printer { expression, request, sizes, known: BTreeMap::new(), recipe: Recipe::default() };
    if !sizes.contains(&0) {
        let results: Vec<_> = outputs.iter().enumerate().map(|(index, &x)| (x, Slot::Output(index))).collect();
        printer.compute(&results)?;
    }
    Ok(printer.recipe)
}

struct Printer<'a> {
    expression: &'a Expression,
    request: &'a Request<'a>,
    /// Those of the outputs.
    sizes: &'a [usize],
    /// The registers that lie in a workspace.
    known: BTreeMap<Register, Slot>,
    recipe: Recipe,
}

impl Printer<'_> {
    /// Adds launches that store registers in slots: one, or several that have few enough buffers each.
    fn compute(&mut self, results: &[(Register, Slot)]) -> Result<(), Refusal> {
        let limit = self.request.adapter.storage_buffers as usize;
        let registers: Vec<_> = results.iter().map(|(register, _)| *register).collect();
        if self.read(&registers).len() + results.len() <= limit {
            return self.launch(results);
        }
        if results.len() > 1 {
            let (some, others) = results.split_at(results.len() / 2);
            self.compute(some)?;
            return self.compute(others);
        }
        // What reads most of what one launch may is stored first.
        let candidates = self.needed(&registers).into_iter().filter(|&register| self.slot(register).is_none());
        let candidates = candidates.map(|register| (self.read(&[register]).len(), register));
        let Some((_, part)) = candidates.filter(|(read, _)| *read < limit).max() else {
            return Err(Refusal(format!("an instruction has more operands than {limit} buffers")));
        };
        let bytes = Layout::dense(self.expression.dtype(part), self.sizes).bytes();
        let slot = self.recipe.work(bytes as u64);
        self.compute(&[(part, slot)])?;
        self.known.insert(part, slot);
        self.compute(results)
    }

    /// Where the value of a register lies, if it is not to be computed.
    fn slot(&self, register: Register) -> Option<Slot> {
        match self.expression.steps()[register as usize].instruction {
            Instruction::Input(index) | Instruction::Random(index) => Some(Slot::Input(index.into())),
            _ => self.known.get(&register).copied(),
        }
    }

    fn is_random(&self, register: Register) -> bool {
        matches!(self.expression.steps()[register as usize].instruction, Instruction::Random(_))
    }

    fn needed(&self, results: &[Register]) -> Vec<Register> {
        self.expression.needed(results, |register| self.slot(register).is_some())
    }

    /// What the computation of these registers reads, each slot once, and the registers that lie there or whose key does.
    fn read(&self, results: &[Register]) -> Vec<(Slot, Vec<Register>)> {
        let mut slots: Vec<(Slot, Vec<Register>)> = Vec::new();
        for register in self.needed(results) {
            if let Some(slot) = self.slot(register) {
                match slots.iter_mut().find(|(other, _)| *other == slot) {
                    Some((_, registers)) => registers.push(register),
                    None => slots.push((slot, vec![register])),
                }
            }
        }
        slots
    }

    /// How the elements of a slot lie, broadcast to the sizes of the outputs.
    fn layout(&self, slot: Slot, register: Register) -> Result<Layout, Refusal> {
        match slot {
            Slot::Input(index) => broadcast(self.request.input(index)?, self.sizes),
            _ => Ok(Layout::dense(self.expression.dtype(register), self.sizes)),
        }
    }

    fn launch(&mut self, results: &[(Register, Slot)]) -> Result<(), Refusal> {
        let registers: Vec<_> = results.iter().map(|(register, _)| *register).collect();
        let mut source = Source::new([INVOCATIONS, 1, 1]);
        let mut inputs = Inputs::default();
        for (slot, registers) in self.read(&registers) {
            let (words, elements): (Vec<_>, Vec<_>) = registers.into_iter().partition(|&x| self.is_random(x));
            let dtype = elements.first().map_or(DType::U32, |&register| self.expression.dtype(register));
            let binding = source.read(slot, dtype)?;
            if let (Slot::Input(index), false) = (slot, words.is_empty()) {
                inputs.add_key(binding.clone(), self.request.input(index)?, words);
            }
            if let Some(&register) = elements.first() {
                inputs.add(binding, self.layout(slot, register)?, elements);
            }
        }
        let mut outputs = Vec::new();
        for &(register, slot) in results {
            outputs.push(Output::new(&mut source, register, self.expression, slot)?);
        }
        let count = self.sizes.iter().product::<usize>();
        let most = outputs.iter().map(|output| output.in_word).max().unwrap_or(1);
        let (mut index, groups) = source.for_each(count.div_ceil(most))?;
        inputs.begin(&mut source);
        let count = if most > 1 { source.size(count as i64) } else { String::new() };
        if most > 1 {
            outputs.iter_mut().for_each(|output| output.begin(&mut source));
            source.line(format!("for (var part = 0u; part < {most}u; part += 1u) {{"));
            index = source.value("element", format!("({index} * {most}u) + part"));
            source.line(format!("if ({index} >= {count}) {{ break; }}"));
        }
        let mut values = Values::new();
        inputs.load(&mut source, self.expression, &index, &mut values);
        source.evaluate(self.expression, &registers, &mut values)?;
        for output in &outputs {
            output.store(&mut source, &index, &count, &values[&output.register]);
        }
        if most > 1 {
            source.line("}");
        }
        self.recipe.launches.push(source.launch(groups));
        Ok(())
    }
}

/// What a launch reads, and the registers that have it.
#[derive(Default)]
pub struct Inputs {
    /// Elements, with their layouts broadcast to the sizes of the outputs.
    elements: Vec<(Binding, Layout, Vec<Register>)>,
    /// Keys, with the words that are made of them.
    keys: Vec<(Binding, Layout, Vec<Register>)>,
    /// The names of the keys, once they are loaded.
    names: Vec<String>,
}

impl Inputs {
    /// Adds elements.
    pub fn add(&mut self, binding: Binding, layout: Layout, registers: Vec<Register>) {
        self.elements.push((binding, layout, registers));
    }

    /// Adds a key, and the registers that are random words of it.
    pub fn add_key(&mut self, binding: Binding, layout: &Layout, words: Vec<Register>) {
        self.keys.push((binding, layout.clone(), words));
    }

    /// Adds what loads the keys.
    pub fn begin(&mut self, source: &mut Source) {
        let load = |(binding, layout, _): &(Binding, Layout, _)| random::load_key(source, binding, layout);
        self.names = self.keys.iter().map(load).collect();
    }

    /// Adds what loads or makes the element of an index of each.
    pub fn load(&self, source: &mut Source, expression: &Expression, index: &str, values: &mut Values) {
        let mut offsets: Vec<(&Layout, String)> = Vec::new();
        for (binding, layout, registers) in &self.elements {
            let same =
                |(other, _): &&(&Layout, String)| other.strides == layout.strides && other.offset == layout.offset;
            let offset = match offsets.iter().find(same) {
                Some((_, offset)) => offset.clone(),
                None => source.offset(layout, index),
            };
            let value = source.value("x", binding.load(&offset));
            offsets.push((layout, offset));
            values.extend(registers.iter().map(|&register| (register, value.clone())));
        }
        for (key, (.., words)) in self.names.iter().zip(&self.keys) {
            for &register in words {
                let word = random::word(source, key, index, expression.dtype(register));
                values.insert(register, source.value("x", word));
            }
        }
    }
}

/// A register that a launch stores.
pub struct Output {
    /// The register.
    pub register: Register,
    binding: Binding,
    dtype: DType,
    /// How many elements are in a word: 1, or those that are put together in `word`.
    in_word: usize,
    word: String,
}

impl Output {
    /// Binds the slot that a register goes to.
    ///
    /// # Errors
    /// `float64`.
    pub fn new(
        source: &mut Source,
        register: Register,
        expression: &Expression,
        slot: Slot,
    ) -> Result<Output, Refusal> {
        let dtype = expression.dtype(register);
        let in_word = 4 / dtype.size().min(4);
        let binding = if in_word > 1 { source.write_words(slot) } else { source.write(slot, dtype)? };
        Ok(Output { register, binding, dtype, in_word, word: String::new() })
    }

    /// Adds the variable in which elements are put together, before those of the invocation.
    pub fn begin(&mut self, source: &mut Source) {
        if self.in_word > 1 {
            self.word = source.name("word");
            source.line(format!("var {} = 0u;", self.word));
        }
    }

    /// Adds what stores the value of an element, of `count` that there are, with the last one of its word.
    pub fn store(&self, source: &mut Source, index: &str, count: &str, value: &str) {
        if self.in_word == 1 {
            return source.line(self.binding.store(index, value));
        }
        let (bits, word, buffer) = (source.bits(self.dtype, value), &self.word, &self.binding.name);
        let (width, power, last) = (8 * self.dtype.size(), self.in_word.ilog2(), self.in_word - 1);
        source.line(format!("{word} |= {bits} << (({index} & {last}u) * {width}u);"));
        source.line(format!("if (({index} & {last}u) == {last}u || {index} + 1u == {count}) {{"));
        source.line(format!("{buffer}[{index} >> {power}u] = {word};"));
        source.line(format!("{word} = 0u;"));
        source.line("}");
    }
}

/// A layout as one of those sizes, to which its own broadcast.
pub fn broadcast(layout: &Layout, sizes: &[usize]) -> Result<Layout, Refusal> {
    let Some(more) = sizes.len().checked_sub(layout.sizes.len()) else {
        return Err(Refusal(format!("an input has more axes than {sizes:?}")));
    };
    let own = |axis: usize| axis.checked_sub(more).filter(|&axis| layout.sizes[axis] != 1);
    let strides: List<_> = (0..sizes.len()).map(|axis| own(axis).map_or(0, |axis| layout.strides[axis])).collect();
    Ok(Layout { dtype: layout.dtype, sizes: sizes.into(), strides, offset: layout.offset })
}

#[cfg(all(test, feature = "gpu"))]
mod tests;
