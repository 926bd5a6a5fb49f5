//! Random jobs: sources, stages of operators and sinks, in one region or two.
//!
//! A job is made together with the knowledge of what it must give: every stream of it knows where its rows come from
//! and how often each of them comes by, so that what the sinks show can be checked without a second run.

use std::collections::BTreeMap;
use std::sync::Arc;

use piton_actors::Delivery;

use crate::protocol::manifest::Spread;
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

/// One partition of a source: one subtask's.
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
    pub(crate) sink: Option<SinkNode>,
    pub(crate) inputs: Vec<usize>,
    pub(crate) outputs: Vec<usize>,
}

#[derive(Clone)]
pub(crate) struct SourceNode {
    pub(crate) name: String,
    pub(crate) first_partition: u32,
    pub(crate) disorder: i64,
}

#[derive(Clone)]
pub(crate) struct OperatorNode {
    pub(crate) name: String,
    pub(crate) id: u32,
    pub(crate) kind: OperatorKind,
}

pub(crate) struct SinkNode {
    pub(crate) name: String,
    pub(crate) id: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperatorKind {
    Stamp,
    Count,
    Hoard,
    Merge,
    Tumble,
    Linger,
    Dice,
    Fickle,
}

impl OperatorKind {
    fn is_keyed(self) -> bool {
        matches!(self, OperatorKind::Count | OperatorKind::Hoard | OperatorKind::Merge | OperatorKind::Tumble)
    }
}

pub(crate) struct Edge {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) port: usize,
    pub(crate) kind: Spread,
}

/// What comes by at one place of a job.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow {
    /// How often each row of an origin comes by.
    pub(crate) origins: BTreeMap<u32, u64>,
    /// How often each count of a counter comes by.
    pub(crate) counters: BTreeMap<u32, u64>,
    /// Whether rows may be held back, so that a checkpoint does not show all of its prefix.
    pub(crate) lingers: bool,
}

impl Flow {
    fn add(&mut self, other: &Flow) {
        for (origin, times) in &other.origins {
            *self.origins.entry(*origin).or_default() += times;
        }
        for (counter, times) in &other.counters {
            *self.counters.entry(*counter).or_default() += times;
        }
        self.lingers |= other.lingers;
    }

    fn times(&self, factor: u64) -> Flow {
        let scale = |map: &BTreeMap<u32, u64>| map.iter().map(|(id, times)| (*id, times * factor)).collect();
        Flow { origins: scale(&self.origins), counters: scale(&self.counters), lingers: self.lingers }
    }
}

