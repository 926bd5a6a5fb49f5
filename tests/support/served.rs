//! A job that runs and answers HTTP.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::binary::process::{Ended, Job, Life, now, pause};

/// What was answered.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    #[track_caller]
    pub(crate) fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.head.contains("content-type: application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }

    /// Returns why it was not done.
    #[track_caller]
    pub(crate) fn error(&self, status: u16) -> String {
        let said = self.json(status);
        assert_eq!(said.as_object().unwrap().len(), 1, "{said}");
        said["error"].as_str().unwrap().to_string()
    }
}

/// A job that runs and answers.
pub(crate) struct Served {
    pub(crate) job: Job,
    pub(crate) life: Option<Life>,
    pub(crate) address: String,
    _folder: tempfile::TempDir,
}

impl Served {
    pub(crate) fn start(topology: &str, more: &[&str]) -> Served {
        let folder = tempfile::tempdir().unwrap();
        let job = Job::new(folder.path(), topology);
        let mut served = Served { job, life: None, address: String::new(), _folder: folder };
        served.run(more);
        served
    }

    /// Runs the job, once more if it has run, until it has committed something.
    pub(crate) fn run(&mut self, more: &[&str]) {
        let committed = |events: &[Value]| events.iter().filter(|event| event["event"] == "committed").count();
        let before = committed(&self.job.events());
        let mut life = self.job.start(&[&["--http", "0"], more].concat());
        self.job.wait_for(&mut life, "a checkpoint", |events| committed(events) > before);
        let said = life.said();
        let (_, rest) = said.split_once("page, API and metrics: http://").expect("it says where it listens");
        self.address = rest.split('/').next().unwrap().to_string();
        self.life = Some(life);
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Response {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        if !headers.iter().any(|header| header.starts_with("Host:")) {
            request.push_str(&format!("Host: {}\r\n", self.address));
        }
        headers.iter().for_each(|header| request.push_str(&format!("{header}\r\n")));
        stream.write_all(format!("{request}\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head: head.to_lowercase(), body: body.to_string() }
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], "")
    }

    /// Asks until the answer is as it is to be in the end.
    pub(crate) fn get_until(&self, path: &str, is_there: impl Fn(&Value) -> bool) -> Value {
        let began = now();
        loop {
            let said = self.get(path).json(200);
            if is_there(&said) {
                return said;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{path} does not come to it: {said}");
            pause(Duration::from_millis(20));
        }
    }

    pub(crate) fn wait(&mut self) -> Ended {
        self.life.take().unwrap().wait()
    }
}
