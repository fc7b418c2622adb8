//! Pages: mapped files, whose memory is the file's own and is looked at before it is used, and memory for large files
//! that are read.
//!
//! Systems let others change a file that is mapped, and no lock that works everywhere forbids it. On Unix, reading a
//! page beyond the new end of a shortened file is the signal `SIGBUS`, whose handler belongs to the process, not to a
//! library; Windows refuses to shorten the file. So the length and the time of change are compared with those at
//! opening wherever the core is about to read.

use crate::cpu::memory::{Budget, Buffer, Watched};
use crate::error::{Error, Result};
use memmap2::{Mmap, MmapMut, MmapOptions};
use std::fs::{File, Metadata};
use std::io;
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::SystemTime;

/// A file's pages, and what it was like when they were mapped.
struct Mapping {
    pages: Mmap,
    file: File,
    path: PathBuf,
    length: u64,
    changed: Option<SystemTime>,
}

/// The first `size` bytes of a file as a watched buffer, aligned to a page. `metadata` is what the file was like when
/// its length was taken from it.
///
/// # Errors
/// `io`: the file cannot be mapped, or has changed since.
pub(super) fn map(file: File, path: PathBuf, metadata: &Metadata, size: usize) -> Result<Buffer> {
    let refused = |error: io::Error| Error::io(format!("cannot map {}: {error}", path.display()));
    // SAFETY: the pages are only read, as plain bytes whose every value is valid, and only after `check`; that the file
    // does not change afterwards is what the caller of `save::map` vouches for.
    let pages = unsafe { MmapOptions::new().len(size).map(&file) }.map_err(refused)?;
    let data = NonNull::from(&pages[..]).cast();
    let mapping = Mapping { pages, file, path, length: metadata.len(), changed: metadata.modified().ok() };
    mapping.check()?;
    debug_assert_eq!(mapping.pages.len(), size, "a mapping is as long as asked for");
    // SAFETY: the mapping lives in the owner, does not move with it, and is readable while the check succeeds.
    Ok(unsafe { Buffer::watched(data, size, Arc::new(mapping)) })
}

impl Watched for Mapping {
    fn check(&self) -> Result<()> {
        let shown = self.path.display();
        let metadata = self.file.metadata();
        let metadata =
            metadata.map_err(|error| Error::io(format!("cannot look at {shown}, a mapped file: {error}")))?;
        if metadata.len() != self.length {
            let (now, then) = (metadata.len(), self.length);
            return Err(Error::io(format!("{shown} is mapped and has changed: {now} bytes, it had {then}")));
        }
        if metadata.modified().ok() != self.changed {
            return Err(Error::io(format!("{shown} is mapped and has been written to since")));
        }
        Ok(())
    }
}

/// Pages of zeros for the bytes of a large file. The allocator's memory would be filled with zeros twice, by the system
/// and by itself, and in small pages; that takes several times as long as reading.
pub(super) struct Pages {
    pages: MmapMut,
    /// Where the bytes are charged.
    budget: Option<Arc<Budget>>,
}

impl Pages {
    /// # Errors
    /// `memory`: over the budget, or the system has no more.
    pub(super) fn new(size: usize, budget: Option<&Arc<Budget>>) -> Result<Pages> {
        budget.map_or(Ok(()), |budget| budget.charge(size as u64))?;
        let Ok(pages) = MmapMut::map_anon(size) else {
            budget.inspect(|budget| budget.release(size as u64));
            return Err(Error::memory(format!("the system has no {size} bytes of memory")));
        };
        // Only a wish: without it everything is the same, but slower.
        #[cfg(target_os = "linux")]
        let _ = pages.advise(memmap2::Advice::HugePage);
        Ok(Pages { pages, budget: budget.cloned() })
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.pages
    }

