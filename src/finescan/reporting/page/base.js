// What all scenes share: elements, lengths, layers, flags, and drawing on a view (canvas, scale, shift).
const page = JSON.parse(document.getElementById("scenes").textContent);
const SHRINK = 0.7071, ZOOM_STEP = 1.25, MOVE = 40;
const BOX_STYLES = { fine: ["#fee838", []], "held-out": ["#4f9dff", [6, 4]], train: ["#f2a33a", [2, 3]], crop: ["#ffffff", [10, 3, 2, 3]] };

function el(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) {
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else if (v === true) e.setAttribute(k, "");
    else if (v !== false && v !== null) e.setAttribute(k, v);
  }
  e.append(...children);
  return e;
}
const canvas = (w, h) => Object.assign(document.createElement("canvas"), { width: Math.max(1, w), height: Math.max(1, h) });
const clamp = (v, a, b) => Math.min(b, Math.max(a, v));

function niceLength(nm) {
  const power = 10 ** Math.floor(Math.log10(nm));
  return [5, 2, 1].map((m) => m * power).find((v) => v <= nm * 1.000001);
}
function lengthText(nm, digits) {
  const size = Math.abs(nm);
  const [unit, name] = size >= 1e6 ? [1e6, "mm"] : size >= 1e3 ? [1e3, "µm"] : size >= 0.1 || size === 0 ? [1, "nm"] : [1e-3, "pm"];
  return `${digits === undefined ? +(nm / unit).toPrecision(3) : (nm / unit).toFixed(digits)} ${name}`;
}
function greyText(v, step) {
  return v.toFixed(step >= 1 ? 0 : clamp(Math.ceil(-Math.log10(step)), 0, 8));
}

// ---------------------------------------------------------------- flags: colour and hatch
function hatch(style, dpr) {
  const n = 8, c = canvas(n * dpr, n * dpr), g = c.getContext("2d");
  g.scale(dpr, dpr);
  g.globalAlpha = 0.22;
  g.fillStyle = style.colour;
  g.fillRect(0, 0, n, n);
  g.globalAlpha = 1;
  for (const [colour, width] of [["rgba(0,0,0,.65)", 2.6], [style.colour, 1.3]]) {
    g.strokeStyle = g.fillStyle = colour;
    g.lineWidth = width;
    g.beginPath();
    const line = (a, b, c2, d) => { g.moveTo(a, b); g.lineTo(c2, d); };
    if (style.hatch === "rising") { line(-2, n + 2, n + 2, -2); line(-2, 2, 2, -2); line(n - 2, n + 2, n + 2, n - 2); }
    if (style.hatch === "falling") { line(-2, -2, n + 2, n + 2); line(n - 2, -2, n + 2, 2); line(-2, n - 2, 2, n + 2); }
    if (style.hatch === "level" || style.hatch === "cross") line(0, n / 2, n, n / 2);
    if (style.hatch === "upright" || style.hatch === "cross") line(n / 2, 0, n / 2, n);
    if (style.hatch === "boxes") g.rect(n / 2 - 2, n / 2 - 2, 4, 4);
    if (style.hatch === "rings") { g.moveTo(n / 2 + 2, n / 2); g.arc(n / 2, n / 2, 2, 0, 7); }
    g.stroke();
    if (style.hatch === "dots") { g.beginPath(); g.arc(n / 2, n / 2, width, 0, 7); g.fill(); }
  }
  return c;
}

async function loaded(image) {
  if (!image.complete) await new Promise((done) => { image.onload = image.onerror = done; });
}
function rgbaOf(image) {
  const c = canvas(image.naturalWidth, image.naturalHeight), g = c.getContext("2d", { willReadFrequently: true });
  g.drawImage(image, 0, 0);
  return g.getImageData(0, 0, c.width, c.height).data;
}
async function pixelsOf(image) {
  await loaded(image);
  return rgbaOf(image);
}

