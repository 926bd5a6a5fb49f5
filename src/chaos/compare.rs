//! How the output and the state of a run are compared with those of another: what follows from the input, and what does
//! not.
//!
//! Rows that follow from the input are the same rows in both runs, in some order. An operator of running values emits as
//! many of them as there were batches, which no two runs cut alike: of these only the last row for each key is the same
//! ([`OperatorBlueprint::latest_by`](piton_actors::blueprint::OperatorBlueprint::latest_by)). What an operator makes of
//! such rows is known only if it passes them on one by one; otherwise it is not compared, and the report says so.
//!
//! With at-least-once, records may be counted again after a crash. Of rows that count, only for which keys (and time
//! windows) there are some follows from the input, as far as the operator says so
//! ([`OperatorBlueprint::again`](piton_actors::blueprint::OperatorBlueprint::again)).
//!
//! Which records come too late for a window depends on how fast others come. What an operator makes of its input follows
//! from it only if no record came late to it, in either run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use piton_actors::blueprint::{Again, OperatorBlueprint, Varies};

use crate::config::{Compare, Mode};
use crate::error::{Error, ErrorKind, Result};
use crate::topology::{Edge, Guarantee, NodeKind, Partition, Plan};

/// How much of a stream follows from the input.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Follows {
    /// Every row.
    Rows,
    /// The last row for each value of these columns.
    Latest(Vec<String>),
    /// For which values of these columns there are rows.
    Keys(Vec<String>),
    /// Nothing that is known; why.
    Unknown(String),
}

/// How much of what a node emits follows from the input; for a sink, of what it takes.
struct Emits {
    main: Follows,
    /// To its side outputs.
    aside: Follows,
}

impl Emits {
    /// Returns what is known of what goes over an edge.
    fn over<'f>(all: &'f [Emits], edge: &Edge) -> &'f Follows {
        let Emits { main, aside } = &all[edge.from];
        if edge.output.is_some() { aside } else { main }
    }
}

/// How many records came late, to each operator that some came late to.
pub type Late = BTreeMap<String, u64>;

/// How the output of a sink is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// The same rows, each as often.
    Rows,
    /// The same last row for each value of these columns.
    Latest(Vec<String>),
    /// Some row for each value of these columns.
    Keys(Vec<String>),
    /// Not at all, because of this.
    Not(String),
}

/// A sink, and how its output is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkCheck {
    /// Its name.
    pub name: String,
    /// The folder that its files go to, if it makes files.
    pub folder: Option<PathBuf>,
    /// How they are compared.
    pub how: How,
    /// Why rows may be there more often than in a run without faults, if they may.
    pub may_repeat: Option<String>,
}

/// Kinds of sinks that write nowhere where it would matter.
const HARMLESS: [&str; 2] = ["print", "blackhole"];

/// Returns how each sink of a job is compared, if so many records come late.
///
/// # Errors
/// Of kind `Config`, with a line for everything that keeps two runs of the job from being compared.
pub fn sinks(plan: &Plan, late: &Late) -> Result<Vec<SinkCheck>> {
    let mut wrong = inputs_that_do_not_end(plan);
    let follows = follows(plan, late);
    let expect = &plan.settings.chaos.expect;
    let mut checks = Vec::new();
    for (index, node) in plan.nodes.iter().enumerate() {
        let NodeKind::Sink(blueprint) = &node.kind else { continue };
        let name = node.name.to_string();
        let asked = expect.sinks.get(&name);
        if blueprint.folder.is_none() && asked != Some(&Compare::No) && !HARMLESS.contains(&&*node.type_name) {
            wrong.push(format!(
                "sink \"{name}\" ({}) writes somewhere that is not known, and would be written to: if it may be, say so \
                 with `sinks.{name} = \"no\"` in [chaos.expect]",
                node.type_name
            ));
        }
        let how = match (asked, &follows[index].main) {
            (Some(Compare::No), _) => How::Not("[chaos.expect] says so".into()),
            _ if blueprint.folder.is_none() => How::Not(format!("{} keeps nothing", node.type_name)),
            (Some(Compare::Rows), _) | (None, Follows::Rows) => How::Rows,
            (Some(Compare::Latest(columns)), _) if counts_again(plan) => How::Keys(columns.clone()),
            (Some(Compare::Latest(columns)), _) | (None, Follows::Latest(columns)) => How::Latest(columns.clone()),
            (None, Follows::Keys(columns)) => How::Keys(columns.clone()),
            (None, Follows::Unknown(why)) => How::Not(why.clone()),
        };
        checks.push(SinkCheck { folder: blueprint.folder.clone(), how, may_repeat: may_repeat(plan, index), name });
    }
    if wrong.is_empty() { Ok(checks) } else { Err(Error::new(ErrorKind::Config, wrong)) }
}

