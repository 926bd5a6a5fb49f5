//! The operators of a chain, as a plain loop runs them: nothing of the engine is in it.

use piton_actors::blueprint::OperatorBlueprint;
use piton_actors::host::AnyOperator;
use piton_actors::{Batch, Result, Subtask, Timestamp, WindowId};

use crate::ids::SubtaskId;
use crate::protocol::chain::{Base, Entry, What};
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
}

type Given = Result<Vec<Batch>>;

impl Fresh {
    pub(super) fn of(chain: &ChainBlueprint, id: &SubtaskId, common: &Common) -> Fresh {
        let make = |(name, blueprint): &(String, OperatorBlueprint)| {
            (blueprint.make)(subtask_of(name, chain, id.index, common), common.batch_rows).ok()
        };
        let names = chain.operators.iter().map(|(name, _)| name.clone()).collect();
        Fresh { names, links: chain.operators.iter().filter_map(make).collect() }
    }

    /// Opens them, from a snapshot if there is one.
    pub(super) fn open(&mut self, now: Timestamp, base: Option<&Base>) -> Given {
        let mut out = Vec::new();
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
        Ok(out)
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
        let mut out = Vec::new();
        if let What::Batch(port, batch) = &entry.what {
            self.process(0, *port, batch, entry.now, &mut out)?;
            return Ok(out);
        }
        for index in 0..self.links.len() {
            let link = &mut self.links[index];
            link.begin_entry(entry.now);
            match &entry.what {
                What::Batch(..) => {}
                What::Watermark(watermark) => link.advance_watermark(*watermark)?,
                What::Timers => link.fire_processing_timers()?,
                What::BeginWindow(window) => link.begin_window(*window)?,
                What::EndWindow(window) => link.end_window(*window)?,
                What::BeforeCheckpoint(window) => link.before_checkpoint(*window)?,
                What::Close => link.close()?,
            }
            self.pass_on(index, entry.now, &mut out)?;
        }
        Ok(out)
    }

    fn process(&mut self, index: usize, port: usize, batch: &Batch, now: Timestamp, out: &mut Vec<Batch>) -> Result {
        let Some(link) = self.links.get_mut(index) else {
            out.push(batch.clone());
            return Ok(());
        };
        link.begin_entry(now);
        link.process(port, batch)?;
        self.pass_on(index, now, out)
    }

    fn pass_on(&mut self, index: usize, now: Timestamp, out: &mut Vec<Batch>) -> Result {
        let mut emitted = Vec::new();
        self.links[index].drain(&mut emitted);
        for batch in emitted {
            self.process(index + 1, 0, &batch, now, out)?;
        }
        Ok(())
    }
}
