//! The queries as one would write them by hand: one loop on one thread, over events in the order of their times.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use crate::answer::{Answer, Row};
use crate::event::{Bid, Event, Happening};
use crate::query::Query;

type Map<K, V> = HashMap<K, V, FixedState>;

const WINDOW: i64 = 10_000;
const PANE: i64 = 2_000;
const PANES: usize = 5;

/// Returns the answer of a query.
pub(crate) fn run(query: Query, events: &[Event]) -> Answer {
    match query {
        // An exchange is work that the loop does not have.
        Query::Q0 | Query::Q0x => bids(events, |bid| Some(offer(&bid, bid.price))),
        Query::Q1 => bids(events, |bid| Some(offer(&bid, bid.price * 908))),
        Query::Q2 => {
            bids(events, |bid| bid.auction.is_multiple_of(123).then_some(Row([bid.auction, bid.price, 0, 0, 0])))
        }
        Query::Q3 => local_items(events),
        Query::Q4 => means_of_categories(events),
        Query::Q5 => most_bids(events),
        Query::Q6 => means_of_sellers(events),
        Query::Q7 => highest_bids(events),
        Query::Q8 => new_sellers(events),
        Query::Q11 => sessions(events),
        Query::Q12 => by_the_wall(events),
        Query::Kc => keyed_count(events),
    }
}

#[inline]
fn offer(bid: &Bid, price: u64) -> Row {
    Row([bid.auction, bid.bidder, price, bid.time as u64, 0])
}

#[inline]
fn bids(events: &[Event], row: impl Fn(Bid) -> Option<Row>) -> Answer {
    let mut answer = Answer::default();
    for bid in events.iter().filter_map(Event::bid) {
        if let Some(row) = row(bid) {
            answer.add(row);
        }
    }
    answer
}

fn local_items(events: &[Event]) -> Answer {
    let mut answer = Answer::default();
    let mut persons: Map<u64, [u64; 3]> = Map::default();
    let mut auctions: Map<u64, Vec<u64>> = Map::default();
    let row = |[name, city, state]: [u64; 3], auction: u64| Row([name, city, state, auction, 0]);
    for event in events {
        match event.happening() {
            Happening::Person(person) if person.is_local() => {
                let told = [person.name, person.city, person.state];
                for auction in auctions.get(&person.id).into_iter().flatten() {
                    answer.add(row(told, *auction));
                }
                persons.insert(person.id, told);
            }
            Happening::Auction(auction) if auction.is_of_category_10() => {
                if let Some(person) = persons.get(&auction.seller) {
                    answer.add(row(*person, auction.id));
                }
                auctions.entry(auction.seller).or_default().push(auction.id);
            }
            _ => {}
        }
    }
    answer
}

/// An auction that is not over.
struct Open {
    seller: u64,
    category: u64,
    best: Option<(u64, Reverse<i64>)>,
}

/// An auction that is over, and its winning bid.
struct Won {
    auction: u64,
    seller: u64,
    category: u64,
    price: u64,
    time: i64,
}

/// Finds the winning bids. An auction may come after its bids, if all have the same time.
fn winning_bids(events: &[Event], mut won: impl FnMut(Won)) {
    let mut open: Map<u64, Open> = Map::default();
    let mut ends: BinaryHeap<Reverse<(i64, u64)>> = BinaryHeap::new();
    let mut early: Vec<Bid> = Vec::new();
    let mut now = i64::MIN;
    let mut close = |open: &mut Map<u64, Open>, auction: u64| {
        let Open { seller, category, best } = open.remove(&auction).expect("it was opened");
        if let Some((price, Reverse(time))) = best {
            won(Won { auction, seller, category, price, time });
        }
    };
    for event in events {
        if event.time() > now {
            now = event.time();
            early.clear();
            while let Some(first) = ends.peek_mut().filter(|first| first.0.0 < now) {
                let Reverse((_, auction)) = PeekMut::pop(first);
                close(&mut open, auction);
            }
        }
        match event.happening() {
            Happening::Auction(auction) => {
                let bids = early.iter().filter(|bid| bid.auction == auction.id);
                let best = bids.map(|bid| (bid.price, Reverse(bid.time))).max();
                open.insert(auction.id, Open { seller: auction.seller, category: auction.category, best });
                ends.push(Reverse((auction.expires, auction.id)));
            }
            Happening::Bid(bid) => match open.get_mut(&bid.auction) {
                Some(open) => open.best = open.best.max(Some((bid.price, Reverse(bid.time)))),
                None => early.push(bid),
            },
            _ => {}
        }
    }
    while let Some(Reverse((_, auction))) = ends.pop() {
        close(&mut open, auction);
    }
}

fn means_of_categories(events: &[Event]) -> Answer {
    let mut prices: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    winning_bids(events, |won| {
        let (auctions, total) = prices.entry(won.category).or_default();
        *auctions += 1;
        *total += won.price;
    });
    let mut answer = Answer::default();
    for (category, (auctions, total)) in prices {
        answer.add(Row([category, total / auctions, 0, 0, 0]));
    }
    answer
}

fn means_of_sellers(events: &[Event]) -> Answer {
    let mut sellers: Map<u64, Vec<(i64, u64, u64)>> = Map::default();
    winning_bids(events, |won| {
        let last = sellers.entry(won.seller).or_default();
        let new = (won.time, won.auction, won.price);
        last.insert(last.partition_point(|earlier| *earlier < new), new);
        if last.len() > 11 {
            last.remove(0);
        }
    });
    let mut answer = Answer::default();
    for (seller, last) in sellers {
        let total: u64 = last.iter().map(|(_, _, price)| price).sum();
        answer.add(Row([seller, total / last.len() as u64, 0, 0, 0]));
    }
    answer
}

