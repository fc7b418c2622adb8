//! Bounds of the bytes that the parts of a graph take, vectors that have grown to twice their need included. What parts
//! of several graphs share counts in each.

use super::{Input, Node, Requirement, ValueInfo};
use crate::attrs::AttrValue;
use crate::op::Spec;
use crate::shape::Dim;

/// What the allocator adds to a block, and the counts of a shared one.
const BLOCK: usize = 32;

fn dims(dims: &[Dim]) -> usize {
    let symbolic: usize = dims.iter().map(Dim::bytes).sum();
    BLOCK + 2 * size_of_val(dims) + symbolic
}

fn attr(value: &AttrValue) -> usize {
    size_of::<AttrValue>()
        + match value {
            AttrValue::Text(text) => BLOCK + text.len(),
            AttrValue::Dim(dim) => dim.bytes(),
            AttrValue::Ints(values) => BLOCK + 2 * size_of_val(&values[..]),
            AttrValue::Dims(values) => dims(values),
            // Its elements count where they are made.
            AttrValue::Tensor(tensor) => 4 * BLOCK + 2 * size_of_val(tensor.sizes()),
            _ => 0,
        }
}

/// An input without its value.
pub fn input(name: &str) -> u64 {
    // In the list, and in a table of names, which is as large again while it grows.
    (2 * size_of::<Input>() + 4 * size_of::<&str>() + 2 * BLOCK + name.len()) as u64
}

/// A node without its values.
pub fn node(node: &Node) -> u64 {
    let attrs: usize = node.op.attrs.iter().map(|(_, value)| attr(value)).sum();
    let lists = 2 * size_of_val(&node.inputs[..]) + 2 * size_of_val(&node.regions[..]);
    (2 * size_of::<Node>() + 3 * BLOCK + lists + attrs) as u64
}

/// A value.
pub fn value(spec: &Spec) -> u64 {
    (2 * size_of::<ValueInfo>() + dims(&spec.shape)) as u64
}

/// A requirement, and its sides in the table of those that are known.
pub fn requirement(requirement: &Requirement) -> u64 {
    let sides = requirement.left.bytes() + requirement.right.bytes();
    (2 * size_of::<Requirement>() + 4 * size_of::<(Dim, Dim)>() + BLOCK + requirement.op.len() + 2 * sides) as u64
}
