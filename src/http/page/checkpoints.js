// What is shown of checkpoints: made from the answers of the API, and from nothing else.

import * as words from "./words.js";

/** What a checkpoint is known by: regions count for themselves, and after a rollback the same window may come again. */
export function keyOf(checkpoint) {
  return `${checkpoint.region} ${checkpoint.id} ${checkpoint.trigger_timestamp}`;
}

function acknowledged({ num_acknowledged_subtasks: some, num_subtasks: all }) {
  return `${some}/${all} (${words.percent(all > 0 ? some / all : 0)})`;
}

/** The facts of the overview. */
export function overview(answer, now) {
  const { counts, latest } = answer;
  return {
    triggered: words.count(counts.total),
    "in-progress": words.count(counts.in_progress),
    completed: words.count(counts.completed),
    failed: words.count(counts.failed),
    restored: words.count(counts.restored),
    "latest-completed": completed(latest.completed, now),
    "latest-failed": failed(latest.failed, now),
    "latest-savepoint": savepoint(latest.savepoint, now),
    "latest-restored": restored(latest.restored, now),
  };
}

function completed(latest, now) {
  if (!latest) return "none yet";
  const took = words.duration(latest.end_to_end_duration);
  const at = words.time(latest.trigger_timestamp, now);
  return `${latest.id} of ${latest.region}, at ${at}, in ${took}, ${words.bytes(latest.state_size)}. ${latest.verdict}`;
}

function failed(latest, now) {
  if (!latest) return "none";
  const whom = latest.failure_operator ? ` (${latest.failure_operator})` : "";
  return `${latest.id} of ${latest.region}, at ${words.time(latest.failure_timestamp, now)}${whom}: ${latest.failure_message}`;
}

function savepoint(latest, now) {
  return latest ? `${latest.name} of window ${latest.id}, at ${words.time(latest.latest_ack_timestamp, now)}` : "none";
}

function restored(latest, now) {
  if (!latest) return "none";
  return `window ${latest.id} of ${latest.region}, at ${words.time(latest.restore_timestamp, now)}`;
}

/** The row of a checkpoint in the history. */
export function historyRow(checkpoint, now) {
  return {
    key: keyOf(checkpoint),
    id: checkpoint.id,
    region: checkpoint.region,
    cells: [
      words.status(checkpoint.status) + (checkpoint.checkpoint_type === "UNALIGNED" ? ", unaligned" : "") +
        (checkpoint.savepoint ? `, savepoint “${checkpoint.savepoint}”` : ""),
      acknowledged(checkpoint),
      words.time(checkpoint.trigger_timestamp, now),
      words.time(checkpoint.latest_ack_timestamp, now),
      words.duration(checkpoint.end_to_end_duration),
      words.bytes(checkpoint.checkpointed_size),
      words.bytes(checkpoint.state_size),
      words.bytes(checkpoint.persisted_data),
      checkpoint.verdict,
    ],
  };
}

/** The rows of the operators of one checkpoint. */
export function taskRows(details, now) {
  return Object.entries(details.tasks).map(([chain, task]) => ({
    key: chain,
    cells: [
      words.count(task.num_acknowledged_subtasks),
      words.time(task.latest_ack_timestamp, now),
      words.duration(task.end_to_end_duration),
      words.bytes(task.checkpointed_size),
      words.bytes(task.state_size),
      words.bytes(task.persisted_data),
    ],
  }));
}

/** The rows of the subtasks of a chain; `answers` are those of its operators, the head first. */
export function subtaskRows(answers, now) {
  const [head] = answers;
  const rows = head.subtasks.map((subtask, place) => {
    const sizes = answers.map((answer) => answer.subtasks[place]?.state_size);
    const state = answers.length === 1 ? words.bytes(sizes[0]) : sizes.map((size, of) => `${answers[of].operator} ${words.bytes(size)}`).join(", ");
    return { key: String(subtask.index), cells: ofSubtask(subtask, state, now) };
  });
  const { summary } = head;
  const of = (which) => ({
    key: which,
    cells: [
      { min: "least", avg: "mean", max: "most" }[which],
      "",
      words.duration(summary.end_to_end_duration[which]),
      words.duration(summary.start_delay[which]),
      words.duration(summary.alignment.duration[which]),
      words.duration(summary.checkpoint_duration.sync[which]),
      words.duration(summary.checkpoint_duration.async[which]),
      words.bytes(summary.checkpointed_size[which]),
      answers.length === 1 ? words.bytes(summary.state_size[which]) : "",
      words.bytes(summary.alignment.persisted[which]),
      "",
      "",
    ],
  });
  return [...rows, of("min"), of("avg"), of("max")];
}

