//! A job that is killed with -9 again and again ends with the output of a run that nobody disturbed, and whoever reads
//! along sees nothing else at any moment.
//!
//! ```text
//! a (generate)     ┐                 ┌ rows (csv)
//! b (generate, ×2) ┘ kept (filter)  ┤
//!                                    └ counted (aggregate, ×4) → counts (csv)
//! ```
//!
//! `PITON_ROUNDS=200 cargo test --test survives_kill` kills it 200 times.

#[path = "support/binary/mod.rs"]
mod binary;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use binary::chaos::{rng, rounds};
use binary::folder::{Folder, Place};
use binary::generate::{Row, Totals, add, read_rows, read_totals, row};
use binary::process::{Job, pause};
use binary::told;
use rand::RngExt as _;

const KEYS: u64 = 200;
/// Rows a second of each source, until the last lives.
const RATE: u64 = 10_000;
/// How long a life is at most, in ms.
const LONGEST: u64 = 1_000;

/// The sources: seed, subtasks, and how their times begin, by which a row is told from one of the other.
const SOURCES: [(u64, u64, &str); 2] = [(1, 1, "1970-"), (2, 2, "2001-")];

fn topology(rows: u64) -> String {
    format!(
        r#"
        [window]
        interval = "20ms"
        [checkpoint]
        interval = "100ms"
        [store]
        path = "state"
        [sources.a]
        type = "generate"
        rows = {rows}
        keys = {KEYS}
        seed = 1
        rate = "{RATE}/s"
        [sources.b]
        type = "generate"
        rows = {rows}
        keys = {KEYS}
        seed = 2
        rate = "{RATE}/s"
        start = 1000000000000
        parallelism = 2
        [operators.kept]
        type = "filter"
        inputs = ["a", "b"]
        where = "value >= 100"
        [sinks.rows]
        type = "csv"
        inputs = ["kept"]
        path = "out/rows"
        [operators.counted]
        type = "aggregate"
        inputs = ["kept"]
        parallelism = 4
        by = ["key"]
        columns = ["count(*) AS n", "sum(value) AS total"]
        [sinks.counts]
        type = "csv"
        inputs = ["counted"]
        path = "out/counts"
        "#
    )
}

fn is_kept(row: Row) -> bool {
    row.value >= 100
}

/// A key and its values.
type KeyedCounts = (u64, (u64, u64));

/// Somebody who reads both folders as files appear in them.
struct Reader {
    rows: Folder,
    counts: Folder,
    /// What each partition (source, subtask) has yet to deliver, the next one last.
    due: BTreeMap<(usize, u64), Vec<Row>>,
    /// The newest values of each key, and which subtask they came from.
    newest: BTreeMap<u64, (u64, u64, u32)>,
    /// What each window added to either sink.
    rows_of: BTreeMap<u64, Vec<Row>>,
    counts_of: BTreeMap<u64, Vec<KeyedCounts>>,
}

impl Reader {
    fn new(job: &Job, rows: u64) -> Reader {
        let mut due = BTreeMap::new();
        for (source, (seed, subtasks, _)) in SOURCES.into_iter().enumerate() {
            for subtask in 0..subtasks {
                let ids = (0..rows).filter(|id| id % subtasks == subtask);
                let mut kept: Vec<Row> = ids.map(|id| row(seed, KEYS, id)).filter(|row| is_kept(*row)).collect();
                kept.reverse();
                due.insert((source, subtask), kept);
            }
        }
        Reader {
            rows: Folder::new(job.path("out/rows"), "rows"),
            counts: Folder::new(job.path("out/counts"), "counts"),
            due,
            newest: BTreeMap::new(),
            rows_of: BTreeMap::new(),
            counts_of: BTreeMap::new(),
        }
    }

    /// Takes what has appeared.
    fn look(&mut self) {
        for (place, text) in self.rows.look() {
            self.take_rows(place, &text);
        }
        for (place, text) in self.counts.look() {
            self.take_counts(place, &text);
        }
    }

    /// The rows of a file are the next ones of each partition: no gap, none twice.
    fn take_rows(&mut self, place: Place, text: &str) {
        let mut of_partition: BTreeMap<(usize, u64), Vec<Row>> = BTreeMap::new();
        for (row, time) in read_rows(text) {
            let source = SOURCES.iter().position(|(.., year)| time.starts_with(year));
            let source = source.unwrap_or_else(|| panic!("{place:?}: {row:?} at {time} is of no source"));
            of_partition.entry((source, row.id % SOURCES[source].1)).or_default().push(row);
            self.rows_of.entry(place.window).or_default().push(row);
        }
        for (partition, mut rows) in of_partition {
            rows.sort();
            let due = self.due.get_mut(&partition).unwrap();
            for row in rows {
                assert_eq!(Some(row), due.pop(), "{place:?}: what comes next of {partition:?}");
            }
        }
    }

