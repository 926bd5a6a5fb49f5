//! What tests of operators in time windows share.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::TimestampMillisecondType;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use serde_json::{Value, json};

use super::super::tests::{Bench, plan_operator};
use crate::blueprint::OperatorKind;
use crate::host::AnyOperator;
use crate::table::{Table, table};
use crate::window::model::{Model, Out, Row, Step, run, steps, timings};
use crate::{Batch, Subtask, TimeWindows, Timing, WATERMARK_MAX};

/// Makes a table of rows of the model.
pub(in super::super) fn rows_table(rows: &[Row]) -> Table {
    let column =
        |value: fn(&Row) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(rows.iter().map(value))) };
    let columns = [("key", column(|row| row.key as i64)), ("value", column(|row| row.value))];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
    Table::with_times(batch, Some(rows.iter().map(|row| row.time).collect::<Vec<_>>().into()))
}

/// Adds the options of a timing.
fn with_timing(mut options: Value, timing: &Timing) -> Value {
    let ms = |duration: Duration| format!("{}ms", duration.as_millis());
    options["window"] = match timing.window {
        TimeWindows::Tumbling(windows) => json!({ "tumbling": ms(windows.size), "offset": ms(windows.offset) }),
        TimeWindows::Sliding(windows) => {
            json!({ "sliding": ms(windows.size), "every": ms(windows.every), "offset": ms(windows.offset) })
        }
        TimeWindows::Session(windows) => json!({ "session": ms(windows.gap) }),
        TimeWindows::Global(windows) => json!({ "count": windows.count }),
    };
    options["allowed_lateness"] = json!(ms(timing.allowed_lateness));
    if let Some(early) = timing.early {
        options["early"] = json!(ms(early));
    }
    options
}

/// Returns a column of times.
pub(in super::super) fn times(table: &Table, name: &str) -> Vec<i64> {
    table.batch().column_by_name(name).unwrap().as_primitive::<TimestampMillisecondType>().values().to_vec()
}

/// Runs rows through windows to the end of time.
pub(in super::super) fn ended(kind: &dyn OperatorKind, options: Value, input: &[Table]) -> Vec<Table> {
    let mut bench = Bench::of(kind, options, &input[0]);
    input.iter().for_each(|input| drop(bench.push(input)));
    let operator = bench.operator();
    operator.advance_watermark(WATERMARK_MAX).unwrap();
    operator.close().unwrap();
    let mut batches = Vec::new();
    operator.drain(&mut batches);
    batches.iter().map(|batch| Table::clone(&table(batch).unwrap())).collect()
}

/// Asserts, for every kind of window and random rows, that an operator gives what the model does, and the same whatever
/// crashes. `outs` reads what the operator gives, `seen` makes of what the model gives what can be seen of it.
pub(in super::super) fn assert_follows_the_model(
    kind: &dyn OperatorKind,
    options: &Value,
    model: impl Fn(Timing) -> Model,
    outs: impl Fn(&[Batch]) -> Vec<Out>,
    seen: impl Fn(Vec<Out>) -> Vec<Out>,
) {
    let batch_of = |rows: &[Row]| -> Batch { Arc::new(rows_table(rows)) };
    for timing in timings() {
        let blueprint = plan_operator(kind, with_timing(options.clone(), &timing), &rows_table(&[])).unwrap();
        let make = || -> Box<dyn AnyOperator> { (blueprint.make)(Subtask::single("tested"), 7).unwrap() };
        for seed in 0..16 {
            let rng = &mut Pcg64Mcg::seed_from_u64(seed);
            let steps = steps(rng, if seed % 2 == 0 { 1 } else { 6 });
            let calm = run(&make, &batch_of, &steps, None);
            let mut model = model(timing);
            for (step, output) in steps.iter().zip(&calm) {
                let expected = match step {
                    Step::Batch(rows) => model.rows_at_once(rows),
                    Step::Watermark(watermark) => model.watermark(*watermark),
                };
                assert_eq!(outs(output), seen(expected), "{timing:?}, seed {seed}, {step:?}");
            }
            assert_eq!(outs(&calm[steps.len()]), seen(model.end()), "{timing:?}, seed {seed}");
            let broken = run(&make, &batch_of, &steps, Some(rng));
            for (step, (calm, broken)) in calm.iter().zip(&broken).enumerate() {
                let same =
                    calm.len() == broken.len() && calm.iter().zip(broken).all(|(calm, broken)| calm.same(&**broken));
                assert!(same, "{timing:?}, seed {seed}, step {step}");
            }
        }
    }
}
