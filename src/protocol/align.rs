//! Markers and watermarks of several input channels, combined into one.
//!
//! A window ends at the subtask when the last channel has delivered its marker. If that marker asks for a snapshot,
//! each channel that has delivered it is blocked until the others have (aligned snapshots, as in Carbone et al.,
//! "Lightweight Asynchronous Snapshots for Distributed Dataflows"); a plain marker blocks nothing. With at-least-once no
//! marker does: records of the next window get into the snapshot, and are read again after a restart. The end does not:
//! a subtask that ended in a snapshot would take nothing of what its producers, which had not, send anew.

use std::collections::BTreeSet;

use piton_actors::{Timestamp, WATERMARK_MAX, WATERMARK_MIN, WindowId};

use crate::protocol::element::Marker;
use crate::protocol::mutant::{self, Mutant};

struct Channel {
    /// The last window whose marker it has delivered.
    window: WindowId,
    /// The last of these that ends with a snapshot.
    snapshot: WindowId,
    watermark: Timestamp,
    /// Whether its sender has said that nobody need wait for its watermark.
    idle: bool,
    blocked: bool,
    ended: bool,
}

/// Combines the watermarks of several, each with whether it is idle: the slowest that is not sets it; if all are, the fastest
/// does. (So it is in Flink. There, one that was idle is waited for only once it has caught up: here it is waited for at
/// once, so that of what it brings no more comes late than has to.)
pub(crate) fn combined(all: impl Iterator<Item = (Timestamp, bool)> + Clone) -> Option<Timestamp> {
    let active = all.clone().filter(|(_, idle)| !idle).map(|(watermark, _)| watermark);
    active.min().or_else(|| all.map(|(watermark, _)| watermark).max())
}

/// The channels of one subtask.
pub(crate) struct Aligner {
    channels: Vec<Channel>,
    /// The last window that has ended here.
    window: WindowId,
    /// Windows above that which end with a snapshot, as far as their markers have come.
    snapshots: BTreeSet<WindowId>,
    /// Whether a snapshot marker blocks its channel: exactly-once; not: at-least-once.
    blocks: bool,
    /// The last window with a snapshot that a channel had delivered before it ended.
    end_behind: WindowId,
    watermark: Timestamp,
}

impl Aligner {
    pub(crate) fn new(channels: usize, window: WindowId, blocks: bool) -> Aligner {
        let channel = || Channel {
            window,
            snapshot: window,
            watermark: WATERMARK_MIN,
            idle: false,
            blocked: false,
            ended: false,
        };
        Aligner {
            channels: (0..channels).map(|_| channel()).collect(),
            window,
            snapshots: BTreeSet::new(),
            blocks: blocks && !mutant::is(Mutant::NoAlignment),
            end_behind: window,
            watermark: WATERMARK_MIN,
        }
    }

    /// Returns whether elements of a channel may be taken.
    pub(crate) fn is_open(&self, channel: usize) -> bool {
        !self.channels[channel].blocked
    }

    /// Returns how far the event time of a channel is.
    pub(crate) fn reached(&self, channel: usize) -> Timestamp {
        self.channels[channel].watermark
    }

    /// Takes a marker of a channel.
    ///
    /// # Errors
    /// If the channel skipped or repeated a window: it lost or doubled elements.
    pub(crate) fn marker(&mut self, channel: usize, marker: Marker) -> Result<(), String> {
        let state = &mut self.channels[channel];
        if marker.window != state.window.next() {
            return Err(format!(
                "channel {channel} delivered the end of window {} after that of window {}",
                marker.window, state.window
            ));
        }
        state.window = marker.window;
        if marker.snapshot {
            self.snapshots.insert(marker.window);
            state.snapshot = marker.window;
            state.blocked = self.blocks;
        }
        Ok(())
    }

    /// Returns the next window that every channel has ended, if there is one, and counts it as ended here.
    pub(crate) fn next_ended(&mut self) -> Option<Marker> {
        let slowest = self.channels.iter().map(|channel| channel.window).min()?;
        if slowest <= self.window {
            return None;
        }
        self.window = self.window.next();
        Some(Marker { window: self.window, snapshot: self.snapshots.remove(&self.window) })
    }

    /// The snapshot of a window was taken, perhaps without waiting for its end: nothing waits for that any more, nor for
    /// one of a window before.
    pub(crate) fn taken(&mut self, window: WindowId) {
        self.snapshots.retain(|of| *of > window);
        self.end_behind = if self.end_behind > window { self.end_behind } else { WindowId::NONE };
        for channel in &mut self.channels {
            if channel.window <= window {
                channel.blocked = false;
            }
            if channel.snapshot <= window {
                channel.snapshot = WindowId::NONE;
            }
        }
    }

