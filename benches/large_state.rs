//! Large keyed state in a running job: what a checkpoint of a small change costs, and what it takes to come back.
//!
//! `cargo bench --bench large_state [-- MEGABYTES] [counts|accounts] [DIR]`; 256 MB and both kinds of state if nothing
//! is said, `-- 1024` for the full figures.
//!
//! The job is a source and one keyed operator with one subtask, run by the engine on the default store in a temporary
//! folder. First the source fills the state, one record for each key. Then it changes 1 % of the keys for each
//! checkpoint, spread over all of the state and other ones each time, with a trickle of records between, so that a
//! stall is seen. Then the job fails for good, and is started again several times; a restore is the time from then
//! until its operator has processed a record. Every figure stands beside its limit; raw speeds are of the very files
//! that are restored, in the same run.
//!
//! Two kinds of state: *counts* are a `u64` for a `u64` (20 bytes a key at rest), the most keys there can be in so
//! many bytes; *accounts* are what a user would keep of a customer, a struct with a name (about 100 bytes a key).
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark takes real time and prints it")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use piton::prelude::*;
use piton::runtime::RunOptions;
use piton::store::{CheckpointStore, OpenOptions, SledStore, StoreError};
use piton::{Delivery, Overrides, Rows};
use serde::{Deserialize, Serialize};

mod processor;
mod watched;

use watched::{Notes, Watched, milliseconds};

/// Checkpoints with a change of 1 %.
const CHECKPOINTS: u64 = 50;
/// How often it is restored.
const RESTORES: usize = 5;
/// What a restore costs depends on how much was read into a store that has just been started.
const TRICKLE: u64 = 64;
/// Coprime to any number of keys that is used here.
const STRIDE: u64 = 1_000_000_007;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counts,
    Accounts,
}

impl Kind {
    fn keys(self, megabytes: u64) -> u64 {
        megabytes * 1_000_000
            / match self {
                Kind::Counts => 20,
                Kind::Accounts => 100,
            }
    }
}

/// What source, operator and the one who measures tell each other.
#[derive(Default)]
struct Shared {
    /// The longest pause between two records while the state was filled, and after that.
    gaps: [Duration; 2],
    /// How long each cut took, while the state was filled and after that, and how much of it the thread had a
    /// processor: the rest is for others to answer for.
    cuts: [Vec<(Duration, Duration)>; 2],
    /// When the first record after a start was processed.
    first: Option<Instant>,
}

static SHARED: Mutex<Option<Shared>> = Mutex::new(None);
/// How many rounds of change were committed; none while the state is filled.
static ROUND: AtomicU64 = AtomicU64::new(0);
/// After so many of them the job fails.
static UNTIL: AtomicU64 = AtomicU64::new(0);

fn shared() -> MutexGuard<'static, Option<Shared>> {
    SHARED.lock().expect("nobody panics with it")
}

fn with_shared<T>(f: impl FnOnce(&mut Shared) -> T) -> T {
    f(shared().get_or_insert_default())
}

/// A key, and whether it is one of the trickle.
#[derive(Clone, Copy, Debug, Default, Record, Serialize, Deserialize)]
struct Change {
    key: u64,
}

/// Fills the state, then changes a part of it between two commits.
#[derive(Clone, Deserialize)]
struct Changes {
    keys: u64,
    #[serde(skip)]
    filled: u64,
    #[serde(skip)]
    changed: u64,
    #[serde(skip)]
    of_round: u64,
}

impl Changes {
    fn is_filled(&self) -> bool {
        self.filled == self.keys
    }

    fn change(&mut self, feed: &mut Feed<Change>) -> Progress {
        let of_round = self.keys / 100;
        if self.of_round == of_round {
            // Only keys that have changed in this round anyway.
            for _ in 0..TRICKLE {
                feed.push(Change { key: self.changed.wrapping_sub(1).wrapping_mul(STRIDE) % self.keys });
            }
            return Progress::Idle(1);
        }
        let rows = (feed.room() as u64).min(of_round - self.of_round);
        for _ in 0..rows {
            feed.push(Change { key: self.changed.wrapping_mul(STRIDE) % self.keys });
            self.changed += 1;
            self.of_round += 1;
        }
        Progress::More
    }
}

impl Source for Changes {
    type Out = Change;
    type Position = (u64, u64, u64);

