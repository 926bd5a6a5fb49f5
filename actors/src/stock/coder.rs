//! Values of some columns of a row as bytes, and back: Arrow's row encoding. Equal values give equal bytes, whatever
//! batch they are in, and NULL is a value like others.

use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};

use super::options::unknown;
use super::types::name_of;
use crate::blueprint::Fault;
use crate::table::Table;
use crate::{AnyBatch, Key, Result};

/// Makes bytes of the values of some columns.
pub(super) struct Coder {
    columns: Vec<usize>,
    converter: RowConverter,
    /// The columns by name, and their types.
    schema: SchemaRef,
}

impl Coder {
    /// Makes bytes of the columns at these places.
    pub(super) fn new(columns: Vec<usize>, schema: &SchemaRef) -> Result<Coder> {
        let schema = Arc::new(schema.project(&columns)?);
        let types = schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
        Ok(Coder { converter: RowConverter::new(types.collect())?, columns, schema })
    }

    /// Returns whether there are bytes of a column of this type.
    pub(super) fn supports(data_type: &DataType) -> bool {
        RowConverter::supports_fields(&[SortField::new(data_type.clone())])
    }

    /// Returns the columns by name, and their types.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Returns the columns of a batch.
    pub(super) fn of<'b>(&self, batch: &'b RecordBatch) -> impl Iterator<Item = &'b ArrayRef> {
        self.columns.iter().map(|column| batch.column(*column))
    }

    /// Encodes each row.
    pub(super) fn rows(&self, batch: &RecordBatch) -> Result<Coded> {
        self.encode(self.of(batch).map(Arc::clone))
    }

    /// Encodes each row as a key: in a column of floats -0 and 0 are equal, and so is everything that is not a number.
    /// The bytes decide the key group, so they are part of the format of a checkpoint.
    pub(super) fn keys(&self, batch: &RecordBatch) -> Result<Coded> {
        self.encode(self.of(batch).map(canonical))
    }

    /// Encodes rows of these columns.
    pub(super) fn encode(&self, columns: impl Iterator<Item = ArrayRef>) -> Result<Coded> {
        let columns: Vec<ArrayRef> = columns.collect();
        let rows = if columns.is_empty() { None } else { Some(self.converter.convert_columns(&columns)?) };
        Ok(Coded(rows))
    }

    /// Returns the columns of rows that were encoded.
    pub(super) fn columns<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        if self.columns.is_empty() {
            return Ok(Vec::new());
        }
        let parser = self.converter.parser();
        Ok(self.converter.convert_rows(rows.map(|row| parser.parse(row)))?)
    }

    /// Returns a row that was encoded as a JSON object; nothing if it is none of these columns.
    pub(super) fn show(&self, bytes: &[u8]) -> Option<String> {
        if self.columns.is_empty() {
            return bytes.is_empty().then(|| "{}".to_string());
        }
        // Bytes that no values of these types were encoded as are no error to Arrow, but a panic.
        let columns = catch_unwind(AssertUnwindSafe(|| self.columns([bytes].into_iter()))).ok()?.ok()?;
        let row = RecordBatch::try_new(Arc::clone(&self.schema), columns).ok()?;
        Some(Table::new(row).show(0))
    }
}

/// The rows of a batch as bytes; those of no column have none.
pub(super) struct Coded(Option<Rows>);

impl Coded {
    /// Returns the bytes of a row.
    pub(super) fn bytes(&self, row: usize) -> &[u8] {
        self.0.as_ref().map_or(&[], |rows| rows.row(row).data())
    }

    /// Returns them as a key.
    pub(super) fn key(&self, row: usize) -> Key {
        Key::bytes(self.bytes(row))
    }

    /// Returns whether all rows are equal because there is no column.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Replaces the content of `hashes` by the hash of the key of each of so many rows.
    pub(super) fn hashes(&self, rows: usize, hashes: &mut Vec<u64>) {
        hashes.clear();
        match &self.0 {
            None => hashes.resize(rows, Key::bytes(&[]).hash()),
            Some(_) => hashes.extend((0..rows).map(|row| self.key(row).hash())),
        }
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

/// Finds a column that rows are found by.
///
/// # Errors
/// If there is none of this name, or values of its type cannot be a key.
pub(super) fn key_column(name: &str, schema: &SchemaRef) -> Result<usize, String> {
    let Some((column, field)) = schema.column_with_name(name) else {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(unknown("column", name, &names));
    };
    if !Coder::supports(field.data_type()) {
        return Err(format!("column `{name}` is of type {}, which cannot be a key", name_of(field.data_type())));
    }
    Ok(column)
}

/// Finds the columns of the option `by`.
///
/// # Errors
/// As [`key_column`], and if one is named twice: everything that is wrong.
pub(super) fn key_columns(by: &[String], schema: &SchemaRef) -> Result<Vec<usize>, Vec<Fault>> {
    let mut columns = Vec::new();
    let mut faults = Vec::new();
    for (index, name) in by.iter().enumerate() {
        let fault = match key_column(name, schema) {
            Ok(column) if columns.contains(&column) => format!("column `{name}` is named twice"),
            Ok(column) => {
                columns.push(column);
                continue;
            }
            Err(message) => message,
        };
        faults.push(Fault::new(format!("by[{index}]"), fault));
    }
    if faults.is_empty() { Ok(columns) } else { Err(faults) }
}
