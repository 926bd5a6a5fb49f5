//! Breaks a real run of a job, and compares it with one without faults.
//!
//! This process runs the job in others, from a scratch folder: its state, and the folders of its sinks, lie
//! there and nowhere else. First it runs in peace, as fast as it can; what it has committed then is what it should
//! commit. Then it runs under the faults of a plan and is started again whenever its process dies, while its committed
//! files are watched. When faults are over it has to be well again, and reads the rest of its input; then output, state
//! and dead letters of the two runs have to be the same.
//!
//! The broken process takes part in this ([`within`](crate::chaos::within)), but nothing that is checked is left to it.

mod bits;
mod ends;
mod events;
mod hits;
mod left;
mod outputs;
mod peace;
mod process;
mod scratch;
mod siege;
mod state;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::chaos::compare::{self, Late};
use crate::chaos::invariants::InvariantId;
use crate::chaos::plan::ChaosPlan;
use crate::chaos::report::{self, Report, Verdict};
use crate::clock::Clock;
use crate::config::{Bytes, Duration, Mode};
use crate::error::{Error, Result};
use crate::topology::{NodeKind, Plan};

use ends::Ends;
use hits::UNMEASURED;
use outputs::{Committed, Watched};
use peace::Quiet;
use process::Runner;
use scratch::Scratch;
use siege::{Siege, Spec};

/// Plans the job with these options set over its file.
pub type Replan = Box<dyn Fn(&[String]) -> Result<Plan>>;

/// Is told how far it has come.
pub type Watcher = Box<dyn FnMut(&Stage)>;

/// What is to be broken, and how.
pub struct Request {
    /// The topology file.
    pub file: PathBuf,
    /// What is set over it.
    pub set: Vec<String>,
    /// Plans the job.
    pub replan: Replan,
    /// The faults.
    pub plan: ChaosPlan,
    /// The sources that have an option `rate`, and whether it is given.
    pub rates: Vec<(String, bool)>,
    /// Tells the time.
    pub clock: Clock,
    /// Set by whoever wants it to end at once.
    pub stopped: Arc<AtomicBool>,
    /// Is told how far it has come.
    pub watcher: Watcher,
}

impl Request {
    /// Returns whether it is to end at once.
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}

/// How far it has come.
#[derive(Clone, Debug)]
pub enum Stage {
    /// The job runs without faults, for so many ms.
    Golden(u64),
    /// The job has run without faults.
    GoldenDone {
        /// How long it took, in ms.
        took_ms: u64,
        /// How many records its sources emitted.
        records: u64,
    },
    /// The job runs under faults.
    Broken {
        /// For how long, in ms.
        elapsed_ms: u64,
        /// What it is doing.
        phase: &'static str,
        /// How many faults have had an effect.
        faults: u64,
        /// How many checkpoints were committed.
        commits: u64,
    },
    /// The two runs are compared.
    Comparing,
}

/// What is broken if two runs do not come to the same.
const OUTPUT: [InvariantId; 5] = [
    InvariantId::OutputComplete,
    InvariantId::OutputNotRepeated,
    InvariantId::CommittedStays,
    InvariantId::StateComplete,
    InvariantId::LettersExactlyOnce,
];

/// Enough for anybody: a source that is told so is not held up by its rate.
const NO_LIMIT: &str = "1000000000/s";

/// A checkpoint of which an acknowledgement is lost must not keep the others waiting for longer than this.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3);

