use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type};
use serde_json::{Value, json};

use super::super::super::tests::{Bench, int_table, ints, plan_operator};
use super::super::AggregateKind;
use super::super::testing::{assert_follows_the_model, ended, times};
use crate::blueprint::OperatorKind;
use crate::state::{StateReader, Written};
use crate::table::{Table, table};
use crate::window::model::{Model, Out};
use crate::{Batch, Subtask, TimeWindow};

fn outs(batches: &[Batch]) -> Vec<Out> {
    let mut outs = Vec::new();
    for batch in batches {
        let table = table(batch).unwrap();
        let column =
            |name: &str| table.batch().column_by_name(name).unwrap().as_primitive::<Int64Type>().values().to_vec();
        let (keys, counts, totals) = (column("key"), column("n"), column("total"));
        let (starts, ends) = (times(&table, "window_start"), times(&table, "window_end"));
        for row in 0..table.rows() {
            let window = TimeWindow { start: starts[row], end: ends[row] };
            outs.push(Out { key: keys[row] as u64, window, count: counts[row] as u64, value: totals[row] });
        }
    }
    outs.sort();
    outs
}

#[test]
fn windows_are_those_of_the_model_whatever_crashes() {
    let options = json!({
        "by": ["key"],
        "columns": ["count(*) AS n", "sum(value) AS total", "stddev(value) AS deviation", "sum(1.0 / value) AS share",
                    "max(value) - min(value) AS range", "avg(value)"],
    });
    assert_follows_the_model(&AggregateKind, &options, Model::new, outs, |outs| outs);
}

fn windowed(options: Value, input: &[Table]) -> Vec<Table> {
    ended(&AggregateKind, options, input)
}

#[test]
fn rows_come_in_the_order_of_time_with_the_last_moment_as_theirs() {
    let input = int_table(&[("k", &[Some(2), None, Some(2), None])], Some(&[15, 3, 4, 9]));
    let output = windowed(
        json!({ "by": ["k"], "columns": ["count(*) AS n", "window_end AS until"], "window": "10ms" }),
        &[input],
    );
    assert_eq!(output.len(), 1);
    let names: Vec<_> = output[0].schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["k", "window_start", "window_end", "n", "until"]);
    assert_eq!(ints(&output[0], "k"), [Some(2), None, Some(2)]);
    assert_eq!(ints(&output[0], "n"), [Some(1), Some(2), Some(1)]);
    assert_eq!(times(&output[0], "window_start"), [0, 0, 10]);
    assert_eq!(times(&output[0], "until"), [10, 10, 20]);
    assert_eq!(output[0].shared_times().unwrap().to_vec(), [9, 9, 19]);
}

#[test]
fn without_a_key_there_is_one_group_for_each_window() {
    let input = int_table(&[("n", &[Some(1), Some(2), Some(4)])], Some(&[0, 9, 12]));
    let options = json!({ "columns": ["sum(n) AS total"], "window": { "sliding": "10ms", "every": "5ms" } });
    let output = windowed(options, std::slice::from_ref(&input));
    assert_eq!(ints(&output[0], "total"), [Some(1), Some(3), Some(6), Some(4)]);
    let output = windowed(json!({ "columns": ["sum(n) AS total"], "window": { "session": "5ms" } }), &[input]);
    assert_eq!(ints(&output[0], "total"), [Some(1), Some(6)]);
}

