// ---------------------------------------------------------------- a map in colours over the pictures of a scene
class Overlay extends Layer { // shows what is at least its threshold
  contrast() {
    this.opacity ??= 0.6;
    this.from ??= 0;
    const colour = page.colours[this.colours], table = new Uint32Array(Uint8Array.from({ length: 1024 }, (_, k) => (k % 4 === 3 ? 255 : colour[k >> 2][k % 4])).buffer);
    const g = this.picture.getContext("2d"), out = g.createImageData(this.w, this.h), pixels = new Uint32Array(out.data.buffer);
    for (let i = 0; i < pixels.length; i++) pixels[i] = this.missing[i] || this.levels[i] < this.from ? 0 : table[this.levels[i]];
    g.putImageData(out, 0, 0);
  }
  showFrom(share) {
    this.from = 255 * share;
    this.contrast();
  }
  least() { return this.coding[0] + this.coding[1] * this.from; }
  draw(view) {
    view.g.globalAlpha = this.opacity;
    drawLayer(view, this, 0, view.w);
    view.g.globalAlpha = 1;
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
    if (image) {
      this.flags = new FlagPlane(this.facts.flags, await pixelsOf(image));
      showLegend(this.figure);
    }
    const over = this.figure.querySelector("img.overlay");
    if (over) this.overlay = new Overlay(this.facts.overlay, await pixelsOf(over));
    this.build();
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
    if (this.flags) {
      this.flagBox = el("input", { type: "checkbox", checked: true, onchange: (e) => { this.flagsOn = e.target.checked; this.draw(); } });
      bar.append(el("label", {}, this.flagBox, "flags"), el("label", {}, "opacity", el("input", { type: "range", min: 0, max: 100, value: 80,
        "aria-label": "Opacity of the flags", oninput: (e) => { this.flagOpacity = e.target.value / 100; this.draw(); } })));
    }
    if (this.overlay) bar.append(this.overlayTools());
    if (this.facts.boxes.length) bar.append(el("label", {}, el("input", { type: "checkbox", checked: true, onchange: (e) => { this.boxesOn = e.target.checked; this.draw(); } }), "boxes"));
    const range = (label, value) => el("input", { type: "range", min: 0, max: 100, value, "aria-label": label, oninput: () => this.contrast() });
    this.black = range("Grey level shown black", 0);
    this.white = range("Grey level shown white", 100);
    bar.append(el("label", {}, "black", this.black), el("label", {}, "white", this.white));
    return bar;
  }
  overlayTools() {
    const o = this.overlay, least = el("output", {}), tell = () => { least.textContent = `from ${greyText(o.least(), o.coding[1])}`; };
    const range = (label, value, act) => el("input", { type: "range", min: 0, max: 100, value, "aria-label": label, oninput: (e) => { act(e.target.value / 100); tell(); this.draw(); } });
    this.overlayBox = el("input", { type: "checkbox", onchange: (e) => { o.shown = e.target.checked; this.draw(); } });
    this.overlayLeast = range(`Least ${o.name} shown`, 0, (v) => o.showFrom(v));
    this.overlayOpacity = range(`Opacity of ${o.name}`, 100 * o.opacity, (v) => { o.opacity = v; });
    tell();
    return el("fieldset", { "aria-label": o.name }, el("label", {}, this.overlayBox, o.name), el("label", {}, "opacity", this.overlayOpacity), el("label", {}, this.overlayLeast, least));
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
  goTo([y0, x0, y1, x1], label) { // a place, with as much again around it
    this.zoom = 1;
    [this.cy, this.cx, this.gone] = [(y0 + y1) / 2, (x0 + x1) / 2, { label, kind: "crop", y0, x0, y1, x1 }];
    this.zoomBy(Math.max(1, Math.min(this.height / (2.5 * (y1 - y0)), this.width / (2.5 * (x1 - x0)))));
    this.figure.scrollIntoView({ block: "start" });
    this.panes[0].canvas.focus({ preventScroll: true });
  }
  setCurtain(v) { this.curtain = clamp(v, 0, 1); this.slider.value = Math.round(1000 * this.curtain); this.draw(); }
  blink(on) { if (this.blinking !== on) { this.blinking = on; this.draw(); } }
  read(point) {
    this.point = point;
    const [y, x] = point, at = this.finest.index(y, x), o = this.facts.origin || [0, 0];
    const place = at ? `pixel y ${at[0]}, x ${at[1]}` : "outside";
    let text = `${this.layers.map((l) => l.text(y, x)).join("  ")}  |  ${place}  |  y ${lengthText(y + o[0])}, x ${lengthText(x + o[1])}`;
    const names = this.flags ? this.flags.names(y, x) : [];
    if (this.overlay) text += `  |  ${this.overlay.text(y, x)}`;
    if (names.length) text += `  |  ${names.join(", ")}`;
    this.output.textContent = text;
    this.draw();
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
      drawLayer(view, this.layers[left], 0, x);
      drawLayer(view, this.layers[right], x, view.w);
    } else drawLayer(view, this.layers[left], 0, view.w);
    if (this.overlay && this.overlay.shown) this.overlay.draw(view);
    if (this.flags && this.flagsOn) this.drawFlags(view, pane);
    if (this.boxesOn) for (const b of this.facts.boxes) drawBox(view, b);
    if (this.gone) drawBox(view, this.gone);
    if (pane.shown.length > 1) drawCurtain(view, this.curtain);
    if (this.point) drawPoint(view, this.point);
    drawScaleBar(view);
  }
  drawFlags(view, pane) {
    const name = [view.w, view.h, view.s, view.x0, view.y0].join();
    if (!pane.flags || pane.flags.name !== name) pane.flags = { name, sheet: this.flags.sheet(view) };
    view.g.globalAlpha = this.flagOpacity;
    view.g.drawImage(pane.flags.sheet, 0, 0);
    view.g.globalAlpha = 1;
  }
}
KINDS.picture = Scene;
