//! The operators of simulated jobs: ordinary operators of the kit, chosen so that a mistake of the engine shows in
//! what they emit.

use std::sync::Arc;
use std::time::Duration;

use piton_actors::blueprint::{Fault, OperatorBlueprint, operator_blueprint};
use piton_actors::prelude::*;
use piton_actors::{Asked, Asking};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::sim::drawn::data::Data;
use crate::sim::drawn::flow::goes_aside;

/// What travels on every edge of a simulated job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Where it comes from: a source partition, or an operator that makes rows of its own.
    pub(crate) origin: u32,
    /// Which row of its origin it is.
    pub(crate) number: u64,
    pub(crate) key: u64,
    /// What the operator that made it found out.
    pub(crate) value: u64,
    /// The operator that counted it last, and what it counted.
    pub(crate) counter: u32,
    pub(crate) count: u64,
    /// The operator behind a round-robin edge that it passed, and by which subtask.
    pub(crate) stamp: u32,
    pub(crate) stamped_by: u32,
    /// Whether it came behind a watermark that should have been behind it.
    pub(crate) late: bool,
    /// In which window it was emitted; 0 by a source.
    pub(crate) window: u64,
    /// The newest window that it was emitted in and came behind the end of; 0 if none.
    pub(crate) behind: u64,
    /// Whether it met state that is not what was put there.
    pub(crate) spoiled: bool,
}

impl Record for Row {}

/// Where rows come from that no operator can bear.
pub(crate) const POISON: u32 = u32::MAX;

impl Row {
    /// Returns the poison that comes before a row.
    pub(crate) fn poison(&self) -> Row {
        Row { origin: POISON, value: u64::from(self.origin), ..self.clone() }
    }

    /// Panics if this is poison: called when the operator has changed what it could.
    fn taste(&self) {
        if self.origin == POISON {
            std::panic::resume_unwind(Box::new("poison".to_string()));
        }
    }

    /// Returns what an operator in this window sends on.
    fn sent_on(&self, window: u64) -> Row {
        // Plain markers block nothing, so that rows may be early; never late.
        let behind = match window {
            0 => u64::MAX,
            _ if self.window < window => self.behind.max(self.window),
            _ => self.behind,
        };
        Row { window, behind, ..self.clone() }
    }
}

/// Event time, in ms, is cut into time windows of this length.
pub(crate) const TIME_WINDOW_MS: i64 = 50;

/// Returns the time window that a time falls in.
pub(crate) fn time_window(time: i64) -> i64 {
    time.div_euclid(TIME_WINDOW_MS)
}

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperatorKind {
    Stamp,
    Count,
    Hoard,
    Merge,
    Tumble,
    Linger,
    Dice,
    Fickle,
    Split,
    Ask,
}

impl OperatorKind {
    pub(crate) fn is_keyed(self) -> bool {
        matches!(self, OperatorKind::Count | OperatorKind::Hoard | OperatorKind::Merge | OperatorKind::Tumble)
    }
}

/// Plans an operator.
pub(crate) fn blueprint(id: u32, kind: OperatorKind, data: &Data) -> OperatorBlueprint {
    let data = data.clone();
    let planned = match kind {
        OperatorKind::Stamp => operator_blueprint(Arc::new(move || Ok(Stamp(id, 0)))),
        OperatorKind::Count => operator_blueprint(Arc::new(move || Ok(Count(id, 0)))),
        OperatorKind::Hoard => operator_blueprint(Arc::new(move || Ok(Hoard(id, 0)))),
        OperatorKind::Merge => operator_blueprint(Arc::new(move || Ok(Merge(id, 0)))),
        OperatorKind::Tumble => operator_blueprint(Arc::new(move || Ok(Tumble(id, 0)))),
        OperatorKind::Dice => operator_blueprint(Arc::new(|| Ok(Dice { whims: None, window: 0 }))),
        OperatorKind::Fickle => operator_blueprint(Arc::new(move || Ok(Dice { whims: Some(data.clone()), window: 0 }))),
        OperatorKind::Split => operator_blueprint(Arc::new(|| Ok(Split(0)))),
        OperatorKind::Ask => ask(id),
        OperatorKind::Linger => operator_blueprint(Arc::new(|| Ok(Linger { buffer: Vec::new(), window: 0 }))),
    };
    planned.expect("a factory that never fails")
}

/// Plans an operator that asks somebody outside, who takes his time.
fn ask(id: u32) -> Result<OperatorBlueprint, Vec<Fault>> {
    let (timeout, retry_pause) = (Duration::from_millis(100), Duration::from_millis(1));
    // What fails too often by chance would be set aside.
    let buffer = if id.is_multiple_of(4) { 3 } else { 9 };
    let asked = Asked { in_flight: 3, buffer, ordered: id.is_multiple_of(2), timeout, retries: 7, retry_pause };
    let planned = operator_blueprint(Arc::new(move || Asking::new(Ask, asked)))?;
    Ok(OperatorBlueprint { keyed: false, asks: true, ..planned })
}

