//! Specs.

use crate::text::c_string;
use caudal::Spec;
use std::ffi::{CString, c_char};

/// A dtype and dims. It lives as long as what it was got from.
#[repr(C)]
pub struct cdl_spec {
    /// The sizes; -1 where only `symbols` tells.
    pub dims: *const i64,
    /// The text of each dim: `28`, `batch`, `2*n+1`.
    pub symbols: *const *const c_char,
    /// The whole: `float32[batch, 28, 28, 1]`.
    pub text: *const c_char,
    /// How many dims there are.
    pub rank: usize,
    /// The dtype.
    pub dtype: i32,
}

/// A spec with the memory that its fields point to.
pub struct OwnedSpec {
    public: cdl_spec,
    _dims: Vec<i64>,
    _texts: Vec<CString>,
    _symbols: Vec<*const c_char>,
}

// SAFETY: the pointers are into memory that the value owns and nobody changes.
unsafe impl Send for OwnedSpec {}
// SAFETY: as above.
unsafe impl Sync for OwnedSpec {}

impl OwnedSpec {
    /// A spec whose fields stay where they are.
    pub fn new(spec: &Spec) -> OwnedSpec {
        let dims: Vec<_> = spec.shape.iter().map(|dim| dim.as_constant().unwrap_or(-1)).collect();
        let mut texts: Vec<_> = spec.shape.iter().map(|dim| c_string(&dim.to_string())).collect();
        texts.push(c_string(&spec.to_string()));
        let symbols: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        let public = cdl_spec {
            dims: dims.as_ptr(),
            symbols: symbols.as_ptr(),
            text: symbols[dims.len()],
            rank: dims.len(),
            dtype: spec.dtype as i32,
        };
        OwnedSpec { public, _dims: dims, _texts: texts, _symbols: symbols }
    }

    /// What the caller sees.
    pub fn public(&self) -> *const cdl_spec {
        &self.public
    }
}