// ---------------------------------------------------------------- one layer: levels, and levels as shown
class Layer {
  constructor(facts, rgba) {
    Object.assign(this, facts);
    [this.h, this.w] = facts.shape;
    this.levels = new Uint8Array(this.w * this.h);
    this.missing = new Uint8Array(this.w * this.h);
    for (let i = 0; i < this.levels.length; i++) {
      this.levels[i] = rgba[4 * i];
      this.missing[i] = rgba[4 * i + 3] === 0 ? 1 : 0;
    }
    this.picture = canvas(this.w, this.h);
    this.contrast(0, 1);
  }
  contrast(black, white) {
    const [low, high] = this.window, [offset, step] = this.coding;
    const a = low + black * (high - low), b = low + white * (high - low);
    const grey = Uint8ClampedArray.from({ length: 256 }, (_, k) => ((offset + step * k - a) / (b - a)) * 255);
    const colour = (page.colours || {})[this.colours]; // 256 colours, or grey
    const table = new Uint32Array(Uint8Array.from({ length: 1024 }, (_, k) => (k % 4 === 3 ? 255 : colour ? colour[grey[k >> 2]][k % 4] : grey[k >> 2])).buffer); // whole RGBA pixels
    const g = this.picture.getContext("2d"), out = g.createImageData(this.w, this.h), pixels = new Uint32Array(out.data.buffer);
    for (let i = 0; i < pixels.length; i++) pixels[i] = this.missing[i] ? 0 : table[this.levels[i]];
    g.putImageData(out, 0, 0);
  }
  index(y, x) {
    const row = Math.floor((y - this.offset[0]) / this.pixel[0]), col = Math.floor((x - this.offset[1]) / this.pixel[1]);
    return row >= 0 && col >= 0 && row < this.h && col < this.w ? [row, col] : null;
  }
  value(y, x) {
    const at = this.index(y, x);
    if (!at || this.missing[at[0] * this.w + at[1]]) return null;
    return this.coding[0] + this.coding[1] * this.levels[at[0] * this.w + at[1]];
  }
  text(y, x) {
    const v = this.value(y, x);
    return `${this.name} ${v === null ? "–" : (this.exact ? "" : "≈") + greyText(v, this.coding[1])}`;
  }
}

// ---------------------------------------------------------------- flags of one picture
class FlagPlane {
  constructor(facts, rgba) {
    Object.assign(this, facts); // shape, pixel, offset
    const [h, w] = this.shape;
    this.bits = Uint8Array.from({ length: w * h }, (_, i) => rgba[4 * i]);
    this.masks = page.flags.map((style) => {
      const c = canvas(w, h), g = c.getContext("2d"), out = g.createImageData(w, h);
      let any = false;
      for (let i = 0; i < this.bits.length; i++) if (this.bits[i] & style.bit) { out.data[4 * i + 3] = 255; any = true; }
      g.putImageData(out, 0, 0);
      return any ? { style, mask: c } : null;
    }).filter(Boolean);
  }
  names(y, x) {
    const { pixel, offset, shape } = this;
    const row = Math.floor((y - offset[0]) / pixel[0]), col = Math.floor((x - offset[1]) / pixel[1]);
    if (row < 0 || col < 0 || row >= shape[0] || col >= shape[1]) return [];
    return page.flags.filter((f) => this.bits[row * shape[1] + col] & f.bit).map((f) => f.name.replace("_", " "));
  }
  sheet({ w, h, s, dpr, x0, y0 }) {
    const { pixel, offset, shape } = this;
    const all = canvas(w, h), one = canvas(w, h), a = all.getContext("2d"), f = one.getContext("2d");
    f.imageSmoothingEnabled = false;
    for (const { style, mask } of this.masks) {
      f.globalCompositeOperation = "source-over";
      f.clearRect(0, 0, w, h);
      f.fillStyle = f.createPattern(hatch(style, dpr), "repeat");
      f.fillRect(0, 0, w, h);
      f.globalCompositeOperation = "destination-in";
      f.drawImage(mask, x0 + offset[1] * s, y0 + offset[0] * s, shape[1] * pixel[1] * s, shape[0] * pixel[0] * s);
      a.drawImage(one, 0, 0);
    }
    return all;
  }
}
function showLegend(figure) {
  for (const row of figure.querySelectorAll("[data-flag]")) {
    const style = page.flags.find((f) => f.name === row.dataset.flag), c = canvas(64, 36), g = c.getContext("2d");
    g.fillStyle = "#777";
    g.fillRect(0, 0, 64, 36);
    g.fillStyle = g.createPattern(hatch(style, 2), "repeat");
    g.fillRect(0, 0, 64, 36);
    c.setAttribute("aria-hidden", "true");
    row.prepend(c);
  }
}

