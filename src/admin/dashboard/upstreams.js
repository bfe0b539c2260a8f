// Upstreams with their backends: what they do, and what may be done to them.

const STATES = {
  up: ["●", "good"],
  down: ["✕", "bad"],
  ejected: ["▲", "bad"],
  draining: ["◐", "warn"],
  disabled: ["○", "quiet"],
};
/** Backends of an upstream that are shown. */
const MOST_BACKENDS = 200;
/** An upstream of more is folded until somebody opens it: what is not up is shown all the same. */
const FOLDED_ABOVE = 20;
/** With more upstreams and backends than this there is something to look for. */
const MANY = 8;
const WORST_FIRST = ["down", "ejected", "draining", "disabled", "up"];
const shares = new Shares();
const keyOf = (upstream, backend) => `${words(upstream.name)}\n${words(backend.name)}`;
const upstreamView = { upstreams: [], text: "", order: "file", unfolded: new Map() };

function showUpstreams(answer) {
  const upstreams = list(answer.upstreams).map(record);
  const counts = new Map();
  for (const upstream of upstreams) {
    for (const backend of list(upstream.backends).map(record)) counts.set(keyOf(upstream, backend), number(backend.requests));
  }
  shares.add(performance.now(), counts);
  upstreamView.upstreams = upstreams;
  drawUpstreams();
}

function drawUpstreams() {
  const { upstreams, text } = upstreamView;
  const all = upstreams.reduce((sum, it) => sum + list(it.backends).length, 0);
  show(byId("upstream-tools"), upstreams.length + all > MANY || text !== "");
  const found = upstreams.map((it) => ({ upstream: it, backends: wanted(it) })).filter((it) => it.backends.length > 0 || !text);
  const matches = found.reduce((sum, it) => sum + it.backends.length, 0);
  say(byId("upstream-found"), text ? `${count(matches)} of ${count(all)} backends` : "");
  keyed(byId("upstream-list"), found, (it) => words(it.upstream.name), ({ upstream }) => drawUpstream(upstream), updateUpstream);
}

/** The backends of an upstream that are looked for, in the order that is asked for. */
function wanted(upstream) {
  const { text, order } = upstreamView;
  const backends = list(upstream.backends).map(record);
  const parts = (it) => [upstream.name, it.name, it.address, it.state, it.why];
  const found = text ? backends.filter((it) => hasText(parts(it), text)) : backends;
  if (order === "file") return found;
  const rank = (it) => (order === "state" ? WORST_FIRST.indexOf(words(it.state)) : -number(it[order]));
  return [...found].sort((one, other) => rank(one) - rank(other));
}

function drawUpstream(upstream) {
  const name = words(upstream.name);
  const tally = make("span", "tally");
  const persist = make("input");
  persist.type = "checkbox";
  const label = make("label", "", persist, "write changes to the file");
  const fold = make("button", "fold");
  fold.type = "button";
  fold.addEventListener("click", () => {
    upstreamView.unfolded.set(name, fold.getAttribute("aria-expanded") !== "true");
    part("upstreams", drawUpstreams);
  });
  const title = make("h3", "", name);
  const backends = table(`Backends of ${name}`, [
    ["Backend", "name wide"], ["State", "state wide"], ["Share, last 10 s", "share wide"], ["In flight", "number"],
    ["Average", "number"], ["Bytes/s", "number"], ["Requests", "number"], ["Failures", "number"],
    ["Weight", "number weight-cell"], ["Change", "wide controls-cell"],
  ]);
  const leftOut = make("p", "left-out");
  const node = make("article", "panel backends", make("div", "title", title, tally, fold, label), backends.node, leftOut);
  return { node, tally, persist, fold, backends, leftOut };
}

function updateUpstream(row, { upstream, backends }) {
  const all = list(upstream.backends).map(record);
  const up = all.filter((it) => it.state === "up").length;
  say(row.tally, `${words(upstream.balance)} · ${up} of ${all.length} up`);
  const isLarge = all.length > FOLDED_ABOVE;
  const isOpen = upstreamView.unfolded.get(words(upstream.name)) ?? !isLarge;
  // What is looked for is shown, and what needs somebody.
  const visible = isOpen || upstreamView.text ? backends : backends.filter((it) => it.state !== "up");
  show(row.fold, all.length > 1 && !upstreamView.text);
  say(row.fold, isOpen ? "Fold" : `Show all ${count(all.length)}`);
  row.fold.setAttribute("aria-expanded", String(isOpen));
  row.fold.setAttribute("aria-label", `${isOpen ? "fold" : "show all backends of"} ${words(upstream.name)}`);
  const shown = visible.slice(0, MOST_BACKENDS);
  show(row.backends.node, shown.length > 0);
  const rate = all.reduce((sum, it) => sum + shares.rate(keyOf(upstream, it)), 0);
  const draw = (backend) => drawBackend(row, words(upstream.name), words(backend.name));
  keyed(row.backends.body, shown, (it) => words(it.name), draw, (made, backend) => {
    updateBackend(made, backend, shares.rate(keyOf(upstream, backend)), rate);
  });
  const leftOut = visible.length - shown.length;
  say(row.leftOut, leftOut > 0 ? `${count(leftOut)} more are not shown; search for them by name.` : "");
}

