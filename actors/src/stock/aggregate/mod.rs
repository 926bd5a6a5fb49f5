//! `aggregate`: the running values of aggregate functions for each key.
//!
//! Each batch of input gives one row for each key in it, with the values of that key over everything seen so far, in
//! the order in which the keys come up. Rows whose key is NULL are a group like others; without key columns there is
//! one group. The row carries the latest event time of the rows that it was made for.

mod groups;
mod moments;
mod plan;
mod state;
mod sum;

use std::sync::Arc;

use serde::Deserialize;

use super::options::{option, read, required};
use super::{input_schema, table_operator};
use crate::blueprint::{Fault, KindDoc, OperatorBlueprint, OperatorKind, Options, Site};
use crate::record::RecordType;
use crate::table::{Table, TableRow};
use crate::{Context, Key, Operator, Result, ValueState};
use plan::Plan;
use state::{Kept, Packed};

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
    fn load(&mut self, group: usize, bytes: &mut Vec<u8>) -> Result {
        self.ctx.enter_key(self.keys[group].clone());
        if let Some(state) = self.ctx.state(STATE).get()? {
            bytes.extend_from_slice(&state.0);
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
        self.plan
            .keys
            .key(row.table, row.row)
            .expect("the types of the key columns were checked when the plan was made")
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
}

impl OperatorKind for AggregateKind {
    fn doc(&self) -> KindDoc {
        KindDoc {
            doc: "Computes the running values of aggregate functions for each key, and emits those of each key in a batch.",
            options: vec![
                option("by", "[]", "The columns of the key; without any, all rows are one group."),
                required(
                    "columns",
                    "SQL expressions over aggregate functions and key columns, such as \"count(*) AS n\" or \"sum(x) / count(x) AS mean\".",
                ),
            ],
        }
    }

    fn plan(
        &self,
        options: &mut Options<'_>,
        inputs: &[RecordType],
        _site: &Site,
    ) -> Result<OperatorBlueprint, Vec<Fault>> {
        let settings: Settings = read(options, &self.doc())?;
        let input = input_schema(inputs)?;
        let plan = Arc::new(Plan::new(&settings.by, &settings.columns, &input)?);
        let output = Arc::clone(&plan.output);
        let state = Some(plan.state.clone());
        let (of_keys, of_states) = (Arc::clone(&plan), Arc::clone(&plan));
        let plan_keys = plan.key_names();
        let aggregate = Aggregate { plan };
        Ok(OperatorBlueprint {
            state,
            latest_by: Some(plan_keys),
            show_state: Some(Arc::new(move |name, written| {
                let packed = (name == STATE_NAME).then(|| rmp_serde::from_slice::<Packed>(written).ok())?;
                of_states.show(&packed?)
            })),
            show_key: Some(Arc::new(move |key| of_keys.keys.show(key))),
            ..table_operator(output, true, Arc::new(move || Ok(aggregate.clone())))
        })
    }

    fn ports(&self) -> Vec<Option<RecordType>> {
        vec![None]
    }

    fn check(&self, options: &mut Options<'_>, _site: &Site) -> Vec<Fault> {
        read::<Settings>(options, &self.doc()).err().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
