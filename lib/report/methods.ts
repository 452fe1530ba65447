import { methodTraits } from "../engine/schedules/registry.ts";
import type { ChoiceResult, Result, Variant } from "./result.ts";

/** A method and the values that distinguish it from others of the same method. */
interface Named {
  readonly method: string;
  readonly variant: Variant;
}

/** Key of a method and its variant, independent of the order of the variant's dimensions. */
export function methodKey({ method, variant }: Named): string {
  return JSON.stringify([method, Object.entries(variant).sort()]);
}

/** Title with the variant: `DyLoRA (mode=frozen)`. */
export function methodTitle({ method, variant }: Named): string {
  const { title } = methodTraits(method);
  const text = variantText(variant);
  return text === "" ? title : `${title} (${text})`;
}

/** `mode=frozen, sampler=uniform`; empty for a variant without dimensions. */
export function variantText(variant: Variant): string {
  return Object.entries(variant).map(([key, value]) => `${key}=${value}`)
    .join(", ");
}

/**
 * Results whose variant is their place in the matrix of a pipeline, with those
 * of its dimensions alone in which results differ that would otherwise be the
 * same.
 */
export function distinguished<T extends Result | ChoiceResult>(
  results: readonly T[],
  ranksOf: (result: T) => readonly number[],
): T[] {
  const keyOf = ({ task, split, epoch, method, seed }: T) =>
    JSON.stringify([task, split, epoch, method, seed]);
  const dimensions = new Set<string>();
  for (const same of Map.groupBy(results, keyOf).values()) {
    for (const [i, one] of same.entries()) {
      for (const other of same.slice(i + 1)) {
        const ranks = ranksOf(other);
        if (!ranksOf(one).some((rank) => ranks.includes(rank))) continue;
        for (const name of Object.keys({ ...one.variant, ...other.variant })) {
          if (one.variant[name] !== other.variant[name]) dimensions.add(name);
        }
      }
    }
  }
  return results.map((result) => ({
    ...result,
    variant: Object.fromEntries(
      Object.entries(result.variant).filter(([name]) => dimensions.has(name))
        .sort(),
    ),
  }));
}
