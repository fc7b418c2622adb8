//! The process's one pool of threads. Nothing starts before the first call with more than one task; idle threads
//! sleep; results never depend on how many there are.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// More threads than this are never used.
const MOST_THREADS: usize = 1024;

/// How many threads a call may use; 0 until it is known.
static WANTED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread is inside a task, where further calls run inline.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Held by tests that change the number of threads or the instruction set of the process.
#[cfg(test)]
pub fn settings() -> std::sync::MutexGuard<'static, ()> {
    static SETTINGS: std::sync::Mutex<()> = std::sync::Mutex::new(());
    SETTINGS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// How many threads a call may use, its caller included: what [`set_num_threads`] said, else the environment's
/// `CAUDAL_NUM_THREADS`, else the cores that affinity and quota leave to the process. 1 in WASM.
pub fn num_threads() -> usize {
    match WANTED.load(Ordering::Relaxed) {
        0 => {
            let count = default_threads();
            // A set_num_threads that came between stands.
            match WANTED.compare_exchange(0, count, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => count,
                Err(set) => set,
            }
        }
        count => count,
    }
}

/// Sets how many threads a call may use, its caller included; 0 goes back to the default. Threads that are now too
/// many end once they have nothing to do.
pub fn set_num_threads(count: usize) {
    let count = if count == 0 { default_threads() } else { count.min(MOST_THREADS) };
    WANTED.store(if cfg!(target_family = "wasm") { 1 } else { count }, Ordering::Relaxed);
    #[cfg(not(target_family = "wasm"))]
    pool::settle();
}

#[cfg(target_family = "wasm")]
fn default_threads() -> usize {
    1
}

#[cfg(not(target_family = "wasm"))]
fn default_threads() -> usize {
    let asked = std::env::var("CAUDAL_NUM_THREADS").ok().and_then(|text| text.trim().parse().ok());
    let count = asked.filter(|count| *count > 0).or_else(|| std::thread::available_parallelism().ok().map(usize::from));
    count.unwrap_or(1).min(MOST_THREADS)
}

/// Runs `body(i)` for each i in `tasks`, started in that order, on this thread and on the pool's. Before a task is
/// started `must_stop(i)` is asked; once it says true no further task is started. Returns the number of the first task
/// that was not run (`tasks.end` if all were); every task below it is finished.
///
/// # Panics
/// With the panic of a task, after all tasks that were started have ended.
pub fn run(tasks: Range<usize>, body: &(dyn Fn(usize) + Sync), must_stop: &(dyn Fn(usize) -> bool + Sync)) -> usize {
    #[cfg(not(target_family = "wasm"))]
    if tasks.len() > 1 && !INSIDE.get() {
        let threads = num_threads();
        if threads > 1 {
            return pool::run(tasks, body, must_stop, threads - 1);
        }
    }
    let outer = INSIDE.replace(true);
    // Restored on unwinding too: the caller may catch the panic and call again.
    let _restore = Restore(outer);
    for i in tasks.clone() {
        if must_stop(i) {
            return i;
        }
        body(i);
    }
    tasks.end
}

struct Restore(bool);

impl Drop for Restore {
    fn drop(&mut self) {
        INSIDE.set(self.0);
    }
}

#[cfg(not(target_family = "wasm"))]
mod pool {
    use super::{INSIDE, num_threads};
    use std::any::Any;
    use std::ops::Range;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::ptr::null_mut;
    use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
    use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
    use std::thread::Thread;
    use std::time::{Duration, Instant};

    /// How long a thread watches for work before it sleeps: several times what waking it costs.
    const SPIN: Duration = Duration::from_micros(40);

    static POOL: AtomicPtr<Pool> = AtomicPtr::new(null_mut());

    struct Pool {
        /// The process that started it: its threads do not exist in a fork.
        process: u32,
        state: Mutex<State>,
        wake: Condvar,
        /// Changes, under the lock, whenever a sleeping thread has to look again.
        news: AtomicUsize,
    }

    #[derive(Default)]
    struct State {
        jobs: Vec<Shared>,
        workers: usize,
        sleeping: usize,
    }

    /// One call of `run`. It lives on its caller's stack, which waits until nobody can reach it.
    struct Job {
        body: &'static (dyn Fn(usize) + Sync),
        must_stop: &'static (dyn Fn(usize) -> bool + Sync),
        next: AtomicUsize,
        end: usize,
        halted: AtomicBool,
        helpers: AtomicUsize,
        panic: Mutex<Option<Box<dyn Any + Send>>>,
        caller: Thread,
    }

    #[derive(Clone, Copy, PartialEq)]
    struct Shared(*const Job);

