//! Two tables as the input of one operator.

use std::ops::Range;
use std::sync::Arc;

use crate::batch::Batch;
use crate::record::{Either, Inputs, RecordType};
use crate::table::{Table, TableRow, table};
use crate::{AnyBatch, Timestamp};

/// The input of an operator with two ports, each of any table.
pub(super) struct TwoTables;

impl TwoTables {
    fn either(batch: &Either<Arc<Table>, Arc<Table>>) -> &Arc<Table> {
        match batch {
            Either::Left(table) | Either::Right(table) => table,
        }
    }
}

impl Inputs for TwoTables {
    type Ref<'a> = Either<TableRow<'a>, TableRow<'a>>;
    type Batch = Either<Arc<Table>, Arc<Table>>;

    fn ports() -> Vec<Option<RecordType>> {
        vec![None, None]
    }

    fn batch(port: usize, batch: &Batch) -> Option<Self::Batch> {
        table(batch).map(if port == 0 { Either::Left } else { Either::Right })
    }

    fn unpack(port: usize, bytes: &[u8]) -> crate::Result<Batch> {
        Table::unpack(port, bytes)
    }

    fn rows(batch: &Self::Batch) -> usize {
        TwoTables::either(batch).rows()
    }

    fn times(batch: &Self::Batch) -> Option<&[Timestamp]> {
        AnyBatch::times(&**TwoTables::either(batch))
    }

    fn iter(batch: &Self::Batch, rows: Range<usize>) -> impl Iterator<Item = Self::Ref<'_>> {
        let table = TwoTables::either(batch);
        let is_left = matches!(batch, Either::Left(_));
        rows.map(move |row| {
            let row = TableRow { table, row };
            if is_left { Either::Left(row) } else { Either::Right(row) }
        })
    }
}
