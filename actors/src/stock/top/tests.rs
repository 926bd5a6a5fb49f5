use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use serde_json::{Value, json};

use super::super::aggregate::testing::{assert_follows_the_model, ended, times};
use super::super::tests::{Bench, int_table, ints, plan_operator};
use super::*;
use crate::state::{StateReader, Written};
use crate::table::{Table, table};
use crate::window::model::{Model, Out};
use crate::{Batch, Subtask, TimeWindow};

/// How many rows the property test asks for.
const FIRST: usize = 3;

/// Values as one number. What the order leaves open is decided by the value itself.
fn number(values: &[i64]) -> i64 {
    values.iter().fold(0, |number, value| number * 101 + value)
}

fn first(values: &[i64]) -> i64 {
    let mut values = values.to_vec();
    values.sort_by_key(|value| (-(value % 10), *value));
    values.truncate(FIRST);
    number(&values)
}

/// The rows of each window as one: how many, and which.
fn outs(batches: &[Batch]) -> Vec<Out> {
    let mut outs: Vec<(Out, Vec<i64>)> = Vec::new();
    for batch in batches {
        let table = table(batch).unwrap();
        let column =
            |name: &str| table.batch().column_by_name(name).unwrap().as_primitive::<Int64Type>().values().to_vec();
        let (keys, values, ranks) = (column("key"), column("value"), column("rank"));
        let (starts, ends) = (times(&table, "window_start"), times(&table, "window_end"));
        for row in 0..table.rows() {
            let (key, window) = (keys[row] as u64, TimeWindow { start: starts[row], end: ends[row] });
            if ranks[row] == 1 {
                outs.push((Out { key, window, count: 0, value: 0 }, Vec::new()));
            }
            let (out, values_of) = outs.last_mut().unwrap();
            values_of.push(values[row]);
            assert_eq!((out.key, out.window, values_of.len() as i64), (key, window, ranks[row]));
        }
    }
    let out = |(out, values): (Out, Vec<i64>)| Out { count: values.len() as u64, value: number(&values), ..out };
    let mut outs: Vec<Out> = outs.into_iter().map(out).collect();
    outs.sort();
    outs
}

#[test]
fn the_first_rows_are_those_of_the_model_whatever_crashes() {
    let options = json!({ "by": ["key"], "n": FIRST, "order": ["value % 10 DESC"], "rank": "rank" });
    let seen = |mut outs: Vec<Out>| {
        outs.iter_mut().for_each(|out| out.count = out.count.min(FIRST as u64));
        outs.sort();
        outs
    };
    assert_follows_the_model(&TopKind, &options, |timing| Model::with(timing, first), outs, seen);
}

fn topped(options: Value, input: &[Table]) -> Vec<Table> {
    ended(&TopKind, options, input)
}

fn mixed(rows: &[(Option<&str>, Option<f64>, i64)]) -> Table {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("name", Arc::new(StringArray::from(rows.iter().map(|row| row.0).collect::<Vec<_>>()))),
        ("x", Arc::new(Float64Array::from(rows.iter().map(|row| row.1).collect::<Vec<_>>()))),
        ("id", Arc::new(Int64Array::from(rows.iter().map(|row| row.2).collect::<Vec<_>>()))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, of)| (name, of, true)));
    Table::with_times(batch.unwrap(), Some(vec![5; rows.len()].into()))
}

#[test]
fn terms_order_as_in_sql_and_nothing_depends_on_what_came_first() {
    let rows = [
        (Some("b"), Some(1.0), 1),
        (None, Some(2.0), 2),
        (Some("a"), None, 3),
        (Some("a"), Some(f64::NAN), 4),
        (Some("b"), Some(1.0), 0),
        (Some("a"), Some(-1.0), 5),
    ];
    for (order, expected) in [
        (json!(["x"]), [5, 0, 1, 2]),
        (json!(["x DESC"]), [3, 4, 2, 0]),
        (json!(["x DESC NULLS LAST"]), [4, 2, 0, 1]),
        (json!(["x NULLS FIRST"]), [3, 5, 0, 1]),
        (json!(["name", "id DESC"]), [5, 4, 3, 1]),
        (json!(["name DESC", "abs(x)"]), [2, 0, 1, 5]),
        (json!(["lower(name) ASC", "- id"]), [5, 4, 3, 1]),
    ] {
        let options = json!({ "n": 4, "order": order, "window": "1s" });
        let whole = topped(options.clone(), &[mixed(&rows)]);
        assert_eq!(ints(&whole[0], "id"), expected.map(Some), "{order}");
        let mut backwards = rows;
        backwards.reverse();
        let one_by_one: Vec<Table> = backwards.iter().map(|row| mixed(std::slice::from_ref(row))).collect();
        assert_eq!(topped(options, &one_by_one), whole, "{order}");
    }
}

