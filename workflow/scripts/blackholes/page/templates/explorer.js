// The explorer's state and controls. The views, in the other files, draw what `view` says.

const view = {entry: null, run: "", data: null, tokens: null, row: 0, token: null, timer: null, zoom: null};
const VIEWS = []; // functions that draw

const LINEAR = 0.4; // width of the part from step 0 to 1, in decades, as in the figures

/** Where a step lies on the axis of steps, in decades. */
function place(step) {
  return step < 1 ? step * LINEAR : LINEAR + Math.log10(step);
}

/** Ticks of the axis: 0 and the powers of ten up to a step. */
function stepTicks(last) {
  const ticks = [0];
  for (let step = 1; step <= last; step *= 10) ticks.push(step);
  return ticks;
}

/** Steps below the slider. */
function showTicks(last) {
  document.getElementById("explorer-ticks").replaceChildren(...stepTicks(last).map(tick =>
    make("span", {style: `left:${100 * place(tick) / place(last)}%`}, tick.toLocaleString("en"))));
}

/** Fill and ink of a hole. */
function holeColours(hole) {
  return PALETTE.holes[view.data.colours[hole] ?? PALETTE.holes.length - 1];
}

/** The hole of a token at a row of steps; 0: alone. */
function holeOf(token, row = view.row) {
  return view.data.identities[row * view.tokens.names.length + token];
}

/** Sums of the differences from one step to the next that explorer.py stores. */
function accumulate(values, width) {
  for (let i = width; i < values.length; i++) values[i] += values[i - width];
  return values;
}

async function readRun(entry, run) {
  const [data, tokens] = await Promise.all([unpack(`explorer-${entry.name}-${run}`), unpack(entry.corpus)]);
  const V = tokens.names.length;
  data.identities = accumulate(unpackArray(data.identities), V);
  data.plane = accumulate(unpackArray(data.plane), 2 * V);
  return {data, tokens};
}

/** Look at a run; the step stays as near as there is one. */
async function chooseRun(entry, run) {
  const step = view.data ? view.data.steps[view.row] : null;
  const found = await readRun(entry, run);
  if (document.getElementById("explorer-run").value !== run) return; // another was chosen meanwhile
  if (view.entry !== entry) view.token = null;
  Object.assign(view, {entry, run, ...found, zoom: null});
  document.getElementById("explorer-step").max = place(entry.last);
  showTicks(entry.last);
  setRow(step === null ? firstRow() : nearestRow(step));
}

/** The row whose step is nearest to a step, on the axis of steps. */
function nearestRow(step) {
  return nearestPlace(place(step));
}

function nearestPlace(at) {
  const distances = view.data.steps.map(step => Math.abs(place(step) - at));
  return distances.indexOf(Math.min(...distances));
}

/** Keys of the slider: an arrow is one step that is kept, a page ten. */
function stepKey(event) {
  const last = view.data.steps.length - 1;
  const by = {ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -last, End: last}[event.key];
  if (!by) return;
  event.preventDefault();
  play(false);
  setRow(view.row + by);
}

/** Where to begin: the row with most holes, or the last. */
function firstRow() {
  let best = view.data.steps.length - 1;
  let most = 1;
  for (let row = 0; row < view.data.steps.length; row++) {
    const number = holesAt(row).length;
    if (number > most) [best, most] = [row, number];
  }
  return best;
}

/** Holes at a row, the largest first: {hole, tokens}. */
function holesAt(row) {
  const found = new Map();
  view.tokens.names.forEach((_, token) => {
    const hole = holeOf(token, row);
    if (hole) found.has(hole) ? found.get(hole).push(token) : found.set(hole, [token]);
  });
  return [...found].map(([hole, tokens]) => ({hole, tokens})).sort((a, b) => b.tokens.length - a.tokens.length || a.hole - b.hole);
}

function setRow(row) {
  view.row = Math.max(0, Math.min(row, view.data.steps.length - 1));
  document.getElementById("explorer-step").value = place(view.data.steps[view.row]);
  drawAll();
}

function pick(token) {
  view.token = token === view.token ? null : token;
  drawAll();
}

function drawAll() {
  const step = view.data.steps[view.row];
  const holes = holesAt(view.row);
  view.holes = holes;
  document.getElementById("explorer-number").textContent = step.toLocaleString("en");
  const slider = document.getElementById("explorer-step");
  slider.setAttribute("aria-valuetext", `step ${step}`);
  const held = holes.reduce((sum, {tokens}) => sum + tokens.length, 0);
  const alone = view.tokens.names.length - held;
  const found = holes.length ? `${plural(holes.length, "hole")} with ${plural(held, view.entry.word)}, ${alone.toLocaleString("en")} alone`
    : `no hole, all ${plural(alone, view.entry.word)} alone`;
  const words = `Step ${step.toLocaleString("en")} of ${view.entry.last.toLocaleString("en")}: ${found}.`;
  document.getElementById("explorer-said").textContent = `${words} ${eventsAt(step)}`;
  showPicked();
  showHoles(holes);
  for (const draw of VIEWS) draw();
}

