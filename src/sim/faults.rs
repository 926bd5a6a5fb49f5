//! What goes wrong, and when: a plan is a list of faults with the step at which each strikes.
//!
//! A plan is drawn from the seed beforehand and is plain data: it can be cut down to the few faults that matter, kept
//! in a file and played again.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use crate::chaos::fragile::{Act, Hook};
use crate::ids::SubtaskId;
use crate::sim::job::Job;
use crate::sim::random::Random;

const OPERATOR_HOOKS: &[Hook] = &[
    Hook::Restore,
    Hook::Open,
    Hook::Process,
    Hook::Process,
    Hook::Process,
    Hook::Watermark,
    Hook::BeginWindow,
    Hook::EndWindow,
    Hook::BeforeCheckpoint,
    Hook::Cut,
    Hook::Checkpointed,
    Hook::Committed,
    Hook::Close,
];

const SOURCE_HOOKS: &[Hook] = &[Hook::SourceOpen, Hook::SourcePoll, Hook::SourcePoll, Hook::SourceCommitted];

const SINK_HOOKS: &[Hook] = &[
    Hook::SinkOpen,
    Hook::SinkWrite,
    Hook::SinkPrepare,
    Hook::SinkPrepare,
    Hook::SinkCommit,
    Hook::SinkCommit,
    Hook::SinkAbort,
];

/// How a commit fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitFailure {
    /// It does not happen, and the store says so.
    Refused,
    /// It happens, but the store does not get to know: it has to be opened again.
    Unanswered,
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// A call of user code fails: the next of this kind, once so many of them have passed.
    Hook {
        /// Of which operator, source or sink.
        #[serde(with = "named")]
        whom: SubtaskId,
        /// The call.
        hook: Hook,
        /// How it fails.
        act: Act,
        /// How many calls of this kind go well before.
        after: u32,
    },
    /// The process ends at once: what was not durable may be lost.
    Crash {
        /// Whether the machine goes down too.
        power: bool,
    },
    /// The process ends within the storage, at this call of the disk from now on.
    CrashInStorage {
        /// At which call.
        call: u64,
        /// Whether the machine goes down too.
        power: bool,
    },
    /// Calls of the disk fail.
    Disk {
        /// How many calls go well before.
        after: u64,
        /// How many fail.
        calls: u64,
    },
    /// Snapshots cannot be written.
    RefuseWrites {
        /// How many.
        jobs: u64,
    },
    /// Bits of what is on the disk flip.
    Decay {
        /// How many, each in a file of its own choice.
        bits: u32,
    },
    /// The storage is slow for so many jobs.
    SlowStorage {
        /// How many jobs.
        jobs: u64,
        /// How long each takes, in ms.
        ms: u64,
    },
    /// Commits are slow, and then fail.
    FailCommits {
        /// How many.
        commits: u64,
        /// How long each takes, in ms.
        ms: u64,
        /// In which way they fail.
        failure: CommitFailure,
    },
    /// Control messages are slow.
    SlowMessages {
        /// How many.
        messages: u64,
        /// How long each takes, in ms.
        ms: u64,
    },
    /// A subtask gets no turn for a while: it hangs, or something holds its thread up.
    Stall {
        /// Which one.
        #[serde(with = "named")]
        subtask: SubtaskId,
        /// For how long, in ms.
        ms: u64,
    },
    /// The operators of a subtask do not come back from their next call.
    Lose {
        /// Which one.
        #[serde(with = "named")]
        subtask: SubtaskId,
    },
    /// The job is stopped with a last checkpoint and started again.
    Stop,
    /// So it is, with another parallelism, unless what it has come to does not let it.
    Rescale,
    /// Somebody asks for a checkpoint now.
    Trigger,
}

impl Fault {
    /// The kinds of faults, as [`Fault::kind`] names them.
    pub const KINDS: &'static [&'static str] = &[
        "panic",
        "error",
        "unavailable",
        "kill",
        "power cut",
        "crash in storage",
        "disk error",
        "refused write",
        "bit flip",
        "slow storage",
        "failed commit",
        "slow messages",
        "stall",
        "lost operators",
        "stop",
        "rescale",
        "trigger",
    ];

    /// Returns whom it hits, if it is one.
    pub fn target(&self) -> Option<&SubtaskId> {
        match self {
            Fault::Hook { whom, .. } => Some(whom),
            Fault::Stall { subtask, .. } | Fault::Lose { subtask } => Some(subtask),
            _ => None,
        }
    }

    /// Returns what kind of fault it is, in a word or two.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::Hook { act, .. } => act.kind(),
            Fault::Crash { power: false } => "kill",
            Fault::Crash { power: true } => "power cut",
            Fault::CrashInStorage { .. } => "crash in storage",
            Fault::Disk { .. } => "disk error",
            Fault::RefuseWrites { .. } => "refused write",
            Fault::Decay { .. } => "bit flip",
            Fault::SlowStorage { .. } => "slow storage",
            Fault::FailCommits { .. } => "failed commit",
            Fault::SlowMessages { .. } => "slow messages",
            Fault::Stall { .. } => "stall",
            Fault::Lose { .. } => "lost operators",
            Fault::Stop => "stop",
            Fault::Rescale => "rescale",
            Fault::Trigger => "trigger",
        }
    }
}

