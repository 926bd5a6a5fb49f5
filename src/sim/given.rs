//! Jobs of a topology file: their own sources, operators and keys; only what leaves the process is replaced.
//!
//! Sources are the job's own, cut short, and read what they would read. Sinks are replaced by one that remembers: a
//! simulation ends a process a thousand times and must leave nothing behind.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use piton_actors::{Batch, Delivery, Subtask, WindowId};

use crate::chaos::invariants::Verdict;
use crate::config::{ChaosWeights, Mode, OnPoison};
use crate::error::{Error, Result};
use crate::protocol::failure::drop_quietly;
use crate::protocol::ladder::LadderSettings;
use crate::protocol::manifest::Manifest;
use crate::runtime::build::RegionBlueprint;
use crate::sim::answers::Answers;
use crate::sim::faults::{Act, Fault, FaultPlan};
use crate::sim::history::History;
use crate::sim::job::{Job, Poison};
use crate::sim::judge::Judge;
use crate::sim::limited::limited;
use crate::sim::outside::Outside;
use crate::sim::patience::Size;
use crate::sim::random::Random;
use crate::sim::recorder::recorder;
use crate::topology::{NodeKind, Plan, fits};

/// See the module.
pub(crate) struct Given {
    plan: Arc<Plan>,
    rows: u64,
    answers: Arc<Answers>,
}

impl Given {
    /// Takes a plan, of which each subtask of a source gives so many rows at most.
    ///
    /// # Errors
    /// If a source cannot go back.
    pub(crate) fn new(plan: Arc<Plan>, rows: u64) -> Result<Given> {
        for node in &plan.nodes {
            if let NodeKind::Source(source, _) = &node.kind
                && !source.replayable
            {
                return Err(Error::config(format!(
                    "source \"{}\" cannot be simulated: it cannot go back to where a checkpoint was taken",
                    node.name
                )));
            }
        }
        Ok(Given { plan, rows: rows.max(1), answers: Arc::default() })
    }

    /// Finds out what the engine finds out once about each operator, by calling it: no seed may depend on those before it.
    pub(crate) fn find_out(&self) {
        let settings = &self.plan.settings;
        for region in 0..self.plan.regions.len() {
            for chain in RegionBlueprint::of_plan(&self.plan, region).chains {
                for (name, blueprint) in &chain.operators {
                    let subtask = Subtask {
                        parallelism: chain.parallelism,
                        key_groups: settings.job.key_groups,
                        seed: settings.job.seed,
                        ..Subtask::single(name)
                    };
                    // What it does although it was not opened is no matter.
                    let called = catch_unwind(AssertUnwindSafe(|| {
                        let mut operator = (blueprint.make)(subtask, settings.mailbox.batch).ok()?;
                        operator.end_window(WindowId::NONE.next()).ok();
                        operator.before_checkpoint(WindowId::NONE.next()).ok();
                        Some(operator)
                    }));
                    drop_quietly(called);
                }
            }
        }
    }

