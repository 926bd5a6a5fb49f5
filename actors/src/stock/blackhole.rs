//! `blackhole`: takes rows and drops them, for measuring what comes before it.

use std::sync::Arc;

use serde::Deserialize;

use super::input_schema;
use super::options::read;
use crate::blueprint::{Fault, KindDoc, Options, SinkBlueprint, SinkKind, Site};
use crate::host::HostedSink;
use crate::record::{Inputs, RecordType};
use crate::table::Table;
use crate::{Delivery, Result, Sink, Subtask, WindowId};

/// Takes rows and drops them.
pub(super) struct Blackhole;

impl Sink for Blackhole {
    type In = Table;
    type Pending = ();

    async fn open(&mut self, _pending: Vec<()>, _subtask: &Subtask) -> Result {
        Ok(())
    }

    async fn write(&mut self, _table: Arc<Table>) -> Result {
        Ok(())
    }

    async fn prepare(&mut self, _window: WindowId) -> Result<Option<()>> {
        Ok(None)
    }
}

/// The kind `blackhole`.
pub(super) struct BlackholeKind;

#[derive(Deserialize)]
struct Settings {}

impl SinkKind for BlackholeKind {
    fn doc(&self) -> KindDoc {
        KindDoc { doc: "Takes rows and drops them.", options: Vec::new() }
    }

    fn plan(
        &self,
        options: &mut Options<'_>,
        inputs: &[RecordType],
        _site: &Site,
    ) -> Result<SinkBlueprint, Vec<Fault>> {
        let Settings {} = read(options, &self.doc())?;
        input_schema(inputs)?;
        Ok(SinkBlueprint {
            delivery: Delivery::Staged,
            repeats: false,
            folder: None,
            unpack: Table::unpack,
            make: Arc::new(|| Ok(Box::new(HostedSink(Blackhole)))),
        })
    }

    fn ports(&self) -> Vec<Option<RecordType>> {
        vec![None]
    }

    fn check(&self, options: &mut Options<'_>, _site: &Site) -> Vec<Fault> {
        read::<Settings>(options, &self.doc()).err().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::tests::ready;
    use super::super::tests::int_table;
    use super::*;

    #[test]
    fn nothing_is_pending() {
        let mut sink = Blackhole;
        ready(sink.write(Arc::new(int_table(&[("n", &[Some(1)])], None)))).unwrap();
        assert!(ready(sink.prepare(WindowId(1))).unwrap().is_none());
    }
}
