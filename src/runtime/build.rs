//! From a plan to subtasks: which channels there are, and who makes what.
//!
//! The subtasks of a region are made anew for every attempt; their mailboxes stay.

use std::collections::BTreeMap;
use std::sync::Arc;

use piton_actors::blueprint::{OperatorBlueprint, SinkBlueprint, SourceBlueprint};
use piton_actors::host::{AnyOperator, AnySink, AnySource, Keyer};
use piton_actors::{Batch, Error as UserError};

use crate::config::Duration;
use crate::ids::{Fence, SubtaskId};
use crate::protocol::chain::{Exit, MAIN, SideExit, Wire};
use crate::protocol::failure::Failure;
use crate::protocol::ladder::LadderSettings;
use crate::protocol::manifest::{Origin, Spread};
use crate::protocol::output::{OutputSpec, Partition};
use crate::protocol::source::EventTime;
use crate::protocol::subtask::{Stopwatch, Subtask, SubtaskSpec};
use crate::protocol::workshop::Workshop;
use crate::runtime::port::Port;
use crate::topology::{self as plan, Chain, Fingerprint, Mapping, NodeKind, Plan};

/// An edge between two chains of a region.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// By which way out of `from` its records come.
    pub(crate) exit: Exit,
    /// The input port of the first operator of `to`.
    pub(crate) port: usize,
    pub(crate) route: Spread,
}

/// A chain: what becomes one subtask for each index.
pub(crate) struct ChainBlueprint {
    pub(crate) name: Arc<str>,
    pub(crate) parallelism: u32,
    /// With its name and how its watermark follows from its records.
    pub(crate) source: Option<(String, SourceBlueprint, EventTime)>,
    pub(crate) operators: Vec<(String, OperatorBlueprint)>,
    /// Who of them reads whom.
    pub(crate) wires: Vec<Wire>,
    /// The side outputs of the operators that somebody reads: ways out of the chain beside that at its end.
    pub(crate) sides: Vec<SideExit>,
    pub(crate) sink: Option<(String, SinkBlueprint)>,
    /// Whether each of its subtasks needs a thread of its own.
    pub(crate) dedicated: bool,
}

impl ChainBlueprint {
    /// Returns the names of its nodes, head first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let source = self.source.iter().map(|(name, ..)| name.as_str());
        let operators = self.operators.iter().map(|(name, _)| name.as_str());
        source.chain(operators).chain(self.sink.iter().map(|(name, _)| name.as_str()))
    }

    /// Returns the name of the operator (or sink) that reads the chain's inputs.
    fn reader(&self) -> &str {
        let operator = self.operators.first().map(|(name, _)| name.as_str());
        operator.or(self.sink.as_ref().map(|(name, _)| name.as_str())).unwrap_or(&self.name)
    }

    /// Returns the name of the operator (or source) whose records come by a way out, and of its side output if it is one.
    fn sender(&self, exit: Exit) -> (&str, Option<&str>) {
        match exit.checked_sub(MAIN + 1).map(|side| &self.sides[side]) {
            Some(side) => (&self.operators[side.operator].0, Some(side.output.name())),
            None => (self.names().last().unwrap_or_default(), None),
        }
    }

    /// Returns the way out that a side output of an operator is; it is one from now on.
    fn exit_of(&mut self, operator: &str, output: &str) -> Option<Exit> {
        let operator = self.operators.iter().position(|(name, _)| name == operator)?;
        let is_it = |side: &SideExit| side.operator == operator && side.output.name() == output;
        if let Some(known) = self.sides.iter().position(is_it) {
            return Some(MAIN + 1 + known);
        }
        let declared = self.operators[operator].1.side_outputs.iter().find(|declared| declared.name() == output)?;
        self.sides.push(SideExit { operator, output: declared.clone() });
        Some(MAIN + self.sides.len())
    }
}

/// A region: what is checkpointed and restarted together.
pub(crate) struct RegionBlueprint {
    pub(crate) name: String,
    pub(crate) chains: Vec<ChainBlueprint>,
    pub(crate) links: Vec<Link>,
    /// What its checkpoints remember of the topology.
    pub(crate) topology: Fingerprint,
    /// What the names in the checkpoint that it continues from mean now.
    pub(crate) mapping: Mapping,
}

/// What is the same for all subtasks of a job.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) key_groups: u32,
    pub(crate) seed: u64,
    pub(crate) batch_rows: usize,
    pub(crate) mailbox_capacity: usize,
    pub(crate) aligned: bool,
    /// Whether there may be checkpoints that do not wait for the end of their windows.
    pub(crate) overtakes: bool,
    pub(crate) ladder: LadderSettings,
    /// Measures restarts, in ns.
    pub(crate) stopwatch: Stopwatch,
}

