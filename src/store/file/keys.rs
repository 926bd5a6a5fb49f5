//! The keys of the catalogue: a letter and numbers of fixed width, big-endian, so that their order is that of time.
//!
//! Regions go by a number, which the catalogue gives them when they first commit.

use super::letter_log::Identity;
use crate::ids::WindowId;
use crate::store::catalogue::Pairs;

/// How many bytes of a sealed body go into one value: with its key well within what a catalogue takes.
const PIECE: usize = 4000;

/// The incarnation that was claimed last.
pub(super) fn incarnation() -> Vec<u8> {
    b"i".to_vec()
}

/// All regions, or the name of one.
pub(super) const REGIONS: &[u8] = b"r";

pub(super) fn region(number: u32) -> Vec<u8> {
    [REGIONS, &number.to_be_bytes()].concat()
}

/// Returns the number in a key of [`region`]. There is one behind each, for the next region.
pub(super) fn region_number(key: &[u8]) -> Option<u32> {
    let number = u32::from_be_bytes(key.strip_prefix(REGIONS)?.try_into().ok()?);
    (number < u32::MAX).then_some(number)
}

/// The head of a region: its window.
pub(super) fn head(number: u32) -> Vec<u8> {
    [b"h".as_slice(), &number.to_be_bytes()].concat()
}

/// The places of the records of a region.
pub(super) fn places(number: u32) -> Vec<u8> {
    [b"p".as_slice(), &number.to_be_bytes()].concat()
}

pub(super) fn place(number: u32, window: WindowId) -> Vec<u8> {
    [places(number).as_slice(), &window.0.to_be_bytes()].concat()
}

/// Returns the window in a key of [`place`].
pub(super) fn place_window(key: &[u8]) -> Option<WindowId> {
    Some(WindowId(u64::from_be_bytes(*key.last_chunk()?)))
}

/// The pieces of the record of a window.
pub(super) fn record(number: u32, window: WindowId) -> Vec<u8> {
    [b"m".as_slice(), &number.to_be_bytes(), &window.0.to_be_bytes()].concat()
}

/// The joined outputs of a region.
pub(super) fn joined(number: u32) -> Vec<u8> {
    [b"o".as_slice(), &number.to_be_bytes()].concat()
}

/// The pieces of one joined output: the `nth` of its window.
pub(super) fn joined_output(number: u32, window: WindowId, nth: u32) -> Vec<u8> {
    [joined(number).as_slice(), &window.0.to_be_bytes(), &nth.to_be_bytes()].concat()
}

/// Returns the window and the number in the key of a piece of [`joined_output`].
pub(super) fn joined_numbers(key: &[u8]) -> Option<(WindowId, u32)> {
    let (window, rest) = key.get(5..)?.split_first_chunk()?;
    Some((WindowId(u64::from_be_bytes(*window)), u32::from_be_bytes(*rest.first_chunk()?)))
}

/// The dead letters of a region.
pub(super) fn letters(number: u32) -> Vec<u8> {
    [b"l".as_slice(), &number.to_be_bytes()].concat()
}

/// The pieces of one dead letter. The name of its subtask, of whatever length, ends with a zero.
pub(super) fn letter(number: u32, (window, subtask, nth): &Identity) -> Vec<u8> {
    let mut key = letters(number);
    key.extend(window.0.to_be_bytes());
    key.extend(subtask.operator.as_bytes());
    key.push(0);
    key.extend(subtask.index.to_be_bytes());
    key.extend(nth.to_be_bytes());
    key
}

/// Returns the key of a piece without the number of the piece.
pub(super) fn whole(key: &[u8]) -> &[u8] {
    &key[..key.len().saturating_sub(4)]
}

/// Splits a sealed body into values under keys of their own.
pub(super) fn pieces(key: &[u8], sealed: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    sealed.chunks(PIECE).enumerate().map(|(nth, piece)| (piece_key(key, nth), piece.to_vec()))
}

/// Returns the keys of the pieces of a sealed body of some length.
pub(super) fn piece_keys(key: &[u8], len: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..len.div_ceil(PIECE)).map(|nth| piece_key(key, nth))
}

/// Returns the key of the first piece of a sealed body, which always has one.
pub(super) fn first_piece(key: &[u8]) -> Vec<u8> {
    piece_key(key, 0)
}

/// Returns whether a key is that of the first piece of a sealed body.
pub(super) fn is_first_piece(key: &[u8]) -> bool {
    key.ends_with(&[0; 4])
}

fn piece_key(key: &[u8], nth: usize) -> Vec<u8> {
    [key, &(nth as u32).to_be_bytes()].concat()
}

/// Joins the values of consecutive pieces.
pub(super) fn join(pairs: Pairs) -> Vec<u8> {
    let pieces: Vec<&[u8]> = pairs.iter().map(|(_, piece)| piece.as_slice()).collect();
    pieces.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_the_whole() {
        let sealed: Vec<u8> = (0..10_000_u32).map(|nth| nth as u8).collect();
        let key = record(7, WindowId(9));
        let pairs: Pairs = pieces(&key, &sealed).collect();
        assert_eq!(pairs.len(), 3);
        let keys: Vec<_> = pairs.iter().map(|(key, _)| key.clone()).collect();
        assert!(keys.is_sorted());
        assert_eq!(piece_keys(&key, sealed.len()).collect::<Vec<_>>(), keys);
        assert_eq!(first_piece(&key), keys[0]);
        assert!(is_first_piece(&keys[0]) && !is_first_piece(&keys[1]));
        assert_eq!(whole(&keys[2]), key);
        assert_eq!(join(pairs), sealed);
    }

    #[test]
    fn keys_tell_their_numbers() {
        assert_eq!(region_number(&region(3)), Some(3));
        assert_eq!(region_number(&region(u32::MAX)), None, "there would be no number for another region");
        assert_eq!(place_window(&place(3, WindowId(5))), Some(WindowId(5)));
        let (key, _) = pieces(&joined_output(3, WindowId(5), 1), b"x").next().unwrap();
        assert_eq!(joined_numbers(&key), Some((WindowId(5), 1)));
    }
}
