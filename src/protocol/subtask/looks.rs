//! What can be seen of a subtask from outside, and the way out of its outbox.

use piton_actors::{Timestamp, WindowId};

use super::{Counters, Recovery, Subtask};
use crate::protocol::chain::ChainSpec;
use crate::protocol::element::Element;
use crate::protocol::manifest::PendingOutput;
use crate::protocol::sink::SinkTail;

impl Subtask {
    /// Returns the name of its source, or its own if it has none.
    pub fn source_name(&self) -> &str {
        self.source.as_ref().map_or(&*self.id.operator, |source| &source.name)
    }

    /// Returns the name of its sink, or its own if it has none.
    pub fn sink_name(&self) -> &str {
        self.sink.as_ref().map_or(&*self.id.operator, |sink| &sink.name)
    }

    /// Returns the name of its last operator, which is the one that may make requests, or its own if it has none.
    pub fn asker_name(&self) -> &str {
        self.made_of.names.last().map_or(&*self.id.operator, String::as_str)
    }

    /// Returns the name of whoever stands at this place of the pulse of its operators, or its own if nobody does.
    pub fn name_at(&self, place: usize) -> &str {
        let ChainSpec { names, keyed, .. } = &self.made_of;
        let consumer = || keyed.get(place.checked_sub(names.len())?).map(|edge| &edge.consumer);
        names.get(place).or_else(consumer).map_or(&*self.id.operator, String::as_str)
    }

    /// Returns the number of input channels.
    pub fn inputs(&self) -> usize {
        self.origins.len()
    }

    /// Returns the number of output channels, over all edges.
    pub fn output_channels(&self) -> usize {
        self.outputs.channels()
    }

    /// Returns the next element for an output channel, without taking it.
    pub fn peek_output(&self, channel: usize) -> Option<&Element> {
        self.outputs.peek(channel)
    }

    /// Takes the next element for an output channel. After the last one, a [`Event::Wake`](super::Event::Wake) lets work
    /// go on.
    pub fn take_output(&mut self, channel: usize) -> Option<Element> {
        self.outputs.take(channel)
    }

    /// Returns how many batches it has in hand for an output, ahead of the word that its snapshot was taken: they go out
    /// whether or not there is room.
    pub fn ahead_of_barrier(&self, channel: usize) -> usize {
        self.outputs.ahead_of_barrier(channel)
    }

    /// Returns whether the next element for an output channel may be sent although there is no room for it: a snapshot
    /// was taken behind it, without waiting.
    pub fn goes_beyond(&self, channel: usize) -> bool {
        self.outputs.goes_beyond(channel)
    }

    /// Returns whether the consumer of an output channel was sent more than it had room for.
    pub fn is_overdrawn(&self, channel: usize) -> bool {
        self.outputs.is_overdrawn(channel)
    }

    /// Says whether the consumer of an output channel was sent more than it had room for, until it has room again.
    /// After the last one of which that was so, a [`Event::Wake`](super::Event::Wake) lets work go on.
    pub fn set_overdrawn(&mut self, channel: usize, overdrawn: bool) {
        self.outputs.set_overdrawn(channel, overdrawn);
    }

    /// Returns whether nothing waits to be sent, and no consumer was sent more than it had room for.
    pub fn outbox_is_clear(&self) -> bool {
        self.outputs.is_clear()
    }

    /// Returns when it wants a [`Event::Wake`](super::Event::Wake) at the latest, if it does.
    pub fn wake_at(&self) -> Option<Timestamp> {
        // While it is not free, whatever frees it lets work go on; a time that is over would wake it for nothing.
        let is_free = self.is_free();
        let source = self.source.as_ref().and_then(|source| source.wake_at(self.may_poll()));
        let sink = self.sink.as_ref().and_then(SinkTail::retry_at);
        let timer = self.chain.as_ref().and_then(|chain| chain.next_timer()).filter(|_| is_free && !self.finished);
        let recovery = self.recovery.as_ref().and_then(Recovery::waits_until);
        [source, sink, timer, recovery, self.asking.wake_at()].into_iter().flatten().min()
    }

    /// Returns the pending outputs of windows above this one: what a rollback to it must abort.
    pub fn pending_above(&self, window: WindowId) -> Vec<PendingOutput> {
        self.sink.as_ref().map(|sink| sink.above(window)).unwrap_or_default()
    }

    /// Returns what it has counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Returns the last window that has ended here.
    pub fn window(&self) -> WindowId {
        self.window
    }

    /// Returns the combined watermark of its inputs, or of its source.
    pub fn watermark(&self) -> Timestamp {
        self.aligner.combined_watermark()
    }

    /// Returns how often something of it was restarted alone.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Returns whether its operators are opened, and it was told what it was restored from.
    pub fn is_open(&self) -> bool {
        self.state != super::State::Opening
    }

    /// Returns whether something of it is being restarted alone.
    pub fn is_recovering(&self) -> bool {
        self.recovery.is_some()
    }

    /// Returns how many bytes its journal holds.
    pub fn journal_bytes(&self) -> usize {
        self.journal.bytes()
    }

    /// Returns how many key groups the job has.
    pub fn key_groups(&self) -> u32 {
        self.key_groups
    }
}
