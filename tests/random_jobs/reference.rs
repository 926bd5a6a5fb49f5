//! What a job must publish, computed in memory, record by record, without an engine.

use std::collections::BTreeMap;

use super::draw::{Job, Node, What};
use super::nodes::Published;
use super::rules::{self, Keyed, Row, TURN, source_row};

/// A record with its event time, which only counts where it is a matter of the data.
type Timed = (i64, Row);

/// Returns what each sink must publish.
pub(crate) fn expected(job: &Job) -> BTreeMap<String, Published> {
    let mut streams: Vec<Vec<Timed>> = Vec::new();
    let mut sinks = BTreeMap::new();
    for (id, node) in job.nodes.iter().enumerate() {
        let inputs: Vec<Vec<Timed>> = node.inputs.iter().map(|input| arriving(node, &streams[*input])).collect();
        let stream = match node.what {
            What::Sink => {
                let mut published = Published::new();
                inputs.iter().flatten().for_each(|(_, row)| *published.entry(*row).or_default() += 1);
                sinks.insert(node.name.clone(), published);
                Vec::new()
            }
            _ => output(id as u64, node, &inputs),
        };
        streams.push(stream);
    }
    sinks
}

/// Returns what comes to all subtasks of a node together.
fn arriving(node: &Node, stream: &[Timed]) -> Vec<Timed> {
    stream.repeat(if node.is_broadcast { node.parallelism as usize } else { 1 })
}

fn output(id: u64, node: &Node, inputs: &[Vec<Timed>]) -> Vec<Timed> {
    let rows = || inputs.iter().flatten().copied();
    match node.what {
        What::Source { rows, keys, disorder, .. } => {
            (0..rows).map(|number| source_row(id, number, keys, disorder)).collect()
        }
        What::Plain(rule) => {
            rows().flat_map(|(time, row)| rule.apply(id, row).into_iter().map(move |row| (time, row))).collect()
        }
        What::Linger(_) | What::Keyed(Keyed::Delay) => rows().collect(),
        What::Keyed(Keyed::Count) => {
            numbered(rows().map(|(_, (key, _))| key), u64::MAX, |key, count| (*key, rules::counted(id, *key, count)))
        }
        What::Keyed(Keyed::Spread) => {
            let of = rows().map(|(_, (key, value))| (key, rules::sub_key(value)));
            numbered(of, TURN, |(key, sub_key), count| (*key, rules::spread(id, *key, *sub_key, count)))
        }
        What::Merge => {
            let sides = inputs.iter().zip(0..).flat_map(|(rows, side)| rows.iter().map(move |(_, row)| (row.0, side)));
            numbered(sides, u64::MAX, |(key, side), count| (*key, rules::merged(id, *key, *side, count)))
        }
        What::Keyed(Keyed::Window) => {
            let mut windows: BTreeMap<(i64, u64), Vec<u64>> = BTreeMap::new();
            for (time, (key, value)) in rows() {
                windows.entry((rules::window_of(time), key)).or_default().push(value);
            }
            let closed = |((window, key), values): ((i64, u64), Vec<u64>)| {
                (rules::end_of(window), (key, rules::digest(id, key, window, values)))
            };
            windows.into_iter().map(closed).collect()
        }
        What::Sink => Vec::new(),
    }
}

/// Numbers the records of each kind from 1 to `turn` and again.
fn numbered<K: Ord + Clone>(kinds: impl Iterator<Item = K>, turn: u64, row: impl Fn(&K, u64) -> Row) -> Vec<Timed> {
    let mut counts: BTreeMap<K, u64> = BTreeMap::new();
    let number = |kind: K| {
        let count = counts.entry(kind.clone()).or_default();
        *count = *count % turn + 1;
        (0, row(&kind, *count))
    };
    kinds.map(number).collect()
}
