//! The part of a file that is to be read: all of it, or what is written as whole lines.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// A file up to some byte.
pub(super) struct Span {
    file: File,
    at: u64,
    end: u64,
}

impl Span {
    /// All of a file that stands at its beginning, to wherever it ends.
    pub(super) fn whole(file: File) -> Span {
        Span { file, at: 0, end: u64::MAX }
    }

    /// A file that stands at its beginning, as if it ended behind its last whole line.
    pub(super) fn lines(mut file: File) -> std::io::Result<Span> {
        const PIECE: u64 = 16 << 10;
        let mut piece = Vec::new();
        let mut end = file.metadata()?.len();
        while end > 0 {
            let begin = end.saturating_sub(PIECE);
            file.seek(SeekFrom::Start(begin))?;
            piece.clear();
            (&file).take(end - begin).read_to_end(&mut piece)?;
            if let Some(last) = piece.iter().rposition(|byte| *byte == b'\n') {
                end = begin + last as u64 + 1;
                break;
            }
            end = begin;
        }
        file.rewind()?;
        Ok(Span { file, at: 0, end })
    }

    /// Returns the file, wherever it stands.
    pub(super) fn into_file(self) -> File {
        self.file
    }

    /// Returns whether more may be written behind the end.
    pub(super) fn grows(&self) -> bool {
        self.end < u64::MAX
    }
}

impl Read for Span {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read(&mut buffer[..left])?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Span {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.at = self.file.seek(to)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_the_last_whole_line_is_not_there() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let long = "x".repeat(40_000);
        for (text, whole) in [
            (String::new(), 0),
            ("a".into(), 0),
            ("a\n".into(), 2),
            ("a\nb\r\nc".into(), 5),
            (format!("a\n{long}"), 2),
            (format!("{long}\n{long}"), 40_001),
            (long.clone(), 0),
        ] {
            std::fs::write(file.path(), &text).unwrap();
            let mut span = Span::lines(File::open(file.path()).unwrap()).unwrap();
            let mut read = String::new();
            span.read_to_string(&mut read).unwrap();
            assert_eq!(read, text[..whole]);
            if whole > 1 {
                span.seek(SeekFrom::Start(1)).unwrap();
                read.clear();
                span.read_to_string(&mut read).unwrap();
                assert_eq!(read, text[1..whole]);
            }
        }
    }
}
