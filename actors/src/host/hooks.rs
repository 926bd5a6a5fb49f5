//! What is found out about an operator by calling it.

use std::sync::OnceLock;

/// Whether an operator's `end_window` and `before_checkpoint` do anything, as far as they were called: a matter of its
/// type, so that one instance finds out for all.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(super) ends: Found,
    pub(super) prepares: Found,
}

/// Something that is true or not, once that was found out.
#[derive(Default)]
pub(super) struct Found(OnceLock<bool>);

impl Found {
    pub(super) fn found(&self, is_true: bool) {
        // Whoever found it out before has found the same.
        self.0.get_or_init(|| is_true);
    }

    pub(super) fn get(&self) -> Option<bool> {
        self.0.get().copied()
    }
}
