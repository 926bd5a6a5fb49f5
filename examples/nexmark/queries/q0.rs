//! q0: all bids, as they are. It measures what everything else costs.

use piton::prelude::*;
use serde::{Deserialize, Serialize};

use super::events::Bid;

/// Passes every bid through.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PassThrough {}

/// What q0, q1 and q7 say of a bid.
#[derive(Clone, Debug, Serialize, Deserialize, Record)]
pub(crate) struct Offer {
    auction: u64,
    bidder: u64,
    price: u64,
    #[serde(rename = "dateTime")]
    date_time: i64,
    extra: String,
}

impl From<&Bid> for Offer {
    fn from(bid: &Bid) -> Offer {
        Offer {
            auction: bid.auction,
            bidder: bid.bidder,
            price: bid.price,
            date_time: bid.date_time,
            extra: bid.extra.clone(),
        }
    }
}

impl Offer {
    /// Returns the same offer with another price.
    pub(crate) fn at(self, price: u64) -> Offer {
        Offer { price, ..self }
    }
}

impl Operator for PassThrough {
    type In = Bid;
    type Out = Offer;

    fn process(&mut self, bid: &Bid, ctx: &mut Context<Offer>) -> Result {
        ctx.emit(Offer::from(bid));
        Ok(())
    }
}
