async function start() {
  const scenes = page.scenes.map((facts, k) => new KINDS[facts.kind || "picture"](document.getElementById(`scene-${k}`), facts));
  await Promise.all(scenes.map((s) => s.load()));
  for (const when of ["beforeprint", "afterprint"]) window.addEventListener(when, () => scenes.forEach((s) => (s[when] ? s[when]() : s.draw())));
  return scenes;
}
window.finescan = { ready: start(), niceLength, lengthText };
