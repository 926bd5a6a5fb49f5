//! Draws a job from a seed: a topology with one region or more, settings, and faults.

use std::fmt::Write as _;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use super::faults::{Act, Call, Fault};
use super::nodes::Hold;
use super::rules::{Keyed, Plain, mix};

/// What a node does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Source { rows: u64, keys: u64, disorder: u64, step: u64, rests: u64 },
    Plain(Plain),
    Keyed(Keyed),
    Merge,
    Linger(Hold),
    Sink,
}

/// A node of the topology; its id is its number.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) what: What,
    pub(crate) inputs: Vec<usize>,
    pub(crate) parallelism: u64,
    /// Whether each of its subtasks gets every record.
    pub(crate) is_broadcast: bool,
    partition: Option<&'static str>,
    /// Whether its records have event times that are a matter of the data alone, and never late.
    is_timed: bool,
}

/// A job.
pub(crate) struct Job {
    pub(crate) seed: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) threads: usize,
    settings: String,
}

impl Job {
    pub(crate) fn draw(seed: u64) -> Job {
        let mut drawing = Drawing { rng: Pcg64Mcg::seed_from_u64(seed), nodes: Vec::new() };
        for region in 0..drawing.pick(&[1, 1, 2]) {
            drawing.region(region);
        }
        let settings = drawing.settings();
        let faults = drawing.faults();
        let threads = drawing.rng.random_range(1..=3);
        Job { seed, nodes: drawing.nodes, faults, threads, settings }
    }

    /// Returns the topology file of the job.
    pub(crate) fn toml(&self) -> String {
        let mut toml = self.settings.clone();
        for (id, node) in self.nodes.iter().enumerate() {
            self.write(id as u64, node, &mut toml).expect("a text takes what is written");
        }
        toml
    }

    fn write(&self, id: u64, node: &Node, toml: &mut String) -> std::fmt::Result {
        let Job { seed, .. } = self;
        let Node { name, parallelism, .. } = node;
        let (table, kind) = match node.what {
            What::Source { rows, keys, disorder, step, rests } => {
                let options = format!(
                    "numbers\"\nid = {id}\nrows = {rows}\nkeys = {keys}\ndisorder = {disorder}\nstep = {step}\n\
                     rests = {rests}\nout_of_order = \"{disorder}ms"
                );
                ("sources", options)
            }
            What::Plain(rule) => ("operators", format!("plain\"\nid = {id}\nrule = \"{}", word(&rule))),
            What::Keyed(rule) => ("operators", format!("keyed\"\nid = {id}\nrule = \"{}", word(&rule))),
            What::Merge => ("operators", format!("merge\"\nid = {id}\n# \"")),
            What::Linger(hold) => ("operators", format!("linger\"\nhold = \"{}", word(&hold))),
            What::Sink => ("sinks", "publish".to_string()),
        };
        writeln!(toml, "[{table}.{name}]\ntype = \"{kind}\"\nseed = {seed}\nnode = \"{name}\"")?;
        writeln!(toml, "parallelism = {parallelism}")?;
        let chance = mix(seed ^ mix(id + 1_000));
        if matches!(node.what, What::Source { .. }) && chance.is_multiple_of(4) {
            // The records of all sources are as far apart, so this is short of what they would be ahead by themselves.
            writeln!(toml, "max_drift = \"{}ms\"", [30, 300, 3_000][(chance >> 8) as usize % 3])?;
        }
        if !node.inputs.is_empty() {
            let inputs: Vec<&str> = node.inputs.iter().map(|input| self.nodes[*input].name.as_str()).collect();
            writeln!(toml, "inputs = {inputs:?}")?;
        }
        if let Some(partition) = node.partition {
            writeln!(toml, "partition = \"{partition}\"")?;
        }
        Ok(())
    }
}

fn word(rule: &impl std::fmt::Debug) -> String {
    format!("{rule:?}").to_lowercase()
}

struct Drawing {
    rng: Pcg64Mcg,
    nodes: Vec<Node>,
}

