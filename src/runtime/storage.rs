//! The storage thread: the one place where the store is touched, one request after the other.
//!
//! Commits that wait at the same time are handed to the store together, so that they share what durability costs.
//!
//! A write or a commit that leaves the store unusable is answered; then whoever watches is told, since chunks that no
//! commit lists do not outlive the store, and the store is opened again ([`KeptStore`]). Until it is, nothing is
//! written, and whoever wants to read waits.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::error::Error;
use crate::ids::WindowId;
use crate::protocol::commit::{Commit, CommitError};
use crate::protocol::lineage::WriteRequest;
use crate::protocol::manifest::{ChunkId, ChunkRef, Manifest};
use crate::runtime::kept::{KeptStore, Opener};
use crate::runtime::time::Time;
use crate::store::writer::{self, Ahead, LARGE};
use crate::store::{CheckpointStore, ChunkWriter, Savepoints, StoreError};

/// A checkpoint with the chunks of every operator of every subtask.
pub(crate) struct Loaded {
    pub(crate) manifest: Manifest,
    /// `[subtask][operator][chunk]`, in the order of the manifest; behind the operators what was under way, if anything.
    pub(crate) chunks: Vec<Vec<Vec<Vec<u8>>>>,
}

/// What happens with the answer to a request; called on the storage thread, so it only passes the answer on.
type Reply<T> = Box<dyn FnOnce(T) + Send>;

enum Request {
    Write(WriteRequest, Vec<Ahead>, Reply<Result<Vec<Vec<ChunkRef>>, String>>),
    Commit(Box<Commit>, Reply<Result<(), CommitError>>),
    Read(Read),
    Savepoints(SavepointWork),
    Look(LookWork),
    Watch(Watcher),
    Stop(Reply<()>),
}

/// What waits until the store is open again, if it has to be.
enum Read {
    Head { region: String, reply: Reply<Result<WindowId, String>> },
    Load { region: String, window: WindowId, reply: Reply<Result<Box<Loaded>, String>> },
    Chunks { chunks: Vec<Vec<ChunkRef>>, reply: Reply<Result<Vec<Vec<Vec<u8>>>, String>> },
}

/// Something to do with savepoints, or why it cannot be done.
type SavepointWork = Box<dyn FnOnce(Result<&mut dyn Savepoints, String>) + Send>;

/// Something to look up, or why it cannot be.
type LookWork = Box<dyn FnOnce(Result<&mut dyn CheckpointStore, String>) + Send>;

/// Is told why the store cannot be used as it is: every region that runs has to be restored.
type Watcher = Box<dyn Fn(String) + Send>;

/// Sends requests to the storage thread.
#[derive(Clone)]
pub(crate) struct Storage {
    requests: Sender<Request>,
    /// Threads that may be writing to the state directory.
    ahead: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Storage {
    /// Starts the thread with a store that is open already.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(crate) fn start(store: Box<dyn CheckpointStore>, opener: Opener, time: Time) -> Result<Storage, Error> {
        // Bounded by what can be under way: a write for each subtask, a commit and a read for each region.
        let (requests, receiver) = channel();
        std::thread::Builder::new()
            .name("piton-storage".into())
            .spawn(move || Worker::new(KeptStore::new(store, opener, time)).run(&receiver))
            .map_err(|error| Error::failed(format!("the storage thread could not be started: {error}")))?;
        Ok(Storage { requests, ahead: Arc::default() })
    }

    pub(crate) fn write(
        &self,
        request: WriteRequest,
        reply: impl FnOnce(Result<Vec<Vec<ChunkRef>>, String>) + Send + 'static,
    ) {
        let reply = Box::new(reply);
        if request.size() < LARGE {
            return self.send(Request::Write(request, Vec::new(), reply));
        }
        // Whatever else is to be stored need not wait for it.
        let (give, given) = channel::<(WriteRequest, _)>();
        let storage = self.clone();
        let ahead = move || {
            if let Ok((request, reply)) = given.recv() {
                let ahead = writer::ahead(&request, LARGE, |id| storage.chunk_writer(id));
                storage.send(Request::Write(request, ahead, reply));
            }
        };
        match std::thread::Builder::new().name("piton-chunk".into()).spawn(ahead) {
            Ok(thread) => {
                let mut ahead = self.ahead.lock();
                ahead.retain(|thread| !thread.is_finished());
                ahead.push(thread);
                drop(give.send((request, reply)));
            }
            Err(_) => self.send(Request::Write(request, Vec::new(), reply)),
        }
    }

    /// Waits for the storage thread to say how a chunk is written.
    fn chunk_writer(&self, id: ChunkId) -> Result<Option<ChunkWriter>, String> {
        let (give, given) = channel();
        self.look(move |store| {
            // Whoever asked waits.
            give.send(store.and_then(|store| store.chunk_writer(id).map_err(|error| error.to_string()))).ok();
        });
        given.recv().map_err(|_| "the storage thread is gone".to_string())?
    }

    pub(crate) fn commit(&self, commit: Box<Commit>, reply: impl FnOnce(Result<(), CommitError>) + Send + 'static) {
        self.send(Request::Commit(commit, Box::new(reply)));
    }

