//! A device: its buffers, its pipelines, and the commands that it has not been handed yet.
//!
//! Nothing here waits but [`Device::read`]. Buffers go back to a pool when their last holder is gone: commands run in
//! order, so the next user of a buffer writes it after the last one has read it.

use super::command::{BufferId, Command, Part, PipelineId, Shader};
use crate::cpu::fork::{generation, section};
use crate::cpu::memory::Buffer;
use crate::cpu::work::Watch;
use crate::error::{Code, Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What an adapter is and what it can do.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// Its name as the driver gives it.
    pub name: String,
    /// The interface below, such as `vulkan`.
    pub backend: String,
    /// Whether it computes on the CPU.
    pub is_software: bool,
    /// The most bytes that a shader sees of one buffer.
    pub binding_bytes: u64,
    /// The most bytes of a buffer.
    pub buffer_bytes: u64,
    /// The most storage buffers of a shader.
    pub storage_buffers: u32,
    /// The most invocations of a workgroup.
    pub invocations: u32,
    /// The bytes of memory that a workgroup shares.
    pub workgroup_bytes: u32,
    /// The most workgroups along one axis.
    pub groups: u32,
    /// What offsets of bindings are multiples of, in bytes.
    pub alignment: u32,
    /// Whether shaders compute in `f16`.
    pub has_f16: bool,
    /// Whether shaders know subgroups, and these are of one size.
    pub has_subgroups: bool,
}

/// Executes commands.
pub trait Driver: Send + Sync {
    /// Executes commands in order. It does not wait for them, but where a driver has no room for more before others are
    /// done.
    ///
    /// # Errors
    /// `memory`: the device has no more; `device`: it is lost; `internal`: a command is wrong; `deadline`, `cancelled`: as
    /// the watch says. A device whose work does not end in time is lost.
    fn execute(&self, commands: Vec<Command>, watch: &Watch) -> Result<()>;

    /// Waits for all commands so far, and copies parts of buffers out, one after the other.
    ///
    /// # Errors
    /// As [`Driver::execute`]; `pending`: the driver cannot wait. Reading the same parts again gives them once they are
    /// there; what has been written meanwhile is then in them.
    fn read(&self, parts: &[Part], watch: &Watch) -> Result<Buffer>;

    /// Whether all that was made for the commands so far, buffers and pipelines, could be made: a driver that cannot wait
    /// does not know at once.
    ///
    /// # Errors
    /// `pending`: it is not known yet; else as [`Driver::execute`].
    fn settle(&self, watch: &Watch) -> Result<()> {
        let _ = watch;
        Ok(())
    }

    /// Why the device does no more, if so.
    fn lost(&self) -> Option<String>;
}

/// Bytes of a device's buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// In buffers that somebody holds.
    pub used: u64,
    /// In buffers that wait for the next user.
    pub pooled: u64,
    /// The most that was used at once.
    pub peak: u64,
}

/// What a device has been asked for since it was opened. None of it depends on how fast it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Runs of a pipeline.
    pub dispatches: u64,
    /// Shaders that were compiled.
    pub pipelines: u64,
    /// Bytes of what dispatches bind, and of what is uploaded, copied (read and written) and cleared: what would pass
    /// through memory if each kernel touched each of its bytes once.
    pub bytes: u64,
}

/// How many dispatches are gathered before a driver gets them: it works on some while others are made.
const GATHERED: usize = 64;

/// How many pipelines a device keeps before those go that nobody holds.
const PIPELINES: usize = 1024;

/// The least bytes of a buffer: what offsets are aligned to on every device.
const LEAST: u64 = 256;

/// A GPU that is open.
pub struct Device {
    index: usize,
    adapter: Adapter,
    driver: Box<dyn Driver>,
    /// The process that opened it; a child has to open its own.
    generation: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    buffers: BufferId,
    pipelines: HashMap<Shader, Compiled>,
    commands: Vec<Command>,
    /// How many of them are dispatches.
    gathered: usize,
    /// Buffers without a holder, by bytes.
    free: BTreeMap<u64, Vec<BufferId>>,
    usage: Usage,
    /// Whether the device had no memory for a buffer: the pool makes room before the next one.
    is_short: bool,
    work: Work,
    /// How often pipelines were asked for: each time is a turn.
    turn: u64,
}

