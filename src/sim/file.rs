//! What was found, in a file: a failing seed with the few faults that matter, to be played again; and the check that a
//! test of one's own makes.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::Overrides;
use crate::error::{Error, Result};
use crate::sim::{Act, Fault, FaultPlan, Options, Planned, Simulation};
use crate::topology::{Plan, Registry, load};

/// How often a fault of a file may strike at most. What a seed draws is far below, and a number that is far above would
/// have a run make room for it.
const MOST_TIMES: u64 = 10_000;

/// How long a fault of a file may take at most, in ms: an hour of virtual time.
const MOST_MS: u64 = 3_600_000;

/// A run to be played again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// The name of the job that it was found in; older files do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
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
    /// Why the text is no such run, or would be one without end.
    pub fn parse(text: &str) -> std::result::Result<Found, String> {
        let found: Found = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let exceeds = |planned: &&Planned| {
            let (times, ms) = extent(&planned.fault);
            times > MOST_TIMES || ms > MOST_MS
        };
        match found.faults.faults.iter().find(exceeds) {
            None => Ok(found),
            Some(Planned { fault, .. }) => Err(format!(
                "a fault is out of proportion: {fault} (no number may be above {MOST_TIMES}, and no time above {MOST_MS} ms)"
            )),
        }
    }

    /// Checks that the faults are for a job.
    ///
    /// # Errors
    /// If it was found in another one, or the first fault whose target the job does not have.
    pub fn fits(&self, plan: &Plan) -> Result<()> {
        let name = &plan.settings.job.name;
        if let Some(other) = self.job.as_ref().filter(|other| *other != name) {
            return Err(Error::config(format!(
                "the plan of faults was found in the job \"{other}\", and this one is \"{name}\": give the topology file of \
                 \"{other}\", or take `job` out of the plan if it is the same under another name"
            )));
        }
        for target in self.faults.faults.iter().filter_map(|planned| planned.fault.target()) {
            let node = plan.node(&target.operator).map(|node| &plan.nodes[node]);
            if node.is_none_or(|node| target.index >= node.parallelism) {
                return Err(Error::config(format!("the plan of faults hits {target}, which the job does not have")));
            }
        }
        Ok(())
    }
}

/// Returns how often a fault may strike, or what it lets pass before, and how long it takes in ms.
fn extent(fault: &Fault) -> (u64, u64) {
    match *fault {
        Fault::Hook { act: Act::Unavailable(times), after, .. } => (times.max(after).into(), 0),
        Fault::Hook { after, .. } => (after.into(), 0),
        Fault::CrashInStorage { call, .. } => (call, 0),
        Fault::Disk { after, calls } => (after.max(calls), 0),
        Fault::RefuseWrites { jobs } => (jobs, 0),
        Fault::Decay { bits } => (bits.into(), 0),
        Fault::SlowStorage { jobs, ms } => (jobs, ms),
        Fault::FailCommits { commits, ms, .. } => (commits, ms),
        Fault::SlowMessages { messages, ms } => (messages, ms),
        Fault::Stall { ms, .. } => (0, ms),
        Fault::Crash { .. } | Fault::Lose { .. } | Fault::Stop | Fault::Rescale | Fault::Trigger => (0, 0),
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
    let (job, simulation) = load(file.as_ref(), &Overrides::default(), registry)
        .and_then(|plan| Ok((plan.settings.job.name.clone(), Simulation::of(Arc::new(plan), ROWS)?)))
        .unwrap_or_else(|error| panic!("{error}"));
    for seed in 0..seeds {
        let outcome = simulation.run(seed, &Options::default());
        if outcome.violation.is_none() {
            continue;
        }
        let (shrunk, _) = simulation.shrink(outcome);
        let broken = shrunk.violation.map(|violation| violation.to_string()).unwrap_or_default();
        let found = Found { job: Some(job), seed, rows: ROWS, faults: shrunk.faults };
        panic!("seed {seed} of {}: {broken}\n\n{}", file.as_ref().display(), found.to_toml(&broken));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fault: &str) -> std::result::Result<Found, String> {
        Found::parse(&format!("seed = 1\nrows = 9\n[[fault]]\nstep = 3\n{fault}\n"))
    }

    #[test]
    fn a_plan_knows_its_job_and_an_older_one_fits_any() {
        let plan = crate::topology::testing::plan(
            "[sources.numbers]\ntype = \"numbers\"\nlimit = 1\n[sinks.out]\ntype = \"keep\"\ninputs = [\"numbers\"]\n",
        );
        let found = |job: &str| Found::parse(&format!("{job}seed = 1\nrows = 9\n")).unwrap();
        found("").fits(&plan).unwrap();
        found("job = \"job\"\n").fits(&plan).unwrap();
        let refused = found("job = \"other\"\n").fits(&plan).unwrap_err();
        assert_eq!(refused.kind().exit_code(), 2);
        assert!(refused.to_string().contains("found in the job \"other\", and this one is \"job\""), "{refused}");
    }

    #[test]
    fn a_fault_out_of_proportion_is_refused_rather_than_played() {
        let most = u64::MAX / 2;
        for (fault, word) in [
            (format!("kind = \"disk\"\nafter = 0\ncalls = {most}"), "failing calls of the disk"),
            (format!("kind = \"disk\"\nafter = {most}\ncalls = 1"), "failing calls of the disk"),
            (format!("kind = \"decay\"\nbits = {}", u32::MAX), "bits flip"),
            (format!("kind = \"crash_in_storage\"\ncall = {most}\npower = false"), "kill at call"),
            (format!("kind = \"refuse_writes\"\njobs = {most}"), "cannot be written"),
            (format!("kind = \"slow_messages\"\nmessages = 1\nms = {most}"), "1 messages take"),
            (format!("kind = \"stall\"\nsubtask = \"a[0]\"\nms = {most}"), "a[0] stands still"),
        ] {
            let refused = parse(&fault).unwrap_err();
            assert!(refused.contains("out of proportion") && refused.contains(word), "{refused}");
        }
        let found = parse("kind = \"disk\"\nafter = 15\ncalls = 10").unwrap();
        assert_eq!(Found::parse(&found.to_toml("a promise")).as_ref(), Ok(&found));
    }
}
