// Nodes that change only where what they show has changed, so that neither focus nor selection is lost.
//
// SECURITY: whatever comes from the API goes in as text, never as markup.

const shown = new WeakMap();
const rowsOf = new WeakMap();

export function byId(id) {
  return document.getElementById(id);
}

export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== ""));
  return node;
}

export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// `build` gives the children anew when `value` is another one than last time.
export function refresh(node, value, build) {
  const key = JSON.stringify(value);
  if (shown.get(node) === key) return;
  shown.set(node, key);
  node.replaceChildren(...[build(value)].flat().filter((child) => child !== null && child !== ""));
}

export function show(node, isShown) {
  if (node.hidden === isShown) node.hidden = !isShown;
}

// A row an item, which stays the same row as long as the item has the same id. A column is { label, draw(cell, item) }.
export function table(node, columns, items, idOf) {
  head(node.tHead, columns);
  const body = node.tBodies[0];
  const rows = rowsOf.get(body) ?? new Map();
  rowsOf.set(body, rows);
  const ids = items.map(idOf);
  const kept = new Set(ids);
  const gone = [...rows.keys()].filter((id) => !kept.has(id));
  for (const id of gone) {
    rows.get(id).remove();
    rows.delete(id);
  }
  items.forEach((item, index) => {
    const row = rows.get(ids[index]) ?? newRow(columns);
    rows.set(ids[index], row);
    if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
    columns.forEach((column, nth) => column.draw(row.cells[nth], item));
  });
}

// A table that is drawn as cards on a phone is no table to a screen reader any more, unless its roles say so.
function head(node, columns) {
  refresh(node, columns.map((column) => column.label), (labels) =>
    element("tr", { role: "row" }, ...labels.map((label, nth) => element("th", { scope: "col", role: "columnheader", class: columns[nth].kind ?? null }, label))));
}

function newRow(columns) {
  const cells = columns.map((column, nth) => {
    const place = { class: column.kind ?? null, "data-label": column.label };
    return nth === 0 ? element("th", { ...place, scope: "row", role: "rowheader" }) : element("td", { ...place, role: "cell" });
  });
  return element("tr", { role: "row" }, ...cells);
}

export function list(node, items, build, whenNone) {
  refresh(node, items, () => (items.length || !whenNone ? items.map(build) : element("li", { class: "quiet" }, whenNone)));
}

// How much of something is taken. What it shows must stand beside it as text.
export function bar(used, most) {
  const part = most > 0 ? Math.min(1, used / most) : 0;
  const fill = element("span", { class: part >= 1 ? "full" : part >= 0.8 ? "nearly" : null });
  fill.style.width = `${part * 100}%`;
  return element("span", { class: "bar", "aria-hidden": "true" }, fill);
}

// A line through points of { at, value }, which are at least two.
export function sparkline(points, label) {
  const [width, height, edge] = [120, 28, 2];
  const scale = (values, size) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return (value) => edge + (high > low ? (value - low) / (high - low) : 0.5) * (size - 2 * edge);
  };
  const x = scale(points.map((point) => point.at), width);
  const y = scale(points.map((point) => point.value), height);
  const line = points.map((point) => `${x(point.at).toFixed(1)},${(height - y(point.value)).toFixed(1)}`).join(" ");
  const svg = drawn("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, preserveAspectRatio: "none" });
  svg.append(drawn("polyline", { points: line, "vector-effect": "non-scaling-stroke" }));
  return svg;
}

function drawn(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}
