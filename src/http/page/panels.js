// The panels of topology, operators and recovery.

import { attribute, cells, drawn, element, fill, get, opener, rows, table, text } from "./dom.js";
import { BOX, layout, marks } from "./graph.js";
import * as views from "./views.js";
import * as words from "./words.js";

const SUBTASK_HEADINGS = ["Subtask", "Read", "Written", "Rate", "Window", "Watermark", "Lag", "Mailbox", "Busy", "Blocked", "Idle"];
const SHARES = ["busy", "blocked", "idle"];
const BAR = BOX.width - 24;

let drawnPlan = "";

export function topology(operators) {
  rows(get("topology-rows"), operators.map(views.edgesRow));
  const svg = get("graph");
  const plan = JSON.stringify(operators.map((of) => [of.id, of.inputs.map((input) => [input.from, input.reads])]));
  if (plan !== drawnPlan) draw(svg, operators);
  drawnPlan = plan;
  const shown = new Map(operators.map((of) => [of.id, of]));
  for (const box of svg.querySelectorAll("[data-vertex]")) fillBox(box, shown.get(box.dataset.vertex));
  for (const edge of svg.querySelectorAll("[data-to]")) {
    const input = shown.get(edge.dataset.to).inputs[Number(edge.dataset.number)];
    const isHeldUp = input.pressure !== views.pressure(0);
    edge.classList.toggle("held-up", isHeldUp);
    if (!edge.classList.contains("label")) continue;
    text(edge.querySelector(".spread"), input.spread);
    text(edge.querySelector(".pressure"), input.pressure);
  }
}

