//! Time windows against a model that keeps every record, under random records, watermarks and crashes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use super::model::{Model, Out, Row, Step, run, steps, timings};
use super::*;
use crate::batch::Rows;
use crate::blueprint::{KindDoc, OperatorKind, Site};
use crate::harness::Harness;
use crate::host::{AnyOperator, Factory, Hosted};
use crate::late;
use crate::{Key, Record, RecordType, Result, SideOutput};

/// Counts and sums up, in a floating-point number that shows in which order it was made.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct SumUp {
    #[serde(default)]
    ignored: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sum {
    count: u64,
    value: i64,
    share: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Record)]
struct Summed {
    out: Out,
    share: f64,
}

impl Aggregate for SumUp {
    type In = Row;
    type Sum = Sum;
    type Out = Summed;

    fn key(&self, row: &Row) -> Key {
        Key::from(row.key)
    }

    fn add(&self, sum: &mut Sum, row: &Row) {
        sum.count += 1 - self.ignored;
        sum.value += row.value;
        sum.share += 1.0 / row.value as f64;
    }

    fn merge(&self, into: &mut Sum, from: &Sum) {
        into.count += from.count;
        into.value += from.value;
        into.share += from.share;
    }

    fn result(&self, key: &Key, window: TimeWindow, sum: &Sum) -> Summed {
        let key = key.as_u64().unwrap();
        Summed { out: Out { key, window, count: sum.count, value: sum.value }, share: sum.share }
    }
}

fn harness(timing: Timing) -> Harness<Windowed<SumUp>> {
    Harness::new(move || Windowed::new(SumUp { ignored: 0 }, timing).unwrap())
}

fn apply(step: &Step, harness: &mut Harness<Windowed<SumUp>>) {
    match step {
        Step::Batch(rows) => {
            let times = rows.iter().map(|row| row.time).collect();
            harness.push_batch(0, Arc::new(Rows::with_times(rows.clone(), times))).unwrap();
        }
        Step::Watermark(watermark) => {
            harness.watermark(*watermark).unwrap();
        }
    }
}

/// Sorts what came out in one step, where keys come in an order that the model does not know, and windows in that of
/// time where no late record was there.
fn outs(summed: &[Summed]) -> Vec<Out> {
    let mut outs: Vec<Out> = summed.iter().map(|summed| summed.out.clone()).collect();
    outs.sort();
    outs
}

#[test]
fn windows_are_those_of_the_model_whatever_crashes() {
    for timing in timings() {
        for seed in 0..60 {
            let rng = &mut Pcg64Mcg::seed_from_u64(seed);
            let steps = steps(rng, 5);
            let mut model = Model::new(timing);
            let mut calm = harness(timing);
            let mut broken = harness(timing);
            let (mut saved, mut next) = (0, 0);
            // The calm one first: the other must give the same to the last bit, in the same order.
            for step in &steps {
                apply(step, &mut calm);
                let got = calm.take_output();
                let expected = model.step(step);
                assert_eq!(outs(&got), expected, "{timing:?}, seed {seed}, {step:?}");
                if let Step::Watermark(_) = step {
                    let times: Vec<i64> = got.iter().map(|summed| summed.out.window.end).collect();
                    assert!(timing.early.is_some() || times.is_sorted(), "{timing:?}, seed {seed}: {times:?}");
                }
                assert_eq!(calm.context().unwrap().keys().len(), model.keys(), "{timing:?}, seed {seed}, {step:?}");
            }
            calm.close().unwrap();
            let rest = calm.output();
            assert_eq!(outs(&rest), model.end(), "{timing:?}, seed {seed}");
            assert!(calm.context().unwrap().keys().is_empty(), "{timing:?}, seed {seed}: nothing is left");
            let late = calm.side_output(SideOutput::<Row>::new(late::LATE)).len() as u64;
            assert_eq!(late, model.late, "{timing:?}, seed {seed}");
            assert_eq!(
                *calm.context().unwrap().local(late::COUNT).get().unwrap(),
                model.late,
                "{timing:?}, seed {seed}"
            );

            let mut whole = harness(timing);
            steps.iter().for_each(|step| apply(step, &mut whole));
            whole.close().unwrap();
            while next < steps.len() {
                match rng.random_range(0..10) {
                    0 => {
                        broken.checkpoint().unwrap();
                        saved = next;
                    }
                    1 => {
                        broken.crash().unwrap();
                        next = saved;
                    }
                    _ => {
                        apply(&steps[next], &mut broken);
                        next += 1;
                    }
                }
            }
            broken.close().unwrap();
            assert_eq!(broken.output(), whole.output(), "{timing:?}, seed {seed}");
        }
    }
}

