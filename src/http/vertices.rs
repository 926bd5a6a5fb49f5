//! The plan of a job as a graph of what runs: its vertices are the chains, with Flink's names.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::topology::{Plan, Role};

/// One chain.
#[derive(Clone, Debug)]
pub(super) struct Vertex {
    /// The name of its head.
    pub(super) id: Arc<str>,
    /// The names of all that is in it, head first, and their types.
    pub(super) operators: Vec<(Arc<str>, String)>,
    pub(super) parallelism: u32,
    pub(super) region: Arc<str>,
    pub(super) is_source: bool,
    pub(super) is_sink: bool,
    inputs: Vec<Input>,
}

/// Where records come from.
#[derive(Clone, Debug)]
struct Input {
    /// The chain.
    from: Arc<str>,
    /// What is read of it, as the file calls it.
    reads: String,
    spread: &'static str,
}

/// Returns the chains of a plan, each behind all that it reads.
pub(super) fn of(plan: &Plan) -> Vec<Vertex> {
    let id = |chain: usize| Arc::clone(&plan.nodes[plan.chains[chain].head()].name);
    let vertex = |(index, chain): (usize, &crate::topology::Chain)| {
        let nodes = chain.nodes.iter().map(|node| &plan.nodes[*node]);
        let inputs = plan.inputs(chain.head()).map(|edge| Input {
            from: id(plan.chain_of(edge.from)),
            reads: plan.emitter(edge),
            spread: edge.partition.name(),
        });
        Vertex {
            id: id(index),
            operators: nodes.clone().map(|node| (Arc::clone(&node.name), node.type_name.clone())).collect(),
            parallelism: chain.parallelism,
            region: Arc::clone(&plan.regions[plan.region_of(index)].name),
            is_source: nodes.clone().any(|node| node.role() == Role::Source),
            is_sink: nodes.clone().any(|node| node.role() == Role::Sink),
            inputs: inputs.collect(),
        }
    };
    plan.chains.iter().enumerate().map(vertex).collect()
}

impl Vertex {
    /// Returns what it is called.
    pub(super) fn name(&self) -> String {
        let names: Vec<&str> = self.operators.iter().map(|(name, _)| &**name).collect();
        names.join(" -> ")
    }

    /// Returns whether an operator is in it.
    pub(super) fn holds(&self, operator: &str) -> bool {
        self.operators.iter().any(|(name, _)| &**name == operator)
    }

    /// Says what Flink says of a node of its plan.
    pub(super) fn node(&self) -> Value {
        let input = |(number, input): (usize, &Input)| {
            json!({
                "num": number,
                "id": input.from,
                "reads": input.reads,
                "ship_strategy": input.spread.to_uppercase(),
                "exchange": "pipelined_bounded",
            })
        };
        json!({
            "id": self.id,
            "parallelism": self.parallelism,
            "operator": self.operators.iter().map(|(_, kind)| kind.as_str()).collect::<Vec<&str>>().join(" -> "),
            "description": self.name(),
            "inputs": self.inputs.iter().enumerate().map(input).collect::<Vec<Value>>(),
        })
    }
}
