//! The operators of one subtask: what one emits, those that read it take at once.
//!
//! Most are one behind the other. Where several read the same, and what they emit comes together again, a batch goes the
//! first way to its end before it goes the second one ([0018](../../../docs/decisions/0018-chains-that-fork.md)).
//!
//! The chain is the part of a subtask that runs the operators' code. It travels: the subtask gives it away with a
//! [`ChainCall`], whoever carries the call out brings it back with the answer. While it is away the subtask is whole
//! and can be looked at, and a chain that never comes back, because the code in it never returns, can be replaced.
//!
//! A call is a transaction. Nothing that it emits leaves the chain before all of it is done; if it fails, the chain
//! can take it back ([`First::Undo`]) or be made anew from a snapshot ([`First::Restore`]).
//!
//! There is one way out at the end of the chain, [`MAIN`], and one more for each side output of an operator that somebody
//! reads, wherever in the chain it stands.
//!
//! Whoever has to know whether the code in there gets anywhere looks at the chain's [`Pulse`]. Only calls of user code
//! count: to restore or to write down a large state takes as long as it takes. The places that it names are the
//! operators by their number, then the keyed output edges by theirs.

mod call;
mod link;
mod packing;
mod routing;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use piton_actors::host::{AnyOperator, Keyer, Pulse, Waiting};
use piton_actors::{Batch, Result as UserResult, Scatter, SideOutputDeclared, Timestamp};

pub use self::call::{
    Base, ChainAnswer, ChainCall, ChainFailure, Entry, First, Notice, Packed, PackedChannel, Refused, Renewal, Routed,
    Take, What, Work, WrittenDown,
};
use self::link::{Link, Out, give, pass_on, process, watched};
pub use self::wire::Wire;
use self::wire::{Readers, is_head, readers};
use crate::protocol::failure::{Failure, drop_quietly, guard};
use crate::protocol::mutant::{self, Mutant};
use crate::protocol::workshop::Workshop;

/// A way out of a chain, by its number.
pub type Exit = usize;

/// The way out at the end of a chain; those of side outputs follow it in the order of the sides of its `ChainSpec`.
pub const MAIN: Exit = 0;

/// A side output of an operator of a chain that somebody reads.
#[derive(Clone, Debug)]
pub struct SideExit {
    /// The operator, counted from the head of the chain.
    pub operator: usize,
    /// The output.
    pub output: SideOutputDeclared,
}

/// What a chain is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChainSpec {
    /// The names of the operators, each behind those that it reads.
    pub(crate) names: Vec<String>,
    /// Who reads whom. What comes in from elsewhere than a source of its own goes to the first operator.
    pub(crate) wires: Vec<Wire>,
    /// The side outputs that somebody reads.
    pub(crate) sides: Vec<SideExit>,
    /// The keyed output edges with more than one channel, in the order of the edges.
    pub(crate) keyed: Vec<KeyedEdge>,
}

/// An output edge for which keys are computed.
#[derive(Clone, Debug)]
pub(crate) struct KeyedEdge {
    /// Its number among the output edges.
    pub(crate) edge: usize,
    /// The way out that it begins at.
    pub(crate) exit: Exit,
    /// The operator that it leads to: a panic in its `key` is its own.
    pub(crate) consumer: String,
}

/// What computes the keys for one output edge.
struct Keying {
    edge: usize,
    exit: Exit,
    /// The operator that the edge leads to: a panic in its `key` is its own.
    consumer: String,
    keyer: Box<dyn Keyer>,
}

/// The operators of one subtask. There may be none: a source that leads straight to a sink.
pub struct Chain {
    spec: ChainSpec,
    links: Vec<Link>,
    /// Who reads the source of the subtask.
    heads: Readers,
    keying: Vec<Keying>,
    /// What has come out of the call under way.
    out: Out,
    workshop: Arc<dyn Workshop>,
    /// Whether an operator may hold in its fields what records left there, as far as that is known.
    holds: Vec<Option<bool>>,
    /// Whether a transaction is open in the links.
    open: bool,
    spare: Vec<Vec<u64>>,
    pulse: Arc<Pulse>,
}

impl Chain {
    /// Makes a chain of fresh operators.
    ///
    /// # Errors
    /// The factory's.
    pub(crate) fn new(spec: ChainSpec, workshop: Arc<dyn Workshop>) -> Result<Chain, Failure> {
        let mut chain = Chain::hollow(spec, workshop);
        chain.make()?;
        Ok(chain)
    }

