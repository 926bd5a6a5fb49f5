//! The source: events that are made up from their numbers, so that any of them can be made again.
//!
//! Subtask *s* of *p* makes the events whose numbers leave *s* when divided by *p*, and its position is the number of
//! the next one. Whatever the parallelism, the events are the same. Their times never fall as their numbers grow, so
//! within a subtask they are in order; they are not unique, which the watermark allows for: it stays a millisecond behind.

use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use piton::prelude::*;
use serde::Deserialize;

use super::events::Event;

/// The time of the first event: 2020-01-01 00:00 UTC.
const BASE_TIME: u64 = 1_577_836_800_000;
/// How long a source that keeps a pace rests after each of its polls at least, in ms.
const REST: u64 = 5;

/// Makes up the events of an auction house.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nexmark {
    /// How many events there are.
    events: u64,
    /// How many of them happen in a second of event time.
    #[serde(default = "usual_density")]
    per_second: usize,
    /// How many of them are made in a second of real time at most, by all subtasks together; left out: all at once.
    pace: Option<u64>,
    #[serde(skip)]
    made: Made,
}

/// Where a subtask is.
#[derive(Clone, Default)]
struct Made {
    generator: Option<EventGenerator>,
    next: u64,
    step: u64,
}

fn usual_density() -> usize {
    NexmarkConfig::default().first_rate
}

impl Source for Nexmark {
    type Out = Event;
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, subtask: &Subtask) -> Result {
        if self.per_second == 0 || self.pace == Some(0) {
            return Err(Error::invalid("`per_second` and `pace` are at least 1"));
        }
        let next = position.unwrap_or(u64::from(subtask.index));
        let step = u64::from(subtask.parallelism);
        let config = NexmarkConfig {
            base_time: BASE_TIME,
            first_rate: self.per_second,
            next_rate: self.per_second,
            ..NexmarkConfig::default()
        };
        let generator = EventGenerator::new(config).with_offset(next).with_step(step);
        self.made = Made { generator: Some(generator), next, step };
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<Event>) -> Result<Progress> {
        let Made { generator, next, step } = &mut self.made;
        let generator = generator.as_mut().expect("a source is opened before it is polled");
        let at_once = match self.pace {
            Some(pace) => (pace * REST / 1000 / *step).max(1).min(feed.room() as u64),
            None => feed.room() as u64,
        };
        for _ in 0..at_once {
            if *next >= self.events {
                return Ok(Progress::Done);
            }
            let event = generator.next().expect("there is always another event");
            feed.push_at(event.timestamp() as i64, event.into());
            *next += *step;
        }
        Ok(self.pace.map_or(Progress::More, |pace| Progress::Idle((at_once * *step * 1000).div_ceil(pace))))
    }

    fn position(&self) -> u64 {
        self.made.next
    }
}

#[cfg(test)]
mod tests {
    use piton::harness::SourceHarness;

    use super::*;

    const EVENTS: u64 = 3_000;

    fn nexmark(pace: Option<u64>) -> Nexmark {
        Nexmark { events: EVENTS, per_second: usual_density(), pace, made: Made::default() }
    }

    /// What an event is, and when.
    fn told(event: &Event) -> String {
        format!("{event:?}")
    }

    fn at(event: &Event) -> i64 {
        match event {
            Event::Person(person) => person.date_time,
            Event::Auction(auction) => auction.date_time,
            Event::Bid(bid) => bid.date_time,
        }
    }

    #[test]
    fn subtasks_share_the_same_events_in_order_of_time() -> Result {
        let alone: Vec<String> = SourceHarness::new(|| nexmark(None)).run()?.output().iter().map(told).collect();
        assert_eq!(alone.len() as u64, EVENTS);
        let mut shared = vec![String::new(); alone.len()];
        for index in 0..4 {
            let subtask = Subtask { index, parallelism: 4, ..Subtask::single("events") };
            let part = SourceHarness::of_subtask(subtask, || nexmark(None)).run()?.output();
            assert!(part.is_sorted_by_key(at));
            for (number, event) in part.iter().enumerate() {
                shared[number * 4 + index as usize] = told(event);
            }
        }
        assert!(shared == alone);
        Ok(())
    }

    #[test]
    fn it_goes_on_behind_what_a_checkpoint_holds() -> Result {
        let once = SourceHarness::new(|| nexmark(None)).run()?.output();
        let mut source = SourceHarness::new(|| nexmark(None));
        source.batch_rows(100);
        source.poll()?;
        source.checkpoint()?.poll()?;
        let again = source.crash()?.run()?.output();
        assert_eq!(again.iter().map(told).collect::<Vec<_>>(), once.iter().map(told).collect::<Vec<_>>());
        Ok(())
    }

    #[test]
    fn a_pace_is_kept_however_slow() -> Result {
        for pace in [10, 999, 50_000] {
            let mut source = SourceHarness::new(move || nexmark(Some(pace)));
            let Progress::Idle(rest) = source.poll()? else { panic!("it does not rest at {pace} a second") };
            let made = source.output().len() as u64;
            assert!(made > 0 && made * 1000 <= pace * rest, "{made} in {rest} ms at {pace} a second");
        }
        Ok(())
    }
}
