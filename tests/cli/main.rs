//! The command line does what it says, ends with the exit code it promises, and leaves alone what is not its own.

#![cfg(feature = "sql")]

mod anew;
mod checkpoints;
mod deadletters;
mod inspect;
mod owner;
mod run;
mod sim;
mod usage;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A job that makes rows and writes them to `out/`, in a folder of its own.
struct Job {
    folder: TempDir,
}

/// How a process has ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Job {
    fn new(rows: u64) -> Job {
        Job::with(&topology(rows, ""))
    }

    fn with(toml: &str) -> Job {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("job.toml"), toml).unwrap();
        Job { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_piton"));
        command.args(args).current_dir(self.folder.path());
        for variable in ["PITON_LOG", "PITON_LOG_FORMAT", "RUST_LOG", "RUST_BACKTRACE"] {
            command.env_remove(variable);
        }
        command
    }

    /// Runs a command to its end.
    fn piton(&self, args: &[&str]) -> Ended {
        let output = self.command(args).stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Starts `piton run job.toml --events -` and waits until it has committed `times` times.
    fn start(&self, args: &[&str], times: usize) -> Running {
        let mut command = self.command(&["run", "job.toml", "--events", "-"]);
        let mut child =
            command.args(args).stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut committed = 0;
        while committed < times {
            let line = lines.next().expect("the job ended before it had committed").unwrap();
            committed += usize::from(line.contains(r#""event":"committed""#));
        }
        // Read on, so that the job does not wait for a reader.
        let rest = std::thread::spawn(move || lines.map(Result::unwrap).collect());
        Running { child, rest }
    }

    /// Returns the first column of all committed rows, in the order of the files.
    fn rows(&self) -> Vec<u64> {
        let mut files: Vec<PathBuf> = match fs::read_dir(self.path("out")) {
            Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
            Err(_) => Vec::new(),
        };
        files.retain(|file| file.file_name().unwrap().to_str().unwrap().starts_with("rows-"));
        files.sort();
        let mut rows = Vec::new();
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            rows.extend(text.lines().skip(1).map(|line| line.split(',').next().unwrap().parse::<u64>().unwrap()));
        }
        rows
    }

    /// Returns every path below the folder.
    fn everything(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path.clone());
                }
                found.push(path);
            }
        }
        found.sort();
        found
    }
}

/// A job that was started.
struct Running {
    child: Child,
    rest: std::thread::JoinHandle<Vec<String>>,
}

impl Running {
    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end; returns the exit code and the events since it was started.
    fn wait(mut self) -> (Option<i32>, Vec<String>) {
        let status = self.child.wait().unwrap();
        (status.code(), self.rest.join().unwrap())
    }
}

impl Ended {
    /// Checks the exit code, and that no panic or backtrace is shown.
    #[track_caller]
    fn with(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(!self.err.contains("stack backtrace") && !self.err.contains("internal error"), "{self:#?}");
        self
    }

    #[track_caller]
    fn says(&self, words: &[&str]) {
        for word in words {
            assert!(self.err.contains(word), "does not say {word:?}: {self:#?}");
        }
    }

    #[track_caller]
    fn prints(&self, words: &[&str]) {
        for word in words {
            assert!(self.out.contains(word), "does not print {word:?}: {self:#?}");
        }
    }
}

/// Rows that are made, passed on and written to `out/rows-…csv`; `source` stands in the table of the source.
fn topology(rows: u64, source: &str) -> String {
    format!(
        r#"
[window]
interval = "10ms"
[checkpoint]
interval = "20ms"
[sources.numbers]
type = "generate"
rows = {rows}
keys = 10
{source}
[operators.odd]
type = "filter"
inputs = ["numbers"]
where = "id >= 0"
[sinks.rows]
type = "csv"
inputs = ["odd"]
path = "out"
"#
    )
}

fn is_below(path: &Path, folder: &Path) -> bool {
    path.starts_with(folder)
}