    /// The count of a key only grows, and one subtask has it for good.
    fn take_counts(&mut self, place: Place, text: &str) {
        for (key, (n, total)) in read_totals(text) {
            let (before, _, owner) = self.newest.get(&key).copied().unwrap_or((0, 0, place.subtask));
            assert!(n > before, "{place:?}: {n} of key {key} after {before}");
            assert_eq!(owner, place.subtask, "{place:?}: who counts key {key}");
            self.newest.insert(key, (n, total, owner));
            self.counts_of.entry(place.window).or_default().push((key, (n, total)));
        }
    }

    /// What is there at the end is what an undisturbed run gives, and both sinks agreed on it window by window.
    fn assert_complete(&mut self, rows: u64) {
        self.look();
        for (partition, due) in &self.due {
            assert!(due.is_empty(), "{partition:?} lacks {} rows, first {:?}", due.len(), due.last());
        }
        let mut golden = Totals::new();
        for (seed, ..) in SOURCES {
            for row in (0..rows).map(|id| row(seed, KEYS, id)).filter(|row| is_kept(*row)) {
                add(&mut golden, row);
            }
        }
        let newest: Totals = self.newest.iter().map(|(key, (n, total, _))| (*key, (*n, *total))).collect();
        assert!(newest == golden, "the last row of each key is not what was to be counted");

        let (mut by_rows, mut by_counts) = (Totals::new(), Totals::new());
        let windows: Vec<u64> = self.rows_of.keys().chain(self.counts_of.keys()).copied().collect();
        for window in windows {
            for row in self.rows_of.remove(&window).unwrap_or_default() {
                add(&mut by_rows, row);
            }
            by_counts.extend(self.counts_of.remove(&window).unwrap_or_default());
            if self.rows_of.keys().chain(self.counts_of.keys()).all(|later| *later > window) {
                assert!(by_rows == by_counts, "the sinks differ in what window {window} covers");
            }
        }
        self.rows.assert_whole();
        self.counts.assert_whole();
    }
}

#[test]
fn a_job_that_is_killed_again_and_again_ends_as_if_it_never_was() {
    let mut rng = rng("survives_kill");
    let kills = rounds(15);
    // So many that the lives at the usual rate can never come to the end; those after run as fast as they can.
    let rows = RATE * (kills * LONGEST / 1000 + 1);
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new(folder.path(), &topology(rows));
    let reader = Mutex::new(Reader::new(&job, rows));
    let over = AtomicBool::new(false);
    let fast = ["--set", "sources.a.rate=1000000000/s", "--set", "sources.b.rate=1000000000/s"];
    let mut killed = 0;
    std::thread::scope(|scope| {
        let tail = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                reader.lock().unwrap().look();
                pause(Duration::from_millis(10));
            }
        });
        let lives = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while killed < kills + kills / 4 {
                let is_paced = killed < kills;
                let more = if is_paced { &[][..] } else { &fast };
                // A third of the lives end while the job starts, and the last ones around its end.
                let longest = if rng.random_ratio(1, 3) || !is_paced { LONGEST / 4 } else { LONGEST };
                let ended = job.start(more).kill_after(Duration::from_micros(rng.random_range(0..longest * 1000)));
                if let Some(ended) = ended {
                    ended.expect(0);
                    assert!(!is_paced, "it cannot have finished yet");
                    break;
                }
                killed += 1;
                let mut reader = reader.lock().unwrap();
                reader.look();
                reader.rows.assert_untouched();
                reader.counts.assert_untouched();
            }
            job.run(&fast).expect(0);
        }));
        over.store(true, Ordering::Relaxed);
        let read = tail.join();
        // What the reader has found explains more than that the other one could not go on.
        read.and(lives).unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let mut reader = reader.into_inner().unwrap();
    reader.assert_complete(rows);
    let (commits, resumed) = told::check(&job.events());
    println!(
        "{killed} kills, {rows} rows of each source, {commits} commits told, {resumed} found only after a kill, {} files",
        reader.rows.files() + reader.counts.files()
    );
    assert!(commits > killed, "{commits} commits in {killed} lives: nothing was put at risk");
}
