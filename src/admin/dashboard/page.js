// The document. Everything is put in as text: names come from the configuration, errors from the network.

const byId = (id) => document.getElementById(id);

/** An element with a class and children, which are elements or texts. */
function make(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

/** Writes only what is new, so that a selection and a reader's place stay. */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function show(node, isShown) {
  if (node.hidden === isShown) node.hidden = !isShown;
}

function dress(node, className) {
  if (node.className !== className) node.className = className;
}

const rowsOf = new WeakMap();

/** Keeps a child for each item, by key, in the order of the items; `draw` makes one, `update` fills it. */
function keyed(parent, items, keyOf, draw, update) {
  if (!rowsOf.has(parent)) rowsOf.set(parent, new Map());
  const rows = rowsOf.get(parent);
  const gone = new Set(rows.keys());
  const seen = new Set();
  let before = null;
  items.forEach((item, index) => {
    const key = keyOf(item, index);
    if (seen.has(key)) return;
    seen.add(key);
    gone.delete(key);
    if (!rows.has(key)) rows.set(key, draw(item));
    const row = rows.get(key);
    const place = before ? before.nextElementSibling : parent.firstElementChild;
    if (row.node !== place) parent.insertBefore(row.node, place);
    before = row.node;
    update(row, item);
  });
  for (const key of gone) {
    rows.get(key).node.remove();
    rows.delete(key);
  }
}

/** A table with these columns: `[label, class]`. The roles stay where a small screen shows rows as cards. */
function table(label, columns) {
  const heads = columns.map(([name, className]) => {
    const head = make("th", className, name);
    head.scope = "col";
    head.setAttribute("role", "columnheader");
    return head;
  });
  const head = make("tr", "", ...heads);
  const top = make("thead", "", head);
  const body = make("tbody");
  const node = make("table", "", top, body);
  node.setAttribute("role", "table");
  node.setAttribute("aria-label", label);
  for (const group of [top, body]) group.setAttribute("role", "rowgroup");
  head.setAttribute("role", "row");
  return { node, body, columns };
}

/** A row for a table: a cell per column. */
function tableRow(columns) {
  const cells = columns.map(([name, className]) => {
    const cell = make("td", className);
    cell.setAttribute("role", "cell");
    cell.dataset.label = name;
    return cell;
  });
  const node = make("tr", "", ...cells);
  node.setAttribute("role", "row");
  return { node, cells };
}

/** A text and, in a smaller line below it, another. */
function twoLines(cell) {
  const first = make("span");
  const second = make("span", "sub");
  cell.append(first, second);
  return [first, second];
}

/** Runs a part of the page; what it stumbles over is said there, and stops no other part. */
function part(id, work) {
  const note = byId(id).querySelector(".broken");
  try {
    work();
    show(note, false);
  } catch (error) {
    say(note, "This could not be displayed: " + (error && error.message ? error.message : error));
    show(note, true);
    if (!(error instanceof Refusal || error instanceof Unreachable)) console.error(error);
  }
}

/** Tells how something ended; what went wrong stays until it is taken away. */
function tell(text, isGood) {
  const close = make("button", "", "×");
  close.type = "button";
  close.setAttribute("aria-label", "dismiss this message");
  const node = make("div", isGood ? "message" : "message failed", make("span", "", text), close);
  if (!isGood) node.setAttribute("role", "alert");
  close.addEventListener("click", () => node.remove());
  const box = byId("messages");
  box.append(node);
  while (box.childElementCount > 4) box.firstElementChild.remove();
  if (isGood) setTimeout(() => node.remove(), 6000);
}
