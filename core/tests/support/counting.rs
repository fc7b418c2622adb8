//! An allocator that counts what all threads hold and ask for, and that can be made to refuse.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// The system's allocator, counted. The test names it its `#[global_allocator]`.
pub struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// The number of the allocation that is refused, counted from when it was set; those after it are given.
static REFUSED: AtomicUsize = AtomicUsize::new(0);

impl Counting {
    fn ask(bytes: usize) -> bool {
        COUNT.fetch_add(1, SeqCst);
        if REFUSED.load(SeqCst) > 0 && REFUSED.fetch_sub(1, SeqCst) == 1 {
            return false;
        }
        PEAK.fetch_max(LIVE.fetch_add(bytes, SeqCst) + bytes, SeqCst);
        true
    }
}

// SAFETY: what is given comes from the system's allocator, with the same layout.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, here and below.
        if Counting::ask(layout.size()) { unsafe { System.alloc(layout) } } else { std::ptr::null_mut() }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        if Counting::ask(layout.size()) { unsafe { System.alloc_zeroed(layout) } } else { std::ptr::null_mut() }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), SeqCst);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !Counting::ask(size) {
            return std::ptr::null_mut();
        }
        LIVE.fetch_sub(layout.size(), SeqCst);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Bytes that are held now.
pub fn live() -> usize {
    LIVE.load(SeqCst)
}

/// What `body` gives, how many allocations it made on all threads, and the bytes it held at most above those before.
pub fn counted<T>(body: impl FnOnce() -> T) -> (T, usize, usize) {
    let (before, count) = (live(), COUNT.load(SeqCst));
    PEAK.store(before, SeqCst);
    let result = body();
    (result, COUNT.load(SeqCst) - count, PEAK.load(SeqCst) - before)
}

/// Refuses the `number`-th allocation of `body`, counted from 1; gives what that gives, and whether it came so far.
#[allow(dead_code, reason = "only a test that runs out of memory refuses")]
pub fn refused<T>(number: usize, body: impl FnOnce() -> T) -> (T, bool) {
    REFUSED.store(number, SeqCst);
    let result = body();
    (result, REFUSED.swap(0, SeqCst) == 0)
}
