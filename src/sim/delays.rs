//! How long things take in a world: drawn, and nothing at all once the last fault is long over.

use crate::sim::faults::CommitFailure;
use crate::sim::world::World;

/// So many attempts at a request may be slow.
const SLOW_ATTEMPTS: u32 = 4;

impl World<'_> {
    /// Returns how long a control message is under way, in ms.
    pub(crate) fn message_delay(&mut self) -> i64 {
        let mut delay = self.schedule.between(0, self.settings.message_ms);
        if self.schedule.percent(self.settings.straggler_percent) {
            delay = delay * 10 + 5;
        }
        if let (1.., ms) = self.slow_messages {
            self.slow_messages.0 -= 1;
            delay += ms;
            self.last_fault = (self.now + ms as i64, self.step);
        }
        if self.is_settled() { 0 } else { delay as i64 }
    }

    /// Returns how long a job of the storage takes, in ms.
    pub(crate) fn storage_delay(&mut self) -> i64 {
        let mut delay = self.schedule.between(0, self.settings.storage_ms);
        if let (1.., ms) = self.slow_storage {
            self.slow_storage.0 -= 1;
            delay += ms;
            self.last_fault = (self.now + ms as i64, self.step);
        }
        if self.is_settled() { 0 } else { delay as i64 }
    }

    /// Returns how long a commit takes, in ms, and how it is to fail, if it is.
    pub(crate) fn commit_delay(&mut self) -> (i64, Option<CommitFailure>) {
        // It waits for the disk more than once.
        let delay = self.storage_delay() + self.storage_delay();
        let Some((commits, ms, failure)) = self.failing_commits.take() else { return (delay, None) };
        self.failing_commits = (commits > 1).then_some((commits - 1, ms, failure));
        self.last_fault = (self.now + ms as i64, self.step);
        (delay + ms as i64, Some(failure))
    }

    /// Returns how long a call of a source or a sink takes, in ms.
    pub(crate) fn call_delay(&mut self) -> i64 {
        let delay = self.schedule.between(0, self.settings.call_ms) as i64;
        if self.is_settled() { 0 } else { delay }
    }

    /// Returns how long this attempt at a request takes, in ms: now and then longer than anybody waits for it, but not every
    /// time that a request is made, which would be given up by chance.
    pub(crate) fn request_delay(&mut self, attempt: u32) -> i64 {
        let delay = self.schedule.pick(&[0, 0, 1, 5, 20, 60]);
        let delay = if self.schedule.percent(5) { delay + 150 } else { delay };
        if self.is_settled() || attempt > SLOW_ATTEMPTS { 0 } else { delay }
    }
}
