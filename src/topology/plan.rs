//! The plan: a checked topology as plain data, with the factories of its parts. The runtime instantiates it; the
//! simulator, `piton explain` and the store's checks read it.

use std::path::PathBuf;
use std::sync::Arc;

use piton_actors::blueprint::{OperatorBlueprint, SinkBlueprint, SourceBlueprint};

use crate::config::{Duration, Settings};
use crate::ids::SubtaskId;
use crate::topology::spec::Role;

/// A checked topology. Nodes, edges, chains and regions refer to each other by index.
#[derive(Clone)]
pub struct Plan {
    /// The settings, complete: the job has its name, the store its path.
    pub settings: Settings,
    /// The topology file.
    pub file: PathBuf,
    /// The folder that relative paths start from.
    pub folder: PathBuf,
    /// Sources, operators and sinks; each comes after all that it reads, otherwise in the order of the file.
    pub nodes: Vec<Node>,
    /// Who reads whom, in the order of the consumers and, for each, of its `inputs = […]`.
    pub edges: Vec<Edge>,
    /// What becomes actors, in the order of their heads.
    pub chains: Vec<Chain>,
    /// What commits together, in the order of their first nodes.
    pub regions: Vec<Region>,
    /// What is odd, but no error; each with its place.
    pub warnings: Vec<String>,
}

/// A source, an operator or a sink.
#[derive(Clone)]
pub struct Node {
    /// Its name in the file: its stable id.
    pub name: Arc<str>,
    /// Its `type` in the file.
    pub type_name: String,
    /// What it is and how it is made.
    pub kind: NodeKind,
    /// How many subtasks it has.
    pub parallelism: u32,
    /// Whether each of its subtasks needs a thread of its own, because it blocks.
    pub dedicated: bool,
    /// What it was called before: the state of that name is its own.
    pub renamed_from: Option<String>,
}

impl Node {
    /// Returns what it does.
    pub fn role(&self) -> Role {
        match self.kind {
            NodeKind::Source(..) => Role::Source,
            NodeKind::Operator(_) => Role::Operator,
            NodeKind::Sink(_) => Role::Sink,
        }
    }

    /// Returns whether it has keyed state: records come to it by their key.
    pub fn is_keyed(&self) -> bool {
        matches!(&self.kind, NodeKind::Operator(blueprint) if blueprint.keyed)
    }

    /// Returns what its state was made for, if that follows from more than its type.
    pub fn state(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Operator(blueprint) => blueprint.state.as_deref(),
            NodeKind::Source(..) | NodeKind::Sink(..) => None,
        }
    }
}

/// What a node is, and how it is made.
#[derive(Clone)]
pub enum NodeKind {
    /// Records come from it.
    Source(SourceBlueprint, EventTime),
    /// Records go through it.
    Operator(OperatorBlueprint),
    /// Records go to it.
    Sink(SinkBlueprint),
}

/// How the watermark of a source follows from the times of its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventTime {
    /// How much earlier than one already seen a record may be without being late.
    pub out_of_order: Duration,
    /// For how long nothing may come until nobody waits for its watermark any more; for ever, if there is none.
    pub idle_timeout: Option<Duration>,
    /// How far ahead of the slowest source of its region it is polled; however far, if there is none.
    pub max_drift: Option<Duration>,
}

/// A connection: `to` reads what `from` emits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The node that emits.
    pub from: usize,
    /// The side output that it emits them to; nothing if that is its main one.
    pub output: Option<Arc<str>>,
    /// The node that reads.
    pub to: usize,
    /// Which of the reader's inputs it is, in the order of `inputs = […]`.
    pub port: usize,
    /// Which record goes to which subtask.
    pub partition: Partition,
}

/// Which record goes to which subtask of the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// To the one with the index of the sender. Order is kept.
    Forward,
    /// To the one that owns its key.
    Keyed,
    /// To each in turn.
    Rebalance,
    /// To all of them.
    Broadcast,
}

impl Partition {
    /// Returns its name in the file and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Partition::Forward => "forward",
            Partition::Keyed => "keyed",
            Partition::Rebalance => "rebalance",
            Partition::Broadcast => "broadcast",
        }
    }
}

/// Nodes that run as one: each index of it is one subtask, and so one actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The nodes, head first.
    pub nodes: Vec<usize>,
    /// How many subtasks it has.
    pub parallelism: u32,
}

impl Chain {
    /// Returns the node that it goes by, and into which its inputs lead.
    pub fn head(&self) -> usize {
        self.nodes[0]
    }

    /// Returns the node out of which its outputs lead.
    pub fn tail(&self) -> usize {
        self.nodes[self.nodes.len() - 1]
    }
}

/// A connected part of the topology: it checkpoints, commits and rolls back on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The name of its first node.
    pub name: Arc<str>,
    /// Its chains.
    pub chains: Vec<usize>,
}

impl Plan {
    /// Returns the node of a name.
    pub fn node(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| &*node.name == name)
    }

    /// Returns what an edge reads as the file calls it: `NAME`, or `NAME.late`.
    pub fn emitter(&self, edge: &Edge) -> String {
        let name = &self.nodes[edge.from].name;
        edge.output.as_ref().map_or_else(|| name.to_string(), |output| format!("{name}.{output}"))
    }

    /// Returns the edges into a node, by port.
    pub fn inputs(&self, node: usize) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.to == node)
    }

    /// Returns the edges out of a node.
    pub fn outputs(&self, node: usize) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.from == node)
    }

    /// Returns the chain that a node is part of.
    pub fn chain_of(&self, node: usize) -> usize {
        let chain = self.chains.iter().position(|chain| chain.nodes.contains(&node));
        chain.expect("every node is in exactly one chain")
    }

    /// Returns the region that a chain is part of.
    pub fn region_of(&self, chain: usize) -> usize {
        let region = self.regions.iter().position(|region| region.chains.contains(&chain));
        region.expect("every chain is in exactly one region")
    }

    /// Returns the subtasks of a chain. They go by the name of its head.
    pub fn subtasks(&self, chain: usize) -> impl Iterator<Item = SubtaskId> {
        let chain = &self.chains[chain];
        let name = Arc::clone(&self.nodes[chain.head()].name);
        (0..chain.parallelism).map(move |index| SubtaskId::new(Arc::clone(&name), index))
    }

    /// Returns how many subtasks there are in all.
    pub fn subtask_count(&self) -> u32 {
        self.chains.iter().map(|chain| chain.parallelism).sum()
    }
}
