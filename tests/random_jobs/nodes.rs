//! Sources, operators and sinks of random jobs: each keeps to a rule, and fails when a fault is due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use piton::prelude::*;
use piton::{Delivery, Registry, Rows};
use serde::{Deserialize, Serialize};

use super::faults::{At, Call};
use super::rules::{self, Row, TURN, source_row};

pub(crate) fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.source::<Numbers>("numbers").sink::<Publish>("publish");
    registry.operator::<Plain>("plain").operator::<Keyed>("keyed").operator::<Merge>("merge");
    registry.operator::<Linger>("linger");
    registry
}

/// Emits the rows of its share, in steps of different lengths, some of them with a rest behind.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    seed: u64,
    node: String,
    id: u64,
    rows: u64,
    keys: u64,
    disorder: u64,
    /// Rows of a step at most.
    step: u64,
    /// In how many of a hundred steps it rests.
    rests: u64,
    #[serde(skip)]
    next: u64,
    #[serde(skip)]
    parallelism: u64,
}

impl Numbers {
    fn at(&self) -> At<'_> {
        At { seed: self.seed, node: &self.node }
    }
}

impl Source for Numbers {
    type Out = Row;
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, subtask: &Subtask) -> Result {
        self.at().enter(Call::SourceOpen)?;
        self.parallelism = u64::from(subtask.parallelism);
        self.next = position.unwrap_or(u64::from(subtask.index));
        self.at().leave(Call::SourceOpen)
    }

    async fn poll(&mut self, feed: &mut Feed<Row>) -> Result<Progress> {
        self.at().enter(Call::Poll)?;
        let chance = rules::mix(self.id ^ rules::mix(self.next));
        for _ in 0..(chance % self.step + 1).min(feed.room() as u64) {
            if self.next >= self.rows {
                break;
            }
            let (time, row) = source_row(self.id, self.next, self.keys, self.disorder);
            feed.push_at(time, row);
            self.next += self.parallelism;
        }
        self.at().leave(Call::Poll)?;
        Ok(match self.next {
            next if next >= self.rows => Progress::Done,
            _ if (chance >> 32) % 100 < self.rests => Progress::Idle(chance >> 62),
            _ => Progress::More,
        })
    }

    fn position(&self) -> u64 {
        self.next
    }

    async fn committed(&mut self, _window: WindowId, _position: u64) -> Result {
        self.at().call(Call::SourceCommitted, || Ok(()))
    }
}

/// What all operators do in the same way in calls that are nothing but a place to fail.
macro_rules! fails_in_hooks {
    () => {
        fn begin_window(&mut self, _window: WindowId, _ctx: &mut Context<Row>) -> Result {
            self.at().call(Call::BeginWindow, || Ok(()))
        }

        fn checkpointed(&mut self, _window: WindowId) -> Result {
            self.at().call(Call::Checkpointed, || Ok(()))
        }

        fn committed(&mut self, _window: WindowId) -> Result {
            self.at().call(Call::Committed, || Ok(()))
        }
    };
}

macro_rules! is_somewhere {
    ($node:ty) => {
        impl $node {
            fn at(&self) -> At<'_> {
                At { seed: self.seed, node: &self.node }
            }
        }
    };
}

/// Makes something of each record alone. It has none of the hooks that a batch cannot be taken back without.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    seed: u64,
    node: String,
    id: u64,
    rule: rules::Plain,
}

is_somewhere!(Plain);

impl Operator for Plain {
    type In = Row;
    type Out = Row;

    fails_in_hooks!();

    fn is_keyed(&self) -> bool {
        false
    }

    fn open(&mut self, _ctx: &mut Context<Row>) -> Result {
        self.at().call(Call::Open, || Ok(()))
    }

    fn process(&mut self, row: &Row, ctx: &mut Context<Row>) -> Result {
        self.at().call(Call::Process, || {
            self.rule.apply(self.id, *row).into_iter().for_each(|row| ctx.emit(row));
            Ok(())
        })
    }

    fn close(&mut self, _ctx: &mut Context<Row>) -> Result {
        self.at().call(Call::Close, || Ok(()))
    }
}

const COUNT: ValueState<u64> = ValueState::new("count");
const SPREAD: MapState<u64, u64> = MapState::new("spread");
const OPEN: ListState<(i64, u64)> = ListState::new("open");

/// Makes something of the records of each key, with state of every kind and timers.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keyed {
    seed: u64,
    node: String,
    id: u64,
    rule: rules::Keyed,
}

is_somewhere!(Keyed);

