//! Looks at everything that becomes visible, and says whether it may.

use std::collections::BTreeMap;

use piton_actors::WindowId;

use crate::chaos::invariants::{AtLeast, Counts, InvariantId, Times, Verdict};
use crate::config::Mode;
use crate::sim::drawn::flow::Often;
use crate::sim::drawn::golden::Golden;
use crate::sim::drawn::operators::Row;
use crate::sim::drawn::topology::{FIRST_OPERATOR, Topology};

/// A row, as far as it can be told from others: its origin, number, key and value.
type Identity = (u32, u64, u64, u64);

/// How often rows are seen.
enum Seen {
    /// Exactly as often as without faults.
    Exactly(Times<Identity>),
    /// At least as often; a row of a time window stands for as many as it has counted, because some may come late.
    AtLeast(AtLeast<(u32, u64, u64)>),
}

impl Seen {
    fn new(mode: Mode) -> Seen {
        match mode {
            Mode::ExactlyOnce => Seen::Exactly(Times::default()),
            Mode::AtLeastOnce => Seen::AtLeast(AtLeast::default()),
        }
    }

    fn want(&mut self, (origin, number, key, value): Identity, times: u64) {
        match self {
            Seen::Exactly(rows) => rows.want((origin, number, key, value), times),
            Seen::AtLeast(rows) => rows.want((origin, number, key), times * worth(origin, value)),
        }
    }

    fn see(&mut self, (origin, number, key, value): Identity) -> Verdict {
        match self {
            Seen::Exactly(rows) => rows.see(&(origin, number, key, value)),
            Seen::AtLeast(rows) => rows.see(&(origin, number, key), worth(origin, value)),
        }
    }
}

/// Returns how many rows a row stands for.
fn worth(origin: u32, value: u64) -> u64 {
    if origin < FIRST_OPERATOR { 1 } else { value }
}

struct SinkView {
    region: usize,
    lingers: bool,
    rows: Seen,
    counts: Counts,
    /// How often each count of a counter comes by.
    counters: BTreeMap<u32, u64>,
    /// How often each row of a source partition comes by, and how many were seen.
    partitions: BTreeMap<u32, (Often, u64)>,
}

/// See the module.
pub(crate) struct Oracle {
    mode: Mode,
    sinks: Vec<SinkView>,
    counted: BTreeMap<(u32, u64), u64>,
    stamps: BTreeMap<u32, u32>,
    /// For each region, whether rows may have been under way at its head.
    under_way: Vec<bool>,
    /// For each region, from which window it went on with another parallelism and rows under way: such rows come in the
    /// next window, whichever they were emitted in; 0 if it never did.
    rescaled: Vec<u64>,
    /// For each source partition, up to where its rows are committed.
    committed: Vec<u64>,
    /// For each source partition, how often each of its rows was made.
    made: Vec<Vec<u64>>,
}

impl Oracle {
    pub(crate) fn new(topology: &Topology, mode: Mode) -> Oracle {
        let golden = Golden::of(topology);
        let mut sinks = Vec::new();
        for sink in &topology.sinks {
            let mut rows = Seen::new(mode);
            for (origin, times) in &sink.flow.origins {
                for made in &golden.origins[origin] {
                    rows.want((*origin, made.number, made.key, made.value), times.of(made.number));
                }
            }
            let partitions = sink.flow.origins.iter().filter(|(origin, _)| **origin < FIRST_OPERATOR);
            sinks.push(SinkView {
                region: sink.region,
                lingers: sink.flow.lingers || sink.flow.waits,
                rows,
                counts: Counts::default(),
                counters: sink.flow.counters.clone(),
                partitions: partitions.map(|(origin, times)| (*origin, (*times, 0))).collect(),
            });
        }
        Oracle {
            mode,
            sinks,
            counted: golden.counted,
            stamps: topology.stamps.clone(),
            under_way: vec![false; topology.regions.len()],
            rescaled: vec![0; topology.regions.len()],
            committed: vec![0; topology.partitions.len()],
            made: topology.partitions.iter().map(|partition| vec![0; partition.rows as usize]).collect(),
        }
    }

    /// The head of a region says whether rows were under way when it was taken.
    pub(crate) fn under_way_seen(&mut self, region: usize, under_way: bool) {
        self.under_way[region] = under_way;
    }

    /// The head of a region says that its source partitions are at these positions.
    pub(crate) fn positions_seen(&mut self, positions: &[(u32, u64)]) {
        for (partition, position) in positions {
            self.committed[*partition as usize] = *position;
        }
    }

    /// The regions go on from these windows with another parallelism.
    pub(crate) fn rescaled(&mut self, heads: &[WindowId]) {
        // Round robin begins anew: nobody knows any more which subtask a row passes.
        self.stamps.clear();
        for (region, head) in heads.iter().enumerate().filter(|(region, _)| self.under_way[*region]) {
            self.rescaled[region] = head.0;
        }
    }

    /// A source has emitted a row of a partition.
    pub(crate) fn made(&mut self, partition: u32, number: u64) {
        self.made[partition as usize][number as usize] += 1;
    }

    /// Returns how often a source has emitted a row of a partition.
    pub(crate) fn times_made(&self, partition: u32, number: u64) -> u64 {
        self.made[partition as usize].get(number as usize).copied().unwrap_or(0)
    }

