//! The graph of a topology: who reads whom, in which order to plan, and where it bites its own tail.

use crate::config::{Problems, join};
use crate::topology::spec::{Input, NodeSpec, Role, resolve};

/// Who reads whom.
#[derive(Debug)]
pub(crate) struct Graph {
    /// For each node its inputs in the order of `inputs = […]`; nothing where an input could not be found.
    pub(crate) inputs: Vec<Vec<Option<Input>>>,
}

impl Graph {
    /// Connects the nodes, noting every input that leads nowhere.
    pub(crate) fn new(specs: &[NodeSpec], problems: &mut Problems) -> Graph {
        let mut inputs = Vec::with_capacity(specs.len());
        for spec in specs {
            let mut found = Vec::with_capacity(spec.inputs.len());
            for (index, input) in spec.inputs.iter().enumerate() {
                found.push(match resolve(input, specs) {
                    Ok(input) => Some(input),
                    Err(why) => {
                        let path = format!("{}[{index}]", join(&spec.path, "inputs"));
                        problems.value(path, format!("{} reads \"{input}\", {why}", spec.title()));
                        None
                    }
                });
            }
            inputs.push(found);
        }
        Graph { inputs }
    }

    /// Returns the nodes so that each comes after all that it reads, otherwise in the order of the file. Cycles are
    /// noted; what lies on one or behind one is left out.
    pub(crate) fn order(&self, specs: &[NodeSpec], problems: &mut Problems) -> Vec<usize> {
        let mut done = vec![false; self.inputs.len()];
        let mut order = Vec::with_capacity(self.inputs.len());
        loop {
            let ready =
                |node: &usize| !done[*node] && self.inputs[*node].iter().flatten().all(|input| done[input.node]);
            let Some(next) = (0..self.inputs.len()).find(ready) else { break };
            done[next] = true;
            order.push(next);
        }
        self.note_cycles(specs, &done, problems);
        order
    }

    /// Everything that is not done reads, in the end, from a cycle.
    fn note_cycles(&self, specs: &[NodeSpec], done: &[bool], problems: &mut Problems) {
        let mut visited = done.to_vec();
        for start in 0..self.inputs.len() {
            let mut path: Vec<usize> = Vec::new();
            let mut node = start;
            while !visited[node] {
                visited[node] = true;
                path.push(node);
                let undone = self.inputs[node].iter().flatten().map(|input| input.node).find(|input| !done[*input]);
                node = undone.expect("a node is left over because one of its inputs is");
            }
            let Some(at) = path.iter().position(|earlier| *earlier == node) else { continue };
            // Walked against the stream; told along it.
            let mut names: Vec<&str> = path[at..].iter().rev().map(|node| specs[*node].name.as_str()).collect();
            let first = names.iter().position(|name| *name == specs[node].name).unwrap_or_default();
            names.rotate_left(first);
            names.push(names[0]);
            let message = format!("the operators read each other in a circle: {}", names.join(" -> "));
            problems.value(join(&specs[node].path, "inputs"), message);
        }
    }

    /// Warns of what nobody reads, and notes a topology that has nothing to read at all.
    pub(crate) fn check_ends(&self, specs: &[NodeSpec], problems: &mut Problems) {
        if !specs.iter().any(|spec| spec.role == Role::Source) {
            problems.key("sources", "the topology has no source; write [sources.NAME]");
        }
        for (index, spec) in specs.iter().enumerate() {
            let readers = || self.inputs.iter().flatten().flatten().filter(|input| input.node == index);
            if spec.role == Role::Sink || readers().any(|input| input.output.is_none()) {
                continue;
            }
            let but = if readers().next().is_some() { ", only what it sends aside" } else { "" };
            problems.warn(&spec.path, format!("nothing reads {}{but}: what it emits is dropped", spec.title()));
        }
    }
}