/// Every aggregate function, where slices and sessions have to be merged.
#[test]
fn every_function_can_be_merged() {
    let columns: Vec<&str> = super::super::tests::EVERYTHING.to_vec();
    let rows: Vec<(Option<&str>, Option<i64>, f64)> = (0..40i64)
        .map(|n| {
            (Some(["UA", "DL"][n as usize % 2]), (n % 7 != 0).then_some(n * 37 % 11), (n as f64 * 0.7).sin() / 3.0)
        })
        .collect();
    let with_times = |rows: &[(Option<&str>, Option<i64>, f64)], first: i64| {
        let times: Vec<i64> = (first..).take(rows.len()).collect();
        Table::with_times(super::super::tests::flights(rows).batch().clone(), Some(times.into()))
    };
    let whole = [with_times(&rows, 0)];
    let cut: Vec<Table> = (0..8).map(|part| with_times(&rows[part * 5..][..5], part as i64 * 5)).collect();
    let options = |window: Value| json!({ "by": ["carrier"], "columns": columns.as_slice(), "window": window });
    let tumbling = windowed(options(json!("1000ms")), &whole);
    assert_eq!(tumbling[0].rows(), 2);
    let sliding = windowed(options(json!({ "sliding": "1000ms", "every": "4ms" })), &cut);
    // Two sessions of each key, until rows between them come.
    let apart = [&cut[0], &cut[2], &cut[1]].map(Clone::clone);
    let session = windowed(options(json!({ "session": "5ms" })), &apart);
    let session_whole = windowed(options(json!("1000ms")), &apart);
    let of_window = |tables: &[Table], latest: i64| {
        let mut lines: Vec<Vec<String>> = Vec::new();
        for table in tables {
            for row in (0..table.rows()).filter(|row| (0..=latest).contains(&times(table, "window_start")[*row])) {
                let row = table.slice(row, 1);
                let schema = row.schema();
                let cells = schema
                    .fields()
                    .iter()
                    .zip(row.batch().columns())
                    .filter(|(field, _)| !field.name().starts_with("window_"))
                    .map(|(_, column)| {
                        match column.as_primitive_opt::<Float64Type>() {
                            // Which additions come first differs.
                            Some(floats) => format!("{:.9}", floats.value(0)),
                            None => format!("{column:?}"),
                        }
                    });
                lines.push(cells.collect());
            }
        }
        lines.sort();
        lines
    };
    assert_eq!(of_window(&sliding, 0), of_window(&tumbling, 0));
    let session_lines = of_window(&session, i64::MAX);
    assert_eq!(session_lines.len(), 2);
    assert_eq!(session_lines, of_window(&session_whole, 0));
}

#[test]
fn mistakes_are_told_with_their_options() {
    let input = int_table(&[("k", &[]), ("window_end", &[])], None);
    let faults = |options: Value| {
        let faults = plan_operator(&AggregateKind, options, &input).err().unwrap();
        faults.into_iter().map(|fault| (fault.option, fault.message)).collect::<Vec<_>>()
    };
    for (options, option, part) in [
        (json!({ "allowed_lateness": "1s" }), "allowed_lateness", "give `window`"),
        (json!({ "early": "1s" }), "early", "give `window`"),
        (json!({ "window": "1s" }), "window", "the input has one of type bigint"),
        (json!({ "window": { "sliding": "1s", "every": "2s" } }), "window", "leave records between them out"),
        (json!({ "window": { "slidng": "1s" } }), "window.slidng", "unknown field `slidng`"),
    ] {
        let mut all = json!({ "columns": ["count(*) AS n"] });
        options.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
        let faults = faults(all.clone());
        assert!(
            faults
                .iter()
                .any(|(of, message)| of.starts_with(option.split('.').next().unwrap()) && message.contains(part)),
            "{all}: {faults:?}"
        );
    }
    let input = int_table(&[("k", &[])], None);
    for (by, columns, option, part) in [
        (json!([]), json!(["max(window_start)"]), "columns[0]", "`max` cannot be applied to it"),
        (json!([]), json!(["window_start"]), "columns[0]", "the window's and comes out by itself"),
        (json!(["window_start"]), json!(["count(*)"]), "by[0]", "adds a column `window_start`"),
        (json!([]), json!(["k"]), "columns[0]", "neither in `by`"),
    ] {
        let options = json!({ "by": by, "columns": columns, "window": "1s" });
        let faults = plan_operator(&AggregateKind, options, &input).err().unwrap();
        assert!(faults[0].option == option && faults[0].message.contains(part), "{columns}: {faults:?}");
    }
}

