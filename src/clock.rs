//! Time and randomness: the only file that asks the operating system for either.
//!
//! Everything else is handed a [`Clock`], or a reading of one, so that a simulation can run the same code in virtual
//! time. Random numbers come from a seed and a purpose: the same seed gives the same run, and two purposes never
//! share a sequence.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use piton_actors::Timestamp;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Tells the time: the system's, or that of a simulation. Clones tell the same time.
#[derive(Clone)]
pub struct Clock(Kind);

#[derive(Clone)]
enum Kind {
    System { origin: Instant },
    Simulated(Arc<Virtual>),
}

struct Virtual {
    start: Timestamp,
    elapsed_ns: AtomicU64,
}

impl Clock {
    /// Returns the system's clock.
    #[expect(clippy::disallowed_methods, reason = "this file is the one that may ask")]
    pub fn system() -> Clock {
        Clock(Kind::System { origin: Instant::now() })
    }

    /// Returns a clock that stands still at `start` (ms since 1970) and the hand that advances it.
    pub fn simulated(start: Timestamp) -> (Clock, Hand) {
        let time = Arc::new(Virtual { start, elapsed_ns: AtomicU64::new(0) });
        (Clock(Kind::Simulated(Arc::clone(&time))), Hand(time))
    }

    /// Returns the time of day, in ms since 1970. It may jump, also backwards.
    #[expect(clippy::disallowed_methods, reason = "this file is the one that may ask")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Kind::System { .. } => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => millis(since),
                Err(before) => -millis(before.duration()),
            },
            Kind::Simulated(time) => time.start + millis(time.elapsed()),
        }
    }

    /// Returns how long this clock has been running. It never goes back.
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Kind::System { origin } => origin.elapsed(),
            Kind::Simulated(time) => time.elapsed(),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0 {
            Kind::System { .. } => "system",
            Kind::Simulated(_) => "simulated",
        };
        write!(f, "Clock({kind}, {:?})", self.monotonic())
    }
}

/// Advances a simulated clock.
pub struct Hand(Arc<Virtual>);

impl Hand {
    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.0.elapsed_ns.fetch_add(nanos(by), Ordering::SeqCst);
    }

    /// Lets time pass until the clock has been running for `elapsed`; does nothing if it has been already.
    pub fn advance_to(&self, elapsed: Duration) {
        self.0.elapsed_ns.fetch_max(nanos(elapsed), Ordering::SeqCst);
    }
}

impl Virtual {
    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.elapsed_ns.load(Ordering::SeqCst))
    }
}

/// Returns random numbers for one purpose of a run with this seed.
pub fn rng(seed: u64, purpose: &str) -> Pcg64Mcg {
    Pcg64Mcg::seed_from_u64(xxh3_64_with_seed(purpose.as_bytes(), seed))
}

fn millis(duration: Duration) -> Timestamp {
    Timestamp::try_from(duration.as_millis()).unwrap_or(Timestamp::MAX)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn simulated_time_moves_only_by_hand() {
        let (clock, hand) = Clock::simulated(1_000);
        let other = clock.clone();
        assert_eq!((clock.now(), clock.monotonic()), (1_000, Duration::ZERO));
        hand.advance(Duration::from_millis(250));
        hand.advance_to(Duration::from_millis(100));
        assert_eq!((other.now(), other.monotonic()), (1_250, Duration::from_millis(250)));
        hand.advance_to(Duration::from_secs(2));
        assert_eq!(clock.now(), 3_000);
    }

    #[test]
    fn system_time_is_after_2025_and_never_goes_back() {
        let clock = Clock::system();
        assert!(clock.now() > 1_735_689_600_000);
        let earlier = clock.monotonic();
        assert!(clock.monotonic() >= earlier);
    }

    #[test]
    fn a_seed_and_a_purpose_give_one_sequence() {
        let draw = |seed, purpose| rng(seed, purpose).next_u64();
        assert_eq!(draw(7, "faults"), draw(7, "faults"));
        assert_ne!(draw(7, "faults"), draw(8, "faults"));
        assert_ne!(draw(7, "faults"), draw(7, "schedule"));
    }
}
