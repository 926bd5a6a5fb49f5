//! Draws a plan of faults from a seed.
//!
//! When, what and whom are drawn from sequences of their own, so that another weight does not move all times.

use rand::Rng;
use rand_pcg::Pcg64Mcg;

use crate::chaos::kind::{FaultKind, Reach};
use crate::chaos::plan::{ChaosPlan, Moment, PlannedFault, exact};
use crate::chaos::target::Target;
use crate::clock::rng;
use crate::config::{ChaosSettings, Duration};
use crate::error::{Error, Result};
use crate::topology::{Plan, Role};

/// The calls that may fail, each as often as it is listed. Those of `watermark` and `abort` may never come, so they are
/// for exact points only.
const OPERATOR: &[&str] = &[
    "process",
    "process",
    "process",
    "process",
    "begin_window",
    "end_window",
    "before_checkpoint",
    "before_checkpoint",
    "cut",
    "checkpointed",
    "committed",
];
const SOURCE: &[&str] = &["poll", "poll", "poll", "committed"];
const SINK: &[&str] = &["write", "write", "prepare", "prepare", "commit", "commit"];
/// The calls of a restart.
const RESTART: &[&str] = &["open", "restore"];

/// What is chosen from.
struct Draw<'a> {
    settings: &'a ChaosSettings,
    targets: Vec<Target>,
    kinds: Vec<(FaultKind, u32)>,
    /// How long a call may take before it counts as hung.
    hang_timeout: Duration,
    when: Pcg64Mcg,
    what: Pcg64Mcg,
    whom: Pcg64Mcg,
    how: Pcg64Mcg,
}

/// Draws the plan of a seed for a job: `[chaos]` says how many faults, of which kinds and to whom.
///
/// # Errors
/// Of kind `Config` if there is nothing to choose from.
pub fn draw(topology: &Plan, seed: u64) -> Result<ChaosPlan> {
    let settings = &topology.settings.chaos;
    let targets = Target::matching(topology, &settings.targets);
    if targets.is_empty() {
        let names: Vec<&str> = topology.nodes.iter().map(|node| &*node.name).collect();
        return Err(Error::config(format!(
            "chaos.targets names nobody in the topology (there are: {})",
            names.join(", ")
        )));
    }
    let kinds: Vec<(FaultKind, u32)> = FaultKind::ALL
        .iter()
        .map(|kind| (*kind, kind.weight(&settings.weights)))
        .filter(|(_, weight)| *weight > 0)
        .collect();
    let mut faults = exact(settings)?;
    let mut draw = Draw {
        settings,
        targets,
        kinds,
        hang_timeout: topology.settings.recovery.hang_timeout,
        when: rng(seed, "when faults happen"),
        what: rng(seed, "which faults happen"),
        whom: rng(seed, "whom faults hit"),
        how: rng(seed, "how faults happen"),
    };
    let first = u32::try_from(faults.len()).unwrap_or(u32::MAX).saturating_add(1);
    faults.extend(draw.faults(first));
    let plan = ChaosPlan {
        job: topology.settings.job.name.clone(),
        seed,
        duration: settings.duration,
        settle: settings.settle,
        faults,
    };
    plan.check(topology)?;
    Ok(plan)
}

impl Draw<'_> {
    fn faults(&mut self, first: u32) -> Vec<PlannedFault> {
        let mut faults = Vec::new();
        if self.kinds.is_empty() {
            return faults;
        }
        let mean = self.settings.mean_interval.millis() as f64;
        let mut at = self.settings.warmup.millis() as f64;
        for number in first.. {
            at += exponential(&mut self.when, mean);
            if at >= self.settings.duration.millis() as f64 {
                break;
            }
            let at = Duration::from_millis(at as u64);
            let kind = weighted(&mut self.what, &self.kinds);
            faults.push(PlannedFault { at: Some(at), ..self.fault(number, kind) });
        }
        faults
    }

    fn fault(&mut self, number: u32, kind: FaultKind) -> PlannedFault {
        let mut fault = PlannedFault::new(number, kind);
        if matches!(kind.reach(), Reach::Call | Reach::Subtask) {
            let target = &self.targets[below(&mut self.whom, self.targets.len())];
            fault.operator = Some(target.name.clone());
            fault.subtask = Some(below(&mut self.whom, target.parallelism as usize) as u32);
            if kind.reach() == Reach::Call {
                let points = match target.role {
                    Role::Operator => OPERATOR,
                    Role::Source => SOURCE,
                    Role::Sink => SINK,
                };
                let mut point = pick(&mut self.whom, points);
                // One in eight waits for the next restart, and makes that fail.
                let is_double = kind == FaultKind::Panic && below(&mut self.whom, 8) == 0;
                if is_double && self.settings.allow_during_recovery && target.role == Role::Operator {
                    point = pick(&mut self.whom, RESTART);
                }
                fault.point = Some(point.to_string());
            }
        }
        let ms = |shortest, longest, rng: &mut Pcg64Mcg| Some(Duration::from_millis(between(rng, shortest, longest)));
        match kind {
            FaultKind::Panic | FaultKind::Fail => {
                fault.moment = Some(pick(&mut self.how, &[Moment::Before, Moment::Midway, Moment::After]));
            }
            // It comes back some time after it was given up, and must find that nobody waits for it.
            FaultKind::Hang => fault.lasts = Some(Duration::from_millis(self.hang_timeout.millis() * 2)),
            FaultKind::Slow => fault.lasts = ms(500, 3_000, &mut self.how),
            FaultKind::ProcessPause => fault.lasts = ms(200, 3_000, &mut self.how),
            FaultKind::StoreEnospc => fault.lasts = ms(500, 3_000, &mut self.how),
            FaultKind::StoreSlow => fault.lasts = ms(1_000, 4_000, &mut self.how),
            FaultKind::StoreEio => fault.times = Some(between(&mut self.how, 1, 3) as u32),
            FaultKind::KillActor
            | FaultKind::KillSupervisor
            | FaultKind::ProcessKill9
            | FaultKind::DropAck
            | FaultKind::DupCommit
            | FaultKind::Bitflip => {}
        }
        fault
    }
}

