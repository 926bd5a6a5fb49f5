//! What was found, in a file: a failing seed with the few faults that matter, to be played again; and the check that a
//! test of one's own makes.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::Overrides;
use crate::error::{Error, Result};
use crate::sim::{FaultPlan, Options, Simulation};
use crate::topology::{Plan, Registry, load};

/// A run to be played again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// The seed.
    pub seed: u64,
    /// How many rows each subtask of a source gives at most.
    pub rows: u64,
    /// The faults.
    #[serde(flatten)]
    pub faults: FaultPlan,
}

impl Found {
    /// Writes it as TOML, with what it breaks as a comment.
    pub fn to_toml(&self, breaks: &str) -> String {
        let told: String = breaks.lines().map(|line| format!("# {line}\n")).collect();
        let plan = toml::to_string(self).expect("numbers, words and names can always be written");
        format!("{told}{plan}")
    }

    /// Reads it from a file.
    ///
    /// # Errors
    /// If the file cannot be read, or does not hold such a run.
    pub fn read(file: &Path) -> Result<Found> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Error::config(format!("cannot read \"{}\": {error}", file.display())))?;
        let wrong = |reason| Error::config(format!("\"{}\" is no plan of faults: {reason}", file.display()));
        Found::parse(&text).map_err(wrong)
    }

    /// Reads it as it was written by [`Found::to_toml`].
    ///
    /// # Errors
    /// Why the text is no such run.
    pub fn parse(text: &str) -> std::result::Result<Found, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    /// Checks that the faults are for a job.
    ///
    /// # Errors
    /// The first one whose target the job does not have.
    pub fn fits(&self, plan: &Plan) -> Result<()> {
        for target in self.faults.faults.iter().filter_map(|planned| planned.fault.target()) {
            let node = plan.node(&target.operator).map(|node| &plan.nodes[node]);
            if node.is_none_or(|node| target.index >= node.parallelism) {
                return Err(Error::config(format!("the plan of faults hits {target}, which the job does not have")));
            }
        }
        Ok(())
    }
}

/// Simulates the job of a topology file for a number of seeds: for a test of one's own.
///
/// # Panics
/// If the file is wrong, or a promise is broken: with the seed, the promise, and the few faults that matter.
///
/// ```no_run
/// # fn registry() -> piton::Registry { piton::Registry::stock() }
/// #[test]
/// fn survives() {
///     piton::sim::check("topologies/spend.toml", &registry(), 1_000);
/// }
/// ```
pub fn check(file: impl AsRef<Path>, registry: &Registry, seeds: u64) {
    const ROWS: u64 = 100;
    let simulation = load(file.as_ref(), &Overrides::default(), registry)
        .and_then(|plan| Simulation::of(Arc::new(plan), ROWS))
        .unwrap_or_else(|error| panic!("{error}"));
    for seed in 0..seeds {
        let outcome = simulation.run(seed, &Options::default());
        if outcome.violation.is_none() {
            continue;
        }
        let (shrunk, _) = simulation.shrink(outcome);
        let broken = shrunk.violation.map(|violation| violation.to_string()).unwrap_or_default();
        let found = Found { seed, rows: ROWS, faults: shrunk.faults };
        panic!("seed {seed} of {}: {broken}\n\n{}", file.as_ref().display(), found.to_toml(&broken));
    }
}
