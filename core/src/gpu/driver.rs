//! The native driver: executes commands through wgpu, on Vulkan, Metal or DX12.

use super::command::{Access, BufferId, Command, Part, PipelineId, Shader};
use super::device::{Adapter, Device, Driver};
use super::wgsl::ENABLE_SUBGROUPS;
use crate::cpu::fork::section;
use crate::cpu::memory::Buffer;
use crate::cpu::single::stopped;
use crate::cpu::work::{Watch, now};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How often a wait looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(5);

/// How many seconds a device may work without coming to the end of anything that it was handed. Then it is lost:
/// nothing else ends a shader that never ends, for many drivers have no watchdog. Nobody waits for longer, whatever the
/// limits.
const PATIENCE: f64 = 600.0;

/// How long a device that is let go of may go on with its work.
const FAREWELL: Duration = Duration::from_secs(1);

/// The devices that are open in this process, by the index of their adapter.
static OPEN: Mutex<Vec<(usize, Arc<Device>)>> = Mutex::new(Vec::new());

/// The adapters of this machine, those of hardware first.
pub fn adapters() -> Vec<Adapter> {
    found().iter().map(described).collect()
}

/// The device `gpu:index`. All who ask while it works get the same one.
///
/// # Errors
/// `device`: there is no such adapter, or it does not open.
pub fn open(index: usize) -> Result<Arc<Device>> {
    let _section = section();
    let mut devices = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    devices.retain(|(_, device)| device.is_usable());
    if let Some((_, device)) = devices.iter().find(|(other, _)| *other == index) {
        return Ok(device.clone());
    }
    let mut found = found();
    if index >= found.len() {
        let names: Vec<_> = (0..found.len()).map(|index| format!("gpu:{index}")).collect();
        let there =
            if names.is_empty() { "no GPU driver was found".into() } else { format!("there is {}", names.join(", ")) };
        return Err(Error::device(format!("there is no device gpu:{index}: {there}")).with_argument("device"));
    }
    let device = Wgpu::open(index, &found.swap_remove(index))?;
    devices.push((index, device.clone()));
    Ok(device)
}

/// The device that is open as `gpu:index`.
pub fn opened(index: usize) -> Option<Arc<Device>> {
    let _section = section();
    let devices = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let found = devices.iter().find(|(other, device)| *other == index && device.is_usable());
    found.map(|(_, device)| device.clone())
}

/// What wgpu finds. Adapters that only draw are left out.
fn found() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    let mut found = ready(instance.enumerate_adapters(wgpu::Backends::PRIMARY)).unwrap_or_default();
    found.retain(|adapter| adapter.limits().max_compute_invocations_per_workgroup >= 256);
    found.sort_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu | wgpu::DeviceType::Other => 2,
        wgpu::DeviceType::Cpu => 3,
    });
    found
}

fn described(adapter: &wgpu::Adapter) -> Adapter {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    // Where their size varies it may be another one than a shader is told, and some of their lanes may be missing.
    let is_size_known = info.subgroup_min_size == info.subgroup_max_size;
    Adapter {
        name: info.name,
        backend: info.backend.to_string(),
        is_software: info.device_type == wgpu::DeviceType::Cpu,
        binding_bytes: limits.max_storage_buffer_binding_size,
        buffer_bytes: limits.max_buffer_size,
        storage_buffers: limits.max_storage_buffers_per_shader_stage,
        invocations: limits.max_compute_invocations_per_workgroup,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        groups: limits.max_compute_workgroups_per_dimension,
        alignment: limits.min_storage_buffer_offset_alignment.max(limits.min_uniform_buffer_offset_alignment),
        has_f16: features.contains(wgpu::Features::SHADER_F16),
        has_subgroups: features.contains(wgpu::Features::SUBGROUP) && is_size_known,
    }
}

/// The value of a future that is done at its first poll, as wgpu's are natively.
fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

