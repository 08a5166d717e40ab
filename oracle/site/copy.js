// Copies a whole id, hash or address with one press. Browsers give a page their clipboard only over
// https or on the reader's own machine; elsewhere a field with the value is selected and copied as
// by hand, and stays selected where even that is refused.

import { find, make, say } from "/elements.js";

const LONG = 1600;
const SVG = "http://www.w3.org/2000/svg";

export function copyButton(value, what) {
  const button = make("button", "copy");
  button.type = "button";
  button.dataset.value = value;
  button.setAttribute("aria-label", `Copy ${what}`);
  button.title = `Copy ${what}`;
  button.append(icon(), make("span", "done"));
  button.addEventListener("click", () => copy(button, what));
  return button;
}

// The whole value with its button.
export function copyable(value, what) {
  const box = make("span", "copyable");
  box.append(make("code", "", value), copyButton(value, what));
  return box;
}

async function copy(button, what) {
  const value = button.dataset.value;
  if (await byClipboard(value) || byField(button, value, what)) {
    button.dataset.copied = "";
    button.querySelector(".done").textContent = "Copied";
    say(`Copied ${what}`);
    setTimeout(() => {
      delete button.dataset.copied;
      button.querySelector(".done").textContent = "";
      if (find("said").textContent === `Copied ${what}`) say("");
    }, LONG);
  }
}

async function byClipboard(value) {
  try {
    await navigator.clipboard.writeText(value);
    return true;
  } catch {
    return false; // none here, or not for this page: by hand then
  }
}

function byField(button, value, what) {
  const field = make("input", "copyfield");
  field.readOnly = true;
  field.value = value;
  field.setAttribute("aria-label", `The ${what}, to be copied by hand`);
  button.after(field);
  field.focus();
  field.setSelectionRange(0, value.length);
  if (document.execCommand("copy")) {
    field.remove();
    button.focus();
    return true;
  }
  say(`The ${what} is selected: copy it with your keyboard or menu`);
  field.addEventListener("blur", () => field.remove());
  return false;
}

function icon() {
  const drawing = document.createElementNS(SVG, "svg");
  for (const [name, value] of [["viewBox", "0 0 16 16"], ["aria-hidden", "true"]]) {
    drawing.setAttribute(name, value);
  }
  for (const d of ["M6 5.500h7.500v8H6z", "M10 5V2.500H2.500v8H5.500"]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    drawing.append(path);
  }
  return drawing;
}
