use std::collections::BTreeMap;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use serde_json::json;

use super::*;
use crate::stock::tests::{Bench, int_table, ints, plan_operator};

/// Keeps states in a map, as the engine's store does.
#[derive(Default)]
struct Store(BTreeMap<Vec<u8>, Packed>);

struct InStore<'a>(&'a mut Store, Vec<Key>);

impl Kept for InStore<'_> {
    fn load(&mut self, group: usize, saved: &mut Saved) -> Result {
        if let Some(state) = self.0.0.get(self.1[group].as_bytes().unwrap()) {
            saved.push(group, state);
        }
        Ok(())
    }

    fn save(&mut self, group: usize, state: Packed) -> Result {
        self.0.0.insert(self.1[group].as_bytes().unwrap().to_vec(), state);
        Ok(())
    }
}

impl Store {
    fn push(&mut self, plan: &Plan, table: &Table) -> Table {
        plan.advance(table, |keys| InStore(self, keys)).unwrap()
    }
}

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(|text| text.to_string()).collect()
}

pub(super) fn flights(rows: &[(Option<&str>, Option<i64>, f64)]) -> Table {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("carrier", Arc::new(StringArray::from(rows.iter().map(|row| row.0).collect::<Vec<_>>()))),
        ("delay", Arc::new(Int64Array::from(rows.iter().map(|row| row.1).collect::<Vec<_>>()))),
        ("x", Arc::new(Float64Array::from(rows.iter().map(|row| row.2).collect::<Vec<_>>()))),
    ];
    Table::new(
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
            .unwrap(),
    )
}

fn plan(by: &[&str], columns: &[&str]) -> Plan {
    Plan::new(&texts(by), &texts(columns), &flights(&[]).schema(), Adds::Nothing).unwrap()
}

fn faults(by: &[&str], columns: &[&str]) -> Vec<(String, String)> {
    let faults = Plan::new(&texts(by), &texts(columns), &flights(&[]).schema(), Adds::Nothing).err().unwrap();
    faults.into_iter().map(|fault| (fault.option, fault.message)).collect()
}

fn doubles(table: &Table, name: &str) -> Vec<Option<f64>> {
    table.batch().column_by_name(name).unwrap().as_primitive::<Float64Type>().iter().collect()
}

#[test]
fn each_key_in_a_batch_gets_its_new_value() {
    let plan = plan(&["carrier"], &["count(*) AS n", "sum(delay) AS total", "min(carrier) AS least"]);
    let mut store = Store::default();
    let first =
        store.push(&plan, &flights(&[(Some("UA"), Some(1), 0.0), (None, Some(5), 0.0), (Some("UA"), Some(2), 0.0)]));
    assert_eq!(first.column(0).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("UA"), None]);
    assert_eq!(ints(&first, "n"), [Some(2), Some(1)]);
    assert_eq!(ints(&first, "total"), [Some(3), Some(5)]);
    let second = store.push(&plan, &flights(&[(Some("DL"), None, 0.0), (None, Some(1), 0.0)]));
    assert_eq!(ints(&second, "n"), [Some(1), Some(2)]);
    assert_eq!(ints(&second, "total"), [None, Some(6)]);
    assert_eq!(
        second.batch().column_by_name("least").unwrap().as_string::<i32>().iter().collect::<Vec<_>>(),
        [Some("DL"), None]
    );
}

