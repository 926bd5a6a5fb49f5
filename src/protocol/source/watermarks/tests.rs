use std::collections::BTreeMap;

use piton_actors::{Error, Feed, WATERMARK_MAX};
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use super::*;

const OUT_OF_ORDER: i64 = 5;

fn watermarks(idle_timeout: Option<i64>) -> Watermarks {
    Watermarks::new(EventTime { out_of_order: OUT_OF_ORDER, idle_timeout, ..EventTime::default() })
}

/// What happens in a poll: a record of a partition with its time, a name, an end.
#[derive(Clone, Copy, Debug)]
enum Do {
    Record(u64, i64),
    Name(u64),
    End(u64),
}

use Do::{End, Name, Record};

fn polled(what: &[Do]) -> Polled {
    let mut feed: Feed<u64> = Feed::new(2);
    for what in what {
        match *what {
            Record(partition, time) => {
                feed.in_partition(PartitionId(partition));
                feed.push_at(time, 0);
            }
            Name(partition) => feed.in_partition(PartitionId(partition)),
            End(partition) => feed.partition_done(PartitionId(partition)),
        }
    }
    let mut batches = Vec::new();
    let marks = feed.drain(&mut batches);
    Polled { batches, position: Vec::new(), progress: Ok(Progress::More), marks }
}

/// Returns the watermarks behind each batch, which are of two records, and behind all.
fn read(watermarks: &mut Watermarks, what: &[Do], now: i64) -> (Vec<Timestamp>, Timestamp) {
    let Reading { batches, behind } = watermarks.read(&polled(what), Some(now));
    (batches.into_iter().map(|(_, behind)| behind).collect(), behind)
}

/// The watermark if this is the newest event time of the slowest partition.
fn behind(newest: i64) -> Timestamp {
    newest - OUT_OF_ORDER - 1
}

#[test]
fn the_slowest_partition_sets_the_watermark_from_its_first_mention_to_its_end() {
    let mut source = watermarks(None);
    assert_eq!(
        read(&mut source, &[Name(7), Record(1, 50), Record(1, 60)], 0).1,
        WATERMARK_MIN,
        "nothing of the other yet"
    );
    let (each, last) = read(&mut source, &[Record(1, 90), Record(7, 20), Record(7, 30), Record(7, 25), End(7)], 0);
    assert_eq!(each, [behind(20), behind(30)]);
    assert_eq!(last, behind(90), "it has ended");
    assert_eq!(read(&mut source, &[Record(1, 95), Name(7)], 0).1, WATERMARK_MIN, "it has come back");
    assert_eq!(read(&mut source, &[Record(7, 40)], 0), (vec![behind(40)], behind(40)));
    assert_eq!(read(&mut source, &[End(1), End(7)], 0).1, WATERMARK_MIN, "nothing is left to wait for");
}

#[test]
fn records_of_a_source_without_names_come_from_one_partition() {
    let mut source = watermarks(None);
    assert_eq!(source.combined(), WATERMARK_MIN);
    let mut feed: Feed<u64> = Feed::new(10);
    feed.push(1);
    feed.push_at(30, 2);
    let mut batches = Vec::new();
    let marks = feed.drain(&mut batches);
    assert!(marks.is_empty());
    let polled = Polled { batches, position: Vec::new(), progress: Ok(Progress::More), marks };
    assert_eq!(source.read(&polled, Some(0)).behind, behind(30));
    assert_eq!(source.kept(), (Some(30), Vec::new()), "as before there were partitions");
}

#[test]
fn a_partition_is_idle_by_itself_and_is_waited_for_again() {
    let mut source = watermarks(Some(10));
    assert_eq!(read(&mut source, &[Record(1, 50), Record(2, 20), Name(3)], 100).1, WATERMARK_MIN);
    assert_eq!((source.next_idle(100), source.is_idle()), (Some(110), false), "of the third");
    assert_eq!(read(&mut source, &[Record(1, 60)], 109).1, WATERMARK_MIN);
    assert_eq!(read(&mut source, &[Record(1, 61)], 110).1, behind(20), "it has never had anything");
    assert_eq!(source.next_idle(110), Some(119), "of the second");
    assert_eq!(read(&mut source, &[], 119).1, behind(61));
    assert!(!source.is_idle());
    assert_eq!(read(&mut source, &[], 129).1, behind(61), "all are idle: the fastest counts");
    assert!(source.is_idle());
    assert_eq!(read(&mut source, &[Record(2, 30)], 130).1, behind(30));
    assert!(!source.is_idle());
}

#[test]
fn who_has_no_partitions_is_idle_as_well_until_one_is_named() {
    let mut source = watermarks(Some(10));
    read(&mut source, &[], 100);
    assert_eq!(source.next_idle(100), Some(110));
    read(&mut source, &[], 110);
    assert!(source.is_idle());
    let away = Polled { progress: Err(Error::unavailable("away")), ..polled(&[]) };
    source.read(&away, Some(120));
    assert!(source.is_idle(), "that it is away does not say that there is anything");
    read(&mut source, &[Name(1)], 130);
    assert!(!source.is_idle());
}

