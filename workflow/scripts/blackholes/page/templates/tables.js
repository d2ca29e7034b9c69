// One table at a time: chosen, filtered, sorted, a page of rows shown. Data are columns, as grids.py packs them.

const PAGE_ROWS = 25;
const IDS = /(^|_)(id|ids|step|seed)$/; // numbers that are names, without separators

const table = {
  script: null, names: [], numbers: [], columns: [], rows: 0,
  order: [], shown: [], sorted: -1, descending: false, page: 0, texts: null,
};

/** Words and comparisons of a filter, as functions of a row. Comparisons name a column: count>100, status=dead. */
function conditions(text, names) {
  return (text.match(/"[^"]*"|\S+/g) || []).map(word => {
    const found = /^([^<>=]+?)(<=|>=|<|>|=)(.*)$/.exec(word);
    const column = found ? names.indexOf(found[1]) : -1;
    if (column < 0) {
      const sought = word.replaceAll('"', "").toLowerCase();
      return row => rowText(row).includes(sought);
    }
    const [, , sign, side] = found;
    const number = Number(side);
    const compare = {
      "=": value => side === "" ? value === null : String(value).toLowerCase() === side.toLowerCase() || (value !== null && side !== "" && value === number),
      "<": value => value !== null && value < number, ">": value => value !== null && value > number,
      "<=": value => value !== null && value <= number, ">=": value => value !== null && value >= number,
    }[sign];
    return row => compare(table.columns[column][row]);
  });
}

/** All fields of a row as text in small letters; kept, since a filter looks at every row at every key. */
function rowText(row) {
  table.texts ||= new Array(table.rows);
  return table.texts[row] ??= table.columns.map(column => column[row] ?? "").join("\u0001").toLowerCase();
}

/** Order of two fields; empty ones last, whichever way. */
function compareFields(a, b, descending) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", {numeric: true});
  return descending ? -order : order;
}

async function chooseTable(id) {
  const script = document.getElementById(id);
  const columns = await unpack(id);
  if (document.getElementById("table-choice").value !== id) return; // another was chosen meanwhile
  Object.assign(table, {
    script, columns, names: JSON.parse(script.dataset.columns), numbers: JSON.parse(script.dataset.numbers),
    rows: Number(script.dataset.rows), sorted: -1, descending: false, page: 0, texts: null,
  });
  table.order = Array.from({length: table.rows}, (_, row) => row);
  showHead();
  showMeanings();
  filterTable();
}

function showHead() {
  const units = JSON.parse(table.script.dataset.units);
  const cells = table.names.map((name, column) => {
    const button = make("button", {type: "button", onclick: () => sortTable(column)}, name.replaceAll("_", " "));
    const unit = units[column] ? [make("span", {class: "unit"}, units[column])] : [];
    return make("th", {scope: "col", "aria-sort": "none", class: table.numbers[column] ? "number" : null}, button, ...unit);
  });
  document.querySelector("#table-shown thead").replaceChildren(make("tr", {}, ...cells));
}

function showMeanings() {
  const meanings = JSON.parse(table.script.dataset.meanings);
  const units = JSON.parse(table.script.dataset.units);
  const entries = table.names.flatMap((name, column) => meanings[column] ? [
    make("dt", {}, name), make("dd", {}, meanings[column] + (units[column] ? ` (unit: ${units[column]})` : "")),
  ] : []);
  document.getElementById("table-meanings").replaceChildren(...entries);
}

function sortTable(column) {
  table.descending = table.sorted === column && !table.descending;
  table.sorted = column;
  const values = table.columns[column];
  table.order.sort((a, b) => compareFields(values[a], values[b], table.descending) || a - b);
  document.querySelectorAll("#table-shown thead th").forEach((cell, index) => {
    cell.setAttribute("aria-sort", index !== column ? "none" : table.descending ? "descending" : "ascending");
  });
  filterTable();
}

function filterTable() {
  const wanted = conditions(document.getElementById("table-filter").value, table.names);
  table.shown = wanted.length ? table.order.filter(row => wanted.every(fits => fits(row))) : table.order;
  table.page = 0;
  showRows();
}

function fieldText(value, column) {
  if (value === null) return "";
  return typeof value === "number" && !IDS.test(table.names[column]) ? shortNumber(value) : String(value);
}

function showRows() {
  const pages = Math.max(1, Math.ceil(table.shown.length / PAGE_ROWS));
  const rows = table.shown.slice(table.page * PAGE_ROWS, (table.page + 1) * PAGE_ROWS).map(row => make("tr", {},
    ...table.columns.map((column, index) => make("td", {
      class: table.numbers[index] ? "number" : null, title: column[row] === null ? null : String(column[row]),
    }, fieldText(column[row], index)))));
  document.querySelector("#table-shown tbody").replaceChildren(...rows);
  const all = Number(table.script.dataset.all);
  const part = all > table.rows ? ` The page has the first ${plural(table.rows, "row")} of ${all.toLocaleString("en")}.` : "";
  document.getElementById("table-said").textContent =
    `${table.script.dataset.file}: ${table.shown.length.toLocaleString("en")} of ${plural(table.rows, "row")}.${part}`;
  document.getElementById("table-page").textContent = `Page ${(table.page + 1).toLocaleString("en")} of ${pages.toLocaleString("en")}`;
  document.getElementById("table-back").disabled = table.page === 0;
  document.getElementById("table-next").disabled = table.page >= pages - 1;
}

function turnPage(by) {
  table.page += by;
  showRows();
}

/** The rows that the filter leaves, in their order. */
function downloadTable() {
  const field = value => value === null ? "" : /[",\n\r]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value);
  const lines = table.shown.map(row => table.columns.map(column => field(column[row])).join(","));
  const name = table.script.dataset.file.replaceAll("/", "_");
  download(name, [table.names.map(field).join(","), ...lines, ""].join("\n"), "text/csv");
}

function startTables() {
  const choice = document.getElementById("table-choice");
  choice.addEventListener("change", () => {
    document.getElementById("table-filter").value = "";
    chooseTable(choice.value);
  });
  document.getElementById("table-filter").addEventListener("input", filterTable);
  document.getElementById("table-back").addEventListener("click", () => turnPage(-1));
  document.getElementById("table-next").addEventListener("click", () => turnPage(1));
  document.getElementById("table-download").addEventListener("click", downloadTable);
  chooseTable(choice.value);
}
