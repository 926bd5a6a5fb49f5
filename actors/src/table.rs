//! Tables: Arrow batches as records on an edge.
//!
//! The stock operators speak Arrow, the field's shared format for columns. A [`Table`] is one Arrow batch with the
//! event time of each of its rows; everything in it is shared, so that a copy, a slice and a projection cost nothing.
//! A table is not a [`Record`](crate::Record): a record is one row of a Rust type, a table is a whole batch of rows.

mod joint;
mod scatter;
mod text;
mod times;

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use crate::batch::{AnyBatch, Batch, Output, OutputBuffer, Scatter, unshown};
use crate::context::Context;
use crate::feed::Feed;
use crate::record::{Inputs, RecordType};
use crate::side::{SideOutput, SideOutputDeclared};
use crate::time::Timestamp;
pub use joint::Joint;
use scatter::TableScatter;
pub(crate) use text::Encoding;
pub(crate) use times::in_ms;

/// One Arrow batch with the event time of each row, if its rows have one.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    batch: RecordBatch,
    times: Option<ScalarBuffer<Timestamp>>,
}

impl Table {
    /// Makes a table of a batch whose rows have no event time.
    pub fn new(batch: RecordBatch) -> Table {
        Table { batch, times: None }
    }

    /// Makes a table of a batch with the event time of each row in ms, if there are times.
    ///
    /// # Panics
    /// If there are not as many times as rows.
    pub fn with_times(batch: RecordBatch, times: Option<ScalarBuffer<Timestamp>>) -> Table {
        if let Some(times) = &times {
            assert_eq!(times.len(), batch.num_rows(), "every row needs its time, or none has one");
        }
        Table { batch, times }
    }

    /// Returns the Arrow batch.
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// Returns the schema of the batch.
    pub fn schema(&self) -> SchemaRef {
        self.batch.schema()
    }

    /// Returns the column at a position.
    pub fn column(&self, index: usize) -> &ArrayRef {
        self.batch.column(index)
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// Returns the event times as a buffer that can be shared.
    pub fn shared_times(&self) -> Option<ScalarBuffer<Timestamp>> {
        self.times.clone()
    }

    /// Returns the event time of a row in ms.
    pub fn time(&self, row: usize) -> Option<Timestamp> {
        self.times.as_ref().map(|times| times[row])
    }

    /// Returns a range of the rows, without copying them.
    #[must_use]
    pub fn slice(&self, offset: usize, rows: usize) -> Table {
        let times = self.times.as_ref().map(|times| times.slice(offset, rows));
        Table { batch: self.batch.slice(offset, rows), times }
    }

    /// Returns the rows for which `mask` is true.
    ///
    /// # Errors
    /// If the mask is not as long as the table.
    pub fn filter(&self, mask: &BooleanArray) -> crate::Result<Table> {
        let batch = compute::filter_record_batch(&self.batch, mask)?;
        let times = self.times.as_ref().map(|times| {
            let kept = times.iter().zip(mask.iter()).filter(|(_, keep)| *keep == Some(true));
            kept.map(|(time, _)| *time).collect()
        });
        Ok(Table { batch, times })
    }

    /// Returns the rows at these positions, in this order.
    ///
    /// # Errors
    /// If a position lies outside of the table.
    pub fn take(&self, positions: &UInt32Array) -> crate::Result<Table> {
        let batch = compute::take_record_batch(&self.batch, positions)?;
        let times =
            self.times.as_ref().map(|times| positions.values().iter().map(|row| times[*row as usize]).collect());
        Ok(Table { batch, times })
    }

    /// Returns tables of one schema as one.
    fn concat(tables: &[Table]) -> crate::Result<Table> {
        let [first, rest @ ..] = tables else { return Err(crate::Error::failed("there is no table to concatenate")) };
        if rest.is_empty() {
            return Ok(first.clone());
        }
        let batch = compute::concat_batches(first.batch.schema_ref(), tables.iter().map(|table| &table.batch))?;
        Ok(Table { batch, times: Table::concat_times(tables) })
    }

    /// Rows without a time among rows with one count as being of the same moment as their neighbour.
    fn concat_times(tables: &[Table]) -> Option<ScalarBuffer<Timestamp>> {
        let mut last = *tables.iter().find_map(|table| table.times.as_ref()?.first())?;
        let mut all = Vec::with_capacity(tables.iter().map(Table::rows).sum());
        for table in tables {
            match &table.times {
                Some(times) => all.extend_from_slice(times),
                None => all.resize(all.len() + table.rows(), last),
            }
            last = all.last().copied().unwrap_or(last);
        }
        Some(all.into())
    }
}

impl AnyBatch for Table {
    fn len(&self) -> usize {
        self.rows()
    }

