import { z } from "zod";
import type { Variant } from "../../lib/report/result.ts";
import type { AdapterRecord } from "./adapter_record.ts";
import { Sampler } from "./sampler.ts";
import { Training } from "./training.ts";

const { mode, scope, matryoshka, padding, precision } = Training.shape;
const { epochs, alpha, learningRate, weightDecay, warmupRatio } =
  Training.shape;

/** Dimensions of a matrix that are named after what `training.json` tells, and the values that it can tell there. */
const DIMENSIONS = {
  mode,
  scope,
  sampler: z.enum(Sampler.options.map(({ shape }) => shape.kind.value)),
  objective: matryoshka.unwrap().unwrap().shape.objective,
  padding,
  precision,
  epochs,
  alpha,
  learningRate,
  weightDecay,
  warmupRatio,
};

type Dimension = keyof typeof DIMENSIONS;

/** Where a variant is not that of a training. */
export interface Contradiction {
  /** `mode=frozen`. */
  readonly variant: string;
  /** `mode=all`. */
  readonly training: string;
}

/**
 * Looks for what a variant, as a report names it, says otherwise than the
 * training of an adapter. Dimensions that the training's record does not have,
 * and values that it never has, as those of one's own naming, say nothing.
 */
export function contradictionOf(
  variant: Variant,
  training: AdapterRecord,
): Contradiction | undefined {
  const told = toldBy(training);
  for (const [key, value] of Object.entries(variant)) {
    if (!Object.hasOwn(DIMENSIONS, key)) continue;
    const own = told[key as Dimension] ?? null;
    if (own === null || own === value) continue;
    if (!DIMENSIONS[key as Dimension].safeParse(value).success) continue;
    return { variant: `${key}=${value}`, training: `${key}=${own}` };
  }
  return undefined;
}

/** What a training's record tells; nothing of one that was trained elsewhere. */
function toldBy(
  training: AdapterRecord,
): Partial<Record<Dimension, string | number | null | undefined>> {
  if (!("mode" in training)) return {};
  const { sampler, matryoshka } = training;
  return {
    ...training,
    sampler: sampler?.kind,
    objective: matryoshka?.objective,
  };
}
