// Gradient descent on points in the plane, and the certified optimum it approaches.

import { h, svg, fill } from "../dom.js";
import { t } from "../words.js";
import * as state from "../state.js";
import { ask, lines, live } from "../transport.js";
import { value } from "../value.js";
import { field, middles } from "../core.js";
import { card, choices, slider, complaints, chart, fact, mark, badge, ready } from "../parts.js";

export const key = "boundary";
export const defaults = {
  "boundary.data": "blobs",
  "boundary.rate": "0.1",
  "boundary.penalty": "0.01",
  "boundary.pace": "1",
};

// An exported page has pictures of fewer settings.
const RATES = live ? ["0.01", "0.03", "0.1", "0.3", "1", "3", "10", "30"] : ["0.1", "1", "10"];
const PENALTIES = live ? ["0", "0.0001", "0.001", "0.01", "0.1"] : ["0", "0.01"];
const WIDE = 320;
const HIGH = 240;
const LEVELS = [0.5, 0.7, 0.9];

export function mount(body) {
  let scene = null;
  let model = null; // the last picture
  let painted = null; // the picture on the screen
  let running = null; // its AbortController
  let history = [];

  const complaint = complaints();
  const canvas = h("canvas", { width: WIDE, height: HIGH, class: "field", role: "img" });
  const over = svg("svg", { class: "over", viewBox: `0 0 ${WIDE} ${HIGH}`, "aria-hidden": "true" });
  const legend = h("div", { class: "inline small" });
  const summary = h("p", { class: "small", "aria-live": "polite" });
  const play = h(
    "button",
    { type: "button", class: "primary", onclick: () => (running ? pause() : run()) },
    t("boundary.train"),
  );
  const once = h("button", { type: "button", onclick: () => run(1) }, t("boundary.step"));
  const reset = h("button", { type: "button", onclick: restart }, t("boundary.reset"));
  const facts = h("dl", { class: "facts" });
  const curve = h("div");
  const goal = h("p", { class: "small" });
  const settings = h("div", { class: "stack tight" });

  fill(
    body,
    complaint,
    h(
      "div",
      { class: "columns wide-left" },
      card(
        null,
        h("div", { class: "picture" }, canvas, over),
        legend,
        h("div", { class: "buttons" }, play, once, reset),
        summary,
      ),
      h(
        "div",
        { class: "stack" },
        card(t("boundary.settings"), settings),
        card(t("boundary.measures"), facts, curve, goal),
      ),
    ),
  );

  const question = () => ({
    data: state.get("boundary.data"),
    penalty: Number(state.get("boundary.penalty")),
  });

  async function look() {
    try {
      scene = await ask("boundary/scene", question());
    } catch (error) {
      return complaint.say(error);
    }
    complaint.clear();
    drawSettings();
    drawScene();
    if (!model) await run(0);
    else {
      paint(model);
      printed(model);
    }
  }

  function restart() {
    pause();
    model = null;
    history = [];
    look();
  }

  /** Train on from the present model; `steps` 0 shows where it stands. */
  async function run(steps = 20000) {
    pause(false);
    const mine = (running = new AbortController());
    play.textContent = t("boundary.pause");
    const asked = {
      ...question(),
      weight: model?.weight,
      bias: model?.bias,
      step: model?.step ?? 0,
      learning_rate: Number(state.get("boundary.rate")),
      steps: Math.max(steps, 1),
      per_frame: steps > 1 ? Number(state.get("boundary.pace")) : 1,
    };
    try {
      for await (const picture of lines("boundary/train", asked, mine.signal)) {
        if (running !== mine) return;
        took(picture);
        if (steps === 0) break;
        if (!live) await new Promise(requestAnimationFrame);
      }
      if (running === mine && live && steps > 1 && (model?.step ?? 0) < asked.step + steps)
        complaint.say(new Error(t("boundary.diverged")));
    } catch (error) {
      if (error.name !== "AbortError") complaint.say(error);
    }
    if (running === mine) pause();
  }

  function pause(settle = true) {
    running?.abort();
    running = null;
    play.textContent = t("boundary.train");
    if (settle && model) settled();
  }

  function took(picture) {
    model = picture;
    if (history.at(-1)?.[0] !== picture.step) history.push([picture.step, picture.objective.drawn]);
    if (history.length > 1200) history = history.filter((_, i) => i % 2 === 0);
    requestAnimationFrame(() => {
      if (painted === model) return;
      paint(model);
      printed(model, null, performance.now() - drawn > 120);
    });
  }

  /** At rest every number can be opened. */
  async function settled() {
    const rested = model;
    if (!live) return;
    try {
      const opened = await ask("boundary/values", {
        ...question(),
        weight: rested.weight,
        bias: rested.bias,
      });
      if (rested === model && !running) {
        printed(rested, opened);
        summary.textContent = t("boundary.summary", {
          step: rested.step,
          loss: rested.loss.short,
          accuracy: rested.accuracy.short,
        });
      }
    } catch (error) {
      complaint.say(error);
    }
  }

  let drawn = 0; // when the curve was drawn last

  function printed(picture, opened = null, curved = true) {
    const number = (name) => (opened?.[name] ? value(opened[name]) : picture[name].short);
    fill(
      facts,
      fact(t("boundary.steps"), String(picture.step)),
      fact(t("boundary.loss"), number("loss")),
      fact(t("boundary.objective"), number("objective")),
      fact(t("boundary.accuracy"), number("accuracy")),
      fact("‖W‖", number("norm")),
    );
    if (curved) drawCurve(picture);
  }

  function drawCurve(picture) {
    drawn = performance.now();
    const best = scene.optimum;
    const levels = [{ y: scene.chance.drawn, text: `ln K = ${scene.chance.short}` }];
    if (best.exists)
      levels.push({
        y: best.objective.drawn,
        below: true,
        text: t("boundary.best", { best: best.objective.short }),
      });
    const points =
      history.length > 1
        ? history
        : [
            [0, picture.objective.drawn],
            [1, picture.objective.drawn],
          ];
    const high = Math.max(
      scene.chance.drawn * 1.15,
      Math.min(Math.max(...points.map(([, y]) => y ?? 0)), scene.chance.drawn * 3),
    );
    fill(
      curve,
      chart(t("boundary.curve"), {
        lines: [{ class: "main", points }],
        levels,
        ends: [points[0][0], points.at(-1)[0]],
        low: 0,
        high,
        height: 190,
        width: 420,
      }),
    );
    goal.textContent = best.exists ? t("boundary.certified", { proof: best.message }) : best.message;
  }

  // ------------------------------------------------------------------------------- the picture

  let frame = null;

  function drawScene() {
    frame = window_(scene.x);
    const K = scene.classes.length;
    colours = palette(canvas, K);
    fill(
      over,
      scene.optimum.exists && border(scene.optimum, frame),
      scene.x.map(([x, y], i) =>
        mark(scene.y[i], 3.6, { transform: `translate(${frame.X(x).toFixed(1)} ${frame.Y(y).toFixed(1)})` }),
      ),
    );
    fill(
      legend,
      scene.classes.map((name, k) => badge(k, name)),
      h("span", { class: "axes" }, `→ ${scene.features[0]}   ↑ ${scene.features[1]}`),
      scene.optimum.exists && h("span", { class: "dashes" }, t("boundary.dashed")),
    );
    canvas.setAttribute("aria-label", t("boundary.picture", { count: scene.x.length, classes: K }));
  }

  let colours = null;

  function paint(picture) {
    painted = picture;
    const context = canvas.getContext("2d");
    context.putImageData(shaded(picture, frame, scene.classes.length, colours), 0, 0);
    canvas.dataset.step = picture.step;
    ready(key);
  }

  const which = h("div", { class: "stack tight" });
  fill(
    settings,
    which,
    listed(t("boundary.rate"), "boundary.rate", RATES),
    listed(t("boundary.penalty"), "boundary.penalty", PENALTIES),
    listed(t("boundary.pace"), "boundary.pace", ["1", "3", "10", "30"]),
  );

  function drawSettings() {
    const name = "boundary.data";
    fill(
      which,
      choices(
        t("boundary.data"),
        ["blobs", "separable", "ring", "penguins"].map((one) => [one, t(`boundary.data.${one}`)]),
        state.get(name),
        (to) => state.set({ [name]: to }),
      ),
      h("p", { class: "small" }, t(`boundary.about.${state.get(name)}`)),
    );
  }

  const themes = matchMedia("(prefers-color-scheme: dark)");
  const repaint = () => {
    if (!scene || !model) return;
    colours = palette(canvas, scene.classes.length);
    paint(model);
  };
  themes.addEventListener("change", repaint);
  look();
  const unlisten = state.listen((keys) => {
    if (keys.includes("boundary.data")) restart();
    else if (keys.includes("boundary.penalty")) look().then(again);
    else if (keys.some((name) => name.startsWith("boundary."))) again();
    else if (keys.includes("theme")) setTimeout(repaint, 50);
  });
  const again = () => running && run();
  return () => {
    unlisten();
    themes.removeEventListener("change", repaint);
    running?.abort();
    running = null;
  };
}