impl Keyed {
    fn take(&self, (key, value): Row, ctx: &mut Context<Row>) -> Result {
        match self.rule {
            rules::Keyed::Count => {
                let count = ctx.state(COUNT).update(next)?;
                ctx.emit((key, rules::counted(self.id, key, count)));
            }
            rules::Keyed::Spread => {
                let sub_key = rules::sub_key(value);
                let count = ctx.map_state(SPREAD).update(sub_key, next)?;
                if count == TURN {
                    ctx.map_state(SPREAD).remove(&sub_key)?;
                }
                ctx.emit((key, rules::spread(self.id, key, sub_key, count)));
            }
            rules::Keyed::Window => {
                let time = ctx.timestamp().ok_or_else(|| Error::failed("a record without a time"))?;
                if time <= ctx.watermark() {
                    return Err(Error::invalid("a record came late"));
                }
                let window = rules::window_of(time);
                ctx.list_state(OPEN).push((window, value))?;
                ctx.timer_at(rules::end_of(window))?;
            }
            rules::Keyed::Delay => {
                ctx.list_state(OPEN).push((0, value))?;
                let at = ctx.now() + (value % 6) as i64;
                ctx.timer_at_processing_time(at)?;
            }
        }
        Ok(())
    }

    fn fire(&self, timer: Timer, ctx: &mut Context<Row>) -> Result {
        let key = timer.key.as_u64().ok_or_else(|| Error::failed("a timer without a key"))?;
        if self.rule == rules::Keyed::Delay {
            return self.let_go(key, ctx);
        }
        let window = rules::window_of(timer.at);
        let (due, later): (Vec<_>, Vec<_>) =
            ctx.list_state(OPEN).take()?.into_iter().partition(|(of, _)| *of == window);
        for open in later {
            ctx.list_state(OPEN).push(open)?;
        }
        let values = due.into_iter().map(|(_, value)| value).collect();
        ctx.emit((key, rules::digest(self.id, key, window, values)));
        Ok(())
    }

    fn let_go(&self, key: u64, ctx: &mut Context<Row>) -> Result {
        for (_, value) in ctx.list_state(OPEN).take()? {
            ctx.emit((key, value));
        }
        Ok(())
    }
}

fn next(count: &mut u64) -> u64 {
    *count += 1;
    *count
}

impl Operator for Keyed {
    type In = Row;
    type Out = Row;

    fails_in_hooks!();

    /// The two hooks below are nothing but a place to fail.
    const HOLDS_ROWS: Option<bool> = Some(false);

    fn is_keyed(&self) -> bool {
        true
    }

    fn key(&self, row: &Row) -> Key {
        self.at().tell_key();
        Key::from(row.0)
    }

    fn open(&mut self, _ctx: &mut Context<Row>) -> Result {
        self.at().call(Call::Open, || Ok(()))
    }

    fn process(&mut self, row: &Row, ctx: &mut Context<Row>) -> Result {
        self.at().call(Call::Process, || self.take(*row, ctx))
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<Row>) -> Result {
        self.at().call(Call::Timer, || self.fire(timer, ctx))
    }

    fn end_window(&mut self, _window: WindowId, _ctx: &mut Context<Row>) -> Result {
        self.at().call(Call::EndWindow, || Ok(()))
    }

    fn before_checkpoint(&mut self, _window: WindowId, _ctx: &mut Context<Row>) -> Result {
        self.at().call(Call::BeforeCheckpoint, || Ok(()))
    }

    fn close(&mut self, ctx: &mut Context<Row>) -> Result {
        self.at().call(Call::Close, || {
            for key in ctx.keys() {
                let number = key.as_u64().ok_or_else(|| Error::failed("a key of another kind"))?;
                ctx.enter(key, None);
                if self.rule == rules::Keyed::Delay {
                    self.let_go(number, ctx)?;
                }
            }
            Ok(())
        })
    }
}

const SIDES: ValueState<(u64, u64)> = ValueState::new("sides");

/// Counts the records of each key, each of two inputs by itself.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Merge {
    seed: u64,
    node: String,
    id: u64,
}

is_somewhere!(Merge);

impl Operator for Merge {
    type In = Either<Row, Row>;
    type Out = Row;

    fails_in_hooks!();

    fn is_keyed(&self) -> bool {
        true
    }

    fn key(&self, row: Either<&Row, &Row>) -> Key {
        self.at().tell_key();
        let (Either::Left((key, _)) | Either::Right((key, _))) = row;
        Key::from(*key)
    }

    fn open(&mut self, _ctx: &mut Context<Row>) -> Result {
        self.at().call(Call::Open, || Ok(()))
    }

    fn process(&mut self, row: Either<&Row, &Row>, ctx: &mut Context<Row>) -> Result {
        self.at().call(Call::Process, || {
            let sides = ctx.state(SIDES);
            let (key, side, count) = match row {
                Either::Left((key, _)) => (*key, 0, sides.update(|(left, _)| next(left))?),
                Either::Right((key, _)) => (*key, 1, sides.update(|(_, right)| next(right))?),
            };
            ctx.emit((key, rules::merged(self.id, key, side, count)));
            Ok(())
        })
    }

    fn close(&mut self, _ctx: &mut Context<Row>) -> Result {
        self.at().call(Call::Close, || Ok(()))
    }
}

/// Where a [`Linger`] holds what it has not yet let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Hold {
    /// In its fields, and in state only for a checkpoint.
    Fields,
    /// In state all the time.
    State,
}