    /// Makes a chain without its operators: nothing but [`First::Restore`] can be done with it.
    pub(crate) fn hollow(spec: ChainSpec, workshop: Arc<dyn Workshop>) -> Chain {
        let holds = vec![None; spec.names.len()];
        let (links, keying, spare) = (Vec::new(), Vec::new(), Vec::new());
        let (heads, out, pulse) = (readers(None, &spec.wires), Out::default(), Arc::default());
        Chain { spec, links, heads, keying, out, workshop, holds, open: false, spare, pulse }
    }

    /// Shows with this pulse, from now on, whether the code in the chain gets anywhere.
    pub fn show(&mut self, pulse: &Arc<Pulse>) {
        if Arc::ptr_eq(&self.pulse, pulse) {
            return;
        }
        self.pulse = Arc::clone(pulse);
        for link in &mut self.links {
            link.pulse = Arc::clone(pulse);
            link.operator.show(pulse);
        }
    }

    /// Makes all operators anew.
    fn make(&mut self) -> Result<(), Failure> {
        self.let_go();
        for (place, name) in self.spec.names.iter().enumerate() {
            let mut operator = watched(&self.pulse, place, || guard(name, || self.workshop.operator(place)))?;
            self.holds[place] = self.holds[place].or(operator.holds_rows());
            operator.show(&self.pulse);
            let sides = self.spec.sides.iter().zip(MAIN + 1..).filter(|(side, _)| side.operator == place);
            let (outputs, sides): (Vec<&str>, Vec<Exit>) = sides.map(|(side, exit)| (side.output.name(), exit)).unzip();
            operator.collect(&outputs);
            let (name, pulse) = (name.clone(), Arc::clone(&self.pulse));
            let readers = readers(Some(place), &self.spec.wires);
            self.links.push(Link { name, place, pulse, operator, emitted: Vec::new(), readers, sides });
        }
        self.make_keyers()
    }

    fn make_keyers(&mut self) -> Result<(), Failure> {
        let keying = std::mem::take(&mut self.keying);
        drop_quietly(keying);
        for KeyedEdge { edge, exit, consumer } in &self.spec.keyed {
            let place = self.spec.names.len() + self.keying.len();
            let keyer = watched(&self.pulse, place, || guard(consumer, || self.workshop.keyer(*edge)))?;
            self.keying.push(Keying { edge: *edge, exit: *exit, consumer: consumer.clone(), keyer });
        }
        Ok(())
    }

    fn let_go(&mut self) {
        self.open = false;
        for link in self.links.drain(..) {
            let place = link.place;
            watched(&self.pulse, place, || drop_quietly(link));
        }
    }

    /// Returns whether nothing has to be called for a batch to pass.
    pub(crate) fn is_empty(&self) -> bool {
        self.spec.names.is_empty() && self.spec.keyed.is_empty()
    }

    /// Returns the names of the operators.
    pub(crate) fn names(&self) -> &[String] {
        &self.spec.names
    }

    /// Returns the number of operators.
    pub(crate) fn operators(&self) -> usize {
        self.spec.names.len()
    }

    /// Returns whether a replay is needed to make its state anew.
    pub(crate) fn remembers(&self) -> bool {
        self.holds_rows() || self.links.iter().any(|link| link.operator.has_state())
    }

    /// Returns whether operators hold in their fields what records left there; as long as that is not known, they do.
    fn holds_rows(&self) -> bool {
        self.holds.iter().any(|holds| holds.unwrap_or(true))
    }

    /// Returns whether none of the operators holds in its fields what records left there, so that a snapshot may be
    /// taken at any time.
    ///
    /// # Errors
    /// The operator that does, if that is known; nothing if it is not.
    pub(crate) fn holds_nothing(&self) -> Result<(), Option<&str>> {
        if let Some(place) = self.holds.iter().position(|holds| *holds == Some(true)) {
            return Err(Some(&self.spec.names[place]));
        }
        if self.holds.contains(&None) { Err(None) } else { Ok(()) }
    }

    /// Returns whether the last call can be taken back, so that fresh instances go on as if it had never been made.
    pub(crate) fn can_undo(&self) -> bool {
        self.open && !self.holds_rows()
    }

    /// Returns whether it is of use to make calls so that they can be taken back.
    pub(crate) fn is_undoable(&self) -> bool {
        !self.holds_rows()
    }

    /// Returns how many entries each operator has seen.
    pub(crate) fn entries(&self) -> Vec<u64> {
        self.links.iter().map(|link| link.operator.entry()).collect()
    }

