//! What a `generate` source makes, computed from its definition and not from its code.

use std::collections::BTreeMap;

/// A row of `generate` without its time, which follows from the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) key: u64,
    pub(crate) value: u64,
}

/// Computes row `id`.
pub(crate) fn row(seed: u64, keys: u64, id: u64) -> Row {
    let mut z = seed.wrapping_add((id + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    Row { id, key: z % keys, value: (z >> 32) % 1000 }
}

/// How often each key was seen, and the sum of its values.
pub(crate) type Totals = BTreeMap<u64, (u64, u64)>;

/// Adds a row.
pub(crate) fn add(totals: &mut Totals, row: Row) {
    let (count, sum) = totals.entry(row.key).or_default();
    *count += 1;
    *sum += row.value;
}

/// Reads the rows `id,key,value,time` of a CSV file, each with its time as it stands there.
pub(crate) fn read_rows(text: &str) -> Vec<(Row, &str)> {
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("id,key,value,time"), "every file has a header");
    assert!(text.ends_with('\n'), "the last line is whole");
    let rows = lines.map(|line| {
        let [id, key, value, time] = line.split(',').collect::<Vec<_>>()[..] else { panic!("a torn row: {line}") };
        let [id, key, value] = [id, key, value].map(|number| number.parse().unwrap());
        (Row { id, key, value }, time)
    });
    rows.collect()
}

/// Reads the rows `key,n,total` of a CSV file.
pub(crate) fn read_totals(text: &str) -> Vec<(u64, (u64, u64))> {
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("key,n,total"), "every file has a header");
    assert!(text.ends_with('\n'), "the last line is whole");
    let rows = lines.map(|line| {
        let numbers: Vec<u64> = line.split(',').map(|number| number.parse().unwrap()).collect();
        let [key, n, total] = numbers[..] else { panic!("a torn row: {line}") };
        (key, (n, total))
    });
    rows.collect()
}
