import type { Draw } from "./bootstrap.ts";

/** Draws with a private generator (SplitMix32), so that a report is the same each time. */
export function seededDraw(seed: number): Draw {
  let state = seed | 0;
  const uniform = () => {
    state = (state + 0x9e3779b9) | 0;
    let bits = state;
    bits = Math.imul(bits ^ (bits >>> 16), 0x21f0aaad);
    bits = Math.imul(bits ^ (bits >>> 15), 0x735a2d97);
    return ((bits ^ (bits >>> 15)) >>> 0) / 2 ** 32;
  };
  return (count) =>
    Int32Array.from({ length: count }, () => Math.floor(uniform() * count));
}