    pub(crate) fn head(&self, region: String, reply: impl FnOnce(Result<WindowId, String>) + Send + 'static) {
        self.send(Request::Read(Read::Head { region, reply: Box::new(reply) }));
    }

    pub(crate) fn load(
        &self,
        region: String,
        window: WindowId,
        reply: impl FnOnce(Result<Box<Loaded>, String>) + Send + 'static,
    ) {
        self.send(Request::Read(Read::Load { region, window, reply: Box::new(reply) }));
    }

    /// Reads chunks that a subtask has had written, whether or not a checkpoint lists them.
    pub(crate) fn chunks(
        &self,
        chunks: Vec<Vec<ChunkRef>>,
        reply: impl FnOnce(Result<Vec<Vec<Vec<u8>>>, String>) + Send + 'static,
    ) {
        self.send(Request::Read(Read::Chunks { chunks, reply: Box::new(reply) }));
    }

    /// Does something with savepoints, on the storage thread.
    pub(crate) fn savepoints(&self, work: impl FnOnce(Result<&mut dyn Savepoints, String>) + Send + 'static) {
        self.send(Request::Savepoints(Box::new(work)));
    }

    /// Looks something up, on the storage thread: it has to be quick.
    pub(crate) fn look(&self, work: impl FnOnce(Result<&mut dyn CheckpointStore, String>) + Send + 'static) {
        self.send(Request::Look(Box::new(work)));
    }

    /// Lets somebody know whenever a write or a commit has left the store unusable, after everything that was answered
    /// before. What was written and is part of no commit is gone then.
    pub(crate) fn watch(&self, watcher: impl Fn(String) + Send + 'static) {
        self.send(Request::Watch(Box::new(watcher)));
    }

    /// Closes the store, and with it gives the state directory free; everything asked before is done first.
    pub(crate) fn stop(&self) {
        for thread in std::mem::take(&mut *self.ahead.lock()) {
            // What it panics with, nobody waits for any more.
            thread.join().ok();
        }
        let (done, wait) = channel();
        self.send(Request::Stop(Box::new(move |()| {
            // Nobody waits if the process is already on its way out.
            done.send(()).ok();
        })));
        // An error means that the thread is gone, and the store with it.
        wait.recv().ok();
    }

    fn send(&self, request: Request) {
        // The thread ends only by `stop`; a request after that comes from an actor that is about to be dropped.
        self.requests.send(request).ok();
    }
}

struct Worker {
    store: KeptStore,
    watcher: Option<Watcher>,
    /// At most one for each region and each subtask.
    waiting: Vec<Read>,
}

impl Worker {
    fn new(store: KeptStore) -> Worker {
        Worker { store, watcher: None, waiting: Vec::new() }
    }