/// Returns for each operator whose state is not compared, if so many records come late, why not.
pub fn states_not_compared(plan: &Plan, late: &Late) -> Vec<(String, String)> {
    let (follows, orderly) = (follows(plan, late), orderly(plan));
    let mut not = Vec::new();
    for (index, node) in plan.nodes.iter().enumerate() {
        let NodeKind::Operator(blueprint) = &node.kind else { continue };
        let why = varies(&node.name, blueprint, orderly[index], late);
        if let Some(why) = why.or_else(|| unclear(plan, &follows, index)) {
            not.push((node.name.to_string(), why));
        }
    }
    not
}

/// Returns for each node whose dead letters are not compared, if so many records come late, why not: what it reads, and
/// so what it fails at, does not follow from the input.
pub fn letters_not_compared(plan: &Plan, late: &Late) -> Vec<(String, String)> {
    let follows = follows(plan, late);
    let named = plan.nodes.iter().enumerate().map(|(index, node)| (node.name.to_string(), index));
    let not = named.filter_map(|(name, index)| {
        let why = came_late(&name, late).or_else(|| unclear(plan, &follows, index))?;
        Some((name, why))
    });
    not.collect()
}

/// Returns why not every row that a node reads follows from the input, if not.
fn unclear(plan: &Plan, follows: &[Emits], node: usize) -> Option<String> {
    let edge = plan.inputs(node).find(|edge| *Emits::over(follows, edge) != Follows::Rows)?;
    Some(match Emits::over(follows, edge) {
        Follows::Unknown(why) => why.clone(),
        _ => format!("what \"{}\" emits depends on how its input was cut", plan.emitter(edge)),
    })
}

fn inputs_that_do_not_end(plan: &Plan) -> Vec<String> {
    let mut wrong = Vec::new();
    for node in &plan.nodes {
        let NodeKind::Source(blueprint, _) = &node.kind else { continue };
        let (name, type_name) = (&node.name, &node.type_name);
        if !blueprint.replayable {
            wrong.push(format!(
                "source \"{name}\" ({type_name}) cannot be read twice, so there is nothing to compare with: give it a file"
            ));
        } else if blueprint.endless {
            wrong.push(format!(
                "the input of source \"{name}\" ({type_name}) never ends, so two runs cannot be compared: give it an end{}",
                if type_name == "generate" { format!(", as in `--set sources.{name}.rows=100000`") } else { String::new() }
            ));
        }
    }
    wrong
}

fn may_repeat(plan: &Plan, sink: usize) -> Option<String> {
    if plan.settings.chaos.expect.output == Mode::AtLeastOnce {
        return Some("[chaos.expect] output = \"at-least-once\"".into());
    }
    let mut paths = plan.guarantees().into_iter().filter(|path| path.nodes.last() == Some(&sink));
    paths.find(|path| path.guarantee != Guarantee::ExactlyOnce).map(|path| path.reason)
}

/// Returns whether what operators count may be too much after a crash.
fn counts_again(plan: &Plan) -> bool {
    plan.settings.checkpoint.mode == Mode::AtLeastOnce
}

/// Returns for each node whether its input comes in the same order in each run: from each source by one way only.
fn orderly(plan: &Plan) -> Vec<bool> {
    let mut orderly: Vec<bool> = Vec::with_capacity(plan.nodes.len());
    for index in 0..plan.nodes.len() {
        let mut inputs = plan.inputs(index);
        let is_orderly = match (inputs.next(), inputs.next()) {
            (None, _) => true,
            (Some(edge), None) => {
                let is_one = edge.partition == Partition::Forward || plan.nodes[edge.from].parallelism == 1;
                orderly[edge.from] && is_one
            }
            (Some(_), Some(_)) => false,
        };
        orderly.push(is_orderly);
    }
    orderly
}

/// Returns what it means for an operator that records came late, if they did.
fn came_late(name: &str, late: &Late) -> Option<String> {
    late.contains_key(name).then(|| format!("rows came late to \"{name}\", and which do depends on how fast they come"))
}

