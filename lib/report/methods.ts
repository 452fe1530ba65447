import type { Variant } from "./result.ts";

/**
 * Part that a method plays in a comparison: candidates are compared with
 * baselines; a bound has no adapter and therefore no rank.
 */
type Role = "candidate" | "baseline" | "bound";

/** What a report knows of a method. */
interface Method {
  readonly title: string;
  readonly role: Role;
  /** Method whose trained adapter this one reduces. */
  readonly reduces?: string;
}

const METHODS: Readonly<Record<string, Method>> = {
  dylora: { title: "DyLoRA", role: "candidate" },
  matryoshka: { title: "Matryoshka", role: "candidate" },
  "lora-truncated": {
    title: "Truncated LoRA",
    role: "candidate",
    reduces: "lora",
  },
  "lora-svd": { title: "LoRA by SVD", role: "candidate", reduces: "lora" },
  lora: { title: "LoRA", role: "baseline" },
  "imported-lora": { title: "Imported LoRA", role: "candidate" },
  "imported-dylora": { title: "Imported DyLoRA", role: "candidate" },
  head: { title: "Head only", role: "bound" },
  full: { title: "Full fine-tuning", role: "bound" },
};

/** A method and the values that distinguish it from others of the same method. */
interface Named {
  readonly method: string;
  readonly variant: Variant;
}

/** Looks up a method; an unknown one is a candidate whose title is its name. */
export function methodOf(name: string): Method {
  return Object.hasOwn(METHODS, name)
    ? METHODS[name]!
    : { title: name, role: "candidate" };
}

/** Key of a method and its variant, independent of the order of the variant's dimensions. */
export function methodKey({ method, variant }: Named): string {
  return JSON.stringify([method, Object.entries(variant).sort()]);
}

/** Title with the variant: `DyLoRA (mode=frozen)`. */
export function methodTitle({ method, variant }: Named): string {
  const { title } = methodOf(method);
  const text = variantText(variant);
  return text === "" ? title : `${title} (${text})`;
}

/** `mode=frozen, sampler=uniform`; empty for a variant without dimensions. */
export function variantText(variant: Variant): string {
  return Object.entries(variant).map(([key, value]) => `${key}=${value}`)
    .join(", ");
}
