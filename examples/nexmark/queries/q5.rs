//! q5: the auctions with the most bids of the last ten seconds, every two seconds.
//!
//! Bids are counted by auction in sliding windows (the topology says how long), and the highest counts of each window are the
//! answer. Chosen: all auctions that share the highest count are answers, as in the SQL; windows are `[start, end)`, and
//! those that begin before the first bid or end after the last one count, too.

use piton::prelude::*;
use serde::{Deserialize, Serialize};

use super::events::Bid;
use super::highest::Ranked;

/// Counts the bids on each auction.
#[derive(Clone, Deserialize)]
pub(crate) struct BidsPerAuction {}

/// How many bids there were on an auction in a window.
#[derive(Clone, Debug, Serialize, Deserialize, Record)]
pub(crate) struct Counted {
    auction: u64,
    bids: u64,
    start: i64,
    end: i64,
}

/// An auction that had the most bids.
#[derive(Clone, Debug, Serialize, Deserialize, Record)]
pub(crate) struct HotAuction {
    auction: u64,
    num: u64,
}

impl Aggregate for BidsPerAuction {
    type In = Bid;
    type Sum = u64;
    type Out = Counted;

    fn key(&self, bid: &Bid) -> Key {
        bid.auction.into()
    }

    fn add(&self, bids: &mut u64, _bid: &Bid) {
        *bids += 1;
    }

    fn merge(&self, bids: &mut u64, others: &u64) {
        *bids += others;
    }

    fn result(&self, auction: &Key, TimeWindow { start, end }: TimeWindow, bids: &u64) -> Counted {
        let auction = auction.as_u64().expect("the keys are numbers of auctions");
        Counted { auction, bids: *bids, start, end }
    }
}

impl Ranked for Counted {
    type Answer = HotAuction;

    fn rank(&self) -> u64 {
        self.bids
    }

    fn window(&self) -> TimeWindow {
        TimeWindow { start: self.start, end: self.end }
    }

    fn answer(&self) -> HotAuction {
        HotAuction { auction: self.auction, num: self.bids }
    }
}