/// Returns why what an operator emits need not be the same in each run, if it need not.
fn varies(name: &str, blueprint: &OperatorBlueprint, orderly: bool, late: &Late) -> Option<String> {
    match blueprint.varies {
        Varies::WithTime => Some(format!("what \"{name}\" makes of rows depends on when they come")),
        Varies::WithArrival if !orderly => Some(format!(
            "what \"{name}\" makes of rows depends on the order in which they come from several subtasks or inputs"
        )),
        Varies::WithArrival | Varies::No => came_late(name, late),
    }
}

/// Returns for each node how much of what it emits (or, for a sink, takes) follows from the input.
fn follows(plan: &Plan, late: &Late) -> Vec<Emits> {
    let orderly = orderly(plan);
    let mut follows: Vec<Emits> = Vec::with_capacity(plan.nodes.len());
    // Each comes after all that it reads.
    for (index, node) in plan.nodes.iter().enumerate() {
        let inputs: Vec<&Edge> = plan.inputs(index).collect();
        let unclear = inputs.iter().find(|edge| *Emits::over(&follows, edge) != Follows::Rows);
        let taken = match unclear {
            None => Follows::Rows,
            Some(edge) => {
                let is_same = |other: &&Edge| Emits::over(&follows, other) == Emits::over(&follows, edge);
                behind(plan, edge, inputs.len(), inputs.iter().all(is_same), Emits::over(&follows, edge))
            }
        };
        follows.push(match &node.kind {
            NodeKind::Source(..) | NodeKind::Sink(_) => Emits { main: taken, aside: Follows::Rows },
            NodeKind::Operator(blueprint) => {
                let aside =
                    came_late(&node.name, late).map_or_else(|| sent_aside(&node.name, &taken), Follows::Unknown);
                let main = emitted(plan, &node.name, blueprint, taken);
                match varies(&node.name, blueprint, orderly[index], late) {
                    Some(why) if !matches!(main, Follows::Unknown(_)) => Emits { aside, main: Follows::Unknown(why) },
                    _ => Emits { aside, main },
                }
            }
        });
    }
    follows
}

/// Returns what is known at the end of an edge: the last row of a key is the last one only if all rows of that key come
/// by the same subtask, in order.
fn behind(plan: &Plan, edge: &Edge, inputs: usize, are_same: bool, from: &Follows) -> Follows {
    let name = &plan.nodes[edge.from].name;
    match from {
        Follows::Latest(_) if inputs > 1 => {
            Follows::Unknown(format!("the running values of \"{name}\" are mixed with other rows"))
        }
        Follows::Latest(_) if edge.partition != Partition::Forward && plan.nodes[edge.to].parallelism > 1 => {
            Follows::Unknown(format!("the running values of \"{name}\" are spread over several subtasks"))
        }
        Follows::Keys(_) if !are_same => {
            Follows::Unknown(format!("what \"{name}\" may have counted twice is mixed with other rows"))
        }
        other => other.clone(),
    }
}

/// Rows that are sent aside are some of those that come in, or as good as: nobody sends running values there.
fn sent_aside(name: &str, taken: &Follows) -> Follows {
    match taken {
        Follows::Latest(_) => {
            Follows::Unknown(format!("what \"{name}\" sends aside of running values depends on how rows were cut"))
        }
        Follows::Keys(_) => {
            Follows::Unknown(format!("what \"{name}\" sends aside was made of what may count records twice"))
        }
        other => other.clone(),
    }
}

/// Returns the columns behind an operator, if it passes all of them on.
fn passed(columns: &[String], passes: &[(String, String)]) -> Option<Vec<String>> {
    let renamed = |column: &String| passes.iter().find(|(from, _)| from == column).map(|(_, to)| to.clone());
    columns.iter().map(renamed).collect()
}

