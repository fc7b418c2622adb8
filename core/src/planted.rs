//! Bugs planted on purpose, to see that the tests find them. They exist only with the feature `planted`, which no
//! release has; the environment's `CAUDAL_PLANTED` chooses one. `tests/planted.rs` asserts that each is found.

/// The right value, or with the feature `planted` and the bug of that name chosen, the wrong one.
macro_rules! planted {
    ($name:literal, $right:expr, $wrong:expr) => {{
        #[cfg(feature = "planted")]
        let value = if $crate::planted::is_chosen($name) { $wrong } else { $right };
        #[cfg(not(feature = "planted"))]
        let value = $right;
        value
    }};
}

/// Every bug: the file or folder that it is planted in, and what is wrong.
#[cfg(feature = "planted")]
pub const BUGS: &[&str] = &[
    "passes/fold: operands in reverse",
    "passes/cse: attrs are not compared",
    "passes/dce: only the first output counts",
    "passes/simplify: every scalar constant is one",
    "passes/fuse: results in reverse",
    "passes/decompose: outputs in reverse",
    "passes/layout: a view of a view is taken for dense",
    "plan: a lifetime is one step short",
    "plan: a result takes the memory of a live operand",
    "plan: a buffer of symbolic size is a line short",
    "grad: a second cotangent replaces the first",
    "grad: transpose goes the same way back",
    "grad: the mean over broadcast axes",
    "grad: maximum without a mask",
    "grad: a loop's step after its condition is false",
    "grad: scan goes forward again",
    "kernel: iota along another axis",
    "kernel: the last depth of an odd product",
    "kernel: the last element of a tail",
    "kernel: NaN never wins",
    "kernel: negative indices are off by one",
    "kernel: chunks depend on the number of threads",
    "kernel: memory is taken for zeros",
    "run: a loop writes what it reads",
    "run: state is set before all of it is checked",
];

/// Whether that bug is the chosen one.
#[cfg(feature = "planted")]
pub fn is_chosen(name: &str) -> bool {
    use std::sync::LazyLock;
    static CHOSEN: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("CAUDAL_PLANTED").ok());
    assert!(BUGS.contains(&name), "{name:?} is not in the table");
    CHOSEN.as_deref() == Some(name)
}
