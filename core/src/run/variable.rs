//! Variables: cells of state. A commit changes several at once, and no reader sees half of one.

use crate::cpu::fork::{generation, section};
use crate::cpu::memory::push;
use crate::cpu::single::stopped;
use crate::cpu::work::{Stop, Watch};
use crate::error::{Error, Result};
use crate::gpu::device::Device;
use crate::meter::Charge;
use crate::tensor::Tensor;
use std::borrow::Borrow;
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
    /// An earlier value that nobody holds any more, whose memory is for the next one.
    spare: Option<Tensor>,
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
        let changes = [(self.clone(), value)];
        let Some(_writers) = write_within(Cells::writing(vec![self.clone()])?, watch)? else { return Ok(false) };
        commit(changes.iter().map(|(variable, value)| (variable, value.clone())));
        Ok(true)
    }

    /// Moves the value to a device, or to the CPU if there is none, after the runs that write it, for as long as `watch`
    /// lets it wait for them; whether it is there.
    ///
    /// # Errors
    /// Those of [`Tensor::to_device`]; `cancelled`, `deadline`: while it waited.
    pub fn move_within(self: &Arc<Self>, device: Option<&Arc<Device>>, watch: &Watch) -> Result<bool> {
        if self.get().is_on(device) {
            return Ok(true);
        }
        let Some(_writers) = write_within(Cells::writing(vec![self.clone()])?, watch)? else { return Ok(false) };
        let value = match device {
            Some(device) => self.get().to_device(device, Charge::default(), &Watch::default())?,
            None => self.get().to_host(&Watch::default())?,
        };
        commit(std::iter::once((self, value)));
        Ok(true)
    }

    /// An earlier value that nobody holds any more, if there is one, to be overwritten.
    pub fn take_spare(&self) -> Option<Tensor> {
        let _section = section();
        lock(&self.cell).spare.take()
    }

    /// Keeps a tensor of the value's spec to be overwritten, unless somebody else holds it.
    pub fn give_spare(&self, spare: Tensor) {
        let _section = section();
        if spare.is_sole() {
            lock(&self.cell).spare = Some(spare);
        }
    }
}

/// Checks that a new value has the spec of the old one.
///
/// # Errors
/// `dtype`, `shape`: it has not.
pub fn check_spec(what: &str, old: &Tensor, new: &Tensor) -> Result<()> {
    if old.dtype() == new.dtype() && old.sizes() == new.sizes() {
        return Ok(());
    }
    let (old, new) = (old.spec(), new.spec());
    if old.dtype != new.dtype {
        return Err(Error::dtype(format!("{what} is {old}, the new value is {new}")));
    }
    if old.shape != new.shape {
        return Err(Error::shape(format!("{what} is {old}, the new value is {new}")));
    }
    Ok(())
}

/// Hands the values of several variables at one moment to `each`.
///
/// # Errors
/// Those of `each`.
pub fn read(variables: &[Arc<Variable>], mut each: impl FnMut(Tensor) -> Result<()>) -> Result<()> {
    if variables.is_empty() {
        return Ok(());
    }
    let _section = section();
    let _shared = COMMIT.read().unwrap_or_else(PoisonError::into_inner);
    variables.iter().try_for_each(|variable| each(variable.get()))
}

/// Changes several variables at one moment. The caller holds their [`Writers`] and has checked the specs.
pub fn commit<'a>(changes: impl Iterator<Item = (&'a Arc<Variable>, Tensor)>) {
    let _section = section();
    let _exclusive = COMMIT.write().unwrap_or_else(PoisonError::into_inner);
    for (variable, value) in changes {
        let mut cell = lock(&variable.cell);
        let old = std::mem::replace(&mut cell.value, value);
        if old.is_sole() {
            cell.spare = Some(old);
        }
    }
}

/// The variables of a function.
#[derive(Default)]
pub struct Cells {
    /// Those that it reads.
    pub reads: Vec<Arc<Variable>>,
    /// Those that it writes.
    pub writes: Vec<Arc<Variable>>,
    /// Those that a run holds until it ends: all if it writes any. In one order for all functions, so that two runs that
    /// wait for each other cannot be.
    held: Vec<Arc<Variable>>,
}

impl Cells {
    /// The variables that a function reads and writes.
    pub fn new(reads: Vec<Arc<Variable>>, writes: Vec<Arc<Variable>>) -> Cells {
        let reads_too = if writes.is_empty() { &[][..] } else { &reads };
        let held = in_order(reads_too.iter().chain(&writes).cloned().collect());
        Cells { reads, writes, held }
    }

    /// Variables that are written.
    ///
    /// # Errors
    /// `memory`: the system has no more.
    pub fn writing(writes: Vec<Arc<Variable>>) -> Result<Cells> {
        let mut held = Vec::new();
        writes.iter().try_for_each(|variable| push(&mut held, variable.clone()))?;
        Ok(Cells { reads: Vec::new(), writes, held: in_order(held) })
    }
}

fn in_order(mut variables: Vec<Arc<Variable>>) -> Vec<Arc<Variable>> {
    variables.sort_unstable_by_key(|variable| Arc::as_ptr(variable) as usize);
    variables.dedup_by(|a, b| Arc::ptr_eq(a, b));
    variables
}

/// The right to write some variables; others wait.
pub struct Writers<C: Borrow<Cells>> {
    cells: C,
    /// How many of them are held by now.
    count: usize,
    generation: usize,
}

/// Waits until no other run writes any of these, for as long as `watch` lets it; `None` when its pause time has come.
///
/// # Errors
/// `argument`: in WASM, where nobody else can end that run meanwhile.
pub fn write<C: Borrow<Cells>>(cells: C) -> Result<Writers<C>> {
    let writers = write_within(cells, &Watch::default())?;
    writers.ok_or_else(|| Error::internal("a wait without an end has ended"))
}

/// As [`write`], for as long as `watch` lets it wait; `None` when its pause time has come.
///
/// # Errors
/// `cancelled`, `deadline`: while it waited.
pub fn write_within<C: Borrow<Cells>>(cells: C, watch: &Watch) -> Result<Option<Writers<C>>> {
    let mut writers = Writers { cells, count: 0, generation: generation() };
    while let Some(variable) = writers.cells.borrow().held.get(writers.count) {
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
        writers.count += 1;
    }
    Ok(Some(writers))
}

impl<C: Borrow<Cells>> Drop for Writers<C> {
    fn drop(&mut self) {
        let _section = section();
        for variable in &self.cells.borrow().held[..self.count] {
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
