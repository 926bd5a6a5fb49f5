//! What the operators of a job have lived through, as far as it counts: an oracle that knows nothing of the job.
//!
//! For each subtask the calls of its chain are kept that went well, and what they gave. A restore cuts the list back to
//! where its snapshot was taken, whoever asked for it: so what is left, at every moment, is one history without
//! failures. In the end it must be whole: fresh operators that live through it must give the same; every edge
//! must have delivered what was emitted, not less and not more; and what a sink shows must be, whenever it has caught
//! up with a checkpoint, what its chain had given by then.
//!
//! The idea is that of linearisation (Herlihy and Wing, 1990): a run with failures is right if there is one without
//! them that explains it.

mod fresh;

use std::collections::{BTreeMap, BTreeSet};

use piton_actors::{Batch, Timestamp, WindowId};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use self::fresh::{Fresh, subtask_of};
use crate::chaos::invariants::{InvariantId, Verdict, Violation};
use crate::ids::SubtaskId;
use crate::protocol::chain::{ChainAnswer, ChainCall, Entry, First, What, Work};
use crate::protocol::manifest::Spread;
use crate::runtime::build::{ChainBlueprint, Common, RegionBlueprint};
use crate::sim::happening::read_all;
use crate::sim::job::Job;

/// What a call does to a history, as far as it is known before it is made.
pub(crate) struct Call {
    /// Before it, the chain goes back to where its operators had seen so many entries.
    restored: Option<Vec<u64>>,
    work: Kept,
}

enum Kept {
    Nothing,
    Open { from: WindowId, now: Timestamp, ended: bool },
    Entry(Entry),
    Cut(WindowId),
}

/// Something that a subtask has lived through.
enum Step {
    /// Its operators were opened; if they were restored before, it was said so.
    Opened { again: bool, now: Timestamp, gave: Vec<Batch> },
    /// They have seen this, and this came of it; some of which could not be sent on.
    Seen { entry: Entry, gave: Vec<Batch>, refused: Vec<Batch> },
}

struct Lived {
    step: Step,
    /// How many entries the operators had seen behind it.
    entries: Vec<u64>,
    /// What had come out by then.
    given: Digest,
}

/// The history of one subtask.
#[derive(Default)]
struct Life {
    steps: Vec<Lived>,
    /// Where each snapshot was taken, and what had come out at the end of the chain by then.
    cuts: BTreeMap<WindowId, (usize, Digest)>,
    given: Digest,
    /// What became visible of it, if it ends in a sink.
    shown: Digest,
    shown_rows: Vec<u64>,
}

/// Stands for a sequence of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    rows: u64,
    /// Of the rows in their order.
    hash: u64,
    /// Of the rows in any order.
    sum: u64,
}

impl Digest {
    /// Adds a row.
    pub(crate) fn add(&mut self, row: u64) {
        self.rows += 1;
        self.hash = xxh3_64_with_seed(&row.to_le_bytes(), self.hash);
        self.sum = self.sum.wrapping_add(row);
    }
}

/// Returns a number for each row of a batch that stands for it.
pub(crate) fn fingerprints(batch: &Batch) -> impl Iterator<Item = u64> + '_ {
    (0..batch.len()).map(|row| xxh3_64(batch.show(row).as_bytes()))
}

/// See the module.
#[derive(Default)]
pub(crate) struct History {
    /// Chains, with their region, that do something else when they are given the same again.
    fickle: BTreeSet<(usize, usize)>,
    /// By region and number within it.
    lives: BTreeMap<(usize, usize), Life>,
}

impl Call {
    /// Reads what is asked of a chain.
    pub(crate) fn of(call: &ChainCall) -> Call {
        let restored = match &call.first {
            First::Nothing | First::Undo(_) => None,
            First::Restore(base, _) => Some(base.entries.clone()),
        };
        let work = match &call.work {
            Work::Open { base, ended, now, .. } => {
                let from = base.as_ref().map_or(WindowId::NONE, |base| base.window);
                Kept::Open { from, now: *now, ended: *ended }
            }
            Work::Entry(entry) | Work::Sifted(entry) => Kept::Entry(entry.clone()),
            Work::Cut(window) => Kept::Cut(*window),
            Work::Nothing | Work::BeginAgain(_) | Work::Pack(_) | Work::Tell(_) => Kept::Nothing,
        };
        Call { restored, work }
    }
}

