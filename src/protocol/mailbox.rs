//! The mailbox of a subtask: one bounded queue for each channel that leads to it.
//!
//! A mailbox belongs to the engine, not to the actor that reads it: it outlives the actor, it can be looked into, and
//! it is fenced. What an earlier attempt of a sender still pushes is refused, not delivered.
//!
//! Back-pressure is by credit: a batch may be pushed only while its channel has room. Watermarks, markers and the end
//! need no room; their number is bounded elsewhere: a watermark replaces what is still the last in the queue of a
//! watermark and of idleness, and the coordinator opens no further window while too many are under way. A sender that takes its snapshot without
//! waiting pushes what it has in hand without credit, too, and then nothing more until there is room again.
//!
//! A checkpoint that does not wait is heard of here before anybody takes its barrier from a queue, and what is under way
//! for it is collected here: see `Capture`.

use std::collections::VecDeque;

use piton_actors::WindowId;

use crate::ids::Fence;
use crate::protocol::capture::{Capture, InFlight, is_cut};
use crate::protocol::element::Element;
use crate::protocol::mutant::{self, Mutant};

/// The queues of one subtask.
pub struct Mailbox {
    fence: Fence,
    capacity: usize,
    channels: Vec<Channel>,
    /// How many elements wait in all channels.
    waiting: usize,
    /// The newest checkpoint that does not wait and whose barrier has come, until the subtask has heard of it.
    heard: Option<WindowId>,
    /// A checkpoint that began to wait and is to do so no more: its marker is as good as a barrier.
    overtaken: Option<WindowId>,
    capture: Option<Capture>,
}

#[derive(Default)]
struct Channel {
    queue: VecDeque<Element>,
    batches: usize,
}

impl Channel {
    /// Drops what a new watermark stands for; returns how many elements that were.
    fn overtake_watermarks(&mut self) -> usize {
        let before = self.queue.len();
        while let Some(Element::Watermark(_) | Element::Idle) = self.queue.back() {
            self.queue.pop_back();
        }
        before - self.queue.len()
    }
}

/// The sender belongs to another attempt than the mailbox: the element was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fenced;

impl Mailbox {
    /// Makes an empty mailbox; `capacity` is how many batches each channel holds at most.
    pub fn new(fence: Fence, channels: usize, capacity: usize) -> Mailbox {
        Mailbox {
            fence,
            capacity: capacity.max(1),
            channels: (0..channels).map(|_| Channel::default()).collect(),
            waiting: 0,
            heard: None,
            overtaken: None,
            capture: None,
        }
    }

    /// Drops everything and accepts only senders of a new attempt from now on.
    pub fn reset(&mut self, fence: Fence) {
        self.fence = fence;
        self.waiting = 0;
        (self.heard, self.overtaken, self.capture) = (None, None, None);
        for channel in &mut self.channels {
            channel.queue.clear();
            channel.batches = 0;
        }
    }

    /// Returns how many more batches a channel takes.
    pub fn room(&self, channel: usize) -> usize {
        self.capacity.saturating_sub(self.channels[channel].batches)
    }

    /// Returns how many batches wait in a channel.
    pub fn batches(&self, channel: usize) -> usize {
        self.channels[channel].batches
    }

    /// Returns how many channels lead here.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Returns how many batches a channel holds at most.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Returns whether something waits in a channel.
    pub fn has(&self, channel: usize) -> bool {
        !self.channels[channel].queue.is_empty()
    }

    /// Appends an element to a channel.
    ///
    /// # Errors
    /// If the sender is of another attempt.
    ///
    /// # Panics
    /// In debug builds, if it is a batch and the channel has no room: the sender did not look.
    pub fn push(&mut self, sender: Fence, channel: usize, element: Element) -> Result<(), Fenced> {
        debug_assert!(
            sender != self.fence || !element.needs_credit() || self.room(channel) > 0,
            "a batch was pushed without credit"
        );
        self.push_beyond(sender, channel, element)
    }

    /// As [`Mailbox::push`], whether or not there is room: the sender takes its snapshot and does not wait.
    ///
    /// # Errors
    /// As `push`.
    pub fn push_beyond(&mut self, sender: Fence, channel: usize, element: Element) -> Result<(), Fenced> {
        if sender != self.fence && !mutant::is(Mutant::StaleElementAccepted) {
            return Err(Fenced);
        }
        if let Some(capture) = &mut self.capture {
            capture.see(channel, &element);
        }
        if let Element::Barrier(window) = element {
            self.hear(window);
        } else if let Some(window) = self.overtaken.filter(|window| is_cut(&element, *window)) {
            self.hear(window);
        }
        let channel = &mut self.channels[channel];
        if element.needs_credit() {
            channel.batches += 1;
        }
        if matches!(element, Element::Watermark(_)) {
            self.waiting -= channel.overtake_watermarks();
        }
        channel.queue.push_back(element);
        self.waiting += 1;
        Ok(())
    }

    /// Takes the first element of a channel.
    pub fn pop(&mut self, channel: usize) -> Option<Element> {
        let channel = &mut self.channels[channel];
        let element = channel.queue.pop_front()?;
        if element.needs_credit() {
            channel.batches -= 1;
        }
        self.waiting -= 1;
        Some(element)
    }

    fn hear(&mut self, window: WindowId) {
        self.heard = self.heard.max(Some(window));
    }

    /// Lets a checkpoint that waits for the end of its window do so no more.
    pub fn overtake(&mut self, window: WindowId) {
        self.overtaken = Some(window);
        if self.channels.iter().flat_map(|channel| &channel.queue).any(|element| is_cut(element, window)) {
            self.hear(window);
        }
    }