#[test]
fn a_call_that_is_taken_back_has_never_been() {
    for timing in timings() {
        for seed in 0..30 {
            let rng = &mut Pcg64Mcg::seed_from_u64(seed);
            let steps = steps(rng, 5);
            let factory: Factory<Windowed<SumUp>> = Arc::new(move || Windowed::new(SumUp { ignored: 0 }, timing));
            let make = || -> Box<dyn AnyOperator> {
                Box::new(Hosted::new(Arc::clone(&factory), crate::Subtask::single("w"), 8).unwrap())
            };
            let batch_of = |rows: &[Row]| -> crate::Batch {
                Arc::new(Rows::with_times(rows.to_vec(), rows.iter().map(|row| row.time).collect()))
            };
            let calm = run(&make, &batch_of, &steps, None);
            let broken = run(&make, &batch_of, &steps, Some(rng));
            assert_eq!(calm.len(), broken.len());
            for (step, (calm, broken)) in calm.iter().zip(&broken).enumerate() {
                let same =
                    calm.len() == broken.len() && calm.iter().zip(broken).all(|(calm, broken)| calm.same(&**broken));
                assert!(same, "{timing:?}, seed {seed}, step {step}");
            }
        }
    }
}

#[test]
fn state_of_a_stream_without_end_does_not_grow() {
    for timing in timings() {
        let mut harness = harness(timing);
        let mut most = 0;
        for time in 0..2_000 {
            let row = Row { time, key: (time % 50) as u64, value: 1 };
            // A key comes back after a while, and never again after 50 times.
            let row = Row { key: row.key + 1_000 * (time / 500) as u64, ..row };
            harness.push_at(time, row).unwrap().watermark(time - 3).unwrap();
            most = most.max(harness.context().unwrap().keys().len());
        }
        let counted = matches!(timing.window, TimeWindows::Global(_));
        let bound = if counted { 200 } else { 80 };
        assert!(most <= bound, "{timing:?}: {most} keys");
    }
}

#[test]
fn processing_time_needs_no_event_time_and_ends_with_the_input() -> Result {
    let ms = Duration::from_millis;
    let timing = Timing { time: Time::Processing, ..Timing::of(Tumbling::of(ms(10))) };
    let mut harness = harness(timing);
    let row = Row { time: 0, key: 1, value: 5 };
    harness.at(103)?.push(row.clone())?.at(109)?.push(row.clone())?;
    assert!(harness.output().is_empty());
    harness.at(110)?.push(row.clone())?.checkpoint()?.crash()?;
    let out =
        |start, count| Out { key: 1, window: TimeWindow { start, end: start + 10 }, count, value: 5 * count as i64 };
    assert_eq!(outs(&harness.output()), [out(100, 2)]);
    harness.close()?;
    assert_eq!(outs(&harness.output()), [out(100, 2), out(110, 1)]);
    assert!(harness.context()?.keys().is_empty());
    Ok(())
}

#[test]
fn a_record_without_event_time_is_told_what_to_do() {
    let mut harness = harness(Timing::of(Tumbling::of(Duration::from_millis(10))));
    let error = harness.push(Row { time: 0, key: 1, value: 1 }).err().unwrap();
    assert!(error.message().contains("give its source an `event_time`"), "{error}");
    assert_eq!(error.kind(), crate::ErrorKind::Invalid);
    let error = harness.push_at(i64::MAX, Row { time: 0, key: 1, value: 1 }).err().unwrap();
    assert_eq!(error.kind(), crate::ErrorKind::Poison);
}

