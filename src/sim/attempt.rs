//! One attempt of a region: its subtasks with their mailboxes, wired as the plan says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use piton_actors::host::{AnyOperator, AnySink, AnySource, HostedSink, HostedSource, Keyer};
use piton_actors::{Batch, Delivery, Error, Result as UserResult, Subtask as Info};

use crate::chaos::invariants::{InvariantId, Verdict};
use crate::config::{Mode, OnPoison, Scope};
use crate::ids::{Fence, WindowId};
use crate::protocol::element::Element;
use crate::protocol::failure::Failure;
use crate::protocol::ladder::LadderSettings;
use crate::protocol::mailbox::Mailbox;
use crate::protocol::manifest::{Origin, Spread};
use crate::protocol::output::{OutputSpec, Partition};
use crate::protocol::subtask::{Subtask, SubtaskSpec};
use crate::protocol::workshop::Workshop;
use crate::sim::fragile::{Fragile, FragileOperator, FragileSink, FragileSource};
use crate::sim::operators;
use crate::sim::outside::{Outside, SimSink, SimSource, Who};
use crate::sim::settings::Settings;
use crate::sim::topology::{Edge, OperatorNode, Place, RegionPlan, SourceNode, Topology};

/// One subtask of an attempt.
pub(crate) struct Running {
    pub(crate) machine: Subtask,
    pub(crate) mailbox: Mailbox,
    /// What was put into each channel and not yet taken, as the channel should have it.
    shadow: Vec<VecDeque<Sent>>,
    /// How many elements a channel may hold: its batches, the markers of windows that are under way, a watermark
    /// behind each of them, and the end.
    most: usize,
    /// How many batches a channel may hold.
    most_batches: usize,
    /// When it was woken last: once a moment is enough.
    pub(crate) woken: i64,
    /// Whether something has come since it was last told that nothing comes.
    pub(crate) busy: bool,
    /// The newest window it has seen through.
    pub(crate) told: WindowId,
}

/// How many batches a simulated subtask makes of what it takes at once, at most.
const IN_HAND: usize = 64;

/// Tells an element from others without holding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Batch(usize),
    Watermark(i64),
    Marker(u64),
    Barrier(u64),
    End,
}

impl Sent {
    fn of(element: &Element) -> Sent {
        match element {
            Element::Batch(batch) => Sent::Batch(Arc::as_ptr(batch).cast::<()>() as usize),
            Element::Watermark(watermark) => Sent::Watermark(*watermark),
            Element::Marker(marker) => Sent::Marker(marker.window.0),
            Element::Barrier(window) => Sent::Barrier(window.0),
            Element::End => Sent::End,
        }
    }
}

impl Running {
    /// Puts an element into a channel, as its sender does.
    pub(crate) fn push(&mut self, fence: Fence, channel: usize, element: Element) -> Verdict {
        let sent = Sent::of(&element);
        if self.mailbox.push_beyond(fence, channel, element).is_err() {
            return Err(InvariantId::FenceHolds.broken("an element of the running attempt was refused"));
        }
        let shadow = &mut self.shadow[channel];
        if let (Sent::Watermark(_), Some(last @ Sent::Watermark(_))) = (sent, shadow.back_mut()) {
            *last = sent;
        } else {
            shadow.push_back(sent);
        }
        if self.mailbox.batches(channel) > self.most_batches || shadow.len() > self.most {
            let message = format!("{} elements wait in a channel of {}", shadow.len(), self.machine.id());
            return Err(InvariantId::MailboxBounded.broken(message));
        }
        Ok(())
    }

    /// Takes an element out of a channel.
    pub(crate) fn pop(&mut self, channel: usize) -> (Option<Element>, Verdict) {
        let element = self.mailbox.pop(channel);
        let sent = self.shadow[channel].pop_front();
        let verdict = if element.as_ref().map(Sent::of) == sent {
            Ok(())
        } else {
            let message = format!("channel {channel} of {} gave {element:?}, not {sent:?}", self.machine.id());
            Err(InvariantId::ChannelFifo.broken(message))
        };
        (element, verdict)
    }
}

/// Where the output channels of each subtask of a region lead.
pub(crate) struct Wiring {
    /// For each subtask and output channel: the subtask it leads to, and which of its channels.
    pub(crate) targets: Vec<Vec<(usize, usize)>>,
    /// For each subtask and input channel: where it comes from.
    origins: Vec<Vec<Origin>>,
}

