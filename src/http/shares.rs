//! Which share of their time subtasks are busy, blocked and idle: looked at fifty times a second, so that they need not
//! measure themselves.

use std::time::Duration;

use crate::runtime::Activity;

/// How often is looked.
pub(super) const EVERY: Duration = Duration::from_millis(20);

/// So many looks are about a second.
pub(super) const A_SECOND: u64 = 50;

/// What was seen fades with this many looks: after as many seconds as this has fifties, about a third of it is left.
const MEMORY: f64 = 250.0;

/// The shares of each subtask, of 1.
#[derive(Debug, Default)]
pub(super) struct Shares {
    of: Vec<Share>,
    looks: u32,
}

/// See [`Shares`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Share {
    pub(super) busy: f64,
    pub(super) blocked: f64,
    pub(super) idle: f64,
}

impl Shares {
    /// Takes what each subtask does at this moment.
    pub(super) fn look(&mut self, activities: &[Activity]) {
        if self.of.len() != activities.len() {
            // The subtasks are there only once the job has started.
            *self = Shares { of: vec![Share::default(); activities.len()], looks: 0 };
        }
        self.looks = self.looks.saturating_add(1);
        // The first looks count alike.
        let weight = (1.0 / f64::from(self.looks)).max(1.0 / MEMORY);
        for (share, activity) in self.of.iter_mut().zip(activities) {
            let seen = |what| if *activity == what { weight } else { 0.0 };
            share.busy = share.busy * (1.0 - weight) + seen(Activity::Busy);
            share.blocked = share.blocked * (1.0 - weight) + seen(Activity::Blocked);
            share.idle = share.idle * (1.0 - weight) + seen(Activity::Idle);
        }
    }

    /// Returns the shares of a subtask, by its place in what was seen.
    pub(super) fn get(&self, subtask: usize) -> Share {
        self.of.get(subtask).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_one_and_what_is_long_ago_fades() {
        let mut shares = Shares::default();
        shares.look(&[]);
        assert_eq!(shares.get(0), Share::default());
        for activity in [Activity::Busy, Activity::Idle, Activity::Busy, Activity::Blocked] {
            shares.look(&[activity, Activity::Idle]);
        }
        let share = shares.get(0);
        assert!((share.busy - 0.5).abs() < 1e-9 && (share.blocked - 0.25).abs() < 1e-9, "{share:?}");
        assert!((share.busy + share.blocked + share.idle - 1.0).abs() < 1e-9);
        assert_eq!(shares.get(1), Share { idle: 1.0, ..Share::default() });
        (0..3_000).for_each(|_| shares.look(&[Activity::Blocked, Activity::Idle]));
        assert!(shares.get(0).blocked > 0.999, "{:?}", shares.get(0));
    }
}
