//! One value or none for each row, and how that is written.

use std::borrow::Cow;
use std::io;
use std::ops::Range;

use super::damaged;
use super::encoding::Primitive;
use super::out::Out;
use super::read::Reader;
use crate::state::bits;
use crate::{Error, Result};

const NO_ROW: u8 = 0;
const EVERY_ROW: u8 = 1;
const SOME_ROWS: u8 = 2;

/// Values of so many bytes on average are fetched from where they came to, one after the other.
const LONG: usize = 128;

/// Collects a block of as many values as there are rows, in any order that is known in the end; those that do not come
/// have no value.
pub(in crate::state) struct BlockWriter {
    width: Option<usize>,
    rows: usize,
    values: usize,
    /// Allocated with the first value, as everything below.
    present: Vec<u64>,
    /// Of values of varying width: how long each is.
    lengths: Vec<u32>,
    /// Of values of varying width: the row behind the last one that came.
    next: usize,
    /// One value behind the other; where there is none, there is room for one if all have the same width.
    body: Vec<u8>,
}

impl BlockWriter {
    /// Begins a block of this many rows, of values of this width or of varying width.
    pub(in crate::state) fn new(width: Option<usize>, rows: usize) -> BlockWriter {
        BlockWriter { width, rows, values: 0, present: Vec::new(), lengths: Vec::new(), next: 0, body: Vec::new() }
    }

    #[cold]
    fn allocate(&mut self) {
        self.present = vec![0; self.rows.div_ceil(64)];
        match self.width {
            Some(width) => self.body = vec![0; self.rows * width],
            None => self.lengths = vec![0; self.rows],
        }
    }

    #[inline]
    fn mark(&mut self, row: usize) {
        if self.present.is_empty() {
            self.allocate();
        }
        let (word, bit) = (&mut self.present[row / 64], 1 << (row % 64));
        debug_assert_eq!(*word & bit, 0, "a row comes once");
        *word |= bit;
        self.values += 1;
    }

    /// The rows have these values, of the width of the block, or none. All come: so there is nothing to be noted of
    /// those that have one, which in most columns are all.
    pub(in crate::state) fn set_every<P: Primitive>(&mut self, values: impl Iterator<Item = Option<P>>) {
        debug_assert!(
            self.width == Some(P::WIDTH) && self.values == 0,
            "the block has values of this width, and none yet"
        );
        let mut body = vec![0; self.rows * P::WIDTH];
        let mut absent = Vec::new();
        let mut came = 0;
        for ((row, place), value) in body.chunks_exact_mut(P::WIDTH).enumerate().zip(values) {
            came += 1;
            match value {
                Some(value) => value.store(place),
                None => absent.push(row),
            }
        }
        debug_assert_eq!(came, self.rows, "all rows come");
        self.values = came - absent.len();
        if self.values == 0 {
            return;
        }
        self.body = body;
        self.present = vec![u64::MAX; self.rows.div_ceil(64)];
        if let Some(last) = self.present.last_mut().filter(|_| !self.rows.is_multiple_of(64)) {
            *last = (1 << (self.rows % 64)) - 1;
        }
        for row in absent {
            self.present[row / 64] &= !(1 << (row % 64));
        }
    }

    /// A row has the value that `write` appends; the width varies, and rows come in order.
    ///
    /// # Errors
    /// The error of `write`, or if the value is longer than 4 GiB.
    #[inline]
    pub(in crate::state) fn set_with(&mut self, row: usize, write: impl FnOnce(&mut Vec<u8>) -> Result) -> Result {
        debug_assert_eq!(self.width, None);
        debug_assert!(row >= self.next, "rows come in order");
        let start = self.body.len();
        write(&mut self.body)?;
        let length = u32::try_from(self.body.len() - start).map_err(|_| too_long())?;
        self.mark(row);
        self.lengths[row] = length;
        self.next = row + 1;
        Ok(())
    }

    /// Makes room for so many values in all, each about as long as those so far, unless there is some already: a body
    /// that grows by doubling is copied again and again.
    pub(in crate::state) fn reserve_for(&mut self, values: usize) {
        let is_begun = self.values > 0 && self.body.capacity() < self.body.len() + self.body.len() / self.values * 64;
        if self.width.is_none() && is_begun {
            let left = values.saturating_sub(self.values);
            self.body.reserve(self.body.len() / self.values * left / 16 * 17);
        }
    }

    /// A row has this value; if the width varies, rows come in order.
    ///
    /// # Errors
    /// If the value is longer than 4 GiB.
    #[inline]
    pub(in crate::state) fn set(&mut self, row: usize, value: &[u8]) -> Result {
        let Some(width) = self.width else {
            return self.set_with(row, |body| {
                body.extend_from_slice(value);
                Ok(())
            });
        };
        self.mark(row);
        self.body[row * width..][..width].copy_from_slice(value);
        Ok(())
    }

    /// Returns whether a row has a value.
    #[inline]
    pub(super) fn has(&self, row: usize) -> bool {
        self.present.get(row / 64).is_some_and(|word| word & (1 << (row % 64)) != 0)
    }

