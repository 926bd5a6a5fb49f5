//! The topology as it is written: `[sources.NAME]`, `[operators.NAME]`, `[sinks.NAME]`, each with the options that
//! the engine reads; the rest belongs to the kind.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::config::{DidYouMean, Duration, Layered, Problems, join, nearest, read};

/// The tables of a file that make the topology.
pub(crate) const TABLES: [&str; 3] = ["sources", "operators", "sinks"];

/// What a node of the graph does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Records come from it.
    Source,
    /// Records go through it.
    Operator,
    /// Records go to it.
    Sink,
}

impl Role {
    /// Returns the name of its table, which is also its plural.
    pub(crate) fn table(self) -> &'static str {
        match self {
            Role::Source => "sources",
            Role::Operator => "operators",
            Role::Sink => "sinks",
        }
    }

    /// Returns the options that the engine reads.
    pub(crate) fn engine_options(self) -> &'static [&'static str] {
        match self {
            Role::Source => {
                &["type", "parallelism", "out_of_order", "idle_timeout", "max_drift", "dedicated", "renamed_from"]
            }
            Role::Operator | Role::Sink => &["type", "inputs", "parallelism", "partition", "dedicated", "renamed_from"],
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Source => "source",
            Role::Operator => "operator",
            Role::Sink => "sink",
        })
    }
}

/// What `partition` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Asked {
    Forward,
    Rebalance,
    Broadcast,
}

/// One table as it is written.
#[derive(Clone, Debug)]
pub(crate) struct NodeSpec {
    pub(crate) role: Role,
    pub(crate) name: String,
    /// Where it stands: `operators.count`.
    pub(crate) path: String,
    // What follows is what the engine reads of a table; the comments are the manual.
    /// What it is: one of the types that `piton list` shows. Default: (required).
    pub(crate) type_name: Option<String>,
    /// What it reads: `NAME`, or `NAME.OUTPUT` for a side output. Several that carry the same are read as one, save for
    /// types that tell their inputs apart. Default: (required).
    pub(crate) inputs: Vec<String>,
    /// How many subtasks it has. Default: `job.parallelism`; of a sink, the most that any of its inputs has.
    pub(crate) parallelism: Option<u32>,
    /// How records reach its subtasks: each from the one of the same number, which keeps their order (`"forward"`), in
    /// turn (`"rebalance"`), or all of them everywhere (`"broadcast"`). Not for an operator that has a key. Default: by the
    /// key; without one, `"forward"` if both ends have as many subtasks, `"rebalance"` otherwise.
    pub(crate) partition: Option<Asked>,
    /// Whether each of its subtasks has a thread of its own, and shares an actor with nobody: for what blocks. Default: false.
    pub(crate) dedicated: bool,
    /// How much later than others, by its event time, a row may come without being late: the watermark stays so far
    /// behind. Default: `"0ms"`.
    pub(crate) out_of_order: Option<Duration>,
    /// After how long without rows nobody waits for its event time. Default: never.
    pub(crate) idle_timeout: Option<Duration>,
    /// How far it may be read ahead of the slowest source of its region, by event time. Default: any distance.
    pub(crate) max_drift: Option<Duration>,
    /// What it was called before: the state of that name is its own. Default: nothing.
    pub(crate) renamed_from: Option<String>,
    pub(crate) options: Table,
}

impl NodeSpec {
    /// Names it as messages begin.
    pub(crate) fn title(&self) -> String {
        format!("{} \"{}\"", self.role, self.name)
    }
}