const HELD: LocalState<Vec<Row>> = LocalState::new("held");

/// Holds records back, and lets go of them at the end of a window.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Linger {
    seed: u64,
    node: String,
    hold: Hold,
    #[serde(skip)]
    held: Vec<Row>,
}

is_somewhere!(Linger);

impl Linger {
    fn let_go(&mut self, ctx: &mut Context<Row>) -> Result {
        let mut held = std::mem::take(&mut self.held);
        if self.hold == Hold::State {
            held.extend(ctx.local(HELD).update(std::mem::take)?);
        }
        held.into_iter().for_each(|row| ctx.emit(row));
        Ok(())
    }
}

impl Operator for Linger {
    type In = Row;
    type Out = Row;

    fails_in_hooks!();

    fn is_keyed(&self) -> bool {
        false
    }

    fn open(&mut self, ctx: &mut Context<Row>) -> Result {
        self.at().enter(Call::Open)?;
        if self.hold == Hold::Fields {
            self.held.clone_from(ctx.local(HELD).get()?);
        }
        self.at().leave(Call::Open)
    }

    fn process(&mut self, row: &Row, ctx: &mut Context<Row>) -> Result {
        self.at().enter(Call::Process)?;
        match self.hold {
            Hold::Fields => self.held.push(*row),
            Hold::State => ctx.local(HELD).update(|held| held.push(*row))?,
        }
        self.at().leave(Call::Process)
    }

    fn end_window(&mut self, window: WindowId, ctx: &mut Context<Row>) -> Result {
        self.at().enter(Call::EndWindow)?;
        if window.0.is_multiple_of(3) {
            self.let_go(ctx)?;
        }
        self.at().leave(Call::EndWindow)
    }

    fn before_checkpoint(&mut self, _window: WindowId, ctx: &mut Context<Row>) -> Result {
        self.at().enter(Call::BeforeCheckpoint)?;
        if self.hold == Hold::Fields {
            ctx.local(HELD).set(self.held.clone())?;
        }
        self.at().leave(Call::BeforeCheckpoint)
    }

    fn close(&mut self, ctx: &mut Context<Row>) -> Result {
        self.at().enter(Call::Close)?;
        self.let_go(ctx)?;
        self.at().leave(Call::Close)
    }
}

/// How often each row was published.
pub(crate) type Published = BTreeMap<Row, u64>;

/// What the sinks of each job have published, by its seed and their names.
static PUBLISHED: LazyLock<Mutex<BTreeMap<(u64, String), Published>>> = LazyLock::new(Mutex::default);

type Place = (u64, String, u32, WindowId);

/// What was committed, by seed, sink, subtask and window: a second commit of it changes nothing.
static COMMITTED: LazyLock<Mutex<BTreeSet<Place>>> = LazyLock::new(Mutex::default);

/// Takes what a sink has published.
pub(crate) fn take_published(seed: u64, sink: &str) -> Published {
    let mut published = PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner);
    published.remove(&(seed, sink.to_string())).unwrap_or_default()
}

/// Publishes into memory, in two phases.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Publish {
    seed: u64,
    node: String,
    #[serde(skip)]
    index: u32,
    #[serde(skip)]
    rows: Vec<Row>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Part {
    window: WindowId,
    rows: Vec<Row>,
}

impl Publish {
    fn at(&self) -> At<'_> {
        At { seed: self.seed, node: &self.node }
    }
}

impl Sink for Publish {
    type In = Row;
    type Pending = Part;

    fn delivery(&self) -> Delivery {
        Delivery::Staged
    }

    async fn open(&mut self, _pending: Vec<Part>, subtask: &Subtask) -> Result {
        self.index = subtask.index;
        self.at().call(Call::SinkOpen, || Ok(()))
    }

    async fn write(&mut self, batch: Arc<Rows<Row>>) -> Result {
        self.at().enter(Call::Write)?;
        self.rows.extend_from_slice(&batch);
        self.at().leave(Call::Write)
    }

    async fn prepare(&mut self, window: WindowId) -> Result<Option<Part>> {
        self.at().enter(Call::Prepare)?;
        let rows = std::mem::take(&mut self.rows);
        self.at().leave(Call::Prepare)?;
        Ok((!rows.is_empty()).then_some(Part { window, rows }))
    }

    async fn commit(&mut self, part: Part) -> Result {
        self.at().call(Call::Commit, || {
            let place = (self.seed, self.node.clone(), self.index, part.window);
            if COMMITTED.lock().unwrap_or_else(PoisonError::into_inner).insert(place) {
                let mut published = PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner);
                let published = published.entry((self.seed, self.node.clone())).or_default();
                part.rows.into_iter().for_each(|row| *published.entry(row).or_default() += 1);
            }
            Ok(())
        })
    }

    async fn abort(&mut self, _part: Part) -> Result {
        self.at().call(Call::Abort, || Ok(()))
    }
}
