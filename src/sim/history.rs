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
mod life;

use std::collections::{BTreeMap, BTreeSet};

use piton_actors::{Batch, WindowId};

use self::fresh::subtask_of;
pub(crate) use self::life::Call;
use self::life::{Digest, Life, fingerprints};
use crate::chaos::invariants::{InvariantId, Verdict, Violation};
use crate::config::Mode;
use crate::ids::SubtaskId;
use crate::protocol::chain::{ChainAnswer, ChainCall, Exit, MAIN};
use crate::protocol::manifest::Spread;
use crate::runtime::build::Common;
use crate::sim::happening::read_all;
use crate::sim::job::{Job, Layout, Variant};

/// See the module.
pub(crate) struct History {
    mode: Mode,
    /// Chains, with their region, that do something else when they are given the same again.
    fickle: BTreeSet<(usize, usize)>,
    /// One for each time that the job went on with another parallelism, and one before that.
    eras: Vec<Era>,
    /// What the subtasks of sinks have shown.
    shown: BTreeMap<SubtaskId, (Digest, Vec<u64>)>,
}

/// While a job has one parallelism.
struct Era {
    /// Which of the job's variants it is.
    variant: usize,
    /// By region and number within it.
    lives: BTreeMap<(usize, usize), Life>,
}

impl Era {
    /// Returns the histories of a chain's subtasks, each with its number.
    fn of_chain<'h>(
        &'h self,
        layout: &'h Layout,
        region: usize,
        chain: usize,
    ) -> impl Iterator<Item = (usize, &'h Life)> {
        let numbers = (0..layout.subtasks.len()).filter(move |number| layout.chains[*number] == chain);
        numbers.filter_map(move |number| Some((number, self.lives.get(&(region, number))?)))
    }
}

impl History {
    /// Begins the history of a job of which these chains do something else when they are given the same again.
    pub(crate) fn new(mode: Mode, fickle: BTreeSet<(usize, usize)>) -> History {
        History { mode, fickle, eras: vec![Era { variant: 0, lives: BTreeMap::new() }], shown: BTreeMap::new() }
    }

    fn era(&mut self) -> &mut Era {
        self.eras.last_mut().expect("there is one from the beginning")
    }

    /// Listens to what is asked of a chain.
    pub(crate) fn listen(&self, call: &ChainCall) -> Call {
        Call::of(call, self.eras.len() > 1)
    }

    /// A call of a subtask's chain went well; its operators have seen so many entries.
    pub(crate) fn called(&mut self, region: usize, number: usize, call: Call, answer: &ChainAnswer, entries: Vec<u64>) {
        self.era().lives.entry((region, number)).or_default().called(call, answer, entries);
    }

    /// The subtask of a sink has shown something.
    pub(crate) fn shown(&mut self, sink: &SubtaskId, batch: &Batch) {
        let (digest, rows) = self.shown.entry(sink.clone()).or_default();
        for row in fingerprints(batch) {
            digest.add(row);
            rows.push(row);
        }
    }

    /// Returns how many rows are visible.
    pub(crate) fn visible(&self) -> u64 {
        self.shown.values().map(|(digest, _)| digest.rows).sum()
    }

    /// The job goes on with another parallelism, from these windows of its regions.
    pub(crate) fn rescaled(&mut self, variant: usize, heads: &[WindowId]) {
        for ((region, _), life) in &mut self.era().lives {
            life.back_to(heads[*region]);
        }
        self.eras.push(Era { variant, lives: BTreeMap::new() });
    }

