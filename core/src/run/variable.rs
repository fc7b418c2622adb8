//! Variables: cells of state. A commit changes several at once, and no reader sees half of one.

use crate::cpu::fork::{generation, section};
use crate::cpu::memory::Buffer;
use crate::cpu::single::stopped;
use crate::cpu::work::{Stop, Watch};
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// Held shared while values are read together, exclusively while they are changed together; never while work is done.
static COMMIT: RwLock<()> = RwLock::new(());

/// How often one who waits looks at its limits.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// A cell of state, which sessions may share.
pub struct Variable {
    cell: Mutex<Cell>,
    /// The generation of the process in which a run writes it, if one does.
    writing: Mutex<Option<usize>>,
    written: Condvar,
}

struct Cell {
    value: Tensor,
    /// The memory of an earlier value that nobody holds any more, for the next one.
    spare: Option<Buffer>,
}

/// A poisoned lock is only one whose holder panicked; what it guards is whole, since changes are single moves.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Variable {
    /// A cell with its first value.
    pub fn new(initial: Tensor) -> Variable {
        Variable {
            cell: Mutex::new(Cell { value: initial, spare: None }),
            writing: Mutex::new(None),
            written: Condvar::new(),
        }
    }

    /// The value now.
    pub fn get(&self) -> Tensor {
        let _section = section();
        lock(&self.cell).value.clone()
    }

    /// Sets the value, after the runs that write it.
    ///
    /// # Errors
    /// `dtype`, `shape`: it has another spec than the value before.
    pub fn set(self: &Arc<Self>, value: Tensor) -> Result<()> {
        self.set_within(value, &Watch::default()).map(|_| ())
    }

    /// As [`Variable::set`], for as long as `watch` lets it wait; whether the value was set.
    ///
    /// # Errors
    /// Those of [`Variable::set`]; `cancelled`, `deadline`: while it waited.
    pub fn set_within(self: &Arc<Self>, value: Tensor, watch: &Watch) -> Result<bool> {
        check_spec("the variable", &self.get(), &value)?;
        let Some(_writers) = write_within(vec![self.clone()], watch)? else { return Ok(false) };
        commit([(self.clone(), value)].into_iter());
        Ok(true)
    }

    /// Memory of `bytes` bytes from an earlier value, if there is.
    pub fn take_spare(&self, bytes: usize) -> Option<Buffer> {
        let _section = section();
        let mut cell = lock(&self.cell);
        if cell.spare.as_ref().is_some_and(|spare| spare.len() == bytes) { cell.spare.take() } else { None }
    }
}

/// Checks that a new value has the spec of the old one.
///
/// # Errors
/// `dtype`, `shape`: it has not.
pub fn check_spec(what: &str, old: &Tensor, new: &Tensor) -> Result<()> {
    let (old, new) = (old.spec(), new.spec());
    if old.dtype != new.dtype {
        return Err(Error::dtype(format!("{what} is {old}, the new value is {new}")));
    }
    if old.shape != new.shape {
        return Err(Error::shape(format!("{what} is {old}, the new value is {new}")));
    }
    Ok(())
}

/// The values of several variables at one moment.
pub fn read<'a>(variables: impl Iterator<Item = &'a Arc<Variable>>) -> Vec<Tensor> {
    let _section = section();
    let _shared = COMMIT.read().unwrap_or_else(PoisonError::into_inner);
    variables.map(|variable| variable.get()).collect()
}

/// Changes several variables at one moment. The caller holds their [`Writers`] and has checked the specs.
pub fn commit(changes: impl Iterator<Item = (Arc<Variable>, Tensor)>) {
    let _section = section();
    let _exclusive = COMMIT.write().unwrap_or_else(PoisonError::into_inner);
    for (variable, value) in changes {
        let mut cell = lock(&variable.cell);
        let old = std::mem::replace(&mut cell.value, value);
        if let Some(buffer) = old.into_sole_buffer() {
            cell.spare = Some(buffer);
        }
    }
}

/// The right to write some variables; others wait.
pub struct Writers {
    held: Vec<Arc<Variable>>,
    generation: usize,
}

/// Waits until no other run writes any of these, for as long as `watch` lets it; `None` when its pause time has come.
///
/// # Errors
/// `cancelled`, `deadline`: while it waited; `argument`: in WASM, where nobody else can end that run meanwhile.
pub fn write_within(mut variables: Vec<Arc<Variable>>, watch: &Watch) -> Result<Option<Writers>> {
    // One order for all, so that two who wait for each other cannot be.
    variables.sort_by_key(|variable| Arc::as_ptr(variable) as usize);
    variables.dedup_by(|a, b| Arc::ptr_eq(a, b));
    let mut writers = Writers { held: Vec::with_capacity(variables.len()), generation: generation() };
    for variable in variables {
        let mut busy = lock(&variable.writing);
        // A run of the process that this one was forked from does not write here.
        while *busy == Some(writers.generation) {
            if cfg!(target_family = "wasm") {
                return Err(Error::argument("another run that writes this state has not ended"));
            }
            match watch.look(true) {
                None => {}
                Some(Stop::Paused) => return Ok(None),
                Some(stop) => return Err(stopped(stop)),
            }
            // When it is woken it holds the lock outside a section: the one moment that a fork may still hit.
            busy = variable.written.wait_timeout(busy, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        *busy = Some(writers.generation);
        drop(busy);
        writers.held.push(variable);
    }
    Ok(Some(writers))
}

impl Drop for Writers {
    fn drop(&mut self) {
        let _section = section();
        for variable in &self.held {
            let mut busy = lock(&variable.writing);
            // In a child, a run that was forked in its middle has lost it to one that came later.
            if *busy == Some(self.generation) {
                *busy = None;
            }
            drop(busy);
            variable.written.notify_one();
        }
    }
}
