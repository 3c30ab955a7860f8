// The frame: header, one panel at a time, footer.

import { h, fill } from "./dom.js";
import * as state from "./state.js";
import { load, language, t } from "./words.js";
import { ask, live } from "./transport.js";
import * as die from "./panels/die.js";
import * as logits from "./panels/logits.js";
import * as tour from "./panels/tour.js";
import * as boundary from "./panels/boundary.js";
import * as table from "./panels/table.js";
import * as confidence from "./panels/confidence.js";

const panels = [die, logits, tour, boundary, table, confidence];

state.known({ panel: panels[0].key, theme: "auto" });
for (const panel of panels) state.known(panel.defaults);

let leave = () => {};
let shown = "";

async function draw() {
  await load();
  document.documentElement.dataset.theme = state.get("theme");
  document.title = `${t(`${current().key}.title`)} · polylogit lab`;
  document.getElementById("skip").textContent = t("page.skip");
  drawHeader();
  const wanted = `${current().key} ${language()}`;
  if (wanted !== shown) {
    shown = wanted;
    drawPanel();
  }
}

const current = () => panels.find((panel) => panel.key === state.get("panel")) ?? panels[0];

function drawHeader() {
  const focused = document.activeElement?.id;
  fill(
    document.getElementById("top"),
    h(
      "div",
      { class: "bar" },
      h(
        "a",
        { class: "brand", href: state.address({ panel: panels[0].key }) },
        h("img", { src: "icon.svg", alt: "", width: "28", height: "28" }),
        "polylogit lab",
      ),
      h("div", { class: "switches" }, languages(), themes()),
    ),
    h("nav", { "aria-label": t("page.panels") }, h("ol", {}, panels.map(link))),
  );
  if (focused) document.getElementById(focused)?.focus();
}

function link(panel) {
  const here = panel === current();
  return h(
    "li",
    {},
    h(
      "a",
      {
        id: `to-${panel.key}`,
        href: state.address({ panel: panel.key }),
        "aria-current": here ? "page" : null,
        onclick: toPanel(panel),
      },
      t(`${panel.key}.short`),
    ),
  );
}

// The address as it is when the link is followed, not as it was when it was drawn.
const toPanel = (panel) => (event) => {
  event.currentTarget.href = state.address({ panel: panel.key });
};

function languages() {
  const choice = (name, label) =>
    h(
      "button",
      {
        type: "button",
        id: `lang-${name}`,
        lang: name,
        "aria-pressed": String(language() === name),
        onclick: () => state.set({ lang: name }),
      },
      label,
    );
  return h(
    "div",
    { class: "segments", role: "group", "aria-label": t("page.language") },
    choice("en", "English"),
    choice("ko", "한국어"),
  );
}

function themes() {
  const choice = (name) =>
    h(
      "button",
      {
        type: "button",
        id: `theme-${name}`,
        "aria-pressed": String(state.get("theme") === name),
        onclick: () => state.set({ theme: name }),
      },
      t(`page.theme.${name}`),
    );
  return h(
    "div",
    { class: "segments", role: "group", "aria-label": t("page.theme") },
    choice("auto"),
    choice("light"),
    choice("dark"),
  );
}

function drawPanel() {
  leave();
  const panel = current();
  const body = h("div", { class: "panel" });
  delete document.getElementById("main").dataset.ready;
  fill(
    document.getElementById("main"),
    h("div", { class: "lead" }, h("h1", {}, t(`${panel.key}.title`)), h("p", {}, t(`${panel.key}.lead`))),
    body,
  );
  leave = panel.mount(body) ?? (() => {});
}

async function drawFooter() {
  const about = await ask("about");
  fill(
    document.getElementById("foot"),
    h("p", {}, `torch ${about.torch} · ${about.dtype} · polylogit ${about.polylogit}`),
    h("p", {}, t(live ? "page.local" : "page.baked")),
  );
}

state.readAddress();
state.listen((keys) => {
  if (keys.some((key) => ["panel", "lang", "theme"].includes(key))) draw().then(drawFooter);
});
draw().then(drawFooter);
