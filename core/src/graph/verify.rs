//! The rules of the IR, checked: what every pass and every file must keep.

use super::{Graph, MAX_DEPTH, Source, Value, check_inputs, infer};
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::sync::Arc;

impl Graph {
    /// Checks that values are made before they are used, that every node has the specs that inference gives it, that
    /// promotion left no cast to do, that regions are closed and not nested too deep.
    ///
    /// # Errors
    /// What is wrong, with the op and the user's line.
    pub fn verify(&self) -> Result<()> {
        if self.depth > MAX_DEPTH {
            return Err(Error::format(format!("regions nest deeper than {MAX_DEPTH}")));
        }
        // A region that is shared is looked at once.
        let (mut seen, mut left) = (HashSet::new(), vec![self]);
        while let Some(graph) = left.pop() {
            graph.verify_nodes()?;
            let regions = graph.nodes.iter().flat_map(|node| &node.regions);
            left.extend(regions.filter(|region| seen.insert(Arc::as_ptr(region))).map(|region| &**region));
        }
        Ok(())
    }

    fn verify_nodes(&self) -> Result<()> {
        let mut made = 0usize;
        let known_input = |made: usize| matches!(self.values.get(made).map(|info| info.source), Some(Source::Input(_)));
        for (index, node) in self.nodes.iter().enumerate() {
            while known_input(made) {
                made += 1;
            }
            let explain = |error: Error| error.with_op(node.op.def.name).with_location(node.location.as_ref());
            if node.count > 0 && (node.first.index() != made || self.source_of(made, node.count) != Some(index)) {
                return Err(explain(Error::format("its outputs are not the next values of the graph")));
            }
            if let Some(value) = node.operands().find(|value| value.index() >= made) {
                return Err(explain(Error::format(format!("{value} is used before it is made"))));
            }
            made += node.count;
            self.verify_specs(index).map_err(explain)?;
        }
        match self.outputs.iter().find(|value| !self.contains(**value)) {
            Some(value) => Err(Error::format(format!("the output {value} is not a value of the graph"))),
            None => Ok(()),
        }
    }

    /// The node that makes all `count` values from `first` on.
    fn source_of(&self, first: usize, count: usize) -> Option<usize> {
        let values = self.values.get(first..first + count)?;
        match values.first().map(|info| info.source) {
            Some(Source::Node(index)) if values.iter().all(|info| info.source == Source::Node(index)) => {
                Some(index as usize)
            }
            _ => None,
        }
    }

    fn verify_specs(&self, index: usize) -> Result<()> {
        let node = &self.nodes[index];
        let specs: Vec<_> = node.inputs.iter().map(|&value| self.optional_spec(value)).collect();
        if !check_inputs(node.op.def, &specs)?.is_empty() {
            return Err(Error::format("its inputs differ in dtype"));
        }
        let (outputs, _) = infer(&node.op, &specs, &node.regions)?;
        if outputs.len() != node.count {
            return Err(Error::format(format!("it has {} outputs, inference gives {}", node.count, outputs.len())));
        }
        for (value, inferred) in node.outputs().zip(outputs) {
            let spec = self.spec(value);
            if *spec != inferred {
                return Err(Error::format(format!("{value} is {spec}, inference gives {inferred}")));
            }
        }
        Ok(())
    }
}

impl Value {
    /// Checks that this is one of the graph's values.
    ///
    /// # Errors
    /// `argument`: it is not.
    pub fn check(self, graph: &Graph) -> Result<Value> {
        graph.check(self).map(|()| self)
    }
}