impl Topology {
    pub(crate) fn draw(random: &mut Random) -> Topology {
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
            let plan = Drawing { random, job: &mut topology, number: region, vertices: Vec::new(), edges: Vec::new() };
            let plan = plan.draw();
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

impl std::fmt::Display for Topology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, region) in self.regions.iter().enumerate() {
            for (index, vertex) in region.vertices.iter().enumerate() {
                write!(f, "{number}.{index} {} x{}:", vertex.name, vertex.parallelism)?;
                if let Some(source) = &vertex.source {
                    let partitions = source.first_partition..source.first_partition + vertex.parallelism;
                    write!(f, " source of partitions {partitions:?}")?;
                }
                for edge in vertex.inputs.iter().map(|edge| &region.edges[*edge]) {
                    write!(f, " <- {} {:?}.{}", region.vertices[edge.from].name, edge.kind, edge.port)?;
                }
                for operator in &vertex.operators {
                    write!(f, ", {} {:?}", operator.id, operator.kind)?;
                }
                if let Some(sink) = &vertex.sink {
                    write!(f, ", sink {} {:?}", sink.id, self.sinks[sink.id].delivery)?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

/// A stream that something may be put behind.
#[derive(Clone)]
struct Stream {
    vertex: usize,
    flow: Flow,
    used: bool,
    /// Whether its rows come straight from the poll of a source, in the order of their numbers.
    plain: bool,
    /// Whether rows of one key always come out of the same subtask.
    keyed: bool,
}

struct Drawing<'a> {
    random: &'a mut Random,
    job: &'a mut Topology,
    number: usize,
    vertices: Vec<Vertex>,
    edges: Vec<Edge>,
}

impl Drawing<'_> {
    fn draw(mut self) -> RegionPlan {
        let mut streams: Vec<Stream> = Vec::new();
        for source in 0..self.random.pick(&[1, 1, 2, 2, 3]) {
            let stream = self.source(source);
            streams.push(stream);
        }
        for stage in 0..self.random.pick(&[0, 1, 1, 2, 2, 3]) {
            let stream = self.stage(stage, &mut streams);
            streams.push(stream);
        }
        self.sinks(&mut streams);
        RegionPlan { name: self.vertices[0].name.to_string(), vertices: self.vertices, edges: self.edges }
    }

    fn name(&self, what: &str, number: usize) -> String {
        format!("{what}{}{number}", ['a', 'b'][self.number])
    }

    fn source(&mut self, number: usize) -> Stream {
        let parallelism = self.random.pick(&[1, 1, 2, 3]);
        let first_partition = self.job.partitions.len() as u32;
        let disorder = self.random.pick(&[0, 0, 30, 120]);
        let mut flow = Flow::default();
        for partition in 0..parallelism {
            let rows = self.random.between(0, 40);
            self.job.partitions.push(Partition { rows, disorder });
            flow.origins.insert(first_partition + partition, 1);
        }
        let name = self.name("source", number);
        self.vertices.push(Vertex {
            name: name.as_str().into(),
            parallelism,
            source: Some(SourceNode { name, first_partition, disorder }),
            operators: Vec::new(),
            sink: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
        });
        let mut stream =
            Stream { vertex: self.vertices.len() - 1, flow, used: false, plain: true, keyed: parallelism == 1 };
        if self.random.percent(25) {
            self.chain(&mut stream);
        }
        stream
    }

    /// Puts an operator behind the last one of a stream's own vertex.
    fn chain(&mut self, stream: &mut Stream) {
        let mut kinds = vec![OperatorKind::Stamp, OperatorKind::Linger, OperatorKind::Dice];
        if stream.keyed {
            kinds.push(OperatorKind::Count);
            if !stream.flow.lingers {
                kinds.push(OperatorKind::Tumble);
            }
        }
        let kind = self.random.pick(&kinds);
        self.operator(stream, kind, "chained", false);
    }

    fn operator(&mut self, stream: &mut Stream, kind: OperatorKind, what: &str, robin: bool) {
        let vertex = stream.vertex;
        let name = self.name(what, vertex * 10 + self.vertices[vertex].operators.len());
        let id = FIRST_OPERATOR + (self.number * 100 + vertex * 10 + self.vertices[vertex].operators.len()) as u32;
        let parallelism = self.vertices[vertex].parallelism;
        match kind {
            // Only behind a round-robin edge from a source is it known which subtask a row passes.
            OperatorKind::Stamp if robin => {
                self.job.stamps.insert(id, parallelism);
            }
            OperatorKind::Stamp => {}
            OperatorKind::Count | OperatorKind::Hoard | OperatorKind::Merge => {
                self.job.counters.insert(id, stream.flow.clone());
                stream.flow.counters = BTreeMap::from([(id, 1)]);
            }
            OperatorKind::Tumble => {
                self.job.windows.insert(id, stream.flow.clone());
                stream.flow = Flow { origins: BTreeMap::from([(id, 1)]), ..Flow::default() };
            }
            OperatorKind::Linger | OperatorKind::Dice | OperatorKind::Fickle => stream.flow.lingers = true,
        }
        stream.plain = false;
        stream.keyed |= kind.is_keyed();
        self.vertices[vertex].operators.push(OperatorNode { name, id, kind });
    }

    fn stage(&mut self, number: usize, streams: &mut [Stream]) -> Stream {
        let first = self.choose(streams);
        let second = Some(self.choose(streams)).filter(|second| *second != first && self.random.percent(60));
        let lingers = streams[first].flow.lingers || second.is_some_and(|second| streams[second].flow.lingers);
        let mut kinds = vec![OperatorKind::Count, OperatorKind::Count, OperatorKind::Stamp, OperatorKind::Linger];
        kinds.push(self.random.pick(&[OperatorKind::Dice, OperatorKind::Fickle]));
        if self.random.percent(30) {
            kinds.extend([OperatorKind::Hoard; 3]);
        }
        if !lingers {
            kinds.extend([OperatorKind::Tumble; 2]);
        }
        if second.is_some() {
            kinds.extend([OperatorKind::Merge; 2]);
        }
        let kind = self.random.pick(&kinds);
        let mut parallelism = self.random.pick(&[1, 2, 2, 3, 4]);
        let mut edge = match kind {
            _ if kind.is_keyed() => Spread::Keyed,
            _ => self.random.pick(&[Spread::Rebalance, Spread::Rebalance, Spread::Forward, Spread::Broadcast]),
        };
        if second.is_some() && edge == Spread::Forward {
            edge = Spread::Rebalance;
        }
        if edge == Spread::Forward {
            parallelism = self.vertices[streams[first].vertex].parallelism;
        }
        let vertex = self.vertex(self.name("stage", number), parallelism);
        let robin = edge == Spread::Rebalance && second.is_none() && streams[first].plain;
        let mut stream = Stream {
            vertex,
            flow: Flow::default(),
            used: false,
            plain: false,
            keyed: parallelism == 1 || (edge == Spread::Forward && streams[first].keyed),
        };
        for (port, input) in [Some(first), second].into_iter().flatten().enumerate() {
            let port = if kind == OperatorKind::Merge { port } else { 0 };
            let flow = self.edge(&mut streams[input], vertex, port, edge);
            stream.flow.add(&flow);
        }
        self.operator(&mut stream, kind, "operator", robin);
        if self.random.percent(30) {
            self.chain(&mut stream);
        }
        stream
    }

    fn vertex(&mut self, name: String, parallelism: u32) -> usize {
        self.vertices.push(Vertex {
            name: name.into(),
            parallelism,
            source: None,
            operators: Vec::new(),
            sink: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
        });
        self.vertices.len() - 1
    }

    /// Puts an edge behind a stream; returns what arrives over it, at all subtasks together.
    fn edge(&mut self, from: &mut Stream, to: usize, port: usize, kind: Spread) -> Flow {
        from.used = true;
        let edge = self.edges.len();
        self.vertices[from.vertex].outputs.push(edge);
        self.vertices[to].inputs.push(edge);
        self.edges.push(Edge { from: from.vertex, to, port, kind });
        match kind {
            Spread::Broadcast => from.flow.times(u64::from(self.vertices[to].parallelism)),
            Spread::Forward | Spread::Keyed | Spread::Rebalance => from.flow.clone(),
        }
    }

    /// Chooses a stream, rather one that nothing is behind yet.
    fn choose(&mut self, streams: &[Stream]) -> usize {
        let unused: Vec<usize> = (0..streams.len()).filter(|stream| !streams[*stream].used).collect();
        if unused.is_empty() || self.random.percent(15) {
            self.random.index(streams.len())
        } else {
            unused[self.random.index(unused.len())]
        }
    }

    fn sinks(&mut self, streams: &mut [Stream]) {
        let mut shared: Option<(usize, usize)> = None;
        for stream in streams.iter_mut().filter(|stream| !stream.used) {
            if let Some((vertex, sink)) = shared
                && self.random.percent(50)
            {
                let kind = self.random.pick(&[Spread::Keyed, Spread::Rebalance, Spread::Broadcast]);
                // A sink has no key of its own: rows go round robin instead.
                let kind = if kind == Spread::Keyed { Spread::Rebalance } else { kind };
                let flow = self.edge(stream, vertex, 0, kind);
                self.job.sinks[sink].flow.add(&flow);
                continue;
            }
            let sink = self.job.sinks.len();
            let delivery = self.random.pick(&[Delivery::Staged, Delivery::Staged, Delivery::Joined]);
            let node = SinkNode { name: self.name("sink", sink), id: sink };
            let flow = if self.random.percent(40) {
                self.vertices[stream.vertex].sink = Some(node);
                stream.used = true;
                stream.flow.clone()
            } else {
                let kind = self.random.pick(&[Spread::Rebalance, Spread::Forward, Spread::Forward]);
                let parallelism = match kind {
                    Spread::Forward => self.vertices[stream.vertex].parallelism,
                    _ => self.random.pick(&[1, 2, 3]),
                };
                let vertex = self.vertex(node.name.clone(), parallelism);
                self.vertices[vertex].sink = Some(node);
                shared = Some((vertex, sink));
                self.edge(stream, vertex, 0, kind)
            };
            self.job.sinks.push(SinkPlan { region: self.number, delivery, flow });
        }
    }
}
