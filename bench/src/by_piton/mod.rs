//! piton: operators in Rust, or the stock ones on columns, in a topology for each query.

#[cfg(feature = "arrow")]
mod columns;
mod ends;
mod highest;
mod queries;
mod winning;

use piton::runtime::{Ended, Event as JobEvent, RunOptions};
use piton::{Overrides, Registry};

use crate::answer::{Answer, take_total};
use crate::event::{Bid, Event};
use crate::query::Query;
use ends::EVENTS;

/// How piton runs a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) checkpoints: Checkpoints,
    pub(crate) chaining: Chaining,
    pub(crate) form: Form,
    /// How many subtasks each operator has, and how many threads there are.
    pub(crate) cores: usize,
}

/// Whether checkpoints are taken while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checkpoints {
    /// Nothing but what ends a job; nor is anything kept that would let an operator restart alone.
    Off,
    /// Exactly-once, every second, and batches can be taken back.
    EverySecond,
}

/// Whether operators that follow each other share an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chaining {
    On,
    Off,
}

/// What goes from one operator to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Rows of Rust types.
    Rows,
    /// Arrow batches; the operators are the stock ones.
    Columns,
}

fn registry() -> Registry {
    #[cfg(feature = "arrow")]
    let mut registry = Registry::stock();
    #[cfg(feature = "arrow")]
    registry
        .add_source_kind("columns", std::sync::Arc::new(columns::ColumnsKind))
        .add_sink_kind("column_tally", std::sync::Arc::new(columns::TallyKind));
    #[cfg(not(feature = "arrow"))]
    let mut registry = Registry::new();
    registry.source::<ends::Memory>("memory").sink::<ends::Tally>("tally");
    registry.operator::<ends::Persons>("persons").operator::<ends::Auctions>("auctions").operator::<ends::Bids>("bids");
    registry.operator::<queries::Offers>("offers").operator::<queries::KeyedOffers>("keyed_offers");
    registry.operator::<queries::SomeAuctions>("some_auctions");
    registry.join::<queries::LocalItems>("local_items");
    registry.operator::<winning::WinningBids>("winning_bids");
    registry.operator::<queries::MeanOfCategory>("mean_of_category");
    registry.operator::<queries::MeanOfSeller>("mean_of_seller");
    registry.aggregate::<queries::BidsPerAuction>("bids_per_auction");
    registry.operator::<highest::Highest<queries::Counted>>("most_bids");
    registry.operator::<highest::Highest<Bid>>("highest_bids");
    registry.aggregate::<queries::Sellers>("sellers");
    registry.join::<queries::NewSellers>("new_sellers");
    registry.aggregate::<queries::BidsPerBidder>("bids_per_bidder");
    registry.operator::<queries::Count>("count");
    registry
}

/// An operator: its name, its type, its inputs, and what else the topology says of it.
type Part = (&'static str, &'static str, &'static [&'static str], &'static str);

const PERSONS: Part = ("persons", "persons", &["events"], "");
const AUCTIONS: Part = ("auctions", "auctions", &["events"], "");
const BIDS: Part = ("bids", "bids", &["events"], "");
const WON: Part = ("won", "winning_bids", &["auctions", "bids"], "");