/// Sends each row on, when somebody outside has said so.
struct Ask;

impl AsyncOperator for Ask {
    type In = Row;
    type Out = Row;

    async fn ask(&self, row: &Row) -> Result<Vec<Row>> {
        row.taste();
        // Whatever window it is answered in, none is over for it.
        Ok(vec![Row { window: 0, ..row.clone() }])
    }
}

/// Writes into each row which subtask it passed.
struct Stamp(u32, u64);

impl Operator for Stamp {
    type In = Row;
    type Out = Row;

    fn begin_window(&mut self, window: WindowId, _ctx: &mut Context<Row>) -> Result {
        self.1 = window.0;
        Ok(())
    }

    fn process(&mut self, row: &Row, ctx: &mut Context<Row>) -> Result {
        let by = ctx.subtask().index;
        row.taste();
        ctx.emit(Row { stamp: self.0, stamped_by: by, ..row.sent_on(self.1) });
        Ok(())
    }

    fn is_keyed(&self) -> bool {
        false
    }
}

/// What a splitting operator sends aside.
pub(crate) const ASIDE: SideOutput<Row> = SideOutput::new("aside");

/// Sends some rows aside, and the others on.
struct Split(u64);

impl Operator for Split {
    type In = Row;
    type Out = Row;

    fn side_outputs(&self) -> Vec<SideOutputDeclared> {
        vec![ASIDE.into()]
    }

    fn begin_window(&mut self, window: WindowId, _ctx: &mut Context<Row>) -> Result {
        self.0 = window.0;
        Ok(())
    }

    fn process(&mut self, row: &Row, ctx: &mut Context<Row>) -> Result {
        let sent_on = row.sent_on(self.0);
        if goes_aside(row.number) {
            ctx.emit_to(ASIDE, sent_on)?;
        } else {
            ctx.emit(sent_on);
        }
        // It has gone out already, and must not be seen if this is poison.
        row.taste();
        Ok(())
    }

    fn is_keyed(&self) -> bool {
        false
    }
}

const COUNT: ValueState<u64> = ValueState::new("count");

/// Numbers the rows of each key: 1, 2, 3, …
struct Count(u32, u64);

impl Operator for Count {
    type In = Row;
    type Out = Row;

    fn key(&self, row: &Row) -> Key {
        Key::from(row.key)
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn begin_window(&mut self, window: WindowId, _ctx: &mut Context<Row>) -> Result {
        self.1 = window.0;
        Ok(())
    }

    fn process(&mut self, row: &Row, ctx: &mut Context<Row>) -> Result {
        let count = ctx.state(COUNT).update(next)?;
        row.taste();
        ctx.emit(Row { counter: self.0, count, ..row.sent_on(self.1) });
        Ok(())
    }
}

/// How much a hoard keeps for each key, in bytes: two keys are too much for a manifest.
const HOARD: usize = 20 << 10;

const HOARDED: ValueState<(u64, String)> = ValueState::new("hoarded");

/// Numbers the rows of each key as `Count` does, with a large state, of which it looks at every byte.
struct Hoard(u32, u64);

fn letter(count: u64) -> u8 {
    b'a' + (count % 26) as u8
}

impl Operator for Hoard {
    type In = Row;
    type Out = Row;

    fn key(&self, row: &Row) -> Key {
        Key::from(row.key)
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn begin_window(&mut self, window: WindowId, _ctx: &mut Context<Row>) -> Result {
        self.1 = window.0;
        Ok(())
    }

    fn process(&mut self, row: &Row, ctx: &mut Context<Row>) -> Result {
        let (spoiled, count) = ctx.state(HOARDED).update(|(count, text)| {
            let length = if *count == 0 { 0 } else { HOARD };
            let spoiled = text.len() != length || text.bytes().fold(0, |odd, byte| odd | (byte ^ letter(*count))) > 0;
            *count += 1;
            *text = char::from(letter(*count)).to_string().repeat(HOARD);
            (spoiled, *count)
        })?;
        row.taste();
        ctx.emit(Row { counter: self.0, count, spoiled: row.spoiled || spoiled, ..row.sent_on(self.1) });
        Ok(())
    }
}

/// Numbers the rows of each key over two inputs.
struct Merge(u32, u64);

impl Operator for Merge {
    type In = Either<Row, Row>;
    type Out = Row;

    fn key(&self, row: Either<&Row, &Row>) -> Key {
        let (Either::Left(row) | Either::Right(row)) = row;
        Key::from(row.key)
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn begin_window(&mut self, window: WindowId, _ctx: &mut Context<Row>) -> Result {
        self.1 = window.0;
        Ok(())
    }

    fn process(&mut self, row: Either<&Row, &Row>, ctx: &mut Context<Row>) -> Result {
        let (Either::Left(row) | Either::Right(row)) = row;
        let count = ctx.state(COUNT).update(next)?;
        row.taste();
        ctx.emit(Row { counter: self.0, count, ..row.sent_on(self.1) });
        Ok(())
    }
}

fn next(count: &mut u64) -> u64 {
    *count += 1;
    *count
}

/// How many rows, and the newest window that one of them came behind the end of.
const WINDOWS: MapState<i64, (u64, u64)> = MapState::new("windows");

/// Counts the rows of each key and time window, and emits the count when the watermark has passed the window.
struct Tumble(u32, u64);

impl Operator for Tumble {
    type In = Row;
    type Out = Row;