#[test]
fn rows_without_event_times_are_told_what_to_do() {
    let input = int_table(&[("n", &[Some(1)])], None);
    let mut bench = Bench::of(&AggregateKind, json!({ "columns": ["sum(n)"], "window": "1s" }), &input);
    let batch: Batch = Arc::new(input.clone());
    let error = bench.operator().process(0, &batch).unwrap_err();
    assert!(error.message().contains("give its source an `event_time`"), "{error}");
    let output = windowed(
        json!({ "columns": ["sum(n) AS n"], "window": "1s", "time": "processing" }),
        std::slice::from_ref(&input),
    );
    assert_eq!(ints(&output[0], "n"), [Some(1)]);
    let output = windowed(
        json!({ "columns": ["sum(n) AS n"], "window": { "count": 2 } }),
        &[input.clone(), input.clone(), input],
    );
    assert_eq!(ints(&output[0], "n"), [Some(1)], "the third row alone: the first two came out before");
}

#[test]
fn a_window_of_windows_takes_their_columns() {
    let input = int_table(&[("n", &[Some(1), Some(2), Some(4)])], Some(&[0, 9, 12]));
    let inner = windowed(json!({ "columns": ["sum(n) AS total"], "window": "10ms" }), &[input]);
    let options = json!({ "columns": ["max(window_end) AS last", "max(total) AS most"], "window": "1s" });
    let output = windowed(options, &inner);
    assert_eq!(times(&output[0], "last"), [20]);
    assert_eq!(ints(&output[0], "most"), [Some(4)]);
}

#[test]
fn the_state_names_its_windows_and_is_shown() {
    let input = int_table(&[("n", &[Some(1)])], Some(&[3]));
    let options = |window: Value| json!({ "columns": ["sum(n) AS n"], "window": window });
    let blueprint = plan_operator(&AggregateKind, options(json!("10ms")), &input).unwrap();
    assert_eq!(blueprint.state.as_deref(), Some("by [], columns [sum(n): Int64], window tumbling 10ms"));
    assert_eq!(blueprint.latest_by, None, "every row follows from the input");
    let late = json!({ "columns": ["sum(n) AS n"], "window": "10ms", "allowed_lateness": "1s" });
    let late = plan_operator(&AggregateKind, late, &input).unwrap();
    assert_eq!(late.latest_by.unwrap(), ["window_start", "window_end"]);
    for (window, name, expected) in [
        (json!("10ms"), "panes", json!([{ "window_start": 0, "sum(n)": 1 }])),
        (json!({ "session": "10ms" }), "sessions", json!([{ "window_start": 3, "window_end": 13, "sum(n)": 1 }])),
        (json!({ "count": 2 }), "counted", json!([{ "window_start": 3, "window_end": 4, "sum(n)": 1 }])),
    ] {
        let mut bench = Bench::of(&AggregateKind, options(window.clone()), &input);
        bench.push(&input);
        let chunk = bench.operator().cut().unwrap().write().unwrap();
        let show = plan_operator(&AggregateKind, options(window), &input).unwrap().show_state.unwrap();
        let chunks = [chunk];
        let mut shown = Vec::new();
        let see = |key: crate::state::KeyState<'_>| -> crate::Result {
            for (of, written) in key.values {
                assert_eq!(of, name);
                let Written::MessagePack(bytes) = written else { panic!("{written:?}") };
                shown.push(show(of, bytes).unwrap());
            }
            Ok(())
        };
        StateReader::open(&chunks, Subtask::single("tested").key_groups).unwrap().each(see).unwrap();
        let shown: Vec<Value> = shown.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        assert_eq!(shown, [expected]);
    }
    let names: Vec<_> = AggregateKind.doc().options.iter().map(|option| option.name).collect();
    assert_eq!(names, ["by", "columns", "window", "allowed_lateness", "early", "time"]);
}
