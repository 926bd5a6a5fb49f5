//! Takes what is to be sent to the collector, on the thread of the exporter, and says once that it does not arrive.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};

use super::variable;
use crate::cli::client::{Server, Trust};

/// How long a collector may take for an answer, if no variable says.
const USUAL: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Sender {
    trust: Trust,
    patience: Duration,
    is_told: AtomicBool,
}

impl Sender {
    pub(super) fn new() -> Result<Sender, String> {
        let either = |first: &str, second: &str| variable(first).or_else(|| variable(second));
        let certificate = either("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE");
        let timeout = either("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT");
        let patience = match timeout {
            None => USUAL,
            Some(text) => match text.parse() {
                Ok(ms) => Duration::from_millis(ms),
                Err(_) => return Err(format!("OTEL_EXPORTER_OTLP_TIMEOUT={text} is no number of ms")),
            },
        };
        let trust = certificate.map_or(Trust::System, |file| Trust::File(file.into()));
        Ok(Sender { trust, patience, is_told: AtomicBool::new(false) })
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let uri = request.uri().to_string();
        let sent = self.try_send(&request);
        let failure = match &sent {
            Ok(status) if (200..300).contains(status) => None,
            Ok(status) => Some(format!("status {status}")),
            Err(error) => Some(error.clone()),
        };
        match failure {
            Some(failure) if !self.is_told.swap(true, Ordering::Relaxed) => {
                tracing::warn!("traces cannot be sent to {uri}: {failure}; the job goes on without them");
            }
            None if self.is_told.swap(false, Ordering::Relaxed) => tracing::info!("traces are sent to {uri} again"),
            _ => {}
        }
        // What it says beside its status changes nothing here.
        Ok(Response::builder().status(sent?).body(Bytes::new())?)
    }

    fn try_send(&self, request: &Request<Bytes>) -> Result<u16, String> {
        let (server, path) = Server::of(&request.uri().to_string())?;
        let mut head = format!("POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", server.host);
        for (name, value) in request.headers() {
            head += &format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()));
        }
        head += &format!("Content-Length: {}\r\n\r\n", request.body().len());
        let message = [head.as_bytes(), request.body()].concat();
        let answer = server.ask(&message, &self.trust, self.patience).map_err(|error| error.to_string())?;
        Ok(answer.status)
    }
}

impl HttpClient for Sender {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        // The thread that waits for it does nothing else.
        Box::pin(async move { self.send(request) })
    }
}
