// Shows /api/state, /api/requests and /api/request, asked for once a second while somebody looks.

import { onChange, wanted } from "/address.js";
import { showDetails } from "/details.js";
import { find } from "/elements.js";
import { showPanels, tell } from "/panels.js";
import { address, refused, release, showRequests, showTotals } from "/requests.js";

const EVERY = 1000;
const SLOWEST = 10000;

let pause = EVERY;
let state = null;

// A document, or null after `unavailable` was told why there is none.
async function fetched(path, unavailable) {
  try {
    const answer = await fetch(path, { signal: AbortSignal.timeout(SLOWEST) });
    if (answer.ok) return await answer.json();
    unavailable((await answer.text()).trim(), answer.status);
  } catch {
    tell("the node does not answer; what is below is old", "bad");
  }
  return null;
}

async function askState() {
  const found = await fetched("/api/state", (words) => tell(`the node cannot say how it is: ${words}`, "bad"));
  if (found) {
    state = found;
    showPanels(state);
    showTotals(state);
  }
  return found !== null;
}

async function askRequests() {
  const path = address();
  const seen = location.search;
  const page = await fetched(path, (words) => seen === location.search && refused(words));
  // The reader has gone on meanwhile.
  if (page && seen === location.search) showRequests(page, state, path);
}

async function askDetails() {
  const id = wanted().request;
  if (!id) {
    showDetails(null);
    return;
  }
  const path = `/api/request?${new URLSearchParams({ id })}`;
  const found = await fetched(path, (words) => wanted().request === id && showDetails(null, words));
  if (found && wanted().request === id) showDetails(found);
}

async function look() {
  await askDetails();
  await askRequests();
}

async function ask() {
  if (document.hidden) return;
  const [well] = await Promise.all([askState(), look()]);
  pause = well ? EVERY : Math.min(2 * pause, SLOWEST);
}

function again() {
  ask().finally(() => setTimeout(again, pause));
}

onChange(() => {
  if (state) showPanels(state);
  look();
});
find("fresh").addEventListener("click", () => {
  release();
  find("h-requests").focus();
  look();
});
document.addEventListener("visibilitychange", ask);
again();
