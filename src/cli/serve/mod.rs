//! `piton serve`: many jobs in one process, each with its own state, its own restarts and its own end.
//!
//! What the jobs share is few threads and one address; what is kept of them is kept apart, so that whatever becomes of one
//! is its own matter. Why it is so: `docs/decisions/0016-many-jobs-in-one-process.md`.

mod accept;
mod folder;
mod front;
mod host;
mod kept;
mod life;
mod savepoints;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use parking_lot::Mutex;

use crate::cli::args::ServeArgs;
use crate::cli::events::EventLog;
use crate::cli::serve::accept::Limits;
use crate::cli::serve::front::Front;
use crate::cli::serve::host::{Host, Message};
use crate::cli::serve::kept::Root;
use crate::cli::serve::life::Common;
use crate::cli::terminal::Terminal;
use crate::clock::Clock;
use crate::config::{HttpSettings, Listen};
use crate::error::{Error, Result};
use crate::http::{Bound, Server};
use crate::runtime::{Shared, Signals};
use crate::topology::Registry;

/// How many messages may wait for the host: whoever has one more waits.
const WAITING: usize = 1024;

/// Runs jobs until a signal comes.
pub(super) fn run(args: &ServeArgs, registry: &Registry, terminal: &Terminal) -> Result {
    let signals = Signals::catch().map_err(|error| Error::failed(format!("signals cannot be caught: {error}")))?;
    let paths = args.paths.iter().map(|path| absolute(path)).collect::<Result<Vec<PathBuf>>>()?;
    if let Some(missing) = paths.iter().find(|path| !path.exists()) {
        return Err(Error::config(format!("there is no \"{}\"", missing.display())));
    }
    let clock = Clock::system();
    let bound = Bound::to(&http(args)?)?;
    let root = Root::open(args.state.as_deref().unwrap_or(Path::new(".piton/serve")))?;
    let log = args.events.as_ref().map(|path| EventLog::open(path, clock.clone())).transpose()?;
    let (tell, messages) = sync_channel(WAITING);
    let front = Front::new(tell.clone());
    let stop = tell.clone();
    let waiting = move || {
        if signals.wait() {
            // An error means that it has ended by itself.
            stop.send(Message::Stop).ok();
        }
    };
    std::thread::Builder::new()
        .name("piton-stop".into())
        .spawn(waiting)
        .map_err(|error| Error::failed(format!("signals cannot be waited for: {error}")))?;
    let limits = Limits { journal: args.max_journal, mailbox: args.max_mailbox, state: args.max_state };
    let shared = Shared::start(args.threads)?;
    let mut host = Host {
        registry,
        terminal,
        root,
        paths,
        set: args.set.clone(),
        max_jobs: args.max_jobs,
        allow_paths: args.allow_paths,
        common: Common { clock, shared, log: Arc::new(Mutex::new(log)), limits, tell },
        front: front.clone(),
        tenants: BTreeMap::new(),
        texts: BTreeMap::new(),
        namesakes: BTreeMap::new(),
        lives: 0,
        ends: false,
        unclean: Vec::new(),
    };
    // Whoever finds the address finds the jobs.
    host.begin_all();
    let server = bound.map(|bound| Server::start(bound, Arc::new(front))).transpose()?;
    if let Some(server) = &server {
        terminal.say(&format!("page, API and metrics: {}", server.url()));
    }
    let ended = host.run(&messages);
    // Whoever still waits for an answer hears that there is none.
    drop(messages);
    drop(server);
    ended
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path)
        .map_err(|error| Error::config(format!("cannot tell where \"{}\" is: {error}", path.display())))
}

/// Returns where to listen, and for whom.
fn http(args: &ServeArgs) -> Result<HttpSettings> {
    let token = std::env::var("PITON__HTTP__TOKEN").ok().filter(|token| !token.is_empty());
    let listen: Option<Listen> = args.http.as_ref().map(|text| text.parse()).transpose().map_err(Error::config)?;
    if let Some(listen) = listen.filter(|listen| !listen.0.ip().is_loopback() && token.is_none()) {
        return Err(Error::config(format!(
            "listening on {} needs a token: set PITON__HTTP__TOKEN, or listen on loopback",
            listen.0.ip()
        )));
    }
    Ok(HttpSettings { listen, token, tls: None })
}
