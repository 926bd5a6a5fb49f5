//! How vectors with an item for each slot grow.

/// From so many bytes on, what is not used counts.
const LARGE: usize = 1 << 20;

/// Makes room for so many items in all. A large vector grows by a quarter, not to twice its size: of a state that has just
/// grown, half would be nothing. It is then moved more often, by a system that mostly need not copy so much memory.
#[inline]
pub(super) fn make_room<T>(items: &mut Vec<T>, length: usize) {
    if length > items.capacity() {
        grow(items, length);
    }
}

#[cold]
fn grow<T>(items: &mut Vec<T>, length: usize) {
    let capacity = items.capacity();
    if capacity * size_of::<T>() < LARGE {
        items.reserve(length - items.len());
    } else {
        items.reserve_exact(length.max(capacity + capacity / 4) - items.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_large_grows_by_a_quarter() {
        let (mut items, mut moves) = (Vec::new(), 0);
        for number in 0..1_000_000u64 {
            let before = items.capacity();
            let length = items.len() + 1;
            make_room(&mut items, length);
            moves += usize::from(items.capacity() != before);
            items.push(number);
        }
        assert!(items.capacity() < 1_250_000 && moves < 40, "{} after {moves}", items.capacity());
        make_room(&mut items, 5_000_000);
        assert_eq!(items.capacity(), 5_000_000);
    }
}
