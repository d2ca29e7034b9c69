// What all parts of the page use: data unpacked, elements made, files offered for download.

/** Bytes of base64 text. */
function fromBase64(text) {
  return Uint8Array.from(atob(text), character => character.charCodeAt(0));
}

/** The text that packing.pack put into the element with this id. */
async function unpackText(id) {
  const packed = fromBase64(document.getElementById(id).textContent.trim());
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

/** The value that packing.pack put there. */
async function unpack(id) {
  return JSON.parse(await unpackText(id));
}

const ARRAYS = {Uint8Array, Uint16Array, Int16Array, Int32Array, Float32Array};

/** A typed array with its `shape`, from what packing.array made. */
function unpackArray(packed) {
  const values = new ARRAYS[packed.type](fromBase64(packed.bytes).buffer);
  values.shape = packed.shape;
  return values;
}

/** An element with attributes and children, text or elements; attributes that are null are left out. */
function make(tag, attributes = {}, ...children) {
  const made = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Offer some text as a file. */
function download(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], {type}));
  make("a", {href: address, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

/** A whole number with separators, another with six digits. */
function shortNumber(value) {
  if (Number.isInteger(value)) return Math.abs(value) < 1e15 ? value.toLocaleString("en") : String(value);
  return String(Number(value.toPrecision(6)));
}

/** `1 hole`, `2 holes` */
function plural(number, word) {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}

const PALETTE = JSON.parse(document.getElementById("palette").textContent);
