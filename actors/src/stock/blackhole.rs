//! `blackhole`: takes rows and drops them, for measuring what comes before it.

use std::sync::Arc;

use serde::Deserialize;

use super::input_schema;
use super::options::read;
use crate::blueprint::{Fault, KindDoc, Options, SinkBlueprint, SinkKind, Site};
use crate::host::HostedSink;
use crate::record::RecordType;
use crate::table::Table;
use crate::{Delivery, Result, Sink, Subtask, WindowId};

/// Takes rows, counts them, and drops them.
#[derive(Clone, Debug, Default)]
pub struct Blackhole {
    rows: u64,
}

impl Blackhole {
    /// Returns how many rows this instance has taken.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

impl Sink for Blackhole {
    type In = Table;
    type Pending = ();

    fn delivery(&self) -> Delivery {
        Delivery::Immediate
    }

    async fn open(&mut self, _pending: Vec<()>, _subtask: &Subtask) -> Result {
        Ok(())
    }

    async fn write(&mut self, table: Arc<Table>) -> Result {
        self.rows += table.rows() as u64;
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

    fn plan(&self, options: &mut Options<'_>, inputs: &[RecordType], _site: &Site) -> Result<SinkBlueprint, Vec<Fault>> {
        let Settings {} = read(options, &self.doc())?;
        input_schema(inputs)?;
        Ok(SinkBlueprint {
            delivery: Delivery::Immediate,
            folder: None,
            make: Arc::new(|| Ok(Box::new(HostedSink(Blackhole::default())))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::tests::ready;
    use super::super::tests::int_table;
    use super::*;

    #[test]
    fn rows_are_counted_and_nothing_is_pending() {
        let mut sink = Blackhole::default();
        for _ in 0..2 {
            ready(sink.write(Arc::new(int_table(&[("n", &[Some(1), None])], None)))).unwrap();
        }
        assert_eq!(sink.rows(), 4);
        assert!(ready(sink.prepare(WindowId(1))).unwrap().is_none());
    }
}