    /// Returns when the earliest processing-time timer is due.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        self.links.iter().filter_map(|link| link.operator.next_processing_timer()).min()
    }

    /// Returns what the last operator waits for, if it makes requests to the outside. No other one does.
    pub(crate) fn waiting(&self) -> Option<Waiting> {
        self.links.last().and_then(|link| link.operator.waiting())
    }

    /// Makes what spreads the output of the last operator, if there is one.
    pub(crate) fn scatter(&self, channels: usize, rows: usize) -> Option<Box<dyn Scatter>> {
        self.links.last().map(|link| link.operator.scatter(channels, rows))
    }

    /// Takes back what held hashes, to be filled again.
    pub(crate) fn recycle(&mut self, hashes: impl Iterator<Item = Vec<u64>>) {
        self.spare.extend(hashes);
    }

    /// Carries a call out. User code runs here, and nowhere else in a subtask but in sources and sinks.
    pub fn call(mut self: Box<Self>, call: ChainCall) -> (Box<Chain>, Result<ChainAnswer, ChainFailure>) {
        let ChainCall { first, work, undoable } = call;
        if let Err(failure) = self.prepare(first) {
            return (self, Err(ChainFailure { preparing: true, ..failure }));
        }
        let answer = self.work(work, undoable);
        (self, answer)
    }

    fn prepare(&mut self, first: First) -> Result<(), ChainFailure> {
        match first {
            First::Nothing => Ok(()),
            First::Undo(renewal) => self.undo(renewal),
            First::Restore(base, renewal) => {
                self.make()?;
                self.restore(*base)?;
                Ok(self.renew(renewal)?)
            }
        }
    }

    fn undo(&mut self, renewal: Renewal) -> Result<(), ChainFailure> {
        self.open = false;
        for link in &mut self.links {
            if mutant::is(Mutant::SidesNotTakenBack) {
                link.send_aside(&mut self.out);
            }
            if mutant::is(Mutant::NothingUndone) {
                link.operator.settle();
                continue;
            }
            if !link.call(|operator| operator.undo())? {
                let failure = Failure::engine(&link.name, "its state cannot be taken back");
                return Err(ChainFailure { irrevocable: true, ..ChainFailure::lost(failure) });
            }
        }
        self.make_keyers()?;
        Ok(self.renew(renewal)?)
    }

    /// Opens fresh instances that take the place of others: what they emit or change was emitted and changed before.
    fn renew(&mut self, renewal: Renewal) -> Result<(), Failure> {
        for link in self.links.iter_mut().rev() {
            link.call(|operator| operator.reopen(renewal.told, renewal.window))?;
        }
        Ok(())
    }

    fn restore(&mut self, base: Base) -> Result<(), Failure> {
        let mut states = base.states.into_iter();
        let mut entries = base.entries.into_iter();
        for link in &mut self.links {
            let mut state = states.next().unwrap_or_default();
            if mutant::is(Mutant::BaseForgotten) && state.len() > 1 {
                state.drain(..state.len() - 1);
            }
            guard(&link.name, || match base.adopted.get(&link.name) {
                Some(states) => link.operator.adopt(states, base.watermark),
                None => link.operator.restore(state, base.watermark),
            })?;
            if let Some(entry) = entries.next() {
                link.operator.set_entry(entry);
            }
        }
        Ok(())
    }

    fn work(&mut self, work: Work, undoable: bool) -> Result<ChainAnswer, ChainFailure> {
        let mut answer = ChainAnswer::default();
        match work {
            Work::Nothing => {}
            Work::Open { base, ended, now, packed } => {
                if let Some(base) = base {
                    self.restore(*base)?;
                }
                self.open(now)?;
                if ended {
                    self.begin_out();
                } else {
                    self.route(&mut answer)?;
                }
                self.collect_asks(&mut answer);
                self.unpack(&packed, &mut answer)?;
            }
            Work::BeginAgain(window) => {
                for link in &mut self.links {
                    link.call(|operator| operator.begin_window_again(window))?;
                }
            }
            Work::Pack(channels) => answer.packed = self.pack(&channels)?,
            Work::Entry(entry) => {
                self.begin(undoable);
                self.see(entry)?;
                self.route(&mut answer)?;
                self.collect_asks(&mut answer);
                self.settle();
            }
            Work::Sifted(entry) => {
                self.begin(undoable);
                self.see(entry)?;
                self.sift(&mut answer);
                self.collect_asks(&mut answer);
                self.settle();
            }
            Work::Cut(_) => {
                for link in &mut self.links {
                    answer.chunks.push(guard(&link.name, || link.operator.cut())?);
                }
            }
            Work::Tell(notice) => {
                self.begin(undoable);
                for link in &mut self.links {
                    link.call(|operator| match notice {
                        Notice::Checkpointed(window) => operator.checkpointed(window),
                        Notice::Committed(window) => operator.committed(window),
                    })?;
                }
                self.settle();
            }
        }
        Ok(answer)
    }

    fn collect_asks(&mut self, answer: &mut ChainAnswer) {
        if let Some(link) = self.links.last_mut() {
            link.operator.drain_asks(&mut answer.asks);
        }
    }

    fn begin(&mut self, undoable: bool) {
        if undoable {
            self.open = true;
            self.links.iter_mut().for_each(|link| link.operator.begin());
        }
    }

    fn settle(&mut self) {
        if std::mem::take(&mut self.open) {
            self.links.iter_mut().for_each(|link| link.operator.settle());
        }
    }

    /// Begins a call that emits: what another one has left, because it failed, is nobody's.
    fn begin_out(&mut self) {
        self.out.main.clear();
        if !mutant::is(Mutant::SidesNotTakenBack) {
            self.out.aside.clear();
        }
    }

    fn open(&mut self, now: Timestamp) -> Result<(), ChainFailure> {
        self.begin_out();
        // The last one first: what one emits finds the later ones open.
        for index in (0..self.links.len()).rev() {
            self.links[index].call(|operator| {
                operator.begin_entry(now);
                operator.open()
            })?;
            pass_on(&mut self.links, index, now, &mut self.out)?;
        }
        Ok(())
    }

    fn see(&mut self, entry: Entry) -> Result<(), ChainFailure> {
        let now = entry.now;
        self.begin_out();
        match entry.what {
            What::Batch(port, batch) => {
                let rows = batch.len();
                if let Err(failure) = self.take(port, batch, now) {
                    // Who reads the batch itself knows at which record it was; others see what was made of many.
                    let mut heads = self.links.iter().filter(|link| is_head(link.place, &self.spec.wires));
                    let head = heads.find(|link| link.name == failure.operator);
                    let row = head.map(|link| link.operator.row()).filter(|row| *row < rows);
                    return Err(ChainFailure { row, ..ChainFailure::lost(failure) });
                }
            }
            What::Answer(id, answer) => {
                let Some(last) = self.links.len().checked_sub(1) else { return Ok(()) };
                self.links[last].call(|operator| {
                    operator.begin_entry(now);
                    operator.answer(id, answer.as_ref())
                })?;
                pass_on(&mut self.links, last, now, &mut self.out)?;
            }
            What::Watermark(watermark) => self.each(now, |operator| operator.advance_watermark(watermark))?,
            What::Timers => self.each(now, |operator| operator.fire_processing_timers())?,
            What::BeginWindow(window) => self.each(now, |operator| operator.begin_window(window))?,
            What::EndWindow(window) => {
                self.each(now, |operator| operator.end_window(window))?;
                self.learn();
            }
            What::BeforeCheckpoint(window) => {
                self.each(now, |operator| operator.before_checkpoint(window))?;
                self.learn();
            }
            What::Close => self.each(now, |operator| operator.close())?,
        }
        Ok(())
    }

    /// Has a batch that comes in pass the operators.
    fn take(&mut self, port: usize, batch: Batch, now: Timestamp) -> Result<(), Failure> {
        if self.links.is_empty() {
            self.out.main.push(batch);
            return Ok(());
        }
        if self.heads.is_empty() {
            return process(&mut self.links, (0, port), batch, now, &mut self.out);
        }
        give(&mut self.links, &self.heads, batch, now, &mut self.out)
    }

    fn learn(&mut self) {
        for (holds, link) in self.holds.iter_mut().zip(&self.links) {
            *holds = holds.or(link.operator.holds_rows());
        }
    }

    /// Calls a hook of each operator in turn; what one emits passes the later ones before their own hook is called.
    fn each(
        &mut self,
        now: Timestamp,
        mut hook: impl FnMut(&mut dyn AnyOperator) -> UserResult,
    ) -> Result<(), Failure> {
        for index in 0..self.links.len() {
            self.links[index].call(|operator| {
                operator.begin_entry(now);
                hook(operator)
            })?;
            pass_on(&mut self.links, index, now, &mut self.out)?;
        }
        Ok(())
    }
}
