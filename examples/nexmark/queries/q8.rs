//! q8: who has registered and offered something within the same ten seconds.
//!
//! First the sellers of each window, each once, then a join of these with the persons of the window: a row for each person,
//! however many auctions. Its `stime` is when the window begins.

use piton::join::{How, Join};
use piton::prelude::*;
use serde::{Deserialize, Serialize};

use super::events::{Auction, Person};

const WINDOW: i64 = 10_000;

/// Finds the sellers of each window; the topology says the same length as here.
#[derive(Clone, Deserialize)]
pub(crate) struct Sellers {}

/// Somebody who offered something in the window that begins at `start`.
#[derive(Clone, Debug, Serialize, Deserialize, Record)]
pub(crate) struct Seller {
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

/// Joins persons with the sellers of the same window.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSellers {}

/// Somebody who began to sell at once.
#[derive(Clone, Debug, Serialize, Deserialize, Record)]
pub(crate) struct NewSeller {
    id: u64,
    name: String,
    stime: i64,
}

impl Join for NewSellers {
    type Left = Person;
    type Right = Seller;
    type Out = NewSeller;

    fn how(&self) -> How {
        How::tumbling(WINDOW)
    }

    fn left_key(&self, person: &Person) -> Key {
        person.id.into()
    }

    fn right_key(&self, seller: &Seller) -> Key {
        seller.id.into()
    }

    fn join(&self, person: &Person, seller: Option<&Seller>) -> NewSeller {
        let stime = seller.expect("an inner join has pairs only").start;
        NewSeller { id: person.id, name: person.name.clone(), stime }
    }
}
