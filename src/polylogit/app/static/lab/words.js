// Two dictionaries, one page.

import * as state from "./state.js";

const dictionaries = {};
const preferred = navigator.language.startsWith("ko") ? "ko" : "en";

state.known({ lang: preferred });

export const language = () => (state.get("lang") === "ko" ? "ko" : "en");

/** Load the dictionary of the present language. */
export async function load() {
  const name = language();
  dictionaries[name] ??= await (await fetch(`${name}.json`)).json();
  document.documentElement.lang = name;
}

/** The text of a key, with {name} replaced. */
export function t(key, values = {}) {
  const text = dictionaries[language()][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}
