//! What an operator did with a batch can be taken back, as if it had never seen it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use piton_actors::host::{AnyOperator, Hosted};
use piton_actors::prelude::*;
use piton_actors::{Batch, Rows, rows};
use rand::RngExt;

const SEEN: ValueState<u64> = ValueState::new("seen");
const TOTAL: LocalState<u64> = LocalState::new("total");

/// Counts words, and fails at a certain one as often as it is told to.
struct Words {
    failures: Arc<AtomicU32>,
    scratch: u64,
}

impl Operator for Words {
    type In = String;
    type Out = (String, u64);

    fn key(&self, word: &String) -> Key {
        word.into()
    }

    fn process(&mut self, word: &String, ctx: &mut Context<(String, u64)>) -> Result {
        self.scratch += 1;
        let scratch = self.scratch;
        let seen = ctx.state(SEEN).update(|seen| {
            *seen += 1000;
            if word == "milk" && self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, minus_one).is_ok() {
                resume_unwind(Box::new("a failure of the test"));
            }
            *seen -= 999;
            *seen
        })?;
        ctx.local(TOTAL).update(|total| *total += scratch)?;
        ctx.timer_at(seen as i64 * 10)?;
        let chance = ctx.rng().random_range(0..1000u64);
        ctx.emit((word.clone(), seen * 1000 + chance));
        Ok(())
    }

    fn on_timer(&mut self, timer: piton_actors::Timer, ctx: &mut Context<(String, u64)>) -> Result {
        let total = *ctx.local(TOTAL).get()?;
        ctx.emit((format!("{:?} at {}", timer.key, timer.at), total));
        Ok(())
    }
}

fn minus_one(left: u32) -> Option<u32> {
    left.checked_sub(1)
}

impl Drop for Words {
    fn drop(&mut self) {
        if self.scratch > 0 && self.failures.load(Ordering::Relaxed) == 0 {
            resume_unwind(Box::new("a failure while it is dropped"));
        }
    }
}

fn operator(failures: u32) -> Box<dyn AnyOperator> {
    let failures = Arc::new(AtomicU32::new(failures));
    let make = move || Ok(Words { failures: Arc::clone(&failures), scratch: 0 });
    Box::new(Hosted::new(Arc::new(make), Subtask::single("words"), 2).unwrap())
}

fn words(words: &[&str]) -> Batch {
    Arc::new(Rows::new(words.iter().map(ToString::to_string).collect()))
}

fn drained(operator: &mut Box<dyn AnyOperator>) -> Vec<(String, u64)> {
    let mut batches = Vec::new();
    operator.drain(&mut batches);
    batches.iter().flat_map(|batch| rows::<(String, u64)>(batch).unwrap().to_vec()).collect()
}

/// Takes a batch, and then a watermark, each as a transaction of a fresh instance.
fn take(operator: &mut Box<dyn AnyOperator>, input: &[&str], watermark: i64) -> (u32, Vec<(String, u64)>) {
    let mut undone = 0;
    operator.begin();
    loop {
        operator.begin_entry(5);
        if catch_unwind(AssertUnwindSafe(|| operator.process(0, &words(input)).unwrap())).is_ok() {
            operator.settle();
            break;
        }
        assert_eq!(operator.row(), input.iter().position(|word| *word == "milk").unwrap());
        assert!(operator.undo().unwrap());
        assert_eq!(drained(operator), [], "what was emitted is gone");
        undone += 1;
        operator.begin();
    }
    let mut output = drained(operator);
    let entry = operator.entry();
    operator.begin();
    operator.begin_entry(6);
    operator.advance_watermark(watermark).unwrap();
    assert!(operator.undo().unwrap(), "and once again");
    assert_eq!(operator.entry(), entry);
    operator.begin_entry(6);
    operator.advance_watermark(watermark).unwrap();
    output.extend(drained(operator));
    (undone, output)
}

#[test]
fn a_batch_that_was_taken_back_and_run_again_leaves_what_one_run_leaves() {
    let inputs: [(&[&str], i64); 3] =
        [(&["tea", "rice", "tea"], 0), (&["tea", "salt", "rice", "milk", "tea"], 20), (&["milk", "oil"], 100)];
    // A drop that panics has to be of an instance that is thrown away: the others are forgotten.
    let (mut clean, mut failing) = (operator(0), operator(2));
    assert!(!clean.has_state() && !failing.has_state());
    for (input, watermark) in inputs {
        let (undone, output) = take(&mut clean, input, watermark);
        assert_eq!(undone, 0);
        let (undone, again) = take(&mut failing, input, watermark);
        assert_eq!(undone, if watermark == 20 { 2 } else { 0 });
        assert_eq!(output, again);
        assert_eq!(clean.cut().unwrap().write().unwrap(), failing.cut().unwrap().write().unwrap());
        assert_eq!(clean.next_processing_timer(), failing.next_processing_timer());
    }
    assert!(clean.has_state());
    std::mem::forget((clean, failing));
}

#[test]
fn without_a_transaction_there_is_no_way_back() {
    let mut operator = operator(1);
    assert!(!operator.undo().unwrap());
    operator.begin();
    operator.settle();
    assert!(!operator.undo().unwrap());
    operator.set_entry(7);
    operator.begin_entry(0);
    assert_eq!(operator.entry(), 8);
}