impl Wiring {
    pub(crate) fn of(plan: &RegionPlan) -> Wiring {
        let count = plan.subtasks.len();
        let mut wiring = Wiring { targets: vec![Vec::new(); count], origins: vec![Vec::new(); count] };
        // A channel's place at its consumer: edges in the order of the vertex's inputs, producers by index.
        let mut first = vec![0; plan.edges.len()];
        for (number, place) in plan.subtasks.iter().enumerate() {
            for edge in &plan.vertices[place.vertex].inputs {
                first[*edge] = wiring.origins[number].len();
                let &Edge { kind: spread, from, port, .. } = &plan.edges[*edge];
                let producers = match spread {
                    Spread::Forward => place.index..place.index + 1,
                    Spread::Keyed | Spread::Rebalance | Spread::Broadcast => 0..plan.vertices[from].parallelism,
                };
                let operator = plan.vertices[from].name.to_string();
                let origin = |index| Origin { operator: operator.clone(), index, port, spread };
                wiring.origins[number].extend(producers.map(origin));
            }
        }
        for (number, place) in plan.subtasks.iter().enumerate() {
            for edge in &plan.vertices[place.vertex].outputs {
                let (to, kind) = (plan.edges[*edge].to, plan.edges[*edge].kind);
                if kind == Spread::Forward {
                    wiring.targets[number].push((plan.number(to, place.index), first[*edge]));
                    continue;
                }
                for index in 0..plan.vertices[to].parallelism {
                    let channel = first[*edge] + place.index as usize;
                    wiring.targets[number].push((plan.number(to, index), channel));
                }
            }
        }
        wiring
    }
}

/// What all attempts of a run are made from.
pub(crate) struct Parts<'a> {
    pub(crate) topology: &'a Topology,
    pub(crate) settings: &'a Settings,
    pub(crate) outside: &'a Outside,
    pub(crate) rows: &'a Arc<Vec<u64>>,
}

/// Makes what one subtask is made of.
struct Bench {
    source: Option<(SourceNode, Fragile)>,
    operators: Vec<(OperatorNode, Info, Fragile)>,
    sink: Option<(usize, Fragile)>,
    delivery: Delivery,
    /// For each keyed output edge: the operator that it leads to, and the port.
    keyers: BTreeMap<usize, (OperatorNode, Info, usize)>,
    rows: Arc<Vec<u64>>,
    keys: u64,
    poisoned: bool,
    outside: Outside,
    batch_rows: usize,
    region: usize,
    fence: Fence,
    /// The restored window.
    window: WindowId,
}

fn not_planned() -> Error {
    Error::invalid("the plan has no such node")
}

impl Workshop for Bench {
    fn source(&self) -> UserResult<Box<dyn AnySource>> {
        let (node, fragile) = self.source.as_ref().ok_or_else(not_planned)?;
        let source = SimSource {
            first_partition: node.first_partition,
            rows: Arc::clone(&self.rows),
            keys: self.keys,
            disorder: node.disorder,
            partition: 0,
            next: 0,
            poisoned: self.poisoned,
            outside: self.outside.clone(),
        };
        let inner = Box::new(HostedSource::new(source, self.batch_rows));
        Ok(Box::new(FragileSource { inner, fragile: fragile.clone() }))
    }

    fn operator(&self, member: usize) -> UserResult<Box<dyn AnyOperator>> {
        let (node, info, fragile) = self.operators.get(member).ok_or_else(not_planned)?;
        Ok(Box::new(FragileOperator {
            inner: operators::host(node.id, node.kind, info.clone(), self.batch_rows, &self.outside)?,
            fragile: fragile.clone(),
            region: self.region,
            fence: self.fence,
            owed: (self.window > WindowId::NONE).then_some(self.window),
            restored: self.window,
        }))
    }

    fn sink(&self) -> UserResult<Box<dyn AnySink>> {
        let (id, fragile) = self.sink.as_ref().ok_or_else(not_planned)?;
        let sink = SimSink {
            id: *id,
            delivery: self.delivery,
            outside: fragile.outside.clone(),
            subtask: 0,
            fence: Fence::default(),
            rows: Vec::new(),
        };
        debug_assert!(sink.delivery != Delivery::Immediate, "an immediate sink promises nothing that could be checked");
        Ok(Box::new(FragileSink { inner: Box::new(HostedSink(sink)), fragile: fragile.clone() }))
    }

    fn keyer(&self, edge: usize) -> UserResult<Box<dyn Keyer>> {
        let (node, info, port) = self.keyers.get(&edge).ok_or_else(not_planned)?;
        Ok(operators::host(node.id, node.kind, info.clone(), 1, &self.outside)?.keyer(*port))
    }

    fn unpack(&self, port: usize, bytes: &[u8]) -> UserResult<Batch> {
        operators::unpack(port, bytes)
    }
}

