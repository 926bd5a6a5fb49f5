//! How a made-up job is drawn: sources, then stages behind them, then sinks.

use std::collections::BTreeMap;

use piton_actors::Delivery;

use crate::protocol::chain::{Exit, MAIN};
use crate::protocol::manifest::Spread;
use crate::sim::drawn::flow::{Flow, Often};
use crate::sim::drawn::operators::OperatorKind;
use crate::sim::drawn::topology::{
    Edge, FIRST_OPERATOR, OperatorNode, Partition, RegionPlan, SinkNode, SinkPlan, SourceNode, Topology, Vertex,
};
use crate::sim::random::Random;

/// A stream that something may be put behind.
#[derive(Clone)]
pub(super) struct Stream {
    vertex: usize,
    exit: Exit,
    flow: Flow,
    used: bool,
    /// Whether its rows come straight from the poll of a source, in the order of their numbers.
    plain: bool,
    /// Whether rows of one key always come out of the same subtask.
    keyed: bool,
}

/// A region that is being drawn.
pub(super) struct Drawing<'a> {
    pub(super) random: &'a mut Random,
    /// For jobs with operators that send rows aside.
    pub(super) aside: Option<&'a mut Random>,
    /// For jobs with operators that ask somebody outside.
    pub(super) asking: Option<&'a mut Random>,
    /// For jobs with sources that read several partitions.
    pub(super) partitions: Option<&'a mut Random>,
    /// For jobs with chains in which several operators read the same.
    pub(super) forking: Option<&'a mut Random>,
    pub(super) job: &'a mut Topology,
    pub(super) number: usize,
    pub(super) vertices: Vec<Vertex>,
    pub(super) edges: Vec<Edge>,
    /// Streams of side outputs that are to be read.
    pub(super) sent_aside: Vec<Stream>,
}

impl Drawing<'_> {
    /// Draws it.
    pub(super) fn draw(mut self) -> RegionPlan {
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
        if self.forking.as_mut().is_some_and(|random| random.percent(60)) {
            self.fork(stream, kind);
            return;
        }
        let kind = self.or_ask(kind);
        self.operator(stream, kind, "chained", false);
    }

    /// Puts two ways behind the last operator of a stream's own vertex, and what they lead to: on one of them is an
    /// operator, on the other one, or none.
    fn fork(&mut self, stream: &mut Stream, kind: OperatorKind) {
        let from = self.last_of(stream.vertex);
        let (mut first, mut second) = (stream.clone(), stream.clone());
        self.operator(&mut first, kind, "branch", false);
        let mut ends = vec![self.last_of(stream.vertex), from];
        if self.forking.as_mut().is_some_and(|random| random.percent(60)) {
            let other = self.random.pick(&[OperatorKind::Stamp, OperatorKind::Linger, OperatorKind::Dice]);
            self.operator(&mut second, other, "branch", false);
            self.read(stream.vertex, vec![from]);
            ends[1] = self.last_of(stream.vertex);
        }
        stream.flow = first.flow;
        stream.flow.add(&second.flow);
        let kind = if stream.keyed { OperatorKind::Merge } else { OperatorKind::Stamp };
        self.operator(stream, kind, "joined", false);
        self.read(stream.vertex, ends);
    }

    /// Returns the place of the last operator of a vertex.
    fn last_of(&self, vertex: usize) -> Option<usize> {
        self.vertices[vertex].operators.len().checked_sub(1)
    }

    /// Has the last operator of a vertex read these.
    fn read(&mut self, vertex: usize, reads: Vec<Option<usize>>) {
        let last = self.vertices[vertex].operators.last_mut();
        last.expect("there is one already").reads = reads;
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
        let reads = vec![self.last_of(vertex)];
        self.vertices[vertex].operators.push(OperatorNode { name, id, kind, reads });
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
