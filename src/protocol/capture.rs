//! What is under way to a subtask when it takes its snapshot without waiting: the state of its channels.
//!
//! This is the snapshot of Chandy and Lamport, "Distributed Snapshots". A subtask that takes its snapshot says so on all
//! of its output channels. Whatever a channel holds ahead of that word, and whatever still comes ahead of it, was sent
//! before the sender's snapshot and is taken behind the receiver's: it is part of neither, and so of the channel.
//!
//! An end is not kept: a sender that had come to its end says so again when it is restored. Nor is that a sender is idle.

use piton_actors::{Batch, Timestamp, WindowId};

use crate::protocol::element::{Element, Marker};
use crate::protocol::mutant::{self, Mutant};

/// One thing that was under way.
#[derive(Clone)]
pub enum InFlight {
    /// Records.
    Batch(Batch),
    /// A watermark, in ms.
    Watermark(Timestamp),
    /// The end of a window.
    Marker(WindowId),
}

impl InFlight {
    fn of(element: &Element) -> Option<InFlight> {
        match element {
            Element::Batch(batch) => Some(InFlight::Batch(Batch::clone(batch))),
            Element::Watermark(watermark) => Some(InFlight::Watermark(*watermark)),
            Element::Marker(marker) => Some(InFlight::Marker(marker.window)),
            Element::Idle | Element::Barrier(_) | Element::End => None,
        }
    }
}

impl From<InFlight> for Element {
    fn from(element: InFlight) -> Element {
        match element {
            InFlight::Batch(batch) => Element::Batch(batch),
            InFlight::Watermark(watermark) => Element::Watermark(watermark),
            // The checkpoint that it may have asked for is this one.
            InFlight::Marker(window) => Element::Marker(Marker { window, snapshot: false }),
        }
    }
}

/// Returns whether an element is the word of its sender that it has taken its snapshot for the checkpoint of a window:
/// the barrier of one that has not waited, or the marker of one that has.
pub(crate) fn is_cut(element: &Element, window: WindowId) -> bool {
    match element {
        Element::Barrier(of) => *of == window,
        Element::Marker(marker) => marker.snapshot && marker.window == window,
        Element::Batch(_) | Element::Watermark(_) | Element::Idle | Element::End => false,
    }
}

/// The channels of one mailbox while what is under way for a checkpoint is being collected.
pub(crate) struct Capture {
    window: WindowId,
    channels: Vec<Channel>,
    /// How many channels are still collected.
    open: usize,
}

#[derive(Default)]
struct Channel {
    collected: Vec<InFlight>,
    is_closed: bool,
}

impl Capture {
    /// Begins with what waits in the channels now. `closed` are those that have delivered their sender's word already.
    pub(crate) fn begin<'a>(
        window: WindowId,
        closed: &[bool],
        queues: impl Iterator<Item = impl Iterator<Item = &'a Element>>,
    ) -> Capture {
        let mut capture = Capture { window, channels: Vec::new(), open: 0 };
        for (number, queue) in queues.enumerate() {
            capture.channels.push(Channel::default());
            capture.open += 1;
            if closed.get(number).copied().unwrap_or(false) {
                capture.close(number);
            }
            for element in queue {
                capture.see(number, element);
            }
        }
        if mutant::is(Mutant::LateInFlightLost) {
            (0..capture.channels.len()).for_each(|number| capture.close(number));
        }
        capture
    }

    /// An element comes into a channel.
    pub(crate) fn see(&mut self, channel: usize, element: &Element) {
        if self.channels[channel].is_closed {
            return;
        }
        if is_cut(element, self.window) {
            self.close(channel);
        }
        let Some(element) = InFlight::of(element) else { return };
        let collected = &mut self.channels[channel].collected;
        if let (InFlight::Watermark(_), Some(last @ InFlight::Watermark(_))) = (&element, collected.last_mut()) {
            *last = element;
        } else {
            collected.push(element);
        }
    }

    fn close(&mut self, channel: usize) {
        if !std::mem::replace(&mut self.channels[channel].is_closed, true) {
            self.open -= 1;
        }
    }

    /// Returns whether every sender has given its word.
    pub(crate) fn is_complete(&self) -> bool {
        self.open == 0
    }

    /// Returns the window and what was under way in each channel.
    pub(crate) fn finish(self) -> (WindowId, Vec<Vec<InFlight>>) {
        (self.window, self.channels.into_iter().map(|channel| channel.collected).collect())
    }
}
