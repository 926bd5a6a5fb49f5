//! When a checkpoint is taken.

use super::table::{Do::*, Given, row};

#[test]
fn the_interval_is_a_number_of_windows() {
    row(
        "every fourth window",
        Given::every(4),
        &[
            (99, Tick, ""),
            (100, Tick, "close 1"),
            (150, Tick, ""),
            (200, Tick, "close 2"),
            (300, Tick, "close 3"),
            (400, Tick, "close 4 snapshot"),
            (500, Tick, "close 5"),
        ],
    );
    row(
        "from trigger to trigger, however long it takes",
        Given::every(2),
        &[
            (100, Tick, "close 1"),
            (200, Tick, "close 2 snapshot"),
            (250, Acks(2), "commit 2"),
            (260, Stored(2), "committed 2 in 60"),
            (300, Tick, "close 3"),
            (400, Tick, "close 4 snapshot"),
        ],
    );
    row(
        "after a stall nothing is made up for",
        Given::every(1).at_once(9),
        &[(1_000, Tick, "close 1 snapshot"), (1_001, Tick, ""), (1_099, Tick, ""), (1_100, Tick, "close 2 snapshot")],
    );
    row(
        "it begins when everybody is open",
        Given::every(1).not_open(),
        &[
            (100, Ready("source"), ""),
            (500, Tick, ""),
            (550, Ready("sink"), ""),
            (649, Tick, ""),
            (650, Tick, "close 1 snapshot"),
        ],
    );
    row(
        "a window is not closed before the last one is",
        Given::every(1).at_once(9).slow_source(),
        &[
            (100, Tick, "close 1 snapshot"),
            (250, Tick, ""),
            (260, Closed("source", 7), ""),
            (260, Closed("source", 1), "close 2 snapshot"),
        ],
    );
}

#[test]
fn no_more_are_under_way_than_may_be() {
    row(
        "one at a time: those that are due meanwhile are one, with the first window that may",
        Given::every(1),
        &[
            (100, Tick, "close 1 snapshot"),
            (200, Tick, "close 2"),
            (300, Tick, "close 3"),
            (310, Acks(1), "commit 1"),
            (400, Tick, "close 4"),
            (450, Stored(1), "committed 1 in 350"),
            (500, Tick, "close 5 snapshot"),
            (600, Tick, "close 6"),
        ],
    );
    row(
        "two at a time, and one that the store has is under way",
        Given::every(1).at_once(2),
        &[
            (100, Tick, "close 1 snapshot"),
            (200, Tick, "close 2 snapshot"),
            (300, Tick, "close 3"),
            (310, Acks(1), "commit 1"),
            (320, Acks(2), ""),
            (400, Tick, "close 4"),
            (410, Stored(1), "committed 1 in 310; commit 2"),
            (500, Tick, "close 5 snapshot"),
            (510, Stored(2), "committed 2 in 310"),
        ],
    );
    row(
        "one that has failed makes room",
        Given::every(1),
        &[
            (100, Tick, "close 1 snapshot"),
            (
                150,
                Decline("sink", 1),
                "failed 1: declined: the snapshot of sink[0] could not be kept: the disk is full",
            ),
            (200, Tick, "close 2 snapshot"),
        ],
    );
}

#[test]
fn the_pause_begins_with_a_completion() {
    row(
        "the first window after it takes the one that is due, and the interval begins anew",
        Given::every(2).pause(250),
        &[
            (100, Tick, "close 1"),
            (200, Tick, "close 2 snapshot"),
            (300, Tick, "close 3"),
            (310, Acks(2), "commit 2"),
            (320, Stored(2), "committed 2 in 120"),
            (400, Tick, "close 4"),
            (500, Tick, "close 5"),
            (569, Tick, ""),
            (570, Tick, ""),
            (600, Tick, "close 6 snapshot"),
            (700, Tick, "close 7"),
            (710, Acks(6), "commit 6"),
            (720, Stored(6), "committed 6 in 120"),
            (800, Tick, "close 8"),
        ],
    );
    row(
        "it is over to the millisecond",
        Given::every(1).pause(250),
        &[
            (100, Tick, "close 1 snapshot"),
            (140, Acks(1), "commit 1"),
            (150, Stored(1), "committed 1 in 50"),
            (200, Tick, "close 2"),
            (300, Tick, "close 3"),
            (400, Tick, "close 4 snapshot"),
        ],
    );
    row(
        "it lets no two overlap",
        Given::every(1).pause(1).at_once(3),
        &[(100, Tick, "close 1 snapshot"), (200, Tick, "close 2"), (300, Tick, "close 3")],
    );
    row(
        "one that has failed is not a completion",
        Given::every(1).pause(250),
        &[
            (100, Tick, "close 1 snapshot"),
            (
                110,
                Decline("sink", 1),
                "failed 1: declined: the snapshot of sink[0] could not be kept: the disk is full",
            ),
            (200, Tick, "close 2 snapshot"),
        ],
    );
}