impl History {
    /// Begins the history of a job of which these chains do something else when they are given the same again.
    pub(crate) fn new(fickle: BTreeSet<(usize, usize)>) -> History {
        History { fickle, ..History::default() }
    }

    /// A call of a subtask's chain went well.
    pub(crate) fn called(&mut self, region: usize, number: usize, call: Call, answer: &ChainAnswer, entries: Vec<u64>) {
        let life = self.lives.entry((region, number)).or_default();
        if let Some(entries) = call.restored {
            life.back_within(&entries);
        }
        let gave = || answer.outputs.iter().map(|routed| routed.batch.clone()).collect::<Vec<_>>();
        match call.work {
            Kept::Nothing => {}
            Kept::Open { from, now, ended } => {
                life.back_to(from);
                let gave = if ended { Vec::new() } else { gave() };
                life.add(Step::Opened { again: from > WindowId::NONE, now, gave }, entries);
            }
            Kept::Entry(entry) => {
                let refused = answer.refused.iter().map(|refused| refused.batch.clone()).collect();
                life.add(Step::Seen { entry, gave: gave(), refused }, entries);
            }
            Kept::Cut(window) => _ = life.cuts.insert(window, (life.steps.len(), life.given)),
        }
    }

    /// The sink at the end of a subtask has shown something.
    pub(crate) fn shown(&mut self, region: usize, number: usize, batch: &Batch) {
        let life = self.lives.entry((region, number)).or_default();
        for row in fingerprints(batch) {
            life.shown.add(row);
            life.shown_rows.push(row);
        }
    }

    /// Returns how many rows are visible.
    pub(crate) fn visible(&self) -> u64 {
        self.lives.values().map(|life| life.shown.rows).sum()
    }

    /// All that a checkpoint of a region covers is visible: it must be what the chains of its sinks had given, or those
    /// before them, if nothing was under way between them.
    pub(crate) fn settled(&self, job: &Job, region: usize, head: WindowId, under_way: bool) -> Verdict {
        let (layout, blueprint) = (&job.layouts[region], &job.regions[region]);
        let given = |number| {
            let life = self.lives.get(&(region, number))?;
            life.cuts.get(&head).copied().or_else(|| life.at_end(head)).map(|(_, given)| given)
        };
        for (to, chain) in blueprint.chains.iter().enumerate().filter(|(_, chain)| chain.sink.is_some()) {
            let numbers =
                |chain: usize| (0..layout.subtasks.len()).filter(move |number| layout.chains[*number] == chain);
            let shown = |number| self.lives.get(&(region, number)).map_or(Digest::default(), |life| life.shown);
            if !is_bare(blueprint, to) {
                for number in numbers(to) {
                    let Some(given) = given(number) else { continue };
                    if shown(number) != given {
                        return Err(not_shown(&layout.subtasks[number], head, shown(number).rows, given.rows));
                    }
                }
                continue;
            }
            let mut links = blueprint.links.iter().filter(|link| link.to == to);
            if under_way || chain.source.is_some() || links.clone().any(|link| is_bare(blueprint, link.from)) {
                continue;
            }
            let (mut rows, mut sum) = (0, 0u64);
            let all_known = links.all(|link| {
                let times = if link.route == Spread::Broadcast { u64::from(chain.parallelism) } else { 1 };
                numbers(link.from).all(|number| {
                    let Some(given) = given(number) else { return false };
                    rows += given.rows * times;
                    sum = sum.wrapping_add(given.sum.wrapping_mul(times));
                    true
                })
            });
            let shown = numbers(to)
                .map(shown)
                .fold((0, 0u64), |(rows, sum), shown| (rows + shown.rows, sum.wrapping_add(shown.sum)));
            if all_known && shown != (rows, sum) {
                return Err(not_shown(&chain.name, head, shown.0, rows));
            }
        }
        Ok(())
    }

