use std::time::Duration;

use super::{Asked, Asking, AsyncOperator};
use crate::batch::{Batch, Rows, rows};
use crate::harness::Harness;
use crate::host::{AnyOperator, Ask, Hosted, Waiting};
use crate::ids::Subtask;
use crate::{Error, Result};

/// Doubles even numbers, and finds nothing for the odd ones.
struct Double;

impl AsyncOperator for Double {
    type In = u64;
    type Out = u64;

    async fn ask(&self, number: &u64) -> Result<Vec<u64>> {
        match number {
            13 => Err(Error::failed("out of luck")),
            number => Ok(if number % 2 == 0 { vec![number * 2] } else { Vec::new() }),
        }
    }
}

fn asked(in_flight: usize, ordered: bool) -> Asked {
    Asked { in_flight, buffer: in_flight, ordered, ..Asked::default() }
}

/// Runs one instance by hand, so that answers come when and in which order a test wants.
struct Bench {
    hosted: Hosted<Asking<Double>>,
    asks: Vec<Ask>,
}

impl Bench {
    fn new(asked: Asked, subtask: Subtask) -> Bench {
        let factory = std::sync::Arc::new(move || Asking::new(Double, asked));
        let hosted = Hosted::new(factory, subtask, 16).unwrap();
        Bench { hosted, asks: Vec::new() }
    }

    fn open(asked: Asked) -> Bench {
        let mut bench = Bench::new(asked, Subtask::single("double"));
        bench.hosted.open().unwrap();
        bench
    }

    fn push(&mut self, numbers: &[u64]) {
        let times = numbers.iter().map(|number| *number as i64).collect();
        let batch: Batch = std::sync::Arc::new(Rows::with_times(numbers.to_vec(), times));
        self.hosted.begin_entry(0);
        self.hosted.process(0, &batch).unwrap();
        self.hosted.drain_asks(&mut self.asks);
    }

    /// Returns for which numbers requests were made and have no answer yet, in the order in which they were made.
    fn made(&self) -> Vec<u64> {
        self.asks.iter().map(|ask| rows::<u64>(&ask.record).unwrap()[0]).collect()
    }

    /// Answers the request for a number with ten times that.
    fn answer(&mut self, number: u64) {
        let place = self.made().iter().position(|made| *made == number).unwrap();
        let id = self.asks.remove(place).id;
        let answer: Batch = std::sync::Arc::new(Rows::new(vec![number * 10]));
        self.hosted.begin_entry(0);
        self.hosted.answer(id, Some(&answer)).unwrap();
        self.hosted.drain_asks(&mut self.asks);
    }

    fn output(&mut self) -> Vec<u64> {
        let mut batches = Vec::new();
        self.hosted.drain(&mut batches);
        batches.iter().flat_map(|batch| rows::<u64>(batch).unwrap().to_vec()).collect()
    }

    fn waiting(&self) -> Waiting {
        self.hosted.waiting().unwrap()
    }
}

#[test]
fn what_comes_of_records_keeps_their_order_if_that_is_wanted() {
    let mut ordered = Bench::open(asked(10, true));
    ordered.push(&[1, 2, 3, 4]);
    ordered.answer(3);
    ordered.answer(2);
    assert_eq!(ordered.output(), [0u64; 0]);
    ordered.answer(1);
    assert_eq!(ordered.output(), [10, 20, 30]);
    ordered.answer(4);
    assert_eq!(ordered.output(), [40]);
    let mut free = Bench::open(asked(10, false));
    free.push(&[1, 2, 3]);
    free.answer(3);
    free.answer(1);
    assert_eq!(free.output(), [30, 10]);
}

#[test]
fn there_is_room_for_more_than_is_under_way() {
    let mut bench = Bench::open(Asked { buffer: 4, ..asked(2, false) });
    bench.push(&[1, 2, 3]);
    assert_eq!(bench.made(), [1, 2]);
    assert_eq!(bench.waiting(), Waiting { records: 3, oldest: Some(1), next: 4, is_full: false });
    bench.push(&[4]);
    assert!(bench.waiting().is_full);
}

#[test]
fn no_more_requests_are_under_way_than_there_may_be() {
    let mut bench = Bench::open(asked(2, false));
    bench.push(&[1, 2, 3, 4]);
    assert_eq!(bench.made(), [1, 2]);
    assert_eq!(bench.waiting(), Waiting { records: 4, oldest: Some(1), next: 5, is_full: true });
    bench.answer(2);
    assert_eq!(bench.made(), [1, 3]);
    bench.answer(3);
    bench.answer(4);
    assert_eq!(bench.waiting(), Waiting { records: 1, oldest: Some(1), next: 5, is_full: false });
    bench.answer(1);
    assert_eq!(bench.waiting().oldest, None);
    bench.push(&[5]);
    assert_eq!(bench.waiting().oldest, Some(5));
}

