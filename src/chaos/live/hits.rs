//! What becomes of the faults of a plan: when each was let happen, when it had an effect, and when the job was well again.
//!
//! What the job tells does not name faults, so it is put down to the oldest one that it can come from: a restart to a
//! fault of the same operator, a commit to everything that happened before its checkpoint began.

use std::collections::{BTreeMap, BTreeSet};

use crate::chaos::kind::{FaultKind, Reach};
use crate::chaos::live::events::Restarted;
use crate::chaos::plan::{ChaosPlan, PlannedFault};
use crate::chaos::report::{self, Kind, Spread};
use crate::chaos::target::Target;

/// How long a fault that does not seem to have any effect keeps others from happening, in ms.
const PATIENCE_MS: i64 = 30_000;

/// What is said of a kind of fault that no recovery time was measured for.
pub(super) const UNMEASURED: &str = "no recovery time was measured: nothing was restarted for it";

/// What became of one fault. Times are in ms since 1970.
#[derive(Clone, Debug)]
pub(super) struct Hit {
    pub(super) fault: PlannedFault,
    /// The region that it is meant for; nothing: all of them.
    pub(super) region: Option<String>,
    pub(super) injected: Option<i64>,
    pub(super) struck: Option<i64>,
    subtask: Option<u32>,
    /// Whether its process has ended since: what is restarted after that is restarted for something else.
    is_past: bool,
    took_ms: Option<f64>,
    replayed: Option<u64>,
    scope: Option<String>,
    committed: Option<i64>,
    /// Whether the job has come to its end after it.
    outlived: bool,
    pub(super) remark: Option<String>,
}

/// What became of all faults of a plan.
pub(super) struct Hits {
    all: Vec<Hit>,
    /// The checkpoints that have begun and not been committed: when, by region and window.
    begun: BTreeMap<(String, u64), i64>,
    /// The regions that something has hit in this life of the process.
    touched: BTreeSet<String>,
    /// Whether something has hit all of them.
    all_touched: bool,
}

impl Hit {
    /// Returns whether it has happened, and the job is not well again yet as far as is known.
    fn is_going_on(&self, now: i64) -> bool {
        let Some(injected) = self.injected else { return false };
        let lasts = self.fault.lasts.map_or(0, |lasts| i64::try_from(lasts.millis()).unwrap_or(i64::MAX));
        let holds_up = !self.fault.kind.breaks() && self.fault.kind != FaultKind::DropAck;
        // What only holds things up is over when it is; from the others the job has to recover.
        let is_past = holds_up && self.struck.is_some_and(|struck| now - struck >= lasts);
        let is_over = is_past || self.outlived || self.took_ms.is_some() || self.committed.is_some();
        let waits = self.struck.is_none() && self.fault.waits_for_a_restart();
        !is_over && !waits && now - self.struck.unwrap_or(injected) < PATIENCE_MS
    }

    fn is_recovered(&self) -> bool {
        self.struck.is_some() && (self.took_ms.is_some() || self.committed.is_some() || self.outlived)
    }

    fn commit_ms(&self) -> Option<i64> {
        Some((self.committed? - self.struck?).max(0))
    }

    /// Returns how long the job took to go on: what it says itself, or until something was committed again if nobody was
    /// left to say it.
    fn recovery_ms(&self) -> Option<f64> {
        if self.fault.kind.is_deadly() || self.fault.kind == FaultKind::ProcessKill9 {
            return self.commit_ms().map(|ms| ms as f64);
        }
        self.took_ms
    }
}

impl Hits {
    pub(super) fn new(plan: &ChaosPlan, targets: &[Target]) -> Hits {
        let hit = |fault: &PlannedFault| {
            let target = targets.iter().find(|target| Some(&target.name) == fault.operator.as_ref());
            let region = target.filter(|_| fault.kind.reach() != Reach::Process).map(|target| target.region.clone());
            Hit {
                fault: fault.clone(),
                region,
                injected: None,
                struck: None,
                subtask: fault.subtask,
                is_past: false,
                took_ms: None,
                replayed: None,
                scope: None,
                committed: None,
                outlived: false,
                remark: None,
            }
        };
        let all = plan.faults.iter().map(hit).collect();
        Hits { all, begun: BTreeMap::new(), touched: BTreeSet::new(), all_touched: false }
    }

    pub(super) fn all(&self) -> &[Hit] {
        &self.all
    }

    /// Returns how many faults are going on.
    pub(super) fn going_on(&self, now: i64) -> usize {
        self.all.iter().filter(|hit| hit.is_going_on(now)).count()
    }