/** The events of a step in words. */
function eventsAt(step) {
  const names = {fission: "splits", fusion: "merge", evaporation: "loses tokens", capture: "takes singletons in", formation: "forms", dissolution: "dissolves"};
  const said = view.data.events.filter(event => event[0] === step).map(([, kind, parents, children, tokens]) => {
    const from = parents.replaceAll(" ", ", ");
    const to = children.replaceAll(" ", ", ");
    if (kind === "fission") return `hole ${from} splits into ${to}`;
    if (kind === "fusion") return `holes ${from} merge into ${to}`;
    return `hole ${kind === "capture" || kind === "formation" ? to : from} ${names[kind]} (${tokens.toLocaleString("en")})`;
  });
  if (!said.length) return "";
  const more = said.length > 6 ? `; and ${said.length - 6} more` : "";
  return `Here ${said.slice(0, 6).join("; ")}${more}.`;
}

function showPicked() {
  const line = document.getElementById("explorer-picked");
  document.getElementById("explorer-unpick").hidden = view.token === null;
  if (view.token === null) {
    line.textContent = "";
    return;
  }
  const hole = holeOf(view.token);
  const size = hole ? view.holes.find(it => it.hole === hole).tokens.length : 0;
  const count = view.tokens.counts[view.token];
  const seen = view.tokens.dead[view.token] ? "dead" : `${plural(count, "time")} in the text`;
  const where = hole ? `in hole ${hole}, with ${(size - 1).toLocaleString("en")} others` : "alone";
  line.textContent = `Picked: ${view.tokens.names[view.token]} (#${view.token}), ${seen}; ${where}.`;
}

function showHoles(holes) {
  const most = 40; // tokens that are named
  const rows = holes.slice(0, 100).map(({hole, tokens}) => {
    const dead = tokens.filter(token => view.tokens.dead[token]).length;
    const [fill, ink] = holeColours(hole);
    const names = tokens.slice(0, most).map(token => make("button", {
      type: "button", class: view.tokens.dead[token] ? "plain dead" : "plain", title: `${view.tokens.names[token]} (#${token})`,
      "aria-pressed": token === view.token, onclick: () => pick(token),
    }, view.tokens.short[token]));
    const more = tokens.length > most ? [` and ${(tokens.length - most).toLocaleString("en")} more`] : [];
    return make("tr", {}, make("td", {}, make("span", {class: "chip", style: `background:${fill};color:${ink}`}, String(hole))),
      ...[tokens.length, dead, tokens.length - dead].map(number => make("td", {class: "number"}, number.toLocaleString("en"))),
      make("td", {}, ...names, ...more));
  });
  if (!rows.length) rows.push(make("tr", {}, make("td", {colspan: 5}, "No hole at this step.")));
  document.querySelector("#explorer-holes tbody").replaceChildren(...rows);
}

function play(on) {
  clearInterval(view.timer);
  view.timer = on ? setInterval(() => {
    if (view.row >= view.data.steps.length - 1) play(false);
    else setRow(view.row + 1);
  }, 120) : null;
  const button = document.getElementById("explorer-play");
  button.textContent = on ? "Pause" : "Play";
  button.setAttribute("aria-pressed", String(on));
}

/** The token of a name, or of a number as #74; undefined where there is none. */
function findToken(text) {
  const number = /^#(\d+)$/.exec(text);
  const {names, short} = view.tokens;
  const found = number ? Number(number[1]) : Math.max(names.indexOf(text), short.indexOf(text));
  return found >= 0 && found < names.length ? found : undefined;
}

/** A canvas fitted to its column: its drawing context, width and height in CSS pixels. */
function fitted(id, height) {
  const canvas = document.getElementById(id);
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.font = "12px system-ui, sans-serif";
  return {canvas, context, width, height};
}

/** Where a pointer is inside an element. */
function inside(event) {
  const box = event.currentTarget.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

function startExplorer() {
  const index = JSON.parse(document.getElementById("explorer-index").textContent).experiments;
  const experiments = document.getElementById("explorer-experiment");
  const runs = document.getElementById("explorer-run");
  const listRuns = () => {
    const entry = index.find(it => it.name === experiments.value);
    runs.replaceChildren(...entry.runs.map(run => make("option", {value: run}, run.replace(/^run_0*/, ""))));
    return entry;
  };
  experiments.addEventListener("change", () => { play(false); const entry = listRuns(); chooseRun(entry, runs.value); });
  runs.addEventListener("change", () => chooseRun(index.find(it => it.name === experiments.value), runs.value));
  const slider = document.getElementById("explorer-step");
  slider.addEventListener("input", () => { play(false); setRow(nearestPlace(Number(slider.value))); });
  slider.addEventListener("keydown", stepKey);
  document.getElementById("explorer-play").addEventListener("click", () => {
    if (view.timer === null && view.row >= view.data.steps.length - 1) setRow(0);
    play(view.timer === null);
  });
  document.getElementById("explorer-find").addEventListener("change", event => {
    const token = findToken(event.target.value.trim());
    event.target.setCustomValidity(token === undefined && event.target.value ? "no such token" : "");
    event.target.reportValidity();
    if (token !== undefined && token !== view.token) pick(token);
  });
  document.getElementById("explorer-unpick").addEventListener("click", () => pick(view.token));
  startGrid();
  startFlow();
  startPlane();
  startCounts();
  let waiting = null;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => view.data && drawAll(), 150); });
  experiments.value = (index.find(it => it.holes) || index[0]).name;
  chooseRun(listRuns(), runs.value);
}
