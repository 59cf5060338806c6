// Run inside a report made by test_report_browser.py: works the page as a reader would and writes down what it sees.
(async () => {
  const seen = {}, wait = () => new Promise((done) => setTimeout(done, 30));
  const key = (e, name, more = {}) => e.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true, ...more }));
  const change = (e, v) => { e.value = v; e.dispatchEvent(new Event("input", { bubbles: true })); };
  const labelled = (figure, label) => figure.querySelector(`[aria-label="${label}"]`);
  const where = (scene, pane, y, x) => {
    const c = pane.canvas, s = scene.scale(pane);
    return [Math.floor(c.width / 2 + (x - scene.cx) * s), Math.floor(c.height / 2 + (y - scene.cy) * s)];
  };
  const look = (scene, pane, y, x) => [...pane.canvas.getContext("2d").getImageData(...where(scene, pane, y, x), 1, 1).data].slice(0, 3);
  const all = (pane) => pane.canvas.getContext("2d").getImageData(0, 0, pane.canvas.width, pane.canvas.height).data.join();
  const point = (scene, pane, y, x, type) => {
    const [px, py] = where(scene, pane, y, x), r = pane.canvas.getBoundingClientRect();
    pane.canvas.dispatchEvent(new PointerEvent(type, { clientX: r.left + px + 0.5, clientY: r.top + py + 0.5, bubbles: true, pointerId: 1 }));
  };
  // grey levels by position, worked out without the page's drawing code
  const expected = (scene, i, y, x) => {
    const l = scene.layers[i], row = Math.floor((y - l.offset[0]) / l.pixel[0]), col = Math.floor((x - l.offset[1]) / l.pixel[1]);
    const v = l.coding[0] + l.coding[1] * l.levels[row * l.w + col];
    return Math.min(255, Math.max(0, ((v - l.window[0]) / (l.window[1] - l.window[0])) * 255));
  };
  const middle = (v) => (Math.floor(v / 5) + 0.5) * 5; // of the enhanced pixel, so never on an edge
  const right = (scene, pane, i, places) => places.map((p) => p.map(middle)).every(([y, x]) => Math.abs(look(scene, pane, y, x)[0] - expected(scene, i, y, x)) <= 1);

  try {
    HTMLCanvasElement.prototype.setPointerCapture = () => {}; // made-up pointers cannot be captured
    const [swipe, side] = await window.finescan.ready;
    await wait();
    seen.levels = swipe.layers.map((l) => [...l.levels]);

    // curtain: left of it the first picture, right of it the second, wherever it stands
    const only = swipe.panes[0], places = [[12.5, 22.5], [12.5, 82.5], [12.5, 142.5]];
    swipe.flagsOn = false;
    const who = () => places.map(([y, x]) => [0, 1].filter((i) => Math.abs(look(swipe, only, y, x)[0] - expected(swipe, i, y, x)) <= 1).join());
    seen.curtain = {};
    for (const at of [0, 300, 700, 1000]) { change(swipe.slider, at); seen.curtain[at] = who(); }
    const before = swipe.slider.value;
    key(only.canvas, "[");
    seen.curtainByKey = [before, swipe.slider.value];

    // linked zoom and pan
    const spots = [[12.5, 62.5], [102.5, 97.5], [77.5, 77.5], [87.5, 92.5]], ok = () => side.panes.map((p, i) => right(side, p, i, spots));
    side.flagsOn = false;
    side.draw();
    seen.panes = side.panes.length;
    seen.atFit = ok();
    const fitted = side.panes.map(all), box = side.panes[0].canvas.getBoundingClientRect();
    const turn = new WheelEvent("wheel", { deltaY: -400, ctrlKey: true, cancelable: true, bubbles: true, clientX: box.left + 200, clientY: box.top + 150 });
    side.panes[0].canvas.dispatchEvent(turn);
    key(side.panes[1].canvas, "ArrowRight");
    key(side.panes[1].canvas, "ArrowDown");
    const inside = side.panes[0].canvas.width / 2 / side.scale(side.panes[0]);
    seen.zoom = side.zoom;
    seen.zoomChanged = side.panes.map((p, i) => all(p) !== fitted[i]);
    seen.zoomLinked = side.panes.map((p, i) => right(side, p, i, [[-0.4, -0.3], [0.3, 0.4], [-0.2, 0.45]].map(([a, b]) => [side.cy + a * inside, side.cx + b * inside])));
    point(side, side.panes[0], side.cy, side.cx, "pointerdown");
    point(side, side.panes[0], side.cy + 6, side.cx + 6, "pointermove");
    point(side, side.panes[0], side.cy, side.cx, "pointerup");
    seen.dragged = side.panes.map((p, i) => right(side, p, i, [[side.cy - 0.35 * inside, side.cx + 0.35 * inside]]));
    key(side.panes[0].canvas, "0");
    side.point = null;
    side.draw();
    seen.fitAgain = side.panes.map((p, i) => all(p) === fitted[i]);
    labelled(side.figure, "Zoom in").click();
    seen.buttonZoom = side.zoom;
    labelled(side.figure, "Show the whole field").click();
    labelled(side.figure, "One fine pixel per screen pixel").click();
    seen.native = side.scale(side.panes[0]) * side.finest.pixel[1] * window.devicePixelRatio;
    labelled(side.figure, "Show the whole field").click();

    // enlarged pixels are not smoothed: inside one coarse pixel there is one grey level
    seen.flatPixel = new Set([[61, 61], [70, 66], [79, 79], [61, 79]].map(([y, x]) => look(side, side.panes[0], y, x)[0])).size;

    // blink
    key(side.panes[1].canvas, "b");
    seen.blinkOn = right(side, side.panes[1], 0, spots);
    side.panes[1].canvas.dispatchEvent(new KeyboardEvent("keyup", { key: "b", bubbles: true }));
    seen.blinkOff = right(side, side.panes[1], 1, spots);

    // flags: rows and columns 2 and 3 of the coarse pixels are flagged, nothing else
    const region = (p, y, x) => {
      const [a, b] = where(side, p, y, x);
      return p.canvas.getContext("2d").getImageData(a, b, 24, 24).data.join();
    };
    // 24 screen pixels are 7 nm: three probes inside the edges of the flagged square (40 to 80 nm), five outside
    const probes = [[40.5, 40.5], [72.5, 72.5], [50, 50], [32, 50], [50, 32], [81, 50], [50, 81], [100, 100]];
    const off = side.panes.map((p) => probes.map(([y, x]) => region(p, y, x)));
    side.flagsOn = true;
    side.draw();
    const on = side.panes.map((p) => probes.map(([y, x]) => region(p, y, x)));
    seen.flagsChange = on.map((v, i) => v.map((text, k) => text !== off[i][k]));
    seen.flagColours = new Set(region(side.panes[0], 50, 50).match(/(\d+,){3}\d+/g)).size;
    change(labelled(side.figure, "Opacity of the flags"), 30);
    seen.opacityChanges = region(side.panes[0], 50, 50) !== on[0][2];
    key(side.panes[0].canvas, "f");
    seen.flagsOffByKey = region(side.panes[0], 50, 50) === off[0][2] && !side.flagBox.checked;

    // readout, by pointer and by keyboard
    point(side, side.panes[1], 52.5, 47.5, "pointermove");
    seen.readout = side.output.textContent;
    key(side.panes[1].canvas, "ArrowRight", { shiftKey: true });
    seen.readoutNext = side.output.textContent;

    // contrast is for display only
    const levels = side.layers[1].value(12.5, 62.5), shown = look(side, side.panes[1], 12.5, 62.5)[0];
    change(labelled(side.figure, "Grey level shown white"), 50);
    seen.contrast = { shown, brighter: look(side, side.panes[1], 12.5, 62.5)[0], value: [levels, side.layers[1].value(12.5, 62.5)] };

    side.modeButtons.swipe.click();
    seen.modes = [side.panes.length, side.slider.hidden, side.modeButtons.swipe.getAttribute("aria-pressed")];

    // lengths
    seen.lengths = [0.03, 3, 12, 740, 99999].map((nm) => window.finescan.lengthText(window.finescan.niceLength(nm)));

    checkAccess(seen);
  } catch (e) {
    seen.error = `${e}\n${e.stack}`;
  }
  report(seen);
})();
