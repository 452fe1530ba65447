import type { Method } from "../engine/methods/method.ts";
import { METHODS } from "../engine/methods/registry.ts";
import type { Variant } from "./result.ts";

/** A method and the values that distinguish it from others of the same method. */
interface Named {
  readonly method: string;
  readonly variant: Variant;
}

/** Looks up a method; an unknown one is a candidate whose title is its name. */
export function methodOf(
  name: string,
): Pick<Method, "title" | "role" | "reduces"> {
  return METHODS.find((method) => method.name === name) ??
    { title: name, role: "candidate" };
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