/// A pipeline of a device, which stays as long as somebody holds it.
pub type Pipeline = Arc<PipelineId>;

/// A shader that was compiled.
struct Compiled {
    pipeline: Pipeline,
    /// The turn in which it was last asked for.
    asked: u64,
}

/// A buffer of a device; it goes back to the device's pool when it is dropped.
pub struct DeviceBuffer {
    device: Arc<Device>,
    id: BufferId,
    bytes: u64,
    capacity: u64,
}

impl Device {
    /// The device `gpu:index`, whose commands a driver executes.
    pub fn new(index: usize, adapter: Adapter, driver: Box<dyn Driver>) -> Arc<Device> {
        Arc::new(Device { index, adapter, driver, generation: generation(), state: Mutex::default() })
    }

    /// Its number among the devices of its kind.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What it is and can do.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// Whether it still works, in this process.
    pub fn is_usable(&self) -> bool {
        self.generation == generation() && self.driver.lost().is_none()
    }

    /// The bytes of its buffers.
    pub fn usage(&self) -> Usage {
        let _section = section();
        self.state().usage
    }

    /// What it has been asked for so far.
    pub fn work(&self) -> Work {
        let _section = section();
        self.state().work
    }

    /// A buffer of at least `bytes` bytes. What it holds is undefined.
    ///
    /// # Errors
    /// `memory`: more than one binding can have, or the device has no more.
    pub fn buffer(self: &Arc<Device>, bytes: u64) -> Result<DeviceBuffer> {
        let limit = self.adapter.binding_bytes.min(self.adapter.buffer_bytes);
        if bytes > limit {
            let name = &self.adapter.name;
            return Err(Error::memory(format!("a tensor of {bytes} bytes is more than {name} binds at once, {limit}")));
        }
        let capacity = capacity(bytes).min(limit.next_multiple_of(4));
        let _section = section();
        let mut state = self.state();
        let reused = state.free.get_mut(&capacity).and_then(Vec::pop);
        let id = match reused {
            Some(id) => {
                state.usage.pooled -= capacity;
                id
            }
            None => self.create(&mut state, capacity)?,
        };
        state.usage.used += capacity;
        state.usage.peak = state.usage.peak.max(state.usage.used);
        Ok(DeviceBuffer { device: self.clone(), id, bytes, capacity })
    }

    /// A new buffer; buffers in the pool make room for it if there is none.
    fn create(&self, state: &mut State, capacity: u64) -> Result<BufferId> {
        self.check()?;
        // What waits for a next user is never more than what users have had at once.
        if std::mem::take(&mut state.is_short) || state.usage.pooled > state.usage.peak {
            self.trim_in(state, &Watch::default())?;
        }
        let id = state.buffers;
        state.buffers += 1;
        let create = || self.driver.execute(vec![Command::Create(id, capacity)], &Watch::default());
        let made = create();
        match made {
            Err(error) if error.code() == Code::Memory && state.usage.pooled > 0 => {
                self.trim_in(state, &Watch::default())?;
                create()?;
            }
            made => made?,
        }
        Ok(id)
    }

    /// Frees the buffers that nobody holds.
    ///
    /// # Errors
    /// Those of [`Driver::execute`].
    pub fn trim(&self) -> Result<()> {
        let _section = section();
        self.trim_in(&mut self.state(), &Watch::default())
    }

    fn trim_in(&self, state: &mut State, watch: &Watch) -> Result<()> {
        let free = std::mem::take(&mut state.free);
        state.commands.extend(free.into_values().flatten().map(Command::Destroy));
        state.usage.pooled = 0;
        self.submit(state, watch)
    }

    /// Adds a command; hands all to the driver when many have come together.
    ///
    /// # Errors
    /// Those of [`Driver::execute`].
    pub fn push(&self, command: Command, watch: &Watch) -> Result<()> {
        let _section = section();
        let mut state = self.state();
        state.gathered += usize::from(matches!(command, Command::Dispatch(..)));
        state.work.count(&command);
        state.commands.push(command);
        if state.gathered >= GATHERED { self.submit(&mut state, watch) } else { Ok(()) }
    }