    /// Takes a watermark of a channel; returns the combined one if it has advanced.
    pub(crate) fn watermark(&mut self, channel: usize, watermark: Timestamp) -> Option<Timestamp> {
        let state = &mut self.channels[channel];
        state.watermark = state.watermark.max(watermark);
        state.idle = false;
        self.combine()
    }

    /// Waits for a channel's watermark no more, until it is heard of again; returns the combined one if it has advanced.
    pub(crate) fn idle(&mut self, channel: usize) -> Option<Timestamp> {
        self.channels[channel].idle = true;
        self.combine()
    }

    /// Waits for a channel's watermark again.
    pub(crate) fn active(&mut self, channel: usize) {
        self.channels[channel].idle = false;
    }

    /// Returns whether all channels are idle whose time has not run to its end.
    pub(crate) fn is_idle(&self) -> bool {
        let mut going = self.going().peekable();
        going.peek().is_some() && going.all(|channel| channel.idle)
    }

    fn going(&self) -> impl Iterator<Item = &Channel> + Clone {
        self.channels.iter().filter(|channel| channel.watermark != WATERMARK_MAX)
    }

    /// Channels that have come to the end of time count only among themselves: they must not take the others there while
    /// these are idle.
    fn combine(&mut self) -> Option<Timestamp> {
        let combined = if mutant::is(Mutant::WatermarkOfFastest) {
            self.channels.iter().map(|channel| channel.watermark).max()
        } else {
            combined(self.going().map(|channel| (channel.watermark, channel.idle)))
        };
        let combined = combined.unwrap_or(WATERMARK_MAX);
        if combined <= self.watermark {
            return None;
        }
        self.watermark = combined;
        Some(combined)
    }

    /// Returns the combined watermark.
    pub(crate) fn combined_watermark(&self) -> Timestamp {
        self.watermark
    }

    /// Sets the watermark of a subtask without input channels: its source's.
    pub(crate) fn set_watermark(&mut self, watermark: Timestamp) {
        self.watermark = self.watermark.max(watermark);
    }

    /// Returns whether snapshot markers block their channel.
    pub(crate) fn blocks(&self) -> bool {
        self.blocks
    }

    /// Returns each channel's watermark.
    pub(crate) fn watermarks(&self) -> Vec<Timestamp> {
        self.channels.iter().map(|channel| channel.watermark).collect()
    }

    /// Returns the last window whose marker each channel has delivered.
    pub(crate) fn windows(&self) -> Vec<WindowId> {
        self.channels.iter().map(|channel| channel.window).collect()
    }

    /// Puts back how far each channel was.
    pub(crate) fn restore_windows(&mut self, channels: &[WindowId]) {
        for (channel, window) in self.channels.iter_mut().zip(channels) {
            channel.window = *window;
        }
    }

    /// Puts the watermarks of a snapshot back.
    pub(crate) fn restore_watermarks(&mut self, combined: Timestamp, channels: &[Timestamp]) {
        self.watermark = combined;
        for (channel, watermark) in self.channels.iter_mut().zip(channels) {
            channel.watermark = *watermark;
        }
    }

    /// Takes the end of a channel.
    pub(crate) fn end(&mut self, channel: usize) {
        let state = &mut self.channels[channel];
        state.ended = true;
        self.end_behind = self.end_behind.max(state.snapshot);
    }

