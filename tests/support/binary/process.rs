//! A job as somebody at a shell has it: a folder with a topology file, and processes that run it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Nothing takes this long: a process that does hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// A folder with a topology file, whose state, sinks and events lie in the folder, too.
pub(crate) struct Job {
    root: PathBuf,
    lives: AtomicU64,
}

impl Job {
    /// Writes the topology file into a folder.
    pub(crate) fn new(root: &Path, topology: &str) -> Job {
        fs::create_dir_all(root).unwrap();
        fs::write(root.join("job.toml"), topology).unwrap();
        Job { root: root.to_path_buf(), lives: AtomicU64::new(0) }
    }

    /// Returns a path in the job's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Starts the binary with `run`, the topology file, the events appended to `events.ndjson`, and more arguments.
    pub(crate) fn start(&self, more: &[&str]) -> Life {
        self.spawn(self.command(more))
    }

    /// Returns what [`Job::start`] starts.
    pub(crate) fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(piton());
        command.arg("run").arg(self.path("job.toml")).arg("--events").arg(self.path("events.ndjson")).args(more);
        command
    }

    /// Runs the binary as [`Job::start`] to its end.
    pub(crate) fn run(&self, more: &[&str]) -> Ended {
        self.start(more).wait()
    }

    /// Starts some process, with what it says on stderr in a file of the job's folder.
    pub(crate) fn spawn(&self, mut command: Command) -> Life {
        let life = self.lives.fetch_add(1, Ordering::Relaxed);
        let errors = self.path(&format!("stderr-{life}"));
        let output = self.path(&format!("stdout-{life}"));
        command.current_dir(&self.root).stdin(Stdio::null());
        command.stdout(File::create(&output).unwrap()).stderr(File::create(&errors).unwrap());
        let child = command.spawn().unwrap();
        Life { child, errors, output }
    }

    /// Returns the events of all lives so far. A kill may have cut the last one of a life off.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("events.ndjson")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until an event has happened, in any life so far.
    pub(crate) fn wait_for(&self, life: &mut Life, what: &str, is_meant: impl Fn(&[Value]) -> bool) {
        let began = now();
        while !is_meant(&self.events()) {
            assert!(life.is_alive(), "it ended before {what}:\n{}", life.said());
            assert!(began.elapsed() < PATIENCE, "{what} did not come:\n{}", life.said());
            pause(Duration::from_millis(10));
        }
    }
}

/// A running process; killed when it is dropped, so that a test that fails leaves nothing behind.
pub(crate) struct Life {
    child: Child,
    errors: PathBuf,
    output: PathBuf,
}

/// How a process has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; nothing if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
    pub(crate) stdout: String,
}

impl Life {
    /// Returns whether it is still running.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Returns its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns what it has said on stderr.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.errors).unwrap()).into_owned()
    }

    /// Lets it live for so long and kills it with -9. Returns how it had ended before, if it had.
    pub(crate) fn kill_after(mut self, life: Duration) -> Option<Ended> {
        let began = now();
        while began.elapsed() < life {
            if !self.is_alive() {
                return Some(self.wait());
            }
            pause((life - began.elapsed().min(life)).min(Duration::from_millis(20)));
        }
        self.child.kill().unwrap();
        let ended = self.wait();
        ended.code.is_some().then_some(ended)
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status().unwrap();
        assert!(sent.success(), "SIG{name} could not be sent");
    }

    /// Waits until it catches SIGTERM.
    pub(crate) fn catches_signals(&mut self) {
        const TERM: u64 = 1 << 14;
        let began = now();
        loop {
            let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("it has such a line");
            if u64::from_str_radix(caught.trim(), 16).unwrap() & TERM != 0 {
                return;
            }
            assert!(self.is_alive() && began.elapsed() < PATIENCE, "it catches nothing:\n{}", self.said());
            pause(Duration::from_millis(1));
        }
    }

    /// Waits until it has ended.
    pub(crate) fn wait(mut self) -> Ended {
        let began = now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "the process hangs:\n{}", self.said());
            pause(Duration::from_millis(5));
        };
        let stdout = String::from_utf8_lossy(&fs::read(&self.output).unwrap()).into_owned();
        Ended { code: status.code(), stderr: self.said(), stdout }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // Fails if it has ended, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Ended {
    /// Panics unless the exit code is this one.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        self
    }

    /// Panics unless each of these is somewhere in what it said on stderr.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Ended {
        for part in parts {
            assert!(self.stderr.contains(part), "nothing about `{part}` in:\n{}", self.stderr);
        }
        self
    }
}

/// Returns how many events of a name there are in a region.
pub(crate) fn count(events: &[Value], name: &str, region: &str) -> usize {
    events.iter().filter(|event| event["event"] == name && event["region"] == region).count()
}

/// Returns the binary under test: another build of it if `PITON_BINARY` names one.
pub(crate) fn piton() -> PathBuf {
    std::env::var_os("PITON_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_piton").into(), PathBuf::from)
}

#[expect(clippy::disallowed_methods, reason = "a real process runs in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a real process runs in real time")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