#[derive(Default)]
struct Objects {
    buffers: HashMap<BufferId, wgpu::Buffer>,
    pipelines: HashMap<PipelineId, Pipeline>,
}

/// A device of wgpu.
struct Wgpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    /// The last that the queue was handed.
    submitted: Mutex<Option<wgpu::SubmissionIndex>>,
    /// How many times it came to the end of what it was handed.
    ended: Arc<AtomicU64>,
    patience: f64,
    objects: Mutex<Objects>,
    lost: Arc<Mutex<Option<String>>>,
    /// Whether handing it work waits for the work before.
    is_software: bool,
}

/// Adds a reason why a device is lost; the first one counts.
fn lose(lost: &Mutex<Option<String>>, reason: String) {
    lost.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
}

impl Wgpu {
    fn open(index: usize, adapter: &wgpu::Adapter) -> Result<Arc<Device>> {
        Ok(Device::new(index, described(adapter), Box::new(Wgpu::new(adapter)?)))
    }

    fn new(adapter: &wgpu::Adapter) -> Result<Wgpu> {
        let wanted = wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP;
        let descriptor = wgpu::DeviceDescriptor {
            required_features: adapter.features() & wanted,
            required_limits: adapter.limits(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..wgpu::DeviceDescriptor::default()
        };
        let name = adapter.get_info().name;
        let opened = ready(adapter.request_device(&descriptor)).and_then(|opened| opened.ok());
        let (device, queue) = opened.ok_or_else(|| Error::device(format!("{name} does not open")))?;
        let lost = Arc::<Mutex<Option<String>>>::default();
        let (uncaptured, callback) = (lost.clone(), lost.clone());
        // Without a handler wgpu panics on an error outside of a scope.
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| lose(&uncaptured, error.to_string())));
        device.set_device_lost_callback(move |reason, message| lose(&callback, format!("{reason:?} {message}")));
        let (is_software, objects) = (described(adapter).is_software, Mutex::default());
        let (submitted, ended, patience) = (Mutex::default(), Arc::default(), PATIENCE);
        Ok(Wgpu { device, queue, submitted, ended, patience, objects, lost, is_software })
    }

    /// Does something; the errors that wgpu finds in it are ours.
    fn scoped<R>(&self, body: impl FnOnce() -> Result<R>) -> Result<R> {
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let outcome = body();
        let memory = ready(memory.pop()).flatten();
        let validation = ready(validation.pop()).flatten();
        match memory.or(validation) {
            Some(wgpu::Error::OutOfMemory { .. }) => Err(Error::memory("the device has no more memory")),
            Some(error) => Err(Error::internal(format!("the device refused a command: {error}"))),
            None => outcome,
        }
    }

    /// Waits for all work so far, a little at a time, until `done` gives something.
    fn wait<R>(&self, watch: &Watch, mut done: impl FnMut(bool) -> Option<Result<R>>) -> Result<R> {
        let mut idle = 0;
        let (mut ended, mut since) = (self.ended.load(Ordering::Relaxed), now());
        loop {
            let is_idle = self.is_idle(LOOK);
            if let Some(outcome) = done(is_idle) {
                return outcome;
            }
            if is_idle {
                // Another thread that waits may have been given our answer, and be about to hand it over.
                idle += 1;
                if idle > 1000 {
                    return Err(Error::internal("the device waits for nothing"));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            if let Some(stop) = watch.look(false) {
                // Nothing else ends a shader that never ends; whoever comes next opens the device anew.
                lose(&self.lost, "a call was given up while it ran".into());
                return Err(stopped(stop));
            }
            match self.ended.load(Ordering::Relaxed) {
                count if count != ended || is_idle => (ended, since) = (count, now()),
                _ if now() - since > self.patience => {
                    lose(&self.lost, "its work did not end".into());
                    let seconds = self.patience;
                    return Err(Error::device(format!("the device came to the end of nothing for {seconds} seconds")));
                }
                _ => {}
            }
        }
    }

    /// Whether all work so far has ended, within a time.
    fn is_idle(&self, timeout: Duration) -> bool {
        // By its index: wgpu panics where it is to wait for what another thread is submitting.
        let submission_index = self.submitted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let poll = match submission_index {
            Some(_) => wgpu::PollType::Wait { submission_index, timeout: Some(timeout) },
            None => wgpu::PollType::Poll,
        };
        !matches!(self.device.poll(poll), Err(wgpu::PollError::Timeout))
    }

    fn compile(&self, shader: &Shader) -> Pipeline {
        // Naga knows subgroups without the line that Tint wants, and refuses it.
        let text = shader.text.strip_prefix(ENABLE_SUBGROUPS).unwrap_or(&shader.text);
        let source = wgpu::ShaderSource::Wgsl(text.into());
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
        let entry = |(binding, access): (usize, &Access)| wgpu::BindGroupLayoutEntry {
            binding: binding as u32,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: match access {
                    Access::Uniform => wgpu::BufferBindingType::Uniform,
                    access => wgpu::BufferBindingType::Storage { read_only: *access == Access::Read },
                },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let entries: Vec<_> = shader.bindings.iter().enumerate().map(entry).collect();
        // Written out: a layout that wgpu derives leaves out bindings which the shader does not use.
        let layout = wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries };
        let layout = self.device.create_bind_group_layout(&layout);
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            // Nothing for a file of ours: Mesa has one of its own, and SwiftShader gives a cache that holds no code.
            cache: None,
        });
        Pipeline { pipeline, layout }
    }
}

