//! One question over HTTP and its answer. So little of HTTP is needed that it is no crate's work: each question has a connection
//! of its own, which ends with the answer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use crate::clock::Clock;

mod tls;

/// The longest answer that is read, in bytes.
const LONGEST: usize = 16 << 20;

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Those that the system knows, or `SSL_CERT_FILE` names.
    System,
    /// Those of a file, in PEM, and those that are signed with them.
    File(PathBuf),
}

/// Somebody who can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// With its port.
    pub(super) host: String,
    pub(super) is_secure: bool,
}

/// What somebody answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Server {
    /// Reads a URL; returns what stands behind the host, too, which begins with `/`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(url: &str) -> Result<(Server, String), &'static str> {
        let (is_secure, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return Err("is not a URL that can be asked"),
        };
        let end = rest.find('/').unwrap_or(rest.len());
        let (host, path) = rest.split_at(end);
        if host.is_empty() || host.contains(['@', '?', '#']) || host.contains(char::is_whitespace) {
            return Err("names no host");
        }
        let has_port =
            host.rsplit_once(':').is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok());
        let usual = if is_secure { 443 } else { 80 };
        let host = if has_port { host.to_string() } else { format!("{host}:{usual}") };
        Ok((Server { host, is_secure }, if path.is_empty() { "/".into() } else { path.into() }))
    }

    /// Returns the URL, without a path.
    pub(super) fn url(&self) -> String {
        format!("{}://{}", if self.is_secure { "https" } else { "http" }, self.host)
    }

    /// Sends a request, which asks for the connection to be closed; returns what is answered in time.
    ///
    /// # Errors
    /// Of kind `InvalidData` if it is not HTTP.
    pub(super) fn ask(&self, request: &[u8], trust: &Trust, patience: Duration) -> io::Result<Answer> {
        let clock = Clock::system();
        let stream = self.connect(patience)?;
        if self.is_secure {
            let name = self.host.rsplit_once(':').map_or(&*self.host, |(name, _)| name);
            exchange(tls::wrap(stream, name.trim_matches(['[', ']']), trust)?, request, patience, &clock)
        } else {
            exchange(stream, request, patience, &clock)
        }
    }

    fn connect(&self, patience: Duration) -> io::Result<TcpStream> {
        let mut last = io::Error::other("there is no such host");
        for address in self.host.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, patience) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(patience))?;
                    stream.set_write_timeout(Some(patience))?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn exchange(mut stream: impl Read + Write, request: &[u8], patience: Duration, clock: &Clock) -> io::Result<Answer> {
    stream.write_all(request)?;
    stream.flush()?;
    let (mut said, mut part) = (Vec::new(), [0; 16 << 10]);
    loop {
        let count = match stream.read(&mut part) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // Not everybody says goodbye in TLS; whether it was all is seen below.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Err(too_late()),
            Err(error) => return Err(error),
        };
        said.extend_from_slice(&part[..count]);
        if let Some(answer) = read(&said, count == 0)? {
            return Ok(answer);
        }
        if clock.monotonic() > patience {
            return Err(too_late());
        }
        if said.len() > LONGEST {
            return Err(io::Error::new(ErrorKind::InvalidData, "the answer is too long"));
        }
    }
}

/// Returns an answer if all of it is there.
fn read(said: &[u8], is_over: bool) -> io::Result<Option<Answer>> {
    let other = || io::Error::new(ErrorKind::InvalidData, "this is no answer over HTTP");
    let Some(end) = said.windows(4).position(|part| part == b"\r\n\r\n") else {
        return if is_over { Err(other()) } else { Ok(None) };
    };
    let (head, body) = (String::from_utf8_lossy(&said[..end]), &said[end + 4..]);
    let mut lines = head.split("\r\n");
    let first = lines.next().filter(|line| line.starts_with("HTTP/1.")).ok_or_else(other)?;
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(other)?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, length)| length.trim().parse::<usize>().ok());
    match length {
        Some(length) if body.len() >= length => Ok(Some(Answer { status, body: body[..length].to_vec() })),
        Some(_) if is_over => Err(io::Error::new(ErrorKind::UnexpectedEof, "the answer was cut off")),
        None if is_over => Ok(Some(Answer { status, body: body.to_vec() })),
        _ => Ok(None),
    }
}

fn too_late() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "no answer in time")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_over_when_its_length_is_there_or_the_connection_ends() {
        let status = |said: &[u8], is_over| read(said, is_over).map(|answer| answer.map(|answer| answer.status)).ok();
        let with_length = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab";
        assert_eq!(read(with_length, false).unwrap(), Some(Answer { status: 200, body: b"ab".to_vec() }));
        assert_eq!(status(&with_length[..with_length.len() - 1], false), Some(None));
        assert_eq!(status(&with_length[..with_length.len() - 1], true), None);
        let without = b"HTTP/1.0 404 Not Found\r\n\r\nno";
        assert_eq!(status(without, false), Some(None));
        assert_eq!(status(without, true), Some(Some(404)));
        assert_eq!(status(b"HTTP/1.1 2", true), None);
        assert_eq!(status(b"SSH-2.0-x\r\n\r\n", false), None);
    }

    #[test]
    fn urls_name_a_host_and_what_stands_behind_it() {
        let of = |url: &str| Server::of(url).map(|(server, path)| (server.url(), path)).ok();
        let is = |url: &str, path: &str| Some((url.to_string(), path.to_string()));
        assert_eq!(of("http://127.0.0.1:8080"), is("http://127.0.0.1:8080", "/"));
        assert_eq!(of("http://[::1]:8080/a/b?c"), is("http://[::1]:8080", "/a/b?c"));
        assert_eq!(of("http://a"), is("http://a:80", "/"));
        assert_eq!(of("https://a/b"), is("https://a:443", "/b"));
        for wrong in ["ftp://a:1", "http://", "https:///x", "http://a@b:1", "http://a b/"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
