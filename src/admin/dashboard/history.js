// What was asked in the last ten minutes, and rates by difference.

const KEPT_MS = 600000;
const WINDOW_MS = 10000;

/** Answers of `/api/v1/traffic` and what follows from each and the one before. */
class History {
  constructor() {
    this.samples = [];
    this.points = [];
  }

  add(traffic) {
    const at = number(traffic.at);
    const last = this.samples.at(-1);
    // A program that began anew counts from nothing, and a clock may be put back.
    if (last && (at < last.at || number(traffic.uptime_seconds) < number(last.uptime_seconds))) {
      this.samples = [];
      this.points = [];
    } else if (last && at === last.at) {
      return;
    } else if (last && number(traffic.requests) < number(last.requests)) {
      // A route is gone with its counts: what came before cannot be compared, and stays as it was drawn.
      this.samples = [];
    }
    this.samples.push(traffic);
    this.samples = this.samples.filter((sample) => sample.at >= at - WINDOW_MS - 1500);
    if (this.samples.length < 2) return;
    this.points.push(this.point(this.samples.at(-2), traffic));
    this.points = this.points.filter((point) => point.at >= at - KEPT_MS);
  }

  /** Takes what the program has kept of the time in which this page did not ask. */
  fill(answer) {
    const newest = number(this.samples.at(-1)?.at);
    for (const sample of list(record(answer).samples).map(record)) if (number(sample.at) > newest) this.add(sample);
  }

  /** Whether it misses something that the program may have kept. */
  isBehind(now) {
    return now - number(this.samples.at(-1)?.at) > WINDOW_MS;
  }

  /** The sample that the window begins with. */
  begin() {
    const at = number(this.samples.at(-1)?.at);
    return this.samples.find((sample) => sample.at >= at - WINDOW_MS - 200);
  }

  point(before, now) {
    const seconds = (now.at - before.at) / 1000;
    const per = (read) => Math.max(0, number(read(now)) - number(read(before))) / seconds;
    const latency = percentiles(this.begin(), now, [0.5, 0.9, 0.99]);
    return {
      at: now.at,
      requests: per((it) => it.requests),
      errors: per((it) => it.classes?.["5xx"]),
      in: per((it) => it.bytes_in),
      out: per((it) => it.bytes_out),
      retries: per((it) => it.retries),
      connections: number(now.connections),
      p50: latency[0],
      p90: latency[1],
      p99: latency[2],
    };
  }

  /** A rate over the window. */
  over(read) {
    const [before, now] = [this.begin(), this.samples.at(-1)];
    if (!before || now.at <= before.at) return 0;
    return (Math.max(0, number(read(now)) - number(read(before))) * 1000) / (now.at - before.at);
  }
}

/** Percentiles of what two histograms differ by, in seconds; null where they do not. */
function percentiles(before, now, which) {
  const bounds = list(now.latency?.bounds_seconds);
  const earlier = list(before?.latency?.counts);
  const counts = list(now.latency?.counts).map((value, at) => Math.max(0, number(value) - number(earlier[at])));
  const all = counts.reduce((sum, value) => sum + value, 0);
  return which.map((part) => {
    if (all === 0) return null;
    let below = 0;
    for (const [at, value] of counts.entries()) {
      if (value > 0 && below + value >= part * all) {
        const low = at === 0 ? 0 : bounds[at - 1];
        // Nothing is known of what is above the last bound but that it is there.
        const high = at < bounds.length ? bounds[at] : low;
        return low + (high - low) * ((part * all - below) / value);
      }
      below += value;
    }
    return null;
  });
}

/** Requests by backend, for shares of the window. */
class Shares {
  constructor() {
    this.samples = [];
  }

  add(at, counts) {
    this.samples.push({ at, counts });
    this.samples = this.samples.filter((sample) => sample.at >= at - WINDOW_MS - 200);
  }

  /** Requests per second of a backend in the window. */
  rate(key) {
    const now = this.samples.at(-1);
    const before = this.samples.find((sample) => sample.counts.has(key));
    if (!now || !before || now.at <= before.at) return 0;
    return (Math.max(0, number(now.counts.get(key)) - before.counts.get(key)) * 1000) / (now.at - before.at);
  }
}