/// Reads the tables, in the order in which they stand in the file.
pub(crate) fn read_nodes(layered: &Layered<'_>, problems: &mut Problems) -> Vec<NodeSpec> {
    let mut specs = Vec::new();
    for role in [Role::Source, Role::Operator, Role::Sink] {
        let Some(value) = layered.values.get(role.table()) else { continue };
        let Value::Table(tables) = value else {
            let table = role.table();
            problems.value(table, format!("\"{table}\" is not a table; write [{table}.NAME]"));
            continue;
        };
        for (name, value) in tables {
            let path = join(role.table(), name);
            match value {
                Value::Table(table) => specs.push(read_node(role, name, path, table.clone(), layered, problems)),
                Value::Array(values) if values.iter().all(Value::is_table) && !values.is_empty() => {
                    problems.key(&path, format!("\"{path}\" is a list; write it in single brackets: [{path}]"));
                }
                _ => {
                    let message = format!("\"{path}\" is not a table; name the {role}: [{}.NAME]", role.table());
                    problems.key(&path, message);
                }
            }
        }
    }
    specs.sort_by_key(|spec| layered.order(&spec.path));
    check_names(&specs, problems);
    check_renames(&specs, problems);
    specs
}

fn read_node(
    role: Role,
    name: &str,
    path: String,
    mut table: Table,
    layered: &Layered<'_>,
    problems: &mut Problems,
) -> NodeSpec {
    let title = format!("{role} \"{name}\"");
    let mut engine = Engine { table: &mut table, path: &path, title: &title, layered, problems };
    let type_name = engine.require("type", "type = \"…\"");
    let inputs = if role == Role::Source { None } else { engine.require("inputs", "inputs = [\"NAME\"]") };
    let parallelism = engine.take("parallelism");
    let dedicated = engine.take("dedicated").unwrap_or_default();
    let partition = if role == Role::Source { None } else { engine.take("partition") };
    let renamed_from: Option<String> = engine.take("renamed_from");
    let out_of_order = if role == Role::Source { engine.take("out_of_order") } else { None };
    let idle_timeout = engine.take_time(role, "idle_timeout", "leave it out to wait for ever");
    let max_drift = engine.take_time(role, "max_drift", "leave it out to wait for no other source");
    if parallelism == Some(0) {
        problems.value(join(&path, "parallelism"), format!("{title}: parallelism must be at least 1"));
    }
    if inputs.as_ref().is_some_and(Vec::is_empty) {
        problems.value(join(&path, "inputs"), format!("{title} has no inputs; write inputs = [\"NAME\"]"));
    }
    if role == Role::Source && table.remove("inputs").is_some() {
        problems.key(join(&path, "inputs"), format!("{title} has inputs, but a source reads no other; remove them"));
    }
    NodeSpec {
        role,
        name: name.to_string(),
        path,
        type_name,
        inputs: inputs.unwrap_or_default(),
        parallelism,
        partition,
        dedicated,
        out_of_order,
        idle_timeout,
        max_drift,
        renamed_from,
        options: table,
    }
}

/// Takes the engine's own options out of a table.
struct Engine<'e, 'l> {
    table: &'e mut Table,
    path: &'e str,
    title: &'e str,
    layered: &'e Layered<'l>,
    problems: &'e mut Problems,
}

impl Engine<'_, '_> {
    fn take<T: DeserializeOwned>(&mut self, option: &str) -> Option<T> {
        let (key, value) = self.table.remove_entry(option)?;
        let one = Table::from_iter([(key, value)]);
        let mut read: BTreeMap<String, T> = read(self.layered, one, self.path, self.problems);
        read.remove(option)
    }

    /// As `take`, of a source, for a time that is not none at all: `instead` is what to do for that.
    fn take_time(&mut self, role: Role, option: &str, instead: &str) -> Option<Duration> {
        let time: Option<Duration> = if role == Role::Source { self.take(option) } else { None };
        if time.is_some_and(Duration::is_zero) {
            let message = format!("{}: {option} must be longer than 0; {instead}", self.title);
            self.problems.value(join(self.path, option), message);
        }
        time
    }

