//! What comes of the rows of each key in each time window: values of aggregate functions, for instance.
//!
//! A batch of input is taken as a whole: the windows that its rows belong to are found first, then the states of all of
//! them are taken up, advanced and put down together, as without windows. Timers that are due together are seen to
//! together, too, and give one batch of output: ordered by the ends of the windows, then as the keys came.
//!
//! A window that emits again because of rows that come late does so once for each batch in which there are some.

mod planned;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::datatypes::SchemaRef;

use super::groups::{Groups, Keys};
use super::state::{Added, Packed, Saved};
use crate::late::{self, count_late};
use crate::table::{Table, TableRow};
use crate::window::shared::{
    Arrival, Counted, Emits, Few, Kept, Kind, Live, Panes, Rules, Sessions, SlicesOf, in_range, no_event_time,
};
use crate::{
    Context, Key, Operator, Result, SideOutput, SideOutputDeclared, Time, TimeWindow, Timer, TimerKind, Timestamp,
};

/// As many rows of output are made at once, if no single window gives more.
const AT_ONCE: usize = 1024;

/// Says what is kept of rows, and what comes out of it. What is kept of some rows can be merged with what is kept of
/// others, in the order in which they came.
pub(in super::super) trait Summing: Send + Sync + 'static {
    /// Returns what rows belong together by.
    fn keys(&self) -> &Keys;

    /// Merges what is kept of groups, adds the rows of a batch, and returns what is to be kept of each group. Every group
    /// has something that is kept, or a row.
    fn fold(&self, added: Option<Added<'_>>, saved: &Saved, groups: usize) -> Result<Vec<Packed>>;

    /// Returns what comes out for windows of these keys, each with the event time that its rows get; of each there is
    /// something that is kept.
    fn rows(&self, keys: &[Key], windows: &[TimeWindow], at: &[Timestamp], saved: &Saved) -> Result<Table>;

    /// Returns how many rows a window gives at most.
    fn rows_of_window(&self) -> usize {
        1
    }

    /// Returns what is kept of a group as a JSON object; nothing if it was not kept by this.
    fn show(&self, kept: &Packed) -> Option<String>;
}

/// Computes something of the rows of each key in each time window.
pub(in super::super) struct InWindows<S> {
    pub sums: Arc<S>,
    pub rules: Rules,
    /// The columns of its input, and so of rows that are late.
    pub input: SchemaRef,
}

impl<S> Clone for InWindows<S> {
    fn clone(&self) -> InWindows<S> {
        InWindows { sums: Arc::clone(&self.sums), rules: self.rules, input: Arc::clone(&self.input) }
    }
}

/// The rows that no window takes any more.
const LATE: SideOutput<Table> = SideOutput::new(late::LATE);

/// Windows that emit, and the states that their values come from.
#[derive(Default)]
struct Fired {
    keys: Vec<Key>,
    windows: Vec<TimeWindow>,
    at: Vec<Timestamp>,
    saved: Saved,
}

impl Fired {
    fn add(&mut self, key: &Key, window: TimeWindow) -> usize {
        self.keys.push(key.clone());
        self.windows.push(window);
        self.keys.len() - 1
    }
}

impl Emits<Packed, Table> for Fired {
    type Made = ();

    fn make(&mut self, key: &Key, window: TimeWindow, sum: &Packed) {
        let group = self.add(key, window);
        self.saved.push(group, sum);
    }

    fn make_of_slices(&mut self, key: &Key, window: TimeWindow, slices: &SlicesOf<Packed>) -> Option<()> {
        let mut slices = slices.range(window.start..window.end).peekable();
        slices.peek()?;
        let group = self.add(key, window);
        slices.for_each(|(_, sum)| self.saved.push(group, sum));
        Some(())
    }

    fn emit(&mut self, at: Timestamp, (): (), _: &mut Context<Table>) {
        self.at.push(at);
    }
}

/// Which rows of a batch no window takes any more; and the group of each of the others.
struct Sorted {
    late: Vec<bool>,
    of_row: Vec<usize>,
}

impl Sorted {
    fn with_rows(rows: usize) -> Sorted {
        Sorted { late: vec![false; rows], of_row: vec![0; rows] }
    }
}

/// A session as it becomes by the rows of a batch.
struct Becoming {
    window: TimeWindow,
    /// The group that its rows and states are in, before groups are made one.
    group: usize,
}

impl<S: Summing> InWindows<S> {
    /// What becomes of rows that no window takes any more.
    #[cold]
    fn late(&self, rows: Table, ctx: &mut Context<Table>) -> Result {
        count_late(rows.rows() as u64, ctx)?;
        ctx.emit_table_to(LATE, rows)
    }

