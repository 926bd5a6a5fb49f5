//! Checkpoints that do not wait for the end of their window.
//!
//! As soon as anybody upstream has said that it has taken its snapshot, the subtask takes its own: behind what it has in
//! hand, ahead of everything that waits in its mailbox. It says so on its outputs, ahead of nothing, but without waiting
//! for credit; and what is under way to it is collected by the mailbox and kept with the snapshot.
//!
//! When the window ends at last, that is a window like others. An operator that holds rows in its fields until a window
//! ends can take its snapshot only then: it says so, and the region's checkpoints wait from then on.

use std::collections::VecDeque;

use piton_actors::{Timestamp, WindowId};

use super::stream::Step;
use super::{Command, State, Subtask, Why};
use crate::protocol::capture::InFlight;
use crate::protocol::chain::{What, WrittenDown};
use crate::protocol::element::{Alignment, Marker};
use crate::protocol::manifest::{InFlightChannel, InFlightSnapshot};
use crate::protocol::mutant::{self, Mutant};
use crate::protocol::sink::SinkTail;
use crate::protocol::source::SourceHead;

/// What a subtask knows of such checkpoints.
pub(super) struct Overtaking {
    /// The one whose snapshot is to be taken as soon as that is possible.
    asked: Option<WindowId>,
    /// The newest one whose snapshot was taken, or refused, with or without waiting.
    taken: WindowId,
    /// For each channel: the newest one of which it has delivered its sender's word.
    said: Vec<WindowId>,
    /// What was under way when the restored checkpoint was taken, and is not yet taken, with its channel.
    restored: VecDeque<(usize, InFlight)>,
    /// The watermark of channels behind that.
    then: Vec<(usize, Timestamp)>,
    /// What of it was there when the snapshot was taken whose channels are being collected.
    ahead: Option<(WindowId, Vec<Vec<InFlight>>)>,
}

impl Overtaking {
    pub(super) fn new(channels: usize) -> Overtaking {
        Overtaking {
            asked: None,
            taken: WindowId::NONE,
            said: vec![WindowId::NONE; channels],
            restored: VecDeque::new(),
            then: Vec::new(),
            ahead: None,
        }
    }

    /// Continues behind a restored checkpoint.
    pub(super) fn begin(&mut self, window: WindowId, then: Vec<(usize, Timestamp)>) {
        self.taken = window;
        self.then = then;
    }

    /// Puts back what was under way.
    pub(super) fn restore(&mut self, unpacked: Vec<(usize, InFlight)>) {
        let then = self.then.drain(..).map(|(channel, watermark)| (channel, InFlight::Watermark(watermark)));
        self.restored.extend(unpacked.into_iter().chain(then));
    }

    /// Returns whether something that was put back is not yet taken.
    pub(super) fn has_restored(&self) -> bool {
        !self.restored.is_empty()
    }

    pub(super) fn next_restored(&mut self) -> Option<(usize, InFlight)> {
        self.restored.pop_front()
    }

    /// A checkpoint is to be taken as soon as possible, unless it was.
    pub(super) fn ask(&mut self, window: WindowId) {
        if window > self.taken {
            self.asked = self.asked.max(Some(window));
        }
    }

    pub(super) fn asked(&self) -> Option<WindowId> {
        self.asked
    }

    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Returns whether the snapshot of a window was taken or refused already.
    pub(super) fn has_taken(&self, window: WindowId) -> bool {
        window <= self.taken
    }

    /// A channel has delivered its sender's word.
    pub(super) fn said(&mut self, channel: usize, window: WindowId) {
        self.said[channel] = window;
    }
}

impl Subtask {
    /// Returns whether a snapshot could be taken now: nothing is in hand but what waits to be sent.
    pub(super) fn may_cut(&self) -> bool {
        self.state == State::Running
            && self.steps.is_empty()
            && self.is_at_rest()
            && self.sink.as_ref().is_none_or(SinkTail::is_quiet)
            && self.source.as_ref().is_none_or(SourceHead::is_here)
    }

    /// A checkpoint that has begun to wait does so no more.
    pub(super) fn wait_no_more(&mut self, window: WindowId) {
        if self.overtaking.has_taken(window) {
            return;
        }
        if self.origins.is_empty() {
            for (marker, _, alignment) in &mut self.closes {
                if marker.window == window && marker.snapshot {
                    *alignment = Alignment::Unaligned;
                }
            }
            return;
        }
        if self.overtaking.said.contains(&window) {
            self.overtaking.ask(window);
        }
        self.commands.push(Command::Overtake(window));
    }

    /// Queues what belongs to a snapshot that does not wait.
    pub(super) fn overtake(&mut self, window: WindowId) {
        if !self.finished {
            self.steps.push_back(Step::Run(What::BeforeCheckpoint(window)));
        }
        self.steps.push_back(Step::Overtake(window));
    }

    /// Takes the snapshot, unless an operator holds rows that would be lost.
    pub(super) fn cut_or_decline(&mut self, window: WindowId) {
        let holder = match &self.chain {
            Some(chain) if !self.finished => chain.holds_nothing().map_err(|name| name.map(String::from)),
            _ => Ok(()),
        };
        let marker = Marker { window, snapshot: true };
        self.steps.push_front(Step::Barrier(window));
        let Err(holder) = holder else {
            self.steps.push_front(Step::Cut(marker, Alignment::Unaligned));
            self.steps.push_front(Step::Prepare(marker));
            return;
        };
        self.taken(window, false);
        self.decline(window, Why::HoldsRows(holder));
    }

    /// The snapshot of a window was taken, or refused; if `collect`, within a window.
    pub(super) fn taken(&mut self, window: WindowId, collect: bool) {
        let overtaking = &mut self.overtaking;
        overtaking.taken = window;
        overtaking.asked.take_if(|asked| *asked <= window);
        if let Some((older, _)) = overtaking.ahead.take() {
            self.lineage.give_up(older, "a newer checkpoint began before all was collected for it");
        }
        self.aligner.taken(window);
        if !collect {
            return;
        }
        let mut ahead = vec![Vec::new(); overtaking.said.len()];
        if !mutant::is(Mutant::RestoredInFlightForgotten) {
            for (channel, element) in &overtaking.restored {
                ahead[*channel].push(element.clone());
            }
        }
        overtaking.ahead = Some((window, ahead));
        let closed = overtaking.said.iter().map(|said| *said == window).collect();
        self.commands.push(Command::Capture(window, closed));
    }

    /// What is under way for a snapshot is known.
    pub(super) fn captured(&mut self, window: WindowId, channels: Vec<Vec<InFlight>>) {
        let Some((_, mut all)) = self.overtaking.ahead.take_if(|(of, _)| *of == window) else { return };
        for (all, channel) in all.iter_mut().zip(channels) {
            all.extend(channel);
        }
        if all.iter().all(Vec::is_empty) {
            return self.packed(window, None);
        }
        self.steps.push_back(Step::Pack(window, all));
    }

    /// What is under way for a snapshot is written down.
    pub(super) fn packed(&mut self, window: WindowId, packed: Option<WrittenDown>) {
        let in_flight = packed.map(|WrittenDown { bytes, records }| {
            let channel = |(origin, records): (&_, u64)| InFlightChannel { origin: Clone::clone(origin), records };
            let channels = self.origins.iter().zip(records).map(channel).collect();
            (InFlightSnapshot { channels, chunks: Vec::new() }, bytes)
        });
        self.lineage.collected(window, in_flight);
        self.write_next();
    }
}
