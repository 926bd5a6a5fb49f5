//! Which windows a region stands on, once it has gone back to older checkpoints.
//!
//! Going back commits a copy of the older checkpoint as the newest window ([`Manifest::copy_of`]). What lies between the
//! two is given up, until the region goes to a checkpoint of it again: then the rest is.

use serde::{Deserialize, Serialize};

use crate::ids::WindowId;
use crate::protocol::manifest::Manifest;

/// How often a region went back, and where to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct History {
    /// The windows of the copies, in order, and what each is a copy of.
    copies: Vec<(WindowId, WindowId)>,
}

impl History {
    /// Returns whether the region never went back.
    pub(super) fn is_straight(&self) -> bool {
        self.copies.is_empty()
    }

    /// Returns the history behind the commit of a manifest.
    pub(super) fn behind(&self, manifest: &Manifest) -> History {
        let mut history = self.clone();
        if manifest.copy_of > WindowId::NONE {
            history.copies.push((manifest.window, manifest.copy_of));
        }
        history
    }

    /// Returns whether what happened in this window is part of the state of the newest one.
    pub(super) fn holds(&self, window: WindowId) -> bool {
        let mut newest = WindowId(u64::MAX);
        for (copy, of) in self.copies.iter().rev() {
            // A copy that was given up itself says nothing about what is before it.
            if *copy > newest {
                continue;
            }
            if window >= *copy {
                break;
            }
            newest = *of;
        }
        window <= newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(copies: &[(u64, u64)], windows: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let copies = copies.iter().map(|(copy, of)| (WindowId(*copy), WindowId(*of))).collect();
        let history = History { copies };
        windows.into_iter().filter(|window| history.holds(WindowId(*window))).collect()
    }

    #[test]
    fn what_lies_between_a_copy_and_its_original_is_given_up() {
        assert_eq!(held(&[], 1..5), [1, 2, 3, 4]);
        assert_eq!(held(&[(21, 10)], [1, 10, 11, 20, 21, 22, 30]), [1, 10, 21, 22, 30]);
        assert_eq!(held(&[(21, 10), (31, 25)], [10, 11, 21, 25, 26, 30, 31]), [10, 21, 25, 31]);
        assert_eq!(held(&[(21, 10), (31, 5)], [5, 6, 10, 21, 30, 31]), [5, 31]);
    }

    #[test]
    fn what_was_given_up_counts_again_for_who_goes_back_to_it() {
        assert_eq!(held(&[(21, 10), (31, 20)], [10, 11, 20, 21, 25, 30, 31, 32]), [10, 11, 20, 31, 32]);
    }
}
