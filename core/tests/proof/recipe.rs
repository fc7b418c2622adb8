//! Recipes: the numbers that a program is made of. Any numbers make a program, so they shrink freely.

use proptest::prelude::*;

/// What the first step of a program is: the search goes through all of them in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    /// Whatever the numbers say.
    Any,
    /// The case of that index in the catalogue; with a symbolic dim if it can and should.
    Case { index: usize, symbolic: bool },
    /// A region of that kind, with one of the other kind in it.
    Region { kind: usize, inner: usize, symbolic: bool },
}

/// One step: an op or a region, its operands, and what else there is to choose.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub what: u32,
    pub operands: [u16; 6],
    pub tweak: u32,
}

#[derive(Debug, Clone)]
pub struct Recipe {
    pub focus: Focus,
    pub steps: Vec<Step>,
    /// Which values are outputs, which state is written.
    pub ends: [u16; 8],
    /// What the tensors are drawn from.
    pub seed: u64,
}

fn step() -> impl Strategy<Value = Step> {
    (any::<u32>(), any::<[u16; 6]>(), any::<u32>()).prop_map(|(what, operands, tweak)| Step { what, operands, tweak })
}

/// Recipes with that focus and two to nine steps besides.
pub fn recipes(focus: Focus, seed: u64) -> impl Strategy<Value = Recipe> {
    let steps = proptest::collection::vec(step(), 1..9);
    // true shrinks to false: a focus that has nothing to do with a failure goes away.
    let focused = any::<u8>().prop_map(|number| number != 0);
    (focused, steps, any::<[u16; 8]>()).prop_map(move |(focused, steps, ends)| Recipe {
        focus: if focused { focus } else { Focus::Any },
        steps,
        ends,
        seed,
    })
}
