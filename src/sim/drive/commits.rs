//! Carries out what regions ask of the store, and looks at what becomes visible with a commit.

use piton_actors::{Error as UserError, WindowId};

use crate::chaos::invariants::{InvariantId, Verdict};
use crate::ids::{Fence, SubtaskId};
use crate::protocol::commit::{Commit, CommitError};
use crate::protocol::failure::Failure;
use crate::protocol::manifest::{JoinedOutput, Manifest};
use crate::protocol::region::{self, Region};
use crate::protocol::subtask;
use crate::runtime::restore;
use crate::runtime::storage::Loaded;
use crate::sim::attempt::make;
use crate::sim::faults::CommitFailure;
use crate::sim::happening::{Address, Happening};
use crate::sim::outside::Shown;
use crate::sim::recorder::Prepared;
use crate::sim::trace::What;
use crate::sim::world::{Attempt, World};
use crate::store::StoreError;

impl World<'_> {
    pub(super) fn commit(&mut self, region: usize, commit: Commit, failure: Option<CommitFailure>) {
        let (fence, window) = (commit.fence(), commit.manifest.window);
        if failure == Some(CommitFailure::Refused) {
            self.note(What::Commit, region, 0, 0);
            let refused = Err(CommitError::Failed("a fault of the plan".into()));
            return self.answer_commit(region, fence, window, refused);
        }
        let (manifest, joined) = (commit.manifest.clone(), commit.joined.clone());
        let outcome = self.storage.commit(vec![commit]).pop();
        self.note(What::Commit, region, 0, window.0);
        if self.storage_crashed() {
            return;
        }
        let Some(outcome) = outcome else {
            return self.judge(Err(InvariantId::EngineSound.broken("the store did not answer a commit")));
        };
        if failure == Some(CommitFailure::Unanswered) {
            self.reopen().ok();
        } else {
            self.mend_storage();
        }
        if self.storage_crashed() {
            return;
        }
        let running = self.regions[region].machine.as_ref().map(Region::fence);
        if outcome.is_ok() && running != Some(fence) {
            let message = format!("window {window} of {fence} was committed while {running:?} was running");
            self.judge(Err(InvariantId::FenceHolds.broken(message)));
        }
        if outcome.is_ok() {
            self.head_moved(region, &manifest);
            self.joined_seen(region, joined.into_iter().map(|joined| (window, joined)).collect());
        }
        let excused = self.storage.had_trouble() || self.regions[region].bereft == Some(fence);
        if matches!(outcome, Err(CommitError::Failed(_) | CommitError::Unknown(_))) && !excused {
            let message = format!("window {window} could not be committed: {outcome:?}");
            self.judge(Err(InvariantId::EngineSound.broken(message)));
        }
        let unanswered = outcome.is_ok() && failure == Some(CommitFailure::Unanswered);
        let answer = if unanswered { Err(CommitError::Unknown("a fault of the plan".into())) } else { outcome };
        self.answer_commit(region, fence, window, answer);
    }

    fn answer_commit(&mut self, region: usize, fence: Fence, window: WindowId, answer: Result<(), CommitError>) {
        let at = self.now + self.message_delay();
        self.at(at, Happening::Outcome(region, fence, window, answer));
    }

    /// The head of a region was read, or has moved.
    fn head_seen(&mut self, region: usize, head: WindowId) {
        let mut state = self.outside.lock();
        let seen = state.heads[region].seen(head);
        state.judge(seen);
    }

    /// The head of a region is now this checkpoint, with the records that it lists as set aside.
    fn head_moved(&mut self, region: usize, manifest: &Manifest) {
        self.head_seen(region, manifest.window);
        self.regions[region].under_way = manifest.subtasks.iter().any(|subtask| subtask.within.is_some());
        self.expected.head_moved(region, manifest);
        for letter in manifest.subtasks.iter().flat_map(|subtask| &subtask.letters) {
            let seen = self.letters.entry((region, letter.subtask.clone())).or_default();
            if letter.number <= *seen {
                continue;
            }
            *seen = letter.number;
            *self.set_aside.entry(letter.record.clone()).or_default() += 1;
        }
    }

    /// Joined outputs have become visible.
    fn joined_seen(&mut self, region: usize, joined: Vec<(WindowId, JoinedOutput)>) {
        self.regions[region].joined += joined.len();
        for (window, joined) in joined {
            let shown = self.join(region, window, &joined);
            self.judge(shown);
        }
    }

    /// A joined output has become visible with the commit of a window.
    fn join(&mut self, region: usize, window: WindowId, joined: &JoinedOutput) -> Verdict {
        let sinks = self.job.regions[region].chains.iter().filter_map(|chain| chain.sink.as_ref());
        let sink = sinks.into_iter().find(|(name, _)| *name == joined.operator);
        let given = Prepared::decode(&joined.output).and_then(|prepared| {
            let unpack =
                sink.map(|(_, sink)| sink.unpack).ok_or_else(|| UserError::invalid("there is no such sink"))?;
            let batches = prepared.joined.iter().map(|(port, packed)| unpack(*port, packed));
            Ok((prepared.window, batches.collect::<piton_actors::Result<Vec<_>>>()?))
        });
        let (prepared, batches) = given.map_err(|error| {
            let message = format!("a joined output of \"{}\" is not what was given: {error}", joined.operator);
            InvariantId::EngineSound.broken(message)
        })?;
        if prepared > window {
            return Err(InvariantId::InvisibleUntilCommitted.broken(format!("window {prepared} joined {window}")));
        }
        let whom = SubtaskId::new(joined.operator.as_str(), joined.subtask.index);
        self.show(Shown { whom, window: prepared, batches })
    }

    /// Looks at what has become visible.
    pub(crate) fn look_at_shown(&mut self) -> Verdict {
        let shown = std::mem::take(&mut self.outside.lock().shown);
        shown.into_iter().try_for_each(|shown| self.show(shown))
    }

    fn show(&mut self, Shown { whom, window, batches }: Shown) -> Verdict {
        let Some(region) = self.job.region_of_sink(&whom.operator) else {
            return Err(InvariantId::EngineSound.broken(format!("{whom} is no sink of the job")));
        };
        let head = self.outside.head(region);
        if window > head {
            let message = format!("{whom} shows window {window} while the head is {head}");
            return Err(InvariantId::InvisibleUntilCommitted.broken(message));
        }
        let last = self.shown.insert(whom.clone(), window).unwrap_or(WindowId::NONE);
        if window <= last {
            let message = format!("{whom} shows window {window} after window {last}");
            return Err(InvariantId::OutputInOrder.broken(message));
        }
        if let Some(history) = self.expected.history() {
            batches.iter().for_each(|batch| history.shown(&whom, batch));
        }
        self.expected.published(region, &whom.operator, &batches)
    }

    /// Reads where a region stands, and what has become visible since.
    pub(crate) fn head_of(&mut self, region: usize) -> Result<WindowId, StoreError> {
        let name = &self.job.layouts[region].name;
        let head = self.storage.head(name)?;
        let known = self.outside.head(region);
        if head == known {
            return Ok(head);
        }
        if head < known {
            // Never silently: whoever lost a copy too many has to say so.
            self.head_seen(region, head);
            return Ok(head);
        }
        let manifest = self.storage.manifest(name, head)?;
        let joined = self.storage.joined(name)?;
        self.head_moved(region, &manifest);
        let known = self.regions[region].joined;
        if joined.len() < known {
            let message = format!("{} joined outputs are left of {known}", joined.len());
            self.judge(Err(InvariantId::OutputComplete.broken(message)));
        } else {
            self.joined_seen(region, joined.into_iter().skip(known).collect());
        }
        Ok(head)
    }

    /// Opens the store again. What running attempts have kept since their last commit may be gone, so that all of
    /// them have to be restored.
    fn reopen(&mut self) -> Result<(), StoreError> {
        self.stats.reopened += 1;
        let opened = self.storage.open().and_then(|()| self.storage.renew());
        for region in 0..self.regions.len() {
            let Some(fence) = self.regions[region].machine.as_ref().map(Region::fence) else { continue };
            self.regions[region].bereft = Some(fence);
            let failure = Failure::engine(&self.job.layouts[region].name, "the store was opened again");
            let failed = region::Event::Failed(fence, None, failure);
            let at = self.now + self.message_delay();
            self.at(at, Happening::ToRegion(region, Box::new(failed)));
        }
        opened
    }

    /// Opens the store again if the last call has left it unusable.
    pub(super) fn mend_storage(&mut self) {
        if !self.storage.is_usable() {
            // If it cannot be opened now, whoever needs it next tries again.
            self.reopen().ok();
        }
    }

    pub(super) fn read_head(&mut self, region: usize) {
        self.note(What::ReadHead, region, 0, 0);
        let opened = if self.storage.is_usable() { Ok(()) } else { self.reopen() };
        let head = opened.and_then(|()| self.head_of(region));
        if self.storage_crashed() {
            return;
        }
        match head {
            Err(error @ (StoreError::Damaged(_) | StoreError::Format(_))) => self.refuse(&error.to_string()),
            head => self.tell_region(region, region::Event::Head(head.map_err(|error| error.to_string()))),
        }
    }

    pub(super) fn load(&mut self, region: usize, fence: Fence, window: WindowId) {
        if !self.regions[region].machine.as_ref().is_some_and(|machine| machine.is_running(fence)) {
            return;
        }
        self.note(What::Load, region, 0, window.0);
        self.mend_storage();
        let loaded = match window {
            WindowId::NONE => Ok(None),
            _ => self.storage.load(&self.job.layouts[region].name, window).map(Some),
        };
        if self.storage_crashed() {
            return;
        }
        match loaded {
            Ok(loaded) => self.start(region, fence, window, loaded),
            Err(error @ (StoreError::Damaged(_) | StoreError::Format(_))) => self.refuse(&error.to_string()),
            Err(error) => {
                let failure = Failure::engine(&self.job.layouts[region].name, error.to_string());
                self.tell_region(region, region::Event::Failed(fence, None, failure));
            }
        }
    }

    fn start(&mut self, region: usize, fence: Fence, window: WindowId, loaded: Option<Loaded>) {
        self.outside.lock().restored[region] = window;
        let blueprint = &self.job.regions[region];
        let (subtasks, targets) = match make(blueprint, fence, &self.common, &self.settings.checkpoint) {
            Ok(made) => made,
            Err(failure) => return self.tell_region(region, region::Event::Failed(fence, None, failure)),
        };
        let count = subtasks.len();
        let last = vec![self.now; count];
        self.regions[region].attempt = Some(Attempt { fence, subtasks, targets, upward: last.clone(), downward: last });
        let mut unpublished = std::mem::take(&mut self.regions[region].unpublished);
        let is_restored = loaded.is_some();
        let mut parts = match loaded.map(|loaded| restore::split(loaded, blueprint)).transpose() {
            Ok(parts) => parts.unwrap_or_default(),
            // It was looked at when the process started.
            Err((operator, error)) => {
                let message = format!("window {window} cannot be restored: \"{operator}\": {error}");
                return self.judge(Err(InvariantId::CheckpointRestorable.broken(message)));
            }
        };
        for number in 0..count {
            let id = &self.job.layouts[region].subtasks[number];
            let mut restored = parts.remove(id);
            match &mut restored {
                None if is_restored => {
                    let message = format!("window {window} holds no snapshot of {id}");
                    return self.judge(Err(InvariantId::CheckpointRestorable.broken(message)));
                }
                None => {}
                Some(restored) => {
                    let abandoned = unpublished.remove(&number).unwrap_or_default();
                    restored.abandoned = abandoned.into_iter().filter(|pending| pending.window > window).collect();
                }
            }
            let at = self.now + self.message_delay();
            let Some(attempt) = &mut self.regions[region].attempt else { return };
            attempt.downward[number] = at;
            let address = Address { region, subtask: number, fence };
            self.at(at, Happening::Start(address, Box::new(subtask::Event::Start(restored))));
        }
    }
}
