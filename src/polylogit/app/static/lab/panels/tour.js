// Three numbers for "the same" model, and why: predict first, then see.

import { h, fill } from "../dom.js";
import { t } from "../words.js";
import * as state from "../state.js";
import { ask, live } from "../transport.js";
import { value } from "../value.js";
import { card, complaints, chart, fact, ready } from "../parts.js";

export const key = "tour";
export const defaults = { "tour.step": "0", "tour.said": "", "tour.seen": "" };

/** The questions in order: which answer is right, and the numbers that show it. */
const STEPS = [
  { name: "start", right: 1, shows: ({ lines }) => [["ln 3", value(lines.start)]] },
  {
    name: "differ",
    right: 2,
    shows: ({ cells }) => [
      ["twice", cost(cells.twice)],
      ["shared", cost(cells.shared)],
    ],
  },
  {
    name: "floor",
    right: 1,
    shows: ({ cells, lines }) => [
      ["ln(e + 2) − 1", value(lines.floor)],
      ["twice-longer", cost(cells.twice_longer)],
    ],
  },
  {
    name: "shift",
    right: 0,
    shows: ({ lines }) => [
      ["softmax(z)", lines.p.short.map((_, k) => value(lines.p, k))],
      ["softmax(z + 5)", lines.p_shifted.short.map((_, k) => value(lines.p_shifted, k))],
    ],
  },
  {
    name: "bias",
    right: 2,
    shows: ({ cells }) => [
      ["b", value(cells.shared.lines.b, 0)],
      ["accuracy", value(cells.shared.lines.accuracy)],
    ],
  },
  {
    name: "own",
    right: 0,
    shows: ({ cells }) => [
      ["right", cost(cells.right)],
      ["accuracy", value(cells.right.lines.accuracy)],
      ["b", cells.right.lines.b.short.map((_, k) => value(cells.right.lines.b, k))],
    ],
  },
  {
    name: "longer",
    right: 1,
    shows: ({ cells }) => [
      ["right-longer", cost(cells.right_longer)],
      ["norm", value(cells.right.lines.norm)],
      ["norm-longer", value(cells.right_longer.lines.norm)],
    ],
  },
  { name: "optimum", right: 2, shows: ({ optimum }) => [["objective", optimum.objective]] },
];

