//! Rules that hold between settings. Each message says what to change.

use std::path::Path;

use crate::config::checkpoint::{Alignment, Mode};
use crate::config::layers::Layered;
use crate::config::problem::Problems;
use crate::config::recovery::{OnPoison, Scope, Strategy};
use crate::config::settings::Settings;

/// The most key groups there can be: beyond it the bookkeeping costs more than a finer division is worth.
pub(crate) const MAX_KEY_GROUPS: u32 = 32_768;

/// Notes everything that does not go together.
pub(crate) fn check(settings: &Settings, layered: &Layered<'_>, problems: &mut Problems) {
    check_name(&settings.job.name, problems);
    check_minimums(settings, problems);
    check_checkpoint(settings, problems);
    check_recovery(settings, layered, problems);
    check_chaos(settings, layered, problems);
    let http = &settings.http;
    if let Some(token) = &http.token
        && (token.trim() != token || !token.chars().all(|letter| letter == ' ' || letter.is_ascii_graphic()))
    {
        let message = "nobody can send this token: use letters, digits and signs of ASCII, without spaces around them";
        problems.value("http.token", message.to_string());
    }
    if http.tls.is_some() && !cfg!(feature = "tls") {
        problems.value("http.tls", "this program was built without TLS; build it with the feature `tls`");
    }
    if let Some(listen) = &http.listen
        && !listen.0.ip().is_loopback()
        && http.token.as_deref().unwrap_or_default().is_empty()
    {
        let message = format!("listening on {} needs a token: set http.token, or listen on loopback", listen.0.ip());
        problems.value("http.listen", message);
    }
}

/// Returns the name that a job has which does not give itself one.
pub(crate) fn default_name(path: &Path) -> String {
    path.file_stem().map_or_else(|| "job".to_string(), |stem| stem.to_string_lossy().into_owned())
}

fn check_name(name: &str, problems: &mut Problems) {
    // The name becomes that of a folder.
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
        problems.value("job.name", format!("job name \"{name}\" cannot be the name of a folder; set job.name"));
    }
}

fn check_minimums(settings: &Settings, problems: &mut Problems) {
    let Settings { job, window, checkpoint, recovery, mailbox, .. } = settings;
    for (path, number) in [
        ("job.parallelism", u64::from(job.parallelism)),
        ("job.key_groups", u64::from(job.key_groups)),
        ("checkpoint.max_concurrent", u64::from(checkpoint.max_concurrent)),
        ("checkpoint.retain", u64::from(checkpoint.retain)),
        ("mailbox.capacity", mailbox.capacity as u64),
        ("mailbox.batch", mailbox.batch as u64),
        ("recovery.poison_after", u64::from(recovery.poison_after)),
    ] {
        if number == 0 {
            problems.value(path, format!("{path} must be at least 1"));
        }
    }
    for (path, time) in [
        ("window.interval", window.interval),
        ("checkpoint.interval", checkpoint.interval),
        ("checkpoint.timeout", checkpoint.timeout),
        ("recovery.hang_timeout", recovery.hang_timeout),
    ] {
        if time.is_zero() {
            problems.value(path, format!("{path} must be longer than 0s"));
        }
    }
    if job.key_groups > MAX_KEY_GROUPS {
        problems.value("job.key_groups", format!("job.key_groups must be at most {MAX_KEY_GROUPS}"));
    }
    if job.key_groups != 0 && job.key_groups < job.parallelism {
        let message = format!(
            "job.key_groups ({}) is less than job.parallelism ({}), so some subtasks would own no key; raise key_groups",
            job.key_groups, job.parallelism
        );
        problems.value("job.key_groups", message);
    }
}

fn check_checkpoint(settings: &Settings, problems: &mut Problems) {
    let checkpoint = &settings.checkpoint;
    let interval = checkpoint.interval;
    if checkpoint.alignment == Alignment::Unaligned || checkpoint.aligned_timeout.is_some() {
        let path = match checkpoint.alignment {
            Alignment::Unaligned => "checkpoint.alignment",
            Alignment::Aligned => "checkpoint.aligned_timeout",
        };
        if checkpoint.max_concurrent > 1 {
            problems.value(path, "unaligned checkpoints are taken one at a time; set checkpoint.max_concurrent = 1");
        } else if checkpoint.mode == Mode::AtLeastOnce {
            problems.value(path, "unaligned checkpoints need checkpoint.mode = \"exactly-once\"");
        }
    }
    if checkpoint.min_pause > interval {
        let message = format!(
            "checkpoint.min_pause ({}) is longer than checkpoint.interval ({interval}), so the interval never counts",
            checkpoint.min_pause
        );
        problems.warn("checkpoint.min_pause", message);
    }
    if !checkpoint.min_pause.is_zero() && checkpoint.max_concurrent > 1 {
        let message = "checkpoint.min_pause lets no two checkpoints overlap, so checkpoint.max_concurrent never counts";
        problems.warn("checkpoint.min_pause", message);
    }
    if !checkpoint.timeout.is_zero() && checkpoint.timeout < interval {
        let message = format!(
            "checkpoint.timeout ({}) is shorter than checkpoint.interval ({interval}): is the unit right?",
            checkpoint.timeout
        );
        problems.warn("checkpoint.timeout", message);
    }
}

