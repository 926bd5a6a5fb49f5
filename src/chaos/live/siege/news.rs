//! What the job and its process tell, and what is made of it.

use super::{Phase, Siege};
use crate::chaos::invariants::InvariantId;
use crate::chaos::live::events::{Seen, What};
use crate::chaos::wire::Told;
use crate::config::Scope;
use crate::error::Result;

impl Siege<'_> {
    /// Hears what the job and its process have to tell.
    pub(super) fn hear(&mut self) -> Result {
        while let Some(told) = self.alive.as_ref().and_then(|alive| alive.process.told()) {
            self.told(told);
        }
        for event in self.tail.next()? {
            self.happened(event);
        }
        Ok(())
    }

    fn told(&mut self, told: Told) {
        match told {
            Told::Struck { fault, subtask } => {
                self.hits.struck(fault, subtask, self.clock.now());
                let hit = self.hits.all().iter().find(|hit| hit.fault.number == fault);
                let Some(hit) = hit else { return };
                if let Some(region) = hit.region.clone()
                    && let Some(region) = self.done.regions.iter_mut().find(|known| known.name == region)
                {
                    region.hit += 1;
                }
                if hit.fault.kind.is_deadly()
                    && let Some(alive) = &mut self.alive
                {
                    alive.doom = Some(fault);
                }
            }
            Told::Missed { fault, why } => self.hits.missed(fault, why),
        }
    }

    fn happened(&mut self, event: Seen) {
        let now = self.elapsed();
        match event.what {
            What::Started { resumed_from } => {
                if let Some(alive) = &mut self.alive {
                    alive.has_started = true;
                }
                for (region, window) in resumed_from {
                    let before = self.committed.insert(region.clone(), window).unwrap_or(0);
                    if window < before {
                        self.done.checkpoints.lost += 1;
                        self.broken(&InvariantId::HeadNeverBack.broken(format!(
                            "region \"{region}\" goes on from window {window}, but window {before} was committed"
                        )));
                    }
                }
            }
            What::CheckpointStarted { region, window } => self.hits.checkpoint_started(region, window, event.at),
            What::Committed { region, window } => {
                let before = self.committed.insert(region.clone(), window).unwrap_or(0);
                if window <= before {
                    self.done.checkpoints.lost += 1;
                    self.broken(
                        &InvariantId::CommittedIncreases.broken(format!(
                            "region \"{region}\": window {window} was committed after window {before}"
                        )),
                    );
                }
                self.hits.committed(&region, window, event.at);
                let gap = now - self.last_commit_ms.unwrap_or(0);
                let checkpoints = &mut self.done.checkpoints;
                checkpoints.longest_gap_ms = checkpoints.longest_gap_ms.max(gap);
                checkpoints.complete += 1;
                checkpoints.at_ms.push(u64::try_from(event.at - self.start).unwrap_or(0));
                self.last_commit_ms = Some(now);
                self.commits_since_faults += u64::from(self.phase > Phase::Faults);
                self.barren = 0;
                if let Some(alive) = &mut self.alive {
                    alive.has_committed = true;
                }
            }
            What::CheckpointFailed { reason } => {
                self.done.checkpoints.failed += 1;
                if reason.contains("timeout") || reason.contains("expired") {
                    tracing::debug!(reason, "a checkpoint has expired");
                }
            }
            What::Restarted(restarted) => {
                if let Some(region) = self.done.regions.iter_mut().find(|region| region.name == restarted.region) {
                    region.restarts += 1;
                }
                if !self.hits.restarted(&restarted, event.at) {
                    self.unexplained.push((now, event.at, *restarted));
                }
            }
            What::Hung { operator, subtask } => tracing::debug!(operator, subtask, "hung"),
            What::Failed { reason } => tracing::debug!(reason, "the job has given up"),
            What::Finished { .. } | What::Other => {}
        }
    }

    /// Judges the restarts that nothing was known to have caused when they were seen, so many ms ago.
    pub(super) fn judge_restarts(&mut self, ago: u64) {
        let now = self.elapsed();
        let follows = self.spec.topology.settings.recovery.scope == Scope::Job;
        for (seen, at, restarted) in std::mem::take(&mut self.unexplained) {
            if self.hits.restarted(&restarted, at) || follows {
                continue;
            }
            if now < seen + ago {
                self.unexplained.push((seen, at, restarted));
                continue;
            }
            if let Some(region) = self.done.regions.iter_mut().find(|region| region.name == restarted.region) {
                region.unexplained += 1;
            }
            self.broken(&InvariantId::RegionsApart.broken(format!(
                "region \"{}\" was restarted, and nothing had hit it: {}",
                restarted.region, restarted.reason
            )));
        }
    }
}
