//! Where events come from and answers go: memory on both sides, as for every other engine.

use std::sync::{Arc, OnceLock};

use piton::prelude::*;
use piton::{Delivery, Rows};
use serde::Deserialize;

use crate::answer::{Part, Row};
use crate::event::{Auction, Bid, Event, Happening, Person};

/// The events of this process.
pub(super) static EVENTS: OnceLock<Vec<Event>> = OnceLock::new();

/// How many events in a row belong to one subtask.
const RUN: usize = 1_024;

/// Where a subtask is among the events of this process; number *s* of *p* has every *p*th run of them.
#[derive(Clone, Default)]
pub(super) struct Reader {
    next: usize,
    parallelism: usize,
}

impl Reader {
    pub(super) fn open(position: Option<u64>, subtask: &Subtask) -> Reader {
        let next = position.map_or(subtask.index as usize * RUN, |next| next as usize);
        Reader { next, parallelism: subtask.parallelism as usize }
    }

    /// Returns the next events, at most `room`, in several parts if need be; none at the end.
    pub(super) fn take(&mut self, room: usize) -> &'static [Event] {
        let events = EVENTS.get().expect("events are there before a job");
        if self.next >= events.len() {
            return &[];
        }
        let until = (self.next + (RUN - self.next % RUN).min(room)).min(events.len());
        let run = &events[self.next..until];
        self.next = until;
        if until.is_multiple_of(RUN) {
            self.next += (self.parallelism - 1) * RUN;
        }
        run
    }

    pub(super) fn progress(&self) -> Progress {
        let events = EVENTS.get().map_or(0, Vec::len);
        if self.next < events { Progress::More } else { Progress::Done }
    }

    pub(super) fn position(&self) -> u64 {
        self.next as u64
    }
}

/// Emits the events of this process.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Memory {
    /// Whether events have their time: a query that does not ask for it needs no watermarks.
    timed: bool,
    #[serde(skip)]
    reader: Reader,
}

impl Source for Memory {
    type Out = Event;
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, subtask: &Subtask) -> Result {
        self.reader = Reader::open(position, subtask);
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<Event>) -> Result<Progress> {
        while feed.room() > 0 {
            let run = self.reader.take(feed.room());
            if run.is_empty() {
                break;
            }
            if self.timed {
                feed.extend_at(run.iter().map(|event| (event.time(), *event)));
            } else {
                run.iter().for_each(|event| feed.push(*event));
            }
        }
        Ok(self.reader.progress())
    }

    fn position(&self) -> u64 {
        self.reader.position()
    }
}

/// Passes on persons.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Persons {}

impl Operator for Persons {
    type In = Event;
    type Out = Person;
    const HOLDS_ROWS: Option<bool> = Some(false);

    fn process(&mut self, event: &Event, ctx: &mut Context<Person>) -> Result {
        if let Happening::Person(person) = event.happening() {
            ctx.emit(person);
        }
        Ok(())
    }
}

/// Passes on auctions.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Auctions {}

impl Operator for Auctions {
    type In = Event;
    type Out = Auction;
    const HOLDS_ROWS: Option<bool> = Some(false);

    fn process(&mut self, event: &Event, ctx: &mut Context<Auction>) -> Result {
        if let Happening::Auction(auction) = event.happening() {
            ctx.emit(auction);
        }
        Ok(())
    }
}

/// Passes on bids.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bids {}

impl Operator for Bids {
    type In = Event;
    type Out = Bid;
    const HOLDS_ROWS: Option<bool> = Some(false);

    fn process(&mut self, event: &Event, ctx: &mut Context<Bid>) -> Result {
        if let Some(bid) = event.bid() {
            ctx.emit(bid);
        }
        Ok(())
    }
}

/// Adds up rows.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tally {
    /// Whether a row stands for as many as its last column says.
    #[serde(default)]
    weighted: bool,
    #[serde(skip)]
    seen: Part,
}

impl Sink for Tally {
    type In = Row;
    type Pending = ();

    fn delivery(&self) -> Delivery {
        Delivery::Staged
    }

    async fn open(&mut self, _: Vec<()>, _: &Subtask) -> Result {
        Ok(())
    }

    async fn write(&mut self, batch: Arc<Rows<Row>>) -> Result {
        for row in batch.iter() {
            if self.weighted {
                let Row([a, b, c, d, times]) = *row;
                self.seen.0.add_times(Row([a, b, c, d, 0]), times);
            } else {
                self.seen.add(*row);
            }
        }
        Ok(())
    }

    async fn prepare(&mut self, _: WindowId) -> Result<Option<()>> {
        Ok(None)
    }
}
