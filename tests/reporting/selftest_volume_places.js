// Run inside a report made by test_report_volume_places.py: goes to a place of the list of a volume.
(async () => {
  const seen = {};
  try {
    const [scene] = await window.finescan.ready;
    const buttons = [...document.querySelectorAll("button.goto")];
    seen.buttons = buttons.map((b) => [b.textContent, b.hidden, b.getAttribute("aria-label")]);
    buttons[0].click();
    seen.small = [scene.stop, scene.centre, scene.zoom, scene.gone];
    const shots = () => scene.panes.map((p) => p.canvas.getContext("2d").getImageData(0, 0, p.canvas.width, p.canvas.height).data);
    const outlined = shots(), { gone } = scene;
    scene.gone = null;
    scene.draw();
    const bare = shots();
    scene.gone = gone;
    seen.outlined = bare.map((data, k) => data.reduce((n, v, i) => n + (i % 4 === 0 && v !== outlined[k][i]), 0));
    buttons[1].click();
    seen.large = [scene.stop, scene.centre, scene.zoom];
    seen.focus = document.activeElement === scene.panes[0].canvas;
    checkAccess(seen);
  } catch (e) {
    seen.error = `${e}\n${e.stack}`;
  }
  report(seen);
})();
