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
    /// How many elements a channel may hold: its batches, the markers of windows that are under way, a watermark and
    /// idleness behind each of them, and the end.
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
    /// Puts an element into a channel, as its sender does.
    pub(crate) fn push(&mut self, fence: Fence, channel: usize, element: Element) -> Verdict {
        let sent = Sent::of(&element);
        if self.mailbox.push_beyond(fence, channel, element).is_err() {
            return Err(InvariantId::FenceHolds.broken("an element of the running attempt was refused"));
        }
        let shadow = &mut self.shadow[channel];
        if matches!(sent, Sent::Watermark(_)) {
            let kept = shadow.iter().rposition(|sent| !matches!(sent, Sent::Watermark(_) | Sent::Idle));
            shadow.truncate(kept.map_or(0, |last| last + 1));
        }
        shadow.push_back(sent);
        if self.mailbox.batches(channel) > self.most_batches || shadow.len() > self.most {
            let message = format!("{} elements wait in a channel of {}", shadow.len(), self.machine.id());
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
    // A sender that takes its snapshot without waiting sends what it has in hand, too.
    let most_batches = common.mailbox_capacity + if common.overtakes { IN_HAND } else { 0 };
    let (mut attempt, mut targets) = (Vec::new(), Vec::new());
    for Built { subtask: machine, outputs } in blueprint.build(fence, common)? {
        let channels = machine.inputs();
        attempt.push(Running {
            machine,
            mailbox: Mailbox::new(fence, channels, common.mailbox_capacity),
            shadow: vec![VecDeque::new(); channels],
            most: 3 * (most_batches + checkpoint.most_windows_ahead() as usize + 4) + 1,
            most_batches,
            woken: i64::MIN,
            busy: false,
            told: WindowId::NONE,
        });
        targets.push(outputs);
    }
    Ok((attempt, targets))
}