/// Draws a number from [0, 1).
fn unit(rng: &mut Pcg64Mcg) -> f64 {
    // The 53 bits that such a number can have.
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

fn exponential(rng: &mut Pcg64Mcg, mean: f64) -> f64 {
    -mean * (1.0 - unit(rng)).ln()
}

fn below(rng: &mut Pcg64Mcg, end: usize) -> usize {
    ((unit(rng) * end as f64) as usize).min(end.saturating_sub(1))
}

fn between(rng: &mut Pcg64Mcg, first: u64, last: u64) -> u64 {
    first + below(rng, (last - first + 1) as usize) as u64
}

fn pick<T: Copy>(rng: &mut Pcg64Mcg, all: &[T]) -> T {
    all[below(rng, all.len())]
}

fn weighted(rng: &mut Pcg64Mcg, kinds: &[(FaultKind, u32)]) -> FaultKind {
    let total: u64 = kinds.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let mut left = (unit(rng) * total as f64) as u64;
    for (kind, weight) in kinds {
        match left.checked_sub(u64::from(*weight)) {
            Some(rest) => left = rest,
            None => return *kind,
        }
    }
    kinds[kinds.len() - 1].0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::topology::testing::try_plan;

    const JOB: &str = "[sources.numbers]\ntype = \"numbers\"\nlimit = 1\n[operators.count]\ntype = \"count\"\n\
                       inputs = [\"numbers\"]\nparallelism = 2\n[sinks.out]\ntype = \"keep\"\ninputs = [\"count\"]\n";

    fn drawn(chaos: &str, seed: u64) -> Result<ChaosPlan> {
        draw(&try_plan(&format!("{JOB}[chaos]\n{chaos}"))?, seed)
    }

    #[test]
    fn a_seed_gives_one_plan() {
        assert_eq!(drawn("", 7).unwrap(), drawn("", 7).unwrap());
        assert_ne!(drawn("", 7).unwrap(), drawn("", 8).unwrap());
    }

    #[test]
    fn the_settings_say_how_many_of_which_and_when() {
        let plan = drawn("duration = \"1000s\"\nwarmup = \"5s\"\nmean_interval = \"100ms\"\n", 1).unwrap();
        let count = plan.faults.len() as f64;
        assert!((9_000.0..11_000.0).contains(&count), "{count}");
        assert!(plan.faults.iter().all(|fault| fault.at.unwrap() >= Duration::from_secs(5)));
        assert!(plan.faults.is_sorted_by_key(|fault| fault.at));
        assert!(plan.faults.iter().map(|fault| fault.number).eq(1..=plan.faults.len() as u32));
        let mut kinds = BTreeMap::<FaultKind, f64>::new();
        for fault in &plan.faults {
            *kinds.entry(fault.kind).or_default() += 1.0;
        }
        assert!(!kinds.contains_key(&FaultKind::Bitflip) && !kinds.contains_key(&FaultKind::Fail));
        let share = |kind| kinds[&kind] / count * 22.0;
        assert!((5.0..7.0).contains(&share(FaultKind::Panic)) && (0.7..1.3).contains(&share(FaultKind::StoreEio)));
        let points: Vec<_> = plan.faults.iter().filter_map(|fault| fault.point.as_deref()).collect();
        for point in ["poll", "write", "prepare", "commit", "restore", "open", "before_checkpoint"] {
            assert!(points.contains(&point), "{point}");
        }
    }

    #[test]
    fn only_targets_are_hit_and_only_weighed_kinds_happen() {
        let none = "panic = 0\nhang = 0\nslow = 0\nkill_actor = 0\nkill_supervisor = 0\nprocess_kill9 = 0\n\
                    process_pause = 0\ndrop_ack = 0\ndup_commit = 0\nstore_eio = 0\nstore_enospc = 0\nstore_slow = 0\n";
        let only = none.replace("kill_actor = 0", "kill_actor = 1");
        let plan = drawn(&format!("targets = [\"co*\"]\n[chaos.weights]\n{only}"), 3).unwrap();
        assert!(plan.faults.len() > 20);
        for fault in &plan.faults {
            assert_eq!((fault.kind, fault.operator.as_deref()), (FaultKind::KillActor, Some("count")));
        }
        assert!(plan.faults.iter().any(|fault| fault.subtask == Some(1)));
        let error = drawn(&format!("[chaos.weights]\n{none}"), 3).unwrap_err();
        assert!(error.to_string().contains("every weight"), "{error}");
        let error = drawn("targets = [\"cuont\"]\n", 3).unwrap_err();
        assert!(error.to_string().contains("names nobody"), "{error}");
    }

    #[test]
    fn exact_points_come_first_and_keep_their_numbers() {
        let at = "[[chaos.at]]\noperator = \"count\"\npoint = \"cut\"\naction = \"panic\"\n";
        let plan = drawn(&format!("duration = \"9s\"\n{at}"), 3).unwrap();
        assert_eq!((plan.faults[0].at, plan.faults[0].number), (None, 1));
        assert_eq!(plan.faults[1].number, 2);
        let error = drawn(&at.replace("cut", "write"), 3).unwrap_err();
        assert!(error.to_string().contains("no call \"write\""), "{error}");
    }
}