    /// Returns the faults at exact points that have not happened yet: each process is told of them anew.
    pub(super) fn exact(&self) -> Vec<PlannedFault> {
        let exact = self.all.iter().filter(|hit| hit.fault.at.is_none() && hit.struck.is_none());
        exact.map(|hit| hit.fault.clone()).collect()
    }

    /// A fault was let happen.
    pub(super) fn injected(&mut self, number: u32, now: i64) {
        if let Some(hit) = self.hit(number) {
            hit.injected.get_or_insert(now);
        }
    }

    /// A fault has an effect.
    pub(super) fn struck(&mut self, number: u32, subtask: Option<u32>, now: i64) {
        let Some(hit) = self.hit(number) else { return };
        if hit.struck.is_some() {
            return;
        }
        hit.struck = Some(now);
        hit.injected.get_or_insert(now);
        hit.subtask = subtask.or(hit.subtask);
        match hit.region.clone() {
            Some(region) => {
                self.touched.insert(region);
            }
            None => self.all_touched = true,
        }
    }

    /// A fault cannot happen.
    pub(super) fn missed(&mut self, number: u32, why: String) {
        if let Some(hit) = self.hit(number) {
            hit.remark = Some(why);
            hit.outlived = true;
        }
    }

    /// Notes something about a fault.
    pub(super) fn remark(&mut self, number: u32, remark: impl Into<String>) {
        if let Some(hit) = self.hit(number) {
            hit.remark = Some(remark.into());
        }
    }

    fn hit(&mut self, number: u32) -> Option<&mut Hit> {
        self.all.iter_mut().find(|hit| hit.fault.number == number)
    }

    /// A process ends: what was let happen in it and had no effect has none any more. Returns whether any fault has had
    /// one in its life.
    pub(super) fn process_ended(&mut self, since: i64) -> bool {
        for hit in &mut self.all {
            hit.is_past |= hit.struck.is_some();
            if hit.injected.is_some() && hit.struck.is_none() && hit.fault.at.is_some() {
                hit.outlived = true;
                hit.remark.get_or_insert_with(|| "the process ended before".into());
            }
        }
        self.begun.clear();
        self.touched.clear();
        self.all_touched = false;
        self.all.iter().any(|hit| hit.struck.is_some_and(|struck| struck >= since))
    }

    /// Something was restarted. Returns whether there is a fault that it can come from.
    pub(super) fn restarted(&mut self, restarted: &Restarted, at: i64) -> bool {
        let fits = |hit: &&mut Hit| {
            let is_open = hit.struck.is_some() && hit.took_ms.is_none() && !hit.is_past;
            let is_hang = restarted.cause == "hung";
            let is_subtask = restarted.subtask.is_none() || hit.subtask.is_none() || restarted.subtask == hit.subtask;
            is_open
                && match hit.fault.kind {
                    FaultKind::Panic | FaultKind::Fail | FaultKind::Hang => {
                        hit.fault.operator.as_ref() == Some(&restarted.operator)
                            && is_subtask
                            && if hit.fault.kind == FaultKind::Hang { is_hang } else { restarted.is_meant() }
                    }
                    FaultKind::KillActor => {
                        hit.region.as_ref() == Some(&restarted.region) && restarted.reason.contains("has vanished")
                    }
                    FaultKind::StoreEio | FaultKind::StoreEnospc => {
                        restarted.reason.contains("store has to be opened again")
                    }
                    _ => false,
                }
        };
        if let Some(hit) = self.all.iter_mut().find(fits) {
            // It counts from when the call hung, and not from when that was found.
            let unnoticed = hit.struck.filter(|_| hit.fault.kind == FaultKind::Hang).map(|struck| (at - struck) as f64);
            hit.took_ms = Some(unnoticed.unwrap_or(restarted.took_ms));
            hit.replayed = Some(restarted.replayed);
            hit.scope = Some(restarted.scope.clone());
            return true;
        }
        self.all_touched || self.touched.contains(&restarted.region)
    }

    /// A checkpoint has begun.
    pub(super) fn checkpoint_started(&mut self, region: String, window: u64, at: i64) {
        self.begun.insert((region, window), at);
    }

