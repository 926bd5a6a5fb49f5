//! The one thread that decides which jobs run: orders, files and ends of jobs come to it one after the other.
//!
//! It waits for no job. What takes as long as a checkpoint (stopping) or a store (starting) happens on a thread of the
//! job's, which sends a message when it is done.

mod files;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use serde_json::json;

use crate::cli::serve::folder::Texts;
use crate::cli::serve::front::Front;
use crate::cli::serve::kept::{Root, Served, Wanted};
use crate::cli::serve::life::{self, Common, End};
use crate::cli::serve::savepoints;
use crate::cli::terminal::Terminal;
use crate::error::{Error, Result};
use crate::http::{Asked, Job, Jobs as _, Order, Said, pass_on, refusal};
use crate::runtime::Request;
use crate::topology::{Plan, Registry};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long to wait before a job that does not listen yet is asked again.
const AGAIN: Duration = Duration::from_millis(20);

/// What the host is told.
pub(super) enum Message {
    Ordered {
        order: Order,
        reply: Reply,
    },
    /// A life has begun: its state fits its topology.
    Started {
        job: String,
        life: u64,
    },
    Ended {
        job: String,
        life: u64,
        end: End,
    },
    /// A job has more state than it may have.
    Outgrown {
        job: String,
        life: u64,
        reason: String,
    },
    /// A job was asked to stop, and goes on.
    Goes {
        job: String,
        life: u64,
        /// Which of the requests to stop this is the answer to.
        request: u64,
        said: Said,
    },
    /// The process is to end.
    Stop,
}

/// Where what came of an order goes. There is room for one answer, and there is one.
pub(super) type Reply = SyncSender<Said>;

/// What the host works with.
pub(super) struct Host<'a> {
    pub(super) registry: &'a Registry,
    pub(super) terminal: &'a Terminal,
    pub(super) root: Root,
    pub(super) paths: Vec<PathBuf>,
    pub(super) set: Vec<String>,
    pub(super) max_jobs: usize,
    pub(super) allow_paths: bool,
    pub(super) common: Common,
    pub(super) front: Front,
    pub(super) tenants: BTreeMap<String, Tenant>,
    pub(super) texts: Texts,
    /// Files whose job has the name of another one, and that name.
    pub(super) namesakes: BTreeMap<PathBuf, String>,
    pub(super) lives: u64,
    /// Once it is to end.
    pub(super) ends: bool,
    /// Jobs whose last checkpoint failed.
    pub(super) unclean: Vec<String>,
}

/// A job.
pub(super) struct Tenant {
    served: Served,
    text: String,
    run: Option<Run>,
    /// What it is to go on with once it has stopped.
    next: Option<Next>,
}

/// A life of a job.
struct Run {
    life: u64,
    job: Arc<Job>,
    timeout: Duration,
    /// Whether it is known that its state fits.
    fits: bool,
    /// What it goes back to if it does not.
    before: Option<String>,
    reply: Option<Reply>,
    /// How often it was asked to stop, and whether the last time still stands: it has not refused.
    requests: u64,
    is_stopping: bool,
    /// Why it was stopped, if that is a failure.
    doomed: Option<String>,
}

/// An upgrade that waits for the last checkpoint.
struct Next {
    plan: Plan,
    text: String,
    reply: Option<Reply>,
}

fn say(reply: Option<Reply>, said: Said) {
    if let Some(reply) = reply {
        // Whoever asked may have gone.
        reply.send(said).ok();
    }
}

