//! How long a run may take before it counts as stuck.
//!
//! A deadlock shows in that no record moves any more, a livelock in that a run goes on and on. For the first it is enough
//! to know how much stands between two records that move: time, markers and checkpoints, in proportion to the channels of
//! the job. For the second it has to be known how long the run takes if nothing fails: behind its last fault it has to do
//! all of that once more at worst. A run without faults in turn ends by itself, unless it restarts again and again.

/// See the module. Steps are those of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// For how much virtual time nothing may move, in ms.
    pub(crate) idle_ms: i64,
    /// For how many steps nothing may move.
    pub(crate) idle: u64,
    /// How many steps there may be behind the last fault.
    pub(crate) total: u64,
    /// How often something may be restarted.
    pub(crate) restarts: u64,
    /// How often of that it may be a whole region.
    pub(crate) regions: u64,
}

/// How large a job is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// How many channels there are between subtasks.
    pub(crate) channels: u64,
    /// How many rows all sources give together at most.
    pub(crate) rows: u64,
}

/// What a run of a small job takes at most.
const STEPS: u64 = 60_000;
/// What most runs of a small job take.
const FEW: u64 = 6_000;
/// How many steps a channel takes at most to pass a marker on, with all that belongs to it, many times over.
const FOR_CHANNEL: u64 = 100;
/// How many channels most of the jobs that are made up have at most.
const FEW_CHANNELS: u64 = 40;
/// How often the regions of a small job are restarted at most, a few times over.
const REGIONS: u64 = 1_000;
/// How often a run may take as long as it does without faults: some of it is read again with another parallelism.
const AGAIN: u64 = 4;

impl Patience {
    /// What a verdict on a job that was made up takes: it is small.
    pub(crate) const FULL: Patience =
        Patience { idle_ms: 200_000, idle: STEPS, total: STEPS, restarts: u64::MAX, regions: REGIONS };

    /// What a guess takes: nearly all sound runs of a job that was made up have ended by then.
    pub(crate) const SHORT: Patience = Patience { total: FEW, ..Patience::FULL };

    /// What it takes for a job that was made up with so many channels, each of which every window has to pass; and if
    /// somebody outside is asked, who takes his time, more windows go by.
    pub(crate) fn made_up(self, channels: u64, asks: bool) -> Patience {
        let total = self.total.saturating_mul(FEW_CHANNELS + channels) / FEW_CHANNELS;
        Patience { total: total.saturating_mul(if asks { AGAIN } else { 1 }), ..self }
    }

    /// What a run without faults takes: each row may cause a restart or two by itself, but not for ever.
    pub(crate) fn quiet(size: Size) -> Patience {
        let restarts = size.rows.saturating_mul(2).saturating_add(100);
        Patience { total: u64::MAX, restarts, regions: restarts, ..Patience::of(size, 0) }
    }

    /// What a verdict takes on a job that takes so many steps without faults.
    pub(crate) fn of(size: Size, calm: u64) -> Patience {
        let idle = STEPS.saturating_add(size.channels.saturating_mul(FOR_CHANNEL));
        let regions = REGIONS.saturating_add(size.rows.saturating_mul(2));
        Patience { idle, total: idle.saturating_add(calm.saturating_mul(AGAIN)), regions, ..Patience::FULL }
    }

    /// What a guess takes if one with this patience was wrong, and a verdict takes so much.
    pub(crate) fn longer(self, full: Patience) -> Patience {
        Patience { total: self.total.saturating_mul(3).min(full.total), ..self }
    }

    /// What a guess takes, of such a job.
    pub(crate) fn short(size: Size, calm: u64) -> Patience {
        let idle = FEW.saturating_add(size.channels.saturating_mul(FOR_CHANNEL / 10));
        Patience { idle, total: idle.saturating_add(calm.saturating_mul(2)), ..Patience::FULL }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_job_takes_what_one_that_was_made_up_takes_and_a_large_one_more() {
        let small = Patience::of(Size { channels: 0, rows: 100 }, 0);
        assert_eq!(small, Patience { regions: small.regions, ..Patience::FULL });
        let large = Size { channels: 108, rows: 8_000 };
        let patience = Patience::of(large, 300_000);
        assert!(patience.total > 1_200_000 && patience.idle < 80_000, "{patience:?}");
        assert!(Patience::short(large, 300_000).total > 600_000);
        assert_eq!(Patience::FULL.made_up(0, false), Patience::FULL);
        assert_eq!(Patience::FULL.made_up(40, false).total, 120_000);
        assert_eq!(Patience::SHORT.made_up(20, true).total, 36_000);
        let endless = Size { channels: u64::MAX, rows: u64::MAX };
        assert_eq!(Patience::quiet(endless).restarts, u64::MAX);
    }
}
