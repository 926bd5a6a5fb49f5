//! A job as a world runs it: the regions of a plan, with what a world asks about them all the time.

use std::sync::Arc;

use crate::chaos::fragile::{Faults, fragile_operator, fragile_sink, fragile_source};
use crate::config::OnPoison;
use crate::ids::SubtaskId;
use crate::protocol::coordinator::Members;
use crate::protocol::manifest::Spread;
use crate::runtime::build::{ChainBlueprint, Link, RegionBlueprint};
use crate::sim::outside::Outside;
use crate::sim::random::Random;
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

/// Another parallelism of a chain of a region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rescaled {
    region: usize,
    chain: usize,
    parallelism: u32,
}

/// A job with one of its parallelisms: as it is run, and the same of which nothing fails.
pub(crate) struct Variant {
    pub(crate) job: Job,
    pub(crate) plain: Job,
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

    /// Returns how many channels there are between subtasks.
    pub(crate) fn channels(&self) -> u64 {
        let of_region = |region: &RegionBlueprint| -> u64 {
            let parallelism = |chain: usize| u64::from(region.chains[chain].parallelism);
            let of_link = |link: &Link| match link.route {
                Spread::Forward => parallelism(link.to),
                _ => parallelism(link.from) * parallelism(link.to),
            };
            region.links.iter().map(of_link).sum()
        };
        self.regions.iter().map(of_region).sum()
    }

    /// Returns for how long a marker may have to wait behind records that wait for answers: whoever gives its checkpoint
    /// up earlier, and starts anew, never gets past them.
    pub(crate) fn waits_ms(&self) -> u64 {
        let mut operators = self.regions.iter().flat_map(|region| &region.chains).flat_map(|chain| &chain.operators);
        match (operators.any(|(_, operator)| operator.asks), self.poison) {
            (false, _) => 0,
            (true, Poison::Drawn) => 2_000,
            (true, Poison::None | Poison::As(_)) => 60_000,
        }
    }

    /// Returns the region of a sink.
    pub(crate) fn region_of_sink(&self, name: &str) -> Option<usize> {
        let has = |chain: &ChainBlueprint| chain.sink.as_ref().is_some_and(|(sink, _)| sink == name);
        self.regions.iter().position(|region| region.chains.iter().any(has))
    }

    /// Draws another parallelism for some chains: those that nothing binds to the parallelism of others, and that `may`
    /// have another.
    pub(crate) fn draw_parallelism(&self, random: &mut Random, may: impl Fn(&ChainBlueprint) -> bool) -> Vec<Rescaled> {
        let mut drawn = Vec::new();
        for (region, blueprint) in self.regions.iter().enumerate() {
            for (number, chain) in blueprint.chains.iter().enumerate() {
                let is_bound = blueprint.links.iter().any(|link| {
                    (link.to == number && matches!(link.route, Spread::Forward | Spread::Broadcast))
                        || (link.from == number && link.route == Spread::Forward)
                });
                // What is partitioned for the first operator only is right for the others with one subtask.
                let is_keyed_within = chain.operators.iter().skip(1).any(|(_, operator)| operator.keyed);
                let parallelism = random.between(1, 4) as u32;
                if chain.source.is_none()
                    && !is_bound
                    && !is_keyed_within
                    && may(chain)
                    && parallelism <= self.key_groups
                {
                    drawn.push(Rescaled { region, chain: number, parallelism });
                }
            }
        }
        drawn.retain(|to| self.regions[to.region].chains[to.chain].parallelism != to.parallelism);
        drawn
    }

    /// Gives chains another parallelism.
    pub(crate) fn rescaled(mut self, to: &[Rescaled]) -> Job {
        for Rescaled { region, chain, parallelism } in to {
            let blueprint = &mut self.regions[*region];
            blueprint.chains[*chain].parallelism = *parallelism;
            for name in blueprint.chains[*chain].names() {
                if let Some(print) = blueprint.topology.operators.get_mut(name) {
                    print.parallelism = *parallelism;
                }
            }
        }
        self.layouts = self.regions.iter().map(Layout::of).collect();
        self
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
    pub(crate) fn members(&self, topology: Vec<u8>) -> Members {
        let sources = self.subtasks.iter().zip(&self.sources).filter(|(_, is_source)| **is_source);
        Members {
            job: "simulated".into(),
            region: self.name.clone(),
            topology,
            subtasks: self.subtasks.clone(),
            sources: sources.map(|(id, _)| id.clone()).collect(),
        }
    }
}
