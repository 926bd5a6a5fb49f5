//! The answers to the queries of NEXMark, one after the other, over all events at once: no stream, no state, no piton.
//!
//! Every answer is a line as it stands in a CSV file; they are sorted.

use std::collections::{BTreeMap, BTreeSet};

use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event::{Auction, Bid, Event, Person};

/// All events, apart.
pub(crate) struct Events {
    persons: Vec<Person>,
    auctions: Vec<Auction>,
    bids: Vec<Bid>,
}

/// The winning bid of an auction.
struct Won<'a> {
    auction: &'a Auction,
    bid: &'a Bid,
}

impl Events {
    /// Makes the first events, so many of them in a second of their time.
    pub(crate) fn first(events: usize, per_second: usize) -> Events {
        let config = NexmarkConfig {
            base_time: 1_577_836_800_000,
            first_rate: per_second,
            next_rate: per_second,
            ..NexmarkConfig::default()
        };
        let mut all = Events { persons: Vec::new(), auctions: Vec::new(), bids: Vec::new() };
        for event in EventGenerator::new(config).take(events) {
            match event {
                Event::Person(person) => all.persons.push(person),
                Event::Auction(auction) => all.auctions.push(auction),
                Event::Bid(bid) => all.bids.push(bid),
            }
        }
        all
    }

    /// Returns the answers to a query.
    pub(crate) fn answer(&self, query: &str) -> Vec<String> {
        let mut lines = match query {
            "q0" => self.bids.iter().map(|bid| offer(bid, 1)).collect(),
            "q1" => self.bids.iter().map(|bid| offer(bid, 908)).collect(),
            "q2" => self.chosen(),
            "q3" => self.local_items(),
            "q4" => self.mean_by_category(),
            "q5" => self.hot_auctions(),
            "q6" => self.mean_by_seller(),
            "q7" => self.highest(),
            "q8" => self.new_sellers(),
            "q11" => self.sessions(),
            "q12" => self.bids_by_bidder(),
            _ => panic!("there is no query \"{query}\""),
        };
        lines.sort();
        lines
    }

    fn chosen(&self) -> Vec<String> {
        let chosen = self.bids.iter().filter(|bid| bid.auction % 123 == 0);
        chosen.map(|bid| format!("{},{}", bid.auction, bid.price)).collect()
    }

    fn local_items(&self) -> Vec<String> {
        let persons: BTreeMap<usize, &Person> = self.persons.iter().map(|person| (person.id, person)).collect();
        let mut lines = Vec::new();
        for auction in self.auctions.iter().filter(|auction| auction.category == 10) {
            let Some(seller) = persons.get(&auction.seller) else { continue };
            if ["or", "id", "ca"].contains(&&*seller.state) {
                lines.push(format!("{},{},{},{}", seller.name, seller.city, seller.state, auction.id));
            }
        }
        lines
    }

    fn won(&self) -> Vec<Won<'_>> {
        let mut bids: BTreeMap<usize, Vec<&Bid>> = BTreeMap::new();
        for bid in &self.bids {
            bids.entry(bid.auction).or_default().push(bid);
        }
        let mut won = Vec::new();
        for auction in &self.auctions {
            let of_it = bids.get(&auction.id).into_iter().flatten();
            let in_time = of_it.filter(|bid| auction.date_time <= bid.date_time && bid.date_time <= auction.expires);
            let best = in_time.min_by_key(|bid| (std::cmp::Reverse(bid.price), bid.date_time));
            won.extend(best.map(|bid| Won { auction, bid }));
        }
        won
    }

    fn mean_by_category(&self) -> Vec<String> {
        let mut prices: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for Won { auction, bid } in self.won() {
            prices.entry(auction.category).or_default().push(bid.price);
        }
        prices.into_iter().map(|(category, prices)| format!("{category},{}", mean(&prices))).collect()
    }

    fn mean_by_seller(&self) -> Vec<String> {
        let mut won = self.won();
        won.sort_by_key(|won| (won.bid.date_time, won.auction.id));
        let mut prices: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for Won { auction, bid } in won {
            prices.entry(auction.seller).or_default().push(bid.price);
        }
        let last = |prices: &[usize]| mean(&prices[prices.len().saturating_sub(11)..]);
        prices.into_iter().map(|(seller, prices)| format!("{seller},{}", last(&prices))).collect()
    }

    fn hot_auctions(&self) -> Vec<String> {
        let (Some(first), Some(last)) = (self.bids.first(), self.bids.last()) else { return Vec::new() };
        let mut lines = Vec::new();
        let earliest = first.date_time / 2_000 * 2_000 - 8_000;
        for start in (earliest..=last.date_time).step_by(2_000) {
            let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
            for bid in self.bids.iter().filter(|bid| (start..start + 10_000).contains(&bid.date_time)) {
                *counts.entry(bid.auction).or_default() += 1;
            }
            let most = counts.values().copied().max().unwrap_or_default();
            let hot = counts.into_iter().filter(|(_, count)| *count == most);
            lines.extend(hot.map(|(auction, count)| format!("{auction},{count}")));
        }
        lines
    }

    fn highest(&self) -> Vec<String> {
        let mut highest: BTreeMap<u64, usize> = BTreeMap::new();
        for bid in &self.bids {
            let price = highest.entry(bid.date_time / 10_000).or_default();
            *price = bid.price.max(*price);
        }
        let is_highest = |bid: &&Bid| highest[&(bid.date_time / 10_000)] == bid.price;
        self.bids.iter().filter(is_highest).map(|bid| offer(bid, 1)).collect()
    }

    fn new_sellers(&self) -> Vec<String> {
        let window = |at: u64| at / 10_000 * 10_000;
        let sellers: BTreeSet<(usize, u64)> =
            self.auctions.iter().map(|auction| (auction.seller, window(auction.date_time))).collect();
        let new = self.persons.iter().filter(|person| sellers.contains(&(person.id, window(person.date_time))));
        new.map(|person| format!("{},{},{}", person.id, person.name, window(person.date_time))).collect()
    }

    fn sessions(&self) -> Vec<String> {
        let mut times: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for bid in &self.bids {
            times.entry(bid.bidder).or_default().push(bid.date_time);
        }
        let mut lines = Vec::new();
        for (bidder, times) in times {
            for session in times.chunk_by(|earlier, later| later - earlier < 10_000) {
                let (first, last) = (session[0], session[session.len() - 1]);
                lines.push(format!("{bidder},{},{first},{}", session.len(), last + 10_000));
            }
        }
        lines
    }

    /// The windows of q12 are of real time: this is what those of a bidder hold together.
    fn bids_by_bidder(&self) -> Vec<String> {
        let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
        for bid in &self.bids {
            *counts.entry(bid.bidder).or_default() += 1;
        }
        counts.into_iter().map(|(bidder, count)| format!("{bidder},{count}")).collect()
    }
}

fn offer(bid: &Bid, times: usize) -> String {
    format!("{},{},{},{},{}", bid.auction, bid.bidder, bid.price * times, bid.date_time, bid.extra)
}

fn mean(prices: &[usize]) -> usize {
    prices.iter().sum::<usize>() / prices.len()
}
