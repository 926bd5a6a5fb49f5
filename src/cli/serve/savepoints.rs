//! The savepoints that nobody has asked for: jobs are stopped with one before they are upgraded, and when their file is gone.

use crate::clock::Clock;
use crate::store::CheckpointStore;

/// What those before an upgrade are called, and those of jobs whose file is gone.
pub(super) const UPGRADE: &str = "upgrade-";
pub(super) const REMOVED: &str = "removed-";

/// How many of them a job keeps: the newest, beside those with names that somebody has given.
const KEPT: usize = 5;

/// Returns the name of one that is about to be made.
pub(super) fn name(prefix: &str, clock: &Clock) -> String {
    format!("{prefix}{}", clock.now())
}

/// Drops those that are not kept, when a job begins.
pub(super) fn tidy(store: &mut dyn CheckpointStore) {
    let Some(savepoints) = store.savepoints() else { return };
    let dropped = savepoints.list_savepoints().and_then(|all| {
        let names: Vec<String> = all.into_iter().map(|savepoint| savepoint.name).filter(|name| is_own(name)).collect();
        let surplus = names.len().saturating_sub(KEPT);
        names.iter().take(surplus).try_for_each(|name| savepoints.drop_savepoint(name).map(drop))
    });
    // The job goes on: what is damaged is told to whoever wants to use it.
    if let Err(error) = dropped {
        tracing::warn!(%error, "older savepoints could not be dropped");
    }
}

fn is_own(name: &str) -> bool {
    let time = name.strip_prefix(UPGRADE).or_else(|| name.strip_prefix(REMOVED));
    time.is_some_and(|time| !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_a_time_are_our_own() {
        assert!(is_own("upgrade-1772000000000") && is_own("removed-1"));
        assert!(!is_own("upgrade-") && !is_own("upgrade-to-3") && !is_own("before-upgrade-1") && !is_own("v1"));
    }
}
