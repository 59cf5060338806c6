// ---------------------------------------------------------------- one volume: an XY slice, the XZ and YZ cuts, a slider along z
// Positions are nm from the scene's edge, z, y, x. A picture's rows and columns run along the two axes of its cut.
const CUTS = { xy: [1, 2], xz: [0, 2], yz: [0, 1] };
const LINE = { xz: "#4fd0ff", yz: "#ff9ad5", xy: "#fee838" }; // of the place where another cut runs
const KEPT = 24; // decoded slices kept per layer

// One volume's pictures: decoded when first shown.
class Stack {
  constructor(scene, facts) {
    Object.assign(this, { scene, facts, name: facts.name, made: new Map() });
  }
  place(cut, stop) {
    const f = this.facts[cut];
    return f && f.pictures[cut === "xy" ? stop : 0];
  }
  picture(cut, stop) { // a Layer, or null where the volume has none
    const numbers = this.place(cut, stop);
    if (!numbers) return null;
    const name = `${cut} ${numbers.join()}`;
    let layer = this.made.get(name);
    if (layer) this.made.delete(name);
    else layer = this.decode(cut, numbers);
    this.made.set(name, layer); // newest last
    for (const old of this.made.keys()) if (this.made.size > KEPT && old.startsWith("xy")) { this.made.delete(old); break; }
    if (layer.contrasted !== this.scene.contrastName) {
      layer.contrasted = this.scene.contrastName;
      layer.contrast(...this.scene.range);
    }
    return layer;
  }
  decode(cut, [number, mask]) {
    const f = this.facts[cut], image = this.scene.pictures[number], rgba = rgbaOf(image);
    if (mask !== null) { const seen = rgbaOf(this.scene.pictures[mask]); for (let i = 0; i < seen.length; i += 4) rgba[i + 3] = seen[i]; }
    const { name, window: shown, coding, exact, colours } = this.facts;
    return new Layer({ name, window: shown, coding, exact, colours, pixel: f.pixel, offset: f.offset, shape: [image.naturalHeight, image.naturalWidth] }, rgba);
  }
}

class Volume {
  constructor(figure, facts) {
    Object.assign(this, { figure, facts, panes: [], zoom: 1, curtain: 0.5, blinking: false, dragging: null, point: null });
    Object.assign(this, { flagsOn: true, flagOpacity: 0.8, boxesOn: true, linesOn: true, range: [0, 1], contrastName: "0 1", shown: 0 });
    this.centre = facts.extent.map((v) => v / 2);
    this.stop = facts.first;
    this.flagPlanes = new Map();
  }
  async load() {
    this.pictures = [];
    for (const image of this.figure.querySelectorAll("[data-picture]")) this.pictures[+image.dataset.picture] = image;
    await Promise.all(this.pictures.map(loaded));
    this.layers = this.facts.layers.map((l) => new Stack(this, l));
    const named = this.layers.findIndex((l) => l.name === "enhanced");
    this.shown = named < 0 ? 0 : named;
    this.pair = [0, named > 0 ? named : this.layers.length - 1];
    if (this.facts.flags) showLegend(this.figure);
    this.build();
  }
  get z() { return (this.facts.stops[this.stop] + 0.5) * this.facts.voxel[0]; }
  get many() { return this.layers.length > 1; }