/// Returns the operators of a query; the last one is called "answers".
fn parts(query: Query) -> Vec<Part> {
    match query {
        Query::Q0 => vec![("answers", "offers", &["events"], "times = 1")],
        Query::Q0x => vec![BIDS, ("answers", "keyed_offers", &["bids"], "")],
        Query::Q1 => vec![("answers", "offers", &["events"], "times = 908")],
        Query::Q2 => vec![("answers", "some_auctions", &["events"], "")],
        Query::Q3 => vec![AUCTIONS, PERSONS, ("answers", "local_items", &["auctions", "persons"], "")],
        Query::Q4 => vec![AUCTIONS, BIDS, WON, ("answers", "mean_of_category", &["won"], "")],
        Query::Q5 => vec![
            BIDS,
            ("counts", "bids_per_auction", &["bids"], "window = { sliding = \"10s\", every = \"2s\" }"),
            ("answers", "most_bids", &["counts"], ""),
        ],
        Query::Q6 => vec![AUCTIONS, BIDS, WON, ("answers", "mean_of_seller", &["won"], "")],
        Query::Q7 => vec![BIDS, ("answers", "highest_bids", &["bids"], "")],
        Query::Q8 => vec![
            AUCTIONS,
            PERSONS,
            ("sellers", "sellers", &["auctions"], "window = \"10s\""),
            ("answers", "new_sellers", &["persons", "sellers"], ""),
        ],
        Query::Q11 => {
            let options = "window = { session = \"10s\" }\nby_the_wall = false";
            vec![BIDS, ("answers", "bids_per_bidder", &["bids"], options)]
        }
        Query::Q12 => {
            let options = "window = \"10s\"\ntime = \"processing\"\nby_the_wall = true";
            vec![BIDS, ("answers", "bids_per_bidder", &["bids"], options)]
        }
        Query::Kc => vec![("answers", "count", &["events"], "")],
    }
}

/// Returns whether the stock operators have a query.
#[cfg(feature = "arrow")]
pub(crate) fn in_columns(query: Query) -> bool {
    columns::parts(query).is_some()
}

fn topology(query: Query, way: Way) -> String {
    let timed = query.has_event_time();
    let cores = way.cores;
    let (source, parts, sink) = match way.form {
        Form::Rows => ("memory", parts(query), format!("tally\"\nweighted = {}", query == Query::Q12)),
        #[cfg(feature = "arrow")]
        Form::Columns => ("columns", columns::parts(query).expect("it has the query"), "column_tally\"".into()),
        #[cfg(not(feature = "arrow"))]
        Form::Columns => unreachable!("it has no query"),
    };
    let mut toml = format!("[sources.events]\ntype = \"{source}\"\ntimed = {timed}\nparallelism = {cores}\n");
    for (name, kind, inputs, options) in parts {
        toml +=
            &format!("[operators.{name}]\ntype = \"{kind}\"\ninputs = {inputs:?}\nparallelism = {cores}\n{options}\n");
    }
    toml + &format!("[sinks.out]\ninputs = [\"answers\"]\nparallelism = {cores}\ntype = \"{sink}\n")
}

/// Gives this process its events, which stay the same for as long as it lives.
pub(crate) fn prepare(events: Vec<Event>) {
    assert!(EVENTS.set(events).is_ok(), "a process has one set of events");
}

/// Returns the answer of a query, and how often it was committed.
pub(crate) fn run(query: Query, way: Way, set: &[String]) -> (Answer, u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut overrides = Overrides::default();
    let settings: &[&str] = match way.checkpoints {
        Checkpoints::Off => &["checkpoint.interval=\"1h\"", "window.interval=\"1h\"", "recovery.scope=\"region\""],
        Checkpoints::EverySecond => &["checkpoint.interval=\"1s\"", "recovery.scope=\"batch\""],
    };
    for assignment in settings {
        overrides = overrides.set(*assignment);
    }
    if way.checkpoints == Checkpoints::EverySecond {
        overrides = set.iter().fold(overrides, |overrides, assignment| overrides.set(assignment.as_str()));
    }
    if way.chaining == Chaining::Off {
        overrides = overrides.set("job.chaining=\"off\"");
    }
    let file = folder.path().join("bench.toml");
    let plan = piton::topology::load_text(&topology(query, way), &file, &overrides, &registry()).expect("a plan");
    let commits = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&commits);
    let listener = Box::new(move |event: &JobEvent| match event {
        JobEvent::Committed { .. } => _ = counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
        // What is done twice would be measured twice.
        JobEvent::Restarted { reason, .. } => panic!("the job was restarted: {reason}"),
        _ => {}
    });
    let options = RunOptions { threads: Some(way.cores), listener, ..RunOptions::default() };
    let ended = piton::runtime::run(&plan, options).expect("it runs");
    match ended {
        Ended::Ran(outcome) if outcome.finished => {}
        other => panic!("{} did not finish: {other:?}", query.name()),
    }
    (take_total(), commits.load(std::sync::atomic::Ordering::Relaxed))
}
