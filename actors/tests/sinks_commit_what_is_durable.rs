//! A sink that crashes between any two steps makes visible what a durable checkpoint lists, once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use piton_actors::Inputs;
use piton_actors::harness::SinkHarness;
use piton_actors::prelude::*;

/// What is outside: it survives a crash of the sink.
#[derive(Clone, Default)]
struct Outside(Arc<Mutex<Folder>>);

#[derive(Default)]
struct Folder {
    staged: BTreeMap<u64, Vec<String>>,
    visible: BTreeMap<u64, Vec<String>>,
    commits: usize,
}

impl Outside {
    fn visible(&self) -> Vec<String> {
        self.0.lock().expect("no test panics while it holds it").visible.values().flatten().cloned().collect()
    }

    fn commits(&self) -> usize {
        self.0.lock().expect("no test panics while it holds it").commits
    }

    fn sink(&self) -> SinkHarness<Files> {
        let outside = self.clone();
        SinkHarness::new(move || Files { outside: outside.clone(), rows: Vec::new() })
    }
}

struct Files {
    outside: Outside,
    rows: Vec<String>,
}

impl Sink for Files {
    type In = String;
    type Pending = u64;

    async fn open(&mut self, pending: Vec<u64>, _: &Subtask) -> Result {
        self.outside
            .0
            .lock()
            .expect("no test panics while it holds it")
            .staged
            .retain(|window, _| pending.contains(window));
        Ok(())
    }

    async fn write(&mut self, batch: <String as Inputs>::Batch) -> Result {
        self.rows.extend_from_slice(&batch);
        Ok(())
    }

    async fn prepare(&mut self, window: WindowId) -> Result<Option<u64>> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        self.outside
            .0
            .lock()
            .expect("no test panics while it holds it")
            .staged
            .insert(window.0, std::mem::take(&mut self.rows));
        Ok(Some(window.0))
    }

    async fn commit(&mut self, pending: u64) -> Result {
        let mut folder = self.outside.0.lock().expect("no test panics while it holds it");
        folder.commits += 1;
        if let Some(rows) = folder.staged.remove(&pending) {
            folder.visible.insert(pending, rows);
        }
        assert!(folder.visible.contains_key(&pending), "window {pending} is gone");
        Ok(())
    }

    async fn abort(&mut self, pending: u64) -> Result {
        self.outside.0.lock().expect("no test panics while it holds it").staged.remove(&pending);
        Ok(())
    }
}

#[test]
fn nothing_shows_before_it_is_committed() -> Result {
    let outside = Outside::default();
    let mut sink = outside.sink();
    sink.push("a".into())?.prepare()?;
    assert_eq!(sink.pending()?, [1]);
    sink.checkpoint()?;
    assert_eq!(outside.visible(), [""; 0]);
    sink.committed()?;
    assert_eq!(outside.visible(), ["a"]);
    assert_eq!(sink.pending()?, [0; 0]);
    sink.checkpoint()?.push("b".into())?.checkpoint()?.committed()?;
    assert_eq!(outside.visible(), ["a", "b"]);
    Ok(())
}

#[test]
fn a_crash_before_the_checkpoint_is_durable_forgets_what_is_pending() -> Result {
    let outside = Outside::default();
    let mut sink = outside.sink();
    sink.push("a".into())?.prepare()?.crash()?;
    assert_eq!(sink.pending()?, [0; 0]);
    assert!(outside.0.lock().expect("no test panics while it holds it").staged.is_empty());
    sink.push("b".into())?.checkpoint()?.committed()?;
    assert_eq!(outside.visible(), ["b"]);
    Ok(())
}

#[test]
fn a_crash_behind_the_checkpoint_commits_it() -> Result {
    let outside = Outside::default();
    let mut sink = outside.sink();
    sink.push("a".into())?.checkpoint()?.push("lost".into())?.crash()?;
    assert_eq!(outside.visible(), ["a"]);
    sink.crash_before_commit()?;
    assert_eq!(sink.pending()?, [1]);
    sink.crash()?.crash()?;
    assert_eq!(outside.visible(), ["a"]);
    assert_eq!(outside.commits(), 3, "commits are repeated");
    Ok(())
}

#[test]
fn several_checkpoints_may_wait_for_their_commit() -> Result {
    let outside = Outside::default();
    let mut sink = outside.sink();
    sink.push("a".into())?.checkpoint()?.push("b".into())?.checkpoint()?;
    assert_eq!(sink.pending()?, [1, 2]);
    sink.push("c".into())?.prepare()?.abort()?;
    assert_eq!(sink.pending()?, [1, 2]);
    sink.crash()?;
    assert_eq!(outside.visible(), ["a", "b"]);
    Ok(())
}
