//! The history of one subtask: what its operators have seen, and what they gave.

use std::collections::BTreeMap;

use piton_actors::{Batch, Timestamp, WindowId};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::fresh::Fresh;
use crate::chaos::invariants::{InvariantId, Verdict};
use crate::ids::SubtaskId;
use crate::protocol::chain::{Base, ChainAnswer, ChainCall, Entry, Exit, First, MAIN, What, Work};
use crate::runtime::build::{ChainBlueprint, Common};

/// What a call does to a history, as far as it is known before it is made.
pub(crate) struct Call {
    /// Before it, the chain goes back to where its operators had seen so many entries.
    restored: Option<Vec<u64>>,
    work: Kept,
}

enum Kept {
    Nothing,
    Open { from: WindowId, now: Timestamp, ended: bool, base: Option<Box<Base>> },
    BeginAgain(WindowId),
    Entry(Entry),
    Cut(WindowId),
}

impl Call {
    /// Reads what is asked of a chain; with the snapshot that it begins from, if that is where its history begins.
    pub(super) fn of(call: &ChainCall, with_base: bool) -> Call {
        let restored = match &call.first {
            First::Nothing | First::Undo(_) => None,
            First::Restore(base, _) => Some(base.entries.clone()),
        };
        let work = match &call.work {
            Work::Open { base, ended, now, .. } => {
                let from = base.as_ref().map_or(WindowId::NONE, |base| base.window);
                Kept::Open { from, now: *now, ended: *ended, base: base.clone().filter(|_| with_base) }
            }
            Work::BeginAgain(window) => Kept::BeginAgain(*window),
            Work::Entry(entry) | Work::Sifted(entry) => Kept::Entry(entry.clone()),
            Work::Cut(window) => Kept::Cut(*window),
            Work::Nothing | Work::Pack(_) | Work::Tell(_) => Kept::Nothing,
        };
        Call { restored, work }
    }
}

/// What came out of a chain, and by which way.
pub(super) type Gave = Vec<(Exit, Batch)>;

/// Something that a subtask has lived through.
enum Step {
    /// Its operators were opened: from nothing, or from the snapshot that its history begins with.
    Opened { now: Timestamp, base: Option<Box<Base>>, gave: Gave },
    /// They were made anew from a snapshot that lies within its history, and opened.
    OpenedAgain { now: Timestamp, gave: Gave },
    /// They were told of a window that had begun when the snapshot was taken that its history begins with.
    BegunAgain(WindowId),
    /// They have seen this, and this came of it; some of which could not be sent on.
    Seen { entry: Entry, gave: Gave, refused: Gave },
}

impl Step {
    fn gave(&self) -> &[(Exit, Batch)] {
        match self {
            Step::Opened { gave, .. } | Step::OpenedAgain { gave, .. } | Step::Seen { gave, .. } => gave,
            Step::BegunAgain(_) => &[],
        }
    }
}

struct Lived {
    step: Step,
    /// How many entries the operators had seen behind it.
    entries: Vec<u64>,
    /// What had come out by then.
    given: Given,
}

/// See the module.
#[derive(Default)]
pub(super) struct Life {
    steps: Vec<Lived>,
    /// Where each snapshot was taken, and what had come out of the chain by then.
    cuts: BTreeMap<WindowId, (usize, Given)>,
    /// All that has come out of the chain.
    pub(super) given: Given,
}

/// Stands for a sequence of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) rows: u64,
    /// Of the rows in their order.
    hash: u64,
    /// Of the rows in any order.
    pub(super) sum: u64,
}

impl Digest {
    /// Adds a row.
    pub(super) fn add(&mut self, row: u64) {
        self.rows += 1;
        self.hash = xxh3_64_with_seed(&row.to_le_bytes(), self.hash);
        self.sum = self.sum.wrapping_add(row);
    }
}

/// Stands for what has come out of a chain, by each of its ways out.
#[derive(Clone, Debug, Default)]
pub(super) struct Given(Vec<Digest>);

impl Given {
    /// Returns what has come out by one of them.
    pub(super) fn by(&self, exit: Exit) -> Digest {
        self.0.get(exit).copied().unwrap_or_default()
    }