    /// The job has ended: all of it must be explained.
    pub(crate) fn ended(&self, is: &Plain<'_>) -> Verdict {
        let Plain { job, common, .. } = is;
        for (region, blueprint) in job.regions.iter().enumerate() {
            let layout = &job.layouts[region];
            let inputs = is.inputs(region)?;
            for (number, id) in layout.subtasks.iter().enumerate() {
                let Some(life) = self.lives.get(&(region, number)) else { continue };
                let chain = layout.chains[number];
                if is_bare(blueprint, chain) {
                    continue;
                }
                if layout.sinks[number] && life.shown != life.given {
                    let message = format!("{id} shows {} rows of {}", life.shown.rows, life.given.rows);
                    return Err(InvariantId::OutputComplete.broken(message));
                }
                if let Some(input) = &inputs[number] {
                    life.reads(input, id, is)?;
                }
                if !self.fickle.contains(&(region, chain)) {
                    life.repeats(&blueprint.chains[chain], id, common)?;
                }
            }
            for chain in 0..blueprint.chains.len() {
                self.edges_deliver(is, region, chain, &inputs)?;
            }
        }
        Ok(())
    }

    /// What was emitted into the edges to each port of a chain must have come out of them.
    fn edges_deliver(&self, is: &Plain<'_>, region: usize, to: usize, inputs: &[Option<Vec<Batch>>]) -> Verdict {
        let (layout, blueprint) = (&is.job.layouts[region], &is.job.regions[region]);
        let numbers = |chain: usize| (0..layout.subtasks.len()).filter(move |number| layout.chains[*number] == chain);
        let lives = |chain: usize| numbers(chain).filter_map(|number| self.lives.get(&(region, number)));
        let links = || blueprint.links.iter().filter(|link| link.to == to);
        let consumer = &blueprint.chains[to];
        let ports: BTreeSet<usize> = links().map(|link| if is_bare(blueprint, to) { 0 } else { link.port }).collect();
        for port in ports {
            let mut balance = Balance::default();
            for link in links().filter(|link| link.port == port || is_bare(blueprint, to)) {
                let times = if link.route == Spread::Broadcast { i64::from(consumer.parallelism) } else { 1 };
                if is_bare(blueprint, link.from) {
                    let read = numbers(link.from).filter_map(|number| inputs[number].as_ref());
                    read.flatten().for_each(|batch| balance.add(batch, times));
                } else {
                    lives(link.from).flat_map(Life::all_given).for_each(|batch| balance.add(batch, times));
                }
            }
            if is_bare(blueprint, to) {
                lives(to).flat_map(|life| &life.shown_rows).for_each(|row| balance.take(*row));
            } else {
                lives(to).flat_map(|life| life.taken(port)).for_each(|batch| balance.add(batch, -1));
            }
            balance.is_even(&consumer.name, is)?;
        }
        Ok(())
    }
}

/// A job of which nothing fails.
pub(crate) struct Plain<'a> {
    pub(crate) job: &'a Job,
    pub(crate) common: &'a Common,
    /// Whether a record, as it is shown, may be missing because it was set aside.
    pub(crate) is_excused: &'a dyn Fn(&str) -> bool,
}

impl Plain<'_> {
    /// Reads the sources of a region, of each subtask that has one.
    fn inputs(&self, region: usize) -> Result<Vec<Option<Vec<Batch>>>, Violation> {
        let layout = &self.job.layouts[region];
        let read = |(number, id): (usize, &SubtaskId)| {
            let chain = &self.job.regions[region].chains[layout.chains[number]];
            let Some((name, blueprint, _)) = &chain.source else { return Ok(None) };
            let subtask = subtask_of(name, chain, id.index, self.common);
            let read = (blueprint.make)(self.common.batch_rows).and_then(|source| read_all(source, subtask));
            read.map(Some).map_err(|error| InvariantId::OperatorsRepeat.broken(format!("{id} cannot be read: {error}")))
        };
        layout.subtasks.iter().enumerate().map(read).collect()
    }
}

