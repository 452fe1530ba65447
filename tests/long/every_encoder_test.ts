import { assert } from "@std/assert";
import { fixture, tinyEncoders } from "../engine/reference.ts";
import { withEngineStages } from "../tasks/engine_stages.ts";
import { readTraining } from "../tasks/reference_adapter.ts";

Deno.test("train-dylora learns a few examples with every tiny encoder, from its model and tokenizer as fetch-model and tokenize give them", () =>
  withEngineStages(async ({ run }) => {
    const data = await run("fetch-glue", {
      task: "sst2",
      source: fixture("tiny-glue"),
      splits: ["train"],
      limit: { train: 64 },
    });
    for (const name of tinyEncoders) {
      const source = fixture(`tiny-${name}`);
      const model = await run("fetch-model", { source });
      const tokens = await run("tokenize", {}, { model, data });
      const trained = await run("train-dylora", {
        rank: 8,
        alpha: 16,
        epochs: 20,
        batchSize: 32,
        learningRate: 2e-2,
      }, { model, tokens });
      const { losses } = await readTraining(trained);
      // Each is the mean of ten steps.
      const [first, last] = [losses[0]!.loss, losses.at(-1)!.loss];
      assert(last < 0.95 * first, `${name}: loss from ${first} to ${last}`);
    }
  }));
