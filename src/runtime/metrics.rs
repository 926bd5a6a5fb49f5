//! What a running job counts, as Prometheus reads it.
//!
//! Everything follows from the events that the job tells and from its [`Progress`]: nothing on the path of a record counts
//! anything for it. Names and units are those that Prometheus recommends: base units (seconds, bytes), `_total` for what only
//! grows while the process lives.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};

use piton_actors::{WATERMARK_MAX, WATERMARK_MIN};
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::error::{Error, Result};
use crate::invariants::InvariantId;
use crate::runtime::{Event, Progress, Reached};

/// Promises that are looked after while a job runs.
const LOOKED_AFTER: [InvariantId; 3] =
    [InvariantId::HeadNeverBack, InvariantId::CommittedIncreases, InvariantId::CommittedIsDurable];

/// How long checkpoints and restarts take, in s: from a tenth of a ms to a minute.
const SECONDS: [f64; 13] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0];

/// The metrics of one job. See the module.
pub struct Metrics {
    registry: Registry,
    progress: Progress,
    /// Whether the job has started: until then nothing of it is known.
    started: AtomicBool,
    records_in: IntGauge,
    records_out: IntGauge,
    committed: HistogramVec,
    window: IntGaugeVec,
    bytes: IntGaugeVec,
    failed_checkpoints: IntCounterVec,
    restarts: HistogramVec,
    hung: IntCounterVec,
    dead_letters: IntCounterVec,
    broken: IntCounterVec,
    subtasks: Subtasks,
}

/// What is told of each subtask: how far it has come.
struct Subtasks {
    taken: IntCounterVec,
    waiting: IntGaugeVec,
    room: IntGaugeVec,
    watermark: GaugeVec,
}

impl Metrics {
    /// Makes the metrics of a job of this name.
    ///
    /// # Errors
    /// If the metrics contradict each other, which would be a mistake of piton.
    pub fn new(job: &str, progress: &Progress) -> Result<Metrics> {
        let made = Metrics::make(job, progress.clone());
        made.map_err(|error| Error::failed(format!("the metrics could not be made: {error}")))
    }

