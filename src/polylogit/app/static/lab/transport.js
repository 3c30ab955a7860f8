// Where numbers come from: the library over HTTP, or, in an exported page, its baked answers.

const baked = document.querySelector("meta[name=lab-numbers]").content === "baked";
let answers = null;

export const live = !baked;

/** Ask the library one question. Throws an Error with the library's own sentence. */
export async function ask(route, body) {
  return baked ? nearest(route, body) : answered(await request(route, body));
}

/** Ask for lines that arrive one by one; `signal` ends the conversation. */
export async function* lines(route, body, signal) {
  if (baked) {
    yield* (await nearest(route, body)).lines;
    return;
  }
  const response = await request(route, body, signal);
  if (!response.ok) await answered(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}

/** A question that is asked again and again: one at a time, and of those waiting only the last. */
export function latest(route, paint, complain) {
  let busy = false;
  let waiting = null;
  return async function again(body) {
    if (busy) {
      waiting = body;
      return;
    }
    busy = true;
    try {
      paint(await ask(route, body));
    } catch (error) {
      complain(error);
    }
    busy = false;
    if (waiting) {
      const next = waiting;
      waiting = null;
      again(next);
    }
  };
}

const request = (route, body, signal) =>
  fetch(`api/${route}`, {
    method: body === undefined ? "GET" : "POST",
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
  });

async function answered(response) {
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

/** The baked answer whose question is nearest; its `asked` tells the page what it is. */
async function nearest(route, body) {
  answers ??= await (await fetch("baked.json")).json();
  const known = answers[route];
  if (!known) throw new Error("");
  const distances = known.map((one) => distance(one.body, body));
  return known[distances.indexOf(Math.min(...distances))].answer;
}

function distance(one, other) {
  if (typeof one === "number") return Math.abs(one - (other ?? 0));
  if (one && typeof one === "object") {
    const keys = Object.keys(one);
    const apart = Object.keys(other ?? {}).length - keys.length;
    return keys.reduce((sum, key) => sum + distance(one[key], other?.[key]), 100 * Math.abs(apart));
  }
  return one === other ? 0 : 1000;
}
