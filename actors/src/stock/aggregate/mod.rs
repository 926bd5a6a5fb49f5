//! `aggregate`: the values of aggregate functions for each key, in time windows or running.
//!
//! With `window`, each key in each time window gives one row when the window is over, see `windows.rs`. Without, each
//! batch of input gives one row for each key in it, with the values of that key over everything seen so far, in the
//! order in which the keys come up. Rows whose key is NULL are a group like others; without key columns there is one
//! group. The row carries the latest event time of the rows that it was made for.

mod extreme;
mod groups;
mod moments;
mod plan;
mod state;
mod sum;
#[cfg(test)]
pub(super) mod testing;
mod windows;

use std::sync::Arc;

use serde::Deserialize;

use super::options::{option, read, required};
use super::{input_schema, table_operator};
use crate::blueprint::{Again, Fault, KindDoc, OperatorBlueprint, OperatorKind, Options, Site, Varies};
use crate::duration::Span;
use crate::late::LATE;
use crate::record::RecordType;
use crate::table::{Table, TableRow};
use crate::window::shared::{Rules, option_docs};
use crate::{Context, Key, Operator, Result, ValueState};
use crate::{Time, TimeWindows, Timing};
use plan::{Adds, Plan};
use state::Kept;

pub(super) use groups::Keys;
pub(super) use plan::{WINDOW_COLUMNS, WINDOW_TYPE, window_columns, with_window};
pub(super) use state::{Added, Packed, Saved};
pub(super) use windows::{InWindows, Summing};

/// The state of all aggregates of a key.
const STATE: ValueState<Packed> = ValueState::new(STATE_NAME);
const STATE_NAME: &str = "aggregates";

/// Computes the running values of aggregate functions for each key.
#[derive(Clone)]
pub(super) struct Aggregate {
    plan: Arc<Plan>,
}

/// The states of the keys of a batch, in the operator's own state.
struct InContext<'a> {
    ctx: &'a mut Context<Table>,
    keys: Vec<Key>,
}

impl Kept for InContext<'_> {
    fn load(&mut self, group: usize, saved: &mut Saved) -> Result {
        self.ctx.enter_key(self.keys[group].clone());
        if let Some(state) = self.ctx.state(STATE).get()? {
            saved.push(group, state);
        }
        Ok(())
    }

    fn save(&mut self, group: usize, state: Packed) -> Result {
        self.ctx.enter_key(self.keys[group].clone());
        self.ctx.state(STATE).set(state)
    }
}

impl Operator for Aggregate {
    type In = Table;
    type Out = Table;

    const HOLDS_ROWS: Option<bool> = Some(false);

    fn key(&self, row: TableRow<'_>) -> Key {
        self.plan.keys.key(row)
    }

    fn key_hashes(&self, table: &Arc<Table>, hashes: &mut Vec<u64>) -> Result {
        self.plan.keys.hashes(table.batch(), hashes)
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn process(&mut self, row: TableRow<'_>, ctx: &mut Context<Table>) -> Result {
        self.process_batch(Arc::new(row.table.slice(row.row, 1)), ctx)
    }

    fn process_batch(&mut self, table: Arc<Table>, ctx: &mut Context<Table>) -> Result {
        if table.rows() == 0 {
            return Ok(());
        }
        let output = self.plan.advance(&table, |keys| InContext { ctx: &mut *ctx, keys })?;
        ctx.emit_table(output);
        Ok(())
    }
}

/// The kind `aggregate`.
pub(super) struct AggregateKind;

#[derive(Deserialize)]
struct Settings {
    #[serde(default)]
    by: Vec<String>,
    columns: Vec<String>,
    window: Option<TimeWindows>,
    allowed_lateness: Option<Span>,
    early: Option<Span>,
    time: Option<Time>,
}

impl Settings {
    /// Returns when windows emit; nothing if there are none.
    fn timing(&self) -> Result<Option<Timing>, Vec<Fault>> {
        let Some(window) = self.window else {
            let given = [
                ("allowed_lateness", self.allowed_lateness.is_some()),
                ("early", self.early.is_some()),
                ("time", self.time.is_some()),
            ];
            let given = given.into_iter().filter(|(_, is_given)| *is_given);
            let faults: Vec<Fault> =
                given.map(|(option, _)| Fault::new(option, "belongs to a time window; give `window`, too")).collect();
            return if faults.is_empty() { Ok(None) } else { Err(faults) };
        };
        Ok(Some(Timing::written(window, self.allowed_lateness, self.early, self.time)))
    }

