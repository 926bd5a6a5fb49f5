//! How a running job is told what to do: a socket in its state directory, one JSON line for each request and answer.
//!
//! Only whoever may write to the state directory can reach it: the socket stands in a folder that only its owner may
//! enter. Whoever holds the state directory's lock owns the socket, so one that is there when a job starts was left behind
//! by a process that was killed.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::store::Savepoint;

/// The folder of the socket, and its name in there.
const FOLDER: &str = "control";
const SOCKET: &str = "socket";

/// The length that the path of a socket may have; systems stop at 104 or 108.
const LONGEST_PATH: usize = 100;

/// How long a request may take to come in: whoever connects and says nothing does not keep the job from ending.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest request.
const LONGEST_REQUEST: u64 = 64 << 10;

/// What a running job can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Make a savepoint while the job goes on.
    Savepoint {
        /// Its name; one is made up if there is none.
        name: Option<String>,
    },
    /// List the savepoints.
    Savepoints,
    /// Remove a savepoint.
    DropSavepoint {
        /// Its name.
        name: String,
    },
    /// Stop with a last checkpoint.
    Stop {
        /// The name of the savepoint that it becomes, if any.
        savepoint: Option<String>,
        /// Whether to end the input first: timers fire to the end, and the job has finished.
        drain: bool,
    },
    /// Stop at once, without another checkpoint.
    Cancel,
}

/// What a running job answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// A savepoint was made.
    Savepoint {
        /// What it says of itself.
        savepoint: Savepoint,
    },
    /// These are the savepoints.
    Savepoints {
        /// Oldest first.
        savepoints: Vec<Savepoint>,
    },
    /// Whether there was a savepoint to remove.
    Dropped {
        /// Whether there was one.
        was_there: bool,
    },
    /// The job has stopped.
    Stopped {
        /// The last committed window of each region.
        windows: BTreeMap<String, u64>,
        /// The savepoint that was asked for.
        savepoint: Option<Savepoint>,
    },
    /// It could not be done, and the job goes on.
    Error {
        /// Why.
        error: String,
    },
    /// It could not be done, and the job has come to its end or is about to.
    Ended {
        /// Why.
        error: String,
    },
}

/// Takes a request; the answer may come later, from any thread.
pub(crate) type Asked = Box<dyn Fn(Request, Box<dyn FnOnce(Answer) + Send>) + Send>;

/// The socket of a running job; dropping it answers what was asked, and removes it.
pub(crate) struct Control {
    dir: PathBuf,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Makes the socket in a state directory whose lock is held.
    ///
    /// # Errors
    /// If the system does not let us: the job can run without.
    pub(crate) fn open(dir: &Path, asked: Asked) -> io::Result<Control> {
        let folder = dir.join(FOLDER);
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => fs::set_permissions(&folder, Permissions::from_mode(0o700))?,
        }
        let socket = folder.join(SOCKET);
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = with_short_path(&folder, UnixListener::bind)?;
        fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let thread = std::thread::Builder::new()
            .name("piton-control".into())
            .spawn(move || listen(&listener, &ended, &asked))?;
        Ok(Control { dir: dir.to_path_buf(), over, thread: Some(thread) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let folder = self.dir.join(FOLDER);
        // The thread waits for somebody to connect.
        if with_short_path(&folder, UnixStream::connect).is_ok()
            && let Some(thread) = self.thread.take()
        {
            thread.join().ok();
        }
        // What cannot be removed is removed by the next start.
        fs::remove_file(folder.join(SOCKET)).ok();
        fs::remove_dir(&folder).ok();
    }
}

fn listen(listener: &UnixListener, over: &AtomicBool, asked: &Asked) {
    let mut answering: Vec<JoinHandle<()>> = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        if over.load(Ordering::SeqCst) {
            break;
        }
        answering.retain(|thread| !thread.is_finished());
        match read::<Request>(&stream) {
            Ok(request) => {
                let (answer, answered) = std::sync::mpsc::channel();
                asked(
                    request,
                    Box::new(move |given| {
                        // Whoever asked may have gone.
                        answer.send(given).ok();
                    }),
                );
                let waiting = std::thread::Builder::new().name("piton-answer".into()).spawn(move || {
                    let ended = || Answer::Ended { error: "the job ended before it answered".into() };
                    write(&stream, &answered.recv().unwrap_or_else(|_| ended())).ok();
                });
                answering.extend(waiting);
            }
            Err(error) => {
                let error = format!("this is no request: {error}");
                write(&stream, &Answer::Error { error }).ok();
            }
        }
    }
    for thread in answering {
        thread.join().ok();
    }
}

