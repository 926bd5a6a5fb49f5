//! A job as a world runs it: the regions of a plan, with what a world asks about them all the time.

use std::sync::Arc;

use piton_actors::blueprint::SinkBlueprint;

use crate::chaos::fragile::{Faults, fragile_operator, fragile_sink, fragile_source};
use crate::config::OnPoison;
use crate::ids::SubtaskId;
use crate::protocol::coordinator::Members;
use crate::runtime::build::RegionBlueprint;
use crate::sim::outside::Outside;
use crate::sim::watched::watched;

/// See the module.
pub(crate) struct Job {
    pub(crate) key_groups: u32,
    pub(crate) regions: Vec<RegionBlueprint>,
    /// Of each region.
    pub(crate) layouts: Vec<Layout>,
    /// What random numbers of operators come from.
    pub(crate) seed: u64,
    pub(crate) poison: Poison,
}

/// Whether there are records that no operator can bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Poison {
    /// There are none: a record that fails too often is the engine's mistake.
    None,
    /// There are, and the run says what becomes of them.
    Drawn,
    /// There may be, and the job says it.
    As(OnPoison),
}

/// The subtasks of a region.
pub(crate) struct Layout {
    pub(crate) name: String,
    pub(crate) subtasks: Vec<SubtaskId>,
    /// For each subtask its chain.
    pub(crate) chains: Vec<usize>,
    /// For each subtask whether it begins with a source.
    pub(crate) sources: Vec<bool>,
    /// For each subtask whether it ends in a sink.
    pub(crate) sinks: Vec<bool>,
}

impl Job {
    pub(crate) fn new(key_groups: u32, seed: u64, regions: Vec<RegionBlueprint>, poison: Poison) -> Job {
        let layouts = regions.iter().map(Layout::of).collect();
        Job { key_groups, regions, layouts, seed, poison }
    }

    /// Wraps everything in it, so that it fails when it is told to and is watched.
    pub(crate) fn fragile(mut self, outside: &Outside) -> Job {
        let faults: Arc<dyn Faults> = Arc::new(outside.clone());
        for (region, blueprint) in self.regions.iter_mut().enumerate() {
            for chain in &mut blueprint.chains {
                if let Some((name, source, _)) = &mut chain.source {
                    *source = fragile_source(name, source.clone(), &faults);
                }
                for (name, operator) in &mut chain.operators {
                    let fragile = fragile_operator(name, operator.clone(), &faults);
                    *operator = watched(name, region, fragile, outside);
                }
                if let Some((name, sink)) = &mut chain.sink {
                    *sink = fragile_sink(name, sink.clone(), &faults);
                }
            }
        }
        self
    }

    /// Returns the region and the number of the subtask that ends in a sink of this name.
    pub(crate) fn find_sink(&self, whom: &SubtaskId) -> Option<(usize, usize)> {
        for (region, blueprint) in self.regions.iter().enumerate() {
            let is_it = |sink: &(String, SinkBlueprint)| *sink.0 == *whom.operator;
            if let Some(chain) = blueprint.chains.iter().find(|chain| chain.sink.as_ref().is_some_and(is_it)) {
                let id = SubtaskId::new(Arc::clone(&chain.name), whom.index);
                return self.layouts[region]
                    .subtasks
                    .iter()
                    .position(|other| *other == id)
                    .map(|number| (region, number));
            }
        }
        None
    }

    /// Returns the region of a subtask, and its number there.
    pub(crate) fn find(&self, subtask: &SubtaskId) -> Option<(usize, usize)> {
        let numbers = self.layouts.iter().map(|layout| layout.subtasks.iter().position(|id| id == subtask));
        numbers.enumerate().find_map(|(region, number)| Some((region, number?)))
    }
}

impl Layout {
    fn of(blueprint: &RegionBlueprint) -> Layout {
        let chains: Vec<usize> = (blueprint.chains.iter().enumerate())
            .flat_map(|(number, chain)| std::iter::repeat_n(number, chain.parallelism as usize))
            .collect();
        Layout {
            name: blueprint.name.clone(),
            subtasks: blueprint.subtasks(),
            sources: chains.iter().map(|chain| blueprint.chains[*chain].source.is_some()).collect(),
            sinks: chains.iter().map(|chain| blueprint.chains[*chain].sink.is_some()).collect(),
            chains,
        }
    }

    /// Returns what the coordinator of the region has to know.
    pub(crate) fn members(&self) -> Members {
        let sources = self.subtasks.iter().zip(&self.sources).filter(|(_, is_source)| **is_source);
        Members {
            job: "simulated".into(),
            region: self.name.clone(),
            topology: Vec::new(),
            subtasks: self.subtasks.clone(),
            sources: sources.map(|(id, _)| id.clone()).collect(),
        }
    }
}
