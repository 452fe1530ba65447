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

/** All ranks of methods or results, ascending. */
export function ranksOf(
  found: readonly { readonly ranks: readonly { readonly rank: number }[] }[],
): number[] {
  const ranks = found.flatMap((it) => it.ranks.map(({ rank }) => rank));
  return [...new Set(ranks)].sort((a, b) => a - b);
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
 * of its dimensions alone in which results of a method differ that would
 * otherwise be the same; of other methods, with the one value that they have in
 * such a dimension.
 */
export function distinguished<T extends Result | ChoiceResult>(
  results: readonly T[],
  ranksOf: (result: T) => readonly number[],
): T[] {
  const methods = Map.groupBy(results, ({ method }) => method);
  const differing = new Map(
    [...methods].map(([method, of]) => [method, differencesOf(of, ranksOf)]),
  );
  const all = new Set([...differing.values()].flatMap((names) => [...names]));
  return results.map((result) => {
    const { method, variant } = result;
    const isVariant = ([name, value]: readonly [string, unknown]) =>
      differing.get(method)!.has(name) || all.has(name) &&
        methods.get(method)!.every((other) => other.variant[name] === value);
    const own = Object.entries(variant).filter(isVariant).sort();
    return { ...result, variant: Object.fromEntries(own) };
  });
}

/** Dimensions in which results on the same examples, with the same seed and a rank in common, differ. */
function differencesOf<T extends Result | ChoiceResult>(
  results: readonly T[],
  ranksOf: (result: T) => readonly number[],
): Set<string> {
  const isSame = (one: T, other: T) => {
    const ranks = ranksOf(other);
    return one.task === other.task && one.split === other.split &&
      one.epoch === other.epoch && one.seed === other.seed &&
      ranksOf(one).some((rank) => ranks.includes(rank));
  };
  const pairs = results.flatMap((one, i) =>
    results.slice(i + 1).filter((other) => isSame(one, other))
      .map((other) => [one.variant, other.variant] as const)
  );
  return new Set(
    pairs.flatMap(([one, other]) =>
      Object.keys({ ...one, ...other }).filter((it) => one[it] !== other[it])
    ),
  );
}
