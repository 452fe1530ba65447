/** Names of methods as the papers write them. */
const METHODS = new Map([["dylora", "DyLoRA"], ["lora", "LoRA"]]);

/** Text that Markdown takes as it is, whatever letters it holds. */
export function plain(text: string): string {
  return text.replace(/[\\`*[\]<>|]/g, "\\$&").replace(/\s+/g, " ");
}

/** Name of the file that a comparison's figure is kept in: `mrpc-validation.svg`. */
export function figureName(
  { task, split }: { readonly task: string; readonly split: string },
): string {
  const safe = (text: string) => text.replace(/[^A-Za-z0-9_.-]+/g, "-");
  return `${safe(task)}-${safe(split)}.svg`;
}

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
