//! One attempt of a region: its subtasks with their mailboxes, wired as the plan says.

use std::collections::VecDeque;
use std::sync::Arc;

use piton_actors::Delivery;
use piton_actors::host::{AnyOperator, AnySink, AnySource, HostedSink, HostedSource};

use crate::chaos::invariants::{InvariantId, Verdict};
use crate::ids::{Fence, WindowId};
use crate::protocol::element::Element;
use crate::protocol::mailbox::Mailbox;
use crate::protocol::output::{OutputSpec, Partition};
use crate::protocol::subtask::{Subtask, SubtaskSpec};
use crate::sim::fragile::{Fragile, FragileOperator, FragileSink, FragileSource};
use crate::sim::operators;
use crate::sim::outside::{Outside, SimSink, SimSource, Who};
use crate::sim::settings::Settings;
use crate::sim::topology::{EdgeKind, Place, RegionPlan, Topology};

/// One subtask of an attempt.
pub(crate) struct Running {
    pub(crate) machine: Subtask,
    pub(crate) mailbox: Mailbox,
    /// What was put into each channel and not yet taken, as the channel should have it.
    shadow: Vec<VecDeque<Sent>>,
    /// How many elements a channel may hold: its batches, the markers of windows that are under way, a watermark
    /// behind each of them, and the end.
    most: usize,
    /// When it was woken last: once a moment is enough.
    pub(crate) woken: i64,
    /// Whether something has come since it was last told that nothing comes.
    pub(crate) busy: bool,
    /// The newest window it has seen through.
    pub(crate) told: WindowId,
}

/// Tells an element from others without holding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Batch(usize),
    Watermark(i64),
    Marker(u64),
    End,
}

impl Sent {
    fn of(element: &Element) -> Sent {
        match element {
            Element::Batch(batch) => Sent::Batch(Arc::as_ptr(batch).cast::<()>() as usize),
            Element::Watermark(watermark) => Sent::Watermark(*watermark),
            Element::Marker(marker) => Sent::Marker(marker.window.0),
            Element::End => Sent::End,
        }
    }
}

