// The number of holes of all runs of the experiment: a line each, with a colour and a style of its own.

const COUNTS = {left: 36, right: 12, top: 10, bottom: 34, height: 260};

/** Colour and dashes of a run's line. */
function lineStyle(index) {
  const colour = PALETTE.lines[index % PALETTE.lines.length]; // 7 colours and 6 styles: 42 runs have one of their own
  const dash = PALETTE.dashes[index % PALETTE.dashes.length];
  return [colour, dash ? dash.split(" ").map(Number) : []];
}

function countScales(width) {
  const {left, right, top, bottom, height} = COUNTS;
  const most = Math.max(1, ...view.entry.counts.flatMap(run => run.map(([, count]) => count)));
  const shown = place(view.entry.last);
  return {
    most, shown,
    x: step => left + (width - left - right) * place(step) / shown,
    y: count => height - bottom - (height - top - bottom) * count / most,
  };
}

/** The number of holes of a run at a step. */
function countAt(run, step) {
  let found = 0;
  for (const [from, count] of view.entry.counts[run]) {
    if (from > step) break;
    found = count;
  }
  return found;
}

function drawCounts() {
  const {canvas, context, width, height} = fitted("explorer-counts", COUNTS.height);
  const {x, y, most} = countScales(width);
  context.fillStyle = "#FFFFFF";
  context.fillRect(0, 0, width, height);
  context.fillStyle = "#565E6B";
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const tick of stepTicks(view.entry.last)) context.fillText(tick.toLocaleString("en"), x(tick), y(0) + 5);
  context.fillText("training step", (COUNTS.left + width) / 2, y(0) + 19);
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const [tick, text] of roundTicks(0, most)) if (Number.isInteger(tick)) context.fillText(text, COUNTS.left - 5, y(tick));
  const chosen = view.entry.runs.indexOf(view.run);
  const order = view.entry.runs.map((_, run) => run).sort((a, b) => (a === chosen) - (b === chosen));
  for (const run of order) {
    const [colour, dash] = lineStyle(run);
    context.strokeStyle = colour;
    context.lineWidth = run === chosen ? 3 : 1.5;
    context.setLineDash(dash);
    context.beginPath();
    let last = null;
    for (const [step, count] of view.entry.counts[run]) {
      if (last === null) context.moveTo(x(step), y(count));
      else { context.lineTo(x(step), y(last)); context.lineTo(x(step), y(count)); }
      last = count;
    }
    context.lineTo(x(view.entry.last), y(last));
    context.stroke();
  }
  context.setLineDash([]);
  context.strokeStyle = PALETTE.ink;
  context.lineWidth = 1.5;
  const now = x(view.data.steps[view.row]);
  context.beginPath();
  context.moveTo(now, 0);
  context.lineTo(now, y(0));
  context.stroke();
  const step = view.data.steps[view.row];
  const numbers = view.entry.runs.map((run, i) => `run ${i + 1}: ${countAt(i, step)}`).join(", ");
  canvas.setAttribute("aria-label", `Number of holes at step ${step}: ${numbers}.`);
  showCountsLegend(chosen);
}

function showCountsLegend(chosen) {
  document.getElementById("counts-legend").replaceChildren(...view.entry.runs.map((run, i) => {
    const [colour, dash] = lineStyle(i);
    const line = make("svg:svg", {width: 30, height: 10, "aria-hidden": "true"}, make("svg:line", {
      x1: 0, x2: 30, y1: 5, y2: 5, stroke: colour, "stroke-width": i === chosen ? 3 : 2, "stroke-dasharray": dash.join(" "),
    }));
    return make("button", {type: "button", class: "plain", "aria-pressed": i === chosen, onclick: () => lookAt(i)}, line, `run ${i + 1}`);
  }));
}

function lookAt(index) {
  const runs = document.getElementById("explorer-run");
  runs.value = view.entry.runs[index];
  chooseRun(view.entry, runs.value);
}

/** The run whose line is nearest to a point, and the step there. */
function lineNear(px, py) {
  const canvas = document.getElementById("explorer-counts");
  const {y, shown} = countScales(canvas.clientWidth);
  const step = stepAt(px, COUNTS.left, canvas.clientWidth - COUNTS.left - COUNTS.right, shown);
  let best = -1;
  let least = 30;
  view.entry.runs.forEach((_, run) => {
    const distance = Math.abs(y(countAt(run, step)) - py);
    if (distance < least) [best, least] = [run, distance];
  });
  return [best, Math.floor(step)];
}

function startCounts() {
  const canvas = document.getElementById("explorer-counts");
  canvas.addEventListener("pointermove", event => {
    const [run, step] = lineNear(...inside(event));
    if (run < 0) return;
    const words = `Run ${run + 1}: ${plural(countAt(run, step), "hole")} at step ${step.toLocaleString("en")}.`;
    document.getElementById("counts-said").textContent = words;
    canvas.title = words;
  });
  canvas.addEventListener("click", event => {
    const [run] = lineNear(...inside(event));
    if (run >= 0) lookAt(run);
  });
  VIEWS.push(drawCounts);
}
