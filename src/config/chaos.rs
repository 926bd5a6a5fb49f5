//! `[chaos]`: what may be done to a job to see whether it keeps its promises.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use toml::Table;

use crate::config::checkpoint::Mode;
use crate::config::layers::Layered;
use crate::config::problem::Problems;
use crate::config::reader::{Mistake, read};
use crate::config::units::{Bytes, Duration};

/// `[chaos]`: what `piton chaos` and `piton sim` may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChaosSettings {
    /// What every choice comes from. Default: random, and always printed.
    pub seed: Option<u64>,
    /// How long faults go on.
    pub duration: Duration,
    /// How long the job runs before the first fault.
    pub warmup: Duration,
    /// The mean time from one fault to the next.
    pub mean_interval: Duration,
    /// How long the job has to be well again after the last fault.
    pub settle: Duration,
    /// How many faults may go on at once.
    pub max_concurrent_faults: u32,
    /// Whether there may be a fault while the job recovers from another.
    pub allow_during_recovery: bool,
    /// Which operators, sources and sinks may be hit: names, with `*` for any part of one.
    pub targets: Vec<String>,
    /// How often each kind of fault is chosen.
    pub weights: ChaosWeights,
    /// Faults at exact points.
    pub at: Vec<ChaosPoint>,
    /// What has to hold in the end.
    pub expect: ChaosExpectation,
}

impl Default for ChaosSettings {
    fn default() -> Self {
        ChaosSettings {
            seed: None,
            duration: Duration::from_secs(60),
            warmup: Duration::from_secs(3),
            mean_interval: Duration::from_millis(800),
            settle: Duration::from_secs(10),
            max_concurrent_faults: 2,
            allow_during_recovery: true,
            targets: vec!["*".to_string()],
            weights: ChaosWeights::default(),
            at: Vec::new(),
            expect: ChaosExpectation::default(),
        }
    }
}

/// `[chaos.weights]`: how often each kind of fault is chosen, in proportion to the others; 0: never.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChaosWeights {
    /// An operator panics.
    pub panic: u32,
    /// A call does not return.
    pub hang: u32,
    /// A call takes long.
    pub slow: u32,
    /// An actor vanishes.
    pub kill_actor: u32,
    /// The supervisor vanishes.
    pub kill_supervisor: u32,
    /// The process is killed.
    pub process_kill9: u32,
    /// The process stands still for a while.
    pub process_pause: u32,
    /// An acknowledgement of a checkpoint is lost.
    pub drop_ack: u32,
    /// `committed` is told twice.
    pub dup_commit: u32,
    /// A write of the store fails.
    pub store_eio: u32,
    /// The disk is full.
    pub store_enospc: u32,
    /// The disk is slow.
    pub store_slow: u32,
    /// A bit of what is stored flips.
    pub bitflip: u32,
}

impl ChaosWeights {
    /// Returns whether no kind is ever chosen.
    pub fn is_nothing(&self) -> bool {
        let none = ChaosWeights {
            panic: 0,
            hang: 0,
            slow: 0,
            kill_actor: 0,
            kill_supervisor: 0,
            process_kill9: 0,
            process_pause: 0,
            drop_ack: 0,
            dup_commit: 0,
            store_eio: 0,
            store_enospc: 0,
            store_slow: 0,
            bitflip: 0,
        };
        *self == none
    }
}

impl Default for ChaosWeights {
    fn default() -> Self {
        ChaosWeights {
            panic: 6,
            hang: 1,
            slow: 2,
            kill_actor: 4,
            kill_supervisor: 1,
            process_kill9: 2,
            process_pause: 1,
            drop_ack: 1,
            dup_commit: 1,
            store_eio: 1,
            store_enospc: 1,
            store_slow: 1,
            bitflip: 0,
        }
    }
}

/// `[[chaos.at]]`: a fault at an exact point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChaosPoint {
    /// Whom it hits: `"count"`, or one subtask, `"count[1]"`.
    pub operator: String,
    /// Where: the name of a hook, as `"process"`, `"before_checkpoint"`; `"poll"` of a source, `"write"` of a sink.
    pub point: String,
    /// What happens there.
    pub action: ChaosAction,
    /// When: `"nth(3)"`, counted from the start of the process. Default: the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Nth>,
}