    /// Returns whether no row has a value.
    pub(super) fn is_empty(&self) -> bool {
        self.values == 0
    }

    /// Returns how many bytes it will take.
    pub(super) fn len(&self) -> usize {
        if self.values == 0 {
            return 1;
        }
        let bitmap = if self.values == self.rows { 0 } else { self.present.len() * 8 };
        let values = match self.width {
            Some(width) => self.values * width,
            None => self.values * 4 + self.body.len(),
        };
        1 + bitmap + values
    }

    /// Writes the block. If its rows have other places than they came in, `places` says which.
    ///
    /// Of short values, what came first is taken first, and goes to where it belongs: the rows of one key group come in
    /// order, so that means to write at as many places as there are groups. To look up what belongs to one row after the
    /// other would be to jump through all that came, once for each group. Long ones fill the lines of memory that such a
    /// jump brings; so they are looked up, and need no room for all of them.
    ///
    /// # Errors
    /// Of whoever takes the bytes.
    pub(super) fn finish(&self, places: Option<&[u32]>, out: &mut Out<'_>) -> io::Result<()> {
        if self.values == 0 {
            out.bytes.push(NO_ROW);
            return Ok(());
        }
        let every = self.values == self.rows;
        let present = match places {
            Some(places) if !every => Cow::Owned(self.moved(places)),
            _ => Cow::Borrowed(&self.present[..]),
        };
        if every {
            out.bytes.push(EVERY_ROW);
        } else {
            out.bytes.push(SOME_ROWS);
            for word in &*present {
                out.bytes.extend_from_slice(&word.to_le_bytes());
            }
        }
        let Some(places) = places else { return self.append(every, out) };
        let ranks = if every { Vec::new() } else { ranks(&present) };
        let place = |row: usize| {
            let place = places[row] as usize;
            if every { place } else { rank(&present, &ranks, place) }
        };
        match self.width {
            Some(8) if every => scatter::<8>(&self.body, places, more(&mut out.bytes, self.values * 8)),
            Some(4) if every => scatter::<4>(&self.body, places, more(&mut out.bytes, self.values * 4)),
            Some(width) => {
                let out = more(&mut out.bytes, self.values * width);
                for row in bits::ones(&self.present) {
                    out[place(row) * width..][..width].copy_from_slice(&self.body[row * width..][..width]);
                }
            }
            None if self.body.len() / self.values >= LONG => return self.gather(place, out),
            None => {
                let mut lengths = vec![0; self.values];
                bits::ones(&self.present).for_each(|row| lengths[place(row)] = self.lengths[row]);
                let mut starts = Vec::with_capacity(self.values);
                let mut end = 0;
                for length in lengths {
                    out.bytes.extend_from_slice(&length.to_le_bytes());
                    starts.push(end);
                    end += length as usize;
                }
                let out = more(&mut out.bytes, self.body.len());
                let mut rest = &self.body[..];
                for row in bits::ones(&self.present) {
                    let (value, others) = rest.split_at(self.lengths[row] as usize);
                    out[starts[place(row)]..][..value.len()].copy_from_slice(value);
                    rest = others;
                }
            }
        }
        out.spill()
    }

    /// Writes values of varying width, each as it is its turn.
    fn gather(&self, place: impl Fn(usize) -> usize, out: &mut Out<'_>) -> io::Result<()> {
        let mut values = vec![(0, 0); self.values];
        let mut end = 0;
        for row in bits::ones(&self.present) {
            values[place(row)] = (end, self.lengths[row]);
            end += self.lengths[row] as usize;
        }
        values.iter().for_each(|(_, length)| out.bytes.extend_from_slice(&length.to_le_bytes()));
        for (start, length) in values {
            out.bytes.extend_from_slice(&self.body[start..][..length as usize]);
            out.spill()?;
        }
        Ok(())
    }

    /// Writes the values as they came.
    fn append(&self, every: bool, out: &mut Out<'_>) -> io::Result<()> {
        match self.width {
            Some(_) if every => out.bytes.extend_from_slice(&self.body),
            Some(width) => {
                let rows = bits::ones(&self.present);
                rows.for_each(|row| out.bytes.extend_from_slice(&self.body[row * width..][..width]));
            }
            None => {
                let lengths = bits::ones(&self.present).map(|row| self.lengths[row]);
                lengths.for_each(|length| out.bytes.extend_from_slice(&length.to_le_bytes()));
                out.bytes.extend_from_slice(&self.body);
            }
        }
        out.spill()
    }

    /// Returns which places have a value.
    fn moved(&self, places: &[u32]) -> Vec<u64> {
        let mut moved = vec![0; self.present.len()];
        for row in bits::ones(&self.present) {
            let place = places[row] as usize;
            moved[place / 64] |= 1 << (place % 64);
        }
        moved
    }
}

/// Returns so many bytes more, to be written.
fn more(out: &mut Vec<u8>, bytes: usize) -> &mut [u8] {
    let begin = out.len();
    out.resize(begin + bytes, 0);
    &mut out[begin..]
}

