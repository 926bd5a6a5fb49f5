//! The report for a browser: one file, which needs nothing from elsewhere.

use std::fmt::Write as _;

use crate::chaos::report::{Fault, Report, Spread, Verdict};
use crate::cli::chaos::text;
use crate::cli::text::{bytes, number, span};

/// The width of the timeline, in its own units.
const WIDTH: f64 = 1_000.0;
/// How high a row of the timeline is.
const ROW: f64 = 22.0;
/// Where the rows begin.
const LEFT: f64 = 130.0;

const STYLE: &str = "
:root { --ink: #1c2430; --soft: #5d6b7c; --line: #d8dfe7; --paper: #ffffff; --pass: #16794c; --fail: #b3261e;
  --life: #9db8d9; --fault: #b3261e; --heal: #e8a33d; --commit: #16794c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ef; --soft: #93a1b1; --line: #2d3743; --paper: #141a21;
  --pass: #4cc38a; --fail: #ff7b72; --life: #35506f; --fault: #ff7b72; --heal: #b7791f; --commit: #4cc38a; } }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
.verdict { font-weight: 700; } .pass { color: var(--pass); } .fail { color: var(--fail); } .soft { color: var(--soft); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, .words td, .words th { text-align: left; } th { color: var(--soft); font-weight: 600; }
pre { white-space: pre-wrap; background: color-mix(in srgb, var(--line) 35%, transparent); padding: .8rem; border-radius: 6px; }
svg { width: 100%; height: auto; font: 11px system-ui, sans-serif; } svg text { fill: var(--soft); }
.scroll { overflow-x: auto; }
";

/// Returns the report as a page.
pub(super) fn of(report: &Report) -> String {
    let (verdict, class) = match report.verdict {
        Verdict::Pass => ("PASS", "pass"),
        Verdict::Fail => ("FAIL", "fail"),
        Verdict::Stopped => ("STOPPED", ""),
    };
    let mut page = String::new();
    let title = format!("piton chaos: {}, seed {}", report.job, report.seed);
    push(
        &mut page,
        &format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width, initial-scale=1\"><title>{}</title><style>{STYLE}</style></head><body>\n",
            escaped(&title)
        ),
    );
    push(&mut page, &format!("<h1>{} <span class=\"verdict {class}\">{verdict}</span></h1>\n", escaped(&title)));
    let hypothesis: Vec<&str> = report.hypothesis.iter().map(|expected| expected.what.as_str()).collect();
    push(
        &mut page,
        &format!(
            "<p class=\"soft\">{} · {} under faults, {} without · {} · piton {}</p>\n",
            escaped(&report.file.display().to_string()),
            span(report.took_ms),
            span(report.golden.took_ms),
            escaped(&hypothesis.join(" · ")),
            report.piton
        ),
    );
    push(&mut page, &broken(report));
    push(&mut page, "<h2>Timeline</h2>\n");
    push(&mut page, &timeline(report));
    push(&mut page, "<h2>Faults</h2>\n");
    push(&mut page, &kinds(report));
    push(&mut page, "<h2>What was compared</h2>\n");
    push(&mut page, &compared(report));
    push(&mut page, "<h2>Memory</h2>\n");
    push(&mut page, &memory(report));
    push(&mut page, "<h2>Each fault</h2>\n");
    push(&mut page, &each(&report.faults));
    push(&mut page, "<h2>In words</h2>\n");
    push(&mut page, &format!("<pre>{}</pre>\n</body></html>\n", escaped(&text::of(report, None))));
    page
}

fn push(page: &mut String, part: &str) {
    page.push_str(part);
}

fn broken(report: &Report) -> String {
    if report.broken.is_empty() {
        return String::new();
    }
    let mut text =
        "<h2>Broken</h2>\n<table class=\"words\"><tr><th>promise</th><th>when</th><th>what was seen</th></tr>\n"
            .to_string();
    for broken in &report.broken {
        let when = broken.at_ms.map_or_else(|| "in the end".to_string(), span);
        writeln!(
            text,
            "<tr><td class=\"fail\">{}</td><td>{when}</td><td>{}</td></tr>",
            escaped(broken.invariant),
            escaped(&format!("{}{}", broken.message, text::more(broken)))
        )
        .ok();
    }
    text + "</table>\n"
}

/// Draws processes, faults with their recoveries by kind, and checkpoints over time.
fn timeline(report: &Report) -> String {
    let whole = report.took_ms.max(1) as f64;
    let x = |ms: f64| LEFT + ms.min(whole) / whole * (WIDTH - LEFT - 10.0);
    let rows: Vec<_> = report.kinds.iter().map(|kind| kind.kind).collect();
    let height = ROW * (rows.len() as f64 + 2.0) + 24.0;
    let mut svg =
        format!("<div class=\"scroll\"><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"timeline\">\n");
    let label = |svg: &mut String, row: f64, name: &str| {
        let y = row * ROW;
        writeln!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>", LEFT - 8.0, y + 15.0).ok();
        writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y1}\" y2=\"{y1}\" stroke=\"var(--line)\"/>",
            WIDTH - 10.0,
            y1 = y + ROW
        )
        .ok();
    };
    label(&mut svg, 0.0, "process");
    for life in &report.lives {
        let (from, to) = (x(life.from_ms as f64), x(life.to_ms as f64));
        writeln!(
            svg,
            "<rect x=\"{from:.1}\" y=\"4\" width=\"{:.1}\" height=\"14\" fill=\"var(--life)\"><title>{} to {}: {}</title></rect>",
            (to - from - 1.0).max(0.5),
            span(life.from_ms),
            span(life.to_ms),
            escaped(&life.ended)
        )
        .ok();
    }
    for (index, kind) in rows.iter().enumerate() {
        let row = index as f64 + 1.0;
        label(&mut svg, row, kind.name());
        for fault in report.faults.iter().filter(|fault| fault.kind == *kind) {
            mark(&mut svg, fault, row * ROW, &x);
        }
    }
    let row = rows.len() as f64 + 1.0;
    label(&mut svg, row, "checkpoint");
    for at in &report.checkpoints.at_ms {
        let at = x(*at as f64);
        let (top, bottom) = (row * ROW + 5.0, row * ROW + 17.0);
        writeln!(svg, "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{bottom}\" stroke=\"var(--commit)\"/>")
            .ok();
    }
    let below = row * ROW + ROW + 16.0;
    for part in 0..=5 {
        let ms = whole * f64::from(part) / 5.0;
        let anchor = if part == 5 { "end" } else { "middle" };
        writeln!(svg, "<text x=\"{:.1}\" y=\"{below}\" text-anchor=\"{anchor}\">{}</text>", x(ms), span(ms as u64))
            .ok();
    }
    svg + "</svg></div>\n<p class=\"soft\">Red: a fault has an effect; behind it, until the job goes on, or has committed again.</p>\n"
}

