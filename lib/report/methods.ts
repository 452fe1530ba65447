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
  const groups = Map.groupBy(
    results,
    ({ task, split, epoch, method, seed }) =>
      JSON.stringify([task, split, epoch, method, seed]),
  );
  const pairs = [...groups.values()].flatMap((same) =>
    same.flatMap((one, i) => same.slice(i + 1).map((it) => [one, it] as const))
  ).filter(([one, other]) => {
    const ranks = ranksOf(other);
    return ranksOf(one).some((rank) => ranks.includes(rank));
  });
  const isVariant = ([name]: readonly [string, unknown]) =>
    pairs.some(([one, other]) => one.variant[name] !== other.variant[name]);
  return results.map((result) => ({
    ...result,
    variant: Object.fromEntries(
      Object.entries(result.variant).filter(isVariant).sort(),
    ),
  }));
}
