//! `piton run --supervise`: a parent process that starts the job again after its process was killed or aborted.
//!
//! A panic while panicking, a killer of processes that take too much memory, a `kill -9`: nothing inside a process
//! survives these. What the job had committed does, and the next process goes on from there. A process that ends by itself
//! has said why by its exit code, and is not started again.
//!
//! The child has the parent's arguments, stdin, stdout and stderr, and a process group of its own: a Ctrl-C reaches the
//! parent alone, which passes it on once. If the parent is killed, the child is told to stop.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rand::Rng as _;
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::cli::args::RunArgs;
use crate::cli::terminal::Terminal;
use crate::clock::{Clock, rng};
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::restart::{Decision, RestartPolicy};
use crate::topology::Registry;

/// Names the parent to the child.
const SUPERVISOR: &str = "PITON_SUPERVISOR";

/// Runs the job in child processes until one ends by itself; returns its exit code.
///
/// # Errors
/// If no child can be started, or if it was killed too often.
pub(super) fn run(args: &RunArgs, registry: &Registry, terminal: &Terminal) -> Result<u8> {
    // What is wrong with the file is said once, here.
    let plan = args.job.plan(registry)?;
    let clock = Clock::system();
    let mut policy = RestartPolicy::new(plan.settings.recovery.restart());
    let mut chances = rng(u64::from(std::process::id()), "process restart jitter");
    let failed = |error| Error::failed(format!("the job cannot be supervised: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(failed)?;
    runtime.block_on(async {
        let mut stops = Stops::catch().map_err(failed)?;
        let mut life = 0u64;
        loop {
            let (status, stopped) = live(command(life)?, &mut stops).await?;
            let Some(signal) = status.signal() else {
                return Ok(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1));
            };
            if stopped {
                return Err(Error::failed(format!(
                    "the process was ended by signal {signal} while it was stopping: the next start continues from the \
                     last committed window"
                )));
            }
            life += 1;
            let chance = chances.next_u64() as f64 / (u64::MAX as f64 + 1.0);
            match policy.on_failure(clock.now(), chance) {
                Decision::GiveUp(reason) => {
                    return Err(Error::failed(format!("the process was ended by signal {signal}, and {reason}")));
                }
                Decision::RestartAfter(delay_ms) => {
                    terminal.say(&format!(
                        "warning: the process was ended by signal {signal}; it is started again in {delay_ms} ms"
                    ));
                    if stops.within(Duration::from_millis(delay_ms)).await {
                        return Err(Error::new(
                            ErrorKind::Failed,
                            vec![
                            "stopped while no process was running: the next start continues from the last committed \
                             window"
                                .to_string(),
                        ],
                        ));
                    }
                }
            }
        }
    })
}

/// Sees to it that a supervised process does not outlive its supervisor.
pub(super) fn follow_supervisor() {
    let Some(parent) = std::env::var(SUPERVISOR).ok().and_then(|parent| parent.parse().ok()) else { return };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        tracing::warn!(%error, "the process will not be told if its supervisor is killed");
    }
    let current: Option<i32> = getppid().map(Pid::as_raw_nonzero).map(Into::into);
    if current != Some(parent) {
        tracing::error!("the supervisor was killed before the job began");
        std::process::exit(1);
    }
}

/// The signals that stop a job.
struct Stops {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stops {
    fn catch() -> std::io::Result<Stops> {
        Ok(Stops { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
        }
    }

    /// Returns whether one comes within this time.
    #[expect(clippy::disallowed_methods, reason = "a process is started again by the clock of the machine")]
    async fn within(&mut self, time: Duration) -> bool {
        tokio::select! {
            _ = self.next() => true,
            () = tokio::time::sleep(time) => false,
        }
    }
}

/// Runs one child to its end, passing signals on; returns whether there were any.
async fn live(mut command: Command, stops: &mut Stops) -> Result<(ExitStatus, bool)> {
    let failed = |error| Error::failed(format!("the job's process cannot be run: {error}"));
    let child = command.spawn().map_err(failed)?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (ended, mut end) = oneshot::channel();
    let wait = move |mut child: Child| {
        // Whoever waits is there until it has heard.
        ended.send(child.wait()).ok();
    };
    std::thread::Builder::new().name("piton-child".into()).spawn(move || wait(child)).map_err(failed)?;
    let mut stopped = false;
    loop {
        tokio::select! {
            status = &mut end => {
                let status = status.map_err(|_| Error::failed("the job's process was lost"))?;
                return Ok((status.map_err(failed)?, stopped));
            }
            stop = stops.next() => {
                stopped = true;
                if let Some(pid) = pid
                    && let Err(error) = kill_process(pid, stop)
                {
                    tracing::warn!(%error, "a signal could not be passed on");
                }
            }
        }
    }
}

/// Returns how to start the job: the first time as this process was, later from where it was.
fn command(life: u64) -> Result<Command> {
    let failed = |error| Error::failed(format!("cannot tell which program this is: {error}"));
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(arguments(std::env::args_os().skip(1), life));
    command.env(SUPERVISOR, std::process::id().to_string()).process_group(0);
    Ok(command)
}

fn arguments(own: impl Iterator<Item = OsString>, life: u64) -> Vec<OsString> {
    let mut arguments = Vec::new();
    let mut own = own.filter(|argument| argument != "--supervise");
    while let Some(argument) = own.next() {
        if life == 0 {
            arguments.push(argument);
            continue;
        }
        // What was to be done before the job began is done.
        let begins = |start: &str| argument.as_encoded_bytes().starts_with(start.as_bytes());
        if argument == OsStr::new("--resume") {
            own.next();
        } else if !begins("--resume=") && !begins("--discard-") {
            arguments.push(argument);
        }
    }
    if life > 0 {
        arguments.extend(["--resume".into(), "latest".into()]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_started_again_goes_on_where_it_was() {
        let own =
            ["run", "job.toml", "--supervise", "--resume", "none", "--discard-state", "--set", "a=b", "--resume=7"];
        let of = |life| -> Vec<String> {
            let arguments = arguments(own.iter().map(OsString::from), life);
            arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect()
        };
        assert_eq!(of(0), ["run", "job.toml", "--resume", "none", "--discard-state", "--set", "a=b", "--resume=7"]);
        assert_eq!(of(1), ["run", "job.toml", "--set", "a=b", "--resume", "latest"]);
    }
}
