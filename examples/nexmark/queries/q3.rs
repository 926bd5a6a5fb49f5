//! q3: who offers something in category 10 and lives in Oregon, Idaho or California: name, city, state and auction.
//!
//! Chosen: states are written in small letters, as the generator does. A person may come after its auction, by any
//! time: both wait for the other for ever, as the query says.

use piton::join::{How, Join};
use piton::prelude::*;
use serde::{Deserialize, Serialize};

use super::events::{Auction, Person};

const CATEGORY: u64 = 10;
const STATES: [&str; 3] = ["or", "id", "ca"];

/// Joins auctions with their sellers.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LocalItems {}

/// An auction, and who offers it from where.
#[derive(Clone, Debug, Serialize, Deserialize, Record)]
pub(crate) struct LocalItem {
    name: String,
    city: String,
    state: String,
    id: u64,
}

impl Join for LocalItems {
    type Left = Auction;
    type Right = Person;
    type Out = LocalItem;

    fn how(&self) -> How {
        How::whole()
    }

    // A row without a key finds nobody, and is not kept either: this is the WHERE of the query.
    fn left_key(&self, auction: &Auction) -> Key {
        if auction.category == CATEGORY { auction.seller.into() } else { Key::None }
    }

    fn right_key(&self, person: &Person) -> Key {
        if STATES.contains(&&*person.state) { person.id.into() } else { Key::None }
    }

    fn join(&self, auction: &Auction, person: Option<&Person>) -> LocalItem {
        let Person { name, city, state, .. } = person.expect("an inner join has pairs only").clone();
        LocalItem { name, city, state, id: auction.id }
    }
}
