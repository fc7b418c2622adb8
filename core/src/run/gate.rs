//! The gate of a session: calls pass it while they run, and closing waits for them.

use super::variable::LOOK;
use crate::cpu::fork::{generation, section};
use crate::cpu::work::Watch;
use crate::error::{Error, Result};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Default)]
struct Inside {
    count: usize,
    closed: bool,
    /// The generation of the process in which `count` calls are inside.
    generation: usize,
}

impl Inside {
    /// How many calls are inside. Those of the process that this one was forked from are not.
    fn count(&mut self) -> &mut usize {
        let generation = generation();
        if self.generation != generation {
            self.generation = generation;
            self.count = 0;
        }
        &mut self.count
    }
}

#[derive(Default)]
struct State {
    inside: Mutex<Inside>,
    left: Condvar,
}

fn lock(inside: &Mutex<Inside>) -> MutexGuard<'_, Inside> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts the calls that run, and says whether new ones may.
#[derive(Default)]
pub struct Gate(Arc<State>);

/// A call inside the gate; it leaves when dropped.
pub struct Pass {
    state: Arc<State>,
    generation: usize,
}

impl Gate {
    /// Enters.
    ///
    /// # Errors
    /// `closed`.
    pub fn enter(&self) -> Result<Pass> {
        let _section = section();
        let mut inside = lock(&self.0.inside);
        if inside.closed {
            return Err(Error::closed("the session is closed"));
        }
        *inside.count() += 1;
        Ok(Pass { state: self.0.clone(), generation: inside.generation })
    }

    /// Lets nobody in any more, and waits for those inside as long as `watch` lets it; whether all have left. May be
    /// called again. Where there is one thread only, as in WASM, waiting would never end; the calls inside go on later.
    pub fn close(&self, watch: &Watch) -> bool {
        let mut inside = lock(&self.0.inside);
        inside.closed = true;
        while *inside.count() > 0 && !cfg!(target_family = "wasm") {
            if watch.look(true).is_some() {
                return false;
            }
            inside = self.0.left.wait_timeout(inside, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let _section = section();
        let mut inside = lock(&self.state.inside);
        let count = inside.count();
        // A call that was forked in its middle, in the child.
        if self.generation == generation() {
            *count -= 1;
        }
        drop(inside);
        self.state.left.notify_all();
    }
}
