import { assertAlmostEquals, assertEquals } from "@std/assert";
import { join } from "node:path";
import { readRanks } from "../../lib/artifacts/ranks.ts";
import { readOutputs, readScores } from "../../lib/artifacts/scores.ts";
import reference from "../../fixtures/references/intrinsic_dimensions.json" with {
  type: "json",
};
import { withEngineStages } from "./engine_stages.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");

/** Of the default modules, query and value of each layer; the layers of the ALBERT share theirs. */
const RANKS: Readonly<Record<keyof typeof reference.models, number[]>> = {
  "tiny-bert": [2, 2, 1, 1],
  "tiny-llama": [1, 1, 1, 1],
  "tiny-albert": [2, 2, 1, 1, 2, 2, 1, 1],
};

for (const [name, expected] of Object.entries(reference.models)) {
  const model = join(fixtures, name);
  Deno.test(`estimate-ranks finds the dimensions that scikit-dimension finds in the hidden states of transformers, ${name}`, () =>
    withEngineStages(async ({ run }) => {
      const source = join(fixtures, "tiny-glue");
      const data = await run("fetch-glue", { task: "sst2", source });
      const tokens = await run("tokenize", {}, { model, data });
      const params = { examples: reference.examples, batchSize: 40 };
      const found = await readRanks(
        await run("estimate-ranks", params, { model, tokens }),
      );
      assertEquals(found.dimensions!.length, expected.length);
      for (const [layer, dimension] of found.dimensions!.entries()) {
        assertAlmostEquals(dimension, expected[layer]!, 1e-3, `${layer}`);
      }
      const ranks = RANKS[name as keyof typeof RANKS];
      assertEquals([...found.modules.values()], ranks);
      const capped = { ...params, maxRank: 1 };
      const { modules } = await readRanks(
        await run("estimate-ranks", capped, { model, tokens }),
      );
      assertEquals([...modules.values()], ranks.map(() => 1));
    }, model));
}

Deno.test("evaluate-ranks scores the ranks of its input as it scores a single rank", () =>
  withEngineStages(async ({ run, given }) => {
    const params = { rank: 2, epochs: 1, learningRate: 1e-2 };
    const adapter = await run("train-dylora", params, given);
    const ranks = await run("estimate-ranks", { maxRank: 1 }, given);
    const scored = await run("evaluate-ranks", {}, {
      ...given,
      adapter,
      ranks,
    });
    const { byModule, ranks: [first] } = await readScores(scored);
    assertEquals(
      new Map(Object.entries(byModule!.modules)),
      (await readRanks(ranks)).modules,
    );
    assertEquals(byModule!.metrics, first!.metrics);
    const outputs = readOutputs(scored);
    assertEquals(
      outputs.byModule,
      outputs.logits.slice(0, outputs.byModule!.length),
    );
  }));
