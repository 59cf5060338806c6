"use strict";
// Before every self-test: what is asked of each page, and how the answers get out.
function checkAccess(seen) {
  const inputs = [...document.querySelectorAll("input, select, button")], ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  seen.unlabelled = inputs.filter((e) => !(e.getAttribute("aria-label") || e.closest("label") || e.textContent.trim())).length;
  seen.noAlt = [...document.querySelectorAll("img:not([alt]), svg:not([aria-label])")].length;
  seen.doubleIds = ids.length - new Set(ids).size;
  seen.unreachable = [...document.querySelectorAll(".pane canvas")].filter((c) => c.tabIndex !== 0 || !c.getAttribute("aria-label")).length;
  const steps = [...document.querySelectorAll("h1, h2, h3")].map((h) => +h.tagName[1]);
  seen.headings = steps.every((v, i) => i === 0 ? v === 1 : v - steps[i - 1] <= 1);
  const light = (text) => {
    const [r, g, b] = text.match(/[\d.]+/g).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const back = (e) => { while (e && /, 0\)$|transparent/.test(getComputedStyle(e).backgroundColor)) e = e.parentElement; return getComputedStyle(e || document.body).backgroundColor; };
  const ratios = [...document.querySelectorAll("h1, h2, h3, p, a, li, dt, dd, th, td, summary, label, button, select, caption, output")].filter((e) => e.textContent.trim())
    .map((e) => { const [a, b] = [light(getComputedStyle(e).color), light(back(e))]; return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); });
  seen.contrastRatio = Math.min(...ratios);
  seen.background = getComputedStyle(document.body).backgroundColor;
  seen.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  seen.fetched = performance.getEntriesByType("resource").map((e) => e.name).filter((n) => !n.startsWith("data:"));
}
function report(seen) {
  const out = document.createElement("pre");
  out.id = "selftest";
  out.textContent = JSON.stringify(seen);
  document.body.append(out);
}
