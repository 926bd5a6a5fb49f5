//! Who the spans are sent to, as the variables of OpenTelemetry say: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME` and those
//! beside them.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::{Layer, Registry};

use super::send::Sender;
use super::{are_wanted, variable};

/// How long the end of the process waits until the last spans are sent.
const PATIENCE: Duration = Duration::from_secs(2);
/// What the spans are called to be of, and who makes them.
const NAME: &str = "piton";

/// Sends spans until it is dropped, if anybody has asked for them.
pub(in crate::cli) struct Traces {
    provider: Option<SdkTracerProvider>,
    failure: Option<String>,
}

impl Traces {
    /// Begins. What is wrong with the variables keeps no job from running: they are those of the machine.
    pub(in crate::cli) fn begin() -> Traces {
        if !are_wanted(variable) {
            return Traces { provider: None, failure: None };
        }
        match provider() {
            Ok(provider) => {
                opentelemetry::global::set_tracer_provider(provider.clone());
                Traces { provider: Some(provider), failure: None }
            }
            Err(failure) => Traces { provider: None, failure: Some(failure) },
        }
    }

    /// Returns what sends the spans that operators open with `tracing`.
    pub(in crate::cli) fn layer(&self) -> Option<Box<dyn Layer<Registry> + Send + Sync>> {
        let tracer = self.provider.as_ref()?.tracer(NAME);
        Some(tracing_opentelemetry::layer().with_tracer(tracer).with_filter(LevelFilter::INFO).boxed())
    }

    /// Says what is wrong with the variables.
    pub(in crate::cli) fn tell(&self) {
        if let Some(failure) = &self.failure {
            tracing::warn!("no traces are sent: {failure}");
        }
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider {
            // Who it was sent to in vain was said then.
            provider.shutdown_with_timeout(PATIENCE).ok();
        }
    }
}

fn provider() -> Result<SdkTracerProvider, String> {
    for protocol in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        if let Some(said) = variable(protocol).filter(|said| said != "http/protobuf") {
            return Err(format!("{protocol}={said}: piton speaks http/protobuf alone"));
        }
    }
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Sender::new()?)
        // What could not be sent is gone: while it is sent again, what comes after it would be lost.
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        .map_err(|error| error.to_string())?;
    let has_name = variable("OTEL_SERVICE_NAME").is_some()
        || variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|attributes| attributes.contains("service.name="));
    let resource = Resource::builder();
    let resource = if has_name { resource } else { resource.with_service_name(NAME) };
    Ok(SdkTracerProvider::builder().with_resource(resource.build()).with_batch_exporter(exporter).build())
}
