// Elements without markup in strings: nothing here can be read as HTML.

const SVG = "http://www.w3.org/2000/svg";
const MATH = "http://www.w3.org/1998/Math/MathML";

/** An element with properties (on… are listeners, the rest attributes) and children. */
export const h = (tag, props = {}, ...children) => made(document.createElement(tag), props, children);
export const svg = (tag, props = {}, ...children) =>
  made(document.createElementNS(SVG, tag), props, children);
export const math = (tag, ...children) => made(document.createElementNS(MATH, tag), {}, children);

function made(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

const FOCUSABLE = "button, input, select, textarea, a[href], [tabindex]";

/** Put `children` in the place of whatever `element` holds; the focus stays at its place. */
export function fill(element, ...children) {
  const held = [...element.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
  element.replaceChildren(...children.flat(Infinity).filter((child) => child != null && child !== false));
  if (held >= 0) element.querySelectorAll(FOCUSABLE)[held]?.focus();
  return element;
}

/** A formula from rows of MathML tokens: ["p", "=", …]; arrays are made by the helpers below. */
export const formula = (...tokens) => math("math", math("mrow", ...tokens.map(token)));
export const sub = (base, index) => math("msub", token(base), token(index));
export const frac = (above, below) => math("mfrac", row(above), row(below));
export const power = (base, exponent) => math("msup", token(base), row(exponent));
export const row = (...tokens) => math("mrow", ...tokens.flat().map(token));

function token(part) {
  if (typeof part !== "string") return part;
  if (/^[0-9.]+$/.test(part)) return math("mn", part);
  if (/^\p{L}+$/u.test(part)) return math("mi", part);
  return math("mo", part);
}
