// All that is known of the request that is opened: why it stands so, what was answered, whole ids.

import { filtered, link, wanted } from "/address.js";
import { copyable } from "/copy.js";
import { amount, ether, inner, make, moment, text } from "/elements.js";

// Numbers and classes that are listed before the reader asks for the rest.
const FEW = 12;

let current = null;

// What is open now: the request's line and the element that tells of it; or null.
export const opened = () => current;

export function showDetails(found, refusal = "") {
  if (!found) {
    current = null;
    showRefusal(refusal);
    return;
  }
  showRefusal("");
  const { now, ...rest } = found;
  const known = JSON.stringify(rest);
  if (current?.known === known) return;
  current = { known, line: found.line, element: element(found) };
}

function showRefusal(words) {
  const box = document.getElementById("no-request");
  box.hidden = !words;
  text(box.firstElementChild, words);
  box.lastElementChild.setAttribute("href", link({ request: "" }));
}

function element(found) {
  const box = make("div", "opened");
  box.append(top(found), why(found), answer(found), facts(found));
  return box;
}

function top({ line }) {
  const head = make("header");
  head.append(make("h3", "", "Request"));
  const links = make("p", "links");
  const machine = make("a", "", "as JSON");
  machine.href = `/api/request?${new URLSearchParams({ id: line.id })}`;
  links.append(machine, " · ", inner(link({ request: "" }), "close", "close"));
  head.append(copyable(line.id, "request id"), links);
  return head;
}

function why({ why: told }) {
  const part = make("section", "told");
  part.append(make("h4", "", "Why it stands so"));
  part.append(make("p", "verdict", `${told.explanation}.`));
  if (told.remedy) part.append(make("p", "remedy", `${told.remedy}.`));
  for (const command of told.commands) part.append(copyable(command, "command"));
  const steps = make("ol", "steps");
  for (const step of told.steps) {
    const item = make("li");
    const time = make("time", "", moment(step.at));
    item.append(time, make("strong", "", step.what));
    if (step.detail) item.append(make("span", "", step.detail));
    steps.append(item);
  }
  part.append(steps);
  return part;
}

function answer({ answer: given, unread, line }) {
  const part = make("section", "given");
  part.append(make("h4", "", "Answer"));
  if (!given) {
    part.append(make("p", "soft", unread || (line.stage === "other" ? "None from this node." : "None yet.")));
    return part;
  }
  given.rows.forEach((row, index) => {
    const shown = make("div", "row");
    if (given.rows.length > 1) shown.append(make("h5", "", `Row ${index + 1}`));
    shown.append(make("p", "short", row.short));
    if (row.picks.length > 1) shown.append(some(picks(row.picks), make("ol", "picks"), "classes"));
    const numbers = row.values.map((value) => make("li", "", String(value)));
    shown.append(some(numbers, make("ul", "numbers"), "numbers"));
    part.append(shown);
  });
  part.append(fact("Bytes delivered", copyable(given.output, "answer's bytes")));
  return part;
}

const picks = (listed) => listed.map((pick) => {
  const item = make("li");
  item.append(make("span", "", pick.name ?? `class ${pick.index}`));
  if (pick.score !== null) item.append(make("span", "score", String(pick.score)));
  return item;
});

// A list's beginning, and the rest once it is asked for.
function some(items, list, what) {
  list.append(...items.slice(0, FEW));
  if (items.length <= FEW) return list;
  const box = make("div");
  const more = make("button", "more", `All ${amount(items.length)} ${what}`);
  more.type = "button";
  more.addEventListener("click", () => {
    list.append(...items.slice(FEW));
    more.remove();
  });
  box.append(list, more);
  return box;
}

function facts(found) {
  const { line } = found;
  const list = make("dl", "facts-of");
  const add = (name, value) => list.append(fact(name, value));
  if (line.transaction) add(line.gas === null ? "Transaction sent" : "Answered in", copyable(line.transaction, "transaction hash"));
  add("Id in decimal", copyable(found.decimal, "id in decimal"));
  add("Asked in", copyable(found.asked_in, "hash of the asking transaction"));
  add("Asked by", copyable(found.account, "address"));
  if (found.callback) add("Called back", copyable(found.callback, "address"));
  if (found.payee) add("Payee", copyable(found.payee, "address"));
  if (found.job) add("Proof", copyable(found.job, "proof's name"));
  const model = make("span");
  model.append(inner(filtered({ model: String(line.model_id), request: wanted().request }), "", line.model ?? `model ${line.model_id}`));
  add("Model", model);
  if (found.input.length) {
    const numbers = found.input.flat().map((value) => make("li", "", String(value)));
    add("Input", some(numbers, make("ul", "numbers"), "numbers"));
  }
  add("Fee", ether(found.fee));
  add("Gas money", ether(found.gas_money));
  if (line.gas !== null) add("Gas used", amount(line.gas));
  add("Block", amount(found.block));
  add("Seen", moment(line.seen_at));
  add("Deadline", moment(found.deadline));
  return list;
}

function fact(name, value) {
  const box = make("div");
  const shown = make("dd");
  shown.append(value);
  box.append(make("dt", "", name), shown);
  return box;
}
