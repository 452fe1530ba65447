import assert from "node:assert/strict";
import { readTraining } from "../../lib/artifacts/training.ts";
import { withEngineStages } from "./engine_stages.ts";
import { logitsByRank } from "./logits_by_rank.ts";

Deno.test("train-matryoshka makes an adapter that evaluate-ranks scores at every rank", () =>
  withEngineStages(async (stages) => {
    const { run, attempt, given } = stages;
    const settings = { rank: 4, epochs: 1, learningRate: 1e-2 };
    const adapter = await run(
      "train-matryoshka",
      { ...settings, ranks: [1, 2, 4] },
      given,
    );
    const { method, scaling, matryoshka, mode } = await readTraining(adapter);
    assert.deepEqual([method, scaling, mode], ["matryoshka", "rank", null]);
    assert.deepEqual(matryoshka, {
      objective: "losses",
      ranks: [1, 2, 4],
      weights: [1, 1, 1],
    });
    const logits = await logitsByRank(stages, { ...given, adapter });
    assert.deepEqual([...logits.keys()], [1, 2, 3, 4]);
    assert.notDeepEqual(logits.get(1), logits.get(4));

    const refused = await attempt(
      "train-matryoshka",
      { ...settings, ranks: [1, 2] },
      given,
    );
    assert.equal(refused.code, 1);
    assert.match(
      refused.text,
      /must ascend from 1 or more to the adapter's rank 4/,
    );
  }));
