// All that a link can share, in one object of texts, kept in the address behind the #.

const defaults = {};
let state = {};
const listeners = new Set();

/** Tell what a key is worth while the address does not name it. */
export function known(values) {
  Object.assign(defaults, values);
}

export const get = (key) => state[key] ?? defaults[key];
export const numbers = (key) => get(key).split(",").map(Number);

/** Change some keys, write them to the address, tell everybody. */
export function set(changes) {
  for (const [key, value] of Object.entries(changes)) {
    const text = String(value);
    if (text === defaults[key]) delete state[key];
    else state[key] = text;
  }
  history.replaceState(null, "", address());
  tell(Object.keys(changes));
}

/** The address of the present state with some changes. */
export function address(changes = {}) {
  const all = { ...state, ...changes };
  const shown = Object.entries(all).filter(([key, value]) => value !== defaults[key]);
  return (
    "#" + shown.map(([key, value]) => `${key}=${encodeURIComponent(value).replaceAll("%2C", ",")}`).join("&")
  );
}

export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function tell(keys) {
  for (const listener of [...listeners]) listener(keys);
}

export function readAddress() {
  const before = state;
  state = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  tell(
    [...new Set([...Object.keys(before), ...Object.keys(state)])].filter((key) => before[key] !== state[key]),
  );
}

addEventListener("hashchange", readAddress);
