// Where the boxes and lines of the drawings stand. Pure: nothing here knows of the page.

export const BOX = { width: 220, height: 124 };
const GAP = { across: 150, down: 26 };
const MARGIN = 12;

/** The layer of each operator: the longest path to it from a source. They come behind all that they read. */
export function layers(operators) {
  const layer = new Map();
  for (const of of operators) {
    const before = of.inputs.map((input) => layer.get(input.from) ?? 0);
    layer.set(of.id, before.length > 0 ? Math.max(...before) + 1 : 0);
  }
  return layer;
}

/** Returns boxes and edges with their places. A line that passes a layer gets a place of its own in it. */
export function layout(operators) {
  const layer = layers(operators);
  const columns = [];
  const put = (column, item) => {
    columns[column] ??= [];
    columns[column].push(item);
    return item;
  };
  const boxes = new Map();
  for (const of of operators) {
    boxes.set(of.id, put(layer.get(of.id), { id: of.id, height: BOX.height, before: [] }));
  }
  const edges = [];
  for (const of of operators) {
    for (const [number, input] of of.inputs.entries()) {
      const path = [boxes.get(input.from)];
      for (let column = layer.get(input.from) + 1; column < layer.get(of.id); column += 1) {
        path.push(put(column, { height: 24, before: [path[path.length - 1]], isBend: true }));
      }
      path.push(boxes.get(of.id));
      boxes.get(of.id).before.push(path[path.length - 2]);
      edges.push({ key: `${input.from} ${number} ${of.id}`, path, to: of.id, number });
    }
  }
  const height = (column) => column.reduce((all, item) => all + item.height + GAP.down, -GAP.down);
  const tallest = Math.max(0, ...columns.map(height));
  for (const [number, column] of columns.entries()) {
    // Each stands near what it reads, so that lines cross seldom.
    for (const item of column) item.pull = item.before.length > 0 ? mean(item.before.map(middle)) : 0;
    if (number > 0) column.sort((one, other) => one.pull - other.pull);
    let y = MARGIN + (tallest - height(column)) / 2;
    for (const item of column) {
      item.x = MARGIN + number * (BOX.width + GAP.across);
      item.y = y;
      y += item.height + GAP.down;
    }
  }
  return {
    width: 2 * MARGIN + columns.length * (BOX.width + GAP.across) - GAP.across,
    height: 2 * MARGIN + tallest,
    boxes: [...boxes.values()],
    edges: edges.map((edge) => ({ ...edge, d: curve(edge.path), label: label(edge.path) })),
  };
}

function middle(item) {
  return item.y + item.height / 2;
}

function mean(numbers) {
  return numbers.reduce((all, number) => all + number, 0) / numbers.length;
}

function curve(path) {
  const parts = [];
  for (let step = 1; step < path.length; step += 1) {
    const [from, to] = [path[step - 1], path[step]];
    const [x, end] = [from.x + BOX.width, to.x];
    const bend = (end - x) / 2;
    if (step === 1) parts.push(`M ${x} ${middle(from)}`);
    parts.push(`C ${x + bend} ${middle(from)} ${end - bend} ${middle(to)} ${end} ${middle(to)}`);
    if (to.isBend) parts.push(`L ${to.x + BOX.width} ${middle(to)}`);
  }
  return parts.join(" ");
}

/** In the middle of its last bend. */
function label(path) {
  const [from, to] = path.slice(-2);
  return { x: to.x - GAP.across / 2, y: (middle(from) + middle(to)) / 2 };
}

/** The columns of a chart of so many numbers, oldest first, in a field of this size. */
export function bars(numbers, width, height) {
  const most = Math.max(1, ...numbers);
  const step = width / Math.max(1, numbers.length);
  return numbers.map((number, place) => {
    const tall = Math.max(1, (number / most) * height);
    return { x: place * step, y: height - tall, width: Math.max(1, step - 1), height: tall };
  });
}

/** The places of moments on an axis from one time to another. */
export function marks(moments, from, to, width) {
  const span = Math.max(1, to - from);
  return moments.map((at) => Math.min(width, Math.max(0, ((at - from) / span) * width)));
}