    /// A window was committed: whatever had happened before its checkpoint began is over for that region.
    pub(super) fn committed(&mut self, region: &str, window: u64, at: i64) {
        let key = (region.to_string(), window);
        let begun = self.begun.get(&key).copied().unwrap_or(at);
        self.begun.retain(|(of, earlier), _| of != region || *earlier > window);
        for hit in &mut self.all {
            let Some(struck) = hit.struck else { continue };
            let is_meant = hit.region.as_deref().is_none_or(|meant| meant == region);
            if hit.committed.is_none() && is_meant && struck <= begun {
                hit.committed = Some(at);
                if hit.fault.kind.is_deadly() {
                    hit.scope = Some("process".into());
                }
            }
        }
    }

    /// The job has come to its end: it has outlived everything.
    pub(super) fn finished(&mut self, at: i64) {
        for hit in self.all.iter_mut().filter(|hit| hit.injected.is_some()) {
            hit.outlived = true;
            if hit.struck.is_some() {
                hit.committed.get_or_insert(at);
            }
        }
    }

    /// Returns what became of the kinds, and how long all recoveries took; nothing if that was measured of none.
    pub(super) fn by_kind(&self) -> (Vec<Kind>, Option<Spread>) {
        let mut kinds = Vec::new();
        let mut all = Vec::new();
        for kind in FaultKind::ALL {
            let hits: Vec<&Hit> = self.all.iter().filter(|hit| hit.fault.kind == kind).collect();
            if hits.is_empty() {
                continue;
            }
            let count = |is: fn(&Hit) -> bool| hits.iter().filter(|hit| is(hit)).count() as u64;
            let recoveries: Vec<f64> = hits.iter().filter_map(|hit| hit.recovery_ms()).collect();
            let commits = hits.iter().filter_map(|hit| hit.commit_ms()).map(|ms| ms as f64).collect();
            let mut replayed: Vec<u64> = hits.iter().filter_map(|hit| hit.replayed).collect();
            replayed.sort_unstable();
            all.extend(&recoveries);
            let effective = count(|hit| hit.struck.is_some());
            let is_unmeasured = kind.breaks() && effective > 0 && recoveries.is_empty();
            kinds.push(Kind {
                kind,
                planned: hits.len() as u64,
                injected: count(|hit| hit.injected.is_some()),
                effective,
                recovered: count(Hit::is_recovered),
                recovery: Spread::of(recoveries),
                commit: Spread::of(commits),
                replayed: replayed.get(replayed.len().div_ceil(2).saturating_sub(1)).copied(),
                remark: is_unmeasured.then(|| UNMEASURED.to_string()),
            });
        }
        (kinds, Spread::of(all))
    }

