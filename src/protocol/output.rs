//! The output side of a subtask: routing by edge, and the outbox in which elements wait for credit.
//!
//! Routing is a function of the record (its key) or of its number (round robin), never of load or timing, so that a
//! replay sends every record where it went before. The number is in the snapshot.

use std::collections::VecDeque;

use piton_actors::{Batch, Scatter, Timestamp, WindowId, group_of, subtask_of};

use crate::protocol::chain::{Exit, Routed};
use crate::protocol::element::{Element, Marker};
use crate::protocol::mutant::{self, Mutant};

/// How records are spread over the channels of an edge.
pub enum Partition {
    /// To the one channel there is.
    Forward,
    /// To all channels.
    Broadcast,
    /// To one channel after the other.
    Rebalance,
    /// To the channel of the subtask that owns the key's group.
    Keyed {
        /// The key groups of the job.
        key_groups: u32,
    },
}

/// One output edge of a subtask, as it is to be made.
pub struct OutputSpec {
    /// The way out of the subtask's chain that it begins at.
    pub exit: Exit,
    /// How records are spread.
    pub partition: Partition,
    /// How many channels it has: one for each subtask of the consumer, or one if it is a forward edge.
    pub channels: usize,
    /// The operator it leads to: a panic in its `key` is its own.
    pub consumer: String,
}

struct Edge {
    exit: Exit,
    partition: Partition,
    first: usize,
    channels: usize,
    scatter: Option<Box<dyn Scatter>>,
    /// How many records went over this edge so far.
    cursor: u64,
}

/// All output edges of a subtask.
pub(crate) struct Outputs {
    edges: Vec<Edge>,
    /// What waits for credit, for each channel of all edges, in their order.
    outbox: Vec<VecDeque<Element>>,
    waiting: usize,
    /// For each channel: how many barriers wait in it. What is ahead of one waits for no credit.
    barriers: Vec<usize>,
    /// For each channel: whether more was sent over it than there was credit for; and of how many that is so.
    overdrawn: Vec<bool>,
    owed: usize,
    targets: Vec<u32>,
    ready: Vec<(usize, Batch)>,
}