export function mount(body) {
  const complaint = complaints();
  const numbers = h("div", { class: "three" });
  const question = h("div");
  const picture = h("div");
  let told = null;
  fill(body, complaint, numbers, h("div", { class: "columns" }, question, card(t("tour.curves"), picture)));

  const at = () => Math.min(Math.max(0, Number(state.get("tour.step")) || 0), STEPS.length - 1);
  const list = (name) => state.get(name).split(",");
  const said = () => list("tour.said")[at()] ?? "";
  const seen = (step) => list("tour.seen").includes(String(step));

  function draw() {
    if (!told) return;
    paintNumbers();
    paintQuestion();
    paintCurves();
    ready(key);
  }

  function paintNumbers() {
    const reasons = { twice: 1, shared: 4, right: 5 };
    fill(
      numbers,
      Object.entries(reasons).map(([name, step]) =>
        h(
          "section",
          { class: `card number ${name}` },
          h("h2", {}, t(`tour.cell.${name}`)),
          h("p", { class: "digits" }, cost(told.cells[name])),
          h("code", {}, told.cells[name].hypothesis),
          h("p", { class: "small" }, seen(step) ? t(`tour.reason.${name}`) : t("tour.reason.hidden")),
        ),
      ),
    );
  }

  function paintQuestion() {
    const step = at();
    const { name, right, shows } = STEPS[step];
    const open = seen(step);
    const last = step === STEPS.length - 1;
    const option = (i) =>
      h(
        "label",
        {
          class: `option${open && i === right ? " right" : ""}${open && i !== right && said() === String(i) ? " wrong" : ""}`,
        },
        h("input", {
          type: "radio",
          name: `tour-${name}`,
          value: String(i),
          checked: said() === String(i),
          disabled: open,
          onchange: () => answer(i),
        }),
        h("span", {}, t(`tour.${name}.${i}`)),
        open && i === right && h("span", { class: "tick" }, "✓"),
      );
    fill(
      question,
      card(
        null,
        h("p", { class: "small" }, t("tour.progress", { step: step + 1, steps: STEPS.length })),
        h("progress", {
          max: STEPS.length,
          value: [...STEPS.keys()].filter(seen).length,
          "aria-label": t("tour.progress-label"),
        }),
        h("fieldset", {}, h("legend", {}, t(`tour.${name}.question`)), [0, 1, 2].map(option)),
        open &&
          h(
            "div",
            { class: "answer", tabindex: "-1", id: "tour-answer" },
            h(
              "p",
              { class: "verdict", "data-kind": said() === String(right) ? "equal" : "close" },
              h("strong", {}, t(said() === String(right) ? "tour.well" : "tour.not")),
              " ",
              t(`tour.${name}.answer`),
            ),
            h(
              "dl",
              { class: "facts" },
              shows(told).map(([label, number]) =>
                fact(label.match(/^[a-z-]+$/) && label !== "b" ? t(`tour.fact.${label}`) : label, number),
              ),
            ),
            name === "longer" && h("p", { class: "small" }, t("tour.library", { words: told.without })),
            name === "optimum" &&
              h("p", { class: "small" }, t("tour.library", { words: told.optimum.proof })),
          ),
        h(
          "div",
          { class: "buttons" },
          step > 0 && h("button", { type: "button", onclick: () => go(step - 1) }, t("tour.back")),
          !open &&
            h(
              "button",
              { type: "button", id: "tour-show", class: "primary", disabled: said() === "", onclick: show },
              t("tour.show"),
            ),
          open &&
            !last &&
            h(
              "button",
              { type: "button", id: "tour-next", class: "primary", onclick: () => go(step + 1) },
              t("tour.next"),
            ),
          open && last && h("button", { type: "button", onclick: again }, t("tour.again")),
        ),
        open && last && h("p", { class: "end" }, t("tour.end")),
      ),
    );
  }

  function paintCurves() {
    const levels = [{ y: told.lines.start.drawn, text: `ln 3 = ${told.lines.start.short}` }];
    if (seen(2))
      levels.push({
        y: told.lines.floor.drawn,
        text: t("tour.floor-level", { floor: told.lines.floor.short }),
      });
    const names = ["twice", "shared", "right"];
    fill(
      picture,
      chart(t("tour.curves"), {
        lines: names.map((name) => ({ class: name, points: told.cells[name].curve })),
        levels,
        ends: ["0", String(told.cells.right.epochs)],
        low: 0,
        height: 280,
      }),
      h(
        "p",
        { class: "inline small keys" },
        names.map((name) => h("span", { class: `key ${name}` }, t(`tour.cell.${name}`))),
      ),
      h("details", {}, h("summary", {}, t("tour.printed")), h("div", { class: "scroll" }, costs())),
    );
  }

  function costs() {
    const names = ["twice", "shared", "right"];
    return h(
      "table",
      { class: "printed" },
      h("caption", { class: "unseen" }, t("tour.printed")),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col" }, t("tour.epoch")),
          names.map((name) => h("th", { scope: "col" }, t(`tour.cell.${name}`))),
        ),
      ),
      h(
        "tbody",
        {},
        told.cells.right.curve.map(([epoch], i) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, String(epoch)),
            names.map((name) => h("td", {}, told.cells[name].printed[i])),
          ),
        ),
      ),
    );
  }

  function answer(i) {
    const all = list("tour.said");
    while (all.length < STEPS.length) all.push("");
    all[at()] = i;
    state.set({ "tour.said": all.join(",") });
  }

  function show() {
    state.set({ "tour.seen": [...list("tour.seen").filter(Boolean), at()].join(",") });
    document.getElementById(at() === STEPS.length - 1 ? "tour-answer" : "tour-next").focus();
  }

  function go(step) {
    state.set({ "tour.step": step });
    question.querySelector("input:checked, input")?.focus();
  }

  const again = () => state.set({ "tour.step": "0", "tour.said": "", "tour.seen": "" });

  ask("tour", live ? undefined : {}).then((answer_) => {
    told = answer_;
    draw();
  }, complaint.say);
  return state.listen((keys) => {
    if (keys.some((name) => name.startsWith("tour."))) draw();
  });
}

/** The last cost with the lesson's six digits, which opens into the whole cell. */
function cost(cell) {
  const button = value(cell.lines.cost);
  button.textContent = cell.lines.cost.long;
  return button;
}
