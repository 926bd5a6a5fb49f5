//! The stop, and the end of all input.

use super::table::{Do::*, Given, row};

#[test]
fn a_stop_takes_a_last_checkpoint() {
    row(
        "at once, and the sources wait behind it",
        Given::every(9),
        &[
            (100, Tick, "close 1"),
            (130, Stop, "close 2 snapshot hold"),
            (230, Tick, ""),
            (240, Ask, ""),
            (250, Acks(2), "commit 2"),
            (260, Stored(2), "committed 2 in 130"),
            (265, Tick, ""),
            (270, Told(2), "done 2"),
            (400, Tick, ""),
        ],
    );
    row(
        "it waits for no pause",
        Given::every(1).pause(60_000),
        &[
            (100, Tick, "close 1 snapshot"),
            (110, Acks(1), "commit 1"),
            (120, Stored(1), "committed 1 in 20"),
            (130, Stop, "close 2 snapshot hold"),
        ],
    );
    row(
        "it waits for its turn: what is under way goes on",
        Given::every(1),
        &[
            (100, Tick, "close 1 snapshot"),
            (110, Stop, ""),
            (120, Acks(1), "commit 1"),
            (130, Stored(1), "committed 1 in 30; close 2 snapshot hold"),
        ],
    );
    row(
        "at most until what is under way is given up",
        Given::every(1).timeout(500),
        &[
            (100, Tick, "close 1 snapshot"),
            (110, Stop, ""),
            (600, Tick, "failed 1: expired: no snapshot came from source[0], sink[0]; close 2 snapshot hold"),
        ],
    );
    row(
        "it waits until everybody is open",
        Given::every(9).not_open(),
        &[(10, Stop, ""), (20, Ready("sink"), ""), (30, Ready("source"), "close 1 snapshot hold")],
    );
    row(
        "whoever has seen an earlier commit through has not seen the last one through",
        Given::every(1),
        &[
            (100, Tick, "close 1 snapshot"),
            (110, Acks(1), "commit 1"),
            (120, Stored(1), "committed 1 in 20"),
            (130, Stop, "close 2 snapshot hold"),
            (140, Told(1), ""),
            (150, Acks(2), "commit 2"),
            (160, Stored(2), "committed 2 in 30"),
            (170, Told(1), ""),
            (180, Told(2), "done 2"),
        ],
    );
}

#[test]
fn a_last_checkpoint_that_fails_is_taken_again_but_not_at_once() {
    const REFUSED: &str = "failed 1: declined: the snapshot of sink[0] could not be kept: the disk is full";
    row(
        "with the next window, as often as it has to be",
        Given::every(9),
        &[
            (30, Stop, "close 1 snapshot hold"),
            (40, Decline("sink", 1), REFUSED),
            (129, Tick, ""),
            (130, Tick, "close 2 snapshot hold"),
            (140, Acks(2), "commit 2"),
            (150, NotStored(2), "failed 2: commit failed: the disk is full"),
            (230, Tick, "close 3 snapshot hold"),
            (240, Acks(3), "commit 3"),
            (250, Stored(3), "committed 3 in 20"),
            (260, Told(3), "done 3"),
        ],
    );
    row(
        "and it counts",
        Given::every(9).tolerable(0),
        &[
            (30, Stop, "close 1 snapshot hold"),
            (
                40,
                Decline("sink", 1),
                "failed 1: declined: the snapshot of sink[0] could not be kept: the disk is full; restart: the checkpoint \
                 of window 1 failed: declined: the snapshot of sink[0] could not be kept: the disk is full \
                 (checkpoint.tolerable_failures = 0)",
            ),
        ],
    );
}

#[test]
fn the_end_of_all_input_is_committed_and_then_said() {
    row(
        "two checkpoints without waiting for a window or a pause; the second says that it has finished",
        Given::every(9).pause(60_000),
        &[
            (100, Tick, "close 1"),
            (110, Finished("source"), ""),
            (120, Finished("sink"), "close 2 snapshot"),
            (130, LastAcks(2), "commit 2"),
            (140, Stored(2), "committed 2 in 20"),
            (150, Told(2), "close 3 snapshot"),
            (160, LastAcks(3), "commit 3 finished"),
            (170, Stored(3), "committed 3 in 20"),
            (180, Told(3), "done 3 finished"),
        ],
    );
    row(
        "one that was cut before the end does not hold it",
        Given::every(1),
        &[
            (100, Tick, "close 1 snapshot"),
            (110, Finished("source"), ""),
            (120, Finished("sink"), ""),
            (130, Acks(1), "commit 1"),
            (140, Stored(1), "committed 1 in 40; close 2 snapshot"),
        ],
    );
    row(
        "a stop that comes first ends the job where it is, although the source ends behind the cut",
        Given::every(9),
        &[
            (110, Stop, "close 1 snapshot hold"),
            (120, Acks(1), "commit 1"),
            (130, Finished("source"), ""),
            (130, Finished("sink"), ""),
            (140, Stored(1), "committed 1 in 30"),
            (150, Told(1), "done 1"),
        ],
    );
}