    fn make(job: &str, progress: Progress) -> prometheus::Result<Metrics> {
        let labels = [("job_name".to_string(), job.to_string())].into_iter().collect();
        let registry = Registry::new_custom(Some("piton".into()), Some(labels))?;
        let seconds = |name: &str, help: &str| HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        let metrics = Metrics {
            records_in: known(
                &registry,
                IntGauge::new(
                    "records_in",
                    "Records that the sources have emitted since the job first began, without what was rolled back.",
                )?,
            )?,
            records_out: known(
                &registry,
                IntGauge::new(
                    "records_out",
                    "Records that the sinks have taken since the job first began, without what was rolled back.",
                )?,
            )?,
            committed: known(
                &registry,
                HistogramVec::new(
                    seconds("checkpoint_duration_seconds", "How long committed checkpoints took from their trigger."),
                    &["region"],
                )?,
            )?,
            window: known(
                &registry,
                IntGaugeVec::new(Opts::new("committed_window", "The newest committed window."), &["region"])?,
            )?,
            bytes: known(
                &registry,
                IntGaugeVec::new(
                    Opts::new("checkpoint_bytes", "How much state the newest committed checkpoint refers to."),
                    &["region"],
                )?,
            )?,
            failed_checkpoints: known(
                &registry,
                IntCounterVec::new(
                    Opts::new("checkpoints_failed_total", "Checkpoints that did not complete."),
                    &["region"],
                )?,
            )?,
            restarts: known(
                &registry,
                HistogramVec::new(
                    seconds(
                        "restart_duration_seconds",
                        "How long restarts took, from the failure until new input was processed.",
                    ),
                    &["region", "operator", "scope", "cause"],
                )?,
            )?,
            hung: known(
                &registry,
                IntCounterVec::new(
                    Opts::new("hung_total", "Calls that got nowhere and were abandoned."),
                    &["region", "operator"],
                )?,
            )?,
            dead_letters: known(
                &registry,
                IntCounterVec::new(
                    Opts::new("dead_letters_total", "Records that were set aside or left out."),
                    &["region", "operator"],
                )?,
            )?,
            broken: known(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "promises_broken_total",
                        "Promises that were broken: anything but 0 is a mistake of piton or of what it stands on.",
                    ),
                    &["invariant"],
                )?,
            )?,
            subtasks: Subtasks::make(&registry)?,
            registry,
            progress,
            started: AtomicBool::new(false),
        };
        for invariant in LOOKED_AFTER {
            metrics.broken.with_label_values(&[invariant.name()]);
        }
        Ok(metrics)
    }

    /// Takes an event of the job.
    pub fn on(&self, event: &Event) {
        match event {
            Event::Committed { region, window, bytes, took_ms } => {
                self.committed.with_label_values(&[region]).observe(*took_ms as f64 / 1e3);
                self.window.with_label_values(&[region]).set(whole(*window));
                self.bytes.with_label_values(&[region]).set(whole(*bytes));
            }
            Event::CheckpointFailed { region, .. } => self.failed_checkpoints.with_label_values(&[region]).inc(),
            Event::Restarted { region, operator, scope, cause, took_ms, .. } => {
                self.restarts.with_label_values(&[region, operator, *scope, *cause]).observe(*took_ms / 1e3);
            }
            Event::Hung { region, operator, .. } => self.hung.with_label_values(&[region, operator]).inc(),
            Event::DeadLetter { region, operator, .. } => {
                self.dead_letters.with_label_values(&[region, operator]).inc();
            }
            Event::Violated { invariant, .. } => self.broken.with_label_values(&[*invariant]).inc(),
            Event::Started { .. } => self.started.store(true, Ordering::Relaxed),
            Event::CheckpointStarted { .. }
            | Event::Acknowledged { .. }
            | Event::Restarting { .. }
            | Event::Escalated { .. }
            | Event::Savepoint { .. }
            | Event::Finished { .. }
            | Event::Failed { .. } => {}
        }
    }

    /// Returns whether the job has started.
    pub fn has_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    /// Returns all of them in the text format of Prometheus (0.0.4).
    ///
    /// # Errors
    /// If they cannot be written so, which would be a mistake of piton.
    pub fn text(&self) -> Result<String> {
        Metrics::text_of([self])
    }

    /// Returns the metrics of several jobs as [`Metrics::text`] does those of one: each metric is told of once, with the
    /// values of all jobs.
    ///
    /// # Errors
    /// As [`Metrics::text`].
    pub fn text_of<'m>(jobs: impl IntoIterator<Item = &'m Metrics>) -> Result<String> {
        let mut families: BTreeMap<String, MetricFamily> = BTreeMap::new();
        for mut family in jobs.into_iter().flat_map(Metrics::gather) {
            match families.entry(family.name().to_string()) {
                Entry::Vacant(place) => drop(place.insert(family)),
                Entry::Occupied(mut place) => place.get_mut().mut_metric().extend(family.take_metric()),
            }
        }
        let families: Vec<MetricFamily> = families.into_values().collect();
        let text = TextEncoder::new().encode_to_string(&families);
        text.map_err(|error| Error::failed(format!("the metrics could not be written: {error}")))
    }

    fn gather(&self) -> Vec<MetricFamily> {
        self.records_in.set(whole(self.progress.records_in()));
        self.records_out.set(whole(self.progress.records_out()));
        self.subtasks.show(&self.progress.reached());
        self.registry.gather()
    }
}

