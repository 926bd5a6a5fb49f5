//! `[recovery]`: what happens after a failure. Policy is data; what acts on it is elsewhere.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::units::{Bytes, Duration, Limit};

/// `[recovery]`: what happens after a failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecoverySettings {
    /// From where a job starts: `"latest"` committed window, `"none"` (from nothing), or the id of a checkpoint or
    /// savepoint.
    pub resume: Resume,
    /// The smallest thing that is tried first: `"batch"` (undo it and run it again), `"operator"` (restore its last
    /// snapshot and replay its journal), `"region"` (roll it back to the last committed window) or `"job"`.
    pub scope: Scope,
    /// How much of its input a subtask keeps to replay after a failure. Beyond it, a failure rolls the region back. Nothing
    /// is kept from a source to a sink in one chain, if one can go back and the other commits: it is read again.
    pub journal: Bytes,
    /// How much the journals of a process may hold together.
    pub journal_total: Bytes,
    /// How long a call of an operator, source or sink may get nowhere before it is abandoned, and what was called
    /// restarted on another thread. An operator gets somewhere with every record.
    pub hang_timeout: Duration,
    /// How often a row may fail before it is poison.
    pub poison_after: u32,
    /// What happens to a row that is poison: the job fails, or the row is set aside (`"dead-letter"`) or left out
    /// (`"skip"`).
    pub on_poison: OnPoison,
    /// When a region is restarted, and when no more: `"exponential-delay"`, `"fixed-delay"`, `"failure-rate"` or
    /// `"none"`. Batches and operators are restarted at once.
    pub strategy: Strategy,
    /// exponential-delay: the first delay.
    pub initial_backoff: Duration,
    /// exponential-delay: the longest delay.
    pub max_backoff: Duration,
    /// exponential-delay: what the delay is multiplied by after each failure.
    pub backoff_multiplier: f64,
    /// exponential-delay: after how long without a failure the delay is the first one again.
    pub reset_backoff_threshold: Duration,
    /// exponential-delay: by what part of itself the delay varies at random.
    pub jitter_factor: f64,
    /// exponential-delay: how many restarts there may be before the delay was reset: a number or `"unlimited"`.
    pub attempts_before_reset_backoff: Limit,
    /// fixed-delay: how many restarts there may be: a number or `"unlimited"`.
    pub attempts: Limit,
    /// fixed-delay and failure-rate: the delay.
    pub delay: Duration,
    /// failure-rate: how many failures there may be in one interval.
    pub max_failures_per_interval: u32,
    /// failure-rate: the interval.
    pub failure_rate_interval: Duration,
}

impl Default for RecoverySettings {
    fn default() -> Self {
        RecoverySettings {
            resume: Resume::Latest,
            scope: Scope::Batch,
            journal: Bytes::from_mib(64),
            journal_total: Bytes::from_mib(1024),
            hang_timeout: Duration::from_secs(5),
            poison_after: 3,
            on_poison: OnPoison::Fail,
            strategy: Strategy::ExponentialDelay,
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(60),
            backoff_multiplier: 1.5,
            reset_backoff_threshold: Duration::from_secs(3600),
            jitter_factor: 0.1,
            attempts_before_reset_backoff: Limit::Unlimited,
            attempts: Limit::Of(1),
            delay: Duration::from_secs(1),
            max_failures_per_interval: 1,
            failure_rate_interval: Duration::from_secs(60),
        }
    }
}

impl RecoverySettings {
    /// Returns the strategy together with the parameters that are its own.
    pub fn restart(&self) -> RestartStrategy {
        match self.strategy {
            Strategy::None => RestartStrategy::None,
            Strategy::FixedDelay => RestartStrategy::FixedDelay { attempts: self.attempts, delay: self.delay },
            Strategy::FailureRate => RestartStrategy::FailureRate {
                max_failures: self.max_failures_per_interval,
                interval: self.failure_rate_interval,
                delay: self.delay,
            },
            Strategy::ExponentialDelay => RestartStrategy::ExponentialDelay {
                initial: self.initial_backoff,
                max: self.max_backoff,
                multiplier: self.backoff_multiplier,
                reset_after: self.reset_backoff_threshold,
                jitter: self.jitter_factor,
                attempts: self.attempts_before_reset_backoff,
            },
        }
    }
}

