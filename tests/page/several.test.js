// What there is several of: pages of dead letters and of state, regions of which one has come to its end, jobs in one process.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { hasNothingSerious, launch, shown, visit } from "./browser.js";
import { serve, start } from "./job.js";

// A region that goes on, with more dead letters and keys than a page has; and one that is soon at its end.
const REGIONS = `
[checkpoint]
interval = "200ms"

[recovery]
on_poison = "dead-letter"
poison_after = 1

[sources.numbers]
type = "generate"
rate = "500/s"
rows = 100000000
keys = 130

[operators.poisoned]
type = "fail"
inputs = ["numbers"]
where = "id % 2 = 1 AND id < 140"
times = 0

[operators.totals]
type = "aggregate"
inputs = ["poisoned"]
by = ["key"]
columns = ["count(*) AS n"]

[sinks.out]
type = "blackhole"
inputs = ["totals"]

[sources.few]
type = "generate"
rows = 1234

[sinks.done]
type = "blackhole"
inputs = ["few"]
`;

const LETTERS = 70;
const KEYS = 130;

const jobs = {
  first: `[sources.one]\ntype = "generate"\nrate = "100/s"\nrows = 100000000\n[sinks.a]\ntype = "blackhole"\ninputs = ["one"]\n`,
  second: `[sources.two]\ntype = "generate"\nrate = "100/s"\nrows = 100000000\n[sinks.b]\ntype = "blackhole"\ninputs = ["two"]\n`,
  wrong: `[sources.three]\ntype = "genrate"\n`,
};

let browser;
let regions;
let several;

before(async () => {
  browser = await launch();
  [regions, several] = await Promise.all([start("regions", "", REGIONS), serve(jobs)]);
});

after(async () => {
  await browser?.close();
  await Promise.all([regions?.end(), several?.end()]);
});

test("pages of dead letters are read one after the other, each letter once", async () => {
  const { context, page, isClean } = await visit(browser, regions.url);
  await shown(page);
  const all = (count) => Number(document.getElementById("head-letters").textContent.replaceAll(",", "")) >= count;
  await page.waitForFunction(all, LETTERS);
  const more = page.locator("#letters-more");
  assert.ok(!(await more.isVisible()), "nothing was read yet");
  const rows = page.locator("#letter-rows > tr:not(.detail)");
  // What was set aside is there once its window is committed.
  for (let attempt = 0; attempt < 50; attempt += 1) {
    await page.getByRole("button", { name: "Read the newest" }).click();
    await page.waitForTimeout(200);
    if (/id": 139/.test(await page.locator("#letter-rows").textContent())) break;
  }
  await page.locator("#letters-words", { hasText: "50 dead letters; there are more." }).waitFor();
  assert.equal(await rows.count(), 50);
  const newest = await rows.first().innerText();
  await rows.first().getByRole("button").click();

  await more.click();
  await page.locator("#letters-words", { hasText: `${LETTERS} dead letters, which is all there are.` }).waitFor();
  assert.equal(await rows.count(), LETTERS);
  assert.ok(!(await more.isVisible()), "there are no more");
  assert.equal(await rows.first().innerText(), newest, "the newest stays first");
  const opened = page.locator("#letter-rows > tr.detail:not([hidden])");
  assert.match(await opened.innerText(), /"id": 139,/, "what was open stays open");
  const ids = await page.locator("#letter-rows > tr.detail").evaluateAll((details) => details.map((detail) => Number(/"id": (\d+)/.exec(detail.textContent)[1])));
  assert.deepEqual(ids, Array.from({ length: LETTERS }, (_, place) => 139 - 2 * place));
  await hasNothingSerious(page, "with two pages of letters");
  await isClean();
  await context.close();
});

test("pages of state are read one after the other, each key once", async () => {
  const { context, page, isClean } = await visit(browser, regions.url);
  await shown(page);
  const entry = page.locator("#state-rows > tr", { hasText: `${KEYS} values` });
  for (let attempt = 0; attempt < 50 && (await entry.count()) === 0; attempt += 1) {
    await page.getByRole("button", { name: "Read what there is" }).click();
    await page.waitForTimeout(200);
  }
  await entry.getByRole("button", { name: "totals" }).click();
  for (const shown of ["50 entries", "100 entries", `${KEYS} entries`]) {
    await page.locator("#entries-words", { hasText: shown }).waitFor();
    if (!shown.startsWith(KEYS)) await page.locator("#entries-more").click();
  }
  assert.match(await page.locator("#entries-words").innerText(), /which is all there are/);
  assert.ok(!(await page.locator("#entries-more").isVisible()), "there are no more");
  const keys = await page.locator("#entry-rows th").allInnerTexts();
  assert.equal(new Set(keys).size, KEYS);
  await isClean();
  await context.close();
});

test("a region that has come to its end is told with its last numbers", async () => {
  const { context, page, isClean } = await visit(browser, regions.url);
  await shown(page);
  const row = (name) => page.locator("#operator-rows > tr:not(.detail)", { hasText: name });
  const cell = (name, place) => row(name).locator("td").nth(place).innerText();
  await row("few").getByText("finished").waitFor();
  assert.deepEqual(await Promise.all([1, 3, 5].map((place) => cell("few", place))), ["few", "1,234", "finished"]);
  await row("numbers").locator("td").nth(5).filter({ hasText: /^\d+\/s$/ }).waitFor();
  await page.locator("#graph .vertex", { hasText: "few" }).getByText("finished", { exact: true }).waitFor();
  assert.match(await page.locator("#topology-rows").innerText(), /few[^\n]*\sfinished/);
  assert.equal(await page.locator("#head-state").textContent(), "running");
  await hasNothingSerious(page, "with a region that has finished");
  await isClean();
  await context.close();
});

test("one of several jobs is chosen, and one that does not run says why", async () => {
  const { context, page, isClean } = await visit(browser, several.url);
  await shown(page);
  const choice = page.getByRole("combobox", { name: "Job" });
  const heading = (name) => page.locator("#job-name", { hasText: name }).waitFor();
  await heading("first");
  assert.deepEqual(await choice.locator("option").allInnerTexts(), ["first: RUNNING", "second: RUNNING", "wrong: FAILED"]);
  await choice.selectOption("second");
  await heading("second");
  assert.match(page.url(), /\?job=second$/);
  assert.match(await page.locator("#operator-rows").innerText(), /two/);
  await hasNothingSerious(page, "with several jobs");
  await page.setViewportSize({ width: 360, height: 740 });
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), "nothing juts out on a phone");
  await isClean();

  await choice.selectOption("wrong");
  await page.locator("#retry", { hasText: /job "wrong" does not run: .*genrate/ }).waitFor();
  assert.equal(await choice.inputValue(), "wrong");
  await choice.selectOption("first");
  await heading("first");
  await shown(page);
  await context.close();
});
