// Small charts: lines over the last ten minutes, drawn as SVG paths. The numbers beside them say the same.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 120;
const HEIGHT = 40;

/** A chart of so many lines, each with its class. */
function chart(classes) {
  const node = document.createElementNS(SVG, "svg");
  node.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  node.setAttribute("preserveAspectRatio", "none");
  node.setAttribute("class", "chart");
  node.setAttribute("aria-hidden", "true");
  const path = (className) => {
    const made = document.createElementNS(SVG, "path");
    made.setAttribute("class", className);
    node.append(made);
    return made;
  };
  path("base").setAttribute("d", `M0 ${HEIGHT - 0.5}H${WIDTH}`);
  const area = path(`area ${classes[0]}`);
  const lines = classes.map(path);
  return { node, area, lines };
}

/** Draws the lines; gives the highest value. */
function draw(made, points, reads) {
  const now = points.length ? points.at(-1).at : 0;
  const values = points.flatMap((point) => reads.map((read) => number(read(point))));
  const peak = Math.max(0, ...values);
  const x = (point) => (WIDTH - ((now - point.at) / KEPT_MS) * WIDTH).toFixed(2);
  const y = (value) => (HEIGHT - 1 - (peak > 0 ? value / peak : 0) * (HEIGHT - 4)).toFixed(2);
  reads.forEach((read, index) => {
    let path = "";
    let last = null;
    let first = null;
    for (const point of points) {
      const value = read(point);
      if (value === null) {
        last = null;
        continue;
      }
      // Nothing is drawn over a time of which nobody knows; the program keeps a sample for every five seconds.
      const isNext = last !== null && point.at - last.at < 7500;
      path += `${isNext ? "L" : "M"}${x(point)} ${y(value)}`;
      last = point;
      first ??= point;
    }
    made.lines[index].setAttribute("d", path);
    const isWhole = index === 0 && first && (path.match(/M/g) ?? []).length === 1;
    if (index === 0) {
      made.area.setAttribute("d", isWhole ? `${path}V${HEIGHT}H${x(first)}Z` : "");
    }
  });
  return peak;
}
