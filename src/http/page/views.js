// What is shown of a job and its operators: made from the answers of the API, and from nothing else.

import * as words from "./words.js";

const REMEMBERED_MS = 5_000;

/** What has to be remembered of an answer to tell rates later. */
export function sample(job) {
  const reads = new Map();
  for (const vertex of job.vertices) {
    reads.set(vertex.id, vertex.metrics["read-records"]);
    for (const subtask of vertex.subtasks) reads.set(`${vertex.id}#${subtask.subtask}`, subtask["read-records"]);
  }
  return { run: job["start-time"], now: job.now, in: job["records-in"], out: job["records-out"], reads };
}

/** The samples of the last seconds with one more; of another run of the job nothing is kept. */
export function remember(samples, newest) {
  const kept = samples.filter((old) => old.run === newest.run && old.now < newest.now);
  const old = kept.filter((sample) => sample.now >= newest.now - REMEMBERED_MS);
  // One that is older is better than none.
  return [...(old.length > 0 ? old : kept.slice(-1)), newest];
}

/** How many a second, by the oldest and the newest sample; nothing as long as there is only one. */
export function rateOf(samples, measure) {
  if (samples.length < 2) return null;
  const [oldest, newest] = [samples[0], samples[samples.length - 1]];
  const [from, to] = [measure(oldest), measure(newest)];
  if (from === undefined || to === undefined) return null;
  // After a rollback a counter may stand lower than before.
  return (Math.max(0, to - from) * 1000) / (newest.now - oldest.now);
}

/** The facts in the head, by their ids. */
export function head(job, checkpoints, samples) {
  const since = job.timestamps.RUNNING ?? job.timestamps.CREATED;
  return {
    state: words.status(job.state),
    since: words.time(since, job.now),
    "since-long": `for ${words.duration(job.now - since)}`,
    incarnation: words.count(job.incarnation),
    in: words.count(job["records-in"]),
    "in-rate": words.rate(rateOf(samples, (of) => of.in)),
    out: words.count(job["records-out"]),
    "out-rate": words.rate(rateOf(samples, (of) => of.out)),
    ...committed(job, checkpoints),
    restarts: words.count(job.restarts),
    letters: words.count(job["dead-letters"]),
  };
}

function committed(job, checkpoints) {
  const latest = checkpoints?.latest.completed;
  if (!latest) return { committed: "none yet", "committed-ago": "" };
  const at = latest.trigger_timestamp + latest.end_to_end_duration;
  const region = job.regions.length > 1 ? ` of ${latest.region}` : "";
  const ago = words.duration(Math.max(0, job.now - at));
  return { committed: `${words.count(latest.id)}${region}`, "committed-ago": `${ago} ago` };
}

/** A vertex as the graph and the tables show it. */
function operator(vertex, node, job, samples) {
  const share = (name) => mean(vertex.subtasks.map((subtask) => subtask[name]));
  const boxes = vertex.subtasks.map((subtask) => subtask.mailbox);
  const waiting = sum(boxes.map((box) => box.waiting));
  const capacity = sum(boxes.map((box) => box.capacity));
  const load = { busy: share("busy"), blocked: share("blocked"), idle: share("idle") };
  const isFinished = vertex.status === "FINISHED";
  const rate = words.rate(rateOf(samples, (of) => of.reads.get(vertex.id)));
  return {
    id: vertex.id,
    name: vertex.name,
    type: node?.operator ?? "",
    region: vertex.region,
    parallelism: words.count(vertex.parallelism),
    read: words.count(vertex.metrics["read-records"]) + since(vertex, job.now),
    written: words.count(vertex.metrics["write-records"]),
    rate: isFinished ? "finished" : rate,
    reading: isFinished ? "finished" : `${rate} read`,
    state: words.bytes(vertex["state-size"]),
    watermark: words.time(vertex.watermark, job.now),
    lag: lag(vertex.watermark, job.now),
    restarts: words.count(vertex.restarts),
    letters: words.count(vertex["dead-letters"]),
    load,
    busy: words.percent(load.busy),
    blocked: words.percent(load.blocked),
    idle: words.percent(load.idle),
    fill: capacity > 0 ? waiting / capacity : 0,
    mailbox: mailbox(waiting, capacity),
    inputs: [],
    subtasks: vertex.subtasks.map((subtask) => ofSubtask(vertex, subtask, job, samples)),
  };
}

/** Since when records are counted, if not since the job has started. */
function since(vertex, now) {
  const at = vertex.metrics["read-records-since"];
  return at > vertex["start-time"] ? ` since ${words.time(at, now)}` : "";
}

function ofSubtask(vertex, subtask, job, samples) {
  const key = `${vertex.id}#${subtask.subtask}`;
  return {
    key: String(subtask.subtask),
    cells: [
      `#${subtask.subtask}`,
      words.count(subtask["read-records"]),
      words.count(subtask["write-records"]),
      words.rate(rateOf(samples, (of) => of.reads.get(key))),
      words.count(subtask.window),
      words.time(subtask.watermark, job.now),
      lag(subtask.watermark, job.now),
      mailbox(subtask.mailbox.waiting, subtask.mailbox.capacity),
      words.percent(subtask.busy),
      words.percent(subtask.blocked),
      words.percent(subtask.idle),
    ],
  };
}

