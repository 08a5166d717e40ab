// The table of requests, its filter and its pages.
//
// The newest page follows the node, but not under a reader's eyes: while its rows are pointed at,
// scrolled through, selected or opened it stays as it is, and says how many are newer.

import { filtered, go, link, onChange, wanted } from "/address.js";
import { copyButton } from "/copy.js";
import { opened } from "/details.js";
import { age, amount, attribute, find, inner, keep, make, say, seconds, short, text } from "/elements.js";

const STAGES = {
  seen: "Seen", proving: "Proving", sending: "Sending", done: "Done", other: "Ended otherwise",
};
const NARROW = matchMedia("(max-width: 42rem)");
const ROWS = { narrow: 10, wide: 25 };
const COLUMNS = 8;
const PATIENCE = 300;

const table = find("requests");
const form = find("filter");
const body = table.tBodies[0];

let held = "";
let first = "";
let asked = "";
let amountShown = null;

// --- which page ---

const rows = () => wanted().limit || String(NARROW.matches ? ROWS.narrow : ROWS.wide);

// What to ask for now.
export function address() {
  const { stage, state, model, id, at } = wanted();
  if (!at) held = reading() ? held || first : "";
  const given = { stage, state, model, id, at: at || held, limit: rows() };
  return `/api/requests?${new URLSearchParams(Object.entries(given).filter(([, value]) => value !== ""))}`;
}

// The reader wants the newest, or another page.
export function release() {
  held = "";
  first = "";
}

function reading() {
  const chosen = document.getSelection();
  return Boolean(wanted().request)
    || body.contains(document.activeElement)
    || body.matches(":hover")
    || table.getBoundingClientRect().top < 0
    || (chosen && !chosen.isCollapsed && body.contains(chosen.anchorNode));
}

// --- what it shows ---

export function refused(words) {
  text(find("refused"), words);
  find("refused").hidden = false;
  showRows([], 0);
  showPager({ older: null, newer: wanted().at ? "" : null });
  amountShown = null;
  text(find("shown"), "");
}

export function showRequests(page, state, path) {
  find("refused").hidden = true;
  const turned = asked !== "" && asked.replace(/&?at=[^&]*/, "") !== path.replace(/&?at=[^&]*/, "");
  const arrives = asked !== "" && !turned && !wanted().at;
  asked = path;
  const open = shownOpen();
  const listed = !open || page.requests.some((line) => line.id === open.line.id);
  // Opened by its own address, on whatever page it is.
  showRows(listed ? page.requests : [open.line, ...page.requests], page.now, arrives);
  first = page.requests[0]?.at ?? "";
  find("fresh").hidden = !held || !page.ahead;
  const more = page.ahead >= page.limit ? "+" : "";
  text(find("fresh"), `${amount(page.ahead)}${more} new · show`);
  showPager(page);
  amountShown = page.requests.length;
  showTotals(state);
  if (turned) say(find("shown").textContent);
}

// What of the table depends on the node's state; null before that is known.
export function showTotals(state) {
  showFilter(state);
  text(find("shown"), amountShown === null ? "" : count(amountShown, state));
}

// How many of how many; those of a model or an id are not counted by the node.
function count(shown, state) {
  const { stage, state: one, model, id } = wanted();
  if (!state || model || id) return `${amount(shown)} shown`;
  const total = state.stages
    .filter((each) => !stage || each.name === stage)
    .flatMap((each) => Object.entries(each.states))
    .reduce((sum, [name, n]) => sum + (!one || name === one ? n : 0), 0);
  return `${amount(shown)} of ${amount(total)}`;
}

function showRows(lines, now, arrives = false) {
  const { stage, state, model, id, at } = wanted();
  const refusal = !find("refused").hidden;
  table.hidden = lines.length === 0;
  find("no-requests").hidden = lines.length > 0 || refusal || Boolean(stage || state || model || id || at);
  find("no-match").hidden = lines.length > 0 || refusal || !find("no-requests").hidden;
  const open = shownOpen();
  const parts = lines.flatMap((line) => (line.id === open?.line.id ? [{ line }, { line, open: true }] : [{ line }]));
  // Where the reader was in details that are closed now, the request's own line is next.
  const details = find("details");
  const closing = details?.contains(document.activeElement) ? details.previousElementSibling : null;
  const key = (part) => `${part.line.id}${part.open ? " details" : ""}`;
  keep(body, parts, key, (part) => (part.open ? makeDetails(part.line) : makeRow(part.line, arrives)), (row, part) => {
    if (part.open) place(row.firstElementChild, open.element);
    else showRow(row, part.line, now);
  });
  if (closing?.isConnected && !open) closing.querySelector(".open").focus();
}

// The request that is open, once it is the one that the address names.
function shownOpen() {
  const open = opened();
  return open?.line.id === wanted().request ? open : null;
}

// Details that changed take the place of the former ones, and the reader's focus.
function place(cell, element) {
  if (cell.firstElementChild === element) return;
  const focused = cell.contains(document.activeElement) ? document.activeElement.dataset.value : undefined;
  cell.replaceChildren(element);
  if (focused === undefined) return;
  [...element.querySelectorAll("[data-value]")].find((each) => each.dataset.value === focused)?.focus();
}

function makeDetails(line) {
  const row = make("tr", "details");
  row.id = "details";
  row.setAttribute("role", "row");
  const cell = make("td");
  cell.colSpan = COLUMNS;
  cell.setAttribute("role", "cell");
  row.setAttribute("aria-label", `Details of request ${short(line.id)}`);
  row.append(cell);
  return row;
}

