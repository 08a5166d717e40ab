// The parts of the page beside the requests: how the node is.

import { filtered, wanted } from "/address.js";
import { copyable, copyButton } from "/copy.js";
import { age, amount, attribute, error, find, inner, keep, kilo, make, percent, seconds, short, text } from "/elements.js";

const SVG = "http://www.w3.org/2000/svg";
const STAGES = {
  seen: "Seen", proving: "Proving", sending: "Sending", done: "Done", other: "Ended otherwise",
};
// From so many requests on their table is long enough for the models to stand beside it.
const MANY = 12;
// The node counts no further.
const COUNTED = 1000;

export function showPanels(state) {
  showTop(state);
  showWay(state.stages);
  showLoad(state.load);
  showErrors(state.errors, state.now);
  showModels(state.models);
  const known = state.stages.reduce((sum, stage) => sum + stage.amount, 0);
  attribute(find("columns"), "data-many", known >= MANY);
}

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
  showAddress(find("contract"), state.oracle, "contract's address");
  showAddress(find("account"), state.account, "account's address");
  text(find("version"), state.version);
}

export function tell(words, tone) {
  const status = find("status");
  text(status, words);
  attribute(status, "data-tone", tone);
}

function showAddress(element, address, what) {
  if (element.dataset.value === address) return;
  element.dataset.value = address;
  const shown = make("span", "", short(address));
  shown.title = address;
  element.replaceChildren(shown, copyButton(address, what));
}

function showWay(stages) {
  keep(find("way"), stages, (stage) => stage.name, (stage) => {
    const item = make("li");
    item.dataset.stage = stage.name;
    const link = inner("");
    link.append(make("span", "name", STAGES[stage.name] ?? stage.name));
    link.append(make("span", "amount"), make("span", "states"));
    item.append(link);
    return item;
  }, (item, stage) => {
    const chosen = wanted().stage === stage.name && !wanted().state;
    attribute(item, "data-busy", stage.amount > 0);
    attribute(item.firstElementChild, "aria-current", chosen ? "true" : null);
    attribute(item.firstElementChild, "href", filtered({ stage: chosen ? "" : stage.name }));
    text(item.querySelector(".amount"), amount(stage.amount));
    const states = Object.entries(stage.states).map(([name, n]) => `${amount(n)} ${name}`);
    text(item.querySelector(".states"), states.join(", ") || "none");
  });
}

function showLoad(load) {
  text(find("load-now"), `${load.running} of ${load.workers}`);
  text(find("load-words"), `proving, ${load.queued ? `${amount(load.queued)}${load.queued < COUNTED ? "" : "+"} waiting` : "none waiting"}`);
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
  keep(find("errors"), errors, (line) => `${line.code} ${line.state || line.where}`, (line) => {
    const item = make("li");
    const head = make("div", "head");
    head.append(make("span", "code", line.code), make("span", "times"), make("time"));
    item.append(head, make("span", "detail"), make("span", "where"));
    return item;
  }, (item, line) => {
    text(item.querySelector("time"), `${age(now - line.at)} ago`);
    text(item.querySelector(".times"), line.count > 1 ? `${amount(line.count)} times in ${age(now - line.since)}` : "");
    text(item.querySelector(".detail"), line.detail);
    showWhere(item.querySelector(".where"), line);
  });
}

// A service's name, or the requests that an error ended.
function showWhere(element, line) {
  const key = `${line.where} ${line.count} ${location.search}`;
  if (element.dataset.shown === key) return;
  element.dataset.shown = key;
  if (!line.state) {
    text(element, line.where);
    return;
  }
  element.replaceChildren(inner(filtered({ id: line.where, request: line.where }), "", `request ${short(line.where)}`));
  if (line.count > 1) element.append(" · ", inner(filtered({ state: line.state }), "", `all ${line.state}`));
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
    const shown = make("dd");
    shown.append(copyable(value, name));
    list.append(make("dt", "", name), shown);
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
