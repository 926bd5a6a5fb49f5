//! The checkpoints of a running job, as its events tell of them, and what is said of them in Flink's words.
//!
//! Of all checkpoints the newest are kept, and of the newest of those the part of each subtask.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::summary::Summary;
use crate::http::verdict::{self, Phases};
use crate::runtime::{Event, Part};

/// How many checkpoints are kept, of all regions.
pub(super) const KEPT: usize = 1_000;

/// How many parts of subtasks are kept, of all checkpoints.
const PARTS: usize = 20_000;

/// How many of the newest checkpoints are listed.
const LISTED: usize = 100;

/// See the module.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// How many subtasks take part in a checkpoint of each region.
    subtasks: BTreeMap<String, usize>,
    /// Oldest first.
    kept: VecDeque<Checkpoint>,
    parts: usize,
    triggered: u64,
    completed: u64,
    failed: u64,
    /// From which windows the job goes on, and when it began to.
    restored: Vec<(String, u64, i64)>,
    restores: u64,
    savepoint: Option<(String, u64, i64)>,
    /// What is to be written down of those that have come to their end.
    concluded: Vec<String>,
}

/// One checkpoint of one region.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    pub(super) region: String,
    pub(super) window: u64,
    pub(super) triggered_ms: i64,
    pub(super) status: Status,
    /// Of those subtasks that have acknowledged it, unless they are not kept any more.
    #[serde(skip)]
    pub(super) parts: Vec<Part>,
    /// How many subtasks take part, and how many have acknowledged it.
    subtasks: usize,
    acknowledged: usize,
    /// When the last of them has.
    latest_ack_ms: Option<i64>,
    /// What all parts come to, in bytes.
    state: u64,
    fresh: u64,
    under_way: u64,
    unaligned: bool,
    /// Why it took so long or failed, once that is known.
    verdict: Option<String>,
    /// The newest savepoint that it has become part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    savepoint: Option<String>,
}

/// What has become of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    InProgress,
    Completed { at: i64, bytes: u64, took_ms: i64 },
    Failed { at: i64, reason: String, operator: Option<String> },
}

impl Status {
    fn name(&self) -> &'static str {
        match self {
            Status::InProgress => "IN_PROGRESS",
            Status::Completed { .. } => "COMPLETED",
            Status::Failed { .. } => "FAILED",
        }
    }
}

impl Checkpoints {
    /// Begins, for regions of so many subtasks each.
    pub(super) fn new(subtasks: BTreeMap<String, usize>) -> Checkpoints {
        Checkpoints {
            subtasks,
            kept: VecDeque::new(),
            parts: 0,
            triggered: 0,
            completed: 0,
            failed: 0,
            restored: Vec::new(),
            restores: 0,
            savepoint: None,
            concluded: Vec::new(),
        }
    }

    /// Adds those of earlier runs, oldest first. They count, but for those that ended with their run.
    pub(super) fn add_past(&mut self, past: Vec<Checkpoint>) {
        for checkpoint in past {
            // It was written down again when it became part of a savepoint.
            let is_same = |of: &&mut Checkpoint| {
                (&of.region, of.window, of.triggered_ms)
                    == (&checkpoint.region, checkpoint.window, checkpoint.triggered_ms)
            };
            if let Some(before) = self.kept.iter_mut().rev().find(is_same) {
                *before = checkpoint;
                continue;
            }
            self.triggered += 1;
            match checkpoint.status {
                Status::Completed { .. } => self.completed += 1,
                Status::Failed { .. } => self.failed += 1,
                Status::InProgress => {}
            }
            self.keep(checkpoint);
        }
    }

    /// Returns what is to be written down of checkpoints that have come to their end since it was asked last.
    pub(super) fn concluded(&mut self) -> Vec<String> {
        std::mem::take(&mut self.concluded)
    }

    /// Returns the same of all that are kept.
    pub(super) fn all_concluded(&self) -> Vec<String> {
        self.kept.iter().filter(|checkpoint| checkpoint.status != Status::InProgress).map(Checkpoint::line).collect()
    }

