//! Spans from the events of a job. Each checkpoint and each restart is a trace of its own, and refers to the job's: a job may run
//! for months, and a trace is looked at when it has ended.
//!
//! ```text
//! job                start
//! checkpoint         cut and write of each subtask, commit
//! restart            restore, replay
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::global::{BoxedSpan, BoxedTracer, tracer};
use opentelemetry::trace::{Link, Span as _, SpanContext, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};

use crate::clock::Clock;
use crate::runtime::{Event, Part};

/// How many steps of a failure are kept until something has restarted.
const STEPS: usize = 16;

/// The spans of one run of one job. What has not ended when it is dropped ends then.
pub(in crate::cli) struct Spans {
    tracer: BoxedTracer,
    clock: Clock,
    name: String,
    job: BoxedSpan,
    start: Option<BoxedSpan>,
    /// Those under way, by region and window.
    checkpoints: BTreeMap<(String, u64), Checkpoint>,
    /// Since when regions are down, and why.
    down: BTreeMap<String, (i64, String)>,
    /// What was tried since a region's last restart.
    steps: BTreeMap<String, Vec<(i64, &'static str, String)>>,
}

/// A checkpoint that is under way.
struct Checkpoint {
    span: BoxedSpan,
    triggered_ms: i64,
    /// When the newest of its parts was durable.
    newest_ms: i64,
}

impl Spans {
    /// Begins that of a job, which is about to start.
    pub(in crate::cli) fn begin(job: &str, clock: &Clock) -> Spans {
        let (tracer, now) = (tracer("piton"), clock.now());
        let builder = tracer.span_builder("job").with_start_time(at(now)).with_attributes([text("piton.job", job)]);
        let span = tracer.build_with_context(builder, &Context::new());
        let mut spans = Spans {
            tracer,
            clock: clock.clone(),
            name: job.into(),
            job: span,
            start: None,
            checkpoints: BTreeMap::new(),
            down: BTreeMap::new(),
            steps: BTreeMap::new(),
        };
        spans.start = Some(spans.child(spans.job.span_context(), "start", now, Vec::new()));
        spans
    }

    /// Takes an event of the job.
    pub(in crate::cli) fn on(&mut self, event: &Event) {
        let now = self.clock.now();
        match event {
            Event::Started { incarnation, resumed_from, .. } => {
                let Some(mut start) = self.start.take() else { return };
                start.set_attribute(number("piton.incarnation", *incarnation));
                for (region, window) in resumed_from {
                    let of = vec![text("piton.region", region), number("piton.window", *window)];
                    start.add_event_with_timestamp("continued from the last committed window", at(now), of);
                }
                start.end_with_timestamp(at(now));
            }
            Event::CheckpointStarted { region, window } => {
                let attributes = vec![text("piton.region", region), number("piton.window", *window)];
                let span = self.root("checkpoint", now, attributes);
                let checkpoint = Checkpoint { span, triggered_ms: now, newest_ms: now };
                self.checkpoints.insert((region.clone(), *window), checkpoint);
            }
            Event::Acknowledged { region, window, part } => self.acknowledged(region, *window, part),
            Event::Committed { region, window, bytes, .. } => {
                let key = (region.clone(), *window);
                let Some(Checkpoint { mut span, newest_ms, .. }) = self.checkpoints.remove(&key) else { return };
                let mut commit = self.child(span.span_context(), "commit", newest_ms, Vec::new());
                commit.end_with_timestamp(at(now.max(newest_ms)));
                span.set_attribute(number("piton.bytes", *bytes));
                span.end_with_timestamp(at(now.max(newest_ms)));
            }
            Event::CheckpointFailed { region, window, reason, operator } => {
                let key = (region.clone(), *window);
                let Some(Checkpoint { mut span, newest_ms, .. }) = self.checkpoints.remove(&key) else { return };
                if let Some(operator) = operator {
                    span.set_attribute(text("piton.operator", operator));
                }
                span.set_status(Status::error(reason.clone()));
                span.end_with_timestamp(at(now.max(newest_ms)));
            }
            Event::Restarting { region, reason } => {
                self.down.insert(region.clone(), (now, reason.clone()));
            }
            Event::Escalated { region, from, to, reason, .. } => {
                self.step(region, now, "escalated", format!("{from} → {to}: {reason}"));
            }
            Event::Hung { region, operator, subtask } => {
                self.step(region, now, "hung", format!("{operator}[{subtask}]"));
            }
            Event::Restarted { .. } => self.restarted(event, now),
            Event::DeadLetter { operator, reason, .. } => {
                let of = vec![text("piton.operator", operator), text("piton.reason", reason)];
                self.job.add_event_with_timestamp("dead letter", at(now), of);
            }
            Event::Savepoint { name, window, .. } => {
                let of = vec![text("piton.savepoint", name), number("piton.window", *window)];
                self.job.add_event_with_timestamp("savepoint", at(now), of);
            }
            Event::Violated { invariant, message, .. } => {
                let of = vec![text("piton.invariant", invariant), text("piton.reason", message)];
                self.job.add_event_with_timestamp("a promise was broken", at(now), of);
            }
            Event::Finished { records_in, records_out, .. } => {
                self.job.set_attribute(number("piton.records_in", *records_in));
                self.job.set_attribute(number("piton.records_out", *records_out));
                self.end(now, None);
            }
            Event::Failed { reason } => self.end(now, Some(reason)),
        }
    }

