// Run inside a volume page made by test_report_volume_browser.py, which also puts the true voxels into the page.
(async () => {
  const seen = {}, wait = () => new Promise((done) => setTimeout(done, 30));
  const truth = JSON.parse(document.getElementById("truth").textContent); // name -> [z][y][x] on the scene's grid
  const key = (e, name, more = {}) => e.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true, ...more }));
  const change = (e, v) => { e.value = v; e.dispatchEvent(new Event("input", { bubbles: true })); };
  const labelled = (label) => document.querySelector(`[aria-label="${label}"]`);
  const AXES = { xy: [1, 2], xz: [0, 2], yz: [0, 1] };
  try {
    HTMLCanvasElement.prototype.setPointerCapture = () => {}; // made-up pointers cannot be captured
    const [scene] = await window.finescan.ready;
    await wait();
    const { voxel, shape, at } = scene.facts;
    const pane = (cut, k = 0) => scene.panes.filter((p) => p.cut === cut)[k];
    const where = (p, row, column) => { // canvas pixel of a place, worked out from the whole field fitting the canvas
      const [a, b] = AXES[p.cut], tall = shape[a] * voxel[a], wide = shape[b] * voxel[b], c = p.canvas, s = Math.min(c.width / wide, c.height / tall);
      return [Math.floor(c.width / 2 + (column - wide / 2) * s), Math.floor(c.height / 2 + (row - tall / 2) * s)];
    };
    const look = (p, row, column) => [...p.canvas.getContext("2d").getImageData(...where(p, row, column), 1, 1).data].slice(0, 3);
    const voxelsOf = (cut, name, z) => { // rows and columns of a cut, from the truth
      const y = Math.floor(at[1] / voxel[1]), x = Math.floor(at[2] / voxel[2]), v = truth[name];
      return cut === "xy" ? v[z] : cut === "xz" ? v.map((plane) => plane[y]) : v.map((plane) => plane.map((row) => row[x]));
    };
    const right = (p, name, z) => { // a third of all voxels of the cut, away from titles and scale bars
      const rows = voxelsOf(p.cut, name, z), [a, b] = AXES[p.cut];
      let all = true, n = 0;
      rows.forEach((row, i) => row.forEach((v, j) => {
        const [px, py] = where(p, (i + 0.5) * voxel[a], (j + 0.5) * voxel[b]), c = p.canvas;
        if ((i + j) % 3 || py < 30 || py > c.height - 45) return;
        n += 1;
        all = all && Math.abs(look(p, (i + 0.5) * voxel[a], (j + 0.5) * voxel[b])[0] - v) <= 1 && px > 0;
      }));
      return all && n > 10;
    };
    const quiet = (on) => { scene.flagsOn = scene.boxesOn = scene.linesOn = on; scene.draw(); };
    const state = (name = "enhanced", z = scene.facts.stops[scene.stop]) => Object.keys(AXES).map((cut) => right(pane(cut), name, z));

    quiet(false);
    seen.first = [scene.stop, state()];
    seen.aspect = Object.keys(AXES).map((cut) => { const [a, b] = AXES[cut], c = pane(cut).canvas; return (c.height / c.width) / ((shape[a] * voxel[a]) / (shape[b] * voxel[b])); });

    // the slider moves the XY slice and nothing else
    const slider = labelled("Slice along z");
    change(slider, 0);
    seen.atTop = [state(), right(pane("xy"), "enhanced", 4), slider.getAttribute("aria-valuetext")];
    change(slider, 8);
    seen.atBottom = [state(), slider.getAttribute("aria-valuetext")];
    const keyed = [];
    for (const name of ["Home", "PageDown", "PageDown", "PageUp", "End", "PageDown"]) { key(pane("xy").canvas, name); keyed.push(scene.stop); }
    seen.keyed = keyed;
    slider.focus();
    seen.focusable = document.activeElement === slider;
    pane("xy").canvas.focus();
    key(pane("xy").canvas, "Home");
    pane("xy").canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: 120, bubbles: true, cancelable: true }));
    seen.wheel = [scene.stop, right(pane("xy"), "enhanced", 1)];

    // lines show where the cuts run: their colour is in the picture there and not elsewhere
    scene.linesOn = true;
    scene.setStop(2);
    const tinted = (p, row, column) => { const [r, , b] = look(p, row, column); return Math.abs(r - b) > 40; };
    const line = (p, axis) => { // rows (or columns) of voxels in which a colour stands, a quarter from the edge
      const [a, b] = AXES[p.cut], found = [];
      for (let i = 0; i < shape[[a, b][axis]]; i++) {
        const c = p.canvas, m = [0.25 * shape[a] * voxel[a], 0.2 * shape[b] * voxel[b]];
        m[axis] = i * voxel[[a, b][axis]];
        const [x, y] = where(p, ...m), step = Math.ceil((axis ? c.width : c.height) / shape[[a, b][axis]]);
        const data = p.canvas.getContext("2d").getImageData(x, y, axis ? step : 1, axis ? 1 : step).data;
        if (Array.from({ length: data.length / 4 }, (_, k) => Math.abs(data[4 * k] - data[4 * k + 2]) > 40).some(Boolean)) found.push(i);
      }
      return found;
    };
    seen.lines = { xy: line(pane("xy"), 0), xz: line(pane("xz"), 0), yz: line(pane("yz"), 0), xyAcross: line(pane("xy"), 1) };
    scene.setStop(6);
    seen.linesMoved = [line(pane("xz"), 0), line(pane("xy"), 0)];
    labelled("Slice along z").closest("figure").querySelectorAll("input[type=checkbox]").forEach((e) => { if (e.closest("label").textContent === "cut lines") e.click(); });
    seen.linesOff = [scene.linesOn, line(pane("xz"), 0)];

    // a click on a cut goes to that depth
    const press = (p, row, column) => {
      const [x, y] = where(p, row, column), r = p.canvas.getBoundingClientRect();
      for (const type of ["pointerdown", "pointerup"]) p.canvas.dispatchEvent(new PointerEvent(type, { clientX: r.left + x + 0.5, clientY: r.top + y + 0.5, bubbles: true, pointerId: 1 }));
    };
    press(pane("xz"), 7.5 * voxel[0], 50);
    seen.clickedDepth = [scene.stop];
    press(pane("yz"), 1.5 * voxel[0], 50);
    seen.clickedDepth.push(scene.stop);
    scene.point = null;
    quiet(false);

    // boxes: the fine scan spans slices 3 to 5; its frame stands in all cuts, faint where the cut passes outside
    scene.boxesOn = true;
    const edge = (cut, row, column) => look(pane(cut), row, column);
    const frame = () => ({ xy: edge("xy", 40, 70), xz: edge("xz", 90, 70), yz: edge("yz", 90, 60) });
    scene.setStop(4);
    seen.boxInside = frame();
    scene.setStop(0);
    seen.boxOutside = frame();
    quiet(false);

    // switching
    scene.setStop(5);
    labelled("Show coarse").click();
    seen.coarse = [state("coarse"), labelled("Show coarse").getAttribute("aria-pressed"), labelled("Show enhanced").getAttribute("aria-pressed")];
    key(pane("xy").canvas, "l");
    seen.nextLayer = [state("enhanced"), document.activeElement === pane("xy").canvas];
    key(pane("xy").canvas, "b");
    seen.blinkOn = state("coarse");
    pane("xy").canvas.dispatchEvent(new KeyboardEvent("keyup", { key: "b", bubbles: true }));
    seen.blinkOff = state("enhanced");
    labelled("Show all volumes beside each other").click();
    await wait();
    seen.side = [scene.panes.length, right(pane("xy", 0), "coarse", 5), right(pane("xy", 1), "enhanced", 5)];
    change(slider, 7);
    seen.sideMoved = [right(pane("xy", 0), "coarse", 7), right(pane("xy", 1), "enhanced", 7)];
    labelled("Show two volumes with a curtain").click();
    await wait();
    change(scene.slider, 1000);
    seen.curtainRight = right(pane("xy"), "coarse", 7);
    change(scene.slider, 0);
    seen.curtainLeft = right(pane("xy"), "enhanced", 7);
    labelled("Show one volume").click();
    await wait();

    // the map has its own colours, the part outside its circle is empty
    labelled("Show map").click();
    seen.mapColours = [look(pane("xy"), 25, 105), look(pane("xy"), 75, 105)];

    // reading
    labelled("Show enhanced").click();
    const move = (p, row, column) => {
      const [x, y] = where(p, row, column), r = p.canvas.getBoundingClientRect();
      p.canvas.dispatchEvent(new PointerEvent("pointermove", { clientX: r.left + x + 0.5, clientY: r.top + y + 0.5, bubbles: true, pointerId: 1 }));
    };
    move(pane("xy"), 35, 125);
    seen.readXY = scene.output.textContent;
    key(pane("xy").canvas, "ArrowRight", { shiftKey: true });
    seen.readNext = scene.output.textContent;
    move(pane("xz"), 45, 25);
    seen.readXZ = scene.output.textContent;
    scene.point = null;
    scene.draw();

    // zoom: one for all cuts; fit brings everything back
    const whole = scene.panes.map((p) => p.canvas.toDataURL());
    key(pane("xy").canvas, "+");
    key(pane("xy").canvas, "ArrowRight");
    seen.zoom = [scene.zoom, scene.panes.map((p, i) => p.canvas.toDataURL() !== whole[i])];
    key(pane("xy").canvas, "0");
    seen.fit = scene.panes.map((p, i) => p.canvas.toDataURL() === whole[i]);

    // flags are drawn where they are
    const off = [look(pane("xy"), 25, 25), look(pane("xy"), 65, 105)].join();
    scene.flagsOn = true;
    scene.setStop(0);
    const patch = (row, column) => pane("xy").canvas.getContext("2d").getImageData(...where(pane("xy"), row, column), 30, 30).data.join();
    const flagged = [patch(2, 2), patch(62, 102)];
    scene.flagsOn = false;
    scene.draw();
    seen.flags = [flagged[0] !== patch(2, 2), flagged[1] !== patch(62, 102), off.length > 0];

    // paper gets the slice of the first view
    scene.setStop(1);
    window.dispatchEvent(new Event("beforeprint"));
    seen.printed = [scene.stop, right(pane("xy", 0), "coarse", 4), right(pane("xy", 1), "enhanced", 4)];
    window.dispatchEvent(new Event("afterprint"));
    seen.afterPrint = [scene.stop, scene.mode];
    checkAccess(seen);
  } catch (e) {
    seen.error = `${e}\n${e.stack}`;
  }
  report(seen);
})();
