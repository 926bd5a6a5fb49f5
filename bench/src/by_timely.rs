//! timely, one worker: dataflows as its examples write them, with one epoch for each window or for each few thousand events.
//!
//! q4, q6 and q11 need timers by key, q12 windows by the clock; timely has neither, and what would be measured is code of
//! ours. It keeps no checkpoints.

use std::collections::{BTreeMap, VecDeque};

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::{Exchange, ParallelizationContract, Pipeline};
use timely::dataflow::operators::{Capability, Operator, Probe};
use timely::dataflow::{InputHandle, ProbeHandle, StreamVec};

use crate::answer::{Answer, Part, Row, take_total};
use crate::event::{Auction, Bid, Event, Happening, Person};
use crate::query::Query;

type Map<K, V> = HashMap<K, V, FixedState>;

const WINDOW: u64 = 10_000;
const PANE: u64 = 2_000;
const PANES: u64 = 5;
/// How many events there are between two steps of the worker.
const STEP: usize = 4_096;

/// Whether it has a dataflow for a query.
pub(crate) fn answers(query: Query) -> bool {
    !matches!(query, Query::Q4 | Query::Q6 | Query::Q11 | Query::Q12)
}

/// Returns the answer of a query.
pub(crate) fn run(query: Query, events: Vec<Event>) -> Answer {
    timely::execute_directly(move |worker| {
        let mut input: InputHandle<u64, _> = InputHandle::new();
        let probe = ProbeHandle::new();
        worker.dataflow::<u64, _, _>(|scope| {
            let events = input.to_stream(scope);
            let mut seen = Part::default();
            each(dataflow(query, events), Pipeline, "tally", move |row| {
                seen.add(row);
                None::<()>
            })
            .probe_with(&probe);
        });
        let window = match query {
            Query::Q5 => Some(PANE),
            Query::Q7 | Query::Q8 => Some(WINDOW),
            _ => None,
        };
        for (number, event) in events.into_iter().enumerate() {
            if let Some(window) = window.map(|window| event.time() as u64 / window) {
                if window > *input.time() {
                    input.advance_to(window);
                }
            } else if number.is_multiple_of(STEP) {
                input.advance_to(1 + (number / STEP) as u64);
            }
            input.send(event);
            if number % STEP == STEP - 1 {
                worker.step();
            }
        }
        input.close();
        while !probe.done() {
            worker.step();
        }
    });
    take_total()
}

fn dataflow(query: Query, events: StreamVec<'_, u64, Event>) -> StreamVec<'_, u64, Row> {
    let offer = |bid: &Bid, price: u64| Row([bid.auction, bid.bidder, price, bid.time as u64, 0]);
    match query {
        Query::Q0 => each(events, Pipeline, "q0", move |event| event.bid().map(|bid| offer(&bid, bid.price))),
        Query::Q0x => {
            let bids = each(events, Pipeline, "bids", |event| event.bid());
            each(bids, Exchange::new(|bid: &Bid| bid.auction), "q0", move |bid| Some(offer(&bid, bid.price)))
        }
        Query::Q1 => each(events, Pipeline, "q1", move |event| event.bid().map(|bid| offer(&bid, bid.price * 908))),
        Query::Q2 => each(events, Pipeline, "q2", |event| {
            let bid = event.bid().filter(|bid| bid.auction.is_multiple_of(123))?;
            Some(Row([bid.auction, bid.price, 0, 0, 0]))
        }),
        Query::Q3 => local_items(events),
        Query::Q5 => most_bids(events),
        Query::Q7 => highest_bids(events),
        Query::Q8 => new_sellers(events),
        Query::Kc => {
            let mut counts: Map<u64, u64> = Map::default();
            each(events, Exchange::new(Event::subject), "count", move |event| {
                let key = event.subject();
                let count = counts.entry(key).or_default();
                *count += 1;
                Some(Row([key, *count, 0, 0, 0]))
            })
        }
        Query::Q4 | Query::Q6 | Query::Q11 | Query::Q12 => unreachable!("`answers` says so"),
    }
}

/// Passes on what becomes of each record.
fn each<'s, D: 'static, R: Clone + 'static, I: IntoIterator<Item = R>>(
    stream: StreamVec<'s, u64, D>,
    pact: impl ParallelizationContract<u64, Vec<D>>,
    name: &str,
    mut logic: impl FnMut(D) -> I + 'static,
) -> StreamVec<'s, u64, R> {
    stream
        .unary(pact, name, move |_, _| {
            move |input, output| {
                input.for_each_time(|time, data| {
                    let mut session = output.session(&time);
                    for record in data.flat_map(|batch: &mut Vec<D>| batch.drain(..)) {
                        for made in logic(record) {
                            session.give(made);
                        }
                    }
                });
            }
        })
        .container::<Vec<R>>()
}

/// Passes on what becomes of each window, that is of each epoch, when it is over; a record keeps as many windows `open`.
fn windows<'s, D: 'static, R: Clone + 'static, W: Default + 'static>(
    stream: StreamVec<'s, u64, D>,
    pact: impl ParallelizationContract<u64, Vec<D>>,
    open: u64,
    mut add: impl FnMut(&mut W, D) + 'static,
    mut close: impl FnMut(u64, W) -> Vec<R> + 'static,
) -> StreamVec<'s, u64, R> {
    stream
        .unary_frontier(pact, "windows", move |_, _| {
            let mut windows: BTreeMap<u64, (Capability<u64>, W)> = BTreeMap::new();
            move |(input, frontier), output| {
                input.for_each_time(|time, data| {
                    let first = *time.time();
                    if !windows.contains_key(&(first + open - 1)) || !windows.contains_key(&first) {
                        let capability = time.retain(0);
                        for window in first..first + open {
                            windows.entry(window).or_insert_with(|| (capability.delayed(&window), W::default()));
                        }
                    }
                    let (_, window) = windows.get_mut(&first).expect("it was put there");
                    for record in data.flat_map(|batch: &mut Vec<D>| batch.drain(..)) {
                        add(window, record);
                    }
                });
                while let Some(first) = windows.first_entry().filter(|first| !frontier.less_equal(first.key())) {
                    let (number, (capability, window)) = first.remove_entry();
                    output.session(&capability).give_iterator(close(number, window).into_iter());
                }
            }
        })
        .container::<Vec<R>>()
}