  // ---- controls
  build() {
    this.stage = el("div", { class: "panes" });
    this.output = el("output", { class: "readout", "aria-label": "Grey levels and position" }, "Move over a picture to read its grey levels.");
    this.slider = el("input", { type: "range", class: "curtain", min: 0, max: 1000, value: 500, "aria-label": "Curtain between the two pictures",
      oninput: () => { this.curtain = this.slider.value / 1000; this.draw(); } });
    this.depth = el("input", { type: "range", class: "depth", min: 0, max: this.facts.stops.length - 1, step: 1, value: this.stop, "aria-label": "Slice along z",
      oninput: () => this.setStop(+this.depth.value) });
    this.depthText = el("span", { class: "depth" });
    const row = el("div", { class: "depth" }, el("span", { class: "name", "aria-hidden": "true" }, "z"), this.depth, this.depthText);
    this.figure.querySelector(".stills").hidden = true; // the pictures themselves stay, they hold the data
    this.figure.querySelector(".stills").before(this.toolbar(), this.stage, this.slider, row, this.output);
    this.setMode(this.many ? this.facts.mode : "single");
    this.setStop(this.stop);
    new ResizeObserver(() => this.draw()).observe(this.stage);
  }
  toolbar() {
    const bar = el("div", { class: "toolbar", role: "group", "aria-label": `Controls of ${this.facts.title}` });
    const button = (text, label, act) => el("button", { type: "button", "aria-label": label, title: label, onclick: act }, text);
    if (this.many) {
      this.modeButtons = { single: button("Single", "Show one volume", () => this.setMode("single")),
        side: button("Side by side", "Show all volumes beside each other", () => this.setMode("side")),
        swipe: button("Swipe", "Show two volumes with a curtain", () => this.setMode("swipe")) };
      bar.append(el("fieldset", { "aria-label": "View" }, ...Object.values(this.modeButtons)));
      this.layerButtons = this.layers.map((l, i) => button(l.name, `Show ${l.name}`, () => this.show(i)));
      this.switch = el("fieldset", { "aria-label": "Volume shown" }, ...this.layerButtons);
      this.selects = [0, 1].map((side) => el("select", { onchange: (e) => { this.pair[side] = +e.target.value; this.setMode("swipe"); } },
        ...this.layers.map((l, i) => el("option", { value: i, selected: i === this.pair[side] }, l.name))));
      this.chooser = el("fieldset", { "aria-label": "Volumes compared" }, el("label", {}, "left ", this.selects[0]), el("label", {}, "right ", this.selects[1]));
      bar.append(this.switch, this.chooser);
    }
    bar.append(el("fieldset", { "aria-label": "Zoom" }, button("−", "Zoom out", () => this.zoomBy(1 / ZOOM_STEP)), button("+", "Zoom in", () => this.zoomBy(ZOOM_STEP)),
      button("Fit", "Show the whole field", () => this.fit())));
    if (this.many) {
      const hold = (on) => () => this.blink(on);
      const key = (on) => (e) => { if (e.key === " " || e.key === "Enter") { e.preventDefault(); this.blink(on); } };
      bar.append(el("button", { type: "button", "aria-label": "Hold to blink between the volumes", onpointerdown: hold(true), onpointerup: hold(false), onpointerleave: hold(false),
        onkeydown: key(true), onkeyup: key(false), onblur: hold(false) }, "Blink (hold)"));
    }
    const box = (text, name) => el("label", {}, el("input", { type: "checkbox", checked: true, onchange: (e) => { this[name] = e.target.checked; this.draw(); } }), text);
    if (this.facts.flags) {
      const flags = box("flags", "flagsOn");
      this.flagBox = flags.firstChild;
      bar.append(flags, el("label", {}, "opacity", el("input", { type: "range", min: 0, max: 100, value: 80, "aria-label": "Opacity of the flags",
        oninput: (e) => { this.flagOpacity = e.target.value / 100; this.draw(); } })));
    }
    if (this.facts.boxes.length) bar.append(box("boxes", "boxesOn"));
    bar.append(box("cut lines", "linesOn"));
    const grey = (label, value) => el("input", { type: "range", min: 0, max: 100, value, "aria-label": label, oninput: () => this.contrast() });
    this.black = grey("Grey level shown black", 0);
    this.white = grey("Grey level shown white", 100);
    bar.append(el("label", {}, "black", this.black), el("label", {}, "white", this.white));
    return bar;
  }
  contrast() {
    const a = this.black.value / 100, b = Math.max(this.white.value / 100, a + 0.02);
    this.range = [a, b];
    this.contrastName = this.range.join(" ");
    this.draw();
  }
  show(i) {
    this.shown = (i + this.layers.length) % this.layers.length;
    this.setMode("single");
  }
  setStop(k) {
    this.stop = clamp(k, 0, this.facts.stops.length - 1);
    const z = this.z + this.facts.origin[0], index = this.facts.stops[this.stop];
    this.depth.value = this.stop;
    this.depthText.textContent = `slice ${index} of 0–${this.facts.shape[0] - 1}, z ${this.at(z, 0)}`;
    this.depth.setAttribute("aria-valuetext", this.depthText.textContent);
    if (this.zoom > 1 && !this.dragging) this.centre[0] = this.z;
    if (this.point && this.point.cut === "xy") this.point.at[0] = this.z;
    this.draw();
  }
  at(nm, axis) { // as many digits as tell neighbouring voxels apart
    const unit = Math.abs(nm) >= 1e6 ? 1e6 : Math.abs(nm) >= 1e3 ? 1e3 : 1;
    return lengthText(nm, Math.abs(nm) < 0.1 ? undefined : clamp(Math.ceil(-Math.log10(this.facts.voxel[axis] / 2 / unit)), 0, 4));
  }
  nearestStop(nm) {
    const index = nm / this.facts.voxel[0] - 0.5, far = this.facts.stops.map((s) => Math.abs(s - index));
    return far.indexOf(Math.min(...far));
  }
  setMode(mode) {
    this.mode = mode;
    for (const [k, b] of Object.entries(this.modeButtons || {})) b.setAttribute("aria-pressed", k === mode);
    for (const [i, b] of (this.layerButtons || []).entries()) b.setAttribute("aria-pressed", i === this.shown);
    if (this.many) {
      this.switch.style.display = mode === "single" ? "" : "none";
      this.chooser.style.display = mode === "swipe" ? "" : "none";
    }
    this.slider.hidden = mode !== "swipe";
    this.stage.className = `panes ${mode}`;
    const groups = { single: [[this.shown]], swipe: [this.pair], side: this.layers.map((_, i) => [i]) }[mode];
    const made = groups.map((shown) => this.group(shown));
    this.panes = made.flatMap((g) => g.panes);
    this.stage.replaceChildren(...made.map((g) => g.box));
    this.draw();
  }
  group(shown) {
    const names = shown.map((i) => this.layers[i].name);
    const label = el("p", { class: "names" }, ...names.map((n) => el("span", {}, n)));
    const panes = Object.keys(CUTS).map((cut) => this.pane(cut, shown, names, label));
    const box = el("div", { class: "cuts" }, label, ...panes.map((p) => p.box));
    for (const pane of panes) pane.group = box;
    return { panes, box };
  }
  pane(cut, shown, names, label) {
    const how = cut === "xy" ? "Page up and page down go along z, arrow keys move, plus and minus zoom." : "Click to go to that depth.";
    const c = el("canvas", { tabindex: 0, role: "application", "aria-roledescription": "zoomable picture",
      "aria-label": `${this.facts.title}: ${names.join(" left, ")}${names.length > 1 ? " right" : ""}, ${cut.toUpperCase()} cut. ${how}` });
    const pane = { cut, canvas: c, shown, label, box: el("div", { class: `pane ${cut}` }, c) };
    c.addEventListener("keydown", (e) => this.key(e, pane));
    c.addEventListener("keyup", (e) => { if (e.key.toLowerCase() === "b") this.blink(false); });
    c.addEventListener("blur", () => this.blink(false));
    c.addEventListener("wheel", (e) => this.wheel(e, pane), { passive: false });
    c.addEventListener("pointerdown", (e) => {
      c.focus({ preventScroll: true });
      c.setPointerCapture(e.pointerId);
      const near = this.mode === "swipe" && Math.abs(e.offsetX - this.curtain * c.clientWidth) < 10;
      this.dragging = { near, x: e.clientX, y: e.clientY };
      this.move(pane, e);
    });
    c.addEventListener("pointermove", (e) => this.move(pane, e));
    for (const end of ["pointerup", "pointercancel"]) c.addEventListener(end, () => { this.dragging = null; });
    c.addEventListener("pointerleave", () => { this.point = null; this.draw(); });
    return pane;
  }
  wheel(e, pane) {
    if (!e.ctrlKey && !this.figure.contains(document.activeElement)) return;
    e.preventDefault();
    if (e.ctrlKey) this.zoomBy(Math.exp(-clamp(e.deltaY, -200, 200) * 0.002), pane, this.position(pane, e));
    else this.setStop(this.stop + Math.sign(e.deltaY));
  }
  move(pane, e) {
    const held = this.dragging;
    if (held && held.near) this.setCurtain(e.offsetX / pane.canvas.clientWidth);
    else if (held && pane.cut !== "xy") this.setStop(this.nearestStop(this.position(pane, e)[0])); // rows of XZ and YZ run along z
    else if (held) {
      const s = this.scale(pane);
      this.pan(pane, (held.y - e.clientY) / s, (held.x - e.clientX) / s);
      Object.assign(held, { x: e.clientX, y: e.clientY });
    }
    this.read(pane, this.position(pane, e));
  }
  key(e, pane) {
    const step = MOVE / this.scale(pane), last = this.facts.stops.length - 1;
    const ways = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const acts = { "+": () => this.zoomBy(ZOOM_STEP), "=": () => this.zoomBy(ZOOM_STEP), "-": () => this.zoomBy(1 / ZOOM_STEP), 0: () => this.fit(),
      pageup: () => this.setStop(this.stop - 1), pagedown: () => this.setStop(this.stop + 1), home: () => this.setStop(0), end: () => this.setStop(last),
      b: () => this.blink(true), f: () => this.flagBox && this.flagBox.click(), l: () => this.many && this.show(this.shown + (e.shiftKey ? -1 : 1)),
      "[": () => this.setCurtain(this.curtain - 0.02), "]": () => this.setCurtain(this.curtain + 0.02) };
    if (e.altKey || e.ctrlKey || e.metaKey) return;
    const way = ways[e.key], act = acts[e.key.toLowerCase()];
    if (!way && !act) return;
    e.preventDefault();
    if (way && e.shiftKey) {
      const axes = CUTS[pane.cut], from = this.point && this.point.cut === pane.cut ? this.point.at : this.onCut(pane.cut, this.centre);
      this.read(pane, axes.map((a, i) => clamp(from[a] + way[i] * this.facts.voxel[a], 0, this.facts.extent[a])));
    } else if (way) this.pan(pane, way[0] * step, way[1] * step);
    else act();
    if (e.key.toLowerCase() === "l") this.panes[Object.keys(CUTS).indexOf(pane.cut)].canvas.focus({ preventScroll: true });
  }