fn not_shown(whom: &dyn std::fmt::Display, head: WindowId, shown: u64, given: u64) -> Violation {
    let others = if shown == given { ", but others or in another order" } else { "" };
    let message = format!("{whom} shows {shown} rows, where {given} were given to its sink by window {head}{others}");
    InvariantId::OutputIsPrefix.broken(message)
}

/// Returns whether the engine carries records past a chain, because it has neither operators nor keys to compute.
fn is_bare(blueprint: &RegionBlueprint, chain: usize) -> bool {
    // With one consumer there is nothing to choose by a key.
    let is_keyed = |to: usize, route| route == Spread::Keyed && blueprint.chains[to].parallelism > 1;
    blueprint.chains[chain].operators.is_empty()
        && !blueprint.links.iter().any(|link| link.from == chain && is_keyed(link.to, link.route))
}

/// Rows that went into something, less those that came out.
#[derive(Default)]
struct Balance(BTreeMap<u64, (i64, Option<(Batch, usize)>)>);

impl Balance {
    fn add(&mut self, batch: &Batch, times: i64) {
        for (number, row) in fingerprints(batch).enumerate() {
            let (count, example) = self.0.entry(row).or_default();
            *count += times;
            example.get_or_insert_with(|| (batch.clone(), number));
        }
    }

    fn take(&mut self, row: u64) {
        self.0.entry(row).or_default().0 -= 1;
    }

    fn is_even(&self, consumer: &str, is: &Plain<'_>) -> Verdict {
        for (times, example) in self.0.values().filter(|(times, _)| *times != 0) {
            let row = example
                .as_ref()
                .map_or_else(|| "a row that nobody emitted".to_string(), |(batch, row)| batch.show(*row));
            if *times > 0 && (is.is_excused)(&row) {
                continue;
            }
            let what = if *times > 0 { "was lost" } else { "came too often" };
            let message = format!("{row} {what} on its way to \"{consumer}\" ({} times)", times.abs());
            return Err(InvariantId::EdgeDelivers.broken(message));
        }
        Ok(())
    }
}

impl Life {
    fn add(&mut self, step: Step, entries: Vec<u64>) {
        let (Step::Opened { gave, .. } | Step::Seen { gave, .. }) = &step;
        for batch in gave {
            fingerprints(batch).for_each(|row| self.given.add(row));
        }
        self.steps.push(Lived { step, entries, given: self.given });
    }

    fn back_to(&mut self, window: WindowId) {
        let (steps, given) = match self.cuts.get(&window) {
            Some(cut) => *cut,
            None => self.at_end(window).unwrap_or_default(),
        };
        self.cut_back(steps, given);
    }

    /// Goes back within an attempt, to where the operators had seen so many entries.
    fn back_within(&mut self, entries: &[u64]) {
        let opened = self.steps.iter().rposition(|lived| matches!(lived.step, Step::Opened { .. })).unwrap_or(0);
        let found = self.steps[opened..].iter().rposition(|lived| lived.entries == entries);
        let given = found.map_or(Digest::default(), |place| self.steps[opened + place].given);
        self.cut_back(found.map_or(opened, |place| opened + place + 1), given);
    }

    fn cut_back(&mut self, steps: usize, given: Digest) {
        self.steps.truncate(steps);
        self.given = given;
        self.cuts.retain(|_, (at, _)| *at <= steps);
    }

    /// Returns the end of a history that was over before a window.
    fn at_end(&self, window: WindowId) -> Option<(usize, Digest)> {
        let is_over = matches!(
            self.steps.last().map(|lived| &lived.step),
            Some(Step::Seen { entry: Entry { what: What::Close, .. }, .. })
        );
        (is_over && window > WindowId::NONE).then_some((self.steps.len(), self.given))
    }

