//! What the events of a job say over all its lives.

use piton::ids::{Fence, WindowId};
use piton::invariants::{CommittedOrder, HeadOrder};
use serde_json::Value;

/// Panics if something that was told as committed is taken back, in the same life or by a later one. Returns how many
/// commits were told, and how many lives resumed from one that had not been.
pub(crate) fn check(events: &[Value]) -> (u64, u64) {
    let (mut head, mut told) = (HeadOrder::default(), CommittedOrder::default());
    let (mut incarnation, mut resumed, mut commits) = (0, 0, 0);
    for event in events {
        assert_ne!(event["event"], "violated", "{event}");
        if event["event"] == "started" {
            let next = event["incarnation"].as_u64().unwrap();
            assert!(next > incarnation, "incarnation {next} after {incarnation}");
            incarnation = next;
            let from =
                event["resumed_from"].as_object().unwrap().values().next().map_or(0, |from| from.as_u64().unwrap());
            resumed += u64::from(WindowId(from) > head.head());
            head.seen(WindowId(from)).unwrap_or_else(|broken| panic!("{broken}"));
        } else if event["event"] == "committed" {
            let window = event["window"].as_u64().unwrap();
            let window = WindowId(window);
            let fence = Fence { incarnation, attempt: 0 };
            let seen = head.seen(window).and_then(|()| told.told(fence, window, head.head()));
            seen.unwrap_or_else(|broken| panic!("{broken}"));
            commits += 1;
        }
    }
    (commits, resumed)
}
