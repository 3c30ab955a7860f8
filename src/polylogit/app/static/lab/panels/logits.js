// From logits to a loss and its gradient; and what torch says to the usual mistakes.

import { h, fill, formula, sub, frac, power } from "../dom.js";
import { t } from "../words.js";
import * as state from "../state.js";
import { ask, latest, live } from "../transport.js";
import { value } from "../value.js";
import { card, choices, slider, complaints, table, fact, ready } from "../parts.js";

export const key = "logits";
export const defaults = {
  "logits.z": "1,2,3",
  "logits.y": "2",
  "logits.t": "1",
  "logits.shift": "on",
  "logits.again": "off",
};

const TEMPERATURES = ["0.1", "0.2", "0.5", "1", "2", "5", "10", "100"];
const PRESETS = {
  lesson: ["1,2,3", "2"],
  same: ["100,101,102", "2"],
  perfect: ["0,200", "1"],
  wrong: ["9,0,0", "1"],
  many: ["2,1,0.1,-1,0.5,-3", "0"],
};

export function mount(body) {
  const complaint = complaints();
  const controls = h("div", { class: "stack tight" });
  const switches = h("div", { class: "stack tight" });
  const sliders = h("div", { class: "stack tight" });
  const typed = h("input", {
    type: "text",
    id: "logits-typed",
    inputmode: "text",
    autocomplete: "off",
    spellcheck: "false",
    onchange: () => type(typed.value),
  });
  const steps = h("div", { class: "scroll" });
  const routes = h("div", { class: "scroll" });
  const verdict = h("p", { "aria-live": "polite", class: "verdict" });
  const pushes = h("div", { class: "scroll" });
  const pairs = h("div", { class: "twins" });
  const heat = slider(t("logits.temperature"), {
    min: 0,
    max: TEMPERATURES.length - 1,
    step: 1,
    value: Math.max(0, TEMPERATURES.indexOf(state.get("logits.t"))),
    change: (i) => state.set({ "logits.t": TEMPERATURES[i] }),
    shown: (i) => TEMPERATURES[i],
  });

  fill(
    controls,
    h("div", { class: "buttons" }, Object.entries(PRESETS).map(preset)),
    h("label", { class: "typed", for: "logits-typed" }, h("span", {}, t("logits.typed")), typed),
    sliders,
    heat,
    switches,
  );
  fill(
    body,
    complaint,
    h(
      "div",
      { class: "columns narrow-left" },
      card(t("logits.controls"), controls),
      card(t("logits.steps"), steps),
    ),
    h(
      "div",
      { class: "columns" },
      card(t("logits.routes"), h("p", { class: "small" }, t("logits.routes-lead")), routes, verdict),
      card(t("logits.pushes"), h("p", { class: "small" }, t("logits.pushes-lead")), pushes),
    ),
    h(
      "section",
      { class: "plain" },
      h("h2", {}, t("logits.twins")),
      h("p", { class: "small" }, t("logits.twins-lead")),
      pairs,
    ),
  );

  const question = latest("logits", paint, complaint.say);
  const refresh = () =>
    question({
      logits: state.numbers("logits.z"),
      target: Number(state.get("logits.y")),
      temperature: Number(state.get("logits.t")),
      shift: state.get("logits.shift") === "on",
      again: state.get("logits.again") === "on",
    });

  function type(text) {
    const numbers = text
      .split(/[\s,;]+/)
      .filter(Boolean)
      .map(Number);
    if (numbers.length < 2 || numbers.length > 10 || !numbers.every(Number.isFinite))
      return complaint.say(new Error(t("logits.typed-wrong")));
    state.set({
      "logits.z": numbers.join(","),
      "logits.y": Math.min(Number(state.get("logits.y")), numbers.length - 1),
    });
  }

  function paint({ asked, lines, agreement, floor }) {
    complaint.clear();
    heat.show(Math.max(0, TEMPERATURES.indexOf(String(asked.temperature))));
    if (document.activeElement !== typed) typed.value = asked.logits.join(", ");
    paintSliders(sliders, asked);
    paintSwitches(switches, asked);
    paintSteps(steps, asked, lines);
    fill(
      routes,
      table(
        t("logits.routes"),
        [t("logits.route"), t("logits.loss")],
        ["low", "low_stable", "nll", "cross"].map((name) => [
          h("code", {}, lines[name].expression),
          nine(lines[name]),
        ]),
      ),
    );
    fill(
      verdict,
      t(`logits.agreement.${agreement}`),
      asked.again && h("span", { class: "block" }, t("logits.floor", { floor: floor.short })),
    );
    verdict.dataset.kind = agreement;
    fill(
      pushes,
      table(
        t("logits.pushes"),
        [t("logits.by"), ...asked.logits.map((_, k) => String(k))],
        ["by_formula", "by_autograd", "by_difference"].map((name) => [
          t(`logits.${name}`),
          ...asked.logits.map((_, k) => value(lines[name], k)),
        ]),
      ),
      arrows(lines.by_formula),
    );
    document.body.dataset.logits = asked.logits.join(",");
    ready(key);
  }

  ask("twins", live ? undefined : {}).then(({ twins }) => fill(pairs, twins.map(twin)), complaint.say);
  refresh();
  return state.listen((keys) => {
    if (keys.some((name) => name.startsWith("logits."))) refresh();
  });
}

