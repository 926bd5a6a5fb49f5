// The panel of checkpoints: what is open and what is chosen in the history stays so while new ones come.

import * as views from "./checkpoints.js";
import { attribute, cells, drawn, element, facts, fill, get, opener, rows, table, text } from "./dom.js";
import { bars } from "./graph.js";

const OPERATOR_HEADINGS = ["Operator", "Acknowledged", "Latest acknowledgement", "End-to-end duration", "Checkpointed size", "Full size", "In flight"];
const SUBTASK_HEADINGS = ["Subtask", "Acknowledged", "End-to-end duration", "Start delay", "Alignment", "Sync", "Async", "Checkpointed size", "State", "In flight", "Unaligned", "Watermark"];
const CHART = { width: 600, height: 90 };
const COLUMNS = 12;

/** The panel; `ask` gets what stands behind an address of the job. */
export function historyPanel(ask) {
  /** Of each row that is shown: its checkpoint, its elements, and what was asked for it. */
  const shown = new Map();
  let chosen = [];
  let operatorsOf = new Map();
  let now = 0;

  function update(answer, job) {
    now = job.now;
    operatorsOf = new Map(job.vertices.map((vertex) => [vertex.id, vertex]));
    facts("checkpoints", views.overview(answer, now));
    rows(get("summary-rows"), views.summaryRows(answer.summary));
    chart(answer.history);
    const listed = new Set(answer.history.map(views.keyOf));
    // What somebody reads does not vanish because it has become old.
    const held = [...shown.values()].filter((of) => (of.isOpen || chosen.includes(of.key)) && !listed.has(of.key));
    const all = [...answer.history, ...held.map((of) => of.checkpoint)];
    const items = all.flatMap((checkpoint) => {
      const key = views.keyOf(checkpoint);
      return [{ key, checkpoint }, { key: `${key} detail`, checkpoint, isDetail: true }];
    });
    fill(get("history-rows"), items, create, bring);
    const current = new Set(all.map(views.keyOf));
    for (const key of shown.keys()) if (!current.has(key)) shown.delete(key);
  }

  function create({ checkpoint, isDetail }) {
    const key = views.keyOf(checkpoint);
    if (isDetail) {
      const cell = element("td", { colspan: COLUMNS });
      const detail = element("tr", { class: "detail", hidden: true }, cell);
      Object.assign(shown.get(key), { detail, cell });
      return detail;
    }
    const of = { key, checkpoint, isOpen: false };
    shown.set(key, of);
    const button = opener(String(checkpoint.id), (isOpen) => {
      of.isOpen = isOpen;
      attribute(of.detail, "hidden", isOpen ? null : "");
      if (isOpen) open(of);
    });
    attribute(button, "aria-label", `Checkpoint ${checkpoint.id} of ${checkpoint.region}`);
    const choice = element("input", { type: "checkbox", "aria-label": `Compare checkpoint ${checkpoint.id} of ${checkpoint.region}` });
    choice.addEventListener("change", () => choose(of));
    of.choice = choice;
    const row = element("tr", {}, element("th", { scope: "row" }, button), element("td", { class: "choice" }, choice));
    for (let place = 2; place < COLUMNS; place += 1) row.append(element("td"));
    return row;
  }

  function bring(row, { checkpoint, isDetail }) {
    const of = shown.get(views.keyOf(checkpoint));
    if (isDetail) {
      if (of.isOpen && of.details?.status === "IN_PROGRESS") open(of);
      return;
    }
    of.checkpoint = checkpoint;
    // What has come to its end does not change any more, but for becoming a savepoint.
    const state = checkpoint.savepoint ? `${checkpoint.status} SAVED` : checkpoint.status;
    if (row.dataset.state === state && checkpoint.status !== "IN_PROGRESS") return;
    const item = views.historyRow(checkpoint, now);
    cells(row, [item.region, ...item.cells], 2);
    attribute(row, "data-status", checkpoint.status);
    attribute(row, "data-state", state);
  }

  function address({ checkpoint }) {
    return { path: `checkpoints/${checkpoint.id}`, query: `?region=${encodeURIComponent(checkpoint.region)}` };
  }

  /** Asks for the details of a checkpoint once it is complete, and again as long as it is not. */
  async function detailsOf(of) {
    if (of.details && of.details.status !== "IN_PROGRESS") return of.details;
    const { path, query } = address(of);
    of.asking ??= ask(path + query).finally(() => { of.asking = null; });
    of.details = await of.asking;
    return of.details;
  }

  async function open(of) {
    try {
      const details = await detailsOf(of);
      if (!of.body) {
        const { box, body } = table(`Operators of checkpoint ${of.checkpoint.id}`, OPERATOR_HEADINGS);
        of.note = element("p", { class: "note" });
        of.cell.replaceChildren(of.note, box);
        of.body = body;
      }
      const abridged = details.is_abridged ? " Its operators are not kept any more." : "";
      text(of.note, (details.failure_message ?? details.verdict) + abridged);
      const items = views.taskRows(details, now).flatMap((task) => [task, { key: `${task.key} subtasks`, chain: task.key }]);
      fill(of.body, items, (item) => createTask(of, item), (row, item) => item.cells && cells(row, item.cells, 1));
    } catch (error) {
      if (!of.body) of.cell.replaceChildren(element("p", { class: "note" }, `It could not be had: ${error.message}`));
    }
  }

  function createTask(of, item) {
    of.tasks ??= new Map();
    if (item.chain) {
      const name = operatorsOf.get(item.chain)?.name ?? item.chain;
      const { box, body } = table(`Subtasks of ${name} in checkpoint ${of.checkpoint.id}`, SUBTASK_HEADINGS);
      const detail = element("tr", { class: "detail", hidden: true }, element("td", { colspan: OPERATOR_HEADINGS.length }, box));
      of.tasks.set(item.chain, { detail, body });
      return detail;
    }
    const button = opener(operatorsOf.get(item.key)?.name ?? item.key, (isOpen) => {
      const { detail, body } = of.tasks.get(item.key);
      attribute(detail, "hidden", isOpen ? null : "");
      if (isOpen) openTask(of, item.key, body);
    });
    return element("tr", {}, element("th", { scope: "row" }, button), ...item.cells.map(() => element("td")));
  }

  async function openTask(of, chain, body) {
    try {
      const operators = operatorsOf.get(chain)?.operators ?? [chain];
      const answers = await Promise.all(operators.map((operator) => operatorOf(of, operator)));
      rows(body, views.subtaskRows(answers, now));
    } catch (error) {
      rows(body, [{ key: "error", cells: [`It could not be had: ${error.message}`] }]);
    }
  }

  function operatorOf(of, operator) {
    const { path, query } = address(of);
    return ask(`${path}/operators/${encodeURIComponent(operator)}${query}`);
  }

  function choose(of) {
    chosen = of.choice.checked ? [...chosen, of.key] : chosen.filter((key) => key !== of.key);
    while (chosen.length > 2) {
      const dropped = shown.get(chosen.shift());
      if (dropped) dropped.choice.checked = false;
    }
    compare();
  }

  async function compare() {
    const asked = chosen;
    const two = asked.map((key) => shown.get(key)).sort((one, other) => one.checkpoint.trigger_timestamp - other.checkpoint.trigger_timestamp);
    const table = get("comparison");
    if (two.length < 2) {
      attribute(table, "hidden", "");
      text(get("comparison-words"), two.length === 0 ? "Choose two checkpoints in the history." : "Choose one more in the history.");
      return;
    }
    try {
      const [one, other] = await Promise.all(two.map(whole));
      if (asked !== chosen) return;
      const names = two.map((of) => `${of.checkpoint.id} of ${of.checkpoint.region}`);
      text(get("comparison-one"), names[0]);
      text(get("comparison-other"), names[1]);
      rows(get("comparison-rows"), views.comparison(one, other));
      text(get("comparison-words"), `Checkpoint ${names[0]} is compared with ${names[1]}.`);
      attribute(table, "hidden", null);
    } catch (error) {
      text(get("comparison-words"), `They could not be compared: ${error.message}`);
    }
  }

  async function whole(of) {
    const details = await detailsOf(of);
    const answers = await Promise.all(Object.keys(details.tasks).map(async (chain) => [chain, await operatorOf(of, chain)]));
    return { details, operators: Object.fromEntries(answers) };
  }

  return { update };
}

function chart(history) {
  const said = views.chart(history);
  for (const which of ["durations", "sizes"]) {
    const svg = get(`chart-${which}`);
    const items = bars(said[which], CHART.width, CHART.height).map((bar, key) => ({ key, bar, failed: said.failures[key] }));
    fill(svg, items, () => drawn("rect"), (rect, { bar, failed }) => {
      for (const [name, value] of Object.entries(bar)) attribute(rect, name, value.toFixed(1));
      attribute(rect, "class", failed ? "failed" : null);
    });
    attribute(svg, "aria-label", said[`${which}-words`]);
    text(get(`chart-${which}-words`), said[`${which}-words`]);
  }
}

export function configuration(config) {
  const items = views.configuration(config).map(([key, value]) => ({ key, value }));
  const create = (item) => element("div", {}, element("dt", {}, item.key), element("dd"));
  fill(get("configuration-list"), items, create, (row, item) => text(row.lastChild, item.value));
}