impl Running {
    /// Puts an element into a channel, as its sender does.
    pub(crate) fn push(&mut self, fence: Fence, channel: usize, element: Element) -> Verdict {
        let sent = Sent::of(&element);
        if self.mailbox.push(fence, channel, element).is_err() {
            return Err(InvariantId::FenceHolds.broken("an element of the running attempt was refused"));
        }
        let shadow = &mut self.shadow[channel];
        if let (Sent::Watermark(_), Some(last @ Sent::Watermark(_))) = (sent, shadow.back_mut()) {
            *last = sent;
        } else {
            shadow.push_back(sent);
        }
        if self.mailbox.batches(channel) > self.mailbox.capacity() || shadow.len() > self.most {
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
    /// For each subtask and input channel: the port.
    ports: Vec<Vec<usize>>,
}

impl Wiring {
    pub(crate) fn of(plan: &RegionPlan) -> Wiring {
        let mut wiring =
            Wiring { targets: vec![Vec::new(); plan.subtasks.len()], ports: vec![Vec::new(); plan.subtasks.len()] };
        // A channel's place at its consumer: edges in the order of the vertex's inputs, producers by index.
        let mut first = vec![0; plan.edges.len()];
        for (number, place) in plan.subtasks.iter().enumerate() {
            for edge in &plan.vertices[place.vertex].inputs {
                first[*edge] = wiring.ports[number].len();
                let channels = match plan.edges[*edge].kind {
                    EdgeKind::Forward => 1,
                    _ => plan.vertices[plan.edges[*edge].from].parallelism as usize,
                };
                wiring.ports[number].extend(std::iter::repeat_n(plan.edges[*edge].port, channels));
            }
        }
        for (number, place) in plan.subtasks.iter().enumerate() {
            for edge in &plan.vertices[place.vertex].outputs {
                let (to, kind) = (plan.edges[*edge].to, plan.edges[*edge].kind);
                if kind == EdgeKind::Forward {
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
pub(crate) struct Workshop<'a> {
    pub(crate) topology: &'a Topology,
    pub(crate) settings: &'a Settings,
    pub(crate) outside: &'a Outside,
    pub(crate) rows: &'a Arc<Vec<u64>>,
}

impl Workshop<'_> {
    /// Makes all subtasks of a region, to continue behind a committed window.
    pub(crate) fn attempt(
        &self,
        region: usize,
        wiring: &Wiring,
        fence: Fence,
        window: WindowId,
    ) -> piton_actors::Result<Vec<Running>> {
        let plan = &self.topology.regions[region];
        let mut operators = Vec::new();
        for place in &plan.subtasks {
            operators.push(self.operators(region, *place, fence, window)?);
        }
        // All keyers first: making a subtask takes its operators away.
        let mut outputs = Vec::new();
        for place in &plan.subtasks {
            outputs.push(self.outputs(plan, *place, &operators));
        }
        let mut attempt = Vec::new();
        for (number, (operators, outputs)) in operators.into_iter().zip(outputs).enumerate() {
            let place = plan.subtasks[number];
            let inputs = wiring.ports[number].clone();
            let channels = inputs.len();
            let machine = Subtask::new(SubtaskSpec {
                id: plan.id(place),
                region: plan.name.clone(),
                fence,
                source: self.source(region, place),
                operators,
                sink: self.sink(region, place),
                info: plan.info(place, self.topology.key_groups, fence.incarnation, fence.attempt),
                inputs,
                outputs,
                batch_rows: self.settings.batch_rows,
                aligned: true,
            });
            attempt.push(Running {
                machine,
                mailbox: Mailbox::new(fence, channels, self.settings.mailbox),
                shadow: vec![VecDeque::new(); channels],
                most: 2 * (self.settings.mailbox + self.settings.checkpoint.windows_ahead() as usize + 4) + 1,
                woken: i64::MIN,
                busy: false,
                told: WindowId::NONE,
            });
        }
        Ok(attempt)
    }

    fn outputs(
        &self,
        plan: &RegionPlan,
        place: Place,
        operators: &[Vec<(String, Box<dyn AnyOperator>)>],
    ) -> Vec<OutputSpec> {
        let mut outputs = Vec::new();
        for edge in &plan.vertices[place.vertex].outputs {
            let edge = &plan.edges[*edge];
            let consumer = &plan.vertices[edge.to];
            let head = operators[plan.number(edge.to, 0)].first();
            let partition = match (edge.kind, head) {
                (EdgeKind::Keyed, Some((_, head))) => {
                    Partition::Keyed { keyer: head.keyer(edge.port), key_groups: self.topology.key_groups }
                }
                (EdgeKind::Forward, _) => Partition::Forward,
                (EdgeKind::Broadcast, _) => Partition::Broadcast,
                (EdgeKind::Rebalance | EdgeKind::Keyed, _) => Partition::Rebalance,
            };
            let channels = if edge.kind == EdgeKind::Forward { 1 } else { consumer.parallelism as usize };
            outputs.push(OutputSpec { partition, channels, consumer: consumer.name.to_string() });
        }
        outputs
    }

    fn operators(
        &self,
        region: usize,
        place: Place,
        fence: Fence,
        window: WindowId,
    ) -> piton_actors::Result<Vec<(String, Box<dyn AnyOperator>)>> {
        let plan = &self.topology.regions[region];
        let mut operators = Vec::new();
        for (member, node) in plan.vertices[place.vertex].operators.iter().enumerate() {
            let mut info = plan.info(place, self.topology.key_groups, fence.incarnation, fence.attempt);
            info.operator = node.name.as_str().into();
            let operator = FragileOperator {
                inner: operators::host(node.id, node.kind, info, self.settings.batch_rows)?,
                fragile: self.fragile(region, place, member),
                region,
                fence,
                owed: (window > WindowId::NONE).then_some(window),
                checkpointed: WindowId::NONE,
            };
            operators.push((node.name.clone(), Box::new(operator) as Box<dyn AnyOperator>));
        }
        Ok(operators)
    }

    fn fragile(&self, region: usize, place: Place, member: usize) -> Fragile {
        let who = Who { region, vertex: place.vertex, index: place.index, member };
        Fragile { who, outside: self.outside.clone() }
    }

    fn source(&self, region: usize, place: Place) -> Option<(String, Box<dyn AnySource>, i64)> {
        let node = self.topology.regions[region].vertices[place.vertex].source.as_ref()?;
        let source = SimSource {
            first_partition: node.first_partition,
            rows: Arc::clone(self.rows),
            keys: self.topology.keys,
            disorder: node.disorder,
            partition: 0,
            next: 0,
        };
        let inner = Box::new(HostedSource::new(source, self.settings.batch_rows));
        let source = FragileSource { inner, fragile: self.fragile(region, place, 0) };
        Some((node.name.clone(), Box::new(source), node.disorder))
    }

    fn sink(&self, region: usize, place: Place) -> Option<(String, Box<dyn AnySink>)> {
        let node = self.topology.regions[region].vertices[place.vertex].sink.as_ref()?;
        let sink = SimSink {
            id: node.id,
            delivery: self.topology.sinks[node.id].delivery,
            outside: self.outside.clone(),
            subtask: 0,
            fence: Fence::default(),
            rows: Vec::new(),
        };
        debug_assert!(sink.delivery != Delivery::Immediate, "an immediate sink promises nothing that could be checked");
        let sink = FragileSink { inner: Box::new(HostedSink(sink)), fragile: self.fragile(region, place, 0) };
        Some((node.name.clone(), Box::new(sink)))
    }
}
