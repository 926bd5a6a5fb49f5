//! Makes checksums right, so that what they protect is read.

use xxhash_rust::xxh3::xxh3_64;

/// From one slot of a file of two to the other.
const STRIDE: usize = (1 << 20) + 4096;
const SEALED: &[u8] = b"PITONREC";

/// Makes right what has this name in a state directory.
pub(super) fn file(path: &str, bytes: &mut [u8]) {
    let name = path.rsplit('/').next().unwrap_or_default();
    match name {
        "HEAD" | "ROOT" => slots(bytes),
        "log" => log(bytes),
        _ if path.contains("/blobs/") => blob(bytes),
        "FORMAT" | "LOCK" => {}
        _ => sealed(bytes),
    }
}

/// Makes sealed bodies right, one after the other.
pub(super) fn sealed(mut bytes: &mut [u8]) {
    while bytes.len() > 28 {
        let length = u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
        let end = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(28).min(bytes.len());
        let (one, rest) = bytes.split_at_mut(end);
        seal(one);
        bytes = rest;
    }
}

fn seal(bytes: &mut [u8]) {
    let (head, body) = bytes.split_at_mut(28);
    head[..8].copy_from_slice(SEALED);
    head[8..16].copy_from_slice(&(body.len() as u64).to_le_bytes());
    head[16..24].copy_from_slice(&xxh3_64(body).to_le_bytes());
    let checksum = crc32fast::hash(&head[..24]);
    head[24..].copy_from_slice(&checksum.to_le_bytes());
}

fn slots(bytes: &mut [u8]) {
    for start in [0, STRIDE] {
        let Some((header, rest)) = bytes.get_mut(start..).and_then(|slot| slot.split_at_mut_checked(64)) else {
            return;
        };
        let length = u32::from_le_bytes(header[12..16].try_into().expect("four bytes")) as usize;
        let body = &rest[..length.min(rest.len())];
        header[..10].copy_from_slice(b"PITONHED\x01\x00");
        header[12..16].copy_from_slice(&(body.len() as u32).to_le_bytes());
        header[48..56].copy_from_slice(&xxh3_64(body).to_le_bytes());
        let checksum = crc32fast::hash(&header[..60]);
        header[60..].copy_from_slice(&checksum.to_le_bytes());
    }
}

fn blob(bytes: &mut [u8]) {
    if let Some((header, _)) = bytes.split_at_mut_checked(64) {
        let checksum = crc32fast::hash(&header[..60]);
        header[60..].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// Makes a catalogue's log right, and what is sealed in it.
fn log(mut bytes: &mut [u8]) {
    while bytes.len() > 20 {
        let length = u32::from_le_bytes(bytes[16..20].try_into().expect("four bytes")) as usize;
        let end = (length + 20).min(bytes.len());
        let (record, rest) = bytes.split_at_mut(end);
        record[..4].copy_from_slice(b"PTLG");
        record[16..20].copy_from_slice(&((end - 20) as u32).to_le_bytes());
        values(&mut record[20..]);
        let checksum = crc32fast::hash(&record[8..]);
        record[4..8].copy_from_slice(&checksum.to_le_bytes());
        bytes = rest;
    }
}

/// Makes right what is sealed in the values of a record; longer ones than a value are in pieces, and stay as they are.
fn values(mut payload: &mut [u8]) {
    while payload.len() > 8 {
        let length = |at: usize| u32::from_le_bytes(payload[at..at + 4].try_into().expect("four bytes"));
        let (key, value) = (length(0) as usize, length(4));
        let value = if value == u32::MAX { 0 } else { value as usize };
        let start = (8 + key).min(payload.len());
        let end = (start + value).min(payload.len());
        if payload[start..end].starts_with(SEALED) && end - start > 28 && value < 4000 {
            seal(&mut payload[start..end]);
        }
        payload = &mut payload[end..];
    }
}