    /// The pages, which nobody writes any more.
    pub(super) fn into_buffer(self) -> Buffer {
        let (data, size) = (NonNull::from(&self.pages[..]).cast(), self.pages.len());
        // SAFETY: the pages live in the owner and do not move with it; `self` was their only access.
        unsafe { Buffer::foreign(data, size, Box::new(self)) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.release(self.pages.len() as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Folder, bytes, file, program};
    use super::super::{open, open_mapped, save, write};
    use crate::dtype::DType;
    use crate::error::Code;
    use crate::graph::Role;
    use crate::json::Json;
    use crate::meter::Charge;
    use crate::program::{Program, State};
    use crate::run::eager::EagerOp;
    use crate::run::{Limits, Session};
    use crate::tensor::Tensor;
    use std::fs::{self, OpenOptions};
    use std::path::{Path, PathBuf};
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    fn saved(folder: &Folder) -> PathBuf {
        let path = folder.0.join("p.caudal");
        save(&program(), &path).unwrap();
        path
    }

    /// What a program takes beside the bytes of its file, when it is read.
    fn read_back_cost(path: &Path) -> u64 {
        let limits = Limits::none();
        let _program = open(path, Some(&limits)).unwrap();
        limits.budget().used() - fs::metadata(path).unwrap().len()
    }

    fn cut(path: &Path, length: u64) {
        OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
    }

    #[test]
    fn mapped_tensors_are_those_of_the_file_and_cost_no_memory() {
        let folder = Folder::new("map");
        let path = saved(&folder);
        let limits = Limits::none();
        let mapped = open_mapped(&path, Some(&limits)).unwrap();
        assert_eq!(mapped, program());
        // The program's graphs and names, not its tensors.
        let state: usize = mapped.state.iter().map(|state| state.value.bytes().len()).sum();
        assert!(state > 0 && limits.budget().used() == read_back_cost(&path), "{}", limits.budget().used());
        let watched = |program: &Program| program.state.iter().filter(|state| state.value.is_watched()).count();
        // The one that is empty has no memory.
        assert_eq!(watched(&mapped), 4);
        assert_eq!(watched(&open(&path, None).unwrap()), 0);
        let constant = mapped.functions[0].graph.tensors();
        assert!(constant.iter().any(|tensor| tensor.dtype() == DType::I64 && tensor.is_watched()));
    }

    #[test]
    fn what_lies_unaligned_is_copied_and_counts() {
        let folder = Folder::new("unaligned");
        let path = folder.0.join("w.safetensors");
        let header = "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\
            \"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]}}";
        let header = format!("{header}{}", " ".repeat(header.len().next_multiple_of(8) - header.len()));
        fs::write(&path, file(&header, &[7, 0, 0, 128, 63, 0, 0, 0, 64])).unwrap();
        let (limits, read) = (Limits::none(), Limits::none());
        let mapped = open_mapped(&path, Some(&limits)).unwrap();
        let whole = fs::metadata(&path).unwrap().len();
        let _read = open(&path, Some(&read)).unwrap();
        assert_eq!(limits.budget().used(), read.budget().used() - whole);
        let watched: Vec<_> = mapped.state.iter().map(|state| state.value.is_watched()).collect();
        assert_eq!(watched, [true, false]);
        assert_eq!(mapped.state[1].value, Tensor::from_slice(DType::F32, &[2], &[1f32, 2.0]).unwrap());
    }

    #[test]
    fn training_writes_to_new_memory_never_to_the_file() {
        let folder = Folder::new("train");
        let path = saved(&folder);
        let session = Session::new(Arc::new(open_mapped(&path, None).unwrap()), Limits::default());
        let x = Tensor::from_slice(DType::F32, &[1, 2], &[1f32, 2.0]).unwrap();
        session.run("train_step", std::slice::from_ref(&x)).unwrap();
        assert!(!session.state("w").unwrap().is_watched());
        session.set_state(&[("w", Tensor::from_slice(DType::F32, &[2], &[1f32, 2.0]).unwrap())]).unwrap();
        session.run("train_step", std::slice::from_ref(&x)).unwrap();
        let w = session.state("w").unwrap();
        assert_eq!(w.elements::<f32>().unwrap()[1], 1.0);
        assert_eq!(fs::read(&path).unwrap(), bytes());
        // Saved over the file it was mapped from: the mapping keeps the old one.
        save(&session.snapshot().unwrap(), &path).unwrap();
        assert_eq!(session.state("mask").unwrap(), program().state[1].value);
        session.run("train_step", &[x]).unwrap();
        assert_eq!(open(&path, None).unwrap().state[0].value, w);
    }

    #[test]
    fn a_file_that_becomes_shorter_is_an_error_before_its_pages_are_read() {
        let folder = Folder::new("shorter");
        let path = saved(&folder);
        let mapped = Arc::new(open_mapped(&path, None).unwrap());
        let session = Session::new(mapped.clone(), Limits::default());
        let (x, w) = (Tensor::zeros(DType::F32, &[1, 2], None).unwrap(), session.state("w").unwrap());
        session.run("predict", std::slice::from_ref(&x)).unwrap();
        cut(&path, 10);
        let message = format!("{} is mapped and has changed: 10 bytes, it had {}", path.display(), bytes().len());
        let negative = EagerOp::new(crate::graph::op("neg", &[]).unwrap());
        let table = [
            ("train_step: ", session.run("train_step", std::slice::from_ref(&x)).unwrap_err()),
            ("predict: ", session.run("predict", &[x]).unwrap_err()),
            ("neg: ", negative.call(&[Some(w)], &Limits::default()).unwrap_err()),
            ("", write(&mapped).unwrap_err()),
        ];
        for (op, error) in table {
            assert_eq!((error.to_string(), error.code()), (format!("{op}{message}"), Code::Io));
        }
        // State that is in the session's own memory lives on.
        let fresh = Tensor::from_slice(DType::F32, &[2], &[1f32, 2.0]).unwrap();
        session.set_state(&[("w", fresh.clone())]).unwrap();
        assert_eq!(session.state("w").unwrap(), fresh);
    }

    #[test]
    fn a_file_that_was_written_to_is_an_error() {
        let folder = Folder::new("written");
        let path = saved(&folder);
        let session = Session::new(Arc::new(open_mapped(&path, None).unwrap()), Limits::default());
        let later = SystemTime::now() + Duration::from_secs(5);
        OpenOptions::new().write(true).open(&path).unwrap().set_modified(later).unwrap();
        let x = Tensor::zeros(DType::F32, &[1, 2], None).unwrap();
        let error = session.run("predict", &[x]).unwrap_err();
        let message = format!("predict: {} is mapped and has been written to since", path.display());
        assert_eq!((error.to_string(), error.code()), (message, Code::Io));
    }

    #[test]
    fn a_large_file_is_read_into_pages_that_the_budget_counts() {
        let folder = Folder::new("large");
        let path = folder.0.join("w.safetensors");
        let elements: Vec<f32> = (0..1 << 21).map(|i| i as f32).collect();
        let value = Tensor::from_slice(DType::F32, &[1 << 21], &elements).unwrap();
        let state = vec![State { name: "w".into(), role: Role::Parameter, value: value.clone() }];
        save(&Program { functions: vec![], state, metadata: Json::Null, held: Charge::default() }, &path).unwrap();
        let length = fs::metadata(&path).unwrap().len();
        let limits = Limits::none();
        let budget = limits.budget();
        let mut program = open(&path, Some(&limits)).unwrap();
        // The names, beside the pages.
        let held = length + super::super::program::state_cost("w");
        assert_eq!((&program.state[0].value, budget.used()), (&value, held));
        assert!(program.state[0].value.bytes_mut().is_none());
        drop(program);
        assert_eq!(budget.used(), 0);
        let small = Limits::new(length - 1, 0.0);
        assert_eq!(open(&path, Some(&small)).unwrap_err().code(), Code::Memory);
        assert_eq!(small.budget().used(), 0);
    }

    #[test]
    fn mapping_refuses_what_reading_refuses() {
        let folder = Folder::new("refused");
        let path = folder.0.join("p.caudal");
        let whole = bytes();
        let mut damaged = whole.clone();
        // In the graph, which the three bytes of `mask` follow.
        let at = damaged.len() - 10;
        damaged[at] ^= 1;
        for part in [&b""[..], &whole[..3], &whole[..120], &whole[..whole.len() - 1], b"<!DOCTYPE html>", &damaged] {
            fs::write(&path, part).unwrap();
            let (mapped, read) = (open_mapped(&path, None).unwrap_err(), open(&path, None).unwrap_err());
            assert_eq!((mapped.to_string(), mapped.code()), (read.to_string(), Code::Format));
        }
        assert_eq!(open_mapped(&folder.0, None), open(&folder.0, None));
        assert_eq!(open_mapped(folder.0.join("none"), None), open(folder.0.join("none"), None));
    }
}
