//! A long file goes to the disk while it is still being written.
//!
//! The system keeps what is written in memory, and begins with the disk when it is asked to, or has too much. Who writes
//! all and asks then waits for one after the other: for whoever makes the bytes, and for the disk.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

/// So many bytes are given to the system at a time. More at once are copied up to ten times as slowly: the system brings
/// them into the caches before it copies, and loses the first ones again.
const AT_ONCE: usize = 256 << 10;

/// The disk is asked for whenever so many bytes have come.
const SYNC_EVERY: usize = 32 << 20;

/// A new file, of which a part may be on the disk already.
pub(super) struct WrittenAhead {
    file: File,
    /// How many bytes have come since the disk was asked for.
    new: usize,
    /// Of a long file: asks for the disk, and ends with the first error.
    syncs: Option<(SyncSender<()>, JoinHandle<io::Result<()>>)>,
}

impl WrittenAhead {
    pub(super) fn new(file: File) -> WrittenAhead {
        WrittenAhead { file, new: 0, syncs: None }
    }

    /// Makes everything durable, if it was written; to be called whether or not it was.
    ///
    /// # Errors
    /// That of writing, or of any attempt to bring it to the disk: an error is told once, to whoever asks first.
    pub(super) fn sync(mut self, written: io::Result<()>) -> io::Result<()> {
        let synced = match self.syncs.take() {
            None => Ok(()),
            Some((ask, thread)) => {
                drop(ask);
                thread
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("the thread that brought it to the disk is gone")))
            }
        };
        written.and(synced).and_then(|()| self.file.sync_data())
    }

    fn ask(&mut self) {
        if self.syncs.is_none() {
            let Ok(file) = self.file.try_clone() else { return };
            let (ask, asked) = sync_channel::<()>(1);
            let work = move || asked.iter().try_for_each(|()| file.sync_data());
            // Without one, everything comes to the disk in the end.
            self.syncs =
                std::thread::Builder::new().name("piton-sync".into()).spawn(work).ok().map(|thread| (ask, thread));
        }
        if let Some((ask, _)) = &self.syncs {
            // If it is full, what has come is going to be brought there with what it was asked for before.
            ask.try_send(()).ok();
        }
    }
}

impl Write for WrittenAhead {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(&bytes[..bytes.len().min(AT_ONCE)])?;
        self.new += written;
        if self.new >= SYNC_EVERY {
            self.new = 0;
            self.ask();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_what_was_written_and_an_error_of_the_writer_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let piece: Vec<u8> = (0..700_001u32).map(|number| (number % 251) as u8).collect();
        let mut file = WrittenAhead::new(File::create_new(&path).unwrap());
        let pieces = 2 * SYNC_EVERY / piece.len() + 2;
        for _ in 0..pieces {
            file.write_all(&piece).unwrap();
        }
        assert!(file.syncs.is_some());
        file.sync(Ok(())).unwrap();
        let read = std::fs::read(&path).unwrap();
        assert!(read.len() == pieces * piece.len() && read.chunks(piece.len()).all(|part| part == piece));

        let mut file = WrittenAhead::new(File::create(&path).unwrap());
        file.ask();
        assert_eq!(file.sync(Err(io::ErrorKind::Other.into())).unwrap_err().kind(), io::ErrorKind::Other);
    }
}
