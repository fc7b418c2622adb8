//! Commands: what a driver executes, in order. Plain data with a text form.

use std::fmt::{self, Write};
use std::sync::Arc;

/// The number of a buffer, given by whoever makes the commands.
pub type BufferId = u32;

/// The number of a pipeline.
pub type PipelineId = u32;

/// How a shader uses a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    Write,
    /// `var<uniform>`.
    Uniform,
}

/// A part of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Part {
    /// The buffer.
    pub buffer: BufferId,
    /// Where it begins, in bytes: a multiple of 4, and of the device's alignment where it is bound.
    pub offset: u64,
    /// How many bytes: a multiple of 4, not 0.
    pub bytes: u64,
}

/// WGSL text with an entry point `main`, and how it uses the bindings 0, 1, ... of group 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shader {
    /// The text.
    pub text: Arc<str>,
    /// The bindings.
    pub bindings: Vec<Access>,
}

/// One command.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Makes a buffer of zeros.
    Create(BufferId, u64),
    /// Frees a buffer once the commands before are done.
    Destroy(BufferId),
    /// Writes bytes, a multiple of 4, at an offset in bytes.
    Upload(BufferId, u64, Vec<u8>),
    /// Compiles a shader.
    Pipeline(PipelineId, Shader),
    /// Frees a pipeline once the commands before are done.
    Release(PipelineId),
    /// Runs a pipeline on parts of buffers, in so many workgroups.
    Dispatch(PipelineId, Vec<Part>, [u32; 3]),
    /// Copies a part to an offset in another buffer.
    Copy(Part, BufferId, u64),
    /// Zeroes a part.
    Clear(Part),
}

/// The text of a list: a line for each command; the shader of a pipeline follows it, indented.
pub fn text(commands: &[Command]) -> String {
    commands.iter().fold(String::new(), |mut text, command| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{command}");
        text
    })
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}+{}:{}", self.buffer, self.offset, self.bytes)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Read => "read",
            Access::Write => "write",
            Access::Uniform => "uniform",
        })
    }
}

fn list(items: impl IntoIterator<Item = impl fmt::Display>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Create(buffer, bytes) => write!(f, "create b{buffer} {bytes}"),
            Command::Destroy(buffer) => write!(f, "destroy b{buffer}"),
            Command::Upload(buffer, offset, data) => write!(f, "upload b{buffer}+{offset}:{}", data.len()),
            Command::Pipeline(pipeline, shader) => {
                write!(f, "pipeline p{pipeline} ({})", list(&shader.bindings))?;
                shader.text.lines().try_for_each(|line| write!(f, "\n    {line}"))
            }
            Command::Release(pipeline) => write!(f, "release p{pipeline}"),
            Command::Dispatch(pipeline, parts, [x, y, z]) => {
                write!(f, "dispatch p{pipeline} ({}) {x}x{y}x{z}", list(parts))
            }
            Command::Copy(from, buffer, offset) => write!(f, "copy {from} to b{buffer}+{offset}"),
            Command::Clear(part) => write!(f, "clear {part}"),
        }
    }
}
