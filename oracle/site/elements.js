// Elements and the words in them. Everything shown may be hostile: a model's name, an error's words.
// So nothing here makes elements from text (the server's policy forbids it as well); `text` and
// `make` are the only two ways in.

export const find = (id) => document.getElementById(id);

export function text(element, value) {
  const words = String(value);
  if (element.textContent !== words) element.textContent = words;
  return element;
}

export function attribute(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

export function make(tag, className = "", words = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (words !== "") element.textContent = words;
  return element;
}

// A link within the page: `address.js` follows it without a new document.
export function inner(href, className = "", words = "") {
  const link = make("a", className, words);
  link.dataset.inner = "";
  link.setAttribute("href", href);
  return link;
}

// Tells those who listen to the page instead of seeing it.
export const say = (words) => text(find("said"), words);

// A list whose elements stay the same while their key does.
export function keep(parent, items, key, create, update) {
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

// --- how values read ---

const whole = new Intl.NumberFormat("en");
export const amount = (value) => (value === null ? "–" : whole.format(value));

export function seconds(value) {
  if (value === null) return "–";
  return value < 10 ? `${value.toFixed(2)} s` : `${value.toFixed(0)} s`;
}

export function age(value) {
  const passed = Math.max(0, Math.round(value));
  if (passed < 60) return `${passed} s`;
  if (passed < 3600) return `${Math.floor(passed / 60)} min`;
  if (passed < 172800) return `${Math.floor(passed / 3600)} h`;
  return `${Math.floor(passed / 86400)} d`;
}

export function moment(value) {
  const date = new Date(value * 1000);
  return Number.isNaN(date.getTime()) ? "–" : `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

export const short = (hex) => (hex.length > 14 ? `${hex.slice(0, 8)}…${hex.slice(-4)}` : hex);
export const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)}%`;
export const kilo = (value) => (value < 1e6 ? `${Math.round(value / 1000)}k` : `${(value / 1e6).toFixed(1)}M`);
export const error = (value) => (value === 0 ? "0" : value < 0.001 ? value.toExponential(1) : value.toFixed(4));

export function ether(wei) {
  const digits = String(wei).padStart(19, "0");
  const fraction = digits.slice(-18).replace(/0+$/, "");
  return `${digits.slice(0, -18)}${fraction ? `.${fraction}` : ""} ETH`;
}
