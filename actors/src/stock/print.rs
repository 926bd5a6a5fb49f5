//! `print`: shows rows on standard output once they are committed.
//!
//! What is pending is the text itself, so it survives a crash in the checkpoint. Whether a text was shown cannot be
//! stored together with having shown it: after a killed process its last window may be shown again. Within a process
//! it is not: the windows that were shown are remembered next to the plan, which outlives every restart of an
//! operator.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::elsewhere::elsewhere;
use super::input_schema;
use super::options::read;
use crate::blueprint::{Fault, KindDoc, Options, SinkBlueprint, SinkKind, Site};
use crate::host::HostedSink;
use crate::record::{Inputs, RecordType};
use crate::table::{Encoding, Table};
use crate::{Delivery, Error, Result, Sink, Subtask, WindowId};

/// Shows rows on standard output once they are committed.
pub(super) struct Print {
    shared: Arc<Mutex<Shared>>,
    text: Vec<u8>,
    incarnation: u64,
    subtask: u32,
}

/// What all instances of one sink share.
struct Shared {
    out: Box<dyn Write + Send>,
    /// The last window that was shown, for each incarnation and subtask that rows came from.
    shown: BTreeMap<(u64, u32), WindowId>,
}

/// Rows that are not shown yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PrintPending {
    incarnation: u64,
    subtask: u32,
    window: WindowId,
    text: String,
}

impl Print {
    fn new(shared: &Arc<Mutex<Shared>>) -> Print {
        Print { shared: Arc::clone(shared), text: Vec::new(), incarnation: 0, subtask: 0 }
    }
}

impl Sink for Print {
    type In = Table;
    type Pending = PrintPending;

    async fn open(&mut self, _pending: Vec<PrintPending>, subtask: &Subtask) -> Result {
        self.text.clear();
        self.incarnation = subtask.incarnation;
        self.subtask = subtask.index;
        Ok(())
    }

    async fn write(&mut self, table: Arc<Table>) -> Result {
        Encoding::Csv.rows(&table, &mut self.text)
    }

    async fn prepare(&mut self, window: WindowId) -> Result<Option<PrintPending>> {
        if self.text.is_empty() {
            return Ok(None);
        }
        let text = String::from_utf8(std::mem::take(&mut self.text))?;
        Ok(Some(PrintPending { incarnation: self.incarnation, subtask: self.subtask, window, text }))
    }

    /// Whoever reads may take long about it: the text is written by a thread of its own, so that nothing else waits.
    async fn commit(&mut self, pending: PrintPending) -> Result {
        let shared = Arc::clone(&self.shared);
        let show = move || shared.lock().unwrap_or_else(PoisonError::into_inner).show(&pending);
        elsewhere(show).await?
    }
}

impl Shared {
    fn show(&mut self, pending: &PrintPending) -> Result {
        let from = (pending.incarnation, pending.subtask);
        if self.shown.get(&from).is_some_and(|shown| *shown >= pending.window) {
            return Ok(());
        }
        let shown = self.out.write_all(pending.text.as_bytes()).and_then(|()| self.out.flush());
        match shown {
            Ok(()) => {
                self.shown.insert(from, pending.window);
                Ok(())
            }
            // Nobody is there to read on, and a restart would not bring them back.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                Err(Error::invalid("standard output was closed by whoever read it"))
            }
            Err(error) => Err(Error::failed(format!("standard output cannot be written to: {error}"))),
        }
    }
}

/// The kind `print`.
pub(super) struct PrintKind;

#[derive(Deserialize)]
struct Settings {}

impl SinkKind for PrintKind {
    fn doc(&self) -> KindDoc {
        KindDoc {
            doc: "Shows rows on standard output once they are committed, as CSV lines without a header.",
            options: Vec::new(),
        }
    }

    fn plan(
        &self,
        options: &mut Options<'_>,
        inputs: &[RecordType],
        _site: &Site,
    ) -> Result<SinkBlueprint, Vec<Fault>> {
        let Settings {} = read(options, &self.doc())?;
        input_schema(inputs)?;
        let shared = Arc::new(Mutex::new(Shared { out: Box::new(std::io::stdout()), shown: BTreeMap::new() }));
        Ok(SinkBlueprint {
            delivery: Delivery::Staged,
            repeats: true,
            folder: None,
            unpack: Table::unpack,
            make: Arc::new(move || Ok(Box::new(HostedSink(Print::new(&shared))))),
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
    use super::super::elsewhere::tests::wait;
    use super::super::source::tests::ready;
    use super::super::tests::int_table;
    use super::*;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn rows_are_shown_once_per_process_and_only_when_committed() {
        let screen = Screen::default();
        let shared = Arc::new(Mutex::new(Shared { out: Box::new(screen.clone()), shown: BTreeMap::new() }));
        let shown = || String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
        let mut sink = Print::new(&shared);
        ready(sink.open(Vec::new(), &Subtask::single("print"))).unwrap();
        ready(sink.write(Arc::new(int_table(&[("a", &[Some(1)]), ("b", &[None])], None)))).unwrap();
        let pending = ready(sink.prepare(WindowId(3))).unwrap().unwrap();
        assert_eq!(shown(), "");
        wait(sink.commit(pending.clone())).unwrap();
        assert_eq!(shown(), "1,\n");

        // The region restarts: a fresh instance is told again.
        let mut sink = Print::new(&shared);
        ready(sink.open(vec![pending.clone()], &Subtask::single("print"))).unwrap();
        wait(sink.commit(pending)).unwrap();
        assert_eq!(shown(), "1,\n");
        assert!(ready(sink.prepare(WindowId(4))).unwrap().is_none());
    }
}
