// The plane of the first two principal components: holes as discs, tokens that are alone as names or points.

const PLANE_HEIGHT = 420;
const PLANE_EDGE = 34; // room for the axes

/** Place of a token in the plane at the chosen step. */
function tokenPlace(token) {
  const at = 2 * (view.row * view.tokens.names.length + token);
  return [view.data.plane[at] * view.data.unit, view.data.plane[at + 1] * view.data.unit];
}

/** Middle and extent of the cloud: of the chosen step, or of all steps. */
function cloud(ofStep) {
  const {plane, unit} = view.data;
  const V = view.tokens.names.length;
  const [first, end] = ofStep ? [2 * view.row * V, 2 * (view.row + 1) * V] : [0, plane.length];
  const low = [Infinity, Infinity];
  const high = [-Infinity, -Infinity];
  for (let i = first; i < end; i++) {
    low[i & 1] = Math.min(low[i & 1], plane[i]);
    high[i & 1] = Math.max(high[i & 1], plane[i]);
  }
  const extent = Math.max(high[0] - low[0], high[1] - low[1], 16) * unit * 1.25;
  return {x: (low[0] + high[0]) / 2 * unit, y: (low[1] + high[1]) / 2 * unit, extent};
}

/** From places to pixels. */
function planeScales(width) {
  const side = Math.min(width - PLANE_EDGE, PLANE_HEIGHT - PLANE_EDGE);
  const pixels = side / view.zoom.extent;
  const [middleX, middleY] = [(width + PLANE_EDGE) / 2, (PLANE_HEIGHT - PLANE_EDGE) / 2];
  return {
    pixels,
    x: value => middleX + (value - view.zoom.x) * pixels,
    y: value => middleY - (value - view.zoom.y) * pixels,
  };
}

/** About five round numbers in a range. */
function roundTicks(low, high) {
  const raw = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find(factor => factor * power >= raw) * power;
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) ticks.push(Math.abs(tick) < step / 1e6 ? 0 : tick);
  return ticks.map(tick => [tick, String(Number(tick.toPrecision(6)))]);
}

function drawPlane() {
  if (document.getElementById("plane-fit").checked || !view.zoom) view.zoom = cloud(document.getElementById("plane-fit").checked);
  const {canvas, context, width, height} = fitted("explorer-plane", PLANE_HEIGHT);
  const {x, y, pixels} = planeScales(width);
  context.fillStyle = "#FFFFFF";
  context.fillRect(0, 0, width, height);
  drawPlaneAxes(context, {x, y, pixels}, width, height);
  context.save();
  context.beginPath();
  context.rect(PLANE_EDGE, 0, width - PLANE_EDGE, height - PLANE_EDGE);
  context.clip();
  const V = view.tokens.names.length;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (let token = 0; token < V; token++) {
    if (!holeOf(token)) drawAlone(context, token, x(tokenPlace(token)[0]), y(tokenPlace(token)[1]), V);
  }
  for (const {hole, tokens} of view.holes) {
    const [px, py] = [x(tokenPlace(tokens[0])[0]), y(tokenPlace(tokens[0])[1])];
    const radius = discRadius(tokens.length, V);
    const [fill, ink] = holeColours(hole);
    context.fillStyle = fill;
    context.strokeStyle = "#FFFFFF";
    context.lineWidth = 1;
    context.beginPath();
    context.arc(px, py, radius, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
    if (radius > 7) {
      context.fillStyle = ink;
      context.font = "600 11px system-ui, sans-serif";
      context.fillText(String(hole), px, py);
    }
  }
  if (view.token !== null) markPicked(context, x, y, V);
  context.restore();
  canvas.setAttribute("aria-label", `Tokens in the plane of the first two principal components. ${document.getElementById("explorer-said").textContent}`);
  const [first, second] = view.data.shares;
  const alone = V > WRITTEN ? "Points are tokens that are alone: blue ones live, orange squares dead." : "Names are tokens that are alone, framed if they are dead.";
  document.getElementById("plane-said").textContent =
    `Discs are holes, with their number; their area is the population. ${alone} The plane is the same at all steps; its axes have ${Math.round(100 * first)} % and ${Math.round(100 * second)} % of the variance of all tokens at the steps shown.`;
}

/** Of a disc whose area is a number of tokens. */
function discRadius(tokens, V) {
  return Math.max(4, 64 * Math.sqrt(tokens / V));
}

function drawAlone(context, token, px, py, V) {
  const dead = view.tokens.dead[token];
  if (V > WRITTEN) {
    context.fillStyle = dead ? "#D55E00" : "#0072B2";
    dead ? context.fillRect(px - 1.5, py - 1.5, 3, 3) : context.fillRect(px - 1, py - 1, 2, 2);
    return;
  }
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = PALETTE.ink;
  const name = view.tokens.short[token];
  context.fillText(name, px, py);
  if (dead) {
    const half = context.measureText(name).width / 2 + 2;
    context.strokeStyle = PALETTE.ink;
    context.lineWidth = 1;
    context.strokeRect(px - half, py - 8, 2 * half, 16);
  }
}

function markPicked(context, x, y, V) {
  const hole = holeOf(view.token);
  const radius = hole ? discRadius(view.holes.find(it => it.hole === hole).tokens.length, V) + 3 : 10;
  const [px, py] = [x(tokenPlace(view.token)[0]), y(tokenPlace(view.token)[1])];
  for (const [colour, lineWidth] of [["#FFFFFF", 5], ["#000000", 2.5]]) {
    context.strokeStyle = colour;
    context.lineWidth = lineWidth;
    context.beginPath();
    context.arc(px, py, radius, 0, 2 * Math.PI);
    context.stroke();
  }
}

function drawPlaneAxes(context, {x, y, pixels}, width, height) {
  context.fillStyle = "#565E6B";
  context.strokeStyle = "#E9EBEE";
  context.lineWidth = 1;
  context.font = "11px system-ui, sans-serif";
  const [left, bottom] = [PLANE_EDGE, height - PLANE_EDGE];
  const reachX = [view.zoom.x + (left - x(view.zoom.x)) / pixels, view.zoom.x + (width - x(view.zoom.x)) / pixels];
  const reachY = [view.zoom.y - (bottom - y(view.zoom.y)) / pixels, view.zoom.y + y(view.zoom.y) / pixels];
  const line = (x0, y0, x1, y1) => { context.beginPath(); context.moveTo(x0, y0); context.lineTo(x1, y1); context.stroke(); };
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const [tick, text] of roundTicks(...reachX)) {
    line(x(tick), 0, x(tick), bottom);
    if (x(tick) > left + 12 && x(tick) < width - 12) context.fillText(text, x(tick), bottom + 3);
  }
  context.fillText("first component", (left + width) / 2, bottom + 17);
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const [tick, text] of roundTicks(...reachY)) {
    line(left, y(tick), width, y(tick));
    if (y(tick) > 8 && y(tick) < bottom - 6) context.fillText(text, left - 3, y(tick));
  }
}

