//! Faults strike when their step has come.

use super::World;
use crate::protocol::coordinator;
use crate::protocol::region::{self, Region};
use crate::sim::coverage::Phase;
use crate::sim::faults::{Fault, Planned};
use crate::sim::happening::Happening;
use crate::sim::outside::Armed;
use crate::sim::trace::What;

impl World<'_> {
    pub(super) fn strike(&mut self) {
        while self.faults.front().is_some_and(|planned| planned.step <= self.step) {
            let Some(Planned { fault, .. }) = self.faults.pop_front() else { return };
            self.trace.note(self.step, self.now, What::Fault, (0, 0), self.faults.len() as u64);
            self.last_fault = (self.now, self.step);
            if !matches!(fault, Fault::Hook { .. }) {
                self.stats.faults += 1;
                self.coverage.note(fault.kind(), &self.phases());
            }
            self.apply(fault);
        }
    }

    fn apply(&mut self, fault: Fault) {
        let up = self.regions.iter().any(|region| region.machine.is_some());
        match fault {
            Fault::Hook { whom, hook, act, after } => self.outside.arm(Armed { whom, hook, act, after }),
            Fault::Crash { power } if up => self.crash(power),
            Fault::Crash { .. } => {}
            Fault::CrashInStorage { call, power } => self.storage.crash_at(call, power),
            Fault::Disk { after, calls } => self.storage.fail(after, calls),
            Fault::RefuseWrites { jobs } => self.refused_writes += jobs,
            Fault::Decay { bits } => (0..bits).for_each(|_| self.storage.decay()),
            Fault::SlowStorage { jobs, ms } => self.slow_storage = (jobs, ms),
            Fault::FailCommits { commits, ms, failure } => {
                self.failing_commits = (commits > 0).then_some((commits, ms, failure));
            }
            Fault::SlowMessages { messages, ms } => self.slow_messages = (messages, ms),
            Fault::Stall { subtask, ms } => {
                let until = self.now + ms as i64;
                self.stalled = self.job.find(&subtask).map(|(region, number)| (region, number, until));
                self.last_fault = (until, self.step);
            }
            Fault::Lose { subtask } => self.losing = self.job.find(&subtask),
            Fault::Stop | Fault::Rescale => {
                self.rescaling |= fault == Fault::Rescale && self.variants.len() > 1;
                for region in 0..self.regions.len() {
                    self.tell_region(region, region::Event::Stop);
                }
            }
            Fault::Trigger => {
                for region in 0..self.regions.len() {
                    if let Some(fence) = self.regions[region].machine.as_ref().map(Region::fence) {
                        let trigger = coordinator::Event::Trigger;
                        self.tell_region(region, region::Event::Coordinator(fence, trigger));
                    }
                }
            }
        }
    }

    /// Returns what the job is at.
    pub(super) fn phases(&self) -> Vec<Phase> {
        let mut phases = Vec::new();
        if self.queue.values().any(|happening| matches!(happening, Happening::Commit(..))) {
            phases.push(Phase::Committing);
        }
        if self.queue.values().any(|happening| matches!(happening, Happening::Write(..))) {
            phases.push(Phase::Writing);
        }
        for (region, run) in self.regions.iter().enumerate().filter(|(_, run)| run.machine.is_some()) {
            let Some(attempt) = &run.attempt else {
                phases.push(Phase::Restoring);
                continue;
            };
            let head = self.outside.head(region);
            for (running, is_sink) in attempt.subtasks.iter().zip(&self.job.layouts[region].sinks) {
                if !running.machine.is_open() {
                    phases.push(Phase::Restoring);
                }
                if running.machine.is_recovering() {
                    phases.push(Phase::Replaying);
                }
                if *is_sink && running.told < head {
                    phases.push(Phase::Publishing);
                }
                if running.holds_markers() {
                    phases.push(Phase::Aligning);
                }
            }
        }
        phases.sort_unstable();
        phases.dedup();
        if phases.is_empty() && self.regions.iter().any(|run| run.attempt.is_some()) {
            phases.push(Phase::Flowing);
        }
        phases
    }
}
