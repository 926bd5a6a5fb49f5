// A job of its own, in a folder of its own, run by the binary that $PITON names.

import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const TOPOLOGY = `
[checkpoint]
interval = "200ms"

[recovery]
on_poison = "dead-letter"

[sources.numbers]
type = "generate"
rate = "2000/s"
rows = 100000000
keys = 500
seed = 7
parallelism = 2

[operators.big]
type = "filter"
inputs = ["numbers"]
where = "value % 3 > 0"

[operators.totals]
type = "aggregate"
inputs = ["big"]
by = ["key"]
columns = ["count(*) AS n", "sum(value) AS total"]
parallelism = 4

[operators.shaky]
type = "fail"
inputs = ["big"]
where = "id % 5000 < 8"

[operators.poisoned]
type = "fail"
inputs = ["shaky"]
where = "id < 20000 AND id % 5000 = 77"
times = 0

[sinks.out]
type = "blackhole"
inputs = ["totals"]

[sinks.raw]
type = "blackhole"
inputs = ["poisoned"]
`;

/** Starts a job; `http` are further lines of its [http]. */
export function start(name, http = "", topology = TOPOLOGY) {
  const text = `[job]\nname = "${name}"\n[http]\nlisten = "127.0.0.1:0"\n${http}\n${topology}`;
  return run({ "job.toml": text }, "run", "job.toml");
}

/** Starts the jobs of these texts, by their names, in one process. */
export function serve(jobs) {
  const files = Object.entries(jobs).map(([name, text]) => [`${name}.toml`, text]);
  return run(Object.fromEntries(files), "serve", ...files.map(([file]) => file), "--state", "state", "--http", "0");
}

/** Starts the binary in a folder with these files. */
export async function run(files, ...words) {
  const binary = resolve(process.env.PITON ?? "");
  const folder = await mkdtemp(join(tmpdir(), "piton-page-"));
  for (const [file, text] of Object.entries(files)) await writeFile(join(folder, file), text);
  const child = spawn(binary, words, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
  const exit = new Promise((done) => child.once("exit", (code) => done(code)));
  const url = await new Promise((found, failed) => {
    let said = "";
    child.once("error", failed);
    child.once("exit", (code) => failed(new Error(`it ended with ${code}:\n${said}`)));
    child.stderr.on("data", (more) => {
      // Read on even when it is found, so that the job never waits for us.
      if (said.length < 100_000) said += more;
      const address = /page, API and metrics: (http:\S+)/.exec(said);
      if (address) found(address[1]);
    });
  });
  const end = async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await exit;
    await rm(folder, { recursive: true, force: true });
  };
  return { url, exit, end, pid: child.pid };
}
