// Shows /api/state, asked for once a second while somebody looks.
//
// Everything in it may be hostile: a model's name, an error's words. So nothing here makes elements
// from text (the server's policy forbids it as well); `text` and `make` are the only two ways in.

const EVERY = 1000;
const SLOWEST = 10000;
const SVG = "http://www.w3.org/2000/svg";
const STAGES = {
  seen: "Seen", proving: "Proving", sending: "Sending", done: "Done", other: "Ended otherwise",
};

const find = (id) => document.getElementById(id);

function text(element, value) {
  const words = String(value);
  if (element.textContent !== words) element.textContent = words;
  return element;
}

function attribute(element, name, value) {
  if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

function make(tag, className = "", words = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (words !== "") element.textContent = words;
  return element;
}

// --- how values read ---

const whole = new Intl.NumberFormat("en");
const amount = (value) => (value === null ? "–" : whole.format(value));

function seconds(value) {
  if (value === null) return "–";
  return value < 10 ? `${value.toFixed(2)} s` : `${value.toFixed(0)} s`;
}

function age(value) {
  const passed = Math.max(0, Math.round(value));
  if (passed < 60) return `${passed} s`;
  if (passed < 3600) return `${Math.floor(passed / 60)} min`;
  if (passed < 172800) return `${Math.floor(passed / 3600)} h`;
  return `${Math.floor(passed / 86400)} d`;
}

const short = (hex) => (hex.length > 14 ? `${hex.slice(0, 8)}…${hex.slice(-4)}` : hex);
const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)}%`;
const kilo = (value) => (value < 1e6 ? `${Math.round(value / 1000)}k` : `${(value / 1e6).toFixed(1)}M`);
const error = (value) => (value === 0 ? "0" : value < 0.001 ? value.toExponential(1) : value.toFixed(4));

function shortened(element, hex) {
  text(element, short(hex));
  attribute(element, "title", hex);
}

// --- a list whose elements stay the same while their key does ---

function keep(parent, items, key, create, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let element = known.get(name);
    known.delete(name);
    if (!element) {
      element = create(item);
      element.dataset.key = name;
    }
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
    update(element, item);
  }
  for (const element of known.values()) element.remove();
}

// --- the parts of the page ---

function showTop(state) {
  const wrong = Object.entries(state.wrong);
  tell(
    wrong.length
      ? wrong.map(([name, words]) => `${name}: ${words}`).join("; ")
      : state.dry_run ? "DRY RUN: nothing is sent" : "running",
    wrong.length ? "bad" : state.dry_run ? "wait" : "good",
  );
  text(find("chain"), state.chain_id);
  const behind = (state.head ?? 0) - (state.block ?? 0);
  text(find("block"), amount(state.block) + (behind > 0 ? ` (${amount(behind)} behind)` : ""));
  shortened(find("contract"), state.oracle);
  shortened(find("account"), state.account);
  text(find("version"), state.version);
}

function tell(words, tone) {
  const status = find("status");
  text(status, words);
  attribute(status, "data-tone", tone);
}

function showWay(stages) {
  keep(find("way"), stages, (stage) => stage.name, (stage) => {
    const item = make("li");
    item.dataset.stage = stage.name;
    item.append(make("span", "name", STAGES[stage.name] ?? stage.name));
    item.append(make("span", "amount"), make("span", "states"));
    return item;
  }, (item, stage) => {
    attribute(item, "data-busy", stage.amount > 0);
    text(item.querySelector(".amount"), amount(stage.amount));
    const states = Object.entries(stage.states).map(([name, n]) => `${amount(n)} ${name}`);
    text(item.querySelector(".states"), states.join(", ") || "none");
  });
}

function showRequests(requests, now) {
  find("requests").hidden = requests.length === 0;
  find("no-requests").hidden = requests.length > 0;
  keep(find("requests").tBodies[0], requests, (line) => line.id, makeRow, (row, line) => {
    if (row.dataset.state && row.dataset.state !== line.state) {
      row.classList.remove("fresh");
      void row.offsetWidth; // lets the animation begin anew
      row.classList.add("fresh");
    }
    row.dataset.state = line.state;
    const cell = (name) => row.querySelector(`.c-${name}`);
    const badge = row.querySelector(".badge");
    text(badge, line.state);
    attribute(badge, "data-tone", line.stage === "other" ? line.state : line.stage);
    text(row.querySelector(".reason"), line.reason);
    text(cell("age"), age(now - line.seen_at));
    text(cell("proof"), seconds(line.prove_seconds));
    text(cell("gas"), amount(line.gas));
    showTransaction(cell("transaction"), line);
  });
}

function makeRow(line) {
  const row = make("tr", "fresh");
  row.setAttribute("role", "row");
  const cell = (name, className, label) => {
    const made = make("td", `c-${name} ${className}`.trim());
    made.dataset.label = label;
    made.setAttribute("role", "cell");
    row.append(made);
    return made;
  };
  shortened(cell("id", "mono", "Request"), line.id);
  const state = cell("state", "", "State");
  state.append(make("span", "badge"));
  const model = cell("model", "", "Model");
  model.append(make("span", "", line.model ?? `model ${line.model_id}`), make("span", "reason"));
  cell("age", "number", "Age");
  cell("proof", "number", "Proof");
  cell("gas", "number", "Gas");
  cell("transaction", "mono", "Transaction");
  return row;
}

function showTransaction(cell, line) {
  if (cell.dataset.hash === (line.transaction ?? "")) return;
  cell.dataset.hash = line.transaction ?? "";
  cell.replaceChildren();
  if (!line.transaction) {
    text(cell, "–");
    return;
  }
  const shown = make(line.link ? "a" : "span");
  if (line.link) {
    shown.href = line.link;
    shown.rel = "noreferrer";
  }
  shortened(shown, line.transaction);
  cell.append(shown);
}

function showLoad(load) {
  text(find("load-now"), `${load.running} of ${load.workers}`);
  text(find("load-words"), `proving, ${load.queued ? `${amount(load.queued)} waiting` : "none waiting"}`);
  const chart = find("chart");
  const width = 300 / load.bars.length;
  if (chart.querySelectorAll("rect").length !== load.bars.length) {
    chart.replaceChildren();
    for (const height of [0.5, 46]) {
      const rule = document.createElementNS(SVG, "line");
      for (const [name, value] of Object.entries({ x1: 0, x2: 300, y1: height, y2: height, class: "rule" })) {
        rule.setAttribute(name, value);
      }
      chart.append(rule);
    }
    for (let i = 0; i < load.bars.length; i += 1) {
      const bar = document.createElementNS(SVG, "rect");
      bar.setAttribute("x", (i * width + 0.5).toFixed(2));
      bar.setAttribute("width", (width - 1).toFixed(2));
      bar.setAttribute("rx", 1.2);
      bar.append(document.createElementNS(SVG, "title"));
      chart.append(bar);
    }
  }
  chart.querySelectorAll("rect").forEach((bar, i) => {
    const share = load.bars[i];
    const height = Math.max(2, share * 92);
    attribute(bar, "y", (92 - height).toFixed(2));
    attribute(bar, "height", height.toFixed(2));
    attribute(bar, "class", share > 0 ? "bar" : "still");
    const since = (load.bars.length - i) * load.bar_seconds;
    text(bar.firstChild, `${percent(share)}, ${age(since)} ago`);
  });
  const minutes = Math.round((load.bars.length * load.bar_seconds) / 60);
  const mean = load.bars.reduce((sum, share) => sum + share, 0) / load.bars.length;
  text(find("load-since"), `${minutes} min ago`);
  attribute(chart, "aria-label", `Busy for ${percent(mean)} of the last ${minutes} minutes`);
}

function showErrors(errors, now) {
  find("no-errors").hidden = errors.length > 0;
  const key = (line) => `${line.at.toFixed(0)} ${line.code} ${line.where}`;
  const once = [...new Map(errors.map((line) => [key(line), line])).values()];
  keep(find("errors"), once, key, (line) => {
    const item = make("li");
    const head = make("div", "head");
    head.append(make("span", "code", line.code), make("time"));
    item.append(head, make("span", "detail", line.detail));
    item.append(make("span", "where", line.where.startsWith("0x") ? `request ${short(line.where)}` : line.where));
    return item;
  }, (item, line) => text(item.querySelector("time"), `${age(now - line.at)} ago`));
}

function showModels(models) {
  keep(find("models"), models, (model) => `${model.model_id} ${model.hashes.bundle}`, makeCard, (element, model) => {
    for (const circuit of model.circuits) {
      const figure = element.querySelector(`[data-usual="${circuit.rows}"]`);
      const measured = circuit.usual_seconds === null ? "when it was built" : "median here";
      text(figure.firstChild, seconds(circuit.usual_seconds ?? circuit.prove_seconds));
      text(figure.lastChild, measured);
    }
  });
}

function makeCard(model) {
  const element = make("article", "card");
  const head = make("header");
  head.append(make("h3", "", model.name), make("span", "", `model ${model.model_id}`));
  element.append(head, make("p", "computes", computes(model)));

  const figures = make("dl", "figures");
  const figure = (name, value, note = "") => {
    const box = make("div");
    const shown = make("dd");
    shown.append(document.createTextNode(value), make("small", "", note));
    box.append(make("dt", "", name), shown);
    figures.append(box);
    return shown;
  };
  if (model.label_agreement !== null) figure("Same label", percent(model.label_agreement), "as the float model");
  figure("Largest error", error(model.max_abs_error), "against the float model");
  for (const circuit of model.circuits) {
    const rows = circuit.rows === 1 ? "" : `, ${circuit.rows} rows`;
    figure(`Verifier gas${rows}`, kilo(circuit.verify_gas), `${amount(circuit.verify_gas)} gas`);
    figure(`Proof${rows}`, seconds(circuit.prove_seconds)).dataset.usual = circuit.rows;
  }
  const largest = model.circuits[model.circuits.length - 1];
  figure("Prover memory", `${amount(Math.round(largest.memory_bytes / 2 ** 20))} MB`, `2^${largest.logrows} rows in the circuit`);
  element.append(figures);

  const checks = make("ul", "checks");
  for (const check of model.checks) {
    const item = make("li", "badge", `${check.ok ? "✓" : "✗"} ${check.name}`);
    item.dataset.tone = check.ok ? "good" : "bad";
    checks.append(item);
  }
  element.append(checks);

  const more = make("details");
  const list = make("dl", "hashes");
  for (const [name, value] of [["verifier", model.verifier], ...Object.entries(model.hashes)]) {
    list.append(make("dt", "", name), make("dd", "", value));
  }
  more.append(make("summary", "", "Hashes and addresses"), list);
  element.append(more);
  return element;
}

function computes(model) {
  const inputs = `${model.inputs.join(", ")} → ${model.outputs.join(", ")}`;
  const labels = model.labels.length ? `; labels ${model.labels.slice(0, 12).join(", ")}` : "";
  return `${inputs}${labels}; reveal policy ${model.reveal}`;
}

// --- asking ---

function show(state) {
  showTop(state);
  showWay(state.stages);
  showRequests(state.requests, state.now);
  showLoad(state.load);
  showErrors(state.errors, state.now);
  showModels(state.models);
}

let pause = EVERY;

// The state, or null after saying why there is none.
async function fetched() {
  try {
    const answer = await fetch("/api/state", { signal: AbortSignal.timeout(SLOWEST) });
    if (answer.ok) return await answer.json();
    tell(`the node cannot say how it is: ${(await answer.text()).trim()}`, "bad");
  } catch {
    tell("the node does not answer; what is below is old", "bad");
  }
  return null;
}

async function ask() {
  if (document.hidden) return;
  const state = await fetched();
  pause = state ? EVERY : Math.min(2 * pause, SLOWEST);
  if (state) show(state);
}

function again() {
  ask().finally(() => setTimeout(again, pause));
}

document.addEventListener("visibilitychange", ask);
again();