  // ---- the view: one centre and one zoom for all cuts
  size(cut) { return CUTS[cut].map((a) => this.facts.extent[a]); }
  scale(pane) { // screen pixels (CSS) per nm
    const [height, width] = this.size(pane.cut);
    return this.zoom * Math.min(pane.canvas.clientWidth / width, pane.canvas.clientHeight / height) || 1e-9;
  }
  position(pane, e) { // rows, columns
    const s = this.scale(pane), c = pane.canvas, [a, b] = CUTS[pane.cut];
    return [this.centre[a] + (e.offsetY - c.clientHeight / 2) / s, this.centre[b] + (e.offsetX - c.clientWidth / 2) / s];
  }
  onCut(cut, at) { // the point itself, moved into the cut
    const fixed = [0, 1, 2].find((a) => !CUTS[cut].includes(a)), out = [...at];
    out[fixed] = fixed === 0 ? this.z : this.facts.at[fixed];
    return out;
  }
  zoomBy(factor, pane, about) {
    const z = clamp(this.zoom * factor, 1, 64), f = z / this.zoom;
    const axes = pane ? CUTS[pane.cut] : [];
    axes.forEach((a, i) => { this.centre[a] = about[i] + (this.centre[a] - about[i]) / f; });
    if (!axes.includes(0) && z > 1) this.centre[0] = this.z;
    this.zoom = z;
    if (z === 1) this.centre = this.facts.extent.map((v) => v / 2);
    this.draw();
  }
  pan(pane, down, right) {
    CUTS[pane.cut].forEach((a, i) => { this.centre[a] = clamp(this.centre[a] + [down, right][i], 0, this.facts.extent[a]); });
    this.draw();
  }
  goTo([z0, y0, x0, z1, y1, x1], label) { // a place, with as much again around it
    const start = [z0, y0, x0], stop = [z1, y1, x1];
    this.gone = { label, kind: "crop", start, stop };
    this.zoom = clamp(Math.min(...[1, 2].map((a) => this.facts.extent[a] / (2.5 * (stop[a] - start[a])))), 1, 64);
    this.centre = (this.zoom > 1 ? start.map((v, a) => v + stop[a]) : this.facts.extent).map((v) => v / 2);
    this.setStop(this.nearestStop((z0 + z1) / 2));
    this.figure.scrollIntoView({ block: "start" });
    this.panes[0].canvas.focus({ preventScroll: true });
  }
  fit() { this.zoom = 1; this.centre = this.facts.extent.map((v) => v / 2); this.draw(); }
  setCurtain(v) { this.curtain = clamp(v, 0, 1); this.slider.value = Math.round(1000 * this.curtain); this.draw(); }
  blink(on) { if (this.blinking !== on) { this.blinking = on; this.draw(); } }
  read(pane, [row, column]) {
    const at = this.onCut(pane.cut, [0, 0, 0]), { origin, voxel, shape } = this.facts;
    CUTS[pane.cut].forEach((a, i) => { at[a] = [row, column][i]; });
    this.point = { cut: pane.cut, at };
    const index = at.map((v, a) => Math.floor(v / voxel[a])), inside = index.every((v, a) => v >= 0 && v < shape[a]);
    const values = this.layers.map((l) => { const p = l.picture(pane.cut, this.stop); return p ? p.text(row, column) : `${l.name} –`; });
    const text = [values.join("  "), inside ? `voxel z ${index[0]}, y ${index[1]}, x ${index[2]}` : "outside",
      at.map((v, a) => `${"zyx"[a]} ${this.at(v + origin[a], a)}`).join(", ")];
    const flags = this.flagsOf(pane.cut);
    if (flags) text.push(...[flags.names(row, column).join(", ")].filter(Boolean));
    this.output.textContent = text.join("  |  ");
    this.draw();
  }
  flagsOf(cut) {
    const f = this.facts.flags && this.facts.flags[cut], numbers = f && f.pictures[cut === "xy" ? this.stop : 0];
    if (!numbers) return null;
    const name = `${cut} ${numbers[0]}`, image = this.pictures[numbers[0]];
    if (!this.flagPlanes.has(name)) {
      if (this.flagPlanes.size > KEPT) this.flagPlanes.clear();
      this.flagPlanes.set(name, new FlagPlane({ shape: [image.naturalHeight, image.naturalWidth], pixel: f.pixel, offset: f.offset }, rgbaOf(image)));
    }
    return this.flagPlanes.get(name);
  }

