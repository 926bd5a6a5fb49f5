//! The rows of a batch by their key.

use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use hashbrown::HashTable;

use crate::table::Table;
use crate::{AnyBatch, Key, Result, Timestamp};

/// Makes keys of the values of some columns.
///
/// A key is Arrow's row encoding of the values: equal values give equal bytes, whatever batch they are in, and NULL is
/// a value like others. In a column of floats -0 and 0 are equal, and so is everything that is not a number. The bytes decide the key group, so they are part of the format of a checkpoint.
pub(super) struct Keys {
    columns: Vec<usize>,
    converter: RowConverter,
    /// The columns by name, and their types.
    schema: SchemaRef,
}

impl Keys {
    /// Makes keys of the columns at these places.
    pub(super) fn new(columns: Vec<usize>, schema: &SchemaRef) -> Result<Keys> {
        let schema = Arc::new(schema.project(&columns)?);
        let types = schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
        Ok(Keys { converter: RowConverter::new(types.collect())?, columns, schema })
    }

    /// Returns whether a column of this type can be part of a key.
    pub(super) fn supports(data_type: &DataType) -> bool {
        RowConverter::supports_fields(&[SortField::new(data_type.clone())])
    }

    fn rows(&self, batch: &RecordBatch) -> Result<Option<Rows>> {
        if self.columns.is_empty() {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = self.columns.iter().map(|column| canonical(batch.column(*column))).collect();
        Ok(Some(self.converter.convert_columns(&columns)?))
    }

    /// Replaces the content of `hashes` by the hash of each row's key.
    pub(super) fn hashes(&self, batch: &RecordBatch, hashes: &mut Vec<u64>) -> Result {
        hashes.clear();
        match self.rows(batch)? {
            None => hashes.resize(batch.num_rows(), Key::bytes(&[]).hash()),
            Some(rows) => hashes.extend(rows.iter().map(|row| Key::bytes(row.as_ref()).hash())),
        }
        Ok(())
    }

    /// Returns the key of one row.
    pub(super) fn key(&self, table: &Table, row: usize) -> Result<Key> {
        let rows = self.rows(table.slice(row, 1).batch())?;
        Ok(rows.map_or_else(|| Key::bytes(&[]), |rows| Key::bytes(rows.row(0).as_ref())))
    }

    /// Returns a key as a JSON object of its columns; nothing if it is not one of these columns' keys.
    pub(super) fn show(&self, key: &Key) -> Option<String> {
        let bytes = key.as_bytes()?;
        if self.columns.is_empty() {
            return bytes.is_empty().then(|| "{}".to_string());
        }
        // Bytes that no values of these types were encoded as are no error to Arrow, but a panic.
        let read = AssertUnwindSafe(|| self.converter.convert_rows([self.converter.parser().parse(bytes)]));
        let columns = catch_unwind(read).ok()?.ok()?;
        let row = RecordBatch::try_new(Arc::clone(&self.schema), columns).ok()?;
        Some(Table::new(row).show(0))
    }

    /// Returns the columns of some of these keys.
    pub(super) fn columns(&self, keys: &[Key]) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        let rows = keys.iter().filter(|_| !self.columns.is_empty());
        Ok(self.converter.convert_rows(rows.filter_map(Key::as_bytes).map(|bytes| parser.parse(bytes)))?)
    }

    /// Returns the groups of rows with the same key, in the order in which the keys come up.
    pub(super) fn groups(&self, table: &Table) -> Result<Groups> {
        let mut groups = Groups { keys: Vec::new(), first: Vec::new(), times: Vec::new(), of_row: Vec::new() };
        let Some(rows) = self.rows(table.batch())? else {
            groups.keys.push(Key::bytes(&[]));
            groups.first.push(0);
            groups.times.push(None);
            groups.of_row.resize(table.rows(), 0);
            (0..table.rows()).for_each(|row| groups.touch(0, table.time(row)));
            return Ok(groups);
        };
        let mut known: HashTable<usize> = HashTable::with_capacity(table.rows());
        for (row, bytes) in (0u32..).zip(rows.iter()) {
            let key = Key::bytes(bytes.as_ref());
            let hash = key.hash();
            let group = match known.find(hash, |group| groups.keys[*group] == key) {
                Some(group) => *group,
                None => {
                    let group = groups.keys.len();
                    groups.keys.push(key);
                    groups.first.push(row);
                    groups.times.push(None);
                    known.insert_unique(hash, group, |group| groups.keys[*group].hash());
                    group
                }
            };
            groups.of_row.push(group);
            groups.touch(group, table.time(row as usize));
        }
        Ok(groups)
    }
}

/// Returns a column with one representation for all values that are equal.
pub(super) fn canonical(column: &ArrayRef) -> ArrayRef {
    fn of<T: ArrowPrimitiveType>(column: &ArrayRef, not_a_number: T::Native) -> ArrayRef {
        let unique = |value: T::Native| match value.partial_cmp(&T::Native::ZERO) {
            None => not_a_number,
            Some(Ordering::Equal) => T::Native::ZERO,
            Some(_) => value,
        };
        Arc::new(column.as_primitive::<T>().unary::<_, T>(unique))
    }
    match column.data_type() {
        DataType::Float64 => of::<Float64Type>(column, f64::NAN),
        DataType::Float32 => of::<Float32Type>(column, f32::NAN),
        _ => Arc::clone(column),
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
        assert!(!keys.key(&table, 3).unwrap().is_none());
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
                let key = keys.key(&table, row).unwrap();
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
            assert_eq!(keys.key(&table, 0).unwrap(), keys.key(&table, 1).unwrap());
            assert_eq!(keys.groups(&table).unwrap().of_row, [0, 0, 1, 1]);
        }
    }

    #[test]
    fn the_bytes_of_a_key_are_part_of_the_format() {
        let table = table();
        let keys = Keys::new(vec![0, 1], &table.schema()).unwrap();
        let bytes = keys.key(&table, 0).unwrap().as_bytes().unwrap().to_vec();
        assert_eq!(bytes, [2, b'b', 0, 0, 0, 0, 0, 0, 0, 1, 1, 128, 0, 0, 0, 0, 0, 0, 1]);
        let bytes = keys.key(&table, 1).unwrap().as_bytes().unwrap().to_vec();
        assert_eq!(bytes, [0, 1, 128, 0, 0, 0, 0, 0, 0, 2]);
    }
}
