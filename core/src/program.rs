//! Programs: functions, state and metadata; what a file holds.

use crate::error::{Error, Result};
use crate::graph::{Builder, Graph, Role};
use crate::json::Json;
use crate::meter::Charge;
use crate::op::Spec;
use crate::tensor::Tensor;
use std::collections::{HashMap, HashSet};
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
    /// What all this takes beside its graphs and tensors, where it was read within limits.
    pub held: Charge,
}

/// The most bytes that metadata may take as JSON.
pub const MAX_METADATA: usize = 1 << 20;

impl Program {
    /// Joins what was built: all functions, and all state that they use.
    ///
    /// # Errors
    /// `argument`: two functions of one name, or state of one name that differs, or too much metadata.
    pub fn new(builders: &[&Builder], metadata: Json) -> Result<Program> {
        let mut program = Program { functions: Vec::new(), state: Vec::new(), metadata, held: Charge::default() };
        if crate::json::length(&program.metadata) > MAX_METADATA {
            return Err(
                Error::argument(format!("metadata takes more than {MAX_METADATA} bytes")).with_argument("metadata")
            );
        }
        let mut indices = HashMap::new();
        for builder in builders {
            for function in builder.functions()? {
                if program.function(&function.name).is_some() {
                    return Err(Error::argument(format!("two functions are named {:?}", function.name)));
                }
                program.functions.push(function);
            }
            for state in builder.states() {
                let next = program.state.len();
                let index = *indices.entry(state.name.clone()).or_insert(next);
                match program.state.get(index) {
                    None => program.state.push(state.clone()),
                    Some(other) if other.role == state.role && other.value == state.value => {}
                    Some(_) => {
                        let name = &state.name;
                        let text = format!("two graphs give the state {name:?} different values or roles");
                        return Err(Error::argument(text));
                    }
                }
            }
        }
        let used = used_state(&program.functions);
        program.state.retain(|state| used.contains(state.name.as_str()));
        Ok(program)
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
        let used = used_state(&functions);
        let state = self.state.iter().filter(|state| used.contains(state.name.as_str())).cloned().collect();
        Ok(Program { functions, state, metadata: self.metadata.clone(), held: self.held.clone() })
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

/// The names of the state that functions read or write.
fn used_state(functions: &[Function]) -> HashSet<&str> {
    functions.iter().flat_map(|function| function.reads.iter().chain(&function.writes)).map(String::as_str).collect()
}
