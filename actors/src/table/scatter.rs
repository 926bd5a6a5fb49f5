//! Spreading the rows of tables over channels.

use std::sync::Arc;

use arrow::array::UInt32Array;

use super::{Table, table};
use crate::batch::{Batch, Scatter};

/// Spreads rows over channels. Each `add` copies a channel's rows once, so that a large table is not held back by the
/// few of its rows that wait in a slow channel.
pub(super) struct TableScatter {
    rows: usize,
    channels: Vec<Channel>,
}

impl TableScatter {
    pub(super) fn new(channels: usize, rows: usize) -> TableScatter {
        TableScatter { rows: rows.max(1), channels: (0..channels).map(|_| Channel::default()).collect() }
    }
}

#[derive(Default)]
struct Channel {
    pieces: Vec<Table>,
    rows: usize,
    /// The positions for this channel in the table that is being spread.
    positions: Vec<u32>,
}

impl Channel {
    fn add(&mut self, piece: Table) {
        self.rows += piece.rows();
        self.pieces.push(piece);
    }

    /// Gives whole batches of `rows` to `ready`, and the rest too if `all` is wanted.
    fn give(&mut self, rows: usize, all: bool, mut ready: impl FnMut(Table)) {
        if self.rows == 0 || (self.rows < rows && !all) {
            return;
        }
        let whole = Table::concat(&self.pieces).expect("all tables of one edge have the schema that was planned");
        self.pieces.clear();
        let mut offset = 0;
        while whole.rows() - offset >= rows {
            ready(whole.slice(offset, rows));
            offset += rows;
        }
        let rest = whole.slice(offset, whole.rows() - offset);
        self.rows = 0;
        match rest.rows() {
            0 => {}
            _ if all => ready(rest),
            _ => self.add(rest),
        }
    }
}

impl Scatter for TableScatter {
    fn add(&mut self, batch: &Batch, targets: &[u32], ready: &mut Vec<(usize, Batch)>) {
        let table = table(batch).expect("edge types were checked when the plan was made");
        assert_eq!(table.rows(), targets.len(), "every row needs its target");
        let Some(first) = targets.first() else { return };
        if targets.iter().all(|target| target == first) {
            self.channels[*first as usize].add(Table::clone(&table));
        } else {
            for (row, target) in (0..).zip(targets) {
                self.channels[*target as usize].positions.push(row);
            }
            for channel in self.channels.iter_mut().filter(|channel| !channel.positions.is_empty()) {
                let positions = UInt32Array::from(std::mem::take(&mut channel.positions));
                channel.add(table.take(&positions).expect("the positions were counted along the table"));
            }
        }
        for (index, channel) in self.channels.iter_mut().enumerate() {
            channel.give(self.rows, false, |table| ready.push((index, Arc::new(table))));
        }
    }

    fn flush(&mut self, ready: &mut Vec<(usize, Batch)>) {
        for (index, channel) in self.channels.iter_mut().enumerate() {
            channel.give(self.rows, true, |table| ready.push((index, Arc::new(table))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{numbers, values};
    use super::*;
    use crate::batch::Output;

    #[test]
    fn scatter_keeps_order_times_and_batch_size() {
        let batch: Batch = Arc::new(numbers(&[1, 2, 3, 4, 5], Some(&[10, 20, 30, 40, 50])));
        let mut scatter = Table::scatter(2, 2);
        let mut ready = Vec::new();
        scatter.add(&batch, &[0, 1, 0, 0, 1], &mut ready);
        scatter.flush(&mut ready);
        let got: Vec<_> = ready.iter().map(|(channel, batch)| (*channel, values(batch))).collect();
        assert_eq!(
            got,
            [
                (0, (vec![1, 3], Some(vec![10, 30]))),
                (1, (vec![2, 5], Some(vec![20, 50]))),
                (0, (vec![4], Some(vec![40])))
            ]
        );
    }

    #[test]
    fn scatter_joins_small_tables_into_full_batches() {
        let mut scatter = Table::scatter(2, 4);
        let mut ready = Vec::new();
        for start in [0, 3, 6] {
            let batch: Batch = Arc::new(numbers(&[start, start + 1, start + 2], None));
            scatter.add(&batch, &[1, 1, 1], &mut ready);
        }
        let got: Vec<_> = ready.iter().map(|(channel, batch)| (*channel, values(batch).0)).collect();
        assert_eq!(got, [(1, vec![0, 1, 2, 3]), (1, vec![4, 5, 6, 7])]);
        ready.clear();
        scatter.flush(&mut ready);
        assert_eq!(values(&ready[0].1).0, [8]);
        assert_eq!(ready.len(), 1);
    }
}
