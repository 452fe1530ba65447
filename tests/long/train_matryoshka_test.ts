import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { withEngineStages } from "../tasks/engine_stages.ts";
import { readTraining } from "../tasks/reference_adapter.ts";
import { logitsByRank } from "../tasks/logits_by_rank.ts";

Deno.test("train-matryoshka trains an adapter that evaluate-ranks scores at every rank", () =>
  withEngineStages(async (stages) => {
    const { sandboxed, attempt, given } = stages;
    const settings = { rank: 4, epochs: 1, learningRate: 1e-2 };
    const { code, text, output: adapter } = await sandboxed(
      "train-matryoshka",
      { ...settings, ranks: [1, 2, 4] },
      given,
    );
    assertEquals(code, 0, text);
    const { method, scaling } = await readTraining(adapter);
    assertEquals(scaling, "rank");
    assertEquals(method, {
      name: "matryoshka",
      objective: "losses",
      ranks: [1, 2, 4],
    });
    const logits = await logitsByRank(stages, { ...given, adapter });
    assertEquals([...logits.keys()], [1, 2, 3, 4]);
    assertNotEquals(logits.get(1), logits.get(4));

    const refused = await attempt(
      "train-matryoshka",
      { ...settings, ranks: [1, 2] },
      given,
    );
    assertEquals(refused.code, 1);
    assertMatch(
      refused.text,
      /Ranks 1, 2 must ascend and end with the adapter's rank 4/,
    );
  }));
