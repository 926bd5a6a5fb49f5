//! Rows as bytes on their way out of an operator: they become columns together, when the output is handed on.
//!
//! Timers fire one by one, and each may give a single row. A table for each would cost more than everything else that is
//! done for it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use super::side::Side;
use crate::batch::{Batch, Output, OutputBuffer, Scatter};
use crate::table::Table;
use crate::{Result, Timestamp};

/// How many rows wait at most before they become columns.
const LARGE: usize = 4096;

/// A row in Arrow's row encoding, which gives every value back to the bit.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(in super::super) struct Packed(#[serde(with = "serde_bytes")] pub Box<[u8]>);

/// What the rows that come out are made of.
pub(in super::super) struct Shape {
    left: Side,
    right: Side,
    /// What stands for a right row where there is none.
    nothing: Packed,
    /// What comes out: the columns of the left row, then those of the right one.
    pub(in super::super) output: SchemaRef,
}

impl Shape {
    /// Makes the shape of pairs of rows.
    pub(super) fn pairs(left: Side, right: Side) -> Result<Shape> {
        let fields = left.schema().fields().iter().chain(right.schema().fields());
        let fields = fields.map(|field| Field::new(field.name(), field.data_type().clone(), true));
        let output = Arc::new(Schema::new(fields.collect::<Vec<Field>>()));
        Ok(Shape { nothing: right.nothing()?, left, right, output })
    }

    /// Makes the shape of single rows.
    pub(in super::super) fn single(rows: Side) -> Result<Shape> {
        let none = Side::new(&Arc::new(Schema::empty()), Vec::new(), Vec::new()).map_err(crate::Error::invalid)?;
        Shape::pairs(rows, none)
    }

    /// Returns one of the two inputs.
    pub(in super::super) fn side(&self, is_left: bool) -> &Side {
        if is_left { &self.left } else { &self.right }
    }

    fn table(&self, rows: &Rows) -> Result<Table> {
        let mut columns = self.left.columns(rows.lefts.iter())?;
        columns.extend(self.right.columns(
            rows.rights.iter().zip(&rows.alone).map(|(right, alone)| if *alone { &self.nothing.0 } else { right }),
        )?);
        let batch = RecordBatch::try_new(Arc::clone(&self.output), columns)?;
        Ok(Table::with_times(batch, rows.times().map(Into::into)))
    }
}

/// Texts of bytes one behind the other.
#[derive(Clone, Default)]
struct Bytes {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Bytes {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
    }

    fn append(&mut self, other: &mut Bytes) {
        let before = self.bytes.len();
        self.bytes.append(&mut other.bytes);
        self.ends.extend(other.ends.drain(..).map(|end| before + end));
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| &self.bytes[begin..*end])
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Rows to be emitted: pairs, left rows alone, or single rows.
#[derive(Clone, Default)]
pub(in super::super) struct Rows {
    lefts: Bytes,
    rights: Bytes,
    /// Whether there is no right row.
    alone: Vec<bool>,
    times: Vec<Option<Timestamp>>,
}

impl Rows {
    /// Appends a row.
    pub(in super::super) fn push(&mut self, left: &Packed, right: Option<&Packed>, at: Option<Timestamp>) {
        self.lefts.push(&left.0);
        self.rights.push(right.map_or(&[], |right| &right.0));
        self.alone.push(right.is_none());
        self.times.push(at);
    }

    /// Returns whether there are so many that they should be handed on.
    pub(super) fn is_large(&self) -> bool {
        self.times.len() >= LARGE
    }

    fn append(&mut self, other: &mut Rows) {
        self.lefts.append(&mut other.lefts);
        self.rights.append(&mut other.rights);
        self.alone.append(&mut other.alone);
        self.times.append(&mut other.times);
    }

    fn clear(&mut self) {
        self.lefts.clear();
        self.rights.clear();
        self.alone.clear();
        self.times.clear();
    }

    /// Rows without a time among rows with one count as being of the same moment as their neighbour.
    fn times(&self) -> Option<Vec<Timestamp>> {
        let mut last = self.times.iter().find_map(|at| *at)?;
        let fill = |at: &Option<Timestamp>| {
            last = at.unwrap_or(last);
            last
        };
        Some(self.times.iter().map(fill).collect())
    }
}

/// What an operator emits that emits packed rows: on the edge these are tables.
pub(in super::super) struct PackedTable;

/// Collects packed rows, and tables as they are.
pub(in super::super) struct PackedBuffer {
    rows: usize,
    shape: Option<Arc<Shape>>,
    open: Rows,
    ready: Vec<Table>,
}

impl PackedBuffer {
    /// Appends rows and leaves none of them where they were.
    pub(in super::super) fn add(&mut self, shape: &Arc<Shape>, rows: &mut Rows) {
        if rows.times.is_empty() {
            return;
        }
        if self.shape.is_none() {
            self.shape = Some(Arc::clone(shape));
        }
        self.open.append(rows);
        if self.open.is_large() {
            self.close();
        }
    }

    /// Appends a table of the same columns.
    pub(in super::super) fn add_table(&mut self, table: Table) {
        self.close();
        if table.rows() > 0 {
            self.ready.push(table);
        }
    }

    /// Makes columns of what is open.
    fn close(&mut self) {
        let Some(shape) = self.shape.as_ref().filter(|_| !self.open.times.is_empty()) else { return };
        let table = shape.table(&self.open).expect("state of other columns is refused before the job starts");
        self.open.clear();
        self.ready.push(table);
    }
}

impl OutputBuffer for PackedBuffer {
    fn with_rows(rows: usize) -> Self {
        PackedBuffer { rows: rows.max(1), shape: None, open: Rows::default(), ready: Vec::new() }
    }

    fn drain(&mut self, batches: &mut Vec<Batch>) {
        self.close();
        for table in self.ready.drain(..) {
            for offset in (0..table.rows()).step_by(self.rows) {
                batches.push(Arc::new(table.slice(offset, self.rows.min(table.rows() - offset))));
            }
        }
    }

    fn mark(&mut self) -> usize {
        self.close();
        self.ready.len()
    }

    fn rewind(&mut self, mark: usize) {
        self.open.clear();
        self.ready.truncate(mark);
    }
}

impl Output for PackedTable {
    type Buffer = PackedBuffer;

    fn scatter(channels: usize, rows: usize) -> Box<dyn Scatter> {
        Table::scatter(channels, rows)
    }
}
