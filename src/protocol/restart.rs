//! When a failed region may start again: the restart strategies of the configuration, carried out.

use crate::config::{Limit, RestartStrategy};

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
    strategy: RestartStrategy,
    /// Times of the failures that count, oldest first, in ms.
    failures: Vec<i64>,
    backoff_ms: f64,
}

impl RestartPolicy {
    /// Begins with no failure behind it.
    pub fn new(strategy: RestartStrategy) -> RestartPolicy {
        RestartPolicy { strategy, failures: Vec::new(), backoff_ms: 0.0 }
    }

    /// Takes a failure at `now` (ms); `chance` in `[0, 1)` decides the jitter.
    pub fn on_failure(&mut self, now: i64, chance: f64) -> Decision {
        match self.strategy {
            RestartStrategy::None => {
                Decision::GiveUp("restarts are switched off (recovery.strategy = \"none\")".into())
            }
            RestartStrategy::FixedDelay { attempts, delay } => {
                self.failures.push(now);
                if let Some(attempts) = self.used_up(attempts) {
                    return Decision::GiveUp(format!("it was restarted {attempts} times (recovery.attempts)"));
                }
                Decision::RestartAfter(delay.millis())
            }
            RestartStrategy::FailureRate { max_failures, interval, delay } => {
                self.failures.push(now);
                let length = i64::try_from(interval.millis()).unwrap_or(i64::MAX);
                self.failures.retain(|failure| now.saturating_sub(*failure) < length);
                if self.failures.len() > max_failures as usize {
                    return Decision::GiveUp(format!(
                        "it failed {} times within {interval} (recovery.max_failures_per_interval = {max_failures})",
                        self.failures.len()
                    ));
                }
                Decision::RestartAfter(delay.millis())
            }
            RestartStrategy::ExponentialDelay { initial, max, multiplier, reset_after, jitter, attempts } => {
                let quiet = self.failures.last().map(|last| now.saturating_sub(*last));
                let threshold = i64::try_from(reset_after.millis()).unwrap_or(i64::MAX);
                let max = max.millis() as f64;
                // The time of waiting for the restart is no time without failure.
                if quiet.is_none_or(|quiet| quiet >= threshold.saturating_add(self.backoff_ms as i64)) {
                    self.failures.clear();
                    self.backoff_ms = initial.millis() as f64;
                } else {
                    self.backoff_ms = (self.backoff_ms * multiplier).min(max);
                }
                self.failures.push(now);
                if let Some(attempts) = self.used_up(attempts) {
                    return Decision::GiveUp(format!(
                        "it was restarted {attempts} times (recovery.attempts_before_reset_backoff)"
                    ));
                }
                let jitter = self.backoff_ms * jitter * (2.0 * chance - 1.0);
                Decision::RestartAfter((self.backoff_ms + jitter).clamp(0.0, max).round() as u64)
            }
        }
    }

    /// Returns how many restarts there may be, if there were as many.
    fn used_up(&self, attempts: Limit) -> Option<u32> {
        match attempts {
            Limit::Of(attempts) if self.failures.len() > attempts as usize => Some(attempts),
            Limit::Of(_) | Limit::Unlimited => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Duration;

    #[test]
    fn exponential_delay_grows_to_its_maximum_and_falls_back_after_quiet() {
        let mut policy = RestartPolicy::new(RestartStrategy::default());
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
            let mut policy = RestartPolicy::new(RestartStrategy::default());
            let Decision::RestartAfter(delay) = policy.on_failure(0, chance) else { panic!("it gave up") };
            assert!((900..=1100).contains(&delay), "{delay}");
        }
    }

    #[test]
    fn fixed_delay_gives_up_after_its_attempts() {
        let mut policy =
            RestartPolicy::new(RestartStrategy::FixedDelay { attempts: Limit::Of(2), delay: Duration::from_millis(7) });
        assert_eq!(policy.on_failure(0, 0.0), Decision::RestartAfter(7));
        assert_eq!(policy.on_failure(1, 0.0), Decision::RestartAfter(7));
        assert!(matches!(policy.on_failure(2, 0.0), Decision::GiveUp(_)));
    }

    #[test]
    fn failure_rate_forgets_old_failures() {
        let strategy = RestartStrategy::FailureRate {
            max_failures: 1,
            interval: Duration::from_millis(100),
            delay: Duration::from_millis(5),
        };
        let mut policy = RestartPolicy::new(strategy);
        assert_eq!(policy.on_failure(0, 0.0), Decision::RestartAfter(5));
        assert_eq!(policy.on_failure(100, 0.0), Decision::RestartAfter(5));
        assert!(matches!(policy.on_failure(150, 0.0), Decision::GiveUp(_)));
    }

    #[test]
    fn without_a_limit_there_is_always_another_restart() {
        let delay = Duration::from_millis(3);
        let mut policy = RestartPolicy::new(RestartStrategy::FixedDelay { attempts: Limit::Unlimited, delay });
        for now in 0..1_000 {
            assert_eq!(policy.on_failure(now, 0.0), Decision::RestartAfter(3));
        }
    }
}
