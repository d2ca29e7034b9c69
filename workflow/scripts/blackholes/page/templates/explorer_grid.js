// All tokens: written out up to 512, beyond that small squares, the dead above the live.

const WRITTEN = 512;
const gridLayout = {columns: 16, size: 20, order: null, gap: 0};

/** Where each token lies, for the width of the canvas. */
function layGrid(width) {
  const V = view.tokens.names.length;
  if (V <= WRITTEN) {
    Object.assign(gridLayout, {columns: 16, size: width / 16, order: null, gap: 0, lines: Math.ceil(V / 16)});
    return;
  }
  const dead = view.tokens.dead.flatMap((is, token) => is ? [token] : []);
  const live = view.tokens.dead.flatMap((is, token) => is ? [] : [token]);
  const columns = Math.min(Math.floor(width / 3), Math.round(Math.sqrt(1.5 * V)));
  const above = Math.ceil(dead.length / columns);
  Object.assign(gridLayout, {
    columns, size: width / columns, order: [dead, live], gap: above && live.length ? 2 : 0, above,
    lines: above + Math.ceil(live.length / columns) + 2,
  });
}

/** Column and line of a token. */
function cellOf(token) {
  const {columns, order, above, gap} = gridLayout;
  if (!order) return [token % columns, Math.floor(token / columns)];
  const dead = view.tokens.dead[token];
  const at = gridLayout.rank[token];
  return [at % columns, Math.floor(at / columns) + (dead ? 0 : above + gap)];
}

/** The token under a point, or undefined. */
function tokenAt(x, y) {
  const {columns, size, order, above, gap} = gridLayout;
  const column = Math.floor(x / size);
  const line = Math.floor(y / size);
  if (!order) {
    const token = line * columns + column;
    return column < columns && token < view.tokens.names.length ? token : undefined;
  }
  if (line >= above && line < above + gap) return undefined;
  return line < above ? order[0][line * columns + column] : order[1][(line - above - gap) * columns + column];
}

function drawGrid() {
  layGrid(document.getElementById("explorer-grid").clientWidth);
  const {columns, size, order, lines} = gridLayout;
  if (order) {
    gridLayout.rank = [];
    for (const some of order) some.forEach((token, rank) => { gridLayout.rank[token] = rank; });
  }
  const {canvas, context, width, height} = fitted("explorer-grid", Math.ceil(lines * size));
  context.clearRect(0, 0, width, height);
  context.textAlign = "center";
  context.textBaseline = "middle";
  const pad = order ? 0 : Math.max(1, size * 0.05);
  view.tokens.names.forEach((_, token) => {
    const [column, line] = cellOf(token);
    const [x, y, side] = [column * size + pad, line * size + pad, size - 2 * pad - (order ? 0.5 : 0)];
    const hole = holeOf(token);
    const dead = view.tokens.dead[token];
    const [fill, ink] = hole ? holeColours(hole) : [order ? (dead ? "#D9B8A8" : "#DDE5D0") : "#F4F6F8", "#565E6B"];
    context.fillStyle = fill;
    context.fillRect(x, y, side, side);
    if (order) return;
    if (dead) {
      context.strokeStyle = PALETTE.ink;
      context.lineWidth = 1.5;
      context.strokeRect(x + 0.75, y + 0.75, side - 1.5, side - 1.5);
    }
    const name = view.tokens.short[token];
    context.font = `${hole ? "600 " : ""}${Math.max(7, size * [0, 0.5, 0.42, 0.32, 0.26][Math.min(name.length, 4)])}px system-ui, sans-serif`;
    context.fillStyle = ink;
    context.fillText(name, x + side / 2, y + side / 2);
  });
  if (view.token !== null) {
    const [column, line] = cellOf(view.token);
    context.strokeStyle = "#000000";
    context.lineWidth = 3;
    context.strokeRect(column * size - 1, line * size - 1, size + 2, size + 2);
    context.strokeStyle = "#FFFFFF";
    context.lineWidth = 1;
    context.strokeRect(column * size - 2.5, line * size - 2.5, size + 5, size + 5);
  }
  document.getElementById("grid-said").textContent = order
    ? "A square is a token: dead ones above, live ones below. Filled: in a hole, in its colour. Pale: alone."
    : "Filled: in a hole, in its colour. Framed: dead. Pale: alone.";
  canvas.setAttribute("aria-label", `All ${view.tokens.names.length} tokens. ${document.getElementById("explorer-said").textContent}`);
}

function startGrid() {
  const canvas = document.getElementById("explorer-grid");
  canvas.addEventListener("click", event => {
    const token = tokenAt(...inside(event));
    if (token !== undefined) pick(token);
  });
  canvas.addEventListener("pointermove", event => {
    const token = tokenAt(...inside(event));
    const hole = token === undefined ? 0 : holeOf(token);
    canvas.title = token === undefined ? "" : `${view.tokens.names[token]} (#${token}), ${hole ? `in hole ${hole}` : "alone"}${view.tokens.dead[token] ? ", dead" : ""}`;
  });
  canvas.addEventListener("keydown", event => { // the picked token is moved
    const by = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -gridLayout.columns, ArrowDown: gridLayout.columns}[event.key];
    if (!by) return;
    event.preventDefault();
    const token = (view.token ?? -Math.max(by, 0)) + by;
    if (token >= 0 && token < view.tokens.names.length && token !== view.token) pick(token);
  });
  VIEWS.push(drawGrid);
}