fn emitted(plan: &Plan, name: &str, blueprint: &OperatorBlueprint, taken: Follows) -> Follows {
    if counts_again(plan) && taken == Follows::Rows {
        return match &blueprint.again {
            Again::Rows => Follows::Rows,
            Again::Keys(columns) => Follows::Keys(columns.clone()),
            Again::Unknown => Follows::Unknown(format!(
                "\"{name}\" keeps state, and records that are read again after a crash may count twice in it \
                 (checkpoint.mode = \"at-least-once\")"
            )),
        };
    }
    match (taken, &blueprint.latest_by, &blueprint.passes) {
        (Follows::Rows, None, _) => Follows::Rows,
        (Follows::Rows, Some(columns), _) => Follows::Latest(columns.clone()),
        (Follows::Latest(columns), None, Some(passes)) => match passed(&columns, passes) {
            Some(columns) => Follows::Latest(columns),
            None => {
                Follows::Unknown(format!("\"{name}\" does not pass on the key of the running values that it reads"))
            }
        },
        (Follows::Keys(columns), _, Some(passes)) => match passed(&columns, passes) {
            Some(columns) => Follows::Keys(columns),
            None => Follows::Unknown(format!(
                "\"{name}\" does not pass on the key of rows that may count records twice (checkpoint.mode = \
                 \"at-least-once\")"
            )),
        },
        (Follows::Keys(_), _, None) => Follows::Unknown(format!(
            "what \"{name}\" makes of rows that may count records twice is not known (checkpoint.mode = \
             \"at-least-once\")"
        )),
        (Follows::Latest(_), _, _) => Follows::Unknown(format!(
            "what \"{name}\" makes of running values depends on how rows were cut into batches"
        )),
        (unknown @ Follows::Unknown(_), _, _) => unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::testing::plan as planned;

    const JOB: &str = "[sources.numbers]\ntype = \"numbers\"\nlimit = 1\n[operators.count]\ntype = \"count\"\n\
                       inputs = [\"numbers\"]\n[operators.scale]\ntype = \"scale\"\ninputs = [\"count\"]\n\
                       [sinks.out]\ntype = \"keep\"\ninputs = [\"scale\"]\n";

    fn wrong(text: &str) -> String {
        let error = sinks(&planned(text), &Late::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string()
    }

    /// The job, its sink one that makes files, with `count` one that emits running values, and `scale` what is said.
    fn how(job: &str, change: impl Fn(&mut OperatorBlueprint)) -> How {
        let mut plan = planned(job);
        for node in &mut plan.nodes {
            match &mut node.kind {
                NodeKind::Operator(blueprint) if &*node.name == "count" => blueprint.latest_by = Some(vec!["k".into()]),
                NodeKind::Operator(blueprint) => change(blueprint),
                NodeKind::Sink(blueprint) => blueprint.folder = Some("/out".into()),
                NodeKind::Source(..) => {}
            }
        }
        sinks(&plan, &Late::new()).unwrap().remove(0).how
    }

    #[test]
    fn the_last_row_counts_as_far_as_it_is_known_to_be_the_last() {
        let passes = |columns: &[(&str, &str)]| {
            let columns: Vec<_> = columns.iter().map(|(from, to)| (from.to_string(), to.to_string())).collect();
            move |blueprint: &mut OperatorBlueprint| blueprint.passes = Some(columns.clone())
        };
        assert_eq!(how(JOB, passes(&[("k", "key"), ("n", "n")])), How::Latest(vec!["key".into()]));
        assert!(matches!(how(JOB, passes(&[("n", "n")])), How::Not(why) if why.contains("does not pass on the key")));
        assert!(matches!(how(JOB, |_| {}), How::Not(why) if why.contains("\"scale\"")));
        let spread = JOB.replace("[\"scale\"]", "[\"scale\"]\nparallelism = 2");
        assert!(matches!(how(&spread, passes(&[("k", "k")])), How::Not(why) if why.contains("spread")));
        let asked = format!("{JOB}[chaos.expect]\nsinks.out = \"rows\"\n");
        assert_eq!(how(&asked, |_| {}), How::Rows);
    }

    #[test]
    fn what_goes_by_arrival_is_compared_only_where_that_is_the_same_in_each_run() {
        let two = JOB.replace("limit = 1", "limit = 1\nparallelism = 2");
        let varies = |varies: Varies| move |blueprint: &mut OperatorBlueprint| blueprint.varies = varies;
        // Running values stand before it otherwise.
        let alone = |job: &str, change: &dyn Fn(&mut OperatorBlueprint)| {
            let mut plan = planned(job);
            for node in &mut plan.nodes {
                match &mut node.kind {
                    NodeKind::Operator(blueprint) => change(blueprint),
                    NodeKind::Sink(blueprint) => blueprint.folder = Some("/out".into()),
                    NodeKind::Source(..) => {}
                }
            }
            (sinks(&plan, &Late::new()).unwrap().remove(0).how, states_not_compared(&plan, &Late::new()).len())
        };
        assert_eq!(alone(JOB, &varies(Varies::WithArrival)), (How::Rows, 0));
        assert_eq!(alone(&two, &varies(Varies::No)), (How::Rows, 0));
        let (how, states) = alone(&two, &varies(Varies::WithArrival));
        assert!(matches!(&how, How::Not(why) if why.contains("order")), "{how:?}");
        assert_eq!(states, 2);
        let (how, states) = alone(JOB, &varies(Varies::WithTime));
        assert!(matches!(&how, How::Not(why) if why.contains("when they come")), "{how:?}");
        assert_eq!(states, 2);
    }

    #[test]
    fn what_may_count_twice_is_compared_by_its_keys_or_not_at_all() {
        let job = format!("{JOB}[checkpoint]\nmode = \"at-least-once\"\n");
        let how = |change: &dyn Fn(&mut OperatorBlueprint), again: Again, asked: &str| {
            let mut plan = planned(&format!("{job}{asked}"));
            for node in &mut plan.nodes {
                match &mut node.kind {
                    NodeKind::Operator(blueprint) if &*node.name == "count" => blueprint.again = again.clone(),
                    NodeKind::Operator(blueprint) => change(blueprint),
                    NodeKind::Sink(blueprint) => blueprint.folder = Some("/out".into()),
                    NodeKind::Source(..) => {}
                }
            }
            sinks(&plan, &Late::new()).unwrap().remove(0).how
        };
        let passes = |blueprint: &mut OperatorBlueprint| {
            blueprint.passes = Some(vec![("k".into(), "key".into()), ("start".into(), "start".into())]);
        };
        let keys = |columns: &[&str]| columns.iter().map(|column| column.to_string()).collect::<Vec<_>>();
        let windows = Again::Keys(keys(&["k", "start"]));
        assert_eq!(how(&passes, windows.clone(), ""), How::Keys(keys(&["key", "start"])));
        assert!(matches!(how(&|_| {}, windows, ""), How::Not(why) if why.contains("\"scale\"")));
        assert!(
            matches!(how(&passes, Again::Keys(keys(&["n"])), ""), How::Not(why) if why.contains("does not pass on"))
        );
        assert!(matches!(how(&|_| {}, Again::Unknown, ""), How::Not(why) if why.contains("\"count\" keeps state")));
        assert_eq!(how(&|_| {}, Again::Rows, ""), How::Rows);
        let asked = "[chaos.expect]\nsinks.out = [\"k\"]\n";
        assert_eq!(how(&|_| {}, Again::Unknown, asked), How::Keys(keys(&["k"])));
    }

    #[test]
    fn what_depends_on_rows_that_came_late_is_not_compared() {
        let mut plan = planned(&format!("{JOB}[sinks.all]\ntype = \"keep\"\ninputs = [\"numbers\"]\n"));
        for node in &mut plan.nodes {
            if let NodeKind::Sink(blueprint) = &mut node.kind {
                blueprint.folder = Some("/out".into());
            }
        }
        let late = Late::from([("count".to_string(), 3)]);
        let hows = sinks(&plan, &late).unwrap();
        let how = |name: &str| &hows.iter().find(|check| check.name == name).unwrap().how;
        assert!(matches!(how("out"), How::Not(why) if why.contains("late to \"count\"")), "{hows:?}");
        assert_eq!(*how("all"), How::Rows);
        let named = |not: Vec<(String, String)>| not.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(named(states_not_compared(&plan, &late)), ["count", "scale"]);
        assert_eq!(named(letters_not_compared(&plan, &late)), ["count", "scale", "out"]);
        assert_eq!(letters_not_compared(&plan, &Late::new()), []);
    }

    #[test]
    fn state_made_of_running_values_is_not_compared() {
        let mut plan = planned(JOB);
        assert_eq!(states_not_compared(&plan, &Late::new()), []);
        let count = plan.node("count").unwrap();
        let NodeKind::Operator(blueprint) = &mut plan.nodes[count].kind else { unreachable!() };
        blueprint.latest_by = Some(Vec::new());
        let not = states_not_compared(&plan, &Late::new());
        assert_eq!(not.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["scale"]);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        assert!(wrong(JOB).contains("sink \"out\" (keep) writes somewhere that is not known"));
        let pipe = JOB.replace("type = \"numbers\"\nlimit = 1", "type = \"pipe\"");
        assert!(wrong(&pipe).contains("source \"numbers\" (pipe) cannot be read twice"));
    }

    #[test]
    fn what_may_repeat_is_compared_for_loss_only() {
        let may = |text: &str| sinks(&planned(text), &Late::new()).unwrap().remove(0).may_repeat;
        let no = "[chaos.expect]\nsinks.out = \"no\"\n";
        assert_eq!(may(&format!("{JOB}{no}")), None);
        assert!(may(&format!("{JOB}{no}output = \"at-least-once\"\n")).is_some());
        assert!(may(&format!("{JOB}{no}[checkpoint]\nmode = \"at-least-once\"\n")).is_some());
        assert!(may(&format!("{}{no}", JOB.replace("keep", "show"))).is_some());
    }
}
