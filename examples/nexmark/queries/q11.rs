//! q11: how many bids somebody makes while active, that is with less than ten seconds from one bid to the next.
//! q12: how many bids somebody makes in each ten seconds of the clock on the wall.
//!
//! Both count bids by bidder; which windows these are, the topologies say. Chosen for q11: bids that are exactly ten seconds
//! apart belong to two sessions, and a session ends ten seconds after its last bid. The windows of q12 depend on how
//! fast it runs: what is certain is how many bids of a bidder they have together.

use piton::prelude::*;
use serde::{Deserialize, Serialize};

use super::events::Bid;

/// Counts the bids of each bidder.
#[derive(Clone, Deserialize)]
pub(crate) struct BidsPerBidder {}

/// How many bids somebody made in a window.
#[derive(Clone, Debug, Serialize, Deserialize, Record)]
pub(crate) struct Activity {
    bidder: u64,
    bid_count: u64,
    starttime: i64,
    endtime: i64,
}

impl Aggregate for BidsPerBidder {
    type In = Bid;
    type Sum = u64;
    type Out = Activity;

    fn key(&self, bid: &Bid) -> Key {
        bid.bidder.into()
    }

    fn add(&self, bids: &mut u64, _bid: &Bid) {
        *bids += 1;
    }

    fn merge(&self, bids: &mut u64, others: &u64) {
        *bids += others;
    }

    fn result(&self, bidder: &Key, window: TimeWindow, bids: &u64) -> Activity {
        let bidder = bidder.as_u64().expect("the keys are numbers of persons");
        Activity { bidder, bid_count: *bids, starttime: window.start, endtime: window.end }
    }
}
