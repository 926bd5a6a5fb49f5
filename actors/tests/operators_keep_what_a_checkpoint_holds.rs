//! An operator that crashes goes on from its last checkpoint, as the harness shows it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use piton_actors::harness::Harness;
use piton_actors::host::{AnyOperator, Hosted};
use piton_actors::prelude::*;
use piton_actors::{Batch, Rows};

const SEEN: ValueState<u64> = ValueState::new("seen");
const TOTAL: LocalState<u64> = LocalState::new("total");

/// Counts words, and forgets its scratch.
#[derive(Default)]
struct Count {
    since_restart: u64,
}

impl Operator for Count {
    type In = String;
    type Out = (String, u64, u64);

    fn key(&self, word: &String) -> Key {
        word.into()
    }

    fn process(&mut self, word: &String, ctx: &mut Context<Self::Out>) -> Result {
        self.since_restart += 1;
        let seen = ctx.state(SEEN).update(|seen| {
            *seen += 1;
            *seen
        })?;
        ctx.local(TOTAL).update(|total| *total += 1)?;
        ctx.emit((word.clone(), seen, self.since_restart));
        Ok(())
    }

    fn close(&mut self, ctx: &mut Context<Self::Out>) -> Result {
        let total = *ctx.local(TOTAL).get()?;
        ctx.emit(("total".into(), total, self.since_restart));
        Ok(())
    }
}

#[test]
fn a_crash_rolls_back_state_and_output() -> Result {
    let output = Harness::new(Count::default)
        .push("a".into())?
        .checkpoint()?
        .push("a".into())?
        .push("b".into())?
        .crash()?
        .push("a".into())?
        .close()?
        .output();
    let expected = [("a", 1, 1), ("a", 2, 1), ("total", 2, 1)];
    assert_eq!(output, expected.map(|(word, seen, since)| (word.to_string(), seen, since)));
    Ok(())
}

#[test]
fn a_crash_before_the_first_checkpoint_starts_from_nothing() -> Result {
    let mut harness = Harness::new(Count::default);
    harness.push("a".into())?.push("a".into())?.crash()?.push("a".into())?;
    assert_eq!(harness.take_output(), [("a".to_string(), 1, 1)]);
    assert_eq!(harness.output(), []);
    harness.context()?.enter("a".into(), None);
    assert_eq!(harness.context()?.state(SEEN).get()?, Some(&1));
    assert_eq!(harness.context()?.keys(), ["a".into()]);
    Ok(())
}

#[test]
fn many_checkpoints_and_crashes_lose_nothing() -> Result {
    let mut harness = Harness::new(Count::default);
    for round in 0..50u64 {
        harness.push(format!("word {}", round % 7))?.checkpoint()?.push("lost".into())?.crash()?;
    }
    harness.close()?;
    let output = harness.output();
    assert_eq!(output.last().map(|(word, total, _)| (word.as_str(), *total)), Some(("total", 50)));
    assert!(!output.iter().any(|(word, ..)| word == "lost"));
    Ok(())
}

#[test]
fn a_lot_of_state_counts_the_same() -> Result {
    let words = |from: u64, to: u64| -> Batch {
        Arc::new(Rows::new((from..to).chain([from, from]).map(|word| format!("word {word}")).collect()))
    };
    let mut harness = Harness::new(Count::default);
    harness.push_batch(0, words(0, 40_000))?.checkpoint()?;
    harness.push_batch(0, words(10, 50_000))?.crash()?;
    harness.take_output();
    harness.push_batch(0, words(39_990, 40_010))?;
    let counts: Vec<u64> = harness.output().into_iter().map(|(_, count, _)| count).collect();
    assert_eq!(counts, [[2; 10], [1; 10]].concat().into_iter().chain([3, 4]).collect::<Vec<u64>>());
    Ok(())
}

/// Fails to find a key for one record.
#[derive(Clone)]
struct NoKey;

impl Operator for NoKey {
    type In = u64;
    type Out = u64;

    fn key(&self, record: &u64) -> Key {
        assert_ne!(*record, 40_005, "no key");
        record.into()
    }

    fn process(&mut self, _: &u64, ctx: &mut Context<u64>) -> Result {
        ctx.state(SEEN).set(1)
    }
}

#[test]
fn a_panic_in_key_is_blamed_on_its_record() -> Result {
    let mut hosted = Hosted::new(Arc::new(|| Ok(NoKey)), Subtask::single("no key"), 1024)?;
    let batch = |from, to| -> Batch { Arc::new(Rows::new((from..to).collect::<Vec<u64>>())) };
    for (batch, row) in [(batch(40_000, 40_010), 5), (batch(0, 40_000), 39_999), (batch(40_002, 40_010), 3)] {
        hosted.begin_entry(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| hosted.process(0, &batch)));
        assert_eq!(outcome.is_ok(), row == 39_999);
        assert_eq!(hosted.row(), row);
    }
    Ok(())
}

