// The panels of dead letters and of state: what the store holds, read when somebody asks for it and not each second.

import { attribute, cells, element, fill, get, opener, rows, text } from "./dom.js";
import * as words from "./words.js";

const LETTER_COLUMNS = 7;

/** What is said above dead letters. */
export function lettersInWords(shown, hasMore) {
  if (shown === 0) return "No record has been set aside: there are no dead letters in committed windows.";
  return `${words.things(shown, "dead letter")}${hasMore ? "; there are more" : ", which is all there are"}.`;
}

/** The row of a dead letter. */
export function letterRow(letter) {
  const { region, operator, subtask, number, window, position, reason } = letter;
  const first = reason.trim().split("\n")[0];
  return {
    key: `${region} ${window} ${operator} ${subtask} ${number}`,
    name: operator,
    cells: [region, `#${subtask}`, words.count(number), words.count(window), words.count(position), shortened(first, 120)],
  };
}

/** The row of what an operator keeps. */
export function stateRow(of) {
  const said = ({ name, kind, values }) => `${name} (${kind}, ${words.things(values, "value")})`;
  const nothing = of["state-size"] === 0 ? "nothing" : "too much to be listed beside the job";
  const states = of.states?.map(said).join("; ") || nothing;
  return { key: `${of.region} ${of.operator}`, name: of.operator, cells: [of.region, words.count(of.window), words.bytes(of["state-size"]), states] };
}

/** The row of a key, or of what belongs to none. */
export function entryRow(entry, number) {
  const whose = entry.local ? "(of the subtask)" : entry.broadcast ? "(of all subtasks)" : written(entry.key);
  const timers = (entry.timers ?? []).map((timer) => Object.entries(timer).map(([kind, at]) => `${kind} ${words.time(at)}`));
  return {
    key: number,
    cells: [whose, `#${entry.subtask}`, written(entry.state ?? entry.local ?? entry.broadcast), timers.flat().join(", ") || "none"],
  };
}

/** What is said above the keys of an operator. */
export function entriesInWords(answer, shown) {
  const { window, region } = answer.checkpoint;
  if (window === null) return "Nothing has been committed yet.";
  const where = `in checkpoint ${words.count(window)} of ${region}`;
  if (shown === 0) return `It keeps nothing ${where}.`;
  return `${words.things(shown, "entry", "entries")} ${where}${answer.next === null ? ", which is all there are" : "; there are more"}.`;
}

function written(value) {
  return shortened(typeof value === "string" ? value : JSON.stringify(value), 400);
}

function shortened(said, longest) {
  return said.length > longest ? `${said.slice(0, longest - 1)}…` : said;
}

/** Makes the panels work; `ask` gets what stands behind an address of the job. */
export function storedPanels(ask) {
  letters(ask);
  states(ask);
}

function letters(ask) {
  let all = [];
  let next = null;
  const read = async (from) => {
    try {
      const answer = await ask(`deadletters${from ? `?from=${encodeURIComponent(from)}` : ""}`);
      all = from ? [...all, ...answer.letters] : answer.letters;
      next = answer.next;
      show();
    } catch (error) {
      text(get("letters-words"), `They could not be read: ${error.message}`);
    }
  };
  const show = () => {
    text(get("letters-words"), lettersInWords(all.length, next !== null));
    const items = all.flatMap((letter) => {
      const row = letterRow(letter);
      return [row, { key: `${row.key} record`, letter }];
    });
    fill(get("letter-rows"), items, create, (row, item) => item.cells && cells(row, item.cells, 1));
    attribute(get("letters-box"), "hidden", all.length > 0 ? null : "");
    attribute(get("letters-more"), "hidden", next === null ? "" : null);
  };
  const create = ({ name, letter, cells }) => {
    if (letter) return element("tr", { class: "detail", hidden: true }, element("td", { colspan: LETTER_COLUMNS }, ...record(letter)));
    const toggle = (isOpen) => attribute(row.nextSibling, "hidden", isOpen ? null : "");
    const row = element("tr", {}, element("th", { scope: "row" }, opener(name, toggle)), ...cells.map(() => element("td")));
    return row;
  };
  get("letters-read").addEventListener("click", () => read(null));
  get("letters-more").addEventListener("click", () => read(next));
}

function record(letter) {
  const said = typeof letter.record === "string" ? letter.record : JSON.stringify(letter.record, null, 2);
  const part = (name, value) => element("div", {}, element("dt", {}, name), element("dd", {}, element("pre", {}, value)));
  return [element("dl", { class: "lines" }, part("Record", said), part("Error", letter.reason.trim()))];
}

function states(ask) {
  let operator = null;
  let entries = [];
  let next = null;
  // Of which key the entries are, if of one.
  let key = "";
  const readStates = async () => {
    try {
      const { operators } = await ask("state");
      const keep = operators.filter((of) => of["state-size"] > 0);
      const said = operators.length === 0 ? "Nothing has been committed yet, or no operator keeps anything." : `${words.count(keep.length)} of ${words.things(operators.length, "operator")} keep state in the newest committed checkpoint.`;
      text(get("states-words"), said);
      fill(get("state-rows"), operators.map(stateRow), createState, (row, item) => cells(row, item.cells, 1));
      attribute(get("states-box"), "hidden", operators.length > 0 ? null : "");
    } catch (error) {
      text(get("states-words"), `It could not be read: ${error.message}`);
    }
  };
  const createState = ({ name, cells }) => {
    const button = element("button", { type: "button", class: "show" }, name);
    button.addEventListener("click", () => open(name));
    return element("tr", {}, element("th", { scope: "row" }, button), ...cells.map(() => element("td")));
  };
  const open = (name) => {
    operator = name;
    get("entries-key").value = "";
    text(get("entries-title"), `Keys of ${name}`);
    attribute(get("entries"), "hidden", null);
    readEntries(0);
  };
  const readEntries = async (offset) => {
    if (offset === 0) key = get("entries-key").value.trim();
    const asked = operator;
    const query = new URLSearchParams({ offset, ...(key ? { key } : {}) });
    try {
      const answer = await ask(`state/${encodeURIComponent(asked)}?${query}`);
      // Somebody has opened another one meanwhile.
      if (asked !== operator) return;
      entries = offset === 0 ? answer.entries : [...entries, ...answer.entries];
      next = answer.next;
      show(entriesInWords(answer, entries.length));
    } catch (error) {
      [entries, next] = offset === 0 ? [[], null] : [entries, next];
      show(`It could not be read: ${error.message}`);
    }
  };
  const show = (said) => {
    text(get("entries-words"), said);
    rows(get("entry-rows"), entries.map(entryRow));
    attribute(get("entries-box"), "hidden", entries.length > 0 ? null : "");
    attribute(get("entries-more"), "hidden", next === null ? "" : null);
  };
  get("states-read").addEventListener("click", readStates);
  get("entries-more").addEventListener("click", () => readEntries(next));
  get("entries-form").addEventListener("submit", (event) => {
    event.preventDefault();
    readEntries(0);
  });
}
