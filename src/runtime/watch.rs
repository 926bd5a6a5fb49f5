//! The watch: a plain thread that looks at the pulse of every subtask, and finds the calls that get nowhere.
//!
//! It runs no code but its own and waits for nobody, so it sees what no actor can. A call is found when it has got
//! nowhere for the timeout and at most two looks more. Time is counted in looks, not read from a clock: when the whole
//! process is suspended, or the clock of the machine is set, nobody is suspected.
//!
//! Who waits for another has no call under way: only the one that is stuck is found.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use piton_actors::host::{Beat, Pulse};

/// How long to wait between two looks, at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// The watch over a job. It ends when this is dropped.
pub(crate) struct Watch {
    watched: Arc<Mutex<BTreeMap<u64, Watched>>>,
    /// Dropped to end the thread.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Watched {
    pulse: Arc<Pulse>,
    seen: Option<Beat>,
    /// How many looks in a row it has looked like this.
    looks: u64,
}

impl Watch {
    /// Starts the watch. `found` is told the number of whoever is stuck, and what is to be seen of the call; again after
    /// another timeout if it still is.
    ///
    /// # Errors
    /// If the system gives no more threads.
    pub(crate) fn start(timeout: Duration, found: impl Fn(u64, Beat) + Send + 'static) -> io::Result<Watch> {
        let pause = (timeout / 4).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        let most = u64::try_from(timeout.as_nanos().div_ceil(pause.as_nanos())).unwrap_or(u64::MAX).max(1);
        let watched = Arc::new(Mutex::new(BTreeMap::new()));
        let (end, ended) = channel::<()>();
        let looked_at = Arc::clone(&watched);
        let thread = std::thread::Builder::new().name("piton-watch".into()).spawn(move || {
            while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                for (number, beat) in look(&mut looked_at.lock(), most) {
                    found(number, beat);
                }
            }
        })?;
        Ok(Watch { watched, end: Some(end), thread: Some(thread) })
    }

    /// Watches somebody.
    pub(crate) fn add(&self, number: u64, pulse: Arc<Pulse>) {
        self.watched.lock().insert(number, Watched { pulse, seen: None, looks: 0 });
    }

    /// Watches somebody no more.
    pub(crate) fn remove(&self, number: u64) {
        self.watched.lock().remove(&number);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // An error means that it is gone already.
            thread.join().ok();
        }
    }
}

/// Looks at everybody once; returns those that have looked the same `most` times after the first.
fn look(watched: &mut BTreeMap<u64, Watched>, most: u64) -> Vec<(u64, Beat)> {
    let mut stuck = Vec::new();
    for (number, one) in watched {
        let beat = one.pulse.look();
        if beat != one.seen {
            (one.seen, one.looks) = (beat, 0);
            continue;
        }
        one.looks += 1;
        if let Some(beat) = beat
            && one.looks.is_multiple_of(most)
        {
            stuck.push((*number, beat));
        }
    }
    stuck
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(pulses: &[&Arc<Pulse>]) -> BTreeMap<u64, Watched> {
        let one = |pulse: &Arc<Pulse>| Watched { pulse: Arc::clone(pulse), seen: None, looks: 0 };
        pulses.iter().enumerate().map(|(number, pulse)| (number as u64, one(pulse))).collect()
    }

    #[test]
    fn only_the_one_that_gets_nowhere_in_a_call_is_found() {
        let (stuck, slow, waiting) = (Arc::default(), Arc::default(), Arc::default());
        let mut all = watched(&[&stuck, &slow, &waiting]);
        stuck.enter(3);
        slow.enter(0);
        for row in 1..=4 {
            slow.advance(row);
            assert!(look(&mut all, 4).is_empty(), "look {row}");
        }
        slow.advance(5);
        let found = look(&mut all, 4);
        assert_eq!(found.iter().map(|(number, beat)| (*number, beat.place)).collect::<Vec<_>>(), [(0, 3)]);
        // It is said again, but not at every look.
        slow.leave();
        let again: Vec<usize> = (0..8).map(|_| look(&mut all, 4).len()).collect();
        assert_eq!(again, [0, 0, 0, 1, 0, 0, 0, 1]);
        stuck.leave();
        assert!((0..8).all(|_| look(&mut all, 4).is_empty()));
    }

    #[test]
    fn calls_that_follow_each_other_are_not_one_long_call() {
        let pulse = Arc::default();
        let mut all = watched(&[&pulse]);
        for _ in 0..20 {
            pulse.enter(0);
            assert!(look(&mut all, 2).is_empty());
            assert!(look(&mut all, 2).is_empty());
            pulse.leave();
        }
    }

    #[test]
    fn the_thread_finds_a_call_and_ends() {
        let (tell, told) = channel();
        let watch = Watch::start(Duration::from_millis(20), move |number, beat| {
            // The test may have seen enough.
            tell.send((number, beat.place)).ok();
        })
        .unwrap();
        let pulse = Arc::new(Pulse::default());
        pulse.enter(1);
        watch.add(7, Arc::clone(&pulse));
        assert_eq!(told.recv_timeout(Duration::from_secs(20)).unwrap(), (7, 1));
        drop(watch);
        while told.recv().is_ok() {}
    }
}