/// Counts of the last panes of a sliding window, and their sum.
#[derive(Default)]
struct Sliding {
    panes: VecDeque<Map<u64, u64>>,
    sums: Map<u64, u64>,
}

impl Sliding {
    /// Ends the window with a pane, and adds who has most.
    fn slide(&mut self, pane: Map<u64, u64>, end: i64, answer: &mut Answer) {
        for (auction, bids) in &pane {
            *self.sums.entry(*auction).or_default() += bids;
        }
        self.panes.push_back(pane);
        if self.panes.len() > PANES {
            for (auction, bids) in self.panes.pop_front().expect("it has six") {
                let sum = self.sums.get_mut(&auction).expect("it was added");
                *sum -= bids;
                if *sum == 0 {
                    self.sums.remove(&auction);
                }
            }
        }
        let most = self.sums.values().copied().max().unwrap_or(0);
        for (auction, bids) in self.sums.iter().filter(|(_, bids)| **bids == most) {
            answer.add(Row([*auction, *bids, end as u64, 0, 0]));
        }
    }
}

fn most_bids(events: &[Event]) -> Answer {
    let mut answer = Answer::default();
    let mut sliding = Sliding::default();
    let mut counts: Map<u64, u64> = Map::default();
    let mut end = i64::MAX;
    for bid in events.iter().filter_map(Event::bid) {
        let ends = bid.time - bid.time.rem_euclid(PANE) + PANE;
        if end == i64::MAX {
            end = ends;
        }
        while end < ends {
            sliding.slide(std::mem::take(&mut counts), end, &mut answer);
            end += PANE;
        }
        *counts.entry(bid.auction).or_default() += 1;
    }
    if end < i64::MAX {
        for pane in 0..PANES as i64 {
            sliding.slide(std::mem::take(&mut counts), end + pane * PANE, &mut answer);
        }
    }
    answer
}

fn highest_bids(events: &[Event]) -> Answer {
    let mut answer = Answer::default();
    let mut highest: Vec<Bid> = Vec::new();
    let mut end = i64::MIN;
    for bid in events.iter().filter_map(Event::bid) {
        if bid.time >= end {
            highest.drain(..).for_each(|bid| answer.add(offer(&bid, bid.price)));
            end = bid.time - bid.time.rem_euclid(WINDOW) + WINDOW;
        }
        let so_far = highest.first().map_or(0, |bid| bid.price);
        if bid.price > so_far {
            highest.clear();
        }
        if bid.price >= so_far {
            highest.push(bid);
        }
    }
    highest.drain(..).for_each(|bid| answer.add(offer(&bid, bid.price)));
    answer
}

fn new_sellers(events: &[Event]) -> Answer {
    let mut answer = Answer::default();
    let mut persons: Map<u64, u64> = Map::default();
    let mut sellers: HashSet<u64, FixedState> = HashSet::default();
    let mut start = i64::MIN;
    let mut end_window = |persons: &mut Map<u64, u64>, sellers: &mut HashSet<u64, FixedState>, start: i64| {
        for (id, name) in persons.drain() {
            if sellers.contains(&id) {
                answer.add(Row([id, name, start as u64, 0, 0]));
            }
        }
        sellers.clear();
    };
    for event in events {
        let time = event.time();
        if start == i64::MIN || time >= start + WINDOW {
            end_window(&mut persons, &mut sellers, start);
            start = time - time.rem_euclid(WINDOW);
        }
        match event.happening() {
            Happening::Person(person) => _ = persons.insert(person.id, person.name),
            Happening::Auction(auction) => _ = sellers.insert(auction.seller),
            _ => {}
        }
    }
    end_window(&mut persons, &mut sellers, start);
    answer
}

fn sessions(events: &[Event]) -> Answer {
    let mut answer = Answer::default();
    let mut sessions: Map<u64, (i64, i64, u64)> = Map::default();
    let mut row = |bidder: u64, (first, last, bids): (i64, i64, u64)| {
        answer.add(Row([bidder, bids, first as u64, (last + WINDOW) as u64, 0]));
    };
    for bid in events.iter().filter_map(Event::bid) {
        let session = sessions.entry(bid.bidder).or_insert((bid.time, bid.time, 0));
        if bid.time - session.1 >= WINDOW {
            row(bid.bidder, *session);
            *session = (bid.time, bid.time, 0);
        }
        session.1 = bid.time;
        session.2 += 1;
    }
    for (bidder, session) in sessions {
        row(bidder, session);
    }
    answer
}

/// Which window a bid falls into depends on the clock, so an answer holds how many bids each has in all windows together.
fn by_the_wall(events: &[Event]) -> Answer {
    let mut answer = Answer::default();
    let mut counts: Map<u64, u64> = Map::default();
    let mut begin = Instant::now();
    let mut end_window = |counts: &mut Map<u64, u64>| {
        for (bidder, bids) in counts.drain() {
            answer.add_times(Row([bidder, 0, 0, 0, 0]), bids);
        }
    };
    for batch in events.chunks(1_024) {
        if begin.elapsed() >= Duration::from_millis(WINDOW as u64) {
            begin = Instant::now();
            end_window(&mut counts);
        }
        for bid in batch.iter().filter_map(Event::bid) {
            *counts.entry(bid.bidder).or_default() += 1;
        }
    }
    end_window(&mut counts);
    answer
}

fn keyed_count(events: &[Event]) -> Answer {
    let mut answer = Answer::default();
    let mut counts: Map<u64, u64> = Map::default();
    for event in events {
        let key = event.subject();
        let count = counts.entry(key).or_default();
        *count += 1;
        answer.add(Row([key, *count, 0, 0, 0]));
    }
    answer
}
