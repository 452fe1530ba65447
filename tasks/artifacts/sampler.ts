import { z } from "zod";
import type { Sampler as EngineSampler } from "../../lib/engine/ranks/sampler.ts";

const rank = z.int().min(1);
const minRank = rank.optional();

/** How DyLoRA draws the rank of a step. */
export const Sampler = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("uniform"), minRank }),
  z.strictObject({
    kind: z.literal("geometric"),
    p: z.number().gt(0).lt(1).default(0.15),
    minRank,
  }),
  z.strictObject({ kind: z.literal("list"), ranks: z.array(rank).min(1) }),
]) satisfies z.ZodType<EngineSampler>;

export type Sampler = z.output<typeof Sampler>;