#[test]
fn sums_that_do_not_fit_are_errors() {
    for (column, named) in
        [("sum(delay) AS total", "sum"), ("sum(delay * 2) AS total", "sum"), ("max(delay) + 1", "max")]
    {
        let plan = plan(&["carrier"], &[column]);
        let mut store = Store::default();
        store.push(&plan, &flights(&[(Some("UA"), Some(1), 0.0), (Some("DL"), Some(i64::MIN / 2), 0.0)]));
        let mut push = |delay| {
            let table = flights(&[(Some("AA"), None, 0.0), (Some("UA"), Some(delay), 0.0)]);
            plan.advance(&table, |keys| InStore(&mut store, keys))
        };
        push(7).unwrap();
        let error = push(i64::MAX).expect_err(column);
        assert!(error.message().starts_with('`') && error.message().contains(named), "{error}");
    }
    let plan = plan(&[], &["sum(delay) AS total", "sum(delay) FILTER (WHERE x > 0) AS some"]);
    let mut store = Store::default();
    let table = store.push(&plan, &flights(&[(None, None, 1.0), (None, Some(i64::MAX), 0.0), (None, Some(-1), 0.0)]));
    assert_eq!(ints(&table, "total"), [Some(i64::MAX - 1)]);
    assert_eq!(ints(&table, "some"), [None]);
    let table = store.push(&plan, &flights(&[(None, Some(1), 1.0)]));
    assert_eq!(ints(&table, "total"), [Some(i64::MAX)]);
    assert_eq!(ints(&table, "some"), [Some(1)]);
}

#[test]
fn equal_floats_are_one_group() {
    let plan = plan(&["x"], &["count(*) AS n"]);
    let mut store = Store::default();
    let row = |x| (None, None, x);
    let table = store.push(&plan, &flights(&[row(-0.0), row(f64::NAN), row(0.0), row(-f64::NAN), row(1.0)]));
    assert_eq!(ints(&table, "n"), [Some(2), Some(2), Some(1)]);
    assert!(doubles(&table, "x")[0].unwrap().is_sign_positive(), "what comes out does not depend on which came first");
    let table = store.push(&plan, &flights(&[row(f64::from_bits(0x7ff8_0000_0000_0001)), row(-0.0)]));
    assert_eq!(ints(&table, "n"), [Some(3), Some(3)]);
}

#[test]
fn expressions_go_into_and_over_aggregates() {
    let columns = [
        "100.0 * sum(CASE WHEN delay > 15 THEN 1 ELSE 0 END) / count(*) AS late_percent",
        "avg(delay) / 60 AS hours",
        "count(*) FILTER (WHERE delay > 15) AS late",
        "upper(carrier) || '!' AS name",
        "count(DISTINCT delay) AS kinds",
        "max(x) - min(x)",
        "COUNT(delay)",
    ];
    let plan = plan(&["carrier"], &columns);
    let mut store = Store::default();
    store.push(&plan, &flights(&[(Some("ua"), Some(30), 1.5), (Some("ua"), Some(0), 0.5)]));
    let table = store.push(&plan, &flights(&[(Some("ua"), None, -1.0), (Some("ua"), Some(30), 1.0)]));
    assert_eq!(doubles(&table, "late_percent"), [Some(50.0)]);
    assert_eq!(doubles(&table, "hours"), [Some(20.0 / 60.0)]);
    assert_eq!(ints(&table, "late"), [Some(2)]);
    assert_eq!(table.batch().column_by_name("name").unwrap().as_string::<i32>().value(0), "UA!");
    assert_eq!(ints(&table, "kinds"), [Some(2)]);
    assert_eq!(doubles(&table, "max(x) - min(x)"), [Some(2.5)]);
    assert_eq!(ints(&table, "COUNT(delay)"), [Some(3)]);
}

pub(super) const EVERYTHING: &[&str] = &[
    "count(*) AS a",
    "sum(x) AS b",
    "avg(x) AS c",
    "min(x) AS d",
    "max(carrier) AS e",
    "stddev(x) AS f",
    "var_pop(x) AS g",
    "median(x) AS h",
    "count(DISTINCT x) AS i",
    "first_value(x) AS j",
    "last_value(x) AS k",
    "array_agg(delay) AS l",
    "string_agg(carrier, '+') AS m",
    "bool_or(delay > 3) AS n",
    "bit_xor(delay) AS o",
    "approx_distinct(delay) AS p",
    "percentile_cont(x, 0.25) AS q",
    "avg(delay) AS r",
    "stddev_pop(delay) AS s",
];

