//! When a failed region may start again: Flink's restart strategies, with its names and defaults, as data.

use serde::{Deserialize, Serialize};

/// A restart strategy and its parameters; times in ms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Strategy {
    /// Never restart.
    None,
    /// After the same delay each time, so many times.
    FixedDelay {
        /// How many restarts before the job fails.
        attempts: u32,
        /// How long to wait before each.
        delay_ms: u64,
    },
    /// After the same delay each time, unless failures come too often.
    FailureRate {
        /// How many failures within the interval are borne.
        max_failures_per_interval: u32,
        /// The interval.
        interval_ms: u64,
        /// How long to wait before each restart.
        delay_ms: u64,
    },
    /// After a delay that grows from failure to failure, and falls back after a time without one.
    ExponentialDelay {
        /// The first delay.
        initial_backoff_ms: u64,
        /// The longest delay.
        max_backoff_ms: u64,
        /// What the delay is multiplied by after each failure.
        backoff_multiplier: f64,
        /// The delay is changed by up to this share of it, up or down.
        jitter_factor: f64,
        /// After so long without a failure, the delay is the first one again.
        reset_backoff_threshold_ms: u64,
        /// How many restarts without such a time before the job fails; nothing if any number.
        attempts: Option<u32>,
    },
}

impl Default for Strategy {
    fn default() -> Strategy {
        Strategy::ExponentialDelay {
            initial_backoff_ms: 1_000,
            max_backoff_ms: 60_000,
            backoff_multiplier: 1.5,
            jitter_factor: 0.1,
            reset_backoff_threshold_ms: 3_600_000,
            attempts: None,
        }
    }
}

/// What to do about a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start again after so many ms.
    RestartAfter(u64),
    /// Do not start again; says why.
    GiveUp(String),
}

/// A strategy and what it remembers.
#[derive(Clone, Debug)]
pub struct RestartPolicy {
    strategy: Strategy,
    /// Times of the failures that count, oldest first, in ms.
    failures: Vec<i64>,
    backoff_ms: f64,
}

impl RestartPolicy {
    /// Begins with no failure behind it.
    pub fn new(strategy: Strategy) -> RestartPolicy {
        RestartPolicy { strategy, failures: Vec::new(), backoff_ms: 0.0 }
    }

    /// Takes a failure at `now` (ms); `chance` in `[0, 1)` decides the jitter.
    pub fn on_failure(&mut self, now: i64, chance: f64) -> Decision {
        match self.strategy {
            Strategy::None => Decision::GiveUp("restarts are switched off (recovery.strategy = \"none\")".into()),
            Strategy::FixedDelay { attempts, delay_ms } => {
                self.failures.push(now);
                if self.failures.len() > attempts as usize {
                    return Decision::GiveUp(format!("it was restarted {attempts} times (recovery.attempts)"));
                }
                Decision::RestartAfter(delay_ms)
            }
            Strategy::FailureRate { max_failures_per_interval, interval_ms, delay_ms } => {
                self.failures.push(now);
                let interval = i64::try_from(interval_ms).unwrap_or(i64::MAX);
                self.failures.retain(|failure| now.saturating_sub(*failure) < interval);
                if self.failures.len() > max_failures_per_interval as usize {
                    return Decision::GiveUp(format!(
                        "it failed {} times within {interval_ms} ms (recovery.max_failures_per_interval = {max_failures_per_interval})",
                        self.failures.len()
                    ));
                }
                Decision::RestartAfter(delay_ms)
            }
            Strategy::ExponentialDelay {
                initial_backoff_ms,
                max_backoff_ms,
                backoff_multiplier,
                jitter_factor,
                reset_backoff_threshold_ms,
                attempts,
            } => {
                let quiet = self.failures.last().map(|last| now.saturating_sub(*last));
                let threshold = i64::try_from(reset_backoff_threshold_ms).unwrap_or(i64::MAX);
                // The time of waiting for the restart is no time without failure.
                if quiet.is_none_or(|quiet| quiet >= threshold.saturating_add(self.backoff_ms as i64)) {
                    self.failures.clear();
                    self.backoff_ms = initial_backoff_ms as f64;
                } else {
                    self.backoff_ms = (self.backoff_ms * backoff_multiplier).min(max_backoff_ms as f64);
                }
                self.failures.push(now);
                if let Some(attempts) = attempts
                    && self.failures.len() > attempts as usize
                {
                    return Decision::GiveUp(format!("it was restarted {attempts} times (recovery.attempts)"));
                }
                let jitter = self.backoff_ms * jitter_factor * (2.0 * chance - 1.0);
                let delay = (self.backoff_ms + jitter).clamp(0.0, max_backoff_ms as f64);
                Decision::RestartAfter(delay.round() as u64)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_delay_grows_to_its_maximum_and_falls_back_after_quiet() {
        let mut policy = RestartPolicy::new(Strategy::default());
        let mut now = 0;
        let mut delays = Vec::new();
        for _ in 0..13 {
            let Decision::RestartAfter(delay) = policy.on_failure(now, 0.5) else { panic!("it gave up") };
            delays.push(delay);
            now += 10_000;
        }
        assert_eq!(delays, [1000, 1500, 2250, 3375, 5063, 7594, 11391, 17086, 25629, 38443, 57665, 60000, 60000]);
        now += 3_600_000 + 60_000;
        assert_eq!(policy.on_failure(now, 0.5), Decision::RestartAfter(1000));
    }

    #[test]
    fn jitter_stays_within_its_share() {
        for chance in [0.0, 0.25, 0.999] {
            let mut policy = RestartPolicy::new(Strategy::default());
            let Decision::RestartAfter(delay) = policy.on_failure(0, chance) else { panic!("it gave up") };
            assert!((900..=1100).contains(&delay), "{delay}");
        }
    }

    #[test]
    fn fixed_delay_gives_up_after_its_attempts() {
        let mut policy = RestartPolicy::new(Strategy::FixedDelay { attempts: 2, delay_ms: 7 });
        assert_eq!(policy.on_failure(0, 0.0), Decision::RestartAfter(7));
        assert_eq!(policy.on_failure(1, 0.0), Decision::RestartAfter(7));
        assert!(matches!(policy.on_failure(2, 0.0), Decision::GiveUp(_)));
    }

    #[test]
    fn failure_rate_forgets_old_failures() {
        let strategy = Strategy::FailureRate { max_failures_per_interval: 1, interval_ms: 100, delay_ms: 5 };
        let mut policy = RestartPolicy::new(strategy);
        assert_eq!(policy.on_failure(0, 0.0), Decision::RestartAfter(5));
        assert_eq!(policy.on_failure(100, 0.0), Decision::RestartAfter(5));
        assert!(matches!(policy.on_failure(150, 0.0), Decision::GiveUp(_)));
    }
}
