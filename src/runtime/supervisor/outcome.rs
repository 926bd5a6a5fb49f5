//! What is said of a job when it is over.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::Supervisor;
use crate::ids::WindowId;

/// How a job has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the input of every region has ended.
    pub finished: bool,
    /// The last committed window of each region.
    pub windows: BTreeMap<String, WindowId>,
    /// How many records the sources have emitted since the job first began.
    pub records_in: u64,
    /// How many records the sinks have taken since the job first began.
    pub records_out: u64,
    /// How many restarts of regions there were in this process.
    pub restarts: u64,
    /// Why regions gave up; empty if none did.
    pub failures: Vec<String>,
    /// Whether it was cancelled: there is no checkpoint of what it did last.
    pub cancelled: bool,
    /// How often each promise was broken in this process, by its name; empty, unless something is very wrong.
    pub broken: BTreeMap<&'static str, u64>,
}

impl Supervisor {
    /// Returns how the job has ended, once it has.
    pub(super) fn outcome_now(&self) -> Outcome {
        let gauges = || self.regions.iter().flat_map(|region| &region.gauges);
        Outcome {
            finished: self.regions.iter().all(|region| region.finished),
            windows: self.regions.iter().map(|region| (region.machine.name().to_string(), region.committed)).collect(),
            records_in: gauges().map(|gauges| gauges.read.load(Ordering::Relaxed)).sum(),
            records_out: gauges().map(|gauges| gauges.written.load(Ordering::Relaxed)).sum(),
            restarts: self.restarts,
            failures: self.failures.clone(),
            cancelled: self.asked.cancelled,
            broken: self.promises.broken().clone(),
        }
    }
}
