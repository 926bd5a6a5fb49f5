//! What is said of a job: from its plan, and from what it has told of itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::config::{Alignment, Limit, Mode, OnCancel, Settings};
use crate::http::checkpoints::{Checkpoints, state_of};
use crate::http::history::History;
use crate::http::jobs::{Said, refusal};
use crate::http::route::What;
use crate::http::shares::{Share, Shares};
use crate::http::stored::{Refusal, Stored};
use crate::http::vertices::{self, Vertex};
use crate::runtime::{Event, Metrics, Progress, Reached};
use crate::topology::Plan;

/// How many of the newest incidents are kept.
const INCIDENTS: usize = 200;

/// A job as others see it.
pub struct Job {
    name: String,
    settings: Settings,
    vertices: Vec<Vertex>,
    /// In the order of the plan.
    regions: Vec<Arc<str>>,
    metrics: Arc<Metrics>,
    progress: Progress,
    clock: Clock,
    told: Mutex<Told>,
    history: Mutex<History>,
    shares: Mutex<Shares>,
    stored: Stored,
}

/// What the job has told.
struct Told {
    created_ms: i64,
    started_ms: Option<i64>,
    incarnation: u64,
    checkpoints: Checkpoints,
    /// How often something was restarted, by the operator that had failed, and by region.
    restarts: BTreeMap<String, u64>,
    restarts_of: BTreeMap<String, u64>,
    /// Regions that are down, until they are restarted.
    down: BTreeSet<String>,
    /// When regions were restarted last.
    since: BTreeMap<String, i64>,
    letters: BTreeMap<String, u64>,
    /// What went wrong, oldest first, and when.
    incidents: VecDeque<(i64, Event)>,
    /// Once it does not run any more.
    ended: Option<Over>,
}

/// How a job has ended.
struct Over {
    at: i64,
    state: &'static str,
    reason: Option<String>,
}

impl Job {
    /// Shows a job that is about to start.
    pub fn new(plan: &Plan, metrics: Arc<Metrics>, progress: &Progress, clock: Clock) -> Job {
        let vertices = vertices::of(plan);
        let mut subtasks: BTreeMap<String, usize> = BTreeMap::new();
        for vertex in &vertices {
            *subtasks.entry(vertex.region.to_string()).or_default() += vertex.parallelism as usize;
        }
        let (history, past) = History::open(&plan.settings.store.path);
        let mut checkpoints = Checkpoints::new(subtasks);
        checkpoints.add_past(past);
        Job {
            history: Mutex::new(history),
            name: plan.settings.job.name.clone(),
            settings: plan.settings.clone(),
            regions: plan.regions.iter().map(|region| Arc::clone(&region.name)).collect(),
            metrics,
            progress: progress.clone(),
            told: Mutex::new(Told {
                created_ms: clock.now(),
                started_ms: None,
                incarnation: 0,
                checkpoints,
                restarts: BTreeMap::new(),
                restarts_of: BTreeMap::new(),
                down: BTreeSet::new(),
                since: BTreeMap::new(),
                letters: BTreeMap::new(),
                incidents: VecDeque::new(),
                ended: None,
            }),
            shares: Mutex::default(),
            stored: Stored::new(plan, progress.look(), clock.clone()),
            vertices,
            clock,
        }
    }

    /// Takes an event of the job.
    pub fn on(&self, event: &Event) {
        let now = self.clock.now();
        let mut told = self.told.lock();
        told.checkpoints.on(event, now);
        let is_incident = match event {
            Event::Started { incarnation, .. } => {
                (told.started_ms, told.incarnation) = (Some(now), *incarnation);
                false
            }
            Event::Restarting { region, .. } => {
                told.down.insert(region.clone());
                true
            }
            Event::Restarted { operator, region, scope, .. } => {
                if *scope == "region" {
                    told.down.remove(region);
                    told.since.insert(region.clone(), now);
                }
                *told.restarts.entry(operator.clone()).or_default() += 1;
                *told.restarts_of.entry(region.clone()).or_default() += 1;
                true
            }
            Event::DeadLetter { operator, .. } => {
                *told.letters.entry(operator.clone()).or_default() += 1;
                true
            }
            Event::Escalated { .. } | Event::Hung { .. } | Event::CheckpointFailed { .. } | Event::Violated { .. } => {
                true
            }
            _ => false,
        };
        if is_incident {
            if told.incidents.len() == INCIDENTS {
                told.incidents.pop_front();
            }
            told.incidents.push_back((now, event.clone()));
        }
    }