    /// Returns, once, the newest checkpoint that does not wait and of which a channel has brought word.
    pub fn take_heard(&mut self) -> Option<WindowId> {
        self.heard.take()
    }

    /// Begins to collect what is under way for the checkpoint of a window, now that the subtask takes its snapshot;
    /// whatever was not yet collected for another is given up. `closed` are the channels that have delivered their
    /// sender's word already.
    pub fn capture(&mut self, window: WindowId, closed: &[bool]) {
        let queues = self.channels.iter().map(|channel| channel.queue.iter());
        self.capture = Some(Capture::begin(window, closed, queues));
    }

    /// Returns, once, what was under way in each channel, as soon as every sender has given its word.
    pub fn take_captured(&mut self) -> Option<(WindowId, Vec<Vec<InFlight>>)> {
        self.capture.take_if(|capture| capture.is_complete()).map(Capture::finish)
    }

    /// Returns whether [`Mailbox::take_heard`] or [`Mailbox::take_captured`] have something to say.
    pub fn has_news(&self) -> bool {
        self.heard.is_some() || self.capture.as_ref().is_some_and(Capture::is_complete)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use piton_actors::{Rows, WindowId};

    use super::*;
    use crate::protocol::element::Marker;

    fn batch() -> Element {
        Element::Batch(Arc::new(Rows::new(vec![1u64])))
    }

    #[test]
    fn only_batches_take_room() {
        let fence = Fence::default();
        let mut mailbox = Mailbox::new(fence, 1, 2);
        mailbox.push(fence, 0, batch()).unwrap();
        mailbox.push(fence, 0, batch()).unwrap();
        assert_eq!(mailbox.room(0), 0);
        mailbox.push(fence, 0, Element::Marker(Marker { window: WindowId(1), snapshot: true })).unwrap();
        mailbox.push(fence, 0, Element::Watermark(1)).unwrap();
        mailbox.push(fence, 0, Element::Watermark(2)).unwrap();
        let mut seen = Vec::new();
        while let Some(element) = mailbox.pop(0) {
            seen.push(format!("{element:?}"));
        }
        assert_eq!(seen, ["Batch(1 rows)", "Batch(1 rows)", "Marker(1, snapshot)", "Watermark(2)"]);
        assert!(mailbox.is_empty());
        assert_eq!(mailbox.room(0), 2);
    }

    #[test]
    fn what_is_ahead_of_a_senders_word_is_under_way() {
        let fence = Fence::default();
        let marker = |window, snapshot| Element::Marker(Marker { window: WindowId(window), snapshot });
        let mut mailbox = Mailbox::new(fence, 4, 2);
        // The first has given its word, the second is about to, the third waits for its window, the fourth was heard.
        for element in [batch(), marker(3, false), Element::Barrier(WindowId(4)), batch()] {
            mailbox.push(fence, 0, element).unwrap();
        }
        for element in [batch(), Element::Watermark(5)] {
            mailbox.push(fence, 1, element).unwrap();
        }
        for element in [batch(), marker(4, true), batch()] {
            mailbox.push(fence, 2, element).unwrap();
        }
        mailbox.push(fence, 3, batch()).unwrap();
        assert_eq!(mailbox.take_heard(), Some(WindowId(4)));
        assert!(!mailbox.has_news());
        mailbox.capture(WindowId(4), &[false, false, false, true]);
        assert!(mailbox.take_captured().is_none(), "the second has not given its word");
        mailbox.push(fence, 1, Element::Watermark(6)).unwrap();
        mailbox.push(fence, 1, batch()).unwrap();
        mailbox.push_beyond(fence, 1, batch()).unwrap();
        mailbox.push(fence, 1, Element::Barrier(WindowId(4))).unwrap();
        assert!(mailbox.has_news());
        let (window, channels) = mailbox.take_captured().unwrap();
        assert_eq!(window, WindowId(4));
        let shown: Vec<String> = channels
            .into_iter()
            .map(|channel| channel.into_iter().map(|element| format!("{:?} ", Element::from(element))).collect())
            .collect();
        let rows = "Batch(1 rows) ";
        assert_eq!(
            shown,
            [
                &format!("{rows}Marker(3) "),
                &format!("{rows}Watermark(6) {rows}{rows}"),
                &format!("{rows}Marker(4) "),
                ""
            ]
        );
        assert_eq!(mailbox.room(1), 0);
    }

    #[test]
    fn a_marker_is_heard_once_its_checkpoint_waits_no_more() {
        let fence = Fence::default();
        let marker = |window| Element::Marker(Marker { window: WindowId(window), snapshot: true });
        let mut mailbox = Mailbox::new(fence, 2, 2);
        mailbox.push(fence, 0, marker(4)).unwrap();
        assert!(!mailbox.has_news());
        mailbox.overtake(WindowId(5));
        assert!(!mailbox.has_news(), "it has not come");
        mailbox.push(fence, 1, marker(5)).unwrap();
        assert_eq!(mailbox.take_heard(), Some(WindowId(5)));
    }

    #[test]
    fn a_zombie_is_refused() {
        let old = Fence { incarnation: 1, attempt: 0 };
        let new = Fence { incarnation: 1, attempt: 1 };
        let mut mailbox = Mailbox::new(old, 1, 2);
        mailbox.push(old, 0, batch()).unwrap();
        mailbox.reset(new);
        assert!(mailbox.is_empty());
        assert_eq!(mailbox.push(old, 0, batch()), Err(Fenced));
        assert!(mailbox.is_empty());
    }
}
