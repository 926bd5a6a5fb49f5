//! What fails, what counts, and what replaces what.

use super::table::{Do::*, Given, row};

#[test]
fn what_takes_too_long_is_given_up() {
    row(
        "from its trigger, to the millisecond; those who are missing are named",
        Given::every(1).timeout(500),
        &[
            (100, Tick, "close 1 snapshot"),
            (150, Ack("source", 1), ""),
            (599, Tick, "close 2"),
            (600, Tick, "failed 1: expired: no snapshot came from sink[0]"),
            (601, Tick, ""),
        ],
    );
    row(
        "each on its own",
        Given::every(1).timeout(500).at_once(2),
        &[
            (100, Tick, "close 1 snapshot"),
            (200, Tick, "close 2 snapshot"),
            (600, Tick, "failed 1: expired: no snapshot came from source[0], sink[0]; close 3 snapshot"),
            (699, Tick, ""),
            (700, Tick, "failed 2: expired: no snapshot came from source[0], sink[0]; close 4 snapshot"),
        ],
    );
    row(
        "but not while the store has it, and not if it waits for the store",
        Given::every(1).timeout(500).at_once(2),
        &[
            (100, Tick, "close 1 snapshot"),
            (200, Tick, "close 2 snapshot"),
            (210, Acks(1), "commit 1"),
            (220, Acks(2), ""),
            (9_000, Tick, "close 3"),
            (9_010, Stored(1), "committed 1 in 8910; commit 2"),
        ],
    );
    row(
        "answers that come later change nothing",
        Given::every(1).timeout(500),
        &[
            (100, Tick, "close 1 snapshot"),
            (150, Ack("source", 1), ""),
            (600, Tick, "failed 1: expired: no snapshot came from sink[0]; close 2 snapshot"),
            (610, Ack("sink", 1), ""),
            (610, Decline("sink", 1), ""),
            (620, Acks(2), "commit 2"),
        ],
    );
}

#[test]
fn answers_count_once_and_from_members_only() {
    row(
        "a second acknowledgement, one of nobody, one of another life, one of another window",
        Given::every(1),
        &[
            (100, Tick, "close 1 snapshot"),
            (110, Ack("source", 1), ""),
            (111, Ack("source", 1), ""),
            (112, Ack("nobody", 1), ""),
            (113, OldAck("sink", 1), ""),
            (114, Ack("sink", 7), ""),
            (115, Ack("sink", 0), ""),
            (120, Ack("sink", 1), "commit 1"),
            (121, Ack("sink", 1), ""),
            (122, Decline("sink", 1), ""),
            (130, Stored(7), ""),
            (140, Stored(1), "committed 1 in 40"),
            (141, Stored(1), ""),
            (142, Acks(1), ""),
        ],
    );
    row(
        "a refusal fails the checkpoint, also of one that had acknowledged it; that of nobody does not",
        Given::every(1),
        &[
            (100, Tick, "close 1 snapshot"),
            (110, Decline("nobody", 1), ""),
            (110, Decline("sink", 7), ""),
            (111, Ack("sink", 1), ""),
            (
                112,
                Decline("sink", 1),
                "failed 1: declined: the snapshot of sink[0] could not be kept: the disk is full",
            ),
            (113, Decline("source", 1), ""),
            (114, Acks(1), ""),
        ],
    );
}

#[test]
fn what_the_store_says_decides() {
    row(
        "it did not happen: the next one may",
        Given::every(1),
        &[
            (100, Tick, "close 1 snapshot"),
            (110, Acks(1), "commit 1"),
            (120, NotStored(1), "failed 1: commit failed: the disk is full"),
            (200, Tick, "close 2 snapshot"),
            (210, Acks(2), "commit 2"),
            (220, Stored(2), "committed 2 in 20"),
        ],
    );
    row(
        "nobody knows: the log has to be read again",
        Given::every(1).at_once(2),
        &[
            (100, Tick, "close 1 snapshot"),
            (200, Tick, "close 2 snapshot"),
            (210, Acks(1), "commit 1"),
            (220, Acks(2), ""),
            (230, Unknown(1), "restart: it is not known whether the commit happened: the disk is full"),
            (9_000, Tick, ""),
        ],
    );
    row(
        "someone else has",
        Given::every(1),
        &[
            (100, Tick, "close 1 snapshot"),
            (110, Acks(1), "commit 1"),
            (120, Fenced(1), "restart: fenced: attempt 2.0 has already committed window 9"),
            (9_000, Tick, ""),
        ],
    );
}

