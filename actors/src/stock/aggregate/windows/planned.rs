//! What is said of an operator in time windows when it is planned, and how its state is shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::super::super::table_operator;
use super::super::plan::WINDOW_COLUMNS;
use super::super::state::Packed;
use super::{InWindows, Summing};
use crate::blueprint::{Again, OperatorBlueprint};
use crate::window::shared::{COUNTED, Counted, Few, Live, PANES, SESSIONS};

impl<S: Summing> InWindows<S> {
    /// Plans the operator: with the columns of its output, what its state is made for, and the columns by which its rows are
    /// told apart beside their window.
    pub(in super::super::super) fn planned(
        self,
        output: SchemaRef,
        state: String,
        keys: Vec<String>,
    ) -> OperatorBlueprint {
        let rules = self.rules;
        let (of_keys, of_states) = (Arc::clone(&self.sums), Arc::clone(&self.sums));
        let columns: Vec<String> = keys.into_iter().chain(WINDOW_COLUMNS.map(str::to_string)).collect();
        // Which records a window has that is counted depends on how often they were.
        let again = if rules.is_of_time() { Again::Keys(columns.clone()) } else { Again::Unknown };
        OperatorBlueprint {
            state: Some(state),
            latest_by: rules.emits_again().then_some(columns),
            again,
            varies: rules.varies(),
            waits_for_event_time: rules.is_of_time().then_some("window"),
            gives_event_time: !rules.is_of_time(),
            show_state: Some(Arc::new(move |name, written| show(&*of_states, name, written))),
            show_key: Some(Arc::new(move |key| of_keys.keys().show(key))),
            ..table_operator(output, true, Arc::new(move || Ok(self.clone())))
        }
    }
}

/// Returns a piece of the state of time windows as JSON: a list of what is kept, with the times that it is of.
fn show(sums: &impl Summing, name: &str, written: &[u8]) -> Option<String> {
    let of_window = |(start, end): (i64, Option<i64>), sum: &Packed| {
        let end = end.map_or(String::new(), |end| format!("\"window_end\":{end},"));
        Some(format!("{{\"window_start\":{start},{end}{}", sums.show(sum)?.strip_prefix('{')?))
    };
    let of_live = |live: &Live<Packed>| of_window((live.window().start, Some(live.window().end)), live.sum());
    let shown: Option<Vec<String>> = match name {
        PANES => {
            let panes: BTreeMap<i64, Packed> = rmp_serde::from_slice(written).ok()?;
            panes.iter().map(|(start, sum)| of_window((*start, None), sum)).collect()
        }
        SESSIONS => {
            let sessions: Few<Live<Packed>> = rmp_serde::from_slice(written).ok()?;
            sessions.as_slice().iter().map(of_live).collect()
        }
        COUNTED => Some(vec![of_live(&rmp_serde::from_slice::<Counted<Packed>>(written).ok()?.live)?]),
        _ => None,
    };
    Some(format!("[{}]", shown?.join(",")))
}