/// A fault and when it strikes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The step of the schedule.
    pub step: u64,
    /// What happens.
    #[serde(flatten)]
    pub fault: Fault,
}

/// The faults of a run, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultPlan {
    /// All of them.
    #[serde(rename = "fault", default)]
    pub faults: Vec<Planned>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |debug: &dyn fmt::Debug| {
            let mut word = String::new();
            for letter in format!("{debug:?}").chars() {
                if letter.is_uppercase() && !word.is_empty() {
                    word.push('_');
                }
                word.extend(letter.to_lowercase());
            }
            word
        };
        match self {
            Fault::Hook { whom, hook, act, after: 0 } => write!(f, "{} in {} of {whom}", word(act), word(hook)),
            Fault::Hook { whom, hook, act, after } => {
                write!(f, "{} in {} of {whom}, {after} calls on", word(act), word(hook))
            }
            Fault::Stall { subtask, ms } => write!(f, "{subtask} stands still for {ms} ms"),
            Fault::Lose { subtask } => write!(f, "{subtask} loses its operators"),
            Fault::Crash { power: true } => f.write_str("power cut"),
            Fault::Crash { power: false } => f.write_str("kill"),
            Fault::CrashInStorage { call, power } => {
                write!(f, "{} at call {call} of the disk", if *power { "power cut" } else { "kill" })
            }
            Fault::Disk { after, calls } => write!(f, "{calls} failing calls of the disk, {after} calls on"),
            Fault::RefuseWrites { jobs } => write!(f, "{jobs} snapshots cannot be written"),
            Fault::Decay { bits } => write!(f, "{bits} bits flip on the disk"),
            Fault::SlowStorage { jobs, ms } => write!(f, "{jobs} jobs of the storage take {ms} ms"),
            Fault::FailCommits { commits, ms, failure } => {
                write!(f, "{commits} commits {} after {ms} ms", word(failure))
            }
            Fault::SlowMessages { messages, ms } => write!(f, "{messages} messages take {ms} ms"),
            Fault::Stop => f.write_str("stop and start"),
            Fault::Rescale => f.write_str("stop, and start with another parallelism"),
            Fault::Trigger => f.write_str("a checkpoint is asked for"),
        }
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Planned { step, fault }) in self.faults.iter().enumerate() {
            let comma = if index == 0 { "" } else { "; " };
            write!(f, "{comma}step {step}: {fault}")?;
        }
        Ok(())
    }
}

/// Names of subtasks as people write them.
mod named {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::ids::SubtaskId;

    pub(super) fn serialize<S: Serializer>(id: &SubtaskId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SubtaskId, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parts = text.strip_suffix(']').and_then(|text| text.rsplit_once('['));
        let id = parts.and_then(|(name, index)| Some(SubtaskId::new(name, index.parse().ok()?)));
        id.ok_or_else(|| D::Error::custom(format!("\"{text}\" is no subtask; write \"NAME[INDEX]\"")))
    }
}

/// How often each kind of fault strikes in one run: each run has its own mix.
struct Weights {
    operator: u64,
    source: u64,
    sink: u64,
    crash: u64,
    crash_in_storage: u64,
    disk: u64,
    refuse: u64,
    decay: u64,
    slow_storage: u64,
    fail_commits: u64,
    slow_messages: u64,
    stall: u64,
    stop: u64,
    lose: u64,
    trigger: u64,
}

impl Weights {
    fn draw(random: &mut Random) -> Weights {
        let mut weight = |usual: u64| if random.percent(40) { 0 } else { usual * random.between(1, 4) };
        Weights {
            operator: weight(4),
            source: weight(2),
            sink: weight(3),
            crash: weight(2),
            crash_in_storage: weight(2),
            disk: weight(2),
            refuse: weight(2),
            decay: weight(1),
            slow_storage: weight(1),
            fail_commits: weight(2),
            slow_messages: weight(1),
            stall: weight(1),
            stop: weight(1),
            lose: weight(1),
            trigger: weight(1),
        }
    }
}