/** A slider over a list of texts. */
function listed(label, key_, list) {
  const place = list.indexOf(state.get(key_));
  return slider(label, {
    min: 0,
    max: list.length - 1,
    step: 1,
    value: Math.max(0, place),
    change: (i) => state.set({ [key_]: list[i] }),
    shown: (i) => list[i],
  });
}

/** The part of the plane that is shown, and how it meets the pixels. */
function window_(points) {
  const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
  const middle = [xs, ys].map((list) => (Math.min(...list) + Math.max(...list)) / 2);
  const half = [xs, ys].map((list) => ((Math.max(...list) - Math.min(...list)) / 2) * 1.12);
  const scale = Math.max(half[0] / WIDE, half[1] / HIGH) * 2;
  const [left, top] = [middle[0] - (scale * WIDE) / 2, middle[1] + (scale * HIGH) / 2];
  return {
    xs: middles(left, left + scale * WIDE, WIDE),
    ys: middles(top, top - scale * HIGH, HIGH),
    X: (x) => (x - left) / scale,
    Y: (y) => (top - y) / scale,
  };
}

/** The border of a model as a path: of every two classes the part of their line where both lead. */
function border(model, { xs, ys, X, Y }) {
  const logit = (k, x, y) => model.weight[k][0] * x + model.weight[k][1] * y + model.bias[k];
  const classes = [...model.bias.keys()];
  const middle = [(xs[0] + xs.at(-1)) / 2, (ys[0] + ys.at(-1)) / 2];
  const reach = Math.hypot(xs.at(-1) - xs[0], ys.at(-1) - ys[0]);
  const leads = (i, j, x, y) => classes.every((k) => k === i || k === j || logit(k, x, y) <= logit(i, x, y));
  const parts = [];
  for (const i of classes) {
    for (const j of classes.slice(i + 1)) {
      const across = [0, 1].map((axis) => model.weight[i][axis] - model.weight[j][axis]);
      const length = Math.hypot(...across);
      const off = (logit(i, ...middle) - logit(j, ...middle)) / length ** 2;
      const foot = middle.map((m, axis) => m - off * across[axis]);
      let pen = "M";
      for (let step = -300; step <= 300; step++) {
        const along = (reach * step) / 300 / length;
        const [x, y] = [foot[0] - along * across[1], foot[1] + along * across[0]];
        if (length > 0 && leads(i, j, x, y)) {
          parts.push(`${pen}${X(x).toFixed(1)} ${Y(y).toFixed(1)}`);
          pen = "L";
        } else pen = "M";
      }
    }
  }
  return svg("path", { class: "goal", d: parts.join("") });
}