    /// Takes an event of the job that happened at this time, in ms since 1970.
    pub(super) fn on(&mut self, event: &Event, now: i64) {
        match event {
            Event::Started { resumed_from, .. } => {
                if resumed_from.is_empty() {
                    // It begins anew, and so does its history.
                    *self = Checkpoints::new(std::mem::take(&mut self.subtasks));
                }
                self.restored = resumed_from.iter().map(|(region, window)| (region.clone(), *window, now)).collect();
                self.restores += u64::from(!resumed_from.is_empty());
            }
            Event::CheckpointStarted { region, window } => self.started(region, *window, now),
            Event::Acknowledged { region, window, part } => {
                if let Some(checkpoint) = self.under_way(region, *window) {
                    checkpoint.acknowledged(part);
                    self.parts += 1;
                    self.abridge();
                }
            }
            Event::Committed { region, window, bytes, took_ms } => {
                self.completed += 1;
                self.conclude(region, *window, Status::Completed { at: now, bytes: *bytes, took_ms: *took_ms }, now);
            }
            Event::CheckpointFailed { region, window, reason, operator } => {
                self.failed += 1;
                let (reason, operator) = (reason.clone(), operator.clone());
                self.conclude(region, *window, Status::Failed { at: now, reason, operator }, now);
            }
            Event::Restarted { region, scope: "region", window, .. } => {
                self.restores += 1;
                self.restored.retain(|(of, ..)| of != region);
                self.restored.push((region.clone(), *window, now));
            }
            Event::Savepoint { name, window, regions } => {
                self.savepoint = Some((name.clone(), *window, now));
                for (region, window) in regions {
                    self.saved(name, region, *window);
                }
            }
            _ => {}
        }
    }

    fn started(&mut self, region: &str, window: u64, now: i64) {
        self.triggered += 1;
        self.keep(Checkpoint {
            region: region.to_string(),
            window,
            triggered_ms: now,
            status: Status::InProgress,
            parts: Vec::new(),
            subtasks: self.subtasks.get(region).copied().unwrap_or(0),
            acknowledged: 0,
            latest_ack_ms: None,
            state: 0,
            fresh: 0,
            under_way: 0,
            unaligned: false,
            verdict: None,
            savepoint: None,
        });
    }

    fn keep(&mut self, checkpoint: Checkpoint) {
        if self.kept.len() == KEPT
            && let Some(oldest) = self.kept.pop_front()
        {
            self.parts -= oldest.parts.len();
        }
        self.kept.push_back(checkpoint);
    }

    fn conclude(&mut self, region: &str, window: u64, status: Status, now: i64) {
        let Some(checkpoint) = self.under_way(region, window) else { return };
        checkpoint.status = status;
        checkpoint.verdict = Some(verdict::of(checkpoint, now));
        let line = checkpoint.line();
        // Nobody may take them away: then the newest are written down, too, when somebody does.
        if self.concluded.len() < KEPT {
            self.concluded.push(line);
        }
    }

    /// Takes note that a checkpoint has become part of a savepoint, perhaps after it has been written down.
    fn saved(&mut self, name: &str, region: &str, window: u64) {
        let is_meant = |of: &&mut Checkpoint| of.window == window && of.region == region;
        let Some(checkpoint) = self.kept.iter_mut().rev().find(is_meant) else { return };
        checkpoint.savepoint = Some(name.to_string());
        if checkpoint.status != Status::InProgress && self.concluded.len() < KEPT {
            self.concluded.push(checkpoint.line());
        }
    }

    fn under_way(&mut self, region: &str, window: u64) -> Option<&mut Checkpoint> {
        let is_meant = |of: &&mut Checkpoint| of.window == window && of.region == region;
        self.kept.iter_mut().rev().find(is_meant).filter(|of| of.status == Status::InProgress)
    }

    /// Lets go of the oldest parts, if there are too many.
    fn abridge(&mut self) {
        let mut oldest = self.kept.iter_mut();
        while self.parts > PARTS
            && let Some(checkpoint) = oldest.next()
        {
            self.parts -= checkpoint.parts.len();
            checkpoint.parts.clear();
        }
    }

    /// Returns the checkpoint of a window: of this region, or of the first that has one of it.
    pub(super) fn find(&self, region: Option<&str>, window: u64) -> Option<&Checkpoint> {
        let is_meant = |of: &&Checkpoint| of.window == window && region.is_none_or(|region| of.region == region);
        self.kept.iter().rev().find(is_meant)
    }

    /// Returns the regions that have a checkpoint of a window.
    pub(super) fn regions_of(&self, window: u64) -> BTreeSet<&str> {
        self.kept.iter().filter(|of| of.window == window).map(|of| of.region.as_str()).collect()
    }

    /// Returns the newest checkpoint of a region that has completed.
    pub(super) fn newest(&self, region: &str) -> Option<&Checkpoint> {
        let is_meant = |of: &&Checkpoint| of.region == region && matches!(of.status, Status::Completed { .. });
        self.kept.iter().rev().find(is_meant)
    }

