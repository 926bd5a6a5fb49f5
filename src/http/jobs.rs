//! The jobs that a server tells of: one, or as many as a process runs.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::error::Result;
use crate::http::Job;
use crate::runtime::{Answer, Request, ask};

/// What is asked of the jobs of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A new job, by the text of its topology.
    Submit {
        /// The text.
        text: String,
    },
    /// Another text for a job, which goes on from where it is.
    Upgrade {
        /// The name of the job.
        job: String,
        /// The text.
        text: String,
    },
    /// A job that does not run is to be forgotten, with its state.
    Delete {
        /// Its name.
        job: String,
    },
    /// A job is to do something.
    Do {
        /// Its name.
        job: String,
        /// What.
        request: Request,
    },
}

/// A status, and what is said.
pub type Said = (u16, Value);

/// Returns what is said of something that went wrong.
pub fn refusal(status: u16, reason: impl Into<String>) -> Said {
    (status, json!({ "error": reason.into() }))
}

/// The jobs of a process, as others see them.
pub trait Jobs: Send + Sync {
    /// Returns what there is to say of each in a list, in the order of their names.
    fn list(&self) -> Vec<Value>;

    /// Returns a job that has begun.
    ///
    /// # Errors
    /// What is said if there is none of that name, or if it could not begin.
    fn find(&self, name: &str) -> Result<Arc<Job>, Said>;

    /// Returns all jobs that have begun.
    fn begun(&self) -> Vec<Arc<Job>>;

    /// Carries out what is asked; it may take as long as a checkpoint does.
    fn order(&self, order: Order) -> Said;
}

/// The only job of a process.
pub struct Alone(pub Arc<Job>);

impl Jobs for Alone {
    fn list(&self) -> Vec<Value> {
        vec![self.0.summary()]
    }

    fn find(&self, name: &str) -> Result<Arc<Job>, Said> {
        if name == self.0.name() {
            return Ok(Arc::clone(&self.0));
        }
        Err(refusal(404, format!("there is no job \"{name}\" (jobs: \"{}\")", self.0.name())))
    }

    fn begun(&self) -> Vec<Arc<Job>> {
        vec![Arc::clone(&self.0)]
    }

    fn order(&self, order: Order) -> Said {
        match order {
            Order::Do { job, request } => match self.find(&job) {
                Ok(job) => pass_on(&job, &request).said(),
                Err(said) => said,
            },
            Order::Submit { .. } => refusal(405, "this is answered to GET, HEAD"),
            Order::Upgrade { .. } => refusal(405, "this process runs one job: `piton serve` upgrades jobs"),
            Order::Delete { .. } => refusal(405, "this is answered to GET, HEAD"),
        }
    }
}

/// What came of a request to a job.
pub enum Asked {
    /// It was done.
    Done(Said),
    /// It was refused, and the job goes on.
    Refused(Said),
    /// It was not done, but the job has come to its end or is about to.
    Ended(Said),
    /// Nobody listens: the job has not started yet, or is about to end.
    Unheard(Said),
}

impl Asked {
    /// Returns what is answered.
    pub fn said(self) -> Said {
        let (Asked::Done(said) | Asked::Refused(said) | Asked::Ended(said) | Asked::Unheard(said)) = self;
        said
    }
}

/// Asks a running job to do something.
pub fn pass_on(job: &Job, request: &Request) -> Asked {
    if let Some(said) = job.is_over() {
        return Asked::Ended(said);
    }
    match ask(job.state_directory(), request) {
        Ok(Some(Answer::Error { error: reason })) => Asked::Refused(refusal(409, reason)),
        Ok(Some(Answer::Ended { error: reason })) => Asked::Ended(refusal(409, reason)),
        Ok(Some(answer)) => {
            let mut said = serde_json::to_value(&answer).unwrap_or_default();
            if let Some(said) = said.as_object_mut() {
                said.remove("answer");
            }
            Asked::Done((200, said))
        }
        Ok(None) => {
            let reason = "the job takes no requests at the moment: it has not started yet, or is about to end";
            Asked::Unheard(refusal(503, reason))
        }
        Err(failed) => {
            let place = job.state_directory().display();
            let reason = format!("the job cannot be asked by way of its state directory \"{place}\": {failed}");
            Asked::Unheard(refusal(503, reason))
        }
    }
}