function lag(watermark, now) {
  return watermark === null ? words.duration(null) : words.duration(now - watermark);
}

function mailbox(waiting, capacity) {
  return capacity > 0 ? `${words.count(waiting)} of ${words.count(capacity)}` : "none";
}

function sum(numbers) {
  return numbers.reduce((all, number) => all + number, 0);
}

function mean(numbers) {
  return numbers.length === 0 ? 0 : sum(numbers) / numbers.length;
}

/** How much somebody who is blocked for this share of the time is held up, in words. */
export function pressure(blocked) {
  if (blocked >= 0.5) return "high back-pressure";
  if (blocked >= 0.1) return "some back-pressure";
  return "no back-pressure";
}

/** All operators, sources first, each with its inputs. */
export function operators(job, samples) {
  const nodes = new Map(job.plan.nodes.map((node) => [node.id, node]));
  const shown = new Map(job.vertices.map((of) => [of.id, operator(of, nodes.get(of.id), job, samples)]));
  const fullest = new Map();
  for (const node of job.plan.nodes) {
    for (const { id } of node.inputs) fullest.set(id, Math.max(fullest.get(id) ?? 0, shown.get(node.id)?.fill ?? 0));
  }
  for (const node of job.plan.nodes) {
    const to = shown.get(node.id);
    if (to) to.inputs = node.inputs.map((input) => edge(input, shown.get(input.id), to, fullest.get(input.id)));
  }
  return [...shown.values()];
}

/** Who writes to several is held up by the fullest of them. */
function edge(input, from, to, fullest) {
  const blocked = to.fill >= fullest ? (from?.load.blocked ?? 0) : 0;
  return { from: input.id, reads: input.reads, spread: input.ship_strategy, pressure: pressure(blocked) };
}

/** The row of an operator in the table beside the graph. */
export function edgesRow(of) {
  const inputs = of.inputs.map((input) => `${input.reads} (${input.spread}, ${input.pressure})`);
  return {
    key: of.id,
    cells: [
      of.name,
      of.type,
      of.parallelism,
      inputs.join("; ") || "nothing: it is a source",
      of.rate,
      `${of.busy} / ${of.blocked} / ${of.idle}`,
      of.mailbox,
    ],
  };
}

/** The row of an operator in the table of operators. */
export function operatorRow(of) {
  return {
    key: of.id,
    name: of.name,
    cells: [
      of.type,
      of.region,
      of.parallelism,
      of.read,
      of.written,
      of.rate,
      of.state,
      of.watermark,
      of.lag,
      of.restarts,
      of.letters,
      of.mailbox,
      of.busy,
      of.blocked,
      of.idle,
    ],
  };
}

const SCOPES = {
  batch: "the call was taken back and made again",
  operator: "the operator went on from its snapshot and journal",
  region: "the region went back to its last commit",
};

/** An incident as the timeline shows it. */
function incident(event, now) {
  const who = event.operator ? `${event.operator}${isNumber(event.subtask) ? ` #${event.subtask}` : ""}` : event.region;
  const shown = { at: event.timestamp, time: words.time(event.timestamp, now), ago: now - event.timestamp };
  switch (event.event) {
    case "restarted":
      return {
        ...shown,
        kind: "restart",
        title: `${who} restarted`,
        facts: [
          ["Scope", `${event.scope}: ${SCOPES[event.scope] ?? ""}`],
          ["Took", `${words.duration(event.took_ms)} (state ${words.duration(event.restore_ms)}, replay ${words.duration(event.replay_ms)})`],
          ["Replayed", words.things(event.replayed, "record")],
          ["Back to window", words.count(event.window)],
          ["Attempt", words.count(event.attempt)],
          ["Cause", event.cause],
          ["Reason", event.reason],
        ],
      };
    case "restarting":
      return { ...shown, kind: "failure", title: `Region ${event.region} is down and restarts`, facts: [["Reason", event.reason]] };
    case "escalated":
      return { ...shown, kind: "escalation", title: `${who} needed more: ${event.from} → ${event.to}`, facts: [["Reason", event.reason]] };
    case "hung":
      return { ...shown, kind: "hang", title: `${who} hung`, facts: [["Region", event.region]] };
    case "dead_letter":
      return { ...shown, kind: "dead letter", title: `${who} set a record aside`, facts: [["Reason", event.reason]] };
    case "checkpoint_failed":
      return { ...shown, kind: "failed checkpoint", title: `Checkpoint ${event.window} of ${event.region} failed`, facts: [["Reason", event.reason]] };
    case "violated":
      return { ...shown, kind: "broken promise", title: `Promise broken: ${event.invariant}`, facts: [["Seen", event.message]] };
    default:
      return { ...shown, kind: "incident", title: `${words.status(event.event)}: ${who}`, facts: [] };
  }
}

function isNumber(value) {
  return typeof value === "number";
}

/** All incidents, newest first, each with a key that it keeps. */
export function incidents(job) {
  const seen = new Map();
  // Counted from the oldest, so that a newer one does not rename those before it.
  const named = [...job.incidents].reverse().map((event) => {
    const key = `${event.timestamp} ${event.event} ${event.operator ?? ""} ${event.subtask ?? ""}`;
    const times = seen.get(key) ?? 0;
    seen.set(key, times + 1);
    return { key: `${key} ${times}`, ...incident(event, job.now) };
  });
  return named.reverse();
}
