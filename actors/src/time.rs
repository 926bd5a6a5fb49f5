//! Event time: timestamps, watermarks and timers.

use serde::{Deserialize, Serialize};

use crate::key::Key;

/// Milliseconds since 1970-01-01 00:00 UTC.
pub type Timestamp = i64;

/// The watermark before any was seen.
pub const WATERMARK_MIN: Timestamp = Timestamp::MIN;

/// The watermark of a stream that has ended: every event-time timer is due.
pub const WATERMARK_MAX: Timestamp = Timestamp::MAX;

/// Which clock a timer goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TimerKind {
    /// Due when the watermark has reached it.
    Event,
    /// Due when the engine's clock has reached it.
    Processing,
}

/// A timer that is due. Timers are kept once per (kind, key, time): setting one twice fires it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// The time it was set for, in ms.
    pub at: Timestamp,
    /// The key that was current when it was set; keyed state of this key is in reach while it fires.
    pub key: Key,
    /// Which clock it went by.
    pub kind: TimerKind,
}