/// Notes the order of its hooks in its output.
struct Hooks(Arc<AtomicU64>);

impl Operator for Hooks {
    type In = u64;
    type Out = String;

    fn open(&mut self, ctx: &mut Context<String>) -> Result {
        ctx.emit(format!("open after {}", self.0.load(Ordering::SeqCst)));
        Ok(())
    }

    fn process(&mut self, _: &u64, ctx: &mut Context<String>) -> Result {
        ctx.emit(format!("process at {} of {:?}", ctx.now(), ctx.timestamp()));
        Ok(())
    }

    fn begin_window(&mut self, window: WindowId, ctx: &mut Context<String>) -> Result {
        ctx.emit(format!("begin {window}"));
        Ok(())
    }

    fn end_window(&mut self, window: WindowId, ctx: &mut Context<String>) -> Result {
        ctx.emit(format!("end {window}"));
        Ok(())
    }

    fn before_checkpoint(&mut self, window: WindowId, ctx: &mut Context<String>) -> Result {
        ctx.emit(format!("before checkpoint {window}"));
        Ok(())
    }

    fn committed(&mut self, window: WindowId) -> Result {
        self.0.store(window.0, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn hooks_come_in_order_and_committed_is_repeated() -> Result {
    let committed = Arc::new(AtomicU64::new(0));
    let shared = Arc::clone(&committed);
    let mut harness = Harness::new(move || Hooks(Arc::clone(&shared)));
    harness.push(1)?.end_window()?.at(5)?.push_at(7, 1)?.checkpoint()?;
    let expected = [
        "open after 0",
        "begin 1",
        "process at 0 of None",
        "end 1",
        "begin 2",
        "process at 5 of Some(7)",
        "end 2",
        "before checkpoint 2",
        "begin 3",
    ];
    assert_eq!(harness.output(), expected);
    committed.store(0, Ordering::SeqCst);
    harness.take_output();
    harness.crash()?;
    assert_eq!(committed.load(Ordering::SeqCst), 2, "told again");
    assert_eq!(harness.output(), ["open after 0", "begin 3"]);
    Ok(())
}

/// Joins payments to orders, and gives up on an order after a while.
#[derive(Default)]
struct Join;

const ORDER: ValueState<u64> = ValueState::new("order");

impl Operator for Join {
    type In = Either<(u64, u64), u64>;
    type Out = String;

    fn key(&self, record: Either<&(u64, u64), &u64>) -> Key {
        match record {
            Either::Left((order, _)) => order.into(),
            Either::Right(order) => order.into(),
        }
    }

    fn process(&mut self, record: Either<&(u64, u64), &u64>, ctx: &mut Context<String>) -> Result {
        match record {
            Either::Left((order, price)) => {
                ctx.state(ORDER).set(*price)?;
                ctx.timer_at(ctx.timestamp().unwrap_or_default() + 10)?;
                ctx.timer_at_processing_time(ctx.now() + 1000)?;
                ctx.emit(format!("{order} ordered"));
            }
            Either::Right(order) => match ctx.state(ORDER).take()? {
                Some(price) => ctx.emit(format!("{order} paid {price}")),
                None => ctx.emit(format!("{order} unknown")),
            },
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<String>) -> Result {
        if ctx.state(ORDER).take()?.is_some() {
            ctx.emit(format!("{:?} given up at {} by {:?}", timer.key, timer.at, timer.kind));
        }
        Ok(())
    }
}

#[test]
fn timers_survive_a_crash() -> Result {
    let mut harness = Harness::new(Join::default);
    harness.push_left_at(100, (1, 5))?.push_left_at(100, (2, 6))?.push_left_at(300, (3, 7))?;
    harness.checkpoint()?.push_right(1)?.crash()?.push_right(2)?;
    harness.watermark(110)?.at(1000)?.push_right(3)?;
    let expected = [
        "1 ordered",
        "2 ordered",
        "3 ordered",
        "2 paid 6",
        "1 given up at 110 by Event",
        "3 given up at 1000 by Processing",
        "3 unknown",
    ];
    assert_eq!(harness.output(), expected);
    Ok(())
}

/// Has a key for some records only, and not for the one that is made up to find out.
struct Sometimes {
    says_so: bool,
}

impl Operator for Sometimes {
    type In = u64;
    type Out = u64;

    fn key(&self, record: &u64) -> Key {
        if *record == 0 { Key::None } else { record.into() }
    }

    fn is_keyed(&self) -> bool {
        self.says_so
    }

    fn process(&mut self, _: &u64, ctx: &mut Context<u64>) -> Result {
        ctx.state(SEEN).set(1)
    }
}

#[test]
fn keyed_state_in_an_operator_planned_without_keys_is_an_error() -> Result {
    let error = Harness::new(|| Sometimes { says_so: false }).push(1).map(|_| ()).expect_err("it cannot work");
    assert!(error.message().contains("is_keyed"), "{error}");
    Harness::new(|| Sometimes { says_so: true }).push(1)?;
    Ok(())
}