    // SAFETY: a Job is Sync in all its fields, and the pointer is used only while its caller waits (see `run`).
    unsafe impl Send for Shared {}

    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches `done` for a short while and says whether it became true.
    fn spin_until(done: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        loop {
            for _ in 0..32 {
                if done() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if start.elapsed() > SPIN {
                return false;
            }
        }
    }

    impl Job {
        fn is_open(&self) -> bool {
            !self.halted.load(Ordering::Relaxed) && self.next.load(Ordering::Relaxed) < self.end
        }

        fn work(&self) {
            while self.is_open() {
                if (self.must_stop)(self.next.load(Ordering::Relaxed)) {
                    self.halted.store(true, Ordering::Relaxed);
                    return;
                }
                let task = self.next.fetch_add(1, Ordering::Relaxed);
                if task >= self.end {
                    return;
                }
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.body)(task))) {
                    self.halted.store(true, Ordering::Relaxed);
                    lock(&self.panic).get_or_insert(panic);
                }
            }
        }

        /// The last thing a helper does with a job. It takes no reference, which would promise that the job lives until
        /// this returns.
        ///
        /// # Safety
        /// This thread is counted among the job's helpers.
        unsafe fn leave(job: *const Job) {
            // Once the count is 0 the job may be gone, so what is needed afterwards is taken before.
            // SAFETY: the job's caller waits for this thread until the count is changed.
            let caller = unsafe { (*job).caller.clone() };
            // SAFETY: as above.
            if unsafe { (*job).helpers.fetch_sub(1, Ordering::AcqRel) } == 1 {
                caller.unpark();
            }
        }
    }

    impl Pool {
        /// This process's pool. A pool inherited by fork is forgotten, its locks untouched.
        fn get() -> &'static Pool {
            let process = std::process::id();
            let current = POOL.load(Ordering::Acquire);
            // SAFETY: POOL holds null or a leaked Pool.
            if let Some(pool) = unsafe { current.as_ref() }
                && pool.process == process
            {
                return pool;
            }
            let state = Mutex::new(State::default());
            let fresh =
                Box::into_raw(Box::new(Pool { process, state, wake: Condvar::new(), news: AtomicUsize::new(0) }));
            let pool = match POOL.compare_exchange(current, fresh, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => fresh,
                Err(other) => {
                    // SAFETY: `fresh` was never shared.
                    drop(unsafe { Box::from_raw(fresh) });
                    other
                }
            };
            // SAFETY: a leaked Pool, from this thread or from the one that was faster.
            unsafe { &*pool }
        }

        /// Offers a job to the pool's threads, starting those that are missing.
        fn offer(&'static self, job: Shared, helpers: usize) {
            let mut state = lock(&self.state);
            state.jobs.push(job);
            self.news.fetch_add(1, Ordering::Release);
            while state.workers < helpers {
                let started = std::thread::Builder::new().name("caudal".into()).spawn(|| self.serve());
                // Without a thread the caller does more of the tasks itself.
                if started.is_err() {
                    break;
                }
                state.workers += 1;
            }
            let wake = state.sleeping.min(helpers);
            drop(state);
            for _ in 0..wake {
                self.wake.notify_one();
            }
        }

        /// A worker's life.
        fn serve(&self) {
            INSIDE.set(true);
            while let Some(Shared(job)) = self.next_job() {
                // SAFETY: `next_job` counted this thread among the job's helpers, so its caller waits for `leave`.
                unsafe {
                    (*job).work();
                    Job::leave(job);
                }
            }
        }

        /// Waits for an open job and joins it; `None` if this thread is one too many.
        fn next_job(&self) -> Option<Shared> {
            let mut state = lock(&self.state);
            loop {
                if state.workers >= num_threads() {
                    state.workers -= 1;
                    return None;
                }
                // SAFETY: a job in the list is alive; its caller takes it out under this lock.
                let open = state.jobs.iter().filter(|job| unsafe { (*job.0).is_open() });
                // SAFETY: as above.
                if let Some(job) = open.min_by_key(|job| unsafe { (*job.0).helpers.load(Ordering::Relaxed) }) {
                    // SAFETY: as above.
                    unsafe { (*job.0).helpers.fetch_add(1, Ordering::Relaxed) };
                    return Some(*job);
                }
                let seen = self.news.load(Ordering::Relaxed);
                drop(state);
                let changed = || self.news.load(Ordering::Acquire) != seen;
                let awake = spin_until(changed);
                state = lock(&self.state);
                if !awake {
                    state.sleeping += 1;
                    while !changed() {
                        state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                    }
                    state.sleeping -= 1;
                }
            }
        }
    }

    /// Lets threads that are too many notice.
    pub fn settle() {
        let current = POOL.load(Ordering::Acquire);
        // SAFETY: POOL holds null or a leaked Pool.
        if let Some(pool) = unsafe { current.as_ref() }
            && pool.process == std::process::id()
        {
            let state = lock(&pool.state);
            pool.news.fetch_add(1, Ordering::Release);
            drop(state);
            pool.wake.notify_all();
        }
    }

    pub fn run(
        tasks: Range<usize>,
        body: &(dyn Fn(usize) + Sync),
        must_stop: &(dyn Fn(usize) -> bool + Sync),
        helpers: usize,
    ) -> usize {
        let pool = Pool::get();
        // SAFETY: the job, and with it these references, is reachable by others only between `offer` and the end of
        // the wait below, and nothing between them unwinds.
        let (body, must_stop) = unsafe {
            (
                std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(body),
                std::mem::transmute::<&(dyn Fn(usize) -> bool + Sync), &'static (dyn Fn(usize) -> bool + Sync)>(
                    must_stop,
                ),
            )
        };
        let job = Job {
            body,
            must_stop,
            next: AtomicUsize::new(tasks.start),
            end: tasks.end,
            halted: AtomicBool::new(false),
            helpers: AtomicUsize::new(0),
            panic: Mutex::new(None),
            caller: std::thread::current(),
        };
        let shared = Shared(&job);
        pool.offer(shared, helpers.min(tasks.len() - 1));
        INSIDE.set(true);
        job.work();
        INSIDE.set(false);
        lock(&pool.state).jobs.retain(|other| *other != shared);
        let left = || job.helpers.load(Ordering::Acquire) == 0;
        if !spin_until(left) {
            while !left() {
                std::thread::park();
            }
        }
        if let Some(panic) = lock(&job.panic).take() {
            resume_unwind(panic);
        }
        job.next.load(Ordering::Relaxed).min(tasks.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    fn add(total: &AtomicUsize, value: usize) {
        total.fetch_add(value, Ordering::Relaxed);
    }

    fn sum(tasks: usize) -> usize {
        let total = AtomicUsize::new(0);
        let done = run(0..tasks, &|i| add(&total, i), &|_| false);
        assert_eq!(done, tasks);
        total.into_inner()
    }

    #[test]
    fn every_task_runs_once_with_any_number_of_threads() {
        let _settings = settings();
        for threads in [1, 2, 7, 3, 1, 2] {
            set_num_threads(threads);
            assert_eq!(num_threads(), threads);
            for tasks in [0, 1, 2, 3, 100, 1000] {
                assert_eq!(sum(tasks), tasks * tasks.saturating_sub(1) / 2);
            }
        }
        set_num_threads(0);
    }

    #[test]
    fn callers_do_not_disturb_each_other() {
        let _settings = settings();
        set_num_threads(3);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..200).for_each(|i| assert_eq!(sum(i), i * i.saturating_sub(1) / 2)));
            }
        });
        set_num_threads(0);
    }

    #[test]
    fn calls_within_a_task_run_inline() {
        let _settings = settings();
        set_num_threads(2);
        let total = AtomicUsize::new(0);
        run(0..10, &|_| add(&total, sum(10)), &|_| false);
        assert_eq!(total.into_inner(), 450);
        set_num_threads(0);
    }

    #[test]
    fn panic_of_a_task_reaches_the_caller_and_the_pool_lives_on() {
        let _settings = settings();
        for threads in [1, 2, 7] {
            set_num_threads(threads);
            for bad in [0, 5, 99] {
                let caught = catch_unwind(|| run(0..100, &|i| assert!(i != bad, "task {i}"), &|_| false));
                let text = caught.unwrap_err().downcast::<String>().unwrap();
                assert_eq!(*text, format!("task {bad}"));
                assert_eq!(sum(50), 1225);
            }
        }
        set_num_threads(0);
    }

    #[test]
    fn stop_leaves_a_prefix_of_finished_tasks() {
        let _settings = settings();
        for threads in [1, 2, 7] {
            set_num_threads(threads);
            let ran: Vec<_> = (0..100).map(|_| AtomicUsize::new(0)).collect();
            let done = run(10..100, &|i| add(&ran[i], 1), &|next| next >= 40);
            assert!((40..47).contains(&done), "{done}");
            for (i, count) in ran.iter().enumerate() {
                assert_eq!(count.load(Ordering::Relaxed), usize::from((10..done).contains(&i)));
            }
        }
        set_num_threads(0);
    }

    #[cfg(unix)]
    #[test]
    fn pool_works_in_a_fork() {
        unsafe extern "C" {
            fn fork() -> i32;
            fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
            fn _exit(status: i32) -> !;
        }
        let _settings = settings();
        set_num_threads(3);
        assert_eq!(sum(100), 4950);
        // SAFETY: the child calls only `run`, whose pool is its own, and ends without running anything of the parent.
        let status = unsafe {
            match fork() {
                0 => _exit(i32::from((0..50).any(|_| sum(100) != 4950))),
                child => {
                    let mut status = -1;
                    assert_eq!(waitpid(child, &mut status, 0), child);
                    status
                }
            }
        };
        assert_eq!(status, 0);
        assert_eq!(sum(100), 4950);
        set_num_threads(0);
    }
}