#[test]
fn a_user_is_served_at_once_and_in_turn() {
    row(
        "it closes a window of its own, and serves as the periodic one",
        Given::every(3),
        &[
            (100, Tick, "close 1"),
            (130, Ask, "close 2 snapshot"),
            (140, Acks(2), "commit 2"),
            (150, Stored(2), "committed 2 in 20"),
            (200, Tick, ""),
            (230, Tick, "close 3"),
            (330, Tick, "close 4"),
            (430, Tick, "close 5 snapshot"),
        ],
    );
    row(
        "it waits for no pause",
        Given::every(1).pause(60_000),
        &[
            (100, Tick, "close 1 snapshot"),
            (110, Acks(1), "commit 1"),
            (120, Stored(1), "committed 1 in 20"),
            (130, Ask, "close 2 snapshot"),
            (140, Acks(2), "commit 2"),
            (150, Stored(2), "committed 2 in 20"),
            (230, Tick, "close 3"),
        ],
    );
    row(
        "it waits for its turn, goes before the periodic ones, and one checkpoint serves all who wait",
        Given::every(1),
        &[
            (100, Tick, "close 1 snapshot"),
            (110, Ask, ""),
            (120, Ask, ""),
            (130, Acks(1), "commit 1"),
            (140, Stored(1), "committed 1 in 40; close 2 snapshot"),
            (150, Acks(2), "commit 2"),
            (160, Stored(2), "committed 2 in 20"),
            (239, Tick, ""),
            (240, Tick, "close 3 snapshot"),
        ],
    );
    row(
        "it takes its turn when the one under way fails",
        Given::every(1).timeout(500),
        &[
            (100, Tick, "close 1 snapshot"),
            (110, Ask, ""),
            (200, Tick, "close 2"),
            (590, Tick, "close 3"),
            (600, Tick, "failed 1: expired: no snapshot came from source[0], sink[0]; close 4 snapshot"),
        ],
    );
    row(
        "plain windows go on while it waits",
        Given::every(1),
        &[
            (100, Tick, "close 1 snapshot"),
            (110, Ask, ""),
            (200, Tick, "close 2"),
            (250, Tick, ""),
            (300, Tick, "close 3"),
        ],
    );
    row(
        "it waits until the window is closed that is being closed",
        Given::every(9).slow_source(),
        &[(100, Tick, "close 1"), (110, Ask, ""), (120, Closed("source", 1), "close 2 snapshot")],
    );
    row(
        "it waits until everybody is open",
        Given::every(9).not_open(),
        &[(10, Ask, ""), (20, Ready("source"), ""), (30, Ready("sink"), "close 1 snapshot")],
    );
}

#[test]
fn journals_ask_with_a_floor_and_wait_for_the_pause() {
    row(
        "at once, and then not before 10 ms have passed",
        Given::every(9),
        &[
            (50, Journal, "close 1 snapshot"),
            (51, Acks(1), "commit 1"),
            (52, Stored(1), "committed 1 in 2"),
            (53, Journal, ""),
            (59, Tick, ""),
            (60, Tick, "close 2 snapshot"),
        ],
    );
    row(
        "in turn",
        Given::every(1),
        &[
            (100, Tick, "close 1 snapshot"),
            (110, Journal, ""),
            (120, Acks(1), "commit 1"),
            (130, Stored(1), "committed 1 in 30; close 2 snapshot"),
        ],
    );
    row(
        "behind the pause",
        Given::every(1).pause(130),
        &[
            (100, Tick, "close 1 snapshot"),
            (110, Acks(1), "commit 1"),
            (120, Stored(1), "committed 1 in 20"),
            (150, Journal, ""),
            (200, Tick, "close 2"),
            (249, Tick, ""),
            (250, Tick, "close 3 snapshot"),
        ],
    );
}
