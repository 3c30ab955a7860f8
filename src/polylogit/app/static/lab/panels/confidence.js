// Honest confidence: how often is the model right when it is this sure?

import { h, svg, fill } from "../dom.js";
import { t } from "../words.js";
import * as state from "../state.js";
import { latest } from "../transport.js";
import { value } from "../value.js";
import { card, slider, complaints, fact, ready } from "../parts.js";

export const key = "confidence";
export const defaults = { "confidence.c": "100", "confidence.t": "1" };

const STRENGTHS = ["0.001", "0.01", "0.1", "1", "10", "100", "1000", "10000"];
const TEMPERATURES = ["0.25", "0.5", "0.7", "1", "1.5", "2", "3", "5", "10"];

export function mount(body) {
  const complaint = complaints();
  const diagram = h("div");
  const bins = h("div", { class: "scroll" });
  const facts = h("dl", { class: "facts" });
  const far = h("div", { class: "scroll" });
  const listed = (label, name, list) =>
    slider(label, {
      min: 0,
      max: list.length - 1,
      step: 1,
      value: Math.max(0, list.indexOf(state.get(name))),
      change: (i) => state.set({ [name]: list[i] }),
      shown: (i) => list[i],
    });

  fill(
    body,
    complaint,
    h(
      "div",
      { class: "columns" },
      card(t("confidence.diagram"), diagram, h("details", {}, h("summary", {}, t("confidence.bins")), bins)),
      h(
        "div",
        { class: "stack" },
        card(
          t("confidence.settings"),
          h("p", { class: "small" }, t("confidence.data")),
          listed(t("confidence.strength"), "confidence.c", STRENGTHS),
          listed(t("confidence.temperature"), "confidence.t", TEMPERATURES),
          facts,
          h("p", { class: "small" }, t("confidence.cure")),
        ),
        card(t("confidence.far"), h("p", { class: "small" }, t("confidence.far-lead")), far),
      ),
    ),
  );

  const question = latest("confidence", paint, complaint.say);
  const refresh = () =>
    question({ C: Number(state.get("confidence.c")), temperature: Number(state.get("confidence.t")) });

  function paint(answer) {
    complaint.clear();
    fill(diagram, drawn(answer.bins));
    fill(
      bins,
      h(
        "table",
        { class: "bins" },
        h("caption", { class: "unseen" }, t("confidence.bins")),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["confidence.rows", "confidence.sure", "confidence.right"].map((name) =>
              h("th", { scope: "col" }, t(name)),
            ),
          ),
        ),
        h(
          "tbody",
          {},
          answer.bins.map((bin) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, String(bin.rows)),
              h("td", {}, bin.sure.short),
              h("td", {}, bin.right.short),
            ),
          ),
        ),
      ),
    );
    fill(
      facts,
      fact(t("confidence.accuracy"), answer.accuracy),
      fact(t("confidence.mean"), answer.confidence),
      fact(t("confidence.smooth-error"), answer.smooth_error),
      fact(t("confidence.log-loss"), answer.log_loss),
      fact(t("confidence.brier"), answer.brier),
    );
    fill(
      far,
      h(
        "table",
        {},
        h("caption", { class: "unseen" }, t("confidence.far")),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, t("confidence.row")),
            answer.far[0].p.short.map((_, k) => h("th", { scope: "col" }, `p[${k}]`)),
          ),
        ),
        h(
          "tbody",
          {},
          answer.far.map(({ factor, p }) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, `${factor} · x`),
              p.short.map((_, k) => h("td", {}, value(p, k))),
            ),
          ),
        ),
      ),
    );
    ready(key);
  }

  refresh();
  return state.listen((keys) => {
    if (keys.some((name) => name.startsWith("confidence."))) refresh();
  });
}

const SIZE = 420;
const EDGE = 34;
const at = (part) => EDGE + part * (SIZE - 2 * EDGE);

/** Sure across, right upwards; on the diagonal confidence is honest. Areas tell how many rows. */
function drawn(bins) {
  const most = Math.max(...bins.map((bin) => bin.rows));
  const Y = (part) => SIZE - at(part);
  return svg(
    "svg",
    {
      class: "chart square",
      viewBox: `0 0 ${SIZE} ${SIZE}`,
      role: "img",
      "aria-label": t("confidence.diagram-label", {
        bins: bins.map((bin) => `${bin.sure.short}: ${bin.right.short}`).join(", "),
      }),
    },
    svg("rect", { class: "plot", x: at(0), y: Y(1), width: at(1) - at(0), height: at(1) - at(0) }),
    svg("line", { class: "level", x1: at(0), y1: Y(0), x2: at(1), y2: Y(1) }),
    bins.map((bin) =>
      svg("line", {
        class: "error",
        x1: at(bin.sure.drawn),
        x2: at(bin.sure.drawn),
        y1: Y(bin.sure.drawn),
        y2: Y(bin.right.drawn),
      }),
    ),
    bins.map((bin) =>
      svg("circle", {
        class: "bin",
        cx: at(bin.sure.drawn),
        cy: Y(bin.right.drawn),
        r: 4 + 13 * Math.sqrt(bin.rows / most),
      }),
    ),
    svg("text", { x: SIZE / 2, y: SIZE - 8, "text-anchor": "middle" }, `${t("confidence.sure")} →`),
    svg("text", { x: 4, y: 18 }, `↑ ${t("confidence.right")}`),
    svg("text", { x: at(0.3), y: Y(0.42), "text-anchor": "middle" }, t("confidence.honest")),
  );
}
