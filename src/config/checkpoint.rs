//! `[checkpoint]`: when and how state is made durable.

use serde::{Deserialize, Serialize};

use crate::config::units::{Duration, Limit};

/// `[checkpoint]`: when and how state is made durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointSettings {
    /// How often a checkpoint is taken; rounded up to a multiple of the window interval.
    pub interval: Duration,
    /// What a crash may do to the results: nothing (`"exactly-once"`), or repeat rows (`"at-least-once"`, which never
    /// blocks an input that is ahead).
    pub mode: Mode,
    /// Whether a subtask waits for the marker on all of its inputs (`"aligned"`), or saves what is queued instead
    /// (`"unaligned"`).
    pub alignment: Alignment,
    /// After how long an aligned checkpoint goes on unaligned. Default: never.
    pub aligned_timeout: Option<Duration>,
    /// After how long a checkpoint is given up, and with it the stop that waits for one.
    pub timeout: Duration,
    /// How long nothing is checkpointed after a checkpoint, unless somebody asks for it.
    pub min_pause: Duration,
    /// How many checkpoints may be under way at once.
    pub max_concurrent: u32,
    /// How many checkpoints in a row may fail before the region restarts: a number or `"unlimited"`. They expired, or could
    /// not be written or committed; those that a newer one replaced, or a restart cut short, do not count.
    pub tolerable_failures: Limit,
    /// How many checkpoints are kept. Savepoints do not count.
    pub retain: u32,
    /// After how long savepoints, and all checkpoints but the newest, are removed; looked at when the job starts and when
    /// it stops. Default: never.
    pub expires: Option<Duration>,
    /// What happens to the checkpoints of a job that is cancelled; savepoints stay.
    pub on_cancel: OnCancel,
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        CheckpointSettings {
            interval: Duration::from_secs(1),
            mode: Mode::ExactlyOnce,
            alignment: Alignment::Aligned,
            aligned_timeout: None,
            timeout: Duration::from_secs(600),
            min_pause: Duration::ZERO,
            max_concurrent: 1,
            tolerable_failures: Limit::Unlimited,
            retain: 3,
            expires: None,
            on_cancel: OnCancel::Retain,
        }
    }
}

/// What a crash may do to the results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nothing.
    #[default]
    ExactlyOnce,
    /// Rows may repeat.
    AtLeastOnce,
}

/// What a subtask does with a marker that came by one input and not yet by another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alignment {
    /// It waits.
    #[default]
    Aligned,
    /// It saves what is queued and goes on.
    Unaligned,
}

/// What happens to the checkpoints of a job that is cancelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnCancel {
    /// They stay.
    #[default]
    Retain,
    /// They are deleted.
    Delete,
}