/// Makes what one subtask is made of, from the blueprints of its chain.
struct Bench {
    source: Option<SourceBlueprint>,
    operators: Vec<(piton_actors::Subtask, OperatorBlueprint)>,
    sink: Option<SinkBlueprint>,
    /// For each keyed output edge: the operator that it leads to, and the port.
    keyers: BTreeMap<usize, (piton_actors::Subtask, OperatorBlueprint, usize)>,
    rows: usize,
}

fn not_planned() -> UserError {
    UserError::invalid("the plan has no such node")
}

impl Workshop for Bench {
    fn source(&self) -> Result<Box<dyn AnySource>, UserError> {
        self.source.as_ref().ok_or_else(not_planned).and_then(|blueprint| (blueprint.make)(self.rows))
    }

    fn operator(&self, member: usize) -> Result<Box<dyn AnyOperator>, UserError> {
        let (info, blueprint) = self.operators.get(member).ok_or_else(not_planned)?;
        (blueprint.make)(info.clone(), self.rows)
    }

    fn sink(&self) -> Result<Box<dyn AnySink>, UserError> {
        self.sink.as_ref().ok_or_else(not_planned).and_then(|blueprint| (blueprint.make)())
    }

    /// The consumer's own `key`, on an instance that serves no other purpose.
    fn keyer(&self, edge: usize) -> Result<Box<dyn Keyer>, UserError> {
        let (info, blueprint, port) = self.keyers.get(&edge).ok_or_else(not_planned)?;
        Ok((blueprint.make)(info.clone(), 1)?.keyer(*port))
    }

    fn unpack(&self, port: usize, bytes: &[u8]) -> Result<Batch, UserError> {
        let operator = self.operators.first().map(|(_, blueprint)| blueprint.unpack);
        let unpack = operator.or(self.sink.as_ref().map(|blueprint| blueprint.unpack)).ok_or_else(not_planned)?;
        unpack(port, bytes)
    }
}

/// One subtask and the mailboxes that its output channels lead to.
pub(crate) struct Built {
    pub(crate) subtask: Subtask,
    /// For each output channel: the consumer, as an index into the region's subtasks, and the channel in its mailbox.
    pub(crate) outputs: Vec<(usize, usize)>,
}

impl RegionBlueprint {
    /// Reads a region of a plan.
    pub(crate) fn of_plan(plan: &Plan, region: usize) -> RegionBlueprint {
        let (topology, region) = (plan.fingerprint(region), &plan.regions[region]);
        let mut chains: Vec<ChainBlueprint> =
            region.chains.iter().map(|chain| chain_of(plan, &plan.chains[*chain])).collect();
        let within = |node: usize| region.chains.iter().position(|chain| plan.chains[*chain].nodes.contains(&node));
        let mut links = Vec::new();
        for edge in &plan.edges {
            let (Some(from), Some(to)) = (within(edge.from), within(edge.to)) else { continue };
            if from == to {
                continue;
            }
            let route = match edge.partition {
                plan::Partition::Forward => Spread::Forward,
                plan::Partition::Keyed => Spread::Keyed,
                plan::Partition::Rebalance => Spread::Rebalance,
                plan::Partition::Broadcast => Spread::Broadcast,
            };
            let exit = edge.output.as_deref().map(|output| chains[from].exit_of(&plan.nodes[edge.from].name, output));
            let exit = exit.map_or(MAIN, |exit| exit.expect("side outputs were looked up when the plan was made"));
            links.push(Link { from, to, exit, port: edge.port, route });
        }
        RegionBlueprint { name: region.name.to_string(), chains, links, topology, mapping: Mapping::default() }
    }

    /// Returns for each subtask the names of its nodes, in the order of [`RegionBlueprint::subtasks`].
    pub(crate) fn members(&self) -> Vec<Vec<String>> {
        let of = |chain: &ChainBlueprint| {
            let names: Vec<String> = chain.names().map(String::from).collect();
            std::iter::repeat_n(names, chain.parallelism as usize)
        };
        self.chains.iter().flat_map(of).collect()
    }

    /// Returns for each subtask whether it needs a thread of its own.
    pub(crate) fn dedicated(&self) -> Vec<bool> {
        let of = |chain: &ChainBlueprint| std::iter::repeat_n(chain.dedicated, chain.parallelism as usize);
        self.chains.iter().flat_map(of).collect()
    }