/// From where a job starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Resume {
    /// From the latest committed window, or from nothing if there is none.
    #[default]
    Latest,
    /// From nothing.
    None,
    /// From this checkpoint or savepoint.
    Id(String),
}

impl From<String> for Resume {
    fn from(text: String) -> Resume {
        match text.as_str() {
            "latest" => Resume::Latest,
            "none" => Resume::None,
            _ => Resume::Id(text),
        }
    }
}

impl From<Resume> for String {
    fn from(resume: Resume) -> String {
        resume.to_string()
    }
}

impl fmt::Display for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Resume::Latest => "latest",
            Resume::None => "none",
            Resume::Id(id) => id,
        })
    }
}

/// The smallest thing that is tried first. Ordered: a later one takes more with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Undo the batch and run it again.
    #[default]
    Batch,
    /// Restore the operator and replay its journal.
    Operator,
    /// Roll the region back to the last committed window.
    Region,
    /// Roll every region back.
    Job,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::Batch => "batch",
            Scope::Operator => "operator",
            Scope::Region => "region",
            Scope::Job => "job",
        })
    }
}

/// What happens to a row that is poison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnPoison {
    /// The job fails.
    #[default]
    Fail,
    /// It is kept where `piton deadletters` shows it.
    DeadLetter,
    /// It is left out.
    Skip,
}

/// The name of a restart strategy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// With a delay that grows.
    #[default]
    ExponentialDelay,
    /// A number of times, with the same delay.
    FixedDelay,
    /// Unless there are too many failures in an interval.
    FailureRate,
    /// Never.
    None,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Strategy::ExponentialDelay => "exponential-delay",
            Strategy::FixedDelay => "fixed-delay",
            Strategy::FailureRate => "failure-rate",
            Strategy::None => "none",
        })
    }
}

/// A restart strategy with its parameters. Names, meaning and defaults are Flink's.
#[derive(Clone, Debug, PartialEq)]
pub enum RestartStrategy {
    /// No restart.
    None,
    /// So many restarts, each after the same delay.
    FixedDelay {
        /// How many.
        attempts: Limit,
        /// The delay.
        delay: Duration,
    },
    /// Restarts, unless there are too many failures.
    FailureRate {
        /// How many failures there may be in one interval.
        max_failures: u32,
        /// The interval.
        interval: Duration,
        /// The delay before each restart.
        delay: Duration,
    },
    /// Restarts after a delay that grows.
    ExponentialDelay {
        /// The first delay.
        initial: Duration,
        /// The longest delay.
        max: Duration,
        /// What the delay is multiplied by after each failure.
        multiplier: f64,
        /// After how long without a failure the delay is the first one again.
        reset_after: Duration,
        /// By what part of itself the delay varies at random.
        jitter: f64,
        /// How many restarts there may be before a reset.
        attempts: Limit,
    },
}

impl Default for RestartStrategy {
    fn default() -> Self {
        RecoverySettings::default().restart()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_takes_only_its_own_parameters() {
        let mut recovery = RecoverySettings::default();
        assert!(matches!(
            recovery.restart(),
            RestartStrategy::ExponentialDelay { attempts: Limit::Unlimited, jitter: 0.1, .. }
        ));
        recovery.strategy = Strategy::FixedDelay;
        let delay = Duration::from_secs(1);
        assert_eq!(recovery.restart(), RestartStrategy::FixedDelay { attempts: Limit::Of(1), delay });
        recovery.strategy = Strategy::FailureRate;
        let interval = Duration::from_secs(60);
        assert_eq!(recovery.restart(), RestartStrategy::FailureRate { max_failures: 1, interval, delay });
    }
}
