// The turn of the page: asks every second while somebody looks, and says when nobody answers.

const PAUSE_MS = 1000;
const page = { timer: 0, isAsking: false, isAgain: false, answeredAt: 0, needsToken: false, endpoints: null, misses: new Map() };

/** What is asked, and where it is shown. */
const QUESTIONS = [
  ["/api/v1/status", (it) => {
    showStatus(it);
    part("configuration", () => showReload(it));
    part("listeners", () => showListeners(it));
  }, "configuration"],
  ["/api/v1/traffic", (it) => {
    part("traffic", () => showTraffic(it));
    part("routes", () => showRoutes(it));
    part("errors", () => showErrors(it));
  }, "traffic"],
  ["/api/v1/upstreams", (it) => {
    findUpstreamAlarms(it);
    part("upstreams", () => showUpstreams(it));
  }, "upstreams"],
];
/** Asked only where the program has it: a question without an answer would stand in the browser's log. */
const CACHES = ["/api/v1/caches", (it) => part("caches", () => showCaches(it)), "caches"];
const CLUSTER = ["/api/v1/cluster", (it) => part("cluster", () => showCluster(it)), "cluster"];

async function askAll() {
  clearTimeout(page.timer);
  if (document.hidden || page.needsToken) return;
  if (page.isAsking) {
    page.isAgain = true;
    return;
  }
  page.isAsking = true;
  const begun = performance.now();
  try {
    await askOnce();
  } catch (error) {
    console.error(error);
  }
  page.isAsking = false;
  const pause = page.isAgain ? 0 : Math.max(100, PAUSE_MS - (performance.now() - begun));
  page.isAgain = false;
  page.timer = setTimeout(askAll, pause);
}

function askNow() {
  askAll();
}

async function askOnce() {
  if (page.endpoints === null) {
    const index = await ask("/api/v1").catch((error) => error);
    if (index instanceof Unreachable) return unreachable();
    if (index instanceof Refusal && index.status === 401) return askForToken();
    page.endpoints = list(record(index).endpoints).map((it) => record(it).path);
  }
  await fillHistory();
  const questions = [...QUESTIONS, ...[CACHES, CLUSTER].filter(([path]) => page.endpoints.includes(path))];
  const answers = await Promise.allSettled(questions.map(([path]) => ask(path)));
  const reasons = answers.map((it) => it.reason);
  if (reasons.some((it) => it instanceof Refusal && it.status === 401)) return askForToken();
  if (reasons.every((it) => it instanceof Unreachable)) return unreachable();
  page.answeredAt = Date.now();
  show(byId("banner"), false);
  byId("main").classList.remove("stale");
  answers.forEach((answer, index) => {
    const [, showIt, section] = questions[index];
    const misses = answer.reason instanceof Unreachable ? (page.misses.get(section) ?? 0) + 1 : 0;
    page.misses.set(section, misses);
    // One connection that broke says nothing yet.
    if (misses === 1) return;
    if (answer.status === "rejected") part(section, () => { throw answer.reason; });
    else part(section, () => showIt(record(answer.value)));
  });
}

/** Asks for what the program has kept, when the page is opened and when it comes to the front again. */
async function fillHistory() {
  const path = "/api/v1/traffic/history";
  if (!page.endpoints.includes(path) || !history.isBehind(Date.now()) || page.hasFilled === page.answeredAt) return;
  page.hasFilled = page.answeredAt;
  // Without it the charts begin now.
  history.fill(await ask(path).catch(() => null));
}

function unreachable() {
  // Another program may answer next.
  page.endpoints = null;
  showState(["✕ not reachable", "bad"]);
  const since = page.answeredAt ? ` The data shown is from ${clock(page.answeredAt)}, ${ago(page.answeredAt)}.` : "";
  say(byId("banner"), `The admin endpoint does not answer.${since}`);
  show(byId("banner"), true);
  show(byId("alarms"), false);
  byId("main").classList.add("stale");
}

function askForToken(isWrong = token.value !== "") {
  page.needsToken = true;
  say(byId("token-error"), isWrong ? "The token is wrong." : "");
  token.set("");
  showState(["○ locked", "quiet"]);
  show(byId("banner"), false);
  show(byId("main"), false);
  show(byId("token"), true);
  byId("token-value").focus();
}

byId("token").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = byId("token-value").value.trim();
  byId("token-value").value = "";
  // A sign that came along when it was copied, such as a typographic quote.
  if (!isSendable(given)) return askForToken(true);
  token.set(given);
  page.needsToken = false;
  show(byId("token"), false);
  show(byId("main"), true);
  askNow();
});
document.addEventListener("visibilitychange", askNow);
askNow();
