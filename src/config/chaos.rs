//! `[chaos]`: what may be done to a job to see whether it keeps its promises.

use serde::{Deserialize, Serialize};

use crate::config::checkpoint::Mode;
use crate::config::units::{Bytes, Duration};

/// `[chaos]`: what `piton chaos` and `piton sim` may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChaosSettings {
    /// What every choice comes from. Default: random, and always printed.
    pub seed: Option<u64>,
    /// How long faults go on.
    pub duration: Duration,
    /// How long the job runs before the first fault.
    pub warmup: Duration,
    /// The mean time from one fault to the next.
    pub mean_interval: Duration,
    /// How long the job has to be well again after the last fault.
    pub settle: Duration,
    /// How many faults may go on at once.
    pub max_concurrent_faults: u32,
    /// Whether there may be a fault while the job recovers from another.
    pub allow_during_recovery: bool,
    /// Which operators, sources and sinks may be hit: names, with `*` for any part of one.
    pub targets: Vec<String>,
    /// How often each kind of fault is chosen.
    pub weights: ChaosWeights,
    /// Faults at exact points.
    pub at: Vec<ChaosPoint>,
    /// What has to hold in the end.
    pub expect: ChaosExpectation,
}

impl Default for ChaosSettings {
    fn default() -> Self {
        ChaosSettings {
            seed: None,
            duration: Duration::from_secs(60),
            warmup: Duration::from_secs(3),
            mean_interval: Duration::from_millis(800),
            settle: Duration::from_secs(10),
            max_concurrent_faults: 2,
            allow_during_recovery: true,
            targets: vec!["*".to_string()],
            weights: ChaosWeights::default(),
            at: Vec::new(),
            expect: ChaosExpectation::default(),
        }
    }
}

/// `[chaos.weights]`: how often each kind of fault is chosen, in proportion to the others; 0: never.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChaosWeights {
    /// An operator panics.
    pub panic: u32,
    /// A call does not return.
    pub hang: u32,
    /// A call takes long.
    pub slow: u32,
    /// An actor vanishes.
    pub kill_actor: u32,
    /// The supervisor vanishes.
    pub kill_supervisor: u32,
    /// The process is killed.
    pub process_kill9: u32,
    /// The process stands still for a while.
    pub process_pause: u32,
    /// An acknowledgement of a checkpoint is lost.
    pub drop_ack: u32,
    /// `committed` is told twice.
    pub dup_commit: u32,
    /// A write of the store fails.
    pub store_eio: u32,
    /// The disk is full.
    pub store_enospc: u32,
    /// The disk is slow.
    pub store_slow: u32,
    /// A bit of what is stored flips.
    pub bitflip: u32,
}

impl Default for ChaosWeights {
    fn default() -> Self {
        ChaosWeights {
            panic: 6,
            hang: 1,
            slow: 2,
            kill_actor: 4,
            kill_supervisor: 1,
            process_kill9: 2,
            process_pause: 1,
            drop_ack: 1,
            dup_commit: 1,
            store_eio: 1,
            store_enospc: 1,
            store_slow: 1,
            bitflip: 0,
        }
    }
}

/// `[[chaos.at]]`: a fault at an exact point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChaosPoint {
    /// Whom it hits: `"count"`, or one subtask, `"count[1]"`.
    pub operator: String,
    /// Where: the name of a hook.
    pub point: String,
    /// What happens there: `"panic"`, `"hang"`, `"slow"`.
    pub action: String,
    /// When: `"nth(3)"`. Default: the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
}

/// `[chaos.expect]`: what has to hold in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChaosExpectation {
    /// What the output is like, compared with that of a run without faults.
    pub output: Mode,
    /// How long 99 of 100 recoveries take at most. Default: any time.
    pub recovery_p99: Option<Duration>,
    /// How much memory the process takes at most. Default: any amount.
    pub max_rss: Option<Bytes>,
}
