//! Chunks that are not as they were written.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::super::chunk::{BlockWriter, ChunkWriter};
use super::*;

/// Restores, merges and uses a chunk, which may fail but not panic, and returns what it restores to.
fn outcome(bytes: &[u8]) -> crate::Result<Vec<u8>> {
    let chunks = [bytes.to_vec()];
    let mut store = StateStore::new(0..16, 16);
    store.restore(&chunks)?;
    merge_chunks(&chunks)?;
    StateStore::new(3..7, 16).restore(&chunks)?;
    for key in store.keys().collect::<Vec<_>>() {
        store.enter(key);
        store.value(ValueState::<u64>::new("count")).get()?;
        store.value(ValueState::<String>::new("name")).get()?;
        store.map(MapState::<String, f64>::new("prices")).len()?;
        store.list(ListState::<i8>::new("items")).get()?;
    }
    store.local(LocalState::<u32>::new("total")).get()?;
    store.take_down(true, 0)?.write()
}

/// Makes the checksum right again.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len().saturating_sub(4);
    bytes.truncate(end);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

#[test]
fn every_flipped_byte_is_found() {
    let chunk = image(&small());
    assert_eq!(outcome(&chunk).unwrap(), chunk);
    for index in 0..chunk.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = chunk.clone();
            damaged[index] ^= flip;
            assert!(outcome(&damaged).is_err(), "byte {index}");
        }
    }
}

#[test]
fn every_truncation_is_found() {
    let chunk = image(&small());
    for length in 1..chunk.len() {
        assert!(outcome(&chunk[..length]).is_err(), "{length} bytes");
        assert!(outcome(&sealed(chunk[..length].to_vec())).is_err(), "{length} bytes with a checksum");
    }
    let longer = [&chunk[..chunk.len() - 4], &[0; 5]].concat();
    assert!(outcome(&sealed(longer)).is_err());
}

#[test]
fn wrong_bytes_with_a_right_checksum_do_no_harm() {
    let chunk = image(&small());
    for index in 0..chunk.len() - 4 {
        for value in 0..=u8::MAX {
            let mut damaged = chunk.clone();
            damaged[index] = value;
            // A value may simply be another one now; what counts is that nothing panics or is allocated absurdly.
            outcome(&sealed(damaged)).ok();
        }
    }
    let seed = 1;
    eprintln!("seed {seed}");
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    for _ in 0..20_000 {
        let mut damaged = chunk.clone();
        for _ in 0..rng.random_range(1..6) {
            let index = rng.random_range(0..chunk.len() - 4);
            damaged[index] = *[0, 1, 2, 0x7f, 0xff, rng.random()].get(rng.random_range(0..6usize)).unwrap();
        }
        outcome(&sealed(damaged)).ok();
    }
}

/// Writes the chunk of this number with keys that are numbers, and the slots of those that went.
fn written(number: u64, rows: &[(u64, u32)], removed: &[(u64, u32)]) -> Vec<u8> {
    let placed = |keys: &[(u64, u32)]| -> Vec<(u32, u32)> {
        let mut placed: Vec<_> = keys.iter().map(|(key, slot)| (Key::from(*key).group(16), *slot)).collect();
        placed.sort_unstable();
        placed
    };
    let places = placed(rows);
    let mut integers = BlockWriter::new(Some(8), rows.len());
    for (key, slot) in rows {
        let row = places.iter().position(|place| *place == (Key::from(*key).group(16), *slot)).unwrap();
        integers.set(row, &key.to_le_bytes()).unwrap();
    }
    ChunkWriter {
        whole: number == 0,
        first: number,
        last: number,
        key_groups: 16,
        rows: &places,
        removed: &placed(removed),
        places: None,
        integers: &integers,
        texts: &BlockWriter::new(None, rows.len()),
        timers: &BlockWriter::new(None, rows.len()),
        columns: &[],
        locals: &[],
    }
    .finish()
    .unwrap()
}

#[test]
fn a_slot_out_of_proportion_is_refused() {
    assert!(restored(&[written(0, &[(7, 23)], &[])]).keys().eq([Key::from(7u64)]));
    for slot in [24, 100_000, 1 << 31, u32::MAX] {
        assert!(StateStore::new(0..16, 16).restore(&[written(0, &[(7, slot)], &[])]).is_err());
    }
}

#[test]
fn a_slot_that_is_out_of_proportion_once_others_went_is_refused_as_it_is_when_merged() {
    let chunks = |slot: u32| [written(0, &[(7, 0), (8, slot)], &[]), written(1, &[], &[(7, 0)])];
    let kept = chunks(23);
    assert!(restored(&kept).keys().eq([Key::from(8u64)]));
    assert!(restored(&[merge_chunks(&kept).unwrap()]).keys().eq([Key::from(8u64)]));
    let sparse = chunks(24);
    assert!(StateStore::new(0..16, 16).restore(&sparse).is_err());
    assert!(merge_chunks(&sparse).is_err());
    assert!(StateStore::new(0..16, 16).restore(&sparse[..1]).is_ok(), "both are there");
}

#[test]
fn a_chunk_of_another_job_or_version_is_refused() {
    let chunk = image(&small());
    let error = StateStore::new(0..8, 8).restore(std::slice::from_ref(&chunk)).unwrap_err();
    assert!(error.message().contains("written with 16 key groups, but the job has 8"), "{error}");
    let mut newer = chunk;
    newer[8] = 4;
    let error = StateStore::new(0..16, 16).restore(&[sealed(newer)]).unwrap_err();
    assert!(error.message().contains("has format 4, but this program reads up to format 3"), "{error}");
}

/// Written by the first version of the format: what it says must stay readable, and the bytes stay the same.
#[test]
fn the_first_format_is_read_and_written() {
    let chunk = include_bytes!("../../../tests/fixtures/state-1.chunk");
    assert_eq!(image(&restored(&[chunk.to_vec()])), chunk);
    assert_eq!(image(&small()), chunk);
}
