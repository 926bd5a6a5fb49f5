//! What a job must give: its data, and what it makes of them, computed without an engine.

use std::collections::BTreeMap;

use crate::sim::drawn::flow::Flow;
use crate::sim::drawn::operators::{Row, TIME_WINDOW_MS, time_window};
use crate::sim::drawn::topology::Topology;
use crate::sim::random::mix;

/// Returns a row of a source partition and its event time in ms.
pub(crate) fn source_row(partition: u32, number: u64, keys: u64, disorder: i64) -> (Row, i64) {
    let chance = mix(mix(u64::from(partition) + 1).wrapping_add(number));
    let time = number as i64 * 10 - (chance >> 32) as i64 % (disorder + 1);
    (Row { origin: partition, number, key: chance % keys, ..Row::default() }, time)
}

/// Returns whether there is poison before a row of a source partition.
pub(crate) fn is_poisoned(partition: u32, number: u64) -> bool {
    mix(mix(u64::from(partition) + 77).wrapping_add(number)).is_multiple_of(11)
}

/// Returns how often each record is to be set aside, as it is shown, if poison is.
pub(crate) fn poison(topology: &Topology) -> BTreeMap<String, u64> {
    let mut poison = BTreeMap::new();
    for plan in &topology.regions {
        for (vertex, source) in plan.vertices.iter().filter_map(|vertex| Some((vertex, vertex.source.as_ref()?))) {
            let tasters = plan.tasters(vertex);
            for partition in source.partitions(vertex.parallelism) {
                for number in 0..topology.partitions[partition as usize].rows {
                    if is_poisoned(partition, number) {
                        let row = source_row(partition, number, topology.keys, source.disorder).0.poison();
                        let shown = serde_json::to_string(&row).expect("a row is plain data");
                        *poison.entry(shown).or_default() += tasters;
                    }
                }
            }
        }
    }
    poison
}

/// One row that comes from an origin.
pub(crate) struct Made {
    pub(crate) number: u64,
    pub(crate) key: u64,
    pub(crate) value: u64,
    time: i64,
}

/// What a job must give.
pub(crate) struct Golden {
    pub(crate) origins: BTreeMap<u32, Vec<Made>>,
    /// How many records of each key a counter counts.
    pub(crate) counted: BTreeMap<(u32, u64), u64>,
}

impl Golden {
    pub(crate) fn of(topology: &Topology) -> Golden {
        let mut golden = Golden { origins: BTreeMap::new(), counted: BTreeMap::new() };
        for (partition, plan) in (0u32..).zip(&topology.partitions) {
            let made = |number| {
                let (row, time) = source_row(partition, number, topology.keys, plan.disorder);
                Made { number, key: row.key, value: 0, time }
            };
            golden.origins.insert(partition, (0..plan.rows).map(made).collect());
        }
        // An operator has a higher number than those before it.
        for (operator, flow) in &topology.windows {
            let made = golden.tumble(flow);
            golden.origins.insert(*operator, made);
        }
        for (operator, flow) in &topology.counters {
            for (origin, times) in &flow.origins {
                for made in golden.origins[origin].iter().filter(|made| times.of(made.number) > 0) {
                    *golden.counted.entry((*operator, made.key)).or_default() += times.of(made.number);
                }
            }
        }
        golden
    }

    fn tumble(&self, flow: &Flow) -> Vec<Made> {
        let mut counts: BTreeMap<(i64, u64), u64> = BTreeMap::new();
        for (origin, times) in &flow.origins {
            for made in self.origins[origin].iter().filter(|made| times.of(made.number) > 0) {
                *counts.entry((time_window(made.time), made.key)).or_default() += times.of(made.number);
            }
        }
        let made = |((window, key), value): ((i64, u64), u64)| Made {
            number: window as u64,
            key,
            value,
            time: (window + 1) * TIME_WINDOW_MS - 1,
        };
        counts.into_iter().map(made).collect()
    }
}