    /// Writes bytes to the start of a part; the last word is filled with zeros.
    ///
    /// # Errors
    /// Those of [`Driver::execute`].
    pub fn upload(&self, part: Part, bytes: &[u8], watch: &Watch) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut words = Vec::new();
        let length = bytes.len().next_multiple_of(4);
        words.try_reserve_exact(length).map_err(|_| Error::memory("the system has no more memory"))?;
        words.extend_from_slice(bytes);
        words.resize(length, 0);
        self.push(Command::Upload(part.buffer, part.offset, words), watch)
    }

    /// The pipeline of a shader, compiled when it is first asked for, and anew where it was let go of since.
    ///
    /// # Errors
    /// `internal`: the shader is wrong; others of [`Driver::execute`].
    pub fn pipeline(&self, shader: &Shader) -> Result<Pipeline> {
        let _section = section();
        let mut state = self.state();
        state.turn += 1;
        let turn = state.turn;
        if let Some(found) = state.pipelines.get_mut(shader) {
            found.asked = turn;
            return Ok(found.pipeline.clone());
        }
        self.check()?;
        if state.pipelines.len() >= PIPELINES {
            state.release();
        }
        let id = state.work.pipelines as PipelineId;
        self.driver.execute(vec![Command::Pipeline(id, shader.clone())], &Watch::default())?;
        let pipeline = Arc::new(id);
        state.pipelines.insert(shader.clone(), Compiled { pipeline: pipeline.clone(), asked: turn });
        state.work.pipelines += 1;
        Ok(pipeline)
    }

    /// The shaders of its pipelines, in no order.
    pub fn shaders(&self) -> Vec<Shader> {
        let _section = section();
        self.state().pipelines.keys().cloned().collect()
    }

    /// Hands the driver all commands.
    ///
    /// # Errors
    /// Those of [`Driver::execute`].
    pub fn flush(&self, watch: &Watch) -> Result<()> {
        let _section = section();
        self.submit(&mut self.state(), watch)
    }

    /// Waits for all commands so far; gives the first bytes of a buffer.
    ///
    /// # Errors
    /// Those of [`Driver::read`].
    pub fn read(&self, part: Part, bytes: usize, watch: &Watch) -> Result<Vec<u8>> {
        let read = self.read_all(&[Part { bytes: words(bytes), ..part }], watch)?;
        Ok(read.bytes().get(..bytes).unwrap_or_default().to_vec())
    }

    /// Waits for all commands so far; gives the bytes of parts one after the other.
    ///
    /// # Errors
    /// Those of [`Driver::read`].
    pub fn read_all(&self, parts: &[Part], watch: &Watch) -> Result<Buffer> {
        let parts: Vec<_> = parts.iter().copied().filter(|part| part.bytes != 0).collect();
        if parts.is_empty() {
            self.check()?;
            return Buffer::zeroed(0, None);
        }
        self.flush(watch)?;
        self.driver.read(&parts, watch)
    }

    /// Whether the device works, and all that was made on it so far could be made; commands that wait for more are handed
    /// over if that is not known.
    ///
    /// # Errors
    /// `device`: it is lost; else those of [`Driver::settle`].
    pub fn settle(&self, watch: &Watch) -> Result<()> {
        self.check()?;
        let outcome = match self.driver.settle(watch) {
            Err(error) if error.code() == Code::Pending => self.flush(watch).and_then(|_| self.driver.settle(watch)),
            outcome => outcome,
        };
        outcome.inspect_err(|error| {
            let _section = section();
            self.state().is_short |= error.code() == Code::Memory;
        })
    }

    /// Whether it can be used.
    fn check(&self) -> Result<()> {
        if self.generation != generation() {
            return Err(Error::device("the device belongs to the parent process; open a session in this one"));
        }
        if let Some(reason) = self.driver.lost() {
            return Err(Error::device(format!("{} is lost: {reason}; open a new session", self.adapter.name)));
        }
        Ok(())
    }

    fn submit(&self, state: &mut State, watch: &Watch) -> Result<()> {
        self.check()?;
        state.gathered = 0;
        match std::mem::take(&mut state.commands) {
            commands if commands.is_empty() => Ok(()),
            commands => self.driver.execute(commands, watch),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Lets go of half of the pipelines that nobody holds: those that nobody has asked for the longest.
    fn release(&mut self) {
        let unused = self.pipelines.values().filter(|compiled| Arc::strong_count(&compiled.pipeline) == 1);
        let mut turns: Vec<_> = unused.map(|compiled| compiled.asked).collect();
        turns.sort_unstable();
        let Some(&last) = turns.get(turns.len() / 2) else { return };
        let State { pipelines, commands, .. } = self;
        pipelines.retain(|_, Compiled { pipeline, asked }| {
            let is_kept = Arc::strong_count(pipeline) > 1 || *asked > last;
            if !is_kept {
                commands.push(Command::Release(**pipeline));
            }
            is_kept
        });
    }
}

impl Work {
    fn count(&mut self, command: &Command) {
        match command {
            Command::Dispatch(_, parts, _) => {
                self.dispatches += 1;
                self.bytes += parts.iter().map(|part| part.bytes).sum::<u64>();
            }
            Command::Upload(_, _, bytes) => self.bytes += bytes.len() as u64,
            Command::Copy(part, ..) => self.bytes += 2 * part.bytes,
            Command::Clear(part) => self.bytes += part.bytes,
            Command::Create(..) | Command::Destroy(_) | Command::Pipeline(..) | Command::Release(_) => {}
        }
    }
}

/// Bytes rounded up to whole words.
pub fn words(bytes: usize) -> u64 {
    (bytes as u64).next_multiple_of(4)
}

/// The bytes of the buffer that is made for so many: few enough kinds that buffers find a next user, within an eighth.
fn capacity(bytes: u64) -> u64 {
    let bytes = bytes.max(LEAST);
    let step = (bytes.next_power_of_two() / 16).max(LEAST);
    bytes.next_multiple_of(step)
}

impl DeviceBuffer {
    /// The device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// How many bytes were asked for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All of it, to be bound: at least one element of any dtype.
    pub fn whole(&self) -> Part {
        Part { buffer: self.id, offset: 0, bytes: self.bytes.next_multiple_of(4).max(8) }
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        let _section = section();
        let mut state = self.device.state();
        state.usage.used -= self.capacity;
        state.usage.pooled += self.capacity;
        state.free.entry(self.capacity).or_default().push(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::command::{Access, text};

    /// Keeps the text of what it is to execute.
    #[derive(Default, Clone)]
    struct Recorder {
        text: Arc<Mutex<String>>,
        /// Bytes that all buffers may have together.
        room: Arc<Mutex<u64>>,
    }

    impl Driver for Recorder {
        fn execute(&self, commands: Vec<Command>, _: &Watch) -> Result<()> {
            for command in &commands {
                let mut room = self.room.lock().unwrap();
                match command {
                    Command::Create(_, bytes) if *bytes > *room => return Err(Error::memory("no more")),
                    Command::Create(_, bytes) => *room -= bytes,
                    Command::Destroy(_) => *room += 1024,
                    _ => {}
                }
            }
            *self.text.lock().unwrap() += &text(&commands);
            Ok(())
        }

        fn read(&self, parts: &[Part], _: &Watch) -> Result<Buffer> {
            parts.iter().for_each(|part| *self.text.lock().unwrap() += &format!("read {part}\n"));
            let mut read = Buffer::zeroed(parts.iter().map(|part| part.bytes as usize).sum(), None)?;
            read.bytes_mut().unwrap().fill(7);
            Ok(read)
        }

        fn lost(&self) -> Option<String> {
            None
        }
    }

    fn device(room: u64) -> (Arc<Device>, Recorder) {
        let driver = Recorder { room: Arc::new(Mutex::new(room)), ..Recorder::default() };
        let adapter = Adapter {
            name: "recorder".into(),
            backend: "none".into(),
            is_software: true,
            binding_bytes: 4096,
            buffer_bytes: 8192,
            storage_buffers: 8,
            invocations: 256,
            workgroup_bytes: 32 << 10,
            groups: 65_535,
            alignment: 256,
            has_f16: false,
            has_subgroups: false,
        };
        (Device::new(0, adapter, Box::new(driver.clone())), driver)
    }

    #[test]
    fn commands_are_a_text() {
        let (device, driver) = device(8192);
        let shader =
            Shader { text: "fn f() {\n}".into(), bindings: vec![Access::Read, Access::Write, Access::Uniform] };
        let pipelines = [device.pipeline(&shader).unwrap(), device.pipeline(&shader.clone()).unwrap()];
        assert_eq!(pipelines.map(|pipeline| *pipeline), [0, 0]);
        let (a, b) = (device.buffer(6).unwrap(), device.buffer(300).unwrap());
        device.upload(a.whole(), &[1, 2, 3, 4, 5, 6], &Watch::default()).unwrap();
        device.push(Command::Dispatch(0, vec![a.whole(), b.whole()], [2, 1, 1]), &Watch::default()).unwrap();
        device.push(Command::Copy(a.whole(), 1, 256), &Watch::default()).unwrap();
        device.push(Command::Clear(b.whole()), &Watch::default()).unwrap();
        assert_eq!(device.read(a.whole(), 6, &Watch::default()).unwrap(), [7; 6]);
        let expected = "pipeline p0 (read, write, uniform)\n    fn f() {\n    }\ncreate b0 256\ncreate b1 512\n\
                        upload b0+0:8\ndispatch p0 (b0+0:8, b1+0:300) 2x1x1\ncopy b0+0:8 to b1+256\nclear b1+0:300\n\
                        read b0+0:8\n";
        assert_eq!(*driver.text.lock().unwrap(), expected);
        let bytes = 8 + (8 + 300) + 2 * 8 + 300;
        assert_eq!(device.work(), Work { dispatches: 1, pipelines: 1, bytes });
    }

    #[test]
    fn buffers_are_used_again_and_make_room() {
        let (device, driver) = device(2400);
        let first = device.buffer(1000).unwrap();
        drop(first);
        assert_eq!(device.usage(), Usage { used: 0, pooled: 1024, peak: 1024 });
        let again = device.buffer(1024).unwrap();
        let other = device.buffer(900).unwrap();
        assert_eq!(device.usage(), Usage { used: 2048, pooled: 0, peak: 2048 });
        drop(again);
        let large = device.buffer(1080).unwrap();
        assert_eq!(*driver.text.lock().unwrap(), "create b0 1024\ncreate b1 1024\ndestroy b0\ncreate b2 1280\n");
        drop((other, large));
        device.trim().unwrap();
        assert_eq!(device.usage().pooled, 0);
    }

    #[test]
    fn pipelines_that_nobody_holds_go_once_there_are_many() {
        let (device, driver) = device(2400);
        let shader = |number: usize| Shader { text: format!("{number}").into(), bindings: Vec::new() };
        let held = device.pipeline(&shader(0)).unwrap();
        for number in 1..PIPELINES {
            device.pipeline(&shader(number)).unwrap();
        }
        // Asked for again, so it is not the one that nobody has asked for the longest.
        assert_eq!(*device.pipeline(&shader(1)).unwrap(), 1);
        device.pipeline(&shader(PIPELINES)).unwrap();
        let kept = device.shaders().len();
        assert!(kept > PIPELINES / 2 - 2 && kept < PIPELINES / 2 + 3, "{kept}");
        assert_eq!((*held, *device.pipeline(&shader(0)).unwrap(), *device.pipeline(&shader(1)).unwrap()), (0, 0, 1));
        // Compiled anew, under a number of its own.
        assert_eq!(*device.pipeline(&shader(2)).unwrap() as usize, PIPELINES + 1);
        device.flush(&Watch::default()).unwrap();
        let text = driver.text.lock().unwrap();
        assert!(text.contains("release p2\n") && !text.contains("release p0\n") && !text.contains("release p1\n"));
    }

    #[test]
    fn what_no_binding_holds_is_refused_with_the_limit() {
        let (device, _) = device(8192);
        let error = device.buffer(4097).err().unwrap();
        assert_eq!(error.code(), Code::Memory);
        assert_eq!(error.to_string(), "a tensor of 4097 bytes is more than recorder binds at once, 4096");
    }
}
