// Keeps an open page fresh. htmx follows the stream, asks for the live parts and swaps them in, leaving what is open,
// focused or scrolled as it is. Left to us: when to ask, which events were heard, and what to do while nobody looks.
(() => {
  const page = document.body;
  const main = document.getElementById("main");
  if (!page.hasAttribute("sse-connect")) return;
  const status = document.querySelector(".live");
  const log = document.getElementById("log");
  let last = page.dataset.after; // the newest event heard
  page.dataset.seen = last; // the newest event that the page must show; one rendering since then serves all who watch
  let taken = 0; // when the page was last taken anew: at most once a second, at once after a quiet time
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

  // A stream begins where the one before ended. A browser keeps at most six connections to a host, so a page that
  // nobody looks at gives its own back; when it is looked at again, the stream tells what it missed.
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

  // What somebody opened or closed stays so, whatever the server's copy says.
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, part) => !(name === "open" && part.localName === "details");
})();