    /// Says what Flink says at `/jobs/:jobid/checkpoints`.
    pub(super) fn overview(&self, now: i64) -> Value {
        let latest = |status: &str| {
            let found = self.kept.iter().rev().find(|checkpoint| checkpoint.status.name() == status);
            found.map_or(Value::Null, |checkpoint| checkpoint.item(now))
        };
        let in_progress = self.kept.iter().filter(|checkpoint| checkpoint.status == Status::InProgress).count();
        let restored = self.restored.iter().max_by_key(|(.., at)| *at).map(|(region, window, at)| {
            json!({ "id": window, "region": region, "restore_timestamp": at, "is_savepoint": false })
        });
        let savepoint = self.savepoint.as_ref().map(|(name, window, at)| {
            json!({
                "id": window, "status": "COMPLETED", "is_savepoint": true, "name": name, "external_path": name,
                "latest_ack_timestamp": at,
            })
        });
        json!({
            "counts": {
                "restored": self.restores,
                "total": self.triggered,
                "in_progress": in_progress,
                "completed": self.completed,
                "failed": self.failed,
            },
            "summary": self.summary(),
            "latest": {
                "completed": latest("COMPLETED"),
                "savepoint": savepoint,
                "failed": latest("FAILED"),
                "restored": restored,
            },
            "history": self.kept.iter().rev().take(LISTED).map(|of| of.item(now)).collect::<Vec<Value>>(),
        })
    }

    fn summary(&self) -> Value {
        let completed: Vec<&Checkpoint> =
            self.kept.iter().filter(|of| matches!(of.status, Status::Completed { .. })).collect();
        let of = |measure: fn(&Checkpoint) -> u64| Summary::of(completed.iter().map(|of| measure(of))).to_json();
        json!({
            "checkpointed_size": of(|of| of.fresh),
            "state_size": of(Checkpoint::state),
            "end_to_end_duration": of(|of| of.duration(0)),
            "alignment_buffered": of(|_| 0),
            "processed_data": of(|_| 0),
            "persisted_data": of(|of| of.under_way),
        })
    }
}

impl Checkpoint {
    /// One that has completed, as a line of the history tells of it.
    #[cfg(test)]
    pub(super) fn of_the_past(region: &str, window: u64) -> Checkpoint {
        let mut checkpoints = Checkpoints::new(BTreeMap::new());
        checkpoints.started(region, window, 0);
        checkpoints.conclude(region, window, Status::Completed { at: 9, bytes: 5, took_ms: 9 }, 9);
        checkpoints.kept.remove(0).expect("it was kept")
    }

    fn acknowledged(&mut self, part: &Part) {
        self.acknowledged += 1;
        self.latest_ack_ms = self.latest_ack_ms.max(Some(part.acknowledged_ms));
        self.state += state_of(part);
        self.fresh += part.fresh;
        self.under_way += part.under_way.1;
        self.unaligned |= part.unaligned;
        self.parts.push(part.clone());
    }

    fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether there were parts that are not kept any more.
    fn is_abridged(&self) -> bool {
        self.parts.len() < self.acknowledged
    }

    fn state(&self) -> u64 {
        match self.status {
            Status::Completed { bytes, .. } => bytes,
            _ => self.state,
        }
    }

    /// How long it took, or has taken until now, in ms.
    fn duration(&self, now: i64) -> u64 {
        let took = match self.status {
            Status::Completed { took_ms, .. } => took_ms,
            Status::Failed { at, .. } => at - self.triggered_ms,
            Status::InProgress => now - self.triggered_ms,
        };
        u64::try_from(took).unwrap_or(0)
    }

    /// Says what Flink says of one checkpoint in its history.
    fn item(&self, now: i64) -> Value {
        let mut item = json!({
            "className": self.status.name().to_lowercase(),
            "id": self.window,
            "region": self.region,
            "status": self.status.name(),
            "is_savepoint": self.savepoint.is_some(),
            "checkpoint_type": if self.unaligned { "UNALIGNED" } else { "CHECKPOINT" },
            "trigger_timestamp": self.triggered_ms,
            "latest_ack_timestamp": self.latest_ack_ms.unwrap_or(-1),
            "checkpointed_size": self.fresh,
            "state_size": self.state(),
            "end_to_end_duration": self.duration(now),
            "alignment_buffered": 0,
            "processed_data": 0,
            "persisted_data": self.under_way,
            "num_subtasks": self.subtasks,
            "num_acknowledged_subtasks": self.acknowledged,
            "verdict": self.verdict.clone().unwrap_or_else(|| verdict::of(self, now)),
        });
        if let Some(savepoint) = &self.savepoint {
            item["savepoint"] = json!(savepoint);
        }
        if let Status::Failed { at, reason, operator } = &self.status {
            item["failure_timestamp"] = json!(at);
            item["failure_message"] = json!(reason);
            item["failure_operator"] = json!(operator);
        }
        item
    }

