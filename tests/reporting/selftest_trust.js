// Run inside a report made by test_report_trust.py: lays the map over the pictures and goes to a place of the list.
(async () => {
  const seen = {}, change = (e, v) => { e.value = v; e.dispatchEvent(new Event("input", { bubbles: true })); };
  const shown = (scene, y, x) => {
    const c = scene.panes[0].canvas, s = scene.scale(scene.panes[0]);
    const px = [Math.floor(c.width / 2 + (x - scene.cx) * s), Math.floor(c.height / 2 + (y - scene.cy) * s)];
    return [...c.getContext("2d").getImageData(...px, 1, 1).data].slice(0, 3);
  };
  try {
    const [scene] = await window.finescan.ready, o = scene.overlay;
    seen.hiddenAtFirst = shown(scene, 130, 130);
    scene.overlayBox.click();
    change(scene.overlayOpacity, 100);
    seen.low = shown(scene, 30, 30);
    seen.high = shown(scene, 130, 130);
    change(scene.overlayLeast, 50);
    seen.lowCut = shown(scene, 30, 30);
    seen.highKept = shown(scene, 130, 130);
    seen.said = scene.figure.querySelector('fieldset[aria-label="half width"] output').textContent;
    scene.read([130, 130]);
    seen.readout = scene.output.textContent;
    scene.overlayBox.click();
    const buttons = [...document.querySelectorAll("button.goto")];
    seen.buttons = buttons.map((b) => [b.textContent, b.hidden, b.getAttribute("aria-label")]);
    buttons[0].click();
    seen.view = [scene.cy, scene.cx, scene.zoom];
    seen.marked = scene.gone;
    checkAccess(seen);
  } catch (e) {
    seen.error = `${e}\n${e.stack}`;
  }
  report(seen);
})();
