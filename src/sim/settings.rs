//! What a run is set to: drawn from the seed, so that tight and generous settings are both met.

use crate::config::{Duration, Limit, Mode, OnPoison, RestartStrategy, Scope};
use crate::protocol::coordinator::CheckpointSettings;
use crate::protocol::ladder::LadderSettings;
use crate::sim::random::Random;

/// The settings of one run; times in ms of virtual time.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How many batches a channel of a mailbox holds.
    pub(crate) mailbox: usize,
    /// How many rows a batch holds.
    pub(crate) batch_rows: usize,
    pub(crate) checkpoint: CheckpointSettings,
    /// Not drawn: a run is asked for one of them.
    pub(crate) mode: Mode,
    pub(crate) restart: RestartStrategy,
    pub(crate) ladder: LadderSettings,
    /// How long a control message is under way at most.
    pub(crate) message_ms: u64,
    /// How many of a hundred control messages take ten times as long.
    pub(crate) straggler_percent: u64,
    /// How long a call of a source or a sink takes at most.
    pub(crate) call_ms: u64,
    /// How long a job of the storage takes at most.
    pub(crate) storage_ms: u64,
    /// In how many of a hundred steps a ms passes.
    pub(crate) ms_percent: u64,
    /// In how many of a hundred steps something that is due goes before the data.
    pub(crate) due_percent: u64,
    /// In how many of a hundred steps a slow subtask gets its turn.
    pub(crate) slow_percent: u64,
    /// Which subtasks are slow: those whose number has this remainder by three.
    pub(crate) slow: u64,
    /// How long a process that crashed is down at most.
    pub(crate) down_ms: u64,
}

impl Settings {
    pub(crate) fn draw(random: &mut Random, mode: Mode) -> Settings {
        let window_ms = random.between(4, 40);
        let max_concurrent = random.pick(&[1, 1, 2]);
        let storage_ms = random.pick(&[0, 2, 10, 40]);
        let mut settings = Settings {
            mailbox: random.between(1, 8) as usize,
            batch_rows: random.between(1, 16) as usize,
            checkpoint: CheckpointSettings {
                window_ms,
                every: random.between(1, 4),
                timeout_ms: random.pick(&[60_000, 60_000, 2_000, 600]),
                min_pause_ms: random.pick(&[0, 0, 5, 50]),
                max_concurrent,
                tolerable_failures: random.pick(&[None, None, Some(0), Some(2)]),
                aligned_timeout_ms: None,
            },
            mode,
            restart: RestartStrategy::FixedDelay {
                attempts: Limit::Unlimited,
                delay: Duration::from_millis(random.pick(&[0, 1, 10, 50])),
            },
            ladder: LadderSettings {
                scope: match random.below(10) {
                    0..4 => Scope::Batch,
                    4..6 => Scope::Operator,
                    _ => Scope::Region,
                },
                poison_after: random.pick(&[5, 9]),
                on_poison: random.pick(&[OnPoison::DeadLetter, OnPoison::DeadLetter, OnPoison::Skip]),
                journal: random.pick(&[1 << 26, 1 << 26, 1 << 26, 1 << 14, 1 << 10]),
            },
            message_ms: random.pick(&[0, 1, 5, 20]),
            straggler_percent: random.pick(&[0, 2, 10]),
            call_ms: random.pick(&[0, 1, 5]),
            storage_ms,
            ms_percent: random.pick(&[5, 20, 50]),
            due_percent: random.pick(&[30, 60, 90]),
            slow_percent: random.pick(&[100, 100, 30, 8]),
            slow: random.below(3),
            down_ms: random.pick(&[0, 10, 100]),
        };
        if max_concurrent == 1 && mode == Mode::ExactlyOnce {
            settings.checkpoint.aligned_timeout_ms =
                random.pick(&[None, None, None, Some(0), Some(0), Some(1), Some(20)]);
        }
        settings
    }
}
