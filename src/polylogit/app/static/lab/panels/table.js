// One's own table: fit it, and walk any row from its cells to its probabilities.

import { h, fill } from "../dom.js";
import { t } from "../words.js";
import * as state from "../state.js";
import { ask, live } from "../transport.js";
import { value } from "../value.js";
import { card, choices, slider, complaints, fact, badge, ready } from "../parts.js";

export const key = "table";
export const defaults = { "table.example": "penguins", "table.target": "", "table.row": "1", "table.c": "1" };

const STRENGTHS = live ? ["0.001", "0.01", "0.1", "1", "10", "100", "1000"] : ["1"];
const SHOWN = 12; // contributions, the largest first

let own = null; // {name, text} of a file that was opened; it stays in this page

export function mount(body) {
  const complaint = complaints();
  const sources = h("div");
  const columns = h("select", {
    id: "table-target",
    onchange: () => state.set({ "table.target": columns.value, "table.row": "1" }),
  });
  const about = h("dl", { class: "facts" });
  const proof = h("p", { class: "small" });
  const place = h("input", {
    type: "number",
    id: "table-row",
    min: "1",
    step: "1",
    onchange: () => state.set({ "table.row": place.value || "1" }),
  });
  const of = h("span", { class: "small" });
  const walked = h("div", { class: "stack" });
  const head = h("div", { class: "stack tight" });
  const file = h("input", {
    type: "file",
    id: "table-file",
    accept: ".csv,.tsv,.txt,text/csv",
    onchange: open,
  });
  let fitted = null;

  fill(
    body,
    complaint,
    h(
      "div",
      { class: "columns narrow-left" },
      h(
        "div",
        { class: "stack" },
        card(
          t("table.source"),
          sources,
          live && h("label", { class: "file", for: "table-file" }, h("span", {}, t("table.open")), file),
          live && h("p", { class: "small" }, t("table.stays")),
          h("div", { class: "typed" }, h("label", { for: "table-target" }, t("table.target")), columns),
          slider(t("table.strength"), {
            min: 0,
            max: STRENGTHS.length - 1,
            step: 1,
            value: Math.max(0, STRENGTHS.indexOf(state.get("table.c"))),
            change: (i) => state.set({ "table.c": STRENGTHS[i] }),
            shown: (i) => STRENGTHS[i],
          }),
        ),
        card(t("table.fit"), about, proof),
      ),
      h(
        "div",
        { class: "stack" },
        card(
          t("table.walk"),
          h(
            "div",
            { class: "inline" },
            h("label", { for: "table-row" }, t("table.row")),
            place,
            of,
            h("button", { type: "button", onclick: () => step(-1) }, t("table.previous")),
            h("button", { type: "button", onclick: () => step(1) }, t("table.next")),
          ),
          head,
        ),
        walked,
      ),
    ),
  );

  const question = () => {
    const source =
      state.get("table.example") === "own" && own
        ? { text: own.text }
        : { example: state.get("table.example") === "lesson" ? "lesson" : "penguins" };
    const target = state.get("table.target");
    return { ...source, ...(target ? { target } : {}), C: Number(state.get("table.c")) };
  };

  async function open() {
    const [chosen] = file.files;
    if (!chosen) return;
    own = { name: chosen.name, text: await chosen.text() };
    state.set({ "table.example": "own", "table.target": "", "table.row": "1" });
  }

  async function look() {
    paintSources();
    try {
      fitted = await ask("table/fit", question());
      paintFit();
      await walk();
    } catch (error) {
      complaint.say(error);
      ready(key);
    }
  }

  async function walk() {
    const row = Math.min(Math.max(1, Math.round(Number(state.get("table.row"))) || 1), fitted.rows);
    try {
      paintRow(await ask("table/row", { ...question(), row }));
      complaint.clear();
    } catch (error) {
      complaint.say(error);
    }
    ready(key);
  }

  const step = (by) =>
    fitted &&
    state.set({ "table.row": ((Number(state.get("table.row")) - 1 + by + fitted.rows) % fitted.rows) + 1 });

  function paintSources() {
    const names = [
      ["penguins", t("table.penguins")],
      ["lesson", t("table.lesson")],
      ...(own ? [["own", own.name]] : []),
    ];
    const chosen = state.get("table.example") === "own" && !own ? "penguins" : state.get("table.example");
    fill(
      sources,
      choices(t("table.source"), names, chosen, (name) =>
        state.set({ "table.example": name, "table.target": "", "table.row": "1" }),
      ),
    );
  }

  function paintFit() {
    fill(
      columns,
      fitted.columns.map((name) => h("option", { value: name, selected: name === fitted.target }, name)),
    );
    fill(
      about,
      fact(t("table.rows"), String(fitted.rows)),
      fact(t("table.features"), String(fitted.features.length)),
      fact(t("table.classes"), String(fitted.classes.length)),
      fact(t("table.accuracy"), fitted.accuracy),
      fact(t("table.objective"), fitted.objective),
    );
    proof.textContent = t("table.proof", { proof: fitted.proof });
    of.textContent = t("table.of", { last: fitted.rows });
    place.max = String(fitted.rows);
  }

  function paintRow(row) {
    const { lines } = row;
    if (document.activeElement !== place) place.value = String(row.row);
    const name = (k) => badge(k, row.classes[k]);
    const right = row.truth === row.predicted;
    fill(
      head,
      h(
        "p",
        { class: "verdict", "data-kind": right ? "equal" : "broken" },
        t(right ? "table.right" : "table.wrong", {
          predicted: row.predicted,
          truth: row.truth,
          runner: row.runner_up,
        }),
      ),
      row.edges.length > 0 && h("p", { class: "small" }, t("table.edges", { names: row.edges.join(", ") })),
    );
    const probabilities = h(
      "table",
      { class: "row-classes" },
      h("caption", { class: "unseen" }, t("table.probabilities")),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          [t("table.class"), t("table.logit"), "p", ""].map((text) =>
            text ? h("th", { scope: "col" }, text) : h("td"),
          ),
        ),
      ),
      h(
        "tbody",
        {},
        row.classes.map((_, k) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, name(k)),
            h("td", {}, value(lines.z, k)),
            h("td", {}, value(lines.p, k)),
            h("td", { class: "wide" }, shareBar(lines.p.drawn[k])),
          ),
        ),
      ),
    );
    const largest = Math.max(...lines.contributions.drawn.map(Math.abs), Math.abs(lines.base.drawn), 1e-12);
    const line = (label, x, number, drawn) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, label),
        h("td", {}, x),
        h("td", {}, number),
        h("td", { class: "wide" }, signedBar(drawn / largest)),
      );
    const contributions = h(
      "table",
      { class: "row-contributions" },
      h("caption", { class: "unseen" }, t("table.contributions")),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col" }, t("table.feature")),
          h("th", { scope: "col" }, "x"),
          h("th", { scope: "col" }, t("table.contribution")),
          h("td"),
        ),
      ),
      h(
        "tbody",
        {},
        line(t("table.base"), "", value(lines.base), lines.base.drawn),
        row.features
          .slice(0, SHOWN)
          .map((one, d) =>
            line(
              one.name,
              one.value ?? t("table.missing"),
              value(lines.contributions, d),
              lines.contributions.drawn[d],
            ),
          ),
        line(t("table.margin"), "", value(lines.margin), lines.margin.drawn),
      ),
    );
    fill(
      walked,
      card(t("table.probabilities"), probabilities),
      card(
        t("table.contributions"),
        h(
          "p",
          { class: "small" },
          t("table.contributions-lead", { predicted: row.predicted, runner: row.runner_up }),
        ),
        h("div", { class: "scroll" }, contributions),
        row.features.length > SHOWN &&
          h("p", { class: "small" }, t("table.more", { shown: SHOWN, all: row.features.length })),
        row.flip && h("p", { class: "verdict" }, t("table.flip", row.flip)),
        h("p", { class: "small" }, t("table.arithmetic")),
      ),
    );
  }

  look();
  return state.listen((keys) => {
    if (keys.some((name) => ["table.example", "table.target", "table.c"].includes(name))) look();
    else if (keys.includes("table.row") && fitted) walk();
  });
}

function shareBar(part) {
  const bar = h("div", { class: "share p tall", "aria-hidden": "true" });
  bar.style.setProperty("--share", part ?? 0);
  return bar;
}

function signedBar(part) {
  const bar = h("div", { class: part < 0 ? "push down" : "push up", "aria-hidden": "true" });
  bar.style.setProperty("--share", Math.min(1, Math.abs(part)));
  return bar;
}
