//! A sync that fails once costs one rollback and nothing else: the store is opened again, every region goes on from
//! its last committed window, checkpoints complete as before, and the output is that of a run without the failure.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use piton::Overrides;
use piton::prelude::*;
use piton::runtime::{Ended, Event, Opener, Outcome, RunOptions, run_in};
use piton::store::catalogue::LogCatalogue;
use piton::store::disk::{Disk, DiskLock, Entry, SimDisk, WriteContent};
use piton::store::{FileStore, OpenOptions, StoreError};
use serde::Deserialize;

const KEYS: u64 = 8_000;
/// Of so many keys the counts of one are published: the state is to be large, the output need not be.
const SHOWN: u64 = 80;
/// How many commits of each region there have to be before the sync fails, and how many after.
const COMMITS: usize = 4;
const REGIONS: [&str; 2] = ["left", "right"];

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which jobs have seen enough: their sources come to their end.
static ENOUGH: LazyLock<Mutex<BTreeSet<String>>> = LazyLock::new(Mutex::default);

/// How many rows each source had emitted when it came to its end.
static EMITTED: LazyLock<Mutex<BTreeMap<String, u64>>> = LazyLock::new(Mutex::default);

/// Emits `(key, number)` until its job has seen enough.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Endless {
    job: String,
    name: String,
    #[serde(skip)]
    next: u64,
}

impl Source for Endless {
    type Out = (u64, u64);
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, _subtask: &Subtask) -> Result {
        self.next = position.unwrap_or(0);
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<(u64, u64)>) -> Result<Progress> {
        if locked(&ENOUGH).contains(&self.job) {
            locked(&EMITTED).insert(self.name.clone(), self.next);
            return Ok(Progress::Done);
        }
        for _ in 0..feed.room() {
            feed.push((self.next % KEYS, self.next));
            self.next += 1;
        }
        Ok(Progress::Idle(1))
    }

    fn position(&self) -> u64 {
        self.next
    }
}

/// Counts per key, and shows the counts of some.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CountAll {}

const SEEN: ValueState<u64> = ValueState::new("seen");

impl Operator for CountAll {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn key(&self, record: &(u64, u64)) -> Key {
        Key::from(record.0)
    }

    fn process(&mut self, record: &(u64, u64), ctx: &mut Context<(u64, u64)>) -> Result {
        let seen = ctx.state(SEEN).update(|seen| {
            *seen += 1;
            *seen
        })?;
        if record.0.is_multiple_of(SHOWN) {
            ctx.emit((record.0, seen));
        }
        Ok(())
    }
}

/// Where the sync fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The names of chunks: nothing of the commit happens.
    Chunks,
    /// The head: it is not known whether the commit has happened.
    Head,
}

#[derive(Default)]
struct Faults {
    /// Where a sync is to fail, once it can do harm.
    armed: Option<Place>,
    /// How often the directory cannot be locked after that.
    refusals: u32,
    /// Whether it is found damaged after that.
    damaged: bool,
    /// Folders with names of chunks that are not durable.
    dirty: BTreeSet<PathBuf>,
    struck: bool,
}

/// A disk of which one sync fails while both regions have chunks that no checkpoint lists yet.
#[derive(Clone)]
struct Failing {
    disk: SimDisk,
    faults: Arc<Mutex<Faults>>,
}

impl Failing {
    fn strike(&self, place: Place) -> io::Result<()> {
        let mut faults = locked(&self.faults);
        if faults.armed != Some(place) || faults.dirty.len() < REGIONS.len() - usize::from(place == Place::Head) {
            return Ok(());
        }
        faults.armed = None;
        faults.struck = true;
        Err(io::Error::other("told to fail"))
    }
}

impl Disk for Failing {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    #[expect(clippy::disallowed_methods, reason = "a disk takes its time: meanwhile the other region writes, too")]
    fn write_new_with(&self, path: &Path, content: &mut WriteContent<'_>) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(1));
        self.disk.write_new_with(path, content)
    }

    fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if path.ends_with("HEAD") {
            self.strike(Place::Head)?;
        }
        self.disk.overwrite(path, offset, bytes)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.disk.sync(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.ends_with("blobs") {
            self.strike(Place::Chunks)?;
            locked(&self.faults).dirty.remove(dir);
        }
        self.disk.sync_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if let Some(folder) = to.parent().filter(|folder| folder.ends_with("blobs")) {
            locked(&self.faults).dirty.insert(folder.to_owned());
        }
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir(dir)
    }

    fn read_at(&self, path: &Path, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        self.disk.read_at(path, offset, len)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        let mut faults = locked(&self.faults);
        if faults.struck && faults.refusals > 0 {
            faults.refusals -= 1;
            return Err(io::Error::other("told to refuse"));
        }
        drop(faults);
        self.disk.lock(path)
    }
}

fn topology(job: &str) -> String {
    let mut text = String::from(
        r#"
        [window]
        interval = "10ms"
        [checkpoint]
        interval = "20ms"
        [recovery]
        initial_backoff = "5ms"
        "#,
    );
    for region in REGIONS {
        text += &format!(
            r#"
            [sources.{region}]
            type = "endless"
            job = "{job}"
            name = "{job} {region}"
            [operators.{region}_count]
            type = "count_all"
            inputs = ["{region}"]
            [sinks.{region}_out]
            type = "collect"
            inputs = ["{region}_count"]
            name = "{job} {region}"
            "#
        );
    }
    text
}

