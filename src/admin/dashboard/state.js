// What runs, from which configuration, and what a reload would change.

const factRows = byId("facts");

function showStatus(status) {
  const facts = [
    ["Node", words(status.node)],
    ["Role", words(status.role)],
    ["Version", words(status.version)],
    ["Generation", words(status.generation)],
    ["Up", status.uptime_seconds === undefined ? "" : span(status.uptime_seconds)],
  ].filter(([, value]) => value !== "");
  const draw = ([name]) => {
    const value = make("dd");
    return { node: make("div", "", make("dt", "", name), value), value };
  };
  keyed(factRows, facts, ([name]) => name, draw, (row, [, value]) => say(row.value, value));
  findStatusAlarms(status);
}

function showState([text, colour]) {
  say(byId("state"), text);
  dress(byId("state"), `badge ${colour}`);
  document.title = colour === "good" ? "Pointsman" : `${text} – Pointsman`;
}

function showReload(status) {
  const reload = record(status.last_reload);
  const how = reload.ok === false ? "✕ The last reload failed; the previous configuration stays in use." : "✓ The configuration is valid.";
  const by = words(reload.by ?? reload.trigger ?? reload.cause);
  const when = reload.at ? ` Read ${clock(reload.at)}, ${ago(reload.at)}${by ? `, by ${by}` : ""}.` : "";
  const notes = list(reload.notes).map((note) => ` ${words(note).replace(/\.?$/, ".")}`).join("");
  say(byId("reload-summary"), how + when + notes);
  dress(byId("reload-summary"), reload.ok === false ? "bad" : "");
  showProblems(byId("problems"), reload.problems);
}

/** Problems of a configuration, each with its place and, where it is told, its line with a caret. */
function showProblems(box, problems) {
  show(box, list(problems).length > 0);
  const draw = () => {
    const [place, source, message, hint] = [make("p", "mono quiet"), make("pre"), make("p"), make("p", "hint")];
    source.tabIndex = 0;
    return { node: make("li", "problem", place, source, message, hint), place, source, message, hint };
  };
  keyed(box, list(problems).map(record), (_, index) => index, draw, (row, problem) => {
    say(row.place, [problem.file, problem.line, problem.column].filter(Boolean).map(words).join(":"));
    const line = words(problem.source).replace(/\n[^]*$/, "");
    // Tabs stay tabs, so that the caret stands where it should.
    const before = [...line].slice(0, Math.max(0, number(problem.column) - 1)).join("").replace(/[^\t]/g, " ");
    say(row.source, problem.column ? `${line}\n${before}${"^".repeat(Math.min(Math.max(1, number(problem.width)), 200))}` : line);
    show(row.source, line !== "");
    say(row.message, words(problem.message));
    say(row.hint, problem.hint ? `Hint: ${words(problem.hint)}` : "");
  });
}

/** JSON as indented lines, without its signs. */
function outline(value, depth = 0) {
  const indent = "  ".repeat(depth);
  if (value === null || typeof value !== "object") return `${indent}${words(value) || "–"}`;
  const isList = Array.isArray(value);
  const entries = Object.entries(value);
  if (entries.length === 0) return `${indent}none`;
  const line = ([name, inner]) => {
    if (inner === null || typeof inner !== "object") return `${indent}${isList ? "-" : `${name}:`} ${words(inner) || "–"}`;
    if (Object.keys(inner).length === 0) return `${indent}${isList ? "-" : `${name}:`} none`;
    return isList ? `${indent}- ${outline(inner, depth + 1).trimStart()}` : `${indent}${name}:\n${outline(inner, depth + 1)}`;
  };
  return entries.map(line).join("\n");
}

byId("plan").addEventListener("click", async () => {
  const answer = await act(byId("plan"), "preview of a reload", "/api/v1/config/plan");
  if (answer === null) return;
  const body = answer instanceof Refusal ? record(answer.body) : record(answer);
  const problems = list(body.problems ?? record(body.error).problems);
  show(byId("plan-answer"), !(answer instanceof Refusal) || problems.length > 0);
  show(byId("plan-text"), !(answer instanceof Refusal));
  say(byId("plan-text"), answer instanceof Refusal ? "" : outline(body));
  showProblems(byId("plan-problems"), problems);
});

byId("reload").addEventListener("click", async () => {
  const answer = await act(byId("reload"), "reload", "/api/v1/reload");
  if (answer instanceof Refusal) {
    const body = record(answer.body);
    showProblems(byId("problems"), body.problems ?? record(body.error).problems);
  } else if (answer !== null) {
    show(byId("plan-answer"), false);
  }
});