impl Drop for Wgpu {
    /// wgpu waits for the work of a device that it lets go of, and work may never end: then the device is kept.
    fn drop(&mut self) {
        if !self.is_idle(FAREWELL) {
            std::mem::forget((self.device.clone(), self.queue.clone()));
        }
    }
}

/// Commands on their way into one command buffer after the other.
struct Recording<'a> {
    wgpu: &'a Wgpu,
    watch: &'a Watch,
    encoder: Option<wgpu::CommandEncoder>,
    pass: Option<wgpu::ComputePass<'static>>,
}

impl Recording<'_> {
    fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        let device = &self.wgpu.device;
        self.encoder.get_or_insert_with(|| device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default()))
    }

    /// Dispatches follow each other in one pass.
    fn pass(&mut self) -> &mut wgpu::ComputePass<'static> {
        match self.pass.take() {
            Some(pass) => self.pass.insert(pass),
            None => {
                let descriptor = wgpu::ComputePassDescriptor::default();
                let pass = self.encoder().begin_compute_pass(&descriptor).forget_lifetime();
                self.pass.insert(pass)
            }
        }
    }

    fn submit(&mut self) -> Result<()> {
        self.pass = None;
        let Some(encoder) = self.encoder.take() else { return Ok(()) };
        if self.wgpu.is_software {
            self.wgpu.wait(self.watch, |is_idle| is_idle.then_some(Ok(())))?;
        }
        let index = self.wgpu.queue.submit([encoder.finish()]);
        let ended = self.wgpu.ended.clone();
        self.wgpu.queue.on_submitted_work_done(move || {
            ended.fetch_add(1, Ordering::Relaxed);
        });
        *self.wgpu.submitted.lock().unwrap_or_else(PoisonError::into_inner) = Some(index);
        Ok(())
    }

    fn command(&mut self, objects: &mut Objects, command: Command) -> Result<()> {
        let wgpu = self.wgpu;
        match command {
            Command::Create(id, bytes) => {
                use wgpu::BufferUsages as Usages;
                let usage = Usages::STORAGE | Usages::UNIFORM | Usages::COPY_SRC | Usages::COPY_DST;
                let descriptor = wgpu::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false };
                objects.buffers.insert(id, wgpu.device.create_buffer(&descriptor));
            }
            // wgpu keeps it until the work that uses it is done.
            Command::Destroy(id) => drop(objects.buffers.remove(&id)),
            Command::Upload(id, offset, data) => {
                // What is written to the queue comes before all that is submitted later.
                self.submit()?;
                wgpu.queue.write_buffer(objects.buffer(id)?, offset, &data);
            }
            Command::Pipeline(id, shader) => {
                objects.pipelines.insert(id, wgpu.compile(&shader));
            }
            Command::Release(id) => drop(objects.pipelines.remove(&id)),
            Command::Dispatch(id, parts, [x, y, z]) => {
                let missing = || Error::internal("a command names a pipeline that is not there");
                let pipeline = objects.pipelines.get(&id).ok_or_else(missing)?;
                let entry = |(binding, part): (usize, &Part)| {
                    let size = std::num::NonZero::new(part.bytes);
                    let buffer =
                        wgpu::BufferBinding { buffer: objects.buffer(part.buffer)?, offset: part.offset, size };
                    Ok(wgpu::BindGroupEntry {
                        binding: binding as u32,
                        resource: wgpu::BindingResource::Buffer(buffer),
                    })
                };
                let entries = parts.iter().enumerate().map(entry).collect::<Result<Vec<_>>>()?;
                let layout = &pipeline.layout;
                let group = wgpu::BindGroupDescriptor { label: None, layout, entries: &entries };
                let group = wgpu.device.create_bind_group(&group);
                let pass = self.pass();
                pass.set_pipeline(&pipeline.pipeline);
                pass.set_bind_group(0, &group, &[]);
                pass.dispatch_workgroups(x, y, z);
            }
            Command::Copy(from, to, offset) => {
                let (source, target) = (objects.buffer(from.buffer)?, objects.buffer(to)?);
                self.encoder().copy_buffer_to_buffer(source, from.offset, target, offset, from.bytes);
            }
            Command::Clear(part) => {
                self.encoder().clear_buffer(objects.buffer(part.buffer)?, part.offset, Some(part.bytes));
            }
        }
        Ok(())
    }
}

