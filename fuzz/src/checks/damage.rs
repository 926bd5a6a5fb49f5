//! Damage to one file.

use super::input::Input;

/// What happens to a file.
pub enum Damage<'a> {
    /// It is something else.
    Replaced(&'a [u8]),
    /// A part of it is something else.
    Patched(usize, &'a [u8]),
    /// It is cut off, and something else follows.
    Cut(usize, &'a [u8]),
    /// A part of it is missing, and what was behind follows.
    Short(usize, usize),
    /// It is gone.
    Removed,
}

impl<'a> Damage<'a> {
    /// Takes the damage from what is left of an input.
    pub fn take(mut input: Input<'a>) -> Damage<'a> {
        match input.byte() % 5 {
            0 => Damage::Replaced(input.0),
            1 => Damage::Patched(input.place(), input.0),
            2 => Damage::Cut(input.place(), input.0),
            3 => Damage::Short(input.place(), input.place()),
            _ => Damage::Removed,
        }
    }

    /// Returns what is left of a file; nothing if it is gone.
    pub fn inflict(&self, content: &[u8]) -> Option<Vec<u8>> {
        let mut content = content.to_vec();
        match *self {
            Damage::Replaced(bytes) => content = bytes.to_vec(),
            Damage::Patched(at, bytes) => {
                let at = at.min(content.len());
                let end = (at + bytes.len()).min(content.len());
                content.splice(at..end, bytes.iter().copied());
            }
            Damage::Cut(at, bytes) => {
                content.truncate(at);
                content.extend(bytes);
            }
            Damage::Short(at, length) => {
                let at = at.min(content.len());
                let end = (at + length).min(content.len());
                content.drain(at..end);
            }
            Damage::Removed => return None,
        }
        Some(content)
    }
}
