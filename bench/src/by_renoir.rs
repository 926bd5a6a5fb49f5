//! renoir, one worker: streams as its examples write them.
//!
//! It aligns event-time windows to the first event of a key and not to the epoch, so its q5 is another query; q4, q6 and
//! q8 have no windows or timers of the kind that is asked for, and its sessions and q12 go by the clock alone. It keeps no
//! checkpoints.

use renoir::Stream;
use renoir::operator::Operator;
use renoir::prelude::*;

use crate::answer::{Answer, Part, Row, take_total};
use crate::event::{Bid, Event, Happening};
use crate::query::Query;

const WINDOW: i64 = 10_000;
/// How many events a batch has.
const BATCH: usize = 16_384;
/// How many events there are between two watermarks.
const WATERMARK: usize = 65_536;

/// Whether it has a stream for a query.
pub(crate) fn answers(query: Query) -> bool {
    matches!(query, Query::Q0 | Query::Q0x | Query::Q1 | Query::Q2 | Query::Q3 | Query::Q7 | Query::Kc)
}

/// Returns the answer of a query.
pub(crate) fn run(query: Query, events: Vec<Event>) -> Answer {
    let config = RuntimeConfig::local(1).expect("one worker");
    let context = StreamContext::new(config);
    let events = context.stream_iter(events.into_iter()).batch_mode(BatchMode::fixed(BATCH));
    let mut seen = Part::default();
    match query {
        Query::Q0 => bids(events).map(|bid| offer(&bid, bid.price)).for_each(move |row| seen.add(row)),
        Query::Q0x => {
            let keyed = bids(events).group_by(|bid| bid.auction).drop_key();
            keyed.map(|bid| offer(&bid, bid.price)).for_each(move |row| seen.add(row));
        }
        Query::Q1 => bids(events).map(|bid| offer(&bid, bid.price * 908)).for_each(move |row| seen.add(row)),
        Query::Q2 => bids(events)
            .filter(|bid| bid.auction.is_multiple_of(123))
            .map(|bid| Row([bid.auction, bid.price, 0, 0, 0]))
            .for_each(move |row| seen.add(row)),
        Query::Q3 => {
            let mut routes = events
                .route()
                .add_route(|event| matches!(event.happening(), Happening::Person(person) if person.is_local()))
                .add_route(
                    |event| matches!(event.happening(), Happening::Auction(auction) if auction.is_of_category_10()),
                )
                .build()
                .into_iter();
            let persons = routes.next().expect("the first route").filter_map(|event| match event.happening() {
                Happening::Person(person) => Some(person),
                _ => None,
            });
            let auctions = routes.next().expect("the second route").filter_map(|event| match event.happening() {
                Happening::Auction(auction) => Some(auction),
                _ => None,
            });
            persons
                .join(auctions, |person| person.id, |auction| auction.seller)
                .drop_key()
                .map(|(person, auction)| Row([person.name, person.city, person.state, auction.id, 0]))
                .for_each(move |row| seen.add(row));
        }
        Query::Q7 => {
            let mut until_watermark = WATERMARK;
            let timed = events.add_timestamps(
                |event| event.time(),
                move |_, time| {
                    until_watermark -= 1;
                    if until_watermark > 0 {
                        return None;
                    }
                    until_watermark = WATERMARK;
                    Some(*time)
                },
            );
            timed
                .filter_map(|event| event.bid())
                .key_by(|_| ())
                .window(EventTimeWindow::tumbling(WINDOW))
                .fold(Vec::new(), |highest: &mut Vec<Bid>, bid| {
                    let so_far = highest.first().map_or(0, |bid| bid.price);
                    if bid.price > so_far {
                        highest.clear();
                    }
                    if bid.price >= so_far {
                        highest.push(*bid);
                    }
                })
                .drop_key()
                .for_each(move |highest| highest.iter().for_each(|bid| seen.add(offer(bid, bid.price))));
        }
        Query::Kc => events
            .group_by(Event::subject)
            .rich_map({
                let mut count = 0u64;
                move |_| {
                    count += 1;
                    count
                }
            })
            .unkey()
            .for_each(move |(key, count)| seen.add(Row([key, count, 0, 0, 0]))),
        Query::Q4 | Query::Q5 | Query::Q6 | Query::Q8 | Query::Q11 | Query::Q12 => unreachable!("`answers` says so"),
    }
    context.execute_blocking();
    take_total()
}

fn bids(events: Stream<impl Operator<Out = Event> + 'static>) -> Stream<impl Operator<Out = Bid>> {
    events.filter_map(|event| event.bid())
}

fn offer(bid: &Bid, price: u64) -> Row {
    Row([bid.auction, bid.bidder, price, bid.time as u64, 0])
}
