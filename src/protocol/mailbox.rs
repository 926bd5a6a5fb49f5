//! The mailbox of a subtask: one bounded queue for each channel that leads to it.
//!
//! A mailbox belongs to the engine, not to the actor that reads it: it outlives the actor, it can be looked into, and
//! it is fenced. What an earlier attempt of a sender still pushes is refused, not delivered.
//!
//! Back-pressure is by credit: a batch may be pushed only while its channel has room. Watermarks, markers and the end
//! need no room; their number is bounded elsewhere: a watermark replaces one that is still the last in the queue, and
//! the coordinator opens no further window while too many are under way.

use std::collections::VecDeque;

use crate::ids::Fence;
use crate::protocol::element::Element;
use crate::protocol::mutant::{self, Mutant};

/// The queues of one subtask.
pub struct Mailbox {
    fence: Fence,
    capacity: usize,
    channels: Vec<Channel>,
    /// How many elements wait in all channels.
    waiting: usize,
}

#[derive(Default)]
struct Channel {
    queue: VecDeque<Element>,
    batches: usize,
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
        }
    }

    /// Drops everything and accepts only senders of a new attempt from now on.
    pub fn reset(&mut self, fence: Fence) {
        self.fence = fence;
        self.waiting = 0;
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
        if sender != self.fence && !mutant::is(Mutant::StaleElementAccepted) {
            return Err(Fenced);
        }
        debug_assert!(!element.needs_credit() || self.room(channel) > 0, "a batch was pushed without credit");
        let channel = &mut self.channels[channel];
        if element.needs_credit() {
            channel.batches += 1;
        }
        if let (Element::Watermark(_), Some(last @ Element::Watermark(_))) = (&element, channel.queue.back_mut()) {
            *last = element;
            return Ok(());
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
