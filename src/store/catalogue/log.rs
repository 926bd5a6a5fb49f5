//! A catalogue in one log file: a checksummed record for each batch, written anew as a whole when it has grown.
//!
//! A record cut off at the end of the log may be a batch that was under way in a crash, or damage to one that was
//! acknowledged. The log cannot tell, so it opens without that record and leaves the judgement to whoever holds the
//! other witness. A bad record with a good one after it is damage for certain, and so is a good one that does not follow the
//! one before it.
//!
//! Opening writes the log anew: what an earlier life wrote may be readable without being durable, because it was
//! killed before the sync or because the sync failed, and nothing but writing it again makes it so.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{Batch, Catalogue, Pairs, Visit};
use crate::store::StoreError;
use crate::store::disk::Disk;

const FILE: &str = "log";
const TEMPORARY: &str = "log.tmp";
const MAGIC: [u8; 4] = *b"PTLG";
/// Magic, checksum of the rest, sequence, length of the payload.
const HEADER: usize = 4 + 4 + 8 + 4;
/// The log is written anew when it is this long and mostly of the past.
const COMPACT_ABOVE: u64 = 64 << 10;

/// A catalogue over a [`Disk`]; see the module.
#[derive(Debug)]
pub struct LogCatalogue<D> {
    disk: D,
    dir: PathBuf,
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    live: u64,
    sequence: u64,
    end: u64,
}

impl<D: Disk> Catalogue<D> for LogCatalogue<D> {
    const NAME: &'static str = "log 1";

