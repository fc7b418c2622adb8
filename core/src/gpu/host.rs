//! The driver in WASM: hands commands to the host, which has WebGPU.
//!
//! The host opens a device, which takes its time, and then tells of it ([`add`]). Commands go there as words, which it
//! executes at once; what it learns later, it says in [`fail`] and [`lose`]. Reading alone takes turns: the first time
//! that parts are read the host starts to fetch them, and that is `pending`; once it has them, reading them gives them.
//! A fetch is forgotten where its buffers are written before, so that what is read is always what is there.
//!
//! Words are 32 bits, in the order of this machine. A command is its number and its fields; a part is a buffer, an offset
//! and a count of bytes; text and bytes are a pointer into the memory of WASM and a length.

use super::command::{Access, BufferId, Command, Part, PipelineId};
use super::device::{Adapter, Device, Driver};
use crate::cpu::memory::Buffer;
use crate::cpu::single::stopped;
use crate::cpu::work::Watch;
use crate::error::{Code, Error, Result};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[link(wasm_import_module = "caudal")]
unsafe extern "C" {
    /// Executes commands on a device.
    #[link_name = "gpu"]
    fn host_gpu(device: u32, words: *const u32, count: usize) -> i32;
}

/// What the host answers: done.
const DONE: i32 = 0;
/// What it was asked for is not known or not there yet.
const PENDING: i32 = 1;

/// `create buffer bytes`
const CREATE: u32 = 0;
/// `destroy buffer`
const DESTROY: u32 = 1;
/// `upload buffer offset pointer bytes`
const UPLOAD: u32 = 2;
/// `pipeline id pointer length count`, then for each binding 0 (read), 1 (write) or 2 (uniform).
const PIPELINE: u32 = 3;
/// `dispatch pipeline x y z count`, then the parts.
const DISPATCH: u32 = 4;
/// `copy part buffer offset`
const COPY: u32 = 5;
/// `clear part`
const CLEAR: u32 = 6;
/// `forget id`: what was fetched is not wanted any more.
const FORGET: u32 = 7;
/// `release pipeline`
const RELEASE: u32 = 8;
/// `fetch id count`, then the parts: starts to fetch them. This and what follows stand alone.
const FETCH: u32 = 9;
/// `take id pointer`: lays what was fetched there, one part after the other, and forgets it; with a pointer of 0 nothing
/// but the answer, which is pending while it is not there.
const TAKE: u32 = 10;
/// `settle`: pending while it is not known whether all buffers and pipelines could be made.
const SETTLE: u32 = 11;

/// Counts of bytes have 32 bits here.
const MOST: u64 = u32::MAX as u64 & !3;

/// The device that is open, with the number that the host gave it, and what is known of it.
static OPEN: Mutex<Option<(u32, Arc<Device>, Arc<Mutex<Known>>)>> = Mutex::new(None);

