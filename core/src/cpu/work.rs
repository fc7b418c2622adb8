//! What a kernel asks while it works: may I go on, and who does my tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use super::threads;

/// Why a kernel stopped before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stop {
    /// The caller cancelled; the run is over.
    Cancelled = 1,
    /// The deadline passed; the run is over.
    Deadline = 2,
    /// The piece of time is used up; calling the kernel again with the same arguments goes on.
    Paused = 3,
    /// No memory, or less workspace than the kernel said it needs.
    OutOfMemory = 4,
}

impl Stop {
    fn from_number(number: u8) -> Stop {
        match number {
            1 => Stop::Cancelled,
            2 => Stop::Deadline,
            3 => Stop::Paused,
            _ => Stop::OutOfMemory,
        }
    }
}

/// What a run looks at while it works.
#[derive(Debug, Clone)]
pub struct Watch {
    /// Set by another thread to cancel.
    pub cancel: Option<Arc<AtomicBool>>,
    /// When the run must have ended, in seconds on the clock of [`now`]; infinity for never.
    pub deadline: f64,
    /// When the run must hand back what is left, in seconds on the clock of [`now`]; infinity for never.
    pub pause: f64,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch { cancel: None, deadline: f64::INFINITY, pause: f64::INFINITY }
    }
}

impl Watch {
    /// One that hands back after about `seconds`; infinity for never.
    pub fn piece(seconds: f64) -> Watch {
        Watch { pause: if seconds.is_finite() { now() + seconds } else { f64::INFINITY }, ..Watch::default() }
    }

    /// Why work should stop now, if it should; a pause counts only if `may_pause`.
    pub fn look(&self, may_pause: bool) -> Option<Stop> {
        if self.cancel.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed)) || host::poll() {
            return Some(Stop::Cancelled);
        }
        let next = if may_pause { self.deadline.min(self.pause) } else { self.deadline };
        if next == f64::INFINITY {
            return None;
        }
        let time = now();
        if time >= self.deadline {
            Some(Stop::Deadline)
        } else if time >= next {
            Some(Stop::Paused)
        } else {
            None
        }
    }
}

/// Seconds on a clock that never goes back; its zero is arbitrary.
pub fn now() -> f64 {
    host::clock()
}

#[cfg(target_family = "wasm")]
mod host {
    #[link(wasm_import_module = "caudal")]
    unsafe extern "C" {
        #[link_name = "clock"]
        safe fn host_clock() -> f64;
        #[link_name = "poll"]
        safe fn host_poll() -> i32;
    }

    pub fn clock() -> f64 {
        host_clock()
    }

    pub fn poll() -> bool {
        host_poll() != 0
    }
}

#[cfg(not(target_family = "wasm"))]
mod host {
    use std::sync::OnceLock;
    use std::time::Instant;

    pub fn clock() -> f64 {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_secs_f64()
    }

    pub fn poll() -> bool {
        false
    }
}

/// How far a kernel has come: phases that are done, and tasks of the next one. Kept between the calls of a paused
/// kernel; reset (to the default) by the executor when the step ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    phase: u32,
    done: usize,
}

/// One kernel's way to the pool, resumable by replay: a kernel that returned [`Stop::Paused`] is called again with
/// the same arguments and a new `Work` over the same [`Cursor`], and what was done is skipped.
pub struct Work<'a> {
    watch: &'a Watch,
    cursor: &'a mut Cursor,
    phase: u32,
    resumed: u32,
}

