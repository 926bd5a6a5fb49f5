//! What q4 and q6 have in common: the winning bid of each auction, the highest one while it lasts.
//!
//! An auction may come after its bids: those wait until the watermark says that it cannot come any more, or not as early
//! as it would have to. It lasts until the watermark has reached its end, and both ends belong to it. Then its winning bid
//! comes, if there was any, and nothing is kept.
//!
//! It is the operator of `examples/nexmark`, over compact rows.
//!
//! Chosen: the reserve of an auction is not looked at, as the benchmark's SQL does not. Of two bids with the same price, the
//! earlier one wins.

use piton::prelude::*;
use serde::{Deserialize, Serialize};

use crate::event::{Auction, Bid};

/// Finds the winning bid of each auction.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WinningBids {}

/// The winning bid of an auction that is over.
#[derive(Clone, Debug, Serialize, Deserialize, Record)]
pub(super) struct Won {
    pub(super) auction: u64,
    pub(super) category: u64,
    pub(super) seller: u64,
    pub(super) price: u64,
    pub(super) time: i64,
}

/// A price, and when it was offered.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Offered {
    price: u64,
    time: i64,
}

/// An auction that is not over, as far as it is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Open {
    category: u64,
    seller: u64,
    time: i64,
    expires: i64,
    best: Option<Offered>,
}

const OPEN: ValueState<Open> = ValueState::new("open");
/// Bids on an auction that has not come.
const WAITING: ListState<Offered> = ListState::new("waiting");

impl Open {
    /// Returns whether a bid wins over all before it.
    fn is_led_by(&self, bid: Offered) -> bool {
        let rank = |bid: Offered| (bid.price, std::cmp::Reverse(bid.time));
        (self.time..=self.expires).contains(&bid.time) && self.best.is_none_or(|best| rank(bid) > rank(best))
    }

    fn take(&mut self, bid: Offered) {
        if self.is_led_by(bid) {
            self.best = Some(bid);
        }
    }
}

impl Operator for WinningBids {
    type In = Either<Auction, Bid>;
    type Out = Won;
    const HOLDS_ROWS: Option<bool> = Some(false);

    fn key(&self, record: Either<&Auction, &Bid>) -> Key {
        match record {
            Either::Left(auction) => auction.id.into(),
            Either::Right(bid) => bid.auction.into(),
        }
    }

    fn process(&mut self, record: Either<&Auction, &Bid>, ctx: &mut Context<Won>) -> Result {
        match record {
            Either::Left(auction) => {
                let Auction { category, seller, time, expires, .. } = *auction;
                let mut open = Open { category, seller, time, expires, best: None };
                for bid in ctx.list_state(WAITING).take()? {
                    open.take(bid);
                }
                ctx.state(OPEN).set(open)?;
                ctx.timer_at(expires)
            }
            Either::Right(&Bid { price, time, .. }) => {
                let bid = Offered { price, time };
                if let Some(open) = ctx.state(OPEN).get()? {
                    // Most bids change nothing: what is only read is neither noted nor written again.
                    let leads = open.is_led_by(bid);
                    return if leads { ctx.state(OPEN).modify(|open| open.take(bid)).map(drop) } else { Ok(()) };
                }
                ctx.list_state(WAITING).push(bid)?;
                ctx.timer_at(time)
            }
        }
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<Won>) -> Result {
        let Some(open) = ctx.state(OPEN).get()? else {
            return drop_waiting(timer.at, ctx);
        };
        if open.expires > timer.at {
            // The timer of a bid that has waited for the auction.
            return Ok(());
        }
        let auction = ctx.key().as_u64().expect("the keys are numbers of auctions");
        if let Some(Open { category, seller, best: Some(best), .. }) = ctx.state(OPEN).take()? {
            ctx.emit(Won { auction, category, seller, price: best.price, time: best.time });
        }
        Ok(())
    }
}

/// Drops the bids for which an auction would have had to come up to a moment.
fn drop_waiting(until: i64, ctx: &mut Context<Won>) -> Result {
    for bid in ctx.list_state(WAITING).take()? {
        if bid.time > until {
            ctx.list_state(WAITING).push(bid)?;
        }
    }
    Ok(())
}
