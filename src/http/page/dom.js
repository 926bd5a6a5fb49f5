// The few ways in which the page touches the document. Data becomes text, never markup, and what stays is kept: only
// what has changed is written, so that focus, selection and open rows survive.

const SVG = "http://www.w3.org/2000/svg";

export function get(id) {
  return document.getElementById(id);
}

function make(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) attribute(node, name, value);
  node.append(...children);
  return node;
}

export function element(tag, attributes = {}, ...children) {
  return make(document.createElement(tag), attributes, children);
}

export function drawn(tag, attributes = {}, ...children) {
  return make(document.createElementNS(SVG, tag), attributes, children);
}

/** Sets an attribute, or takes it away if the value is `null` or `false`. */
export function attribute(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) {
    node.setAttribute(name, String(value));
  }
}

export function text(node, value) {
  if (node.textContent !== String(value)) node.textContent = value;
}

export function facts(prefix, values) {
  for (const [name, value] of Object.entries(values)) text(get(`${prefix}-${name}`), value);
}

const kept = new WeakMap();

/** Brings the children of a parent in line with items that have keys: `create` makes one, `update` brings it up to date. */
export function fill(parent, items, create, update) {
  const old = kept.get(parent) ?? new Map();
  const current = new Map();
  for (const item of items) current.set(item.key, old.get(item.key) ?? create(item));
  for (const [key, node] of old) if (!current.has(key)) node.remove();
  let place = parent.firstChild;
  for (const item of items) {
    const node = current.get(item.key);
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
    update(node, item);
  }
  kept.set(parent, current);
}

/** Rows of plain cells; the first heads its row. */
export function rows(body, items) {
  const create = (item) => {
    const row = element("tr");
    for (const place of item.cells.keys()) row.append(place === 0 ? element("th", { scope: "row" }) : element("td"));
    return row;
  };
  fill(body, items, create, (row, item) => cells(row, item.cells));
}

/** Writes the cells of a row, from this one on. */
export function cells(row, values, from = 0) {
  for (const [place, value] of values.entries()) text(row.cells[from + place], value);
}

/** A table with a caption in a box that scrolls by itself, and can be scrolled by keyboard. */
export function table(caption, headings) {
  const heads = headings.map((heading) => element("th", { scope: "col" }, heading));
  const body = element("tbody");
  const whole = element("table", {}, element("caption", {}, caption), element("thead", {}, element("tr", {}, ...heads)), body);
  const box = element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption }, whole);
  return { box, body };
}

/** A button that opens and closes something. */
export function opener(label, toggle) {
  const button = element("button", { type: "button", class: "opener", "aria-expanded": "false" }, label);
  button.addEventListener("click", () => {
    const isOpen = button.getAttribute("aria-expanded") !== "true";
    attribute(button, "aria-expanded", isOpen);
    toggle(isOpen);
  });
  return button;
}
