//! Random jobs: sources, stages of operators and sinks, in one region or two.
//!
//! A job is made together with the knowledge of what it must give: every stream of it knows where its rows come from
//! and how often each of them comes by, so that what the sinks show can be checked without a second run.

use std::collections::BTreeMap;
use std::sync::Arc;

use piton_actors::Delivery;

use crate::protocol::chain::Exit;
use crate::protocol::manifest::Spread;
use crate::sim::drawn::drawing::Drawing;
use crate::sim::drawn::flow::Flow;
use crate::sim::drawn::operators::OperatorKind;
use crate::sim::random::Random;

/// Operators that make rows of their own have numbers from here on; below are the partitions of sources.
pub(crate) const FIRST_OPERATOR: u32 = 1_000;

/// A job.
pub(crate) struct Topology {
    pub(crate) key_groups: u32,
    pub(crate) keys: u64,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) regions: Vec<RegionPlan>,
    /// What every operator that makes rows of its own is fed with.
    pub(crate) windows: BTreeMap<u32, Flow>,
    /// What every operator that counts is fed with.
    pub(crate) counters: BTreeMap<u32, Flow>,
    /// The parallelism of every operator behind a round-robin edge from a source.
    pub(crate) stamps: BTreeMap<u32, u32>,
    pub(crate) sinks: Vec<SinkPlan>,
    /// Whether there are rows among those of the sources that no operator can bear.
    pub(crate) poisoned: bool,
}

/// One partition of a source, read by one subtask.
pub(crate) struct Partition {
    pub(crate) rows: u64,
    /// By how many ms an event time may be behind an earlier one.
    pub(crate) disorder: i64,
}

/// What a sink must show in the end.
pub(crate) struct SinkPlan {
    pub(crate) region: usize,
    pub(crate) delivery: Delivery,
    pub(crate) flow: Flow,
}

/// A region.
pub(crate) struct RegionPlan {
    pub(crate) name: String,
    pub(crate) vertices: Vec<Vertex>,
    pub(crate) edges: Vec<Edge>,
}

/// A source, operators and a sink that run as one: a chain.
pub(crate) struct Vertex {
    pub(crate) name: Arc<str>,
    pub(crate) parallelism: u32,
    pub(crate) source: Option<SourceNode>,
    pub(crate) operators: Vec<OperatorNode>,
    /// Those of the operators whose side outputs are read, by their places.
    pub(crate) sides: Vec<usize>,
    pub(crate) sink: Option<SinkNode>,
    pub(crate) inputs: Vec<usize>,
    pub(crate) outputs: Vec<usize>,
}

#[derive(Clone)]
pub(crate) struct SourceNode {
    pub(crate) name: String,
    pub(crate) first_partition: u32,
    /// How many partitions each of its subtasks reads.
    pub(crate) width: u32,
    pub(crate) disorder: i64,
    /// After how many ms without rows nobody waits for its watermark.
    pub(crate) idle_timeout: Option<i64>,
    /// How many ms ahead of the slowest source it is polled.
    pub(crate) max_drift: Option<i64>,
}

impl SourceNode {
    /// Returns the partitions that all subtasks of it read.
    pub(crate) fn partitions(&self, parallelism: u32) -> std::ops::Range<u32> {
        self.first_partition..self.first_partition + self.width * parallelism
    }
}

#[derive(Clone)]
pub(crate) struct OperatorNode {
    pub(crate) name: String,
    pub(crate) id: u32,
    pub(crate) kind: OperatorKind,
    /// What it reads of its own chain, port by port: an operator by its place, or what comes in.
    pub(crate) reads: Vec<Option<usize>>,
}

pub(crate) struct SinkNode {
    pub(crate) name: String,
    pub(crate) id: usize,
}

pub(crate) struct Edge {
    pub(crate) from: usize,
    pub(crate) exit: Exit,
    pub(crate) to: usize,
    pub(crate) port: usize,
    pub(crate) kind: Spread,
}

