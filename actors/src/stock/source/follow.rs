//! A source of rows in files that grow, and among which new ones appear.
//!
//! It goes over its files in the order of their names, again and again: from each it reads the whole lines that were
//! added, then it goes on to the next; a file that appears is taken up when its name's turn comes. If a round has found
//! nothing, the source is idle for a moment. It never ends.
//!
//! Which subtask reads a file follows from its name alone, because which files there will be is not known. A position
//! holds how far each file was read, with a fingerprint of its beginning: one that has shrunk or was replaced is refused
//! by name, as reading on in the middle of something else would be wrong. A file that is removed is forgotten once all
//! that was read of it is committed. A start that does not find a file of which only a part was read then says so; one
//! that was read to its end may go, whether the job runs or not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::pace::Pace;
use super::files::{Begun, Current, Extent, FilePlan, find, hash_of};
use crate::table::Table;
use crate::{Error, Feed, Progress, Result, Source, Subtask, WindowId};

/// How long to leave files alone in which there is nothing new, in ms.
const PAUSE: u64 = 100;

/// What a source of files that grow is made from.
pub(super) struct FollowPlan {
    /// Where to look for files.
    pub path: String,
    pub extensions: &'static [&'static str],
    pub files: FilePlan,
}

/// How far each file was read, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FollowPosition {
    followed: Vec<Begun>,
}

/// Reads rows out of files that grow.
pub(super) struct FollowSource {
    plan: Arc<FollowPlan>,
    subtask: Option<Subtask>,
    pace: Pace,
    files: BTreeMap<String, Followed>,
    /// Files that were removed, but may have to be read again.
    gone: BTreeSet<String>,
    /// The files that are still to be looked at in this round.
    round: VecDeque<String>,
    current: Option<(String, Current)>,
}

#[derive(Default)]
struct Followed {
    begun: Option<Begun>,
    /// How long it was when all that was whole of it was read.
    length: Option<u64>,
}

impl FollowSource {
    pub(super) fn new(plan: Arc<FollowPlan>) -> FollowSource {
        FollowSource {
            plan,
            subtask: None,
            pace: Pace::new(None, 1),
            files: BTreeMap::new(),
            gone: BTreeSet::new(),
            round: VecDeque::new(),
            current: None,
        }
    }

    /// Begins a round over the files that there are now.
    fn look(&mut self) -> Result {
        let FollowPlan { path, extensions, files } = &*self.plan;
        let mut found = find(path, &files.folder, extensions).map_err(Error::unavailable)?;
        if let Some(subtask) = &self.subtask {
            found.retain(|name| owner(name, subtask.parallelism) == subtask.index as usize);
        }
        let there: BTreeSet<&String> = found.iter().collect();
        self.gone = self.files.keys().filter(|name| !there.contains(name)).cloned().collect();
        self.round = found.into();
        Ok(())
    }

    /// Opens a file, if there is anything new in it.
    fn open_file(&mut self, name: String) -> Result {
        // It may have been removed since the round began.
        let Ok(metadata) = std::fs::metadata(self.plan.files.folder.join(&name)) else { return Ok(()) };
        let followed = self.files.entry(name.clone()).or_default();
        if followed.length == Some(metadata.len()) {
            return Ok(());
        }
        let current = Current::open(&self.plan.files, &name, followed.begun.as_ref(), Extent::Lines)?;
        followed.length = Some(metadata.len());
        self.current = Some((name, current));
        Ok(())
    }

    /// Reads on in the current file; returns how many rows it gave.
    fn read(&mut self, feed: &mut Feed<Table>) -> Result<usize> {
        let Some((name, current)) = &mut self.current else { return Ok(0) };
        let allowed = self.pace.allow(feed.room());
        let FilePlan { schema, event_time, .. } = &self.plan.files;
        let in_file = |error: Error| error.context(format!("file `{name}`"));
        let batch = current.reader.read(allowed, schema).map_err(in_file)?;
        let rows = batch.num_rows();
        if rows > 0 {
            let times = event_time.as_ref().map(|column| column.of(&batch)).transpose().map_err(in_file)?;
            feed.push_table(Table::with_times(batch, times));
        }
        current.fingerprint();
        let followed = self.files.entry(name.clone()).or_default();
        let mut begun = current.begun(name.clone());
        begun.is_whole = followed.length == Some(begun.offset);
        followed.begun = Some(begun);
        if rows < allowed {
            self.current = None;
        }
        Ok(rows)
    }
}

impl Source for FollowSource {
    type Out = Table;
    type Position = FollowPosition;

    async fn open(&mut self, position: Option<FollowPosition>, subtask: &Subtask) -> Result {
        self.pace = Pace::new(self.plan.files.per_second, subtask.parallelism);
        self.subtask = Some(subtask.clone());
        (self.current, self.round) = (None, VecDeque::new());
        self.files.clear();
        for begun in position.unwrap_or_default().followed {
            let name = begun.file.clone();
            if begun.offset > 0 && !self.plan.files.folder.join(&name).exists() {
                if begun.is_whole {
                    // All of it is committed: there is nothing that could have to be read again.
                    continue;
                }
                return Err(Error::invalid(format!(
                    "file `{name}` is gone, and only its first {} bytes were read and committed; put it back until it is read to its end, or start anew with `--resume none`",
                    begun.offset
                )));
            }
            self.files.insert(name, Followed { begun: Some(begun), length: None });
        }
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<Table>) -> Result<Progress> {
        let mut has_looked = false;
        loop {
            if self.current.is_some() {
                let rows = self.read(feed)?;
                if rows > 0 {
                    return Ok(self.pace.took(rows));
                }
            } else if let Some(name) = self.round.pop_front() {
                self.open_file(name)?;
            } else if has_looked {
                return Ok(Progress::Idle(PAUSE));
            } else {
                self.look()?;
                has_looked = true;
            }
        }
    }

    fn position(&self) -> FollowPosition {
        FollowPosition { followed: self.files.values().filter_map(|followed| followed.begun.clone()).collect() }
    }

    async fn committed(&mut self, _window: WindowId, position: FollowPosition) -> Result {
        let gone = std::mem::take(&mut self.gone);
        for name in gone {
            let read = self.files.get(&name).and_then(|followed| followed.begun.as_ref());
            let all_committed = read.is_none_or(|read| position.followed.contains(read));
            if all_committed && self.current.as_ref().is_none_or(|(current, _)| *current != name) {
                self.files.remove(&name);
            } else {
                self.gone.insert(name);
            }
        }
        Ok(())
    }

    fn redistribute(positions: Vec<Option<FollowPosition>>, parallelism: u32) -> Result<Vec<Option<FollowPosition>>> {
        let mut shares = vec![FollowPosition::default(); parallelism.max(1) as usize];
        // A subtask that has not begun has read nothing, and what it was to read is found by name.
        for begun in positions.into_iter().flatten().flat_map(|position| position.followed) {
            shares[owner(&begun.file, parallelism)].followed.push(begun);
        }
        for share in &mut shares {
            share.followed.sort_by(|left, right| left.file.cmp(&right.file));
        }
        Ok(shares.into_iter().map(Some).collect())
    }
}

/// Returns which subtask reads a file.
fn owner(name: &str, parallelism: u32) -> usize {
    (hash_of(name) % u64::from(parallelism.max(1))) as usize
}

#[cfg(test)]
mod tests;
