//! A topology file is refused with the place of every mistake, or it is a plan that can be explained, fingerprinted
//! and continued from itself.
//!
//! The input is the text. What follows a zero byte is set over it: an environment variable if it begins with
//! `PITON__`, otherwise as `--set` takes it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use piton::config::Overrides;
use piton::prelude::*;
use piton::topology::{Fingerprint, Format, Plan, Unmapped, load_text};
use piton::{Delivery, ErrorKind, InputRef, NoPosition, Rows};
use serde::Deserialize;

const FILE: &str = "job.toml";

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut parts = text.split('\0');
    let text = parts.next().unwrap_or_default();
    let mut overrides = Overrides::default();
    overrides.environment.insert("NAME".into(), "2".into());
    for part in parts {
        match part.strip_prefix("PITON__").and_then(|_| part.split_once('=')) {
            Some((name, value)) => drop(overrides.environment.insert(name.into(), value.into())),
            None => overrides = overrides.set(part),
        }
    }
    match load_text(text, Path::new(FILE), &overrides, &registry()) {
        Ok(plan) => accepted(&plan, text),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!error.lines().is_empty(), "refused without a reason");
            error.lines().iter().for_each(|line| has_place(line, text));
        }
    }
}

fn accepted(plan: &Plan, text: &str) {
    plan.warnings.iter().for_each(|line| has_place(line, text));
    for format in [Format::Text, Format::Dot, Format::Mermaid] {
        assert!(!plan.explain(format).is_empty());
    }
    let mut stored = BTreeMap::new();
    for (region, known) in plan.regions.iter().enumerate() {
        let print = plan.fingerprint(region);
        assert_eq!(Fingerprint::decode(&print.encode()).as_ref(), Ok(&print));
        stored.insert(known.name.to_string(), print);
    }
    let is_renamed = plan.nodes.iter().any(|node| node.renamed_from.is_some());
    match plan.continue_from(&stored, Unmapped::Refuse) {
        Ok(continuation) => assert_eq!(continuation.losses, Vec::<String>::new()),
        Err(misfits) => assert!(is_renamed, "a plan does not go on from itself: {misfits:?}"),
    }
    for chain in 0..plan.chains.len() {
        assert_eq!(plan.subtasks(chain).take(8).count() as u32, plan.chains[chain].parallelism.min(8));
    }
    assert!(plan.subtask_count() as usize >= plan.chains.len());
}

/// Asserts that a line begins with a place that there is.
fn has_place(line: &str, text: &str) {
    if line.starts_with("--set ") || line.starts_with("environment variable ") {
        return;
    }
    let rest = line.strip_prefix(FILE).unwrap_or_else(|| panic!("no place: {line}"));
    if rest.starts_with(": ") {
        return;
    }
    let mut parts = rest.trim_start_matches(':').splitn(3, ':');
    let mut number = || parts.next().and_then(|number| number.parse::<usize>().ok()).unwrap_or(0);
    let (row, column) = (number(), number());
    let found = text.split('\n').nth(row.wrapping_sub(1)).unwrap_or_else(|| panic!("there is no such line: {line}"));
    assert!((1..=found.chars().count() + 1).contains(&column), "there is no such column: {line}");
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    limit: u64,
    #[serde(default)]
    start: Start,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    steps: Vec<f64>,
}

impl Source for Numbers {
    type Out = u64;
    type Position = u64;

    async fn open(&mut self, _position: Option<u64>, _subtask: &Subtask) -> Result {
        Ok(())
    }

    async fn poll(&mut self, _feed: &mut Feed<u64>) -> Result<Progress> {
        Ok(Progress::Done)
    }

    fn position(&self) -> u64 {
        self.limit.wrapping_add(self.start.offset).wrapping_add(self.start.steps.len() as u64)
    }
}

#[derive(Clone, Deserialize)]
struct Pipe;

impl Source for Pipe {
    type Out = u64;
    type Position = NoPosition;

    async fn open(&mut self, _position: Option<NoPosition>, _subtask: &Subtask) -> Result {
        Ok(())
    }

    async fn poll(&mut self, _feed: &mut Feed<u64>) -> Result<Progress> {
        Ok(Progress::Done)
    }

    fn position(&self) -> NoPosition {
        NoPosition
    }

    fn replayable(&self) -> bool {
        false
    }
}

/// Its options do not refuse unknown ones, and are of many types.
#[derive(Clone, Deserialize)]
struct Scale {
    #[serde(default)]
    factor: i16,
    #[serde(default)]
    how: How,
    #[serde(default)]
    names: BTreeMap<String, Option<String>>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum How {
    #[default]
    Up,
    Down(u8),
    Between {
        low: u32,
        high: u32,
    },
}

impl Operator for Scale {
    type In = u64;
    type Out = u64;

    fn is_keyed(&self) -> bool {
        false
    }

    fn process(&mut self, record: &u64, ctx: &mut Context<u64>) -> Result {
        let by = match self.how {
            How::Up => 1,
            How::Down(by) => u64::from(by),
            How::Between { low, high } => u64::from(low.max(high)),
        };
        ctx.emit(record.wrapping_mul(by).wrapping_add(self.factor as u64 + self.names.len() as u64));
        Ok(())
    }
}

#[derive(Clone, Deserialize)]
struct Count;

impl Operator for Count {
    type In = u64;
    type Out = u64;

    fn key(&self, record: &u64) -> Key {
        Key::from(record)
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn process(&mut self, record: &u64, ctx: &mut Context<u64>) -> Result {
        ctx.emit(*record);
        Ok(())
    }
}

#[derive(Clone, Deserialize)]
struct Pair;

impl Operator for Pair {
    type In = Either<u64, u64>;
    type Out = u64;

    fn is_keyed(&self) -> bool {
        false
    }

    fn process(&mut self, _record: InputRef<'_, Self>, _ctx: &mut Context<u64>) -> Result {
        Ok(())
    }
}

#[derive(Clone, Deserialize)]
struct Keep<const AT_ONCE: bool>;

impl<const AT_ONCE: bool> Sink for Keep<AT_ONCE> {
    type In = u64;
    type Pending = u64;

    fn delivery(&self) -> Delivery {
        if AT_ONCE { Delivery::Immediate } else { Delivery::Staged }
    }

    async fn open(&mut self, _pending: Vec<u64>, _subtask: &Subtask) -> Result {
        Ok(())
    }

    async fn write(&mut self, _batch: Arc<Rows<u64>>) -> Result {
        Ok(())
    }

    async fn prepare(&mut self, _window: WindowId) -> Result<Option<u64>> {
        Ok(None)
    }
}

/// Returns a registry of a few kinds.
fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.source::<Numbers>("numbers").source::<Pipe>("pipe");
    registry.operator::<Scale>("scale").operator::<Count>("count").operator::<Pair>("pair");
    registry.sink::<Keep<false>>("keep").sink::<Keep<true>>("show");
    registry
}