    /// Merges the states of groups and adds the rows of a batch that are not late; sets those that are late aside.
    fn fold(
        &self,
        table: &Table,
        sorted: Sorted,
        saved: &Saved,
        groups: usize,
        ctx: &mut Context<Table>,
    ) -> Result<Vec<Packed>> {
        let Sorted { late, mut of_row } = sorted;
        if !late.contains(&true) {
            let added = Added { batch: table.batch(), of_row: &of_row };
            return self.sums.fold(Some(added), saved, groups);
        }
        let mut rows = late.iter();
        of_row.retain(|_| rows.next() == Some(&false));
        self.late(table.filter(&late.iter().copied().map(Some).collect())?, ctx)?;
        if groups == 0 {
            return Ok(Vec::new());
        }
        let table = table.filter(&late.iter().map(|late| Some(!late)).collect::<BooleanArray>())?;
        let added = (!of_row.is_empty()).then_some(Added { batch: table.batch(), of_row: &of_row });
        self.sums.fold(added, saved, groups)
    }

    /// Emits what windows give.
    fn emit(&self, fired: Fired, ctx: &mut Context<Table>) -> Result {
        let Fired { keys, windows, at, saved } = fired;
        if keys.is_empty() {
            return Ok(());
        }
        ctx.emit_table(self.sums.rows(&keys, &windows, &at, &saved)?);
        Ok(())
    }

    /// Returns how many windows give a batch of output.
    fn at_once(&self) -> usize {
        (AT_ONCE / self.sums.rows_of_window().max(1)).max(1)
    }

    fn take_by_slice(&self, panes: Panes, table: &Table, times: &[Timestamp], ctx: &mut Context<Table>) -> Result {
        let passed = self.rules.time.passed(ctx);
        let groups = self.sums.keys().groups(table)?;
        let mut sorted = Sorted::with_rows(table.rows());
        // Of each window that there are rows of: its key, and what becomes of these rows.
        let mut found: Vec<(usize, Arrival)> = Vec::new();
        let mut last_of_key: Vec<Option<usize>> = vec![None; groups.keys.len()];
        let mut known: BTreeMap<(usize, Timestamp), usize> = BTreeMap::new();
        let mut recent: Option<Arrival> = None;
        for (row, time) in times.iter().enumerate() {
            let time = in_range(*time)?;
            let arrival = match recent {
                Some(arrival) if arrival.holds(time, passed) => arrival,
                _ => *recent.insert(panes.arrival(time, passed)),
            };
            if arrival.is_late {
                sorted.late[row] = true;
                continue;
            }
            let key = groups.of_row[row];
            let group = match last_of_key[key] {
                Some(group) if found[group].1.slice == arrival.slice => group,
                _ => *known.entry((key, arrival.slice.start)).or_insert_with(|| {
                    found.push((key, arrival));
                    found.len() - 1
                }),
            };
            last_of_key[key] = Some(group);
            sorted.of_row[row] = group;
        }
        let mut saved = Saved::default();
        for (group, (key, arrival)) in found.iter().enumerate() {
            ctx.enter_key(groups.keys[*key].clone());
            if let Some(state) = ctx.map_state(Kept::<Packed>::PANES).get(&arrival.slice.start)? {
                saved.push(group, state);
            }
        }
        let states = self.fold(table, sorted, &saved, found.len(), ctx)?;
        for ((key, arrival), state) in found.iter().zip(states) {
            ctx.enter_key(groups.keys[*key].clone());
            if ctx.map_state(Kept::<Packed>::PANES).insert(arrival.slice.start, state)?.is_none() {
                self.rules.time.set(arrival.timer, ctx)?;
                self.rules.set_early(arrival.slice, passed, ctx)?;
            }
        }
        let mut again: BTreeSet<(TimeWindow, usize)> = BTreeSet::new();
        for (key, arrival) in found.iter().filter(|(_, arrival)| arrival.slice.start <= passed) {
            again.extend(panes.again(arrival).map(|window| (window, *key)));
        }
        let mut fired = Fired::default();
        for (window, key) in again {
            let key = &groups.keys[key];
            ctx.enter_key(key.clone());
            let slices = ctx.map_state(Kept::<Packed>::PANES).whole()?;
            if let Some(made) = slices.and_then(|slices| fired.make_of_slices(key, window, slices)) {
                fired.emit(window.last(), made, ctx);
            }
        }
        self.emit(fired, ctx)
    }

