//! The rows of one table as bytes: what they are found by, and what is kept of them.

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::SchemaRef;

use super::super::coder::{Coded, Coder};
use super::super::types::name_of;
use super::packed::Packed;
use crate::{Key, Result};

/// One input of a join.
pub(in super::super) struct Side {
    keys: Coder,
    rows: Coder,
}

/// The keys of the rows of a batch.
pub(in super::super) struct KeyRows {
    keys: Coded,
    nulls: Option<NullBuffer>,
}

impl KeyRows {
    /// Returns the key of a row.
    pub(in super::super) fn key(&self, row: usize) -> Key {
        self.keys.key(row)
    }

    /// Replaces the content of `hashes` by the hash of the key of each of so many rows.
    pub(in super::super) fn hashes(&self, rows: usize, hashes: &mut Vec<u64>) {
        self.keys.hashes(rows, hashes);
    }

    /// Returns whether a column of the key is NULL.
    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }
}

/// What is kept of the rows of a batch.
pub(in super::super) struct KeptRows(Coded);

impl KeptRows {
    /// Returns a row as it is kept.
    pub(in super::super) fn packed(&self, row: usize) -> Packed {
        Packed(self.0.bytes(row).into())
    }
}

impl Side {
    /// Makes the side of a table whose rows are found by some of its columns, and of which some are kept.
    ///
    /// # Errors
    /// With the name of a column that cannot be kept.
    pub(in super::super) fn new(schema: &SchemaRef, by: Vec<usize>, kept: Vec<usize>) -> Result<Side, String> {
        let mut fields = kept.iter().map(|column| schema.field(*column));
        if let Some(field) = fields.find(|field| !Coder::supports(field.data_type())) {
            let (name, data_type) = (field.name(), name_of(field.data_type()));
            return Err(format!("column `{name}` is of type {data_type}, which cannot be kept"));
        }
        let coder = |columns| Coder::new(columns, schema).map_err(|error| error.to_string());
        Ok(Side { keys: coder(by)?, rows: coder(kept)? })
    }

    /// Returns the columns that are kept.
    pub(super) fn schema(&self) -> &SchemaRef {
        self.rows.schema()
    }

    /// Returns the keys of the rows of a batch.
    pub(in super::super) fn keys(&self, batch: &RecordBatch) -> Result<KeyRows> {
        let nulls = self.keys.of(batch).map(|column| column.logical_nulls());
        let nulls = nulls.fold(None, |all, nulls| NullBuffer::union(all.as_ref(), nulls.as_ref()));
        Ok(KeyRows { keys: self.keys.keys(batch)?, nulls })
    }

    /// Returns what is kept of the rows of a batch.
    pub(in super::super) fn rows(&self, batch: &RecordBatch) -> Result<KeptRows> {
        Ok(KeptRows(self.rows.rows(batch)?))
    }

    /// Returns the columns of rows as they were kept.
    pub(super) fn columns<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        self.rows.columns(rows)
    }

    /// Returns a row of which every column is NULL.
    pub(super) fn nothing(&self) -> Result<Packed> {
        let columns = self.schema().fields().iter().map(|field| new_null_array(field.data_type(), 1));
        Ok(KeptRows(self.rows.encode(columns)?).packed(0))
    }

    /// Returns a key as a JSON object of its columns; nothing if it is not one of these columns' keys.
    pub(in super::super) fn show_key(&self, key: &Key) -> Option<String> {
        self.keys.show(key.as_bytes()?)
    }

    /// Returns what is kept of a row as a JSON object; nothing if it is not a row of these columns.
    pub(super) fn show(&self, row: &Packed) -> Option<String> {
        self.rows.show(&row.0)
    }
}