    /// Looks at what its subtasks do at this moment.
    pub(super) fn look(&self) {
        self.shares.lock().look(&self.progress.activities());
    }

    /// Writes down what became of checkpoints since it did so last.
    pub(super) fn write_history(&self) {
        let concluded = self.told.lock().checkpoints.concluded();
        if !concluded.is_empty() {
            self.history.lock().add(&concluded, || self.told.lock().checkpoints.all_concluded());
        }
    }

    /// Says that it does not run any more: how it has ended, and why.
    pub fn ended(&self, state: &'static str, reason: Option<String>) {
        let now = self.clock.now();
        self.told.lock().ended = Some(Over { at: now, state, reason });
        self.write_history();
        self.stored.left();
    }

    /// Leaves its state directory to whoever comes next; waits for those who read it.
    pub fn leave(&self) {
        self.stored.leave();
    }

    /// Returns why it cannot be asked to do anything any more, if it has ended.
    pub(super) fn is_over(&self) -> Option<Said> {
        let told = self.told.lock();
        let state = told.ended.as_ref()?.state;
        let reason = "it takes no requests any more, and what it has left can be read";
        Some(refusal(409, format!("the job has ended ({state}): {reason}")))
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what its store tells, which may take a while to read.
    pub(super) fn stored(&self) -> &Stored {
        &self.stored
    }

    /// Returns where it can be asked to do something.
    pub fn state_directory(&self) -> &std::path::Path {
        &self.settings.store.path
    }

    /// Returns what counts and times what happens to it.
    pub(super) fn counted(&self) -> &Metrics {
        &self.metrics
    }

    /// Says what Flink says of a job, at `/jobs` and at `/jobs/overview`.
    pub fn summary(&self) -> Value {
        let told = self.told.lock();
        let (state, now) = (told.state(), self.clock.now());
        let subtasks: u32 = self.vertices.iter().map(|vertex| vertex.parallelism).sum();
        let mut said = json!({
            "id": self.name,
            "jid": self.name,
            "name": self.name,
            "status": state,
            "state": state,
            "start-time": told.created_ms,
            "end-time": told.end(),
            "duration": told.until(now).saturating_sub(told.created_ms),
            "last-modification": told.started_ms.unwrap_or(told.created_ms),
            "tasks": { "total": subtasks, "running": if state == "RUNNING" { subtasks } else { 0 } },
        });
        if let Some(reason) = told.ended.as_ref().and_then(|over| over.reason.as_ref()) {
            said["error"] = json!(reason);
        }
        said
    }

    /// Answers a question.
    ///
    /// # Errors
    /// That there is nothing of the kind, or several.
    pub(super) fn answer(&self, what: &What, region: Option<&str>) -> std::result::Result<Value, Refusal> {
        if let Some(region) = region
            && self.regions.iter().all(|known| **known != *region)
        {
            let known: Vec<String> = self.regions.iter().map(|known| format!("\"{known}\"")).collect();
            return Err((404, format!("there is no region \"{region}\" (regions: {})", known.join(", "))));
        }
        let now = self.clock.now();
        let told = self.told.lock();
        let find = |region, window| {
            let nothing = || (404, format!("there is no checkpoint of window {window} among the newest"));
            told.checkpoints.find(region, window).ok_or_else(nothing)
        };
        match what {
            What::Job => Ok(self.details(&told, now)),
            What::Checkpoints => Ok(told.checkpoints.overview(now)),
            What::Config => Ok(self.config()),
            What::Exceptions => Ok(exceptions(&told)),
            What::Checkpoint { window } => {
                let regions = told.checkpoints.regions_of(*window);
                if region.is_none() && regions.len() > 1 {
                    let regions = regions.into_iter().collect::<Vec<&str>>().join(", ");
                    let why =
                        format!("several regions have a checkpoint of window {window}: say `?region=` ({regions})");
                    return Err((400, why));
                }
                Ok(find(region, *window)?.details(now))
            }
            What::Operator { window, operator } => {
                let vertex = self.vertices.iter().find(|vertex| vertex.holds(operator));
                let vertex = vertex.ok_or_else(|| (404, format!("there is no operator \"{operator}\"")))?;
                if region.is_some_and(|region| *vertex.region != *region) {
                    return Err((404, format!("operator \"{operator}\" is in region \"{}\"", vertex.region)));
                }
                Ok(find(Some(&vertex.region), *window)?.operator(operator, &vertex.id, vertex.parallelism, now))
            }
            // Only the job itself, and its store, know them.
            What::Savepoints | What::DeadLetters | What::States | What::State { .. } => {
                Err((503, "the job has to be asked".into()))
            }
        }
    }

    /// Says what Flink says at `/jobs/:jobid`, and more.
    fn details(&self, told: &Told, now: i64) -> Value {
        let state = told.state();
        let reached = self.progress.reached();
        let shares = self.shares.lock();
        let subtasks: u32 = self.vertices.iter().map(|vertex| vertex.parallelism).sum();
        let vertices: Vec<Value> =
            self.vertices.iter().map(|of| self.vertex(of, told, &reached, &shares, now)).collect();
        let nodes: Vec<Value> = self.vertices.iter().rev().map(Vertex::node).collect();
        let mut timestamps = json!({ "CREATED": told.created_ms });
        if let Some(started) = told.started_ms {
            timestamps["RUNNING"] = json!(started);
        }
        let mut said = json!({
            "jid": self.name,
            "name": self.name,
            "isStoppable": told.ended.is_none(),
            "state": state,
            "start-time": told.created_ms,
            "end-time": told.end(),
            "duration": told.until(now).saturating_sub(told.created_ms),
            "maxParallelism": self.settings.job.key_groups,
            "now": now,
            "timestamps": timestamps,
            "vertices": vertices,
            "status-counts": { state: subtasks },
            "plan": { "jid": self.name, "name": self.name, "type": "STREAMING", "nodes": nodes },
            "incarnation": told.incarnation,
            "records-in": self.progress.records_in(),
            "records-out": self.progress.records_out(),
            "restarts": told.restarts_of.values().sum::<u64>(),
            "dead-letters": told.letters.values().sum::<u64>(),
            "regions": self.regions.iter().map(|region| self.region(region, told)).collect::<Vec<Value>>(),
            "incidents": told.incidents.iter().rev().map(incident).collect::<Vec<Value>>(),
        });
        if let Some(reason) = told.ended.as_ref().and_then(|over| over.reason.as_ref()) {
            said["error"] = json!(reason);
        }
        said
    }

    fn vertex(&self, vertex: &Vertex, told: &Told, reached: &[Reached], shares: &Shares, now: i64) -> Value {
        let own: Vec<(usize, &Reached)> =
            reached.iter().enumerate().filter(|(_, reached)| reached.operator == vertex.id).collect();
        let sum = |of: fn(&Reached) -> u64| own.iter().map(|(_, reached)| of(reached)).sum::<u64>();
        let counted = |counts: &BTreeMap<String, u64>| {
            counts.iter().filter(|(operator, _)| vertex.holds(operator)).map(|(_, count)| count).sum::<u64>()
        };
        let state = self.state_of(told, &vertex.region);
        let since = told.since.get(&*vertex.region).copied().or(told.started_ms);
        // What several have read together is nobody's in particular.
        let before = self.progress.finished(&vertex.region).filter(|_| own.is_empty()).unwrap_or_default();
        let is_alone = |kind: fn(&Vertex) -> bool| {
            self.vertices.iter().filter(|of| of.region == vertex.region && kind(of)).count() == 1
        };
        let read_before = if vertex.is_source && is_alone(|of| of.is_source) { before.0 } else { 0 };
        let written_before = if is_alone(|of| of.is_sink) { before.1 } else { 0 };
        let started = told.started_ms.unwrap_or(-1);
        let newest = told.checkpoints.newest(&vertex.region);
        let parts = newest.iter().flat_map(|newest| &newest.parts).filter(|part| part.operator == *vertex.id);
        let watermark = own.iter().map(|(_, reached)| reached.watermark).min();
        let subtask = |(place, reached): &(usize, &Reached)| {
            let Share { busy, blocked, idle } = shares.get(*place);
            json!({
                "subtask": reached.subtask,
                "read-records": if vertex.is_source { reached.read } else { reached.taken },
                "write-records": if vertex.is_sink { json!(reached.written) } else { Value::Null },
                "window": reached.window,
                "watermark": crate::http::watermark(reached.watermark),
                "mailbox": { "waiting": reached.mailbox.0, "capacity": reached.mailbox.1 },
                "busy": rounded(busy),
                "blocked": rounded(blocked),
                "idle": rounded(idle),
            })
        };
        json!({
            "id": vertex.id,
            "name": vertex.name(),
            "operators": vertex.operators.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            "region": vertex.region,
            "maxParallelism": self.settings.job.key_groups,
            "parallelism": vertex.parallelism,
            "status": state,
            "start-time": started,
            "end-time": -1,
            "duration": if started < 0 { 0 } else { now.saturating_sub(started) },
            "tasks": { state: vertex.parallelism },
            "metrics": {
                "read-records": if vertex.is_source { sum(|of| of.read) + read_before } else { sum(|of| of.taken) },
                // A source's are those since the job first began.
                "read-records-since": since.filter(|_| !vertex.is_source),
                "read-records-complete": true,
                "write-records": if vertex.is_sink { json!(sum(|of| of.written) + written_before) } else { Value::Null },
                "write-records-complete": vertex.is_sink,
            },
            "state-size": parts.map(state_of).sum::<u64>(),
            "restarts": counted(&told.restarts),
            "dead-letters": counted(&told.letters),
            "watermark": watermark.map_or(Value::Null, crate::http::watermark),
            "subtasks": own.iter().map(subtask).collect::<Vec<Value>>(),
        })
    }

    fn region(&self, name: &str, told: &Told) -> Value {
        let newest = told.checkpoints.newest(name);
        json!({
            "name": name,
            "status": self.state_of(told, name),
            "restarts": told.restarts_of.get(name).copied().unwrap_or(0),
            "window": newest.map(|newest| newest.window),
        })
    }

    fn state_of(&self, told: &Told, region: &str) -> &'static str {
        match told.state_of(region) {
            "RUNNING" if self.progress.finished(region).is_some() => "FINISHED",
            state => state,
        }
    }

