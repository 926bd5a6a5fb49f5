//! A list that hardly ever has more than one item, and then needs no memory beside itself.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Some items in an order that its user sees to. One item takes no allocation: nearly every key has one session.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Few<T> {
    #[default]
    None,
    One(T),
    #[expect(clippy::box_collection, reason = "a `Vec` beside one item would leave no place for what says which it is")]
    Many(Box<Vec<T>>),
}

impl<T> Few<T> {
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Few::None => &[],
            Few::One(item) => std::slice::from_ref(item),
            Few::Many(items) => items,
        }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        match self {
            Few::None => &mut [],
            Few::One(item) => std::slice::from_mut(item),
            Few::Many(items) => items,
        }
    }

    /// Changes the items as a `Vec`.
    pub(crate) fn change<R>(&mut self, change: impl FnOnce(&mut Vec<T>) -> R) -> R {
        if let Few::Many(items) = self {
            let changed = change(items);
            if items.len() < 2 {
                *self = Few::from(std::mem::take(&mut **items));
            }
            return changed;
        }
        let mut items = match std::mem::take(self) {
            Few::One(item) => vec![item],
            Few::None | Few::Many(_) => Vec::new(),
        };
        let changed = change(&mut items);
        *self = Few::from(items);
        changed
    }
}

impl<T> From<Vec<T>> for Few<T> {
    fn from(mut items: Vec<T>) -> Few<T> {
        if items.len() > 1 {
            return Few::Many(Box::new(items));
        }
        items.pop().map_or(Few::None, Few::One)
    }
}

impl<T: Serialize> Serialize for Few<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.as_slice())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Few<T>, D::Error> {
        Vec::deserialize(deserializer).map(Few::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives_its_bytes_and_keeps_one_item_inline() {
        let mut few = Few::default();
        for length in 0..4 {
            assert_eq!(few.as_slice().len(), length);
            assert_eq!(matches!(few, Few::Many(_)), length > 1);
            let bytes = rmp_serde::to_vec_named(&few).unwrap();
            assert_eq!(rmp_serde::from_slice::<Few<u64>>(&bytes).unwrap(), few);
            few.change(|items| items.push(length as u64));
        }
        few.change(|items| items.truncate(1));
        assert_eq!(few, Few::One(0));
    }
}