    async fn open(&mut self, position: Option<(u64, u64, u64)>, _: &Subtask) -> Result {
        (self.filled, self.changed, self.of_round) = position.unwrap_or_default();
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<Change>) -> Result<Progress> {
        if self.is_filled() {
            return Ok(self.change(feed));
        }
        let rows = (feed.room() as u64).min(self.keys - self.filled);
        for key in self.filled..self.filled + rows {
            feed.push(Change { key });
        }
        self.filled += rows;
        if self.is_filled() {
            self.of_round = self.keys / 100;
        }
        Ok(Progress::More)
    }

    fn position(&self) -> (u64, u64, u64) {
        (self.filled, self.changed, self.of_round)
    }

    async fn committed(&mut self, _: WindowId, position: (u64, u64, u64)) -> Result {
        let of_round = self.keys / 100;
        let (filled, _, changed) = position;
        if filled == self.keys && changed == of_round && self.of_round == of_round {
            // The first one behind the end of the filling is not one of a change.
            ROUND.fetch_add(1, Ordering::Relaxed);
            self.of_round = 0;
        }
        Ok(())
    }
}

/// What somebody keeps of a customer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Account {
    name: String,
    visits: u64,
    spent: f64,
    last_seen: i64,
    level: u8,
}

const COUNT: ValueState<u64> = ValueState::new("count");
const ACCOUNT: ValueState<Account> = ValueState::new("account");

#[derive(Clone, Deserialize)]
struct Keep {
    accounts: bool,
    /// When it was about to be cut.
    #[serde(skip)]
    before_cut: Option<(Instant, Duration)>,
    /// When the last record was processed.
    #[serde(skip)]
    last: Option<Instant>,
    /// The longest pause between two records in this window.
    #[serde(skip)]
    gap: Duration,
}

impl Operator for Keep {
    type In = Change;
    type Out = Change;

    fn key(&self, change: &Change) -> Key {
        Key::from(change.key)
    }

    fn process(&mut self, change: &Change, ctx: &mut Context<Change>) -> Result {
        if self.accounts {
            ctx.state(ACCOUNT).update(|account| {
                if account.visits == 0 {
                    account.name = format!("customer number {}", change.key);
                }
                account.visits += 1;
                account.spent += 12.5;
                account.last_seen = 1_700_000_000_000;
            })?;
        } else {
            ctx.state(COUNT).update(|count| *count += 1)?;
        }
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.gap = self.gap.max(now - last);
            return Ok(());
        }
        with_shared(|shared| shared.first = Some(now));
        if ROUND.load(Ordering::Relaxed) >= UNTIL.load(Ordering::Relaxed) {
            return Err(piton::prelude::Error::invalid("enough was measured"));
        }
        Ok(())
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn before_checkpoint(&mut self, _: WindowId, _: &mut Context<Change>) -> Result {
        self.before_cut = Some((Instant::now(), processor::of_thread().unwrap_or_default()));
        Ok(())
    }

    fn begin_window(&mut self, _: WindowId, _: &mut Context<Change>) -> Result {
        let rounds = ROUND.load(Ordering::Relaxed);
        let phase = usize::from(rounds > 0);
        with_shared(|shared| {
            if let Some((before, used)) = self.before_cut.take() {
                shared.cuts[phase]
                    .push((before.elapsed(), processor::of_thread().unwrap_or_default().saturating_sub(used)));
            }
            shared.gaps[phase] = shared.gaps[phase].max(std::mem::take(&mut self.gap));
        });
        if self.last.is_some() && rounds >= UNTIL.load(Ordering::Relaxed) {
            return Err(piton::prelude::Error::invalid("enough was measured"));
        }
        Ok(())
    }
}

#[derive(Clone, Deserialize)]
struct Nowhere {}

impl Sink for Nowhere {
    type In = Change;
    type Pending = ();

    fn delivery(&self) -> Delivery {
        Delivery::Staged
    }

    async fn open(&mut self, _: Vec<()>, _: &Subtask) -> Result {
        Ok(())
    }

    async fn write(&mut self, _: Arc<Rows<Change>>) -> Result {
        Ok(())
    }

