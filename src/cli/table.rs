//! Tables with aligned columns, and the way to stdout.

use std::io::{self, ErrorKind, Write};

use crate::error::{Error, Result};

/// A table: a head and rows of as many cells.
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

struct Column {
    head: &'static str,
    align: Align,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

impl Table {
    /// Makes an empty table. A head that begins with `>` is that of a column of numbers, which are set to the right.
    pub(super) fn new(heads: &[&'static str]) -> Table {
        let column = |head: &&'static str| match head.strip_prefix('>') {
            Some(head) => Column { head, align: Align::Right },
            None => Column { head, align: Align::Left },
        };
        Table { columns: heads.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        debug_assert_eq!(cells.len(), self.columns.len(), "a row has a cell for each column");
        self.rows.push(cells);
    }

    /// Returns the table as text, each line behind `indent`, two blanks between columns and none at the end of a line.
    pub(super) fn to_text(&self, indent: &str) -> String {
        let heads: Vec<String> = self.columns.iter().map(|column| column.head.to_string()).collect();
        let lines = || std::iter::once(&heads).chain(&self.rows);
        let width = |column: usize| lines().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for cells in lines() {
            let mut line = indent.to_string();
            for (number, cell) in cells.iter().enumerate() {
                let blanks = " ".repeat(widths[number] - cell.chars().count());
                match self.columns[number].align {
                    Align::Left => line.extend([cell, &*blanks, "  "]),
                    Align::Right => line.extend([&*blanks, cell, "  "]),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Writes to stdout. A reader that has gone away, as `head` does, has seen enough: that is no error.
///
/// # Errors
/// If it cannot be written.
pub(super) fn print(text: &str) -> Result {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::failed(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_in_no_blank() {
        let mut table = Table::new(&["NAME", ">SIZE", "NOTE"]);
        table.row(["a".into(), "1".into(), String::new()]);
        table.row(["länger".into(), "1,000".into(), "x".into()]);
        assert_eq!(table.to_text(" "), " NAME     SIZE  NOTE\n a           1\n länger  1,000  x\n");
    }
}