    /// Says what Flink says of one checkpoint, with its operators.
    pub(super) fn details(&self, now: i64) -> Value {
        let mut details = self.item(now);
        let mut names: Vec<&str> = self.parts.iter().map(|part| &*part.operator).collect();
        names.dedup();
        names.sort_unstable();
        names.dedup();
        let tasks = names.into_iter().map(|name| (name.to_string(), self.task(name, now)));
        details["tasks"] = Value::Object(tasks.collect());
        details["is_abridged"] = json!(self.is_abridged());
        details
    }

    /// Says what the subtasks of one chain have contributed.
    fn task(&self, name: &str, now: i64) -> Value {
        let parts: Vec<&Part> = self.parts.iter().filter(|part| part.operator == name).collect();
        let ack = parts.iter().map(|part| part.acknowledged_ms).max().unwrap_or(-1);
        json!({
            "id": self.window,
            "status": self.status.name(),
            "latest_ack_timestamp": ack,
            "checkpointed_size": parts.iter().map(|part| part.fresh).sum::<u64>(),
            "state_size": parts.iter().map(|part| state_of(part)).sum::<u64>(),
            "end_to_end_duration": match (ack, &self.status) {
                (-1, Status::InProgress) => u64::try_from(now - self.triggered_ms).unwrap_or(0),
                _ => u64::try_from(ack - self.triggered_ms).unwrap_or(0),
            },
            "alignment_buffered": 0,
            "processed_data": 0,
            "persisted_data": parts.iter().map(|part| part.under_way.1).sum::<u64>(),
            "num_acknowledged_subtasks": parts.len(),
        })
    }

    /// Says what Flink says of the subtasks of an operator, of which there are so many; nothing if it is in none of the
    /// parts. `chain` is the head of the chain that it is in.
    pub(super) fn operator(&self, operator: &str, chain: &str, parallelism: u32, now: i64) -> Value {
        let mut parts: Vec<&Part> = self.parts.iter().filter(|part| part.operator == chain).collect();
        parts.sort_by_key(|part| part.subtask);
        let of = |measure: &dyn Fn(&Part) -> u64| Summary::of(parts.iter().map(|part| measure(part))).to_json();
        let phases = |part: &Part| Phases::of(part, self.triggered_ms);
        let state = |part: &Part| {
            let of_operator = part.state.iter().filter(|(name, _)| name == operator);
            of_operator.map(|(_, bytes)| *bytes).sum::<u64>()
        };
        let mut said = self.task(chain, now);
        said["operator"] = json!(operator);
        said["chain"] = json!(chain);
        said["region"] = json!(self.region);
        said["num_subtasks"] = json!(parallelism);
        said["state_size"] = json!(parts.iter().map(|part| state(part)).sum::<u64>());
        said["summary"] = json!({
            "checkpointed_size": of(&|part| part.fresh),
            "state_size": of(&state),
            "end_to_end_duration": of(&|part| phases(part).whole()),
            "checkpoint_duration": { "sync": of(&|part| phases(part).sync), "async": of(&|part| phases(part).kept) },
            "alignment": {
                "buffered": of(&|_| 0),
                "processed": of(&|_| 0),
                "persisted": of(&|part| part.under_way.1),
                "duration": of(&|part| phases(part).alignment),
            },
            "start_delay": of(&|part| phases(part).start_delay),
        });
        let subtask = |index: u32| {
            let Some(part) = parts.iter().find(|part| part.subtask == index) else {
                return json!({ "index": index, "status": "pending_or_failed" });
            };
            let phases = phases(part);
            json!({
                "index": index,
                "status": "completed",
                "ack_timestamp": part.acknowledged_ms,
                "end_to_end_duration": phases.whole(),
                "checkpointed_size": part.fresh,
                "state_size": state(part),
                "checkpoint": { "sync": phases.sync, "async": phases.kept },
                "alignment": {
                    "buffered": 0,
                    "processed": 0,
                    "persisted": part.under_way.1,
                    "records": part.under_way.0,
                    "duration": phases.alignment,
                },
                "start_delay": phases.start_delay,
                "unaligned_checkpoint": part.unaligned,
                "aborted": matches!(self.status, Status::Failed { .. }),
                "watermark": crate::http::watermark(part.watermark),
            })
        };
        said["subtasks"] = (0..parallelism).map(subtask).collect();
        said
    }
}

/// How much state a part refers to, in bytes.
pub(super) fn state_of(part: &Part) -> u64 {
    part.state.iter().map(|(_, bytes)| bytes).sum()
}

#[cfg(test)]
mod tests;