const preset = ([name, [z, y]]) =>
  h(
    "button",
    { type: "button", onclick: () => state.set({ "logits.z": z, "logits.y": y }) },
    t(`logits.preset.${name}`),
  );

const nine = (line) => {
  const button = value(line);
  button.textContent = line.long;
  return button;
};

/** One slider a logit; made anew only when there are more or fewer of them. */
function paintSliders(element, asked) {
  if (element.children.length !== asked.logits.length) {
    fill(
      element,
      asked.logits.map((z, k) =>
        slider(t("logits.logit", { k }), {
          min: -10,
          max: 10,
          step: 0.1,
          value: z,
          change: (to) => state.set({ "logits.z": state.numbers("logits.z").with(k, Number(to)).join(",") }),
          shown: (x) => x,
        }),
      ),
    );
  }
  [...element.children].forEach((one, k) => one.show(asked.logits[k]));
}

function paintSwitches(element, asked) {
  const pick = (name, label, options, chosen) =>
    h(
      "div",
      { class: "choice" },
      h("span", {}, label),
      choices(label, options, chosen, (to) => state.set({ [name]: to })),
    );
  const yesNo = [
    ["on", t("logits.on")],
    ["off", t("logits.off")],
  ];
  fill(
    element,
    pick(
      "logits.y",
      t("logits.target"),
      asked.logits.map((_, k) => [String(k), String(k)]),
      String(asked.target),
    ),
    pick("logits.shift", t("logits.shift"), yesNo, asked.shift ? "on" : "off"),
    pick("logits.again", t("logits.again"), yesNo, asked.again ? "on" : "off"),
  );
}