#[test]
fn without_a_key_all_records_are_one_group() -> Result {
    #[derive(Clone)]
    struct CountAll;

    impl Aggregate for CountAll {
        type In = u64;
        type Sum = u64;
        type Out = u64;

        fn key(&self, _: &u64) -> Key {
            Key::None
        }
        fn add(&self, count: &mut u64, _: &u64) {
            *count += 1;
        }
        fn merge(&self, into: &mut u64, from: &u64) {
            *into += from;
        }
        fn result(&self, _: &Key, _: TimeWindow, count: &u64) -> u64 {
            *count
        }
    }

    let timing = Timing::of(Session { gap: Duration::from_millis(5) });
    let mut harness = Harness::new(move || Windowed::new(CountAll, timing).unwrap());
    harness.push_at(1, 10)?.push_at(9, 20)?.push_at(5, 30)?.close()?;
    assert_eq!(harness.output(), [3]);
    Ok(())
}

fn plan(options: serde_json::Value) -> std::result::Result<crate::blueprint::OperatorBlueprint, Vec<(String, String)>> {
    let kind = WindowedOf::<SumUp>::new(KindDoc::default());
    let site = Site { job: "j".into(), name: "n".into(), folder: "/".into(), parallelism: 1 };
    let mut options = <dyn erased_serde::Deserializer<'_>>::erase(&options);
    let told = |faults: Vec<crate::blueprint::Fault>| {
        faults.into_iter().map(|fault| (fault.option, fault.message)).collect::<Vec<_>>()
    };
    kind.plan(&mut options, &[RecordType::rows::<Row>()], &site).map_err(told)
}

#[test]
fn options_are_those_of_the_type_and_of_the_windows() {
    let blueprint = plan(serde_json::json!({ "ignored": 3, "window": "10s", "allowed_lateness": "1s" })).unwrap();
    assert!(blueprint.keyed);
    assert_eq!(blueprint.state.as_deref(), Some("window tumbling 10s"));
    assert_eq!(blueprint.states.len(), 1);
    for (options, option, part) in [
        (serde_json::json!({}), "", "missing field `window`"),
        (serde_json::json!({ "window": "10" }), "window", "`10` is not a duration"),
        (serde_json::json!({ "window": { "sliding": "1s", "every": "3s" } }), "window", "leave records between them"),
        (serde_json::json!({ "window": "1s", "allowed_lateness": 5 }), "allowed_lateness", "invalid type"),
        (serde_json::json!({ "window": "1s", "time": "sidereal" }), "time", "unknown variant `sidereal`"),
        (serde_json::json!({ "window": "1s", "ignroed": 5 }), "", "unknown field `ignroed`"),
        (serde_json::json!({ "window": { "count": 5 }, "allowed_lateness": "1s" }), "allowed_lateness", "counted"),
    ] {
        let faults = plan(options.clone()).err().unwrap();
        assert_eq!(faults.len(), 1, "{options}: {faults:?}");
        assert_eq!(faults[0].0, option, "{options}: {faults:?}");
        assert!(faults[0].1.contains(part), "{options}: {faults:?}");
    }
    let doc = WindowedOf::<SumUp>::new(KindDoc::default()).doc();
    let names: Vec<_> = doc.options.iter().map(|option| option.name).collect();
    assert_eq!(names, ["window", "allowed_lateness", "early", "time"]);
}

#[test]
fn one_session_of_a_key_takes_no_more_than_itself() {
    // What a slot of the column takes: start, end and sum are 24 bytes.
    assert_eq!(size_of::<Option<few::Few<sessions::Live<u64>>>>(), 24);
}

#[test]
fn equal_times_of_many_keys_are_one_timer_each() -> Result {
    let timing = Timing::of(Sliding::of(Duration::from_millis(10), Duration::from_millis(5)));
    let mut harness = harness(timing);
    for key in 0..20 {
        harness.push_at(7, Row { time: 7, key, value: 1 })?.push_at(8, Row { time: 8, key, value: 1 })?;
    }
    harness.watermark(9)?;
    let keys: BTreeSet<u64> = harness.output().iter().map(|summed| summed.out.key).collect();
    assert_eq!((harness.take_output().len(), keys.len()), (20, 20));
    harness.watermark(14)?;
    assert_eq!(harness.take_output().len(), 20);
    assert!(harness.context()?.keys().is_empty());
    Ok(())
}