impl Objects {
    fn buffer(&self, id: BufferId) -> Result<&wgpu::Buffer> {
        self.buffers.get(&id).ok_or_else(|| Error::internal("a command names a buffer that is not there"))
    }
}

impl Driver for Wgpu {
    fn execute(&self, commands: Vec<Command>, watch: &Watch) -> Result<()> {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        self.scoped(|| {
            let mut recording = Recording { wgpu: self, watch, encoder: None, pass: None };
            commands.into_iter().try_for_each(|command| recording.command(&mut objects, command))?;
            recording.submit()
        })
    }

    fn read(&self, parts: &[Part], watch: &Watch) -> Result<Buffer> {
        let staging = self.scoped(|| {
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            let size = parts.iter().map(|part| part.bytes).sum();
            let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
            let staging = self.device.create_buffer(&descriptor);
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
            let mut offset = 0;
            for part in parts {
                encoder.copy_buffer_to_buffer(objects.buffer(part.buffer)?, part.offset, &staging, offset, part.bytes);
                offset += part.bytes;
            }
            Recording { wgpu: self, watch, encoder: Some(encoder), pass: None }.submit()?;
            Ok(staging)
        })?;
        let (sender, receiver) = mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |mapped| {
            // The receiver is gone if the wait was given up.
            let _ = sender.send(mapped);
        });
        self.wait(watch, |_| match receiver.try_recv() {
            Ok(Ok(())) => Some(Ok(())),
            Ok(Err(error)) => {
                lose(&self.lost, error.to_string());
                Some(Err(Error::device("the device was lost while its result was awaited")))
            }
            Err(_) => None,
        })?;
        let range = staging.get_mapped_range(..);
        let range = range.map_err(|error| Error::internal(format!("a buffer was not mapped: {error}")))?;
        let mut read = Buffer::zeroed(range.len(), None)?;
        read.bytes_mut().unwrap_or_default().copy_from_slice(&range);
        Ok(read)
    }

    fn lost(&self) -> Option<String> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests;