function paintSteps(element, asked, lines) {
  const z = () => sub("z", "k"); // made anew for every place it stands in
  const s = () => sub("s", "k");
  const cells = (name) => asked.logits.map((_, k) => value(lines[name], k));
  const rows = [
    [["z"], t("logits.step.z"), formula(z()), cells("z")],
    [["scaled"], t("logits.step.scaled"), formula(frac([z()], ["T"])), cells("scaled")],
    [
      ["shifted"],
      t(asked.shift ? "logits.step.shifted" : "logits.step.unshifted"),
      asked.shift ? formula(s(), "=", frac([z()], ["T"]), "−", "max") : formula(s(), "=", frac([z()], ["T"])),
      cells("shifted"),
    ],
    [["powers"], t("logits.step.powers"), formula(power("e", [s()])), cells("powers"), value(lines.total)],
    [
      ["p"],
      t("logits.step.p"),
      formula(sub("p", "k"), "=", frac([power("e", [s()])], ["∑", power("e", [sub("s", "j")])])),
      cells("p"),
    ],
    [["bars"], "", "", asked.logits.map((_, k) => column(lines.p.drawn[k], k === lines.winner.drawn))],
    ...(asked.again ? [[["fed"], t("logits.step.fed"), formula(sub("p", "k")), cells("fed")]] : []),
    [["one_hot"], t("logits.step.one-hot"), formula(sub("y", "k")), cells("one_hot")],
    [
      ["surprise"],
      t("logits.step.surprise"),
      asked.again ? formula("−", "log", "softmax", "(", "p", ")") : formula("−", "log", sub("p", "k")),
      cells("surprise"),
      value(lines.picked),
    ],
  ];
  fill(
    element,
    h(
      "table",
      { class: "steps" },
      h("caption", { class: "unseen" }, t("logits.steps")),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col" }, t("logits.step")),
          asked.logits.map((_, k) =>
            h("th", { scope: "col", class: k === asked.target ? "target" : null }, t("logits.class", { k })),
          ),
          h("th", { scope: "col" }, "∑"),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map(([[name], label, shown, numbers, total]) =>
          h(
            "tr",
            { class: `row-${name}` },
            name === "bars"
              ? h("td")
              : h(
                  "th",
                  { scope: "row" },
                  h(
                    "div",
                    { class: "step-name" },
                    h("span", { class: "math" }, shown),
                    h("span", { class: "small" }, label),
                  ),
                ),
            numbers.map((number, k) =>
              h(
                "td",
                { class: k === asked.target ? (name === "surprise" ? "target picked" : "target") : null },
                number,
              ),
            ),
            h("td", { class: "total" }, total),
          ),
        ),
      ),
    ),
    h(
      "dl",
      { class: "facts across" },
      fact(t("logits.winner"), value(lines.winner)),
      fact(t("logits.entropy"), value(lines.entropy)),
      fact(t("logits.picked"), value(lines.picked)),
    ),
  );
}

function column(part, best) {
  const bar = h("div", { class: best ? "bar-column best" : "bar-column", "aria-hidden": "true" });
  bar.style.setProperty("--share", part ?? 0);
  return bar;
}

/** The gradient as pushes to the left (down) and right (up) that cancel. */
function arrows(line) {
  const largest = Math.max(...line.drawn.map((g) => Math.abs(g ?? 0)), 1e-12);
  return h(
    "div",
    { class: "pushes", "aria-hidden": "true" },
    line.drawn.map((g, k) => {
      const bar = h("div", { class: g > 0 ? "push down" : "push up" });
      bar.style.setProperty("--share", Math.abs(g ?? 0) / largest);
      return h("div", { class: "lane" }, h("span", { class: "small" }, String(k)), bar);
    }),
  );
}

function twin({ name, wrong, right }) {
  const side = (kind, sign, { code, ...said }) =>
    h(
      "div",
      { class: `side ${kind}` },
      h("p", { class: "sign" }, sign),
      h("code", {}, code),
      said.error
        ? h("p", { class: "said-error" }, said.error)
        : h("p", { class: "said-value" }, flat(said.short)),
    );
  return h(
    "details",
    { class: "card twin", open: roomy.matches },
    h("summary", {}, h("h3", {}, t(`twin.${name}.title`))),
    side("wrong", t("logits.wrong"), wrong),
    side("right", t("logits.right"), right),
    h("p", { class: "small" }, t(`twin.${name}.why`)),
  );
}

const roomy = matchMedia("(min-width: 48rem)"); // on a phone the list is short until a pair is opened

const flat = (short) => (Array.isArray(short) ? `[${short.map(flat).join(", ")}]` : short);
