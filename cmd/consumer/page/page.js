"use strict";
// The page works without this script: it keeps times and the list up to date,
// and copies references.
(() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const say = (text) => { byId("spoken").textContent = text; };

  // Times, in the words of the server.
  const ago = (then) => {
    const s = Math.floor((Date.now() - then) / 1000);
    if (s < 10) return "just now";
    if (s < 60) return `${Math.floor(s / 10) * 10} s ago`;
    if (s < 3600) return `${Math.floor(s / 60)} min ago`;
    if (s < 48 * 3600) return `${Math.floor(s / 3600)} h ago`;
    return `${Math.floor(s / 86400)} days ago`;
  };
  const tick = () => {
    for (const time of document.querySelectorAll("time")) {
      const text = ago(Date.parse(time.dateTime));
      if (time.textContent !== text) time.textContent = text;
    }
  };
  setInterval(tick, 10000);

  // Copying. Without a clipboard, as over plain HTTP, the text is marked.
  for (const button of document.querySelectorAll(".copy")) {
    const code = button.previousElementSibling;
    button.hidden = false;
    button.addEventListener("click", async () => {
      let done = "Marked";
      getSelection().selectAllChildren(code);
      if (navigator.clipboard) {
        try {
          await navigator.clipboard.writeText(code.textContent);
          done = "Copied";
        } catch { /* not allowed: it stays marked */ }
      }
      button.textContent = done;
      say(done);
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }

  // Empty filters have no place in the address.
  const filter = document.querySelector(".filter");
  filter?.addEventListener("submit", () => {
    for (const field of filter.elements) field.disabled = field.name !== "" && field.value === "";
  });
  addEventListener("pageshow", () => {
    for (const field of filter?.elements ?? []) field.disabled = false;
  });

  if (!("live" in root.dataset)) return;

  // Live updates: the server says that there is something new, and the page
  // fetches itself again. Whoever reads is not disturbed: what is new waits
  // behind a button then.
  const list = byId("list"), fresh = byId("fresh"), live = byId("live"), liveText = byId("live-text");
  const every = 1500; // milliseconds between two fetches, at least
  const retry = 5000; // and until one is repeated
  // A version is a word: of two that differ neither is the newer one, for there may be several servers.
  let shown = root.dataset.version, latest = shown, repeated = "", waiting = null;
  let paused = false, open = false, failed = false, fetching = false, last = 0, timer = 0;

  const state = () => {
    const on = open && !failed && !paused;
    liveText.textContent = paused ? "Paused" : on ? "Live" : "Connecting";
    live.classList.toggle("on", on);
    live.classList.toggle("off", !on);
  };
  const rowsOf = (part) => [...part.querySelectorAll("[data-row]")];
  const reading = () => {
    const selection = getSelection();
    return paused || list.contains(document.activeElement) ||
      (!selection.isCollapsed && list.contains(selection.anchorNode)) || list.getBoundingClientRect().top < -40;
  };

  const apply = () => {
    const next = waiting;
    if (!next) return;
    waiting = null;
    const before = new Set(rowsOf(list).map((row) => row.dataset.row));
    for (const part of document.querySelectorAll("[data-part]")) {
      const other = next.getElementById(part.id);
      if (part !== list && part.contains(document.activeElement)) continue; // the keyboard is there
      if (other && other.innerHTML !== part.innerHTML) part.replaceChildren(...document.adoptNode(other).childNodes);
    }
    fresh.hidden = true;
    const added = rowsOf(list).filter((row) => !before.has(row.dataset.row));
    for (const row of added) row.classList.add("new");
    if (added.length === 1) say(added[0].dataset.say);
    if (added.length > 1) say(`${added.length} new results`);
    tick();
  };

  const refresh = async () => {
    clearTimeout(timer);
    if (fetching || document.hidden) return;
    if (latest === shown) {
      failed = false;
      state();
      return;
    }
    const wait = last + every - Date.now();
    if (wait > 0) {
      timer = setTimeout(refresh, wait);
      return;
    }
    fetching = true;
    last = Date.now();
    const wanted = latest;
    let done = false;
    try {
      const answer = await fetch(location.href, { cache: "no-cache", signal: AbortSignal.timeout(10000) });
      if (answer.ok) {
        const next = new DOMParser().parseFromString(await answer.text(), "text/html");
        const known = new Set(rowsOf(list).map((row) => row.dataset.row));
        const added = rowsOf(next.getElementById("list")).filter((row) => !known.has(row.dataset.row)).length;
        waiting = next;
        shown = next.documentElement.dataset.version;
        done = true;
        if (!reading()) apply();
        else if (added > 0) {
          fresh.textContent = `${added} new`;
          if (fresh.hidden) say(`${added} new results; a button shows them`);
          fresh.hidden = false;
        }
      }
    } catch { /* as an answer that is not ok */ }
    fetching = false;
    failed = !done;
    state();
    if (failed) timer = setTimeout(refresh, retry);
    else if (latest !== wanted) refresh();
    else if (shown !== wanted && repeated !== wanted && !poll) {
      repeated = wanted; // another server answered, which may not have known yet
      timer = setTimeout(refresh, retry);
    }
  };

  fresh.addEventListener("click", () => { apply(); list.scrollIntoView({ block: "nearest" }); });
  live.hidden = false;
  live.addEventListener("click", () => {
    paused = !paused;
    live.setAttribute("aria-pressed", String(!paused));
    state();
    if (!paused) apply();
  });
  setInterval(() => { if (waiting && fresh.hidden && !reading()) apply(); }, 3000);

  // A page that nobody sees gives its connection back: a browser has few of them
  // for one server.
  let source = null, again = 0, poll = 0;
  const leave = () => {
    source?.close();
    source = null;
    open = false;
    clearTimeout(again);
  };
  const listen = () => {
    leave();
    state();
    source = new EventSource("/events");
    source.addEventListener("open", () => {
      open = true;
      state();
      clearInterval(poll);
      poll = 0;
    });
    source.addEventListener("state", (event) => { latest = event.data; refresh(); });
    source.addEventListener("error", () => {
      open = false;
      state();
      if (source?.readyState !== EventSource.CLOSED) return; // it tries again by itself
      if (!poll) poll = setInterval(() => { latest = `poll ${Date.now()}`; refresh(); }, 30000);
      again = setTimeout(listen, 30000);
    });
  };
  listen();
  document.addEventListener("visibilitychange", () => document.hidden ? leave() : listen());
  addEventListener("pagehide", leave);
  addEventListener("pageshow", (event) => { if (event.persisted) listen(); });
})();
