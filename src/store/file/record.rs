//! What is written down for one committed window, and how it is sealed.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::letter_log::Extent;
use crate::ids::WindowId;
use crate::protocol::manifest::{JoinedOutput, Manifest};
use crate::protocol::mutant::{self, Mutant};
use crate::store::StoreError;
use crate::store::history::History;

/// One committed window: all that a catalogue that was lost needs to learn again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) manifest: Manifest,
    /// What became visible with it.
    pub(super) joined: Vec<JoinedOutput>,
    /// How many joined outputs the region has committed in all, these among them: by it a loss is noticed.
    pub(super) joined_total: u64,
    /// How much of the log of dead letters the region has committed.
    #[serde(default)]
    pub(super) letters: Extent,
    /// Where the region went back to.
    #[serde(default, skip_serializing_if = "History::is_straight")]
    pub(super) history: History,
}

/// Where the record of a window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Place {
    /// In the catalogue.
    Catalogue,
    /// In a file of its own, of this length and checksum.
    File { len: u64, checksum: u64 },
}

/// Stands in a slot for a record that is too long for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Reference {
    pub(super) region: String,
    pub(super) place: Place,
}

/// What a store knows beside its regions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Root {
    /// The newest incarnation that was claimed.
    pub(super) incarnation: u64,
    /// The regions that have a folder.
    pub(super) regions: Vec<String>,
}

pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("records hold nothing that cannot be encoded")
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    rmp_serde::from_slice(bytes).ok()
}

/// What every sealed body begins with.
pub(super) const MAGIC: [u8; 8] = *b"PITONREC";
/// Magic, length, checksum of the body, checksum of the former.
const SEAL: usize = 8 + 8 + 8 + 4;

/// Puts length and checksum before a body.
pub(super) fn seal(body: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(SEAL + body.len());
    sealed.extend(MAGIC);
    sealed.extend((body.len() as u64).to_le_bytes());
    sealed.extend(xxh3_64(body).to_le_bytes());
    let checksum = crc32fast::hash(&sealed);
    sealed.extend(checksum.to_le_bytes());
    sealed.extend(body);
    sealed
}

/// Returns how long a sealed body is that stands at the beginning, if that can be read.
pub(super) fn sealed_len(bytes: &[u8]) -> Option<usize> {
    let head = bytes.get(..SEAL)?;
    let checksum = u32::from_le_bytes(head[24..].try_into().expect("four bytes"));
    let len = u64::from_le_bytes(head[8..16].try_into().expect("eight bytes"));
    let is_whole = head[..8] == MAGIC && crc32fast::hash(&head[..24]) == checksum;
    is_whole.then(|| usize::try_from(len).ok()?.checked_add(SEAL)).flatten()
}

/// Returns the body, or what is wrong with it.
pub(super) fn unseal(sealed: &[u8]) -> Result<&[u8], String> {
    let Some((head, body)) = sealed.split_at_checked(SEAL) else {
        return Err(format!("{} bytes are too few", sealed.len()));
    };
    let long = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let checksum = u32::from_le_bytes(head[24..].try_into().expect("four bytes"));
    if head[..8] != MAGIC || crc32fast::hash(&head[..24]) != checksum {
        return Err("it does not begin as a record".to_owned());
    }
    if body.len() as u64 != long(8) {
        return Err(format!("{} bytes expected, {} found", long(8), body.len()));
    }
    match xxh3_64(body) {
        found if found == long(16) || mutant::is(Mutant::NoChecksum) => Ok(body),
        found => Err(format!("checksum {:016x} expected, {found:016x} found", long(16))),
    }
}

/// Reads a sealed record, naming the file it is from in the error.
pub(super) fn open(sealed: &[u8], path: &Path, region: &str, window: WindowId) -> Result<Record, StoreError> {
    let damaged = |reason: String| {
        StoreError::Damaged(format!("{}: manifest of window {window} of region \"{region}\": {reason}", path.display()))
    };
    let record: Record = decode(unseal(sealed).map_err(damaged)?)
        .ok_or_else(|| damaged("it is whole but cannot be understood".to_owned()))?;
    let Manifest { region: found, window: found_window, .. } = &record.manifest;
    if found != region || *found_window != window {
        return Err(damaged(format!("it is that of window {found_window} of region \"{found}\"")));
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_damage_to_a_sealed_body_is_noticed() {
        let sealed = seal(b"content");
        assert_eq!(unseal(&sealed).unwrap(), b"content");
        assert_eq!(sealed_len(&[&sealed[..], b"more"].concat()), Some(sealed.len()));
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(&flipped).is_err(), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(unseal(&sealed[..len]).is_err(), "length {len}");
        }
    }
}
