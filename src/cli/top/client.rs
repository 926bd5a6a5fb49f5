//! One question to a job's HTTP API, and its answer.

use std::time::Duration;

use serde_json::Value;

use crate::cli::client::Answer;
use crate::cli::top::address::Address;
use crate::error::{Error, Result};

/// How long the job may take to let us in, and for its answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks for what stands at a path.
///
/// # Errors
/// Of kind `Failed` if there is no answer, or it is another than what was asked for.
pub(super) fn get(address: &Address, path: &str) -> Result<Value> {
    let Address { server, token, trust, .. } = address;
    let (url, host) = (server.url(), &server.host);
    let token = token.as_ref().map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    // 1.0, so that a body comes in one piece.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n{token}\r\n");
    let answer = server.ask(request.as_bytes(), trust, PATIENCE).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData if !server.is_secure => Error::failed(format!("{url}{path}: {error}")),
        _ => Error::failed(format!("nobody answers at {url}: {error}")),
    })?;
    read(&answer).map_err(|reason| Error::failed(format!("{url}{path}: {reason}")))
}

/// Returns what is in the body of an answer.
fn read(answer: &Answer) -> std::result::Result<Value, String> {
    let said: Value = serde_json::from_slice(&answer.body).map_err(|_| "this is no answer of piton".to_string())?;
    match answer.status {
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
        let with = |status: u16, body: &str| read(&Answer { status, body: body.into() });
        assert_eq!(with(200, "{\"a\":1}"), Ok(json!({ "a": 1 })));
        assert_eq!(with(404, "{\"error\":\"no job\"}"), Err("no job".into()));
        assert!(with(401, "{\"error\":\"x\"}").unwrap_err().contains("PITON__HTTP__TOKEN"));
        for wrong in ["", "<html>"] {
            assert_eq!(with(200, wrong), Err("this is no answer of piton".into()), "{wrong}");
        }
    }
}
