// The lineage: bands of holes as wide as their tokens, ribbons between them, events above, the picked token's way.

const FLOW = {left: 46, right: 14, top: 22, bottom: 26, height: 380};

/** Where places on the axis and numbers of tokens lie on the canvas. */
function flowScales(width) {
  const {left, right, top, bottom, height} = FLOW;
  const V = view.tokens.names.length;
  return {
    x: at => left + (width - left - right) * Math.min(at / view.data.shown, 1),
    y: tokens => height - bottom - (height - top - bottom) * tokens / V,
  };
}

function drawRibbon(context, {x, y}, [hole, from, to, before, after, tokens, opacity]) {
  const [x0, x1] = [x(from), x(to) + (opacity === 1 ? 0.7 : 0)]; // without a seam
  const middle = (x0 + x1) / 2;
  context.globalAlpha = opacity;
  context.fillStyle = holeColours(hole)[0];
  context.beginPath();
  context.moveTo(x0, y(before));
  context.bezierCurveTo(middle, y(before), middle, y(after), x1, y(after));
  context.lineTo(x1, y(after + tokens));
  context.bezierCurveTo(middle, y(after + tokens), middle, y(before + tokens), x0, y(before + tokens));
  context.fill();
  context.globalAlpha = 1;
}

function drawFlow() {
  document.getElementById("flow-figure").hidden = !view.data.bands.length;
  if (!view.data.bands.length) return; // no black hole at any step
  const {canvas, context, width, height} = fitted("explorer-flow", FLOW.height);
  const scales = flowScales(width);
  const {x, y} = scales;
  const V = view.tokens.names.length;
  context.fillStyle = "#FFFFFF";
  context.fillRect(0, 0, width, height);
  context.fillStyle = "#F4F6F8";
  context.fillRect(x(0), y(V), x(view.data.shown) - x(0), y(0) - y(V));
  for (const ribbon of [...view.data.ribbons].sort((a, b) => a[6] - b[6])) drawRibbon(context, scales, ribbon);
  const room = new Map(); // hole → its widest band
  for (const [hole, start, end, low, high] of view.data.bands) {
    context.fillStyle = holeColours(hole)[0];
    context.fillRect(x(start), y(high), x(end) - x(start) + 0.7, y(low) - y(high)); // wider, or a seam is seen
    const size = Math.min(x(end) - x(start), 60) * (y(low) - y(high));
    if (y(low) - y(high) > 11 && x(end) - x(start) > 8 && size > (room.get(hole)?.[0] ?? 0)) room.set(hole, [size, (x(start) + x(end)) / 2, (y(low) + y(high)) / 2]);
  }
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const [hole, [, at, middle]] of room) {
    context.fillStyle = holeColours(hole)[1];
    context.fillText(String(hole), at, middle);
  }
  drawFlowAxes(context, scales, V);
  drawEvents(context, scales, V);
  if (view.token !== null) drawWay(context, scales, V);
  const now = x(place(view.data.steps[view.row]));
  context.strokeStyle = PALETTE.ink;
  context.lineWidth = 1.5;
  context.beginPath();
  context.moveTo(now, 0);
  context.lineTo(now, y(0));
  context.stroke();
  canvas.setAttribute("aria-label", `The lineage of the holes. ${document.getElementById("explorer-said").textContent}`);
  const folded = view.data.folded ? `${plural(view.data.folded, "hole")} of flicker ${view.data.folded === 1 ? "is" : "are"} folded into others.` : "";
  document.getElementById("flow-said").textContent = folded;
}

function drawFlowAxes(context, {x, y}, V) {
  context.fillStyle = "#565E6B";
  context.strokeStyle = "#8B919B";
  context.lineWidth = 1;
  context.textBaseline = "top";
  context.textAlign = "center";
  for (const tick of stepTicks(view.entry.last)) {
    if (place(tick) > view.data.shown + 1e-6) break;
    context.fillText(tick.toLocaleString("en"), x(place(tick)), y(0) + 6);
    context.fillRect(x(place(tick)) - 0.5, y(0), 1, 4);
  }
  context.textBaseline = "middle";
  context.textAlign = "right";
  for (const part of [0, 0.5, 1]) context.fillText(Math.round(V * part).toLocaleString("en"), x(0) - 6, y(V * part));
}

const MARKS = {fission: "▲", fusion: "▼", evaporation: "○", capture: "◇", formation: "+", dissolution: "×"};

/** A mark for each kind of event, where the last of its kind is far enough away. */
function drawEvents(context, {x, y}, V) {
  context.fillStyle = PALETTE.ink;
  context.textAlign = "center";
  context.textBaseline = "bottom";
  context.font = "10px system-ui, sans-serif";
  const taken = [];
  for (const [step, kind] of view.data.events) {
    const at = x(place(step));
    if (place(step) > view.data.shown || taken.some(([other, of]) => of === kind && Math.abs(other - at) < 8)) continue;
    taken.push([at, kind]);
    const level = Object.keys(MARKS).indexOf(kind) % 2;
    context.fillText(MARKS[kind], at, y(V) - 1 - 9 * level);
  }
}

/** The way of the picked token through the bands, and above them where it is alone. */
function drawWay(context, {x, y}, V) {
  const points = [];
  view.data.steps.forEach((step, row) => {
    const at = place(step);
    if (at > view.data.shown + 1e-6) return;
    const hole = holeOf(view.token, row);
    const band = hole && view.data.bands.find(([of, start, end]) => of === hole && start <= at + 1e-3 && at <= end + 1e-3);
    if (hole && !band) return; // a hole that is folded, or too small to be drawn
    points.push([x(at), y(band ? (band[3] + band[4]) / 2 : V) + (band ? 0 : 4)]);
  });
  for (const [colour, lineWidth, dash] of [["#FFFFFF", 4, []], ["#000000", 2, [5, 3]]]) {
    context.strokeStyle = colour;
    context.lineWidth = lineWidth;
    context.setLineDash(dash);
    context.beginPath();
    points.forEach(([px, py], i) => i ? context.lineTo(px, py) : context.moveTo(px, py));
    context.stroke();
  }
  context.setLineDash([]);
}

/** The step under a point of an axis of steps. */
function stepAt(px, left, width, shown) {
  const at = Math.max(0, Math.min(1, (px - left) / width)) * shown;
  return at < LINEAR ? at / LINEAR : 10 ** (at - LINEAR);
}

function startFlow() {
  const canvas = document.getElementById("explorer-flow");
  const stepUnder = event => stepAt(inside(event)[0], FLOW.left, canvas.clientWidth - FLOW.left - FLOW.right, view.data.shown);
  canvas.addEventListener("click", event => { play(false); setRow(nearestRow(stepUnder(event))); });
  canvas.addEventListener("pointermove", event => {
    const [px, py] = inside(event);
    const {x, y} = flowScales(canvas.clientWidth);
    const band = view.data.bands.find(([, start, end, low, high]) => px >= x(start) && px <= x(end) && py <= y(low) && py >= y(high));
    canvas.title = band ? `hole ${band[0]}: ${plural(band[4] - band[3], "token")}` : "";
  });
  VIEWS.push(drawFlow);
}
