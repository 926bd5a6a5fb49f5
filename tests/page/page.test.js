// The page shows a real job, is driven as people drive it, and nobody is kept out.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { PATIENCE, hasNothingSerious, launch, number, shown, visit } from "./browser.js";
import { start } from "./job.js";

let browser;
let job;
let guarded;

before(async () => {
  browser = await launch();
  [job, guarded] = await Promise.all([start("shown"), start("guarded", 'token = "open sesame"')]);
});

after(async () => {
  await browser?.close();
  await Promise.all([job?.end(), guarded?.end()]);
});

/** Waits until the job has been through something. */
async function filled(page) {
  await shown(page);
  const lived = () => {
    const of = (id) => Number(document.getElementById(id).textContent.replaceAll(",", ""));
    return of("head-restarts") >= 1 && of("checkpoints-completed") >= 3 && of("head-out") > 0;
  };
  await page.waitForFunction(lived, null, { timeout: PATIENCE });
}

/** Opens an operator to its subtasks, and a checkpoint to its operators and to the subtasks of one. */
async function opened(page) {
  await page.locator("#operator-rows").getByRole("button", { name: "totals -> out" }).click();
  await page.locator("#history-rows > tr:not(.detail) button").nth(1).click();
  const operators = page.locator("#history-rows > tr.detail:not([hidden])");
  await operators.getByRole("button", { name: "totals -> out" }).click();
  await operators.getByRole("rowheader", { name: "#3", exact: true }).waitFor();
  return operators;
}

/** Chooses checkpoints of the history by their places, and returns what they are called. */
async function choose(page, places) {
  const labels = await page.locator("#history-rows input").evaluateAll((inputs) => inputs.map((input) => input.getAttribute("aria-label")));
  const names = places.map((place) => labels[place]);
  // By name: meanwhile others may come.
  for (const name of names) await page.getByLabel(name, { exact: true }).check();
  return names;
}

