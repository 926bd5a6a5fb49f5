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
