//! Small kinds for tests of the topology, and how to plan a text with them.

use std::path::Path;

use piton_actors::{
    Context, Delivery, Either, Feed, InputRef, Key, NoPosition, Operator, Progress, Result, SideOutput,
    SideOutputDeclared, Sink, Source, Subtask, WindowId,
};
use serde::Deserialize;

use crate::config::Overrides;
use crate::error::Error;
use crate::topology::{Plan, Registry, load_text};

/// A source of numbers.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Numbers {
    limit: u64,
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
        self.limit
    }
}

/// A source that cannot go back.
#[derive(Clone, Deserialize)]
pub(crate) struct Pipe;

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

/// An operator without a key.
#[derive(Clone, Deserialize)]
pub(crate) struct Scale {
    #[serde(default)]
    factor: u64,
}

impl Operator for Scale {
    type In = u64;
    type Out = u64;

    fn is_keyed(&self) -> bool {
        false
    }

    fn process(&mut self, record: &u64, ctx: &mut Context<u64>) -> Result {
        ctx.emit(record * self.factor);
        Ok(())
    }
}

/// An operator with a key and without options.
#[derive(Clone, Deserialize)]
pub(crate) struct Count;

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

/// An operator with two inputs.
#[derive(Clone, Deserialize)]
pub(crate) struct Pair;

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

/// An operator with side outputs.
#[derive(Clone, Deserialize)]
pub(crate) struct Part;

const LARGE: SideOutput<u64> = SideOutput::new("large");
const ODD: SideOutput<String> = SideOutput::new("odd");

impl Operator for Part {
    type In = u64;
    type Out = u64;

    fn is_keyed(&self) -> bool {
        false
    }

    fn side_outputs(&self) -> Vec<SideOutputDeclared> {
        vec![LARGE.into(), ODD.into()]
    }

    fn process(&mut self, record: &u64, ctx: &mut Context<u64>) -> Result {
        match record {
            large if *large > 1_000 => ctx.emit_to(LARGE, *large)?,
            odd if odd % 2 == 1 => ctx.emit_to(ODD, odd.to_string())?,
            record => ctx.emit(*record),
        }
        Ok(())
    }
}

/// A sink that shows its rows with the commit, or at once.
#[derive(Clone, Deserialize)]
pub(crate) struct Keep<const AT_ONCE: bool>;

impl<const AT_ONCE: bool> Sink for Keep<AT_ONCE> {
    type In = u64;
    type Pending = u64;

    fn delivery(&self) -> Delivery {
        if AT_ONCE { Delivery::Immediate } else { Delivery::Staged }
    }

    async fn open(&mut self, _pending: Vec<u64>, _subtask: &Subtask) -> Result {
        Ok(())
    }

    async fn write(&mut self, _batch: std::sync::Arc<piton_actors::Rows<u64>>) -> Result {
        Ok(())
    }

    async fn prepare(&mut self, _window: WindowId) -> Result<Option<u64>> {
        Ok(None)
    }
}

/// Returns a registry of the kinds above.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.source::<Numbers>("numbers").source::<Pipe>("pipe");
    registry.operator::<Scale>("scale").operator::<Count>("count").operator::<Pair>("pair").operator::<Part>("part");
    registry.sink::<Keep<false>>("keep").sink::<Keep<true>>("show");
    registry
}

/// Plans a text.
pub(crate) fn try_plan(text: &str) -> crate::error::Result<Plan> {
    load_text(text, Path::new("/jobs/job.toml"), &Overrides::default(), &registry())
}

/// Plans a text that is right.
pub(crate) fn plan(text: &str) -> Plan {
    try_plan(text).unwrap()
}

/// Returns what is wrong with a text that is not.
pub(crate) fn wrong(text: &str) -> Error {
    try_plan(text).err().expect("something is wrong with the text")
}
