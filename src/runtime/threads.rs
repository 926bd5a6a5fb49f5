//! The threads that subtasks run on: lanes that many share, and some that belong to one subtask alone.
//!
//! A thread that is stuck in code of the user's cannot be ended, only left: another takes its place, and it is never
//! waited for. It ends by itself if the call ever comes back.

use std::collections::BTreeMap;
use std::io;

use actix::prelude::{Arbiter, ArbiterHandle};

use crate::runtime::shared::Lanes;

/// How many threads may be stuck at a time: each keeps its stack, and what the call holds.
pub(crate) const MOST_STUCK: usize = 8;

/// Where a subtask runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// On this lane.
    Lane(usize),
    /// On its own: the region, and the subtask's number in it.
    Own(usize, usize),
}

/// The threads of a job.
pub(crate) struct Threads {
    lanes: usize,
    /// Whose the lanes are, and which job this is among those that share them; nothing if they are its own.
    shared: Option<(Lanes, u64)>,
    arbiters: BTreeMap<Place, Arbiter>,
    /// Those that were left.
    left: Vec<Arbiter>,
}

impl Threads {
    /// Starts so many lanes.
    ///
    /// # Errors
    /// If the system gives no more threads.
    pub(crate) fn start(lanes: usize) -> io::Result<Threads> {
        let mut arbiters = BTreeMap::new();
        for lane in 0..lanes {
            arbiters.insert(Place::Lane(lane), Arbiter::try_new()?);
        }
        Ok(Threads { lanes, shared: None, arbiters, left: Vec::new() })
    }

    /// Takes part in lanes that others share.
    pub(crate) fn sharing(lanes: Lanes) -> Threads {
        let member = lanes.join();
        Threads { lanes: lanes.count(), shared: Some((lanes, member)), arbiters: BTreeMap::new(), left: Vec::new() }
    }

    /// Lets the job know whenever another one has left a lane: what ran there has to move.
    pub(crate) fn on_left(&self, told: impl Fn(Place) + Send + 'static) {
        if let Some((lanes, member)) = &self.shared {
            lanes.tell(*member, Box::new(move |lane| told(Place::Lane(lane))));
        }
    }

    /// Returns the lane of subtasks of this index: forward edges do not leave it.
    pub(crate) fn lane(&self, index: u32) -> Place {
        // Jobs of one subtask each do not all meet on the first.
        let first = self.shared.as_ref().map_or(0, |(_, member)| *member as usize);
        Place::Lane((first + index as usize) % self.lanes)
    }

    /// Returns the thread of a place; starts it if there is none yet.
    ///
    /// # Errors
    /// If the system gives no more threads.
    pub(crate) fn at(&mut self, place: Place) -> io::Result<ArbiterHandle> {
        if let (Place::Lane(lane), Some((lanes, _))) = (place, &self.shared) {
            return lanes.at(lane);
        }
        if let Some(arbiter) = self.arbiters.get(&place) {
            return Ok(arbiter.handle());
        }
        let arbiter = Arbiter::try_new()?;
        let handle = arbiter.handle();
        self.arbiters.insert(place, arbiter);
        Ok(handle)
    }

    /// Returns whether the thread of a place still takes work.
    pub(crate) fn is_alive(&self, place: Place) -> bool {
        if let (Place::Lane(_), Some(_)) = (place, &self.shared) {
            // One that has ended is replaced as soon as somebody asks for it.
            return true;
        }
        self.arbiters.get(&place).is_some_and(Arbiter::alive)
    }

    /// Leaves the thread of a place, which has ended or is stuck; the next use of the place starts another.
    ///
    /// # Errors
    /// If too many are stuck already; says what to do.
    pub(crate) fn leave(&mut self, place: Place) -> Result<(), String> {
        if let (Place::Lane(lane), Some((lanes, member))) = (place, &self.shared) {
            return lanes.leave(lane, *member);
        }
        self.left.retain(Arbiter::alive);
        if self.left.len() >= MOST_STUCK {
            return Err(too_many_stuck());
        }
        if let Some(arbiter) = self.arbiters.remove(&place) {
            // If the call comes back, the thread ends behind it.
            arbiter.stop();
            self.left.push(arbiter);
        }
        Ok(())
    }

    /// Lets all threads end that are not stuck.
    pub(crate) fn stop(&mut self) {
        for arbiter in self.arbiters.values() {
            arbiter.stop();
        }
        if let Some((lanes, member)) = &self.shared {
            lanes.part(*member);
        }
    }
}

/// Says why no more threads may be left.
pub(crate) fn too_many_stuck() -> String {
    format!(
        "{MOST_STUCK} threads are stuck in calls that were given up: only the end of the process frees them; \
         start the job again once the cause is mended"
    )
}