    fn take_by_session(
        &self,
        sessions: Sessions,
        table: &Table,
        times: &[Timestamp],
        ctx: &mut Context<Table>,
    ) -> Result {
        let passed = self.rules.time.passed(ctx);
        let Groups { keys, of_row, .. } = self.sums.keys().groups(table)?;
        let mut sorted = Sorted::with_rows(table.rows());
        let mut saved = Saved::default();
        let mut becoming: Vec<Vec<Becoming>> = Vec::with_capacity(keys.len());
        // Groups that were made one point to an earlier one. To begin with, each session that is kept is one.
        let mut parents: Vec<usize> = Vec::new();
        let mut kept: Vec<Option<(TimeWindow, Packed)>> = Vec::new();
        for key in &keys {
            ctx.enter_key(key.clone());
            let live = ctx.state(Kept::<Packed>::SESSIONS).get()?.map_or(&[][..], Few::as_slice);
            let mut of_key = Vec::with_capacity(live.len() + 1);
            for live in live {
                of_key.push(Becoming { window: live.window(), group: parents.len() });
                parents.push(parents.len());
                kept.push(Some((live.window(), live.sum().clone())));
            }
            becoming.push(of_key);
        }
        let mut touched = vec![false; parents.len()];
        for (row, time) in times.iter().enumerate() {
            let of_key = &mut becoming[of_row[row]];
            let place = sessions.place(in_range(*time)?, passed, of_key.iter().map(|session| session.window));
            if sessions.is_over(place.window, passed) {
                sorted.late[row] = true;
                continue;
            }
            let at = place.merged.start;
            if place.merged.is_empty() {
                of_key.insert(at, Becoming { window: place.window, group: parents.len() });
                parents.push(parents.len());
                kept.push(None);
                touched.push(false);
            }
            let group = of_key[at].group;
            let later: Vec<Becoming> = of_key.drain(at + 1..place.merged.end.max(at + 1)).collect();
            later.iter().for_each(|later| parents[later.group] = group);
            of_key[at].window = place.window;
            touched[group] = true;
            sorted.of_row[row] = group;
        }
        let root = |mut group: usize| {
            while parents[group] != group {
                group = parents[group];
            }
            group
        };
        let mut number = vec![usize::MAX; parents.len()];
        let mut groups = 0;
        for session in becoming.iter().flatten().filter(|session| touched[session.group]) {
            number[session.group] = groups;
            groups += 1;
        }
        let mut has_timer = vec![false; groups];
        for (group, state) in kept.iter().enumerate() {
            let number = number[root(group)];
            if let (Some((window, state)), true) = (state, number < groups) {
                has_timer[number] |= window.last() > passed;
                saved.push(number, state);
            }
        }
        for (row, group) in sorted.of_row.iter_mut().enumerate() {
            *group = if sorted.late[row] { 0 } else { number[root(*group)] };
        }
        let mut states = self.fold(table, sorted, &saved, groups, ctx)?;
        let mut fired = Fired::default();
        for (key, of_key) in keys.iter().zip(&becoming).filter(|(_, of_key)| of_key.iter().any(|s| touched[s.group])) {
            ctx.enter_key(key.clone());
            let mut live = Vec::with_capacity(of_key.len());
            for Becoming { window, group } in of_key {
                if !touched[*group] {
                    let state = kept[*group].take().map(|(_, state)| state);
                    live.push(Live::new(*window, state.unwrap_or_default()));
                    continue;
                }
                let number = number[*group];
                let state = std::mem::take(&mut states[number]);
                self.rules.set_early(*window, passed, ctx)?;
                if window.last() <= passed {
                    // It has emitted already, but still takes rows.
                    fired.make(key, *window, &state);
                    fired.emit(window.last(), (), ctx);
                    self.rules.time.set(sessions.next(*window, passed), ctx)?;
                } else if !has_timer[number] {
                    self.rules.time.set(window.last(), ctx)?;
                }
                live.push(Live::new(*window, state));
            }
            ctx.state(Kept::<Packed>::SESSIONS).set(Few::from(live))?;
        }
        self.emit(fired, ctx)
    }

