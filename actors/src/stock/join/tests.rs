use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::{Value, json};

use super::super::options::tests::with_options;
use super::super::tests::{int_table, site};
use super::*;
use crate::harness::Harness;
use crate::table::table;
use crate::{AnyBatch, WATERMARK_MAX, WATERMARK_MIN};

fn planned(options: &Value, inputs: &[&Table]) -> Result<OperatorBlueprint, Vec<Fault>> {
    let inputs: Vec<RecordType> = inputs.iter().map(|input| RecordType::Table(input.schema())).collect();
    with_options(options, |options| JoinKind.plan(options, &inputs, &site("joined")))
}

fn faults(options: Value, inputs: &[&Table]) -> Vec<(String, String)> {
    let faults = planned(&options, inputs).err().expect("something is wrong");
    faults.into_iter().map(|fault| (fault.option, fault.message)).collect()
}

fn harness(options: Value, left: &Table, right: &Table) -> Harness<TableJoin> {
    let inputs = [RecordType::Table(left.schema()), RecordType::Table(right.schema())];
    let settings: Settings = with_options(&options, |options| read(options, &JoinKind.doc())).unwrap();
    let plan = Arc::new(Plan::new(&settings, &inputs).unwrap_or_else(|faults| panic!("{faults:?}")));
    let matcher = Arc::new(matcher(plan.how));
    let join = TableJoin { plan, matcher, found: Rows::default() };
    Harness::new(move || join.clone())
}

fn push(harness: &mut Harness<TableJoin>, port: usize, table: &Table) {
    harness.push_batch(port, Arc::new(table.clone())).unwrap();
}

/// Returns the rows that came out as JSON, each with its time.
fn emitted(harness: &Harness<TableJoin>) -> Vec<(String, Option<Timestamp>)> {
    let mut rows = Vec::new();
    for batch in harness.output_batches() {
        let table = table(batch).unwrap();
        rows.extend((0..table.rows()).map(|row| (AnyBatch::show(&*table, row), table.time(row))));
    }
    rows
}

fn flights() -> Table {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("origin", Arc::new(StringArray::from(vec![Some("EWR"), Some("JFK"), None, Some("EWR")]))),
        ("hour", Arc::new(Int64Array::from(vec![Some(5), Some(5), Some(5), None]))),
        ("flight", Arc::new(Int64Array::from(vec![1, 2, 3, 4]))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, of)| (name, of, true)));
    Table::with_times(batch.unwrap(), Some(vec![100, 200, 300, 400].into()))
}

fn weather() -> Table {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("wind", Arc::new(Float64Array::from(vec![Some(1.5), Some(-0.0), None, Some(4.0)]))),
        ("hour", Arc::new(Int64Array::from(vec![Some(5), Some(5), Some(5), None]))),
        ("origin", Arc::new(StringArray::from(vec![Some("EWR"), Some("LGA"), None, Some("EWR")]))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, of)| (name, of, true)));
    Table::with_times(batch.unwrap(), Some(vec![150, 150, 150, 150].into()))
}

