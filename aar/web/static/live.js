// Refreshes an open page. htmx follows the stream, requests the live parts and swaps them in; open, focused and
// scrolled elements stay as they are. This script decides when to request, stores the newest received event, and
// disconnects hidden pages.
(() => {
  const page = document.body;
  const main = document.getElementById("main");
  if (!page.hasAttribute("sse-connect")) return;
  const status = document.querySelector(".live");
  const log = document.getElementById("log");
  let last = page.dataset.after; // the newest received event
  page.dataset.seen = last; // the newest event that the page must show; one rendering since then serves all watchers
  let taken = 0; // time of the last refresh: at most once a second, at once after a quiet time
  let due = null;
  let stream = null;

  const say = (on) => {
    if (document.hidden || status.dataset.on === (on ? "yes" : "no")) return;
    status.dataset.on = on ? "yes" : "no";
    status.textContent = on ? "live" : "connection lost, trying again";
  };
  const soon = () => {
    due ??= setTimeout(() => {
      due = null;
      taken = Date.now();
      htmx.trigger(main, "fresh");
    }, Math.max(150, taken + 1000 - Date.now()));
  };
  const heard = (event) => {
    last = event.lastEventId;
    while (log?.childElementCount >= 60) log.lastElementChild.remove();
    if (event.type === "quiet") return;
    page.dataset.seen = last;
    if (main.querySelector("[data-live]")) soon();
  };

  // A stream begins at the end of the previous one. A browser opens at most six connections to a host, so a hidden
  // page closes its own; when it is visible again, the stream sends the missed events.
  htmx.createEventSource = (address) => {
    stream?.close();
    stream = new EventSource(`${address}?after=${last}`);
    for (const kind of ["loud", "quiet"]) stream.addEventListener(kind, heard);
    if (document.hidden) stream.close();
    return stream;
  };
  const follow = () => {
    for (const each of [page, ...page.querySelectorAll("[sse-swap]")]) htmx.trigger(each, "htmx:afterProcessNode");
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? stream?.close() : follow()));
  window.addEventListener("pagehide", () => stream?.close());
  window.addEventListener("pageshow", (event) => event.persisted && follow());
  page.addEventListener("htmx:sseOpen", () => say(true));
  for (const lost of ["htmx:sseError", "htmx:sendError", "htmx:responseError"]) page.addEventListener(lost, () => say(false));
  page.addEventListener("htmx:configRequest", (event) => { event.detail.headers["aar-seen"] = page.dataset.seen; });

  // Details that a person opened or closed stay so, whatever the server's copy has.
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, part) => !(name === "open" && part.localName === "details");
})();