    fn key(&self, row: &Row) -> Key {
        Key::from(row.key)
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn begin_window(&mut self, window: WindowId, _ctx: &mut Context<Row>) -> Result {
        self.1 = window.0;
        Ok(())
    }

    fn process(&mut self, row: &Row, ctx: &mut Context<Row>) -> Result {
        let time = ctx.timestamp().ok_or_else(|| Error::failed("a row without a time"))?;
        if time <= ctx.watermark() {
            row.taste();
            ctx.emit(Row { late: true, ..row.sent_on(self.1) });
            return Ok(());
        }
        let window = time_window(time);
        ctx.map_state(WINDOWS).update(window, |(count, behind)| {
            *count += 1;
            *behind = row.sent_on(self.1).behind.max(*behind);
        })?;
        ctx.timer_at((window + 1) * TIME_WINDOW_MS - 1)?;
        row.taste();
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<Row>) -> Result {
        let window = time_window(timer.at);
        let (value, behind) = ctx.map_state(WINDOWS).remove(&window)?.unwrap_or_default();
        let key = timer.key.as_u64().ok_or_else(|| Error::failed("a timer without a key"))?;
        ctx.emit(Row { origin: self.0, number: window as u64, key, value, window: self.1, behind, ..Row::default() });
        Ok(())
    }
}

const BUFFER: LocalState<Vec<(i64, Row)>> = LocalState::new("buffer");

/// Holds rows back in memory until the end of a window; puts them into state only before a checkpoint.
struct Linger {
    buffer: Vec<(i64, Row)>,
    window: u64,
}

impl Linger {
    fn emit(&mut self, ctx: &mut Context<Row>) {
        for (time, row) in self.buffer.drain(..) {
            ctx.emit_at(time, Row { window: self.window, ..row });
        }
    }
}

impl Operator for Linger {
    type In = Row;
    type Out = Row;

    fn is_keyed(&self) -> bool {
        false
    }

    fn open(&mut self, ctx: &mut Context<Row>) -> Result {
        self.buffer.clone_from(ctx.local(BUFFER).get()?);
        Ok(())
    }

    fn begin_window(&mut self, window: WindowId, _ctx: &mut Context<Row>) -> Result {
        self.window = window.0;
        Ok(())
    }

    fn process(&mut self, row: &Row, ctx: &mut Context<Row>) -> Result {
        self.buffer.push((ctx.timestamp().unwrap_or_default(), row.sent_on(self.window)));
        row.taste();
        Ok(())
    }

    fn end_window(&mut self, _window: WindowId, ctx: &mut Context<Row>) -> Result {
        if self.buffer.len() >= 4 {
            self.emit(ctx);
        }
        Ok(())
    }

    fn before_checkpoint(&mut self, _window: WindowId, ctx: &mut Context<Row>) -> Result {
        let buffer = self.buffer.clone();
        ctx.local(BUFFER).set(buffer)
    }

    fn close(&mut self, ctx: &mut Context<Row>) -> Result {
        self.emit(ctx);
        Ok(())
    }
}

const DRAWN: LocalState<Vec<(i64, Row)>> = LocalState::new("drawn");

/// Holds rows back in its state and lets go of them by chance: that of the engine, which a replay repeats, or one from
/// outside, which nothing does.
struct Dice {
    whims: Option<Data>,
    window: u64,
}

impl Dice {
    fn emit(&self, ctx: &mut Context<Row>) -> Result {
        let drawn = ctx.local(DRAWN).update(std::mem::take)?;
        for (time, row) in drawn {
            ctx.emit_at(time, Row { window: self.window, ..row });
        }
        Ok(())
    }
}

impl Operator for Dice {
    type In = Row;
    type Out = Row;

    const HOLDS_ROWS: Option<bool> = Some(false);

    fn is_keyed(&self) -> bool {
        false
    }

    fn begin_window(&mut self, window: WindowId, _ctx: &mut Context<Row>) -> Result {
        self.window = window.0;
        Ok(())
    }

    fn process(&mut self, row: &Row, ctx: &mut Context<Row>) -> Result {
        let held = (ctx.timestamp().unwrap_or_default(), row.sent_on(self.window));
        ctx.local(DRAWN).update(|drawn| drawn.push(held))?;
        row.taste();
        let chance = match &self.whims {
            Some(data) => data.whim(),
            None => ctx.rng().next_u64(),
        };
        if chance.is_multiple_of(3) { self.emit(ctx) } else { Ok(()) }
    }

    fn close(&mut self, ctx: &mut Context<Row>) -> Result {
        self.emit(ctx)
    }
}
