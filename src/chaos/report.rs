//! What is said of a run that was broken on purpose: data, for programs as for people.

use std::path::PathBuf;

use serde::Serialize;

use crate::chaos::invariants::Violation;
use crate::chaos::kind::FaultKind;
use crate::chaos::plan::ChaosPlan;
use crate::chaos::words::{beginning, gist};

/// The report. Times are in ms; those of the run under faults are counted from its start.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The version of piton.
    pub piton: &'static str,
    /// The name of the job.
    pub job: String,
    /// Its topology file.
    pub file: PathBuf,
    /// What the plan was drawn from.
    pub seed: u64,
    /// Whether everything held.
    pub verdict: Verdict,
    /// The promises that were broken, and how.
    pub broken: Vec<Broken>,
    /// What was expected of the run.
    pub hypothesis: Vec<Expected>,
    /// What there is to know besides.
    pub notes: Vec<String>,
    /// The run without faults.
    pub golden: Golden,
    /// How long the run under faults took, with what it did when faults were over.
    pub took_ms: u64,
    /// What became of the faults, by kind.
    pub kinds: Vec<Kind>,
    /// Every fault of the plan.
    pub faults: Vec<Fault>,
    /// The processes that ran the job, one after the other.
    pub lives: Vec<Life>,
    /// The checkpoints.
    pub checkpoints: Checkpoints,
    /// The output, by sink.
    pub sinks: Vec<Sink>,
    /// The state.
    pub state: State,
    /// The records that were set aside.
    pub dead_letters: Letters,
    /// The regions of the job.
    pub regions: Vec<Region>,
    /// The memory that the process took.
    pub memory: Memory,
    /// The command that plays the plan again.
    pub replay: String,
    /// Where everything was kept, if something did not hold.
    pub kept: Option<PathBuf>,
    /// The faults as they were planned.
    pub plan: ChaosPlan,
}

/// Whether everything held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It did.
    Pass,
    /// It did not.
    Fail,
    /// Nothing was seen to be broken until somebody stopped it: whether everything would have held is not known.
    Stopped,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Its name.
    pub invariant: &'static str,
    /// What was seen first.
    pub message: String,
    /// When it was seen; nothing: in the end.
    pub at_ms: Option<u64>,
    /// How often the same was seen again, of other rows, files or numbers.
    pub more: u64,
    /// What messages have in common that say the same.
    #[serde(skip)]
    gist: String,
}

/// How long a message may be, in characters.
const LONGEST: usize = 600;
/// How many broken promises are told, those that are alike as one: more of them say no more.
const MOST_BROKEN: usize = 20;

impl Broken {
    /// Adds what was seen to what is told, or counts it if the same was seen before.
    pub fn note(all: &mut Vec<Broken>, violation: &Violation, at_ms: Option<u64>) {
        let (invariant, message) = (violation.invariant.name(), beginning(&violation.message, LONGEST));
        let gist = gist(&message);
        let alike = all.iter().position(|broken| broken.invariant == invariant && broken.gist == gist);
        match alike {
            Some(alike) => all[alike].more += 1,
            None if all.len() < MOST_BROKEN => all.push(Broken { invariant, message, at_ms, more: 0, gist }),
            None => {}
        }
    }
}

/// Something that was expected of the run.
#[derive(Clone, Debug, Serialize)]
pub struct Expected {
    /// What.
    pub what: String,
    /// What was seen instead, if it did not hold.
    pub instead: Option<String>,
}

/// The run without faults.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Golden {
    /// How long it took.
    pub took_ms: u64,
    /// How many records its sources emitted.
    pub records: u64,
    /// How often something was restarted in it all the same.
    pub restarts: u64,
}

/// What became of the faults of a kind.
#[derive(Clone, Debug, Serialize)]
pub struct Kind {
    /// The kind.
    pub kind: FaultKind,
    /// How many were in the plan.
    pub planned: u64,
    /// How many were let happen.
    pub injected: u64,
    /// How many had an effect.
    pub effective: u64,
    /// From how many the job recovered.
    pub recovered: u64,
    /// How long the job took to go on.
    pub recovery: Option<Spread>,
    /// How long it took until something was committed again.
    pub commit: Option<Spread>,
    /// How many records were replayed, half of the times at most.
    pub replayed: Option<u64>,
    /// What else there is to say.
    pub remark: Option<String>,
}

/// How times are spread, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// How many there are.
    pub count: u64,
    /// Half of them are no longer than this.
    pub p50: f64,
    /// 99 of 100 are no longer than this.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Spread {
    /// Returns how times are spread, if there are any.
    pub fn of(mut times: Vec<f64>) -> Option<Spread> {
        times.sort_by(f64::total_cmp);
        let max = *times.last()?;
        // The smallest that so many are not above.
        let at = |part: f64| times[((times.len() as f64 * part).ceil() as usize).clamp(1, times.len()) - 1];
        Some(Spread { count: times.len() as u64, p50: at(0.5), p99: at(0.99), max })
    }
}

