import { readOutputs, readScores } from "../../lib/artifacts/scores.ts";
import type { EngineStages } from "./engine_stages.ts";

/**
 * Logits of the validation split by rank, `[examples, labels]`, as
 * evaluate-ranks computes them.
 */
export async function logitsByRank(
  { run }: EngineStages,
  inputs: Readonly<Record<"model" | "tokens" | "adapter", string>>,
  params: Readonly<Record<string, unknown>> = {},
): Promise<Map<number, Float32Array>> {
  const scored = await run("evaluate-ranks", params, inputs);
  const info = await readScores(scored);
  const { logits } = readOutputs(scored);
  const size = logits.length / info.ranks.length;
  return new Map(
    info.ranks.map(({ rank }, i) => [
      rank,
      logits.slice(i * size, (i + 1) * size),
    ]),
  );
}