impl FaultPlan {
    /// Draws a plan for a job, of one of these numbers of faults.
    pub(crate) fn draw(random: &mut Random, job: &Job, may_rescale: bool, counts: &[u64]) -> FaultPlan {
        let weights = Weights::draw(random);
        let count = random.pick(counts);
        let gap = random.pick(&[10, 60, 200]);
        let mut step = random.between(0, 300);
        let mut faults = Vec::new();
        for _ in 0..count {
            if let Some(fault) = draw_fault(random, job, may_rescale, &weights) {
                faults.push(Planned { step, fault });
            }
            step += random.between(0, 2 * gap);
        }
        FaultPlan { faults }
    }
}

fn draw_fault(random: &mut Random, job: &Job, may_rescale: bool, weights: &Weights) -> Option<Fault> {
    let choices = [
        weights.operator,
        weights.source,
        weights.sink,
        weights.crash,
        weights.crash_in_storage,
        weights.disk,
        weights.refuse,
        weights.decay,
        weights.slow_storage,
        weights.fail_commits,
        weights.slow_messages,
        weights.stall,
        weights.stop,
        weights.lose,
        weights.trigger,
    ];
    let total: u64 = choices.iter().sum();
    if total == 0 {
        return None;
    }
    let mut chance = random.below(total);
    let mut choice = 0;
    while chance >= choices[choice] {
        chance -= choices[choice];
        choice += 1;
    }
    Some(match choice {
        0 => return draw_hook(random, job, OPERATOR_HOOKS),
        1 => return draw_hook(random, job, SOURCE_HOOKS),
        2 => return draw_hook(random, job, SINK_HOOKS),
        3 => Fault::Crash { power: random.percent(70) },
        4 => Fault::CrashInStorage { call: random.between(0, 25), power: random.percent(80) },
        5 => Fault::Disk { after: random.between(0, 15), calls: random.pick(&[1, 1, 2, 10]) },
        6 => Fault::RefuseWrites { jobs: random.pick(&[1, 2, 4, 10, 100]) },
        7 => Fault::Decay { bits: random.pick(&[1, 1, 3, 12]) },
        8 => Fault::SlowStorage { jobs: random.between(1, 10), ms: random.pick(&[30, 200, 800]) },
        9 => Fault::FailCommits {
            commits: random.between(1, 3),
            ms: random.pick(&[0, 100, 400]),
            failure: random.pick(&[CommitFailure::Refused, CommitFailure::Unanswered]),
        },
        10 => Fault::SlowMessages { messages: random.between(1, 20), ms: random.pick(&[20, 100, 400]) },
        11 => {
            let subtask = draw_subtask(random, job);
            Fault::Stall { subtask, ms: random.pick(&[20, 200, 3_000]) }
        }
        12 if may_rescale && random.percent(50) => Fault::Rescale,
        12 => Fault::Stop,
        13 => Fault::Lose { subtask: draw_subtask(random, job) },
        _ => Fault::Trigger,
    })
}

fn draw_subtask(random: &mut Random, job: &Job) -> SubtaskId {
    let subtasks = &job.layouts[random.index(job.layouts.len())].subtasks;
    subtasks[random.index(subtasks.len())].clone()
}

fn draw_hook(random: &mut Random, job: &Job, hooks: &[Hook]) -> Option<Fault> {
    let chains = &job.regions[random.index(job.regions.len())].chains;
    let mut hook = random.pick(hooks);
    let is_operators = OPERATOR_HOOKS.contains(&hook);
    let fits = chains.iter().filter(|chain| match hook {
        _ if is_operators => !chain.operators.is_empty(),
        _ if SOURCE_HOOKS.contains(&hook) => chain.source.is_some(),
        _ => chain.sink.is_some(),
    });
    let fits: Vec<_> = fits.collect();
    if fits.is_empty() {
        return None;
    }
    let chain = random.pick(&fits);
    let asks = chain.operators.last().is_some_and(|(_, operator)| operator.asks);
    if is_operators && asks && random.percent(40) {
        hook = random.pick(&[Hook::Ask, Hook::Ask, Hook::Answer]);
    }
    let mut act =
        random.pick(&[Act::Panic, Act::PanicAfter, Act::PanicMidway, Act::Fail, Act::FailAfter, Act::Unavailable(1)]);
    if act == Act::Unavailable(1) {
        act = Act::Unavailable(random.between(1, 4) as u32);
    }
    let index = random.below(u64::from(chain.parallelism)) as u32;
    let member = random.index(chain.operators.len().max(1));
    let node = match hook {
        Hook::Ask | Hook::Answer => &chain.operators.last()?.0,
        _ if is_operators => &chain.operators[member].0,
        _ if SOURCE_HOOKS.contains(&hook) => &chain.source.as_ref()?.0,
        _ => &chain.sink.as_ref()?.0,
    };
    let whom = SubtaskId::new(node.as_str(), index);
    Some(Fault::Hook { whom, hook, act, after: random.pick(&[0, 0, 0, 1, 2, 5]) })
}
