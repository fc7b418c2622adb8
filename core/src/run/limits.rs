//! Limits of calls: memory, time, cancellation.

use crate::cpu::memory::Budget;
use crate::cpu::work::{Watch, now};
use crate::meter::Meter;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What calls may spend. Clones share the budget and the flag that cancels.
#[derive(Debug, Clone)]
pub struct Limits {
    budget: Arc<Budget>,
    seconds: f64,
    cancelled: Arc<AtomicBool>,
}

impl Limits {
    /// At most `memory` bytes at once in all calls under these limits, and `seconds` for each; 0 is no limit.
    pub fn new(memory: u64, seconds: f64) -> Limits {
        let seconds = if seconds > 0.0 { seconds } else { f64::INFINITY };
        Limits { budget: Arc::new(Budget::new(memory)), seconds, cancelled: Arc::default() }
    }

    /// No limits.
    pub fn none() -> Limits {
        Limits::new(0, 0.0)
    }

    /// These limits, and those of `outer` for what these leave open.
    pub fn within(&self, outer: &Limits) -> Limits {
        let budget = if self.budget.limit() == 0 { outer.budget.clone() } else { self.budget.clone() };
        let seconds = if self.seconds.is_finite() { self.seconds } else { outer.seconds };
        Limits { budget, seconds, cancelled: self.cancelled.clone() }
    }

    /// The budget that allocations are charged to.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Ends every call under these limits, now and later, with `cancelled`.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// What reading or planning that starts now is charged to and watched by.
    pub fn meter(&self) -> Meter {
        Meter::new(&self.budget, self.watch())
    }

    /// What a call that starts now looks at.
    pub fn watch(&self) -> Watch {
        let deadline = if self.seconds.is_finite() { now() + self.seconds } else { f64::INFINITY };
        Watch { cancel: Some(self.cancelled.clone()), deadline, pause: f64::INFINITY }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::none()
    }
}
