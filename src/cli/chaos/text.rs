//! The report for a terminal.

use std::fmt::Write as _;
use std::path::Path;

use crate::chaos::report::{Broken, Kind, Report, Sink, Spread, Verdict};
use crate::cli::table::Table;
use crate::cli::text::{bytes, count, number, span};

/// How many lives are told one by one.
const LIVES: usize = 3;

/// Returns the report as text. `file`: where else it was written to.
pub(super) fn of(report: &Report, file: Option<&Path>) -> String {
    let mut text = String::new();
    let mut line = |name: &str, content: String| {
        // Writing to a text cannot fail.
        writeln!(text, "{name:<13}{content}").ok();
    };
    let (took, golden) = (span(report.took_ms), span(report.golden.took_ms));
    line(
        "piton chaos",
        format!(
            "{}  seed {}  {took} (golden {golden}, {})  piton {}",
            report.file.display(),
            report.seed,
            count(report.golden.records, "record"),
            report.piton
        ),
    );
    let hypothesis: Vec<&str> = report.hypothesis.iter().map(|expected| expected.what.as_str()).collect();
    line("hypothesis", hypothesis.join(" · "));
    for expected in &report.hypothesis {
        if let Some(instead) = &expected.instead {
            line("", format!("{}: {instead}", expected.what));
        }
    }
    line("", String::new());
    text.truncate(text.trim_end().len());
    text.push_str("\n\n");
    text.push_str(&faults(&report.kinds));
    text.push('\n');
    let mut line = |name: &str, content: String| {
        writeln!(text, "{name:<13}{content}").ok();
    };
    let checkpoints = &report.checkpoints;
    line(
        "checkpoints",
        format!(
            "{} complete · {} failed · {} committed and lost · longest gap {}",
            number(checkpoints.complete),
            number(checkpoints.failed),
            number(checkpoints.lost),
            span(checkpoints.longest_gap_ms)
        ),
    );
    for (index, sink) in report.sinks.iter().enumerate() {
        let [seen, how] = output(sink);
        line(if index == 0 { "output" } else { "" }, seen);
        if !how.is_empty() {
            line("", format!("  {how}"));
        }
    }
    line("state", state(report));
    let letters = &report.dead_letters;
    if letters.golden + letters.committed > 0 {
        line("dead letters", format!("{} golden · {} committed", number(letters.golden), number(letters.committed)));
    }
    if report.regions.len() > 1 {
        for (index, region) in report.regions.iter().enumerate() {
            let content = format!(
                "\"{}\": {} of its own · {} · {} by itself · {} without a cause",
                region.name,
                count(region.hit, "fault"),
                count(region.restarts, "restart"),
                number(region.by_itself),
                number(region.unexplained)
            );
            line(if index == 0 { "regions" } else { "" }, content);
        }
    }
    line("memory", memory(report));
    line("processes", processes(report));
    for (index, note) in report.notes.iter().enumerate() {
        line(if index == 0 { "notes" } else { "" }, note.clone());
    }
    for (index, broken) in report.broken.iter().enumerate() {
        line(if index == 0 { "broken" } else { "" }, said(broken));
    }
    line("", String::new());
    text.truncate(text.trim_end().len());
    text.push_str("\n\n");
    let verdict = match report.verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Stopped => "NONE: it was stopped before the end, and nothing was broken so far",
    };
    let mut line = |name: &str, content: String| {
        writeln!(text, "{name:<13}{content}").ok();
    };
    line("VERDICT", verdict.to_string());
    if let Some(file) = file {
        line("report", file.display().to_string());
    }
    if let Some(kept) = &report.kept {
        line("kept", format!("{} (state, output, events and log lines of both runs)", kept.display()));
    }
    line("replay", report.replay.clone());
    line("", "a live run plays the faults again, not what the machine does in between".into());
    text
}

