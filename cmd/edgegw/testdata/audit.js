// What a screen reader and the sun would find wrong with a page, as a list of
// sentences: controls without a name, text that is hard to read, targets that a
// finger misses, headings that jump, things that stand out at the side.
(() => {
  const faults = [];
  const shown = (e) => e.checkVisibility({checkOpacity: true, checkVisibilityCSS: true}) && e.getClientRects().length > 0;
  const name = (e) => `<${e.tagName.toLowerCase()}${e.id ? " #" + e.id : ""}> ${(e.textContent || "").trim().slice(0, 30)}`;

  for (const e of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
    if (shown(e) && !(e.labels && [...e.labels].some((l) => l.textContent.trim())) && !e.getAttribute("aria-label")) faults.push("no label: " + name(e) + " " + e.name);
  }
  for (const e of document.querySelectorAll("a, button")) {
    if (!shown(e) || e.matches(".skip")) continue;
    if (!(e.textContent.trim() || e.getAttribute("aria-label"))) faults.push("no name: " + e.outerHTML.slice(0, 80));
    const r = e.getBoundingClientRect();
    const inText = e.tagName === "A" && getComputedStyle(e).display === "inline"; // a link in a text may be as high as the text
    if (!inText && r.height < 44) faults.push(`only ${Math.round(r.height)} px high: ` + name(e));
  }
  for (const e of document.querySelectorAll("img, svg[role=img]")) {
    if (!e.getAttribute("alt") && !e.getAttribute("aria-label")) faults.push("a picture without words: " + e.outerHTML.slice(0, 60));
  }
  const ids = new Set();
  for (const e of document.querySelectorAll("[id]")) {
    if (ids.has(e.id)) faults.push("twice in the page: #" + e.id);
    ids.add(e.id);
  }
  if (document.querySelectorAll("main h1, [role=alert]").length === 0) faults.push("no heading");
  let level = 0;
  for (const h of document.querySelectorAll("h1, h2, h3, h4")) {
    if (!shown(h)) continue;
    const l = Number(h.tagName[1]);
    if (level && l > level + 1) faults.push("a heading jumps: " + name(h));
    level = l;
  }
  if (!document.documentElement.lang) faults.push("no language");
  if (document.documentElement.scrollWidth > innerWidth) faults.push(`wider than the screen: ${document.documentElement.scrollWidth} of ${innerWidth}`);

  // Contrast by WCAG 2: 4.5 to 1 at least, 7 to 1 for text that is not large.
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4).reduce((s, c, i) => s + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgba(getComputedStyle(e).backgroundColor);
      if (c[3] === 255) return c;
    }
    return [255, 255, 255];
  };
  const seen = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; (n = texts.nextNode());) {
    const e = n.parentElement;
    if (!n.data.trim() || !shown(e) || e.closest("script, .skip, .hidden")) continue;
    const style = getComputedStyle(e);
    const [a, b] = [light(rgba(style.color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700;
    const key = style.color + behind(e) + large;
    if (ratio < (large ? 4.5 : 7) && !seen.has(key)) faults.push(`contrast ${ratio.toFixed(2)}: ` + name(e));
    if (ratio < (large ? 4.5 : 7)) seen.add(key);
  }
  return faults;
})()
