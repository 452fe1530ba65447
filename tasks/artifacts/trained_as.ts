import { z } from "zod";
import type { AdapterRecord } from "./adapter_record.ts";
import { Training } from "./training.ts";

const { rank, mode, sampler, scope, matryoshka } = Training.shape;

/** What tells an adapter from others of its method, task and seed; null where its method has no such thing, or it was trained elsewhere. */
export const TrainedAs = z.strictObject({
  rank,
  mode,
  sampler,
  scope,
  matryoshka,
});

export type TrainedAs = z.output<typeof TrainedAs>;

/** What tells an adapter from others of its method, task and seed. */
export function trainedAs(record: AdapterRecord): TrainedAs {
  const { rank } = record;
  if (!("mode" in record)) {
    return { rank, mode: null, sampler: null, scope: null, matryoshka: null };
  }
  const { mode, sampler, scope, matryoshka } = record;
  return { rank, mode, sampler, scope, matryoshka };
}
