//! What work that is no run (reading files, passes, plans) is charged to, and what stops it.

use crate::cpu::memory::Budget;
use crate::cpu::single::stopped;
use crate::cpu::work::Watch;
use crate::error::Result;
use std::sync::Arc;

/// A budget and a watch for one piece of work. The default counts nothing and stops never.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    budget: Option<Arc<Budget>>,
    watch: Watch,
}

impl Meter {
    /// Charges to a budget, and stops when the watch says so.
    pub fn new(budget: &Arc<Budget>, watch: Watch) -> Meter {
        Meter { budget: Some(budget.clone()), watch }
    }

    /// The budget, if there is one.
    pub fn budget(&self) -> Option<&Arc<Budget>> {
        self.budget.as_ref()
    }

    /// When to stop.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Whether the work may go on.
    ///
    /// # Errors
    /// `deadline`, `cancelled`.
    pub fn check(&self) -> Result<()> {
        self.watch.look(false).map_or(Ok(()), |stop| Err(stopped(stop)))
    }

    /// Counts `bytes` until the charge is dropped.
    ///
    /// # Errors
    /// `memory`: they would pass the budget's limit.
    pub fn charge(&self, bytes: u64) -> Result<Charge> {
        let mut charge = Charge { budget: self.budget.clone(), bytes: 0 };
        charge.add(bytes)?;
        Ok(charge)
    }
}

/// Bytes that count in a budget until this is dropped; a clone counts as much again.
#[derive(Debug, Default)]
pub struct Charge {
    budget: Option<Arc<Budget>>,
    bytes: u64,
}

impl Charge {
    /// Nothing yet, to be counted in a budget.
    pub fn to(budget: &Arc<Budget>) -> Charge {
        Charge { budget: Some(budget.clone()), bytes: 0 }
    }

    /// Counts `bytes` more.
    ///
    /// # Errors
    /// `memory`: they would pass the budget's limit; nothing more is counted then.
    pub fn add(&mut self, bytes: u64) -> Result<()> {
        if let Some(budget) = &self.budget {
            budget.charge(bytes)?;
            self.bytes += bytes;
        }
        Ok(())
    }

    /// Counts `bytes` that are there already, even if they pass the limit: what is charged next is refused then.
    pub fn add_held(&mut self, bytes: u64) {
        if let Some(budget) = &self.budget {
            budget.add(bytes);
            self.bytes += bytes;
        }
    }
}

impl Clone for Charge {
    fn clone(&self) -> Charge {
        let mut charge = Charge { budget: self.budget.clone(), bytes: 0 };
        charge.add_held(self.bytes);
        charge
    }
}

impl PartialEq for Charge {
    /// Always: what was counted is no part of what it was counted for.
    fn eq(&self, _: &Charge) -> bool {
        true
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.release(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::work::Stop;
    use crate::error::Code;

    #[test]
    fn charges_count_until_they_are_dropped() {
        let budget = Arc::new(Budget::new(100));
        let meter = Meter::new(&budget, Watch::default());
        let mut charge = meter.charge(40).unwrap();
        let other = charge.clone();
        assert_eq!((budget.used(), charge.add(30).unwrap_err().code()), (80, Code::Memory));
        charge.add_held(30);
        assert_eq!((budget.used(), charge.add(0).unwrap_err().code()), (110, Code::Memory));
        drop(charge);
        assert_eq!(budget.used(), 40);
        drop(other);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn work_is_stopped() {
        let late = Meter::new(&Arc::default(), Watch { deadline: 0.0, ..Watch::default() });
        assert_eq!(late.check(), Err(stopped(Stop::Deadline)));
        assert_eq!(Meter::default().check(), Ok(()));
    }
}