    /// All that a checkpoint of a region covers is visible: it must be what the chains of its sinks had given, or those
    /// before them, if nothing was under way between them.
    pub(crate) fn settled(&self, variants: &[Variant], region: usize, head: WindowId, under_way: bool) -> Verdict {
        let blueprint = &variants[0].plain.regions[region];
        for (to, chain) in blueprint.chains.iter().enumerate() {
            let Some((sink, _)) = &chain.sink else { continue };
            if !is_bare(&variants[0].plain, region, to) {
                self.shows_in_order(variants, region, (to, sink), head)?;
                if let Some(given) = self.given_by(variants, region, (to, MAIN), head) {
                    self.shows(sink, given, head)?;
                }
                continue;
            }
            let mut links = blueprint.links.iter().filter(|link| link.to == to);
            if under_way || chain.source.is_some() {
                continue;
            }
            let given = links.try_fold((0, 0u64), |(rows, sum), link| {
                if is_bare(&variants[0].plain, region, link.from) {
                    return None;
                }
                let times = if link.route == Spread::Broadcast { u64::from(chain.parallelism) } else { 1 };
                let (more, of) = self.given_by(variants, region, (link.from, link.exit), head)?;
                Some((rows + more * times, sum.wrapping_add(of.wrapping_mul(times))))
            });
            if let Some(given) = given {
                match self.mode {
                    Mode::ExactlyOnce => self.shows(sink, given, head)?,
                    Mode::AtLeastOnce => self.shows_at_least(sink, given.0, head)?,
                }
            }
        }
        Ok(())
    }

    /// Returns how many rows had come out of a chain by one of its ways out, by a checkpoint, and a sum that stands for them;
    /// nothing if it is not known of each of its subtasks.
    fn given_by(
        &self,
        variants: &[Variant],
        region: usize,
        (chain, exit): (usize, Exit),
        head: WindowId,
    ) -> Option<(u64, u64)> {
        let last = self.eras.len() - 1;
        let mut all = (0, 0u64);
        for (number, era) in self.eras.iter().enumerate() {
            for (_, life) in era.of_chain(&variants[era.variant].plain.layouts[region], region, chain) {
                let given = if number == last { life.given_by(exit, head)? } else { life.given.by(exit) };
                all = (all.0 + given.rows, all.1.wrapping_add(given.sum));
            }
        }
        Some(all)
    }

    /// Returns how many rows a sink has shown, and a sum that stands for them.
    fn shown_by(&self, sink: &str) -> (u64, u64) {
        let of_sink = self.shown.iter().filter(|(id, _)| *id.operator == *sink);
        of_sink.fold((0, 0u64), |(rows, sum), (_, (shown, _))| (rows + shown.rows, sum.wrapping_add(shown.sum)))
    }

    /// At least once, a sink may have taken what its producer's snapshot does not hold yet.
    fn shows_at_least(&self, sink: &str, given: u64, head: WindowId) -> Verdict {
        let (shown, _) = self.shown_by(sink);
        if shown >= given { Ok(()) } else { Err(not_shown(&sink, head, shown, given)) }
    }

    fn shows(&self, sink: &str, given: (u64, u64), head: WindowId) -> Verdict {
        let shown = self.shown_by(sink);
        if shown == given { Ok(()) } else { Err(not_shown(&sink, head, shown.0, given.0)) }
    }

    /// Each subtask of a sink shows what came to it in the order in which it came, as long as they are the same ones.
    fn shows_in_order(
        &self,
        variants: &[Variant],
        region: usize,
        (chain, sink): (usize, &str),
        head: WindowId,
    ) -> Verdict {
        let [era] = &self.eras[..] else { return Ok(()) };
        let layout = &variants[era.variant].plain.layouts[region];
        for (number, life) in era.of_chain(layout, region, chain) {
            let id = SubtaskId::new(sink, layout.subtasks[number].index);
            let shown = self.shown.get(&id).map_or(Digest::default(), |(digest, _)| *digest);
            match life.given_by(MAIN, head) {
                Some(given) if given != shown => return Err(not_shown(&id, head, shown.rows, given.rows)),
                _ => {}
            }
        }
        Ok(())
    }

