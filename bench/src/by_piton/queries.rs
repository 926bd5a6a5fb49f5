//! The operators of the queries, as a user writes them with the kit.

use piton::join::{How, Join};
use piton::prelude::*;
use serde::{Deserialize, Serialize};

use super::highest::Ranked;
use super::winning::Won;
use crate::answer::Row;
use crate::event::{Auction, Bid, Event, Person};

const WINDOW: i64 = 10_000;

fn offer(bid: &Bid, price: u64) -> Row {
    Row([bid.auction, bid.bidder, price, bid.time as u64, 0])
}

/// q0 to q2: the rows that a bid alone makes.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Offers {
    /// By how much prices are multiplied.
    times: u64,
}

impl Operator for Offers {
    type In = Event;
    type Out = Row;
    const HOLDS_ROWS: Option<bool> = Some(false);

    fn process(&mut self, event: &Event, ctx: &mut Context<Row>) -> Result {
        if let Some(bid) = event.bid() {
            ctx.emit(offer(&bid, bid.price * self.times));
        }
        Ok(())
    }
}

/// q0 through a keyed exchange.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyedOffers {}

impl Operator for KeyedOffers {
    type In = Bid;
    type Out = Row;
    const HOLDS_ROWS: Option<bool> = Some(false);

    fn key(&self, bid: &Bid) -> Key {
        bid.auction.into()
    }

    fn process(&mut self, bid: &Bid, ctx: &mut Context<Row>) -> Result {
        ctx.emit(offer(bid, bid.price));
        Ok(())
    }
}

/// q2.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SomeAuctions {}

impl Operator for SomeAuctions {
    type In = Event;
    type Out = Row;
    const HOLDS_ROWS: Option<bool> = Some(false);

    fn process(&mut self, event: &Event, ctx: &mut Context<Row>) -> Result {
        if let Some(bid) = event.bid().filter(|bid| bid.auction.is_multiple_of(123)) {
            ctx.emit(Row([bid.auction, bid.price, 0, 0, 0]));
        }
        Ok(())
    }
}

/// q3.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LocalItems {}

impl Join for LocalItems {
    type Left = Auction;
    type Right = Person;
    type Out = Row;

    fn how(&self) -> How {
        How::whole()
    }

    // A row without a key finds nobody, and is not kept either.
    fn left_key(&self, auction: &Auction) -> Key {
        if auction.is_of_category_10() { auction.seller.into() } else { Key::None }
    }

    fn right_key(&self, person: &Person) -> Key {
        if person.is_local() { person.id.into() } else { Key::None }
    }

    fn join(&self, auction: &Auction, person: Option<&Person>) -> Row {
        let person = person.expect("an inner join has pairs only");
        Row([person.name, person.city, person.state, auction.id, 0])
    }
}

/// q4, of the winning bids.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MeanOfCategory {}

/// How many auctions, and their prices added up.
const PRICES: ValueState<(u64, u64)> = ValueState::new("prices");

impl Operator for MeanOfCategory {
    type In = Won;
    type Out = Row;
    const HOLDS_ROWS: Option<bool> = Some(false);

    fn key(&self, won: &Won) -> Key {
        won.category.into()
    }

    fn process(&mut self, won: &Won, ctx: &mut Context<Row>) -> Result {
        ctx.state(PRICES).update(|(auctions, total)| {
            *auctions += 1;
            *total += won.price;
        })
    }

    fn close(&mut self, ctx: &mut Context<Row>) -> Result {
        for key in ctx.keys() {
            let category = key.as_u64().expect("the keys are numbers of categories");
            ctx.enter_key(key);
            if let Some(&(auctions, total)) = ctx.state(PRICES).get()? {
                ctx.emit(Row([category, total / auctions, 0, 0, 0]));
            }
        }
        Ok(())
    }
}

/// q5: counts by auction in sliding windows.
#[derive(Clone, Deserialize)]
pub(super) struct BidsPerAuction {}

/// How many bids there were on an auction in a window.
#[derive(Clone, Debug, Serialize, Deserialize, Record)]
pub(super) struct Counted {
    auction: u64,
    bids: u64,
    window: TimeWindow,
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

    fn result(&self, auction: &Key, window: TimeWindow, bids: &u64) -> Counted {
        Counted { auction: auction.as_u64().expect("the keys are numbers of auctions"), bids: *bids, window }
    }
}

impl Ranked for Counted {
    fn rank(&self) -> u64 {
        self.bids
    }

    fn window(&self) -> TimeWindow {
        self.window
    }

    fn answer(&self) -> Row {
        Row([self.auction, self.bids, self.window.end as u64, 0, 0])
    }
}

/// q6, of the winning bids.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MeanOfSeller {}

