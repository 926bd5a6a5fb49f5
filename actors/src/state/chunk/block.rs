//! One value or none for each row, and how that is written.

use super::damaged;
use super::read::Reader;
use crate::{Error, Result};

const NO_ROW: u8 = 0;
const EVERY_ROW: u8 = 1;
const SOME_ROWS: u8 = 2;

/// Collects a block, row by row.
pub(in crate::state) struct BlockWriter {
    width: Option<usize>,
    rows: usize,
    values: usize,
    present: Vec<u64>,
    lengths: Vec<u32>,
    body: Vec<u8>,
}

impl BlockWriter {
    /// Begins a block of about this many rows, of values of this width or of varying width.
    pub(in crate::state) fn new(width: Option<usize>, rows: usize) -> BlockWriter {
        BlockWriter {
            width,
            rows: 0,
            values: 0,
            present: Vec::with_capacity(rows.div_ceil(64)),
            lengths: Vec::new(),
            body: Vec::with_capacity(rows * width.unwrap_or(0)),
        }
    }

    /// The next row has no value.
    #[inline]
    pub(in crate::state) fn skip(&mut self) {
        if self.rows.is_multiple_of(64) {
            self.present.push(0);
        }
        self.rows += 1;
    }

    #[inline]
    fn mark(&mut self) {
        let bit = self.rows % 64;
        self.skip();
        if let Some(word) = self.present.last_mut() {
            *word |= 1 << bit;
        }
        self.values += 1;
    }

    /// The next row has the value that `write` appends.
    ///
    /// # Errors
    /// The error of `write`, or if the value is longer than 4 GiB.
    #[inline]
    pub(in crate::state) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result) -> Result {
        let start = self.body.len();
        write(&mut self.body)?;
        let length = self.body.len() - start;
        match self.width {
            Some(width) => debug_assert_eq!(length, width),
            None => self.lengths.push(u32::try_from(length).map_err(|_| too_long())?),
        }
        self.mark();
        Ok(())
    }

    /// The next row has this value, or none.
    ///
    /// # Errors
    /// If the value is longer than 4 GiB.
    #[inline]
    pub(in crate::state) fn push(&mut self, value: Option<&[u8]>) -> Result {
        match value {
            Some(value) => self.push_with(|body| {
                body.extend_from_slice(value);
                Ok(())
            }),
            None => {
                self.skip();
                Ok(())
            }
        }
    }

    /// Returns whether no row has a value.
    pub(super) fn is_empty(&self) -> bool {
        self.values == 0
    }

    /// Returns about how many bytes it will take.
    pub(super) fn len(&self) -> usize {
        1 + self.present.len() * 8 + self.lengths.len() * 4 + self.body.len()
    }

    pub(super) fn finish(&self, out: &mut Vec<u8>) {
        if self.values == 0 {
            out.push(NO_ROW);
            return;
        }
        if self.values == self.rows {
            out.push(EVERY_ROW);
        } else {
            out.push(SOME_ROWS);
            for word in &self.present {
                out.extend_from_slice(&word.to_le_bytes());
            }
        }
        for length in &self.lengths {
            out.extend_from_slice(&length.to_le_bytes());
        }
        out.extend_from_slice(&self.body);
    }
}

fn too_long() -> Error {
    Error::invalid("one value of state is longer than 4 GiB: spread it over more keys")
}

/// A block as it stands in a chunk.
pub(super) struct Block<'a> {
    present: Present,
    width: Option<usize>,
    /// Where each value ends, if their width varies.
    ends: Vec<usize>,
    body: &'a [u8],
}

enum Present {
    None,
    All,
    /// The bitmap, and how many rows before each word have a value.
    Some {
        words: Vec<u64>,
        ranks: Vec<u32>,
    },
}

impl<'a> Block<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, rows: usize, width: Option<usize>) -> Result<Block<'a>> {
        let (present, values) = match reader.u8()? {
            NO_ROW => (Present::None, 0),
            EVERY_ROW => (Present::All, rows),
            SOME_ROWS => read_bitmap(reader, rows)?,
            _ => return Err(damaged("a block of unknown form")),
        };
        let mut ends = Vec::new();
        let length = match width {
            Some(width) => values * width,
            None => {
                let mut end = 0usize;
                ends.reserve_exact(reader.remaining(values, 4)?);
                for length in reader.u32s(values)? {
                    end += length as usize;
                    ends.push(end);
                }
                end
            }
        };
        Ok(Block { present, width, ends, body: reader.take(length)? })
    }

    /// Returns the value of a row.
    #[inline]
    pub(super) fn get(&self, row: usize) -> Option<&'a [u8]> {
        let position = match &self.present {
            Present::None => return None,
            Present::All => row,
            Present::Some { words, ranks } => {
                let (word, bit) = (words.get(row / 64)?, row % 64);
                if word & (1 << bit) == 0 {
                    return None;
                }
                ranks[row / 64] as usize + (word & ((1 << bit) - 1)).count_ones() as usize
            }
        };
        match self.width {
            Some(width) => self.body.get(position * width..position * width + width),
            None => {
                let start = if position == 0 { 0 } else { *self.ends.get(position - 1)? };
                self.body.get(start..*self.ends.get(position)?)
            }
        }
    }
}

fn read_bitmap(reader: &mut Reader<'_>, rows: usize) -> Result<(Present, usize)> {
    let count = rows.div_ceil(64);
    let mut words = Vec::with_capacity(reader.remaining(count, 8)?);
    let mut ranks = Vec::with_capacity(count);
    let mut values = 0;
    for word in reader.u64s(count)? {
        ranks.push(values);
        values += word.count_ones();
        words.push(word);
    }
    let behind = if rows.is_multiple_of(64) { 0 } else { words.last().map_or(0, |word| word >> (rows % 64)) };
    if behind != 0 {
        return Err(damaged("a bitmap with more rows than there are"));
    }
    Ok((Present::Some { words, ranks }, values as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(width: Option<usize>, values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut writer = BlockWriter::new(width, values.len());
        for value in values {
            writer.push(*value).unwrap();
        }
        let mut out = Vec::new();
        writer.finish(&mut out);
        out
    }

    #[test]
    fn a_block_gives_back_its_values() {
        let mut many: Vec<Option<&[u8]>> = vec![None; 200];
        many[3] = Some(b"ab");
        many[64] = Some(b"cd");
        many[199] = Some(b"ef");
        let all: Vec<Option<&[u8]>> = vec![Some(b"xy"); 70];
        for values in [many, all, vec![None; 5], vec![]] {
            for width in [Some(2), None] {
                let bytes = written(width, &values);
                let mut reader = Reader::new(&bytes);
                let block = Block::read(&mut reader, values.len(), width).unwrap();
                assert!(reader.is_empty());
                let got: Vec<_> = (0..values.len()).map(|row| block.get(row)).collect();
                assert_eq!(got, values);
            }
        }
    }

    #[test]
    fn a_block_that_is_cut_short_is_an_error() {
        let bytes = written(None, &[Some(b"tea"), None, Some(b"milk")]);
        for length in 0..bytes.len() {
            assert!(Block::read(&mut Reader::new(&bytes[..length]), 3, None).is_err());
        }
        let mut behind = bytes.clone();
        behind[1] |= 8;
        assert!(Block::read(&mut Reader::new(&behind), 3, None).is_err(), "a fourth row");
    }
}