/// What is known of a device.
#[derive(Default)]
struct Known {
    lost: Option<String>,
    /// What went wrong with commands of before, not yet told.
    failed: Option<Error>,
    /// Whether buffers or pipelines were made of which it is not known whether they could be.
    unsettled: bool,
    /// What pipelines do with their bindings.
    pipelines: HashMap<PipelineId, Vec<Access>>,
    /// What is being fetched, by its number.
    fetches: Vec<(u32, Vec<Part>)>,
    next: u32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells of a device that the host has opened, under a number of its own.
pub fn add(number: u32, mut adapter: Adapter) {
    adapter.binding_bytes = adapter.binding_bytes.min(MOST);
    adapter.buffer_bytes = adapter.buffer_bytes.min(MOST);
    let known = Arc::<Mutex<Known>>::default();
    let driver = Box::new(Host { number, known: known.clone() });
    *lock(&OPEN) = Some((number, Device::new(0, adapter, driver), known));
}

fn known(number: u32) -> Option<Arc<Mutex<Known>>> {
    lock(&OPEN).as_ref().filter(|(other, ..)| *other == number).map(|(_, _, known)| known.clone())
}

/// Tells that a device does no more.
pub fn lose(number: u32, reason: &str) {
    if let Some(known) = known(number) {
        lock(&known).lost.get_or_insert_with(|| reason.to_string());
    }
}

/// Tells that commands which a device was given could not be done.
pub fn fail(number: u32, code: Code, text: &str) {
    if let Some(known) = known(number) {
        lock(&known).failed.get_or_insert_with(|| Error::new(code, text));
    }
}

/// The adapter of the device that is open.
pub fn adapters() -> Vec<Adapter> {
    opened(0).map(|device| device.adapter().clone()).into_iter().collect()
}

/// The device that is open.
///
/// # Errors
/// `device`: the host has not opened it, or it is lost.
pub fn open(index: usize) -> Result<Arc<Device>> {
    opened(index).ok_or_else(|| {
        let why = if index == 0 { "no WebGPU was found" } else { "there is one GPU at most, gpu:0" };
        Error::device(format!("there is no device gpu:{index}: {why}")).with_argument("device")
    })
}

/// The device that is open as `gpu:index`.
pub fn opened(index: usize) -> Option<Arc<Device>> {
    let open = lock(&OPEN);
    open.as_ref().filter(|(_, device, _)| index == 0 && device.is_usable()).map(|(_, device, _)| device.clone())
}

/// A device of the host.
struct Host {
    number: u32,
    known: Arc<Mutex<Known>>,
}

impl Host {
    /// What the host answers. Nothing is locked meanwhile: it may say at once that something failed.
    fn ask(&self, words: &[u32]) -> Result<i32> {
        // SAFETY: the host reads the words, and what they point to, before it returns.
        let answer = unsafe { host_gpu(self.number, words.as_ptr(), words.len()) };
        match answer {
            DONE | PENDING => Ok(answer),
            _ => {
                let failed = lock(&self.known).failed.take();
                Err(failed.unwrap_or_else(|| Error::internal("the host refused a command")))
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }
}

impl Known {
    /// Forgets fetches of a buffer that is about to be written.
    fn written(&mut self, buffer: BufferId, words: &mut Vec<u32>) {
        self.fetches.retain(|(number, parts)| {
            let is_written = parts.iter().any(|part| part.buffer == buffer);
            if is_written {
                words.extend([FORGET, *number]);
            }
            !is_written
        });
    }

    fn command(&mut self, command: &Command, words: &mut Vec<u32>) {
        match command {
            Command::Create(..) => self.unsettled = true,
            Command::Pipeline(id, shader) => {
                self.unsettled = true;
                self.pipelines.insert(*id, shader.bindings.clone());
            }
            Command::Release(id) => drop(self.pipelines.remove(id)),
            Command::Destroy(buffer) | Command::Upload(buffer, ..) => self.written(*buffer, words),
            Command::Copy(_, buffer, _) => self.written(*buffer, words),
            Command::Clear(part) => self.written(part.buffer, words),
            Command::Dispatch(id, parts, _) if !self.fetches.is_empty() => {
                let bindings = self.pipelines.get(id).cloned().unwrap_or_default();
                let written = parts.iter().zip(bindings).filter(|(_, access)| *access == Access::Write);
                written.for_each(|(part, _)| self.written(part.buffer, words));
            }
            Command::Dispatch(..) => {}
        }
        write(command, words);
    }
}

/// A count or an offset in bytes: no buffer has more than 32 bits count.
fn word(bytes: u64) -> u32 {
    bytes.min(MOST) as u32
}

fn part(part: &Part) -> [u32; 3] {
    [part.buffer, word(part.offset), word(part.bytes)]
}

fn span(bytes: &[u8]) -> [u32; 2] {
    [bytes.as_ptr() as usize as u32, bytes.len() as u32]
}

/// Adds the words of a command.
fn write(command: &Command, words: &mut Vec<u32>) {
    match command {
        Command::Create(buffer, bytes) => words.extend([CREATE, *buffer, word(*bytes)]),
        Command::Destroy(buffer) => words.extend([DESTROY, *buffer]),
        Command::Upload(buffer, offset, data) => {
            words.extend([UPLOAD, *buffer, word(*offset)]);
            words.extend(span(data));
        }
        Command::Pipeline(id, shader) => {
            words.extend([PIPELINE, *id]);
            words.extend(span(shader.text.as_bytes()));
            words.push(shader.bindings.len() as u32);
            words.extend(shader.bindings.iter().map(|access| *access as u32));
        }
        Command::Release(id) => words.extend([RELEASE, *id]),
        Command::Dispatch(id, parts, [x, y, z]) => {
            words.extend([DISPATCH, *id, *x, *y, *z, parts.len() as u32]);
            words.extend(parts.iter().flat_map(part));
        }
        Command::Copy(from, buffer, offset) => {
            words.push(COPY);
            words.extend(part(from));
            words.extend([*buffer, word(*offset)]);
        }
        Command::Clear(cleared) => {
            words.push(CLEAR);
            words.extend(part(cleared));
        }
    }
}

impl Driver for Host {
    fn execute(&self, commands: Vec<Command>, _: &Watch) -> Result<()> {
        let mut words = Vec::new();
        {
            let mut known = self.known();
            if let Some(error) = known.failed.take() {
                return Err(error);
            }
            commands.iter().for_each(|command| known.command(command, &mut words));
        }
        self.ask(&words).map(|_| ())
    }

    fn read(&self, parts: &[Part], _: &Watch) -> Result<Buffer> {
        let (fetch, is_new) = {
            let mut known = self.known();
            if let Some(error) = known.failed.take() {
                return Err(error);
            }
            match known.fetches.iter().find(|(_, other)| other == parts) {
                Some((number, _)) => (*number, false),
                None => {
                    let number = known.next;
                    known.next = known.next.wrapping_add(1);
                    known.fetches.push((number, parts.to_vec()));
                    (number, true)
                }
            }
        };
        if is_new {
            let mut words = vec![FETCH, fetch, parts.len() as u32];
            words.extend(parts.iter().flat_map(part));
            self.ask(&words)?;
        }
        // Without room: whether it is there.
        if self.ask(&[TAKE, fetch, 0])? == PENDING {
            return Err(Error::pending("a value is awaited from the device"));
        }
        let mut read = Buffer::zeroed(parts.iter().map(|part| part.bytes as usize).sum(), None)?;
        let to = read.bytes_mut().unwrap_or_default().as_ptr() as usize as u32;
        self.known().fetches.retain(|(number, _)| *number != fetch);
        self.ask(&[TAKE, fetch, to])?;
        Ok(read)
    }

    fn settle(&self, watch: &Watch) -> Result<()> {
        {
            let mut known = self.known();
            if let Some(error) = known.failed.take() {
                return Err(error);
            }
            if !known.unsettled {
                return Ok(());
            }
        }
        match self.ask(&[SETTLE])? {
            PENDING => match watch.look(false) {
                Some(stop) => Err(stopped(stop)),
                None => Err(Error::pending("the device has not said yet whether it has what a call needs")),
            },
            _ => {
                self.known().unsettled = false;
                Ok(())
            }
        }
    }

    fn lost(&self) -> Option<String> {
        self.known().lost.clone()
    }
}