/// Draws a fault: a mark where it has an effect, and a bar until the job is well again.
fn mark(svg: &mut String, fault: &Fault, top: f64, x: &impl Fn(f64) -> f64) {
    let Some(struck) = fault.struck_ms else { return };
    let lasted = fault.recovery_ms.or(fault.commit_ms.map(|ms| ms as f64)).unwrap_or(0.0);
    let (from, to) = (x(struck as f64), x(struck as f64 + lasted));
    let title = format!(
        "fault {} {} after {}: {}",
        fault.number,
        fault.whom.as_deref().unwrap_or(""),
        span(struck),
        became(fault)
    );
    writeln!(
        svg,
        "<g><title>{}</title><rect x=\"{from:.1}\" y=\"{}\" width=\"{:.1}\" height=\"8\" fill=\"var(--heal)\"/><rect \
         x=\"{:.1}\" y=\"{}\" width=\"2\" height=\"14\" fill=\"var(--fault)\"/></g>",
        escaped(&title),
        top + 7.0,
        (to - from).max(0.5),
        from - 1.0,
        top + 4.0
    )
    .ok();
}

fn became(fault: &Fault) -> String {
    let mut parts = Vec::new();
    if let Some(ms) = fault.recovery_ms {
        parts.push(format!("went on after {}", text::time(ms)));
    }
    if let Some(ms) = fault.commit_ms {
        parts.push(format!("committed after {}", span(ms)));
    }
    parts.extend(fault.remark.clone());
    if parts.is_empty() { "nothing is known".to_string() } else { parts.join(", ") }
}