#[test]
fn the_result_does_not_depend_on_how_rows_are_cut_into_batches() {
    let rows: Vec<(Option<&str>, Option<i64>, f64)> = (0..60i64)
        .map(|n| {
            let carrier = [Some("UA"), Some("DL"), None][n as usize % 3];
            (carrier, (n % 7 != 0).then_some(n * 37 % 11), (n as f64 * 0.7).sin() / 3.0)
        })
        .collect();
    let plan = plan(&["carrier"], EVERYTHING);
    let last_of = |size: usize| {
        let mut store = Store::default();
        let mut last: BTreeMap<String, String> = BTreeMap::new();
        for rows in rows.chunks(size) {
            let table = store.push(&plan, &flights(rows));
            for row in 0..table.rows() {
                let row = table.slice(row, 1);
                // Debug output of a float is exact.
                let cells: Vec<String> = row.batch().columns().iter().map(|column| format!("{column:?}")).collect();
                last.insert(cells[0].clone(), cells.join("\n"));
            }
        }
        last
    };
    let whole = last_of(60);
    assert_eq!(whole.len(), 3);
    for size in [1, 2, 7, 13] {
        assert_eq!(last_of(size), whole, "{size} rows at a time");
    }
}

#[test]
fn least_and_greatest_do_not_depend_on_the_order_of_the_rows() {
    let columns = ["min(x) AS least", "max(x) AS greatest", "min(CAST(x AS float)) AS l", "max(DISTINCT x) AS g"];
    let plan = plan(&["carrier"], &columns);
    let all = [f64::NAN, -0.0, 5.0, 0.0, -f64::NAN, f64::INFINITY];
    let cases: [(&[usize], f64, f64); 5] = [
        (&[0, 2], 5.0, f64::NAN),
        (&[2, 0, 3], 0.0, f64::NAN),
        (&[1, 3, 2], -0.0, 5.0),
        (&[4, 5], f64::INFINITY, f64::NAN),
        (&[0, 4], f64::NAN, f64::NAN),
    ];
    for (chosen, least, greatest) in cases {
        let rows: Vec<_> = chosen.iter().map(|index| (Some("UA"), None, all[*index])).collect();
        for begin in 0..rows.len() {
            let order = [&rows[begin..], &rows[..begin]].concat();
            for size in [1, rows.len()] {
                let mut store = Store::default();
                let results: Vec<Table> = order.chunks(size).map(|rows| store.push(&plan, &flights(rows))).collect();
                let last = results.last().unwrap();
                let is = |name: &str, expected: f64| {
                    let found = doubles(last, name)[0].unwrap();
                    assert!(
                        found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()),
                        "{name} of {order:?} is {found}"
                    );
                };
                is("least", least);
                is("greatest", greatest);
                is("g", greatest);
                let single = last.batch().column_by_name("l").unwrap().as_primitive::<Float32Type>().value(0);
                assert!(f64::from(single).to_bits() == least.to_bits() || (single.is_nan() && least.is_nan()));
            }
        }
    }
}

#[test]
fn a_state_goes_through_serde_unchanged() {
    let plan = plan(&["carrier"], EVERYTHING);
    let mut store = Store::default();
    store.push(&plan, &flights(&[(Some("UA"), Some(1), 0.1), (None, None, f64::NAN)]));
    for state in store.0.values() {
        let bytes = rmp_serde::to_vec_named(state).unwrap();
        assert!(bytes.len() <= state.0.len() + 5, "bytes are kept as bytes");
        assert_eq!(rmp_serde::from_slice::<Packed>(&bytes).unwrap(), *state);
    }
}

#[test]
fn a_state_is_shown_by_its_aggregates() {
    let plan = plan(&["carrier"], &["count(*) AS n", "avg(x) * 2 AS twice"]);
    let mut store = Store::default();
    store.push(&plan, &flights(&[(Some("UA"), Some(1), 0.5), (Some("UA"), Some(1), 1.0)]));
    let state = store.0.values().next().unwrap();
    let shown: serde_json::Value = serde_json::from_str(&plan.show(state).unwrap()).unwrap();
    assert_eq!(shown, json!({ "count(Int64(1))": 2, "avg(x)[count]": 2, "avg(x)[sum]": 1.5 }));
    let other = Packed([&[0; 4], &state.0[4..]].concat());
    assert_eq!(plan.show(&other), None, "it was made for something else");
}