/** The token or a member of the hole nearest to a point, if it is near. */
function tokenNear(px, py) {
  const {x, y} = planeScales(document.getElementById("explorer-plane").clientWidth);
  const V = view.tokens.names.length;
  let best;
  let least = 14;
  for (let token = 0; token < V; token++) {
    const [tx, ty] = tokenPlace(token);
    const distance = Math.hypot(x(tx) - px, y(ty) - py);
    if (distance < least) [best, least] = [token, distance];
  }
  return best;
}

function zoomPlane(factor) {
  document.getElementById("plane-fit").checked = false;
  view.zoom = {...view.zoom, extent: view.zoom.extent * factor};
  drawPlane();
}

function startPlane() {
  const canvas = document.getElementById("explorer-plane");
  let held = null;
  canvas.addEventListener("pointerdown", event => { held = {at: inside(event), zoom: view.zoom, moved: false}; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", event => {
    const [px, py] = inside(event);
    if (!held) {
      const token = tokenNear(px, py);
      const hole = token === undefined ? 0 : holeOf(token);
      canvas.title = token === undefined ? "" : hole ? `hole ${hole}` : view.tokens.names[token];
      return;
    }
    if (!held.moved && Math.hypot(px - held.at[0], py - held.at[1]) < 5) return;
    held.moved = true;
    document.getElementById("plane-fit").checked = false;
    const {pixels} = planeScales(canvas.clientWidth);
    view.zoom = {...held.zoom, x: held.zoom.x - (px - held.at[0]) / pixels, y: held.zoom.y + (py - held.at[1]) / pixels};
    drawPlane();
  });
  canvas.addEventListener("pointerup", event => {
    const token = held && !held.moved ? tokenNear(...inside(event)) : undefined;
    held = null;
    if (token !== undefined) pick(token);
  });
  canvas.addEventListener("pointercancel", () => { held = null; });
  document.getElementById("plane-in").addEventListener("click", () => zoomPlane(1 / 1.5));
  document.getElementById("plane-out").addEventListener("click", () => zoomPlane(1.5));
  document.getElementById("plane-fit").addEventListener("change", () => { view.zoom = null; drawPlane(); });
  VIEWS.push(drawPlane);
}