    fn add(&mut self, exit: Exit, batch: &Batch) {
        if self.0.len() <= exit {
            self.0.resize(exit + 1, Digest::default());
        }
        fingerprints(batch).for_each(|row| self.0[exit].add(row));
    }
}

/// Returns a number for each row of a batch that stands for it.
pub(super) fn fingerprints(batch: &Batch) -> impl Iterator<Item = u64> + '_ {
    (0..batch.len()).map(|row| xxh3_64(batch.show(row).as_bytes()))
}

impl Life {
    /// A call of the chain went well.
    pub(super) fn called(&mut self, call: Call, answer: &ChainAnswer, entries: Vec<u64>) {
        if let Some(entries) = call.restored {
            self.back_within(&entries);
        }
        let gave = || answer.outputs.iter().map(|routed| (routed.exit, routed.batch.clone())).collect::<Gave>();
        match call.work {
            Kept::Nothing => {}
            Kept::Open { from, now, ended, base } => {
                self.back_to(from);
                if self.steps.is_empty() {
                    self.cuts = BTreeMap::from([(from, (0, Given::default()))]);
                }
                let gave = if ended { Vec::new() } else { gave() };
                let again = from > WindowId::NONE && !self.steps.is_empty();
                let step = if again { Step::OpenedAgain { now, gave } } else { Step::Opened { now, base, gave } };
                self.add(step, entries);
            }
            Kept::BeginAgain(window) => {
                if let [Lived { step: Step::Opened { base: Some(_), .. }, .. }] = &self.steps[..] {
                    self.add(Step::BegunAgain(window), entries);
                }
            }
            Kept::Entry(entry) => {
                let refused = answer.refused.iter().map(|refused| (refused.exit, refused.batch.clone())).collect();
                self.add(Step::Seen { entry, gave: gave(), refused }, entries);
            }
            Kept::Cut(window) => _ = self.cuts.insert(window, (self.steps.len(), self.given.clone())),
        }
    }

    fn add(&mut self, step: Step, entries: Vec<u64>) {
        for (exit, batch) in step.gave() {
            self.given.add(*exit, batch);
        }
        self.steps.push(Lived { step, entries, given: self.given.clone() });
    }

    /// Goes back to the snapshot of a window.
    pub(super) fn back_to(&mut self, window: WindowId) {
        let (steps, given) = match self.cuts.get(&window) {
            Some(cut) => cut.clone(),
            None => self.at_end(window).unwrap_or_default(),
        };
        self.cut_back(steps, given);
    }

    /// Goes back within an attempt, to where the operators had seen so many entries.
    fn back_within(&mut self, entries: &[u64]) {
        let is_opening = |lived: &Lived| matches!(lived.step, Step::Opened { .. } | Step::OpenedAgain { .. });
        let opened = self.steps.iter().rposition(is_opening).unwrap_or(0);
        let found = self.steps[opened..].iter().rposition(|lived| lived.entries == entries);
        let given = found.map_or(Given::default(), |place| self.steps[opened + place].given.clone());
        self.cut_back(found.map_or(opened, |place| opened + place + 1), given);
    }

    fn cut_back(&mut self, steps: usize, given: Given) {
        self.steps.truncate(steps);
        self.given = given;
        self.cuts.retain(|_, (at, _)| *at <= steps);
    }

    /// Returns the end of a history that was over before a window.
    fn at_end(&self, window: WindowId) -> Option<(usize, Given)> {
        // Answers may have come behind the end.
        let is_answer = |step: &Step| matches!(step, Step::Seen { entry: Entry { what: What::Answer(..), .. }, .. });
        let last = self.steps.iter().rev().map(|lived| &lived.step).find(|step| !is_answer(step));
        let is_over = matches!(last, Some(Step::Seen { entry: Entry { what: What::Close, .. }, .. }));
        (is_over && window > WindowId::NONE).then(|| (self.steps.len(), self.given.clone()))
    }

