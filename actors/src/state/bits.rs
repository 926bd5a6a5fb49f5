//! A set of slots, one bit each.

/// A growing set of small numbers, iterated in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// Adds a number and returns whether it is new.
    #[inline]
    pub(super) fn insert(&mut self, number: u32) -> bool {
        let index = number as usize / 64;
        let Some(word) = self.words.get_mut(index) else {
            self.grow(index, 1 << (number % 64));
            return true;
        };
        if (*word >> (number % 64)) & 1 != 0 {
            return false;
        }
        *word |= 1 << (number % 64);
        true
    }

    /// Returns whether a number is in.
    #[inline]
    pub(super) fn contains(&self, number: u32) -> bool {
        self.words.get(number as usize / 64).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    #[cold]
    fn grow(&mut self, word: usize, bits: u64) {
        self.words.resize(word, 0);
        self.words.push(bits);
    }

    /// Makes the set of all numbers below this one.
    pub(super) fn all_below(end: u32) -> Bits {
        let mut words = vec![u64::MAX; end as usize / 64];
        if !end.is_multiple_of(64) {
            words.push((1 << (end % 64)) - 1);
        }
        Bits { words }
    }

    /// Takes a number out and returns whether it was in.
    #[inline]
    pub(super) fn remove(&mut self, number: u32) -> bool {
        let Some(word) = self.words.get_mut(number as usize / 64) else { return false };
        let bit = 1 << (number % 64);
        let was_in = *word & bit != 0;
        *word &= !bit;
        was_in
    }

    /// Takes everything out.
    pub(super) fn clear(&mut self) {
        self.words.clear();
    }

    /// Returns whether nothing is in.
    pub(super) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Returns how many numbers are in.
    pub(super) fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Returns the greatest number that is in.
    pub(super) fn last(&self) -> Option<u32> {
        let index = self.words.iter().rposition(|word| *word != 0)?;
        Some(index as u32 * 64 + self.words[index].ilog2())
    }

    /// Adds all that is in the other set.
    pub(super) fn union(&mut self, other: &Bits) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
    }

    /// Returns all numbers in ascending order, several times faster than one by one: most words are full, or nearly.
    pub(super) fn list(&self) -> Vec<u32> {
        let mut numbers = Vec::with_capacity(self.count());
        for (index, word) in self.words.iter().enumerate() {
            let first = index as u32 * 64;
            if *word == u64::MAX {
                numbers.extend(first..first + 64);
                continue;
            }
            let mut rest = *word;
            while rest != 0 {
                numbers.push(first + rest.trailing_zeros());
                rest &= rest - 1;
            }
        }
        numbers
    }

    /// Returns the numbers in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        ones(&self.words).map(|number| number as u32)
    }
}

/// Returns which bits are set, in ascending order.
pub(super) fn ones(words: &[u64]) -> impl Iterator<Item = usize> + '_ {
    words.iter().enumerate().flat_map(|(index, word)| {
        let mut rest = *word;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let bit = rest.trailing_zeros();
            rest &= rest - 1;
            Some(index * 64 + bit as usize)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_in_order() {
        let mut bits = Bits::default();
        for number in [200, 0, 63, 64, 5] {
            assert!(bits.insert(number));
            assert!(!bits.insert(number));
        }
        assert!(bits.contains(64) && !bits.contains(65) && !bits.contains(100_000));
        assert!(bits.remove(5));
        assert!(!bits.remove(5));
        assert!(!bits.remove(100_000));
        assert_eq!(bits.iter().collect::<Vec<_>>(), [0, 63, 64, 200]);
        assert_eq!(bits.list(), [0, 63, 64, 200]);
        assert_eq!((bits.last(), bits.count()), (Some(200), 4));
        bits.clear();
        assert!(bits.is_empty());
    }

    #[test]
    fn all_numbers_below_one_are_in() {
        for end in [0, 1, 63, 64, 65, 200] {
            assert_eq!(Bits::all_below(end).iter().collect::<Vec<_>>(), (0..end).collect::<Vec<_>>());
            assert_eq!(Bits::all_below(end).list(), (0..end).collect::<Vec<_>>());
        }
    }
}
