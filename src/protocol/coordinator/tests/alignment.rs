//! Which checkpoints wait for the end of their windows.

use super::table::{Do::*, Given, row};

#[test]
fn a_checkpoint_waits_as_long_as_it_is_set_to() {
    row("for ever", Given::every(9), &[(100, Journal, "close 1 snapshot"), (9_999, Tick, "close 2")]);
    row(
        "not at all",
        Given::every(2).waiting(0),
        &[
            (100, Tick, "close 1 at once"),
            (200, Tick, "close 2 snapshot at once"),
            (201, Acks(2), "commit 2"),
            (202, Stored(2), "committed 2 in 2"),
        ],
    );
    row(
        "for 30 ms, and no more than once",
        Given::every(1).waiting(30),
        &[
            (100, Tick, "close 1 snapshot"),
            (129, Tick, ""),
            (130, Tick, "overtake 1"),
            (131, Tick, ""),
            (150, Acks(1), "commit 1"),
            (160, Stored(1), "committed 1 in 60"),
        ],
    );
    row(
        "one that is complete before waits no longer",
        Given::every(9).waiting(30),
        &[
            (100, Tick, "close 1 at once"),
            (150, Journal, "close 2 snapshot"),
            (160, Acks(2), "commit 2"),
            (170, Stored(2), "committed 2 in 20"),
            (190, Tick, ""),
        ],
    );
}

#[test]
fn some_checkpoints_wait_whatever_is_set() {
    row(
        "one that a user asks for",
        Given::every(9).waiting(0),
        &[
            (10, Ask, "close 1 snapshot"),
            (20, Acks(1), "commit 1"),
            (30, Stored(1), "committed 1 in 20"),
            (40, Journal, "close 2 snapshot at once"),
        ],
    );
    row(
        "the first one, if somebody may hold rows",
        Given::every(1).waiting(0),
        &[
            (0, Unsure, ""),
            (100, Tick, "close 1 snapshot"),
            (110, Acks(1), "commit 1"),
            (120, Stored(1), "committed 1 in 20"),
            (200, Tick, "close 2 snapshot at once"),
        ],
    );
    row(
        "that of the end of the input",
        Given::every(9).waiting(0),
        &[(10, Finished("source"), ""), (20, Finished("sink"), "close 1 snapshot")],
    );
    row("not that of a stop", Given::every(9).waiting(0), &[(10, Stop, "close 1 snapshot at once hold")]);
}

#[test]
fn whoever_holds_rows_lets_all_checkpoints_wait() {
    let said = "failed 1: declined: the snapshot of sink[0] has to wait for the end of a window: until then \"count\" \
                holds rows in its fields";
    row(
        "and that is no failure that counts",
        Given::every(1).waiting(0).tolerable(0),
        &[
            (100, Tick, "close 1 snapshot at once"),
            (110, Holds("sink", 1, true), &format!("waits for count of sink[0]; {said}; close 2 snapshot")),
            (120, Acks(2), "commit 2"),
            (130, Stored(2), "committed 2 in 20"),
            (210, Tick, "close 3 snapshot"),
        ],
    );
    row(
        "if it is only not known, the next one is tried",
        Given::every(1).waiting(0).tolerable(0),
        &[
            (100, Tick, "close 1 snapshot at once"),
            (
                110,
                Holds("sink", 1, false),
                "failed 1: declined: the snapshot of sink[0] has to wait for the end of a window: whether an operator \
                 holds rows is not known before",
            ),
            (200, Tick, "close 2 snapshot at once"),
        ],
    );
}