/// Moves values of one width to their places.
fn scatter<const WIDTH: usize>(body: &[u8], places: &[u32], out: &mut [u8]) {
    let ((values, _), (out, _)) = (body.as_chunks::<WIDTH>(), out.as_chunks_mut::<WIDTH>());
    for (value, place) in values.iter().zip(places) {
        out[*place as usize] = *value;
    }
}

/// Returns how many bits are set before each word.
fn ranks(words: &[u64]) -> Vec<u32> {
    let before = |sum: &mut u32, word: &u64| Some(std::mem::replace(sum, *sum + word.count_ones()));
    words.iter().scan(0, before).collect()
}

/// Returns how many bits are set before one.
fn rank(words: &[u64], ranks: &[u32], bit: usize) -> usize {
    let before = words[bit / 64] & ((1 << (bit % 64)) - 1);
    (ranks[bit / 64] + before.count_ones()) as usize
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
    /// Where in the chunk the body begins.
    offset: usize,
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
        Ok(Block { present, width, ends, offset: reader.position(), body: reader.take(length)? })
    }

    /// Returns whether no row has a value.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.present, Present::None)
    }

    /// Returns the value of a row.
    #[inline]
    pub(super) fn get(&self, row: usize) -> Option<&'a [u8]> {
        self.body.get(self.span(row)?)
    }

    /// Returns where in the chunk the value of a row stands.
    #[inline]
    pub(super) fn place(&self, row: usize) -> Option<Range<usize>> {
        let span = self.span(row)?;
        Some(self.offset + span.start..self.offset + span.end)
    }

    /// Returns the value of a row of a block whose values are of this type; nothing, too, if none is written so.
    #[inline]
    pub(super) fn primitive<P: Primitive>(&self, row: usize) -> Option<P> {
        debug_assert_eq!(self.width, Some(P::WIDTH));
        let position = self.position(row)?;
        P::read(self.body.get(position * P::WIDTH..)?.get(..P::WIDTH)?)
    }

    /// Returns whether a row has a value.
    #[inline]
    pub(super) fn has(&self, row: usize) -> bool {
        self.position(row).is_some()
    }

    #[inline]
    fn span(&self, row: usize) -> Option<Range<usize>> {
        let position = self.position(row)?;
        match self.width {
            Some(width) => Some(position * width..position * width + width),
            None => {
                let start = if position == 0 { 0 } else { *self.ends.get(position - 1)? };
                Some(start..*self.ends.get(position)?)
            }
        }
    }

    /// Returns how many rows before this one have a value, if this one has.
    #[inline]
    fn position(&self, row: usize) -> Option<usize> {
        match &self.present {
            Present::None => None,
            Present::All => Some(row),
            Present::Some { words, ranks } => {
                let (word, bit) = (words.get(row / 64)?, row % 64);
                let is_present = word & (1 << bit) != 0;
                is_present.then(|| ranks[row / 64] as usize + (word & ((1 << bit) - 1)).count_ones() as usize)
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
        let collected = |values: &mut dyn Iterator<Item = &Option<&[u8]>>, places: Option<&[u32]>| {
            let values: Vec<_> = values.collect();
            let mut writer = BlockWriter::new(width, values.len());
            for (row, value) in values.into_iter().enumerate() {
                if let Some(value) = value {
                    writer.set(row, value).unwrap();
                }
            }
            let mut out = Out::whole(writer.len());
            writer.finish(places, &mut out).unwrap();
            assert_eq!(out.bytes.len(), writer.len());
            out.bytes
        };
        let backwards: Vec<u32> = (0..values.len() as u32).rev().collect();
        let out = collected(&mut values.iter(), None);
        assert_eq!(collected(&mut values.iter().rev(), Some(&backwards)), out);
        out
    }

    #[test]
    fn a_block_gives_back_its_values() {
        let mut many: Vec<Option<&[u8]>> = vec![None; 200];
        many[3] = Some(b"ab");
        many[64] = Some(b"cd");
        many[199] = Some(b"ef");
        let texts: Vec<String> = (10..80).map(|number| number.to_string()).collect();
        let all: Vec<Option<&[u8]>> = texts.iter().map(|text| Some(text.as_bytes())).collect();
        let long: Vec<Vec<u8>> = (0..40).map(|number| vec![number; LONG + usize::from(number)]).collect();
        let long: Vec<_> = long.iter().map(|value| (value[0] % 3 != 0).then_some(&value[..])).collect();
        let cases = [(many, Some(2)), (all, Some(2)), (long, None), (vec![None; 5], Some(2)), (vec![], Some(2))];
        for (values, width) in cases {
            for width in [width, None] {
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
    fn numbers_are_put_in_order() {
        for width in [4, 8] {
            let numbers: Vec<Vec<u8>> = (0..50u64).map(|number| number.to_le_bytes()[..width].to_vec()).collect();
            let values: Vec<Option<&[u8]>> = numbers.iter().map(|number| Some(&number[..])).collect();
            let bytes = written(Some(width), &values);
            let mut reader = Reader::new(&bytes);
            let block = Block::read(&mut reader, values.len(), Some(width)).unwrap();
            let got: Vec<_> = (0..values.len()).map(|row| block.get(row)).collect();
            assert_eq!(got, values);
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
