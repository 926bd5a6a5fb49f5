//! What a query answers, as rows of five numbers, and what is compared of them: how many there are, and a sum that does
//! not depend on their order.

use std::sync::Mutex;

use piton::prelude::*;
use serde::{Deserialize, Serialize};

/// One row of an answer; columns that a query does not have are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, Record)]
pub(crate) struct Row(pub(crate) [u64; 5]);

/// All rows of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) rows: u64,
    pub(crate) sum: u64,
}

impl Answer {
    #[inline]
    pub(crate) fn add(&mut self, row: Row) {
        self.add_times(row, 1);
    }

    /// Adds what stands for several rows that are the same.
    #[inline]
    pub(crate) fn add_times(&mut self, Row(columns): Row, times: u64) {
        const ODD: [u64; 5] = [
            0x9E37_79B9_7F4A_7C15,
            0xBF58_476D_1CE4_E5B9,
            0x94D0_49BB_1331_11EB,
            0xD6E8_FEB8_6659_FD93,
            0xFF51_AFD7_ED55_8CCD,
        ];
        let mut hash = 0u64;
        for (column, odd) in columns.into_iter().zip(ODD) {
            hash = hash.wrapping_add(column.wrapping_mul(odd));
        }
        // Without this, two rows that have exchanged a column would add up to the same.
        hash = (hash ^ (hash >> 29)).wrapping_mul(ODD[1]);
        hash ^= hash >> 32;
        self.rows += times;
        self.sum = self.sum.wrapping_add(hash.wrapping_mul(times));
    }

    pub(crate) fn merge(&mut self, other: Answer) {
        self.rows += other.rows;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// Adds up what the parts of an engine have, each when it is dropped.
static TOTAL: Mutex<Answer> = Mutex::new(Answer { rows: 0, sum: 0 });

/// Returns what was added up, and begins again.
pub(crate) fn take_total() -> Answer {
    std::mem::take(&mut *TOTAL.lock().expect("nobody panics with it"))
}

/// What one part of an engine has seen of an answer; a clone has seen nothing.
#[derive(Debug, Default)]
pub(crate) struct Part(pub(crate) Answer);

impl Part {
    #[inline]
    pub(crate) fn add(&mut self, row: Row) {
        self.0.add(row);
    }
}

impl Clone for Part {
    fn clone(&self) -> Part {
        Part::default()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        TOTAL.lock().expect("nobody panics with it").merge(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_rows_does_not_count_but_that_of_columns_does() {
        let of = |rows: &[[u64; 5]]| {
            let mut answer = Answer::default();
            rows.iter().for_each(|row| answer.add(Row(*row)));
            answer
        };
        let (a, b) = ([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]);
        assert_eq!(of(&[a, b]), of(&[b, a]));
        assert_ne!(of(&[a, b]), of(&[[1, 7, 3, 4, 5], [6, 2, 8, 9, 10]]));
        assert_ne!(of(&[a]), of(&[[2, 1, 3, 4, 5]]));
    }
}
