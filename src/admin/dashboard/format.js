// Numbers and times as people read them, and careful looks at answers: a field may be missing.

const number = (value) => (Number.isFinite(value) ? value : 0);
const list = (value) => (Array.isArray(value) ? value : []);
const record = (value) => (value !== null && typeof value === "object" && !Array.isArray(value) ? value : {});
const words = (value) => (value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));

/** 999, 1 234, 12.3k, 4.5M. */
function count(value) {
  value = number(value);
  if (value < 10000) return Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, "\u2009");
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= size) return (value / size).toFixed(value / size < 100 ? 1 : 0) + unit;
  }
  return String(value);
}

/** A rate: with a digit behind the point while it is small. */
function rate(value) {
  value = number(value);
  return value === 0 ? "0" : value < 0.05 ? "<0.1" : value < 10 ? value.toFixed(1) : count(value);
}

function bytes(value) {
  value = number(value);
  for (const [size, unit] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
    if (value >= size) return (value / size).toFixed(value / size < 10 ? 1 : 0) + "\u202f" + unit;
  }
  return Math.round(value) + "\u202fB";
}

/** Seconds, from microseconds up. */
function time(seconds) {
  if (seconds === null || !Number.isFinite(seconds)) return "–";
  const [value, unit] = seconds < 1e-3 ? [seconds * 1e6, "µs"] : seconds < 1 ? [seconds * 1e3, "ms"] : [seconds, "s"];
  return value.toFixed(value < 10 && unit !== "µs" ? 1 : 0) + "\u202f" + unit;
}

/** A stretch of time in its two largest units. */
function span(seconds) {
  seconds = Math.max(0, Math.floor(number(seconds)));
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = Math.max(0, units.findIndex(([, size]) => seconds >= size));
  return (seconds === 0 ? [["s", 1]] : units.slice(first, first + 2))
    .map(([unit, size], at) => [Math.floor((at ? seconds % units[first][1] : seconds) / size), unit])
    .filter(([value], at) => at === 0 || value > 0)
    .map(([value, unit]) => value + "\u202f" + unit)
    .join(" ");
}

/** The time of day here of Unix milliseconds or an RFC 3339 text. */
function clock(at) {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? words(at) : date.toLocaleTimeString("en-GB");
}

/** How long ago, beside the time of day. */
function ago(at) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return words(at);
  return span((Date.now() - date.getTime()) / 1000) + " ago";
}
