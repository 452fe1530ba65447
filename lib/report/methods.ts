import {
  methodName,
  type Provenance,
  provenanceTitle,
} from "../engine/schedules/registry.ts";
import type { Result, Variant } from "./result.ts";

/** A method, and the values that distinguish it from others of the same method. */
interface Named {
  readonly provenance: Provenance;
  readonly variant: Variant;
}

/** Key of a method and its variant, independent of the order of the variant's dimensions. */
export function methodKey({ provenance, variant }: Named): string {
  const method = methodName(provenance);
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
export function methodTitle({ provenance, variant }: Named): string {
  const title = provenanceTitle(provenance);
  const text = variantText(variant);
  return text === "" ? title : `${title} (${text})`;
}

/** `mode=frozen, sampler=uniform`; empty for a variant without dimensions. */
export function variantText(variant: Variant): string {
  return Object.entries(variant).map(([key, value]) => `${key}=${value}`)
    .join(", ");
}

/**
 * Results whose variant is all their settings, with as few of these as tell
 * those of a method apart that would otherwise be the same. Results of another
 * method that all have the same value of such a setting, which a variant has,
 * have it too, to be compared with that variant.
 */
export function distinguished(results: readonly Result[]): Result[] {
  const methods = Map.groupBy(results, (it) => methodName(it.provenance));
  const telling = [...methods.values()]
    .map((of) => ({ of, names: tellingSettings(of) }));
  return results.map((result) => {
    const own = methods.get(methodName(result.provenance))!;
    const valuesOf = (of: typeof own, name: string) =>
      new Set(of.map(({ variant }) => variant[name]));
    const isTold = (name: string) =>
      telling.some(({ of, names }) => {
        if (!names.includes(name)) return false;
        const values = valuesOf(own, name);
        return of === own ||
          values.size === 1 && values.isSubsetOf(valuesOf(of, name));
      });
    const variant = Object.entries(result.variant).sort();
    return {
      ...result,
      variant: Object.fromEntries(variant.filter(([name]) => isTold(name))),
    };
  });
}

/**
 * The settings that tell all pairs of results of a method apart which are on the
 * same examples, with the same seed and a rank in common: each time the one in
 * which most of the remaining pairs differ, the first of several.
 */
function tellingSettings(results: readonly Result[]): string[] {
  const isSame = (one: Result, other: Result) =>
    one.task === other.task && one.split === other.split &&
    one.epoch === other.epoch && one.seed === other.seed &&
    !new Set(ranksOf([one])).isDisjointFrom(new Set(ranksOf([other])));
  let pairs = results.flatMap((one, i) =>
    results.slice(i + 1).filter((other) => isSame(one, other))
      .map((other) => [one.variant, other.variant] as const)
  );
  const names = new Set(results.flatMap(({ variant }) => Object.keys(variant)));
  const found: string[] = [];
  while (pairs.length > 0) {
    const left = [...names].map((name) => ({
      name,
      pairs: pairs.filter(([one, other]) => one[name] === other[name]),
    }));
    const best = left.reduce((best, it) =>
      it.pairs.length < best.pairs.length ? it : best
    );
    // Equal trainings; to compare them is refused.
    if (best.pairs.length === pairs.length) break;
    found.push(best.name);
    pairs = best.pairs;
  }
  return found;
}
