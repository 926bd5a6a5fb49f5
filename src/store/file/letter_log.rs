//! The log of a region's dead letters: the copy from which their index is made again if the catalogue is lost.
//!
//! A commit appends the letters that it brings before anything else of it becomes durable. How much of the log counts,
//! its [`Extent`], is part of the commit's record: what a commit that never happened has appended lies beyond, and is
//! written over. The bytes are a function of the letters and of the commits that brought them, so that a log which is
//! lost can be made again from the index, byte by byte.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record;
use crate::ids::{SubtaskId, WindowId};
use crate::protocol::manifest::DeadLetter;

/// How much of a log is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Extent {
    /// How many letters.
    pub(super) total: u64,
    /// Where the last of them ends, in bytes.
    pub(super) end: u64,
}

/// By what a letter is told from all others of its region. The window is part of it: a subtask counts anew when its
/// chain has become another one.
pub(super) type Identity = (WindowId, SubtaskId, u64);

/// A letter, and the window whose commit has brought it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) commit: WindowId,
    pub(super) letter: DeadLetter,
}

/// Letters, each once and in order.
pub(super) type Letters = BTreeMap<Identity, Kept>;

pub(super) fn identity(letter: &DeadLetter) -> Identity {
    (letter.window, letter.subtask.clone(), letter.number)
}

/// The letters that one commit has brought.
#[derive(Debug, Serialize, Deserialize)]
struct Entry<T> {
    commit: WindowId,
    letters: Vec<T>,
}

/// Returns what is to be appended for letters, commit by commit.
pub(super) fn encode(letters: &Letters) -> Vec<u8> {
    let mut by_commit: BTreeMap<WindowId, Vec<&DeadLetter>> = BTreeMap::new();
    for kept in letters.values() {
        by_commit.entry(kept.commit).or_default().push(&kept.letter);
    }
    let mut bytes = Vec::new();
    for (commit, letters) in by_commit {
        bytes.extend(record::seal(&record::encode(&Entry { commit, letters })));
    }
    bytes
}

/// Returns the letters of a log up to where it counts, and what is wrong with it.
pub(super) fn decode(mut bytes: &[u8]) -> (Letters, Vec<String>) {
    let mut letters = Letters::new();
    let mut damage = Vec::new();
    while !bytes.is_empty() {
        let split = record::sealed_len(bytes).and_then(|len| bytes.split_at_checked(len));
        // What is damaged says nothing about what stands behind it.
        let (sealed, rest) = split.unwrap_or_else(|| bytes.split_at(next_entry(bytes)));
        bytes = rest;
        let entry = record::unseal(sealed).and_then(|body| {
            record::decode::<Entry<DeadLetter>>(body)
                .ok_or_else(|| "an entry is whole but cannot be understood".to_owned())
        });
        match entry {
            Ok(Entry { commit, letters: brought }) => {
                letters.extend(brought.into_iter().map(|letter| (identity(&letter), Kept { commit, letter })));
            }
            Err(reason) => damage.push(reason),
        }
    }
    (letters, damage)
}

/// Returns where the entry after a damaged one may begin.
fn next_entry(bytes: &[u8]) -> usize {
    let found = bytes[1..].windows(record::MAGIC.len()).position(|part| part == record::MAGIC);
    found.map_or(bytes.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters() -> Letters {
        let letter = |window, number, record: &str| DeadLetter {
            operator: "parse".to_owned(),
            subtask: SubtaskId::new("in", 2),
            number,
            window: WindowId(window),
            position: 10 * number,
            reason: "a panic".to_owned(),
            record: record.to_owned(),
            kept: true,
        };
        let all = [(3, letter(2, 1, "[1]")), (3, letter(3, 2, "[2]")), (9, letter(8, 3, &"x".repeat(9_000)))];
        all.into_iter().map(|(commit, letter)| (identity(&letter), Kept { commit: WindowId(commit), letter })).collect()
    }

    #[test]
    fn a_log_comes_back_and_is_made_again_byte_by_byte() {
        let all = letters();
        // As two commits append it.
        let (first, last): (Letters, Letters) = all.clone().into_iter().partition(|(_, kept)| kept.commit.0 == 3);
        let appended = [encode(&first), encode(&last)].concat();
        assert_eq!(decode(&appended), (all.clone(), Vec::new()));
        assert!(encode(&all) == appended);
        assert_eq!(decode(&[]), (Letters::new(), Vec::new()));
    }

    #[test]
    fn any_damage_is_noticed_and_takes_no_more_than_its_entry() {
        let log = encode(&letters());
        for bit in 0..log.len() * 8 {
            let mut flipped = log.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (found, damage) = decode(&flipped);
            assert!(!damage.is_empty() && found.len() < 3, "bit {bit}");
            assert!(found.iter().all(|(identity, kept)| letters()[identity] == *kept), "bit {bit}");
            assert!(!found.is_empty(), "bit {bit}: the other entry is whole");
        }
        for len in 1..log.len() {
            let (found, damage) = decode(&log[..len]);
            assert_eq!(damage.is_empty(), encode(&found).len() == len, "length {len}");
        }
    }
}
