// What the page costs a job of 200 subtasks, and how soon there is something to see:
//
//   cd tests/page && npm ci && PITON=../../target/release/piton node cost.js [SECONDS]
//
// The job has little to do, so that what it takes of the processor is told apart from what the page asks of it.

import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

import { launch, shown, visit } from "./browser.js";
import { run } from "./job.js";

const SECONDS = Number(process.argv[2] ?? 30);
const TICKS_A_SECOND = 100;
const TOPOLOGY = `
[job]
name = "large"
chaining = "off"

[http]
listen = "127.0.0.1:0"

[checkpoint]
interval = "1s"

[sources.numbers]
type = "generate"
rate = "1000/s"
rows = 100000000
parallelism = 50

[operators.some]
type = "filter"
inputs = ["numbers"]
where = "value % 3 > 0"
parallelism = 50

[operators.totals]
type = "aggregate"
inputs = ["some"]
by = ["key"]
columns = ["count(*) AS n"]
parallelism = 50

[sinks.out]
type = "blackhole"
inputs = ["totals"]
parallelism = 50
`;

/** Returns how much of one core a process takes for some seconds, in percent. */
async function share(pid) {
  const ticks = async () => {
    const [user, system] = (await readFile(`/proc/${pid}/stat`, "utf8")).split(") ")[1].split(" ").slice(11, 13);
    return Number(user) + Number(system);
  };
  const before = await ticks();
  await sleep(SECONDS * 1000);
  return ((await ticks()) - before) / (SECONDS * TICKS_A_SECOND) * 100;
}

/** The middle of several numbers. */
function median(numbers) {
  return numbers.toSorted((one, other) => one - other)[Math.floor(numbers.length / 2)];
}

const job = await run({ "job.toml": TOPOLOGY }, "run", "job.toml");
const browser = await launch();
try {
  await sleep(3000);
  const [alone, open, paints] = [[], [], []];
  for (let round = 0; round < 3; round += 1) {
    alone.push(await share(job.pid));
    const { context, page } = await visit(browser, job.url);
    await shown(page);
    paints.push(await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime));
    open.push(await share(job.pid));
    await context.close();
  }
  const [without, withPage] = [median(alone), median(open)];
  console.log(`200 subtasks: ${without.toFixed(1)} % of a core alone, ${withPage.toFixed(1)} % with the page open (${(withPage - without).toFixed(1)} more)`);
  console.log(`first contentful paint: ${paints.map((paint) => `${paint.toFixed(0)} ms`).join(", ")}`);
} finally {
  await browser.close();
  await job.end();
}
