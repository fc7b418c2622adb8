//! The gate of a session: calls pass it while they run, and closing waits for them.

use crate::error::{Error, Result};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Beside the count of the calls inside: no more may enter.
const CLOSED: usize = 1 << (usize::BITS - 1);

#[derive(Default)]
struct State {
    /// How many calls are inside, and whether the gate is closed.
    inside: AtomicUsize,
    closing: Mutex<()>,
    left: Condvar,
}

/// Counts the calls that run, and says whether new ones may.
#[derive(Default)]
pub struct Gate(Arc<State>);

/// A call inside the gate; it leaves when dropped.
pub struct Pass(Arc<State>);

impl Gate {
    /// Enters.
    ///
    /// # Errors
    /// `closed`.
    pub fn enter(&self) -> Result<Pass> {
        let before = self.0.inside.fetch_add(1, Ordering::AcqRel);
        let pass = Pass(self.0.clone());
        if before & CLOSED != 0 { Err(Error::closed("the session is closed")) } else { Ok(pass) }
    }

    /// Lets nobody in any more, and waits for those inside. May be called again. Where there is one thread only, as in
    /// WASM, waiting would never end; the calls inside go on later.
    pub fn close(&self) {
        self.0.inside.fetch_or(CLOSED, Ordering::AcqRel);
        let mut closing = self.0.closing.lock().unwrap_or_else(PoisonError::into_inner);
        while self.0.inside.load(Ordering::Acquire) != CLOSED && !cfg!(target_family = "wasm") {
            closing = self.0.left.wait(closing).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        // The last to leave a closed gate; under the lock, so that who closes either sees it or is already waiting.
        if self.0.inside.fetch_sub(1, Ordering::AcqRel) == CLOSED + 1 {
            drop(self.0.closing.lock().unwrap_or_else(PoisonError::into_inner));
            self.0.left.notify_all();
        }
    }
}
