//! A region that has to roll back while its last rollback is still reading a checkpoint does so once: there are never
//! two attempts of it that take each other's records.

mod support;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use piton::Overrides;
use piton::ids::{Fence, WindowId};
use piton::protocol::commit::{Commit, CommitError, CommitLog};
use piton::protocol::manifest::{ChunkId, ChunkRef, DeadLetter, Manifest};
use piton::runtime::{Ended, Event, RunOptions, run_in};
use piton::store::{CheckpointInfo, CheckpointStore, MemoryStore, StoreError};
use support::check_counts;

const ROWS: u64 = 4_000;
const KEYS: u64 = 97;

/// A store that takes its time to read a checkpoint of one region.
struct Slow(MemoryStore);

impl CommitLog for Slow {
    fn commit(&mut self, commits: Vec<Commit>) -> Vec<Result<(), CommitError>> {
        self.0.commit(commits)
    }
}

impl CheckpointStore for Slow {
    fn put_chunk(&mut self, id: ChunkId, bytes: &[u8]) -> Result<ChunkRef, StoreError> {
        self.0.put_chunk(id, bytes)
    }

    fn read_chunk(&mut self, chunk: &ChunkRef) -> Result<Vec<u8>, StoreError> {
        self.0.read_chunk(chunk)
    }

    fn regions(&mut self) -> Result<Vec<String>, StoreError> {
        self.0.regions()
    }

    fn head(&mut self, region: &str) -> Result<Option<(WindowId, Fence)>, StoreError> {
        self.0.head(region)
    }

    #[expect(clippy::disallowed_methods, reason = "this store is slow in real time")]
    fn load(&mut self, region: &str, window: WindowId) -> Result<Manifest, StoreError> {
        if region == "slow" {
            std::thread::sleep(Duration::from_millis(150));
        }
        self.0.load(region, window)
    }

    fn list(&mut self, region: &str) -> Result<Vec<CheckpointInfo>, StoreError> {
        self.0.list(region)
    }

    fn letters(&mut self, region: &str) -> Result<Vec<DeadLetter>, StoreError> {
        self.0.letters(region)
    }

    fn claim_incarnation(&mut self) -> Result<u64, StoreError> {
        self.0.claim_incarnation()
    }

    fn verify(&mut self) -> Vec<String> {
        self.0.verify()
    }
}

/// Two regions that roll back together: one reads its checkpoint slowly, the other one has by then failed again.
fn topology() -> String {
    let panics: Vec<u64> = (600..620).step_by(2).collect();
    format!(
        r#"
        [job]
        chaining = "off"
        [window]
        interval = "10ms"
        [checkpoint]
        interval = "20ms"
        [recovery]
        scope = "job"
        strategy = "fixed-delay"
        attempts = "unlimited"
        delay = "1ms"
        [mailbox]
        batch = 8
        [sources.quick]
        type = "numbers"
        rows = {ROWS}
        keys = {KEYS}
        idle_ms = 1
        [operators.quick_count]
        type = "count"
        inputs = ["quick"]
        panic_at = {panics:?}
        [sinks.quick_out]
        type = "collect"
        inputs = ["quick_count"]
        name = "quick"
        [sources.slow]
        type = "numbers"
        rows = {ROWS}
        keys = {KEYS}
        idle_ms = 1
        [operators.slow_count]
        type = "count"
        inputs = ["slow"]
        parallelism = 2
        [sinks.slow_out]
        type = "collect"
        inputs = ["slow_count"]
        name = "slow"
        "#
    )
}

#[test]
fn a_rollback_during_a_rollback_loses_and_doubles_nothing() {
    let registry = support::registry();
    let plan = piton::topology::load_text(&topology(), Path::new("job.toml"), &Overrides::default(), &registry);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&seen);
    let listener = Box::new(move |event: &Event| {
        if let Event::Restarted { region, window, .. } = event {
            events.lock().unwrap().push((region.clone(), *window));
        }
    });
    let store = MemoryStore::new();
    let opener = Box::new(move || Ok(Box::new(Slow(store.clone())) as Box<dyn CheckpointStore>));
    let ended = run_in(&plan.unwrap(), RunOptions { listener, ..RunOptions::default() }, opener).unwrap();
    let Ended::Ran(outcome) = ended else { panic!("{ended:?}") };
    assert!(outcome.finished && outcome.failures.is_empty(), "{outcome:?}");
    check_counts("quick", ROWS, KEYS);
    check_counts("slow", ROWS, KEYS);
    assert_eq!((outcome.records_in, outcome.records_out), (2 * ROWS, 2 * ROWS));

    let restarts = std::mem::take(&mut *seen.lock().unwrap());
    let of = |name: &str| restarts.iter().filter(|(region, _)| region == name).count();
    assert!(outcome.restarts > 2 * of("slow") as u64, "it never failed while it read: {outcome:?} {restarts:?}");
    assert!(restarts.iter().all(|(_, window)| *window > 0), "what is told is told too early: {restarts:?}");
}