    fn open(disk: &D, dir: &Path) -> Result<LogCatalogue<D>, StoreError> {
        let path = dir.join(FILE);
        let mut catalogue = LogCatalogue {
            disk: disk.clone(),
            dir: dir.to_owned(),
            entries: BTreeMap::new(),
            live: 0,
            sequence: 0,
            end: 0,
        };
        let content = match disk.read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(StoreError::io("cannot read", &path, error)),
        };
        let mut at = 0;
        while let Some((sequence, payload)) = record(&content[at..]) {
            // The first record of a compacted log stands for all before it.
            let expected = if at == 0 { Some(sequence) } else { catalogue.sequence.checked_add(1) };
            let Some(changes) = decode(payload).filter(|_| Some(sequence) == expected) else { break };
            catalogue.sequence = sequence;
            catalogue.remember(changes);
            at += HEADER + payload.len();
        }
        if let Some(whole) = (at..content.len()).find(|from| record(&content[*from..]).is_some()) {
            let why =
                if whole == at { "does not follow the one before it" } else { "is damaged, later ones are whole" };
            return Err(StoreError::Damaged(format!("{}: the record at byte {at} {why}", path.display())));
        }
        catalogue.replace(&path)?;
        Ok(catalogue)
    }

    fn apply(&mut self, batch: Batch) -> Result<(), StoreError> {
        let path = self.dir.join(FILE);
        let next = self.sequence.checked_add(1).ok_or_else(|| {
            StoreError::Damaged(format!("{}: it has been written more often than anybody can", path.display()))
        })?;
        let appended = encode(next, batch.changes());
        self.remember(batch.into_changes());
        self.sequence = next;
        let grown = self.end + appended.len() as u64;
        if grown > COMPACT_ABOVE && grown > 4 * self.live {
            return self.replace(&path);
        }
        self.disk
            .overwrite(&path, self.end, &appended)
            .map_err(|error| StoreError::io("cannot append to", &path, error))?;
        self.end = grown;
        Ok(())
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.entries.get(key).cloned())
    }

    fn scan(&mut self, prefix: &[u8]) -> Result<Pairs, StoreError> {
        let from = self.entries.range(prefix.to_vec()..);
        let found = from.take_while(|(key, _)| key.starts_with(prefix));
        Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn scan_back(&mut self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        for (key, value) in self.entries.range(from.to_vec()..to.to_vec()).rev() {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl<D: Disk> LogCatalogue<D> {
    fn remember(&mut self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) {
        let size = |key: &Vec<u8>, value: &Vec<u8>| (key.len() + value.len() + 8) as u64;
        for (key, value) in changes {
            if let Some(old) = self.entries.get(&key) {
                self.live -= size(&key, old);
            }
            match value {
                Some(value) => {
                    self.live += size(&key, &value);
                    self.entries.insert(key, value);
                }
                None => {
                    self.entries.remove(&key);
                }
            }
        }
    }

    fn replace(&mut self, path: &Path) -> Result<(), StoreError> {
        let changes: Vec<_> = self.entries.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        let whole = encode(self.sequence, &changes);
        let temporary = self.dir.join(TEMPORARY);
        let failed = |error| StoreError::io("cannot replace", path, error);
        self.disk.write_new(&temporary, &whole).map_err(failed)?;
        self.disk.rename(&temporary, path).map_err(failed)?;
        self.disk.sync_dir(&self.dir).map_err(failed)?;
        self.end = whole.len() as u64;
        Ok(())
    }
}

fn encode(sequence: u64, changes: &[(Vec<u8>, Option<Vec<u8>>)]) -> Vec<u8> {
    let mut record = vec![0; HEADER];
    for (key, value) in changes {
        record.extend((key.len() as u32).to_le_bytes());
        record.extend(value.as_ref().map_or(u32::MAX, |value| value.len() as u32).to_le_bytes());
        record.extend(key);
        record.extend(value.iter().flatten());
    }
    let len = (record.len() - HEADER) as u32;
    record[..4].copy_from_slice(&MAGIC);
    record[8..16].copy_from_slice(&sequence.to_le_bytes());
    record[16..20].copy_from_slice(&len.to_le_bytes());
    let checksum = crc32fast::hash(&record[8..]);
    record[4..8].copy_from_slice(&checksum.to_le_bytes());
    record
}

/// Returns the sequence and the payload of the record at the beginning of `bytes`, if a whole one is there.
fn record(bytes: &[u8]) -> Option<(u64, &[u8])> {
    if bytes.len() < HEADER || bytes[..4] != MAGIC {
        return None;
    }
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let end = HEADER.checked_add(word(16) as usize)?;
    let rest = bytes.get(8..end)?;
    let sequence = u64::from_le_bytes(rest[..8].try_into().expect("eight bytes"));
    (crc32fast::hash(rest) == word(4)).then_some((sequence, &bytes[HEADER..end]))
}

type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

fn decode(mut payload: &[u8]) -> Option<Changes> {
    let mut changes = Vec::new();
    while !payload.is_empty() {
        let (key_len, rest) = payload.split_first_chunk()?;
        let (value_len, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_len) as usize)?;
        let value_len = u32::from_le_bytes(*value_len);
        let (value, rest) = match value_len {
            u32::MAX => (None, rest),
            len => rest.split_at_checked(len as usize).map(|(value, rest)| (Some(value.to_vec()), rest))?,
        };
        changes.push((key.to_vec(), value));
        payload = rest;
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::SimDisk;

    fn put(key: &[u8], value: &[u8]) -> Batch {
        let mut batch = Batch::default();
        batch.put(key.to_vec(), value.to_vec());
        batch
    }

    fn open(disk: &SimDisk) -> Result<LogCatalogue<SimDisk>, StoreError> {
        LogCatalogue::open(disk, Path::new("/"))
    }

    #[test]
    fn reopening_gives_what_was_applied() {
        let disk = SimDisk::new(1);
        let mut catalogue = open(&disk).unwrap();
        for nth in 0..2000_u32 {
            catalogue.apply(put(&(nth % 7).to_be_bytes(), &[nth as u8; 100])).unwrap();
        }
        let mut batch = Batch::default();
        batch.remove(3_u32.to_be_bytes().to_vec());
        catalogue.apply(batch).unwrap();
        let expected = catalogue.scan(b"").unwrap();
        assert_eq!(expected.len(), 6);
        assert_eq!(open(&disk).unwrap().scan(b"").unwrap(), expected);
        assert!(disk.files()[0].1 < 2 * COMPACT_ABOVE, "the log is written anew as it grows");
    }

    #[test]
    fn a_record_that_nothing_could_follow_is_the_last() {
        let disk = SimDisk::new(1);
        drop(open(&disk).unwrap());
        let log = encode(u64::MAX, put(b"a", b"1").changes());
        disk.write_new(Path::new("/log"), &[&log[..], &encode(0, put(b"b", b"2").changes())].concat()).unwrap();
        assert!(matches!(open(&disk), Err(StoreError::Damaged(_))));
        disk.write_new(Path::new("/log"), &log).unwrap();
        let mut catalogue = open(&disk).unwrap();
        assert_eq!(catalogue.get(b"a").unwrap(), Some(b"1".to_vec()));
        assert!(matches!(catalogue.apply(put(b"b", b"2")), Err(StoreError::Damaged(_))));
    }

    #[test]
    fn a_torn_tail_is_left_out() {
        let disk = SimDisk::new(1);
        let mut catalogue = open(&disk).unwrap();
        catalogue.apply(put(b"a", b"1")).unwrap();
        catalogue.apply(put(b"b", b"2")).unwrap();
        disk.truncate(Path::new("/log"), catalogue.end - 1).unwrap();
        let mut catalogue = open(&disk).unwrap();
        assert_eq!(catalogue.scan(b"").unwrap(), [(b"a".to_vec(), b"1".to_vec())]);
        catalogue.apply(put(b"c", b"3")).unwrap();
        assert_eq!(open(&disk).unwrap().scan(b"").unwrap().len(), 2);
    }

    #[test]
    fn damage_in_the_middle_is_told_from_a_torn_tail() {
        let disk = SimDisk::new(1);
        let mut catalogue = open(&disk).unwrap();
        for key in [b"a", b"b", b"c"] {
            catalogue.apply(put(key, b"value")).unwrap();
        }
        disk.flip_bit(Path::new("/log"), 8 * 40).unwrap();
        assert!(matches!(open(&disk), Err(StoreError::Damaged(reason)) if reason.contains("/log")));
    }
}
