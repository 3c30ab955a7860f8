// Pieces that several panels are made of.

import { h, svg } from "./dom.js";
import { t } from "./words.js";

export const card = (title, ...children) =>
  h("section", { class: "card" }, title && h("h2", {}, title), children);

/** A row of buttons of which one is pressed. */
export function choices(label, options, chosen, choose) {
  return h(
    "div",
    { class: "segments", role: "group", "aria-label": label },
    options.map(([value, text]) =>
      h(
        "button",
        { type: "button", "aria-pressed": String(value === chosen), onclick: () => choose(value) },
        text,
      ),
    ),
  );
}

/** A labelled native slider; what it shows of its own value is the user's input, not a result. */
export function slider(label, { min, max, step, value, change, shown = (x) => x }) {
  const output = h("output", {}, shown(value));
  const input = h("input", {
    type: "range",
    min,
    max,
    step,
    value,
    oninput: () => {
      output.textContent = shown(input.value);
      change(input.value);
    },
  });
  const element = h("label", { class: "slider" }, h("span", {}, label), input, output);
  element.show = (now) => {
    if (input.value !== String(now)) input.value = now;
    output.textContent = shown(input.value);
  };
  return element;
}

/** The panel has its numbers. */
export const ready = (key) => (document.getElementById("main").dataset.ready = key);

/** Where a panel says what the library refused. */
export function complaints() {
  const element = h("p", { class: "complaint", role: "alert", hidden: true });
  element.say = (error) => {
    element.hidden = false;
    element.textContent = error.message || t("page.unanswered");
  };
  element.clear = () => (element.hidden = true);
  return element;
}

/** A table from a head and rows of cells; the first cell of a row heads it. */
export function table(caption, head, rows) {
  return h(
    "table",
    {},
    h("caption", { class: "unseen" }, caption),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        head.map((cell) => h("th", { scope: "col" }, cell)),
      ),
    ),
    h(
      "tbody",
      {},
      rows.map(([first, ...rest]) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, first),
          rest.map((cell) => h("td", {}, cell)),
        ),
      ),
    ),
  );
}

/** A fact with its number: <dt> label, <dd> value. */
export const fact = (label, number, note) =>
  h(
    "div",
    { class: "fact" },
    h("dt", {}, label),
    h("dd", {}, number),
    note && h("dd", { class: "note" }, note),
  );

export const classColour = (k) => `class-${k % 6}`;

/** The mark of a class, told by shape as well as colour. */
export function mark(k, size = 6, props = {}) {
  const shapes = [
    () => svg("circle", { r: size * 0.86 }),
    () => svg("rect", { x: -size * 0.78, y: -size * 0.78, width: size * 1.56, height: size * 1.56 }),
    () => svg("path", { d: `M0 ${-size}L${size} ${size * 0.8}H${-size}Z` }),
    () => svg("path", { d: `M0 ${-size * 1.1}L${size * 1.1} 0L0 ${size * 1.1}L${-size * 1.1} 0Z` }),
    () => svg("path", { d: `M${-size} 0H${size}M0 ${-size}V${size}`, class: "open" }),
    () => svg("path", { d: `M${-size} ${-size * 0.8}H${size}L0 ${size}Z` }),
  ];
  return svg("g", { class: `mark ${classColour(k)}`, ...props }, shapes[k % shapes.length]());
}

export const badge = (k, text) =>
  h(
    "span",
    { class: "badge" },
    svg("svg", { viewBox: "-8 -8 16 16", width: 14, height: 14, "aria-hidden": "true" }, mark(k)),
    text,
  );

/**
 * A line chart. `lines` are {class, points: [[x, y]…]}; `levels` dashed heights {y, text};
 * `ends` the texts under both ends of the x axis. All texts come from the caller.
 */
export function chart(
  label,
  { lines, levels = [], ends = [], width = 560, height = 220, logX = false, low = null, high = null },
) {
  const across = logX ? Math.log : (x) => x;
  const xs = lines.flatMap((line) => line.points.map(([x]) => across(x)));
  const ys = [
    ...lines.flatMap((line) => line.points.map(([, y]) => y)),
    ...levels.map((level) => level.y),
  ].filter(Number.isFinite);
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  const [y0, y1] = [low ?? Math.min(...ys), high ?? Math.max(...ys)];
  const X = (x) => 8 + ((across(x) - x0) / (x1 - x0 || 1)) * (width - 16);
  const Y = (y) => height - 26 - ((Math.min(Math.max(y, y0), y1) - y0) / (y1 - y0 || 1)) * (height - 46);
  return svg(
    "svg",
    { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    svg("line", { class: "axis", x1: 8, x2: width - 8, y1: height - 26, y2: height - 26 }),
    levels.map(({ y, text, below }) => [
      svg("line", { class: "level", x1: 8, x2: width - 8, y1: Y(y), y2: Y(y) }),
      svg(
        "text",
        {
          x: width - 10,
          y: Y(y) + (below ? 5 : -6),
          "text-anchor": "end",
          "dominant-baseline": below ? "hanging" : "auto",
        },
        text,
      ),
    ]),
    lines.map((line) =>
      svg("path", {
        class: `line ${line.class}`,
        d: path(
          line.points.filter(([, y]) => y !== null),
          X,
          Y,
        ),
      }),
    ),
    ends.map((text, i) =>
      svg("text", { x: i ? width - 8 : 8, y: height - 8, "text-anchor": i ? "end" : "start" }, text),
    ),
  );
}

const path = (points, X, Y) =>
  points.map(([x, y], i) => `${i ? "L" : "M"}${X(x).toFixed(1)} ${Y(y).toFixed(1)}`).join("");