test("every panel is filled by the job", async () => {
  const { context, page, isClean } = await visit(browser, job.url);
  await filled(page);
  assert.equal(await page.locator("#job-name").innerText(), "shown");
  assert.match(await page.title(), /^shown: running/);
  await page.waitForFunction(() => /[1-9].*\/s/.test(document.getElementById("head-in-rate").textContent));
  assert.match(await page.locator("#head-committed-ago").innerText(), /ms|s ago/);

  assert.equal(await page.locator("#graph .vertex").count(), 4);
  assert.equal(await page.locator("#graph path.line").count(), 3);
  assert.match(await page.locator("#graph").textContent(), /KEYED.*back-pressure/s);
  assert.match(await page.locator("#topology-rows").innerText(), /big \(KEYED, \w+ back-pressure\)/);

  const shaky = page.locator("#operator-rows > tr", { hasText: "shaky" }).first();
  assert.ok(Number(await shaky.locator("td").nth(9).innerText()) >= 1, "it has restarted");

  assert.match(await page.locator("#checkpoints-latest-completed").innerText(), /of numbers, at \d\d:\d\d:\d\d, in .*ms/);
  assert.ok(await page.locator("#history-rows > tr:not(.detail)").count() >= 3);
  assert.match(await page.locator("#history-rows").innerText(), /completed\s+8\/8 \(100 %\)/);
  assert.ok(await page.locator("#chart-durations rect").count() >= 3);
  assert.equal(await page.locator("#summary-rows tr").count(), 4);
  assert.match(await page.locator("#configuration-list").innerText(), /200 ms/);

  assert.match(await page.locator("#incident-list li", { hasText: "shaky #0 restarted" }).first().innerText(), /shaky #0 restarted[\s\S]*Scope[\s\S]*Reason/);
  assert.ok(await page.locator("#axis circle").count() >= 1);
  await isClean();
  await context.close();
});

test("rows open down to subtasks, and stay open while the page goes on", async () => {
  const { context, page, isClean } = await visit(browser, job.url);
  await filled(page);
  const operators = await opened(page);
  const focused = await page.evaluate(() => document.activeElement.textContent);
  assert.equal(focused, "totals -> out");
  assert.match(await page.locator("#operator-rows tr.detail:not([hidden])").innerText(), /#0[\s\S]*#1[\s\S]*#2[\s\S]*#3/);
  assert.match(await operators.innerText(), /Start delay\s+Alignment\s+Sync\s+Async[\s\S]*#3[\s\S]*least[\s\S]*mean[\s\S]*most/);

  const before = await number(page, "#checkpoints-completed");
  const later = (before) => Number(document.getElementById("checkpoints-completed").textContent.replaceAll(",", "")) > before + 5;
  await page.waitForFunction(later, before);
  assert.ok(await operators.getByRole("rowheader", { name: "#3", exact: true }).isVisible());
  assert.equal(await page.evaluate(() => document.activeElement.textContent), focused);
  await isClean();
  await context.close();
});

test("two checkpoints are compared", async () => {
  const { context, page, isClean } = await visit(browser, job.url);
  await filled(page);
  const names = await choose(page, [0, 2]);
  await page.locator("#comparison").waitFor();
  const [newer, older] = names.map((name) => /checkpoint (\d+)/.exec(name)[1]);
  assert.ok((await page.locator("#comparison-words").innerText()).includes(`Checkpoint ${older} of numbers is compared with ${newer}`));
  const rows = await page.locator("#comparison-rows").innerText();
  assert.match(rows, /End-to-end duration\s+\S+ ms\s+\S+ ms\s+[+−]?\S+ ms/);
  assert.match(rows, /totals: full size\s+\S+ \w+\s+\S+ \w+\s+[+−]?\S+ \w+/);
  assert.match(rows, /totals: sync, the most/);
  await isClean();
  await context.close();
});

test("what is held up is told in words, and lines pass beside boxes", async () => {
  const { context, page, isClean } = await visit(browser, job.url);
  const said = await page.evaluate(async () => {
    const [views, graph, words] = await Promise.all(["/views.js", "/graph.js", "/words.js"].map((path) => import(path)));
    const vertex = (id, blocked, waiting) => ({
      id, name: id, region: "r", parallelism: 1, metrics: {}, watermark: null,
      subtasks: [{ subtask: 0, busy: 0, blocked, idle: 1 - blocked, watermark: null, mailbox: { waiting, capacity: 10 } }],
    });
    const node = (id, ...inputs) => ({ id, operator: "type", inputs: inputs.map((id) => ({ id, reads: id, ship_strategy: "KEYED" })) });
    const made = views.operators({
      now: 0,
      vertices: [vertex("a", 0.7, 0), vertex("b", 0, 2), vertex("c", 0, 9)],
      plan: { nodes: [node("c", "b", "a"), node("b", "a"), node("a")] },
    }, []);
    const { boxes, edges } = graph.layout(made);
    const long = edges.find((edge) => edge.path.length === 3);
    const [bend, beside] = [long.path[1], boxes.find((box) => box.id === "b")];
    const samples = [{ run: 1, now: 1_000, n: 10 }, { run: 1, now: 3_000, n: 50 }];
    return {
      pressures: made.map((of) => of.inputs.map((input) => input.pressure)),
      layers: [...graph.layers(made).values()],
      overlaps: bend.y < beside.y + beside.height && beside.y < bend.y + bend.height,
      rates: [views.rateOf(samples, (of) => of.n), views.rateOf(samples.slice(1), (of) => of.n), views.rateOf([...samples].map((of) => ({ ...of, n: -of.n })), (of) => of.n)],
      kept: views.remember(samples, { run: 2, now: 4_000 }).length,
      words: [words.bytes(1536), words.bytes(-90), words.duration(61_000), words.duration(7_200_000), words.duration(null), words.percent(0.256)],
    };
  });
  assert.deepEqual(said, {
    // "a" is held up by "c", whose mailbox is fuller than that of "b".
    pressures: [[], ["no back-pressure"], ["no back-pressure", "high back-pressure"]],
    layers: [0, 1, 2],
    overlaps: false,
    rates: [20, null, 0],
    kept: 1,
    words: ["1.5 KiB", "−90 B", "1 min 1 s", "2 h 0 min", "–", "26 %"],
  });
  await isClean();
  await context.close();
});

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing serious: ${colorScheme}`, async () => {
    const { context, page, isClean } = await visit(browser, job.url, { colorScheme });
    await filled(page);
    await opened(page);
    await choose(page, [3, 4]);
    await page.locator("#comparison").waitFor();
    await hasNothingSerious(page, "the page");
    for (const name of ["Savepoint…", "Stop…", "Cancel…"]) {
      await page.getByRole("button", { name }).click();
      await hasNothingSerious(page, name);
      await page.getByRole("button", { name: "Not now" }).click();
    }
    await isClean();
    await context.close();
  });
}

test("a phone does not scroll sideways", async () => {
  const { context, page, isClean } = await visit(browser, job.url, { viewport: { width: 360, height: 740 } });
  await filled(page);
  await opened(page);
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= window, `${content} > ${window}`);
  assert.ok(!(await page.locator("#graph").isVisible()), "the table says the same");
  assert.ok(await page.locator("#topology-rows").isVisible());
  await hasNothingSerious(page, "on a phone");
  await isClean();
  await context.close();
});

test("the keyboard alone makes a savepoint", async () => {
  const { context, page, isClean } = await visit(browser, job.url);
  await filled(page);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Enter");
  const reached = async (name) => {
    for (let step = 0; step < 40; step += 1) {
      await page.keyboard.press("Tab");
      const focused = await page.evaluate(() => {
        const { outlineStyle } = getComputedStyle(document.activeElement);
        return { says: document.activeElement.textContent, isSeen: outlineStyle !== "none" };
      });
      assert.ok(focused.isSeen, `the focus on "${focused.says}" is not seen`);
      if (focused.says === name) return;
    }
    assert.fail(`"${name}" is not reached`);
  };
  await reached("Savepoint…");
  await page.keyboard.press("Enter");
  await page.locator("#savepoint-dialog[open]").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("#savepoint-dialog").waitFor({ state: "hidden" });
  await page.keyboard.press("Enter");
  await page.keyboard.type("by-hand");
  await page.keyboard.press("Enter");
  await page.locator("#result", { hasText: "Savepoint “by-hand” was made" }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Savepoint…");
  await page.locator("#checkpoints-latest-savepoint", { hasText: "by-hand" }).waitFor();

  await reached("big");
  await page.keyboard.press("Space");
  await page.locator("#operator-rows tr.detail:not([hidden])", { hasText: "#0" }).waitFor();
  await isClean();

  // What the job refuses is told: there is one of this name already.
  await page.getByRole("button", { name: "Savepoint…" }).click();
  await page.getByLabel("Name (one is made up if there is none)").fill("by-hand");
  await page.getByRole("button", { name: "Make it" }).click();
  await page.locator("#result.error", { hasText: "by-hand" }).waitFor();
  await context.close();
});

test("dead letters and state are read when somebody asks", async () => {
  const { context, page, isClean } = await visit(browser, job.url);
  await filled(page);
  assert.match(await page.locator("#letters-words").innerText(), /not read until you ask/);
  await page.waitForFunction(() => Number(document.getElementById("head-letters").textContent.replaceAll(",", "")) >= 1);
  // What was set aside is there once its window is committed.
  const letters = page.locator("#letter-rows > tr:not(.detail)");
  for (let attempt = 0; attempt < 50 && (await letters.count()) === 0; attempt += 1) {
    await page.getByRole("button", { name: "Read the newest" }).click();
    await page.waitForTimeout(200);
  }
  assert.match(await letters.first().innerText(), /poisoned\s+numbers\s+#\d\s+[\d,]+\s+[\d,]+\s+[\d,]+\s+\S/);
  await letters.first().getByRole("button").click();
  assert.match(await page.locator("#letter-rows > tr.detail:not([hidden])").innerText(), /Record[\s\S]*"id": \d*77,[\s\S]*Error/);

  await page.getByRole("button", { name: "Read what there is" }).click();
  const totals = page.locator("#state-rows > tr", { hasText: "totals" });
  await totals.waitFor();
  assert.match(await totals.innerText(), /numbers\s+[\d,]+\s+\S+ \w+\s+\S+ \(\w+, [\d,]+ values?\)/);
  await totals.getByRole("button", { name: "totals" }).click();
  await page.locator("#entries-words", { hasText: "there are more" }).waitFor();
  const before = await page.locator("#entry-rows tr").count();
  await page.locator("#entries-more").click();
  await page.waitForFunction((before) => document.querySelectorAll("#entry-rows tr").length > before, before);
  const key = /(\d+)/.exec(await page.locator("#entry-rows th").first().innerText())[1];
  await page.getByLabel("Key (all, if there is none").fill(key);
  await page.getByRole("button", { name: "Look it up" }).click();
  await page.locator("#entries-words", { hasText: "1 entry" }).waitFor();
  assert.equal(await page.locator("#entry-rows tr").count(), 1);
  await hasNothingSerious(page, "with letters and state");
  await isClean();

  // What there is not is told in words; the browser itself tells of the refusal, too.
  await page.getByLabel("Key (all, if there is none").fill("nobody");
  await page.getByRole("button", { name: "Look it up" }).click();
  await page.locator("#entries-words", { hasText: "keeps nothing for key" }).waitFor();
  assert.ok(!(await page.locator("#entries-box").isVisible()));
  await page.setViewportSize({ width: 360, height: 740 });
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), "nothing juts out on a phone");
  await context.close();
});

test("where nothing was set aside and nothing is kept, that is said", async () => {
  const { context, page, isClean } = await visit(browser, job.url);
  await shown(page);
  const said = await page.evaluate(async () => {
    const { entriesInWords, lettersInWords, stateRow } = await import("/stored.js");
    const at = (window) => ({ checkpoint: { window, region: "r" }, next: null });
    return [
      lettersInWords(0, false),
      lettersInWords(1, true),
      entriesInWords(at(null), 0),
      entriesInWords(at(7), 0),
      stateRow({ operator: "a", region: "r", window: 7, "state-size": 0, states: [] }).cells[3],
      stateRow({ operator: "a", region: "r", window: 7, "state-size": 1e9, states: null }).cells[3],
    ];
  });
  assert.deepEqual(said, [
    "No record has been set aside: there are no dead letters in committed windows.",
    "1 dead letter; there are more.",
    "Nothing has been committed yet.",
    "It keeps nothing in checkpoint 7 of r.",
    "nothing",
    "too much to be listed beside the job",
  ]);
  await isClean();
  await context.close();
});

test("the page can be held still", async () => {
  const { context, page, isClean } = await visit(browser, job.url);
  await filled(page);
  const hold = page.getByRole("button", { name: "Hold still" });
  await hold.click();
  // What was under way when it was held may still arrive.
  await page.waitForTimeout(1_500);
  const held = await number(page, "#head-in");
  await page.waitForTimeout(2_500);
  assert.equal(await number(page, "#head-in"), held);
  await hold.click();
  await page.waitForFunction((held) => Number(document.getElementById("head-in").textContent.replaceAll(",", "")) > held, held);
  await isClean();
  await context.close();
});

test("a job with a token is shown to those who have it", async () => {
  const { context, page, complaints } = await visit(browser, guarded.url);
  const token = page.locator("#token");
  await token.waitFor();
  assert.ok(!(await page.locator("#panels").isVisible()));
  await hasNothingSerious(page, "the form");
  await token.fill("wrong");
  await page.getByRole("button", { name: "Show the job" }).click();
  await page.getByText("This is not the token of the job.").waitFor();
  await token.fill("open sesame");
  await token.press("Enter");
  await shown(page);
  await page.locator("#job-name", { hasText: "guarded" }).waitFor();
  assert.ok(!(await token.isVisible()));
  await page.reload();
  await shown(page);
  // The browser itself tells of the two refusals.
  assert.ok(complaints.every((complaint) => complaint.includes("401")), complaints.join("\n"));
  assert.deepEqual(await page.evaluate(() => window.violations), []);
  await context.close();
});

test("a job is stopped, and the page says that it does not answer any more", async () => {
  const { context, page } = await visit(browser, job.url);
  await filled(page);
  await page.getByRole("button", { name: "Stop…" }).click();
  await page.getByLabel("Savepoint to leave").fill("at-the-end");
  await page.getByRole("button", { name: "Stop it" }).click();
  await page.locator("#result", { hasText: "The job has stopped with savepoint “at-the-end”." }).waitFor();
  await page.locator("#connection.lost", { hasText: "does not answer any more" }).waitFor();
  assert.ok(await page.getByRole("button", { name: "Stop…" }).isDisabled());
  assert.equal(await job.exit, 0);
  await page.locator("#retry", { hasText: /Next time in [48] s/ }).waitFor();
  assert.ok(await page.locator("#operator-rows").isVisible(), "what was known stays");
  await hasNothingSerious(page, "without an answer");
  await context.close();
});
