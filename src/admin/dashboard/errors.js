// The recent errors: those that are alike are one row, and what is beyond the first rows is folded.

const SHOWN_GROUPS = 10;
const errorTable = table("Recent errors", [
  ["When", "half when"], ["Status", "half status"], ["What", "wide what"], ["Request", "wide request"],
  ["Route → backend", "wide route"],
]);
byId("error-table").append(errorTable.node);
const errorView = { errors: [], text: "", isUnfolded: false };

function showErrors(now) {
  errorView.errors = list(now.errors).map(record);
  drawErrors();
}

const targetOf = (error) => [error.upstream, error.backend].filter(Boolean).map(words).join("/");

/** Whether what is looked for is anywhere in it. */
function hasText(texts, wanted) {
  const all = texts.map(words).join("\n").toLowerCase();
  return wanted.toLowerCase().split(/\s+/).every((word) => all.includes(word));
}

/** Errors that differ in time and request alone, newest first. */
function groupErrors(errors) {
  const groups = new Map();
  for (const error of errors) {
    const key = JSON.stringify([error.kind, error.status, error.route, error.listener, targetOf(error)]);
    const group = groups.get(key);
    if (group) group.count += 1;
    else groups.set(key, { key, newest: error, count: 1 });
  }
  return [...groups.values()];
}

function drawErrors() {
  const { errors, text, isUnfolded } = errorView;
  const parts = (it) => [it.kind, it.detail, it.status, it.method, it.path, it.route, targetOf(it), it.listener, it.request_id];
  const found = text ? errors.filter((it) => hasText([...parts(it), words(it.kind).replaceAll("_", " ")], text)) : errors;
  const groups = groupErrors(found);
  const shown = isUnfolded ? groups : groups.slice(0, SHOWN_GROUPS);
  show(byId("no-errors"), found.length === 0);
  say(byId("no-errors"), errors.length ? "No matches." : "None.");
  show(byId("error-tools"), errors.length > 1);
  say(byId("error-found"), `${count(found.length)} of ${count(errors.length)}, ${count(groups.length)} alike`);
  show(byId("error-table"), shown.length > 0);
  show(byId("error-more-line"), groups.length > SHOWN_GROUPS);
  say(byId("error-more"), isUnfolded ? "Show fewer" : `Show ${count(groups.length - shown.length)} more`);
  byId("error-more").setAttribute("aria-expanded", String(isUnfolded));
  const draw = () => {
    const row = tableRow(errorTable.columns);
    const lines = row.cells.map((cell, index) => (index === 1 ? [cell] : twoLines(cell)));
    const times = make("span", "mark");
    lines[2][0].after(" ", times);
    return { node: row.node, lines, times };
  };
  keyed(errorTable.body, shown, (it) => it.key, draw, ({ lines, times }, group) => {
    const error = group.newest;
    const target = targetOf(error);
    const texts = [
      [clock(error.at), ago(error.at)],
      [error.status ? words(error.status) : "–"],
      [words(error.kind).replaceAll("_", " "), words(error.detail)],
      [`${words(error.method)} ${words(error.path)}`, words(error.request_id)],
      [words(error.route) || "(no route)", target ? `→ ${target}` : words(error.listener)],
    ];
    texts.forEach((row, cell) => row.forEach((text, line) => say(lines[cell][line], text)));
    say(times, group.count > 1 ? `× ${count(group.count)}` : "");
    show(times, group.count > 1);
  });
}

byId("error-filter").addEventListener("input", (event) => {
  errorView.text = event.target.value.trim();
  part("errors", drawErrors);
});
byId("error-more").addEventListener("click", () => {
  errorView.isUnfolded = !errorView.isUnfolded;
  part("errors", drawErrors);
});
