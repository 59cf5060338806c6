// Run inside any page: labels, headings, contrast of text, also of the text in figures.
(async () => {
  const seen = {};
  try {
    await window.finescan.ready;
    checkAccess(seen);
    const light = (text) => {
      const [r, g, b] = text.match(/[\d.]+/g).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const panel = light(getComputedStyle(document.querySelector(".plots figure")).backgroundColor);
    const ratios = [...document.querySelectorAll("svg text:not(.over)")].map((e) => { const v = light(getComputedStyle(e).fill); return (Math.max(v, panel) + 0.05) / (Math.min(v, panel) + 0.05); });
    seen.svgContrast = Math.min(...ratios);
  } catch (e) {
    seen.error = `${e}\n${e.stack}`;
  }
  report(seen);
})();
