// The cluster: the role of this node, its peers, what changed and why, and a step down.

const ROLES = { primary: ["●", "good"], standby: ["○", "quiet"] };
const groupTable = table("Roles of this node", [
  ["Group", "name wide"], ["Role", "state wide"], ["Since", "number"], ["Primary", "wide"], ["Peers", "wide"], ["Last change", "wide"],
]);
const nodeTable = table("Other nodes", [
  ["Node", "name wide"], ["State", "state wide"], ["Role", ""], ["Version", ""], ["Configuration", "wide"],
]);
const stepDown = make("button", "", "Step down");
stepDown.type = "button";
stepDown.addEventListener("click", () => {
  const verb = stepDown.dataset.verb;
  act(stepDown, verb === "resume" ? "resume" : "step down", `/api/v1/cluster/${verb}`);
});
byId("cluster-panel").append(groupTable.node, nodeTable.node, make("p", "actions", stepDown));

function showCluster(answer) {
  show(byId("cluster"), answer.enabled === true);
  if (answer.enabled !== true) return;
  const isDown = answer.stepped_down === true;
  say(byId("cluster-summary"), summary(answer, isDown));
  stepDown.dataset.verb = isDown ? "resume" : "step-down";
  say(stepDown, isDown ? "Resume" : "Step down");
  const groups = list(answer.groups).map(record);
  show(groupTable.node, groups.length > 0);
  show(stepDown, groups.length > 0);
  keyed(groupTable.body, groups, (it) => words(it.name), drawGroup, updateGroup);
  const nodes = list(answer.nodes).map(record);
  show(nodeTable.node, nodes.length > 0);
  keyed(nodeTable.body, nodes, (it) => words(it.node), drawNode, updateNode);
}

function summary(answer, isDown) {
  const fleet = record(answer.fleet);
  const parts = [`${words(answer.node)}, by ${words(answer.election)}.`];
  if (isDown) parts.push("It has stepped down.");
  if (answer.unfit) parts.push(`It is giving up its role: ${words(answer.unfit)}.`);
  for (const member of list(answer.members).map(record)) {
    if (member.problem) parts.push(`${words(member.address)} does not hear this node: ${words(member.problem)}.`);
  }
  if (fleet.source) parts.push(`The configuration is ${words(fleet.source)}, revision ${words(fleet.in_force)} in the store${fleet.waiting ? "; the next one is waiting for its turn" : ""}.`);
  if (fleet.problem) parts.push(words(fleet.problem));
  return parts.join(" ");
}

function drawGroup() {
  const { node, cells } = tableRow(groupTable.columns);
  const [name, role, since, primary, peers, change] = cells;
  const [title, addresses] = twoLines(name);
  const [word, problem] = twoLines(role);
  const [when, why] = twoLines(change);
  return { node, title, addresses, word, problem, since, primary, peers, when, why };
}

function updateGroup(row, group) {
  const [sign, colour] = ROLES[group.role] ?? ["?", "warn"];
  say(row.title, words(group.name));
  say(row.addresses, list(group.addresses).map(words).join(", "));
  say(row.word, `${sign} ${words(group.role)}`);
  dress(row.word, colour);
  say(row.problem, words(group.problem));
  dress(row.problem, "sub bad");
  say(row.since, ago(group.since));
  say(row.primary, group.role === "primary" ? "this node" : words(group.primary) || "not known");
  say(row.peers, list(group.peers).map(record).map((it) => `${words(it.name)} (${words(it.priority)})`).join(", ") || "–");
  const last = record(list(group.changes).at(-1));
  say(row.when, last.at ? `${words(last.role)}, ${ago(last.at)}` : "none");
  say(row.why, words(last.reason));
}

function drawNode() {
  const { node, cells } = tableRow(nodeTable.columns);
  const [name, state, role, version, configuration] = cells;
  const [word, seen] = twoLines(state);
  return { node, name, word, seen, role, version, configuration };
}

function updateNode(row, node) {
  say(row.name, words(node.node));
  say(row.word, node.is_there ? "● heard" : "✕ gone");
  dress(row.word, node.is_there ? "good" : "bad");
  say(row.seen, ago(node.seen));
  say(row.role, words(node.role));
  say(row.version, words(node.version));
  say(row.configuration, node.has_this_configuration ? "the same" : `another (generation ${words(node.generation)})`);
}
