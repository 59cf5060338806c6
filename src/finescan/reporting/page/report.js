"use strict";
(() => {
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
      g.stroke();
      if (style.hatch === "dots") { g.beginPath(); g.arc(n / 2, n / 2, width, 0, 7); g.fill(); }
    }
    return c;
  }

  async function pixelsOf(image) {
    if (!image.complete) await new Promise((done) => { image.onload = image.onerror = done; });
    const c = canvas(image.naturalWidth, image.naturalHeight), g = c.getContext("2d", { willReadFrequently: true });
    g.drawImage(image, 0, 0);
    return g.getImageData(0, 0, c.width, c.height).data;
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
      const table = new Uint32Array(Uint8Array.from({ length: 1024 }, (_, k) => (k % 4 === 3 ? 255 : grey[k >> 2])).buffer); // whole RGBA pixels
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

  // ---------------------------------------------------------------- one scene: several panes, one view
  class Scene {
    constructor(figure, facts) {
      Object.assign(this, { figure, facts, panes: [], zoom: 1, curtain: 0.5, blinking: false, dragging: null });
      [this.height, this.width] = facts.extent;
      this.cy = this.height / 2;
      this.cx = this.width / 2;
      this.point = null;
      this.flagsOn = true;
      this.flagOpacity = 0.8;
      this.boxesOn = true;
    }
    async load() {
      const images = [...this.figure.querySelectorAll(".stills img")];
      this.layers = await Promise.all(images.map(async (image, i) => new Layer(this.facts.layers[i], await pixelsOf(image))));
      this.finest = this.layers.reduce((a, b) => (b.pixel[1] < a.pixel[1] ? b : a));
      this.pair = [0, Math.max(0, this.layers.findIndex((l) => l.name === "enhanced"))];
      if (this.pair[1] === 0) this.pair[1] = this.layers.length - 1;
      const image = this.figure.querySelector("img.flags");
      if (image) this.readFlags(await pixelsOf(image));
      this.build();
    }
    readFlags(rgba) {
      const [h, w] = this.facts.flags.shape;
      this.bits = Uint8Array.from({ length: w * h }, (_, i) => rgba[4 * i]);
      this.masks = page.flags.map((style) => {
        const c = canvas(w, h), g = c.getContext("2d"), out = g.createImageData(w, h);
        let any = false;
        for (let i = 0; i < this.bits.length; i++) if (this.bits[i] & style.bit) { out.data[4 * i + 3] = 255; any = true; }
        g.putImageData(out, 0, 0);
        return any ? { style, mask: c } : null;
      }).filter(Boolean);
      for (const row of this.figure.querySelectorAll("[data-flag]")) {
        const style = page.flags.find((f) => f.name === row.dataset.flag), c = canvas(64, 36), g = c.getContext("2d");
        g.fillStyle = "#777";
        g.fillRect(0, 0, 64, 36);
        g.fillStyle = g.createPattern(hatch(style, 2), "repeat");
        g.fillRect(0, 0, 64, 36);
        c.setAttribute("aria-hidden", "true");
        row.prepend(c);
      }
    }

    // ---- controls
    build() {
      this.stage = el("div", { class: "panes" });
      this.output = el("output", { class: "readout", "aria-label": "Grey levels and position" }, "Move over a picture to read its grey levels.");
      this.slider = el("input", { type: "range", class: "curtain", min: 0, max: 1000, value: 500, "aria-label": "Curtain between the two pictures",
        oninput: () => { this.curtain = this.slider.value / 1000; this.draw(); } });
      this.figure.querySelector(".stills").replaceWith(this.toolbar(), this.stage, this.slider, this.output);
      this.setMode(this.layers.length > 1 ? this.facts.mode : "side");
      new ResizeObserver(() => this.draw()).observe(this.stage);
    }
    toolbar() {
      const bar = el("div", { class: "toolbar", role: "group", "aria-label": `Controls of ${this.facts.title}` });
      const button = (text, label, act) => el("button", { type: "button", "aria-label": label, title: label, onclick: act }, text);
      if (this.layers.length > 1) {
        this.modeButtons = { side: button("Side by side", "Show all pictures beside each other", () => this.setMode("side")),
          swipe: button("Swipe", "Show two pictures with a curtain", () => this.setMode("swipe")) };
        bar.append(el("fieldset", { "aria-label": "View" }, ...Object.values(this.modeButtons)));
        this.selects = [0, 1].map((side) => {
          const s = el("select", { onchange: () => { this.pair[side] = +s.value; this.setMode("swipe"); } },
            ...this.layers.map((l, i) => el("option", { value: i, selected: i === this.pair[side] }, l.name)));
          return s;
        });
        this.chooser = el("fieldset", { "aria-label": "Pictures compared" }, el("label", {}, "left ", this.selects[0]), el("label", {}, "right ", this.selects[1]));
        bar.append(this.chooser);
      }
      bar.append(el("fieldset", { "aria-label": "Zoom" }, button("−", "Zoom out", () => this.zoomBy(1 / ZOOM_STEP)), button("+", "Zoom in", () => this.zoomBy(ZOOM_STEP)),
        button("Fit", "Show the whole field", () => this.fit()), button("1:1", "One fine pixel per screen pixel", () => this.native())));
      if (this.layers.length > 1) {
        const hold = (on) => () => this.blink(on);
        const key = (on) => (e) => { if (e.key === " " || e.key === "Enter") { e.preventDefault(); this.blink(on); } };
        bar.append(el("button", { type: "button", "aria-label": "Hold to blink between the pictures", onpointerdown: hold(true), onpointerup: hold(false), onpointerleave: hold(false),
          onkeydown: key(true), onkeyup: key(false), onblur: hold(false) }, "Blink (hold)"));
      }
      if (this.masks) {
        this.flagBox = el("input", { type: "checkbox", checked: true, onchange: (e) => { this.flagsOn = e.target.checked; this.draw(); } });
        bar.append(el("label", {}, this.flagBox, "flags"), el("label", {}, "opacity", el("input", { type: "range", min: 0, max: 100, value: 80,
          "aria-label": "Opacity of the flags", oninput: (e) => { this.flagOpacity = e.target.value / 100; this.draw(); } })));
      }
      if (this.facts.boxes.length) bar.append(el("label", {}, el("input", { type: "checkbox", checked: true, onchange: (e) => { this.boxesOn = e.target.checked; this.draw(); } }), "boxes"));
      const range = (label, value) => el("input", { type: "range", min: 0, max: 100, value, "aria-label": label, oninput: () => this.contrast() });
      this.black = range("Grey level shown black", 0);
      this.white = range("Grey level shown white", 100);
      bar.append(el("label", {}, "black", this.black), el("label", {}, "white", this.white));
      return bar;
    }
    contrast() {
      const a = this.black.value / 100, b = Math.max(this.white.value / 100, a + 0.02);
      for (const l of this.layers) l.contrast(a, b);
      this.draw();
    }
    setMode(mode) {
      this.mode = mode;
      for (const [k, b] of Object.entries(this.modeButtons || {})) b.setAttribute("aria-pressed", k === mode);
      if (this.chooser) this.chooser.hidden = mode !== "swipe";
      if (this.chooser) this.chooser.style.display = mode === "swipe" ? "" : "none";
      this.slider.hidden = mode !== "swipe";
      this.stage.className = `panes ${mode}`;
      const groups = mode === "swipe" ? [this.pair] : this.layers.map((_, i) => [i]);
      this.panes = groups.map((shown) => this.pane(shown));
      this.stage.replaceChildren(...this.panes.map((p) => p.box));
      this.draw();
    }
    pane(shown) {
      const names = shown.map((i) => this.layers[i].name);
      const c = el("canvas", { tabindex: 0, role: "application", "aria-roledescription": "zoomable picture",
        "aria-label": `${this.facts.title}: ${names.join(" left, ")}${names.length > 1 ? " right" : ""}. Arrow keys move, plus and minus zoom.` });
      const label = el("p", { class: "names" }, ...names.map((n) => el("span", {}, n)));
      const pane = { canvas: c, shown, label, box: el("div", { class: "pane" }, label, c) };
      c.addEventListener("keydown", (e) => this.key(e));
      c.addEventListener("keyup", (e) => { if (e.key.toLowerCase() === "b") this.blink(false); });
      c.addEventListener("blur", () => this.blink(false));
      c.addEventListener("wheel", (e) => {
        if (!e.ctrlKey && !this.figure.contains(document.activeElement)) return;
        e.preventDefault();
        this.zoomBy(Math.exp(-clamp(e.deltaY, -200, 200) * 0.002), this.position(pane, e));
      }, { passive: false });
      c.addEventListener("pointerdown", (e) => {
        c.focus({ preventScroll: true });
        c.setPointerCapture(e.pointerId);
        const near = this.mode === "swipe" && Math.abs(e.offsetX - this.curtain * c.clientWidth) < 10;
        this.dragging = { near, x: e.clientX, y: e.clientY };
      });
      c.addEventListener("pointermove", (e) => this.move(pane, e));
      c.addEventListener("pointerup", () => { this.dragging = null; });
      c.addEventListener("pointercancel", () => { this.dragging = null; });
      c.addEventListener("pointerleave", () => { this.point = null; this.draw(); });
      return pane;
    }
    move(pane, e) {
      if (this.dragging && this.dragging.near) {
        this.setCurtain(e.offsetX / pane.canvas.clientWidth);
      } else if (this.dragging) {
        const s = this.scale(pane);
        this.pan((this.dragging.y - e.clientY) / s, (this.dragging.x - e.clientX) / s);
        Object.assign(this.dragging, { x: e.clientX, y: e.clientY });
      }
      this.read(this.position(pane, e));
    }
    key(e) {
      const step = MOVE / this.scale(this.panes[0]);
      const ways = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      const acts = { "+": () => this.zoomBy(ZOOM_STEP), "=": () => this.zoomBy(ZOOM_STEP), "-": () => this.zoomBy(1 / ZOOM_STEP), 0: () => this.fit(), 1: () => this.native(),
        b: () => this.blink(true), f: () => this.flagBox && this.flagBox.click(), "[": () => this.setCurtain(this.curtain - 0.02), "]": () => this.setCurtain(this.curtain + 0.02) };
      if (e.altKey || e.ctrlKey || e.metaKey) return;
      const way = ways[e.key], act = acts[e.key.toLowerCase()];
      if (!way && !act) return;
      e.preventDefault();
      if (way && e.shiftKey) {
        const [y, x] = this.point || [this.cy, this.cx], px = this.finest.pixel;
        this.read([clamp(y + way[0] * px[0], 0, this.height), clamp(x + way[1] * px[1], 0, this.width)]);
      } else if (way) this.pan(way[0] * step, way[1] * step);
      else act();
    }

    // ---- the view
    scale(pane) { // screen pixels (CSS) per nm
      return this.zoom * Math.min(pane.canvas.clientWidth / this.width, pane.canvas.clientHeight / this.height) || 1e-9;
    }
    position(pane, e) {
      const s = this.scale(pane), c = pane.canvas;
      return [this.cy + (e.offsetY - c.clientHeight / 2) / s, this.cx + (e.offsetX - c.clientWidth / 2) / s];
    }
    zoomBy(factor, about) {
      const z = clamp(this.zoom * factor, Math.min(0.5, this.nativeZoom()), 4 * Math.max(this.finest.w, this.finest.h, 16)), f = z / this.zoom;
      const [y, x] = about || [this.cy, this.cx];
      this.zoom = z;
      this.cy = y + (this.cy - y) / f;
      this.cx = x + (this.cx - x) / f;
      this.pan(0, 0);
    }
    pan(dy, dx) {
      this.cy = clamp(this.cy + dy, 0, this.height);
      this.cx = clamp(this.cx + dx, 0, this.width);
      this.draw();
    }
    fit() { this.zoom = 1; this.cy = this.height / 2; this.cx = this.width / 2; this.draw(); }
    nativeZoom() { return this.zoom / (this.scale(this.panes[0]) * this.finest.pixel[1] * (window.devicePixelRatio || 1)); }
    native() { this.zoomBy(this.nativeZoom() / this.zoom); }
    setCurtain(v) { this.curtain = clamp(v, 0, 1); this.slider.value = Math.round(1000 * this.curtain); this.draw(); }
    blink(on) { if (this.blinking !== on) { this.blinking = on; this.draw(); } }
    read(point) {
      this.point = point;
      const [y, x] = point, at = this.finest.index(y, x), o = this.facts.origin || [0, 0];
      const place = at ? `pixel y ${at[0]}, x ${at[1]}` : "outside";
      let text = `${this.layers.map((l) => l.text(y, x)).join("  ")}  |  ${place}  |  y ${lengthText(y + o[0])}, x ${lengthText(x + o[1])}`;
      const names = this.flagsAt(y, x);
      if (names.length) text += `  |  ${names.join(", ")}`;
      this.output.textContent = text;
      this.draw();
    }
    flagsAt(y, x) {
      if (!this.bits) return [];
      const { pixel, offset, shape } = this.facts.flags;
      const row = Math.floor((y - offset[0]) / pixel[0]), col = Math.floor((x - offset[1]) / pixel[1]);
      if (row < 0 || col < 0 || row >= shape[0] || col >= shape[1]) return [];
      return page.flags.filter((f) => this.bits[row * shape[1] + col] & f.bit).map((f) => f.name.replace("_", " "));
    }

    // ---- drawing
    draw() { for (const p of this.panes) this.drawPane(p); }
    drawPane(pane) {
      const c = pane.canvas, dpr = window.devicePixelRatio || 1;
      const widest = `${Math.round(Math.max(240, 0.78 * window.innerHeight) * (this.width / this.height))}px`;
      pane.box.style.maxWidth = this.slider.style.maxWidth = widest; // the whole field fits on the screen
      const w = pane.box.clientWidth, h = Math.max(1, Math.round(w * (this.height / this.width)));
      if (!w) return;
      if (c.style.height !== `${h}px`) c.style.height = `${h}px`;
      if (c.width !== Math.round(w * dpr) || c.height !== Math.round(h * dpr)) { c.width = Math.round(w * dpr); c.height = Math.round(h * dpr); }
      const g = c.getContext("2d"), s = this.scale(pane) * dpr;
      const view = { g, w: c.width, h: c.height, s, dpr, x0: c.width / 2 - this.cx * s, y0: c.height / 2 - this.cy * s };
      g.setTransform(1, 0, 0, 1, 0, 0);
      g.clearRect(0, 0, view.w, view.h);
      const last = pane.shown[pane.shown.length - 1];
      let [left, right] = [pane.shown[0], last];
      if (this.blinking) [left, right] = pane.shown.length > 1 ? [right, left] : Array(2).fill((left + this.layers.length - 1) % this.layers.length);
      const names = pane.shown.length > 1 ? [left, right] : [left];
      names.forEach((i, k) => { if (pane.label.children[k].textContent !== this.layers[i].name) pane.label.children[k].textContent = this.layers[i].name; });
      if (pane.shown.length > 1) {
        const x = Math.round(this.curtain * view.w);
        this.drawLayer(view, this.layers[left], 0, x);
        this.drawLayer(view, this.layers[right], x, view.w);
      } else this.drawLayer(view, this.layers[left], 0, view.w);
      if (this.masks && this.flagsOn) this.drawFlags(view, pane);
      if (this.boxesOn) this.drawBoxes(view);
      if (pane.shown.length > 1) this.drawCurtain(view);
      this.drawPoint(view);
      this.drawScaleBar(view);
    }
    drawLayer({ g, h, s, x0, y0 }, layer, from, to) {
      g.save();
      g.beginPath();
      g.rect(from, 0, to - from, h);
      g.clip();
      g.imageSmoothingEnabled = layer.pixel[1] * s < SHRINK; // averaged when shrunk, never smoothed when enlarged
      g.imageSmoothingQuality = "high";
      g.drawImage(layer.picture, x0 + layer.offset[1] * s, y0 + layer.offset[0] * s, layer.w * layer.pixel[1] * s, layer.h * layer.pixel[0] * s);
      g.restore();
    }
    drawFlags(view, pane) {
      const name = [view.w, view.h, view.s, view.x0, view.y0].join();
      if (!pane.flags || pane.flags.name !== name) pane.flags = { name, sheet: this.flagSheet(view) };
      view.g.globalAlpha = this.flagOpacity;
      view.g.drawImage(pane.flags.sheet, 0, 0);
      view.g.globalAlpha = 1;
    }
    flagSheet({ w, h, s, dpr, x0, y0 }) {
      const { pixel, offset, shape } = this.facts.flags;
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
    drawBoxes({ g, w, s, dpr, x0, y0 }) {
      g.font = `600 ${12 * dpr}px system-ui, "DejaVu Sans", sans-serif`;
      for (const b of this.facts.boxes) {
        const [colour, dash] = BOX_STYLES[b.kind] || BOX_STYLES.crop, r = [x0 + b.x0 * s, y0 + b.y0 * s, (b.x1 - b.x0) * s, (b.y1 - b.y0) * s];
        for (const [style, width, d] of [["rgba(0,0,0,.75)", 4, []], [colour, 2, dash]]) {
          g.strokeStyle = style;
          g.lineWidth = width * dpr;
          g.setLineDash(d.map((v) => v * dpr));
          g.strokeRect(...r);
        }
        g.setLineDash([]);
        const x = clamp(r[0] + 4 * dpr, 2 * dpr, Math.max(2 * dpr, w - g.measureText(b.label).width - 4 * dpr));
        this.haloText(g, b.label, x, r[1] + 15 * dpr, colour, dpr);
      }
    }
    haloText(g, text, x, y, colour, dpr) {
      g.strokeStyle = "rgba(0,0,0,.8)";
      g.lineWidth = 3.5 * dpr;
      g.lineJoin = "round";
      g.strokeText(text, x, y);
      g.fillStyle = colour;
      g.fillText(text, x, y);
    }
    drawCurtain({ g, w, h, dpr }) {
      const x = Math.round(this.curtain * w);
      g.fillStyle = "rgba(0,0,0,.6)";
      g.fillRect(x - 2 * dpr, 0, 4 * dpr, h);
      g.fillStyle = "#fff";
      g.fillRect(x - dpr, 0, 2 * dpr, h);
    }
    drawPoint({ g, s, dpr, x0, y0 }) {
      if (!this.point) return;
      const x = x0 + this.point[1] * s, y = y0 + this.point[0] * s, r = 9 * dpr, gap = 3 * dpr;
      g.beginPath();
      for (const [ux, uy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) { g.moveTo(x + ux * gap, y + uy * gap); g.lineTo(x + ux * r, y + uy * r); }
      for (const [style, width] of [["rgba(0,0,0,.8)", 3], ["#fff", 1.2]]) { g.strokeStyle = style; g.lineWidth = width * dpr; g.stroke(); }
    }
    drawScaleBar({ g, w, h, s, dpr }) {
      const nm = niceLength((0.28 * w) / s), length = nm * s, x = 12 * dpr, y = h - 14 * dpr;
      g.fillStyle = "rgba(0,0,0,.62)";
      g.fillRect(x - 6 * dpr, y - 20 * dpr, Math.max(length, 44 * dpr) + 12 * dpr, 28 * dpr);
      g.fillStyle = "#fff";
      g.fillRect(x, y, length, 3 * dpr);
      g.font = `600 ${12 * dpr}px system-ui, "DejaVu Sans", sans-serif`;
      g.fillText(lengthText(nm), x, y - 5 * dpr);
    }
  }

  async function start() {
    const scenes = page.scenes.map((facts, k) => new Scene(document.getElementById(`scene-${k}`), facts));
    await Promise.all(scenes.map((s) => s.load()));
    window.addEventListener("beforeprint", () => scenes.forEach((s) => s.draw()));
    return scenes;
  }
  window.finescan = { ready: start(), niceLength, lengthText };
})();
