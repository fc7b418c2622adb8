//! Checked runs: what kernels hide is an error that names the values and the user's line.
//!
//! An executable for them keeps every node, so that steps and lines are one to one, and runs a composite as one step
//! whose inner steps are its region's. Before a step the values of its inputs are looked at, as the op's record asks
//! ([`Check`]); after it, its results: NaN where no operand holds one is refused. Infinities are not, since programs
//! mask with them. Inside a composite only inputs are looked at, for a lowering may select between values that it has
//! computed for all; the error names the composite.

use crate::attrs::Attrs;
use crate::cpu::call::View;
use crate::cpu::check::{element, find};
use crate::cpu::work::{Cursor, Stop, Watch, Work};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Bound, Check, Meaning, OpDef};

/// Where a checked run stands in a step; one that is not checked is always at [`Stage::Run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Looks at the operands.
    Operands,
    /// Runs.
    Run,
    /// Looks at the results.
    Results,
}

/// A step as a check sees it.
pub struct Subject<'a> {
    /// The op.
    pub def: &'static OpDef,
    /// Its attrs, dims known.
    pub attrs: &'a Attrs,
    /// Its operands; `None` where an optional one was left out.
    pub inputs: &'a [Option<View<'a>>],
    /// Its results; not yet computed when operands are looked at.
    pub outputs: &'a [View<'a>],
    /// Whether it is part of a composite.
    pub inner: bool,
}

/// Why a check ended without success.
pub enum Ended {
    /// It had to stop; if paused, it goes on when called again with the same arguments.
    Stopped(Stop),
    /// A value is refused.
    Refused(Error),
}

impl From<Stop> for Ended {
    fn from(stop: Stop) -> Ended {
        Ended::Stopped(stop)
    }
}

impl Subject<'_> {
    /// Looks at operands or results, as the stage says.
    ///
    /// # Errors
    /// `index`: an index outside its range; `argument`: an integer divided by 0, a number that the dtype does not hold,
    /// NaN that no operand holds.
    pub fn check(&self, stage: Stage, watch: &Watch, cursor: &mut Cursor) -> Result<(), Ended> {
        let mut work = Work::new(watch, cursor);
        match stage {
            Stage::Operands => (0..self.inputs.len()).try_for_each(|index| self.operand(index, &mut work)),
            Stage::Run => Ok(()),
            Stage::Results => self.outputs.iter().enumerate().try_for_each(|(index, &output)| {
                let looks =
                    output.dtype().is_float() && !self.inner && !matches!(self.def.meaning, Meaning::Control(_));
                if looks { self.result(index, output, watch, &mut work) } else { Ok(()) }
            }),
        }
    }

    fn operand(&self, index: usize, work: &mut Work) -> Result<(), Ended> {
        let (Some(input), Some(Some(view))) = (self.def.input(index), self.inputs.get(index)) else { return Ok(()) };
        let (view, name) = (*view, input.name);
        let refused = match input.check {
            Check::None => None,
            // Labels may be weights.
            Check::Index(_) if view.dtype().is_float() => None,
            Check::Index(bounds) => {
                let sizes: Vec<_> =
                    self.inputs.iter().map(|input| input.map_or(&[][..], |input| input.sizes())).collect();
                let bounds = bounds(self.attrs, &sizes);
                if bounds.is_empty() {
                    return Ok(());
                }
                let of = |number: usize| bounds[number % bounds.len()];
                let outside = find(work, view, |value, number| !of(number).holds(value))?;
                outside.map(|number| out_of_bounds(name, view, number, of(number)))
            }
            Check::NotZero if view.dtype().is_float() => None,
            Check::NotZero => {
                find(work, view, |value, _| value == crate::cpu::check::Number::Integer(0))?.map(|number| {
                    Error::argument(format!("{name} is 0{}; integers have no quotient by 0", at(view, number)))
                })
            }
            Check::Held => match self.outputs.first().map(View::dtype) {
                Some(dtype) if dtype.is_integer() && view.dtype().is_float() => {
                    find(work, view, |value, _| !value.fits(dtype))?.map(|number| not_held(name, view, number, dtype))
                }
                _ => None,
            },
        };
        match refused {
            Some(error) => Err(Ended::Refused(error.with_argument(name))),
            None => Ok(()),
        }
    }

    fn result(&self, index: usize, output: View, watch: &Watch, work: &mut Work) -> Result<(), Ended> {
        let Some(number) = find(work, output, |value, _| value.is_nan())? else { return Ok(()) };
        // Not paused: what was found above would not be found again.
        let watch = Watch { pause: f64::INFINITY, ..watch.clone() };
        for &input in self.inputs.iter().flatten().filter(|input| input.dtype().is_float()) {
            if find(&mut Work::new(&watch, &mut Cursor::default()), input, |value, _| value.is_nan())?.is_some() {
                return Ok(());
            }
        }
        let name = self.def.outputs.get(index).copied().unwrap_or("output");
        let operands = self.operands_at(output, number);
        let error = Error::argument(format!("{name} is NaN{}{operands}; no input holds NaN", at(output, number)));
        Err(Ended::Refused(error.with_argument(name)))
    }

    /// The operands that an element of an element-wise op's result comes from.
    fn operands_at(&self, output: View, number: usize) -> String {
        if !matches!(self.def.meaning, Meaning::Scalar(_)) {
            return String::new();
        }
        let place = place(output.sizes(), number);
        let mut texts = Vec::new();
        for (index, input) in self.inputs.iter().enumerate() {
            let (Some(input), Some(def)) = (*input, self.def.input(index)) else { continue };
            // Operands broadcast: they are aligned at their last axes, where 1 stands for any size.
            let own = input.sizes().iter().rev().zip(place.iter().rev());
            let own: Vec<usize> = own.map(|(&size, &at)| if size == 1 { 0 } else { at }).collect();
            let number = input.sizes().iter().zip(own.iter().rev()).fold(0, |number, (size, at)| number * size + at);
            texts.push(format!("{} is {}", def.name, element(input, number)));
        }
        format!(" where {}", texts.join(" and "))
    }
}

fn out_of_bounds(name: &str, view: View, number: usize, bound: Bound) -> Error {
    let (value, place, Bound { axis, size, low, high }) = (element(view, number), at(view, number), bound);
    let name = if name == "indices" { "index" } else { name.strip_suffix('s').unwrap_or(name) };
    let range = if high == size as i64 { String::new() } else { format!("; it can be {low} to {}", high - 1) };
    Error::index(format!("{name} {value}{place} is out of bounds for axis {axis} of size {size}{range}"))
}

fn not_held(name: &str, view: View, number: usize, dtype: DType) -> Error {
    let value = element(view, number);
    Error::argument(format!("{name} is {value}{}, which {dtype} does not hold", at(view, number)))
}

/// ` at [1, 2]`; nothing for a scalar.
fn at(view: View, number: usize) -> String {
    match view.sizes() {
        [] => String::new(),
        sizes => format!(" at {:?}", place(sizes, number)),
    }
}

/// The place of an element along each axis.
fn place(sizes: &[usize], number: usize) -> Vec<usize> {
    let mut place = vec![0; sizes.len()];
    let mut rest = number;
    for (at, &size) in place.iter_mut().zip(sizes).rev() {
        *at = rest % size;
        rest /= size;
    }
    place
}