    /// The job has ended: all of it must be explained.
    pub(crate) fn ended(&self, is: &Plain<'_>) -> Verdict {
        let first = &is.variants[0].plain;
        for (region, blueprint) in first.regions.iter().enumerate() {
            let inputs = is.inputs(region)?;
            for era in &self.eras {
                let job = &is.variants[era.variant].plain;
                let layout = &job.layouts[region];
                for (number, id) in layout.subtasks.iter().enumerate() {
                    let chain = layout.chains[number];
                    let Some(life) = self.life(era, region, number, chain, first) else { continue };
                    if !self.fickle.contains(&(region, chain)) {
                        life.repeats(&job.regions[region].chains[chain], id, is.common)?;
                    }
                }
            }
            for (chain, of) in blueprint.chains.iter().enumerate() {
                if let Some((sink, _)) = of.sink.as_ref().filter(|_| !is_bare(first, region, chain)) {
                    self.shows_all(is, region, (chain, sink))?;
                }
                if !is_bare(first, region, chain) {
                    self.reads(is, region, chain, &inputs)?;
                }
                self.edges_deliver(is, region, chain, &inputs)?;
            }
        }
        Ok(())
    }

    fn life<'h>(&self, era: &'h Era, region: usize, number: usize, chain: usize, job: &Job) -> Option<&'h Life> {
        if is_bare(job, region, chain) { None } else { era.lives.get(&(region, number)) }
    }

    /// Returns the histories of all subtasks that a chain ever had.
    fn lives<'h>(&'h self, is: &'h Plain<'_>, region: usize, chain: usize) -> impl Iterator<Item = &'h Life> {
        self.eras.iter().flat_map(move |era| {
            era.of_chain(&is.variants[era.variant].plain.layouts[region], region, chain).map(|(_, life)| life)
        })
    }

    fn shows_all(&self, is: &Plain<'_>, region: usize, (chain, sink): (usize, &str)) -> Verdict {
        let given: u64 = self.lives(is, region, chain).map(|life| life.given.by(MAIN).rows).sum();
        let (shown, _) = self.shown_by(sink);
        if shown == given {
            return Ok(());
        }
        Err(InvariantId::OutputComplete.broken(format!("\"{sink}\" shows {shown} rows of {given}")))
    }

    /// What a chain has taken from its source must be all that there is, in order.
    fn reads(&self, is: &Plain<'_>, region: usize, chain: usize, inputs: &[Option<Vec<Batch>>]) -> Verdict {
        // A source keeps its parallelism.
        let layout = &is.variants[0].plain.layouts[region];
        for (number, id) in layout.subtasks.iter().enumerate().filter(|(number, _)| layout.chains[*number] == chain) {
            let Some(input) = &inputs[number] else { continue };
            let mut took = Vec::new();
            for era in &self.eras {
                let layout = &is.variants[era.variant].plain.layouts[region];
                let number = layout.subtasks.iter().position(|other| other == id);
                let life = number.and_then(|number| era.lives.get(&(region, number)));
                took.extend(life.into_iter().flat_map(|life| life.taken(0)).flat_map(fingerprints));
            }
            let mut took = took.into_iter().peekable();
            for (number, (batch, row)) in rows_of(input).enumerate() {
                let found = fingerprints(&batch.slice(row..row + 1)).next();
                if took.peek().copied() == found {
                    took.next();
                } else if !(is.is_excused)(&batch.show(row)) {
                    let shown = batch.show(row);
                    let message = format!("{id} has not taken record {number} of its source in its place: {shown}");
                    return Err(InvariantId::OutputComplete.broken(message));
                }
            }
            if took.next().is_some() {
                let message = format!("{id} has taken more than its source holds");
                return Err(InvariantId::OutputNotRepeated.broken(message));
            }
        }
        Ok(())
    }

    /// What was emitted into the edges to each port of a chain must have come out of them.
    fn edges_deliver(&self, is: &Plain<'_>, region: usize, to: usize, inputs: &[Option<Vec<Batch>>]) -> Verdict {
        let job = &is.variants[0].plain;
        let (layout, blueprint) = (&job.layouts[region], &job.regions[region]);
        let links = || blueprint.links.iter().filter(|link| link.to == to);
        let (consumer, to_is_bare) = (&blueprint.chains[to], is_bare(job, region, to));
        let ports: BTreeSet<usize> = links().map(|link| if to_is_bare { 0 } else { link.port }).collect();
        for port in ports {
            let mut balance = Balance::default();
            for link in links().filter(|link| link.port == port || to_is_bare) {
                let times = if link.route == Spread::Broadcast { i64::from(consumer.parallelism) } else { 1 };
                if is_bare(job, region, link.from) {
                    let numbers = (0..layout.subtasks.len()).filter(|number| layout.chains[*number] == link.from);
                    let read = numbers.filter_map(|number| inputs[number].as_ref());
                    read.flatten().for_each(|batch| balance.add(batch, times));
                } else {
                    let given = self.lives(is, region, link.from).flat_map(|life| life.all_given(link.exit));
                    given.for_each(|batch| balance.add(batch, times));
                }
            }
            if let (true, Some((sink, _))) = (to_is_bare, &consumer.sink) {
                let of_sink = self.shown.iter().filter(|(id, _)| *id.operator == **sink);
                of_sink.flat_map(|(_, (_, rows))| rows).for_each(|row| balance.take(*row));
            } else {
                self.lives(is, region, to).flat_map(|life| life.taken(port)).for_each(|batch| balance.add(batch, -1));
            }
            balance.is_even(&consumer.name, is)?;
        }
        Ok(())
    }
}

