//! q1: all bids, with the price in euros instead of dollars: 0.908 of it.
//!
//! Chosen: prices stay integers. 0.908 × price has three decimals, so the answer is in thousandths: 908 × price.

use piton::prelude::*;
use serde::Deserialize;

use super::events::Bid;
use super::q0::Offer;

/// Converts the price of every bid.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InEuros {}

impl Operator for InEuros {
    type In = Bid;
    type Out = Offer;

    fn process(&mut self, bid: &Bid, ctx: &mut Context<Offer>) -> Result {
        ctx.emit(Offer::from(bid).at(bid.price * 908));
        Ok(())
    }
}
