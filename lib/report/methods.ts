import type { Variant } from "./result.ts";

/**
 * What a method is to the others of a comparison: a baseline is what all
 * candidates are compared with, and a bound has no rank.
 */
export type Role = "candidate" | "baseline" | "bound";

/** A way to make an adapter, as reports write it. */
interface Method {
  readonly title: string;
  readonly role: Role;
  /** The method whose trained adapter it reduces. */
  readonly reduces?: string;
}

const METHODS: Readonly<Record<string, Method>> = {
  dylora: { title: "DyLoRA", role: "candidate" },
  matryoshka: { title: "Matryoshka", role: "candidate" },
  "lora-truncated": {
    title: "LoRA truncated",
    role: "candidate",
    reduces: "lora",
  },
  "lora-svd": { title: "LoRA by SVD", role: "candidate", reduces: "lora" },
  lora: { title: "LoRA", role: "baseline" },
  "imported-lora": { title: "Imported LoRA", role: "candidate" },
  "imported-dylora": { title: "Imported DyLoRA", role: "candidate" },
  head: { title: "Head alone", role: "bound" },
  full: { title: "Full fine-tuning", role: "bound" },
};

/** A key for a method and its variant, the same whatever the order of the variant's dimensions. */
export function methodKey(
  { method, variant }: { readonly method: string; readonly variant: Variant },
): string {
  return JSON.stringify([method, Object.entries(variant).sort()]);
}

/** The method of a name; one that is not known is a candidate under its own name. */
export function methodOf(name: string): Method {
  return Object.hasOwn(METHODS, name)
    ? METHODS[name]!
    : { title: name, role: "candidate" };
}