/// Breaks the job, and reports what has become of it.
///
/// # Errors
/// Of kind `Config` if the job cannot be compared with itself, or nothing could be broken; of kind `Failed` if it fails
/// without faults, or it was stopped in the run without them. Promises that were broken are no error: they are in the
/// report, and so is what was seen until somebody stopped it.
pub fn run(mut request: Request) -> Result<Report> {
    let topology = (request.replan)(&request.set)?;
    compare::sinks(&topology, &Late::new())?;
    request.plan.check(&topology)?;
    let scratch = Scratch::new(&topology.settings.job.name)?;
    let mut notes = Vec::new();
    let common = common_settings(&topology, &mut notes);
    let fast: Vec<String> =
        request.rates.iter().map(|(source, _)| format!("sources.{source}.rate={NO_LIMIT}")).collect();

    let golden_runner = runner(&request, &topology, &scratch, "golden", &[&common, &fast])?;
    let Quiet { golden, usual } = peace::run(&golden_runner, &mut request)?;
    let pace = pace(&request, &golden, &mut notes);
    let broken_runner = runner(&request, &topology, &scratch, "chaos", &[&common, &pace])?;
    let rest_runner = runner(&request, &topology, &scratch, "chaos", &[&common, &fast])?;
    let late = state::late(&golden_runner)?;
    let mut watched = Vec::new();
    for check in compare::sinks(&topology, &late)? {
        let folder = |runner: &Runner| check.folder.is_some().then(|| runner.folder.join(OUT).join(&check.name));
        let committed = folder(&golden_runner).map(|folder| Committed::read(&check, &folder)).transpose()?;
        let folder = folder(&broken_runner);
        watched.push(Watched::new(check, folder, committed.unwrap_or_default()));
    }

    let is_paced = !pace.is_empty() || request.rates.iter().any(|(_, is_given)| *is_given);
    let spec =
        Spec { topology: &topology, runner: broken_runner, rest: is_paced.then_some(rest_runner), watched, usual };
    let mut done = Siege::new(spec, &request).run(&mut request)?;
    if done.injected() == 0 && !done.was_stopped {
        return Err(nothing_happened(&request, &golden, done.took_ms));
    }
    (request.watcher)(&Stage::Comparing);
    let ends = Ends::new(&topology, golden_runner, late, &mut done)?;
    let (state, letters) = ends.compare(&mut done)?;
    notes.extend(ends.notes());
    if done.has_finished && state.operators == 0 && !done.watched.iter().any(Watched::is_compared) {
        notes.push(
            "nothing of what the job makes could be compared: that it has come to its end is all that is known".into(),
        );
    }
    if !done.has_finished {
        notes.push(
            "the run did not come to its end: state, dead letters and the completeness of output were not compared"
                .into(),
        );
    }
    let by_itself: u64 = done.regions.iter().map(|region| region.by_itself).sum();
    if by_itself > 0 {
        notes.push(format!(
            "the job has restarted {by_itself} times by itself, without a fault to blame ({} without any faults at all)",
            golden.restarts
        ));
    }
    notes.append(&mut done.notes);
    let is_other = |broken: &report::Broken| OUTPUT.iter().any(|id| id.name() == broken.invariant);
    if done.has_finished && done.broken.iter().any(is_other) {
        let again = runner(&request, &topology, &scratch, "golden-again", &[&common, &fast])?;
        match ends.differ_by_themselves(&again, &done, &mut request) {
            // The verdict stands without it.
            Err(_) if request.is_stopped() => {}
            differs => notes.extend(differs?),
        }
    }

    let (kinds, recovery) = done.hits.by_kind();
    let is_expected = topology.settings.chaos.expect.recovery_p99.is_some();
    // Faults that break nothing leave nothing to recover from.
    let says_nothing = recovery.is_none() && !kinds.iter().any(|kind| kind.kind.breaks() && kind.effective > 0);
    let hypothesis = hypothesis(&topology, &done, recovery, says_nothing);
    if is_expected {
        notes.extend(unmeasured(&kinds));
    }
    if is_expected && says_nothing {
        notes.push("chaos.expect.recovery_p99 says nothing: no fault that took effect breaks anything".into());
    }
    let verdict = verdict(&done, &hypothesis);
    let kept = (verdict == Verdict::Fail).then(|| keep(scratch, &request.plan)).transpose()?;
    Ok(Report {
        piton: env!("CARGO_PKG_VERSION"),
        job: topology.settings.job.name.clone(),
        file: request.file,
        seed: request.plan.seed,
        verdict,
        hypothesis,
        notes,
        golden,
        took_ms: done.took_ms,
        kinds,
        faults: done.hits.report(done.start),
        sinks: done.watched.iter().map(Watched::report).collect(),
        regions: done.regions,
        lives: done.lives,
        checkpoints: done.checkpoints,
        memory: done.memory,
        broken: done.broken,
        state,
        dead_letters: letters,
        replay: String::new(),
        kept,
        plan: request.plan,
    })
}

/// Where the folders of sinks lie within the folder of a run.
const OUT: &str = "out";
/// The name of the plan in a scratch folder that is kept.
pub const PLAN: &str = "plan.toml";