    fn take_by_count(&self, whole: u64, table: &Table, times: &[Timestamp], ctx: &mut Context<Table>) -> Result {
        let Groups { keys, of_row, .. } = self.sums.keys().groups(table)?;
        let mut sorted = Sorted::with_rows(table.rows());
        let mut saved = Saved::default();
        let mut current: Vec<usize> = Vec::with_capacity(keys.len());
        // Of each window its key, and what it is without the state, which is only merged.
        let mut counted: Vec<(usize, Counted<()>)> = Vec::with_capacity(keys.len());
        for (index, key) in keys.iter().enumerate() {
            ctx.enter_key(key.clone());
            let mut window = Counted::default();
            if let Some(known) = ctx.state(Kept::<Packed>::COUNTED).get()? {
                saved.push(index, known.live.sum());
                window = Counted { records: known.records, live: Live::new(known.live.window(), ()) };
            }
            counted.push((index, window));
            current.push(index);
        }
        let mut complete = Vec::new();
        for (row, time) in times.iter().enumerate() {
            let key = of_row[row];
            if counted[current[key]].1.records == whole {
                current[key] = counted.len();
                counted.push((key, Counted::default()));
            }
            let window = &mut counted[current[key]].1;
            window.count(in_range(*time)?);
            if window.records == whole {
                complete.push(current[key]);
            }
            sorted.of_row[row] = current[key];
        }
        let mut states = self.fold(table, sorted, &saved, counted.len(), ctx)?;
        let mut fired = Fired::default();
        for group in complete {
            let (key, window) = (&keys[counted[group].0], counted[group].1.live.window());
            fired.make(key, window, &states[group]);
            fired.emit(window.last(), (), ctx);
        }
        for (key, group) in keys.into_iter().zip(current) {
            ctx.enter_key(key);
            let Counted { records, live } = &counted[group].1;
            if *records == whole {
                ctx.state(Kept::<Packed>::COUNTED).take()?;
            } else {
                let live = Live::new(live.window(), std::mem::take(&mut states[group]));
                ctx.state(Kept::<Packed>::COUNTED).set(Counted { records: *records, live })?;
            }
        }
        self.emit(fired, ctx)
    }
}

impl<S: Summing> Operator for InWindows<S> {
    type In = Table;
    type Out = Table;

    const HOLDS_ROWS: Option<bool> = Some(false);

    fn key(&self, row: TableRow<'_>) -> Key {
        self.sums.keys().key(row)
    }

    fn key_hashes(&self, table: &Arc<Table>, hashes: &mut Vec<u64>) -> Result {
        self.sums.keys().hashes(table.batch(), hashes)
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn side_outputs(&self) -> Vec<SideOutputDeclared> {
        vec![LATE.with_schema(Arc::clone(&self.input))]
    }

    fn process(&mut self, row: TableRow<'_>, ctx: &mut Context<Table>) -> Result {
        self.process_batch(Arc::new(row.table.slice(row.row, 1)), ctx)
    }

    fn process_batch(&mut self, table: Arc<Table>, ctx: &mut Context<Table>) -> Result {
        if table.rows() == 0 {
            return Ok(());
        }
        let now = || vec![ctx.now(); table.rows()].into();
        let times = match (self.rules.time, self.rules.kind, table.shared_times()) {
            (Time::Event, _, Some(times)) => times,
            (Time::Event, Kind::Counted(_), None) | (Time::Processing, ..) => now(),
            (Time::Event, _, None) => return Err(no_event_time()),
        };
        match self.rules.kind {
            Kind::Panes(panes) => self.take_by_slice(panes, &table, &times, ctx),
            Kind::Sessions(sessions) => self.take_by_session(sessions, &table, &times, ctx),
            Kind::Counted(whole) => self.take_by_count(whole, &table, &times, ctx),
        }
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<Table>) -> Result {
        let (kind, until) = self.rules.time.due(ctx);
        self.on_timers(timer, kind, until, ctx)
    }

    fn close(&mut self, ctx: &mut Context<Table>) -> Result {
        if matches!(self.rules.kind, Kind::Counted(_)) {
            for keys in ctx.keys().chunks(self.at_once()) {
                let mut fired = Fired::default();
                for key in keys {
                    ctx.enter(key.clone(), None);
                    if let Some(counted) = ctx.state(Kept::<Packed>::COUNTED).take()? {
                        let window = counted.live.window();
                        fired.make(key, window, counted.live.sum());
                        fired.emit(window.last(), (), ctx);
                    }
                }
                self.emit(fired, ctx)?;
            }
        }
        // Those of event time are over: the watermark has come to the end of time.
        while let Some(timer) = ctx.take_timer(TimerKind::Processing, Timestamp::MAX) {
            self.on_timers(timer, TimerKind::Processing, Timestamp::MAX, ctx)?;
        }
        Ok(())
    }
}

impl<S: Summing> InWindows<S> {
    /// Sees to a timer, and to others that are due.
    fn on_timers(&mut self, timer: Timer, kind: TimerKind, until: Timestamp, ctx: &mut Context<Table>) -> Result {
        let (mut fired, mut next) = (Fired::default(), Some(timer));
        while let Some(timer) = next {
            self.rules.on_timer(&timer.key, self.rules.time.last_of(&timer), ctx, &mut fired)?;
            next = if fired.keys.len() < self.at_once() { ctx.take_timer(kind, until) } else { None };
        }
        self.emit(fired, ctx)
    }
}

#[cfg(test)]
mod tests;