function makeRow(line, arrives) {
  const row = make("tr", arrives ? "fresh" : "");
  row.setAttribute("role", "row");
  const cell = (name, className, label) => {
    const made = make(name === "id" ? "th" : "td", `c-${name} ${className}`.trim());
    made.dataset.label = label;
    made.setAttribute("role", name === "id" ? "rowheader" : "cell");
    if (name === "id") made.scope = "row";
    row.append(made);
    return made;
  };
  const id = cell("id", "mono", "Request");
  const open = inner("", "open", short(line.id));
  open.title = line.id;
  id.append(open, copyButton(line.id, "request id"));
  const state = cell("state", "", "State");
  const why = inner("", "why", "why");
  why.setAttribute("aria-label", `Why request ${short(line.id)} stands so`);
  state.append(make("span", "badge"), " ", why);
  cell("answer", "", "Answer");
  text(cell("model", "", "Model"), line.model ?? `model ${line.model_id}`);
  cell("age", "number", "Age");
  cell("proof", "number", "Proof");
  cell("gas", "number", "Gas");
  cell("transaction", "mono", "Transaction");
  return row;
}

function showRow(row, line, now) {
  if (row.dataset.state && row.dataset.state !== line.state) {
    row.classList.remove("fresh");
    void row.offsetWidth; // lets the animation begin anew
    row.classList.add("fresh");
  }
  row.dataset.state = line.state;
  const cell = (name) => row.querySelector(`.c-${name}`);
  const isOpen = wanted().request === line.id;
  for (const each of row.querySelectorAll(".open, .why")) {
    attribute(each, "href", link({ request: isOpen ? "" : line.id }));
    attribute(each, "aria-expanded", isOpen);
    attribute(each, "aria-controls", isOpen ? "details" : null);
  }
  const badge = row.querySelector(".badge");
  text(badge, line.state);
  attribute(badge, "data-tone", line.stage === "other" ? line.state : line.stage);
  text(cell("answer"), line.answer ?? (line.reason || "–"));
  attribute(cell("answer"), "data-kind", line.answer !== null ? "answer" : line.reason ? "reason" : "none");
  text(cell("age"), age(now - line.seen_at));
  text(cell("proof"), seconds(line.prove_seconds));
  text(cell("gas"), amount(line.gas));
  showTransaction(cell("transaction"), line);
}

function showTransaction(cell, line) {
  if (cell.dataset.hash === (line.transaction ?? "")) return;
  cell.dataset.hash = line.transaction ?? "";
  cell.replaceChildren();
  if (!line.transaction) {
    text(cell, "–");
    return;
  }
  const shown = make(line.link ? "a" : "span", "", short(line.transaction));
  shown.title = line.transaction;
  if (line.link) {
    shown.href = line.link;
    shown.rel = "noreferrer";
  }
  cell.append(shown, copyButton(line.transaction, "transaction hash"));
}

function showPager(page) {
  for (const [id, at] of [["newest", wanted().at ? "" : null], ["newer", page.newer], ["older", page.older]]) {
    const gone = at === null || (id !== "older" && !wanted().at);
    if (gone && document.activeElement === find(id)) find("h-requests").focus();
    find(id).hidden = gone;
    if (!gone) attribute(find(id), "href", link({ at, request: "" }));
  }
}

// --- the filter ---

function option(select, value, words) {
  const found = [...select.options].find((each) => each.value === value);
  if (found) return;
  const made = make("option", "", words);
  made.value = value;
  select.append(made);
}

// A step back changes a field even while the reader is in it.
function showFilter(state, back = false) {
  const { stage, state: one, model, id } = wanted();
  if (state) {
    for (const each of state.stages) option(form.elements.which, `stage ${each.name}`, STAGES[each.name] ?? each.name);
    for (const each of state.models) option(form.elements.model, String(each.model_id), `${each.name} (${each.model_id})`);
  }
  if (one) option(form.elements.which, `state ${one}`, one);
  if (model) option(form.elements.model, model, `model ${model}`);
  option(form.elements.limit, rows(), rows());
  const values = { which: one ? `state ${one}` : stage && `stage ${stage}`, model, limit: rows() };
  for (const [name, value] of Object.entries(values)) {
    if (back || document.activeElement !== form.elements[name]) form.elements[name].value = value;
  }
  if (back || document.activeElement !== form.elements.id) form.elements.id.value = id;
  find("clear").hidden = !(stage || one || model || id);
  attribute(find("clear"), "href", filtered({}));
}

function apply(replace = false) {
  const [kind, name] = form.elements.which.value.split(" ");
  go(filtered({
    [kind || "stage"]: name ?? "",
    model: form.elements.model.value,
    id: form.elements.id.value.trim(),
    limit: form.elements.limit.value === rows() ? wanted().limit : form.elements.limit.value,
  }), { replace });
}

let typed = 0;
form.addEventListener("change", () => {
  clearTimeout(typed);
  apply();
});
form.elements.id.addEventListener("input", () => {
  clearTimeout(typed);
  // One step back leads to what was before the first digit.
  typed = setTimeout(() => apply(Boolean(wanted().id)), PATIENCE);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typed);
  apply();
});
const key = () => JSON.stringify({ ...wanted(), request: "" });
let shownFor = key();
onChange((back) => {
  if (shownFor !== key()) release();
  shownFor = key();
  showFilter(null, back);
});
