//! Program files on disk.

use super::map::{self, Pages};
use super::{Image, about, container, cut_short, meter_of, program_of, safetensors};
use crate::cpu::memory::Buffer;
use crate::error::{Error, Result};
use crate::meter::Meter;
use crate::program::Program;
use crate::run::Limits;
use safetensors::{Container, PREFIX};
use std::collections::hash_map::RandomState;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
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
/// another name, flushed to the disk and renamed. It keeps the permissions of a file that it replaces; a link stays,
/// and the file that it leads to is replaced. A process that dies while it saves leaves `.NAME.` and 16 digits; the
/// next save to that place removes it.
///
/// # Errors
/// `io`, with the path and what the system says; others as [`super::write`]. The file is as it was before, but for the
/// error that says that it was saved.
pub fn save(program: &Program, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let image = Image::of(program)?;
    let folder = replace(path, &image).map_err(|error| refused("save", path, error))?;
    flush_folder(&folder).map_err(|error| {
        let (path, folder) = (path.display(), folder.display());
        Error::io(format!("saved {path}, but a crash of the system may undo it: cannot flush {folder}: {error}"))
    })
}

/// The file that a path means, links followed. It need not be there.
fn target_of(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => match fs::read_link(path) {
            // The system refuses longer chains of links than it follows, and those that are rings.
            Ok(link) => target_of(&path.parent().unwrap_or(Path::new("")).join(link)),
            Err(_) => Ok(path.to_path_buf()),
        },
        found => found,
    }
}

/// Puts a new file in its place; gives the folder.
fn replace(path: &Path, image: &Image) -> io::Result<PathBuf> {
    let target = target_of(path)?;
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
    remove_leftovers(folder, name);
    let mut temporary = Temporary::create(folder, name, replaced.is_some())?;
    for chunk in image.chunks() {
        temporary.file.write_all(chunk)?;
    }
    if let Some(permissions) = replaced {
        temporary.file.set_permissions(permissions)?;
    }
    temporary.file.sync_all()?;
    fs::rename(&temporary.path, &target)?;
    temporary.renamed = true;
    Ok(folder.to_path_buf())
}

/// Makes the new name last. Other systems than Unix flush it themselves, and so do file systems that refuse it; a folder
/// that may be written but not read cannot be flushed.
fn flush_folder(folder: &Path) -> io::Result<()> {
    let Ok(open) = File::open(folder) else { return Ok(()) };
    match open.sync_all() {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) || !cfg!(unix) => Ok(()),
        flushed => flushed,
    }
}

/// The name of a temporary file for `name`, up to its digits.
fn temporary_prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    prefix
}

/// Removes the temporary files of saves whose process has died: those that nobody holds locked. What cannot be looked
/// at or removed stays.
fn remove_leftovers(folder: &Path, name: &OsStr) {
    let prefix = temporary_prefix(name);
    let is_temporary = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let digits = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        digits.is_some_and(|digits| digits.len() == DIGITS && digits.iter().all(u8::is_ascii_hexdigit))
    };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten().filter(is_temporary) {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_file())
            && let Ok(file) = OpenOptions::new().write(true).open(&path)
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(&path);
        }
    }
}

/// How many digits make the name of a temporary file unique.
const DIGITS: usize = 16;

/// A new file that is removed unless it was renamed. It is locked while this lives.
struct Temporary {
    file: File,
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    /// With `private` only the owner may read it.
    fn create(folder: &Path, name: &OsStr, private: bool) -> io::Result<Temporary> {
        const ATTEMPTS: usize = 100;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        if private {
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        #[cfg(not(unix))]
        let _ = private;
        for _ in 0..ATTEMPTS {
            let mut unique = temporary_prefix(name);
            // The standard library's random keys: another name in every process and at every call.
            unique.push(format!("{:0DIGITS$x}", RandomState::new().build_hasher().finish()));
            let path = folder.join(unique);
            match options.open(&path) {
                Ok(file) if is_kept(&file, &path) => return Ok(Temporary { file, path, renamed: false }),
                Ok(_) => drop(fs::remove_file(&path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("no name for a temporary file is free"))
    }
}

/// Locks a new file; false if another save has taken it for a leftover meanwhile. Where files cannot be locked, none
/// is a leftover.
fn is_kept(file: &File, path: &Path) -> bool {
    !matches!(file.try_lock(), Err(TryLockError::WouldBlock)) && fs::symlink_metadata(path).is_ok()
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
pub fn open(path: impl AsRef<Path>, limits: Option<&Limits>) -> Result<Program> {
    let meter = meter_of(limits);
    let mut source = Source::open(path.as_ref())?;
    let base = source.base()?;
    let subject = source.subject.clone();
    let short = |error: Error| about(&subject, error);
    let (whole, container) = if source.size < LARGE {
        let mut buffer = Buffer::zeroed(source.size, meter.budget()).map_err(short)?;
        let Some(bytes) = buffer.bytes_mut() else { return Err(Error::internal("a new buffer is not writable")) };
        let container = source.read_whole(bytes, base, &meter)?;
        (buffer, container)
    } else {
        let mut pages = Pages::new(source.size, meter.budget()).map_err(short)?;
        let container = source.read_whole(pages.bytes_mut(), base, &meter)?;
        (pages.into_buffer(), container)
    };
    program_of(&Arc::new(whole), container, &meter).map_err(short)
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
pub fn open_mapped(path: impl AsRef<Path>, limits: Option<&Limits>) -> Result<Program> {
    let meter = meter_of(limits);
    let mut source = Source::open(path.as_ref())?;
    let base = source.base()?;
    // The parser does not read from the mapping: text that changes under it would not be text.
    let mut header = Buffer::zeroed(base, meter.budget()).map_err(|error| about(&source.subject, error))?;
    let Some(bytes) = header.bytes_mut() else { return Err(Error::internal("a new buffer is not writable")) };
    bytes[..PREFIX].copy_from_slice(&source.prefix);
    source.read(&mut bytes[PREFIX..], &meter)?;
    let container = container(bytes, source.length(), &source.subject, &meter)?;
    drop(header);
    let Source { file, subject, metadata, size, .. } = source;
    let whole = map::map(file, path.as_ref().to_path_buf(), &metadata, size)?;
    program_of(&Arc::new(whole), container, &meter).map_err(|error| about(&subject, error))
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
        source.read(&mut prefix[..size.min(PREFIX)], &Meter::default())?;
        source.prefix = prefix;
        Ok(source)
    }

    fn length(&self) -> u64 {
        self.metadata.len()
    }

    /// The bytes that follow.
    fn read(&mut self, bytes: &mut [u8], meter: &Meter) -> Result<()> {
        // Read in a few milliseconds, so that a deadline is seen.
        const PIECE: usize = 8 << 20;
        for piece in bytes.chunks_mut(PIECE) {
            meter.check().map_err(|error| about(&self.subject, error))?;
            self.file.read_exact(piece).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => Error::format(format!("{} became shorter while it was read", self.subject)),
                _ => refused("read", &self.path, error),
            })?;
        }
        Ok(())
    }

    /// Reads the whole file. Its header ends at `base` and is looked at before the rest is read: most of what is no
    /// such file ends there.
    fn read_whole(&mut self, bytes: &mut [u8], base: usize, meter: &Meter) -> Result<Container> {
        bytes[..PREFIX].copy_from_slice(&self.prefix);
        self.read(&mut bytes[PREFIX..base], meter)?;
        let container = container(&bytes[..base], self.length(), &self.subject, meter)?;
        self.read(&mut bytes[base..], meter)?;
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