    /// A sink has made something visible.
    pub(crate) fn published(&mut self, sink: usize, rows: &[Row]) -> Verdict {
        let view = &mut self.sinks[sink];
        for row in rows {
            see(view, row, self.mode, &self.committed, &self.stamps, self.rescaled[view.region])?;
        }
        Ok(())
    }

    /// Everything that the head of a region covers is visible but for what was under way, and nothing else, if not doubled.
    pub(crate) fn settled(&self, region: usize) -> Verdict {
        for (number, sink) in self.sinks.iter().enumerate().filter(|(_, sink)| sink.region == region && !sink.lingers) {
            if let Seen::AtLeast(rows) = &sink.rows {
                let is_covered = |(origin, number, _): &(u32, u64, u64)| {
                    self.committed.get(*origin as usize).is_some_and(|position| number < position)
                };
                rows.complete(InvariantId::OutputIsPrefix, is_covered)?;
                continue;
            }
            for (partition, (times, seen)) in &sink.partitions {
                let wanted = times.of_first(self.committed[*partition as usize]);
                if *seen > wanted || (*seen < wanted && !self.under_way[region]) {
                    let message = format!(
                        "sink {number} shows {seen} rows of partition {partition}, of which {wanted} are committed"
                    );
                    return Err(InvariantId::OutputIsPrefix.broken(message));
                }
            }
            if !self.under_way[region] {
                sink.counts.are_prefixes(|counter| sink.counters.get(&counter).copied().unwrap_or_default())?;
            }
        }
        Ok(())
    }

    /// The job has ended.
    pub(crate) fn ended(&self) -> Verdict {
        for sink in &self.sinks {
            match &sink.rows {
                Seen::Exactly(rows) => rows.complete()?,
                Seen::AtLeast(rows) => {
                    self.ended_at_least(sink, rows)?;
                    continue;
                }
            }
            for ((counter, key), wanted) in &self.counted {
                if sink.counters.contains_key(counter) && sink.counts.highest(*counter, *key) != *wanted {
                    let highest = sink.counts.highest(*counter, *key);
                    let message = format!("operator {counter} counted {highest} records of key {key}, not {wanted}");
                    return Err(InvariantId::StateExactlyOnce.broken(message));
                }
            }
            sink.counts.are_prefixes(|counter| sink.counters.get(&counter).copied().unwrap_or_default())?;
        }
        Ok(())
    }

    fn ended_at_least(&self, sink: &SinkView, rows: &AtLeast<(u32, u64, u64)>) -> Verdict {
        rows.complete(InvariantId::OutputComplete, |_| true)?;
        if !sink.lingers {
            // Where nothing is held back, nothing is repeated but what was read again.
            rows.at_most(|(origin, number, _)| self.made.get(*origin as usize).map(|made| made[*number as usize]))?;
        }
        for ((counter, key), wanted) in &self.counted {
            if let Some(times) = sink.counters.get(counter) {
                sink.counts.reach(*counter, *key, *wanted, *times)?;
            }
        }
        Ok(())
    }

    /// Returns how many rows are visible, and how many of them beyond those of a run without faults.
    pub(crate) fn visible(&self) -> (u64, u64) {
        let visible = self.sinks.iter().map(|sink| match &sink.rows {
            Seen::Exactly(rows) => (rows.seen(), 0),
            Seen::AtLeast(rows) => (rows.seen(), rows.doubled()),
        });
        visible.fold((0, 0), |(rows, doubled), (more, again)| (rows + more, doubled + again))
    }
}

fn see(
    view: &mut SinkView,
    row: &Row,
    mode: Mode,
    committed: &[u64],
    stamps: &BTreeMap<u32, u32>,
    rescaled: u64,
) -> Verdict {
    let is_exact = mode == Mode::ExactlyOnce;
    if row.late && is_exact {
        return Err(InvariantId::NothingLate.broken(format!("{row:?}")));
    }
    if row.behind > rescaled {
        return Err(InvariantId::WindowsHold.broken(format!("{row:?} came behind the end of its window")));
    }
    if row.spoiled {
        return Err(InvariantId::StateExactlyOnce.broken(format!("{row:?} met state that is not what was put there")));
    }
    // What is read again may come late, and is not counted then. Were it anything else, some of its window would lack.
    if !row.late {
        view.rows.see((row.origin, row.number, row.key, row.value))?;
    }
    if let Some((_, seen)) = view.partitions.get_mut(&row.origin) {
        *seen += 1;
        let position = committed[row.origin as usize];
        if row.number >= position && is_exact {
            let message = format!("{row:?} is visible while its partition is committed up to {position}");
            return Err(InvariantId::OutputIsPrefix.broken(message));
        }
    }
    if row.counter > 0 {
        let Some(times) = view.counters.get(&row.counter) else {
            if row.late {
                return Ok(());
            }
            return Err(InvariantId::EngineSound.broken(format!("{row:?} came by a counter that does not lead here")));
        };
        view.counts.see(row.counter, row.key, row.count, if is_exact { *times } else { u64::MAX })?;
    }
    match stamps.get(&row.stamp) {
        Some(parallelism) if u64::from(row.stamped_by) != row.number % u64::from(*parallelism) => {
            let message = format!("{row:?} went to another subtask than before");
            Err(InvariantId::RoutingRepeats.broken(message))
        }
        _ => Ok(()),
    }
}