    fn times(&self) -> Option<&[Timestamp]> {
        self.times.as_deref()
    }

    fn memory(&self) -> usize {
        // Only what the slices show: a batch that shares its buffers with others does not count them whole.
        let columns =
            self.batch.columns().iter().map(|column| {
                column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
            });
        columns.sum::<usize>() + self.times.as_ref().map_or(0, |times| size_of_val(&times[..]))
    }

    fn slice(&self, rows: Range<usize>) -> Batch {
        Arc::new(Table::slice(self, rows.start, rows.len()))
    }

    fn same(&self, other: &dyn AnyBatch) -> bool {
        let other: &dyn Any = other;
        other.downcast_ref::<Table>().is_some_and(|other| self == other)
    }

    fn pack(&self) -> crate::Result<Vec<u8>> {
        let mut columns = Vec::new();
        let mut writer = StreamWriter::try_new(&mut columns, &self.batch.schema())?;
        writer.write(&self.batch)?;
        writer.finish()?;
        drop(writer);
        Ok(rmp_serde::to_vec(&(self.times.as_deref(), serde_bytes::Bytes::new(&columns)))?)
    }

    fn show(&self, row: usize) -> String {
        let mut line = Vec::new();
        match Encoding::Json.rows(&Table::slice(self, row, 1), &mut line) {
            Ok(()) => String::from_utf8_lossy(line.trim_ascii_end()).into_owned(),
            Err(error) => unshown(&error),
        }
    }
}

fn unpack_table(bytes: &[u8]) -> crate::Result<Table> {
    let unreadable = |why: &dyn std::fmt::Display| {
        crate::Error::invalid(format!("records that were under way cannot be read as Arrow batches: {why}"))
    };
    let (times, columns): (Option<Vec<Timestamp>>, serde_bytes::ByteBuf) =
        rmp_serde::from_slice(bytes).map_err(|error| unreadable(&error))?;
    let mut batches = StreamReader::try_new(&columns[..], None)?;
    let batch = batches.next().ok_or_else(|| unreadable(&"there is no batch"))??;
    if times.as_ref().is_some_and(|times| times.len() != batch.num_rows()) {
        return Err(unreadable(&"there are not as many times as rows"));
    }
    Ok(Table { batch, times: times.map(Into::into) })
}

/// Returns the batch as a table, or nothing if it holds something else.
pub fn table(batch: &Batch) -> Option<Arc<Table>> {
    let any: Arc<dyn Any + Send + Sync> = Arc::clone(batch) as Arc<dyn Any + Send + Sync>;
    any.downcast().ok()
}

/// One row of a table, by reference.
#[derive(Clone, Copy, Debug)]
pub struct TableRow<'a> {
    /// The table.
    pub table: &'a Table,
    /// Which of its rows.
    pub row: usize,
}

impl Inputs for Table {
    type Ref<'a> = TableRow<'a>;
    type Batch = Arc<Table>;

    fn ports() -> Vec<Option<RecordType>> {
        vec![None]
    }

    fn batch(_port: usize, batch: &Batch) -> Option<Self::Batch> {
        table(batch)
    }

    fn unpack(_port: usize, bytes: &[u8]) -> crate::Result<Batch> {
        Ok(Arc::new(unpack_table(bytes)?))
    }