    /// Returns all subtasks, chain by chain.
    pub(crate) fn subtasks(&self) -> Vec<SubtaskId> {
        let of = |chain: &ChainBlueprint| {
            let name = Arc::clone(&chain.name);
            (0..chain.parallelism).map(move |index| SubtaskId::new(Arc::clone(&name), index))
        };
        self.chains.iter().flat_map(of).collect()
    }

    /// Returns the subtasks with a source at their head.
    pub(crate) fn sources(&self) -> Vec<SubtaskId> {
        let chains = self.chains.iter().filter(|chain| chain.source.is_some());
        chains
            .flat_map(|chain| (0..chain.parallelism).map(|index| SubtaskId::new(Arc::clone(&chain.name), index)))
            .collect()
    }

    /// Makes the mailboxes of all subtasks, in their order.
    pub(crate) fn ports(&self, fence: Fence, common: &Common) -> Vec<Arc<Port>> {
        let mut ports = Vec::new();
        for (index, chain) in self.chains.iter().enumerate() {
            let channels = self.inputs(index).len();
            for _ in 0..chain.parallelism {
                ports.push(Arc::new(Port::new(fence, channels, common.mailbox_capacity)));
            }
        }
        ports
    }

    /// Makes all subtasks of an attempt, in their order.
    ///
    /// # Errors
    /// If a factory fails.
    pub(crate) fn build(&self, fence: Fence, common: &Common) -> Result<Vec<Built>, Failure> {
        let mut built = Vec::new();
        for index in 0..self.chains.len() {
            for subtask in 0..self.chains[index].parallelism {
                built.push(self.build_subtask(index, subtask, fence, common)?);
            }
        }
        Ok(built)
    }

    fn build_subtask(&self, index: usize, subtask: u32, fence: Fence, common: &Common) -> Result<Built, Failure> {
        let chain = &self.chains[index];
        let info = self.info(chain, subtask, fence, common);
        let named =
            |info: &piton_actors::Subtask, name: &str| piton_actors::Subtask { operator: name.into(), ..info.clone() };
        let mut bench = Bench {
            source: chain.source.as_ref().map(|(_, blueprint, _)| blueprint.clone()),
            operators: Vec::new(),
            sink: chain.sink.as_ref().map(|(_, blueprint)| blueprint.clone()),
            keyers: BTreeMap::new(),
            rows: common.batch_rows,
        };
        for (name, blueprint) in &chain.operators {
            bench.operators.push((named(&info, name), blueprint.clone()));
        }
        let mut outputs = Vec::new();
        let mut channels = Vec::new();
        for (number, link) in self.links.iter().enumerate().filter(|(_, link)| link.from == index) {
            let consumer = &self.chains[link.to];
            let targets = match link.route {
                Spread::Forward => subtask..subtask + 1,
                Spread::Keyed | Spread::Rebalance | Spread::Broadcast => 0..consumer.parallelism,
            };
            let partition = match link.route {
                Spread::Forward => Partition::Forward,
                Spread::Broadcast => Partition::Broadcast,
                Spread::Rebalance => Partition::Rebalance,
                Spread::Keyed => Partition::Keyed { key_groups: common.key_groups },
            };
            if link.route == Spread::Keyed {
                let Some((name, blueprint)) = consumer.operators.first() else {
                    let message = "a keyed edge leads to something without a key";
                    return Err(Failure::engine(consumer.reader(), message));
                };
                let info = named(&self.info(consumer, 0, fence, common), name);
                bench.keyers.insert(outputs.len(), (info, blueprint.clone(), link.port));
            }
            outputs.push(OutputSpec {
                exit: link.exit,
                partition,
                channels: targets.len(),
                consumer: consumer.reader().to_string(),
            });
            let first = self.first_subtask(link.to);
            for target in targets {
                let channel = self.channel(link.to, number, subtask);
                channels.push((first + target as usize, channel));
            }
        }
        let spec = SubtaskSpec {
            id: SubtaskId::new(Arc::clone(&chain.name), subtask),
            region: self.name.clone(),
            fence,
            source: chain.source.as_ref().map(|(name, _, event_time)| (name.clone(), *event_time)),
            operators: chain.operators.iter().map(|(name, _)| name.clone()).collect(),
            wires: chain.wires.clone(),
            sides: chain.sides.clone(),
            sink: chain.sink.as_ref().map(|(name, _)| name.clone()),
            workshop: Arc::new(bench),
            info,
            inputs: self.origins(index, subtask),
            outputs,
            batch_rows: common.batch_rows,
            aligned: common.aligned,
            ladder: common.ladder,
            stopwatch: Arc::clone(&common.stopwatch),
        };
        Ok(Built { subtask: Subtask::new(spec)?, outputs: channels })
    }

