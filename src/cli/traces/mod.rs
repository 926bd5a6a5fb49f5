//! Traces: what a job's checkpoints and restarts were made of, as spans that a collector of OpenTelemetry takes.
//!
//! The spans follow from the events of the job, with the times that these carry (`spans`); nothing is done for a record or a
//! batch. A thread of their own sends them (`export`), so a collector that is slow or away never holds up a job, and its end for
//! two seconds at most. docs/decisions/0017-traces.md says why they are not made where they happen.
//!
//! Without the feature `otlp` there are none, and whoever has asked for them is told so.

#[cfg(feature = "otlp")]
mod export;
#[cfg(feature = "otlp")]
mod send;
#[cfg(feature = "otlp")]
mod spans;

#[cfg(feature = "otlp")]
pub(super) use self::export::Traces;
#[cfg(feature = "otlp")]
pub(super) use self::spans::Spans;
#[cfg(not(feature = "otlp"))]
pub(super) use self::without::{Spans, Traces};

/// Returns what a variable says, if it says anything.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns whether the usual variables ask for traces.
fn are_wanted(variable: impl Fn(&str) -> Option<String>) -> bool {
    if variable("OTEL_SDK_DISABLED").is_some_and(|disabled| disabled.eq_ignore_ascii_case("true")) {
        return false;
    }
    match variable("OTEL_TRACES_EXPORTER").as_deref() {
        Some(exporter) => exporter == "otlp",
        None => ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]
            .iter()
            .any(|endpoint| variable(endpoint).is_some()),
    }
}

#[cfg(not(feature = "otlp"))]
mod without {
    use tracing_subscriber::{Layer, Registry};

    use crate::clock::Clock;
    use crate::runtime::Event;

    /// Nobody to send to.
    pub(in crate::cli) struct Traces(());

    impl Traces {
        pub(in crate::cli) fn begin() -> Traces {
            Traces(())
        }

        pub(in crate::cli) fn layer(&self) -> Option<Box<dyn Layer<Registry> + Send + Sync>> {
            None
        }

        pub(in crate::cli) fn tell(&self) {
            if super::are_wanted(super::variable) {
                tracing::info!("this program was built without the feature `otlp`: no traces are sent");
            }
        }
    }

    /// No spans.
    pub(in crate::cli) struct Spans(());

    impl Spans {
        pub(in crate::cli) fn begin(_: &str, _: &Clock) -> Spans {
            Spans(())
        }

        pub(in crate::cli) fn on(&mut self, _: &Event) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_sent_if_the_usual_variables_say_so() {
        let wanted = |variables: &[(&str, &str)]| {
            are_wanted(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string()))
        };
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        assert!(!wanted(&[]));
        assert!(!wanted(&[("OTEL_SERVICE_NAME", "flights")]));
        assert!(wanted(&[endpoint]));
        assert!(wanted(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://localhost:4318/v1/traces")]));
        assert!(wanted(&[("OTEL_TRACES_EXPORTER", "otlp")]));
        assert!(!wanted(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]));
        assert!(!wanted(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]));
    }
}
