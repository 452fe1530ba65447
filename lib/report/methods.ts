import {
  methodName,
  type Provenance,
  provenanceTitle,
} from "../engine/schedules/registry.ts";
import type { Result, Variant } from "./result.ts";

/**
 * A method, and the values that distinguish it from others of the same method.
 */
export interface NamedMethod {
  readonly provenance: Provenance;
  readonly variant: Variant;
}

/**
 * Key of a method and its variant, independent of the order of the variant's
 * dimensions.
 */
export function methodKey({ provenance, variant }: NamedMethod): string {
  const method = methodName(provenance);
  return JSON.stringify([method, Object.entries(variant).sort()]);
}

/** All ranks of methods or results, ascending. */
export function ranksOf(
  methods: readonly { readonly ranks: readonly { readonly rank: number }[] }[],
): number[] {
  const ranks = methods.flatMap((it) => it.ranks.map(({ rank }) => rank));
  return [...new Set(ranks)].sort((a, b) => a - b);
}

/** Title with the variant: `DyLoRA (mode frozen)`. */
export function methodTitle({ provenance, variant }: NamedMethod): string {
  const title = provenanceTitle(provenance);
  const text = variantText(variant);
  return text === "" ? title : `${title} (${text})`;
}

/** `mode frozen, sampler uniform`; empty for a variant without settings. */
export function variantText(variant: Variant): string {
  return Object.entries(variant)
    .map(([name, value]) => settingInWords(name, value)).join(", ");
}

/** A setting in words: `learning rate 0.001`, `sorted at 60 %`. */
export function settingInWords(name: string, value: string | number): string {
  if (name === "sortAt" && typeof value === "number") {
    return value === 0 ? "not sorted" : `sorted at ${100 * value} %`;
  }
  const words = name.replace(
    /[A-Z]/g,
    (letter) => ` ${letter.toLowerCase()}`,
  );
  return `${words} ${value}`;
}

/**
 * Reduces each variant to the fewest settings that distinguish the results of
 * its method. Where all results of another method have one value of such a
 * setting, and some variant has this value, they keep the setting, to be
 * compared with that variant.
 *
 * @param results With all settings of their trainings as variants
 */
export function distinguished(results: readonly Result[]): Result[] {
  const groups = Map.groupBy(results, (it) => methodName(it.provenance));
  const methods = [...groups.values()].map((group) => ({
    group,
    names: distinguishingSettings(group),
  }));
  const valuesOf = (group: readonly Result[], name: string) =>
    new Set(group.map(({ variant }) => variant[name]));
  return results.map((result) => {
    const ownGroup = groups.get(methodName(result.provenance))!;
    const isKept = (name: string) => {
      const values = valuesOf(ownGroup, name);
      return methods.some(({ group, names }) => {
        if (!names.includes(name)) return false;
        if (group === ownGroup) return true;
        return values.size === 1 && values.isSubsetOf(valuesOf(group, name));
      });
    };
    const settings = Object.entries(result.variant).sort()
      .filter(([name]) => isKept(name));
    return { ...result, variant: Object.fromEntries(settings) };
  });
}

/**
 * The settings that distinguish all pairs of results of a method that are of
 * the same examples and the same seed, and share a rank. Greedy: each time the
 * setting in which most of the remaining pairs differ, the first of several.
 */
function distinguishingSettings(results: readonly Result[]): string[] {
  let pairs = results.flatMap((one, i) =>
    results.slice(i + 1).filter((other) => isRepeated(one, other))
      .map((other) => [one.variant, other.variant] as const)
  );
  const names = new Set(results.flatMap(({ variant }) => Object.keys(variant)));
  const chosen: string[] = [];
  while (pairs.length > 0) {
    const choices = [...names].map((name) => ({
      name,
      rest: pairs.filter(([one, other]) => one[name] === other[name]),
    }));
    const best = choices.reduce((best, it) =>
      it.rest.length < best.rest.length ? it : best
    );
    // Equal trainings; to compare them is refused.
    if (best.rest.length === pairs.length) break;
    chosen.push(best.name);
    pairs = best.rest;
  }
  return chosen;
}

/** Whether two results of a method would stand in the same place of a table. */
function isRepeated(one: Result, other: Result): boolean {
  const haveSharedRank = !new Set(ranksOf([one]))
    .isDisjointFrom(new Set(ranksOf([other])));
  return haveSharedRank && one.task === other.task &&
    one.split === other.split && one.epoch === other.epoch &&
    one.seed === other.seed;
}