    fn rows(batch: &Self::Batch) -> usize {
        batch.rows()
    }

    fn times(batch: &Self::Batch) -> Option<&[Timestamp]> {
        AnyBatch::times(&**batch)
    }

    fn iter(batch: &Self::Batch, rows: Range<usize>) -> impl Iterator<Item = Self::Ref<'_>> {
        rows.map(|row| TableRow { table: batch, row })
    }
}

/// Collects tables, cut into batches of at most a fixed number of rows.
pub struct TableBuffer {
    rows: usize,
    ready: Vec<Table>,
}

impl TableBuffer {
    /// Appends a table; one without rows leaves no trace.
    pub fn push(&mut self, table: Table) {
        let rows = table.rows();
        if rows <= self.rows {
            if rows > 0 {
                self.ready.push(table);
            }
            return;
        }
        for offset in (0..rows).step_by(self.rows) {
            self.ready.push(table.slice(offset, self.rows.min(rows - offset)));
        }
    }
}

impl OutputBuffer for TableBuffer {
    fn with_rows(rows: usize) -> Self {
        TableBuffer { rows: rows.max(1), ready: Vec::new() }
    }

    fn drain(&mut self, batches: &mut Vec<Batch>) {
        batches.extend(self.ready.drain(..).map(|table| Arc::new(table) as Batch));
    }

    fn mark(&mut self) -> usize {
        self.ready.len()
    }

    fn rewind(&mut self, mark: usize) {
        self.ready.truncate(mark);
    }
}

impl Output for Table {
    type Buffer = TableBuffer;

    fn scatter(channels: usize, rows: usize) -> Box<dyn Scatter> {
        Box::new(TableScatter::new(channels, rows))
    }
}

impl Context<Table> {
    /// Emits the rows of an Arrow batch; each inherits the event time of the current record or timer.
    pub fn emit_batch(&mut self, batch: RecordBatch) {
        let times = self.timestamp().map(|time| vec![time; batch.num_rows()].into());
        self.emit_table(Table::with_times(batch, times));
    }

    /// Emits the rows of a table, which carry their own event times.
    pub fn emit_table(&mut self, table: Table) {
        self.output().push(table);
    }
}

impl<Out: Output> Context<Out> {
    /// Emits the rows of a table, which carry their own event times, to a side output.
    ///
    /// # Errors
    /// As [`emit_to`](Context::emit_to).
    pub fn emit_table_to(&mut self, output: SideOutput<Table>, table: Table) -> crate::Result {
        if let Some(buffer) = self.sides.buffer(output, &self.subtask.operator)? {
            buffer.push(table);
        }
        Ok(())
    }

    /// Emits the rows of a table to a side output whose name comes from the topology file.
    pub(crate) fn emit_table_named(&mut self, output: &str, table: Table) -> crate::Result {
        if let Some(buffer) = self.sides.buffer_named::<Table>(output, &self.subtask.operator)? {
            buffer.push(table);
        }
        Ok(())
    }
}

impl SideOutput<Table> {
    /// Declares it as one of batches of this schema.
    pub fn with_schema(self, schema: SchemaRef) -> SideOutputDeclared {
        self.carrying(RecordType::Table(schema))
    }
}

