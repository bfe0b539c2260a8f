// Caches: how they answer, what they hold, and a form to purge them, which asks before it does.

/** What can be purged: the API's key, its word, and what to write. */
const PURGES = [
  ["url", "URL", "full URL, including the scheme"],
  ["prefix", "Prefix", "start of the URL, with scheme and host"],
  ["tag", "Tag", "such as product-17"],
  ["all", "Everything", ""],
];

function showCaches(answer) {
  const caches = list(answer.caches).map(record);
  show(byId("caches"), caches.length > 0);
  // A route that only collapses may be called as a cache is.
  const keyOfCache = (cache) => `${words(cache.kind)}\n${words(cache.name)}`;
  keyed(byId("cache-list"), caches, keyOfCache, drawCache, updateCache);
}

function drawCache(cache) {
  const name = words(cache.name);
  const about = make("span", "tally");
  const fill = make("div");
  const bar = make("div", "bar", fill);
  const facts = make("dl", "facts");
  const node = make("article", "panel cache", make("div", "title", make("h3", "", name), about), bar, facts);
  if (cache.kind !== "route") node.append(purgeForm(name));
  return { node, about, bar, fill, facts };
}

function updateCache(row, cache) {
  const requests = record(cache.requests);
  const fills = record(cache.fills);
  const isStoring = cache.stored !== null && cache.stored !== undefined;
  const stored = record(cache.stored);
  const ratio = Number.isFinite(cache.hit_ratio) ? `${(100 * cache.hit_ratio).toFixed(1)} %` : "–";
  say(row.about, isStoring ? `${words(stored.eviction)}, ${bytes(stored.bytes_limit)}` : "collapses requests, stores nothing");
  const share = number(stored.bytes_limit) > 0 ? (100 * number(stored.bytes)) / number(stored.bytes_limit) : 0;
  row.fill.style.width = `${Math.min(100, share).toFixed(1)}%`;
  show(row.bar, isStoring);
  const evictions = Object.values(record(stored.evictions)).reduce((sum, value) => sum + number(value), 0);
  const facts = [
    ["Collapsed", count(requests.collapsed)],
    ["Misses", count(requests.miss)],
    ["Fetches in progress", count(fills.in_flight)],
    ["Requests reading them", count(fills.readers)],
  ];
  if (isStoring) {
    facts.unshift(
      ["Hit ratio", ratio],
      ["Bytes", `${bytes(stored.bytes)} of ${bytes(stored.bytes_limit)}`],
      ["Objects", count(stored.objects)],
      ["Hits", count(requests.hit)],
      ["Stale", count(requests.stale)],
    );
    facts.push(["Evicted", count(evictions)], ["Purged", count(stored.purged_objects)]);
  }
  const draw = ([name]) => {
    const value = make("dd");
    return { node: make("div", "", make("dt", "", name), value), value };
  };
  keyed(row.facts, facts, ([name]) => name, draw, (fact, [, value]) => say(fact.value, value));
}

/** The form of one cache: what, how, and once more whether. */
function purgeForm(name) {
  const kind = make("select", "", ...PURGES.map(([value, label]) => Object.assign(make("option", "", label), { value })));
  kind.setAttribute("aria-label", `what to purge from ${name}`);
  const text = Object.assign(make("input"), { type: "text", required: true, autocomplete: "off", spellcheck: false });
  text.setAttribute("aria-label", `URL, prefix or tag to purge from ${name}`);
  const soft = Object.assign(make("input"), { type: "checkbox" });
  const begin = make("button", "", "Purge…");
  begin.setAttribute("aria-label", `purge ${name}…`);
  const form = make("form", "purge", kind, text, make("label", "", soft, "only mark as stale"), begin);

  const question = make("span");
  const yes = make("button", "danger", "Purge");
  const no = make("button", "", "Keep");
  for (const button of [yes, no]) button.type = "button";
  yes.setAttribute("aria-label", `purge ${name} now`);
  no.setAttribute("aria-label", `keep ${name} as it is`);
  const confirm = make("p", "purge confirm", question, yes, no);
  confirm.setAttribute("role", "alertdialog");
  confirm.setAttribute("aria-label", `purge ${name}?`);
  show(confirm, false);

  let body = null;
  const settle = () => {
    body = null;
    show(confirm, false);
    show(form, true);
  };
  const settleKind = () => {
    const [value, , hint] = PURGES.find(([value]) => value === kind.value);
    show(text, value !== "all");
    text.disabled = value === "all";
    text.placeholder = hint;
  };
  kind.addEventListener("change", settleKind);
  settleKind();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const value = text.value.trim();
    if (kind.value !== "all" && !value) return;
    body = { [kind.value]: kind.value === "all" ? true : value };
    if (soft.checked) body.soft = true;
    const what = { url: `the URL ${value}`, prefix: `everything that begins with ${value}`, tag: `everything with the tag ${value}`, all: "everything" }[kind.value];
    say(question, soft.checked ? `Mark as stale in ${name}: ${what}?` : `Purge from ${name}: ${what}?`);
    show(form, false);
    show(confirm, true);
    no.focus();
  });
  no.addEventListener("click", settle);
  yes.addEventListener("click", async () => {
    if (body === null) return;
    const told = question.textContent.replace(/\?$/, "");
    const answer = await act(yes, told[0].toLowerCase() + told.slice(1), `/api/v1/caches/${encodeURIComponent(name)}/purge`, { body });
    if (answer !== null && !(answer instanceof Refusal)) {
      const purged = number(record(answer).purged);
      tell(`${count(purged)} response${purged === 1 ? "" : "s"} purged from ${name}.`, true);
      text.value = "";
    }
    // What was refused stays in the field, to be changed.
    settle();
  });
  return make("div", "", form, confirm);
}
