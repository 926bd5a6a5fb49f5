// Numbers, sizes and times in words. All of it is pure: the same in, the same out.

const NOTHING = "–";

function isMissing(value) {
  return value === null || value === undefined || Number.isNaN(value);
}

// Made once: to make one takes longer than to use it a hundred times.
const FORMATS = [0, 1, 2].map((digits) => new Intl.NumberFormat("en", { maximumFractionDigits: digits }));

function rounded(value, digits) {
  return FORMATS[digits].format(value);
}

/** A count with its thousands apart. */
export function count(value) {
  return isMissing(value) ? NOTHING : rounded(value, 0);
}

/** So many a second. */
export function rate(value) {
  if (isMissing(value)) return NOTHING;
  return `${rounded(value, value < 10 ? 1 : 0)}/s`;
}

/** A size in bytes, KiB, MiB, … */
export function bytes(value) {
  if (isMissing(value)) return NOTHING;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = Math.abs(value);
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${value < 0 ? "−" : ""}${rounded(size, unit === 0 || size >= 100 ? 0 : 1)} ${units[unit]}`;
}

/** A duration in ms as people say it. */
export function duration(ms) {
  if (isMissing(ms)) return NOTHING;
  const sign = ms < 0 ? "−" : "";
  const whole = Math.abs(ms);
  if (whole < 1000) return `${sign}${rounded(whole, whole < 10 ? 2 : 0)} ms`;
  const seconds = whole / 1000;
  if (seconds < 60) return `${sign}${rounded(seconds, 1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${sign}${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${sign}${hours} h ${minutes % 60} min`;
  const days = Math.floor(hours / 24);
  if (days < 10_000) return `${sign}${rounded(days, 0)} d ${hours % 24} h`;
  return `${sign}${rounded(days / 365.25, 0)} years`;
}

/** A difference, with its sign. */
export function difference(value, words) {
  if (isMissing(value)) return NOTHING;
  return value > 0 ? `+${words(value)}` : words(value);
}

function two(number) {
  return String(number).padStart(2, "0");
}

/** The time of day in local time, with seconds; with the day, if that is not the day of `now`. */
export function time(ms, now = ms) {
  if (isMissing(ms) || ms < 0) return NOTHING;
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return NOTHING;
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  if (isSameDay(date, new Date(now))) return clock;
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clock}`;
}

function isSameDay(one, other) {
  return one.getDate() === other.getDate() && one.getMonth() === other.getMonth() && one.getFullYear() === other.getFullYear();
}

/** A share of 1 in percent. */
export function percent(share) {
  return isMissing(share) ? NOTHING : `${rounded(share * 100, 0)} %`;
}

/** "1 thing", "2 things". */
export function things(number, thing, several = `${thing}s`) {
  return `${count(number)} ${number === 1 ? thing : several}`;
}

/** IN_PROGRESS → in progress. */
export function status(name) {
  return String(name).toLowerCase().replaceAll("_", " ");
}