impl Topology {
    pub(crate) fn draw(seed: u64) -> Topology {
        // What is sent aside is drawn apart, so that most jobs are what they were before anything was.
        let (random, aside) = (&mut Random::new(seed, "topology"), &mut Random::new(seed, "aside"));
        let splits = aside.percent(40);
        let asking = &mut Random::new(seed, "asking");
        let asks = asking.percent(30);
        let partitions = &mut Random::new(seed, "several");
        let is_wide = partitions.percent(25);
        let forking = &mut Random::new(seed, "forking");
        let forks = forking.percent(30);
        let regions = if random.percent(15) { 2 } else { 1 };
        let mut topology = Topology {
            key_groups: random.pick(&[8, 16, 128]),
            keys: random.between(1, 8),
            partitions: Vec::new(),
            regions: Vec::new(),
            windows: BTreeMap::new(),
            counters: BTreeMap::new(),
            stamps: BTreeMap::new(),
            sinks: Vec::new(),
            poisoned: false,
        };
        for region in 0..regions {
            let drawing = Drawing {
                random,
                aside: splits.then_some(&mut *aside),
                asking: asks.then_some(&mut *asking),
                partitions: is_wide.then_some(&mut *partitions),
                forking: forks.then_some(&mut *forking),
                job: &mut topology,
                number: region,
                vertices: Vec::new(),
                edges: Vec::new(),
                sent_aside: Vec::new(),
            };
            let plan = drawing.draw();
            topology.regions.push(plan);
        }
        let mut nodes =
            topology.regions.iter().flat_map(|region| &region.vertices).flat_map(|vertex| &vertex.operators);
        // What is not deterministic goes up to its region, where nothing is ever set aside.
        let fickle = nodes.any(|node| node.kind == OperatorKind::Fickle);
        let tasted = topology.regions.iter().all(RegionPlan::is_tasted);
        topology.poisoned = tasted && !fickle && random.percent(40);
        if topology.poisoned {
            // Poison shifts the numbers by which rows go round.
            topology.stamps.clear();
        }
        let drift = &mut Random::new(seed, "drift");
        if drift.percent(25) {
            let vertices = topology.regions.iter_mut().flat_map(|region| &mut region.vertices);
            for source in vertices.filter_map(|vertex| vertex.source.as_mut()) {
                source.max_drift = drift.percent(70).then(|| drift.pick(&[1, 15, 60, 200]));
            }
        }
        // Nobody can say which rows come too late where a source is not waited for.
        let idle = &mut Random::new(seed, "idle");
        if topology.windows.is_empty() && idle.percent(40) {
            let vertices = topology.regions.iter_mut().flat_map(|region| &mut region.vertices);
            for source in vertices.filter_map(|vertex| vertex.source.as_mut()) {
                source.idle_timeout = idle.percent(60).then(|| idle.pick(&[1, 5, 20, 100]));
            }
        }
        topology
    }
}

impl RegionPlan {
    /// Returns how many operators a row of a source meets first.
    pub(crate) fn tasters(&self, source: &Vertex) -> u64 {
        if !source.operators.is_empty() {
            return 1;
        }
        let fan = |edge: &usize| match self.edges[*edge].kind {
            Spread::Broadcast => u64::from(self.vertices[self.edges[*edge].to].parallelism),
            Spread::Forward | Spread::Keyed | Spread::Rebalance => 1,
        };
        source.outputs.iter().map(fan).sum()
    }

    /// Returns whether every row of a source meets an operator before a sink.
    fn is_tasted(&self) -> bool {
        let sources = self.vertices.iter().filter(|vertex| vertex.source.is_some() && vertex.operators.is_empty());
        sources.into_iter().all(|source| {
            let consumers = source.outputs.iter().map(|edge| &self.vertices[self.edges[*edge].to]);
            source.sink.is_none() && consumers.into_iter().all(|consumer| !consumer.operators.is_empty())
        })
    }
}