    /// Returns whether all channels have ended, and no snapshot is yet to be taken that one of them had not ended in.
    pub(crate) fn has_ended(&self) -> bool {
        self.end_behind <= self.window && self.channels.iter().all(|channel| channel.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(window: u64, snapshot: bool) -> Marker {
        Marker { window: WindowId(window), snapshot }
    }

    #[test]
    fn a_plain_marker_blocks_nothing_and_a_snapshot_marker_blocks_its_channel() {
        let mut aligner = Aligner::new(2, WindowId(0), true);
        aligner.marker(0, marker(1, false)).unwrap();
        aligner.marker(0, marker(2, false)).unwrap();
        assert!(aligner.is_open(0));
        assert_eq!(aligner.next_ended(), None);
        aligner.marker(0, marker(3, true)).unwrap();
        assert!(!aligner.is_open(0));
        aligner.marker(1, marker(1, false)).unwrap();
        assert_eq!(aligner.next_ended(), Some(marker(1, false)));
        assert_eq!(aligner.next_ended(), None);
        aligner.taken(WindowId(1));
        assert!(!aligner.is_open(0), "it waits at window 3");
        aligner.marker(1, marker(2, false)).unwrap();
        aligner.marker(1, marker(3, true)).unwrap();
        assert_eq!(aligner.next_ended(), Some(marker(2, false)));
        assert_eq!(aligner.next_ended(), Some(marker(3, true)));
        aligner.taken(WindowId(3));
        assert!(aligner.is_open(0) && aligner.is_open(1));
    }

    #[test]
    fn a_snapshot_that_was_taken_is_not_waited_for() {
        let mut aligner = Aligner::new(2, WindowId(0), true);
        aligner.marker(0, marker(1, true)).unwrap();
        assert!(!aligner.is_open(0));
        aligner.taken(WindowId(2));
        assert!(aligner.is_open(0));
        aligner.marker(1, marker(1, false)).unwrap();
        assert_eq!(aligner.next_ended(), Some(marker(1, false)), "that of window 2 came after it");
    }

    #[test]
    fn without_alignment_no_marker_blocks_and_a_window_still_ends_with_the_last_one() {
        let mut aligner = Aligner::new(2, WindowId(0), false);
        aligner.marker(0, marker(1, true)).unwrap();
        aligner.marker(0, marker(2, true)).unwrap();
        assert!(aligner.is_open(0) && aligner.is_open(1));
        assert_eq!(aligner.next_ended(), None);
        aligner.marker(1, marker(1, true)).unwrap();
        assert_eq!(aligner.next_ended(), Some(marker(1, true)));
        assert_eq!(aligner.next_ended(), None);
    }

    #[test]
    fn an_end_behind_a_snapshot_waits_for_the_snapshot() {
        let mut aligner = Aligner::new(2, WindowId(4), false);
        aligner.marker(0, marker(5, true)).unwrap();
        aligner.end(0);
        aligner.end(1);
        assert!(!aligner.has_ended(), "the first channel had not ended in window 5");
        aligner.marker(1, marker(5, true)).unwrap();
        assert_eq!(aligner.next_ended(), Some(marker(5, true)));
        assert!(aligner.has_ended());

        let mut aligner = Aligner::new(2, WindowId(4), true);
        aligner.end(0);
        aligner.marker(0, marker(5, true)).unwrap();
        assert!(!aligner.has_ended());
        aligner.end(1);
        assert!(aligner.has_ended(), "both have ended in window 5");
    }

    #[test]
    fn a_skipped_or_repeated_window_is_an_error() {
        let mut aligner = Aligner::new(1, WindowId(4), true);
        assert!(aligner.marker(0, marker(6, false)).is_err());
        aligner.marker(0, marker(5, false)).unwrap();
        assert!(aligner.marker(0, marker(5, false)).is_err());
    }

    #[test]
    fn the_slowest_channel_sets_the_watermark() {
        let mut aligner = Aligner::new(2, WindowId(0), true);
        assert_eq!(aligner.watermark(0, 10), None);
        assert_eq!(aligner.watermark(1, 5), Some(5));
        assert_eq!(aligner.watermark(1, 4), None, "a watermark never goes back");
        assert_eq!(aligner.watermark(1, 20), Some(10));
    }

    #[test]
    fn an_idle_channel_is_not_waited_for_and_waited_for_again() {
        let mut aligner = Aligner::new(3, WindowId(0), true);
        assert_eq!(aligner.watermark(0, 10), None);
        assert_eq!(aligner.watermark(1, 50), None);
        assert_eq!(aligner.idle(2), Some(10), "a channel that has said nothing yet");
        assert_eq!(aligner.idle(0), Some(50));
        assert!(!aligner.is_idle());
        assert_eq!(aligner.watermark(0, 40), None, "it does not go back");
        assert_eq!(aligner.watermark(1, 90), None, "it is waited for again");
        assert_eq!(aligner.watermark(0, 60), Some(60));
        aligner.active(2);
        assert_eq!(aligner.watermark(0, 80), None);
        assert_eq!(aligner.idle(2), Some(80));
    }

    #[test]
    fn when_all_are_idle_the_fastest_sets_the_watermark() {
        let mut aligner = Aligner::new(2, WindowId(0), true);
        aligner.watermark(0, 10);
        aligner.watermark(1, 50);
        assert_eq!(aligner.idle(1), None);
        assert_eq!(aligner.idle(0), Some(50));
        assert!(aligner.is_idle());
        aligner.active(0);
        assert!(!aligner.is_idle());
    }

    #[test]
    fn an_end_takes_no_idle_channel_to_the_end_of_time() {
        let mut aligner = Aligner::new(2, WindowId(0), true);
        aligner.watermark(0, 10);
        aligner.watermark(1, 20);
        assert_eq!(aligner.idle(0), Some(20));
        assert_eq!(aligner.watermark(1, WATERMARK_MAX), None);
        assert!(aligner.is_idle(), "all that have not ended");
        assert_eq!(aligner.watermark(0, 30), Some(30));
        assert_eq!(aligner.watermark(0, WATERMARK_MAX), Some(WATERMARK_MAX));
        assert!(!aligner.is_idle());
    }
}
