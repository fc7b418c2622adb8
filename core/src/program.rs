//! Programs: functions, state and metadata; what a file holds.

use crate::error::{Error, Result};
use crate::graph::{Builder, Graph, Role};
use crate::json::Json;
use crate::op::Spec;
use crate::tensor::Tensor;
use std::sync::Arc;

/// State: a named tensor that functions read and update.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Its name; parts joined by `/`.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its value.
    pub value: Tensor,
}

/// A graph with named inputs and outputs, the state it reads and writes, and its doc.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its documentation.
    pub doc: String,
    /// How a binding puts the outputs together; not read here.
    pub structure: Json,
    /// The names of the first inputs of the graph.
    pub inputs: Vec<String>,
    /// The names of the first outputs of the graph.
    pub outputs: Vec<String>,
    /// The state that the graph's remaining inputs are.
    pub reads: Vec<String>,
    /// The state that the graph's remaining outputs are written to.
    pub writes: Vec<String>,
    /// The graph.
    pub graph: Arc<Graph>,
}

impl Function {
    /// The spec of the input of that index.
    pub fn input_spec(&self, index: usize) -> Option<&Spec> {
        self.inputs.get(index)?;
        self.graph.inputs().get(index).map(|input| self.graph.spec(input.value))
    }

    /// The spec of the output of that index.
    pub fn output_spec(&self, index: usize) -> Option<&Spec> {
        self.outputs.get(index)?;
        self.graph.outputs().get(index).map(|&value| self.graph.spec(value))
    }
}

/// Functions, state and metadata. It never changes; a session runs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// The functions, each with another name.
    pub functions: Vec<Function>,
    /// The state, each with another name.
    pub state: Vec<State>,
    /// Anything that the author wants to say.
    pub metadata: Json,
}

/// The most bytes that metadata may take as JSON.
pub const MAX_METADATA: usize = 1 << 20;

impl Program {
    /// Joins what was built: all functions, and all state that they use.
    ///
    /// # Errors
    /// `argument`: two functions of one name, or state of one name that differs, or too much metadata.
    pub fn new(builders: &[&Builder], metadata: Json) -> Result<Program> {
        let mut program = Program { functions: Vec::new(), state: Vec::new(), metadata };
        if crate::json::write(&program.metadata).len() > MAX_METADATA {
            return Err(
                Error::argument(format!("metadata takes more than {MAX_METADATA} bytes")).with_argument("metadata")
            );
        }
        for builder in builders {
            for function in builder.functions()? {
                if program.function(&function.name).is_some() {
                    return Err(Error::argument(format!("two functions are named {:?}", function.name)));
                }
                program.functions.push(function);
            }
            for state in builder.states() {
                program.add_state(state)?;
            }
        }
        let functions = std::mem::take(&mut program.functions);
        program.state.retain(|state| functions.iter().any(|function| function.uses(&state.name)));
        program.functions = functions;
        Ok(program)
    }

    fn add_state(&mut self, state: &State) -> Result<()> {
        match self.state.iter().find(|other| other.name == state.name) {
            None => self.state.push(state.clone()),
            Some(other) if other.role == state.role && other.value == state.value => {}
            Some(_) => {
                let name = &state.name;
                return Err(Error::argument(format!("two graphs give the state {name:?} different values or roles")));
            }
        }
        Ok(())
    }

    /// The function of that name.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name == name)
    }

    /// The program with only these functions and the state that they use.
    ///
    /// # Errors
    /// `name`: there is no such function.
    pub fn select(&self, names: &[&str]) -> Result<Program> {
        if let Some(missing) = names.iter().find(|name| self.function(name).is_none()) {
            return Err(self.no_function(missing));
        }
        let functions: Vec<_> =
            self.functions.iter().filter(|function| names.contains(&function.name.as_str())).cloned().collect();
        let used = |state: &&State| functions.iter().any(|function| function.uses(&state.name));
        let state = self.state.iter().filter(used).cloned().collect();
        Ok(Program { functions, state, metadata: self.metadata.clone() })
    }

    /// The program without the user's source lines.
    pub fn without_lines(&self) -> Program {
        let mut program = self.clone();
        for function in &mut program.functions {
            function.graph = Arc::new(function.graph.without_lines());
        }
        program
    }

    /// The error for state that is not there; lists that which is.
    pub fn no_state(&self, name: &str) -> Error {
        let names: Vec<_> = self.state.iter().map(|state| state.name.as_str()).collect();
        Error::name(format!("no state is named {name:?}; there are: {}", names.join(", ")))
    }

    /// The error for a function that is not there; lists those that are.
    pub fn no_function(&self, name: &str) -> Error {
        let names: Vec<_> = self.functions.iter().map(|function| function.name.as_str()).collect();
        Error::name(format!("no function is named {name:?}; there are: {}", names.join(", ")))
    }
}

impl Function {
    fn uses(&self, state: &str) -> bool {
        self.reads.iter().chain(&self.writes).any(|name| name == state)
    }
}