    /// Says what Flink says at `/jobs/:jobid/checkpoints/config`.
    fn config(&self) -> Value {
        let checkpoint = &self.settings.checkpoint;
        let tolerable = match checkpoint.tolerable_failures {
            Limit::Unlimited => -1,
            Limit::Of(count) => i64::from(count),
        };
        json!({
            "mode": match checkpoint.mode {
                Mode::ExactlyOnce => "exactly_once",
                Mode::AtLeastOnce => "at_least_once",
            },
            "interval": checkpoint.interval.millis(),
            "timeout": checkpoint.timeout.millis(),
            "min_pause": checkpoint.min_pause.millis(),
            "max_concurrent": checkpoint.max_concurrent,
            "externalization": { "enabled": true, "delete_on_cancellation": checkpoint.on_cancel == OnCancel::Delete },
            "state_backend": "piton",
            "checkpoint_storage": self.settings.store.path,
            "unaligned_checkpoints": checkpoint.alignment == Alignment::Unaligned,
            "aligned_checkpoint_timeout": checkpoint.aligned_timeout.map_or(0, |timeout| timeout.millis()),
            "tolerable_failed_checkpoints": tolerable,
            "checkpoints_after_tasks_finish": true,
            "window_interval": self.settings.window_interval().millis(),
            "retained": checkpoint.retain,
        })
    }
}

