//! What happens at an auction house: somebody registers, somebody offers an item, somebody bids.

use std::marker::PhantomData;

use nexmark::event;
use piton::prelude::*;
use serde::{Deserialize, Serialize};

/// Anything that happens.
#[derive(Clone, Debug, Serialize, Deserialize, Record)]
pub(crate) enum Event {
    Person(Person),
    Auction(Auction),
    Bid(Bid),
}

/// Somebody who registers.
#[derive(Clone, Debug, Serialize, Deserialize, Record)]
pub(crate) struct Person {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) email_address: String,
    pub(crate) credit_card: String,
    pub(crate) city: String,
    pub(crate) state: String,
    pub(crate) date_time: i64,
    pub(crate) extra: String,
}

/// An item that is offered from `date_time` to `expires`, both included.
#[derive(Clone, Debug, Serialize, Deserialize, Record)]
pub(crate) struct Auction {
    pub(crate) id: u64,
    pub(crate) item_name: String,
    pub(crate) description: String,
    pub(crate) initial_bid: u64,
    pub(crate) reserve: u64,
    pub(crate) date_time: i64,
    pub(crate) expires: i64,
    pub(crate) seller: u64,
    pub(crate) category: u64,
    pub(crate) extra: String,
}

/// A price that somebody offers for an item.
#[derive(Clone, Debug, Serialize, Deserialize, Record)]
pub(crate) struct Bid {
    pub(crate) auction: u64,
    pub(crate) bidder: u64,
    pub(crate) price: u64,
    pub(crate) channel: String,
    pub(crate) url: String,
    pub(crate) date_time: i64,
    pub(crate) extra: String,
}

impl From<event::Event> for Event {
    fn from(made: event::Event) -> Event {
        match made {
            event::Event::Person(made) => Event::Person(Person {
                id: made.id as u64,
                name: made.name,
                email_address: made.email_address,
                credit_card: made.credit_card,
                city: made.city,
                state: made.state,
                date_time: made.date_time as i64,
                extra: made.extra,
            }),
            event::Event::Auction(made) => Event::Auction(Auction {
                id: made.id as u64,
                item_name: made.item_name,
                description: made.description,
                initial_bid: made.initial_bid as u64,
                reserve: made.reserve as u64,
                date_time: made.date_time as i64,
                expires: made.expires as i64,
                seller: made.seller as u64,
                category: made.category as u64,
                extra: made.extra,
            }),
            event::Event::Bid(made) => Event::Bid(Bid {
                auction: made.auction as u64,
                bidder: made.bidder as u64,
                price: made.price as u64,
                channel: made.channel,
                url: made.url,
                date_time: made.date_time as i64,
                extra: made.extra,
            }),
        }
    }
}

/// One of the three kinds of events.
pub(crate) trait Happening: Record {
    /// Returns the event if it is of this kind.
    fn of(event: &Event) -> Option<&Self>;
}

impl Happening for Person {
    fn of(event: &Event) -> Option<&Person> {
        if let Event::Person(person) = event { Some(person) } else { None }
    }
}

impl Happening for Auction {
    fn of(event: &Event) -> Option<&Auction> {
        if let Event::Auction(auction) = event { Some(auction) } else { None }
    }
}

impl Happening for Bid {
    fn of(event: &Event) -> Option<&Bid> {
        if let Event::Bid(bid) = event { Some(bid) } else { None }
    }
}

/// Passes on the events of one kind.
#[derive(Clone, Deserialize)]
#[serde(bound = "", deny_unknown_fields)]
pub(crate) struct Only<T> {
    #[serde(skip)]
    of: PhantomData<fn() -> T>,
}

impl<T: Happening> Operator for Only<T> {
    type In = Event;
    type Out = T;

    fn process(&mut self, event: &Event, ctx: &mut Context<T>) -> Result {
        if let Some(happening) = T::of(event) {
            ctx.forward(happening);
        }
        Ok(())
    }
}