#[test]
fn with_ties_all_that_are_equal_to_the_last_one_come_out() {
    let rows: Vec<(Option<&str>, Option<f64>, i64)> =
        [3.0, 1.0, 2.0, 2.0, 1.0, 2.0].iter().zip(0..).map(|(x, id)| (None, Some(*x), id)).collect();
    for (n, ties, expected) in [
        (1, true, vec![1, 4]),
        (2, true, vec![1, 4]),
        (3, true, vec![1, 4, 2, 3, 5]),
        (3, false, vec![1, 4, 2]),
        (7, true, vec![1, 4, 2, 3, 5, 0]),
    ] {
        let options = json!({ "n": n, "ties": ties, "order": ["x"], "rank": "rank", "window": "1s" });
        let expected: Vec<Option<i64>> = expected.into_iter().map(Some).collect();
        let mut rows = rows.clone();
        for _ in 0..rows.len() {
            rows.rotate_left(1);
            let whole = topped(options.clone(), &[mixed(&rows)]);
            assert_eq!(ints(&whole[0], "id"), expected, "{options}");
            assert_eq!(ints(&whole[0], "rank"), (1..=expected.len() as i64).map(Some).collect::<Vec<_>>());
            let one_by_one: Vec<Table> = rows.iter().map(|row| mixed(std::slice::from_ref(row))).collect();
            assert_eq!(topped(options.clone(), &one_by_one), whole, "{options}");
        }
    }
}

#[test]
fn rows_come_whole_with_their_window_and_their_place() {
    let input =
        int_table(&[("k", &[Some(1), Some(2), Some(1), Some(1)]), ("v", &[Some(7), None, Some(9), Some(8)])], {
            Some(&[3, 4, 15, 16])
        });
    let options = json!({ "by": ["k"], "n": 1, "order": ["v DESC"], "window": "10ms", "rank": "place" });
    let output = topped(options, std::slice::from_ref(&input));
    let names: Vec<_> = output[0].schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["k", "v", "window_start", "window_end", "place"]);
    assert_eq!(ints(&output[0], "v"), [Some(7), None, Some(9)]);
    assert_eq!(ints(&output[0], "place"), [Some(1); 3]);
    assert_eq!(times(&output[0], "window_end"), [10, 10, 20]);
    assert_eq!(output[0].shared_times().unwrap().to_vec(), [9, 9, 19]);
    // Without a key all rows are one group, and a top of a top leaves its windows out.
    let of_all = topped(json!({ "n": 2, "order": ["v DESC NULLS LAST"], "window": "1s" }), &output);
    let names: Vec<_> = of_all[0].schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["k", "v", "place", "window_start", "window_end"]);
    assert_eq!(ints(&of_all[0], "v"), [Some(9), Some(7)]);
    assert_eq!(times(&of_all[0], "window_end"), [1000, 1000]);
}