impl<'a> Work<'a> {
    /// The work of one call of a kernel.
    pub fn new(watch: &'a Watch, cursor: &'a mut Cursor) -> Work<'a> {
        let resumed = cursor.phase;
        Work { watch, cursor, phase: 0, resumed }
    }

    /// One phase of a kernel: runs `body(0)`, `body(1)` .. `body(tasks - 1)`, each once, on the pool and on this thread,
    /// and returns when all are done. Tasks start in the order of their numbers and must not depend on each other.
    /// A single task runs on this thread, and in a kernel's first phase without a look at the clock. Every call does
    /// at least one task, whatever the pause time, so a kernel called often enough ends.
    ///
    /// # Errors
    /// The reason, if the work had to stop. Every task that was started is finished then.
    ///
    /// # Panics
    /// With the panic of a task, after all tasks that were started have ended.
    pub fn parallel(&mut self, tasks: usize, body: impl Fn(usize) + Sync) -> Result<(), Stop> {
        let phase = self.phase;
        self.phase += 1;
        if phase < self.cursor.phase {
            return Ok(());
        }
        let first = self.cursor.done;
        let stop = AtomicU8::new(0);
        let must_not = |next: usize| match self.watch.look(phase > self.resumed || next > first) {
            None => false,
            Some(reason) => {
                stop.store(reason as u8, Ordering::Relaxed);
                true
            }
        };
        let done = if tasks > 1 {
            threads::run(first..tasks, &body, &must_not)
        } else if tasks == 1 && first == 0 && !(phase > 0 && must_not(0)) {
            body(0);
            1
        } else {
            first
        };
        if done < tasks {
            self.cursor.done = done;
            return Err(Stop::from_number(stop.into_inner()));
        }
        *self.cursor = Cursor { phase: phase + 1, done: 0 };
        Ok(())
    }

    /// For serial loops: whether to go on.
    ///
    /// # Errors
    /// [`Stop::Cancelled`] or [`Stop::Deadline`]; a serial loop cannot be paused.
    pub fn check(&self) -> Result<(), Stop> {
        self.watch.look(false).map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Two phases: squares into `first`, sums of two squares into `second`.
    fn kernel(work: &mut Work, first: &[AtomicUsize], second: &[AtomicUsize]) -> Result<(), Stop> {
        work.parallel(first.len(), |i| {
            first[i].fetch_add(i * i, Ordering::Relaxed);
        })?;
        work.parallel(second.len(), |i| {
            let value = first[i].load(Ordering::Relaxed) + first[i + 1].load(Ordering::Relaxed);
            second[i].fetch_add(value, Ordering::Relaxed);
        })
    }

    #[test]
    fn paused_kernel_runs_each_task_once() {
        let make = |n| (0..n).map(|_| AtomicUsize::new(0)).collect::<Vec<_>>();
        let (first, second) = (make(20), make(19));
        let watch = Watch { pause: 0.0, ..Watch::default() };
        let mut cursor = Cursor::default();
        let mut calls = 1;
        while let Err(stop) = kernel(&mut Work::new(&watch, &mut cursor), &first, &second) {
            assert_eq!(stop, Stop::Paused);
            calls += 1;
        }
        assert!(calls > 2, "a pause time that has passed lets few tasks through, not {calls} calls' worth");
        for (i, value) in second.iter().enumerate() {
            assert_eq!(value.load(Ordering::Relaxed), i * i + (i + 1) * (i + 1));
        }
    }

    #[test]
    fn single_task_phases_pause_and_end() {
        let count = AtomicUsize::new(0);
        let watch = Watch { pause: 0.0, ..Watch::default() };
        let mut cursor = Cursor::default();
        let mut calls = 0;
        loop {
            calls += 1;
            let mut work = Work::new(&watch, &mut cursor);
            let mut step = || {
                for _ in 0..5 {
                    work.parallel(1, |_| {
                        count.fetch_add(1, Ordering::Relaxed);
                    })?;
                }
                Ok::<(), Stop>(())
            };
            if step().is_ok() {
                break;
            }
        }
        assert_eq!((count.into_inner(), calls), (5, 5));
    }

    #[test]
    fn cancel_and_deadline_stop_the_work() {
        let cancelled = Watch { cancel: Some(Arc::new(AtomicBool::new(true))), ..Watch::default() };
        let late = Watch { deadline: 0.0, ..Watch::default() };
        for (watch, reason) in [(cancelled, Stop::Cancelled), (late, Stop::Deadline)] {
            let mut cursor = Cursor::default();
            let mut work = Work::new(&watch, &mut cursor);
            assert_eq!(work.check(), Err(reason));
            assert_eq!(work.parallel(3, |_| ()), Err(reason));
        }
        let mut cursor = Cursor::default();
        assert_eq!(Work::new(&Watch::default(), &mut cursor).parallel(0, |_| ()), Ok(()));
    }
}
