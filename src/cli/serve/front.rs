//! The jobs as HTTP sees them: what the host has shown of them, and a way to ask it for something.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::cli::serve::host::Message;
use crate::http::{Job, Jobs, Order, Said, pass_on, refusal};
use crate::runtime::Request;

/// See the module. Clones are the same.
#[derive(Clone)]
pub(super) struct Front {
    shown: Arc<Mutex<BTreeMap<String, Shown>>>,
    host: SyncSender<Message>,
}

/// What is shown of a job.
enum Shown {
    /// It has begun.
    Begun(Arc<Job>),
    /// It could not begin.
    Refused(&'static str, String),
}

impl Front {
    pub(super) fn new(host: SyncSender<Message>) -> Front {
        Front { shown: Arc::default(), host }
    }

    pub(super) fn show(&self, job: Arc<Job>) {
        self.shown.lock().insert(job.name().to_string(), Shown::Begun(job));
    }

    /// Shows a job that is not there to be looked at; one that has run before stays as it was.
    pub(super) fn refuse(&self, name: &str, status: &'static str, reason: String) {
        let mut shown = self.shown.lock();
        match shown.get(name) {
            Some(Shown::Begun(_)) => {}
            _ => drop(shown.insert(name.to_string(), Shown::Refused(status, reason))),
        }
    }

    /// Takes back that something was refused.
    pub(super) fn admit(&self, name: &str) {
        let mut shown = self.shown.lock();
        if matches!(shown.get(name), Some(Shown::Refused(..))) {
            shown.remove(name);
        }
    }

    /// Returns whether a job has run, in this process or, to its end, in an earlier one.
    pub(super) fn has_begun(&self, name: &str) -> bool {
        matches!(self.shown.lock().get(name), Some(Shown::Begun(_)))
    }

    pub(super) fn forget(&self, name: &str) {
        self.shown.lock().remove(name);
    }
}

impl Jobs for Front {
    fn list(&self) -> Vec<Value> {
        let of = |(name, shown): (&String, &Shown)| match shown {
            Shown::Begun(job) => job.summary(),
            Shown::Refused(status, reason) => {
                json!({ "id": name, "jid": name, "name": name, "status": status, "state": status, "error": reason })
            }
        };
        self.shown.lock().iter().map(of).collect()
    }

    fn find(&self, name: &str) -> Result<Arc<Job>, Said> {
        match self.shown.lock().get(name) {
            Some(Shown::Begun(job)) => Ok(Arc::clone(job)),
            Some(Shown::Refused(_, reason)) => Err(refusal(409, format!("job \"{name}\" does not run: {reason}"))),
            None => Err(refusal(404, format!("there is no job \"{name}\"; the jobs are at /api/jobs"))),
        }
    }

    fn begun(&self) -> Vec<Arc<Job>> {
        let of = |shown: &Shown| match shown {
            Shown::Begun(job) => Some(Arc::clone(job)),
            Shown::Refused(..) => None,
        };
        self.shown.lock().values().filter_map(of).collect()
    }

    fn order(&self, order: Order) -> Said {
        // What changes nothing about whether it runs is between the two of them.
        if let Order::Do { job, request } = &order
            && !matches!(request, Request::Stop { .. } | Request::Cancel)
        {
            return match self.find(job) {
                Ok(job) => pass_on(&job, request).said(),
                Err(said) => said,
            };
        }
        let (reply, answer) = sync_channel(1);
        let gone = || refusal(503, "the process is about to end");
        if self.host.send(Message::Ordered { order, reply }).is_err() {
            return gone();
        }
        answer.recv().unwrap_or_else(|_| gone())
    }
}
