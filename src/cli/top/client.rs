//! One question over HTTP and its answer. So little of HTTP is needed that it is no crate's work: 1.0, so that a body ends
//! with its connection.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use serde_json::Value;

use crate::cli::top::address::Address;
use crate::error::{Error, Result};

/// How long the job may take to let us in, and between two parts of its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const LONGEST: u64 = 16 << 20;

/// Asks for what stands at a path.
///
/// # Errors
/// Of kind `Failed` if there is no answer, or it is another than what was asked for.
pub(super) fn get(address: &Address, path: &str) -> Result<Value> {
    let Address { host, token, .. } = address;
    let failed = |error: std::io::Error| Error::failed(format!("nobody answers at http://{host}: {error}"));
    let mut stream = connect(host).map_err(failed)?;
    let token = token.as_ref().map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n{token}\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).map_err(failed)?;
    read(&answer).map_err(|reason| Error::failed(format!("http://{host}{path}: {reason}")))
}

fn connect(host: &str) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::other("there is no such host");
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Returns what is in the body of an answer.
fn read(answer: &[u8]) -> std::result::Result<Value, String> {
    let other = || "this is no answer of piton".to_string();
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").ok_or_else(other)?;
    let (head, body) = (String::from_utf8_lossy(&answer[..end]), &answer[end + 4..]);
    let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(other)?;
    let said: Value = serde_json::from_slice(body).map_err(|_| other())?;
    match status {
        200 => Ok(said),
        // What the server says of tokens is for who writes requests by hand.
        401 => Err("a token is needed: `http.token` of the topology file, or PITON__HTTP__TOKEN for a URL".into()),
        status => Err(said["error"].as_str().map_or_else(|| format!("status {status}"), str::to_string)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_read() {
        let with = |status: &str, body: &str| read(format!("HTTP/1.0 {status}\r\nA: b\r\n\r\n{body}").as_bytes());
        assert_eq!(with("200 OK", "{\"a\":1}"), Ok(json!({ "a": 1 })));
        assert_eq!(with("404 Not Found", "{\"error\":\"no job\"}"), Err("no job".into()));
        assert!(with("401 Unauthorized", "{\"error\":\"x\"}").unwrap_err().contains("PITON__HTTP__TOKEN"));
        for wrong in ["", "HTTP/1.0 200 OK", "SSH-2.0-x\r\n\r\n{}", "HTTP/1.0 200 OK\r\n\r\n<html>"] {
            assert_eq!(read(wrong.as_bytes()), Err("this is no answer of piton".into()), "{wrong}");
        }
    }
}
