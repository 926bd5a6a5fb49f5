//! What was under way: records that were packed are read as what they were, or are an error; what was read can be
//! packed and read again, and is the same.
//!
//! The first byte of the input says of what type the batch is that follows, or that it is all that was under way in the
//! channels of a subtask.

use std::collections::BTreeMap;
use std::sync::Arc;

use piton::fuzzing::{read_in_flight, write_in_flight};
use piton::host::{AnyOperator, AnySink, AnySource, Hosted, Keyer};
use piton::prelude::*;
use piton::protocol::capture::InFlight;
use piton::protocol::chain::{PackedChannel, Take};
use piton::protocol::workshop::Workshop;
use piton::{Batch, InputRef, Inputs, Rows};
use serde::{Deserialize, Serialize};

use super::input::Input;

/// Something of everything.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Record)]
pub struct Order {
    pub id: u64,
    pub name: String,
    pub price: f32,
    pub lines: Vec<Line>,
    pub notes: BTreeMap<String, Option<i8>>,
    #[serde(default)]
    pub paid: bool,
    pub letter: char,
}

/// A part of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Record)]
pub enum Line {
    #[default]
    Empty,
    Piece(u16, f64),
    Many {
        of: Vec<u128>,
    },
}

type Two = Either<Order, (u64, String)>;

pub fn check(input: &[u8]) {
    let mut input = Input(input);
    match input.byte() % 8 {
        0 => batch::<Order>(0, input.0),
        1 => batch::<(u64, String)>(0, input.0),
        2 => batch::<()>(0, input.0),
        3 => batch::<Option<Vec<Option<char>>>>(0, input.0),
        4 => batch::<Two>(1, input.0),
        _ => channels(input.0),
    }
}

fn batch<T: Inputs>(port: usize, bytes: &[u8]) {
    let Ok(read) = T::unpack(port, bytes) else { return };
    assert!(T::batch(port, &read).is_some(), "a batch of another type than was asked for");
    let packed = read.pack().expect("records that were read can be packed");
    let again = T::unpack(port, &packed).expect("records that were packed can be read");
    same(&read, &again);
}

fn same(one: &Batch, other: &Batch) {
    assert!(one.same(&**other), "other records than were packed");
    assert!(one.times().is_none_or(|times| times.len() == one.len()));
    for row in 0..one.len().min(4) {
        assert_eq!(one.show(row), other.show(row));
    }
}

fn channels(chunk: &[u8]) {
    let take = |was, port, take| PackedChannel { was, channel: was, port, take };
    let all = vec![take(0, 0, Take::All), take(1, 1, Take::All)];
    if let Ok(read) = read_in_flight("join", Arc::new(Shop), chunk.to_vec(), all.clone()) {
        let mut channels = vec![Vec::new(), Vec::new()];
        read.iter().for_each(|(channel, element)| channels[*channel].push(element.clone()));
        let written = write_in_flight("join", Arc::new(Shop), channels).expect("what was read can be written");
        let again = match written {
            Some(written) => {
                let records = read.iter().map(|(_, element)| rows(element)).sum::<u64>();
                assert_eq!(written.records.iter().sum::<u64>(), records);
                read_in_flight("join", Arc::new(Shop), written.bytes, all).expect("what was written can be read")
            }
            None => Vec::new(),
        };
        assert_eq!(again.len(), read.len());
        for ((channel, element), (other_channel, other)) in read.iter().zip(&again) {
            assert_eq!(channel, other_channel);
            same_element(element, other);
        }
    }
    // Shared out among two subtasks, no record gets lost or comes twice.
    let records = |take: Take| -> Option<u64> {
        let part = vec![PackedChannel { was: 1, channel: 0, port: 1, take }];
        let read = read_in_flight("join", Arc::new(Shop), chunk.to_vec(), part).ok()?;
        Some(read.iter().map(|(_, element)| rows(element)).sum())
    };
    let parts = [records(Take::OfGroups(0..3, 8)), records(Take::OfGroups(3..8, 8))];
    assert_eq!(records(Take::Records), parts.into_iter().sum());
}

fn rows(element: &InFlight) -> u64 {
    match element {
        InFlight::Batch(batch) => batch.len() as u64,
        InFlight::Watermark(_) | InFlight::Marker(_) => 0,
    }
}

fn same_element(one: &InFlight, other: &InFlight) {
    match (one, other) {
        (InFlight::Batch(one), InFlight::Batch(other)) => same(one, other),
        (InFlight::Watermark(one), InFlight::Watermark(other)) => assert_eq!(one, other),
        (InFlight::Marker(one), InFlight::Marker(other)) => assert_eq!(one, other),
        _ => panic!("another element than was written"),
    }
}

/// Writes what is under way in two channels, for a seed.
pub fn seed(orders: Vec<Order>, pairs: Vec<(u64, String)>) -> Vec<u8> {
    let (orders, pairs): (Batch, Batch) = (Arc::new(Rows::new(orders)), Arc::new(Rows::with_times(pairs, vec![5, 6])));
    let channels = vec![
        vec![InFlight::Batch(orders), InFlight::Marker(WindowId(3)), InFlight::Watermark(-7)],
        vec![InFlight::Watermark(4), InFlight::Batch(pairs)],
    ];
    let written = write_in_flight("join", Arc::new(Shop), channels).expect("what is under way can be written");
    written.expect("there is something under way").bytes
}

/// Reads both.
struct Join;

impl Operator for Join {
    type In = Two;
    type Out = u64;

    fn key(&self, record: InputRef<'_, Self>) -> Key {
        match record {
            Either::Left(order) => Key::from(order.id),
            Either::Right((_, name)) => Key::from(name),
        }
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn process(&mut self, _record: InputRef<'_, Self>, _ctx: &mut Context<u64>) -> Result {
        Ok(())
    }
}

struct Shop;

impl Workshop for Shop {
    fn source(&self) -> Result<Box<dyn AnySource>> {
        Err(Error::failed("there is none"))
    }

    fn operator(&self, _member: usize) -> Result<Box<dyn AnyOperator>> {
        Ok(Box::new(Hosted::new(Arc::new(|| Ok(Join)), Subtask::single("join"), 8)?))
    }

    fn sink(&self) -> Result<Box<dyn AnySink>> {
        Err(Error::failed("there is none"))
    }

    fn keyer(&self, _edge: usize) -> Result<Box<dyn Keyer>> {
        Err(Error::failed("there is none"))
    }

    fn unpack(&self, port: usize, bytes: &[u8]) -> Result<Batch> {
        Two::unpack(port, bytes)
    }
}