    /// As `take`, but notes if the option is not there, or only under a name that looks like a typo of it.
    fn require<T: DeserializeOwned>(&mut self, option: &str, example: &str) -> Option<T> {
        if self.table.contains_key(option) {
            return self.take(option);
        }
        let title = self.title;
        match nearest(option, self.table.keys().map(String::as_str)).map(str::to_string) {
            Some(key) => {
                let message = format!("{title}: unknown option \"{key}\"; did you mean \"{option}\"?");
                self.problems.key(join(self.path, &key), message);
                self.table.remove(&key);
            }
            None => self.problems.key(self.path, format!("{title} has no {option}; write {example}")),
        }
        None
    }
}

/// Returns whether a text can be the name of a node, or of a side output.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn check_names(specs: &[NodeSpec], problems: &mut Problems) {
    let mut seen: BTreeMap<&str, &NodeSpec> = BTreeMap::new();
    for spec in specs {
        if !is_name(&spec.name) {
            let message = format!("the name \"{}\" is not made of letters, digits, \"_\" and \"-\"", spec.name);
            problems.key(&spec.path, message);
        }
        if let Some(first) = seen.insert(&spec.name, spec) {
            let message =
                format!("the name \"{}\" is taken by [{}]; names are ids: choose another", spec.name, first.path);
            problems.key(&spec.path, message);
        }
    }
}

/// Notes what cannot have been renamed: a name that is still there, or that two claim.
fn check_renames(specs: &[NodeSpec], problems: &mut Problems) {
    let mut claimed: BTreeMap<&str, &NodeSpec> = BTreeMap::new();
    for spec in specs {
        let Some(old) = spec.renamed_from.as_deref() else { continue };
        let path = join(&spec.path, "renamed_from");
        if let Some(other) = specs.iter().find(|other| other.name == old) {
            let message = format!("{} cannot be renamed from \"{old}\": [{}] has that name", spec.title(), other.path);
            problems.value(&path, message);
        } else if let Some(first) = claimed.insert(old, spec) {
            let message = format!("{} and [{}] are both renamed from \"{old}\"", spec.title(), first.path);
            problems.value(&path, message);
        }
    }
}

/// What an input names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Input {
    /// The node.
    pub(crate) node: usize,
    /// Its side output, if it is one: whether the node has it is known when that is planned.
    pub(crate) output: Option<String>,
}

/// Returns what an input names, or says why that is nothing. Names have no dots, so that the first one ends the node's.
pub(crate) fn resolve(input: &str, specs: &[NodeSpec]) -> Result<Input, String> {
    let (name, output) = match input.split_once('.') {
        Some((name, output)) => (name, Some(output.to_string())),
        None => (input, None),
    };
    let Some(index) = specs.iter().position(|spec| spec.name == name) else {
        let candidates = specs.iter().filter(|spec| spec.role != Role::Sink).map(|spec| spec.name.as_str());
        let defined: Vec<&str> = candidates.clone().collect();
        let hint = DidYouMean(nearest(name, candidates));
        let defined = if defined.is_empty() { "none".to_string() } else { defined.join(", ") };
        return Err(format!("which the topology does not define{hint} (defined: {defined})"));
    };
    if specs[index].role == Role::Sink {
        return Err("which is a sink: nothing comes out of a sink".to_string());
    }
    match output {
        Some(output) if specs[index].role == Role::Source => Err(no_such_output(&specs[index], &output, &[])),
        output => Ok(Input { node: index, output }),
    }
}

/// Says that a node does not have a side output, but only these.
pub(crate) fn no_such_output(spec: &NodeSpec, output: &str, known: &[&str]) -> String {
    let (title, name) = (spec.title(), &spec.name);
    if known.is_empty() {
        return format!("but {title} has no output \"{output}\"; it has one output, named \"{name}\"");
    }
    let hint = DidYouMean(nearest(output, known.iter().copied()));
    let known: Vec<String> = known.iter().map(|output| format!("{name}.{output}")).collect();
    format!("but {title} has no output \"{output}\"{hint} (it has: {name}, {})", known.join(", "))
}