impl Subtasks {
    fn make(registry: &Registry) -> prometheus::Result<Subtasks> {
        let of = &["operator", "subtask"];
        Ok(Subtasks {
            taken: known(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "subtask_records_total",
                        "Records that a subtask has taken from its inputs, or its source has emitted. A restart takes some back.",
                    ),
                    of,
                )?,
            )?,
            waiting: known(
                registry,
                IntGaugeVec::new(Opts::new("subtask_mailbox_batches", "Batches that wait for a subtask."), of)?,
            )?,
            room: known(
                registry,
                IntGaugeVec::new(
                    Opts::new("subtask_mailbox_capacity_batches", "For how many batches there is room."),
                    of,
                )?,
            )?,
            watermark: known(
                registry,
                GaugeVec::new(
                    Opts::new(
                        "subtask_watermark_seconds",
                        "Event time of a subtask, in s since 1970, once it has begun.",
                    ),
                    of,
                )?,
            )?,
        })
    }

    fn show(&self, reached: &[Reached]) {
        for of in reached {
            let labels = &[&*of.operator, &of.subtask.to_string()];
            let taken = self.taken.with_label_values(labels);
            taken.reset();
            taken.inc_by(of.taken.max(of.read));
            self.waiting.with_label_values(labels).set(whole(of.mailbox.0 as u64));
            self.room.with_label_values(labels).set(whole(of.mailbox.1 as u64));
            if ![WATERMARK_MIN, WATERMARK_MAX].contains(&of.watermark) {
                self.watermark.with_label_values(labels).set(of.watermark as f64 / 1e3);
            }
        }
    }
}