    fn run(mut self, requests: &Receiver<Request>) {
        let mut next = None;
        loop {
            if self.store.open_if_due() {
                self.answer_waiting();
            }
            let request = match next.take().map_or_else(|| self.receive(requests), Ok) {
                Ok(request) => request,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match request {
                Request::Write(request, ahead, reply) => {
                    let written = self.store.get().and_then(|store| writer::write(store, &request, ahead));
                    let failure = written.as_ref().err().cloned();
                    reply(written);
                    if !self.store.is_usable() {
                        self.lost(failure);
                    }
                }
                Request::Commit(commit, reply) => {
                    let mut commits = vec![*commit];
                    let mut replies = vec![reply];
                    loop {
                        match requests.try_recv() {
                            Ok(Request::Commit(commit, reply)) => {
                                commits.push(*commit);
                                replies.push(reply);
                            }
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.commit(commits, replies);
                }
                Request::Read(read) if self.store.retry_in().is_some() => self.waiting.push(read),
                Request::Read(read) => self.answer(read),
                Request::Savepoints(work) => work(self.store.get().and_then(|store| {
                    store.savepoints().ok_or_else(|| "this kind of store keeps no savepoints".to_string())
                })),
                Request::Look(work) => work(self.store.get()),
                Request::Watch(watcher) => self.watcher = Some(watcher),
                Request::Stop(reply) => {
                    drop(self);
                    reply(());
                    return;
                }
            }
        }
    }

    /// Waits for the next request, but not beyond the next attempt to open the store.
    fn receive(&self, requests: &Receiver<Request>) -> Result<Request, RecvTimeoutError> {
        match self.store.retry_in() {
            Some(pause) => requests.recv_timeout(pause),
            None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn commit(&mut self, commits: Vec<Commit>, replies: Vec<Reply<Result<(), CommitError>>>) {
        let outcomes = match self.store.get() {
            Ok(store) => store.commit(commits),
            Err(reason) => commits.iter().map(|_| Err(CommitError::Failed(reason.clone()))).collect(),
        };
        let is_unknown = outcomes.iter().any(|outcome| matches!(outcome, Err(CommitError::Unknown(_))));
        let failure = outcomes.iter().find_map(|outcome| match outcome {
            Err(CommitError::Failed(reason) | CommitError::Unknown(reason)) => Some(reason.clone()),
            Ok(()) | Err(CommitError::Fenced { .. }) => None,
        });
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            reply(outcome);
        }
        if is_unknown || !self.store.is_usable() {
            self.lost(failure);
        }
    }

    /// The store cannot be used as it is: says so, and has it opened again if nobody has tried yet.
    fn lost(&mut self, failure: Option<String>) {
        if self.store.retry_in().is_some() {
            return;
        }
        let reason = failure.unwrap_or_else(|| "an earlier write failed".into());
        if let Some(watcher) = &self.watcher {
            watcher(reason.clone());
        }
        self.store.lose(reason);
    }

    fn answer_waiting(&mut self) {
        for read in std::mem::take(&mut self.waiting) {
            self.answer(read);
        }
    }

    fn answer(&mut self, read: Read) {
        match read {
            Read::Head { region, reply } => reply(self.head(&region)),
            Read::Load { region, window, reply } => reply(self.load(&region, window)),
            Read::Chunks { chunks, reply } => {
                let read =
                    self.store.get().and_then(|store| read_chunks(store, &chunks).map_err(|error| error.to_string()));
                reply(read);
            }
        }
    }

    fn head(&mut self, region: &str) -> Result<WindowId, String> {
        let head = self.store.get()?.head(region).map_err(|error| error.to_string())?;
        Ok(head.map_or(WindowId::NONE, |(window, _)| window))
    }

    fn load(&mut self, region: &str, window: WindowId) -> Result<Box<Loaded>, String> {
        load(self.store.get()?, region, window).map(Box::new).map_err(|error| error.to_string())
    }
}

pub(crate) fn load(store: &mut dyn CheckpointStore, region: &str, window: WindowId) -> Result<Loaded, StoreError> {
    let manifest = store.load(region, window)?;
    let mut chunks = Vec::with_capacity(manifest.subtasks.len());
    for subtask in &manifest.subtasks {
        let parts: Vec<&[ChunkRef]> = subtask.parts().collect();
        chunks.push(read_chunks(store, &parts)?);
    }
    Ok(Loaded { manifest, chunks })
}

pub(crate) fn read_chunks(
    store: &mut dyn CheckpointStore,
    operators: &[impl AsRef<[ChunkRef]>],
) -> Result<Vec<Vec<Vec<u8>>>, StoreError> {
    let read = |chunks: &[ChunkRef], store: &mut dyn CheckpointStore| {
        chunks.iter().map(|chunk| store.read_chunk(chunk)).collect::<Result<Vec<_>, _>>()
    };
    operators.iter().map(|chunks| read(chunks.as_ref(), store)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::ids::Fence;
    use crate::protocol::lineage::OperatorWrite;
    use crate::protocol::manifest::ChunkId;
    use crate::store::disk::{FaultRates, SimDisk};
    use crate::store::{INLINE_LIMIT, OpenOptions, SimStore};

    const SOON: Duration = Duration::from_secs(20);

    fn write(sequence: u64) -> WriteRequest {
        let fence = Fence { incarnation: 1, attempt: 0 };
        let id = ChunkId { region: "r".into(), operator: "o".into(), index: 0, fence, sequence };
        let fresh = vec![Arc::new(vec![7; INLINE_LIMIT + 1].into())];
        WriteRequest { window: WindowId(1), operators: vec![OperatorWrite { id, lineage: Vec::new(), fresh }] }
    }

    #[test]
    fn a_failed_write_is_told_and_readers_wait_until_the_store_is_open() {
        let (clock, hand) = Clock::simulated(0);
        let disk = SimDisk::new(1);
        let again = disk.clone();
        let mut opener: Opener = Box::new(move || {
            SimStore::open(again.clone(), OpenOptions::default()).map(|(store, _)| Box::new(store) as _)
        });
        let store = opener().unwrap();
        let storage = Storage::start(store, opener, Time::new(clock)).unwrap();
        let (told, lost) = channel();
        storage.watch(move |reason| told.send(reason).unwrap());
        let ask_write = |sequence| {
            let (answer, answered) = channel();
            storage.write(write(sequence), move |written| answer.send(written).unwrap());
            answered.recv_timeout(SOON).unwrap()
        };

        disk.set_rates(FaultRates { sync: 1.0, ..FaultRates::default() });
        let reason = ask_write(1).unwrap_err();
        assert_eq!(lost.recv_timeout(SOON).unwrap(), reason);
        let (answer, head) = channel();
        storage.head("r".into(), move |head| answer.send(head).unwrap());
        let refused = ask_write(2).unwrap_err();
        assert!(refused.contains("being opened again") && refused.contains(&reason), "{refused}");
        assert!(head.try_recv().is_err(), "nobody can tell the head now");

        disk.heal();
        hand.advance(Duration::from_secs(1));
        assert_eq!(head.recv_timeout(SOON).unwrap(), Ok(WindowId::NONE));
        ask_write(3).unwrap();
        assert!(lost.try_recv().is_err(), "it is told once");
        storage.stop();
    }
}