#[test]
fn a_state_of_other_columns_is_refused() {
    let mut store = Store::default();
    let table = flights(&[(Some("UA"), Some(1), 0.1)]);
    store.push(&plan(&["carrier"], &["sum(x) AS n"]), &table);
    store.push(&plan(&["carrier"], &["sum( x ) AS other_name"]), &table);
    for columns in [&["max(x) AS n"][..], &["sum(delay) AS n"], &["sum(x) AS n", "count(*) AS m"]] {
        let error = plan(&["carrier"], columns).advance(&table, |keys| InStore(&mut store, keys)).unwrap_err();
        assert!(error.message().contains("made for other `columns`"), "{columns:?}: {error}");
    }
}

#[test]
fn the_state_names_its_keys_and_aggregates_and_their_types() {
    let state = |by: &[&str], columns: &[&str]| plan(by, columns).state;
    let expected = "by [carrier: Utf8, delay: Int64], columns [avg(x): UInt64 Float64, count(Int64(1)): Int64]";
    assert_eq!(state(&["carrier", "delay"], &["avg(x) / count(*) AS n"]), expected);
    assert_eq!(state(&["carrier", "delay"], &["avg( x ) AS mean", "count(*) AS n"]), expected);
    let one = state(&["carrier"], &["sum(x) AS n"]);
    for (by, columns) in [(&["delay"][..], "sum(x) AS n"), (&[], "sum(x) AS n"), (&["carrier"], "sum(delay) AS n")] {
        assert_ne!(state(by, &[columns]), one);
    }
}

#[test]
fn the_bytes_of_a_state_are_part_of_the_format() {
    let plan = plan(&["carrier"], &["count(*) AS n", "sum(x) AS s", "stddev(x) AS d"]);
    let mut store = Store::default();
    store.push(&plan, &flights(&[(Some("UA"), Some(1), 0.5)]));
    let state = &store.0.values().next().unwrap().0;
    let expected: Vec<u8> = [
        &[1, 128, 0, 0, 0, 0, 0, 0, 1][..], // count
        &[1, 191, 224, 0, 0, 0, 0, 0, 0],   // sum
        &[1, 0, 0, 0, 0, 0, 0, 0, 1],       // count, mean and squares of stddev
        &[1, 191, 224, 0, 0, 0, 0, 0, 0],
        &[1, 128, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    assert_eq!(state[4..], expected);
}

#[test]
fn what_cannot_be_computed_is_a_fault_of_its_option() {
    for (columns, part) in [
        (&["delay"][..], "column `delay` is neither in `by` nor inside an aggregate function"),
        (&["sum(count(*))"], "cannot be applied to another aggregate"),
        (&["array_agg(DISTINCT x)"], "DISTINCT is possible with count, min and max"),
        (&["first_value(x ORDER BY delay)"], "leave ORDER BY away"),
        (&["sum(dely)"], "did you mean `delay`"),
        (&["sum(carrier, 1)"], "sum"),
        (&["corr(x, x)"], "unknown function `corr`"),
        (&["cuont(*)"], "unknown function `cuont`, did you mean `count`?"),
        (&["carrier"], "`carrier` is in `by` and comes out by itself"),
        (&["count(*) AS carrier"], "`carrier` is in `by`"),
        (&["sum(now())"], "gives another answer each time"),
        (&["count(*) OVER ()"], "OVER"),
    ] {
        let faults = faults(&["carrier"], columns);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].0.starts_with("columns") && faults[0].1.contains(part), "{columns:?}: {faults:?}");
    }
    let faults = faults(&["carrier", "origin", "carrier"], &["count(*)"]);
    let named: Vec<_> = faults.iter().map(|(option, _)| option.as_str()).collect();
    assert_eq!(named, ["by[1]", "by[2]"]);
}