    /// Returns everything that has come out at the end of the chain.
    fn all_given(&self) -> impl Iterator<Item = &Batch> {
        self.steps.iter().flat_map(|lived| match &lived.step {
            Step::Opened { gave, .. } | Step::Seen { gave, .. } => gave,
        })
    }

    /// Returns what was taken from an input port.
    fn taken(&self, port: usize) -> impl Iterator<Item = &Batch> {
        self.steps.iter().filter_map(move |lived| match &lived.step {
            Step::Seen { entry: Entry { what: What::Batch(at, batch), .. }, .. } if *at == port => Some(batch),
            _ => None,
        })
    }

    /// What it has taken from its source must be all that there is, in order.
    fn reads(&self, input: &[Batch], id: &SubtaskId, is: &Plain<'_>) -> Verdict {
        let rows = |batches: &mut dyn Iterator<Item = &Batch>| -> Vec<u64> { batches.flat_map(fingerprints).collect() };
        let (took, there) = (rows(&mut self.taken(0)), rows(&mut input.iter()));
        if took == there {
            return Ok(());
        }
        let there = input.iter().flat_map(|batch| (0..batch.len()).map(move |row| (batch, row)));
        let mut took = took.into_iter().peekable();
        for (number, (batch, row)) in there.enumerate() {
            let shown = batch.show(row);
            if took.peek() == Some(&xxh3_64(shown.as_bytes())) {
                took.next();
            } else if !(is.is_excused)(&shown) {
                let message = format!("{id} has not taken record {number} of its source in its place: {shown}");
                return Err(InvariantId::OutputComplete.broken(message));
            }
        }
        match took.next() {
            None => Ok(()),
            Some(_) => Err(InvariantId::OutputNotRepeated.broken(format!("{id} has taken more than its source holds"))),
        }
    }

    /// Fresh operators that live through this must give the same.
    fn repeats(&self, chain: &ChainBlueprint, id: &SubtaskId, common: &Common) -> Verdict {
        let mut fresh = Fresh::of(chain, id, common);
        for (number, Lived { step, .. }) in self.steps.iter().enumerate() {
            let (gives, gave, refused) = match step {
                Step::Opened { again: true, now, gave } => (fresh.begin_again(*now), gave, None),
                Step::Opened { now, gave, .. } => (fresh.open(*now), gave, None),
                Step::Seen { entry, gave, refused } => (fresh.see(entry), gave, Some(refused)),
            };
            let gives = gives.map_err(|error| {
                let message = format!("{id} fails now, at step {number} of its history, where it did not: {error}");
                InvariantId::OperatorsRepeat.broken(message)
            })?;
            let shown = |batches: &[Batch]| -> Vec<String> {
                batches.iter().flat_map(|batch| (0..batch.len()).map(|row| batch.show(row))).collect()
            };
            if matches!(step, Step::Opened { again: true, .. }) {
                continue;
            }
            let same = gives.len() == gave.len() && gives.iter().zip(gave).all(|(one, other)| one.same(&**other));
            if same {
                continue;
            }
            let (mut gives, mut had) = (shown(&gives), shown(gave));
            if let Some(refused) = refused.filter(|refused| !refused.is_empty()) {
                had.extend(shown(refused));
                gives.sort();
                had.sort();
            }
            if gives != had {
                let at = gives.iter().zip(&had).position(|(one, other)| one != other);
                let at = at.unwrap_or(gives.len().min(had.len()));
                let nothing = "nothing".to_string();
                let message = format!(
                    "{id} gives {} now, at step {number} of its history, where it gave {}: it is not deterministic, or \
                     keeps something where no snapshot finds it",
                    gives.get(at).unwrap_or(&nothing),
                    had.get(at).unwrap_or(&nothing)
                );
                return Err(InvariantId::OperatorsRepeat.broken(message));
            }
        }
        Ok(())
    }
}