impl Drawing {
    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.rng.random_range(0..choices.len())]
    }

    fn percent(&mut self, chance: u32) -> bool {
        self.rng.random_range(0..100) < chance
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn name(&self, what: &str) -> String {
        format!("{what}{}", self.nodes.len())
    }

    /// Draws sources, stages behind them, and sinks behind whatever nobody reads, and some that others read, too.
    fn region(&mut self, number: usize) {
        let mut streams = Vec::new();
        for _ in 0..self.rng.random_range(1..=3) {
            streams.push((self.source(number), 0));
        }
        for _ in 0..self.rng.random_range(0..=5) {
            let stage = self.stage(&mut streams);
            streams.push((stage, 0));
        }
        let mut last_sink: Option<usize> = None;
        for (stream, readers) in streams {
            if readers > 0 && !self.percent(15) {
                continue;
            }
            match last_sink {
                // A sink that reads more than one stream.
                Some(sink) if self.nodes[sink].partition != Some("forward") && self.percent(25) => {
                    self.nodes[sink].inputs.push(stream);
                }
                _ => last_sink = Some(self.sink(stream)),
            }
        }
    }

    fn source(&mut self, region: usize) -> usize {
        let what = What::Source {
            rows: self.rng.random_range(0..1200),
            keys: self.pick(&[1, 3, 8, 30]),
            disorder: self.pick(&[0, 0, 10, 100]),
            step: self.pick(&[1, 3, 10, 40]),
            rests: self.pick(&[20, 60, 100]),
        };
        let name = format!("{}r{region}", self.name("source"));
        let parallelism = self.pick(&[1, 1, 2, 3, 4]);
        let node =
            Node { name, what, inputs: Vec::new(), parallelism, is_broadcast: false, partition: None, is_timed: true };
        self.add(node)
    }

    /// Chooses a stream, rather one that nobody reads yet.
    fn choose(&mut self, streams: &mut [(usize, usize)], taken: &[usize]) -> Option<usize> {
        let is_free = |(stream, _): &&(usize, usize)| !taken.contains(stream);
        let unread = streams.iter().filter(is_free).filter(|(_, readers)| *readers == 0);
        let mut candidates: Vec<usize> = unread.map(|(stream, _)| *stream).collect();
        if candidates.is_empty() || self.percent(20) {
            candidates = streams.iter().filter(is_free).map(|(stream, _)| *stream).collect();
        }
        if candidates.is_empty() {
            return None;
        }
        let chosen = self.pick(&candidates);
        streams.iter_mut().filter(|(stream, _)| *stream == chosen).for_each(|(_, readers)| *readers += 1);
        Some(chosen)
    }

    fn stage(&mut self, streams: &mut [(usize, usize)]) -> usize {
        let mut inputs = Vec::new();
        for _ in 0..self.pick(&[1, 1, 1, 2, 2, 3]) {
            inputs.extend(self.choose(streams, &inputs));
        }
        let is_timed = inputs.iter().all(|input| self.nodes[*input].is_timed);
        let mut choices = vec![
            What::Plain(self.pick(&[Plain::Map, Plain::Rekey, Plain::Filter, Plain::Split])),
            What::Keyed(self.pick(&[Keyed::Count, Keyed::Spread, Keyed::Delay])),
            What::Linger(self.pick(&[Hold::Fields, Hold::State])),
        ];
        if is_timed {
            choices.extend([What::Keyed(Keyed::Window); 2]);
        }
        if inputs.len() == 2 {
            choices.extend([What::Merge; 2]);
        }
        let what = self.pick(&choices);
        let is_keyed = matches!(what, What::Keyed(_) | What::Merge);
        // What waits for something other than the watermark may send it on behind the watermark.
        let is_timed = is_timed && matches!(what, What::Plain(_) | What::Keyed(Keyed::Window));
        let node = Node {
            name: self.name("stage"),
            what,
            inputs,
            parallelism: self.pick(&[1, 1, 2, 3, 4]),
            is_broadcast: false,
            partition: None,
            is_timed,
        };
        let node = if is_keyed { node } else { self.partitioned(node) };
        self.add(node)
    }

    fn sink(&mut self, stream: usize) -> usize {
        let node = Node {
            name: self.name("sink"),
            what: What::Sink,
            inputs: vec![stream],
            parallelism: self.pick(&[1, 2, 3]),
            is_broadcast: false,
            partition: None,
            is_timed: false,
        };
        let node = self.partitioned(node);
        self.add(node)
    }

    /// Draws how records come to a node without a key.
    fn partitioned(&mut self, mut node: Node) -> Node {
        node.partition = self.pick(&[None, None, Some("forward"), Some("rebalance"), Some("broadcast")]);
        node.is_broadcast = node.partition == Some("broadcast");
        if node.partition == Some("forward") {
            let parallelism = self.nodes[node.inputs[0]].parallelism;
            if node.inputs.iter().all(|input| self.nodes[*input].parallelism == parallelism) {
                node.parallelism = parallelism;
            } else {
                node.partition = None;
            }
        }
        node
    }

    fn settings(&mut self) -> String {
        let chaining = self.pick(&["auto", "off"]);
        let scope = self.pick(&["batch", "batch", "batch", "operator", "operator", "region", "job"]);
        let checkpoint = self.rng.random_range(5..=50);
        let window = self.pick(&[2, 5, 10, checkpoint]);
        let concurrent = self.pick(&[1, 1, 2]);
        let journal = self.pick(&["64MiB", "64MiB", "64KiB", "4KiB", "1KiB"]);
        let poison_after = self.pick(&[3, 10]);
        let batch = self.pick(&[1, 4, 16, 64]);
        let capacity = self.rng.random_range(1..=8);
        let key_groups = self.pick(&[8, 128, 1024]);
        format!(
            "[job]\nname = \"random\"\nchaining = \"{chaining}\"\nkey_groups = {key_groups}\n\
             [window]\ninterval = \"{window}ms\"\n\
             [checkpoint]\ninterval = \"{checkpoint}ms\"\nmax_concurrent = {concurrent}\n\
             [recovery]\nscope = \"{scope}\"\njournal = \"{journal}\"\npoison_after = {poison_after}\n\
             hang_timeout = \"5m\"\nstrategy = \"fixed-delay\"\nattempts = \"unlimited\"\ndelay = \"1ms\"\n\
             [mailbox]\nbatch = {batch}\ncapacity = {capacity}\n\
             [store]\npath = \"state\"\n"
        )
    }

    fn faults(&mut self) -> Vec<Fault> {
        let count = self.pick(&[0, 2, 5, 10, 20]);
        (0..count).map(|_| self.fault()).collect()
    }

    fn fault(&mut self) -> Fault {
        // Rather an operator: there is more that can go wrong with it.
        let weight =
            |node: usize| if matches!(self.nodes[node].what, What::Source { .. } | What::Sink) { 1 } else { 4 };
        let nodes: Vec<usize> =
            (0..self.nodes.len()).flat_map(|node| std::iter::repeat_n(node, weight(node))).collect();
        let node = self.pick(&nodes);
        let hooks = [Call::Open, Call::BeginWindow, Call::Checkpointed, Call::Committed, Call::Close];
        let mut calls = match self.nodes[node].what {
            What::Source { .. } => vec![Call::SourceOpen, Call::Poll, Call::Poll, Call::SourceCommitted],
            What::Sink => vec![Call::SinkOpen, Call::Write, Call::Write, Call::Prepare, Call::Commit, Call::Abort],
            _ => [vec![Call::Process; 6], hooks.to_vec()].concat(),
        };
        match self.nodes[node].what {
            What::Keyed(Keyed::Window | Keyed::Delay) => {
                calls.extend([Call::Key, Call::EndWindow, Call::BeforeCheckpoint, Call::Timer, Call::Timer]);
            }
            What::Keyed(_) => calls.extend([Call::Key, Call::EndWindow, Call::BeforeCheckpoint]),
            What::Merge => calls.push(Call::Key),
            What::Linger(_) => calls.extend([Call::EndWindow, Call::BeforeCheckpoint]),
            What::Source { .. } | What::Plain(_) | What::Sink => {}
        }
        let call = self.pick(&calls);
        let most = match call {
            Call::Process | Call::Key => 1_500,
            Call::Poll | Call::Write => 100,
            Call::Timer => 20,
            Call::Open | Call::SourceOpen | Call::SinkOpen | Call::Close | Call::Abort => 4,
            _ => 15,
        };
        let act = match call {
            Call::Key => Act::Panic,
            _ => self.pick(&[Act::Panic, Act::Panic, Act::Panic, Act::Fail, Act::Unavailable]),
        };
        // A sink that was not available is asked again as it is: it has not taken what it was given.
        let is_asked_again = act == Act::Unavailable && matches!(call, Call::Write | Call::Prepare);
        Fault {
            node: self.nodes[node].name.clone(),
            call,
            nth: self.rng.random_range(1..=most),
            act,
            after: self.percent(50) && !is_asked_again,
        }
    }
}
