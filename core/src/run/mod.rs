//! Running: the executor, functions at real sizes, sessions and their state, eager calls.

mod checked;
pub mod eager;
mod executor;
pub mod function;
mod gate;
mod limits;
mod memories;
pub mod session;
pub mod variable;

pub use function::{Call, Setting};
pub use limits::Limits;
pub use session::Session;
pub use variable::Variable;
