//! Lines from standard input, which cannot be read twice.

use std::io::Read;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::SchemaRef;

use super::super::pace::Pace;
use super::files::LONGEST_ROW;
use super::lines::text;
use crate::table::Table;
use crate::{Error, Feed, NoPosition, Progress, Result, Source, Subtask};

/// How long to leave standard input alone when there is nothing, in ms.
const PAUSE: u64 = 5;

/// How many pieces of up to 64 KiB wait at most before the reader waits, too.
const WAITING: usize = 16;

type Piece = std::io::Result<Vec<u8>>;

/// A read from a pipe blocks for as long as nobody writes, so a thread does it. There is one per process, whatever
/// is restarted in it: a second one would take away some of the lines.
static PIECES: LazyLock<Mutex<Receiver<Piece>>> = LazyLock::new(|| {
    let (sender, receiver) = sync_channel(WAITING);
    std::thread::spawn(move || read_all(std::io::stdin().lock(), &sender));
    Mutex::new(receiver)
});

fn read_all(mut input: impl Read, sender: &SyncSender<Piece>) {
    loop {
        let mut piece = vec![0; 64 << 10];
        let read = input.read(&mut piece).map(|length| {
            piece.truncate(length);
            piece
        });
        let last = !matches!(&read, Ok(piece) if !piece.is_empty());
        if sender.send(read).is_err() || last {
            return;
        }
    }
}

/// Reads lines from standard input.
pub(super) struct StdinSource {
    schema: SchemaRef,
    per_second: Option<f64>,
    pace: Pace,
    pieces: Pieces,
    ended: bool,
    /// What was read and is not emitted yet, from `begin` on.
    held: Vec<u8>,
    begin: usize,
}

enum Pieces {
    Stdin,
    #[cfg(test)]
    Of(Receiver<Piece>),
}

impl Pieces {
    fn next(&self) -> std::result::Result<Piece, TryRecvError> {
        match self {
            Pieces::Stdin => PIECES.lock().unwrap_or_else(PoisonError::into_inner).try_recv(),
            #[cfg(test)]
            Pieces::Of(receiver) => receiver.try_recv(),
        }
    }
}

impl StdinSource {
    pub(super) fn new(schema: SchemaRef, per_second: Option<f64>) -> StdinSource {
        let pace = Pace::new(None, 1);
        StdinSource { schema, per_second, pace, pieces: Pieces::Stdin, ended: false, held: Vec::new(), begin: 0 }
    }

    /// Returns the next whole line; at the end also one that has no end.
    fn next(&mut self) -> Result<Option<&str>> {
        let rest = &self.held[self.begin..];
        let length = match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if self.ended && !rest.is_empty() => rest.len(),
            None => return Ok(None),
        };
        let line = &self.held[self.begin..self.begin + length];
        self.begin += length;
        text(line).map(Some).ok_or_else(|| Error::invalid("standard input: a line is not UTF-8"))
    }

    /// Waits for nothing: takes what is there. Returns whether anything came.
    fn refill(&mut self) -> Result<bool> {
        self.held.drain(..self.begin);
        self.begin = 0;
        if self.held.len() as u64 > LONGEST_ROW {
            return Err(Error::invalid(format!("standard input: a line is longer than {LONGEST_ROW} bytes")));
        }
        match self.pieces.next() {
            Ok(Ok(piece)) => {
                self.ended = piece.is_empty();
                self.held.extend_from_slice(&piece);
                Ok(true)
            }
            Ok(Err(error)) => Err(Error::failed(format!("standard input cannot be read: {error}"))),
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => {
                self.ended = true;
                Ok(true)
            }
        }
    }
}

impl Source for StdinSource {
    type Out = Table;
    type Position = NoPosition;

    async fn open(&mut self, _position: Option<NoPosition>, _subtask: &Subtask) -> Result {
        self.pace = Pace::new(self.per_second, 1);
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<Table>) -> Result<Progress> {
        let allowed = self.pace.allow(feed.room());
        let mut lines = StringBuilder::new();
        let mut rows = 0;
        let mut waiting = false;
        while rows < allowed {
            if let Some(line) = self.next()? {
                lines.append_value(line);
                rows += 1;
            } else if self.ended {
                break;
            } else if !self.refill()? {
                waiting = true;
                break;
            }
        }
        if rows > 0 {
            let column: ArrayRef = Arc::new(lines.finish());
            feed.push_table(Table::new(RecordBatch::try_new(Arc::clone(&self.schema), vec![column])?));
        }
        let paced = self.pace.took(rows);
        if self.ended && self.begin == self.held.len() {
            return Ok(Progress::Done);
        }
        Ok(if waiting { Progress::Idle(PAUSE) } else { paced })
    }

    fn position(&self) -> NoPosition {
        NoPosition
    }

    fn replayable(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use arrow::array::AsArray;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::table::table;

    fn poll(source: &mut StdinSource) -> (Vec<String>, Progress) {
        let mut feed = Feed::new(2);
        let progress = match pin!(source.poll(&mut feed)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(progress) => progress.unwrap(),
            Poll::Pending => panic!("a poll waits for nothing"),
        };
        let mut batches = Vec::new();
        feed.drain(&mut batches);
        let lines = batches.iter().flat_map(|batch| {
            let table = table(batch).unwrap();
            table.column(0).as_string::<i32>().iter().map(|line| line.unwrap().to_string()).collect::<Vec<_>>()
        });
        (lines.collect(), progress)
    }

    #[test]
    fn lines_come_as_they_are_written() {
        let (sender, receiver) = sync_channel(8);
        let schema = Arc::new(Schema::new(vec![Field::new("line", DataType::Utf8, true)]));
        let mut source = StdinSource { pieces: Pieces::Of(receiver), ..StdinSource::new(schema, None) };
        assert_eq!(poll(&mut source), (vec![], Progress::Idle(PAUSE)));
        sender.send(Ok(b"one\ntw".to_vec())).unwrap();
        assert_eq!(poll(&mut source), (vec!["one".into()], Progress::Idle(PAUSE)));
        sender.send(Ok(b"o\r\nthree\nfour".to_vec())).unwrap();
        assert_eq!(poll(&mut source), (vec!["two".into(), "three".into()], Progress::More));
        sender.send(Ok(Vec::new())).unwrap();
        assert_eq!(poll(&mut source), (vec!["four".into()], Progress::Done));
    }

    #[test]
    fn the_reading_thread_ends_with_its_input() {
        let (sender, receiver) = sync_channel(8);
        read_all(&b"a\nb"[..], &sender);
        assert_eq!(receiver.recv().unwrap().unwrap(), b"a\nb");
        assert!(receiver.recv().unwrap().unwrap().is_empty());
    }
}
