//! Random programs: typed graphs over every op, dtype and region kind, and what must hold of each of them.
//!
//! A [`recipe::Recipe`] is a short list of numbers. [`graph::Maker`] makes a graph of it, whatever the numbers are, so a
//! recipe that fails shrinks by shrinking its numbers. What an op takes is read from its record; nothing here names an
//! op whose behaviour it tests.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod catalogue;
pub mod coverage;
pub mod gradient;
pub mod graph;
pub mod interpret;
pub mod properties;
pub mod recipe;
pub mod regions;
pub mod search;
pub mod specials;
pub mod state;
pub mod vectors;
