// Traffic: the cards with their charts, and the routes.

const history = new History();
const CLASSES = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

/** A card: a title, values that `fill` makes of the present, and lines of `[class, read]`. */
function card(title, names, lines, fill, peak) {
  const top = make("span", "peak");
  const values = names.map(() => make("span"));
  const box = make("div", names.length > 1 ? "values several" : "values");
  names.forEach((name, index) => {
    const value = make("p", "value");
    if (name) {
      const label = make("span", "name", name);
      if (lines[index]) label.prepend(make("span", `key ${lines[index][0]}`));
      value.append(label);
    }
    value.append(values[index]);
    box.append(value);
  });
  const drawing = chart(lines.map(([className]) => className));
  byId("cards").append(make("article", "card", make("h3", "", top, title), box, drawing.node));
  return (now) => {
    fill(now).forEach((text, index) => say(values[index], text));
    const highest = draw(drawing, history.points, lines.map(([, read]) => read));
    say(top, history.points.length ? `peak ${peak(highest)}` : "");
  };
}

const perSecond = (value) => `${rate(value)}/s`;
const last = () => history.points.at(-1) ?? {};

const cards = [
  card("Requests", [""], [["line-1", (it) => it.requests]], () => [perSecond(last().requests)], perSecond),
  card(
    "Latency, last 10 s",
    ["p50", "p90", "p99"],
    [["line-1", (it) => it.p50], ["line-2", (it) => it.p90], ["line-3", (it) => it.p99]],
    () => ["p50", "p90", "p99"].map((name) => latencyText(last()[name])),
    time,
  ),
  card("Errors (5xx)", [""], [["line-bad", (it) => it.errors]], () => [perSecond(last().errors)], perSecond),
  card(
    "Bytes",
    ["out", "in"],
    [["line-1", (it) => it.out], ["line-2", (it) => it.in]],
    () => [`${bytes(last().out)}/s`, `${bytes(last().in)}/s`],
    (value) => `${bytes(value)}/s`,
  ),
  card(
    "Open connections", [""], [["line-1", (it) => it.connections]],
    (now) => [count(now.connections)], count,
  ),
  statusCard(),
];

/** What is above the last bound is known to be above it, and no more. */
function latencyText(seconds) {
  const bounds = list(history.samples.at(-1)?.latency?.bounds_seconds);
  const isAbove = seconds !== null && bounds.length > 0 && seconds >= bounds.at(-1);
  return (isAbove ? "> " : "") + time(seconds ?? null);
}

/** Status classes: a bar for each, with its rate, over the last ten seconds. */
function statusCard() {
  const rows = CLASSES.map((name) => {
    const fill = make("div");
    const value = make("span", "number");
    const node = make("div", "class", make("span", "", name === "none" ? "no answer" : name), make("div", "bar", fill), value);
    return { node, fill, value, name };
  });
  const box = make("div", "classes", ...rows.map((row) => row.node));
  byId("cards").append(make("article", "card", make("h3", "", "Status, last 10 s"), box));
  return () => {
    const rates = rows.map((row) => history.over((it) => it.classes?.[row.name]));
    const all = rates.reduce((sum, value) => sum + value, 0);
    rows.forEach((row, index) => {
      say(row.value, perSecond(rates[index]));
      row.fill.style.width = all > 0 ? `${(100 * rates[index]) / all}%` : "0";
      // Classes that never came take no room; 2xx and 5xx always have theirs.
      const total = number(history.samples.at(-1)?.classes?.[row.name]);
      show(row.node, total > 0 || row.name === "2xx" || row.name === "5xx");
      dress(row.fill, row.name === "5xx" || row.name === "none" ? "fill failed" : "fill");
    });
  };
}

function showTraffic(now) {
  history.add(record(now));
  for (const update of cards) update(now);
}

const routeTable = table("Routes", [
  ["Route", "name wide"], ["Requests/s", "number"], ["Requests", "number"], ["Errors (5xx)", "number"],
  ["p50", "number"], ["p99", "number"],
]);
const routesLeftOut = make("p", "left-out");
byId("route-table").append(routeTable.node, routesLeftOut);

function showRoutes(now) {
  const before = history.begin();
  const earlier = new Map(list(before?.routes).map(record).map((route) => [route.name, route]));
  const seconds = before ? (now.at - before.at) / 1000 : 0;
  const bounds = { bounds_seconds: list(now.latency?.bounds_seconds) };
  const draw = () => tableRow(routeTable.columns);
  keyed(routeTable.body, list(now.routes).map(record), (_, index) => index, draw, ({ cells }, route) => {
    const then = earlier.get(route.name);
    const per = then && seconds > 0 ? Math.max(0, number(route.requests) - number(then.requests)) / seconds : 0;
    const [p50, p99] = percentiles(then, { latency: { ...bounds, ...record(route.latency) } }, [0.5, 0.99]);
    const texts = [words(route.name) || "(no route)", perSecond(per), count(route.requests), count(route.errors), latencyText(p50), latencyText(p99)];
    texts.forEach((text, index) => say(cells[index], text));
  });
  const leftOut = number(now.routes_left_out);
  say(routesLeftOut, leftOut > 0 ? `${count(leftOut)} more with fewer requests are not shown.` : "");
}