    /// Returns what had come out by a way by the snapshot of a window, if it knows of that.
    pub(super) fn given_by(&self, exit: Exit, window: WindowId) -> Option<Digest> {
        match self.cuts.get(&window) {
            Some((_, given)) => Some(given.by(exit)),
            None => self.at_end(window).map(|(_, given)| given.by(exit)),
        }
    }

    /// Returns everything that has come out by a way.
    pub(super) fn all_given(&self, by: Exit) -> impl Iterator<Item = &Batch> {
        let gave = self.steps.iter().flat_map(|lived| lived.step.gave());
        gave.filter(move |(exit, _)| *exit == by).map(|(_, batch)| batch)
    }

    /// Returns what was taken from an input port.
    pub(super) fn taken(&self, port: usize) -> impl Iterator<Item = &Batch> {
        self.steps.iter().filter_map(move |lived| match &lived.step {
            Step::Seen { entry: Entry { what: What::Batch(at, batch), .. }, .. } if *at == port => Some(batch),
            _ => None,
        })
    }

    /// Fresh operators that live through this must give the same.
    pub(super) fn repeats(&self, chain: &ChainBlueprint, id: &SubtaskId, common: &Common) -> Verdict {
        let mut fresh = Fresh::of(chain, id, common);
        let whom = in_full(chain, id);
        for (number, Lived { step, .. }) in self.steps.iter().enumerate() {
            let gives = match step {
                Step::Opened { now, base, .. } => fresh.open(*now, base.as_deref()),
                Step::OpenedAgain { now, .. } => {
                    fresh.count_anew(*now);
                    continue;
                }
                Step::BegunAgain(window) => fresh.begin_again(*window),
                Step::Seen { entry, .. } => fresh.see(entry),
            };
            let gives = gives.map_err(|error| {
                let message = format!("{whom} fails now, at step {number} of its history, where it did not: {error}");
                InvariantId::OperatorsRepeat.broken(message)
            })?;
            let refused = if let Step::Seen { refused, .. } = step { &refused[..] } else { &[] };
            same(&gives, step.gave(), refused).map_err(|(gives, gave)| {
                let message = format!(
                    "{whom} gives {gives} now, at step {number} of its history, where it gave {gave}: it is not \
                     deterministic, or keeps something where no snapshot finds it"
                );
                InvariantId::OperatorsRepeat.broken(message)
            })?;
        }
        Ok(())
    }
}

/// Names a subtask with all that is in it: it may be any of these that is meant.
fn in_full(chain: &ChainBlueprint, id: &SubtaskId) -> String {
    let names: Vec<&str> =
        chain.source.iter().map(|(name, ..)| &**name).chain(chain.operators.iter().map(|(name, _)| &**name)).collect();
    if names.len() > 1 { format!("{id} ({})", names.join(" → ")) } else { id.to_string() }
}

/// Compares what is given now with what was given, and was refused then; returns the first row that differs.
fn same(gives: &[(Exit, Batch)], gave: &[(Exit, Batch)], refused: &[(Exit, Batch)]) -> Result<(), (String, String)> {
    let alike = |(one, other): (&(Exit, Batch), &(Exit, Batch))| one.0 == other.0 && one.1.same(&*other.1);
    if refused.is_empty() && gives.len() == gave.len() && gives.iter().zip(gave).all(alike) {
        return Ok(());
    }
    let show = |exit: Exit, row: String| if exit == MAIN { row } else { format!("{row} (aside, {exit})") };
    let shown = |batches: &[(Exit, Batch)]| -> Vec<String> {
        let rows = batches.iter().flat_map(|(exit, batch)| (0..batch.len()).map(|row| show(*exit, batch.show(row))));
        rows.collect()
    };
    let (mut gives, mut had) = (shown(gives), shown(gave));
    if !refused.is_empty() {
        had.extend(shown(refused));
        gives.sort();
        had.sort();
    }
    if gives == had {
        return Ok(());
    }
    let at = gives.iter().zip(&had).position(|(one, other)| one != other).unwrap_or(gives.len().min(had.len()));
    let row = |rows: &[String]| rows.get(at).cloned().unwrap_or_else(|| "nothing".to_string());
    Err((row(&gives), row(&had)))
}
