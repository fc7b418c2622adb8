//! Forks: in the child there is only the thread that forked, with all that others held as it was at that moment.
//!
//! Locks that others held would stay locked. So they are taken in [`section`]s only, and a fork waits until no thread is
//! in one. What is held for long, such as the right to write state, names the [`generation`] that it belongs to.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How long a fork waits for sections at most. One lasts as long as it takes to plan a function.
#[cfg(unix)]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

static GENERATION: AtomicUsize = AtomicUsize::new(0);
/// How many threads are in a section.
static SECTIONS: AtomicUsize = AtomicUsize::new(0);
/// How many threads are about to fork.
static FORKING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// How many sections this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// How often the process has become another by `fork`. What a thread of another generation holds it never gives back:
/// in this process there is no such thread.
pub fn generation() -> usize {
    watch();
    GENERATION.load(Ordering::Relaxed)
}

/// A part of a call that takes locks which other threads need; it ends when this is dropped, on the same thread.
pub struct Section(PhantomData<*const ()>);

/// Begins a section. They nest. Nobody waits inside one for what takes long, such as the end of another run.
pub fn section() -> Section {
    let depth = DEPTH.get();
    DEPTH.set(depth + 1);
    if depth == 0 {
        watch();
        loop {
            SECTIONS.fetch_add(1, Ordering::SeqCst);
            // In one order for all: either this sees the fork, or the fork sees this.
            if FORKING.load(Ordering::SeqCst) == 0 {
                break;
            }
            SECTIONS.fetch_sub(1, Ordering::SeqCst);
            while FORKING.load(Ordering::Relaxed) != 0 {
                std::thread::yield_now();
            }
        }
    }
    Section(PhantomData)
}

impl Drop for Section {
    fn drop(&mut self) {
        let depth = DEPTH.get() - 1;
        DEPTH.set(depth);
        if depth == 0 {
            SECTIONS.fetch_sub(1, Ordering::Release);
        }
    }
}

/// How many of the sections are this thread's.
#[cfg(unix)]
fn own() -> usize {
    usize::from(DEPTH.get() > 0)
}

#[cfg(unix)]
extern "C" fn prepare() {
    FORKING.fetch_add(1, Ordering::SeqCst);
    let start = std::time::Instant::now();
    while SECTIONS.load(Ordering::SeqCst) > own() && start.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
}

#[cfg(unix)]
extern "C" fn parent() {
    FORKING.fetch_sub(1, Ordering::SeqCst);
}

#[cfg(unix)]
extern "C" fn child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    SECTIONS.store(own(), Ordering::SeqCst);
    FORKING.store(0, Ordering::SeqCst);
}

/// From the first call on forks are noticed. Where there is no `fork` nothing is to be done.
fn watch() {
    #[cfg(unix)]
    {
        type Handler = Option<extern "C" fn()>;
        unsafe extern "C" {
            fn pthread_atfork(prepare: Handler, parent: Handler, child: Handler) -> i32;
        }
        static WATCHED: std::sync::Once = std::sync::Once::new();
        WATCHED.call_once(|| {
            // SAFETY: the handlers do nothing that a process with threads, or the child of one, may not do.
            let failed = unsafe { pthread_atfork(Some(prepare), Some(parent), Some(child)) };
            // Without them a fork is as if the other threads held nothing.
            debug_assert_eq!(failed, 0, "the system has memory for handlers");
        });
    }
}
