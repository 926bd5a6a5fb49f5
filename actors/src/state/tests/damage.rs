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
    store.encode(true, 0)
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

#[test]
fn a_slot_out_of_proportion_is_refused() {
    let key = Key::from(7u64);
    let write = |slot: u32| {
        let mut integers = BlockWriter::new(Some(8), 1);
        integers.set_primitive(0, 7u64);
        let texts = BlockWriter::new(None, 1);
        let timers = BlockWriter::new(None, 1);
        ChunkWriter {
            whole: true,
            first: 0,
            last: 0,
            key_groups: 16,
            rows: &[(key.group(16), slot)],
            removed: &[],
            integers,
            texts,
            timers,
            columns: vec![],
            locals: vec![],
        }
        .finish()
        .unwrap()
    };
    assert!(restored(&[write(23)]).keys().eq([key.clone()]));
    for slot in [24, 100_000, 1 << 31, u32::MAX] {
        assert!(StateStore::new(0..16, 16).restore(&[write(slot)]).is_err());
    }
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