#[test]
fn the_key_columns_of_a_list_come_out_once_and_null_equals_nothing() {
    let options = json!({ "on": ["origin", "hour"], "kind": "left", "within": "1s" });
    let mut harness = harness(options, &flights(), &weather());
    push(&mut harness, 0, &flights());
    harness.checkpoint().unwrap().crash().unwrap();
    push(&mut harness, 1, &weather());
    harness.close().unwrap();
    let row = |text: &str, at: Timestamp| (text.to_string(), Some(at));
    assert_eq!(
        emitted(&harness),
        [
            row(r#"{"origin":null,"hour":5,"flight":3,"wind":null}"#, 300),
            row(r#"{"origin":"EWR","hour":null,"flight":4,"wind":null}"#, 400),
            row(r#"{"origin":"EWR","hour":5,"flight":1,"wind":1.5}"#, 150),
            row(r#"{"origin":"JFK","hour":5,"flight":2,"wind":null}"#, 1200),
        ]
    );
}

#[test]
fn columns_of_other_names_all_come_out() {
    let right = int_table(&[("at", &[Some(5)]), ("place", &[Some(7)])], Some(&[120]));
    let options = json!({ "on": { "left": ["hour"], "right": ["at"] }, "window": { "tumbling": "1s" } });
    let mut harness = harness(options, &flights(), &right);
    push(&mut harness, 1, &right);
    push(&mut harness, 0, &flights().slice(0, 1));
    let row = r#"{"origin":"EWR","hour":5,"flight":1,"at":5,"place":7}"#;
    assert_eq!(emitted(&harness), [(row.to_string(), Some(120))]);
}

#[test]
fn of_right_rows_of_the_same_time_the_greatest_is_the_newest_whichever_comes_last() {
    let left = int_table(&[("k", &[Some(1)])], Some(&[100]));
    let right = int_table(&[("k", &[Some(1); 4]), ("n", &[Some(7), None, Some(9), Some(8)])], Some(&[50, 50, 50, 40]));
    for order in [[0, 1, 2, 3], [2, 3, 0, 1], [3, 2, 1, 0]] {
        let mut harness = harness(json!({ "on": ["k"], "newest": true }), &left, &right);
        for row in order {
            push(&mut harness, 1, &right.slice(row, 1));
            harness.checkpoint().unwrap().crash().unwrap();
        }
        push(&mut harness, 0, &left);
        harness.close().unwrap();
        assert_eq!(emitted(&harness), [(r#"{"k":1,"n":9}"#.to_string(), Some(100))], "{order:?}");
    }
}

#[test]
fn a_right_side_of_keys_alone_is_enough() {
    let left = int_table(&[("k", &[Some(1), Some(2)]), ("n", &[Some(10), Some(20)])], None);
    let right = int_table(&[("k", &[Some(2), Some(2)])], None);
    let mut harness = harness(json!({ "on": ["k"], "kind": "left" }), &left, &right);
    push(&mut harness, 0, &left);
    push(&mut harness, 1, &right);
    harness.close().unwrap();
    let rows =
        [(r#"{"k":2,"n":20}"#.into(), None), (r#"{"k":2,"n":20}"#.into(), None), (r#"{"k":1,"n":10}"#.into(), None)];
    assert_eq!(emitted(&harness), rows);
}

#[test]
fn the_newest_row_as_of_the_time_of_the_left_one_is_found() {
    let orders =
        int_table(&[("k", &[Some(1), Some(1), Some(1)]), ("n", &[Some(1), Some(2), Some(3)])], Some(&[5, 25, 15]));
    let prices = int_table(&[("k", &[Some(1), Some(1)]), ("price", &[Some(100), Some(200)])], Some(&[20, 10]));
    let mut harness = harness(json!({ "on": ["k"], "newest": true, "kind": "left" }), &orders, &prices);
    push(&mut harness, 0, &orders);
    push(&mut harness, 1, &prices);
    harness.watermark(17).unwrap().checkpoint().unwrap().crash().unwrap().close().unwrap();
    let row = |n: i64, price: &str, at| (format!(r#"{{"k":1,"n":{n},"price":{price}}}"#), Some(at));
    assert_eq!(emitted(&harness), [row(1, "null", 5), row(3, "200", 15), row(2, "100", 25)]);
}

#[test]
fn keys_are_equal_whatever_their_zeros_and_hashes_agree() {
    let left = Table::new(
        RecordBatch::try_from_iter([("x", Arc::new(Float64Array::from(vec![0.0, f64::NAN, 1.0])) as ArrayRef)])
            .unwrap(),
    );
    let right = Table::new(
        RecordBatch::try_from_iter([("x", Arc::new(Float64Array::from(vec![-0.0, -f64::NAN, 2.0])) as ArrayRef)])
            .unwrap(),
    );
    let mut harness = harness(json!({ "on": ["x"] }), &left, &right);
    push(&mut harness, 0, &left);
    push(&mut harness, 1, &right);
    assert_eq!(emitted(&harness).len(), 2);

    let blueprint = planned(&json!({ "on": ["x"] }), &[&left, &right]).unwrap();
    let operator = (blueprint.make)(crate::Subtask::single("joined"), 1024).unwrap();
    let mut hashes = [Vec::new(), Vec::new()];
    for (port, table) in [left, right].into_iter().enumerate() {
        let batch: crate::Batch = Arc::new(table);
        operator.keyer(port).hashes(&batch, &mut hashes[port]).unwrap();
    }
    assert_eq!(hashes[0][..2], hashes[1][..2]);
    assert_ne!(hashes[0][2], hashes[1][2]);
}

#[test]
fn mistakes_name_their_options() {
    let (left, right) = (flights(), weather());
    let told = |options: Value| faults(options, &[&left, &right]);
    let on = json!(["origin", "hour"]);
    assert_eq!(told(json!({ "on": ["orign"] }))[0].0, "on[0]");
    assert!(told(json!({ "on": ["orign"] }))[0].1.contains("did you mean `origin`?"));
    let mismatch = told(json!({ "on": { "left": ["hour"], "right": ["wind"] } }));
    assert_eq!(mismatch[0].0, "on.right[0]");
    assert!(
        mismatch[0]
            .1
            .contains("`hour` of the left input is of type bigint, but `wind` of the right one is of type double")
    );
    for (options, option) in [
        (json!({ "on": [] }), "on"),
        (json!({ "on": "hour" }), "on"),
        (json!({ "on": { "left": ["hour"] } }), "on"),
        (json!({ "on": { "left": ["hour"], "right": ["hour"], "full": [] } }), "on.full"),
        (json!({ "on": { "left": ["hour"], "right": ["hour", "origin"] } }), "on"),
        (json!({ "on": ["hour", "hour"] }), "on[1]"),
        (json!({ "on": on, "kind": "lefd" }), "kind"),
        (json!({ "on": on, "within": "1" }), "within"),
        (json!({ "on": on, "window": "0s" }), "window"),
        (json!({ "on": on, "window": { "session": "5m" } }), "window.session"),
        (json!({ "on": on, "window": { "tumbling": "1x" } }), "window.tumbling"),
        (json!({ "on": on, "window": "1h", "within": "1h" }), "window"),
        (json!({ "on": on, "newest": true, "within": "1h" }), "newest"),
        (json!({ "on": { "left": ["hour"], "right": ["hour"] } }), "inputs[1]"),
        (json!({ "on": on, "with": "1h" }), "with"),
    ] {
        assert_eq!(told(options.clone())[0].0, option, "{options}");
    }
    let clash = told(json!({ "on": ["origin"] }));
    assert!(clash[0].1.contains("a column `hour`") && clash[0].1.contains("hour AS right_hour"), "{clash:?}");
    assert_eq!(
        faults(json!({ "on": on, "kind": "x" }), &[&left]).iter().map(|fault| &*fault.0).collect::<Vec<_>>(),
        ["kind", "inputs"]
    );
    let plain = [RecordType::Table(left.schema()), RecordType::rows::<u64>()];
    let options = json!({ "on": on });
    let faults = with_options(&options, |options| JoinKind.plan(options, &plain, &site("joined"))).err().unwrap();
    assert_eq!(faults[0].option, "inputs[1]");
}

#[test]
fn what_is_kept_is_shown_and_state_of_another_join_is_not_taken() {
    let (left, right) = (flights(), weather());
    let options = json!({ "on": ["origin", "hour"], "within": "1s" });
    let blueprint = planned(&options, &[&left, &right]).unwrap();
    let side = Side::new(&expression_schema(&left), vec![0, 1], vec![0, 1, 2]).unwrap();
    let row = side.rows(left.batch()).unwrap().packed(0);
    let written = rmp_serde::to_vec_named(&std::collections::BTreeMap::from([((100i64, 0u32), row)])).unwrap();
    let show = blueprint.show_state.unwrap();
    assert_eq!(show("left", &written).unwrap(), r#"[{"time":100,"row":{"origin":"EWR","hour":5,"flight":1}}]"#);
    assert_eq!(show("right", b"nonsense"), None);
    let key = side.keys(left.batch()).unwrap().key(0);
    assert_eq!((blueprint.show_key.unwrap())(&key).unwrap(), r#"{"origin":"EWR","hour":5}"#);
    let wider = planned(&json!({ "on": ["origin", "hour"], "within": "2s" }), &[&left, &right]).unwrap();
    assert_ne!(wider.state, blueprint.state);
}

#[test]
fn late_rows_leave_whole_by_an_output_of_their_input() {
    let options = json!({ "on": ["origin", "hour"], "within": "1s" });
    let mut harness = harness(options.clone(), &flights(), &weather());
    harness.watermark(200).unwrap();
    push(&mut harness, 0, &flights());
    push(&mut harness, 1, &weather());
    harness.checkpoint().unwrap().crash().unwrap();
    let aside = |harness: &Harness<TableJoin>, name: &str| {
        let tables: Vec<_> = harness.side_output_batches(name).iter().map(|batch| table(batch).unwrap()).collect();
        let rows = |table: &Arc<Table>| {
            (0..table.rows()).map(|row| (AnyBatch::show(&**table, row), table.time(row))).collect::<Vec<_>>()
        };
        tables.iter().flat_map(rows).collect::<Vec<_>>()
    };
    let of_left = [
        (r#"{"origin":"EWR","hour":5,"flight":1}"#.to_string(), Some(100)),
        (r#"{"origin":"JFK","hour":5,"flight":2}"#.to_string(), Some(200)),
    ];
    assert_eq!(aside(&harness, "late_left"), of_left);
    let of_right = aside(&harness, "late_right");
    assert_eq!(of_right.len(), 4);
    assert_eq!(of_right[0], (r#"{"wind":1.5,"hour":5,"origin":"EWR"}"#.to_string(), Some(150)), "with its key");
    assert!(emitted(&harness).is_empty());

    let blueprint = planned(&options, &[&flights(), &weather()]).unwrap();
    let declared: Vec<_> = blueprint.side_outputs.iter().map(SideOutputDeclared::name).collect();
    assert_eq!(declared, ["late_left", "late_right"]);
    let whole = planned(&json!({ "on": ["origin", "hour"] }), &[&flights(), &weather()]).unwrap();
    assert!(whole.side_outputs.is_empty());
    let newest = planned(&json!({ "on": ["origin", "hour"], "newest": true }), &[&flights(), &weather()]).unwrap();
    assert_eq!(newest.side_outputs.len(), 1);
}

fn expression_schema(table: &Table) -> arrow::datatypes::SchemaRef {
    super::super::expression::normal(&table.schema())
}

/// Key, number, time and whether it is a left row.
type Made = (Option<i64>, i64, Timestamp, bool);

fn made_table(rows: &[Made], name: &str) -> Table {
    let keys: Vec<_> = rows.iter().map(|row| row.0).collect();
    let numbers: Vec<_> = rows.iter().map(|row| Some(row.1)).collect();
    let times: Vec<_> = rows.iter().map(|row| row.2).collect();
    int_table(&[("k", &keys), (name, &numbers)], Some(&times))
}

#[test]
fn batches_give_what_a_plain_loop_gives_whatever_crashes() {
    for seed in 0..40 {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let empty = (made_table(&[], "l"), made_table(&[], "r"));
        let mut harness = harness(json!({ "on": ["k"], "within": "5ms", "kind": "left" }), &empty.0, &empty.1);
        let (mut now, mut watermark, mut number) = (0, WATERMARK_MIN, 0);
        let (mut rows, mut committed) = (Vec::<Made>::new(), (0, WATERMARK_MIN));
        for _ in 0..60 {
            now += rng.random_range(0..6);
            match rng.random_range(0..10) {
                0 => {
                    harness.checkpoint().unwrap();
                    committed = (rows.len(), watermark);
                }
                1 => {
                    // What followed the checkpoint is lost here, as if it had never been sent.
                    harness.crash().unwrap();
                    rows.truncate(committed.0);
                    watermark = committed.1;
                }
                2 | 3 => {
                    watermark = watermark.max(now - 10);
                    harness.watermark(watermark).unwrap();
                }
                _ => {
                    let is_left = rng.random();
                    let mut batch: Vec<Made> = Vec::new();
                    for _ in 0..rng.random_range(1..8) {
                        number += 1;
                        let key = Some(rng.random_range(0..4)).filter(|key| *key > 0);
                        batch.push((key, number, now - rng.random_range(0..14), is_left));
                    }
                    push(&mut harness, usize::from(!is_left), &made_table(&batch, if is_left { "l" } else { "r" }));
                    rows.extend(batch.into_iter().filter(|row| row.2 > watermark));
                }
            }
        }
        harness.watermark(WATERMARK_MAX).unwrap();
        let mut expected = Vec::new();
        for left in rows.iter().filter(|row| row.3) {
            let is_partner =
                |right: &&Made| !right.3 && left.0.is_some() && left.0 == right.0 && (left.2 - right.2).abs() <= 5;
            let partners: Vec<_> = rows.iter().filter(is_partner).collect();
            expected.extend(partners.iter().map(|right| (left.1, Some(right.1), left.2.max(right.2))));
            if partners.is_empty() {
                expected.push((left.1, None, if left.0.is_some() { left.2 + 5 } else { left.2 }));
            }
        }
        let mut got = Vec::new();
        for batch in harness.output_batches() {
            let table = table(batch).unwrap();
            let (lefts, rights) =
                (table.column(1).as_primitive::<Int64Type>(), table.column(2).as_primitive::<Int64Type>());
            got.extend(lefts.iter().zip(rights).zip(batch.times().unwrap()).map(|((l, r), at)| (l.unwrap(), r, *at)));
        }
        expected.sort_unstable();
        got.sort_unstable();
        assert_eq!(got, expected, "seed {seed}");
    }
}
