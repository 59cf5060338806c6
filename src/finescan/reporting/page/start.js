async function start() {
  const scenes = page.scenes.map((facts, k) => new KINDS[facts.kind || "picture"](document.getElementById(`scene-${k}`), facts));
  await Promise.all(scenes.map((s) => s.load()));
  for (const button of document.querySelectorAll("button.goto")) {
    button.hidden = false;
    button.addEventListener("click", () => scenes[0].goTo(button.dataset.box.split(" ").map(Number), button.getAttribute("aria-label").replace("Show ", "")));
  }
  for (const when of ["beforeprint", "afterprint"]) window.addEventListener(when, () => scenes.forEach((s) => (s[when] ? s[when]() : s.draw())));
  return scenes;
}
window.finescan = { ready: start(), niceLength, lengthText };
