//! `top`: the first rows of each key in each time window, by an order.
//!
//! Of each key and window as many rows are kept as come out, whatever comes in: the best so far. Which rows these are
//! does not depend on how the input arrives. Rows that the order says nothing about are told apart by all that is in
//! them, column by column, and rows that are the same in every column can stand for each other.
//!
//! There is no top of all that has come so far: a row that came out would have to be taken back when a better one comes.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::Deserialize;

use super::aggregate::InWindows;
use super::input_schema;
use super::options::{option, read, required};
use crate::blueprint::{Fault, KindDoc, OperatorBlueprint, OperatorKind, Options, Site};
use crate::duration::Span;
use crate::late::LATE;
use crate::record::RecordType;
use crate::window::shared::{Rules, option_docs};
use crate::{Time, TimeWindows, Timing};
use plan::Plan;

/// The kind `top`.
pub(super) struct TopKind;

#[derive(Deserialize)]
struct Settings {
    #[serde(default)]
    by: Vec<String>,
    n: u32,
    order: Vec<String>,
    #[serde(default)]
    ties: bool,
    rank: Option<String>,
    window: TimeWindows,
    allowed_lateness: Option<Span>,
    early: Option<Span>,
    time: Option<Time>,
}

impl Settings {
    /// Returns when windows emit, checked, and in words.
    fn rules(&self) -> Result<(Rules, String), Vec<Fault>> {
        let timing = Timing::written(self.window, self.allowed_lateness, self.early, self.time);
        let mut faults = Vec::new();
        if self.n == 0 {
            faults.push(Fault::new("n", "0 rows of a window are none; `n` is at least 1"));
        }
        if self.order.is_empty() {
            faults.push(Fault::new("order", "name at least one term, such as \"value DESC\""));
        }
        match timing.rules() {
            Ok(rules) if faults.is_empty() => Ok((rules, timing.described())),
            rules => Err(faults.into_iter().chain(rules.err().into_iter().flatten()).collect()),
        }
    }
}

const WINDOW_DOC: &str = "How time is cut: \"60s\", { tumbling = \"1h\", offset = \"15m\" }, { sliding = \"10s\", every = \"2s\" }, { session = \"30m\" } or { count = 100 }. The columns `window_start` and `window_end` are added; timestamps of these names in the input are left out. Without a window, rows that came out would have to be taken back when better ones come, which a stream of rows cannot do.";

impl OperatorKind for TopKind {
    fn doc(&self) -> KindDoc {
        let mut options = vec![
            option("by", "[]", "The columns of the key; without any, all rows are one group."),
            required("n", "How many rows of each key come out of each window at most, but for `ties`."),
            required(
                "order",
                "Which rows are first: terms as in ORDER BY, such as [\"delay DESC\", \"carrier\"]. NULL counts as larger than all values, unless a term says NULLS FIRST or NULLS LAST; what is equal by all terms is ordered by all columns of the row, so that it never matters which row came first.",
            ),
            option(
                "ties",
                "false",
                "Whether rows that are equal to the last of these by all terms come out as well, as with WITH TIES in SQL.",
            ),
            option(
                "rank",
                "",
                "The name of a column that says which row of its key and window it is, from 1; there is none if left out. Two rows never have the same.",
            ),
        ];
        options.extend(option_docs(required("window", WINDOW_DOC)));
        KindDoc { doc: "Passes on the first rows of each key in each time window, by an order.", options }
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
        let plan = Plan::new(&settings, &input);
        let ((rules, described), plan) = match (rules, plan) {
            (Ok(rules), Ok(plan)) => (rules, Arc::new(plan)),
            (rules, plan) => return Err([rules.err(), plan.err()].into_iter().flatten().flatten().collect()),
        };
        let state = format!("{}, window {described}", plan.state);
        // How many rows a window has may change with ties, so that the last rank of one may be of no row any more.
        let rank = settings.rank.filter(|_| !settings.ties);
        let (output, keys) = (Arc::clone(&plan.output), settings.by.into_iter().chain(rank).collect());
        Ok(InWindows { sums: plan, rules, input }.planned(output, state, keys))
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