#[test]
fn what_is_emitted_has_the_time_of_its_record_and_nothing_else_may_be_answered() {
    let mut bench = Bench::open(asked(1, true));
    bench.push(&[7, 8]);
    let queued = crate::host::AskId { number: 2, ..bench.asks[0].id };
    assert!(bench.hosted.answer(queued, None).is_err(), "it was not asked yet");
    bench.answer(7);
    let mut batches = Vec::new();
    bench.hosted.drain(&mut batches);
    assert_eq!(batches[0].times(), Some(&[7][..]));
}

#[test]
fn a_request_that_is_given_up_leaves_nothing() {
    let mut bench = Bench::open(asked(3, true));
    bench.push(&[1, 2]);
    let id = bench.asks[0].id;
    bench.answer(2);
    bench.hosted.answer(id, None).unwrap();
    assert_eq!(bench.output(), [20]);
    assert_eq!(bench.waiting().records, 0);
}

#[test]
fn what_was_restored_is_asked_again_before_anything_new_and_only_if_it_has_no_answer() {
    let mut bench = Bench::open(asked(2, true));
    bench.push(&[1, 2, 3, 4]);
    bench.answer(2);
    let chunk = bench.hosted.cut().unwrap().write().unwrap();
    let mut restored = Bench::new(asked(2, true), Subtask::single("double"));
    restored.hosted.restore(vec![chunk], 0).unwrap();
    restored.hosted.open().unwrap();
    restored.hosted.drain_asks(&mut restored.asks);
    assert_eq!(restored.made(), [1, 3]);
    restored.push(&[5]);
    restored.answer(3);
    restored.answer(1);
    assert_eq!(restored.output(), [10, 20, 30]);
    assert_eq!(restored.made(), [4, 5]);
}

#[test]
fn what_waits_goes_to_whom_its_key_group_goes_when_the_parallelism_changes() {
    let subtask = |index, parallelism| Subtask { index, parallelism, ..Subtask::single("double") };
    let mut cuts = Vec::new();
    for index in 0..3 {
        let mut bench = Bench::new(asked(9, true), subtask(index, 3));
        bench.hosted.open().unwrap();
        bench.push(&[u64::from(index) * 10 + 1, u64::from(index) * 10 + 2]);
        cuts.push(vec![bench.hosted.cut().unwrap().write().unwrap()]);
    }
    let mut all = Vec::new();
    for index in 0..2 {
        let mut bench = Bench::new(asked(9, true), subtask(index, 2));
        bench.hosted.adopt(&cuts, 0).unwrap();
        bench.hosted.open().unwrap();
        bench.hosted.drain_asks(&mut bench.asks);
        let made = bench.made();
        // What came from elsewhere is older than everything, whatever its number is.
        bench.push(&[99]);
        let foreign = bench.asks.iter().any(|ask| ask.id.place != bench.asks.last().unwrap().id.place);
        assert_eq!(bench.waiting().oldest, if foreign { Some(0) } else { Some(1) });
        made.iter().for_each(|number| bench.answer(*number));
        bench.answer(99);
        assert_eq!(bench.output().last(), Some(&990));
        all.extend(made);
    }
    all.sort_unstable();
    assert_eq!(all, [1, 2, 11, 12, 21, 22]);
}

#[test]
fn an_undone_batch_leaves_no_requests() {
    let mut bench = Bench::open(asked(3, true));
    bench.push(&[1]);
    bench.hosted.begin();
    let batch: Batch = std::sync::Arc::new(Rows::new(vec![2u64]));
    bench.hosted.process(0, &batch).unwrap();
    assert!(bench.hosted.undo().unwrap());
    bench.hosted.reopen(crate::WindowId::NONE, None).unwrap();
    bench.hosted.drain_asks(&mut bench.asks);
    assert_eq!((bench.made(), bench.waiting().records), (vec![1], 1));
}

#[test]
fn the_harness_answers_by_itself() {
    let mut harness = Harness::new(|| Asking::new(Double, Asked::default()).unwrap());
    harness.push(2).unwrap().push(3).unwrap().checkpoint().unwrap().push(4).unwrap();
    assert_eq!(harness.output(), [4, 8]);
    assert_eq!(harness.push(13).err().unwrap().to_string(), "out of luck");
}

#[test]
fn settings_that_make_no_sense_are_told() {
    let none = Asking::new(Double, asked(0, true)).err().unwrap();
    assert!(none.to_string().starts_with("in_flight must be at least 1"), "{none}");
    let never = Asked { timeout: Duration::ZERO, ..Asked::default() };
    assert!(Asking::new(Double, never).err().unwrap().to_string().starts_with("timeout must be"));
}
