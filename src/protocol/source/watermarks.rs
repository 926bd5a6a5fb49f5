//! The watermark of a source's subtask, from the event times of everything that it reads.
//!
//! It is that of the slowest partition, as far behind the newest event time there as records may come late. A partition
//! counts from when the source first names it until that says that it is done, unless it is idle: nothing has come from it
//! for a while, although the source was asked. A source that cannot be reached is not idle, nor is one that is not polled,
//! because nobody takes its records or because it is ahead of others: neither says anything about whether there are any.
//!
//! What was seen of partitions belongs to the position behind it: it is in snapshots, and goes back with a source that reads
//! again. Idleness is in neither: it is found anew.

use std::collections::BTreeMap;

use piton_actors::host::{Polled, Sight};
use piton_actors::{Batch, PartitionId, Progress, Timestamp, WATERMARK_MIN};

use super::EventTime;
use crate::protocol::align::combined;
use crate::protocol::mutant::{self, Mutant};

/// What was seen of a partition.
#[derive(Clone, Copy)]
struct Seen {
    newest: Timestamp,
    /// Whether records of it have come with this poll.
    has_come: bool,
    /// Since when none have, although they were asked for.
    empty_since: Option<Timestamp>,
    is_idle: bool,
}

impl Seen {
    fn new(newest: Timestamp) -> Seen {
        Seen { newest, has_come: false, empty_since: None, is_idle: false }
    }
}

/// See the module.
pub(super) struct Watermarks {
    pub(super) event_time: EventTime,
    partitions: BTreeMap<PartitionId, Seen>,
    /// The partitions at the last cut, with the newest event time of each.
    cut: Vec<(PartitionId, Timestamp)>,
    /// Since when nothing at all has come, and whether it is idle: what counts as long as there are no partitions.
    empty_since: Option<Timestamp>,
    is_idle: bool,
    /// Since when it could not be polled.
    away_since: Option<Timestamp>,
    combined: Timestamp,
}

/// What was read, with the watermark behind each batch and behind all of it.
pub(crate) struct Reading {
    pub(crate) batches: Vec<(Batch, Timestamp)>,
    pub(crate) behind: Timestamp,
}

/// Event times in a snapshot: that of a source's one partition, if it has but one that has no name, or those of all it has.
pub(crate) type Kept = (Option<Timestamp>, Vec<(PartitionId, Timestamp)>);

impl Watermarks {
    pub(super) fn new(event_time: EventTime) -> Watermarks {
        Watermarks {
            event_time,
            partitions: BTreeMap::new(),
            cut: Vec::new(),
            empty_since: None,
            is_idle: false,
            away_since: None,
            combined: WATERMARK_MIN,
        }
    }

    /// Puts back what a snapshot holds.
    pub(super) fn restore(&mut self, (max_time, partitions): Kept) {
        let only = max_time.filter(|newest| *newest > WATERMARK_MIN).map(|newest| (PartitionId::default(), newest));
        self.cut = if partitions.is_empty() { only.into_iter().collect() } else { partitions };
        self.go_back();
    }

    /// Returns what a snapshot is to hold.
    pub(super) fn kept(&self) -> Kept {
        let mut all = self.newest();
        match (all.next(), all.next()) {
            (None, _) => (Some(WATERMARK_MIN), Vec::new()),
            (Some((partition, newest)), None) if partition == PartitionId::default() => (Some(newest), Vec::new()),
            _ => (None, self.newest().collect()),
        }
    }

    fn newest(&self) -> impl Iterator<Item = (PartitionId, Timestamp)> {
        self.partitions.iter().map(|(partition, seen)| (*partition, seen.newest))
    }

    /// A snapshot is taken here.
    pub(super) fn cut(&mut self) {
        self.cut = self.newest().collect();
    }

    /// Goes back to the last cut.
    pub(super) fn go_back(&mut self) {
        let gone = std::mem::take(&mut self.partitions);
        for (partition, newest) in &self.cut {
            let is_idle = gone.get(partition).is_some_and(|seen| seen.is_idle);
            self.partitions.insert(*partition, Seen { is_idle, ..Seen::new(*newest) });
        }
        self.forget_emptiness();
        self.combine();
    }

    /// Nothing is known of for how long nothing has come.
    pub(super) fn forget_emptiness(&mut self) {
        self.empty_since = None;
        self.partitions.values_mut().for_each(|seen| seen.empty_since = None);
    }