/// Makes the registry know of a metric.
fn known<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::ids::{Fence, SubtaskId};
    use crate::runtime::port::Port;
    use crate::runtime::progress::Watched;

    fn metrics() -> Metrics {
        Metrics::new("flights", &Progress::default()).unwrap()
    }

    #[track_caller]
    fn assert_says(metrics: &Metrics, lines: &[&str]) {
        let text = metrics.text().unwrap();
        for line in lines {
            assert!(text.lines().any(|said| said == *line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn promises_are_there_although_none_was_broken() {
        let metrics = metrics();
        let broken = |name: &str, times: u64| {
            format!("piton_promises_broken_total{{invariant=\"{name}\",job_name=\"flights\"}} {times}")
        };
        assert_says(&metrics, &[&broken("head-never-back", 0), &broken("committed-is-durable", 0)]);
        let (region, message) = ("ticks".to_string(), "the head went back".to_string());
        metrics.on(&Event::Violated { region, invariant: InvariantId::HeadNeverBack.name(), message });
        assert_says(&metrics, &[&broken("head-never-back", 1), &broken("committed-is-durable", 0)]);
    }

    #[test]
    fn each_subtask_tells_how_far_it_has_come() {
        let progress = Progress::default();
        let metrics = Metrics::new("flights", &progress).unwrap();
        let watched = |operator: &str, channels| Watched {
            subtask: SubtaskId::new(operator, 1),
            gauges: Arc::default(),
            port: Arc::new(Port::new(Fence::default(), channels, 32)),
        };
        let (source, count) = (watched("ticks", 0), watched("count", 2));
        source.gauges.read.store(70, Ordering::Relaxed);
        source.gauges.watermark.store(WATERMARK_MIN, Ordering::Relaxed);
        count.gauges.taken.store(60, Ordering::Relaxed);
        count.gauges.watermark.store(1_500, Ordering::Relaxed);
        let taken = Arc::clone(&count.gauges);
        progress.watch([source, count]);
        let of = |operator: &str| format!("{{operator=\"{operator}\",subtask=\"1\",job_name=\"flights\"}}");
        assert_says(
            &metrics,
            &[
                "# TYPE piton_subtask_records_total counter",
                &format!("piton_subtask_records_total{} 70", of("ticks")),
                &format!("piton_subtask_records_total{} 60", of("count")),
                &format!("piton_subtask_mailbox_capacity_batches{} 64", of("count")),
                &format!("piton_subtask_watermark_seconds{} 1.5", of("count")),
            ],
        );
        assert!(!metrics.text().unwrap().contains(&format!("watermark_seconds{}", of("ticks"))), "it has none");
        taken.taken.store(10, Ordering::Relaxed);
        assert_says(&metrics, &[&format!("piton_subtask_records_total{} 10", of("count"))]);
    }

    #[test]
    fn what_happens_is_counted_and_timed() {
        let metrics = metrics();
        let region = || "ticks".to_string();
        metrics.on(&Event::Committed { region: region(), window: 7, bytes: 300, took_ms: 20 });
        metrics.on(&Event::Committed { region: region(), window: 9, bytes: 500, took_ms: 2_000 });
        let (operator, reason) = ("count".to_string(), "boom".to_string());
        metrics.on(&Event::DeadLetter {
            region: region(),
            operator: operator.clone(),
            subtask: 0,
            reason: reason.clone(),
        });
        metrics.on(&Event::Restarted {
            region: region(),
            operator,
            subtask: Some(0),
            scope: "batch",
            attempt: 1,
            window: 9,
            replayed: 0,
            restore_ms: 0.0,
            replay_ms: 0.0,
            took_ms: 0.2,
            cause: "panic",
            reason,
        });
        let of = "job_name=\"flights\"";
        let restart = format!("cause=\"panic\",operator=\"count\",region=\"ticks\",scope=\"batch\",{of}");
        assert_says(
            &metrics,
            &[
                &format!("piton_committed_window{{region=\"ticks\",{of}}} 9"),
                &format!("piton_checkpoint_bytes{{region=\"ticks\",{of}}} 500"),
                &format!("piton_checkpoint_duration_seconds_count{{region=\"ticks\",{of}}} 2"),
                &format!("piton_checkpoint_duration_seconds_bucket{{region=\"ticks\",{of},le=\"0.05\"}} 1"),
                &format!("piton_dead_letters_total{{operator=\"count\",region=\"ticks\",{of}}} 1"),
                &format!("piton_restart_duration_seconds_bucket{{{restart},le=\"0.0001\"}} 0"),
                &format!("piton_restart_duration_seconds_bucket{{{restart},le=\"0.0005\"}} 1"),
                &format!("piton_records_in{{{of}}} 0"),
            ],
        );
    }

    /// A dashboard that asks for what is not there shows nothing, and says nothing either.
    #[test]
    fn the_dashboard_shows_every_metric_and_no_other() {
        let metrics = metrics();
        // What is only there once something has happened.
        metrics.on(&Event::Committed { region: "ticks".into(), window: 7, bytes: 300, took_ms: 20 });
        metrics.failed_checkpoints.with_label_values(&["ticks"]);
        metrics.restarts.with_label_values(&["ticks", "count", "batch", "panic"]);
        metrics.hung.with_label_values(&["ticks", "count"]);
        metrics.dead_letters.with_label_values(&["ticks", "count"]);
        metrics.subtasks.taken.with_label_values(&["count", "0"]);
        metrics.subtasks.waiting.with_label_values(&["count", "0"]);
        metrics.subtasks.room.with_label_values(&["count", "0"]);
        metrics.subtasks.watermark.with_label_values(&["count", "0"]);
        let text = metrics.text().unwrap();
        let served: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let dashboard: serde_json::Value = serde_json::from_str(include_str!("../../packaging/grafana.json")).unwrap();
        let mut shown = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let words =
                    target["expr"].as_str().unwrap().split(|letter: char| letter != '_' && !letter.is_alphanumeric());
                shown.extend(words.filter(|word| word.starts_with("piton_")));
            }
        }
        let parts = ["_bucket", "_count", "_sum"];
        let shown: BTreeSet<String> = shown
            .into_iter()
            .map(|name| {
                let short =
                    parts.iter().find_map(|part| name.strip_suffix(part)).filter(|short| served.contains(short));
                short.unwrap_or(name).to_string()
            })
            .collect();
        let served: BTreeSet<String> = served.into_iter().map(str::to_string).collect();
        assert_eq!(shown, served);
        assert!(served.len() > 10, "{served:?}");
    }
}
