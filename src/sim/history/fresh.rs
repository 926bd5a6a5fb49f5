//! The operators of a chain, as a plain loop runs them: nothing of the engine is in it.

use piton_actors::blueprint::OperatorBlueprint;
use piton_actors::host::AnyOperator;
use piton_actors::{Batch, Result, Subtask, Timestamp, WindowId};

use super::life::Gave;
use crate::ids::SubtaskId;
use crate::protocol::chain::{Base, Entry, Exit, MAIN, What, Wire};
use crate::runtime::build::{ChainBlueprint, Common};

/// Returns what user code is told about itself.
pub(super) fn subtask_of(name: &str, chain: &ChainBlueprint, index: u32, common: &Common) -> Subtask {
    Subtask {
        operator: name.into(),
        index,
        parallelism: chain.parallelism,
        key_groups: common.key_groups,
        incarnation: 1,
        attempt: 0,
        seed: common.seed,
    }
}

/// See the module.
pub(super) struct Fresh {
    names: Vec<String>,
    links: Vec<Box<dyn AnyOperator>>,
    wires: Vec<Wire>,
    /// For each operator, where its side outputs lead that are read.
    sides: Vec<Vec<Exit>>,
}

/// What has come out: at the end, and by side outputs.
#[derive(Default)]
struct Out {
    main: Gave,
    aside: Gave,
}

impl Out {
    fn all(self) -> Gave {
        self.main.into_iter().chain(self.aside).collect()
    }
}

type Given = Result<Gave>;

impl Fresh {
    pub(super) fn of(chain: &ChainBlueprint, id: &SubtaskId, common: &Common) -> Fresh {
        let make = |(name, blueprint): &(String, OperatorBlueprint)| {
            (blueprint.make)(subtask_of(name, chain, id.index, common), common.batch_rows).ok()
        };
        let names = chain.operators.iter().map(|(name, _)| name.clone()).collect();
        let mut links: Vec<_> = chain.operators.iter().filter_map(make).collect();
        let mut sides = Vec::new();
        for (number, link) in links.iter_mut().enumerate() {
            let read = chain.sides.iter().zip(MAIN + 1..).filter(|(side, _)| side.operator == number);
            let (outputs, exits): (Vec<&str>, _) = read.map(|(side, exit)| (side.output.name(), exit)).unzip();
            link.collect(&outputs);
            sides.push(exits);
        }
        Fresh { names, links, wires: chain.wires.clone(), sides }
    }

    /// Opens them, from a snapshot if there is one.
    pub(super) fn open(&mut self, now: Timestamp, base: Option<&Base>) -> Given {
        let mut out = Out::default();
        if let Some(base) = base {
            let mut states = base.states.iter();
            for (name, link) in self.names.iter().zip(&mut self.links) {
                let state = states.next().cloned().unwrap_or_default();
                match base.adopted.get(name) {
                    Some(states) => link.adopt(states, base.watermark)?,
                    None => link.restore(state, base.watermark)?,
                }
            }
        }
        for index in (0..self.links.len()).rev() {
            self.links[index].begin_entry(now);
            self.links[index].open()?;
            self.pass_on(index, now, &mut out)?;
        }
        Ok(out.all())
    }

    /// Others were made in their place, and opened: they count their entries anew.
    pub(super) fn count_anew(&mut self, now: Timestamp) {
        for link in &mut self.links {
            link.set_entry(0);
            link.begin_entry(now);
        }
    }

    /// Tells them of a window that had begun when the snapshot was taken.
    pub(super) fn begin_again(&mut self, window: WindowId) -> Given {
        for link in &mut self.links {
            link.begin_window_again(window)?;
        }
        Ok(Vec::new())
    }

    pub(super) fn see(&mut self, entry: &Entry) -> Given {
        let mut out = Out::default();
        if let What::Batch(port, batch) = &entry.what {
            if self.wires.iter().any(|wire| wire.from.is_none()) {
                self.give(None, batch, entry.now, &mut out)?;
            } else {
                self.process(0, *port, batch, entry.now, &mut out)?;
            }
            return Ok(out.all());
        }
        if let What::Answer(id, answer) = &entry.what {
            let last = self.links.len() - 1;
            self.links[last].begin_entry(entry.now);
            self.links[last].answer(*id, answer.as_ref())?;
            self.pass_on(last, entry.now, &mut out)?;
            return Ok(out.all());
        }
        for index in 0..self.links.len() {
            let link = &mut self.links[index];
            link.begin_entry(entry.now);
            match &entry.what {
                What::Batch(..) | What::Answer(..) => {}
                What::Watermark(watermark) => link.advance_watermark(*watermark)?,
                What::Timers => link.fire_processing_timers()?,
                What::BeginWindow(window) => link.begin_window(*window)?,
                What::EndWindow(window) => link.end_window(*window)?,
                What::BeforeCheckpoint(window) => link.before_checkpoint(*window)?,
                What::Close => link.close()?,
            }
            self.pass_on(index, entry.now, &mut out)?;
        }
        Ok(out.all())
    }

    fn process(&mut self, index: usize, port: usize, batch: &Batch, now: Timestamp, out: &mut Out) -> Result {
        let Some(link) = self.links.get_mut(index) else {
            out.main.push((MAIN, batch.clone()));
            return Ok(());
        };
        link.begin_entry(now);
        link.process(port, batch)?;
        self.pass_on(index, now, out)
    }

    fn pass_on(&mut self, index: usize, now: Timestamp, out: &mut Out) -> Result {
        let mut aside = Vec::new();
        self.links[index].drain_sides(&mut aside);
        out.aside.extend(aside.into_iter().map(|(side, batch)| (self.sides[index][side], batch)));
        let mut emitted = Vec::new();
        self.links[index].drain(&mut emitted);
        for batch in emitted {
            if index + 1 < self.links.len() {
                self.give(Some(index), &batch, now, out)?;
            } else {
                out.main.push((MAIN, batch));
            }
        }
        Ok(())
    }

    /// Gives what one emits, or the source, to all that read it.
    fn give(&mut self, from: Option<usize>, batch: &Batch, now: Timestamp, out: &mut Out) -> Result {
        for wire in self.wires.clone() {
            if wire.from == from {
                self.process(wire.to, wire.port, batch, now, out)?;
            }
        }
        Ok(())
    }
}
