//! The storage thread: the one place where the store is touched, one request after the other.
//!
//! Commits that wait at the same time are handed to the store together, so that they share what durability costs.

use std::sync::mpsc::{Receiver, Sender, channel};

use crate::error::Error;
use crate::ids::WindowId;
use crate::protocol::commit::{Commit, CommitError};
use crate::protocol::lineage::WriteRequest;
use crate::protocol::manifest::{ChunkRef, Manifest};
use crate::store::{CheckpointStore, StoreError, writer};

/// Opens the store, at the start and again after a failed write.
pub type Opener = Box<dyn FnMut() -> Result<Box<dyn CheckpointStore>, StoreError> + Send>;

/// A checkpoint with the chunks of every operator of every subtask.
pub(crate) struct Loaded {
    pub(crate) manifest: Manifest,
    /// `[subtask][operator][chunk]`, in the order of the manifest.
    pub(crate) chunks: Vec<Vec<Vec<Vec<u8>>>>,
}

/// What happens with the answer to a request; called on the storage thread, so it only passes the answer on.
type Reply<T> = Box<dyn FnOnce(T) + Send>;

enum Request {
    Write(WriteRequest, Reply<Result<Vec<Vec<ChunkRef>>, String>>),
    Commit(Box<Commit>, Reply<Result<(), CommitError>>),
    Head { region: String, reopen: bool, reply: Reply<Result<WindowId, String>> },
    Load { region: String, window: WindowId, reply: Reply<Result<Box<Loaded>, String>> },
    Stop(Reply<()>),
}

/// Sends requests to the storage thread.
#[derive(Clone)]
pub(crate) struct Storage {
    requests: Sender<Request>,
}

impl Storage {
    /// Starts the thread with a store that is open already.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(crate) fn start(store: Box<dyn CheckpointStore>, opener: Opener) -> Result<Storage, Error> {
        // Bounded by what can be under way: a write for each subtask, a commit and a read for each region.
        let (requests, receiver) = channel();
        std::thread::Builder::new()
            .name("piton-storage".into())
            .spawn(move || Worker { store: Ok(store), opener }.run(&receiver))
            .map_err(|error| Error::failed(format!("the storage thread could not be started: {error}")))?;
        Ok(Storage { requests })
    }

    pub(crate) fn write(
        &self,
        request: WriteRequest,
        reply: impl FnOnce(Result<Vec<Vec<ChunkRef>>, String>) + Send + 'static,
    ) {
        self.send(Request::Write(request, Box::new(reply)));
    }

    pub(crate) fn commit(&self, commit: Box<Commit>, reply: impl FnOnce(Result<(), CommitError>) + Send + 'static) {
        self.send(Request::Commit(commit, Box::new(reply)));
    }

    pub(crate) fn head(
        &self,
        region: String,
        reopen: bool,
        reply: impl FnOnce(Result<WindowId, String>) + Send + 'static,
    ) {
        self.send(Request::Head { region, reopen, reply: Box::new(reply) });
    }

    pub(crate) fn load(
        &self,
        region: String,
        window: WindowId,
        reply: impl FnOnce(Result<Box<Loaded>, String>) + Send + 'static,
    ) {
        self.send(Request::Load { region, window, reply: Box::new(reply) });
    }

    /// Closes the store, and with it gives the state directory free; everything asked before is done first.
    pub(crate) fn stop(&self) {
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
    /// `Err` with the reason while it could not be opened again.
    store: Result<Box<dyn CheckpointStore>, String>,
    opener: Opener,
}

impl Worker {
    fn run(mut self, requests: &Receiver<Request>) {
        let mut next = None;
        while let Some(request) = next.take().or_else(|| requests.recv().ok()) {
            match request {
                Request::Write(request, reply) => {
                    let written = match &mut self.store {
                        Ok(store) => writer::write(store.as_mut(), &request),
                        Err(reason) => Err(reason.clone()),
                    };
                    reply(written);
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
                Request::Head { region, reopen, reply } => {
                    if reopen || self.store.is_err() {
                        self.reopen();
                    }
                    reply(self.head(&region));
                }
                Request::Load { region, window, reply } => reply(self.load(&region, window)),
                Request::Stop(reply) => {
                    drop(self);
                    reply(());
                    return;
                }
            }
        }
    }

    fn commit(&mut self, commits: Vec<Commit>, replies: Vec<Reply<Result<(), CommitError>>>) {
        let outcomes = match &mut self.store {
            Ok(store) => store.commit(commits),
            Err(reason) => commits.iter().map(|_| Err(CommitError::Failed(reason.clone()))).collect(),
        };
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            reply(outcome);
        }
    }

    fn reopen(&mut self) {
        // The old one has to let go of the directory first.
        self.store = Err("the store is being opened again".into());
        self.store = (self.opener)().map_err(|error| error.to_string());
    }

    fn head(&mut self, region: &str) -> Result<WindowId, String> {
        let store = self.store.as_mut().map_err(|reason| reason.clone())?;
        let head = store.head(region).map_err(|error| error.to_string())?;
        Ok(head.map_or(WindowId::NONE, |(window, _)| window))
    }

    fn load(&mut self, region: &str, window: WindowId) -> Result<Box<Loaded>, String> {
        let store = self.store.as_mut().map_err(|reason| reason.clone())?;
        load(store.as_mut(), region, window).map(Box::new).map_err(|error| error.to_string())
    }
}

fn load(store: &mut dyn CheckpointStore, region: &str, window: WindowId) -> Result<Loaded, StoreError> {
    let manifest = store.load(region, window)?;
    let mut chunks = Vec::with_capacity(manifest.subtasks.len());
    for subtask in &manifest.subtasks {
        let mut operators = Vec::with_capacity(subtask.operators.len());
        for operator in &subtask.operators {
            let read = operator.chunks.iter().map(|chunk| store.read_chunk(chunk));
            operators.push(read.collect::<Result<Vec<_>, _>>()?);
        }
        chunks.push(operators);
    }
    Ok(Loaded { manifest, chunks })
}
