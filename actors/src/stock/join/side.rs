//! The rows of one table as bytes: what they are found by, and what is kept of them.

use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Schema, SchemaRef};
use arrow::row::{RowConverter, Rows as EncodedRows, SortField};

use super::super::options::unknown;
use super::packed::Packed;
use crate::table::Table;
use crate::{Key, Result};

/// Finds a column that can be part of a key, or says why there is none.
pub(in super::super) fn key_column(name: &str, schema: &SchemaRef) -> Result<usize, String> {
    let Some((column, field)) = schema.column_with_name(name) else {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(unknown("column", name, &names));
    };
    if !can_encode(field) {
        return Err(format!("column `{name}` is of type {}, which cannot be a key", field.data_type()));
    }
    Ok(column)
}

fn can_encode(field: &Field) -> bool {
    RowConverter::supports_fields(&[SortField::new(field.data_type().clone())])
}

/// One input of a join.
pub(in super::super) struct Side {
    by: Vec<usize>,
    keys: RowConverter,
    key_schema: SchemaRef,
    kept: Vec<usize>,
    rows: RowConverter,
    /// The columns that are kept.
    pub(super) schema: SchemaRef,
}

/// The keys of the rows of a batch.
pub(in super::super) struct KeyRows {
    rows: EncodedRows,
    nulls: Option<NullBuffer>,
}

impl KeyRows {
    /// Returns the key of a row. Its bytes decide the key group, so they are part of the format of a checkpoint.
    pub(in super::super) fn key(&self, row: usize) -> Key {
        Key::bytes(self.rows.row(row).as_ref())
    }

    /// Returns whether a column of the key is NULL.
    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }
}

/// What is kept of the rows of a batch.
pub(in super::super) struct KeptRows(Option<EncodedRows>);

impl KeptRows {
    /// Returns a row as it is kept.
    pub(in super::super) fn packed(&self, row: usize) -> Packed {
        Packed(self.0.as_ref().map_or_else(Box::default, |rows| rows.row(row).as_ref().into()))
    }
}

impl Side {
    /// Makes the side of a table whose rows are found by some of its columns, and of which some are kept.
    ///
    /// # Errors
    /// With the name of a column that cannot be kept.
    pub(in super::super) fn new(schema: &SchemaRef, by: Vec<usize>, kept: Vec<usize>) -> Result<Side, String> {
        let project = |columns: &[usize]| {
            let fields: Vec<Field> = columns.iter().map(|column| schema.field(*column).clone()).collect();
            Arc::new(Schema::new(fields))
        };
        let (key_schema, schema) = (project(&by), project(&kept));
        if let Some(field) = schema.fields().iter().find(|field| !can_encode(field)) {
            return Err(format!("column `{}` is of type {}, which cannot be kept", field.name(), field.data_type()));
        }
        let converter = |schema: &SchemaRef| {
            let types = schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
            RowConverter::new(types.collect()).map_err(|error| error.to_string())
        };
        Ok(Side { keys: converter(&key_schema)?, rows: converter(&schema)?, by, key_schema, kept, schema })
    }

    /// Returns the keys of the rows of a batch.
    pub(in super::super) fn keys(&self, batch: &RecordBatch) -> Result<KeyRows> {
        let columns: Vec<ArrayRef> = self.by.iter().map(|column| canonical(batch.column(*column))).collect();
        let nulls = columns.iter().map(|column| column.logical_nulls()).collect::<Vec<_>>();
        let nulls = nulls.iter().fold(None, |all, nulls| NullBuffer::union(all.as_ref(), nulls.as_ref()));
        Ok(KeyRows { rows: self.keys.convert_columns(&columns)?, nulls })
    }

    /// Returns what is kept of the rows of a batch.
    pub(in super::super) fn rows(&self, batch: &RecordBatch) -> Result<KeptRows> {
        if self.kept.is_empty() {
            return Ok(KeptRows(None));
        }
        let columns: Vec<ArrayRef> = self.kept.iter().map(|column| Arc::clone(batch.column(*column))).collect();
        Ok(KeptRows(Some(self.rows.convert_columns(&columns)?)))
    }

    /// Returns the columns of rows as they were kept.
    pub(super) fn columns<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        if self.kept.is_empty() {
            return Ok(Vec::new());
        }
        let parser = self.rows.parser();
        Ok(self.rows.convert_rows(rows.map(|row| parser.parse(row)))?)
    }

    /// Returns a row of which every column is NULL.
    pub(super) fn nothing(&self) -> Result<Packed> {
        let columns: Vec<ArrayRef> =
            self.schema.fields().iter().map(|field| arrow::array::new_null_array(field.data_type(), 1)).collect();
        if columns.is_empty() {
            return Ok(Packed::default());
        }
        Ok(Packed(self.rows.convert_columns(&columns)?.row(0).as_ref().into()))
    }

    /// Returns a key as a JSON object of its columns; nothing if it is not one of these columns' keys.
    pub(in super::super) fn show_key(&self, key: &Key) -> Option<String> {
        show(&self.keys, &self.key_schema, key.as_bytes()?)
    }

    /// Returns what is kept of a row as a JSON object; nothing if it is not a row of these columns.
    pub(super) fn show(&self, row: &Packed) -> Option<String> {
        if self.kept.is_empty() { Some("{}".into()) } else { show(&self.rows, &self.schema, &row.0) }
    }
}

fn show(converter: &RowConverter, schema: &SchemaRef, bytes: &[u8]) -> Option<String> {
    use crate::AnyBatch;
    // Bytes that no values of these types were encoded as are no error to Arrow, but a panic.
    let read = AssertUnwindSafe(|| converter.convert_rows([converter.parser().parse(bytes)]));
    let columns = catch_unwind(read).ok()?.ok()?;
    let row = RecordBatch::try_new(Arc::clone(schema), columns).ok()?;
    Some(Table::new(row).show(0))
}

/// Returns a column with one representation for all values that are equal: -0.0 is 0.0, and there is one NaN.
fn canonical(column: &ArrayRef) -> ArrayRef {
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
