use super::*;

fn fence(attempt: u64) -> Fence {
    Fence { incarnation: 1, attempt }
}

#[test]
fn committed_repeats_only_in_a_new_attempt_and_never_goes_back() {
    let mut order = CommittedOrder::default();
    order.told(fence(0), WindowId(3), WindowId(3)).unwrap();
    assert_eq!(order.told(fence(0), WindowId(3), WindowId(3)).unwrap_err().invariant, InvariantId::CommittedIncreases);
    order.told(fence(1), WindowId(3), WindowId(3)).unwrap();
    assert_eq!(order.told(fence(2), WindowId(2), WindowId(3)).unwrap_err().invariant, InvariantId::CommittedIncreases);
    assert_eq!(order.told(fence(2), WindowId(4), WindowId(3)).unwrap_err().invariant, InvariantId::CommittedIsDurable);
}

#[test]
fn a_hole_in_the_numbers_is_no_prefix() {
    let mut counts = Counts::default();
    counts.see(1, 7, 1, 1).unwrap();
    counts.see(1, 7, 3, 1).unwrap();
    assert!(counts.are_prefixes(|_| 1).is_err());
    counts.see(1, 7, 2, 1).unwrap();
    counts.are_prefixes(|_| 1).unwrap();
    assert!(counts.see(1, 7, 2, 1).is_err());
    assert_eq!(counts.highest(1, 7), 3);
}

#[test]
fn what_is_seen_too_often_or_never_is_told_apart() {
    let mut times = Times::default();
    times.want("a", 2);
    times.see(&"a").unwrap();
    assert_eq!(times.complete().unwrap_err().invariant, InvariantId::OutputComplete);
    times.see(&"a").unwrap();
    times.complete().unwrap();
    assert_eq!(times.see(&"a").unwrap_err().invariant, InvariantId::OutputNotRepeated);
    assert!(times.see(&"b").is_err());
}

#[test]
fn more_may_be_seen_than_is_wanted_but_not_more_than_was_made() {
    let mut rows = AtLeast::default();
    rows.want("a", 2);
    rows.see(&"a", 1).unwrap();
    assert_eq!(
        rows.complete(InvariantId::OutputComplete, |_| true).unwrap_err().invariant,
        InvariantId::OutputComplete
    );
    rows.complete(InvariantId::OutputComplete, |_| false).unwrap();
    rows.see(&"a", 2).unwrap();
    rows.complete(InvariantId::OutputComplete, |_| true).unwrap();
    assert_eq!((rows.seen(), rows.doubled()), (3, 1));
    rows.at_most(|_| Some(2)).unwrap();
    rows.at_most(|_| None).unwrap();
    assert_eq!(rows.at_most(|_| Some(1)).unwrap_err().invariant, InvariantId::OutputNotRepeated);
    assert!(rows.see(&"b", 1).is_err());
}

#[test]
fn a_number_that_is_left_out_is_missed() {
    let mut counts = Counts::default();
    for number in [1, 2, 2, 4] {
        counts.see(1, 7, number, u64::MAX).unwrap();
    }
    counts.reach(1, 7, 2, 1).unwrap();
    assert!(counts.reach(1, 7, 2, 2).is_err());
    assert!(counts.reach(1, 7, 4, 1).is_err());
    assert!(counts.reach(1, 8, 1, 1).is_err());
}

#[test]
fn names_are_told_apart() {
    let mut names: Vec<_> = InvariantId::ALL.iter().map(|id| id.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), InvariantId::ALL.len());
}
