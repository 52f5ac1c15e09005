// The user before, after, or somewhere else.

import { find } from "./api.js";

const MAX_GAP = 20;

// Return the next known user id in a direction (1 or -1), null if there is none near.
// Numbers are tried one by one; of texts only the examples are known.
export async function beside(userId, step, examples) {
  if (typeof userId !== "number") {
    const next = examples.indexOf(userId) + step;
    return examples[next < 0 ? examples.length - 1 : next % examples.length] ?? null;
  }
  for (let id = userId + step; id >= 0 && Math.abs(id - userId) <= MAX_GAP; id += step) {
    if (id > 0 && await find(`/users/${id}`)) return id;
  }
  return null;
}

export function other(userId, examples) {
  const others = examples.filter((id) => id !== userId);
  return others[Math.floor(Math.random() * others.length)] ?? null;
}

// Return n of them, evenly spread.
export function spread(examples, n) {
  const step = Math.max(1, (examples.length - 1) / (n - 1));
  const places = [...Array(Math.min(n, examples.length)).keys()];
  return places.map((i) => examples[Math.round(i * step)]);
}