fn keep(scratch: Scratch, plan: &ChaosPlan) -> Result<PathBuf> {
    let path = scratch.path().join(PLAN);
    std::fs::write(&path, plan.to_toml())
        .map_err(|error| Error::failed(format!("\"{}\" cannot be written: {error}", path.display())))?;
    Ok(scratch.keep())
}

/// Returns what is set over the file for every run of the job.
fn common_settings(topology: &Plan, notes: &mut Vec<String>) -> Vec<String> {
    let mut set = Vec::new();
    let longest = checkpoint_timeout(topology);
    if topology.settings.checkpoint.timeout > longest {
        set.push(format!("checkpoint.timeout={longest}"));
        notes.push(format!(
            "checkpoint.timeout is {longest} here, not {}: what is lost has to be noticed while somebody looks",
            topology.settings.checkpoint.timeout
        ));
    }
    if topology.settings.http.listen.is_some() {
        set.push("http.listen=127.0.0.1:0".to_string());
    }
    set
}

/// Returns after how long a checkpoint is given up here.
fn checkpoint_timeout(topology: &Plan) -> Duration {
    let longest = LONGEST_TIMEOUT.max(Duration::from_millis(topology.settings.checkpoint_interval().millis() * 3));
    topology.settings.checkpoint.timeout.min(longest)
}

/// Returns how to run the job in a folder of its own, with its sinks below that.
fn runner(request: &Request, topology: &Plan, scratch: &Scratch, name: &str, set: &[&Vec<String>]) -> Result<Runner> {
    let folder = scratch.path().join(name);
    let failed = |error| Error::failed(format!("\"{}\" cannot be made: {error}", folder.display()));
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let mut all = request.set.clone();
    all.extend(set.iter().flat_map(|set| set.iter().cloned()));
    for node in &topology.nodes {
        if matches!(&node.kind, NodeKind::Sink(blueprint) if blueprint.folder.is_some()) {
            let path = folder.join(OUT).join(&*node.name);
            all.push(format!("sinks.{}.path={}", node.name, path.display()));
        }
    }
    // What a sink makes of its option is the sink's own matter: it is looked at where its files would go.
    let planned = (request.replan)(&all)?;
    for node in &planned.nodes {
        let NodeKind::Sink(blueprint) = &node.kind else { continue };
        if let Some(path) = blueprint.folder.as_ref().filter(|path| !path.starts_with(&folder)) {
            return Err(Error::config(format!(
                "sink \"{}\" ({}) writes to \"{}\", and its option `path` does not change that: it would write over what \
                 is there",
                node.name,
                node.type_name,
                path.display()
            )));
        }
    }
    Ok(Runner { file: request.file.clone(), set: all, folder })
}

/// Slows sources down that have no rate of their own, if the input would be read before faults are over.
fn pace(request: &Request, golden: &report::Golden, notes: &mut Vec<String>) -> Vec<String> {
    let lasts = request.plan.duration.millis() + request.plan.settle.millis();
    let unpaced: Vec<&String> =
        request.rates.iter().filter(|(_, is_given)| !is_given).map(|(source, _)| source).collect();
    let has_timed = request.plan.faults.iter().any(|fault| fault.at.is_some());
    if unpaced.is_empty() || golden.took_ms >= lasts || !has_timed {
        return Vec::new();
    }
    let per_second = golden.records * 1_000 / lasts.max(1) / unpaced.len() as u64;
    let rate = per_second.max(1);
    let set: Vec<String> = unpaced.iter().map(|source| format!("sources.{source}.rate={rate}/s")).collect();
    notes.push(format!(
        "the whole input takes {} ms: it was slowed down so that it lasts ({})",
        golden.took_ms,
        set.join(", ")
    ));
    set
}

fn nothing_happened(request: &Request, golden: &report::Golden, took_ms: u64) -> Error {
    let first = request.plan.faults.iter().filter_map(|fault| fault.at).min();
    let Some(first) = first else {
        return Error::config("no fault has happened: no call at one of the points of [[chaos.at]] was ever made");
    };
    let lasts = request.plan.duration.millis().max(1);
    let rate = (golden.records * 1_000 / lasts).max(1);
    let how = match request.rates.first() {
        Some((source, _)) => {
            format!(": slow it down, as with `--set sources.{source}.rate={rate}/s`, or give it more rows")
        }
        None => ": give it more rows".to_string(),
    };
    Error::config(format!(
        "no fault has happened: the first one was due {first} after the job had begun to read, and by then there was nothing \
         left to read; the run took {took_ms} ms in all{how}"
    ))
}

