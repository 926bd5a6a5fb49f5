//! A source that crashes emits again what came after its last checkpoint, and nothing else.

use piton_actors::harness::SourceHarness;
use piton_actors::prelude::*;
use piton_actors::{Error, ErrorKind};

/// Counts to a limit; fails once on the way, if it is told to.
struct Numbers {
    next: u64,
    limit: u64,
    away_at: Option<u64>,
}

impl Source for Numbers {
    type Out = u64;
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, _: &Subtask) -> Result {
        self.next = position.unwrap_or(0);
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<u64>) -> Result<Progress> {
        while feed.room() > 0 && self.next < self.limit {
            if self.away_at.take_if(|at| *at == self.next).is_some() {
                return Err(Error::unavailable("the numbers are away"));
            }
            feed.push(self.next);
            self.next += 1;
        }
        Ok(if self.next < self.limit { Progress::More } else { Progress::Done })
    }

    fn position(&self) -> u64 {
        self.next
    }
}

fn numbers() -> Numbers {
    Numbers { next: 0, limit: 100, away_at: None }
}

#[test]
fn every_number_comes_once() -> Result {
    let mut harness = SourceHarness::new(numbers);
    harness.batch_rows(7).poll()?;
    harness.checkpoint()?.poll()?;
    harness.crash()?;
    assert_eq!(harness.output(), (0..7).collect::<Vec<_>>());
    harness.run()?.checkpoint()?.crash()?.run()?;
    assert_eq!(harness.output(), (0..100).collect::<Vec<_>>());
    assert_eq!(harness.poll()?, Progress::Done);
    Ok(())
}

#[test]
fn a_crash_before_the_first_checkpoint_starts_over() -> Result {
    let mut harness = SourceHarness::new(numbers);
    harness.checkpoint()?.run()?.crash()?.run()?;
    assert_eq!(harness.take_output().len(), 100);
    Ok(())
}

#[test]
fn what_came_before_an_error_is_kept() -> Result {
    let mut harness = SourceHarness::new(|| Numbers { away_at: Some(10), ..numbers() });
    let error = harness.poll().expect_err("it cannot work");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(harness.output(), (0..10).collect::<Vec<_>>());
    harness.run()?;
    assert_eq!(harness.output(), (0..100).collect::<Vec<_>>());
    Ok(())
}

/// Reads three partitions in turns, of which each has fewer records than the one before; a record comes a ms after the
/// last.
#[derive(Default)]
struct Turns {
    next: [u64; 3],
    is_open: bool,
}

impl Turns {
    const RECORDS: [u64; 3] = [9, 5, 0];
}

impl Source for Turns {
    type Out = (u64, u64);
    type Position = [u64; 3];

    async fn open(&mut self, position: Option<[u64; 3]>, _: &Subtask) -> Result {
        self.next = position.unwrap_or_default();
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<(u64, u64)>) -> Result<Progress> {
        let all = || (0..).zip(Turns::RECORDS);
        if !std::mem::replace(&mut self.is_open, true) {
            all()
                .filter(|(at, end)| self.next[*at] <= *end)
                .for_each(|(at, _)| feed.in_partition(PartitionId(at as u64)));
        }
        for (at, end) in all() {
            let partition = PartitionId(at as u64);
            if self.next[at] < end && feed.room() > 0 {
                feed.in_partition(partition);
                feed.push_at(self.next[at] as i64 + 100, (partition.0, self.next[at]));
                self.next[at] += 1;
            } else if self.next[at] == end && feed.room() > 0 {
                feed.partition_done(partition);
                self.next[at] += 1;
            }
        }
        let is_over = all().all(|(at, end)| self.next[at] > end);
        Ok(if is_over { Progress::Done } else { Progress::More })
    }

    fn position(&self) -> [u64; 3] {
        self.next
    }
}

#[test]
fn what_was_seen_of_partitions_goes_back_to_the_checkpoint_too() -> Result {
    let mut harness = SourceHarness::new(Turns::default);
    let seen = |harness: &SourceHarness<Turns>| -> Vec<(u64, Option<i64>)> {
        harness.partitions().iter().map(|(partition, newest)| (partition.0, *newest)).collect()
    };
    harness.poll()?;
    assert_eq!(seen(&harness), [(0, Some(100)), (1, Some(100))], "the third has come to its end");
    harness.batch_rows(1).checkpoint()?.crash()?;
    harness.poll()?;
    assert_eq!(seen(&harness), [(0, Some(101)), (1, Some(100))], "one record for each poll");
    assert_eq!(harness.output().len(), 3);
    harness.crash()?;
    assert_eq!(seen(&harness), [(0, Some(100)), (1, Some(100))]);
    for _ in 0..6 {
        harness.batch_rows(3).poll()?;
    }
    harness.checkpoint()?.crash()?.run()?;
    assert_eq!(seen(&harness), []);
    assert_eq!(harness.take_output().len(), 14);
    Ok(())
}