impl Parts<'_> {
    /// Makes all subtasks of a region, to continue behind a committed window.
    pub(crate) fn attempt(
        &self,
        region: usize,
        wiring: &Wiring,
        fence: Fence,
        window: WindowId,
    ) -> Result<Vec<Running>, Failure> {
        let plan = &self.topology.regions[region];
        let mut attempt = Vec::new();
        for (number, place) in plan.subtasks.iter().enumerate() {
            let inputs = wiring.origins[number].clone();
            let channels = inputs.len();
            let vertex = &plan.vertices[place.vertex];
            let (outputs, bench) = self.bench(region, *place, fence, window);
            let machine = Subtask::new(SubtaskSpec {
                id: plan.id(*place),
                region: plan.name.clone(),
                fence,
                source: vertex.source.as_ref().map(|node| (node.name.clone(), node.disorder)),
                operators: vertex.operators.iter().map(|node| node.name.clone()).collect(),
                sink: vertex.sink.as_ref().map(|node| node.name.clone()),
                workshop: Arc::new(bench),
                info: plan.info(*place, self.topology.key_groups, fence.incarnation, fence.attempt),
                inputs,
                outputs,
                batch_rows: self.settings.batch_rows,
                aligned: self.settings.mode == Mode::ExactlyOnce,
                ladder: self.ladder(),
                stopwatch: Arc::new(|| 0),
            })?;
            attempt.push(Running {
                machine,
                mailbox: Mailbox::new(fence, channels, self.settings.mailbox),
                shadow: vec![VecDeque::new(); channels],
                most: 2 * (self.most_batches() + self.settings.checkpoint.most_windows_ahead() as usize + 4) + 1,
                most_batches: self.most_batches(),
                woken: i64::MIN,
                busy: false,
                told: WindowId::NONE,
            });
        }
        Ok(attempt)
    }

    /// A sender that takes its snapshot without waiting sends what it has in hand, too.
    fn most_batches(&self) -> usize {
        let in_hand = if self.settings.checkpoint.aligned_timeout_ms.is_some() { IN_HAND } else { 0 };
        self.settings.mailbox + in_hand
    }

    /// Without poison, a record that fails too often has to fail. With it, nobody would ever get past the record but by
    /// a rung that sets it aside.
    fn ladder(&self) -> LadderSettings {
        let ladder = self.settings.ladder;
        if self.topology.poisoned {
            LadderSettings { scope: ladder.scope.min(Scope::Operator), journal: 1 << 26, ..ladder }
        } else {
            LadderSettings { on_poison: OnPoison::Fail, ..ladder }
        }
    }

    fn bench(&self, region: usize, place: Place, fence: Fence, window: WindowId) -> (Vec<OutputSpec>, Bench) {
        let plan = &self.topology.regions[region];
        let vertex = &plan.vertices[place.vertex];
        let named = |mut info: Info, node: &OperatorNode| {
            info.operator = node.name.as_str().into();
            info
        };
        let info = |place| plan.info(place, self.topology.key_groups, fence.incarnation, fence.attempt);
        let mut outputs = Vec::new();
        let mut keyers = BTreeMap::new();
        for (number, edge) in vertex.outputs.iter().enumerate() {
            let edge = &plan.edges[*edge];
            let consumer = &plan.vertices[edge.to];
            let partition = match (edge.kind, consumer.operators.first()) {
                (Spread::Keyed, Some(head)) => {
                    let info = named(info(Place { vertex: edge.to, index: 0 }), head);
                    keyers.insert(number, (head.clone(), info, edge.port));
                    Partition::Keyed { key_groups: self.topology.key_groups }
                }
                (Spread::Forward, _) => Partition::Forward,
                (Spread::Broadcast, _) => Partition::Broadcast,
                (Spread::Rebalance | Spread::Keyed, _) => Partition::Rebalance,
            };
            let channels = if edge.kind == Spread::Forward { 1 } else { consumer.parallelism as usize };
            outputs.push(OutputSpec { partition, channels, consumer: consumer.name.to_string() });
        }
        let operators = vertex.operators.iter().enumerate();
        let bench = Bench {
            source: vertex.source.clone().map(|node| (node, self.fragile(region, place, 0))),
            operators: operators
                .map(|(member, node)| (node.clone(), named(info(place), node), self.fragile(region, place, member)))
                .collect(),
            sink: vertex.sink.as_ref().map(|node| (node.id, self.fragile(region, place, 0))),
            delivery: vertex.sink.as_ref().map_or(Delivery::Staged, |node| self.topology.sinks[node.id].delivery),
            keyers,
            rows: Arc::clone(self.rows),
            keys: self.topology.keys,
            poisoned: self.topology.poisoned,
            outside: self.outside.clone(),
            batch_rows: self.settings.batch_rows,
            region,
            fence,
            window,
        };
        (outputs, bench)
    }

    fn fragile(&self, region: usize, place: Place, member: usize) -> Fragile {
        let who = Who { region, vertex: place.vertex, index: place.index, member };
        Fragile { who, outside: self.outside.clone() }
    }
}