fn check_output(name: &str) {
    let rows = locked(&EMITTED)[name];
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    for (key, count) in support::published(name).into_iter().flatten() {
        let seen = last.entry(key).or_default();
        assert_eq!(count, *seen + 1, "{name}: key {key}");
        *seen = count;
    }
    for key in (0..KEYS).step_by(SHOWN as usize) {
        let expected = rows / KEYS + u64::from(key < rows % KEYS);
        assert_eq!(last.remove(&key).unwrap_or_default(), expected, "{name}: key {key} of {rows} rows");
    }
    assert!(last.is_empty(), "{name}: {last:?} should not be shown");
}

/// What a job has told, in its order.
type Told = Arc<Mutex<Vec<Event>>>;

fn count(told: &[Event], is: impl Fn(&Event) -> Option<&str>) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for region in told.iter().filter_map(is) {
        *count.entry(region.to_string()).or_default() += 1;
    }
    count
}

fn committed(event: &Event) -> Option<&str> {
    if let Event::Committed { region, .. } = event { Some(region) } else { None }
}

fn restarted(event: &Event) -> Option<&str> {
    if let Event::Restarted { region, .. } = event { Some(region) } else { None }
}

fn enough(told: &[Event]) -> bool {
    let commits = count(told, committed);
    REGIONS.iter().all(|region| commits.get(*region).is_some_and(|commits| *commits >= COMMITS))
}

/// Runs a job until it has committed often enough after the failure, or gives up.
fn run(job: &str, place: Place, faults: Faults) -> (Outcome, Vec<Event>) {
    let faults = Arc::new(Mutex::new(faults));
    let disk = Failing { disk: SimDisk::new(1), faults: Arc::clone(&faults) };
    let opener: Opener = Box::new(move || {
        let mut faults = locked(&disk.faults);
        if faults.struck && faults.damaged {
            return Err(StoreError::Damaged("told to be damaged".into()));
        }
        faults.dirty.clear();
        drop(faults);
        let options = OpenOptions::default();
        let opened = FileStore::<Failing, LogCatalogue<Failing>>::open_on(disk.clone(), Path::new("/state"), options);
        opened.map(|(store, _)| Box::new(store) as _)
    });

    let told = Told::default();
    let (all, name) = (Arc::clone(&told), job.to_string());
    let mut since = None;
    let listener = Box::new(move |event: &Event| {
        let mut all = locked(&all);
        all.push(event.clone());
        let mut faults = locked(&faults);
        match since {
            _ if !faults.struck && enough(&all) => faults.armed = Some(place),
            None if faults.struck => since = Some(all.len()),
            Some(since) if enough(&all[since..]) => _ = locked(&ENOUGH).insert(name.clone()),
            _ => {}
        }
    });

    let mut registry = support::registry();
    registry.source::<Endless>("endless").operator::<CountAll>("count_all");
    let toml = topology(job);
    let plan = piton::topology::load_text(&toml, Path::new("job.toml"), &Overrides::default(), &registry).unwrap();
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || done.send(run_in(&plan, RunOptions { listener, ..RunOptions::default() }, opener)));
    let ended = ended.recv_timeout(Duration::from_secs(60));
    let told = locked(&told).clone();
    let Ok(ended) = ended else {
        let last = &told[told.len().saturating_sub(6)..];
        panic!("{job}: the job has not ended; commits: {:?}; the last events: {last:#?}", count(&told, committed));
    };
    let Ended::Ran(outcome) = ended.unwrap() else { panic!("{job}: the job had nothing to do") };
    (outcome, told)
}

fn check(place: Place, refusals: u32) {
    let job = format!("{place:?} {refusals}");
    let (outcome, told) = run(&job, place, Faults { refusals, ..Faults::default() });
    assert!(outcome.finished && outcome.failures.is_empty(), "{job}: {outcome:?}");
    let expected: BTreeMap<String, usize> = REGIONS.iter().map(|region| (region.to_string(), 1)).collect();
    assert_eq!(count(&told, restarted), expected, "{job}: each region rolls back once");
    for region in REGIONS {
        check_output(&format!("{job} {region}"));
    }
}

#[test]
fn chunks_that_cannot_be_synced_once() {
    check(Place::Chunks, 0);
}

#[test]
fn a_head_that_cannot_be_synced_once() {
    check(Place::Head, 0);
}

#[test]
fn a_store_that_cannot_be_opened_at_once() {
    check(Place::Chunks, 3);
}

#[test]
fn a_store_that_is_damaged_ends_the_job_and_is_named() {
    let (outcome, _) = run("damaged", Place::Head, Faults { damaged: true, ..Faults::default() });
    assert!(!outcome.finished && outcome.failures.len() == REGIONS.len(), "{outcome:?}");
    assert!(outcome.failures.iter().all(|failure| failure.contains("told to be damaged")), "{outcome:?}");
}