/// Takes `[[chaos.at]]` out of the tables and reads it point by point, so that of each everything that is wrong is said;
/// what is missing or cannot be read stands there as nothing. Leaves it alone if it is no list of tables.
pub(crate) fn take_points(
    layered: &Layered<'_>,
    tables: &mut Table,
    problems: &mut Problems,
) -> Option<Vec<ChaosPoint>> {
    /// A point of which everything may be missing.
    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Draft {
        operator: Option<String>,
        point: Option<String>,
        action: Option<ChaosAction>,
        on: Option<Nth>,
    }
    let chaos = tables.get_mut("chaos")?.as_table_mut()?;
    let given = chaos.get("at")?.as_array()?.iter().map(|at| at.as_table().cloned());
    let given: Vec<Table> = given.collect::<Option<_>>()?;
    chaos.remove("at");
    let mut points = Vec::new();
    for (index, table) in given.into_iter().enumerate() {
        let path = format!("chaos.at[{index}]");
        let is_given = |option: &&str| table.get(*option).is_some_and(|value| value.as_str() != Some(""));
        for option in ["operator", "point", "action"].into_iter().filter(|option| !is_given(option)) {
            problems.key(path.as_str(), Mistake::MissingField(option.to_string()).message(&[]));
        }
        let Draft { operator, point, action, on } = read(layered, table, &path, problems);
        let (operator, point) = (operator.unwrap_or_default(), point.unwrap_or_default());
        points.push(ChaosPoint { operator, point, action: action.unwrap_or(ChaosAction::Panic), on });
    }
    Some(points)
}

/// What happens at an exact point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChaosAction {
    /// The call panics.
    Panic,
    /// The call returns an error.
    Fail,
    /// The call does not come back until it has been given up.
    Hang,
    /// The call takes a second longer.
    Slow,
    /// The process is killed within the call.
    ProcessKill9,
}

/// The how manieth time: `"nth(3)"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nth(pub u64);

impl FromStr for Nth {
    type Err = String;

    fn from_str(text: &str) -> Result<Nth, String> {
        let number = text.trim().strip_prefix("nth(").and_then(|rest| rest.strip_suffix(')'));
        match number.and_then(|number| number.trim().parse().ok()) {
            Some(number) if number > 0 => Ok(Nth(number)),
            _ => Err(format!("`{text}` does not say which time; write \"nth(1)\" for the first")),
        }
    }
}

impl TryFrom<String> for Nth {
    type Error = String;

    fn try_from(text: String) -> Result<Nth, String> {
        text.parse()
    }
}

impl From<Nth> for String {
    fn from(nth: Nth) -> String {
        nth.to_string()
    }
}

impl fmt::Display for Nth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nth({})", self.0)
    }
}

/// `[chaos.expect]`: what has to hold in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChaosExpectation {
    /// What the output is like, compared with that of a run without faults: `"at-least-once"` lets rows repeat.
    pub output: Mode,
    /// How long 99 of 100 recoveries take at most; that does not hold if none was measured. Default: any time.
    pub recovery_p99: Option<Duration>,
    /// How much memory the process takes at most. Default: any amount.
    pub max_rss: Option<Bytes>,
    /// How the output of sinks is compared, by their names. Default: as follows from the operators before them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sinks: BTreeMap<String, Compare>,
}

/// How the output of a sink is compared with that of a run without faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// `"rows"`: the same rows, each as often, in any order.
    Rows,
    /// `["carrier", "origin"]`: only the last row for each value of these columns counts.
    Latest(Vec<String>),
    /// `"no"`: it is not looked at. A sink that writes elsewhere than into a folder needs this: it is written to.
    No,
}

impl Serialize for Compare {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Compare::Rows => serializer.serialize_str("rows"),
            Compare::No => serializer.serialize_str("no"),
            Compare::Latest(columns) => columns.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Compare {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Compare, D::Error> {
        deserializer.deserialize_any(CompareVisitor)
    }
}

struct CompareVisitor;

impl<'de> Visitor<'de> for CompareVisitor {
    type Value = Compare;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"rows\", \"no\" or a list of columns")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Compare, E> {
        match text {
            "rows" => Ok(Compare::Rows),
            "no" => Ok(Compare::No),
            other => Err(E::unknown_variant(other, &["rows", "no", "a list of columns"])),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Compare, A::Error> {
        let mut columns = Vec::new();
        while let Some(column) = items.next_element()? {
            columns.push(column);
        }
        Ok(Compare::Latest(columns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_from_one() {
        assert_eq!(" nth( 3 ) ".parse(), Ok(Nth(3)));
        assert_eq!(Nth(3).to_string().parse(), Ok(Nth(3)));
        for wrong in ["nth(0)", "3", "nth(x)", "nth(-1)", "every(2)", ""] {
            assert!(wrong.parse::<Nth>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn how_a_sink_is_compared_survives_a_round_trip() {
        let text = "sinks.a = \"rows\"\nsinks.b = [\"k\"]\nsinks.c = \"no\"\n";
        let expect: ChaosExpectation = toml::from_str(text).unwrap();
        assert_eq!(expect.sinks["b"], Compare::Latest(vec!["k".into()]));
        assert_eq!(toml::from_str::<ChaosExpectation>(&toml::to_string(&expect).unwrap()).unwrap(), expect);
        let error = toml::from_str::<ChaosExpectation>("sinks.a = \"row\"").unwrap_err().to_string();
        assert!(error.contains("unknown variant `row`"), "{error}");
    }
}
