//! Program files on disk.

use super::map::{self, Pages};
use super::{Image, about, container, cut_short, program_of, safetensors};
use crate::cpu::memory::{Budget, Buffer};
use crate::error::{Error, Result};
use crate::program::Program;
use safetensors::{Container, PREFIX};
use std::collections::hash_map::RandomState;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{self, File, Metadata, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files of this many bytes are read into pages of their own.
const LARGE: usize = 4 << 20;

fn refused(action: &str, path: &Path, error: impl Display) -> Error {
    Error::io(format!("cannot {action} {}: {error}", path.display()))
}

/// Saves a program. The file is complete or as it was before, whatever happens: it is written beside its place under
/// another name, flushed to the disk and renamed. It keeps the permissions of a file that it replaces.
///
/// # Errors
/// `io`, with the path and what the system says; others as [`super::write`].
pub fn save(program: &Program, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let image = Image::of(program)?;
    replace(path, &image).map_err(|error| refused("save", path, error))
}

fn replace(path: &Path, image: &Image) -> io::Result<()> {
    // A link stays a link: the file that it leads to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let replaced = match fs::metadata(&target) {
        Ok(metadata) if metadata.is_file() => Some(metadata.permissions()),
        Ok(_) => return Err(io::Error::other("it is not a regular file")),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let name = target.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut temporary = Temporary::create(folder, name.to_os_string())?;
    for chunk in image.chunks() {
        temporary.file.write_all(chunk)?;
    }
    if let Some(permissions) = replaced {
        temporary.file.set_permissions(permissions)?;
    }
    temporary.file.sync_all()?;
    fs::rename(&temporary.path, &target)?;
    temporary.renamed = true;
    flush_folder(folder)
}

/// Makes the new name last. Other systems than Unix flush it themselves.
fn flush_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// A new file that is removed unless it was renamed.
struct Temporary {
    file: File,
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    fn create(folder: &Path, name: OsString) -> io::Result<Temporary> {
        const ATTEMPTS: usize = 100;
        for _ in 0..ATTEMPTS {
            let mut unique = OsString::from(".");
            unique.push(&name);
            // The standard library's random keys: another name in every process and at every call.
            unique.push(format!(".{:016x}", RandomState::new().build_hasher().finish()));
            let path = folder.join(unique);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Temporary { file, path, renamed: false }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("no name for a temporary file is free"))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // Nothing more can be done about a file that cannot be removed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens a program's file: it is read once, into one aligned buffer that counts in the budget, whose parts are the
/// state and constants.
///
/// # Errors
/// `io`, with the path and what the system says; others as [`super::read`].
pub fn open(path: impl AsRef<Path>, budget: Option<&Arc<Budget>>) -> Result<Program> {
    let mut source = Source::open(path.as_ref())?;
    let base = source.base()?;
    let (whole, container) = if source.size < LARGE {
        let mut buffer = Buffer::zeroed(source.size, budget)?;
        let Some(bytes) = buffer.bytes_mut() else { return Err(Error::internal("a new buffer is not writable")) };
        let container = source.read_whole(bytes, base, budget)?;
        (buffer, container)
    } else {
        let mut pages = Pages::new(source.size, budget)?;
        let container = source.read_whole(pages.bytes_mut(), base, budget)?;
        (pages.into_buffer(), container)
    };
    program_of(&Arc::new(whole), container, budget).map_err(|error| about(&source.subject, error))
}

/// Opens a program's file without reading its state and constants: they are the file's own pages, shared with all who
/// map or read it. They do not count in the budget; what lies unaligned is copied, and does. Functions that write state
/// write it to new memory, never to the file.
///
/// This is for a caller who knows that nobody changes the file. Replacing it by another, as [`save`] does, is no
/// change: the mapping keeps the old one. Each run, eager call and save first looks whether the file has still its
/// length and its time of change, and else is the error `io`. What changes after that look, or is read through a view
/// of a tensor's memory, is not noticed: overwritten bytes show through, and on Unix a read beyond the end of a file
/// that became shorter ends the process by `SIGBUS`.
///
/// # Errors
/// As [`open`].
pub fn open_mapped(path: impl AsRef<Path>, budget: Option<&Arc<Budget>>) -> Result<Program> {
    let mut source = Source::open(path.as_ref())?;
    let base = source.base()?;
    // The parser does not read from the mapping: text that changes under it would not be text.
    let mut header = Buffer::zeroed(base, budget)?;
    let Some(bytes) = header.bytes_mut() else { return Err(Error::internal("a new buffer is not writable")) };
    bytes[..PREFIX].copy_from_slice(&source.prefix);
    source.read(&mut bytes[PREFIX..])?;
    let container = container(bytes, source.length(), &source.subject, budget)?;
    drop(header);
    let Source { file, subject, metadata, size, .. } = source;
    let whole = map::map(file, path.as_ref().to_path_buf(), &metadata, size)?;
    program_of(&Arc::new(whole), container, budget).map_err(|error| about(&subject, error))
}

/// A program's file while it is opened.
struct Source {
    file: File,
    path: PathBuf,
    /// The path in messages.
    subject: String,
    /// What the file was like when it was opened.
    metadata: Metadata,
    /// Its length then.
    size: usize,
    /// Its first bytes; fewer are in a file that is shorter.
    prefix: [u8; PREFIX],
}

impl Source {
    fn open(path: &Path) -> Result<Source> {
        let subject = path.display().to_string();
        let opened = |error: io::Error| refused("open", path, error);
        // Looked at first: opening a pipe would wait for its other end.
        if !fs::metadata(path).map_err(opened)?.is_file() {
            return Err(refused("open", path, "it is not a regular file"));
        }
        let file = File::open(path).map_err(opened)?;
        let metadata = file.metadata().map_err(opened)?;
        let length = metadata.len();
        let size = usize::try_from(length).ok().filter(|&size| isize::try_from(size).is_ok());
        let too_large = || Error::memory(format!("{subject} is larger than memory can be: {length} bytes"));
        let size = size.ok_or_else(too_large)?;
        let mut source = Source { file, path: path.to_path_buf(), subject, metadata, size, prefix: [0; PREFIX] };
        let mut prefix = [0; PREFIX];
        source.read(&mut prefix[..size.min(PREFIX)])?;
        source.prefix = prefix;
        Ok(source)
    }

    fn length(&self) -> u64 {
        self.metadata.len()
    }

    /// The bytes that follow.
    fn read(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.file.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => Error::format(format!("{} became shorter while it was read", self.subject)),
            _ => refused("read", &self.path, error),
        })
    }

    /// Reads the whole file. Its header ends at `base` and is looked at before the rest is read: most of what is no
    /// such file ends there.
    fn read_whole(&mut self, bytes: &mut [u8], base: usize, budget: Option<&Arc<Budget>>) -> Result<Container> {
        bytes[..PREFIX].copy_from_slice(&self.prefix);
        self.read(&mut bytes[PREFIX..base])?;
        let container = container(&bytes[..base], self.length(), &self.subject, budget)?;
        self.read(&mut bytes[base..])?;
        Ok(container)
    }

    /// Where the header ends.
    fn base(&self) -> Result<usize> {
        let prefix = &self.prefix[..self.size.min(PREFIX)];
        let header = safetensors::header_length(prefix, self.length()).map_err(|error| about(&self.subject, error))?;
        let base = PREFIX as u64 + header;
        let inside = usize::try_from(base).ok().filter(|&base| base <= self.size);
        inside.ok_or_else(|| cut_short(&self.subject, self.length(), base))
    }
}