function draw(svg, operators) {
  const { width, height, boxes, edges } = layout(operators);
  const of = (edge) => ({ "data-to": edge.to, "data-number": edge.number });
  for (const [name, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` })) attribute(svg, name, value);
  // Lines first, so that none of them runs through the words of another.
  const lines = edges.map((edge) => drawn("path", { class: "line", d: edge.d, "marker-end": "url(#arrow)", ...of(edge) }));
  const labels = edges.map((edge) => drawn("g", { class: "label", ...of(edge) },
    drawn("text", { class: "spread", x: edge.label.x, y: edge.label.y - 6 }),
    drawn("text", { class: "pressure", x: edge.label.x, y: edge.label.y + 14 }),
  ));
  const nodes = boxes.map((box) => drawn("g", { class: "vertex", "data-vertex": box.id, transform: `translate(${box.x} ${box.y})` },
    drawn("rect", { class: "box", width: BOX.width, height: BOX.height, rx: 8 }),
    drawn("text", { class: "name", x: 12, y: 22 }),
    drawn("text", { class: "type", x: 12, y: 40 }),
    drawn("text", { class: "rate", x: 12, y: 58 }),
    ...SHARES.map((share) => drawn("rect", { class: share, y: 66, height: 8 })),
    drawn("text", { class: "load", x: 12, y: 88 }),
    drawn("rect", { class: "track", x: 12, y: 94, width: BAR, height: 5 }),
    drawn("rect", { class: "waiting", x: 12, y: 94, height: 5 }),
    drawn("text", { class: "mailbox", x: 12, y: 112 }),
  ));
  svg.querySelector("g.drawing")?.remove();
  svg.append(drawn("g", { class: "drawing" }, ...lines, ...labels, ...nodes));
}

function fillBox(box, of) {
  const say = (part, value) => text(box.querySelector(`.${part}`), value);
  say("name", shortened(of.name, 23));
  say("type", shortened(`${of.type} × ${of.parallelism}`, 32));
  say("rate", of.reading);
  say("load", `busy ${of.busy} · blocked ${of.blocked} · idle ${of.idle}`);
  say("mailbox", `mailbox ${of.mailbox}`);
  let x = 12;
  for (const share of SHARES) {
    const bar = box.querySelector(`rect.${share}`);
    attribute(bar, "x", x.toFixed(1));
    attribute(bar, "width", (of.load[share] * BAR).toFixed(1));
    x += of.load[share] * BAR;
  }
  attribute(box.querySelector("rect.waiting"), "width", (of.fill * BAR).toFixed(1));
}

function shortened(name, longest) {
  return name.length > longest ? `${name.slice(0, longest - 1)}…` : name;
}

/** The table of operators; each is a row, and a second one that opens to its subtasks. */
export function operatorTable(operators) {
  const items = operators.flatMap((of) => [
    { key: of.id, of },
    { key: `${of.id} subtasks`, of, isDetail: true },
  ]);
  fill(get("operator-rows"), items, operatorRow, updateOperator);
}

const details = new Map();

function operatorRow({ of, isDetail }) {
  if (isDetail) {
    const { box, body } = table(`Subtasks of ${of.name}`, SUBTASK_HEADINGS);
    const detail = element("tr", { class: "detail", hidden: true }, element("td", { colspan: "16" }, box));
    details.set(of.id, { detail, body });
    return detail;
  }
  const toggle = (isOpen) => {
    const { detail, body } = details.get(of.id);
    attribute(detail, "hidden", isOpen ? null : "");
    if (isOpen) rows(body, newest.get(of.id).subtasks);
  };
  const head = element("th", { scope: "row" }, opener(of.name, toggle));
  return element("tr", {}, head, ...views.operatorRow(of).cells.map(() => element("td")));
}

const newest = new Map();

function updateOperator(row, { of, isDetail }) {
  newest.set(of.id, of);
  if (!isDetail) cells(row, views.operatorRow(of).cells, 1);
  else if (!row.hidden) rows(details.get(of.id).body, of.subtasks);
}

export function recovery(job) {
  const incidents = views.incidents(job);
  attribute(get("no-incidents"), "hidden", incidents.length > 0 ? "" : null);
  attribute(get("incident-box"), "hidden", incidents.length > 0 ? null : "");
  fill(get("incident-list"), incidents, incidentItem, (item, of) => text(item.querySelector(".ago"), `${words.duration(of.ago)} ago`));
  axis(incidents, job);
}

function incidentItem(of) {
  const list = element("dl", { class: "inline" });
  for (const [name, value] of of.facts) {
    list.append(element("div", {}, element("dt", {}, name), element("dd", {}, String(value))));
  }
  const when = element("p", { class: "when" }, element("time", {}, of.time), " · ", element("span", { class: "ago" }));
  return element("li", { "data-kind": of.kind }, element("h3", {}, of.title), when, list);
}

/** Restarts are circles on the line; all else is a square above it. */
function axis(incidents, job) {
  const from = job.timestamps.CREATED;
  const places = marks(incidents.map((of) => of.at), from, job.now, 100);
  const items = incidents.map((of, number) => ({ ...of, x: places[number] }));
  const create = (of) => {
    const shape = of.kind === "restart" ? drawn("circle", { r: 6, cy: 32 }) : drawn("rect", { width: 10, height: 10, y: 6, transform: "translate(-5 0)" });
    shape.append(drawn("title", {}, `${of.time}: ${of.title}`));
    return shape;
  };
  fill(get("axis-marks"), items, create, (shape, of) => {
    if (of.kind === "restart") attribute(shape, "cx", `${of.x.toFixed(2)}%`);
    else attribute(shape, "x", `${of.x.toFixed(2)}%`);
  });
  text(get("axis-from"), words.time(from, job.now));
  text(get("axis-to"), words.time(job.now));
  const restarts = incidents.filter((of) => of.kind === "restart").length;
  const others = incidents.length - restarts;
  const said = `${words.things(restarts, "restart")} (circles) and ${words.things(others, "other incident")} (squares) since ${words.time(from, job.now)}`;
  attribute(get("axis"), "aria-label", said);
  text(get("axis-words"), said);
}
