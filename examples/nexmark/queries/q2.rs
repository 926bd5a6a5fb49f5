//! q2: auction and price of the bids on some auctions, those whose number is a multiple of 123.

use piton::prelude::*;
use serde::{Deserialize, Serialize};

use super::events::Bid;

/// Finds the bids on auctions whose number is a multiple of `every`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SomeAuctions {
    every: u64,
}

/// A price for an auction.
#[derive(Clone, Debug, Serialize, Deserialize, Record)]
pub(crate) struct Price {
    auction: u64,
    price: u64,
}

impl Operator for SomeAuctions {
    type In = Bid;
    type Out = Price;

    fn process(&mut self, bid: &Bid, ctx: &mut Context<Price>) -> Result {
        if bid.auction.is_multiple_of(self.every) {
            ctx.emit(Price { auction: bid.auction, price: bid.price });
        }
        Ok(())
    }
}
