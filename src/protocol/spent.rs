//! What was kept for a restart and is not needed any more.
//!
//! A hundred thousand small batches take a processor tens of milliseconds to free, which is longer than a checkpoint may
//! stop a stream. So they go little by little, with what is kept next.

/// How many things go for each one that is kept: four times as many as come are gone in good time.
const STEP: usize = 4;

/// See the module.
pub(crate) struct Spent<T>(Vec<T>);

impl<T> Spent<T> {
    pub(crate) fn new() -> Spent<T> {
        Spent(Vec::new())
    }

    /// Takes all of these over. What has not gone since the last time goes now: hardly anything has come since.
    pub(crate) fn take_over(&mut self, all: &mut Vec<T>) {
        self.0.clear();
        std::mem::swap(&mut self.0, all);
    }

    /// Lets some go, because something else is kept.
    pub(crate) fn let_go(&mut self) {
        self.0.truncate(self.0.len().saturating_sub(STEP));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_is_spent_goes_little_by_little_and_at_the_next_cut_at_the_latest() {
        let thing = Arc::new(());
        let mut spent = Spent::new();
        let mut kept = vec![Arc::clone(&thing); 10];
        spent.take_over(&mut kept);
        assert!(kept.is_empty());
        let left: Vec<usize> = (0..4)
            .map(|_| {
                spent.let_go();
                Arc::strong_count(&thing) - 1
            })
            .collect();
        assert_eq!(left, [6, 2, 0, 0]);
        for _ in 0..2 {
            kept.extend(vec![Arc::clone(&thing); 10]);
            spent.take_over(&mut kept);
            assert_eq!((kept.len(), Arc::strong_count(&thing)), (0, 11));
        }
    }
}
