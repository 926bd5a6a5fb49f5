//! What the events of a job say over all its lives.

use serde_json::Value;

/// Panics if something that was told as committed is taken back, in the same life or by a later one. Returns how many
/// commits were told, and how many lives resumed from one that had not been.
pub(crate) fn check(events: &[Value]) -> (u64, u64) {
    let (mut committed, mut incarnation, mut resumed, mut commits) = (0, 0, 0, 0);
    for event in events {
        if event["event"] == "started" {
            let next = event["incarnation"].as_u64().unwrap();
            assert!(next > incarnation, "incarnation {next} after {incarnation}");
            incarnation = next;
            let from =
                event["resumed_from"].as_object().unwrap().values().next().map_or(0, |from| from.as_u64().unwrap());
            assert!(from >= committed, "resumed from window {from}, but {committed} was committed");
            resumed += u64::from(from > committed);
            committed = from;
        } else if event["event"] == "committed" {
            let window = event["window"].as_u64().unwrap();
            assert!(window > committed, "committed {window} after {committed}");
            committed = window;
            commits += 1;
        }
    }
    (commits, resumed)
}
