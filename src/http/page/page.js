// The page: asks the API each second, shows what it says, and passes on what the job is to do.

import { attribute, facts, get, text } from "./dom.js";
import { configuration, historyPanel } from "./history.js";
import { chosen } from "./jobs.js";
import * as panels from "./panels.js";
import { storedPanels } from "./stored.js";
import * as views from "./views.js";
import * as words from "./words.js";

const EVERY_MS = 1_000;
const LONGEST_PAUSE_MS = 10_000;
const PATIENCE_MS = 10_000;
const TOKEN = "piton-token";

/** The token is missing or wrong. */
class Unauthorized extends Error {}

async function ask(path, options = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(path, { cache: "no-store", ...options, headers });
  if (answer.status === 401) throw new Unauthorized("a token is needed");
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error ?? `status ${answer.status}`);
  return said;
}

function getJson(path) {
  return ask(path, { signal: AbortSignal.timeout(PATIENCE_MS) });
}

const state = { base: null, samples: [], configuredFor: null, pause: EVERY_MS, lostAt: null, isHeld: false };
const history = historyPanel((path) => getJson(`${state.base}/${path}`));

async function poll() {
  const { jobs } = await getJson("/api/jobs");
  if (jobs.length === 0) throw new Error("there is no job");
  state.base = `/api/jobs/${encodeURIComponent(chosen(jobs).id)}`;
  const [job, checkpoints] = await Promise.all([getJson(state.base), getJson(`${state.base}/checkpoints`)]);
  const run = `${job.name} ${job["start-time"]}`;
  if (state.configuredFor !== run) {
    configuration(await getJson(`${state.base}/checkpoints/config`));
    state.configuredFor = run;
  }
  return { job, checkpoints };
}

function show({ job, checkpoints }) {
  performance.mark("update-begins");
  state.samples = views.remember(state.samples, views.sample(job));
  const operators = views.operators(job, state.samples);
  text(document.querySelector("title"), `${job.name}: ${words.status(job.state)} – piton`);
  text(get("job-name"), job.name);
  facts("head", views.head(job, checkpoints, state.samples));
  panels.topology(operators);
  panels.operatorTable(operators);
  history.update(checkpoints, job);
  panels.recovery(job);
  attribute(document.body, "data-state", "shown");
  performance.measure("update", "update-begins");
}

function connected(isConnected) {
  for (const button of document.querySelectorAll("[data-dialog]")) button.disabled = !isConnected;
}

function answered() {
  if (state.lostAt !== null) text(get("connection"), "The job answers again.");
  state.lostAt = null;
  state.pause = EVERY_MS;
  text(get("retry"), "");
  attribute(get("connection"), "class", null);
  attribute(get("token-panel"), "hidden", "");
  attribute(get("panels"), "hidden", null);
  connected(true);
}

function lost(error) {
  state.lostAt ??= Date.now();
  state.pause = Math.min(LONGEST_PAUSE_MS, Math.max(EVERY_MS, state.pause * 2));
  const since = words.time(state.lostAt);
  text(get("connection"), `The job does not answer any more, since ${since}. What is shown is from before; it is asked again.`);
  attribute(get("connection"), "class", "lost");
  text(get("retry"), `Next time in ${words.duration(state.pause)} (${error.message}).`);
  connected(false);
}

let wake = null;

/** Waits; until the page is seen, if it is not. */
function rest(ms) {
  return new Promise((resolve) => {
    const timer = setTimeout(() => { if (!isAsleep()) resolve(); }, ms);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

function isAsleep() {
  return document.hidden || state.isHeld;
}

async function goOn() {
  for (;;) {
    try {
      const answers = await poll();
      show(answers);
      answered();
    } catch (error) {
      if (error instanceof Unauthorized) await token();
      else lost(error);
    }
    await rest(state.pause);
  }
}

/** Asks for the token, and returns when somebody has given one. */
function token() {
  const panel = get("token-panel");
  const isWrong = sessionStorage.getItem(TOKEN) !== null;
  attribute(panel, "hidden", null);
  text(get("token-error"), isWrong ? "This is not the token of the job." : "");
  get("token").focus();
  return new Promise((resolve) => {
    get("token-form").addEventListener("submit", (event) => {
      event.preventDefault();
      sessionStorage.setItem(TOKEN, get("token").value.trim());
      get("token").value = "";
      // It is asked at once, not after the pause.
      state.pause = 0;
      resolve();
    }, { once: true });
  });
}

const ORDERS = {
  savepoint: {
    body: (form) => ({ name: form.elements.name.value.trim() || null }),
    begun: "The savepoint is being made.",
    done: ({ savepoint }) => `Savepoint “${savepoint.name}” was made: ${words.bytes(savepoint.bytes)}.`,
  },
  stop: {
    body: (form) => ({ savepoint: form.elements.savepoint.value.trim() || null, drain: form.elements.drain.checked }),
    begun: "The job is being stopped.",
    done: ({ savepoint }) => `The job has stopped${savepoint ? ` with savepoint “${savepoint.name}”` : ""}.`,
  },
  cancel: { body: () => ({}), begun: "The job is being cancelled.", done: () => "The job was cancelled." },
};

async function order(what, form) {
  const { body, begun, done } = ORDERS[what];
  const result = get("result");
  attribute(result, "class", null);
  text(result, begun);
  try {
    const answer = await ask(`${state.base}/${what}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body(form)),
    });
    text(result, done(answer));
  } catch (error) {
    attribute(result, "class", "error");
    text(result, `It could not be done: ${error.message}`);
  }
}

function listen() {
  for (const button of document.querySelectorAll("[data-dialog]")) {
    const dialog = get(`${button.dataset.dialog}-dialog`);
    const form = dialog.querySelector("form");
    button.addEventListener("click", () => {
      form.reset();
      dialog.showModal();
    });
    dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close();
      order(button.dataset.dialog, form);
    });
  }
  const hold = get("hold");
  hold.addEventListener("click", () => {
    state.isHeld = !state.isHeld;
    attribute(hold, "aria-pressed", state.isHeld);
    if (!isAsleep()) wake?.();
  });
  document.addEventListener("visibilitychange", () => {
    if (!isAsleep()) wake?.();
  });
}

listen();
storedPanels((path) => getJson(`${state.base}/${path}`));
connected(false);
goOn();