/// Time of the winning bid, auction and price of the last eleven auctions, in this order.
const LAST: ValueState<Vec<(i64, u64, u64)>> = ValueState::new("last");

impl Operator for MeanOfSeller {
    type In = Won;
    type Out = Row;
    const HOLDS_ROWS: Option<bool> = Some(false);

    fn key(&self, won: &Won) -> Key {
        won.seller.into()
    }

    fn process(&mut self, won: &Won, ctx: &mut Context<Row>) -> Result {
        ctx.state(LAST).update(|last| {
            let new = (won.time, won.auction, won.price);
            last.insert(last.partition_point(|earlier| *earlier < new), new);
            if last.len() > 11 {
                last.remove(0);
            }
        })
    }

    fn close(&mut self, ctx: &mut Context<Row>) -> Result {
        for key in ctx.keys() {
            let seller = key.as_u64().expect("the keys are numbers of sellers");
            ctx.enter_key(key);
            if let Some(last) = ctx.state(LAST).get()?.filter(|last| !last.is_empty()) {
                let total: u64 = last.iter().map(|(_, _, price)| price).sum();
                let mean = total / last.len() as u64;
                ctx.emit(Row([seller, mean, 0, 0, 0]));
            }
        }
        Ok(())
    }
}

/// q7.
impl Ranked for Bid {
    fn rank(&self) -> u64 {
        self.price
    }

    fn window(&self) -> TimeWindow {
        let start = self.time - self.time.rem_euclid(WINDOW);
        TimeWindow { start, end: start + WINDOW }
    }

    fn answer(&self) -> Row {
        offer(self, self.price)
    }
}

/// q8: the sellers of each window, each once.
#[derive(Clone, Deserialize)]
pub(super) struct Sellers {}

/// Somebody who offered something in the window that begins at `start`.
#[derive(Clone, Debug, Serialize, Deserialize, Record)]
pub(super) struct Seller {
    id: u64,
    start: i64,
}

impl Aggregate for Sellers {
    type In = Auction;
    type Sum = ();
    type Out = Seller;

    fn key(&self, auction: &Auction) -> Key {
        auction.seller.into()
    }

    fn add(&self, _seen: &mut (), _auction: &Auction) {}

    fn merge(&self, _seen: &mut (), _others: &()) {}

    fn result(&self, seller: &Key, window: TimeWindow, _seen: &()) -> Seller {
        Seller { id: seller.as_u64().expect("the keys are numbers of persons"), start: window.start }
    }
}

/// q8: the persons of the same window.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSellers {}

impl Join for NewSellers {
    type Left = Person;
    type Right = Seller;
    type Out = Row;

    fn how(&self) -> How {
        How::tumbling(WINDOW)
    }

    fn left_key(&self, person: &Person) -> Key {
        person.id.into()
    }

    fn right_key(&self, seller: &Seller) -> Key {
        seller.id.into()
    }

    fn join(&self, person: &Person, seller: Option<&Seller>) -> Row {
        Row([person.id, person.name, seller.expect("an inner join has pairs only").start as u64, 0, 0])
    }
}

/// q11 and q12: counts by bidder, in windows that the topology names.
#[derive(Clone, Deserialize)]
pub(super) struct BidsPerBidder {
    /// Whether the clock on the wall says which window it is, so that the windows are no part of the answer.
    by_the_wall: bool,
}

impl Aggregate for BidsPerBidder {
    type In = Bid;
    type Sum = u64;
    type Out = Row;

    fn key(&self, bid: &Bid) -> Key {
        bid.bidder.into()
    }

    fn add(&self, bids: &mut u64, _bid: &Bid) {
        *bids += 1;
    }

    fn merge(&self, bids: &mut u64, others: &u64) {
        *bids += others;
    }

    fn result(&self, bidder: &Key, window: TimeWindow, bids: &u64) -> Row {
        let bidder = bidder.as_u64().expect("the keys are numbers of persons");
        if self.by_the_wall {
            return Row([bidder, 0, 0, 0, *bids]);
        }
        Row([bidder, *bids, window.start as u64, window.end as u64, 0])
    }
}

/// The keyed count.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Count {}

const SEEN: ValueState<u64> = ValueState::new("seen");

impl Operator for Count {
    type In = Event;
    type Out = Row;
    const HOLDS_ROWS: Option<bool> = Some(false);

    fn key(&self, event: &Event) -> Key {
        event.subject().into()
    }

    fn process(&mut self, event: &Event, ctx: &mut Context<Row>) -> Result {
        let seen = ctx.state(SEEN).update(|seen| {
            *seen += 1;
            *seen
        })?;
        ctx.emit(Row([event.subject(), seen, 0, 0, 0]));
        Ok(())
    }
}
