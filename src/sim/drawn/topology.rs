//! Random jobs: sources, stages of operators and sinks, in one region or two.
//!
//! A job is made together with the knowledge of what it must give: every stream of it knows where its rows come from
//! and how often each of them comes by, so that what the sinks show can be checked without a second run.

use std::collections::BTreeMap;
use std::sync::Arc;

use piton_actors::Delivery;

use crate::protocol::chain::{Exit, MAIN};
use crate::protocol::manifest::Spread;
use crate::sim::drawn::flow::{Flow, Often};
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
            let plan = Drawing {
                random,
                aside: splits.then_some(&mut *aside),
                asking: asks.then_some(&mut *asking),
                partitions: is_wide.then_some(&mut *partitions),
                job: &mut topology,
                number: region,
                vertices: Vec::new(),
                edges: Vec::new(),
                sent_aside: Vec::new(),
            };
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

/// A stream that something may be put behind.
#[derive(Clone)]
struct Stream {
    vertex: usize,
    exit: Exit,
    flow: Flow,
    used: bool,
    /// Whether its rows come straight from the poll of a source, in the order of their numbers.
    plain: bool,
    /// Whether rows of one key always come out of the same subtask.
    keyed: bool,
}

struct Drawing<'a> {
    random: &'a mut Random,
    /// For jobs with operators that send rows aside.
    aside: Option<&'a mut Random>,
    /// For jobs with operators that ask somebody outside.
    asking: Option<&'a mut Random>,
    /// For jobs with sources that read several partitions.
    partitions: Option<&'a mut Random>,
    job: &'a mut Topology,
    number: usize,
    vertices: Vec<Vertex>,
    edges: Vec<Edge>,
    /// Streams of side outputs that are to be read.
    sent_aside: Vec<Stream>,
}

impl Drawing<'_> {
    fn draw(mut self) -> RegionPlan {
        let mut streams: Vec<Stream> = Vec::new();
        for source in 0..self.random.pick(&[1, 1, 2, 2, 3]) {
            let stream = self.source(source);
            streams.push(stream);
            streams.append(&mut self.sent_aside);
        }
        for stage in 0..self.random.pick(&[0, 1, 1, 2, 2, 3]) {
            let stream = self.stage(stage, &mut streams);
            streams.push(stream);
            streams.append(&mut self.sent_aside);
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
        let mut more = self.partitions.as_mut();
        let width = more.as_mut().map_or(1, |random| random.between(1, 3)) as u32;
        for partition in 0..parallelism * width {
            let more = more.as_mut().filter(|_| !partition.is_multiple_of(width));
            let rows = more.map_or_else(|| self.random.between(0, 40), |random| random.between(0, 20));
            self.job.partitions.push(Partition { rows, disorder });
            flow.origins.insert(first_partition + partition, Often::ONCE);
        }
        let name = self.name("source", number);
        self.vertices.push(Vertex {
            name: name.as_str().into(),
            parallelism,
            source: Some(SourceNode { name, first_partition, width, disorder, idle_timeout: None, max_drift: None }),
            operators: Vec::new(),
            sides: Vec::new(),
            sink: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
        });
        let mut stream = Stream {
            vertex: self.vertices.len() - 1,
            exit: MAIN,
            flow,
            used: false,
            plain: width == 1,
            keyed: parallelism == 1,
        };
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
        let kind = self.or_split(kind, stream.flow.counters.is_empty());
        let kind = self.or_ask(kind);
        self.operator(stream, kind, "chained", false);
    }

    /// Has an operator send rows aside instead of what it would do, now and then. It is not done with rows that were counted:
    /// which counts there are at one place would not be known.
    fn or_split(&mut self, kind: OperatorKind, may: bool) -> OperatorKind {
        let splits = self.aside.as_mut().is_some_and(|random| random.percent(50));
        if splits && may { OperatorKind::Split } else { kind }
    }

    /// Has an operator without keys ask somebody outside instead, now and then.
    fn or_ask(&mut self, kind: OperatorKind) -> OperatorKind {
        let asks = self.asking.as_mut().is_some_and(|random| random.percent(60));
        let may = matches!(kind, OperatorKind::Stamp | OperatorKind::Linger | OperatorKind::Dice);
        if asks && may { OperatorKind::Ask } else { kind }
    }

    fn operator(&mut self, stream: &mut Stream, kind: OperatorKind, what: &str, robin: bool) {
        let vertex = stream.vertex;
        let name = self.name(what, vertex * 10 + self.vertices[vertex].operators.len());
        let operators = self.vertices[vertex].operators.len();
        let id = FIRST_OPERATOR + (self.number * 100 + vertex * 10 + operators) as u32;
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
                stream.flow = Flow { origins: BTreeMap::from([(id, Often::ONCE)]), ..Flow::default() };
            }
            OperatorKind::Split => {
                let (kept, aside) = stream.flow.split();
                stream.flow = kept;
                // Sometimes nobody reads it.
                if self.aside.as_mut().is_some_and(|random| random.percent(85)) {
                    let sides = &mut self.vertices[vertex].sides;
                    sides.push(operators);
                    let exit = MAIN + sides.len();
                    let aside = Stream { vertex, exit, flow: aside, used: false, plain: false, keyed: stream.keyed };
                    self.sent_aside.push(aside);
                }
            }
            OperatorKind::Linger | OperatorKind::Dice | OperatorKind::Fickle => stream.flow.lingers = true,
            OperatorKind::Ask => stream.flow.waits = true,
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
        let counts = |stream: usize| !streams[stream].flow.counters.is_empty();
        let kind = self.or_split(kind, !counts(first) && !second.is_some_and(counts));
        let kind = self.or_ask(kind);
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
            exit: MAIN,
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
        // What asks is the last one of its chain.
        if self.random.percent(30) && kind != OperatorKind::Ask {
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
            sides: Vec::new(),
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
        self.edges.push(Edge { from: from.vertex, exit: from.exit, to, port, kind });
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
            let flow = if self.random.percent(40) && stream.exit == MAIN {
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
