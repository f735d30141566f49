// Keeps an open page fresh: follows the campaign's events and takes the page's live parts anew when one matters.
(() => {
  const source = document.body.dataset.stream;
  if (!source || !window.EventSource) return;
  const quiet = new Set(["model_called", "tool_started", "tool_finished", "scoring_run_finished"]);
  const status = document.querySelector(".live");
  const show = (on) => {
    if (!status) return;
    status.dataset.on = on ? "yes" : "no";
    status.textContent = on ? "live" : "connection lost, trying again";
  };
  let due = null;
  let busy = false;
  let taken = 0; // when the page was last taken anew; at most once a second, at once after a quiet time
  let last = new URL(source, location.href).searchParams.get("after");
  let seen = last; // the newest event that the page must show; one rendering then serves all who watch

  const refresh = async () => {
    due = null;
    if (document.hidden) return;
    if (busy) { soon(300); return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html", "aar-seen": seen } });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live]")) {
        const next = fresh.getElementById(part.id);
        const reading = part.querySelector("details[open]") || part.contains(document.activeElement);
        if (next && !reading && next.innerHTML !== part.innerHTML) part.replaceChildren(...next.childNodes);
      }
    } catch {
      show(false);
    } finally {
      busy = false;
      taken = Date.now();
    }
  };
  const soon = (delay) => { due ??= setTimeout(refresh, delay); };

  const log = (event) => {
    const list = document.getElementById("log");
    if (!list) return;
    const data = JSON.parse(event.data);
    const row = document.createElement("li");
    const cell = (tag, text, name) => {
      const made = document.createElement(tag);
      made.textContent = text;
      if (name) made.className = name;
      row.append(made);
    };
    cell("time", data.at.slice(11, 19));
    cell("span", data.researcher_id ? data.researcher_id.split("-").pop() : "", "soft");
    cell("span", data.line, "what");
    list.prepend(row);
    while (list.childElementCount > 60) list.lastElementChild.remove();
  };

  // A browser keeps at most six connections to a host: a page that nobody looks at gives its own back.
  let stream = null;
  const follow = () => {
    const from = new URL(source, location.href);
    from.searchParams.set("after", last);
    stream = new EventSource(from);
    stream.onopen = () => show(true);
    stream.onerror = () => show(false);
    for (const kind of document.body.dataset.kinds.split(" ")) {
      stream.addEventListener(kind, (event) => {
        last = event.lastEventId;
        log(event);
        if (quiet.has(kind)) return;
        seen = last;
        soon(Math.max(150, taken + 1000 - Date.now()));
      });
    }
  };
  const unfollow = () => { stream?.close(); stream = null; };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) unfollow();
    else if (!stream) { follow(); soon(0); }
  });
  window.addEventListener("pagehide", unfollow);
  window.addEventListener("pageshow", (event) => { if (event.persisted && !stream) { follow(); soon(0); } });
  follow();
})();