    fn info(&self, chain: &ChainBlueprint, index: u32, fence: Fence, common: &Common) -> piton_actors::Subtask {
        piton_actors::Subtask {
            operator: Arc::clone(&chain.name),
            index,
            parallelism: chain.parallelism,
            key_groups: common.key_groups,
            incarnation: fence.incarnation,
            attempt: fence.attempt,
            seed: common.seed,
        }
    }

    /// Returns the input channels of each subtask of a chain: the port, the link and the producing subtask.
    fn inputs(&self, chain: usize) -> Vec<(usize, usize, u32)> {
        let mut channels = Vec::new();
        for (number, link) in self.links.iter().enumerate().filter(|(_, link)| link.to == chain) {
            let producers = if link.route == Spread::Forward { 1 } else { self.chains[link.from].parallelism };
            channels.extend((0..producers).map(|producer| (link.port, number, producer)));
        }
        channels
    }

    /// Returns where each input channel of a subtask comes from.
    pub(crate) fn origins(&self, chain: usize, index: u32) -> Vec<Origin> {
        let origin = |(port, link, producer): (usize, usize, u32)| {
            let Link { from, exit, route: spread, .. } = self.links[link];
            let (operator, output) = self.chains[from].sender(exit);
            let index = if spread == Spread::Forward { index } else { producer };
            Origin { operator: operator.to_string(), output: output.map(String::from), index, port, spread }
        };
        self.inputs(chain).into_iter().map(origin).collect()
    }

    /// Returns for each input channel of a subtask the chain and the index of its producer.
    pub(crate) fn producers(&self, chain: usize, index: u32) -> Vec<(usize, u32)> {
        let producer = |(_, link, producer): (usize, usize, u32)| {
            let Link { from, route, .. } = self.links[link];
            (from, if route == Spread::Forward { index } else { producer })
        };
        self.inputs(chain).into_iter().map(producer).collect()
    }

    /// Returns which input channel of a chain's subtasks belongs to a producing subtask.
    fn channel(&self, chain: usize, link: usize, producer: u32) -> usize {
        let producer = if self.links[link].route == Spread::Forward { 0 } else { producer };
        let inputs = self.inputs(chain);
        let found = inputs.iter().position(|(_, number, from)| *number == link && *from == producer);
        found.expect("every link of a chain has its channels")
    }

    /// Returns where a chain's subtasks begin among those of the region.
    fn first_subtask(&self, chain: usize) -> usize {
        self.chains[..chain].iter().map(|chain| chain.parallelism as usize).sum()
    }
}

fn chain_of(plan: &Plan, chain: &Chain) -> ChainBlueprint {
    let mut blueprint = ChainBlueprint {
        name: Arc::clone(&plan.nodes[chain.head()].name),
        parallelism: chain.parallelism,
        source: None,
        operators: Vec::new(),
        wires: wires(plan, chain),
        sides: Vec::new(),
        sink: None,
        dedicated: chain.nodes.iter().any(|node| plan.nodes[*node].dedicated),
    };
    for node in &chain.nodes {
        let node = &plan.nodes[*node];
        let name = node.name.to_string();
        match &node.kind {
            NodeKind::Source(source, time) => {
                let millis = |duration: Duration| i64::try_from(duration.millis()).unwrap_or(i64::MAX);
                let event_time = EventTime {
                    out_of_order: millis(time.out_of_order),
                    idle_timeout: time.idle_timeout.map(millis),
                    max_drift: time.max_drift.map(millis),
                    is_untimed: !source.gives_event_time,
                };
                blueprint.source = Some((name, source.clone(), event_time));
            }
            NodeKind::Operator(operator) => blueprint.operators.push((name, operator.clone())),
            NodeKind::Sink(sink) => blueprint.sink = Some((name, sink.clone())),
        }
    }
    blueprint
}

/// Returns who of the operators of a chain reads whom.
fn wires(plan: &Plan, chain: &Chain) -> Vec<Wire> {
    let is_operator = |node: &&usize| matches!(plan.nodes[**node].kind, NodeKind::Operator(_));
    let operators: Vec<usize> = chain.nodes.iter().filter(is_operator).copied().collect();
    let place = |node: usize| operators.iter().position(|operator| *operator == node);
    let mut wires = Vec::new();
    for (to, operator) in operators.iter().enumerate() {
        let inputs = plan.inputs(*operator).filter(|edge| chain.nodes.contains(&edge.from));
        wires.extend(inputs.map(|edge| Wire { from: place(edge.from), to, port: edge.port }));
    }
    wires
}