#[test]
fn what_is_not_asked_is_not_idle() {
    let mut source = watermarks(Some(10));
    read(&mut source, &[Record(1, 50), Record(2, 20)], 100);
    read(&mut source, &[Record(1, 60)], 105);
    source.may_be_asked(false, 106);
    source.may_be_asked(false, 190);
    source.may_be_asked(true, 200);
    assert_eq!(read(&mut source, &[Record(1, 61)], 208).1, behind(20));
    assert_eq!(read(&mut source, &[Record(1, 61)], 209).1, behind(61), "10 ms without those between");
    read(&mut source, &[Record(2, 40)], 210);
    read(&mut source, &[], 215);
    let away = Polled { progress: Err(Error::unavailable("away")), ..polled(&[]) };
    assert_eq!(source.read(&away, Some(224)).behind, behind(40));
    read(&mut source, &[], 225);
    assert!(!source.is_idle(), "nobody knows whether there was anything");
}

#[test]
fn a_snapshot_holds_what_was_seen_of_each() {
    let mut source = watermarks(None);
    assert_eq!(source.kept(), (Some(WATERMARK_MIN), Vec::new()));
    read(&mut source, &[Record(4, 50), Record(9, 20), Name(2)], 0);
    let kept = source.kept();
    let times: Vec<(u64, i64)> = kept.1.iter().map(|(partition, newest)| (partition.0, *newest)).collect();
    assert_eq!((kept.0, times), (None, vec![(2, WATERMARK_MIN), (4, 50), (9, 20)]));
    let mut restored = watermarks(None);
    restored.restore(kept);
    assert_eq!(read(&mut restored, &[Record(2, 90)], 0).1, behind(20));
    assert_eq!(read(&mut restored, &[End(9), End(2)], 0).1, behind(50));
    for newest in [None, Some(WATERMARK_MIN)] {
        restored.restore((newest, Vec::new()));
        assert_eq!(read(&mut restored, &[Record(3, 70)], 0).1, behind(70), "there was no other");
    }
    restored.restore((Some(10), Vec::new()));
    assert_eq!(read(&mut restored, &[Record(3, 70)], 0).1, behind(10));
}

/// Whatever partitions do, no record comes behind the watermark unless it is later than others of its own partition by more
/// than it may be; and whoever goes back to a cut and reads again in other pieces comes to the same.
#[test]
fn nothing_is_late_but_by_its_own_partition_and_reading_again_comes_to_the_same() {
    for seed in 0..300 {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let partitions = rng.random_range(1..5);
        let mut source = watermarks(None);
        let mut clocks: BTreeMap<u64, i64> = (0..partitions).map(|partition| (partition, 0)).collect();
        // All are named before anything is read.
        let mut since_cut: Vec<Do> = (0..partitions).map(Name).collect();
        read(&mut source, &since_cut, 0);
        let mut told = WATERMARK_MIN;
        for _ in 0..rng.random_range(1..60) {
            if rng.random_range(0..6) == 0 {
                source.cut();
                since_cut.clear();
            }
            let mut poll = Vec::new();
            for _ in 0..rng.random_range(0..7) {
                let alive: Vec<u64> = clocks.keys().copied().collect();
                let Some(partition) = alive.get(rng.random_range(0..alive.len().max(1))).copied() else { break };
                if rng.random_range(0..25) == 0 {
                    clocks.remove(&partition);
                    poll.push(End(partition));
                    continue;
                }
                let clock = clocks.entry(partition).or_default();
                *clock += rng.random_range(0..20);
                poll.push(Record(partition, *clock - rng.random_range(0..=OUT_OF_ORDER)));
            }
            let Reading { batches, behind } = source.read(&polled(&poll), Some(0));
            let mut records =
                poll.iter().filter_map(|what| if let Record(_, time) = what { Some(*time) } else { None });
            for (batch, watermark) in batches {
                assert!(records.by_ref().take(batch.len()).all(|time| time > told), "seed {seed}: late");
                told = told.max(watermark);
            }
            told = told.max(behind);
            since_cut.extend(poll);
            let slowest = source.newest().map(|(_, newest)| newest).min();
            assert_eq!(source.newest().count(), clocks.len(), "seed {seed}: those that have not ended");
            assert!(slowest.is_none_or(|newest| source.combined() == newest.saturating_sub(OUT_OF_ORDER + 1)));
        }
        let (kept, combined) = (source.kept(), source.combined());
        source.go_back();
        for piece in since_cut.chunks(rng.random_range(1..9)) {
            source.read(&polled(piece), None);
        }
        assert_eq!((source.kept(), source.combined()), (kept, combined), "seed {seed}");
        assert!(told < WATERMARK_MAX);
    }
}
