//! A collector of OpenTelemetry is told what a job's checkpoints and restarts were made of. One that is away or slow holds up
//! neither the job nor, for long, its end.

#[path = "support/binary/mod.rs"]
mod binary;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use binary::process::{Job, now};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use prost::Message as _;

/// A source, an operator that fails once, two subtasks of a count, a sink.
const TOPOLOGY: &str = r#"
[job]
name = "traced"
[checkpoint]
interval = "100ms"
[recovery]
scope = "SCOPE"
initial_backoff = "1ms"
[sources.numbers]
type = "generate"
rows = 4000
keys = 8
rate = "4000/s"
[operators.breaks]
type = "fail"
inputs = ["numbers"]
where = "id = 2000"
[operators.counts]
type = "aggregate"
inputs = ["breaks"]
by = ["key"]
columns = ["count(*) AS n"]
parallelism = 2
[sinks.out]
type = "blackhole"
inputs = ["counts"]
"#;

/// Somebody who takes spans, as long as the process lives.
struct Collector {
    endpoint: String,
    requests: Receiver<(String, ExportTraceServiceRequest)>,
}

impl Collector {
    fn open() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (send, requests) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let request = take(stream.unwrap());
                if send.send(request).is_err() {
                    return;
                }
            }
        });
        Collector { endpoint, requests }
    }

    /// Returns what has come: the resource's attributes, and all spans.
    fn received(&self) -> (Vec<KeyValue>, Vec<Span>) {
        let (mut resource, mut spans) = (Vec::new(), Vec::new());
        for (head, request) in self.requests.try_iter() {
            assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
            assert!(head.to_lowercase().contains("content-type: application/x-protobuf"), "{head}");
            assert!(head.contains("x-tenant: night"), "{head}");
            for of in request.resource_spans {
                resource = of.resource.unwrap().attributes;
                spans.extend(of.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        (resource, spans)
    }
}

fn take(mut stream: TcpStream) -> (String, ExportTraceServiceRequest) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap()];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    (head, ExportTraceServiceRequest::decode(&body[..]).unwrap())
}

fn said(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = &attributes.iter().find(|attribute| attribute.key == key)?.value;
    match value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn children<'a>(spans: &'a [Span], of: &Span) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.parent_span_id == of.span_id && span.trace_id == of.trace_id).collect()
}

/// Runs the job to its end, and returns what it says.
fn run(scope: &str, variables: &[(&str, &str)]) -> binary::process::Ended {
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new(folder.path(), &TOPOLOGY.replace("SCOPE", scope));
    let mut command = job.command(&[]);
    command.envs(variables.iter().copied());
    job.spawn(command).wait().expect(0)
}

fn traced(scope: &str) -> (Vec<KeyValue>, Vec<Span>) {
    let collector = Collector::open();
    run(
        scope,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=night"),
            ("OTEL_SERVICE_NAME", "flights"),
        ],
    );
    collector.received()
}