/// A job of which nothing fails.
pub(crate) struct Plain<'a> {
    pub(crate) variants: &'a [Variant],
    pub(crate) common: &'a Common,
    /// Whether a record, as it is shown, may be missing because it was set aside.
    pub(crate) is_excused: &'a dyn Fn(&str) -> bool,
}

impl Plain<'_> {
    /// Reads the sources of a region, of each subtask that has one.
    fn inputs(&self, region: usize) -> Result<Vec<Option<Vec<Batch>>>, Violation> {
        let job = &self.variants[0].plain;
        let layout = &job.layouts[region];
        let read = |(number, id): (usize, &SubtaskId)| {
            let chain = &job.regions[region].chains[layout.chains[number]];
            let Some((name, blueprint, _)) = &chain.source else { return Ok(None) };
            let subtask = subtask_of(name, chain, id.index, self.common);
            let read = (blueprint.make)(self.common.batch_rows).and_then(|source| read_all(source, subtask));
            read.map(Some).map_err(|error| InvariantId::OperatorsRepeat.broken(format!("{id} cannot be read: {error}")))
        };
        layout.subtasks.iter().enumerate().map(read).collect()
    }
}

fn rows_of(batches: &[Batch]) -> impl Iterator<Item = (&Batch, usize)> {
    batches.iter().flat_map(|batch| (0..batch.len()).map(move |row| (batch, row)))
}

fn not_shown(whom: &dyn std::fmt::Display, head: WindowId, shown: u64, given: u64) -> Violation {
    let others = if shown == given { ", but others or in another order" } else { "" };
    let message = format!("{whom} shows {shown} rows, where {given} were given to its sink by window {head}{others}");
    InvariantId::OutputIsPrefix.broken(message)
}

/// Returns whether a chain is without operators: records may go past it without a call.
fn is_bare(job: &Job, region: usize, chain: usize) -> bool {
    job.regions[region].chains[chain].operators.is_empty()
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

    /// At least once, a snapshot of the consumer may hold what the producer's does not: it comes again then, or something
    /// else in its place. Nothing may be lost.
    fn is_even(&self, consumer: &str, is: &Plain<'_>) -> Verdict {
        let is_exact = is.common.aligned;
        for (times, example) in self.0.values().filter(|(times, _)| *times > 0 || (is_exact && *times < 0)) {
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