#[test]
fn a_newer_commit_replaces_what_is_older() {
    row(
        "once it is true",
        Given::every(1).at_once(3),
        &[
            (100, Tick, "close 1 snapshot"),
            (200, Tick, "close 2 snapshot"),
            (300, Tick, "close 3 snapshot"),
            (310, Ack("source", 1), ""),
            (320, Acks(2), "commit 2"),
            (330, Acks(3), ""),
            (340, Stored(2), "committed 2 in 140; failed 1: subsumed: window 2 was committed first; commit 3"),
            (350, Ack("sink", 1), ""),
            (360, Stored(3), "committed 3 in 60"),
        ],
    );
    row(
        "if it does not become true, an older one may; windows are committed in order",
        Given::every(1).at_once(3),
        &[
            (100, Tick, "close 1 snapshot"),
            (200, Tick, "close 2 snapshot"),
            (300, Tick, "close 3 snapshot"),
            (310, Acks(3), "commit 3"),
            (320, Acks(1), ""),
            (330, Acks(2), ""),
            (340, NotStored(3), "failed 3: commit failed: the disk is full; commit 2"),
            (350, Stored(2), "committed 2 in 150; failed 1: subsumed: window 2 was committed first"),
        ],
    );
    row(
        "the newest that waits goes first",
        Given::every(1).at_once(3),
        &[
            (100, Tick, "close 1 snapshot"),
            (200, Tick, "close 2 snapshot"),
            (300, Tick, "close 3 snapshot"),
            (310, Acks(1), "commit 1"),
            (320, Acks(3), ""),
            (330, Acks(2), ""),
            (340, Stored(1), "committed 1 in 240; commit 3"),
            (350, Stored(3), "committed 3 in 50; failed 2: subsumed: window 3 was committed first"),
        ],
    );
}

#[test]
fn exactly_these_failures_count() {
    row(
        "a refusal",
        Given::every(1).tolerable(0),
        &[
            (100, Tick, "close 1 snapshot"),
            (
                110,
                Decline("sink", 1),
                "failed 1: declined: the snapshot of sink[0] could not be kept: the disk is full; restart: the checkpoint \
                 of window 1 failed: declined: the snapshot of sink[0] could not be kept: the disk is full \
                 (checkpoint.tolerable_failures = 0)",
            ),
            (200, Tick, ""),
        ],
    );
    row(
        "the timeout",
        Given::every(1).tolerable(0).timeout(500).at_once(2),
        &[
            (100, Tick, "close 1 snapshot"),
            (200, Tick, "close 2 snapshot"),
            (
                900,
                Tick,
                "failed 1: expired: no snapshot came from source[0], sink[0]; restart: the checkpoint of window 1 failed: \
                 expired: no snapshot came from source[0], sink[0] (checkpoint.tolerable_failures = 0)",
            ),
        ],
    );
    row(
        "a commit that did not happen",
        Given::every(1).tolerable(0),
        &[
            (100, Tick, "close 1 snapshot"),
            (110, Acks(1), "commit 1"),
            (
                120,
                NotStored(1),
                "failed 1: commit failed: the disk is full; restart: the checkpoint of window 1 failed: commit failed: \
                 the disk is full (checkpoint.tolerable_failures = 0)",
            ),
        ],
    );
    row(
        "not one that a newer one has replaced",
        Given::every(1).tolerable(0).at_once(2),
        &[
            (100, Tick, "close 1 snapshot"),
            (200, Tick, "close 2 snapshot"),
            (210, Acks(2), "commit 2"),
            (220, Stored(2), "committed 2 in 20; failed 1: subsumed: window 2 was committed first"),
            (300, Tick, "close 3 snapshot"),
        ],
    );
}

const REFUSED_1: &str = "failed 1: declined: the snapshot of sink[0] could not be kept: the disk is full";
const REFUSED_2: &str = "failed 2: declined: the snapshot of sink[0] could not be kept: the disk is full";
const REFUSED_3: &str = "failed 3: declined: the snapshot of sink[0] could not be kept: the disk is full";
const TOO_MANY_3: &str = "failed 3: declined: the snapshot of sink[0] could not be kept: the disk is full; restart: the \
                          checkpoint of window 3 failed: declined: the snapshot of sink[0] could not be kept: the disk is \
                          full (checkpoint.tolerable_failures = 1)";

#[test]
fn failures_are_counted_in_a_row_and_windows_once() {
    row(
        "a window that several refuse is one failure",
        Given::every(1).tolerable(1),
        &[
            (100, Tick, "close 1 snapshot"),
            (110, Decline("sink", 1), REFUSED_1),
            (111, Decline("source", 1), ""),
            (112, Decline("sink", 1), ""),
            (200, Tick, "close 2 snapshot"),
        ],
    );
    row(
        "a success in between",
        Given::every(1).tolerable(1),
        &[
            (100, Tick, "close 1 snapshot"),
            (110, Decline("sink", 1), REFUSED_1),
            (200, Tick, "close 2 snapshot"),
            (210, Acks(2), "commit 2"),
            (220, Stored(2), "committed 2 in 20"),
            (300, Tick, "close 3 snapshot"),
            (310, Decline("sink", 3), REFUSED_3),
            (400, Tick, "close 4 snapshot"),
        ],
    );
    row(
        "also of a window before one that has failed",
        Given::every(1).tolerable(1).at_once(2),
        &[
            (100, Tick, "close 1 snapshot"),
            (200, Tick, "close 2 snapshot"),
            (210, Decline("sink", 2), REFUSED_2),
            (220, Acks(1), "commit 1"),
            (230, Stored(1), "committed 1 in 130"),
            (300, Tick, "close 3 snapshot"),
            (310, Decline("sink", 3), REFUSED_3),
        ],
    );
    row(
        "one more than is borne",
        Given::every(1).tolerable(1).at_once(2),
        &[
            (100, Tick, "close 1 snapshot"),
            (110, Decline("sink", 1), REFUSED_1),
            (200, Tick, "close 2 snapshot"),
            (300, Tick, "close 3 snapshot"),
            (310, Decline("sink", 3), TOO_MANY_3),
            (320, Acks(2), ""),
        ],
    );
}