    /// Returns what has to be said of the sinks that are replaced.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let sinks = self.plan.nodes.iter().filter_map(|node| match &node.kind {
            NodeKind::Sink(sink) if sink.delivery == Delivery::Immediate => Some(&node.name),
            _ => None,
        });
        let remark = |name| format!("sink \"{name}\" shows rows at once: it is simulated as if it waited for commits");
        sinks.map(remark).collect()
    }

    /// Makes what a world shares with this job.
    pub(crate) fn outside(&self) -> Outside {
        Outside::new(self.plan.regions.len()).with_answers(&self.answers)
    }

    /// Returns how large it is.
    pub(crate) fn size(&self) -> Size {
        let parallelism = |node: usize| u64::from(self.plan.nodes[node].parallelism);
        let channels = self.plan.edges.iter().map(|edge| parallelism(edge.from) * parallelism(edge.to));
        let sources = self.plan.nodes.iter().filter(|node| matches!(node.kind, NodeKind::Source(..)));
        let readers: u64 = sources.map(|source| u64::from(source.parallelism)).sum();
        Size { channels: channels.sum(), rows: self.rows.saturating_mul(readers) }
    }

    /// Plans the job for a seed.
    pub(crate) fn job(&self, seed: u64, outside: &Outside) -> Job {
        let settings = &self.plan.settings;
        let rows = Random::new(seed, "rows").between(self.rows.div_ceil(4), self.rows);
        let mut regions = Vec::new();
        for region in 0..self.plan.regions.len() {
            let mut blueprint = RegionBlueprint::of_plan(&self.plan, region);
            for chain in &mut blueprint.chains {
                if let Some((_, source, _)) = &mut chain.source {
                    *source = limited(source.clone(), rows);
                }
                if let Some((name, sink)) = &mut chain.sink {
                    *sink = recorder(name, sink.delivery, sink.unpack, outside);
                }
            }
            regions.push(blueprint);
        }
        let poison = match settings.recovery.on_poison {
            OnPoison::Fail => Poison::None,
            set => Poison::As(set),
        };
        Job::new(settings.job.key_groups, settings.job.seed, regions, poison)
    }

    /// Returns whether some of it can have another parallelism.
    pub(crate) fn can_rescale(&self) -> bool {
        let job = self.job(0, &self.outside());
        (0..64).any(|seed| !job.draw_parallelism(&mut Random::new(seed, "parallelism"), |_| true).is_empty())
    }

    /// Leaves out of a plan what `[chaos]` does not want.
    pub(crate) fn allow(&self, plan: FaultPlan) -> FaultPlan {
        let chaos = &self.plan.settings.chaos;
        let is_target = |name: &str| chaos.targets.iter().any(|pattern| fits(pattern, name));
        let faults = plan.faults.into_iter().filter(|planned| {
            let target = planned.fault.target();
            weight(&planned.fault, &chaos.weights) > 0 && target.is_none_or(|target| is_target(&target.operator))
        });
        FaultPlan { faults: faults.collect() }
    }
}

/// Returns the weight of the kind of fault of a live run that is closest.
fn weight(fault: &Fault, weights: &ChaosWeights) -> u32 {
    match fault {
        Fault::Hook { act: Act::Panic | Act::PanicAfter | Act::PanicMidway | Act::Fail | Act::FailAfter, .. } => {
            weights.panic
        }
        Fault::Crash { .. } | Fault::CrashInStorage { .. } => weights.process_kill9,
        Fault::Disk { .. } | Fault::RefuseWrites { .. } | Fault::FailCommits { .. } => weights.store_eio,
        Fault::SlowStorage { .. } => weights.store_slow,
        Fault::Stall { .. } => weights.hang,
        Fault::Lose { .. } => weights.kill_actor,
        Fault::SlowMessages { .. } => weights.slow,
        // A flipped bit may leave a store that has to refuse: in a live run nobody would know whether it may.
        Fault::Decay { .. }
        | Fault::Hook { act: Act::Unavailable(_), .. }
        | Fault::Stop
        | Fault::Rescale
        | Fault::Trigger => 1,
    }
}

/// Judges by the history alone.
pub(crate) struct ByHistory(History);

impl ByHistory {
    pub(crate) fn new(mode: Mode) -> ByHistory {
        ByHistory(History::new(mode, BTreeSet::new()))
    }
}

impl Judge for ByHistory {
    fn head_moved(&mut self, _region: usize, _manifest: &Manifest) {}

    fn published(&mut self, _region: usize, _sink: &str, _batches: &[Batch]) -> Verdict {
        Ok(())
    }

    fn settled(&mut self, _region: usize) -> Verdict {
        Ok(())
    }

    fn ended(&mut self, _set_aside: &BTreeMap<String, u64>, _ladder: &LadderSettings) -> Verdict {
        Ok(())
    }

    fn visible(&self) -> (u64, u64) {
        (self.0.visible(), 0)
    }

    fn rescaled(&mut self, _heads: &[WindowId]) {}

    fn history(&mut self) -> Option<&mut History> {
        Some(&mut self.0)
    }

    fn is_fickle(&self, _region: usize, _chain: usize) -> bool {
        false
    }
}
