//! The rows of a batch by their key.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use hashbrown::HashTable;

use super::super::coder::Coder;
use crate::table::{Table, TableRow};
use crate::{Key, Result, Timestamp};

/// Makes keys of the values of some columns.
pub(in super::super) struct Keys(Coder);

impl Keys {
    /// Makes keys of the columns at these places.
    pub(in super::super) fn new(columns: Vec<usize>, schema: &SchemaRef) -> Result<Keys> {
        Ok(Keys(Coder::new(columns, schema)?))
    }

    /// Replaces the content of `hashes` by the hash of each row's key.
    pub(super) fn hashes(&self, batch: &RecordBatch, hashes: &mut Vec<u64>) -> Result {
        self.0.keys(batch)?.hashes(batch.num_rows(), hashes);
        Ok(())
    }

    /// Returns the key of one row.
    pub(super) fn key(&self, row: TableRow<'_>) -> Key {
        let keys = self.0.keys(row.table.slice(row.row, 1).batch());
        keys.expect("the types of the key columns were checked when the plan was made").key(0)
    }

    /// Returns a key as a JSON object of its columns; nothing if it is not one of these columns' keys.
    pub(in super::super) fn show(&self, key: &Key) -> Option<String> {
        self.0.show(key.as_bytes()?)
    }

    /// Returns the columns of some of these keys.
    pub(in super::super) fn columns(&self, keys: &[Key]) -> Result<Vec<ArrayRef>> {
        self.0.columns(keys.iter().filter_map(Key::as_bytes))
    }

    /// Returns the groups of rows with the same key, in the order in which the keys come up.
    pub(super) fn groups(&self, table: &Table) -> Result<Groups> {
        let mut groups = Groups { keys: Vec::new(), first: Vec::new(), times: Vec::new(), of_row: Vec::new() };
        let keys = self.0.keys(table.batch())?;
        if keys.is_empty() {
            groups.keys.push(Key::bytes(&[]));
            groups.first.push(0);
            groups.times.push(None);
            groups.of_row.resize(table.rows(), 0);
            (0..table.rows()).for_each(|row| groups.touch(0, table.time(row)));
            return Ok(groups);
        }
        let mut known: HashTable<usize> = HashTable::with_capacity(table.rows());
        for (row, first) in (0..table.rows()).zip(0u32..) {
            let key = keys.key(row);
            let hash = key.hash();
            let group = match known.find(hash, |group| groups.keys[*group] == key) {
                Some(group) => *group,
                None => {
                    let group = groups.keys.len();
                    groups.keys.push(key);
                    groups.first.push(first);
                    groups.times.push(None);
                    known.insert_unique(hash, group, |group| groups.keys[*group].hash());
                    group
                }
            };
            groups.of_row.push(group);
            groups.touch(group, table.time(row));
        }
        Ok(groups)
    }
}

/// The rows of a batch by their key.
pub(super) struct Groups {
    /// The key of each group.
    pub keys: Vec<Key>,
    /// The first row of each group.
    pub first: Vec<u32>,
    /// The latest event time in each group.
    pub times: Vec<Option<Timestamp>>,
    /// The group of each row.
    pub of_row: Vec<usize>,
}

impl Groups {
    fn touch(&mut self, group: usize, time: Option<Timestamp>) {
        self.times[group] = self.times[group].max(time);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, StringArray};

    use super::*;

    fn table() -> Table {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("s", Arc::new(StringArray::from(vec![Some("b"), None, Some("b"), Some(""), None]))),
            ("n", Arc::new(Int64Array::from(vec![1, 2, 1, 2, 2]))),
            ("x", Arc::new(Float64Array::from(vec![0.0, 1.0, 2.0, 3.0, 4.0]))),
        ];
        Table::with_times(RecordBatch::try_from_iter(columns).unwrap(), Some(vec![9, 5, 7, 8, 6].into()))
    }

    #[test]
    fn groups_come_in_the_order_of_their_first_rows() {
        let table = table();
        let groups = Keys::new(vec![0, 1], &table.schema()).unwrap().groups(&table).unwrap();
        assert_eq!(groups.of_row, [0, 1, 0, 2, 1], "NULL is a key of its own, and not the empty text");
        assert_eq!(groups.first, [0, 1, 3]);
        assert_eq!(groups.times, [Some(9), Some(6), Some(8)]);
    }

    #[test]
    fn without_columns_there_is_one_group() {
        let table = table();
        let keys = Keys::new(vec![], &table.schema()).unwrap();
        let groups = keys.groups(&table).unwrap();
        assert_eq!((groups.of_row, groups.times), (vec![0; 5], vec![Some(9)]));
        assert!(!keys.key(TableRow { table: &table, row: 3 }).is_none());
    }

    #[test]
    fn keys_are_the_same_row_by_row_and_in_any_batch() {
        let table = table();
        for columns in [vec![], vec![0], vec![1, 0], vec![2]] {
            let keys = Keys::new(columns, &table.schema()).unwrap();
            let mut hashes = Vec::new();
            keys.hashes(table.batch(), &mut hashes).unwrap();
            let groups = keys.groups(&table).unwrap();
            assert_eq!(hashes.len(), table.rows());
            for (row, hash) in hashes.iter().enumerate() {
                let key = keys.key(TableRow { table: &table, row });
                assert_eq!(key.hash(), *hash);
                assert_eq!(key, groups.keys[groups.of_row[row]]);
            }
        }
    }

    #[test]
    fn equal_floats_have_the_same_hash_and_key() {
        let (doubles, floats) = ([0.0, -0.0, f64::NAN, -f64::NAN], [0.0, -0.0, f32::NAN, -f32::NAN]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("x", Arc::new(Float64Array::from(doubles.to_vec()))),
            ("y", Arc::new(arrow::array::Float32Array::from(floats.to_vec()))),
        ];
        let table = Table::new(RecordBatch::try_from_iter(columns).unwrap());
        for column in [0, 1] {
            let keys = Keys::new(vec![column], &table.schema()).unwrap();
            let mut hashes = Vec::new();
            keys.hashes(table.batch(), &mut hashes).unwrap();
            assert_eq!((hashes[0], hashes[2]), (hashes[1], hashes[3]));
            assert_ne!(hashes[0], hashes[2]);
            assert_eq!(keys.key(TableRow { table: &table, row: 0 }), keys.key(TableRow { table: &table, row: 1 }));
            assert_eq!(keys.groups(&table).unwrap().of_row, [0, 0, 1, 1]);
        }
    }

    #[test]
    fn the_bytes_of_a_key_are_part_of_the_format() {
        let table = table();
        let keys = Keys::new(vec![0, 1], &table.schema()).unwrap();
        let bytes = keys.key(TableRow { table: &table, row: 0 }).as_bytes().unwrap().to_vec();
        assert_eq!(bytes, [2, b'b', 0, 0, 0, 0, 0, 0, 0, 1, 1, 128, 0, 0, 0, 0, 0, 0, 1]);
        let bytes = keys.key(TableRow { table: &table, row: 1 }).as_bytes().unwrap().to_vec();
        assert_eq!(bytes, [0, 1, 128, 0, 0, 0, 0, 0, 0, 2]);
    }
}
