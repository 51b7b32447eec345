// What the pages do better with JavaScript, and do without: they change by
// themselves, show times in the zone of the phone, count down, and scan a key.
"use strict";
(() => {
  const times = (root) => {
    for (const t of root.querySelectorAll("time[datetime]")) {
      const d = new Date(t.dateTime);
      if (isNaN(d)) continue;
      if (t.dataset.hour !== undefined) { t.textContent = d.toLocaleTimeString(document.documentElement.lang, {hour: "2-digit", minute: "2-digit"}); continue; }
      if (t.dataset.short !== undefined) { t.textContent = d.toLocaleString(document.documentElement.lang, {dateStyle: "short", timeStyle: "short"}); continue; }
      const full = d.toLocaleString(document.documentElement.lang, {dateStyle: "medium", timeStyle: "medium"});
      if (t.dataset.ago === undefined) t.textContent = full;
      else t.title = full;
    }
  };
  times(document);

  // Parts with data-live are taken from the page as it is now. What somebody is
  // filling in is left alone.
  let busy = false, again = false;
  const refresh = async () => {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, {headers: {Accept: "text/html"}});
      if (answer.redirected) { location.reload(); return; }
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const old of document.querySelectorAll("[data-live]")) {
        const now = page.getElementById(old.id);
        if (!now || old.contains(document.activeElement) && document.activeElement.matches("input,select,textarea")) continue;
        times(now);
        const parts = now.querySelectorAll("details"); // what somebody has opened stays open
        old.querySelectorAll("details").forEach((d, i) => { if (d.open && parts[i]) parts[i].open = true; });
        if (now.innerHTML !== old.innerHTML) old.replaceChildren(...now.childNodes);
        old.className = now.className;
      }
    } catch { /* the line is down; the stream says when it is back */ }
    finally { busy = false; if (again) { again = false; refresh(); } }
  };
  if (document.body.dataset.follow !== undefined) {
    const lost = document.getElementById("lost");
    const events = new EventSource("/live");
    let first = true;
    events.addEventListener("changed", refresh);
    events.onopen = () => { lost.hidden = true; if (!first) refresh(); first = false; };
    events.onerror = () => { lost.hidden = false; };
    setInterval(refresh, 60000); // what only time changes
  }

  for (const button of document.querySelectorAll("[data-scan]")) {
    if (!("BarcodeDetector" in window)) continue;
    const input = document.getElementById(button.dataset.scan);
    const picture = Object.assign(document.createElement("input"), {type: "file", accept: "image/*", capture: "environment"});
    button.hidden = false;
    button.addEventListener("click", () => picture.click());
    picture.addEventListener("change", async () => {
      const found = await new BarcodeDetector({formats: ["qr_code"]}).detect(await createImageBitmap(picture.files[0])).catch(() => []);
      if (found.length) input.value = found[0].rawValue.trim();
      else button.textContent = button.dataset.none;
    });
  }
  for (const left of document.querySelectorAll("[data-left]")) {
    const end = performance.now() + 1000 * left.dataset.left;
    const show = () => {
      const s = Math.max(0, Math.ceil((end - performance.now()) / 1000));
      left.textContent = Math.floor(s / 60) + ":" + String(s % 60).padStart(2, "0");
      if (s === 0) clearInterval(tick);
    };
    const tick = left.dataset.left > 0 ? setInterval(show, 1000) : 0;
    if (tick) show();
  }
  for (const button of document.querySelectorAll("[data-print]")) {
    button.hidden = false;
    button.addEventListener("click", () => print());
  }
})();
