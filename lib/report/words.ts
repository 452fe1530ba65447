/** Names of methods as the papers write them. */
const METHODS = new Map([["dylora", "DyLoRA"], ["lora", "LoRA"]]);

/** `DyLoRA (mode=frozen)`. */
export function methodTitle(
  { method, variant }: { readonly method: string; readonly variant: string },
): string {
  const title = METHODS.get(method) ?? method;
  return variant === "" ? title : `${title} (${variant})`;
}

/** `ranks 1 to 8`, `ranks 1, 4, 8`, `rank 4`. */
export function rankList(ranks: readonly number[]): string {
  const [first] = ranks;
  if (ranks.length === 1) return `rank ${first}`;
  const consecutive = ranks.length > 2 &&
    ranks.every((rank, i) => rank === first! + i);
  return consecutive
    ? `ranks ${first} to ${ranks.at(-1)}`
    : `ranks ${ranks.join(", ")}`;
}

/** A share times 100: `84.2`; `undefined` where there is none. */
export function percent(share: number | null, digits = 1): string {
  return share === null ? "undefined" : (100 * share).toFixed(digits);
}