impl Host<'_> {
    /// Begins the jobs that an earlier process has left, and those of the files.
    pub(super) fn begin_all(&mut self) {
        self.take_over();
        self.look();
    }

    /// Runs jobs until the process is to end.
    pub(super) fn run(&mut self, messages: &Receiver<Message>) -> Result<()> {
        let clock = self.common.clock.clone();
        let mut looked = clock.monotonic();
        let mut deadline = None;
        loop {
            if self.ends && self.tenants.values().all(|tenant| tenant.run.is_none()) {
                break;
            }
            match messages.recv_timeout(LOOK / 4) {
                Ok(Message::Stop) => deadline = Some(clock.monotonic() + self.end()),
                Ok(message) => self.on(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if !self.ends && clock.monotonic().saturating_sub(looked) >= LOOK {
                looked = clock.monotonic();
                self.look();
            }
            if deadline.is_some_and(|deadline| clock.monotonic() > deadline) {
                let late = self.tenants.iter().filter(|(_, tenant)| tenant.run.is_some());
                self.unclean.extend(late.map(|(name, _)| format!("job \"{name}\" did not stop in time")));
                break;
            }
        }
        if self.unclean.is_empty() {
            return Ok(());
        }
        Err(Error::failed(format!(
            "not every job took its last checkpoint, and continues from the one before: {}",
            self.unclean.join("; ")
        )))
    }

    /// Stops all jobs with a last checkpoint; returns how long that may take.
    fn end(&mut self) -> Duration {
        self.terminal.say("stopping all jobs with a last checkpoint; a second signal ends the process at once");
        self.ends = true;
        let names: Vec<String> = self.tenants.keys().cloned().collect();
        let mut longest = Duration::ZERO;
        for name in names {
            let Some(tenant) = self.tenants.get_mut(&name) else { continue };
            if let Some(next) = tenant.next.take() {
                say(next.reply, refusal(503, "the process is about to end"));
            }
            if let Some(run) = &tenant.run {
                longest = longest.max(run.timeout);
                self.ask_to_end(&name, Request::Stop { savepoint: None, drain: false }, None);
            }
        }
        longest + LOOK
    }

    fn on(&mut self, message: Message) {
        match message {
            Message::Ordered { reply, .. } if self.ends => {
                say(Some(reply), refusal(503, "the process is about to end"))
            }
            Message::Ordered { order, reply } => self.order(order, reply),
            Message::Started { job, life } => {
                let Some(run) = self.run_of(&job, life) else { return };
                run.fits = true;
                run.before = None;
                let reply = run.reply.take();
                say(reply, (200, json!({ "id": job, "status": "RUNNING" })));
            }
            Message::Ended { job, life, end } => self.ended(&job, life, end),
            Message::Outgrown { job, life, reason } => {
                let Some(run) = self.run_of(&job, life) else { return };
                if run.doomed.is_none() {
                    run.doomed = Some(reason);
                    self.ask_to_end(&job, Request::Stop { savepoint: None, drain: false }, None);
                }
            }
            Message::Goes { job, life, request, said } => {
                // A request that another one has overtaken decides nothing.
                let Some(run) = self.run_of(&job, life).filter(|run| run.requests == request) else { return };
                run.is_stopping = false;
                let Some(tenant) = self.tenants.get_mut(&job) else { return };
                tenant.served.wanted = Wanted::Running;
                if let Err(error) = self.root.keep(&job, &tenant.served, &tenant.text) {
                    tracing::error!(job, %error, "that the job goes on could not be kept");
                }
                if let Some(next) = tenant.next.take() {
                    self.terminal.say(&format!("warning: job \"{job}\" goes on as it was: {}", said.1["error"]));
                    say(next.reply, said);
                }
            }
            Message::Stop => {}
        }
    }

    fn run_of(&mut self, job: &str, life: u64) -> Option<&mut Run> {
        self.tenants.get_mut(job)?.run.as_mut().filter(|run| run.life == life)
    }

    fn ended(&mut self, name: &str, life: u64, end: End) {
        if self.run_of(name, life).is_none() {
            return;
        }
        let Some(tenant) = self.tenants.get_mut(name) else { return };
        let Some(run) = tenant.run.take() else { return };
        let end = match run.doomed {
            Some(reason) => End::Failed(reason),
            None => end,
        };
        let reason = match &end {
            End::Failed(reason) => Some(reason.clone()),
            End::Finished | End::Stopped | End::Canceled => None,
        };
        run.job.ended(end.status(), reason.clone());
        let next = tenant.next.take();
        match reason {
            Some(reason) => self.terminal.say(&format!("error: job \"{name}\" has failed, others go on: {reason}")),
            None => tracing::info!(job = name, "{}", end.status()),
        }
        if let End::Failed(reason) = &end {
            if let Some(before) = run.before.filter(|_| !run.fits && !self.ends) {
                self.terminal.say(&format!("warning: job \"{name}\" goes on as it was before the upgrade"));
                say(run.reply, refusal(409, format!("the job goes on as it was: {reason}")));
                return self.go_back(name, before);
            }
            if self.ends {
                self.unclean.push(format!("job \"{name}\": {reason}"));
            }
            say(run.reply, refusal(409, reason.clone()));
            say(next.and_then(|next| next.reply), refusal(409, reason.clone()));
            return;
        }
        say(run.reply, (200, json!({ "id": name, "status": end.status() })));
        let Some(Next { plan, text, reply }) = next else { return };
        let before = tenant_text(&self.tenants, name);
        self.begin(plan, text, before, reply);
    }

    fn go_back(&mut self, name: &str, text: String) {
        let served = self.tenants[name].served.clone();
        match self.plan(&text, served.file.as_deref(), Some(name)) {
            Ok(plan) => self.begin(plan, text, None, None),
            Err(error) => self.terminal.say(&format!("error: job \"{name}\" cannot go on: {error}")),
        }
    }

    /// Goes on with what an earlier process has left.
    fn take_over(&mut self) {
        for (name, kept) in self.root.jobs() {
            let (served, text) = match kept {
                Ok(kept) => kept,
                Err(error) => {
                    self.terminal.say(&format!("error: job \"{name}\" cannot be read, others go on: {error}"));
                    self.front.refuse(&name, "FAILED", error.to_string());
                    continue;
                }
            };
            let file = served.file.clone();
            let wanted = served.wanted;
            self.tenants.insert(name.clone(), Tenant { served, text: text.clone(), run: None, next: None });
            if wanted != Wanted::Running {
                let status = if wanted == Wanted::Canceled { "CANCELED" } else { "STOPPED" };
                let plan = self.plan(&text, file.as_deref(), Some(&name));
                match plan.and_then(|plan| life::over(&plan, status, &self.common)) {
                    Ok(job) => self.front.show(job),
                    Err(error) => {
                        let reason =
                            format!("it was stopped, and its text is of no use here: {}", error.lines().join("; "));
                        self.front.refuse(&name, status, reason);
                    }
                }
            } else if file.is_none() {
                match self.plan(&text, None, Some(&name)) {
                    Ok(plan) => self.begin(plan, text, None, None),
                    Err(error) => self.refused(&name, &error),
                }
            }
        }
    }

    fn refused(&mut self, name: &str, error: &Error) {
        self.terminal.say(&format!("error: job \"{name}\" is refused, others go on:"));
        error.lines().iter().for_each(|line| self.terminal.say(&format!("  {line}")));
        self.front.refuse(name, "FAILED", error.lines().join("; "));
    }

    fn order(&mut self, order: Order, reply: Reply) {
        match order {
            Order::Submit { text } => match self.plan(&text, None, None) {
                Err(error) => say(Some(reply), refusal(400, error.lines().join("\n"))),
                Ok(plan) if self.tenants.contains_key(&plan.settings.job.name) => {
                    let name = plan.settings.job.name;
                    say(Some(reply), refusal(409, format!("there is a job \"{name}\" already: upgrade it")));
                }
                Ok(plan) => {
                    let served = Served { file: None, wanted: Wanted::Running };
                    let name = plan.settings.job.name.clone();
                    self.tenants.insert(name, Tenant { served, text: text.clone(), run: None, next: None });
                    self.begin(plan, text, None, Some(reply));
                }
            },
            Order::Upgrade { job, text } => {
                let Some(tenant) = self.tenants.get(&job) else {
                    return say(Some(reply), refusal(404, format!("there is no job \"{job}\"")));
                };
                if tenant.served.file.is_some() {
                    let reason = format!("job \"{job}\" comes from a file: it is upgraded by changing that");
                    return say(Some(reply), refusal(409, reason));
                }
                match self.plan(&text, None, Some(&job)) {
                    Err(error) => say(Some(reply), refusal(400, error.lines().join("\n"))),
                    Ok(plan) => self.upgrade(plan, text, None, Some(reply)),
                }
            }
            Order::Delete { job } => {
                let said = match self.tenants.get(&job) {
                    None => refusal(404, format!("there is no job \"{job}\"")),
                    Some(tenant) if tenant.run.is_some() => {
                        refusal(409, format!("job \"{job}\" runs: stop or cancel it first"))
                    }
                    Some(tenant) if tenant.served.file.as_ref().is_some_and(|file| file.exists()) => {
                        refusal(409, format!("job \"{job}\" comes from a file: remove that first"))
                    }
                    Some(_) => {
                        // Nobody reads what is about to go.
                        self.front.find(&job).iter().for_each(|left| left.leave());
                        match self.root.forget(&job) {
                            Ok(()) => (200, json!({ "id": job })),
                            Err(error) => refusal(500, error.to_string()),
                        }
                    }
                };
                if said.0 == 200 {
                    self.tenants.remove(&job);
                    self.front.forget(&job);
                }
                say(Some(reply), said);
            }
            Order::Do { job, request } => {
                let wanted = if request == Request::Cancel { Wanted::Canceled } else { Wanted::Stopped };
                self.stop(&job, wanted, request, Some(reply));
            }
        }
    }

    fn stop(&mut self, name: &str, wanted: Wanted, request: Request, reply: Option<Reply>) {
        let Some(tenant) = self.tenants.get_mut(name) else {
            return say(reply, refusal(404, format!("there is no job \"{name}\"")));
        };
        if tenant.run.is_none() && reply.is_some() {
            // Who is refused has changed nothing.
            return say(reply, refusal(409, format!("job \"{name}\" does not run")));
        }
        let served = Served { wanted, ..tenant.served.clone() };
        if let Err(error) = self.root.keep(name, &served, &tenant.text) {
            return say(reply, refusal(500, error.to_string()));
        }
        tenant.served = served;
        if tenant.run.is_none() {
            return;
        }
        if let Some(next) = tenant.next.take() {
            say(next.reply, refusal(409, format!("job \"{name}\" was stopped before it was upgraded")));
        }
        self.ask_to_end(name, request, reply);
    }

    fn upgrade(&mut self, plan: Plan, text: String, file: Option<PathBuf>, reply: Option<Reply>) {
        let name = plan.settings.job.name.clone();
        let Some(tenant) = self.tenants.get_mut(&name) else { return };
        if tenant.next.is_some() {
            return say(reply, refusal(409, format!("job \"{name}\" is being upgraded already")));
        }
        tenant.served = Served { file, wanted: Wanted::Running };
        let Some(run) = &tenant.run else {
            let before = (tenant.text != text).then(|| tenant.text.clone());
            return self.begin(plan, text, before, reply);
        };
        tenant.next = Some(Next { plan, text, reply });
        if run.is_stopping {
            return;
        }
        let savepoint = Some(savepoints::name(savepoints::UPGRADE, &self.common.clock));
        self.ask_to_end(&name, Request::Stop { savepoint, drain: false }, None);
    }

    /// Asks a job to end, on a thread that waits for it.
    #[expect(clippy::disallowed_methods, reason = "a job that has just been started takes its own time to listen")]
    fn ask_to_end(&mut self, name: &str, request: Request, reply: Option<Reply>) {
        let Some(run) = self.tenants.get_mut(name).and_then(|tenant| tenant.run.as_mut()) else { return };
        run.requests += 1;
        run.is_stopping = true;
        let (job, life, number) = (Arc::clone(&run.job), run.life, run.requests);
        let (tell, name) = (self.common.tell.clone(), name.to_string());
        let own_reply = reply.clone();
        let ask = move || loop {
            let said = match pass_on(&job, &request) {
                // Its end, if that is near, is known to it before the host forgets this life.
                Asked::Unheard(_) => {
                    std::thread::sleep(AGAIN);
                    continue;
                }
                Asked::Refused(said) => {
                    // The host may be gone.
                    tell.send(Message::Goes { job: name, life, request: number, said: said.clone() }).ok();
                    said
                }
                Asked::Ended(said) => {
                    tracing::warn!(job = name, "has ended otherwise than it was asked to: {}", said.1["error"]);
                    said
                }
                Asked::Done(said) => said,
            };
            return say(reply, said);
        };
        if let Err(error) = std::thread::Builder::new().name("piton-stop".into()).spawn(ask) {
            say(own_reply, refusal(503, error.to_string()));
        }
    }

    /// Starts a life of a job that does not run.
    fn begin(&mut self, plan: Plan, text: String, before: Option<String>, reply: Option<Reply>) {
        let name = plan.settings.job.name.clone();
        let running = self.tenants.values().filter(|tenant| tenant.run.is_some()).count();
        let Some(tenant) = self.tenants.get_mut(&name) else { return };
        tenant.served.wanted = Wanted::Running;
        let started = if running >= self.max_jobs {
            Err(Error::config(format!("{running} jobs run already, and --max-jobs allows no more")))
        } else {
            self.lives += 1;
            self.root
                .keep(&name, &tenant.served, &text)
                .and_then(|()| life::start(plan.clone(), self.lives, self.front.find(&name).ok(), &self.common))
        };
        match started {
            Ok(job) => {
                self.front.show(Arc::clone(&job));
                tenant.text = text;
                tenant.run = Some(Run {
                    life: self.lives,
                    job,
                    timeout: Duration::from_millis(plan.settings.checkpoint.timeout.millis()),
                    fits: false,
                    before,
                    reply,
                    requests: 0,
                    is_stopping: false,
                    doomed: None,
                });
            }
            Err(error) => {
                self.refused(&name, &error);
                say(reply, refusal(503, error.to_string()));
            }
        }
    }
}

fn tenant_text(tenants: &BTreeMap<String, Tenant>, name: &str) -> Option<String> {
    tenants.get(name).map(|tenant| tenant.text.clone())
}
