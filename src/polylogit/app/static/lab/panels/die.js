// A die P that can be loaded, and what Q believes of it.

import { h, svg, fill, formula, sub } from "../dom.js";
import { t } from "../words.js";
import * as state from "../state.js";
import { latest } from "../transport.js";
import { value } from "../value.js";
import { card, choices, slider, complaints, chart, fact, ready } from "../parts.js";

export const key = "die";
export const defaults = {
  "die.p": "1,1,1,1,1,1",
  "die.q": "1,1,1,1,1,5",
  "die.unit": "nats",
  "die.rolls": "1000",
  "die.seed": "0",
};

const PRESETS = {
  fair: ["1,1,1,1,1,1", "1,1,1,1,1,1"],
  loaded: ["1,1,1,1,1,5", "1,1,1,1,1,1"],
  mistaken: ["1,1,1,1,1,1", "1,1,1,1,1,5"],
  sure: ["0,0,0,0,0,1", "1,1,1,1,1,5"],
  impossible: ["1,1,1,1,1,1", "0,1,1,1,1,1"],
};
const PIPS = [[4], [0, 8], [0, 4, 8], [0, 2, 6, 8], [0, 2, 4, 6, 8], [0, 2, 3, 5, 6, 8]];

export function mount(body) {
  const complaint = complaints();
  const sliders = ["p", "q"].map((which) => PIPS.map((_, face) => weight(which, face)));
  const cells = PIPS.map(() => ({ p: h("td"), q: h("td"), surprise: h("td") }));
  const facts = h("div");
  const lengths = h("div", { class: "lengths" });
  const rolls = h("div", { class: "columns" });
  const rolling = h("div", { class: "inline" });
  const unit = h("div", { class: "inline" });

  fill(
    body,
    complaint,
    h(
      "div",
      { class: "columns" },
      card(t("die.faces"), presets(), faces(sliders, cells)),
      card(t("die.lengths"), unit, lengths, facts),
    ),
    card(t("die.rolls"), h("p", { class: "small" }, t("die.rolls-lead")), rolling, rolls),
  );

  const ask = latest("die", paint, complaint.say);
  const refresh = () =>
    ask({
      p: state.numbers("die.p"),
      q: state.numbers("die.q"),
      rolls: Number(state.get("die.rolls")),
      seed: Number(state.get("die.seed")),
    });

  function paint({ asked, lines, rolls: rolled }) {
    complaint.clear();
    ["p", "q"].forEach((which, side) => sliders[side].forEach((one, face) => one.show(asked[which][face])));
    cells.forEach((cell, face) => {
      for (const which of ["p", "q"])
        fill(cell[which], value(lines[which], face), share(which, lines[which].drawn[face]));
      fill(cell.surprise, value(lines.surprise, face));
    });
    const ending = state.get("die.unit") === "bits" ? "_bits" : "";
    paintUnit();
    paintLengths(lines, ending);
    fill(facts, facts_(lines, ending));
    ready(key);
    fill(rolling, rollControls());
    fill(rolls, h("div", {}, curve(rolled, lines)), frequencies(rolled, lines));
  }

  function paintUnit() {
    fill(
      unit,
      choices(
        t("die.unit"),
        [
          ["nats", t("die.nats")],
          ["bits", t("die.bits")],
        ],
        state.get("die.unit"),
        (name) => state.set({ "die.unit": name }),
      ),
    );
  }

  function paintLengths(lines, ending) {
    const [H, KL, CE] = ["entropy", "kl", "cross_entropy"].map((name) => lines[name + ending]);
    const whole = Math.max(CE.drawn ?? H.drawn * 2 + 1, 1e-9);
    const bar = (kind, line, name) => {
      const part = h("div", { class: `part ${kind}` }, h("span", {}, name), value(line));
      part.style.flexGrow = String(Math.max(0, line.drawn ?? whole - H.drawn) / whole);
      return part;
    };
    fill(
      lengths,
      h("div", { class: "sum" }, bar("entropy", H, "H(P)"), bar("kl", KL, "KL(P‖Q)")),
      h("div", { class: "sum" }, bar("cross", CE, "H(P, Q)")),
    );
  }

  refresh();
  return state.listen((keys) => {
    if (keys.some((name) => name.startsWith("die."))) refresh();
  });
}

function weight(which, face) {
  const change = (to) =>
    state.set({ [`die.${which}`]: state.numbers(`die.${which}`).with(face, Number(to)).join(",") });
  const label = t(`die.weight-${which}`, { face: face + 1 });
  const element = slider(label, {
    min: 0,
    max: 10,
    step: 1,
    value: state.numbers(`die.${which}`)[face],
    change,
  });
  element.classList.add("bare");
  return element;
}

