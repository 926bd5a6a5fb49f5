//! What the jobs of one process share: a few lanes that subtasks of all of them run on, and the thread of timers.
//!
//! A lane belongs to no job. If a call of one job gets stuck on it, that job's supervisor leaves the lane, another takes
//! its place, and every other job that had subtasks there is told, so that they move, too. How many threads may be stuck
//! is counted for each job alone: one that hangs again and again uses up its own patience, not that of others.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use actix::prelude::{Arbiter, ArbiterHandle};
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::runtime::job::cores;
use crate::runtime::outside::Outside;
use crate::runtime::threads::{MOST_STUCK, too_many_stuck};

/// The threads that several jobs share. Clones are the same.
#[derive(Clone)]
pub struct Shared {
    pub(crate) lanes: Lanes,
    pub(crate) outside: Outside,
}

impl Shared {
    /// Starts the threads: so many lanes, or one for each core.
    ///
    /// # Errors
    /// If the system gives no more threads.
    pub fn start(lanes: Option<usize>) -> Result<Shared> {
        let failed = |error: io::Error| Error::failed(format!("the threads of the jobs could not be started: {error}"));
        let lanes = Lanes::start(lanes.unwrap_or_else(cores).max(1)).map_err(failed)?;
        Ok(Shared { lanes, outside: Outside::start()? })
    }
}

/// Is told that a lane was left.
type Told = Box<dyn Fn(usize) + Send>;

/// The lanes. Clones are the same.
#[derive(Clone)]
pub(crate) struct Lanes {
    state: Arc<Mutex<State>>,
}

struct State {
    maker: Maker,
    lanes: Vec<Arbiter>,
    /// Those that were left, and by which member.
    left: Vec<(u64, Arbiter)>,
    members: BTreeMap<u64, Option<Told>>,
    joined: u64,
}

impl Lanes {
    fn start(count: usize) -> io::Result<Lanes> {
        let maker = Maker::start()?;
        let lanes = (0..count).map(|_| maker.make()).collect::<io::Result<_>>()?;
        let state = State { maker, lanes, left: Vec::new(), members: BTreeMap::new(), joined: 0 };
        Ok(Lanes { state: Arc::new(Mutex::new(state)) })
    }

    /// Adds a job; returns its number.
    pub(crate) fn join(&self) -> u64 {
        let mut state = self.state.lock();
        state.joined += 1;
        let member = state.joined;
        state.members.insert(member, None);
        member
    }

    /// Lets a job know whenever another one has left a lane.
    pub(crate) fn tell(&self, member: u64, told: Told) {
        self.state.lock().members.insert(member, Some(told));
    }

    /// Removes a job, which has no subtasks any more.
    pub(crate) fn part(&self, member: u64) {
        self.state.lock().members.remove(&member);
    }

    pub(crate) fn count(&self) -> usize {
        self.state.lock().lanes.len()
    }

    /// Returns the thread of a lane; another one if it has ended.
    ///
    /// # Errors
    /// If the system gives no more threads.
    pub(crate) fn at(&self, lane: usize) -> io::Result<ArbiterHandle> {
        let mut state = self.state.lock();
        if !state.lanes[lane].alive() {
            state.lanes[lane] = state.maker.make()?;
        }
        Ok(state.lanes[lane].handle())
    }

    /// Leaves a lane that is stuck in a call of this job, and tells the others.
    ///
    /// # Errors
    /// If too many are stuck in calls of this job already; says what to do.
    pub(crate) fn leave(&self, lane: usize, member: u64) -> Result<(), String> {
        let mut state = self.state.lock();
        state.left.retain(|(_, arbiter)| arbiter.alive());
        if state.left.iter().filter(|(by, _)| *by == member).count() >= MOST_STUCK {
            return Err(too_many_stuck());
        }
        let fresh = state.maker.make().map_err(|error| format!("a thread could not be started: {error}"))?;
        let old = std::mem::replace(&mut state.lanes[lane], fresh);
        // If the call comes back, the thread ends behind it.
        old.stop();
        state.left.push((member, old));
        for (other, told) in &state.members {
            if let Some(told) = told.as_ref().filter(|_| *other != member) {
                told(lane);
            }
        }
        Ok(())
    }
}

/// A thread that starts others: whoever asks may be a job that ends long before they do.
struct Maker {
    asked: Sender<Sender<io::Result<Arbiter>>>,
}

impl Maker {
    fn start() -> io::Result<Maker> {
        let (asked, asks) = channel::<Sender<io::Result<Arbiter>>>();
        std::thread::Builder::new().name("piton-lanes".into()).spawn(move || {
            // Threads belong to the system that they were started in, and end with it.
            let _system = actix::System::new();
            for answer in asks {
                // Whoever has asked waits.
                answer.send(Arbiter::try_new()).ok();
            }
        })?;
        Ok(Maker { asked })
    }

    fn make(&self) -> io::Result<Arbiter> {
        let (answer, answered) = channel();
        let gone = || io::Error::other("the thread that starts others has ended");
        self.asked.send(answer).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_leaves_a_lane_has_another_and_the_others_are_told() {
        let lanes = Lanes::start(2).unwrap();
        let (stuck, neighbour) = (lanes.join(), lanes.join());
        let (tell, told) = channel();
        let own = tell.clone();
        lanes.tell(stuck, Box::new(move |lane| own.send(("stuck", lane)).unwrap()));
        lanes.tell(neighbour, Box::new(move |lane| tell.send(("neighbour", lane)).unwrap()));
        let (held, hold) = channel::<()>();
        lanes.at(1).unwrap().spawn_fn(move || hold.recv().unwrap_or(()));
        lanes.leave(1, stuck).unwrap();
        assert_eq!(told.recv().unwrap(), ("neighbour", 1));
        let (ran, runs) = channel();
        lanes.at(1).unwrap().spawn_fn(move || ran.send(()).unwrap());
        runs.recv().unwrap();
        assert!(told.try_recv().is_err(), "whoever leaves knows");
        drop(held);
    }

    #[test]
    fn a_job_may_have_so_many_threads_stuck_whatever_others_have() {
        let lanes = Lanes::start(1).unwrap();
        let (wild, calm) = (lanes.join(), lanes.join());
        let mut held = Vec::new();
        let mut stick = |member| {
            let (hold, wait) = channel::<()>();
            held.push(hold);
            let (begin, begun) = channel();
            lanes.at(0).unwrap().spawn_fn(move || {
                begin.send(()).unwrap();
                wait.recv().unwrap_or(());
            });
            // A lane that is left before would end without it.
            begun.recv().unwrap();
            lanes.leave(0, member)
        };
        for _ in 0..MOST_STUCK {
            stick(wild).unwrap();
        }
        assert!(stick(wild).unwrap_err().contains("threads are stuck"));
        lanes.leave(0, calm).unwrap();
    }
}