/// Returns what was expected, and whether it held.
fn hypothesis(
    topology: &Plan,
    done: &siege::Done,
    recovery: Option<report::Spread>,
    says_nothing: bool,
) -> Vec<report::Expected> {
    let expect = &topology.settings.chaos.expect;
    let is_output = |broken: &&report::Broken| OUTPUT.iter().any(|id| id.name() == broken.invariant);
    let broken: u64 = done.broken.iter().filter(is_output).map(|broken| broken.more + 1).sum();
    let what = match (topology.settings.checkpoint.mode, expect.output) {
        (Mode::ExactlyOnce, Mode::ExactlyOnce) => "exactly-once",
        (Mode::AtLeastOnce, _) | (_, Mode::AtLeastOnce) => "at-least-once",
    };
    let mut all = vec![report::Expected {
        what: what.to_string(),
        instead: match (broken, done.has_finished) {
            (0, true) => None,
            (0, false) => Some("the run did not come to its end".to_string()),
            (broken, _) => Some(format!("it was broken {broken} times")),
        },
    }];
    if let Some(longest) = expect.recovery_p99 {
        all.push(report::Expected {
            what: format!("recovery p99 <= {longest}"),
            instead: too_long(longest, recovery).filter(|_| !says_nothing),
        });
    }
    if let Some(most) = expect.max_rss {
        let peak = done.memory.peak;
        all.push(report::Expected {
            what: format!("memory <= {most}"),
            instead: (peak > most.get()).then(|| format!("it was {}", Bytes::new(peak >> 20 << 20))),
        });
    }
    all
}

/// Returns whether everything held; of a run that was stopped, only what was broken is known.
fn verdict(done: &siege::Done, hypothesis: &[report::Expected]) -> Verdict {
    match (done.broken.is_empty(), done.was_stopped) {
        (false, _) => Verdict::Fail,
        (true, true) => Verdict::Stopped,
        (true, false) if hypothesis.iter().all(|expected| expected.instead.is_none()) => Verdict::Pass,
        (true, false) => Verdict::Fail,
    }
}

/// Returns what recoveries were instead of as short as they should be, or why nobody knows.
fn too_long(longest: Duration, recovery: Option<report::Spread>) -> Option<String> {
    match recovery {
        None => Some("no fault has had a recovery whose time was measured".into()),
        Some(spread) if spread.p99 > longest.millis() as f64 => Some(format!("it was {:.0} ms", spread.p99)),
        Some(_) => None,
    }
}

/// Returns for which kinds of faults nobody knows how long recoveries took.
fn unmeasured(kinds: &[report::Kind]) -> Option<String> {
    let kinds: Vec<&str> = kinds.iter().filter(|kind| kind.remark.is_some()).map(|kind| kind.kind.name()).collect();
    let said = || format!("chaos.expect.recovery_p99 says nothing about {}: {UNMEASURED}", kinds.join(", "));
    (!kinds.is_empty()).then(said)
}

/// Returns the command that plays the plan of a report again, for somebody at a shell.
pub fn replay(program: &str, report: &Report, set: &[String], plan: Option<PathBuf>) -> String {
    let mut arguments: Vec<OsString> = vec!["chaos".into(), report.file.clone().into()];
    match plan.or(report.kept.as_ref().map(|kept| kept.join(PLAN))) {
        Some(plan) => arguments.extend(["--plan".into(), plan.into()]),
        None => {
            arguments.extend(["--seed".into(), report.seed.to_string().into()]);
            arguments.extend(["--duration".into(), report.plan.duration.to_string().into()]);
        }
    }
    arguments.extend(set.iter().flat_map(|set| ["--set".into(), set.into()]));
    process::typed(program, &arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::report::Spread;

    #[test]
    fn an_expectation_that_nothing_was_measured_for_does_not_hold() {
        let longest = Duration::from_secs(1);
        assert_eq!(too_long(longest, Spread::of(vec![900.0])), None);
        assert!(too_long(longest, Spread::of(vec![900.0, 1_100.0])).unwrap().contains("1100 ms"));
        assert!(too_long(longest, None).unwrap().contains("was measured"));
    }
}
