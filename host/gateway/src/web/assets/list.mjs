// Redraws cards from the event stream. The server renders them; here they are only put in place.

const LOST_AFTER_MS = 4000;

const only = document.querySelector("[data-only]");
const live = document.querySelector("[data-live]");

function say(state, text) {
  live.dataset.live = state;
  live.textContent = text;
  live.hidden = false;
}

// Makes `from` look like `to`, keeping nodes that match: focus, selection and transitions survive.
function morph(from, to) {
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name)) from.removeAttribute(name);
  }
  for (const { name, value } of to.attributes) {
    if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  const old = [...from.childNodes];
  const wanted = [...to.childNodes];
  wanted.forEach((node, index) => {
    const current = old[index];
    if (!current) from.append(node);
    else if (current.nodeName !== node.nodeName) current.replaceWith(node);
    else if (node.nodeType === Node.ELEMENT_NODE) morph(current, node);
    else if (current.data !== node.data) current.data = node.data;
  });
  old.slice(wanted.length).forEach((node) => node.remove());
}

function parse(html) {
  return new DOMParser().parseFromString(html, "text/html").body.firstElementChild;
}

function tidy() {
  let total = 0;
  for (const name of ["work", "library"]) {
    const cards = document.querySelector(`[data-cards="${name}"]`);
    if (!cards) return;
    cards.parentElement.hidden = cards.childElementCount === 0;
    total += cards.childElementCount;
  }
  document.querySelector('[data-section="empty"]').hidden = total > 0;
}

function show({ id, state, html }) {
  if (only) {
    const current = only.firstElementChild;
    if (current?.dataset.id !== id) {
      // Published under its final name: the digest at the end says that it is the same.
      const digest = id.split("-").pop();
      if (!only.dataset.only.endsWith(`-${digest}`)) return;
    }
    if (state === only.dataset.reloadWhen) location.replace(`/watch/${id}`);
    else morph(current, parse(html));
    return;
  }
  const card = parse(html);
  const place = document.querySelector(`[data-cards="${card.dataset.section}"]`);
  const current = document.getElementById(card.id);
  if (current && current.parentElement === place) {
    morph(current, card);
  } else {
    current?.remove();
    place.prepend(card);
  }
  tidy();
}

function listen() {
  const events = new EventSource("/api/v1/events?as=cards");
  let lost;
  events.addEventListener("open", () => {
    clearTimeout(lost);
    lost = undefined;
    say("on", "Live");
  });
  events.addEventListener("card", (event) => show(JSON.parse(event.data)));
  events.addEventListener("gone", (event) => {
    document.getElementById(`card-${JSON.parse(event.data).id}`)?.remove();
    tidy();
  });
  events.addEventListener("error", () => {
    lost ??= setTimeout(() => say("lost", "Connection lost, trying again"), LOST_AFTER_MS);
    if (events.readyState === EventSource.CLOSED) {
      clearTimeout(lost);
      say("lost", "Not live: reload the page");
    }
  });
  // A page that is kept for the back button must not hold one of the server's places.
  addEventListener("pagehide", () => events.close());
  addEventListener("pageshow", (event) => event.persisted && location.reload());
}

listen();
