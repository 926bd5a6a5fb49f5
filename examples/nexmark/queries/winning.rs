//! What q4 and q6 have in common: the winning bid of each auction, the highest one while it lasts.
//!
//! An auction may come after its bids: those wait until the watermark says that it cannot come any more, or not as early
//! as it would have to. It lasts until the watermark has reached its end, and both ends belong to it. Then its winning bid
//! comes, if there was any, and nothing is kept.
//!
//! Chosen: the reserve of an auction is not looked at, as the benchmark's SQL does not. Of two bids with the same price, the
//! earlier one wins.

use piton::prelude::*;
use serde::{Deserialize, Serialize};

use super::events::{Auction, Bid};

/// Finds the winning bid of each auction.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WinningBids {}

/// The winning bid of an auction that is over.
#[derive(Clone, Debug, Serialize, Deserialize, Record)]
pub(crate) struct Won {
    pub(crate) auction: u64,
    pub(crate) category: u64,
    pub(crate) seller: u64,
    pub(crate) price: u64,
    pub(crate) date_time: i64,
}

/// A price, and when it was offered.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Offered {
    price: u64,
    date_time: i64,
}

/// An auction that is not over, as far as it is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Open {
    category: u64,
    seller: u64,
    date_time: i64,
    expires: i64,
    best: Option<Offered>,
}

const OPEN: ValueState<Open> = ValueState::new("open");
/// Bids on an auction that has not come.
const WAITING: ListState<Offered> = ListState::new("waiting");

impl Open {
    /// Returns whether a bid wins over all before it.
    fn is_led_by(&self, bid: Offered) -> bool {
        let rank = |bid: Offered| (bid.price, std::cmp::Reverse(bid.date_time));
        (self.date_time..=self.expires).contains(&bid.date_time) && self.best.is_none_or(|best| rank(bid) > rank(best))
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

    fn key(&self, record: Either<&Auction, &Bid>) -> Key {
        match record {
            Either::Left(auction) => auction.id.into(),
            Either::Right(bid) => bid.auction.into(),
        }
    }

    fn process(&mut self, record: Either<&Auction, &Bid>, ctx: &mut Context<Won>) -> Result {
        match record {
            Either::Left(auction) => {
                let Auction { category, seller, date_time, expires, .. } = *auction;
                let mut open = Open { category, seller, date_time, expires, best: None };
                for bid in ctx.list_state(WAITING).take()? {
                    open.take(bid);
                }
                ctx.state(OPEN).set(open)?;
                ctx.timer_at(expires)
            }
            Either::Right(&Bid { price, date_time, .. }) => {
                let bid = Offered { price, date_time };
                if let Some(open) = ctx.state(OPEN).get()? {
                    // Most bids change nothing: what is only read is neither noted nor written again.
                    let leads = open.is_led_by(bid);
                    return if leads { ctx.state(OPEN).modify(|open| open.take(bid)).map(drop) } else { Ok(()) };
                }
                ctx.list_state(WAITING).push(bid)?;
                ctx.timer_at(date_time)
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
            ctx.emit(Won { auction, category, seller, price: best.price, date_time: best.date_time });
        }
        Ok(())
    }
}

/// Drops the bids for which an auction would have had to come up to a moment.
fn drop_waiting(until: i64, ctx: &mut Context<Won>) -> Result {
    for bid in ctx.list_state(WAITING).take()? {
        if bid.date_time > until {
            ctx.list_state(WAITING).push(bid)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use piton::harness::Harness;

    use super::*;

    fn auction(date_time: i64, expires: i64) -> Auction {
        let texts = String::new;
        Auction {
            id: 7,
            item_name: texts(),
            description: texts(),
            initial_bid: 1,
            reserve: 1_000,
            date_time,
            expires,
            seller: 3,
            category: 10,
            extra: texts(),
        }
    }

    fn bid(date_time: i64, price: u64) -> Bid {
        let texts = String::new;
        Bid { auction: 7, bidder: 1, price, channel: texts(), url: texts(), date_time, extra: texts() }
    }

    fn won(harness: &Harness<WinningBids>) -> Vec<(u64, i64)> {
        harness.output().iter().map(|won| (won.price, won.date_time)).collect()
    }

    #[test]
    fn bids_wait_for_their_auction_and_both_ends_belong_to_it() -> Result {
        for (date_time, price, is_won) in [(99, 5, false), (100, 5, true), (200, 5, true), (201, 5, false)] {
            let mut harness = Harness::new(|| WinningBids {});
            harness.push_right_at(date_time, bid(date_time, price))?.checkpoint()?.crash()?;
            harness.push_left_at(100, auction(100, 200))?.watermark(199)?;
            assert!(won(&harness).is_empty(), "it is not over");
            harness.checkpoint()?.crash()?.watermark(300)?;
            assert_eq!(won(&harness), if is_won { vec![(price, date_time)] } else { Vec::new() }, "bid at {date_time}");
        }
        Ok(())
    }

    #[test]
    fn the_highest_wins_and_of_equals_the_earliest() -> Result {
        let mut harness = Harness::new(|| WinningBids {});
        harness.push_left_at(100, auction(100, 200))?;
        for (date_time, price) in [(120, 5), (110, 5), (130, 4), (115, 5)] {
            harness.push_right_at(date_time, bid(date_time, price))?;
        }
        harness.watermark(200)?;
        assert_eq!(won(&harness), [(5, 110)]);
        Ok(())
    }

    #[test]
    fn nothing_is_kept_when_an_auction_is_over_or_cannot_come_any_more() -> Result {
        let mut harness = Harness::new(|| WinningBids {});
        harness.push_right_at(90, bid(90, 1))?.push_right_at(95, bid(95, 2))?.watermark(92)?;
        assert_eq!(harness.context()?.keys().len(), 1);
        harness.watermark(95)?;
        assert!(harness.context()?.keys().is_empty());
        harness.push_left_at(100, auction(100, 200))?.push_right_at(150, bid(150, 3))?.watermark(200)?;
        harness.push_right_at(210, bid(210, 9))?.watermark(210)?;
        assert_eq!(won(&harness), [(3, 150)]);
        assert!(harness.context()?.keys().is_empty());
        Ok(())
    }
}