// ---------------------------------------------------------------- drawing on a view
const FONT = (dpr) => `600 ${12 * dpr}px system-ui, "DejaVu Sans", sans-serif`;
function drawLayer({ g, h, s, x0, y0 }, layer, from, to) {
  g.save();
  g.beginPath();
  g.rect(from, 0, to - from, h);
  g.clip();
  g.imageSmoothingEnabled = layer.pixel[1] * s < SHRINK; // averaged when shrunk, never smoothed when enlarged
  g.imageSmoothingQuality = "high";
  g.drawImage(layer.picture, x0 + layer.offset[1] * s, y0 + layer.offset[0] * s, layer.w * layer.pixel[1] * s, layer.h * layer.pixel[0] * s);
  g.restore();
}
function drawBox({ g, w, s, dpr, x0, y0 }, b) {
  const [colour, dash] = BOX_STYLES[b.kind] || BOX_STYLES.crop, r = [x0 + b.x0 * s, y0 + b.y0 * s, (b.x1 - b.x0) * s, (b.y1 - b.y0) * s];
  g.font = FONT(dpr);
  for (const [style, width, d] of [["rgba(0,0,0,.75)", 4, []], [colour, 2, dash]]) {
    g.strokeStyle = style;
    g.lineWidth = width * dpr;
    g.setLineDash(d.map((v) => v * dpr));
    g.strokeRect(...r);
  }
  g.setLineDash([]);
  if (!b.label) return;
  const x = clamp(r[0] + 4 * dpr, 2 * dpr, Math.max(2 * dpr, w - g.measureText(b.label).width - 4 * dpr));
  haloText(g, b.label, x, b.low ? r[1] + r[3] - 6 * dpr : r[1] + 15 * dpr, colour, dpr);
}
function haloText(g, text, x, y, colour, dpr) {
  g.strokeStyle = "rgba(0,0,0,.8)";
  g.lineWidth = 3.5 * dpr;
  g.lineJoin = "round";
  g.strokeText(text, x, y);
  g.fillStyle = colour;
  g.fillText(text, x, y);
}
function drawCurtain({ g, w, h, dpr }, share) {
  const x = Math.round(share * w);
  g.fillStyle = "rgba(0,0,0,.6)";
  g.fillRect(x - 2 * dpr, 0, 4 * dpr, h);
  g.fillStyle = "#fff";
  g.fillRect(x - dpr, 0, 2 * dpr, h);
}
function drawPoint({ g, s, dpr, x0, y0 }, point) {
  const x = x0 + point[1] * s, y = y0 + point[0] * s, r = 9 * dpr, gap = 3 * dpr;
  g.beginPath();
  for (const [ux, uy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) { g.moveTo(x + ux * gap, y + uy * gap); g.lineTo(x + ux * r, y + uy * r); }
  for (const [style, width] of [["rgba(0,0,0,.8)", 3], ["#fff", 1.2]]) { g.strokeStyle = style; g.lineWidth = width * dpr; g.stroke(); }
}
function drawScaleBar({ g, w, h, s, dpr }) {
  const nm = niceLength((0.28 * w) / s), length = nm * s, x = 12 * dpr, y = h - 14 * dpr;
  g.fillStyle = "rgba(0,0,0,.62)";
  g.fillRect(x - 6 * dpr, y - 20 * dpr, Math.max(length, 44 * dpr) + 12 * dpr, 28 * dpr);
  g.fillStyle = "#fff";
  g.fillRect(x, y, length, 3 * dpr);
  g.font = FONT(dpr);
  g.fillText(lengthText(nm), x, y - 5 * dpr);
}
const KINDS = {}; // how a scene is shown, by its kind
