//! q6: for each seller, the mean price of the last auctions that somebody won.
//!
//! Chosen: "last" is by the time of the winning bid, then by the number of the auction, and the SQL's `ROWS BETWEEN 10 PRECEDING
//! AND CURRENT ROW` are eleven auctions (the topology says how many). As in q4, an answer comes once, when the input ends, for
//! the newest auction of a seller, and is rounded down.

use piton::prelude::*;
use serde::{Deserialize, Serialize};

use super::winning::Won;

/// Computes the mean of the last prices of each seller.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MeanOfSeller {
    /// How many auctions of a seller count.
    auctions: usize,
}

/// The mean of the last winning bids of a seller.
#[derive(Clone, Debug, Serialize, Deserialize, Record)]
pub(crate) struct SellerMean {
    seller: u64,
    avg_price: u64,
}

/// Time of the winning bid, auction and price of the last auctions, in this order.
const LAST: ValueState<Vec<(i64, u64, u64)>> = ValueState::new("last");

impl Operator for MeanOfSeller {
    type In = Won;
    type Out = SellerMean;

    fn key(&self, won: &Won) -> Key {
        won.seller.into()
    }

    fn process(&mut self, won: &Won, ctx: &mut Context<SellerMean>) -> Result {
        ctx.state(LAST).update(|last| {
            // Auctions come in the order of their ends, so an older bid may come later.
            let new = (won.date_time, won.auction, won.price);
            last.insert(last.partition_point(|earlier| *earlier < new), new);
            if last.len() > self.auctions {
                last.remove(0);
            }
        })
    }

    fn close(&mut self, ctx: &mut Context<SellerMean>) -> Result {
        for key in ctx.keys() {
            let seller = key.as_u64().expect("the keys are numbers of sellers");
            ctx.enter_key(key);
            if let Some(last) = ctx.state(LAST).get()?.filter(|last| !last.is_empty()) {
                let total: u64 = last.iter().map(|(_, _, price)| price).sum();
                let avg_price = total / last.len() as u64;
                ctx.emit(SellerMean { seller, avg_price });
            }
        }
        Ok(())
    }
}
