import { assertEquals, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { problemOf } from "../../lib/problems/registry.ts";
import {
  type Classification,
  readPredictions,
} from "../../lib/artifacts/predictions.ts";
import { readOutputs, readScores } from "../../lib/artifacts/scores.ts";
import { withEngineStages } from "../tasks/engine_stages.ts";
import {
  readTraining,
  REFERENCE_TRAINING,
  referenceAdapter,
} from "../tasks/reference_adapter.ts";
import { assertSameBits } from "../engine/reference.ts";

Deno.test("predict gives the classes that evaluate-ranks scored, and those of the test set by default", () =>
  withEngineStages(async (stages) => {
    const { run, sandboxed, given: { model, tokens } } = stages;
    const training = { rank: 2, epochs: 1, learningRate: 1e-2 };
    const adapter = await run("train-dylora", training, { model, tokens });
    const given = { model, tokens, adapter };

    const scored = await run("evaluate-ranks", {}, given);
    const info = await readScores(scored);
    const { logits } = readOutputs(scored);
    for (const [i, { rank }] of info.ranks.entries()) {
      const options = { split: "validation", rank };
      const predicted = await run("predict", options, given);
      const { predictions } = await readPredictions(predicted);
      const size = info.examples * 2;
      assertSameBits(
        predictions,
        problemOf(info).predictions(
          logits.subarray(i * size, (i + 1) * size),
        ),
      );
    }

    const { code, text, output } = await sandboxed("predict", {}, given);
    assertEquals(code, 0, text);
    const predicted = await readPredictions(output);
    const { split, rank } = predicted;
    assertEquals([split, rank], ["test", 2]);
    // What "auto" came to is the machine's matter, and the same for all stages.
    const { precision } = await readTraining(adapter);
    assertEquals(info.precision, precision);
    assertEquals(predicted.precision, precision);
    const exact = { precision: "f32" };
    assertEquals(
      (await readScores(await run("evaluate-ranks", exact, given))).precision,
      "f32",
    );
    assertEquals(
      (await readPredictions(await run("predict", exact, given))).precision,
      "f32",
    );
  }));

Deno.test("classify truncates texts as the training of an adapter and of its export did", () =>
  withEngineStages(async ({ run, folder, given: { model } }) => {
    const [short, long] = ["the film is very good .", "never dull , cold !"];
    const texts = [{ text: short }, { text: `${short} ${long}` }];
    for (const maxLength of [8, null]) {
      const adapter = await referenceAdapter(folder, {
        ...REFERENCE_TRAINING,
        maxLength,
      });
      const exported = await run("export-adapter", {}, { adapter });
      for (const given of [adapter, exported]) {
        const output = await run("classify", { texts, precision: "f32" }, {
          adapter: given,
          model,
        });
        const path = join(output, "classification.json");
        const { texts: [first, second] } = JSON.parse(
          Deno.readTextFileSync(path),
        ) as Classification;
        const [one, two] = [first, second].map((it) => it!.probabilities);
        if (maxLength === null) assertNotEquals(one, two);
        else assertEquals(one, two);
      }
    }
  }));