    fn acknowledged(&mut self, region: &str, window: u64, part: &Part) {
        let Some(under_way) = self.checkpoints.get_mut(&(region.to_string(), window)) else { return };
        // A subtask goes by when its turn began, and that may have been before the checkpoint did.
        let heard = part.heard_ms.max(under_way.triggered_ms);
        let taken = part.taken_ms.max(heard);
        let durable = part.acknowledged_ms.max(taken);
        under_way.newest_ms = under_way.newest_ms.max(durable);
        let checkpoint = under_way.span.span_context().clone();
        let of = || vec![text("piton.operator", &part.operator), number("piton.subtask", u64::from(part.subtask))];
        let mut attributes = of();
        attributes.push(KeyValue::new("piton.alignment_ms", part.aligned_ms.saturating_sub(heard).max(0)));
        attributes.push(KeyValue::new("piton.unaligned", part.unaligned));
        self.child(&checkpoint, "cut", heard, attributes).end_with_timestamp(at(taken));
        let mut attributes = of();
        attributes.push(number("piton.bytes", part.fresh));
        self.child(&checkpoint, "write", taken, attributes).end_with_timestamp(at(durable));
    }

    fn restarted(&mut self, event: &Event, now: i64) {
        let Event::Restarted {
            region,
            operator,
            subtask,
            scope,
            attempt,
            window,
            replayed,
            restore_ms,
            replay_ms,
            took_ms,
            cause,
            reason,
        } = event
        else {
            return;
        };
        let mut attributes = vec![
            text("piton.rung", scope),
            text("piton.region", region),
            text("piton.operator", operator),
            number("piton.attempt", *attempt),
            number("piton.window", *window),
            number("piton.replayed", *replayed),
            text("piton.cause", cause),
            text("piton.reason", reason),
        ];
        attributes.extend(subtask.map(|subtask| number("piton.subtask", u64::from(subtask))));
        let before = |ms: f64| at(now).checked_sub(Duration::from_secs_f64(ms.max(0.0) / 1e3)).unwrap_or(UNIX_EPOCH);
        let mut span = self.root_at("restart", before(*took_ms), attributes);
        for (when, what, said) in self.steps.remove(region).unwrap_or_default() {
            span.add_event_with_timestamp(what, at(when), vec![text("piton.reason", &said)]);
        }
        let restart = span.span_context().clone();
        let mut restore = self.child_at(&restart, "restore", before(restore_ms + replay_ms), Vec::new());
        restore.end_with_timestamp(before(*replay_ms));
        if *replayed > 0 {
            self.child_at(&restart, "replay", before(*replay_ms), Vec::new()).end_with_timestamp(at(now));
        }
        span.end_with_timestamp(at(now));
        if *scope == "region" {
            self.down.remove(region);
        }
    }

    fn step(&mut self, region: &str, now: i64, what: &'static str, said: String) {
        let steps = self.steps.entry(region.to_string()).or_default();
        if steps.len() < STEPS {
            steps.push((now, what, said));
        }
    }

    fn end(&mut self, now: i64, failure: Option<&String>) {
        for Checkpoint { mut span, newest_ms, .. } in std::mem::take(&mut self.checkpoints).into_values() {
            span.set_status(Status::error("the job has ended before it was committed"));
            span.end_with_timestamp(at(now.max(newest_ms)));
        }
        for (region, (since, reason)) in std::mem::take(&mut self.down) {
            let attributes =
                vec![text("piton.rung", "region"), text("piton.region", &region), text("piton.reason", &reason)];
            let mut span = self.root("restart", since, attributes);
            span.set_status(Status::error("it has not run again"));
            span.end_with_timestamp(at(now));
        }
        for span in [&mut self.job].into_iter().chain(&mut self.start) {
            if let Some(failure) = failure {
                span.set_status(Status::error(failure.clone()));
            }
            span.end_with_timestamp(at(now));
        }
    }

    /// Begins a trace that refers to the job's.
    fn root(&self, name: &'static str, since: i64, attributes: Vec<KeyValue>) -> BoxedSpan {
        self.root_at(name, at(since), attributes)
    }

    fn root_at(&self, name: &'static str, since: SystemTime, mut attributes: Vec<KeyValue>) -> BoxedSpan {
        attributes.push(text("piton.job", &self.name));
        let builder = self.tracer.span_builder(name).with_start_time(since).with_attributes(attributes);
        let builder = builder.with_links(vec![Link::with_context(self.job.span_context().clone())]);
        self.tracer.build_with_context(builder, &Context::new())
    }

    fn child(&self, of: &SpanContext, name: &'static str, since: i64, attributes: Vec<KeyValue>) -> BoxedSpan {
        self.child_at(of, name, at(since), attributes)
    }

    fn child_at(
        &self,
        of: &SpanContext,
        name: &'static str,
        since: SystemTime,
        attributes: Vec<KeyValue>,
    ) -> BoxedSpan {
        let builder = self.tracer.span_builder(name).with_start_time(since).with_attributes(attributes);
        self.tracer.build_with_context(builder, &Context::new().with_remote_span_context(of.clone()))
    }
}

/// Returns a time in ms since 1970 as the exporter has it.
fn at(ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

fn text(key: &'static str, value: &str) -> KeyValue {
    KeyValue::new(key, value.to_string())
}

fn number(key: &'static str, value: u64) -> KeyValue {
    KeyValue::new(key, i64::try_from(value).unwrap_or(i64::MAX))
}