byId("upstream-filter").addEventListener("input", (event) => {
  upstreamView.text = event.target.value.trim();
  part("upstreams", drawUpstreams);
});
byId("upstream-order").addEventListener("change", (event) => {
  upstreamView.order = event.target.value;
  part("upstreams", drawUpstreams);
});

function drawBackend(row, upstream, backend) {
  const { node, cells } = tableRow(row.backends.columns);
  const [name, state, share, ...rest] = cells;
  const [weightCell, actions] = rest.slice(5);
  const [title, address] = twoLines(name);
  const override = make("span", "mark");
  title.after(" ", override);
  const [word, why] = twoLines(state);
  const fill = make("div");
  const shareText = make("span", "sub");
  share.append(make("div", "bar", fill), shareText);

  const who = `${upstream}/${backend}`;
  const path = `/api/v1/upstreams/${encodeURIComponent(upstream)}/backends/${encodeURIComponent(backend)}`;
  const query = () => (row.persist.checked ? "?persist=true" : "");
  const button = (verb, what) => {
    const made = make("button", "", verb);
    made.type = "button";
    made.setAttribute("aria-label", `${verb} ${who}`);
    made.addEventListener("click", () => act(made, `${what} ${who}`, `${path}/${verb.toLowerCase()}${query()}`));
    return made;
  };
  const buttons = { drain: button("Drain", "drain"), disable: button("Disable", "disable"), enable: button("Enable", "enable") };
  actions.append(make("div", "controls", ...Object.values(buttons)));

  const weight = make("input");
  Object.assign(weight, { type: "number", min: 0, max: 65535, step: 1, required: true });
  weight.setAttribute("aria-label", `weight of ${who}`);
  const set = make("button", "", "Set");
  set.setAttribute("aria-label", `set the weight of ${who}`);
  const form = make("form", "weight", weight, set);
  const made = { node, title, address, override, word, why, fill, shareText, numbers: rest, weight, set, buttons, weightNow: "" };
  weight.addEventListener("input", () => show(set, weight.value !== made.weightNow));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const wanted = Number(weight.value);
    const options = { method: "PATCH", body: { weight: wanted } };
    const outcome = await act(set, `weight ${wanted} for ${who}`, path + query(), options);
    // What was refused stays in the field, to be changed.
    if (outcome === null || outcome instanceof Refusal) return;
    made.weightNow = weight.value;
    show(set, false);
  });
  weightCell.append(form);
  show(set, false);
  return made;
}

function updateBackend(made, backend, perSecondNow, all) {
  const [symbol, colour] = STATES[backend.state] ?? ["?", "quiet"];
  say(made.title, words(backend.name));
  say(made.address, backend.address === backend.name ? "" : words(backend.address));
  const changed = Object.keys(record(backend.override));
  say(made.override, changed.length ? `changed: ${changed.join(", ")}` : "");
  show(made.override, changed.length > 0);
  dress(made.word, `badge ${colour}`);
  say(made.word, `${symbol} ${words(backend.state) || "unknown"}`);
  say(made.why, words(backend.why));
  const percent = all > 0 ? (100 * perSecondNow) / all : 0;
  made.fill.style.width = `${percent.toFixed(1)}%`;
  say(made.shareText, `${percent.toFixed(0)} % · ${perSecond(perSecondNow)}`);
  const lately = record(record(backend.latency).last_60s);
  const average = Number.isFinite(lately.mean_ms) ? time(lately.mean_ms / 1000) : "–";
  const texts = [count(backend.in_flight), average, `${bytes(backend.bytes_per_second)}/s`, count(backend.requests), count(backend.failures)];
  texts.forEach((text, index) => say(made.numbers[index], text));
  // In the column of the mean, whose width changes as little as it can: what is clicked beside it stays where it is.
  made.numbers[1].title = Number.isFinite(lately.p99_ms) ? `p99 ${time(lately.p99_ms / 1000)} in the last minute` : "";
  const isOff = backend.state === "draining" || backend.state === "disabled";
  show(made.buttons.drain, !isOff);
  show(made.buttons.disable, backend.state !== "disabled");
  show(made.buttons.enable, isOff);
  // What is being typed is not written over.
  if (made.weight.value === made.weightNow && document.activeElement !== made.weight) {
    made.weight.value = words(backend.weight);
    made.weightNow = made.weight.value;
  }
}
