// What is wrong now, at the head of the page: the worst of it in the state, all of it below.

const alarms = { upstreams: [], status: [], isDraining: false };

/** Upstreams of which no backend takes anything, though one of them should. */
function findUpstreamAlarms(answer) {
  alarms.upstreams = list(answer.upstreams).map(record).flatMap((upstream) => {
    const states = list(upstream.backends).map((it) => record(it).state);
    const isGone = !states.includes("up") && states.some((it) => it === "down" || it === "ejected");
    return isGone ? [["upstreams", `${words(upstream.name)}: no backend is up`]] : [];
  });
  showAlarms();
}

function findStatusAlarms(status) {
  const ended = list(status.certificates).map(record).filter((it) => Number.isFinite(it.days_left) && it.days_left < 0);
  const names = (it) => list(it.names).map(words).join(", ") || words(it.chain);
  alarms.status = ended.map((it) => ["listeners", `the certificate of ${names(it)} has expired (${words(it.listener)})`]);
  if (record(status.last_reload).ok === false) {
    alarms.status.push(["configuration", "the last reload was refused; the previous configuration stays in force"]);
  }
  alarms.isDraining = Boolean(status.draining);
  showAlarms();
}

function showAlarms() {
  const all = [...alarms.upstreams, ...alarms.status];
  const draw = ([section]) => {
    const link = make("a", "bad");
    link.href = `#${section}`;
    return { node: make("li", "", link), link };
  };
  show(byId("alarms"), all.length > 0);
  keyed(byId("alarms"), all, ([section, text]) => `${section} ${text}`, draw, ({ link }, [, text]) => say(link, `✕ ${text}`));
  if (alarms.isDraining) return showState(["◐ draining", "warn"]);
  const others = all.length > 1 ? ` (and ${count(all.length - 1)} more)` : "";
  showState(all.length > 0 ? [`✕ ${all[0][1]}${others}`, "bad"] : ["● serving", "good"]);
}
