// A number that can be opened: into its torch expression, shape, dtype and nine digits.

import { h, fill } from "./dom.js";
import { t } from "./words.js";

/** A button with the digits of one entry of a line; `index` leads into its nested lists. */
export function value(line, ...index) {
  return h(
    "button",
    {
      type: "button",
      class: "value",
      "aria-haspopup": "dialog",
      title: line.expression,
      onclick: () => open(line, index),
    },
    at(line.short, index),
  );
}

export const at = (nested, index) => index.reduce((list, i) => list[i], nested);

const dialog = h("dialog", { class: "inspector", "aria-labelledby": "inspector-name" });
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
document.body.append(dialog);

function open(line, index) {
  const said = h("p", { role: "status", class: "said" });
  fill(
    dialog,
    h(
      "div",
      { class: "inside" },
      h("h2", { id: "inspector-name" }, h("code", {}, line.name + index.map((i) => `[${i}]`).join(""))),
      h("p", { class: "digits" }, at(line.long, index)),
      h(
        "dl",
        {},
        h("dt", {}, t("value.expression")),
        h("dd", {}, h("code", {}, line.expression)),
        h("dt", {}, t("value.shape")),
        h("dd", {}, h("code", {}, `(${line.shape.join(", ")}${line.shape.length === 1 ? "," : ""})`)),
        h("dt", {}, t("value.dtype")),
        h("dd", {}, h("code", {}, `torch.${line.dtype}`)),
        h("dt", {}, t("value.all")),
        h("dd", { class: "all" }, [line.long].flat(Infinity).join("  ")),
      ),
      h("pre", { tabindex: "0", "aria-label": t("value.python") }, line.python),
      said,
      h(
        "div",
        { class: "buttons" },
        h(
          "button",
          { type: "button", class: "primary", onclick: () => copy(line.python, said) },
          t("value.copy"),
        ),
        h("button", { type: "button", onclick: () => dialog.close() }, t("value.close")),
      ),
    ),
  );
  dialog.showModal();
}

async function copy(text, said) {
  try {
    await navigator.clipboard.writeText(text);
    said.textContent = t("value.copied");
  } catch {
    said.textContent = t("value.copy-by-hand");
  }
}