    /// Returns what became of each, with times from `start` on.
    pub(super) fn report(&self, start: i64) -> Vec<report::Fault> {
        let since = |at: Option<i64>| at.map(|at| u64::try_from(at - start).unwrap_or(0));
        let of = |hit: &Hit| {
            let fault = PlannedFault { subtask: hit.subtask, ..hit.fault.clone() };
            report::Fault {
                number: fault.number,
                kind: fault.kind,
                whom: fault.whom(),
                point: fault.point,
                injected_ms: since(hit.injected),
                struck_ms: since(hit.struck),
                recovery_ms: hit.recovery_ms(),
                commit_ms: hit.commit_ms().and_then(|ms| u64::try_from(ms).ok()),
                replayed: hit.replayed,
                scope: hit.scope.clone(),
                remark: hit.remark.clone(),
            }
        };
        self.all.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Duration;
    use crate::protocol::failure::MEANT;
    use crate::topology::Role;

    fn hits(faults: Vec<PlannedFault>) -> Hits {
        let target = |name: &str, region: &str| Target {
            name: name.into(),
            role: Role::Operator,
            parallelism: 2,
            head: name.into(),
            region: region.into(),
        };
        let plan = ChaosPlan { faults, ..ChaosPlan::default() };
        Hits::new(&plan, &[target("count", "in"), target("other", "second")])
    }

    fn fault(number: u32, kind: FaultKind, operator: Option<&str>) -> PlannedFault {
        PlannedFault {
            at: Some(Duration::from_secs(1)),
            operator: operator.map(str::to_string),
            subtask: operator.map(|_| 0),
            ..PlannedFault::new(number, kind)
        }
    }

    fn restart(operator: &str, region: &str, took_ms: f64) -> Restarted {
        Restarted {
            region: region.into(),
            operator: operator.into(),
            subtask: Some(0),
            scope: "batch".into(),
            replayed: 3,
            took_ms,
            cause: "panic".into(),
            reason: format!("\"{operator}\" panicked: {MEANT}"),
        }
    }

    #[test]
    fn a_restart_is_put_down_to_the_oldest_fault_that_it_can_come_from() {
        let mut hits = hits(vec![
            fault(1, FaultKind::Panic, Some("count")),
            fault(2, FaultKind::Panic, Some("count")),
            fault(3, FaultKind::Panic, Some("other")),
        ]);
        for number in 1..=3 {
            hits.injected(number, 100);
            hits.struck(number, Some(0), 100);
        }
        assert_eq!(hits.going_on(200), 3);
        assert!(hits.restarted(&restart("count", "in", 5.0), 190));
        assert!(hits.restarted(&restart("count", "in", 7.0), 190));
        assert_eq!(hits.going_on(200), 1);
        assert_eq!(hits.going_on(200 + PATIENCE_MS), 0, "nobody waits for ever");
        let (kinds, all) = hits.by_kind();
        assert_eq!((kinds[0].effective, kinds[0].recovered, kinds[0].replayed), (3, 2, Some(3)));
        assert_eq!(all.unwrap().max, 7.0);
    }

    #[test]
    fn a_restart_where_nothing_was_hit_is_noticed() {
        let mut hits = hits(vec![fault(1, FaultKind::Panic, Some("count")), fault(2, FaultKind::StoreEio, None)]);
        hits.injected(1, 100);
        hits.struck(1, Some(0), 100);
        assert!(!hits.restarted(&restart("other", "second", 5.0), 190));
        hits.injected(2, 100);
        hits.struck(2, None, 100);
        assert!(hits.restarted(&restart("other", "second", 5.0), 190), "the store is everybody's");
        assert!(hits.process_ended(100) && !hits.process_ended(101));
        assert!(!hits.restarted(&restart("other", "second", 5.0), 190), "that was in another life");
    }

    #[test]
    fn a_commit_ends_what_was_before_its_checkpoint() {
        let mut hits = hits(vec![
            fault(1, FaultKind::DropAck, Some("count")),
            fault(2, FaultKind::ProcessKill9, None),
            fault(3, FaultKind::DropAck, Some("other")),
        ]);
        hits.checkpoint_started("in".into(), 5, 90);
        for number in 1..=3 {
            hits.injected(number, 100);
            hits.struck(number, None, 100);
        }
        hits.committed("in", 5, 110);
        assert_eq!(hits.going_on(200), 3, "that checkpoint had begun before");
        hits.checkpoint_started("in".into(), 6, 120);
        hits.committed("in", 6, 150);
        assert_eq!(hits.going_on(200), 1, "the other region has committed nothing");
        let report = hits.report(50);
        assert_eq!((report[0].commit_ms, report[0].recovery_ms), (Some(50), None));
        assert_eq!((report[1].recovery_ms, report[1].scope.as_deref()), (Some(50.0), Some("process")));
        hits.finished(300);
        assert_eq!(hits.going_on(300), 0);
    }

    #[test]
    fn a_kind_whose_recovery_nobody_measured_is_said_to_be_one() {
        let mut hits = hits(vec![
            fault(1, FaultKind::KillActor, Some("count")),
            fault(2, FaultKind::DropAck, Some("count")),
            fault(3, FaultKind::StoreEio, None),
        ]);
        hits.struck(1, Some(0), 100);
        hits.struck(2, Some(0), 100);
        hits.checkpoint_started("in".into(), 5, 110);
        hits.committed("in", 5, 120);
        let (kinds, all) = hits.by_kind();
        let remarks: Vec<_> = kinds.iter().map(|kind| (kind.kind, kind.remark.as_deref())).collect();
        let (kill, ack, eio) = (FaultKind::KillActor, FaultKind::DropAck, FaultKind::StoreEio);
        assert_eq!(remarks, [(kill, Some(UNMEASURED)), (ack, None), (eio, None)], "it breaks, and has happened");
        assert!(all.is_none());
        let vanished = || Restarted { reason: "its actor has vanished".into(), ..restart("count", "in", 5.0) };
        hits.restarted(&vanished(), 130);
        let (kinds, all) = hits.by_kind();
        assert_eq!((kinds[0].remark.as_deref(), kinds[0].recovery), (None, all));
        assert_eq!(all.unwrap().max, 5.0);
    }

    #[test]
    fn what_waits_for_a_restart_keeps_nobody_waiting() {
        let waits = PlannedFault { point: Some("restore".into()), ..fault(1, FaultKind::Panic, Some("count")) };
        let mut hits = hits(vec![waits]);
        hits.injected(1, 100);
        assert_eq!(hits.going_on(100), 0);
        hits.struck(1, None, 110);
        assert_eq!(hits.going_on(110), 1);
    }
}