/// Asks a running job; nothing if none runs on this state directory.
///
/// # Errors
/// If it does not answer.
pub fn ask(dir: &Path, request: &Request) -> io::Result<Option<Answer>> {
    let stream = match with_short_path(&dir.join(FOLDER), UnixStream::connect) {
        Ok(stream) => stream,
        // Nobody listens to a socket that a killed process has left behind.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    write(&stream, request)?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::Error::other("the job ended before it answered"));
    }
    Ok(Some(serde_json::from_str(&line)?))
}

fn read<T: DeserializeOwned>(stream: &UnixStream) -> io::Result<T> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST_REQUEST)).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

fn write<T: Serialize>(mut stream: &UnixStream, what: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&line)
}

/// Uses the socket of a folder by a path that is short enough: its own, or one through the open folder.
fn with_short_path<T>(folder: &Path, call: impl Fn(PathBuf) -> io::Result<T>) -> io::Result<T> {
    let path = folder.join(SOCKET);
    if path.as_os_str().len() <= LONGEST_PATH {
        return call(path);
    }
    let open = File::open(folder)?;
    call(PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", open.as_raw_fd())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(dir: &Path) -> Control {
        let asked: Asked = Box::new(|request, answer| match request {
            Request::DropSavepoint { name } => answer(Answer::Dropped { was_there: name == "there" }),
            _ => drop(answer),
        });
        Control::open(dir, asked).unwrap()
    }

    fn drops(dir: &Path) -> Option<Answer> {
        ask(dir, &Request::DropSavepoint { name: "there".into() }).unwrap()
    }

    #[test]
    fn requests_are_answered_while_the_job_runs_and_the_socket_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(drops(dir.path()), None);
        let control = serve(dir.path());
        assert_eq!(drops(dir.path()), Some(Answer::Dropped { was_there: true }));
        let Some(Answer::Ended { error }) = ask(dir.path(), &Request::Savepoints).unwrap() else { panic!("an end") };
        assert_eq!(error, "the job ended before it answered");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir.path().join("control")), 0o700);
        assert_eq!(mode(&dir.path().join("control/socket")), 0o600);
        drop(control);
        assert_eq!(drops(dir.path()), None);
        assert!(!dir.path().join("control").exists());
    }

    #[test]
    fn what_a_killed_process_has_left_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("control")).unwrap();
        drop(UnixListener::bind(dir.path().join("control/socket")).unwrap());
        assert!(dir.path().join("control/socket").exists());
        assert_eq!(drops(dir.path()), None);
        let _control = serve(dir.path());
        assert_eq!(drops(dir.path()), Some(Answer::Dropped { was_there: true }));
    }

    #[test]
    fn a_path_that_is_too_long_for_a_socket_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a".repeat(90)).join("b".repeat(90));
        fs::create_dir_all(&deep).unwrap();
        let _control = serve(&deep);
        assert_eq!(drops(&deep), Some(Answer::Dropped { was_there: true }));
    }

    #[test]
    fn what_is_no_request_is_answered_too() {
        let dir = tempfile::tempdir().unwrap();
        let _control = serve(dir.path());
        let mut stream = UnixStream::connect(dir.path().join("control/socket")).unwrap();
        stream.write_all(b"{\"request\":\"dance\"}\n").unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        assert!(line.contains("this is no request") && line.contains("dance"), "{line}");
    }
}
