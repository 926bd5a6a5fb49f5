//! A mailbox that several threads reach: the consumer's actor takes, the producers' actors push.
//!
//! It is held by all of them and by the supervisor, so it outlives every actor. The lock is held for a push or a take
//! and never across user code. Whoever has nothing to take, or no room to push, leaves a waker under the same lock,
//! so no wake-up is lost.

use std::task::Waker;

use parking_lot::Mutex;
use piton_actors::Timestamp;

use crate::ids::{Fence, WindowId};
use crate::protocol::element::Element;
use crate::protocol::mailbox::Mailbox;
use crate::protocol::subtask::Event;
use crate::protocol::turns::Turns;

/// The mailbox of one subtask, shared.
pub(crate) struct Port {
    state: Mutex<State>,
}

struct State {
    mailbox: Mailbox,
    reader: Option<Waker>,
    /// Called when there is news of a checkpoint that does not wait.
    listener: Option<Waker>,
    writers: Vec<Option<Waker>>,
}

impl Port {
    pub(crate) fn new(fence: Fence, channels: usize, capacity: usize) -> Port {
        let writers = (0..channels).map(|_| None).collect();
        Port {
            state: Mutex::new(State {
                mailbox: Mailbox::new(fence, channels, capacity),
                reader: None,
                listener: None,
                writers,
            }),
        }
    }

    /// Drops everything and lets only senders of a new attempt in from now on.
    pub(crate) fn reset(&self, fence: Fence) {
        let mut state = self.state.lock();
        state.mailbox.reset(fence);
        (state.reader, state.listener) = (None, None);
        state.writers.iter_mut().for_each(|writer| *writer = None);
    }

    /// Pushes the elements that `next` gives, as long as there is room for them. If there is none, the waker is called
    /// as soon as there is. An element of a past attempt's sender is dropped.
    pub(crate) fn push(
        &self,
        fence: Fence,
        channel: usize,
        waker: &Waker,
        mut next: impl FnMut(Look) -> Option<Element>,
    ) {
        let mut state = self.state.lock();
        let mut pushed = false;
        loop {
            let room = state.mailbox.room(channel) > 0;
            let Some(element) = next(if room { Look::Any } else { Look::WithoutCredit }) else {
                if !room {
                    state.writers[channel] = Some(waker.clone());
                }
                break;
            };
            let taken = if room {
                state.mailbox.push(fence, channel, element)
            } else {
                state.mailbox.push_beyond(fence, channel, element)
            };
            if taken.is_err() {
                break;
            }
            pushed = true;
        }
        let reader = if pushed { state.reader.take() } else { None };
        let listener = if pushed && state.mailbox.has_news() { state.listener.take() } else { None };
        drop(state);
        for waker in [reader, listener].into_iter().flatten() {
            waker.wake();
        }
    }

    /// Returns what there is to say of checkpoints that do not wait; leaves the waker for when there is more.
    pub(crate) fn news(&self, waker: &Waker) -> [Option<Event>; 2] {
        let mut state = self.state.lock();
        if !state.listener.as_ref().is_some_and(|listener| listener.will_wake(waker)) {
            state.listener = Some(waker.clone());
        }
        if !state.mailbox.has_news() {
            return [None, None];
        }
        let captured = state.mailbox.take_captured().map(|(window, channels)| Event::Captured(window, channels));
        [captured, state.mailbox.take_heard().map(Event::Heard)]
    }

    /// Returns how many batches wait in all channels, and for how many there is room.
    pub(crate) fn filled(&self) -> (usize, usize) {
        let mailbox = &self.state.lock().mailbox;
        let waiting = (0..mailbox.channels()).map(|channel| mailbox.batches(channel)).sum();
        (waiting, mailbox.channels() * mailbox.capacity())
    }

    /// See [`Mailbox::capture`].
    pub(crate) fn capture(&self, window: WindowId, closed: &[bool]) {
        self.state.lock().mailbox.capture(window, closed);
    }

    /// See [`Mailbox::overtake`].
    pub(crate) fn overtake(&self, window: WindowId) {
        self.state.lock().mailbox.overtake(window);
    }

    /// Takes the next element of the channel whose turn it is; leaves the waker if there is none. How far the event time of
    /// a channel is `reached` says, and nothing of one that is not open.
    pub(crate) fn take(
        &self,
        turns: &mut Turns,
        waker: &Waker,
        reached: impl Fn(usize) -> Option<Timestamp>,
    ) -> Option<(usize, Element)> {
        let mut state = self.state.lock();
        if !state.mailbox.is_empty() {
            let mailbox = &state.mailbox;
            let far = |channel| mailbox.has(channel).then(|| reached(channel)).flatten();
            if let Some(channel) = turns.choose(mailbox.channels(), far) {
                let element = state.mailbox.pop(channel)?;
                // A producer is woken when half of the room is there, not for every batch: a wake-up costs more.
                let writer = if state.mailbox.room(channel) * 2 >= state.mailbox.capacity() {
                    state.writers[channel].take()
                } else {
                    None
                };
                drop(state);
                if let Some(writer) = writer {
                    writer.wake();
                }
                return Some((channel, element));
            }
        }
        state.reader = Some(waker.clone());
        None
    }
}

/// What may be pushed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Whatever comes next: there is room.
    Any,
    /// Only what needs no credit.
    WithoutCredit,
}