fn kinds(report: &Report) -> String {
    let mut text = "<div class=\"scroll\"><table><tr><th>fault</th><th>injected</th><th>effective</th><th>recovered</th><th>p50</th>\
                    <th>p99</th><th>max</th><th>commit p50</th><th>commit p99</th><th>replayed p50</th></tr>\n"
        .to_string();
    let of =
        |spread: Option<Spread>, which: fn(Spread) -> f64| spread.map_or_else(String::new, |s| text::time(which(s)));
    for kind in &report.kinds {
        let cells = [
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
        ];
        writeln!(text, "<tr><td>{}</td></tr>", cells.join("</td><td>")).ok();
    }
    text + "</table></div>\n"
}

fn compared(report: &Report) -> String {
    let mut text = "<table class=\"words\"><tr><th>what</th><th>how</th><th>without faults</th><th>under faults</th><th>missing</th>\
                    <th>too many</th></tr>\n"
        .to_string();
    for sink in &report.sinks {
        let cells = [
            format!("output of {}", escaped(&sink.name)),
            escaped(&sink.compared),
            number(sink.golden),
            number(sink.committed),
            number(sink.missing),
            number(sink.surplus),
        ];
        writeln!(text, "<tr><td>{}</td></tr>", cells.join("</td><td>")).ok();
    }
    let state = &report.state;
    writeln!(
        text,
        "<tr><td>state</td><td>by key, of {} operators</td><td>{}</td><td></td><td>{}</td><td></td></tr>",
        number(state.operators),
        number(state.keys),
        number(state.differing)
    )
    .ok();
    let letters = &report.dead_letters;
    writeln!(
        text,
        "<tr><td>dead letters</td><td>by operator and record</td><td>{}</td><td>{}</td><td></td><td></td></tr>",
        number(letters.golden),
        number(letters.committed)
    )
    .ok();
    text + "</table>\n"
}

/// Draws how much memory the process took.
fn memory(report: &Report) -> String {
    const HEIGHT: f64 = 120.0;
    let (whole, peak) = (report.took_ms.max(1) as f64, report.memory.peak.max(1) as f64);
    let point = |(at, size): &(u64, u64)| {
        let x = LEFT + (*at as f64).min(whole) / whole * (WIDTH - LEFT - 10.0);
        format!("{x:.1},{:.1}", HEIGHT - 5.0 - *size as f64 / peak * (HEIGHT - 20.0))
    };
    let points: Vec<String> = report.memory.samples.iter().map(point).collect();
    format!(
        "<div class=\"scroll\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"memory\"><text x=\"{}\" y=\"18\" \
         text-anchor=\"end\">{}</text><polyline points=\"{}\" fill=\"none\" stroke=\"var(--life)\" stroke-width=\"1.5\"/></svg></div>\n",
        LEFT - 8.0,
        bytes(report.memory.peak),
        points.join(" ")
    )
}

fn each(faults: &[Fault]) -> String {
    let mut text = "<div class=\"scroll\"><table class=\"words\"><tr><th>no.</th><th>fault</th><th>whom</th><th>where</th><th>when</th>\
                    <th>restarted</th><th>what became of it</th></tr>\n"
        .to_string();
    for fault in faults {
        let cells = [
            fault.number.to_string(),
            fault.kind.to_string(),
            escaped(fault.whom.as_deref().unwrap_or("")),
            escaped(fault.point.as_deref().unwrap_or("")),
            fault.struck_ms.or(fault.injected_ms).map_or_else(String::new, span),
            escaped(fault.scope.as_deref().unwrap_or("")),
            escaped(&match (fault.injected_ms, fault.struck_ms) {
                (None, _) => "it did not happen".to_string(),
                (Some(_), None) => fault.remark.clone().unwrap_or_else(|| "it had no effect".into()),
                (Some(_), Some(_)) => became(fault),
            }),
        ];
        writeln!(text, "<tr><td>{}</td></tr>", cells.join("</td><td>")).ok();
    }
    text + "</table></div>\n"
}

/// Returns a text as it stands in a page.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            char => escaped.push(char),
        }
    }
    escaped
}