/// What became of a fault.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    /// Its number in the plan.
    pub number: u32,
    /// What happened.
    pub kind: FaultKind,
    /// Whom it hit.
    pub whom: Option<String>,
    /// In which call.
    pub point: Option<String>,
    /// When it was let happen.
    pub injected_ms: Option<u64>,
    /// When it had an effect.
    pub struck_ms: Option<u64>,
    /// How long the job took to go on.
    pub recovery_ms: Option<f64>,
    /// How long it took until something was committed again.
    pub commit_ms: Option<u64>,
    /// How many records were replayed.
    pub replayed: Option<u64>,
    /// What was restarted: `batch`, `operator`, `region` or `process`.
    pub scope: Option<String>,
    /// What else there is to say.
    pub remark: Option<String>,
}

/// A process that ran the job.
#[derive(Clone, Debug, Serialize)]
pub struct Life {
    /// When it was started.
    pub from_ms: u64,
    /// When it ended.
    pub to_ms: u64,
    /// How it ended.
    pub ended: String,
}

/// The checkpoints.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Checkpoints {
    /// How many were committed.
    pub complete: u64,
    /// How many failed.
    pub failed: u64,
    /// How many were committed and lost, or went back.
    pub lost: u64,
    /// The longest time without one.
    pub longest_gap_ms: u64,
    /// When there was one.
    pub at_ms: Vec<u64>,
}

/// The output of a sink.
#[derive(Clone, Debug, Serialize)]
pub struct Sink {
    /// Its name.
    pub name: String,
    /// How it was compared.
    pub compared: String,
    /// Whether it was.
    pub is_compared: bool,
    /// How many rows (or keys, if only the last row of a key counts) there are without faults.
    pub golden: u64,
    /// How many there are.
    pub committed: u64,
    /// How many are missing.
    pub missing: u64,
    /// How many are there that should not be.
    pub surplus: u64,
    /// How many files were committed.
    pub files: u64,
    /// How often the folder was looked at meanwhile.
    pub looks: u64,
}

/// The state.
#[derive(Clone, Debug, Default, Serialize)]
pub struct State {
    /// How many operators were compared.
    pub operators: u64,
    /// How many keys were compared.
    pub keys: u64,
    /// How many of them differ.
    pub differing: u64,
    /// The operators that were not compared, and why.
    pub not_compared: Vec<(String, String)>,
}

/// The records that were set aside.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Letters {
    /// In the run without faults.
    pub golden: u64,
    /// In the run under faults.
    pub committed: u64,
}

/// A region.
#[derive(Clone, Debug, Serialize)]
pub struct Region {
    /// Its name.
    pub name: String,
    /// How many faults were meant for it alone.
    pub hit: u64,
    /// How many restarts there were in it.
    pub restarts: u64,
    /// How many of these the job has caused itself: an operator, source or sink failed, and no fault had hit it.
    pub by_itself: u64,
    /// How many nothing had caused that is known.
    pub unexplained: u64,
}

/// The memory that the process took, in bytes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Memory {
    /// The most.
    pub peak: u64,
    /// How fast it grew once faults were over, in bytes per second.
    pub slope: Option<f64>,
    /// How much at which time.
    pub samples: Vec<(u64, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::invariants::InvariantId;

    #[test]
    fn what_is_alike_is_told_once_and_counted() {
        let mut all = Vec::new();
        let mut see = |id: InvariantId, message: &str| Broken::note(&mut all, &id.broken(message), Some(7));
        for row in 0..100 {
            see(InvariantId::OutputNotRepeated, &format!("file part-{row}: `row {row}` was seen too often"));
        }
        see(InvariantId::OutputNotRepeated, "`row 7` should never be seen");
        see(InvariantId::EngineSound, &"x".repeat(100_000));
        assert_eq!(all.iter().map(|broken| broken.more).collect::<Vec<_>>(), [99, 0, 0]);
        assert!(all[0].message.contains("row 0"), "the first is the example");
        assert!(all[2].message.len() < 1_000);
    }

    #[test]
    fn a_spread_is_of_times_that_were_there() {
        assert_eq!(Spread::of(Vec::new()), None);
        let spread = Spread::of((1..=200).rev().map(f64::from).collect()).unwrap();
        assert_eq!((spread.count, spread.p50, spread.p99, spread.max), (200, 100.0, 198.0, 200.0));
        let one = Spread::of(vec![7.0]).unwrap();
        assert_eq!((one.p50, one.p99, one.max), (7.0, 7.0, 7.0));
    }
}