    /// Takes what a poll gave, at a time; or again what an earlier one did, which says nothing about idleness.
    pub(super) fn read(&mut self, polled: &Polled, now: Option<Timestamp>) -> Reading {
        let mut behind_each = Vec::with_capacity(polled.batches.len());
        polled.look(|sight| match sight {
            Sight::Named(partition) => _ = self.partition(partition),
            Sight::Records(partition, newest) => {
                let seen = self.partition(partition);
                (seen.has_come, seen.is_idle) = (true, false);
                seen.newest = newest.map_or(seen.newest, |newest| seen.newest.max(newest));
            }
            Sight::Done(partition) => _ = self.partitions.remove(&partition),
            Sight::EndOfBatch => behind_each.push(self.combine()),
        });
        if let Some(now) = now {
            self.asked(polled, now);
        }
        self.partitions.values_mut().for_each(|seen| seen.has_come = false);
        let batches = polled.batches.iter().cloned().zip(behind_each).collect();
        Reading { batches, behind: self.combine() }
    }

    fn partition(&mut self, partition: PartitionId) -> &mut Seen {
        self.partitions.entry(partition).or_insert(Seen::new(WATERMARK_MIN))
    }

    /// It was asked for records, and so much has come.
    fn asked(&mut self, polled: &Polled, now: Timestamp) {
        let Ok(Progress::More | Progress::Idle(_)) = polled.progress else { return self.forget_emptiness() };
        let since = |before: Option<Timestamp>, has_come: bool| (!has_come).then(|| before.unwrap_or(now));
        let has_come = !polled.batches.is_empty();
        self.empty_since = since(self.empty_since, has_come);
        let idle_at_now = |since| idle_at(self.event_time, since).is_some_and(|at| at <= now);
        self.is_idle = idle_at_now(self.empty_since) || (self.is_idle && !has_come);
        for seen in self.partitions.values_mut() {
            seen.empty_since = since(seen.empty_since, seen.has_come);
            seen.is_idle |= idle_at_now(seen.empty_since);
        }
    }

    /// Says whether it could be polled now. For how long it cannot does not count for idleness.
    pub(super) fn may_be_asked(&mut self, may: bool, now: Timestamp) {
        if !may {
            self.away_since.get_or_insert(now);
            return;
        }
        let Some(since) = self.away_since.take() else { return };
        let away = now.saturating_sub(since);
        let of_partitions = self.partitions.values_mut().map(|seen| &mut seen.empty_since);
        for empty_since in of_partitions.chain([&mut self.empty_since]).flatten() {
            *empty_since = empty_since.saturating_add(away);
        }
    }

    /// Returns when the next of it will be idle, if nothing comes until then.
    pub(super) fn next_idle(&self, now: Timestamp) -> Option<Timestamp> {
        let all = self.partitions.values().map(|seen| seen.empty_since).chain([self.empty_since]);
        all.filter_map(|since| idle_at(self.event_time, since)).filter(|at| *at > now).min()
    }

    /// Returns whether nobody need wait for any of it.
    pub(super) fn is_idle(&self) -> bool {
        if self.partitions.is_empty() { self.is_idle } else { self.partitions.values().all(|seen| seen.is_idle) }
    }

    /// Returns the watermark of all partitions together; the beginning of time if there are none. It goes back when one is
    /// waited for again: that of the subtask does not.
    pub(super) fn combined(&self) -> Timestamp {
        self.combined
    }

    fn combine(&mut self) -> Timestamp {
        let all = self.partitions.values().map(|seen| (seen.newest, seen.is_idle));
        let newest =
            if mutant::is(Mutant::FastestPartition) { all.map(|(newest, _)| newest).max() } else { combined(all) };
        let EventTime { out_of_order, .. } = self.event_time;
        self.combined = newest.unwrap_or(WATERMARK_MIN).saturating_sub(out_of_order).saturating_sub(1);
        self.combined
    }

    /// Returns whether any of its records has had an event time.
    pub(super) fn is_timed(&self) -> bool {
        self.newest().any(|(_, newest)| newest > WATERMARK_MIN)
    }
}

fn idle_at(event_time: EventTime, empty_since: Option<Timestamp>) -> Option<Timestamp> {
    Some(empty_since?.saturating_add(event_time.idle_timeout?))
}

#[cfg(test)]
mod tests;
