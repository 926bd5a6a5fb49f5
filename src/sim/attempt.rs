//! One attempt of a region: its subtasks with their mailboxes, wired as the plan says.

use std::collections::VecDeque;
use std::sync::Arc;

use piton_actors::WindowId;

use crate::chaos::invariants::{InvariantId, Verdict};
use crate::ids::Fence;
use crate::protocol::coordinator::CheckpointSettings;
use crate::protocol::element::Element;
use crate::protocol::failure::Failure;
use crate::protocol::mailbox::Mailbox;
use crate::protocol::subtask::Subtask;
use crate::runtime::build::{Built, Common, RegionBlueprint};

/// For each output channel of a subtask: the subtask it leads to, and which of its channels.
pub(crate) type Targets = Vec<(usize, usize)>;

/// One subtask of an attempt.
pub(crate) struct Running {
    pub(crate) machine: Subtask,
    pub(crate) mailbox: Mailbox,
    /// What was put into each channel and not yet taken, as the channel should have it.
    shadow: Vec<VecDeque<Sent>>,
    /// How many batches beyond its capacity a channel may hold, while its sender has them in hand and does not wait.
    lent: Vec<usize>,
    /// How many markers and barriers may be under way.
    most_markers: usize,
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
    Idle,
    Marker(u64),
    Barrier(u64),
    End,
}

impl Sent {
    fn of(element: &Element) -> Sent {
        match element {
            Element::Batch(batch) => Sent::Batch(Arc::as_ptr(batch).cast::<()>() as usize),
            Element::Watermark(watermark) => Sent::Watermark(*watermark),
            Element::Idle => Sent::Idle,
            Element::Marker(marker) => Sent::Marker(marker.window.0),
            Element::Barrier(window) => Sent::Barrier(window.0),
            Element::End => Sent::End,
        }
    }
}

impl Running {
    /// Puts an element into a channel, as its sender does. If that takes its snapshot and does not wait, what it had
    /// `in_hand` ahead of its barrier, this element included, goes where there is no room; nothing more until there is.
    pub(crate) fn push(&mut self, fence: Fence, channel: usize, element: Element, in_hand: usize) -> Verdict {
        let sent = Sent::of(&element);
        if element.needs_credit() {
            let lent = &mut self.lent[channel];
            match (self.mailbox.room(channel), *lent) {
                (0, 0) => *lent = in_hand,
                (0, _) => {}
                _ => *lent = 0,
            }
        }
        if self.mailbox.push_beyond(fence, channel, element).is_err() {
            return Err(InvariantId::FenceHolds.broken("an element of the running attempt was refused"));
        }
        let shadow = &mut self.shadow[channel];
        if matches!(sent, Sent::Watermark(_)) {
            let kept = shadow.iter().rposition(|sent| !matches!(sent, Sent::Watermark(_) | Sent::Idle));
            shadow.truncate(kept.map_or(0, |last| last + 1));
        }
        shadow.push_back(sent);
        // Behind each batch and marker there may be a watermark and idleness, behind all of them the end.
        let batches = self.mailbox.batches(channel);
        let most = self.mailbox.capacity() + self.lent[channel];
        if batches > most || shadow.len() > 3 * (batches + self.most_markers + 1) {
            let id = self.machine.id();
            let message = format!("{} elements wait in a channel of {id}, {batches} of them batches", shadow.len());
            return Err(InvariantId::MailboxBounded.broken(message));
        }
        Ok(())
    }

    /// Returns whether the end of a window, or a barrier, waits in one of its channels.
    pub(crate) fn holds_markers(&self) -> bool {
        self.shadow.iter().flatten().any(|sent| matches!(sent, Sent::Marker(_) | Sent::Barrier(_)))
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

/// Makes all subtasks of a region, and says for each of their output channels to which subtask it leads, and to which of
/// its channels.
pub(crate) fn make(
    blueprint: &RegionBlueprint,
    fence: Fence,
    common: &Common,
    checkpoint: &CheckpointSettings,
) -> Result<(Vec<Running>, Vec<Targets>), Failure> {
    let (mut attempt, mut targets) = (Vec::new(), Vec::new());
    for Built { subtask: machine, outputs } in blueprint.build(fence, common)? {
        let channels = machine.inputs();
        attempt.push(Running {
            machine,
            mailbox: Mailbox::new(fence, channels, common.mailbox_capacity),
            shadow: vec![VecDeque::new(); channels],
            lent: vec![0; channels],
            most_markers: checkpoint.most_windows_ahead() as usize + 4,
            woken: i64::MIN,
            busy: false,
            told: WindowId::NONE,
        });
        targets.push(outputs);
    }
    Ok((attempt, targets))
}
