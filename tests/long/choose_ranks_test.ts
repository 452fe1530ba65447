import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
} from "@std/assert";
import { join } from "node:path";
import { meanLoss } from "../../lib/data/metrics.ts";
import { readAdapter, writeAdapter } from "../../lib/artifacts/adapter.ts";
import { readRanks } from "../../lib/artifacts/ranks.ts";
import { readOutputs, readScores } from "../../lib/artifacts/scores.ts";
import { digestOf } from "../../lib/artifacts/json_file.ts";
import { writeTokens } from "../../lib/artifacts/tokens.ts";
import chooseRanks from "../../tasks/choose-ranks.ts";
import exportAdapter from "../../tasks/export-adapter.ts";
import merge from "../../tasks/merge.ts";
import { withEngineStages } from "../tasks/engine_stages.ts";
import {
  REFERENCE_TRAINING,
  referenceAdapter,
} from "../tasks/reference_adapter.ts";
import { runTask, withFolder } from "../tasks/run_task.ts";

const TOLERANCE = 1e-5;

Deno.test("choose-ranks stays within its budget and gives the scores of the model merged at its ranks", () =>
  withEngineStages(async ({ folder, given, run, sandboxed }) => {
    const training = { ...REFERENCE_TRAINING, task: "rte" };
    const adapter = await referenceAdapter(folder, training);
    const inputs = { ...given, adapter };
    const scoresOf = async (
      params: Readonly<Record<string, unknown>>,
      from: typeof inputs = inputs,
    ) => {
      const output = await run("evaluate-ranks", params, from);
      const info = await readScores(output);
      const { logits, labels } = readOutputs(output);
      const size = logits.length / info.ranks.length;
      return info.ranks.map(({ rank, metrics }, i) => ({
        rank,
        metrics,
        loss: meanLoss(logits.subarray(i * size, (i + 1) * size), labels, 2),
      }));
    };

    const params = {
      averageRank: 2.5,
      examples: 1000,
      precision: "f32",
    };
    const chosen = await sandboxed("choose-ranks", params, inputs);
    assertEquals(chosen.code, 0, chosen.text);
    const ranks = chosen.output;
    const { modules, choice } = await readRanks(ranks);
    assertEquals(modules.size, 4);
    const sum = [...modules.values()].reduce((a, b) => a + b, 0);
    assert(sum <= 10);
    assertEquals(choice!.precision, "f32");
    assertEquals(
      choice!.training,
      await digestOf(join(adapter, "training.json")),
    );
    assertEquals(choice!.budget, 10 * 2 * 64);
    assertEquals(choice!.chosen.parameters, sum * 2 * 64);
    assertEquals(choice!.selection!.moves.length, 6);
    assertEquals(choice!.even.map(({ rank }) => rank), [2, 4]);

    const near = (found: number, expected: number) =>
      assertAlmostEquals(found, expected, TOLERANCE, `${found}, ${expected}`);
    const onValidation = await scoresOf({});
    for (const { rank, loss, metrics } of choice!.even) {
      const expected = onValidation.find((other) => other.rank === rank)!;
      near(loss, expected.loss);
      assertEquals(metrics, expected.metrics);
    }

    const model = (await runTask(merge, folder, {}, {
      model: given.model,
      adapter,
      ranks,
    })).output;
    const headOnly = await withoutLora(folder, adapter);
    const from = { ...given, model, adapter: headOnly };
    const [merged] = await scoresOf({ ranks: [1] }, from);
    near(choice!.chosen.loss, merged!.loss);
    assertEquals(choice!.chosen.metrics, merged!.metrics);
    const [mergedOnTrain] = await scoresOf(
      { ranks: [1], split: "train" },
      from,
    );
    const taken = Math.min(
      choice!.selection!.start,
      ...choice!.selection!.moves.map(({ loss }) => loss),
    );
    near(taken, mergedOnTrain!.loss);
    await runTask(exportAdapter, folder, {}, { adapter, ranks });

    const same = { averageRank: 2, selectOn: "validation" };
    await assertRejects(
      () => runTask(chooseRanks, folder, same, inputs),
      RangeError,
      "on different splits",
    );
  }));

Deno.test("choose-ranks rejects tokens with other classes than the adapter", () =>
  withFolder(async (folder) => {
    const adapter = await referenceAdapter(folder, {
      ...REFERENCE_TRAINING,
      labels: ["negative", "positive"],
    });
    const tokens = await Deno.makeTempDir({ dir: folder });
    const model = join(import.meta.dirname!, "../../fixtures/tiny-roberta");
    await writeTokens(tokens, {
      task: "cola",
      labels: ["unacceptable", "acceptable"],
      metrics: ["accuracy"],
      maxLength: 8,
      padId: 1,
      vocabSize: 9,
      tokenizer: await digestOf(join(model, "tokenizer.json")),
    }, {});
    await assertRejects(
      () =>
        runTask(chooseRanks, folder, { averageRank: 2 }, {
          model,
          adapter,
          tokens,
        }),
      Error,
      'trained for "sst2" with the classes negative, positive, but the tokens are for "cola" with the classes unacceptable, acceptable',
    );
  }));

/** The adapter with zeros for lora_B: its head alone. */
async function withoutLora(folder: string, adapter: string): Promise<string> {
  const { tensors, ...rest } = await readAdapter(adapter);
  const path = await Deno.makeTempDir({ dir: folder });
  await writeAdapter(path, {
    ...rest,
    tensors: Object.fromEntries(
      Object.entries(tensors).map(([name, { shape, values }]) => [name, {
        shape,
        values: name.includes("lora_B") ? values.map(() => 0) : values,
      }]),
    ),
  });
  return path;
}