#[test]
fn without_a_key_there_is_one_group() {
    let input = int_table(&[("n", &[Some(1), Some(2)])], Some(&[20, 10]));
    let mut bench = Bench::of(&AggregateKind, json!({ "columns": ["sum(n) AS total"] }), &input);
    let output = bench.push(&input);
    assert_eq!(ints(&output[0], "total"), [Some(3)]);
    assert_eq!(output[0].shared_times().unwrap().to_vec(), [20]);
    assert_eq!(ints(&bench.push(&input)[0], "total"), [Some(6)]);
}

/// Cuts the state of one instance and restores another one from all cuts.
fn crashed(cuts: &[Vec<u8>], input: &Table, options: &serde_json::Value) -> Bench {
    let mut bench = Bench::unopened(&AggregateKind, options.clone(), input, "tested");
    bench.operator().restore(cuts.to_vec(), 0).unwrap();
    bench.operator().open().unwrap();
    bench
}

#[test]
fn a_crash_takes_back_what_no_checkpoint_holds() {
    let options = json!({ "by": ["k"], "columns": ["count(*) AS n", "stddev(v) AS d"] });
    let batch = |keys: &[Option<i64>]| {
        let values: Vec<Option<i64>> = keys.iter().map(|key| key.map(|key| key * 7 + 1)).collect();
        int_table(&[("k", keys), ("v", &values)], None)
    };
    let (one, two, three) = (batch(&[Some(1), Some(2), Some(1)]), batch(&[Some(2), None]), batch(&[Some(1), None]));
    let mut calm = Bench::of(&AggregateKind, options.clone(), &one);
    let expected: Vec<Vec<Table>> = [&one, &two, &three].map(|table| calm.push(table)).to_vec();

    let mut bench = Bench::of(&AggregateKind, options.clone(), &one);
    bench.push(&one);
    let mut cuts = vec![bench.operator().cut().unwrap().write().unwrap()];
    bench.push(&two);
    bench = crashed(&cuts, &one, &options);
    assert_eq!(bench.push(&two), expected[1]);
    let second = bench.operator().cut().unwrap().write().unwrap();
    assert!(!second.is_empty());
    cuts.push(second);
    bench = crashed(&cuts, &one, &options);
    assert_eq!(bench.push(&three), expected[2]);
}

#[test]
fn the_sender_computes_the_same_keys() {
    let input = int_table(&[("k", &[Some(1), None, Some(1)])], None);
    let mut bench = Bench::of(&AggregateKind, json!({ "by": ["k"], "columns": ["count(*)"] }), &input);
    let keyer = bench.operator().keyer(0);
    let batch: crate::Batch = Arc::new(input.clone());
    let mut hashes = vec![7];
    keyer.hashes(&batch, &mut hashes).unwrap();
    assert_eq!(hashes.len(), 3);
    assert_eq!(hashes[0], hashes[2]);
    assert_ne!(hashes[0], hashes[1]);
    assert!(plan_operator(&AggregateKind, json!({ "columns": ["count(*)"] }), &input).unwrap().keyed);
}

#[test]
fn the_output_has_key_columns_first() {
    let output = plan(&["x", "carrier"], &["count(*) AS n", "avg(delay) AS mean"]).output;
    let fields: Vec<_> = output.fields().iter().map(|field| (field.name().as_str(), field.data_type())).collect();
    let expected = [
        ("x", &DataType::Float64),
        ("carrier", &DataType::Utf8),
        ("n", &DataType::Int64),
        ("mean", &DataType::Float64),
    ];
    assert_eq!(fields, expected);
}

#[test]
fn keys_are_shown_by_their_columns() {
    let table = flights(&[(Some("UA"), Some(3), 0.5), (None, Some(4), 1.5)]);
    let of_two = plan(&["carrier", "x"], &["count(*) AS n"]);
    let show = |plan: &Plan, row| plan.keys.show(&plan.keys.key(TableRow { table: &table, row })).unwrap();
    let of = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    assert_eq!(of(show(&of_two, 0)), json!({ "carrier": "UA", "x": 0.5 }));
    assert_eq!(of(show(&of_two, 1)), json!({ "carrier": null, "x": 1.5 }));
    assert_eq!(show(&plan(&[], &["count(*) AS n"]), 0), "{}");
    assert_eq!(of_two.keys.show(&Key::from(7u64)), None);
}