  // ---- drawing
  beforeprint() { // paper cannot be turned over: all volumes, at the first slice shown
    this.before = [this.stop, this.mode];
    if (this.mode === "single" && this.many) this.setMode("side");
    this.setStop(this.facts.first);
  }
  afterprint() {
    const [stop, mode] = this.before;
    if (mode !== this.mode) this.setMode(mode);
    this.setStop(stop);
  }
  draw() {
    const [height, width] = this.size("xy"), [deep] = this.size("xz"), beside = this.mode !== "side" && this.stage.clientWidth > 620;
    this.stage.classList.toggle("beside", beside);
    if (this.mode === "side") this.stage.style.setProperty("--columns", clamp(this.layers.length <= 4 ? this.layers.length : 3, 1, Math.max(1, Math.floor(this.stage.clientWidth / 250))));
    const widest = Math.round(Math.max(240, 0.78 * window.innerHeight) * (width / height) * (beside ? 1.5 : 1));
    for (const p of this.panes) p.group.style.maxWidth = `${widest}px`;
    this.slider.style.maxWidth = `${widest}px`;
    for (const p of this.panes) this.drawPane(p, p.cut === "xy" ? height / width : Math.min(deep, 1.2 * height) / (p.cut === "xz" ? width : height));
  }
  drawPane(pane, aspect) {
    const c = pane.canvas, dpr = window.devicePixelRatio || 1, w = pane.box.clientWidth, h = Math.max(24, Math.round(w * aspect));
    if (!w) return;
    if (c.style.height !== `${h}px`) c.style.height = `${h}px`;
    if (c.width !== Math.round(w * dpr) || c.height !== Math.round(h * dpr)) { c.width = Math.round(w * dpr); c.height = Math.round(h * dpr); }
    const g = c.getContext("2d"), s = this.scale(pane) * dpr, [a, b] = CUTS[pane.cut];
    const view = { g, w: c.width, h: c.height, s, dpr, x0: c.width / 2 - this.centre[b] * s, y0: c.height / 2 - this.centre[a] * s };
    g.setTransform(1, 0, 0, 1, 0, 0);
    g.clearRect(0, 0, view.w, view.h);
    const shown = this.blinking ? this.blinked(pane.shown) : pane.shown;
    shown.forEach((i, k) => { const name = pane.label.children[k]; if (name.textContent !== this.layers[i].name) name.textContent = this.layers[i].name; });
    const x = shown.length > 1 ? Math.round(this.curtain * view.w) : view.w;
    this.drawStack(view, pane.cut, shown[0], 0, x);
    if (shown.length > 1) this.drawStack(view, pane.cut, shown[1], x, view.w);
    const flags = this.flagsOn && this.flagsOf(pane.cut);
    if (flags) this.drawFlags(view, pane, flags);
    if (this.boxesOn) this.drawBoxes(view, pane.cut);
    if (this.linesOn) this.drawLines(view, pane.cut);
    if (shown.length > 1) drawCurtain(view, this.curtain);
    if (this.point && this.point.cut === pane.cut) drawPoint(view, CUTS[pane.cut].map((axis) => this.point.at[axis]));
    this.drawTitle(view, pane.cut);
    if (view.h > 110 * dpr) drawScaleBar(view);
    const last = this.layers[shown[shown.length - 1]].facts;
    if (pane.cut === "xy" && last.colours !== "grey") this.drawKey(view, last);
  }
  blinked(shown) { return shown.length > 1 ? [shown[1], shown[0]] : [(shown[0] + this.layers.length - 1) % this.layers.length]; }
  drawStack(view, cut, i, from, to) {
    const layer = this.layers[i].picture(cut, this.stop);
    if (layer) drawLayer(view, layer, from, to);
  }
  drawFlags(view, pane, flags) {
    const name = [view.w, view.h, view.s, view.x0, view.y0, pane.cut === "xy" ? this.stop : 0].join();
    if (!pane.flags || pane.flags.name !== name) pane.flags = { name, sheet: flags.sheet(view) };
    view.g.globalAlpha = this.flagOpacity;
    view.g.drawImage(pane.flags.sheet, 0, 0);
    view.g.globalAlpha = 1;
  }
  drawBoxes(view, cut) {
    const [a, b] = CUTS[cut], fixed = [0, 1, 2].find((v) => v !== a && v !== b), at = this.onCut(cut, [0, 0, 0])[fixed];
    for (const box of this.gone ? [...this.facts.boxes, this.gone] : this.facts.boxes) {
      const inside = at >= box.start[fixed] && at < box.stop[fixed], named = inside && cut === "xy" && view.w > 200 * view.dpr;
      view.g.globalAlpha = inside ? 1 : 0.35; // faint: the cut passes outside the box
      drawBox(view, { label: named ? box.label : "", low: box.kind === "held-out", kind: box.kind, y0: box.start[a], x0: box.start[b], y1: box.stop[a], x1: box.stop[b] });
    }
    view.g.globalAlpha = 1;
  }
  drawLines(view, cut) { // where the two other cuts run
    const [a, b] = CUTS[cut], cutAt = (fixed) => Object.keys(CUTS).find((k) => !CUTS[k].includes(fixed)), at = [this.z, this.facts.at[1], this.facts.at[2]];
    const { g, w, h, s, dpr, x0, y0 } = view, gap = 0.04 * Math.min(w, h);
    const x = x0 + at[b] * s, y = y0 + at[a] * s;
    const lines = [[cutAt(a), [[0, y, x - gap, y], [x + gap, y, w, y]]], [cutAt(b), [[x, 0, x, y - gap], [x, y + gap, x, h]]]];
    for (const [other, parts] of lines) {
      for (const [style, width] of [["rgba(0,0,0,.6)", 3], [LINE[other], 1.2]]) {
        g.beginPath();
        for (const [ax, ay, bx, by] of parts) { g.moveTo(ax, ay); g.lineTo(bx, by); }
        g.strokeStyle = style;
        g.lineWidth = width * dpr;
        g.setLineDash(other === "yz" ? [7 * dpr, 4 * dpr] : []);
        g.stroke();
      }
    }
    g.setLineDash([]);
  }
  drawTitle({ g, w, dpr }, cut) {
    const fixed = [0, 1, 2].find((v) => !CUTS[cut].includes(v)), at = this.onCut(cut, [0, 0, 0])[fixed] + this.facts.origin[fixed];
    g.font = FONT(dpr);
    const text = w > 170 * dpr ? `${cut.toUpperCase()}  ${"zyx"[fixed]} ${this.at(at, fixed)}` : cut.toUpperCase();
    g.fillStyle = "rgba(0,0,0,.62)";
    const width = g.measureText(text).width + 12 * dpr;
    g.fillRect(w - width - 4 * dpr, 4 * dpr, width, 20 * dpr);
    g.fillStyle = LINE[cut];
    g.fillText(text, w - width + 2 * dpr, 18 * dpr);
  }
  drawKey({ g, w, h, dpr }, { window: [low, high], colours }) { // the colours of a map, and what they stand for
    const width = 96 * dpr, x = w - width - 12 * dpr, y = h - 18 * dpr, a = low + this.range[0] * (high - low), b = low + this.range[1] * (high - low);
    g.fillStyle = "rgba(0,0,0,.62)";
    g.fillRect(x - 8 * dpr, y - 20 * dpr, width + 16 * dpr, 34 * dpr);
    page.colours[colours].forEach((c, i) => { g.fillStyle = `rgb(${c})`; g.fillRect(x + (i * width) / 256, y, width / 256 + dpr, 8 * dpr); });
    g.font = FONT(dpr);
    g.fillStyle = "#fff";
    const [left, right] = [a, b].map((v) => String(+v.toPrecision(3)));
    g.fillText(left, x, y - 5 * dpr);
    g.fillText(right, x + width - g.measureText(right).width, y - 5 * dpr);
  }
}
KINDS.volume = Volume;
