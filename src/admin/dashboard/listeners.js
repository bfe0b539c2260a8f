// Listeners: what is accepted where, and the certificates that are shown there.

const listenerTable = table("Listeners", [
  ["Listener", "name wide"], ["Protocol", ""], ["Open", "number"], ["Accepted", "number"], ["Refused", "number"],
]);
const certificateTable = table("Certificates", [
  ["Certificate", "name wide"], ["Listener", ""], ["Expires", "wide"],
]);
byId("listener-panel").append(listenerTable.node, certificateTable.node);

function showListeners(status) {
  keyed(listenerTable.body, list(status.listeners).map(record), (it) => words(it.name), drawListener, updateListener);
  const certificates = list(status.certificates).map(record);
  show(certificateTable.node, certificates.length > 0);
  const key = (it) => `${words(it.listener)}\n${words(it.chain)}`;
  keyed(certificateTable.body, certificates, key, drawCertificate, updateCertificate);
}

function drawListener() {
  const { node, cells } = tableRow(listenerTable.columns);
  const [name, protocol, open, accepted, refused] = cells;
  const [title, address] = twoLines(name);
  return { node, title, address, protocol, open, accepted, refused };
}

function updateListener(row, listener) {
  say(row.title, words(listener.name));
  say(row.address, words(listener.address));
  say(row.protocol, words(listener.protocol));
  for (const key of ["open", "accepted", "refused"]) say(row[key], count(listener[key === "open" ? "connections" : key]));
}

function drawCertificate() {
  const { node, cells } = tableRow(certificateTable.columns);
  const [name, listener, end] = cells;
  const [names, chain] = twoLines(name);
  const [when, warning] = twoLines(end);
  return { node, names, chain, listener, when, warning };
}

function updateCertificate(row, certificate) {
  say(row.names, list(certificate.names).map(words).join(", ") || "not readable");
  say(row.chain, words(certificate.chain));
  say(row.listener, words(certificate.listener));
  const days = certificate.days_left;
  say(row.when, Number.isFinite(days) ? `${words(certificate.not_after)} (${count(Math.max(0, days))} days)` : "not known");
  say(row.warning, certificate.warning ? `▲ ${words(certificate.warning)}` : "");
  dress(row.warning, "sub bad");
}