function ofSubtask(subtask, state, now) {
  if (subtask.status !== "completed") return [`#${subtask.index}`, "not acknowledged", ...Array(10).fill("–")];
  return [
    `#${subtask.index}`,
    words.time(subtask.ack_timestamp, now),
    words.duration(subtask.end_to_end_duration),
    words.duration(subtask.start_delay),
    words.duration(subtask.alignment.duration),
    words.duration(subtask.checkpoint.sync),
    words.duration(subtask.checkpoint.async),
    words.bytes(subtask.checkpointed_size),
    state,
    `${words.bytes(subtask.alignment.persisted)}, ${words.things(subtask.alignment.records, "record")}`,
    subtask.unaligned_checkpoint ? "yes" : "no",
    words.time(subtask.watermark, now),
  ];
}

const MEASURES = [
  ["end_to_end_duration", "End-to-end duration", words.duration],
  ["checkpointed_size", "Checkpointed size", words.bytes],
  ["state_size", "Full size", words.bytes],
  ["persisted_data", "In flight", words.bytes],
];

const STATISTICS = ["min", "avg", "max", "p50", "p90", "p95", "p99", "p999"];

/** The rows of the summary: least, mean, most and percentiles. */
export function summaryRows(summary) {
  return MEASURES.map(([key, name, inWords]) => ({
    key,
    cells: [name, ...STATISTICS.map((of) => inWords(summary[key][of]))],
  }));
}

/** The facts of the configuration. */
export function configuration(config) {
  const often = (limit) => (limit < 0 ? "any number" : words.count(limit));
  const timeout = config.aligned_checkpoint_timeout;
  const alignment = config.unaligned_checkpoints ? "unaligned" : "aligned";
  return [
    ["Mode", words.status(config.mode).replaceAll(" ", "-")],
    ["Interval", words.duration(config.interval)],
    ["Window interval", words.duration(config.window_interval)],
    ["Timeout", words.duration(config.timeout)],
    ["Least pause between two", words.duration(config.min_pause)],
    ["At once", words.count(config.max_concurrent)],
    ["Alignment", timeout > 0 ? `${alignment}, unaligned after ${words.duration(timeout)}` : alignment],
    ["Failures tolerated", often(config.tolerable_failed_checkpoints)],
    ["Kept", words.count(config.retained)],
    ["When cancelled", config.externalization.delete_on_cancellation ? "deleted" : "kept"],
    ["After the end of some inputs", config.checkpoints_after_tasks_finish ? "go on" : "end"],
    ["State directory", config.checkpoint_storage],
  ];
}

/** Compares two checkpoints, the earlier first: the rows of the table. Each is its details and its operators' answers. */
export function comparison(one, other) {
  const rows = MEASURES.map(([key, name, inWords]) =>
    row(`whole ${key}`, name, one.details[key], other.details[key], inWords),
  );
  const { num_acknowledged_subtasks: first } = one.details;
  const { num_acknowledged_subtasks: second } = other.details;
  rows.push(row("whole acknowledged", "Subtasks that acknowledged", first, second, words.count));
  const chains = new Set([...Object.keys(one.details.tasks), ...Object.keys(other.details.tasks)]);
  for (const chain of chains) {
    const tasks = [one, other].map((of) => of.details.tasks[chain]);
    for (const [key, name, inWords] of MEASURES) {
      rows.push(row(`${chain} ${key}`, `${chain}: ${name.toLowerCase()}`, tasks[0]?.[key], tasks[1]?.[key], inWords));
    }
    const phases = [one, other].map((of) => phasesOf(of.operators[chain]));
    for (const name of Object.keys(phases[0])) {
      rows.push(row(`${chain} ${name}`, `${chain}: ${name}, the most`, phases[0][name], phases[1][name], words.duration));
    }
  }
  return rows;
}

function phasesOf(operator) {
  const summary = operator?.summary;
  return {
    "start delay": summary?.start_delay.max,
    alignment: summary?.alignment.duration.max,
    sync: summary?.checkpoint_duration.sync.max,
    async: summary?.checkpoint_duration.async.max,
  };
}

function row(key, name, first, second, inWords) {
  const apart = first === undefined || second === undefined ? undefined : second - first;
  return { key, cells: [name, inWords(first), inWords(second), words.difference(apart, inWords)] };
}

/** The numbers of the chart, oldest first, and what it says in words. */
export function chart(history) {
  const done = history.filter((of) => of.status !== "IN_PROGRESS").reverse();
  const say = (name, numbers, inWords) => {
    if (numbers.length === 0) return `${name}: no checkpoint yet`;
    const newest = numbers[numbers.length - 1];
    const range = `${inWords(Math.min(...numbers))} to ${inWords(Math.max(...numbers))}`;
    return `${name} of the last ${words.things(numbers.length, "checkpoint")}: ${range}, the newest ${inWords(newest)}`;
  };
  const durations = done.map((of) => of.end_to_end_duration);
  const sizes = done.map((of) => of.state_size);
  return {
    failures: done.map((of) => of.status === "FAILED"),
    durations,
    sizes,
    "durations-words": say("Duration", durations, words.duration),
    "sizes-words": say("Full size", sizes, words.bytes),
  };
}