/// An auction or a person.
#[derive(Clone, Serialize, Deserialize)]
enum Side {
    Auction(Auction),
    Person(Person),
}

impl Side {
    fn person(&self) -> u64 {
        match self {
            Side::Auction(auction) => auction.seller,
            Side::Person(person) => person.id,
        }
    }
}

fn local_items(events: StreamVec<'_, u64, Event>) -> StreamVec<'_, u64, Row> {
    let sides = each(events, Pipeline, "sides", |event| match event.happening() {
        Happening::Auction(auction) if auction.is_of_category_10() => Some(Side::Auction(auction)),
        Happening::Person(person) if person.is_local() => Some(Side::Person(person)),
        _ => None,
    });
    let mut persons: Map<u64, Person> = Map::default();
    let mut auctions: Map<u64, Vec<u64>> = Map::default();
    let row = |person: &Person, auction: u64| Row([person.name, person.city, person.state, auction, 0]);
    each(sides, Exchange::new(Side::person), "join", move |side| match side {
        Side::Auction(auction) => {
            auctions.entry(auction.seller).or_default().push(auction.id);
            persons.get(&auction.seller).map(|person| row(person, auction.id)).into_iter().collect()
        }
        Side::Person(person) => {
            persons.insert(person.id, person);
            let waiting = auctions.get(&person.id);
            waiting.into_iter().flatten().map(|auction| row(&person, *auction)).collect::<Vec<_>>()
        }
    })
}

fn most_bids(events: StreamVec<'_, u64, Event>) -> StreamVec<'_, u64, Row> {
    let bids = each(events, Pipeline, "bids", |event| event.bid());
    let mut panes: VecDeque<Map<u64, u64>> = VecDeque::new();
    let mut sums: Map<u64, u64> = Map::default();
    let by_auction = Exchange::new(|bid: &Bid| bid.auction);
    let add = |pane: &mut Map<u64, u64>, bid: Bid| *pane.entry(bid.auction).or_default() += 1;
    // Panes come one after the other: a record keeps five open, and there is no gap of more than that between events.
    let most = windows(bids, by_auction, PANES, add, move |number, pane| {
        for (auction, bids) in &pane {
            *sums.entry(*auction).or_default() += bids;
        }
        panes.push_back(pane);
        if panes.len() as u64 > PANES {
            for (auction, bids) in panes.pop_front().expect("it has six") {
                let sum = sums.get_mut(&auction).expect("it was added");
                *sum -= bids;
                if *sum == 0 {
                    sums.remove(&auction);
                }
            }
        }
        let most = sums.values().copied().max().unwrap_or(0);
        let end = (number + 1) * PANE;
        let highest = sums.iter().filter(|(_, bids)| **bids == most);
        highest.map(|(auction, bids)| Row([*auction, *bids, end, 0, 0])).collect()
    });
    let by_window = Exchange::new(|row: &Row| row.0[2]);
    windows(most, by_window, 1, |highest, row| keep(highest, row, 1), |_, highest| highest)
}

/// Keeps a row if none is higher in a column, and drops those that are lower.
fn keep(highest: &mut Vec<Row>, row: Row, column: usize) {
    let so_far = highest.first().map_or(0, |row| row.0[column]);
    if row.0[column] > so_far {
        highest.clear();
    }
    if row.0[column] >= so_far {
        highest.push(row);
    }
}

fn highest_bids(events: StreamVec<'_, u64, Event>) -> StreamVec<'_, u64, Row> {
    let bids = each(events, Pipeline, "bids", |event| event.bid());
    // Each worker finds its own highest bids first.
    let add = |highest: &mut Vec<Row>, bid: Bid| {
        keep(highest, Row([bid.auction, bid.bidder, bid.price, bid.time as u64, 0]), 2);
    };
    let highest = windows(bids, Pipeline, 1, add, |_, highest| highest);
    let by_window = Exchange::new(|row: &Row| row.0[3] / WINDOW);
    windows(highest, by_window, 1, |highest, row| keep(highest, row, 2), |_, highest| highest)
}

fn new_sellers(events: StreamVec<'_, u64, Event>) -> StreamVec<'_, u64, Row> {
    type Window = (Map<u64, u64>, HashSet<u64, FixedState>);
    let sides = each(events, Pipeline, "sides", |event| match event.happening() {
        Happening::Auction(auction) => Some(Side::Auction(auction)),
        Happening::Person(person) => Some(Side::Person(person)),
        _ => None,
    });
    let add = |(persons, sellers): &mut Window, side: Side| match side {
        Side::Auction(auction) => _ = sellers.insert(auction.seller),
        Side::Person(person) => _ = persons.insert(person.id, person.name),
    };
    windows(sides, Exchange::new(Side::person), 1, add, |number, (persons, sellers): Window| {
        let new = persons.into_iter().filter(|(id, _)| sellers.contains(id));
        new.map(|(id, name)| Row([id, name, number * WINDOW, 0, 0])).collect()
    })
}
