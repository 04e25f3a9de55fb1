// Keeps an open page as the server would make it now.
//
// <main data-stream> names a stream of events. Whenever something happens in it, the page is fetched again and
// each part of it with `data-live` and an id takes the place of the one that stands here, if it differs; one
// with `data-passing` goes once the server has it no more. What a person has opened, written or focused stays as
// it is; in a part with `data-live="each"` that holds for each of its children, which have ids, and the others go
// on being live.
// Without this script a page is not live, and otherwise the same.

const SHORTEST_PAUSE = 300;
// Durations go on while nothing happens.
const LONGEST_PAUSE = 5000;

class LivePage {
  constructor(main) {
    this.main = main;
    this.pause = Number(main.dataset.pause || SHORTEST_PAUSE);
    this.source = null;
    this.timer = null;
    this.isFetching = false;
    this.isStale = false;
  }

  follow() {
    this.source = new EventSource(this.main.dataset.stream);
    this.source.onmessage = (message) => this.hear(JSON.parse(message.data));
    this.source.addEventListener("end", () => this.end());
    this.source.addEventListener("problem", () => this.end());
    // What happened before it was open, and while it was away.
    this.source.onopen = () => this.refreshSoon();
    this.clock = setInterval(() => document.hidden || this.refreshSoon(), LONGEST_PAUSE);
    addEventListener("pagehide", () => this.source.close());
  }

  end() {
    this.source.close();
    clearInterval(this.clock);
    this.refreshSoon();
  }

  hear(event) {
    if (event.kind === "text") {
      if (event.task_id === this.main.dataset.task) say(event);
    } else {
      this.refreshSoon();
    }
  }

  refreshSoon() {
    this.isStale = true;
    if (this.timer === null && !this.isFetching) {
      this.timer = setTimeout(() => this.refresh(), this.pause);
    }
  }

  async refresh() {
    this.timer = null;
    this.isStale = false;
    this.isFetching = true;
    try {
      const response = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (response.redirected) location.reload();
      if (response.ok) replaceParts(new DOMParser().parseFromString(await response.text(), "text/html"));
    } catch (error) {
      // The server is away: the stream is opened again by itself, and its opening refreshes.
      console.info("the page could not be fetched", error);
    } finally {
      this.isFetching = false;
      if (this.isStale) this.refreshSoon();
    }
  }
}

function replaceParts(fresh) {
  const before = states(document);
  document.title = fresh.title;
  for (const part of fresh.querySelectorAll("[data-live][id]")) {
    const known = document.getElementById(part.id);
    if (known === null) continue;
    if (!isBeingWritten(known)) replace(known, document.adoptNode(part));
    else if (known.dataset.live === "each") replaceEach(known, part);
  }
  for (const part of document.querySelectorAll("[data-passing][id]")) {
    if (fresh.getElementById(part.id) === null) part.remove();
  }
  announce(before, states(document));
}

function replaceEach(list, fresh) {
  for (const known of [...list.children]) {
    if (!isBeingWritten(known) && fresh.querySelector(`#${CSS.escape(known.id)}`) === null) known.remove();
  }
  let before = null;
  for (const part of [...fresh.children]) {
    const known = document.getElementById(part.id);
    if (known === null) {
      if (before === null) list.prepend(part);
      else before.after(part);
    } else if (!isBeingWritten(known)) {
      replace(known, document.adoptNode(part));
    }
    before = document.getElementById(part.id);
  }
}

function replace(known, part) {
  for (const each of known.querySelectorAll("details[id][open]")) {
    part.querySelector(`#${CSS.escape(each.id)}`)?.setAttribute("open", "");
  }
  if (known.open) part.open = true;
  if (known.outerHTML === part.outerHTML) return;
  const focus = pathTo(known, document.activeElement);
  const scrolled = [...known.querySelectorAll(".drawing, .scroll")].map((each) => [each.scrollLeft, each.scrollTop]);
  known.replaceWith(part);
  [...part.querySelectorAll(".drawing, .scroll")].forEach((each, number) => each.scrollTo(...(scrolled[number] ?? [0, 0])));
  focus?.(part);
}

// Returns what gives the focus to the same element of another version of the part.
function pathTo(part, element) {
  if (!part.contains(element)) return null;
  const address = element.getAttribute("href");
  const kind = address === null ? element.tagName : `[href="${CSS.escape(address)}"]`;
  const place = [...part.querySelectorAll(kind)].indexOf(element);
  return (fresh) => fresh.querySelectorAll(kind)[place]?.focus();
}

function isBeingWritten(part) {
  return [...part.querySelectorAll("input:not([type=hidden]), textarea, select")].some(isTouched);
}

function isTouched(field) {
  if (field === document.activeElement) return true;
  if (field.type === "radio") return field.checked !== field.defaultChecked;
  return "defaultValue" in field && field.value !== field.defaultValue;
}

function states(page) {
  const found = new Map();
  for (const each of page.querySelectorAll("[data-part]")) {
    found.set(each.dataset.part, [each.dataset.of, each.dataset.state]);
  }
  return found;
}

function announce(before, now) {
  const news = [];
  for (const [part, [name, state]] of now) {
    if (before.has(part) && before.get(part)[1] !== state) news.push(`${name}: ${state}`);
  }
  if (news.length) document.getElementById("announced").textContent = news.slice(0, 5).join("; ");
}

function say(event) {
  const said = document.getElementById("said");
  if (said === null) return;
  if (said.dataset.attempt !== String(event.attempt)) said.textContent = "";
  said.dataset.attempt = event.attempt;
  const atEnd = said.scrollTop + said.clientHeight >= said.scrollHeight - 8;
  said.append(event.text);
  if (atEnd) said.scrollTop = said.scrollHeight;
}

// What takes a while shows that it does, and is sent once.
addEventListener("submit", (event) => {
  if (event.target.ariaBusy === "true") event.preventDefault();
  event.target.ariaBusy = "true";
});
addEventListener("pageshow", () => document.querySelectorAll("form").forEach((form) => (form.ariaBusy = null)));

const main = document.getElementById("main");
if (main.dataset.stream) new LivePage(main).follow();
