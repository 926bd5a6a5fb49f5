//! The source of events, and the operators of all queries, under the names by which topology files ask for them.

mod events;
mod highest;
mod q0;
mod q1;
mod q11;
mod q2;
mod q3;
mod q4;
mod q5;
mod q6;
mod q7;
mod q8;
mod source;
mod winning;

use piton::Registry;

use events::{Auction, Bid, Only, Person};
use highest::Highest;

/// Returns the stock kinds and those of NEXMark.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::stock();
    registry.source::<source::Nexmark>("nexmark");
    registry.operator::<Only<Person>>("persons").operator::<Only<Auction>>("auctions").operator::<Only<Bid>>("bids");
    registry.operator::<q0::PassThrough>("pass_through");
    registry.operator::<q1::InEuros>("in_euros");
    registry.operator::<q2::SomeAuctions>("some_auctions");
    registry.join::<q3::LocalItems>("local_items");
    registry.operator::<winning::WinningBids>("winning_bids");
    registry.operator::<q4::MeanOfCategory>("mean_of_category");
    registry.aggregate::<q5::BidsPerAuction>("bids_per_auction");
    registry.operator::<Highest<q5::Counted>>("most_bids");
    registry.operator::<q6::MeanOfSeller>("mean_of_seller");
    registry.operator::<Highest<Bid>>("highest_bids");
    registry.aggregate::<q8::Sellers>("sellers");
    registry.join::<q8::NewSellers>("new_sellers");
    registry.aggregate::<q11::BidsPerBidder>("bids_per_bidder");
    registry
}