    async fn prepare(&mut self, _: WindowId) -> Result<Option<()>> {
        Ok(None)
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    // Cargo passes flags of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let megabytes = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(256);
    let is_wanted = |kind: &str| {
        let named = |name: &str| arguments.iter().any(|argument| argument == name);
        named(kind) || !(named("counts") || named("accounts"))
    };
    let base = arguments.iter().find(|argument| Path::new(argument).is_dir());
    for (name, kind) in [("counts", Kind::Counts), ("accounts", Kind::Accounts)] {
        if is_wanted(name) {
            let dir = match base {
                Some(base) => tempfile::tempdir_in(base)?,
                None => tempfile::tempdir()?,
            };
            measure(dir.path(), kind, megabytes)?;
        }
    }
    Ok(())
}

/// Runs the job until it has had enough; returns what the store saw, when it was started and when the store was open.
fn run(dir: &Path, kind: Kind, keys: u64) -> std::result::Result<(Notes, Instant, Instant), Box<dyn Error>> {
    let mut registry = Registry::new();
    registry.source::<Changes>("changes").operator::<Keep>("keep").sink::<Nowhere>("nowhere");
    let accounts = kind == Kind::Accounts;
    let toml = format!(
        "recovery.strategy = \"none\"\n\
         [sources.changes]\ntype = \"changes\"\nkeys = {keys}\n\
         [operators.keep]\ntype = \"keep\"\naccounts = {accounts}\ninputs = [\"changes\"]\n\
         [sinks.out]\ntype = \"nowhere\"\ninputs = [\"keep\"]\n"
    );
    let plan = piton::topology::load_text(&toml, &dir.join("job.toml"), &Overrides::default(), &registry)?;
    let notes = Arc::new(Mutex::new(Notes::default()));
    let opened = Arc::new(Mutex::new(None));
    let (state, noted, was_opened) = (dir.join("state"), Arc::clone(&notes), Arc::clone(&opened));
    let opener = move || -> std::result::Result<Box<dyn CheckpointStore>, StoreError> {
        let (store, _) = SledStore::open(&state, OpenOptions::default())?;
        *was_opened.lock().expect("nobody panics with it") = Some(Instant::now());
        Ok(Box::new(Watched::new(Box::new(store), Arc::clone(&noted), None)))
    };
    let begin = Instant::now();
    piton::runtime::run_in(&plan, RunOptions::default(), Box::new(opener))?;
    let notes = std::mem::take(&mut *notes.lock().expect("nobody panics with it"));
    let opened = opened.lock().expect("nobody panics with it").expect("the store was opened");
    Ok((notes, begin, opened))
}

fn measure(dir: &Path, kind: Kind, megabytes: u64) -> std::result::Result<(), Box<dyn Error>> {
    let keys = kind.keys(megabytes);
    println!(
        "{kind:?}: {keys} keys, about {megabytes} MB at rest; state in {}: {}",
        dir.display(),
        watched::file_system(dir)
    );
    *shared() = None;
    ROUND.store(0, Ordering::Relaxed);
    UNTIL.store(CHECKPOINTS + 1, Ordering::Relaxed);
    let begin = Instant::now();
    let (notes, ..) = run(dir, kind, keys)?;
    println!("  filled and changed {CHECKPOINTS} times in {:.1} s", begin.elapsed().as_secs_f64());
    print_checkpoints(&notes);
    print_stalls();
    restores(dir, kind, keys)
}

fn print_checkpoints(notes: &Notes) {
    let from = notes.commits.len().saturating_sub(CHECKPOINTS as usize);
    let changes = &notes.commits[from..];
    // A merge of everything leaves a chunk that is as long as the state.
    let merged = changes.iter().map(|commit| commit.longest).max().unwrap_or(0);
    let filled = notes.commits[..from].iter().map(|commit| commit.longest).max().unwrap_or(0);
    let full = merged.max(filled);
    let percent = |bytes: u64| bytes as f64 * 100.0 / full as f64;
    let mut written: Vec<u64> = changes.iter().map(|commit| commit.put + commit.manifest).collect();
    let sum: u64 = written.iter().sum();
    println!("  full chunk {:.1} MB; written in {} checkpoints, in % of it:", full as f64 / 1e6, written.len());
    let each: Vec<String> = written.iter().map(|bytes| format!("{:.1}", percent(*bytes))).collect();
    println!("    {}", each.join(" "));
    written.sort_unstable();
    println!(
        "  one checkpoint without a merge (p50) {:.2} %, with merges: mean {:.2} %, most {:.1} %    limit 5 %",
        percent(written[written.len() / 2]),
        percent(sum) / written.len() as f64,
        percent(*written.last().unwrap_or(&0)),
    );
    let longest = changes.iter().map(|commit| commit.putting).max().unwrap_or_default();
    println!("  longest write of chunks on the storage thread {:.0} ms", milliseconds(longest));
}

fn print_stalls() {
    with_shared(|shared| {
        for (phase, what) in [(1, "1 % changed"), (0, "while it is filled")] {
            let (cuts, gap) = (&shared.cuts[phase], shared.gaps[phase]);
            let of_all = |of: fn(&(Duration, Duration)) -> Duration| {
                let mut times: Vec<Duration> = cuts.iter().map(of).collect();
                times.sort();
                let at = |percent: usize| times.get(times.len().saturating_sub(1) * percent / 100).copied();
                [at(10), at(50), at(100)].map(|time| milliseconds(time.unwrap_or_default()))
            };
            let ([p10, p50, max], [used_p10, used_p50, used_max]) = (of_all(|cut| cut.0), of_all(|cut| cut.1));
            println!(
                "  stall, {what:<18} cut p10 {p10:.1} / p50 {p50:.1} / max {max:.1} ms \
                 (on the processor {used_p10:.1} / {used_p50:.1} / {used_max:.1}), \
                 longest pause between records {:.1} ms    limit 50 ms",
                milliseconds(gap)
            );
        }
    });
}

/// Restores with the files in the page cache, and with an empty one if it can be emptied.
fn restores(dir: &Path, kind: Kind, keys: u64) -> std::result::Result<(), Box<dyn Error>> {
    println!("  whole: from the start of the job to its first record; state: the rest beside opening and reading");
    println!(
        "  restore {:>12} {:>8} {:>8} {:>8} {:>8} | {:>9} {:>9} {:>7} {:>9}",
        "whole ms", "open", "read", "state", "MB/s", "raw ms", "raw MB/s", "ratio", "1 buffer"
    );
    let regions = dir.join("state/regions");
    let head = head_files(dir, kind, keys)?;
    let is_head = |path: &Path| path.file_name().is_some_and(|name| head.iter().any(|file| name == file.as_str()));
    for page_cache in ["warm", "cold"] {
        let mut ratios = Vec::new();
        for _ in 0..RESTORES {
            let files = watched::files(&regions)?;
            let is_cold = page_cache == "cold";
            // Whoever reads first would find a cold disk, the other a warm one: each has the cache emptied before.
            if is_cold && !forget(&files) {
                println!("    the page cache cannot be emptied here: no cold figures");
                return Ok(());
            }
            let listed: Vec<PathBuf> = files.into_iter().filter(|path| is_head(path)).collect();
            let (raw_bytes, raw) = watched::read_all(&listed)?;
            let through = if is_cold { Duration::ZERO } else { watched::read_through(&listed)? };
            if is_cold {
                forget(&listed);
            }
            *shared() = None;
            UNTIL.store(0, Ordering::Relaxed);
            let (notes, begin, opened) = run(dir, kind, keys)?;
            let first = with_shared(|shared| shared.first).ok_or("nothing was restored")?;
            let whole = first - begin;
            let rate = |bytes: u64, time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
            let ratio = rate(notes.read, whole) / rate(raw_bytes, raw);
            ratios.push(ratio);
            println!(
                "    {page_cache} {:>13.0} {:>8.0} {:>8.0} {:>8.0} {:>8.0} | {:>9.0} {:>9.0} {:>7.2} {:>9.0}",
                milliseconds(whole),
                milliseconds(opened - begin),
                milliseconds(notes.reading),
                milliseconds(first - opened) - milliseconds(notes.reading),
                rate(notes.read, whole),
                milliseconds(raw),
                rate(raw_bytes, raw),
                ratio,
                if is_cold { 0.0 } else { rate(raw_bytes, through) },
            );
        }
        ratios.sort_by(f64::total_cmp);
        println!(
            "  restore, {page_cache} page cache: {:.2} of the raw read ({:.2} to {:.2})    limit 0.4",
            ratios[ratios.len() / 2],
            ratios[0],
            ratios[ratios.len() - 1]
        );
    }
    Ok(())
}

/// Restores once to learn which files belong to the newest checkpoint.
fn head_files(dir: &Path, kind: Kind, keys: u64) -> std::result::Result<Vec<String>, Box<dyn Error>> {
    UNTIL.store(0, Ordering::Relaxed);
    let (notes, ..) = run(dir, kind, keys)?;
    println!("  the newest checkpoint is {} files of {:.1} MB in all", notes.read_ids.len(), notes.read as f64 / 1e6);
    Ok(notes.read_ids)
}

/// Asks the kernel to forget the content of files; returns whether it was asked.
fn forget(files: &[PathBuf]) -> bool {
    files.iter().all(|path| {
        let dd = Command::new("dd")
            .arg(format!("if={}", path.display()))
            .args(["iflag=nocache", "count=0", "status=none"])
            .status();
        dd.is_ok_and(|status| status.success())
    })
}
