//! The queries that are measured, by the names they have in NEXMark.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Query {
    /// All bids.
    Q0,
    /// All bids, through one keyed exchange.
    Q0x,
    /// All bids, in thousandths of a euro.
    Q1,
    /// The bids on auctions whose number is a multiple of 123.
    Q2,
    /// Who offers something of category 10 in three states.
    Q3,
    /// The mean winning bid of each category.
    Q4,
    /// The auctions with the most bids in 10 s, every 2 s.
    Q5,
    /// The mean of the last eleven winning bids of each seller.
    Q6,
    /// The highest bids of each 10 s.
    Q7,
    /// Who registers and offers something within the same 10 s.
    Q8,
    /// How many bids somebody makes in a session.
    Q11,
    /// How many bids somebody makes in 10 s of the clock on the wall.
    Q12,
    /// How often each of a million keys was seen, told with each.
    Kc,
}

impl Query {
    /// Returns its name.
    pub(crate) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Whether it asks for event time.
    pub(crate) fn has_event_time(self) -> bool {
        use Query::{Q4, Q5, Q6, Q7, Q8, Q11};
        matches!(self, Q4 | Q5 | Q6 | Q7 | Q8 | Q11)
    }
}
