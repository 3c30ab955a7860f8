// The only mathematics in the browser. It colours pixels and never prints a digit;
// a test compares it with torch.

/** softmax(W x + b) at every pixel: (height · width · K), for x over xs and y over ys. */
export function field(weight, bias, xs, ys, answer = new Float64Array(xs.length * ys.length * bias.length)) {
  const K = bias.length;
  let at = 0;
  for (const y of ys) {
    for (const x of xs) {
      let largest = -Infinity;
      for (let k = 0; k < K; k++) {
        const z = weight[k][0] * x + weight[k][1] * y + bias[k];
        answer[at + k] = z;
        if (z > largest) largest = z;
      }
      let sum = 0;
      for (let k = 0; k < K; k++) sum += answer[at + k] = Math.exp(answer[at + k] - largest);
      for (let k = 0; k < K; k++) answer[at + k] /= sum;
      at += K;
    }
  }
  return answer;
}

/** `count` evenly spaced numbers, at the middles of as many cells. */
export const middles = (low, high, count) =>
  Float64Array.from({ length: count }, (_, i) => low + ((i + 0.5) / count) * (high - low));