function presets() {
  const use = (p, q) => state.set({ "die.p": p, "die.q": q });
  return h(
    "div",
    { class: "buttons" },
    Object.entries(PRESETS).map(([name, [p, q]]) =>
      h("button", { type: "button", onclick: () => use(p, q) }, t(`die.preset.${name}`)),
    ),
    h(
      "button",
      { type: "button", onclick: () => use(state.get("die.q"), state.get("die.p")) },
      t("die.swap"),
    ),
  );
}

function faces(sliders, cells) {
  return h(
    "table",
    { class: "faces" },
    h("caption", { class: "unseen" }, t("die.faces")),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        h("th", { scope: "col" }, h("span", { class: "unseen" }, t("die.face"))),
        h("th", { scope: "col", colspan: 2 }, t("die.p")),
        h("th", { scope: "col", colspan: 2 }, t("die.q")),
        h("th", { scope: "col", class: "wide" }, "−log q"),
      ),
    ),
    h(
      "tbody",
      {},
      PIPS.map((pips, face) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, picture(pips, face)),
          h("td", {}, sliders[0][face]),
          cells[face].p,
          h("td", {}, sliders[1][face]),
          cells[face].q,
          cells[face].surprise,
        ),
      ),
    ),
  );
}

const picture = (pips, face) =>
  svg(
    "svg",
    {
      class: "die",
      viewBox: "0 0 30 30",
      width: 30,
      height: 30,
      role: "img",
      "aria-label": String(face + 1),
    },
    svg("rect", { x: 1, y: 1, width: 28, height: 28, rx: 6 }),
    pips.map((pip) => svg("circle", { cx: 8 + 7 * (pip % 3), cy: 8 + 7 * Math.floor(pip / 3), r: 2.6 })),
  );

function share(which, part) {
  const bar = h("div", { class: `share ${which}`, "aria-hidden": "true" });
  bar.style.setProperty("--share", part);
  return bar;
}

function facts_(lines, ending) {
  const name = (text) => formula(...text);
  return h(
    "dl",
    { class: "facts" },
    fact(
      name(["H", "(", "P", ")", "=", "−", "∑", sub("p", "k"), "log", sub("p", "k")]),
      value(lines["entropy" + ending]),
    ),
    fact(
      name(["H", "(", "P", ",", "Q", ")", "=", "−", "∑", sub("p", "k"), "log", sub("q", "k")]),
      value(lines["cross_entropy" + ending]),
    ),
    fact(name(["KL", "(", "P", "‖", "Q", ")"]), value(lines["kl" + ending])),
    fact(name(["KL", "(", "Q", "‖", "P", ")"]), value(lines["kl_reverse" + ending]), t("die.asymmetric")),
  );
}

function rollControls() {
  return [
    choices(
      t("die.count"),
      ["10", "100", "1000", "10000", "100000"].map((n) => [n, Number(n).toLocaleString("en")]),
      state.get("die.rolls"),
      (n) => state.set({ "die.rolls": n }),
    ),
    h(
      "button",
      { type: "button", onclick: () => state.set({ "die.seed": Number(state.get("die.seed")) + 1 }) },
      t("die.again"),
    ),
  ];
}

function curve(rolled, lines) {
  const goal = lines.cross_entropy;
  if (goal.drawn === null) return h("p", { class: "note" }, t("die.never"));
  const points = rolled.counts.map((n, i) => [n, rolled.running[i]]);
  const high = Math.max(goal.drawn * 1.6, 0.5);
  return [
    chart(t("die.curve"), {
      lines: [{ class: "main", points }],
      levels: [{ y: goal.drawn, text: `H(P, Q) = ${goal.short} nats` }],
      ends: [rolled.counts[0], rolled.counts.at(-1)],
      logX: true,
      low: 0,
      high,
    }),
    h("p", { class: "small" }, t("die.mean", { mean: rolled.mean.short, goal: goal.short })),
  ];
}

/** How often each face came up, beside how often P says it should. */
function frequencies(rolled, lines) {
  const tallest = Math.max(...rolled.frequency.drawn, ...lines.p.drawn);
  const columns = rolled.frequency.drawn.map((part, face) => {
    const column = h("div", { class: "column" }, h("span", { class: "small" }, rolled.frequency.short[face]));
    column.style.setProperty("--share", part / tallest);
    column.style.setProperty("--truth", lines.p.drawn[face] / tallest);
    return column;
  });
  return h(
    "div",
    {},
    h("h3", {}, t("die.frequency")),
    h("div", { class: "frequencies" }, columns),
    h("p", { class: "small" }, t("die.dashes")),
  );
}
