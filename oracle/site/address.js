// What the reader looks at, kept in the address bar: it can be sent to others, and the back button
// works. `request` is the one whose details are open; the rest is /api/requests' own.

const NAMES = ["stage", "state", "model", "id", "at", "limit", "request"];
const listeners = [];

export function wanted() {
  const given = new URLSearchParams(location.search);
  return Object.fromEntries(NAMES.map((name) => [name, given.get(name) ?? ""]));
}

// An address with some of it changed.
export function link(changes) {
  const all = Object.entries({ ...wanted(), ...changes }).filter(([, value]) => value !== "");
  return all.length ? `?${new URLSearchParams(all)}` : location.pathname;
}

// Where only requests of a kind are shown, from the newest on.
export const filtered = (changes) => link({ stage: "", state: "", model: "", id: "", at: "", request: "", ...changes });

export function go(href, { replace = false } = {}) {
  const target = new URL(href, location.href);
  if (target.href === location.href) return;
  history[replace ? "replaceState" : "pushState"](null, "", target);
  for (const each of listeners) each(false);
}

// Calls back after each change; with true where the reader went back or forth.
export function onChange(listener) {
  listeners.push(listener);
}

window.addEventListener("popstate", () => {
  for (const each of listeners) each(true);
});

document.addEventListener("click", (event) => {
  const chosen = event.target.closest("a[data-inner]");
  const elsewhere = event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey;
  if (!chosen || elsewhere || event.defaultPrevented) return;
  event.preventDefault();
  go(chosen.href);
});
