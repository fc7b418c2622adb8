//! Errors: a code, and a message that names the op, the argument, the values and the user's line.

use std::fmt;
use std::sync::Arc;

/// What kind of thing went wrong; the same list in every language. The numbers are part of the C API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Code {
    /// A value that an argument or attr cannot take.
    Argument = 1,
    /// A dtype that does not fit.
    DType = 2,
    /// A shape that does not fit.
    Shape = 3,
    /// An index outside its range (checked mode, eager indexing).
    Index = 4,
    /// A name that nothing has.
    Name = 5,
    /// A handle that was closed.
    Closed = 6,
    /// A file or text that is not what it says.
    Format = 7,
    /// A file that needs a newer caudal.
    Newer = 8,
    /// The operating system refused a file operation.
    Io = 9,
    /// The memory limit, or no memory at all.
    Memory = 10,
    /// The time limit.
    Deadline = 11,
    /// The caller cancelled.
    Cancelled = 12,
    /// A device that is missing or failed.
    Device = 13,
    /// Not supported here.
    Unsupported = 14,
    /// A mistake in caudal.
    Internal = 15,
    /// A value is awaited from a device: the same call made later goes on. Only in WASM, where nothing can wait.
    Pending = 16,
}

/// A place in the user's source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    /// Path, relative to the project where the binding could tell.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Details {
    code: Code,
    text: String,
    op: Option<String>,
    argument: Option<String>,
    location: Option<Location>,
}

/// An error of caudal. It displays as `op: text (file:line)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Error(Box<Details>);

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! constructors {
    ($($name:ident => $code:ident),* $(,)?) => {
        $(#[doc = concat!("An error with the code `", stringify!($code), "`.")]
        pub fn $name(text: impl Into<String>) -> Error {
            Error::new(Code::$code, text)
        })*
    };
}

impl Error {
    /// An error without op, argument and location; those who know them add them on the way out.
    pub fn new(code: Code, text: impl Into<String>) -> Error {
        Error(Box::new(Details { code, text: text.into(), op: None, argument: None, location: None }))
    }

    constructors! {
        argument => Argument, dtype => DType, shape => Shape, index => Index, name => Name, closed => Closed,
        format => Format, newer => Newer, io => Io, memory => Memory, deadline => Deadline, cancelled => Cancelled,
        device => Device, unsupported => Unsupported, internal => Internal, pending => Pending,
    }

    /// Adds the op's name, unless one is known already.
    pub fn with_op(mut self, op: &str) -> Error {
        self.0.op.get_or_insert_with(|| op.to_string());
        self
    }

    /// Adds the argument's (input's or attr's) name, unless one is known already.
    pub fn with_argument(mut self, argument: &str) -> Error {
        self.0.argument.get_or_insert_with(|| argument.to_string());
        self
    }

    /// Adds the user's line, unless one is known already.
    pub fn with_location(mut self, location: Option<&Location>) -> Error {
        if self.0.location.is_none() {
            self.0.location = location.cloned();
        }
        self
    }

    /// The kind of error.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// What is wrong, without op and location.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The op that refused, if one did.
    pub fn op(&self) -> Option<&str> {
        self.0.op.as_deref()
    }

    /// The input or attr that does not fit, if it is one.
    pub fn argument_name(&self) -> Option<&str> {
        self.0.argument.as_deref()
    }

    /// The user's line, where it is known.
    pub fn location(&self) -> Option<&Location> {
        self.0.location.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(op) = &self.0.op {
            write!(f, "{op}: ")?;
        }
        f.write_str(&self.0.text)?;
        match &self.0.location {
            Some(location) => write!(f, " ({location})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_op_and_line_and_the_first_to_know_wins() {
        let line = Location { file: "model.py".into(), line: 12 };
        let error = Error::shape("shapes [2, 3] and [4] cannot be broadcast together")
            .with_op("add")
            .with_op("softmax")
            .with_location(Some(&line));
        assert_eq!(error.to_string(), "add: shapes [2, 3] and [4] cannot be broadcast together (model.py:12)");
        assert_eq!(error.code(), Code::Shape);
    }
}