impl Outputs {
    pub(crate) fn new(specs: Vec<OutputSpec>, mut scatter: impl FnMut(Exit, usize) -> Box<dyn Scatter>) -> Outputs {
        let mut edges = Vec::with_capacity(specs.len());
        let mut first = 0;
        for spec in specs {
            let spreads = matches!(spec.partition, Partition::Keyed { .. } | Partition::Rebalance);
            edges.push(Edge {
                exit: spec.exit,
                scatter: (spreads && spec.channels > 1).then(|| scatter(spec.exit, spec.channels)),
                partition: spec.partition,
                first,
                channels: spec.channels,
                cursor: 0,
            });
            first += spec.channels;
        }
        let outbox = (0..first).map(|_| VecDeque::new()).collect();
        Outputs {
            edges,
            outbox,
            waiting: 0,
            barriers: vec![0; first],
            overdrawn: vec![false; first],
            owed: 0,
            targets: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// Sends a batch over every edge that begins where it comes out.
    pub(crate) fn send(&mut self, routed: &Routed) {
        let mut hashes = routed.hashes.iter();
        for index in 0..self.edges.len() {
            let edge = &self.edges[index];
            if edge.exit != routed.exit {
                continue;
            }
            let keyed = matches!(edge.partition, Partition::Keyed { .. }) && edge.scatter.is_some();
            let hashes = if keyed { hashes.next().map_or(&[][..], Vec::as_slice) } else { &[] };
            self.send_over(index, &routed.batch, hashes);
        }
    }

    fn send_over(&mut self, index: usize, batch: &Batch, hashes: &[u64]) {
        let edge = &mut self.edges[index];
        let channels = edge.channels as u32;
        match &edge.partition {
            Partition::Keyed { key_groups } if edge.scatter.is_some() => {
                let key_groups = *key_groups;
                self.targets.clear();
                let owner = |hash: &u64| subtask_of(group_of(*hash, key_groups), channels, key_groups);
                self.targets.extend(hashes.iter().map(owner));
            }
            Partition::Rebalance if edge.scatter.is_some() => {
                self.targets.clear();
                let next = edge.cursor..edge.cursor + batch.len() as u64;
                self.targets.extend(next.map(|number| (number % u64::from(channels)) as u32));
            }
            Partition::Forward | Partition::Broadcast | Partition::Keyed { .. } | Partition::Rebalance => {
                edge.cursor += batch.len() as u64;
                let channels = edge.first..edge.first + edge.channels;
                for channel in channels {
                    self.put(channel, Element::Batch(Batch::clone(batch)));
                }
                return;
            }
        }
        edge.cursor += batch.len() as u64;
        if let Some(scatter) = &mut edge.scatter {
            scatter.add(batch, &self.targets, &mut self.ready);
        }
        self.put_ready(index);
    }

    /// Sends what the routers have collected, in batches that are not full.
    pub(crate) fn flush(&mut self) {
        for index in 0..self.edges.len() {
            if let Some(scatter) = &mut self.edges[index].scatter {
                scatter.flush(&mut self.ready);
            }
            self.put_ready(index);
        }
    }

    /// Sends a watermark to every channel, behind all records so far.
    pub(crate) fn send_watermark(&mut self, watermark: Timestamp) {
        if !mutant::is(Mutant::WatermarkOvertakesRows) {
            self.flush();
        }
        self.send_to_all(&Element::Watermark(watermark));
    }

    /// Says on every channel, behind all records so far, that nobody need wait for a watermark from here.
    pub(crate) fn send_idle(&mut self) {
        self.flush();
        self.send_to_all(&Element::Idle);
    }

    /// Sends a marker to every channel, behind all records so far.
    pub(crate) fn send_marker(&mut self, marker: Marker) {
        if !mutant::is(Mutant::MarkerOvertakesRows) {
            self.flush();
        }
        self.send_to_all(&Element::Marker(marker));
    }

    /// Sends word to every channel, behind all records so far, that a snapshot was taken without waiting.
    pub(crate) fn send_barrier(&mut self, window: WindowId) {
        self.flush();
        for channel in 0..self.outbox.len() {
            if mutant::is(Mutant::BarrierOvertakesOutbox) {
                self.outbox[channel].push_front(Element::Barrier(window));
                self.waiting += 1;
            } else {
                self.put(channel, Element::Barrier(window));
            }
            self.barriers[channel] += 1;
        }
    }

    /// Sends the end to every channel, behind all records so far.
    pub(crate) fn send_end(&mut self) {
        self.flush();
        self.send_to_all(&Element::End);
    }

    fn send_to_all(&mut self, element: &Element) {
        for channel in 0..self.outbox.len() {
            self.put(channel, element.clone());
        }
    }

    fn put_ready(&mut self, edge: usize) {
        let first = self.edges[edge].first;
        let mut ready = std::mem::take(&mut self.ready);
        for (channel, batch) in ready.drain(..) {
            self.put(first + channel, Element::Batch(batch));
        }
        self.ready = ready;
    }

    fn put(&mut self, channel: usize, element: Element) {
        self.outbox[channel].push_back(element);
        self.waiting += 1;
    }

    /// Returns whether nothing waits for credit, and none is owed.
    pub(crate) fn is_clear(&self) -> bool {
        self.waiting == 0 && self.owed == 0
    }

    /// Returns how many batches wait for a channel ahead of a barrier: what goes there whether or not there is room.
    pub(crate) fn ahead_of_barrier(&self, channel: usize) -> usize {
        let waiting = &self.outbox[channel];
        let barrier = waiting.iter().rposition(|element| matches!(element, Element::Barrier(_))).unwrap_or(0);
        waiting.iter().take(barrier).filter(|element| element.needs_credit()).count()
    }

    /// Returns whether the next element of a channel may be sent although there is no room for it.
    pub(crate) fn goes_beyond(&self, channel: usize) -> bool {
        self.barriers[channel] > 0
    }

    /// Returns whether the consumer of a channel was sent more than it had room for.
    pub(crate) fn is_overdrawn(&self, channel: usize) -> bool {
        self.overdrawn[channel]
    }

    /// A channel has room, or what is taken next from it goes where there is none.
    pub(crate) fn set_overdrawn(&mut self, channel: usize, overdrawn: bool) {
        self.owed -= usize::from(std::mem::replace(&mut self.overdrawn[channel], overdrawn));
        self.owed += usize::from(overdrawn);
    }

    /// Returns the number of channels of all edges.
    pub(crate) fn channels(&self) -> usize {
        self.outbox.len()
    }

    /// Returns the next element of a channel without taking it.
    pub(crate) fn peek(&self, channel: usize) -> Option<&Element> {
        self.outbox[channel].front()
    }

    /// Takes the next element of a channel.
    pub(crate) fn take(&mut self, channel: usize) -> Option<Element> {
        let element = self.outbox[channel].pop_front()?;
        self.waiting -= 1;
        if let Element::Barrier(_) = element {
            self.barriers[channel] -= 1;
        }
        Some(element)
    }

    /// Returns how many records went over each edge.
    pub(crate) fn cursors(&self) -> Vec<u64> {
        self.edges.iter().map(|edge| edge.cursor).collect()
    }

    /// Continues counting where a snapshot stopped.
    pub(crate) fn restore_cursors(&mut self, cursors: &[u64]) {
        if mutant::is(Mutant::CursorForgotten) {
            return;
        }
        for (edge, cursor) in self.edges.iter_mut().zip(cursors) {
            edge.cursor = *cursor;
        }
    }
}
