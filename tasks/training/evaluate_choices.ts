import * as tf from "@tensorflow/tfjs-core";
import type { Examples } from "../../lib/engine/batches.ts";
import type { GroupEvaluator } from "../../lib/engine/group_evaluation.ts";
import { rankScale } from "../../lib/engine/rank_vectors.ts";
import type { AdapterRecord } from "../artifacts/adapter_record.ts";
import type { LoadedClassifier } from "./load_classifier.ts";

/** Choices that are evaluated in one pass. */
const GROUPS = 8;

/** Logits of the examples at several choices of ranks, a few of them in each pass. */
export async function evaluateChoices(
  evaluate: GroupEvaluator,
  values: Float32Array,
  { layout }: LoadedClassifier,
  { alpha, scaling }: AdapterRecord,
  examples: Examples,
  choices: readonly (readonly number[])[],
  signal: AbortSignal,
): Promise<Float32Array[]> {
  const results: Float32Array[] = [];
  for (let start = 0; start < choices.length; start += GROUPS) {
    const group = choices.slice(start, start + GROUPS);
    const modules = group[0]!.map((_, module) =>
      group.flatMap((ranks) => [
        ...rankScale(ranks[module]!, alpha, layout.rank, scaling),
      ])
    );
    const scale = tf.tensor3d(modules.flat(), [
      modules.length,
      group.length,
      layout.rank,
    ]);
    const logits = await evaluate(values, scale, examples, { signal });
    scale.dispose();
    const size = logits.length / group.length;
    results.push(
      ...group.map((_, i) => logits.subarray(i * size, (i + 1) * size)),
    );
  }
  return results;
}