impl Told {
    fn end(&self) -> i64 {
        self.ended.as_ref().map_or(-1, |over| over.at)
    }

    fn until(&self, now: i64) -> i64 {
        self.ended.as_ref().map_or(now, |over| over.at)
    }

    fn state(&self) -> &'static str {
        if let Some(over) = &self.ended {
            return over.state;
        }
        match self.started_ms {
            None => "CREATED",
            Some(_) if self.down.is_empty() => "RUNNING",
            Some(_) => "RESTARTING",
        }
    }

    fn state_of(&self, region: &str) -> &'static str {
        if let Some(over) = &self.ended {
            over.state
        } else if self.down.contains(region) {
            "RESTARTING"
        } else if self.started_ms.is_some() {
            "RUNNING"
        } else {
            "CREATED"
        }
    }
}

fn incident((at, event): &(i64, Event)) -> Value {
    let mut said = serde_json::to_value(event).unwrap_or_default();
    said["timestamp"] = json!(at);
    said
}

/// Says what Flink says at `/jobs/:jobid/exceptions`: newest first.
fn exceptions(told: &Told) -> Value {
    let entries = told.incidents.iter().rev().filter_map(|(at, event)| {
        let Event::Restarted { operator, subtask, reason, cause, region, scope, took_ms, .. } = event else {
            return None;
        };
        Some(json!({
            "exceptionName": cause,
            "stacktrace": reason,
            "timestamp": at,
            "taskName": subtask.map_or_else(|| operator.clone(), |subtask| format!("{operator} #{subtask}")),
            "region": region,
            "scope": scope,
            "took_ms": took_ms,
        }))
    });
    json!({ "exceptionHistory": { "entries": entries.collect::<Vec<Value>>(), "truncated": false } })
}

/// A thousandth is enough.
fn rounded(share: f64) -> f64 {
    (share * 1_000.0).round() / 1_000.0
}