function borders(kind) {
  const mask = new Uint8Array(kind.length);
  for (let i = 0; i < kind.length; i++) {
    const last = i % WIDE === WIDE - 1;
    mask[i] =
      (!last && kind[i] !== kind[i + 1]) || (i + WIDE < kind.length && kind[i] !== kind[i + WIDE]) ? 1 : 0;
  }
  return mask;
}

let buffer = new Float64Array(0); // of one picture after the other

/** The probabilities as blended hues, isolines and the border. */
function shaded(model, { xs, ys }, K, { hues, paper, ink }) {
  if (buffer.length !== xs.length * ys.length * K) buffer = new Float64Array(xs.length * ys.length * K);
  const p = field(model.weight, model.bias, xs, ys, buffer);
  const n = xs.length * ys.length;
  const kind = new Uint8Array(n);
  const level = new Uint8Array(n);
  const image = new ImageData(xs.length, ys.length);
  const pixels = image.data;
  for (let i = 0, at = 0; i < n; i++, at += K) {
    let [largest, red, green, blue] = [0, 0, 0, 0];
    for (let k = 0; k < K; k++) {
      const share = p[at + k];
      if (share > largest) {
        largest = share;
        kind[i] = k;
      }
      red += share * hues[3 * k];
      green += share * hues[3 * k + 1];
      blue += share * hues[3 * k + 2];
    }
    level[i] = (largest > LEVELS[0]) + (largest > LEVELS[1]) + (largest > LEVELS[2]);
    const depth = 0.12 + (0.4 * (K * largest - 1)) / (K - 1);
    pixels[4 * i] = paper[0] + depth * (red - paper[0]);
    pixels[4 * i + 1] = paper[1] + depth * (green - paper[1]);
    pixels[4 * i + 2] = paper[2] + depth * (blue - paper[2]);
    pixels[4 * i + 3] = 255;
  }
  const [lines, edges] = [borders(level), borders(kind)];
  for (let i = 0; i < n; i++) {
    const strength = edges[i] ? 0.6 : lines[i] ? 0.22 : 0;
    if (strength) for (let c = 0; c < 3; c++) pixels[4 * i + c] += strength * (ink[c] - pixels[4 * i + c]);
  }
  return image;
}

/** The colours of the present theme. */
function palette(element, K) {
  const style = getComputedStyle(element);
  const hue = (name) => rgb(style.getPropertyValue(name));
  return {
    hues: Array.from({ length: K }, (_, k) => hue(`--class-${k}`)).flat(),
    paper: hue("--card"),
    ink: hue("--ink"),
  };
}

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.trim().slice(at, at + 2), 16));
