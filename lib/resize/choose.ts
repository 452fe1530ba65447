import type { Module } from "./adapter.ts";
import type { Ranks } from "./rewrite.ts";

/**
 * How ranks are chosen: one of the first four. Energy is the sum of squared
 * singular values.
 */
export interface RankTarget {
  /** One rank for all modules; those of a lower one keep their own. */
  readonly rank?: number | undefined;
  /**
   * The smallest ranks that keep this share of the energy of all modules
   * together.
   */
  readonly energy?: number | undefined;
  /**
   * The smallest ranks at which the update of all modules together changes by
   * at most this share of its norm.
   */
  readonly error?: number | undefined;
  /**
   * The ranks that keep most energy within this number of bytes; 1 where even
   * that is too large.
   */
  readonly budget?: number | undefined;
  /** Largest rank of a module. */
  readonly maxRank?: number | undefined;
}

/** A module with the singular values of its update, largest first. */
export interface Spectrum {
  readonly module: Module;
  readonly values: Float64Array;
}

/**
 * Chooses a rank of at least 1 for each module. Except for one rank for all, a
 * single threshold decides on the singular values of all modules (of values by
 * byte, for a budget), which is the best choice for their sum (Eckart and Young
 * 1936).
 *
 * @param bytesOf Bytes of the factors of a module of rank 1
 */
export function chooseRanks(
  spectra: readonly Spectrum[],
  choice: RankTarget,
  bytesOf: (module: Module) => number,
): Ranks {
  const { rank, energy, error, budget, maxRank = Infinity } = choice;
  const most = (module: Module) => Math.min(module.rank, maxRank);
  if (rank !== undefined) {
    return new Map(
      spectra.map(({ module }) => [module.name, Math.min(most(module), rank)]),
    );
  }
  const ranks = new Map(spectra.map(({ module }) => [module.name, 1]));
  /** The further ranks of all modules, the best first. */
  const steps = spectra.flatMap(({ module, values }) => {
    const bytes = bytesOf(module);
    return Array.from(values.subarray(1, most(module)), (value, i) => ({
      name: module.name,
      rank: i + 2,
      bytes,
      energy: value ** 2,
    }));
  }).filter(({ energy }) => energy > 0);
  if (budget !== undefined) {
    let left = budget -
      spectra.reduce((sum, { module }) => sum + bytesOf(module), 0);
    steps.sort((a, b) => b.energy / b.bytes - a.energy / a.bytes);
    for (const { name, rank, bytes } of steps) {
      // A module whose next rank is too large stays at the one before.
      if (bytes > left || ranks.get(name) !== rank - 1) continue;
      ranks.set(name, rank);
      left -= bytes;
    }
    return ranks;
  }
  const total = spectra.reduce((sum, { values }) => sum + energyOf(values), 0);
  const lost = energy !== undefined ? 1 - energy : error! ** 2;
  // Summed from the smallest, so that small shares are exact.
  let left = lost * total -
    spectra.reduce(
      (sum, { module, values }) =>
        sum + energyOf(values.subarray(most(module))),
      0,
    );
  steps.sort((a, b) => a.energy - b.energy || b.rank - a.rank);
  for (const { name, rank, energy } of steps) {
    left -= energy;
    if (left < 0) ranks.set(name, Math.max(ranks.get(name)!, rank));
  }
  return ranks;
}

/** Sum of the squares, of the smallest first. */
export function energyOf(values: Float64Array): number {
  return values.reduceRight((sum, value) => sum + value ** 2, 0);
}