fn faults(kinds: &[Kind]) -> String {
    let mut table = Table::new(&[
        "FAULT",
        ">INJECTED",
        ">EFFECTIVE",
        ">RECOVERED",
        ">P50",
        ">P99",
        ">MAX",
        ">COMMIT P50",
        ">COMMIT P99",
        ">REPLAYED P50",
    ]);
    let mut total = [0; 3];
    for kind in kinds {
        for (sum, part) in total.iter_mut().zip([kind.injected, kind.effective, kind.recovered]) {
            *sum += part;
        }
        let of = |spread: Option<Spread>, which: fn(Spread) -> f64| spread.map_or_else(String::new, |s| time(which(s)));
        table.row([
            kind.kind.to_string(),
            number(kind.injected),
            number(kind.effective),
            number(kind.recovered),
            of(kind.recovery, |spread| spread.p50),
            of(kind.recovery, |spread| spread.p99),
            of(kind.recovery, |spread| spread.max),
            of(kind.commit, |spread| spread.p50),
            of(kind.commit, |spread| spread.p99),
            kind.replayed.map_or_else(String::new, number),
        ]);
    }
    let mut cells = vec!["TOTAL".to_string()];
    cells.extend(total.map(number));
    cells.resize(10, String::new());
    table.row(cells);
    table.to_text("")
}

/// Returns a time with as many digits as say something.
pub(super) fn time(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 1_000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.2} s", ms / 1_000.0),
    }
}

fn output(sink: &Sink) -> [String; 2] {
    if !sink.is_compared {
        return [format!("{}: {}", sink.name, sink.compared), String::new()];
    }
    let (golden, committed) = (number(sink.golden), number(sink.committed));
    let (missing, surplus) = (number(sink.missing), number(sink.surplus));
    [
        format!("{}: {golden} golden · {committed} committed · {missing} missing · {surplus} surplus", sink.name),
        format!(
            "compared {}; {} never touched again at {} looks",
            sink.compared,
            count(sink.files, "file"),
            number(sink.looks)
        ),
    ]
}

fn state(report: &Report) -> String {
    let state = &report.state;
    let mut text = match (state.operators, state.differing) {
        (0, _) => "nothing to compare".to_string(),
        (operators, 0) => {
            format!("equal ({}, {})", count(operators, "operator"), count(state.keys, "key"))
        }
        (_, differing) => format!("{} of {} differ", number(differing), count(state.keys, "key")),
    };
    for (operator, why) in &state.not_compared {
        write!(text, "; \"{operator}\" not compared: {why}").ok();
    }
    text
}

fn memory(report: &Report) -> String {
    let memory = &report.memory;
    let slope = match memory.slope {
        None => String::new(),
        Some(slope) => {
            let sign = if slope < 0.0 { '-' } else { '+' };
            format!(", {sign}{}/s once faults were over", bytes(slope.abs() as u64))
        }
    };
    format!("peak {}{slope}", bytes(memory.peak))
}

fn processes(report: &Report) -> String {
    let by_themselves =
        report.lives.iter().filter(|life| life.ended.starts_with("exit code") || life.ended.starts_with("signal"));
    let by_themselves: Vec<&str> = by_themselves.map(|life| life.ended.as_str()).collect();
    let killed = report.lives.iter().filter(|life| life.ended.starts_with("fault")).count() as u64;
    let mut text = format!("{} · {} by faults", number(report.lives.len() as u64), number(killed));
    if !by_themselves.is_empty() {
        let shown = by_themselves.iter().take(LIVES).copied().collect::<Vec<_>>().join(" | ");
        write!(text, " · {} by themselves: {shown}", by_themselves.len()).ok();
    }
    text
}

fn said(broken: &Broken) -> String {
    let when = broken.at_ms.map_or_else(|| "in the end".to_string(), |at| format!("after {}", span(at)));
    format!("{} {when}: {}{}", broken.invariant, broken.message, more(broken))
}

/// Returns how many were like the one that is told.
pub(super) fn more(broken: &Broken) -> String {
    if broken.more == 0 { String::new() } else { format!(" (and {} more like it)", number(broken.more)) }
}
