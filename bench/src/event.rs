//! What happens at an auction house, in 40 bytes: the events of NEXMark without the texts that no query looks at.
//!
//! The generator makes one or two million events a second and would hide what is measured, so events are made once and
//! kept in a file. A run reads them into memory before the clock starts.

use std::fs::File;
use std::hash::BuildHasher;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use foldhash::fast::FixedState;
use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event::Event as Made;
use piton::prelude::*;
use serde::{Deserialize, Serialize};

/// The time of the first event: 2020-01-01 00:00 UTC.
const BASE_TIME: u64 = 1_577_836_800_000;
const KIND: u32 = 56;
const BYTES: usize = 40;
/// How many keys the keyed count has.
pub(crate) const KEYS: u64 = 1_000_000;

/// Anything that happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, Record)]
pub(crate) struct Event {
    /// The kind above the time, in ms since 1970.
    kind_and_time: u64,
    /// Four numbers; what they are depends on the kind.
    words: [u64; 4],
}

/// What an event is.
pub(crate) enum Happening {
    Person(Person),
    Auction(Auction),
    Bid(Bid),
    /// A key to be counted.
    Key,
}

/// Somebody who registers. Texts are told apart by numbers made of them.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, Record)]
pub(crate) struct Person {
    pub(crate) id: u64,
    pub(crate) name: u64,
    pub(crate) city: u64,
    pub(crate) state: u64,
    pub(crate) time: i64,
}

/// An item that is offered from `time` to `expires`, both included.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, Record)]
pub(crate) struct Auction {
    pub(crate) id: u64,
    pub(crate) seller: u64,
    pub(crate) category: u64,
    pub(crate) expires: i64,
    pub(crate) time: i64,
}

/// A price that somebody offers for an item.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, Record)]
pub(crate) struct Bid {
    pub(crate) auction: u64,
    pub(crate) bidder: u64,
    pub(crate) price: u64,
    pub(crate) time: i64,
}

impl Auction {
    /// Whether q3 asks for it.
    #[inline]
    pub(crate) fn is_of_category_10(&self) -> bool {
        self.category == 10
    }
}

impl Person {
    /// Whether q3 asks for who lives there: in Oregon, Idaho or California.
    #[inline]
    pub(crate) fn is_local(&self) -> bool {
        [*b"or", *b"id", *b"ca"].iter().any(|state| self.state == u64::from(u16::from_le_bytes(*state)))
    }
}

impl Event {
    /// Returns when it happens, in ms since 1970.
    #[inline]
    pub(crate) fn time(&self) -> i64 {
        (self.kind_and_time & ((1 << KIND) - 1)) as i64
    }

    /// Returns the first number: of the person, of the auction, or the key to be counted.
    #[inline]
    pub(crate) fn subject(&self) -> u64 {
        self.words[0]
    }

    /// Returns its kind, 0 for persons, 1 for auctions and 2 for bids, and four numbers.
    #[cfg(feature = "arrow")]
    #[inline]
    pub(crate) fn numbers(&self) -> (i64, [i64; 4]) {
        ((self.kind_and_time >> KIND) as i64, self.words.map(|word| word as i64))
    }

    /// Returns what it is.
    #[inline]
    pub(crate) fn happening(&self) -> Happening {
        let time = self.time();
        let [a, b, c, d] = self.words;
        match self.kind_and_time >> KIND {
            0 => Happening::Person(Person { id: a, name: b, city: c, state: d, time }),
            1 => Happening::Auction(Auction { id: a, seller: b, category: c, expires: d as i64, time }),
            2 => Happening::Bid(Bid { auction: a, bidder: b, price: c, time }),
            _ => Happening::Key,
        }
    }

    /// Returns the bid if it is one.
    #[inline]
    pub(crate) fn bid(&self) -> Option<Bid> {
        if let Happening::Bid(bid) = self.happening() { Some(bid) } else { None }
    }

    fn from_made(made: Made) -> Event {
        let number = |text: &str| FixedState::with_seed(1).hash_one(text);
        let (kind, time, words) = match made {
            Made::Person(made) => {
                let state: [u8; 2] = made.state.as_bytes().try_into().expect("states have two letters");
                let state = u64::from(u16::from_le_bytes(state));
                (0, made.date_time, [made.id as u64, number(&made.name), number(&made.city), state])
            }
            Made::Auction(made) => {
                let words = [made.id as u64, made.seller as u64, made.category as u64, made.expires];
                (1, made.date_time, words)
            }
            Made::Bid(made) => (2, made.date_time, [made.auction as u64, made.bidder as u64, made.price as u64, 0]),
        };
        Event { kind_and_time: kind << KIND | time, words }
    }

    fn bytes(&self) -> [u8; BYTES] {
        let [a, b, c, d] = self.words;
        let mut bytes = [0; BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip([self.kind_and_time, a, b, c, d]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Event {
        let word = |at: usize| u64::from_le_bytes(bytes[at * 8..][..8].try_into().expect("eight bytes"));
        Event { kind_and_time: word(0), words: [word(1), word(2), word(3), word(4)] }
    }
}

/// Returns the first events of an auction house, 10,000 for each second of event time.
pub(crate) fn generate(events: usize) -> impl Iterator<Item = Event> {
    let config = NexmarkConfig { base_time: BASE_TIME, ..NexmarkConfig::default() };
    EventGenerator::new(config).take(events).map(Event::from_made)
}

/// Returns keys to be counted, each as likely as any other.
pub(crate) fn random_keys(events: usize) -> Vec<Event> {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut key = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % KEYS
    };
    (0..events).map(|_| Event { kind_and_time: 3 << KIND, words: [key(), 0, 0, 0] }).collect()
}

/// Returns the file with so many events, which is made if it is not there.
pub(crate) fn cached(folder: &Path, events: usize) -> io::Result<PathBuf> {
    let path = folder.join(format!("nexmark-{events}.events"));
    if path.exists() {
        return Ok(path);
    }
    std::fs::create_dir_all(folder)?;
    // Under its name only when it is whole: an interrupted run leaves nothing that is taken for events.
    let unfinished = path.with_extension("unfinished");
    let mut file = BufWriter::new(File::create(&unfinished)?);
    for event in generate(events) {
        file.write_all(&event.bytes())?;
    }
    file.into_inner()?.sync_all()?;
    std::fs::rename(&unfinished, &path)?;
    Ok(path)
}

/// Reads the events of a file.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Event>> {
    let file = File::open(path)?;
    let events = file.metadata()?.len() as usize / BYTES;
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut read = Vec::with_capacity(events);
    let mut bytes = [0; BYTES];
    for _ in 0..events {
        file.read_exact(&mut bytes)?;
        read.push(Event::from_bytes(&bytes));
    }
    Ok(read)
}
