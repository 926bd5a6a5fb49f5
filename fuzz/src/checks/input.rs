//! Takes an input apart.

/// What is left of an input. Where it has ended, zeros follow.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub fn word(&mut self) -> usize {
        usize::from(u16::from_le_bytes(self.array()))
    }

    /// Returns a number of three bytes.
    pub fn place(&mut self) -> usize {
        let [a, b, c] = self.array();
        u32::from_le_bytes([a, b, c, 0]) as usize
    }

    /// Returns as many bytes as a word says, or the rest.
    pub fn piece(&mut self) -> &'a [u8] {
        let length = self.word().min(self.0.len());
        let (piece, rest) = self.0.split_at(length);
        self.0 = rest;
        piece
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let length = N.min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        array[..length].copy_from_slice(taken);
        self.0 = rest;
        array
    }
}

/// Writes a piece as [`Input::piece`] takes it.
pub fn piece(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("seeds are small");
    [&length.to_le_bytes(), bytes].concat()
}