#[test]
fn what_is_kept_does_not_grow_with_the_input() {
    let options = json!({ "n": 5, "order": ["v"], "window": { "tumbling": "1h" } });
    let input = |from: i64| {
        let values: Vec<Option<i64>> = (from..from + 1000).map(|v| Some(v * 7919 % 100_003)).collect();
        int_table(&[("v", &values)], Some(&vec![1; 1000]))
    };
    let mut bench = Bench::of(&TopKind, options.clone(), &input(0));
    let mut chunks = Vec::new();
    for part in 0..20 {
        bench.push(&input(part * 1000));
        chunks.push(bench.operator().cut().unwrap().write().unwrap());
    }
    let sizes: Vec<usize> = chunks.iter().map(Vec::len).collect();
    assert!(sizes.iter().all(|size| *size < sizes[0] + 200), "{sizes:?}");
    let show = plan_operator(&TopKind, options, &input(0)).unwrap().show_state.unwrap();
    let mut shown = Vec::new();
    let see = |key: crate::state::KeyState<'_>| -> crate::Result {
        for (name, written) in key.values {
            let Written::MessagePack(bytes) = written else { panic!("{written:?}") };
            shown.push(serde_json::from_str::<Value>(&show(name, bytes).unwrap()).unwrap());
        }
        Ok(())
    };
    StateReader::open(&chunks, Subtask::single("tested").key_groups).unwrap().each(see).unwrap();
    assert_eq!(shown[0][0]["rows"].as_array().unwrap().len(), 5);
    assert_eq!(shown[0][0]["rows"][0], json!({ "v": 0 }));
}

#[test]
fn mistakes_are_told_with_their_options() {
    let input = int_table(&[("k", &[]), ("v", &[])], None);
    let told = |options: Value| {
        let faults = plan_operator(&TopKind, options, &input).err().unwrap();
        faults.into_iter().map(|fault| (fault.option, fault.message)).collect::<Vec<_>>()
    };
    for (option, value, part) in [
        ("window", Value::Null, "taken back when better ones come"),
        ("n", json!(0), "at least 1"),
        ("order", json!([]), "at least one term"),
        ("order[0]", json!(["w"]), "unknown column `w`"),
        ("order[1]", json!(["v", "v DOWN"]), "end of the term"),
        ("order[0]", json!(["count(*)"]), "cannot use an aggregate function"),
        ("order[0]", json!(["1 DESC"]), "the same for all rows"),
        ("order[0]", json!(["random()"]), "gives another answer each time"),
        ("by[0]", json!(["w"]), "unknown column `w`"),
        ("rank", json!("v"), "there is a column `v` already"),
        ("rank", json!("window_end"), "there is a column `window_end` already"),
        ("window", json!({ "sliding": "1s", "every": "2s" }), "leave records between them out"),
    ] {
        let mut options = json!({ "n": 2, "order": ["v"], "window": "1s" });
        let name = option.split('[').next().unwrap();
        match value {
            Value::Null => drop(options.as_object_mut().unwrap().remove(name)),
            value => options[name] = value,
        }
        let faults = told(options.clone());
        assert!(faults.len() == 1 && faults[0].0 == option && faults[0].1.contains(part), "{options}: {faults:?}");
    }
    let many = told(json!({ "by": ["x"], "n": 0, "order": ["y"], "rank": "k", "window": "1s" }));
    let named: Vec<_> = many.iter().map(|(option, _)| option.as_str()).collect();
    assert_eq!(named, ["n", "by[0]", "order[0]", "rank"]);
}

#[test]
fn the_state_names_all_that_it_depends_on() {
    let input = int_table(&[("k", &[]), ("v", &[])], None);
    let plan = |options: Value| plan_operator(&TopKind, options, &input).unwrap();
    let options = json!({ "by": ["k"], "n": 2, "order": ["v DESC"], "window": "1s" });
    let blueprint = plan(options.clone());
    let expected = "by [k: Int64], the first 2 of [k: Int64, v: Int64], order [v DESC: Int64 desc nulls first], window tumbling 1s";
    assert_eq!(blueprint.state.as_deref(), Some(expected));
    assert_eq!(blueprint.latest_by, None);
    assert_eq!(blueprint.side_outputs[0].name(), "late");
    for (option, value) in
        [("n", json!(3)), ("order", json!(["v"])), ("by", json!([])), ("window", json!("2s")), ("ties", json!(true))]
    {
        let mut other = options.clone();
        other[option] = value;
        assert_ne!(plan(other).state.as_deref(), Some(expected), "{option}");
    }
    let mut late = options;
    late["allowed_lateness"] = json!("1s");
    late["rank"] = json!("rank");
    assert_eq!(plan(late.clone()).latest_by.unwrap(), ["k", "rank", "window_start", "window_end"]);
    late["ties"] = json!(true);
    assert_eq!(plan(late).latest_by.unwrap(), ["k", "window_start", "window_end"]);
}