    /// Returns when windows emit, checked, and in words.
    fn rules(&self) -> Result<Option<(Rules, String)>, Vec<Fault>> {
        let Some(timing) = self.timing()? else { return Ok(None) };
        Ok(Some((timing.rules()?, timing.described())))
    }
}

impl OperatorKind for AggregateKind {
    fn doc(&self) -> KindDoc {
        let mut options = vec![
            option("by", "[]", "The columns of the key; without any, all rows are one group."),
            required(
                "columns",
                "SQL expressions over aggregate functions and key columns, such as \"count(*) AS n\" or \"sum(x) / count(x) AS mean\".",
            ),
        ];
        options.extend(option_docs(option("window", "", WINDOW_DOC)));
        KindDoc {
            doc: "Computes the values of aggregate functions for each key: in each time window, or running.",
            options,
        }
    }

    fn plan(
        &self,
        options: &mut Options<'_>,
        inputs: &[RecordType],
        _site: &Site,
    ) -> Result<OperatorBlueprint, Vec<Fault>> {
        let settings: Settings = read(options, &self.doc())?;
        let rules = settings.rules();
        let input = input_schema(inputs)?;
        let adds = if settings.window.is_some() { Adds::Window } else { Adds::Nothing };
        let plan = Plan::new(&settings.by, &settings.columns, &input, adds);
        let (rules, plan) = match (rules, plan) {
            (Ok(rules), Ok(plan)) => (rules, Arc::new(plan)),
            (rules, plan) => return Err([rules.err(), plan.err()].into_iter().flatten().flatten().collect()),
        };
        let (output, keys, goes_by_order) = (Arc::clone(&plan.output), plan.key_names(), plan.goes_by_order);
        let is_session = matches!(settings.window, Some(TimeWindows::Session(_)));
        let blueprint = match rules {
            None => {
                let (of_keys, of_states) = (Arc::clone(&plan), Arc::clone(&plan));
                let state = plan.state.clone();
                let aggregate = Aggregate { plan };
                OperatorBlueprint {
                    state: Some(state),
                    latest_by: Some(keys.clone()),
                    again: Again::Keys(keys),
                    show_state: Some(Arc::new(move |name, written| {
                        let kept = (name == STATE_NAME).then(|| rmp_serde::from_slice(written).ok())?;
                        of_states.show(&kept?)
                    })),
                    show_key: Some(Arc::new(move |key| of_keys.keys.show(key))),
                    ..table_operator(output, true, Arc::new(move || Ok(aggregate.clone())))
                }
            }
            Some((rules, described)) => {
                let state = format!("{}, window {described}", plan.state);
                InWindows { sums: plan, rules, input }.planned(output, state, keys)
            }
        };
        let varies = match blueprint.varies {
            // Parts of a session are merged in the order of their times, and which parts there are depends on the batches.
            Varies::No if goes_by_order && is_session => Varies::WithTime,
            Varies::No if goes_by_order => Varies::WithArrival,
            varies => varies,
        };
        Ok(OperatorBlueprint { varies, ..blueprint })
    }

    fn side_outputs(&self) -> Vec<&'static str> {
        vec![LATE]
    }

    fn ports(&self) -> Vec<Option<RecordType>> {
        vec![None]
    }

    fn check(&self, options: &mut Options<'_>, _site: &Site) -> Vec<Fault> {
        match read::<Settings>(options, &self.doc()) {
            Ok(settings) => settings.rules().err().unwrap_or_default(),
            Err(faults) => faults,
        }
    }
}

const WINDOW_DOC: &str = "How time is cut: \"60s\", { tumbling = \"1h\", offset = \"15m\" }, { sliding = \"10s\", every = \"2s\" }, { session = \"30m\" } or { count = 100 }; adds the columns `window_start` and `window_end`. Without it, each batch of input emits the running values of its keys.";

#[cfg(test)]
mod tests;