impl Feed<Table> {
    /// Emits the rows of a table.
    pub fn push_table(&mut self, table: Table) {
        let rows = table.rows();
        self.buffer().push(table);
        self.count(rows);
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

    pub(crate) fn numbers(values: &[i64], times: Option<&[i64]>) -> Table {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let batch = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values.to_vec()))]).unwrap();
        Table::with_times(batch, times.map(|times| times.to_vec().into()))
    }

    pub(crate) fn values(batch: &Batch) -> (Vec<i64>, Option<Vec<i64>>) {
        let table = table(batch).unwrap();
        let values = table.column(0).as_primitive::<Int64Type>().values().to_vec();
        (values, batch.times().map(<[i64]>::to_vec))
    }

    #[test]
    fn rows_without_a_time_take_their_neighbours() {
        let tables = [numbers(&[1], None), numbers(&[2, 3], Some(&[7, 8])), numbers(&[4], None)];
        assert_eq!(Table::concat(&tables).unwrap().times().unwrap(), [7, 7, 8, 8]);
        assert_eq!(Table::concat(&tables[..1]).unwrap().times(), None);
    }

    #[test]
    fn the_buffer_cuts_large_tables_and_drops_empty_ones() {
        let mut buffer = TableBuffer::with_rows(2);
        buffer.push(numbers(&[], None));
        buffer.push(numbers(&[1, 2, 3], Some(&[1, 2, 3])));
        let mut batches = Vec::new();
        buffer.drain(&mut batches);
        let got: Vec<_> = batches.iter().map(|batch| values(batch).0).collect();
        assert_eq!(got, [vec![1, 2], vec![3]]);
        assert_eq!(batches[1].memory(), 16, "a slice counts its own rows only");
    }

    #[test]
    fn a_slice_is_the_same_as_a_table_of_its_rows() {
        let table: Batch = Arc::new(numbers(&[1, 2, 3], Some(&[10, 20, 30])));
        let slice = AnyBatch::slice(&*table, 1..3);
        assert!(slice.same(&numbers(&[2, 3], Some(&[20, 30]))));
        assert!(!slice.same(&numbers(&[2, 3], None)));
        assert!(!slice.same(&numbers(&[2, 4], Some(&[20, 30]))));
        assert!(!slice.same(&crate::Rows::with_times(vec![2i64, 3], vec![20, 30])));
        assert_eq!(slice.show(1), r#"{"n":3}"#);
    }

    #[test]
    fn a_table_survives_being_packed() {
        for times in [None, Some(&[10, 20, 30][..])] {
            let table = numbers(&[1, 2, 3], times);
            // Of a slice, only what it shows is packed.
            let batch = Table::slice(&table, 1, 2);
            let unpacked = Table::unpack(0, &AnyBatch::pack(&batch).unwrap()).unwrap();
            assert!(unpacked.same(&batch));
        }
        assert!(Table::unpack(0, b"nonsense").is_err());
    }

    #[test]
    fn whole_tables_are_sent_aside() {
        const ASIDE: SideOutput<Table> = SideOutput::new("aside");

        struct Part;

        impl crate::Operator for Part {
            type In = Table;
            type Out = Table;

            fn side_outputs(&self) -> Vec<SideOutputDeclared> {
                vec![ASIDE.with_schema(numbers(&[], None).schema())]
            }

            fn process(&mut self, _row: TableRow<'_>, _ctx: &mut Context<Table>) -> crate::Result {
                Ok(())
            }

            fn process_batch(&mut self, table: Arc<Table>, ctx: &mut Context<Table>) -> crate::Result {
                ctx.emit_table(Table::slice(&table, 0, 1));
                ctx.emit_table_to(ASIDE, Table::slice(&table, 1, table.rows() - 1))
            }
        }

        let mut harness = crate::harness::Harness::new(|| Part);
        harness.push_batch(0, Arc::new(numbers(&[1, 2, 3], Some(&[10, 20, 30])))).unwrap();
        assert_eq!(harness.output_batches().iter().map(values).collect::<Vec<_>>(), [(vec![1], Some(vec![10]))]);
        let aside: Vec<_> = harness.side_output_batches("aside").iter().map(values).collect();
        assert_eq!(aside, [(vec![2, 3], Some(vec![20, 30]))]);
    }

    #[test]
    fn filter_and_take_keep_times_with_their_rows() {
        let table = numbers(&[1, 2, 3], Some(&[10, 20, 30]));
        let mask = BooleanArray::from(vec![Some(true), None, Some(true)]);
        assert_eq!(table.filter(&mask).unwrap(), numbers(&[1, 3], Some(&[10, 30])));
        assert_eq!(table.take(&UInt32Array::from(vec![2, 0])).unwrap(), numbers(&[3, 1], Some(&[30, 10])));
    }
}