#[test]
fn a_checkpoint_is_a_trace_with_the_cut_and_the_write_of_each_subtask_and_the_commit() {
    let (resource, spans) = traced("operator");
    assert_eq!(said(&resource, "service.name").as_deref(), Some("flights"));
    let [job] = named(&spans, "job")[..] else { panic!("{spans:#?}") };
    assert!(job.parent_span_id.is_empty());
    assert_eq!(said(&job.attributes, "piton.records_in").as_deref(), Some("4000"));
    let [start] = named(&spans, "start")[..] else { panic!("{spans:#?}") };
    assert_eq!(start.parent_span_id, job.span_id);
    assert_eq!(said(&start.attributes, "piton.incarnation").as_deref(), Some("1"));

    let checkpoints = named(&spans, "checkpoint");
    assert!(checkpoints.len() >= 3, "{checkpoints:#?}");
    for checkpoint in checkpoints {
        assert!(checkpoint.parent_span_id.is_empty(), "{checkpoint:?}");
        assert_eq!(checkpoint.links[0].span_id, job.span_id, "{checkpoint:?}");
        assert_eq!(said(&checkpoint.attributes, "piton.job").as_deref(), Some("traced"));
        assert!(said(&checkpoint.attributes, "piton.window").is_some(), "{checkpoint:?}");
        let parts = children(&spans, checkpoint);
        let mut of: Vec<String> = parts
            .iter()
            .map(|span| {
                let subtask = said(&span.attributes, "piton.operator").zip(said(&span.attributes, "piton.subtask"));
                let subtask = subtask.map_or(String::new(), |(operator, index)| format!(" {operator} {index}"));
                format!("{}{subtask}", span.name)
            })
            .collect();
        of.sort();
        let subtasks = ["counts 0", "counts 1", "numbers 0"];
        let mut expected = vec!["commit".to_string()];
        expected.extend(["cut", "write"].iter().flat_map(|part| subtasks.map(|of| format!("{part} {of}"))));
        assert_eq!(of, expected, "{checkpoint:?}");
        for part in parts {
            assert!(part.start_time_unix_nano >= checkpoint.start_time_unix_nano, "{part:?} of {checkpoint:?}");
            assert!(part.end_time_unix_nano <= checkpoint.end_time_unix_nano, "{part:?} of {checkpoint:?}");
            assert!(part.start_time_unix_nano <= part.end_time_unix_nano, "{part:?}");
        }
    }
}

#[test]
fn a_restart_is_a_trace_that_says_its_rung_and_why() {
    for (scope, subtask) in [("batch", Some("0")), ("operator", Some("0")), ("region", None)] {
        let (_, spans) = traced(scope);
        let [job] = named(&spans, "job")[..] else { panic!("{spans:#?}") };
        let [restart] = named(&spans, "restart")[..] else { panic!("{scope}: {spans:#?}") };
        assert!(restart.parent_span_id.is_empty());
        assert_eq!(restart.links[0].span_id, job.span_id);
        assert_eq!(said(&restart.attributes, "piton.rung").as_deref(), Some(scope));
        assert_eq!(said(&restart.attributes, "piton.operator").as_deref(), Some("breaks"));
        assert_eq!(said(&restart.attributes, "piton.cause").as_deref(), Some("panic"));
        if subtask.is_some() {
            assert_eq!(said(&restart.attributes, "piton.subtask").as_deref(), subtask);
        }
        let parts = children(&spans, restart);
        assert!(parts.iter().any(|span| span.name == "restore"), "{scope}: {parts:#?}");
        assert_ne!(restart.status.as_ref().map(|status| status.code), Some(StatusCode::Error as i32));
    }
}

#[test]
fn a_collector_that_is_away_is_told_of_once_and_holds_nobody_up() {
    // A port that was free a moment ago.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{nobody}");
    // More than one attempt to send.
    let ended = run("operator", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "100")]);
    let told: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("traces cannot be sent")).collect();
    assert_eq!(told.len(), 1, "{}", ended.stderr);
    assert!(told[0].contains(&endpoint), "{told:?}");
}

#[test]
fn a_collector_that_never_answers_delays_the_end_by_two_seconds_at_most() {
    let usual = now();
    run("operator", &[]);
    let usual = usual.elapsed();
    // It takes connections, and that is all.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", mute.local_addr().unwrap());
    let began = now();
    run("operator", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "100")]);
    let took = began.elapsed();
    assert!(took < usual + Duration::from_secs(4), "{took:?} instead of {usual:?}");
}

#[test]
fn what_is_wrong_with_the_variables_keeps_no_job_from_running() {
    let wrong = [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "no number of ms"),
    ];
    for (variable, value, said) in wrong {
        let ended = run("operator", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"), (variable, value)]);
        assert!(ended.stderr.contains(variable) && ended.stderr.contains(said), "{}", ended.stderr);
    }
}
