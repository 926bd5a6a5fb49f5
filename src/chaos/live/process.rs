//! The processes that run the job, seen from the one that breaks them.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use crate::chaos::wire::{Order, Told, VARIABLE};
use crate::error::{Error, Result};

/// Names the parent to the child, which ends with it.
const SUPERVISOR: &str = "PITON_SUPERVISOR";

/// How the job is run: this program with `run`, in a folder of its own.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    /// The topology file.
    pub(super) file: PathBuf,
    /// What is set over it.
    pub(super) set: Vec<String>,
    /// Where state, events and log lines go.
    pub(super) folder: PathBuf,
}

/// Whether a process is to be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peace {
    /// It is left in peace.
    Left,
    /// It takes orders.
    Disturbed,
}

impl Runner {
    pub(super) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    pub(super) fn events(&self) -> PathBuf {
        self.folder.join("events.ndjson")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("stderr.log")
    }

    fn command(&self, subcommand: &[&str]) -> Result<Command> {
        let failed = |error| Error::failed(format!("cannot tell which program this is: {error}"));
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(subcommand).arg(&self.file).arg("--state").arg(self.state());
        for set in &self.set {
            command.arg("--set").arg(set);
        }
        Ok(command)
    }

    /// Starts the job.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub(super) fn start(&self, peace: Peace) -> Result<Process> {
        let failed = |error: io::Error| Error::failed(format!("the job's process cannot be started: {error}"));
        let mut command = self.command(&["run"])?;
        command.args(["--resume", "latest", "--events"]).arg(self.events());
        let log = OpenOptions::new().create(true).append(true).open(self.log()).map_err(failed)?;
        command.stdout(Stdio::null()).stderr(log).process_group(0);
        command.env(SUPERVISOR, std::process::id().to_string());
        let mut orders = None;
        match peace {
            Peace::Left => {
                command.stdin(Stdio::null());
            }
            Peace::Disturbed => {
                let (own, others) = UnixStream::pair().map_err(failed)?;
                command.stdin(OwnedFd::from(others)).env(VARIABLE, "stdin");
                orders = Some(own);
            }
        }
        let child = command.spawn().map_err(failed)?;
        // The child's end of the socket is the child's alone: only then does its death end what is read here.
        drop(command);
        let (tell, told) = channel();
        let mut listener = None;
        if let Some(own) = &orders {
            let own = own.try_clone().map_err(failed)?;
            let listen = move || {
                for line in BufReader::new(own).lines().map_while(io::Result::ok) {
                    let Ok(line) = serde_json::from_str::<Told>(&line) else { continue };
                    if tell.send(line).is_err() {
                        return;
                    }
                }
            };
            listener = Some(std::thread::Builder::new().name("piton-told".into()).spawn(listen).map_err(failed)?);
        }
        Ok(Process { child, orders, told, listener })
    }

    /// Runs another command of this program against the state, and returns what it wrote to stdout.
    ///
    /// # Errors
    /// If it fails; with what it said.
    pub(super) fn ask(&self, subcommand: &[&str]) -> Result<String> {
        let failed = |error: io::Error| Error::failed(format!("`{}` cannot be run: {error}", subcommand.join(" ")));
        let output = self.command(subcommand)?.stdin(Stdio::null()).output().map_err(failed)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Error::failed(format!("`{}` has failed: {}", subcommand.join(" "), said.trim())));
        }
        String::from_utf8(output.stdout)
            .map_err(|_| Error::failed(format!("`{}` has written something that is no text", subcommand.join(" "))))
    }

    /// Returns what the last process said when it ended: the lines from its last error on.
    pub(super) fn last_words(&self) -> String {
        let log = std::fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log[log.len().saturating_sub(8 << 10)..]).into_owned();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.iter().rposition(|line| line.starts_with("error: ")).unwrap_or(lines.len().saturating_sub(1));
        let words: Vec<&str> = lines[from..].iter().map(|line| line.trim().trim_start_matches("error: ")).collect();
        words.join("; ")
    }
}

/// A process that runs the job. It is killed when it is dropped.
pub(super) struct Process {
    child: Child,
    orders: Option<UnixStream>,
    told: Receiver<Told>,
    /// Reads what it tells, until it has ended.
    listener: Option<JoinHandle<()>>,
}

impl Process {
    /// Returns how it has ended, if it has; all that it has told can be heard then.
    ///
    /// # Errors
    /// If the system does not say.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let failed = |error| Error::failed(format!("the job's process was lost: {error}"));
        let Some(status) = self.child.try_wait().map_err(failed)? else { return Ok(None) };
        if let Some(listener) = self.listener.take() {
            // An error means that it is gone already.
            listener.join().ok();
        }
        Ok(Some(status))
    }

    /// Sends it an order. One that is about to end does not hear it.
    pub(super) fn order(&mut self, order: &Order) {
        let Some(orders) = &mut self.orders else { return };
        let mut line = serde_json::to_vec(order).expect("orders are numbers and texts, which JSON can hold");
        line.push(b'\n');
        // It has died meanwhile: the next look says so.
        orders.write_all(&line).ok();
    }

    /// Returns the next thing it has told.
    pub(super) fn told(&self) -> Option<Told> {
        self.told.try_recv().ok()
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It has ended meanwhile, and is not yet waited for: its number is still its own.
            kill_process(pid, signal).ok();
        }
    }

    /// Returns how much memory it takes, in bytes.
    pub(super) fn memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails if it has ended, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Returns the arguments of a command as somebody would type them.
pub(super) fn typed(program: &str, arguments: &[OsString]) -> String {
    let mut line = program.to_string();
    for argument in arguments {
        let text = argument.to_string_lossy();
        let is_plain =
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./=:,@%+".contains(&byte));
        line.push(' ');
        if is_plain {
            line.push_str(&text);
        } else {
            line.push_str(&format!("'{}'", text.replace('\'', "'\\''")));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_quoted_where_a_shell_needs_it() {
        let arguments = ["chaos", "a b.toml", "--set", "sources.x.rate=5/s", "it's", ""].map(OsString::from);
        assert_eq!(typed("piton", &arguments), "piton chaos 'a b.toml' --set sources.x.rate=5/s 'it'\\''s' ''");
    }
}