fn check_chaos(settings: &Settings, layered: &Layered<'_>, problems: &mut Problems) {
    let chaos = &settings.chaos;
    if chaos.mean_interval.is_zero() {
        problems.value("chaos.mean_interval", "chaos.mean_interval must be longer than 0s");
    }
    let (duration, warmup) = (chaos.duration, chaos.warmup);
    let draws = !chaos.weights.is_nothing();
    if duration.is_zero() {
        problems.value("chaos.duration", "chaos.duration must be longer than 0s");
    } else if draws && chaos.at.is_empty() && warmup >= duration {
        let path = if layered.is_given("chaos.warmup") { "chaos.warmup" } else { "chaos.duration" };
        let message = format!(
            "no fault falls within {duration} (chaos.duration): the first {warmup} are for the job to warm up \
             (chaos.warmup); give it more time, or a shorter warm-up"
        );
        problems.value(path, message);
    }
    if !draws && chaos.at.is_empty() {
        let message = "no fault can happen: every weight in [chaos.weights] is 0, and there is no [[chaos.at]]";
        problems.key("chaos.weights", message);
    }
    if chaos.max_concurrent_faults == 0 {
        problems.value("chaos.max_concurrent_faults", "chaos.max_concurrent_faults must be at least 1");
    }
    if chaos.targets.is_empty() {
        problems.value("chaos.targets", "chaos.targets names nobody; write [\"*\"] for all");
    }
    let (mode, output) = (settings.checkpoint.mode, chaos.expect.output);
    if mode == Mode::AtLeastOnce && output == Mode::ExactlyOnce && layered.is_given("chaos.expect.output") {
        let message = "chaos.expect.output cannot be \"exactly-once\" with checkpoint.mode = \"at-least-once\": rows may \
                       come twice";
        problems.value("chaos.expect.output", message);
    }
}

fn check_recovery(settings: &Settings, layered: &Layered<'_>, problems: &mut Problems) {
    let recovery = &settings.recovery;
    if recovery.journal > recovery.journal_total {
        let message = format!(
            "recovery.journal ({}) is more than recovery.journal_total ({}) lets all subtasks have together",
            recovery.journal, recovery.journal_total
        );
        problems.value("recovery.journal", message);
    }
    if recovery.on_poison != OnPoison::Fail && matches!(recovery.scope, Scope::Region | Scope::Job) {
        let message = "recovery.on_poison has no effect with this recovery.scope: a row is known to be poison only where \
                       \"batch\" or \"operator\" is tried first";
        problems.warn("recovery.on_poison", message);
    }
    if recovery.backoff_multiplier < 1.0 || !recovery.backoff_multiplier.is_finite() {
        problems.value("recovery.backoff_multiplier", "recovery.backoff_multiplier must be at least 1");
    }
    if !(0.0..=1.0).contains(&recovery.jitter_factor) {
        problems.value("recovery.jitter_factor", "recovery.jitter_factor must be between 0 and 1");
    }
    if recovery.initial_backoff > recovery.max_backoff {
        let message = format!(
            "recovery.initial_backoff ({}) is longer than recovery.max_backoff ({})",
            recovery.initial_backoff, recovery.max_backoff
        );
        problems.value("recovery.initial_backoff", message);
    }
    use Strategy::{ExponentialDelay, FailureRate, FixedDelay};
    for (option, owners) in [
        ("initial_backoff", &[ExponentialDelay][..]),
        ("max_backoff", &[ExponentialDelay]),
        ("backoff_multiplier", &[ExponentialDelay]),
        ("reset_backoff_threshold", &[ExponentialDelay]),
        ("jitter_factor", &[ExponentialDelay]),
        ("attempts_before_reset_backoff", &[ExponentialDelay]),
        ("attempts", &[FixedDelay]),
        ("delay", &[FixedDelay, FailureRate]),
        ("max_failures_per_interval", &[FailureRate]),
        ("failure_rate_interval", &[FailureRate]),
    ] {
        let path = format!("recovery.{option}");
        if !owners.contains(&recovery.strategy) && layered.is_given(&path) {
            let owners: Vec<String> = owners.iter().map(|owner| format!("\"{owner}\"")).collect();
            let message = format!(
                "{path} belongs to strategy {}, but the strategy is \"{}\": it has no effect",
                owners.join(" or "),
                recovery.strategy
            );
            problems.warn(path, message);
        }
    }
}
