//! What the job and its process tell, and what is made of it.

use std::collections::BTreeSet;

use super::{Phase, Siege};
use crate::chaos::invariants::InvariantId;
use crate::chaos::live::events::{Restarted, Seen, Usual, What};
use crate::chaos::report::Region;
use crate::chaos::wire::Told;
use crate::config::Scope;
use crate::error::Result;
use crate::topology::Plan;

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
                self.count_restart(&restarted.region, |region| &mut region.restarts);
                if is_by_itself(self.spec.topology, &self.spec.usual, &restarted) {
                    self.count_restart(&restarted.region, |region| &mut region.by_itself);
                } else if !self.hits.restarted(&restarted, event.at) {
                    self.unexplained.push((now, event.at, *restarted));
                }
            }
            What::Hung { operator, subtask } => tracing::debug!(operator, subtask, "hung"),
            What::Failed { reason } => tracing::debug!(reason, "the job has given up"),
            What::Violated(violation) => self.broken(&violation),
            What::Finished { .. } | What::Other => {}
        }
    }

    fn count_restart(&mut self, name: &str, which: fn(&mut Region) -> &mut u64) {
        if let Some(region) = self.done.regions.iter_mut().find(|region| region.name == name) {
            *which(region) += 1;
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
            self.count_restart(&restarted.region, |region| &mut region.unexplained);
            self.broken(&InvariantId::RegionsApart.broken(format!(
                "region \"{}\" was restarted, and nothing had hit it: {}",
                restarted.region, restarted.reason
            )));
        }
    }
}

/// Returns whether a restart is the job's own doing: user code of that very region has failed and no fault has made it,
/// or the same is restarted when there are none at all. What fails in one region is no excuse for another.
fn is_by_itself(topology: &Plan, usual: &BTreeSet<Usual>, restarted: &Restarted) -> bool {
    let Some(node) = topology.node(&restarted.operator) else { return false };
    let region = &topology.regions[topology.region_of(topology.chain_of(node))].name;
    let is_native = **region == *restarted.region;
    is_native && !restarted.is_meant() && (restarted.is_of_user_code() || usual.contains(&restarted.usual()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::failure::MEANT;
    use crate::topology::testing::plan;

    const JOB: &str = "[sources.numbers]\ntype = \"numbers\"\nlimit = 1\n[operators.count]\ntype = \"count\"\n\
                       inputs = [\"numbers\"]\n[sinks.out]\ntype = \"keep\"\ninputs = [\"count\"]\n\
                       [sources.others]\ntype = \"numbers\"\nlimit = 1\n[sinks.copy]\ntype = \"keep\"\ninputs = [\"others\"]\n";

    fn restarted(region: &str, operator: &str, cause: &str, said: &str) -> Restarted {
        Restarted {
            region: region.into(),
            operator: operator.into(),
            subtask: None,
            scope: "region".into(),
            replayed: 0,
            took_ms: 1.0,
            cause: cause.into(),
            reason: format!("\"{operator}\" failed: {said}"),
        }
    }

    #[test]
    fn who_fails_alone_restarts_by_itself_and_whom_it_drags_along_does_not() {
        let plan = plan(JOB);
        let is = |restarted: &Restarted| is_by_itself(&plan, &BTreeSet::new(), restarted);
        assert!(is(&restarted("numbers", "count", "panic", "a bad row")));
        assert!(is(&restarted("numbers", "count", "error", "a bad row")));
        for disturbed in [
            restarted("others", "count", "panic", "a bad row"),
            restarted("numbers", "copy", "error", "a bad row"),
            restarted("numbers", "count", "panic", MEANT),
            restarted("numbers", "count", "engine", "an element was lost"),
            restarted("others", "others", "engine", "the store has to be opened again"),
        ] {
            assert!(!is(&disturbed), "{disturbed:?}");
        }
    }

    #[test]
    fn what_happens_without_faults_too_is_nobodys_doing() {
        let plan = plan(JOB);
        let hung = restarted("numbers", "count", "hung", "a call of it got nowhere");
        let usual = BTreeSet::from([hung.usual()]);
        assert!(is_by_itself(&plan, &usual, &hung) && !is_by_itself(&plan, &BTreeSet::new(), &hung));
        assert!(!is_by_itself(&plan, &usual, &restarted("numbers", "count", "engine", "an element was lost")));
        assert!(!is_by_itself(&plan, &usual, &restarted("others", "count", "hung", "a call of it got nowhere")));
    }
}
