// Which job is shown, where a process runs several: the one that the address names, or the first that runs.

import { get, text } from "./dom.js";

/** Returns the job that is shown, and offers the others. */
export function chosen(jobs) {
  const named = new URLSearchParams(location.search).get("job");
  const job = jobs.find((one) => one.id === named) ?? jobs.find((one) => one.status === "RUNNING") ?? jobs[0];
  const panel = get("jobs-panel");
  panel.hidden = jobs.length < 2;
  if (!panel.hidden) offer(jobs, job);
  if (job.error !== undefined && job["start-time"] === undefined) throw new Error(`job "${job.name}" does not run: ${job.error}`);
  return job;
}

function offer(jobs, shown) {
  const choice = get("jobs");
  const said = jobs.map((job) => `${job.id} ${job.status}`).join("\n");
  if (choice.dataset.said !== said) {
    choice.dataset.said = said;
    choice.replaceChildren(...jobs.map((job) => {
      const option = document.createElement("option");
      option.value = job.id;
      text(option, `${job.name}: ${job.status}`);
      return option;
    }));
    choice.onchange = () => { location.search = new URLSearchParams({ job: choice.value }).toString(); };
  }
  if (document.activeElement !== choice) choice.value = shown.id;
}
